# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read EC2's other answers as facts: one function for each operation. The table in `codec` names them.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

with suppress(ImportError):  # AnsibleAWSModule reports the missing library
    import botocore

from .._kernel.facts import (
    ATTRIBUTES,
    CALLER_IDENTITY,
    CLASSIC_LOAD_BALANCERS,
    CPU_CREDITS,
    ENCRYPTION_BY_DEFAULT,
    ENCRYPTION_KEY,
    INSTANCE_TYPE,
    IS_PERSISTENT,
    IS_USABLE_ZONE,
    KMS_KEY,
    MEMBERSHIP,
    STATUS_CHECKS,
    TARGET_GROUPS,
    TARGETS,
    UEFI_DATA,
    UNKNOWN_KEY,
    UNUSABLE_KEY,
    CallerIdentity,
    ClassicLoadBalancer,
    Membership,
    StatusChecks,
    Target,
    TargetGroup,
    usable_key,
)
from .._kernel.places import parameter_id
from .._kernel.resources import Fact, Resource
from .._kernel.service_facts import (
    ADDRESS,
    INTERFACE,
    TARGET_HEALTH,
    Address,
    Interface,
    TargetHealth,
    member_name,
    target_name,
)
from .._kernel.state import Query
from .._kernel.storage_facts import (
    CURRENT_VERSIONS,
    FAST_RESTORES,
    IS_PUBLIC,
    IS_REPORT_PENDING,
    LAUNCH_CONFIGURATIONS,
    LAUNCH_PERMISSIONS,
    LOCK,
    MODIFICATION,
    PARAMETER,
    ROOT_TASKS,
    TAKES_ROOT_VOLUME,
    TEMPLATE_VERSIONS,
    TIERING,
    USAGE,
    USAGE_REPORTS,
    USERS,
    VOLUME_PERMISSIONS,
    FastRestoreZone,
    LaunchConfiguration,
    Modification,
    Performance,
    RootTask,
    SnapshotLock,
    TemplateVersion,
    Tiering,
    Usage,
    UsageReport,
    users_of_type,
)
from .._kernel.times import parse_instant, parse_moment
from .decoding import NO_KEY, UNKNOWN, Answer, decode_snapshot, utc_of

# --- instances -------------------------------------------------------------------------------------------------------


def attribute(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the attribute of DescribeInstanceAttribute, if it is set."""
    asked = dict(query.arguments)
    kind = ATTRIBUTES[asked["Attribute"]]
    # EC2 returns an empty structure for an attribute that is not set.
    value = (page.get(kind.name[:1].upper() + kind.name[1:]) or {}).get("Value")
    if value is not None:
        yield kind.fact(asked["InstanceId"], value)


def uefi(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the UEFI data of GetInstanceUefiData, if there are any."""
    if page.get("UefiData"):
        yield UEFI_DATA.fact(dict(query.arguments)["InstanceId"], page["UefiData"])


def statuses(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield both status checks of DescribeInstanceStatus, if EC2 reports both."""
    for item in page.get("InstanceStatuses") or ():
        system, instance = ((item.get(name) or {}).get("Status") or "" for name in ("SystemStatus", "InstanceStatus"))
        if system and instance:
            yield STATUS_CHECKS.fact(item["InstanceId"], StatusChecks(system, instance))


def group_members(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the Auto Scaling groups of instances."""
    for item in page.get("AutoScalingInstances") or ():
        value = Membership(item.get("AutoScalingGroupName") or "", item.get("LifecycleState") or "")
        yield MEMBERSHIP.fact(item["InstanceId"], value)


def spot_requests(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield whether Spot requests are persistent. EC2's default is ``one-time``."""
    for item in page.get("SpotInstanceRequests") or ():
        yield IS_PERSISTENT.fact(item["SpotInstanceRequestId"], item.get("Type") == "persistent")


def instance_types(_query: Query, page: Answer) -> Iterable[Fact]:
    """Return DescribeInstanceTypes's whole answer about each type."""
    return (INSTANCE_TYPE.fact(item["InstanceType"], item) for item in page.get("InstanceTypes") or ())


def credit_specifications(_query: Query, page: Answer) -> Iterable[Fact]:
    """Return the CPU credits of burstable instances."""
    found = page.get("InstanceCreditSpecifications") or ()
    return (CPU_CREDITS.fact(item["InstanceId"], item["CpuCredits"]) for item in found if item.get("CpuCredits"))


# --- load balancers --------------------------------------------------------------------------------------------------


def target_groups(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield all target groups as one fact."""
    found = tuple(
        TargetGroup(
            item["TargetGroupArn"],
            item.get("TargetGroupName") or "",
            item.get("TargetType") or "",
            item.get("VpcId") or "",
        )
        for item in page.get("TargetGroups") or ()
    )
    yield TARGET_GROUPS.fact(found)


def target_health(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the targets of a target group, or the health of those that the query names."""
    arguments, items = dict(query.arguments), page.get("TargetHealthDescriptions") or ()
    arn = arguments["TargetGroupArn"]
    if "Targets" in arguments:
        for item in items:
            name = target_name(item["Target"]["Id"], item["Target"].get("Port"), arn)
            yield TARGET_HEALTH.fact(name, _health(item.get("TargetHealth") or {}))
        return
    found = tuple(
        Target(
            item["Target"]["Id"],
            item["Target"].get("AvailabilityZone") or "",
            item["Target"].get("Port"),
            _health(item.get("TargetHealth") or {}).state,
        )
        for item in items
    )
    yield TARGETS.fact(arn, found)


def _health(found: Mapping[str, Any]) -> TargetHealth:
    return TargetHealth(found.get("State") or "", found.get("Reason") or "")


def member_health(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the health of instances of a Classic Load Balancer."""
    balancer = dict(query.arguments)["LoadBalancerName"]
    for item in page.get("InstanceStates") or ():
        name = member_name(item["InstanceId"], balancer)
        yield TARGET_HEALTH.fact(name, TargetHealth(item.get("State") or "", item.get("ReasonCode") or ""))


def addresses(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the Elastic IP addresses."""
    for item in page.get("Addresses") or ():
        if item.get("AllocationId"):
            yield ADDRESS.fact(
                item["AllocationId"],
                Address(
                    item["AllocationId"],
                    item.get("PublicIp") or "",
                    item.get("InstanceId") or "",
                    item.get("NetworkInterfaceId") or "",
                    item.get("PrivateIpAddress") or "",
                ),
            )


def interfaces(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the network interfaces. An attachment that has ended counts as none."""
    for item in page.get("NetworkInterfaces") or ():
        link = item.get("Attachment") or {}
        if link.get("Status") == "detached":
            link = {}
        managed = bool(item.get("RequesterManaged")) or bool((item.get("Operator") or {}).get("Managed"))
        yield INTERFACE.fact(
            item["NetworkInterfaceId"],
            Interface(
                item["NetworkInterfaceId"],
                item.get("AvailabilityZone") or "",
                item.get("InterfaceType") or "interface",
                managed,
                tuple(each["PrivateIpAddress"] for each in item.get("PrivateIpAddresses") or ()),
                link.get("InstanceId") or "",
                link.get("AttachmentId") or "",
                link.get("DeviceIndex"),
                link.get("Status") or "",
                bool(link.get("DeleteOnTermination")),
            ),
        )


def classic_load_balancers(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield all Classic Load Balancers as one fact."""
    found = tuple(
        ClassicLoadBalancer(
            item.get("LoadBalancerName") or "", tuple(each["InstanceId"] for each in item.get("Instances") or ())
        )
        for item in page.get("LoadBalancerDescriptions") or ()
    )
    yield CLASSIC_LOAD_BALANCERS.fact(found)


# --- places ----------------------------------------------------------------------------------------------------------


def account(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the account, or the code of STS's refusal."""
    yield CALLER_IDENTITY.fact(CallerIdentity(page.get("Account") or None, page.get(UNKNOWN)))


def encryption_by_default(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield whether the account encrypts every new volume."""
    yield ENCRYPTION_BY_DEFAULT.fact(bool(page.get("EbsEncryptionByDefault", False)))


def default_key(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the KMS key that encrypts new volumes and copies by default, if EC2 names one."""
    if page.get("KmsKeyId"):
        yield ENCRYPTION_KEY.fact(page["KmsKeyId"])


def zones(_query: Query, page: Answer) -> Iterable[Fact]:
    """Return which zones EC2 can use now."""
    found = page.get("AvailabilityZones") or ()
    return (IS_USABLE_ZONE.fact(item["ZoneName"], item.get("State") == "available") for item in found)


def key(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield whether the name is that of an enabled key, and the key's ARN."""
    found = page.get("KeyMetadata") or {}
    is_key = page.get(UNKNOWN) not in NO_KEY and found.get("KeyState", "Enabled") == "Enabled"
    arn = found.get("Arn")
    answer = UNUSABLE_KEY if not is_key else usable_key(arn) if arn else UNKNOWN_KEY
    yield KMS_KEY.fact(dict(query.arguments)["KeyId"], answer)


# --- volumes and snapshots -------------------------------------------------------------------------------------------


def root_volume_tasks(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the root volume tasks of each instance, and whether botocore can name an existing volume in a task."""
    found: dict[str, list[RootTask]] = {name: [] for _filter, values in query.filters for name in values}
    for item in page.get("ReplaceRootVolumeTasks") or ():
        found.setdefault(item["InstanceId"], []).append(read_root_task(item))
    yield TAKES_ROOT_VOLUME.fact(_takes_root_volume())
    for instance_id, tasks in found.items():
        yield ROOT_TASKS.fact(instance_id, tuple(tasks))


def read_root_task(item: Answer) -> RootTask:
    """Return the task of an answer."""
    return RootTask(
        item.get("ReplaceRootVolumeTaskId") or "",
        item.get("TaskState") or "",
        item.get("ImageId") or None,
        item.get("SnapshotId") or None,
        _moment(item.get("StartTime")),
        _moment(item.get("CompleteTime")),
        {tag["Key"]: tag.get("Value") or "" for tag in item.get("Tags") or ()},
    )


def _moment(text: str | None) -> datetime | None:
    """Return a moment that EC2 writes as text, with or without fractions of a second."""
    return parse_moment(text or "") or parse_instant(text or "")


_FIRST_WITH_VOLUME = (1, 43, 106)
"""The oldest known version of botocore whose CreateReplaceRootVolumeTask takes a VolumeId."""


def _takes_root_volume() -> bool:
    return tuple(int(part) for part in botocore.__version__.split(".") if part.isdigit()) >= _FIRST_WITH_VOLUME


def modifications(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the latest modification of each volume with a modification."""
    for item in page.get("VolumesModifications") or ():
        value = Modification(
            item.get("ModificationState") or "",
            _performance(item, "Original"),
            _performance(item, "Target"),
            item.get("Progress"),
            item.get("StatusMessage") or None,
        )
        yield MODIFICATION.fact(item["VolumeId"], value)


def _performance(item: Answer, prefix: str) -> Performance:
    return Performance(
        item.get(f"{prefix}Size"),
        item.get(f"{prefix}VolumeType"),
        item.get(f"{prefix}Iops"),
        item.get(f"{prefix}Throughput"),
        bool(item.get(f"{prefix}MultiAttachEnabled", False)),
    )


def snapshots(query: Query, page: Answer) -> Iterable[Resource]:
    """Return the snapshots. If the query is for public snapshots, return for each of them only the fact that it is
    public.
    """
    found = page.get("Snapshots") or ()
    if "all" in dict(query.arguments).get("RestorableByUserIds", ()):
        return (IS_PUBLIC.fact(item["SnapshotId"], True) for item in found)
    return (decode_snapshot(item) for item in found)


def locks(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the locks of snapshots."""
    for item in page.get("Snapshots") or ():
        value = SnapshotLock(item.get("LockState") or "", utc_of(item.get("LockExpiresOn")), item.get("LockDuration"))
        yield LOCK.fact(item["SnapshotId"], value)


def fast_restores(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield fast restore of snapshots, one fact for each zone."""
    for item in page.get("FastSnapshotRestores") or ():
        value = FastRestoreZone(item.get("AvailabilityZone") or "", item.get("State") or "")
        yield FAST_RESTORES.fact(item["SnapshotId"], (value,))


def tiers(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the tiers of the snapshots that somebody has moved between tiers."""
    for item in page.get("SnapshotTierStatuses") or ():
        value = Tiering(
            item.get("StorageTier") or "",
            item.get("LastTieringOperationStatus") or "",
            item.get("LastTieringOperationStatusDetail") or None,
            utc_of(item.get("ArchivalCompleteTime")),
        )
        yield TIERING.fact(item["SnapshotId"], value)


def permissions(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the accounts, or ``all``, that may make volumes from a snapshot."""
    found = page.get("CreateVolumePermissions") or ()
    allowed = tuple(item.get("UserId") or item.get("Group") or "" for item in found)
    yield VOLUME_PERMISSIONS.fact(dict(query.arguments)["SnapshotId"], allowed)


# --- images ----------------------------------------------------------------------------------------------------------


def references(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield, by image, the ARNs of the resources that use it, by type if the query names types only."""
    asked = dict(query.arguments)
    by_type = not asked.get("IncludeAllResourceTypes")
    kinds = [dict(one)["ResourceType"] for one in asked.get("ResourceTypes", ())] if by_type else [""]
    found: dict[tuple[str, str], list[str]] = {(image, kind): [] for image in asked["ImageIds"] for kind in kinds}
    for item in page.get("ImageReferences") or ():
        kind = (item.get("ResourceType") or "") if by_type else ""
        found.setdefault((item["ImageId"], kind), []).append(item.get("Arn") or "")
    for (image_id, kind), arns in found.items():
        yield (users_of_type(kind) if by_type else USERS).fact(image_id, tuple(arns))


def launch_permissions(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the accounts, ``all`` and the organizations and units (by ARN) that an image is shared with."""
    keys = ("UserId", "Group", "OrganizationArn", "OrganizationalUnitArn")
    found = page.get("LaunchPermissions") or ()
    shared = tuple(next((item[key] for key in keys if item.get(key)), "") for item in found)
    yield LAUNCH_PERMISSIONS.fact(dict(query.arguments)["ImageId"], shared)


def usage_entries(query: Query, page: Answer) -> Iterable[Fact]:
    """Return, by image, the uses in other accounts that the existing usage reports show."""
    found: dict[str, list[Usage]] = defaultdict(list)
    for item in page.get("ImageUsageReportEntries") or ():
        entry = Usage(
            item.get("ReportId") or "",
            item.get("AccountId") or "",
            item.get("ResourceType") or "",
            int(item.get("UsageCount") or 0),
            utc_of(item.get("ReportCreationTime")),
        )
        found[item["ImageId"]].append(entry)
    names = dict.fromkeys([*dict(query.arguments).get("ImageIds", ()), *found])
    return (USAGE.fact(image_id, tuple(found[image_id])) for image_id in names)


def usage_reports(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield, by image, its available usage reports with their scope, and whether EC2 is making one."""
    found: dict[str, list[UsageReport]] = defaultdict(list)
    for item in page.get("ImageUsageReports") or ():
        created = utc_of(item.get("CreationTime"))
        if item.get("State") == "available" and created:
            depths = {one.get("ResourceType"): _depth(one) for one in item.get("ResourceTypes") or ()}
            report = UsageReport(item["ReportId"], created, tuple(item.get("AccountIds") or ()), depths)
            found[item["ImageId"]].append(report)
        elif item.get("State") == "pending":
            yield IS_REPORT_PENDING.fact(item["ImageId"], True)
    names = dict.fromkeys([*dict(query.arguments).get("ImageIds", ()), *found])
    for image_id in names:
        yield USAGE_REPORTS.fact(image_id, tuple(found[image_id]))


def _depth(scope: Answer) -> int | None:
    for option in scope.get("ResourceTypeOptions") or ():
        if option.get("OptionName") == "version-depth" and option.get("OptionValues"):
            return int(option["OptionValues"][0])
    return None


def launch_configurations(_query: Query, page: Answer) -> Iterable[Fact]:
    """Yield all launch configurations of Auto Scaling as one fact."""
    found = tuple(
        LaunchConfiguration(item["LaunchConfigurationName"], item.get("ImageId") or "")
        for item in page.get("LaunchConfigurations") or ()
    )
    yield LAUNCH_CONFIGURATIONS.fact(found)


# --- names of images -------------------------------------------------------------------------------------------------


def parameters(query: Query, page: Answer) -> Iterable[Fact]:
    """Return the values of SSM parameters."""
    found = page.get("Parameters") or ()
    return (PARAMETER.fact(parameter_id(query.place, item["Name"]), item.get("Value") or "") for item in found)


def template_versions(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield all versions of a launch template as one fact. It is empty if the launch template does not exist.

    A query without a launch template is for the default and the latest version of each.
    """
    asked = dict(query.arguments)
    found = tuple(
        TemplateVersion(
            item["LaunchTemplateId"],
            item.get("LaunchTemplateName") or "",
            int(item["VersionNumber"]),
            bool(item.get("DefaultVersion")),
            dict(item.get("LaunchTemplateData") or {}),
        )
        for item in page.get("LaunchTemplateVersions") or ()
    )
    if not asked.keys() & {"LaunchTemplateId", "LaunchTemplateName"}:
        yield CURRENT_VERSIONS.fact(found)
        return
    yield TEMPLATE_VERSIONS.fact(asked.get("LaunchTemplateId") or asked["LaunchTemplateName"], found)
