# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Recycle Bin: empty without a rule. With a rule, deleted resources can be listed and restored for a while."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from domain import LONG, make_instant, make_slow, only, refused, texts

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World

DAY = 86400.0
OTHER = "111122223333"


def binned(ec2: Any) -> list[str]:
    return [one["SnapshotId"] for one in ec2.list_snapshots_in_recycle_bin()["Snapshots"]]


def test_recycle_bin_without_a_rule_is_empty(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    found = sandbox.seed({"snapshots": {"count": 1, "name": "all"}, "image": {"name": "golden"}})
    ec2 = sandbox.client()
    ec2.delete_snapshot(SnapshotId=found["all"][0])
    ec2.deregister_image(ImageId=found["golden"])
    for answer in (ec2.list_snapshots_in_recycle_bin(), ec2.list_images_in_recycle_bin()):
        assert (answer.get("Snapshots") or answer.get("Images") or []) == []
        assert "NextToken" not in answer
    unchecked = sandbox.client(parameter_validation=False)  # botocore knows the lower bounds, too
    for call, wrong in (
        (unchecked.list_snapshots_in_recycle_bin, (4, 1001)),
        (unchecked.list_images_in_recycle_bin, (0, 1001)),
    ):
        for size in wrong:
            refused("InvalidParameterValue", call, MaxResults=size)
    ids = [f"ami-{number:017x}" for number in range(21)]
    refused("InvalidParameterValue", ec2.list_images_in_recycle_bin, ImageIds=ids)
    refused("InvalidSnapshot.NotFound", ec2.restore_snapshot_from_recycle_bin, SnapshotId=found["all"][0])
    refused("InvalidAMIID.NotFound", ec2.restore_image_from_recycle_bin, ImageId=found["golden"])


def test_deleted_snapshot_is_restored_from_the_bin(world: World, sandbox: Sandbox) -> None:
    """A snapshot in the bin cannot be used. Once restored, it is as before, with its sharing."""
    make_instant(world)
    sandbox.configure(options={"recycle_bin": [{"days": 7, "region": "us-*"}]})
    ids = sandbox.seed(
        {
            "volume": {"name": "data"},
            "snapshots": [
                {"name": "first", "volume": "data", "description": "one", "tags": {"a": "b"}, "shared_with": [OTHER]},
                {"name": "second", "volume": "data"},
            ],
        }
    )
    ec2, other = sandbox.client(), sandbox.client(account=OTHER)
    before = only(ec2, ids["first"])
    ec2.delete_snapshot(SnapshotId=ids["first"])
    (row,) = ec2.list_snapshots_in_recycle_bin(SnapshotIds=[ids["first"]])["Snapshots"]
    assert (row["SnapshotId"], row["Description"], row["VolumeId"]) == (ids["first"], "one", ids["data"])
    assert row["RecycleBinExitTime"] - row["RecycleBinEnterTime"] == timedelta(days=7)
    for client in (ec2, other):
        refused("InvalidSnapshot.NotFound", client.describe_snapshots, SnapshotIds=[ids["first"]])
    refused("InvalidSnapshot.NotFound", ec2.create_volume, AvailabilityZone="us-east-1a", SnapshotId=ids["first"])
    refused("InvalidSnapshot.NotFound", ec2.delete_snapshot, SnapshotId=ids["first"])
    world.clock.move(6 * DAY)
    answer = ec2.restore_snapshot_from_recycle_bin(SnapshotId=ids["first"])
    assert (answer["State"], answer["StartTime"], answer["VolumeSize"]) == ("completed", before["StartTime"], 8)
    assert only(ec2, ids["first"]) == before
    assert only(other, ids["first"])["SnapshotId"] == ids["first"]
    assert binned(ec2) == []
    pages = ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"], PaginationConfig={"PageSize": 5})
    listed = [one["SnapshotId"] for page in pages for one in page["Snapshots"]]
    assert listed == [ids["first"], ids["second"]]  # in its old place
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", SnapshotId=ids["first"])["VolumeId"]
    assert texts(sandbox.marks(volume)["marks"]) == ["seeded"]


def test_expired_snapshot_leaves_the_recycle_bin(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    rules = [{"days": 1}, {"days": 3, "tags": {"keep": "long"}}, {"days": 9, "exclude_tags": {"keep": "long"}}]
    sandbox.configure(options={"recycle_bin": rules[:2]})
    found = sandbox.seed(
        {"snapshots": [{"count": 1, "name": "short"}, {"count": 1, "name": "long", "tags": {"keep": "long"}}]}
    )
    ec2 = sandbox.client()
    for name in ("short", "long"):
        ec2.delete_snapshot(SnapshotId=found[name][0])
    assert binned(ec2) == [found["short"][0], found["long"][0]]
    world.clock.move(DAY)
    assert binned(ec2) == found["long"]
    world.clock.move(2 * DAY)
    assert binned(ec2) == []
    refused("InvalidSnapshot.NotFound", ec2.restore_snapshot_from_recycle_bin, SnapshotId=found["long"][0])
    sandbox.configure(options={"recycle_bin": rules[2:]})
    found = sandbox.seed(
        {"snapshots": [{"count": 1, "name": "short"}, {"count": 1, "name": "long", "tags": {"keep": "long"}}]}
    )
    for name in ("short", "long"):
        ec2.delete_snapshot(SnapshotId=found[name][0])
    assert binned(ec2) == found["short"]


def test_snapshot_deleted_while_pending_enters_the_bin_when_completed(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    sandbox.configure(options={"recycle_bin": [{"days": 1}]})
    ids = sandbox.seed({"volume": {"name": "data"}})
    ec2 = sandbox.client()
    made = ec2.create_snapshot(VolumeId=ids["data"])["SnapshotId"]
    ec2.delete_snapshot(SnapshotId=made)
    assert binned(ec2) == []
    world.clock.move(LONG)
    assert binned(ec2) == [made]
    ec2.restore_snapshot_from_recycle_bin(SnapshotId=made)
    assert only(ec2, made)["State"] == "completed"


def test_archived_snapshot_is_restored_archived(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    sandbox.configure(options={"recycle_bin": [{"days": 1}]})
    found = sandbox.seed({"snapshots": {"count": 1, "name": "all", "archived": 60}})
    ec2 = sandbox.client()
    ec2.delete_snapshot(SnapshotId=found["all"][0])
    ec2.restore_snapshot_from_recycle_bin(SnapshotId=found["all"][0])
    assert only(ec2, found["all"][0])["StorageTier"] == "archive"


def test_recycle_bin_is_listed_in_pages(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    sandbox.configure(options={"recycle_bin": [{"days": 1}]})
    found = sandbox.seed({"snapshots": {"count": 12, "name": "all"}})
    ec2 = sandbox.client()
    for one in found["all"]:
        ec2.delete_snapshot(SnapshotId=one)
    pages = list(ec2.get_paginator("list_snapshots_in_recycle_bin").paginate(PaginationConfig={"PageSize": 5}))
    assert [len(page["Snapshots"]) for page in pages] == [5, 5, 2]
    assert [one["SnapshotId"] for page in pages for one in page["Snapshots"]] == found["all"]
    refused(
        "InvalidParameterCombination", ec2.list_snapshots_in_recycle_bin, SnapshotIds=found["all"][:1], MaxResults=5
    )


def test_deregistered_image_enters_the_recycle_bin(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    sandbox.configure(options={"recycle_bin": [{"days": 2, "resource_type": "image"}]})
    ids = sandbox.seed({"images": [{"name": "web-1", "description": "d"}, {"name": "web-2"}]})
    ec2 = sandbox.client()
    ec2.deregister_image(ImageId=ids["web-1"])
    (row,) = ec2.list_images_in_recycle_bin(MaxResults=1)["Images"]
    assert (row["ImageId"], row["Name"], row["Description"]) == (ids["web-1"], "web-1", "d")
    assert row["RecycleBinExitTime"] - row["RecycleBinEnterTime"] == timedelta(days=2)
    assert ec2.describe_images(ImageIds=[ids["web-1"]])["Images"] == []
    assert ec2.restore_image_from_recycle_bin(ImageId=ids["web-1"])["Return"] is True
    assert ec2.describe_images(ImageIds=[ids["web-1"]])["Images"][0]["State"] == "available"
    # "If its snapshots vanish the AMI can no longer be restored": the bin does not hold them.
    ec2.deregister_image(ImageId=ids["web-2"])
    ec2.delete_snapshot(SnapshotId=ids["web-2/root"])
    refused("IncorrectState", ec2.restore_image_from_recycle_bin, ImageId=ids["web-2"], text=ids["web-2/root"])
    world.clock.move(2 * DAY)
    assert ec2.list_images_in_recycle_bin()["Images"] == []
