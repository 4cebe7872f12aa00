# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The start of a run: an operator's instances, made by the calls that an operator would make."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sandbox.client import Sandbox

ROOT_DEVICE, DATA_DEVICE = "/dev/xvda", "/dev/sdf"


@dataclass(frozen=True)
class Web:
    """A running instance with a root and a data volume."""

    instance_id: str
    root_volume_id: str
    data_volume_id: str
    image_id: str


def seed_web(sandbox: Sandbox, region: str, name: str = "web", **launch: Any) -> Web:
    """A running instance from an image of its own. ``launch``: more parameters of RunInstances.

    Its data volume stays when it is terminated, as on an important instance.
    """
    ec2 = sandbox.client("ec2", region)
    zone = ec2.describe_availability_zones()["AvailabilityZones"][0]["ZoneName"]
    with at_once(sandbox):
        volume = ec2.create_volume(AvailabilityZone=zone, Size=8, VolumeType="gp3")["VolumeId"]
        snapshot = ec2.create_snapshot(VolumeId=volume, Description="the distribution's image")["SnapshotId"]
        ec2.delete_volume(VolumeId=volume)
        image = ec2.register_image(
            Name=f"distribution-for-{name}",
            Architecture="x86_64",
            VirtualizationType="hvm",
            EnaSupport=True,
            BootMode="uefi-preferred",
            RootDeviceName=ROOT_DEVICE,
            BlockDeviceMappings=[
                {
                    "DeviceName": ROOT_DEVICE,
                    "Ebs": {"SnapshotId": snapshot, "VolumeType": "gp3", "DeleteOnTermination": True},
                }
            ],
        )["ImageId"]
        parameters: dict[str, Any] = {
            "InstanceType": "t3.micro",
            "Placement": {"AvailabilityZone": zone},
            "BlockDeviceMappings": [
                {
                    "DeviceName": DATA_DEVICE,
                    "Ebs": {"VolumeSize": 20, "VolumeType": "gp3", "DeleteOnTermination": False},
                }
            ],
            "TagSpecifications": [{"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": name}]}],
            **launch,
        }
        (instance,) = ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, **parameters)["Instances"]
    found = ec2.describe_instances(InstanceIds=[instance["InstanceId"]])["Reservations"][0]["Instances"][0]
    volumes = {device["DeviceName"]: device["Ebs"]["VolumeId"] for device in found["BlockDeviceMappings"]}
    return Web(found["InstanceId"], volumes[ROOT_DEVICE], volumes[DATA_DEVICE], image)


@contextmanager
def at_once(sandbox: Sandbox) -> Iterator[None]:
    """Inside, new resources are ready when the call has returned."""
    durations = dict(sandbox.configure()["durations"])
    quick = ("volume_", "snapshot_", "image_", "instance_pending", "status_ok")
    sandbox.configure(durations={name: 0.0 for name in durations if name.startswith(quick)})
    try:
        yield
    finally:
        sandbox.configure(durations=durations)
