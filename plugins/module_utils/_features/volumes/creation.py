# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The creation of a volume: empty, from a snapshot, or as the copy in a swap.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..._kernel import tags as tag_names
from ..._kernel.errors import SpecError, listed
from ..._kernel.facts import ENCRYPTION_QUERY, IS_USABLE_ZONE, zone_queries
from ..._kernel.ids import planned
from ..._kernel.plan import Change, Wait
from ..._kernel.resources import Snapshot, Volume, VolumeAttachment
from ..._kernel.state import Query, by_id, own_snapshots, tag_filters
from ..._kernel.tags import specification
from .attaching import plan_attachment
from .draft import Draft, identity_tags
from .drift import (
    creation,
    key_queries,
)
from .match import Match
from .sites import require_supported_site
from .targets import Target

ARCHIVE = "archive"
"""The tier of a snapshot from which EBS makes no volume. A temporarily restored snapshot is in the standard tier."""


def plan_creation(draft: Draft, match: Match) -> None:
    """Plan the volume of an entry that has none, and its attachments."""
    target, name = match.target, match.name
    snapshot_id = _source(draft, target)
    draft.asked += (ENCRYPTION_QUERY, *key_queries(match, using=True))
    sourced = target.spec.snapshot_id is not None or target.spec.snapshot_tags is not None
    if sourced and draft.state.snapshot(snapshot_id) is None:
        return
    tags = {**(target.spec.tags or {}), **identity_tags(target, name)}
    new = planned("volume", f"{target.group}/{name}")
    reason = f"create volume {name} for {target.group}"
    if snapshot_id is not None:
        reason += f" from {snapshot_id}"
    change = creation_change(draft, match, new, tags, reason, snapshot_id=snapshot_id)
    draft.in_place.append(change)
    draft.in_place_waits.append(Wait((new,), "volume_available", final=not target.instances))
    links: list[VolumeAttachment] = []
    for instance in target.instances:
        links = plan_attachment(draft, match, new, instance, draft.devices.choose(match, instance), links)


def _source(draft: Draft, target: Target) -> str | None:
    """Return the snapshot that the entry names, or the newest one with its tags. Raises SpecError if there is none."""
    if target.spec.snapshot_id is not None:
        _require_snapshot(draft, target, target.spec.snapshot_id)
        return target.spec.snapshot_id
    return None if target.spec.snapshot_tags is None else _newest_tagged(draft, target, target.spec.snapshot_tags)


def _require_snapshot(draft: Draft, target: Target, snapshot_id: str) -> None:
    """Raise SpecError for a named snapshot that is not completed, or is archived."""
    draft.asked += by_id("DescribeSnapshots", "snapshot-id", [snapshot_id])
    found = draft.state.snapshot(snapshot_id)
    if not draft.is_settled:
        return
    if found is None:
        trouble = f"does not exist in {draft.state.region}. Check the id and the region"
    elif found.state != "completed":
        trouble = f"is {found.state}. Name a completed snapshot"
    elif found.storage_tier == ARCHIVE:
        trouble = "is archived. Restore it first, with aws ec2 restore-snapshot-tier"
    else:
        return
    raise SpecError(f"{target.label}: snapshot_id: {snapshot_id} {trouble}")


def _newest_tagged(draft: Draft, target: Target, tags: Mapping[str, str]) -> str | None:
    """Return the newest completed snapshot with these tags that is not archived. Raises SpecError if there is none."""
    draft.asked.append(own_snapshots(tags))
    before = target.spec.snapshot_before
    fitting = [
        snapshot
        for snapshot in draft.state.all(Snapshot)
        if snapshot.state == "completed"
        and tags.items() <= snapshot.tags.items()
        and snapshot.start_time is not None
        and (before is None or snapshot.start_time < before)
    ]
    fitting.sort(key=lambda item: (item.start_time, item.snapshot_id), reverse=True)
    usable = [snapshot.snapshot_id for snapshot in fitting if snapshot.storage_tier != ARCHIVE]
    if usable:
        newest = fitting[0].snapshot_id
        if newest != usable[0]:
            draft.warnings.append(f"{target.label}: made from {usable[0]}, since {newest} is archived")
        return usable[0]
    if draft.is_settled:
        raise SpecError(_nothing_to_make_from(draft, target, [snapshot.snapshot_id for snapshot in fitting]))
    return None


def _nothing_to_make_from(draft: Draft, target: Target, archived: Sequence[str]) -> str:
    """Return the message for an entry without a usable snapshot with its tags.

    *archived*: archived snapshots with these tags.
    """
    spec = target.spec
    wanted = ", ".join(f"{key}={value}" for key, value in sorted((spec.snapshot_tags or {}).items()))
    before = f" from before {spec.snapshot_before}" if spec.snapshot_before is not None else ""
    text = f"{target.label}: snapshot: no completed snapshot{before} in {draft.state.region} has {wanted}"
    if archived:
        text += f" and is not archived. First restore one of {listed(archived)}"
    return text


def creation_change(
    draft: Draft,
    match: Match,
    new: str,
    tags: Mapping[str, str],
    reason: str,
    *,
    old: Volume | None = None,
    snapshot_id: str | None = None,
) -> Change:
    """Return the CreateVolume for an entry. *old*: the volume that a swap copies from *snapshot_id*.

    Raises SpecError for a zone that does not exist, and UnsafePlan for a site where EC2 would not make the volume.
    """
    target = match.target
    require_supported_site(target)
    if not target.instances:
        draft.asked += zone_queries(target.zone)
        if draft.is_settled and not IS_USABLE_ZONE.of(draft.state, target.zone):
            raise SpecError(f"availability_zone: there is no zone {target.zone} in {draft.state.region} to use")
    request, after = creation(target, tags, draft.state, old=old, snapshot_id=snapshot_id)
    request["TagSpecifications"] = [specification("volume", tags)]
    own = tag_filters({key: tags[key] for key in (tag_names.SPEC, tag_names.VOLUME)})
    return Change(
        "CreateVolume",
        new,
        draft.state.region,
        request,
        reason,
        None,
        after,
        identity=Query("DescribeVolumes", own),
        token=(target.group, match.name, target.zone, snapshot_id or "", old.volume_id if old else ""),
    )
