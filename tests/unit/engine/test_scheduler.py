# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs through graphs: independent steps, failures, shared calls, transactions."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.scheduler import Scheduler
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import StorageError, Superseded
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import (
    ANY_FAILURE,
    Change,
    Plan,
    Precondition,
    Stage,
    Wait,
    apart,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance, Resource
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query
from hypothesis import given
from hypothesis import strategies as some

from stepping import BROKEN, REFUSED, StepGateway, assert_only_dependents_are_left_out, carried_out, graph_of, name_of

IDS = tuple(f"i-{number:08x}" for number in range(1, 6))


def power(action: str, instance: str) -> Change:
    return Change(action, instance, "us-east-1", {}, "the test wants it")


def stages(*actions: str, ids: Sequence[str] = IDS, back: tuple[Stage, ...] = ()) -> list[Stage]:
    """A stage for each action on all instances, with the wait for each of them."""
    goals = {"StopInstances": "stopped", "StartInstances": "running"}
    return [
        Stage(
            tuple(power(action, one) for one in ids),
            tuple(Wait((one,), goals[action]) for one in ids if action in goals),
            back,
            ANY_FAILURE if back else frozenset(),
        )
        for action in actions
    ]


def step_of(plan: Plan, action: str, instance: str) -> int:
    return next(
        step.number
        for step in graph_of(plan.stages).steps
        if step.change is not None and (step.change.action, step.change.resource) == (action, instance)
    )


# --- failures ---


@given(
    some.lists(
        some.tuples(
            some.lists(some.sampled_from(IDS), min_size=1, max_size=4, unique=True),
            some.sampled_from(["StopInstances", "StartInstances", "TerminateInstances"]),
            some.booleans(),
            some.booleans(),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_failure_leaves_out_its_dependents_and_its_transaction_alone(
    rows: list[tuple[list[str], str, bool, bool]],
) -> None:
    made: list[Stage] = []
    for number, (ids, action, is_apart, is_tied) in enumerate(rows):
        (stage,) = stages(action, ids=ids)
        changes = tuple(dataclasses.replace(change, reason=f"stage {number}") for change in stage.changes)
        stage = dataclasses.replace(stage, changes=changes)
        made += apart([stage], "together" if is_tied else "") if is_apart else [stage]
    assert_only_dependents_are_left_out(Plan(tuple(made)))


def test_every_failure_is_told() -> None:
    plan = Plan(apart(stages("StopInstances", "StartInstances")))
    failing = {name_of(power("StopInstances", IDS[0])): REFUSED, step_of(plan, "StopInstances", IDS[1]): BROKEN}
    outcome, _gateway, _graph = carried_out(plan, failing)
    assert len(outcome.errors) == 2
    text = str(outcome.error)
    assert text.startswith("2 failures: ")
    assert all(part in text for part in ("UnauthorizedOperation", f"{IDS[1]} did not get there"))
    assert {change.resource for change in outcome.not_tried} == set(IDS[:2])
    assert {change.resource for change in outcome.done if change.action == "StartInstances"} == set(IDS[2:])


def test_change_without_a_try_names_the_failed_resource() -> None:
    plan = Plan(apart(stages("StopInstances", "StartInstances")))
    outcome, _gateway, _graph = carried_out(plan, {step_of(plan, "StopInstances", IDS[1]): BROKEN})
    (left_out,) = outcome.not_tried
    assert (left_out.action, outcome.causes[id(left_out)]) == ("StartInstances", IDS[1])


# --- transactions ---


def test_failed_transaction_alone_is_rolled_back() -> None:
    back = (Stage(tuple(power("StartInstances", one) for one in IDS), (Wait(IDS, "running"),)),)
    plan = Plan(apart(stages("StopInstances", "TerminateInstances", back=back), "interruption"))
    outcome, _gateway, _graph = carried_out(plan, {name_of(power("TerminateInstances", IDS[2])): REFUSED})
    assert [(change.action, change.resource) for change in outcome.rolled_back] == [("StartInstances", IDS[2])]
    assert {change.resource for change in outcome.done if change.action == "TerminateInstances"} == {*IDS[:2], *IDS[3:]}


def test_plain_plan_is_rolled_back_whole_and_waits_no_longer() -> None:
    back = (Stage(tuple(power("StartInstances", one) for one in IDS)),)
    first, second = stages("StopInstances", "TerminateInstances", back=back)
    plan = Plan((first, second))
    outcome, gateway, _graph = carried_out(plan, {name_of(power("StopInstances", IDS[0])): REFUSED})
    assert {change.resource for change in outcome.rolled_back} == set(IDS)
    assert {change.action for change in outcome.not_tried} == {"TerminateInstances"}
    assert not any(entry.startswith("stopped") for entry in gateway.log)


def test_transaction_that_has_not_begun_is_not_rolled_back() -> None:
    back = (Stage((power("StartInstances", IDS[0]),)),)
    made = apart(stages("StartInstances", ids=IDS[:1]))
    plan = Plan((*made, *apart(stages("StopInstances", ids=IDS[:1], back=back), "interruption")))
    outcome, _gateway, _graph = carried_out(plan, {name_of(power("StartInstances", IDS[0])): REFUSED})
    assert outcome.rolled_back == []
    assert [change.action for change in outcome.not_tried] == ["StopInstances"]


# --- calls ---


class CountingGateway(StepGateway):
    """A gateway that keeps the size of each call, and refuses calls with one instance among them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.bad = ""
        self.sizes: list[int] = []

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        self.sizes.append(len(changes))
        if self.bad in {change.resource for change in changes}:
            raise CallError(changes[0].action, "IncorrectInstanceState", "no", resource=self.bad)
        return super().perform(changes, generation)


def run(gateway: CountingGateway, *planned: Stage, **options: Any) -> Any:
    return Scheduler(gateway, graph_of(planned), **{"wait": True, "timeout": 100.0, **options}).run()


def test_ready_steps_of_one_operation_share_a_call() -> None:
    gateway = CountingGateway()
    run(gateway, *apart(stages("StopInstances", "StartInstances")))
    assert gateway.sizes == [5, 5]


def test_call_that_ec2_refuses_for_one_member_is_repeated_for_the_others() -> None:
    gateway = CountingGateway()
    gateway.bad = IDS[3]
    outcome = run(gateway, *apart(stages("StopInstances")))
    assert {change.resource for change in outcome.done} == set(IDS) - {IDS[3]}
    assert [change.resource for change in outcome.failed] == [IDS[3]]
    assert sorted(gateway.sizes) == [1, 1, 1, 2, 2, 3, 5]


def test_twenty_copies_run_at_once() -> None:
    most = 0

    class Busy(CountingGateway):
        def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
            nonlocal most
            waited = sum(entry.startswith("completed") for entry in self.log)
            copied = sum(entry.startswith("CopySnapshot") for entry in self.log)
            most = max(most, copied - waited + 1)
            return super().perform(changes, generation)

    copies = tuple(
        Change("CopySnapshot", f"(new snapshot {number})", "us-east-1", {"SourceSnapshotId": f"snap-{number:08x}"}, "")
        for number in range(50)
    )
    waits = tuple(Wait((change.resource,), "completed") for change in copies)
    outcome = run(Busy(), *apart([Stage(copies, waits)]))
    assert len(outcome.done) == 50
    assert most <= 20


# --- checks right before a call --------------------------------------------------------------------------------------


def asked_about(instance: str) -> Query:
    return Query("DescribeInstances", (("instance-id", (instance,)),))


class AskedGateway(StepGateway):
    """A gateway that refuses the queries about one instance, and finds another one."""

    refused, found = "", ""

    def ask(
        self, queries: Iterable[Query], failures: dict[Query, StorageError] | None = None
    ) -> Mapping[Query, tuple[Resource, ...]]:
        asked = list(queries)
        if any(self.refused and self.refused in str(query) for query in asked):
            raise CallError("DescribeInstances", "UnauthorizedOperation", "no")
        return {query: (Instance(self.found),) if self.found and self.found in str(query) else () for query in asked}


def checked(**conditions: Any) -> tuple[Stage, ...]:
    """Stops that ask before the call, each about its own instance."""
    changes = tuple(
        dataclasses.replace(power("StopInstances", one), **{name: make(one) for name, make in conditions.items()})
        for one in IDS
    )
    return apart([Stage(changes)])


def test_refused_query_about_one_change_fails_that_change_alone() -> None:
    gateway = AskedGateway()
    gateway.refused, gateway.found = IDS[2], IDS[1]
    plan = checked(unless=lambda one: (asked_about(one),))
    outcome = Scheduler(gateway, graph_of(plan), wait=True, timeout=100.0).run()
    assert [change.resource for change in outcome.failed] == [IDS[2]]
    # The second one is superfluous, as its query shows.
    assert {change.resource for change in outcome.done} == {IDS[0], *IDS[3:]}


@pytest.mark.parametrize("second", [False, True], ids=["first-query", "second-query"])
def test_objection_to_one_change_fails_that_change_alone(second: bool) -> None:
    gateway = AskedGateway()
    gateway.found = IDS[3]
    condition: dict[str, Any] = {"objection": lambda answer, resource: f"{resource} is taken" if answer else ""}

    def provided(one: str) -> Precondition:
        asked = (asked_about("i-none"), asked_about(one)) if second else (asked_about(one),)
        return Precondition(asked[0], also=asked[1:], **condition)

    plan = checked(provided=provided)
    outcome = Scheduler(gateway, graph_of(plan), wait=True, timeout=100.0).run()
    assert [str(error) for error in outcome.errors] == [f"{IDS[3]} is taken"]
    assert isinstance(outcome.errors[0], Superseded)
    assert {change.resource for change in outcome.done} == set(IDS) - {IDS[3]}
