# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs pytest with another ansible-core than the development environment's: ``python tests/tools/cores.py 2.20 ...``.

Only ``ansible-playbook`` and the modules run with that core; pytest and the sandbox stay in the development
environment. Each core gets a virtual environment of its own for each Python, in ``.work``, made on first use.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tools import venvs
from tools.environment import AMAZON_VARIABLE, CORE_VARIABLE, ROOT, VENV, environment

LOCKS = ROOT / "tests" / "tools" / "locks"
# The Pythons of each core's metadata (Requires-Python and classifiers), oldest first. Each core has a lock.
PYTHONS = {
    "2.18": ("3.11", "3.12", "3.13"),
    "2.19": ("3.11", "3.12", "3.13"),
    "2.20": ("3.12", "3.13", "3.14"),
    "2.21": ("3.12", "3.13", "3.14"),
}
NAMES = {"oldest": next(iter(PYTHONS)), "newest": next(reversed(PYTHONS))}


def pythons(version: str) -> Iterator[str]:
    """Return the paths where a Python of this version may be: this process's own, in PATH, and in pyenv's folder."""
    if version == "{}.{}".format(*sys.version_info):
        yield sys.executable
    found = shutil.which(f"python{version}")
    if found:
        yield found
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], check=False, capture_output=True, text=True).stdout.strip()
        yield from sorted(str(path) for path in Path(root, "versions").glob(f"{version}.*/bin/python{version}"))


def runs(python: str) -> bool:
    """Whether it starts and can make virtual environments. A version manager's stand-in may do neither."""
    return not subprocess.run([python, "-Ic", "import ensurepip, venv"], check=False, capture_output=True).returncode


def python_of(versions: tuple[str, ...]) -> str | None:
    """Return a Python of the first of these versions that this machine has, or None."""
    return next((path for version in versions for path in pythons(version) if runs(path)), None)


def set_up(core: str, python: str) -> Path:
    """Return the core's virtual environment, made anew when its lock or its Python has changed."""
    return venvs.ready(f"core-{core}", LOCKS / f"core-{core}.txt", python)


def parsed(arguments: list[str]) -> argparse.Namespace:
    """Return the command line, with `core` as a version. Exits when its parts do not fit together."""
    parser = argparse.ArgumentParser(prog="cores.py", description="Run pytest with another ansible-core.")
    parser.add_argument("--python", metavar="VERSION", help="run the core with this Python and no other, such as 3.13")
    parser.add_argument(
        "--amazon-aws",
        metavar="FOLDER",
        type=Path,
        help="use the amazon.aws below FOLDER/ansible_collections instead of the development environment's",
    )
    parser.add_argument("core", choices=[*NAMES, *PYTHONS])
    parser.add_argument("pytest", nargs=argparse.REMAINDER, help="pytest's arguments")
    given = parser.parse_args(arguments)
    given.core = NAMES.get(given.core, given.core)
    if given.python and given.python not in PYTHONS[given.core]:
        parser.error(f"ansible-core {given.core} supports Python {', '.join(PYTHONS[given.core])}, not {given.python}")
    if given.amazon_aws and not (given.amazon_aws / "ansible_collections" / "amazon" / "aws").is_dir():
        parser.error(f"{given.amazon_aws}: no ansible_collections/amazon/aws in it")
    return given


def main(arguments: list[str]) -> None:
    """Become pytest. Where no Python for the core is found, say so, and fail only if --python has asked for it."""
    given = parsed(arguments)
    versions = PYTHONS[given.core]
    # The newest Python, except for the oldest core: users of that one have an old Python, too.
    preferred = versions if given.core == NAMES["oldest"] else versions[::-1]
    python = python_of((given.python,) if given.python else preferred)
    if python is None:
        missing = f"Not run with ansible-core {given.core}: no Python {given.python or ' or '.join(versions)} here."
        if given.python:
            sys.exit(missing)
        print(missing)
        return
    env = {**os.environ, CORE_VARIABLE: str(set_up(given.core, python))}
    if given.amazon_aws:
        env[AMAZON_VARIABLE] = str(given.amazon_aws.resolve())
    env = environment(env)
    for command in (["ansible-playbook", "--version"], ["ansible-galaxy", "collection", "list", "amazon.aws"]):
        subprocess.run(command, check=True, env=env)
    os.execve(VENV / "bin" / "python", [str(VENV / "bin" / "python"), "-m", "pytest", *given.pytest], env)


if __name__ == "__main__":
    main(sys.argv[1:])
