# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a wait is over, for every state that EC2 has."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._core.goals import GOALS
from ansible_collections.ec2ops.storage.plugins.module_utils._core.resources import (
    Image,
    ImageDevice,
    Instance,
    Snapshot,
)

# goal, state -> done, failed; every state of the kind is there.
INSTANCE_STATES = ("pending", "running", "stopping", "stopped", "shutting-down", "terminated")
SNAPSHOT_STATES = ("pending", "completed", "error", "recoverable", "recovering")
IMAGE_STATES = ("pending", "available", "invalid", "deregistered", "transient", "failed", "error", "disabled")
TABLE: dict[str, tuple[type[Any], tuple[str, ...], set[str], set[str]]] = {
    "stopped": (Instance, INSTANCE_STATES, {"stopped"}, {"shutting-down", "terminated"}),
    "running": (Instance, INSTANCE_STATES, {"running"}, {"shutting-down", "terminated"}),
    "terminated": (Instance, INSTANCE_STATES, {"terminated"}, set()),
    "completed": (Snapshot, SNAPSHOT_STATES, {"completed"}, {"error", "recoverable", "recovering"}),
    "available": (Image, IMAGE_STATES, {"available"}, {"invalid", "deregistered", "failed", "error", "disabled"}),
    "captured": (Image, IMAGE_STATES, {"available"}, {"invalid", "deregistered", "failed", "error"}),
}


@pytest.mark.parametrize(
    ("goal", "state"), [(goal, state) for goal, (_cls, states, _done, _failed) in TABLE.items() for state in states]
)
def test_every_state(goal: str, state: str) -> None:
    cls, _states, done, failed = TABLE[goal]
    verdict = GOALS[goal].verdict(cls("x", state=state), None)
    assert (verdict.done, verdict.failed) == (state in done, state in failed)
    assert state in verdict.seen


def test_all_goals_are_in_the_table() -> None:
    assert set(GOALS) == {*TABLE, "healthy"}
    assert all(GOALS[goal].kind == cls.kind for goal, (cls, *_rest) in TABLE.items())


@pytest.mark.parametrize("goal", sorted(set(GOALS) - {"terminated"}))
def test_what_is_not_visible_is_neither_done_nor_failed(goal: str) -> None:
    verdict = GOALS[goal].verdict(None, None)
    assert (verdict.done, verdict.failed) == (False, False)


def test_a_forgotten_instance_is_terminated() -> None:
    assert GOALS["terminated"].verdict(None, None).done


def test_the_reason_is_in_what_is_seen() -> None:
    verdict = GOALS["completed"].verdict(Snapshot("snap-1", state="error", state_reason="the key is disabled"), None)
    assert verdict.seen == "error (the key is disabled)"


def test_a_start_that_ec2_gave_up_fails_and_an_old_answer_does_not() -> None:
    gave_up = Instance("i-1", state="stopped", state_reason="Server.InternalError: it broke")
    before = Instance("i-1", state="stopped", state_reason="Client.UserInitiatedShutdown: User initiated shutdown")
    assert GOALS["running"].verdict(gave_up, None).failed
    assert GOALS["healthy"].verdict(gave_up, ("ok", "ok")).failed
    assert not GOALS["running"].verdict(before, None).failed


@pytest.mark.parametrize(
    ("checks", "done"),
    [(("ok", "ok"), True), (("ok", "initializing"), False), (("impaired", "ok"), False), ((), False), (None, False)],
)
def test_healthy_needs_both_checks_of_a_running_one(checks: tuple[str, ...] | None, done: bool) -> None:
    verdict = GOALS["healthy"].verdict(Instance("i-1", state="running"), checks)
    assert (verdict.done, verdict.failed) == (done, False)
    assert not GOALS["healthy"].verdict(Instance("i-1", state="pending"), ("ok", "ok")).done


def test_captured_is_when_every_mapped_device_has_its_snapshot() -> None:
    def captured(*devices: ImageDevice) -> bool:
        return GOALS["captured"].verdict(Image("ami-1", state="pending", block_devices=devices), None).done

    whole, open_one, store = (
        ImageDevice("/dev/a", "snap-1"),
        ImageDevice("/dev/b"),
        ImageDevice("/dev/c", virtual_name="ephemeral0"),
    )
    assert captured(whole, store)
    assert not captured(whole, open_one)
    assert not captured(store)
    assert not captured()
