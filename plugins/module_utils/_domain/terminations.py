# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The volumes and interfaces that EC2 deletes with an instance, and the look at them right before the termination.

A plan may wait for half an hour before it terminates an instance. Meanwhile, somebody may attach a volume that EC2
deletes with the instance, or switch DeleteOnTermination on.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from .._kernel.errors import listed
from .._kernel.instance_proofs import LAUNCHING, attached_since, launched_at
from .._kernel.plan import Objection, Precondition
from .._kernel.resources import Instance, Resource
from .._kernel.state import Query


def doomed_parts(instance: Instance) -> dict[str, str]:
    """Return the parts that EC2 deletes with the instance, volumes and interfaces, as ids with descriptions."""
    found = {
        device.volume_id: f"{device.volume_id} ({device.device_name})"
        for device in instance.block_devices
        if device.delete_on_termination
    }
    for one in instance.interfaces:
        if one.get("NetworkInterfaceId") and _link(one).get("DeleteOnTermination"):
            found[one["NetworkInterfaceId"]] = f"network interface {one['NetworkInterfaceId']}"
    return found


def _link(interface: Mapping[str, Any]) -> Mapping[str, Any]:
    link: Mapping[str, Any] = interface.get("Attachment") or {}
    return link


def own_parts(planned: Instance, now: Instance) -> set[str]:
    """Return the ids of the root volume and the primary interface that a plan terminates with the instance.

    A root volume or an interface that the plan keeps is not one of them, and neither is one that came later. EC2 may
    show a pending instance without its parts. Then the present ones count.
    """
    root = planned.root_volume_id or now.root_volume_id
    primary = planned.primary_interface_id or now.primary_interface_id
    shown = doomed_parts(planned)
    kept = {planned.root_volume_id, planned.primary_interface_id} - set(shown)
    return {part for part in (root, primary) if part is not None and part not in kept}


def deletes_only_its_own(planned: Instance, new_id: str, option: str, remedy: str) -> Precondition:
    """Return the precondition that EC2 deletes no part with the predecessor except its own root and interface, and that
    the successor runs.

    *planned*: the predecessor as the plan knows it. *new_id*: the successor, planned or not. *option*: the start of the
    message. *remedy*: its end.
    """

    def objection(answer: Sequence[Resource], instance_id: str) -> str:
        now = _living(answer, instance_id)
        if now is None:
            return ""
        others = [one for one in answer if isinstance(one, Instance) and one.instance_id != instance_id]
        if not any(one.state in ("pending", "running") for one in others):
            gone = listed(f"{one.instance_id} is {one.state}" for one in others) or "EC2 does not show its successor"
            return (
                f"{option}: the task does not terminate {instance_id}, since {gone}. {instance_id} stays {now.state}. "
                "Start one of them and run the task again"
            )
        return _objection(now, own_parts(planned, now), option, remedy)

    return _look((planned.instance_id, new_id), objection)


def deletes_only_launched(instance_id: str, option: str, remedy: str, also: Collection[str] = ()) -> Precondition:
    """Return the precondition that EC2 deletes no part with the instance that was attached after its launch.

    The instance may be planned: this plan launches it. *also*: ids of parts that the plan deletes anyway.
    """

    def objection(answer: Sequence[Resource], real_id: str) -> str:
        now = _living(answer, real_id)
        return "" if now is None else _objection(now, {*_launched_parts(now), *also}, option, remedy)

    return _look((instance_id,), objection)


def _launched_parts(now: Instance) -> set[str]:
    """Return the ids of the parts that EC2 has attached with the launch, and of those without an AttachTime."""
    born = launched_at(now)
    moments = {device.volume_id: attached_since(now, device.volume_id) for device in now.block_devices}
    moments |= {one.get("NetworkInterfaceId", ""): _link(one).get("AttachTime") for one in now.interfaces}
    return {part for part, at in moments.items() if born is None or at is None or at <= born + LAUNCHING}


def _living(answer: Sequence[Resource], instance_id: str) -> Instance | None:
    found = (one for one in answer if isinstance(one, Instance) and one.instance_id == instance_id and one.alive)
    return next(found, None)


def _objection(now: Instance, expected: Collection[str], option: str, remedy: str) -> str:
    more = [text for part, text in doomed_parts(now).items() if part not in expected]
    if not more:
        return ""
    return (
        f"{option}: the task does not terminate {now.instance_id}, since EC2 would also delete {listed(more)}. "
        f"Their DeleteOnTermination is true. {now.instance_id} stays {now.state}. {remedy}"
    )


def _look(instance_ids: tuple[str, ...], objection: Objection) -> Precondition:
    return Precondition(Query("DescribeInstances", (("instance-id", instance_ids),)), objection)
