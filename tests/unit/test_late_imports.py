# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that are loaded with their first use, since a module's own process compiles every file that it loads."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from ansible_collections.ec2ops.storage.plugins.module_utils._aws.codec import LISTINGS, Reader

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"
UTILS = PLUGINS / "module_utils"
OURS = "ansible_collections.ec2ops.storage.plugins"


def late_files() -> Iterator[str]:
    """The files of module_utils that a function imports, such as ``_engine.apply``."""
    for path in UTILS.rglob("*.py"):
        package = path.relative_to(UTILS).parent.parts
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                for node in ast.walk(function):
                    if isinstance(node, ast.ImportFrom) and node.level:
                        folder = [*package[: len(package) + 1 - node.level], *(node.module or "").split(".")]
                        names = [""] if node.module else [alias.name for alias in node.names]
                        yield from (".".join(filter(None, [*folder, name])) for name in names)


def loaded_with(name: str) -> set[str]:
    """Our files that a new process has loaded after the import of the file *name*."""
    code = f"import sys, {OURS}.{name}\nprint(*sys.modules, sep='\\n')"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    prefix = f"{OURS}.module_utils."
    return {line.removeprefix(prefix) for line in done.stdout.splitlines() if line.startswith(prefix)}


def test_workers_share_all_late_files() -> None:
    late = set(late_files())
    assert "_engine.apply" in late
    assert late - loaded_with("plugin_utils.in_process") == set()


def test_volume_module_loads_no_late_file() -> None:
    loaded = loaded_with("modules.ebs_volume_spec")
    assert "_features.volumes.planner" in loaded
    assert loaded & {*late_files(), "_engine.scheduler", "_kernel.wait_goals", "_kernel.list_prices"} == set()


def test_late_readers_exist() -> None:
    readers = [
        each
        for listing in LISTINGS.values()
        for each in (listing.decode, listing.whole, listing.resume)
        if isinstance(each, Reader)
    ]
    assert len(readers) > 30
    assert all(callable(getattr(one.file(), one.name)) for one in readers)
