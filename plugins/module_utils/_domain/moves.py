# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parts of a predecessor that move to its successor, and where EC2 shows them.

The launch itself writes the record of the moves on the successor, in the tags `tags.MOVES`. So the record exists before
anything moves. The last step of the replacement removes it. The tags only name the parts: EC2 shows where each part is,
and the ClientToken proves the successor.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .._kernel import tags as tag_names
from .._kernel.instance_proofs import is_off
from .._kernel.resources import Instance, Volume
from .._kernel.service_facts import INTERFACE, Interface, interface_queries
from .._kernel.state import Query, State, by_id
from .replacement import born, is_on_trial, predecessor

_VOLUME = re.compile(r"(vol-[0-9a-f]{8}(?:[0-9a-f]{9})?)=(\S+?)(=delete)?")
_INTERFACE = re.compile(r"(eni-[0-9a-f]{8}(?:[0-9a-f]{9})?)=([0-9]{1,3})(=delete)?")
_ADDRESS = re.compile(r"eipalloc-[0-9a-f]{8}(?:[0-9a-f]{9})?")
_TARGETS = "targets"
_AT = re.compile(r"at=([0-9]{1,3}(?:\.[0-9]{1,3}){3})")
MOST_TAGS = len(tag_names.MOVES)


@dataclass(frozen=True)
class MovedVolume:
    """A data volume, and its attachment to the predecessor."""

    volume_id: str
    device_name: str
    delete_on_termination: bool = False


@dataclass(frozen=True)
class MovedInterface:
    """A secondary network interface, and its attachment to the predecessor."""

    interface_id: str
    device_index: int
    delete_on_termination: bool = False


@dataclass(frozen=True)
class Moves:
    """The parts that move: data volumes, secondary network interfaces, the Elastic IP, and whether the registrations
    with load balancers move.

    ``address``: the private address of the successor, once it is known, if targets by address move. EC2 shows no
    address of a terminated instance.
    """

    volumes: tuple[MovedVolume, ...] = ()
    allocation_id: str = ""
    targets: bool = False
    interfaces: tuple[MovedInterface, ...] = ()
    address: str = ""

    def __bool__(self) -> bool:
        """Return whether any part moves."""
        return bool(self.attached or self.allocation_id or self.targets)

    @property
    def attached(self) -> bool:
        """Whether a part moves that EC2 attaches to one instance. Both instances stop for it."""
        return bool(self.volumes or self.interfaces)

    @property
    def volume_ids(self) -> frozenset[str]:
        """The ids of the volumes."""
        return frozenset(item.volume_id for item in self.volumes)

    @property
    def part_ids(self) -> frozenset[str]:
        """The ids of the volumes and the network interfaces."""
        return self.volume_ids | self.interface_ids

    @property
    def interface_ids(self) -> frozenset[str]:
        """The ids of the network interfaces."""
        return frozenset(item.interface_id for item in self.interfaces)


def moves_tags(moves: Moves) -> dict[str, str]:
    """Return the tags of the record. There may be more than `MOST_TAGS`, which the caller refuses."""
    words = [moves.allocation_id] if moves.allocation_id else []
    words += [_TARGETS] if moves.targets else []
    words += [
        f"{item.interface_id}={item.device_index}{'=delete' if item.delete_on_termination else ''}"
        for item in moves.interfaces
    ]
    words += [
        f"{item.volume_id}={item.device_name}{'=delete' if item.delete_on_termination else ''}"
        for item in moves.volumes
    ]
    words += [f"at={moves.address}"] if moves.address else []
    values: list[str] = []
    for word in words:
        if values and len(values[-1]) + len(word) < tag_names.LONGEST_VALUE:
            values[-1] += f" {word}"
        else:
            values.append(word)
    names = [*tag_names.MOVES, *(f"{tag_names.MOVES[0]}-{number}" for number in range(MOST_TAGS + 1, len(values) + 1))]
    return dict(zip(names, values, strict=False))


def recorded_moves(successor: Instance) -> Moves:
    """Return the record of the moves to *successor*. Words that this collection did not write are ignored."""
    words = [word for key in tag_names.MOVES for word in successor.tags.get(key, "").split(" ")]
    found = [match for word in words if (match := _VOLUME.fullmatch(word)) is not None]
    links = [match for word in words if (match := _INTERFACE.fullmatch(word)) is not None]
    interfaces = {match[1]: MovedInterface(match[1], int(match[2]), match[3] is not None) for match in links}
    allocation = next((word for word in words if _ADDRESS.fullmatch(word)), "")
    volumes = {match[1]: MovedVolume(match[1], match[2], match[3] is not None) for match in found}
    at = next((match[1] for word in words if (match := _AT.fullmatch(word)) is not None), "")
    return Moves(tuple(volumes.values()), allocation, _TARGETS in words, tuple(interfaces.values()), at)


def attached_to(volume: Volume, instance_id: str) -> bool:
    """Return whether EC2 shows an attachment of the volume to the instance, even one that is about to end."""
    return any(link.instance_id == instance_id and link.state != "detached" for link in volume.attachments)


def is_movable(volume: Volume | None, old: Instance, new: Instance) -> bool:
    """Return whether a run may attach the volume in a record to *old* or *new*.

    EC2 shows no former attachments, so the tag alone names the volume. A run takes it only if it is in the zone of the
    two instances and is attached to nothing else. It must also be older than the launch. No launch records a root.
    """
    if volume is None or not volume.alive or volume.availability_zone not in ("", old.availability_zone):
        return False
    birth = born(new)
    if birth is not None and volume.create_time is not None and volume.create_time > birth:
        return False
    roots = {one.instance_id: one.root_device_name for one in (old, new)}
    return all(link.instance_id in roots and link.device_name != roots[link.instance_id] for link in volume.attachments)


def has_interface(shown: Interface | None, instance_id: str) -> bool:
    """Return whether EC2 shows the interface at the instance, even if the attachment is about to end."""
    return shown is not None and shown.instance_id == instance_id


def can_have_interface(shown: Interface | None, old: Instance, new: Instance) -> bool:
    """Return whether a run may attach the interface in a record to *old* or *new*.

    The tag alone names it, as for a volume, so it must be in the zone of the two and must be attached to nothing else.
    No launch records a primary interface.
    """
    if shown is None or shown.is_managed or shown.availability_zone not in ("", old.availability_zone):
        return False
    if shown.instance_id and shown.device_index == 0:
        return False
    return shown.instance_id in ("", old.instance_id, new.instance_id)


def arrived(state: State, moves: Moves, new: Instance) -> Moves:
    """Return the moves with the volumes and interfaces that EC2 shows at *new*, at the devices in the record.

    After the end of a move, somebody may have attached another volume at such a device.
    """

    def has(item: MovedVolume) -> bool:
        volume = state.volume(item.volume_id)
        links = volume.attachments if volume is not None else ()
        return any((link.instance_id, link.device_name) == (new.instance_id, item.device_name) for link in links)

    return dataclasses.replace(
        moves,
        volumes=tuple(item for item in moves.volumes if has(item)),
        interfaces=tuple(
            item for item in moves.interfaces if has_interface(INTERFACE.of(state, item.interface_id), new.instance_id)
        ),
    )


# --- a predecessor without its parts ---------------------------------------------------------------------------------


def half_moved_queries(state: State, ids: Iterable[str]) -> tuple[Query, ...]:
    """Return the queries for the volumes and interfaces that the records of successors of these instances name."""
    records = [recorded_moves(new) for new in _successors(state, set(ids))]
    return (
        *by_id("DescribeVolumes", "volume-id", {name for record in records for name in record.volume_ids}),
        *interface_queries(interfaces={name for record in records for name in record.interface_ids}),
    )


def is_without_parts(state: State, old: Instance, new: Instance) -> bool:
    """Return whether a volume or an interface in the record of *new* has left *old*, and nothing else has it.

    A part that is attached to neither of them counts too: an interrupted run has detached it.
    """
    record = recorded_moves(new)
    volumes = [state.volume(item.volume_id) for item in record.volumes]
    shown = [INTERFACE.of(state, item.interface_id) for item in record.interfaces]
    return any(
        volume is not None and is_movable(volume, old, new) and not attached_to(volume, old.instance_id)
        for volume in volumes
    ) or any(can_have_interface(item, old, new) and not has_interface(item, old.instance_id) for item in shown)


def half_moved(state: State, old: Instance) -> Instance | None:
    """Return the unproven or rejected successor that has volumes or interfaces of *old*, or None. *old* is off."""
    if not is_off(old):
        return None
    for new in _successors(state, {old.instance_id}):
        if is_without_parts(state, old, new) and (is_on_trial(state, new) or not new.alive):
            return new
    return None


def half_moved_text(old: Instance, new: Instance) -> str:
    """Return the clause about a predecessor whose parts have left it, for a refusal."""
    record = recorded_moves(new)
    kinds = []
    if record.volumes:
        kinds.append(
            f"the data volumes of {old.instance_id} ({' and '.join(one.device_name for one in record.volumes)})"
        )
    if record.interfaces:
        names = " and ".join(one.interface_id for one in record.interfaces)
        kinds.append(f"the network interfaces of {old.instance_id} ({names})")
    return (
        f"{' and '.join(kinds)} have left it for {new.instance_id}, which is unproven, so {old.instance_id} would "
        "start without them"
    )


def _successors(state: State, ids: set[str]) -> Iterator[Instance]:
    """Yield the proven successors of these instances that have a record of attached parts, even terminated ones."""
    for new in state.all(Instance):
        if predecessor(new) in ids and recorded_moves(new).attached:
            yield new
