# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads are late: new resources and changes of state show a moment after the call that made them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from domain import make_instant, refused

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World

ZONE = "us-east-1a"
LAG = 100.0


@pytest.fixture
def late(world: World, sandbox: Sandbox) -> Any:
    """An ordinary client, whose reads are late by a lag that ends in no test by itself."""
    make_instant(world)
    world.config.update({"read_lag": LAG})
    return sandbox.client(late=True)


def state(client: Any, instance_id: str) -> str:
    return str(client.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0]["State"]["Name"])


def test_reads_are_late_unless_set_otherwise(world: World) -> None:
    assert 0.1 <= world.config.read_lag <= 0.5


def test_new_resource_shows_after_the_lag(world: World, sandbox: Sandbox, late: Any) -> None:
    volume = late.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    snapshot = late.create_snapshot(VolumeId=volume)["SnapshotId"]
    assert late.describe_volumes()["Volumes"] == []
    assert late.describe_snapshots(OwnerIds=["self"])["Snapshots"] == []
    refused("InvalidVolume.NotFound", late.describe_volumes, VolumeIds=[volume])
    refused("InvalidSnapshot.NotFound", late.describe_snapshots, SnapshotIds=[snapshot])
    world.clock.move(LAG)
    assert [one["VolumeId"] for one in late.describe_volumes()["Volumes"]] == [volume]
    assert [one["SnapshotId"] for one in late.describe_snapshots(OwnerIds=["self"])["Snapshots"]] == [snapshot]


def test_change_is_possible_before_the_resource_shows(world: World, sandbox: Sandbox, late: Any) -> None:
    volume = late.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    late.create_tags(Resources=[volume], Tags=[{"Key": "a", "Value": "b"}])
    late.delete_volume(VolumeId=volume)


def test_change_of_power_shows_after_the_lag(world: World, sandbox: Sandbox, late: Any) -> None:
    """Recorded: DescribeInstances can still say running a second after TerminateInstances has answered."""
    web = sandbox.seed({"instance": {"name": "web"}})["web"]
    assert late.stop_instances(InstanceIds=[web])["StoppingInstances"][0]["PreviousState"]["Name"] == "running"
    assert state(late, web) == "running"
    world.clock.move(LAG)
    assert state(late, web) == "stopped"
    late.terminate_instances(InstanceIds=[web])
    found = late.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["stopped"]}])
    assert [one["InstanceId"] for group in found["Reservations"] for one in group["Instances"]] == [web]


def test_attachment_shows_after_the_lag(world: World, sandbox: Sandbox, late: Any) -> None:
    ids = sandbox.seed({"instance": {"name": "web"}, "volume": {"name": "data"}})
    late.attach_volume(InstanceId=ids["web"], VolumeId=ids["data"], Device="/dev/sdf")
    (row,) = late.describe_volumes(VolumeIds=[ids["data"]])["Volumes"]
    assert (row["State"], row["Attachments"]) == ("available", [])
    world.clock.move(LAG)
    (row,) = late.describe_volumes(VolumeIds=[ids["data"]])["Volumes"]
    assert (row["State"], row["Attachments"][0]["State"]) == ("in-use", "attached")


def test_the_tests_own_changes_show_at_once(world: World, sandbox: Sandbox, late: Any) -> None:
    seeded = sandbox.seed({"volume": {"name": "data"}})["data"]
    made = sandbox.client().create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    assert [one["VolumeId"] for one in late.describe_volumes()["Volumes"]] == [seeded, made]


def test_the_tests_own_reads_are_not_late(world: World, sandbox: Sandbox, late: Any) -> None:
    volume = late.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    assert [one["VolumeId"] for one in sandbox.client().describe_volumes()["Volumes"]] == [volume]


def test_moved_clock_ends_the_lag(world: World, sandbox: Sandbox, late: Any) -> None:
    """Otherwise a state that ends with the move would show later than the test expects."""
    volume = late.create_volume(AvailabilityZone=ZONE, Size=1)["VolumeId"]
    sandbox.move_clock(1)
    assert [one["VolumeId"] for one in late.describe_volumes()["Volumes"]] == [volume]
