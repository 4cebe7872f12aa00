# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kinds of facts about volumes, snapshots and images, with their types and their queries. See `facts`.

This file also has the kinds about the SSM parameters and launch templates that name images.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .facts import FactKind, PlaceFactKind
from .places import HERE, Place, parameter_name
from .state import Query, State, Struct, by_id
from .times import format_moment

# --- root volumes ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RootTask:
    """A task that replaces the root volume of an instance.

    ``state``: EC2's word. ``image_id`` and ``snapshot_id``: the source of the new root volume, None for a given volume.
    """

    task_id: str
    state: str
    image_id: str | None = None
    snapshot_id: str | None = None
    started: datetime | None = None
    completed: datetime | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_under_way(self) -> bool:
        """EC2 has not finished the task, and takes no other for the instance."""
        return self.state not in ("succeeded", "failed", "failed-detached")

    @property
    def has_failed(self) -> bool:
        """The task has failed to replace the root volume, or is about to fail."""
        return self.state.startswith("fail")


ROOT_TASKS = FactKind[tuple[RootTask, ...]]("rootTasks")
"""The tasks that replaced, or replace, the root volume of an instance. EC2 lists them in no order."""
TAKES_ROOT_VOLUME = PlaceFactKind[bool]("takesRootVolume")
"""Whether the installed botocore can name an existing volume as the new root volume (CreateReplaceRootVolumeTask)."""


def root_task_queries(ids: Iterable[str]) -> tuple[Query, ...]:
    """Return the queries for the root volume tasks of instances."""
    return by_id("DescribeReplaceRootVolumeTasks", "instance-id", ids)


def root_tasks(state: State, instance_id: str) -> tuple[RootTask, ...]:
    """Return the tasks of an instance, oldest first. EC2 carries out one after the other."""
    found = ROOT_TASKS.of(state, instance_id) or ()
    return tuple(sorted(found, key=lambda task: (format_moment(task.started) if task.started else "", task.task_id)))


# --- volumes ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Performance:
    """The values that ModifyVolume changes. None: EC2 shows no value."""

    size: int | None = None
    volume_type: str | None = None
    iops: int | None = None
    throughput: int | None = None
    multi_attach_enabled: bool = False


@dataclass(frozen=True)
class Modification:
    """The latest modification of a volume. EC2 shows no earlier one.

    ``state``: EC2's word: ``modifying``, ``optimizing``, ``completed`` or ``failed``. ``progress``: percent.
    """

    state: str
    original: Performance
    target: Performance
    progress: int | None = None
    message: str | None = None

    @property
    def is_under_way(self) -> bool:
        """EBS takes no other modification yet."""
        return self.state in ("modifying", "optimizing")

    @property
    def is_to_take_effect(self) -> bool:
        """The volume may still show its old values."""
        return self.state == "modifying"


MODIFICATION = FactKind[Modification]("modification")


def modification_queries(ids: Iterable[str]) -> tuple[Query, ...]:
    """Return the queries for the latest modifications of volumes."""
    return by_id("DescribeVolumesModifications", "volume-id", ids)


def modification_query(volume_id: str) -> Query:
    """Return the query for the latest modification of a volume that is not planned."""
    return modification_queries([volume_id])[0]


# --- snapshots -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SnapshotLock:
    """The lock of a snapshot. ``state``: EC2's word. ``days``: the length of the lock."""

    state: str
    expires_on: datetime | None = None
    days: int | None = None

    @property
    def is_in_force(self) -> bool:
        """EC2 does not delete the snapshot."""
        return self.is_removable or self.state == "compliance"

    @property
    def is_removable(self) -> bool:
        """UnlockSnapshot ends the lock."""
        return self.state in ("governance", "compliance-cooloff")

    @property
    def mode(self) -> str:
        """The mode of a lock in force: ``governance`` or ``compliance``."""
        return self.state.removesuffix("-cooloff")

    @property
    def text(self) -> str:
        """The state and the end, for messages."""
        return self.state + (f" until {format_moment(self.expires_on)}" if self.expires_on else "")


LOCK = FactKind[SnapshotLock]("lock")
LOCKS_QUERY = Query("DescribeLockedSnapshots")
"""The query for all locks of the account."""


def lock_queries(snapshot_ids: Sequence[str]) -> tuple[Query, ...]:
    """Return the query for the locks of these snapshots."""
    if not snapshot_ids:
        return ()
    return (Query("DescribeLockedSnapshots", arguments=(("SnapshotIds", tuple(snapshot_ids)),)),)


IS_PUBLIC = FactKind[bool]("public")
"""Whether anybody may restore from a snapshot. Only a public snapshot has the fact."""
PUBLIC_QUERY = Query("DescribeSnapshots", arguments=(("OwnerIds", ("self",)), ("RestorableByUserIds", ("all",))))
VOLUME_PERMISSIONS = FactKind[tuple[str, ...]]("createVolumePermission")
"""The accounts, or ``all``, that may make volumes from a snapshot."""


def permissions_query(snapshot_id: str, place: Place = HERE) -> Query:
    """Return the query for the accounts that a snapshot is shared with. EC2 has no bulk read."""
    return Query(
        "DescribeSnapshotAttribute",
        arguments=(("Attribute", "createVolumePermission"), ("SnapshotId", snapshot_id)),
        place=place,
    )


_ON = ("enabling", "optimizing", "enabled")


@dataclass(frozen=True)
class FastRestoreZone:
    """Fast restore of a snapshot in one zone. ``state``: EC2's word."""

    zone: str
    state: str

    @property
    def is_on(self) -> bool:
        """Fast restore is enabled, or soon will be. Both states cost the same."""
        return self.state in _ON


FAST_RESTORES = FactKind[tuple[FastRestoreZone, ...]]("fastRestore")
FAST_RESTORES_QUERY = Query("DescribeFastSnapshotRestores", (("state", _ON),))
"""The query for all zones in which a snapshot has fast restore."""


def fast_restores_of(state: State, snapshot_id: str, place: Place = HERE) -> list[FastRestoreZone]:
    """Return fast restore of a snapshot, for each zone where it is enabled."""
    return [item for item in FAST_RESTORES.of(state, snapshot_id, place) or () if item.is_on]


_MOVES = ("archival", "temporary-restore", "permanent-restore")


@dataclass(frozen=True)
class Tiering:
    """The tier of a snapshot that somebody has moved between tiers.

    ``tier``: ``standard`` or ``archive``. ``last``: EC2's word for the latest move and its result, such as
    ``archival-in-progress``. ``message``: EC2's text about the result. ``archived``: the time since which it is in the
    archive.
    """

    tier: str
    last: str
    message: str | None = None
    archived: datetime | None = None

    @property
    def is_moving(self) -> bool:
        """EBS moves the snapshot now."""
        return self.last.endswith("-in-progress")

    @property
    def is_being_archived(self) -> bool:
        """EBS moves the snapshot to the archive now."""
        return self.last == "archival-in-progress"

    @property
    def has_not_been_archived(self) -> bool:
        """The latest move to the archive has failed."""
        return self.last == "archival-failed"

    @property
    def is_in_archive(self) -> bool:
        """EBS bills the snapshot in the archive. EC2 shows a temporary restore in the standard tier."""
        return self.tier == "archive" or self.last == "temporary-restore-completed"

    @property
    def is_back_for_good(self) -> bool:
        """Somebody has restored the snapshot from the archive for good."""
        return self.last == "permanent-restore-completed"


TIERING = FactKind[Tiering]("tier")


def _tierings(moves: Iterable[str]) -> Query:
    return Query("DescribeSnapshotTierStatus", (("last-tiering-operation", tuple(moves)),))


TIERINGS_QUERY = _tierings(f"{move}-{end}" for move in _MOVES for end in ("in-progress", "completed", "failed"))
"""The query for all snapshots that somebody has moved between tiers."""
ARCHIVED_QUERY = _tierings(
    (
        "archival-in-progress",
        "permanent-restore-in-progress",
        "temporary-restore-in-progress",
        "archival-completed",
        "temporary-restore-completed",
    )
)
"""The query for the snapshots that are in the archive, or on their way there or back."""

# --- images ----------------------------------------------------------------------------------------------------------

USERS = FactKind[tuple[str, ...]]("references")
"""The ARNs of the resources that use an image in the account."""
LAUNCH_PERMISSIONS = FactKind[tuple[str, ...]]("launchPermission")
"""The accounts, ``all``, and the organizations and units (by ARN) that an image is shared with."""


def users_of_type(resource_type: str) -> FactKind[tuple[str, ...]]:
    """Return the kind of fact that has the ARNs of the resources of one type, such as ``ec2:Instance``, that use an
    image.
    """
    return FactKind(f"references {resource_type}")


_REPORT_DEPTH = 20
"""The number of versions of a launch template that a usage report looks at by default."""


@dataclass(frozen=True)
class Usage:
    """An entry of a usage report: the number of resources of one type in one account that use the image.

    ``reported``: the time of the report.
    """

    report: str
    account: str
    resource_type: str
    count: int
    reported: datetime | None = None


@dataclass(frozen=True)
class UsageReport:
    """The scope of a usage report that is available.

    ``accounts``: empty for all. ``depths``: the number of launch template versions that the report looks at, by type of
    resource. None stands for EC2's default.
    """

    report: str
    reported: datetime
    accounts: tuple[str, ...] = ()
    depths: Mapping[str, int | None] = field(default_factory=dict)

    def depth_of(self, resource_type: str) -> int:
        """Return how many versions of a launch template the report looks at, if it looks at the type at all."""
        return self.depths.get(resource_type) or _REPORT_DEPTH


USAGE = FactKind[tuple[Usage, ...]]("usage")
"""The use of an image in other accounts, as the existing usage reports show it."""
USAGE_REPORTS = FactKind[tuple[UsageReport, ...]]("usageReports")
IS_REPORT_PENDING = FactKind[bool]("usageReportPending")
"""Whether EC2 is making a usage report of an image. Only such an image has the fact."""


@dataclass(frozen=True)
class LaunchConfiguration:
    """A launch configuration of Auto Scaling, with its image."""

    name: str
    image_id: str


LAUNCH_CONFIGURATIONS = PlaceFactKind[tuple[LaunchConfiguration, ...]]("launchConfigurations")
LAUNCH_CONFIGURATIONS_QUERY = Query("DescribeLaunchConfigurations", service="autoscaling")


@dataclass(frozen=True)
class GroupTemplate:
    """The launch template of an Auto Scaling group. ``version``: a number, ``$Default`` or ``$Latest``."""

    group: str
    template_id: str
    version: str

    @property
    def pinned(self) -> int | None:
        """The number of the version, or None if the group follows the default or the latest version."""
        return int(self.version) if self.version.isdecimal() else None


GROUP_TEMPLATES = PlaceFactKind[tuple[GroupTemplate, ...]]("groupTemplates")
GROUP_TEMPLATES_QUERY = Query("DescribeAutoScalingGroups", service="autoscaling")
# By default, DescribeImageReferences looks at ten versions of a launch template, and at 10,000 at most. By default,
# instances count in all states, also for the hour in which EC2 still lists a terminated one.
_DEEPEST = "10000"
_LIVING = ("pending", "running", "stopping", "stopped")
_USERS_IDS = 10
"""The number of images that DescribeImageReferences takes."""


def users_query(image_id: str) -> Query:
    """Return the query for the uses of an image in the account."""
    return next(users_queries([image_id]))


def users_queries(image_ids: Iterable[str]) -> Iterator[Query]:
    """Yield the queries for the uses of images in the account. One query takes `_USERS_IDS` images."""

    def with_option(kind: str, name: str, *values: str) -> Struct:
        option = Struct((("OptionName", name), ("OptionValues", values)))
        return Struct((("ResourceType", kind), ("ResourceTypeOptions", (option,))))

    types = (
        with_option("ec2:Instance", "state-name", *_LIVING),
        with_option("ec2:LaunchTemplate", "version-depth", _DEEPEST),
    )
    wanted = sorted(set(image_ids))
    for start in range(0, len(wanted), _USERS_IDS):
        some = tuple(wanted[start : start + _USERS_IDS])
        arguments = (("ImageIds", some), ("IncludeAllResourceTypes", True), ("ResourceTypes", types))
        yield Query("DescribeImageReferences", arguments=arguments)


IMAGES_AT_ONCE = 10
"""The number of images that DescribeImageReferences takes."""


def references_queries(image_ids: Iterable[str], resource_types: Iterable[str]) -> tuple[Query, ...]:
    """Return the queries for the resources of these types that name the images: one for ten images.

    An instance counts until it is terminated, and a launch template with every version that EC2 can look at.
    """
    options = {
        "ec2:Instance": ("state-name", (*_LIVING, "shutting-down")),
        "ec2:LaunchTemplate": ("version-depth", (_DEEPEST,)),
    }

    def asked(kind: str) -> Struct:
        if kind not in options:
            return Struct((("ResourceType", kind),))
        name, values = options[kind]
        option = Struct((("OptionName", name), ("OptionValues", values)))
        return Struct((("ResourceType", kind), ("ResourceTypeOptions", (option,))))

    wanted, types = sorted(image_ids), tuple(asked(kind) for kind in resource_types)
    if not types:
        return ()
    return tuple(
        Query(
            "DescribeImageReferences",
            arguments=(("ImageIds", tuple(wanted[start : start + IMAGES_AT_ONCE])), ("ResourceTypes", types)),
        )
        for start in range(0, len(wanted), IMAGES_AT_ONCE)
    )


ALL_USAGE_QUERY = Query("DescribeImageUsageReportEntries")
"""The query for the entries of all usage reports of a place."""
ALL_REPORTS_QUERY = Query("DescribeImageUsageReports")
"""The query for all usage reports of a place."""


def launch_permissions_query(image_id: str, place: Place = HERE) -> Query:
    """Return the query for the accounts that an image is shared with."""
    return Query(
        "DescribeImageAttribute", arguments=(("Attribute", "launchPermission"), ("ImageId", image_id)), place=place
    )


def usage_query(image_id: str) -> Query:
    """Return the query for the use of an image in other accounts."""
    return Query("DescribeImageUsageReportEntries", arguments=(("ImageIds", (image_id,)),))


def usage_reports_query(image_id: str) -> Query:
    """Return the query for the usage reports of an image. A report that finds no use has no entries, so only the list
    of reports shows it.
    """
    return Query("DescribeImageUsageReports", arguments=(("ImageIds", (image_id,)),))


# --- names of images: SSM parameters and launch templates -------------------------------------------------------------

PARAMETER = FactKind[str]("parameter")
"""The value of an SSM parameter. The subject is its id, see `places.parameter_id`."""
_PARAMETER_NAMES = 10
"""The number of names that GetParameters takes."""


@dataclass(frozen=True)
class TemplateVersion:
    """A version of a launch template. ``data``: EC2's whole LaunchTemplateData."""

    template_id: str
    template_name: str
    number: int
    is_default: bool = False
    data: Mapping[str, Any] = field(default_factory=dict)


TEMPLATE_VERSIONS = FactKind[tuple[TemplateVersion, ...]]("launchTemplateVersions")
"""All versions of a launch template. The subject is the id or the name that was asked."""
DEFAULT_TO = FactKind[str]("defaultTo")
"""The version that a run makes the default of a launch template. A plan predicts it, and EC2 never shows it."""
CURRENT_VERSIONS = PlaceFactKind[tuple[TemplateVersion, ...]]("currentLaunchTemplateVersions")
"""The default and the latest version of every launch template of a place."""
CURRENT_VERSIONS_QUERY = Query("DescribeLaunchTemplateVersions", arguments=(("Versions", ("$Default", "$Latest")),))


def parameter_queries(parameters: Iterable[str], place: Place = HERE) -> tuple[Query, ...]:
    """Return the queries for SSM parameters of a place, by their ids."""
    names = sorted({parameter_name(place, parameter) for parameter in parameters})
    return tuple(
        Query(
            "GetParameters",
            arguments=(("Names", tuple(names[start : start + _PARAMETER_NAMES])),),
            service="ssm",
            place=place,
        )
        for start in range(0, len(names), _PARAMETER_NAMES)
    )


def template_query(key: str, *, by_name: bool = False) -> Query:
    """Return the query for all versions of a launch template, by its id or its name."""
    name = "LaunchTemplateName" if by_name else "LaunchTemplateId"
    return Query("DescribeLaunchTemplateVersions", arguments=((name, key),))
