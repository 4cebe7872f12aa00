# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The move of registrations with load balancers: the successor is registered and healthy before the predecessor leaves.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..._domain.load_balancers import Registration, classic_balancers, registrations
from ..._domain.moves import Moves, recorded_moves
from ..._kernel.plan import Change, Stage, Wait
from ..._kernel.resources import Instance
from ..._kernel.service_facts import INTERFACE, member_name, target_name
from ..._kernel.state import Query, State


def _id_of(registration: Registration, instance_id: str, address: str) -> str:
    return address if registration.group.target_type == "ip" else instance_id


def _missing(state: State, old: Instance, new: Instance) -> list[Registration]:
    """Return the registrations of *old* that *new* lacks."""
    present = {(item.group.arn, target.port) for item in registrations(state, new) for target in item.targets}
    found = []
    for item in registrations(state, old):
        targets = tuple(target for target in item.targets if (item.group.arn, target.port) not in present)
        found += [Registration(item.group, targets)] if targets else []
    return found


def registering(
    state: State, old: Instance, new: Instance, address: str, timeout: float, clock: str
) -> tuple[Stage, ...]:
    """Return the stage that registers *new* wherever *old* is registered, and waits until it is healthy there.

    *address*: the private address of *new*. *clock*: see `Wait`.
    """
    names = [
        target_name(_id_of(item, new.instance_id, address), target.port, item.group.arn)
        for item in registrations(state, old)
        for target in item.targets
    ]
    balancers = classic_balancers(state, old.instance_id)
    names += [member_name(new.instance_id, name) for name in balancers]
    if not names:
        return ()
    changes = [
        _change(state, "RegisterTargets", item, _id_of(item, new.instance_id, address), new.instance_id)
        for item in _missing(state, old, new)
    ]
    there = set(classic_balancers(state, new.instance_id))
    changes += [
        _classic(state, "RegisterInstancesWithLoadBalancer", name, new.instance_id)
        for name in balancers
        if name not in there
    ]
    return (Stage(tuple(changes), (Wait(tuple(names), "in_service", timeout=timeout, clock=clock),)),)


def deregistering(state: State, old: Instance, *, drains: bool) -> tuple[Stage, ...]:
    """Return the stage that deregisters the predecessor. *drains*: wait for the requests that it still answers."""
    leaving = registrations(state, old)
    changes = [_change(state, "DeregisterTargets", item, "", old.instance_id) for item in leaving]
    changes += [
        _classic(state, "DeregisterInstancesFromLoadBalancer", name, old.instance_id)
        for name in classic_balancers(state, old.instance_id)
    ]
    names = [
        target_name(target.target_id, target.port, item.group.arn)
        for item in (*leaving, *registrations(state, old, draining=True))
        for target in item.targets
    ]
    waits = (Wait(tuple(dict.fromkeys(names)), "drained"),) if names and drains else ()
    return (Stage(tuple(changes), waits),) if changes or waits else ()


def withdrawing(state: State, old: Instance, new: Instance, address: str) -> tuple[Stage, ...]:
    """Return the rollback of `registering`. To deregister an instance that is not registered is no error."""
    changes = [
        _change(state, "DeregisterTargets", item, _id_of(item, new.instance_id, address), new.instance_id)
        for item in registrations(state, old)
    ]
    changes += [
        _classic(state, "DeregisterInstancesFromLoadBalancer", name, new.instance_id)
        for name in classic_balancers(state, old.instance_id)
    ]
    return (Stage(tuple(changes)),) if changes else ()


def is_target_by_address(state: State, instance: Instance) -> bool:
    """Return whether a target group sends requests to a private address of the instance."""
    return any(item.group.target_type == "ip" for item in registrations(state, instance))


def owner_query(old: Instance, record: Moves) -> tuple[Query, ...]:
    """Return the query for the interface that has the recorded address of a successor now, in the VPC of *old*."""
    vpc = old.facts.get("VpcId")
    if not record.address or not vpc:
        return ()
    return (
        Query(
            "DescribeNetworkInterfaces", (("addresses.private-ip-address", (record.address,)), ("vpc-id", (str(vpc),)))
        ),
    )


def with_former_address(state: State, old: Instance, new: Instance) -> Instance:
    """Return a successor that has ended with the private address of its record, or as it is.

    The tag only points to the address. If an interface has it now, its targets belong to somebody else.
    """
    address, vpc = recorded_moves(new).address, old.facts.get("VpcId")
    taken = any(address in item.addresses for item in INTERFACE.all(state).values())
    if new.alive or not address or not vpc or taken:
        return new
    return dataclasses.replace(new, private_ip_address=address, facts={**new.facts, "VpcId": vpc})


def forgotten_targets(state: State, new: Instance) -> list[Registration]:
    """Return the targets at the former address of a successor that has ended, see `with_former_address`.

    Elastic Load Balancing itself deregisters a terminated instance that is a target by its id.
    """
    if new.alive or new.private_ip_address is None:
        return []
    return [item for item in registrations(state, new) if item.group.target_type == "ip"]


def withdrawing_dead(state: State, new: Instance) -> tuple[Stage, ...]:
    """Return the stage that deregisters the former address of a successor that has ended."""
    changes = [_change(state, "DeregisterTargets", item, "", new.instance_id) for item in forgotten_targets(state, new)]
    return (Stage(tuple(changes)),) if changes else ()


def has_registrations(state: State, instance: Instance) -> bool:
    """Return whether a load balancer sends requests to the instance."""
    return bool(registrations(state, instance) or classic_balancers(state, instance.instance_id))


def has_taken_over(state: State, old: Instance, new: Instance) -> bool:
    """Return whether a load balancer that sends requests to *old* also sends some to *new*."""
    groups = [{item.group.arn for item in registrations(state, instance)} for instance in (old, new)]
    balancers = [set(classic_balancers(state, instance.instance_id)) for instance in (old, new)]
    return bool(groups[0] & groups[1] or balancers[0] & balancers[1])


def _change(state: State, action: str, item: Registration, target_id: str, instance_id: str) -> Change:
    targets: Sequence[Mapping[str, Any]] = item.parameters(target_id)
    verb, end = ("register", "with") if action == "RegisterTargets" else ("deregister", "from")
    reason = f"{verb} {instance_id} {end} the target group {item.group.name}"
    joined, left = _views(action, instance_id)
    return Change(action, item.group.arn, state.region, {"Targets": list(targets)}, reason, left, joined)


def _classic(state: State, action: str, name: str, instance_id: str) -> Change:
    verb, end = ("register", "with") if action.startswith("Register") else ("deregister", "from")
    reason = f"{verb} {instance_id} {end} the Classic Load Balancer {name}"
    joined, left = _views(action, instance_id)
    parameters = {"Instances": [{"InstanceId": instance_id}]}
    return Change(action, name, state.region, parameters, reason, left, joined)


def _views(action: str, instance_id: str) -> Iterator[Mapping[str, Any]]:
    """Return the view after the change, and the one before."""
    views: tuple[Mapping[str, Any], ...] = ({"registered_ids": [instance_id]}, {"registered_ids": []})
    return iter(views if action.startswith("Register") else reversed(views))
