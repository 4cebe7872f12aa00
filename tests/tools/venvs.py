# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Virtual environments beside that of development, for programs whose packages do not fit into it."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path

from tools.environment import WORK, environment


def ready(name: str, lock: Path, python: str) -> Path:
    """Return the virtual environment ``.work/<name>-python-<version>`` with the packages of *lock*.

    It is made anew when the lock or the Python has changed. Raises CalledProcessError if a package cannot be had.
    """
    asked = [python, "-Ic", "import sys; print(sys.version, sys.base_prefix)"]
    identity = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    name = "{}-python-{}".format(name, ".".join(identity.split(".")[:2]))
    home = WORK / name
    wanted = hashlib.sha256(f"{identity}\0{home}\0".encode() + lock.read_bytes()).hexdigest()
    stamp = home / "ready"
    WORK.mkdir(exist_ok=True)
    with (WORK / f"{name}.lock").open("w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
            shutil.rmtree(home, ignore_errors=True)
            subprocess.run([python, "-m", "venv", str(home)], check=True)
            install = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*install, "--require-hashes", "-r", str(lock)], check=True, env=environment())
            stamp.write_text(wanted, encoding="utf-8")
    return home
