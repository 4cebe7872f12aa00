# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks of the in-memory EC2 that replace root volumes (EC2 API reference, CreateReplaceRootVolumeTask)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import STATUS_CHECKS, StatusChecks
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import TOKEN_SPENT, CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Fact,
    Instance,
    Snapshot,
    Volume,
    VolumeAttachment,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import (
    ROOT_TASKS,
    TAKES_ROOT_VOLUME,
    RootTask,
)

from fake_calls import Calls
from fake_records import End, Record

_CREATE = "CreateReplaceRootVolumeTask"
BEGIN, EXCHANGE = 0.5, 1.5
"""Seconds until EC2 exchanges the volumes, and until the task is over."""


class RootTasks(Calls):
    """``sick``: images and volumes, by id. An instance that boots from one fails its status checks.

    ``takes_root_volume``: whether botocore can name a volume in a task.
    """

    def __init__(self, *there: Any, **more: Any) -> None:
        super().__init__(*there, **more)
        self.sick: set[str] = set()
        self.takes_root_volume = True
        self._task_ends: dict[str, list[tuple[Record, tuple[float, End]]]] = {}

    # --- answers ---

    def _facts(self, query: Query) -> tuple[Fact, ...]:
        if query.operation != "DescribeReplaceRootVolumeTasks":
            return super()._facts(query)
        named = [value for _name, values in query.filters for value in values]
        found = [self._records.get(ROOT_TASKS.id_of(name)) for name in named]
        facts = tuple(record.resource for record in found if record is not None)
        return (TAKES_ROOT_VOLUME.fact(self.takes_root_volume), *facts)

    def _status(self, instance_id: str) -> Fact:
        root = self._root_of(self._records[instance_id].resource)
        if root is not None and root.volume_id in self.sick:
            return STATUS_CHECKS.fact(instance_id, StatusChecks("ok", "impaired"))
        return super()._status(instance_id)

    def _root_of(self, instance: Instance) -> Volume | None:
        for item in self.volumes():
            for link in item.attachments:
                if (link.instance_id, link.device_name) == (instance.instance_id, instance.root_device_name):
                    return item
        return None

    # --- the call ---

    def _CreateReplaceRootVolumeTask(self, changes: Sequence[Change], request: dict[str, Any]) -> dict[str, str]:
        token, tags = request.pop("ClientToken"), self._tags(request, "replace-root-volume-task")
        known = self._tokens.get(token)
        if known is not None:
            return self._known_task(changes[0], known, request)
        record = self._found(request["InstanceId"], "InvalidInstanceID.NotFound")
        instance = record.resource
        root = self._root_of(instance)
        if instance.state != "running" or root is None:
            raise CallError(_CREATE, "IncorrectInstanceState", f"'{instance.instance_id}' must be running")
        if any(task.is_under_way for task in self._tasks(instance.instance_id)):
            raise CallError(_CREATE, "IncorrectState", f"a task is in progress for '{instance.instance_id}'")
        new = self._new_root(request, instance, root)
        task = RootTask(
            self._new_id("replacevol"),
            "pending",
            request.get("ImageId"),
            request.get("SnapshotId"),
            self.now(),
            tags=tags,
        )
        self._begin(task, record, root, new, delete=bool(request.get("DeleteReplacedRootVolume")))
        self._tokens[token] = (task.task_id, repr(request))
        return {changes[0].resource: task.task_id}

    def _known_task(self, change: Change, known: tuple[str, str], request: Mapping[str, Any]) -> dict[str, str]:
        task_id, parameters = known
        if parameters != repr(request):
            raise CallError(_CREATE, "IdempotentParameterMismatch", "Arguments on this request are inconsistent")
        (task,) = (one for one in self._tasks(request["InstanceId"]) if one.task_id == task_id)
        if task.has_failed:
            raise CallError(_CREATE, TOKEN_SPENT, f"EC2 answered with {task_id}, which is {task.state}")
        return {change.resource: task_id}

    def _tasks(self, instance_id: str) -> tuple[RootTask, ...]:
        record = self._records.get(ROOT_TASKS.id_of(instance_id))
        return record.resource.value if record is not None else ()

    def _new_root(self, request: Mapping[str, Any], instance: Instance, root: Volume) -> Volume:
        """The volume that becomes the root. Raises CallError for a source that EC2 refuses."""
        if "VolumeId" in request:
            volume: Volume = self._found(request["VolumeId"], "InvalidVolume.NotFound").resource
            if volume.state != "available" or volume.availability_zone != instance.availability_zone:
                raise CallError(_CREATE, "IncorrectState", f"{volume.volume_id} is not 'available'")
            return volume
        if "ImageId" in request:
            image = self._found(request["ImageId"], "InvalidAMIID.NotFound").resource
            snapshot_id = next(
                one.snapshot_id for one in image.block_devices if one.device_name == image.root_device_name
            )
        else:
            snapshot_id = request["SnapshotId"]
        source: Snapshot = self._found(snapshot_id, "InvalidSnapshot.NotFound").resource
        if source.state != "completed":
            raise CallError(_CREATE, "IncorrectState", f"{snapshot_id} is '{source.state}'")
        if "SnapshotId" in request and source.volume_id not in self._lineage(root):
            raise CallError(_CREATE, "InvalidParameterValue", f"{snapshot_id} is not of {root.volume_id}")
        made = dataclasses.replace(
            root,
            volume_id=self._new_id("vol"),
            state="creating",
            size=max(root.size, source.volume_size),
            snapshot_id=snapshot_id,
            attachments=(),
            create_time=self.now(),
            tags={},
        )
        self._add(made, delay=0)
        self.written[made.volume_id] = self.written.get(snapshot_id or "", ())
        if request.get("ImageId") in self.sick or source.volume_id in self.sick:
            self.sick.add(made.volume_id)
        return made

    def _lineage(self, root: Volume) -> set[str]:
        """The volume, and its ancestors through snapshots."""
        found: set[str] = set()
        current: str | None = root.volume_id
        while current is not None and current not in found:
            found.add(current)
            volume = self._records.get(current)
            part = self._records.get(volume.resource.snapshot_id or "") if volume is not None else None
            current = part.resource.volume_id if part is not None else None
        return found

    def _begin(self, task: RootTask, holder: Record, root: Volume, new: Volume, *, delete: bool) -> None:
        """Let the volumes change places at the exchange, and let the task be over a second later."""
        instance, device = holder.resource, holder.resource.root_device_name
        (flag,) = (one.delete_on_termination for one in root.attachments if one.device_name == device)
        link = VolumeAttachment(instance.instance_id, device, delete_on_termination=flag)
        began, over = self._time + BEGIN, self._time + EXCHANGE
        places = [
            (root.volume_id, began, lambda volume: dataclasses.replace(volume, attachments=(), state="available")),
            (new.volume_id, began, lambda volume: dataclasses.replace(volume, attachments=(link,), state="in-use")),
            (instance.instance_id, began, self._with_root(new.volume_id, began)),
            (instance.instance_id, over, self._with_image(task.image_id)),
        ]
        places += [(root.volume_id, over, lambda _volume: None)] if delete else []
        key = ROOT_TASKS.id_of(instance.instance_id)
        tasks = (*self._tasks(instance.instance_id), task)
        if key in self._records:
            self._records[key].resource = ROOT_TASKS.fact(instance.instance_id, tasks)
        else:
            self._add(ROOT_TASKS.fact(instance.instance_id, tasks), delay=0)
        places += [
            (key, began, _becoming(task.task_id, state="in-progress")),
            (key, over, _becoming(task.task_id, state="succeeded", completed=self.now() + timedelta(seconds=EXCHANGE))),
        ]
        self._task_ends[task.task_id] = []
        for name, when, end in places:
            record = self._records[name]
            later = (when, end)
            record.ends = sorted([*record.ends, later], key=lambda one: one[0])
            self._task_ends[task.task_id].append((record, later))

    def _with_root(self, volume_id: str, when: float) -> End:
        """The instance with its new root volume, which it got at that time."""
        since = self.now() + timedelta(seconds=when - self._time)

        def end(instance: Instance) -> Instance:
            name = instance.root_device_name
            devices = tuple(
                BlockDevice(name, volume_id, one.delete_on_termination) if one.device_name == name else one
                for one in instance.block_devices
            )
            row = {"DeviceName": name, "Ebs": {"VolumeId": volume_id, "AttachTime": since}}
            rows = [one for one in instance.facts.get("BlockDeviceMappings", ()) if one["DeviceName"] != name]
            facts = {**instance.facts, "BlockDeviceMappings": [row, *rows]}
            return dataclasses.replace(instance, block_devices=devices, facts=facts)

        return end

    @staticmethod
    def _with_image(image_id: str | None) -> End:
        def end(instance: Instance) -> Instance:
            return dataclasses.replace(instance, image_id=image_id) if image_id else instance

        return end

    def _fail_task(self, resource_id: str, code: str) -> bool:
        """Let the task fail, so that the volumes stay where they are. Return whether there is such a task."""
        if resource_id not in self._task_ends:
            return False
        for record, end in self._task_ends[resource_id]:
            record.ends = [one for one in record.ends if one is not end]
            if isinstance(record.resource, Volume) and record.resource.state == "creating":
                record.ends = [(self._time + BEGIN, lambda _volume: None)]
        record = next(one for one, _end in self._task_ends[resource_id] if isinstance(one.resource, Fact))
        state = "failed-detached" if code == "failed-detached" else "failed"
        record.ends.append((self._time + BEGIN, _becoming(resource_id, state=state)))
        return True


def _becoming(task_id: str, **fields: Any) -> End:
    """The tasks of an instance with this one changed."""

    def end(fact: Fact) -> Fact:
        tasks = (dataclasses.replace(one, **fields) if one.task_id == task_id else one for one in fact.value)
        return dataclasses.replace(fact, value=tuple(tasks))

    return end
