# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Queries, states, and the invariants of every plan."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import USER_DATA
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import substitute
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.places import Place
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import (
    Change,
    Plan,
    Stage,
    Wait,
    guard,
    published_parameters,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prediction import bound, overlay
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    Fact,
    Image,
    Instance,
    Snapshot,
    Volume,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import NeedsAnswers, Query, State, by_id
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import LAUNCH_PERMISSIONS, PARAMETER
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import COPY_OF

REGION = "us-east-1"
USERS = {"note": "of (new snapshot a)"}
LOOK = Query("DescribeSnapshots")


def change(action: str, resource: str, parameters: dict[str, Any] | None = None, **fields: Any) -> Change:
    return Change(action, resource, REGION, parameters or {}, "a test", **fields)


def capture(name: str = "(new snapshot a)") -> Change:
    return change("CreateSnapshot", name, {"VolumeId": "vol-00000001"}, after={"state": "completed"}, identity=LOOK)


def register(snapshot: str) -> Change:
    devices = [{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": snapshot}}]
    return change(
        "RegisterImage", "(new image a)", {"Name": "a", "BlockDeviceMappings": devices}, after={}, identity=LOOK
    )


# --- queries and state ---


def test_ids_are_asked_in_chunks_without_planned_ones() -> None:
    assert by_id("DescribeImages", "image-id", ["", "(new image a)"]) == ()
    first, second = by_id(
        "DescribeImages", "image-id", [f"ami-{number:08x}" for number in range(201)], IncludeDisabled=True
    )
    assert (len(first.filters[0][1]), len(second.filters[0][1])) == (200, 1)
    assert first.arguments == (("IncludeDisabled", True),)


def test_answers_are_found_by_kind() -> None:
    state = State(REGION).with_answers({LOOK: (Snapshot("snap-1"), USER_DATA.fact("i-1", "x"))})
    assert state.snapshot("snap-1") == Snapshot("snap-1")
    assert state.image("snap-1") is None
    assert state.instance(None) is None
    assert (USER_DATA.of(state, "i-1"), USER_DATA.of(state, "i-2")) == ("x", None)
    assert state.answered == {LOOK}
    assert list(state.all(Snapshot)) == [Snapshot("snap-1")]


# --- overlay ---


def test_plan_predicts_made_changed_and_removed_resources() -> None:
    state = State(
        REGION,
        {
            "i-00000001": Instance("i-00000001", state="running", tags={"a": "1"}),
            "snap-00000001": Snapshot("snap-00000001"),
        },
    )
    entries = [
        change("StopInstances", "i-00000001", before={"state": "running"}, after={"state": "stopped"}).published(),
        change("DeleteSnapshot", "snap-00000001", before={"state": "error"}).published(),
        capture().published(),
    ]
    after = overlay(state, json.loads(json.dumps(entries)))
    assert after.instance("i-00000001") == Instance("i-00000001", state="stopped", tags={"a": "1"})
    assert after.snapshot("snap-00000001") is None
    assert after.snapshot("(new snapshot a)") == Snapshot("(new snapshot a)", state="completed")


def test_entries_of_other_regions_and_of_unread_resources_are_skipped() -> None:
    state = State(REGION)
    entries = [
        {**capture().published(), "region": "eu-west-1"},
        change("StopInstances", "i-00000001", after={"state": "stopped"}).published(),
    ]
    assert overlay(state, entries).resources == {}


def test_entries_of_a_place_that_the_task_reads_are_applied() -> None:
    place = Place("eu-west-1")
    there = Image("ami-00000001", place=place, facts={"Description": "a"})
    state = State(REGION).with_answers({Query("DescribeImages", place=place): [there]})
    entries = [
        change("ModifyImageAttribute", "ami-00000001", after={"attributes": {"Description": "b"}}).published(),
        change("ModifyImageAttribute", "ami-00000001", after=LAUNCH_PERMISSIONS.view(("1",))).published(),
        change("PutParameter", "eu-west-1:/web", after=PARAMETER.view("ami-00000001")).published(),
        change("CopyImage", "(new image copy)", after={"name": "web", "place": "eu-west-1"}).published(),
        change("CreateVolume", "(new volume a)", after={"size": 1}).published(),
    ]
    after = overlay(state, [{**entry, "region": "eu-west-1"} for entry in entries])
    changed = after.image("ami-00000001", place)
    assert changed is not None
    assert changed.facts == {"Description": "b"}
    assert LAUNCH_PERMISSIONS.of(after, "ami-00000001", place) == ("1",)
    assert PARAMETER.of(after, "eu-west-1:/web", place) == "ami-00000001"
    assert after.image("(new image copy)", place) == Image("(new image copy)", name="web", place=place)
    # A volume does not name its place.
    assert list(after.all(Volume)) == []
    assert after.here().resources == {}


def test_state_looks_the_same_from_another_place() -> None:
    place = Place("eu-west-1")
    query, image = Query("DescribeImages", place=place), Image("ami-00000001", place=place)
    state = State(REGION, open=True).with_answers({query: [image, LAUNCH_PERMISSIONS.fact("ami-00000001", ("1",))]})
    there = state.at(place)
    assert (there.image("ami-00000001"), there.region) == (image, place)
    assert LAUNCH_PERMISSIONS.of(there, "ami-00000001") == ("1",)
    there.require(Query("DescribeImages"))
    with pytest.raises(NeedsAnswers) as needed:
        there.require(Query("DescribeSnapshots"))
    assert needed.value.queries == (Query("DescribeSnapshots", place=place),)


def test_planned_ids_are_replaced_where_parameters_and_templates_name_them() -> None:
    ids = {"(new image a)": "ami-00000001", "(new version a)": "8"}
    put = {"Name": "/web", "Value": "(new image a)", "DataType": "aws:ec2:image"}
    assert substitute(put, ids) == {**put, "Value": "ami-00000001"}
    assert substitute({**put, "DataType": "text"}, ids) == {**put, "DataType": "text"}
    assert substitute({"DefaultVersion": "(new version a)"}, ids) == {"DefaultVersion": "8"}
    assert substitute({"Description": {"Value": "(new image a)"}}, ids) == {"Description": {"Value": "(new image a)"}}


def test_nested_planned_ids_become_ec2s() -> None:
    state = State(
        REGION,
        {
            "(new image a)": Image("(new image a)", tags=USERS | {COPY_OF: "here/(new snapshot a)"}),
            "i-00000001": Instance("i-00000001", image_id="(new image a)", facts={"big": 1}),
            "f": Fact("f", value="(new image a)"),
        },
    )
    after = bound(state, {"(new image a)": "ami-00000001", "(new snapshot a)": "snap-00000001"})
    assert after.image("ami-00000001") == Image("ami-00000001", tags=USERS | {COPY_OF: "here/snap-00000001"})
    assert after.image("(new image a)") is None
    instance = after.instance("i-00000001")
    assert instance is not None
    assert (instance.image_id, instance.facts) == ("ami-00000001", {"big": 1})


# --- guard ---


def test_a_plan_whose_ids_come_from_earlier_stages_passes() -> None:
    plan = Plan((Stage((capture(),)), Stage((register("(new snapshot a)"),))))
    assert guard(plan) is plan


def test_an_id_that_nothing_made_before_is_refused() -> None:
    for stages in (
        (Stage((register("(new snapshot a)"),)), Stage((capture(),))),
        (Stage((capture(), register("(new snapshot a)"))),),
    ):
        with pytest.raises(UnsafePlan, match=r"needs \(new snapshot a\), but no earlier stage makes it"):
            guard(Plan(stages))
    with pytest.raises(UnsafePlan, match="but no earlier stage makes it"):
        guard(Plan((Stage((change("StopInstances", "(new instance a)", after={}),)),)))


def test_ids_of_earlier_tasks_are_known() -> None:
    guard(Plan((Stage((register("(new snapshot a)"),)),)), {"(new snapshot a)"})


def test_two_changes_of_a_kind_to_one_resource_in_a_stage_are_refused() -> None:
    twice = (
        change("CreateTags", "i-00000001", {"Tags": []}, after={}),
        change("CreateTags", "i-00000001", {"Tags": [1]}, after={}),
    )
    with pytest.raises(UnsafePlan, match="two CreateTags of i-00000001"):
        guard(Plan((Stage(twice),)))
    guard(Plan((Stage(twice[:1]), Stage(twice[1:]))))


def test_change_without_a_token_is_refused() -> None:
    with pytest.raises(UnsafePlan, match="no identity or token"):
        guard(Plan((Stage((dataclasses.replace(capture(), identity=None),)),)))
    with pytest.raises(UnsafePlan, match="no identity or token"):
        guard(Plan((Stage((change("RunInstances", "(new instance a)", after={}, identity=LOOK),)),)))
    guard(Plan((Stage((change("RunInstances", "(new instance a)", after={}, identity=LOOK, token=("a",)),)),)))


def attach(volume: str, instance: str, action: str = "AttachVolume") -> Change:
    return change(action, volume, {"InstanceId": instance, "Device": "/dev/sdf"}, after={})


@pytest.mark.parametrize("action", ["AttachVolume", "DetachVolume"])
def test_one_volume_may_be_attached_to_several_instances_in_one_stage(action: str) -> None:
    both = (attach("vol-00000001", "i-00000001", action), attach("vol-00000001", "i-00000002", action))
    guard(Plan((Stage(both),)))
    with pytest.raises(UnsafePlan, match=f"two {action} of vol-00000001 and i-00000001"):
        guard(Plan((Stage((both[0], both[0])),)))


def test_a_modification_that_could_be_made_twice_is_refused() -> None:
    modify = change("ModifyVolume", "vol-00000001", {"Size": 20}, after={"size": 20})
    with pytest.raises(UnsafePlan, match="ModifyVolume of vol-00000001 has no identity or token to find it again"):
        guard(Plan((Stage((modify,)),)))
    guard(Plan((Stage((dataclasses.replace(modify, identity=Query("DescribeVolumesModifications")),)),)))


# --- what is published ---


def test_published_parameters_omit_times_tokens_and_secrets() -> None:
    published = published_parameters(
        {
            "ClientToken": "abc",
            "UserData": "secret",
            "Tags": [
                {"Key": "ec2ops:restore-state", "Value": "running 2026-11-23T12:00:00Z until x"},
                {"Key": "a", "Value": "b c"},
                {"Key": "ec2ops:taken", "Value": "2026-11-23T12:00:00.123Z"},
            ],
            "Nested": ({"ClientToken": "x", "Keep": 1},),
        }
    )
    assert set(published) == {"UserData", "Tags", "Nested"}
    assert published["UserData"].startswith("sha256:")
    assert published["Tags"] == [
        {"Key": "ec2ops:restore-state", "Value": "running"},
        {"Key": "a", "Value": "b c"},
        {"Key": "ec2ops:taken"},
    ]
    assert published["Nested"] == [{"Keep": 1}]


def test_a_plan_without_changes_is_empty_though_it_waits() -> None:
    assert Plan((Stage(),)).is_empty
    assert not Plan((Stage((capture(),)),)).is_empty
    assert [entry["action"] for entry in Plan((Stage((capture(),)),)).published()] == ["CreateSnapshot"]


def test_withdrawn_changes_leave_the_others_and_all_waits() -> None:
    first, second = capture("(new snapshot a)"), capture("(new snapshot b)")
    plan = Plan((Stage((first, second), (Wait(("x",), "completed"),)), Stage((register("(new snapshot a)"),))))
    left = plan.without([second])
    assert [one.resource for one in left.changes] == ["(new snapshot a)", "(new image a)"]
    assert left.stages[0].waits == plan.stages[0].waits
    assert plan.without(()) == plan


def test_new_resources_have_the_collections_tags() -> None:
    specifications = [
        {
            "ResourceType": "instance",
            "Tags": [{"Key": "ec2ops:replaces", "Value": "i-1"}, {"Key": "Name", "Value": "x"}],
        },
        {"ResourceType": "volume", "Tags": [{"Key": "ec2ops:spec", "Value": "web"}]},
    ]
    launch = change("RunInstances", "(new instance a)", {"TagSpecifications": specifications})
    assert launch.own_tags == {"ec2ops:replaces": "i-1"}
    assert change("CreateVolume", "(new volume a)", {"TagSpecifications": specifications}).own_tags == {
        "ec2ops:spec": "web"
    }
    assert change("CreateVolume", "(new volume a)").own_tags == {}


def test_published_parameters_show_secrets_as_hashes() -> None:
    shown = published_parameters({"UserData": "password=hunter2", "UefiData": "QU1aTlVFRkk=", "Name": "web"})
    assert shown["Name"] == "web"
    for name, secret in (("UserData", "hunter2"), ("UefiData", "QU1aTlVFRkk=")):
        assert shown[name].startswith("sha256:") and secret not in shown[name]
