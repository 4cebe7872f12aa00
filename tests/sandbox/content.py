# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The content of volumes: marks with a time.

A running instance writes a mark to each attached volume when it comes up, at each tick (``write_tick``), and as the
last thing before it is off; a test adds marks of its own. A snapshot holds the marks of its volume at the moment of
CreateSnapshot. Volumes that are made from the snapshot begin with these marks. Nothing is stored per tick: marks are
derived from the spans in which an instance ran with the volume attached. A jump of the clock inside such a span is one
mark, at its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .world import Frozen, Image, Instance, Mark, Region, Shape, Snapshot, Volume

if TYPE_CHECKING:
    from .engine import World

START, TICK, STOP = "start", "tick", "stop"
"""The texts of an instance's own marks: its first write of a span, the ones in it, and the last one."""


def locate(world: World, resource_id: str) -> tuple[Region, Volume | Snapshot | Image | Instance]:
    """The region and the resource with this id, even if EC2 no longer shows the resource.

    Raises KeyError, with a text that names the id, if no resource has it.
    """
    for region in list(world.regions()):
        for kind in (region.volumes, region.snapshots, region.images, region.instances):
            if resource_id in kind:
                return region, kind[resource_id]
    raise KeyError(f"there is no volume, snapshot, image or instance {resource_id}")


def ticks(
    start: datetime,
    end: datetime | None,
    until: datetime,
    tick: timedelta,
    jumps: Sequence[tuple[datetime, datetime]],
    writer: str,
) -> Iterator[Mark]:
    """The marks of one span of writing, up to and including ``until``. ``end`` is None while the span is open."""
    last = until if end is None else min(end, until)
    if start > last:
        return
    begin = start
    for before, after in [*((b, a) for b, a in jumps if a > start and b < last), (last, None)]:
        moment = begin
        stop = max(begin, before)
        while moment <= stop and not (after is None and end is not None and moment >= end):
            yield Mark(moment, START if moment == start else TICK, writer)
            moment += tick
        if after is None or after > last:
            break
        begin = after
    if end is not None and end <= until:
        yield Mark(end, STOP, writer)


def spans(region: Region, volume: Volume) -> Iterator[tuple[datetime, datetime | None, str]]:
    """The spans in which instances wrote to the volume, each with the id. An open span ends with None."""
    for attachment in volume.attachments:
        instance = region.instances.get(attachment.instance_id)
        if instance is None:
            continue
        for start, end in instance.running():
            first = max(start, attachment.attached)
            ends = [one for one in (end, attachment.detached) if one is not None]
            last = min(ends) if ends else None
            if last is None or first < last:
                yield first, last, instance.id


def volume_marks(region: Region, volume: Volume, until: datetime) -> list[Mark]:
    """The marks of the volume at a moment, oldest first: those of its source, then the later ones."""
    tick = timedelta(seconds=max(region.world.config.duration("write_tick"), 0.001))
    marks = [
        mark
        for start, end, writer in spans(region, volume)
        for mark in ticks(start, end, until, tick, region.world.clock.jumps, writer)
    ]
    marks += [one for one in volume.added if one.time <= until]
    marks.sort(key=lambda mark: mark.time)
    return (frozen_marks(region.world, volume.parent) if volume.parent else []) + marks


def frozen_marks(world: World, held: Frozen) -> list[Mark]:
    """The marks of a snapshot. Its volume may be in another region: a copy has the marks of its source."""
    if held.volume is None:
        return []
    region, _volume = locate(world, held.volume.id)
    return volume_marks(region, held.volume, held.moment)


def add_mark(world: World, volume_id: str, text: str) -> Shape:
    """Write one mark of the test to a volume, now; returns it as `marks_of` shows it.

    Raises KeyError for an unknown id, ValueError for one that is not a living volume.
    """
    _region, volume = locate(world, volume_id)
    now = world.clock.now()
    if not isinstance(volume, Volume) or not volume.exists(now):
        raise ValueError(f"{volume_id} is not a volume that can be written to")
    mark = Mark(now, text)
    volume.added.append(mark)
    return _shown(mark)


def marks_of(world: World, resource_id: str) -> Shape:
    """The content behind an id, as JSON-able values; times are ISO 8601 in UTC.

    For a volume or a snapshot: ``{"marks": [{"time", "text", "writer"}]}``. For an image: ``{"devices": {device:
    marks}}``, by its block device mappings. For an instance: the same, by what is attached to it now (a terminated one:
    what was), and ``gaps``, the spans in which it did not write to its root volume between writes of its own
    (``{"from", "to", "seconds"}``), with their sum ``off_seconds``. A gap that is still open is not counted. Raises
    KeyError for an id that no resource has or had.
    """
    region, found = locate(world, resource_id)
    now = world.clock.now()
    if isinstance(found, Volume):
        return {"marks": [_shown(one) for one in volume_marks(region, found, now)]}
    if isinstance(found, Snapshot):
        return {"marks": [_shown(one) for one in frozen_marks(world, found.held)]}
    if isinstance(found, Image):
        devices = {}
        for mapping in found.mappings:
            snapshot = region.snapshots.get(mapping.get("Ebs", {}).get("SnapshotId", ""))
            if snapshot is not None:
                devices[mapping["DeviceName"]] = [_shown(one) for one in frozen_marks(world, snapshot.held)]
        return {"devices": devices}
    return _instance_content(region, found, now)


def _instance_content(region: Region, instance: Instance, now: datetime) -> Shape:
    attached = region.devices(instance, now) or [
        (region.volumes[one], attachment)
        for one in dict.fromkeys(instance.volumes)
        for attachment in region.volumes[one].attachments
        if attachment.instance_id == instance.id
    ]
    devices: dict[str, list[Shape]] = {}
    for volume, attachment in attached:
        devices[attachment.device] = [_shown(one) for one in volume_marks(region, volume, now)]
    gaps = []
    for (_start, end, _writer), (start, _end, _same) in _root_spans(region, instance):
        if end is not None and end < start <= now:
            seconds = (start - end).total_seconds()
            gaps.append({"from": end.isoformat(), "to": start.isoformat(), "seconds": seconds})
    return {"devices": devices, "gaps": gaps, "off_seconds": round(sum((one["seconds"] for one in gaps), 0.0), 6)}


def _root_spans(region: Region, instance: Instance) -> Iterator[tuple[Any, Any]]:
    """Each two consecutive spans in which the instance wrote to a volume on its root device."""
    written = sorted(
        {
            span
            for volume_id in dict.fromkeys(instance.volumes)
            if any(
                one.instance_id == instance.id and one.device == instance.root_device_name
                for one in region.volumes[volume_id].attachments
            )
            for span in spans(region, region.volumes[volume_id])
            if span[2] == instance.id
        },
        key=lambda span: span[0],
    )
    return pairwise(written)


def _shown(mark: Mark) -> Shape:
    return {"time": mark.time.isoformat(), "text": mark.text, "writer": mark.writer}
