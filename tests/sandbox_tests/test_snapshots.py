# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots against the known facts of EBS: making, sets, copies, reading, sharing, deleting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from domain import LONG, make_instant, make_slow, only, refused, texts

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World


def test_create_answers_pending_and_describe_shows_progress(world: World, sandbox: Sandbox) -> None:
    """ "CreateSnapshot returns State pending, Progress '' (empty); pending DescribeSnapshots shows a percentage"."""
    make_slow(world)
    ids = sandbox.seed({"volume": {"name": "data", "Size": 10}})
    ec2 = sandbox.client()
    tags = [{"ResourceType": "snapshot", "Tags": [{"Key": "a", "Value": "b"}]}]
    made = ec2.create_snapshot(VolumeId=ids["data"], Description="d", TagSpecifications=tags)
    assert (made["State"], made["Progress"], made["VolumeSize"], made["Description"]) == ("pending", "", 10, "d")
    assert made["Tags"] == [{"Key": "a", "Value": "b"}]
    world.clock.move(LONG / 2)
    row = only(ec2, made["SnapshotId"])
    assert row["State"] == "pending"
    assert 50 <= int(row["Progress"].rstrip("%")) <= 55
    world.clock.move(LONG / 2)
    row = only(ec2, made["SnapshotId"])
    assert (row["State"], row["Progress"], row["StartTime"]) == ("completed", "100%", made["StartTime"])
    assert row["CompletionTime"] > row["StartTime"]


def test_identical_requests_make_two_snapshots(world: World, sandbox: Sandbox) -> None:
    """No ClientToken, not idempotent."""
    make_instant(world)
    ids = sandbox.seed({"volume": {"name": "data"}})
    ec2 = sandbox.client()
    assert len({ec2.create_snapshot(VolumeId=ids["data"])["SnapshotId"] for _turn in range(2)}) == 2


def test_a_snapshot_keeps_its_size_when_the_volume_grows(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"volume": {"name": "data", "Size": 10}})
    ec2 = sandbox.client()
    made = ec2.create_snapshot(VolumeId=ids["data"])["SnapshotId"]
    ec2.modify_volume(VolumeId=ids["data"], Size=50)
    assert only(ec2, made)["VolumeSize"] == 10


def test_invalid_snapshots_are_refused(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed({"volume": {"name": "data"}})
    ec2 = sandbox.client()
    refused("InvalidVolume.NotFound", ec2.create_snapshot, VolumeId="vol-0123456789abcdef0")
    refused("InvalidParameterValue", ec2.create_snapshot, VolumeId="i-1")
    refused("InvalidParameterValue", ec2.create_snapshot, VolumeId=ids["data"], Description="ü")
    new = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    refused("IncorrectState", ec2.create_snapshot, VolumeId=new, text="creating")
    refused("DryRunOperation", ec2.create_snapshot, VolumeId=ids["data"], DryRun=True)
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


def test_snapshots_beyond_the_rate_per_volume_are_refused(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    world.config.update({"durations": {"snapshot_rate_window": 15}})
    ids = sandbox.seed({"volumes": [{"name": "a"}, {"name": "b"}]})
    ec2 = sandbox.client()
    ec2.create_snapshot(VolumeId=ids["a"])
    ec2.create_snapshot(VolumeId=ids["b"])
    refused("SnapshotCreationPerVolumeRateExceeded", ec2.create_snapshot, VolumeId=ids["a"])
    world.clock.move(15)
    ec2.create_snapshot(VolumeId=ids["a"])


@pytest.mark.parametrize("volume, most", [({"VolumeType": "gp3"}, 5), ({"VolumeType": "st1", "Size": 125}, 1)])
def test_pending_snapshots_beyond_the_limit_are_refused(
    world: World, sandbox: Sandbox, volume: dict[str, Any], most: int
) -> None:
    """ "5 pending snapshots (1 for st1/sc1) -> ConcurrentSnapshotLimitExceeded"; deleted while pending still counts."""
    make_slow(world)
    ids = sandbox.seed({"volume": {"name": "data", **volume}})
    ec2 = sandbox.client()
    made = [ec2.create_snapshot(VolumeId=ids["data"])["SnapshotId"] for _turn in range(most)]
    refused("ConcurrentSnapshotLimitExceeded", ec2.create_snapshot, VolumeId=ids["data"])
    ec2.delete_snapshot(SnapshotId=made[0])
    refused("ConcurrentSnapshotLimitExceeded", ec2.create_snapshot, VolumeId=ids["data"])
    world.clock.move(LONG)
    ec2.create_snapshot(VolumeId=ids["data"])


def test_a_snapshot_that_ends_in_error(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed({"volume": {"name": "data"}})
    ec2 = sandbox.client()
    with sandbox.fault("CreateSnapshot", kind="end", message="Internal failure", occurrence=1):
        made = ec2.create_snapshot(VolumeId=ids["data"])
        good = ec2.create_snapshot(VolumeId=ids["data"])["SnapshotId"]
    assert only(ec2, made["SnapshotId"])["State"] == "pending"
    world.clock.move(LONG)
    row = only(ec2, made["SnapshotId"])
    assert (row["State"], row["StateMessage"]) == ("error", "Internal failure")
    assert only(ec2, good)["State"] == "completed"


# --- sets -------------------------------------------------------------------------------------------------------------


def test_snapshots_of_a_set_have_one_start_time(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"instance": {"name": "web", "data_volumes": 2, "volume_tags": {"team": "ops"}}})
    ec2 = sandbox.client()
    made = ec2.create_snapshots(
        InstanceSpecification={"InstanceId": ids["web"]},
        CopyTagsFromSource="volume",
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": [{"Key": "set", "Value": "1"}]}],
    )["Snapshots"]
    assert {one["VolumeId"] for one in made} == {ids["web/root"], ids["web/data1"], ids["web/data2"]}
    assert len({one["StartTime"] for one in made}) == 1
    for one in made:
        assert {tag["Key"]: tag["Value"] for tag in one["Tags"]} == {"team": "ops", "set": "1"}
    some = ec2.create_snapshots(
        InstanceSpecification={
            "InstanceId": ids["web"],
            "ExcludeBootVolume": True,
            "ExcludeDataVolumeIds": [ids["web/data1"]],
        }
    )["Snapshots"]
    assert [one["VolumeId"] for one in some] == [ids["web/data2"]]
    assert some[0].get("Tags", []) == []
    refused(
        "InvalidParameterValue",
        ec2.create_snapshots,
        InstanceSpecification={"InstanceId": ids["web"], "ExcludeDataVolumeIds": [ids["web/root"]]},
        text=ids["web/root"],
    )


def test_sets_count_against_the_same_limits(world: World, sandbox: Sandbox) -> None:
    """Pending snapshots and the rate count per volume.

    A set makes no snapshot if one of its volumes is beyond a limit.
    """
    make_slow(world)
    ids = sandbox.seed({"instance": {"name": "web", "data_volumes": 1}})
    ec2 = sandbox.client()
    specification = {"InstanceId": ids["web"]}
    for _turn in range(4):
        ec2.create_snapshots(InstanceSpecification=specification)
    ec2.create_snapshot(VolumeId=ids["web/data1"])
    refused("ConcurrentSnapshotLimitExceeded", ec2.create_snapshots, InstanceSpecification=specification)
    assert len(ec2.describe_snapshots(Filters=[{"Name": "status", "Values": ["pending"]}])["Snapshots"]) == 9
    world.clock.move(LONG)
    sandbox.configure(durations={"snapshot_rate_window": 15})
    ec2.create_snapshots(InstanceSpecification=specification)
    refused("SnapshotCreationPerVolumeRateExceeded", ec2.create_snapshot, VolumeId=ids["web/root"])
    world.clock.move(15)
    ec2.create_snapshot(VolumeId=ids["web/root"])
    refused("SnapshotCreationPerVolumeRateExceeded", ec2.create_snapshots, InstanceSpecification=specification)


# --- copies -----------------------------------------------------------------------------------------------------------


def test_a_copy_is_pending_with_an_arbitrary_volume(world: World, sandbox: Sandbox) -> None:
    """Pending: VolumeId vol-ffffffff, VolumeSize 0, "Metadata not updated"; description and tags are not inherited."""
    make_instant(world)
    ids = sandbox.seed({"volume": {"name": "data", "Size": 10, "tags": {"a": "b"}}})
    source = sandbox.client().create_snapshot(VolumeId=ids["data"], Description="source")["SnapshotId"]
    make_slow(world)
    west = sandbox.client(region="us-west-2")
    made = west.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=source)["SnapshotId"]
    row = only(west, made)
    assert (row["VolumeId"], row["VolumeSize"], row["StateMessage"], row["State"]) == (
        "vol-ffffffff",
        0,
        "Metadata not updated",
        "pending",
    )
    world.clock.move(LONG)
    row = only(west, made)
    assert (row["VolumeId"], row["VolumeSize"], row["State"], row["Description"]) == (
        "vol-ffffffff",
        10,
        "completed",
        "",
    )
    assert "Tags" not in row and "StateMessage" not in row


def test_a_copy_of_a_bad_source_fails_later(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed({"volume": {"name": "data"}})
    pending = sandbox.client().create_snapshot(VolumeId=ids["data"])["SnapshotId"]
    west = sandbox.client(region="us-west-2")
    missing = west.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId="snap-0123456789abcdef0")["SnapshotId"]
    early = west.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=pending)["SnapshotId"]
    world.clock.move(LONG)
    assert (only(west, missing)["State"], only(west, missing)["StateMessage"]) == (
        "error",
        "Source snapshot is not found",
    )
    assert (only(west, early)["State"], only(west, early)["StateMessage"]) == (
        "error",
        "Source snapshot is not complete",
    )
    refused(
        "InvalidParameterValue",
        west.copy_snapshot,
        SourceRegion="us-east-1",
        SourceSnapshotId=pending,
        CompletionDurationMinutes=7,
    )


def test_twenty_first_copy_at_once_is_refused(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed({"volume": {"name": "data"}, "snapshots": [{"name": "s", "volume": "data"}]})
    west = sandbox.client(region="us-west-2")
    for _turn in range(20):
        west.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=ids["s"])
    refused("ResourceLimitExceeded", west.copy_snapshot, SourceRegion="us-east-1", SourceSnapshotId=ids["s"])
    world.clock.move(LONG)
    west.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=ids["s"])


def test_copies_are_encrypted_by_key_and_default(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"volume": {"name": "data"}, "snapshots": [{"name": "s", "volume": "data"}]})
    ec2 = sandbox.client()
    made = only(
        ec2, ec2.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=ids["s"], Encrypted=True)["SnapshotId"]
    )
    assert made["Encrypted"] is True
    assert made["KmsKeyId"].startswith("arn:aws:kms:us-east-1:")
    refused(
        "InvalidParameterCombination",
        ec2.copy_snapshot,
        SourceRegion="us-east-1",
        SourceSnapshotId=ids["s"],
        KmsKeyId="alias/x",
    )


# --- reading ----------------------------------------------------------------------------------------------------------


def test_snapshots_are_paged_filtered_and_selected_by_owner(world: World, sandbox: Sandbox) -> None:
    seeded = sandbox.seed({"snapshots": {"count": 23, "volumes": 2, "tags": {"policy": "p"}}})
    sandbox.seed({"snapshots": {"count": 4, "tags": {"policy": "q"}}})
    ec2 = sandbox.client()
    pages = list(
        ec2.get_paginator("describe_snapshots").paginate(
            OwnerIds=["self"],
            Filters=[{"Name": "tag:policy", "Values": ["p"]}],
            PaginationConfig={"PageSize": 5},
        )
    )
    found = [one["SnapshotId"] for page in pages for one in page["Snapshots"]]
    assert [len(page["Snapshots"]) for page in pages] == [5, 5, 5, 5, 3]
    assert len(set(found)) == 23
    assert len(ec2.describe_snapshots(OwnerIds=["999999999999"])["Snapshots"]) == 0
    assert len(ec2.describe_snapshots(RestorableByUserIds=["self"])["Snapshots"]) == 27
    by_volume = ec2.describe_snapshots(Filters=[{"Name": "volume-id", "Values": [seeded["snapshot_volumes"][0]]}])
    assert len(by_volume["Snapshots"]) == 12
    assert len(ec2.describe_snapshots(Filters=[{"Name": "start-time", "Values": ["20*"]}])["Snapshots"]) == 27
    refused("InvalidParameterCombination", ec2.describe_snapshots, SnapshotIds=found[:1], MaxResults=5)
    refused("InvalidParameterValue", ec2.describe_snapshots, MaxResults=1)
    refused("InvalidParameterValue", ec2.describe_snapshots, NextToken="garbage", MaxResults=5)
    refused("InvalidParameterValue", ec2.describe_snapshots, Filters=[{"Name": "colour", "Values": ["x"]}])
    refused(
        "InvalidSnapshot.NotFound",
        ec2.describe_snapshots,
        SnapshotIds=["snap-0123456789abcdef0"],
        text="snap-0123456789abcdef0",
    )


def test_pages_neither_repeat_nor_hide_when_rows_disappear(world: World, sandbox: Sandbox) -> None:
    sandbox.seed({"snapshots": {"count": 15}})
    ec2 = sandbox.client()
    first = ec2.describe_snapshots(MaxResults=5)
    seen = [one["SnapshotId"] for one in first["Snapshots"]]
    for snapshot_id in seen[:3]:
        ec2.delete_snapshot(SnapshotId=snapshot_id)
    while "NextToken" in first:
        first = ec2.describe_snapshots(MaxResults=5, NextToken=first["NextToken"])
        seen += [one["SnapshotId"] for one in first["Snapshots"]]
    assert len(seen) == len(set(seen)) == 15


def test_new_snapshot_is_shown_after_the_delay(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"volume": {"name": "data"}})
    world.config.update({"visibility_delay": {"snapshot": 100}})
    ec2 = sandbox.client()
    made = ec2.create_snapshot(VolumeId=ids["data"])["SnapshotId"]
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    refused("InvalidSnapshot.NotFound", ec2.describe_snapshots, SnapshotIds=[made])
    refused("InvalidSnapshot.NotFound", ec2.delete_snapshot, SnapshotId=made)
    world.clock.move(100)
    assert only(ec2, made)["SnapshotId"] == made


# --- sharing and deleting ---------------------------------------------------------------------------------------------


def test_shared_snapshot_is_visible_to_the_other_account(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"volume": {"name": "data"}, "snapshots": [{"name": "s", "volume": "data"}]})
    ec2, other = sandbox.client(), sandbox.client(account="111122223333")
    refused("InvalidSnapshot.NotFound", other.describe_snapshots, SnapshotIds=[ids["s"]])
    ec2.modify_snapshot_attribute(SnapshotId=ids["s"], CreateVolumePermission={"Add": [{"UserId": "111122223333"}]})
    shared = ec2.describe_snapshot_attribute(SnapshotId=ids["s"], Attribute="createVolumePermission")
    assert shared["CreateVolumePermissions"] == [{"UserId": "111122223333"}]
    assert other.describe_snapshots(SnapshotIds=[ids["s"]])["Snapshots"][0]["OwnerId"] == "123456789012"
    assert other.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    volume = other.create_volume(AvailabilityZone="us-east-1a", SnapshotId=ids["s"])["VolumeId"]
    assert texts(sandbox.marks(volume)["marks"]) == ["seeded"]
    refused("InvalidSnapshot.NotFound", other.delete_snapshot, SnapshotId=ids["s"])
    ec2.modify_snapshot_attribute(
        SnapshotId=ids["s"], Attribute="createVolumePermission", OperationType="remove", UserIds=["111122223333"]
    )
    assert other.describe_snapshots(RestorableByUserIds=["self"])["Snapshots"] == []


def test_encrypted_snapshot_is_never_public_and_with_the_default_key_not_shared(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    arn = sandbox.client("kms").create_key()["KeyMetadata"]["Arn"]
    ids = sandbox.seed(
        {"volumes": [{"name": "own", "Encrypted": True, "KmsKeyId": arn}, {"name": "default", "Encrypted": True}]}
    )
    ec2 = sandbox.client()
    own = ec2.create_snapshot(VolumeId=ids["own"])["SnapshotId"]
    default = ec2.create_snapshot(VolumeId=ids["default"])["SnapshotId"]
    account = {"Add": [{"UserId": "111122223333"}]}
    ec2.modify_snapshot_attribute(SnapshotId=own, CreateVolumePermission=account)
    refused("OperationNotPermitted", ec2.modify_snapshot_attribute, SnapshotId=default, CreateVolumePermission=account)
    refused(
        "OperationNotPermitted",
        ec2.modify_snapshot_attribute,
        SnapshotId=own,
        CreateVolumePermission={"Add": [{"Group": "all"}]},
    )


def test_a_snapshot_of_any_image_is_in_use(world: World, sandbox: Sandbox) -> None:
    """This includes data volumes and disabled images.

    DryRun does not refuse it. After DeregisterImage, the deletion works at once.
    """
    make_instant(world)
    ids = sandbox.seed({"instance": {"name": "web", "state": "stopped", "data_volumes": 1}})
    ec2 = sandbox.client()
    image = ec2.create_image(InstanceId=ids["web"], Name="web-1")["ImageId"]
    mappings = ec2.describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"]
    snapshots = [one["Ebs"]["SnapshotId"] for one in mappings]
    assert len(snapshots) == 2
    for one in snapshots:
        text = f"The snapshot {one} is currently in use by {image}"
        assert refused("InvalidSnapshot.InUse", ec2.delete_snapshot, SnapshotId=one) == text
        refused("DryRunOperation", ec2.delete_snapshot, SnapshotId=one, DryRun=True)
    ec2.disable_image(ImageId=image)
    refused("InvalidSnapshot.InUse", ec2.delete_snapshot, SnapshotId=snapshots[1])
    ec2.deregister_image(ImageId=image)
    for one in snapshots:
        ec2.delete_snapshot(SnapshotId=one)
    refused("InvalidSnapshot.NotFound", ec2.delete_snapshot, SnapshotId=snapshots[0])


def test_deleted_pending_snapshot_disappears_when_it_completes(world: World, sandbox: Sandbox) -> None:
    """ "Delete accepted, takes effect only after completion"; a second delete changes nothing."""
    make_slow(world)
    ids = sandbox.seed({"volume": {"name": "data"}})
    ec2 = sandbox.client()
    made = ec2.create_snapshot(VolumeId=ids["data"])["SnapshotId"]
    for _turn in range(2):
        ec2.delete_snapshot(SnapshotId=made)
        assert only(ec2, made)["State"] == "pending"
    world.clock.move(LONG)
    refused("InvalidSnapshot.NotFound", ec2.describe_snapshots, SnapshotIds=[made])
    refused("InvalidSnapshot.NotFound", ec2.delete_snapshot, SnapshotId=made)
    assert ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []


def test_snapshot_of_aws_backup_cannot_be_deleted(world: World, sandbox: Sandbox) -> None:
    found = sandbox.seed(
        {
            "snapshots": [
                {"count": 1, "name": "backup", "tags": {"aws:backup:source-resource": "arn:aws:ec2:::volume/vol-1"}},
                {"count": 1, "name": "dlm", "tags": {"aws:dlm:managed": "true"}},
            ]
        }
    )
    ec2 = sandbox.client()
    text = f"The snapshot {found['backup'][0]} is managed by AWS Backup and can't be deleted using EC2."
    assert refused("InvalidParameterValue", ec2.delete_snapshot, SnapshotId=found["backup"][0]) == text
    ec2.delete_snapshot(SnapshotId=found["dlm"][0])
