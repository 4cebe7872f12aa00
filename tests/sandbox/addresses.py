# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Elastic IP addresses: moto allocates and lists them, and the sandbox decides about an association.

EC2 user guide, "Elastic IP addresses", and EC2 API reference, AssociateAddress: a pending instance gets none. An
address that is associated elsewhere needs AllowReassociation. An instance with several interfaces must be named by one
of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .engine import Ec2Error, action
from .instances import Network

if TYPE_CHECKING:
    from .engine import Request
    from .world import Shape


@action("AssociateAddress")
def associate_address(request: Request) -> Shape:
    """Associate an address with an instance, and end its former association in the same call."""
    params = request.params
    found = request.moto("DescribeAddresses", {"AllocationIds": [params.get("AllocationId", "")]})["Addresses"]
    (address,) = found
    instance_id = params.get("InstanceId")
    if instance_id is not None:
        _check_instance(request, instance_id)
    owner = address.get("InstanceId") or None
    is_elsewhere = address.get("AssociationId") and owner != instance_id
    if is_elsewhere and not params.get("AllowReassociation"):
        raise Ec2Error(
            "Resource.AlreadyAssociated",
            f"resource {address['AllocationId']} is already associated with associate-id {address['AssociationId']}",
        )
    request.dry_run_gate()
    if is_elsewhere:
        # moto would leave the address with the interface of the former instance, too.
        request.moto("DisassociateAddress", {"AssociationId": address["AssociationId"]})
    return request.moto("AssociateAddress", dict(params))


def _check_instance(request: Request, instance_id: str) -> None:
    instance = request.home.instances.get(instance_id)
    state = "" if instance is None else instance.state(request.now)
    if state in ("", "terminated", "shutting-down"):
        raise Ec2Error("InvalidInstanceID.NotFound", f"The instance ID '{instance_id}' does not exist")
    if state == "pending":
        raise Ec2Error(
            "InvalidInstanceID", f"The pending instance '{instance_id}' is not in a valid state for this operation."
        )
    row = Network(request, [instance_id]).rows.get(instance_id) or {}
    if len(row.get("NetworkInterfaces") or ()) > 1:
        raise Ec2Error(
            "InvalidInstanceID",
            f"There are multiple interfaces attached to instance '{instance_id}'. Please specify an interface ID for "
            "the operation instead.",
        )
