# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The snapshots of one place under one set of rules: those that the rules keep, and the verdict of the guards.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import TypeVar

from ..._domain.retention import Keep, decide, in_future, is_outlived
from ..._domain.snapshot_sets import Candidate, SnapshotSet
from ..._kernel.places import Place
from ..._kernel.plan import Change
from ..._kernel.proofs import capture_record
from ..._kernel.resources import Snapshot
from ..._kernel.state import Drafts
from ..._kernel.times import format_moment
from .guards import BEFORE_THE_RULES, Guards, last_of_their_volumes
from .spec import MODES, RotationSpec

T = TypeVar("T")
SECOND = "second snapshot of one slot"


@dataclass(frozen=True)
class Held:
    """The guard (or ``depends``) that keeps a snapshot set although no rule keeps it, and the reason."""

    guard: str
    reason: str


@dataclass
class Verdict:
    """The verdict of the guards: sets that they keep, reports, and failures of the task.

    ``warned`` and ``accused`` are by set, and do not count for a set that another guard keeps.
    """

    held: dict[str, Held] = field(default_factory=dict)
    warned: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    accused: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def say(self, mode: str, a_set: SnapshotSet, snapshot_id: str, guard: str, reason: str) -> None:
        """Note the reason of a guard in this mode about a snapshot of the set."""
        if mode == "keep":
            self.held.setdefault(a_set.key, Held(guard, reason))
        elif mode == "report":
            self.warned[a_set.key].append(f"{snapshot_id} is deleted although {reason} (guards.{guard}: report)")
        elif mode == "fail":
            self.accused[a_set.key].append(f"{snapshot_id}: {guard}: {reason}")

    @property
    def failing(self) -> list[str]:
        """Return the reasons that fail the task, for deletions that only a guard in the mode ``fail`` prevents."""
        return [text for key, several in self.accused.items() if key not in self.held for text in several]


@dataclass(frozen=True)
class Scene:
    """The snapshots of a place, now and after the run.

    ``sets``: the existing ones, the newest first. ``expected``: the sets that this run makes. ``awaited``: the existing
    sets that are not completed yet, but count as if they were. ``failed``: the policy's sets that EC2 did not finish,
    which a run may delete. ``second``: by set, the earlier set of the same slot. ``current``: the sets of the current
    slot, which any rules keep, since a run would take them again at once. ``known``: all snapshots of the place that
    have been read. ``waits``: whether this run waits until all sets are completed before it deletes.
    """

    place: Place
    sets: Sequence[SnapshotSet]
    expected: Sequence[SnapshotSet] = ()
    awaited: Sequence[SnapshotSet] = ()
    failed: Sequence[SnapshotSet] = ()
    second: Mapping[str, SnapshotSet] = field(default_factory=dict)
    current: frozenset[str] = frozenset()
    known: Sequence[Snapshot] = ()
    waits: bool = True

    @property
    def extra(self) -> list[SnapshotSet]:
        """Return the sets that count as completed although they are not."""
        return [*self.expected, *self.awaited]

    def coming(self, group: str) -> tuple[str, ...]:
        """Return the snapshots of a source that are not completed yet but count as if they were."""
        return self._coming.get(group, ())

    @cached_property
    def _coming(self) -> Mapping[str, tuple[str, ...]]:
        found: defaultdict[str, tuple[str, ...]] = defaultdict(tuple)
        for a_set in self.extra:
            found[a_set.group] += a_set.ids
        return found


class Keeping:
    """One scene under the rules ``keep``. Without rules, no snapshot is deleted."""

    def __init__(
        self, spec: RotationSpec, keep: Keep | None, scene: Scene, guards: Guards, now: datetime, drafts: Drafts
    ) -> None:
        self.spec, self.keep, self.scene, self.guards, self.now = spec, keep, scene, guards, now
        self._drafts = drafts

    def _once(self, name: str, compute: Callable[[], T]) -> T:
        """Return what the rules say about the scene, as an earlier round of the plan may have found."""
        scene = self.scene
        inputs = (scene.sets, scene.extra, scene.second, scene.current, scene.waits, self.now)
        return self._drafts.once(f"{name} in {scene.place}", inputs, compute)

    # --- the rules ---

    @cached_property
    def excluded(self) -> Mapping[str, str]:
        """Return, by set, why the set takes part in no rule."""
        return self._once("excluded", self._find_excluded)

    def _find_excluded(self) -> Mapping[str, str]:
        found = {**dict.fromkeys(self.scene.second, SECOND), **exclusions(self.scene.sets, self.guards, self.now)}
        doubtful = {a_set.key: a_set.doubt for a_set in self.scene.sets if a_set.doubt and a_set.key not in found}
        if doubtful and self.keep is not None:
            counted = [a_set for a_set in self.scene.sets if a_set.key not in found and not a_set.doubt]
            counted += self.scene.extra if self.scene.waits else []
            doubtful = {
                a_set.key: a_set.doubt
                for a_set in self.scene.sets
                if a_set.key in doubtful and not self._is_outlived(a_set, counted, self.keep)
            }
        return {**found, **doubtful}

    def _is_outlived(self, a_set: SnapshotSet, counted: Iterable[SnapshotSet], keep: Keep) -> bool:
        """Return whether no rule would keep a set whose data is older than its start by an unknown time."""
        group = [one.candidate for one in counted if one.group == a_set.group]
        return is_outlived(a_set.candidate, group, keep, self.now)

    def _kept_by_rules(self, extra: Sequence[SnapshotSet]) -> Mapping[str, tuple[str, ...]]:
        """Return, by set, the rules that keep it. *extra* also counts as completed."""
        if self.keep is None:
            return {}
        return decide([*self._counted, *(a_set.candidate for a_set in extra)], self.keep, self.now)

    @cached_property
    def _counted(self) -> list[Candidate]:
        """Return the existing sets that take part in the rules, as their candidates."""
        return [a_set.candidate for a_set in self.scene.sets if a_set.key not in self.excluded]

    @cached_property
    def kept(self) -> Mapping[str, tuple[str, ...]]:
        """Return, by set that takes part in the rules, the rules that keep it.

        All unfinished snapshots count as completed.
        """
        return self._once("kept", self._find_kept)

    def _find_kept(self) -> Mapping[str, tuple[str, ...]]:
        decided = dict(self._kept_by_rules(self.scene.extra))
        decided.update({key: ("current slot",) for key in self.scene.current if decided.get(key) == ()})
        return decided

    @cached_property
    def unkept(self) -> list[SnapshotSet]:
        """Return the sets that no rule keeps, before the guards.

        A set that is not completed before the deletions is not among them.
        """
        return [
            a_set
            for a_set in self.scene.sets
            if a_set.key in self.kept
            and not self.kept[a_set.key]
            and (a_set.key not in self.excluded or a_set.key in self._completing)
        ]

    @cached_property
    def _completing(self) -> frozenset[str]:
        """Return the unfinished sets that are completed before the deletions."""
        return frozenset(a_set.key for a_set in self.scene.awaited) if self.scene.waits else frozenset()

    @cached_property
    def leaving(self) -> list[SnapshotSet]:
        """Return all sets that may be deleted, before the guards."""
        if self.keep is None:
            return []
        return [*self.unkept, *self.scene.failed, *self._surplus(), *self._broken(self.scene.extra)]

    def _broken(self, extra: Sequence[SnapshotSet]) -> list[SnapshotSet]:
        """Return the incomplete sets that no rule would keep if they were whole. They replace no other snapshot."""
        broken = [
            a_set
            for a_set in self.scene.sets
            if a_set.state == "incomplete" and len(a_set.good) == len(a_set.snapshots)
        ]
        if not broken or self.keep is None:
            return []
        counted = [a_set for a_set in self.scene.sets if a_set.key not in self.excluded]
        verdicts = decide([a_set.candidate for a_set in (*counted, *broken, *extra)], self.keep, self.now)
        return [a_set for a_set in broken if not verdicts[a_set.key] or self._repeats_whole(a_set)]

    def _repeats_whole(self, a_set: SnapshotSet) -> bool:
        """Return whether an incomplete set would be the second of its slot if it were whole. Then a run ended during
        its deletion.

        The Description must have the number of parts. A tag that claims more proves nothing.
        """
        record = capture_record(a_set.snapshots[0])
        return (
            record is not None
            and record.volumes is not None
            and any(
                one.group == a_set.group and one.period == a_set.period and one.start_time < a_set.start_time
                for one in self.scene.sets
                if one.state == "completed" and one.key not in self.excluded
            )
        )

    def _surplus(self) -> Iterator[SnapshotSet]:
        """Yield the second sets of a slot, except the newest set of a group, since the run that made it may be about to
        delete it.
        """
        if not self.scene.second:
            return
        newest = {a_set.group: a_set for a_set in self.scene.extra} if self.scene.waits else {}
        for a_set in self.scene.sets:
            if a_set.state == "completed":
                newest.setdefault(a_set.group, a_set)
        for a_set in self.scene.sets:
            second = self.excluded.get(a_set.key) == SECOND and self.scene.second[a_set.key].state == "completed"
            if second and newest[a_set.group] is not a_set:
                yield a_set

    # --- the guards ---

    def guarded(self, a_set: SnapshotSet) -> tuple[Snapshot, ...]:
        """Return the snapshots of a set that the guards check: those with data at the time of the deletions."""
        return a_set.snapshots if a_set.key in self._completing else a_set.good

    def verdict(
        self, depending: Mapping[str, str], guards: Guards | None = None, *, waits: bool | None = None
    ) -> Verdict:
        """Return the verdict of the guards on the sets that may be deleted. A failed snapshot has no data to guard.

        *depending*: by set, why the set must not be deleted yet. *guards*: the guards with the facts at the time of the
        deletions. *waits*: whether all unfinished snapshots are completed by then, or None for the scene's own value.
        """
        guards = guards or self.guards
        waits = self.scene.waits if waits is None else waits
        verdict = Verdict()
        for a_set in self.leaving:
            for snapshot in self.guarded(a_set):
                for mode in MODES:
                    for name, reason in guards.stops(snapshot, mode):
                        verdict.say(mode, a_set, snapshot.snapshot_id, name, reason)
        self._accuse_before_the_rules(verdict)
        for a_set in self.leaving:
            if a_set.key in depending:
                verdict.held.setdefault(a_set.key, Held("depends", depending[a_set.key]))
        if not waits:
            self._hold_dependent(verdict)
        self._last_ones(verdict, self.scene.extra if waits else ())
        return verdict

    def _accuse_before_the_rules(self, verdict: Verdict) -> None:
        """Fail the task for protected or managed sets that the rules would delete, if the mode of their guard is
        ``fail``.

        Such sets take part in no rule.
        """
        names = [name for name in BEFORE_THE_RULES if self.spec.guard(name) == "fail"]
        if not names or self.keep is None:
            return
        everyone = [
            a_set for a_set in self.scene.sets if a_set.state == "completed" and a_set.group and not a_set.doubt
        ]
        verdicts = decide((a_set.candidate for a_set in (*everyone, *self.scene.extra)), self.keep, self.now)
        for a_set in everyone:
            if not verdicts[a_set.key]:
                for snapshot in a_set.snapshots:
                    for name, reason in self.guards.stops(snapshot, "fail", names):
                        verdict.say("fail", a_set, snapshot.snapshot_id, name, reason)

    def _last_ones(self, verdict: Verdict, coming: Iterable[SnapshotSet]) -> None:
        sets = {item: a_set for a_set in self.leaving if a_set.key not in verdict.held for item in a_set.ids}
        going = [item for a_set in sets.values() for item in a_set.good]
        made = [replace(item, state="completed") for a_set in coming for item in a_set.snapshots]
        for snapshot_id, volume in last_of_their_volumes(going, [*self.scene.known, *made]).items():
            reason = f"it is the last completed snapshot of {volume}"
            verdict.say(self.spec.guard("last"), sets[snapshot_id], snapshot_id, "last", reason)

    def _hold_dependent(self, verdict: Verdict) -> None:
        """Keep the sets whose replacement is due.

        Without a wait, this run never sees the completion of the replacement.
        """
        waiting = {a_set.group: a_set for a_set in self.scene.extra}
        as_is = self._kept_by_rules([])
        dependent = [a_set for a_set in self.unkept if as_is.get(a_set.key)]
        broken = {a_set.key for a_set in self._broken([])}
        dependent += [a_set for a_set in self._broken(self.scene.extra) if a_set.key not in broken]
        dependent += [
            a_set
            for a_set in self.leaving
            if a_set.group in waiting and a_set.good and (a_set.state == "error" or a_set.key in self.scene.second)
        ]
        for a_set in dependent:
            verdict.held.setdefault(a_set.key, Held("depends", f"{waiting[a_set.group].ids[0]} is not completed yet"))

    # --- the deletions ---

    def deletions(
        self, sets: Sequence[SnapshotSet], after: Mapping[str, tuple[str, ...]] | None = None
    ) -> list[Change]:
        """Return a change for each snapshot of the sets.

        *after*: by a set's key, the snapshots that must be completed before.
        """
        return [
            replace(
                deletion(snapshot, a_set, self.scene.place, second=a_set.key in self.scene.second),
                after_steps=(after or {}).get(a_set.key, ()),
            )
            for a_set in sets
            for snapshot in a_set.snapshots
        ]


def exclusions(sets: Iterable[SnapshotSet], guards: Guards, now: datetime) -> dict[str, str]:
    """Return, by set's key, why the set takes part in no rule."""
    found = ((a_set.key, _excluded(a_set, guards, now)) for a_set in sets)
    return {key: reason for key, reason in found if reason}


def _excluded(a_set: SnapshotSet, guards: Guards, now: datetime) -> str:
    if a_set.state != "completed":
        return a_set.state
    if not a_set.group:
        return "unknown source"
    if is_future(a_set, now):
        return "future"
    for snapshot in a_set.snapshots:
        for name, reason in guards.stops_before_the_rules(snapshot):
            return f"{name}: {reason}"
    return ""


def is_future(a_set: SnapshotSet, now: datetime) -> bool:
    """Return whether the time of the set is so late that the rules would treat all other sets as old."""
    return in_future(max(a_set.start_time, a_set.period or a_set.start_time), now)


def deletion(snapshot: Snapshot, a_set: SnapshotSet, place: Place, *, second: bool) -> Change:
    """Return the DeleteSnapshot of a part of the set."""
    reason = f"delete the {SECOND}" if second else "delete: no rule keeps it"
    if a_set.state == "error":
        why = [item.state_reason for item in a_set.snapshots if item.state_reason]
        reason = f"delete the failed snapshot: {why[0] if why else 'EC2 gives no reason'}"
    before = {
        "state": snapshot.state,
        "volume_id": snapshot.volume_id,
        "start_time": format_moment(snapshot.start_time) if snapshot.start_time else None,
    }
    return Change("DeleteSnapshot", snapshot.snapshot_id, place, {}, reason, before, None, disruptive=True)
