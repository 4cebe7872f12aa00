# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The move of secondary network interfaces, and its rollback. Both instances are stopped meanwhile.

EC2 attaches an interface without delete-on-termination, so no termination deletes it until the successor serves. A
detachment names the attachment, whose id only EC2's answer to AttachNetworkInterface has. So a plan has a planned id
for each attachment that it makes.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..._domain.moves import MovedInterface, Moves, can_have_interface, has_interface
from ..._kernel.facts import type_facts
from ..._kernel.ids import is_planned, planned
from ..._kernel.plan import Change, Stage, Wait
from ..._kernel.resources import Instance
from ..._kernel.service_facts import INTERFACE, interface_queries
from ..._kernel.state import State

_OPTION = "network_interfaces"
_STILL_STOPPING = frozenset({"IncorrectInstanceState"})


# --- the interfaces of an instance -----------------------------------------------------------------------------------


def secondary_interfaces(old: Instance) -> list[Mapping[str, Any]]:
    """Return the interfaces of the instance without its primary one, in EC2's form."""
    return list(old.interfaces[1:])


def described_interfaces(old: Instance) -> str:
    """Return the secondary interfaces for messages."""
    return ", ".join(
        f"{one['NetworkInterfaceId']} (device index {_link(one).get('DeviceIndex')})"
        for one in secondary_interfaces(old)
    )


def movable_interfaces(old: Instance) -> tuple[MovedInterface, ...]:
    """Return the secondary interfaces with their attachments to the instance."""
    return tuple(
        MovedInterface(
            one["NetworkInterfaceId"], _link(one).get("DeviceIndex") or 0, bool(_link(one).get("DeleteOnTermination"))
        )
        for one in secondary_interfaces(old)
    )


def _link(interface: Mapping[str, Any]) -> Mapping[str, Any]:
    link: Mapping[str, Any] = interface.get("Attachment") or {}
    return link


def without_interfaces(instance: Instance, moves: Moves) -> Instance:
    """Return the instance without the interfaces that move. Their addresses stay registered with load balancers."""
    if not moves.interfaces:
        return instance
    left = [one for one in instance.interfaces if one.get("NetworkInterfaceId") not in moves.interface_ids]
    return dataclasses.replace(instance, facts={**instance.facts, "NetworkInterfaces": left})


def doomed_interfaces(old: Instance, leaving: Iterable[str]) -> list[str]:
    """Return the secondary interfaces that EC2 would delete with the instance. *leaving*: they move away before."""
    gone = set(leaving)
    found = [item for item in movable_interfaces(old) if item.delete_on_termination]
    return [item.interface_id for item in found if item.interface_id not in gone]


# --- obstacles -------------------------------------------------------------------------------------------------------


def interface_troubles(state: State, old: Instance, wanted_type: str, moves: Moves) -> Iterator[str]:
    """Yield the obstacles to the move of the interfaces in *moves*. *wanted_type*: the type of the successor."""
    for one in secondary_interfaces(old):
        trouble = _trouble(state, one)
        if trouble:
            yield f"{_OPTION}: {one['NetworkInterfaceId']} {trouble}"
    most = _most_interfaces(type_facts(state, wanted_type))
    count = len(moves.interfaces) + 1
    if moves.interfaces and most is not None and count > most:
        yield f"{_OPTION}: {wanted_type} takes {most} interfaces, and the successor would have {count}"


def _trouble(state: State, one: Mapping[str, Any]) -> str:
    shown = INTERFACE.of(state, one["NetworkInterfaceId"])
    if _link(one).get("NetworkCardIndex"):
        return f"is on network card {_link(one)['NetworkCardIndex']}, and only interfaces of card 0 move"
    if (one.get("InterfaceType") or "interface") != "interface":
        return f"is of type {one['InterfaceType']}, which does not move"
    if (one.get("Operator") or {}).get("Managed") or (shown is not None and shown.is_managed):
        return "belongs to an AWS service, and only that service may move it"
    state_now = _link(one).get("Status") or "attached"
    return "" if state_now == "attached" else f"is {state_now}. Run the task again later"


def _most_interfaces(facts: Mapping[str, Any]) -> int | None:
    network = facts.get("NetworkInfo") or {}
    cards: Sequence[Mapping[str, Any]] = network.get("NetworkCards") or ({},)
    most: int | None = cards[0].get("MaximumNetworkInterfaces") or network.get("MaximumNetworkInterfaces")
    return most


def lost_address_trouble(old: Instance) -> str:
    """Return why a stop of the predecessor cannot be undone, or an empty text.

    EC2 user guide, "Public IPv4 addresses": an instance with several interfaces gets no public address at its start.
    """
    if len(old.interfaces) < 2 or old.public_ip_address is None or old.elastic_ip:
        return ""
    return (
        f"{old.instance_id} has several network interfaces, and would lose its public address "
        f"{old.public_ip_address} for ever with a stop. Give it an Elastic IP first"
    )


def lost_interfaces(state: State, record: Moves, old: Instance, new: Instance) -> list[str]:
    """Return the interfaces of the record that no run may attach to one of the two instances."""
    return [
        item.interface_id
        for item in record.interfaces
        if not can_have_interface(INTERFACE.of(state, item.interface_id), old, new)
    ]


# --- the move --------------------------------------------------------------------------------------------------------


def pending_interfaces(state: State, interfaces: Iterable[MovedInterface], new: Instance) -> list[MovedInterface]:
    """Return the interfaces that EC2 does not show at *new* yet."""
    found = []
    for item in interfaces:
        shown = INTERFACE.of(state, item.interface_id)
        there = has_interface(shown, new.instance_id) and shown is not None and shown.attachment_state != "detaching"
        found += [] if there else [item]
    return found


def attachment_to(state: State, item: MovedInterface, instance: Instance) -> str:
    """Return the id of the attachment of the interface to the instance: EC2's, or the planned one."""
    shown = INTERFACE.of(state, item.interface_id)
    if shown is not None and has_interface(shown, instance.instance_id) and shown.attachment_state != "detaching":
        return shown.attachment_id
    link = next((_link(one) for one in instance.interfaces if one.get("NetworkInterfaceId") == item.interface_id), {})
    return link.get("AttachmentId") or planned("attachment", f"{item.interface_id} to {instance.instance_id}")


def carrying_interfaces(
    state: State, interfaces: Sequence[MovedInterface], old: Instance, new: Instance
) -> tuple[Stage, Stage]:
    """Return the stages that detach the interfaces from *old*, and attach them to *new* at the same device indexes."""
    here = [item for item in interfaces if has_interface(INTERFACE.of(state, item.interface_id), old.instance_id)]
    reason = f"move to {new.instance_id}"
    detaches = tuple(_detach(state, item, attachment_to(state, item, old), old, reason) for item in here)
    free = tuple(Wait((item.interface_id,), "interface_free") for item in interfaces)
    name = {item: planned("attachment", f"{item.interface_id} to {new.instance_id}") for item in interfaces}
    return (
        Stage(detaches, free),
        _attaching(state, name, new, f"move device index {{index}} from {old.instance_id}"),
    )


def returning_interfaces(
    state: State, interfaces: Sequence[MovedInterface], old: Instance, new: Instance, *, attaches: bool
) -> tuple[Stage, Stage, Stage]:
    """Return the rollback of the move, from any of its steps: the interfaces are at *old* as before.

    *attaches*: this plan attaches interfaces to *new* before, with planned attachments. A detachment whose attachment
    the run has not made is left out. EC2 answers that an interface is attached to *old* already, and its attachment
    shows that this is the wanted one.
    """
    reason = f"return to {old.instance_id}"
    ends = {item: attachment_to(state, item, new) for item in interfaces}
    there = [item for item in interfaces if new.alive and (attaches or not is_planned(ends[item]))]
    detaches = tuple(_detach(state, item, ends[item], new, reason) for item in there)
    free = tuple(Wait((item.interface_id,), "interface_free", about=new.instance_id) for item in interfaces)
    name = {item: planned("attachment", f"{item.interface_id} back to {old.instance_id}") for item in interfaces}
    flags = tuple(_keep_or_delete(state, item, name[item]) for item in interfaces if item.delete_on_termination)
    return Stage(detaches, free), _attaching(state, name, old, "return device index {index}"), Stage(flags)


def following_interfaces(state: State, interfaces: Iterable[MovedInterface], new: Instance) -> list[Change]:
    """Return the changes after the move: delete-on-termination follows to *new*."""
    found = []
    for item in interfaces:
        shown = INTERFACE.of(state, item.interface_id)
        is_set = shown is not None and has_interface(shown, new.instance_id) and shown.delete_on_termination
        if item.delete_on_termination and not is_set:
            found.append(_keep_or_delete(state, item, attachment_to(state, item, new)))
    return found


def flags_back(state: State, interfaces: Iterable[MovedInterface], old: Instance) -> list[Change]:
    """Return the changes that set delete-on-termination as before, of interfaces that are back at *old* without it."""
    found = []
    for item in interfaces:
        shown = INTERFACE.of(state, item.interface_id)
        if item.delete_on_termination and shown is not None and has_interface(shown, old.instance_id):
            found += [] if shown.delete_on_termination else [_keep_or_delete(state, item, shown.attachment_id)]
    return found


def _attaching(state: State, names: Mapping[MovedInterface, str], instance: Instance, reason: str) -> Stage:
    changes = tuple(
        Change(
            "AttachNetworkInterface",
            name,
            state.region,
            {
                "NetworkInterfaceId": item.interface_id,
                "InstanceId": instance.instance_id,
                "DeviceIndex": item.device_index,
            },
            reason.format(index=item.device_index),
            after={
                "network_interface_id": item.interface_id,
                "instance_id": instance.instance_id,
                "device_index": item.device_index,
            },
            identity=interface_queries(interfaces=[item.interface_id])[0],
        )
        for item, name in names.items()
    )
    waits = tuple(Wait((item.interface_id,), "interface_attached", about=instance.instance_id) for item in names)
    return Stage(changes, waits, patience=_STILL_STOPPING)


def _detach(state: State, item: MovedInterface, attachment_id: str, instance: Instance, reason: str) -> Change:
    return Change(
        "DetachNetworkInterface",
        item.interface_id,
        state.region,
        {"AttachmentId": attachment_id},
        reason,
        {"instance_id": instance.instance_id},
        {"instance_id": None},
        disruptive=True,
    )


def _keep_or_delete(state: State, item: MovedInterface, attachment_id: str) -> Change:
    parameters = {"Attachment": {"AttachmentId": attachment_id, "DeleteOnTermination": True}}
    reason = "delete the interface with the instance, as before the move"
    before, after = {"delete_on_termination": False}, {"delete_on_termination": True}
    return Change("ModifyNetworkInterfaceAttribute", item.interface_id, state.region, parameters, reason, before, after)
