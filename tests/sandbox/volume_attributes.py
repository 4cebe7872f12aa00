# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only DescribeVolumeAttribute shows of a volume."""

from __future__ import annotations

from .engine import Ec2Error, Request, action
from .volumes import combination_error, value_error
from .world import Shape


@action("DescribeVolumeAttribute")
def describe_volume_attribute(request: Request) -> Shape:
    """One attribute of a volume, and nothing else. DryRun is answered before anything is looked at."""
    request.dry_run_gate()
    attribute = request.params.get("Attribute")
    if not attribute:
        raise combination_error("No attributes specified.")
    if attribute not in ("autoEnableIO", "productCodes"):
        raise value_error("Unknown attribute.")
    volume = request.home.volume(request.params["VolumeId"])
    if not request.visible(volume):
        raise Ec2Error("InvalidVolume.NotFound", f"The volume '{volume.id}' does not exist.")
    if attribute == "productCodes":
        codes = [{"ProductCodeId": one, "ProductCodeType": "marketplace"} for one in volume.product_codes]
        return {"VolumeId": volume.id, "ProductCodes": codes}
    return {"VolumeId": volume.id, "AutoEnableIO": {"Value": volume.auto_enable_io}}


@action("ModifyVolumeAttribute")
def modify_volume_attribute(request: Request) -> Shape:
    """Set AutoEnableIO, the only attribute that there is to set."""
    request.dry_run_gate()
    wanted = (request.params.get("AutoEnableIO") or {}).get("Value")
    if wanted is None:
        raise combination_error("No attributes specified.")
    request.home.volume(request.params["VolumeId"]).auto_enable_io = wanted
    return {}
