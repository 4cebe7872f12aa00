# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The calls of a run that may start, the changes that share a call, and the number of parallel calls.

Private to this collection.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from .._kernel.graph import Step
from .._kernel.plan import Change

PARALLEL = 8
"""The number of calls of one operation that run in parallel."""
WINDOW = 0.05
"""Seconds for which a call that takes many resources waits for others to join it, while the run has other work."""


@dataclass(frozen=True)
class Call:
    """Steps whose changes, with EC2's ids, are one call.

    ``delay``: seconds until the repeat after EC2's "not now". ``is_repeat``: EC2 has already answered the call with
    "not now".
    """

    steps: tuple[Step, ...]
    changes: tuple[Change, ...]
    delay: float = 1.0
    is_repeat: bool = False

    @property
    def action(self) -> str:
        """The operation's name."""
        return self.changes[0].action

    def part(self, changes: Sequence[Change]) -> Call:
        """Return the call for some of the changes."""
        chosen = {id(change) for change in changes}
        pairs = [pair for pair in zip(self.steps, self.changes, strict=True) if id(pair[1]) in chosen]
        return Call(tuple(step for step, _change in pairs), tuple(change for _step, change in pairs))


_Key: TypeAlias = tuple[str, str, str]
"""Action, place and parameters. Changes with one key may share a call."""


class Queues:
    """The steps that may make their calls, oldest first, and the calls under way."""

    def __init__(self) -> None:
        self._waiting: dict[_Key, deque[tuple[Step, Change]]] = {}
        self._since: dict[_Key, float] = {}
        self._running: Counter[str] = Counter()
        self.under_way: list[Call] = []

    @property
    def is_empty(self) -> bool:
        """Whether no step waits for its call."""
        return not self._waiting

    @property
    def next_due(self) -> float | None:
        """The moment until which a call waits for others to join it, or None without such a call."""
        moments = (
            since + WINDOW
            for key, since in self._since.items()
            if self._running[key[0]] < PARALLEL and self._waiting[key][0][1].operation.most > 1
        )
        return min(moments, default=None)

    def add(self, step: Step, change: Change, now: float) -> None:
        """Add a step and its *change* with EC2's ids."""
        key = (change.action, change.region, json.dumps(change.parameters, sort_keys=True, default=str))
        self._waiting.setdefault(key, deque()).append((step, change))
        self._since.setdefault(key, now)

    def drop(self, step: Step) -> bool:
        """Remove a step, and return whether it was in a queue."""
        for key, waiting in self._waiting.items():
            left = deque(pair for pair in waiting if pair[0] is not step)
            if len(left) < len(waiting):
                self._waiting[key] = left
                if not left:
                    del self._waiting[key], self._since[key]
                return True
        return False

    def due(self, now: float, unfinished: Callable[[str, str], int], *, is_alone: bool) -> Iterator[Call]:
        """Yield the calls that are to start now.

        *unfinished*: returns how many steps of an action in a place are under way, see `Operation.at_once`. *is_alone*:
        the run has no other work, so nothing can join a call.
        """
        for key in list(self._waiting):
            while key in self._waiting and self._running[key[0]] < PARALLEL:
                operation = self._waiting[key][0][1].operation
                if operation.at_once is not None and unfinished(key[0], key[1]) >= operation.at_once:
                    break
                is_full = len(self._waiting[key]) >= operation.most
                if not (is_alone or is_full or now >= self._since[key] + WINDOW):
                    break
                yield self._taken(key, now)

    def _taken(self, key: _Key, now: float) -> Call:
        waiting = self._waiting[key]
        operation = waiting[0][1].operation
        most = len(waiting) if operation.joint else min(operation.most, len(waiting))
        pairs = [waiting.popleft() for _number in range(most)]
        self._since[key] = now
        if not waiting:
            del self._waiting[key], self._since[key]
        return Call(tuple(step for step, _change in pairs), tuple(change for _step, change in pairs))

    def begin(self, call: Call) -> None:
        """Note that the call starts."""
        self._running[call.action] += 1
        self.under_way.append(call)

    def end(self, call: Call) -> None:
        """Note that the call has ended."""
        self._running[call.action] -= 1
        self.under_way.remove(call)
