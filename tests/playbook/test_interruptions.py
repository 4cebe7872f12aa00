# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bake_and_relaunch, killed, signalled or disturbed: the next run leaves the world that an undisturbed one leaves."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from playbook.interrupting import (
    OWN_WRITE,
    PROC,
    RESTORE_STATE,
    SETTLED,
    Begun,
    Point,
    assert_settled,
    await_end,
    await_released,
    begun,
    hold_at,
    instance_now,
    performed,
    until,
    world_of,
)
from playbook.seeds import Web
from playbook.support import REGION, Run, changing_calls, run_playbook
from sandbox.client import Sandbox

PLAYBOOK = "ec2ops.storage.bake_and_relaunch"
RESTORE_POWER = "ec2ops.storage.restore_power"
LATE = ("snapshot", "image", "instance")
"""The resources whose visibility may be delayed."""
HOLD = 60
"""Seconds for which a run may hold an instance: its wait_timeout."""
QUICK = {
    "instance_stopping": 0.15,
    "instance_pending": 0.15,
    "instance_shutting_down": 0.15,
    "snapshot_pending": 0.15,
    "image_registering": 0.15,
    "status_ok": 0.1,
    "volume_attaching": 0.1,
}
"""Sandbox seconds: over at the first look of a wait. How waits go on is tested elsewhere; here are many runs."""
NO_CAPACITY = {
    "code": "InsufficientInstanceCapacity",
    "message": "We currently do not have sufficient capacity in the Availability Zone you requested.",
    "status": 500,
}

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.usefixtures("both_ways"),
    pytest.mark.skipif(not (PROC / "self" / "stat").exists(), reason="the processes of a run are found in /proc"),
]


@pytest.fixture
def given(web: Web, sandbox: Sandbox) -> Iterator[dict[str, Any]]:
    """The variables of the run. The instance has been written to; the sandbox's settings are put back at the end."""
    sandbox.configure(durations=QUICK)
    sandbox.add_mark(web.root_volume_id, OWN_WRITE)
    sandbox.reset_log()
    yield {
        "bake_and_relaunch_instance_id": web.instance_id,
        "bake_and_relaunch_name": "web",
        "bake_and_relaunch_version": "1",
        **{f"bake_and_relaunch_{name}": "keep" for name in ("data_volumes", "elastic_ip", "target_groups")},
        "bake_and_relaunch_wait_timeout": HOLD,
        "bake_and_relaunch_health_timeout": 30,
    }
    sandbox.clear_faults()
    sandbox.configure(refused=[], visibility_delay=dict.fromkeys(LATE, 0))


def run_to_end(sandbox: Sandbox, given: dict[str, Any]) -> Run:
    """A run that must succeed."""
    run = run_playbook(sandbox, PLAYBOOK, given, timeout=100)
    assert run.status == 0, run.output
    return run


def assert_nothing_left_to_do(sandbox: Sandbox, web: Web, given: dict[str, Any]) -> None:
    """One more run changes nothing."""
    sandbox.reset_log()
    run = run_to_end(sandbox, given)
    assert changing_calls(sandbox.log()) == []
    assert run.changed == []
    assert world_of(sandbox, web) == SETTLED


def assert_runs_as_before(sandbox: Sandbox, web: Web) -> None:
    """The old instance runs, and has no hold."""
    assert instance_now(sandbox, web.instance_id) == ("running", {"Name": "web"})


def test_undisturbed_run_converges(sandbox: Sandbox, web: Web, given: dict[str, Any]) -> None:
    """The world that all other tests compare with."""
    run_to_end(sandbox, given)
    assert_settled(sandbox, web)
    assert [performed(sandbox, name) for name in ("CreateSnapshot", "RegisterImage", "RunInstances")] == [1, 1, 1]
    assert_nothing_left_to_do(sandbox, web, given)


# --- every process killed --------------------------------------------------------------------------------------------

# A moment before a call is one after the previous call.
BEFORE_THE_STOP = Point("StopInstances", "before")
AFTER_THE_STOP = Point("CreateSnapshot", "before")
AFTER_THE_CAPTURE = Point("CreateSnapshot", "after")
BEFORE_THE_START = Point("StartInstances", "before")
BEFORE_THE_REGISTRATION = Point("RegisterImage", "before")
DURING_THE_LAUNCH = Point("RunInstances", "after")


@pytest.mark.parametrize(
    "point",
    [
        BEFORE_THE_STOP,
        AFTER_THE_STOP,
        AFTER_THE_CAPTURE,
        BEFORE_THE_START,
        BEFORE_THE_REGISTRATION,
        DURING_THE_LAUNCH,
    ],
    ids=str,
)
def test_killed_run_is_finished_by_the_next(
    sandbox: Sandbox, web: Web, given: dict[str, Any], tmp_path: Path, point: Point
) -> None:
    """Every process of the run ends at the point; the next run carries on."""
    kill_at(sandbox, web, given, tmp_path, point)
    run_to_end(sandbox, given)
    assert_settled(sandbox, web)
    # The second run used the first run's resources, and made none again.
    assert [performed(sandbox, name) for name in ("CreateSnapshot", "RegisterImage")] == [1, 1]
    if point in (Point("CreateSnapshot", "after"), Point("RunInstances", "after")):
        # Calls that were begun twice may repeat. After the other moments, the equal world is the proof.
        assert_nothing_left_to_do(sandbox, web, given)


def test_rerun_with_other_overrides_after_a_killed_launch_keeps_one_successor(
    sandbox: Sandbox, web: Web, given: dict[str, Any], tmp_path: Path
) -> None:
    """The token of the first launch does not fit the second one. Its instance shows late, so the run waits for it."""
    late = 3600.0
    sandbox.configure(visibility_delay={"instance": late})
    sandbox.move_clock(late)
    kill_at(sandbox, web, given, tmp_path, Point("RunInstances", "after"))

    def looked_in_vain() -> bool:
        log = sandbox.log()
        refused = [entry["sequence"] for entry in log if entry["outcome"] == "IdempotentParameterMismatch"]
        looks = [
            entry["sequence"] for entry in log if (entry["action"], entry["outcome"]) == ("DescribeInstances", "ok")
        ]
        return bool(refused) and any(look > refused[0] for look in looks)

    other = {**given, "bake_and_relaunch_overrides": {"tags": {"team": "shop"}}}
    with begun(sandbox, PLAYBOOK, other, tmp_path / "second") as second:
        until(looked_in_vain, "a look for what the token stands for")
        sandbox.configure(visibility_delay={"instance": 0})
        run = second.ended()
    assert run.status == 0, run.output
    assert_settled(sandbox, web)


def test_run_killed_during_the_stop_is_finished_by_the_next(
    sandbox: Sandbox, web: Web, given: dict[str, Any], tmp_path: Path
) -> None:
    """The next run meets an instance that is on its way down, and waits for it to be off before it captures."""
    sandbox.configure(durations={"instance_stopping": 5.0})
    kill_at(sandbox, web, given, tmp_path, Point("StopInstances", "after"))
    assert instance_now(sandbox, web.instance_id)[0] == "stopping"
    sandbox.configure(durations=QUICK)
    run_to_end(sandbox, given)
    assert_settled(sandbox, web)


def kill_at(sandbox: Sandbox, web: Web, given: dict[str, Any], tmp_path: Path, point: Point) -> None:
    """A run whose every process ends at the point. The held call ends with it: it has had its effect, or never will."""
    fault = hold_at(sandbox, point)
    with begun(sandbox, PLAYBOOK, given, tmp_path / "first") as first:
        first.await_held(fault)
        state, tags = instance_now(sandbox, web.instance_id)
        # The instance is never off without a hold.
        assert state == "running" or RESTORE_STATE in tags
        first.kill_all()
        await_released(sandbox)
    sandbox.remove_fault(fault)


# --- ansible-playbook killed, and its module goes on -----------------------------------------------------------------


def at_once(sandbox: Sandbox, given: dict[str, Any], tmp_path: Path, fault: str) -> None:
    """The held call goes on as soon as the next run has asked its first question."""
    arrived = sandbox.log()[-1]["sequence"]
    with begun(sandbox, PLAYBOOK, given, tmp_path / "second") as second:
        until(lambda: sandbox.log(after=arrived), "the first call of the second run")
        assert sandbox.release(fault) == 1
        run = second.ended()
    assert run.status == 0, run.output


def afterwards(sandbox: Sandbox, given: dict[str, Any], tmp_path: Path, fault: str) -> None:
    """The held call goes on when the next run has ended."""
    run_to_end(sandbox, given)
    assert sandbox.release(fault) == 1


@pytest.mark.parametrize(
    ("point", "release"),
    [
        pytest.param(point, release, id=f"{point}-released-{release.__name__.replace('_', '-')}")
        for point, release in [
            (Point("CreateTags", "before"), at_once),
            (Point("StopInstances", "before"), at_once),
            (Point("CreateSnapshot", "before"), afterwards),
            (Point("StartInstances", "before"), at_once),
            (Point("RegisterImage", "before"), afterwards),
            (Point("RunInstances", "before"), afterwards),
            (Point("StopInstances", "before", 2), afterwards),
        ]
    ],
)
def test_killed_controller_leaves_one_result(
    sandbox: Sandbox,
    web: Web,
    given: dict[str, Any],
    tmp_path: Path,
    point: Point,
    release: Callable[[Sandbox, dict[str, Any], Path, str], None],
) -> None:
    """Only ansible-playbook ends; the module that it had started goes on beside the next run."""
    # It does not give its held call up before the next run has ended.
    given["bake_and_relaunch_aws"] = {"region": REGION, "aws_config": {"read_timeout": 100}}
    fault = hold_at(sandbox, point)
    with begun(sandbox, PLAYBOOK, given, tmp_path / "first") as first:
        first.await_held(fault)
        survivors = first.kill_playbook()
        release(sandbox, given, tmp_path, fault)
        await_end(survivors)
    assert_settled(sandbox, web)


@pytest.mark.parametrize("action", ["CreateSnapshot", "RunInstances"])
def test_same_call_of_two_runs_has_one_result(
    sandbox: Sandbox, web: Web, given: dict[str, Any], tmp_path: Path, action: str
) -> None:
    """The surviving module and the next run make the same resource at the same moment: one is left."""
    fault = sandbox.add_fault(action, kind="pause", when="before", occurrence={"first": 2})
    with begun(sandbox, PLAYBOOK, given, tmp_path / "first") as first:
        first.await_held(fault)
        survivors = first.kill_playbook()
        with begun(sandbox, PLAYBOOK, given, tmp_path / "second") as second:
            second.await_held(fault, calls=2)
            assert sandbox.release(fault) == 2
            run = second.ended()
        assert run.status == 0, run.output
        await_end(survivors)
    assert_settled(sandbox, web)


def test_killed_controller_without_capacity_leaves_one_result(
    sandbox: Sandbox, web: Web, given: dict[str, Any], tmp_path: Path
) -> None:
    """The surviving module still waits for capacity when the next run has retired the instance, and leaves it stopped."""
    sandbox.add_fault("StartInstances", occurrence={"first": 2}, **NO_CAPACITY)
    with begun(sandbox, PLAYBOOK, given, tmp_path / "first") as first:
        until(lambda: len(sandbox.log(action="StartInstances")) == 2, "the second refusal of the start")
        survivors = first.kill_playbook()
        # Between two of its attempts, for longer than the next run takes.
        for process in survivors:
            process.send(signal.SIGSTOP)
        run_to_end(sandbox, given)
        for process in survivors:
            process.send(signal.SIGCONT)
        await_end(survivors)
    assert_settled(sandbox, web)


# --- signals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("send", "remedy"),
    [(Begun.interrupt, "next run"), (Begun.terminate, "restore_power")],
    ids=["ctrl-c-then-the-next-run", "sigterm-then-restore-power"],
)
def test_signalled_run_is_finished_by_the_next(
    sandbox: Sandbox, web: Web, given: dict[str, Any], tmp_path: Path, send: Callable[[Begun], Run], remedy: str
) -> None:
    """Ansible runs no ``always`` then: the next run starts the instance because of its hold."""
    fault = hold_at(sandbox, Point("CreateSnapshot", "before"))
    with begun(sandbox, PLAYBOOK, given, tmp_path / "first") as first:
        first.await_held(fault)
        ended = send(first)
    assert ended.status != 0
    await_released(sandbox)
    sandbox.remove_fault(fault)
    assert performed(sandbox, "StartInstances") == 0
    state, tags = instance_now(sandbox, web.instance_id)
    assert state == "stopped"
    assert tags[RESTORE_STATE].startswith("running ")

    if remedy == "next run":
        run_to_end(sandbox, given)
        assert_settled(sandbox, web)
        return
    # Until its time is over the hold may be that of a run that is still at work.
    older_than = {"restore_power_older_than": "0s"}
    early = run_playbook(sandbox, RESTORE_POWER, older_than)
    assert early.status == 0, early.output
    assert instance_now(sandbox, web.instance_id) == (state, tags)
    sandbox.move_clock(HOLD + 1)
    late = run_playbook(sandbox, RESTORE_POWER, older_than)
    assert late.status == 0, late.output
    assert_runs_as_before(sandbox, web)


# --- faults ----------------------------------------------------------------------------------------------------------

CHANGES = (
    "CreateTags",
    "StopInstances",
    "CreateSnapshot",
    "StartInstances",
    "DeleteTags",
    "RegisterImage",
    "RunInstances",
)
READS = ("DescribeInstances", "DescribeImages", "DescribeSnapshots", "DescribeVolumes", "DescribeInstanceStatus")


def test_throttled_run_completes(sandbox: Sandbox, web: Web, given: dict[str, Any]) -> None:
    """The first two calls of every operation are refused for their rate."""
    for action in (*CHANGES, *READS):
        sandbox.add_fault(
            action, occurrence={"first": 2}, code="RequestLimitExceeded", message="Request limit exceeded.", status=503
        )
    run_to_end(sandbox, given)
    assert [rule["action"] for rule in sandbox.faults()["rules"] if rule["hits"] != 2] == []
    assert_settled(sandbox, web)


@pytest.mark.parametrize("lost", [{"kind": "close"}, {"code": "InternalError", "status": 500}], ids=["closed", "500"])
def test_the_first_answer_to_every_change_is_lost(
    sandbox: Sandbox, web: Web, given: dict[str, Any], lost: dict[str, Any]
) -> None:
    """Each call has its effect, and in place of its answer comes an internal error or the end of the connection."""
    for action in CHANGES:
        sandbox.add_fault(action, when="after", occurrence=1, **lost)
    run_to_end(sandbox, given)
    assert [rule["hits"] for rule in sandbox.faults()["rules"]] == [1] * len(CHANGES)
    assert_settled(sandbox, web)


def test_late_visibility_is_waited_for(sandbox: Sandbox, web: Web, given: dict[str, Any]) -> None:
    """Snapshots, images and instances are in no answer until two seconds after they were made."""
    sandbox.configure(visibility_delay=dict.fromkeys(LATE, 2.0))
    # The existing resources become that old.
    sandbox.move_clock(2.0)
    run_to_end(sandbox, given)
    sandbox.configure(visibility_delay=dict.fromkeys(LATE, 0))
    assert_settled(sandbox, web)


@pytest.mark.parametrize("seconds", [0.0, 3.0], ids=["before-it-is-waited-for", "while-it-is-waited-for"])
def test_failed_snapshot_is_taken_again_by_the_next_run(
    sandbox: Sandbox, web: Web, given: dict[str, Any], seconds: float
) -> None:
    """The run ends with EC2's reason and the instance running; the next one takes another snapshot in its place."""
    reason = "the key that encrypts the volume is disabled"
    sandbox.configure(durations={"snapshot_pending": seconds})
    sandbox.add_fault("CreateSnapshot", kind="end", occurrence=1, message=reason)
    failed = run_playbook(sandbox, PLAYBOOK, given)
    assert failed.status != 0
    assert reason in failed.failures[0]
    assert_runs_as_before(sandbox, web)
    (left,) = world_of(sandbox, web)["snapshots"].values()
    assert left["state"] == "error"

    sandbox.configure(durations=QUICK)
    run_to_end(sandbox, given)
    assert_settled(sandbox, web)


def test_missing_capacity_is_waited_for(sandbox: Sandbox, web: Web, given: dict[str, Any]) -> None:
    sandbox.add_fault("StartInstances", occurrence={"first": 2}, **NO_CAPACITY)
    run_to_end(sandbox, given)
    assert [rule["hits"] for rule in sandbox.faults()["rules"]] == [2]
    assert_settled(sandbox, web)


@pytest.mark.parametrize("action", ["CreateSnapshot", "RegisterImage", "RunInstances"])
def test_refused_call_fails_and_the_next_run_completes(
    sandbox: Sandbox, web: Web, given: dict[str, Any], action: str
) -> None:
    """The message has the operation and AWS's code and text, and the instance is running again."""
    sandbox.refuse(action)
    failed = run_playbook(sandbox, PLAYBOOK, given)
    assert failed.status != 0
    (refusal,) = [each for each in failed.ours if each.outcome == "failed"]
    assert refusal.result["error"]["operation"] == action
    assert refusal.result["error"]["code"] == "UnauthorizedOperation"
    assert refusal.result["error"]["message"].startswith("You are not authorized to perform this operation.")
    for part in refusal.result["error"].values():
        assert part in refusal.result["msg"]
        assert part in failed.output
    assert_runs_as_before(sandbox, web)


@pytest.mark.parametrize("hold", [False, True], ids=["started", "held"])
def test_unhealthy_successor_is_rolled_back(sandbox: Sandbox, web: Web, given: dict[str, Any], hold: bool) -> None:
    """The successor is terminated, and the predecessor serves as before.

    With the cause gone the next run launches another.

    With a hold it does not: the predecessor has run since the capture, and a hold must lose no write.
    """
    given["bake_and_relaunch_hold"] = hold
    sandbox.configure(durations={"status_ok": 3600})
    failed = run_playbook(sandbox, PLAYBOOK, {**given, "bake_and_relaunch_health_timeout": 2})
    assert failed.status != 0
    assert "healthy" in failed.failures[0]
    assert_runs_as_before(sandbox, web)
    assert list(world_of(sandbox, web)["instances"]) == ["old"]

    sandbox.configure(durations=QUICK)
    if hold:
        assert "has run since" in run_playbook(sandbox, PLAYBOOK, given).failures[0]
        assert_runs_as_before(sandbox, web)
        return
    run_to_end(sandbox, given)
    assert_settled(sandbox, web)
    assert performed(sandbox, "CreateSnapshot") == 1


# --- with the source held --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "point",
    [
        Point("CreateSnapshot", "after"),
        Point("RegisterImage", "before"),
        Point("RunInstances", "after"),
        Point("DeleteTags", "before"),
    ],
    ids=str,
)
def test_run_killed_during_a_hold_is_finished_by_the_next(
    sandbox: Sandbox, web: Web, given: dict[str, Any], tmp_path: Path, point: Point
) -> None:
    """The next run carries on with the hold: it does not start the predecessor, so none of its writes is lost."""
    given["bake_and_relaunch_hold"] = True
    kill_at(sandbox, web, given, tmp_path, point)
    state, tags = instance_now(sandbox, web.instance_id)
    assert state == "stopped"
    assert RESTORE_STATE in tags
    run_to_end(sandbox, given)
    assert_settled(sandbox, web)
    assert performed(sandbox, "StartInstances") == 0
    if point.action == "DeleteTags":
        # At the very end. After the other moments, the equal world is the proof.
        assert_nothing_left_to_do(sandbox, web, given)
