# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The plan of `snapshot_restore` from EC2's answers: tables without a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import (
    Incomplete,
    SpecError,
    StorageError,
    UnsafePlan,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import INSTANCE_TYPE, IS_USABLE_ZONE
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prediction import overlay
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Fact,
    Instance,
    Resource,
    Snapshot,
    Volume,
    VolumeAttachment,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import NeedsAnswers, Query, State

from restore_world import HOUR, NOW, REGION, TARGET, V1, V2, ZONE, instance, planned, snapshot, spec_of, state_of

MADE, OTHER = "vol-0000000000000000a", "vol-0000000000000000b"
SOURCE = "i-00000000000000001"


def restored(volume_id: str = MADE, of: str = V1, made_from: int = 1, **fields: Any) -> Volume:
    """A volume that an earlier run has made."""
    tags = {"ec2ops:spec": f"restore/{of}", "ec2ops:volume": of, **fields.pop("tags", {})}
    given = {"state": "available", "size": 8, "availability_zone": ZONE, "create_time": NOW - HOUR / 2, **fields}
    return Volume(volume_id, snapshot_id=f"snap-{made_from:017x}", tags=tags, **given)


def actions(plan: Plan) -> list[str]:
    return [change.action for change in plan.changes]


def after(plan: Plan, *resources: Resource) -> State:
    return overlay(state_of(*resources), plan.published(), everywhere=True)


@pytest.mark.parametrize(
    "given", [{}, {"target_instance_id": TARGET}, {"name": "mine"}, {"source_volume_ids": [V1, V2]}], ids=str
)
def test_plan_of_the_predicted_state_is_empty(given: dict[str, Any]) -> None:
    there = (snapshot(1), snapshot(2, V2), instance())
    plan = planned(*there, **given)
    assert plan.changes
    again = planner.plan(spec_of(**given), after(plan, *there), NOW)
    assert again.changes == ()
    told, first = again.report.result["volumes"], plan.report.result["volumes"]
    assert told == [{**entry, "changed": False} for entry in first]


def test_request_has_the_recorded_properties() -> None:
    tags = {"Name": "data", "ec2ops:origin": f"io2 8 2000 - {ZONE} {SOURCE} /dev/sdg", "aws:x": "y"}
    recorded = snapshot(tags=tags, description=f"p: {V1}", encrypted=True, kms_key_id="arn:key")
    plan = planned(recorded, instance(), target_instance_id=TARGET)
    create, attach = plan.changes
    assert create.parameters == {
        "AvailabilityZone": ZONE,
        "VolumeType": "io2",
        "Size": 8,
        "SnapshotId": recorded.snapshot_id,
        "Iops": 2000,
        "TagSpecifications": [
            {
                "ResourceType": "volume",
                "Tags": [
                    {"Key": "Name", "Value": "data"},
                    {"Key": "ec2ops:spec", "Value": f"restore/{V1}"},
                    {"Key": "ec2ops:volume", "Value": V1},
                ],
            }
        ],
    }
    assert (create.after or {})["kms_key_id"] == "arn:key"
    assert attach.parameters == {"InstanceId": TARGET, "Device": "/dev/sdg"}


def test_client_token_is_that_of_earlier_versions() -> None:
    """A volume of a run that was killed before it knew the answer is not made twice."""
    (create,) = planned(snapshot()).changes
    assert create.token == (f"restore/{V1}", V1, ZONE, snapshot().snapshot_id, "")


def test_drills_volume_has_no_tags_of_its_source() -> None:
    plan = planned(snapshot(tags={"Backup": "daily"}), drill=True, drill_id="0a1b2c3d", zone=ZONE)
    assert actions(plan) == ["CreateVolume", "CreateTags", "DeleteVolume"]
    (specification,) = plan.changes[0].parameters["TagSpecifications"]
    assert {tag["Key"] for tag in specification["Tags"]} == {"ec2ops:spec", "ec2ops:volume"}


@pytest.mark.parametrize(
    ("recorded", "zones", "expected"),
    [
        ("eu-central-1b", ("a", "b"), "eu-central-1b"),
        ("eu-west-1a", ("b", "a"), ZONE),
        ("-", ("c", "a"), ZONE),
    ],
)
def test_drill_chooses_a_zone(recorded: str, zones: tuple[str, ...], expected: str) -> None:
    tags = {"ec2ops:origin": f"gp3 8 3000 125 {recorded} {SOURCE} /dev/sdf"}
    facts = [IS_USABLE_ZONE.fact(f"{REGION}{letter}", True) for letter in zones]
    plan = planned(snapshot(tags=tags), *facts, drill=True)
    assert plan.changes[0].parameters["AvailabilityZone"] == expected


# --- devices and limits ----------------------------------------------------------------------------------------------


def device_of(plan: Plan) -> list[str]:
    return [change.parameters["Device"] for change in plan.changes if change.action == "AttachVolume"]


def recording(device: str, number: int = 1, of: str = V1) -> Snapshot:
    return snapshot(number, of, tags={"ec2ops:origin": f"gp3 8 3000 125 {ZONE} {SOURCE} {device}"})


@pytest.mark.parametrize(
    ("recorded", "there", "expected"),
    [
        ("/dev/sdh", (), "/dev/sdh"),
        ("/dev/sdh", (BlockDevice("/dev/xvdh", OTHER),), "/dev/sdf"),
        ("/dev/sdf", (BlockDevice("/dev/sdf", OTHER),), "/dev/sdg"),
        # A root is at /dev/xvda already, or EC2 takes the name for paravirtual instances only.
        ("/dev/sda1", (), "/dev/sdf"),
        ("/dev/sdh1", (), "/dev/sdf"),
    ],
)
def test_recorded_device_is_taken_where_it_is_free(
    recorded: str, there: tuple[BlockDevice, ...], expected: str
) -> None:
    target = instance(TARGET, *there, facts={"VirtualizationType": "hvm"})
    assert device_of(planned(recording(recorded), target, target_instance_id=TARGET)) == [expected]


def test_no_recorded_device_is_given_to_another_volume() -> None:
    volumes = {"source_volume_ids": [V1, V2], "target_instance_id": TARGET}
    plan = planned(snapshot(1), recording("/dev/sdf", 2, V2), instance(), **volumes)
    devices = {entry["source"]: entry["device"] for entry in plan.report.result["volumes"]}
    assert devices == {V1: "/dev/sdg", V2: "/dev/sdf"}


def test_devices_given_by_earlier_tasks_count_as_used() -> None:
    planned_there = Volume("(new volume x/y)", attachments=(VolumeAttachment(TARGET, "/dev/sdf"),))
    assert device_of(planned(snapshot(), instance(), planned_there, target_instance_id=TARGET)) == ["/dev/sdg"]


@pytest.mark.parametrize(("most", "refused"), [(3, True), (4, False)])
def test_attachment_limit_of_the_target_type_is_enforced(most: int, refused: bool) -> None:
    held = [
        Volume(f"vol-{number:017x}", attachments=(VolumeAttachment(TARGET, f"/dev/sd{letter}"),))
        for number, letter in ((7, "q"), (8, "r"))
    ]
    facts = INSTANCE_TYPE.fact("t3.micro", {"EbsInfo": {"MaximumEbsAttachments": most}})
    there = (snapshot(1), snapshot(2, V2), instance(), *held, facts)
    given = {"source_volume_ids": [V1, V2], "target_instance_id": TARGET}
    if refused:
        with pytest.raises(UnsafePlan, match=r"takes 3 volumes, and i-[0-9a-f]+ would have 4"):
            planned(*there, **given)
    else:
        assert actions(planned(*there, **given)).count("AttachVolume") == 2


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (instance(facts={"OutpostArn": "arn:outpost"}), "the Outpost arn:outpost"),
        (instance(availability_zone="us-west-2-lax-1a"), "the Local Zone"),
        (instance(state="terminated"), "is terminated"),
        (None, "does not exist"),
    ],
)
def test_unusable_target_is_refused(target: Instance | None, words: str) -> None:
    with pytest.raises(StorageError, match=words) as refused:
        planned(snapshot(), *([target] if target else []), target_instance_id=TARGET)
    assert str(refused.value).startswith("target_instance_id: ")


# --- what was restored before ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "given", "words"),
    [
        ({"availability_zone": "eu-central-1b"}, {"name": "mine"}, f"name: {MADE}"),
        (
            {"attachments": (VolumeAttachment(SOURCE, "/dev/sdf"),)},
            {"name": "mine", "target_instance_id": TARGET},
            f"name: {MADE}",
        ),
        ({"state": "error"}, {}, f"the restored volume {MADE} has the state error, so EBS has lost it"),
    ],
    ids=["another zone", "another instance", "lost"],
)
def test_unusable_restored_volume_is_refused(fields: dict[str, Any], given: dict[str, Any], words: str) -> None:
    tags = {"ec2ops:spec": given.get("name", f"restore/{V1}"), "ec2ops:volume": V1}
    there = (snapshot(1), snapshot(2, V2), restored(**fields, tags=tags), instance())
    with pytest.raises((SpecError, UnsafePlan)) as refused:
        planned(*there, **given)
    assert words in str(refused.value)
    plan = planned(*there, source_volume_ids=[V1, V2], **given)
    assert isinstance(plan.refused, Incomplete)
    assert words in str(plan.refused)
    assert [entry["source"] for entry in plan.report.result["volumes"]] == [V2]


def test_volume_in_use_elsewhere_in_the_zone_is_in_its_place() -> None:
    used = restored(state="in-use", attachments=(VolumeAttachment(SOURCE, "/dev/sdk"),))
    plan = planned(snapshot(), used)
    assert plan.is_empty
    assert plan.report.result["volumes"][0]["device"] == "/dev/sdk"


@pytest.mark.parametrize(
    ("fields", "target", "goals"),
    [
        ({"state": "creating"}, {}, ["volume_available"]),
        ({}, {"state": "pending"}, ["running"]),
        ({}, {"state": "stopping"}, ["stopped"]),
        ({"attachments": (VolumeAttachment(TARGET, "/dev/sdf", "detaching"),)}, {}, ["detached"]),
    ],
    ids=["creating", "pending", "stopping", "detaching"],
)
def test_attachment_waits_for_running_changes(fields: dict[str, Any], target: dict[str, Any], goals: list[str]) -> None:
    plan = planned(snapshot(), restored(**fields), instance(**target), target_instance_id=TARGET)
    first = plan.stages[0]
    assert (first.changes, [wait.goal for wait in first.waits]) == ((), goals)
    assert actions(plan) == ["AttachVolume"]


def test_volume_that_is_being_attached_is_waited_for() -> None:
    joining = restored(state="in-use", attachments=(VolumeAttachment(TARGET, "/dev/sdf", "attaching"),))
    plan = planned(snapshot(), joining, instance(), target_instance_id=TARGET)
    assert plan.is_empty
    assert [wait.goal for stage in plan.stages for wait in stage.waits] == ["attached"]


def test_existing_volumes_are_attached_before_new_ones_are_available() -> None:
    there = (snapshot(1), snapshot(2, V2), restored(), instance())
    plan = planned(*there, source_volume_ids=[V1, V2], target_instance_id=TARGET)
    assert actions(plan) == ["AttachVolume", "CreateVolume", "AttachVolume"]
    assert plan.changes[0].resource == MADE


# --- few rounds ------------------------------------------------------------------------------------------------------

KINDS: dict[str, type[Any]] = {
    "DescribeVolumes": Volume,
    "DescribeSnapshots": Snapshot,
    "DescribeInstances": Instance,
}


def rounds(resources: Iterable[Resource], **given: Any) -> list[list[Query]]:
    """The queries of each round. Each is answered with all resources of its kind."""
    several = list(resources)
    state, asked = State(REGION, open=True), []
    while True:
        try:
            planner.plan(spec_of(**given), dataclasses.replace(state, now=NOW), NOW)
        except NeedsAnswers as needed:
            asked.append(list(needed.queries))
            zone = IS_USABLE_ZONE.fact(ZONE, True)
            state = state.with_answers(
                {
                    query: [*(item for item in several if isinstance(item, KINDS.get(query.operation, Fact))), zone]
                    for query in needed.queries
                }
            )
        else:
            return asked


def set_of(*volumes: str) -> list[Snapshot]:
    tags = {"ec2ops:set": f"{SOURCE}/2026-11-24T00:00+00:00", "ec2ops:parts": str(len(volumes))}
    return [snapshot(number, of, tags=tags, description=f"p: {SOURCE}") for number, of in enumerate(volumes, 1)]


@pytest.mark.parametrize(
    ("resources", "given", "most"),
    [
        ([snapshot()], {}, 2),
        ([snapshot(), instance()], {"target_instance_id": TARGET}, 2),
        ([snapshot(), restored()], {}, 2),
        ([snapshot()], {"drill": True}, 1),
        (set_of(V1, V2), {"source_instance_id": SOURCE}, 2),
        (set_of(V1, V2), {"source_instance_id": SOURCE, "drill": True}, 1),
        ([snapshot(tags={"ec2ops:origin": f"gp3 8 - - {ZONE} {SOURCE} /dev/sdf"})], {"source_instance_id": SOURCE}, 4),
    ],
    ids=["zone", "target", "again", "drill", "instance", "drill of an instance", "instance without sets"],
)
def test_restore_needs_few_rounds_of_queries(resources: list[Resource], given: dict[str, Any], most: int) -> None:
    asked = rounds(resources, **given)
    assert len(asked) <= most, asked
    queries = [query for several in asked for query in several]
    assert len(queries) == len(set(queries))
    for query in queries:
        if query.operation == "DescribeSnapshots":
            assert dict(query.arguments)["OwnerIds"] == ("self",)


def test_second_run_queries_neither_zone_nor_target() -> None:
    asked = {query.operation for several in rounds([snapshot(), restored()]) for query in several}
    assert asked == {"DescribeVolumes", "DescribeSnapshots"}


@pytest.mark.parametrize(("known", "number"), [([snapshot()], 3), ([], 4)], ids=["shown", "gone"])
def test_second_run_asks_for_a_snapshot_by_id_only_if_its_source_does_not_show_it(
    known: list[Snapshot], number: int
) -> None:
    asked = [query.operation for several in rounds([*known, restored()]) for query in several]
    assert asked.count("DescribeSnapshots") == number


def test_forged_volume_with_a_gone_snapshot_stops_no_restore_of_an_instance() -> None:
    forged = restored(made_from=9, attachments=(VolumeAttachment(SOURCE, "/dev/sdf"),), availability_zone="eu-west-1a")
    tags = {**forged.tags, "ec2ops:volume": f"{SOURCE}/{V1}"}
    plan = planned(*set_of(V1, V2), dataclasses.replace(forged, tags=tags), source_instance_id=SOURCE)
    assert actions(plan) == ["CreateVolume"] * 2
    assert any(V1 in warning for warning in plan.warnings)


def test_notes_are_shown_without_control_characters() -> None:
    """The source of a copy without a record of its own is the claim of a tag, which anybody may have written."""
    copy = snapshot(2, "vol-ffffffff", description="a copy", tags={"ec2ops:source": "\u202e\nall is well"})
    plan = planned(snapshot(1), copy, restored(made_from=2))
    notes = plan.report.result["notes"]
    assert any("whose description does not name the volume" in note for note in notes)
    assert all(note.isprintable() for note in notes)
