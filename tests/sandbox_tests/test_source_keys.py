# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes of the account's own encrypted snapshots, whose key cannot be used any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from domain import LONG, make_instant, make_slow, refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.client import Sandbox
    from sandbox.engine import World

ZONE = "us-east-1a"


def disable(kms: Any, key: dict[str, Any]) -> None:
    kms.disable_key(KeyId=key["Arn"])


def delete(kms: Any, key: dict[str, Any]) -> None:
    kms.schedule_key_deletion(KeyId=key["Arn"], PendingWindowInDays=7)


@pytest.mark.parametrize("spoil", [disable, delete])
@pytest.mark.parametrize("another_key", [False, True])
def test_volume_of_a_snapshot_whose_key_is_unusable_vanishes(
    world: World, sandbox: Sandbox, spoil: Callable[[Any, dict[str, Any]], None], another_key: bool
) -> None:
    make_instant(world)
    ec2, kms = sandbox.client(), sandbox.client("kms")
    key, other = (kms.create_key()["KeyMetadata"] for _number in range(2))
    source = ec2.create_volume(AvailabilityZone=ZONE, Size=1, Encrypted=True, KmsKeyId=key["Arn"])["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=source)["SnapshotId"]
    spoil(kms, key)
    make_slow(world)
    given = {"Encrypted": True, "KmsKeyId": other["Arn"]} if another_key else {}
    made = ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot, **given)
    assert made["State"] == "creating"
    assert ec2.describe_volumes(VolumeIds=[made["VolumeId"]])["Volumes"]
    world.clock.move(LONG)
    refused("InvalidVolume.NotFound", ec2.describe_volumes, VolumeIds=[made["VolumeId"]])


def test_volume_of_a_snapshot_whose_key_is_enabled_again_is_made(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ec2, kms = sandbox.client(), sandbox.client("kms")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    source = ec2.create_volume(AvailabilityZone=ZONE, Size=1, Encrypted=True, KmsKeyId=key)["VolumeId"]
    snapshot = ec2.create_snapshot(VolumeId=source)["SnapshotId"]
    kms.disable_key(KeyId=key)
    kms.enable_key(KeyId=key)
    made = ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot)["VolumeId"]
    (row,) = ec2.describe_volumes(VolumeIds=[made])["Volumes"]
    assert (row["State"], row["KmsKeyId"]) == ("available", key)


def test_key_is_named_by_its_arn_or_its_id(sandbox: Sandbox) -> None:
    kms = sandbox.client("kms")
    key = kms.create_key()["KeyMetadata"]
    for name, state in (
        ("disable_key", "Disabled"),
        ("enable_key", "Enabled"),
        ("schedule_key_deletion", "PendingDeletion"),
        ("cancel_key_deletion", "Disabled"),
    ):
        for given in (key["Arn"], key["KeyId"]):
            getattr(kms, name)(KeyId=given)
            assert kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"] == state
