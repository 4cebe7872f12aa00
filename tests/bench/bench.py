# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures the collection beside the same job done with amazon.aws or Cloud Custodian, on one sandbox. Run by
``make bench``.

Prints a Markdown table for each scenario in SCENARIOS; ``--json FILE`` writes all figures, ``--tasks`` prints the time
of every task. Ends with 1 when a run of ours went wrong, or missed a target that does not depend on the machine: calls,
outcomes, memory. Times depend on the machine, so only the table judges them.

How it is measured:

- A time is that of the whole command, ``ansible-playbook`` from its start to its end. Ours runs first: what is cold in
  the caches of the machine is at our cost.
- Calls are what the sandbox's log has of the run: every request that arrived, to any service, refused ones too.
- A poll of a wait is a read of states by the resources' ids (DescribeInstances, DescribeImages and so on) that follows
  a write of the same task, or equals a read that the same task has made before. Where one is made without waiting, as
  amazon.aws's ec2_instance does, it counts as a poll too, to its advantage. All else is a call: the reads before the
  first write, and looks for what a write has made by its tags or its name.

A scenario is a class with a `name`, a `title`, the sandbox's `durations`, and `measure(bench)`, which runs ours and the
peer's and returns a Comparison. To measure another job, write one and add it to SCENARIOS.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from distribute import Distribute
from fleets import Fleets
from image_rotate import ImageRotate
from inventory import Inventory
from main_job import BakeAndRelaunch
from relaunch import Relaunch
from report import Comparison, Scenario, as_json, say, show, versions
from runs import LATENCY, Bench, Broken
from sandbox.client import Sandbox
from snapshots import Snapshots
from tasks import Tasks
from volumes import Volumes

SCENARIOS: tuple[Scenario, ...] = (
    BakeAndRelaunch(),
    Relaunch(),
    Distribute(),
    ImageRotate(),
    Volumes(),
    Snapshots(),
    Inventory(),
    Tasks(),
    Fleets(),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and returns the status to end with."""
    cli = argparse.ArgumentParser(description="Measure the collection beside its peers on the sandbox.")
    cli.add_argument("--json", type=Path, metavar="FILE", help="also write all figures to this file")
    cli.add_argument("--tasks", action="store_true", help="also print the time of every task")
    cli.add_argument(
        "--only", choices=[each.name for each in SCENARIOS], nargs="+", help="measure these scenarios only"
    )
    options = cli.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    used = versions()
    figures: dict[str, Any] = {"measured": datetime.now(UTC).isoformat(timespec="seconds"), "versions": used}
    missed: list[str] = []
    try:
        for scenario in SCENARIOS:
            if not options.only or scenario.name in options.only:
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
    """Measures one scenario on a sandbox of its own.

    Its reads are up to date, since amazon.aws gives up on a snapshot that EC2 does not show at once, and a tool that
    ends with an error has no time to compare.
    """
    with (
        tempfile.TemporaryDirectory(prefix="ec2ops-bench-") as folder,
        Sandbox.start(durations=scenario.durations, latency=LATENCY) as sandbox,
    ):
        sandbox.configure(read_lag=0.0)
        return scenario.measure(Bench(sandbox, Path(folder)))


if __name__ == "__main__":
    sys.exit(main())
