# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The EBS direct APIs: the blocks of a snapshot, the changes since an earlier one, pages and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from domain import make_instant, refused

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World

BLOCK = 512 * 1024


@pytest.fixture
def volume(world: World, sandbox: Sandbox) -> str:
    """A volume of 1 GiB, which are 2,048 blocks."""
    make_instant(world)
    return str(sandbox.seed({"volume": {"name": "data", "Size": 1}})["data"])


def take(sandbox: Sandbox, volume: str, *, first: int = 0, blocks: int = 0) -> str:
    """Write blocks to the volume, and take a snapshot of it."""
    if blocks:
        sandbox.seed({"write": {"volume": volume, "first": first, "blocks": blocks}})
    sandbox.move_clock(20)
    return str(sandbox.client().create_snapshot(VolumeId=volume)["SnapshotId"])


def places(sandbox: Sandbox, snapshot: str, **more: Any) -> set[int]:
    """The places of all blocks of a snapshot, read page by page."""
    ebs, found, given = sandbox.client("ebs"), set(), {"SnapshotId": snapshot, **more}
    while True:
        page = ebs.list_snapshot_blocks(**given)
        found |= {one["BlockIndex"] for one in page["Blocks"]}
        assert page["BlockSize"] == BLOCK
        assert page["VolumeSize"] == 1
        if not page.get("NextToken"):
            return found
        given["NextToken"] = page["NextToken"]


def test_snapshot_lists_all_blocks_over_pages(sandbox: Sandbox, volume: str) -> None:
    snapshot = take(sandbox, volume, first=100, blocks=250)
    assert places(sandbox, snapshot) == set(range(2048))
    assert places(sandbox, snapshot, MaxResults=1000) == set(range(2048))
    assert sandbox.counts()["ebs:ListSnapshotBlocks"] == 1 + 3
    assert places(sandbox, snapshot, StartingBlockIndex=2040) == set(range(2040, 2048))
    row = sandbox.client().describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]
    assert row["FullSnapshotSizeInBytes"] == 2048 * BLOCK


def test_changed_blocks_are_those_that_differ(sandbox: Sandbox, volume: str) -> None:
    first = take(sandbox, volume, first=0, blocks=20)
    second = take(sandbox, volume, first=10, blocks=15)
    ebs = sandbox.client("ebs")
    there = ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=second)["ChangedBlocks"]
    assert {one["BlockIndex"] for one in there} == set(range(10, 25))
    back = ebs.list_changed_blocks(FirstSnapshotId=second, SecondSnapshotId=first)["ChangedBlocks"]
    assert [one["FirstBlockToken"] for one in back] == [one["SecondBlockToken"] for one in there]
    assert ebs.list_changed_blocks(FirstSnapshotId=second, SecondSnapshotId=second)["ChangedBlocks"] == []


def test_blocks_of_a_grown_volume_are_new(sandbox: Sandbox, volume: str) -> None:
    first = take(sandbox, volume)
    sandbox.client().modify_volume(VolumeId=volume, Size=2)
    sandbox.move_clock(60)
    given = {"FirstSnapshotId": first, "SecondSnapshotId": take(sandbox, volume)}
    there = sandbox.client("ebs").list_changed_blocks(**given)["ChangedBlocks"]
    # The running instance goes on writing to the blocks that both snapshots have.
    grown = [one for one in there if one["BlockIndex"] >= 2048]
    assert [one["BlockIndex"] for one in grown] == list(range(2048, 4096))
    assert not any("FirstBlockToken" in one for one in grown)


def test_line_goes_on_in_a_volume_made_from_a_snapshot(sandbox: Sandbox, volume: str) -> None:
    first, ec2 = take(sandbox, volume, blocks=5), sandbox.client()
    made = str(ec2.create_volume(SnapshotId=first, AvailabilityZone="us-east-1a", VolumeType="gp3")["VolumeId"])
    second = take(sandbox, made, first=50, blocks=2)
    there = sandbox.client("ebs").list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=second)
    assert [one["BlockIndex"] for one in there["ChangedBlocks"]] == [50, 51]
    other = str(sandbox.seed({"volume": {"name": "other", "Size": 1}})["other"])
    given = {"FirstSnapshotId": first, "SecondSnapshotId": take(sandbox, other)}
    refused("ValidationException", sandbox.client("ebs").list_changed_blocks, text="lineage", **given)


def test_page_token_expires_and_belongs_to_its_listing(sandbox: Sandbox, volume: str) -> None:
    snapshot, ebs = take(sandbox, volume, blocks=500), sandbox.client("ebs")
    token = ebs.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=100)["NextToken"]
    again = take(sandbox, volume)
    text = "INVALID_PAGE_TOKEN"
    refused("ValidationException", ebs.list_snapshot_blocks, SnapshotId=again, NextToken=token, text=text)
    sandbox.move_clock(3601)
    refused("ValidationException", ebs.list_snapshot_blocks, SnapshotId=snapshot, NextToken=token, text=text)


def test_snapshot_that_cannot_be_read_is_refused(sandbox: Sandbox, world: World, volume: str) -> None:
    ebs, snapshot = sandbox.client("ebs"), take(sandbox, volume, blocks=5)
    unknown = "snap-0123456789abcdef0"
    refused("ResourceNotFoundException", ebs.list_snapshot_blocks, SnapshotId=unknown)
    stranger = sandbox.client("ebs", account="111122223333")
    refused("ResourceNotFoundException", stranger.list_snapshot_blocks, SnapshotId=snapshot)
    refused("ValidationException", ebs.list_changed_blocks, SecondSnapshotId=snapshot)
    world.config.update({"durations": {"snapshot_pending": 600.0}})
    pending = take(sandbox, volume)
    refused("ValidationException", ebs.list_snapshot_blocks, SnapshotId=pending, text="INVALID_SNAPSHOT_STATE")
    sandbox.client().modify_snapshot_tier(SnapshotId=snapshot, StorageTier="archive")
    sandbox.move_clock(3600)
    refused("ValidationException", ebs.list_snapshot_blocks, SnapshotId=snapshot, text="INVALID_SNAPSHOT_STATE")
    sandbox.refuse("ebs:ListSnapshotBlocks")
    refused("AccessDenied", ebs.list_snapshot_blocks, SnapshotId=snapshot, text="ebs:ListSnapshotBlocks")
