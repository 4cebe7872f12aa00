# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read EC2 Auto Scaling's answers about groups and instance refreshes as facts.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .._kernel.resources import Fact
from .._kernel.scaling_facts import (
    DEFAULT_VERSION,
    INSTANCE_REFRESHES,
    SCALING_GROUP,
    GroupMember,
    InstanceRefresh,
    ScalingGroup,
    TemplateReference,
)
from .._kernel.state import Query
from .._kernel.storage_facts import GROUP_TEMPLATES, GroupTemplate
from .decoding import UNKNOWN, Answer, utc_of


def scaling_groups(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield Auto Scaling groups with their members. The list of all groups also has their launch templates, as one
    fact.
    """
    if not query.arguments:
        yield _group_templates(page)
    for item in page.get("AutoScalingGroups") or ():
        policy = item.get("MixedInstancesPolicy")
        value = ScalingGroup(
            item["AutoScalingGroupName"],
            _template(_of_policy(policy) if policy else item.get("LaunchTemplate")),
            bool(policy),
            int(item.get("DesiredCapacity") or 0),
            item.get("HealthCheckType") or "",
            bool(item.get("TargetGroupARNs") or item.get("LoadBalancerNames")),
            tuple(_member(one) for one in item.get("Instances") or ()),
            tuple(_overrides(policy or {})),
        )
        yield SCALING_GROUP.fact(value.name, value)


def _group_templates(page: Answer) -> Fact:
    """Return the launch templates of all Auto Scaling groups as one fact, also those of mixed instances."""
    found: list[GroupTemplate] = []
    for group in page.get("AutoScalingGroups") or ():
        mixed = (group.get("MixedInstancesPolicy") or {}).get("LaunchTemplate") or {}
        named = [group.get("LaunchTemplate"), mixed.get("LaunchTemplateSpecification")]
        named += [one.get("LaunchTemplateSpecification") for one in mixed.get("Overrides") or ()]
        found += [
            GroupTemplate(group["AutoScalingGroupName"], one["LaunchTemplateId"], one.get("Version") or "$Default")
            for one in named
            if one and one.get("LaunchTemplateId")
        ]
    return GROUP_TEMPLATES.fact(tuple(found))


def instance_refreshes(query: Query, page: Answer) -> Iterable[Fact]:
    """Yield the refreshes of a group as one fact, the newest first. A group that does not exist has no such fact."""
    if UNKNOWN in page:
        return
    found = tuple(_refresh(item) for item in page.get("InstanceRefreshes") or ())
    yield INSTANCE_REFRESHES.fact(dict(query.arguments)["AutoScalingGroupName"], found)


def _refresh(item: Mapping[str, Any]) -> InstanceRefresh:
    desired = item.get("DesiredConfiguration") or {}
    return InstanceRefresh(
        item["InstanceRefreshId"],
        item.get("Status") or "",
        int(item.get("PercentageComplete") or 0),
        item.get("StatusReason") or None,
        utc_of(item.get("StartTime")),
        utc_of(item.get("EndTime")),
        _template(desired.get("LaunchTemplate")),
        bool(desired.get("MixedInstancesPolicy")),
    )


def _member(item: Mapping[str, Any]) -> GroupMember:
    return GroupMember(
        item["InstanceId"],
        item.get("LifecycleState") or "",
        item.get("HealthStatus") or "",
        _template(item.get("LaunchTemplate")),
        bool(item.get("ProtectedFromScaleIn")),
    )


def _of_policy(policy: Mapping[str, Any]) -> Mapping[str, Any] | None:
    return (policy.get("LaunchTemplate") or {}).get("LaunchTemplateSpecification")


def _overrides(policy: Mapping[str, Any]) -> Iterator[TemplateReference]:
    """Yield the launch templates that a mixed instances policy has for single instance types."""
    for one in (policy.get("LaunchTemplate") or {}).get("Overrides") or ():
        found = _template(one.get("LaunchTemplateSpecification"))
        if found is not None:
            yield found


def _template(item: Mapping[str, Any] | None) -> TemplateReference | None:
    if not item:
        return None
    return TemplateReference(
        item.get("LaunchTemplateId") or "", item.get("LaunchTemplateName") or "", item.get("Version") or DEFAULT_VERSION
    )
