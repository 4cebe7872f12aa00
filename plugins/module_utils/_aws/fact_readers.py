# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read EC2's other answers as facts: one function for each operation. The table in `codec` names them.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .._kernel.places import parameter_id
from .._kernel.resources import (
    Fact,
    Resource,
)
from .._kernel.state import Query
from .._kernel.times import format_moment
from .decoding import UNKNOWN, Answer, decode_snapshot, utc_of

# DescribeInstanceAttribute: the keys that are not the attribute's name with a capital letter.
_ATTRIBUTE_KEYS = {
    "kernel": "KernelId",
    "ramdisk": "RamdiskId",
    "blockDeviceMapping": "BlockDeviceMappings",
    "groupSet": "Groups",
}

# KMS's codes for a name that is no key of this region.
NO_KEY = frozenset({"NotFoundException", "InvalidArnException", "ValidationException"})


def attribute(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the attribute of DescribeInstanceAttribute: ``<instance>/<attribute>``."""
    asked = dict(query.arguments)
    name, instance_id = str(asked["Attribute"]), str(asked["InstanceId"])
    value = page.get(_ATTRIBUTE_KEYS.get(name, name[:1].upper() + name[1:]))
    if isinstance(value, Mapping):
        # EC2 returns an empty structure for an attribute that is not set.
        value = value.get("Value") if "Value" in value or not value else dict(value)
    yield Fact(f"{instance_id}/{name}", value)


def references(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield who uses an image, as DescribeImageReferences shows: ``<image>/references``."""
    asked: Sequence[str] = dict(query.arguments).get("ImageIds", ())
    found: dict[str, list[dict[str, str]]] = {image_id: [] for image_id in asked}
    for item in page.get("ImageReferences") or ():
        found.setdefault(item["ImageId"], []).append(
            {"resource_type": item.get("ResourceType") or "", "arn": item.get("Arn") or ""}
        )
    return (Fact(f"{image_id}/references", users) for image_id, users in found.items())


def launch_permissions(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the accounts, ``all`` and the organizations and units (by ARN) that an image is shared with."""
    keys = ("UserId", "Group", "OrganizationArn", "OrganizationalUnitArn")
    shared = [next((item[key] for key in keys if item.get(key)), "") for item in page.get("LaunchPermissions") or ()]
    yield Fact(f"{dict(query.arguments)['ImageId']}/shared", shared)


def usage_entries(query: Query, page: Answer) -> Iterable[Fact]:
    """Return, by image, its use in other accounts, as the existing usage reports show it."""
    asked: Sequence[str] = dict(query.arguments)["ImageIds"]
    found: dict[str, list[dict[str, Any]]] = {image_id: [] for image_id in asked}
    for item in page.get("ImageUsageReportEntries") or ():
        created = utc_of(item.get("ReportCreationTime"))
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


def usage_reports(query: Query, page: Answer) -> Iterable[Fact]:
    """Return, by image, its available usage reports with their scope.

    ``depths`` has the number of launch template versions that a report looks at, by type of resource. None stands for
    EC2's default.
    """
    asked: Sequence[str] = dict(query.arguments)["ImageIds"]
    found: dict[str, list[dict[str, Any]]] = {image_id: [] for image_id in asked}
    for item in page.get("ImageUsageReports") or ():
        created = utc_of(item.get("CreationTime"))
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


def launch_configurations(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the launch configurations of Auto Scaling, by name, with their images."""
    found = page.get("LaunchConfigurations") or ()
    yield Fact(
        "launchConfigurations",
        [{"name": item["LaunchConfigurationName"], "image_id": item.get("ImageId") or ""} for item in found],
    )


def uefi(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the UEFI data of GetInstanceUefiData: ``<instance>/uefiData``."""
    yield Fact(f"{dict(query.arguments)['InstanceId']}/uefiData", page.get("UefiData") or None)


def statuses(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield both status checks of DescribeInstanceStatus: ``<instance>/status``."""
    for item in page.get("InstanceStatuses") or ():
        checks = ((item.get("SystemStatus") or {}).get("Status"), (item.get("InstanceStatus") or {}).get("Status"))
        yield Fact(f"{item['InstanceId']}/status", checks if all(checks) else ())


def group_members(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the Auto Scaling group of an instance: ``<instance>/autoscaling``."""
    for item in page.get("AutoScalingInstances") or ():
        value = {"group": item.get("AutoScalingGroupName") or "", "lifecycle": item.get("LifecycleState") or ""}
        yield Fact(f"{item['InstanceId']}/autoscaling", value)


def spot_requests(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the type of a Spot request: ``<request>/spotType``."""
    for item in page.get("SpotInstanceRequests") or ():
        yield Fact(f"{item['SpotInstanceRequestId']}/spotType", item.get("Type") or "one-time")


def target_groups(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield all target groups as one fact: ``targetGroups``."""
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


def target_health(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the targets of a target group: ``<group>/targets``."""
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


def classic_load_balancers(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the Classic Load Balancers, with the ids of their instances."""
    found = [
        {
            "name": item.get("LoadBalancerName") or "",
            "instances": [each["InstanceId"] for each in item.get("Instances") or ()],
        }
        for item in page.get("LoadBalancerDescriptions") or ()
    ]
    yield Fact("classicLoadBalancers", found)


def modifications(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the latest modification of each volume that ever had one."""
    for item in page.get("VolumesModifications") or ():
        started = utc_of(item.get("StartTime"))
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


def snapshots(query: Query, page: Answer) -> Iterable[Resource]:
    """Return the snapshots. A query for those that anybody may restore from only returns that each
    of them is public.
    """
    found = page.get("Snapshots") or ()
    if "all" in dict(query.arguments).get("RestorableByUserIds", ()):
        return (Fact(f"{item['SnapshotId']}/public", True) for item in found)
    return (decode_snapshot(item) for item in found)


def locks(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the lock of a snapshot, as DescribeLockedSnapshots shows: ``<snapshot>/lock``."""
    for item in page.get("Snapshots") or ():
        expires = utc_of(item.get("LockExpiresOn"))
        value = {
            "state": item.get("LockState") or "",
            "expires_on": format_moment(expires) if expires else None,
            "days": item.get("LockDuration"),
        }
        yield Fact(f"{item['SnapshotId']}/lock", value)


def fast_restores(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield fast restore of a snapshot in one zone: ``<snapshot>/fastRestore``."""
    for item in page.get("FastSnapshotRestores") or ():
        value = {"zone": item.get("AvailabilityZone") or "", "state": item.get("State") or ""}
        yield Fact(f"{item['SnapshotId']}/fastRestore", [value])


def tiers(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the tier of a snapshot, as DescribeSnapshotTierStatus shows: ``<snapshot>/tier``."""
    for item in page.get("SnapshotTierStatuses") or ():
        archived = utc_of(item.get("ArchivalCompleteTime"))
        value = {
            "tier": item.get("StorageTier") or "",
            "last": item.get("LastTieringOperationStatus") or "",
            "message": item.get("LastTieringOperationStatusDetail") or None,
            "archived": format_moment(archived) if archived else None,
        }
        yield Fact(f"{item['SnapshotId']}/tier", value)


def permissions(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the accounts, or ``all``, that may make volumes from a snapshot."""
    allowed = [item.get("UserId") or item.get("Group") or "" for item in page.get("CreateVolumePermissions") or ()]
    yield Fact(f"{dict(query.arguments)['SnapshotId']}/shared", allowed)


def account(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the account, empty when STS refuses to name it, and then the code of the refusal."""
    yield Fact(f"{query.place}/account", page.get("Account") or "")
    if UNKNOWN in page:
        yield Fact(f"{query.place}/account-refused", page[UNKNOWN])


def key(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the key's ARN: empty for an unusable key, None when KMS refuses to answer.

    An alias belongs to its region, so the fact of another place has the place before the key.
    """
    key = page.get("KeyMetadata") or {}
    usable = page.get(UNKNOWN) not in NO_KEY and key.get("KeyState", "Enabled") == "Enabled"
    where = f"{query.place}/" if query.place else ""
    yield Fact(f"{where}{dict(query.arguments)['KeyId']}/key", key.get("Arn") if usable else "")


def parameters(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the SSM parameters of GetParameters, by `places.parameter_id`."""
    for item in page.get("Parameters") or ():
        value = {"value": item.get("Value") or "", "data_type": item.get("DataType") or "text"}
        yield Fact(parameter_id(query.place, item["Name"]), value)


def default_key(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the KMS key that encrypts new volumes and copies by default: ``<place>/ebsDefaultKey``."""
    yield Fact(f"{query.place}/ebsDefaultKey", page.get("KmsKeyId") or "")


NO_TEMPLATE = frozenset(
    {
        "InvalidLaunchTemplateId.NotFound",
        "InvalidLaunchTemplateId.Malformed",
        "InvalidLaunchTemplateName.NotFoundException",
        "InvalidLaunchTemplateName.MalformedException",
    }
)
"""EC2's codes for a launch template that does not exist."""


def template_versions(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield all versions of a launch template, by the id or name that was asked: ``<id or name>/launchTemplate``.

    The list is empty if the launch template does not exist.
    """
    asked = dict(query.arguments)
    found = [
        {
            "template": item["LaunchTemplateId"],
            "name": item.get("LaunchTemplateName") or "",
            "version": int(item["VersionNumber"]),
            "default": bool(item.get("DefaultVersion")),
            "data": dict(item.get("LaunchTemplateData") or {}),
        }
        for item in page.get("LaunchTemplateVersions") or ()
    ]
    yield Fact(f"{asked.get('LaunchTemplateId') or asked.get('LaunchTemplateName')}/launchTemplate", found)
