# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The processes of a run of ansible-playbook. Workers and modules have sessions of their own: no group has them all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time


def descendants(pid: int) -> list[int]:
    """The processes that `pid` has started, and theirs, parents first. Those whose parent has ended are not found."""
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], check=True, capture_output=True, text=True).stdout
    children: dict[int, list[int]] = {}
    for line in listing.splitlines():
        child, parent = (int(word) for word in line.split())
        children.setdefault(parent, []).append(child)
    found: list[int] = []
    waiting = [pid]
    while waiting:
        below = children.get(waiting.pop(0), [])
        found += below
        waiting += below
    return found


def end(process: subprocess.Popen[str], grace: float = 3.0) -> None:
    """Ends a run and all that it has started: by SIGTERM, and by SIGKILL after `grace` seconds.

    Returns when all of them are gone.
    """
    # List them before any signal, since a process whose parent has ended looks like any other.
    run = [process.pid, *descendants(process.pid)] if process.poll() is None else []
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in run:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        deadline = time.monotonic() + grace
        while run and time.monotonic() < deadline:
            process.poll()
            run = [pid for pid in run if is_alive(pid)]
            time.sleep(0.02)
    process.wait()


def is_alive(pid: int) -> bool:
    """Return whether there is a process with this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
