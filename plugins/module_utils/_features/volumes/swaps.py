# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The swap of a volume for a copy of it, and its end.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from ..._kernel import proofs
from ..._kernel import tags as tag_names
from ..._kernel.errors import UnsafePlan, listed
from ..._kernel.facts import ENCRYPTION_QUERY
from ..._kernel.ids import kind_of, planned
from ..._kernel.plan import Change, Stage, Wait
from ..._kernel.resources import Snapshot, Volume, VolumeAttachment
from ..._kernel.state import own_snapshots
from ..._kernel.storage_facts import modification_query
from ..._kernel.tags import carried, replaces_value
from .attaching import plan_attachment, plan_detach, point_of_no_return, record_attachments
from .captures import (
    before_deletion,
    give_up,
    outdate,
    plan_capture,
    snapshot_query,
    snapshots_of_runs,
)
from .creation import creation_change
from .draft import Draft, Move, identity_tags
from .drift import (
    compare,
    key_queries,
    shown,
)
from .former_attachments import FormerAttachment, declared_attachments, present_attachments, recorded_attachments
from .in_place import leaving_warnings
from .match import Match


def plan_swap(draft: Draft, match: Match, volume: Volume) -> None:
    """Plan the exchange of the volume for its copy, which is made after the detach."""
    target = match.target
    if match.how == "device":
        # A detached volume has nothing but its tags to show whose it is.
        draft.add_tags(draft.in_place, volume, identity_tags(target, match.name), "tag as the volume of this entry")
    new = planned("volume", f"{target.group}/{match.name}")
    formers = present_attachments(draft.state, volume)
    _require_all_named(draft, match, volume)
    if formers:
        record_attachments(draft, volume, formers)
        plan_detach(draft, match, volume, volume.attachments)
    else:
        formers = declared_attachments(target, volume)
    final = draft.spec.delete_replaced and draft.spec.final_snapshot
    reason = f"capture {volume.volume_id} for its copy"
    snapshot = plan_capture(draft, match, volume, tag_names.SWAP, reason, final=final)
    draft.asked += (ENCRYPTION_QUERY, modification_query(volume.volume_id), *key_queries(match, using=True))
    draft.warnings += leaving_warnings(match, volume, draft.state)
    _plan_copy(draft, match, volume, new, snapshot)
    draft.moves.append(Move(volume, formers, new, snapshot))
    _attach_copy(draft, match, new, formers)
    finish_swap(draft, match, volume, new, snapshot)
    end_swap(draft, match, new)


def _plan_copy(draft: Draft, match: Match, volume: Volume, new: str, snapshot: str) -> None:
    """Plan the creation of the volume's copy from the *snapshot* of this swap."""
    target = match.target
    purged = draft.spec.purge_tags and target.spec.tags is not None
    tags = {
        **({} if purged else carried(volume.tags)),
        **(target.spec.tags or {}),
        **identity_tags(target, match.name),
        tag_names.REPLACES: replaces_value(volume.volume_id, tag_names.replaced_ids(volume.tags)),
        # Until the copy is in its place, this tag says that a later run may delete it.
        tag_names.SWAP: volume.volume_id,
    }
    reason = f"replace {volume.volume_id}: {shown(compare(match, draft.state).swap)}"
    draft.creates.append(creation_change(draft, match, new, tags, reason, old=volume, snapshot_id=snapshot))
    draft.create_waits.append(Wait((new,), "volume_available", final=not target.instances))


def _attach_copy(draft: Draft, match: Match, new: str, formers: Iterable[FormerAttachment]) -> None:
    """Plan the attachment of the copy at the place of the volume, and at all other places of the entry."""
    known = {former.instance_id: former for former in formers}
    links: list[VolumeAttachment] = []
    for instance in match.target.instances:
        was = known.get(instance.instance_id)
        device = draft.devices.choose(match, instance, was.device_name if was else None)
        remembered = was is not None and was.delete_on_termination
        links = plan_attachment(draft, match, new, instance, device, links, remembered=remembered)


def swaps_undone(draft: Draft) -> Iterator[Stage]:
    """Yield the rollback of `plan_swap`, which leaves neither the copy nor its snapshot.

    EC2 shows a pending snapshot until it is completed, even if it is deleted. So the rollback first removes the tags by
    which a later run would find it. The snapshot proves the copy, so the copy is deleted first.
    """
    ends = [(move, point_of_no_return(draft, move)) for move in draft.moves]
    yield Stage(
        tuple(
            dataclasses.replace(
                draft.untagged(move.snapshot, (tag_names.FINAL, tag_names.SWAP), "undo the swap"), unless=end
            )
            for move, end in ends
            if move.snapshot
        )
    )
    region = draft.state.region
    yield Stage(
        tuple(
            Change("DeleteVolume", move.new, region, {}, "undo the swap", unless=end) for move, end in ends if move.new
        )
    )
    yield Stage(
        tuple(
            Change("DeleteSnapshot", move.snapshot, region, {}, "undo the swap", unless=end)
            for move, end in ends
            if move.snapshot
        )
    )


def _require_all_named(draft: Draft, match: Match, volume: Volume) -> None:
    """Raise UnsafePlan if a shared volume has other holders. A swap detaches the volume everywhere, but attaches the
    copy only here.
    """
    named = {instance.instance_id for instance in match.target.instances}
    others = sorted({link.instance_id for link in volume.attachments} - named)
    if volume.multi_attach_enabled and others and not draft.spec.steal:
        raise UnsafePlan(
            f"{match.target.label}: {volume.volume_id} is attached to {listed(others)} too, but its copy would "
            "not be. Name them in instance_ids too, or set steal: true"
        )


def discard_copy(draft: Draft, match: Match, copy: Volume) -> None:
    """Plan the deletion of a copy whose swap did not end, after a final snapshot of it.

    Only a tag says that the copy was never in service. EC2 does not show whether an instance has written to it.
    """
    plan_capture(draft, match, copy, tag_names.FINAL, before_deletion(copy), early=True)
    draft.cleanup.append(draft.deletion_of(copy, "delete the leftover of an interrupted run"))


def finish_swap(
    draft: Draft, match: Match, old: Volume, new: str, snapshot: str = "", *, is_proven: bool = True
) -> None:
    """Mark a replaced volume, and then release its name or delete it. Its snapshot becomes superfluous.

    *snapshot*: the snapshot of a swap in this run. Without it, an earlier run may have taken one. *is_proven*: EC2
    shows that a swap made a copy of the volume.
    """
    made = bool(snapshot)
    direct = made or (match.volume is not None and tag_names.replaced_ids(match.volume.tags)[:1] == (old.volume_id,))
    if direct or kind_of(old.tags.get(tag_names.REPLACED_BY, "")) != "volume":
        mark = {tag_names.REPLACED_BY: new}
        draft.add_tags(draft.replaced_marks, old, mark, f"mark as replaced by {new}", after=(new,))
    deleted = draft.spec.delete_replaced and is_proven
    if draft.spec.delete_replaced and not is_proven:
        draft.warnings.append(
            f"{match.target.label}: delete_replaced: {old.volume_id} is kept. EC2 shows no swap snapshot of it "
            f"that {new} was made from, so nothing proves that {new} is its copy. Delete it yourself"
        )
    _end_snapshots(draft, match, old, new, snapshot, deleted=deleted)
    if deleted:
        draft.deletions.append(draft.deletion_of(old, f"delete: replaced by {new} (delete_replaced)"))
    else:
        own = (tag_names.SPEC, tag_names.VOLUME, *tag_names.WAS_AT)
        draft.remove_tags(draft.releases, old, own, f"release the name to {new}")


def _end_snapshots(draft: Draft, match: Match, old: Volume, new: str, snapshot: str, *, deleted: bool) -> None:
    """Keep the snapshot of a swap as the final one of the old volume, or delete it."""
    made = bool(snapshot)
    final = deleted and (draft.spec.final_snapshot or not (made or _is_of_interrupted_run(draft, old)))
    # Until the replaced volume is gone, or marked, its snapshot proves the copy.
    last = deleted or not match.target.instances
    forgetting = draft.leftovers if last else draft.arrivals
    kept = f"keep as the final snapshot of {old.volume_id}"
    if made and final:
        # The end of the swap depends on it, since no later run looks at the snapshot of a volume that is gone.
        untagged = draft.untagged(snapshot, (tag_names.SWAP,), kept)
        draft.arrivals.append(dataclasses.replace(untagged, after_steps=(new,)))
    elif made:
        forgetting.append(_superfluous(draft, old.volume_id, snapshot, new))
    else:
        draft.asked.append(snapshot_query(old, tag_names.SWAP))
        there = snapshots_of_runs(draft, old, tag_names.SWAP)
        if final:
            plan_capture(draft, match, old, tag_names.FINAL, before_deletion(old), into=forgetting, final=True)
        give_up(draft, old, there, forgetting, newer=final, after=(old.volume_id, new))


def _is_of_interrupted_run(draft: Draft, old: Volume) -> bool:
    """Return whether EC2 still shows the temporary snapshot of the volume's swap, at most a day old.

    A run deletes that snapshot at its end. After any other swap, EC2 does not show whether an instance has written to
    the volume.
    """
    query = snapshot_query(old, tag_names.SWAP)
    draft.asked.append(query)
    return not draft.state.knows(query) or any(
        proofs.is_temporary(item, old.volume_id) and proofs.is_recent(item, draft.now)
        for item in snapshots_of_runs(draft, old, tag_names.SWAP)
    )


def end_swap(draft: Draft, match: Match, new: str, volume: Volume | None = None) -> None:
    """Remove the swap's tag from the copy.

    *volume*: the copy, if an earlier run made it. That run may have deleted the replaced volume, but not its
    snapshot.
    """
    untagged = draft.untagged(new, (tag_names.SWAP,), "remove the marks of the move")
    old_id = volume.tags.get(tag_names.SWAP, "") if volume is not None else ""
    unfinished = {old.volume_id for old in match.replaced}
    if volume is not None and kind_of(old_id) == "volume" and old_id not in unfinished:
        draft.asked.append(own_snapshots({tag_names.SWAP: old_id}))
        for item in draft.state.all(Snapshot):
            tags = item.tags
            mine = item.snapshot_id == volume.snapshot_id and proofs.is_temporary(item, old_id)
            if mine and tags.get(tag_names.SWAP) == old_id and tag_names.FINAL not in tags:
                draft.leftovers.append(_superfluous(draft, old_id, item.snapshot_id, volume.volume_id))
    draft.remove(draft.leftovers or draft.releases, untagged)


def _superfluous(draft: Draft, old_id: str, snapshot_id: str, new_id: str) -> Change:
    """Return the deletion of a swap's snapshot, once the copy of the volume *old_id* is in its place."""
    reason = f"delete: the copy of {old_id} is made"
    before = {"tags": {tag_names.SWAP: old_id}}
    after = (old_id, new_id)
    return Change("DeleteSnapshot", snapshot_id, draft.state.region, {}, reason, before, None, after_steps=after)


def forget_swap(draft: Draft, volume: Volume, *, absent: bool = False) -> None:
    """Delete the leftovers of an unfinished swap of a volume that is detached or deleted.

    With *absent*, the new final snapshot replaces earlier ones that could be final: see `plan_capture`.
    """
    if not recorded_attachments(volume):
        return
    draft.asked.append(snapshot_query(volume, tag_names.SWAP))
    for item in snapshots_of_runs(draft, volume, tag_names.SWAP):
        if volume.attachments or item.state == "error" or proofs.is_temporary(item, volume.volume_id):
            outdate(draft, volume, (item,))
        elif not absent or item.tags.get(tag_names.FINAL) != volume.volume_id:
            draft.remove_tags(draft.cleanup, item, (tag_names.SWAP,), f"keep as a snapshot of {volume.volume_id}")
