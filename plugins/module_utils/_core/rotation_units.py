# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is kept or deleted as one: a snapshot, or the set that one CreateSnapshots made of an instance.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from . import tags as tag_names
from .names import COPIED_VOLUME
from .resources import Snapshot
from .retention import Candidate
from .timespan import parse_slot

UNKNOWN_VOLUMES = ("", COPIED_VOLUME)
"""What says nothing of the volume that a snapshot is of."""


@dataclass(frozen=True)
class Unit:
    """``key``: the snapshot's id, or that of the set's first. ``group``: the volume, or the instance, that it is a
    backup of; empty when nothing says. ``period``: when its slot began, None where it was made for none. ``whole``: of
    the copies of a set, whether each of its originals has one. ``lacking``: of a set, how many of the snapshots that it
    was made for are not there.
    """

    key: str
    group: str
    snapshots: tuple[Snapshot, ...]
    start_time: datetime
    period: datetime | None
    whole: bool = True
    lacking: int = 0

    @property
    def state(self) -> str:
        """``completed`` when all of it is; ``error`` when any has failed; ``incomplete`` when a part of a set is not
        there; ``pending`` when the rest of it is.

        Else another state of EC2's, such as ``recovering``: that is neither there nor has it failed.
        """
        states = {snapshot.state for snapshot in self.snapshots} - {"completed"}
        if "error" in states or states - {"pending"}:
            return "error" if "error" in states else min(states - {"pending"})
        if self.lacking and self.whole:
            return "incomplete"
        return "pending" if states or not self.whole else "completed"

    @property
    def good(self) -> tuple[Snapshot, ...]:
        """What can be restored from, also where another part of it has failed."""
        return tuple(snapshot for snapshot in self.snapshots if snapshot.state == "completed")

    @property
    def archived(self) -> bool:
        """Whether nothing can be made of it, or of a part of it, at once."""
        return any(snapshot.storage_tier == "archive" for snapshot in self.snapshots)

    @property
    def candidate(self) -> Candidate:
        """As the rules see it."""
        return Candidate(self.key, self.group, self.period or self.start_time, self.start_time)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of its snapshots."""
        return tuple(snapshot.snapshot_id for snapshot in self.snapshots)


def source_of(snapshot: Snapshot) -> str:
    """The volume that the snapshot is a backup of, empty where nothing says.

    Of a copy only the tag can say it: its volume id is arbitrary (EC2 API reference, Snapshot: VolumeId).
    """
    tagged = snapshot.tags.get(tag_names.SOURCE)
    if tagged:
        return tagged
    if tag_names.COPY_OF in snapshot.tags or snapshot.volume_id in UNKNOWN_VOLUMES:
        return ""
    return snapshot.volume_id


def missing_parts(snapshots: Sequence[Snapshot]) -> int:
    """How many snapshots the set, or the set's copies, lacks: EC2 took fewer than asked for, or a part is deleted.

    Zero for a set that does not record of how many volumes it was made.
    """
    recorded = snapshots[0].tags.get(tag_names.PARTS, "")
    wanted = int(recorded) if recorded.isdecimal() else 0
    return max(0, wanted - len({source_of(snapshot) for snapshot in snapshots}))


def units_of(snapshots: Iterable[Snapshot], now: datetime) -> list[Unit]:
    """The snapshots as units, the newest first. What has no start time yet has been made *now*."""
    sets: dict[tuple[str, datetime], list[Snapshot]] = defaultdict(list)
    units: list[Unit] = []
    for snapshot in snapshots:
        start = snapshot.start_time or now
        marked = snapshot.tags.get(tag_names.SET)
        if marked:
            # All of one call have one start time; a second call for the same slot made another set.
            sets[marked, start].append(snapshot)
        else:
            units.append(Unit(snapshot.snapshot_id, source_of(snapshot), (snapshot,), start, _period(snapshot)))
    for (marked, start), members in sets.items():
        ordered = sorted(members, key=lambda item: item.snapshot_id)
        group = marked.partition("/")[0]
        key, period, lacking = ordered[0].snapshot_id, _period(ordered[0]), missing_parts(ordered)
        units.append(Unit(key, group, tuple(ordered), start, period, lacking=lacking))
    return sorted(units, key=lambda item: (item.start_time, item.key), reverse=True)


def _period(snapshot: Snapshot) -> datetime | None:
    return parse_slot(snapshot.tags.get(tag_names.PERIOD, ""))
