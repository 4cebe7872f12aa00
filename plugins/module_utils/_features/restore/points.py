# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Choose the snapshots to restore from: for single volumes, or for all volumes of an instance.

A snapshot whose data may be newer than the wanted time is never chosen, so a copy without a record of its time counts
with its own start. A copy that is not proven is chosen only if there is no other snapshot, and a note names it. See
`candidates`.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from ..._domain.origins import Origin, origin_of
from ..._kernel import tags as tag_names
from ..._kernel.errors import SpecError, bounded, listed
from ..._kernel.proofs import (
    capture_record,
    copy_record,
    instance_named,
    record_of,
)
from ..._kernel.resources import Snapshot
from ..._kernel.times import format_moment
from .candidates import Candidate, InstanceSet, candidates_in, sets_in
from .point_volume import RestorePoint, restore_point

# --- queries and answers ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Restored:
    """A volume of ``source`` that an earlier run has made for the same restore, from a snapshot that may be gone."""

    source: str
    snapshot_id: str
    create_time: datetime


@dataclass(frozen=True)
class Wanted:
    """The volumes to restore, or the instance with all volumes of one moment, as they were before a time.

    ``restored``: the volumes that already exist. ``region`` is for messages.
    """

    volume_ids: tuple[str, ...] = ()
    instance_id: str = ""
    before: datetime | None = None
    region: str = ""
    restored: tuple[Restored, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """The ids in ``volume_ids`` that are not restored yet."""
        there = {item.source for item in self.restored}
        return tuple(item for item in dict.fromkeys(self.volume_ids) if item not in there)

    @property
    def where(self) -> str:
        """For messages."""
        return f" in {self.region}" if self.region else ""

    @property
    def when(self) -> str:
        """For messages."""
        return f" that was taken before {format_moment(self.before)}" if self.before is not None else ""


@dataclass(frozen=True)
class Recovery:
    """``points`` by source. ``moments``: by snapshot, the moments of the volumes that are already restored.
    ``ignored``: the sources of restored volumes that do not count, so that they are restored again. ``failures``: by
    source, the reason why a volume cannot be restored.
    """

    points: tuple[RestorePoint, ...]
    moments: Mapping[str, datetime]
    notes: tuple[str, ...]
    ignored: tuple[str, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict)


def parse_time(value: object, option: str) -> datetime:
    """Return a time in ISO 8601, in UTC unless it names a zone. Raises SpecError for any other text."""
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise SpecError(f"{option}: {value!r} is not a time. Write it as in 2026-11-23T19:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# --- The choice -------------------------------------------------------------------------------------------------------


def recover(snapshots: Iterable[Snapshot], wanted: Wanted) -> Recovery:
    """Return the snapshots to restore from, and the notes about them.

    Raises SpecError if there is no snapshot for the instance, or for any of the volumes. The message names the existing
    snapshots, and the remedy. If some volumes of an instance are already restored, the others come from the same
    moment.
    """
    candidates = candidates_in(snapshots)
    choice = _of_instance(candidates, wanted) if wanted.instance_id else _of_volumes(candidates, wanted)
    chosen, notes = choice.chosen, choice.notes
    restored = [item for item in wanted.restored if item.source not in choice.ignored]
    by_id = {item.snapshot.snapshot_id: item for item in candidates}
    there = [by_id[item.snapshot_id] for item in restored if item.snapshot_id in by_id]
    points = tuple(restore_point(source, chosen[source], notes) for source in sorted(chosen))
    return Recovery(
        points,
        {item.snapshot.snapshot_id: item.moment for item in there},
        tuple(notes),
        tuple(sorted(choice.ignored)),
        choice.failures,
    )


def is_without_sets(snapshots: Iterable[Snapshot], wanted: Wanted) -> bool:
    """Return whether the instance is restored from snapshots of its single volumes. The run must then know all of them.

    This is the case if *snapshots* have no set of it, or if an earlier run began the restore from snapshots outside any
    set.
    """
    known = list(snapshots)
    found = sets_in(candidates_in(known), wanted.instance_id)
    begun = {item.snapshot_id for item in wanted.restored} & {item.snapshot_id for item in known}
    return not any(item.ids & begun for item in found) if begun else not found


def attached_sources(snapshots: Iterable[Snapshot], instance_id: str) -> frozenset[str]:
    """Return the volumes that the instance had, as a snapshot of a policy or a copy records."""
    return frozenset(_of_attached(candidates_in(snapshots), instance_id))


def _of_volumes(candidates: Iterable[Candidate], wanted: Wanted) -> _Choice:
    """Return the newest good snapshot of each volume. Raises SpecError if no volume has one."""
    by_source: dict[str, list[Candidate]] = defaultdict(list)
    for item in candidates:
        by_source[item.source].append(item)
    chosen: dict[str, Candidate] = {}
    notes: list[str] = []
    failures: dict[str, str] = {}
    for source in wanted.missing:
        known = sorted(by_source[source], key=lambda item: item.order, reverse=True)
        good = [item for item in known if not item.fault and item.fits(wanted.before)]
        good.sort(key=lambda item: bool(item.doubt))
        if good:
            chosen[source] = good[0]
            notes += _passed_over(known, good[0], wanted)
        else:
            failures[source] = _nothing_of(source, known, wanted)
    if failures and not chosen and not wanted.restored:
        raise SpecError(_some([*failures.values()], ". "))
    return _Choice(chosen, notes, failures=failures)


def _passed_over(known: Iterable[Candidate], chosen: Candidate, wanted: Wanted) -> list[str]:
    """Return the reasons why newer snapshots were passed over, without snapshots outside the user's request."""
    newer = [item for item in known if item.order > chosen.order and item.fits(wanted.before)]
    reasons = [item.fault or f"{item.snapshot.snapshot_id}: {item.doubt}" for item in newer if item.fault or item.doubt]
    taken = f"{chosen.snapshot.snapshot_id} of {format_moment(chosen.moment)}"
    notes = (
        [f"the task restores {chosen.source} from {taken}, not from a newer one: {listed(reasons)}"] if reasons else []
    )
    notes += _claimed_older(known, chosen)
    if chosen.doubt:
        notes.append(
            f"the task restores {chosen.source} from {chosen.snapshot.snapshot_id}, since no other snapshot exists. No "
            f"fact proves this copy: {chosen.doubt}. Check its content before you use it."
        )
    return notes


def _claimed_older(known: Iterable[Candidate], chosen: Candidate) -> list[str]:
    """Return the copies that began after the chosen one, and whose older data only a tag claims."""
    begun = chosen.snapshot.start_time
    later = [
        item.snapshot.snapshot_id
        for item in known
        if item.copied
        and not (item.fault or item.doubt)
        and item.order < chosen.order
        and item.claims_its_time
        and begun is not None
        and item.snapshot.start_time is not None
        and item.snapshot.start_time > begun
    ]
    if not later or not chosen.copied:
        return []
    note = (
        f"the task restores {chosen.source} from {chosen.snapshot.snapshot_id}. These copies began later: "
        f"{listed(sorted(later))}. Only their tag {tag_names.TAKEN} says that their data is older. Compare the "
        "copies where that matters."
    )
    return [note]


def _some(sentences: Sequence[str], separator: str = "; ") -> str:
    """Return the first sentences and the number of the others, like `listed` for items without commas."""
    return separator.join(bounded(sentences))


def _nothing_of(source: str, known: Sequence[Candidate], wanted: Wanted) -> str:
    """Return the error if no snapshot is usable, with the snapshots that exist."""
    text = f"{source} has no completed snapshot{wanted.where}{wanted.when} to restore from"
    if not known:
        return (
            f"{text}, and no other snapshot. Check the id and the region. A copy in another region has the id in its "
            f"tag {tag_names.SOURCE}"
        )
    good = [item for item in known if not item.fault]
    if good:
        earliest = good[-1]
        return f"{text}. The earliest was taken at {format_moment(earliest.moment)}: {earliest.snapshot.snapshot_id}"
    faults = listed(item.fault for item in known)
    return f"{text}: {faults}. Wait for the pending snapshots, and restore the archived ones"


@dataclass(frozen=True)
class _Choice:
    """``chosen`` by source. ``ignored``: the sources of restored volumes that do not count. ``failures``: by source,
    the reason why a volume cannot be restored.
    """

    chosen: Mapping[str, Candidate]
    notes: list[str]
    ignored: frozenset[str] = frozenset()
    failures: Mapping[str, str] = field(default_factory=dict)


def _of_instance(candidates: Sequence[Candidate], wanted: Wanted) -> _Choice:
    """Return the newest whole set, the rest of the set of an unfinished restore, or else the volumes' own snapshots."""
    found = sets_in(candidates, wanted.instance_id)
    begun = {item.snapshot_id for item in wanted.restored}
    first = max(found, key=lambda item: len(item.ids & begun), default=None)
    if first is not None and first.ids & begun:
        ignored = _not_of(first, wanted)
        others = tuple(item for item in wanted.restored if item.source not in ignored)
        notes = [_ignored_note(wanted, ignored)] if ignored else []
        return _Choice(_rest_of(first, replace(wanted, restored=others)), [*notes, *first.notes], ignored)
    if not begun:
        return _Choice(*(_newest_whole(found, wanted) if found else _without_sets(candidates, wanted)))
    if begun & {item.snapshot.snapshot_id for item in candidates}:
        chosen, notes = _without_sets(candidates, wanted)
        return _Choice(chosen, [*notes, *([_no_set_note(wanted)] if found else [])])
    return _anew(candidates, found, wanted)


def _not_of(begun: InstanceSet, wanted: Wanted) -> frozenset[str]:
    """Return the sources of restored volumes that cannot belong to the set of an unfinished restore.

    The set has its own snapshot of the source, but the volume was made from another snapshot that is gone.
    """
    others = {item.source for item in wanted.restored if item.snapshot_id not in begun.ids}
    return frozenset(others & begun.parts.keys() if begun.size > len(begun.parts) else others)


def _anew(candidates: Sequence[Candidate], found: Sequence[InstanceSet], wanted: Wanted) -> _Choice:
    """Return all volumes if the restored ones count only by their tags, since their snapshots are gone.

    If there is no other volume to restore, the restored ones stay as they are.
    """
    fresh = replace(wanted, restored=())
    there = frozenset(item.source for item in wanted.restored)
    gone = (
        f"{wanted.instance_id}: the snapshots of the restored volumes are gone, so this run restores no other volume "
        "of the instance"
    )
    try:
        chosen, notes = _newest_whole(found, fresh) if found else _without_sets(candidates, fresh)
    except SpecError:
        return _Choice({}, [gone])
    if there.issuperset(chosen):
        return _Choice({}, [gone])
    return _Choice(chosen, [_ignored_note(wanted, there), *notes], there)


def _ignored_note(wanted: Wanted, sources: Iterable[str]) -> str:
    return (
        f"{wanted.instance_id}: some volumes have the tags of volumes restored from {listed(sorted(sources))}, but the "
        "snapshots that they were made from are gone. The task does not count these volumes, so that all restored "
        f"volumes come from one moment. Check these volumes. Then remove their tag {tag_names.SPEC}, or delete them"
    )


def _no_set_note(wanted: Wanted) -> str:
    sources = listed(sorted(item.source for item in wanted.restored))
    return (
        f"{wanted.instance_id}: the volumes restored from {sources} come from snapshots outside any set, so the task "
        f"uses no set. To restore a set, give another name, or remove the tag {tag_names.SPEC} of these restored "
        "volumes"
    )


def _rest_of(begun: InstanceSet, wanted: Wanted) -> dict[str, Candidate]:
    there = {item.source for item in wanted.restored}
    rest = {source: part for source, part in begun.parts.items() if source not in there}
    faults = [part.fault for part in rest.values() if part.fault]
    missing = begun.size - len(there | begun.parts.keys())
    if missing > 0:
        faults.append(f"it lacks {missing} of its {begun.size} snapshots")
    if faults:
        raise SpecError(
            f"{wanted.instance_id}: a run has begun to restore {begun.name}{wanted.where}, which cannot be "
            f"completed: {listed(faults)}. Wait for the pending snapshots, or restore another set under another name "
            "and delete the volumes of this one"
        )
    return rest


def _newest_whole(found: Sequence[InstanceSet], wanted: Wanted) -> tuple[dict[str, Candidate], list[str]]:
    asked = [item for item in found if item.fits(wanted.before)]
    passed: list[str] = []
    for item in asked:
        if not item.faults:
            notes = [f"the task restores {item.name}, not a newer one: {_some(passed)}"] if passed else []
            return dict(item.parts), [*notes, *item.notes, *_beyond(item, asked)]
        passed.append(f"{item.name}: {listed(item.faults)}")
    text = f"{wanted.instance_id}: there is no whole set of its volumes{wanted.where}{wanted.when} to restore"
    if passed:
        text += f". {_some(passed)}"
    else:
        text += f". The earliest is {found[-1].name}"
    raise SpecError(f"{text}. To restore each volume from its own newest snapshot, name the volumes by their ids")


def _beyond(chosen: InstanceSet, asked: Iterable[InstanceSet]) -> list[str]:
    """Return the volumes of other sets that the chosen set lacks, since its policy excludes them or they no longer
    exist.
    """
    notes: dict[str, str] = {}
    for item in asked:
        for source in sorted(item.parts.keys() - chosen.parts.keys() - notes.keys()):
            if source:
                notes[source] = f"{chosen.name} has no snapshot of {source}; {item.name} has one"
    return list(notes.values())


def _is_recorded(item: Candidate) -> bool:
    """Return whether a policy took the snapshot, or a run copied it. Only then does the tag `tags.ORIGIN` describe its
    volume.
    """
    snapshot = item.snapshot
    record = capture_record(snapshot)
    return not item.doubt if item.copied else record is not None and record.of == snapshot.volume_id


def _without_sets(candidates: Iterable[Candidate], wanted: Wanted) -> tuple[dict[str, Candidate], list[str]]:
    """Return the newest snapshot of each volume that the instance had at that time."""
    before, there = wanted.before, {item.source for item in wanted.restored}
    if there:
        # A snapshot that is newer than the first volume did not exist at the first run.
        first = min(item.create_time for item in wanted.restored)
        before = first if before is None else min(before, first)
    items = list(candidates)
    by_source = _of_attached(items, wanted.instance_id)
    unknown = _of_no_instance((item for item in items if item.source not in there), wanted.instance_id)
    chosen, notes = {}, [unknown] if unknown else []
    for source, known in sorted(by_source.items()):
        good = [item for item in known if not item.fault and item.fits(before)]
        if good and source not in there:
            chosen[source] = max(good, key=lambda item: item.order)
            notes += _claims_of(chosen[source], known, wanted)
    if not chosen and not there:
        raise SpecError(
            f"{wanted.instance_id}: there is no completed snapshot of its volumes{wanted.where}{wanted.when} to "
            f"restore from. {wanted.instance_id} has no snapshot set, and no snapshot records that its volume was "
            f"attached to {wanted.instance_id}. Check the id and the region, or name the volumes by their ids"
            f"{f'. {unknown}' if unknown else ''}"
        )
    if len(chosen) > 1:
        times = sorted(item.moment for item in chosen.values())
        between = f"between {format_moment(times[0])} and {format_moment(times[-1])}"
        text = "has no sets, so the task restores its volumes from snapshots that were taken one by one"
        notes.insert(0, f"{wanted.instance_id} {text}, {between}")
    return chosen, notes


def _attached(item: Candidate) -> str | None:
    """Return the instance that had the volume, as the description says, or as the tag of an earlier version claims, or
    None.
    """
    record = record_of(item.snapshot)
    if record is not None and (record.attached or record.slot is not None):
        return record.attached or None
    return origin_of(item.snapshot).instance_id


def _of_attached(candidates: Iterable[Candidate], instance_id: str) -> dict[str, list[Candidate]]:
    """Return, for each volume of the instance, its recorded snapshots, except snapshots from a time when another
    instance had the volume.

    A snapshot without an instance counts if another snapshot of its volume names this one. Anybody may have removed its
    tag.
    """
    by_source: dict[str, list[Candidate]] = defaultdict(list)
    for item in candidates:
        if item.source and _is_recorded(item) and _attached(item) in (None, instance_id):
            by_source[item.source].append(item)
    return {
        source: known for source, known in by_source.items() if any(_attached(item) == instance_id for item in known)
    }


def _of_no_instance(candidates: Iterable[Candidate], instance_id: str) -> str:
    """Return the note about the volumes whose snapshots name no instance, since somebody may have removed the tag."""
    by_source: dict[str, list[Candidate]] = defaultdict(list)
    for item in candidates:
        if item.source and _is_recorded(item):
            by_source[item.source].append(item)
    silent = [source for source, known in by_source.items() if all(map(_says_of_no_instance, known))]
    if not silent:
        return ""
    return (
        f"{listed(sorted(silent))}: no snapshot names the instance that had the volume, so the task does not restore "
        f"it. If {instance_id} had it, name the volume by its id"
    )


def _says_of_no_instance(item: Candidate) -> bool:
    """Return whether neither the description nor a readable tag names the instance of the volume."""
    record = record_of(item.snapshot)
    recorded = record is not None and (record.slot is not None or record.attached or _of_a_set(item.snapshot))
    return not recorded and origin_of(item.snapshot) == Origin()


def _of_a_set(snapshot: Snapshot) -> bool:
    record = copy_record(snapshot)
    return bool(instance_named(snapshot) or (record is not None and record.instance))


def _claims_of(chosen: Candidate, known: Iterable[Candidate], wanted: Wanted) -> list[str]:
    """Return the note if only a tag, and no description, says that the instance had the volume."""
    records = (record_of(item.snapshot) for item in known)
    if any(record is not None and record.attached == wanted.instance_id for record in records):
        return []
    text = f"{chosen.source}: only the tag {tag_names.ORIGIN} says that it was attached to {wanted.instance_id}"
    return [f"{text}. Check the content of {chosen.snapshot.snapshot_id} before you use it"]


# --- The volume that is made ------------------------------------------------------------------------------------------
