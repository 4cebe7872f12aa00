# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relaunches that move data volumes, the Elastic IP and targets: the plan, its rollback, and every resumption."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import ANY_FAILURE
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Resource,
    Volume,
    VolumeAttachment,
)

from moves_world import (
    BY_ADDRESS,
    MOVE_ALL,
    MOVES,
    RECORD,
    address,
    back_of,
    balancers,
    held_old,
    new,
    old,
    steps,
    volume,
)
from relaunch_world import DATA, NEW, NOW, OLD, OTHER, ROOT, plan, spec

FULL_BACK = [
    "CreateTags new",
    "StopInstances new",
    "DetachVolume data new",
    "AttachVolume data old",
    "StartInstances old",
    "AssociateAddress address old",
    "DeregisterTargets ip",
    "DeregisterTargets web",
    "DeregisterInstancesFromLoadBalancer shop",
    "TerminateInstances new",
    "DeleteTags old",
]


def world() -> list[Resource]:
    return [old(), volume(OLD), address(), *balancers(OLD)]


def test_everything_moves_before_the_successor_serves_and_the_predecessor_leaves_afterwards() -> None:
    made = plan(spec(**MOVE_ALL), *world())
    assert steps(made.stages) == [
        "RunInstances new",
        "CreateTags new",
        "StopInstances new",
        "CreateTags old",
        "StopInstances old",
        "DetachVolume data old",
        "AttachVolume data new",
        "StartInstances new",
        "AssociateAddress address new",
        "RegisterTargets ip",
        "RegisterTargets web",
        "RegisterInstancesWithLoadBalancer shop",
        "CreateTags new",
        "DeregisterTargets ip",
        "DeregisterTargets web",
        "DeregisterInstancesFromLoadBalancer shop",
        "DeleteTags old",
        "DeleteTags new",
    ]
    launch = made.changes[0]
    assert launch.after is not None
    assert launch.after["tags"][MOVES] == RECORD
    (by_address,) = (
        change for change in made.changes if change.action == "RegisterTargets" and change.resource == BY_ADDRESS
    )
    assert by_address.parameters == {"Targets": [{"Id": launch.after["private_ip_address"], "Port": 8080}]}
    assert made.changes[1].after is not None
    assert made.changes[1].after["tags"][MOVES] == f"{RECORD} at={launch.after['private_ip_address']}"


@pytest.mark.parametrize(
    "action", ["DetachVolume", "AttachVolume", "StartInstances", "AssociateAddress", "RegisterTargets"]
)
def test_failure_of_each_step_returns_every_part_before_the_termination(action: str) -> None:
    made = plan(spec(**MOVE_ALL), *world())
    assert back_of(made, action) == FULL_BACK


def test_failure_of_the_mark_still_returns_every_part() -> None:
    made = plan(spec(**MOVE_ALL), *world())
    (mark,) = (
        stage
        for stage in made.stages
        if stage.on_failure
        and stage.changes[:1]
        and stage.changes[0].provided
        and stage.changes[0].action == "CreateTags"
    )
    assert mark.rollback_on == ANY_FAILURE | {"superseded"}
    assert steps(mark.on_failure) == FULL_BACK


def test_failure_of_the_stops_leaves_the_volumes_alone() -> None:
    back = back_of(plan(spec(**MOVE_ALL), *world()), "StopInstances")
    assert "StartInstances old" in back
    assert not [step for step in back if "Volume" in step]


def test_predecessor_serves_until_the_successor_has_stopped() -> None:
    made = plan(spec(**MOVE_ALL), old(), new(), volume(OLD), address(), *balancers(OLD))
    first, second = (
        stage for stage in made.stages if any(change.action == "StopInstances" for change in stage.changes)
    )
    assert [(wait.resources, wait.goal, wait.urgent) for wait in first.waits] == [((NEW,), "stopped", False)]
    assert [(wait.resources, wait.goal, wait.urgent) for wait in second.waits] == [((OLD,), "stopped", True)]


def test_kept_successor_still_gives_every_part_back() -> None:
    made = plan(spec(**MOVE_ALL, on_failure="keep"), *world())
    assert back_of(made, "AttachVolume") == [step for step in FULL_BACK if step != "TerminateInstances new"]


def test_address_alone_moves_without_a_stop_of_the_predecessor_before_the_mark() -> None:
    made = plan(spec(elastic_ip="move"), old(), volume(OLD), address())
    assert steps(made.stages) == [
        "RunInstances new", "AssociateAddress address new", "CreateTags new", "StopInstances old", "DeleteTags new",
    ]  # fmt: skip
    assert back_of(made, "AssociateAddress") == [
        "CreateTags new",
        "AssociateAddress address old",
        "TerminateInstances new",
    ]
    (associate,) = (change for change in made.changes if change.action == "AssociateAddress")
    assert associate.parameters == {"InstanceId": OTHER, "AllowReassociation": True}


def test_status_checks_after_the_start_with_the_volumes_do_not_delay_the_address() -> None:
    made = plan(spec(**MOVE_ALL), *world())
    events = [
        event
        for stage in made.stages
        for event in (*(change.action for change in stage.changes), *(wait.goal for wait in stage.waits))
        if event in ("StartInstances", "running", "AssociateAddress", "in_service", "healthy", "DeregisterTargets")
    ]
    assert events[:3] == ["healthy", "StartInstances", "running"]
    assert list(dict.fromkeys(events[3:])) == ["AssociateAddress", "in_service", "healthy", "DeregisterTargets"]
    last = next(stage for stage in reversed(made.stages) if any(wait.goal == "healthy" for wait in stage.waits))
    assert (steps(last.on_failure), last.rollback_on) == (FULL_BACK, ANY_FAILURE | {"superseded"})


def test_without_status_checks_a_running_successor_is_enough() -> None:
    made = plan(spec(**MOVE_ALL, health={"status_checks": False}), *world())
    assert "healthy" not in [wait.goal for stage in made.stages for wait in stage.waits]


def test_predecessor_drains_before_it_stops() -> None:
    made = plan(spec(target_groups="move"), old(), volume(OLD), *balancers(OLD))
    goals = [(wait.goal, change.action) for stage in made.stages for wait in stage.waits for change in stage.changes]
    assert ("in_service", "RegisterTargets") in goals
    assert ("drained", "DeregisterTargets") in goals
    order = steps(made.stages)
    assert order.index("CreateTags new") < order.index("DeregisterTargets web") < order.index("StopInstances old")


# --- after an interruption ---

CONTINUED: dict[str, tuple[list[Resource], list[str]]] = {
    "nothing has moved": (
        [old(), new(), volume(OLD), address(), *balancers(OLD)],
        ["StopInstances new", "CreateTags old", "StopInstances old", "DetachVolume data old", "AttachVolume data new",
         "StartInstances new", "AssociateAddress address new", "RegisterTargets ip", "RegisterTargets web",
         "RegisterInstancesWithLoadBalancer shop"],
    ),
    "both are stopped": (
        [held_old(), new(state="stopped"), volume(OLD), address(), *balancers(OLD)],
        ["DetachVolume data old", "AttachVolume data new", "StartInstances new", "AssociateAddress address new",
         "RegisterTargets ip", "RegisterTargets web", "RegisterInstancesWithLoadBalancer shop"],
    ),
    "the volume is detached": (
        [held_old(), new(state="stopped"), volume(), address(), *balancers(OLD)],
        ["AttachVolume data new", "StartInstances new", "AssociateAddress address new", "RegisterTargets ip",
         "RegisterTargets web", "RegisterInstancesWithLoadBalancer shop"],
    ),
    "the volume has arrived": (
        [held_old(), new(state="stopped"), volume(NEW), address(), *balancers(OLD)],
        ["StartInstances new", "AssociateAddress address new", "RegisterTargets ip", "RegisterTargets web",
         "RegisterInstancesWithLoadBalancer shop"],
    ),
    "the address has moved": (
        [held_old(), new(), volume(NEW), address(NEW), *balancers(OLD)],
        ["RegisterTargets ip", "RegisterTargets web", "RegisterInstancesWithLoadBalancer shop"],
    ),
    "it is registered": ([held_old(), new(), volume(NEW), address(NEW), *balancers(OLD, NEW)], []),
}  # fmt: skip
FINISH = ["CreateTags new", "DeregisterTargets ip", "DeregisterTargets web", "DeregisterInstancesFromLoadBalancer shop",
          "DeleteTags old", "DeleteTags new"]  # fmt: skip


@pytest.mark.parametrize("name", CONTINUED)
def test_next_run_continues_from_where_the_parts_are(name: str) -> None:
    there, expected = CONTINUED[name]
    made = plan(spec(**MOVE_ALL), *there)
    assert steps(made.stages) == [*expected, *FINISH]


@pytest.mark.parametrize("name", ["the volume is detached", "the address has moved"])
def test_next_run_can_still_roll_everything_back(name: str) -> None:
    made = plan(spec(**MOVE_ALL), *CONTINUED[name][0])
    rollbacks = [steps(stage.on_failure) for stage in made.stages if stage.on_failure]
    assert rollbacks
    assert all(back == FULL_BACK for back in rollbacks)


def test_interrupted_rollback_is_finished_and_the_task_fails() -> None:
    made = plan(
        spec(**MOVE_ALL),
        held_old(),
        new(state="stopped", trial="rejected"),
        volume(),
        address(NEW),
        *balancers(OLD, NEW),
    )
    assert steps(made.stages) == FULL_BACK[1:]
    assert "was rejected in place of" in str(made.refused)


def test_rejected_successor_with_nothing_of_the_predecessor_is_only_terminated() -> None:
    made = plan(spec(**MOVE_ALL), old(), new(trial="rejected"), volume(OLD), address(), *balancers(OLD))
    assert steps(made.stages) == ["TerminateInstances new"]


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ([held_old(), new(trial="serving"), volume(NEW), address(NEW), *balancers(OLD, NEW)], FINISH[1:]),
        (
            [held_old(tags={"Name": "web"}), new(trial="serving"), volume(NEW), address(NEW), *balancers(NEW)],
            ["DeleteTags new"],
        ),
        ([new(trial="serving"), volume(NEW, tags={"ec2ops:spec": OLD}), address(NEW), *balancers(NEW)],
         ["CreateTags data", "DeleteTags new"]),
    ],
    ids=["after the mark", "before the end", "predecessor gone"],
)  # fmt: skip
def test_move_that_was_interrupted_after_the_mark_is_finished(there: list[Resource], expected: list[str]) -> None:
    assert steps(plan(spec(**MOVE_ALL), *there).stages) == expected


def test_name_of_a_declaration_and_deletion_with_the_instance_follow() -> None:
    devices = (BlockDevice("/dev/xvda", ROOT, True), BlockDevice("/dev/sdf", DATA, True))
    made = plan(spec(data_volumes="move"), old(block_devices=devices), volume(OLD, tags={"ec2ops:spec": OLD}))
    follow = [change for change in made.changes if change.action in ("CreateTags", "ModifyInstanceAttribute")][-2:]
    assert follow[0].parameters == {"Tags": [{"Key": "ec2ops:spec", "Value": OTHER}]}
    assert follow[1].resource == OTHER
    assert made.changes[0].after is not None
    assert made.changes[0].after["tags"][MOVES] == f"{DATA}=/dev/sdf=delete"
    assert back_of(made, "AttachVolume")[4] == "ModifyInstanceAttribute old"


@pytest.mark.parametrize(
    ("there", "words"),
    [
        ([old(), volume(OLD, NEW)], "is also attached to"),
        ([old(), volume(OLD, operator="backup.amazonaws.com")], "belongs to backup"),
        ([old(state="stopped", tags={"Name": "web"}), volume(OLD)], "is stopped without a hold"),
    ],
)
def test_volume_that_cannot_move_is_refused_before_any_change(there: list[Resource], words: str) -> None:
    with pytest.raises(UnsafePlan, match=words):
        plan(spec(data_volumes="move"), *there)


def test_started_predecessor_is_refused_while_its_volumes_are_away() -> None:
    there = [old(launch_time=NOW), new(), volume(NEW), address(), *balancers(OLD)]
    with pytest.raises(UnsafePlan, match="either may have data"):
        plan(spec(**MOVE_ALL), *there)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"elastic_ip": "move", "target_groups": "move"}, "was launched with data_volumes: move"),
        ({**MOVE_ALL, "elastic_ip": "keep"}, "was launched with elastic_ip: move"),
    ],
)
def test_task_that_contradicts_the_record_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsafePlan, match=words):
        plan(spec(**options), *CONTINUED["nothing has moved"][0])


def test_stage_launch_leaves_the_successor_unproven_and_stage_rollback_returns_every_part() -> None:
    made = plan(spec(**MOVE_ALL, stage="launch"), *world())
    assert steps(made.stages)[-1] == "RegisterInstancesWithLoadBalancer shop"
    back = plan(spec(**MOVE_ALL, stage="rollback"), *CONTINUED["it is registered"][0])
    assert steps(back.stages) == FULL_BACK
    assert back.refused is None
    assert plan(spec(**MOVE_ALL, stage="rollback"), *world()).is_empty


def test_forged_record_of_a_foreign_volume_moves_nothing() -> None:
    there = [held_old(), new(), volume("i-0000000000000000f"), address(NEW), *balancers(OLD)]
    with pytest.raises(UnsafePlan, match="belongs to neither instance"):
        plan(spec(**MOVE_ALL), *there)


def test_forged_record_of_a_root_volume_moves_nothing() -> None:
    root = Volume(ROOT, availability_zone="eu-central-1a", attachments=(VolumeAttachment(OLD, "/dev/xvda"),))
    there = [old(), new(f"{RECORD} {ROOT}=/dev/sdg"), root, volume(OLD), address(), *balancers(OLD)]
    with pytest.raises(UnsafePlan, match=ROOT):
        plan(spec(**MOVE_ALL), *there)


@pytest.mark.parametrize("links", [(), ("i-0000000000000000f",)], ids=["detached", "elsewhere"])
def test_volume_that_somebody_attached_after_the_move_is_not_deleted_with_the_instance(links: tuple[str, ...]) -> None:
    successor = new(f"{DATA}=/dev/sdf=delete", trial="serving")
    theirs = BlockDevice("/dev/sdf", "vol-0000000000000000d")
    successor = dataclasses.replace(successor, block_devices=(*successor.block_devices, theirs))
    made = plan(spec(data_volumes="move"), held_old(tags={"Name": "web"}), successor, volume(*links))
    assert steps(made.stages) == ["DeleteTags new"]
    there = plan(spec(data_volumes="move"), held_old(tags={"Name": "web"}), successor, volume(NEW))
    assert steps(there.stages) == ["ModifyInstanceAttribute new", "DeleteTags new"]


def test_address_of_a_third_instance_is_not_taken() -> None:
    with pytest.raises(UnsafePlan, match="is associated with i-0000000000000000f now"):
        plan(spec(**MOVE_ALL), old(), new(), volume(OLD), address("i-0000000000000000f"), *balancers(OLD))
