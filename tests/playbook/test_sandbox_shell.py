# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make sandbox``: the lines that it prints lead a shell to a furnished sandbox, and the last one ends it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from playbook.processes import is_alive
from tools.environment import ROOT

pytestmark = pytest.mark.sandbox
ENDS_WITHIN = 20.0
"""Seconds."""


def test_shell_reaches_the_sandbox_and_ends_it() -> None:
    script = [sys.executable, str(ROOT / "tests" / "tools" / "sandbox_shell.py")]
    printed = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True).stdout
    (pid,) = map(int, re.findall(r"^# .* kill (\d+)$", printed, re.MULTILINE))
    try:
        question = "import boto3; print(len(boto3.client('ec2').describe_volumes()['Volumes']))"
        lines = re.findall(r"^export (\w+)=(.*)$", printed, re.MULTILINE)
        command = [sys.executable, "-c", question]
        asked = subprocess.run(
            command, env={**os.environ, **dict(lines)}, capture_output=True, text=True, timeout=60, check=True
        )
        assert int(asked.stdout) > 0
    finally:
        os.kill(pid, signal.SIGTERM)
    ends = time.monotonic() + ENDS_WITHIN
    while is_alive(pid) and time.monotonic() < ends:
        time.sleep(0.1)
    assert not is_alive(pid)
