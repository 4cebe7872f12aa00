# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The versions to which a failed publication returns its groups.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..._kernel.scaling_facts import LATEST_VERSION


def former_versions(plan: Iterable[Mapping[str, Any]], default: str) -> dict[str, str]:
    """Return the version of each group before the refresh in *plan*, by the group's name.

    A group keeps the number that it names, or ``$Default``, which the launch template has changed back by then.
    ``$Latest`` stays the new version, so its group gets the version of its instances, or *default* if they differ.
    """
    found = {}
    for entry in plan:
        if entry["action"] != "StartInstanceRefresh":
            continue
        before = entry["before"]
        used = [version for version in before["instances"] if version != "other"]
        latest = used[0] if len(used) == 1 else str(default)
        found[entry["resource"]] = latest if before["version"] == LATEST_VERSION else before["version"]
    return found
