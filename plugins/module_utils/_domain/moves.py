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

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from .._kernel import tags as tag_names
from .._kernel.instance_proofs import is_off
from .._kernel.resources import Instance, Volume
from .._kernel.state import Query, State, by_id
from .replacement import born, is_on_trial, predecessor

_VOLUME = re.compile(r"(vol-[0-9a-f]{8}(?:[0-9a-f]{9})?)=(\S+?)(=delete)?")
_ADDRESS = re.compile(r"eipalloc-[0-9a-f]{8}(?:[0-9a-f]{9})?")
_TARGETS = "targets"
MOST_TAGS = len(tag_names.MOVES)


@dataclass(frozen=True)
class MovedVolume:
    """A data volume, and its attachment to the predecessor."""

    volume_id: str
    device_name: str
    delete_on_termination: bool = False


@dataclass(frozen=True)
class Moves:
    """The parts that move: data volumes, the Elastic IP, and whether the registrations with load balancers move."""

    volumes: tuple[MovedVolume, ...] = ()
    allocation_id: str = ""
    targets: bool = False

    def __bool__(self) -> bool:
        """Return whether any part moves."""
        return bool(self.volumes or self.allocation_id or self.targets)

    @property
    def volume_ids(self) -> frozenset[str]:
        """The ids of the volumes."""
        return frozenset(item.volume_id for item in self.volumes)


def moves_tags(moves: Moves) -> dict[str, str]:
    """Return the tags of the record. There may be more than `MOST_TAGS`, which the caller refuses."""
    words = [moves.allocation_id] if moves.allocation_id else []
    words += [_TARGETS] if moves.targets else []
    words += [
        f"{item.volume_id}={item.device_name}{'=delete' if item.delete_on_termination else ''}"
        for item in moves.volumes
    ]
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
    allocation = next((word for word in words if _ADDRESS.fullmatch(word)), "")
    volumes = {match[1]: MovedVolume(match[1], match[2], match[3] is not None) for match in found}
    return Moves(tuple(volumes.values()), allocation, _TARGETS in words)


def attached_to(volume: Volume, instance_id: str) -> bool:
    """Return whether EC2 shows an attachment of the volume to the instance, even one that is about to end."""
    return any(link.instance_id == instance_id and link.state != "detached" for link in volume.attachments)


def is_movable(volume: Volume | None, old: Instance, new: Instance) -> bool:
    """Return whether a run may attach the volume in a record to *old* or *new*.

    EC2 shows no former attachments, so the tag alone names the volume. A run takes it only if it is in the zone of the
    two instances and is attached to nothing else. It must also be older than the launch.
    """
    if volume is None or not volume.alive or volume.availability_zone not in ("", old.availability_zone):
        return False
    birth = born(new)
    if birth is not None and volume.create_time is not None and volume.create_time > birth:
        return False
    return all(link.instance_id in (old.instance_id, new.instance_id) for link in volume.attachments)


# --- a predecessor without its volumes --------------------------------------------------------------------------------


def half_moved_queries(state: State, ids: Iterable[str]) -> tuple[Query, ...]:
    """Return the queries for the volumes that the records of successors of these instances name."""
    wanted = set(ids)
    volumes = {item.volume_id for new in _successors(state, wanted) for item in recorded_moves(new).volumes}
    return by_id("DescribeVolumes", "volume-id", volumes)


def half_moved(state: State, old: Instance) -> Instance | None:
    """Return the unproven or rejected successor that has a data volume of *old*, or None. *old* is off.

    A volume that is attached to neither of them counts too: an interrupted run has detached it.
    """
    if not is_off(old):
        return None
    for new in _successors(state, {old.instance_id}):
        volumes = [state.volume(item.volume_id) for item in recorded_moves(new).volumes]
        away = [
            item for item in volumes if is_movable(item, old, new) and item and not attached_to(item, old.instance_id)
        ]
        if away and (is_on_trial(state, new) or not new.alive):
            return new
    return None


def half_moved_text(old: Instance, new: Instance) -> str:
    """Return the clause about a predecessor whose data volumes have left it, for a refusal."""
    names = " and ".join(item.device_name for item in recorded_moves(new).volumes)
    return (
        f"the data volumes of {old.instance_id} ({names}) have left it for {new.instance_id}, which is unproven, so "
        f"{old.instance_id} would start without them"
    )


def _successors(state: State, ids: set[str]) -> Iterator[Instance]:
    """Yield the proven successors of these instances that have a record of moved volumes, even terminated ones."""
    for new in state.all(Instance):
        if predecessor(new) in ids and recorded_moves(new).volumes:
            yield new
