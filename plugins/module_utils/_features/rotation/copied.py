# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The existing copies of a policy: the proven ones, and their sets.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property

from ..._domain.accounts import Accounts
from ..._domain.snapshot_sets import Slots, SnapshotSet, is_instance_set, missing_parts, set_mark
from ..._kernel import tags as tag_names
from ..._kernel.proofs import (
    copy_misfit,
    copy_record,
    has_proven_time,
    is_copy,
    is_recorded_for,
    source_of,
    time_of,
)
from ..._kernel.resources import Snapshot, Volume
from ..._kernel.state import State
from .spec import CopySpec, RotationSpec

_LIVING = ("pending", "completed")


def original_of(snapshot: Snapshot) -> str:
    """Return the id of the original of this copy, from its tag."""
    return snapshot.tags.get(tag_names.COPY_OF, "").rpartition("/")[2]


class Copied:
    """The copies of one policy in one place, and the subset that counts.

    *sources*: the originals that may be copied, including those of this run if it waits for them. *home*: all snapshots
    of the policy in the originals' region.

    A copy counts if its run has recorded it (`proofs.copy_record`). While EC2 shows the original, the copy must agree
    with it. ``unproven``: by id, the reason why a snapshot that claims to be a copy of the policy does not count.
    ``unplaced``: by id, the reason why a third account may have made a copy in another account, so that it does not
    count either. Earlier versions recorded less: see `doubt`.
    """

    def __init__(
        self,
        spec: RotationSpec,
        copy: CopySpec,
        state: State,
        sources: Sequence[SnapshotSet],
        home: Sequence[SnapshotSet],
        slots: Slots,
        now: datetime,
    ) -> None:
        self.spec, self.copy, self.state, self.sources, self.now = spec, copy, state, sources, now
        self._slots = slots
        self.homes = {item.snapshot_id: (a_set, item) for a_set in home for item in a_set.snapshots}
        self.accounts = Accounts(spec.copies, state)
        self.no_account = self.accounts.unknown(copy)
        found = (item for item in state.all(Snapshot) if item.place == copy.place)
        self.known = sorted(found, key=lambda item: item.snapshot_id)
        claiming = [
            item
            for item in self.known
            if not self.no_account
            and item.tags.get(tag_names.POLICY) == spec.policy
            and item.tags.get(tag_names.COPY_OF, "").startswith(self.here)
        ]
        self.unproven = {item.snapshot_id: why for item in claiming if (why := self._misfit(item))}
        fitting = [item for item in claiming if item.snapshot_id not in self.unproven]
        self.unplaced = {item.snapshot_id: why for item in fitting if (why := self._unplaced(item))}
        ours = [item for item in fitting if item.snapshot_id not in self.unplaced]
        self.failed = [self._snapshot_set((item,), item.snapshot_id) for item in ours if item.state == "error"]
        living = (item for item in ours if item.state in _LIVING)
        self.living = sorted(living, key=lambda item: (bool(self.doubt(item)), *_best_first(item)))
        self.copied: dict[str, Snapshot] = {}
        for item in self.living:
            self.copied.setdefault(original_of(item), item)
        others = [item for item in ours if item.state not in ("error", *_LIVING)]
        self.sets = self._snapshot_sets(others)

    @property
    def account(self) -> str:
        """Return the account of the other profile if it differs from the task's, else an empty text."""
        if not self.copy.profile:
            return ""
        theirs = self.accounts.of(self.copy.profile)
        return "" if theirs == self.accounts.of(None) else theirs

    @property
    def here(self) -> str:
        """Return the beginning of the tag of copies from this region, and from this account for other accounts."""
        account = f"{self.accounts.of(None)}/" if self.account else ""
        return f"{account}{self.state.region}/"

    def _misfit(self, copy: Snapshot) -> str:
        """Return why a snapshot is no copy of the policy, although it claims to be one, or an empty text."""
        record, original_id = copy_record(copy), original_of(copy)
        if record is None:
            return "its description does not name the volume and the region of an original"
        if not is_recorded_for(record, self.spec.policy) or record.region != self.state.region:
            return "its description names another policy or region"
        if record.account and record.account != self._account_here(copy):
            return f"its description names another account, {record.account}"
        if record.original not in ("", original_id):
            return f"its description says that it is a copy of {record.original}"
        if original_id not in self.homes:
            return ""
        original = self.homes[original_id][1]
        if source_of(original) != record.volume:
            return f"its description names {record.volume}, and {original_id} was taken of {source_of(original)}"
        return copy_misfit(copy, original) or ""

    def _account_here(self, copy: Snapshot) -> str:
        """Return the account of the originals. Without another profile, it is the owner of the copy."""
        return self.accounts.of(None) or ("" if self.account else copy.owner_id or "")

    def _unplaced(self, copy: Snapshot) -> str:
        """Return why a copy in another account may belong to a third account, or an empty text.

        Several accounts may copy to one, and anybody there who may write tags can change the account in the copy's tag.
        If the copy's description names the account, that proves it. Otherwise EC2 must show the original, or show that
        the volume belongs to this account. EC2 never reuses an id.
        """
        record, original_id = copy_record(copy), original_of(copy)
        if not self.account or record is None or record.account or original_id in self.homes:
            return ""
        if record.volume in self._volumes_here:
            return ""
        return f"its description names no account, and EC2 shows neither {original_id} nor {record.volume}"

    @cached_property
    def _volumes_here(self) -> frozenset[str]:
        """Return the volumes that EC2 shows in the account of the originals, and the volumes of its snapshots."""
        taken = (item for item in self.state.all(Snapshot) if not item.place and not is_copy(item))
        own = (item.volume_id for item in taken if item.owner_id in (None, self.accounts.of(None)))
        return frozenset((*own, *(volume.volume_id for volume in self.state.all(Volume))))

    def _mark(self, copy: Snapshot) -> str:
        """Return the value that the copies of one set share, or an empty text for the copy of a single snapshot.

        Facts show it for all copies of the present version, and for every existing original. For other copies the tag
        `tags.SET` shows the set. Such a copy is never in one set with a proven copy.
        """
        home, record = self.homes.get(original_of(copy)), copy_record(copy)
        if home is not None:
            return set_mark(home[0].group, home[0].start_time) if is_instance_set(home[0]) else ""
        if record is not None and record.original:
            if not record.instance:
                return ""
            if record.taken is not None:
                return set_mark(record.instance, record.taken)
        claimed = copy.tags.get(tag_names.SET, "")
        return f"claimed {claimed}" if claimed else ""

    def doubt(self, copy: Snapshot) -> str:
        """Return why the time or the original of a proven copy is unproven, or an empty text."""
        record, original_id = copy_record(copy), original_of(copy)
        if record is None or has_proven_time(copy):
            return ""
        if not record.original:
            return "its description does not name its original"
        return "" if original_id in self.homes else f"only its tags say when {original_id} was taken, which is gone"

    def _snapshot_set(
        self, snapshots: Sequence[Snapshot], key: str, *, whole: bool = True, lacking: int = 0
    ) -> SnapshotSet:
        """Return copies as one set. The time and the slot of the originals come from EC2, or else from the record."""
        first, parts = snapshots[0], tuple(snapshots)
        home, record, mark = self.homes.get(original_of(first)), copy_record(first), self._mark(first)
        doubt = next((why for item in snapshots if (why := self.doubt(item))), "")
        if home is not None and not doubt:
            a_set = home[0]
            return SnapshotSet(
                key, a_set.group, parts, a_set.start_time, a_set.period, whole, lacking, claimed=a_set.claimed
            )
        if doubt:
            start = max(item.start_time or self.now for item in snapshots)
            return SnapshotSet(key, self._doubtful_group(first), parts, start, None, doubt=doubt)
        taken = time_of(first) or self.now
        group = record.instance if mark and record is not None else source_of(first)
        period, claimed = self._slots.made_for(parts, taken)
        return SnapshotSet(key, group, parts, taken, period, whole, lacking, claimed=claimed)

    def _doubtful_group(self, copy: Snapshot) -> str:
        """Return the source of the copy from its description, or an empty text if only a tag assigns it to a set."""
        home, record = self.homes.get(original_of(copy)), copy_record(copy)
        if home is not None:
            return home[0].group
        if record is None or (not record.original and self._mark(copy)):
            return ""
        return record.instance or record.volume

    def _snapshot_sets(self, others: Iterable[Snapshot]) -> list[SnapshotSet]:
        """Return the copies of the place as sets, the newest first. The key of a set is that of its original.

        Copies of one set are one set, which is whole if each of its originals has a copy. A second copy of the same
        original is a set of its own. So is each copy that failed, or that has an unknown state.
        """
        by_mark: dict[tuple[str, str], list[Snapshot]] = defaultdict(list)
        for original, item in self.copied.items():
            mark = self._mark(item)
            by_mark[mark, "" if mark else original].append(item)
        sets = []
        for (mark, _alone), members in by_mark.items():
            ordered = sorted(members, key=original_of)
            source = self._source_sets.get(mark)
            whole = source is None or all(item in self.copied for item in source.ids)
            key = original_of(ordered[0]) if source is None else source.key
            recording = next((known[1] for item in ordered if (known := self.homes.get(original_of(item)))), None)
            lacking = missing_parts(ordered, recording) if mark else 0
            sets.append(self._snapshot_set(ordered, key, whole=whole, lacking=lacking))
        sets += [self._snapshot_set((item,), item.snapshot_id) for item in (*self.second, *others)]
        sets += self.failed
        return sorted(sets, key=lambda item: (item.start_time, item.key), reverse=True)

    @cached_property
    def second(self) -> list[Snapshot]:
        """Return the second copies of one original, which two runs made, or one run whose answer was lost."""
        return [item for item in self.living if self.copied[original_of(item)] is not item]

    @cached_property
    def _source_sets(self) -> dict[str, SnapshotSet]:
        """Return the original set with this shared value."""
        return {set_mark(a_set.group, a_set.start_time): a_set for a_set in self.sources if is_instance_set(a_set)}


def _best_first(snapshot: Snapshot) -> tuple[bool, float, str]:
    start = snapshot.start_time.timestamp() if snapshot.start_time else 0.0
    return (snapshot.state != "completed", start, snapshot.snapshot_id)
