# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The snapshots of one place under one set of rules: those that the rules keep, and the guards' verdict on the others.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property

from ..._domain.snapshot_sets import Unit
from ..._kernel.places import Place
from ..._kernel.plan import Change
from ..._kernel.proofs import capture_record
from ..._kernel.resources import Snapshot
from ..._kernel.times import format_moment
from .guards import BEFORE_THE_RULES, Guards, last_of_their_volumes
from .retention import Keep, decide, in_future, is_outlived
from .spec import MODES, RotationSpec

SECOND = "second snapshot of one slot"


@dataclass(frozen=True)
class Held:
    """The guard (or ``depends``) that keeps a snapshot set although no rule keeps it, and the reason."""

    guard: str
    reason: str


@dataclass
class Verdict:
    """The guards' judgement: sets that they keep, reports, and failures of the task.

    ``warned`` and ``accused`` by unit: of one that is held back all the same, neither counts.
    """

    held: dict[str, Held] = field(default_factory=dict)
    warned: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    accused: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def say(self, mode: str, unit: Unit, snapshot_id: str, guard: str, reason: str) -> None:
        """Note the reason of a guard in this mode about a snapshot of the unit."""
        if mode == "keep":
            self.held.setdefault(unit.key, Held(guard, reason))
        elif mode == "report":
            self.warned[unit.key].append(f"{snapshot_id} is deleted although {reason} (guards.{guard}: report)")
        elif mode == "fail":
            self.accused[unit.key].append(f"{snapshot_id}: {guard}: {reason}")

    @property
    def failing(self) -> list[str]:
        """Return the objections that fail the task: deletions that only a guard in the mode ``fail`` prevents."""
        return [text for key, several in self.accused.items() if key not in self.held for text in several]


@dataclass(frozen=True)
class Scene:
    """The snapshots of a place, now and after the run.

    ``units``: the existing ones, the newest first. ``expected``: those that this run makes. ``awaited``: the existing
    units that are not completed yet, but count as if they were. ``failed``: the policy's units that EC2 did not finish,
    which a run may delete. ``second``: by unit, the one of the same slot that it repeats. ``current``: the units that
    stay whatever the rules decide, since a run would make them again at once. ``known``: all snapshots of the place
    that have been read. ``waits``: whether this run sees all of it completed before it deletes.
    """

    place: Place
    units: Sequence[Unit]
    expected: Sequence[Unit] = ()
    awaited: Sequence[Unit] = ()
    failed: Sequence[Unit] = ()
    second: Mapping[str, Unit] = field(default_factory=dict)
    current: frozenset[str] = frozenset()
    known: Sequence[Snapshot] = ()
    waits: bool = True

    @property
    def extra(self) -> list[Unit]:
        """Return the sets that count as completed although they are not."""
        return [*self.expected, *self.awaited]


class Keeping:
    """One scene under the rules ``keep``; without rules nothing goes."""

    def __init__(self, spec: RotationSpec, keep: Keep | None, scene: Scene, guards: Guards, now: datetime) -> None:
        self.spec, self.keep, self.scene, self.guards, self.now = spec, keep, scene, guards, now

    # --- the rules ---

    @cached_property
    def excluded(self) -> dict[str, str]:
        """Return, by unit, why it takes part in no rule."""
        found = {**dict.fromkeys(self.scene.second, SECOND), **exclusions(self.scene.units, self.guards, self.now)}
        doubtful = {unit.key: unit.doubt for unit in self.scene.units if unit.doubt and unit.key not in found}
        if doubtful and self.keep is not None:
            counted = [unit for unit in self.scene.units if unit.key not in found and not unit.doubt]
            counted += self.scene.extra if self.scene.waits else []
            doubtful = {
                unit.key: unit.doubt
                for unit in self.scene.units
                if unit.key in doubtful and not self._is_outlived(unit, counted, self.keep)
            }
        return {**found, **doubtful}

    def _is_outlived(self, unit: Unit, counted: Iterable[Unit], keep: Keep) -> bool:
        """Return whether no rule would keep a unit of which nobody knows how much older than its start it is."""
        group = [one.candidate for one in counted if one.group == unit.group]
        return is_outlived(unit.candidate, group, keep, self.now)

    def _decided(self, extra: Sequence[Unit]) -> Mapping[str, tuple[str, ...]]:
        """Return, by unit, the rules that keep it. *extra* counts as completed too."""
        if self.keep is None:
            return {}
        counted = [unit.candidate for unit in self.scene.units if unit.key not in self.excluded]
        return decide([*counted, *(unit.candidate for unit in extra)], self.keep, self.now)

    @cached_property
    def kept(self) -> Mapping[str, tuple[str, ...]]:
        """Return, by unit that takes part in the rules, those that keep it.

        All unfinished snapshots count as completed.
        """
        decided = dict(self._decided(self.scene.extra))
        decided.update({key: ("current slot",) for key in self.scene.current if decided.get(key) == ()})
        return decided

    @cached_property
    def unkept(self) -> list[Unit]:
        """Return the units that no rule keeps, before the guards.

        A unit that is not completed before the deletions is left alone.
        """
        return [
            unit
            for unit in self.scene.units
            if unit.key in self.kept
            and not self.kept[unit.key]
            and (unit.key not in self.excluded or unit.key in self._completing)
        ]

    @cached_property
    def _completing(self) -> frozenset[str]:
        """Return the unfinished units that are completed before the deletions."""
        return frozenset(unit.key for unit in self.scene.awaited) if self.scene.waits else frozenset()

    @cached_property
    def leaving(self) -> list[Unit]:
        """Return all units that may be deleted, before the guards."""
        if self.keep is None:
            return []
        return [*self.unkept, *self.scene.failed, *self._surplus(), *self._broken(self.scene.extra)]

    def _broken(self, extra: Sequence[Unit]) -> list[Unit]:
        """Return the incomplete sets that no rule would keep if they were whole. They replace no other snapshot."""
        broken = [
            unit for unit in self.scene.units if unit.state == "incomplete" and len(unit.good) == len(unit.snapshots)
        ]
        if not broken or self.keep is None:
            return []
        counted = [unit for unit in self.scene.units if unit.key not in self.excluded]
        verdicts = decide([unit.candidate for unit in (*counted, *broken, *extra)], self.keep, self.now)
        return [unit for unit in broken if not verdicts[unit.key] or self._repeats_whole(unit)]

    def _repeats_whole(self, unit: Unit) -> bool:
        """Return whether an incomplete set would be the second of its slot if it were whole: a run was ended while it
        deleted the set.

        The Description must tell how many parts are gone. A tag that claims more proves nothing.
        """
        record = capture_record(unit.snapshots[0])
        return (
            record is not None
            and record.volumes is not None
            and any(
                one.group == unit.group and one.period == unit.period and one.start_time < unit.start_time
                for one in self.scene.units
                if one.state == "completed" and one.key not in self.excluded
            )
        )

    def _surplus(self) -> Iterator[Unit]:
        """Yield the second ones of a slot. The newest of a group stays, whichever it is: the run that made it may be
        about to delete it.
        """
        newest = {unit.group: unit for unit in self.scene.extra} if self.scene.waits else {}
        for unit in self.scene.units:
            if unit.state == "completed":
                newest.setdefault(unit.group, unit)
        for unit in self.scene.units:
            second = self.excluded.get(unit.key) == SECOND and self.scene.second[unit.key].state == "completed"
            if second and newest[unit.group] is not unit:
                yield unit

    # --- the guards ---

    def guarded(self, unit: Unit) -> tuple[Snapshot, ...]:
        """Return the snapshots of a unit that the guards judge: those with data when the deletions begin."""
        return unit.snapshots if unit.key in self._completing else unit.good

    def verdict(
        self, depending: Mapping[str, str], guards: Guards | None = None, *, waits: bool | None = None
    ) -> Verdict:
        """Return the verdict of the guards on the units that may be deleted. A failed snapshot has no data to guard.

        *depending*: by unit, why it may not be deleted yet. *guards*: the guards with the facts at the time of the
        deletions. *waits*: whether all unfinished snapshots are completed by then, None for the scene's own value.
        """
        guards = guards or self.guards
        waits = self.scene.waits if waits is None else waits
        verdict = Verdict()
        for unit in self.leaving:
            for snapshot in self.guarded(unit):
                for mode in MODES:
                    for name, reason in guards.stops(snapshot, mode):
                        verdict.say(mode, unit, snapshot.snapshot_id, name, reason)
        self._accuse_before_the_rules(verdict)
        for unit in self.leaving:
            if unit.key in depending:
                verdict.held.setdefault(unit.key, Held("depends", depending[unit.key]))
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
        everyone = [unit for unit in self.scene.units if unit.state == "completed" and unit.group and not unit.doubt]
        verdicts = decide((unit.candidate for unit in (*everyone, *self.scene.extra)), self.keep, self.now)
        for unit in everyone:
            if not verdicts[unit.key]:
                for snapshot in unit.snapshots:
                    for name, reason in self.guards.stops(snapshot, "fail", names):
                        verdict.say("fail", unit, snapshot.snapshot_id, name, reason)

    def _last_ones(self, verdict: Verdict, coming: Iterable[Unit]) -> None:
        units = {item: unit for unit in self.leaving if unit.key not in verdict.held for item in unit.ids}
        going = [item for unit in units.values() for item in unit.good]
        made = [replace(item, state="completed") for unit in coming for item in unit.snapshots]
        for snapshot_id, volume in last_of_their_volumes(going, [*self.scene.known, *made]).items():
            reason = f"it is the last completed snapshot of {volume}"
            verdict.say(self.spec.guard("last"), units[snapshot_id], snapshot_id, "last", reason)

    def _hold_dependent(self, verdict: Verdict) -> None:
        """Hold the units whose replacement is due. Without a wait, this run never sees the replacement completed."""
        waiting = {unit.group: unit for unit in self.scene.extra}
        as_is = self._decided([])
        leaning = [unit for unit in self.unkept if as_is.get(unit.key)]
        broken = {unit.key for unit in self._broken([])}
        leaning += [unit for unit in self._broken(self.scene.extra) if unit.key not in broken]
        leaning += [
            unit
            for unit in self.leaving
            if unit.group in waiting and unit.good and (unit.state == "error" or unit.key in self.scene.second)
        ]
        for unit in leaning:
            verdict.held.setdefault(unit.key, Held("depends", f"{waiting[unit.group].ids[0]} is not completed yet"))

    # --- the deletions ---

    def deletions(self, units: Sequence[Unit], leaning: Collection[str] = ()) -> list[Change]:
        """Return a change for each snapshot of the units.

        *leaning*: the keys of units that are deleted only once all unfinished snapshots are completed.
        """
        return [
            replace(
                deletion(snapshot, unit, self.scene.place, second=unit.key in self.scene.second),
                regardless=unit.key not in leaning,
            )
            for unit in units
            for snapshot in unit.snapshots
        ]


def exclusions(units: Iterable[Unit], guards: Guards, now: datetime) -> dict[str, str]:
    """Return, by unit's key, why it takes part in no rule."""
    found = ((unit.key, _excluded(unit, guards, now)) for unit in units)
    return {key: reason for key, reason in found if reason}


def _excluded(unit: Unit, guards: Guards, now: datetime) -> str:
    if unit.state != "completed":
        return unit.state
    if not unit.group:
        return "unknown source"
    if is_future(unit, now):
        return "future"
    for snapshot in unit.snapshots:
        for mode in ("keep", "fail"):
            for name, reason in guards.stops(snapshot, mode, BEFORE_THE_RULES):
                return f"{name}: {reason}"
    return ""


def is_future(unit: Unit, now: datetime) -> bool:
    """Return whether it is dated so far ahead that the rules would take everything else for old."""
    return in_future(max(unit.start_time, unit.period or unit.start_time), now)


def deletion(snapshot: Snapshot, unit: Unit, place: Place, *, second: bool) -> Change:
    """Return the DeleteSnapshot of a part of the unit."""
    reason = f"delete the {SECOND}" if second else "delete: no rule keeps it"
    if unit.state == "error":
        why = [item.state_reason for item in unit.snapshots if item.state_reason]
        reason = f"delete the failed snapshot: {why[0] if why else 'EC2 gives no reason'}"
    before = {
        "state": snapshot.state,
        "volume_id": snapshot.volume_id,
        "start_time": format_moment(snapshot.start_time) if snapshot.start_time else None,
    }
    return Change("DeleteSnapshot", snapshot.snapshot_id, place, {}, reason, before, None, disruptive=True)
