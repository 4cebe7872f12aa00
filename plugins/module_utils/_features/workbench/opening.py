# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open a workbench: a running instance, and the volume attached to it. A later run carries on from each state.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..._domain.attachments import attachment_limit, attachment_queries, disk, free_device, taken_disks
from ..._domain.image_versions import billing_obstacle, root_snapshot_id
from ..._domain.volume_changes import attachment, detachment
from ..._domain.workbenches import link_of
from ..._domain.zones import unsupported_site
from ..._kernel.errors import SpecError, UnsafePlan, listed
from ..._kernel.facts import ENCRYPTION_QUERY
from ..._kernel.ids import is_planned
from ..._kernel.plan import Change, Plan, Stage, Wait
from ..._kernel.resources import Image, Instance, Snapshot, Volume, VolumeAttachment
from ..._kernel.state import State, by_id
from .bench import Bench
from .changes import creation, launched_instance, launching, start
from .spec import WorkbenchSpec

_OFF = ("stopping", "stopped")


def plan_open(spec: WorkbenchSpec, state: State, bench: Bench) -> Plan:
    """Return the plan that brings the instance up and attaches the volume to it.

    Raises SpecError for options that do not fit, and UnsafePlan for a volume that is attached elsewhere.
    """
    snapshot = _source(spec, state)
    instance = _instance(spec, state, bench)
    volume = bench.volume
    if volume is not None and volume.availability_zone != instance.availability_zone:
        raise SpecError(
            f"availability_zone: {volume.volume_id} of the workbench of {spec.label} is in {volume.availability_zone}, "
            f"and the instance in {instance.availability_zone}. Use an instance there, or remove the workbench first."
        )
    link = link_of(volume) if volume is not None else None
    if volume is None:
        state.require(ENCRYPTION_QUERY)
    elif link is not None:
        require_own(spec, state, bench, volume, link, instance.instance_id)
        _require_here(spec, bench, volume, link, instance)
    device = _device(spec, state, instance, link)
    stages = [*_settled(instance, volume, link), *_released(state, instance, volume, link)]
    stages += [Stage(changes) for changes in (_power(spec, state, instance),) if changes]
    stages += _attached(spec, state, instance, volume, link, snapshot, device)
    return Plan(tuple(stages))


def _source(spec: WorkbenchSpec, state: State) -> Snapshot:
    """Return the root snapshot of the source image. Raises SpecError if no version can be developed from the image."""
    image = state.image(spec.source_image_id)
    if image is None or image.state != "available":
        found = f"is {image.state}" if image is not None else f"does not exist in {state.region}, or is not shared"
        raise SpecError(f"source_image_id: {spec.source_image_id} {found}. Name an available image.")
    obstacle = billing_obstacle(image)
    if obstacle:
        raise SpecError(f"source_image_id: {obstacle}")
    name = root_snapshot_id(image)
    if name is None:
        raise SpecError(f"source_image_id: {image.image_id} has no EBS root. Name an image with one.")
    state.require(*by_id("DescribeSnapshots", "snapshot-id", image.snapshot_ids))
    snapshot = state.snapshot(name)
    hidden = [part for part in image.snapshot_ids if state.snapshot(part) is None]
    if snapshot is None or hidden:
        raise SpecError(
            f"source_image_id: this account may not use {listed(hidden)} of {image.image_id}. Copy the image with "
            "ami_bake (source_image_id) first, and name the copy."
        )
    if snapshot.state != "completed" or snapshot.storage_tier == "archive":
        found = "archived" if snapshot.storage_tier == "archive" else snapshot.state
        raise SpecError(f"source_image_id: {name}, the root of {image.image_id}, is {found}. Name another image.")
    return snapshot


def _instance(spec: WorkbenchSpec, state: State, bench: Bench) -> Instance:
    """Return the instance of the task, or the one that the workbench has launched or will launch."""
    if spec.launch is None:
        return _named(spec, state)
    holder = link_of(bench.volume) if bench.volume is not None else None
    held = [item for item in bench.launched if holder is not None and item.instance_id == holder.instance_id]
    if bench.launched:
        return (*held, *bench.launched)[0]
    image = state.image(spec.launch.image_id)
    if image is None or image.state != "available":
        raise SpecError(f"launch.image_id: {spec.launch.image_id} is not an available image in {state.region}.")
    if image.root_device_type != "ebs":
        raise SpecError(
            f"launch.image_id: {image.image_id} has no EBS root, so EC2 cannot stop its instance. Name another image."
        )
    return launched_instance(spec, spec.launch, image)


def _named(spec: WorkbenchSpec, state: State) -> Instance:
    """Return the running instance that the task names. Raises SpecError for any other."""
    state.require(*by_id("DescribeInstances", "instance-id", [spec.instance_id or ""]))
    instance = state.instance(spec.instance_id)
    if instance is None or not instance.alive:
        raise SpecError(f"instance_id: {spec.instance_id} does not exist in {state.region}. Check the id.")
    if instance.state not in ("pending", "running"):
        raise SpecError(f"instance_id: {spec.instance_id} is {instance.state}. Start it with instance_power.")
    site = unsupported_site(instance.availability_zone, instance.facts)
    if site:
        raise SpecError(
            f"instance_id: {spec.instance_id} is in {site}, where this collection attaches no volume. Name another "
            "instance."
        )
    if not is_planned(instance.instance_id):
        state.require(*attachment_queries(instance))
    return instance


def require_own(
    spec: WorkbenchSpec, state: State, bench: Bench, volume: Volume, link: VolumeAttachment, named: str | None
) -> None:
    """Raise UnsafePlan if the volume is attached to an instance that is neither the task's nor the workbench's.

    An instance that is gone counts as neither, since EC2 ends the attachment itself.
    """
    if bench.is_launched(link.instance_id):
        return
    state.require(*by_id("DescribeInstances", "instance-id", [link.instance_id]))
    holder = state.instance(link.instance_id)
    if link.instance_id != named and holder is not None and holder.alive:
        raise UnsafePlan(
            f"{volume.volume_id} of the workbench of {spec.label} is attached to {link.instance_id}. Name that "
            "instance in instance_id, or detach the volume there."
        )


def _require_here(
    spec: WorkbenchSpec, bench: Bench, volume: Volume, link: VolumeAttachment, instance: Instance
) -> None:
    """Raise UnsafePlan if a launched workbench has the volume, and the task names another instance."""
    if link.instance_id != instance.instance_id and bench.is_launched(link.instance_id) and not link.leaving:
        raise UnsafePlan(
            f"{volume.volume_id} of the workbench of {spec.label} is attached to {link.instance_id}, which the "
            f"workbench launched. Use launch again, or detach the volume with state: detached before the task names "
            f"{instance.instance_id}."
        )


def _device(spec: WorkbenchSpec, state: State, instance: Instance, link: VolumeAttachment | None) -> str:
    """Return the device name of the volume: the present one, the one of the task, or a free one."""
    if link is not None and link.instance_id == instance.instance_id:
        return link.device_name
    taken = {*taken_disks(state, instance), disk(instance.root_device_name)}
    device = free_device(instance, taken, spec.device_name)
    if device is None or (spec.device_name is not None and device != spec.device_name):
        raise SpecError(
            f"device_name: {instance.instance_id} takes no volume at {spec.device_name or 'any name'}. Name another."
        )
    limit = attachment_limit(state, instance)
    if limit is not None and limit.excess(1):
        raise SpecError(
            f"instance_id: {instance.instance_id} takes no further volume, since its type takes {limit.text}. "
            "Detach another volume first."
        )
    return device


def _settled(instance: Instance, volume: Volume | None, link: VolumeAttachment | None) -> Iterator[Stage]:
    """Yield the waits for changes that an interrupted run has begun."""
    waits = []
    if instance.state == "stopping":
        waits.append(Wait((instance.instance_id,), "stopped"))
    if volume is not None and volume.state == "creating":
        waits.append(Wait((volume.volume_id,), "volume_available"))
    if volume is not None and link is not None and link.state == "attaching":
        waits.append(Wait((volume.volume_id,), "attached", about=link.instance_id))
    if waits:
        yield Stage(waits=tuple(waits))


def _released(
    state: State, instance: Instance, volume: Volume | None, link: VolumeAttachment | None
) -> Iterator[Stage]:
    """Yield the detachment of the volume from a workbench that is off, and the wait for a detachment under way.

    With two disks from one image attached, an instance may boot from the wrong one.
    """
    if volume is None or link is None or not _must_leave(instance, link):
        return
    wait = Wait((volume.volume_id,), "detached", about=link.instance_id)
    if link.leaving or link.instance_id != instance.instance_id:
        yield Stage(waits=(wait,))
    else:
        reason = f"detach from {link.instance_id} before its start, since it could boot from either disk"
        yield Stage((detachment(volume.volume_id, link, state.region, reason, disruptive=False),), (wait,))


def _must_leave(instance: Instance, link: VolumeAttachment) -> bool:
    return link.leaving or link.instance_id != instance.instance_id or instance.state in _OFF


def _power(spec: WorkbenchSpec, state: State, instance: Instance) -> tuple[Change, ...]:
    """Return the launch or the start of the instance."""
    if is_planned(instance.instance_id) and spec.launch is not None and state.instance(instance.instance_id) is None:
        image = state.image(spec.launch.image_id)
        return (launching(spec, state, spec.launch, image),) if isinstance(image, Image) else ()
    return (start(instance, state.region),) if instance.state in _OFF else ()


def _attached(
    spec: WorkbenchSpec,
    state: State,
    instance: Instance,
    volume: Volume | None,
    link: VolumeAttachment | None,
    snapshot: Snapshot,
    device: str,
) -> Iterator[Stage]:
    """Yield the creation of the volume beside the start of the instance, and then the attachment."""
    volume_id = volume.volume_id if volume is not None else spec.planned_volume
    created = () if volume is not None else (creation(spec, state, snapshot, instance.availability_zone),)
    is_there = state.instance(instance.instance_id) is not None and instance.state == "running"
    waits = [] if is_there else [Wait((instance.instance_id,), "running")]
    waits += [Wait((volume_id,), "volume_available")] if created else []
    if created or waits:
        yield Stage(created, tuple(waits))
    if link is None or _must_leave(instance, link):
        reason = f"attach the volume of {spec.label} to {instance.instance_id}"
        change = attachment(volume_id, instance.instance_id, device, state.region, reason)
        yield Stage((change,), (Wait((volume_id,), "attached", about=instance.instance_id),))
