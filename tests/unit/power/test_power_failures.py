# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stops and starts of several instances of which one step fails: the others are done, and the next run heals."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.hold import Hold
from ansible_collections.ec2ops.storage.plugins.module_utils._features.power import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import BlockDevice, Instance

from fake_ec2 import FakeEc2
from fake_records import START
from healing import Flow, assert_heals
from power_world import FOUR, ONE, THREE, TWO, spec
from proven import stopped_at
from stepping import BROKEN, REFUSED

TAG = "ec2ops:restore-state"
HELD = Hold(START - timedelta(minutes=10), START + timedelta(minutes=50)).value
STATES = {ONE: "running", TWO: "pending", THREE: "stopping", FOUR: "stopped"}


def instance(name: str, state: str, tag: str | None = None) -> Instance:
    made = Instance(
        name,
        state,
        instance_type="t3.micro",
        launch_time=START - timedelta(days=1),
        root_device_name="/dev/xvda",
        block_devices=(BlockDevice("/dev/xvda", "vol-0000000a"),),
        tags={"Name": name, **({} if tag is None else {TAG: tag})},
    )
    ended = state in ("stopping", "stopped")
    return dataclasses.replace(made, facts=stopped_at(START - timedelta(minutes=9))) if ended else made


def world(tag: str | None) -> FakeEc2:
    ec2 = FakeEc2(*(instance(name, state, tag) for name, state in STATES.items()))
    ec2.go_on()
    return ec2


def shape(ec2: FakeEc2) -> dict[str, tuple[str, bool]]:
    """By id: the state, and whether there is a hold."""
    return {one.instance_id: (one.state, TAG in one.tags) for one in ec2.existing("instance")}


def flow(state: str, tag: str | None = None, **given: Any) -> Flow:
    def protected(ec2: FakeEc2) -> None:
        """No instance is off without a hold, unless EC2 has reverted a start before the run."""
        for one in ec2.existing("instance"):
            was_on = STATES[one.instance_id] in ("running", "pending") and state != "restored"
            if (given.get("remember") and was_on) or tag is not None:
                assert TAG in one.tags or one.start_failed or one.state in ("running", "pending"), one.instance_id

    wanted = spec(state, instance_ids=[*STATES], lose_instance_store=False, **given)
    return Flow(planner.FEATURE, wanted, lambda: world(tag), shape, protected)


FLOWS = {
    "stopped": flow("stopped"),
    "stopped with a hold": flow("stopped", remember=True),
    "running": flow("running"),
    "restored": flow("restored", HELD),
    "stopped again": flow("stopped", HELD, remember=True),
}


@pytest.mark.parametrize("name", FLOWS)
def test_failed_step_leaves_out_one_instance_and_the_next_run_heals(name: str) -> None:
    assert_heals(FLOWS[name])


@pytest.mark.parametrize("kind", [REFUSED, BROKEN])
def test_instance_without_capacity_does_not_stop_the_others(kind: str) -> None:
    starts = flow("restored", HELD)
    step = next(one for one, how in starts.failures() if one.change and one.change.resource == FOUR and how == kind)
    ec2, outcome = starts.failed_run(step, kind)
    assert len(outcome.errors) == 1
    ec2.settle()
    found = shape(ec2)
    assert found.pop(FOUR) == ("stopped", True)
    assert set(found.values()) == {("running", False)}
