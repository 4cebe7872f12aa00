# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rows of a report: instances, volumes, snapshots, images and the relations between them, as plain data.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..._domain.snapshot_sets import instance_of
from ..._kernel.proofs import copy_record, is_copy
from ..._kernel.resources import Image, Instance, Volume
from ..._kernel.storage_facts import IS_PUBLIC, LAUNCH_CONFIGURATIONS, USERS, VOLUME_PERMISSIONS
from ..._kernel.times import format_moment, parse_instant
from . import usage
from .snapshot_findings import users_of, version_of
from .spec import seconds
from .stock import Inventory, Point, name_of


def instance_row(inventory: Inventory, instance: Instance) -> dict[str, Any]:
    """Return the row of an instance."""
    stopped_for = inventory.stopped_for(instance)
    return {
        "id": instance.instance_id,
        "name": name_of(instance.tags),
        "state": instance.state,
        "type": instance.instance_type,
        "zone": instance.availability_zone,
        "image_id": instance.image_id,
        "stopped_since": None if stopped_for is None else format_moment(inventory.now - stopped_for),
        "stopped_for": None if stopped_for is None else seconds(stopped_for),
        "volumes": [device.volume_id for device in instance.block_devices],
        "tags": dict(instance.tags),
    }


def volume_row(inventory: Inventory, volume: Volume) -> dict[str, Any]:
    """Return the row of a volume."""
    cost = inventory.volume_cost(volume)
    return {
        "id": volume.volume_id,
        "name": name_of(volume.tags),
        "state": volume.state,
        "type": volume.volume_type,
        "gib": volume.size,
        "iops": volume.iops,
        "mibps": volume.throughput,
        "encrypted": volume.encrypted,
        "kms_key_id": volume.kms_key_id,
        "zone": volume.availability_zone,
        "created": None if volume.create_time is None else format_moment(volume.create_time),
        "age": seconds(inventory.age(volume.create_time)),
        "snapshot_id": volume.snapshot_id,
        "attached_to": [
            {
                "instance_id": link.instance_id,
                "device": link.device_name,
                "instance_name": _instance_name(inventory, link.instance_id),
            }
            for link in volume.attachments
        ],
        "policies": list(inventory.policies_of(volume.volume_id)),
        "cost": None if cost is None else cost.view(),
        "tags": dict(volume.tags),
        "used": usage.view(inventory.state, volume),
    }


def _instance_name(inventory: Inventory, instance_id: str) -> str:
    found = inventory.instances.get(instance_id)
    return "" if found is None else name_of(found.tags)


def snapshot_row(inventory: Inventory, point: Point) -> dict[str, Any]:
    """Return the row of a snapshot."""
    snapshot = point.snapshot
    cost, lock = inventory.snapshot_cost(snapshot), inventory.lock_of(point)
    drilled, a_set = inventory.drilled(point), inventory.set_of.get(point.id)
    record = copy_record(snapshot) if is_copy(snapshot) else None
    in_force = lock is not None and lock.is_in_force
    return {
        "id": point.id,
        "name": name_of(snapshot.tags),
        "state": snapshot.state,
        "gib": snapshot.volume_size,
        "written_gib": _gib(snapshot.written_bytes),
        "stored_gib": _gib(inventory.stored.get(point.id)),
        "stored_note": inventory.stored_notes.get(point.id),
        "tier": snapshot.storage_tier or "standard",
        "encrypted": snapshot.encrypted,
        "volume_id": None if is_copy(snapshot) else snapshot.volume_id,
        "source": point.source or None,
        "started": None if snapshot.start_time is None else format_moment(snapshot.start_time),
        "age": seconds(inventory.age(snapshot.start_time)),
        "policy": point.policy or None,
        "set": instance_of(snapshot) or None,
        "copy_of": (record.original or None) if record is not None else None,
        "whole": None if a_set is None else a_set.state == "completed",
        "drilled": None if drilled is None else format_moment(drilled),
        "lock": lock.mode if lock is not None and in_force else None,
        "locked_until": format_moment(lock.expires_on) if lock and in_force and lock.expires_on else None,
        "shared_with": _shared(inventory, point),
        "images": list(inventory.images_of.get(point.id, ())),
        "cost": None if cost is None else cost.view(),
        "tags": dict(snapshot.tags),
    }


def _gib(size: int | None) -> float | None:
    return None if size is None else round(size / (1 << 30), 3)


def _shared(inventory: Inventory, point: Point) -> list[str] | None:
    shared = VOLUME_PERMISSIONS.of(inventory.state, point.id)
    if shared is not None:
        return sorted(shared)
    return ["all"] if IS_PUBLIC.of(inventory.state, point.id) else None


def image_row(inventory: Inventory, image: Image) -> dict[str, Any]:
    """Return the row of an image. Its snapshots have the cost."""
    created = parse_instant(image.creation_date or "")
    users = users_of(inventory, image.image_id)
    launched = parse_instant(str(image.facts.get("LastLaunchedTime") or ""))
    return {
        "id": image.image_id,
        "name": image.name,
        "state": image.state,
        "created": None if created is None else format_moment(created),
        "age": seconds(inventory.age(created)),
        "snapshots": list(image.snapshot_ids),
        "gib": sum(device.size or 0 for device in image.block_devices if device.snapshot_id),
        "version": version_of(image.tags),
        "users": None if users is None else list(users),
        "last_launched": None if launched is None else format_moment(launched),
        "public": bool(image.facts.get("Public")),
        "cost": None,
        "tags": dict(image.tags),
    }


# --- relations -------------------------------------------------------------------------------------------------------

_HOLDERS = {"launch-template": "launch template", "parameter": "parameter", "image-recipe": "image recipe"}


def holder_rows(inventory: Inventory, images: Iterable[Image]) -> list[dict[str, Any]]:
    """Return the users of images that are no instances."""
    found: dict[str, dict[str, Any]] = {}
    for _image_id, holder, kind in _holders(inventory, images):
        found[holder] = {"id": holder, "kind": kind, "name": holder}
    return [found[key] for key in sorted(found)]


def _holders(inventory: Inventory, images: Iterable[Image]) -> Iterator[tuple[str, str, str]]:
    """Yield (image, holder, kind of holder)."""
    wanted = {image.image_id for image in images}
    for image_id in sorted(wanted):
        for arn in USERS.of(inventory.state, image_id) or ():
            kind, _slash, name = arn.rpartition(":")[2].partition("/")
            if kind != "instance":
                yield image_id, f"/{name}" if kind == "parameter" else name, _HOLDERS.get(kind, kind)
    for item in LAUNCH_CONFIGURATIONS.of(inventory.state) or ():
        if item.image_id in wanted:
            yield item.image_id, item.name, "launch configuration"


def relations(
    inventory: Inventory, volumes: Iterable[Volume], points: Iterable[Point], images: Iterable[Image]
) -> Iterator[list[str]]:
    """Yield the relations of the shown resources as [from, kind, to]."""
    for volume in volumes:
        yield from ([link.instance_id, "has", volume.volume_id] for link in volume.attachments)
        if volume.snapshot_id:
            yield [volume.volume_id, "from", volume.snapshot_id]
    for point in points:
        record = copy_record(point.snapshot) if is_copy(point.snapshot) else None
        if record is not None and record.original:
            yield [point.id, "copy of", record.original]
        if point.source:
            yield [point.id, "of", point.source]
    yield from _of_images(inventory, list(images))


def _of_images(inventory: Inventory, images: list[Image]) -> Iterator[list[str]]:
    for image in images:
        yield from ([image.image_id, "made of", snapshot_id] for snapshot_id in image.snapshot_ids)
    shown = {image.image_id for image in images}
    for instance in inventory.instances.values():
        if instance.image_id in shown:
            yield [instance.instance_id, "launched from", instance.image_id]
    for image_id, holder, _kind in _holders(inventory, images):
        yield [holder, "names", image_id]
