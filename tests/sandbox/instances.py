# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances: launched from images with volumes made from their snapshots, stopped, started and terminated in time.

An instance has a twin of the same id in moto, which carries its network: interfaces, addresses, security groups, the
profile. A read puts the sandbox's own facts over moto's row. Stops, starts and ends are passed on, so that moto's load
balancers and addresses follow.
"""

from __future__ import annotations

import base64
import binascii
import copy
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import cached_property
from typing import Any

from .engine import Ec2Error, Request, action, declare_option
from .filters import matching
from .images import launchable_image, mapping_error, product_codes, smaller_than_snapshot
from .interfaces import end_interfaces, interface_row
from .keys import may_use
from .pages import paged
from .tags import tag_specifications
from .tokens import check_token, with_token
from .volumes import (
    VOLUME_TYPES,
    VolumeSpec,
    attach,
    checked_device,
    checked_initialization_rate,
    checked_size,
    checked_type,
    combination_error,
    completed_snapshot,
    encryption,
    make_volume,
    performance,
    refuse_unusable,
    remove_volume,
    unmount_busy,
    value_error,
    zone_names,
)
from .world import Image, Instance, Power, Region, Shape, Snapshot, Volume, tag_list

declare_option("unhealthy_launches", False)
"""Whether all that is launched fails its status checks."""

STATE_CODES = {"pending": 0, "running": 16, "shutting-down": 32, "terminated": 48, "stopping": 64, "stopped": 80}
DEFAULT_TYPE = "m1.small"
LONGEST_USER_DATA = 16384
MOST_STATUS_IDS = 100


# --- launching --------------------------------------------------------------------------------------------------------


@action("RunInstances", gate=True)
def run_instances(request: Request) -> Shape:
    """Launch instances from an image; idempotent by its client token until they are terminated."""
    request.params, template_tags = with_template(request)

    def make() -> tuple[str, Shape]:
        launched = Launch(request, template_tags).perform()
        answer = reservation(request, launched, Network(request, [one.id for one in launched]))
        for row in answer["Instances"]:
            # As recorded: the devices and the state of the metadata options show only when they are read later.
            row["BlockDeviceMappings"] = []
            row["MetadataOptions"] = {**row["MetadataOptions"], "State": "pending"}
            _without_public_address(row)
        return launched[0].reservation_id, answer

    def again(reservation_id: str) -> Shape:
        found = [
            one
            for one in request.home.instances.values()
            if one.reservation_id == reservation_id and one.exists(request.now)
        ]
        if all(one.state(request.now) == "terminated" for one in found):
            raise Ec2Error(
                "IdempotentInstanceTerminated",
                "The request to launch an instance uses the same client token as a previous request for which the "
                "instance has been terminated.",
            )
        return reservation(request, found, Network(request, [one.id for one in found]))

    if request.params.get("DryRun"):
        make()
    return with_token(request, make, again)


def _without_public_address(row: Shape) -> None:
    """RunInstances answers before the interfaces are attached and have public addresses."""
    row.pop("PublicIpAddress", None)
    row["PublicDnsName"] = ""
    for interface in row["NetworkInterfaces"]:
        interface["Association"] = None
        if interface.get("Attachment"):
            interface["Attachment"] = {**interface["Attachment"], "Status": "attaching"}
        for address in interface.get("PrivateIpAddresses") or []:
            address["Association"] = None


def with_template(request: Request) -> tuple[Shape, dict[str, str]]:
    """The request's parameters, over those of the launch template that it names; and the tags that EC2 gives then."""
    named = request.params.get("LaunchTemplate")
    if not named:
        return request.params, {}
    wanted = {name: named[name] for name in ("LaunchTemplateId", "LaunchTemplateName") if named.get(name)}
    version = named.get("Version") or "$Default"
    answer = request.moto("DescribeLaunchTemplateVersions", {**wanted, "Versions": [str(version)]})
    versions = answer["LaunchTemplateVersions"]
    if not versions:
        raise Ec2Error("InvalidLaunchTemplateId.VersionNotFound", f"Could not find the specified version {version}")
    data = copy.deepcopy(versions[0]["LaunchTemplateData"])
    rest = {name: value for name, value in request.params.items() if name != "LaunchTemplate"}
    if rest.get("BlockDeviceMappings") and data.get("BlockDeviceMappings"):
        rest["BlockDeviceMappings"] = merged_rows(data["BlockDeviceMappings"], rest["BlockDeviceMappings"])
    if rest.get("NetworkInterfaces"):
        data.pop("SecurityGroupIds", None)
    specs = {one["ResourceType"]: one for one in data.get("TagSpecifications") or []}
    specs |= {one["ResourceType"]: one for one in rest.get("TagSpecifications") or []}
    specs = {
        kind: one
        for kind, one in specs.items()
        if kind in ("instance", "volume", "network-interface", "spot-instances-request")
    }
    merged = {**data, **rest}
    if specs:
        merged["TagSpecifications"] = list(specs.values())
    tags = {
        "aws:ec2launchtemplate:id": str(versions[0]["LaunchTemplateId"]),
        "aws:ec2launchtemplate:version": str(versions[0]["VersionNumber"]),
    }
    return merged, tags


def merged_rows(first: Iterable[Mapping[str, Any]], second: Iterable[Mapping[str, Any]]) -> list[Shape]:
    """Block device mappings, the second ones over the first by device name, Ebs member by member."""
    rows = {one.get("DeviceName"): copy.deepcopy(dict(one)) for one in first}
    for one in second:
        below = rows.get(one.get("DeviceName"))
        if below is None or one.get("NoDevice") is not None or one.get("VirtualName"):
            rows[one.get("DeviceName")] = copy.deepcopy(dict(one))
        elif one.get("Ebs"):
            below.pop("NoDevice", None)
            below["Ebs"] = {**below.get("Ebs", {}), **one["Ebs"]}
    return list(rows.values())


class Launch:
    """One RunInstances call: all checks first, then the instances."""

    def __init__(self, request: Request, template_tags: Mapping[str, str]) -> None:
        self.request = request
        self.template_tags = template_tags
        self.params = request.params
        self.home = request.home

    def perform(self) -> list[Instance]:
        """Make the requested instances. Raises before anything is made."""
        params, request = self.params, self.request
        count = self._count()
        check_token(params.get("ClientToken") or "")
        if not params.get("ImageId"):
            raise Ec2Error("MissingParameter", "The request must contain the parameter ImageId")
        image = launchable_image(request, params["ImageId"])
        instance_type = params.get("InstanceType") or DEFAULT_TYPE
        type_row = self._type(instance_type, image)
        user_data = self._user_data()
        tags = tag_specifications(request, "instance", "volume", "network-interface", "spot-instances-request")
        self._check_options(image, type_row)
        devices = self._devices(image)
        moto_params = self._moto_params(instance_type)
        # moto's own checks (subnets, groups, keys, profiles) belong to the validation too.
        if params.get("DryRun"):
            try:
                request.moto("RunInstances", {**moto_params, "DryRun": True})
            except Ec2Error as error:
                if error.code != "DryRunOperation":
                    raise
        request.dry_run_gate()
        end = request.end_state()
        failure = (
            (end.get("state") or "Server.InternalError", end.get("message") or "") if end else image.launch_failure
        )
        answer = request.moto("RunInstances", {**moto_params, "MinCount": count, "MaxCount": count})
        image.launches.append(request.now)
        made = []
        for index, row in enumerate(answer["Instances"]):
            instance = self._instance(
                row, answer["ReservationId"], index, image, instance_type, type_row, user_data, tags
            )
            self._volumes(instance, devices, tags["volume"])
            self._power(instance, devices, failure)
            made.append(instance)
        if tags["network-interface"]:
            interfaces = [one["NetworkInterfaceId"] for row in answer["Instances"] for one in row["NetworkInterfaces"]]
            request.moto("CreateTags", {"Resources": interfaces, "Tags": tag_list(tags["network-interface"])})
        return made

    def _count(self) -> int:
        low, high = self.params.get("MinCount", 1), self.params.get("MaxCount", 1)
        if low < 1 or high < low:
            raise value_error(
                f"Value ({low}) for parameter minCount is invalid; it is between 1 and maxCount ({high})."
            )
        return int(high)

    def _type(self, name: str, image: Image) -> Shape:
        try:
            rows = self.request.moto("DescribeInstanceTypes", {"InstanceTypes": [name]})["InstanceTypes"]
        except Ec2Error:
            rows = []
        if not rows:
            raise value_error(f"Invalid value '{name}' for InstanceType.")
        row: Shape = rows[0]
        supported = row["ProcessorInfo"]["SupportedArchitectures"]
        if image.architecture not in supported:
            raise value_error(
                f"The architecture '{','.join(supported)}' of the specified instance type does not match the "
                f"architecture '{image.architecture}' of the specified AMI. Specify an instance type and an AMI "
                "that have matching architectures, and try again. You can use 'describe-instance-types' or "
                "'describe-images' to discover the architecture of the instance type or AMI."
            )
        if image.virtualization not in row.get("SupportedVirtualizationTypes", [image.virtualization]):
            raise value_error(
                f"Virtualization type '{image.virtualization}' is not supported for instances of type '{name}'."
            )
        boot_modes = row.get("SupportedBootModes") or []
        mode = image.facts.get("BootMode")
        if mode in ("uefi", "legacy-bios") and boot_modes and mode not in boot_modes:
            raise value_error(
                f"The instance type '{name}' does not support the boot mode '{mode}' of the specified AMI."
            )
        if row.get("NetworkInfo", {}).get("EnaSupport") == "required" and not image.facts.get("EnaSupport"):
            raise value_error(
                f"Enhanced networking with the Elastic Network Adapter (ENA) is required for the '{name}' instance "
                "type. Ensure that you are using an AMI that is enabled for ENA."
            )
        return row

    def _user_data(self) -> str:
        text = self.params.get("UserData") or ""
        try:
            size = len(base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            raise value_error("Invalid BASE64 encoding of user data.") from None
        if size > LONGEST_USER_DATA:
            raise value_error(f"User data is limited to {LONGEST_USER_DATA} bytes")
        return str(text)

    def _check_options(self, image: Image, type_row: Shape) -> None:
        params = self.params
        metadata = params.get("MetadataOptions") or {}
        hops = metadata.get("HttpPutResponseHopLimit")
        if hops is not None and not 1 <= hops <= 64:
            raise value_error(f"Value ({hops}) for parameter HttpPutResponseHopLimit is invalid. Expected 1 to 64.")
        for name, allowed in _METADATA_VALUES.items():
            if metadata.get(name) not in (None, *allowed):
                raise value_error(f"Value ({metadata[name]}) for parameter {name} is invalid.")
        if params.get("InstanceInitiatedShutdownBehavior") not in (None, "stop", "terminate"):
            raise value_error(
                "Value for parameter instanceInitiatedShutdownBehavior is invalid. Expected stop or terminate"
            )
        if params.get("CreditSpecification") and not type_row.get("BurstablePerformanceSupported"):
            raise combination_error(
                f"The instance type {type_row['InstanceType']} does not support CreditSpecification."
            )
        if (params.get("HibernationOptions") or {}).get("Configured") and not type_row.get("HibernationSupported"):
            raise Ec2Error(
                "UnsupportedHibernationConfiguration",
                f"The instance type {type_row['InstanceType']} does not support hibernation.",
            )
        if params.get("KernelId") and image.virtualization == "hvm":
            raise combination_error("Kernel cannot be specified for HVM instances.")
        zone = (params.get("Placement") or {}).get("AvailabilityZone")
        if zone and zone not in zone_names(self.request):
            raise value_error(f"Invalid availability zone: [{zone}]")
        if zone and params.get("SubnetId"):
            subnet = self.request.moto("DescribeSubnets", {"SubnetIds": [params["SubnetId"]]})["Subnets"][0]
            if subnet["AvailabilityZone"] != zone:
                raise value_error(
                    f"The availability zone '{zone}' does not match that of the subnet '{params['SubnetId']}'."
                )
        if params.get("KeyName"):
            self.request.moto("DescribeKeyPairs", {"KeyNames": [params["KeyName"]]})

    # --- block devices ---

    def _devices(self, image: Image) -> list[tuple[str, bool, VolumeSpec]]:
        """(device name, delete on termination, volume) per EBS device of the launch."""
        given = self.params.get("BlockDeviceMappings") or []
        names = [one.get("DeviceName") for one in given]
        for name in names:
            if not name:
                raise Ec2Error(
                    "MissingParameter", "The request must contain the parameter BlockDeviceMapping.DeviceName"
                )
            if names.count(name) > 1:
                raise mapping_error(f"The device '{name}' is used in more than one block-device mapping")
        known = {one["DeviceName"]: one for one in image.mappings}
        found = []
        for mapping in merged_rows(image.mappings, given):
            name = mapping["DeviceName"]
            if mapping.get("NoDevice") is not None:
                if name == image.root_device_name:
                    raise mapping_error(f"The root device '{name}' cannot be left out.")
                continue
            if mapping.get("VirtualName"):
                continue
            checked_device(name, image.virtualization)
            own = next((one.get("Ebs") or {} for one in given if one.get("DeviceName") == name), {})
            found.append(self._device(name, mapping.get("Ebs") or {}, own, known.get(name, {}).get("Ebs", {}), image))
        return found

    def _device(
        self, name: str, ebs: Mapping[str, Any], own: Mapping[str, Any], of_image: Mapping[str, Any], image: Image
    ) -> tuple[str, bool, VolumeSpec]:
        snapshot = self._snapshot(name, own, of_image, image)
        if snapshot is not None and own.get("Encrypted") is False and snapshot.encrypted:
            raise value_error("The encrypted flag cannot be set to false for a device with an encrypted snapshot.")
        size = ebs.get("VolumeSize", snapshot.volume_size if snapshot else None)
        if size is None:
            raise Ec2Error("MissingParameter", "The request must contain the parameter size or snapshotId")
        if snapshot is not None and size < snapshot.volume_size:
            raise smaller_than_snapshot(size, snapshot)
        volume_type = checked_type(ebs.get("VolumeType"))
        if name == image.root_device_name and not VOLUME_TYPES[volume_type].boot:
            raise value_error(f"Volume type {volume_type} is not supported for boot volumes.")
        checked_size(volume_type, size)
        checked_initialization_rate(ebs.get("VolumeInitializationRate"), snapshot is not None)
        # The image's IOPS and throughput belong to the image's volume type.
        inherited = {} if "VolumeType" in own and own["VolumeType"] != of_image.get("VolumeType") else of_image
        iops = own.get("Iops", inherited.get("Iops"))
        throughput = own.get("Throughput", inherited.get("Throughput"))
        iops, throughput = performance(volume_type, size, iops, throughput)
        sealed = encryption(
            self.request, own.get("Encrypted", of_image.get("Encrypted") or None), own.get("KmsKeyId"), snapshot
        )
        spec = VolumeSpec(size, volume_type, iops, throughput, sealed, snapshot, ebs.get("VolumeInitializationRate"))
        return name, bool(ebs.get("DeleteOnTermination", True)), spec

    def _snapshot(
        self, name: str, own: Mapping[str, Any], of_image: Mapping[str, Any], image: Image
    ) -> Snapshot | None:
        asked, given = own.get("SnapshotId"), of_image.get("SnapshotId")
        if asked and name == image.root_device_name and asked != given:
            raise mapping_error(f"snapshotId cannot be modified on root device {name}")
        if asked and asked != given:
            return completed_snapshot(self.request, asked)
        if not given:
            return None
        for region in self.request.world.regions():
            if region.name == self.request.region and given in region.snapshots:
                refuse_unusable(region.snapshots[given], self.request.now)
                return region.snapshots[given]
        raise Ec2Error("InvalidSnapshot.NotFound", f"The snapshot '{given}' does not exist.")

    # --- effects ---

    def _moto_params(self, instance_type: str) -> Shape:
        kept = {name: self.params[name] for name in _MOTO_PARAMETERS if self.params.get(name) is not None}
        if not kept.get("SubnetId") and not kept.get("NetworkInterfaces"):
            kept["SubnetId"] = self._default_subnet()
        if kept.get("SubnetId") and not kept.get("SecurityGroupIds") and not kept.get("SecurityGroups"):
            kept["SecurityGroupIds"] = [self._default_group(kept["SubnetId"])]
        return {
            **kept,
            "ImageId": self.params["ImageId"],
            "InstanceType": instance_type,
            "MinCount": self.params.get("MinCount", 1),
            "MaxCount": self.params.get("MaxCount", 1),
        }

    def _default_subnet(self) -> str:
        """The default subnet of the wanted zone, or of the first one. Raises MissingInput without a default VPC."""
        rows = self.request.moto("DescribeSubnets", {"Filters": [{"Name": "default-for-az", "Values": ["true"]}]})[
            "Subnets"
        ]
        zone = (self.params.get("Placement") or {}).get("AvailabilityZone")
        rows = sorted(
            (one for one in rows if zone in (None, one["AvailabilityZone"])), key=lambda one: one["AvailabilityZone"]
        )
        if not rows:
            raise Ec2Error("MissingInput", "No subnets found for the default VPC. Please specify a subnet.")
        return str(rows[0]["SubnetId"])

    def _default_group(self, subnet_id: str) -> str:
        request = self.request
        vpc = request.moto("DescribeSubnets", {"SubnetIds": [subnet_id]})["Subnets"][0]["VpcId"]
        filters = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "group-name", "Values": ["default"]}]
        return str(request.moto("DescribeSecurityGroups", {"Filters": filters})["SecurityGroups"][0]["GroupId"])

    def _instance(
        self,
        row: Shape,
        reservation_id: str,
        index: int,
        image: Image,
        instance_type: str,
        type_row: Shape,
        user_data: str,
        tags: dict[str, dict[str, str]],
    ) -> Instance:
        params = self.params
        instance = Instance(
            id=row["InstanceId"],
            created=self.request.now,
            reservation_id=reservation_id,
            owner=self.request.account,
            image_id=image.id,
            type=instance_type,
            zone=row["Placement"]["AvailabilityZone"],
            root_device_name=image.root_device_name,
            launch_index=index,
            platform=image.platform,
            product_codes=image.product_codes,
            facts=launch_facts(params, image, type_row),
            attributes={
                "DisableApiStop": bool(params.get("DisableApiStop")),
                "DisableApiTermination": bool(params.get("DisableApiTermination")),
                "InstanceInitiatedShutdownBehavior": params.get("InstanceInitiatedShutdownBehavior") or "stop",
                "SriovNetSupport": image.facts.get("SriovNetSupport"),
                "UefiData": image.uefi_data,
                "KeptInterfaces": {
                    one.get("DeviceIndex", 0)
                    for one in params.get("NetworkInterfaces") or []
                    if not one.get("DeleteOnTermination", not one.get("NetworkInterfaceId"))
                },
                "CpuCredits": (params.get("CreditSpecification") or {}).get("CpuCredits")
                or ("unlimited" if instance_type.startswith(("t3", "t4")) else "standard"),
                "Burstable": bool(type_row.get("BurstablePerformanceSupported")),
            },
            tags={**tags["instance"], **self.template_tags},
            user_data=user_data,
            unhealthy=image.unhealthy or bool(self.request.world.config.option("unhealthy_launches")),
        )
        market = params.get("InstanceMarketOptions") or {}
        if market.get("MarketType") == "spot":
            options = market.get("SpotOptions") or {}
            instance.spot = {
                "SpotInstanceRequestId": self.home.world.new_id("sir"),
                "Type": options.get("SpotInstanceType") or "one-time",
                "InstanceInterruptionBehavior": options.get("InstanceInterruptionBehavior") or "terminate",
                "Tags": tags["spot-instances-request"],
            }
        self.home.instances[instance.id] = instance
        return instance

    def _volumes(
        self, instance: Instance, devices: list[tuple[str, bool, VolumeSpec]], tags: Mapping[str, str]
    ) -> None:
        for name, delete, spec in devices:
            volume = make_volume(self.request, spec, instance.zone, tags)
            attach(self.home, volume, instance, name, self.request.now, delete_on_termination=delete)

    def _power(
        self, instance: Instance, devices: list[tuple[str, bool, VolumeSpec]], failure: tuple[str, str] | None
    ) -> None:
        now = self.request.now
        done = self.home.moment("instance_pending", now)
        if failure is None and any(
            spec.encryption.broken or _locked_out(self.request, spec.encryption.key) for _name, _delete, spec in devices
        ):
            failure = KEY_FAILURE
        if failure is not None:
            code, message = failure
            instance.power.append(
                Power("terminated", now, done, "pending", _reason(code, message or "Server error on launch"))
            )
            end_of_life(self.home, instance, done)
            return
        instance.power.append(Power("running", now, done, "pending", _reason("pending", "pending")))


KEY_FAILURE = ("Client.InternalError", "Client error on launch")
"""EC2's StateReason for a launch or a start that a KMS key has hindered: EC2 looks at keys only after its answer."""


def _locked_out(request: Request, key: str | None) -> bool:
    """Whether a volume has a key that the caller cannot use now."""
    return key is not None and not may_use(request, key)


_METADATA_VALUES = {
    "HttpTokens": ("optional", "required"),
    "HttpEndpoint": ("enabled", "disabled"),
    "HttpProtocolIpv6": ("enabled", "disabled"),
    "InstanceMetadataTags": ("enabled", "disabled"),
}

_MOTO_PARAMETERS = (
    "SubnetId", "SecurityGroupIds", "SecurityGroups", "PrivateIpAddress", "NetworkInterfaces", "KeyName", "Placement",
    "IamInstanceProfile", "Ipv6AddressCount", "Monitoring", "UserData",
)  # fmt: skip


def launch_facts(params: Mapping[str, Any], image: Image, type_row: Mapping[str, Any]) -> Shape:
    """The rows of DescribeInstances that a launch fixes, from its parameters and its image."""
    metadata = params.get("MetadataOptions") or {}
    required = image.facts.get("ImdsSupport") == "v2.0"
    virtual_cpus = type_row.get("VCpuInfo", {})
    placement = {name: value for name, value in (params.get("Placement") or {}).items() if name != "AvailabilityZoneId"}
    mode = image.facts.get("BootMode")
    modes = type_row.get("SupportedBootModes") or ["legacy-bios"]
    facts: Shape = {
        "Architecture": image.architecture,
        "VirtualizationType": image.virtualization,
        "Hypervisor": "xen",
        "RootDeviceName": image.root_device_name,
        "RootDeviceType": image.root_device_type,
        "EnaSupport": bool(image.facts.get("EnaSupport")),
        "BootMode": mode,
        "CurrentInstanceBootMode": "uefi"
        if mode == "uefi" or image.architecture.startswith("arm64") or (mode == "uefi-preferred" and "uefi" in modes)
        else "legacy-bios",
        "TpmSupport": image.facts.get("TpmSupport"),
        "KernelId": params.get("KernelId") or image.facts.get("KernelId"),
        "RamdiskId": params.get("RamdiskId") or image.facts.get("RamdiskId"),
        "PlatformDetails": image.platform_details,
        "UsageOperation": image.usage_operation,
        "EbsOptimized": bool(params.get("EbsOptimized")),
        "KeyName": params.get("KeyName"),
        "ClientToken": params.get("ClientToken") or "",
        "Monitoring": {"State": "enabled" if (params.get("Monitoring") or {}).get("Enabled") else "disabled"},
        "Placement": {"Tenancy": "default", "GroupName": "", **placement},
        "MetadataOptions": {
            "State": "applied",
            "HttpTokens": metadata.get("HttpTokens") or ("required" if required else "optional"),
            "HttpPutResponseHopLimit": metadata.get("HttpPutResponseHopLimit") or (2 if required else 1),
            "HttpEndpoint": metadata.get("HttpEndpoint") or "enabled",
            "HttpProtocolIpv6": metadata.get("HttpProtocolIpv6") or "disabled",
            "InstanceMetadataTags": metadata.get("InstanceMetadataTags") or "disabled",
        },
        "CpuOptions": {
            "CoreCount": virtual_cpus.get("DefaultCores", 1),
            "ThreadsPerCore": virtual_cpus.get("DefaultThreadsPerCore", 1),
            **(params.get("CpuOptions") or {}),
        },
        "HibernationOptions": {"Configured": bool((params.get("HibernationOptions") or {}).get("Configured"))},
        "EnclaveOptions": {"Enabled": bool((params.get("EnclaveOptions") or {}).get("Enabled"))},
        "MaintenanceOptions": {
            "AutoRecovery": "default",
            "RebootMigration": "default",
            **(params.get("MaintenanceOptions") or {}),
        },
        "PrivateDnsNameOptions": {
            "HostnameType": "ip-name",
            "EnableResourceNameDnsARecord": False,
            "EnableResourceNameDnsAAAARecord": False,
            **(params.get("PrivateDnsNameOptions") or {}),
        },
        "CapacityReservationSpecification": {
            "CapacityReservationPreference": "open",
            **_capacity(params.get("CapacityReservationSpecification") or {}),
        },
        "NetworkPerformanceOptions": {
            "BandwidthWeighting": (params.get("NetworkPerformanceOptions") or {}).get("BandwidthWeighting") or "default"
        },
    }
    if params.get("LicenseSpecifications"):
        facts["Licenses"] = [
            {"LicenseConfigurationArn": one["LicenseConfigurationArn"]} for one in params["LicenseSpecifications"]
        ]
    return facts


def _capacity(given: Mapping[str, Any]) -> Shape:
    return {
        name: value
        for name, value in given.items()
        if name in ("CapacityReservationPreference", "CapacityReservationTarget")
    }


# --- reading ----------------------------------------------------------------------------------------------------------


class Network:
    """Moto's facts about the instances: read on first use, in one call, and for one request."""

    def __init__(self, request: Request, instance_ids: Iterable[str] | None = None) -> None:
        self.request = request
        self._ids = list(instance_ids) if instance_ids is not None else None

    @cached_property
    def rows(self) -> dict[str, Shape]:
        """moto's rows by instance id."""
        request = self.request
        ids = self._ids if self._ids is not None else list(request.home.instances)
        with request.world.lock:
            return request.world.moto.instances(ids, account=request.account, region=request.region)

    @cached_property
    def elastic(self) -> dict[str, str]:
        """Elastic IPs of primary interfaces, by instance id; moto forgets them at a stop."""
        answer = self.request.moto("DescribeAddresses", {})
        owners = {
            one["NetworkInterfaceId"]: instance_id
            for instance_id, row in self.rows.items()
            for one in row.get("NetworkInterfaces") or ()
            if (one.get("Attachment") or {}).get("DeviceIndex") == 0
        }
        found = ((owners.get(one.get("NetworkInterfaceId") or ""), one["PublicIp"]) for one in answer["Addresses"])
        return {instance_id: address for instance_id, address in found if instance_id is not None}

    def public_ip(self, instance: Instance, now: datetime) -> str | None:
        """The public IPv4: an Elastic IP, or one that lasts while the instance runs."""
        if instance.id in self.elastic:
            return self.elastic[instance.id]
        if instance.state(now) not in ("pending", "running") or instance.attributes.get("WithoutPublicAddress"):
            return None
        return self.rows.get(instance.id, {}).get("PublicIpAddress") or None


def reservation(request: Request, instances: list[Instance], network: Network) -> Shape:
    """A reservation as RunInstances and DescribeInstances show it."""
    return {
        "ReservationId": instances[0].reservation_id,
        "OwnerId": instances[0].owner,
        "Groups": [],
        "Instances": [instance_row(request, one, network) for one in instances],
    }


_NETWORK_ROWS = (
    "PrivateIpAddress",
    "PrivateDnsName",
    "SubnetId",
    "VpcId",
    "SecurityGroups",
    "SourceDestCheck",
    "Ipv6Address",
)


def instance_row(request: Request, instance: Instance, network: Network) -> Shape:
    """An instance as DescribeInstances shows it."""
    now = request.now
    state = instance.state(now)
    twin = network.rows.get(instance.id, {})
    alive = state not in ("shutting-down", "terminated")
    last = instance.latest(request.now)
    row: Shape = {
        "InstanceId": instance.id,
        "ImageId": instance.image_at(now),
        "InstanceType": instance.type,
        "State": state_row(shown_state(request, instance)),
        "LaunchTime": instance.launched.replace(microsecond=0),
        "AmiLaunchIndex": instance.launch_index,
        "StateTransitionReason": last.transition_reason,
        "StateReason": last.reason if state != "running" else None,
        "ProductCodes": product_codes(instance.product_codes),
        "Platform": instance.platform or None,
        "Tags": tag_list(instance.tags),
        "Operator": {"Managed": bool(instance.operator), "Principal": instance.operator or None},
        "UsageOperationUpdateTime": instance.created,
        "InstanceLifecycle": "spot" if instance.spot else None,
        "SpotInstanceRequestId": instance.spot.get("SpotInstanceRequestId"),
        **instance.facts,
        "PublicDnsName": "",
        "BlockDeviceMappings": [device_row(volume, one, now) for volume, one in request.home.devices(instance, now)],
        "NetworkInterfaces": [],
        "SecurityGroups": [],
        "PrivateDnsName": "",
    }
    row["Placement"] = {
        **instance.facts["Placement"],
        "AvailabilityZone": instance.zone,
        "AvailabilityZoneId": zone_names(request).get(instance.zone),
    }
    if alive:
        row |= {name: twin[name] for name in _NETWORK_ROWS if twin.get(name) is not None}
        interfaces = row["NetworkInterfaces"] = _interfaces(twin, network, instance, now)
        row["SecurityGroups"] = row["SecurityGroups"] or (interfaces[0].get("Groups") if interfaces else [])
        profile = twin.get("IamInstanceProfile")
        row["IamInstanceProfile"] = profile or None
        public = network.public_ip(instance, now)
        row["PublicIpAddress"] = public
        row["PublicDnsName"] = _public_dns(public, request.region) if public else ""
    return row


def _public_dns(address: str, region: str) -> str:
    host = f"ec2-{address.replace('.', '-')}"
    return f"{host}.compute-1.amazonaws.com" if region == "us-east-1" else f"{host}.{region}.compute.amazonaws.com"


def _interfaces(twin: Shape, network: Network, instance: Instance, now: datetime) -> list[Shape]:
    """moto's interfaces, with the public address of the first as it is now."""
    rows = []
    for one in twin.get("NetworkInterfaces") or []:
        shown = interface_row(network.request, {**one, "Attachment": {**one["Attachment"], "InstanceId": instance.id}})
        rows += [shown] if shown is not None else []
    for row in rows:
        row["Attachment"].pop("InstanceId")
    rows.sort(key=lambda row: row["Attachment"]["DeviceIndex"])
    public = network.public_ip(instance, now)
    for index, row in enumerate(rows):
        if index:
            continue
        association = (
            {
                "PublicIp": public,
                "PublicDnsName": _public_dns(public, instance.zone[:-1]),
                "IpOwnerId": instance.owner if instance.id in network.elastic else "amazon",
            }
            if public
            else None
        )
        row["Association"] = association
        row["SourceDestCheck"] = bool(twin.get("SourceDestCheck", True))
        for address in row.get("PrivateIpAddresses") or []:
            if address.get("Primary"):
                address["Association"] = association
    return rows


def device_row(volume: Volume, attachment: Any, now: datetime) -> Shape:
    """A row of an instance's BlockDeviceMappings."""
    return {
        "DeviceName": attachment.device,
        "Ebs": {
            "VolumeId": volume.id,
            "Status": attachment.device_state(now),
            "AttachTime": attachment.asked.replace(microsecond=0),
            "DeleteOnTermination": attachment.delete_on_termination,
            "EbsCardIndex": attachment.card,
            "Operator": {"Managed": bool(volume.operator), "Principal": volume.operator or None},
        },
    }


def shown_state(request: Request, instance: Instance) -> str:
    """The state that DescribeInstances shows: the earlier one for ``instance_end_shown`` after TerminateInstances."""
    last, now = instance.power[-1], request.now
    if last.state == "terminated" and len(instance.power) > 1 and last.meanwhile == "shutting-down":
        before = instance.power[-2]
        if now < request.home.moment("instance_end_shown", last.asked):
            return before.meanwhile if last.asked < before.done else before.state
    return instance.state(now)


def state_row(state: str) -> Shape:
    """A state with its code."""
    return {"Code": STATE_CODES[state], "Name": state}


def _fields(request: Request, network: Network) -> dict[str, Any]:
    now, home = request.now, request.home

    def twin(name: str) -> Any:
        return lambda one: network.rows.get(one.id, {}).get(name) or None

    def interfaces(name: str) -> Any:
        return lambda one: [each.get(name) for each in network.rows.get(one.id, {}).get("NetworkInterfaces") or []]

    def groups(name: str) -> Any:
        return lambda one: [each.get(name) for each in network.rows.get(one.id, {}).get("SecurityGroups") or []]

    def fact(name: str) -> Any:
        return lambda one: one.facts.get(name)

    def inner(name: str, member: str) -> Any:
        return lambda one: (one.facts.get(name) or {}).get(member)

    def devices(read: Any) -> Any:
        return lambda one: [read(volume, each) for volume, each in home.devices(one, now)]

    return {
        "affinity": inner("Placement", "Affinity"),
        "architecture": fact("Architecture"),
        "availability-zone": lambda one: one.zone,
        "availability-zone-id": lambda one: zone_names(request).get(one.zone),
        "block-device-mapping.attach-time": devices(lambda _volume, each: each.asked),
        "block-device-mapping.delete-on-termination": devices(lambda _volume, each: each.delete_on_termination),
        "block-device-mapping.device-name": devices(lambda _volume, each: each.device),
        "block-device-mapping.status": devices(lambda _volume, each: each.device_state(now)),
        "block-device-mapping.volume-id": devices(lambda volume, _each: volume.id),
        "boot-mode": fact("BootMode"),
        "client-token": fact("ClientToken"),
        "current-instance-boot-mode": fact("CurrentInstanceBootMode"),
        "dns-name": lambda one: _public_dns(found, request.region) if (found := network.public_ip(one, now)) else None,
        "ebs-optimized": fact("EbsOptimized"),
        "ena-support": fact("EnaSupport"),
        "enclave-options.enabled": inner("EnclaveOptions", "Enabled"),
        "hibernation-options.configured": inner("HibernationOptions", "Configured"),
        "hypervisor": fact("Hypervisor"),
        "iam-instance-profile.arn": lambda one: (network.rows.get(one.id, {}).get("IamInstanceProfile") or {}).get(
            "Arn"
        ),
        "iam-instance-profile.id": lambda one: (network.rows.get(one.id, {}).get("IamInstanceProfile") or {}).get("Id"),
        "image-id": lambda one: one.image_at(now),
        "instance-id": lambda one: one.id,
        "instance-lifecycle": lambda one: "spot" if one.spot else None,
        "instance-state-code": lambda one: STATE_CODES[shown_state(request, one)],
        "instance-state-name": lambda one: shown_state(request, one),
        "instance-type": lambda one: one.type,
        "instance.group-id": groups("GroupId"),
        "instance.group-name": groups("GroupName"),
        "ip-address": lambda one: network.public_ip(one, now),
        "kernel-id": fact("KernelId"),
        "key-name": fact("KeyName"),
        "launch-index": lambda one: one.launch_index,
        "launch-time": lambda one: one.launched,
        "metadata-options.http-endpoint": inner("MetadataOptions", "HttpEndpoint"),
        "metadata-options.http-put-response-hop-limit": inner("MetadataOptions", "HttpPutResponseHopLimit"),
        "metadata-options.http-tokens": inner("MetadataOptions", "HttpTokens"),
        "metadata-options.instance-metadata-tags": inner("MetadataOptions", "InstanceMetadataTags"),
        "monitoring-state": inner("Monitoring", "State"),
        "network-interface.network-interface-id": interfaces("NetworkInterfaceId"),
        "network-interface.subnet-id": interfaces("SubnetId"),
        "network-interface.vpc-id": interfaces("VpcId"),
        "network-interface.addresses.private-ip-address": interfaces("PrivateIpAddress"),
        "operator.managed": lambda one: bool(one.operator),
        "operator.principal": lambda one: one.operator or None,
        "owner-id": lambda one: one.owner,
        "placement-group-name": inner("Placement", "GroupName"),
        "platform": lambda one: one.platform or None,
        "platform-details": fact("PlatformDetails"),
        "private-dns-name": twin("PrivateDnsName"),
        "private-ip-address": twin("PrivateIpAddress"),
        "product-code": lambda one: list(one.product_codes),
        "product-code.type": lambda one: "marketplace" if one.product_codes else None,
        "ramdisk-id": fact("RamdiskId"),
        "reason": lambda one: one.latest(now).transition_reason or None,
        "requester-id": lambda one: None,
        "reservation-id": lambda one: one.reservation_id,
        "root-device-name": fact("RootDeviceName"),
        "root-device-type": fact("RootDeviceType"),
        "source-dest-check": lambda one: bool(network.rows.get(one.id, {}).get("SourceDestCheck", True)),
        "spot-instance-request-id": lambda one: one.spot.get("SpotInstanceRequestId"),
        "state-reason-code": lambda one: (one.latest(now).reason or {}).get("Code"),
        "state-reason-message": lambda one: (one.latest(now).reason or {}).get("Message"),
        "subnet-id": twin("SubnetId"),
        "tenancy": inner("Placement", "Tenancy"),
        "tpm-support": fact("TpmSupport"),
        "usage-operation": fact("UsageOperation"),
        "virtualization-type": fact("VirtualizationType"),
        "vpc-id": twin("VpcId"),
    }


def chosen(request: Request) -> list[Instance]:
    """The instances with the request's InstanceIds, or all that are shown. Raises as `Region.instance_list`."""
    wanted = request.params.get("InstanceIds")
    if not wanted:
        return [one for one in request.home.instances.values() if one.exists(request.now) and request.visible(one)]
    found = request.home.instance_list(wanted)
    hidden = [one.id for one in found if not request.visible(one)]
    if hidden:
        raise Ec2Error("InvalidInstanceID.NotFound", f"The instance ID '{hidden[0]}' does not exist")
    return found


@action("DescribeInstances")
def describe_instances(request: Request) -> Shape:
    """The account's instances, by reservation; terminated ones for an hour after their end."""
    found = matching(request, chosen(request), _fields(request, Network(request)))
    page, token = paged(request, found)
    network = Network(request, [one.id for one in page])
    by_reservation: dict[str, list[Instance]] = {}
    for one in page:
        by_reservation.setdefault(one.reservation_id, []).append(one)
    return {
        "Reservations": [reservation(request, group, network) for group in by_reservation.values()],
        "NextToken": token,
    }


@action("DescribeInstanceStatus")
def describe_instance_status(request: Request) -> Shape:
    """The status checks; of instances that do not run only with IncludeAllInstances. It knows no filters on tags."""
    now = request.now
    named = len(request.params.get("InstanceIds") or [])
    if named > MOST_STATUS_IDS:
        # EC2's own spelling.
        raise Ec2Error(
            "InvalidRequest",
            f"{named} exceeds the maximum number of instance IDs that can be specificied ({MOST_STATUS_IDS}). "
            f"Please specify fewer than {MOST_STATUS_IDS} instance IDs.",
        )
    rows = chosen(request)
    if not request.params.get("IncludeAllInstances"):
        rows = [one for one in rows if one.state(now) == "running"]
    zones = zone_names(request)
    found = matching(
        request,
        rows,
        {
            "availability-zone": lambda one: one.zone,
            "availability-zone-id": lambda one: zones.get(one.zone),
            "instance-state-code": lambda one: STATE_CODES[one.state(now)],
            "instance-state-name": lambda one: one.state(now),
            "instance-status.status": lambda one: check_status(request.home, one, now)[0],
            "instance-status.reachability": lambda one: check_status(request.home, one, now)[1],
            "system-status.status": lambda one: check_status(request.home, one, now, system=True)[0],
            "system-status.reachability": lambda one: check_status(request.home, one, now, system=True)[1],
            "operator.managed": lambda one: bool(one.operator),
            "operator.principal": lambda one: one.operator or None,
        },
        tagged=False,
    )
    page, token = paged(request, found)
    return {"InstanceStatuses": [_status_row(request, one, zones) for one in page], "NextToken": token}


def check_status(region: Region, instance: Instance, now: datetime, *, system: bool = False) -> tuple[str, str | None]:
    """(status, reachability): initializing until ``status_ok`` after it runs, then ok, or impaired on demand.

    An unhealthy instance passes the system check and fails its own.
    """
    if instance.state(now) != "running":
        return "not-applicable", None
    if instance.checked is not None and instance.checked >= instance.power[-1].done and not instance.pauses:
        return ("impaired", "failed") if instance.unhealthy and not system else ("ok", "passed")
    since = max([instance.power[-1].done, *(end for _start, end in instance.pauses if end <= now)])
    if now < region.moment("status_ok", since):
        return "initializing", "initializing"
    if instance.unhealthy and not system:
        return "impaired", "failed"
    return "ok", "passed"


def _status_row(request: Request, instance: Instance, zones: Mapping[str, str]) -> Shape:
    row: Shape = {
        "InstanceId": instance.id,
        "AvailabilityZone": instance.zone,
        "AvailabilityZoneId": zones.get(instance.zone),
        "InstanceState": state_row(instance.state(request.now)),
        "Operator": {"Managed": bool(instance.operator), "Principal": instance.operator or None},
        "Events": [],
    }
    for name, system in (("SystemStatus", True), ("InstanceStatus", False), ("AttachedEbsStatus", True)):
        status, reachability = check_status(request.home, instance, request.now, system=system)
        row[name] = {"Status": status, "Details": []}
        if reachability:
            row[name]["Details"] = [{"Name": "reachability", "Status": reachability}]
    return row


# --- power ------------------------------------------------------------------------------------------------------------


def _reason(code: str, text: str) -> Shape:
    return {"Code": code, "Message": text if text == code else f"{code}: {text}"}


_USER_SHUTDOWN = _reason("Client.UserInitiatedShutdown", "User initiated shutdown")


def _user_initiated(now: datetime) -> str:
    return f"User initiated ({now:%Y-%m-%d %H:%M:%S} GMT)"


def _changes(name: str, rows: list[tuple[Instance, str]], now: datetime) -> Shape:
    return {
        name: [
            {"InstanceId": one.id, "PreviousState": state_row(before), "CurrentState": state_row(one.state(now))}
            for one, before in rows
        ]
    }


def _refuse_managed(instances: Iterable[Instance]) -> None:
    for one in instances:
        if one.operator:
            raise Ec2Error(
                "OperationNotPermitted", f"The instance '{one.id}' is managed by {one.operator} and cannot be modified."
            )


@action("StopInstances")
def stop_instances(request: Request) -> Shape:
    """Stop instances, all or none. It writes until it is ``stopped``."""
    home, now, params = request.home, request.now, request.params
    instances = chosen(request)
    _refuse_managed(instances)
    for one in instances:
        _check_stop(one, one.state(now), bool(params.get("Hibernate")))
    request.dry_run_gate()
    rows = []
    for one in instances:
        before = one.state(now)
        rows.append((one, before))
        if before == "running":
            done = home.moment("instance_stopping", now)
            if params.get("Hibernate"):
                reason = _reason("Client.UserInitiatedHibernate", "User initiated hibernate")
            else:
                reason = _USER_SHUTDOWN
            one.power.append(Power("stopped", now, done, "stopping", reason, _user_initiated(now)))
            unmount_busy(home, one, done)
    _tell_moto(request, "StopInstances", [one.id for one, before in rows if before == "running"])
    return _changes("StoppingInstances", rows, now)


def _check_stop(instance: Instance, state: str, hibernate: bool) -> None:
    if state in ("pending", "shutting-down", "terminated"):
        raise Ec2Error(
            "IncorrectInstanceState", f"The instance '{instance.id}' is not in a state from which it can be stopped."
        )
    if instance.facts["RootDeviceType"] == "instance-store":
        raise Ec2Error(
            "UnsupportedOperation",
            f"The instance '{instance.id}' does not have an 'ebs' root device type and cannot be stopped.",
        )
    if instance.spot and instance.spot["Type"] == "one-time":
        raise Ec2Error(
            "UnsupportedOperation",
            f"You can't stop the Spot Instance '{instance.id}' because it is associated with a one-time Spot Instance "
            "request. You can only stop Spot Instances associated with persistent Spot Instance requests.",
        )
    if hibernate and not instance.facts["HibernationOptions"]["Configured"]:
        raise Ec2Error(
            "UnsupportedHibernationConfiguration",
            f"The instance '{instance.id}' is not configured for hibernation, so it can't be hibernated.",
        )
    if instance.attributes["DisableApiStop"]:
        raise Ec2Error(
            "OperationNotPermitted",
            f"The instance '{instance.id}' may not be stopped. Modify its 'disableApiStop' instance attribute and try "
            "again.",
        )


def _tell_moto(request: Request, name: str, instance_ids: list[str]) -> None:
    if instance_ids:
        request.moto(name, {"InstanceIds": instance_ids})


@action("StartInstances")
def start_instances(request: Request) -> Shape:
    """Start instances, all or none; LaunchTime moves, and a public address that is not an Elastic IP changes.

    A start that fails after EC2 has accepted it falls back to ``stopped``: a volume's key cannot be used, or a fault of
    kind ``end`` asks for it, whose code (``Client.…`` or ``Server.…``) and message are the reason then.
    """
    home, now = request.home, request.now
    instances = chosen(request)
    _refuse_managed(instances)
    for one in instances:
        if one.state(now) in ("stopping", "shutting-down", "terminated"):
            raise Ec2Error(
                "IncorrectInstanceState", f"The instance '{one.id}' is not in a state from which it can be started."
            )
        if all(each.device != one.root_device_name for _volume, each in home.devices(one, now)):
            raise value_error(
                f"Invalid value '{one.id}' for instanceId. Instance does not have a volume attached at root "
                f"({one.root_device_name})"
            )
    request.dry_run_gate()
    rows, started = [], []
    for one in instances:
        before = one.state(now)
        rows.append((one, before))
        if before != "stopped":
            continue
        done, failure = home.moment("instance_pending", now), _start_failure(request, one)
        if failure is None:
            started.append(one.id)
            one.power.append(Power("running", now, done, "pending", _reason("pending", "pending")))
            # EC2 user guide, "Public IPv4 addresses": with several interfaces, a start gives no new public address.
            interfaces = Network(request, [one.id]).rows.get(one.id, {}).get("NetworkInterfaces") or ()
            one.attributes["WithoutPublicAddress"] = len(interfaces) > 1
        else:
            one.power.append(Power("stopped", now, done, "pending", _reason(*failure)))
    _tell_moto(request, "StartInstances", started)
    return _changes("StartingInstances", rows, now)


def _start_failure(request: Request, instance: Instance) -> tuple[str, str] | None:
    """Why a start that is accepted will fail, as (code, message); None when it will not."""
    end = request.end_state()
    if end is not None:
        code = end["code"] if end["code"].startswith(("Client.", "Server.")) else "Server.InternalError"
        return code, end["message"]
    keys = [volume.kms_key_id for volume, _each in request.home.devices(instance, request.now)]
    return KEY_FAILURE if any(_locked_out(request, key) for key in keys) else None


@action("TerminateInstances")
def terminate_instances(request: Request) -> Shape:
    """Terminate instances, all or none; a repeated call is no error. Volumes go or stay by DeleteOnTermination."""
    home, now = request.home, request.now
    instances = chosen(request)
    _refuse_managed(instances)
    for one in instances:
        for attribute in ("disableApiTermination", "disableApiStop"):
            if one.attributes[attribute[0].upper() + attribute[1:]] and one.state(now) != "terminated":
                raise Ec2Error(
                    "OperationNotPermitted",
                    f"The instance '{one.id}' may not be terminated. Modify its '{attribute}' instance attribute and "
                    "try again.",
                )
    request.dry_run_gate()
    rows = []
    for one in instances:
        before = one.state(now)
        rows.append((one, before))
        if before not in ("shutting-down", "terminated"):
            # A stopped instance has nothing to shut down.
            done = now if before == "stopped" else home.moment("instance_shutting_down", now)
            one.power.append(Power("terminated", now, done, "shutting-down", _USER_SHUTDOWN, _user_initiated(now)))
            end_of_life(home, one, done)
    ended = [one.id for one, before in rows if before not in ("shutting-down", "terminated")]
    for one in instances:
        if one.id in ended:
            _release_addresses(request, end_interfaces(request, one, one.power[-1].done))
    _tell_moto(request, "TerminateInstances", ended)
    return _changes("TerminatingInstances", rows, now)


def _release_addresses(request: Request, interface_ids: list[str]) -> None:
    """An Elastic IP of an interface that ends stays allocated, and is associated with nothing."""
    if interface_ids:
        for address in request.moto("DescribeAddresses", {})["Addresses"]:
            if address.get("NetworkInterfaceId") in interface_ids:
                request.moto("DisassociateAddress", {"AssociationId": address["AssociationId"]})


def end_of_life(region: Region, instance: Instance, done: datetime) -> None:
    """Delete or detach the volumes when the instance is terminated at ``done``, and when it is forgotten."""
    for volume, attachment in region.devices(instance, done):
        attachment.end(done, done)
        if attachment.delete_on_termination and not any(one.shown(done) for one in volume.attachments):
            remove_volume(region, volume, done)
    instance.gone = region.moment("instance_gone", done)


@action("RebootInstances")
def reboot_instances(request: Request) -> Shape:
    """Reboot running instances: for a moment they do not write, while their state stays running."""
    instances = chosen(request)
    _refuse_managed(instances)
    for one in instances:
        if one.state(request.now) not in ("running", "pending"):
            raise Ec2Error(
                "IncorrectInstanceState", f"The instance '{one.id}' is not in a state from which it can be rebooted."
            )
    request.dry_run_gate()
    for one in instances:
        if one.state(request.now) == "running":
            one.pauses.append((request.now, request.home.moment("instance_rebooting", request.now)))
    return {}


# --- attributes -------------------------------------------------------------------------------------------------------


def _one(request: Request) -> Instance:
    (instance,) = request.home.instance_list([request.params["InstanceId"]])
    if not request.visible(instance):
        raise Ec2Error("InvalidInstanceID.NotFound", f"The instance ID '{instance.id}' does not exist")
    return instance


@action("DescribeInstanceAttribute")
def describe_instance_attribute(request: Request) -> Shape:
    """One attribute of an instance; this is the only read of stop and termination protection and of user data."""
    instance, now = _one(request), request.now
    name = request.params["Attribute"]
    row: Shape = {"InstanceId": instance.id}
    facts, attributes = instance.facts, instance.attributes
    twin = Network(request, [instance.id])
    if instance.state(now) == "terminated":
        raise Ec2Error("IncorrectInstanceState", f"Instance '{instance.id}' is in 'terminated' state.")
    simple: dict[str, tuple[str, Any]] = {
        "instanceType": ("InstanceType", instance.type),
        "kernel": ("KernelId", facts.get("KernelId")),
        "ramdisk": ("RamdiskId", facts.get("RamdiskId")),
        "userData": ("UserData", instance.user_data or None),
        "disableApiTermination": ("DisableApiTermination", attributes["DisableApiTermination"]),
        "disableApiStop": ("DisableApiStop", attributes["DisableApiStop"]),
        "instanceInitiatedShutdownBehavior": (
            "InstanceInitiatedShutdownBehavior",
            attributes["InstanceInitiatedShutdownBehavior"],
        ),
        "rootDeviceName": ("RootDeviceName", instance.root_device_name),
        "ebsOptimized": ("EbsOptimized", facts["EbsOptimized"]),
        "sriovNetSupport": ("SriovNetSupport", attributes.get("SriovNetSupport")),
        "enaSupport": ("EnaSupport", facts["EnaSupport"]),
    }
    if name in simple:
        member, value = simple[name]
        row[member] = {"Value": value} if value is not None else {}
    elif name == "blockDeviceMapping":
        row["BlockDeviceMappings"] = [
            {"DeviceName": one["DeviceName"], "Ebs": {key: one["Ebs"][key] for key in _ATTRIBUTE_EBS}}
            for one in (device_row(volume, each, now) for volume, each in request.home.devices(instance, now))
        ]
    elif name == "productCodes":
        row["ProductCodes"] = product_codes(instance.product_codes)
    elif name == "sourceDestCheck":
        row["SourceDestCheck"] = {"Value": bool(twin.rows.get(instance.id, {}).get("SourceDestCheck", True))}
    elif name == "groupSet":
        row["Groups"] = twin.rows.get(instance.id, {}).get("SecurityGroups") or []
    elif name == "enclaveOptions":
        row["EnclaveOptions"] = facts["EnclaveOptions"]
    else:
        raise value_error(f"Value ({name}) for parameter attribute is invalid. Unknown attribute.")
    return row


_ATTRIBUTE_EBS = ("VolumeId", "Status", "AttachTime", "DeleteOnTermination")

_ONLY_STOPPED = {
    "instanceType": "instanceType",
    "kernel": "kernel",
    "ramdisk": "ramdisk",
    "userData": "userData",
    "ebsOptimized": "ebsOptimized",
    "enaSupport": "enaSupport",
    "sriovNetSupport": "sriovNetSupport",
}

_MODIFIABLE = {
    "DisableApiStop": "disableApiStop",
    "DisableApiTermination": "disableApiTermination",
    "EbsOptimized": "ebsOptimized",
    "EnaSupport": "enaSupport",
    "InstanceInitiatedShutdownBehavior": "instanceInitiatedShutdownBehavior",
    "InstanceType": "instanceType",
    "Kernel": "kernel",
    "Ramdisk": "ramdisk",
    "SourceDestCheck": "sourceDestCheck",
    "SriovNetSupport": "sriovNetSupport",
    "UserData": "userData",
}


@action("ModifyInstanceAttribute")
def modify_instance_attribute(request: Request) -> Shape:
    """Change one attribute; type, user data and the like only of a stopped instance."""
    params = request.params
    instance, now = _one(request), request.now
    changes = {
        _MODIFIABLE[name]: params[name].get("Value") for name in _MODIFIABLE if isinstance(params.get(name), dict)
    }
    if params.get("Attribute") and params.get("Value") is not None:
        changes[params["Attribute"]] = params["Value"]
    fields = len(changes) + bool(params.get("BlockDeviceMappings")) + bool(params.get("Groups"))
    if fields == 0:
        raise combination_error("No attributes specified.")
    if fields > 1:
        raise combination_error("Fields for multiple attribute types specified")
    _refuse_managed([instance])
    state = instance.state(now)
    if state in ("shutting-down", "terminated"):
        raise Ec2Error("IncorrectInstanceState", f"Instance '{instance.id}' is in '{state}' state.")
    for name in changes:
        if name in _ONLY_STOPPED and state != "stopped":
            raise Ec2Error("IncorrectInstanceState", f"The instance '{instance.id}' is not in the 'stopped' state.")
    devices = _checked_devices(request, instance) if params.get("BlockDeviceMappings") else []
    request.dry_run_gate()
    for attachment, value in devices:
        attachment.delete_on_termination = value
    if params.get("Groups"):
        request.moto("ModifyInstanceAttribute", {"InstanceId": instance.id, "Groups": params["Groups"]})
    for name, value in changes.items():
        _modify(request, instance, name, value)
    return {}


def _checked_devices(request: Request, instance: Instance) -> list[tuple[Any, bool]]:
    held = {each.device: each for _volume, each in request.home.devices(instance, request.now)}
    found = []
    for one in request.params["BlockDeviceMappings"]:
        attachment = held.get(one.get("DeviceName"))
        if attachment is None:
            raise Ec2Error("InvalidInstanceAttributeValue", f"No device is currently mapped at {one.get('DeviceName')}")
        value = (one.get("Ebs") or {}).get("DeleteOnTermination")
        if value is not None:
            found.append((attachment, bool(value)))
    return found


def _modify(request: Request, instance: Instance, name: str, value: Any) -> None:
    attributes, facts = instance.attributes, instance.facts
    if name in ("disableApiStop", "disableApiTermination"):
        attributes[name[0].upper() + name[1:]] = _truth(value)
    elif name == "instanceInitiatedShutdownBehavior":
        if value not in ("stop", "terminate"):
            raise value_error(f"Value ({value}) for parameter instanceInitiatedShutdownBehavior is invalid.")
        attributes["InstanceInitiatedShutdownBehavior"] = value
    elif name == "instanceType":
        request.moto("DescribeInstanceTypes", {"InstanceTypes": [value]})
        instance.type = value
    elif name == "userData":
        instance.user_data = base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else str(value or "")
    elif name in ("ebsOptimized", "enaSupport"):
        facts[name[0].upper() + name[1:]] = _truth(value)
    elif name in ("kernel", "ramdisk"):
        facts[f"{name.capitalize()}Id"] = value
    elif name == "sriovNetSupport":
        attributes["SriovNetSupport"] = value
    elif name == "sourceDestCheck":
        twin = Network(request, [instance.id]).rows.get(instance.id, {})
        if len(twin.get("NetworkInterfaces") or ()) > 1:
            raise Ec2Error(
                "InvalidInstanceID",
                f"There are multiple interfaces attached to instance '{instance.id}'. Please specify an interface ID "
                "for the operation instead.",
            )
        request.moto(
            "ModifyInstanceAttribute", {"InstanceId": instance.id, "SourceDestCheck": {"Value": _truth(value)}}
        )
    else:
        raise value_error(f"Value ({name}) for parameter attribute is invalid. Unknown attribute.")


def _truth(value: Any) -> bool:
    return value if isinstance(value, bool) else str(value).lower() == "true"


@action("ModifyInstanceMetadataOptions")
def modify_instance_metadata_options(request: Request) -> Shape:
    """Change the options of the metadata service; the answer says pending."""
    instance = _one(request)
    given = {
        name: request.params[name] for name in (*_METADATA_VALUES, "HttpPutResponseHopLimit") if name in request.params
    }
    for name, allowed in _METADATA_VALUES.items():
        if name in given and given[name] not in allowed:
            raise value_error(f"Value ({given[name]}) for parameter {name} is invalid.")
    if not 1 <= given.get("HttpPutResponseHopLimit", 1) <= 64:
        raise value_error("Value for parameter HttpPutResponseHopLimit is invalid. Expected 1 to 64.")
    request.dry_run_gate()
    instance.facts["MetadataOptions"] = {**instance.facts["MetadataOptions"], **given}
    return {
        "InstanceId": instance.id,
        "InstanceMetadataOptions": {**instance.facts["MetadataOptions"], "State": "pending"},
    }


@action("ModifyInstanceCreditSpecification")
def modify_credits(request: Request) -> Shape:
    """Change how burstable instances pay for credits."""
    request.dry_run_gate()
    done: list[Shape] = []
    failed: list[Shape] = []
    for one in request.params["InstanceCreditSpecifications"]:
        instance = request.home.instances.get(one.get("InstanceId", ""))
        if instance is None or not instance.exists(request.now):
            failed.append(
                {
                    "InstanceId": one.get("InstanceId"),
                    "Error": {"Code": "InvalidInstanceID.NotFound", "Message": "The instance ID does not exist"},
                }
            )
        elif not instance.attributes["Burstable"]:
            failed.append(
                {
                    "InstanceId": instance.id,
                    "Error": {
                        "Code": "InstanceCreditSpecification.NotSupported",
                        "Message": "The instance type does not have CPU credits",
                    },
                }
            )
        else:
            instance.attributes["CpuCredits"] = one.get("CpuCredits") or "standard"
            done.append({"InstanceId": instance.id})
    return {"SuccessfulInstanceCreditSpecifications": done, "UnsuccessfulInstanceCreditSpecifications": failed}


@action("DescribeInstanceCreditSpecifications")
def describe_credits(request: Request) -> Shape:
    """CPU credits of burstable instances; one that is not burstable is refused by id, and left out otherwise."""
    rows = chosen(request)
    if request.params.get("InstanceIds"):
        for one in rows:
            if not one.attributes["Burstable"]:
                raise value_error(f"The instance '{one.id}' is not a burstable performance instance.")
    rows = [one for one in rows if one.attributes["Burstable"] and one.state(request.now) != "terminated"]
    if not request.params.get("InstanceIds"):
        rows = [one for one in rows if one.attributes["CpuCredits"] == "unlimited"]
    page, token = paged(request, matching(request, rows, {"instance-id": lambda one: one.id}))
    return {
        "InstanceCreditSpecifications": [
            {"InstanceId": one.id, "CpuCredits": one.attributes["CpuCredits"]} for one in page
        ],
        "NextToken": token,
    }


@action("GetInstanceUefiData")
def get_instance_uefi_data(request: Request) -> Shape:
    """The UEFI variable store, base64 text; only of an instance that booted in UEFI mode."""
    instance = _one(request)
    if instance.facts["CurrentInstanceBootMode"] != "uefi":
        raise Ec2Error(
            "UnsupportedOperation", f"The instance '{instance.id}' was not booted in UEFI mode and has no UEFI data."
        )
    return {"InstanceId": instance.id, "UefiData": instance.attributes.get("UefiData") or ""}


@action("DescribeSpotInstanceRequests")
def describe_spot_instance_requests(request: Request) -> Shape:
    """The requests behind spot instances; Type is one-time or persistent."""
    rows = [one for one in request.home.instances.values() if one.spot and one.exists(request.now)]
    known = {one.spot["SpotInstanceRequestId"]: one for one in rows}
    wanted = request.params.get("SpotInstanceRequestIds")
    if wanted:
        lost = [one for one in wanted if one not in known]
        if lost:
            raise Ec2Error(
                "InvalidSpotInstanceRequestID.NotFound", f"The spot instance request ID '{lost[0]}' does not exist"
            )
        rows = [known[one] for one in dict.fromkeys(wanted)]
    found = matching(
        request,
        [_SpotRow(one, request.now) for one in rows],
        {
            "instance-id": lambda one: one.instance.id,
            "spot-instance-request-id": lambda one: one.instance.spot["SpotInstanceRequestId"],
            "state": lambda one: one.state,
            "type": lambda one: one.instance.spot["Type"],
        },
    )
    page, token = paged(request, found)
    return {"SpotInstanceRequests": [one.row() for one in page], "NextToken": token}


class _SpotRow:
    """A spot request, as seen through its instance."""

    def __init__(self, instance: Instance, now: datetime) -> None:
        self.instance = instance
        self.tags = instance.spot.get("Tags") or {}
        states = {"stopped": "disabled", "stopping": "disabled", "terminated": "closed"}
        self.state = states.get(instance.state(now), "active")

    def row(self) -> Shape:
        spot = self.instance.spot
        return {
            "SpotInstanceRequestId": spot["SpotInstanceRequestId"],
            "InstanceId": self.instance.id,
            "Type": spot["Type"],
            "State": self.state,
            "CreateTime": self.instance.created,
            "InstanceInterruptionBehavior": spot.get("InstanceInterruptionBehavior") or "terminate",
            "LaunchedAvailabilityZone": self.instance.zone,
            "Tags": tag_list(self.tags),
        }
