# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`snapshot_restore` among volumes and snapshots that somebody tagged as restored, as a drill's, or as a set's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import boto3_tags

from in_process import OTHER_ZONE, ZONE, machine, snapshots, volumes
from restore_runs import Scene, begin, left_volume, restore
from rotation_runs import DAY
from sandbox.client import Sandbox


def tagged_volume(scene: Scene, tags: Mapping[str, str], snapshot: str | None = None, **given: Any) -> str:
    specification = {"ResourceType": "volume", "Tags": [{"Key": key, "Value": tags[key]} for key in sorted(tags)]}
    origin = {"SnapshotId": snapshot} if snapshot is not None else {"Size": 8}
    made = scene.ec2.create_volume(
        **{"AvailabilityZone": ZONE, "TagSpecifications": [specification], **origin, **given}
    )
    scene.complete()
    return str(made["VolumeId"])


def test_forged_restored_volumes_prevent_no_restore(sandbox: Sandbox) -> None:
    scene = begin(sandbox, data=2)
    source, other = scene.volume_ids
    taken = scene.capture()
    tags = {"ec2ops:spec": f"restore/{source}", "ec2ops:volume": source}
    forged = {"not made from a snapshot": tagged_volume(scene, tags), other: tagged_volume(scene, tags, taken[other])}
    before = {item: volumes(sandbox)[item] for item in forged.values()}
    done = restore(sandbox, source_volume_ids=[source], zone=ZONE)
    assert (done.failed, done.actions) == ("", ["CreateVolume"])
    assert done.result["volumes"][0]["snapshot_id"] == taken[source]
    assert {item: volumes(sandbox)[item] for item in before} == before
    for words, item in forged.items():
        assert any(item in note and words in note for note in done.result["notes"])
        assert any(item in warning for warning in done.warnings)
    again = restore(sandbox, source_volume_ids=[source], zone=ZONE)
    assert (again.failed, again.actions) == ("", [])


def test_forged_volume_in_a_named_declaration_is_refused_by_its_id(sandbox: Sandbox) -> None:
    scene = begin(sandbox)
    (source,) = scene.volume_ids
    scene.capture()
    forged = tagged_volume(scene, {"ec2ops:spec": "mine", "ec2ops:volume": source})
    ended = restore(sandbox, source_volume_ids=[source], zone=ZONE, name="mine")
    assert ended.failed.startswith(f"name: {forged}")


def test_copied_tags_of_one_volume_do_not_stop_the_others(sandbox: Sandbox) -> None:
    scene = begin(sandbox, data=2)
    doubled, free = scene.volume_ids
    taken = scene.capture()
    tags = {"ec2ops:spec": f"restore/{doubled}", "ec2ops:volume": doubled}
    several = [tagged_volume(scene, tags, taken[doubled]) for _turn in range(2)]
    ended = restore(sandbox, source_volume_ids=[doubled, free], zone=ZONE)
    assert all(item in ended.failed for item in several)
    assert "more than one volume" in ended.failed
    assert [entry["source"] for entry in ended.result["volumes"]] == [free]
    assert ended.actions == ["CreateVolume"]


def test_attached_volume_counts_before_its_tagged_copies(sandbox: Sandbox) -> None:
    scene = begin(sandbox)
    (source,) = scene.volume_ids
    taken = scene.capture()
    given = {"source_volume_ids": [source], "target_instance_id": scene.source.instance_id}
    made = restore(sandbox, **given).result["volumes"][0]["volume_id"]
    tagged_volume(scene, {"ec2ops:spec": f"restore/{source}", "ec2ops:volume": source}, taken[source])
    again = restore(sandbox, **given)
    assert (again.failed, again.actions) == ("", [])
    assert again.result["volumes"][0]["volume_id"] == made


def test_drill_deletes_no_volume_with_forged_tags_of_a_drill(sandbox: Sandbox) -> None:
    scene = begin(sandbox, data=2)
    source, other = scene.volume_ids
    taken = scene.capture()
    tags = {"ec2ops:spec": f"restore-drill/{source}/00000009", "ec2ops:volume": source}
    forged = {
        "not made from a snapshot": tagged_volume(scene, tags),
        f"a snapshot of {other}": tagged_volume(scene, tags, taken[other]),
        "no drill sets": tagged_volume(scene, {**tags, "Name": "orders"}, taken[source]),
        "size": tagged_volume(scene, tags, taken[source], Size=40),
    }
    left = left_volume(scene, taken[source])
    attached = left_volume(scene, taken[source], "00000002")
    scene.complete()
    scene.ec2.attach_volume(VolumeId=attached, InstanceId=scene.source.instance_id, Device="/dev/sdp")
    sandbox.move_clock(3 * 3600)
    done = restore(sandbox, source_volume_ids=[source], drill=True, wait_timeout=600)
    assert done.failed == ""
    sandbox.move_clock(60)
    there = volumes(sandbox)
    assert left not in there
    assert {attached, *forged.values()} <= there.keys()
    for words, item in forged.items():
        assert any(item in note and words in note for note in done.result["notes"]), done.result["notes"]


def test_final_snapshot_of_another_volume_is_not_the_leftovers(sandbox: Sandbox) -> None:
    scene = begin(sandbox)
    (source,) = scene.volume_ids
    taken = scene.capture()
    left = left_volume(scene, taken[source])
    forged = {"Key": "ec2ops:final", "Value": left}
    scene.ec2.create_tags(Resources=[taken[source]], Tags=[forged])
    sandbox.move_clock(3 * 3600)
    done = restore(sandbox, source_volume_ids=[source], drill=True, wait_timeout=600)
    assert done.failed == ""
    assert "CreateSnapshot" in done.actions
    kept = [item for item in snapshots(sandbox).values() if item["VolumeId"] == left]
    assert [item["State"] for item in kept] == ["completed"]


@pytest.mark.parametrize("value", ["(", "*", "\\", "i-1/", "/", ""])
def test_absurd_tags_end_no_restore_and_no_drill(sandbox: Sandbox, value: str) -> None:
    scene = begin(sandbox)
    (source,) = scene.volume_ids
    instance_id = scene.source.instance_id
    scene.capture_set()
    for spec in (f"restore/{value}", f"restore-drill/{value}", f"restore-drill/{source}/{value}"):
        tagged_volume(scene, {"ec2ops:spec": spec, "ec2ops:volume": f"{instance_id}/{value}"})
    for given in ({"zone": ZONE}, {"drill": True}):
        assert restore(sandbox, check=True, source_instance_id=instance_id, **given).failed == ""


def test_forged_set_tag_hides_no_volumes_of_an_instance_without_sets(sandbox: Sandbox) -> None:
    scene = begin(sandbox)
    (source,) = scene.volume_ids
    instance_id = scene.source.instance_id
    other = machine(sandbox, "other", data=1)
    (foreign,) = other.attached().values()
    origin = {"Key": "ec2ops:origin", "Value": f"gp3 8 3000 125 {ZONE} {instance_id} /dev/sdf"}
    real = scene.ec2.create_snapshot(
        VolumeId=source,
        Description=f"p: {source}",
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": [origin]}],
    )["SnapshotId"]
    marked = {"Key": "ec2ops:set", "Value": f"{instance_id}/2026-11-01T00:00+00:00"}
    scene.ec2.create_snapshot(VolumeId=foreign, TagSpecifications=[{"ResourceType": "snapshot", "Tags": [marked]}])
    scene.complete()
    done = restore(sandbox, source_instance_id=instance_id, zone=ZONE)
    assert done.failed == ""
    assert [entry["snapshot_id"] for entry in done.result["volumes"]] == [real]


# --- volumes made by hand from a snapshot of the source ---------------------------------------------------------------


def claim(scene: Scene, made: str, source: str, instance_id: str = "") -> None:
    """Give a volume that somebody has made the tags of a restored one."""
    entry = f"{instance_id}/{source}" if instance_id else source
    tags = {"ec2ops:spec": f"restore/{source}", "ec2ops:volume": entry}
    scene.ec2.create_tags(Resources=[made], Tags=boto3_tags(tags))


def test_hand_made_volume_of_an_old_snapshot_is_named_with_the_newest_snapshot(sandbox: Sandbox) -> None:
    scene = begin(sandbox)
    (source,) = scene.volume_ids
    made = tagged_volume(scene, {"Name": "a test of last year"}, scene.capture()[source])
    sandbox.move_clock(100 * DAY)
    newest = scene.capture()[source]
    claim(scene, made, source)
    ended = restore(sandbox, source_volume_ids=[source], zone=ZONE)
    assert (ended.failed, ended.actions) == ("", [])
    assert any(made in text and newest in text for text in ended.warnings)
    assert any(made in note and newest in note for note in ended.result["notes"])


@pytest.mark.parametrize("place", ["another instance", "another zone"])
def test_hand_made_volume_elsewhere_ends_no_restore(sandbox: Sandbox, place: str) -> None:
    scene = begin(sandbox)
    (source,) = scene.volume_ids
    old = scene.capture()[source]
    zone = ZONE if place == "another instance" else OTHER_ZONE
    made = tagged_volume(scene, {"Name": "a test"}, old, AvailabilityZone=zone)
    if place == "another instance":
        scene.ec2.attach_volume(VolumeId=made, InstanceId=scene.source.instance_id, Device="/dev/sdp")
    target = machine(sandbox, "target", data=1)
    claim(scene, made, source)
    before = volumes(sandbox)[made]
    given = {"source_volume_ids": [source], "target_instance_id": target.instance_id}
    ended = restore(sandbox, **given)
    assert (ended.failed, ended.actions) == ("", ["CreateVolume", "AttachVolume"])
    assert ended.result["volumes"][0]["volume_id"] != made
    assert any(made in text for text in ended.warnings)
    assert volumes(sandbox)[made] == before
    again = restore(sandbox, **given)
    assert (again.failed, again.actions) == ("", [])


def test_hand_made_volume_of_an_old_set_is_named_with_the_newest_set(sandbox: Sandbox) -> None:
    """EC2 shows the same after an interrupted restore of the old set, which the next run completes."""
    scene = begin(sandbox, data=2)
    source = scene.volume_ids[0]
    old = scene.capture_set(1)
    made = tagged_volume(scene, {"Name": "a test of last year"}, old[source])
    sandbox.move_clock(100 * DAY)
    newest = scene.capture_set(2)
    claim(scene, made, source, scene.source.instance_id)
    ended = restore(sandbox, source_instance_id=scene.source.instance_id, zone=ZONE)
    assert ended.failed == ""
    assert {entry["snapshot_id"] for entry in ended.result["volumes"]} <= set(old.values())
    assert any(made in text and newest[source] in text for text in ended.warnings)
