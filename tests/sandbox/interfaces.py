# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Network interfaces that change hands: moto keeps them, and the sandbox decides about attachments and their ends.

EC2 user guide, "Attach network interfaces": an interface attaches to a running or stopped instance of its zone, and
stays when that instance ends (delete-on-termination is off). The interface at device index 0 never leaves. The type
limits the number. EC2 API reference, error codes: an interface that is attached, or is still detaching, is in use.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from .engine import Ec2Error, Request, action, declare_durations
from .filters import MotoRow, matching, of_row
from .pages import paged

if TYPE_CHECKING:
    from .world import Instance, Shape

declare_durations(interface_attaching=0.2, interface_detaching=0.2)


@dataclass(slots=True)
class InterfaceLink:
    """The latest attachment of an interface by AttachNetworkInterface, or one that ends.

    ``attached``: the end of ``attaching``. ``gone``: the end of ``detaching``, or None while nobody has detached it.
    """

    instance_id: str
    attachment_id: str
    device_index: int
    attached: datetime
    gone: datetime | None = None


def _listed(request: Request, ids: Iterable[str] = ()) -> list[Shape]:
    """moto's interfaces, all of them or those with the ids. Raises InvalidNetworkInterfaceID.NotFound."""
    named = list(ids)
    found: list[Shape] = request.moto("DescribeNetworkInterfaces", {"NetworkInterfaceIds": named} if named else {})[
        "NetworkInterfaces"
    ]
    return found


def _attached(request: Request, instance_id: str) -> list[Shape]:
    return [row for row in _listed(request) if (row.get("Attachment") or {}).get("InstanceId") == instance_id]


@action("AttachNetworkInterface")
def attach_network_interface(request: Request) -> Shape:
    """Attach an interface to a running or stopped instance. It outlives that instance."""
    params, home, now = request.params, request.home, request.now
    for name in ("NetworkInterfaceId", "InstanceId", "DeviceIndex"):
        if params.get(name) is None:
            raise Ec2Error("MissingParameter", f"The request must contain the parameter {name}")
    (row,) = _listed(request, [params["NetworkInterfaceId"]])
    (instance,) = home.instance_list([params["InstanceId"]])
    index = params["DeviceIndex"]
    state = instance.state(now)
    if state not in ("running", "stopped"):
        raise Ec2Error("IncorrectInstanceState", f"Instance '{instance.id}' is not 'running' or 'stopped' ({state}).")
    link = home.interface_links.get(row["NetworkInterfaceId"])
    if row.get("Attachment") or (link is not None and link.gone is not None and now < link.gone):
        raise Ec2Error("InvalidNetworkInterface.InUse", f"Interface: [{row['NetworkInterfaceId']}] in use.")
    if row.get("AvailabilityZone") != instance.zone:
        raise Ec2Error(
            "InvalidParameterCombination",
            "You may not attach a network interface to an instance if they are not in the same availability zone",
        )
    _check_place(request, instance, index)
    request.dry_run_gate()
    made = request.moto(
        "AttachNetworkInterface",
        {"NetworkInterfaceId": row["NetworkInterfaceId"], "InstanceId": instance.id, "DeviceIndex": index},
    )
    instance.attributes["KeptInterfaces"] = instance.attributes["KeptInterfaces"] | {index}
    home.interface_links[row["NetworkInterfaceId"]] = InterfaceLink(
        instance.id, made["AttachmentId"], index, home.moment("interface_attaching", now)
    )
    return {"AttachmentId": made["AttachmentId"], "NetworkCardIndex": 0}


def _check_place(request: Request, instance: Instance, index: int) -> None:
    """Raise for a device index that is taken, or an instance with as many interfaces as its type takes."""
    there = _attached(request, instance.id)
    if index in [row["Attachment"]["DeviceIndex"] for row in there]:
        raise Ec2Error(
            "InvalidParameterValue",
            f"Instance '{instance.id}' already has an interface attached at device index '{index}'.",
        )
    (kind,) = request.moto("DescribeInstanceTypes", {"InstanceTypes": [instance.type]})["InstanceTypes"]
    most = (kind.get("NetworkInfo") or {}).get("MaximumNetworkInterfaces")
    if most is not None and len(there) >= most:
        raise Ec2Error(
            "AttachmentLimitExceeded", f"Interface count {len(there) + 1} exceeds the limit for {instance.type}"
        )


@action("DetachNetworkInterface")
def detach_network_interface(request: Request) -> Shape:
    """End an attachment. While the instance is on, this takes a moment."""
    home, now, wanted = request.home, request.now, request.params.get("AttachmentId")
    row = next((one for one in _listed(request) if (one.get("Attachment") or {}).get("AttachmentId") == wanted), None)
    held = (row or {}).get("Attachment") or {}
    instance = home.instances.get(held.get("InstanceId", ""))
    if row is None or instance is None or instance.state(now) == "terminated":
        raise Ec2Error("InvalidAttachmentID.NotFound", f"The attachment '{wanted}' does not exist.")
    if held["DeviceIndex"] == 0:
        raise Ec2Error("OperationNotPermitted", "The network interface at device index 0 cannot be detached.")
    request.dry_run_gate()
    gone = now if instance.state(now) == "stopped" else home.moment("interface_detaching", now)
    _detach(request, instance, row, gone)
    return {}


def _detach(request: Request, instance: Instance, row: Shape, gone: datetime) -> None:
    held = row["Attachment"]
    request.moto("DetachNetworkInterface", {"AttachmentId": held["AttachmentId"]})
    instance.attributes["KeptInterfaces"] = instance.attributes["KeptInterfaces"] - {held["DeviceIndex"]}
    request.home.interface_links[row["NetworkInterfaceId"]] = InterfaceLink(
        instance.id, held["AttachmentId"], held["DeviceIndex"], request.now, gone
    )


def end_interfaces(request: Request, instance: Instance, done: datetime) -> list[str]:
    """Delete or detach the interfaces of an instance that ends at ``done``. Return the deleted ones."""
    doomed = []
    for row in _attached(request, instance.id):
        index = row["Attachment"]["DeviceIndex"]
        kept = index in instance.attributes["KeptInterfaces"]
        doomed += [] if kept else [row["NetworkInterfaceId"]]
        # moto never gives up the first one. `interface_row` shows its end.
        if index:
            _detach(request, instance, row, done)
            if not kept:
                request.moto("DeleteNetworkInterface", {"NetworkInterfaceId": row["NetworkInterfaceId"]})
    return doomed


def interface_row(request: Request, row: Shape) -> Shape | None:
    """moto's row as EC2 shows it now, or None for an interface that ended with its instance."""
    shown, now = copy.deepcopy(row), request.now
    held, link = shown.get("Attachment"), request.home.interface_links.get(row["NetworkInterfaceId"])
    if held:
        instance = request.home.instances.get(held["InstanceId"])
        kept = instance is not None and held["DeviceIndex"] in instance.attributes["KeptInterfaces"]
        if instance is not None and instance.state(now) == "terminated":
            return {**shown, "Attachment": None, "Status": "available"} if kept else None
        held["DeleteOnTermination"] = not kept
        attaching = link is not None and link.gone is None and now < link.attached
        held["Status"] = "attaching" if attaching else "attached"
        shown["Status"] = "in-use"
    elif link is not None and link.gone is not None and now < link.gone:
        shown["Status"] = "in-use"
        shown["Attachment"] = {
            "AttachmentId": link.attachment_id,
            "InstanceId": link.instance_id,
            "DeviceIndex": link.device_index,
            "DeleteOnTermination": False,
            "Status": "detaching",
        }
    return shown


@action("DescribeNetworkInterfaces")
def describe_network_interfaces(request: Request) -> Shape:
    """The interfaces with their attachments as they are now, in pages."""
    rows = [interface_row(request, row) for row in _listed(request, request.params.get("NetworkInterfaceIds") or ())]
    found = matching(request, [MotoRow(row) for row in rows if row is not None], _FIELDS)
    page, token = paged(request, found, minimum=5, maximum=1000, ids="NetworkInterfaceIds")
    return {"NetworkInterfaces": [one.shape for one in page], "NextToken": token}


_FIELDS = {
    "attachment.attachment-id": of_row("Attachment", "AttachmentId"),
    "attachment.device-index": of_row("Attachment", "DeviceIndex"),
    "attachment.instance-id": of_row("Attachment", "InstanceId"),
    "attachment.status": of_row("Attachment", "Status"),
    "availability-zone": of_row("AvailabilityZone"),
    "description": of_row("Description"),
    "group-id": lambda one: [group["GroupId"] for group in one.shape.get("Groups") or ()],
    "network-interface-id": of_row("NetworkInterfaceId"),
    "addresses.private-ip-address": lambda one: [
        address["PrivateIpAddress"] for address in one.shape.get("PrivateIpAddresses") or ()
    ],
    "private-ip-address": of_row("PrivateIpAddress"),
    "status": of_row("Status"),
    "subnet-id": of_row("SubnetId"),
    "vpc-id": of_row("VpcId"),
}


@action("ModifyNetworkInterfaceAttribute")
def modify_network_interface_attribute(request: Request) -> Shape:
    """Change an interface. The sandbox keeps whether the interface outlives its instance, and moto changes all else."""
    params = request.params
    change = params.get("Attachment")
    (row,) = _listed(request, [params["NetworkInterfaceId"]])
    attachment = row.get("Attachment") or {}
    if not change:
        request.moto("ModifyNetworkInterfaceAttribute", params)
        if params.get("SourceDestCheck") and attachment.get("DeviceIndex") == 0:
            # The check of an instance is that of its first interface. moto keeps both.
            both = {"InstanceId": attachment["InstanceId"], "SourceDestCheck": params["SourceDestCheck"]}
            request.moto("ModifyInstanceAttribute", both)
        return {}
    if not change.get("AttachmentId") or attachment.get("AttachmentId") != change["AttachmentId"]:
        raise Ec2Error(
            "InvalidAttachmentID.NotFound", f"The attachment '{change.get('AttachmentId') or ''}' does not exist."
        )
    instance = request.home.instances[attachment["InstanceId"]]
    request.dry_run_gate()
    if change.get("DeleteOnTermination") is not None:
        kept = instance.attributes["KeptInterfaces"] - {attachment["DeviceIndex"]}
        kept |= set() if change["DeleteOnTermination"] else {attachment["DeviceIndex"]}
        instance.attributes["KeptInterfaces"] = kept
    return {}
