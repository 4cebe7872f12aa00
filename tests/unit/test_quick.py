# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rule behind make quick: conftest.py knows a test that needs the sandbox by the names of its fixtures."""

from __future__ import annotations

import ast
from pathlib import Path

HERE = Path(__file__).parent


def starters(source: str) -> set[str]:
    """Return the names of the functions and classes of a file that call Sandbox.start."""
    if "Sandbox.start(" not in source:
        return set()
    return {
        str(getattr(definition, "name", "the file itself"))
        for definition in ast.parse(source).body
        if any(
            isinstance(node, ast.Attribute) and ast.unparse(node) == "Sandbox.start" for node in ast.walk(definition)
        )
    }


def test_only_fixtures_named_sandbox_start_one() -> None:
    strangers = {
        f"{path.name}: {name}"
        for path in HERE.rglob("*.py")
        if path != Path(__file__)
        for name in starters(path.read_text())
        if not name.endswith("sandbox")
    }
    assert not strangers, "End these names in _sandbox. Otherwise make quick starts a sandbox."


def test_start_in_a_helper_is_found() -> None:
    assert starters("def helper():\n    with Sandbox.start(seed=1) as one:\n        yield one\n") == {"helper"}
