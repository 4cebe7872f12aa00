# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the collection beside the same job done with amazon.aws, on one sandbox. Run by ``make bench``.

Prints a Markdown table for each scenario in SCENARIOS; ``--json FILE`` writes all figures, ``--tasks`` prints the time
of every task. Ends with 1 when a run of ours went wrong, or made more calls than its target allows. Times are printed
and judged in the table only: they depend on the machine.

How it is measured:

- A time is that of the whole command, ``ansible-playbook`` from its start to its end. Ours runs first: what is cold in
  the caches of the machine is at our cost.
- Calls are what the sandbox's log has of the run: every request that arrived, to any service, refused ones too.
- A poll of a wait is a read of states by the resources' ids (DescribeInstances, DescribeImages and so on) that follows
  a write of the same task, or equals a read that the same task has made before. Where one is made without waiting, as
  amazon.aws's ec2_instance does, it counts as a poll too, to its advantage. All else is a call: the reads before the
  first write, and looks for what a write has made by its tags or its name.
- The instance was off in the gap between two of its own writes to its root volume: it makes one every tenth of a
  second, one when it comes up, and one as the last thing before it is off.

A scenario is a class with a `name`, a `title`, and `measure(bench)`, which runs ours and the peer's and returns a
Comparison. To measure another job, write one and add it to SCENARIOS.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from playbook.processes import end
from playbook.seeds import Web, seed_web
from sandbox.client import Sandbox
from tools.environment import ROOT, TREE, environment

HERE = ROOT / "tests" / "bench"
LATENCY = 0.05
"""Seconds of each call."""
STOP, SNAPSHOT, IMAGE, START = 1.0, 1.0, 1.0, 1.0
DURATIONS = {
    "instance_stopping": STOP,
    "instance_pending": START,
    "snapshot_pending": SNAPSHOT,
    "image_registering": IMAGE,
    "status_ok": 0.5,
    "write_tick": 0.1,
}
RUN_LIMIT = 300.0
"""Seconds after which a run is ended: the peer takes more than a minute."""
READS = ("Describe", "Get", "List")
STATES = {"DescribeInstances", "DescribeInstanceStatus", "DescribeImages", "DescribeSnapshots", "DescribeVolumes"}
IDS = {"instance-id", "image-id", "snapshot-id", "volume-id", "InstanceIds", "ImageIds", "SnapshotIds", "VolumeIds"}
"""Filters and parameters by which states are read."""


class Broken(Exception):
    """What was to be measured did not run as it should."""


# --- one run ----------------------------------------------------------------------------------------------------------


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
        """Whether a task said that it changed something."""
        return any(task.outcome == "changed" for task in self.tasks)

    @property
    def outcome(self) -> str:
        """How it ended, for a table."""
        if self.status:
            failed = next((task for task in self.tasks if task.outcome == "failed"), None)
            return f"failed: {failed.message.splitlines()[0]}" if failed and failed.message else "failed"
        return "changed" if self.changed else "no change"


class Bench:
    """A sandbox, and runs of playbooks on it that are watched."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox = sandbox
        self._folder = folder
        self._runs = 0

    def run(self, playbook: str | Path, region: str, variables: Mapping[str, Any]) -> Run:
        """Runs a playbook (a file, or a name such as ``ec2ops.storage.bake_and_relaunch``) to whatever end.

        Raises Broken when it takes longer than RUN_LIMIT.
        """
        self._runs += 1
        record = self._folder / f"tasks-{self._runs}.jsonl"
        command = ["ansible-playbook", str(playbook), "-e", json.dumps(dict(variables))]
        env = {
            **environment(),
            **self.sandbox.environment(region=region),
            "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback"),
            "ANSIBLE_CALLBACKS_ENABLED": "stopwatch",
            "ANSIBLE_NOCOLOR": "1",
            "EC2OPS_BENCH_RECORD": str(record),
        }
        seen = max((entry["sequence"] for entry in self.sandbox.log()), default=0)
        # What the sandbox's clock is ahead of ours, to know a call's task by its time.
        ahead = self.sandbox.now().timestamp() - time.time()
        began, started, computed = time.time(), time.monotonic(), cpu_of_children()
        process = subprocess.Popen(
            command,
            cwd=self._folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        try:
            output, _none = process.communicate(timeout=RUN_LIMIT)
        except subprocess.TimeoutExpired:
            raise Broken(f"{playbook} did not end within {RUN_LIMIT:.0f} s") from None
        finally:
            if process.poll() is None:
                end(process)
        seconds = time.monotonic() - started
        tasks = read_tasks(record, began)
        log = self.sandbox.log(after=seen)
        polls = count_calls(log, tasks, began + ahead)
        operations = dict(sorted(Counter(entry["action"] for entry in log).items()))
        cpu = cpu_of_children() - computed
        return Run(seconds, cpu, process.returncode, len(log) - polls, polls, operations, tasks, output)


def cpu_of_children() -> float:
    """Seconds that the processes computed that this one, and its children, have started and seen end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def read_tasks(record: Path, began: float) -> list[Task]:
    """What the stopwatch has written, in the order of begin; times since `began` (seconds since 1970)."""
    rows = [json.loads(line) for line in record.read_text(encoding="utf-8").splitlines()] if record.exists() else []
    tasks = [Task(**{**row, "began": row["began"] - began, "ended": row["ended"] - began}) for row in rows]
    return sorted(tasks, key=lambda task: task.began)


def count_calls(log: Sequence[Mapping[str, Any]], tasks: Sequence[Task], began: float) -> int:
    """Gives each call to the task that ran when it arrived, and returns how many of all were polls (see above).

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


# --- what a scenario returns ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """One line of a table. met: of the target, None without one. binding: whether the bench fails when it is missed."""

    label: str
    ours: str
    peer: str
    target: str = ""
    met: bool | None = None
    binding: bool = False


@dataclass(frozen=True)
class Comparison:
    """A scenario's table, the runs that it comes from, by name, and more lines to print below it."""

    rows: tuple[Row, ...]
    runs: Mapping[str, Run]
    figures: Mapping[str, Any]
    notes: tuple[str, ...] = ()


class Scenario(Protocol):
    """A job that is measured."""

    name: str
    title: str

    def measure(self, bench: Bench) -> Comparison:
        """Runs ours and the peer's. Raises Broken when there is nothing to compare."""


# --- bake and relaunch ------------------------------------------------------------------------------------------------


ONE = "one instance"


@dataclass(frozen=True)
class Side:
    """One side's two runs of the same command. off: seconds. left: what serves after both. stray: snapshots."""

    first: Run
    second: Run
    off: float
    left: str
    stray: int


class BakeAndRelaunch:
    """An image of a running instance, and the instance relaunched from it; then the same command again."""

    name = "bake_and_relaunch"
    title = "An image baked from a running instance, and the instance relaunched from it"

    FASTER = 5.0
    MOST_CALLS = 40
    MOST_CALLS_AGAIN = 8
    LONGEST_OFF = STOP + LATENCY + START + 4.0
    # A region for each, so that neither sees what is the other's.
    OURS, PEER = "eu-west-1", "eu-central-1"

    def measure(self, bench: Bench) -> Comparison:
        """Ours, ours again, the peer's, the peer's again."""
        ours = self._side(
            bench,
            self.OURS,
            "ec2ops.storage.bake_and_relaunch",
            lambda web: {
                "bake_and_relaunch_instance_id": web.instance_id,
                "bake_and_relaunch_name": "web",
                "bake_and_relaunch_version": "1",
                "bake_and_relaunch_tags": {"Name": "web-1"},
            },
        )
        peer = self._side(
            bench,
            self.PEER,
            HERE / "peer_bake_and_relaunch.yml",
            lambda _web: {"service": "web", "version": "1"},
        )
        return Comparison(
            tuple(self._rows(ours, peer)),
            {
                "ours": ours.first,
                "ours, again": ours.second,
                "peer": peer.first,
                "peer, again": peer.second,
            },
            {
                side: {"off_seconds": each.off, "left": each.left, "stray_snapshots": each.stray}
                for side, each in (("ours", ours), ("peer", peer))
            },
            (
                (
                    f"A call takes {LATENCY * 1000:.0f} ms; stop {STOP:g} s, snapshot {SNAPSHOT:g} s, "
                    f"image {IMAGE:g} s, start {START:g} s."
                ),
                "The peer's playbook starts the instance when the image is there, and has no `always`.",
                where_time_goes("our second run", ours.second),
            ),
        )

    def _side(
        self, bench: Bench, region: str, playbook: str | Path, variables: Callable[[Web], Mapping[str, Any]]
    ) -> Side:
        sandbox = bench.sandbox
        web = seed_web(sandbox, region)
        given = variables(web)
        say(f"{playbook} in {region} ...")
        first = bench.run(playbook, region, given)
        if first.status:
            raise Broken(f"{playbook} ended with {first.status}:\n{first.output}")
        gaps = sandbox.marks(web.instance_id)["gaps"]
        if len(gaps) != 1:
            raise Broken(f"{playbook} should have stopped and started {web.instance_id} once, but it was off {gaps}")
        say(f"{playbook} again ...")
        second = bench.run(playbook, region, given)
        ec2 = sandbox.client("ec2", region)
        return Side(first, second, gaps[0]["seconds"], serving(ec2), stray_snapshots(ec2))

    def _rows(self, ours: Side, peer: Side) -> list[Row]:
        times = peer.first.seconds / ours.first.seconds
        calls, again = ours.first.calls, ours.second.calls + ours.second.polls
        return [
            Row(
                "time",
                f"{ours.first.seconds:.1f} s",
                f"{peer.first.seconds:.1f} s",
                f"{self.FASTER:g} times as fast: {times:.1f}",
                times >= self.FASTER,
            ),
            Row(
                "API calls, without polls",
                str(calls),
                str(peer.first.calls),
                f"at most {self.MOST_CALLS}",
                calls <= self.MOST_CALLS,
                binding=True,
            ),
            Row("polls of waits", str(ours.first.polls), str(peer.first.polls)),
            Row(
                "the instance was off",
                f"{ours.off:.1f} s",
                f"{peer.off:.1f} s",
                f"at most {self.LONGEST_OFF:.2f} s (stop, one call, start, 4 s)",
                ours.off <= self.LONGEST_OFF,
            ),
            Row(
                "again: how it ended",
                ours.second.outcome,
                peer.second.outcome,
                "no change",
                not ours.second.status and not ours.second.changed,
                binding=True,
            ),
            Row("again: time", f"{ours.second.seconds:.1f} s", f"{peer.second.seconds:.1f} s"),
            Row(
                "again: API calls, with polls",
                str(again),
                str(peer.second.calls + peer.second.polls),
                f"at most {self.MOST_CALLS_AGAIN}",
                again <= self.MOST_CALLS_AGAIN,
                binding=True,
            ),
            Row("after it: what serves", ours.left, peer.left, ONE, ours.left == ONE, binding=True),
            Row("after it: stray snapshots", str(ours.stray), str(peer.stray), "0", ours.stray == 0, binding=True),
        ]


def serving(ec2: Any) -> str:
    """What runs under the service's name."""
    pages = ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "tag:Name", "Values": ["web"]}, {"Name": "instance-state-name", "Values": ["running"]}]
    )
    running = sum(len(reservation["Instances"]) for page in pages for reservation in page["Reservations"])
    return {0: "nothing: it is stopped", 1: ONE}.get(running, f"{running} instances")


def stray_snapshots(ec2: Any) -> int:
    """How many snapshots there are that no image has."""
    images = ec2.describe_images(Owners=["self"])["Images"]
    devices = [device for image in images for device in image["BlockDeviceMappings"]]
    used = {device["Ebs"]["SnapshotId"] for device in devices if "Ebs" in device}
    pages = ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"])
    return sum(snapshot["SnapshotId"] not in used for page in pages for snapshot in page["Snapshots"])


SCENARIOS: tuple[Scenario, ...] = (BakeAndRelaunch(),)


# --- showing it -------------------------------------------------------------------------------------------------------


def where_time_goes(name: str, run: Run) -> str:
    """One line: the start, each task that talked to EC2, the other tasks, and what is between them."""
    parts = [("start", run.tasks[0].began if run.tasks else run.seconds)]
    parts += [(f"{each.action} ({each.calls + each.polls} calls)", each.seconds) for each in run.tasks if each.calls]
    parts.append(("other tasks", sum(each.seconds for each in run.tasks if not each.calls)))
    parts.append(("between them and at the end", run.seconds - sum(seconds for _part, seconds in parts)))
    shown = ", ".join(f"{part} {seconds:.2f} s" for part, seconds in parts)
    return f"Where the time of {name} goes: {shown}."


def table(rows: Sequence[Row], peer: str) -> str:
    """The rows as a Markdown table, with columns as wide as their texts."""
    verdict = {True: "met", False: "MISSED", None: ""}
    cells = [["", "ec2ops.storage", peer, "target", ""]]
    cells += [[row.label, row.ours, row.peer, row.target, verdict[row.met]] for row in rows]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in cells]
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    cells.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in cells
    )


def task_table(run: Run) -> str:
    """Every task of a run that was not skipped."""
    lines = [f"{each.began:7.2f} {each.seconds:6.2f} {each.calls:4} {each.polls:4}  {each.task}" for each in run.tasks]
    last = f"{run.seconds:7.2f}                   the end; {run.cpu:.2f} s of computing"
    return "\n".join(["  began   took call poll  task", *lines, last])


def say(text: str) -> None:
    """What is going on, beside the result."""
    print(text, file=sys.stderr, flush=True)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison's figures as JSON can carry them."""
    runs = {
        name: {key: value for key, value in asdict(run).items() if key != "output"} | {"outcome": run.outcome}
        for name, run in comparison.runs.items()
    }
    return {"rows": [asdict(row) for row in comparison.rows], "runs": runs, **comparison.figures}


def versions() -> dict[str, str]:
    """What is compared, with what, and how busy the machine is before it begins."""
    from ansible.release import __version__ as core

    manifest = TREE / "ansible_collections" / "amazon" / "aws" / "MANIFEST.json"
    return {
        "amazon.aws": json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"],
        "ansible-core": core,
        "Python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and returns the status to end with."""
    cli = argparse.ArgumentParser(description="Measure the collection beside amazon.aws on the sandbox.")
    cli.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to this file")
    cli.add_argument("--tasks", action="store_true", help="also print the time of every task")
    cli.add_argument("--only", choices=[each.name for each in SCENARIOS], help="measure one scenario only")
    options = cli.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    used = versions()
    figures: dict[str, Any] = {"measured": datetime.now(UTC).isoformat(timespec="seconds"), "versions": used}
    missed: list[str] = []
    try:
        for scenario in SCENARIOS:
            if options.only in (None, scenario.name):
                comparison = measured(scenario)
                figures[scenario.name] = as_json(comparison)
                bad = [row.label for row in comparison.rows if row.binding and row.met is False]
                missed += [f"{scenario.name}: {label}" for label in bad]
                show(scenario, comparison, used, tasks=options.tasks)
    except KeyboardInterrupt:
        say("Interrupted; everything that the benchmark had started is stopped.")
        return 130
    except Broken as error:
        say(f"Nothing to compare: {error}")
        return 1
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for each in missed:
        say(f"The target is missed: {each}")
    return 1 if missed else 0


def measured(scenario: Scenario) -> Comparison:
    """Measures one scenario on a sandbox of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="ec2ops-bench-") as folder,
        Sandbox.start(durations=DURATIONS, latency=LATENCY) as sandbox,
    ):
        return scenario.measure(Bench(sandbox, Path(folder)))


def show(scenario: Scenario, comparison: Comparison, used: Mapping[str, str], *, tasks: bool) -> None:
    """Prints a scenario's table and what belongs to it."""
    print(f"{scenario.title}\n\n{table(comparison.rows, 'amazon.aws ' + used['amazon.aws'])}\n")
    print("\n".join(comparison.notes))
    print(
        f"Measured with ansible-core {used['ansible-core']} and Python {used['Python']}; "
        f"the load average was {used['load']}.\n",
        flush=True,
    )
    if tasks:
        for name, run in comparison.runs.items():
            print(f"{name}: {run.outcome}; {run.operations}\n{task_table(run)}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
