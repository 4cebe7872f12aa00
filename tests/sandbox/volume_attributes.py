# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attributes of volumes that only DescribeVolumeAttribute and DescribeVolumeStatus show."""

from __future__ import annotations

from .engine import Ec2Error, Request, action
from .filters import matching
from .pages import paged
from .volumes import combination_error, value_error, zone_names
from .world import Shape, Volume


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


@action("DescribeVolumeStatus")
def describe_volume_status(request: Request) -> Shape:
    """The checks of volumes. They pass from the first moment of a volume on: no host of the sandbox ever fails."""
    home, now = request.home, request.now
    wanted = request.params.get("VolumeIds")
    if wanted:
        rows = [home.volume(one) for one in dict.fromkeys(wanted)]
    else:
        rows = [one for one in home.volumes.values() if one.exists(now) and request.visible(one)]
    zones = zone_names(request)
    found = matching(
        request,
        rows,
        {
            "availability-zone": lambda one: one.zone,
            "availability-zone-id": lambda one: zones.get(one.zone),
            "volume-status.details-name": lambda one: ["io-enabled", "io-performance"],
            "volume-status.details-status": lambda one: ["passed", "not-applicable"],
            "volume-status.status": lambda one: "ok",
        },
    )
    page, token = paged(request, found)
    return {"VolumeStatuses": [_status_row(one, zones.get(one.zone)) for one in page], "NextToken": token}


def _status_row(volume: Volume, zone_id: str | None) -> Shape:
    return {
        "VolumeId": volume.id,
        "AvailabilityZone": volume.zone,
        "AvailabilityZoneId": zone_id,
        "OutpostArn": volume.outpost_arn or None,
        "Operator": {"Managed": bool(volume.operator), "Principal": volume.operator or None},
        "Actions": [],
        "Events": [],
        "VolumeStatus": {
            "Status": "ok",
            "Details": [
                {"Name": "io-enabled", "Status": "passed"},
                {"Name": "io-performance", "Status": "not-applicable"},
            ],
        },
    }
