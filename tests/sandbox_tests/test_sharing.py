# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sharing of snapshots, the accounts that find them, and the block of public access."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from domain import make_instant, only, refused

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World

OTHER, THIRD = "111122223333", "444455556666"
PUBLIC: dict[str, Any] = {"Add": [{"Group": "all"}]}


@pytest.fixture
def made(world: World, sandbox: Sandbox) -> str:
    """A completed snapshot, not encrypted."""
    make_instant(world)
    ids = sandbox.seed({"volume": {"name": "data"}, "snapshots": [{"name": "s", "volume": "data"}]})
    return str(ids["s"])


def permissions(ec2: Any, snapshot_id: str) -> list[dict[str, str]]:
    answer = ec2.describe_snapshot_attribute(SnapshotId=snapshot_id, Attribute="createVolumePermission")
    return list(answer["CreateVolumePermissions"])


def restorable(ec2: Any, *users: str, owner: str | None = None) -> list[str]:
    owners = {"OwnerIds": [owner]} if owner else {}
    return [one["SnapshotId"] for one in ec2.describe_snapshots(RestorableByUserIds=list(users), **owners)["Snapshots"]]


def test_public_snapshot_is_visible_to_all(world: World, sandbox: Sandbox, made: str) -> None:
    ec2, other = sandbox.client(), sandbox.client(account=OTHER)
    ec2.modify_snapshot_attribute(SnapshotId=made, CreateVolumePermission=PUBLIC)
    assert permissions(ec2, made) == [{"Group": "all"}]
    assert only(other, made)["OwnerId"] == "123456789012"
    other.create_volume(AvailabilityZone="us-east-1a", SnapshotId=made)
    ec2.modify_snapshot_attribute(
        SnapshotId=made, Attribute="createVolumePermission", OperationType="remove", GroupNames=["all"]
    )
    assert permissions(ec2, made) == []
    refused("InvalidSnapshot.NotFound", other.describe_snapshots, SnapshotIds=[made])


def test_restorable_by_lists_usable_snapshots(world: World, sandbox: Sandbox) -> None:
    """ "Account IDs (if you own the snapshots), self for snapshots for which you own or have explicit permissions, or
    all for public snapshots."
    """
    found = sandbox.seed(
        {
            "snapshots": [
                {"name": "private", "volume": "vol-gone", "size": 1},
                {"name": "given", "volume": "vol-gone", "size": 1, "shared_with": [OTHER]},
                {"name": "public", "volume": "vol-gone", "size": 1, "shared_with": ["all"]},
            ]
        }
    )
    theirs = sandbox.seed({"account": OTHER, "snapshots": [{"name": "own", "volume": "vol-gone", "size": 1}]})["own"]
    ec2, other, third = sandbox.client(), sandbox.client(account=OTHER), sandbox.client(account=THIRD)
    everything = [found["private"], found["given"], found["public"]]
    assert restorable(ec2, "self") == restorable(ec2, "123456789012") == everything
    assert restorable(ec2, "all") == [found["public"]]
    assert restorable(ec2, OTHER) == [found["given"]]
    assert restorable(ec2, THIRD) == []
    assert sorted(restorable(other, "self")) == sorted([found["given"], theirs])
    assert restorable(other, "self", owner="123456789012") == [found["given"]]
    assert sorted(restorable(other, "self", "all")) == sorted([found["given"], found["public"], theirs])
    assert restorable(third, "self") == []
    assert [one["SnapshotId"] for one in third.describe_snapshots()["Snapshots"]] == [found["public"]]


def test_invalid_changes_are_refused(world: World, sandbox: Sandbox, made: str) -> None:
    ec2 = sandbox.client()
    modify = ec2.modify_snapshot_attribute
    both = {"Add": [{"UserId": OTHER}], "Remove": [{"UserId": THIRD}]}
    refused("InvalidParameterCombination", modify, SnapshotId=made, CreateVolumePermission=both)
    refused("InvalidParameterCombination", modify, SnapshotId=made)
    for user in ("me", "", "1111-2222-3333", "123"):
        both = {"Add": [{"UserId": OTHER}, {"UserId": user}]}
        refused("InvalidAMIAttributeItemValue", modify, SnapshotId=made, CreateVolumePermission=both)
    for change in ("Add", "Remove"):
        some = {change: [{"Group": "some"}]}
        refused("InvalidAMIAttributeItemValue", modify, SnapshotId=made, CreateVolumePermission=some)
    legacy = {"SnapshotId": made, "UserIds": [OTHER]}
    refused("InvalidParameterValue", modify, **legacy, Attribute="productCodes", OperationType="add")
    refused("MissingParameter", modify, **legacy, OperationType="add")
    refused("InvalidParameterCombination", modify, **legacy, Attribute="createVolumePermission")
    many = [{"UserId": f"{number:012d}"} for number in range(501)]
    refused("InvalidParameterValue", modify, SnapshotId=made, CreateVolumePermission={"Add": many}, text="500")
    modify(SnapshotId=made, CreateVolumePermission={"Add": many[:500]})
    refused("DryRunOperation", modify, SnapshotId=made, CreateVolumePermission=PUBLIC, DryRun=True)
    refused("InvalidSnapshot.NotFound", modify, SnapshotId="snap-0123456789abcdef0", CreateVolumePermission=PUBLIC)
    assert len(permissions(ec2, made)) == 500
    refused("InvalidRequest", ec2.reset_snapshot_attribute, SnapshotId=made, Attribute="productCodes")
    ec2.reset_snapshot_attribute(SnapshotId=made, Attribute="createVolumePermission")
    assert permissions(ec2, made) == []


def test_product_codes_keep_a_snapshot_from_being_public(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"image": {"name": "market", "product_codes": ["abc"]}})
    ec2 = sandbox.client()
    snapshot = ids["market/root"]
    refused("InvalidParameterValue", ec2.modify_snapshot_attribute, SnapshotId=snapshot, CreateVolumePermission=PUBLIC)
    ec2.modify_snapshot_attribute(SnapshotId=snapshot, CreateVolumePermission={"Add": [{"UserId": OTHER}]})
    codes = ec2.describe_snapshot_attribute(SnapshotId=snapshot, Attribute="productCodes")["ProductCodes"]
    assert [one["ProductCodeId"] for one in codes] == ["abc"]


def test_only_the_owner_may_look_and_change(world: World, sandbox: Sandbox, made: str) -> None:
    ec2, other = sandbox.client(), sandbox.client(account=OTHER)
    ec2.modify_snapshot_attribute(SnapshotId=made, CreateVolumePermission={"Add": [{"UserId": OTHER}]})
    for call, more in (
        (other.describe_snapshot_attribute, {"Attribute": "createVolumePermission"}),
        (other.reset_snapshot_attribute, {"Attribute": "createVolumePermission"}),
        (other.modify_snapshot_attribute, {"CreateVolumePermission": {"Add": [{"UserId": THIRD}]}}),
        (other.delete_snapshot, {}),
    ):
        refused("InvalidSnapshot.NotFound", call, SnapshotId=made, **more)


def test_blocked_public_access_hides_public_snapshots(world: World, sandbox: Sandbox, made: str) -> None:
    ec2, other = sandbox.client(), sandbox.client(account=OTHER)
    second = ec2.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=made)["SnapshotId"]

    def visible() -> bool:
        return made in [one["SnapshotId"] for one in other.describe_snapshots()["Snapshots"]]

    assert ec2.get_snapshot_block_public_access_state()["State"] == "unblocked"
    ec2.modify_snapshot_attribute(SnapshotId=made, CreateVolumePermission=PUBLIC)
    assert ec2.enable_snapshot_block_public_access(State="block-new-sharing")["State"] == "block-new-sharing"
    state = ec2.get_snapshot_block_public_access_state()
    assert (state["State"], state["ManagedBy"]) == ("block-new-sharing", "account")
    assert visible()
    refused("OperationNotPermitted", ec2.modify_snapshot_attribute, SnapshotId=second, CreateVolumePermission=PUBLIC)
    ec2.modify_snapshot_attribute(SnapshotId=second, CreateVolumePermission={"Add": [{"UserId": OTHER}]})
    ec2.enable_snapshot_block_public_access(State="block-all-sharing")
    assert not visible()
    assert restorable(ec2, "all") == []
    assert only(other, second)["SnapshotId"] == second  # private sharing is not touched
    assert permissions(ec2, made) == [{"Group": "all"}]  # nor is the attribute
    refused("InvalidSnapshot.NotFound", other.create_volume, AvailabilityZone="us-east-1a", SnapshotId=made)
    copy = other.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=made)["SnapshotId"]
    assert only(other, copy)["StateMessage"] == "Source snapshot is not found"
    assert sandbox.client(region="us-west-2").get_snapshot_block_public_access_state()["State"] == "unblocked"
    assert ec2.disable_snapshot_block_public_access()["State"] == "unblocked"
    assert visible()
    refused("InvalidParameterValue", ec2.enable_snapshot_block_public_access, State="unblocked")
    refused("DryRunOperation", ec2.enable_snapshot_block_public_access, State="block-all-sharing", DryRun=True)
    assert ec2.get_snapshot_block_public_access_state()["State"] == "unblocked"
