# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read EC2's answers about instances, images, snapshots and volumes as resources.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from sys import intern
from typing import Any

from .._kernel.resources import (
    BlockDevice,
    Image,
    ImageDevice,
    Instance,
    Snapshot,
    Volume,
    VolumeAttachment,
    place_of,
)

Answer = Mapping[str, Any]

UNKNOWN = "Unknown"
"""The entry of a page that has AWS's code in place of an answer; see `Listing.unknown`."""
# KMS's codes for a name that is no key of this region.
NO_KEY = frozenset({"NotFoundException", "InvalidArnException", "ValidationException"})


def _tags(answer: Answer) -> dict[str, str]:
    return {intern(tag["Key"]): intern(tag.get("Value") or "") for tag in answer.get("Tags") or ()}


def text_of(answer: Answer, name: str) -> str:
    """Return the text, empty when the answer has none. The text is interned to save memory, since a hundred thousand
    snapshots repeat few texts.
    """
    return intern(answer.get(name) or "")


def utc_of(value: object) -> datetime | None:
    """Return a time of an answer in UTC, or None for any other value."""
    return value.astimezone(UTC) if isinstance(value, datetime) else None


def _reason(value: Answer | None) -> str | None:
    """Return EC2's code and text, such as ``Server.InternalError: …``, or None.

    The text often begins with the code itself.
    """
    if not value:
        return None
    code, text = value.get("Code") or "", value.get("Message") or ""
    if not code or text.startswith(code):
        return text or None
    return f"{code}: {text}" if text else code


def _product_codes(answer: Answer) -> tuple[str, ...]:
    return tuple(code["ProductCodeId"] for code in answer.get("ProductCodes") or () if code.get("ProductCodeId"))


def _operator(answer: Answer) -> str | None:
    """Return the AWS service that manages the resource, or None. EC2 does not always name the service."""
    operator = answer.get("Operator") or {}
    return (operator.get("Principal") or "an AWS service") if operator.get("Managed") else None


def _has_elastic_ip(interfaces: Sequence[Answer]) -> bool:
    """Return whether the first interface, which is the primary one, has an Elastic IP.

    "amazon" owns the address that EC2 gives to a running instance until its stop. An account owns each of its Elastic
    IPs.
    """
    association = (interfaces[0].get("Association") or {}) if interfaces else {}
    return association.get("IpOwnerId") not in (None, "amazon")


def decode_instance(answer: Answer, owner_id: str | None = None) -> Instance:
    """Return the instance from ``Reservations[].Instances[]``. Its account is the reservation's ``OwnerId``."""
    interfaces = sorted(answer.get("NetworkInterfaces") or (), key=place_of)
    return Instance(
        instance_id=answer["InstanceId"],
        state=(answer.get("State") or {}).get("Name", ""),
        image_id=answer.get("ImageId") or "",
        instance_type=answer.get("InstanceType") or "",
        launch_time=utc_of(answer.get("LaunchTime")),
        availability_zone=(answer.get("Placement") or {}).get("AvailabilityZone") or "",
        root_device_name=answer.get("RootDeviceName") or "",
        root_device_type=answer.get("RootDeviceType") or "ebs",
        block_devices=tuple(
            BlockDevice(
                device_name=device["DeviceName"],
                volume_id=device["Ebs"]["VolumeId"],
                delete_on_termination=bool(device["Ebs"].get("DeleteOnTermination", False)),
                status=device["Ebs"].get("Status") or "attached",
            )
            for device in answer.get("BlockDeviceMappings") or ()
            if (device.get("Ebs") or {}).get("VolumeId")
        ),
        public_ip_address=answer.get("PublicIpAddress") or None,
        elastic_ip=_has_elastic_ip(interfaces),
        private_ip_address=answer.get("PrivateIpAddress") or None,
        platform_details=answer.get("PlatformDetails") or "Linux/UNIX",
        usage_operation=answer.get("UsageOperation") or "RunInstances",
        product_codes=_product_codes(answer),
        lifecycle=answer.get("InstanceLifecycle") or None,
        spot_request_id=answer.get("SpotInstanceRequestId") or None,
        operator=_operator(answer),
        state_reason=_reason(answer.get("StateReason")),
        owner_id=owner_id,
        tags=_tags(answer),
        facts={**answer, "NetworkInterfaces": interfaces} if len(interfaces) > 1 else answer,
    )


def decode_image(answer: Answer) -> Image:
    """Return the image from ``Images[]`` of DescribeImages."""
    return Image(
        image_id=answer["ImageId"],
        name=answer.get("Name") or "",
        state=answer.get("State") or "",
        owner_id=answer.get("OwnerId") or None,
        architecture=answer.get("Architecture") or None,
        root_device_name=answer.get("RootDeviceName") or None,
        root_device_type=answer.get("RootDeviceType") or "ebs",
        virtualization_type=answer.get("VirtualizationType") or None,
        boot_mode=answer.get("BootMode") or None,
        ena_support=answer.get("EnaSupport"),
        sriov_net_support=answer.get("SriovNetSupport") or None,
        tpm_support=answer.get("TpmSupport") or None,
        imds_support=answer.get("ImdsSupport") or None,
        kernel_id=answer.get("KernelId") or None,
        ramdisk_id=answer.get("RamdiskId") or None,
        platform_details=answer.get("PlatformDetails") or None,
        usage_operation=answer.get("UsageOperation") or None,
        product_codes=_product_codes(answer),
        block_devices=tuple(_image_device(device) for device in answer.get("BlockDeviceMappings") or ()),
        state_reason=_reason(answer.get("StateReason")),
        creation_date=answer.get("CreationDate") or None,
        tags=_tags(answer),
        facts=answer,
    )


def _image_device(device: Answer) -> ImageDevice:
    ebs = device.get("Ebs") or {}
    return ImageDevice(
        device_name=device.get("DeviceName") or "",
        snapshot_id=ebs.get("SnapshotId") or None,
        size=ebs.get("VolumeSize"),
        volume_type=ebs.get("VolumeType") or None,
        iops=ebs.get("Iops"),
        throughput=ebs.get("Throughput"),
        delete_on_termination=ebs.get("DeleteOnTermination"),
        encrypted=ebs.get("Encrypted"),
        virtual_name=device.get("VirtualName") or None,
    )


def decode_snapshot(answer: Answer) -> Snapshot:
    """Return the snapshot from ``Snapshots[]`` of DescribeSnapshots."""
    return Snapshot(
        snapshot_id=answer["SnapshotId"],
        state=text_of(answer, "State"),
        volume_id=text_of(answer, "VolumeId"),
        volume_size=answer.get("VolumeSize") or 0,
        start_time=utc_of(answer.get("StartTime")),
        encrypted=bool(answer.get("Encrypted", False)),
        kms_key_id=text_of(answer, "KmsKeyId") or None,
        owner_id=text_of(answer, "OwnerId") or None,
        progress=text_of(answer, "Progress") or None,
        # A snapshot that is restored from the archive for a time is usable, in any tier that EC2 names.
        storage_tier="standard" if answer.get("RestoreExpiryTime") else text_of(answer, "StorageTier") or None,
        state_reason=answer.get("StateMessage") or None,
        description=text_of(answer, "Description"),
        tags=_tags(answer),
        written_bytes=answer.get("FullSnapshotSizeInBytes"),
    )


def decode_volume(answer: Answer) -> Volume:
    """Return the volume from ``Volumes[]`` of DescribeVolumes, or from the answer of CreateVolume."""
    return Volume(
        volume_id=answer["VolumeId"],
        state=answer.get("State") or "",
        size=answer.get("Size") or 0,
        volume_type=answer.get("VolumeType") or "",
        iops=answer.get("Iops"),
        throughput=answer.get("Throughput"),
        encrypted=bool(answer.get("Encrypted", False)),
        kms_key_id=answer.get("KmsKeyId") or None,
        availability_zone=answer.get("AvailabilityZone") or "",
        snapshot_id=answer.get("SnapshotId") or None,
        multi_attach_enabled=bool(answer.get("MultiAttachEnabled", False)),
        attachments=tuple(
            VolumeAttachment(
                instance_id=link.get("InstanceId") or "",
                device_name=link.get("Device") or "",
                state=link.get("State") or "attached",
                delete_on_termination=bool(link.get("DeleteOnTermination", False)),
            )
            for link in answer.get("Attachments") or ()
        ),
        create_time=utc_of(answer.get("CreateTime")),
        operator=_operator(answer),
        outpost_arn=answer.get("OutpostArn") or None,
        tags=_tags(answer),
        source_volume_id=answer.get("SourceVolumeId") or None,
    )
