# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Moves and strategies that a later task meets: a retirement that would delete volumes, stages, and forged records."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import BlockDevice, Instance, Resource
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import ROOT_TASKS, TAKES_ROOT_VOLUME

from moves_world import (
    MOVE_ALL,
    MOVES,
    address,
    balancers,
    held_old,
    new,
    old,
    steps,
    volume,
)
from relaunch_world import AMI, BASE, DATA, IMAGE, NEW, OLD, ROOT, plan, spec

DELETED = (BlockDevice("/dev/xvda", ROOT, True), BlockDevice("/dev/sdf", DATA, True))
THIRD = "i-0000000000000000f"


def unrecorded(successor: Instance) -> Instance:
    """The successor without a record of moves."""
    return dataclasses.replace(successor, tags={key: text for key, text in successor.tags.items() if key != MOVES})


# --- a later task with another retirement -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options", [{"data_volumes": "move"}, {"data_volumes": None, "strategy": "auto"}], ids=["move", "auto"]
)
def test_volumes_that_an_earlier_task_kept_are_not_deleted_by_a_later_termination(options: dict[str, Any]) -> None:
    kept = old(state="stopped", block_devices=DELETED, elastic_ip=False, public_ip_address=None)
    there = [kept, unrecorded(new(trial="serving")), volume(OLD)]
    with pytest.raises(UnsafePlan, match="would also delete the data volumes /dev/sdf"):
        plan(spec(**options, old_instance="terminate"), *there)


def test_volume_that_returned_after_the_mark_is_not_deleted_by_the_termination() -> None:
    there = [held_old(block_devices=DELETED), new(trial="serving"), volume(OLD), address(NEW), *balancers(OLD, NEW)]
    with pytest.raises(UnsafePlan, match="would also delete the data volumes /dev/sdf"):
        plan(spec(**MOVE_ALL, old_instance="terminate"), *there)


def test_moved_volumes_do_not_hinder_the_termination() -> None:
    made = plan(
        spec(**MOVE_ALL, old_instance="terminate"), old(block_devices=DELETED), volume(OLD), address(), *balancers(OLD)
    )
    order = steps(made.stages)
    assert order.index("AttachVolume data new") < order.index("TerminateInstances old")


# --- a successor that an earlier task has launched with other moves ---------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data_volumes": "move"}, "was launched without /dev/sdf. Set data_volumes: keep"),
        ({"elastic_ip": "move"}, "was launched without 203.0.113.7. Set elastic_ip: keep"),
        ({"target_groups": "move"}, "was launched without the registrations of i-00000000000000001"),
    ],
)
def test_moves_that_the_successor_was_launched_without_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsafePlan, match=words):
        plan(spec(**options), old(), unrecorded(new()), volume(OLD), address(), *balancers(OLD))


def test_auto_follows_the_moves_of_the_launch_and_names_what_stays() -> None:
    undecided = dict.fromkeys(MOVE_ALL, None)
    made = plan(spec(**undecided, strategy="auto"), old(), unrecorded(new()), volume(OLD), address(), *balancers(OLD))
    assert steps(made.stages) == ["CreateTags new", "StopInstances old"]
    (told,) = [text for text in made.warnings if text.startswith("these stay with")]
    assert all(word in told for word in ("/dev/sdf", "Elastic IP", "target groups"))


def test_auto_finishes_the_moves_of_the_launch() -> None:
    undecided = dict.fromkeys(MOVE_ALL, None)
    there = [held_old(), new(state="stopped"), volume(), address(), *balancers(OLD)]
    made = plan(spec(**undecided, strategy="auto"), *there)
    assert steps(made.stages)[:3] == ["AttachVolume data new", "StartInstances new", "AssociateAddress address new"]


def test_auto_waits_for_the_devices_of_a_pending_image_instead_of_another_strategy() -> None:
    undecided = dict.fromkeys(MOVE_ALL, None)
    pending = dataclasses.replace(IMAGE, state="pending", block_devices=())
    there = [old(), volume(OLD), address(), *balancers(OLD), ROOT_TASKS.fact(OLD, ()), TAKES_ROOT_VOLUME.fact(True)]
    with pytest.raises(UnsafePlan, match=r"does not show the devices of .* yet, so the task cannot decide"):
        plan(spec(**undecided, strategy="auto", old_instance=None), *there, image=pending)


# --- the stages of a caller that has just captured the instance -------------------------------------------------------


@pytest.mark.parametrize(("stage", "follows"), [("launch", False), ("finish", True), ("rollback", True)])
def test_later_stages_ask_for_the_successor_although_the_launch_followed_none(stage: str, follows: bool) -> None:
    assert spec(stage=stage, follow_successor=False).follow_successor is follows


def test_stage_rollback_retires_nothing_once_the_successor_serves() -> None:
    there = [old(), unrecorded(new(trial="serving")), volume(OLD)]
    made = plan(spec(stage="rollback"), *there)
    assert steps(made.stages) == []
    assert any("serves" in text for text in made.warnings)


# --- a successor that has ended with the parts ------------------------------------------------------------------------

BARE = {"block_devices": (BlockDevice("/dev/xvda", ROOT, True),), "elastic_ip": False, "public_ip_address": None}


@pytest.mark.parametrize("trial", ["unproven", "rejected", "serving"])
@pytest.mark.parametrize("links", [(), (NEW,)], ids=["detached", "detaching"])
@pytest.mark.parametrize("strategy", ["replace_instance", "auto"])
def test_parts_of_a_successor_that_has_ended_return_before_another_launch(
    trial: str, links: tuple[str, ...], strategy: str
) -> None:
    there = [held_old(**BARE), new(state="terminated", trial=trial), volume(*links), address(""), *balancers(OLD)]
    made = plan(spec(**MOVE_ALL, strategy=strategy), *there)
    assert steps(made.stages) == [
        "AttachVolume data old", "StartInstances old", "AssociateAddress address old", "DeleteTags old",
    ]  # fmt: skip
    assert f"is terminated, and {'served' if trial == 'serving' else 'never served'} in place of" in str(made.refused)
    assert f"{OLD}, which stays in service" in str(made.refused)
    assert made.warnings == ()


def test_parts_return_to_a_predecessor_without_a_hold_and_the_operator_learns_that_it_is_off() -> None:
    """Somebody has terminated a successor that served, before the run had removed the record of the moves."""
    bare = old(state="stopped", **BARE)
    there = [bare, new(state="terminated", trial="serving"), volume(), address(""), *balancers()]
    made = plan(spec(**MOVE_ALL), *there)
    assert steps(made.stages) == ["AttachVolume data old", "AssociateAddress address old"]
    assert f"{OLD}, which is stopped without a hold. Start it" in str(made.refused)
    (told,) = made.warnings
    assert told.startswith(f"No load balancer sends requests to {OLD}")


def test_successor_that_has_ended_without_parts_hinders_nothing() -> None:
    ended = new(state="terminated", trial="rejected")
    for there in (
        [old(), ended, volume(OLD), address(), *balancers(OLD)],
        # Somebody has detached the volume of the running predecessor.
        [old(**BARE), ended, volume(), address(THIRD), *balancers(OLD)],
        # Another successor has the volume.
        [held_old(), ended, volume(THIRD), address(), *balancers(OLD)],
    ):
        assert plan(spec(data_volumes="keep"), *there).refused is None


def test_rollback_stops_no_successor_that_ends_meanwhile() -> None:
    made = plan(spec(**MOVE_ALL), old(), volume(OLD), address(), *balancers(OLD))
    back = next(
        stage.on_failure for stage in made.stages if stage.changes[:1] and stage.changes[0].action == "DetachVolume"
    )
    (stop,) = [stage for stage in back if any(change.action == "StopInstances" for change in stage.changes)]
    assert stop.changes[0].unless
    assert [wait.goal for wait in stop.waits] == ["off"]


# --- forged records ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["all", "rollback"])
def test_rollback_does_not_take_the_address_of_a_third_instance(stage: str) -> None:
    there: list[Resource] = [
        held_old(),
        new(trial="rejected", state="stopped"),
        volume(),
        address(THIRD),
        *balancers(OLD),
    ]
    made = plan(spec(**MOVE_ALL, stage=stage), *there)
    assert "AttachVolume data old" in steps(made.stages)
    assert not [step for step in steps(made.stages) if "AssociateAddress" in step]


# --- a new root volume while another run moves the volumes ------------------------------------------------------------


@pytest.mark.parametrize("trial", ["unproven", "rejected"])
@pytest.mark.parametrize("image_id", [BASE, AMI])
def test_root_volume_is_left_alone_while_the_data_volumes_are_away(image_id: str, trial: str) -> None:
    there = [
        held_old(),
        new(state="stopped", trial=trial),
        volume(),
        address(),
        ROOT_TASKS.fact(OLD, ()),
        TAKES_ROOT_VOLUME.fact(True),
        dataclasses.replace(IMAGE, image_id=BASE),
    ]
    wanted = spec(strategy="replace_root_volume", old_instance=None, image_id=image_id)
    with pytest.raises(UnsafePlan, match=r"data volumes of .* have left it"):
        plan(wanted, *there)
