# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relaunches that move secondary network interfaces, and the source/destination check: plan, rollback, obstacles."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.moves import Moves, moves_tags, recorded_moves
from ansible_collections.ec2ops.storage.plugins.module_utils._features.relaunch.moved_parts import wanted_moves
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError, UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import INSTANCE_TYPE
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance, Resource
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.service_facts import (
    ADDRESS,
    INTERFACE,
    Address,
    Interface,
)

import relaunch_world
from moves_world import (
    ADDRESS_TEXT,
    ALLOCATION,
    HOLD,
    MOVE_ALL,
    MOVES,
    address,
    back_of,
    balancers,
    held_old,
    new,
    old,
    steps,
    volume,
)
from relaunch_world import M5, NEW, OLD, OTHER, actions, plain, plan, spec

PRIMARY, EXTRA, NEW_PRIMARY = "eni-00000000000000001", "eni-00000000000000002", "eni-00000000000000003"
MOVE = {"network_interfaces": "move"}
RECORD = f"{EXTRA}=1=delete"
BASE: dict[str, Any] = {**relaunch_world.INTERFACE, "NetworkInterfaceId": PRIMARY}
SECOND: dict[str, Any] = {
    "NetworkInterfaceId": EXTRA,
    "InterfaceType": "interface",
    "Attachment": {
        "AttachmentId": "eni-attach-2",
        "DeviceIndex": 1,
        "NetworkCardIndex": 0,
        "DeleteOnTermination": True,
        "Status": "attached",
    },
    "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.0.17", "Primary": True}],
}
TWO = {"NetworkInterfaces": [BASE, SECOND]}
ONE_LEFT = {"NetworkInterfaces": [BASE]}


def extra(owner: str = OLD, **fields: Any) -> Resource:
    """The interface as EC2 shows it now, attached to this instance or, with an empty id, to none."""
    link = {} if not owner else {"attachment_id": f"eni-attach-{owner[-1]}", "attachment_state": "attached"}
    shown = Interface(EXTRA, "eu-central-1a", instance_id=owner, device_index=1 if owner else None, **link)
    return INTERFACE.fact(EXTRA, dataclasses.replace(shown, **{"delete_on_termination": owner == OLD, **fields}))


def before(**fields: Any) -> Instance:
    """A predecessor with a second interface, and without anything else that could move."""
    return plain(facts=TWO, **fields)


def moved(owner: str = NEW, **fields: Any) -> list[Resource]:
    """The world of an interrupted run: the interface is with this instance, and both instances are stopped."""
    tags = {"Name": "web", "ec2ops:restore-state": HOLD}
    predecessor = plain(state="stopped", tags=tags, facts=TWO if owner == OLD else ONE_LEFT)
    return [predecessor, new(RECORD, **{"state": "stopped", **fields}), extra(owner, delete_on_termination=False)]


def test_interface_moves_while_both_instances_are_stopped_and_its_flag_follows_last() -> None:
    made = plan(spec(**MOVE), before(), extra())
    assert steps(made.stages) == [
        "RunInstances new",
        "StopInstances new",
        "CreateTags old",
        "StopInstances old",
        f"DetachNetworkInterface {EXTRA}",
        f"AttachNetworkInterface (new attachment {EXTRA} to [new instance in place of {OLD}]) new",
        "StartInstances new",
        "CreateTags new",
        "DeleteTags old",
        f"ModifyNetworkInterfaceAttribute {EXTRA}",
        "DeleteTags new",
    ]
    changes = {change.action: change for change in made.changes}
    assert changes["RunInstances"].own_tags.keys() == {"ec2ops:replaces"}
    assert changes["RunInstances"].after is not None
    assert changes["RunInstances"].after["tags"][MOVES] == RECORD
    assert changes["DetachNetworkInterface"].parameters == {"AttachmentId": "eni-attach-1"}
    attach = changes["AttachNetworkInterface"]
    assert attach.parameters == {"NetworkInterfaceId": EXTRA, "InstanceId": OTHER, "DeviceIndex": 1}
    flag = changes["ModifyNetworkInterfaceAttribute"].parameters["Attachment"]
    assert flag == {"AttachmentId": attach.resource, "DeleteOnTermination": True}


@pytest.mark.parametrize("action", ["DetachNetworkInterface", "AttachNetworkInterface", "StartInstances"])
def test_failure_of_each_step_returns_the_interface_before_the_start_and_the_termination(action: str) -> None:
    back = back_of(plan(spec(**MOVE), before(), extra()), action)
    assert [step.split(" ")[0] for step in back] == [
        "CreateTags",
        "StopInstances",
        "DetachNetworkInterface",
        "AttachNetworkInterface",
        "ModifyNetworkInterfaceAttribute",
        "StartInstances",
        "TerminateInstances",
        "DeleteTags",
    ]


def test_everything_moves_at_once_and_the_address_names_the_interface() -> None:
    association = {"Association": {"IpOwnerId": "123456789012", "PublicIp": ADDRESS_TEXT}}
    predecessor = old(facts={"NetworkInterfaces": [{**BASE, **association}, SECOND]})
    second = ADDRESS.fact("eipalloc-2", Address("eipalloc-2", "203.0.113.8", OLD, EXTRA))
    made = plan(spec(**MOVE_ALL, **MOVE), predecessor, extra(), volume(OLD), address(), second, *balancers(OLD))
    (detach,) = (stage for stage in made.stages if any(one.action == "DetachVolume" for one in stage.changes))
    assert {one.action for one in detach.changes} == {"DetachVolume", "DetachNetworkInterface"}
    moves = [change for change in made.changes if change.action == "AssociateAddress"]
    assert [change.resource for change in moves] == [ALLOCATION], "the second address moves with its interface"
    launch = made.changes[0].after or {}
    assert moves[0].parameters == {
        "NetworkInterfaceId": launch["primary_interface_id"],
        "AllowReassociation": True,
    }
    back = [
        change
        for stage in made.stages
        for late in stage.on_failure
        for change in late.changes
        if change.action == "AssociateAddress"
    ]
    assert {change.parameters["NetworkInterfaceId"] for change in back} == {PRIMARY}


@pytest.mark.parametrize(
    ("owner", "fields", "wanted"),
    [
        (OLD, {}, ["DetachNetworkInterface", "AttachNetworkInterface", "StartInstances"]),
        ("", {}, ["AttachNetworkInterface", "StartInstances"]),
        (NEW, {}, ["StartInstances"]),
        (NEW, {"state": "running"}, []),
    ],
    ids=["before", "between", "after", "started"],
)
def test_interrupted_move_goes_on_from_where_the_interface_is(
    owner: str, fields: dict[str, Any], wanted: list[str]
) -> None:
    made = plan(spec(**MOVE), *moved(owner, **fields))
    names = [change.action for change in made.changes]
    assert names[: len(wanted)] == wanted
    assert names[-2:] == ["ModifyNetworkInterfaceAttribute", "DeleteTags"]
    if owner == NEW:
        flag = made.changes[-2].parameters["Attachment"]
        assert flag["AttachmentId"] == "eni-attach-2"


def test_rejected_successor_gives_the_interface_back_and_its_flag() -> None:
    resources = moved(NEW, trial="rejected")
    made = plan(spec(**MOVE), *resources)
    names = [change.action for change in made.changes]
    assert names == [
        "StopInstances",
        "DetachNetworkInterface",
        "AttachNetworkInterface",
        "ModifyNetworkInterfaceAttribute",
        "StartInstances",
        "TerminateInstances",
        "DeleteTags",
    ]
    assert made.changes[1].parameters == {"AttachmentId": "eni-attach-2"}
    assert made.refused is not None
    # The rollback was killed once the interface was back.
    late = plan(spec(**MOVE), *moved(OLD, trial="rejected"))
    assert late.changes[0].action == "ModifyNetworkInterfaceAttribute"
    assert late.changes[0].parameters["Attachment"] == {"AttachmentId": "eni-attach-1", "DeleteOnTermination": True}


def test_record_has_one_word_for_each_interface() -> None:
    found = wanted_moves(spec(**MOVE), relaunch_world.world(before(), extra()), before())
    made = new(next(iter(moves_tags(found).values())))
    assert recorded_moves(made) == found
    assert recorded_moves(new("eni-1=1 eni-00000000000000002=1=forged eni-00000000000000002")) == Moves()


@pytest.mark.parametrize(
    ("fields", "shown", "more", "text"),
    [
        ({"InterfaceType": "efa"}, {}, {}, "is of type efa, which does not move"),
        ({}, {"is_managed": True}, {}, "belongs to an AWS service"),
        ({"Attachment": {**SECOND["Attachment"], "NetworkCardIndex": 1}}, {}, {}, "is on network card 1"),
        ({"Attachment": {**SECOND["Attachment"], "Status": "attaching"}}, {}, {}, "is attaching. Run the task again"),
        ({}, {}, {"public_ip_address": "203.0.113.9"}, "would lose its public address 203.0.113.9 for ever"),
        ({}, {}, {"state": "stopped"}, "is stopped without a hold"),
    ],
)
def test_interface_that_cannot_move_is_an_obstacle(
    fields: dict[str, Any], shown: dict[str, Any], more: dict[str, Any], text: str
) -> None:
    predecessor = plain(facts={"NetworkInterfaces": [BASE, {**SECOND, **fields}]}, **more)
    with pytest.raises(UnsafePlan, match=text):
        plan(spec(**MOVE), predecessor, extra(**shown))


def test_type_with_fewer_interfaces_is_an_obstacle() -> None:
    few = {**M5, "NetworkInfo": {"MaximumNetworkInterfaces": 1}}
    with pytest.raises(UnsafePlan, match=r"m5.large takes 1 interfaces, and the successor would have 2"):
        plan(spec(**MOVE), before(), extra(), INSTANCE_TYPE.fact("m5.large", few))


def test_unset_option_is_refused_by_name_and_keep_leaves_the_interface() -> None:
    with pytest.raises(
        UnsafePlan, match=rf"network_interfaces: {OLD} has network interfaces {EXTRA} \(device index 1\)"
    ):
        plan(spec(), before(), extra())
    made = plan(spec(network_interfaces="keep"), before(), extra())
    assert actions(made) == ["RunInstances new", "CreateTags new", "StopInstances 1"]
    assert any(EXTRA in warning for warning in made.warnings)
    with pytest.raises(UnsafePlan, match="would also delete the network interfaces eni-00000000000000002"):
        plan(spec(network_interfaces="keep", old_instance="terminate"), before(), extra())
    assert plan(spec(old_instance="terminate", **MOVE), before(), extra()).changes
    with pytest.raises(
        SpecError, match="old_instance: keep excludes network_interfaces: move, which stops the predecessor"
    ):
        spec(old_instance="keep", **MOVE)


@pytest.mark.parametrize(
    ("fact", "text"),
    [
        (None, "is gone, or belongs to neither instance"),
        (extra("i-00000000000000009"), "is gone, or belongs to neither instance"),
        (extra(OLD, device_index=0), "is gone, or belongs to neither instance"),
    ],
    ids=["gone", "elsewhere", "primary"],
)
def test_interface_of_somebody_else_stops_a_continued_move(fact: Resource | None, text: str) -> None:
    resources = [one for one in moved() if getattr(one, "name", "") != "interface"]
    with pytest.raises(UnsafePlan, match=text):
        plan(spec(**MOVE), *resources, *([fact] if fact is not None else []))


def test_interface_that_left_the_successor_after_the_move_gets_no_flag() -> None:
    for owner in ("", "i-00000000000000009"):
        done = plan(spec(**MOVE), *moved(owner, trial="serving", state="running")[1:])
        assert [change.action for change in done.changes] == ["DeleteTags"]


# --- the source/destination check ------------------------------------------------------------------------------------

OFF = {"SourceDestCheck": False}


def test_check_is_switched_off_once_after_the_launch() -> None:
    made = plan(spec(), plain(facts=OFF))
    assert actions(made)[:2] == ["RunInstances new", "ModifyInstanceAttribute new"]
    assert made.changes[1].parameters == {"SourceDestCheck": {"Value": False}}
    assert [step.split(" ")[0] for step in back_of(made, "ModifyInstanceAttribute")][-1] == "TerminateInstances"
    assert "ModifyInstanceAttribute new" not in actions(plan(spec(), plain()))


@pytest.mark.parametrize(("successor_check", "calls"), [(True, 1), (False, 0)], ids=["on", "off"])
def test_interrupted_run_switches_the_check_off_only_if_it_is_on(successor_check: bool, calls: int) -> None:
    made = plan(spec(), plain(facts=OFF), new(""))
    assert [change.action for change in made.changes].count("ModifyInstanceAttribute") == 1
    unproven = new("")
    unproven = dataclasses.replace(unproven, facts={**unproven.facts, "SourceDestCheck": successor_check})
    made = plan(spec(), plain(facts=OFF), unproven)
    assert [change.action for change in made.changes].count("ModifyInstanceAttribute") == calls


def test_held_predecessor_keeps_its_check_in_mind() -> None:
    made = plan(spec(**MOVE_ALL), held_old(facts=OFF), volume(OLD), address(), *balancers(OLD))
    assert [change.action for change in made.changes][:2] == ["RunInstances", "ModifyInstanceAttribute"]
