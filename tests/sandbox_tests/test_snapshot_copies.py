# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of snapshots: between regions and accounts, in their order, by their keys, and with their failures."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from domain import LONG, make_instant, make_slow, only, refused, texts

from sandbox.engine import HANDLERS, Ec2Error, Request

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World

HOME, OTHER = "123456789012", "111122223333"


def seeded(sandbox: Sandbox, count: int = 1, **volume: Any) -> list[str]:
    """Completed snapshots of one volume, oldest first."""
    names = [f"s{number}" for number in range(count)]
    rows = [{"name": name, "volume": "data"} for name in names]
    ids = sandbox.seed({"volume": {"name": "data", "Size": 10, **volume}, "snapshots": rows})
    return [ids[name] for name in names]


def copied(client: Any, source: str, **more: Any) -> str:
    return str(client.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=source, **more)["SnapshotId"])


def key_with_policy(sandbox: Sandbox, principal: Any) -> str:
    """A customer key of the home account that somebody else may use, too."""
    statement = {"Effect": "Allow", "Principal": principal, "Action": "kms:*", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    return str(sandbox.client("kms").create_key(Policy=policy)["KeyMetadata"]["Arn"])


def test_copy_shows_its_source_size_and_key(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    (source,) = seeded(sandbox)
    west = sandbox.client(region="us-west-2")
    row = only(west, copied(west, source, Description="far"))
    assert (row["TransferType"], row["VolumeId"], row["VolumeSize"]) == ("standard", "vol-ffffffff", 10)
    assert row["FullSnapshotSizeInBytes"] == 10 << 30
    assert "CompletionDurationMinutes" not in row
    assert only(sandbox.client(), source)["TransferType"] == "standard"
    timed = only(west, copied(west, source, CompletionDurationMinutes=30))
    assert (timed["TransferType"], timed["CompletionDurationMinutes"]) == ("time-based", 30)
    found = west.describe_snapshots(Filters=[{"Name": "transfer-type", "Values": ["time-based"]}])["Snapshots"]
    assert [one["SnapshotId"] for one in found] == [timed["SnapshotId"]]


def test_copy_from_an_unknown_region_is_refused(world: World, sandbox: Sandbox) -> None:
    (source,) = seeded(sandbox)
    for region in ("us-moon-1", ""):
        refused(
            "InvalidRegion",
            sandbox.client().copy_snapshot,
            SourceRegion=region,
            SourceSnapshotId=source,
            text=f"{region} is not a valid region name",
        )


def test_copy_is_made_in_the_requested_place(world: World) -> None:
    """botocore sets DestinationRegion itself, so the handler is asked directly. DryRun does not look."""

    def copy(**more: Any) -> Any:
        params = {"SourceRegion": "us-east-1", "SourceSnapshotId": "snap-0123456789abcdef0", **more}
        request = Request("CopySnapshot", params, HOME, "us-east-1", world.clock.now(), world)
        return HANDLERS["CopySnapshot"].handler(request)

    with pytest.raises(Ec2Error) as caught:
        copy(DestinationRegion="us-west-2")
    assert caught.value.code == "InvalidParameterValue"
    assert caught.value.message == "DestinationRegion 'us-west-2' does not match the current region (us-east-1)."
    with pytest.raises(Ec2Error) as caught:
        copy(DestinationRegion="us-west-2", DryRun=True)
    assert caught.value.code == "DryRunOperation"
    assert copy(DestinationRegion="us-east-1")["SnapshotId"]


def test_the_limit_can_be_set(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    (source,) = seeded(sandbox)
    sandbox.configure(options={"copies_per_region": 2})
    west, east = sandbox.client(region="us-west-2"), sandbox.client(region="eu-west-1")
    for client in (west, west, east):
        copied(client, source)
    text = "Too many snapshot copies in progress. The limit is 2 for this destination region."
    assert refused("ResourceLimitExceeded", copied, west, source) == text
    copied(east, source)
    other = sandbox.client(account=OTHER, region="us-west-2")
    copied(other, source)  # per account; the failed read shows later


def test_copies_of_a_lineage_wait_for_each_other(world: World, sandbox: Sandbox) -> None:
    """ "If a copy is still pending when you start another, the second copy starts only after the first finishes." """
    make_slow(world)
    first, second = seeded(sandbox, 2)
    (unrelated,) = seeded(sandbox)
    west = sandbox.client(region="us-west-2")
    made = [copied(west, one) for one in (first, second, unrelated)]
    elsewhere = copied(sandbox.client(region="eu-west-1"), second)
    world.clock.move(LONG)
    assert [only(west, one)["State"] for one in made] == ["completed", "pending", "completed"]
    assert only(sandbox.client(region="eu-west-1"), elsewhere)["State"] == "completed"
    # A copy of a copy is of the same lineage.
    third = copied(sandbox.client(region="eu-west-1"), first)
    back = west.copy_snapshot(SourceRegion="eu-west-1", SourceSnapshotId=elsewhere)["SnapshotId"]
    world.clock.move(LONG)
    assert only(west, made[1])["State"] == "completed"
    assert only(west, back)["State"] == "pending"
    assert only(sandbox.client(region="eu-west-1"), third)["State"] == "completed"
    world.clock.move(LONG)
    row = only(west, back)
    assert row["State"] == "completed"
    assert row["CompletionTime"] - row["StartTime"] > timedelta(seconds=LONG)


def test_deleting_the_source_ends_its_copies(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    source, kept = seeded(sandbox, 2)
    ec2, west = sandbox.client(), sandbox.client(region="us-west-2")
    lost, fine = copied(west, source), copied(west, kept)
    world.clock.move(LONG / 2)
    ec2.delete_snapshot(SnapshotId=source)
    assert only(west, lost)["State"] == "pending"
    world.clock.move(2 * LONG)
    assert (only(west, lost)["State"], only(west, lost)["StateMessage"]) == ("error", "Source snapshot is not found")
    assert only(west, fine)["State"] == "completed"
    ec2.delete_snapshot(SnapshotId=kept)
    assert only(west, fine)["State"] == "completed"


def test_an_image_whose_copy_loses_its_source_fails(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed({"image": {"name": "golden"}})
    ec2, west = sandbox.client(), sandbox.client(region="us-west-2")
    image = west.copy_image(SourceRegion="us-east-1", SourceImageId=ids["golden"], Name="golden")["ImageId"]
    ec2.deregister_image(ImageId=ids["golden"], DeleteAssociatedSnapshots=True)
    world.clock.move(2 * LONG)
    (row,) = west.describe_images(ImageIds=[image])["Images"]
    assert (row["State"], row["StateReason"]["Message"]) == ("failed", "Source snapshot is not found")


def test_a_copy_is_incremental_while_the_latest_one_exists(world: World, sandbox: Sandbox) -> None:
    """EC2 tells this only in an event, so the test looks into the sandbox."""
    make_instant(world)
    sources = seeded(sandbox, 6)
    west = sandbox.client(region="us-west-2")

    def incremental(source: str, **more: Any) -> bool:
        return bool(sandbox.inspect(copied(west, source, **more))["incremental"])

    assert not incremental(sources[0])
    latest = copied(west, sources[1])
    assert sandbox.inspect(latest)["incremental"] is True
    west.delete_snapshot(SnapshotId=latest)
    assert not incremental(sources[2])
    assert incremental(sources[3])
    assert not incremental(sources[4], Encrypted=True)
    assert not incremental(sources[5])  # "all copies ... are either unencrypted or were encrypted using the same key"


def test_copy_between_accounts_needs_sharing(world: World, sandbox: Sandbox) -> None:
    """The account of the copy makes the call, and cannot read a snapshot that is not shared with it."""
    make_instant(world)
    (source,) = seeded(sandbox)
    ec2, other = sandbox.client(), sandbox.client(account=OTHER, region="eu-west-1")
    assert only(other, copied(other, source))["StateMessage"] == "Source snapshot is not found"
    ec2.modify_snapshot_attribute(SnapshotId=source, CreateVolumePermission={"Add": [{"UserId": OTHER}]})
    made = copied(other, source)
    row = only(other, made)
    assert (row["State"], row["OwnerId"], row["VolumeSize"]) == ("completed", OTHER, 10)
    ec2.modify_snapshot_attribute(SnapshotId=source, CreateVolumePermission={"Remove": [{"UserId": OTHER}]})
    volume = other.create_volume(AvailabilityZone="eu-west-1a", SnapshotId=made)["VolumeId"]
    assert texts(sandbox.marks(volume)["marks"]) == ["seeded"]


@pytest.mark.parametrize(
    "principal, readable",
    [
        ({"AWS": "arn:aws:iam::123456789012:root"}, False),
        ({"AWS": ["arn:aws:iam::123456789012:root", f"arn:aws:iam::{OTHER}:root"]}, True),
        ({"AWS": f"arn:aws:iam::{OTHER}:role/backup"}, True),
        ({"AWS": OTHER}, True),
        ("*", True),
    ],
)
def test_an_encrypted_source_needs_its_key(world: World, sandbox: Sandbox, principal: Any, readable: bool) -> None:
    """ "If the copy failed because of insufficient key permissions: Given key ID is not accessible"; so do volumes."""
    make_instant(world)
    key = key_with_policy(sandbox, principal)
    (source,) = seeded(sandbox, Encrypted=True, KmsKeyId=key)
    ec2, other = sandbox.client(), sandbox.client(account=OTHER)
    ec2.modify_snapshot_attribute(SnapshotId=source, CreateVolumePermission={"Add": [{"UserId": OTHER}]})
    assert only(other, source)["KmsKeyId"] == key  # the copy is shown, whatever the key allows
    row = only(other, copied(other, source))
    volume = other.create_volume(AvailabilityZone="us-east-1a", SnapshotId=source)["VolumeId"]
    found = other.describe_volumes(Filters=[{"Name": "volume-id", "Values": [volume]}])["Volumes"]
    if readable:
        (made,) = found
        assert (row["State"], row["Encrypted"], made["State"]) == ("completed", True, "available")
        for one in (row, made):
            assert one["KmsKeyId"].startswith(f"arn:aws:kms:us-east-1:{OTHER}:")  # its own default key
    else:
        assert (row["State"], row["StateMessage"]) == ("error", "Given key ID is not accessible")
        assert found == []  # EBS cannot use the key: the volume vanishes


def test_copy_has_the_given_or_the_default_key(world: World, sandbox: Sandbox) -> None:
    """A copy has the given key, or the default key of its region, even in the region of the source."""
    make_instant(world)
    key = sandbox.client("kms").create_key()["KeyMetadata"]["Arn"]
    (source,) = seeded(sandbox, Encrypted=True, KmsKeyId=key)
    ec2, west = sandbox.client(), sandbox.client(region="us-west-2")
    assert only(ec2, copied(ec2, source))["KmsKeyId"] not in ("", key)
    assert only(ec2, copied(ec2, source, KmsKeyId=key))["KmsKeyId"] == key
    for more in ({}, {"Encrypted": False}):  # an encrypted source has no unencrypted copy
        row = only(west, copied(west, source, **more))
        assert row["Encrypted"] is True and row["KmsKeyId"].startswith("arn:aws:kms:us-west-2:")
    far = sandbox.client("kms", region="us-west-2").create_key()["KeyMetadata"]["Arn"]
    assert only(west, copied(west, source, Encrypted=True, KmsKeyId=far))["KmsKeyId"] == far
    sandbox.client("kms").disable_key(KeyId=key.rpartition("/")[2])
    failed = only(west, copied(west, source))
    assert (failed["State"], failed["StateMessage"]) == ("error", "Given key ID is not accessible")


def test_deleted_pending_copy_ends_with_its_completion(world: World, sandbox: Sandbox) -> None:
    """The deletion takes effect when the copy completes. Until then the copy counts as under way."""
    make_slow(world)
    (source,) = seeded(sandbox)
    sandbox.configure(options={"copies_per_region": 1})
    west = sandbox.client(region="us-west-2")
    made = copied(west, source)
    west.delete_snapshot(SnapshotId=made)
    assert only(west, made)["State"] == "pending"
    refused("ResourceLimitExceeded", copied, west, source)
    world.clock.move(LONG)
    refused("InvalidSnapshot.NotFound", west.describe_snapshots, SnapshotIds=[made])
    copied(west, source)
