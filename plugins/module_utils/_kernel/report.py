# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report of a plan: results that only the planner knows, and their values after a run.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from .ids import substitute


@dataclass(frozen=True)
class Withdrawal:
    """The reason why a change is left out at the last moment, with the name of a guard and its sentence."""

    guard: str
    reason: str


class Rows:
    """A list of a result that is made row by row while it is read. A large one is never in memory as a whole."""

    def __init__(self, items: Sequence[Any], row: Callable[[Any], Any]) -> None:
        self._items, self._row = items, row

    def __iter__(self) -> Iterator[Any]:
        return map(self._row, self._items)

    def __len__(self) -> int:
        return len(self._items)

    def first(self, most: int) -> Rows:
        """Return the first *most* rows."""
        return Rows(self._items[:most], self._row)


def risk_rank(*, is_attached: bool, age: float | None, target: float | None, is_late: bool) -> tuple[int, float]:
    """Return the rank of a volume by its newest recovery point, the larger the more at risk. Level 0 is no risk.

    *age* and *target* are seconds. Without a recovery point, *age* is None. Attached volumes rank before others, and a
    missing recovery point before a late one. Among late ones, the most overdue against its target ranks first.
    """
    if age is None:
        return (4 if is_attached else 2, 0.0)
    return ((3 if is_attached else 1) if is_late else 0, age / target if target else 0.0)


def risk_order(rank: tuple[int, float], gib: int, resource: str) -> tuple[int, float, int, str]:
    """Return the key for sorting volumes by `risk_rank`: the one most at risk first, then the largest, then by id."""
    level, share = rank
    return -level, -share, -gib, resource


class _Change(Protocol):
    """The part of `plan.Change` that a report reads."""

    @property
    def action(self) -> str: ...

    @property
    def resource(self) -> str: ...


Adjust = Callable[[Mapping[str, Any], Mapping[str, Withdrawal]], Mapping[str, Any]]
"""Makes the results after withdrawals, from the planned results and the withdrawals by resource."""


@dataclass(frozen=True)
class Course:
    """The course of a run that failed. Changes are told apart by their Python identity.

    ``done``: the changes that were made. ``reasons``: why a change, or the wait for its effect, failed or was not
    tried.
    """

    done: frozenset[int]
    reasons: Mapping[int, str]


@dataclass(frozen=True)
class PlanReport:
    """Parts of the module's result beside the entities, such as the reasons why snapshots are kept.

    ``result``: the parts, if the plan is carried out. ``unfinished``: the parts that replace them if it is not.
    ``listed``: by action, the list in ``result`` that names its resources. ``counted``: by action, the number in
    ``result["counts"]`` that decreases for each change that is not made. ``adjust``: the results after withdrawals.
    ``measured``: the list in ``result`` whose entries have a ``volume_id``, and get the ``seconds`` until the volume
    was ready. After a failure it has only entries without unfinished changes. ``partly``: returns results for a run
    that failed. ``text``: shown by ``--diff`` after the changes. ``most_shown``: the most changes that the diff shows,
    None for all.
    """

    result: Mapping[str, Any] = field(default_factory=dict)
    unfinished: Mapping[str, Any] = field(default_factory=dict)
    listed: Mapping[str, str] = field(default_factory=dict)
    counted: Mapping[str, str] = field(default_factory=dict)
    adjust: Adjust | None = None
    measured: str = ""
    partly: Callable[[Course], Mapping[str, Any]] | None = field(default=None, compare=False)
    text: str = ""
    most_shown: int | None = None

    def finished(
        self, left: Iterable[_Change], withdrawn: Mapping[str, Withdrawal], ids: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return the results of a finished run, with EC2's *ids* and without the changes that it *left* undone."""
        found: dict[str, Any] = substitute(self.result, ids)
        for change in left:
            name = self.listed.get(change.action)
            if name is not None:
                resource = substitute(change.resource, ids)
                found[name] = [item for item in found[name] if item != resource]
            count = self.counted.get(change.action)
            if count is not None:
                found["counts"] = {**found["counts"], count: found["counts"][count] - 1}
        return self._adjusted(found, withdrawn)

    def so_far(
        self, done: Iterable[_Change], withdrawn: Mapping[str, Withdrawal], ids: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return the results of a run that did not finish. The lists in them have the changes that were *done*."""
        found: dict[str, Any] = {name: [] for name in self.listed.values()} | substitute(self.unfinished, ids)
        for change in done:
            name = self.listed.get(change.action)
            if name is not None:
                found[name].append(substitute(change.resource, ids))
        return self._adjusted(found, withdrawn)

    def _adjusted(self, found: dict[str, Any], withdrawn: Mapping[str, Withdrawal]) -> dict[str, Any]:
        return dict(self.adjust(found, withdrawn)) if self.adjust is not None and withdrawn else found
