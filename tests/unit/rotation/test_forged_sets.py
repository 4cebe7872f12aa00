# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sets, copies and predecessors with forged, altered or removed tags: EC2's facts decide."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore.points import Wanted, recover
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import client_token
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Resource, Snapshot
from hypothesis import given
from hypothesis import strategies as st

from copies_world import copies_in, copy_of, place, world_of
from copies_world import planned as planned_with_copies
from examples import examples
from forged_tags import ALTERED, FORGERY, strangers, tagged
from rotation_world import (
    DAY,
    I1,
    I2,
    NOW,
    TODAY,
    V1,
    V2,
    WHOLE,
    Account,
    created,
    days,
    decision,
    deleted,
    ids,
    machine,
    planned,
    snapshot,
    snapshot_set,
    volume,
)

HOUR = timedelta(hours=1)
TAGS: Mapping[str, Any] = {"select": {"tags": {"backup": "daily"}}, "consistency": "instance"}


# --- sets -------------------------------------------------------------------------------------------------------------


def test_junk_set_displaces_delays_and_deletes_no_set() -> None:
    real = [snapshot_set(number * DAY, 1, 1, 2) for number in (1, 2, 3)]
    junk = [
        tagged(snapshot(number * HOUR, 9, policy=None), policy="p", set=f"{I1}/{TODAY}", period=TODAY)
        for number in (1, 2, 3)
    ]
    plan = planned(Account.of(machine(1, 1, 2), *real, junk), **WHOLE, keep={"last": 4})
    assert [change.action for change in created(plan)] == ["CreateSnapshots"] * 2
    assert deleted(plan) == set()
    assert all(one.snapshot_id in plan.warnings[0] for one in junk)


@pytest.mark.parametrize("tags", [{"set": None}, {"set": f"{I2}/{TODAY}"}, {"set": "?"}, {"parts": "9" * 200}])
def test_altered_tags_of_a_part_take_no_set_apart(tags: dict[str, Any]) -> None:
    real = [snapshot_set(number * DAY, 1, 1, 2) for number in (1, 2, 3)]
    altered = [[tagged(one[0], **tags), one[1]] for one in real]
    plan = planned(Account.of(machine(1, 1, 2), *altered), **WHOLE, create="never", keep={"last": 2})
    assert deleted(plan) == ids(real[2])
    found = recover([one for parts in altered for one in parts], Wanted(instance_id=I1))
    assert {point.snapshot.snapshot_id for point in found.points} == ids(real[0])


def test_restore_takes_no_junk_set() -> None:
    real = snapshot_set(DAY, 1, 1, 2)
    junk = [tagged(snapshot(HOUR, of, policy=None), policy="p", set=f"{I1}/{TODAY}") for of in (8, 9)]
    copies = [
        tagged(snapshot(HOUR, "vol-ffffffff", policy=None), policy="p", set=f"{I1}/{TODAY}", source=of, copy_of="a/b")
        for of in (V1, V2)
    ]
    found = recover([*real, *junk, *copies], Wanted(instance_id=I1))
    assert {point.snapshot.snapshot_id for point in found.points} == ids(real)
    with pytest.raises(SpecError, match="no snapshot set"):
        recover([*junk, *copies], Wanted(instance_id=I1))


def test_snapshot_that_no_policy_took_takes_no_part_in_a_restore_without_sets() -> None:
    origin = f"gp3 8 3000 125 us-east-1a {I1} /dev/sdf"
    real = tagged(snapshot(DAY, 1), origin=origin)
    junk = tagged(snapshot(HOUR, 9, policy=None, description=""), policy="p", origin=origin)
    found = recover([real, junk], Wanted(instance_id=I1))
    assert [point.snapshot for point in found.points] == [real]


# --- slots ------------------------------------------------------------------------------------------------------------


def at(text: str, period: str) -> Snapshot:
    return tagged(snapshot(text), period=f"{period}T00:00+00:00")


def test_start_shortly_after_the_slots_end_counts_in_its_slot() -> None:
    late, today = at("2026-11-24T00:00:20", "2026-11-23"), at("2026-11-24T01:00", "2026-11-24")
    plan = planned(Account.of(volume(1), late, today), keep={"daily": 2}, create="never", report="all")
    assert [decision(plan, one)["reasons"][0] for one in (late, today)] == ["daily 2026-11-23", "daily 2026-11-24"]


def test_late_claim_displaces_no_snapshot_of_its_slot() -> None:
    real = at("2026-11-23T01:00", "2026-11-23")
    forged = at("2026-11-24T00:10", "2026-11-23")
    plan = planned(Account.of(volume(1), real, forged), keep={"daily": 2}, create="never")
    assert deleted(plan) == set()


def at_midnight(number: int, **fields: Any) -> Snapshot:
    """Snapshots that were taken five seconds after midnight, so many days ago."""
    return snapshot(NOW - (NOW.replace(hour=0, second=5) - number * DAY), **fields)


def test_late_claim_to_a_missed_slot_deletes_nothing_of_its_week() -> None:
    """Sunday has no snapshot.

    Monday's snapshot, from right after midnight, claims Sunday: Saturday's is still the week's last.
    """
    monday, saturday, friday = at_midnight(1), at_midnight(3), at_midnight(4)
    forged = tagged(monday, period="2026-11-22T00:00+00:00")
    for first in (monday, forged, tagged(monday, period=None)):
        plan = planned(Account.of(volume(1), first, saturday, friday), keep={"weekly": 5}, create="never")
        assert deleted(plan) == {friday.snapshot_id}


@pytest.mark.parametrize("policy", ["p", None])
def test_claims_to_one_long_slot_delete_nothing_of_other_days(policy: str | None) -> None:
    """Sets that were adopted, or taken before ``every`` was changed to a month."""
    daily = [snapshot(number * DAY, policy=policy, tags={"by": "cron"}) for number in range(1, 6)]
    claimed = [tagged(one, period="2026-11-01T00:00+00:00", adopted_by="p") for one in daily]
    given = {"keep": {"daily": 9}, "every": "1m", "create": "never", "adopt": {"tags": {"by": "cron"}}}
    assert deleted(planned(Account.of(volume(1), claimed), **given)) == set()


@pytest.mark.parametrize("period", [None, TODAY, "2026-11-22T00:00+00:00", "?"])
def test_slot_in_the_description_counts_against_the_tag(period: str | None) -> None:
    late = tagged(snapshot("2026-11-24T00:00:20", description=f"p: {V1}, slot 2026-11-23T00:00+00:00"), period=period)
    today = at("2026-11-24T01:00", "2026-11-24")
    plan = planned(Account.of(volume(1), late, today), keep={"daily": 2}, report="all")
    assert (created(plan), deleted(plan)) == ([], set())
    assert [decision(plan, one)["reasons"][0] for one in (late, today)] == ["daily 2026-11-23", "daily 2026-11-24"]


def test_slot_in_the_description_is_filled_without_the_tag() -> None:
    made = tagged(snapshot(HOUR, description=f"p: {V1}, slot {TODAY}"), period=None)
    assert planned(Account.of(volume(1), made), keep={"last": 1}).is_empty


@pytest.mark.parametrize("value", [f"{TODAY[:10]}T00:00+00:00", "2026-11-23T00:00+00:00"])
def test_one_slot_on_many_snapshots_deletes_none(value: str) -> None:
    """A policy has changed to fewer snapshots: its hourly ones are not second snapshots of a day's slot."""
    hourly = [tagged(snapshot(number * HOUR), period=value) for number in range(1, 20)]
    plan = planned(Account.of(volume(1), hourly), keep={"last": 48}, create="never")
    assert deleted(plan) == set()


# --- copies -----------------------------------------------------------------------------------------------------------


def test_forged_copy_of_another_snapshot_does_not_stand_for_the_newest() -> None:
    old, new = snapshot(2 * DAY), snapshot(DAY)
    forged = tagged(copy_of(old, start_time=NOW), copy_of=f"us-east-1/{new.snapshot_id}")
    plan = planned_with_copies(world_of(volume(1), old, new, forged), copies=place(), create="never")
    assert copies_in(plan) == [old.snapshot_id, new.snapshot_id]
    assert any(forged.snapshot_id in text for text in plan.warnings)


def test_copies_of_the_first_versions_count() -> None:
    old, new = snapshot(2 * DAY), snapshot(DAY)
    copies = [copy_of(one, description=f"p: {V1}, from us-east-1") for one in (old, new)]
    plan = planned_with_copies(world_of(volume(1), old, new, *copies), copies=place(), create="never")
    assert (copies_in(plan), deleted(plan), plan.warnings) == ([], {old.snapshot_id}, ())


def test_unproven_copy_is_no_reason_to_delete_an_original_or_a_copy() -> None:
    old, new = snapshot(2 * DAY), snapshot(DAY)
    real = [copy_of(one) for one in (old, new)]
    forged = [
        dataclasses.replace(tagged(copy_of(snapshot(HOUR)), copy_of="us-east-1/snap-0"), description="")
        for _number in range(3)
    ]
    world = world_of(volume(1), old, new, *real, *forged)
    plan = planned_with_copies(world, copies=place(), create="never", keep={"last": 9})
    assert deleted(plan) == set()
    without = planned_with_copies(world_of(volume(1), old, new, *forged), copies=place(), create="never")
    assert deleted(without) == set()


# --- predecessors -----------------------------------------------------------------------------------------------------


def successor(token: str | None, **fields: Any) -> list[Resource]:
    tags = {"backup": "daily", "ec2ops:replaces": I1, "ec2ops:trial": "serving"}
    return machine(2, 2, tags=tags, image_id="ami-1", facts={"ClientToken": token}, **fields)


@pytest.mark.parametrize(
    ("state", "token", "taken"),
    [
        ("stopped", client_token(("relaunch", I1, "ami-1")), {V2}),
        ("stopped", "terraform", {V1, V2}),
        ("stopped", None, {V1, V2}),
        ("running", client_token(("relaunch", I1, "ami-1")), {V1, V2}),
    ],
    ids=["retired", "unproven", "no token", "in service"],
)
def test_retired_predecessor_with_the_same_tags_is_not_captured(state: str, token: str | None, taken: set[str]) -> None:
    old = machine(1, 1, tags={"backup": "daily"}, state=state)
    plan = planned(Account.of(old, successor(token)), **TAGS)
    assert {(change.after or {})["volume_id"] for change in created(plan)} == taken


# --- whatever is forged -----------------------------------------------------------------------------------------------


@examples(60)
@given(st.lists(FORGERY, min_size=1, max_size=9))
def test_forged_tags_on_strangers_change_nothing(forgeries: list[dict[str, str]]) -> None:
    honest = [machine(1, 1, 2), days(5), snapshot_set(DAY, 1, 1, 2), snapshot_set(2 * DAY, 1, 1, 2)]
    for options in ({"keep": {"last": 2, "daily": 3}}, {**WHOLE, "keep": {"last": 1}}):
        without, forged = planned(Account.of(*honest), **options), strangers(forgeries)
        plan = planned(Account.of(*honest, forged), **options)
        assert deleted(plan) == deleted(without)
        assert [change.parameters for change in created(plan)] == [change.parameters for change in created(without)]
        assert plan.report.result["rpo"] == without.report.result["rpo"]


@examples(60)
@given(st.lists(ALTERED, min_size=9, max_size=9))
def test_altered_tags_on_honest_snapshots_lose_nothing(altered: list[dict[str, str | None]]) -> None:
    alone = days(5)
    parts = [one for number in (1, 2) for one in snapshot_set(number * DAY, 1, 1, 2)]
    for honest, options in ((alone, {"keep": {"daily": 3}}), (parts, {**WHOLE, "keep": {"daily": 2}})):
        without = planned(Account.of(machine(1, 1, 2), honest), **options)
        changed = [tagged(one, **tags) for one, tags in zip(honest, altered, strict=False)]
        plan = planned(Account.of(machine(1, 1, 2), changed), **options)
        assert deleted(plan) <= deleted(without)
        assert len(created(plan)) == len(created(without))
        found = recover(changed, Wanted(volume_ids=(V1,)))
        assert [point.snapshot.snapshot_id for point in found.points] == [honest[0].snapshot_id]


@examples(60)
@given(st.lists(FORGERY, min_size=1, max_size=9))
def test_forged_tags_on_strangers_change_no_restore(forgeries: list[dict[str, str]]) -> None:
    foreign = [one for one in strangers(forgeries) if one.volume_id != V1]
    honest = [*days(2), *snapshot_set(3 * DAY, 1, 1, 2)]
    for wanted in (Wanted(volume_ids=(V1,)), Wanted(instance_id=I1)):
        with_them, without = recover([*honest, *foreign], wanted), recover(honest, wanted)
        assert with_them.points == without.points
