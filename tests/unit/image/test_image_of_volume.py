# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of `ami_bake` for a volume or a snapshot that the task names, with the facts of a base image."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError, UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prediction import overlay
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    Image,
    ImageDevice,
    Instance,
    Resource,
    Snapshot,
    Volume,
    VolumeAttachment,
)

from image_world import AMI, NOW, OLD, OWNER, SNAP, SNAP2, SNAP3, plan, spec, tagged, world

VOLUME, BASE = "vol-00000000000000007", "ami-00000000000000007"
GIVEN: dict[str, Any] = {
    "source_instance_id": None,
    "source_volume_id": VOLUME,
    "base_image_id": BASE,
    "version": "2",
}
LIKE = Image(
    BASE,
    name="web-1",
    owner_id=OWNER,
    architecture="arm64",
    root_device_name="/dev/xvda",
    virtualization_type="hvm",
    boot_mode="uefi",
    ena_support=True,
    sriov_net_support="simple",
    tpm_support="v2.0",
    imds_support="v2.0",
    platform_details="Linux/UNIX",
    block_devices=(
        ImageDevice("/dev/xvda", SNAP, 12, "io2", 1000, None, False, False),
        ImageDevice("/dev/sdf", SNAP2, 20, "gp3", 4000, 250, True, True),
        ImageDevice("/dev/sdg", None, 125, "st1", encrypted=True),
        ImageDevice("/dev/sdb", virtual_name="ephemeral0"),
    ),
)


def volume(*holders: str, status: str = "attached") -> Volume:
    links = tuple(VolumeAttachment(holder, "/dev/sdf", status) for holder in holders)
    return Volume(VOLUME, "in-use" if holders else "available", size=8, snapshot_id=SNAP, attachments=links)


def wanted(**more: Any) -> planner.ImageSpec:
    return spec(**{**GIVEN, **more})


def capture(**more: Any) -> Snapshot:
    values: dict[str, Any] = {"volume_id": VOLUME, "volume_size": 8, "owner_id": OWNER, **more}
    return Snapshot(SNAP3, description=f"web 2 from {BASE}", tags=tagged(wanted(), BASE), **values)


def made(**more: Any) -> Image:
    devices = (ImageDevice("/dev/xvda", SNAP3, 8),)
    values: dict[str, Any] = {"root_device_name": "/dev/xvda", "block_devices": devices, "tags": tagged(wanted(), BASE)}
    return Image(AMI, name="web-2", owner_id=OWNER, **{**values, **more})


def actions(*resources: Resource, **more: Any) -> list[str]:
    return [change.action for change in plan(wanted(**more), *resources).changes]


def test_version_has_every_fact_of_the_base_image() -> None:
    (taken, registered) = plan(wanted(), volume(), LIKE).changes
    assert (taken.action, taken.parameters["VolumeId"]) == ("CreateSnapshot", VOLUME)
    request = dict(registered.parameters)
    for name in ("Name", "Description", "TagSpecifications"):
        request.pop(name)
    assert request.pop("BlockDeviceMappings") == [
        {
            "DeviceName": "/dev/xvda",
            "Ebs": {
                "SnapshotId": taken.resource,
                "VolumeType": "io2",
                "VolumeSize": 12,
                "Iops": 1000,
                "DeleteOnTermination": False,
            },
        },
        {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
        {
            "DeviceName": "/dev/sdf",
            "Ebs": {
                "SnapshotId": SNAP2,
                "VolumeType": "gp3",
                "VolumeSize": 20,
                "Iops": 4000,
                "Throughput": 250,
                "DeleteOnTermination": True,
            },
        },
        {
            "DeviceName": "/dev/sdg",
            "Ebs": {"VolumeType": "st1", "VolumeSize": 125, "DeleteOnTermination": False, "Encrypted": True},
        },
    ]
    assert request == {
        "Architecture": "arm64",
        "VirtualizationType": "hvm",
        "BootMode": "uefi",
        "EnaSupport": True,
        "SriovNetSupport": "simple",
        "TpmSupport": "v2.0",
        "ImdsSupport": "v2.0",
        "RootDeviceName": "/dev/xvda",
    }


def test_options_of_the_task_override_the_base_image() -> None:
    devices = [
        {"device_name": "/dev/xvda", "volume_size": 30, "volume_type": "gp3", "throughput": 300},
        {"device_name": "/dev/sdg", "omitted": True},
    ]
    (_taken, registered) = plan(wanted(imds_support="none", block_devices=devices), volume(), LIKE).changes
    assert "ImdsSupport" not in registered.parameters
    root, *others = registered.parameters["BlockDeviceMappings"]
    assert root["Ebs"]["VolumeSize"] == 30
    assert root["Ebs"]["Throughput"] == 300
    assert [mapping["DeviceName"] for mapping in others] == ["/dev/sdb", "/dev/sdf"]


def test_larger_volume_keeps_its_size() -> None:
    registered = plan(wanted(), replace(volume(), size=16), LIKE).changes[-1]
    assert "VolumeSize" not in registered.parameters["BlockDeviceMappings"][0]["Ebs"]


def test_snapshot_of_the_task_gets_the_facts_of_a_base_image() -> None:
    given = {"source_volume_id": None, "source_snapshot_id": SNAP3}
    snapshot = Snapshot(SNAP3, volume_size=8, owner_id=OWNER)
    foreseen = plan(wanted(**given), snapshot, LIKE)
    (registered,) = foreseen.changes
    assert registered.parameters["Architecture"] == "arm64"
    assert [mapping["DeviceName"] for mapping in registered.parameters["BlockDeviceMappings"]][-1] == "/dev/sdg"
    assert foreseen.warnings == ()


CASES: list[tuple[tuple[Resource, ...], list[str]]] = [
    ((volume(),), ["CreateSnapshot", "RegisterImage"]),
    ((volume(), capture()), ["RegisterImage"]),
    ((volume(), capture(state="pending")), ["RegisterImage"]),
    # The volume is gone.
    ((capture(),), ["RegisterImage"]),
    ((volume(), capture(state="error")), ["DeleteSnapshot", "CreateSnapshot", "RegisterImage"]),
    ((capture(), made()), []),
    ((made(),), []),
    ((volume(), capture(), made(state="failed")), ["DeregisterImage", "RegisterImage"]),
    ((volume(OLD, status="detaching"),), ["CreateSnapshot", "RegisterImage"]),
    ((volume(OLD), Instance(OLD, state="stopped")), ["CreateSnapshot", "RegisterImage"]),
]


@pytest.mark.parametrize(("resources", "steps"), CASES)
def test_run_carries_on_from_each_state(resources: tuple[Resource, ...], steps: list[str]) -> None:
    foreseen = plan(wanted(), LIKE, *resources)
    assert [change.action for change in foreseen.changes] == steps
    after = overlay(world(LIKE, *resources), foreseen.published(), everywhere=True)
    assert planner.plan(wanted(), after, NOW).is_empty


def test_running_instance_is_not_captured_without_consent() -> None:
    there = (volume(OLD), Instance(OLD, state="running"), LIKE)
    with pytest.raises(UnsafePlan, match=f"{VOLUME} is attached to {OLD}, which is running"):
        plan(wanted(), *there)
    assert actions(*there, require_stopped=False) == ["CreateSnapshot", "RegisterImage"]


@pytest.mark.parametrize(
    ("resources", "more", "message"),
    [
        ((), {"base_image_id": None}, "source_volume_id: a volume has no value for architecture, root_device_name"),
        ((), {"base_image_id": "web"}, "base_image_id: 'web' is not an id of EC2"),
        ((), {"source_volume_id": SNAP}, f"source_volume_id: '{SNAP}' is not an id of EC2"),
        ((), {"source_snapshot_id": SNAP}, "source_instance_id: the task needs exactly one of"),
        ((), {"source_volume_id": None, "source_instance_id": OLD}, "base_image_id: an instance or an image has"),
        ((), {"devices": "all"}, "devices: all needs source_instance_id, since a volume is one device"),
        ((), {"method": "image"}, "method: image (CreateImage) needs source_instance_id"),
        ((volume(),), {}, f"base_image_id: {BASE} does not exist in"),
        ((LIKE,), {}, f"source_volume_id: {VOLUME} does not exist in"),
        ((LIKE, replace(volume(), state="creating")), {}, f"source_volume_id: {VOLUME} is still being created"),
        ((volume(), replace(LIKE, platform_details="Windows")), {}, f"base_image_id: {BASE} is billed as Windows"),
        (
            (volume(), LIKE),
            {"block_devices": [{"device_name": "/dev/sdz"}]},
            "block_devices: the image has no device /dev/sdz",
        ),
        (
            (volume(), LIKE),
            {"block_devices": [{"device_name": "/dev/xvda", "omitted": True}]},
            "block_devices: an image needs its root device /dev/xvda",
        ),
        ((volume(), replace(LIKE, name="web-2")), {}, f"image_name: 'web-2' is the name of {BASE}"),
        # A snapshot or an image of another volume, whatever its tags say.
        ((volume(), LIKE, capture(volume_id="vol-00000000000000008")), {}, f"snapshot {SNAP3} already exists as web/2"),
        ((capture(volume_id="vol-00000000000000008"), made()), {}, f"image {AMI} already exists as web/2, but it was"),
    ],
)
def test_bad_source_is_refused_by_name(resources: tuple[Resource, ...], more: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as refused:
        plan(wanted(**more), *resources)
    assert str(refused.value).startswith(message)


def test_image_without_its_fingerprint_counts_with_a_warning() -> None:
    foreseen = plan(wanted(), capture(), made(tags={"ec2ops:image": "web", "ec2ops:version": "2"}))
    assert foreseen.is_empty
    assert "is web/2 of vol-" in foreseen.warnings[0]
