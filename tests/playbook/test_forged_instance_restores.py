# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""restore_volumes of a whole instance, where tags of its snapshots are gone and a volume only claims to be restored."""

from __future__ import annotations

from typing import Any

from playbook.seeds import Web
from playbook.support import REGION
from playbook.test_forged_restores import backup
from playbook.test_restore import RESULT, again, described, far_from_midnight, restore, rotated, tagged_volume
from sandbox.client import Sandbox

ELSEWHERE = "eu-west-1"

__all__ = ["far_from_midnight"]


def test_forged_volume_and_removed_tags_prevent_no_restore_of_an_instance(sandbox: Sandbox, web: Web) -> None:
    ec2, data = sandbox.client("ec2", REGION), web.data_volume_id
    given: dict[str, Any] = {"source_instance_id": web.instance_id, "zone": f"{REGION}a"}
    policy = {"select": {"instance_ids": [web.instance_id]}, "consistency": "instance"}
    rotated(sandbox, **policy)
    sandbox.move_clock(86400)
    newest = rotated(sandbox, **policy)["created"]
    ec2.delete_tags(Resources=newest, Tags=[{"Key": f"ec2ops:{key}"} for key in ("policy", "set", "parts")])
    gone = backup(sandbox, web.root_volume_id)
    forged = tagged_volume(
        sandbox, gone, {"ec2ops:spec": f"restore/{data}", "ec2ops:volume": f"{web.instance_id}/{data}"}
    )
    ec2.delete_snapshot(SnapshotId=gone)
    before = described(sandbox, forged)
    run = restore(sandbox, **given)
    assert run.status == 0, run.output
    volumes = run.fact(RESULT)["volumes"]
    assert {entry["snapshot_id"] for entry in volumes} == set(newest)
    assert forged not in {entry["volume_id"] for entry in volumes}
    assert described(sandbox, forged) == before
    assert any(data in note and "ec2ops:spec" in note for note in run.fact(RESULT)["notes"])
    again(sandbox, volumes, **given)


def test_removed_origin_keeps_no_snapshot_from_an_instance_without_sets(sandbox: Sandbox, web: Web) -> None:
    volumes = [web.root_volume_id, web.data_volume_id]
    newest = rotated(sandbox, select={"volume_ids": volumes})["created"]
    sandbox.client("ec2", REGION).delete_tags(Resources=newest, Tags=[{"Key": "ec2ops:origin"}])
    run = restore(sandbox, source_instance_id=web.instance_id, zone=f"{REGION}a")
    assert run.status == 0, run.output
    assert {entry["snapshot_id"] for entry in run.fact(RESULT)["volumes"]} == set(newest)


def test_removed_tags_hide_no_copy_of_a_volume(sandbox: Sandbox, web: Web) -> None:
    ec2, data = sandbox.client("ec2", ELSEWHERE), web.data_volume_id
    policy = {"select": {"volume_ids": [data]}, "copies": [{"region": ELSEWHERE, "keep": {"last": 9}, "wait": True}]}
    rotated(sandbox, **policy)
    sandbox.move_clock(86400)
    copied = rotated(sandbox, **policy)["copied"]
    keys = ("policy", "source", "copy-of", "taken", "set", "period")
    ec2.delete_tags(Resources=copied, Tags=[{"Key": f"ec2ops:{key}"} for key in keys])
    run = restore(sandbox, source_volume_ids=[data], zone=f"{ELSEWHERE}a", region=ELSEWHERE)
    assert run.status == 0, run.output
    assert [entry["snapshot_id"] for entry in run.fact(RESULT)["volumes"]] == copied
