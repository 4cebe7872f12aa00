# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a call to AWS, or a wait for it, fails.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from .errors import StorageError
from .places import place_text


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
        """This error, which says where it happened: see `places.place_of`. For another place than the task's own."""
        self.args = (f"In {place_text(place)}: {self}",)
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
