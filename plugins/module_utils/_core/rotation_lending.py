# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Originals are shared with another account for the time of their copy, and not longer.

A tag on the original says with whom, before it is shared: whatever ends a run, a later one takes the sharing back. What
somebody else has shared is left as it is.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence

from . import tags as tag_names
from .change import Change, Stage
from .resources import Snapshot
from .rotation_copies import Copying
from .tags import boto3_tags

_Accounts = Callable[[str], set[str]]


class Lending:
    """What is shared in this run, and what is not needed any more when it ends.

    *unknown*: whether an account does not tell of its copies; then all that is recorded stays shared.
    """

    def __init__(
        self, managed: Iterable[Snapshot], copyings: Sequence[Copying], region: str, *, unknown: bool = False
    ) -> None:
        self._region = region
        self._recorded: dict[str, set[str]] = {
            item.snapshot_id: set(item.tags[tag_names.SHARED_WITH].split())
            for item in managed
            if item.tags.get(tag_names.SHARED_WITH)
        }
        self._wanted: dict[str, set[str]] = defaultdict(set)
        needed: dict[str, set[str]] = defaultdict(set)
        for copying in copyings:
            for item in copying.to_share():
                self._wanted[item.snapshot_id].add(copying.account)
            for snapshot_id in copying.still_needed():
                needed[snapshot_id].add(copying.account)
        self._left = {
            name: (self._shared(name) & needed[name]) | (self._recorded.get(name, set()) if unknown else set())
            for name in (*self._recorded, *self._wanted)
        }

    def before(self) -> Iterator[Stage]:
        """The record, then the sharing."""
        yield Stage(tuple(self._records(lambda name: self._recorded.get(name, set()), self._shared)))
        yield Stage(
            tuple(self._permission(name, accounts, "add", "for its copy") for name, accounts in self._wanted.items())
        )

    def after(self) -> Iterator[Stage]:
        """The sharing ends, then the record."""
        over = {name: self._shared(name) - left for name, left in self._left.items()}
        reason = "its copy does not need it any more"
        yield Stage(
            tuple(self._permission(name, accounts, "remove", reason) for name, accounts in over.items() if accounts)
        )
        yield Stage(tuple(self._records(self._shared, lambda name: self._left[name])))

    def _shared(self, name: str) -> set[str]:
        return self._recorded.get(name, set()) | self._wanted.get(name, set())

    def _permission(self, snapshot_id: str, accounts: Iterable[str], operation: str, reason: str) -> Change:
        ids = sorted(accounts)
        return Change(
            "ModifySnapshotAttribute",
            snapshot_id,
            self._region,
            {"Attribute": "createVolumePermission", "OperationType": operation, "UserIds": ids},
            f"shared {reason}" if operation == "add" else reason,
            {"shared_with": ids if operation == "remove" else []},
            {"shared_with": ids if operation == "add" else []},
        )

    def _records(self, before: _Accounts, after: _Accounts) -> Iterator[Change]:
        """The tags that make the record say what will be."""
        for name in self._left:
            was, wanted = " ".join(sorted(before(name))), " ".join(sorted(after(name)))
            if was != wanted:
                yield Change(
                    "CreateTags" if wanted else "DeleteTags",
                    name,
                    self._region,
                    {"Tags": boto3_tags({tag_names.SHARED_WITH: wanted or was})},
                    "a record of whom it is shared with",
                    {},
                    {},
                )
