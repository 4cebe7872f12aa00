# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of `snapshot_rotate` on the sandbox."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import substitute
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change
from ansible_collections.ec2ops.storage.plugins.modules import snapshot_rotate

from in_process import Ended, run, snapshots
from sandbox.client import Sandbox

DAY = 86400


def rotate(sandbox: Sandbox, **given: Any) -> Ended:
    """A run, compared with its plan: see `in_process.run`."""
    return run(sandbox, module=snapshot_rotate, **{"policy": "p", **given})


def ok(ended: Ended) -> Ended:
    assert ended.failed == ""
    return ended


def four(sandbox: Sandbox, **given: Any) -> Ended:
    """Check, run, check again, run again: the plan is the run's, and then there is nothing to do. Returns the run."""
    checked, ran = ok(rotate(sandbox, check=True, **given)), ok(rotate(sandbox, **given))
    assert entries(checked) == entries(ran)
    assert checked.result["plan_hash"] == ran.result["plan_hash"]
    assert checked.result["deleted"] == ran.result["deleted"]
    bindings = ran.result["planned_ids"]
    assert substitute(checked.result["created"], bindings) == ran.result["created"]
    for check in (True, False):
        again = ok(rotate(sandbox, check=check, **given))
        assert (again.result["plan"], again.result["changed"]) == ([], False)
    return ran


def entries(ended: Ended) -> list[Any]:
    return [(entry["action"], entry["resource"], entry["parameters"]) for entry in ended.result["plan"]]


def deletes(sandbox: Sandbox) -> list[str]:
    """Every snapshot that a run has asked EC2 to delete, with any answer."""
    return [entry["params"]["SnapshotId"] for entry in sandbox.log(action="DeleteSnapshot")]


def tags_of(row: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in row.get("Tags", [])}


def of_policy(sandbox: Sandbox, policy: str = "p") -> dict[str, dict[str, Any]]:
    """The policy's snapshots by id, their tags as a dictionary under ``tags``."""
    found = {name: {**row, "tags": tags_of(row)} for name, row in snapshots(sandbox).items()}
    return {name: row for name, row in found.items() if row["tags"].get("ec2ops:policy") == policy}


def past(sandbox: Sandbox, volumes: Sequence[str], days: int, instance: str = "", **tags: str) -> list[str]:
    """The policy's snapshots of one o'clock on the days before, all at the same second; the newest first."""
    today = sandbox.now().replace(hour=1, minute=0, second=0, microsecond=0)
    rows = []
    for number in range(1, days + 1):
        start = today - timedelta(days=number)
        period = f"{start:%Y-%m-%d}T00:00+00:00"
        own = {"ec2ops:policy": "p", "ec2ops:period": period, "ec2ops:source": "{volume}", "ec2ops:origin": "-", **tags}
        own |= {"ec2ops:set": f"{instance}/{period}"} if instance else {}
        row = {"times": [start.isoformat()], "volumes": list(volumes), "tags": own, "name": f"day {number}"}
        rows.append({**row, "description": f"{own['ec2ops:policy']}: {instance or '{volume}'}"})
    names = sandbox.seed({"snapshots": rows})
    return [one for number in range(1, days + 1) for one in names[f"day {number}"]]


class Together:
    """The gateway of a run that makes its first call at the same moment as another run's."""

    def __init__(self, gateway: Any, barrier: threading.Barrier) -> None:
        self._gateway, self._barrier = gateway, barrier
        self._first, self._lock = True, threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        with self._lock:
            if self._first:
                self._first = False
                self._barrier.wait(20)
        answer: Mapping[str, str] = self._gateway.perform(changes, generation)
        return answer
