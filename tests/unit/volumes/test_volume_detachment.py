# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes that leave their instance: detached, absent, purged or moved."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.hold import Hold
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import (
    INSTANCE_TYPE,
    MEMBERSHIP,
    STOP_PROTECTION,
    Membership,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import VolumeAttachment

from in_process import OTHER_ZONE, ZONE
from proven import stopped_at
from volume_plans import Case, carried_out, check, declared, no, ok, plan_of
from volume_world import (
    DB,
    NOW,
    PURGE,
    STOP,
    STOPPED,
    SWAPPING,
    TAKEN,
    TAKING_OFF,
    WEB,
    Ec2,
    instance,
    shared,
    short,
    steps,
    vol,
    volume,
    was_at,
)

HELD = Hold(NOW - timedelta(minutes=10), NOW + timedelta(minutes=20)).value
LEFT = instance(state="stopped", tags={"ec2ops:restore-state": HELD}, facts=stopped_at(NOW - timedelta(minutes=9)))
STOPPING = ("CreateTags vol-1 was-at", "CreateTags i-1 restore-state", "StopInstances i-1")
STARTING = ("StartInstances i-1", "DeleteTags i-1 restore-state")
PURGED = [
    ok(
        "what is not named goes, but not the root",
        [
            instance(),
            volume(1, WEB, name="data"),
            volume(2, WEB, "/dev/sdg"),
            volume(3, WEB, "/dev/sdh", name="x", group="y"),
        ],
        [{"name": "data"}],
        "DetachVolume vol-2 from i-1",
        **PURGE,
    ),
    ok("not unless told so", [volume(1, WEB, name="data"), volume(2, WEB, "/dev/sdg")], [{"name": "data"}]),
    ok(
        "what is named by its id stays, and so does what is adopted",
        [volume(1, WEB, name="a"), volume(2, WEB, "/dev/sdg")],
        [{"volume_id": vol(1)}, {"name": "b", "device_name": "/dev/sdg"}],
        "CreateTags vol-2 spec,volume",
        **PURGE,
    ),
    ok(
        "another instance's stay",
        [instance(), instance(DB), volume(1, DB), volume(2, WEB)],
        [],
        "DetachVolume vol-2 from i-1",
        **PURGE,
    ),
    ok(
        "a shared volume leaves this instance only",
        [STOPPED, instance(DB), shared(1, WEB, DB)],
        [],
        "DetachVolume vol-1 from i-1",
        purge_volumes=True,
        spec="web",
    ),
    ok("what a service manages stays", [volume(1, WEB, operator="eks")], [], **PURGE),
    ok("the root volume of an instance that does not name its volumes yet", [instance(state="pending")], [], **PURGE),
]


@pytest.mark.parametrize("case", PURGED)
def test_undeclared_volumes_are_detached(case: Case) -> None:
    check(case)


def test_delete_on_termination_of_a_pending_instance_is_set() -> None:
    entry = {"name": "data", "delete_on_termination": True}
    there = [instance(state="pending"), volume(1, WEB, name="data")]
    check(Case("", there, [entry], ["ModifyInstanceAttribute i-1 /dev/sdf=True"]))


def test_managed_volume_gives_a_warning() -> None:
    (warning,) = plan_of(declared(**PURGE), Ec2(instance(), volume(1, WEB, operator="eks"))).warnings
    assert vol(1) in warning
    assert "eks" in warning


def test_root_volume_of_a_pending_instance_is_found() -> None:
    check(Case("", [instance(state="pending")], [{"name": "root", "size": 20}], ["ModifyVolume vol-f001 Size=20"]))


# The volume that leaves: (its spec, its zone, the options), and the warning.
LEAVING: list[tuple[str, str, dict[str, Any], str]] = [
    ("web", ZONE, {"spec": "web"}, "leaves i-2 and stays in the declaration web"),
    ("web", OTHER_ZONE, {"spec": "web"}, "leaves i-2 and stays in the declaration web"),
    ("web", ZONE, {"spec": "web", "instance_ids": None, "availability_zone": OTHER_ZONE}, "leaves i-2 and stays"),
    (DB, ZONE, {}, "moves from the declaration i-2 to i-1"),
    (DB, OTHER_ZONE, {}, "moves from the declaration i-2 to i-1"),
]


@pytest.mark.parametrize(("group", "zone", "given", "words"), LEAVING)
def test_declaration_of_a_leaving_volume_is_named(group: str, zone: str, given: dict[str, Any], words: str) -> None:
    """This includes a declaration with the name of the one that takes the volume, since it works against that one."""
    ec2 = Ec2(instance(WEB), instance(DB, zone=zone), volume(1, DB, name="data", group=group, zone=zone))
    spec = declared({"volume_id": vol(1)}, **{**TAKEN, "replace": "snapshot", **given})
    (warning,) = plan_of(spec, ec2).warnings
    assert words in short(warning)
    assert "Remove data from" in warning
    ec2.carry_out(plan_of(spec, ec2))
    assert not any("Remove " in one for one in plan_of(spec, ec2).warnings)


@pytest.mark.parametrize("how", TAKING_OFF)
@pytest.mark.parametrize("state", ["running", "pending"])
def test_running_instance_loses_no_volume_without_consent(how: str, state: str) -> None:
    volumes, given = TAKING_OFF[how]
    label = "volumes[0] (data)" if volumes else "purge_volumes"
    words = [label, "vol-1", "i-1", "running", "in_use: stop", "in_use: detach"]
    check(Case("", [instance(state=state), volume(1, WEB, name="data")], volumes, (), UnsafePlan, words, given))


@pytest.mark.parametrize("in_use", ["refuse", "stop", "detach"])
def test_detaching_volume_is_not_detached_again(in_use: str) -> None:
    leaving = volume(1, name="data", attachments=(VolumeAttachment(WEB, "/dev/sdf", "detaching"),))
    check(Case("", [instance(), leaving], [{"name": "data", "state": "detached"}], given={"in_use": in_use}))


@pytest.mark.parametrize("how", TAKING_OFF)
@pytest.mark.parametrize("in_use", ["refuse", "stop", "detach"])
def test_detach_from_a_stopped_instance_is_not_disruptive(how: str, in_use: str) -> None:
    volumes, given = TAKING_OFF[how]
    case = Case("", [STOPPED, volume(1, WEB, name="data")], volumes, given={**given, "in_use": in_use})
    plan = carried_out(case.spec, case.ec2())
    assert "DetachVolume vol-1 from i-1" in steps(plan)
    assert not [change for change in plan.changes if change.action in ("StopInstances", "StartInstances")]
    assert not [change.action for change in plan.changes if change.disruptive and change.action != "DeleteVolume"]


@pytest.mark.parametrize("how", TAKING_OFF)
def test_detach_from_a_running_instance_is_disruptive(how: str) -> None:
    volumes, given = TAKING_OFF[how]
    case = Case("", [instance(), volume(1, WEB, name="data")], volumes, given={**given, "in_use": "detach"})
    plan = carried_out(case.spec, case.ec2())
    (detach,) = (change for change in plan.changes if change.action == "DetachVolume")
    assert detach.disruptive
    assert not [change for change in plan.changes if change.action in ("StopInstances", "StartInstances")]


SWAP_ENDING = (
    "DeleteSnapshot new swap of vol-1",
    "CreateTags vol-1 replaced-by",
    "DeleteTags vol-1 spec,volume,was-at",
    "DeleteTags new i-1/data swap",
)


@pytest.mark.parametrize(
    "case",
    [
        ok(
            "detached",
            [volume(1, WEB, name="data")],
            *TAKING_OFF["detached"][:1],
            *STOPPING,
            "DetachVolume vol-1 from i-1",
            *STARTING,
            "DeleteTags vol-1 was-at",
            **STOP,
        ),
        ok(
            "deleted: the instance does not wait for the snapshot",
            [volume(1, WEB, name="data")],
            *TAKING_OFF["absent"][:1],
            *STOPPING,
            "DetachVolume vol-1 from i-1",
            *STARTING,
            "CreateSnapshot new final of vol-1 | DeleteVolume vol-1",
            **STOP,
        ),
        ok(
            "swapped: the instance is started with the new one",
            [volume(1, WEB, name="data")],
            *TAKING_OFF["swapped"][:1],
            *STOPPING,
            "DetachVolume vol-1 from i-1",
            *SWAPPING,
            *STARTING,
            *SWAP_ENDING,
            replace="snapshot",
            **STOP,
        ),
        ok(
            "two volumes, one stop",
            [volume(1, WEB, name="data"), volume(2, WEB, "/dev/sdg", name="log")],
            [{"name": "data", "state": "detached"}, {"name": "log", "state": "detached"}],
            STOPPING[0],
            "CreateTags vol-2 was-at",
            *STOPPING[1:],
            "DetachVolume vol-1 from i-1 | DetachVolume vol-2 from i-1",
            *STARTING,
            "DeleteTags vol-1 was-at | DeleteTags vol-2 was-at",
            **STOP,
        ),
        ok(
            "no stop for what needs none",
            [volume(1, WEB, name="data"), volume(2, name="log")],
            [{"name": "data", "size": 20}, {"name": "log"}],
            "ModifyVolume vol-1 Size=20 | AttachVolume vol-2 to i-1 /dev/sdg",
            **STOP,
        ),
        ok(
            "a killed run has left it stopped: it is started again",
            [LEFT, volume(1, name="data", tags=was_at(f"{WEB} /dev/sdf"))],
            [{"name": "data", "state": "detached"}],
            *STARTING,
            "DeleteTags vol-1 was-at",
            **STOP,
        ),
        ok(
            "somebody else holds it stopped: it stays so",
            [LEFT, volume(1, name="data")],
            [{"name": "data", "state": "detached"}],
            **STOP,
        ),
        ok(
            "what is stopping already is waited for, and not started",
            [instance(state="stopping"), volume(1, WEB, name="data")],
            [{"name": "data", "state": "detached"}],
            "DetachVolume vol-1 from i-1",
            **STOP,
        ),
        *(
            no(
                f"not stopped: {title}",
                [instance(**fields), volume(1, WEB, name="data"), *facts],
                [{"name": "data", "state": "detached"}],
                UnsafePlan,
                f"in_use: stop | i-1 | {words}",
                **STOP,
            )
            for title, fields, facts, words in (
                ("stop protection", {}, [STOP_PROTECTION.fact(WEB, True)], "DisableApiStop"),
                (
                    "instance store",
                    {"instance_type": "i"},
                    [INSTANCE_TYPE.fact("i", {"InstanceStorageSupported": True})],
                    "lose_instance_store",
                ),
                (
                    "Auto Scaling",
                    {"tags": {"aws:autoscaling:groupName": "g"}},
                    [MEMBERSHIP.fact(WEB, Membership("g", "InService"))],
                    "Auto Scaling group g",
                ),
            )
        ),
        ok(
            "instance store is lost when told so",
            [
                instance(instance_type="i"),
                INSTANCE_TYPE.fact("i", {"InstanceStorageSupported": True}),
                volume(1, WEB, name="data"),
            ],
            [{"name": "data", "state": "detached"}],
            *STOPPING,
            "DetachVolume vol-1 from i-1",
            *STARTING,
            "DeleteTags vol-1 was-at",
            lose_instance_store=True,
            **STOP,
        ),
    ],
)
def test_running_instance_is_stopped_for_the_detach(case: Case) -> None:
    check(case)


def test_a_lost_public_address_is_a_warning() -> None:
    there = [instance(public_ip_address="192.0.2.1"), volume(1, WEB, name="data")]
    (warning,) = plan_of(declared({"name": "data", "state": "detached"}, **STOP), Ec2(*there)).warnings
    assert "192.0.2.1" in warning
