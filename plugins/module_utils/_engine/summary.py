# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The summary that a playbook prints: the ``msg`` of its tasks, and a line for each change.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from .._kernel.display import visible
from .._kernel.ids import substitute

LIMIT = 30
"""The number of lines of a summary. The last line counts the changes without a line."""


def change_lines(results: Iterable[Mapping[str, Any]], limit: int = LIMIT) -> list[str]:
    """Return a line for each change in *results*, the results of this collection's tasks, in order.

    For a failed task, the changes that it made come first, then those that failed or were not tried. Planned ids are
    replaced by EC2's ids from any of the results. A result without a plan, such as that of a skipped task, has no
    lines.
    """
    known = list(results)
    ids = dict(chain.from_iterable((result.get("planned_ids") or {}).items() for result in known))
    return _bounded([line for result in known for line in _lines(result, ids)], limit)


def headlines(results: Iterable[Mapping[str, Any]], label: str = "", limit: int = LIMIT) -> list[str]:
    """Return the ``msg`` of each of *results* that has changed something, in order, each text once.

    If nothing has changed, return the last ``msg`` alone. A failed result has no headline, since Ansible shows its
    failure. *label*: a key of the results. The value of this key comes before each ``msg``. With *label*, every result
    has a line, even without a change.
    """
    shown = [result for result in results if result.get("msg") and not result.get("failed")]
    if label:
        lines = [f"{result[label]}: {result['msg']}" for result in shown]
    else:
        lines = [str(result["msg"]) for result in shown if result.get("changed")]
        lines = lines or [str(result["msg"]) for result in shown[-1:]]
    return _bounded(list(dict.fromkeys(lines)), limit)


def _bounded(lines: list[str], limit: int) -> list[str]:
    """Return at most *limit* lines, each made safe for the screen, since results have names that other people wrote."""
    shown = [visible(line) for line in lines[:limit]]
    return shown if len(lines) <= limit else [*shown[: limit - 1], f"and {len(lines) - limit + 1} more"]


def _lines(result: Mapping[str, Any], ids: Mapping[str, str]) -> Iterator[str]:
    made = result.get("done") if "error" in result and "done" in result else result.get("plan")
    yield from _told(made or (), ids)
    yield from _told(result.get("rolled_back") or (), ids, "rolled back: ")
    yield from _told(result.get("failed_changes") or (), ids, "failed: ")
    if "error" in result:
        yield from _told(result.get("not_tried") or (), ids, "not tried: ")


def _told(entries: Sequence[Mapping[str, Any]], ids: Mapping[str, str], before: str = "") -> Iterator[str]:
    for entry in entries:
        yield f"{before}{entry['action']} {substitute(entry['resource'], ids)}: {substitute(entry['reason'], ids)}"
