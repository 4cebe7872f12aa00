# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`snapshot_restore` on the sandbox: check, run, check again, run again; each run's calls are those of its plan."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from ansible_collections.ec2ops.storage.plugins.modules import ebs_volume_spec

from in_process import OTHER_ZONE, REGION, ZONE, Ended, changing_calls, machine, run, snapshots, texts, volumes
from restore_runs import begin, left_volume, restore
from sandbox.client import Sandbox

DAY = 86400
DRILL = "0a1b2c3d"


def four_steps(sandbox: Sandbox, **given: Any) -> Ended:
    """Check, run, check again, run again. Returns the first run."""
    check = restore(sandbox, check=True, **given)
    assert check.failed == ""
    done = restore(sandbox, **given)
    assert done.failed == ""
    assert check.result["plan"] == done.result["plan"]
    assert (check.result["notes"], check.warnings) == (done.result["notes"], done.warnings)
    for again in (restore(sandbox, check=True, **given), restore(sandbox, **given)):
        assert (again.failed, again.result["plan"], again.result["changed"]) == ("", [], False)
        for one, other in zip(again.result["volumes"], done.result["volumes"], strict=True):
            assert one == {**other, "changed": False, "seconds": None}
    return done


def test_volume_is_restored_to_a_zone(sandbox: Sandbox) -> None:
    scene = begin(sandbox)
    (source,) = scene.volume_ids
    sandbox.add_mark(source, "kept")
    snapshot = scene.capture()[source]
    sandbox.add_mark(source, "too late")
    done = four_steps(sandbox, source_volume_ids=[source], zone=OTHER_ZONE)
    assert done.actions == ["CreateVolume"]
    (entry,) = done.result["volumes"]
    made = volumes(sandbox)[entry["volume_id"]]
    assert (entry["snapshot_id"], entry["device"], entry["zone"], entry["changed"]) == (
        snapshot,
        None,
        OTHER_ZONE,
        True,
    )
    assert entry["seconds"] > 0
    assert made["tags"] == {"ec2ops:spec": f"restore/{source}", "ec2ops:volume": source}
    written = " ".join(texts(sandbox, entry["volume_id"]))
    assert ("kept" in written, "too late" in written) == (True, False)
    assert done.result["msg"].startswith("1 volume created; 1 volume of 20")


def test_instance_is_restored_side_by_side_on_another_instance(sandbox: Sandbox) -> None:
    scene = begin(sandbox, data=3)
    target = machine(sandbox, "target", data=1)
    whole = scene.capture_set()
    before = target.attached()
    sandbox.reset_log()
    done = four_steps(sandbox, source_instance_id=scene.source.instance_id, target_instance_id=target.instance_id)
    assert done.actions == ["CreateVolume"] * 4 + ["AttachVolume"] * 4
    assert {entry["source"]: entry["snapshot_id"] for entry in done.result["volumes"]} == whole
    attached = target.attached()
    assert before.items() <= attached.items()
    for entry in done.result["volumes"]:
        assert attached[entry["device"]] == entry["volume_id"]


def test_calls_of_a_restore_do_not_grow_with_its_volumes(sandbox: Sandbox) -> None:
    scene = begin(sandbox, data=3)
    scene.capture()
    sandbox.reset_log()
    one = restore(sandbox, source_volume_ids=scene.volume_ids[:1], zone=ZONE)
    all_of_them = restore(sandbox, source_volume_ids=scene.volume_ids, zone=OTHER_ZONE, name="all")
    for operation in ("DescribeSnapshots", "GetEbsEncryptionByDefault", "DescribeAvailabilityZones"):
        assert one.result["api_calls"][operation] == all_of_them.result["api_calls"][operation]
    again = restore(sandbox, source_volume_ids=scene.volume_ids, zone=OTHER_ZONE, name="all")
    # The three queries for the sources' snapshots have those of the restored volumes too.
    assert again.result["api_calls"] == {"DescribeVolumes": 1, "DescribeSnapshots": 3}


def test_recorded_device_is_taken_where_it_is_free(sandbox: Sandbox) -> None:
    scene = begin(sandbox, data=2)
    target = machine(sandbox, "target", data=1)
    first, second = scene.volume_ids
    where = {volume_id: device for device, volume_id in scene.source.attached().items()}
    taken = next(iter(target.attached()))
    for source, device in ((first, taken), (second, "/dev/sdp")):
        made = scene.ec2.create_snapshot(
            VolumeId=source,
            Description=f"p: {source}",
            TagSpecifications=[
                {
                    "ResourceType": "snapshot",
                    "Tags": [{"Key": "ec2ops:origin", "Value": f"gp3 8 3000 125 {ZONE} i-0123456789abcdef0 {device}"}],
                }
            ],
        )
        assert made["VolumeId"] in where
    scene.complete()
    done = four_steps(sandbox, source_volume_ids=[first, second], target_instance_id=target.instance_id)
    devices = {entry["source"]: entry["device"] for entry in done.result["volumes"]}
    assert devices[second] == "/dev/sdp"
    assert devices[first] not in (taken, "/dev/sdp")


def test_one_bad_volume_does_not_stop_the_others(sandbox: Sandbox) -> None:
    scene = begin(sandbox, data=2)
    good, bad = scene.volume_ids
    snapshot = scene.ec2.create_snapshot(VolumeId=good)["SnapshotId"]
    scene.complete()
    for check in (True, False):
        ended = restore(sandbox, check=check, source_volume_ids=[good, bad], zone=ZONE)
        assert bad in ended.failed
        assert good not in ended.failed
        assert ended.actions == ["CreateVolume"]
        assert ended.result["error"]["code"] == "SpecError"
        assert [entry["snapshot_id"] for entry in ended.result["volumes"]] == [snapshot]
    assert list(scene.restored()) == [good]
    again = restore(sandbox, source_volume_ids=[good, bad], zone=ZONE)
    assert (again.actions, bad in again.failed) == ([], True)


def test_named_volume_restored_elsewhere_is_refused_with_its_remedy(sandbox: Sandbox) -> None:
    scene = begin(sandbox)
    scene.capture()
    (source,) = scene.volume_ids
    made = restore(sandbox, source_volume_ids=[source], zone=ZONE, name="mine").result["volumes"][0]["volume_id"]
    ended = restore(sandbox, source_volume_ids=[source], zone=OTHER_ZONE, name="mine")
    assert ended.failed.startswith(f"name: {made}")
    assert "another name" in ended.failed
    other = restore(sandbox, source_volume_ids=[source], zone=OTHER_ZONE, name="other")
    assert (other.failed, other.actions) == ("", ["CreateVolume"])


def test_volume_restored_to_another_instance_before_is_restored_once_more(sandbox: Sandbox) -> None:
    """Both calls have the same snapshot and zone, so only the client token distinguishes them."""
    scene = begin(sandbox)
    scene.capture()
    given = {"source_volume_ids": scene.volume_ids}
    first, second = machine(sandbox, "one"), machine(sandbox, "two")
    earlier = restore(sandbox, target_instance_id=first.instance_id, **given).result["volumes"][0]["volume_id"]
    ended = restore(sandbox, target_instance_id=second.instance_id, **given)
    assert (ended.failed, ended.actions) == ("", ["CreateVolume", "AttachVolume"])
    later = ended.result["volumes"][0]["volume_id"]
    assert later != earlier
    assert any(earlier in text for text in ended.warnings)
    for target, own in ((first, earlier), (second, later)):
        again = restore(sandbox, target_instance_id=target.instance_id, **given)
        assert (again.failed, again.actions) == ("", [])
        assert again.result["volumes"][0]["volume_id"] == own


def test_detached_restored_volume_is_attached_again(sandbox: Sandbox) -> None:
    scene = begin(sandbox)
    scene.capture()
    given = {"source_volume_ids": scene.volume_ids, "target_instance_id": scene.source.instance_id}
    made = restore(sandbox, **given).result["volumes"][0]
    scene.ec2.detach_volume(VolumeId=made["volume_id"])
    scene.complete()
    done = four_steps(sandbox, **given)
    assert done.actions == ["AttachVolume"]
    assert done.result["volumes"][0]["volume_id"] == made["volume_id"]


def test_restored_volume_belongs_to_a_declaration(sandbox: Sandbox) -> None:
    scene = begin(sandbox)
    scene.capture()
    (source,) = scene.volume_ids
    restore(sandbox, source_volume_ids=[source], target_instance_id=scene.source.instance_id)
    declared = run(
        sandbox,
        module=ebs_volume_spec,
        instance_ids=[scene.source.instance_id],
        spec=f"restore/{source}",
        volumes=[{"name": source}],
    )
    assert (declared.failed, declared.result["plan"]) == ("", [])


def test_volume_of_an_earlier_version_counts(sandbox: Sandbox) -> None:
    """The role restore declared it through ebs_volume_spec."""
    scene = begin(sandbox)
    (source,) = scene.volume_ids
    snapshot = scene.capture()[source]
    made = run(
        sandbox,
        module=ebs_volume_spec,
        availability_zone=ZONE,
        spec=f"restore/{source}",
        volumes=[{"name": source, "snapshot_id": snapshot, "size": 8, "volume_type": "gp3", "tags": {}}],
    )
    done = restore(sandbox, source_volume_ids=[source], zone=ZONE)
    assert (done.failed, done.actions) == ("", [])
    assert done.result["volumes"][0]["volume_id"] == made.result["volumes"][0]["volume_id"]


def test_planned_instance_is_a_target_in_check_mode(sandbox: Sandbox) -> None:
    scene = begin(sandbox)
    scene.capture()
    target = "(new instance web)"
    view = {"state": "running", "availability_zone": ZONE, "instance_type": "t3.micro", "root_device_name": "/dev/xvda"}
    planned = {"action": "RunInstances", "resource": target, "region": REGION, "after": view}
    check = restore(
        sandbox, check=True, source_volume_ids=scene.volume_ids, target_instance_id=target, assume=[[planned]]
    )
    assert (check.failed, check.actions) == ("", ["CreateVolume", "AttachVolume"])
    later = restore(
        sandbox,
        check=True,
        source_volume_ids=scene.volume_ids,
        target_instance_id=target,
        assume=[[planned], check.result["plan"]],
    )
    assert (later.failed, later.actions) == ("", [])


# --- drills ----------------------------------------------------------------------------------------------------------


def has_tag(shown: Mapping[str, Any], key: str) -> bool:
    return any(tag["Key"] == key for tag in shown.get("Tags", ()))


def test_finished_drill_leaves_no_volume(sandbox: Sandbox) -> None:
    scene = begin(sandbox, data=2)
    scene.capture()
    before = (set(volumes(sandbox)), set(snapshots(sandbox)))
    given: dict[str, Any] = {"source_volume_ids": scene.volume_ids, "drill": True, "drill_id": DRILL}
    check = restore(sandbox, check=True, **given)
    done = restore(sandbox, **given)
    assert (check.failed, done.failed) == ("", "")
    assert check.result["plan"] == done.result["plan"]
    assert done.actions == ["CreateVolume"] * 2 + ["CreateTags"] * 2 + ["DeleteVolume"] * 2
    assert (set(volumes(sandbox)), set(snapshots(sandbox))) == before
    drilled = [entry["snapshot_id"] for entry in done.result["volumes"]]
    assert {one for one, shown in snapshots(sandbox).items() if has_tag(shown, "ec2ops:drilled")} == set(drilled)
    assert all(entry["seconds"] > 0 for entry in done.result["volumes"])
    assert "available after" in done.result["msg"]
    again = restore(sandbox, **given)
    assert (again.failed, again.actions) == ("", done.actions)


def test_each_drill_draws_an_id(sandbox: Sandbox) -> None:
    scene = begin(sandbox)
    scene.capture()
    plans = [restore(sandbox, check=True, source_volume_ids=scene.volume_ids, drill=True).result for _turn in range(2)]
    assert plans[0]["plan"][0]["resource"] != plans[1]["plan"][0]["resource"]


def test_drill_deletes_volumes_of_an_interrupted_drill(sandbox: Sandbox) -> None:
    scene = begin(sandbox)
    (source,) = scene.volume_ids
    snapshot = scene.capture()[source]
    left = left_volume(scene, snapshot)
    before = set(snapshots(sandbox))
    given: dict[str, Any] = {"source_volume_ids": [source], "drill": True, "wait_timeout": 600}
    sandbox.move_clock(600)
    young = restore(sandbox, **given)
    assert (young.failed, left in volumes(sandbox)) == ("", True)
    sandbox.move_clock(601)
    check = restore(sandbox, check=True, drill_id=DRILL, **given)
    done = restore(sandbox, drill_id=DRILL, **given)
    assert check.result["plan"] == done.result["plan"]
    assert done.actions == ["CreateVolume", "CreateTags", "DeleteVolume", "CreateSnapshot", "DeleteVolume"]
    assert left not in volumes(sandbox)
    (final,) = set(snapshots(sandbox)) - before
    assert (snapshots(sandbox)[final]["VolumeId"], snapshots(sandbox)[final]["State"]) == (left, "completed")
    assert any(left in note and final in note for note in done.result["notes"])
    assert any(left in warning for warning in done.warnings)


def test_final_snapshot_of_an_interrupted_deletion_is_taken_anew(sandbox: Sandbox) -> None:
    """Somebody may have written to the volume since."""
    scene = begin(sandbox)
    (source,) = scene.volume_ids
    left = left_volume(scene, scene.capture()[source])
    before = set(snapshots(sandbox))
    sandbox.move_clock(3 * 3600)
    tags = [{"Key": "ec2ops:final", "Value": left}]
    earlier = scene.ec2.create_snapshot(
        VolumeId=left,
        Description=f"restore-drill/{source}/00000001 {source}: final snapshot of {left}",
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}],
    )["SnapshotId"]
    done = restore(sandbox, source_volume_ids=[source], drill=True, wait_timeout=600)
    assert done.failed == ""
    assert done.actions == [
        "CreateVolume",
        "CreateTags",
        "DeleteVolume",
        "CreateSnapshot",
        "DeleteVolume",
        "DeleteSnapshot",
    ]
    assert earlier not in snapshots(sandbox)
    (final,) = set(snapshots(sandbox)) - before
    assert snapshots(sandbox)[final]["State"] == "completed"


def test_drill_measures_the_volumes_beside_a_failed_one_and_leaves_none(sandbox: Sandbox) -> None:
    scene = begin(sandbox, data=2)
    scene.capture()
    before = set(volumes(sandbox))
    with sandbox.fault("CreateVolume", occurrence=2, kind="error", code="VolumeLimitExceeded", status=400):
        ended = restore(sandbox, source_volume_ids=scene.volume_ids, drill=True)
    assert "VolumeLimitExceeded" in ended.failed
    assert [error["code"] for error in ended.result["errors"]] == ["VolumeLimitExceeded"]
    sandbox.move_clock(30)
    assert set(volumes(sandbox)) == before
    assert [entry["action"] for entry in ended.result["done"]] == ["CreateVolume", "CreateTags", "DeleteVolume"]
    (measured,) = ended.result["volumes"]
    assert measured["seconds"] > 0


def test_failed_drill_of_an_instance_deletes_all_its_volumes(sandbox: Sandbox) -> None:
    scene = begin(sandbox, data=1)
    scene.capture_set()
    before = set(volumes(sandbox))
    with sandbox.fault("CreateVolume", occurrence=2, kind="error", code="VolumeLimitExceeded", status=400):
        ended = restore(sandbox, source_instance_id=scene.source.instance_id, drill=True)
    assert "VolumeLimitExceeded" in ended.failed
    sandbox.move_clock(30)
    assert set(volumes(sandbox)) == before
    assert [entry["action"] for entry in ended.result["rolled_back"]] == ["DeleteVolume"]
    assert not any(has_tag(shown, "ec2ops:drilled") for shown in snapshots(sandbox).values())
    assert ended.result["volumes"] == []


def test_refused_deletion_fails_the_drill(sandbox: Sandbox) -> None:
    scene = begin(sandbox)
    scene.capture()
    sandbox.refuse("DeleteVolume")
    ended = restore(sandbox, source_volume_ids=scene.volume_ids, drill=True)
    assert "UnauthorizedOperation" in ended.failed
    assert [entry["action"] for entry in ended.result["done"]] == ["CreateVolume", "CreateTags"]
    assert ended.result["volumes"] == []


# --- the end of a run ------------------------------------------------------------------------------------------------


def test_volume_that_ebs_cannot_make_keeps_no_other_off_the_instance(sandbox: Sandbox) -> None:
    scene = begin(sandbox, data=2)
    scene.capture()
    given = {"source_volume_ids": scene.volume_ids, "target_instance_id": scene.source.instance_id}
    with sandbox.fault("CreateVolume", occurrence=2, kind="error", code="VolumeLimitExceeded", status=400):
        first = restore(sandbox, **given)
    assert "VolumeLimitExceeded" in first.failed
    (there,) = scene.restored().values()
    assert [link["InstanceId"] for link in there["Attachments"]] == [scene.source.instance_id]
    assert [entry["action"] for entry in first.result["not_tried"]] == ["AttachVolume"]
    with sandbox.fault("CreateVolume", kind="error", code="VolumeLimitExceeded", status=400):
        second = restore(sandbox, **given)
    assert "VolumeLimitExceeded" in second.failed
    (there,) = scene.restored().values()
    assert [entry["volume_id"] for entry in second.result["volumes"]] == [there["VolumeId"]]
    assert [link["InstanceId"] for link in there["Attachments"]] == [scene.source.instance_id]
    done = restore(sandbox, **given)
    assert (done.failed, done.actions) == ("", ["CreateVolume", "AttachVolume"])
    assert [entry["changed"] for entry in done.result["volumes"]].count(True) == 1


def test_wait_lasts_until_the_volume_exists(sandbox: Sandbox) -> None:
    scene = begin(sandbox)
    scene.capture()
    done = restore(sandbox, source_volume_ids=scene.volume_ids, zone=ZONE, wait=False)
    assert (done.failed, done.result["volumes"][0]["seconds"]) == ("", None)


def test_refused_restore_makes_no_changing_call(sandbox: Sandbox) -> None:
    scene = begin(sandbox)
    sandbox.reset_log()
    early = (sandbox.now() - timedelta(days=3)).isoformat()
    scene.capture()
    sandbox.reset_log()
    (source,) = scene.volume_ids
    for given, words in (
        ({"source_volume_ids": [source], "zone": ZONE, "before": early}, "taken before"),
        ({"source_volume_ids": ["vol-0123456789abcdef0"], "zone": ZONE}, "vol-0123456789abcdef0"),
        ({"source_volume_ids": ["data"], "zone": ZONE}, "source_volume_ids"),
        (
            {"source_volume_ids": [source], "source_instance_id": "i-0123456789abcdef0", "zone": ZONE},
            "source_volume_ids: the task needs exactly one of",
        ),
        ({"source_volume_ids": [source]}, "zone"),
        ({"source_volume_ids": [source], "zone": "us-east-1q"}, "no usable zone us-east-1q"),
        ({"source_volume_ids": [source], "zone": "nowhere"}, "'nowhere'"),
        ({"source_volume_ids": [source], "zone": "us-west-2-lax-1a"}, "Local Zone"),
        ({"source_volume_ids": [source], "zone": ZONE, "before": "yesterday"}, "before"),
        ({"source_volume_ids": [source], "zone": ZONE, "name": "restore-drill/x"}, "name"),
        ({"source_volume_ids": [source], "zone": ZONE, "drill_id": DRILL}, "drill_id"),
        ({"source_volume_ids": [source], "drill": True, "drill_id": "monday"}, "drill_id"),
        ({"source_volume_ids": [source], "drill": True, "target_instance_id": scene.source.instance_id}, "drill"),
        ({"source_volume_ids": [source], "target_instance_id": "i-0123456789abcdef0"}, "does not exist"),
        ({"source_instance_id": "i-0123456789abcdef0", "zone": ZONE}, "i-0123456789abcdef0"),
    ):
        ended = restore(sandbox, **given)
        assert words in ended.failed, given
        assert ended.result["changed"] is False
    assert changing_calls(sandbox, 0) == []
