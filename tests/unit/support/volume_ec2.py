# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An EC2 in memory that carries out the plans of `ebs_volume_spec`, as strict as EC2 is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._domain.device_names import device_letters
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.volume_types import performance_of
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import substitute
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Plan, Wait
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Fact,
    Instance,
    Resource,
    Snapshot,
    Volume,
    VolumeAttachment,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query

from in_process import OTHER_ZONE, ZONE
from proven import stopped_at
from sandbox.filters import matcher
from volume_world import NOW, ROOT_DEVICE, line, modification, root_of, tags_of, volume

KINDS: Mapping[str, type[Any]] = {
    "DescribeInstances": Instance,
    "DescribeSnapshots": Snapshot,
    "DescribeVolumes": Volume,
}
M5 = Fact(
    "m5.large/type",
    {
        "Hypervisor": "nitro",
        "InstanceStorageSupported": False,
        "EbsInfo": {"MaximumEbsAttachments": 28, "AttachmentLimitType": "shared"},
    },
)


class Refused(AssertionError):
    """EC2 does not do it."""

    def __init__(self, text: str, code: str) -> None:
        super().__init__(text)
        self.code = code


class Ec2:
    """EC2 in one region: answers what is asked, and carries out a plan, one call after the other.

    What EC2 would refuse is a failed test, and so is a wait that would not end. What is under way ends when it is
    waited for, or with `settle`. ``written``: the writes that each volume and snapshot holds; a volume gets one before
    every call while it is attached to an instance that runs.
    """

    def __init__(self, *there: Resource) -> None:
        self.resources: dict[str, Any] = {}
        self.written: dict[str, tuple[int, ...]] = {}
        self.bindings: dict[str, str] = {}
        self.going: set[str] = set()
        self.calls = 0
        for resource in (M5, Fact(f"{ZONE}/zone", True), Fact(f"{OTHER_ZONE}/zone", True), *there):
            self.put(resource)
            if isinstance(resource, Instance) and resource.alive:
                link = VolumeAttachment(resource.instance_id, ROOT_DEVICE, delete_on_termination=True)
                zone = resource.availability_zone
                self.put(volume(root_of(resource.instance_id), zone=zone, attachments=(link,)))

    def __repr__(self) -> str:
        return "\n".join(str(item) for item in self.resources.values())

    def put(self, resource: Resource) -> None:
        self.resources[resource.resource_id] = resource

    def refuse(self, change: Change, why: str, code: str = "InvalidParameterValue") -> None:
        raise Refused(f"EC2 refuses {line(change)}: {why}", code)

    # --- answers ---

    def ask(self, query: Query) -> tuple[Resource, ...]:
        kind = KINDS.get(query.operation)
        if kind is None:
            wanted = set(_fact_ids(query))
            return tuple(item for item in self.resources.values() if isinstance(item, Fact) and item.fact_id in wanted)
        return tuple(
            self.seen(item)
            for item in self.resources.values()
            if isinstance(item, kind) and all(_matches(item, name, values) for name, values in query.filters)
        )

    def seen(self, resource: Any) -> Any:
        """An instance names its volumes, once it is no longer pending; their attachments say the rest."""
        if not isinstance(resource, Instance) or resource.state == "pending":
            return resource
        devices = tuple(
            BlockDevice(link.device_name, item.volume_id, link.delete_on_termination, link.state)
            for item in self.volumes()
            for link in item.attachments
            if link.instance_id == resource.instance_id
        )
        return dataclasses.replace(resource, block_devices=devices)

    def volumes(self) -> list[Volume]:
        return [item for item in self.resources.values() if isinstance(item, Volume)]

    def snapshots(self) -> list[Snapshot]:
        return [item for item in self.resources.values() if isinstance(item, Snapshot)]

    # --- calls ---

    def carry_out(self, plan: Plan, calls: int = 10**6) -> None:
        """The first so many changes of the plan, each with the waits before it."""
        for stage in plan.stages:
            for change in stage.changes:
                if not calls:
                    return
                calls -= 1
                resource = change.resource if change.creates else substitute(change.resource, self.bindings)
                if change.action == "StartInstances" and "IncorrectInstanceState" in stage.patience:
                    self._finish(resource)
                parameters = substitute(change.parameters, self.bindings)
                self.perform(dataclasses.replace(change, resource=resource, parameters=parameters))
            if calls:
                for wait in stage.waits:
                    self.wait(wait)

    def perform(self, change: Change) -> None:
        self.write()
        getattr(self, change.action)(change)

    def write(self) -> None:
        self.calls += 1
        for item in self.volumes():
            holders = [self.resources.get(link.instance_id) for link in item.attachments if link.state == "attached"]
            if any(holder is not None and holder.state in ("running", "stopping") for holder in holders):
                self.written[item.volume_id] = (*self.written.get(item.volume_id, ()), self.calls)

    def _change(self, resource_id: str, **fields: Any) -> None:
        self.put(dataclasses.replace(self.resources[resource_id], **fields))

    def _link(self, found: Volume, links: Iterable[VolumeAttachment]) -> None:
        links = tuple(links)
        self._change(found.volume_id, attachments=links, state="in-use" if links else "available")

    def _new(self, change: Change, prefix: str, resource: Callable[[str], Resource], content: tuple[int, ...]) -> None:
        new = f"{prefix}-{0xA000 + self.calls:017x}"
        self.put(resource(new))
        self.written[new] = content
        self.bindings[change.resource] = new

    def CreateVolume(self, change: Change) -> None:
        asked = change.parameters
        source = self.resources.get(asked.get("SnapshotId", ""))
        if "SnapshotId" in asked and (source is None or source.state != "completed"):
            self.refuse(change, "IncorrectState: the snapshot is not completed")
        if source is not None and asked["Size"] < source.volume_size:
            self.refuse(change, "the snapshot is larger")
        encrypted = bool(asked.get("Encrypted") or (source and source.encrypted) or self.fact("ebsEncryptionByDefault"))
        key = asked.get("KmsKeyId") or (source.kms_key_id if source else None) or "arn:aws:kms:key/default"
        made = Volume(
            change.resource,
            "creating",
            asked["Size"],
            asked["VolumeType"],
            **performance_of(asked["VolumeType"], asked["Size"], asked.get("Iops"), asked.get("Throughput")),
            encrypted=encrypted,
            kms_key_id=(self.fact(f"{key}/key") or key) if encrypted else None,
            availability_zone=asked["AvailabilityZone"],
            snapshot_id=asked.get("SnapshotId"),
            multi_attach_enabled=asked.get("MultiAttachEnabled", False),
            create_time=NOW + timedelta(seconds=self.calls),
            tags=tags_of(asked),
        )
        content = self.written.get(source.snapshot_id, ()) if source is not None else ()
        self._new(change, "vol", lambda new: dataclasses.replace(made, volume_id=new), content)

    def AttachVolume(self, change: Change) -> None:
        found, asked = self.resources[change.resource], change.parameters
        holder, device = self.resources[asked["InstanceId"]], asked["Device"]
        taken = [
            link.device_name
            for one in self.volumes()
            for link in one.attachments
            if link.instance_id == holder.instance_id
        ]
        if found.state not in ("available", "in-use") or (found.attachments and not found.multi_attach_enabled):
            self.refuse(change, f"the volume is {found.state}, at {found.attachments}", "VolumeInUse")
        if any(link.instance_id == holder.instance_id for link in found.attachments):
            self.refuse(change, "it is attached there", "VolumeInUse")
        if found.availability_zone != holder.availability_zone:
            self.refuse(change, f"InvalidVolume.ZoneMismatch: {found.availability_zone}")
        if holder.state not in ("running", "stopped"):
            self.refuse(change, f"the instance is {holder.state}")
        if device_letters(device) in map(device_letters, taken):
            self.refuse(change, f"the device is in use, as all of {taken}")
        if (self.fact(f"{change.resource}/modification") or {}).get("state") == "modifying":
            self.refuse(change, "it is modified")
        self._link(found, (*found.attachments, VolumeAttachment(holder.instance_id, device, "attaching")))

    def DetachVolume(self, change: Change) -> None:
        found, holder = self.resources[change.resource], change.parameters["InstanceId"]
        links = [link for link in found.attachments if link.instance_id == holder]
        if not links or links[0].state == "detaching":
            self.refuse(change, f"it is not attached there: {found.attachments}", "IncorrectState")
        if links[0].device_name == ROOT_DEVICE:
            self.refuse(change, "it is a root volume")
        if getattr(self.resources.get(holder), "state", None) == "stopping":
            self.refuse(change, "what still writes would lose it: not EC2's rule, but ours")
        leaving = dataclasses.replace(links[0], state="detaching")
        self._link(found, (leaving if link == links[0] else link for link in found.attachments))

    def DeleteVolume(self, change: Change) -> None:
        if change.resource not in self.resources:
            self.refuse(change, "it does not exist", "InvalidVolume.NotFound")
        if self.resources[change.resource].attachments:
            self.refuse(change, "it is attached")
        del self.resources[change.resource]

    def ModifyVolume(self, change: Change) -> None:
        found, asked = self.resources[change.resource], dict(change.parameters)
        if (self.fact(f"{change.resource}/modification") or {}).get("state") in ("modifying", "optimizing"):
            self.refuse(change, "IncorrectModificationState")
        if found.state not in ("available", "in-use"):
            self.refuse(change, f"the volume is {found.state}")
        if found.volume_type == "io1" and found.multi_attach_enabled:
            self.refuse(change, "Multi-attach enabled io1 volumes cannot be modified")
        new_type, size = asked.pop("VolumeType", found.volume_type), asked.pop("Size", found.size)
        multi_attach = asked.pop("MultiAttachEnabled", found.multi_attach_enabled)
        if size < found.size:
            self.refuse(change, "New size cannot be smaller than existing size")
        if multi_attach and new_type != "io2":
            self.refuse(change, f"MultiAttachEnabled is not supported for {new_type} volumes")
        if multi_attach and not found.multi_attach_enabled and found.attachments:
            self.refuse(change, "multi-attach is enabled only while the volume is not attached")
        if found.multi_attach_enabled and new_type != found.volume_type:
            self.refuse(change, "the type of a volume with multi-attach stays")
        if not multi_attach and len(found.attachments) > 1:
            self.refuse(change, "it is attached to more than one instance")
        same = new_type == found.volume_type
        iops, throughput = asked.pop("Iops", None), asked.pop("Throughput", None)
        if (found.volume_type, new_type, iops, throughput) == ("gp2", "gp3", None, None):
            iops, throughput = max(found.iops or 0, 3000), 250 if found.size > 170 else 125
        if new_type in ("gp3", "io1", "io2") and iops is None:
            iops = found.iops if same else 3000
        if new_type == "gp3" and throughput is None and same:
            throughput = found.throughput
        target = {"size": size, "volume_type": new_type, **performance_of(new_type, size, iops, throughput)}
        self.put(modification(found, "modifying", **target, multi_attach_enabled=multi_attach))

    def CreateSnapshot(self, change: Change) -> None:
        source, tags = self.resources[change.parameters["VolumeId"]], tags_of(change.parameters)
        if source.state not in ("available", "in-use"):
            self.refuse(change, f"the volume is {source.state}")
        fields = {"encrypted": source.encrypted, "kms_key_id": source.kms_key_id, "tags": tags}
        fields["description"] = change.parameters["Description"]
        start = NOW + timedelta(seconds=self.calls)
        content = self.written.get(source.volume_id, ())
        self._new(
            change,
            "snap",
            lambda new: Snapshot(new, "pending", source.volume_id, source.size, start, **fields),
            content,
        )

    def DeleteSnapshot(self, change: Change) -> None:
        if change.resource not in self.resources:
            self.refuse(change, "it does not exist", "InvalidSnapshot.NotFound")
        if self.resources[change.resource].state == "pending":
            self.going.add(change.resource)
        else:
            del self.resources[change.resource]

    def CreateTags(self, change: Change) -> None:
        added = {tag["Key"]: tag["Value"] for tag in change.parameters["Tags"]}
        tags = {**self.resources[change.resource].tags, **added}
        if sum(not key.startswith("aws:") for key in tags) > 50:
            self.refuse(change, f"{len(tags)} tags", "TagLimitExceeded")
        if any(len(value) > 256 for value in tags.values()):
            self.refuse(change, "a value of more than 256 characters")
        self._change(change.resource, tags=tags)

    def DeleteTags(self, change: Change) -> None:
        gone = {tag["Key"] for tag in change.parameters["Tags"]}
        kept = {key: value for key, value in self.resources[change.resource].tags.items() if key not in gone}
        self._change(change.resource, tags=kept)

    def StopInstances(self, change: Change) -> None:
        if self.resources[change.resource].state not in ("running", "stopping", "stopped"):
            self.refuse(change, self.resources[change.resource].state)
        facts = {**self.resources[change.resource].facts, **stopped_at(NOW + timedelta(seconds=self.calls))}
        self._change(change.resource, state="stopping", facts=facts)

    def StartInstances(self, change: Change) -> None:
        if self.resources[change.resource].state not in ("stopped", "pending", "running"):
            self.refuse(change, self.resources[change.resource].state, "IncorrectInstanceState")
        self._change(change.resource, state="pending", launch_time=NOW + timedelta(minutes=self.calls))

    def ModifyInstanceAttribute(self, change: Change) -> None:
        for mapping in change.parameters["BlockDeviceMappings"]:
            device, flag = mapping["DeviceName"], mapping["Ebs"]["DeleteOnTermination"]
            place = (change.resource, device)
            found = [
                one
                for one in self.volumes()
                for link in one.attachments
                if (link.instance_id, link.device_name) == place
            ]
            if not found:
                self.refuse(change, f"No device is currently mapped at {device}")
            self._link(
                found[0],
                (
                    dataclasses.replace(link, delete_on_termination=flag)
                    if link.instance_id == change.resource
                    else link
                    for link in found[0].attachments
                ),
            )

    def fact(self, fact_id: str) -> Any:
        found = self.resources.get(fact_id)
        return None if found is None else found.value

    # --- time ---

    def wait(self, wait: Wait) -> None:
        for name in wait.resources:
            resource_id = substitute(name, self.bindings)
            self._finish(resource_id)
            found = self.resources.get(resource_id)
            reached = found is None if wait.goal == "deleted" else found is not None and self._reached(found, wait)
            if not reached:
                raise AssertionError(f"would wait for ever: {wait}, {found}")
            if wait.goal == "modifiable":
                self._end_modification(found)

    def _reached(self, found: Any, wait: Wait) -> bool:
        links = found.attachments if isinstance(found, Volume) else ()
        if wait.goal in ("attached", "detached"):
            there = any(link.instance_id == wait.about or not wait.about for link in links)
            return there is (wait.goal == "attached")
        goals = {"volume_available": "available", "stopped": "stopped", "running": "running", "completed": "completed"}
        return wait.goal not in goals or found.state == goals[wait.goal]

    def _finish(self, resource_id: str) -> None:
        """What is under way with it has come to its end; a modification is still optimizing."""
        found = self.resources.get(resource_id)
        ends = {"stopping": "stopped", "pending": "completed" if isinstance(found, Snapshot) else "running"}
        if isinstance(found, Volume) and found.alive:
            # EC2 ends the attachments of instances that are gone.
            gone = [
                link
                for link in found.attachments
                if link.state == "detaching" or not getattr(self.resources.get(link.instance_id), "alive", True)
            ]
            links = [dataclasses.replace(link, state="attached") for link in found.attachments if link not in gone]
            self._link(found, links)
            latest = self.fact(f"{resource_id}/modification") or {}
            if latest.get("state") == "modifying":
                self._change(resource_id, **latest["target"])
                self.put(Fact(f"{resource_id}/modification", {**latest, "state": "optimizing"}))
        elif resource_id in self.going:
            # Deleted while it was pending: EC2 has shown it until now.
            self.resources.pop(resource_id, None)
        elif isinstance(found, (Snapshot, Instance)):
            self._change(resource_id, state=ends.get(found.state, found.state))

    def _end_modification(self, found: Volume) -> None:
        latest = self.fact(f"{found.volume_id}/modification")
        if latest is not None:
            self.put(Fact(f"{found.volume_id}/modification", {**latest, "state": "completed"}))

    def settle(self) -> None:
        """Time passes: all that is under way has ended."""
        for resource_id, resource in list(self.resources.items()):
            self._finish(resource_id)
            if isinstance(resource, Volume):
                self._end_modification(resource)


def _fact_ids(query: Query) -> list[str]:
    asked = dict(query.arguments)
    named = [value for _name, values in query.filters for value in values]
    known: Mapping[str, Callable[[], list[str]]] = {
        "DescribeVolumesModifications": lambda: [f"{item}/modification" for item in named],
        "DescribeInstanceTypes": lambda: [f"{item}/type" for item in named],
        "DescribeSpotInstanceRequests": lambda: [f"{item}/spotType" for item in named],
        "DescribeAutoScalingInstances": lambda: [f"{item}/autoscaling" for item in asked["InstanceIds"]],
        "DescribeInstanceAttribute": lambda: [f"{asked['InstanceId']}/{asked['Attribute']}"],
        "DescribeAvailabilityZones": lambda: [f"{item}/zone" for item in named],
        "DescribeKey": lambda: [f"{asked['KeyId']}/key"],
        "GetEbsEncryptionByDefault": lambda: ["ebsEncryptionByDefault"],
    }
    return known[query.operation]()


def _matches(resource: Any, name: str, values: Sequence[str]) -> bool:
    if name == "attachment.instance-id":
        found = [link.instance_id for link in resource.attachments]
    elif name.startswith("tag:"):
        found = [value for key, value in resource.tags.items() if key == name[4:]]
    elif name == "attachment.status":
        found = [link.state for link in resource.attachments]
    elif name == "tag-key":
        found = list(resource.tags)
    elif name in ("instance-state-name", "status"):
        found = [resource.state]
    elif name in ("instance-id", "volume-id", "snapshot-id"):
        found = [resource.resource_id]
    else:
        raise AssertionError(f"a filter that Ec2 does not know: {name}")
    return any(map(matcher(values), found))
