# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Share originals with another account while they are copied there.

A tag on the original names the account before the run shares the original. So after an interrupted run a later run can
unshare it. Anybody may have written the tag, so a run unshares only accounts to which the task copies. A run leaves all
other sharing alone.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from ..._kernel import tags as tag_names
from ..._kernel.plan import Change, Stage
from ..._kernel.resources import Snapshot
from ..._kernel.state import Query
from ..._kernel.tags import boto3_tags
from .copies import Copying

_Accounts = Callable[[str], set[str]]


class Sharing:
    """The sharing of this run, and the sharing that it ends.

    *unknown*: whether an account does not answer the query for its copies. Then the run ends no recorded sharing. It
    never ends the sharing with an account to which the task does not copy.
    """

    def __init__(
        self, managed: Iterable[Snapshot], copyings: Sequence[Copying], region: str, *, unknown: bool = False
    ) -> None:
        self._region, self._copyings = region, copyings
        known = list(managed)
        self._recorded: dict[str, set[str]] = {
            item.snapshot_id: set(accounts) for item in known if (accounts := tag_names.shared_with(item.tags))
        }
        self._written = {
            item.snapshot_id: item.tags[tag_names.SHARED_WITH] for item in known if item.snapshot_id in self._recorded
        }
        self._wanted: dict[str, set[str]] = defaultdict(set)
        needed: dict[str, set[str]] = defaultdict(set)
        for copying in copyings:
            for item in copying.to_share():
                self._wanted[item.snapshot_id].add(copying.account)
            for snapshot_id in copying.still_needed():
                needed[snapshot_id].add(copying.account)
        theirs = set[str]() if unknown else {copying.account for copying in copyings}
        self._left = {
            name: (self._shared(name) & needed[name]) | (self._recorded.get(name, set()) - theirs)
            for name in (*self._recorded, *self._wanted)
        }

    def before(self) -> Iterator[Stage]:
        """Yield the stages before the copies: the record, then the sharing."""
        yield Stage(tuple(self._records(lambda name: self._recorded.get(name, set()), self._shared)))
        yield Stage(
            tuple(
                self._permission(name, accounts, "add", "share for the copy") for name, accounts in self._wanted.items()
            ),
        )

    def after(self) -> Iterator[Stage]:
        """Yield the stages after the copies: unshare, then remove the record."""
        over = {name: self._shared(name) - left for name, left in self._left.items()}
        reason = "unshare: the copy is done"
        yield Stage(
            tuple(self._permission(name, accounts, "remove", reason) for name, accounts in over.items() if accounts),
        )
        yield Stage(tuple(self._records(self._shared, lambda name: self._left[name])))

    def after_failure(self) -> tuple[Stage, ...]:
        """Return the stages that unshare this run's originals without a copy under way.

        A later run unshares the others.
        """
        returned: list[Change] = []
        ends: dict[str, list[Query]] = defaultdict(list)
        for copying in self._copyings:
            for item in copying.to_share():
                name, query = item.snapshot_id, copying.copies_under_way(item)
                reason = "unshare: no copy was begun"
                ends[name].append(_shared_with(name, copying.account))
                returned.append(
                    replace(self._permission(name, {copying.account}, "remove", reason), unless=(query,)),
                )
        kept = self._records(self._shared, lambda name: self._recorded.get(name, set()) - self._wanted[name])
        # A copy may end between the two queries. So the record depends on the shares, not on the copies under way.
        records = [replace(change, unless=tuple(ends[change.resource])) for change in kept if change.resource in ends]
        if len(returned) == len(ends):
            return Stage(tuple(returned)), Stage(tuple(records))
        # Two accounts of one original are two calls about one resource.
        return (*(Stage((change,)) for change in returned), Stage(tuple(records)))

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
        """Yield the changes of the tag that records the sharing."""
        for name in self._left:
            # DeleteTags removes a tag only if it has the very value.
            unchanged = before(name) == self._recorded.get(name, set())
            was, wanted = " ".join(sorted(before(name))), " ".join(sorted(after(name)))
            value = wanted or (self._written[name] if unchanged else was)
            if was != wanted:
                yield Change(
                    "CreateTags" if wanted else "DeleteTags",
                    name,
                    self._region,
                    {"Tags": boto3_tags({tag_names.SHARED_WITH: value})},
                    "record the sharing",
                    {},
                    {},
                )


def _shared_with(snapshot_id: str, account: str) -> Query:
    """Return the query that finds a snapshot of this account while it is shared with the other account.

    (EC2 API reference, DescribeSnapshots: RestorableByUserIds.)
    """
    arguments = (("OwnerIds", ("self",)), ("RestorableByUserIds", (account,)))
    return Query("DescribeSnapshots", (("snapshot-id", (snapshot_id,)),), arguments)
