# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The snapshots from which a volume can be restored, and the sets from which all volumes of an instance can be
restored.

A snapshot is *good* when it is completed and not in the archive. The *moment* of its data is the time when the data was
captured. A copy is *proven* if its description records its volume. While EC2 shows the original, the copy must agree
with it.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from ..._domain.snapshot_sets import missing_parts, set_mark
from ..._kernel import tags as tag_names
from ..._kernel.display import counted, visible
from ..._kernel.errors import listed
from ..._kernel.proofs import (
    copy_misfit,
    copy_record,
    has_proven_time,
    instance_named,
    is_copy,
    record_of,
    source_of,
    time_of,
)
from ..._kernel.resources import Snapshot
from ..._kernel.times import format_moment

# --- Candidates -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Candidate:
    """A snapshot, and the time of its data. ``doubt``: the reason why a copy is not proven, or empty.
    ``claims_its_time``: only a tag gives ``moment``.
    """

    snapshot: Snapshot
    source: str
    copied: bool
    moment: datetime
    doubt: str = ""
    claims_its_time: bool = False

    @cached_property
    def fault(self) -> str:
        """The reason why the snapshot is unusable, or an empty text."""
        if self.snapshot.state != "completed":
            return f"{self.snapshot.snapshot_id} is {self.snapshot.state}"
        if self.snapshot.storage_tier == "archive":
            return f"{self.snapshot.snapshot_id} is archived"
        return ""

    @property
    def data(self) -> str:
        """Equal for two snapshots with the same data, which are two copies of one original."""
        return (_original_of(self.snapshot) if self.copied else "") or self.snapshot.snapshot_id

    @property
    def order(self) -> tuple[datetime, bool, str]:
        """The sort key: the moment. Of two snapshots at one moment, the original is the later one."""
        return self.moment, not self.copied, self.snapshot.snapshot_id

    def fits(self, before: datetime | None) -> bool:
        """Return whether the snapshot was taken before *before*."""
        return before is None or self.moment < before


def candidates_in(snapshots: Iterable[Snapshot]) -> list[Candidate]:
    """Return the *snapshots* whose data has a known moment, as candidates."""
    known = {item.snapshot_id: item for item in snapshots}
    found = (_candidate(item, known) for item in known.values())
    return [item for item in found if item is not None]


def _candidate(snapshot: Snapshot, known: Mapping[str, Snapshot]) -> Candidate | None:
    """Return the snapshot as a candidate, or None. It is None without a start time, and for a copy that contradicts its
    original. It is also None if only tags claim a copy of an existing original.
    """
    moment = time_of(snapshot)
    if moment is None:
        return None
    if not is_copy(snapshot):
        return Candidate(snapshot, snapshot.volume_id, False, moment)
    record = copy_record(snapshot)
    original = known.get(_original_of(snapshot))
    if original is not None and not is_copy(original) and original.start_time is not None:
        if record is None or record.volume != original.volume_id or copy_misfit(snapshot, original) is not None:
            return None
        return Candidate(snapshot, record.volume, True, original.start_time)
    doubt = "" if record is not None else "only a tag names its volume"
    return Candidate(snapshot, source_of(snapshot), True, moment, doubt, not has_proven_time(snapshot))


def _original_of(copy: Snapshot) -> str:
    """Return the original of this copy, as its description says, or else as its tag claims."""
    record = copy_record(copy)
    claimed = copy.tags.get(tag_names.COPY_OF, "").rpartition("/")[2]
    return (record.original if record is not None else "") or claimed


# --- Sets -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InstanceSet:
    """All volumes of an instance at one moment, or the copies of such a set.

    ``size``: the number of its source volumes. ``faults``: the reasons why it is not whole, or not good. ``notes``:
    claims that only tags make, which do not count.
    """

    policy: str
    parts: Mapping[str, Candidate]
    ids: frozenset[str]
    size: int
    faults: tuple[str, ...] = field(compare=False, default=())
    notes: tuple[str, ...] = field(compare=False, default=())

    @property
    def moment(self) -> datetime:
        """The time when it was taken."""
        return max(part.moment for part in self.parts.values())

    @property
    def name(self) -> str:
        """For messages."""
        policy = f" of policy {visible(self.policy)}" if self.policy else ""
        return f"the set of {format_moment(self.moment)}{policy}"

    @property
    def order(self) -> tuple[datetime, int, str]:
        """The sort key: the moment. Of two sets at one moment, the one with more volumes is the later one."""
        return self.moment, len(self.parts), min(self.ids)

    def fits(self, before: datetime | None) -> bool:
        """Return whether all parts were taken before *before*."""
        return all(part.fits(before) for part in self.parts.values())


def _instance_of(item: Candidate) -> str:
    """Return the instance of the snapshot's set, as its description says, or for copies of the first versions as its
    tag says.

    A copy that is not proven belongs to no set.
    """
    if not item.copied:
        return instance_named(item.snapshot)
    record = copy_record(item.snapshot)
    if record is None:
        return ""
    return record.instance if record.original else item.snapshot.tags.get(tag_names.SET, "").partition("/")[0]


def sets_in(candidates: Iterable[Candidate], instance_id: str) -> list[InstanceSet]:
    """Return the sets of the instance, the newest first, with all their faults."""
    members = {item.snapshot.snapshot_id: item for item in candidates if _instance_of(item) == instance_id}
    # The snapshots of one call have one start time. Each copy is a call of its own: its description has the set's time.
    originals: dict[datetime, list[Candidate]] = defaultdict(list)
    copies: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for item in members.values():
        if item.copied:
            copies[_mark_of_copy(item.snapshot)].append(item)
        else:
            originals[item.moment].append(item)
    groups = [*originals.values(), *copies.values()]
    return sorted((_set_of(group) for group in groups), key=lambda item: item.order, reverse=True)


def _mark_of_copy(copy: Snapshot) -> tuple[str, str]:
    """Return the value that all copies of one set share, from descriptions, or from tags for copies of earlier
    versions.
    """
    record = copy_record(copy)
    if record is not None and record.taken is not None:
        return record.policy, set_mark(record.instance, record.taken)
    return copy.tags.get(tag_names.POLICY, ""), copy.tags.get(tag_names.SET, "")


def _set_of(members: Sequence[Candidate]) -> InstanceSet:
    by_source: dict[str, list[Candidate]] = defaultdict(list)
    for item in members:
        by_source[item.source].append(item)
    faults = []
    parts = {}
    for source, several in sorted(by_source.items()):
        chosen = min(several, key=lambda item: (bool(item.fault), item.order))
        parts[source] = chosen
        if not source:
            faults.append(f"the volume of {chosen.snapshot.snapshot_id} is unknown")
        elif len({item.data for item in several}) > 1:
            names = listed(sorted(item.snapshot.snapshot_id for item in several))
            faults.append(f"{names} were taken of {source} at different moments")
        elif chosen.fault:
            faults.append(f"{chosen.fault} ({source})")
    tags = members[0].snapshot.tags
    lacking = missing_parts([item.snapshot for item in members])
    notes = []
    if lacking and members[0].copied and not _records_its_size(members[0].snapshot):
        names = listed(sorted(item.snapshot.snapshot_id for item in members))
        notes.append(
            f"only the tag {tag_names.PARTS} says that {counted(lacking, 'snapshot')} of other volumes belong to the "
            f"set of {names}. Check that no volume is missing"
        )
        lacking = 0
    size = len(parts) + lacking
    if lacking:
        faults.append(f"it lacks {lacking} of its {size} snapshots")
    ids = frozenset(item.snapshot.snapshot_id for item in members)
    return InstanceSet(tags.get(tag_names.POLICY, ""), parts, ids, size, tuple(faults), tuple(notes))


def _records_its_size(part: Snapshot) -> bool:
    """Return whether the description of a set's part has the number of the set's volumes."""
    record = record_of(part)
    return record is not None and record.volumes is not None
