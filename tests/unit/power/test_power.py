# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of `instance_power`: its queries, its plan from every state of an instance, and its refusals."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.hold import Hold, hold_of
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.power_cycle import (
    NO_CAPACITY,
    held_stop,
    restore_stages,
    stop_queries,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.apply import apply
from ansible_collections.ec2ops.storage.plugins.module_utils._features.power import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import (
    Ambiguous,
    Incomplete,
    SpecError,
    StorageError,
    Unanswered,
    UnsafePlan,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import (
    INSTANCE_TYPE,
    IS_PERSISTENT,
    MEMBERSHIP,
    STOP_PROTECTION,
    Membership,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import planned
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan, guard
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prediction import overlay
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Fact, Instance, Resource
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query, State
from ansible_collections.ec2ops.storage.plugins.modules import instance_power
from hypothesis import given
from hypothesis import strategies as st

from asking import answered, asks
from in_process import machine, run
from power_world import FOUR, ONE, REGION, SUCCESSOR, THREE, TWO, spec
from proven import launched, stopped_at
from sandbox.client import Sandbox
from worlds import World

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
TAG = "ec2ops:restore-state"
HELD = Hold(NOW - timedelta(minutes=10), NOW + timedelta(minutes=20)).value
OVER = Hold(NOW - timedelta(hours=3), NOW - timedelta(hours=2)).value
STATES = ("pending", "running", "stopping", "stopped")
PLAIN_TYPE = INSTANCE_TYPE.fact("m5.large", {"InstanceStorageSupported": False})


def instance(instance_id: str = ONE, state: str = "running", tag: str | None = None, **fields: Any) -> Instance:
    tags = {"Name": "web", **({} if tag is None else {TAG: tag}), **fields.pop("tags", {})}
    values = {"instance_type": "m5.large", "launch_time": NOW - timedelta(days=1), "tags": tags, **fields}
    made = Instance(instance_id, state, **values)
    hold = hold_of(made)
    if state == "stopped" and hold is not None:
        moment = max(hold.since, made.launch_time or hold.since)
        made = dataclasses.replace(made, facts={**stopped_at(moment), **made.facts})
    return launched(made)


def successor(**fields: Any) -> Instance:
    return instance(SUCCESSOR, **{"tags": {"ec2ops:replaces": ONE}, **fields})


def world(*resources: Resource) -> State:
    return State(REGION, {resource.resource_id: resource for resource in (PLAIN_TYPE, *resources)})


def plan(wanted: planner.PowerSpec, *resources: Resource) -> Plan:
    return guard(planner.plan(wanted, world(*resources), NOW))


def steps(made: Plan) -> list[tuple[list[str], list[str]]]:
    """Stage by stage: the operations with their resources, and the goals with theirs."""
    return [
        (
            [f"{change.action} {change.resource[-1]}" for change in stage.changes],
            [f"{wait.goal} {','.join(resource[-1] for resource in wait.resources)}" for wait in stage.waits],
        )
        for stage in made.stages
    ]


def asked(wanted: planner.PowerSpec, *resources: Resource) -> list[Query]:
    """All queries of a run in a world of these resources: asked in rounds, as the runner does."""

    def answer(query: Query) -> list[Resource]:
        return [item for item in resources if matches(query, item)]

    _state, queries = answered(planner.FEATURE, wanted, answer, State(REGION))
    return queries


def matches(query: Query, resource: Resource) -> bool:
    if query.operation == "DescribeInstances" and isinstance(resource, Instance):
        (name, values) = query.filters[0]
        if name == "instance-id":
            return resource.instance_id in values
        if name == "tag-key":
            return bool(set(values) & set(resource.tags))
        return any(value.strip("*") in resource.tags.get("ec2ops:replaces", "") for value in values)
    return isinstance(resource, Fact) and query.operation != "DescribeInstances"


def operations(queries: Sequence[Query]) -> list[str]:
    return [query.operation for query in queries]


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"state": "stopped", "instance_ids": ["web-1"]}, "'web-1' is not an id"),
        ({"state": "stopped", "instance_ids": ["vol-00000000000000001"]}, "is not an id"),
        ({"state": "stopped", "instance_ids": None}, "required with state: stopped"),
        ({"state": "running", "instance_ids": None}, "required with state: running"),
        ({"state": "running", "remember": True}, "remember: needs state: stopped"),
        ({"state": "restored", "remember": True}, "remember: needs state: stopped"),
        ({"state": "running", "force": True, "hibernate": True}, "force, hibernate: needs state: stopped"),
        ({"state": "restored", "skip_os_shutdown": True}, "needs state: stopped"),
        ({"state": "running", "lose_instance_store": True}, "needs state: stopped"),
        ({"state": "stopped", "force_start": True}, "force_start: needs"),
        ({"state": "stopped", "hibernate": True, "force": True}, "hibernate: excludes force and skip_os_shutdown"),
        ({"state": "restored", "older_than": "soon"}, "older_than: 'soon'"),
    ],
)
def test_options_that_cannot_be_are_refused_before_any_call(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        spec(**options)


def test_an_id_that_is_named_twice_counts_once() -> None:
    assert spec("stopped", instance_ids=[TWO, ONE, TWO]).instance_ids == (TWO, ONE)


@pytest.mark.parametrize("state", ["stopped", "running", "restored"])
def test_an_empty_list_means_no_instance(state: str) -> None:
    wanted = spec(state, instance_ids=[])
    assert asked(wanted, instance(tag=OVER)) == []
    assert plan(wanted, instance(tag=OVER)).stages == ()


# --- stopped ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("running", [(["StopInstances 1"], ["stopped 1"])]),
        ("pending", [([], ["running 1"]), (["StopInstances 1"], ["stopped 1"])]),
        ("stopping", [([], ["stopped 1"])]),
        ("stopped", []),
    ],
)
def test_stopped_from_each_state_converges(state: str, expected: Any) -> None:
    assert steps(plan(spec("stopped"), instance(state=state))) == expected


def test_many_instances_are_one_batch() -> None:
    made = plan(
        spec("stopped", instance_ids=[THREE, ONE, TWO], remember=True),
        instance(ONE),
        instance(TWO, "stopping"),
        instance(THREE, "pending"),
    )
    assert steps(made) == [
        ([], ["running 3"]),
        (["CreateTags 3", "CreateTags 1"], []),
        (["StopInstances 3", "StopInstances 1"], ["stopped 2", "stopped 3", "stopped 1"]),
    ]
    # Equal parameters, so that the engine makes one call of them.
    assert all(len({str(change.parameters) for change in stage.changes}) <= 1 for stage in made.stages)


def test_last_change_may_have_no_wait() -> None:
    made = plan(spec("stopped"), instance(state="pending"))
    assert [wait.final for stage in made.stages for wait in stage.waits] == [False, True]


@pytest.mark.parametrize(
    ("options", "parameters"),
    [
        ({}, {}),
        ({"force": True, "skip_os_shutdown": True}, {"Force": True, "SkipOsShutdown": True}),
        ({"hibernate": True}, {"Hibernate": True}),
    ],
)
def test_stop_sends_only_the_given_options(options: dict[str, Any], parameters: dict[str, Any]) -> None:
    (change,) = plan(spec("stopped", **options), instance(facts={"HibernationOptions": {"Configured": True}})).changes
    assert change.parameters == parameters
    assert change.disruptive


def test_a_public_address_that_will_change_is_named() -> None:
    made = plan(
        spec("stopped", instance_ids=[ONE, TWO]),
        instance(ONE, public_ip_address="203.0.113.7"),
        instance(TWO, public_ip_address="203.0.113.8", elastic_ip=True),
    )
    first, second = made.changes
    assert "203.0.113.7 will change" in first.reason
    assert first.after == {"state": "stopped", "public_ip_address": None}
    assert "203.0.113.8" not in second.reason
    assert second.after == {"state": "stopped"}
    (warning,) = made.warnings
    assert "203.0.113.7" in warning


def test_remember_records_running_instances_with_start_and_length() -> None:
    (tag, stop) = plan(spec("stopped", remember=True, wait_timeout=600), instance()).changes
    value = "running 2026-11-23T12:00:00Z 2026-11-23T12:10:00Z"
    assert (tag.action, stop.action) == ("CreateTags", "StopInstances")
    assert tag.parameters == {"Tags": [{"Key": TAG, "Value": value}]}
    assert tag.published()["parameters"] == {"Tags": [{"Key": TAG, "Value": "running"}]}
    assert tag.after == {"tags": {"Name": "web", TAG: value}}


def test_remember_writes_which_instance_had_a_public_address_of_its_own() -> None:
    made = plan(
        spec("stopped", instance_ids=[ONE, TWO, THREE], remember=True),
        instance(ONE, public_ip_address="203.0.113.7"),
        instance(TWO, public_ip_address="203.0.113.8", elastic_ip=True),
        instance(THREE),
    )
    written = [change for change in made.changes if change.action == "CreateTags"]
    value = "running 2026-11-23T12:00:00Z 2026-11-23T12:30:00Z"
    assert [change.parameters["Tags"][0]["Value"] for change in written] == [f"{value} public", value, value]
    assert {change.published()["parameters"]["Tags"][0]["Value"] for change in written} == {"running"}
    # After the stop, each instance's hold is compared with its record.
    assert [wait.expect for wait in made.stages[-1].waits] == [
        (("tags", {TAG: change.parameters["Tags"][0]["Value"]}),) for change in written
    ]


@pytest.mark.parametrize(
    ("state", "tag", "written"),
    [
        ("running", None, True),
        ("running", HELD, False),
        # The instance was started since then, so the hold is over.
        ("running", Hold(NOW - timedelta(days=2), NOW - timedelta(days=1)).value, True),
        # No run has written this hold: it begins tomorrow, and would prove no stop of today.
        ("running", Hold(NOW + timedelta(days=1), NOW + timedelta(days=2)).value, True),
        ("stopping", None, False),
        ("stopped", None, False),
    ],
)
def test_remember_keeps_a_lasting_hold(state: str, tag: str | None, written: bool) -> None:
    made = plan(spec("stopped", remember=True), instance(state=state, tag=tag))
    assert ("CreateTags" in [change.action for change in made.changes]) is written


def test_remember_replaces_a_value_that_is_no_hold() -> None:
    made = plan(spec("stopped", remember=True), instance(tag="mine"))
    assert [change.action for change in made.changes] == ["CreateTags", "StopInstances"]
    assert any("did not write ('mine')" in warning for warning in made.warnings)


def spot(is_persistent: bool | None) -> tuple[Resource, ...]:
    found = instance(lifecycle="spot", spot_request_id="sir-1")
    return (found,) if is_persistent is None else (found, IS_PERSISTENT.fact("sir-1", is_persistent))


def member(lifecycle: str) -> tuple[Resource, ...]:
    fact = MEMBERSHIP.fact(ONE, Membership("web", lifecycle))
    return (instance(tags={"aws:autoscaling:groupName": "web"}), fact)


REFUSALS: list[tuple[str, dict[str, Any], tuple[Resource, ...], str]] = [
    ("managed", {}, (instance(operator="eks.amazonaws.com"),), "managed by eks.amazonaws.com"),
    ("group", {}, member("InService"), "InService in the Auto Scaling group web"),
    ("entering", {}, member("EnteringStandby"), "EnteringStandby in the Auto Scaling group web"),
    ("one-time", {}, spot(False), "one-time spot"),
    ("request gone", {}, spot(None), "one-time spot"),
    (
        "store",
        {},
        (instance(instance_type="i3.large"), INSTANCE_TYPE.fact("i3.large", {"InstanceStorageSupported": True})),
        "i3.large",
    ),
    ("type unknown", {}, (instance(instance_type="x0.huge"),), "x0.huge"),
    ("protected", {}, (instance(), STOP_PROTECTION.fact(ONE, True)), "stop protection"),
    ("hibernate", {"hibernate": True}, (instance(),), "hibernation"),
]


@pytest.mark.parametrize("case", REFUSALS, ids=[case[0] for case in REFUSALS])
def test_obstacle_to_a_stop_is_refused(case: tuple[str, dict[str, Any], tuple[Resource, ...], str]) -> None:
    _name, options, resources, words = case
    with pytest.raises(UnsafePlan, match=words) as caught:
        plan(spec("stopped", **options), *resources)
    assert ONE in str(caught.value)
    assert "The task has changed nothing" in str(caught.value)


@pytest.mark.parametrize("case", REFUSALS, ids=[case[0] for case in REFUSALS])
@pytest.mark.parametrize("state", ["stopping", "stopped"])
def test_obstacles_of_instances_without_a_stop_are_ignored(
    case: tuple[str, dict[str, Any], tuple[Resource, ...], str], state: str
) -> None:
    _name, options, (found, *more), _words = case
    assert isinstance(found, Instance)
    assert plan(spec("stopped", **options), dataclasses.replace(found, state=state), *more).is_empty


@pytest.mark.parametrize(
    ("options", "resources"),
    [
        ({}, member("Standby")),
        ({}, (instance(tags={"aws:autoscaling:groupName": "web"}),)),
        ({}, spot("persistent")),
        ({"lose_instance_store": True}, (instance(instance_type="x0.huge"),)),
        ({}, (instance(), STOP_PROTECTION.fact(ONE, False))),
        ({"hibernate": True}, (instance(facts={"HibernationOptions": {"Configured": True}}),)),
        ({}, (instance(tag="mine"),)),
    ],
)
def test_harmless_facts_permit_a_stop(options: dict[str, Any], resources: tuple[Resource, ...]) -> None:
    assert [change.action for change in plan(spec("stopped", **options), *resources).changes] == ["StopInstances"]


# --- several instances ------------------------------------------------------------------------------------------------


def test_all_offenders_are_named_at_once() -> None:
    with pytest.raises(UnsafePlan) as caught:
        plan(
            spec("stopped", instance_ids=[ONE, THREE]),
            instance(ONE, operator="eks"),
            instance(THREE),
            STOP_PROTECTION.fact(THREE, True),
        )
    assert ONE in str(caught.value)
    assert THREE in str(caught.value)


@pytest.mark.parametrize("state", ["stopped", "running"])
def test_unknown_and_terminated_ids_are_named_before_anything_is_changed(state: str) -> None:
    wanted = spec(state, instance_ids=[TWO, THREE])
    with pytest.raises(SpecError) as caught:
        plan(wanted, instance(TWO, "terminated"))
    assert f"{TWO} is terminated; {THREE} does not exist in {REGION}" in str(caught.value)
    # The second one asks for successors of those that are gone.
    assert operations(asked(wanted, instance(TWO, "terminated"))) == ["DescribeInstances"] * 2


def bad(name: str) -> tuple[Resource, ...]:
    """The second instance of a task, as it cannot be planned."""
    group = {"aws:autoscaling:groupName": "web"}
    worlds: dict[str, tuple[Resource, ...]] = {
        "unknown": (),
        "terminated": (instance(TWO, "terminated"),),
        "managed": (instance(TWO, operator="eks.amazonaws.com"),),
        "member": (
            instance(TWO, tags=group),
            MEMBERSHIP.fact(TWO, Membership("web", "InService")),
        ),
        "protected": (instance(TWO), STOP_PROTECTION.fact(TWO, True)),
        "full": (instance(TWO, tags={f"k{number}": "v" for number in range(49)}),),
        "replaced": (instance(TWO, "stopped", HELD), instance(SUCCESSOR, tags={"ec2ops:replaces": TWO})),
        "contested": (
            instance(TWO, "stopped", HELD),
            instance(SUCCESSOR, tags={"ec2ops:replaces": TWO}),
            instance(FOUR, tags={"ec2ops:replaces": TWO}),
        ),
    }
    return worlds[name]


STOPPING = ["CreateTags", "StopInstances"]


@pytest.mark.parametrize(
    ("state", "name", "actions", "error"),
    [
        *(("stopped", name, STOPPING, SpecError) for name in ("unknown", "terminated")),
        *(("stopped", name, STOPPING, UnsafePlan) for name in ("managed", "member", "protected", "full")),
        *(("running", name, ["StartInstances"], SpecError) for name in ("unknown", "terminated")),
        ("running", "replaced", ["StartInstances"], UnsafePlan),
        ("running", "contested", ["StartInstances"], Ambiguous),
        ("restored", "unknown", ["StartInstances", "DeleteTags"], SpecError),
        ("restored", "replaced", ["StartInstances", "DeleteTags"], UnsafePlan),
        ("restored", "contested", ["StartInstances", "DeleteTags"], Ambiguous),
    ],
)
def test_bad_instance_is_refused_by_its_id_and_the_others_are_planned(
    state: str, name: str, actions: list[str], error: type[StorageError]
) -> None:
    good = instance(ONE) if state == "stopped" else instance(ONE, "stopped", HELD)
    wanted = spec(state, instance_ids=[ONE, TWO], remember=state == "stopped")
    made = plan(wanted, good, *bad(name))
    assert [(change.action, change.resource) for change in made.changes] == [(action, ONE) for action in actions]
    assert isinstance(made.refused, Incomplete)
    assert [type(cause) for cause in made.refused.causes] == [error]
    text = str(made.refused)
    assert TWO in text
    assert ONE not in text
    assert f"The task {'stops' if state == 'stopped' else 'starts'} the other instances." in text


def test_remedy_of_a_contested_instance_follows_the_claimants() -> None:
    held = instance(ONE, "stopped", HELD)
    made = plan(spec("restored", instance_ids=[ONE, TWO]), held, *bad("contested"))
    end = "The task starts the other instances. Terminate the wrong one, or remove its tag."
    assert str(made.refused).endswith(f"(tag ec2ops:replaces): {FOUR}, {SUCCESSOR}. {end}")
    over = (instance(TWO, "stopped", OVER), *bad("contested")[1:])
    (warning,) = plan(spec("restored", instance_ids=None), *over).warnings
    assert warning.endswith(
        f"{FOUR}, {SUCCESSOR}. The task does not start {TWO}. Terminate the wrong one, or remove its tag"
    )


def test_every_reason_is_told_once_and_every_error_is_kept() -> None:
    ids = [f"i-{number:017x}" for number in range(1, 15)]
    made = plan(
        spec("stopped", instance_ids=ids), instance(ids[0]), *(instance(item, operator="eks") for item in ids[1:13])
    )
    assert made.refused is not None
    text = str(made.refused)
    assert "… and 2 more" in text
    assert text.count("instance_ids: ") == 2
    assert f"{ids[13]} does not exist" in text
    assert isinstance(made.refused, Incomplete)
    assert len(made.refused.causes) == 13


@pytest.mark.parametrize(
    ("operation", "fields"),
    [
        ("DescribeInstanceAttribute", {}),
        ("DescribeAutoScalingInstances", {"tags": {"aws:autoscaling:groupName": "web"}}),
        ("DescribeSpotInstanceRequests", {"lifecycle": "spot", "spot_request_id": "sir-1"}),
    ],
)
def test_instance_whose_facts_are_not_answered_is_refused(operation: str, fields: dict[str, Any]) -> None:
    wanted = spec("stopped", instance_ids=[ONE, TWO])
    state = world(instance(ONE), instance(TWO, **fields))
    (query,) = (
        query
        for query in stop_queries([instance(ONE), instance(TWO, **fields)], lose_instance_store=False)
        if query.operation == operation and (TWO in str(query) or "sir-1" in str(query))
    )
    assert query.optional
    error = CallError(operation, "UnauthorizedOperation", "no")
    made = guard(planner.plan(wanted, dataclasses.replace(state, unanswered={query: error}), NOW))
    assert [change.resource for change in made.changes] == [ONE]
    assert f"{TWO}: {operation} failed: UnauthorizedOperation" in str(made.refused)
    assert isinstance(made.refused, Incomplete)
    (cause,) = made.refused.causes
    assert isinstance(cause, Unanswered)
    assert cause.causes == (error,)


# --- running ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("stopped", [(["StartInstances 1"], ["running 1"])]),
        ("stopping", [([], ["stopped 1"]), (["StartInstances 1"], ["running 1"])]),
        ("pending", [([], ["running 1"])]),
        ("running", []),
    ],
)
def test_running_from_each_state_converges(state: str, expected: Any) -> None:
    assert steps(plan(spec("running"), instance(state=state))) == expected


def test_a_start_that_lacks_capacity_is_tried_again() -> None:
    (stage,) = plan(spec("running"), instance(state="stopped")).stages
    assert "InsufficientInstanceCapacity" in stage.patience


@pytest.mark.parametrize("state", ["running", "restored"])
def test_a_replaced_instance_is_not_started_beside_its_successor(state: str) -> None:
    old = instance(state="stopped", tag=HELD)
    with pytest.raises(UnsafePlan, match=f"{ONE} was replaced by {SUCCESSOR}.*force_start"):
        plan(spec(state), old, successor())
    assert "StartInstances" in [
        change.action for change in plan(spec(state, force_start=True), old, successor()).changes
    ]
    assert "StartInstances" in [
        change.action for change in plan(spec(state), old, successor(state="terminated")).changes
    ]


def test_two_successors_are_ambiguous() -> None:
    with pytest.raises(Ambiguous):
        plan(spec("running"), instance(state="stopped"), successor(), instance(THREE, tags={"ec2ops:replaces": ONE}))


# --- restored ---------------------------------------------------------------------------------------------------------

SPENT = Hold(NOW - timedelta(days=2), NOW - timedelta(days=2)).value
FORGET = (["DeleteTags 1"], [])
START = (["StartInstances 1"], ["running 1"])


@pytest.mark.parametrize(
    ("state", "tag", "expected"),
    [
        *((state, None, []) for state in (*STATES, "terminated")),
        ("stopped", HELD, [START, FORGET]),
        ("stopping", HELD, [([], ["stopped 1"]), START, FORGET]),
        ("running", HELD, [FORGET]),
        ("pending", HELD, [([], ["running 1"]), FORGET]),
        *((state, SPENT, [FORGET]) for state in STATES if state != "pending"),
        ("pending", SPENT, [([], ["running 1"]), FORGET]),
        *((state, "mine", []) for state in STATES),
        ("terminated", HELD, []),
        ("shutting-down", HELD, []),
    ],
)
def test_restored_from_each_state_converges(state: str, tag: str | None, expected: Any) -> None:
    made = plan(spec("restored"), instance(state=state, tag=tag))
    assert steps(made) == expected
    assert bool(made.warnings) is (tag == "mine")


def test_the_record_is_removed_last_and_by_its_key_alone() -> None:
    made = plan(spec("restored"), instance(state="stopped", tag=HELD))
    start, forget = made.changes
    assert (start.action, forget.action) == ("StartInstances", "DeleteTags")
    assert forget.parameters == {"Tags": [{"Key": TAG}]}
    assert forget.after == {"tags": {"Name": "web"}}
    # The start is waited for even where the task does not wait: the removal builds on it.
    assert not made.stages[0].waits[0].final
    assert "InsufficientInstanceCapacity" in made.stages[0].patience


def test_outdated_hold_is_removed_before_the_starts() -> None:
    made = plan(
        spec("restored", instance_ids=[ONE, TWO]), instance(ONE, "stopped", HELD), instance(TWO, "running", HELD)
    )
    assert steps(made) == [(["DeleteTags 2"], []), START, FORGET]


def test_restored_with_a_gone_replaced_id_changes_nothing() -> None:
    assert plan(spec("restored"), successor()).stages == ()


def test_restored_with_an_unknown_id_is_refused() -> None:
    with pytest.raises(SpecError, match=f"{ONE} does not exist in {REGION}, and has no successor there"):
        plan(spec("restored"))


def test_restored_without_ids_starts_all_held_instances() -> None:
    wanted = spec("restored", instance_ids=None)
    made = plan(wanted, instance(ONE, "stopped", OVER), instance(TWO, "stopped", HELD), instance(THREE, "stopped"))
    assert steps(made) == [START, FORGET]


@pytest.mark.parametrize(("ended", "older_than", "taken"), [(61, "1h", True), (60, "1h", False), (61, "2h", False)])
def test_without_ids_the_end_of_the_hold_decides(ended: int, older_than: str, taken: bool) -> None:
    tag = Hold(NOW - timedelta(hours=5), NOW - timedelta(minutes=ended)).value
    made = plan(spec("restored", instance_ids=None, older_than=older_than), instance(state="stopped", tag=tag))
    assert bool(made.changes) is taken


def test_without_ids_a_replaced_instance_is_left_and_named() -> None:
    made = plan(
        spec("restored", instance_ids=None), instance(ONE, "stopped", OVER), instance(TWO, "stopped", OVER), successor()
    )
    assert [change.resource for change in made.changes] == [TWO, TWO]
    (warning,) = made.warnings
    assert f"{ONE} was replaced by {SUCCESSOR}" in warning


def on_trial(trial: str, hours: float) -> Instance:
    """A successor with this record, launched so long ago."""
    born = NOW - timedelta(hours=hours)
    facts = {"BlockDeviceMappings": [{"Ebs": {"AttachTime": born}}]}
    return successor(launch_time=born, facts=facts, tags={"ec2ops:replaces": ONE, "ec2ops:trial": trial})


GIVEN_UP = [(["CreateTags 9"], [])]
STARTED = [(["StartInstances 1"], ["running 1"])]
FORGOTTEN = [(["DeleteTags 1"], [])]


@pytest.mark.parametrize("ids", [[ONE], None])
@pytest.mark.parametrize(
    ("state", "started", "trial", "expected"),
    [
        # A run was interrupted after the launch: no instance serves, whether or not the successor is healthy.
        ("stopped", 24, "unproven", [*STARTED, *GIVEN_UP, *FORGOTTEN]),
        ("stopped", 24, "rejected", [*STARTED, *FORGOTTEN]),
        # A rollback was interrupted after the start.
        ("running", 1, "unproven", [*GIVEN_UP, *FORGOTTEN]),
        ("running", 1, "rejected", FORGOTTEN),
        # The predecessor was started again before the launch, so the hold is a leftover.
        ("running", 2.5, "unproven", FORGOTTEN),
        ("running", 24, "unproven", FORGOTTEN),
    ],
)
def test_predecessor_that_is_back_serves_and_its_successor_is_rejected(
    ids: list[str] | None, state: str, started: float, trial: str, expected: Any
) -> None:
    old = instance(ONE, state, OVER, launch_time=NOW - timedelta(hours=started))
    made = plan(spec("restored", instance_ids=ids), old, on_trial(trial, hours=2))
    assert steps(made) == expected
    if GIVEN_UP[0] in expected:
        (warning,) = made.warnings
        assert f"{SUCCESSOR} was launched to replace {ONE} and is unproven" in warning
        mark = next(change for change in made.changes if change.action == "CreateTags")
        assert mark.parameters == {"Tags": [{"Key": "ec2ops:trial", "Value": "rejected"}]}


def test_serving_successor_stands_for_its_predecessor() -> None:
    old = instance(state="stopped", tag=OVER)
    with pytest.raises(UnsafePlan, match=f"{ONE} was replaced by {SUCCESSOR}"):
        plan(spec("restored"), old, on_trial("serving", hours=2))


def test_forced_start_rejects_no_successor_and_asks_no_query() -> None:
    old = instance(state="stopped", tag=OVER)
    made = plan(spec("restored", force_start=True), old, on_trial("unproven", hours=2))
    assert [change.action for change in made.changes] == ["StartInstances", "DeleteTags"]


# --- questions --------------------------------------------------------------------------------------------------------

NO_OPS = [
    (spec("stopped"), (instance(state="stopped"),)),
    (spec("stopped", instance_ids=[ONE, TWO], remember=True), (instance(ONE, "stopped"), instance(TWO, "stopping"))),
    (spec("running"), (instance(),)),
    (spec("running", instance_ids=[ONE, TWO]), (instance(ONE), instance(TWO, "pending"))),
    (spec("restored"), (instance(),)),
    (spec("restored"), (instance(state="stopped"),)),
    (spec("restored"), (instance(tag=HELD),)),
    (spec("restored"), (instance(state="terminated"),)),
    (spec("restored", instance_ids=None), ()),
]


@pytest.mark.parametrize("case", NO_OPS)
def test_run_without_changes_makes_one_call(case: tuple[planner.PowerSpec, tuple[Resource, ...]]) -> None:
    wanted, resources = case
    assert operations(asked(wanted, *resources)) == ["DescribeInstances"]


@pytest.mark.parametrize(
    ("wanted", "resources", "expected"),
    [
        (spec("stopped"), (instance(),), ["DescribeInstances", "DescribeInstanceTypes", "DescribeInstanceAttribute"]),
        (spec("stopped", lose_instance_store=True), (instance(),), ["DescribeInstances", "DescribeInstanceAttribute"]),
        (spec("stopped"), (instance(instance_type="t4g.nano"),), ["DescribeInstances", "DescribeInstanceAttribute"]),
        (
            spec("stopped"),
            member("Standby"),
            ["DescribeInstances", "DescribeAutoScalingInstances", "DescribeInstanceTypes", "DescribeInstanceAttribute"],
        ),
        (
            spec("stopped"),
            spot("persistent"),
            ["DescribeInstances", "DescribeSpotInstanceRequests", "DescribeInstanceTypes", "DescribeInstanceAttribute"],
        ),
        (spec("running"), (instance(state="stopped"),), ["DescribeInstances"] * 2),
        (spec("running", force_start=True), (instance(state="stopped"),), ["DescribeInstances"] * 2),
        (spec("restored"), (instance(state="stopped", tag=HELD),), ["DescribeInstances"] * 2),
        (spec("restored"), (instance(tag=HELD, launch_time=NOW),), ["DescribeInstances"] * 2),
        (spec("restored"), (), ["DescribeInstances"] * 2),
    ],
)
def test_no_more_is_asked_than_the_plan_needs(
    wanted: planner.PowerSpec, resources: tuple[Resource, ...], expected: list[str]
) -> None:
    assert operations(asked(wanted, *resources)) == expected


@pytest.mark.parametrize(("count", "reads"), [(20, 20), (21, 0)])
def test_stop_protection_is_read_for_up_to_twenty_instances(count: int, reads: int) -> None:
    ids = [f"i-{number:017x}" for number in range(count)]
    calls = operations(asked(spec("stopped", instance_ids=ids), *(instance(item) for item in ids)))
    assert calls.count("DescribeInstanceAttribute") == reads
    assert len(calls) == reads + 2


def test_nothing_is_asked_about_an_instance_that_is_only_planned() -> None:
    name = planned("instance", "web from ami")
    wanted = spec("stopped", instance_ids=[name])
    state = world(instance(name))
    assert operations(asks(planner.FEATURE, wanted, state)) == ["DescribeInstanceTypes"]
    assert [change.resource for change in planner.plan(wanted, state, NOW).changes] == [name]


# --- properties -------------------------------------------------------------------------------------------------------

instances = st.lists(
    st.builds(
        lambda state, tag: (state, tag),
        st.sampled_from(STATES),
        st.sampled_from([None, HELD, OVER, SPENT, "mine"]),
    ),
    min_size=1,
    max_size=6,
).map(lambda items: [instance(f"i-{number:017x}", state, tag) for number, (state, tag) in enumerate(items)])
specs = st.tuples(st.sampled_from(["stopped", "running", "restored"]), st.booleans(), st.booleans())


def chosen(found: list[Instance], choice: tuple[str, bool, bool]) -> planner.PowerSpec:
    state, named, remember = choice
    ids = [item.instance_id for item in found] if named or state != "restored" else None
    return spec(state, instance_ids=ids, remember=remember and state == "stopped")


@given(instances, specs)
def test_nothing_is_left_to_do_after_the_plan(found: list[Instance], choice: tuple[str, bool, bool]) -> None:
    wanted, state = chosen(found, choice), world(*found)
    try:
        made = guard(planner.plan(wanted, state, NOW))
    except UnsafePlan:
        assert choice[2]
        return
    after = overlay(state, made.published())
    assert planner.plan(wanted, after, NOW).is_empty
    if choice[0] != "restored":
        goals = {"stopped": {"stopped", "stopping"}, "running": {"running", "pending"}}[choice[0]]
        assert {item["state"] for item in planner.result(wanted, after)["instances"]} <= goals


@given(instances, specs, st.randoms(use_true_random=False))
def test_the_order_of_the_answers_does_not_matter(
    found: list[Instance], choice: tuple[str, bool, bool], shuffler: random.Random
) -> None:
    wanted = chosen(found, choice)
    shuffled = [*found]
    shuffler.shuffle(shuffled)
    if choice[2] and any(item.tags.get(TAG) == "mine" and item.state in ("running", "pending") for item in found):
        return
    assert planner.plan(wanted, world(*found), NOW) == planner.plan(wanted, world(*shuffled), NOW)


@given(instances, specs)
def test_instance_in_the_wanted_state_is_neither_started_nor_stopped(
    found: list[Instance], choice: tuple[str, bool, bool]
) -> None:
    wanted, state = chosen(found, choice), world(*found)
    try:
        made = planner.plan(wanted, state, NOW)
    except UnsafePlan:
        return
    before = {item.instance_id: item.state for item in found}
    for change in made.changes:
        if change.action == "StartInstances":
            assert before[change.resource] in ("stopped", "stopping")
        if change.action == "StopInstances":
            assert before[change.resource] in ("running", "pending")


def test_the_result_keeps_the_order_of_the_option() -> None:
    wanted = spec("stopped", instance_ids=[TWO, ONE])
    found = planner.result(wanted, world(instance(ONE), instance(TWO)))["instances"]
    assert [item["instance_id"] for item in found] == [TWO, ONE]
    assert found[0]["tags"] == {"Name": "web"}


def test_hold_without_room_is_refused() -> None:
    full = {f"k{number}": "v" for number in range(49)}
    with pytest.raises(UnsafePlan, match=f"{ONE} has 50 tags, EC2's maximum.*Remove a tag"):
        plan(spec("stopped", remember=True), instance(tags=full))
    assert plan(spec("stopped"), instance(tags=full)).changes
    aws = {f"aws:k{number}": "v" for number in range(9)}
    for tags in ({"Name": "web", **aws}, {**full, TAG: HELD}):
        assert plan(spec("stopped", remember=True), instance(tags=tags)).changes


def test_late_stop_is_rolled_back() -> None:
    made = plan(spec("stopped", remember=True), instance())
    stop = made.stages[-1]
    record = next(change for change in made.changes if change.action == "CreateTags").after
    assert record is not None
    assert stop.waits[-1].expect == (("tags", {TAG: record["tags"][TAG]}),), "still remembered when it is stopped"
    assert stop.rollback_on == {"mismatch", "refused"}
    forgotten, start = (change for stage in stop.on_failure for change in stage.changes)
    assert (forgotten.action, start.action) == ("DeleteTags", "StartInstances")
    # A query right before the change shows which of the two it is.
    assert [dict(query.filters)["instance-id"] for query in (*forgotten.unless, *start.unless)] == [(ONE,)] * 3
    assert plan(spec("stopped"), instance()).stages[-1].on_failure == (), "without a record there is nothing to compare"


def test_refused_stop_leaves_no_hold(sandbox: Sandbox) -> None:
    """Otherwise a run would undo a later stop by somebody else."""
    web, db = machine(sandbox, "web"), machine(sandbox, "db")
    ids = [web.instance_id, db.instance_id]
    sandbox.refuse("StopInstances")
    ended = run(sandbox, module=instance_power, instance_ids=ids, state="stopped", remember=True)
    assert "UnauthorizedOperation" in ended.failed
    sandbox.refuse()
    assert [(each.state, TAG in each.tags) for each in (web, db)] == [("running", False)] * 2
    assert "StartInstances" not in sandbox.counts()


def test_refused_stop_keeps_the_hold_of_an_earlier_run(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    tags = {"Key": TAG, "Value": Hold(sandbox.now(), sandbox.now() + timedelta(hours=1)).value}
    web.ec2.create_tags(Resources=[web.instance_id], Tags=[tags])
    sandbox.refuse("StopInstances")
    assert run(sandbox, module=instance_power, instance_ids=[web.instance_id], state="stopped", remember=True).failed
    assert TAG in web.tags


def test_stopped_instances_of_a_failed_batch_keep_their_hold(world: World) -> None:
    world.see_at_once()
    after = partly_stopped(world)
    assert (after["web"].state in ("stopping", "stopped"), TAG in after["web"].tags) == (True, True)
    assert (after["db"].state, TAG in after["db"].tags) == ("running", False)


def test_late_answer_leaves_no_instance_stopped_without_a_hold(world: World) -> None:
    after = partly_stopped(world)
    assert after["web"].state == "running" or TAG in after["web"].tags
    assert (after["db"].state, TAG in after["db"].tags) == ("running", False)


def partly_stopped(world: World) -> dict[str, Instance]:
    """By name, two instances after the rollback of a stop that EC2 accepted only for the first one."""
    found = [world.instance(tags={"Name": name}) for name in ("web", "db")]
    record, stop = held_stop(found, world.gateway.region, world.gateway.now(), HOLD_TIME)
    first = dataclasses.replace(stop, changes=stop.changes[:1], waits=(), on_failure=())
    back = Plan((record, first, *stop.on_failure))
    assert apply(back, world.gateway, wait=True, timeout=600).error is None
    return {item.tags["Name"]: item for item in world.existing("instance")}


def test_bad_instances_are_named_after_the_others_have_stopped_and_started(sandbox: Sandbox) -> None:
    web, db = machine(sandbox, "web"), machine(sandbox, "db")
    db.ec2.modify_instance_attribute(InstanceId=db.instance_id, DisableApiStop={"Value": True})
    unknown = "i-0123456789abcdef0"
    given = {"instance_ids": [web.instance_id, db.instance_id, unknown], "module": instance_power}
    checked, ran = (run(sandbox, check=check, state="stopped", remember=True, **given) for check in (True, False))
    assert checked.failed == ran.failed
    for said in (f"{db.instance_id} has stop protection", f"{unknown} does not exist", "stops the other instances"):
        assert said in ran.failed
    assert [entry["resource"] for entry in checked.result["plan"]] == [web.instance_id] * 2
    assert [error["code"] for error in ran.result["errors"]] == ["SpecError", "UnsafePlan"]
    assert checked.result["errors"] == ran.result["errors"]
    assert ([each.state for each in (web, db)], ran.result["changed"]) == (["stopped", "running"], True)
    assert {item["instance_id"]: item["state"] for item in ran.result["instances"]} == {
        web.instance_id: "stopped",
        db.instance_id: "running",
    }
    back = run(sandbox, state="restored", **given)
    assert (web.state, TAG in web.tags) == ("running", False)
    assert unknown in back.failed
    assert db.instance_id not in back.failed


# --- held for a while, within one plan --------------------------------------------------------------------------------

HOLD_TIME = timedelta(minutes=30)


def held_plan(*instances: Instance) -> Plan:
    """Instances that one plan stops and starts again, as around work on volumes."""
    stop = held_stop(instances, REGION, NOW, HOLD_TIME, reason="it is {state} and its volumes come off")
    return guard(Plan((*stop, *restore_stages(instances, REGION, NOW, HOLD_TIME))))


@pytest.mark.parametrize(
    ("state", "tag", "actions"),
    [
        ("running", None, ["CreateTags", "StopInstances", "StartInstances", "DeleteTags"]),
        ("pending", None, ["CreateTags", "StopInstances", "StartInstances", "DeleteTags"]),
        ("running", HELD, ["StopInstances", "StartInstances", "DeleteTags"]),
        # An earlier run was interrupted while it held the instance.
        ("stopping", HELD, ["StartInstances", "DeleteTags"]),
        ("stopped", HELD, ["StartInstances", "DeleteTags"]),
    ],
)
def test_held_instance_ends_running_without_a_hold(state: str, tag: str | None, actions: list[str]) -> None:
    found = instance(state=state, tag=tag)
    made = held_plan(found)
    assert [change.action for change in made.changes] == actions
    after = overlay(world(found), made.published()).instance(ONE)
    assert after is not None
    assert (after.state, after.tags) == ("running", {"Name": "web"})


@pytest.mark.parametrize("tag", [None, HELD])
def test_removed_hold_is_the_written_one(tag: str | None) -> None:
    made = held_plan(instance(tag=tag))
    (stop,) = [stage for stage in made.stages if "StopInstances" in [change.action for change in stage.changes]]
    start, forgotten = made.changes[-2:]
    assert forgotten.before is not None
    written = tag or "running 2026-11-23T12:00:00Z 2026-11-23T12:30:00Z"
    assert stop.waits[-1].expect == (("tags", {TAG: written}),)
    assert forgotten.before["tags"][TAG] == written
    assert not stop.waits[-1].final, "the work on the volumes builds on it"
    assert forgotten.reason == "end the hold", "the same in the check run, whose hold had another time"
    assert start.before == {"state": "stopped"}


def test_the_reason_for_a_stop_is_the_callers() -> None:
    (stop,) = [change for change in held_plan(instance()).changes if change.action == "StopInstances"]
    assert stop.reason == "it is running and its volumes come off"


def test_restart_waits_for_a_stop_under_way_but_not_for_a_terminated_instance() -> None:
    start_stage, _forgotten = restore_stages([instance()], REGION, NOW, HOLD_TIME)
    assert start_stage.patience == NO_CAPACITY | {"IncorrectInstanceState"}
    (start,) = start_stage.changes
    assert start.only_while is not None
    filters = dict(start.only_while.filters)
    assert filters["instance-id"] == (ONE,)
    assert filters["tag-key"] == (TAG,), "another run may bring it back in the meantime"
    assert set(filters["instance-state-name"]) == set(STATES), "the terminated one can never be started"


@pytest.mark.parametrize("begun", ["nothing", "the record", "the stop"])
def test_rollback_of_a_stop_at_any_stage_ends_running(world: World, begun: str) -> None:
    found = world.instance(tags={"Name": "web"})
    now = world.gateway.now()
    record, stop = held_stop([found], world.gateway.region, now, HOLD_TIME)
    forward = {"nothing": (), "the record": (record,), "the stop": (record, dataclasses.replace(stop, waits=()))}[begun]
    back = restore_stages([found], world.gateway.region, now, HOLD_TIME)
    outcome = apply(Plan((*forward, *back)), world.gateway, wait=True, timeout=600)
    assert outcome.error is None
    (after,) = world.existing("instance")
    assert (after.state, after.tags) == ("running", {"Name": "web"})


def test_nothing_to_hold_makes_no_stage() -> None:
    assert held_plan().stages == ()
    assert held_stop([instance(state="stopped")], REGION, NOW, HOLD_TIME) == ()
