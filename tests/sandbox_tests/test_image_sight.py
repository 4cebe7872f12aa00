# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The images that an account sees, its own and others', and the fields that a new image inherits. From recorded
answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from domain import make_instant, refused

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World

VENDOR = "999999999999"


@pytest.fixture
def public(world: World, sandbox: Sandbox) -> str:
    """A public image of another account, with tags, that requires IMDSv2."""
    make_instant(world)
    image = {"name": "linux", "public": True, "tags": {"a": "b"}, "facts": {"ImdsSupport": "v2.0"}}
    return str(sandbox.seed({"account": VENDOR, "image": image})["linux"])


def listed(ec2: Any, *filters: tuple[str, str], **more: Any) -> list[dict[str, Any]]:
    asked = [{"Name": name, "Values": [value]} for name, value in filters]
    found: list[dict[str, Any]] = ec2.describe_images(Filters=asked, **more)["Images"]
    return found


def test_tags_are_shown_and_matched_only_to_the_owner(sandbox: Sandbox, public: str) -> None:
    ec2, theirs = sandbox.client(), sandbox.client(account=VENDOR)
    (row,) = listed(ec2, ("image-id", public))
    assert "Tags" not in row or row["Tags"] == []
    assert listed(ec2, ("image-id", public), ("tag:a", "b")) == []
    assert listed(ec2, ("image-id", public), ("tag-key", "a")) == []
    (row,) = listed(theirs, ("tag:a", "b"))
    assert row["Tags"] == [{"Key": "a", "Value": "b"}]


def test_foreign_deprecated_image_is_found_only_by_id(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    rows = [{"name": "old", "public": True, "deprecated": 60}, {"name": "new", "public": True}]
    ids = sandbox.seed({"account": VENDOR, "images": rows})
    ec2, theirs = sandbox.client(), sandbox.client(account=VENDOR)
    assert [row["Name"] for row in listed(ec2, Owners=[VENDOR])] == ["new"]
    assert listed(ec2, ("image-id", ids["old"])) == []
    assert listed(ec2, ("image-id", ids["old"]), IncludeDeprecated=True)
    assert ec2.describe_images(ImageIds=[ids["old"]])["Images"]
    assert {row["Name"] for row in listed(theirs, Owners=["self"])} == {"old", "new"}


def test_create_image_keeps_the_imds_support_of_a_foreign_image(sandbox: Sandbox, public: str) -> None:
    web = sandbox.seed({"instance": {"name": "web", "image": public}})["web"]
    ec2 = sandbox.client()
    made = ec2.create_image(InstanceId=web, Name="web-1", NoReboot=True)["ImageId"]
    (row,) = ec2.describe_images(ImageIds=[made])["Images"]
    assert row["ImdsSupport"] == "v2.0"


def test_ena_brings_simple_sriov_support_which_no_instance_shows(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    snapshot = sandbox.seed({"image": {"name": "base"}})["base/root"]
    ec2 = sandbox.client()
    given: dict[str, Any] = {
        "Architecture": "x86_64",
        "VirtualizationType": "hvm",
        "RootDeviceName": "/dev/xvda",
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}],
    }
    with_ena = ec2.register_image(Name="with-ena", EnaSupport=True, **given)["ImageId"]
    without = ec2.register_image(Name="without", **given)["ImageId"]
    rows = {row["ImageId"]: row for row in ec2.describe_images(ImageIds=[with_ena, without])["Images"]}
    assert rows[with_ena]["SriovNetSupport"] == "simple"
    assert "SriovNetSupport" not in rows[without]
    web = sandbox.seed({"instance": {"name": "web", "image": with_ena}})["web"]
    (group,) = ec2.describe_instances(InstanceIds=[web])["Reservations"]
    assert "SriovNetSupport" not in group["Instances"][0]
    attribute = ec2.describe_instance_attribute(InstanceId=web, Attribute="sriovNetSupport")
    assert attribute["SriovNetSupport"]["Value"] == "simple"


@pytest.mark.parametrize("permission", [{"UserId": "1234"}, {"UserId": " "}, {"Group": "Developers"}])
def test_sharing_with_an_invalid_account_is_refused(world: World, sandbox: Sandbox, permission: dict[str, str]) -> None:
    make_instant(world)
    image = sandbox.seed({"image": {"name": "base"}})["base"]
    refused(
        "InvalidAMIAttributeItemValue",
        sandbox.client(parameter_validation=False).modify_image_attribute,
        ImageId=image,
        LaunchPermission={"Add": [permission]},
    )
