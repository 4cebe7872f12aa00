# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Forged tags on images and snapshots: `ami_bake` trusts the facts that EC2 recorded at their creation."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.image_versions import source_hash
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image.planner import FEATURE
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan, guard
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Image, ImageDevice, Snapshot
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query, State
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import boto3_tags
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake

from asking import answered
from image_world import AMI, NOW, OLD, OWNER, REGION, SNAP, spec, tagged
from in_process import Ended, Machine, machine, run, snapshots
from sandbox.client import Sandbox


@dataclass
class Scene:
    """A web server, and a database whose image and snapshots carry the tags of the web server's second version."""

    sandbox: Sandbox
    web: Machine
    database: Machine

    def bake(self, **more: Any) -> Ended:
        given = {"name": "web", "version": "2", "source_instance_id": self.web.instance_id, **more}
        return run(self.sandbox, module=ami_bake, **{"require_stopped": False, **given})

    def absent(self, **more: Any) -> Ended:
        return run(self.sandbox, module=ami_bake, **{"name": "web", "version": "2", **more}, state="absent")

    def identity(self, source: str = "") -> list[dict[str, str]]:
        """The tags of an image or snapshot of version 2, as the collection writes them."""
        shape = hashlib.sha256(json.dumps(["root"], separators=(",", ":")).encode()).hexdigest()[:32]
        fingerprint = f"{source_hash('instance', source or self.web.instance_id)}-{shape}"
        return boto3_tags({"ec2ops:image": "web", "ec2ops:version": "2", "ec2ops:fingerprint": fingerprint})

    def tag(self, *resources: str) -> None:
        self.web.ec2.create_tags(Resources=list(resources), Tags=self.identity())

    def image(self, name: str, volume_id: str = "") -> tuple[str, str]:
        """An image that somebody registers from a snapshot of the database, and that snapshot."""
        ec2 = self.web.ec2
        snapshot = ec2.create_snapshot(VolumeId=volume_id or self.database.root_volume_id)["SnapshotId"]
        self.sandbox.move_clock(600)
        device = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot}}
        made = ec2.register_image(
            Name=name,
            Architecture="x86_64",
            VirtualizationType="hvm",
            EnaSupport=True,
            RootDeviceName="/dev/xvda",
            BlockDeviceMappings=[device],
        )["ImageId"]
        self.sandbox.move_clock(60)
        return made, snapshot

    def images(self) -> list[str]:
        return [item["ImageId"] for item in self.web.ec2.describe_images(Owners=["self"])["Images"]]


@pytest.fixture
def scene(sandbox: Sandbox) -> Scene:
    made = Scene(sandbox, machine(sandbox), machine(sandbox, "db"))
    sandbox.move_clock(60)
    return made


@pytest.mark.parametrize("own_volume", [False, True])
def test_image_of_another_source_does_not_pass_for_the_version(scene: Scene, own_volume: bool) -> None:
    """Nor does an image that has the source's own volume from another time."""
    forged, snapshot = scene.image("database", scene.web.root_volume_id if own_volume else "")
    scene.tag(forged, snapshot)
    ended = scene.bake()
    assert not ended.failed
    assert ended.actions == ["CreateSnapshot", "RegisterImage"]
    assert ended.result["image_id"] != forged
    (warning,) = (text for text in ended.warnings if forged in text)
    assert "Remove their tags" in warning
    assert scene.bake().actions == []
    assert snapshot in snapshots(scene.sandbox)


def test_image_with_the_name_of_the_version_must_be_of_the_source(scene: Scene) -> None:
    forged, snapshot = scene.image("web-2")
    scene.tag(forged, snapshot)
    ended = scene.bake()
    for words in (forged, snapshot, scene.database.root_volume_id, "not a volume of"):
        assert words in ended.failed
    assert ended.actions == []


def test_snapshot_of_another_source_is_neither_used_nor_deleted(scene: Scene) -> None:
    ec2 = scene.web.ec2
    strangers = [
        ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        for volume in (scene.database.root_volume_id, scene.web.root_volume_id)
    ]
    scene.sandbox.move_clock(600)
    scene.tag(*strangers)
    ended = scene.bake()
    assert not ended.failed
    assert ended.actions == ["CreateSnapshot", "RegisterImage"]
    assert not {item["snapshot_id"] for item in ended.result["snapshots"]} & set(strangers)
    assert set(strangers) <= set(snapshots(scene.sandbox))
    assert all(any(name in text for text in ended.warnings) for name in strangers)


def test_removal_keeps_snapshots_of_other_versions(scene: Scene) -> None:
    forged, snapshot = scene.image("database")
    other = scene.web.ec2.create_snapshot(VolumeId=scene.web.root_volume_id)["SnapshotId"]
    scene.sandbox.move_clock(600)
    scene.tag(forged, snapshot, other)
    ended = scene.absent()
    assert not ended.failed
    assert ended.actions == []
    assert forged in scene.images()
    assert {snapshot, other} <= set(snapshots(scene.sandbox))

    own = scene.bake().result
    ended = scene.absent()
    assert ended.actions == ["DeregisterImage", "DeleteSnapshot"]
    assert [entry["resource"] for entry in ended.result["plan"]] == [
        own["image_id"],
        own["snapshots"][0]["snapshot_id"],
    ]


def test_removal_leaves_a_source_snapshot_that_carries_the_tags(scene: Scene) -> None:
    source = scene.web.ec2.create_snapshot(VolumeId=scene.web.root_volume_id, Description="golden")["SnapshotId"]
    scene.sandbox.move_clock(600)
    hardware = {"architecture": "x86_64", "root_device_name": "/dev/xvda", "ena_support": True}
    run(scene.sandbox, module=ami_bake, name="web", version="2", source_snapshot_id=source, **hardware)
    scene.tag(source)
    assert scene.absent().actions == ["DeregisterImage"]
    assert source in snapshots(scene.sandbox)


def test_own_image_with_other_options_is_removed_by_its_description(scene: Scene) -> None:
    """The name of the image may have been changed in the task since."""
    made = scene.bake(image_name="webserver {version}").result["image_id"]
    assert scene.bake().result["image_id"] == made
    assert scene.absent().actions == ["DeregisterImage", "DeleteSnapshot"]


def test_custom_description_is_removed_with_its_image(scene: Scene) -> None:
    scene.bake(description="The web server")
    assert scene.absent().actions == ["DeregisterImage", "DeleteSnapshot"]


def test_version_of_a_source_that_is_gone_is_found_by_its_name(scene: Scene) -> None:
    made = scene.bake().result["image_id"]
    scene.web.ec2.terminate_instances(InstanceIds=[scene.web.instance_id])
    scene.sandbox.move_clock(2 * 3600)
    ended = scene.bake()
    assert (ended.actions, ended.result["image_id"]) == ([], made)


def test_removed_tags_lose_nothing(scene: Scene) -> None:
    made = scene.bake().result
    names = [made["image_id"], made["snapshots"][0]["snapshot_id"]]
    scene.web.ec2.delete_tags(Resources=names, Tags=[{"Key": tag["Key"]} for tag in scene.identity()])
    assert scene.absent().actions == []
    assert names[0] in scene.images()
    assert names[1] in snapshots(scene.sandbox)


@pytest.mark.parametrize("keys", [["version"], ["image"], ["image", "version", "fingerprint"]], ids=",".join)
@pytest.mark.parametrize("given", [{}, {"description": "The web server"}, {"method": "image"}], ids=str)
def test_image_that_lost_its_tags_gets_them_back(scene: Scene, given: dict[str, Any], keys: list[str]) -> None:
    """The image's name, and its description or that of its snapshots, show its version."""
    made = scene.bake(**given).result["image_id"]
    scene.web.ec2.delete_tags(Resources=[made], Tags=[{"Key": f"ec2ops:{key}"} for key in keys])
    ended = scene.bake(**given)
    assert (ended.failed, ended.actions, ended.result["image_id"]) == ("", ["CreateTags"], made)
    assert any(made in text and "The task restores them" in text for text in ended.warnings)
    ended = scene.bake(**given)
    assert (ended.failed, ended.actions) == ("", [])
    assert bool(ended.warnings) is ("fingerprint" in keys)


def test_strangers_image_with_the_name_of_the_version_gets_no_tags(scene: Scene) -> None:
    scene.image("web-2", scene.web.root_volume_id)
    ended = scene.bake()
    assert "is the name of" in ended.failed
    assert ended.actions == []


@pytest.mark.parametrize("value", [None, "?", f"{'0' * 32}-{'0' * 32}"], ids=["removed", "altered", "of another"])
@pytest.mark.parametrize("state", ["captured", "available"])
def test_altered_fingerprint_ends_no_run(scene: Scene, state: str, value: str | None) -> None:
    made = scene.bake(state=state).result
    names = [item["snapshot_id"] for item in made["snapshots"]] + ([made["image_id"]] if made["image_id"] else [])
    scene.sandbox.move_clock(600)
    if value is None:
        scene.web.ec2.delete_tags(Resources=names, Tags=[{"Key": "ec2ops:fingerprint"}])
    else:
        scene.web.ec2.create_tags(Resources=names, Tags=boto3_tags({"ec2ops:fingerprint": value}))
    ended = scene.bake()
    assert ended.failed == ""
    assert ended.actions == ([] if state == "available" else ["RegisterImage"])
    assert any("ec2ops:fingerprint" in text and names[-1] in text for text in ended.warnings)
    (remedy,) = {
        word.strip(".") for text in ended.warnings for word in text.split() if word.startswith("ec2ops:fingerprint=")
    }
    scene.web.ec2.create_tags(
        Resources=[*names, ended.result["image_id"]],
        Tags=boto3_tags(dict([remedy.split("=")])),
    )
    assert scene.bake().warnings == []


def test_image_of_another_source_without_a_fingerprint_is_refused(scene: Scene) -> None:
    made = scene.bake(source_instance_id=scene.database.instance_id).result["image_id"]
    scene.web.ec2.delete_tags(Resources=[made], Tags=[{"Key": "ec2ops:fingerprint"}])
    ended = scene.bake()
    assert "from another source" in ended.failed
    assert ended.actions == []


def test_capture_without_a_fingerprint_is_not_deleted(scene: Scene) -> None:
    """The capture may be of other devices."""
    made = scene.bake(state="captured").result["snapshots"][0]["snapshot_id"]
    scene.sandbox.move_clock(600)
    scene.web.ec2.delete_tags(Resources=[made], Tags=[{"Key": "ec2ops:fingerprint"}])
    ended = scene.bake(method="image")
    assert (ended.failed, ended.actions) == ("", ["CreateImage"])
    assert made in snapshots(scene.sandbox)


# --- images of other versions -----------------------------------------------------------------------------------------


def parts_of(made: Ended) -> list[str]:
    return [item["snapshot_id"] for item in made.result["snapshots"]]


@pytest.mark.parametrize("method", ["snapshot", "image"])
@pytest.mark.parametrize(
    ("made_as", "claimed"),
    [
        ({"name": "web-1", "version": "2"}, {"name": "web", "version": "1-2"}),
        ({"version": "2", "image_name": "web-live"}, {"version": "1", "image_name": "web-live"}),
    ],
    ids=["names that read alike", "one name for all versions"],
)
def test_image_whose_description_is_of_another_version_is_not_deregistered(
    scene: Scene, made_as: dict[str, str], claimed: dict[str, str], method: str
) -> None:
    made = scene.bake(**made_as, method=method)
    image = str(made.result["image_id"])
    wanted = {"name": "web", **claimed}
    tags = {"ec2ops:image": wanted["name"], "ec2ops:version": wanted["version"]}
    scene.web.ec2.create_tags(Resources=[image, *parts_of(made)], Tags=boto3_tags(tags))
    ended = scene.absent(**claimed)
    assert (ended.failed, ended.actions) == ("", [])
    assert any(image in text for text in ended.warnings)
    refused = scene.bake(**claimed)
    assert (image in refused.failed, refused.actions) == (True, [])


@pytest.mark.parametrize("name", ["web", "the web server"])
def test_task_description_in_the_form_of_the_collection_keeps_the_version(scene: Scene, name: str) -> None:
    """The snapshots say for which version they were taken."""
    made = scene.bake(name=name, description=f"golden server from {scene.web.instance_id}")
    assert scene.bake(name=name, description="Another one").result["image_id"] == made.result["image_id"]
    assert scene.absent(name=name).actions == ["DeregisterImage", "DeleteSnapshot"]


def test_users_snapshot_with_the_description_of_its_image_is_not_deleted(scene: Scene) -> None:
    text = "golden root"
    given = scene.web.ec2.create_snapshot(VolumeId=scene.web.root_volume_id, Description=text)["SnapshotId"]
    scene.sandbox.move_clock(600)
    hardware = {"architecture": "x86_64", "root_device_name": "/dev/xvda", "ena_support": True}
    source = {"source_instance_id": None, "source_snapshot_id": given}
    assert scene.bake(**source, description=text, **hardware).failed == ""
    scene.tag(given)
    ended = scene.absent()
    assert ended.actions == ["DeregisterImage"]
    assert given in snapshots(scene.sandbox)
    assert any(given in told for told in ended.warnings)


# --- copied images ----------------------------------------------------------------------------------------------------


def absent_plan(image: Image, part: Snapshot) -> Plan:
    """The plan of ``state: absent`` where EC2 shows this image of version 1, made of one snapshot."""
    wanted = spec(state="absent", source_instance_id=None)

    def answer(query: Query) -> list[Any]:
        if query.operation == "DescribeImages":
            return [image]
        by_id = any(name == "snapshot-id" for name, _values in query.filters)
        return [part] if query.operation == "DescribeSnapshots" and by_id else []

    state, _queries = answered(FEATURE, wanted, answer, State(REGION), NOW)
    return guard(FEATURE.plan(wanted, state, NOW))


@pytest.mark.parametrize(
    ("source", "actions"), [(OLD, []), (SNAP, ["DeregisterImage"])], ids=["an instance", "the snapshot"]
)
@pytest.mark.parametrize("recorded", [None, SNAP])
def test_description_distinguishes_an_image_of_a_copied_snapshot_from_a_copied_image(
    recorded: str | None, source: str, actions: list[str]
) -> None:
    """EC2 shows no source of an image that was copied some years ago."""
    tags = tagged(spec())
    if recorded:
        tags["ec2ops:fingerprint"] = source_hash("snapshot", recorded)
    image = Image(
        AMI,
        owner_id=OWNER,
        name="web-1",
        tags=tags,
        state="available",
        root_device_name="/dev/xvda",
        block_devices=(ImageDevice("/dev/xvda", SNAP),),
        facts={"Description": f"web 1 from {source}"},
    )
    part = Snapshot(SNAP, "completed", "vol-ffffffff", description="Copied for DestinationAmi", owner_id=OWNER)
    plan = absent_plan(image, part)
    assert [change.action for change in plan.changes] == actions
    assert bool(actions) or any(AMI in text for text in plan.warnings)
