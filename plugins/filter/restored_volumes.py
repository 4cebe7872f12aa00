# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter restored_volumes: which volumes that carry the tags of a restore were made by one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore.points import parse_time, snapshot_of
from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore.restored_volumes import (
    Claim,
    left_by_drills,
    restored,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Volume


def restored_volumes(
    volumes: Iterable[Mapping[str, Any]], *, snapshots: Iterable[Mapping[str, Any]], drill: bool = False
) -> dict[str, list[str]]:
    """Return ``volume_ids`` and ``notes``, see restored_volumes.yml."""
    try:
        known = {item.snapshot_id: item for item in map(snapshot_of, snapshots)}
        told = (left_by_drills if drill else restored)([_claim(item) for item in volumes], known)
    except StorageError as error:
        raise AnsibleFilterError(str(error)) from error
    return {"volume_ids": list(told.volume_ids), "notes": list(told.notes)}


def _claim(described: Mapping[str, Any]) -> Claim:
    """Return the claim of a volume from `amazon.aws.ec2_vol_info`. Its source is the last part of its name."""
    tags = {str(key): str(value) for key, value in (described.get("tags") or {}).items()}
    volume = Volume(
        described["id"],
        size=int(described.get("size") or 0),
        snapshot_id=described.get("snapshot_id") or None,
        create_time=parse_time(described["create_time"], "create_time"),
        tags=tags,
    )
    return Claim(volume, tags.get("ec2ops:volume", "").rpartition("/")[2])


class FilterModule:
    """The class that Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return the filters by name."""
        return {"restored_volumes": restored_volumes}
