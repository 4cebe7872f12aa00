# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of a rotation's result about the lifecycle of its snapshots.

Private to this collection.
"""

from __future__ import annotations

from typing import Any

from ..._kernel.facts import DEFERRAL
from ..._kernel.ids import kind_of
from ..._kernel.resources import Snapshot
from ..._kernel.state import State
from .lifecycle import LISTED, LifecycleChanges


def lifecycle_result(changes: LifecycleChanges, most: int | None) -> dict[str, Any]:
    """Return the module's part of the result: by change, the ids of its snapshots. New snapshots have planned ids.

    *most*: the number of entries in ``archive_waiting``, or None for all. The other lists are always short.
    """
    found: dict[str, Any] = {name: [] for name in LISTED.values()}
    for change in changes.all:
        found[LISTED[change.action]].append(change.resource)
    waiting = changes.waiting if most is None else changes.waiting[:most]
    return {
        **found,
        "archive_waiting": [{"snapshot_ids": list(a_set.ids), "reason": reason} for a_set, reason in waiting],
    }


def lifecycle_deferred(state: State) -> list[dict[str, str]]:
    """Return the changes that EC2 refused for now, for example because of a quota. A later run tries them again.

    A copy that EC2 did not begin is listed under its planned id.
    """
    return [
        {"snapshot_id": resource, "code": refusal.code, "message": refusal.message}
        for resource, refusal in DEFERRAL.all(state).items()
        if kind_of(resource) == Snapshot.kind
    ]
