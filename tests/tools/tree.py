# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps ``.work/tree/ansible_collections/ec2ops/storage`` equal to the checkout: the collection, placed as for users.

The copy holds the files that git would commit. It is a copy because ansible-test does not accept a symbolic link there.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from pathlib import Path

from tools.environment import COLLECTION, ROOT, TREE, WORK, environment

# Files that tools leave in the copy. All of them are in .gitignore too.
LEFT_BY_TOOLS = ("__pycache__", ".ansible", ".mypy_cache", ".ruff_cache", ".pytest_cache")
OUTPUT = Path("tests", "output")


def listed(root: Path) -> set[Path]:
    """The files below `root` that are tracked, or neither tracked nor ignored, relative to it, without the deleted."""
    command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    answer = subprocess.run(command, check=True, capture_output=True, env=environment()).stdout
    paths = (Path(os.fsdecode(name)) for name in answer.split(b"\0") if name)
    return {path for path in paths if (root / path).is_symlink() or (root / path).is_file()}


def same(left: Path, right: Path) -> bool:
    """Whether `right` was copied from `left` as it is now: type, permissions, size and time of modification."""
    try:
        there = right.lstat()
    except FileNotFoundError:
        return False
    here = left.lstat()
    return (here.st_mode, here.st_size, here.st_mtime_ns) == (there.st_mode, there.st_size, there.st_mtime_ns)


def update() -> None:
    """Copies changed files, and removes files that are gone.

    A file is replaced as a whole, for tests that run meanwhile.
    """
    WORK.mkdir(exist_ok=True)
    with (WORK / "tree.lock").open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        COLLECTION.mkdir(parents=True, exist_ok=True)
        # An empty repository of its own: ansible-test and ansible-lint ask git for the files, and the checkout's git
        # ignores .work.
        if not (TREE / ".git").is_dir():
            subprocess.run(["git", "init", "--quiet", str(TREE)], check=True, env=environment())

        wanted = listed(ROOT)
        for path in wanted:
            source, target = ROOT / path, COLLECTION / path
            if not same(source, target):
                if target.is_dir() and not target.is_symlink():
                    shutil.rmtree(target)
                target.parent.mkdir(parents=True, exist_ok=True)
                fresh = target.with_name(f"{target.name}.copying")
                # A file that is gone since the listing: an editor at work. The next run sees the result.
                with contextlib.suppress(FileNotFoundError):
                    shutil.copy2(source, fresh, follow_symlinks=False)
                    fresh.replace(target)
        for folder, _folders, files in os.walk(COLLECTION, topdown=False):
            here = Path(folder).relative_to(COLLECTION)
            if here.is_relative_to(OUTPUT) or any(part in LEFT_BY_TOOLS for part in here.parts):
                continue
            for name in files:
                if here / name not in wanted:
                    (COLLECTION / here / name).unlink()
            if all(left.name == "__pycache__" for left in Path(folder).iterdir()):
                shutil.rmtree(folder)


if __name__ == "__main__":
    update()
