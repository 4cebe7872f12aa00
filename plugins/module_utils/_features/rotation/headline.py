# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The line that sums up a rotation.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._kernel.times import age_text
from .spec import RotationSpec


def headline(spec: RotationSpec, result: Mapping[str, Any]) -> str:
    """Return the number of kept snapshots, and the age of the oldest recovery point of a volume or instance.

    Return "" for a capture that took snapshots, since a later task applies retention.
    """
    if spec.captured and result["created"]:
        return ""
    points = result.get("rpo") or ()
    ages = [point["age"] for point in points if point["age"] is not None]
    kept = [f"{result['counts']['kept']} kept"] if "counts" in result else []
    if len(ages) < len(points):
        kept.append(f"{len(points) - len(ages)} without a recovery point")
    if ages:
        kept.append(f"{'newest' if len(points) == 1 else 'oldest'} recovery point {age_text(max(ages))} old")
    return "; ".join(kept)
