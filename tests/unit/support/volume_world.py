# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declarations, instances and volumes for `ebs_volume_spec`, and an EC2 in memory that carries out the plans."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.device_names import device_letters
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.volume_types import performance_of
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes.spec import VolumesSpec
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import substitute
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Plan, Stage, Wait, guard
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prediction import overlay
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Fact,
    Instance,
    Resource,
    Snapshot,
    Volume,
    VolumeAttachment,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query, State

from asking import answered
from in_process import OTHER_ZONE, REGION, ZONE, options
from proven import stopped_at
from sandbox.filters import matcher

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
WEB, DB, FAR = (f"i-{number:017x}" for number in (1, 2, 3))
KEY, OTHER_KEY = (f"arn:aws:kms:{REGION}:123456789012:key/{number:08d}" for number in (1, 2))
ROOT_DEVICE = "/dev/xvda"
ROOTS = 0xF000
Entry = dict[str, Any]


def vol(number: int) -> str:
    return f"vol-{number:017x}"


def snap(number: int) -> str:
    return f"snap-{number:017x}"


def root_of(instance_id: str) -> str:
    return vol(ROOTS + int(instance_id.removeprefix("i-"), 16))


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


def tags_of(request: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for part in request.get("TagSpecifications", ()) for tag in part["Tags"]}


def instance(instance_id: str = WEB, state: str = "running", zone: str = ZONE, **fields: Any) -> Instance:
    values = {"instance_type": "m5.large", "launch_time": NOW - timedelta(days=1), **fields}
    return Instance(instance_id, state, availability_zone=zone, root_device_name=ROOT_DEVICE, **values)


def volume(
    number: int | str,
    at: str | None = None,
    device: str = "/dev/sdf",
    *,
    name: str | None = None,
    group: str = WEB,
    zone: str = ZONE,
    tags: Mapping[str, str] | None = None,
    **fields: Any,
) -> Volume:
    """A gp3 volume of 10 GiB, attached where *at* says, with the identity tags where it has a name."""
    identity = {"ec2ops:spec": group, "ec2ops:volume": name} if name is not None else {}
    links = (VolumeAttachment(at, device),) if at is not None else ()
    values: dict[str, Any] = {"size": 10, "volume_type": "gp3", "attachments": links, **fields}
    values = {**performance_of(values["volume_type"], values["size"], None, None), **values}
    state = values.pop("state", "in-use" if values["attachments"] else "available")
    volume_id = vol(number) if isinstance(number, int) else number
    return Volume(volume_id, state, availability_zone=zone, tags={**identity, **(tags or {})}, **values)


def modification(of: Volume, state: str, **target: Any) -> Fact:
    """The latest modification of a volume that shows its values from before it."""
    names = ("size", "volume_type", "iops", "throughput", "multi_attach_enabled")
    original = {name: getattr(of, name) for name in names}
    latest = {"state": state, "progress": 50, "start_time": "2026-11-23T11:00:00Z", "message": None}
    return Fact(f"{of.volume_id}/modification", {**latest, "original": original, "target": {**original, **target}})


DETACHED = volume(1, name="data")


def snapshot(number: int, of: int, state: str = "completed", **fields: Any) -> Snapshot:
    """What a run took of a volume; the tag says for what, and so does the description."""
    tags = fields.get("tags", {})
    word = "final" if "ec2ops:swap" not in tags else "final swap" if "ec2ops:final" in tags else "temporary swap"
    description = f"web data: {word} snapshot of {vol(of)}"
    values = {"volume_size": 10, "start_time": NOW - timedelta(hours=1), "description": description, **fields}
    return Snapshot(snap(number), state, vol(of), **values)


def declared(*volumes: Entry, **given: Any) -> VolumesSpec:
    spec: VolumesSpec = planner.FEATURE.parse(
        options(**{"instance_ids": [WEB], "volumes": list(volumes), **given}), REGION
    )
    return spec


def read(spec: VolumesSpec, ec2: Ec2, entries: Iterable[Mapping[str, Any]] = ()) -> tuple[State, list[Query]]:
    """What a run learns, and all that it asks: in rounds, with earlier plans laid over the answers."""
    return answered(planner.FEATURE, spec, ec2.ask, State(REGION), entries=entries)


def plan_of(spec: VolumesSpec, ec2: Ec2, entries: Sequence[Mapping[str, Any]] = (), now: datetime = NOW) -> Plan:
    state, _asked = read(spec, ec2, entries)
    return guard(planner.plan(spec, state, now), [entry["resource"] for entry in entries])


def short(text: str) -> str:
    """Ids without their zeros, planned ids without their frame, own tags without their prefix."""
    text = re.sub(r"\(new (?:volume|snapshot) ([^()]+)\)", r"new \1", text)
    return re.sub(r"\b(i|vol|snap)-0+", r"\1-", text).replace("ec2ops:", "")


def line(change: Change) -> str:
    """A change in a few words: ``ModifyVolume vol-1 Size=20``."""
    asked = change.parameters
    if change.action in ("CreateTags", "DeleteTags"):
        more = ",".join(tag["Key"] for tag in asked["Tags"])
    elif change.action == "AttachVolume":
        more = f"to {asked['InstanceId']} {asked['Device']}"
    elif change.action == "DetachVolume":
        more = f"from {asked['InstanceId']}"
    elif change.action == "ModifyInstanceAttribute":
        flags = {one["DeviceName"]: one["Ebs"]["DeleteOnTermination"] for one in asked["BlockDeviceMappings"]}
        more = " ".join(f"{device}={flag}" for device, flag in flags.items())
    elif change.action == "ModifyVolume":
        more = " ".join(f"{name}={value}" for name, value in asked.items())
    else:
        more = ""
    return short(f"{change.action} {change.resource} {more}".rstrip())


def steps(plan: Plan) -> list[str]:
    return [line(change) for change in plan.changes]


@dataclass(frozen=True)
class Case:
    """What there is, what is declared, and what follows: the plan's steps, or the words of the refusal."""

    title: str
    there: Sequence[Resource]
    volumes: Sequence[Entry]
    steps: Sequence[str] = ()
    refused: type[StorageError] | None = None
    words: Sequence[str] = ()
    given: Mapping[str, Any] = field(default_factory=dict)

    def ec2(self) -> Ec2:
        there = list(self.there)
        if not any(isinstance(item, Instance) for item in there):
            there.append(instance())
        return Ec2(*there)

    @property
    def spec(self) -> VolumesSpec:
        return declared(*self.volumes, **self.given)


def listed(*parts: str) -> list[str]:
    return [word for part in parts for word in part.split(" | ")]


def ok(title: str, there: Sequence[Resource], volumes: Sequence[Entry], *steps: str, **given: Any) -> Any:
    return pytest.param(Case(title, there, volumes, listed(*steps), given=given), id=title)


def no(
    title: str,
    there: Sequence[Resource],
    volumes: Sequence[Entry],
    refused: type[StorageError],
    words: str,
    **given: Any,
) -> Any:
    return pytest.param(Case(title, there, volumes, (), refused, listed(words), given), id=title)


# What only EC2 can tell, or what is asked only where there is a reason to.
UNPREDICTED = ("nvme_path", "modification_state", "next_modification_at")


def told(spec: VolumesSpec, state: State, bindings: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The module's ``volumes``, value by value, but for what is not predicted, such as the account's default key."""
    rows = substitute(planner.FEATURE.result(spec, state)["volumes"], bindings or {})
    keyed = {entry.name for entry in spec.volumes if entry.kms_key_id is not None}
    return {
        f"{row['name']} of {row['instance_id']}: {name}": value
        for row in rows
        for name, value in row.items()
        if name not in UNPREDICTED and (name != "kms_key_id" or row["name"] in keyed)
    }


def under_way(ec2: Ec2) -> bool:
    """Something ends without a change, so its end is in no prediction."""
    if any(item.state in ("creating", "pending", "stopping") for item in (*ec2.volumes(), *ec2.snapshots())):
        return True
    links = {link.state for item in ec2.volumes() for link in item.attachments}
    latest = [item.value for item in ec2.resources.values() if str(item.resource_id).endswith("/modification")]
    return links > {"attached"} or any(one["state"] == "modifying" for one in latest)


def of_no_use(found: Volume | Snapshot) -> bool:
    """A copy that never was in its place, and a snapshot that has failed."""
    return "ec2ops:swap" in found.tags or (isinstance(found, Snapshot) and found.state == "error")


def assert_last_snapshots(spec: VolumesSpec, plan: Plan, ec2: Ec2) -> None:
    """A deleted volume leaves a last snapshot, completed before: unless it never was anything but a copy."""
    for change in plan.changes if spec.final_snapshot else ():
        if change.action == "DeleteVolume" and not of_no_use(ec2.resources[change.resource]):
            assert has_last_snapshot(change, plan, ec2)


def has_last_snapshot(deletion: Change, plan: Plan, ec2: Ec2) -> bool:
    """One that carries the volume's id for good when the volume is deleted, and is completed by then."""
    tagged = {item.snapshot_id: dict(item.tags) for item in ec2.snapshots()}
    completed = {item.snapshot_id for item in ec2.snapshots() if item.state == "completed"}
    for stage in plan.stages:
        for change in stage.changes:
            if change is deletion:
                return any(
                    tags.get("ec2ops:final") == deletion.resource and item in completed for item, tags in tagged.items()
                )
            if change.action == "CreateSnapshot":
                tagged[change.resource] = tags_of(change.parameters)
            elif change.resource in tagged:
                tagged[change.resource] = dict((change.after or {}).get("tags", {}))
        completed |= {resource for wait in stage.waits if wait.goal == "completed" for resource in wait.resources}
    return False


def carried_out(spec: VolumesSpec, ec2: Ec2) -> Plan:
    """A plan that leaves nothing to do: predicted, in a check run after it, and after a run, which is as predicted."""
    state, _asked = read(spec, ec2)
    plan = guard(planner.plan(spec, state, NOW))
    predicted = overlay(state, plan.published())
    assert steps(planner.plan(spec, predicted, NOW)) == []
    assert steps(plan_of(spec, ec2, plan.published())) == []
    assert_last_snapshots(spec, plan, ec2)
    all_predicted = not under_way(ec2)
    ec2.carry_out(plan)
    after, _asked = read(spec, ec2)
    assert steps(planner.plan(spec, after, NOW)) == []
    if all_predicted:
        expected = told(spec, predicted, ec2.bindings)
        assert {name: value for name, value in told(spec, after).items() if value != expected[name]} == {}
    return plan


def check(case: Case) -> Ec2:
    """The plan, or the refusal, is the case's."""
    ec2, spec = case.ec2(), case.spec
    if case.refused is not None:
        with pytest.raises(case.refused) as refused:
            plan_of(spec, ec2)
        message = short(str(refused.value))
        assert [word for word in case.words if word not in message] == [], message
    else:
        assert steps(plan_of(spec, ec2)) == list(case.steps)
        carried_out(spec, ec2)
    return ec2


IO2: Entry = {"volume_type": "io2", "iops": 5000}
SWAP: Entry = {"replace": "snapshot", "in_use": "detach"}
NODES = [instance(WEB, "stopped"), instance(DB, "stopped")]


def planned(spec: VolumesSpec, ec2: Ec2) -> tuple[State, Plan] | None:
    """The plan, which the guard lets pass, or none where the declaration or one of its entries is refused."""
    try:
        state, _asked = read(spec, ec2)
        plan = guard(planner.plan(spec, state, NOW))
    except StorageError:
        return None
    return None if plan.refused is not None else (state, plan)


def all_stages(plan: Plan) -> list[Stage]:
    return [stage for one in plan.stages for stage in (one, *one.on_failure)]
