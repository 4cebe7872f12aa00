# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a command and writes its cost to a file: ``python -I -S process_cost.py FILE COMMAND ...``.

The file gets JSON: ``seconds`` from start to end, ``cpu`` seconds that it computed, ``memory``, its peak in MB. This is
a process of its own, and a small one: for Linux, the memory that a process was forked with counts to its peak.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time


def main() -> int:
    began = time.monotonic()
    process = subprocess.Popen(sys.argv[2:])
    _pid, status, used = os.wait4(process.pid, 0)
    seconds = time.monotonic() - began
    # Linux has KiB, macOS has bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    cost = {"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "memory": used.ru_maxrss * unit / 1e6}
    with open(sys.argv[1], "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(cost, file)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
