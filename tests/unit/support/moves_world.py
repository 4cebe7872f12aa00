# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A predecessor with a data volume, an Elastic IP and registrations, and its successor at each point of the move."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._domain.hold import Hold
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import (
    CLASSIC_LOAD_BALANCERS,
    TARGET_GROUPS,
    TARGETS,
    ClassicLoadBalancer,
    Target,
    TargetGroup,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan, Stage
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Instance,
    Resource,
    Volume,
    VolumeAttachment,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.service_facts import ADDRESS, Address

from relaunch_world import DATA, INTERFACE, NEW, NOW, OLD, OTHER, instance, successor

ALLOCATION, ADDRESS_TEXT = "eipalloc-00000000000000001", "203.0.113.7"
MOVE_ALL = {"data_volumes": "move", "elastic_ip": "move", "target_groups": "move"}
MOVES = "ec2ops:moves"
RECORD = f"{ALLOCATION} targets {DATA}=/dev/sdf"
NOTED = f"{RECORD} at=10.0.0.8"
"""With the address of the successor, which becomes a target."""
HOLD = Hold(NOW - timedelta(minutes=4), NOW + timedelta(minutes=40)).value
GROUP, BY_ADDRESS = (
    "arn:aws:elasticloadbalancing:x:1:targetgroup/web/1",
    "arn:aws:elasticloadbalancing:x:1:targetgroup/ip/2",
)
OLD_ADDRESS, NEW_ADDRESS = "10.0.0.7", "10.0.0.8"


def volume(*links: str, **fields: Any) -> Volume:
    """The data volume, attached to these instances."""
    attachments = tuple(VolumeAttachment(name, "/dev/sdf") for name in links)
    state = "in-use" if links else "available"
    values: dict[str, Any] = {"state": state, "size": 100, "attachments": attachments, **fields}
    return Volume(DATA, availability_zone="eu-central-1a", **values)


def address(owner: str = OLD) -> Resource:
    return ADDRESS.fact(ALLOCATION, Address(ALLOCATION, ADDRESS_TEXT, owner))


def balancers(*registered: str, old_state: str = "healthy") -> list[Resource]:
    """A group by instance id, one by address, and a Classic Load Balancer, with these instances."""
    ids = {OLD: OLD_ADDRESS, NEW: NEW_ADDRESS}
    states = {OLD: old_state, NEW: "healthy"}
    return [
        TARGET_GROUPS.fact((TargetGroup(GROUP, "web", "instance"), TargetGroup(BY_ADDRESS, "ip", "ip"))),
        TARGETS.fact(GROUP, tuple(Target(name, "", 80, states[name]) for name in registered)),
        TARGETS.fact(BY_ADDRESS, tuple(Target(ids[name], "", 8080, states[name]) for name in registered)),
        CLASSIC_LOAD_BALANCERS.fact((ClassicLoadBalancer("shop", registered),)),
    ]


def old(**fields: Any) -> Instance:
    values = {"elastic_ip": True, "public_ip_address": ADDRESS_TEXT, "private_ip_address": OLD_ADDRESS, **fields}
    return instance(**values)


def held_old(**fields: Any) -> Instance:
    """The predecessor as a move has stopped it, after the launch of the successor."""
    values: dict[str, Any] = {"state": "stopped", "tags": {"Name": "web", "ec2ops:restore-state": HOLD}, **fields}
    return old(**values)


def new(record: str = NOTED, state: str = "running", trial: str | None = "unproven", **fields: Any) -> Instance:
    """The successor of an interrupted run."""
    made = successor(
        trial=trial, private_ip_address=NEW_ADDRESS, block_devices=(BlockDevice("/dev/xvda", "vol-9", True),)
    )
    interface = {**INTERFACE, "PrivateIpAddresses": [{"PrivateIpAddress": NEW_ADDRESS, "Primary": True}]}
    facts = {**made.facts, "NetworkInterfaces": [interface]}
    return dataclasses.replace(made, state=state, tags={**made.tags, MOVES: record}, facts=facts, **fields)


def steps(stages: tuple[Stage, ...]) -> list[str]:
    """The calls of stages in order, with the instance that each is about."""
    names = {OLD: "old", NEW: "new", OTHER: "new", DATA: "data", ALLOCATION: "address", GROUP: "web", BY_ADDRESS: "ip"}
    found = []
    for change in (change for stage in stages for change in stage.changes):
        target = change.parameters.get("InstanceId", "")
        about = names.get(change.resource, change.resource)
        found.append(f"{change.action} {about}{f' {names.get(target, target)}' if target else ''}")
    return found


def back_of(plan: Plan, action: str, resource: str = "") -> list[str]:
    """The rollback of the first stage with this call."""
    for stage in plan.stages:
        if any(change.action == action and resource in ("", change.resource) for change in stage.changes):
            return steps(stage.on_failure)
    raise AssertionError(f"the plan has no {action} of {resource}")
