# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An altered ``ec2ops:trial`` on a successor that was given up or is unproven: it retires no predecessor that served,
and hides none.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import planned
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.instance_proofs import may_have_run_on
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance
from ansible_collections.ec2ops.storage.plugins.modules import instance_power, snapshot_rotate

from forged_pairs import DAYS, HOLD, TRIAL, Pair, launched_only, names_both, replaced, root, tag, untag, write
from in_process import Ended, run, snapshots
from proven import stopped_at
from sandbox.client import Sandbox

ALTERED = [None, "serving", "unproven", "odd"]


# --- a predecessor that has served on ---------------------------------------------------------------------------------


@pytest.mark.parametrize("old_instance", ["stop", "terminate"])
@pytest.mark.parametrize("word", ALTERED)
def test_predecessor_that_served_for_days_is_retired_by_no_word(
    sandbox: Sandbox, word: str | None, old_instance: str
) -> None:
    pair = launched_only(sandbox, old_instance)
    tag(pair.new, {TRIAL: "rejected"})
    sandbox.move_clock(5 * DAYS)
    write(pair.new, word)
    ended = pair.relaunch()
    assert (ended.failed, ended.actions) == ("", [])
    assert names_both(pair, ended.warnings)
    assert pair.states == ("running", "running")
    assert pair.relaunch(check=True).actions == []


@pytest.mark.parametrize("word", [None, "serving", "unproven"])
def test_predecessor_that_was_stopped_days_later_is_not_terminated(sandbox: Sandbox, word: str | None) -> None:
    pair = launched_only(sandbox)
    tag(pair.new, {TRIAL: "rejected"})
    sandbox.move_clock(5 * DAYS)
    pair.old.ec2.stop_instances(InstanceIds=[pair.old.instance_id])
    sandbox.move_clock(60)
    write(pair.new, word)
    ended = pair.relaunch()
    assert "TerminateInstances" not in ended.actions
    assert names_both(pair, ended.warnings)
    assert pair.states == ("stopped", "running")


def test_hold_of_a_predecessor_that_served_for_days_is_kept(sandbox: Sandbox) -> None:
    pair = launched_only(sandbox, "stop")
    tag(pair.new, {TRIAL: "rejected"})
    sandbox.move_clock(5 * DAYS)
    run(sandbox, module=instance_power, instance_ids=[pair.old.instance_id], state="stopped", remember=True)
    write(pair.new, "serving")
    ended = pair.relaunch()
    assert (ended.failed, ended.actions) == ("", [])
    assert HOLD in pair.old.tags


@pytest.mark.parametrize("word", [None, "serving", "unproven"])
def test_late_retirement_that_would_lose_writes_is_refused(sandbox: Sandbox, word: str | None) -> None:
    pair = launched_only(sandbox, lose_writes=True)
    write(pair.new, word)
    refused = pair.relaunch(lose_writes=False)
    assert f"lose_writes: {pair.old.instance_id} has run since {pair.image_id} was captured" in refused.failed
    assert pair.states == ("running", "running")
    assert not pair.relaunch(lose_writes=True).failed
    assert pair.states == ("terminated", "running")


@pytest.mark.parametrize("old_instance", ["stop", "terminate"])
def test_held_predecessor_is_retired_after_days_without_a_loss(sandbox: Sandbox, old_instance: str) -> None:
    """The predecessor was stopped before the launch, so the image has all of its writes."""
    pair = launched_only(sandbox, old_instance, held=True, lose_writes=False)
    sandbox.move_clock(3 * DAYS)
    ended = pair.relaunch(lose_writes=False)
    assert not ended.failed
    assert pair.states == ("stopped" if old_instance == "stop" else "terminated", "running")
    assert pair.relaunch(lose_writes=False).actions == []


def test_predecessor_that_was_stopped_for_its_successor_can_be_terminated_later(sandbox: Sandbox) -> None:
    pair = replaced(sandbox)
    sandbox.move_clock(7 * DAYS)
    assert pair.relaunch(old_instance="terminate").actions == ["TerminateInstances"]
    assert pair.states == ("terminated", "running")


def test_kept_predecessor_can_be_named_by_a_later_task(sandbox: Sandbox) -> None:
    pair = replaced(sandbox, old_instance="keep")
    sandbox.move_clock(3600)
    check = pair.relaunch(old_instance="terminate", check=True)
    assert check.actions == ["TerminateInstances"]
    sandbox.move_clock(2 * DAYS)
    ended = pair.relaunch(old_instance="terminate")
    assert ended.actions == []
    assert names_both(pair, ended.warnings)


NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def new(**facts: Any) -> Instance:
    devices = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeId": "vol-1", "AttachTime": NOON}}]
    return Instance("i-0000000000000000b", "running", facts={"BlockDeviceMappings": devices, **facts})


def old(state: str, stopped: datetime | None = None) -> Instance:
    return Instance("i-0000000000000000a", state, facts=dict(stopped_at(stopped)) if stopped else {})


@pytest.mark.parametrize(
    ("predecessor", "successor", "hours", "possible"),
    [
        pytest.param(old("running"), new(), 24, False, id="runs, within a day"),
        pytest.param(old("running"), new(), 25, True, id="runs, after more than a day"),
        pytest.param(old("stopped", NOON + 24 * HOUR), new(), 99, False, id="was stopped within a day"),
        pytest.param(old("stopped", NOON + 25 * HOUR), new(), 99, True, id="was stopped later"),
        pytest.param(old("stopped", NOON - HOUR), new(), 99, False, id="was stopped before the launch"),
        pytest.param(old("stopped"), new(), 25, True, id="was stopped at an unknown time"),
        pytest.param(old("terminated", NOON + 25 * HOUR), new(), 99, False, id="is gone"),
        pytest.param(
            old("running"), new(UsageOperationUpdateTime=NOON - 20 * HOUR), 5, True, id="launch before its root volume"
        ),
        pytest.param(old("running"), Instance("i-0000000000000000b"), 1, True, id="launch at an unknown time"),
        pytest.param(old("running"), Instance(planned("instance", "x")), 99, False, id="planned successor"),
    ],
)
def test_stop_and_launch_show_whether_a_predecessor_ran_on(
    predecessor: Instance, successor: Instance, hours: int, possible: bool
) -> None:
    assert may_have_run_on(predecessor, successor, NOON + hours * HOUR) is possible


# --- a successor that has not proved itself ---------------------------------------------------------------------------

POLICY: dict[str, Any] = {"policy": "daily", "keep": {"last": 3}}


def rotate(pair: Pair, **select: Any) -> Ended:
    wanted = select or {"instance_ids": [pair.old.instance_id]}
    return run(pair.sandbox, module=snapshot_rotate, select=wanted, **POLICY)


def captured(sandbox: Sandbox) -> set[str]:
    return {item["VolumeId"] for item in snapshots(sandbox).values() if "daily" in item["Description"]}


@pytest.mark.parametrize("held", [False, True], ids=["runs", "held"])
def test_bake_beside_an_unretired_predecessor_names_both(sandbox: Sandbox, held: bool) -> None:
    pair = launched_only(sandbox, "stop", held)
    untag(pair.new, TRIAL)
    ended = pair.bake()
    assert not ended.failed
    assert names_both(pair, ended.warnings)


@pytest.mark.parametrize("select", ["instance_ids", "tags"])
@pytest.mark.parametrize("word", [None, "serving"])
def test_policy_backs_up_a_held_predecessor_beside_its_successor(
    sandbox: Sandbox, word: str | None, select: str
) -> None:
    pair = launched_only(sandbox, "stop", held=True)
    write(pair.new, word)
    if select == "tags":
        for one in (pair.old, pair.new):
            tag(one, {"service": "web"})
    chosen = {} if select == "instance_ids" else {"tags": {"service": "web"}}
    more = {} if select == "instance_ids" else {"consistency": "instance"}
    wanted = chosen or {"instance_ids": [pair.old.instance_id]}
    ended = run(sandbox, module=snapshot_rotate, select=wanted, **POLICY, **more)
    assert not ended.failed
    assert captured(sandbox) == {pair.old.root_volume_id, root(pair.new)}
    if select == "instance_ids":
        assert any("both are captured" in text for text in ended.warnings)
        assert names_both(pair, ended.warnings)


def test_policy_beside_a_kept_predecessor_does_not_warn(sandbox: Sandbox) -> None:
    pair = replaced(sandbox, old_instance="keep")
    ended = rotate(pair)
    assert ended.warnings == []
    assert captured(sandbox) == {pair.old.root_volume_id, root(pair.new)}


@pytest.mark.parametrize("named", [False, True], ids=["all holds", "by its id"])
def test_restored_starts_a_predecessor_whose_successor_lost_its_tag(sandbox: Sandbox, named: bool) -> None:
    pair = launched_only(sandbox, "stop", held=True)
    untag(pair.new, TRIAL)
    sandbox.move_clock(2 * 3600)
    ended = pair.restore(**({"instance_ids": [pair.old.instance_id]} if named else {}))
    assert not ended.failed
    assert ended.actions == ["StartInstances", "DeleteTags"]
    assert names_both(pair, ended.warnings)
    assert pair.states == ("running", "running")
    # Then no instance is terminated, since both may have data.
    assert pair.relaunch().actions == []
    assert names_both(pair, pair.bake().warnings)


def test_restored_leaves_the_predecessor_of_a_serving_successor(sandbox: Sandbox) -> None:
    pair = launched_only(sandbox, "stop", held=True)
    tag(pair.new, {TRIAL: "serving"})
    sandbox.move_clock(2 * 3600)
    ended = pair.restore()
    assert ended.actions == []
    assert names_both(pair, ended.warnings)
    assert not pair.relaunch().failed
    assert pair.states == ("stopped", "running")


def test_restored_starts_no_retired_predecessor(sandbox: Sandbox) -> None:
    """An earlier version wrote no tag, and the hold has an age that fits the last stop."""
    pair = replaced(sandbox)
    untag(pair.new, TRIAL)
    pair.copied_hold()
    sandbox.move_clock(2 * 3600)
    ended = pair.restore()
    assert ended.actions == []
    assert pair.states == ("stopped", "running")
