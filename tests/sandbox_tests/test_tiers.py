# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive tier: the snapshots that can be moved there, the effects of the move, and the way back."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from domain import LONG, make_instant, make_slow, only, refused

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World

DAY = 86400.0
OTHER = "111122223333"


def status(ec2: Any, snapshot_id: str) -> dict[str, Any]:
    (row,) = ec2.describe_snapshot_tier_status(Filters=[{"Name": "snapshot-id", "Values": [snapshot_id]}])[
        "SnapshotTierStatuses"
    ]
    return dict(row)


def seeded(sandbox: Sandbox, **more: Any) -> str:
    sandbox.seed({"volume": {"name": "data", "Size": 10}, "snapshots": [{"name": "s", "volume": "data", **more}]})
    return str(sandbox.client().describe_snapshots(OwnerIds=["self"])["Snapshots"][-1]["SnapshotId"])


def test_the_archival_takes_time_and_shows_in_both_describes(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    made, ec2 = seeded(sandbox), sandbox.client()
    started = ec2.modify_snapshot_tier(SnapshotId=made, StorageTier="archive")
    assert started["SnapshotId"] == made
    world.clock.move(LONG / 2)
    row = status(ec2, made)
    assert (row["LastTieringOperationStatus"], row["StorageTier"], row["Status"]) == (
        "archival-in-progress",
        "standard",
        "completed",
    )
    assert 50 <= row["LastTieringProgress"] <= 55
    assert row["LastTieringStartTime"] == started["TieringStartTime"]
    assert "ArchivalCompleteTime" not in row
    # EC2's guide: it can be used while the archive is in process.
    ec2.create_volume(AvailabilityZone="us-east-1a", SnapshotId=made)
    world.clock.move(LONG / 2)
    row = status(ec2, made)
    assert (row["LastTieringOperationStatus"], row["StorageTier"], row["LastTieringProgress"]) == (
        "archival-completed",
        "archive",
        100,
    )
    assert row["ArchivalCompleteTime"] - row["LastTieringStartTime"] == timedelta(seconds=LONG)
    shown = only(ec2, made)
    assert shown["StorageTier"] == "archive" and "RestoreExpiryTime" not in shown
    for tier, expected in (("archive", [made]), ("standard", [])):
        found = ec2.describe_snapshots(OwnerIds=["self"], Filters=[{"Name": "storage-tier", "Values": [tier]}])
        assert [one["SnapshotId"] for one in found["Snapshots"]] == expected


def test_archived_snapshot_makes_no_volume_image_or_copy(world: World, sandbox: Sandbox) -> None:
    """CreateVolume and RegisterImage are refused; a copy fails, as with every source that cannot be read."""
    make_instant(world)
    made, ec2 = seeded(sandbox, archived=60), sandbox.client()
    refused("IncorrectState", ec2.create_volume, AvailabilityZone="us-east-1a", SnapshotId=made, text="archived")
    mapping = [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": made}}]
    refused(
        "IncorrectState",
        ec2.register_image,
        Name="web-1",
        RootDeviceName="/dev/xvda",
        BlockDeviceMappings=mapping,
        text="archived",
    )
    copy = ec2.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=made)["SnapshotId"]
    assert (only(ec2, copy)["State"], only(ec2, copy)["StateMessage"]) == ("error", "Source snapshot is archived")
    refused("IncorrectState", ec2.modify_snapshot_tier, SnapshotId=made, StorageTier="archive", text="already")
    ec2.restore_snapshot_tier(SnapshotId=made, TemporaryRestoreDays=1)
    ec2.create_volume(AvailabilityZone="us-east-1a", SnapshotId=made)
    copy = ec2.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=made)["SnapshotId"]
    assert only(ec2, copy)["State"] == "completed"


def test_unarchivable_snapshots_are_refused(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    made, ec2 = seeded(sandbox), sandbox.client()
    refused("InvalidParameterValue", ec2.modify_snapshot_tier, SnapshotId=made, StorageTier="standard")
    refused("InvalidParameterValue", ec2.modify_snapshot_tier, SnapshotId=made)
    refused("DryRunOperation", ec2.modify_snapshot_tier, SnapshotId=made, StorageTier="archive", DryRun=True)
    volume = only(ec2, made)["VolumeId"]
    pending = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    refused("IncorrectState", ec2.modify_snapshot_tier, SnapshotId=pending, StorageTier="archive", text="pending")
    failed = sandbox.seed({"snapshots": [{"name": "bad", "volume": volume, "state": "error"}]})["bad"]
    refused("IncorrectState", ec2.modify_snapshot_tier, SnapshotId=failed, StorageTier="archive", text="error")
    ec2.modify_snapshot_attribute(SnapshotId=made, CreateVolumePermission={"Add": [{"UserId": OTHER}]})
    other = sandbox.client(account=OTHER)
    refused("InvalidSnapshot.NotFound", other.modify_snapshot_tier, SnapshotId=made, StorageTier="archive")
    ec2.modify_snapshot_tier(SnapshotId=made, StorageTier="archive")
    refused("IncorrectState", ec2.modify_snapshot_tier, SnapshotId=made, StorageTier="archive", text="in-progress")


def test_snapshot_of_an_image_is_archived_only_while_the_image_is_disabled(world: World, sandbox: Sandbox) -> None:
    """ "You must first disable those associated AMIs"; to use them again, all their snapshots must be restored for
    good.
    """
    make_instant(world)
    ids = sandbox.seed({"image": {"name": "golden", "devices": [{"device": "xvdf"}]}})
    ec2 = sandbox.client()
    for one in (ids["golden/root"], ids["golden/xvdf"]):
        refused("InvalidSnapshot.InUse", ec2.modify_snapshot_tier, SnapshotId=one, StorageTier="archive")
    ec2.disable_image(ImageId=ids["golden"])
    ec2.modify_snapshot_tier(SnapshotId=ids["golden/xvdf"], StorageTier="archive")
    refused("IncorrectState", ec2.enable_image, ImageId=ids["golden"], text=ids["golden/xvdf"])
    ec2.restore_snapshot_tier(SnapshotId=ids["golden/xvdf"], TemporaryRestoreDays=3)
    refused("IncorrectState", ec2.enable_image, ImageId=ids["golden"])
    ec2.restore_snapshot_tier(SnapshotId=ids["golden/xvdf"], PermanentRestore=True)
    ec2.enable_image(ImageId=ids["golden"])


def test_quotas_of_the_archive_are_kept(world: World, sandbox: Sandbox) -> None:
    """25 archived per volume, 25 archiving and 5 restoring at once per account."""
    make_instant(world)
    found = sandbox.seed(
        {
            "volumes": [{"name": "full"}, {"name": "free"}],
            "snapshots": [
                {"count": 24, "volumes": ["full"], "archived": 60, "name": "there"},
                {"count": 2, "volumes": ["full"], "name": "more"},
                {"count": 30, "volumes": ["free"], "name": "other"},
            ],
        }
    )
    make_slow(world)
    ec2 = sandbox.client()
    ec2.modify_snapshot_tier(SnapshotId=found["more"][0], StorageTier="archive")
    refused("ResourceLimitExceeded", ec2.modify_snapshot_tier, SnapshotId=found["more"][1], StorageTier="archive")
    for one in found["other"][:24]:
        ec2.modify_snapshot_tier(SnapshotId=one, StorageTier="archive")
    refused(
        "ResourceLimitExceeded",
        ec2.modify_snapshot_tier,
        SnapshotId=found["other"][24],
        StorageTier="archive",
        text="The limit is 25",
    )
    for one in found["there"][:5]:
        ec2.restore_snapshot_tier(SnapshotId=one)
    refused("ResourceLimitExceeded", ec2.restore_snapshot_tier, SnapshotId=found["there"][5], text="The limit is 5")
    world.clock.move(LONG)
    ec2.restore_snapshot_tier(SnapshotId=found["there"][5])
    sandbox.configure(options={"archived_per_volume": 40})
    ec2.modify_snapshot_tier(SnapshotId=found["more"][1], StorageTier="archive")


def test_permanent_restore_returns_to_the_standard_tier(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    made, ec2 = seeded(sandbox, archived=DAY), sandbox.client()
    archived = status(ec2, made)["ArchivalCompleteTime"]
    answer = ec2.restore_snapshot_tier(SnapshotId=made, PermanentRestore=True)
    assert (answer["SnapshotId"], answer["IsPermanentRestore"]) == (made, True)
    assert "RestoreDuration" not in answer
    assert status(ec2, made)["LastTieringOperationStatus"] == "permanent-restore-in-progress"
    assert only(ec2, made)["StorageTier"] == "archive"
    refused("IncorrectState", ec2.restore_snapshot_tier, SnapshotId=made, text="in-progress")
    world.clock.move(LONG)
    row = status(ec2, made)
    assert (row["LastTieringOperationStatus"], row["StorageTier"]) == ("permanent-restore-completed", "standard")
    assert row["LastTieringStartTime"] == answer["RestoreStartTime"]
    assert row["ArchivalCompleteTime"] == archived
    assert "RestoreExpiryTime" not in row
    refused("IncorrectState", ec2.restore_snapshot_tier, SnapshotId=made, text="not in the archive tier")
    world.clock.move(200 * DAY)
    assert only(ec2, made)["StorageTier"] == "standard"
    ec2.modify_snapshot_tier(SnapshotId=made, StorageTier="archive")
    world.clock.move(LONG)
    assert only(ec2, made)["StorageTier"] == "archive"
    assert status(ec2, made)["ArchivalCompleteTime"] > archived


def test_a_temporary_restore_ends_by_itself(world: World, sandbox: Sandbox) -> None:
    """StorageTier is `standard` for a temporarily restored snapshot, with the time of its end."""
    make_slow(world)
    made, ec2 = seeded(sandbox, archived=60), sandbox.client()
    answer = ec2.restore_snapshot_tier(SnapshotId=made, TemporaryRestoreDays=5)
    assert (answer["RestoreDuration"], answer["IsPermanentRestore"]) == (5, False)
    assert status(ec2, made)["LastTieringOperationStatus"] == "temporary-restore-in-progress"
    world.clock.move(LONG)
    row = status(ec2, made)
    assert (row["LastTieringOperationStatus"], row["StorageTier"]) == ("temporary-restore-completed", "standard")
    assert row["RestoreExpiryTime"] == answer["RestoreStartTime"] + timedelta(days=5, seconds=LONG)
    assert only(ec2, made)["RestoreExpiryTime"] == row["RestoreExpiryTime"]
    refused("IncorrectState", ec2.modify_snapshot_tier, SnapshotId=made, StorageTier="archive", text="already")
    world.clock.move(4 * DAY)
    changed = ec2.restore_snapshot_tier(SnapshotId=made, TemporaryRestoreDays=10)  # "effective from the current date"
    assert only(ec2, made)["RestoreExpiryTime"] == changed["RestoreStartTime"] + timedelta(days=10)
    world.clock.move(10 * DAY)
    shown = only(ec2, made)
    assert shown["StorageTier"] == "archive" and "RestoreExpiryTime" not in shown
    refused("IncorrectState", ec2.create_volume, AvailabilityZone="us-east-1a", SnapshotId=made)


def test_temporary_restore_becomes_permanent(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    made, ec2 = seeded(sandbox, archived=60, restored=5), sandbox.client()
    assert only(ec2, made)["StorageTier"] == "standard"
    ec2.restore_snapshot_tier(SnapshotId=made, PermanentRestore=True)
    world.clock.move(6 * DAY)
    assert only(ec2, made)["StorageTier"] == "standard"


@pytest.mark.parametrize("days", [0, 181, -1])
def test_invalid_days_of_a_restore_are_refused(world: World, sandbox: Sandbox, days: int) -> None:
    make_instant(world)
    made, ec2 = seeded(sandbox, archived=60), sandbox.client()
    refused("InvalidParameterValue", ec2.restore_snapshot_tier, SnapshotId=made, TemporaryRestoreDays=days)


def test_unrestorable_snapshots_are_refused(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    made, ec2 = seeded(sandbox), sandbox.client()
    refused("IncorrectState", ec2.restore_snapshot_tier, SnapshotId=made, TemporaryRestoreDays=5)
    refused("IncorrectState", ec2.restore_snapshot_tier, SnapshotId=made, PermanentRestore=True)
    refused(
        "InvalidParameterCombination",
        ec2.restore_snapshot_tier,
        SnapshotId=made,
        PermanentRestore=True,
        TemporaryRestoreDays=5,
    )
    refused("InvalidSnapshot.NotFound", ec2.restore_snapshot_tier, SnapshotId="snap-0123456789abcdef0")
    ec2.modify_snapshot_tier(SnapshotId=made, StorageTier="archive")
    assert ec2.restore_snapshot_tier(SnapshotId=made)["RestoreDuration"] == 1


def test_failed_moves_show_their_reason(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    made, ec2 = seeded(sandbox, shared_with=[OTHER]), sandbox.client()
    with sandbox.fault("ModifySnapshotTier", kind="end", message="no space"):
        ec2.modify_snapshot_tier(SnapshotId=made, StorageTier="archive")
    assert status(ec2, made)["LastTieringOperationStatus"] == "archival-in-progress"
    world.clock.move(LONG)
    row = status(ec2, made)
    assert (row["LastTieringOperationStatus"], row["LastTieringOperationStatusDetail"], row["StorageTier"]) == (
        "archival-failed",
        "no space",
        "standard",
    )
    assert len(sandbox.client(account=OTHER).describe_snapshots(SnapshotIds=[made])["Snapshots"]) == 1
    ec2.modify_snapshot_tier(SnapshotId=made, StorageTier="archive")
    world.clock.move(LONG)
    for name, arguments in (("permanent", {"PermanentRestore": True}), ("temporary", {"TemporaryRestoreDays": 2})):
        with sandbox.fault("RestoreSnapshotTier", kind="end"):
            ec2.restore_snapshot_tier(SnapshotId=made, **arguments)
        world.clock.move(LONG)
        row = status(ec2, made)
        assert (row["LastTieringOperationStatus"], row["StorageTier"]) == (f"{name}-restore-failed", "archive")


def test_archiving_ends_sharing(world: World, sandbox: Sandbox) -> None:
    """ "The accounts with which the snapshot is shared lose access after the snapshot is archived." """
    make_slow(world)
    made, ec2, other = seeded(sandbox, shared_with=[OTHER]), sandbox.client(), sandbox.client(account=OTHER)
    ec2.modify_snapshot_tier(SnapshotId=made, StorageTier="archive")
    assert only(other, made)["SnapshotId"] == made
    world.clock.move(LONG)
    refused("InvalidSnapshot.NotFound", other.describe_snapshots, SnapshotIds=[made])
    share: dict[str, Any] = {"SnapshotId": made, "CreateVolumePermission": {"Add": [{"UserId": OTHER}]}}
    refused("IncorrectState", ec2.modify_snapshot_attribute, **share, text="archived")
    attribute = ec2.describe_snapshot_attribute(SnapshotId=made, Attribute="createVolumePermission")
    assert attribute["CreateVolumePermissions"] == []
    ec2.restore_snapshot_tier(SnapshotId=made, TemporaryRestoreDays=2)
    world.clock.move(LONG)
    refused("InvalidSnapshot.NotFound", other.describe_snapshots, SnapshotIds=[made])
    ec2.modify_snapshot_attribute(**share)
    assert only(other, made)["StorageTier"] == "standard"
    world.clock.move(2 * DAY)
    refused("InvalidSnapshot.NotFound", other.describe_snapshots, SnapshotIds=[made])
    ec2.restore_snapshot_tier(SnapshotId=made, PermanentRestore=True)
    world.clock.move(LONG)
    ec2.modify_snapshot_attribute(**share)
    world.clock.move(100 * DAY)
    assert only(other, made)["SnapshotId"] == made


@pytest.mark.parametrize("state", [{"archived": 60}, {"archived": 60, "restored": 5}])
def test_archived_snapshot_can_be_deleted(world: World, sandbox: Sandbox, state: dict[str, Any]) -> None:
    make_instant(world)
    made, ec2 = seeded(sandbox, **state), sandbox.client()
    ec2.delete_snapshot(SnapshotId=made)
    assert ec2.describe_snapshot_tier_status()["SnapshotTierStatuses"] == []


def test_tier_status_is_paged_and_filtered(world: World, sandbox: Sandbox) -> None:
    found = sandbox.seed(
        {
            "snapshots": [
                {"count": 7, "name": "plain", "tags": {"a": "b"}},
                {"count": 6, "name": "archived", "archived": 60},
                {"count": 2, "name": "restored", "archived": 60, "restored": 1},
            ]
        }
    )
    ec2 = sandbox.client()
    paginator = ec2.get_paginator("describe_snapshot_tier_status")

    def ids(filters: dict[str, list[str]]) -> list[str]:
        named = [{"Name": name, "Values": values} for name, values in filters.items()]
        pages = list(paginator.paginate(Filters=named, PaginationConfig={"PageSize": 5}))
        assert all(len(page["SnapshotTierStatuses"]) == 5 for page in pages[:-1])
        return [one["SnapshotId"] for page in pages for one in page["SnapshotTierStatuses"]]

    assert ids({}) == [*found["plain"], *found["archived"], *found["restored"]]
    assert ids({"last-tiering-operation": ["archival-completed"]}) == found["archived"]
    assert ids({"last-tiering-operation": ["*-completed"]}) == [*found["archived"], *found["restored"]]
    assert ids({"volume-id": [found["snapshot_volumes"][2]]}) == found["restored"]
    plain = status(ec2, found["plain"][0])
    assert plain["StorageTier"] == "standard" and plain["Tags"] == [{"Key": "a", "Value": "b"}]
    assert not {"LastTieringOperationStatus", "LastTieringStartTime"} & set(plain)
    refused("InvalidParameterValue", ec2.describe_snapshot_tier_status, Filters=[{"Name": "tag:a", "Values": ["b"]}])
    refused("InvalidParameterValue", ec2.describe_snapshot_tier_status, MaxResults=4)
    sandbox.configure(options={"tier_status": "moved"})
    assert ids({}) == [*found["archived"], *found["restored"]]
