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
from relaunch_world import DATA, NEW, OLD, ROOT, plan, spec

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


# --- the stages of a caller that has just captured the instance -------------------------------------------------------


@pytest.mark.parametrize(("stage", "follows"), [("launch", False), ("finish", True), ("rollback", True)])
def test_later_stages_ask_for_the_successor_although_the_launch_followed_none(stage: str, follows: bool) -> None:
    assert spec(stage=stage, follow_successor=False).follow_successor is follows


def test_stage_rollback_retires_nothing_once_the_successor_serves() -> None:
    there = [old(), unrecorded(new(trial="serving")), volume(OLD)]
    made = plan(spec(stage="rollback"), *there)
    assert steps(made.stages) == []
    assert any("serves" in text for text in made.warnings)


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
