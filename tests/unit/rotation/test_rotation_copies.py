# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planning of copies, in small worlds of two regions in memory: the invariants of repeated runs."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prediction import bound, overlay
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Resource, Snapshot
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import State
from hypothesis import given
from hypothesis import strategies as st

from copies_world import World, copies_in, copy_of, place, planned, world_of
from examples import examples
from rotation_world import DAY, NOW, REGION, V1, V2, decision, deleted, snapshot, snapshot_set, volume


def carried_out(world: World, plan: Plan) -> World:
    """The world after the plan, with the awaited snapshots completed."""
    state = overlay(State(REGION, world), plan.published(), everywhere=True)
    planned_ids = [one.resource_id for one in state.resources.values() if "(new" in one.resource_id]
    names = {name: f"snap-{sha256(name.encode()).hexdigest()[:17]}" for name in planned_ids}
    waited = {one for stage in plan.stages for wait in stage.waits for one in wait.resources}
    state = bound(state.with_resources(_completed(state.resources, waited)), names, lambda _snapshot: NOW)
    return dict(state.resources)


def later(world: World) -> World:
    """Complete the pending snapshots."""
    pending = {one.resource_id for one in world.values() if isinstance(one, Snapshot) and one.state == "pending"}
    return {**world, **world_of(*_completed(world, pending))}


def _completed(resources: Any, names: set[str]) -> list[Resource]:
    found = [one for one in resources.values() if isinstance(one, Snapshot) and one.resource_id in names]
    return [dataclasses.replace(one, state="completed", start_time=one.start_time or NOW) for one in found]


# --- one by one -------------------------------------------------------------------------------------------------------


def test_snapshots_that_rules_keep_are_copied_oldest_first() -> None:
    days = [snapshot(number * DAY) for number in range(1, 5)]
    plan = planned(world_of(volume(1), *days), keep={"last": 9}, copies=place(), create="never")
    assert copies_in(plan) == [days[1].snapshot_id, days[0].snapshot_id]
    # One copy of a volume at a time.
    assert [len(stage.changes) for stage in plan.stages if copies_in(Plan((stage,)))] == [1, 1]


def test_original_is_kept_until_its_copy_is_completed() -> None:
    old, new = snapshot(2 * DAY), snapshot(DAY)
    for state, gone in (("pending", set()), ("completed", {old.snapshot_id})):
        world = world_of(volume(1), old, new, copy_of(old, state), copy_of(new))
        plan = planned(world, copies=place(), create="never")
        assert deleted(plan) == gone
    plan = planned(world_of(volume(1), old, new), copies=place(), create="never")
    assert deleted(plan) == set()
    assert decision(plan, old)["guard"] == "depends"
    waiting = planned(world_of(volume(1), old, new), copies=place(wait=True), create="never")
    assert deleted(waiting) == {old.snapshot_id}
    assert [change.action for change in waiting.changes][-1] == "DeleteSnapshot"


@pytest.mark.parametrize(
    "tags",
    [
        {"ec2ops:policy": "other"},
        {"ec2ops:copy-of": "ap-south-1/snap-00000000000000001"},
        {"ec2ops:copy-of": ""},
    ],
    ids=["another policy", "another region's", "its own"],
)
def test_copies_of_others_are_left_alone(tags: dict[str, str]) -> None:
    new = snapshot(DAY)
    foreign = [copy_of(snapshot(number * DAY), tags=tags) for number in range(2, 6)]
    plan = planned(world_of(volume(1), new, *foreign), copies=place(), create="never")
    assert (deleted(plan), copies_in(plan)) == (set(), [new.snapshot_id])


def test_at_most_twenty_copies_run_at_once_with_those_under_way() -> None:
    days = [snapshot(number * DAY) for number in range(1, 31)]
    under_way = [copy_of(one, "pending") for one in days[-5:]]
    given = {"keep": {"last": 99}, "create": "never"}
    world = world_of(volume(1), *days, *under_way)
    plan = planned(world, copies=place(keep={"last": 99}), **given)
    assert copies_in(plan) == [one.snapshot_id for one in reversed(days[10:25])]
    whole = planned(world, copies=place(keep={"last": 99}, wait=True), **given)
    assert copies_in(whole) == [one.snapshot_id for one in reversed(days[:25])]
    waits = [len(wait.resources) for stage in whole.stages for wait in stage.waits]
    assert waits == [5, *[1] * 25]
    assert all(change.operation.at_once == 20 for change in whole.changes if change.operation.copies)


def test_archived_future_and_managed_snapshots_are_not_copied() -> None:
    days = [
        snapshot(DAY, storage_tier="archive"),
        snapshot(-DAY),
        snapshot(2 * DAY, tags={"aws:dlm:policy": "x"}),
        snapshot(3 * DAY, state="error"),
        good := snapshot(4 * DAY),
    ]
    plan = planned(world_of(volume(1), *days), keep={"last": 9}, copies=place(keep={"last": 9}), create="never")
    assert copies_in(plan) == [good.snapshot_id]


@pytest.mark.parametrize("part", [0, 1])
def test_part_of_a_set_without_a_copy_is_copied(part: int) -> None:
    """Together with the other part it is one set: no rule of the place counts it as two."""
    sets = [snapshot_set(number * DAY, 1, 1, 2) for number in (1, 2, 3)]
    copies = [copy_of(one) for several in sets for one in several]
    del copies[part]
    given = {"select": None, "keep": {"last": 9}, "create": "never", "copies": place(wait=True)}
    plan = planned(world_of(*(one for several in sets for one in several), *copies), **given)
    assert copies_in(plan) == [sets[0][part].snapshot_id]
    assert deleted(plan) == {one.snapshot_id for one in copies[-2:]}


@pytest.mark.parametrize("part", [0, 1])
def test_rest_of_a_set_of_copies_is_deleted_without_a_rule(part: int) -> None:
    """This also holds while its original exists, for example after a refused deletion of a part."""
    sets = [snapshot_set(number * DAY, 1, 1, 2) for number in (1, 2, 3)]
    copies = [copy_of(one) for several in sets for one in several]
    rest = copies.pop(4 + part)
    given = {"select": None, "keep": {"last": 2}, "create": "never", "copies": place(wait=True)}
    plan = planned(world_of(*(one for several in sets for one in several), *copies), **given)
    assert copies_in(plan) == []
    assert deleted(plan) == {copies[4].snapshot_id, *(one.snapshot_id for one in sets[2])}
    assert rest.snapshot_id not in deleted(plan)


def test_copy_counts_in_the_rules_with_the_times_of_its_original() -> None:
    """A snapshot that cron took at half past midnight is older than the policy's of one o'clock, of that day's slot."""
    cron = snapshot(timedelta(hours=11), policy=None, tags={"by": "cron"})
    own = snapshot(timedelta(hours=10))
    given = {"adopt": {"tags": {"by": "cron"}}, "keep": {"daily": 2}, "create": "never"}
    plan = planned(world_of(volume(1), cron, own), copies=place(keep={"daily": 1}), **given)
    assert copies_in(plan) == [own.snapshot_id]
    both = world_of(volume(1), copy_of(cron), copy_of(own))
    assert deleted(planned(both, copies=place(keep={"daily": 1}), **given)) == {copy_of(cron).snapshot_id}


def test_second_copy_of_one_original_displaces_none_and_is_deleted() -> None:
    days = [snapshot(number * DAY) for number in (1, 2, 3)]
    copies = [copy_of(one) for one in days]
    twice = copy_of(days[1], snapshot_id="snap-cccccccccccccccc2", start_time=NOW - 3 * DAY / 2)
    given = {"keep": {"last": 9}, "copies": place(keep={"last": 3}), "create": "never"}
    plan = planned(world_of(volume(1), *days, *copies, twice), **given)
    assert (deleted(plan), copies_in(plan)) == ({twice.snapshot_id}, [])
    assert "second snapshot of one slot" in decision(plan, twice)["reasons"]


def test_declared_tags_without_room_give_a_warning() -> None:
    many = {f"tag {number:02}": "" for number in range(45)}
    one = snapshot(DAY, tags=many)
    given = {"create": "never", "keep": {"last": 9}, "tags": {f"more {number:02}": "" for number in range(9)}}
    plan = planned(world_of(volume(1), one, copy_of(one, tags=many)), copies=place(), **given)
    (change,) = plan.changes
    assert (change.action, change.resource) == ("CreateTags", one.snapshot_id)
    assert change.after is not None
    assert len(change.after["tags"]) == 50
    # With the collection's own tags, the copy already has EC2's maximum.
    assert [warning.partition(": ")[2] for warning in plan.warnings] == [
        ", ".join(f"more {number:02}" for number in range(first, 9)) for first in (3, 0)
    ]


# --- always -----------------------------------------------------------------------------------------------------------

KEEPS = ({"last": 1}, {"last": 3}, {"daily": 2}, {"weekly": 2}, {"within": "3d"}, {"monthly": 1, "last": 2})


@st.composite
def worlds(draw: st.DrawFn) -> tuple[World, dict[str, Any]]:
    """Originals of two volumes in any state, or sets of both, copies of some of them, and the rules of each place."""
    whole = draw(st.booleans())
    found: list[Resource] = [] if whole else [volume(1), volume(2)]
    for number in range(draw(st.integers(0, 8))):
        age = timedelta(hours=draw(st.integers(2, 24 * 40)), minutes=number)  # its copy began before now too
        period = "" if draw(st.booleans()) else None
        states = draw(st.sampled_from([["completed"] * 2] * 6 + [["pending"] * 2, ["completed", "error"]]))
        of = [1, 2] if whole else [draw(st.sampled_from([1, 2]))]
        if whole and period is not None:
            several = snapshot_set(age, 1, *of, states=states)
        else:
            several = [snapshot(age, one, state=state, period=period) for one, state in zip(of, states, strict=False)]
        if draw(st.sampled_from([True, True, False])):
            found += several
        for one in several:
            if one.state == "completed" and draw(st.booleans()):
                found.append(copy_of(one, draw(st.sampled_from(["completed", "completed", "pending", "error"]))))
    given = {
        "select": None if whole else {"volume_ids": [V1, V2]},
        "keep": draw(st.sampled_from(KEEPS)),
        "copies": place(keep=draw(st.sampled_from(KEEPS)), wait=draw(st.booleans())),
        "create": "never" if whole else draw(st.sampled_from(["due", "never"])),
        "wait": draw(st.booleans()),
        "max_delete_percent": 100,
    }
    return world_of(*found), given


@examples(150)
@given(worlds())
def test_repeated_runs_converge_without_second_copies(case: tuple[World, dict[str, Any]]) -> None:
    world, given = case
    copied: Counter[str] = Counter()
    for _run in range(6):
        plan = planned(world, **given)
        pending = {
            one.tags["ec2ops:copy-of"].rpartition("/")[2]
            for one in world.values()
            if isinstance(one, Snapshot) and one.place and one.state == "pending"
        }
        begun = set(copies_in(plan))
        if not given["copies"][0]["wait"] or not given["wait"]:
            assert not deleted(plan) & (pending | begun)
        after = carried_out(world, plan)
        for change in plan.changes:
            if change.action == "CopySnapshot":
                (tags,) = change.parameters["TagSpecifications"]
                told = {tag["Key"]: tag["Value"] for tag in tags["Tags"]}
                copied[told["ec2ops:taken"] + told["ec2ops:source"] + change.parameters["SourceSnapshotId"]] += 1
        if plan.is_empty and not pending:
            break
        world = later(after)
    else:
        raise AssertionError(f"it does not settle: {[change.action for change in plan.changes]}")
    assert set(copied.values()) <= {1}
    # With a wait, the next run only deletes the source of a copy that was under way before.
    world = case[0]
    under_way = any(isinstance(one, Snapshot) and one.place and one.state == "pending" for one in world.values())
    if given["wait"] and given["copies"][0]["wait"] and not under_way:
        assert planned(carried_out(world, planned(world, **given)), **given).is_empty


@examples(50)
@given(worlds(), st.integers(0, 1000))
def test_order_of_answers_changes_nothing(case: tuple[World, dict[str, Any]], seed: int) -> None:
    world, given = case
    mixed = list(world.values())
    random.Random(seed).shuffle(mixed)
    assert planned(world_of(*mixed), **given).published() == planned(world, **given).published()
