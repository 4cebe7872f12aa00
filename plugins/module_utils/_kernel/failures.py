# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The errors of a call to AWS, and of a wait for its effect.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from .errors import StorageError
from .places import Place


class CallError(StorageError):
    """A failed call to AWS. ``str(error)`` names the operation, AWS's code and message, the resource and the remedy.

    ``unclear``: the call may have had its effect (connection lost, 5xx, read timeout). False for throttling and for
    refusals, since EC2 then changes nothing.
    ``passing``: the cause may be gone a moment later (throttling, 5xx, no connection). It is no fact about the
    resource.
    ``not_before``: the time from which AWS will accept the call, if its refusal names one.
    ``made``: EC2's ids by planned id, for the resources that the call made although it failed. ``message`` is AWS's own
    message. *whole* is the full message, if the text of the error leaves out a part of it.
    ``spent``: the id of the resource that used up the client token, if EC2's answer names it.
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

    def in_place(self, place: Place) -> CallError:
        """Return this error with its place before the message, for places other than the task's own: see
        `places.place_of`.
        """
        self.args = (f"In {place.text}: {self}",)
        return self


def _sentence(text: str) -> str:
    """Return *text* with a full stop, so that another sentence can follow. Some of AWS's messages have one."""
    text = text.rstrip(": \n")
    return text if text.endswith((".", "!", "?")) else f"{text}."


# Our code for a successful answer whose client token stands for an old resource that is gone, or has changed its
# purpose. Where EC2 refuses such a token, it has its own codes: IdempotentInstanceTerminated for RunInstances,
# IdempotentParameterMismatch for other operations.
TOKEN_SPENT = "TokenSpent"  # noqa: S105  (an error code)


class WaitError(StorageError):
    """A wait that ended without its goal. ``how`` is a name of `Stage.rollback_on`: failed, mismatch or timeout."""

    def __init__(self, message: str, how: str, resources: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.how = how
        self.resources = tuple(resources)
