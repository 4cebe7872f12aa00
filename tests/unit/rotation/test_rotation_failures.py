# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A rotation in which one call is refused, one snapshot fails, or one never completes."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import is_planned
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Plan

from copies_world import place, planned, world_of
from rotation_world import DAY, snapshot, volume, volume_id
from stepping import BROKEN, REFUSED, assert_only_dependents_are_left_out, carried_out, failures_of, graph_of, name_of

LOCK = {"mode": "governance", "duration": "7d"}


def rotation(volumes: int = 3, **given: object) -> Plan:
    """The daily run of a policy that keeps one snapshot of each volume, with a copy elsewhere."""
    old = [snapshot(number * DAY, of=one) for one in range(1, volumes + 1) for number in (1, 2)]
    there = [*(volume(number) for number in range(1, volumes + 1)), *old]
    selected = {"volume_ids": [volume_id(number) for number in range(1, volumes + 1)]}
    options = {
        "select": selected,
        "keep": {"last": 1},
        "min_keep": 1,
        "copies": place(keep={"last": 1}, wait=True),
        **given,
    }
    return planned(world_of(*there), **options)


def made(plan: Plan, action: str) -> list[Change]:
    return [change for change in plan.changes if change.action == action]


def waiting(plan: Plan, change: Change) -> int:
    """The number of the step that waits for the new snapshot."""
    return next(
        step.number
        for step in graph_of(plan.stages).steps
        if any(change.resource in wait.resources for wait in step.waits)
    )


def test_any_failure_leaves_out_only_its_dependents() -> None:
    assert_only_dependents_are_left_out(rotation(lock=LOCK))


@pytest.mark.parametrize("kind", [REFUSED, BROKEN])
def test_failed_capture_stops_the_copies_and_deletions_of_its_volume_alone(kind: str) -> None:
    plan = rotation()
    first, *others = made(plan, "CreateSnapshot")
    key = name_of(first) if kind == REFUSED else waiting(plan, first)
    outcome, _gateway, _graph = carried_out(plan, {key: kind})
    copied = {str(change.parameters["SourceSnapshotId"]) for change in outcome.done if change.action == "CopySnapshot"}
    assert {name for name in copied if is_planned(name)} == {change.resource for change in others}
    # The older of the two snapshots is deleted with or without a newer one.
    newest = next(one for one in made(plan, "DeleteSnapshot") if (one.before or {})["volume_id"] == first.source)
    kept = [change for change in outcome.not_tried if change.action == "DeleteSnapshot"]
    assert kept == [newest]
    assert len(outcome.errors) == 1


def test_refused_locks_stop_neither_copies_nor_deletions() -> None:
    plan = rotation(lock=LOCK)
    outcome, _gateway, _graph = carried_out(plan, {name_of(change): REFUSED for change in made(plan, "LockSnapshot")})
    assert {change.action for change in outcome.failed} == {"LockSnapshot"}
    assert outcome.not_tried == []


def test_refused_copies_stop_only_deletions_of_their_originals() -> None:
    plan = rotation()
    outcome, _gateway, _graph = carried_out(plan, {name_of(change): REFUSED for change in made(plan, "CopySnapshot")})
    sources = {str(change.parameters["SourceSnapshotId"]) for change in made(plan, "CopySnapshot")}
    deleted = {change.resource for change in outcome.done if change.action == "DeleteSnapshot"}
    assert deleted == {change.resource for change in made(plan, "DeleteSnapshot")} - sources
    assert deleted


def test_one_of_thirty_copies_fails_and_the_others_are_made() -> None:
    there = [snapshot(number * DAY) for number in range(1, 31)]
    plan = planned(
        world_of(volume(1), *there), copies=place(keep={"last": 99}, wait=True), create="never", keep={"last": 99}
    )
    bad = made(plan, "CopySnapshot")[7]
    outcome, _gateway, _graph = carried_out(plan, {waiting(plan, bad): BROKEN})
    assert len(made(plan, "CopySnapshot")) == 30
    assert len(outcome.done) == 30
    assert len(outcome.errors) == 1


def test_full_quota_deletes_only_what_the_rules_delete_without_a_new_snapshot() -> None:
    there = [snapshot(number * DAY) for number in (1, 2, 3)]
    plan = planned(world_of(volume(1), *there), keep={"last": 2}, min_keep=1)
    (capture,) = made(plan, "CreateSnapshot")
    outcome, _gateway, _graph = carried_out(plan, {name_of(capture): REFUSED})
    deleted = {change.resource for change in outcome.done if change.action == "DeleteSnapshot"}
    dependent = {change.resource for change in outcome.not_tried if change.action == "DeleteSnapshot"}
    assert (deleted, dependent) == ({there[2].snapshot_id}, {there[1].snapshot_id})


def test_min_keep_holds_although_the_capture_fails() -> None:
    there = [snapshot(number * DAY) for number in (10, 11, 12)]
    plan = planned(world_of(volume(1), *there), keep={"within": "7d"}, min_keep=1, guards={"last": "report"})
    (capture,) = made(plan, "CreateSnapshot")
    assert len(made(plan, "DeleteSnapshot")) == 3
    outcome, _gateway, _graph = carried_out(plan, {name_of(capture): REFUSED})
    assert {change.resource for change in outcome.not_tried} == {one.snapshot_id for one in there}


def test_refused_claim_keeps_all_snapshots_of_its_source() -> None:
    cron = [snapshot(number * DAY, policy=None, description="", tags={"by": "cron"}) for number in (1, 2, 3)]
    given = {"keep": {"last": 1}, "create": "never", "adopt": {"tags": {"by": "cron"}}}
    plan = planned(world_of(volume(1), *cron), **given)
    claims = made(plan, "CreateTags")
    assert claims
    assert made(plan, "DeleteSnapshot")
    outcome, _gateway, _graph = carried_out(plan, {name_of(claims[0]): REFUSED})
    assert [change for change in outcome.done if change.action == "DeleteSnapshot"] == []


def test_every_step_of_the_rotation_can_fail() -> None:
    kinds = {kind for _step, _key, kind in failures_of(graph_of(rotation(lock=LOCK).stages))}
    assert len(kinds) == 3
