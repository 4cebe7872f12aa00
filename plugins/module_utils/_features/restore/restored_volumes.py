# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The volumes with the tags of a restore or a drill that were made from a snapshot of their source.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..._kernel import tags as tag_names
from ..._kernel.display import visible
from ..._kernel.errors import bounded
from ..._kernel.proofs import copy_record, is_copy, is_made_from, source_of
from ..._kernel.resources import Snapshot, Volume

_OF_A_DRILL = frozenset({tag_names.SPEC, tag_names.VOLUME})
"""All tags that a drill gives to its volumes."""


@dataclass(frozen=True)
class Claim:
    """A volume whose tags say that it was restored from *source*, the id of a volume."""

    volume: Volume
    source: str


@dataclass(frozen=True)
class Proven:
    """The ids of the volumes that count, and notes for the user about the others.

    ``refuted``: by id, the reason why a volume does not count.
    """

    volume_ids: tuple[str, ...]
    notes: tuple[str, ...]
    refuted: Mapping[str, str] = field(default_factory=dict)


def restored(claims: Iterable[Claim], snapshots: Mapping[str, Snapshot]) -> Proven:
    """Return the claims that EC2 does not contradict, so that such a volume is not restored again.

    If EC2 no longer shows the snapshot, the claim is not proven. Such a volume counts, with a note, since this does no
    harm. It does not count beside another volume of its source whose snapshot EC2 shows. A volume that was made from a
    copy counts only if the copy's description names the source.
    """
    counted, notes, refuted = [], [], {}
    known = list(claims)
    shown = [claim for claim in known if (claim.volume.snapshot_id or "") in snapshots]
    proven = {claim.source for claim in shown if _misfit(claim, snapshots[claim.volume.snapshot_id or ""]) is None}
    for claim in known:
        snapshot = snapshots.get(claim.volume.snapshot_id or "")
        misfit = _misfit(claim, snapshot)
        if misfit is None and snapshot is None and claim.source in proven:
            misfit = (
                f"EC2 no longer shows {claim.volume.snapshot_id}, and another restored volume of this source still has "
                "its snapshot"
            )
        if misfit is not None:
            refuted[claim.volume.volume_id] = (
                f"{claim.volume.volume_id} has the tags of a volume restored from {visible(claim.source)}, but "
                f"{misfit}. {claim.volume.volume_id} does not count as restored. Remove its tag {tag_names.SPEC}"
            )
            notes.append(refuted[claim.volume.volume_id])
            continue
        counted.append(claim.volume.volume_id)
        if snapshot is None:
            notes.append(
                f"{claim.volume.volume_id} counts as restored from {visible(claim.source)} by its tags alone: EC2 no "
                f"longer shows {claim.volume.snapshot_id}"
            )
    return Proven(tuple(counted), tuple(bounded(notes)), refuted)


def left_by_drills(claims: Iterable[Claim], snapshots: Mapping[str, Snapshot]) -> Proven:
    """Return the claims that EC2 proves, which are volumes of interrupted drills. A run may delete them after a final
    snapshot.

    Such a volume was made from a snapshot of its source that EC2 still shows. It has the size of the snapshot, and only
    tags of a drill. A copy does not show its original's volume, so a volume made from a copy is kept.
    """
    counted, notes = [], []
    for claim in claims:
        snapshot = snapshots.get(claim.volume.snapshot_id or "")
        misfit = _misfit(claim, snapshot)
        if misfit is None and (snapshot is None or is_copy(snapshot)):
            misfit = f"EC2 does not show that {claim.volume.snapshot_id} is a snapshot of {visible(claim.source)}"
        if misfit is None and snapshot is not None and claim.volume.size != snapshot.volume_size:
            misfit = f"its size differs from {snapshot.snapshot_id}"
        if misfit is None and not _OF_A_DRILL.issuperset(claim.volume.tags):
            misfit = "it has tags that no drill sets"
        if misfit is None:
            counted.append(claim.volume.volume_id)
        else:
            notes.append(
                f"{claim.volume.volume_id} has the tags of a drill of {visible(claim.source)}, but {misfit}. The "
                f"task keeps it. Delete it yourself, or remove its tag {tag_names.SPEC}"
            )
    return Proven(tuple(counted), tuple(bounded(notes)))


def _misfit(claim: Claim, snapshot: Snapshot | None) -> str | None:
    """Return why the volume cannot have been restored from its source, or None if EC2 does not contradict it."""
    if not claim.volume.snapshot_id:
        return "it was not made from a snapshot"
    if snapshot is None:
        return None
    if is_copy(snapshot) and copy_record(snapshot) is None:
        return f"it was made from {snapshot.snapshot_id}, a copy whose description does not name the volume"
    if source_of(snapshot) != claim.source:
        what = f"a {'copy of a ' if is_copy(snapshot) else ''}snapshot of {source_of(snapshot) or 'an unknown volume'}"
        return f"it was made from {snapshot.snapshot_id}, {what}"
    if not is_made_from(claim.volume, [snapshot]):
        return f"it is older than {snapshot.snapshot_id}"
    return None
