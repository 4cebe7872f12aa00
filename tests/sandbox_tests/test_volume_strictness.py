# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of EBS that a less strict sandbox would not give. Each test names its source."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from domain import LONG, make_instant, make_slow, refused

from sandbox.errors import Ec2Error
from sandbox.volumes import checked_device, performance

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World

ZONE, ZONE_ID = "us-east-1a", "use1-az6"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


# --- CreateVolume and DeleteVolume ------------------------------------------------------------------------------------


def test_volume_with_unusable_key_vanishes(world: World, sandbox: Sandbox) -> None:
    """Recorded: the call is accepted, and after a while the volume is InvalidVolume.NotFound, never in `error`."""
    make_slow(world)
    ec2 = sandbox.client()
    request = {"AvailabilityZone": ZONE, "Size": 8, "Encrypted": True, "KmsKeyId": "alias/nothing", "ClientToken": "t"}
    made = ec2.create_volume(**request)["VolumeId"]
    assert ec2.describe_volumes(VolumeIds=[made])["Volumes"][0]["State"] == "creating"
    world.clock.move(LONG)
    refused("InvalidVolume.NotFound", ec2.describe_volumes, VolumeIds=[made])
    assert ec2.describe_volumes()["Volumes"] == []
    refused("InvalidVolume.NotFound", ec2.delete_volume, VolumeId=made)
    refused("IdempotentParameterMismatch", ec2.create_volume, **request, text="already deleted")


def test_volume_is_deleted_while_creating(world: World, sandbox: Sandbox) -> None:
    """Recorded: DeleteVolume straight after CreateVolume succeeds."""
    make_slow(world)
    ec2 = sandbox.client()
    made = ec2.create_volume(AvailabilityZone=ZONE, Size=8)["VolumeId"]
    assert ec2.describe_volumes(VolumeIds=[made])["Volumes"][0]["State"] == "creating"
    ec2.delete_volume(VolumeId=made)
    world.clock.move(LONG)
    assert ec2.describe_volumes()["Volumes"] == []


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"AvailabilityZone": ZONE}, {"AvailabilityZoneId": ZONE_ID}),
        ({"AvailabilityZoneId": ZONE_ID}, {"AvailabilityZone": ZONE}),
    ],
)
def test_zone_name_and_id_are_one_for_a_client_token(
    sandbox: Sandbox, first: dict[str, str], second: dict[str, str]
) -> None:
    ec2 = sandbox.client()
    made = ec2.create_volume(Size=8, ClientToken="one", **first)["VolumeId"]
    assert ec2.create_volume(Size=8, ClientToken="one", **second)["VolumeId"] == made
    refused("IdempotentParameterMismatch", ec2.create_volume, Size=8, ClientToken="one", AvailabilityZoneId="use1-az1")


@pytest.mark.parametrize(
    ("size", "iops", "expected"),
    [(1, 500, 3000), (1, 3000, 3000), (8, 2999, 3000), (1, 100, 3000), (8, 4000, 4000)],
)
def test_gp3_iops_that_are_accepted(size: int, iops: int, expected: int) -> None:
    """Recorded: an accepted value below 3,000 becomes 3,000."""
    assert performance("gp3", size, iops, None) == (expected, 125)


@pytest.mark.parametrize(("size", "iops"), [(1, 0), (1, 1), (1, 99), (1, 501), (1, 2999), (1, 3001)])
def test_gp3_iops_that_are_refused(size: int, iops: int) -> None:
    """Recorded for 1 GiB: at least 100, at most 500 per GiB, but 3,000 is always allowed."""
    with pytest.raises(Ec2Error) as caught:
        performance("gp3", size, iops, None)
    assert caught.value.code == "InvalidParameterValue"


# --- ModifyVolume -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "params", "expected"),
    [
        (2000, {}, (6000, 250)),
        (500, {}, (3000, 250)),
        (400, {}, (3000, 250)),
        (8, {}, (3000, 125)),
        (6000, {}, (16000, 250)),
        (2000, {"Iops": 4000, "Throughput": 125}, (4000, 125)),
    ],
)
def test_gp2_to_gp3_keeps_performance(
    world: World, sandbox: Sandbox, size: int, params: dict[str, int], expected: tuple[int, int]
) -> None:
    """EBS user guide: the performance of the gp2 volume or gp3's baseline, whichever is higher."""
    make_instant(world)
    ids = sandbox.seed({"volume": {"name": "data", "Size": size, "VolumeType": "gp2"}})
    ec2 = sandbox.client()
    ec2.modify_volume(VolumeId=ids["data"], VolumeType="gp3", **params)
    (row,) = ec2.describe_volumes(VolumeIds=[ids["data"]])["Volumes"]
    assert (row["Iops"], row["Throughput"]) == expected


def test_multi_attach_of_io2_is_enabled_only_while_detached(world: World, sandbox: Sandbox) -> None:
    """EBS user guide: it can be enabled only while the volume is attached to no instance."""
    make_instant(world)
    ids = sandbox.seed({"instance": {"name": "n"}, "volume": {"name": "v", "VolumeType": "io2", "Iops": 100}})
    ec2 = sandbox.client()
    ec2.attach_volume(VolumeId=ids["v"], InstanceId=ids["n"], Device="/dev/sdf")
    refused("IncorrectState", ec2.modify_volume, VolumeId=ids["v"], MultiAttachEnabled=True, text="not attached")
    ec2.detach_volume(VolumeId=ids["v"])
    ec2.modify_volume(VolumeId=ids["v"], MultiAttachEnabled=True)
    assert ec2.describe_volumes(VolumeIds=[ids["v"]])["Volumes"][0]["MultiAttachEnabled"] is True


def test_type_of_a_multi_attach_io2_is_not_changed(world: World, sandbox: Sandbox) -> None:
    """EBS user guide. Its size can change."""
    make_instant(world)
    ids = sandbox.seed({"volume": {"name": "v", "VolumeType": "io2", "Iops": 100, "MultiAttachEnabled": True}})
    ec2 = sandbox.client()
    for more in ({}, {"MultiAttachEnabled": False}):
        refused("UnsupportedOperation", ec2.modify_volume, VolumeId=ids["v"], VolumeType="gp3", **more)
    ec2.modify_volume(VolumeId=ids["v"], Size=20)


# --- AttachVolume -----------------------------------------------------------------------------------------------------


def test_attaching_is_refused_while_modifying(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed({"instance": {"name": "web"}, "volume": {"name": "v", "Size": 10}})
    ec2 = sandbox.client()
    ec2.modify_volume(VolumeId=ids["v"], Size=20)
    request = {"VolumeId": ids["v"], "InstanceId": ids["web"], "Device": "/dev/sdf"}
    # ansible-collections/amazon.aws#1558, hashicorp/terraform-provider-aws#17547
    text = f"Cannot attach volume {request['VolumeId']} when it is in modification state: MODIFYING"
    refused("OperationNotPermitted", ec2.attach_volume, **request, text=text)
    world.clock.move(LONG)  # optimizing
    assert ec2.attach_volume(**request)["State"] == "attaching"


@pytest.mark.parametrize(
    ("instance_type", "interfaces", "volumes"),
    [("t3.micro", 1, 27), ("t3.micro", 2, 26), ("t2.micro", 2, 40), ("m5d.large", 1, 26), ("m7i.large", 2, 32)],
)
def test_attachment_limit_counts_further_interfaces_of_shared_nitro_only(
    world: World, sandbox: Sandbox, instance_type: str, interfaces: int, volumes: int
) -> None:
    """Instance data and EC2 user guide: the limit leaves out the first interface and the NVMe disks.

    Interfaces do not count with a limit of their own (m7i), and on Xen (t2).
    """
    make_instant(world)
    ids = sandbox.seed(
        {
            "instance": {"name": "web", "instance_type": instance_type},
            "volumes": [{"name": f"v{number}", "Size": 1} for number in range(volumes)],
        }
    )
    ec2 = sandbox.client()
    (row,) = ec2.describe_instances(InstanceIds=[ids["web"]])["Reservations"][0]["Instances"]
    for index in range(1, interfaces):
        made = ec2.create_network_interface(SubnetId=row["SubnetId"])["NetworkInterface"]["NetworkInterfaceId"]
        ec2.attach_network_interface(DeviceIndex=index, InstanceId=ids["web"], NetworkInterfaceId=made)
    devices = [f"/dev/xvd{first}{second}" for first in "bc" for second in LETTERS]
    attach = [
        {"VolumeId": ids[f"v{number}"], "InstanceId": ids["web"], "Device": devices[number]}
        for number in range(volumes)
    ]
    for request in attach[: volumes - 1]:  # and the root
        ec2.attach_volume(**request)
    refused("AttachmentLimitExceeded", ec2.attach_volume, **attach[-1])


@pytest.mark.parametrize(
    ("virtualization", "names"),
    [
        ("hvm", ("/dev/sda1", "/dev/sdf", "sdf", "/dev/xvdba", "xvdf", "/dev/xvdaz", "/dev/xvddx")),
        ("paravirtual", ("/dev/sdh1", "/dev/sdf15", "/dev/hdf", "/dev/hdf2", "/dev/sda1", "/dev/sdf")),
    ],
)
def test_device_names_of_a_virtualization_type_are_accepted(virtualization: str, names: tuple[str, ...]) -> None:
    """EC2 user guide, device names for volumes."""
    for name in names:
        assert checked_device(name, virtualization) == name


@pytest.mark.parametrize(
    ("virtualization", "names"),
    [
        ("hvm", ("/dev/sdh1", "/dev/hdf", "/dev/xvddy", "/dev/xvddz", "/dev/xvdea")),
        ("paravirtual", ("/dev/xvdba", "/dev/sdf16", "/dev/xvddx")),
    ],
)
def test_device_names_of_the_other_virtualization_type_are_refused(virtualization: str, names: tuple[str, ...]) -> None:
    for name in names:
        with pytest.raises(Ec2Error) as caught:
            checked_device(name, virtualization)
        assert name in caught.value.message


def test_hvm_instance_takes_no_partition_names(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"instance": {"name": "web"}, "volume": {"name": "v"}})
    ec2 = sandbox.client()
    refused("InvalidParameterValue", ec2.attach_volume, VolumeId=ids["v"], InstanceId=ids["web"], Device="/dev/sdh1")


def test_outpost_instance_takes_no_volume_of_the_region(world: World, sandbox: Sandbox) -> None:
    """Amazon EBS on Outposts: a volume is attached to instances of its own Outpost."""
    make_instant(world)
    ids = sandbox.seed({"instance": {"name": "web"}, "volume": {"name": "v"}})
    arn = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"
    next(iter(world.regions())).instances[ids["web"]].facts["OutpostArn"] = arn
    ec2 = sandbox.client()
    refused(
        "InvalidVolume.ZoneMismatch", ec2.attach_volume, VolumeId=ids["v"], InstanceId=ids["web"], Device="/dev/sdf"
    )
    there = ec2.create_volume(AvailabilityZone=ZONE, Size=8, OutpostArn=arn)["VolumeId"]
    assert ec2.describe_volumes(VolumeIds=[there])["Volumes"][0]["OutpostArn"] == arn
    ec2.attach_volume(VolumeId=there, InstanceId=ids["web"], Device="/dev/sdf")


# --- DetachVolume -----------------------------------------------------------------------------------------------------


def attached(ec2: Any, volume_id: str) -> list[str]:
    (row,) = ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"]
    return [one["State"] for one in row["Attachments"]]


def mounted(world: World, sandbox: Sandbox) -> tuple[Any, dict[str, Any]]:
    """A client, and a seeded instance whose data volume was mounted when its detachment was asked for."""
    make_slow(world)
    world.config.update({"durations": {"volume_busy": 10 * LONG}})
    ids = sandbox.seed({"instance": {"name": "web", "data_volumes": 1}})
    ec2 = sandbox.client()
    with sandbox.fault("DetachVolume", kind="end"):
        ec2.detach_volume(VolumeId=ids["web/data1"], InstanceId=ids["web"])
    assert attached(ec2, ids["web/data1"]) == ["busy"]
    return ec2, ids


def test_mounted_disk_is_busy_until_it_is_unmounted(world: World, sandbox: Sandbox) -> None:
    """kubernetes#32881: the attachment stays in `busy`, and another DetachVolume is refused."""
    ec2, ids = mounted(world, sandbox)
    volume, instance = ids["web/data1"], ids["web"]
    refused("IncorrectState", ec2.detach_volume, VolumeId=volume, InstanceId=instance)
    refused("VolumeInUse", ec2.attach_volume, VolumeId=volume, InstanceId=instance, Device="/dev/sdg")
    (row,) = ec2.describe_instances(InstanceIds=[instance])["Reservations"][0]["Instances"]
    assert "detaching" in [one["Ebs"]["Status"] for one in row["BlockDeviceMappings"]]
    world.clock.move(9 * LONG)
    assert attached(ec2, volume) == ["busy"]
    world.clock.move(LONG)
    assert attached(ec2, volume) == ["detaching"]
    world.clock.move(LONG)
    assert attached(ec2, volume) == []


def test_stopped_instance_releases_a_busy_disk(world: World, sandbox: Sandbox) -> None:
    ec2, ids = mounted(world, sandbox)
    ec2.stop_instances(InstanceIds=[ids["web"]])
    assert attached(ec2, ids["web/data1"]) == ["busy"]
    world.clock.move(2 * LONG)
    assert attached(ec2, ids["web/data1"]) == []


def test_force_detaches_a_busy_disk(world: World, sandbox: Sandbox) -> None:
    ec2, ids = mounted(world, sandbox)
    ec2.detach_volume(VolumeId=ids["web/data1"], InstanceId=ids["web"], Force=True)
    assert attached(ec2, ids["web/data1"]) == ["detaching"]
    world.clock.move(LONG)
    assert attached(ec2, ids["web/data1"]) == []
