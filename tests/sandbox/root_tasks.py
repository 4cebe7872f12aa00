# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks that replace the root volume of a running instance.

The EC2 API reference is the source of the states and of the rules (CreateReplaceRootVolumeTask,
ReplaceRootVolumeTask), and the user guide, "Replace the root volume for an instance". Neither says whether the
instance shows the new image afterwards, so the option ``root_task_image`` decides: ``updated`` or ``kept``.

A task is ``pending`` while its volume is made, and ``in-progress`` while the volumes are exchanged and the instance
boots. A fault of kind ``end`` lets it fail: with the code ``failed-detached`` the instance then has no root volume, and
with any other code it keeps the one that it had.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from .engine import Ec2Error, Request, action, declare_durations, declare_option
from .filters import matching
from .images import launchable_image
from .pages import paged
from .tags import tag_specifications
from .tokens import with_token
from .volumes import (
    VolumeSpec,
    combination_error,
    completed_snapshot,
    encryption,
    make_volume,
    refuse_unusable,
    remove_volume,
)
from .world import Attachment, Image, Instance, Shape, Snapshot, Volume, tag_list

declare_durations(root_task_pending=0.5, root_task_replacing=1.0)


def _check_choice(value: str) -> None:
    if value not in ("updated", "kept"):
        raise ValueError(f"root_task_image is updated or kept, not {value}")


declare_option("root_task_image", "updated", _check_choice)


@dataclass(slots=True)
class RootTask:
    """One replacement. It exchanges the volumes at ``exchanged``, and is over at ``done``.

    ``failure``: ``failed`` or ``failed-detached``, or empty for a success.
    """

    kind: ClassVar[str] = "replace-root-volume-task"

    id: str
    instance_id: str
    created: datetime
    exchanged: datetime
    done: datetime
    image_id: str = ""
    snapshot_id: str = ""
    delete_replaced: bool = False
    failure: str = ""
    tags: dict[str, str] = field(default_factory=dict)

    def state(self, now: datetime) -> str:
        """EC2's ReplaceRootVolumeTaskState."""
        if now < self.exchanged:
            return "pending"
        if now < self.done:
            return "failing" if self.failure else "in-progress"
        return self.failure or "succeeded"


@dataclass(slots=True)
class _Source:
    """The new root: a volume that exists, or the specification of one.

    ``unhealthy``: an instance that boots from it is unhealthy.
    """

    volume: Volume | None = None
    spec: VolumeSpec | None = None
    image: Image | None = None
    snapshot: Snapshot | None = None
    unhealthy: bool = False


@action("CreateReplaceRootVolumeTask", gate=True)
def create_replace_root_volume_task(request: Request) -> Shape:
    """Replace the root volume of a running instance; idempotent by the client token."""

    def make() -> tuple[str, Shape]:
        instance, old, held = _replaceable(request)
        source = _source(request, instance, old)
        tags = tag_specifications(request, RootTask.kind)[RootTask.kind]
        request.dry_run_gate()
        task = _begin(request, instance, old, held, source)
        task.tags = tags
        return task.id, {"ReplaceRootVolumeTask": _row(task, request.now)}

    def again(task_id: str) -> Shape:
        return {"ReplaceRootVolumeTask": _row(request.home.root_tasks[task_id], request.now)}

    if request.params.get("DryRun"):
        make()
    return with_token(request, make, again)


def _replaceable(request: Request) -> tuple[Instance, Volume, Attachment]:
    """The instance with its root volume. Raises Ec2Error for an instance that does not run, or has a task under way."""
    home, now = request.home, request.now
    (instance,) = home.instance_list([request.params["InstanceId"]])
    state = instance.state(now)
    if state != "running":
        raise Ec2Error(
            "IncorrectInstanceState", f"The instance '{instance.id}' is in the state '{state}', and must be running."
        )
    if instance.operator:
        raise Ec2Error("OperationNotPermitted", f"The instance '{instance.id}' is managed by {instance.operator}.")
    for task in home.root_tasks.values():
        if task.instance_id == instance.id and now < task.done:
            raise Ec2Error(
                "IncorrectState", f"A root volume replacement task, {task.id}, is in progress for '{instance.id}'."
            )
    roots = [pair for pair in home.devices(instance, now) if pair[1].device == instance.root_device_name]
    if not roots:
        raise Ec2Error("UnsupportedOperation", f"The instance '{instance.id}' has no EBS root volume.")
    return instance, *roots[0]


def _source(request: Request, instance: Instance, old: Volume) -> _Source:
    params = request.params
    named = [name for name in ("ImageId", "SnapshotId", "VolumeId") if params.get(name)]
    if len(named) > 1:
        raise combination_error(f"The parameters {' and '.join(named)} cannot be used together.")
    health = request.home.root_health
    if not named:
        raise Ec2Error("UnsupportedOperation", "The sandbox does not restore the launch state.")
    if named == ["VolumeId"]:
        volume = request.home.volume(params["VolumeId"])
        _check_volume(volume, instance, old, request.now)
        return _Source(volume, unhealthy=health.get(volume.id, False))
    if named == ["SnapshotId"]:
        snapshot = completed_snapshot(request, params["SnapshotId"])
        if snapshot.volume_id not in _lineage(request, old):
            raise Ec2Error(
                "InvalidParameterValue", f"The snapshot '{snapshot.id}' was not taken of the root of '{instance.id}'."
            )
        unhealthy = health.get(snapshot.volume_id, False)
        return _Source(spec=_spec(request, old, snapshot), snapshot=snapshot, unhealthy=unhealthy)
    image = launchable_image(request, params["ImageId"])
    _check_image(request, image, instance)
    spec = _spec(request, old, _root_snapshot(request, image))
    unhealthy = image.unhealthy or bool(request.world.config.option("unhealthy_launches"))
    return _Source(spec=spec, image=image, unhealthy=unhealthy)


def _check_volume(volume: Volume, instance: Instance, old: Volume, now: datetime) -> None:
    if volume.state(now) != "available":
        raise Ec2Error("IncorrectState", f"The volume '{volume.id}' is not 'available'.")
    if volume.zone != instance.zone:
        raise Ec2Error(
            "InvalidVolume.ZoneMismatch",
            f"The volume '{volume.id}' is not in the same availability zone as instance '{instance.id}'",
        )
    if old.encrypted and not volume.encrypted:
        raise Ec2Error("InvalidParameterValue", f"The volume '{volume.id}' must be encrypted, as '{old.id}' is.")


def _lineage(request: Request, volume: Volume) -> set[str]:
    """The volume, and its ancestors through snapshots, one after the other."""
    found: set[str] = set()
    current: Volume | None = volume
    while current is not None and current.id not in found:
        found.add(current.id)
        current = current.parent.volume if current.parent is not None else None
    return found


def _root_snapshot(request: Request, image: Image) -> Snapshot:
    ids = [one["Ebs"].get("SnapshotId") for one in image.mappings if one["DeviceName"] == image.root_device_name]
    for region in request.world.regions():
        if region.name == request.region and ids and ids[0] in region.snapshots:
            refuse_unusable(region.snapshots[ids[0]], request.now)
            return region.snapshots[ids[0]]
    raise Ec2Error("InvalidSnapshot.NotFound", f"The snapshot of the root of '{image.id}' does not exist.")


def _spec(request: Request, old: Volume, snapshot: Snapshot) -> VolumeSpec:
    """The new root has the type and the performance of the old one, and at least its size."""
    sealed = encryption(request, old.encrypted or None, None if snapshot.encrypted else old.kms_key_id, snapshot)
    size = max(old.size, snapshot.volume_size)
    return VolumeSpec(size, old.type, old.iops, old.throughput, sealed, snapshot)


def _check_image(request: Request, image: Image, instance: Instance) -> None:
    """Raises unless the image has the instance's product codes, billing, architecture and virtualization."""
    facts: Mapping[str, Any] = instance.facts
    pairs = {
        "product codes": (sorted(image.product_codes), sorted(instance.product_codes)),
        "billing information": (image.usage_operation, facts.get("UsageOperation")),
        "platform details": (image.platform_details, facts.get("PlatformDetails")),
        "architecture": (image.architecture, facts.get("Architecture")),
        "virtualization type": (image.virtualization, facts.get("VirtualizationType")),
    }
    for name, (wanted, have) in pairs.items():
        if wanted != have:
            raise Ec2Error(
                "InvalidParameterValue",
                f"The {name} of the image '{image.id}' does not match that of the instance '{instance.id}'.",
            )
    rows = request.moto("DescribeInstanceTypes", {"InstanceTypes": [instance.type]})["InstanceTypes"]
    modes = (rows[0].get("SupportedBootModes") or []) if rows else []
    mode = image.facts.get("BootMode")
    if mode in ("uefi", "legacy-bios") and modes and mode not in modes:
        raise Ec2Error(
            "InvalidParameterValue", f"The instance type '{instance.type}' does not support the boot mode '{mode}'."
        )


def _begin(request: Request, instance: Instance, old: Volume, held: Attachment, source: _Source) -> RootTask:
    home, now, params = request.home, request.now, request.params
    exchanged = home.moment("root_task_pending", now)
    task = RootTask(
        home.world.new_id("replacevol"),
        instance.id,
        now,
        exchanged,
        home.moment("root_task_replacing", exchanged),
        image_id=source.image.id if source.image else "",
        snapshot_id=source.snapshot.id if source.snapshot else "",
        delete_replaced=bool(params.get("DeleteReplacedRootVolume")),
    )
    home.root_tasks[task.id] = task
    end = request.end_state()
    new = source.volume
    if new is None and source.spec is not None:
        new = make_volume(request, source.spec, instance.zone, {})
    if new is None:
        raise RuntimeError("a task has a new root volume")
    if end is not None or new.vanishes:
        task.failure = "failed-detached" if end and end.get("code") == "failed-detached" else "failed"
    if task.failure:
        if source.volume is None:
            remove_volume(home, new, task.done)
        if task.failure == "failed-detached":
            held.end(exchanged, task.done)
            instance.pauses.append((exchanged, datetime.max.replace(tzinfo=now.tzinfo)))
        return task
    held.end(exchanged, home.moment("volume_detaching", exchanged))
    attached = Attachment(instance.id, held.device, exchanged, task.done, held.delete_on_termination)
    new.attachments.append(attached)
    instance.volumes.append(new.id)
    instance.pauses.append((exchanged, task.done))
    home.root_health[old.id], instance.unhealthy = instance.unhealthy, source.unhealthy
    if source.image and request.world.config.option("root_task_image") == "updated":
        instance.replaced_images.append((task.done, source.image.id))
    if task.delete_replaced:
        remove_volume(home, old, task.done)
    return task


def _row(task: RootTask, now: datetime) -> Shape:
    return {
        "ReplaceRootVolumeTaskId": task.id,
        "InstanceId": task.instance_id,
        "TaskState": task.state(now),
        "StartTime": f"{task.created:%Y-%m-%dT%H:%M:%SZ}",
        "CompleteTime": f"{task.done:%Y-%m-%dT%H:%M:%SZ}" if now >= task.done else None,
        "ImageId": task.image_id or None,
        "SnapshotId": task.snapshot_id or None,
        "DeleteReplacedRootVolume": task.delete_replaced,
        "Tags": tag_list(task.tags),
    }


@action("DescribeReplaceRootVolumeTasks")
def describe_replace_root_volume_tasks(request: Request) -> Shape:
    """The tasks, oldest first, in pages of 1 to 50. The only filter is on the instance."""
    home = request.home
    rows = [one for one in home.root_tasks.values() if request.visible(one)]
    wanted = request.params.get("ReplaceRootVolumeTaskIds")
    if wanted:
        known = {one.id: one for one in rows}
        missing = [one for one in wanted if one not in known]
        if missing:
            raise Ec2Error("InvalidReplaceRootVolumeTaskID.NotFound", f"The task ID '{missing[0]}' does not exist")
        rows = [known[one] for one in wanted]
    found = matching(request, rows, {"instance-id": lambda one: one.instance_id}, tagged=False)
    page, token = paged(request, found, minimum=1, maximum=50, default=50, strict=True)
    return {"ReplaceRootVolumeTasks": [_row(one, request.now) for one in page], "NextToken": token}
