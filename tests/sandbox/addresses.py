# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Elastic IP addresses: moto allocates and lists them, and the sandbox decides about an association.

EC2 user guide, "Elastic IP addresses", and EC2 API reference, AssociateAddress: a pending instance gets none. An
address that is associated elsewhere needs AllowReassociation. An instance with several interfaces must be named by one
of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from .engine import Ec2Error, action
from .filters import MotoRow, matching, of_row
from .instances import Network

if TYPE_CHECKING:
    from .engine import Request
    from .world import Shape


@action("DescribeAddresses")
def describe_addresses(request: Request) -> Shape:
    """The addresses. An association belongs to an interface, and the address shows the instance that has it now."""
    known = {name: request.params[name] for name in ("AllocationIds", "PublicIps") if request.params.get(name)}
    rows = request.moto("DescribeAddresses", known)["Addresses"]
    owners = owners_by_interface(request.moto)
    for row in rows:
        row["InstanceId"] = owners.get(row.get("NetworkInterfaceId") or "") or None
    found = matching(request, [MotoRow(row) for row in rows], _FIELDS)
    return {"Addresses": [one.shape for one in found]}


def owners_by_interface(moto: Callable[[str, Shape], Shape]) -> dict[str, str]:
    """The instance by interface, for the interfaces that one has. *moto*: asks moto in their region."""
    rows = moto("DescribeNetworkInterfaces", {})["NetworkInterfaces"]
    return {row["NetworkInterfaceId"]: row["Attachment"]["InstanceId"] for row in rows if row.get("Attachment")}


_FIELDS = {
    "allocation-id": of_row("AllocationId"),
    "association-id": of_row("AssociationId"),
    "domain": of_row("Domain"),
    "instance-id": of_row("InstanceId"),
    "network-interface-id": of_row("NetworkInterfaceId"),
    "private-ip-address": of_row("PrivateIpAddress"),
    "public-ip": of_row("PublicIp"),
}


@action("AssociateAddress")
def associate_address(request: Request) -> Shape:
    """Associate an address with an instance or an interface, and end its former association in the same call."""
    params = request.params
    found = request.moto("DescribeAddresses", {"AllocationIds": [params.get("AllocationId", "")]})["Addresses"]
    (address,) = found
    instance_id, interface_id = params.get("InstanceId"), params.get("NetworkInterfaceId")
    if (instance_id is None) == (interface_id is None):
        raise Ec2Error("InvalidParameterCombination", "You must specify an instance ID or a network interface ID")
    if instance_id is not None:
        interface_id = _only_interface(request, instance_id)
    request.moto("DescribeNetworkInterfaces", {"NetworkInterfaceIds": [interface_id]})
    is_elsewhere = address.get("AssociationId") and address.get("NetworkInterfaceId") != interface_id
    if is_elsewhere and not params.get("AllowReassociation"):
        raise Ec2Error(
            "Resource.AlreadyAssociated",
            f"resource {address['AllocationId']} is already associated with associate-id {address['AssociationId']}",
        )
    request.dry_run_gate()
    if is_elsewhere:
        # moto would leave the address with the former interface, too.
        request.moto("DisassociateAddress", {"AssociationId": address["AssociationId"]})
    asked = {"AllocationId": address["AllocationId"], "NetworkInterfaceId": interface_id, "AllowReassociation": True}
    return request.moto("AssociateAddress", asked)


def _only_interface(request: Request, instance_id: str) -> str:
    """The interface of an instance with one interface. Raises Ec2Error for an instance that takes no address."""
    instance = request.home.instances.get(instance_id)
    state = "" if instance is None else instance.state(request.now)
    if state in ("", "terminated", "shutting-down"):
        raise Ec2Error("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
    if state == "pending":
        raise Ec2Error(
            "InvalidInstanceID", f"The pending instance '{instance_id}' is not in a valid state for this operation."
        )
    interfaces = (Network(request, [instance_id]).rows.get(instance_id) or {}).get("NetworkInterfaces") or []
    if len(interfaces) > 1:
        raise Ec2Error(
            "InvalidInstanceID",
            f"There are multiple interfaces attached to instance '{instance_id}'. Please specify an interface ID for "
            "the operation instead.",
        )
    return str(interfaces[0]["NetworkInterfaceId"])
