# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The result of `ebs_volume_spec`: the declared volumes, observed or predicted.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..._kernel import proofs
from ..._kernel import tags as tag_names
from ..._kernel.errors import StorageError
from ..._kernel.facts import DEFERRAL
from ..._kernel.ids import is_planned
from ..._kernel.resources import Snapshot, Volume, view
from ..._kernel.state import State
from ..._kernel.storage_facts import MODIFICATION
from ..._kernel.times import format_moment
from .draft import plain
from .drift import Drift, compare
from .former_attachments import deleted_with
from .identity import matches
from .match import Match
from .spec import VolumesSpec

_NVME = "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_"


def result(spec: VolumesSpec, state: State) -> dict[str, Any]:
    """Return ``volumes``, ``deferred`` and ``final_snapshots``, in the order of the declaration."""
    volumes: list[dict[str, Any]] = []
    deferred: list[dict[str, Any]] = []
    for match in matches(dataclasses.replace(spec, steal=True), state):
        if match.refused is not None:
            continue
        entries = list(_entries(match, state))
        volumes += entries
        fields = _drift(match, state).modify
        if match.volume is not None and fields and _is_deferred(match.volume, state):
            deferred.append(_deferred(match, match.volume, fields, state))
    return {"volumes": volumes, "deferred": deferred, "final_snapshots": list(_final_snapshots(state))}


def _drift(match: Match, state: State) -> Drift:
    """Return the drift of an entry, or none if the plan has refused the entry for its values."""
    try:
        return compare(match, state) if match.target.spec.state == "present" else Drift()
    except StorageError:
        return Drift()


def _is_deferred(volume: Volume, state: State) -> bool:
    """Return whether EBS makes no change now. A refused entry also has drift."""
    latest = MODIFICATION.of(state, volume.volume_id)
    return DEFERRAL.of(state, volume.volume_id) is not None or (latest is not None and latest.is_under_way)


def _final_snapshots(state: State) -> Iterator[dict[str, str]]:
    """Yield the newest final snapshot of each volume that runs took. A planned one is the newest."""
    newest: dict[str, Snapshot] = {}
    for item in state.all(Snapshot):
        volume_id = item.tags.get(tag_names.FINAL, "")
        if proofs.is_last_snapshot(item, volume_id):
            newest[volume_id] = max(item, newest.get(volume_id, item), key=_age)
    for volume_id, item in newest.items():
        yield {"volume_id": volume_id, "snapshot_id": item.snapshot_id}


def _age(snapshot: Snapshot) -> tuple[bool, datetime]:
    return snapshot.start_time is None, snapshot.start_time or datetime.min.replace(tzinfo=UTC)


# More than 40 lines: each key of the result has one.
def _entries(match: Match, state: State) -> Iterator[dict[str, Any]]:
    """Yield the match's volume once for each of the target's instances, or once without instances."""
    volume, target = match.volume, match.target
    instance_ids: Sequence[str | None] = [instance.instance_id for instance in target.instances] or [None]
    drift = _drift(match, state)
    latest = MODIFICATION.of(state, volume.volume_id) if volume is not None else None
    links = volume.attachments if volume is not None else ()
    fields = view(volume) if volume is not None else {}
    volume_id = volume.volume_id if volume is not None else None
    for instance_id in instance_ids:
        link = next((item for item in links if item.instance_id == instance_id), None)
        yield {
            "instance_id": instance_id,
            "spec": target.group,
            "name": match.name,
            "volume_id": volume_id,
            "device_name": link.device_name if link is not None else None,
            "nvme_path": _NVME + volume_id.replace("-", "") if volume_id and not is_planned(volume_id) else None,
            **{
                name: fields.get(name)
                for name in (
                    "state",
                    "size",
                    "volume_type",
                    "iops",
                    "throughput",
                    "encrypted",
                    "kms_key_id",
                    "availability_zone",
                    "snapshot_id",
                )
            },
            "attachments": [
                {**plain(item), "delete_on_termination": deleted_with(state, volume, item.instance_id)}
                for item in links
            ],
            "tags": fields.get("tags") or {},
            "multi_attach": fields.get("multi_attach_enabled"),
            "delete_on_termination": deleted_with(state, volume, instance_id) if link is not None else None,
            "modification_state": latest.state if latest is not None else None,
            "next_modification_at": _not_before(state, volume_id),
            "drift": {
                name: {"wanted": wanted, "actual": actual}
                for name, (wanted, actual) in {**drift.modify, **drift.swap, **drift.never}.items()
            },
            "replaced": list(tag_names.replaced_ids(volume.tags)) if volume is not None else [],
        }


def _not_before(state: State, volume_id: str | None) -> str | None:
    refusal = DEFERRAL.of(state, volume_id)
    return format_moment(refusal.not_before) if refusal is not None and refusal.not_before is not None else None


def _deferred(match: Match, volume: Volume, fields: Mapping[str, Any], state: State) -> dict[str, Any]:
    refusal, latest = DEFERRAL.of(state, volume.volume_id), MODIFICATION.of(state, volume.volume_id)
    reason = f"a modification is {latest.state if latest is not None else None}"
    if refusal is not None and refusal.message:
        reason = refusal.message
    return {
        "volume_id": volume.volume_id,
        "name": match.name,
        "instance_id": match.target.instances[0].instance_id if match.target.instances else None,
        "changes": {name: {"wanted": wanted, "actual": actual} for name, (wanted, actual) in fields.items()},
        "reason": reason,
        "next_modification_at": _not_before(state, volume.volume_id),
    }
