# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The network of the in-memory EC2: interfaces, Elastic IP addresses, targets, and what a launch gives an instance.

The facts about interfaces decide. An instance shows the interfaces that are attached to it, if a test has put some.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import (
    CLASSIC_LOAD_BALANCERS,
    TARGETS,
    Target,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    Fact,
    Image,
    Instance,
    Volume,
    VolumeAttachment,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.service_facts import (
    ADDRESS,
    INTERFACE,
    TARGET_HEALTH,
    Address,
    Interface,
    TargetHealth,
    member_name,
    target_name,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query

from fake_calls import Calls

OWNER = "123456789012"
_DETACHED: dict[str, Any] = {
    "instance_id": "",
    "attachment_id": "",
    "device_index": None,
    "attachment_state": "",
    "delete_on_termination": False,
}


class Network(Calls):
    """One method for each operation, as in `Calls`."""

    def __init__(self, *there: Any, **more: Any) -> None:
        super().__init__(*there, **more)
        self._attach_times: dict[tuple[str, str], datetime] = {}

    # --- answers ---

    def interfaces(self) -> list[Interface]:
        return [fact.value for fact in self._of_kind(INTERFACE.name)]

    def addresses(self) -> list[Address]:
        return [fact.value for fact in self._of_kind(ADDRESS.name)]

    def _of_kind(self, name: str) -> list[Fact]:
        found = [record.resource for record in self._records.values()]
        return [item for item in found if isinstance(item, Fact) and item.name == name]

    def _facts(self, query: Query) -> tuple[Fact, ...]:
        named = {value for _name, values in query.filters for value in values}
        if query.operation == "DescribeAddresses":
            return tuple(
                ADDRESS.fact(one.allocation_id, one)
                for one in self.addresses()
                if one.allocation_id in named or one.instance_id in named
            )
        if query.operation == "DescribeNetworkInterfaces":
            return tuple(
                INTERFACE.fact(one.interface_id, one)
                for one in self.interfaces()
                if one.interface_id in named or one.instance_id in named or named & set(one.addresses)
            )
        if query.operation in ("DescribeTargetHealth", "DescribeInstanceHealth"):
            return self._healths(query)
        return super()._facts(query)

    def _healths(self, query: Query) -> tuple[Fact, ...]:
        asked = dict(query.arguments)
        if query.operation == "DescribeInstanceHealth":
            names = [member_name(dict(one)["InstanceId"], asked["LoadBalancerName"]) for one in asked["Instances"]]
            return tuple(TARGET_HEALTH.fact(name, TargetHealth("InService")) for name in names)
        arn = asked["TargetGroupArn"]
        record = self._records.get(TARGETS.id_of(arn))
        known: tuple[Target, ...] = record.resource.value if record is not None else ()
        if "Targets" not in asked:
            return (TARGETS.fact(arn, known),)
        states = {(one.target_id, one.port): one.state for one in known}
        found = []
        for one in map(dict, asked["Targets"]):
            state = states.get((one["Id"], one["Port"]), "unused")
            found.append(TARGET_HEALTH.fact(target_name(one["Id"], one["Port"], arn), TargetHealth(state)))
        return tuple(found)

    def _seen(self, resource: Any) -> Any:
        shown = super()._seen(resource)
        if not isinstance(shown, Instance) or not shown.alive:
            return shown
        mine = sorted(
            (one for one in self.interfaces() if one.instance_id == shown.instance_id),
            key=lambda one: one.device_index or 0,
        )
        if not mine:
            return shown
        public = {one.interface_id: one.public_ip for one in self.addresses() if one.interface_id}
        rows = [_row(one, public.get(one.interface_id)) for one in mine]
        rows_before = [one["Ebs"] for one in shown.facts.get("BlockDeviceMappings", ())]
        known = {one.get("VolumeId"): one["AttachTime"] for one in rows_before}
        devices = [
            {
                "DeviceName": one.device_name,
                "Ebs": {
                    "VolumeId": one.volume_id,
                    "AttachTime": self._attach_times.get((one.volume_id, shown.instance_id))
                    or known.get(one.volume_id, shown.launch_time),
                },
            }
            for one in shown.block_devices
        ]
        elastic = public.get(mine[0].interface_id)
        return dataclasses.replace(
            shown,
            private_ip_address=mine[0].addresses[0],
            public_ip_address=elastic,
            elastic_ip=elastic is not None,
            facts={**shown.facts, "NetworkInterfaces": rows, "BlockDeviceMappings": devices},
        )

    # --- launches and ends ---

    def _RunInstances(self, changes: Sequence[Change], request: dict[str, Any]) -> dict[str, str]:
        known = set(self._records)
        made = super()._RunInstances(changes, request)
        (instance_id,) = made.values()
        image = self._records.get(request["ImageId"])
        if instance_id in known or image is None:
            return made
        self._furnish(instance_id, image.resource, request)
        return made

    def _furnish(self, instance_id: str, image: Image, request: dict[str, Any]) -> None:
        """Give a new instance its volumes and its interface."""
        record = self._records[instance_id]
        asked = (request.get("NetworkInterfaces") or [{}])[0]
        facts = {"SourceDestCheck": True, "SubnetId": asked.get("SubnetId"), "VpcId": "vpc-1"}
        record.resource = dataclasses.replace(
            record.resource,
            root_device_name=image.root_device_name or "",
            facts={**record.resource.facts, **facts},
        )
        left_out = {one["DeviceName"] for one in request.get("BlockDeviceMappings", ()) if "NoDevice" in one}
        zone = record.resource.availability_zone
        for device in image.block_devices:
            if device.device_name not in left_out:
                link = VolumeAttachment(instance_id, device.device_name, delete_on_termination=True)
                made = Volume(
                    self._new_id("vol"), size=device.size or 8, availability_zone=zone, snapshot_id=device.snapshot_id,
                    attachments=(link,), create_time=self.now(), tags=self._tags(request, "volume"),
                )  # fmt: skip
                self.written[made.volume_id] = self.written.get(device.snapshot_id or "", ())
                self._attach_times[made.volume_id, instance_id] = self.now()
                self._add(made, delay=0)
        number = len(self.interfaces()) + 1
        interface = Interface(
            self._new_id("eni"), zone, "interface", False, (f"10.0.1.{number}",), instance_id,
            self._new_id("eni-attach"), 0, "attached", bool(asked.get("DeleteOnTermination", True)),
        )  # fmt: skip
        self._add(INTERFACE.fact(interface.interface_id, interface), delay=0)

    def _TerminateInstances(self, changes: Sequence[Change], request: dict[str, Any]) -> None:
        super()._TerminateInstances(changes, request)
        for instance_id in request["InstanceIds"]:
            for item in self.volumes():
                links = tuple(link for link in item.attachments if link.instance_id != instance_id)
                mine = [link for link in item.attachments if link.instance_id == instance_id]
                if mine and mine[0].delete_on_termination and not links:
                    del self._records[item.volume_id]
                elif mine:
                    state = "in-use" if links else "available"
                    self._records[item.volume_id].resource = dataclasses.replace(item, attachments=links, state=state)
            for one in self.interfaces():
                if one.instance_id == instance_id:
                    self._release(one, deleted=one.delete_on_termination)

    def _release(self, one: Interface, *, deleted: bool) -> None:
        """End the attachment of the interface, or the interface with the associations of its addresses."""
        if deleted:
            del self._records[INTERFACE.id_of(one.interface_id)]
        else:
            self._set_interface(one, **_DETACHED)
        for address in self.addresses():
            if address.interface_id == one.interface_id:
                interface_id = "" if deleted else one.interface_id
                self._set_address(address, instance_id="", interface_id=interface_id)

    def _set_interface(self, one: Interface, **fields: Any) -> None:
        changed = dataclasses.replace(one, **fields)
        self._records[INTERFACE.id_of(one.interface_id)].resource = INTERFACE.fact(one.interface_id, changed)

    def _set_address(self, one: Address, **fields: Any) -> None:
        changed = dataclasses.replace(one, **fields)
        self._records[ADDRESS.id_of(one.allocation_id)].resource = ADDRESS.fact(one.allocation_id, changed)

    def _AttachVolume(self, changes: Sequence[Change], request: dict[str, Any]) -> None:
        super()._AttachVolume(changes, request)
        self._attach_times[request["VolumeId"], request["InstanceId"]] = self.now()

    def _ModifyInstanceAttribute(self, changes: Sequence[Change], request: dict[str, Any]) -> None:
        if "SourceDestCheck" in request:
            record = self._found(request["InstanceId"], "InvalidInstanceID.NotFound")
            facts = {**record.resource.facts, "SourceDestCheck": request["SourceDestCheck"]["Value"]}
            record.resource = dataclasses.replace(record.resource, facts=facts)
        super()._ModifyInstanceAttribute(changes, request)

    # --- interfaces ---

    def _interface(self, interface_id: str) -> Interface:
        found: Interface = self._found(
            INTERFACE.id_of(interface_id), "InvalidNetworkInterfaceID.NotFound"
        ).resource.value
        return found

    def _AttachNetworkInterface(self, changes: Sequence[Change], request: dict[str, Any]) -> dict[str, str]:
        one, instance_id = self._interface(request["NetworkInterfaceId"]), request["InstanceId"]
        holder = self._found(instance_id, "InvalidInstanceID.NotFound").resource
        if holder.state not in ("running", "stopped"):
            raise CallError("AttachNetworkInterface", "IncorrectInstanceState", f"'{instance_id}' is {holder.state}")
        if one.instance_id:
            raise CallError("AttachNetworkInterface", "InvalidNetworkInterface.InUse", f"[{one.interface_id}] in use")
        taken = [each.device_index for each in self.interfaces() if each.instance_id == instance_id]
        if request["DeviceIndex"] in taken:
            raise CallError("AttachNetworkInterface", "InvalidParameterValue", f"'{instance_id}' already has one there")
        attachment = self._new_id("eni-attach")
        self._set_interface(
            one,
            instance_id=instance_id,
            attachment_id=attachment,
            device_index=request["DeviceIndex"],
            attachment_state="attached",
            delete_on_termination=False,
        )
        for address in self.addresses():
            if address.interface_id == one.interface_id:
                self._set_address(address, instance_id=instance_id)
        return {changes[0].resource: attachment}

    def _DetachNetworkInterface(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        found = [one for one in self.interfaces() if one.attachment_id == request["AttachmentId"]]
        if not found:
            raise CallError("DetachNetworkInterface", "InvalidAttachmentID.NotFound", "The attachment does not exist")
        if found[0].device_index == 0:
            raise CallError("DetachNetworkInterface", "OperationNotPermitted", "The first interface stays")
        self._release(found[0], deleted=False)

    def _ModifyNetworkInterfaceAttribute(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        one, change = self._interface(request["NetworkInterfaceId"]), request["Attachment"]
        if change["AttachmentId"] != one.attachment_id:
            raise CallError("ModifyNetworkInterfaceAttribute", "InvalidAttachmentID.NotFound", "It does not exist")
        self._set_interface(one, delete_on_termination=change["DeleteOnTermination"])

    # --- addresses and targets ---

    def _AssociateAddress(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        address: Address = self._found(ADDRESS.id_of(request["AllocationId"]), "InvalidAllocationID").resource.value
        wanted = request.get("NetworkInterfaceId")
        instance_id = request.get("InstanceId") or self._interface(wanted).instance_id
        holder = self._found(instance_id, "InvalidInstanceID.NotFound").resource
        if not holder.alive or holder.state == "pending":
            raise CallError("AssociateAddress", "InvalidInstanceID", f"'{instance_id}' is {holder.state}")
        mine = [one for one in self.interfaces() if one.instance_id == instance_id]
        if wanted is None and len(mine) > 1:
            raise CallError("AssociateAddress", "InvalidInstanceID", "There are multiple interfaces")
        first = next(one.interface_id for one in mine if one.device_index == 0)
        self._set_address(address, instance_id=instance_id, interface_id=wanted or first)

    def _targets(self, arn: str) -> tuple[Target, ...]:
        found: tuple[Target, ...] = self._found(TARGETS.id_of(arn), "TargetGroupNotFound").resource.value
        return found

    def _set_targets(self, arn: str, targets: Sequence[Target]) -> None:
        self._records[TARGETS.id_of(arn)].resource = TARGETS.fact(arn, tuple(targets))

    def _RegisterTargets(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        arn = request["TargetGroupArn"]
        new = [
            Target(one["Id"], one.get("AvailabilityZone", ""), one.get("Port"), "healthy") for one in request["Targets"]
        ]
        self._set_targets(arn, tuple(dict.fromkeys((*self._targets(arn), *new))))

    def _DeregisterTargets(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        arn, gone = request["TargetGroupArn"], {(one["Id"], one.get("Port")) for one in request["Targets"]}
        self._set_targets(arn, [one for one in self._targets(arn) if (one.target_id, one.port) not in gone])

    def _balancer(self, request: dict[str, Any], *, joins: bool) -> None:
        record = self._records[CLASSIC_LOAD_BALANCERS.name]
        named = [one["InstanceId"] for one in request["Instances"]]
        found = []
        for one in record.resource.value:
            if one.name == request["LoadBalancerName"]:
                others = [each for each in one.instance_ids if each not in named]
                one = dataclasses.replace(one, instance_ids=(*others, *(named if joins else ())))
            found.append(one)
        record.resource = CLASSIC_LOAD_BALANCERS.fact(tuple(found))

    def _RegisterInstancesWithLoadBalancer(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        self._balancer(request, joins=True)

    def _DeregisterInstancesFromLoadBalancer(self, _changes: Sequence[Change], request: dict[str, Any]) -> None:
        self._balancer(request, joins=False)


def _row(one: Interface, public: str | None) -> dict[str, Any]:
    """The interface as an instance shows it."""
    return {
        "NetworkInterfaceId": one.interface_id,
        "InterfaceType": "interface",
        "SubnetId": "subnet-1",
        "SourceDestCheck": True,
        "Groups": [{"GroupId": "sg-1", "GroupName": "web"}],
        "PrivateIpAddresses": [
            {"PrivateIpAddress": address, "Primary": number == 0} for number, address in enumerate(one.addresses)
        ],
        "Attachment": {
            "AttachmentId": one.attachment_id,
            "DeviceIndex": one.device_index,
            "NetworkCardIndex": 0,
            "DeleteOnTermination": one.delete_on_termination,
            "Status": one.attachment_state,
        },
        **({"Association": {"PublicIp": public, "IpOwnerId": OWNER}} if public else {}),
    }
