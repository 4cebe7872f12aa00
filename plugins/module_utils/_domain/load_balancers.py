# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The load balancers that send requests to an instance.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator

from .._kernel.errors import listed
from .._kernel.facts import (
    CLASSIC_LOAD_BALANCERS,
    CLASSIC_LOAD_BALANCERS_QUERY,
    TARGET_GROUPS,
    TARGET_GROUPS_QUERY,
    TARGETS,
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
    """Return whether a target group has the instance as a target, by its id or by one of its private addresses.

    Another VPC may use the same addresses. If a target is outside the VPC of its group, its zone is "all".
    """
    targets = TARGETS.of(state, group.arn) or ()
    if group.target_type != "ip":
        return any(target.target_id == instance.instance_id for target in targets)
    addresses = _private_addresses(instance)
    near = group.vpc in ("", instance.facts.get("VpcId"))
    return any(target.target_id in addresses and (near or target.zone == "all") for target in targets)


def _private_addresses(instance: Instance) -> frozenset[str]:
    """Return every private IPv4 address and every IPv6 address of the instance's interfaces."""
    found = {instance.private_ip_address, instance.facts.get("PrivateIpAddress")}
    for interface in instance.facts.get("NetworkInterfaces") or ():
        found |= {item.get("PrivateIpAddress") for item in interface.get("PrivateIpAddresses") or ()}
        found |= {item.get("Ipv6Address") for item in interface.get("Ipv6Addresses") or ()}
    return frozenset(address for address in found if address)
