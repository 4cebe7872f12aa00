# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume on an Outpost: the region gets no snapshot or copy of it, and no instance there gets the volume."""

from __future__ import annotations

from typing import Any

import pytest

from in_process import REGION, ZONE, Ended, changing_calls, machine, run, snapshots, volumes
from sandbox.client import Sandbox

OUTPOST = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"


@pytest.fixture
def volume_id(sandbox: Sandbox) -> str:
    made = sandbox.client("ec2", REGION).create_volume(AvailabilityZone=ZONE, Size=1, OutpostArn=OUTPOST)
    sandbox.move_clock(30)
    sandbox.reset_log()
    return str(made["VolumeId"])


def declared(sandbox: Sandbox, volume_id: str, *, check: bool = False, **given: Any) -> Ended:
    entry = {"name": "data", "volume_id": volume_id, **given.pop("entry", {})}
    place = {} if "instance_id" in given else {"availability_zone": ZONE, "spec": "spares"}
    return run(sandbox, check=check, alone=False, volumes=[entry], **place, **given)


SWAP = {"entry": {"encrypted": True}, "replace": "snapshot", "delete_replaced": True}
GONE = {"entry": {"state": "absent"}}


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize(
    ("given", "remedy"), [(SWAP, "Attach and replace it by other means"), (GONE, "final_snapshot: false")]
)
def test_snapshot_of_a_volume_on_an_outpost_is_refused(
    sandbox: Sandbox, volume_id: str, given: dict[str, Any], remedy: str, check: bool
) -> None:
    ended = declared(sandbox, volume_id, check=check, **given)
    assert f"volumes[0] (data) of spares: {volume_id} is on the Outpost {OUTPOST}" in ended.failed
    assert remedy in ended.failed
    assert changing_calls(sandbox, 0) == []
    assert snapshots(sandbox).keys().isdisjoint({volume_id})
    assert volumes(sandbox)[volume_id]["OutpostArn"] == OUTPOST


def test_swap_is_not_recommended_unless_requested(sandbox: Sandbox, volume_id: str) -> None:
    ended = declared(sandbox, volume_id, entry={"encrypted": True})
    assert "Outpost" in ended.failed
    assert "replace: snapshot" not in ended.failed


@pytest.mark.parametrize("check", [True, False])
def test_attachment_to_an_instance_of_the_region_is_refused(sandbox: Sandbox, volume_id: str, check: bool) -> None:
    web = machine(sandbox)
    sandbox.reset_log()
    ended = declared(sandbox, volume_id, check=check, instance_id=web.instance_id)
    assert f"{volume_id} is on the Outpost {OUTPOST}" in ended.failed
    assert changing_calls(sandbox, 0) == []


def test_volume_on_an_outpost_is_tagged_modified_and_deleted_without_a_snapshot(
    sandbox: Sandbox, volume_id: str
) -> None:
    ended = declared(sandbox, volume_id, entry={"size": 2, "tags": {"team": "a"}})
    assert ended.failed == ""
    assert sorted(ended.actions) == ["CreateTags", "ModifyVolume"]
    gone = declared(sandbox, volume_id, final_snapshot=False, **GONE)
    assert gone.failed == ""
    assert gone.actions == ["DeleteVolume"]
