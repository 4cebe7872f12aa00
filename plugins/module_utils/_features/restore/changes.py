# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The changes of a restore and of a drill, one function each.

A restored volume has the tags and the client token that `ebs_volume_spec` would give it. So that module finds the
volume by its declaration, and each of the two modules can finish the work of the other.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from ..._domain import volume_changes
from ..._domain.volume_changes import capture_of
from ..._domain.volume_types import normalised, performance_of
from ..._kernel import proofs
from ..._kernel import tags as tag_names
from ..._kernel.facts import ENCRYPTION_BY_DEFAULT
from ..._kernel.ids import planned
from ..._kernel.plan import Change, Stage, Wait
from ..._kernel.resources import Instance, Snapshot, Volume, view
from ..._kernel.state import Query, State, own_snapshots, tag_filters
from ..._kernel.times import format_moment
from .point_volume import RestorePoint
from .spec import RestoreSpec


def planned_volume(spec: RestoreSpec, source: str) -> str:
    """Return the planned id of the volume that is restored from the snapshot of *source*."""
    return planned("volume", f"{spec.declaration(source)}/{spec.entry(source)}")


def creation(spec: RestoreSpec, point: RestorePoint, zone: str, state: State, beside: Collection[str] = ()) -> Change:
    """Return the CreateVolume of a restore point. A drill's volume has no tags of its source, so no selection finds it.

    *beside*: the volumes at other places with the same tags. EC2 would return such a volume for its token.
    """
    declaration, entry = spec.declaration(point.source), spec.entry(point.source)
    identity = {tag_names.SPEC: declaration, tag_names.VOLUME: entry}
    tags = identity if spec.is_drill else {**point.tags, **identity}
    return Change(
        "CreateVolume",
        planned_volume(spec, point.source),
        state.region,
        {**_request(point, zone), "TagSpecifications": [tag_names.specification("volume", tags)]},
        f"restore {point.source} from {point.snapshot.snapshot_id} of {format_moment(point.moment)}",
        None,
        {**_made(point, zone, state), "tags": tags},
        identity=Query("DescribeVolumes", tag_filters(identity)),
        # The parts are those of the token in `ebs_volume_spec`, where the last part names the volume that a copy
        # replaces.
        token=(declaration, entry, zone, point.snapshot.snapshot_id, " ".join(beside)),
    )


def _request(point: RestorePoint, zone: str) -> dict[str, Any]:
    iops, throughput = normalised(point.volume_type, point.iops, point.throughput)
    values = {
        "AvailabilityZone": zone,
        "VolumeType": point.volume_type,
        "Size": point.snapshot.volume_size,
        "SnapshotId": point.snapshot.snapshot_id,
        "Iops": iops,
        "Throughput": throughput,
    }
    return {name: value for name, value in values.items() if value is not None}


def _made(point: RestorePoint, zone: str, state: State) -> dict[str, Any]:
    """Return the predicted fields of the new volume.

    A volume from an encrypted snapshot of the same account gets the snapshot's key.
    """
    snapshot = point.snapshot
    return {
        "state": "available",
        "size": snapshot.volume_size,
        "volume_type": point.volume_type,
        **performance_of(point.volume_type, snapshot.volume_size, point.iops, point.throughput),
        "encrypted": snapshot.encrypted or bool(ENCRYPTION_BY_DEFAULT.of(state)),
        "kms_key_id": snapshot.kms_key_id if snapshot.encrypted else None,
        "availability_zone": zone,
        "snapshot_id": snapshot.snapshot_id,
        "attachments": [],
    }


def attachment(volume_id: str, source: str, target: Instance, device: str, region: str) -> Change:
    """Return the AttachVolume of a restored volume that is attached to no instance."""
    reason = f"attach the volume restored from {source} to {target.instance_id}"
    return volume_changes.attachment(volume_id, target.instance_id, device, region, reason)


def deletion(volume_id: str, region: str, reason: str, volume: Volume | None = None) -> Change:
    """Return the DeleteVolume of a drill's volume.

    *volume*: the volume as EC2 shows it, or None for one that this run makes.
    """
    shown = view(volume) if volume is not None else None
    before = None if shown is None else {key: shown[key] for key in ("state", "size", "volume_type", "tags")}
    return Change(
        "DeleteVolume", volume_id, region, {}, reason, before or {"state": "available"}, None, disruptive=True
    )


def final_capture(volume: Volume, older: Iterable[Snapshot], region: str) -> Change:
    """Return the CreateSnapshot that keeps the content of a volume which an interrupted drill has left.

    *older*: the snapshots that carry its tag already. Only the run that took a snapshot knows whether a write came
    after it.
    """
    tags = {tag_names.FINAL: volume.volume_id}
    note = f": {proofs.capture_note(proofs.Purpose.FINAL, volume.volume_id)}"
    about = f"{volume.tags.get(tag_names.SPEC, '')} {volume.tags.get(tag_names.VOLUME, '')}"
    return capture_of(
        volume,
        proofs.FINAL_WORD,
        region,
        f"capture {volume.volume_id} before its deletion",
        description=about[: 255 - len(note)] + note,
        tags=tags,
        identity=own_snapshots(tags),
        older=older,
    )


def undone(creations: Iterable[Change]) -> tuple[Stage, ...]:
    """Return the rollback that deletes all volumes of a drill.

    EC2 does not delete a volume that it is still creating.
    """
    deletions = tuple(
        Change("DeleteVolume", change.resource, change.region, {}, "delete: the drill has failed")
        for change in creations
    )
    return (Stage(deletions, patience=frozenset({"IncorrectState"})),) if deletions else ()


def waits(resources: Iterable[str], goal: str, *, about: str = "", final: bool = False) -> tuple[Wait, ...]:
    """Return one wait for all *resources*, or none without resources."""
    several = tuple(resources)
    return (Wait(several, goal, final=final, about=about),) if several else ()
