# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Predecessors, successors and images in memory for `instance_relaunch`, and the plans for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._domain.hold import Hold, hold_of
from ansible_collections.ec2ops.storage.plugins.module_utils._features.relaunch import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import INSTANCE_TYPE
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import planned
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Plan, guard
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Image,
    ImageDevice,
    Instance,
    Resource,
    Volume,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import State

from proven import launched, stopped_at

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
REGION = "eu-central-1"
OLD, NEW, OLDEST = "i-00000000000000001", "i-00000000000000002", "i-00000000000000003"
ROOT, DATA = "vol-00000000000000001", "vol-00000000000000002"
BASE, AMI, AMI2 = "ami-00000000000000001", "ami-00000000000000002", "ami-00000000000000003"
TAG, REPLACES, TRIAL = "ec2ops:restore-state", "ec2ops:replaces", "ec2ops:trial"
HELD = Hold(NOW - timedelta(minutes=10), NOW + timedelta(minutes=20)).value
OTHER = planned("instance", f"in place of {OLD}")
DEFAULTS: dict[str, Any] = {
    "instance_id": OLD,
    "image_id": AMI,
    "overrides": None,
    "data_volumes": "keep",
    "elastic_ip": "keep",
    "target_groups": "keep",
    "health": None,
    "old_instance": "stop",
    "on_failure": "rollback",
    "lose_instance_store": False,
    "lose_writes": True,
    "follow_successor": True,
    "stage": "all",
    "wait_timeout": 1800,
}


def spec(**options: Any) -> planner.RelaunchSpec:
    return planner.parse({**DEFAULTS, **options}, REGION)


INTERFACE: dict[str, Any] = {
    "SubnetId": "subnet-1",
    "Groups": [{"GroupId": "sg-2", "GroupName": "b"}, {"GroupId": "sg-1", "GroupName": "a"}],
    "SourceDestCheck": True,
    "InterfaceType": "interface",
    "Attachment": {"DeleteOnTermination": True, "NetworkCardIndex": 0, "DeviceIndex": 0},
    "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.0.7", "Primary": True}],
}
FACTS: dict[str, Any] = {
    "InstanceType": "m5.large",
    "Architecture": "arm64",
    "RootDeviceType": "ebs",
    "SourceDestCheck": True,
    "NetworkInterfaces": [INTERFACE],
    "CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 2},
    "Monitoring": {"State": "disabled"},
}


def instance(instance_id: str = OLD, **fields: Any) -> Instance:
    facts = {**FACTS, **fields.pop("facts", {})}
    if fields.get("state") == "stopped":
        hold = hold_of(Instance(instance_id, tags=fields.get("tags", {})))
        launch_time = fields.get("launch_time", NOW - timedelta(days=1))
        moment = max(hold.since, launch_time) if hold else NOW - timedelta(minutes=9)
        facts = {**stopped_at(moment), **facts}
    values: dict[str, Any] = {
        "state": "running",
        "image_id": BASE,
        "instance_type": "m5.large",
        "availability_zone": "eu-central-1a",
        "launch_time": NOW - timedelta(days=1),
        "root_device_name": "/dev/xvda",
        "block_devices": (BlockDevice("/dev/xvda", ROOT, True), BlockDevice("/dev/sdf", DATA, False)),
        "tags": {"Name": "web"},
        **fields,
    }
    return Instance(instance_id, facts=facts, **values)


def plain(**fields: Any) -> Instance:
    """The predecessor, without attachments."""
    return instance(**{"block_devices": (BlockDevice("/dev/xvda", ROOT, True),), **fields})


def successor(
    instance_id: str = NEW, replaces: str = OLD, minutes: float = 5, trial: str | None = None, **fields: Any
) -> Instance:
    """A successor that was launched so many minutes ago. *trial*: its record, none for a finished replacement."""
    born = NOW - timedelta(minutes=minutes)
    facts = {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"AttachTime": born, "VolumeId": "vol-9"}}]}
    tags = {"Name": "web", REPLACES: replaces, **({} if trial is None else {TRIAL: trial})}
    return launched(
        instance(instance_id, **{"image_id": AMI, "launch_time": born, "tags": tags, "facts": facts, **fields})
    )


IMAGE = Image(
    AMI,
    "web-1",
    architecture="arm64",
    root_device_name="/dev/xvda",
    platform_details="Linux/UNIX",
    block_devices=(ImageDevice("/dev/xvda", "snap-00000000000000001", 8, "gp3", encrypted=False),),
)
M5 = {
    "InstanceStorageSupported": False,
    "VCpuInfo": {"DefaultCores": 1, "DefaultThreadsPerCore": 2},
    "ProcessorInfo": {"SupportedArchitectures": ["arm64"]},
    "NetworkInfo": {"NetworkCards": [{"DefaultEnaQueueCountPerInterface": 8}]},
}
M5_FACT = INSTANCE_TYPE.fact("m5.large", M5)
VOLUMES = (Volume(ROOT, size=8, tags={"team": "shop", "ec2ops:spec": "x", "aws:note": "x"}), Volume(DATA, size=100))


def world(*resources: Resource, image: Image | None = IMAGE) -> State:
    known = (*VOLUMES, M5_FACT, *((image,) if image is not None else ()), *resources)
    return State(REGION, {resource.resource_id: resource for resource in known})


def plan(wanted: planner.RelaunchSpec, *resources: Resource, image: Image | None = IMAGE) -> Plan:
    return guard(planner.plan(wanted, world(*resources, image=image), NOW))


def launch(wanted: planner.RelaunchSpec, *resources: Resource, image: Image = IMAGE) -> Change:
    (change,) = (change for change in plan(wanted, *resources, image=image).changes if change.action == "RunInstances")
    return change


def actions(made: Plan) -> list[str]:
    return [f"{change.action} {'new' if change.resource == OTHER else change.resource[-1]}" for change in made.changes]
