# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A gateway that carries out every step of any plan except the chosen ones, and keeps the order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from threading import Lock

from ansible_collections.ec2ops.storage.plugins.module_utils._aws.waiting import Sighting, WaitKey
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.ports import Outcome
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.scheduler import Scheduler
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError, WaitError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.graph import Graph, Step, graph_of
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Plan, Wait
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Resource
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query

REFUSED, BROKEN, HANGING = "refused", "broken", "hanging"
FAILURES = (REFUSED, BROKEN, HANGING)
"""EC2 refuses the call; the resource ends in error; the resource never gets there."""
TIMEOUT = 100.0


@dataclass
class StepGateway:
    """The gateway. ``failing``: by `name_of` a change, or by the number of a waiting step, the kind of failure."""

    failing: Mapping[object, str] = field(default_factory=dict)
    region: str = "us-east-1"
    log: list[str] = field(default_factory=list)
    time: float = 0.0

    def __post_init__(self) -> None:
        self._lock = Lock()
        self._ids = count(1)
        self._is_watched = False

    def ask(
        self, queries: Iterable[Query], failures: dict[Query, StorageError] | None = None
    ) -> Mapping[Query, tuple[Resource, ...]]:
        return {query: self._snapshots(query) for query in queries}

    def _snapshots(self, _query: Query) -> tuple[Resource, ...]:
        return ()

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        with self._lock:
            for change in changes:
                if self.failing.get(name_of(change)) == REFUSED:
                    raise CallError(change.action, "UnauthorizedOperation", "no", resource=change.resource)
            self.log += [f"{change.action} {change.resource}" for change in changes]
            return {change.resource: change.resource for change in changes if change.creates}

    def rehearse(self, change: Change) -> None:
        raise AssertionError("nothing rehearses here")

    def watch(self) -> StepWatch:
        """Only the waits of the plan itself can fail, and not those of its rollback."""
        failing = {} if self._is_watched else self.failing
        self._is_watched = True
        return StepWatch(self, failing)

    def now(self) -> datetime:
        return datetime(2026, 11, 1, tzinfo=UTC) + timedelta(seconds=self.time)

    def monotonic(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    @property
    def calls(self) -> Mapping[str, int]:
        return {}


class StepWatch:
    """A poll loop in which every goal is reached at the first poll, except the failing ones."""

    def __init__(self, gateway: StepGateway, failing: Mapping[object, str]) -> None:
        self._gateway = gateway
        self._failing = failing
        self._waits: dict[WaitKey, tuple[Wait, float]] = {}

    def add(self, key: WaitKey, wait: Wait, deadline: float) -> None:
        self._waits[key] = (wait, deadline)

    def drop(self, keys: Iterable[WaitKey]) -> None:
        for key in list(keys):
            self._waits.pop(key, None)

    @property
    def next_poll(self) -> float | None:
        if any(self._kind(key) != HANGING for key in self._waits):
            return self._gateway.time
        return min((deadline for _wait, deadline in self._waits.values()), default=None)

    def _kind(self, key: WaitKey) -> str:
        return self._failing.get(key[0], "")

    def poll(self) -> Sighting:
        reached: list[WaitKey] = []
        failed: list[tuple[StorageError, tuple[WaitKey, ...]]] = []
        for key, (wait, deadline) in list(self._waits.items()):
            kind, (name,) = self._kind(key), wait.resources
            if kind == HANGING and self._gateway.time < deadline:
                continue
            del self._waits[key]
            if kind:
                how = "timeout" if kind == HANGING else "failed"
                failed.append((WaitError(f"{name} did not get there", how, [name]), (key,)))
            else:
                self._gateway.log.append(f"{wait.goal} {name}")
                reached.append(key)
        return Sighting(tuple(reached), tuple(failed))


def name_of(change: Change) -> tuple[str, ...]:
    """A name that no other change of a plan has."""
    return (change.action, change.resource, change.reason, json.dumps(change.parameters, sort_keys=True, default=str))


def failures_of(graph: Graph) -> list[tuple[Step, object, str]]:
    """Every failure that a step can have, as (step, key for `StepGateway.failing`, kind)."""
    found: list[tuple[Step, object, str]] = []
    for step in graph.steps:
        if step.change is not None:
            found.append((step, name_of(step.change), REFUSED))
        if step.waits:
            found += [(step, step.number, kind) for kind in (BROKEN, HANGING)]
    return found


def failing_with(graph: Graph, step: Step, kind: str) -> list[Step]:
    """The steps that fail with *step*: EC2 takes or refuses all snapshots of one CreateSnapshots together."""
    change = step.change
    if kind != REFUSED or change is None or not change.operation.joint:
        return [step]
    call = (change.action, change.region, change.parameters)
    return [
        one
        for one in graph.steps
        if one.change is not None and (one.change.action, one.change.region, one.change.parameters) == call
    ]


def lost_by(graph: Graph, failing: Sequence[Step], *, with_transactions: bool) -> set[int]:
    """The numbers of all steps that need a failing one, directly or not; also through transactions that end with a
    member.
    """
    numbers = {step.number for step in failing}
    found = set(numbers)
    while True:
        new = {other.number for other in graph.steps if not found.isdisjoint(other.needs)}
        for members in graph.transactions if with_transactions else ():
            if not found.isdisjoint(members):
                new |= members
        if new <= found:
            return found - numbers
        found |= new


def carried_out(plan: Plan, failing: Mapping[object, str] | None = None) -> tuple[Outcome, StepGateway, Graph]:
    """Carry a plan out with these failures."""
    gateway, graph = StepGateway(failing or {}), graph_of(plan.stages)
    return Scheduler(gateway, graph, wait=True, timeout=TIMEOUT).run(), gateway, graph


def assert_only_dependents_are_left_out(plan: Plan) -> None:
    """Let each step of the plan fail in each way: its dependents are not tried, and everything else is done."""
    for step, key, kind in failures_of(graph_of(plan.stages)):
        outcome, _gateway, graph = carried_out(plan, {key: kind})
        left_out = {id(change) for change in outcome.not_tried}
        failing = failing_with(graph, graph.steps[step.number], kind)
        lost, most = (lost_by(graph, failing, with_transactions=whole) for whole in (False, True))
        assert _changes_of(graph, lost) <= left_out <= _changes_of(graph, most), (key, kind)
        others = [one.change for one in graph.steps if one.change is not None and one.number not in most]
        failed = [one.change for one in failing]
        assert [change for change in others if change not in outcome.done and change not in failed] == []
        assert len(outcome.errors) == 1


def _changes_of(graph: Graph, numbers: set[int]) -> set[int]:
    return {id(graph.steps[number].change) for number in numbers if graph.steps[number].change is not None}
