# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bounds of the decisions that a rotation reports, by its option ``report``: ``actions``, ``all`` or ``summary``.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable

MOST_SHOWN = 1000
"""The most decisions in a result, unless the task asks for all. A controller keeps every result in memory."""


def most_shown(report: str) -> int | None:
    """Return the number of decisions in the report, or None for all."""
    return {"actions": MOST_SHOWN, "all": None, "summary": 0}[report]


def bounded_text(lines: Iterable[str], report: str) -> str:
    """Return the lines as one text. Without ``all``, the last line counts those beyond the bound."""
    shown = [] if report == "summary" else list(lines)
    more = len(shown) - MOST_SHOWN
    if report != "all" and more > 0:
        shown[MOST_SHOWN:] = [f"and {more} more lines (report: all shows them)"]
    return "".join(f"{line}\n" for line in shown)
