# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The interfaces of the engine: the gateway to EC2, the shell that runs the engine, the process around it, and the
outcome of a plan.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from .._kernel.errors import StorageError, together
from .._kernel.failures import CallError
from .._kernel.ids import substitute
from .._kernel.plan import Change
from .._kernel.progress import Progress
from .._kernel.report import Withdrawal
from .._kernel.resources import Resource, Snapshot
from .._kernel.state import Query

if TYPE_CHECKING:
    from .._aws.waiting import Watch


class Gateway(Protocol):
    """EC2 and its neighbouring services. One object serves one module run, and several threads may use it."""

    @property
    def region(self) -> str:
        """Return the place of every query that names none. Changes name their own region."""

    def ask(
        self, queries: Iterable[Query], failures: dict[Query, StorageError] | None = None
    ) -> Mapping[Query, tuple[Resource, ...]]:
        """Return the answers, each with all its pages. Waits while AWS throttles. Raises CallError.

        With *failures*, the list gets the CallError of an optional query, and its answer is empty.
        """

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        """Make one call for *changes*, which have the same action and parameters and no planned ids.

        Returns EC2's id for every planned id. Waits while AWS throttles. An unsafe call is never repeated: an unclear
        answer raises CallError with ``unclear`` set, and the caller looks for its effect before it calls again. If the
        resource of this generation's client token is gone, raises CallError with the code `TOKEN_SPENT`, or with EC2's
        own.
        """

    def rehearse(self, change: Change) -> None:
        """Ask EC2 with DryRun whether it would carry out the change. The call changes nothing.

        Raises CallError with EC2's refusal, such as UnauthorizedOperation.
        """

    def watch(self) -> Watch:
        """Return a new poll loop for waits. Its times come from `monotonic`."""

    def now(self) -> datetime:
        """Return EC2's time: the Date header of the first answer, plus the time since.

        Makes a small call if there has been no answer yet. Raises CallError, or StorageError for an unreadable Date.
        """

    def monotonic(self) -> float:
        """Return seconds that only grow. Tests scale them."""

    def sleep(self, seconds: float) -> None:
        """Sleep for *seconds* of `monotonic`."""

    @property
    def calls(self) -> Mapping[str, int]:
        """Return the number of requests sent, by operation."""


class Shell(Protocol):
    """The program that runs the engine, such as a module."""

    params: Mapping[str, Any]
    check_mode: bool
    diff: bool
    progress: Progress

    def warn(self, message: str) -> None:
        """Show the user a warning."""

    def exit(self, result: Mapping[str, Any]) -> None:
        """End the task with this result."""

    def fail(self, message: str, result: Mapping[str, Any]) -> None:
        """Fail the task with this message and result."""


class Host(Protocol):
    """The process in which a module runs: one of its own, or Ansible's worker.

    ``lasting``: the process goes on after the module. ``module_class`` is AnsibleModule, or a subclass that reads its
    parameters elsewhere.
    """

    lasting: bool
    module_class: type[Any]

    def parameters(self) -> Mapping[str, Any]:
        """Return the module's parameters before Ansible checks them."""

    def progress(self, secrets: Collection[str]) -> Progress:
        """Return the receiver of reports. It shows no text with one of the *secrets* in it."""

    def interruptible(self, stop: Callable[[], None]) -> AbstractContextManager[None]:
        """Return a context in which a signal that interrupts the module calls *stop* first."""


@dataclass
class Outcome:
    """The outcome of a plan.

    ``bindings`` maps planned ids to EC2's. ``observed`` has the resources as the waits last saw them. ``deferred`` has
    changes that EC2 refused for now, each with the refusal. ``withdrawn`` has the changes that the recheck of a stage
    removed from the plan, each with the reason. ``seconds`` has, by id, the time from the begin of the run until it saw
    the resource in its planned state. ``errors`` are in the plan's order. ``causes`` has, by the Python identity of a
    change that is not tried, the resource of the failed step. ``reasons`` has, by the same identity, the error of each
    change that failed, or whose effect did not come.
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
    errors: list[StorageError] = field(default_factory=list)
    causes: dict[int, str] = field(default_factory=dict)
    reasons: dict[int, str] = field(default_factory=dict)

    @property
    def error(self) -> StorageError | None:
        """Return the error of the task: the only one, several as one, or None."""
        return together(self.errors)

    def start_of(self, snapshot: str) -> datetime | None:
        """Return the start time of a planned snapshot, None until a wait has seen it."""
        seen = self.observed.get(self.bindings.get(snapshot, ""))
        return seen.start_time if isinstance(seen, Snapshot) else None

    def bound(self, value: Any) -> Any:
        """Return *value* with the known ids and start times of EC2, see `ids.substitute`."""
        return substitute(value, self.bindings, self.start_of)

    @property
    def deferred_changes(self) -> list[Change]:
        """Return the changes that EC2 refused for now."""
        return [change for change, _refusal in self.deferred]

    @property
    def withdrawn_changes(self) -> list[Change]:
        """Return the changes that a recheck left out."""
        return [change for change, _why in self.withdrawn]

    @property
    def left_changes(self) -> list[Change]:
        """Return the planned changes that the run left undone without failing."""
        return [*self.deferred_changes, *self.withdrawn_changes]
