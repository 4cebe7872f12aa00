# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The errors that a task can have before it asks EC2 to change anything.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

MOST_LISTED = 10
"""The number of items that a message names."""


class StorageError(Exception):
    """The base of all errors that fail a task. ``str(error)`` is the whole message."""


class SpecError(StorageError):
    """The options contradict each other, limits of EC2, or the resources that they name."""


class Ambiguous(StorageError):
    """Several resources have one identity, so a change of any of them would be a guess.

    ``problem``: the clause with the candidates. ``remedy``: a sentence, or nothing. The message has both.
    """

    def __init__(self, message: str, candidates: Sequence[str] = (), remedy: str = "") -> None:
        self.problem = f"{message}: {listed(candidates)}" if candidates else message
        self.remedy = remedy
        self.candidates = tuple(candidates)
        super().__init__(f"{self.problem}. {remedy}" if remedy else self.problem)


class Superseded(StorageError):
    """Meanwhile another run has made this change, or a change that excludes it."""


class UnsafePlan(StorageError):
    """EC2 would carry out the task, but it would lose or break something without the user's consent."""


class Unanswered(UnsafePlan):
    """AWS refuses a query whose answer a safe plan needs. The task returns ``causes``, AWS's refusals."""

    def __init__(self, message: str, causes: Sequence[StorageError]) -> None:
        super().__init__(message)
        self.causes = tuple(causes)


class Incomplete(StorageError):
    """The task did only a part of its work. It returns ``causes``, and the code and operation of the first of them."""

    def __init__(self, message: str, *causes: StorageError) -> None:
        super().__init__(message)
        self.causes = causes


class Several(StorageError):
    """Several failures of one run. The task returns all failures, and the code and operation of the first one."""

    def __init__(self, errors: Sequence[StorageError]) -> None:
        super().__init__(f"{len(errors)} failures: {'; '.join(bounded(str(error).rstrip('.') for error in errors))}.")
        self.errors = tuple(errors)


def together(errors: Sequence[StorageError]) -> StorageError | None:
    """Return several errors as one, a single error as it is, or None."""
    if len(errors) < 2:
        return errors[0] if errors else None
    return Several(errors)


def bounded(items: Iterable[str], most: int = MOST_LISTED) -> list[str]:
    """Return the first *most* items, and the number of the others in their place."""
    texts = list(items)
    more = len(texts) - most
    return [*texts[:most], f"… and {more} more"] if more > 0 else texts


def listed(items: Iterable[str], most: int = MOST_LISTED) -> str:
    """Return the items for a message, the first *most* of them by name: ``a, b, … and 391 more``."""
    return ", ".join(bounded(items, most))
