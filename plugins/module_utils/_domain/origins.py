# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record of a volume that its snapshot carries in a tag, for a restore after the volume is gone.

EC2 shows the id of a snapshot's volume, but no other fact about that volume. The snapshot of one volume has the record
in `tags.ORIGIN`. One call takes all snapshots of a set, with the same tags, so each of them has the records of all
volumes in `tags.ORIGINS`.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

from .._kernel import tags as tag_names
from .._kernel.resources import Snapshot, Volume
from .device_names import is_device_name


@dataclass(frozen=True)
class Origin:
    """The record of the source volume. None stands for a missing value. Sizes are in GiB, throughput in MiB/s."""

    volume_type: str | None = None
    size: int | None = None
    iops: int | None = None
    throughput: int | None = None
    zone: str | None = None
    instance_id: str | None = None
    device_name: str | None = None

    @property
    def value(self) -> str:
        """The value of `tags.ORIGIN`: ``gp3 100 3000 125 us-east-1a i-0abc /dev/sdf``, ``-`` for a missing value."""
        return _words(*astuple(self))


def origin_now(volume: Volume) -> Origin:
    """Return the record of a volume as EC2 shows it."""
    link = volume.attachments[0] if volume.attachments else None
    return Origin(
        volume.volume_type,
        volume.size,
        volume.iops,
        volume.throughput,
        volume.availability_zone,
        link.instance_id if link else None,
        link.device_name if link else None,
    )


def tags_together(volumes: Sequence[Volume]) -> dict[str, str] | None:
    """Return the tags with the records of all *volumes* of a set, or None if they do not fit in `tags.ORIGINS`.

    A value is ``us-east-1a,vol-0abc gp3 100 3000 125 /dev/sdf,vol-…``. The tag of the set names the instance.
    """
    values: list[str] = []
    for volume in volumes:
        origin = origin_now(volume)
        performance = (origin.volume_type, origin.size, origin.iops, origin.throughput)
        entry = _words(volume.volume_id, *performance, origin.device_name)
        if not values or len(values[-1]) + 1 + len(entry) > tag_names.LONGEST_VALUE:
            values.append(origin.zone or "-")
        values[-1] += f",{entry}"
    if len(values) > len(tag_names.ORIGINS) or len({volume.availability_zone for volume in volumes}) > 1:
        return None
    return dict(zip(tag_names.ORIGINS, values, strict=False))


def has_origin(snapshot: Snapshot) -> bool:
    """Return whether the snapshot has a tag for the record of its volume, with any value."""
    return tag_names.ORIGIN in snapshot.tags or any(True for _words in _entries(snapshot))


def origin_of(snapshot: Snapshot) -> Origin:
    """Return the record of the source volume, or an empty one if this collection wrote none."""
    words = snapshot.tags.get(tag_names.ORIGIN, "").split(" ")
    if len(words) != 7:
        words = next(_entries(snapshot), [])
    if len(words) != 7:
        return Origin()
    kind, size, iops, throughput, zone, instance, device = (None if word == "-" else word for word in words)
    if device is not None and not is_device_name(device):
        device = None
    return Origin(kind, _number(size), _number(iops), _number(throughput), zone, instance, device)


def _entries(snapshot: Snapshot) -> Iterator[list[str]]:
    """Yield the words of the snapshot's own volume among the records of its set, in the order of `Origin`."""
    for key in tag_names.ORIGINS:
        zone, *entries = snapshot.tags.get(key, "").split(",")
        for entry in entries:
            words = entry.split(" ")
            if snapshot.volume_id and words[0] == snapshot.volume_id and len(words) == 6:
                yield [*words[1:5], zone, snapshot.tags.get(tag_names.SET, "").partition("/")[0] or "-", words[5]]


def _words(*parts: object) -> str:
    return " ".join("-" if part in (None, "") else str(part) for part in parts)


def _number(word: str | None) -> int | None:
    return int(word) if word is not None and word.isdecimal() else None
