# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts that EC2 accepts and takes back: the run says why at once, and the hold stays until the instance runs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.hold import Hold
from ansible_collections.ec2ops.storage.plugins.module_utils._features.power import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import State
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.wait_goals import GOALS
from ansible_collections.ec2ops.storage.plugins.modules import instance_power, instance_relaunch

from in_process import Machine, machine, run
from proven import stopped_at
from sandbox.client import Sandbox

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
HOLD = "ec2ops:restore-state"
ONE = "i-00000000000000001"
TAKEN_BACK = "Client.InternalError: Client error on launch"
BY_USER = "Client.UserInitiatedShutdown: User initiated shutdown"


@pytest.fixture
def web(sandbox: Sandbox) -> Machine:
    """An instance that a run has stopped, with a hold."""
    web = machine(sandbox)
    run(sandbox, module=instance_power, instance_ids=[web.instance_id], state="stopped", remember=True)
    return web


def take_back(sandbox: Sandbox, code: str = "Client.InternalError", message: str = "Client error on launch") -> None:
    """The next start falls back to stopped."""
    sandbox.add_fault("StartInstances", kind="end", code=code, message=message, occurrence=1)


def restore(sandbox: Sandbox, web: Machine, **more: Any) -> Any:
    return run(sandbox, module=instance_power, instance_ids=[web.instance_id], state="restored", **more)


@pytest.mark.parametrize(
    ("code", "words"),
    [("Client.InternalError", "kms:CreateGrant"), ("Server.InsufficientInstanceCapacity", "Run the task again")],
)
def test_start_taken_back_by_ec2_fails_at_once_and_keeps_the_hold(
    sandbox: Sandbox, web: Machine, code: str, words: str
) -> None:
    take_back(sandbox, code, "no luck")
    begun = sandbox.now()
    ended = restore(sandbox, web)
    assert f"{code}: no luck" in ended.failed
    assert words in ended.failed
    assert "wait_timeout" not in ended.failed
    assert sandbox.now() - begun < timedelta(seconds=120)
    assert (web.state, HOLD in web.tags) == ("stopped", True)

    # While the instance is off, a run tries again, and the hold stays.
    take_back(sandbox, code, "no luck")
    assert restore(sandbox, web).failed
    assert HOLD in web.tags

    ended = restore(sandbox, web)
    assert ended.actions == ["StartInstances", "DeleteTags"]
    assert (web.state, HOLD in web.tags) == ("running", False)
    assert restore(sandbox, web).actions == []


def test_started_again_after_an_earlier_failed_start_is_waited_for(sandbox: Sandbox, web: Machine) -> None:
    """The first answers may be from before the start, and show the reason of the last one."""
    take_back(sandbox)
    assert restore(sandbox, web).failed
    assert not run(sandbox, module=instance_power, instance_ids=[web.instance_id], state="running").failed


def test_pending_start_keeps_the_hold_until_it_runs(sandbox: Sandbox, web: Machine) -> None:
    """Another run, or somebody, has started it a moment ago, and EC2 reverts that."""
    sandbox.move_clock(5)
    take_back(sandbox)
    web.ec2.start_instances(InstanceIds=[web.instance_id])
    ended = restore(sandbox, web)
    assert "Client.InternalError" in ended.failed
    assert (web.state, HOLD in web.tags) == ("stopped", True)


@pytest.mark.parametrize(
    ("reason", "spent"), [(TAKEN_BACK, False), ("Server.InternalError: no luck", False), (BY_USER, True)]
)
def test_hold_is_spent_by_a_successful_start(reason: str, spent: bool) -> None:
    hold = Hold(NOW, NOW + timedelta(hours=1))
    code = reason.partition(":")[0]
    facts = {**stopped_at(NOW + timedelta(minutes=2)), "StateReason": {"Code": code, "Message": reason}}
    started = Instance(ONE, "stopped", launch_time=NOW + timedelta(minutes=1), state_reason=reason, facts=facts)
    assert hold.is_spent(started) is spent


def test_pending_start_of_a_held_instance_is_awaited_before_the_hold_ends() -> None:
    tags = {HOLD: Hold(NOW - timedelta(hours=1), NOW).value}
    web = Instance(ONE, "pending", launch_time=NOW - timedelta(minutes=1), tags=tags)
    options = (
        "remember",
        "for_relaunch",
        "force",
        "hibernate",
        "skip_os_shutdown",
        "lose_instance_store",
        "force_start",
    )
    given = {"instance_ids": [ONE], "older_than": "1h", "state": "restored", "wait_timeout": 60}
    spec = planner.parse({**given, **dict.fromkeys(options, False)}, "r")
    plan = planner.plan(spec, State("r", {ONE: web}), NOW)
    stages = [([change.action for change in one.changes], [wait.goal for wait in one.waits]) for one in plan.stages]
    assert stages == [([], ["running"]), (["DeleteTags"], [])]


@pytest.mark.parametrize("goal", ["running", "healthy"])
def test_goal_fails_for_a_start_that_ec2_took_back(goal: str) -> None:
    verdict = GOALS[goal].verdict
    began = NOW.isoformat()
    for reason in (TAKEN_BACK, "Client.VolumeLimitExceeded: too many", "Server.InternalError: no luck"):
        fallen = Instance(ONE, "stopped", launch_time=NOW + timedelta(seconds=9), state_reason=reason)
        assert verdict(fallen, None, "").failed
        assert verdict(fallen, None, began).failed
        stale = Instance(ONE, "stopped", launch_time=NOW, state_reason=reason)
        assert not verdict(stale, None, began).failed, "an answer of before the start"
    assert not verdict(Instance(ONE, "stopped", state_reason=BY_USER), None, "").failed


def test_successor_with_an_unusable_key_is_reported() -> None:
    verdict = GOALS["healthy"].verdict(Instance(ONE, "terminated", state_reason=TAKEN_BACK), None, "")
    assert verdict.failed
    assert "kms:CreateGrant" in verdict.seen


@pytest.mark.parametrize("module", [instance_power, instance_relaunch])
def test_notes_name_the_grant(module: Any) -> None:
    assert "kms:CreateGrant" in module.DOCUMENTATION
