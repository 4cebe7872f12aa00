# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Interfaces that change hands, and their ends with an instance (EC2 user guide, "Elastic network interfaces")."""

from __future__ import annotations

from typing import Any

import pytest
from domain import make_instant, refused

from sandbox.client import Sandbox
from sandbox.engine import World


@pytest.fixture
def pair(world: World, sandbox: Sandbox) -> tuple[Any, dict[str, str]]:
    """Two running instances. ``extra`` is an interface at index 1 of the first one, ``attachment`` its attachment."""
    make_instant(world)
    world.config.update({"durations": {"interface_attaching": 0.0, "interface_detaching": 0.0}})
    names = sandbox.seed({"instances": [{"name": "web"}, {"name": "other"}]})
    ec2 = sandbox.client()
    subnet = row(ec2, names["web"])["SubnetId"]
    extra = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    made = ec2.attach_network_interface(NetworkInterfaceId=extra, InstanceId=names["web"], DeviceIndex=1)
    return ec2, {**names, "extra": extra, "attachment": made["AttachmentId"]}


def row(ec2: Any, instance_id: str) -> dict[str, Any]:
    (group,) = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    return dict(group["Instances"][0])


def interface(ec2: Any, interface_id: str) -> dict[str, Any]:
    (found,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[interface_id])["NetworkInterfaces"]
    return dict(found)


def test_attached_interface_outlives_its_instance_until_somebody_says_otherwise(
    pair: tuple[Any, dict[str, str]],
) -> None:
    ec2, names = pair
    assert interface(ec2, names["extra"])["Attachment"]["DeleteOnTermination"] is False
    ec2.terminate_instances(InstanceIds=[names["web"]])
    left = interface(ec2, names["extra"])
    assert (left["Status"], left.get("Attachment")) == ("available", None)
    made = ec2.attach_network_interface(NetworkInterfaceId=names["extra"], InstanceId=names["other"], DeviceIndex=1)
    change = {"AttachmentId": made["AttachmentId"], "DeleteOnTermination": True}
    ec2.modify_network_interface_attribute(NetworkInterfaceId=names["extra"], Attachment=change)
    ec2.terminate_instances(InstanceIds=[names["other"]])
    refused(
        "InvalidNetworkInterfaceID.NotFound",
        ec2.describe_network_interfaces,
        NetworkInterfaceIds=[names["extra"]],
    )
    ours = [{"Name": "attachment.instance-id", "Values": [names["web"], names["other"]]}]
    assert ec2.describe_network_interfaces(Filters=ours)["NetworkInterfaces"] == [], "the first ones ended too"


def test_interface_moves_after_its_detachment_and_keeps_its_elastic_ip(pair: tuple[Any, dict[str, str]]) -> None:
    ec2, names = pair
    address = ec2.allocate_address(Domain="vpc")
    ec2.associate_address(AllocationId=address["AllocationId"], NetworkInterfaceId=names["extra"])
    call = {"NetworkInterfaceId": names["extra"], "InstanceId": names["other"], "DeviceIndex": 1}
    refused("InvalidNetworkInterface.InUse", ec2.attach_network_interface, **call)
    ec2.detach_network_interface(AttachmentId=names["attachment"])
    refused(
        "InvalidAttachmentID.NotFound", ec2.detach_network_interface, AttachmentId=names["attachment"], text="exist"
    )
    assert "InstanceId" not in ec2.describe_addresses()["Addresses"][0]
    ec2.attach_network_interface(**call)
    (shown,) = ec2.describe_addresses(Filters=[{"Name": "instance-id", "Values": [names["other"]]}])["Addresses"]
    assert (shown["NetworkInterfaceId"], shown["PublicIp"]) == (names["extra"], address["PublicIp"])
    moved = row(ec2, names["other"])
    assert [one["Attachment"]["DeviceIndex"] for one in moved["NetworkInterfaces"]] == [0, 1]
    assert moved["PublicIpAddress"] != address["PublicIp"], "that of the first interface"


def test_impossible_attachments_are_refused(pair: tuple[Any, dict[str, str]], world: World) -> None:
    ec2, names = pair
    first = row(ec2, names["web"])["NetworkInterfaces"][0]["Attachment"]["AttachmentId"]
    refused("OperationNotPermitted", ec2.detach_network_interface, AttachmentId=first, text="device index 0")
    subnet = interface(ec2, names["extra"])["SubnetId"]
    more = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    call = {"NetworkInterfaceId": more, "InstanceId": names["web"]}
    refused("InvalidParameterValue", ec2.attach_network_interface, **call, DeviceIndex=1, text="device index '1'")
    refused("AttachmentLimitExceeded", ec2.attach_network_interface, **call, DeviceIndex=2, text="t3.micro")
    ec2.detach_network_interface(AttachmentId=names["attachment"])
    world.config.update({"durations": {"instance_stopping": 1000.0}})
    ec2.stop_instances(InstanceIds=[names["web"]])
    refused("IncorrectInstanceState", ec2.attach_network_interface, **call, DeviceIndex=1, text="stopping")
    subnets = ec2.describe_subnets(Filters=[{"Name": "default-for-az", "Values": ["true"]}])["Subnets"]
    elsewhere = next(one["SubnetId"] for one in subnets if one["SubnetId"] != subnet)
    far = ec2.create_network_interface(SubnetId=elsewhere)["NetworkInterface"]["NetworkInterfaceId"]
    refused(
        "InvalidParameterCombination",
        ec2.attach_network_interface,
        NetworkInterfaceId=far,
        InstanceId=names["other"],
        DeviceIndex=1,
    )


def test_attachment_and_detachment_take_time(pair: tuple[Any, dict[str, str]], world: World) -> None:
    ec2, names = pair
    world.config.update({"durations": {"interface_attaching": 1000.0, "interface_detaching": 1000.0}})
    ec2.detach_network_interface(AttachmentId=names["attachment"])
    assert interface(ec2, names["extra"])["Attachment"]["Status"] == "detaching"
    call = {"NetworkInterfaceId": names["extra"], "InstanceId": names["other"], "DeviceIndex": 1}
    refused("InvalidNetworkInterface.InUse", ec2.attach_network_interface, **call)
    world.clock.move(1001)
    assert interface(ec2, names["extra"])["Status"] == "available"
    ec2.attach_network_interface(**call)
    assert interface(ec2, names["extra"])["Attachment"]["Status"] == "attaching"
    world.clock.move(1001)
    shown = row(ec2, names["other"])["NetworkInterfaces"][1]["Attachment"]
    assert (shown["Status"], shown["DeleteOnTermination"]) == ("attached", False)


def test_start_with_several_interfaces_gives_no_public_address(pair: tuple[Any, dict[str, str]]) -> None:
    ec2, names = pair
    assert row(ec2, names["web"])["PublicIpAddress"]
    for name in ("web", "other"):
        ec2.stop_instances(InstanceIds=[names[name]])
        ec2.start_instances(InstanceIds=[names[name]])
    assert "PublicIpAddress" not in row(ec2, names["web"])
    assert row(ec2, names["other"])["PublicIpAddress"]


def test_instance_with_several_interfaces_must_be_named_by_one(pair: tuple[Any, dict[str, str]]) -> None:
    ec2, names = pair
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    refused("InvalidInstanceID", ec2.associate_address, AllocationId=address, InstanceId=names["web"], text="multiple")
    change = {"InstanceId": names["web"], "SourceDestCheck": {"Value": False}}
    refused("InvalidInstanceID", ec2.modify_instance_attribute, **change, text="multiple")
    first = row(ec2, names["web"])["NetworkInterfaces"][0]["NetworkInterfaceId"]
    ec2.associate_address(AllocationId=address, NetworkInterfaceId=first)
    ec2.modify_network_interface_attribute(NetworkInterfaceId=first, SourceDestCheck={"Value": False})
    shown = row(ec2, names["web"])
    assert shown["SourceDestCheck"] is shown["NetworkInterfaces"][0]["SourceDestCheck"] is False
    assert shown["PublicIpAddress"] == ec2.describe_addresses()["Addresses"][0]["PublicIp"]
