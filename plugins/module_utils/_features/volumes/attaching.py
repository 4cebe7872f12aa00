# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The single steps of a move: attach, detach, record the place.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..._domain.power_cycle import running_of
from ..._kernel import tags as tag_names
from ..._kernel.errors import UnsafePlan
from ..._kernel.plan import Change, Wait
from ..._kernel.resources import Instance, Volume, VolumeAttachment
from .captures import (
    outdate,
    snapshot_query,
    snapshots_of_runs,
)
from .draft import Draft, plain
from .drift import (
    modification,
    modification_query,
)
from .identity import (
    Match,
    boots,
)
from .places import (
    Place,
    deleted_with,
    places_of,
    places_tags,
    require_supported_site,
)


def make_ready(draft: Draft, volume: Volume) -> None:
    """Wait for a volume that is being created, or whose modification has not taken effect. EC2 does not attach it
    before.
    """
    draft.asked.append(modification_query(volume))
    for tag in (tag_names.FINAL, tag_names.SWAP):
        draft.asked.append(snapshot_query(volume, tag))
        outdate(draft, volume, snapshots_of_runs(draft, volume, tag))
    if modification(draft.state, volume).get("state") == "modifying":
        draft.settling.append(Wait((volume.volume_id,), "modified"))


def await_creation(draft: Draft, volume: Volume) -> None:
    """Wait for a volume that is being created. EC2 does not change it before."""
    if volume.state == "creating":
        draft.settling.append(Wait((volume.volume_id,), "volume_available"))


def is_dead(draft: Draft, link: VolumeAttachment) -> bool:
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
    """Set delete-on-termination of an attachment that stays, if the entry has it.

    The tag's claim does not count, since a volume that outlives its instance harms nobody.
    """
    wanted = match.target.spec.delete_on_termination
    if wanted is not None and wanted != deleted_with(draft.state, volume, link.instance_id):
        draft.flags[link.instance_id][link.device_name] = wanted


def plan_detach(
    draft: Draft, match: Match | None, volume: Volume, links: Iterable[VolumeAttachment], why: str = ""
) -> None:
    remaining = list(volume.attachments)
    label = match.target.label if match is not None else "purge_volumes"
    for link in links:
        holder = draft.state.instance(link.instance_id)
        if holder is not None and boots(holder, volume):
            raise UnsafePlan(
                f"{label}: {volume.volume_id} is the root volume of {holder.instance_id}, which is never detached"
            )
        remaining = [item for item in remaining if item != link]
        draft.detach_waits.append(Wait((volume.volume_id,), "detached", about=link.instance_id))
        if holder is not None and not holder.alive:
            continue  # EC2 ends the attachment itself
        draft.freed.add((volume.volume_id, link.instance_id))
        if link.leaving and not (link.state == "busy" and draft.spec.in_use == "stop"):
            continue  # a stop ends what is busy; else it is unmounted on the machine
        draft.leaving[link.instance_id].append(link)
        running = holder is not None and bool(running_of([holder]))
        if running and draft.spec.in_use == "stop":
            record_places(draft, volume, places_of(draft.state, volume))
        if running and draft.spec.in_use == "refuse" and draft.is_settled:
            raise UnsafePlan(
                f"{label}: {volume.volume_id} must be detached from {link.instance_id}, which is running{why}. "
                "Set in_use: stop to stop that instance, or in_use: detach to detach it from the running system"
            )
        if holder is not None and holder.state == "stopping":
            # Until it has stopped, it writes.
            draft.settling.append(Wait((holder.instance_id,), "stopped"))
        if link.state == "attaching":
            draft.settling.append(Wait((volume.volume_id,), "attached", about=link.instance_id))
        if link.leaving:
            continue
        draft.detaches.append(
            Change(
                "DetachVolume",
                volume.volume_id,
                draft.state.region,
                {"InstanceId": link.instance_id},
                f"detach from {link.instance_id}{why}" if match is not None else "detach: no entry names the volume",
                {"attachments": [plain(item) for item in (*remaining, link)]},
                {
                    "state": "in-use" if remaining else "available",
                    "attachments": [plain(item) for item in remaining],
                },
                disruptive=running,
            )
        )


def record_places(draft: Draft, volume: Volume, places: Sequence[Place]) -> None:
    """Record the volume's place before its detach."""
    if any(change.resource == volume.volume_id for change in draft.marks):
        return
    reason = "record the place for the next run"
    draft.add_tags(draft.marks, volume, places_tags(places, volume.tags), reason)
