# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`image_workbench` and `ami_bake` on the sandbox: from an image to its next version, also after each interruption."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, image_workbench

from in_process import REGION, ZONE, Ended, Killed, KillingGateway, machine, run, volumes
from sandbox.client import Sandbox, living
from worlds import new_day, sandbox_gateway

OWN_WRITE, DEVELOPED = "written before the image", "developed"
LAUNCH = {"instance_type": "t3.micro", "availability_zone": ZONE}
CARRIED = (
    *("Architecture", "BootMode", "EnaSupport", "ImdsSupport", "RootDeviceName", "SriovNetSupport", "TpmSupport"),
    "VirtualizationType",
)


class Line:
    """Version 1 of the image ``web``, with a data device, and the steps to version 2."""

    def __init__(self, sandbox: Sandbox) -> None:
        quick = dict.fromkeys(("snapshot_pending", "instance_pending", "instance_stopping", "volume_attaching"), 0.5)
        self.sandbox = new_day(sandbox, **quick)
        self.web = machine(sandbox, data=1)
        sandbox.add_mark(self.web.root_volume_id, OWN_WRITE)
        first = self._bake("1", source_instance_id=self.web.instance_id, devices="all", require_stopped=False)
        self.base = str(first.result["image_id"])
        # EC2 shows these of an image, and the successor must have them too.
        self.rich = self._register_like(self.base)
        self.instances_before = self.instances()
        self.volumes_before = set(volumes(sandbox))

    @property
    def ec2(self) -> Any:
        return self.sandbox.client("ec2", REGION)

    def _bake(self, version: str, **given: Any) -> Ended:
        return run(self.sandbox, module=ami_bake, alone=False, name="web", version=version, **given)

    def _register_like(self, image_id: str) -> str:
        """An image with the snapshots of *image_id*, and facts that no other of its images has."""
        shown = self.image(image_id)
        mappings = [
            {**device, "Ebs": {key: value for key, value in device["Ebs"].items() if key != "Encrypted"}}
            for device in shown["BlockDeviceMappings"]
        ]
        mappings[0]["Ebs"] |= {"VolumeSize": mappings[0]["Ebs"]["VolumeSize"] + 4, "DeleteOnTermination": False}
        return str(
            self.ec2.register_image(
                Name="rich",
                Architecture="x86_64",
                VirtualizationType="hvm",
                EnaSupport=True,
                BootMode="uefi",
                TpmSupport="v2.0",
                ImdsSupport="v2.0",
                RootDeviceName=shown["RootDeviceName"],
                BlockDeviceMappings=mappings,
            )["ImageId"]
        )

    def workbench(self, state: str = "present", **given: Any) -> Ended:
        options = {"source_image_id": self.base, "launch": LAUNCH, **given}
        return run(self.sandbox, module=image_workbench, name="web", version="2", state=state, **options)

    def bake(self, volume_id: str, **given: Any) -> Ended:
        options = {"source_volume_id": volume_id, "base_image_id": self.base, **given}
        return run(self.sandbox, module=ami_bake, name="web", version="2", **options)

    def develop(self, **given: Any) -> list[Ended]:
        """One run of the flow, as the playbook makes it, with a write of the user in its middle."""
        alone, gateway = given.pop("alone", True), given.pop("gateway", None)
        common = {"alone": alone, "gateway": gateway}
        opened = self.workbench(**given, **common)
        if opened.failed:
            raise AssertionError(opened.failed)
        volume_id = opened.result["volume_id"]
        if opened.result["phase"] == "open":
            self.sandbox.add_mark(volume_id, DEVELOPED)
        base = given.get("source_image_id", self.base)
        rest = [
            self.workbench("detached", **given, **common),
            self.bake(volume_id, base_image_id=base, **common),
            self.workbench("absent", **given, **common),
        ]
        return [opened, *rest]

    def image(self, image_id: str) -> dict[str, Any]:
        return dict(self.ec2.describe_images(ImageIds=[image_id])["Images"][0])

    def versions(self) -> list[dict[str, Any]]:
        """The images of version 2."""
        filters = [{"Name": "tag:ec2ops:version", "Values": ["2"]}]
        return list(self.ec2.describe_images(Owners=["self"], Filters=filters)["Images"])

    def captures(self) -> list[str]:
        filters = [{"Name": "tag:ec2ops:version", "Values": ["2"]}]
        found = self.ec2.describe_snapshots(OwnerIds=["self"], Filters=filters)["Snapshots"]
        return [row["SnapshotId"] for row in found]

    def instances(self) -> set[str]:
        """The living instances."""
        return {*living(self.ec2)}

    def assert_developed(self) -> None:
        """One image with one snapshot of its own, which has the user's write, and no workbench."""
        (image,) = self.versions()
        (capture,) = self.captures()
        root = image["RootDeviceName"]
        texts = [mark["text"] for mark in self.sandbox.marks(image["ImageId"])["devices"][root]]
        assert OWN_WRITE in texts
        assert DEVELOPED in texts
        mappings = {device["DeviceName"]: device["Ebs"]["SnapshotId"] for device in image["BlockDeviceMappings"]}
        assert mappings.pop(root) == capture
        base = {one["DeviceName"]: one["Ebs"]["SnapshotId"] for one in self.image(self.base)["BlockDeviceMappings"]}
        assert mappings == {name: found for name, found in base.items() if name != root}
        assert self.instances() == self.instances_before
        assert set(volumes(self.sandbox)) == self.volumes_before


@pytest.fixture
def line(quick_sandbox: Sandbox) -> Line:
    return Line(quick_sandbox)


def test_version_is_developed_on_a_launched_workbench_and_not_again(line: Line) -> None:
    check = line.workbench(check=True)
    opened, detached, baked, removed = line.develop()
    assert check.result["plan"] == opened.result["plan"]
    assert [one.failed for one in (detached, baked, removed)] == [""] * 3
    assert opened.actions == ["RunInstances", "CreateVolume", "AttachVolume"]
    assert detached.actions == ["StopInstances", "DetachVolume", "TerminateInstances"]
    assert (baked.actions, removed.actions) == (["CreateSnapshot", "RegisterImage"], ["DeleteVolume"])
    line.assert_developed()
    for again in line.develop():
        assert (again.failed, again.actions, again.warnings) == ("", [], [])
        assert again.result["changed"] is False


def test_new_version_has_the_facts_of_the_first_image(line: Line) -> None:
    line.develop(source_image_id=line.rich)
    (image,), rich = line.versions(), line.image(line.rich)
    assert {name: image.get(name) for name in CARRIED} == {name: rich.get(name) for name in CARRIED}
    assert [_shape(image), image["PlatformDetails"]] == [_shape(rich), rich["PlatformDetails"]]


def _shape(image: dict[str, Any]) -> dict[str, Any]:
    """The devices of an image, without the snapshot of its root."""
    root = image["RootDeviceName"]
    return {
        device["DeviceName"]: {
            key: value for key, value in device["Ebs"].items() if key != "SnapshotId" or device["DeviceName"] != root
        }
        for device in image["BlockDeviceMappings"]
    }


def test_version_is_developed_on_an_instance_that_the_user_names(line: Line) -> None:
    given = {"instance_id": line.web.instance_id, "launch": None}
    opened, detached, baked, removed = line.develop(**given)
    assert (opened.actions, detached.actions) == (["CreateVolume", "AttachVolume"], ["DetachVolume"])
    assert (baked.failed, removed.actions) == ("", ["DeleteVolume"])
    line.assert_developed()
    assert line.web.state == "running"


def test_mounted_volume_is_named_and_the_next_run_carries_on(line: Line) -> None:
    given = {"instance_id": line.web.instance_id, "launch": None}
    volume_id = line.workbench(**given).result["volume_id"]
    line.sandbox.add_mark(volume_id, DEVELOPED)
    line.sandbox.add_fault("DetachVolume", kind="end", occurrence=1)
    failed = line.workbench("detached", wait_timeout=60, **given)
    assert f"{volume_id} should become detached from {line.web.instance_id}" in failed.failed
    assert "Unmount it there" in failed.failed
    # The user unmounts it.
    line.sandbox.clear_faults()
    line.sandbox.move_clock(86400)
    assert [one.failed for one in line.develop(**given)] == [""] * 4
    line.assert_developed()


@pytest.mark.parametrize("nth", range(1, 10))
def test_killed_run_is_finished_by_the_next(line: Line, nth: int) -> None:
    """The process ends right after EC2 has carried out its nth call."""
    with pytest.raises(Killed):
        line.develop(alone=False, gateway=KillingGateway(sandbox_gateway(line.sandbox, REGION), nth))
    line.sandbox.move_clock(1)
    assert [one.failed for one in line.develop(alone=False)] == [""] * 4
    line.assert_developed()
    assert line.sandbox.counts()["CreateSnapshot"] == 1
    assert [one.actions for one in line.develop()] == [[]] * 4


def test_volume_whose_content_is_in_no_image_is_deleted_only_on_request(line: Line) -> None:
    opened = line.workbench()
    refused = line.workbench("absent")
    assert refused.failed.startswith(
        f"state: no available image of web/2 has the content of {opened.result['volume_id']}"
    )
    removed = line.workbench("absent", discard=True)
    assert removed.actions == ["TerminateInstances", "DeleteVolume"]
    assert (line.instances(), set(volumes(line.sandbox))) == (line.instances_before, line.volumes_before)
    assert line.workbench("absent", discard=True).actions == []


def test_forged_tags_end_no_run_and_delete_nothing(line: Line) -> None:
    """The tags of the workbench on the root volume of an instance that was launched from the image, and on it."""
    with_tags = line.ec2.run_instances(ImageId=line.base, InstanceType="t3.micro", MinCount=1, MaxCount=1)
    other = with_tags["Instances"][0]["InstanceId"]
    line.sandbox.move_clock(60)
    (root,) = [
        volume_id
        for volume_id, row in volumes(line.sandbox).items()
        if any(link["InstanceId"] == other and link["Device"] == "/dev/xvda" for link in row["Attachments"])
    ]
    tags = {"ec2ops:image": "web", "ec2ops:version": "2", "ec2ops:workbench": line.base}
    line.ec2.create_tags(Resources=[other, root], Tags=[{"Key": key, "Value": tags[key]} for key in tags])
    line.instances_before, line.volumes_before = line.instances(), set(volumes(line.sandbox))
    opened, *rest = line.develop()
    assert [one.failed for one in rest] == [""] * 3
    assert f"these resources have the tags of the workbench of web/2: {other}, {root}." in opened.warnings[0]
    line.assert_developed()


def test_running_volume_is_not_captured(line: Line) -> None:
    volume_id = line.workbench().result["volume_id"]
    refused = line.bake(volume_id)
    assert f"{volume_id} is attached to" in refused.failed
    assert "Unmount and detach it, or set require_stopped: false." in refused.failed
    taken = line.bake(volume_id, require_stopped=False)
    assert taken.failed == ""


def test_removed_version_leaves_no_snapshot_and_keeps_the_first(line: Line) -> None:
    line.develop()
    removed = run(line.sandbox, module=ami_bake, name="web", version="2", state="absent")
    assert (removed.failed, removed.actions) == ("", ["DeregisterImage", "DeleteSnapshot"])
    assert line.captures() == []
    assert line.image(line.base)["State"] == "available"
