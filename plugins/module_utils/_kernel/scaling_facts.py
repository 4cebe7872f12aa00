# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The facts about Auto Scaling groups and their instance refreshes, with their queries. See `facts`.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from .facts import FactKind
from .state import Query

DEFAULT_VERSION = "$Default"
LATEST_VERSION = "$Latest"
ALIASES = (DEFAULT_VERSION, LATEST_VERSION)
"""The versions of a launch template that stand for another version as time goes by."""


@dataclass(frozen=True)
class TemplateReference:
    """A launch template and a version of it. ``version``: a number, or one of `ALIASES`."""

    template_id: str
    name: str
    version: str

    @property
    def is_alias(self) -> bool:
        """The version is no number."""
        return self.version in ALIASES


@dataclass(frozen=True)
class GroupMember:
    """An instance of a group. ``lifecycle``, ``health``: EC2 Auto Scaling's words. ``template``: the launch template
    and the number of the version that launched it, None for another launch.
    """

    instance_id: str
    lifecycle: str
    health: str
    template: TemplateReference | None = None
    is_protected: bool = False

    @property
    def is_leaving(self) -> bool:
        """The instance is being terminated or detached."""
        return self.lifecycle.startswith(("Terminat", "Detach"))

    @property
    def is_standby(self) -> bool:
        """The instance is out of service for a while, by somebody's wish."""
        return self.lifecycle == "Standby"

    @property
    def is_serving(self) -> bool:
        """The instance is in service and healthy."""
        return (self.lifecycle, self.health) == ("InService", "Healthy")


@dataclass(frozen=True)
class ScalingGroup:
    """An Auto Scaling group. ``template``: None for a launch configuration. ``is_mixed``: the launch template stands
    in a mixed instances policy. ``overrides``: the launch templates that this policy has for single instance types.
    ``capacity``: the desired capacity. ``is_balanced``: it has target groups or Classic Load Balancers.
    """

    name: str
    template: TemplateReference | None = None
    is_mixed: bool = False
    capacity: int = 0
    health_check: str = ""
    is_balanced: bool = False
    members: tuple[GroupMember, ...] = ()
    overrides: tuple[TemplateReference, ...] = ()


_UNDER_WAY = frozenset({"Pending", "InProgress", "Baking"})
_ENDING = frozenset({"Cancelling", "RollbackInProgress"})


@dataclass(frozen=True)
class InstanceRefresh:
    """An instance refresh. ``status``: EC2 Auto Scaling's word. ``percent``: of the replacements. ``desired``: the
    launch template of its desired configuration. ``is_mixed``: its desired configuration is a mixed instances policy.
    """

    refresh_id: str
    status: str
    percent: int = 0
    reason: str | None = None
    started: datetime | None = None
    ended: datetime | None = None
    desired: TemplateReference | None = None
    is_mixed: bool = False

    @property
    def is_under_way(self) -> bool:
        """The refresh still goes towards its configuration."""
        return self.status in _UNDER_WAY

    @property
    def is_active(self) -> bool:
        """The group takes no other refresh yet."""
        return self.is_under_way or self.status in _ENDING

    @property
    def is_going_back(self) -> bool:
        """EC2 Auto Scaling returns the group to the configuration from before the refresh."""
        return self.status == "RollbackInProgress"

    @property
    def state(self) -> str:
        """The status with its reason."""
        return f"{self.status} ({self.reason})" if self.reason else self.status

    @property
    def progress(self) -> str:
        """The end of a message about a state."""
        return f", {self.percent}% done" if self.is_active else ""


SCALING_GROUP = FactKind[ScalingGroup]("scalingGroup")
INSTANCE_REFRESHES = FactKind[tuple[InstanceRefresh, ...]]("instanceRefreshes")
"""The refreshes of a group from the last six weeks, the newest first. The subject is the name of the group."""
REFRESHED_TO = FactKind[str]("refreshedTo")
"""The version to which this run refreshes a group. A plan predicts it, and EC2 Auto Scaling never shows it."""
_GROUP_NAMES = 50
"""The number of groups that one page of DescribeAutoScalingGroups has by default."""


def refresh_queries(names: Iterable[str]) -> tuple[Query, ...]:
    """Return the queries for the refreshes of groups. The operation takes one group."""
    return tuple(
        Query("DescribeInstanceRefreshes", arguments=(("AutoScalingGroupName", name),), service="autoscaling")
        for name in sorted(set(names))
    )


def group_queries(names: Iterable[str]) -> tuple[Query, ...]:
    """Return the queries for groups. An answer leaves out a group that does not exist."""
    wanted = sorted(set(names))
    return tuple(
        Query(
            "DescribeAutoScalingGroups",
            arguments=(("AutoScalingGroupNames", tuple(wanted[start : start + _GROUP_NAMES])),),
            service="autoscaling",
        )
        for start in range(0, len(wanted), _GROUP_NAMES)
    )


def newest_refresh(refreshes: Iterable[InstanceRefresh]) -> InstanceRefresh | None:
    """Return the newest of these refreshes, or None."""
    return next(iter(refreshes), None)
