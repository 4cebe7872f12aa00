# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shapes at the border of the engine: what the gateway offers, what runs the engine, what came of a plan.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from .._kernel.errors import StorageError
from .._kernel.failures import CallError
from .._kernel.ids import kind_of
from .._kernel.plan import Change, Wait, Withdrawal
from .._kernel.resources import Resource
from .._kernel.state import Query


class Gateway(Protocol):
    """EC2 (and what belongs to it) as the engine sees it. One object serves one module run and may be used by several
    threads.
    """

    @property
    def region(self) -> str:
        """Where queries are asked. Changes name their own region."""

    def ask(
        self, queries: Iterable[Query], failures: dict[Query, StorageError] | None = None
    ) -> Mapping[Query, tuple[Resource, ...]]:
        """The answers, each complete over all its pages. Throttling is waited out. Raises CallError.

        Given *failures*, the CallError of an optional query is put there, and its answer is empty.
        """

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        """One call for these changes (same action and parameters, planned ids already replaced).

        Returns the id that EC2 gave for every planned id. Throttling is waited out; what is not safe to repeat is not
        repeated: an unclear answer is raised as CallError with ``unclear`` set, and the caller looks before it calls
        again. A client token of this generation that stands for something gone is a CallError with the code
        `TOKEN_SPENT`, or with EC2's own.
        """

    def rehearse(self, change: Change) -> None:
        """Asks EC2 with DryRun whether it would carry out the change; nothing is made.

        Raises CallError with EC2's refusal, such as UnauthorizedOperation.
        """

    def wait(self, waits: Sequence[Wait], deadline: float) -> Mapping[str, Resource]:
        """Polls until every wait has reached its goal, and returns the resources as last seen.

        ``deadline`` in seconds of `monotonic`. Raises WaitError (failed at once when a resource cannot get there any
        more, timeout when the time is over), and CallError.
        """

    def now(self) -> datetime:
        """EC2's time: the Date header of the first answer, advanced by what has passed since.

        Asks a small question when there has been no answer yet. Raises CallError, and StorageError for an unreadable
        Date.
        """

    def monotonic(self) -> float:
        """Seconds that only grow; tests scale them."""

    def sleep(self, seconds: float) -> None:
        """Waits for so many seconds of `monotonic`."""

    @property
    def calls(self) -> Mapping[str, int]:
        """How many requests were sent, by operation."""


class Shell(Protocol):
    """What the engine needs of the thing that runs it: today a module, one day an action plugin."""

    params: Mapping[str, Any]
    check_mode: bool
    diff: bool

    def warn(self, message: str) -> None:
        """Shows the user a warning."""

    def exit(self, result: Mapping[str, Any]) -> None:
        """Ends the task with this result."""

    def fail(self, message: str, result: Mapping[str, Any]) -> None:
        """Fails the task with this message and result."""


@dataclass
class Outcome:
    """What came of carrying out a plan.

    ``bindings`` maps planned ids to EC2's, and the moments of planned snapshots (`ids.moment_of`) to when they were
    taken. ``observed`` is what the waits last saw. ``deferred``: what EC2 refused for now, where the change allows for
    that, with its refusal. ``withdrawn``: what the plan holds and a stage's recheck has left out, with the reason.
    ``seconds``: by id, how long after its begin the run last saw a resource as the plan wants it.
    """

    done: list[Change] = field(default_factory=list)
    failed: list[Change] = field(default_factory=list)
    not_tried: list[Change] = field(default_factory=list)
    deferred: list[tuple[Change, CallError]] = field(default_factory=list)
    withdrawn: list[tuple[Change, Withdrawal]] = field(default_factory=list)
    bindings: dict[str, str] = field(default_factory=dict)
    observed: dict[str, Resource] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    rolled_back: list[Change] = field(default_factory=list)
    error: StorageError | None = None

    @property
    def ids(self) -> dict[str, str]:
        """The planned ids with EC2's."""
        return {name: found for name, found in self.bindings.items() if kind_of(name) != "moment"}

    @property
    def deferred_changes(self) -> list[Change]:
        """What EC2 has left to a later run."""
        return [change for change, _refusal in self.deferred]

    @property
    def withdrawn_changes(self) -> list[Change]:
        """What a recheck has left out."""
        return [change for change, _why in self.withdrawn]

    @property
    def left_changes(self) -> list[Change]:
        """What the plan holds, and the run has left undone without failing."""
        return [*self.deferred_changes, *self.withdrawn_changes]
