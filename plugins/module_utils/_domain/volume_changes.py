# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Changes to volumes and their snapshots that more than one feature plans.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from .._kernel.ids import planned
from .._kernel.plan import Change, Stage
from .._kernel.resources import Snapshot, Volume, VolumeAttachment
from .._kernel.state import Query
from .._kernel.tags import specification


def capture_of(
    volume: Volume,
    word: str,
    region: str,
    reason: str,
    *,
    description: str,
    tags: Mapping[str, str],
    identity: Query,
    older: Iterable[Snapshot],
) -> Change:
    """Return the CreateSnapshot of a detached volume, with the planned id ``word of volume``.

    *older*: the existing snapshots that match *identity*. None of them counts as the new one. Only the run that took a
    snapshot knows whether a write came after it.
    """
    return Change(
        "CreateSnapshot",
        planned("snapshot", f"{word} of {volume.volume_id}"),
        region,
        {
            "VolumeId": volume.volume_id,
            "Description": description,
            "TagSpecifications": [specification("snapshot", tags)],
        },
        reason,
        None,
        {
            "state": "completed",
            "volume_id": volume.volume_id,
            "volume_size": volume.size,
            "encrypted": volume.encrypted,
            "tags": dict(tags),
        },
        identity=identity,
        source=volume.volume_id,
        passed_over=frozenset(item.snapshot_id for item in older),
    )


def snapshot_deletion(snapshot: Snapshot, region: str, reason: str) -> Change:
    """Return the DeleteSnapshot of one snapshot."""
    return Change("DeleteSnapshot", snapshot.snapshot_id, region, {}, reason, {"state": snapshot.state}, None)


def attachment(volume_id: str, instance_id: str, device: str, region: str, reason: str) -> Change:
    """Return the AttachVolume of a volume that is attached to no instance."""
    link = dataclasses.asdict(VolumeAttachment(instance_id, device))
    return Change(
        "AttachVolume",
        volume_id,
        region,
        {"InstanceId": instance_id, "Device": device},
        reason,
        {"state": "available", "attachments": []},
        {"state": "in-use", "attachments": [link]},
    )


def detachment(volume_id: str, link: VolumeAttachment, region: str, reason: str, *, disruptive: bool) -> Change:
    """Return the DetachVolume of a volume's only attachment."""
    return Change(
        "DetachVolume",
        volume_id,
        region,
        {"InstanceId": link.instance_id},
        reason,
        {"attachments": [dataclasses.asdict(link)]},
        {"state": "available", "attachments": []},
        disruptive=disruptive,
    )


def deletion_of_unmade(changes: Iterable[Change]) -> tuple[Stage, ...]:
    """Return the rollback that deletes volumes that EBS could not create, for instance with an unusable key.

    *changes*: only CreateVolume counts. Only the run that requested such a volume knows that it was never in use.
    """
    alive = ("status", ("creating", "available", "in-use"))
    deletions = tuple(
        Change(
            "DeleteVolume",
            change.resource,
            change.region,
            {},
            "delete: EBS could not create it",
            unless=(Query("DescribeVolumes", (("volume-id", (change.resource,)), alive)),),
        )
        for change in changes
        if change.creates
    )
    return (Stage(deletions),) if deletions else ()
