# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Translate queries and changes into boto3's requests, and answers into resources. Pure.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from sys import intern
from typing import Any

from .._kernel.ids import client_token
from .._kernel.plan import Change
from .._kernel.resources import (
    BlockDevice,
    Fact,
    Image,
    ImageDevice,
    Instance,
    Resource,
    Snapshot,
    Volume,
    VolumeAttachment,
)
from .._kernel.state import Query, Struct
from .._kernel.times import format_moment

Answer = Mapping[str, Any]


def _tags(answer: Answer) -> dict[str, str]:
    return {intern(tag["Key"]): intern(tag.get("Value") or "") for tag in answer.get("Tags") or ()}


def _text(answer: Answer, name: str) -> str:
    """Return the text, empty when the answer has none. Interning saves memory: a hundred thousand snapshots repeat few
    texts.
    """
    return intern(answer.get(name) or "")


def _moment(value: object) -> datetime | None:
    return value.astimezone(UTC) if isinstance(value, datetime) else None


def _reason(value: Answer | None) -> str | None:
    """Return ``Server.InternalError: …``, EC2's code and text, or None. The text often begins with the code itself."""
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


def decode_instance(answer: Answer, owner_id: str | None = None) -> Instance:
    """Return the instance from ``Reservations[].Instances[]``. Its account is the reservation's ``OwnerId``."""
    # "amazon" owns the address that EC2 lends to a running instance. An account owns each of its Elastic IPs.
    associations = [interface.get("Association") or {} for interface in answer.get("NetworkInterfaces") or ()]
    return Instance(
        instance_id=answer["InstanceId"],
        state=(answer.get("State") or {}).get("Name", ""),
        image_id=answer.get("ImageId") or "",
        instance_type=answer.get("InstanceType") or "",
        launch_time=_moment(answer.get("LaunchTime")),
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
        elastic_ip=any(link.get("IpOwnerId") not in (None, "amazon") for link in associations),
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
        facts=answer,
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
        state=_text(answer, "State"),
        volume_id=_text(answer, "VolumeId"),
        volume_size=answer.get("VolumeSize") or 0,
        start_time=_moment(answer.get("StartTime")),
        encrypted=bool(answer.get("Encrypted", False)),
        kms_key_id=_text(answer, "KmsKeyId") or None,
        owner_id=_text(answer, "OwnerId") or None,
        progress=_text(answer, "Progress") or None,
        # One that is restored from the archive for a time is usable, whatever tier EC2 names.
        storage_tier="standard" if answer.get("RestoreExpiryTime") else _text(answer, "StorageTier") or None,
        state_reason=answer.get("StateMessage") or None,
        description=_text(answer, "Description"),
        tags=_tags(answer),
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
        create_time=_moment(answer.get("CreateTime")),
        operator=_operator(answer),
        outpost_arn=answer.get("OutpostArn") or None,
        tags=_tags(answer),
    )


# DescribeInstanceAttribute: the keys that are not the attribute's name with a capital letter.
_ATTRIBUTE_KEYS = {
    "kernel": "KernelId",
    "ramdisk": "RamdiskId",
    "blockDeviceMapping": "BlockDeviceMappings",
    "groupSet": "Groups",
}


def _attribute(query: Query, page: Answer) -> Iterable[Fact]:
    asked = dict(query.arguments)
    name, instance_id = str(asked["Attribute"]), str(asked["InstanceId"])
    value = page.get(_ATTRIBUTE_KEYS.get(name, name[:1].upper() + name[1:]))
    if isinstance(value, Mapping):
        # EC2 returns an empty structure for an attribute that is not set.
        value = value.get("Value") if "Value" in value or not value else dict(value)
    yield Fact(f"{instance_id}/{name}", value)


def _references(query: Query, page: Answer) -> Iterable[Fact]:
    asked: Sequence[str] = dict(query.arguments).get("ImageIds", ())
    found: dict[str, list[dict[str, str]]] = {image_id: [] for image_id in asked}
    for item in page.get("ImageReferences") or ():
        found.setdefault(item["ImageId"], []).append(
            {"resource_type": item.get("ResourceType") or "", "arn": item.get("Arn") or ""}
        )
    return (Fact(f"{image_id}/references", users) for image_id, users in found.items())


def _launch_permissions(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the accounts, ``all`` and the organizations and units (by ARN) that an image is shared with."""
    keys = ("UserId", "Group", "OrganizationArn", "OrganizationalUnitArn")
    shared = [next((item[key] for key in keys if item.get(key)), "") for item in page.get("LaunchPermissions") or ()]
    yield Fact(f"{dict(query.arguments)['ImageId']}/shared", shared)


def _usage_entries(query: Query, page: Answer) -> Iterable[Fact]:
    """Return, by image, its use in other accounts, as the existing usage reports show it."""
    asked: Sequence[str] = dict(query.arguments)["ImageIds"]
    found: dict[str, list[dict[str, Any]]] = {image_id: [] for image_id in asked}
    for item in page.get("ImageUsageReportEntries") or ():
        created = _moment(item.get("ReportCreationTime"))
        found.setdefault(item["ImageId"], []).append(
            {
                "report": item.get("ReportId") or "",
                "account": item.get("AccountId") or "",
                "resource_type": item.get("ResourceType") or "",
                "count": int(item.get("UsageCount") or 0),
                "reported": format_moment(created) if created else None,
            }
        )
    return (Fact(f"{image_id}/usage", entries) for image_id, entries in found.items())


def _usage_reports(query: Query, page: Answer) -> Iterable[Fact]:
    """Return, by image, its available usage reports with their scope.

    ``depths`` has the number of launch template versions that a report looks at, by type of resource. None stands for
    EC2's default.
    """
    asked: Sequence[str] = dict(query.arguments)["ImageIds"]
    found: dict[str, list[dict[str, Any]]] = {image_id: [] for image_id in asked}
    for item in page.get("ImageUsageReports") or ():
        created = _moment(item.get("CreationTime"))
        if item.get("State") == "available" and created:
            found.setdefault(item["ImageId"], []).append(
                {
                    "report": item["ReportId"],
                    "reported": format_moment(created),
                    "accounts": list(item.get("AccountIds") or ()),
                    "depths": {one.get("ResourceType"): _depth(one) for one in item.get("ResourceTypes") or ()},
                }
            )
    return (Fact(f"{image_id}/usageReports", reports) for image_id, reports in found.items())


def _depth(scope: Answer) -> int | None:
    for option in scope.get("ResourceTypeOptions") or ():
        if option.get("OptionName") == "version-depth" and option.get("OptionValues"):
            return int(option["OptionValues"][0])
    return None


def _launch_configurations(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the launch configurations of Auto Scaling, by name, with their images."""
    found = page.get("LaunchConfigurations") or ()
    yield Fact(
        "launchConfigurations",
        [{"name": item["LaunchConfigurationName"], "image_id": item.get("ImageId") or ""} for item in found],
    )


def _uefi(query: Query, page: Answer) -> Iterable[Fact]:
    yield Fact(f"{dict(query.arguments)['InstanceId']}/uefiData", page.get("UefiData") or None)


def _statuses(_query: Query, page: Answer) -> Iterable[Fact]:
    for item in page.get("InstanceStatuses") or ():
        checks = ((item.get("SystemStatus") or {}).get("Status"), (item.get("InstanceStatus") or {}).get("Status"))
        yield Fact(f"{item['InstanceId']}/status", checks if all(checks) else ())


def _group_members(_query: Query, page: Answer) -> Iterable[Fact]:
    for item in page.get("AutoScalingInstances") or ():
        value = {"group": item.get("AutoScalingGroupName") or "", "lifecycle": item.get("LifecycleState") or ""}
        yield Fact(f"{item['InstanceId']}/autoscaling", value)


def _spot_requests(_query: Query, page: Answer) -> Iterable[Fact]:
    for item in page.get("SpotInstanceRequests") or ():
        yield Fact(f"{item['SpotInstanceRequestId']}/spotType", item.get("Type") or "one-time")


def _target_groups(_query: Query, page: Answer) -> Iterable[Fact]:
    yield Fact(
        "targetGroups",
        [
            {
                "arn": item["TargetGroupArn"],
                "name": item.get("TargetGroupName") or "",
                "target_type": item.get("TargetType") or "",
                "vpc": item.get("VpcId") or "",
            }
            for item in page.get("TargetGroups") or ()
        ],
    )


def _target_health(query: Query, page: Answer) -> Iterable[Fact]:
    targets = [
        {
            "id": item["Target"]["Id"],
            "port": item["Target"].get("Port"),
            "zone": item["Target"].get("AvailabilityZone") or "",
            "state": (item.get("TargetHealth") or {}).get("State") or "",
        }
        for item in page.get("TargetHealthDescriptions") or ()
    ]
    yield Fact(f"{dict(query.arguments)['TargetGroupArn']}/targets", targets)


def _classic_load_balancers(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the Classic Load Balancers, with the ids of their instances."""
    found = [
        {
            "name": item.get("LoadBalancerName") or "",
            "instances": [each["InstanceId"] for each in item.get("Instances") or ()],
        }
        for item in page.get("LoadBalancerDescriptions") or ()
    ]
    yield Fact("classicLoadBalancers", found)


def _modifications(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the latest modification of each volume that ever had one."""
    for item in page.get("VolumesModifications") or ():
        started = _moment(item.get("StartTime"))
        value = {
            "state": item.get("ModificationState") or "",
            "progress": item.get("Progress"),
            "start_time": format_moment(started) if started else None,
            "message": item.get("StatusMessage") or None,
            "original": _performance(item, "Original"),
            "target": _performance(item, "Target"),
        }
        yield Fact(f"{item['VolumeId']}/modification", value)


def _performance(item: Answer, prefix: str) -> dict[str, Any]:
    return {
        "size": item.get(f"{prefix}Size"),
        "volume_type": item.get(f"{prefix}VolumeType"),
        "iops": item.get(f"{prefix}Iops"),
        "throughput": item.get(f"{prefix}Throughput"),
        "multi_attach_enabled": bool(item.get(f"{prefix}MultiAttachEnabled", False)),
    }


def _snapshots(query: Query, page: Answer) -> Iterable[Resource]:
    """Return the snapshots. A query for those that anybody may restore from only returns that each
    of them is public.
    """
    found = page.get("Snapshots") or ()
    if "all" in dict(query.arguments).get("RestorableByUserIds", ()):
        return (Fact(f"{item['SnapshotId']}/public", True) for item in found)
    return (decode_snapshot(item) for item in found)


def _locks(_query: Query, page: Answer) -> Iterable[Fact]:
    for item in page.get("Snapshots") or ():
        expires = _moment(item.get("LockExpiresOn"))
        value = {
            "state": item.get("LockState") or "",
            "expires_on": format_moment(expires) if expires else None,
            "days": item.get("LockDuration"),
        }
        yield Fact(f"{item['SnapshotId']}/lock", value)


def _fast_restores(_query: Query, page: Answer) -> Iterable[Fact]:
    for item in page.get("FastSnapshotRestores") or ():
        value = {"zone": item.get("AvailabilityZone") or "", "state": item.get("State") or ""}
        yield Fact(f"{item['SnapshotId']}/fastRestore", [value])


def _tiers(_query: Query, page: Answer) -> Iterable[Fact]:
    for item in page.get("SnapshotTierStatuses") or ():
        archived = _moment(item.get("ArchivalCompleteTime"))
        value = {
            "tier": item.get("StorageTier") or "",
            "last": item.get("LastTieringOperationStatus") or "",
            "message": item.get("LastTieringOperationStatusDetail") or None,
            "archived": format_moment(archived) if archived else None,
        }
        yield Fact(f"{item['SnapshotId']}/tier", value)


def _permissions(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the accounts, or ``all``, that may make volumes from a snapshot."""
    allowed = [item.get("UserId") or item.get("Group") or "" for item in page.get("CreateVolumePermissions") or ()]
    yield Fact(f"{dict(query.arguments)['SnapshotId']}/shared", allowed)


def _account(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the account, empty when STS refuses to name it, and then the code of the refusal."""
    yield Fact(f"{query.place}/account", page.get("Account") or "")
    if UNKNOWN in page:
        yield Fact(f"{query.place}/account-refused", page[UNKNOWN])


# Refusals of STS, and this collection's codes for an unreachable endpoint. Some networks only have one for EC2.
_NO_ACCOUNT = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "RegionDisabledException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "EndpointUnreachable",
        "ConnectionLost",
        "NoAnswer",
    }
)


# KMS's codes for a name that is no key of this region.
_NO_KEY = frozenset({"NotFoundException", "InvalidArnException", "ValidationException"})


def _key(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the key's ARN: empty for an unusable key, None when KMS refuses to tell.

    An alias belongs to its region, so the fact of another place has the place before the key.
    """
    key = page.get("KeyMetadata") or {}
    usable = page.get(UNKNOWN) not in _NO_KEY and key.get("KeyState", "Enabled") == "Enabled"
    where = f"{query.place}/" if query.place else ""
    yield Fact(f"{where}{dict(query.arguments)['KeyId']}/key", key.get("Arn") if usable else "")


UNKNOWN = "Unknown"
"""The entry of a page that has AWS's code in place of an answer; see `Listing.unknown`."""


@dataclass(frozen=True)
class Listing:
    """How to ask one read operation and decode its answer.

    ``decode``: returns the resources of one page.
    ``size``: the parameter that bounds a page, and its maximum. None when the operation has no pages, or its ids
    exclude them.
    ``token``: the name of the page token in the request and in the answer.
    ``unless``: an argument with which EC2 refuses the size ("cannot be used with the parameter maxResults").
    ``unknown``: AWS's codes for a resource that does not exist or is forbidden, where that is an answer. The page then
    has the code under `UNKNOWN` alone.
    """

    decode: Callable[[Query, Answer], Iterable[Resource]]
    size: tuple[str, int] | None = None
    token: tuple[str, str] = ("NextToken", "NextToken")
    unless: str = ""
    unknown: frozenset[str] = frozenset()


LISTINGS: Mapping[str, Listing] = {
    "DescribeInstances": Listing(
        lambda _query, page: [
            decode_instance(item, group.get("OwnerId"))
            for group in page.get("Reservations") or ()
            for item in group.get("Instances") or ()
        ],
        ("MaxResults", 1000),
        unless="InstanceIds",
    ),
    "DescribeImages": Listing(
        lambda _query, page: [decode_image(item) for item in page.get("Images") or ()],
        ("MaxResults", 1000),
        unless="ImageIds",
    ),
    "DescribeSnapshots": Listing(
        _snapshots,
        ("MaxResults", 1000),
        unless="SnapshotIds",
    ),
    "DescribeLockedSnapshots": Listing(_locks, ("MaxResults", 1000), unless="SnapshotIds"),
    "DescribeFastSnapshotRestores": Listing(_fast_restores, ("MaxResults", 200)),
    "DescribeSnapshotTierStatus": Listing(_tiers, ("MaxResults", 1000)),
    "DescribeSnapshotAttribute": Listing(_permissions),
    "GetCallerIdentity": Listing(_account, unknown=_NO_ACCOUNT),
    "DescribeVolumes": Listing(
        lambda _query, page: [decode_volume(item) for item in page.get("Volumes") or ()],
        ("MaxResults", 500),
        unless="VolumeIds",
    ),
    "DescribeInstanceTypes": Listing(
        lambda _query, page: [Fact(f"{item['InstanceType']}/type", item) for item in page.get("InstanceTypes") or ()],
        ("MaxResults", 100),
        unless="InstanceTypes",
    ),
    "DescribeInstanceCreditSpecifications": Listing(
        lambda _query, page: [
            Fact(f"{item['InstanceId']}/cpuCredits", item.get("CpuCredits"))
            for item in page.get("InstanceCreditSpecifications") or ()
        ],
        ("MaxResults", 1000),
        unless="InstanceIds",
    ),
    "DescribeSpotInstanceRequests": Listing(_spot_requests, ("MaxResults", 1000), unless="SpotInstanceRequestIds"),
    "DescribeVolumesModifications": Listing(_modifications, ("MaxResults", 500), unless="VolumeIds"),
    "GetEbsEncryptionByDefault": Listing(
        lambda _query, page: [Fact("ebsEncryptionByDefault", bool(page.get("EbsEncryptionByDefault", False)))]
    ),
    "DescribeAvailabilityZones": Listing(
        lambda _query, page: [
            Fact(f"{item['ZoneName']}/zone", item.get("State") == "available")
            for item in page.get("AvailabilityZones") or ()
        ]
    ),
    "DescribeKey": Listing(_key, unknown=_NO_KEY | frozenset({"AccessDenied", "AccessDeniedException"})),
    # No filter on instance ids; and with InstanceIds it takes no MaxResults.
    "DescribeInstanceStatus": Listing(_statuses),
    "DescribeInstanceAttribute": Listing(_attribute),
    "GetInstanceUefiData": Listing(_uefi),
    "DescribeImageReferences": Listing(_references),
    "DescribeImageAttribute": Listing(_launch_permissions),
    "DescribeImageUsageReportEntries": Listing(_usage_entries),
    "DescribeImageUsageReports": Listing(_usage_reports),
    "DescribeLaunchConfigurations": Listing(_launch_configurations, ("MaxRecords", 100)),
    "DescribeAutoScalingInstances": Listing(_group_members, ("MaxRecords", 50)),
    "DescribeTargetGroups": Listing(_target_groups, ("PageSize", 400), ("Marker", "NextMarker")),
    "DescribeTargetHealth": Listing(_target_health),
    # Only in the service elb. elbv2 has another operation of the same name.
    "DescribeLoadBalancers": Listing(_classic_load_balancers, ("PageSize", 400), ("Marker", "NextMarker")),
}


def query_request(query: Query) -> dict[str, Any]:
    """Return the boto3 request of the query's first page."""
    listing = LISTINGS[query.operation]
    request: dict[str, Any] = {name: _plain(value) for name, value in query.arguments}
    if query.filters:
        request["Filters"] = [{"Name": name, "Values": list(values)} for name, values in query.filters]
    if listing.size is not None and listing.unless not in request:
        name, most = listing.size
        request[name] = most
    return request


def _plain(value: Any) -> Any:
    """Return a query's hashable argument in boto3's shape."""
    if isinstance(value, Struct):
        return {key: _plain(item) for key, item in value}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def next_request(query: Query, request: Mapping[str, Any], page: Answer) -> dict[str, Any] | None:
    """Return the request of the page after *page*, or None after the last one."""
    sent, received = LISTINGS[query.operation].token
    token = page.get(received)
    return {**request, sent: token} if token else None


def decode(query: Query, pages: Iterable[Answer]) -> tuple[Resource, ...]:
    """Return the resources of all pages. A list that is one fact (references, target groups) is
    joined over the pages.
    """
    listing = LISTINGS[query.operation]
    found: dict[str, Resource] = {}
    for page in pages:
        for resource in listing.decode(query, page):
            if query.place and isinstance(resource, Snapshot):
                resource = dataclasses.replace(resource, place=query.place)
            known = found.get(resource.resource_id)
            if isinstance(resource, Fact) and isinstance(known, Fact) and isinstance(known.value, list):
                resource = Fact(resource.fact_id, [*known.value, *resource.value])
            found[resource.resource_id] = resource
    return tuple(found.values())


def change_request(changes: Sequence[Change], generation: int = 0) -> dict[str, Any]:
    """Return the boto3 request for *changes*. They have the same action and parameters, and no planned ids.

    `OPERATIONS` says where the ids go. An operation with a ClientToken gets the token of this *generation*.
    """
    first = changes[0]
    operation = first.operation
    request: dict[str, Any] = dict(first.parameters)
    if operation.target is not None:
        ids = [change.resource for change in changes]
        request[operation.target] = ids if operation.most > 1 else ids[0]
    if operation.token:
        request["ClientToken"] = client_token(first.token, generation)
    return request


def created_ids(changes: Sequence[Change], answer: Answer) -> dict[str, str]:
    """Return EC2's id for each planned id. The mapping is empty when the changes create nothing.

    CreateSnapshots skips a volume that was detached meanwhile, so its planned id is missing. Raises KeyError when any
    other answer has no id.
    """
    first = changes[0]
    if not first.creates:
        return {}
    found: Any = answer
    for step in first.operation.creates:
        found = found[step]
    if isinstance(found, list):
        by_volume = {item["VolumeId"]: str(item["SnapshotId"]) for item in found}
        wanted = {change.resource: str((change.after or {})["volume_id"]) for change in changes}
        return {name: by_volume[volume] for name, volume in wanted.items() if volume in by_volume}
    return {first.resource: str(found)}


def refused_part(answer: Answer) -> tuple[str, str, str] | None:
    """Return EC2's refusal in an answer without error, as (resource, code, message), or None.

    EnableFastSnapshotRestores and DisableFastSnapshotRestores answer each snapshot and zone separately.
    """
    for item in answer.get("Unsuccessful") or ():
        for refusal in item.get("FastSnapshotRestoreStateErrors") or ():
            error = refusal.get("Error") or {}
            zone = refusal.get("AvailabilityZone") or ""
            return f"{item.get('SnapshotId')} in {zone}", error.get("Code") or "", error.get("Message") or ""
    return None


def token_spent(change: Change, answer: Answer) -> str:
    """Return why an answer without error shows another resource than the change would make, or an empty text.

    EC2 answers a known client token with the resource that this token made earlier. That resource may be on its way
    out, or may have lost our tags and serve another purpose by now.
    """
    if change.action == "RunInstances":
        instance = decode_instance((answer.get("Instances") or [{"InstanceId": ""}])[0])
        return "" if instance.alive else f"EC2 answered with {instance.instance_id}, which is {instance.state}"
    if change.action == "CreateVolume":
        volume = decode_volume(answer)
        if not volume.alive:
            return f"EC2 answered with {volume.volume_id}, which is {volume.state}"
        if not change.own_tags.items() <= volume.tags.items():
            return f"EC2 answered with {volume.volume_id}, whose tags have changed since"
    return ""
