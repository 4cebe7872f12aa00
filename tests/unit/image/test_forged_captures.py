# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`ami_bake` where snapshots of one version get the tags of another: nothing is deleted or registered for that."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.image_versions import source_hash
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import boto3_tags
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake

from in_process import Ended, Machine, machine, run, snapshots
from sandbox.client import Sandbox

SHAPE = hashlib.sha256(json.dumps(["root"], separators=(",", ":")).encode()).hexdigest()[:32]


@dataclass
class Line:
    """A web server, and the versions that are baked of it."""

    sandbox: Sandbox
    web: Machine

    def bake(self, version: str, **more: Any) -> Ended:
        given = {"name": "web", "source_instance_id": self.web.instance_id, "require_stopped": False, **more}
        ended = run(self.sandbox, module=ami_bake, version=version, **given)
        self.sandbox.move_clock(600)
        return ended

    def absent(self, version: str, **more: Any) -> Ended:
        return run(self.sandbox, module=ami_bake, **{"name": "web", **more}, version=version, state="absent")

    def tag(self, names: list[str], version: str, name: str = "web") -> None:
        """Give resources the tags of this version, all of them as the collection writes them."""
        fingerprint = f"{source_hash('instance', self.web.instance_id)}-{SHAPE}"
        tags = {"ec2ops:image": name, "ec2ops:version": version, "ec2ops:fingerprint": fingerprint}
        self.web.ec2.create_tags(Resources=names, Tags=boto3_tags(tags))


@pytest.fixture
def line(sandbox: Sandbox) -> Line:
    found = Line(sandbox, machine(sandbox))
    sandbox.move_clock(60)
    return found


def captured(ended: Ended) -> list[str]:
    assert ended.failed == ""
    return [item["snapshot_id"] for item in ended.result["snapshots"]]


def deregistered(line: Line, version: str, **more: Any) -> list[str]:
    """The snapshots of a version whose image somebody has deregistered to keep its snapshots."""
    ended = line.bake(version, **more)
    names = captured(ended)
    line.web.ec2.deregister_image(ImageId=ended.result["image_id"])
    return names


@pytest.mark.parametrize("method", ["image", "snapshot"])
@pytest.mark.parametrize("earlier", ["image", "snapshot"])
def test_capture_of_another_version_is_neither_deleted_nor_used(line: Line, earlier: str, method: str) -> None:
    shared = {"description": "The web server"}
    kept = deregistered(line, "1", method=earlier, **shared)
    line.tag(kept, "2")
    ended = line.bake("2", method=method, **shared)
    assert not set(captured(ended)) & set(kept)
    assert not {"DeleteSnapshot", "DeregisterImage"} & set(ended.actions)
    assert any(kept[0] in text for text in ended.warnings)
    line.absent("2", **shared)
    assert set(kept) <= set(snapshots(line.sandbox))
    assert not set(captured(ended)) & set(snapshots(line.sandbox))


def test_removed_and_altered_tags_of_an_image_delete_no_snapshot_of_another(line: Line) -> None:
    """No run fails because EC2 refuses to delete the snapshot of a registered image."""
    first = line.bake("1", method="image")
    line.tag(captured(first), "2")
    ended = line.bake("2", method="image")
    assert (ended.failed, ended.actions) == ("", ["CreateImage"])


def test_capture_with_a_description_of_the_task_is_used_by_the_next_run(line: Line) -> None:
    given = {"description": "The web server " * 20}
    first = line.bake("2", state="captured", **given)
    names = captured(first)
    ended = line.bake("2", **given)
    assert (ended.actions, captured(ended)) == (["RegisterImage"], names)
    image = line.web.ec2.describe_images(ImageIds=[ended.result["image_id"]])["Images"][0]
    assert image["Description"] == given["description"][:255]
    assert line.bake("2", **given).actions == []
    assert line.absent("2").actions == ["DeregisterImage", "DeleteSnapshot"]


@pytest.mark.parametrize(
    ("name", "version", "other_name", "other_version"),
    [("web 1", "2", "web", "1 2"), ("web\u00fc", "2", "web\u00f6", "2"), ("w" * 250, "2", "w" * 250, "3")],
    ids=["spaces", "not ascii", "too long"],
)
def test_versions_with_equal_plain_descriptions_are_distinguished(
    line: Line, name: str, version: str, other_name: str, other_version: str
) -> None:
    """Such versions need image names of their own."""
    kept = deregistered(line, version, name=name, image_name="one")
    line.tag(kept, other_version, other_name)
    before = set(snapshots(line.sandbox))
    ended = line.bake(other_version, name=other_name, image_name="other")
    assert ended.actions == ["CreateSnapshot", "RegisterImage"]
    line.absent(other_version, name=other_name, image_name="yet another")
    assert set(snapshots(line.sandbox)) == before


def test_capture_in_an_untagged_image_is_kept(line: Line) -> None:
    first = line.bake("2", image_name="first")
    line.web.ec2.delete_tags(Resources=[first.result["image_id"]], Tags=[{"Key": "ec2ops:image"}])
    ended = line.bake("2", method="image", image_name="second")
    assert (ended.failed, ended.actions) == ("", ["CreateImage"])
    (kept,) = captured(first)
    assert any(kept in text and first.result["image_id"] in text for text in ended.warnings)


def test_image_of_an_earlier_version_of_the_collection_is_removed_without_its_snapshot(line: Line) -> None:
    """Earlier versions gave the snapshot the task's description unchanged.

    A snapshot of the user's may look the same.
    """
    ec2 = line.web.ec2
    text = "The web server"
    snapshot = ec2.create_snapshot(VolumeId=line.web.root_volume_id, Description=text)["SnapshotId"]
    line.sandbox.move_clock(600)
    image = ec2.register_image(
        Name="web-2",
        Description=text,
        Architecture="x86_64",
        VirtualizationType="hvm",
        EnaSupport=True,
        RootDeviceName="/dev/xvda",
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}],
    )["ImageId"]
    line.sandbox.move_clock(600)
    line.tag([image, snapshot], "2")
    assert line.bake("2", description=text).actions == []
    ended = line.absent("2")
    assert ended.actions == ["DeregisterImage"]
    assert any(snapshot in told for told in ended.warnings)
