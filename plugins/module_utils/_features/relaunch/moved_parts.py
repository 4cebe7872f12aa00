# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parts that a task moves to a successor, and the obstacles to their move. Nothing has changed when they are found.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from ..._domain.attachments import disk
from ..._domain.hold import standing_hold
from ..._domain.load_balancers import balancer_queries
from ..._domain.moves import MOST_TAGS, MovedVolume, Moves, is_movable, moves_tags, recorded_moves
from ..._domain.power_cycle import stop_queries, stop_troubles, unanswered_about
from ..._kernel.facts import type_facts
from ..._kernel.instance_proofs import is_off
from ..._kernel.resources import Image, Instance, Volume
from ..._kernel.service_facts import ADDRESS, Address, address_queries, interface_queries
from ..._kernel.state import Query, State, by_id
from .interface_moves import (
    interface_troubles,
    lost_address_trouble,
    lost_interfaces,
    movable_interfaces,
    secondary_interfaces,
    without_interfaces,
)
from .left_behind import data_volumes
from .options import RelaunchSpec
from .target_moves import has_registrations, owner_query


def move_queries(spec: RelaunchSpec, state: State, old: Instance, new: Instance | None = None) -> Iterator[Query]:
    """Yield the queries for the parts that move, and for their present places."""
    record = recorded_moves(new) if new is not None else Moves()
    if "data_volumes" in spec.moved or record.volumes:
        yield from by_id("DescribeVolumes", "attachment.instance-id", [old.instance_id])
        yield from by_id("DescribeVolumes", "volume-id", record.volume_ids)
        yield from stop_queries([old], lose_instance_store=spec.lose_instance_store)
    if "network_interfaces" in spec.moved or record.interfaces:
        ids = {*(one.interface_id for one in movable_interfaces(old)), *record.interface_ids}
        yield from interface_queries(interfaces=ids)
        if ids:
            yield from stop_queries([old], lose_instance_store=spec.lose_instance_store)
    if "elastic_ip" in spec.moved or record.allocation_id:
        yield from address_queries(instances=[old.instance_id], allocations=[record.allocation_id])
    if "target_groups" in spec.moved or record.targets:
        yield from balancer_queries(state, old)
        if new is not None:
            yield from balancer_queries(state, new)
            if not new.alive:
                yield from owner_query(old, record)


def address_of(state: State, instance: Instance) -> list[Address]:
    """Return the Elastic IP addresses of the instance. An address of a secondary interface goes with the interface."""
    others = {one.get("NetworkInterfaceId") for one in secondary_interfaces(instance)}
    return sorted(
        (
            item
            for item in ADDRESS.all(state).values()
            if item.instance_id == instance.instance_id and item.interface_id not in others
        ),
        key=lambda item: item.allocation_id,
    )


def wanted_moves(spec: RelaunchSpec, state: State, old: Instance) -> Moves:
    """Return the parts of the predecessor that the task moves at a launch."""
    volumes: tuple[MovedVolume, ...] = ()
    if "data_volumes" in spec.moved:
        volumes = tuple(
            MovedVolume(item.volume_id, item.device_name, item.delete_on_termination) for item in data_volumes(old)
        )
    addresses = address_of(state, old) if "elastic_ip" in spec.moved else []
    interfaces = movable_interfaces(old) if "network_interfaces" in spec.moved else ()
    moves = Moves(volumes, addresses[0].allocation_id if addresses else "", False, interfaces)
    targets = "target_groups" in spec.moved and has_registrations(state, without_interfaces(old, moves))
    return dataclasses.replace(moves, targets=targets)


def move_troubles(spec: RelaunchSpec, state: State, old: Instance, image: Image) -> Iterator[str]:
    """Yield the obstacles to the moves of a task that launches a successor."""
    moves = wanted_moves(spec, state, old)
    if moves.volumes:
        yield from _volume_troubles(spec, state, old, image, moves)
    if moves.interfaces:
        kind = spec.overrides.instance_type or old.instance_type
        yield from interface_troubles(state, old, kind, moves)
    if moves.attached:
        yield from _stop_troubles(spec, state, old, moves)
    if "elastic_ip" in spec.moved and old.elastic_ip and len(address_of(state, old)) != 1:
        names = ", ".join(item.public_ip for item in address_of(state, old)) or "none"
        yield (
            f"elastic_ip: EC2 shows the Elastic IP addresses {names} for {old.instance_id}, and the module moves "
            "exactly one. Set elastic_ip: keep, or disassociate the other addresses"
        )


def _volume_troubles(spec: RelaunchSpec, state: State, old: Instance, image: Image, moves: Moves) -> Iterator[str]:
    option = "data_volumes"
    ids = [item.volume_id for item in moves.volumes]
    for item in moves.volumes:
        trouble = _attachment_trouble(state.volume(item.volume_id), item, old, ids.count(item.volume_id))
        if trouble:
            yield f"{option}: {item.device_name} ({item.volume_id}) {trouble}"
    root = image.root_device_name or old.root_device_name
    for item in moves.volumes:
        if disk(item.device_name) == disk(root):
            yield f"{option}: {item.device_name} is the root device of {image.image_id}. Set data_volumes: keep"
    if not image.block_devices:
        yield (
            f"{option}: EC2 does not show the devices of {image.image_id} yet, and the successor must not get copies "
            "of the volumes. Run the task again when the image is available"
        )
    yield from _limit_trouble(spec, state, moves)


def _stop_troubles(spec: RelaunchSpec, state: State, old: Instance, moves: Moves) -> Iterator[str]:
    """Yield the obstacles to a move that stops both instances."""
    option = "data_volumes" if moves.volumes else "network_interfaces"
    if len(moves_tags(moves)) > MOST_TAGS:
        parts = f"{len(moves.volumes)} data volumes"
        parts += f" and {len(moves.interfaces)} secondary network interfaces" if moves.interfaces else ""
        yield f"{option}: {old.instance_id} has {parts}, too many for the record. Set {option}: keep"
    trouble = lost_address_trouble(old)
    if trouble:
        yield f"{option}: {trouble}"
    silent = unanswered_about(state, old)
    yield from (f"{option}: {error}" for error in silent)
    if is_off(old) and standing_hold(old) is None:
        yield (
            f"{option}: {old.instance_id} is {old.state} without a hold, so nothing shows whether a rollback "
            "may start it. Start it first"
        )
    if not silent and old.state in ("pending", "running"):
        troubles = stop_troubles(state, old, lose_instance_store=spec.lose_instance_store)
        yield from (f"{option}: {old.instance_id} {text}" for text in troubles)


def _attachment_trouble(volume: Volume | None, item: MovedVolume, old: Instance, times: int) -> str:
    if volume is None:
        return "does not exist any more"
    if times > 1:
        return "is attached at two devices. Detach one"
    if volume.operator is not None:
        return f"belongs to {volume.operator}, and only that service may move it"
    others = [link.instance_id for link in volume.attachments if link.instance_id != old.instance_id]
    if others:
        return f"is also attached to {', '.join(sorted(others))}. Detach it there, or keep the data volumes"
    mine = [link for link in volume.attachments if link.device_name == item.device_name]
    if volume.attachments and not any(link.state == "attached" for link in mine):
        return f"is {mine[0].state if mine else 'at another device'}. Run the task again later"
    return ""


def _limit_trouble(spec: RelaunchSpec, state: State, moves: Moves) -> Iterator[str]:
    kind = spec.overrides.instance_type
    most = (type_facts(state, kind).get("EbsInfo") or {}).get("MaximumEbsAttachments") if kind else None
    if most is not None and len(moves.volumes) + 1 > most:
        yield (
            f"data_volumes: {kind} takes {most} volumes, and the successor would have {len(moves.volumes) + 1}. Choose "
            "a larger type"
        )


def _unrecorded(state: State, old: Instance, record: Moves, wanted: Moves) -> Iterator[tuple[str, str]]:
    """Yield the parts that the task moves and that the record lacks: the option, and the parts for messages."""
    volumes = sorted(item.device_name for item in wanted.volumes if item.volume_id not in record.volume_ids)
    if volumes:
        yield "data_volumes", ", ".join(volumes)
    interfaces = sorted(wanted.interface_ids - record.interface_ids)
    if interfaces:
        yield "network_interfaces", ", ".join(interfaces)
    address = next((item for item in address_of(state, old) if item.allocation_id == wanted.allocation_id), None)
    if address is not None and not record.allocation_id:
        yield "elastic_ip", address.public_ip
    if wanted.targets and not record.targets:
        yield "target_groups", f"the registrations of {old.instance_id}"


def record_troubles(spec: RelaunchSpec, state: State, old: Instance, new: Instance) -> Iterator[str]:
    """Yield the differences between the task and the moves with which *new* was launched, and lost volumes.

    The launch left out the image's copies of the moved volumes, so the moves cannot change afterwards.
    """
    record, wanted = recorded_moves(new), wanted_moves(spec, state, old)
    way_out = f"terminate {new.instance_id} before anything has moved"
    remedy = f"Or {way_out}"
    for option, parts in _unrecorded(state, old, record, wanted):
        yield f"{option}: {new.instance_id} was launched without {parts}. Set {option}: keep. {remedy}"
    pairs = (
        ("data_volumes", record.volumes),
        ("network_interfaces", record.interfaces),
        ("elastic_ip", record.allocation_id),
        ("target_groups", record.targets),
    )
    for option, part in pairs:
        if part and option not in spec.moved:
            yield f"{option}: {new.instance_id} was launched with {option}: move. Set the same option. {remedy}"
    for item in record.volumes:
        volume = state.volume(item.volume_id)
        if not is_movable(volume, old, new):
            where = "is gone" if volume is None else f"is {volume.state}, and belongs to neither instance"
            yield (
                f"data_volumes: {item.volume_id} ({item.device_name}), which moves to {new.instance_id}, {where}. To "
                f"begin anew, {way_out}"
            )
    for interface_id in lost_interfaces(state, record, old, new):
        yield (
            f"network_interfaces: {interface_id}, which moves to {new.instance_id}, is gone, or belongs to neither "
            f"instance. To begin anew, {way_out}"
        )
    yield from _address_trouble(state, record, old, new)


def own_address(state: State, record: Moves, old: Instance, new: Instance) -> Address | None:
    """Return the address of the record, or None without one, or if another instance or interface has it.

    The record is only a tag, so it takes no address away from anybody else.
    """
    address = ADDRESS.of(state, record.allocation_id) if record.allocation_id else None
    if address is None or address.instance_id in (old.instance_id, new.instance_id):
        return address
    return None if address.instance_id or address.interface_id else address


def _address_trouble(state: State, record: Moves, old: Instance, new: Instance) -> Iterator[str]:
    if not record.allocation_id:
        return
    address = ADDRESS.of(state, record.allocation_id)
    if address is None:
        yield (
            f"elastic_ip: {record.allocation_id}, which moves to {new.instance_id}, is gone. Terminate "
            f"{new.instance_id} to begin anew"
        )
    elif own_address(state, record, old, new) is None:
        owner = address.instance_id or address.interface_id
        yield (
            f"elastic_ip: {address.public_ip}, which moves to {new.instance_id}, is associated with {owner} now. "
            "Disassociate it"
        )
