# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The load balancers that send requests to an instance.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .._kernel.errors import listed
from .._kernel.facts import (
    CLASSIC_LOAD_BALANCERS,
    CLASSIC_LOAD_BALANCERS_QUERY,
    TARGET_GROUPS,
    TARGET_GROUPS_QUERY,
    TARGETS,
    Target,
    TargetGroup,
    targets_query,
)
from .._kernel.resources import Instance
from .._kernel.state import Query, State


def balancer_queries(state: State, instance: Instance) -> Iterator[Query]:
    """Yield the queries that find an instance's load balancers: by id, by address, or as a Classic member."""
    yield TARGET_GROUPS_QUERY
    yield CLASSIC_LOAD_BALANCERS_QUERY
    for group in TARGET_GROUPS.of(state) or () if TARGET_GROUPS_QUERY in state.answered else ():
        # A target group has instances of its own VPC only, but also addresses from elsewhere.
        here = instance.facts.get("VpcId")
        near = not here or group.vpc in ("", here)
        if group.target_type == "ip" or (group.target_type == "instance" and near):
            yield targets_query(group)


def balanced_by(state: State, instance: Instance) -> list[str]:
    """Return the instance's target groups and Classic Load Balancers: one text for each kind."""
    found = []
    groups = sorted(group.name for group in TARGET_GROUPS.of(state) or () if _has(state, group, instance))
    if groups:
        found.append(f"target groups {listed(groups)}")
    balancers = CLASSIC_LOAD_BALANCERS.of(state) or ()
    classic = sorted(item.name for item in balancers if instance.instance_id in item.instance_ids)
    if classic:
        found.append(f"Classic Load Balancers {listed(classic)}")
    return found


def _has(state: State, group: TargetGroup, instance: Instance) -> bool:
    return bool(_targets(state, group, instance))


def _targets(state: State, group: TargetGroup, instance: Instance) -> list[Target]:
    """Return the targets of a group that stand for the instance, by its id or by one of its private addresses.

    Another VPC may use the same addresses. If a target is outside the VPC of its group, its zone is "all".
    """
    targets = TARGETS.of(state, group.arn) or ()
    if group.target_type != "ip":
        return [target for target in targets if target.target_id == instance.instance_id]
    addresses = _private_addresses(instance)
    near = group.vpc in ("", instance.facts.get("VpcId"))
    return [target for target in targets if target.target_id in addresses and (near or target.zone == "all")]


@dataclass(frozen=True)
class Registration:
    """A target group, and those of its targets that stand for one instance."""

    group: TargetGroup
    targets: tuple[Target, ...]

    def parameters(self, target_id: str = "") -> list[Mapping[str, Any]]:
        """Return the targets in the form of a request, with another id if *target_id* is not empty."""
        return [
            {
                "Id": target_id or target.target_id,
                **({} if target.port is None else {"Port": target.port}),
                **({"AvailabilityZone": target.zone} if target.zone == "all" else {}),
            }
            for target in self.targets
        ]


def registrations(state: State, instance: Instance, *, draining: bool = False) -> list[Registration]:
    """Return the target groups that have the instance as a target, in the order of their names.

    With *draining*, only draining targets count. Otherwise only the other targets count.
    """
    groups = sorted(TARGET_GROUPS.of(state) or (), key=lambda group: (group.name, group.arn))
    found = []
    for group in groups:
        targets = _targets(state, group, instance)
        chosen = tuple(target for target in targets if (target.state == "draining") == draining)
        found += [Registration(group, chosen)] if chosen else []
    return found


def classic_balancers(state: State, instance_id: str) -> list[str]:
    """Return the names of the Classic Load Balancers that have the instance."""
    return sorted(item.name for item in CLASSIC_LOAD_BALANCERS.of(state) or () if instance_id in item.instance_ids)


def _private_addresses(instance: Instance) -> frozenset[str]:
    """Return every private IPv4 address and every IPv6 address of the instance's interfaces."""
    found = {instance.private_ip_address, instance.facts.get("PrivateIpAddress")}
    for interface in instance.facts.get("NetworkInterfaces") or ():
        found |= {item.get("PrivateIpAddress") for item in interface.get("PrivateIpAddresses") or ()}
        found |= {item.get("Ipv6Address") for item in interface.get("Ipv6Addresses") or ()}
    return frozenset(address for address in found if address)
