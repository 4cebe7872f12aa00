# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time limits of tasks, and workers that die, while a module runs in the worker."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from playbook.interrupting import PROC, Point, await_released, begun, descendants, hold_at, instance_now
from playbook.seeds import Web
from playbook.support import DURATIONS, PLAYS, REGION, run_playbook
from sandbox.client import Sandbox

OLD = 150
"""Snapshots to delete. EC2 takes 100 at once, and the rest takes ten seconds."""


def seed_old(sandbox: Sandbox) -> None:
    times = [86400 * number for number in range(1, OLD + 2)]
    old = {"volumes": ["db"], "tags": {"created-by": "cron"}, "times": times}
    sandbox.seed({"region": REGION, "volumes": [{"name": "db"}], "snapshots": [old]})


@pytest.mark.cores
def test_time_limit_ends_calls_and_waits(sandbox: Sandbox, web: Web) -> None:
    seed_old(sandbox)
    sandbox.configure(durations={**DURATIONS, "instance_stopping": 600.0})
    began = time.monotonic()
    run = run_playbook(sandbox, PLAYS / "time_limits.yml", {"test_instance_id": web.instance_id}, timeout=60)
    seconds = time.monotonic() - began
    assert run.status == 2, run.output
    outcomes = [(each.task, each.outcome) for each in run.results]
    assert outcomes == [("Delete", "ignored"), ("Stop", "failed")]
    for each in run.results:
        assert each.result["timedout"]["period"] == 3, each.result
    # All processes of the run have ended, so no further call can follow.
    deleted = len(sandbox.log(action="DeleteSnapshot"))
    assert 90 < deleted < OLD
    assert instance_now(sandbox, web.instance_id)[0] == "stopping"
    assert seconds < 45, "the wait for the instance would take ten minutes"

    again = run_playbook(sandbox, PLAYS / "deletions.yml")
    assert again.status == 0, again.output
    assert len([entry for entry in sandbox.log(action="DeleteSnapshot") if entry["done"]]) == OLD


@pytest.mark.cores
@pytest.mark.skipif(not (PROC / "self" / "stat").exists(), reason="the processes of a run are found in /proc")
def test_dead_worker_ends_the_run(sandbox: Sandbox, tmp_path: Path) -> None:
    seed_old(sandbox)
    fault = hold_at(sandbox, Point("DeleteSnapshot", "before"))
    # ansible-core 2.21 makes a socket below this folder, and the path of a socket has at most 107 characters.
    with begun(sandbox, PLAYS / "deletions.yml", {}, tmp_path / "1") as first:
        first.await_held(fault)
        (worker,) = descendants(first.process)[1:]
        worker.send(signal.SIGKILL)
        run = first.ended()
    assert run.status not in (0, 2), run.output
    assert "A worker was found in a dead state" in run.output
    await_released(sandbox)
    sandbox.remove_fault(fault)

    again = run_playbook(sandbox, PLAYS / "deletions.yml")
    assert again.status == 0, again.output
    assert len([entry for entry in sandbox.log(action="DeleteSnapshot") if entry["done"]]) == OLD
