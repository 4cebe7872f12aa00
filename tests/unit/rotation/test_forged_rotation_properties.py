# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Any tags on originals, sets, copies, adopted, locked and shared snapshots: nothing is lost."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Fact, Resource, Snapshot
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import (
    LOCK,
    VOLUME_PERMISSIONS,
    SnapshotLock,
)
from hypothesis import given
from hypothesis import strategies as st

from copies_world import copies_in, copy_of, place, planned, world_of
from examples import examples
from forged_tags import FORGERY, VALUES, earlier, first, recorded, strangers, tagged
from rotation_world import DAY, V1, V2, Account, days, deleted, machine, snapshot_set, volume
from rotation_world import planned as planned_here

KEYS = (
    "policy",
    "period",
    "source",
    "set",
    "parts",
    "origin",
    "copy_of",
    "taken",
    "adopted_by",
    "copied_to",
    "lock",
    "shared_with",
)
OTHERS = st.sampled_from(
    (
        "governance 30d",
        "compliance 9999d",
        "999988887777",
        "444455556666",
        "eu-west-1",
        "ap-south-1@x",
        "us-east-1/snap-00000000000000002",
    )
)
ALTERED = st.dictionaries(st.sampled_from(KEYS), st.one_of(st.none(), st.none(), VALUES, OTHERS), max_size=6)
MOST = 24
TAGS = st.lists(ALTERED, min_size=MOST, max_size=MOST)
KEEPS = st.sampled_from(({"last": 1}, {"last": 2}, {"daily": 2}, {"within": "3d"}, {"weekly": 1, "last": 1}))


def altered(snapshots: Sequence[Snapshot], tags: Sequence[Mapping[str, str | None]]) -> list[Snapshot]:
    return [tagged(one, **some) for one, some in zip(snapshots, tags, strict=False)]


def changing(plan: Plan, action: str) -> set[str]:
    stages = [*plan.stages, *(back for stage in plan.stages for back in stage.on_failure)]
    return {change.resource for stage in stages for change in stage.changes if change.action == action}


def unshared(plan: Plan) -> set[tuple[str, str]]:
    return {
        (change.resource, account)
        for change in plan.changes
        if change.action == "ModifySnapshotAttribute" and change.parameters["OperationType"] == "remove"
        for account in change.parameters["UserIds"]
    }


def copied(whole: bool, gone: int) -> tuple[list[Snapshot], list[Snapshot], dict[str, Any]]:
    """Originals that are there, the copies of them and of *gone* more, and the options."""
    if whole:
        sets = [recorded(snapshot_set(number * DAY, 1, 1, 2)) for number in range(1, 6)]
        everything = [one for parts in sets for one in parts]
        there = [one for parts in sets[: 5 - gone] for one in parts]
    else:
        everything = days(5)
        there = everything[: 5 - gone]
    given = {"create": "never", "keep": {"last": 2}, "max_delete_percent": 100, "select": None}
    return there, [copy_of(one) for one in everything], given


@examples(20)
@given(TAGS, KEEPS, st.booleans(), st.integers(0, 4), st.booleans())
def test_altered_tags_delete_no_more_originals_or_copies(
    tags: list[dict[str, str | None]], keep: dict[str, Any], whole: bool, gone: int, wait: bool
) -> None:
    originals, copies, given = copied(whole, gone)
    given["copies"] = place(keep=keep, wait=wait)
    without = planned(world_of(volume(1), *originals, *copies), **given)
    changed = altered([*originals, *copies], tags)
    plan = planned(world_of(volume(1), *changed), **given)
    assert deleted(plan) <= deleted(without)
    assert set(copies_in(plan)) <= {one.snapshot_id for one in originals}


@examples(20)
@given(TAGS, KEEPS, st.sampled_from([earlier, first]), st.integers(0, 4))
def test_altered_tags_on_earlier_copies_delete_only_by_facts(
    tags: list[dict[str, str | None]], keep: dict[str, Any], made: Any, gone: int
) -> None:
    """An orphan is deleted only once so many proven copies are newer that no rule can need it."""
    originals, copies, given = copied(False, gone)
    given["copies"] = place(keep=keep)
    old = [made(one) for one in copies[5 - gone :]]
    there = copies[: 5 - gone]
    without = planned(world_of(volume(1), *originals, *there, *old), **given)
    plan = planned(world_of(volume(1), *originals, *there, *altered(old, tags)), **given)
    assert deleted(plan) <= deleted(without)
    stays = {one.snapshot_id for one in old} - deleted(plan)
    ours = {one.snapshot_id for one in altered(old, tags) if one.tags.get("ec2ops:policy") == "p"}
    found = {
        one.snapshot_id for one in altered(old, tags) if one.tags.get("ec2ops:copy-of", "").startswith("us-east-1/")
    }
    for name in stays & ours & found:
        assert any(name in text for text in plan.warnings)


@examples(20)
@given(st.lists(FORGERY, min_size=1, max_size=9), KEEPS, st.booleans())
def test_forged_tags_in_both_regions_change_nothing(
    forgeries: list[dict[str, str]], keep: dict[str, Any], whole: bool
) -> None:
    originals, copies, given = copied(whole, 2)
    given["copies"] = place(keep=keep)
    foreign = strangers(forgeries)
    there = [dataclasses.replace(one, place="eu-west-1", snapshot_id=f"{one.snapshot_id[:-1]}z") for one in foreign]
    world = world_of(volume(1), *originals, *copies)
    without, plan = planned(world, **given), planned({**world, **world_of(*foreign, *there)}, **given)
    assert deleted(plan) == deleted(without)
    assert copies_in(plan) == copies_in(without)
    assert plan.report.result["rpo"] == without.report.result["rpo"]


def facts(snapshots: Sequence[Snapshot]) -> list[Fact]:
    """Somebody has locked and shared every snapshot."""
    lock = SnapshotLock("governance", days=30)
    found = [LOCK.fact(one.snapshot_id, lock) for one in snapshots]
    return [*found, *(VOLUME_PERMISSIONS.fact(one.snapshot_id, ("999988887777",)) for one in snapshots)]


@examples(20)
@given(TAGS, st.sampled_from([{}, {"lock": {"mode": "unlocked"}}]), st.booleans())
def test_altered_tags_unlock_unshare_and_delete_nothing_of_others(
    tags: list[dict[str, str | None]], more: dict[str, Any], whole: bool
) -> None:
    honest = [one for number in range(1, 6) for one in snapshot_set(number * DAY, 1, 1, 2)] if whole else days(5)
    changed = altered(honest, tags)
    given = {"create": "never", "select": None, "keep": {"last": 1}, "guards": {"shared": "keep"}, **more}
    plan = planned_here(Account.of(volume(1), changed, *facts(honest)), **given)
    assert (deleted(plan), changing(plan, "UnlockSnapshot"), unshared(plan)) == (set(), set(), set())


@examples(20)
@given(TAGS, st.booleans())
def test_altered_tags_hand_no_snapshot_to_another_policy(tags: list[dict[str, str | None]], whole: bool) -> None:
    team = {"tags": {"team": "a"}}
    sets = [snapshot_set(number * DAY, 1, 1, 2, **team) for number in range(1, 6)]
    honest = [one for parts in sets for one in parts] if whole else days(5, **team)
    resources: list[Resource] = [*machine(1, 1, 2), *altered(honest, tags)]
    given = {"policy": "q", "create": "never", "select": None, "keep": {"last": 1}, "adopt": team}
    plan = planned_here(Account.of(resources), **given)
    assert deleted(plan) == set()
    assert not changing(plan, "CreateTags")
    assert {one.volume_id for one in honest} <= {V1, V2}
