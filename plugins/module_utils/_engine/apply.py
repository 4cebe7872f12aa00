# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carries a plan out: stage after stage, the calls of a stage in parallel, each thing made once.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import groupby
from typing import Any, TypeVar

from .._kernel import tags as tag_names
from .._kernel.errors import StorageError, Superseded
from .._kernel.failures import TOKEN_SPENT, CallError, WaitError
from .._kernel.ids import GENERATIONS, client_token, kind_of, moment_of, planned_in, substitute
from .._kernel.plan import Change, Plan, Stage, Wait
from .._kernel.proofs import is_copy
from .._kernel.resources import Fact, Image, Instance, Resource, Snapshot, Volume, from_view
from .._kernel.state import Query, by_id
from .._kernel.times import format_instant
from .ports import Gateway, Outcome

T = TypeVar("T")

PARALLEL = 8
VISIBLE = 15.0
"""Seconds within which EC2 shows what it has made, and after which an unclear create is taken not to have happened."""
ATTEMPTS = 3
"""How often what EC2 would do twice is called."""
_TOKEN_USED = frozenset({TOKEN_SPENT, "IdempotentInstanceTerminated", "IdempotentParameterMismatch"})
"""The codes of a create whose client token has made something that is gone, or something else."""
_MODIFIED = frozenset({"IncorrectModificationState", "VolumeModificationRateExceeded"})
"""The codes of a ModifyVolume that comes after another one, perhaps after the very same."""
_NAMED = 10
"""Of how many resources a message says what they are in the plan."""
_FAR_FUTURE = datetime.max.replace(tzinfo=UTC)


def apply(plan: Plan, gateway: Gateway, *, wait: bool, timeout: float) -> Outcome:
    """Carries *plan* out and tells what came of it; errors are in the Outcome, not raised.

    *wait* false skips the waits that nothing builds on. *timeout* in seconds bounds all waits and all patience
    together. A stage that fails finishes the calls it has begun; what comes after it is not tried, but for what builds
    on nothing (`Change.regardless`), and its own way back (`Stage.on_failure`) is.
    """
    run = _Run(gateway, wait, gateway.monotonic() + timeout, _moments_in(plan))
    outcome = run.outcome
    for stage in plan.stages:
        if outcome.error is not None:
            _regardless(run, stage)
            continue
        error = run.stage(stage)
        if error is None:
            continue
        outcome.error = error
        is_back = True
        if stage.on_failure and _kind(error) in stage.rollback_on:
            is_back = _roll_back(run, stage, timeout)
        if isinstance(error, WaitError):
            outcome.error = _explained(error, outcome, is_back=is_back)
    return outcome


def _regardless(run: _Run, stage: Stage) -> None:
    """Of a stage after one that has failed, what does not care about that."""
    outcome = run.outcome
    waited = isinstance(outcome.error, WaitError)
    free = tuple(change for change in stage.changes if waited and change.regardless)
    outcome.not_tried.extend(change for change in stage.changes if not (waited and change.regardless))
    error = run.stage(Stage(free, recheck=stage.recheck)) if free else None
    if error is not None:
        outcome.notes.append(str(error))


def _moments_in(plan: Plan) -> frozenset[str]:
    """The start times, of snapshots that are only planned, which the plan's copies have to tell."""
    names = {
        name for change in plan.changes if change.action == "CopySnapshot" for name in planned_in(change.parameters)
    }
    return frozenset(name for name in names if kind_of(name) == "moment")


def _explained(error: WaitError, outcome: Outcome, *, is_back: bool) -> WaitError:
    """*error* with what its resources are in the plan and, when the time was over, what the next run will find.

    *is_back*: the way back, if there is one, was gone to its end.
    """
    planned = {made: name for name, made in outcome.ids.items()}
    texts = [str(error).rstrip(".") + "."]
    texts += [f"{made} was to be {planned[made]}." for made in error.resources[:_NAMED] if made in planned]
    if error.how == "timeout":
        gone = {
            substitute(change.resource, outcome.bindings)
            for change in outcome.rolled_back
            if change.action in ("DeleteSnapshot", "DeleteVolume", "TerminateInstances")
        }
        if gone.isdisjoint(error.resources):
            texts.append("What was begun goes on in EC2; run the task again to carry on.")
        elif not is_back:
            texts.append("The way back is unfinished. Run the task again to finish it.")
        elif any(change.action == "TerminateInstances" for change in outcome.rolled_back):
            # Its time may have been its own.
            texts.append("That was taken back, and the next run begins anew: give it a longer timeout.")
        else:
            texts.append("That was taken back, and the next run begins anew: give it a longer wait_timeout.")
            if any(kind_of(made) == "snapshot" for made in gone):
                texts.append("After a snapshot of the volume, taken shortly before, it has less to copy.")
    return WaitError(" ".join(texts), error.how, error.resources)


def _kind(error: StorageError) -> str:
    """The name in `Stage.rollback_on` of the way a stage failed; empty when another run has taken the resource over."""
    if isinstance(error, WaitError):
        return error.how
    if isinstance(error, CallError):
        return "unclear" if error.passing else "refused"
    return "superseded" if isinstance(error, Superseded) else ""


def _roll_back(run: _Run, stage: Stage, timeout: float) -> bool:
    """The stage's way back, with the whole time limit again; whether it was gone to its end. Its own failure is a note:
    the first error stays the error.
    """
    outcome, is_back = run.outcome, True
    back = _Run(run.gateway, True, run.gateway.monotonic() + timeout)
    back.outcome.bindings = outcome.bindings
    for step in stage.on_failure:
        error = back.stage(_possible(step, outcome.bindings))
        if error is not None:
            outcome.notes.append(f"The way back failed too, and is unfinished: {error}")
            is_back = False
            break
    outcome.rolled_back.extend(back.outcome.done)
    outcome.deferred.extend(back.outcome.deferred)
    outcome.notes.extend(back.outcome.notes)
    outcome.observed.update(back.outcome.observed)
    for change in back.outcome.done:
        outcome.notes.append(
            f"Taken back: {change.action} of {substitute(change.resource, outcome.bindings)} ({change.reason})"
        )
    return is_back


def _possible(stage: Stage, bindings: Mapping[str, str]) -> Stage:
    """*stage* without what concerns resources that were never made."""

    def exists(change: Change) -> bool:
        used = planned_in(change.parameters) | (set() if change.creates else planned_in(change.resource))
        return used <= set(bindings)

    changes = tuple(change for change in stage.changes if exists(change))
    made = set(bindings) | {change.resource for change in changes if change.creates}
    waits = tuple(
        dataclasses.replace(item, resources=present)
        for item in stage.waits
        if (present := tuple(resource for resource in item.resources if planned_in(resource) <= made))
    )
    return dataclasses.replace(stage, changes=changes, waits=waits)


def call_groups(changes: Sequence[Change]) -> list[list[Change]]:
    """The changes of one stage as calls: same action, region and parameters go together, up to what a call takes.

    CreateSnapshots names an instance and makes one snapshot for each of its volumes, so its changes are one call
    however many.
    """
    groups: dict[tuple[str, str, str], list[list[Change]]] = {}
    for change in changes:
        key = (change.action, change.region, json.dumps(change.parameters, sort_keys=True, default=str))
        most = len(changes) if change.action == "CreateSnapshots" else change.operation.most
        calls = groups.setdefault(key, [[]])
        if len(calls[-1]) >= most:
            calls.append([])
        calls[-1].append(change)
    return [call for calls in groups.values() for call in calls]


class _Run:
    """The carrying out of a plan's stages: what is bound so far, and the time until it must be over."""

    def __init__(self, gateway: Gateway, wait: bool, deadline: float, moments: frozenset[str] = frozenset()) -> None:
        self.gateway = gateway
        self.outcome = Outcome()
        self._wait = wait
        self._deadline = deadline
        self._moments = moments
        self._gone: set[str] = set()
        self._has_waited = False

    def stage(self, stage: Stage) -> StorageError | None:
        """Makes the stage's calls, then waits. Returns the first error in the order of the plan.

        What EC2 refuses with a code that the change allows for is deferred, and not waited for.
        """
        outcome = self.outcome
        errors: list[StorageError] = []
        try:
            left_out = [*self._left_out(stage.changes), *self._withdrawn(stage)]
            self._require_provided(stage.changes)
        except StorageError as error:
            outcome.failed.extend(stage.changes)
            return error
        deferred = {change.resource for change in left_out}
        wanted = [change for change in stage.changes if change not in left_out]
        made: list[tuple[Sequence[Change], Mapping[str, str]]] = []
        before = dict(outcome.bindings)
        for changes, result in self._called(call_groups(wanted), stage.patience):
            if isinstance(result, CallError) and all(result.code in change.deferrable for change in changes):
                outcome.deferred.extend((change, result) for change in changes)
                deferred.update(change.resource for change in changes)
            elif isinstance(result, StorageError):
                made_all_the_same = result.made if isinstance(result, CallError) else {}
                outcome.bindings.update(made_all_the_same)
                outcome.done.extend(change for change in changes if change.resource in made_all_the_same)
                outcome.failed.extend(change for change in changes if change.resource not in made_all_the_same)
                errors.append(result)
            else:
                outcome.done.extend(changes)
                outcome.bindings.update(result)
                self._changed_since_seen(changes)
                if changes[0].action in _MADE_TWICE:
                    made.append(([_bind(change, before) for change in changes], result))
        if made:
            self._settle(made)
        if errors:
            outcome.notes.extend(str(error) for error in errors[1:])
            return errors[0]
        return self._waits(stage.waits, deferred)

    def _left_out(self, changes: Sequence[Change]) -> list[Change]:
        """The changes that are not wanted as things are now (`Change.unless`)."""
        asked = {
            number: [query for query in _bind(change, self.outcome.bindings).unless if not planned_in(query.filters)]
            for number, change in enumerate(changes)
            if change.unless
        }
        queries = [query for several in asked.values() for query in several]
        answers = self.gateway.ask(queries) if queries else {}
        return [changes[number] for number, several in asked.items() if any(answers[query] for query in several)]

    def _withdrawn(self, stage: Stage) -> list[Change]:
        """The changes that the stage's recheck leaves out, each recorded with its reason. Asks only after a wait."""
        if stage.recheck is None or not stage.changes or not self._has_waited:
            return []
        found = stage.recheck.withdrawn(self.gateway.ask(stage.recheck.queries))
        withdrawn = [(change, found[change.resource]) for change in stage.changes if change.resource in found]
        if withdrawn:
            self.outcome.withdrawn.extend(withdrawn)
            self.outcome.notes.append(stage.recheck.warning({change.resource: why for change, why in withdrawn}))
        return [change for change, _why in withdrawn]

    def _require_provided(self, changes: Sequence[Change]) -> None:
        """Superseded when something stands against a change as things are now (`Change.provided`)."""
        bound = [(_bind(change, self.outcome.bindings).resource, change.provided) for change in changes]
        wanted = [(resource, provided) for resource, provided in bound if provided is not None]
        answers = self.gateway.ask([provided.query for _resource, provided in wanted]) if wanted else {}
        objections = [provided.objection(answers[provided.query], resource) for resource, provided in wanted]
        if any(objections):
            raise Superseded(" ".join(text for text in objections if text))

    def _called(
        self, calls: Sequence[Sequence[Change]], patience: frozenset[str]
    ) -> Iterator[tuple[Sequence[Change], Mapping[str, str] | StorageError]]:
        """The calls with what came of them.

        A call for several resources that is refused for now is made for each alone: one without capacity does not keep
        the others down, and which of them were refused is known.
        """
        alone: list[Sequence[Change]] = []
        for changes, result in zip(calls, self._parallel(calls, patience), strict=True):
            if (
                isinstance(result, CallError)
                and _divisible(changes)
                and (result.code in patience or all(result.code in change.deferrable for change in changes))
            ):
                alone += [[change] for change in changes]
            else:
                yield changes, result
        yield from zip(alone, self._parallel(alone, patience), strict=True)

    def _changed_since_seen(self, changes: Sequence[Change]) -> None:
        """What an earlier stage's wait has seen of a resource no longer holds in what these changes have done to it."""
        observed = self.outcome.observed
        for change in changes:
            resource = substitute(change.resource, self.outcome.bindings)
            known = observed.get(resource)
            if change.after is None:
                # A wait for its end sees it on its way there.
                self._gone.add(resource)
                observed.pop(resource, None)
            elif known is not None:
                after = substitute(dict(change.after), self.outcome.bindings)
                observed[resource] = from_view(known.kind, after, known)

    def _parallel(
        self, calls: Sequence[Sequence[Change]], patience: frozenset[str]
    ) -> list[Mapping[str, str] | StorageError]:
        bound = [[_bind(change, self.outcome.bindings) for change in changes] for changes in calls]

        def carry_out(changes: Sequence[Change]) -> Mapping[str, str] | StorageError:
            try:
                return self._patiently(changes, patience)
            except StorageError as error:
                return error

        if len(bound) < 2:
            return [carry_out(changes) for changes in bound]
        with ThreadPoolExecutor(max_workers=min(PARALLEL, len(bound))) as pool:
            return list(pool.map(carry_out, bound))

    def _waits(self, waits: Sequence[Wait], deferred: set[str]) -> StorageError | None:
        """Waits for all but the *deferred* resources."""
        wanted = [
            dataclasses.replace(
                item,
                resources=tuple(substitute(resource, self.outcome.bindings) for resource in present),
                expect=substitute(item.expect, self.outcome.bindings),
                about=substitute(item.about, self.outcome.bindings),
            )
            for item in waits
            if (present := [resource for resource in item.resources if resource not in deferred])
            and (self._wait or not item.final)
        ]
        if not wanted:
            return None
        self._has_waited = True
        try:
            seen = self.gateway.wait(wanted, self._deadline)
        except StorageError as error:
            return error
        self.outcome.observed.update({name: one for name, one in seen.items() if name not in self._gone})
        self._bind_moments(seen)
        return None

    def _bind_moments(self, seen: Mapping[str, Resource]) -> None:
        """When the plan's snapshots were taken, where something that is made of them has to say it."""
        for name, resource_id in list(self.outcome.bindings.items()) if self._moments else ():
            snapshot, moment = seen.get(resource_id), moment_of(name)
            if moment in self._moments and isinstance(snapshot, Snapshot) and snapshot.start_time is not None:
                self.outcome.bindings[moment] = format_instant(snapshot.start_time)

    def _patiently(self, changes: Sequence[Change], patience: frozenset[str]) -> Mapping[str, str]:
        """The call, repeated while EC2 answers "not now" (a code in *patience*), until the time is over.

        When EC2 says when to come again, the call is repeated then, and not at all if the time is over by then.
        """
        delay = 1.0
        while True:
            try:
                return self._carry_out(changes)
            except CallError as error:
                if error.code not in patience or _divisible(changes):
                    raise
                left = self._deadline - self.gateway.monotonic()
                told = (error.not_before - self.gateway.now()).total_seconds() if error.not_before else 0.0
                if left <= 0 or told > left:
                    raise
                self._has_waited = True
                self.gateway.sleep(min(max(delay, told), left))
                delay = min(delay * 1.5, 15.0)
                self._require_wanted(changes)

    def _require_wanted(self, changes: Sequence[Change]) -> None:
        """Before a call is repeated after a pause: another run may have dealt with the resource in the meantime."""
        queries = [change.only_while for change in changes if change.only_while is not None]
        answers = self.gateway.ask(queries) if queries else {}
        for change in changes:
            found = answers.get(change.only_while) if change.only_while is not None else None
            if found is not None and change.resource not in {resource.resource_id for resource in found}:
                raise StorageError(
                    f"{change.action} of {change.resource} is not wanted any more: another run was faster"
                )

    def _carry_out(self, changes: Sequence[Change]) -> Mapping[str, str]:
        operation = changes[0].operation
        if operation.token:
            return self._with_token(changes)
        if operation.safe:
            return self._repeatable(changes)
        return self._without_token(changes)

    def _repeatable(self, changes: Sequence[Change]) -> Mapping[str, str]:
        """What does no harm when it is done twice."""
        try:
            return self.gateway.perform(changes)
        except CallError as error:
            # What EC2 says of a volume that is being deleted already, but also of one that it will not delete now.
            if changes[0].action != "DeleteVolume" or error.code != "IncorrectState":
                raise
            if self._until_seen(lambda: self._going(changes)) is None:
                raise
            return {}

    def _going(self, changes: Sequence[Change]) -> Mapping[str, str] | None:
        """An empty mapping once EC2 shows that it deletes the volume, or says that it is gone; None until then.

        A volume that EC2 does not show may be gone, or too new to show: the deletion itself tells.
        """
        answers = self.gateway.ask(by_id("DescribeVolumes", "volume-id", [changes[0].resource])).values()
        states = [getattr(volume, "state", "") for answer in answers for volume in answer]
        if states:
            return {} if all(state in ("deleting", "deleted") for state in states) else None
        try:
            return self.gateway.perform(changes)
        except CallError as error:
            if error.code != "IncorrectState":
                raise
            return None

    def _with_token(self, changes: Sequence[Change]) -> Mapping[str, str]:
        """A create that EC2 recognises by its ClientToken. A token that stands for something gone is passed over.

        Before another generation is used, what lives under the change's identity is looked for: it may have been made
        by a run that had passed over this token already, or with other parameters.
        """
        (change,) = changes
        generation = 0
        while True:
            try:
                return self.gateway.perform(changes, generation)
            except CallError as refused:
                error = refused
                lost = self._lost_copy(change) if error.unclear else None
                if lost is not None:
                    return {change.resource: lost}
                if error.code not in _TOKEN_USED or generation + 1 >= GENERATIONS:
                    raise
                # CreateVolume's code for a token whose volume is gone too; only the text tells.
                mismatch = error.code == "IdempotentParameterMismatch" and "deleted" not in error.message
            # A mismatch means that something was made with this token, and it may not show yet. A spent token names
            # what is gone.
            found = self._until_seen(lambda: self._living(changes)) if mismatch else self._living(changes)
            # EC2 may go on showing it as it was for a moment.
            found = [resource for resource in found or () if resource.resource_id != error.spent]
            if found:
                adopted = min(found, key=_age)
                self.outcome.notes.append(f"{adopted.resource_id} was made for this by an earlier run; it is used")
                return {change.resource: adopted.resource_id}
            generation += 1

    def _lost_copy(self, change: Change) -> str | None:
        """The id of the volume that an unclear CreateVolume has made of its snapshot all the same, or None.

        A way back that does not know the copy would delete the snapshot, which alone proves to a later run that the
        volume is a copy and may go.
        """
        snapshot_id = change.parameters.get("SnapshotId")
        if change.action != "CreateVolume" or snapshot_id is None or tag_names.SWAP not in change.own_tags:
            return None

        def made() -> str | None:
            found = [item for item in self._living([change]) or () if isinstance(item, Volume)]
            return next((item.volume_id for item in found if item.snapshot_id == snapshot_id), None)

        return self._until_seen(made)

    def _without_token(self, changes: Sequence[Change]) -> Mapping[str, str]:
        """What EC2 would do twice: after an unclear answer it is looked for, and called again only when it is not
        there.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return self.gateway.perform(changes)
            except CallError as error:
                if error.code == "InvalidAMIName.Duplicate":
                    return self._name_holder(changes, error)
                if not error.unclear and error.code not in _MODIFIED:
                    raise
                try:
                    found = (
                        self._until_seen(lambda: self._matched(changes)) if error.unclear else self._matched(changes)
                    )
                except CallError as trouble:
                    # What may have been made is the news, not that it could not be looked for.
                    raise error from trouble
                if found is not None:
                    return found
                if attempt >= ATTEMPTS or not error.unclear:
                    raise

    def _name_holder(self, changes: Sequence[Change], refused: CallError) -> Mapping[str, str]:
        """The image that has the name already, when it is the one that this change would make."""
        (change,) = changes
        holders: list[Resource] = []

        def seen() -> Mapping[str, str] | None:
            holders[:] = self._answers(changes)
            found = self._matched(changes)
            return found if found is not None or not holders else {}

        found = self._until_seen(seen)
        if found:
            return found
        names = ", ".join(resource.resource_id for resource in holders)
        raise CallError(
            refused.operation,
            refused.code,
            refused.message,
            resource=change.resource,
            hint=f"The name belongs to {names or 'an image that is not shown'}, which was not made for this.",
        )

    def _settle(self, calls: Sequence[tuple[Sequence[Change], Mapping[str, str]]]) -> None:
        """What a stage's calls made, read again before use: of two the earlier start, then the lower id, is the one;
        our other one is deleted.

        Two can be there when an unclear call had its effect late, or when two runs work at the same moment: each
        deletes its own. All calls are looked after together, so that there are as many questions as identities differ.
        """
        open_calls = dict(enumerate(calls))
        rival_wait = self.gateway.monotonic() + VISIBLE
        surplus: list[tuple[Change, str, list[str]]] = []

        def decided() -> bool | None:
            queries = dict.fromkeys(change.identity for changes, _made in open_calls.values() for change in changes)
            answers = self.gateway.ask([query for query in queries if query is not None])
            for number, (changes, made) in list(open_calls.items()):
                asked = dict.fromkeys(change.identity for change in changes)
                found = {one.resource_id: one for query in asked if query is not None for one in answers[query]}
                chosen = _chosen(changes, made, found.values(), patient=self.gateway.monotonic() < rival_wait)
                if chosen is None:
                    continue
                del open_calls[number]
                self.outcome.bindings.update(chosen)
                own = sorted(set(made.values()) - set(chosen.values()))
                surplus.extend((changes[0], snapshot_id, sorted(chosen.values())) for snapshot_id in own)
            return None if open_calls else True

        trouble = f"EC2 did not show it within {VISIBLE:.0f} s"
        try:
            self._until_seen(decided)
        except CallError as error:
            trouble = str(error)
        if open_calls:
            # It exists and is used: a second one would be seen, and named, by the next run.
            own = sorted(snapshot_id for _changes, made in open_calls.values() for snapshot_id in made.values())
            self.outcome.notes.append(f"{', '.join(own)} could not be compared with others of its kind: {trouble}")
        for change, snapshot_id, kept in surplus:
            self._delete_surplus(change, snapshot_id, kept)

    def _delete_surplus(self, change: Change, snapshot_id: str, kept: Sequence[str]) -> None:
        removal = Change(
            action="DeleteSnapshot",
            resource=snapshot_id,
            region=change.region,
            parameters={},
            reason="a second one of the same identity",
        )
        note = f"{snapshot_id} was made twice by runs at the same moment or a lost answer; {', '.join(kept)} is used"
        try:
            self.gateway.perform([removal])
        except CallError as error:
            self.outcome.notes.append(f"{note}, and the other could not be deleted: {error}")
        else:
            self.outcome.notes.append(f"{note}, the other was deleted")

    def _answers(self, changes: Sequence[Change]) -> list[Resource]:
        """What the changes' identity queries find, each once."""
        queries = list(dict.fromkeys(change.identity for change in changes if change.identity is not None))
        found = {resource.resource_id: resource for answer in self.gateway.ask(queries).values() for resource in answer}
        return list(found.values())

    def _look(self, changes: Sequence[Change]) -> list[Resource]:
        return _made_for(changes, self._answers(changes))

    def _matched(self, changes: Sequence[Change]) -> Mapping[str, str] | None:
        """An id for every change out of what was made for them, the earliest of several; None while one is missing.

        A modification that is under way, or over, is found without an id.
        """
        if changes[0].action == "ModifyVolume":
            return {} if any(_asked_for(changes[0], fact) for fact in self._answers(changes)) else None
        found = self._look(changes)
        if changes[0].action in _MADE_TWICE:
            sets = _sets(changes, [resource for resource in found if isinstance(resource, Snapshot)], set())
            whole = [entry for entry in sets if len(entry) == len(changes)]
            if not whole:
                return None
            return {planned: snapshot.resource_id for planned, snapshot in min(whole, key=_set_order).items()}
        return {changes[0].resource: min(found, key=_age).resource_id} if found else None

    def _living(self, changes: Sequence[Change]) -> list[Resource] | None:
        return [resource for resource in self._look(changes) if _usable(resource)] or None

    def _until_seen(self, look: Callable[[], T | None]) -> T | None:
        """Repeats *look* until it finds something, or EC2 has had the time to show what it has made."""
        end = self.gateway.monotonic() + VISIBLE
        delay = 0.25
        while True:
            found = look()
            left = end - self.gateway.monotonic()
            if found is not None or left <= 0:
                return found
            self.gateway.sleep(min(delay, left))
            delay = min(delay * 1.5, 2.0)


# They have no client token, and nothing like an image's name keeps EC2 from making a second one.
_MADE_TWICE = frozenset({"CreateSnapshot", "CreateSnapshots", "CopySnapshot"})
_FAILED = frozenset({"error", "failed", "invalid", "deregistered"})


def _chosen(
    changes: Sequence[Change], made: Mapping[str, str], answers: Iterable[Resource], *, patient: bool
) -> Mapping[str, str] | None:
    """What is to be used for these changes: what they *made*, or an earlier one of the same identity.

    None while EC2 does not show ours, and, if *patient*, while an earlier set is not whole.
    """
    found, own = list(answers), set(made.values())
    if any(item.resource_id in own and getattr(item, "state", "") in _FAILED for item in found):
        return made  # it will not be used; why it has failed is told where it is waited for
    visible = [item for item in _made_for(changes, found) if isinstance(item, Snapshot)]
    if not own <= {item.resource_id for item in visible}:
        return None
    sets = _sets(changes, visible, own)
    whole = [entry for entry in sets if len(entry) == len(changes)]
    if patient and len(whole) < len(sets) and len(min(sets, key=_set_order)) < len(changes):
        # It may become whole, or go.
        return None
    return {name: snapshot.resource_id for name, snapshot in min(whole, key=_set_order).items()}


def _made_for(changes: Sequence[Change], answers: Iterable[Resource]) -> list[Resource]:
    """Of what was found, that which was made for these changes: it carries their own tags and has not failed.

    Tags can be forged. A snapshot keeps the description that it was made with, an instance its client token. What the
    plan has passed over was made for another moment.
    """
    own = changes[0].own_tags
    passed_over = frozenset[str]().union(*(change.passed_over for change in changes))
    return [
        resource
        for resource in answers
        if own
        and resource.resource_id not in passed_over
        and all(getattr(resource, "tags", {}).get(key) == value for key, value in own.items())
        and getattr(resource, "state", "") not in _FAILED
        and _has_facts_of(changes, resource)
    ]


def _has_facts_of(changes: Sequence[Change], resource: Resource) -> bool:
    """Whether EC2 shows a resource as these changes ask for it. Tags alone could be anybody's."""
    first = changes[0]
    if isinstance(resource, Instance):
        return resource.facts.get("ClientToken") in _tokens_of(first)
    if isinstance(resource, Volume):
        asked = first.parameters
        zone = asked.get("AvailabilityZone")
        return (resource.snapshot_id or None) == asked.get("SnapshotId") and zone in (None, resource.availability_zone)
    if not isinstance(resource, Snapshot):
        return True
    description = first.parameters.get("Description")
    if description is not None and resource.description != description:
        return False
    if first.action == "CreateSnapshot":
        return resource.volume_id == str(first.parameters["VolumeId"])
    return first.action != "CopySnapshot" or is_copy(resource)


def _tokens_of(change: Change) -> frozenset[str]:
    """The client tokens of the change: EC2 shows that of an instance for ever, and tags can be forged."""
    return frozenset(client_token(change.token, number) for number in range(GENERATIONS) if change.token)


def _divisible(changes: Sequence[Change]) -> bool:
    """Whether one call does to many what several would do to each. One CreateSnapshots makes one set."""
    return len(changes) > 1 and not changes[0].creates


def _usable(resource: Resource) -> bool:
    return not isinstance(resource, (Instance, Volume)) or resource.alive


_TARGET = {
    "Size": "size",
    "VolumeType": "volume_type",
    "Iops": "iops",
    "Throughput": "throughput",
    "MultiAttachEnabled": "multi_attach_enabled",
}


def _asked_for(change: Change, fact: Resource) -> bool:
    """Whether the volume's latest modification is, or includes, the one that this ModifyVolume asks for."""
    if not isinstance(fact, Fact) or fact.fact_id != f"{change.resource}/modification":
        return False
    target = fact.value["target"]
    return fact.value["state"] != "failed" and all(
        target.get(_TARGET[name]) == wanted for name, wanted in change.parameters.items()
    )


def _age(resource: Resource) -> tuple[Any, ...]:
    """Sorts the earliest first, then the lowest id."""
    if isinstance(resource, Snapshot):
        return (resource.start_time or _FAR_FUTURE, resource.resource_id)
    if isinstance(resource, Instance):
        return (resource.launch_time or _FAR_FUTURE, resource.resource_id)
    if isinstance(resource, Volume):
        return (resource.create_time or _FAR_FUTURE, resource.resource_id)
    return (resource.creation_date or "" if isinstance(resource, Image) else "", resource.resource_id)


def _bind(change: Change, bindings: Mapping[str, str]) -> Change:
    """*change* with EC2's ids for the planned ones; what it makes keeps its planned id."""
    if not bindings:
        return change
    identity = change.identity
    return dataclasses.replace(
        change,
        resource=change.resource if change.creates else substitute(change.resource, bindings),
        parameters=substitute(change.parameters, bindings),
        after=None if change.after is None else substitute(change.after, bindings),
        identity=None if identity is None else _bound_query(identity, bindings),
        token=substitute(change.token, bindings),
        unless=tuple(_bound_query(query, bindings) for query in change.unless),
    )


def _bound_query(query: Query, bindings: Mapping[str, str]) -> Query:
    return dataclasses.replace(
        query, filters=substitute(query.filters, bindings), arguments=substitute(query.arguments, bindings)
    )


def _set_order(found: Mapping[str, Snapshot]) -> tuple[Any, ...]:
    return min(_age(snapshot) for snapshot in found.values())


def _sets(changes: Sequence[Change], visible: Sequence[Snapshot], own: set[str]) -> list[dict[str, Snapshot]]:
    """The snapshots as sets that one call made, each by the planned id it can stand for.

    All snapshots of one CreateSnapshots have the same start time. *own* is known to be one set.
    """
    if len(changes) == 1 and changes[0].action in ("CreateSnapshot", "CopySnapshot"):
        # A copy of a capture has its tags, but not its volume.
        volume = (changes[0].after or {}).get("volume_id") if changes[0].action == "CreateSnapshot" else None
        return [{changes[0].resource: snapshot} for snapshot in visible if volume in (None, snapshot.volume_id)]
    planned = {str((change.after or {}).get("volume_id")): change.resource for change in changes}
    ours = {planned[item.volume_id]: item for item in visible if item.snapshot_id in own and item.volume_id in planned}
    sets = [ours] if ours else []
    others = sorted((item for item in visible if item.snapshot_id not in own and item.volume_id in planned), key=_age)
    for _moment, together in groupby(others, key=lambda item: item.start_time):
        rest = list(together)
        while rest:
            one: dict[str, Snapshot] = {}
            left: list[Snapshot] = []
            for item in rest:
                if planned[item.volume_id] in one:
                    left.append(item)
                else:
                    one[planned[item.volume_id]] = item
            sets.append(one)
            rest = left
    return sets
