# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`ami_bake` on the sandbox: a version that is a copy of an image which the task names."""

from __future__ import annotations

from typing import Any

import pytest

from bake_runs import NEAR, PARTNER, Line, new_line
from in_process import REGION, Killed, KillingGateway
from sandbox.client import Sandbox
from worlds import sandbox_gateway


@pytest.fixture
def line(quick_sandbox: Sandbox) -> Line:
    return new_line(quick_sandbox)


@pytest.fixture
def base(line: Line) -> dict[str, Any]:
    """The options for a copy of an image of another line."""
    image_id = line.bake(name="base").result["image_id"]
    return {"source_instance_id": None, "source_image_id": image_id}


def test_image_is_copied_once_and_encrypted(line: Line, base: dict[str, Any]) -> None:
    key = line.sandbox.client("kms", REGION).create_key()["KeyMetadata"]["Arn"]
    _check, done, *_again = line.steps(**base, kms_key_id=key, tags={"team": "shop"}, imds_support="v2.0")
    assert done.actions == ["CopyImage", "ModifyImageAttribute"]
    image = line.image()
    assert (image["SourceImageId"], image["Name"]) == (base["source_image_id"], "web-1")
    (snapshot,) = line.snapshots()
    assert (snapshot["KmsKeyId"], snapshot["tags"]["team"]) == (key, "shop")
    line.steps(**base, kms_key_id=key, tags={"team": "web"})
    assert line.snapshots()[0]["tags"]["team"] == "web"


def test_copied_version_is_distributed_and_removed(line: Line, base: dict[str, Any]) -> None:
    copies = [{"region": NEAR}]
    line.steps(**base, copies=copies, launch_permissions={"user_ids": [PARTNER], "snapshots": True})
    assert line.image(NEAR)["SourceImageId"] == line.image()["ImageId"]
    assert line.volumes_for(line.snapshots()[0]["SnapshotId"]) == [PARTNER]
    assert line.remove(copies=copies).failed == ""
    assert line.images() == line.snapshots() == line.images(NEAR) == line.snapshots(NEAR) == []
    assert line.ec2().describe_images(ImageIds=[base["source_image_id"]])["Images"] != []


@pytest.mark.parametrize("nth", [1, 2])
def test_interrupted_removal_is_finished(line: Line, base: dict[str, Any], nth: int) -> None:
    line.bake(**base)
    try:
        line.remove(gateway=KillingGateway(sandbox_gateway(line.sandbox, REGION), nth), alone=False)
    except Killed:
        line.sandbox.move_clock(1)
    assert line.remove(alone=False).failed == ""
    assert line.images() == line.snapshots() == []


def test_copy_by_hand_is_still_no_version(line: Line, base: dict[str, Any]) -> None:
    image_id = line.bake(**base).result["image_id"]
    made = line.ec2().copy_image(Name="mine", SourceImageId=image_id, SourceRegion=REGION, CopyImageTags=True)
    line.sandbox.move_clock(60)
    assert line.remove().failed == ""
    assert [row["ImageId"] for row in line.images()] == [made["ImageId"]]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"devices": "all"}, "source_image_id: CopyImage takes devices and hardware of the image as they are"),
        ({"architecture": "arm64"}, "source_image_id: CopyImage takes devices and hardware of the image as they are"),
        ({"source_image_id": "ami-0123456789abcdef0"}, "source_image_id: ami-0123456789abcdef0 does not exist in"),
        ({"kms_key_id": "alias/none"}, "kms_key_id: alias/none is not an enabled KMS key in us-east-1"),
        ({"source_image_id": "web"}, "source_image_id: 'web' is not an id of EC2"),
        ({"source_snapshot_id": "snap-0123456789abcdef0"}, "source_instance_id: the task needs exactly one of"),
    ],
)
def test_bad_source_is_refused_by_name(line: Line, base: dict[str, Any], options: dict[str, Any], message: str) -> None:
    ended = line.bake(**{**base, **options})
    assert ended.failed.startswith(message)
    assert line.images() == []


def test_key_needs_a_source_image(line: Line) -> None:
    assert line.bake(kms_key_id="alias/x").failed.startswith("kms_key_id: only a copy of an image")
