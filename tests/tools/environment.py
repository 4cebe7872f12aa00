# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things are in the checkout, and the environment that everything of ours runs in.

As a command, ``python tests/tools/environment.py [-C DIRECTORY] COMMAND ...`` becomes COMMAND in that environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def _checkout() -> Path:
    """The repository's root, also when this file is the copy of it under .work/tree."""
    root = Path(__file__).resolve().parents[2]
    above = root.parents
    return above[4] if len(above) > 4 and above[3].name == ".work" else root


ROOT = _checkout()
VENV = ROOT / ".venv"
WORK = ROOT / ".work"
TREE = WORK / "tree"
"""The folder with ``ansible_collections``, for ANSIBLE_COLLECTIONS_PATH and, in tests, ``sys.path``."""
COLLECTION = TREE / "ansible_collections" / "ec2ops" / "storage"
"""The copy of the collection that is run and tested. tree.py keeps it up to date."""
HOME = WORK / "home"
CORE_VARIABLE = "EC2OPS_TEST_CORE"
"""The environment variable with the virtual environment of another ansible-core, see cores.py."""
AMAZON_VARIABLE = "EC2OPS_TEST_AMAZON_AWS"
"""The environment variable with the folder of another amazon.aws, which is found before the tree's, see cores.py."""

# The caller's configuration must not decide the outcome of a test: neither Ansible's settings nor AWS credentials (a
# test that forgets its endpoint must fail, not reach an account), and no git directory that a hook has set.
_DROPPED = ("ANSIBLE_", "AWS_", "BOTO_", "GIT_", "MAKE", "MFLAGS", "MYPYPATH", "PYTEST_", "PYTHON", "VIRTUAL_ENV")
_KEPT = ("PYTHONUNBUFFERED",)


def environment(base: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns the environment variables to run with, made from `base` (default: this process's).

    Python and Ansible come from the checkout's venv, the collections from its tree, and what programs write into a home
    goes to ``.work/home``. There are no AWS credentials, no region and no instance metadata in it, so a program that
    talks to the sandbox must set them. Applying it twice gives the same.
    """
    base = os.environ if base is None else base
    env = {name: value for name, value in base.items() if name in _KEPT or not name.startswith(_DROPPED)}
    ours = [str(Path(env[CORE_VARIABLE], "bin"))] if CORE_VARIABLE in env else []
    ours.append(str(VENV / "bin"))
    paths = [*ours, *(path for path in env.get("PATH", os.defpath).split(os.pathsep) if path not in ("", *ours))]
    collections = [env[AMAZON_VARIABLE], str(TREE)] if AMAZON_VARIABLE in env else [str(TREE)]
    bypassed = env.get("NO_PROXY", env.get("no_proxy", "")).split(",")
    no_proxy = ",".join(dict.fromkeys([*(host for host in bypassed if host), "127.0.0.1", "localhost"]))
    env.update(
        PATH=os.pathsep.join(dict.fromkeys(paths)),
        VIRTUAL_ENV=str(VENV),
        HOME=str(HOME),
        # Ansible refuses to start in a locale that is not UTF-8.
        LC_ALL="en_US.UTF-8" if sys.platform == "darwin" else "C.UTF-8",
        NO_PROXY=no_proxy,
        no_proxy=no_proxy,
        ANSIBLE_CONFIG=str(ROOT / "tests" / "tools" / "ansible.cfg"),
        ANSIBLE_COLLECTIONS_PATH=os.pathsep.join(collections),
        ANSIBLE_HOME=str(WORK / "ansible"),
        AWS_CONFIG_FILE=os.devnull,
        AWS_SHARED_CREDENTIALS_FILE=os.devnull,
        AWS_EC2_METADATA_DISABLED="true",
        HYPOTHESIS_STORAGE_DIRECTORY=str(WORK / "hypothesis"),
        MYPY_CACHE_DIR=str(WORK / "mypy"),
        RUFF_CACHE_DIR=str(WORK / "ruff"),
    )
    return env


def main(arguments: list[str]) -> None:
    """Replaces this process by the command, so that signals reach it directly."""
    if arguments[:1] == ["-C"]:
        os.chdir(arguments[1])
        arguments = arguments[2:]
    if not arguments:
        sys.exit("usage: environment.py [-C DIRECTORY] COMMAND ...")
    env = environment()
    try:
        os.execvpe(arguments[0], arguments, env)
    except FileNotFoundError:
        sys.exit(f"{arguments[0]}: not found in {env['PATH']}")


if __name__ == "__main__":
    main(sys.argv[1:])
