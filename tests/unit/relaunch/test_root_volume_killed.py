# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root volumes replaced on the EC2 in memory: killed at each call, failed, and rolled back."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from fake_ec2 import FakeEc2, Fault
from relaunch_ec2 import AMI, DATA, OLD, ROOT, killed, relaunch, service

ROOT_OF, LAUNCH_IMAGE = "ec2ops:root-of", "ec2ops:launch-image"
GIVEN: dict[str, Any] = {
    "strategy": "replace_root_volume",
    **dict.fromkeys(("data_volumes", "network_interfaces", "elastic_ip", "target_groups"), None),
}


def state(ec2: FakeEc2) -> dict[str, Any]:
    """The root volume and what is left of others, with the tags of the collection."""
    ec2.settle()
    (instance,) = ec2.existing("instance")
    volumes = {one.volume_id: one for one in ec2.volumes()}
    (root,) = (one for one in volumes.values() for link in one.attachments if link.device_name == "/dev/xvda")
    (data,) = volumes[DATA].attachments
    return {
        "root": "old" if root.volume_id == ROOT else root.snapshot_id,
        "root tags": sorted(key for key in root.tags if key.startswith("ec2ops:")),
        "tags": sorted(key for key in instance.tags if key.startswith("ec2ops:")),
        "loose": ["old" if name == ROOT else "other" for name, one in volumes.items() if not one.attachments],
        "data": (data.instance_id, data.device_name, data.delete_on_termination),
        "snapshots": sorted(one.description for one in ec2.snapshots() if one.description),
        "state": instance.state,
    }


DONE: dict[str, Any] = {
    "root": "snap-1",
    "root tags": [ROOT_OF],
    "tags": [LAUNCH_IMAGE],
    "loose": ["old"],
    "data": (OLD, "/dev/sdf", True),
    "snapshots": [],
    "state": "running",
}


def test_check_run_and_second_run_agree() -> None:
    ec2 = service()
    planned = relaunch(ec2, check=True, **GIVEN)
    assert state(ec2)["root"] == "old"
    done = relaunch(ec2, **GIVEN)
    assert (done.failed, done.actions, done.result["image_id"]) == ("", planned.actions, AMI)
    assert state(ec2) == DONE
    for check in (True, False):
        assert relaunch(ec2, check=check, **GIVEN).actions == []
    # Its content is that of the image, and it is written to.
    root = next(one.volume_id for one in ec2.volumes() if one.snapshot_id == "snap-1")
    assert ec2.written[root]


@pytest.mark.parametrize("takes", [True, False], ids=["by-volume", "by-snapshot"])
@pytest.mark.parametrize("fate", ["keep", "delete"])
def test_run_that_is_killed_after_any_call_is_finished_by_the_next(fate: str, takes: bool) -> None:
    given = {**GIVEN, "old_root_volume": fate}
    for nth in count(1):
        ec2 = service()
        ec2.takes_root_volume = takes
        if not killed(ec2, nth, **given):
            break
        ec2.sleep(30)
        ended = relaunch(ec2, **given)
        assert (nth, ended.failed) == (nth, "")
        assert (nth, state(ec2)) == (nth, {**DONE, "loose": ["old"] if fate == "keep" else []})
        assert (nth, relaunch(ec2, **given).actions) == (nth, [])
    assert nth > 4


@pytest.mark.parametrize("takes", [True, False], ids=["by-volume", "by-snapshot"])
def test_unhealthy_root_volume_is_rolled_back_even_if_the_first_run_is_killed(takes: bool) -> None:
    for nth in (None, 3, 4):
        ec2 = service()
        ec2.takes_root_volume, ec2.sick = takes, {AMI}
        given = {**GIVEN, "health": {"timeout": 20}}
        if nth is not None and (not takes or not killed(ec2, nth, **given)):
            continue
        ec2.sleep(30)
        ended = relaunch(ec2, **given)
        assert "healthy" in ended.failed
        found = state(ec2)
        # Without a volume in the call, EC2 restores the root volume from the snapshot, and the former one stays.
        assert (found["state"], found["loose"]) == ("running", [] if takes else ["old"])
        assert (found["root"] == "old", found["root"] == "snap-1") == (takes, False)


def test_failed_task_leaves_the_former_root_volume_and_the_next_run_begins_another() -> None:
    ec2 = service()
    ec2.faults.append(Fault("CreateReplaceRootVolumeTask", kind="end", code="failed"))
    ended = relaunch(ec2, **GIVEN)
    assert "is failed (replacevol-" in ended.failed
    assert state(ec2)["root"] == "old"
    assert not relaunch(ec2, **GIVEN).failed
    assert state(ec2)["root"] == "snap-1"
