# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a rotation of images: the action on the versions that no rule and no guard keeps, in each place.

Each place has rules of its own. A place or a guard without an answer keeps its images, and the task fails once all
other changes are made.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ..._domain.accounts import Accounts
from ..._domain.approval import plan_hash
from ..._kernel import tags as tag_names
from ..._kernel.display import counted
from ..._kernel.errors import Incomplete, SpecError, StorageError, UnsafePlan, bounded, listed
from ..._kernel.places import Place
from ..._kernel.plan import Change, Feature, Plan, Stage, apart
from ..._kernel.report import PlanReport
from ..._kernel.resources import Image
from ..._kernel.state import Query, State, together
from ..._kernel.times import format_moment
from .guards import REPORTED_TYPES, Guards, Held
from .late import LateGuards
from .predecessors import Predecessors
from .report import Decided, Report
from .spec import Action, CopySpec, RotationSpec, parse
from .versions import Line, is_made_for, line_queries, soon


def plan(spec: RotationSpec, state: State, now: datetime) -> Plan:
    """Return the action on the images that nothing keeps. `Plan.refused` is set if a limit or a guard withholds it.

    Raises SpecError for a place of copies that is the place of the originals.
    """
    accounts = Accounts(spec.copies, state, "the images")
    state.require(*_first_queries(spec), *accounts.questions())
    for number, copy in enumerate(spec.copies):
        unknown = accounts.unknown(copy)
        if unknown and not _is_silent(spec, state, copy):
            raise SpecError(f"copies[{number}].profile: {unknown}.")
    accounts.require_distinct()
    return _Rotation(spec, state, now).plan()


def _first_queries(spec: RotationSpec) -> Iterator[Query]:
    yield from line_queries(spec, adopts=True)
    for copy in spec.copies:
        yield from _copy_queries(spec, copy)


def _copy_queries(spec: RotationSpec, copy: CopySpec) -> Iterator[Query]:
    return (replace(one, place=copy.place, optional=True) for one in line_queries(spec, adopts=False))


def _is_silent(spec: RotationSpec, state: State, copy: CopySpec) -> bool:
    """Return whether AWS has not answered all queries of a place."""
    return any(one in state.unanswered for one in _copy_queries(spec, copy))


class _Rotation:
    """The images of one name at one moment, in the task's own region and in the places of copies."""

    def __init__(self, spec: RotationSpec, state: State, now: datetime) -> None:
        self.spec, self.state, self.now = spec, state, now
        self.home = Line(spec, spec.keep, state.here(), Place(state.region), now, state.region)
        originals = frozenset(image.image_id for image in self.home.made)
        self.silent = [copy for copy in spec.copies if _is_silent(spec, state, copy)]
        self.lines = [
            self.home,
            *(
                Line(spec, copy.keep, state.at(copy.place), copy.place, now, state.region, originals)
                for copy in spec.copies
                if copy not in self.silent
            ),
        ]
        pending = {source: line.place.text for line in self.lines for source in line.sources_in_use() if source}
        self.predecessors = Predecessors(self.home)
        together(
            *(_asking(line.state, line.leftover_queries) for line in self.lines),
            _asking(self.home.state, self.predecessors.owner_questions),
        )
        self.home.state.require(*self.predecessors.first_questions())
        self.home.state.require(*self.predecessors.questions())
        silent = [copy.where for copy in self.silent]
        retiring = [old.instance_id for old in self.predecessors.going]
        self.guards = [Guards(line, pending, silent, retiring) for line in self.lines]

    def plan(self) -> Plan:
        """Return the plan. The guards' queries of all places are asked in one round."""
        together(*(_asking(one.state, one.questions) for one in self.guards))
        verdicts = [_Verdict(one) for one in self.guards]
        decided = [one.decided for one in verdicts]
        claims, warnings = self.home.claims()
        reports = [change for one in self.guards for change in _report_requests(one, decided)]
        retirement = self.predecessors.stages({name for one in decided for some in one.parts.values() for name in some})
        ends = [change for stage in retirement for change in stage.changes]
        actions = [self._after_retirement(change) for one in verdicts for change in one.changes()]
        fingerprint = plan_hash([*claims, *reports, *ends, *actions], {})
        refused = self._refusal(verdicts, fingerprint if actions or ends else None)
        report = Report(self.spec, decided, withheld=refused is not None)
        stages = [Stage(tuple(claims)), Stage(tuple(reports))]
        late = LateGuards(self.guards, [one.decided for one in verdicts], self.state)
        stages += [] if refused else [*retirement, *_in_order(actions, late)]
        told = [text for one in verdicts for text in one.warnings()] if refused is None else []
        return Plan(
            apart(stage for stage in stages if stage.changes or stage.waits),
            (*warnings, *(text for line in self.lines for text in line.warnings()), *told),
            PlanReport(
                result={**report.result(fingerprint), **self._retired(withheld=refused is not None)},
                unfinished={"decisions": report.shown(), "plan_hash": fingerprint},
                listed={**{action.operation: action.deed for action in Action}, "TerminateInstances": "terminated"},
                text=report.explained(),
                adjust=late.adjusted,
                most_shown=report.most,
            ),
            refused=_joined(refused, self._unanswered()),
        )

    def _after_retirement(self, change: Change) -> Change:
        """Return the action on an image, after the end of the predecessors that were launched from it."""
        users = [old.instance_id for old in self.predecessors.going if old.image_id == change.resource]
        return replace(change, after_steps=(*change.after_steps, *users))

    def _retired(self, *, withheld: bool) -> dict[str, Any]:
        going = [old.instance_id for old in self.predecessors.going]
        return {"terminated": [] if withheld else going, "predecessors": self.predecessors.result()}

    def _refusal(self, verdicts: Sequence[_Verdict], fingerprint: str | None) -> UnsafePlan | None:
        """Return the error for actions that a limit or a guard in the mode ``fail`` withholds, or None.

        *fingerprint*: the hash of the plan, None without an action.
        """
        number = sum(len(one.decided.going) for one in verdicts)
        ends = len(self.predecessors.going)
        broken = bounded(text for one in verdicts for text in one.failing)
        remedy = ""
        if number + ends > self.spec.max_delete:
            also = f" and {counted(ends, 'predecessor')} terminated" if ends else ""
            text = f"{counted(number, 'image')} would be {self.spec.action.deed}{also}"
            broken.append(f"max_delete is {self.spec.max_delete}, and {text}")
            remedy = (
                " Review the plan with --check --diff. To approve it, raise max_delete and set expected_plan to the "
                "plan_hash of that check."
            )
        expected = self.spec.expected_plan
        if expected is not None and fingerprint not in (None, expected):
            broken.append(f"expected_plan is {expected}, and this plan is {fingerprint}")
        if not broken:
            return None
        kept = f"No image is {self.spec.action.deed}" + (" and no predecessor terminated" if ends else "")
        return UnsafePlan(f"{kept}: {'; '.join(broken)}.{remedy}")

    def _unanswered(self) -> StorageError | None:
        """Return the failure of the task for places and guards without an answer, or None."""
        places = [error for query, error in self.state.unanswered.items() if self._is_of_silent_place(query)]
        guards = (one for some in self.guards for one in some.refusals)
        causes = {str(error): error for error in (*places, *guards, *self.predecessors.refusals)}
        if not causes:
            return None
        return Incomplete(
            f"{' '.join(causes)} The task keeps the images that depend on the answer, and has decided on all others.",
            *causes.values(),
        )

    def _is_of_silent_place(self, query: Query) -> bool:
        return any(query in _copy_queries(self.spec, copy) for copy in self.silent)


def _in_order(actions: Sequence[Change], late: LateGuards) -> Iterator[Stage]:
    """Yield the stages of the actions, so that each image comes after those that share its snapshots."""
    left, known = list(actions), {change.resource for change in actions}
    while left:
        waiting = {change.resource for change in left}
        now = [change for change in left if waiting.isdisjoint(set(change.after_steps) & known)]
        yield Stage(tuple(now), recheck=late)
        done = {change.resource for change in now}
        left = [change for change in left if change.resource not in done]


def _asking(state: State, questions: Callable[[], Iterable[Query]]) -> Callable[[], None]:
    """Return a function that requires the answers to these questions in the place of *state*."""
    return lambda: state.require(*questions())


class _Verdict:
    """The guards' verdict about the images of one place that no rule keeps."""

    def __init__(self, guards: Guards) -> None:
        self.guards, self.line, self.spec = guards, guards.line, guards.spec
        held = {}
        for image in self.line.leaving:
            why = self._hold(image)
            if why is not None:
                held[image.image_id] = why
        failing = {image.image_id: one for image in self.line.leaving for one in guards.stops(image, "fail")}
        self.failing = [f"{name} ({one.guard}: {one.reason})" for name, one in failing.items() if name not in held]
        held = {**failing, **held}
        self._users: dict[str, list[Image]] = {}
        for image in self.line.members:
            for name in image.snapshot_ids:
                self._users.setdefault(name, []).append(image)
        going = [image for image in self.line.leaving if image.image_id not in held]
        self._gone = {image.image_id for image in going}
        # By going image, how late it goes: an image goes after those that only use a snapshot that was made for it.
        self._rank = {image.image_id: (self._lent(image), number) for number, image in enumerate(going)}
        self.decided = Decided(self.line, held, going, {image.image_id: self._parts(image)[0] for image in going})

    def _hold(self, image: Image) -> Held | None:
        if self.line.cannot_be_claimed(image):
            return Held("depends", f"it has no room for the tag {tag_names.ADOPTED_BY}")
        for held in self.guards.stops(image, "keep"):
            return held
        unread = self.guards.unread(image) if self.spec.action is Action.DEREGISTER else ""
        if unread:
            return Held("depends", unread)
        launched = self.guards.launched(image)
        return Held("unused_for", launched) if launched else None

    def _parts(self, image: Image) -> tuple[tuple[str, ...], str]:
        """Return the snapshots that EC2 deletes with the image, and the reason why it deletes none.

        EC2 deletes all snapshots of an image that no other image uses, or none. So a snapshot that was not made for the
        image, nor for another one of the task that uses it, keeps all of them.
        """
        if self.spec.action is not Action.DEREGISTER or not image.snapshot_ids:
            return (), ""
        known = {part.snapshot_id: part for part in self.line.parts_of(image)}
        foreign = [
            name
            for name in image.snapshot_ids
            if name not in known or not any(is_made_for(self.spec.name, one, known[name]) for one in self._users[name])
        ]
        if foreign:
            return (), f"no fact of EC2 shows that {listed(foreign)} was made for it"
        used = self.guards.users_of_parts(image, self._gone)
        return tuple(name for name in dict.fromkeys(image.snapshot_ids) if name not in used), ""

    def changes(self) -> Iterator[Change]:
        """Yield the action on each image."""
        for image in self.decided.going:
            if self.spec.action is Action.DEPRECATE:
                yield self._deprecation(image)
            elif self.spec.action is Action.DISABLE:
                yield self._change(image, {}, "disable: no rule keeps it", {"state": "disabled"})
            else:
                yield replace(self._deregistration(image), after_steps=self._goes_after(image))

    def _lent(self, image: Image) -> int:
        """Return the number of snapshots that were made for the image, and that other images use too."""
        lent = (part for part in self.line.parts_of(image) if len(self._users[part.snapshot_id]) > 1)
        return sum(is_made_for(self.spec.name, image, part) for part in lent)

    def _goes_after(self, image: Image) -> tuple[str, ...]:
        """Return the other images of the run that use the same snapshots, if this is the last of them.

        EC2 deletes a snapshot with its last image, and would skip it if all calls were made at once. A refused image
        only holds back the last one, and a later run still finds the image that the snapshot was made for.
        """
        others: dict[str, None] = {}
        for name in self.decided.parts[image.image_id]:
            users = dict.fromkeys(one.image_id for one in self._users[name])
            if image.image_id == max(users, key=self._rank.__getitem__):
                others |= users
        others.pop(image.image_id, None)
        return tuple(others)

    def _change(
        self, image: Image, parameters: Mapping[str, Any], reason: str, after: Mapping[str, Any] | None
    ) -> Change:
        before = {"name": image.name, "state": image.state}
        operation, region = self.spec.action.operation, self.line.state.region
        disruptive = self.spec.action is not Action.DEPRECATE
        return Change(operation, image.image_id, region, parameters, reason, before, after, disruptive=disruptive)

    def _deprecation(self, image: Image) -> Change:
        at = soon(self.line.now)
        have = image.facts.get("DeprecationTime")
        change = self._change(
            image,
            {"DeprecateAt": at},
            "deprecate: no rule keeps it",
            {"attributes": {"DeprecationTime": format_moment(at)}},
        )
        return replace(change, before={"attributes": {"DeprecationTime": have}})

    def _deregistration(self, image: Image) -> Change:
        parts, kept = self._parts(image)
        if not parts:
            return self._change(
                image,
                {},
                "deregister and keep its snapshots: no rule keeps it" if kept else "deregister: no rule keeps it",
                None,
            )
        number = f"{len(parts)} snapshots" if len(parts) > 1 else "its snapshot"
        return self._change(
            image, {"DeleteAssociatedSnapshots": True}, f"deregister with {number}: no rule keeps it", None
        )

    def warnings(self) -> Iterator[str]:
        """Yield warnings about guards in the mode ``report``, and about snapshots that are kept."""
        deed = self.spec.action.deed
        for image in self.decided.going:
            for held in self.guards.stops(image, "report"):
                yield f"{image.image_id} is {deed}, although the guard {held.guard} objects: {held.reason}."
            if self.spec.action is Action.DEREGISTER:
                yield from self._kept_parts(image)

    def _kept_parts(self, image: Image) -> Iterator[str]:
        kept = self._parts(image)[1]
        if kept:
            yield (
                f"The task keeps the snapshots of {image.image_id}, since {kept}. Delete them if you do not need them."
            )
            return
        for name, other in self.guards.users_of_parts(image, self._gone).items():
            yield f"The task keeps {name} of {image.image_id}, since {other} uses it."


def _report_requests(guards: Guards, decided: Iterable[Decided]) -> Iterator[Change]:
    """Yield the requests for the usage reports that ``check_accounts`` needs."""
    (own,) = [one for one in decided if one.line is guards.line]
    for image in guards.line.leaving:
        held = own.held.get(image.image_id)
        if held is not None and held.guard == "account" and guards.wants_report(image):
            yield Change(
                "CreateImageUsageReport",
                image.image_id,
                guards.state.region,
                {"ResourceTypes": [{"ResourceType": kind} for kind in REPORTED_TYPES]},
                "request a report of its use in other accounts",
                {"name": image.name},
                {"name": image.name},
                token=("usage-report", image.image_id, guards.line.now.date().isoformat()),
            )


def _joined(*errors: StorageError | None) -> StorageError | None:
    """Return the failures as one; the first gives its code."""
    found = [error for error in errors if error is not None]
    if len(found) < 2:
        return found[0] if found else None
    return Incomplete(" ".join(str(error) for error in found), *found)


def result(_spec: RotationSpec, _state: State) -> dict[str, Any]:
    """Return nothing: the decisions are in the report."""
    return {}


def headline(spec: RotationSpec, result: Mapping[str, Any]) -> str:
    """Return the numbers of kept images and of those on which the action was done before."""
    counts = result.get("counts")
    if counts is None:
        return ""
    parts = [f"{counts['kept']} kept"]
    parts += [f"{counts['done']} already {spec.action.deed}"] if counts["done"] else []
    parts += [f"{counts['withheld']} withheld"] if counts["withheld"] else []
    return ", ".join(parts)


FEATURE = Feature(parse=parse, plan=plan, result=result, headline=headline, estimates=True)
