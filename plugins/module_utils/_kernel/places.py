# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Places: one region of the task's own account, or of another profile's account.

Private to this collection.
"""

from __future__ import annotations


def place_of(region: str, profile: str | None = None) -> str:
    """Return the text of a place: ``eu-west-1``, or ``eu-west-1@backup`` for another profile's account."""
    return f"{region}@{profile}" if profile else region


def split_place(place: str) -> tuple[str, str | None]:
    """Return the region and, for another account, the profile."""
    region, _at, profile = place.partition("@")
    return region, profile or None


def place_text(place: str) -> str:
    """Return the place for a person: ``eu-west-1``, ``eu-west-1 (profile backup)``."""
    region, profile = split_place(place)
    return f"{region} (profile {profile})" if profile else region
