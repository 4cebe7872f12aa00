# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a policy: the due captures and copies, the deletions, and the reasons of the kept snapshots.

The run takes the due snapshots and waits for them. Then it copies them. Only then does it delete snapshots. If a
deletion depends on a snapshot or a copy that is not completed in this run, a later run makes it. Limits withhold only
deletions.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import zip_longest
from typing import Any

from ..._domain.accounts import Accounts
from ..._domain.approval import plan_hash
from ..._domain.snapshot_sets import Slots, SnapshotSet, snapshot_sets_of
from ..._domain.succession import successor_queries
from ..._kernel import tags as tag_names
from ..._kernel.ids import is_planned
from ..._kernel.places import HERE, Place
from ..._kernel.plan import ANY_FAILURE, Change, Feature, Plan, Stage, Wait, apart
from ..._kernel.proofs import taken_for
from ..._kernel.report import PlanReport
from ..._kernel.resources import Instance, Snapshot
from ..._kernel.state import Query, State, by_id, own_snapshots, tag_filters
from .adoption import Adoption, belongs, is_another_runs, unproven_warnings
from .capture import Capture, zone_of
from .copied import Copied
from .copies import Copying
from .guards import Guards, last_of_their_volumes, others_of, queries
from .headline import headline
from .keeping import Keeping, Scene
from .late import Deletion, LateGuards
from .left_out import LeftOut
from .leftovers import Leftovers
from .lifecycle import (
    ARCHIVE_GUARDS,
    LISTED,
    LifecycleChanges,
    archive_candidates,
    lifecycle_changes,
    lifecycle_queries,
    released,
)
from .lifecycle_result import lifecycle_deferred, lifecycle_result
from .limits import refusal
from .order import completed_before
from .report import Decided, Report, recovery_points
from .sharing import Sharing
from .spec import RotationSpec, parse
from .stock import Stock
from .successors import Successors
from .unanswered import answering, copy_queries, impossible, joined, kept_for, planned_for, unanswered

_LISTS = {
    **LISTED,
    "CreateSnapshot": "created",
    "CreateSnapshots": "created",
    "CopySnapshot": "copied",
    "DeleteSnapshot": "deleted",
}
"""By action, the list of the result that has the ids of its snapshots."""
# EBS takes about one snapshot of a volume every 15 seconds. The run repeats the call a moment later.
_TOO_SOON = frozenset({"SnapshotCreationPerVolumeRateExceeded"})


def plan(spec: RotationSpec, state: State, now: datetime) -> Plan:
    """Return the due captures and the deletions. `Plan.refused` is set if a limit or a guard withholds deletions.

    Raises SpecError if the selection matches no item.

    All rounds of a plan decide for the moment of the first one that shows all snapshots. At a later moment a slot could
    have begun or a span ended, and the plan would delete snapshots that no guard has checked.
    """
    state.require(*_first_queries(spec))
    state.require(*_second_queries(spec, state))
    rotation = _Rotation(spec, state, state.drafts.once("moment", (), lambda: state.now or now))
    if not spec.captured:
        state.require(*rotation.questions())
    return rotation.plan()


def result(_spec: RotationSpec, state: State) -> dict[str, Any]:
    """Return the deferred changes. The plan has all other results: see `Plan.report`."""
    return {"deferred": lifecycle_deferred(state)}


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
    yield from Accounts(spec.copies, state).questions()
    if spec.instance_ids:
        yield from Successors(spec, state).questions()
    if spec.whole_instances and spec.select_tags:
        found = [item.instance_id for item in state.all(Instance) if item.instance_id not in spec.instance_ids]
        yield from by_id("DescribeVolumes", "attachment.instance-id", found)


# --- The whole --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Steps:
    """The changes of a rotation by their place in the plan. ``set_tags``: tags on parts of a set, right after its
    capture.

    ``early_deletions``: deletions of failed copies, on which no change depends.
    """

    captures: tuple[Change, ...]
    set_tags: tuple[Change, ...]
    tags: tuple[Change, ...]
    early_deletions: tuple[Change, ...]
    copies: tuple[Stage, ...]
    deletions: tuple[Change, ...]
    archive: tuple[Change, ...]

    def all(self) -> list[Change]:
        """Return all changes, in the order of the plan's hash."""
        copies = (change for stage in self.copies for change in stage.changes)
        made = (*self.captures, *self.set_tags, *self.tags, *self.early_deletions, *copies)
        return [*made, *self.deletions, *self.archive]

    def without_deletions(self) -> _Steps:
        """Return the steps of a run whose deletions a limit or a guard withholds."""
        return replace(self, early_deletions=(), deletions=())


class _Rotation:
    """One policy at one moment, in its own region and in the places of its copies."""

    def __init__(self, spec: RotationSpec, state: State, now: datetime) -> None:
        self.successors = Successors(spec, state)
        spec = self.successors.spec
        self.spec, self.state, self.now = spec, state, now
        accounts = Accounts(spec.copies, state)
        accounts.require_distinct()
        self.known = [item for item in state.all(Snapshot) if not item.place]
        self.managed = state.drafts.once("managed", (self.known,), lambda: [*filter(self._is_managed, self.known)])
        self.slots = Slots(spec.every, zone_of(spec))
        self.guards = Guards(spec, state, now)
        # Another region's run retains the snapshots that it has copied here.
        here = [item for item in self.known if not is_another_runs(item)]
        self.adoption = Adoption(spec, here, self.guards, state.region)
        self.capture = Capture(spec, state, self.managed, self._sets(), now)
        self.left_out = LeftOut(spec, state, captures=bool(self.capture.targets))
        self.leftovers = Leftovers(self.capture, self.known, self.successors.retired_volumes, accounts.all)
        self.home = Keeping(spec, spec.keep, self._scene(), self.guards, now, state.drafts)
        self.sources = self._sources()
        self.copyings = planned_for(self._copyings(), state)
        there = [copying.copy for copying in self.copyings]
        self.silent = [copy for copy in spec.copies if copy not in there]
        self.keepings = [self.home, *(self._keeping(copying) for copying in self.copyings)]
        self.stock = Stock(
            spec.policy,
            self.capture.sets,
            self.home.scene.extra if spec.wait else (),
            frozenset(a_set.key for a_set in self.home.leaving),
            now,
            self.capture.zone,
            pending=() if spec.wait else self.home.scene.extra,
        )

    def _is_managed(self, snapshot: Snapshot) -> bool:
        if is_another_runs(snapshot):
            return False
        if snapshot.tags.get(tag_names.POLICY) == self.spec.policy:
            return bool(taken_for(snapshot, self.spec.policy))
        return not self.spec.captured and belongs(self.spec, snapshot)

    def _sets(self) -> list[SnapshotSet]:
        dated = all(item.start_time is not None for item in self.managed)
        return self.state.drafts.once(
            "sets",
            (self.managed, None if dated else self.now),
            lambda: snapshot_sets_of(self.managed, self.now, self.slots),
        )

    def _scene(self) -> Scene:
        capture = self.capture
        failed = [a_set for a_set in capture.sets if a_set.state == "error" and capture.is_own(a_set)]
        return Scene(
            Place(self.state.region),
            capture.sets,
            capture.expected,
            capture.awaited,
            failed=failed,
            second=capture.second,
            current=frozenset(a_set.key for a_set in capture.current.values()),
            known=self.known,
            waits=self.spec.wait,
        )

    def _sources(self) -> list[SnapshotSet]:
        """Return the sets to copy, with this run's tags: all sets of this region that take part in the rules."""
        if not self.spec.copies:
            return []
        tags = {change.resource: (change.after or {})["tags"] for change in self.capture.taggings(set())}
        there = [a_set for a_set in self.capture.sets if a_set.key not in self.home.excluded and not a_set.archived]
        there += self.home.scene.extra if self.spec.wait else []
        return [
            replace(
                a_set,
                snapshots=tuple(
                    replace(item, tags=tags[item.snapshot_id]) if item.snapshot_id in tags else item
                    for item in a_set.snapshots
                ),
            )
            for a_set in there
        ]

    def _copyings(self) -> Iterator[Copying]:
        """Yield the copies of each place that has answered."""
        names = self.capture.names
        for copy in answering(self.spec, self.state):
            there = Copied(self.spec, copy, self.state, self.sources, self.capture.sets, self.slots, self.now)
            yield Copying(there, names, self.guards)

    def _keeping(self, copying: Copying) -> Keeping:
        return Keeping(self.spec, copying.copy.keep, copying.scene, self.guards, self.now, self.state.drafts)

    def questions(self) -> Iterator[Query]:
        """Yield the queries of the guards about the snapshots that no rule keeps, and those of copies and lifecycle."""
        spec = self.spec
        yield from self.leftovers.first_questions()
        for keeping in self.keepings:
            going = [snapshot for a_set in keeping.leaving for snapshot in a_set.good]
            if keeping is not self.home:
                yield from queries(spec, going, keeping.scene.place)
                continue
            yield from queries(spec, [*going, *archive_candidates(spec.lifecycle, self.stock)])
            yield from others_of(set(last_of_their_volumes(going, self.known).values()))
            yield from self.leftovers.questions(keeping.leaving)
        for copying in self.copyings:
            yield from copying.questions()
        yield from lifecycle_queries(spec.lifecycle, self.stock)

    # --- the plan ---

    def plan(self) -> Plan:
        """Return the captures and copies, then the deletions that the rules decide and no guard withholds."""
        if self.spec.captured:
            return self._captured()
        depending = self._depending()
        lifecycle = lifecycle_changes(self.spec.lifecycle, self.stock, self._not_to_archive(depending), self.state)
        decided = self._decided(depending, lifecycle)
        steps = self._steps(decided, lifecycle)
        everything = steps.all()
        fingerprint = plan_hash(everything, self.capture.names)
        due = bool(self.capture.creations) or any(copying.beginning for copying in self.copyings)
        refused = refusal(self.spec, decided, self.keepings, due=due, fingerprint=fingerprint if everything else None)
        late = self._late(decided)
        report = Report(self.spec, decided, withheld=refused is not None)
        return Plan(
            _filled(self._stages(steps if refused is None else steps.without_deletions(), lifecycle, late)),
            warnings=(
                *self._capture_warnings(),
                *self.left_out.warnings(),
                *self.adoption.warnings(),
                *self.leftovers.warnings(),
                *(text for copying in self.copyings for text in copying.warnings()),
                *self._doubts(),
                *lifecycle.warnings,
                # While a limit withholds the deletions, no warning says that a snapshot is deleted although a guard
                # would keep it.
                *(self._deletion_warnings(decided) if refused is None else ()),
            ),
            report=self._report(report, lifecycle, everything, fingerprint, late),
            refused=joined(refused, self.left_out.error(), impossible(self.copyings), unanswered(self.state)),
        )

    def _depending(self) -> dict[str, str]:
        """Return, by set's key, why the set must not be deleted yet, since a copy of it is unfinished or an answer is
        missing.
        """
        depending = {**self.leftovers.unclear(self.home.leaving), **kept_for(self.silent, self.sources)}
        depending.update(pair for copying in self.copyings for pair in copying.depending(waits=copying.waits))
        return depending

    def _steps(self, decided: Sequence[Decided], lifecycle: LifecycleChanges) -> _Steps:
        gone = {snapshot_id for one in decided for a_set in one.going for snapshot_id in a_set.ids}
        taggings = self.capture.taggings(gone)
        later = [change for change in taggings if not is_planned(change.resource)]
        later += [change for copying in self.copyings for change in copying.taggings(gone)]
        early, rest = [], []
        for one in decided:
            # A failed copy has no data, and its repetition may fail too. So its deletion does not wait for the copies.
            failed = [a_set for a_set in one.going if a_set.state == "error" and one is not decided[0]]
            early += one.keeping.deletions(failed)
            rest += one.keeping.deletions(
                [a_set for a_set in one.going if a_set not in failed], self._completed_before(one)
            )
        return _Steps(
            captures=(*self.capture.creations, *self.adoption.claims),
            set_tags=tuple(change for change in taggings if is_planned(change.resource)),
            tags=tuple(later),
            early_deletions=tuple(early),
            copies=(*lifecycle.before_deletions, *self._copy_stages()),
            deletions=tuple(rest),
            archive=tuple(lifecycle.archive),
        )

    def _stages(self, steps: _Steps, lifecycle: LifecycleChanges, late: LateGuards) -> list[Stage]:
        """Return the stages in their order: captures, tags and early deletions, copies, deletions, archive."""
        made = [change.resource for change in self.capture.creations]
        awaited = [snapshot_id for a_set in self.capture.awaited for snapshot_id in a_set.ids]
        waits = (Wait((*made, *awaited), "completed", final=True),) if made or awaited else ()
        return [
            Stage(steps.captures, patience=_TOO_SOON),
            Stage(steps.set_tags),
            Stage((*steps.tags, *steps.early_deletions), waits),
            *steps.copies,
            Stage(steps.deletions, recheck=late),
            *lifecycle.after_deletions,
        ]

    def _deletion_warnings(self, decided: Sequence[Decided]) -> list[str]:
        found = [text for one in decided for a_set in one.going for text in one.verdict.warned[a_set.key]]
        return [*found, *self.leftovers.outside_warnings(decided[0].going)]

    def _report(
        self,
        report: Report,
        lifecycle: LifecycleChanges,
        everything: Sequence[Change],
        fingerprint: str,
        late: LateGuards,
    ) -> PlanReport:
        return PlanReport(
            result={
                **report.result(everything, fingerprint),
                **lifecycle_result(lifecycle, report.most),
                "rpo": recovery_points(self.capture, self.copyings, self.now),
                "kept_late": [],
            },
            unfinished={
                "decisions": report.shown(),
                "plan_hash": fingerprint,
                "rpo": recovery_points(self.capture, self.copyings, self.now, as_is=True),
                "kept_late": [],
            },
            listed=_LISTS,
            counted={"CopySnapshot": "copied"},
            adjust=late.adjusted,
            text=report.explained(),
            most_shown=report.most,
        )

    def _captured(self) -> Plan:
        """Return the plan of the captures alone, without waits, copies and deletions."""
        capture = self.capture
        taggings = capture.taggings(set())
        of_sets = [change for change in taggings if is_planned(change.resource)]
        stages = [
            Stage(tuple(capture.creations), patience=_TOO_SOON),
            Stage(tuple(of_sets)),
        ]
        report = Report(self.spec, [Decided(self.home, self.home.verdict({}), ())], withheld=False)
        result = report.result(capture.creations, plan_hash(capture.creations, capture.names))
        return Plan(
            _filled(stages),
            warnings=(*self._capture_warnings(), *self.left_out.warnings()),
            report=PlanReport({**result, "rpo": recovery_points(capture, (), self.now)}),
            refused=self.left_out.error(),
        )

    def _capture_warnings(self) -> Iterator[str]:
        yield from unproven_warnings(self.spec.policy, self.known, self.managed)
        yield from self.capture.warnings()
        captured = {volume.volume_id for target in self.capture.targets for volume in target.volumes}
        yield from self.successors.warnings(captured)

    def _not_to_archive(self, depending: Mapping[str, str]) -> Callable[[Snapshot], str]:
        """Return a function that returns why a snapshot must not be archived."""
        waiting = {
            item: depending[a_set.key] for a_set in self.capture.sets if a_set.key in depending for item in a_set.ids
        }
        return lambda item: waiting.get(item.snapshot_id) or self.guards.reason(item, ARCHIVE_GUARDS)

    def _late(self, decided: Sequence[Decided]) -> LateGuards:
        """Return the queries of the guards that the run repeats after a wait."""
        deletions = [
            Deletion(
                HERE if one.keeping is self.home else one.keeping.scene.place, one.keeping.scene.place, a_set, parts
            )
            for one in decided
            for place in [one.keeping.scene.place]
            for a_set in one.going
            if (parts := one.keeping.guarded(a_set))
        ]
        return LateGuards(self.spec, deletions, self.now)

    def _completed_before(self, decided: Decided) -> dict[str, tuple[str, ...]]:
        """Return, by set, the unfinished snapshots that its deletion depends on. Copies do not have copies."""
        if decided.keeping is self.home:
            claimed = frozenset(change.resource for change in self.adoption.claims)
            return completed_before(decided, self.guards, self.copyings, self.spec.min_keep, claimed)
        return completed_before(decided, self.guards, (), 0, ())

    def _decided(self, depending: Mapping[str, str], lifecycle: LifecycleChanges) -> list[Decided]:
        """Return the decisions of all places. The guards use the facts after this run's unlocks and copies.

        So a snapshot that this run unlocks, or that one of its copies replaces, may be deleted.
        """
        coming = [item for copying in self.copyings for item in copying.coming]
        guards = self.guards
        if lifecycle.release or coming:
            guards = Guards(self.spec, released(self.state, lifecycle), self.now, coming)
        found = []
        for keeping in self.keepings:
            verdict = keeping.verdict(depending if keeping is self.home else {}, guards)
            going = [a_set for a_set in keeping.leaving if a_set.key not in verdict.held]
            found.append(Decided(keeping, verdict, going))
        return found

    # --- copies ---

    def _doubts(self) -> Iterator[str]:
        """Yield the warnings about copies that are kept because their time is not proven."""
        for copying, keeping in zip(self.copyings, self.keepings[1:], strict=True):
            yield from copying.doubts(keeping.excluded)

    def _copy_stages(self) -> list[Stage]:
        """Return the stages that share originals, copy them to all places in parallel, and unshare those that are
        finished.
        """
        unknown = any(copy.profile for copy in self.silent)
        sharing = Sharing(self.managed, self.copyings, self.state.region, unknown=unknown)
        side_by_side = zip_longest(*(copying.stages() for copying in self.copyings), fillvalue=Stage())
        copied = [
            Stage(
                tuple(change for stage in together for change in stage.changes),
                tuple(wait for stage in together for wait in stage.waits),
                patience=frozenset(code for stage in together for code in stage.patience),
            )
            for together in side_by_side
        ]
        record, share = sharing.before()
        back = sharing.after_failure() if share.changes else ()
        stages = [share, *copied]
        if back:
            stages = [
                replace(stage, on_failure=back, rollback_on=ANY_FAILURE, transaction="sharing") for stage in stages
            ]
        return [record, *stages, *sharing.after()]

    # --- limits ---


def _filled(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """Return the stages that have changes. Each change waits only for its own dependencies."""
    return apart(stage for stage in stages if stage.changes or stage.waits)


FEATURE = Feature(parse=parse, plan=plan, result=result, headline=headline, estimates=True)
