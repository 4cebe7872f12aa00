# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter restore_points: from snapshots to what volumes can be restored from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore.points import (
    Restored,
    Wanted,
    parse_time,
    recover,
    snapshot_of,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError, StorageError


def restore_points(
    snapshots: Iterable[Mapping[str, Any]],
    *,
    volume_ids: Iterable[str] = (),
    instance_id: str = "",
    before: object = None,
    region: str = "",
    restored: Iterable[Mapping[str, Any]] = (),
    taken: Iterable[str] | None = None,
    strict: bool = True,
) -> dict[str, Any]:
    """Return the points that the documentation beside this file describes.

    Where nothing can be restored from, raises AnsibleFilterError, or returns only ``error`` and ``notes`` unless
    *strict*: Ansible puts words of its own before the message of a filter that fails.
    """
    volumes = tuple(volume_ids)
    if bool(volumes) == bool(instance_id):
        raise AnsibleFilterError("restore_points: one of volume_ids and instance_id is needed, and not both")
    try:
        wanted = Wanted(
            volumes,
            instance_id,
            parse_time(before, "before") if before else None,
            region,
            tuple(
                Restored(item["source"], item["snapshot_id"], parse_time(item["create_time"], "create_time"))
                for item in restored
            ),
            None if taken is None else tuple(taken),
        )
        found = recover((snapshot_of(item) for item in snapshots), wanted)
        if found.failures:
            raise SpecError(". ".join(found.failures.values()))
        return {**found.view(), "error": None}
    except StorageError as error:
        if not strict:
            return {"error": str(error), "notes": []}
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """By name."""
        return {"restore_points": restore_points}
