# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EC2's changing calls, on the resources that `fake_records` holds. `fake_ec2` puts the gateway's port before them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._aws.codec import token_spent
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.device_names import device_letters
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.volume_types import performance_of
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import ENCRYPTION_BY_DEFAULT, key_of
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import TOKEN_SPENT, CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import COPIED_VOLUME
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.places import Place
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    Image,
    ImageDevice,
    Instance,
    Resource,
    Snapshot,
    Volume,
    VolumeAttachment,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import (
    LOCK,
    MODIFICATION,
    Modification,
    Performance,
    SnapshotLock,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import boto3_tags

from fake_records import START, End, Record, Records, becomes, modified
from proven import stopped_at

MODIFIED = {
    "Size": "size",
    "VolumeType": "volume_type",
    "Iops": "iops",
    "Throughput": "throughput",
    "MultiAttachEnabled": "multi_attach_enabled",
}
MODIFICATIONS_PER_DAY = 4
FIRST_ID = 0xA000
"""New ids are above those that tests write down."""


class Calls(Records):
    """One method for each operation: the effect, or EC2's refusal.

    *pace*: the seconds that each call takes. ``written``: the writes that each volume and snapshot holds; a volume gets
    one before every call while it is attached to an instance that runs.
    """

    def __init__(
        self,
        *there: Resource,
        region: str = "us-east-1",
        durations: Mapping[str, float] | None = None,
        pace: float = 0.0,
    ) -> None:
        super().__init__(*there, durations=durations)
        self._region = region
        self._pace = pace
        self._tokens: dict[str, tuple[str, str]] = {}
        self._modified: dict[str, list[float]] = {}
        self._made: set[str] = set()
        self._writes = 0
        self.written: dict[str, tuple[int, ...]] = {}
        self.visibility_delay = 0.0

    def write(self) -> None:
        """Let each volume of a running instance get a write, for which time passes as for a call."""
        self._time += self._pace
        self._writes += 1
        for item in self.volumes():
            holders = [self._records.get(link.instance_id) for link in item.attachments if link.state == "attached"]
            if any(holder is not None and holder.resource.state in ("running", "stopping") for holder in holders):
                self.written[item.volume_id] = (*self.written.get(item.volume_id, ()), self._writes)

    def _new_id(self, prefix: str) -> str:
        number = FIRST_ID + self._writes
        while (found := f"{prefix}-{number:017x}") in self._made:
            number += 1
        self._made.add(found)
        return found

    def _add(self, resource: Any, *ends: tuple[float, End], delay: float | None = None) -> str:
        visible = self._time + (self.visibility_delay if delay is None else delay)
        record = Record(resource, visible, ends=[(self._time + seconds, end) for seconds, end in ends])
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
            if sum(not key.startswith("aws:") for key in tags) > 50:
                raise CallError("CreateTags", "TagLimitExceeded", f"{resource_id} would have {len(tags)} tags")
            if any(len(value) > 256 for value in tags.values()):
                raise CallError("CreateTags", "InvalidParameterValue", "Tag value exceeds 256 characters")
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

    def _powered(self, action: str, request: dict[str, Any], states: tuple[str, ...]) -> None:
        for instance_id in request["InstanceIds"]:
            state = self._found(instance_id, "InvalidInstanceID.NotFound").resource.state
            if state not in states:
                text = f"The instance '{instance_id}' is not in a state from which it can be used: {state}"
                raise CallError(action, "IncorrectInstanceState", text)

    def _StopInstances(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        self._powered("StopInstances", request, ("running", "stopping", "stopped"))
        for instance_id in request["InstanceIds"]:
            record = self._records[instance_id]
            if record.resource.state == "stopped":
                continue
            record.resource = becomes(facts={**record.resource.facts, **stopped_at(self.now())})(record.resource)
        self._move(request, "stopping", "stop", {"state": "stopped"})

    def _StartInstances(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        self._powered("StartInstances", request, ("stopped", "pending", "running"))
        for instance_id in request["InstanceIds"]:
            record = self._records[instance_id]
            if record.resource.state != "running":
                record.resource = becomes(launch_time=self.now())(record.resource)
        self._move(request, "pending", "start", {"state": "running"})

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
        born = {"Ebs": {"AttachTime": self.now()}}
        facts = {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", **born}]}
        instance = Instance(
            instance_id=self._new_id("i"),
            state="pending",
            image_id=request["ImageId"],
            instance_type=request.get("InstanceType", "t3.micro"),
            launch_time=self.now(),
            availability_zone=f"{self._region}a",
            tags=self._tags(request, "instance"),
            facts={"ClientToken": token, **facts},
        )
        self._add(instance, (self.durations["start"], becomes(state="running")))
        self._tokens[token] = (instance.instance_id, repr(request))
        return {changes[0].resource: instance.instance_id}

    def _ModifyInstanceAttribute(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        for mapping in request.get("BlockDeviceMappings", ()):
            place = (request["InstanceId"], mapping["DeviceName"])
            found = [
                self._records[item.volume_id]
                for item in self.volumes()
                for link in item.attachments
                if (link.instance_id, link.device_name) == place
            ]
            if not found:
                text = f"No device is currently mapped at {mapping['DeviceName']}"
                raise CallError("ModifyInstanceAttribute", "InvalidInstanceAttributeValue", text)
            flag = mapping["Ebs"]["DeleteOnTermination"]
            links = (
                dataclasses.replace(link, delete_on_termination=flag) if link.instance_id == place[0] else link
                for link in found[0].resource.attachments
            )
            found[0].resource = becomes(attachments=tuple(links))(found[0].resource)

    def _snapshot(self, volume_id: str, request: Mapping[str, Any]) -> str:
        source = self._found(volume_id, "InvalidVolume.NotFound").resource
        if source.state not in ("available", "in-use"):
            raise CallError("CreateSnapshot", "IncorrectState", f"{volume_id} is '{source.state}'")
        snapshot = Snapshot(
            snapshot_id=self._new_id("snap"),
            state="pending",
            volume_id=volume_id,
            volume_size=source.size,
            start_time=self.now(),
            description=request.get("Description", ""),
            encrypted=source.encrypted,
            kms_key_id=source.kms_key_id,
            tags=self._tags(request, "snapshot"),
        )
        self.written[snapshot.snapshot_id] = self.written.get(volume_id, ())
        return self._add(snapshot, (self.durations["snapshot"], becomes(state="completed", progress="100%")))

    def _CreateSnapshot(self, changes: Sequence[Change], request: dict[str, Any]) -> dict[str, str]:
        return {changes[0].resource: self._snapshot(request["VolumeId"], request)}

    def _CopySnapshot(self, changes: Sequence[Change], request: dict[str, Any]) -> dict[str, str]:
        source = self._found(request["SourceSnapshotId"], "InvalidSnapshot.NotFound").resource
        if source.state != "completed":
            raise CallError("CopySnapshot", "IncorrectState", f"{source.snapshot_id} is '{source.state}'")
        copy = dataclasses.replace(
            source,
            snapshot_id=self._new_id("snap"),
            state="pending",
            volume_id=COPIED_VOLUME,
            start_time=self.now(),
            description=request["Description"],
            place=Place.parse(changes[0].region),
            tags=self._tags(request, "snapshot"),
        )
        return {changes[0].resource: self._add(copy, (self.durations["snapshot"], becomes(state="completed")))}

    def _CreateSnapshots(self, changes: Sequence[Change], request: dict[str, Any]) -> dict[str, str]:
        found = self._found(request["InstanceSpecification"]["InstanceId"], "InvalidInstanceID.NotFound")
        instance = self._seen(found.resource)
        made = {device.volume_id: self._snapshot(device.volume_id, request) for device in instance.block_devices}
        return {change.resource: made[change.source] for change in changes}

    def _LockSnapshot(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        self._found(request["SnapshotId"], "InvalidSnapshot.NotFound")
        ends = self.now() + timedelta(days=request["LockDuration"])
        self._add(LOCK.fact(request["SnapshotId"], SnapshotLock(request["LockMode"], ends)), delay=0)

    def _require_free_name(self, action: str, name: str) -> None:
        for record in self._records.values():
            if isinstance(record.resource, Image) and record.resource.name == name:
                text = f"AMI name {name} is already in use by AMI {record.resource.image_id}"
                raise CallError(action, "InvalidAMIName.Duplicate", text)

    def _RegisterImage(self, changes: Sequence[Change], request: dict[str, Any]) -> dict[str, str]:
        self._require_free_name("RegisterImage", request["Name"])
        for device in request["BlockDeviceMappings"]:
            if self._found(device["Ebs"]["SnapshotId"], "InvalidSnapshot.NotFound").resource.state != "completed":
                raise CallError("RegisterImage", "InvalidSnapshot.NotCompleted", "A snapshot is pending")
        devices = [(device["DeviceName"], device["Ebs"]["SnapshotId"]) for device in request["BlockDeviceMappings"]]
        facts = {"Architecture": request.get("Architecture", "i386")}
        return {changes[0].resource: self._image(self._new_id("ami"), request, devices, facts)}

    def _image(
        self, image_id: str, request: dict[str, Any], devices: Sequence[tuple[str, str]], facts: Mapping[str, Any]
    ) -> str:
        image = Image(
            image_id=image_id,
            name=request["Name"],
            state="pending",
            architecture=facts.get("Architecture"),
            platform_details="Linux/UNIX",
            usage_operation="RunInstances",
            block_devices=tuple(ImageDevice(name, snapshot_id) for name, snapshot_id in devices),
            creation_date=f"{self.now():%Y-%m-%dT%H:%M:%S.000Z}",
            tags=self._tags(request, "image"),
            facts={"Description": request.get("Description", ""), **facts},
        )
        return self._add(image, (self.durations["image"], becomes(state="available")))

    def _CreateImage(self, changes: Sequence[Change], request: dict[str, Any]) -> dict[str, str]:
        self._require_free_name("CreateImage", request["Name"])
        instance = self._seen(self._found(request["InstanceId"], "InvalidInstanceID.NotFound").resource)
        left = {one["DeviceName"] for one in request.get("BlockDeviceMappings", ()) if "NoDevice" in one}
        image_id = self._new_id("ami")
        part = {**request, "Description": f"Created by CreateImage({request['InstanceId']}) for {image_id}"}
        devices = [
            (device.device_name, self._snapshot(device.volume_id, part))
            for device in instance.block_devices
            if device.device_name not in left
        ]
        facts = {"SourceInstanceId": request["InstanceId"]}
        return {changes[0].resource: self._image(image_id, request, devices, facts)}

    def _DeleteSnapshot(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        record = self._found(request["SnapshotId"], "InvalidSnapshot.NotFound")
        for user in self._records.values():
            if isinstance(user.resource, Image) and request["SnapshotId"] in user.resource.snapshot_ids:
                text = f"The snapshot {request['SnapshotId']} is currently in use by {user.resource.image_id}"
                raise CallError("DeleteSnapshot", "InvalidSnapshot.InUse", text)
        if record.resource.state == "pending" and record.ends:
            # EC2 shows it until it is complete.
            record.deleted = True
            record.ends = [(record.ends[-1][0], lambda _snapshot: None)]
        else:
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
        source = None
        if "SnapshotId" in request:
            source = self._found(request["SnapshotId"], "InvalidSnapshot.NotFound").resource
        if source is not None and source.state != "completed":
            raise CallError("CreateVolume", "IncorrectState", f"Snapshot is in invalid state - {source.state}")
        size = request.get("Size", source.volume_size if source else 0)
        if source is not None and size < source.volume_size:
            raise CallError("CreateVolume", "InvalidParameterValue", "The snapshot is larger than the volume")
        kind = request.get("VolumeType", "gp2")
        encrypted = request.get("Encrypted") or (source and source.encrypted) or ENCRYPTION_BY_DEFAULT.of(self.state())
        key = request.get("KmsKeyId") or (source.kms_key_id if source else None) or "arn:aws:kms:key/default"
        volume = Volume(
            self._new_id("vol"),
            state="creating",
            size=size,
            volume_type=kind,
            **performance_of(kind, size, request.get("Iops"), request.get("Throughput")),
            encrypted=bool(encrypted),
            kms_key_id=(key_of(self.state(), key).arn or key) if encrypted else None,
            availability_zone=request["AvailabilityZone"],
            snapshot_id=request.get("SnapshotId"),
            multi_attach_enabled=request.get("MultiAttachEnabled", False),
            create_time=self.now(),
            tags=self._tags(request, "volume"),
        )
        self.written[volume.volume_id] = self.written.get(source.snapshot_id, ()) if source is not None else ()
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
        """The volume with this attachment to the instance in place of an earlier one; None for no attachment."""

        def end(volume: Volume) -> Volume:
            places = {one.instance_id: one for one in volume.attachments} | {instance_id: link}
            links = tuple(one for one in places.values() if one is not None)
            return dataclasses.replace(volume, attachments=links, state="in-use" if links else "available")

        return end

    def _AttachVolume(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        record = self._volume(request)
        volume, instance_id = record.resource, request["InstanceId"]
        holder = self._found(instance_id, "InvalidInstanceID.NotFound").resource
        holders = [link.instance_id for link in volume.attachments]
        if holders and (not volume.multi_attach_enabled or instance_id in holders):
            raise CallError("AttachVolume", "VolumeInUse", f"{volume.volume_id} is already attached to an instance")
        if volume.state not in ("available", "in-use"):
            raise CallError("AttachVolume", "IncorrectState", f"{volume.volume_id} is not 'available'.")
        if volume.availability_zone != holder.availability_zone:
            zones = f"{volume.availability_zone}, {holder.availability_zone}"
            raise CallError("AttachVolume", "InvalidVolume.ZoneMismatch", f"The zones are not the same: {zones}")
        if holder.state not in ("running", "stopped"):
            raise CallError("AttachVolume", "IncorrectState", f"Instance '{instance_id}' is not 'running'.")
        taken = [
            link.device_name for one in self.volumes() for link in one.attachments if link.instance_id == instance_id
        ]
        if device_letters(request["Device"]) in map(device_letters, taken):
            text = f"{request['Device']} is already in use, as all of {taken}"
            raise CallError("AttachVolume", "InvalidParameterValue", text)
        latest = MODIFICATION.of(self.state(), volume.volume_id)
        if latest is not None and latest.is_to_take_effect:
            raise CallError("AttachVolume", "IncorrectState", f"{volume.volume_id} is being modified")
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
        holder = self._records.get(mine[0].instance_id)
        if holder is not None and mine[0].device_name == holder.resource.root_device_name:
            raise CallError("DetachVolume", "OperationNotPermitted", f"{request['VolumeId']} is a root volume")
        if holder is not None and holder.resource.state == "stopping":
            # EC2 would detach it. An instance that still writes would lose it.
            raise CallError("DetachVolume", "OperationNotPermitted", f"{mine[0].instance_id} still writes")
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
        latest = MODIFICATION.of(self.state(), volume_id)
        if latest is not None and latest.is_under_way:
            text = f"{volume_id} cannot be modified in modification state {latest.state.upper()}"
            raise CallError("ModifyVolume", "IncorrectModificationState", text)
        spent = [moment for moment in self._modified.get(volume_id, []) if self._time - moment < 86400]
        if len(spent) >= MODIFICATIONS_PER_DAY:
            until = START + timedelta(seconds=spent[0] + 86400)
            text = f"You've reached the maximum modification rate per volume limit. Wait until {until}"
            raise CallError("ModifyVolume", "VolumeModificationRateExceeded", text, not_before=until)
        original = Performance(**{name: getattr(record.resource, name) for name in MODIFIED.values()})
        target = self._modified_values(record.resource, request)
        value = Modification("modifying", original, Performance(**target), progress=0)
        self._modified[volume_id] = [*spent, self._time]
        done = self.durations["modify"]
        self._add(
            MODIFICATION.fact(volume_id, value),
            (done, modified(state="optimizing")),
            (done + self.durations["optimize"], modified(state="completed", progress=100)),
        )
        self._later(record, "modify", becomes(**target))
        request["VolumeId"] = volume_id

    @staticmethod
    def _modified_values(volume: Volume, request: Mapping[str, Any]) -> dict[str, Any]:
        """The values after the modification. Values that EBS cannot change are refused."""

        def refuse(text: str, code: str = "InvalidParameterValue") -> None:
            raise CallError("ModifyVolume", code, f"{volume.volume_id}: {text}")

        if volume.state not in ("available", "in-use"):
            refuse(f"the volume is '{volume.state}'", "IncorrectState")
        if volume.volume_type == "io1" and volume.multi_attach_enabled:
            refuse("Multi-attach enabled io1 volumes cannot be modified")
        new_type, size = request.get("VolumeType", volume.volume_type), request.get("Size", volume.size)
        multi_attach = request.get("MultiAttachEnabled", volume.multi_attach_enabled)
        if size < volume.size:
            refuse("New size cannot be smaller than existing size")
        if multi_attach and new_type != "io2":
            refuse(f"MultiAttachEnabled is not supported for {new_type} volumes")
        if multi_attach and not volume.multi_attach_enabled and volume.attachments:
            refuse("multi-attach is enabled only while the volume is not attached")
        if volume.multi_attach_enabled and new_type != volume.volume_type:
            refuse("the type of a volume with multi-attach stays")
        if not multi_attach and len(volume.attachments) > 1:
            refuse("it is attached to more than one instance")
        same, iops, throughput = new_type == volume.volume_type, request.get("Iops"), request.get("Throughput")
        if (volume.volume_type, new_type, iops, throughput) == ("gp2", "gp3", None, None):
            iops, throughput = max(volume.iops or 0, 3000), 250 if volume.size > 170 else 125
        if new_type in ("gp3", "io1", "io2") and iops is None:
            iops = volume.iops if same else 3000
        if new_type == "gp3" and throughput is None and same:
            throughput = volume.throughput
        performance = performance_of(new_type, size, iops, throughput)
        return {"size": size, "volume_type": new_type, **performance, "multi_attach_enabled": multi_attach}
