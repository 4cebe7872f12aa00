# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a scenario, and its form: Markdown for people, JSON for programs."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from runs import Bench, Run
from tools.environment import TREE


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
    """A scenario's table, the runs that it comes from, by name, more figures, and lines to print below the table.

    peer: who is compared with; amazon.aws unless it says.
    """

    rows: tuple[Row, ...]
    runs: Mapping[str, Run]
    figures: Mapping[str, Any]
    notes: tuple[str, ...] = ()
    peer: str = ""


class Scenario(Protocol):
    """A job that is measured."""

    name: str
    title: str
    durations: Mapping[str, float]
    """The sandbox's delays, in seconds."""

    def measure(self, bench: Bench) -> Comparison:
        """Runs ours and the peer's. Raises Broken when there is nothing to compare."""


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
    """Progress, beside the result."""
    print(text, file=sys.stderr, flush=True)


def as_json(comparison: Comparison) -> dict[str, Any]:
    """A comparison's figures as JSON can carry them."""
    runs = {
        name: {key: value for key, value in asdict(run).items() if key != "output"} | {"outcome": run.outcome}
        for name, run in comparison.runs.items()
    }
    return {"rows": [asdict(row) for row in comparison.rows], "runs": runs, **comparison.figures}


def versions() -> dict[str, str]:
    """The two sides, and the load of the machine before the start."""
    from ansible.release import __version__ as core

    manifest = TREE / "ansible_collections" / "amazon" / "aws" / "MANIFEST.json"
    return {
        "amazon.aws": json.loads(manifest.read_text(encoding="utf-8"))["collection_info"]["version"],
        "ansible-core": core,
        "Python": platform.python_version(),
        "load": f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} CPUs",
    }


def show(scenario: Scenario, comparison: Comparison, used: Mapping[str, str], *, tasks: bool) -> None:
    """Prints a scenario's table and its notes."""
    peer = comparison.peer or f"amazon.aws {used['amazon.aws']}"
    print(f"{scenario.title}\n\n{table(comparison.rows, peer)}\n")
    print("\n".join(comparison.notes))
    print(
        f"Measured with ansible-core {used['ansible-core']} and Python {used['Python']}; "
        f"the load average was {used['load']}.\n",
        flush=True,
    )
    if tasks:
        for name, run in comparison.runs.items():
            print(f"{name}: {run.outcome}; {run.operations}\n{task_table(run)}\n", flush=True)
