# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The attachments of an entry's volume: attached where the entry wants it, detached, or deleted.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..._domain.device_names import device_letters
from ..._kernel import tags as tag_names
from ..._kernel.errors import UnsafePlan
from ..._kernel.ids import is_planned
from ..._kernel.plan import Wait
from ..._kernel.resources import Instance, Volume, VolumeAttachment
from .attaching import await_creation, is_dead, make_ready, plan_attachment, plan_detach, plan_flag, record_attachments
from .captures import (
    before_deletion,
    plan_capture,
    source_of_copy,
)
from .draft import Draft, Move
from .former_attachments import (
    FormerAttachment,
    declared_attachments,
    deleted_with,
    present_attachments,
    recorded_attachments,
)
from .in_place import plan_tags
from .match import Match, strangers
from .sites import BY_OTHER_MEANS, require_in_region
from .swaps import end_swap, forget_swap


@dataclass
class _Links:
    """The attachments of a volume that end, and the instances to which this run attaches it.

    ``ending``: attachments that end with their instance, or that an earlier run has ended.
    """

    leaving: list[VolumeAttachment]
    ending: list[VolumeAttachment]
    joining: list[Instance]

    def remaining(self, volume: Volume) -> list[VolumeAttachment]:
        """Return the attachments that this run keeps."""
        return [link for link in volume.attachments if link not in self.leaving and link not in self.ending]


def plan_attachments(draft: Draft, match: Match, volume: Volume, *, apart: bool = False) -> bool:
    """Plan the attachments to make and to end. If *apart*, all present ones end and are made again.

    Returns whether this run makes an attachment.
    """
    draft.warnings += _forgotten_flags(match, (volume, match.old))
    links = _links(draft, match, volume, apart=apart)
    if links.joining:
        require_in_region(match.target.label, volume, BY_OTHER_MEANS)
        make_ready(draft, volume)
    _plan_return(draft, match, volume, links)
    if links.leaving or links.ending:
        why = ", since EBS enables multi_attach only for a volume that is not attached" if apart else ""
        plan_detach(draft, match, volume, [*links.leaving, *links.ending], why)
    _plan_attachments(draft, match, volume, links, apart=apart)
    draft.remove_tags(draft.releases, volume, tag_names.WAS_AT, "remove the marks of the move")
    if tag_names.SWAP in volume.tags:
        end_swap(draft, match, volume.volume_id, volume)
    return bool(links.joining)


def _links(draft: Draft, match: Match, volume: Volume, *, apart: bool) -> _Links:
    """Return the attachments to end, those that are already ending, and those to make.

    A kept attachment gets its delete-on-termination, and a wait.
    """
    target, device = match.target, match.target.spec.device_name
    known = {link.instance_id: link for link in volume.attachments}
    ending = [
        link
        for link in volume.attachments
        if is_dead(draft, link) or (link.leaving and link.instance_id in target.instance_ids)
    ]
    links = _Links([] if match.is_root else list(strangers(match, draft.state)), ending, [])
    for instance in target.instances:
        link = known.get(instance.instance_id)
        if link is None or link.leaving:
            links.joining.append(instance)
            continue
        elsewhere = device is not None and device_letters(device) != device_letters(link.device_name)
        if apart or (elsewhere and not match.is_root):
            links.leaving.append(link)
            links.joining.append(instance)
            continue
        if link.state != "attached":
            draft.attach_waits.append(Wait((volume.volume_id,), "attached", about=instance.instance_id))
        plan_flag(draft, match, volume, link)
    return links


def _plan_return(draft: Draft, match: Match, volume: Volume, links: _Links) -> None:
    """Plan the volume that a rollback attaches again: the detached one, or the one that it replaces.

    A replaced volume is already detached, and is attached again if its copy cannot take its place. If the copy was
    attached, it may have new writes, so the replaced volume is not attached again.
    """
    swap = match.swaps[0] if match.swaps else None
    if swap is not None and swap.is_proven and links.joining and not links.leaving:
        snapshot_id = source_of_copy(draft, swap.old, volume)
        draft.moves.append(Move(swap.old, declared_attachments(match.target, swap.old), volume.volume_id, snapshot_id))
    if links.leaving and links.joining:
        back = tuple(
            FormerAttachment(link.instance_id, link.device_name, deleted_with(draft.state, volume, link.instance_id))
            for link in links.leaving
        )
        draft.moves.append(Move(volume, back))
        record_attachments(draft, volume, present_attachments(draft.state, volume))


def _plan_attachments(draft: Draft, match: Match, volume: Volume, links: _Links, *, apart: bool) -> None:
    """Plan the new attachments: at the recorded device, at the present one if *apart*, or at a free one."""
    target = match.target
    known = {link.instance_id: link for link in volume.attachments}
    recorded = declared_attachments(target, volume) or (declared_attachments(target, match.old) if match.old else ())
    formers = {former.instance_id: former for former in recorded}
    remaining = links.remaining(volume)
    for instance in links.joining:
        link = known.get(instance.instance_id)
        was = formers.get(instance.instance_id)
        device = was.device_name if was else link.device_name if apart and link is not None else None
        chosen = draft.devices.choose(match, instance, device)
        remembered = link is not None and link.delete_on_termination
        remaining = plan_attachment(draft, match, volume.volume_id, instance, chosen, remaining, remembered=remembered)


def plan_removal(draft: Draft, match: Match, volume: Volume) -> None:
    """Plan ``state: detached`` and ``state: absent``."""
    target = match.target
    absent = target.spec.state == "absent"
    if match.is_root:
        raise UnsafePlan(f"{target.label}: {volume.volume_id} is a root volume, which is never detached or deleted")
    await_creation(draft, volume)
    wanted = {instance.instance_id for instance in target.instances}
    links = [
        link
        for link in volume.attachments
        if absent or not wanted or link.instance_id in wanted or link in list(strangers(match, draft.state))
    ]
    if links:
        plan_detach(draft, match, volume, links)
    forget_swap(draft, volume, absent=absent)
    if absent:
        _plan_deletion(draft, match, volume)
        return
    plan_tags(draft, match, volume)
    draft.remove_tags(draft.releases, volume, tag_names.WAS_AT, "forget the former attachments")


def _plan_deletion(draft: Draft, match: Match, volume: Volume) -> None:
    """Plan the deletion, after a final snapshot if the task wants one, or if only tags identify the volume."""
    final = draft.spec.final_snapshot
    named = is_planned(volume.volume_id) or volume.volume_id == match.target.spec.volume_id
    if not final and not named and volume.state != "error":
        final = True
        draft.warnings.append(
            f"{match.target.label}: final_snapshot: only tags say that {volume.volume_id} is {match.name}, so a "
            "final snapshot is taken. Name its volume_id to delete it without one"
        )
    if final:
        plan_capture(draft, match, volume, tag_names.FINAL, before_deletion(volume))
    draft.deletions.append(draft.deletion_of(volume, f"delete volume {match.name} of {match.target.group}"))


def _forgotten_flags(match: Match, volumes: Iterable[Volume | None]) -> Iterator[str]:
    """Yield a warning for each tag that claims delete-on-termination, if the entry does not set it."""
    if match.target.spec.delete_on_termination is not None:
        return
    for volume in volumes:
        if volume is None:
            continue
        for former in recorded_attachments(volume):
            if former.delete_on_termination and former.instance_id in match.target.instance_ids:
                yield (
                    f"{match.target.label}: the tag {tag_names.WAS_AT[0]} of {volume.volume_id} says that it was "
                    f"deleted with {former.instance_id}, but nothing proves that. Set delete_on_termination: true to "
                    "delete it with the instance"
                )
