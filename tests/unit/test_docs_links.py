# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The relative links of the README, of docs/ and of the roles' READMEs lead to files and headings that exist."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "roles").glob("*/README.md"))]
FENCE = re.compile(r"^ *(```|~~~)")
HEADING = re.compile(r"^#{1,6} +(.*?) *#* *$")
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(<?([^)\s>]+)>?[^)]*\)")
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:")


def prose(text: str) -> Iterator[str]:
    """The lines of a page that are outside of code blocks."""
    fenced = False
    for line in text.splitlines():
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            yield line


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page: the second of two equal headings gets ``-1``."""
    found: set[str] = set()
    seen: Counter[str] = Counter()
    for line in prose(text):
        heading = HEADING.match(line)
        if heading is None:
            continue
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.add(f"{name}-{seen[name]}" if seen[name] else name)
        seen[name] += 1
    return found


@cache
def anchors_of(path: Path) -> set[str]:
    return anchors(path.read_text(encoding="utf-8"))


def links(text: str) -> list[str]:
    """The targets of the links of a page; links inside of code are text."""
    return [found for line in prose(text) for found in LINK.findall(re.sub(r"`[^`]*`", "code", line))]


def broken(page: Path, text: str) -> list[str]:
    """The links of *text*, as of the file *page*, that lead nowhere."""
    found = []
    for link in links(text):
        if ELSEWHERE.match(link):
            continue
        name, _hash, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.is_relative_to(ROOT) or not target.exists():
            found.append(f"{link}: no such file")
        elif anchor and (target.suffix != ".md" or anchor not in anchors_of(target)):
            found.append(f"{link}: no such heading")
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    assert broken(page, page.read_text(encoding="utf-8")) == []


def test_every_page_of_docs_is_linked_from_the_readme() -> None:
    linked = {
        (ROOT / link.partition("#")[0]).resolve() for link in links((ROOT / "README.md").read_text(encoding="utf-8"))
    }
    assert [page.name for page in PAGES if page.parent == ROOT / "docs" and page not in linked] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[a](COPYING)", []),
        ("[a](https://example.com/x#y) and `[a](b)`", []),
        ("```\n[a](missing.md)\n```", []),
        ("[a](missing.md)", ["missing.md: no such file"]),
        ("[a](../../outside.md)", ["../../outside.md: no such file"]),
        ("[a](README.md#install)", []),
        ("[a](README.md#nowhere)", ["README.md#nowhere: no such heading"]),
        ("[a](COPYING#x)", ["COPYING#x: no such heading"]),
    ],
)
def test_broken_links_are_found(text: str, found: list[str]) -> None:
    assert broken(ROOT / "README.md", text) == found


def test_anchors_are_those_of_github() -> None:
    text = "# The `rules`, again\n## a_b-c\n## Twice\n## Twice\n```\n# comment\n```\n"
    assert anchors(text) == {"the-rules-again", "a_b-c", "twice", "twice-1"}
