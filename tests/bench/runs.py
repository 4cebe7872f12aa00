# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a sandbox, watched: ansible-playbook with its tasks and their calls, and single processes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from playbook.processes import end
from sandbox.client import Sandbox
from tools.environment import ROOT, environment

HERE = ROOT / "tests" / "bench"
LATENCY = 0.05
"""Seconds of each call."""
RUN_LIMIT = 300.0
"""Seconds after which a run is ended: the peer's take more than two minutes."""
READS = ("Describe", "Get", "List")
STATES = {"DescribeInstances", "DescribeInstanceStatus", "DescribeImages", "DescribeSnapshots", "DescribeVolumes"}
IDS = {"instance-id", "image-id", "snapshot-id", "volume-id", "InstanceIds", "ImageIds", "SnapshotIds", "VolumeIds"}
"""Filters and parameters by which states are read."""


class Broken(Exception):
    """A measured run did not end as it should."""


@dataclass
class Task:
    """One task that was not skipped, and the calls that were made during it. Times are seconds since the run began."""

    task: str
    action: str
    began: float
    ended: float
    outcome: str
    message: str
    calls: int = 0
    polls: int = 0

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


@dataclass
class Run:
    """One run of ansible-playbook. `calls` are without `polls`. `operations` counts both, by action.

    cpu: seconds that all its processes computed, which a busy machine changes less than the time that passes.
    """

    seconds: float
    cpu: float
    status: int
    calls: int
    polls: int
    operations: dict[str, int]
    tasks: list[Task] = field(repr=False)
    output: str = field(repr=False)

    @property
    def changed(self) -> bool:
        """Whether a task reported a change."""
        return any(task.outcome == "changed" for task in self.tasks)

    @property
    def outcome(self) -> str:
        """How it ended, for a table."""
        if self.status:
            failed = next((task for task in self.tasks if task.outcome == "failed"), None)
            return f"failed: {failed.message.splitlines()[0]}" if failed and failed.message else "failed"
        return "changed" if self.changed else "no change"


@dataclass(frozen=True)
class Cost:
    """The cost of one process, from its start to its end. cpu: seconds that it computed. memory: its peak, in MB."""

    seconds: float
    cpu: float
    memory: float


class Bench:
    """A sandbox, and the watched runs on it."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self.folder = folder
        self._runs = 0

    def run(
        self,
        playbook: str | Path,
        region: str,
        variables: Mapping[str, Any],
        keep: Path | None = None,
        *,
        check: bool = False,
        arguments: Sequence[str] = (),
        limit: float = RUN_LIMIT,
    ) -> Run:
        """Runs a playbook (a file, or a name such as ``ec2ops.storage.bake_and_relaunch``) to whatever end.

        keep: a folder in which the files that Ansible runs for its modules are left, so each module gets a process of
        its own. arguments: more of the command's. Raises Broken when it takes longer than *limit*, in seconds.
        """
        self._runs += 1
        record = self.folder / f"tasks-{self._runs}.jsonl"
        command = ["ansible-playbook", str(playbook), *arguments, "-e", json.dumps(dict(variables))]
        command += ["--check"] if check else []
        env = {
            **self._environment(region),
            "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback"),
            "ANSIBLE_CALLBACKS_ENABLED": "stopwatch",
            "ANSIBLE_NOCOLOR": "1",
            "EC2OPS_BENCH_RECORD": str(record),
        }
        if keep:
            env |= {"ANSIBLE_KEEP_REMOTE_FILES": "1", "ANSIBLE_REMOTE_TMP": str(keep)}
        seen = self.last_call()
        # The lead of the sandbox's clock over ours, to know a call's task by its time.
        ahead = self.sandbox.now().timestamp() - time.time()
        began, started, computed = time.time(), time.monotonic(), cpu_of_children()
        status, output = self._ended(command, env, limit=limit)
        seconds = time.monotonic() - started
        tasks = read_tasks(record, began)
        log = self.calls_after(seen)
        polls = count_calls(log, tasks, began + ahead)
        operations = dict(sorted(Counter(entry["action"] for entry in log).items()))
        cpu = cpu_of_children() - computed
        return Run(seconds, cpu, status, len(log) - polls, polls, operations, tasks, output)

    def process(self, program: Path, region: str, given: str = "") -> Cost:
        """Runs a Python program by itself, with `given` as its input. Raises Broken when it fails."""
        return self.answered(program, region, given)[0]

    def answered(self, program: Path, region: str, given: str = "") -> tuple[Cost, str]:
        """The same; also returns its output."""
        result = self.folder / "cost.json"
        # -I and -S: as small as an interpreter gets, see the program.
        command = [sys.executable, "-I", "-S", str(HERE / "process_cost.py"), str(result), sys.executable, str(program)]
        status, output = self._ended(command, self._environment(region), given)
        if status:
            raise Broken(f"{program.name} ended with {status}:\n{output[-5000:]}")
        return Cost(**json.loads(result.read_text(encoding="utf-8"))), output

    def packed(self, playbook: Path, region: str, variables: Mapping[str, Any], module: str) -> Path:
        """Returns the file that Ansible runs for a module in check mode, with the options of *playbook* in it.

        *region*: one without resources. The file works in any other region, too, by its environment. Raises Broken.
        """
        keep = Path(tempfile.mkdtemp(prefix="packed-", dir=self.folder))
        run = self.run(playbook, region, variables, keep, check=True)
        found = [*keep.rglob(f"AnsiballZ_{module}.py")]
        if run.status or run.changed or len(found) != 1:
            raise Broken(f"{playbook.name} should have found nothing in {region}, but {run.outcome}:\n{run.output}")
        return found[0]

    def timed(self, command: Sequence[str], region: str) -> tuple[float, int, str]:
        """Runs any program to its end; returns its seconds, its status and its output."""
        started = time.monotonic()
        status, output = self._ended(command, self._environment(region))
        return time.monotonic() - started, status, output

    def calls_after(self, sequence: int) -> list[dict[str, Any]]:
        """The calls that the sandbox has had since the one of that number."""
        return self.sandbox.log(after=sequence)

    def last_call(self) -> int:
        """The number of the last call that the sandbox has had, 0 before the first."""
        return max((entry["sequence"] for entry in self.sandbox.log()), default=0)

    def _ended(
        self, command: Sequence[str], env: Mapping[str, str], given: str = "", limit: float = RUN_LIMIT
    ) -> tuple[int, str]:
        """Status and output of a command that gets `given` as its input.

        Ends it, and all that it has started, when it takes longer than *limit* (Broken) or the bench is interrupted.
        """
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=env,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            output, _none = process.communicate(given, timeout=limit)
        except subprocess.TimeoutExpired:
            raise Broken(f"{' '.join(command)[:200]} did not end within {limit:.0f} s") from None
        finally:
            if process.poll() is None:
                end(process)
        return process.returncode, output

    def _environment(self, region: str) -> dict[str, str]:
        return {**environment(), **self.sandbox.environment(region=region)}


def cpu_of_children() -> float:
    """Seconds of computing of all ended processes that this one and its children have started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def read_tasks(record: Path, began: float) -> list[Task]:
    """The stopwatch's records, in the order of begin; times since `began` (seconds since 1970)."""
    rows = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()] if record.exists() else []
    tasks = [Task(**{**row, "began": row["began"] - began, "ended": row["ended"] - began}) for row in rows]
    return sorted(tasks, key=lambda task: task.began)


def count_calls(log: Sequence[Mapping[str, Any]], tasks: Sequence[Task], began: float) -> int:
    """Gives each call to the task that ran when it arrived, and returns how many of all were polls (bench.py says what
    that is).

    began: when the run began, in seconds since 1970 on the sandbox's clock.
    """
    asked: set[tuple[int, str, str, str]] = set()
    wrote: set[int] = set()
    polls = 0
    for entry in log:
        at = datetime.fromisoformat(entry["time"]).timestamp() - began
        # The log has milliseconds, cut off.
        number = max((n for n, task in enumerate(tasks) if task.began <= at + 0.001), default=-1)
        key = (number, entry["region"], entry["action"], json.dumps(entry["params"], sort_keys=True))
        poll = reads_states_by_id(entry) and (number in wrote or key in asked)
        asked.add(key)
        if not entry["action"].rpartition(":")[2].startswith(READS):
            wrote.add(number)
        polls += poll
        if number >= 0:
            tasks[number].polls += poll
            tasks[number].calls += not poll
    return polls


def reads_states_by_id(entry: Mapping[str, Any]) -> bool:
    """Whether a call asks for the state of resources that it names by their ids."""
    named = {*entry["params"], *(each.get("Name") for each in entry["params"].get("Filters", ()))}
    return entry["action"] in STATES and not named.isdisjoint(IDS)
