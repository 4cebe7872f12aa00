# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`instance_relaunch` on the EC2 in memory: a service with every part that can move, and runs that are killed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._engine import runner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import (
    CLASSIC_LOAD_BALANCERS,
    INSTANCE_TYPE,
    TARGET_GROUPS,
    TARGETS,
    ClassicLoadBalancer,
    Target,
    TargetGroup,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    Image,
    ImageDevice,
    Instance,
    Snapshot,
    Volume,
    VolumeAttachment,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.service_facts import (
    ADDRESS,
    INTERFACE,
    Address,
    Interface,
)
from ansible_collections.ec2ops.storage.plugins.modules import instance_relaunch

from fake_ec2 import FakeEc2
from fake_records import START
from in_process import Ended, Killed, KillingGateway, _Shell, options

OLD, ROOT, DATA = "i-00000000000000001", "vol-00000000000000001", "vol-00000000000000002"
BASE, AMI, ROOT_SNAP, DATA_SNAP = "ami-00000000000000001", "ami-00000000000000002", "snap-1", "snap-2"
PRIMARY, EXTRA = "eni-00000000000000001", "eni-00000000000000002"
FIRST, SECOND = "eipalloc-00000000000000001", "eipalloc-00000000000000002"
ZONE, PATH = "us-east-1a", "/dev/xvda"
GROUPS = {"instance": "arn:aws:elasticloadbalancing:x:1:targetgroup/web/1", "ip": "arn:aws:elasticloadbalancing:x:1:ip"}
TYPE = {
    "InstanceStorageSupported": False,
    "VCpuInfo": {"DefaultCores": 1, "DefaultThreadsPerCore": 2},
    "ProcessorInfo": {"SupportedArchitectures": ["x86_64"]},
    "NetworkInfo": {"MaximumNetworkInterfaces": 3},
}
FACTS = {
    "Architecture": "x86_64",
    "RootDeviceType": "ebs",
    "SourceDestCheck": False,
    "VpcId": "vpc-1",
    "BlockDeviceMappings": [],
}


def _image(image_id: str, root: str, **fields: Any) -> Image:
    devices = (ImageDevice(PATH, root, 8, "gp3"), ImageDevice("/dev/sdf", DATA_SNAP, 20, "gp3"))
    return Image(
        image_id, image_id, architecture="x86_64", root_device_name=PATH, platform_details="Linux/UNIX",
        usage_operation="RunInstances", block_devices=devices, creation_date="2026-11-23T11:00:00.000Z", **fields,
    )  # fmt: skip


def _snapshot(snapshot_id: str, volume_id: str) -> Snapshot:
    moment = START - timedelta(hours=1)
    return Snapshot(snapshot_id, volume_id=volume_id, volume_size=8, start_time=moment, owner_id="1")


def _interface(interface_id: str, index: int, *addresses: str) -> Any:
    one = Interface(
        interface_id, ZONE, "interface", False, addresses, OLD, f"eni-attach-{index}", index, "attached", True
    )
    return INTERFACE.fact(interface_id, one)


def service() -> FakeEc2:
    """A predecessor with a data volume, a second interface, two Elastic IPs, targets, and its source check off."""
    link = {"delete_on_termination": True}
    volumes = (
        Volume(ROOT, size=8, availability_zone=ZONE, attachments=(VolumeAttachment(OLD, PATH, **link),)),
        Volume(DATA, size=20, availability_zone=ZONE, attachments=(VolumeAttachment(OLD, "/dev/sdf", **link),)),
    )
    old = Instance(
        OLD, image_id=BASE, instance_type="m5.large", launch_time=START - timedelta(days=2), availability_zone=ZONE,
        root_device_name=PATH, tags={"Name": "web"}, facts=FACTS,
    )  # fmt: skip
    found = FakeEc2(
        old,
        *volumes,
        _image(BASE, "snap-0"),
        _image(AMI, ROOT_SNAP),
        *(_snapshot(name, of) for name, of in ((ROOT_SNAP, ROOT), (DATA_SNAP, DATA), ("snap-0", "vol-gone"))),
        INSTANCE_TYPE.fact("m5.large", TYPE),
        _interface(PRIMARY, 0, "10.0.0.7"),
        _interface(EXTRA, 1, "10.0.0.17"),
        ADDRESS.fact(FIRST, Address(FIRST, "203.0.113.7", OLD, PRIMARY)),
        ADDRESS.fact(SECOND, Address(SECOND, "203.0.113.8", OLD, EXTRA)),
        TARGET_GROUPS.fact(tuple(TargetGroup(arn, kind, kind, "vpc-1") for kind, arn in GROUPS.items())),
        TARGETS.fact(GROUPS["instance"], (Target(OLD, "", 80, "healthy"),)),
        TARGETS.fact(GROUPS["ip"], (Target("10.0.0.7", "", 81, "healthy"), Target("10.0.0.17", "", 81, "healthy"))),
        CLASSIC_LOAD_BALANCERS.fact((ClassicLoadBalancer("shop", (OLD,)),)),
    )
    found.written[DATA] = (1, 2, 3)
    return found


def relaunch(ec2: FakeEc2, gateway: Any = None, *, check: bool = False, **more: Any) -> Ended:
    """One run of the module with all moves. An option that is None is not set."""
    moves = dict.fromkeys(("data_volumes", "network_interfaces", "elastic_ip", "target_groups"), "move")
    given = {"instance_id": OLD, "image_id": AMI, "health": {"timeout": 600}, **moves, **more}
    given = {name: value for name, value in given.items() if value is not None}
    shell = _Shell(options(instance_relaunch, **given), check)
    runner.execute(instance_relaunch.FEATURE, shell, gateway or ec2)
    return shell.ended


def killed(ec2: FakeEc2, nth: int, gateway: Any = None, **more: Any) -> bool:
    """A run that is killed right after its *nth* changing call. Return whether it came so far."""
    try:
        relaunch(ec2, KillingGateway(gateway or ec2, nth), **more)
    except Killed:
        return True
    return False


def world(ec2: FakeEc2) -> dict[str, Any]:
    """Where EC2 shows each part, and all that is left of the instances, with short names."""
    ec2.settle()
    instances = {one.instance_id: one for one in ec2.existing("instance") if one.alive}
    names = {name: "old" if name == OLD else "new" for name in instances}
    private = {
        address: names[one.instance_id] if index == 0 else "second"
        for one in ec2.interfaces()
        for index, address in enumerate(one.addresses)
        if one.interface_id != EXTRA and one.instance_id in names
    }
    private |= {"10.0.0.17": "second"}
    shown = ec2.resources
    return {
        "states": {names[name]: one.state for name, one in instances.items()},
        "tags": {
            names[name]: sorted(key for key in one.tags if key.startswith("ec2ops:")) for name, one in instances.items()
        },
        "checks": {names[name]: one.facts["SourceDestCheck"] for name, one in instances.items()},
        "volumes": sorted(
            (names.get(link.instance_id, "gone"), link.device_name, one.volume_id == DATA, link.delete_on_termination)
            for one in ec2.volumes()
            for link in one.attachments
        ),
        "loose volumes": [one.volume_id for one in ec2.volumes() if not one.attachments],
        "interfaces": sorted(
            (names.get(one.instance_id, "none"), one.device_index, one.interface_id == EXTRA, one.delete_on_termination)
            for one in ec2.interfaces()
        ),
        "addresses": {one.allocation_id[-1]: names.get(one.instance_id) for one in ec2.addresses()},
        "targets": sorted(names.get(one.target_id, "gone") for one in shown[TARGETS.id_of(GROUPS["instance"])].value),
        "ip targets": sorted(private.get(one.target_id, "gone") for one in shown[TARGETS.id_of(GROUPS["ip"])].value),
        "classic": sorted(
            names.get(name, "gone") for one in shown[CLASSIC_LOAD_BALANCERS.name].value for name in one.instance_ids
        ),
        "old data": ec2.written[DATA][:3],
    }


__all__ = ["AMI", "DATA", "OLD", "ROOT", "killed", "pytest", "relaunch", "service", "world"]
