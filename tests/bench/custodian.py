# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Cloud Custodian, the peer for deleting snapshots: set up on first use, in an environment of its own, and run."""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from runs import HERE, Bench
from tools.environment import WORK, environment

REQUIREMENTS = HERE / "requirements-custodian.txt"
HOME = WORK / "custodian"
VENV = HOME / "venv"
STAMP = VENV / "ready"


class Unavailable(Exception):
    """The peer cannot be installed here; the message has the reason."""


@dataclass(frozen=True)
class Execution:
    """One run of it. seconds: of the command. says: the warnings and errors in its log, each once."""

    seconds: float
    status: int
    says: tuple[str, ...]


def name() -> str:
    """The name of the peer, for a table's heading."""
    pinned = re.search(r"^c7n==(\S+)", REQUIREMENTS.read_text(encoding="utf-8"), re.MULTILINE)
    return f"Cloud Custodian {pinned[1]}" if pinned else "Cloud Custodian"


def execute(bench: Bench, policies: Path, region: str) -> Execution:
    """Runs a file of policies in a region of the sandbox. Raises Unavailable, and Broken when it takes too long."""
    program = set_up()
    output = HOME / "output"
    shutil.rmtree(output, ignore_errors=True)
    command = [str(program), "run", "--region", region, "--output-dir", str(output), "--cache-period", "0"]
    seconds, status, text = bench.timed([*command, str(policies)], region)
    lines = (re.search(r"(?:WARNING|ERROR|CRITICAL)[\s:]+(.*)", line) for line in text.splitlines())
    return Execution(seconds, status, tuple(dict.fromkeys(line[1].strip() for line in lines if line)))


def set_up() -> Path:
    """The program. Installs it, unless it is installed with the same requirements. Raises Unavailable."""
    wanted = hashlib.sha256(f"{sys.version}\0{sys.base_prefix}\0{VENV}\0".encode() + REQUIREMENTS.read_bytes())
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not STAMP.is_file() or STAMP.read_text(encoding="utf-8") != wanted.hexdigest():
            _install()
            STAMP.write_text(wanted.hexdigest(), encoding="utf-8")
    return VENV / "bin" / "custodian"


def _install() -> None:
    """Makes the environment anew."""
    shutil.rmtree(VENV, ignore_errors=True)
    install = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", str(VENV)],
        [*install, "--require-hashes", "--requirement", str(REQUIREMENTS)],
    ):
        done = subprocess.run(command, check=False, env=environment(), capture_output=True, text=True)
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["it says nothing"]
            raise Unavailable(f"not installed: {lines[-1]}")
