# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts and launches that EC2 accepts and reverts: a key that cannot be used, or a fault on EC2's side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from domain import LONG, make_instant, make_slow

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World


def only(ec2: Any, instance_id: str) -> dict[str, Any]:
    return dict(ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0])


@pytest.fixture
def encrypted(world: World, sandbox: Sandbox) -> tuple[Any, str, str]:
    """EC2, an image with an encrypted root, and the id of its key."""
    make_instant(world)
    ec2, key = sandbox.client(), sandbox.client("kms").create_key()["KeyMetadata"]["KeyId"]
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=8, Encrypted=True, KmsKeyId=key)["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
    image = ec2.register_image(
        Name="web",
        Architecture="x86_64",
        VirtualizationType="hvm",
        EnaSupport=True,
        RootDeviceName="/dev/xvda",
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}],
    )["ImageId"]
    return ec2, image, key


def launch(ec2: Any, image: str) -> str:
    return str(
        ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    )


def test_start_with_a_disabled_key_falls_back_to_stopped(
    world: World, sandbox: Sandbox, encrypted: tuple[Any, str, str]
) -> None:
    ec2, image, key = encrypted
    instance = launch(ec2, image)
    ec2.stop_instances(InstanceIds=[instance])
    sandbox.client("kms").disable_key(KeyId=key)
    make_slow(world)
    before = only(ec2, instance)["LaunchTime"]
    world.clock.move(5)
    (change,) = ec2.start_instances(InstanceIds=[instance])["StartingInstances"]
    assert change["CurrentState"]["Name"] == "pending"
    assert only(ec2, instance)["State"]["Name"] == "pending"
    world.clock.move(LONG)
    row = only(ec2, instance)
    assert row["State"]["Name"] == "stopped"
    assert row["StateReason"] == {
        "Code": "Client.InternalError",
        "Message": "Client.InternalError: Client error on launch",
    }
    assert row["LaunchTime"] > before
    assert "PublicIpAddress" not in row

    sandbox.client("kms").enable_key(KeyId=key)
    ec2.start_instances(InstanceIds=[instance])
    world.clock.move(LONG)
    assert only(ec2, instance)["State"]["Name"] == "running"


def test_launch_with_a_disabled_key_is_terminated(sandbox: Sandbox, encrypted: tuple[Any, str, str]) -> None:
    ec2, image, key = encrypted
    sandbox.client("kms").disable_key(KeyId=key)
    row = only(ec2, launch(ec2, image))
    assert (row["State"]["Name"], row["StateReason"]["Code"]) == ("terminated", "Client.InternalError")


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("Server.InsufficientInstanceCapacity", "Server.InsufficientInstanceCapacity"),
        ("InternalError", "Server.InternalError"),
    ],
)
def test_start_ends_as_the_fault_says(sandbox: Sandbox, world: World, code: str, shown: str) -> None:
    make_instant(world)
    ec2, web = sandbox.client(), sandbox.seed({"instance": {"name": "web"}})["web"]
    ec2.stop_instances(InstanceIds=[web])
    sandbox.add_fault("StartInstances", kind="end", code=code, message="no luck", occurrence=1)
    ec2.start_instances(InstanceIds=[web])
    row = only(ec2, web)
    assert (row["State"]["Name"], row["StateReason"]["Code"]) == ("stopped", shown)
    ec2.start_instances(InstanceIds=[web])
    assert only(ec2, web)["State"]["Name"] == "running"
