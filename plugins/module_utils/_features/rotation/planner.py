# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshots by policy: what has to be made now, what has to be copied, what may go, and why the rest stays.

What is due is made first, and waited for; then it is copied; only then is anything deleted. A deletion that leans on a
snapshot or a copy that is not completed in this run waits for a later one. Limits hold back deletions only.

Private to this collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import zip_longest
from typing import Any

from ..._domain.snapshot_sets import Slots, Unit, units_of
from ..._domain.succession import successor_queries
from ..._kernel import tags as tag_names
from ..._kernel.errors import StorageError, UnsafePlan, bounded, listed
from ..._kernel.ids import is_planned
from ..._kernel.plan import ANY_FAILURE, Feature, Plan, Stage, Wait
from ..._kernel.proofs import is_copy, source_of, taken_for
from ..._kernel.report import PlanReport
from ..._kernel.resources import Instance, Snapshot
from ..._kernel.state import Query, State, by_id, own_snapshots, tag_filters
from ..._kernel.times import age_text
from .accounts import Accounts
from .adoption import Adoption, belongs
from .capture import Capture, zone_of
from .copies import Copying
from .guards import Guards, last_of_their_volumes, others_of, queries
from .keeping import Keeping, Scene
from .late import Deletion, LateGuards
from .left_out import LeftOut
from .leftovers import Leftovers
from .lifecycle import (
    ARCHIVE_GUARDS,
    LISTED,
    Stock,
    UpkeepChanges,
    archive_candidates,
    released,
    upkeep_changes,
    upkeep_deferred,
    upkeep_queries,
    upkeep_told,
)
from .report import Decided, Report, plan_hash, recovery_points
from .sharing import Lending
from .spec import RotationSpec, parse
from .successors import Successors
from .unanswered import answering, copy_queries, joined, kept_for, planned_for, unanswered

PERCENT_FROM = 10
"""From so many deletions up ``max_delete_percent`` counts: of a few snapshots every one is a large part."""
_LISTS = {
    **LISTED,
    "CreateSnapshot": "created",
    "CreateSnapshots": "created",
    "CopySnapshot": "copied",
    "DeleteSnapshot": "deleted",
}
"""By action, the list of the result that names what it is done to."""
# EBS: one snapshot of a volume each 15 seconds or so. It is taken a moment later.
_TOO_SOON = frozenset({"SnapshotCreationPerVolumeRateExceeded"})


def plan(spec: RotationSpec, state: State, now: datetime) -> Plan:
    """Return the due captures and the deletions. `Plan.refused` is set if a limit or a guard withholds deletions.

    Raises SpecError where the selection matches nothing.

    The moment is that of the last answer. At a later one a slot could have begun or a span ended since, and the plan
    would delete snapshots of which no guard was asked.
    """
    state.require(*_first_queries(spec))
    state.require(*_second_queries(spec, state))
    rotation = _Rotation(spec, state, state.now or now)
    if not spec.captured:
        state.require(*rotation.questions())
    return rotation.plan()


def result(_spec: RotationSpec, state: State) -> dict[str, Any]:
    """Return the deferred changes. The planner knows all other results: see `Plan.report`."""
    return {"deferred": upkeep_deferred(state)}


# --- Questions --------------------------------------------------------------------------------------------------------


def _first_queries(spec: RotationSpec) -> tuple[Query, ...]:
    found = [own_snapshots({tag_names.POLICY: spec.policy})]
    if spec.adopt and not spec.captured:
        found.append(own_snapshots(spec.adopt))
    if spec.selects:
        found += by_id("DescribeVolumes", "volume-id", spec.volume_ids)
        found += by_id("DescribeInstances", "instance-id", spec.instance_ids)
        found += successor_queries(spec.instance_ids)
        found += by_id("DescribeVolumes", "attachment.instance-id", spec.instance_ids)
        if spec.select_tags:
            operation = "DescribeInstances" if spec.whole_instances else "DescribeVolumes"
            found.append(Query(operation, tag_filters(spec.select_tags)))
    found += copy_queries(spec)
    return tuple(dict.fromkeys(found))


def _second_queries(spec: RotationSpec, state: State) -> Iterator[Query]:
    """Yield the queries for the volumes of successors and of instances found by tags, and for the
    accounts of profiles.
    """
    yield from Accounts(spec, state).questions()
    if spec.instance_ids:
        yield from Successors(spec, state).questions()
    if spec.whole_instances and spec.select_tags:
        found = [item.instance_id for item in state.all(Instance) if item.instance_id not in spec.instance_ids]
        yield from by_id("DescribeVolumes", "attachment.instance-id", found)


# --- The whole --------------------------------------------------------------------------------------------------------


class _Rotation:
    """One policy at one moment, in its own region and wherever its copies go."""

    def __init__(self, spec: RotationSpec, state: State, now: datetime) -> None:
        self.successors = Successors(spec, state)
        spec = self.successors.spec
        self.spec, self.state, self.now = spec, state, now
        accounts = Accounts(spec, state)
        accounts.require_distinct()
        self.known = [item for item in state.all(Snapshot) if not item.place]
        self.managed = [item for item in self.known if self._is_managed(item)]
        self.slots = Slots(spec.every, zone_of(spec))
        self.guards = Guards(spec, state, now)
        # What another region's run has copied here, that run retains.
        here = [item for item in self.known if not _is_another_runs(item)]
        self.adoption = Adoption(spec, here, self.guards, state.region)
        self.capture = Capture(spec, state, self.managed, units_of(self.managed, now, self.slots), now)
        self.left_out = LeftOut(spec, state, captures=bool(self.capture.targets))
        self.leftovers = Leftovers(self.capture, self.known, self.successors.retired_volumes, accounts.all)
        self.home = Keeping(spec, spec.keep, self._scene(), self.guards, now)
        self.sources = self._sources()
        self.copyings = planned_for(self._copyings(), state)
        there = [copying.copy for copying in self.copyings]
        self.silent = [copy for copy in spec.copies if copy not in there]
        self.keepings = [self.home, *(self._keeping(copying) for copying in self.copyings)]
        self.stock = Stock(
            spec.policy,
            self.capture.units,
            self.home.scene.extra if spec.wait else (),
            frozenset(unit.key for unit in self.home.leaving),
            now,
            self.capture.zone,
            pending=() if spec.wait else self.home.scene.extra,
        )

    def _is_managed(self, snapshot: Snapshot) -> bool:
        if _is_another_runs(snapshot):
            return False
        if snapshot.tags.get(tag_names.POLICY) == self.spec.policy:
            return bool(taken_for(snapshot, self.spec.policy))
        return not self.spec.captured and belongs(self.spec, snapshot)

    def _scene(self) -> Scene:
        capture = self.capture
        failed = [unit for unit in capture.units if unit.state == "error" and capture.is_own(unit)]
        return Scene(
            self.state.region,
            capture.units,
            capture.expected,
            capture.awaited,
            failed=failed,
            second=capture.second,
            current=frozenset(unit.key for unit in capture.current.values()),
            known=self.known,
            waits=self.spec.wait,
        )

    def _sources(self) -> list[Unit]:
        """Return the sets to copy: all that take part in the rules here, with this run's tags."""
        if not self.spec.copies:
            return []
        tags = {change.resource: (change.after or {})["tags"] for change in self.capture.taggings(set())}
        there = [unit for unit in self.capture.units if unit.key not in self.home.excluded and not unit.archived]
        there += self.home.scene.extra if self.spec.wait else []
        return [
            replace(
                unit,
                snapshots=tuple(
                    replace(item, tags=tags[item.snapshot_id]) if item.snapshot_id in tags else item
                    for item in unit.snapshots
                ),
            )
            for unit in there
        ]

    def _copyings(self) -> Iterator[Copying]:
        """Yield the copies of each place that has told what is there."""
        names = self.capture.names
        for copy in answering(self.spec, self.state):
            yield Copying(
                self.spec, copy, self.state, self.sources, self.capture.units, self.slots, names, self.guards, self.now
            )

    def _keeping(self, copying: Copying) -> Keeping:
        return Keeping(self.spec, copying.copy.keep, copying.scene, self.guards, self.now)

    def questions(self) -> Iterator[Query]:
        """The guards' facts about the snapshots that no rule keeps, and what copies and lifecycle need to know."""
        spec = self.spec
        yield from self.leftovers.first_questions()
        for keeping in self.keepings:
            going = [snapshot for unit in keeping.leaving for snapshot in unit.good]
            if keeping is not self.home:
                yield from queries(spec, going, keeping.scene.place)
                continue
            yield from queries(spec, [*going, *archive_candidates(spec.upkeep, self.stock)])
            yield from others_of(set(last_of_their_volumes(going, self.known).values()))
            yield from self.leftovers.questions(keeping.leaving)
        for copying in self.copyings:
            yield from copying.questions()
        yield from upkeep_queries(spec.upkeep, self.stock)

    # --- the plan ---

    def plan(self) -> Plan:
        capture, spec = self.capture, self.spec
        if spec.captured:
            return self._captured()
        depending = kept_for(self.silent, self.sources)
        depending.update(pair for copying in self.copyings for pair in copying.depending(waits=copying.waits))
        unclaimed = self.adoption.waiting(capture.units)
        depending.update(unclaimed)
        upkeep = upkeep_changes(spec.upkeep, self.stock, self._not_to_archive(depending), self.state)
        decided = self._decided(depending, upkeep)
        held = decided[0].verdict.held
        delayed = [unit for unit in self.home.leaving if unit.key in unclaimed and held[unit.key].guard == "depends"]
        going = [unit for one in decided for unit in one.going]
        gone = {snapshot_id for unit in going for snapshot_id in unit.ids}
        taggings = capture.taggings(gone)
        # A set is tagged at once, the rest when it is there.
        of_sets = [change for change in taggings if is_planned(change.resource)]
        later = [change for change in taggings if not is_planned(change.resource)]
        later += [change for copying in self.copyings for change in copying.taggings(gone)]
        begun, rest = [], []
        for one in decided:
            # A copy that has failed holds nothing, and may fail again: it does not wait for what is copied now.
            early = [unit for unit in one.going if unit.state == "error" and one is not decided[0]]
            begun += one.keeping.deletions(early)
            rest += one.keeping.deletions([unit for unit in one.going if unit not in early], self._leaning(one))
        copying = [*upkeep.before_deletions, *self._copy_stages()]
        claims = self.adoption.claims
        everything = [*capture.creations, *claims, *of_sets, *later, *begun]
        everything += [change for stage in copying for change in stage.changes]
        everything += [*rest, *upkeep.archive]
        fingerprint = plan_hash(everything, capture.names)
        refused = self._refused(decided, fingerprint if everything else None)
        if refused is not None:
            begun, rest = [], []
        made = [change.resource for change in capture.creations]
        awaited = [snapshot_id for unit in capture.awaited for snapshot_id in unit.ids]
        waits = (Wait((*made, *awaited), "completed", final=True),) if made or awaited else ()
        late = self._late(decided)
        stages = [
            Stage((*capture.creations, *claims), patience=_TOO_SOON),
            Stage(tuple(of_sets)),
            Stage((*later, *begun), waits),
            *copying,
            Stage(tuple(rest), recheck=late),
            *upkeep.after_deletions,
        ]
        # Of what a limit holds back, nothing is deleted "although".
        reported = [text for one in decided for unit in one.going for text in one.verdict.warned[unit.key]]
        reported += self.leftovers.outside_warnings(decided[0].going)
        report = Report(self.spec, decided, withheld=refused is not None)
        return Plan(
            _filled(stages),
            warnings=(
                *self._capture_warnings(),
                *self.left_out.warnings(),
                *self.adoption.warnings(),
                *self.adoption.delayed(delayed),
                *self.leftovers.warnings(),
                *(text for copying in self.copyings for text in copying.warnings()),
                *self._doubts(),
                *upkeep.warnings,
                *(reported if refused is None else ()),
            ),
            report=PlanReport(
                result={
                    **report.told(everything, fingerprint),
                    **upkeep_told(upkeep, report.most),
                    "rpo": recovery_points(capture, self.copyings, self.now),
                    "kept_late": [],
                },
                unfinished={
                    "decisions": report.shown(),
                    "plan_hash": fingerprint,
                    "rpo": recovery_points(capture, self.copyings, self.now, as_is=True),
                    "kept_late": [],
                },
                listed=_LISTS,
                counted={"CopySnapshot": "copied"},
                adjust=late.adjusted,
                text=report.explained(),
                most_shown=report.most,
            ),
            refused=joined(refused, self.left_out.error(), unanswered(self.state)),
        )

    def _captured(self) -> Plan:
        """Return the plan of the captures alone, without waits, copies and deletions."""
        capture = self.capture
        taggings = capture.taggings(set())
        of_sets = [change for change in taggings if is_planned(change.resource)]
        stages = [Stage(tuple(capture.creations), patience=_TOO_SOON), Stage(tuple(of_sets))]
        report = Report(self.spec, [Decided(self.home, self.home.verdict({}), ())], withheld=False)
        told = report.told(capture.creations, plan_hash(capture.creations, capture.names))
        return Plan(
            _filled(stages),
            warnings=(*self._capture_warnings(), *self.left_out.warnings()),
            report=PlanReport({**told, "rpo": recovery_points(capture, (), self.now)}),
            refused=self.left_out.error(),
        )

    def _unproven_warnings(self) -> Iterator[str]:
        """Yield the snapshots that carry the policy's name and were not taken by it."""
        policy = self.spec.policy
        found = [
            f"{item.snapshot_id} (of {source_of(item) or 'an unknown volume'})"
            for item in sorted(self.known, key=lambda item: item.snapshot_id)
            if item.tags.get(tag_names.POLICY) == policy and not _is_another_runs(item) and not taken_for(item, policy)
        ]
        if found:
            yield (
                f"policy: the tag {tag_names.POLICY} names {policy} on {len(found)} snapshots that it did not take, "
                f"as their descriptions show. They do not count and are kept: {listed(found)}. Remove the tag, or "
                "remove it and adopt them (adopt.policies names the policy that took them)."
            )

    def _capture_warnings(self) -> Iterator[str]:
        yield from self._unproven_warnings()
        yield from self.capture.warnings()
        captured = {volume.volume_id for target in self.capture.targets for volume in target.volumes}
        yield from self.successors.warnings(captured)

    def _not_to_archive(self, depending: Mapping[str, str]) -> Callable[[Snapshot], str]:
        """Return a function that says why a snapshot must not be archived."""
        waiting = {
            item: depending[unit.key] for unit in self.capture.units if unit.key in depending for item in unit.ids
        }
        return lambda item: waiting.get(item.snapshot_id) or self.guards.reason(item, ARCHIVE_GUARDS)

    def _late(self, decided: Sequence[Decided]) -> LateGuards:
        """Return the queries to repeat for the guards after a wait."""
        deletions = [
            Deletion("" if one.keeping is self.home else one.keeping.scene.place, one.keeping.scene.place, unit, parts)
            for one in decided
            for unit in one.going
            if (parts := one.keeping.guarded(unit))
        ]
        return LateGuards(self.spec, deletions, self.now)

    def _leaning(self, decided: Decided) -> set[str]:
        """Return the keys of the units that would stay if nothing of what is begun were completed.

        The rest goes also when it is not in time, or fails.
        """
        keeping = decided.keeping
        pairs = (pair for copying in self.copyings for pair in copying.depending(waits=False))
        depending = dict(pairs) if keeping is self.home else {}
        if not depending and not keeping.scene.extra:
            return set()
        verdict = keeping.verdict(depending, self.guards, waits=False)
        return {unit.key for unit in decided.going if unit.key in verdict.held or unit.key in verdict.accused}

    def _decided(self, depending: Mapping[str, str], upkeep: UpkeepChanges) -> list[Decided]:
        """Return the decisions of all places. What this run unlocks, it may delete, and what its
        copies are newer than.
        """
        coming = [item for copying in self.copyings for item in copying.coming]
        guards = self.guards
        if upkeep.release or coming:
            guards = Guards(self.spec, released(self.state, upkeep), self.now, coming)
        found = []
        for keeping in self.keepings:
            verdict = keeping.verdict(depending if keeping is self.home else {}, guards)
            going = [unit for unit in keeping.leaving if unit.key not in verdict.held]
            found.append(Decided(keeping, verdict, going))
        return found

    # --- copies ---

    def _doubts(self) -> Iterator[str]:
        """Yield the copies that stay because nothing proves when they were taken."""
        for copying, keeping in zip(self.copyings, self.keepings[1:], strict=True):
            yield from copying.doubts(keeping.excluded)

    def _copy_stages(self) -> list[Stage]:
        """Originals are shared, copied everywhere side by side, and no longer shared once nothing needs it."""
        unknown = any(copy.profile for copy in self.silent)
        lending = Lending(self.managed, self.copyings, self.state.region, unknown=unknown)
        side_by_side = zip_longest(*(copying.stages() for copying in self.copyings), fillvalue=Stage())
        copied = [
            Stage(
                tuple(change for stage in together for change in stage.changes),
                tuple(wait for stage in together for wait in stage.waits),
                patience=frozenset(code for stage in together for code in stage.patience),
            )
            for together in side_by_side
        ]
        record, share = lending.before()
        back = lending.after_failure() if share.changes else ()
        stages = [share, *copied]
        if back:
            stages = [replace(stage, on_failure=back, rollback_on=ANY_FAILURE) for stage in stages]
        return [record, *stages, *lending.after()]

    # --- limits ---

    def _refused(self, decided: Sequence[Decided], fingerprint: str | None) -> StorageError | None:
        """Return the error for deletions that limits or failing guards hold back, or None.

        They count over all places. *fingerprint*: the plan's hash, None for a plan without changes.
        """
        number = sum(len(unit.good) for one in decided for unit in one.going)  # what has failed is no loss
        broken = bounded(text for one in decided for text in one.verdict.failing)
        broken += bounded(text for copying in self.copyings for text in copying.refusals())
        limits = []
        if number > self.spec.max_delete:
            limits.append("max_delete")
            broken.append(f"max_delete is {self.spec.max_delete}, and {number} snapshots would be deleted")
        units = [unit for keeping in self.keepings for unit in keeping.scene.units]
        completed = sum(len(unit.snapshots) for unit in units if unit.state == "completed")
        if number >= PERCENT_FROM and number * 100 > completed * self.spec.max_delete_percent:
            limits.append("max_delete_percent")
            broken.append(
                f"max_delete_percent is {self.spec.max_delete_percent}, and {number} of {completed} completed "
                "snapshots would be deleted"
            )
        if self.spec.min_keep > 1:
            broken += bounded(self._below_minimum(decided[0].going))
        expected = self.spec.expected_plan
        if expected is not None and fingerprint not in (None, expected):
            broken.append(f"expected_plan is {expected}, and this plan is {fingerprint}")
        if not broken:
            return None
        due = self.capture.creations or any(copying.beginning for copying in self.copyings)
        done = " The due snapshots are taken all the same." if due else ""
        approve = f" Review the deletions with --check --diff. {_approval(limits)}" if limits else ""
        return UnsafePlan(f"Nothing is deleted: {'; '.join(broken)}.{done}{approve}")

    def _below_minimum(self, going: Sequence[Unit]) -> list[str]:
        """Return the groups of which this region would be left with too few. What copies leave, their own rules say."""
        scene = self.home.scene
        there = Counter(unit.group for unit in scene.units if unit.state == "completed")
        there.update(unit.group for unit in (scene.extra if scene.waits else ()))
        leaving = Counter(unit.group for unit in going if unit.state not in ("error", "incomplete"))
        return [
            f"min_keep is {self.spec.min_keep}, and of {group} {there[group] - count} would be left"
            for group, count in sorted(leaving.items())
            if there[group] - count < self.spec.min_keep
        ]


def _is_another_runs(snapshot: Snapshot) -> bool:
    """Return whether another region's run has copied it here, and retains it."""
    return is_copy(snapshot) and tag_names.COPY_OF in snapshot.tags


def _approval(limits: Sequence[str]) -> str:
    """Return how a person can approve the deletions that these limits hold back."""
    return f"To approve them, raise {' and '.join(limits)} and set expected_plan to the plan_hash of that check."


def _filled(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    return tuple(stage for stage in stages if stage.changes or stage.waits)


def headline(spec: RotationSpec, result: Mapping[str, Any]) -> str:
    """Return how many snapshots are kept, and how old the recovery point of the worst off volume or instance is.

    A capture that has taken snapshots says no more than that: their retention comes after it.
    """
    if spec.captured and result["created"]:
        return ""
    points = result.get("rpo") or ()
    ages = [point["age"] for point in points if point["age"] is not None]
    kept = [f"{result['counts']['kept']} kept"] if "counts" in result else []
    if len(ages) < len(points):
        kept.append(f"{len(points) - len(ages)} without a recovery point")
    if ages:
        kept.append(f"{'newest' if len(points) == 1 else 'oldest'} recovery point {age_text(max(ages))} old")
    return "; ".join(kept)


FEATURE = Feature(parse=parse, plan=plan, result=result, headline=headline)
