# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An EC2 in memory behind the gateway's port, with a clock that only sleeping moves.

It knows what the engine relies on: asynchronous states, client tokens, unique image names, attachments, modifications
and their daily budget, delayed visibility, lost answers. The cases that run on it run on the sandbox too, so it cannot
drift from what EC2 does.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._aws.codec import change_request, token_spent
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.waiting import wait_for
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import TOKEN_SPENT, CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Wait
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Fact,
    Image,
    ImageDevice,
    Instance,
    Resource,
    Snapshot,
    Volume,
    VolumeAttachment,
    view,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import boto3_tags

from sandbox.filters import matcher

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
KINDS: dict[str, type[Any]] = {
    "DescribeInstances": Instance,
    "DescribeImages": Image,
    "DescribeSnapshots": Snapshot,
    "DescribeVolumes": Volume,
}
MODIFIED = {
    "Size": "size",
    "VolumeType": "volume_type",
    "Iops": "iops",
    "Throughput": "throughput",
    "MultiAttachEnabled": "multi_attach_enabled",
}
MODIFICATIONS_PER_DAY = 4
FIELDS = {"instance-id": "instance_id", "image-id": "image_id", "snapshot-id": "snapshot_id", "volume-id": "volume_id"}


@dataclass
class Fault:
    """One fault, before or after the effect: ``error``, ``close`` (no answer) or ``end`` (what is new fails later)."""

    action: str
    occurrence: int | str | dict[str, int] = 1
    kind: str = "error"
    when: str = "before"
    code: str = "InternalError"
    message: str = "An internal error has occurred"
    status: int = 500
    seen: int = 0

    def hits(self, action: str) -> bool:
        if not fnmatch.fnmatchcase(action, self.action):
            return False
        self.seen += 1
        if isinstance(self.occurrence, dict):
            return self.seen <= self.occurrence["first"]
        return self.occurrence in ("every", self.seen)


End = Callable[[Any], Any]
"""What becomes of a resource: another one, or nothing."""


def becomes(**fields: Any) -> End:
    return lambda resource: dataclasses.replace(resource, **fields)


@dataclass
class Record:
    """A resource, the moment from which reads show it, and what it will become."""

    resource: Any
    visible: float = 0.0
    ends: list[tuple[float, End]] = field(default_factory=list)


class FakeEc2:
    """`ports.Gateway` in memory. One region, one account."""

    def __init__(self, region: str = "us-east-1") -> None:
        self._region = region
        self._lock = threading.RLock()
        self._time = 0.0
        self._calls: Counter[str] = Counter()
        self._records: dict[str, Record] = {}
        self._facts: dict[str, Fact] = {}
        self._tokens: dict[str, tuple[str, str]] = {}
        self._modified: dict[str, list[float]] = {}
        self._number = 0
        self.faults: list[Fault] = []
        self.visibility_delay = 0.0
        self.durations = {
            **dict.fromkeys(("stop", "start", "terminate", "image", "optimize"), 1.0),
            **dict.fromkeys(("create", "attach", "detach", "delete", "modify"), 0.4),
            "snapshot": 2.0,
            "status": 2.0,
        }
        self.log: list[tuple[str, dict[str, Any]]] = []

    # --- the port ---

    @property
    def region(self) -> str:
        return self._region

    @property
    def calls(self) -> Mapping[str, int]:
        return dict(self._calls)

    def monotonic(self) -> float:
        return self._time

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._time += seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self._time)

    def ask(
        self, queries: Iterable[Query], failures: dict[Query, StorageError] | None = None
    ) -> Mapping[Query, tuple[Resource, ...]]:
        answers: dict[Query, tuple[Resource, ...]] = {}
        for query in dict.fromkeys(queries):
            try:
                answers[query] = self._answer(query)
            except CallError as error:
                if failures is None or not query.optional:
                    raise
                failures[query], answers[query] = error, ()
        return answers

    def rehearse(self, change: Change) -> None:
        with self._lock:
            self._calls[change.action] += 1

    def wait(self, waits: Sequence[Wait], deadline: float) -> Mapping[str, Resource]:
        return wait_for(lambda queries, _until: self.ask(queries), waits, deadline, self.monotonic, self.sleep)

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        first = changes[0]
        end = self.monotonic() + 30
        while True:
            try:
                return self._perform(changes, generation)
            except CallError as error:
                # As the gateway does: throttling is waited out, and what is safe is repeated.
                if not error.passing or (error.unclear and not first.operation.safe) or self.monotonic() > end:
                    if len(changes) == 1 and error.code in first.operation.already:
                        return {}
                    raise
                self.sleep(0.2)

    # --- reading ---

    def _answer(self, query: Query) -> tuple[Resource, ...]:
        with self._lock:
            self._calls[query.operation] += 1
            self._fault(query.operation, "before")
            self._settle()
            if query.operation == "DescribeInstanceStatus":
                return tuple(self._status(str(one)) for one in dict(query.arguments)["InstanceIds"])
            if query.operation == "DescribeVolumesModifications":
                asked = [self._records.get(f"{one}/modification") for one in query.filters[0][1]]
                return tuple(record.resource for record in asked if record is not None)
            if query.operation not in KINDS:
                return tuple(fact for fact in self._facts.values() if fact.fact_id.startswith(query.operation))
            return tuple(
                record.resource
                for record in self._records.values()
                if isinstance(record.resource, KINDS[query.operation])
                and record.visible <= self._time
                and all(self._matches(record.resource, name, values) for name, values in query.filters)
            )

    @staticmethod
    def _matches(resource: Any, name: str, values: tuple[str, ...]) -> bool:
        if name.startswith("tag:"):
            found = resource.tags.get(name[4:])
        elif name == "tag-key":
            return any(key in values for key in resource.tags)
        else:
            found = str(
                view(resource).get(
                    FIELDS.get(name, {"status": "state", "instance-state-name": "state"}.get(name, name)), ""
                )
            )
        return found is not None and matcher(values)(found)

    def _status(self, instance_id: str) -> Fact:
        record = self._records[instance_id]
        since = self.now() - (record.resource.launch_time or START)
        passed = record.resource.state == "running" and since.total_seconds() >= self.durations["status"]
        return Fact(f"{instance_id}/status", ("ok", "ok") if passed else ("initializing", "initializing"))

    # --- changing ---

    def _perform(self, changes: Sequence[Change], generation: int) -> dict[str, str]:
        first = changes[0]
        request = change_request(changes, generation)
        with self._lock:
            self._calls[first.action] += 1
            self.log.append((first.action, request))
            self._settle()
            end = self._fault(first.action, "before")
            made: dict[str, str] = getattr(self, f"_{first.action}")(changes, request) or {}
            if end is not None:
                for resource_id in made.values() or [f"{request['VolumeId']}/modification"]:
                    self._fail(resource_id, end)
            self._fault(first.action, "after")
            return made

    def _fault(self, action: str, when: str) -> Fault | None:
        for fault in self.faults:
            if fault.when == when and fault.hits(action):
                if fault.kind == "end":
                    return fault
                if fault.kind == "close":
                    raise CallError(action, "ConnectionLost", "Connection was closed", unclear=True, passing=True)
                throttled = fault.code == "RequestLimitExceeded"
                unclear = fault.status >= 500 and not throttled
                raise CallError(action, fault.code, fault.message, unclear=unclear, passing=unclear or throttled)
        return None

    def _fail(self, resource_id: str, fault: Fault) -> None:
        record = self._records[resource_id]
        when = record.ends[0][0] if record.ends else self._time
        if isinstance(record.resource, Fact):
            end = becomes(value={**record.resource.value, "state": "failed", "message": fault.message})
            self._records[resource_id.removesuffix("/modification")].ends.clear()
        elif isinstance(record.resource, Volume):
            end = becomes(state="error")
        else:
            state = "error" if isinstance(record.resource, Snapshot) else "failed"
            end = becomes(state=state, state_reason=fault.message)
        record.ends = [(when, end)]

    def _settle(self) -> None:
        """Carries out what has come due by now."""
        for resource_id, record in list(self._records.items()):
            while record.ends and record.ends[0][0] <= self._time:
                _when, end = record.ends.pop(0)
                record.resource = end(record.resource)
            if record.resource is None:
                del self._records[resource_id]

    def _new_id(self, prefix: str) -> str:
        self._number += 1
        return f"{prefix}-{self._number:017x}"

    def _add(self, resource: Any, *ends: tuple[float, End], delay: float | None = None) -> str:
        visible = self._time + (self.visibility_delay if delay is None else delay)
        record = Record(resource, visible, [(self._time + seconds, end) for seconds, end in ends])
        self._records[resource.resource_id] = record
        return str(resource.resource_id)

    def _found(self, resource_id: str, code: str) -> Record:
        record = self._records.get(resource_id)
        if record is None:
            raise CallError("", code, f"The id '{resource_id}' does not exist")
        return record

    @staticmethod
    def _tags(request: Mapping[str, Any], resource_type: str) -> dict[str, str]:
        return {
            tag["Key"]: tag["Value"]
            for part in request.get("TagSpecifications", ())
            if part["ResourceType"] == resource_type
            for tag in part["Tags"]
        }

    def _CreateTags(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        for resource_id in request["Resources"]:
            record = self._found(resource_id, "InvalidID")
            tags = {**record.resource.tags, **{tag["Key"]: tag["Value"] for tag in request["Tags"]}}
            record.resource = dataclasses.replace(record.resource, tags=tags)

    def _DeleteTags(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        gone = {tag["Key"] for tag in request["Tags"]}
        for resource_id in request["Resources"]:
            record = self._found(resource_id, "InvalidID")
            tags = {key: value for key, value in record.resource.tags.items() if key not in gone}
            record.resource = dataclasses.replace(record.resource, tags=tags)

    def _move(self, request: dict[str, Any], passing: str, duration: str, final: dict[str, Any]) -> None:
        for instance_id in request["InstanceIds"]:
            record = self._found(instance_id, "InvalidInstanceID.NotFound")
            if record.resource.state == final["state"]:
                continue
            record.resource = dataclasses.replace(record.resource, state=passing)
            record.ends = [(self._time + self.durations[duration], becomes(**final))]

    def _StopInstances(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        self._move(request, "stopping", "stop", {"state": "stopped"})

    def _StartInstances(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        self._move(request, "pending", "start", {"state": "running", "launch_time": self.now()})

    def _TerminateInstances(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        self._move(request, "shutting-down", "terminate", {"state": "terminated"})

    def _RunInstances(self, changes: Sequence[Change], request: dict[str, Any]) -> dict[str, str]:
        token = request.pop("ClientToken")
        used = self._tokens.get(token)
        if used is not None:
            if used[1] != repr(request):
                raise CallError(
                    "RunInstances",
                    "IdempotentParameterMismatch",
                    "Arguments on this idempotent request are inconsistent",
                )
            made = self._records[used[0]].resource
            if made.state == "terminated":
                raise CallError("RunInstances", "IdempotentInstanceTerminated", "The instance has been terminated")
            if not made.alive:
                raise CallError("RunInstances", TOKEN_SPENT, f"EC2 answered with {used[0]}, which is {made.state}")
            return {changes[0].resource: used[0]}
        instance = Instance(
            instance_id=self._new_id("i"),
            state="pending",
            image_id=request["ImageId"],
            instance_type=request.get("InstanceType", "t3.micro"),
            launch_time=self.now(),
            tags=self._tags(request, "instance"),
            facts={"ClientToken": token},
        )
        self._add(instance, (self.durations["start"], becomes(state="running")))
        self._tokens[token] = (instance.instance_id, repr(request))
        return {changes[0].resource: instance.instance_id}

    def _snapshot(self, volume_id: str, request: Mapping[str, Any]) -> str:
        self._found(volume_id, "InvalidVolume.NotFound")
        snapshot = Snapshot(
            snapshot_id=self._new_id("snap"),
            state="pending",
            volume_id=volume_id,
            start_time=self.now(),
            description=request.get("Description", ""),
            tags=self._tags(request, "snapshot"),
        )
        return self._add(snapshot, (self.durations["snapshot"], becomes(state="completed", progress="100%")))

    def _CreateSnapshot(self, changes: Sequence[Change], request: dict[str, Any]) -> dict[str, str]:
        return {changes[0].resource: self._snapshot(request["VolumeId"], request)}

    def _CreateSnapshots(self, changes: Sequence[Change], request: dict[str, Any]) -> dict[str, str]:
        instance = self._found(request["InstanceSpecification"]["InstanceId"], "InvalidInstanceID.NotFound").resource
        made = {device.volume_id: self._snapshot(device.volume_id, request) for device in instance.block_devices}
        return {change.resource: made[str((change.after or {})["volume_id"])] for change in changes}

    def _RegisterImage(self, changes: Sequence[Change], request: dict[str, Any]) -> dict[str, str]:
        holder = next(
            (
                record.resource
                for record in self._records.values()
                if getattr(record.resource, "name", None) == request["Name"]
            ),
            None,
        )
        if holder is not None:
            text = f"AMI name {request['Name']} is already in use by AMI {holder.image_id}"
            raise CallError("RegisterImage", "InvalidAMIName.Duplicate", text)
        image = Image(
            image_id=self._new_id("ami"),
            name=request["Name"],
            state="pending",
            architecture=request.get("Architecture", "i386"),
            block_devices=tuple(
                ImageDevice(device["DeviceName"], device["Ebs"]["SnapshotId"])
                for device in request["BlockDeviceMappings"]
            ),
            tags=self._tags(request, "image"),
        )
        return {changes[0].resource: self._add(image, (self.durations["image"], becomes(state="available")))}

    def _DeleteSnapshot(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        self._found(request["SnapshotId"], "InvalidSnapshot.NotFound")
        del self._records[request["SnapshotId"]]

    def _DeregisterImage(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        self._found(request["ImageId"], "InvalidAMIID.Unavailable")
        del self._records[request["ImageId"]]

    # --- volumes ---

    def _CreateVolume(self, changes: Sequence[Change], request: dict[str, Any]) -> dict[str, str]:
        token = request.pop("ClientToken")
        volume_id, parameters = self._tokens.get(token, ("", ""))
        if volume_id:
            trouble = "has been already deleted" if volume_id not in self._records else ""
            if parameters != repr(request):
                trouble = "was made with other parameters"
            if trouble or self._records[volume_id].resource.state == "deleting":
                raise CallError("CreateVolume", "IdempotentParameterMismatch", f"{volume_id} {trouble or 'is deleted'}")
            known = self._records[volume_id].resource
            answer = {"VolumeId": volume_id, "State": known.state, "Tags": boto3_tags(known.tags)}
            spent = token_spent(changes[0], answer)
            if spent:
                raise CallError("CreateVolume", TOKEN_SPENT, spent)
            return {changes[0].resource: volume_id}
        volume = Volume(
            self._new_id("vol"),
            state="creating",
            size=request["Size"],
            availability_zone=request["AvailabilityZone"],
            multi_attach_enabled=request.get("MultiAttachEnabled", False),
            create_time=self.now(),
            tags=self._tags(request, "volume"),
        )
        self._add(volume, (self.durations["create"], becomes(state="available")))
        self._tokens[token] = (volume.volume_id, repr(request))
        return {changes[0].resource: volume.volume_id}

    def _volume(self, request: Mapping[str, Any]) -> Record:
        return self._found(request["VolumeId"], "InvalidVolume.NotFound")

    def _later(self, record: Record, duration: str, end: End) -> None:
        record.ends.append((self._time + self.durations[duration], end))
        record.ends.sort(key=lambda one: one[0])

    @staticmethod
    def _linked(instance_id: str, link: VolumeAttachment | None) -> End:
        """The volume with this attachment in place of what it had to the instance; None for none."""

        def end(volume: Volume) -> Volume:
            others = [one for one in volume.attachments if one.instance_id != instance_id]
            links = (*others, *([link] if link else []))
            return dataclasses.replace(volume, attachments=links, state="in-use" if links else "available")

        return end

    def _AttachVolume(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        record = self._volume(request)
        volume, instance_id = record.resource, request["InstanceId"]
        self._found(instance_id, "InvalidInstanceID.NotFound")
        holders = [link.instance_id for link in volume.attachments]
        if holders and (not volume.multi_attach_enabled or instance_id in holders):
            raise CallError("AttachVolume", "VolumeInUse", f"{volume.volume_id} is already attached to an instance")
        if volume.state not in ("available", "in-use"):
            raise CallError("AttachVolume", "IncorrectState", f"{volume.volume_id} is not 'available'.")
        link = VolumeAttachment(instance_id, request["Device"], "attaching")
        record.resource = self._linked(instance_id, link)(volume)
        self._later(record, "attach", self._linked(instance_id, dataclasses.replace(link, state="attached")))

    def _DetachVolume(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        record = self._volume(request)
        held = [link for link in record.resource.attachments if link.state != "detaching"]
        mine = [link for link in held if link.instance_id == request["InstanceId"]]
        if not mine:
            code = "InvalidAttachment.NotFound" if held else "IncorrectState"
            raise CallError("DetachVolume", code, f"{request['VolumeId']} is not attached")
        going = dataclasses.replace(mine[0], state="detaching")
        record.resource = self._linked(going.instance_id, going)(record.resource)
        self._later(record, "detach", self._linked(going.instance_id, None))

    def _DeleteVolume(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        record = self._volume(request)
        if record.resource.attachments:
            raise CallError("DeleteVolume", "VolumeInUse", "It is currently attached")
        if record.resource.state not in ("creating", "available", "error"):
            raise CallError("DeleteVolume", "IncorrectState", f"The volume is '{record.resource.state}'")
        record.ends.clear()  # of its creation
        record.resource = dataclasses.replace(record.resource, state="deleting")
        self._later(record, "delete", lambda _volume: None)

    def _ModifyVolume(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        volume_id = request.pop("VolumeId")
        record = self._found(volume_id, "InvalidVolume.NotFound")
        latest = self._records.get(f"{volume_id}/modification")
        if latest is not None and latest.resource.value["state"] in ("modifying", "optimizing"):
            text = f"{volume_id} cannot be modified in modification state {latest.resource.value['state'].upper()}"
            raise CallError("ModifyVolume", "IncorrectModificationState", text)
        spent = [moment for moment in self._modified.get(volume_id, []) if self._time - moment < 86400]
        if len(spent) >= MODIFICATIONS_PER_DAY:
            until = START + timedelta(seconds=spent[0] + 86400)
            text = f"You've reached the maximum modification rate per volume limit. Wait until {until}"
            raise CallError("ModifyVolume", "VolumeModificationRateExceeded", text, not_before=until)
        self._modified[volume_id] = [*spent, self._time]
        target = {name: getattr(record.resource, name) for name in MODIFIED.values()}
        target.update((MODIFIED[name], value) for name, value in request.items())
        value = {"state": "modifying", "progress": 0, "start_time": None, "message": None, "target": target}
        done = self.durations["modify"]
        self._add(
            Fact(f"{volume_id}/modification", value),
            (done, becomes(value={**value, "state": "optimizing"})),
            (done + self.durations["optimize"], becomes(value={**value, "state": "completed", "progress": 100})),
        )
        self._later(record, "modify", becomes(**target))
        request["VolumeId"] = volume_id

    # --- what a test sets up and looks at ---

    def add_instance(self, volumes: int = 1, tags: Mapping[str, str] | None = None) -> Instance:
        """A running instance with that many volumes."""
        instance_id, zone = self._new_id("i"), f"{self._region}a"
        devices = []
        for number in range(volumes):
            link = VolumeAttachment(instance_id, f"/dev/sd{'afghijk'[number]}", delete_on_termination=True)
            volume = Volume(self._new_id("vol"), size=8, availability_zone=zone, attachments=(link,))
            self._add(volume, delay=0)
            devices.append(BlockDevice(link.device_name, volume.volume_id, True))
        instance = Instance(
            instance_id,
            image_id="ami-0000000000000beef",
            instance_type="t3.micro",
            launch_time=START - timedelta(days=1),
            availability_zone=zone,
            root_device_name="/dev/sda",
            block_devices=tuple(devices),
            tags=dict(tags or {}),
        )
        self._add(instance, delay=0)
        return instance

    def existing(self, kind: str) -> list[Any]:
        """All resources of one kind, also those that reads do not show yet."""
        with self._lock:
            self._settle()
            return [record.resource for record in self._records.values() if record.resource.kind == kind]
