# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A version that exists, as an image or a capture: tags converge, other options are named, the source may be gone.

On the sandbox, through the real gateway.
"""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake

from in_process import REGION, Ended, Machine, machine, run
from sandbox.client import Sandbox

VENDOR = "999999999999"


class Line:
    """The image line ``web`` of one instance."""

    def __init__(self, sandbox: Sandbox, **row: Any) -> None:
        self.sandbox = sandbox
        self.web: Machine = machine(sandbox, **row)
        self.ec2 = sandbox.client("ec2", REGION)

    def bake(self, **more: Any) -> Ended:
        given = {"name": "web", "version": "1", "source_instance_id": self.web.instance_id, "require_stopped": False}
        return run(self.sandbox, module=ami_bake, **{**given, **more})

    def from_snapshot(self, **more: Any) -> Ended:
        snapshot = self.ec2.create_snapshot(VolumeId=self.web.root_volume_id)["SnapshotId"]
        self.ec2.get_waiter("snapshot_completed").wait(
            SnapshotIds=[snapshot], WaiterConfig={"Delay": 0.1, "MaxAttempts": 200}
        )
        given = {"architecture": "x86_64", "root_device_name": "/dev/xvda", "ena_support": True}
        return run(
            self.sandbox, module=ami_bake, name="base", version="1", source_snapshot_id=snapshot, **{**given, **more}
        )

    def image(self, image_id: str) -> dict[str, Any]:
        (row,) = self.ec2.describe_images(ImageIds=[image_id])["Images"]
        return dict(row)

    def tags(self, resource_id: str) -> dict[str, str]:
        found = self.ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [resource_id]}])["Tags"]
        return {tag["Key"]: tag["Value"] for tag in found if not tag["Key"].startswith("ec2ops:")}

    def lose_source(self, *, forgotten: bool = True) -> None:
        """Terminate the instance; *forgotten*: so long ago that EC2 does not list it any more."""
        self.ec2.terminate_instances(InstanceIds=[self.web.instance_id])
        self.sandbox.move_clock(3 * 3600 if forgotten else 60)


@pytest.fixture
def line(sandbox: Sandbox) -> Line:
    return Line(sandbox)


# --- text -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["name", "version"])
@pytest.mark.parametrize("value", [2026.1, 7, True, ["1"], {"a": 1}], ids=repr)
def test_value_other_than_text_is_refused(line: Line, option: str, value: Any) -> None:
    refused = line.bake(**{option: value})
    assert refused.failed.startswith(f"{option}: {value!r} is not text")
    assert "Quote it" in refused.failed


# --- tags -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["snapshot", "image"])
def test_tags_of_an_image_and_its_snapshots_converge(line: Line, method: str) -> None:
    made = line.bake(method=method, tags={"team": "shop"})
    image_id = made.result["image_id"]
    (snapshot_id,) = [item["snapshot_id"] for item in made.result["snapshots"]]
    line.ec2.create_tags(Resources=[image_id], Tags=[{"Key": "by-hand", "Value": "x"}])
    wanted = {"team": "web", "cost": "1"}
    check = line.bake(method=method, tags=wanted, check=True)
    assert [(entry["action"], entry["resource"]) for entry in check.result["plan"]] == [
        ("CreateTags", image_id),
        ("CreateTags", snapshot_id),
    ]
    changed = line.bake(method=method, tags=wanted)
    assert changed.result["plan"] == check.result["plan"]
    assert line.tags(image_id) == {**wanted, "by-hand": "x"}
    assert line.tags(snapshot_id) == wanted
    assert line.bake(method=method, tags=wanted).actions == []


def test_tags_of_a_capture_converge_before_it_is_registered(line: Line) -> None:
    captured = line.bake(state="captured", tags={"team": "shop"})
    (snapshot_id,) = [item["snapshot_id"] for item in captured.result["snapshots"]]
    made = line.bake(tags={"team": "web"})
    assert made.actions == ["CreateTags", "RegisterImage"]
    assert line.tags(snapshot_id) == line.tags(made.result["image_id"]) == {"team": "web"}
    assert line.bake(tags={"team": "web"}).actions == []


def test_the_tags_of_a_source_snapshot_are_left_alone(line: Line) -> None:
    made = line.from_snapshot(tags={"team": "shop"})
    (snapshot,) = made.result["snapshots"]
    assert line.tags(snapshot["snapshot_id"]) == {}


def test_run_without_changes_reads_snapshots_once(line: Line) -> None:
    """The snapshots prove the volumes of the image."""
    line.bake()
    line.sandbox.reset_log()
    line.bake()
    assert line.sandbox.counts()["DescribeSnapshots"] == 1


# --- options of an image that exists ----------------------------------------------------------------------------------


def test_options_that_an_existing_image_does_not_have_are_named(line: Line) -> None:
    line.bake(boot_mode="uefi")
    same = line.bake(boot_mode="uefi", imds_support="none", sriov_net_support="none", ena_support=True)
    assert same.warnings == []
    other = line.bake(
        boot_mode="legacy-bios", imds_support="v2.0", architecture="x86_64", image_name="golden-{version}"
    )
    # EC2 can turn IMDSv2 on later.
    assert (other.failed, other.actions) == ("", ["ModifyImageAttribute"])
    (warning,) = other.warnings
    for named in ("image_name (the image has 'web-1')", "boot_mode (the image has 'uefi')"):
        assert named in warning
    assert "architecture" not in warning
    assert "imds_support" not in warning


def test_create_image_takes_other_sizes_and_types(line: Line) -> None:
    device = {"device_name": "/dev/xvda", "volume_size": 20, "volume_type": "io2", "iops": 500}
    made = line.bake(method="image", block_devices=[device])
    (mapping,) = line.image(made.result["image_id"])["BlockDeviceMappings"]
    ebs = mapping["Ebs"]
    assert (ebs["VolumeSize"], ebs["VolumeType"], ebs["Iops"]) == (20, "io2", 500)
    assert line.bake(method="image", block_devices=[device]).actions == []


def test_create_image_does_not_take_hardware(line: Line) -> None:
    assert "boot_mode" in line.bake(method="image", boot_mode="uefi").failed


# --- platforms --------------------------------------------------------------------------------------------------------


def test_image_of_a_snapshot_without_platform_warns(line: Line) -> None:
    unsaid = line.from_snapshot()
    assert any("Linux/UNIX" in warning and "platform_details" in warning for warning in unsaid.warnings)


def test_an_image_of_another_platform_than_expected_is_deregistered(line: Line) -> None:
    wrong = line.from_snapshot(platform_details="Red Hat Enterprise Linux")
    assert "platform_details" in wrong.failed
    filters = [{"Name": "name", "Values": ["base-1"]}]
    assert line.ec2.describe_images(Owners=["self"], Filters=filters)["Images"] == []
    right = line.from_snapshot(platform_details="Linux/UNIX")
    assert (right.failed, right.warnings) == ("", [])


def test_an_expected_platform_that_the_instance_does_not_have_is_refused(line: Line) -> None:
    assert "billed as Linux/UNIX" in line.bake(platform_details="Windows").failed


# --- the image of the source ------------------------------------------------------------------------------------------


def test_a_deprecated_public_image_is_not_gone(sandbox: Sandbox) -> None:
    vendor = {"name": "linux", "public": True, "deprecated": 3600, "facts": {"ImdsSupport": "v2.0"}}
    public = sandbox.seed({"account": VENDOR, "image": vendor})["linux"]
    line = Line(sandbox, image=public)
    made = line.bake()
    assert (made.failed, made.warnings) == ("", [])
    assert line.image(made.result["image_id"])["ImdsSupport"] == "v2.0"


@pytest.mark.parametrize("tokens", ["required", "optional"])
def test_metadata_options_stand_for_an_image_that_is_gone(sandbox: Sandbox, tokens: str) -> None:
    own = sandbox.seed({"image": {"name": "old"}})["old"]
    line = Line(sandbox, image=own, options={"MetadataOptions": {"HttpTokens": tokens}})
    line.ec2.deregister_image(ImageId=own)
    made = line.bake()
    expected = "v2.0" if tokens == "required" else None
    assert made.failed == ""
    assert line.image(made.result["image_id"]).get("ImdsSupport") == expected
    (note,) = made.warnings
    assert f"imds_support: {expected or 'none'}" in note and own in note


# --- a source that is gone --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("forgotten", [True, False])
def test_an_image_outlives_its_source(line: Line, forgotten: bool) -> None:
    made = line.bake()
    line.lose_source(forgotten=forgotten)
    again = line.bake()
    assert (again.failed, again.actions, again.result["image_id"]) == ("", [], made.result["image_id"])


@pytest.mark.parametrize("forgotten", [True, False])
def test_a_capture_outlives_its_source(sandbox: Sandbox, forgotten: bool) -> None:
    line = Line(sandbox, data=1, image=sandbox.seed({"image": {"name": "m", "facts": {"BootMode": "uefi"}}})["m"])
    captured = line.bake(state="captured", devices="all")
    snapshots = {item["snapshot_id"] for item in captured.result["snapshots"]}
    line.lose_source(forgotten=forgotten)
    assert line.bake(state="captured", devices="all").actions == []
    check = line.bake(devices="all", check=True)
    made = line.bake(devices="all")
    assert (made.failed, made.actions) == ("", ["RegisterImage"])
    assert made.result["plan"] == check.result["plan"]
    (note,) = made.warnings
    assert line.web.instance_id in note
    assert all(snapshot in note for snapshot in snapshots)
    image = line.image(made.result["image_id"])
    assert (image["BootMode"], image["Architecture"], image["EnaSupport"]) == ("uefi", "x86_64", True)
    devices = {item["DeviceName"]: item["Ebs"] for item in image["BlockDeviceMappings"]}
    assert {ebs["SnapshotId"] for ebs in devices.values()} == snapshots
    assert {name: ebs["DeleteOnTermination"] for name, ebs in devices.items()} == {"/dev/xvda": True, "/dev/sdf": False}
    held = {name: line.sandbox.marks(ebs["SnapshotId"])["marks"][0]["text"] for name, ebs in devices.items()}
    assert held["/dev/xvda"] != held["/dev/sdf"]
    assert line.bake(devices="all").actions == []


def test_capture_without_machine_facts_asks_for_them(line: Line) -> None:
    captured = line.bake(state="captured")
    (snapshot,) = [item["snapshot_id"] for item in captured.result["snapshots"]]
    line.ec2.delete_tags(Resources=[snapshot], Tags=[{"Key": "ec2ops:machine"}])
    line.lose_source()
    asked = line.bake()
    for named in (line.web.instance_id, snapshot, "architecture", "root_device_name", "ena_support"):
        assert named in asked.failed
    made = line.bake(architecture="x86_64", root_device_name="/dev/xvda", ena_support=True)
    assert (made.failed, made.actions) == ("", ["RegisterImage"])
