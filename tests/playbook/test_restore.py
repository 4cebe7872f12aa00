# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role restore and the playbook restore_volumes: new volumes hold the content of a point in time."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from playbook.seeds import DATA_DEVICE, ROOT_DEVICE, Web, at_once, seed_web
from playbook.support import REGION, Run, assert_done_as_planned, assert_told_the_same, changing_calls, run_playbook
from sandbox.client import Sandbox

PLAYBOOK = "ec2ops.storage.restore_volumes"
RESULT = "restore_result"
ELSEWHERE = "eu-west-1"
DAY = 86400


@pytest.fixture(autouse=True)
def far_from_midnight(sandbox: Sandbox) -> None:
    """The runs of a test are of one day."""
    now = sandbox.now()
    if (now + timedelta(minutes=10)).date() != now.date():
        sandbox.move_clock(600)


def rotated(sandbox: Sandbox, **policy: Any) -> dict[str, Any]:
    """The result of the policy that took the snapshots."""
    given = {"policy": "p", "keep": {"last": 9}, **policy}
    run = run_playbook(sandbox, "ec2ops.storage.rotate_snapshots", {"rotate_snapshots_policies": [given]})
    assert run.status == 0, run.output
    told: dict[str, Any] = run.fact("snapshot_policy_result")["policies"][0]
    return told


def restore(sandbox: Sandbox, *, check: bool = False, **given: Any) -> Run:
    return run_playbook(
        sandbox, PLAYBOOK, {f"restore_volumes_{name}": value for name, value in given.items()}, check=check
    )


def restored(sandbox: Sandbox, **given: Any) -> list[dict[str, Any]]:
    """Check, run, check again, run again, each compared with its calls. Returns the volumes of the run's result."""
    check = restore(sandbox, check=True, **given)
    assert check.status == 0, check.output
    sandbox.reset_log()
    run = restore(sandbox, **given)
    assert run.status == 0, run.output
    foreseen, result = check.fact(RESULT), run.fact(RESULT)
    assert (foreseen["changed"], result["changed"]) == (True, True)
    assert_told_the_same(foreseen["plan"], result["plan"], run.planned_ids)
    assert_done_as_planned(result["plan"], sandbox.log(), run.planned_ids)
    assert foreseen["notes"] == result["notes"]
    again(sandbox, result["volumes"], **given)
    volumes: list[dict[str, Any]] = result["volumes"]
    return volumes


def again(sandbox: Sandbox, volumes: list[dict[str, Any]], **given: Any) -> None:
    """A check and a run that change nothing, and name the restored volumes."""
    sandbox.reset_log()
    for check in (True, False):
        run = restore(sandbox, check=check, **given)
        assert run.status == 0, run.output
        told = run.fact(RESULT)
        assert (told["changed"], told["plan"]) == (False, [])
        for name in ("source", "snapshot_id", "volume_id", "device", "zone"):
            assert [entry[name] for entry in told["volumes"]] == [entry[name] for entry in volumes]
        assert {entry["changed"] for entry in told["volumes"]} == {False}
    assert changing_calls(sandbox.log()) == []


def described(sandbox: Sandbox, volume_id: str, region: str = REGION) -> dict[str, Any]:
    (found,) = sandbox.client("ec2", region).describe_volumes(VolumeIds=[volume_id])["Volumes"]
    return {**found, "Tags": {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}}


def content(sandbox: Sandbox, resource_id: str) -> list[dict[str, Any]]:
    marks: list[dict[str, Any]] = sandbox.marks(resource_id)["marks"]
    return marks


def texts(marks: list[dict[str, Any]]) -> list[str]:
    """The marks that a test has written, without those of the machine."""
    return [mark["text"] for mark in marks if mark["text"] not in ("start", "tick", "stop")]


def tagged_volume(sandbox: Sandbox, snapshot: str, tags: Mapping[str, str]) -> str:
    """A volume that a restore has made some time ago, or a drill that was killed."""
    specification = {"ResourceType": "volume", "Tags": [{"Key": key, "Value": tags[key]} for key in sorted(tags)]}
    with at_once(sandbox):
        made = sandbox.client("ec2", REGION).create_volume(
            AvailabilityZone=f"{REGION}a", SnapshotId=snapshot, TagSpecifications=[specification]
        )
    return str(made["VolumeId"])


@pytest.mark.cores
def test_volume_is_restored_as_of_a_time(sandbox: Sandbox, web: Web) -> None:
    ec2, volume = sandbox.client("ec2", REGION), web.data_volume_id
    with at_once(sandbox):
        ec2.modify_volume(VolumeId=volume, Iops=4000, Throughput=200)
        ec2.create_tags(Resources=[volume], Tags=[{"Key": "Name", "Value": "data"}, {"Key": "team", "Value": "shop"}])
        sandbox.move_clock(3600)
    sandbox.add_mark(volume, "monday")
    (monday,) = rotated(sandbox, select={"volume_ids": [volume]})["created"]
    sandbox.move_clock(DAY)
    between = sandbox.now().isoformat()
    sandbox.add_mark(volume, "tuesday")
    (tuesday,) = rotated(sandbox, select={"volume_ids": [volume]})["created"]
    sandbox.add_mark(volume, "lost")
    # The machine and all of its volumes are gone.
    with at_once(sandbox):
        ec2.terminate_instances(InstanceIds=[web.instance_id])
        sandbox.move_clock(60)
        ec2.delete_volume(VolumeId=volume)

    zone = f"{REGION}b"
    (newest,) = restored(sandbox, source_volume_ids=[volume], zone=zone)
    assert (newest["source"], newest["snapshot_id"], newest["device"], newest["zone"]) == (volume, tuesday, None, zone)
    made = described(sandbox, newest["volume_id"])
    assert [made[name] for name in ("VolumeType", "Iops", "Throughput", "Size")] == ["gp3", 4000, 200, 20]
    assert made["Tags"] == {
        "Name": "data",
        "team": "shop",
        "ec2ops:spec": f"restore/{volume}",
        "ec2ops:volume": volume,
    }
    assert content(sandbox, newest["volume_id"]) == content(sandbox, tuesday)
    assert texts(content(sandbox, newest["volume_id"])) == ["monday", "tuesday"]
    # Newer snapshots of it change nothing: the restored volumes are in use by now.
    ec2.create_snapshot(
        VolumeId=newest["volume_id"],
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": [{"Key": "ec2ops:source", "Value": volume}]}],
    )
    sandbox.move_clock(60)
    again(sandbox, [newest], source_volume_ids=[volume], zone=zone)

    given = {"source_volume_ids": [volume], "zone": zone, "before": between, "name": "as-of-monday"}
    run = restore(sandbox, **given)
    assert run.status == 0, run.output
    (older,) = run.fact(RESULT)["volumes"]
    assert (older["snapshot_id"], older["volume_id"] != newest["volume_id"]) == (monday, True)
    assert texts(content(sandbox, older["volume_id"])) == ["monday"]
    assert described(sandbox, older["volume_id"])["Tags"]["ec2ops:spec"] == "as-of-monday"


def test_instance_is_restored_from_a_whole_set_on_another_instance(sandbox: Sandbox, web: Web) -> None:
    policy = {"select": {"instance_ids": [web.instance_id]}, "consistency": "instance"}
    sandbox.add_mark(web.data_volume_id, "whole")
    whole = rotated(sandbox, **policy)["created"]
    held = {name: content(sandbox, name) for name in whole}
    sandbox.move_clock(DAY)
    sandbox.add_mark(web.data_volume_id, "in part")
    part = rotated(sandbox, **policy)["created"]
    # A part of the newest set has been deleted by hand.
    ec2 = sandbox.client("ec2", REGION)
    ec2.delete_snapshot(SnapshotId=part[0])
    sandbox.move_clock(DAY)
    target = seed_web(sandbox, REGION, "target")

    given = {"source_instance_id": web.instance_id, "target_instance_id": target.instance_id}
    volumes = restored(sandbox, **given)
    assert [entry["source"] for entry in volumes] == sorted([web.root_volume_id, web.data_volume_id])
    assert {entry["snapshot_id"] for entry in volumes} == set(whole)
    assert len({entry["point_in_time"] for entry in volumes}) == 1
    # No volume was detached for it: the devices of both were in use.
    assert not {entry["device"] for entry in volumes} & {ROOT_DEVICE, DATA_DEVICE}
    (found,) = ec2.describe_instances(InstanceIds=[target.instance_id])["Reservations"][0]["Instances"]
    devices = {device["DeviceName"]: device["Ebs"]["VolumeId"] for device in found["BlockDeviceMappings"]}
    assert {ROOT_DEVICE: target.root_volume_id, DATA_DEVICE: target.data_volume_id}.items() <= devices.items()
    for entry in volumes:
        assert devices[entry["device"]] == entry["volume_id"]
        point = held[entry["snapshot_id"]]
        # The machine goes on writing from there.
        assert content(sandbox, entry["volume_id"])[: len(point)] == point


def test_volume_restored_under_another_name_belongs_to_that_name(sandbox: Sandbox, web: Web) -> None:
    policy = {"select": {"instance_ids": [web.instance_id]}, "consistency": "instance"}
    rotated(sandbox, **policy)
    given = {"source_instance_id": web.instance_id, "zone": f"{REGION}a"}
    monday = restore(sandbox, **given, name="restore/monday")
    assert monday.status == 0, monday.output
    sandbox.move_clock(DAY)
    newer = rotated(sandbox, **policy)["created"]
    run = restore(sandbox, **given)
    assert run.status == 0, run.output
    assert {entry["snapshot_id"] for entry in run.fact(RESULT)["volumes"]} == set(newer)
    # A volume beside another one, in that volume's own declaration.
    root, data = web.root_volume_id, web.data_volume_id
    tagged_volume(sandbox, newer[0], {"ec2ops:spec": f"restore/{data}", "ec2ops:volume": root})
    check = restore(sandbox, check=True, source_volume_ids=[root, data], zone=f"{REGION}a")
    assert check.status == 0, check.output
    assert len(check.fact(RESULT)["plan"]) == 2


def test_copies_in_a_region_are_restored_there(sandbox: Sandbox, web: Web) -> None:
    volume = web.data_volume_id
    sandbox.add_mark(volume, "copied")
    copies = [{"region": ELSEWHERE, "keep": {"last": 2}, "wait": True}]
    told = rotated(sandbox, select={"volume_ids": [volume]}, copies=copies)
    run = restore(sandbox, source_volume_ids=[volume], region=ELSEWHERE, zone=f"{ELSEWHERE}a")
    assert run.status == 0, run.output
    (entry,) = run.fact(RESULT)["volumes"]
    assert [entry["snapshot_id"]] == told["copied"]
    assert texts(content(sandbox, entry["volume_id"])) == ["copied"]
    assert described(sandbox, entry["volume_id"], ELSEWHERE)["AvailabilityZone"] == f"{ELSEWHERE}a"
    # The time of its original counts, and not its slot, which began at midnight.
    early = sandbox.now().replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(seconds=1)
    failed = restore(
        sandbox,
        source_volume_ids=[volume],
        region=ELSEWHERE,
        zone=f"{ELSEWHERE}a",
        before=early.isoformat(),
        name="earlier",
    )
    assert failed.status != 0
    assert any(volume in text and ELSEWHERE in text and "taken at" in text for text in failed.failures), failed.output


def everything(sandbox: Sandbox) -> tuple[dict[str, str], dict[str, str]]:
    ec2 = sandbox.client("ec2", REGION)
    volumes = {one["VolumeId"]: one["State"] for one in ec2.describe_volumes()["Volumes"]}
    snapshots = {one["SnapshotId"]: one["State"] for one in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]}
    return volumes, snapshots


@pytest.mark.cores
def test_a_drill_restores_measures_and_leaves_nothing(sandbox: Sandbox, web: Web) -> None:
    volume = web.data_volume_id
    (snapshot,) = rotated(sandbox, select={"volume_ids": [volume]})["created"]
    own = f"restore-drill/{volume}"
    left = tagged_volume(sandbox, snapshot, {"ec2ops:spec": f"{own}/00000001", "ec2ops:volume": volume})
    for name in (own, "restore-drill/weekly"):
        tagged_volume(sandbox, snapshot, {"ec2ops:spec": name, "ec2ops:volume": volume})
    sandbox.move_clock(2 * 3600)
    # The volume may belong to a drill that is under way.
    tagged_volume(sandbox, snapshot, {"ec2ops:spec": f"{own}/00000002", "ec2ops:volume": volume})
    before = everything(sandbox)
    given = {"source_volume_ids": [volume], "drill": True}
    check = restore(sandbox, check=True, **given)
    assert check.status == 0, check.output
    assert everything(sandbox) == before
    sandbox.reset_log()
    run = restore(sandbox, **given)
    assert run.status == 0, run.output
    # No fact distinguishes a volume made by hand from one that an interrupted drill left, so its content is kept. The
    # drill and that volume do not wait for each other.
    assert (
        sorted(changing_calls(sandbox.log())) == ["CreateSnapshot", "CreateTags", "CreateVolume"] + ["DeleteVolume"] * 2
    )
    foreseen, result = check.fact(RESULT), run.fact(RESULT)
    assert_done_as_planned(result["plan"], sandbox.log(), run.planned_ids)
    # Each run has a name of its own.
    (planned,) = (name for name, found in run.planned_ids.items() if found.startswith("vol-"))
    (final,) = (found for found in run.planned_ids.values() if found.startswith("snap-"))
    alike = json.loads(
        re.sub(rf"{own}/(?!0000000)[0-9a-f]{{8}}", planned.split()[2].rpartition("/")[0], json.dumps(foreseen))
    )
    assert_told_the_same(alike["plan"], result["plan"], run.planned_ids)
    assert [entry["resource"] for entry in result["plan"] if entry["action"] == "DeleteVolume"] == [planned, left]
    assert any(left in note and final in note for note in result["notes"]), result["notes"]
    (entry,) = run.fact(RESULT)["volumes"]
    assert (entry["source"], entry["snapshot_id"], entry["changed"]) == (volume, snapshot, True)
    assert entry["seconds"] > 0
    del before[0][left]
    before[1][final] = "completed"
    assert everything(sandbox) == before

    sandbox.refuse("DeleteVolume")
    run = restore(sandbox, **given)
    assert run.status != 0, run.output
    result = run.fact(RESULT)
    # On a slow machine the other drill's volume is old by now, and gets its final snapshot before it is refused too.
    made = [entry["action"] for entry in result["plan"] if entry["action"] != "CreateSnapshot"]
    assert made == ["CreateVolume", "CreateTags"]
    (failure,) = run.failures
    assert "DeleteVolume" in failure
    assert "UnauthorizedOperation" in failure


def test_ids_in_any_form_are_queried_in_portions(sandbox: Sandbox, web: Web) -> None:
    both = [web.root_volume_id, web.data_volume_id]
    rotated(sandbox, select={"volume_ids": both})
    given = {f"restore_volumes_{name}": None for name in ("before", "name", "region", "target_instance_id", "drill")}
    given |= {"restore_volumes_source_volume_ids": ",".join(both) + "\n", "restore_volumes_zone": f"{REGION}a"}
    check = run_playbook(sandbox, PLAYBOOK, given, check=True)
    assert check.status == 0, check.output
    assert [entry["source"] for entry in check.fact(RESULT)["volumes"]] == sorted(both)
    # EC2 takes 200 values in a question.
    sandbox.reset_log()
    many = [f"vol-{number:017x}" for number in range(101)]
    run = restore(sandbox, source_volume_ids=json.dumps(many), zone=f"{REGION}a")
    assert any(many[9] in text and "91 more" in text for text in run.failures), run.output
    filters = [entry["params"].get("Filter") or entry["params"].get("Filters") or [] for entry in sandbox.log()]
    counts = [sum(len(each["Values"]) for each in asked) for asked in filters]
    assert 100 < max(counts) <= 200


def test_unrestorable_source_is_refused_before_any_change(sandbox: Sandbox, web: Web) -> None:
    volume, zone = web.data_volume_id, f"{REGION}a"
    (snapshot,) = rotated(sandbox, select={"volume_ids": [volume]})["created"]
    other = seed_web(sandbox, REGION, "other")
    there = tagged_volume(sandbox, snapshot, {"ec2ops:spec": "there", "ec2ops:volume": volume})
    with at_once(sandbox):
        sandbox.client("ec2", REGION).attach_volume(VolumeId=there, InstanceId=web.instance_id, Device="/dev/sdq")
    sandbox.reset_log()
    early = (sandbox.now() - timedelta(days=2)).isoformat()
    for given, parts in (
        ({"source_volume_ids": [volume], "zone": zone, "before": early}, (volume, "before", snapshot)),
        ({"source_volume_ids": ["vol-0123456789abcdef0"], "zone": zone}, ("vol-0123456789abcdef0", REGION)),
        (
            {"source_volume_ids": [volume], "zone": f"{REGION}b", "name": "there"},
            (there, "another restore_volumes_name"),
        ),
        (
            {"source_volume_ids": [volume], "target_instance_id": other.instance_id, "name": "there"},
            (there, "another restore_volumes_name"),
        ),
        ({"source_volume_ids": ["data"], "zone": zone}, ("restore_volumes_source_volume_ids", "data")),
        ({"source_instance_id": "*", "zone": zone}, ("restore_volumes_source_instance_id", "*")),
        ({"source_volume_ids": [volume], "zone": zone, "before": "yesterday"}, ("restore_volumes_before", "yesterday")),
        ({"source_volume_ids": [volume]}, ("restore_volumes_zone", "restore_volumes_target_instance_id")),
        (
            {"source_volume_ids": [volume], "zone": zone, "name": "restore-drill/weekly"},
            ("restore_volumes_name", "drills"),
        ),
        ({"source_volume_ids": [volume], "drill": True, "target_instance_id": web.instance_id}, ("drill",)),
    ):
        run = restore(sandbox, **given)
        assert run.status != 0, run.output
        assert any(all(part in text for part in parts) for text in run.failures), run.output
    assert changing_calls(sandbox.log()) == []
