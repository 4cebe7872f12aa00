# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans carried out, in memory and on the sandbox: each resource is made once, even if answers get lost."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.ports import Outcome
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.queues import Queues
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel import tags as tag_names
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError, WaitError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.graph import Step
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import planned
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import ANY_FAILURE, Change, Stage, Wait
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance, Volume
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import by_id
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import MODIFICATION

from applying import (
    IDENTITY,
    OURS,
    REGION,
    by_tags,
    completed,
    delete,
    image,
    launch,
    made_volume,
    own_image,
    power,
    run,
    snapshot,
    succeed,
    volume,
)
from worlds import FakeWorld, World


def tag(resource: str, **tags: str) -> Change:
    return Change(
        "CreateTags", resource, REGION, {"Tags": tag_names.boto3_tags(tags)}, "a tag is missing", {}, {"tags": tags}
    )


def snapshots(instance: Instance, tags: dict[str, str] | None = None) -> list[Change]:
    tags = OURS if tags is None else tags
    return [
        Change(
            action="CreateSnapshots",
            resource=planned("snapshot", f"web/1 {device.device_name}"),
            region=REGION,
            parameters={
                "InstanceSpecification": {"InstanceId": instance.instance_id, "ExcludeBootVolume": False},
                "TagSpecifications": [tag_names.specification("snapshot", tags)],
            },
            reason="the point in time",
            after={"volume_id": device.volume_id, "state": "completed", "tags": tags},
            source=device.volume_id,
            identity=by_tags("DescribeSnapshots", tags),
        )
        for device in instance.block_devices
    ]


def done(outcome: Outcome) -> list[str]:
    return [change.action for change in outcome.done]


# --- stages, groups, waits ---


def test_one_call_stops_many_instances_and_one_poll_loop_waits_for_all(world: World) -> None:
    ids = [world.instance().instance_id for _turn in range(3)]
    outcome = succeed(world, Stage(tuple(power("StopInstances", one) for one in ids), (Wait(tuple(ids), "stopped"),)))
    assert world.count("StopInstances") == 1
    assert {observed.resource_id for observed in outcome.observed.values()} == set(ids)
    assert {getattr(observed, "state", None) for observed in outcome.observed.values()} == {"stopped"}


def test_calls_are_grouped_by_parameters_and_by_the_most_resources_of_a_call() -> None:
    ids = [f"i-{number:017x}" for number in range(1001)]
    queues = Queues()
    for number, change in enumerate([*(tag(one, a="1") for one in ids), tag(ids[0], b="2")]):
        queues.add(Step(number, Stage(), change), change, 0.0)
    assert [len(call.changes) for call in queues.due(0.0, lambda _action, _place: 0, is_alone=True)] == [1000, 1, 1]


def test_ids_given_by_one_stage_are_used_by_the_next_and_in_its_waits(world: World) -> None:
    volume = world.instance().block_devices[0].volume_id
    make = snapshot(volume)
    outcome = succeed(
        world,
        Stage((make,), (Wait((make.resource,), "completed"),)),
        Stage((image(make.resource),), (Wait((planned("image", "web/1"),), "available", expect=(("name", "web-1"),)),)),
    )
    (made,), (registered,) = world.existing("snapshot"), world.existing("image")
    assert outcome.bindings == {make.resource: made.snapshot_id, planned("image", "web/1"): registered.image_id}
    assert registered.block_devices[0].snapshot_id == made.snapshot_id
    assert outcome.observed[made.snapshot_id] == made
    assert made.state == "completed"


def test_planned_id_is_replaced_in_a_tag_of_ours_and_kept_in_a_users_tag(world: World) -> None:
    instance = world.instance()
    make = snapshot(instance.block_devices[0].volume_id)
    values = {tag_names.COPY_OF: f"by {make.resource}", "made": f"by {make.resource}"}
    succeed(world, Stage((make,)), Stage((tag(instance.instance_id, **values),)))
    (made,) = world.existing("snapshot")
    tags = world.existing("instance")[0].tags
    assert tags[tag_names.COPY_OF] == f"by {made.snapshot_id}"
    assert tags["made"] == f"by {make.resource}"


def test_wait_false_skips_waits_without_dependents(fake: FakeWorld) -> None:
    make = snapshot(fake.instance().block_devices[0].volume_id)
    between, last = Wait((make.resource,), "completed"), Wait((planned("image", "web/1"),), "available", final=True)
    outcome = succeed(fake, Stage((make,), (between,)), Stage((image(make.resource),), (last,)), wait=False)
    assert fake.existing("snapshot")[0].state == "completed"
    assert outcome.observed.keys() == {fake.existing("snapshot")[0].snapshot_id}


# --- failures ---


def test_a_failed_stage_finishes_its_calls_and_ends_the_plan(world: World) -> None:
    volume = world.instance().block_devices[0].volume_id
    bad = snapshot("vol-0000000000000dead", "bad", {**OURS, tag_names.VERSION: "bad"})
    good, later = snapshot(volume), image(planned("snapshot", "web/1"))
    outcome = run(world, Stage((bad, good)), Stage((later,)))
    assert isinstance(outcome.error, CallError)
    assert outcome.error.code == "InvalidVolume.NotFound"
    assert (outcome.done, outcome.failed, outcome.not_tried) == ([good], [bad], [later])
    assert world.existing("image") == []


def test_a_snapshot_that_ends_in_error_fails_at_once_with_the_reason(world: World) -> None:
    make = snapshot(world.instance().block_devices[0].volume_id)
    world.see_at_once()
    world.fault("CreateSnapshot", kind="end", message="Client error: the key is disabled")
    outcome = run(world, Stage((make,), (Wait((make.resource,), "completed"),)), timeout=1000)
    assert isinstance(outcome.error, WaitError)
    assert outcome.error.how == "failed"
    assert "the key is disabled" in str(outcome.error)
    assert outcome.error.resources == (world.existing("snapshot")[0].snapshot_id,)
    assert done(outcome) == ["CreateSnapshot"]


def test_snapshot_that_fails_at_once_is_not_looked_for(world: World) -> None:
    """An instance may be on hold meanwhile.

    The snapshot is read once to see the failure, and once more by the wait, for its reason.
    """
    world.see_at_once()
    make = snapshot(world.instance().block_devices[0].volume_id)
    world.fault("CreateSnapshot", kind="end", message="Client error: the key is disabled")
    with world.lasting("snapshot", 0.0):
        outcome = run(world, Stage((make,), (Wait((make.resource,), "completed"),)), timeout=1000)
    assert isinstance(outcome.error, WaitError)
    assert outcome.error.how == "failed"
    assert world.count("DescribeSnapshots") == 2


def test_timeout_names_unready_resources_and_advises_a_rerun(world: World) -> None:
    make = snapshot(world.instance().block_devices[0].volume_id)
    # A slow machine may need far longer than the time limit for the first look.
    with world.lasting("snapshot", 3600.0):
        outcome = run(world, Stage((make,), (Wait((make.resource,), "completed"),)), timeout=1.0)
    assert isinstance(outcome.error, WaitError)
    assert outcome.error.how == "timeout"
    (made,) = world.existing("snapshot")
    assert f"{made.snapshot_id} should become completed but is still pending" in str(outcome.error)
    assert "Run the task again" in str(outcome.error)


def test_failed_wait_ends_its_dependents_and_nothing_else(world: World) -> None:
    instance = world.instance()
    make = snapshot(instance.block_devices[0].volume_id)
    free = tag(instance.instance_id, free="yes")
    dependent = dataclasses.replace(tag(instance.block_devices[0].volume_id, late="yes"), after_steps=(make.resource,))
    stages = (Stage((make,), (Wait((make.resource,), "completed"),), apart=True), Stage((free, dependent), apart=True))
    with world.lasting("snapshot", 3600.0):
        outcome = run(world, *stages, timeout=1.0)
    assert isinstance(outcome.error, WaitError)
    assert (outcome.done, outcome.failed, outcome.not_tried) == ([make, free], [], [dependent])
    assert outcome.causes == {id(dependent): make.resource}


def test_refused_call_ends_its_dependents_and_nothing_else(world: World) -> None:
    instance = world.instance()
    bad = snapshot("vol-0000000000000dead", "bad", {**OURS, tag_names.VERSION: "bad"})
    free = tag(instance.instance_id, free="yes")
    dependent = dataclasses.replace(tag(instance.block_devices[0].volume_id, late="yes"), after_steps=(bad.resource,))
    outcome = run(world, Stage((bad,), apart=True), Stage((free, dependent), apart=True))
    assert isinstance(outcome.error, CallError)
    assert (outcome.done, outcome.failed, outcome.not_tried) == ([free], [bad], [dependent])


def test_rolled_back_timeout_says_that_a_rerun_starts_over(world: World) -> None:
    make = snapshot(world.instance().block_devices[0].volume_id)
    back = Change("DeleteSnapshot", make.resource, REGION, {}, "it is not needed")
    stage = Stage((make,), (Wait((make.resource,), "completed"),), (Stage((back,)),), frozenset({"timeout"}))
    with world.lasting("snapshot", 3600.0):
        outcome = run(world, stage, timeout=1.0)
    assert "begins anew. Set a longer wait_timeout" in str(outcome.error)
    assert "carry on" not in str(outcome.error)


def test_a_wait_has_its_own_limit(fake: FakeWorld) -> None:
    make = snapshot(fake.instance().block_devices[0].volume_id)
    outcome = run(fake, Stage((make,), (Wait((make.resource,), "completed", timeout=0.5),)))
    assert str(outcome.error).startswith("Timeout after 0.5 s")
    assert fake.gateway.monotonic() < 2


def test_an_unexpected_value_is_a_mismatch(fake: FakeWorld) -> None:
    make = snapshot(fake.instance().block_devices[0].volume_id)
    outcome = run(fake, Stage((make,), (Wait((make.resource,), "completed", expect=(("encrypted", True),)),)))
    assert isinstance(outcome.error, WaitError)
    assert outcome.error.how == "mismatch"
    assert "encrypted is False, expected True" in str(outcome.error)


def test_throttling_while_polling_is_asked_again_and_never_success(world: World) -> None:
    make = snapshot(world.instance().block_devices[0].volume_id)
    world.fault("DescribeSnapshots", occurrence=2, code="RequestLimitExceeded", status=503)
    world.fault("DescribeSnapshots", occurrence=3, kind="close")
    outcome = succeed(world, Stage((make,), (Wait((make.resource,), "completed"),)))
    assert [getattr(seen, "state", "") for seen in outcome.observed.values()] == ["completed"]


def test_not_now_is_repeated_until_ec2_accepts(world: World) -> None:
    instance = world.instance().instance_id
    succeed(world, Stage((power("StopInstances", instance),), (Wait((instance,), "stopped"),)))
    codes = frozenset({"InsufficientInstanceCapacity"})
    world.fault("StartInstances", occurrence={"first": 2}, code="InsufficientInstanceCapacity", status=400)
    succeed(world, Stage((power("StartInstances", instance),), (Wait((instance,), "running"),), patience=codes))
    assert world.count("StartInstances") == 3


def test_not_now_is_repeated_until_the_timeout(fake: FakeWorld) -> None:
    instance = fake.instance().instance_id
    fake.fault("StartInstances", occurrence="every", code="InsufficientInstanceCapacity", status=400)
    stage = Stage((power("StartInstances", instance),), patience=frozenset({"InsufficientInstanceCapacity"}))
    outcome = run(fake, stage, timeout=100)
    assert isinstance(outcome.error, CallError)
    assert outcome.error.code == "InsufficientInstanceCapacity"
    assert 100 <= fake.gateway.monotonic() < 120


def test_missing_resource_counts_as_deleted(world: World) -> None:
    removal = Change("DeleteSnapshot", "snap-0123456789abcdef0", REGION, {}, "left over", before={"state": "error"})
    assert done(succeed(world, Stage((removal,)))) == ["DeleteSnapshot"]


# --- creates without a client token ---


@pytest.mark.parametrize("kind", ["close", "error"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_answer_makes_one_snapshot(world: World, kind: str, when: str) -> None:
    make = snapshot(world.instance().block_devices[0].volume_id)
    world.fault("CreateSnapshot", kind=kind, when=when)
    outcome = succeed(world, Stage((make,), (Wait((make.resource,), "completed"),)))
    (made,) = world.existing("snapshot")
    assert outcome.bindings == {make.resource: made.snapshot_id}
    assert world.count("CreateSnapshot") == (2 if when == "before" else 1)


def test_lost_network_after_a_create_is_reported_for_the_create(fake: FakeWorld) -> None:
    make = snapshot(fake.instance().block_devices[0].volume_id)
    fake.fault("CreateSnapshot", kind="close", when="after")
    fake.fault("DescribeSnapshots", occurrence="every", kind="close")
    outcome = run(fake, Stage((make,)))
    assert isinstance(outcome.error, CallError)
    assert (outcome.error.operation, outcome.error.unclear) == ("CreateSnapshot", True)
    assert outcome.failed == [make]


def test_a_lost_answer_that_shows_late_is_found(world: World) -> None:
    make = snapshot(world.instance().block_devices[0].volume_id)
    world.hide_new(6)
    world.fault("CreateSnapshot", kind="close", when="after")
    succeed(world, Stage((make,)))
    assert world.count("CreateSnapshot") == 1
    assert len(world.existing("snapshot")) == 1


def test_resource_shown_too_late_is_called_again_and_reported(world: World) -> None:
    make = snapshot(world.instance().block_devices[0].volume_id)
    world.hide_new(20)
    world.fault("CreateSnapshot", kind="close", when="after")
    outcome = run(world, Stage((make,)))
    assert outcome.error is None
    made = world.existing("snapshot")
    assert world.count("CreateSnapshot") == 2
    assert len(made) == 2
    assert any("the check for a second snapshot failed" in note for note in outcome.notes)


def test_later_snapshot_of_two_runs_is_deleted(world: World) -> None:
    make = snapshot(world.instance().block_devices[0].volume_id)
    rival = world.gateway.perform([make])[make.resource]
    world.pass_time(3)
    outcome = succeed(world, Stage((make,)))
    assert outcome.bindings == {make.resource: rival}
    world.pass_time(600)  # EC2 deletes it once it is completed
    assert [left.snapshot_id for left in world.existing("snapshot")] == [rival]
    assert any("made a second snapshot" in note and "deleted" in note for note in outcome.notes)


def test_token_that_the_plan_skipped_is_no_rival(world: World) -> None:
    make = snapshot(world.instance().block_devices[0].volume_id)
    older = world.gateway.perform([make])[make.resource]
    world.pass_time(3)
    outcome = succeed(world, Stage((dataclasses.replace(make, passed_over=frozenset({older})),)))
    assert outcome.bindings[make.resource] != older
    assert outcome.notes == []


def test_snapshot_of_another_volume_is_no_rival(world: World) -> None:
    """A copy of an earlier snapshot has the same tags."""
    make, other = (snapshot(world.instance().block_devices[0].volume_id) for _each in range(2))
    strange = world.gateway.perform([other])[other.resource]
    world.pass_time(3)
    outcome = succeed(world, Stage((make,)))
    assert strange not in outcome.bindings.values()
    assert len(world.existing("snapshot")) == 2


def test_two_runs_at_the_same_moment_end_with_one(world: World) -> None:
    make = snapshot(world.instance().block_devices[0].volume_id)
    world.hide_new(1)
    start = threading.Barrier(2, timeout=20)

    def one_run(_number: int) -> Outcome:
        start.wait()
        return run(world, Stage((make,), (Wait((make.resource,), "completed"),)))

    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(one_run, range(2)))
    assert [outcome.error for outcome in outcomes] == [None, None]
    (left,) = world.existing("snapshot")
    assert [outcome.bindings for outcome in outcomes] == [{make.resource: left.snapshot_id}] * 2
    assert world.count("CreateSnapshot") == 2


def test_a_snapshot_with_other_tags_or_in_error_is_no_rival(world: World) -> None:
    volume = world.instance().block_devices[0].volume_id
    make = snapshot(volume)
    other = dataclasses.replace(
        make,
        parameters={
            **make.parameters,
            "TagSpecifications": [tag_names.specification("snapshot", {**OURS, tag_names.VERSION: "0"})],
        },
    )
    world.gateway.perform([other])
    world.fault("CreateSnapshot", kind="end", message="it failed")
    world.gateway.perform([make])
    world.pass_time(10)
    outcome = succeed(world, Stage((make,), (Wait((make.resource,), "completed"),)))
    assert len(world.existing("snapshot")) == 3
    assert outcome.notes == []


def test_set_is_one_call_and_matched_by_volume(world: World) -> None:
    instance = world.instance(3)
    changes = snapshots(instance)
    outcome = succeed(world, Stage(tuple(changes), (Wait(tuple(change.resource for change in changes), "completed"),)))
    assert world.count("CreateSnapshots") == 1
    volumes = {made.snapshot_id: made.volume_id for made in world.existing("snapshot")}
    assert [volumes[outcome.bindings[change.resource]] for change in changes] == [
        d.volume_id for d in instance.block_devices
    ]


def test_a_set_whose_answer_got_lost_is_found_whole(world: World) -> None:
    changes = snapshots(world.instance(3))
    world.fault("CreateSnapshots", kind="close", when="after")
    outcome = succeed(world, Stage(tuple(changes)))
    assert len(world.existing("snapshot")) == 3
    assert len(set(outcome.bindings.values())) == 3


def test_earlier_of_two_sets_is_kept_whole(world: World) -> None:
    changes = snapshots(world.instance(2))
    rival = world.gateway.perform(changes)
    world.pass_time(3)
    outcome = succeed(world, Stage(tuple(changes)))
    assert outcome.bindings == rival
    world.pass_time(600)  # EC2 deletes them once they are completed
    assert {left.snapshot_id for left in world.existing("snapshot")} == set(rival.values())


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_answer_registers_one_image(world: World, when: str) -> None:
    register = image(completed(world))
    world.fault("RegisterImage", kind="close", when=when)
    outcome = succeed(world, Stage((register,)))
    (made,) = world.existing("image")
    assert outcome.bindings == {register.resource: made.image_id}


def test_own_image_of_that_name_is_used(world: World) -> None:
    register = image(completed(world))
    made = world.gateway.perform([register])[register.resource]
    outcome = succeed(world, Stage((register,)))
    assert outcome.bindings == {register.resource: made}
    assert len(world.existing("image")) == 1


def test_foreign_image_of_that_name_is_named(world: World) -> None:
    register = image(completed(world))
    theirs = image(register.parameters["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"], tags={"Name": "theirs"})
    holder = world.gateway.perform([theirs])[theirs.resource]
    outcome = run(world, Stage((register,)))
    assert isinstance(outcome.error, CallError)
    assert outcome.error.code == "InvalidAMIName.Duplicate"
    assert f"The name belongs to {holder}" in str(outcome.error)
    assert outcome.failed == [register]


# --- creates with a client token ---


def test_a_repeated_launch_is_one_instance(world: World) -> None:
    start = launch(own_image(world))
    before = len(world.existing("instance"))
    first = succeed(world, Stage((start,)))
    world.fault("RunInstances", kind="close", when="after")
    again = succeed(world, Stage((start,), (Wait((start.resource,), "running"),)))
    assert first.bindings == again.bindings
    assert len(world.existing("instance")) == before + 1


def test_a_token_whose_instance_is_gone_is_passed_over(world: World) -> None:
    start = launch(own_image(world))
    gone = succeed(world, Stage((start,))).bindings[start.resource]
    succeed(world, Stage((power("TerminateInstances", gone),), (Wait((gone,), "terminated"),)))
    second = succeed(world, Stage((start,))).bindings[start.resource]
    assert second != gone
    third = succeed(world, Stage((start,))).bindings[start.resource]
    assert third == second


def test_token_of_a_terminating_instance_is_passed_over(world: World) -> None:
    """EC2 answers with it, without an error."""
    start = launch(own_image(world))
    going = succeed(world, Stage((start,))).bindings[start.resource]
    with world.lasting("terminate", 3600.0):
        succeed(world, Stage((power("TerminateInstances", going),)))
    assert succeed(world, Stage((start,))).bindings[start.resource] != going


@pytest.mark.parametrize("code", ["IdempotentInstanceTerminated", "IdempotentParameterMismatch"])
def test_living_instance_is_looked_for_before_its_token_is_passed_over(world: World, code: str) -> None:
    """A run before had passed over the token already."""
    start = launch(own_image(world))
    made = succeed(world, Stage((start,))).bindings
    before = len(world.existing("instance"))
    world.fault("RunInstances", code=code, status=400)
    outcome = succeed(world, Stage((start,)))
    assert outcome.bindings == made
    assert len(world.existing("instance")) == before
    assert "an earlier run has made" in outcome.notes[0]


def test_a_token_with_other_parameters_finds_the_living_one(world: World) -> None:
    start = launch(own_image(world))
    made = succeed(world, Stage((start,))).bindings
    changed = dataclasses.replace(start, parameters={**start.parameters, "EbsOptimized": True})
    before = len(world.existing("instance"))
    outcome = succeed(world, Stage((changed,)))
    assert outcome.bindings == made
    assert len(world.existing("instance")) == before


# --- the way back ---


def back_to(image_id: str) -> Sequence[Stage]:
    start = launch(image_id)
    return (
        Stage(
            (start,),
            (Wait((start.resource,), "running", expect=(("instance_type", "m7i.large"),)),),
            on_failure=(
                Stage(
                    (
                        Change(
                            "TerminateInstances",
                            start.resource,
                            REGION,
                            {},
                            "the way back",
                            {},
                            {"state": "terminated"},
                        ),
                    ),
                    (Wait((start.resource,), "terminated"),),
                ),
            ),
            rollback_on=frozenset({"mismatch", "refused"}),
        ),
    )


def test_rollback_is_done_and_reported(world: World) -> None:
    outcome = run(world, *back_to(own_image(world)))
    assert isinstance(outcome.error, WaitError)
    assert outcome.error.how == "mismatch"
    assert [change.action for change in outcome.rolled_back] == ["TerminateInstances"]
    new = outcome.bindings[planned("instance", "web")]
    assert {one.instance_id: one.state for one in world.existing("instance")}[new] == "terminated"
    assert any("Rolled back" in note and new in note for note in outcome.notes)


def test_failed_rollback_keeps_the_first_error(world: World) -> None:
    stages = back_to(own_image(world))
    world.fault("TerminateInstances", occurrence="every", code="OperationNotPermitted", message="protected", status=400)
    outcome = run(world, *stages)
    assert isinstance(outcome.error, WaitError)
    assert outcome.rolled_back == []
    assert any("protected" in note for note in outcome.notes)


def test_unmade_resource_is_not_rolled_back(world: World) -> None:
    stages = back_to(own_image(world))
    world.fault("RunInstances", code="InstanceLimitExceeded", message="too many", status=400)
    outcome = run(world, *stages)
    assert isinstance(outcome.error, CallError)
    assert (outcome.done, outcome.rolled_back) == ([], [])
    assert world.count("TerminateInstances") == 0


def test_unclear_call_is_not_rolled_back(fake: FakeWorld) -> None:
    instance = fake.instance().instance_id
    back = (Stage((power("StartInstances", instance),)),)
    make = snapshot(fake.instance().block_devices[0].volume_id)
    fake.fault("CreateSnapshot", occurrence="every", kind="close")
    outcome = run(fake, Stage((make,), on_failure=back, rollback_on=frozenset({"refused", "failed"})))
    assert isinstance(outcome.error, CallError)
    assert outcome.error.unclear
    assert outcome.rolled_back == []
    assert fake.count("CreateSnapshot") == 3
    assert fake.existing("snapshot") == []


@pytest.mark.parametrize("code", ["InternalError", "RequestLimitExceeded"])
def test_rollback_is_allowed_after_that_failure(fake: FakeWorld, code: str) -> None:
    instance = fake.instance().instance_id
    back = (Stage((power("StartInstances", instance),)),)
    make = snapshot(fake.instance().block_devices[0].volume_id)
    fake.fault("CreateSnapshot", occurrence="every", code=code, status=503)
    outcome = run(fake, Stage((make,), on_failure=back, rollback_on=ANY_FAILURE))
    assert isinstance(outcome.error, CallError)
    assert outcome.error.passing
    assert [change.action for change in outcome.rolled_back] == ["StartInstances"]


# --- volumes made and attached ---


def by_call(action: str, volume_id: str, instance_id: str = "", **after: Any) -> Change:
    parameters = {"InstanceId": instance_id} if instance_id else {}
    if action == "AttachVolume":
        parameters["Device"] = "/dev/sdp"
    return Change(action, volume_id, REGION, parameters, "it is asked for", before={}, after=after)


def attach(volume_id: str, *instance_ids: str) -> Stage:
    changes = tuple(by_call("AttachVolume", volume_id, one) for one in instance_ids)
    return Stage(changes, tuple(Wait((volume_id,), "attached", about=one) for one in instance_ids))


def detach(volume_id: str, instance_id: str) -> Stage:
    return Stage((by_call("DetachVolume", volume_id, instance_id),), (Wait((volume_id,), "detached"),))


def ours(world: World) -> list[Volume]:
    return [one for one in world.existing("volume") if one.tags.get(tag_names.SPEC) == "web" and one.alive]


@pytest.mark.parametrize("when", ["before", "after"])
def test_volume_is_made_and_attached_once_despite_lost_answers(world: World, when: str) -> None:
    create, instance = volume(), world.instance().instance_id
    for action in ("CreateVolume", "AttachVolume"):
        world.fault(action, kind="close", when=when)
    make = Stage((create,), (Wait((create.resource,), "volume_available"),))
    outcome = succeed(world, make, attach(create.resource, instance))
    (made,) = ours(world)
    assert outcome.bindings == {create.resource: made.volume_id}
    assert [(link.instance_id, link.state) for link in made.attachments] == [(instance, "attached")]
    assert outcome.observed[made.volume_id] == made


def test_changes_replace_the_state_seen_before(world: World) -> None:
    """This also holds for planned resources, and without the wait."""
    create, instance = volume(), world.instance().instance_id
    link = {"instance_id": instance, "device_name": "/dev/sdp"}
    outcome = succeed(
        world,
        Stage((create,), (Wait((create.resource,), "volume_available"),)),
        Stage((by_call("AttachVolume", create.resource, instance, state="in-use", attachments=[link]),)),
    )
    seen = outcome.observed[outcome.bindings[create.resource]]
    assert isinstance(seen, Volume)
    assert (seen.state, [one.instance_id for one in seen.attachments], seen.size) == ("in-use", [instance], 1)


def remove(world: World, volume_id: str) -> None:
    succeed(world, delete(volume_id))


def disown(world: World, volume_id: str) -> None:
    tags = tuple(tag_names.boto3_tags(IDENTITY))
    succeed(world, Stage((Change("DeleteTags", volume_id, REGION, {"Tags": tags}, "it was replaced", {}, {}),)))


@pytest.mark.parametrize("lose", [remove, disown])
def test_a_token_that_brings_back_another_volume_is_passed_over(
    world: World, lose: Callable[[World, str], None]
) -> None:
    lost = made_volume(world)
    lose(world, lost)
    began = world.gateway.monotonic()
    new = made_volume(world)
    assert new != lost
    assert [one.volume_id for one in ours(world)] == [new]
    # EC2's answer shows the fate of the first one, so no look is necessary.
    assert world.gateway.monotonic() - began < 10 or not isinstance(world, FakeWorld)
    assert made_volume(world) == new


def test_failed_volume_is_made_again(world: World) -> None:
    create = volume()
    world.fault("CreateVolume", kind="end")
    outcome = run(world, Stage((create,), (Wait((create.resource,), "volume_available"),)))
    assert isinstance(outcome.error, WaitError)
    assert outcome.error.how == "failed"
    failed = outcome.bindings[create.resource]
    assert f"{failed} should become available but is error" in str(outcome.error)
    assert "KMS key" in str(outcome.error)
    assert f"{failed} is {create.resource} in the plan" in str(outcome.error)
    assert made_volume(world) != failed
    assert len(ours(world)) == 1


def test_a_token_with_other_parameters_finds_the_living_volume(world: World) -> None:
    made = made_volume(world)
    assert made_volume(world, volume(size=2)) == made
    assert len(ours(world)) == 1


def test_a_volume_is_deleted_and_made_again_many_times(fake: FakeWorld) -> None:
    made = set()
    for _turn in range(12):
        made.add(made_volume(fake))
        remove(fake, max(made))
    assert len(made) == 12


def test_deleted_resource_is_not_in_the_result(world: World) -> None:
    create = volume()
    made = Stage((create,), (Wait((create.resource,), "volume_available"),))
    outcome = succeed(world, made, delete(create.resource))
    assert outcome.observed == {}
    assert ours(world) == []


def test_volume_that_another_instance_got_first_is_named_in_the_error(world: World) -> None:
    mine, theirs = world.instance().instance_id, world.instance().instance_id
    made = made_volume(world)
    succeed(world, attach(made, theirs))
    outcome = run(world, attach(made, mine))
    assert isinstance(outcome.error, WaitError)
    assert outcome.error.how == "failed"
    assert f"{made} should become attached to {mine} but is attached to {theirs} as /dev/sdp" in str(outcome.error)


def test_one_volume_is_attached_to_several_instances_in_one_stage(world: World) -> None:
    ids = [world.instance().instance_id for _turn in range(3)]
    made = made_volume(world, volume(size=4, VolumeType="io2", Iops=100, MultiAttachEnabled=True))
    succeed(world, attach(made, *ids))
    assert world.count("AttachVolume") == 3
    assert {(link.instance_id, link.state) for link in ours(world)[0].attachments} == {(one, "attached") for one in ids}


@pytest.mark.parametrize("when", ["before", "after"])
def test_lost_detach_is_repeated_and_a_second_one_succeeds(world: World, when: str) -> None:
    instance, made = world.instance().instance_id, made_volume(world)
    succeed(world, attach(made, instance))
    world.fault("DetachVolume", kind="close", when=when)
    succeed(world, detach(made, instance))
    succeed(world, detach(made, instance))
    (left,) = ours(world)
    assert (left.state, left.attachments) == ("available", ())


@pytest.mark.parametrize("when", ["before", "after"])
def test_lost_delete_is_repeated_and_a_second_one_succeeds(world: World, when: str) -> None:
    made = made_volume(world)
    with world.lasting("delete", 20.0):
        world.fault("DeleteVolume", kind="close", when=when)
        succeed(world, delete(made))
    succeed(world, delete(made))
    assert world.count("DeleteVolume") == 3
    assert made not in {one.volume_id for one in world.existing("volume")}


def test_volume_is_deleted_while_it_is_creating(world: World) -> None:
    create = volume()
    with world.lasting("create", 60.0):
        succeed(world, Stage((create,)), wait=False)
        (made,) = world.existing("volume")
        succeed(world, delete(made.volume_id))
    assert world.count("DeleteVolume") == 1
    assert world.existing("volume") == []


def test_volume_with_a_refused_deletion_is_not_taken_for_deleted(world: World) -> None:
    made = made_volume(world)
    world.fault("DeleteVolume", code="IncorrectState", status=400)
    outcome = run(world, delete(made))
    assert isinstance(outcome.error, CallError)
    assert outcome.error.code == "IncorrectState"


# --- modifications ---

NOT_NOW = frozenset({"IncorrectModificationState", "VolumeModificationRateExceeded"})


def modify(volume_id: str, size: int, deferrable: frozenset[str] = frozenset()) -> Change:
    return Change(
        action="ModifyVolume",
        resource=volume_id,
        region=REGION,
        parameters={"Size": size},
        reason="the size is another",
        before={"size": 1},
        after={"size": size},
        identity=by_id("DescribeVolumesModifications", "volume-id", [volume_id])[0],
        deferrable=deferrable,
    )


def modified(volume_id: str, size: int) -> Wait:
    return Wait((volume_id,), "modified", expect=(("size", size),))


def spend_budget(world: World, volume_id: str) -> int:
    """Modifies the volume as often as EBS takes it in a day; returns the size that it has then."""
    for size in range(20, 24):
        succeed(world, Stage((modify(volume_id, size),), (modified(volume_id, size),)))
        world.pass_time(60)
    return 23


def device(world: World) -> str:
    return world.instance().block_devices[0].volume_id


@pytest.mark.parametrize("kind", ["close", "error"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_lost_modification_is_made_once(world: World, kind: str, when: str) -> None:
    """Each repeat would spend one of the volume's four modifications of a day."""
    target = device(world)
    world.fault("ModifyVolume", kind=kind, when=when)
    outcome = succeed(world, Stage((modify(target, 20),), (modified(target, 20),)))
    assert world.count("ModifyVolume") == (2 if when == "before" else 1)
    seen = MODIFICATION.read(outcome.observed[MODIFICATION.id_of(target)], target)
    assert seen is not None
    assert seen.target.size == 20


def test_lost_modification_is_not_taken_for_the_previous_one(world: World) -> None:
    target = device(world)
    succeed(world, Stage((modify(target, 20),), (modified(target, 20), Wait((target,), "modifiable"))))
    world.fault("ModifyVolume", kind="close", when="before")
    succeed(world, Stage((modify(target, 30),), (modified(target, 30),)))
    assert world.count("ModifyVolume") == 3


def test_a_modification_that_another_run_has_begun_is_waited_for(world: World) -> None:
    target = device(world)
    world.gateway.perform([modify(target, 20)])
    succeed(world, Stage((modify(target, 20),), (modified(target, 20),)))
    assert world.count("ModifyVolume") == 2


def test_failed_modification_is_reported_with_its_reason(world: World) -> None:
    target = device(world)
    world.fault("ModifyVolume", kind="end", message="the key is disabled")
    outcome = run(world, Stage((modify(target, 20),), (modified(target, 20),)))
    assert isinstance(outcome.error, WaitError)
    assert f"{target} should become modified but is failed (the key is disabled)" in str(outcome.error)


def test_a_change_that_ec2_does_not_take_now_is_deferred(world: World) -> None:
    one, other = device(world), device(world)
    with world.lasting("optimize", 3600.0):
        succeed(world, Stage((modify(one, 20),), (modified(one, 20),)))
    late, now = modify(one, 30, NOT_NOW), modify(other, 30, NOT_NOW)
    outcome = succeed(
        world, Stage((late, now), (modified(one, 30), modified(other, 30))), Stage((tag(one, later="yes"),))
    )
    assert [(change, error.code) for change, error in outcome.deferred] == [(late, "IncorrectModificationState")]
    assert [change.action for change in outcome.done] == ["ModifyVolume", "CreateTags"]
    assert one not in outcome.observed
    assert world.existing("volume") != []
    sizes = {found.volume_id: found.size for found in world.existing("volume")}
    assert (sizes[one], sizes[other]) == (20, 30)


def test_change_that_may_not_be_deferred_fails(world: World) -> None:
    target = device(world)
    with world.lasting("optimize", 3600.0):
        succeed(world, Stage((modify(target, 20),), (modified(target, 20),)))
    change = modify(target, 30, frozenset({"VolumeModificationRateExceeded"}))
    outcome = run(world, Stage((change,)))
    assert isinstance(outcome.error, CallError)
    assert outcome.error.code == "IncorrectModificationState"
    assert (outcome.failed, outcome.deferred) == ([change], [])


def test_a_spent_budget_is_deferred_with_the_time(world: World) -> None:
    target = device(world)
    began = world.gateway.now()
    size = spend_budget(world, target)
    outcome = succeed(world, Stage((modify(target, size + 1, NOT_NOW),), (modified(target, size + 1),)))
    ((_change, error),) = outcome.deferred
    assert error.not_before is not None
    assert timedelta(hours=23, minutes=59) < error.not_before - began < timedelta(hours=24, minutes=1)
    assert (outcome.done, outcome.observed) == ([], {})


def test_patience_ends_at_once_when_it_cannot_help(world: World) -> None:
    target = device(world)
    size = spend_budget(world, target)
    before = world.count("ModifyVolume")
    outcome = run(world, Stage((modify(target, size + 1),), patience=NOT_NOW), timeout=3600)
    assert isinstance(outcome.error, CallError)
    assert outcome.error.not_before is not None
    assert world.count("ModifyVolume") == before + 1


def test_patience_lasts_until_ec2_takes_it(world: World) -> None:
    target = device(world)
    size = spend_budget(world, target)
    world.pass_time(24 * 3600 - 4 * 60 - 30)
    before, began = world.count("ModifyVolume"), world.gateway.now()
    stage = Stage((modify(target, size + 1),), (modified(target, size + 1),), patience=NOT_NOW)
    outcome = run(world, stage, timeout=300)
    assert outcome.error is None
    # EBS refuses the first call and names a time. The second call comes at that time.
    assert world.count("ModifyVolume") == before + 2
    assert timedelta(seconds=5) < world.gateway.now() - began < timedelta(seconds=120)
