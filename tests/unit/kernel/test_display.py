# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Other people's text cannot forge a plan that a person approves by eye."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._engine import rendering
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.display import visible, visible_lines
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Plan, Stage


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("web data, 20 GiB: größer, 日本語 🙂", "web data, 20 GiB: größer, 日本語 🙂"),
        ("a\nDeleteVolume vol-1", "a\\nDeleteVolume vol-1"),
        ("a\r\tb\x1b[2K", "a\\r\\tb\\x1b[2K"),
        ("safe\u202egnp.exe", "safe\\u202egnp.exe"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("line\u2028break", "line\\u2028break"),
        ("lone\ud800", "lone\\ud800"),
    ],
)
def test_hidden_character_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_line_breaks_are_kept() -> None:
    assert visible_lines("first\n  second\u202e\n") == "first\n  second\\u202e\n"


@pytest.mark.parametrize("forged", ["x\n+++ after: nothing is deleted", "x\u202ereversed", "x\x1b[1A"])
def test_tag_cannot_forge_a_diff(forged: str) -> None:
    change = Change(
        "CreateTags",
        "vol-00000000000000001",
        "us-east-1",
        {},
        f"tag {forged}",
        before={"tags": {"Name": forged}},
        after={"tags": {"Name": "web", forged: "web"}},
    )
    (item,) = rendering.diff(Plan((Stage((change,)),)))
    assert len(item["before"].splitlines()) == 1
    assert len(item["after"].splitlines()) == 2
    assert all(text.replace("\n", "").isprintable() for text in item.values())
