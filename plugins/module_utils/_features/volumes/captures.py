# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The snapshots of detached volumes: for a swap, and before a deletion.

A snapshot of an earlier run never counts, since EC2 does not show whether the volume has been attached since.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ..._domain.volume_changes import capture_of, snapshot_deletion
from ..._kernel import proofs
from ..._kernel import tags as tag_names
from ..._kernel.errors import UnsafePlan, listed
from ..._kernel.plan import Change, Wait
from ..._kernel.resources import Snapshot, Volume
from ..._kernel.state import Query, State, own_snapshots
from ..._kernel.tags import carried
from .draft import Draft
from .match import Match
from .sites import require_in_region


def source_of_copy(draft: Draft, old: Volume, new: Volume) -> str:
    """Return the temporary snapshot of a swap that *new* was made from, or an empty text."""
    sources = (
        item.snapshot_id
        for item in snapshots_of_runs(draft, old, tag_names.SWAP)
        if item.snapshot_id == new.snapshot_id
        and (proofs.is_temporary(item, old.volume_id) or is_superseded(draft, old, item))
    )
    return next(sources, "")


def snapshots_of_runs(draft: Draft, volume: Volume, tag: str) -> list[Snapshot]:
    """Return the snapshots that runs took of the detached volume. A warning names other snapshots with the tag."""
    is_ours = proofs.is_swap_snapshot if tag == tag_names.SWAP else proofs.is_last_snapshot
    tagged = _tagged_snapshots(draft.state, volume, tag)
    ours = [item for item in tagged if is_ours(item, volume.volume_id)]
    others = [item.snapshot_id for item in tagged if item not in ours]
    if others:
        word = proofs.SWAP_WORD if tag == tag_names.SWAP else proofs.FINAL_WORD
        draft.warnings.append(
            f"{listed(others)}: no run took this as the {word} snapshot of {volume.volume_id}, although its tag "
            f"{tag} says so. It is left as it is. Remove its tag {tag}"
        )
    return ours


def plan_capture(
    draft: Draft,
    match: Match,
    volume: Volume,
    tag: str,
    reason: str,
    *,
    final: bool = False,
    early: bool = False,
    into: list[Change] | None = None,
) -> str:
    """Plan a snapshot of the detached volume, and return its id.

    A snapshot of an earlier run never counts, since EC2 does not show whether the volume has been attached since. An
    earlier snapshot of the same kind is deleted with the changes *into*, or right after the new one is completed.
    *final*: for a swap that deletes the volume. *early*: before the first deletion of the plan.
    """
    draft.asked.append(snapshot_query(volume, tag))
    older = snapshots_of_runs(draft, volume, tag)
    if volume.state == "error":
        raise UnsafePlan(
            f"{match.target.label}: {volume.volume_id} is in the state error, and EBS takes no snapshot of it. "
            "Set final_snapshot: false to delete it without one"
        )
    require_in_region(match.target.label, volume, "Delete it without a snapshot: final_snapshot: false")
    change = _capture(draft, match, volume, tag, reason, final=final)
    after = (change.resource, volume.volume_id)
    give_up(draft, volume, older, draft.arrivals if into is None else into, newer=True, after=after)
    (draft.early_snapshots if early else draft.snapshots).append(change)
    waits = draft.early_snapshot_waits if early else draft.snapshot_waits
    waits.append(Wait((change.resource,), "completed"))
    return change.resource


def _capture(draft: Draft, match: Match, volume: Volume, tag: str, reason: str, *, final: bool) -> Change:
    swap = tag == tag_names.SWAP
    purpose = proofs.Purpose.LAST_SWAP if final else proofs.Purpose.SWAP if swap else proofs.Purpose.FINAL
    tags = {**carried(volume.tags), **(match.target.spec.tags or {}), tag: volume.volume_id}
    if final:
        tags[tag_names.FINAL] = volume.volume_id
    return capture_of(
        volume,
        proofs.SWAP_WORD if swap else proofs.FINAL_WORD,
        draft.state.region,
        reason,
        description=_description(match, purpose, volume),
        tags=tags,
        identity=snapshot_query(volume, tag),
        older=_tagged_snapshots(draft.state, volume, tag),
    )


def give_up(
    draft: Draft,
    volume: Volume,
    snapshots: Iterable[Snapshot],
    into: list[Change],
    *,
    newer: bool,
    after: tuple[str, ...],
) -> None:
    """Delete snapshots that earlier runs took of the volume, as far as facts allow it.

    *into*: the changes that the deletions join. *after*: the resources whose steps come first. *newer*: this run takes
    a newer snapshot, which EC2 accepts once pending ones are completed. A snapshot of an earlier version, or of a run
    long ago, may be a record of another time. It is kept, and a warning names it.
    """
    known = {change.resource for changes in (draft.cleanup, into) for change in changes}
    for item in snapshots:
        if item.snapshot_id in known:
            continue
        if volume.attachments or item.state == "error":
            outdate(draft, volume, (item,))
        elif proofs.is_temporary(item, volume.volume_id) or (newer and is_superseded(draft, volume, item)):
            if newer and item.state == "pending":
                draft.settling.append(Wait((item.snapshot_id,), "completed"))
            reason = f"delete: {volume.volume_id} has a newer one" if newer else "delete: the copy is attached"
            into.append(replace(snapshot_deletion(item, draft.state.region, reason), after_steps=after))
        else:
            draft.remove_tags(into, item, (tag_names.SWAP,), f"keep as a snapshot of {volume.volume_id}", after=after)
            draft.warnings.append(
                f"{item.snapshot_id}: an earlier run took this snapshot of {volume.volume_id}, and nothing "
                "proves that it is superfluous. It is kept. Delete it yourself if you do not need it"
            )


def is_superseded(draft: Draft, volume: Volume, item: Snapshot) -> bool:
    """Return whether a newer final snapshot of the volume makes this one superfluous: see `proofs.is_superseded`."""
    return proofs.is_superseded(item, volume.volume_id, draft.now)


def outdate(draft: Draft, volume: Volume, snapshots: Iterable[Snapshot]) -> None:
    """Discard snapshots that are no longer the volume's final ones: the volume was attached after them, or will be.

    EC2 shows a pending snapshot until it is completed, even if it is deleted. So its tags are removed first, and no run
    uses it again.
    """
    known = {change.resource for change in (*draft.untagging, *draft.cleanup)}
    for item in snapshots:
        if item.snapshot_id in known:
            continue
        failed = item.state == "error"
        reason = "discard the failed snapshot" if failed else f"discard: {volume.volume_id} may have newer data"
        of_swap = tag_names.SWAP in item.tags and proofs.is_swap_snapshot(item, volume.volume_id)
        temporary = proofs.is_temporary(item, volume.volume_id)
        useless = failed or temporary or (of_swap and is_superseded(draft, volume, item))
        if item.state == "pending" or not useless:
            draft.remove_tags(draft.untagging, item, (tag_names.FINAL, tag_names.SWAP), reason)
        if useless:
            draft.cleanup.append(snapshot_deletion(item, draft.state.region, reason))


def before_deletion(volume: Volume) -> str:
    """Return the reason for the final snapshot of *volume*."""
    return f"capture {volume.volume_id} before its deletion"


def _description(match: Match, purpose: proofs.Purpose, volume: Volume) -> str:
    """Return the snapshot's Description, which begins with the entry of its volume and ends with its purpose. EC2 takes
    255 characters.
    """
    note = f": {proofs.capture_note(purpose, volume.volume_id)}"
    return f"{match.target.group} {match.name}"[: 255 - len(note)] + note


def _tagged_snapshots(state: State, volume: Volume, tag: str) -> list[Snapshot]:
    return [item for item in state.all(Snapshot) if item.tags.get(tag) == volume.volume_id]


def snapshot_query(volume: Volume, tag: str) -> Query:
    """Return the query for the snapshots whose *tag* names the volume."""
    return own_snapshots({tag: volume.volume_id})
