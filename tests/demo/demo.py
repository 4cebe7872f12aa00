# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job on the sandbox: an image baked from a running instance, and the instance relaunched from it.

Run by ``make demo``. Checks what it shows: it ends with a status other than 0 when anything is not as promised.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from playbook.processes import end
from sandbox.client import Sandbox

PLAYBOOK = "ec2ops.storage.bake_and_relaunch"
REGION = "eu-central-1"
# Seconds. EC2 takes longer for most of this; what it comes to is in what order things happen.
DURATIONS = {
    "instance_stopping": 3.0,
    "instance_pending": 2.0,
    "snapshot_pending": 6.0,
    "image_registering": 1.0,
    "status_ok": 3.0,
    "write_tick": 0.5,
}
READS = ("Describe", "Get", "List")


@dataclass(frozen=True)
class Web:
    """The instance that everything begins with."""

    instance_id: str
    root_volume_id: str
    data_volume_id: str


@dataclass(frozen=True)
class Pass:
    """One run of the playbook: its recap's count of changed tasks, and the calls that change something, in order."""

    name: str
    changed: int
    changes: tuple[str, ...]


class Broken(Exception):
    """Something is not as promised."""


def main() -> int:
    """The demo, from its start to the end of all that it has started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="ec2ops-demo-") as folder,
            Sandbox.start(durations=DURATIONS) as sandbox,
        ):
            return demonstrate(sandbox, Path(folder))
    except KeyboardInterrupt:
        print("\nInterrupted; everything that the demo had started is stopped.", file=sys.stderr)
        return 130
    except Broken as error:
        print(f"\nNot as promised: {error}", file=sys.stderr)
        return 1


def demonstrate(sandbox: Sandbox, folder: Path) -> int:
    """Seeds, runs three times, and shows what has come of it. Raises Broken."""
    print("An instance is running. Two volumes are attached, and it writes to them all the time.")
    web = seed(sandbox)
    print(f"  {web.instance_id} (web), root {web.root_volume_id}, data {web.data_volume_id}\n")

    variables = folder / "web.yml"
    variables.write_text(
        f"""---
bake_and_relaunch_instance_id: {web.instance_id}
bake_and_relaunch_name: web
bake_and_relaunch_version: "2026.11.23"
bake_and_relaunch_aws:
  region: {REGION}
  endpoint_url: {sandbox.url}
""",
        encoding="utf-8",
    )
    print("This is what an operator wrote. Without its last line it would be for an AWS account; that one is for a")
    print("sandbox on this machine, where a stop takes 3 s, a start 2 s and a snapshot 6 s.\n")
    print(f"$ cat {variables.name}\n{variables.read_text(encoding='utf-8')}")

    passes = (
        play(sandbox, folder, "check", "What would be done:", "--check", "--diff"),
        play(sandbox, folder, "run", "Doing it:"),
        play(sandbox, folder, "again", "The same command once more finds nothing to do:"),
    )
    show(sandbox, web, passes)
    return 0


# --- the world before ---------------------------------------------------------------------------------------------------------


def seed(sandbox: Sandbox) -> Web:
    """A running instance with a root and a data volume, and one write on each that is easy to tell."""
    ec2 = sandbox.client("ec2", REGION)
    raise NotImplementedError


# --- the runs -----------------------------------------------------------------------------------------------------------------


def play(sandbox: Sandbox, folder: Path, name: str, title: str, *options: str) -> Pass:
    """Runs the playbook and shows what a user sees of it. Raises Broken when it fails."""
    command = ["ansible-playbook", PLAYBOOK, "-e", "@web.yml", *options]
    print(f"{title}\n\n$ {' '.join(command)}", flush=True)
    before = len(sandbox.log())
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        # Tasks that change nothing are many and say little. A user sees them, too.
        "ANSIBLE_DISPLAY_OK_HOSTS": "false",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
        "ANSIBLE_FORCE_COLOR": "true" if sys.stdout.isatty() else "false",
    }
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
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
        raise Broken(f"`{' '.join(command)}` ended with {status}")
    changes = tuple(call["action"] for call in sandbox.log()[before:] if not call["action"].startswith(READS))
    return Pass(name, int(recap[1]), changes)


# --- the world after ----------------------------------------------------------------------------------------------------------
