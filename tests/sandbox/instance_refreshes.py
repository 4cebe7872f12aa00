# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Auto Scaling groups with instance refreshes, which moto does not have.

The Amazon EC2 Auto Scaling API reference is the source of the rules (StartInstanceRefresh, DescribeInstanceRefreshes,
CancelInstanceRefresh, RollbackInstanceRefresh), and its user guide that of the order of states. A group is seeded
(`auto_scaling_group`), and moto keeps all others. Its members are rows of the group, and no instances of EC2.

A refresh replaces one member after the other, each in ``refresh_step`` seconds. A replacement takes the version that
the configuration names at that moment. A member whose image is unhealthy stays pending, and the refresh fails after
``refresh_failing`` seconds.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from . import wire
from .engine import Call, Ec2Error, Reply, World, declare_durations, other_action

if TYPE_CHECKING:
    from .log import Entry
    from .world import Shape

declare_durations(refresh_pending=0.3, refresh_step=0.4, refresh_failing=3600.0, refresh_cancelling=0.3)

ACTIVE = ("Pending", "InProgress", "Baking", "Cancelling", "RollbackInProgress")
ALIASES = ("$Default", "$Latest")
_NAMESPACE = "http://autoscaling.amazonaws.com/doc/2011-01-01/"


@dataclass
class Member:
    """An instance of a group."""

    id: str
    version: str
    lifecycle: str = "InService"
    health: str = "Healthy"
    protected: bool = False


@dataclass
class Refresh:
    """A refresh. ``desired``: the version of the desired configuration, empty without one. ``queue``: the members to
    replace, with what they were. ``replaced``: the number of them that are replaced. ``next``: the end of the current
    step.
    """

    id: str
    started: datetime
    next: datetime
    desired: str
    preferences: Mapping[str, Any]
    queue: list[Member] = field(default_factory=list)
    status: str = "Pending"
    reason: str = ""
    replaced: int = 0
    stuck_since: datetime | None = None
    ended: datetime | None = None
    rollback: Shape | None = None

    @property
    def percent(self) -> int:
        """The percentage of the replacements that are done."""
        return 100 * self.replaced // len(self.queue) if self.queue else 100


@dataclass
class Group:
    """An Auto Scaling group. ``version``: the version of its launch template, a number or an alias."""

    name: str
    template_id: str
    template_name: str
    version: str
    account: str
    region: str
    members: list[Member] = field(default_factory=list)
    refreshes: list[Refresh] = field(default_factory=list)
    mixed: bool = False
    health_check: str = "EC2"
    target_groups: tuple[str, ...] = ()

    @property
    def active(self) -> Refresh | None:
        """The refresh that has not ended."""
        return next((one for one in self.refreshes if one.status in ACTIVE), None)


def template_versions(world: World, group: Group) -> dict[str, Shape]:
    """The versions of the group's launch template by number, and by alias."""
    rows = world.moto.call(
        "DescribeLaunchTemplateVersions",
        {"LaunchTemplateId": group.template_id, "MaxResults": 10_000},
        account=group.account,
        region=group.region,
    )["LaunchTemplateVersions"]
    found = {str(row["VersionNumber"]): row for row in rows}
    found["$Latest"] = max(rows, key=lambda row: int(row["VersionNumber"]))
    found["$Default"] = next(row for row in rows if row["DefaultVersion"])
    return found


def number_of(world: World, group: Group, version: str) -> str:
    """The number that a version of the group's launch template stands for. Raises for an unknown version."""
    row = template_versions(world, group).get(version or "$Default")
    if row is None:
        raise _invalid(
            "You must use a valid fully-formed launch template. Could not find the specified version "
            f"{version} for the launch template with ID {group.template_id}."
        )
    return str(row["VersionNumber"])


def _invalid(text: str) -> Ec2Error:
    return Ec2Error("ValidationError", text, 400)


# --- time ------------------------------------------------------------------------------------------------------------


def settle(world: World) -> None:
    """Bring all refreshes to the present."""
    now = world.clock.now()
    for groups in world.scaling_groups.values():
        for group in groups.values():
            refresh = group.active
            while (
                refresh is not None
                and refresh.next <= now
                and refresh.status in ACTIVE
                and _step(world, group, refresh, now)
            ):
                pass


def _step(world: World, group: Group, refresh: Refresh, now: datetime) -> bool:
    """Carry out the next due step. Returns whether there was one."""
    if refresh.status == "Cancelling":
        return _end(refresh, "Cancelled", "Cancelled by user")
    if refresh.status == "Baking":
        return _succeed(group, refresh)
    if refresh.status == "RollbackInProgress":
        return _return_one(world, group, refresh)
    if refresh.status == "Pending":
        refresh.status = "InProgress"
        refresh.next += _duration(world, "refresh_step") if refresh.queue else timedelta()
        return True
    if refresh.replaced == len(refresh.queue):
        bake = int(refresh.preferences.get("BakeTime") or 0)
        if not bake:
            return _succeed(group, refresh)
        refresh.status, refresh.next = "Baking", refresh.next + timedelta(seconds=bake)
        return True
    return _replace_one(world, group, refresh, now)


def _replace_one(world: World, group: Group, refresh: Refresh, now: datetime) -> bool:
    row = template_versions(world, group)[refresh.desired or group.version or "$Default"]
    if _unhealthy(world, group, str(row["LaunchTemplateData"].get("ImageId") or "")):
        if refresh.stuck_since is None:
            refresh.stuck_since = refresh.next
            refresh.reason = "Waiting for instances to pass their health checks"
        over = refresh.stuck_since + _duration(world, "refresh_failing")
        if over > now:
            return False
        return _fail(world, refresh, over)
    old = refresh.queue[refresh.replaced]
    group.members = [
        Member(world.new_id("i"), str(row["VersionNumber"])) if one.id == old.id else one for one in group.members
    ]
    refresh.replaced += 1
    if refresh.replaced < len(refresh.queue):
        refresh.next += _duration(world, "refresh_step")
    return True


def _fail(world: World, refresh: Refresh, moment: datetime) -> bool:
    refresh.next = moment
    reason = "Failed to launch instances that pass their health checks"
    if refresh.preferences.get("AutoRollback"):
        _begin_rollback(world, refresh, f"Automatic rollback: {reason}", moment)
        return True
    return _end(refresh, "Failed", reason)


def _begin_rollback(world: World, refresh: Refresh, reason: str, moment: datetime) -> None:
    refresh.rollback = {
        "RollbackReason": reason,
        "RollbackStartTime": moment,
        "PercentageCompleteOnRollback": refresh.percent,
        "InstancesToUpdateOnRollback": len(refresh.queue) - refresh.replaced,
    }
    refresh.status, refresh.reason = "RollbackInProgress", reason
    refresh.next = moment + (_duration(world, "refresh_step") if refresh.replaced else timedelta())


def _return_one(world: World, group: Group, refresh: Refresh) -> bool:
    if not refresh.replaced:
        return _end(refresh, "RollbackSuccessful", refresh.reason)
    refresh.replaced -= 1
    former = refresh.queue[refresh.replaced]
    known = {one.id for one in refresh.queue}
    fresh = [one for one in group.members if one.id not in known and one.version != former.version]
    group.members = [
        replace(former, id=world.new_id("i")) if fresh and one is fresh[-1] else one for one in group.members
    ]
    if refresh.replaced:
        refresh.next += _duration(world, "refresh_step")
    return True


def _succeed(group: Group, refresh: Refresh) -> bool:
    if refresh.desired:
        group.version = refresh.desired
    return _end(refresh, "Successful", "")


def _end(refresh: Refresh, status: str, reason: str) -> bool:
    refresh.status, refresh.reason, refresh.ended = status, reason, refresh.next
    return False


def _duration(world: World, name: str) -> timedelta:
    return timedelta(seconds=world.config.duration(name))


def _unhealthy(world: World, group: Group, image_id: str) -> bool:
    image = world.region(group.account, group.region).images.get(image_id)
    return image is not None and image.unhealthy


# --- calls -----------------------------------------------------------------------------------------------------------


@other_action("autoscaling:DescribeAutoScalingGroups")
def describe_groups(world: World, _call: Call, entry: Entry) -> Reply | None:
    """The seeded groups, by name. moto answers where none is seeded."""
    groups = world.scaling_groups.get((entry.account, entry.region))
    if not groups:
        return None
    settle(world)
    names = _members(entry.params, "AutoScalingGroupNames")
    found = [one for one in groups.values() if not names or one.name in names]
    return _answer(entry, {"AutoScalingGroups": [_group_row(world, one) for one in found]})


@other_action("autoscaling:DescribeInstanceRefreshes")
def describe_refreshes(world: World, _call: Call, entry: Entry) -> Reply | None:
    """The refreshes of a group, the newest first, in pages of 1 to 100."""
    group = _group(world, entry)
    ids = _members(entry.params, "InstanceRefreshIds")
    found = [one for one in reversed(group.refreshes) if not ids or one.id in ids]
    size, start = int(entry.params.get("MaxRecords") or 50), int(entry.params.get("NextToken") or 0)
    if not 1 <= size <= 100:
        raise _invalid(f"1 validation error detected: Value '{size}' at 'maxRecords' must be between 1 and 100")
    shape: Shape = {"InstanceRefreshes": [_refresh_row(group, one) for one in found[start : start + size]]}
    if start + size < len(found):
        shape["NextToken"] = str(start + size)
    return _answer(entry, shape)


@other_action("autoscaling:StartInstanceRefresh")
def start_refresh(world: World, _call: Call, entry: Entry) -> Reply | None:
    """A new refresh, unless one is active."""
    group = _group(world, entry)
    params = nested(entry.params)
    preferences = _preferences(params.get("Preferences") or {})
    # The log shows values and structures, as for other services.
    entry.params = {**params, **({"Preferences": preferences} if "Preferences" in params else {})}
    desired = _desired(world, group, params.get("DesiredConfiguration") or {})
    if preferences.get("AutoRollback") and not _is_reversible(group, desired):
        raise _invalid(
            "Auto rollback is not supported without a desired configuration, or for a launch template version of "
            "$Latest or $Default."
        )
    if group.active is not None:
        raise Ec2Error(
            "InstanceRefreshInProgress",
            "An Instance Refresh is already in progress and blocks the execution of this Instance Refresh.",
            400,
        )
    now = world.clock.now()
    refresh = Refresh(str(uuid.uuid4()), now, now + _duration(world, "refresh_pending"), desired, preferences)
    refresh.queue = list(_to_replace(world, group, refresh))
    group.refreshes.append(refresh)
    return _answer(entry, {"InstanceRefreshId": refresh.id})


@other_action("autoscaling:CancelInstanceRefresh")
def cancel_refresh(world: World, _call: Call, entry: Entry) -> Reply | None:
    """The end of the active refresh or rollback. The replaced members stay replaced."""
    refresh = _active(_group(world, entry))
    refresh.status, refresh.next = "Cancelling", world.clock.now() + _duration(world, "refresh_cancelling")
    return _answer(entry, {"InstanceRefreshId": refresh.id})


@other_action("autoscaling:RollbackInstanceRefresh")
def roll_back_refresh(world: World, _call: Call, entry: Entry) -> Reply | None:
    """The rollback of the active refresh."""
    group = _group(world, entry)
    refresh = _active(group)
    if refresh.status not in ("Pending", "InProgress", "Baking") or not _is_reversible(group, refresh.desired):
        raise Ec2Error(
            "IrreversibleInstanceRefresh",
            "The Instance Refresh cannot be rolled back: it has no desired configuration, or the Auto Scaling group "
            "uses $Latest or $Default.",
            400,
        )
    _begin_rollback(world, refresh, "Manual rollback", world.clock.now())
    return _answer(entry, {"InstanceRefreshId": refresh.id})


def _group(world: World, entry: Entry) -> Group:
    settle(world)
    name = str(entry.params.get("AutoScalingGroupName") or "")
    group = world.scaling_groups.get((entry.account, entry.region), {}).get(name)
    if group is None:
        raise _invalid(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
    return group


def _active(group: Group) -> Refresh:
    refresh = group.active
    if refresh is None or refresh.status == "Cancelling":
        raise Ec2Error(
            "ActiveInstanceRefreshNotFound",
            f"No in progress or pending Instance Refresh found for Auto Scaling group {group.name}",
            400,
        )
    return refresh


def _is_reversible(group: Group, desired: str) -> bool:
    return bool(desired) and desired not in ALIASES and group.version not in ALIASES


def _to_replace(world: World, group: Group, refresh: Refresh) -> Iterator[Member]:
    target = number_of(world, group, refresh.desired or group.version)
    for member in group.members:
        ignored = (member.protected and refresh.preferences.get("ScaleInProtectedInstances") == "Ignore") or (
            member.lifecycle == "Standby" and refresh.preferences.get("StandbyInstances") == "Ignore"
        )
        matches = refresh.preferences.get("SkipMatching") and member.version == target
        if not (ignored or matches):
            yield member


_CHOICES = {
    "ScaleInProtectedInstances": ("Refresh", "Ignore", "Wait"),
    "StandbyInstances": ("Terminate", "Ignore", "Wait"),
}
_RANGES = {
    "MinHealthyPercentage": (0, 100),
    "MaxHealthyPercentage": (100, 200),
    "InstanceWarmup": (0, 10**9),
    "BakeTime": (0, 172_800),
}
_SWITCHES = ("SkipMatching", "AutoRollback")


def _preferences(given: Mapping[str, Any]) -> dict[str, Any]:
    """The preferences, checked. Raises ValidationError."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name in _SWITCHES:
            found[name] = str(value) == "true"
        elif name in _RANGES:
            low, high = _RANGES[name]
            if not low <= int(value) <= high:
                raise _invalid(f"{name} must be between {low} and {high}.")
            found[name] = int(value)
        elif name in _CHOICES and value in _CHOICES[name]:
            found[name] = value
        else:
            raise _invalid(f"The preference {name} is unknown here, or has an invalid value.")
    least, most = found.get("MinHealthyPercentage"), found.get("MaxHealthyPercentage")
    if most is not None and (least is None or most - least > 100):
        raise _invalid("MaxHealthyPercentage needs a MinHealthyPercentage that is at most 100 smaller.")
    return found


def _desired(world: World, group: Group, given: Mapping[str, Any]) -> str:
    """The version of the desired configuration. Other launch templates and mixed policies are not made here."""
    if not given:
        return ""
    template = given.get("LaunchTemplate") or {}
    named = (template.get("LaunchTemplateId"), template.get("LaunchTemplateName"))
    if set(given) != {"LaunchTemplate"} or group.mixed or (bool(named[0]) == bool(named[1])):
        raise _invalid("The desired configuration must name one launch template, by its id or its name.")
    if group.template_id not in named and group.template_name not in named:
        raise _invalid("The launch template of the desired configuration does not exist.")
    version = str(template.get("Version") or "$Default")
    number_of(world, group, version)
    return version


# --- answers ---------------------------------------------------------------------------------------------------------


def _template(group: Group, version: str) -> Shape:
    return {"LaunchTemplateId": group.template_id, "LaunchTemplateName": group.template_name, "Version": version}


def _group_row(world: World, group: Group) -> Shape:
    images = template_versions(world, group)
    shape: Shape = {
        "AutoScalingGroupName": group.name,
        "MinSize": 0,
        "MaxSize": 100,
        "DesiredCapacity": len(group.members),
        "HealthCheckType": group.health_check,
        "TargetGroupARNs": list(group.target_groups),
        "Instances": [
            {
                "InstanceId": one.id,
                "AvailabilityZone": f"{group.region}a",
                "LifecycleState": one.lifecycle,
                "HealthStatus": one.health,
                "ProtectedFromScaleIn": one.protected,
                "ImageId": images[one.version]["LaunchTemplateData"].get("ImageId") or "",
                "LaunchTemplate": _template(group, one.version),
            }
            for one in group.members
        ],
    }
    if group.mixed:
        policy = {"LaunchTemplateSpecification": _template(group, group.version)}
        shape["MixedInstancesPolicy"] = {"LaunchTemplate": policy}
    else:
        shape["LaunchTemplate"] = _template(group, group.version)
    return shape


def _refresh_row(group: Group, refresh: Refresh) -> Shape:
    shape: Shape = {
        "InstanceRefreshId": refresh.id,
        "AutoScalingGroupName": group.name,
        "Status": refresh.status,
        "StartTime": refresh.started,
        "PercentageComplete": refresh.percent,
        "InstancesToUpdate": len(refresh.queue) - refresh.replaced,
        "Preferences": dict(refresh.preferences),
    }
    if refresh.reason:
        shape["StatusReason"] = refresh.reason
    if refresh.ended is not None:
        shape["EndTime"] = refresh.ended
    if refresh.desired:
        shape["DesiredConfiguration"] = {"LaunchTemplate": _template(group, refresh.desired)}
    if refresh.rollback is not None:
        shape["RollbackDetails"] = refresh.rollback
    return shape


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The structures of a form: ``{"Preferences.BakeTime": "5"}`` stands for ``{"Preferences": {"BakeTime": "5"}}``."""
    found: dict[str, Any] = {}
    for name, value in flat.items():
        *path, last = name.split(".")
        inner = found
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return found


def _members(flat: Mapping[str, Any], name: str) -> list[str]:
    return [str(value) for key, value in flat.items() if key.startswith(f"{name}.member.")]


def _answer(entry: Entry, shape: Shape) -> Reply:
    action = entry.action.partition(":")[2]
    body = (
        f'<{action}Response xmlns="{_NAMESPACE}"><{action}Result>{_xml(shape)}</{action}Result>'
        f"<ResponseMetadata><RequestId>{uuid.uuid4()}</RequestId></ResponseMetadata></{action}Response>"
    )
    return Reply(200, body.encode(), [("Content-Type", "text/xml")])


def _xml(value: Any) -> str:
    """A value as the services of the query protocol write it."""
    if isinstance(value, Mapping):
        return "".join(f"<{name}>{_xml(item)}</{name}>" for name, item in value.items())
    if isinstance(value, (list, tuple)):
        return "".join(f"<member>{_xml(item)}</member>" for item in value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%S}.{value.microsecond // 1000:03d}Z"
    return wire.escaped(str(value))
