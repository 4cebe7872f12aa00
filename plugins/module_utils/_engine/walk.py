# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The progress of a run through a plan's graph: the steps that may begin, and those that never will. Pure.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from .._kernel.errors import StorageError
from .._kernel.graph import Graph, Step


class Phase(Enum):
    """The phase of a step. A step is over in the last four phases.

    ``ABANDONED``: its change is made, but the run does not wait for the effect, since its transaction has failed.
    """

    WAITING = "waiting"
    READY = "ready"
    UNDER_WAY = "under way"
    DONE = "done"
    FAILED = "failed"
    NOT_TRIED = "not tried"
    ABANDONED = "abandoned"


_BEFORE = frozenset({Phase.WAITING, Phase.READY})
_OVER = frozenset({Phase.DONE, Phase.FAILED, Phase.NOT_TRIED, Phase.ABANDONED})


@dataclass(frozen=True)
class Failed:
    """A failed transaction: the first step in the plan's order that failed or was not tried, the error, the members."""

    step: Step
    error: StorageError
    members: tuple[Step, ...]


class Walk:
    """The phases of a graph's steps. A failure ends the dependents of a step and its transaction, and nothing else."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._phases = [Phase.WAITING] * len(graph.steps)
        self._missing = [len(step.needs) for step in graph.steps]
        self._dependents: dict[int, list[Step]] = defaultdict(list)
        for step in graph.steps:
            for number in step.needs:
                self._dependents[number].append(step)
        self._open = len(graph.steps)
        self._ready = [step for step in graph.steps if not step.needs]
        for step in self._ready:
            self._phases[step.number] = Phase.READY
        self.errors: dict[int, StorageError] = {}
        """By the number of a failed step, its error."""
        self.causes: dict[int, Step] = {}
        """By the number of a step that is not tried, the failed step that it depends on."""
        self._failed: dict[int, Step] = {}
        """By the number of a transaction, its first failed step."""
        self._left: list[int] = []
        """The failed transactions whose rollback has not begun."""

    @property
    def is_over(self) -> bool:
        """Whether every step is over."""
        return not self._open

    def phase(self, step: Step) -> Phase:
        """Return the step's phase."""
        return self._phases[step.number]

    def take_ready(self) -> list[Step]:
        """Return the steps that may begin, in the plan's order, and note that they are under way."""
        found = sorted((step for step in self._ready if self.phase(step) is Phase.READY), key=lambda one: one.number)
        self._ready = []
        for step in found:
            self._phases[step.number] = Phase.UNDER_WAY
        return found

    def finish(self, step: Step) -> None:
        """Note that a step is done. In a failed transaction it counts as abandoned."""
        self._end(step, Phase.ABANDONED if self.has_failed(step) else Phase.DONE)

    def fail(self, step: Step, error: StorageError) -> None:
        """Note that a step has failed."""
        if self.phase(step) not in _OVER:
            self.errors[step.number] = error
            self._end(step, Phase.FAILED)

    def drop(self, step: Step) -> None:
        """Note that a step that was under way was not tried after all, since its transaction has failed."""
        if step.transaction is not None:
            self.causes[step.number] = self._failed[step.transaction]
            self._end(step, Phase.NOT_TRIED)

    def has_failed(self, step: Step) -> bool:
        """Return whether the step's transaction has failed."""
        return step.transaction in self._failed

    def under_way(self, transaction: int) -> list[Step]:
        """Return the members of a transaction that are under way."""
        members = (self._graph.steps[number] for number in sorted(self._graph.transactions[transaction]))
        return [member for member in members if self.phase(member) is Phase.UNDER_WAY]

    def take_quiet(self) -> Iterator[Failed]:
        """Yield, once each, the failed transactions that have begun and have no step under way any more."""
        for number in list(self._left):
            if self.under_way(number):
                continue
            self._left.remove(number)
            members = tuple(self._graph.steps[member] for member in sorted(self._graph.transactions[number]))
            if all(self.phase(member) is Phase.NOT_TRIED for member in members):
                continue
            failed = [member for member in members if self.phase(member) is Phase.FAILED]
            at = (failed or [member for member in members if self.phase(member) is Phase.NOT_TRIED])[0]
            yield Failed(at, self.errors[at.number if failed else self._failed[number].number], members)

    def _end(self, step: Step, phase: Phase) -> None:
        if self.phase(step) in _OVER:
            return
        self._phases[step.number] = phase
        self._open -= 1
        if phase is Phase.DONE:
            for dependent in self._dependents[step.number]:
                self._missing[dependent.number] -= 1
                if not self._missing[dependent.number] and self.phase(dependent) is Phase.WAITING:
                    self._phases[dependent.number] = Phase.READY
                    self._ready.append(dependent)
            return
        cause = self.causes.get(step.number, step)
        if phase is Phase.ABANDONED and step.transaction is not None:
            cause = self._failed[step.transaction]
        self._give_up(step, cause)
        if step.transaction is not None and step.transaction not in self._failed:
            self._fail_transaction(step.transaction, cause)

    def _give_up(self, step: Step, cause: Step) -> None:
        """End all steps that depend on *step* and have not begun."""
        stack = list(self._dependents[step.number])
        while stack:
            dependent = stack.pop()
            if self.phase(dependent) in _BEFORE:
                self._not_tried(dependent, cause)
                stack += self._dependents[dependent.number]

    def _not_tried(self, step: Step, cause: Step) -> None:
        self._phases[step.number] = Phase.NOT_TRIED
        self._open -= 1
        self.causes[step.number] = cause
        if step.transaction is not None and step.transaction not in self._failed:
            self._fail_transaction(step.transaction, cause)

    def _fail_transaction(self, transaction: int, cause: Step) -> None:
        """End the members that have not begun, and their dependents. The members under way end by themselves."""
        self._failed[transaction] = cause
        self._left.append(transaction)
        for number in sorted(self._graph.transactions[transaction]):
            member = self._graph.steps[number]
            if self.phase(member) in _BEFORE:
                self._not_tried(member, cause)
                self._give_up(member, cause)
