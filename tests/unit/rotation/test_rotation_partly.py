# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A part of a rotation that cannot be planned, or of which AWS shows nothing: the rest is done, and the task fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.apply import apply
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.planner import FEATURE
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.spec import parse
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import Incomplete, UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import KMS_KEY, UNUSABLE_KEY
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Snapshot
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query

from copies_world import ELSEWHERE, copy_of, place
from fake_ec2 import FakeEc2
from fake_records import START
from healing import Flow, assert_heals, plan_of
from rotation_world import (
    DAY,
    NOW,
    REGION,
    V1,
    V2,
    V3,
    WHOLE,
    Account,
    actions,
    created,
    deleted,
    ids,
    machine,
    snapshot,
    snapshot_set,
    volume,
)

AGO = NOW - START
"""The world of rotations is built for a later moment than that at which EC2 in memory begins."""
BOTH = {"volume_ids": [V1, V2]}
Silent = Callable[[Query], object]


def past(count: int, of: int, **fields: Any) -> list[Snapshot]:
    """The policy's snapshots of a volume, one a day, the newest first."""
    return [snapshot(number * DAY + AGO, of, **fields) for number in range(1, count + 1)]


def ec2_of(*there: Any, silent: Silent | None = None) -> Account:
    ec2 = Account.of(*there)
    ec2.silent += [silent] if silent is not None else []
    return ec2


def plan_on(ec2: FakeEc2, **given: Any) -> Plan:
    return plan_of(FEATURE, parse({"policy": "p", "select": BOTH, "keep": {"last": 1}, **given}, REGION), ec2)


def told(plan: Plan) -> str:
    assert plan.refused is not None
    return str(plan.refused)


# --- copies that cannot be made --------------------------------------------------------------------------------------

NO_KEY = KMS_KEY.fact("alias/backup", UNUSABLE_KEY)
KEYED = place(keep={"last": 2}, kms_key_id="alias/backup", wait=True)


def keyless(ec2: Account) -> Account:
    """The place's key does not exist."""
    ec2.put(NO_KEY)
    return ec2


def test_place_without_its_key_keeps_the_originals_that_it_wants_and_no_others() -> None:
    old = past(4, 1)
    plan = plan_on(keyless(ec2_of(volume(1), old)), select={"volume_ids": [V1]}, copies=KEYED)
    assert actions(plan) == ["CreateSnapshot", "DeleteSnapshot", "DeleteSnapshot", "DeleteSnapshot"]
    # The rules of the place keep two: the new one, and the newest of the others.
    assert deleted(plan) == ids(old[1:])
    assert "alias/backup is not an enabled KMS key there" in told(plan)
    assert "Originals are kept until these copies can be made." in told(plan)
    assert isinstance(plan.refused, Incomplete)
    assert [type(cause) for cause in plan.refused.causes] == [UnsafePlan]


def test_place_without_its_key_stops_no_copies_to_others() -> None:
    places = [*KEYED, {"region": "eu-west-2", "keep": {"last": 1}, "wait": True}]
    plan = plan_on(keyless(ec2_of(volume(1), past(2, 1))), select={"volume_ids": [V1]}, copies=places)
    (copy,) = (change for change in plan.changes if change.action == "CopySnapshot")
    assert copy.region == "eu-west-2"


def test_account_that_sts_does_not_show_keeps_all_originals_and_no_copies_elsewhere() -> None:
    old = past(3, 1)
    there = [copy_of(one) for one in old]
    vault = {"region": "eu-west-2", "profile": "vault", "keep": {"last": 1}, "wait": True}
    ec2 = ec2_of(volume(1), old, there, silent=lambda query: query.operation == "GetCallerIdentity" and query.place)
    plan = plan_on(ec2, select={"volume_ids": [V1]}, copies=[*place(keep={"last": 1}, wait=True), vault])
    copied = [change.region for change in plan.changes if change.action == "CopySnapshot"]
    assert copied == [ELSEWHERE]
    # The originals may be missing in the vault. Nothing needs the older copies of the other region.
    assert deleted(plan) == ids(there)
    assert told(plan).count("GetCallerIdentity failed") == 1


# --- guards and places without an answer -----------------------------------------------------------------------------


def test_unanswered_guard_of_one_snapshot_keeps_that_one() -> None:
    old, others = past(3, 1), past(3, 2)
    ec2 = ec2_of(
        volume(1),
        volume(2),
        old,
        others,
        silent=lambda query: query.operation == "DescribeSnapshotAttribute" and old[2].snapshot_id in str(query),
    )
    plan = plan_on(ec2, guards={"shared": "keep"})
    assert deleted(plan) == ids([*old[:2], *others])
    assert "DescribeSnapshotAttribute failed: UnauthorizedOperation" in told(plan)


def test_unanswered_listing_of_a_guard_keeps_the_snapshots_of_its_place_alone() -> None:
    old = past(3, 1)
    there = [copy_of(one) for one in old]

    def is_silent(query: Query) -> bool:
        return query.operation == "DescribeLockedSnapshots" and query.place != ""

    ec2 = ec2_of(volume(1), old, there, silent=is_silent)
    plan = plan_on(ec2, select={"volume_ids": [V1]}, copies=place(keep={"last": 1}, wait=True))
    assert deleted(plan) == ids(old)
    assert ELSEWHERE in told(plan)


def test_unselected_volumes_that_ec2_does_not_show_keep_their_snapshots() -> None:
    old, outside = past(3, 1), past(3, 3)
    ec2 = ec2_of(
        volume(1), old, outside, silent=lambda query: query.operation == "DescribeVolumes" and V3 in str(query)
    )
    plan = plan_on(ec2, select={"volume_ids": [V1]})
    assert deleted(plan) == ids(old)
    assert len(created(plan)) == 1
    assert "DescribeVolumes failed" in told(plan)


def test_guards_that_are_silent_in_one_place_after_the_wait_stop_no_deletion_elsewhere() -> None:
    old = past(3, 1)
    there = [copy_of(old[0])]
    ec2 = ec2_of(volume(1), old, there)
    plan = plan_on(ec2, select={"volume_ids": [V1]}, copies=place(keep={"last": 1}, wait=True))
    assert deleted(plan) == ids([*old, *there])
    ec2.silent.append(lambda query: query.operation == "DescribeLockedSnapshots" and query.place != "")
    outcome = apply(plan, ec2, wait=True, timeout=600)
    assert {change.resource for change in outcome.done if change.action == "DeleteSnapshot"} == ids(old)
    assert {change.resource for change in outcome.failed} == ids(there)
    (error,) = outcome.errors
    assert isinstance(error, CallError)
    assert error.operation == "DescribeLockedSnapshots"


def test_expected_plan_covers_only_planned_parts() -> None:
    old = past(3, 1)
    select = {"volume_ids": [V1, V2]}
    plan = plan_on(ec2_of(volume(1), old), select=select)
    approved = plan.report.result["plan_hash"]
    again = plan_on(ec2_of(volume(1), old), select=select, expected_plan=approved)
    assert deleted(again) == ids(old)
    assert "expected_plan" not in told(again)
    assert V2 in told(again)


# --- each step fails -------------------------------------------------------------------------------------------------


def shape(ec2: FakeEc2) -> list[Any]:
    return sorted(
        (one.place, one.volume_id, one.state, one.tags.get("ec2ops:period", ""), sorted(one.tags))
        for one in ec2.existing("snapshot")
    )


def flow(*there: Any, **given: Any) -> Flow:
    known = [one for several in there for one in (several if isinstance(several, list) else [several])]

    def protected(ec2: FakeEc2) -> None:
        """Each volume that had a completed snapshot has one."""
        completed = {one.volume_id for one in ec2.existing("snapshot") if one.state == "completed"}
        assert {one.volume_id for one in known if isinstance(one, Snapshot) and not one.place} <= completed

    spec = parse({"policy": "p", "select": BOTH, "keep": {"last": 1}, **given}, REGION)
    return Flow(FEATURE, spec, lambda: ec2_of(*there), shape, protected)


OLD = [*past(2, 1), *past(2, 2)]
FLOWS = {
    "captures and deletions": flow(volume(1), volume(2), OLD),
    "copies": flow(volume(1), volume(2), OLD, copies=place(keep={"last": 1}, wait=True)),
    "copies that are there": flow(
        volume(1), volume(2), OLD, [copy_of(one) for one in OLD], copies=place(keep={"last": 1}, wait=True)
    ),
    "sets": flow(
        machine(1, 1, 2),
        snapshot_set(DAY + AGO, 1, 1, 2),
        snapshot_set(2 * DAY + AGO, 1, 1, 2),
        **WHOLE,
    ),
    "locks": flow(volume(1), volume(2), OLD, lock={"mode": "governance", "duration": "7d"}),
    "adopted": flow(volume(1), volume(2), past(2, 1, policy=None, tags={"by": "cron"}), adopt={"tags": {"by": "cron"}}),
}


@pytest.mark.parametrize("name", FLOWS)
def test_failed_step_leaves_out_its_dependents_and_the_next_run_heals(name: str) -> None:
    assert_heals(FLOWS[name])
