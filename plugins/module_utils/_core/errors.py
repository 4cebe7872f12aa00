# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be wrong before EC2 is asked to change anything.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class StorageError(Exception):
    """Base of all errors that reach the user as a failed task. ``str(error)`` is the whole message."""


class SpecError(StorageError):
    """The task's options contradict each other, EC2's limits, or what the options point at."""


class Ambiguous(StorageError):
    """Several things answer to one identity, so acting on any of them would be a guess."""

    def __init__(self, message: str, candidates: Sequence[str] = ()) -> None:
        super().__init__(f"{message}: {listed(candidates)}" if candidates else message)
        self.candidates = tuple(candidates)


class UnsafePlan(StorageError):
    """What was asked for could be done, but would lose or break something the user did not consent to."""


def bounded(items: Iterable[str], most: int = 10) -> list[str]:
    """The first *most* items and, in place of the others, their number."""
    texts = list(items)
    more = len(texts) - most
    return [*texts[:most], f"… and {more} more"] if more > 0 else texts


def listed(items: Iterable[str], most: int = 10) -> str:
    """The items for a message, the first *most* of them by name: ``a, b, … and 391 more``."""
    return ", ".join(bounded(items, most))
