# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The summary that a playbook prints: a line for each change that its tasks have made, or would make.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from .._kernel.ids import substitute

LIMIT = 30
"""Lines of a summary. What exceeds them is counted in the last one."""


def change_lines(results: Iterable[Mapping[str, Any]], limit: int = LIMIT) -> list[str]:
    """Return a line for each change in *results*, the results of this collection's tasks, in order.

    A task that has failed counts with the changes that it has made; what it failed at and what it did not try come
    after them. Planned ids are replaced by the ids of EC2 that any of the results knows. A result without a plan, such
    as that of a skipped task, has no lines.
    """
    known = list(results)
    ids = dict(chain.from_iterable((result.get("planned_ids") or {}).items() for result in known))
    lines = [line for result in known for line in _lines(result, ids)]
    if len(lines) <= limit:
        return lines
    return [*lines[: limit - 1], f"and {len(lines) - limit + 1} more"]


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
