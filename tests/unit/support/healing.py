# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on EC2 in memory in which one step fails, and the runs after it: they reach the world of a run without failure.

A case is a flow: its feature, its spec, and a function that makes its world anew.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._aws.waiting import WaitKey, Watch
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.apply import apply
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.ports import Outcome
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.graph import Step, graph_of
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import is_planned, substitute
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Feature, Plan, Wait, guard
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    Fact,
    Image,
    Instance,
    Snapshot,
    Volume,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import NeedsAnswers, Query, State

from fake_ec2 import FakeEc2
from fake_records import End, Record, becomes, modified
from stepping import BROKEN, HANGING, REFUSED, assert_only_dependents_are_left_out

TIMEOUT = 120.0
RUNS = 4
"""A world is healed after so many runs at most. A rejected successor takes three: it is ended, and then replaced."""


def plan_of(feature: Feature, spec: Any, ec2: FakeEc2) -> Plan:
    """The plan, which asks as the runner does."""
    state = State(ec2.region, open=True)
    while True:
        try:
            return guard(feature.plan(spec, state, ec2.now()))
        except NeedsAnswers as needed:
            failures: dict[Query, StorageError] = {}
            answers = ec2.ask(needed.queries, failures)
            unanswered = {**state.unanswered, **failures}
            state = dataclasses.replace(state.with_answers(answers), now=ec2.now(), unanswered=unanswered)


@dataclass
class Failing:
    """The gateway of a run in which one step fails, in one of the ways of `stepping`.

    A change is refused; or its resource ends in error, or is under way for ever, until `heal`. ``has_failed``: the
    failure has happened. The awaited change of a step without a change may end before.
    """

    ec2: FakeEc2
    step: Step
    kind: str
    has_failed: bool = False
    _stuck: list[tuple[Record, Any, list[tuple[float, End]]]] = field(default_factory=list)
    _is_watched: bool = False

    def watch(self) -> Watch:
        """The first poll loop is that of the plan, others are those of rollbacks."""
        watch, of_plan = self.ec2.watch(), not self._is_watched
        self._is_watched = True
        add = watch.add

        def begun(key: WaitKey, wait: Wait, deadline: float) -> None:
            add(key, wait, deadline)
            if key[0] == self.step.number:
                self._fail()

        if of_plan and self.step.change is None:
            watch.add = begun  # type: ignore[method-assign]
        return watch

    def __getattr__(self, name: str) -> Any:
        return getattr(self.ec2, name)

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        hit = self.step.change is not None and any(self._is_it(change) for change in changes)
        if hit and self.kind == REFUSED:
            self.has_failed = True
            raise CallError(changes[0].action, "UnauthorizedOperation", "no", resource=changes[0].resource)
        made = self.ec2.perform(changes, generation)
        if hit:
            self._fail()
        return made

    def _is_it(self, change: Change) -> bool:
        wanted = self.step.change
        return wanted is not None and self._key(change) == self._key(wanted)

    def _key(self, change: Change) -> tuple[Any, ...]:
        resource = change.resource if change.creates else substitute(change.resource, self.ec2.bindings)
        parameters = substitute(change.parameters, self.ec2.bindings)
        return change.action, resource, json.dumps(parameters, sort_keys=True, default=str)

    def _fail(self) -> None:
        for wait in self.step.waits:
            name = substitute(wait.resources[0], self.ec2.bindings)
            record = self.ec2.record(f"{name}/modification" if wait.goal == "modified" else name)
            if record is None or not record.ends:
                continue
            self.has_failed = True
            end = _broken(record.resource)
            usual, record.ends = record.ends, []
            if self.kind == BROKEN and end is not None:
                record.ends = [(self.ec2.monotonic(), end)]
            else:
                self._stuck.append((record, _state(record.resource), usual))

    def heal(self) -> None:
        """Let the changes that hang go on, unless the run has ended them in another way."""
        for record, state, ends in self._stuck:
            if _state(record.resource) == state and not record.ends:
                record.ends = ends


def _state(resource: Any) -> Any:
    return resource.value.state if isinstance(resource, Fact) else resource.state


def _broken(resource: Any) -> End | None:
    """The resource after a failure of the change that is under way."""
    if isinstance(resource, Snapshot):
        return becomes(state="error")
    if isinstance(resource, Image):
        return becomes(state="failed", state_reason="Client.SnapshotFailed")
    if isinstance(resource, Fact):
        return modified(state="failed")
    if isinstance(resource, Volume) and resource.state == "creating":
        return becomes(state="error")
    if isinstance(resource, Volume) and any(link.state == "attaching" for link in resource.attachments):
        return becomes(attachments=(), state="available")
    if isinstance(resource, Instance) and resource.state == "pending":
        return becomes(state="stopped", state_reason="Server.InsufficientInstanceCapacity: no luck")
    return None


@dataclass
class Flow:
    """A case. ``shape``: the world without the ids that EC2 gives. ``protected``: the invariant after any failure."""

    feature: Feature
    spec: Any
    make: Callable[[], FakeEc2]
    shape: Callable[[FakeEc2], Any]
    protected: Callable[[FakeEc2], None] = lambda _ec2: None

    def plan(self, ec2: FakeEc2) -> Plan:
        return plan_of(self.feature, self.spec, ec2)

    def settled(self, ec2: FakeEc2) -> Any:
        """The shape of the world after enough runs without a failure."""
        for _run in range(RUNS):
            with suppress(StorageError):
                plan = self.plan(ec2)
                outcome = apply(plan, ec2, wait=True, timeout=TIMEOUT)
                if plan.is_empty and not outcome.errors:
                    break
        ec2.settle()
        return self.shape(ec2)

    def failures(self) -> Iterator[tuple[Step, str]]:
        """Each step of the plan, with each of its failures.

        Changes from before the run never end in error, since that would be another world.
        """
        for step in graph_of(self.plan(self.make()).stages).steps:
            if step.change is not None:
                yield step, REFUSED
            if step.waits:
                yield step, HANGING
            if step.waits and (step.change is not None or any(map(is_planned, step.changed))):
                yield step, BROKEN

    def failed_run(self, step: Step, kind: str) -> tuple[FakeEc2, Outcome]:
        """The world after a run in which the step has failed, and the failure is over."""
        ec2 = self.make()
        gateway = Failing(ec2, step, kind)
        outcome = apply(self.plan(ec2), gateway, wait=True, timeout=TIMEOUT)  # type: ignore[arg-type]
        assert bool(outcome.errors) is gateway.has_failed, _text(step, kind)
        self.protected(ec2)
        gateway.heal()
        return ec2, outcome


def assert_heals(flow: Flow) -> None:
    """Let each step of the flow's plan fail in each way: only its dependents are left out, and later runs do them."""
    plan = flow.plan(flow.make())
    assert plan.changes
    assert_only_dependents_are_left_out(plan)
    expected = flow.settled(flow.make())
    for step, kind in flow.failures():
        ec2, _outcome = flow.failed_run(step, kind)
        assert flow.settled(ec2) == expected, _text(step, kind)


def _text(step: Step, kind: str) -> str:
    action = step.change.action if step.change is not None else ""
    return f"{action} {[wait.goal for wait in step.waits]} {sorted(step.resources)}: {kind}"
