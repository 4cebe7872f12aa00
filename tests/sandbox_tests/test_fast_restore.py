# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fast snapshot restore: its states, the answers for each pair of snapshot and zone, and its ends."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from domain import LONG, make_slow, refused

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World

ZONES = ["us-east-1a", "us-east-1b"]
OTHER = "111122223333"
USER, BY_ITSELF = "Client.UserInitiated", "Client.UserInitiated - Lifecycle state transition"


@pytest.fixture
def made(world: World, sandbox: Sandbox) -> str:
    """A completed snapshot in a slow world."""
    make_slow(world)
    ids = sandbox.seed({"volume": {"name": "data"}, "snapshots": [{"name": "s", "volume": "data"}]})
    return str(ids["s"])


def rows(ec2: Any, **filters: str) -> list[dict[str, Any]]:
    named = [{"Name": name.replace("_", "-"), "Values": [value]} for name, value in filters.items()]
    return list(ec2.describe_fast_snapshot_restores(Filters=named)["FastSnapshotRestores"])


def states(ec2: Any, **filters: str) -> list[str]:
    return [one["State"] for one in rows(ec2, **filters)]


def test_enabling_and_disabling_take_time(world: World, sandbox: Sandbox, made: str) -> None:
    ec2 = sandbox.client()
    answer = ec2.enable_fast_snapshot_restores(SourceSnapshotIds=[made], AvailabilityZones=ZONES)
    assert answer["Unsuccessful"] == []
    first = answer["Successful"][0]
    assert [one["AvailabilityZone"] for one in answer["Successful"]] == ZONES
    assert (first["SnapshotId"], first["State"], first["StateTransitionReason"], first["OwnerId"]) == (
        made,
        "enabling",
        USER,
        "123456789012",
    )
    assert first["AvailabilityZoneId"].startswith("use1-az")
    assert "OptimizingTime" not in first
    world.clock.move(LONG)
    assert states(ec2) == ["optimizing", "optimizing"]
    world.clock.move(LONG)
    row = rows(ec2)[0]
    assert (row["State"], row["StateTransitionReason"]) == ("enabled", BY_ITSELF)
    assert row["EnabledTime"] - row["EnablingTime"] == timedelta(seconds=2 * LONG)
    answer = ec2.disable_fast_snapshot_restores(SourceSnapshotIds=[made], AvailabilityZones=ZONES[:1])
    assert [(one["State"], one["StateTransitionReason"]) for one in answer["Successful"]] == [("disabling", USER)]
    assert states(ec2) == ["disabling", "enabled"]
    world.clock.move(LONG)
    assert states(ec2) == ["disabled", "enabled"]
    assert rows(ec2, state="disabled")[0]["DisabledTime"] > row["EnabledTime"]
    world.clock.move(3600)
    assert states(ec2) == ["enabled"]


def test_zones_may_be_named_by_id(world: World, sandbox: Sandbox, made: str) -> None:
    ec2 = sandbox.client()
    zones = ec2.describe_availability_zones()["AvailabilityZones"]
    answer = ec2.enable_fast_snapshot_restores(SourceSnapshotIds=[made], AvailabilityZoneIds=[zones[1]["ZoneId"]])
    assert [one["AvailabilityZone"] for one in answer["Successful"]] == [zones[1]["ZoneName"]]


def test_repeated_enable_changes_nothing(world: World, sandbox: Sandbox, made: str) -> None:
    ec2 = sandbox.client()
    ec2.enable_fast_snapshot_restores(SourceSnapshotIds=[made], AvailabilityZones=ZONES[:1])
    world.clock.move(LONG)
    answer = ec2.enable_fast_snapshot_restores(SourceSnapshotIds=[made], AvailabilityZones=ZONES[:1])
    assert [one["State"] for one in answer["Successful"]] == ["optimizing"]
    ec2.disable_fast_snapshot_restores(SourceSnapshotIds=[made], AvailabilityZones=ZONES[:1])
    for call in (ec2.enable_fast_snapshot_restores, ec2.disable_fast_snapshot_restores):
        answer = call(SourceSnapshotIds=[made], AvailabilityZones=ZONES[:1])
        assert answer["Successful"] == []
        assert answer["Unsuccessful"][0]["FastSnapshotRestoreStateErrors"][0]["Error"]["Code"] == "IncorrectState"
    world.clock.move(LONG)
    answer = ec2.enable_fast_snapshot_restores(SourceSnapshotIds=[made], AvailabilityZones=ZONES[:1])
    assert [one["State"] for one in answer["Successful"]] == ["enabling"]


def test_unsuccessful_items_do_not_delay_the_rest(world: World, sandbox: Sandbox, made: str) -> None:
    ids = sandbox.seed(
        {
            "snapshots": [
                {"name": "pending", "volume": "vol-gone", "size": 1, "state": "pending"},
                {"name": "archived", "volume": "vol-gone", "size": 1, "archived": 60},
                {"name": "huge", "volume": "vol-gone", "size": 16385},
            ]
        }
    )
    ec2 = sandbox.client()
    wanted = [ids["pending"], made, ids["archived"], ids["huge"], "snap-0123456789abcdef0"]
    answer = ec2.enable_fast_snapshot_restores(SourceSnapshotIds=wanted, AvailabilityZones=ZONES)
    assert {one["SnapshotId"] for one in answer["Successful"]} == {made}
    found = {
        one["SnapshotId"]: [
            (error["AvailabilityZone"], error["Error"]["Code"]) for error in one["FastSnapshotRestoreStateErrors"]
        ]
        for one in answer["Unsuccessful"]
    }
    assert found == {
        ids["pending"]: [(zone, "IncorrectState") for zone in ZONES],
        ids["archived"]: [(zone, "IncorrectState") for zone in ZONES],
        ids["huge"]: [(zone, "InvalidParameterValue") for zone in ZONES],
        "snap-0123456789abcdef0": [(zone, "InvalidSnapshot.NotFound") for zone in ZONES],
    }


def test_the_limit_counts_pairs(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    found = sandbox.seed({"snapshots": {"count": 11, "name": "all"}})
    ec2 = sandbox.client()
    sandbox.configure(options={"fast_restores": 3})
    answer = ec2.enable_fast_snapshot_restores(SourceSnapshotIds=found["all"][:2], AvailabilityZones=ZONES)
    assert len(answer["Successful"]) == 3
    errors = answer["Unsuccessful"][0]["FastSnapshotRestoreStateErrors"]
    assert [(one["AvailabilityZone"], one["Error"]["Code"]) for one in errors] == [
        ("us-east-1b", "ResourceLimitExceeded")
    ]
    sandbox.configure(options={"fast_restores": 50})
    ec2.enable_fast_snapshot_restores(SourceSnapshotIds=found["all"][:10], AvailabilityZones=ZONES)
    assert len(rows(ec2)) == 20
    text = "Number of values of parameter SourceSnapshotIds must be less than or equal to 10."
    assert (
        refused(
            "InvalidRequest",
            ec2.enable_fast_snapshot_restores,
            SourceSnapshotIds=found["all"],
            AvailabilityZones=ZONES,
        )
        == text
    )


def test_invalid_parameter_refuses_the_whole_call(world: World, sandbox: Sandbox, made: str) -> None:
    ec2 = sandbox.client()
    for call in (ec2.enable_fast_snapshot_restores, ec2.disable_fast_snapshot_restores):
        refused("InvalidParameterValue", call, SourceSnapshotIds=[made], AvailabilityZones=["us-east-1z"])
        refused("InvalidParameterValue", call, SourceSnapshotIds=["vol-1"], AvailabilityZones=ZONES)
        refused("InvalidParameterCombination", call, SourceSnapshotIds=[made])
        refused("DryRunOperation", call, SourceSnapshotIds=[made], AvailabilityZones=ZONES, DryRun=True)
    assert rows(ec2) == []


def test_failed_enabling_is_disabled_with_a_reason(world: World, sandbox: Sandbox, made: str) -> None:
    """ "disabling — A request was made to disable it, or a request to enable it failed." """
    ec2 = sandbox.client()
    with sandbox.fault("EnableFastSnapshotRestores", kind="end"):
        ec2.enable_fast_snapshot_restores(SourceSnapshotIds=[made], AvailabilityZones=ZONES[:1])
    seen = []
    for _turn in range(3):
        seen += states(ec2)
        world.clock.move(LONG)
    assert seen == ["enabling", "disabling", "disabled"]


def test_deleted_snapshot_loses_fast_restore(world: World, sandbox: Sandbox, made: str) -> None:
    ec2 = sandbox.client()
    ec2.enable_fast_snapshot_restores(SourceSnapshotIds=[made], AvailabilityZones=ZONES)
    world.clock.move(2 * LONG)
    ec2.delete_snapshot(SnapshotId=made)
    assert states(ec2) == ["disabling", "disabling"]
    world.clock.move(LONG)
    assert states(ec2) == ["disabled", "disabled"]
    assert rows(ec2)[0]["StateTransitionReason"] == BY_ITSELF


def test_archived_snapshot_loses_fast_restore(world: World, sandbox: Sandbox, made: str) -> None:
    ec2 = sandbox.client()
    ec2.enable_fast_snapshot_restores(SourceSnapshotIds=[made], AvailabilityZones=ZONES[:1])
    world.clock.move(2 * LONG)
    ec2.modify_snapshot_tier(SnapshotId=made, StorageTier="archive")
    assert states(ec2) == ["enabled"]
    world.clock.move(LONG)
    assert states(ec2) == ["disabling"]
    archived = ec2.describe_snapshot_tier_status()["SnapshotTierStatuses"][0]["ArchivalCompleteTime"]
    assert rows(ec2)[0]["DisablingTime"] == archived
    ec2.restore_snapshot_tier(SnapshotId=made, TemporaryRestoreDays=1)
    world.clock.move(LONG)
    ec2.enable_fast_snapshot_restores(SourceSnapshotIds=[made], AvailabilityZones=ZONES[:1])
    world.clock.move(2 * LONG)
    assert states(ec2) == ["enabled"]
    world.clock.move(86400)
    assert states(ec2) == ["disabled"]  # it ended with the restore
    world.clock.move(3600)
    assert states(ec2) == []


def test_shared_snapshot_can_be_enabled_by_its_user(world: World, sandbox: Sandbox, made: str) -> None:
    """The account that enables fast restore has it. The owner ends it by unsharing or deleting."""
    ec2, other = sandbox.client(), sandbox.client(account=OTHER)
    arguments: dict[str, Any] = {"SourceSnapshotIds": [made], "AvailabilityZones": ZONES[:1]}
    assert other.enable_fast_snapshot_restores(**arguments)["Successful"] == []
    ec2.modify_snapshot_attribute(SnapshotId=made, CreateVolumePermission={"Add": [{"UserId": OTHER}]})
    assert [one["OwnerId"] for one in other.enable_fast_snapshot_restores(**arguments)["Successful"]] == [OTHER]
    assert rows(ec2) == []
    assert states(other, owner_id=OTHER) == ["enabling"]
    ec2.modify_snapshot_attribute(SnapshotId=made, CreateVolumePermission={"Remove": [{"UserId": OTHER}]})
    assert states(other) == ["disabling"]


def test_volumes_of_an_enabled_snapshot_are_fast_restored(world: World, sandbox: Sandbox, made: str) -> None:
    ec2 = sandbox.client()
    ec2.enable_fast_snapshot_restores(SourceSnapshotIds=[made], AvailabilityZones=ZONES[:1])
    slow = ec2.create_volume(AvailabilityZone=ZONES[0], SnapshotId=made)["VolumeId"]
    world.clock.move(2 * LONG)
    answer = ec2.create_volume(AvailabilityZone=ZONES[0], SnapshotId=made)
    assert "FastRestored" not in answer
    ec2.create_volume(AvailabilityZone=ZONES[1], SnapshotId=made)
    found = ec2.describe_volumes(Filters=[{"Name": "fast-restored", "Values": ["true"]}])["Volumes"]
    assert [(one["VolumeId"], one["FastRestored"]) for one in found] == [(answer["VolumeId"], True)]
    assert "FastRestored" not in ec2.describe_volumes(VolumeIds=[slow])["Volumes"][0]


def test_fast_restores_are_filtered_and_paged(world: World, sandbox: Sandbox) -> None:
    found = sandbox.seed({"snapshots": {"count": 4, "name": "all", "fast_restore": ZONES}})
    ec2 = sandbox.client()
    pages = list(
        ec2.get_paginator("describe_fast_snapshot_restores").paginate(
            Filters=[{"Name": "state", "Values": ["enabled"]}], PaginationConfig={"PageSize": 3}
        )
    )
    assert [len(page["FastSnapshotRestores"]) for page in pages] == [3, 3, 2]
    listed = {(one["SnapshotId"], one["AvailabilityZone"]) for page in pages for one in page["FastSnapshotRestores"]}
    assert listed == {(one, zone) for one in found["all"] for zone in ZONES}
    assert len(rows(ec2, availability_zone=ZONES[0])) == 4
    assert len(rows(ec2, availability_zone_id=rows(ec2)[0]["AvailabilityZoneId"])) == 4
    assert len(rows(ec2, snapshot_id=found["all"][1])) == 2
    assert rows(ec2, owner_id=OTHER) == rows(ec2, state="disabled") == []
    refused("InvalidParameterValue", ec2.describe_fast_snapshot_restores, MaxResults=201)
    refused("InvalidParameterValue", rows, ec2, tag_key="a")
