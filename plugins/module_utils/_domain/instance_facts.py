# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The meaning of an instance's facts for its successor.

The table has every member of EC2's Instance (boto3's names) and every attribute of DescribeInstanceAttribute.
docs/instance_facts.md shows users the same table. A test compares both with botocore's model.

Private to this collection.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .._kernel.resources import Instance
from .._kernel.tags import AUTOSCALING_GROUP

CARRIED = "carried"
DERIVED = "derived"
REFUSED = "refused"


@dataclass(frozen=True)
class Rule:
    """The treatment of one of the predecessor's facts in a relaunch.

    ``how``: `CARRIED`: the successor gets the same value; `DERIVED`: something else decides the value; `REFUSED`: the
    relaunch is refused if the value is set.
    ``to``: the parameter of RunInstances (dotted path) for the unchanged value. Empty if the planner builds the value.
    ``unset``: values that count as not set, beside None and empty ones.
    ``when``: returns whether a value counts as set, if ``unset`` is not enough.
    ``of_type``: the fact belongs to the instance type, so a successor of another type does not get it.
    """

    how: str
    note: str
    to: str = ""
    unset: tuple[Any, ...] = ()
    when: Callable[[Any], bool] | None = None
    of_type: bool = False

    def is_set(self, value: Any) -> bool:
        """Return whether the value must be carried over or refused."""
        if value is None or value == "" or (isinstance(value, (list, tuple, Mapping)) and not value):
            return False
        return self.when(value) if self.when is not None else value not in self.unset


def _same(name: str, note: str = "as it is", **more: Any) -> Rule:
    return Rule(CARRIED, note, to=name, **more)


_IMAGE = "the image decides"
_NEW = "new with every instance"
_NOW = "current state, not carried"


# The rules by dotted path. A path covers the paths below it. Only a CARRIED path needs a rule for each member below.
INSTANCE_RULES: Mapping[str, Rule] = {
    "AmiLaunchIndex": Rule(DERIVED, "0: the launch makes one instance"),
    "Architecture": Rule(DERIVED, "the image's, which must equal the predecessor's, or fit the new instance_type"),
    "BlockDeviceMappings": Rule(
        DERIVED,
        "the image's. An encrypted root stays encrypted, with its key. Data volumes without a snapshot in the image "
        "stay with the predecessor, and a warning names them",
    ),
    "BootMode": Rule(DERIVED, _IMAGE),
    "CapacityBlockId": Rule(REFUSED, "a capacity block is bought for one span of time"),
    "CapacityReservationId": Rule(DERIVED, "follows from CapacityReservationSpecification"),
    "CapacityReservationSpecification.CapacityReservationPreference": _same(
        "CapacityReservationSpecification.CapacityReservationPreference", unset=("open",)
    ),
    "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId": _same(
        "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId"
    ),
    "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationResourceGroupArn": _same(
        "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationResourceGroupArn"
    ),
    "ClientToken": Rule(
        DERIVED,
        "made from the predecessor and the image, so that a second run finds the launch of the first run",
    ),
    "CpuOptions.CoreCount": Rule(
        CARRIED, "if it differs from the type's default; not with another instance_type", of_type=True
    ),
    "CpuOptions.ThreadsPerCore": Rule(
        CARRIED, "if it differs from the type's default; not with another instance_type", of_type=True
    ),
    "CpuOptions.AmdSevSnp": _same(
        "CpuOptions.AmdSevSnp", "as it is; not with another instance_type", unset=("disabled",), of_type=True
    ),
    "CpuOptions.NestedVirtualization": _same(
        "CpuOptions.NestedVirtualization", "as it is; not with another instance_type", unset=("disabled",), of_type=True
    ),
    "CurrentInstanceBootMode": Rule(DERIVED, "the image and the instance type decide"),
    "EbsOptimized": _same("EbsOptimized", "as it is; not with another instance_type", unset=(False,), of_type=True),
    "ElasticGpuAssociations": Rule(REFUSED, "AWS has ended Elastic Graphics"),
    "ElasticInferenceAcceleratorAssociations": Rule(REFUSED, "AWS has ended Elastic Inference"),
    "EnaSupport": Rule(DERIVED, _IMAGE),
    "EnclaveOptions.Enabled": _same("EnclaveOptions.Enabled", unset=(False,)),
    "HibernationOptions.Configured": _same("HibernationOptions.Configured", unset=(False,)),
    "Hypervisor": Rule(DERIVED, "the instance type decides"),
    "IamInstanceProfile.Arn": _same("IamInstanceProfile.Arn", "as it is, unless overridden"),
    "IamInstanceProfile.Id": Rule(DERIVED, "follows from the profile's ARN"),
    "ImageId": Rule(DERIVED, "the image of the task"),
    "InstanceId": Rule(DERIVED, _NEW),
    "InstanceLifecycle": Rule(REFUSED, "the module relaunches no spot, scheduled or capacity block instances"),
    "InstanceType": _same("InstanceType", "as it is, unless overridden"),
    "Ipv6Address": Rule(DERIVED, "follows from the network interface"),
    "KernelId": Rule(DERIVED, _IMAGE),
    "KeyName": _same("KeyName", "as it is, unless overridden"),
    "LaunchTime": Rule(DERIVED, _NEW),
    "Licenses.LicenseConfigurationArn": Rule(CARRIED, "as LicenseSpecifications"),
    "MaintenanceOptions.AutoRecovery": _same("MaintenanceOptions.AutoRecovery", unset=("default",)),
    "MaintenanceOptions.RebootMigration": Rule(
        REFUSED, "RunInstances cannot set it. Only default is accepted", unset=("default",)
    ),
    "MetadataOptions.HttpEndpoint": _same("MetadataOptions.HttpEndpoint", "as it is, unless overridden"),
    "MetadataOptions.HttpProtocolIpv6": _same("MetadataOptions.HttpProtocolIpv6", "as it is, unless overridden"),
    "MetadataOptions.HttpPutResponseHopLimit": _same(
        "MetadataOptions.HttpPutResponseHopLimit", "as it is, unless overridden"
    ),
    "MetadataOptions.HttpTokens": _same("MetadataOptions.HttpTokens", "as it is, unless overridden"),
    "MetadataOptions.InstanceMetadataTags": _same(
        "MetadataOptions.InstanceMetadataTags", "as it is, unless overridden"
    ),
    "MetadataOptions.State": Rule(DERIVED, _NOW),
    "Monitoring.MetricCategoryIds": _same("Monitoring.MetricCategoryIds"),
    "Monitoring.State": Rule(CARRIED, "Monitoring.Enabled is true if the state is enabled or pending"),
    "NetworkInterfaces.Association.CarrierIp": Rule(REFUSED, "addresses of a Wavelength Zone are not carried"),
    "NetworkInterfaces.Association.CustomerOwnedIp": Rule(REFUSED, "addresses of an Outpost are not carried"),
    "NetworkInterfaces.Association.IpOwnerId": Rule(DERIVED, "follows from the address"),
    "NetworkInterfaces.Association.PublicDnsName": Rule(DERIVED, "follows from the address"),
    "NetworkInterfaces.Association.PublicIp": Rule(
        DERIVED,
        "a new address, if the running predecessor has one that is not elastic, or had one before its hold. Without a "
        "hold the subnet decides for a stopped predecessor. An Elastic IP stays with it, and a warning names the "
        "address",
    ),
    "NetworkInterfaces.Attachment.AttachTime": Rule(DERIVED, _NEW),
    "NetworkInterfaces.Attachment.AttachmentId": Rule(DERIVED, _NEW),
    "NetworkInterfaces.Attachment.DeleteOnTermination": Rule(
        REFUSED,
        "clients rely on an interface that outlives its instance, and it cannot be in two places. Only true is "
        "accepted",
        unset=(True,),
    ),
    "NetworkInterfaces.Attachment.DeviceIndex": Rule(
        DERIVED, "0: the primary one. Other interfaces move with the same index, or stay"
    ),
    "NetworkInterfaces.Attachment.Status": Rule(DERIVED, _NOW),
    "NetworkInterfaces.Attachment.NetworkCardIndex": Rule(REFUSED, "the launch uses only network card 0", unset=(0,)),
    "NetworkInterfaces.Attachment.EnaSrdSpecification.EnaSrdEnabled": _same(
        "NetworkInterfaces.EnaSrdSpecification.EnaSrdEnabled", unset=(False,)
    ),
    "NetworkInterfaces.Attachment.EnaSrdSpecification.EnaSrdUdpSpecification.EnaSrdUdpEnabled": _same(
        "NetworkInterfaces.EnaSrdSpecification.EnaSrdUdpSpecification.EnaSrdUdpEnabled", unset=(False,)
    ),
    "NetworkInterfaces.Attachment.EnaQueueCount": Rule(
        CARRIED, "if it differs from the type's default; not with another instance_type", of_type=True
    ),
    "NetworkInterfaces.Description": _same("NetworkInterfaces.Description"),
    "NetworkInterfaces.Groups.GroupId": Rule(CARRIED, "as the interface's Groups, unless overridden"),
    "NetworkInterfaces.Groups.GroupName": Rule(DERIVED, "follows from the group's id"),
    "NetworkInterfaces.Ipv6Addresses.Ipv6Address": Rule(
        CARRIED, "their number, as Ipv6AddressCount; the addresses are new"
    ),
    "NetworkInterfaces.Ipv6Addresses.IsPrimaryIpv6": Rule(CARRIED, "as PrimaryIpv6"),
    "NetworkInterfaces.MacAddress": Rule(DERIVED, _NEW),
    "NetworkInterfaces.NetworkInterfaceId": Rule(
        DERIVED, "the id of a new primary interface; see the option network_interfaces for the others"
    ),
    "NetworkInterfaces.OwnerId": Rule(DERIVED, "the account"),
    "NetworkInterfaces.PrivateDnsName": Rule(DERIVED, "follows from the address"),
    "NetworkInterfaces.PrivateIpAddress": Rule(DERIVED, "a new one of the subnet, since the predecessor keeps its own"),
    "NetworkInterfaces.PrivateIpAddresses": Rule(
        REFUSED,
        "clients rely on the secondary addresses, and an address cannot be in two places. Only a primary address is "
        "accepted",
        when=lambda addresses: len(addresses) > 1,
    ),
    "NetworkInterfaces.SourceDestCheck": Rule(CARRIED, "see SourceDestCheck"),
    "NetworkInterfaces.Status": Rule(DERIVED, _NOW),
    "NetworkInterfaces.SubnetId": _same("NetworkInterfaces.SubnetId"),
    "NetworkInterfaces.VpcId": Rule(DERIVED, "the subnet's"),
    "NetworkInterfaces.InterfaceType": _same("NetworkInterfaces.InterfaceType", unset=("interface",)),
    "NetworkInterfaces.Ipv4Prefixes": Rule(REFUSED, "clients rely on the prefixes"),
    "NetworkInterfaces.Ipv6Prefixes": Rule(REFUSED, "clients rely on the prefixes"),
    "NetworkInterfaces.ConnectionTrackingConfiguration.TcpEstablishedTimeout": _same(
        "NetworkInterfaces.ConnectionTrackingSpecification.TcpEstablishedTimeout"
    ),
    "NetworkInterfaces.ConnectionTrackingConfiguration.UdpStreamTimeout": _same(
        "NetworkInterfaces.ConnectionTrackingSpecification.UdpStreamTimeout"
    ),
    "NetworkInterfaces.ConnectionTrackingConfiguration.UdpTimeout": _same(
        "NetworkInterfaces.ConnectionTrackingSpecification.UdpTimeout"
    ),
    "NetworkInterfaces.Operator": Rule(
        REFUSED, "an interface that a service manages", when=lambda operator: bool(operator.get("Managed"))
    ),
    "NetworkPerformanceOptions.BandwidthWeighting": _same(
        "NetworkPerformanceOptions.BandwidthWeighting",
        "as it is; not with another instance_type",
        unset=("default",),
        of_type=True,
    ),
    "Operator": Rule(
        REFUSED,
        "the service that manages the instance must relaunch it",
        when=lambda operator: bool(operator.get("Managed")),
    ),
    "OutpostArn": Rule(REFUSED, "the module relaunches no instances on an Outpost"),
    "Placement.AvailabilityZone": Rule(
        DERIVED, "the subnet's. The module refuses instances in a Local Zone or a Wavelength Zone"
    ),
    "Placement.AvailabilityZoneId": Rule(DERIVED, "the subnet's"),
    "Placement.Affinity": _same("Placement.Affinity", unset=("default",)),
    "Placement.GroupId": Rule(DERIVED, "follows from the group's name"),
    "Placement.GroupName": _same("Placement.GroupName"),
    "Placement.HostId": _same("Placement.HostId", "as it is, unless a host resource group decides"),
    "Placement.HostResourceGroupArn": _same("Placement.HostResourceGroupArn"),
    "Placement.PartitionNumber": _same("Placement.PartitionNumber"),
    "Placement.SpreadDomain": Rule(DERIVED, "reserved by EC2"),
    "Placement.Tenancy": _same("Placement.Tenancy", unset=("default",)),
    "Platform": Rule(DERIVED, _IMAGE),
    "PlatformDetails": Rule(DERIVED, _IMAGE),
    "PrivateDnsName": Rule(DERIVED, "follows from the address"),
    "PrivateDnsNameOptions.HostnameType": _same("PrivateDnsNameOptions.HostnameType"),
    "PrivateDnsNameOptions.EnableResourceNameDnsARecord": _same("PrivateDnsNameOptions.EnableResourceNameDnsARecord"),
    "PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord": _same(
        "PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord"
    ),
    "PrivateIpAddress": Rule(DERIVED, "follows from the network interface"),
    "ProductCodes": Rule(DERIVED, _IMAGE),
    "PublicDnsName": Rule(DERIVED, "follows from the address"),
    "PublicIpAddress": Rule(DERIVED, "follows from the network interface"),
    "RamdiskId": Rule(DERIVED, _IMAGE),
    "RootDeviceName": Rule(DERIVED, _IMAGE),
    "RootDeviceType": Rule(
        REFUSED,
        "EC2 cannot stop or capture an instance with a root on instance store. Only ebs is accepted",
        unset=("ebs",),
    ),
    "SecondaryInterfaces": Rule(REFUSED, "the launch makes only the primary interface"),
    "SecurityGroups": Rule(DERIVED, "follows from the network interface"),
    "SourceDestCheck": Rule(CARRIED, "by ModifyInstanceAttribute after the launch, if it is off"),
    "SpotInstanceRequestId": Rule(REFUSED, "the module relaunches no spot instances"),
    "SriovNetSupport": Rule(DERIVED, _IMAGE),
    "State": Rule(DERIVED, _NOW),
    "StateReason": Rule(DERIVED, _NOW),
    "StateTransitionReason": Rule(DERIVED, _NOW),
    "SubnetId": Rule(DERIVED, "follows from the network interface"),
    "Tags": Rule(
        CARRIED,
        "all except those of AWS and of this collection, with overrides.tags. The module refuses members of "
        "an Auto Scaling group",
    ),
    "Tags.Key": Rule(CARRIED, "see Tags"),
    "Tags.Value": Rule(CARRIED, "see Tags"),
    "TpmSupport": Rule(DERIVED, _IMAGE),
    "UsageOperation": Rule(DERIVED, _IMAGE),
    "UsageOperationUpdateTime": Rule(DERIVED, _NEW),
    "VirtualizationType": Rule(DERIVED, _IMAGE),
    "VpcId": Rule(DERIVED, "the subnet's"),
}

# The rules by DescribeInstanceAttribute's name. If Instance has the attribute too, the planner reads it from Instance.
ATTRIBUTE_RULES: Mapping[str, Rule] = {
    "blockDeviceMapping": Rule(DERIVED, "see BlockDeviceMappings"),
    "disableApiStop": Rule(CARRIED, "as DisableApiStop"),
    "disableApiTermination": Rule(CARRIED, "as DisableApiTermination"),
    "ebsOptimized": Rule(CARRIED, "see EbsOptimized"),
    "enaSupport": Rule(DERIVED, _IMAGE),
    "enclaveOptions": Rule(CARRIED, "see EnclaveOptions"),
    "groupSet": Rule(CARRIED, "see NetworkInterfaces.Groups"),
    "instanceInitiatedShutdownBehavior": Rule(CARRIED, "as InstanceInitiatedShutdownBehavior"),
    "instanceType": Rule(CARRIED, "see InstanceType"),
    "kernel": Rule(DERIVED, _IMAGE),
    "productCodes": Rule(DERIVED, _IMAGE),
    "ramdisk": Rule(DERIVED, _IMAGE),
    "rootDeviceName": Rule(DERIVED, _IMAGE),
    "sourceDestCheck": Rule(CARRIED, "see SourceDestCheck"),
    "sriovNetSupport": Rule(DERIVED, _IMAGE),
    "userData": Rule(CARRIED, "as UserData, unless overridden"),
}


def read_fact(facts: Mapping[str, Any], path: str) -> Any:
    """Return the value at a dotted path of EC2's answer, or None. From each list on the path, only the first item
    counts.
    """
    value: Any = facts
    for part in path.split("."):
        if isinstance(value, (list, tuple)):
            value = value[0] if value else None
        if not isinstance(value, Mapping):
            return None
        value = value.get(part)
    return value


def carried_parameters(facts: Mapping[str, Any], *, other_type: bool = False) -> dict[str, Any]:
    """Return the parameters of RunInstances that take a fact unchanged. ``NetworkInterfaces`` is one interface, not a
    list.

    *other_type*: the successor has another instance type, so facts of the predecessor's type are left out.
    """
    parameters: dict[str, Any] = {}
    for path, rule in INSTANCE_RULES.items():
        value = read_fact(facts, path)
        if not rule.to or not rule.is_set(value) or (rule.of_type and other_type):
            continue
        *parents, last = rule.to.split(".")
        place = parameters
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return parameters


def refused_facts(facts: Mapping[str, Any]) -> list[str]:
    """Return why this instance cannot be relaunched: one line for each fact that is set and refused."""
    found = []
    for path, rule in INSTANCE_RULES.items():
        value = read_fact(facts, path)
        if rule.how == REFUSED and rule.is_set(value):
            shown = f" ({value})" if isinstance(value, (str, int)) else ""
            found.append(f"{path}{shown}: {rule.note}")
    interfaces = facts.get("NetworkInterfaces") or ()
    if not interfaces:
        found.append("NetworkInterfaces: the instance has none")
    return found


def relaunch_troubles(instance: Instance, region: str) -> list[str]:
    """Return why this instance cannot be relaunched, one line for each reason that DescribeInstances shows."""
    found = refused_facts(instance.facts)
    kind = zone_kind(instance.availability_zone, region)
    if kind:
        found.append(
            f"Placement.AvailabilityZone ({instance.availability_zone}): the module relaunches no instances in a {kind}"
        )
    group = instance.tags.get(AUTOSCALING_GROUP)
    if group is not None:
        found.append(
            f"it belongs to the Auto Scaling group {group}. Give the group a new version of its launch template, and "
            "refresh its instances"
        )
    return found


def root_volume_troubles(instance: Instance) -> list[str]:
    """Return why the root volume of this instance cannot be replaced, one line for each reason that DescribeInstances
    shows.
    """
    found = []
    group = instance.tags.get(AUTOSCALING_GROUP)
    if group is not None:
        found.append(f"it belongs to the Auto Scaling group {group}, which may replace it while it boots")
    if instance.operator is not None:
        found.append(f"{instance.operator} manages it, and only that service may change it")
    if instance.root_device_type != "ebs":
        found.append(f"its root is on {instance.root_device_type}, and EC2 only replaces EBS volumes")
    return found


def zone_kind(zone: str, region: str) -> str:
    """Return ``Local Zone`` or ``Wavelength Zone``, or an empty text for an Availability Zone and an unknown one.

    An Availability Zone has its region's name and one letter. The others also have a place in their name, such as
    us-west-2-lax-1a and us-east-1-wl1-bos-wlz-1. (EC2 user guide, "Regions and Zones".)
    """
    if not zone.startswith(region) or re.fullmatch(f"{re.escape(region)}[a-z]", zone):
        return ""
    return "Wavelength Zone" if "-wl" in zone else "Local Zone"
