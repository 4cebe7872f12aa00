# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`snapshot_rotate`: a policy claims the snapshots that it adopts, and never touches those of another one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Snapshot

from in_process import snapshots
from rotation_runs import deletes, entries, four, ok, rotate, tags_of
from rotation_world import (
    DAY,
    V1,
    V2,
    Account,
    actions,
    afterwards,
    created,
    days,
    deleted,
    ids,
    planned,
    snapshot,
    volume,
)
from sandbox.client import Sandbox
from worlds import START

HOUR = DAY / 24
CLAIM = "ec2ops:adopted-by"
ADOPT: dict[str, Any] = {"adopt": {"tags": {"by": "cron"}}, "create": "never", "select": None}


def scripts(count: int, claim: str | None = None, **given: Any) -> list[Snapshot]:
    """A script's snapshots, one a day, claimed by a policy where it says so."""
    tags = {"by": "cron", **({CLAIM: claim} if claim else {})}
    return days(count, policy=None, tags=tags, **given)


def claims(plan: Plan) -> set[str]:
    """The snapshots that the plan claims, every one for the policy of the test."""
    found = [
        change
        for change in plan.changes
        if change.action == "CreateTags" and any(tag["Key"] == CLAIM for tag in change.parameters["Tags"])
    ]
    assert all({"Key": CLAIM, "Value": "p"} in change.parameters["Tags"] for change in found)
    return {change.resource for change in found}


def test_unclaimed_snapshots_are_claimed_before_anything_is_deleted() -> None:
    there = scripts(4)
    account = Account.of(volume(1), there)
    plan = planned(account, **ADOPT, keep={"last": 2})
    assert claims(plan) == ids(there)
    assert deleted(plan) == ids(there[2:])
    order = [{change.action for change in stage.changes} for stage in plan.stages]
    assert order == [{"CreateTags"}, {"DeleteSnapshot"}]
    assert planned(afterwards(account, plan), **ADOPT, keep={"last": 2}).is_empty


def test_claims_come_with_the_captures_and_before_the_wait() -> None:
    there = scripts(3)
    plan = planned(Account.of(volume(1), there), adopt=ADOPT["adopt"], keep={"last": 9})
    assert {change.action for change in plan.stages[0].changes} == {"CreateSnapshot", "CreateTags"}
    assert claims(plan) == ids(there)


def test_snapshots_of_another_claim_are_left_out_with_a_warning() -> None:
    ours, theirs = scripts(3, "p"), scripts(12, "other", first=4)
    plan = planned(Account.of(volume(1), ours, theirs), **ADOPT, keep={"last": 1})
    assert claims(plan) == set()
    assert deleted(plan) == ids(ours[1:])
    assert plan.report.result["counts"]["managed"] == 3
    (warning,) = plan.warnings
    assert "12 of the matching snapshots" in warning
    assert "other" in warning
    assert CLAIM in warning
    assert len([one for one in theirs if one.snapshot_id in warning]) == 10


def test_only_claims_of_others_leave_nothing_to_do() -> None:
    plan = planned(Account.of(volume(1), scripts(3, "other")), **ADOPT, keep={"last": 1})
    assert plan.is_empty
    assert len(plan.warnings) == 1


def test_claimed_snapshot_keeps_no_other_from_being_the_newest() -> None:
    """Another policy's newer snapshot does not count, so this policy keeps its own of the same volume."""
    mine, theirs = scripts(1, "p", first=5), scripts(3, "other")
    plan = planned(Account.of(volume(1), mine, theirs), **ADOPT, keep={"last": 1})
    assert deleted(plan) == set()


def test_undeletable_snapshots_get_no_claim() -> None:
    tags = {"by": "cron"}
    controller = snapshot(DAY, policy=None, tags={**tags, "velero.io/backup": "b"})
    backup = snapshot(2 * DAY, policy=None, tags={**tags, "aws:backup:source-resource": "r"})
    unknown = snapshot(3 * DAY, of="vol-ffffffff", policy=None, tags=tags)
    failed = snapshot(4 * DAY, policy=None, tags=tags, state="error")
    account = Account.of(volume(1), controller, backup, unknown, failed)
    assert planned(account, **ADOPT, keep={"last": 1}).is_empty
    assert claims(planned(account, **ADOPT, keep={"last": 1}, guards={"managed": "report"})) == {controller.snapshot_id}


def test_snapshots_of_a_policy_get_no_claim() -> None:
    made = snapshot(DAY, tags={"by": "cron"})
    others = snapshot(2 * DAY, policy="other", tags={"by": "cron"})
    plan = planned(Account.of(volume(1), made, others), **ADOPT, keep={"last": 1})
    assert plan.is_empty
    assert plan.report.result["counts"]["managed"] == 1


def test_claimed_snapshot_is_not_retained_without_adopt() -> None:
    plan = planned(Account.of(volume(1), scripts(3, "p")), create="never", select=None, keep={"last": 1})
    assert plan.is_empty
    assert plan.report.result["counts"]["managed"] == 0


def test_captured_snapshot_gets_no_claim() -> None:
    plan = planned(Account.of(volume(1), scripts(3)), adopt=ADOPT["adopt"], state="captured")
    assert actions(plan) == ["CreateSnapshot"]


def test_full_snapshot_is_retained_unclaimed_with_a_warning() -> None:
    full = snapshot(DAY, policy=None, tags={"by": "cron", **{f"t{number}": "" for number in range(49)}})
    plan = planned(Account.of(volume(1), full), **ADOPT, keep={"last": 1})
    assert plan.is_empty
    (warning,) = plan.warnings
    assert full.snapshot_id in warning
    assert CLAIM in warning
    assert plan.report.result["counts"]["managed"] == 1


def test_claims_and_declared_tags_do_not_mix() -> None:
    there, made = scripts(2), snapshot(3 * DAY)
    plan = planned(Account.of(volume(1), there, made), **ADOPT, keep={"last": 9}, tags={"team": "a"})
    tagged = {change.resource: [tag["Key"] for tag in change.parameters["Tags"]] for change in plan.changes}
    assert tagged == {**{key: [CLAIM] for key in ids(there)}, made.snapshot_id: ["team"]}


def test_archive_lock_and_fast_restore_leave_claimed_snapshots_alone() -> None:
    there = scripts(3, "p", first=200)
    plan = planned(
        Account.of(volume(1), there),
        **ADOPT,
        keep={"last": 9},
        archive_after="90d",
        lock={"mode": "governance", "duration": "1d"},
        fast_restore={"zones": ["us-east-1a"]},
    )
    assert plan.is_empty


def test_copy_of_an_adopted_snapshot_carries_no_claim() -> None:
    there = scripts(1)
    plan = planned(
        Account.of(volume(1), there), **ADOPT, keep={"last": 9}, copies=[{"region": "eu-west-1", "keep": {"last": 1}}]
    )
    (copy,) = created(plan)
    keys = {tag["Key"] for tag in copy.parameters["TagSpecifications"][0]["Tags"]}
    assert "by" in keys
    assert CLAIM not in keys


# --- two rule sets under one name -------------------------------------------------------------------------------------


def outside(plan: Plan) -> list[str]:
    return [text for text in plan.warnings if "is not selected" in text or "are not selected" in text]


def test_deleting_of_an_unselected_volume_that_exists_is_warned_of() -> None:
    account = Account.of(volume(1), volume(2), snapshot(HOUR), days(4, 2))
    plan = planned(account, keep={"last": 2})
    assert len(deleted(plan)) == 2
    (warning,) = outside(plan)
    assert V2 in warning
    assert V1 not in warning
    assert "policy" in warning


def test_deletion_for_a_gone_volume_gives_no_warning() -> None:
    account = Account.of(volume(1), snapshot(HOUR), days(4, 2))
    plan = planned(account, keep={"last": 2})
    assert len(deleted(plan)) == 2
    assert outside(plan) == []


def test_unselected_volumes_are_queried_only_for_deletions() -> None:
    account = Account.of(volume(1), volume(2), snapshot(HOUR), days(3), days(2, 2))
    plan = planned(account, keep={"last": 2})
    assert len(deleted(plan)) == 2
    assert outside(plan) == []
    assert not any(V2 in values for query in account.asked for _name, values in query.filters)


def test_policy_without_a_selection_warns_of_no_unselected_volume() -> None:
    account = Account.of(volume(1), days(4))
    plan = planned(account, create="never", select=None, keep={"last": 2})
    assert len(deleted(plan)) == 2
    assert outside(plan) == []


# --- on the sandbox ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quick_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(speed=60.0, seed=8, start=START, durations={"snapshot_pending": 2.0}) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(quick_sandbox: Sandbox) -> Sandbox:
    quick_sandbox.reset()
    quick_sandbox.reset_log()
    return quick_sandbox


def test_two_policies_that_adopt_the_same_snapshots_keep_each_others_claims(sandbox: Sandbox) -> None:
    (volume_id,) = sandbox.seed({"volume": {"name": "data"}}).values()
    rows = [
        {"volume": volume_id, "age": (number + 1) * 86400, "tags": {"by": "cron"}, "name": f"day {number}"}
        for number in range(8)
    ]
    names = sandbox.seed({"snapshots": rows})
    old = [names[f"day {number}"] for number in range(8)]
    sandbox.reset_log()
    first = four(sandbox, **ADOPT, keep={"last": 6})
    assert first.result["api_calls"]["CreateTags"] == 1
    assert set(deletes(sandbox)) == set(old[6:])
    assert {tags_of(snapshots(sandbox)[name]).get(CLAIM) for name in old[:6]} == {"p"}
    other = ok(rotate(sandbox, policy="other", **ADOPT, keep={"last": 2}))
    assert (entries(other), other.result["changed"]) == ([], False)
    assert len(other.warnings) == 1
    assert set(old[:6]) <= set(snapshots(sandbox))


def test_claim_that_ec2_refuses_deletes_nothing_and_captures(sandbox: Sandbox) -> None:
    (volume_id,) = sandbox.seed({"volume": {"name": "data"}}).values()
    sandbox.seed(
        {"snapshots": [{"volume": volume_id, "age": age * 86400, "tags": {"by": "cron"}} for age in (1, 2, 3)]}
    )
    sandbox.reset_log()
    given = {"select": {"volume_ids": [volume_id]}, "adopt": ADOPT["adopt"], "keep": {"last": 1}}
    with sandbox.fault("CreateTags", occurrence="every", code="UnauthorizedOperation", status=403):
        ended = rotate(sandbox, **given, alone=False)
    assert "CreateTags" in ended.failed
    assert len(snapshots(sandbox)) == 4
    assert deletes(sandbox) == []


@pytest.mark.parametrize("claim", ["other", None])
def test_claim_that_is_altered_or_removed_during_the_wait_keeps_the_snapshot(claim: str | None) -> None:
    claimed = scripts(1, claim)[0]
    plan = planned(Account.of(volume(1), scripts(3, "p", first=2)), adopt=ADOPT["adopt"], keep={"last": 1})
    (recheck,) = [stage.recheck for stage in plan.stages if stage.recheck is not None]
    going = min(deleted(plan))
    answers = {
        query: [dataclasses.replace(claimed, snapshot_id=going)] if query.operation == "DescribeSnapshots" else []
        for query in recheck.queries({going})
    }
    assert set(recheck.withdrawn(answers)) == {going}
