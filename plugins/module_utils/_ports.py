# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shapes at the border between the engine and EC2: what the gateway offers, and how it fails.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from ._core.change import Change, Query, Wait, Withdrawal, split_place
from ._core.errors import StorageError
from ._core.names import kind_of
from ._core.resources import Resource


class CallError(StorageError):
    """A call to AWS that did not succeed. ``str(error)`` names the operation, AWS's code and message, the resource,
    what to do.

    ``unclear``: the call may have had its effect all the same (connection lost, 5xx, read timeout). Not set for
    throttling and for refusals, which EC2 answers before it acts.
    ``passing``: the cause may be gone a moment later (throttling, 5xx, no connection); it says nothing about the
    resource.
    ``not_before``: when AWS will take the call, where its refusal says so.
    ``made``: what the call has made all the same, by planned id.
    ``message`` is AWS's, and *whole* where the text of the error leaves a part of it out.
    ``spent``: the id that a client token stands for and that is of no use any more, where the answer has named it.
    """

    def __init__(
        self,
        operation: str,
        code: str,
        message: str,
        *,
        resource: str = "",
        hint: str = "",
        unclear: bool = False,
        passing: bool = False,
        not_before: datetime | None = None,
        made: Mapping[str, str] | None = None,
        whole: str = "",
        spent: str = "",
    ) -> None:
        about = f" of {resource}" if resource else ""
        text = f"{operation}{about} failed: {code}: {message}"
        super().__init__(f"{_sentence(text)} {hint}" if hint else text)
        self.operation = operation
        self.code = code
        self.message = whole or message
        self.resource = resource
        self.unclear = unclear
        self.passing = passing
        self.not_before = not_before
        self.made: Mapping[str, str] = made or {}
        self.spent = spent

    def in_place(self, place: str) -> CallError:
        """This error, which says where it happened: see `change.place_of`. For another place than the task's own."""
        region, profile = split_place(place)
        self.args = (f"In {region}{f' (profile {profile})' if profile else ''}: {self}",)
        return self


def _sentence(text: str) -> str:
    """*text* with a full stop, so that another sentence can follow. AWS ends its messages with one or without."""
    text = text.rstrip(": \n")
    return text if text.endswith((".", "!", "?")) else f"{text}."


# The code of the CallError for an answer without error that shows something that is gone, or going, or something else
# by now: the client token had made it. Where EC2 refuses such a token the codes are its own:
# IdempotentInstanceTerminated for RunInstances, IdempotentParameterMismatch for other operations.
TOKEN_SPENT = "TokenSpent"  # noqa: S105  (an error code)


class WaitError(StorageError):
    """A wait that ended without its goal. ``how`` is a name of `Stage.rollback_on`: failed, mismatch or timeout."""

    def __init__(self, message: str, how: str, resources: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.how = how
        self.resources = tuple(resources)


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

    def warn(self, message: str) -> None: ...

    def exit(self, result: Mapping[str, Any]) -> None: ...

    def fail(self, message: str, result: Mapping[str, Any]) -> None: ...


@dataclass
class Outcome:
    """What came of carrying out a plan.

    ``bindings`` maps planned ids to EC2's, and the moments of planned snapshots (`names.moment_of`) to when they were
    taken. ``observed`` is what the waits last saw. ``deferred``: what EC2 refused for now, where the change allows for
    that, with its refusal. ``withdrawn``: what the plan holds and a stage's recheck has left out, with the reason.
    """

    done: list[Change] = field(default_factory=list)
    failed: list[Change] = field(default_factory=list)
    not_tried: list[Change] = field(default_factory=list)
    deferred: list[tuple[Change, CallError]] = field(default_factory=list)
    withdrawn: list[tuple[Change, Withdrawal]] = field(default_factory=list)
    bindings: dict[str, str] = field(default_factory=dict)
    observed: dict[str, Resource] = field(default_factory=dict)
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
