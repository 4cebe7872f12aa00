# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshot locks: modes, durations, changes, and the deletions that they prevent."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from domain import LONG, make_instant, make_slow, refused

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World

HOUR, DAY = 3600.0, 86400.0


@pytest.fixture
def made(world: World, sandbox: Sandbox) -> str:
    """A completed snapshot."""
    make_instant(world)
    ids = sandbox.seed({"volume": {"name": "data"}, "snapshots": [{"name": "s", "volume": "data"}]})
    return str(ids["s"])


def locked(ec2: Any, snapshot_id: str) -> dict[str, Any]:
    (row,) = ec2.describe_locked_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    return dict(row)


def test_governance_lock_shows_its_times(world: World, sandbox: Sandbox, made: str) -> None:
    ec2 = sandbox.client()
    answer = ec2.lock_snapshot(SnapshotId=made, LockMode="governance", LockDuration=7)
    del answer["ResponseMetadata"]
    assert (answer["SnapshotId"], answer["LockState"], answer["LockDuration"]) == (made, "governance", 7)
    assert answer["LockDurationStartTime"] == answer["LockCreatedOn"]
    assert answer["LockExpiresOn"] - answer["LockCreatedOn"] == timedelta(days=7)
    assert not {"CoolOffPeriod", "CoolOffPeriodExpiresOn"} & set(answer)
    assert locked(ec2, made) == {**answer, "OwnerId": "123456789012"}
    text = f"The snapshot {made} is locked and cannot be deleted."
    assert refused("OperationNotPermitted", ec2.delete_snapshot, SnapshotId=made) == text
    shorter = ec2.lock_snapshot(SnapshotId=made, LockMode="governance", LockDuration=2)
    assert shorter["LockCreatedOn"] == answer["LockCreatedOn"]
    assert shorter["LockExpiresOn"] < answer["LockExpiresOn"]
    ec2.unlock_snapshot(SnapshotId=made)
    assert ec2.describe_locked_snapshots(SnapshotIds=[made])["Snapshots"] == []
    refused("IncorrectState", ec2.unlock_snapshot, SnapshotId=made)
    ec2.delete_snapshot(SnapshotId=made)


def test_lock_expires_at_its_date(world: World, sandbox: Sandbox, made: str) -> None:
    ec2 = sandbox.client()
    ec2.lock_snapshot(SnapshotId=made, LockMode="compliance", LockDuration=1)
    world.clock.move(DAY - 60)
    refused("OperationNotPermitted", ec2.delete_snapshot, SnapshotId=made)
    world.clock.move(60)
    assert locked(ec2, made)["LockState"] == "expired"
    refused("IncorrectState", ec2.unlock_snapshot, SnapshotId=made, text="not locked")
    again = ec2.lock_snapshot(SnapshotId=made, LockMode="governance", LockDuration=1)
    assert again["LockState"] == "governance" and again["LockExpiresOn"] > again["LockCreatedOn"]
    world.clock.move(DAY)
    ec2.delete_snapshot(SnapshotId=made)


def test_lock_after_the_cooling_off_period_is_only_extended(world: World, sandbox: Sandbox, made: str) -> None:
    """In the cooling-off period everything can be changed. After it, the lock can only be extended."""
    ec2 = sandbox.client()
    answer = ec2.lock_snapshot(SnapshotId=made, LockMode="compliance", LockDuration=30, CoolOffPeriod=24)
    assert (answer["LockState"], answer["CoolOffPeriod"]) == ("compliance-cooloff", 24)
    assert answer["CoolOffPeriodExpiresOn"] - answer["LockCreatedOn"] == timedelta(hours=24)
    refused("OperationNotPermitted", ec2.delete_snapshot, SnapshotId=made)
    ec2.unlock_snapshot(SnapshotId=made)
    ec2.lock_snapshot(SnapshotId=made, LockMode="compliance", LockDuration=30, CoolOffPeriod=72)
    ec2.lock_snapshot(SnapshotId=made, LockMode="governance", LockDuration=3)
    ec2.lock_snapshot(SnapshotId=made, LockMode="compliance", LockDuration=10, CoolOffPeriod=1)
    world.clock.move(HOUR)
    assert locked(ec2, made)["LockState"] == "compliance"
    refused("OperationNotPermitted", ec2.unlock_snapshot, SnapshotId=made)
    for wrong in (
        {"LockMode": "governance", "LockDuration": 20},
        {"LockMode": "compliance", "LockDuration": 9},
        {"LockMode": "compliance", "LockDuration": 10},
        {"LockMode": "compliance", "LockDuration": 20, "CoolOffPeriod": 1},
    ):
        refused("OperationNotPermitted", ec2.lock_snapshot, SnapshotId=made, **wrong)
    longer = ec2.lock_snapshot(SnapshotId=made, LockMode="compliance", LockDuration=20)
    assert (longer["LockState"], longer["LockDuration"]) == ("compliance", 20)
    until = longer["LockExpiresOn"] + timedelta(days=1)
    extended = ec2.lock_snapshot(SnapshotId=made, LockMode="compliance", ExpirationDate=until)
    assert extended["LockExpiresOn"] == until


def test_compliance_without_a_cooling_off_period_is_at_once(world: World, sandbox: Sandbox, made: str) -> None:
    ec2 = sandbox.client()
    assert ec2.lock_snapshot(SnapshotId=made, LockMode="compliance", LockDuration=1)["LockState"] == "compliance"
    refused("OperationNotPermitted", ec2.unlock_snapshot, SnapshotId=made)


def test_lock_until_a_date_ends_then(world: World, sandbox: Sandbox, made: str) -> None:
    ec2 = sandbox.client()
    until = sandbox.now().replace(microsecond=0) + timedelta(days=2)
    answer = ec2.lock_snapshot(SnapshotId=made, LockMode="governance", ExpirationDate=until)
    assert answer["LockExpiresOn"] == until
    assert "LockDuration" not in answer
    for wrong in (sandbox.now() + timedelta(hours=23), sandbox.now() + timedelta(days=36501), sandbox.now()):
        refused(
            "InvalidParameterValue", ec2.lock_snapshot, SnapshotId=made, LockMode="governance", ExpirationDate=wrong
        )


@pytest.mark.parametrize(
    "arguments, code",
    [
        ({"LockMode": "governance"}, "InvalidParameterCombination"),
        ({"LockMode": "governance", "LockDuration": 1, "ExpirationDate": 4102444800}, "InvalidParameterCombination"),
        ({"LockMode": "governance", "LockDuration": 1, "CoolOffPeriod": 1}, "InvalidParameterCombination"),
        ({"LockMode": "compliance", "LockDuration": 1, "CoolOffPeriod": 73}, "InvalidParameterValue"),
        ({"LockMode": "compliance", "LockDuration": 36501}, "InvalidParameterValue"),
        ({"LockMode": "legal", "LockDuration": 1}, "InvalidParameterValue"),
        ({"LockMode": "governance", "LockDuration": 0}, "InvalidParameterValue"),
        ({"LockMode": "governance", "LockDuration": 1, "DryRun": True}, "DryRunOperation"),
    ],
)
def test_invalid_locks_are_refused(
    world: World, sandbox: Sandbox, made: str, arguments: dict[str, Any], code: str
) -> None:
    ec2 = sandbox.client(parameter_validation=False)  # botocore knows the lower bounds, too
    refused(code, ec2.lock_snapshot, SnapshotId=made, **arguments)
    assert ec2.describe_locked_snapshots()["Snapshots"] == []


def test_foreign_snapshot_cannot_be_locked(world: World, sandbox: Sandbox, made: str) -> None:
    ec2, other = sandbox.client(), sandbox.client(account="111122223333")
    ec2.modify_snapshot_attribute(SnapshotId=made, CreateVolumePermission={"Add": [{"UserId": "111122223333"}]})
    lock = {"SnapshotId": made, "LockMode": "governance", "LockDuration": 1}
    refused("InvalidSnapshot.NotFound", other.lock_snapshot, **lock)
    refused("InvalidSnapshot.NotFound", other.unlock_snapshot, SnapshotId=made)
    failed = sandbox.seed({"snapshots": [{"name": "bad", "volume": "vol-gone", "size": 1, "state": "error"}]})["bad"]
    refused("IncorrectState", ec2.lock_snapshot, **{**lock, "SnapshotId": failed}, text="error")


def test_lock_of_a_pending_snapshot_counts_from_its_completion(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed({"volume": {"name": "data"}})
    ec2 = sandbox.client()
    made = ec2.create_snapshot(VolumeId=ids["data"])["SnapshotId"]
    answer = ec2.lock_snapshot(SnapshotId=made, LockMode="governance", LockDuration=1)
    assert answer["LockState"] == "governance"
    assert not {"LockDurationStartTime", "LockExpiresOn"} & set(answer)
    refused("OperationNotPermitted", ec2.delete_snapshot, SnapshotId=made)
    world.clock.move(LONG)
    row = locked(ec2, made)
    assert row["LockDurationStartTime"] - row["LockCreatedOn"] > timedelta(seconds=LONG - 60)
    assert row["LockExpiresOn"] - row["LockDurationStartTime"] == timedelta(days=1)
    gone = ec2.create_snapshot(VolumeId=ids["data"])["SnapshotId"]
    ec2.delete_snapshot(SnapshotId=gone)
    refused("IncorrectState", ec2.lock_snapshot, SnapshotId=gone, LockMode="governance", LockDuration=1, text="deleted")


def test_locked_snapshots_are_listed_and_filtered(world: World, sandbox: Sandbox) -> None:
    """MaxResults is 5 to 1000; it cannot be used with SnapshotIds; botocore has no paginator."""
    found = sandbox.seed(
        {
            "snapshots": [
                {"count": 3, "name": "free"},
                {"count": 4, "name": "governance", "lock": {"days": 5}},
                {"count": 3, "name": "compliance", "lock": {"mode": "compliance", "days": 5}},
                {"count": 2, "name": "cooloff", "lock": {"mode": "compliance", "days": 5, "cool_off": 72}},
                {"count": 2, "name": "expired", "lock": {"days": 5, "age": 5 * DAY}},
            ]
        }
    )
    ec2 = sandbox.client()
    first = ec2.describe_locked_snapshots(MaxResults=5)
    assert len(first["Snapshots"]) == 5
    rest = ec2.describe_locked_snapshots(MaxResults=1000, NextToken=first["NextToken"])
    assert "NextToken" not in rest
    listed = [one["SnapshotId"] for one in [*first["Snapshots"], *rest["Snapshots"]]]
    assert listed == [*found["governance"], *found["compliance"], *found["cooloff"], *found["expired"]]
    for state, expected in (
        ("governance", "governance"),
        ("compliance", "compliance"),
        ("compliance-cooloff", "cooloff"),
        ("expired", "expired"),
    ):
        rows = ec2.describe_locked_snapshots(Filters=[{"Name": "lock-state", "Values": [state]}])["Snapshots"]
        assert [one["SnapshotId"] for one in rows] == found[expected]
    assert ec2.describe_locked_snapshots(SnapshotIds=found["free"])["Snapshots"] == []
    refused("InvalidParameterValue", ec2.describe_locked_snapshots, MaxResults=1001)
    refused("InvalidParameterCombination", ec2.describe_locked_snapshots, MaxResults=5, SnapshotIds=found["free"])
    refused("InvalidSnapshot.NotFound", ec2.describe_locked_snapshots, SnapshotIds=["snap-0123456789abcdef0"])
    refused("InvalidParameterValue", ec2.describe_locked_snapshots, Filters=[{"Name": "tag:a", "Values": ["b"]}])


def test_locked_snapshot_is_shared_copied_and_archived(world: World, sandbox: Sandbox, made: str) -> None:
    """The locked snapshot can be shared, copied and archived like any other."""
    ec2 = sandbox.client()
    ec2.lock_snapshot(SnapshotId=made, LockMode="compliance", LockDuration=1)
    ec2.create_volume(AvailabilityZone="us-east-1a", SnapshotId=made)
    ec2.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=made)
    ec2.modify_snapshot_attribute(SnapshotId=made, CreateVolumePermission={"Add": [{"UserId": "111122223333"}]})
    ec2.modify_snapshot_tier(SnapshotId=made, StorageTier="archive")
    refused("OperationNotPermitted", ec2.delete_snapshot, SnapshotId=made)


def test_locked_snapshot_outlives_its_deregistered_image(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"image": {"name": "golden"}})
    ec2 = sandbox.client()
    ec2.lock_snapshot(SnapshotId=ids["golden/root"], LockMode="governance", LockDuration=1)
    answer = ec2.deregister_image(ImageId=ids["golden"], DeleteAssociatedSnapshots=True)
    assert [(one["SnapshotId"], one["ReturnCode"]) for one in answer["DeleteSnapshotResults"]] == [
        (ids["golden/root"], "client-error")
    ]
    assert locked(ec2, ids["golden/root"])["LockState"] == "governance"
