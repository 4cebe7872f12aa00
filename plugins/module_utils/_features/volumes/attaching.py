# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The single steps of a move: attach, detach, and record the attachment.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..._domain.power_cycle import running_of
from ..._kernel import tags as tag_names
from ..._kernel.errors import UnsafePlan
from ..._kernel.plan import Change, Stage, Wait
from ..._kernel.resources import BlockDevice, Instance, Volume, VolumeAttachment
from ..._kernel.state import Query
from ..._kernel.storage_facts import MODIFICATION, modification_query
from .captures import (
    outdate,
    snapshot_query,
    snapshots_of_runs,
)
from .draft import Draft, Move, plain
from .former_attachments import FormerAttachment, attachment_tags, deleted_with, present_attachments
from .match import Match
from .sites import require_supported_site
from .targets import boots


def make_ready(draft: Draft, volume: Volume) -> None:
    """Wait for a volume that is being created, or whose modification has not taken effect. EC2 does not attach it
    before that.
    """
    draft.asked.append(modification_query(volume.volume_id))
    for tag in (tag_names.FINAL, tag_names.SWAP):
        draft.asked.append(snapshot_query(volume, tag))
        outdate(draft, volume, snapshots_of_runs(draft, volume, tag))
    latest = MODIFICATION.of(draft.state, volume.volume_id)
    if latest is not None and latest.is_to_take_effect:
        draft.settling.append(Wait((volume.volume_id,), "modified"))


def await_creation(draft: Draft, volume: Volume) -> None:
    """Wait for a volume that is being created. EC2 does not change it before that."""
    if volume.state == "creating":
        draft.settling.append(Wait((volume.volume_id,), "volume_available"))


def is_dead(draft: Draft, link: VolumeAttachment) -> bool:
    """Return whether the attachment's instance is terminated or terminating. EC2 ends such an attachment itself."""
    holder = draft.state.instance(link.instance_id)
    return holder is not None and not holder.alive


def plan_attachment(
    draft: Draft,
    match: Match,
    volume_id: str,
    instance: Instance,
    device: str,
    others: Sequence[VolumeAttachment] = (),
    *,
    remembered: bool = False,
) -> list[VolumeAttachment]:
    """Plan the attachment. Return all attachments after it."""
    require_supported_site(match.target)
    draft.devices.require_usable(match, instance)
    links = [*others, VolumeAttachment(instance.instance_id, device)]
    draft.attaches.append(
        Change(
            "AttachVolume",
            volume_id,
            draft.state.region,
            {"InstanceId": instance.instance_id, "Device": device},
            f"attach volume {match.name} to {instance.instance_id}",
            {"state": "available" if not others else "in-use", "attachments": [plain(link) for link in others]},
            {"state": "in-use", "attachments": [plain(link) for link in links]},
        )
    )
    draft.attach_waits.append(Wait((volume_id,), "attached", about=instance.instance_id))
    draft.labels[volume_id] = match.target.label
    if instance.state in ("pending", "stopping"):
        goal = "running" if instance.state == "pending" else "stopped"
        draft.settling.append(Wait((instance.instance_id,), goal))
    said = match.target.spec.delete_on_termination
    if remembered if said is None else said:
        draft.flags[instance.instance_id][device] = True
    return links


def plan_flag(draft: Draft, match: Match, volume: Volume, link: VolumeAttachment) -> None:
    """Set delete-on-termination of a kept attachment to the entry's value, if the entry sets one.

    The claim of the tag does not count, since a volume that outlives its instance does no harm.
    """
    wanted = match.target.spec.delete_on_termination
    if wanted is not None and wanted != deleted_with(draft.state, volume, link.instance_id):
        draft.flags[link.instance_id][link.device_name] = wanted


def plan_detach(
    draft: Draft, match: Match | None, volume: Volume, links: Iterable[VolumeAttachment], why: str = ""
) -> None:
    """Plan the end of these attachments. *match*: the match of the volume's entry, or None for a purge. *why*: a clause
    for messages.

    Raises UnsafePlan for a root volume, and for a running instance that the task may not interrupt.
    """
    remaining = list(volume.attachments)
    label = match.target.label if match is not None else "purge_volumes"
    reason = "detach: no entry names the volume" if match is None else ""
    for link in links:
        holder = draft.state.instance(link.instance_id)
        if holder is not None and boots(holder, volume):
            raise UnsafePlan(
                f"{label}: {volume.volume_id} is the root volume of {holder.instance_id}, which is never detached"
            )
        remaining = [item for item in remaining if item != link]
        draft.detach_waits.append(Wait((volume.volume_id,), "detached", about=link.instance_id))
        if is_dead(draft, link):
            continue
        draft.freed.add((volume.volume_id, link.instance_id))
        if link.leaving and not (link.state == "busy" and draft.spec.in_use == "stop"):
            continue  # A stop ends a busy attachment. Otherwise its user unmounts it.
        draft.leaving[link.instance_id].append(link)
        draft.leavers[link.instance_id].append(match.target.label if match is not None else "")
        running = holder is not None and bool(running_of([holder]))
        if running:
            _interrupt(draft, volume, link, label, why)
        _await_end(draft, volume, link)
        if not link.leaving:
            text = reason or f"detach from {link.instance_id}{why}"
            draft.detaches.append(_detach(draft, volume, link, remaining, text, disruptive=running))


def _interrupt(draft: Draft, volume: Volume, link: VolumeAttachment, label: str, why: str) -> None:
    """Record the volume's attachments before the stop of its running instance. Raises UnsafePlan without consent.

    With ``in_use: detach`` the instance continues to run, and no later run brings the volume back.
    """
    if draft.spec.in_use == "stop":
        record_attachments(draft, volume, present_attachments(draft.state, volume))
    if draft.spec.in_use == "refuse" and draft.is_settled:
        raise UnsafePlan(
            f"{label}: {volume.volume_id} must be detached from {link.instance_id}, which is running{why}. "
            "Set in_use: stop to stop that instance, or in_use: detach to detach it from the running system"
        )


def _await_end(draft: Draft, volume: Volume, link: VolumeAttachment) -> None:
    """Wait until a stopping instance has stopped, and until a new attachment can end."""
    holder = draft.state.instance(link.instance_id)
    if holder is not None and holder.state == "stopping":
        draft.settling.append(Wait((holder.instance_id,), "stopped"))
    if link.state == "attaching":
        draft.settling.append(Wait((volume.volume_id,), "attached", about=link.instance_id))


def _detach(
    draft: Draft,
    volume: Volume,
    link: VolumeAttachment,
    remaining: Sequence[VolumeAttachment],
    reason: str,
    *,
    disruptive: bool,
) -> Change:
    after = [plain(item) for item in remaining]
    return Change(
        "DetachVolume",
        volume.volume_id,
        draft.state.region,
        {"InstanceId": link.instance_id},
        reason,
        {"attachments": [plain(item) for item in (*remaining, link)]},
        {"state": "in-use" if remaining else "available", "attachments": after},
        disruptive=disruptive,
    )


def record_attachments(draft: Draft, volume: Volume, formers: Sequence[FormerAttachment]) -> None:
    """Record the volume's attachments before its detach."""
    if any(change.resource == volume.volume_id for change in draft.marks):
        return
    reason = "record the attachments for the next run"
    draft.add_tags(draft.marks, volume, attachment_tags(formers, volume.tags), reason)


# --- delete-on-termination -------------------------------------------------------------------------------------------


def flag_changes(draft: Draft) -> Iterator[Change]:
    """Yield the changes of delete-on-termination, one for all devices of an instance."""
    for instance_id, flags in draft.flags.items():
        instance = draft.state.instance(instance_id)
        before = list(instance.block_devices) if instance is not None else []
        # A pending instance may not list its devices yet.
        listed = {device.device_name for device in before}
        before += [
            BlockDevice(link.device_name, volume.volume_id, link.delete_on_termination)
            for volume in draft.state.all(Volume)
            for link in volume.attachments
            if link.instance_id == instance_id and link.device_name not in listed
        ]
        off = {change.resource for change in draft.detaches if change.parameters["InstanceId"] == instance_id}
        after = [plain(device) for device in before if device.volume_id not in off]
        after += [
            plain(BlockDevice(change.parameters["Device"], change.resource))
            for change in draft.attaches
            if change.parameters["InstanceId"] == instance_id
        ]
        for device in after:
            device["delete_on_termination"] = flags.get(device["device_name"], device["delete_on_termination"])
        change = _flags(instance_id, flags, draft.state.region)
        yield dataclasses.replace(
            change,
            before={"block_devices": [plain(device) for device in before]},
            after={"block_devices": after},
        )


def _flags(instance_id: str, flags: Mapping[str, bool], region: str) -> Change:
    mapping = [
        {"DeviceName": device, "Ebs": {"DeleteOnTermination": wanted}} for device, wanted in sorted(flags.items())
    ]
    return Change(
        "ModifyInstanceAttribute",
        instance_id,
        region,
        {"BlockDeviceMappings": mapping},
        "set delete_on_termination of " + ", ".join(sorted(flags)),
    )


# --- rollback --------------------------------------------------------------------------------------------------------


def point_of_no_return(draft: Draft, move: Move) -> tuple[Query, ...]:
    """Return the queries that find an instance or attachment as soon as a rollback of the move would lose writes."""
    old, new = (("volume-id", (volume_id,)) for volume_id in (move.volume.volume_id, move.successor))
    if move.new:
        taken = Query("DescribeVolumes", (new, ("attachment.status", ("attaching", "attached", "detaching"))))
        return (taken, Query("DescribeVolumes", (old, ("tag-key", (tag_names.REPLACED_BY,)))))
    targets = tuple(
        str(change.parameters["InstanceId"]) for change in draft.attaches if change.resource == move.successor
    )
    first = {former.instance_id for former in move.formers}
    gets_multi_attach = any(change.resource == move.volume.volume_id for change in draft.modifications)
    if move.volume.multi_attach_enabled or gets_multi_attach:
        # A shared volume returns to one instance while the other keeps it.
        first.update(targets)
    # The instance that had the volume gets it back, at any device.
    away = tuple(instance_id for instance_id in targets if instance_id not in first)
    return (Query("DescribeVolumes", (new, ("attachment.instance-id", away))),) if away else ()


def attached_again(draft: Draft) -> Iterator[Stage]:
    """Yield the rollback of `plan_detach`: the former attachments, with their delete-on-termination."""
    formers = [(move, move.volume, former) for move in draft.moves for former in move.formers]
    yield Stage(waits=tuple(Wait((volume.volume_id,), "settled") for _move, volume, _former in formers))
    yield Stage(
        tuple(
            Change(
                "AttachVolume",
                volume.volume_id,
                draft.state.region,
                {"InstanceId": former.instance_id, "Device": former.device_name},
                "attach again at the former device",
                None,
                {"state": "in-use", "attachments": [plain(link) for link in volume.attachments]},
                unless=point_of_no_return(draft, move),
            )
            for move, volume, former in formers
        ),
        tuple(Wait((volume.volume_id,), "attached", about=former.instance_id) for _move, volume, former in formers),
        # EC2 attaches nothing to an instance that is still stopping.
        patience=frozenset({"IncorrectState"}),
    )
    for move, _volume, former in formers:
        if former.delete_on_termination:
            flags = _flags(former.instance_id, {former.device_name: True}, draft.state.region)
            yield Stage((dataclasses.replace(flags, unless=point_of_no_return(draft, move)),))


def attachments_forgotten(draft: Draft) -> Stage:
    """Return the rollback of `record_attachments`."""
    moves = {move.volume.volume_id: move for move in draft.moves}
    marked = [change.resource for change in draft.marks]
    marked += [move.volume.volume_id for move in draft.moves if move.formers]
    return Stage(
        tuple(
            dataclasses.replace(
                draft.untagged(volume_id, tag_names.WAS_AT, "forget the former attachments"),
                unless=point_of_no_return(draft, moves[volume_id]) if volume_id in moves else (),
            )
            for volume_id in dict.fromkeys(marked)
        )
    )
