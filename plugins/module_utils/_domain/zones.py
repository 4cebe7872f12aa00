# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The site of an instance or a volume: a zone of a region, or a site that this collection does not support.

Volumes at such a site need parameters of their own (OutpostArn). Volume types, the storage of snapshots, and the images
that can be launched differ there too.

Private to this collection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# The names that EC2 documents: eu-central-1a; us-west-2-lax-1a; us-east-1-wl1-bos-wlz-1 and eu-west-2-wl1-lon-wlz-1.
_REGION = r"[a-z]{2}(?:-[a-z]+)+-\d+"
_KINDS = (
    ("", re.compile(rf"{_REGION}[a-z]")),
    ("Wavelength Zone", re.compile(rf"{_REGION}-wl\d+-[a-z]+-wlz-\d+[a-z]?")),
    ("Local Zone", re.compile(rf"{_REGION}-[a-z0-9]+-\d+[a-z]")),
)


def is_region(region: str) -> bool:
    """Return whether the text has the form of the name of a region."""
    return re.fullmatch(_REGION, region) is not None


def is_zone(zone: str) -> bool:
    """Return whether the text has the form of the name of an Availability, Local or Wavelength Zone."""
    return any(pattern.fullmatch(zone) for _kind, pattern in _KINDS)


def zone_kind(zone: str) -> str:
    """Return ``Local Zone`` or ``Wavelength Zone``, or an empty text for any other zone or text."""
    return next((kind for kind, pattern in _KINDS if pattern.fullmatch(zone)), "")


def unsupported_site(zone: str, facts: Mapping[str, Any] | None = None) -> str:
    """Return the site where this collection makes, attaches or launches no resource: ``the Local Zone
    us-west-2-lax-1a``.

    Return an empty text for a place in a region's own zones. *facts*: boto3's Instance, if the site is that of an
    instance.
    """
    outpost = (facts or {}).get("OutpostArn")
    if outpost:
        return f"the Outpost {outpost}"
    kind = zone_kind(zone)
    return f"the {kind} {zone}" if kind else ""
