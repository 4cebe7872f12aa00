# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relaunches of which one step fails: one instance serves at any time, and the next runs reach the same end."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.hold import Hold
from ansible_collections.ec2ops.storage.plugins.module_utils._features.relaunch import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import TERMINATION_PROTECTION
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Instance,
    Resource,
)

from fake_ec2 import FakeEc2
from fake_records import START
from healing import Flow, assert_heals
from proven import launched, stopped_at
from relaunch_world import AMI, DEFAULTS, FACTS, IMAGE, M5_FACT, NEW, OLD, ROOT, VOLUMES

TAG, TRIAL, REPLACES = "ec2ops:restore-state", "ec2ops:trial", "ec2ops:replaces"
HELD = Hold(START - timedelta(minutes=10), START + timedelta(minutes=50)).value
REGION = "us-east-1"


def predecessor(state: str = "running", tag: str | None = None) -> Instance:
    made = Instance(
        OLD,
        state,
        image_id="ami-00000000000000001",
        instance_type="m5.large",
        availability_zone=f"{REGION}a",
        launch_time=START - timedelta(days=1),
        root_device_name="/dev/xvda",
        block_devices=(BlockDevice("/dev/xvda", ROOT, True),),
        tags={"Name": "web", **({} if tag is None else {TAG: tag})},
        facts=FACTS,
    )
    if state == "stopped":
        made = dataclasses.replace(made, facts={**FACTS, **stopped_at(START - timedelta(minutes=9))})
    return made


def successor(trial: str) -> Instance:
    """The successor that an interrupted run has launched."""
    born = START - timedelta(minutes=5)
    facts = {**FACTS, "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"AttachTime": born}}]}
    made = dataclasses.replace(
        predecessor(),
        instance_id=NEW,
        image_id=AMI,
        launch_time=born,
        tags={"Name": "web", REPLACES: OLD, TRIAL: trial},
    )
    return launched(dataclasses.replace(made, facts=facts))


def shape(ec2: FakeEc2) -> list[Any]:
    """Each instance that lives, by its image: its state, the names of its tags, and the phase."""
    living = [one for one in ec2.existing("instance") if one.alive]
    return sorted((one.image_id, one.state, sorted(one.tags), one.tags.get(TRIAL, "")) for one in living)


def flow(*there: Resource, **given: Any) -> Flow:
    def make() -> FakeEc2:
        ec2 = FakeEc2(*VOLUMES, M5_FACT, IMAGE, *there)
        ec2.go_on()
        return ec2

    def protected(ec2: FakeEc2) -> None:
        """One of the two instances serves, or its hold will start it.

        The predecessor is gone only once the successor serves.
        """
        living = [one for one in ec2.existing("instance") if one.alive]
        serving = [one for one in living if one.tags.get(TRIAL) == "serving"]
        assert [one for one in living if one.state in ("pending", "running") or TAG in one.tags]
        old = next((one for one in living if one.instance_id == OLD), None)
        is_served = old is not None and (old.state in ("pending", "running") or TAG in old.tags)
        assert is_served or serving

    spec = planner.parse({**DEFAULTS, "health": {"timeout": 30}, **given}, REGION)
    return Flow(planner.FEATURE, spec, make, shape, protected)


PROTECTED = (TERMINATION_PROTECTION.fact(OLD, True),)
FLOWS = {
    "stop": flow(predecessor()),
    "terminate": flow(predecessor(), old_instance="terminate"),
    "keep": flow(predecessor(), old_instance="keep"),
    "held": flow(predecessor("stopped", HELD)),
    "pending": flow(predecessor("pending")),
    "unproven successor": flow(predecessor(), successor("unproven")),
    "unproven successor of a held one": flow(predecessor("stopped", HELD), successor("unproven")),
    "serving successor": flow(predecessor(), successor("serving")),
    "rejected successor": flow(predecessor(), successor("rejected")),
    "with protection": flow(predecessor(), *PROTECTED),
}


@pytest.mark.parametrize("name", FLOWS)
def test_failed_step_is_rolled_back_and_the_next_runs_heal(name: str) -> None:
    assert_heals(FLOWS[name])
