# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The volumes of earlier restores that differ from those of this restore. A note names each of them.

EC2 shows the same for a volume of an interrupted restore and for one that somebody made by hand from an old snapshot of
the source. So a restore completes the volume of an interrupted restore, but does not treat the other volume as the
newest data.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..._kernel import tags as tag_names
from ..._kernel.errors import SpecError, bounded
from ..._kernel.resources import Instance, Snapshot
from ..._kernel.times import format_moment
from .candidates import candidates_in
from .points import Wanted, recover
from .restored_volumes import Claim


def is_elsewhere(claim: Claim, zone: str, target: Instance | None) -> bool:
    """Return whether the volume is in the wrong zone, or still attached to another instance than the *target*."""
    links = [link for link in claim.volume.attachments if not link.leaving]
    held = target is not None and bool(links) and all(link.instance_id != target.instance_id for link in links)
    return claim.volume.availability_zone != zone or held


def elsewhere_notes(claims: Iterable[Claim]) -> list[str]:
    """Return notes that name the volumes of earlier restores in other zones or on other instances. These volumes are
    kept, and do not count here.
    """
    notes = (
        f"{claim.volume.volume_id} has the tags of a volume restored from {claim.source}, but is in another zone or "
        f"attached to another instance. The task neither counts nor changes it. If {claim.volume.volume_id} was not "
        f"restored from {claim.source}, remove its tag {tag_names.SPEC}"
        for claim in claims
    )
    return bounded(notes)


def older_notes(claims: Sequence[Claim], snapshots: Iterable[Snapshot], wanted: Wanted) -> list[str]:
    """Return notes that name the volumes of earlier restores for which a new restore would take another snapshot."""
    if not claims:
        return []
    known = list(snapshots)
    candidates = {item.snapshot.snapshot_id: item for item in candidates_in(known)}
    try:
        points = recover(known, replace(wanted, restored=())).points
    except SpecError:
        return []
    fresh = {point.source: candidates[point.snapshot.snapshot_id] for point in points}
    notes = []
    for claim in claims:
        used, newest = candidates.get(claim.volume.snapshot_id or ""), fresh.get(claim.source)
        if used is not None and newest is not None and used.data != newest.data:
            notes.append(
                f"{claim.volume.volume_id} was restored from {claim.source} before, from "
                f"{used.snapshot.snapshot_id} of {format_moment(used.moment)}. A new restore would take "
                f"{newest.snapshot.snapshot_id} of {format_moment(newest.moment)}. To restore from "
                f"{newest.snapshot.snapshot_id}, give another name"
            )
    return bounded(notes)
