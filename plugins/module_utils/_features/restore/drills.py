# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A drill, which makes volumes, waits for them and deletes them, and the volumes that an interrupted drill has left.

EC2 does not show whether a drill has left a volume, or whether somebody made and tagged it by hand. So it is deleted
only after a completed final snapshot.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from ..._domain.volume_changes import snapshot_deletion
from ..._kernel import tags as tag_names
from ..._kernel.plan import ANY_FAILURE, Change, Stage, apart, tagging
from ..._kernel.proofs import is_superseded
from ..._kernel.resources import Snapshot, Volume
from ..._kernel.state import State
from ..._kernel.times import format_moment
from .changes import deletion, final_capture, undone, waits
from .point_volume import RestorePoint
from .restored_volumes import Claim, left_by_drills
from .search import drill_claims, final_queries, snapshots_by_id
from .spec import RestoreSpec


@dataclass(frozen=True)
class Leftover:
    """A volume that an interrupted drill has left.

    ``capture``: the change that takes its final snapshot. ``older``: final snapshots that earlier runs took, and that
    the new one replaces.
    """

    claim: Claim
    capture: Change
    older: tuple[Snapshot, ...] = ()

    @property
    def volume(self) -> Volume:
        """The volume."""
        return self.claim.volume

    @property
    def warning(self) -> str:
        """The sentence for the user before the run."""
        return (
            f"an interrupted drill of {self.claim.source} has left {self.volume.volume_id}. The task deletes it after "
            "a final snapshot"
        )

    @property
    def note(self) -> str:
        """The sentence for the user after the run."""
        return (
            f"an interrupted drill of {self.claim.source} has left {self.volume.volume_id}. The task has deleted it, "
            f"and {self.capture.resource} keeps its content. Delete that snapshot if nobody misses the volume."
        )


@dataclass(frozen=True)
class Leftovers:
    """``volumes`` of interrupted drills, and ``notes`` on volumes that only have the tags of a drill."""

    volumes: tuple[Leftover, ...] = ()
    notes: tuple[str, ...] = ()


def leftovers(spec: RestoreSpec, state: State, now: datetime, volumes: int) -> Leftovers:
    """Return the volumes that interrupted drills of the same sources have left. *volumes*: the number of volumes of
    this drill.

    No volume of a running drill is that old, since each drill has time limits to make its volumes and to delete them.
    """
    claims = drill_claims(spec, state, now - 2 * spec.time_limit * volumes)
    known = {item.snapshot_id for item in state.all(Snapshot)}
    state.require(*snapshots_by_id({claim.volume.snapshot_id for claim in claims} - known))
    found = left_by_drills(claims, {item.snapshot_id: item for item in state.all(Snapshot)})
    state.require(*final_queries(found.volume_ids))
    proven = [claim for claim in claims if claim.volume.volume_id in found.volume_ids]
    return Leftovers(tuple(_leftover(claim, state, now) for claim in proven), found.notes)


def _leftover(claim: Claim, state: State, now: datetime) -> Leftover:
    volume_id = claim.volume.volume_id
    tagged = [item for item in state.all(Snapshot) if item.tags.get(tag_names.FINAL) == volume_id]
    older = tuple(item for item in tagged if is_superseded(item, volume_id, now))
    return Leftover(claim, final_capture(claim.volume, tagged, state.region), older)


def record(point: RestorePoint, volume_id: str, region: str, now: datetime) -> Change | None:
    """Return the change that records on the snapshot when a drill has restored it, or None if it takes no further tag.

    It comes after the wait for the drill's volume, *volume_id*.
    """
    snapshot = point.snapshot
    wanted = {tag_names.DRILLED: format_moment(now)}
    change, _left_out = tagging(
        snapshot.snapshot_id, region, snapshot.tags, wanted, f"record the drill of {point.source}"
    )
    if change is None:
        return None
    # A view with the tag would show the time of the run. But a plan must be equal in a check run and in the run after
    # it.
    before, after = {"drilled": tag_names.DRILLED in snapshot.tags}, {"drilled": True}
    return replace(change, after_steps=(volume_id,), before=before, after=after)


def drill_stages(
    creations: Sequence[Change],
    records: Sequence[Change],
    left: Sequence[Leftover],
    region: str,
    *,
    whole: bool,
) -> tuple[Stage, ...]:
    """Make the drill's volumes, record their success and delete them once they are available, and then delete the
    leftovers of other drills.

    Until one of the drill's own volumes is available, a failure deletes it. *whole*: the volumes are those of one
    instance, so a failure deletes all of them. The leftovers depend on none of them.
    """
    made = [change.resource for change in creations]
    making = Stage(tuple(creations), waits(made, "volume_available"), undone(creations), ANY_FAILURE)
    own = tuple(deletion(name, region, "delete: the drill is over") for name in made)
    ending = Stage((*records, *own), waits(made, "deleted", final=True))
    drill = (making, ending) if whole else (*apart([making], "drill"), *apart([ending]))
    stages = (*drill, *apart(_leftover_stages(left, region)))
    return tuple(stage for stage in stages if stage.changes or stage.waits)


def _leftover_stages(left: Sequence[Leftover], region: str) -> Iterator[Stage]:
    """Yield the stages that capture leftovers of other drills, and then delete them."""
    # EC2 takes a snapshot of a volume once those that are pending are complete.
    pending = {
        each.volume.volume_id: tuple(item.snapshot_id for item in each.older if item.state == "pending")
        for each in left
    }
    yield Stage(waits=waits([name for names in pending.values() for name in names], "completed"))
    captures = tuple(replace(each.capture, after_steps=pending[each.volume.volume_id]) for each in left)
    yield Stage(captures, waits((change.resource for change in captures), "completed"))
    gone = [
        deletion(
            each.volume.volume_id,
            region,
            f"delete: an interrupted drill of {each.claim.source} has left it",
            each.volume,
        )
        for each in left
    ]
    useless = [
        replace(
            snapshot_deletion(item, region, f"delete: a newer final snapshot of {each.volume.volume_id} replaces it"),
            after_steps=(each.capture.resource,),
        )
        for each in left
        for item in each.older
    ]
    yield Stage((*gone, *useless), waits((change.resource for change in gone), "deleted", final=True))
