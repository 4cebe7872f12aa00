# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carry out a plan: stage after stage, a stage's calls in parallel, then its waits.

`once` makes each call once, `duplicates` settles which of two resources is used, `rollback` undoes a failed stage.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from .._kernel.errors import StorageError, Superseded
from .._kernel.failures import CallError, WaitError
from .._kernel.ids import kind_of, moment_of, planned_in, planned_in_filters, substitute, substitute_filters
from .._kernel.plan import Change, Plan, Stage, Wait
from .._kernel.resources import Resource, Snapshot, from_view
from .._kernel.state import Query
from .._kernel.times import format_instant
from .duplicates import settle
from .once import Once
from .ports import Gateway, Outcome
from .rollback import explained, kind_of_failure, roll_back

PARALLEL = 8


def apply(plan: Plan, gateway: Gateway, *, wait: bool, timeout: float) -> Outcome:
    """Carry out *plan*, and return its outcome. The outcome holds the errors; none is raised.

    With *wait* false, only the waits that a later stage depends on run. *timeout*, in seconds, bounds all waits and
    repeats together. A failed stage finishes the calls that it has begun, and is then rolled back (`Stage.on_failure`).
    Of later stages, only changes that depend on nothing are tried (`Change.regardless`).
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
        if stage.on_failure and kind_of_failure(error) in stage.rollback_on:
            back = _Run(gateway, True, gateway.monotonic() + timeout)
            is_back = roll_back(outcome, back.outcome, back.stage, stage)
        if isinstance(error, WaitError):
            outcome.error = explained(error, outcome, is_back=is_back)
    return outcome


def _regardless(run: _Run, stage: Stage) -> None:
    """Try the changes of a later stage that do not depend on the failed one (`Change.regardless`)."""
    outcome = run.outcome
    waited = isinstance(outcome.error, WaitError)
    free = tuple(change for change in stage.changes if waited and change.regardless)
    outcome.not_tried.extend(change for change in stage.changes if not (waited and change.regardless))
    error = run.stage(Stage(free, recheck=stage.recheck)) if free else None
    if error is not None:
        outcome.notes.append(str(error))


def _moments_in(plan: Plan) -> frozenset[str]:
    """Return the planned start times of snapshots that the plan's copies record."""
    names = {name for change in plan.changes if change.operation.copies for name in planned_in(change.parameters)}
    return frozenset(name for name in names if kind_of(name) == "moment")


def call_groups(changes: Sequence[Change]) -> list[list[Change]]:
    """Return the changes of a stage, grouped into calls. One call has one action, region and set of parameters.

    A call takes as many changes as EC2 allows. CreateSnapshots names an instance and makes one snapshot for each of its
    volumes, so all its changes are one call.
    """
    groups: dict[tuple[str, str, str], list[list[Change]]] = {}
    for change in changes:
        key = (change.action, change.region, json.dumps(change.parameters, sort_keys=True, default=str))
        most = len(changes) if change.operation.joint else change.operation.most
        calls = groups.setdefault(key, [[]])
        if len(calls[-1]) >= most:
            calls.append([])
        calls[-1].append(change)
    return [call for calls in groups.values() for call in calls]


class _Run:
    """A run through a plan's stages: EC2's ids so far, and the deadline."""

    def __init__(self, gateway: Gateway, wait: bool, deadline: float, moments: frozenset[str] = frozenset()) -> None:
        self.gateway = gateway
        self.outcome = Outcome()
        self._once = Once(gateway, self.outcome.notes)
        self._wait = wait
        self._began = gateway.monotonic()
        self._deadline = deadline
        self._moments = moments
        self._gone: set[str] = set()
        self._has_waited = False

    def stage(self, stage: Stage) -> StorageError | None:
        """Make the stage's calls, then wait. Return the first error in the order of the plan, or None.

        A change that EC2 refuses with one of its `deferrable` codes is deferred, and its resource is not waited for.
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
                if changes[0].operation.snapshots:
                    made.append(([_bind(change, before) for change in changes], result))
        if made:
            settle(self.gateway, outcome, made)
        if errors:
            outcome.notes.extend(str(error) for error in errors[1:])
            return errors[0]
        return self._waits(stage.waits, deferred)

    def _left_out(self, changes: Sequence[Change]) -> list[Change]:
        """Return the changes that have become superfluous (`Change.unless`)."""
        asked = {
            number: [
                query for query in _bind(change, self.outcome.bindings).unless if not planned_in_filters(query.filters)
            ]
            for number, change in enumerate(changes)
            if change.unless
        }
        queries = [query for several in asked.values() for query in several]
        answers = self.gateway.ask(queries) if queries else {}
        return [changes[number] for number, several in asked.items() if any(answers[query] for query in several)]

    def _withdrawn(self, stage: Stage) -> list[Change]:
        """Return the changes that the stage's recheck withdraws, and note their reasons. Asks only after a wait."""
        if stage.recheck is None or not stage.changes or not self._has_waited:
            return []
        found = stage.recheck.withdrawn(self.gateway.ask(stage.recheck.queries))
        withdrawn = [(change, found[change.resource]) for change in stage.changes if change.resource in found]
        if withdrawn:
            self.outcome.withdrawn.extend(withdrawn)
            self.outcome.notes.append(stage.recheck.warning({change.resource: why for change, why in withdrawn}))
        return [change for change, _why in withdrawn]

    def _require_provided(self, changes: Sequence[Change]) -> None:
        """Raise Superseded if a precondition of a change does not hold any more (`Change.provided`)."""
        bound = [(_bind(change, self.outcome.bindings).resource, change.provided) for change in changes]
        wanted = [(resource, provided) for resource, provided in bound if provided is not None]
        answers = self.gateway.ask([provided.query for _resource, provided in wanted]) if wanted else {}
        objections = [provided.objection(answers[provided.query], resource) for resource, provided in wanted]
        if any(objections):
            raise Superseded(" ".join(text for text in objections if text))

    def _called(
        self, calls: Sequence[Sequence[Change]], patience: frozenset[str]
    ) -> Iterator[tuple[Sequence[Change], Mapping[str, str] | StorageError]]:
        """Yield the calls with their results.

        EC2 refuses a call for several resources as a whole, even if only one of them lacks capacity. Such a call is
        repeated for each resource alone, so the others succeed and each refusal names its resource.
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
        """Update the observed resources, since an earlier stage's wait saw them before *changes*."""
        observed = self.outcome.observed
        for change in changes:
            resource = substitute(change.resource, self.outcome.bindings)
            known = observed.get(resource)
            if change.after is None:
                # A wait for its end still sees the resource on its way out.
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
        """Wait for all resources except the *deferred* ones."""
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
        there = {name: one for name, one in seen.items() if name not in self._gone}
        self.outcome.observed.update(there)
        self.outcome.seconds.update(dict.fromkeys(there, self.gateway.monotonic() - self._began))
        self._bind_moments(seen)
        return None

    def _bind_moments(self, seen: Mapping[str, Resource]) -> None:
        """Bind the planned start times of snapshots to the real ones, for the copies that record them."""
        for name, resource_id in list(self.outcome.bindings.items()) if self._moments else ():
            snapshot, moment = seen.get(resource_id), moment_of(name)
            if moment in self._moments and isinstance(snapshot, Snapshot) and snapshot.start_time is not None:
                self.outcome.bindings[moment] = format_instant(snapshot.start_time)

    def _patiently(self, changes: Sequence[Change], patience: frozenset[str]) -> Mapping[str, str]:
        """Make the call, and repeat it until the deadline while EC2 answers "not now" (a code in *patience*).

        When EC2 names a time, the call is repeated then. When that time is after the deadline, the error is raised at
        once.
        """
        delay = 1.0
        while True:
            try:
                return self._once.carry_out(changes)
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
        """Raise StorageError if another run has dealt with the resource during the pause before a repeat."""
        queries = [change.only_while for change in changes if change.only_while is not None]
        answers = self.gateway.ask(queries) if queries else {}
        for change in changes:
            found = answers.get(change.only_while) if change.only_while is not None else None
            if found is not None and change.resource not in {resource.resource_id for resource in found}:
                raise StorageError(
                    f"{change.action} of {change.resource} is not needed any more, since another run was faster"
                )


def _divisible(changes: Sequence[Change]) -> bool:
    """Return whether each resource of the call may have a call of its own. A CreateSnapshots makes one set."""
    return len(changes) > 1 and not changes[0].creates


def _bind(change: Change, bindings: Mapping[str, str]) -> Change:
    """Return *change* with EC2's ids in place of planned ones. The resource that it creates keeps its planned id."""
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
        query, filters=substitute_filters(query.filters, bindings), arguments=substitute(query.arguments, bindings)
    )
