# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Messages of failures: the fitting remedy, a bounded length, and the finished changes."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.errors import call_error
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.ports import Outcome
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.rendering import done_before, sentences
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import listed
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import IS_PUBLIC, LOCK, SnapshotLock
from botocore.exceptions import ClientError

from rotation_world import DAY, WHOLE, Account, days, machine, planned, snapshot_set, volume


def hint(code: str, operation: str) -> str:
    answer = {"Error": {"Code": code, "Message": "No."}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return str(call_error(ClientError(answer, operation), "ec2", operation, {}))


# --- hints ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["ConcurrentSnapshotLimitExceeded", "PendingSnapshotLimitExceeded"])
def test_pending_snapshots_of_a_volume_are_no_quota(code: str) -> None:
    text = hint(code, "CreateSnapshot")
    assert "Service Quotas" not in text
    assert "Wait until the earlier snapshots are completed, then run the task again." in text


def test_copies_under_way_are_no_quota() -> None:
    text = hint("ResourceLimitExceeded", "CopySnapshot")
    assert "Service Quotas" not in text
    assert "Wait until some are completed, then run the task again." in text
    assert "Service Quotas" in hint("ResourceLimitExceeded", "EnableFastSnapshotRestores")


# --- limits -----------------------------------------------------------------------------------------------------------


def refusal(plan: Plan) -> str:
    assert plan.refused is not None
    return str(plan.refused)


@pytest.mark.parametrize("limit", ["max_delete", "max_delete_percent"])
def test_limit_says_how_to_review_and_approve(limit: str) -> None:
    text = refusal(planned(Account.of(volume(1), days(20)), **{"max_delete_percent": 100, limit: 1}))
    assert "Review the deletions with --check --diff." in text
    assert f"raise {limit} and set expected_plan to the plan_hash of that check" in text


@pytest.mark.parametrize("guard", ["locked", "public"])
def test_guard_that_fails_names_at_most_ten(guard: str) -> None:
    old = days(400)
    facts = [
        LOCK.fact(one.snapshot_id, SnapshotLock("governance"))
        if guard == "locked"
        else IS_PUBLIC.fact(one.snapshot_id, True)
        for one in old
    ]
    text = refusal(planned(Account.of(volume(1), old, facts), guards={guard: "fail"}, max_delete=500))
    assert text.count("snap-") == 10
    assert "… and 390 more" in text
    assert len(text) < 1500


def test_groups_below_the_minimum_are_named_at_most_ten() -> None:
    many = [one for number in range(1, 31) for one in days(3, of=number)]
    text = refusal(planned(Account.of(volume(1), many), keep={"last": 1}, min_keep=2, create="never"))
    assert text.count("min_keep is 2") == 10
    assert "… and 20 more" in text


def test_sets_count_as_their_snapshots() -> None:
    several = [snapshot_set(number * DAY, 1, 1, 2) for number in range(1, 5)]
    assert "4 snapshots would be deleted" in refusal(
        planned(Account.of(machine(1, 1, 2), *several), **WHOLE, keep={"last": 3}, max_delete=1)
    )


# --- lists and what was done ------------------------------------------------------------------------------------------


def test_list_names_ten_and_counts_the_rest() -> None:
    assert listed("abc") == "a, b, c"
    assert listed(str(number) for number in range(10)) == "0, 1, 2, 3, 4, 5, 6, 7, 8, 9"
    assert listed((str(number) for number in range(401)), most=2) == "0, 1, … and 399 more"
    assert listed([]) == ""


def test_partial_failure_lists_finished_changes() -> None:
    make = Change("CreateSnapshot", "(new snapshot a)", "us-east-1", {}, "due")
    removals = [Change("DeleteSnapshot", f"snap-{number}", "us-east-1", {}, "old") for number in range(13)]
    outcome = Outcome(done=[make, *removals], bindings={"(new snapshot a)": "snap-0abc"})
    outcome.errors.append(CallError("DeleteSnapshot", "X", "no"))
    text = done_before(outcome)
    assert text.startswith("Done before: CreateSnapshot of snap-0abc; DeleteSnapshot of snap-0, snap-1,")
    assert text.endswith("snap-9, … and 3 more.")
    assert done_before(Outcome()) == ""


def test_sentences_of_a_failure_are_separated() -> None:
    assert sentences("X failed: no", "", "Done before: a.") == "X failed: no. Done before: a."
    assert sentences("X failed: no", "") == "X failed: no"
