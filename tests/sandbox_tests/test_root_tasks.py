# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks that replace the root volume of an instance (EC2 API reference and user guide)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from domain import LONG, make_slow, refused, texts

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World


class Web:
    """A running instance with a data volume, and an image of its root at the moment of a mark."""

    def __init__(self, sandbox: Sandbox, **image: Any) -> None:
        self.sandbox, self.ec2 = sandbox, sandbox.client()
        names = sandbox.seed({"instance": {"name": "web", "data_volumes": 1}})
        self.id, self.root = names["web"], names["web/root"]
        sandbox.add_mark(self.root, "baked")
        snapshot = self.ec2.create_snapshot(VolumeId=self.root)["SnapshotId"]
        sandbox.move_clock(2 * LONG)
        sandbox.add_mark(self.root, "later")
        self.snapshot = snapshot
        self.image = self.ec2.register_image(
            Name="web-2",
            RootDeviceName=self.row["RootDeviceName"],
            BlockDeviceMappings=[{"DeviceName": self.row["RootDeviceName"], "Ebs": {"SnapshotId": snapshot}}],
            **{"Architecture": self.row["Architecture"], "VirtualizationType": "hvm", "EnaSupport": True, **image},
        )["ImageId"]
        sandbox.move_clock(2 * LONG)

    @property
    def row(self) -> dict[str, Any]:
        return dict(self.ec2.describe_instances(InstanceIds=[self.id])["Reservations"][0]["Instances"][0])

    @property
    def devices(self) -> dict[str, str]:
        return {one["DeviceName"]: one["Ebs"]["VolumeId"] for one in self.row["BlockDeviceMappings"]}

    @property
    def new_root(self) -> str:
        return self.devices[self.row["RootDeviceName"]]

    def replace(self, **more: Any) -> dict[str, Any]:
        given = {"ImageId": self.image, **more}
        answer = self.ec2.create_replace_root_volume_task(
            InstanceId=self.id, **{name: value for name, value in given.items() if value is not None}
        )
        return dict(answer["ReplaceRootVolumeTask"])

    def task(self) -> dict[str, Any]:
        found = self.ec2.describe_replace_root_volume_tasks(Filters=[{"Name": "instance-id", "Values": [self.id]}])
        return dict(found["ReplaceRootVolumeTasks"][-1])

    def state(self, volume_id: str) -> str:
        found = self.ec2.describe_volumes(Filters=[{"Name": "volume-id", "Values": [volume_id]}])["Volumes"]
        return str(found[0]["State"]) if found else "gone"


@pytest.fixture
def web(sandbox: Sandbox, world: World) -> Web:
    make_slow(world)
    return Web(sandbox)


def test_root_is_exchanged_and_the_rest_of_the_instance_stays(sandbox: Sandbox, web: Web) -> None:
    before, devices = web.row, web.devices
    task = web.replace(
        TagSpecifications=[{"ResourceType": "replace-root-volume-task", "Tags": [{"Key": "a", "Value": "b"}]}]
    )
    assert (task["TaskState"], web.new_root) == ("pending", web.root)
    sandbox.move_clock(LONG)
    assert (web.task()["TaskState"], web.row["State"]["Name"]) == ("in-progress", "running")
    sandbox.move_clock(LONG)
    done, after = web.task(), web.row
    assert (done["TaskState"], done["ImageId"], done["Tags"]) == ("succeeded", web.image, [{"Key": "a", "Value": "b"}])
    assert (web.state(web.root), web.new_root == web.root) == ("available", False)
    assert {name: one for name, one in web.devices.items() if one in devices.values()} == {
        name: one for name, one in devices.items() if one != web.root
    }
    for name in ("PrivateIpAddress", "LaunchTime", "NetworkInterfaces", "State"):
        assert after[name] == before[name]
    assert (before["ImageId"] == web.image, after["ImageId"]) == (False, web.image)
    (new,) = web.ec2.describe_volumes(VolumeIds=[web.new_root])["Volumes"]
    assert (new["SnapshotId"], new["Tags"]) == (web.snapshot, [])
    marks = texts(sandbox.marks(web.new_root)["marks"])
    assert ("baked" in marks, "later" in marks, "later" in texts(sandbox.marks(web.root)["marks"])) == (
        True,
        False,
        True,
    )


def test_image_of_the_launch_may_be_kept(sandbox: Sandbox, web: Web) -> None:
    sandbox.configure(options={"root_task_image": "kept"})
    before = web.row["ImageId"]
    web.replace()
    sandbox.move_clock(2 * LONG)
    assert (web.task()["TaskState"], web.row["ImageId"]) == ("succeeded", before)


def test_old_root_is_deleted_on_request(sandbox: Sandbox, web: Web) -> None:
    web.replace(DeleteReplacedRootVolume=True)
    sandbox.move_clock(4 * LONG)
    assert (web.task()["DeleteReplacedRootVolume"], web.state(web.root)) == (True, "gone")


@pytest.mark.parametrize(
    ("code", "state", "root"), [("x", "failed", True), ("failed-detached", "failed-detached", False)]
)
def test_failure_keeps_the_old_root_or_leaves_none(
    sandbox: Sandbox, web: Web, code: str, state: str, root: bool
) -> None:
    sandbox.add_fault("CreateReplaceRootVolumeTask", kind="end", code=code)
    web.replace()
    sandbox.move_clock(LONG)
    assert web.task()["TaskState"] == "failing"
    sandbox.move_clock(LONG)
    assert web.task()["TaskState"] == state
    assert (web.root in web.devices.values(), web.state(web.root)) == (root, "in-use" if root else "available")


def test_repeated_call_with_its_token_begins_no_second_task(sandbox: Sandbox, web: Web) -> None:
    first = web.replace(ClientToken="t")["ReplaceRootVolumeTaskId"]
    assert web.replace(ClientToken="t")["ReplaceRootVolumeTaskId"] == first
    refused("IdempotentParameterMismatch", web.replace, ClientToken="t", DeleteReplacedRootVolume=True)
    refused("IncorrectState", web.replace, text=first)
    sandbox.move_clock(2 * LONG)
    assert web.replace(ClientToken="t")["TaskState"] == "succeeded"
    assert web.replace()["ReplaceRootVolumeTaskId"] != first


def test_old_root_returns_as_a_volume_or_from_its_snapshot(sandbox: Sandbox, web: Web) -> None:
    web.replace()
    sandbox.move_clock(2 * LONG)
    web.replace(ImageId=None, VolumeId=web.root, DeleteReplacedRootVolume=True)
    sandbox.move_clock(2 * LONG)
    assert (web.new_root, web.task().get("ImageId")) == (web.root, None)
    later = web.ec2.create_snapshot(VolumeId=web.root)["SnapshotId"]
    sandbox.move_clock(2 * LONG)
    web.replace(ImageId=None, SnapshotId=later)
    sandbox.move_clock(2 * LONG)
    assert web.task()["SnapshotId"] == later
    assert "later" in texts(sandbox.marks(web.new_root)["marks"])


def test_invalid_root_volume_task_is_refused(sandbox: Sandbox, web: Web) -> None:
    other = web.ec2.create_volume(AvailabilityZone="us-east-1b", Size=8)["VolumeId"]
    foreign = web.ec2.create_snapshot(VolumeId=next(one for one in web.devices.values() if one != web.root))
    sandbox.move_clock(2 * LONG)
    refused("InvalidVolume.ZoneMismatch", web.replace, ImageId=None, VolumeId=other)
    refused("IncorrectState", web.replace, ImageId=None, VolumeId=web.root)
    refused("InvalidParameterValue", web.replace, ImageId=None, SnapshotId=foreign["SnapshotId"])
    refused("InvalidParameterCombination", web.replace, VolumeId=web.root)
    refused("InvalidAMIID.NotFound", web.replace, ImageId="ami-00000000000000bad")
    refused("DryRunOperation", web.replace, DryRun=True)
    arm = web.ec2.register_image(
        Name="arm",
        Architecture="arm64",
        VirtualizationType="hvm",
        RootDeviceName="/dev/xvda",
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": web.snapshot}}],
    )["ImageId"]
    sandbox.move_clock(2 * LONG)
    refused("InvalidParameterValue", web.replace, ImageId=arm, text="architecture")
    web.ec2.stop_instances(InstanceIds=[web.id])
    sandbox.move_clock(2 * LONG)
    refused("IncorrectInstanceState", web.replace)
