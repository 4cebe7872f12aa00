# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshot sets: a single snapshot, or the set of one CreateSnapshots of an instance. Each is kept or deleted as one.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from functools import cached_property

from .._kernel import tags as tag_names
from .._kernel.ids import is_planned
from .._kernel.proofs import instance_named, is_copy, record_of, source_of
from .._kernel.resources import Snapshot
from .._kernel.times import Every, format_instant, parse_slot, slot_start

LATEST_START = timedelta(minutes=30)
"""EC2 may take a snapshot this long after the end of its slot, since a call is repeated while EC2 throttles."""
MOST_PARTS = 128
"""No instance has more attached volumes, so a tag that claims a larger set is ignored."""


@dataclass(frozen=True)
class Candidate:
    """A snapshot, or a snapshot set that is kept or deleted as one. Times are aware; *key* is unique over all groups.

    ``moment`` counts for age, buckets and the reference. It is the start of the slot, or else StartTime. The order is
    ``start_time``, then ``key``, both descending. ``claimed``: only a tag gives ``moment``.
    """

    key: str
    group: str
    moment: datetime
    start_time: datetime
    claimed: bool = False


@dataclass(frozen=True)
class SnapshotSet:
    """A snapshot, or the snapshots of one CreateSnapshots. The policy keeps or deletes them as one.

    ``key``: the id of the snapshot, or of the set's first. ``group``: the source volume or instance, or empty if
    unknown. ``period``: the start of its slot, or None without a slot. ``claimed``: only a tag gives the period.
    ``whole``, for the copies of a set: each original has a copy. ``lacking``, for a set: the number of missing
    snapshots. ``doubt``, for copies: the reason why only tags give their time or source. Then ``start_time`` is that of
    the copies, and the data is older.
    """

    key: str
    group: str
    snapshots: tuple[Snapshot, ...]
    start_time: datetime
    period: datetime | None
    whole: bool = True
    lacking: int = 0
    doubt: str = ""
    claimed: bool = False

    @cached_property
    def state(self) -> str:
        """``completed`` when all parts are; ``error`` when a part has failed; ``incomplete`` when a set lacks a part;
        ``pending`` when a part is.

        Otherwise it is another state of EC2, such as ``recovering``. Such a part is not usable and has not failed.
        """
        states = {snapshot.state for snapshot in self.snapshots} - {"completed"}
        if "error" in states or states - {"pending"}:
            return "error" if "error" in states else min(states - {"pending"})
        if self.lacking and self.whole:
            return "incomplete"
        return "pending" if states or not self.whole else "completed"

    @property
    def good(self) -> tuple[Snapshot, ...]:
        """The usable parts, even if another part has failed."""
        return tuple(snapshot for snapshot in self.snapshots if snapshot.state == "completed")

    @property
    def archived(self) -> bool:
        """Return whether a part is archived, so that no volume can be made from it at once."""
        return any(snapshot.storage_tier == "archive" for snapshot in self.snapshots)

    @property
    def candidate(self) -> Candidate:
        """The set as a candidate of the rules."""
        return Candidate(self.key, self.group, self.period or self.start_time, self.start_time, self.claimed)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of its snapshots."""
        return tuple(snapshot.snapshot_id for snapshot in self.snapshots)


def missing_parts(snapshots: Sequence[Snapshot], recording: Snapshot | None = None) -> int:
    """Return the number of snapshots that the set, or the set of copies, lacks. EC2 took fewer, or a part is deleted.

    Return zero for a set that does not record its number of volumes. *recording*: the snapshot whose record counts,
    None for the first. The record is in its Description. Earlier versions wrote it into a tag.
    """
    first = recording or snapshots[0]
    record = record_of(first)
    wanted = record.volumes if record is not None else None
    if wanted is None:
        claimed = first.tags.get(tag_names.PARTS, "")
        wanted = int(claimed) if claimed.isdecimal() else 0
    wanted = wanted if wanted <= MOST_PARTS else 0
    return max(0, wanted - len({source_of(snapshot) for snapshot in snapshots}))


class Slots:
    """The slots of a policy, and the slot of each snapshot."""

    def __init__(self, every: Every, zone: tzinfo) -> None:
        self._every, self._zone = every, zone
        self._starts: dict[datetime, datetime] = {}

    def of(self, moment: datetime) -> datetime:
        """Return the start of the slot of *moment*.

        Slots begin on full minutes, so one answer serves a whole minute.
        """
        minute = moment.replace(second=0, microsecond=0)
        if minute not in self._starts:
            self._starts[minute] = slot_start(self._every, minute, self._zone)
        return self._starts[minute]

    def made_for(self, snapshots: Iterable[Snapshot], start: datetime) -> tuple[datetime | None, bool]:
        """Return the slot of snapshots with one start time, or None, and whether only a tag gives it.

        The Description names the slot. Earlier versions wrote it into the tag ``ec2ops:period``. The slot counts if
        StartTime is within the slot, or at most `LATEST_START` after its end.
        """
        known = list(snapshots)
        records = [record.slot for record in map(record_of, known) if record is not None and record.slot is not None]
        claims = (parse_slot(item.tags.get(tag_names.PERIOD, "")) for item in known)
        named = records or [slot for slot in claims if slot is not None]
        period = max((slot for slot in named if self._fits(slot, start)), default=None)
        return period, period is not None and not records

    def _fits(self, period: datetime, start: datetime) -> bool:
        own = self.of(start)
        if period == own:
            return period <= start
        return period <= start and start - own <= LATEST_START and self.of(own - timedelta(minutes=1)) == period


def instance_of(snapshot: Snapshot) -> str:
    """Return the instance of the set to which the snapshot belongs, or an empty text for one that was taken alone.

    Its Description names the instance. If no tag names its policy, as on an adopted snapshot, the tag of the set must
    agree.
    """
    claimed = snapshot.tags.get(tag_names.SET, "").partition("/")[0]
    if is_planned(snapshot.snapshot_id):
        return claimed
    named = instance_named(snapshot)
    return named if claimed == named or tag_names.POLICY in snapshot.tags else ""


def is_instance_set(a_set: SnapshotSet) -> bool:
    """Return whether one CreateSnapshots of an instance took the originals."""
    return bool(instance_of(a_set.snapshots[0]))


def set_mark(instance_id: str, start: datetime) -> str:
    """Return the value that all parts of a set and their copies share. EC2 gives all parts of one call one
    start time.
    """
    return f"{instance_id}/{format_instant(start)}"


def snapshot_sets_of(snapshots: Iterable[Snapshot], now: datetime, slots: Slots | None = None) -> list[SnapshotSet]:
    """Return the originals as sets, the newest first. A snapshot without a start time counts as taken *now*.

    The set of a copy has no group here. Without *slots* no set has a period.
    """
    by_call: dict[tuple[str, datetime], list[Snapshot]] = defaultdict(list)
    sets: list[SnapshotSet] = []
    for snapshot in snapshots:
        start = snapshot.start_time or now
        instance = instance_of(snapshot)
        if instance:
            # All snapshots of one call have one start time. A second call for the same slot makes another set.
            by_call[instance, start].append(snapshot)
        else:
            group = source_of(snapshot) if is_planned(snapshot.snapshot_id) or not is_copy(snapshot) else ""
            period, claimed = slots.made_for([snapshot], start) if slots else (None, False)
            sets.append(SnapshotSet(snapshot.snapshot_id, group, (snapshot,), start, period, claimed=claimed))
    for (instance, start), members in by_call.items():
        ordered = sorted(members, key=lambda item: item.snapshot_id)
        period, claimed = slots.made_for(ordered, start) if slots else (None, False)
        lacking = missing_parts(ordered)
        sets.append(
            SnapshotSet(
                ordered[0].snapshot_id, instance, tuple(ordered), start, period, lacking=lacking, claimed=claimed
            )
        )
    if slots:
        sets = _without_doubtful(sets, slots)
    return sorted(sets, key=lambda item: (item.start_time, item.key), reverse=True)


def _without_doubtful(sets: Iterable[SnapshotSet], slots: Slots) -> list[SnapshotSet]:
    """Return the sets, without the claim of a late set to a slot in which another set of its group was taken.

    A late start alone proves no claim. If the slot already has its snapshot, the claim could only displace it.
    """
    known = list(sets)
    late = {a_set.key for a_set in known if a_set.claimed and a_set.period != slots.of(a_set.start_time)}
    if not late:
        return known
    there = {(a_set.group, slots.of(a_set.start_time)) for a_set in known}
    doubtful = {a_set.key for a_set in known if a_set.key in late and (a_set.group, a_set.period) in there}
    return [replace(a_set, period=None, claimed=False) if a_set.key in doubtful else a_set for a_set in known]
