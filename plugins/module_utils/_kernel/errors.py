# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be wrong before EC2 is asked to change anything.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MOST_LISTED = 10
"""How many items of a list a message names one by one."""


class StorageError(Exception):
    """Base of all errors that reach the user as a failed task. ``str(error)`` is the whole message."""


class SpecError(StorageError):
    """The task's options contradict each other, EC2's limits, or what the options point at."""


class Ambiguous(StorageError):
    """Several things answer to one identity, so acting on any of them would be a guess."""

    def __init__(self, message: str, candidates: Sequence[str] = ()) -> None:
        super().__init__(f"{message}: {listed(candidates)}" if candidates else message)
        self.candidates = tuple(candidates)


class Superseded(StorageError):
    """Another run has done meanwhile what this one was about to do, or what rules it out."""


class UnsafePlan(StorageError):
    """What was asked for could be done, but would lose or break something the user did not consent to."""


class Unanswered(UnsafePlan):
    """AWS does not tell what must be known for the plan to be safe. ``causes``: its refusals; the task returns them."""

    def __init__(self, message: str, causes: Sequence[StorageError]) -> None:
        super().__init__(message)
        self.causes = tuple(causes)


class Incomplete(StorageError):
    """A part of the task was not done; the rest was. ``cause``: the error whose code and operation the task returns."""

    def __init__(self, message: str, cause: StorageError) -> None:
        super().__init__(message)
        self.cause = cause


def bounded(items: Iterable[str], most: int = MOST_LISTED) -> list[str]:
    """The first *most* items and, in place of the others, their number."""
    texts = list(items)
    more = len(texts) - most
    return [*texts[:most], f"… and {more} more"] if more > 0 else texts


def listed(items: Iterable[str], most: int = MOST_LISTED) -> str:
    """The items for a message, the first *most* of them by name: ``a, b, … and 391 more``."""
    return ", ".join(bounded(items, most))
