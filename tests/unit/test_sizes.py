# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Functions of at most 40 lines and files of at most 500, unless a comment above says why."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "plugins"
# The documentation and the options of a module are one file: Ansible reads them from there.
FILES = sorted(file for file in ROOT.rglob("*.py") if file.parent.name != "modules")
LONGEST_FILE, LONGEST_FUNCTION = 500, 40
REASON = "# More than 40 lines: "


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_files_and_functions_are_short_or_say_why(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert len(lines) <= LONGEST_FILE
    for node in ast.walk(ast.parse("\n".join(lines))):
        if not isinstance(node, ast.FunctionDef) or node.end_lineno is None:
            continue
        first = min(item.lineno for item in (node, *node.decorator_list))
        is_long = node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION
        assert lines[first - 2].strip().startswith(REASON) is is_long, f"{node.name}, line {node.lineno}"
