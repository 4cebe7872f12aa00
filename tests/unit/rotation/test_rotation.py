# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of `snapshot_rotate`: its refusals, queries, changes and messages, in small worlds in memory."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.planner import FEATURE
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError, UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    Fact,
    Image,
    ImageDevice,
    Instance,
    Resource,
    Snapshot,
    VolumeAttachment,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import (
    FAST_RESTORES,
    IS_PUBLIC,
    LOCK,
    TIERING,
    VOLUME_PERMISSIONS,
    FastRestoreZone,
    SnapshotLock,
    Tiering,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.times import format_moment
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from rotation_world import (
    DAY,
    I1,
    I2,
    NOW,
    REGION,
    TODAY,
    V1,
    V2,
    V3,
    WHOLE,
    Account,
    actions,
    afterwards,
    created,
    days,
    decision,
    deleted,
    ids,
    instance_id,
    look,
    machine,
    parsed,
    planned,
    request_tags,
    snapshot,
    snapshot_set,
    volume,
    volume_id,
)

# --- small worlds ----------------------------------------------------------------------------------------------------


# --- what is refused without a look at EC2 ---------------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"policy": ""}, ["policy", "''"]),
    ({"policy": "a(b)"}, ["policy", "'a(b)'"]),
    ({"policy": "a*"}, ["policy", "'a*'"]),
    ({"policy": " a"}, ["policy", "' a'"]),
    ({"policy": "a" * 129}, ["policy", "a" * 129]),
    ({"keep": None}, ["keep", "is required"]),
    ({"keep": {}}, ["keep", "no rule"]),
    ({"keep": {"timezone": "UTC"}}, ["keep", "no rule"]),
    ({"keep": {"daily": 0}}, ["keep.daily", "0"]),
    ({"keep": {"last": "many"}}, ["keep.last", "'many'"]),
    ({"keep": {"within": "3 fortnights"}}, ["keep.within", "'3 fortnights'"]),
    ({"keep": {"last": 1, "timezone": "Mars/Olympus"}}, ["keep.timezone", "'Mars/Olympus'"]),
    ({"keep": {"last": 1, "reference": "then"}}, ["keep.reference", "'then'"]),
    ({"every": "7h"}, ["every", "'7h'", "8h"]),
    ({"every": "90s"}, ["every", "'90s'"]),
    ({"select": {"volume_ids": ["i-0123456789abcdef0"]}}, ["select.volume_ids", "'i-0123456789abcdef0'"]),
    ({"select": {"instance_ids": ["web"]}}, ["select.instance_ids", "'web'"]),
    ({"select": {"tags": {"a": "b*"}}}, ["select.tags", "'a'", "'b*'"]),
    ({"select": {"tags": {"a?": "b"}}}, ["select.tags", "'a?'"]),
    ({"select": {"tags": {"": "b"}}}, ["select.tags", "''"]),
    ({"select": {"tags": {"a": "b" * 257}}}, ["select.tags", "'a'", "257"]),
    ({"select": {}}, ["select"]),
    ({"select": None}, ["select"]),
    ({"consistency": "instance"}, ["select.volume_ids", "consistency"]),
    ({"exclude_boot_volume": True}, ["exclude_boot_volume", "consistency"]),
    ({"exclude_volume_ids": [V2]}, ["exclude_volume_ids", "consistency"]),
    ({**WHOLE, "exclude_volume_ids": ["data"]}, ["exclude_volume_ids", "'data'"]),
    ({"tags": {"aws:x": "y"}}, ["tags", "'aws:x'"]),
    ({"tags": {"a": ["b"]}}, ["tags", "'a'", "['b']"]),
    ({"tags": {"ec2ops:policy": "y"}}, ["tags", "'ec2ops:policy'"]),
    ({"tags": {f"t{number}": "" for number in range(43)}}, ["tags", "43"]),
    ({"adopt": {"tags": {}}}, ["adopt.tags"]),
    ({"adopt": {"tags": {"ec2ops:policy": "other"}}}, ["adopt.tags", "'ec2ops:policy'"]),
    ({"adopt": {"tags": {"made-by": "*"}}}, ["adopt.tags", "'made-by'", "'*'"]),
    ({"protect": {"tags": {}}}, ["protect: ", "tag_keys"]),
    ({"protect": {"tags": {"a": "?"}}}, ["protect.tags", "'a'", "'?'"]),
    ({"guards": {"image": "report"}}, ["guards.image", "'report'", "keep, fail"]),
    ({"guards": {"locked": "report"}}, ["guards.locked", "'report'"]),
    ({"guards": {"backup": "report"}}, ["guards.backup", "'report'"]),
    ({"guards": {"last": "off"}}, ["guards.last", "'off'"]),
    ({"guards": {"newest": "keep"}}, ["guards.newest"]),
    ({"copies": [{"region": "nowhere", "keep": {"last": 1}}]}, ["copies[0].region", "'nowhere'"]),
    ({"copies": [{"region": REGION, "keep": {"last": 1}}]}, ["copies[0].region", REGION, "profile"]),
    ({"copies": [{"region": "eu-west-1", "keep": {}}]}, ["copies[0].keep"]),
    ({"copies": [{"region": "eu-west-1", "keep": {"daily": 0}}]}, ["copies[0].keep.daily", "0"]),
    ({"copies": [{"region": "eu-west-1", "profile": "a@b", "keep": {"last": 1}}]}, ["copies[0].profile", "'a@b'"]),
    ({"copies": [{"region": "eu-west-1", "keep": {"last": 1}}] * 2}, ["copies[1]", "twice"]),
    ({"state": "captured", "copies": [{"region": REGION, "keep": {"last": 1}}]}, ["copies[0].region", REGION]),
    ({"max_delete": -1}, ["max_delete", "-1"]),
    ({"max_delete_percent": -1}, ["max_delete_percent", "-1"]),
    ({"max_delete_percent": 101}, ["max_delete_percent", "101"]),
    ({"min_keep": 0}, ["min_keep", "0"]),
    ({"expected_plan": ""}, ["expected_plan", "empty"]),
]


@pytest.mark.parametrize(("given", "told"), REFUSED, ids=[str(given)[:60] for given, _told in REFUSED])
def test_invalid_values_are_refused_by_name(given: dict[str, Any], told: list[str]) -> None:
    with pytest.raises(SpecError) as refused:
        parsed(**given)
    message = str(refused.value)
    assert [part for part in told if part not in message] == []


@pytest.mark.parametrize(
    "given",
    [
        {"keep": None, "state": "captured"},
        {"select": None, "create": "never"},
        {"every": "1d"},
        {"policy": "Ä b.:/=+-@_9"},
        {"tags": {f"t{number}": "" for number in range(42)}},
        {"max_delete": 0, "max_delete_percent": 0},
        {"guards": {"image": "fail", "last": "report", "shared": None}},
    ],
    ids=str,
)
def test_valid_values_are_accepted(given: dict[str, Any]) -> None:
    assert parsed(**given).policy


# --- selection -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resources", "given", "told"),
    [
        ([volume(1)], {"select": {"tags": {"a": "b"}}}, ["volume", "allow_empty"]),
        (machine(1, 1), {"consistency": "instance", "select": {"tags": {"a": "b"}}}, ["instance", "allow_empty"]),
    ],
)  # fmt: skip
def test_missing_selected_resource_is_refused(
    resources: list[Resource], given: dict[str, Any], told: list[str]
) -> None:
    with pytest.raises(SpecError) as refused:
        planned(Account.of(resources), **given)
    assert [part for part in told if part not in str(refused.value)] == []


def test_accepted_empty_selection_still_retains() -> None:
    old = days(3, of=9)
    plan = planned(Account.of(old), select={"tags": {"a": "b"}}, allow_empty=True)
    assert deleted(plan) == ids(old[1:])
    assert created(plan) == []


def test_volume_of_several_selectors_is_captured_once() -> None:
    account = Account.of(volume(1, tags={"a": "b", "c": "d"}), machine(1, 2, 3), volume(4, tags={"a": "b"}), volume(5))
    select = {"volume_ids": [V1, V2], "instance_ids": [I1], "tags": {"a": "b", "c": "d"}}
    plan = planned(account, select=select)
    assert sorted(change.parameters["VolumeId"] for change in created(plan)) == [V1, V2, V3]


def test_instances_are_found_by_tags_and_their_volumes_are_read() -> None:
    account = Account.of(machine(1, 1, 2, tags={"a": "b"}), machine(2, 3))
    plan = planned(account, consistency="instance", select={"tags": {"a": "b"}})
    assert {change.parameters["InstanceSpecification"]["InstanceId"] for change in created(plan)} == {I1}
    assert [change.after["volume_id"] for change in created(plan) if change.after] == [V1, V2]


# --- what is due -----------------------------------------------------------------------------------------------------


def test_capture_is_due_for_an_empty_slot_and_counts_in_the_rules() -> None:
    old = days(3)
    account = Account.of(volume(1), old)
    plan = planned(account, keep={"last": 3})
    (change,) = created(plan)
    assert (change.action, change.parameters["VolumeId"]) == ("CreateSnapshot", V1)
    assert request_tags(change) == {
        "ec2ops:policy": "p",
        "ec2ops:period": TODAY,
        "ec2ops:source": V1,
        "ec2ops:origin": "gp3 100 3000 125 us-east-1a - -",
    }
    assert deleted(plan) == ids(old[2:])
    assert plan.stages[-1].changes[0].action == "DeleteSnapshot"
    waits = [wait for stage in plan.stages[:-1] for wait in stage.waits]
    assert [wait.resources for wait in waits] == [(change.resource,)]
    assert plan.report.result["created"] == [change.resource]
    assert plan.report.result["rpo"] == [
        {"source": V1, "due": True, "snapshot_ids": [change.resource], "recovery_point": format_moment(NOW), "age": 0}
    ]
    assert planned(afterwards(account, plan), keep={"last": 3}).is_empty


def test_origin_records_the_attachment() -> None:
    plan = planned(Account.of(volume(1, 7, volume_type="io2", iops=500, throughput=None)))
    assert request_tags(created(plan)[0])["ec2ops:origin"] == (f"io2 100 500 - us-east-1a {instance_id(7)} /dev/sdf")


def test_no_capture_is_due_for_a_filled_slot() -> None:
    here = snapshot(timedelta(hours=11))
    plan = planned(Account.of(volume(1), here))
    assert plan.is_empty
    assert plan.report.result["rpo"][0] == {
        "source": V1,
        "due": False,
        "snapshot_ids": [here.snapshot_id],
        "recovery_point": format_moment(NOW - timedelta(hours=11)),
        "age": 11 * 3600,
    }


def test_adopted_or_foreign_snapshot_does_not_fill_the_slot() -> None:
    adopted = snapshot(timedelta(hours=1), policy=None, tags={"made-by": "cron", "ec2ops:period": TODAY})
    other = snapshot(timedelta(hours=1), policy="q")
    plan = planned(Account.of(volume(1), adopted, other), adopt={"tags": {"made-by": "cron"}}, keep={"last": 9})
    assert len(created(plan)) == 1


def test_failed_snapshot_of_the_slot_is_replaced_and_then_deleted() -> None:
    failed = snapshot(timedelta(hours=2), state="error", state_reason="no space")
    account = Account.of(volume(1), failed, days(1))
    plan = planned(account, keep={"last": 2})
    assert actions(plan) == ["CreateSnapshot", "DeleteSnapshot"]
    assert deleted(plan) == {failed.snapshot_id}
    assert "no space" in plan.changes[-1].reason
    assert decision(plan, failed)["decision"] == "delete"
    assert plan.report.result["deleted"] == [failed.snapshot_id]
    assert plan.report.result["counts"]["deleted"] == 1
    assert planned(afterwards(account, plan), keep={"last": 2}).is_empty


def test_foreign_failed_snapshot_is_kept() -> None:
    adopted = snapshot(policy=None, state="error", tags={"made-by": "cron"})
    plan = planned(Account.of(adopted), select=None, create="never", adopt={"tags": {"made-by": "cron"}})
    assert plan.is_empty


@pytest.mark.parametrize("state", ["recovering", "recoverable"])
def test_start_repeated_by_ec2_has_not_failed(state: str) -> None:
    back = snapshot(3 * DAY, state=state)
    plan = planned(Account.of(volume(1), back, days(1, first=0)), report="all")
    assert plan.is_empty
    assert decision(plan, back)["reasons"] == [state]


def test_pending_snapshot_of_the_slot_is_awaited_instead_of_a_new_one() -> None:
    pending = snapshot(timedelta(minutes=5), state="pending")
    old = days(3)
    account = Account.of(volume(1), pending, old)
    plan = planned(account, keep={"last": 2})
    assert created(plan) == []
    assert [wait.resources for stage in plan.stages for wait in stage.waits] == [(pending.snapshot_id,)]
    assert deleted(plan) == ids(old[1:])
    assert planned(afterwards(account, plan), keep={"last": 2}).is_empty


def test_awaited_snapshot_counts_as_the_last_of_its_volume() -> None:
    pending, old = snapshot(timedelta(minutes=5), state="pending"), snapshot(DAY)
    account = Account.of(volume(1), pending, old)
    plan = planned(account)
    assert deleted(plan) == {old.snapshot_id}
    assert planned(afterwards(account, plan)).is_empty


def test_pending_snapshot_of_an_earlier_slot_is_neither_awaited_nor_deleted() -> None:
    pending = snapshot(DAY, state="pending")
    plan = planned(Account.of(volume(1), pending, days(1, first=0)), report="all")
    assert plan.is_empty
    assert plan.stages == ()
    assert decision(plan, pending)["reasons"] == ["pending"]


def test_snapshot_of_the_current_slot_is_kept_beside_a_newer_adopted_one() -> None:
    """The snapshot would be due again at once, and the next run would make it again."""
    current = snapshot(timedelta(hours=11))
    adopted = snapshot(timedelta(hours=2), policy=None, tags={"made-by": "hand", "ec2ops:adopted-by": "p"})
    plan = planned(Account.of(volume(1), current, adopted), adopt={"tags": {"made-by": "hand"}}, report="all")
    assert plan.is_empty
    assert decision(plan, current)["reasons"] == ["current slot"]


def test_create_never_makes_none() -> None:
    old = days(3, of=9)
    plan = planned(Account.of(volume(1), old), create="never")
    assert created(plan) == []
    assert deleted(plan) == ids(old[1:])


def test_captured_makes_only_due_snapshots() -> None:
    failed = snapshot(timedelta(hours=2), state="error")
    plan = planned(Account.of(volume(1), days(5), failed), state="captured", keep=None, tags={"a": "b"})
    assert actions(plan) == ["CreateSnapshot"]
    assert [stage.waits for stage in plan.stages] == [()]
    assert (plan.report.result["deleted"], plan.report.result["decisions"]) == ([], [])
    assert plan.report.result["counts"] == {
        "managed": 6,
        "kept": 6,
        "deleted": 0,
        "withheld": 0,
        "created": 1,
        "copied": 0,
    }


BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("every", "zone", "now", "period"),
    [
        ("24h", "UTC", "2026-11-24T23:59:59+00:00", "2026-11-24T00:00+00:00"),
        ("24h", "Europe/Berlin", "2026-11-24T23:59:59+00:00", "2026-11-25T00:00+01:00"),
        ("1w", "Europe/Berlin", "2026-11-29T22:59:59+00:00", "2026-11-23T00:00+01:00"),
        ("1w", "Europe/Berlin", "2026-11-29T23:00:00+00:00", "2026-11-30T00:00+01:00"),
        ("1m", "America/New_York", "2026-12-01T04:59:00+00:00", "2026-11-01T00:00-04:00"),
        ("15min", "UTC", "2026-11-24T12:44:00+00:00", "2026-11-24T12:30+00:00"),
        # 02:00 to 03:00 occurs twice on 2026-10-25: the second pass is in the slot of the first.
        ("1h", "Europe/Berlin", "2026-10-25T00:30:00+00:00", "2026-10-25T02:00+02:00"),
        ("1h", "Europe/Berlin", "2026-10-25T01:30:00+00:00", "2026-10-25T02:00+02:00"),
        ("1h", "Europe/Berlin", "2026-10-25T02:00:00+00:00", "2026-10-25T03:00+01:00"),
    ],
)
def test_slots_begin_on_the_wall_clock(every: str, zone: str, now: str, period: str) -> None:
    moment = datetime.fromisoformat(now)
    keep = {"last": 3, "timezone": zone}
    plan = planned(Account.of(volume(1)), moment, every=every, keep=keep)
    assert request_tags(created(plan)[0])["ec2ops:period"] == period
    tags = {"ec2ops:policy": "p", "ec2ops:period": period}
    there = Snapshot("snap-1", volume_id=V1, start_time=moment, tags=tags, description=f"p: {V1}")
    assert planned(Account.of(volume(1), there), moment, every=every, keep=keep).is_empty


def test_description_in_ascii_keeps_the_policy_name() -> None:
    (change,) = created(planned(Account.of(volume(1)), policy="täglich"))
    text = change.parameters["Description"]
    assert text.startswith("t?glich#")
    assert text.endswith(f": {V1}, slot {TODAY}")
    assert request_tags(change)["ec2ops:policy"] == "täglich"


# --- whole instances -------------------------------------------------------------------------------------------------


def test_set_is_one_call_and_then_gets_the_tags_of_each_volume() -> None:
    account = Account.of(machine(1, 1, 2, 3), machine(2, 4))
    account.put(volume(2, 1, tags={"Name": "db", "team": "b", "aws:x": "y", "ec2ops:spec": "z"}))
    plan = planned(account, **WHOLE, exclude_boot_volume=True, tags={"team": "a"})
    first, second = created(plan)
    assert first.parameters == second.parameters
    assert first.parameters["InstanceSpecification"] == {"InstanceId": I1, "ExcludeBootVolume": True}
    assert request_tags(first) == {
        "ec2ops:policy": "p",
        "ec2ops:period": TODAY,
        "ec2ops:set": f"{I1}/{TODAY}",
        "ec2ops:parts": "2",
        "team": "a",
    }
    tags = [change for change in plan.changes if change.action == "CreateTags"]
    assert [change.resource for change in tags] == [first.resource, second.resource]
    assert {tag["Key"]: tag["Value"] for tag in tags[0].parameters["Tags"]} == {
        "Name": "db",
        "ec2ops:source": V2,
        "ec2ops:origin": f"gp3 100 3000 125 us-east-1a {I1} /dev/sdf",
    }
    assert planned(afterwards(account, plan), **WHOLE, exclude_boot_volume=True, tags={"team": "a"}).is_empty


@pytest.mark.parametrize(
    ("given", "specification", "volumes"),
    [
        ({}, {"ExcludeBootVolume": False}, [V1, V2, V3]),
        (
            {"exclude_volume_ids": [V3]},
            {"ExcludeBootVolume": False, "ExcludeDataVolumeIds": [V3]},
            [V1, V2],
        ),
        ({"exclude_volume_ids": [V1]}, {"ExcludeBootVolume": True}, [V2, V3]),
        (
            {"exclude_boot_volume": True, "exclude_volume_ids": [V2, volume_id(77)]},
            {"ExcludeBootVolume": True, "ExcludeDataVolumeIds": [V2]},
            [V3],
        ),
    ],
    ids=str,
)
def test_volumes_are_left_out_of_a_set(
    given: dict[str, Any], specification: dict[str, Any], volumes: list[str]
) -> None:
    plan = planned(Account.of(machine(1, 1, 2, 3)), **WHOLE, **given)
    assert created(plan)[0].parameters["InstanceSpecification"] == {"InstanceId": I1, **specification}
    assert [change.after["volume_id"] for change in created(plan) if change.after] == volumes


def test_set_of_an_instance_without_a_root_volume_leaves_none_out() -> None:
    """A stopped instance may have its root volume detached."""
    account = Account.of(Instance(I1, state="stopped", root_device_name="/dev/xvda"), volume(2, 1))
    (change,) = created(planned(account, **WHOLE))
    assert change.parameters["InstanceSpecification"] == {"InstanceId": I1, "ExcludeBootVolume": False}


def test_set_is_kept_or_deleted_as_one_even_if_its_instance_is_gone() -> None:
    new, old = snapshot_set(DAY, 9, 1, 2), snapshot_set(2 * DAY, 9, 1, 2)
    plan = planned(Account.of(new, old), create="never", select=None, report="all")
    assert deleted(plan) == ids(old)
    assert decision(plan, old[0])["snapshot_ids"] == sorted(ids(old))
    assert decision(plan, new[0])["source"] == instance_id(9)


def test_guard_on_one_snapshot_keeps_its_whole_set() -> None:
    new, old = snapshot_set(DAY, 9, 1, 2), snapshot_set(2 * DAY, 9, 1, 2)
    locked = LOCK.fact(old[1].snapshot_id, SnapshotLock("compliance"))
    plan = planned(Account.of(new, old, locked), create="never", select=None)
    assert plan.is_empty
    assert decision(plan, old[0])["guard"] == "locked"


def test_a_set_with_a_failed_part_has_failed_as_a_whole() -> None:
    """A failed set replaces no other.

    Its slot gets another set, and the failed one is deleted once that is completed.
    """
    failed = snapshot_set(timedelta(hours=3), 1, 1, 2, states=["completed", "error"])
    good = snapshot_set(DAY, 1, 1, 2)
    account = Account.of(machine(1, 1, 2), failed, good)
    plan = planned(account, **WHOLE, keep={"last": 2})
    assert [change.action for change in created(plan)] == ["CreateSnapshots"] * 2
    assert deleted(plan) == ids(failed)
    assert planned(afterwards(account, plan), **WHOLE, keep={"last": 2}).is_empty


def test_last_good_snapshot_in_a_failed_set_is_kept() -> None:
    failed = snapshot_set(DAY, 1, 1, 2, states=["completed", "error"])
    plan = planned(Account.of(failed), create="never", select=None)
    assert deleted(plan) == set()
    assert decision(plan, failed[0])["guard"] == "last"


def test_failed_set_with_a_part_in_an_image_is_kept() -> None:
    failed = snapshot_set(3 * DAY, 1, 1, 2, states=["completed", "error"])
    image = Image("ami-1", block_devices=(ImageDevice("/dev/sda", failed[0].snapshot_id),))
    plan = planned(Account.of(machine(1, 1, 2), failed, snapshot_set(timedelta(hours=1), 1, 1, 2), image), **WHOLE)
    assert plan.is_empty
    assert decision(plan, failed[0])["guard"] == "image"


def test_failed_set_is_deleted_once_its_replacement_is_completed() -> None:
    failed = snapshot_set(timedelta(hours=3), 1, 1, 2, states=["completed", "error"])
    plan = planned(Account.of(machine(1, 1, 2), failed), **WHOLE, wait=False)
    assert deleted(plan) == set()
    assert decision(plan, failed[0])["guard"] == "depends"


def test_missing_tags_of_a_set_follow_after_a_kill() -> None:
    bare = [
        dataclasses.replace(one, tags={key: one.tags[key] for key in ("ec2ops:policy", "ec2ops:period", "ec2ops:set")})
        for one in snapshot_set(timedelta(hours=1), 1, 1, 2)
    ]
    account = Account.of(machine(1, 1, 2), bare)
    plan = planned(account, **WHOLE)
    assert actions(plan) == ["CreateTags"] * 2
    assert {tag["Key"] for tag in plan.changes[0].parameters["Tags"]} == {"ec2ops:source", "ec2ops:origin"}
    assert planned(afterwards(account, plan), **WHOLE).is_empty


def test_volumes_that_a_set_of_this_slot_holds_are_not_due() -> None:
    """This happens after a change of `consistency`.

    A new snapshot of such a volume would look like a part of the set.
    """
    here = snapshot_set(timedelta(hours=1), 1, 1, 2)
    plan = planned(Account.of(machine(1, 1, 2), volume(3), here), select={"volume_ids": [V1, V2, V3]}, keep={"last": 9})
    assert [change.parameters["VolumeId"] for change in created(plan)] == [V3]


def test_a_volume_on_two_instances_is_in_the_set_of_each() -> None:
    links = (VolumeAttachment(I1, "/dev/sdf"), VolumeAttachment(I2, "/dev/sdf"))
    account = Account.of(machine(1, 1), machine(2, 2), volume(3, attachments=links, state="in-use"))
    given = {"consistency": "instance", "select": {"instance_ids": [I1, I2]}, "keep": {"last": 2}}
    plan = planned(account, **given)
    assert len(created(plan)) == len({change.resource for change in created(plan)}) == 4
    assert {point["source"]: len(point["snapshot_ids"]) for point in plan.report.result["rpo"]} == {I1: 2, I2: 2}
    assert planned(afterwards(account, plan), **given).is_empty


# --- tags ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("copy", "expected"), [(True, {"Name": "db", "team": "a", "env": "x"}), (False, {"team": "a", "env": "x"})]
)
def test_policy_tags_override_copied_volume_tags(copy: bool, expected: dict[str, str]) -> None:
    tags = {"Name": "db", "team": "b", "aws:backup": "y", "ec2ops:spec": "z"}
    plan = planned(Account.of(volume(1, tags=tags)), tags={"team": "a", "env": "x"}, copy_volume_tags=copy)
    found = request_tags(created(plan)[0])
    assert {key: value for key, value in found.items() if not key.startswith("ec2ops:")} == expected


@pytest.mark.parametrize("whole", [False, True], ids=["volume", "set"])
def test_tags_beyond_the_limit_of_a_snapshot_are_left_out_with_a_warning(whole: bool) -> None:
    tags = {f"tag {number:02}": "" for number in range(49)} | {"Name": "db"}
    resources = [*machine(1, 1), volume(1, 1, "/dev/xvda", tags=tags)]
    given = {**(WHOLE if whole else {}), "tags": {"team": "a", "tag 00": "mine"}}
    plan = planned(Account.of(resources), **given)
    account = afterwards(Account.of(resources), plan)
    (made,) = [one for one in account.resources.values() if isinstance(one, Snapshot)]
    # Two places are for a lock and for sharing. The others: of a set the source, of one volume the set and its size.
    assert len(made.tags) == 50 - (3 if whole else 4)
    assert (made.tags["Name"], made.tags["tag 00"], made.tags["team"]) == ("db", "mine", "a")
    (warning,) = plan.warnings
    assert V1 in warning
    assert warning.endswith(": " + ", ".join(f"tag {number:02}" for number in range(40, 49)))
    again = planned(account, **given)
    assert (again.is_empty, again.warnings) == (True, ())


def test_declared_tags_converge_only_on_the_policys_snapshots() -> None:
    right, wrong = snapshot(timedelta(hours=1), tags={"team": "a"}), snapshot(DAY, tags={"team": "b", "Name": "old"})
    adopted = snapshot(2 * DAY, policy=None, tags={"made-by": "cron", "ec2ops:adopted-by": "p"})
    account = Account.of(volume(1, tags={"Name": "new"}), right, wrong, adopted)
    given = {"tags": {"team": "a"}, "keep": {"last": 9}, "adopt": {"tags": {"made-by": "cron"}}}
    plan = planned(account, **given)
    assert [(change.action, change.resource) for change in plan.changes] == [("CreateTags", wrong.snapshot_id)]
    assert plan.changes[0].parameters == {"Tags": [{"Key": "team", "Value": "a"}]}
    assert planned(afterwards(account, plan), **given).is_empty


# --- two of one slot -------------------------------------------------------------------------------------------------


def test_second_snapshot_of_a_slot_displaces_none_and_is_deleted() -> None:
    first, second = snapshot(DAY), snapshot(DAY - timedelta(seconds=5))
    older, given = snapshot(2 * DAY), {"keep": {"last": 2}}
    account = Account.of(volume(1), first, second, older)
    plan = planned(account, **given, create="never", report="all")
    # This is the newest set, and the run that has made it may be about to delete it.
    assert deleted(plan) == set()
    assert decision(plan, second)["reasons"] == ["second snapshot of one slot"]
    plan = planned(account, **given)
    assert deleted(plan) == ids([second, older])
    assert {change.reason for change in plan.changes if change.resource == second.snapshot_id} == {
        "delete the second snapshot of one slot"
    }
    assert planned(afterwards(account, plan), **given).is_empty
    # The snapshot is kept while no run sees the newer one completed, and while the first is not completed.
    assert deleted(planned(account, **given, wait=False)) == set()
    pending = dataclasses.replace(first, state="pending")
    assert deleted(planned(Account.of(volume(1), pending, second, older), **given)) == set()


# --- whose they are --------------------------------------------------------------------------------------------------


def test_adopted_snapshots_of_another_policy_are_not_retained() -> None:
    adopted = days(3, policy=None, tags={"made-by": "cron", "ec2ops:adopted-by": "p"})
    others = days(3, policy="q", tags={"made-by": "cron"})
    foreign = days(3, policy=None)
    plan = planned(
        Account.of(adopted, others, foreign), select=None, create="never", adopt={"tags": {"made-by": "cron"}}
    )
    assert deleted(plan) == ids(adopted[1:])
    assert plan.report.result["counts"]["managed"] == 3


def test_snapshots_of_unknown_source_are_reported_and_kept() -> None:
    unknown = days(3, of="vol-ffffffff", policy=None, tags={"made-by": "cron"})
    plan = planned(Account.of(unknown), select=None, create="never", adopt={"tags": {"made-by": "cron"}}, report="all")
    assert plan.is_empty
    assert [entry["reasons"] for entry in plan.report.result["decisions"]] == [["unknown source"]] * 3
    assert [entry["source"] for entry in plan.report.result["decisions"]] == [None] * 3
    assert plan.report.result["rpo"] == []


def test_copy_with_a_source_only_in_its_tag_is_kept_and_named() -> None:
    copies = days(3, of="vol-ffffffff", tags={"ec2ops:source": V1})
    plan = planned(Account.of(copies), select=None, create="never")
    assert deleted(plan) == set()
    assert all(one.snapshot_id in plan.warnings[0] for one in copies)


def test_copies_of_another_region_are_left_to_its_run() -> None:
    copies = days(3, of="vol-ffffffff", tags={"ec2ops:source": V1, "ec2ops:copy-of": "eu-west-1/snap-1"})
    plan = planned(Account.of(copies), select=None, create="never", report="all")
    assert plan.is_empty
    assert plan.report.result["decisions"] == []


def test_deleted_volumes_are_still_retained_separately() -> None:
    gone, other = days(3, of=7), days(2, of=8)
    here = snapshot(timedelta(hours=1))
    plan = planned(Account.of(volume(1), here, gone, other), keep={"last": 2})
    assert deleted(plan) == ids(gone[2:])
    points = {point["source"]: point for point in plan.report.result["rpo"]}
    assert points[volume_id(7)] == {
        "source": volume_id(7),
        "due": False,
        "snapshot_ids": [gone[0].snapshot_id],
        "recovery_point": format_moment(NOW - DAY),
        "age": 86400,
    }


def test_future_snapshot_is_no_recovery_point() -> None:
    future, here = snapshot(-2 * DAY, period=None), snapshot(timedelta(hours=1))
    plan = planned(Account.of(volume(1), future, here))
    assert plan.report.result["rpo"][0]["snapshot_ids"] == [here.snapshot_id]


# --- what counts -----------------------------------------------------------------------------------------------------

DLM = {"aws:dlm:managed": "true"}
BACKUP = {"aws:backup:source-resource": "arn:aws:ec2:us-east-1::volume/vol-1"}


@pytest.mark.parametrize(
    ("one", "given", "reason"),
    [
        (snapshot(DAY, state="pending"), {}, "pending"),
        (snapshot(DAY, state="error", policy=None, tags={"made-by": "cron"}), {}, "error"),
        (snapshot(-timedelta(seconds=61), period=None), {}, "future"),
        (snapshot(DAY, tags=DLM), {}, "managed: "),
        (snapshot(DAY, tags=DLM), {"guards": {"managed": "fail"}, "keep": {"last": 3}}, "managed: "),
        (snapshot(DAY, policy=None, tags={"made-by": "cron", "velero.io/backup": "b"}), {}, "managed: "),
        (snapshot(DAY, policy=None, tags={"made-by": "cron", "ebs.csi.aws.com/cluster": "true"}), {}, "managed: "),
        (snapshot(DAY, policy=None, tags={"made-by": "cron", "kubernetes.io/cluster/a": "owned"}), {}, "managed: "),
        (snapshot(DAY, tags=BACKUP), {}, "backup: "),
        (snapshot(DAY, tags={"keep": "yes"}), {}, "protected: "),
    ],
)  # fmt: skip
def test_excluded_snapshots_displace_no_other(one: Snapshot, given: dict[str, Any], reason: str) -> None:
    old = days(3, first=2)
    options = {
        "keep": {"last": 2},
        "adopt": {"tags": {"made-by": "cron"}},
        "protect": {"tags": {"keep": "yes"}},
        "create": "never",
        "select": None,
        "report": "all",
        **given,
    }
    plan = planned(Account.of(one, old), **options)
    told = decision(plan, one)
    guard = f"{told['guard']}: " if told["guard"] else ""
    assert f"{guard}{told['reasons'][0]}".startswith(reason)
    assert decision(plan, one)["decision"] == "keep"
    assert deleted(plan) == ids(old[int(options["keep"]["last"]) :])


@pytest.mark.parametrize(("name", "tags"), [("managed", DLM), ("protected", {"keep": "yes"})])
def test_reported_snapshots_count_and_are_deleted_with_a_warning(name: str, tags: dict[str, str]) -> None:
    first, second = snapshot(DAY, tags=tags), snapshot(5 * DAY, tags=tags)
    old = days(3, first=2)
    plan = planned(
        Account.of(first, second, old),
        keep={"last": 2},
        protect={"tags": {"keep": "yes"}},
        guards={name: "report"},
        create="never",
        select=None,
    )
    assert deleted(plan) == ids(old[1:]) | {second.snapshot_id}
    assert [second.snapshot_id in warning and name in warning for warning in plan.warnings] == [True]


def test_a_minute_ahead_is_not_the_future() -> None:
    ahead = snapshot(-timedelta(seconds=60), period=None)
    old = days(2)
    plan = planned(Account.of(ahead, old), create="never", select=None)
    assert deleted(plan) == ids(old)


def test_snapshot_with_tags_of_a_kubernetes_volume_is_retained() -> None:
    tags = {"ebs.csi.aws.com/cluster": "true", "kubernetes.io/created-for/pvc/name": "data"}
    old = days(3, tags=tags)
    account = Account.of(volume(1, tags=tags), old)
    plan = planned(account)
    assert deleted(plan) == ids(old)
    assert planned(afterwards(account, plan)).is_empty


# --- guards ----------------------------------------------------------------------------------------------------------

OLD = snapshot(9 * DAY)
SHARING = {"shared": "keep"}


def tier(last: str, archived: timedelta | None = None) -> Fact:
    since = None if archived is None else NOW - archived
    return TIERING.fact(OLD.snapshot_id, Tiering("archive" if since else "standard", last, archived=since))


def fast(state: str) -> Fact:
    return FAST_RESTORES.fact(OLD.snapshot_id, (FastRestoreZone("us-east-1b", state),))


def locked(state: str, until: datetime | None = None) -> Fact:
    return LOCK.fact(OLD.snapshot_id, SnapshotLock(state, until))


def used_by(state: str, *devices: ImageDevice) -> Image:
    mine = ImageDevice("/dev/sdz", OLD.snapshot_id)
    return Image("ami-1", state=state, block_devices=(ImageDevice("/dev/sda", "snap-1"), *devices, mine))


GUARDED: list[tuple[str, list[Resource], str]] = [
    ("image", [used_by("available")], "ami-1 (available)"),
    ("image", [used_by("disabled")], "ami-1 (disabled)"),
    ("image", [used_by("pending")], "ami-1 (pending)"),
    ("locked", [locked("governance", datetime(2027, 1, 1, tzinfo=UTC))], "27"),
    ("locked", [locked("compliance-cooloff")], "cooloff"),
    ("public", [IS_PUBLIC.fact(OLD.snapshot_id, True)], "anybody"),
    ("shared", [VOLUME_PERMISSIONS.fact(OLD.snapshot_id, ("111122223333",))], "111122223333"),
    ("fast_restore", [fast("enabled")], "-1b"),
    ("fast_restore", [fast("optimizing")], "1b"),
    ("archived", [tier("archival-completed", 89 * DAY)], "paid for until"),
    ("archived", [tier("archival-in-progress")], "archival-in-progress"),
    ("archived", [tier("temporary-restore-in-progress", 200 * DAY)], "temporary-restore-in-progress"),
    ("copy_source", [snapshot(DAY, state="pending", snapshot_id="snap-c", of="vol-ffffffff",
                              tags={"ec2ops:copy-of": f"us-east-1/{OLD.snapshot_id}"})], "snap-c"),
    ("creating", [volume(5, state="creating", snapshot_id=OLD.snapshot_id)], volume_id(5)),
]  # fmt: skip
UNGUARDED: dict[str, list[Resource]] = {
    "lock is over": [locked("expired", datetime(2026, 1, 1, tzinfo=UTC))],
    "fast restore is off": [fast("disabled")],
    "archived long ago": [tier("archival-completed", 91 * DAY)],
    "restored from the archive": [tier("permanent-restore-completed")],
    "shared with nobody": [VOLUME_PERMISSIONS.fact(OLD.snapshot_id, ())],
    "volume is made": [volume(5, state="available", snapshot_id=OLD.snapshot_id)],
    "image of another snapshot": [Image("ami-1", block_devices=(ImageDevice("/dev/sda", "snap-1"),))],
}


def guarded(mode: str, name: str, resources: Sequence[Resource], **given: Any) -> Plan:
    options = {"select": None, "create": "never", "guards": {**SHARING, name: mode}, **given}
    return planned(Account.of(snapshot(DAY), OLD, resources), **options)


@pytest.mark.parametrize(
    ("name", "resources", "reason"), GUARDED, ids=[f"{name}-{why}" for name, _there, why in GUARDED]
)
def test_a_guard_keeps_reports_or_fails(name: str, resources: list[Resource], reason: str) -> None:
    plan = guarded("keep", name, resources)
    assert plan.is_empty
    assert (plan.refused, plan.warnings) == (None, ())
    entry = decision(plan, OLD)
    assert (entry["decision"], entry["guard"]) == ("keep", name)
    assert reason in entry["reasons"][0]

    plan = guarded("fail", name, resources)
    assert plan.is_empty
    assert isinstance(plan.refused, UnsafePlan)
    assert f"{OLD.snapshot_id}: {name}: " in str(plan.refused)
    assert reason in str(plan.refused)
    assert plan.report.result["deleted"] == []
    assert plan.report.result["counts"]["withheld"] == 1

    if name not in ("image", "locked"):
        plan = guarded("report", name, resources)
        assert deleted(plan) == {OLD.snapshot_id}
        assert [(OLD.snapshot_id in text, name in text, reason in text) for text in plan.warnings] == [(True,) * 3]


@pytest.mark.parametrize("resources", UNGUARDED.values(), ids=UNGUARDED)
def test_unguarded_snapshot_is_deleted_without_a_warning(resources: list[Resource]) -> None:
    plan = guarded("keep", "image", resources)
    assert deleted(plan) == {OLD.snapshot_id}
    assert plan.warnings == ()


def test_failing_guard_ignores_snapshots_kept_by_another_guard() -> None:
    image = Image("ami-1", block_devices=(ImageDevice("/dev/sda", OLD.snapshot_id),))
    public = IS_PUBLIC.fact(OLD.snapshot_id, True)
    given = {"select": None, "create": "never", "guards": {"public": "fail"}}
    assert "public: anybody may use it" in str(planned(Account.of(days(1), OLD, public), **given).refused)
    plan = planned(Account.of(days(1), OLD, public, image), **given)
    assert (plan.refused, decision(plan, OLD)["guard"]) == (None, "image")


@pytest.mark.parametrize("name", ["managed", "protected"])
def test_deletion_with_a_guard_in_fail_mode_fails(name: str) -> None:
    one = snapshot(9 * DAY, tags={"managed": DLM, "protected": {"keep": "yes"}}[name])
    given = {"protect": {"tags": {"keep": "yes"}}, "guards": {name: "fail"}, "select": None, "create": "never"}
    plan = planned(Account.of(days(2), one), **given)
    assert f"{one.snapshot_id}: {name}: " in str(plan.refused)
    assert deleted(plan) == set()
    # A snapshot that a rule keeps anyway is no reason to fail.
    plan = planned(Account.of(days(2), one), **given, keep={"last": 3})
    assert plan.refused is None


def test_last_completed_snapshot_of_a_volume_is_kept_beside_foreign_ones() -> None:
    """The rules decide sets by instance. The volume that only the older set has would lose its last snapshot."""
    old, new = snapshot_set(2 * DAY, 1, 1, 2), snapshot_set(DAY, 1, 1)
    given = {"select": None, "create": "never"}
    plan = planned(Account.of(old, new), **given)
    assert plan.is_empty
    entry = decision(plan, old[1])
    assert (entry["guard"], entry["reasons"]) == ("last", [f"it is the last completed snapshot of {V2}"])
    plan = planned(Account.of(old, new), **given, guards={"last": "fail"})
    assert f"{old[1].snapshot_id}: last: " in str(plan.refused)
    plan = planned(Account.of(old, new), **given, guards={"last": "report"})
    assert deleted(plan) == ids(old)
    assert len(plan.warnings) == 1
    foreign = snapshot(3 * DAY, 2, policy=None)
    assert deleted(planned(Account.of(old, new, foreign), **given)) == ids(old)
    for useless in ({"state": "pending"}, {"state": "error"}, {"storage_tier": "archive"}):
        plan = planned(Account.of(old, new, snapshot(3 * DAY, 2, policy=None, **useless)), **given)
        assert plan.is_empty, useless


def test_copy_counts_for_the_volume_that_its_description_names() -> None:
    """EC2 shows an arbitrary volume for a copy. Its description shows the volume of the original. A tag alone does
    not.
    """
    old, new = snapshot_set(2 * DAY, 1, 1, 2), snapshot_set(DAY, 1, 1)
    given = {"select": None, "create": "never"}
    tags = {"ec2ops:copy-of": "eu-west-1/snap-1", "ec2ops:source": V2}
    copy = snapshot(3 * DAY, "vol-ffffffff", tags=tags, description="")
    plan = planned(Account.of(old, new, copy), **given)
    assert decision(plan, old[1])["guard"] == "last"
    told = dataclasses.replace(copy, description=f"p: {V2}, from eu-west-1")
    assert deleted(planned(Account.of(old, new, told), **given)) == ids(old)


def test_withheld_deletions_are_not_reported_as_deleted() -> None:
    resources: list[Resource] = [used_by("available"), IS_PUBLIC.fact(OLD.snapshot_id, True)]
    plan = guarded("report", "public", resources)
    assert plan.is_empty
    assert plan.warnings == ()
    plan = guarded("report", "public", resources[1:], max_delete=0)
    assert plan.refused is not None
    assert plan.warnings == ()


def test_facts_are_queried_only_for_snapshots_to_delete() -> None:
    quiet = Account.of(days(1))
    planned(quiet, select=None, create="never", guards=SHARING)
    assert [query.operation for query in quiet.asked] == ["DescribeSnapshots"]
    busy = Account.of(days(3))
    planned(busy, select=None, create="never", guards=SHARING)
    asked = [query for query in busy.asked if query.operation == "DescribeSnapshotAttribute"]
    assert len(asked) == 2
    planned(busy := Account.of(days(3)), select=None, create="never")
    assert "DescribeSnapshotAttribute" not in [query.operation for query in busy.asked]


@pytest.mark.parametrize("keep", [{"last": 1}, {"within": "4d", "reference": "now"}], ids=str)
def test_slot_that_begins_after_the_last_answer_is_left_to_the_next_run(keep: dict[str, Any]) -> None:
    """A slot begins, or a span ends, after the last answer: no query was about the snapshots that then go."""
    midnight = datetime(2026, 11, 25, tzinfo=UTC)
    here, used = snapshot(timedelta(0)), snapshot("2026-11-21T00:00:00")
    image = Image("ami-1", block_devices=(ImageDevice("/dev/sda", used.snapshot_id), ImageDevice("/dev/sdb", "snap-1")))
    account = Account.of(volume(1), here, *([used] if "within" in keep else []), image)
    spec = parsed(keep=keep)
    before = look(spec, account, midnight - timedelta(seconds=1))
    assert "DescribeImages" not in [query.operation for query in account.asked]
    assert FEATURE.plan(spec, before, midnight + timedelta(seconds=1)).is_empty
    after = look(spec, account, midnight + timedelta(seconds=1))
    assert "DescribeImages" in [query.operation for query in account.asked]
    assert not FEATURE.plan(spec, after, midnight + timedelta(seconds=1)).is_empty


# --- limits ----------------------------------------------------------------------------------------------------------


def held_back(plan: Plan, name: str) -> bool:
    """The plan names the limit, deletes nothing, reports no deletion, and still makes the due captures."""
    assert plan.refused is None or (deleted(plan) == set() and plan.report.result["deleted"] == [])
    assert plan.report.result["counts"]["deleted"] == len(plan.report.result["deleted"])
    assert len(created(plan)) == 1
    return plan.refused is not None and name in str(plan.refused)


@pytest.mark.parametrize(
    ("number", "given", "held"),
    [
        (6, {"max_delete": 5}, False),
        (6, {"max_delete": 4}, True),
        (6, {"max_delete": 0}, True),
    ],
)
def test_deletions_beyond_max_delete_are_withheld(number: int, given: dict[str, Any], held: bool) -> None:
    plan = planned(Account.of(volume(1), days(number)), keep={"last": 2}, **given)
    assert held_back(plan, "max_delete is") is held
    assert plan.report.result["counts"]["withheld"] == (5 if held else 0)


@pytest.mark.parametrize(
    ("number", "keep", "percent", "held"),
    [(10, 2, 50, False), (11, 2, 50, True), (20, 11, 50, False), (20, 10, 50, True), (12, 2, 100, False)],
)
def test_max_delete_percent_counts_from_ten(number: int, keep: int, percent: int, held: bool) -> None:
    """The rules would delete number - keep + 1 of *number* completed snapshots."""
    plan = planned(Account.of(volume(1), days(number)), keep={"last": keep}, max_delete_percent=percent)
    assert held_back(plan, "max_delete_percent is") is held


def test_min_keep_counts_for_each_volume() -> None:
    account = Account.of(volume(1), days(5), days(3, of=2))
    assert held_back(planned(account, keep={"last": 2}, min_keep=2), "min_keep") is False
    plan = planned(account, keep={"last": 2}, min_keep=3)
    assert held_back(plan, "min_keep")
    assert V1 in str(plan.refused)
    assert V2 in str(plan.refused)


def test_only_the_approved_plan_passes_later() -> None:
    account = Account.of(volume(1), days(5))
    approved = str(planned(account, keep={"last": 2}).report.result["plan_hash"])
    later = planned(account, NOW + timedelta(hours=3), keep={"last": 2}, expected_plan=approved)
    assert held_back(later, "expected_plan") is False
    other = planned(account, keep={"last": 3}, expected_plan=approved)
    assert held_back(other, "expected_plan is")
    assert other.report.result["plan_hash"] != approved
    assert other.report.result["plan_hash"] in str(other.refused)
    done = planned(afterwards(account, later), keep={"last": 2}, expected_plan=approved)
    assert (done.is_empty, done.refused) == (True, None)


def test_all_limits_that_are_broken_are_named() -> None:
    plan = planned(Account.of(volume(1), days(20)), max_delete=1, min_keep=2, expected_plan="x")
    found = str(plan.refused)
    assert all(
        name in found for name in ("max_delete is 1", "max_delete_percent is 50", "min_keep is 2", "expected_plan")
    )


def test_good_parts_of_a_failed_set_count_for_the_limits() -> None:
    failed = snapshot_set(3 * DAY, 1, 1, 2, 3, states=["completed", "completed", "error"])
    account = Account.of(machine(1, 1, 2, 3), failed, snapshot_set(timedelta(hours=1), 1, 1, 2, 3))
    assert deleted(planned(account, **WHOLE, max_delete=2)) == ids(failed)
    assert "max_delete is 1" in str(planned(account, **WHOLE, max_delete=1).refused)


# --- what leans on what is not there yet -----------------------------------------------------------------------------


def test_snapshot_replaced_by_a_new_one_is_left_to_a_later_run_without_a_wait() -> None:
    old = days(4)
    account = Account.of(volume(1), old)
    plan = planned(account, keep={"last": 2}, wait=False)
    assert deleted(plan) == ids(old[2:])
    entry = decision(plan, old[1])
    assert (entry["guard"], entry["decision"]) == ("depends", "keep")
    assert created(plan)[0].resource in entry["reasons"][0]
    assert deleted(planned(afterwards(account, plan), keep={"last": 2}, wait=False)) == {old[1].snapshot_id}


def test_snapshot_replaced_by_a_pending_one_is_kept_without_a_wait() -> None:
    pending, old = snapshot(timedelta(minutes=1), state="pending"), days(2)
    plan = planned(Account.of(volume(1), pending, old), wait=False)
    assert deleted(plan) == ids(old[1:])
    assert decision(plan, old[0])["guard"] == "depends"
    assert pending.snapshot_id in decision(plan, old[0])["reasons"][0]


# --- what is told ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("report", "number"), [("actions", 3), ("all", 5), ("summary", 0)])
def test_report_option_limits_the_decisions(report: str, number: int) -> None:
    image = Image("ami-1", block_devices=(ImageDevice("/dev/sda", OLD.snapshot_id),))
    plan = planned(Account.of(volume(1), days(4), OLD, image), keep={"last": 3}, report=report)
    assert len(plan.report.result["decisions"]) == number
    assert plan.report.result["counts"] == {
        "managed": 5,
        "kept": 3,
        "deleted": 2,
        "withheld": 0,
        "created": 1,
        "copied": 0,
    }
    gone = [one for one in deleted(plan) if one in plan.report.text]
    assert len(gone) == (0 if report == "summary" else 2)
    assert (OLD.snapshot_id in plan.report.text) is (report != "summary")


def test_explanation_of_a_volume_with_a_deletion_lists_all_its_snapshots() -> None:
    old = days(2)
    plan = planned(Account.of(volume(1), old, days(1, of=2)), keep={"last": 2}, max_delete=0)
    assert plan.report.text.splitlines() == [
        f"{V1}:",
        f"  keep     2026-11-24T12:00:00Z {created(plan)[0].resource}: last 1 of 2, newest",
        f"  keep     2026-11-23T12:00:00Z {old[0].snapshot_id}: last 2 of 2",
        f"  withheld 2026-11-22T12:00:00Z {old[1].snapshot_id}: no rule keeps it",
    ]


# --- what holds for all worlds ---------------------------------------------------------------------------------------

# No snapshot starts at this very moment: then ids, which the plan does not know yet, would decide the order.
_AGES = st.integers(-3, 24 * 40).map(lambda hours: timedelta(hours=hours, minutes=30))
_TAGS = st.sampled_from([{}, {}, {}, {}, DLM, BACKUP, {"keep": "yes"}, {"velero.io/backup": "b"}])


@st.composite
def worlds(draw: st.DrawFn) -> Account:
    """Some volumes, an instance, and snapshots of any policy, age and state, with any facts."""
    things: list[Resource] = [*machine(1, 1, 2), volume(3)]
    for _one in range(draw(st.integers(0, 14))):
        number = f"snap-{len(things):017x}"
        state = draw(st.sampled_from(["completed"] * 6 + ["pending", "error"]))
        kind = draw(st.sampled_from(["ours", "ours", "ours", "adopted", "other", "unknown"]))
        fields: dict[str, Any] = {"snapshot_id": number, "state": state}
        of: int | str = draw(st.integers(1, 4)) if kind != "unknown" else "vol-ffffffff"
        tags = dict(draw(_TAGS))
        if kind in ("adopted", "unknown"):
            things.append(snapshot(draw(_AGES), of, policy=None, tags={**tags, "made-by": "cron"}, **fields))
        else:
            things.append(snapshot(draw(_AGES), of, policy="p" if kind == "ours" else "q", tags=tags, **fields))
        fact = draw(st.sampled_from(["", "", "", "", "lock", "public", "image"]))
        if fact == "lock":
            things.append(LOCK.fact(number, SnapshotLock("governance")))
        elif fact == "public":
            things.append(IS_PUBLIC.fact(number, True))
        elif fact == "image":
            things.append(Image(f"ami-{len(things)}", block_devices=(ImageDevice("/dev/sda", number),)))
    for one in range(draw(st.integers(0, 4))):
        age = draw(st.integers(0, 20)) * DAY + timedelta(hours=one, minutes=30)
        states = [
            draw(st.sampled_from(["completed", "completed", "completed", "pending", "error"])) for _one in range(2)
        ]
        made = snapshot_set(age, draw(st.integers(1, 2)), 1, 2, states=states)
        things += [
            dataclasses.replace(part, snapshot_id=f"snap-{0xE000 + 16 * one + number:017x}")
            for number, part in enumerate(made)
        ]
    return Account.of(things)


@st.composite
def policies(draw: st.DrawFn) -> dict[str, Any]:
    rule = st.sampled_from(["last", "daily", "weekly", "monthly", "hourly"])
    keep: dict[str, Any] = draw(st.dictionaries(rule, st.integers(1, 5), min_size=1, max_size=3))
    if draw(st.booleans()):
        keep["within"] = draw(st.sampled_from(["12h", "3d", "1m"]))
    keep["timezone"] = draw(st.sampled_from(["UTC", "Europe/Berlin"]))
    given: dict[str, Any] = {
        "keep": keep,
        "every": draw(st.sampled_from(["1h", "24h", "1w"])),
        "adopt": draw(st.sampled_from([None, {"tags": {"made-by": "cron"}}])),
        "protect": draw(st.sampled_from([None, {"tags": {"keep": "yes"}}])),
        "tags": draw(st.sampled_from([{}, {"team": "a"}])),
        "guards": draw(st.sampled_from([{}, {"managed": "report"}, {"last": "report", "public": "report"}])),
        "max_delete_percent": 100,
        "report": "all",
    }
    if draw(st.booleans()):
        given |= {"consistency": "instance", "select": {"instance_ids": [I1]}}
    else:
        given |= {"select": {"volume_ids": [V1, V2, V3]}}
    if draw(st.booleans()):
        given["create"] = "never"
    return given


@examples(150)
@given(worlds(), policies())
def test_plan_over_its_own_prediction_is_empty(account: Account, given: dict[str, Any]) -> None:
    if given["adopt"]:
        # The run that claims snapshots deletes none of them.
        account = afterwards(account, planned(account, **given))
    plan = planned(account, **given)
    again = planned(afterwards(account, plan), **given)
    assert [change.published() for change in again.changes] == []


@examples(150)
@given(worlds(), policies(), st.booleans())
def test_every_plan_meets_the_limits_and_guards(account: Account, given: dict[str, Any], wait: bool) -> None:
    plan = planned(account, **given, wait=wait)
    entries = plan.report.result["decisions"]
    told = [one for entry in entries for one in entry["snapshot_ids"]]
    # Every snapshot of the policy, or adopted, is decided about exactly once.
    adopt = (given["adopt"] or {}).get("tags")
    managed = {
        one.snapshot_id
        for one in account.resources.values()
        if isinstance(one, Snapshot)
        and (
            one.tags.get("ec2ops:policy") == "p"
            or (adopt and adopt.items() <= one.tags.items() and "ec2ops:policy" not in one.tags)
        )
    }
    assert sorted(told) == sorted(managed)
    going = {one for entry in entries if entry["decision"] == "delete" for one in entry["snapshot_ids"]}
    assert going == deleted(plan) == set(plan.report.result["deleted"])
    assert plan.report.result["counts"]["kept"] + plan.report.result["counts"]["deleted"] == len(managed)
    assert all(entry["reasons"] for entry in entries if entry["decision"] == "keep")
    # The newest completed set of a group that counts is never deleted, and neither is a set of the current slot.
    seen: set[str] = set()
    for entry in entries:
        parts = [account.resources[one] for one in entry["snapshot_ids"]]
        completed = all(isinstance(one, Snapshot) and one.state == "completed" for one in parts)
        excluded = _excluded(entry)
        if completed and entry["source"] and not excluded and entry["source"] not in seen:
            seen.add(entry["source"])
            replaced = wait and any(
                point["source"] == entry["source"] and point["due"] for point in plan.report.result["rpo"]
            )
            assert replaced or entry["decision"] == "keep" or _awaited(plan, account, entry["source"])
    # No deletion names a snapshot that EC2 would not delete, or that the run must keep.
    for one in going:
        found = account.resources[one]
        assert isinstance(found, Snapshot)
        assert found.state != "pending" or "ec2ops:set" in found.tags
        assert (
            not any(isinstance(other, Image) and one in other.snapshot_ids for other in account.resources.values())
            or found.state == "error"
        )
        assert not any(name == LOCK.id_of(one) for name in account.resources) or found.state == "error"


def _excluded(entry: Mapping[str, Any]) -> bool:
    """Whether the set takes part in no rule, although it is completed."""
    return any(one == "future" or one.startswith(("managed: ", "backup: ", "protected: ")) for one in entry["reasons"])


def _awaited(plan: Plan, account: Account, source: str) -> bool:
    """Whether this run waits for a pending snapshot of this group."""
    waited = [one for stage in plan.stages for wait in stage.waits for one in wait.resources]
    found = [account.resources[one] for one in waited if one in account.resources]
    return any(
        isinstance(one, Snapshot) and source in (one.volume_id, one.tags.get("ec2ops:set", "").partition("/")[0])
        for one in found
    )


@examples(60)
@given(worlds(), policies(), st.randoms(use_true_random=False))
def test_order_of_answers_changes_nothing(account: Account, given: dict[str, Any], chance: random.Random) -> None:
    shuffled = list(account.resources.items())
    chance.shuffle(shuffled)
    first, second = planned(account, **given), planned(Account(*(one for _name, one in shuffled)), **given)
    assert sorted(map(repr, first.published())) == sorted(map(repr, second.published()))
    assert first.report.result == second.report.result
    assert first.report.text == second.report.text
