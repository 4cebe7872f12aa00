# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs pytest with another ansible-core than the development environment's: ``python tests/tools/cores.py oldest ...``.

Only ``ansible-playbook`` and the modules run with that core; pytest and the sandbox stay in the development
environment. The core gets a virtual environment of its own in ``.work``, made on first use.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tools.environment import CORE_VARIABLE, ROOT, VENV, WORK, environment

LOCKS = ROOT / "tests" / "tools" / "locks"
# The newest core does not run on the Python that development starts at. Newest first.
NEWER_PYTHONS = ("3.14", "3.13", "3.12")


def pythons(version: str) -> Iterator[str]:
    """The paths of what may be a Python of this version: in PATH, and where pyenv keeps them."""
    found = shutil.which(f"python{version}")
    if found:
        yield found
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], check=False, capture_output=True, text=True).stdout.strip()
        yield from sorted(str(path) for path in Path(root, "versions").glob(f"{version}.*/bin/python{version}"))


def runs(python: str) -> bool:
    """Whether it starts and can make virtual environments. A version manager's stand-in may do neither."""
    return not subprocess.run([python, "-Ic", "import ensurepip, venv"], check=False, capture_output=True).returncode


def python_for(core: str) -> str | None:
    """The Python to run the core with, None where this machine has none that is new enough."""
    if core == "oldest":
        return sys.executable
    return next((path for version in NEWER_PYTHONS for path in pythons(version) if runs(path)), None)


def set_up(core: str, python: str) -> Path:
    """The core's virtual environment, which is made anew when its lock or its Python has changed."""
    home, lock = WORK / f"core-{core}", LOCKS / f"core-{core}.txt"
    wanted = hashlib.sha256(f"{python}\0{home}\0".encode() + lock.read_bytes()).hexdigest()
    stamp = home / "ready"
    WORK.mkdir(exist_ok=True)
    with (WORK / f"core-{core}.lock").open("w", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
            shutil.rmtree(home, ignore_errors=True)
            subprocess.run([python, "-m", "venv", str(home)], check=True)
            install = [str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*install, "--require-hashes", "-r", str(lock)], check=True, env=environment())
            stamp.write_text(wanted, encoding="utf-8")
    return home


def main(arguments: list[str]) -> None:
    """Becomes pytest. Ends without a failure, and says so, where there is no Python for the core."""
    if not arguments or not (LOCKS / f"core-{arguments[0]}.txt").is_file():
        sys.exit("usage: cores.py oldest|newest [pytest's arguments]")
    core = arguments[0]
    python = python_for(core)
    if python is None:
        print(f"Not run on the {core} ansible-core: this machine has no Python {NEWER_PYTHONS[-1]} or newer.")
        return
    home = set_up(core, python)
    env = environment({**os.environ, CORE_VARIABLE: str(home)})
    subprocess.run([str(home / "bin" / "ansible-playbook"), "--version"], check=True, env=env)
    os.execve(VENV / "bin" / "python", [str(VENV / "bin" / "python"), "-m", "pytest", *arguments[1:]], env)


if __name__ == "__main__":
    main(sys.argv[1:])
