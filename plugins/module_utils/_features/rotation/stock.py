# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The snapshots of a policy that matter for the lifecycle.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cached_property

from ..._domain.retention import in_future
from ..._domain.snapshot_sets import SnapshotSet
from ..._kernel import tags as tag_names


@dataclass(frozen=True)
class Stock:
    """The policy's snapshot sets in its region.

    ``sets``: all of them, the newest first. ``coming``: the sets that this run takes or finds pending. It waits for
    them, so they count as completed. Without a wait they are ``pending``. ``leaving``: the keys of the sets that no
    rule keeps, even if a guard holds them. A set that is about to be deleted is not locked or archived, and gets no
    fast restore.
    """

    policy: str
    sets: Sequence[SnapshotSet]
    coming: Sequence[SnapshotSet]
    leaving: frozenset[str]
    now: datetime
    zone: tzinfo
    pending: Sequence[SnapshotSet] = ()

    @cached_property
    def own(self) -> list[SnapshotSet]:
        """Return the sets that the policy itself has taken."""
        return [a_set for a_set in self.sets if self._own(a_set)]

    @cached_property
    def good(self) -> list[SnapshotSet]:
        """Return the policy's own sets that are kept and completed, or will be in this run, the newest first."""
        coming = {a_set.key: a_set for a_set in self.coming if self._own(a_set)}
        there = [a_set for a_set in self.own if a_set.key not in coming and a_set.state == "completed"]
        kept = [a_set for a_set in (*coming.values(), *there) if a_set.key not in self.leaving and a_set.group]
        return sorted(
            (
                a_set
                for a_set in kept
                if not in_future(max(a_set.start_time, a_set.period or a_set.start_time), self.now)
            ),
            key=lambda a_set: (a_set.start_time, a_set.key),
            reverse=True,
        )

    def _own(self, a_set: SnapshotSet) -> bool:
        return all(item.tags.get(tag_names.POLICY) == self.policy for item in a_set.snapshots)
