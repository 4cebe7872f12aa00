# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sites outside of a region's own zones: Outposts, Local Zones and Wavelength Zones.

Private to this collection.
"""

from __future__ import annotations

from ..._domain.zones import unsupported_site
from ..._kernel.errors import UnsafePlan
from ..._kernel.resources import Volume
from .targets import Target

BY_OTHER_MEANS = "Attach and replace it by other means, then declare it by its volume_id"
"""The remedy for a volume on an Outpost, which this collection does not attach."""


def require_supported_site(target: Target) -> None:
    """Raise UnsafePlan for a new volume or attachment on an Outpost, or in a Local or Wavelength Zone.

    CreateVolume names no Outpost, so EC2 would make the volume in the region.
    """
    sites = [(instance.instance_id, unsupported_site(target.zone, instance.facts)) for instance in target.instances]
    for who, site in sites or [("availability_zone", unsupported_site(target.zone))]:
        if site:
            raise UnsafePlan(
                f"{target.label}: {who} is {'in' if 'Zone' in site else 'on'} {site}, where this collection does not "
                "create or attach volumes. Create and attach it by other means, then declare it by its volume_id"
            )


def require_in_region(label: str, volume: Volume, remedy: str) -> None:
    """Raise UnsafePlan for a volume on an Outpost if the plan has its snapshot, copy or attachment in the region.

    EC2 puts the snapshot and its copies into the region, and attaches only on the same Outpost.
    """
    if volume.outpost_arn:
        site = unsupported_site(volume.availability_zone, {"OutpostArn": volume.outpost_arn})
        raise UnsafePlan(
            f"{label}: {volume.volume_id} is on {site}, where this collection does not attach, copy or snapshot "
            f"volumes. {remedy}"
        )
