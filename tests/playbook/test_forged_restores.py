# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""restore_volumes among volumes that somebody else tagged as restored, or as a drill's."""

from __future__ import annotations

from typing import Any

from playbook.seeds import Web, at_once
from playbook.support import REGION, changing_calls
from playbook.test_restore import (
    RESULT,
    again,
    described,
    everything,
    far_from_midnight,
    restore,
    rotated,
    tagged_volume,
)
from sandbox.client import Sandbox

__all__ = ["far_from_midnight"]


def backup(sandbox: Sandbox, volume_id: str) -> str:
    with at_once(sandbox):
        return str(sandbox.client("ec2", REGION).create_snapshot(VolumeId=volume_id)["SnapshotId"])


def forged_volumes(sandbox: Sandbox, web: Web, tags: dict[str, str]) -> dict[str, str]:
    """Volumes that no run made, with *tags*, by the kind of forgery."""
    ec2 = sandbox.client("ec2", REGION)
    written = [{"Key": key, "Value": value} for key, value in tags.items()]
    with at_once(sandbox):
        empty = ec2.create_volume(
            AvailabilityZone=f"{REGION}a",
            Size=1,
            TagSpecifications=[{"ResourceType": "volume", "Tags": written}],
        )["VolumeId"]
    other = tagged_volume(sandbox, backup(sandbox, web.root_volume_id), tags)
    return {"not made from a snapshot": empty, f"a snapshot of {web.root_volume_id}": other}


def test_drill_deletes_no_volume_with_forged_tags_of_a_drill(sandbox: Sandbox, web: Web) -> None:
    volume = web.data_volume_id
    snapshot = backup(sandbox, volume)
    tags = {"ec2ops:spec": f"restore-drill/{volume}/00000001", "ec2ops:volume": volume}
    forged = forged_volumes(sandbox, web, tags)
    forged["no drill sets"] = tagged_volume(sandbox, snapshot, {**tags, "Name": "orders"})
    left = tagged_volume(sandbox, snapshot, {**tags, "ec2ops:spec": f"restore-drill/{volume}/00000002"})
    sandbox.move_clock(2 * 3600)
    before = everything(sandbox)
    sandbox.reset_log()
    run = restore(sandbox, source_volume_ids=[volume], drill=True)
    assert run.status == 0, run.output
    # The drill and the volume that another one left do not wait for each other.
    expected = ["CreateSnapshot", "CreateTags", "CreateVolume", "DeleteVolume", "DeleteVolume"]
    assert sorted(changing_calls(sandbox.log())) == expected
    del before[0][left]
    volumes, snapshots = everything(sandbox)
    assert volumes == before[0]
    (final_id,) = set(snapshots) - set(before[1])
    final = sandbox.client("ec2", REGION).describe_snapshots(SnapshotIds=[final_id])["Snapshots"][0]
    assert (final["VolumeId"], final["State"]) == (left, "completed")
    notes: list[str] = run.fact(RESULT)["notes"]
    assert any(left in note and final_id in note for note in notes), notes
    for words, volume_id in forged.items():
        assert any(volume_id in note and words in note for note in notes), notes


def test_forged_restored_volume_prevents_no_restore(sandbox: Sandbox, web: Web) -> None:
    volume = web.data_volume_id
    snapshot = backup(sandbox, volume)
    forged = forged_volumes(sandbox, web, {"ec2ops:spec": f"restore/{volume}", "ec2ops:volume": volume})
    before = {volume_id: described(sandbox, volume_id) for volume_id in forged.values()}
    given: dict[str, Any] = {"source_volume_ids": [volume], "target_instance_id": web.instance_id}
    run = restore(sandbox, **given)
    assert run.status == 0, run.output
    (entry,) = run.fact(RESULT)["volumes"]
    assert (entry["snapshot_id"], entry["volume_id"] in before) == (snapshot, False)
    assert {volume_id: described(sandbox, volume_id) for volume_id in before} == before
    for words, volume_id in forged.items():
        assert any(volume_id in note and words in note for note in run.fact(RESULT)["notes"])
    again(sandbox, [entry], **given)


def test_volume_restored_from_a_gone_snapshot_is_not_restored_again(sandbox: Sandbox, web: Web) -> None:
    volume = web.data_volume_id
    snapshot = backup(sandbox, volume)
    given: dict[str, Any] = {"source_volume_ids": [volume], "zone": f"{REGION}a"}
    run = restore(sandbox, **given)
    assert run.status == 0, run.output
    (entry,) = run.fact(RESULT)["volumes"]
    backup(sandbox, volume)
    sandbox.client("ec2", REGION).delete_snapshot(SnapshotId=snapshot)
    again(sandbox, [entry], **given)


def test_tag_value_with_a_pattern_ends_no_drill(sandbox: Sandbox, web: Web) -> None:
    rotated(sandbox, select={"instance_ids": [web.instance_id]}, consistency="instance")
    odd = {"ec2ops:spec": "restore-drill/x", "ec2ops:volume": f"{web.instance_id}/("}
    forged = tagged_volume(sandbox, backup(sandbox, web.data_volume_id), odd)
    run = restore(sandbox, source_instance_id=web.instance_id, drill=True)
    assert run.status == 0, run.output
    assert described(sandbox, forged)["State"] == "available"
