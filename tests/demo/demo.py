# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job on the sandbox: an image baked from a running instance, and the instance relaunched from it.

Run by ``make demo``. Checks its own output, and ends with a status other than 0 if anything is not as promised.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from playbook.processes import end
from playbook.seeds import ROOT_DEVICE, Web, seed_web
from sandbox.client import Sandbox

PLAYBOOK = "ec2ops.storage.bake_and_relaunch"
REGION = "eu-central-1"
# Seconds. EC2 takes longer for most of this. Only the order of events matters here.
DURATIONS = {
    "instance_stopping": 3.0,
    "instance_pending": 2.0,
    "snapshot_pending": 6.0,
    "image_registering": 1.0,
    "status_ok": 3.0,
    "write_tick": 0.5,
}
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
READ = re.compile(r"(\w+:)?(Describe|Get|List)")


@dataclass(frozen=True)
class Pass:
    """One run of the playbook: its recap's count of changed tasks, and the calls that change something, in order."""

    name: str
    changed: int
    changes: tuple[str, ...]


class BrokenError(Exception):
    """Something is not as promised."""


def main() -> int:
    """The demo, from its start to the end of all that it has started."""
    for number in SIGNALS:
        signal.signal(number, interrupted)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="ec2ops-demo-") as folder,
            Sandbox.start(durations=DURATIONS) as sandbox,
        ):
            return demonstrate(sandbox, Path(folder))
    except KeyboardInterrupt as interruption:
        print("\nInterrupted; everything that the demo had started is stopped.", file=sys.stderr)
        return 128 + int(interruption.args[0])
    except BrokenError as error:
        print(f"\nNot as promised: {error}", file=sys.stderr)
        return 1


def interrupted(number: int, _frame: object) -> None:
    """Ends the demo in order; another signal does not disturb that."""
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt(number)


def demonstrate(sandbox: Sandbox, folder: Path) -> int:
    """Seeds, runs three times, and shows the outcome. Raises BrokenError."""
    print("An instance is running. Two volumes are attached, and it writes to them all the time.")
    web = seed(sandbox)
    print(f"  {web.instance_id} (web), root {web.root_volume_id}, data {web.data_volume_id}\n")

    variables = folder / "web.yml"
    variables.write_text(
        f"""---
bake_and_relaunch_instance_id: {web.instance_id}
bake_and_relaunch_name: web
bake_and_relaunch_version: "2026.11.23"
# The predecessor keeps its attachments.
bake_and_relaunch_data_volumes: keep
bake_and_relaunch_elastic_ip: keep
bake_and_relaunch_target_groups: keep
bake_and_relaunch_aws:
  region: {REGION}
  endpoint_url: {sandbox.url}
""",
        encoding="utf-8",
    )
    print("An operator wrote these variables. The last line names the sandbox on this machine instead of AWS. There a")
    print("stop takes 3 s, a start 2 s and a snapshot 6 s.\n")
    print(f"$ cat {variables.name}\n{variables.read_text(encoding='utf-8')}")

    passes = (
        play(sandbox, folder, "check", "The plan:", "--check", "--diff"),
        play(sandbox, folder, "run", "The run:"),
        play(sandbox, folder, "again", "The same command once more changes nothing:"),
    )
    show(sandbox, web, passes)
    return 0


# --- the world before -----------------------------------------------------------------------------------------------


def seed(sandbox: Sandbox) -> Web:
    """A running instance with a root and a data volume, and a recognizable write on each."""
    web = seed_web(sandbox, REGION)
    sandbox.add_mark(web.root_volume_id, "release 41 deployed")
    sandbox.add_mark(web.data_volume_id, "order 1001")
    return web


# --- the runs -------------------------------------------------------------------------------------------------------


def play(sandbox: Sandbox, folder: Path, name: str, title: str, *options: str) -> Pass:
    """Runs the playbook and shows its output. Raises BrokenError when it fails."""
    command = ["ansible-playbook", PLAYBOOK, "-e", "@web.yml", *options]
    print(f"{title}\n\n$ {' '.join(command)}", flush=True)
    before = len(sandbox.log())
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        # The folder has the leftovers of an interrupted run.
        "TMPDIR": str(folder),
        "ANSIBLE_LOCAL_TEMP": str(folder),
        "ANSIBLE_REMOTE_TEMP": str(folder),
        # Tasks that change nothing are many and say little. A user sees them, too.
        "ANSIBLE_DISPLAY_OK_HOSTS": "false",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
        "ANSIBLE_FORCE_COLOR": "true" if sys.stdout.isatty() else "false",
    }
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    output: list[str] = []
    try:
        if process.stdout is not None:
            for line in process.stdout:
                output.append(line)
                print(f"    {line}" if line.strip() else "", end="" if line.strip() else "\n", flush=True)
        status = process.wait()
    finally:
        end(process)
    recap = re.search(r"^localhost\b.*\bchanged=(\d+)", re.sub(r"\x1b\[[0-9;]*m", "", "".join(output)), re.MULTILINE)
    if status or recap is None:
        raise BrokenError(f"`{' '.join(command)}` ended with {status}")
    calls = (call for call in sandbox.log()[before:] if not call["params"].get("DryRun"))
    changes = tuple(call["action"] for call in calls if not READ.match(call["action"]))
    return Pass(name, int(recap[1]), changes)


# --- the world after ------------------------------------------------------------------------------------------------


def show(sandbox: Sandbox, web: Web, passes: Sequence[Pass]) -> None:
    """The tables at the end. Raises BrokenError when they do not show the promised outcome."""
    ec2 = sandbox.client("ec2", REGION)
    rows = [row for each in ec2.describe_instances()["Reservations"] for row in each["Instances"]]
    instances = {row["InstanceId"]: row for row in rows}
    (image,) = ec2.describe_images(Owners=["self"], Filters=[{"Name": "tag:ec2ops:image", "Values": ["web"]}])["Images"]
    snapshots = ec2.describe_snapshots(OwnerIds=["self"], Filters=[{"Name": "tag:ec2ops:image", "Values": ["web"]}])
    (snapshot,) = snapshots["Snapshots"]
    (new_id,) = [name for name, row in instances.items() if row["ImageId"] == image["ImageId"]]
    old, new = instances[web.instance_id], instances[new_id]

    print("The instances now:\n")
    table(
        [
            ("predecessor", web.instance_id, old["State"]["Name"]),
            ("image", image["ImageId"], image["State"]),
            ("its snapshot", snapshot["SnapshotId"], snapshot["State"]),
            ("successor", new_id, new["State"]["Name"]),
        ]
    )
    require(
        [old["State"]["Name"], image["State"], snapshot["State"], new["State"]["Name"]]
        == ["stopped", "available", "completed", "running"],
        "the states are others",
    )

    written = sandbox.marks(web.instance_id)
    (gap,) = written["gaps"]
    before_stop = [mark for mark in written["devices"][ROOT_DEVICE] if moment(mark["time"]) <= moment(gap["from"])]
    carried = sandbox.marks(new_id)["devices"][ROOT_DEVICE][: len(before_stop)]
    deployed = next(mark for mark in before_stop if mark["text"] == "release 41 deployed")
    print("\nThe predecessor's writes to its root volume, and whether the successor has them:\n")
    table(
        [
            (shown(deployed), deployed["text"], yes(deployed in carried)),
            *((shown(mark), "a write of every half second", yes(mark in carried)) for mark in before_stop[-3:-1]),
            (shown(before_stop[-1]), "the last write before its stop", yes(before_stop[-1] in carried)),
            ("", f"all {len(before_stop)} up to its stop", yes(carried == before_stop)),
        ]
    )
    require(carried == before_stop, "the successor lacks writes")
    require(moment(deployed["time"]) <= moment(gap["from"]), "the release was deployed after the stop")

    print(f"\nThe predecessor was off for {gap['seconds']:.1f} s.", end=" ")
    print(f"Its snapshot took {DURATIONS['snapshot_pending']:.1f} s, most of it while the instance ran again.")
    shortest = DURATIONS["instance_stopping"] + DURATIONS["instance_pending"]
    require(gap["seconds"] <= shortest + 4, "the predecessor was off for longer than its stop, one call and its start")

    print("\nThe three runs:\n")
    check, run, again = passes
    table(
        [
            ("check", f"{check.changed} tasks would change something", f"{len(check.changes)} changing calls"),
            ("run", f"{run.changed} tasks changed something", f"{len(run.changes)} changing calls"),
            ("again", f"{again.changed} tasks changed something", f"{len(again.changes)} changing calls"),
        ]
    )
    require(not check.changes, "the check run has changed something")
    require(check.changed == run.changed > 0, "the check run has shown another number of changes than the run has made")
    require(again.changed == 0 and not again.changes, "the last run has changed something")


def require(true: bool, otherwise: str) -> None:
    """Raises BrokenError unless it is true."""
    if not true:
        raise BrokenError(otherwise)


def table(rows: Sequence[Sequence[str]]) -> None:
    """Prints the rows in columns."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def shown(mark: Mapping[str, Any]) -> str:
    """The time of a write, as on a clock."""
    return moment(str(mark["time"])).strftime("%H:%M:%S.%f")[:-4]


def yes(true: bool) -> str:
    return "yes" if true else "NO"


if __name__ == "__main__":
    sys.exit(main())
