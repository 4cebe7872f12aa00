# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The move of data volumes, and its rollback. Both instances are stopped while a volume changes hands.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from ..._domain.moves import MovedVolume, attached_to
from ..._domain.power_cycle import held_stop
from ..._kernel import tags as tag_names
from ..._kernel.plan import Change, Stage, Wait
from ..._kernel.resources import Instance, Volume, VolumeAttachment
from ..._kernel.state import Query, State

_STILL_STARTING = frozenset({"IncorrectInstanceState"})
_STILL_STOPPING = frozenset({"IncorrectState"})


def _plain(link: VolumeAttachment) -> dict[str, Any]:
    return dataclasses.asdict(link)


def pending_volumes(state: State, volumes: Iterable[MovedVolume], new: Instance) -> list[MovedVolume]:
    """Return the volumes that EC2 does not show at *new* yet."""
    return [item for item in volumes if not _is_at(state.volume(item.volume_id), new.instance_id)]


def _is_at(volume: Volume | None, instance_id: str) -> bool:
    return volume is not None and any(
        link.instance_id == instance_id and not link.leaving and link.state != "detached" for link in volume.attachments
    )


def halting_successor(state: State, new: Instance) -> tuple[Stage, ...]:
    """Return the stage that stops the successor, or none. The predecessor serves meanwhile."""
    if new.state == "stopped":
        return ()
    stop = _stop(state, new, "stop the {state} instance before it gets volumes or interfaces of its predecessor")
    changes = (stop,) if new.state in ("pending", "running") else ()
    return (Stage(changes, (Wait((new.instance_id,), "stopped"),), patience=_STILL_STARTING),)


def halting(state: State, old: Instance, new: Instance, now: datetime, hold_time: timedelta) -> tuple[Stage, ...]:
    """Return the stages that stop the predecessor with a hold, so that a later run can start it."""
    if old.state not in ("pending", "running", "stopping"):
        return ()
    reason = f"stop the {{state}} instance: its volumes or interfaces move to {new.instance_id}"
    return held_stop([old], state.region, now, hold_time, reason=reason)


def _stop(state: State, instance: Instance, reason: str) -> Change:
    before, after = {"state": instance.state}, {"state": "stopped"}
    return Change(
        "StopInstances", instance.instance_id, state.region, {}, reason.format(state=instance.state), before, after
    )


def carrying(state: State, volumes: Sequence[MovedVolume], old: Instance, new: Instance) -> tuple[Stage, ...]:
    """Return the stages that detach the volumes from *old*, and attach them to *new* at the same devices."""
    here = [item for item in volumes if _shows(state, item, old)]
    detaches = tuple(_detach(state, item, old.instance_id, f"move to {new.instance_id}") for item in here)
    free = tuple(Wait((item.volume_id,), "detached") for item in volumes)
    return (Stage(detaches, free), _attaching(state, volumes, new, f"move {{device}} from {old.instance_id}"))


def _shows(state: State, item: MovedVolume, instance: Instance) -> bool:
    volume = state.volume(item.volume_id)
    return volume is not None and attached_to(volume, instance.instance_id)


def returning(state: State, volumes: Sequence[MovedVolume], old: Instance, new: Instance) -> tuple[Stage, ...]:
    """Return the rollback of the move, from any of its steps: the volumes are at *old* as before. *new* is off.

    EC2 answers that a volume is not attached to *new*, or is attached to *old* already. The waits show which is true.
    """
    reason = f"return to {old.instance_id}"
    detaches = tuple(_detach(state, item, new.instance_id, reason) for item in volumes) if new.alive else ()
    gone = tuple(Wait((item.volume_id,), "detached", about=new.instance_id) for item in volumes)
    settled = Wait(tuple(item.volume_id for item in volumes), "settled")
    stages = (Stage(detaches, (*gone, settled)), _attaching(state, volumes, old, "return {device}"))
    flags = deletion_flags(state, volumes, old.instance_id)
    return (*stages, Stage((flags,))) if flags is not None else stages


def leaving(state: State, old: Instance, new: Instance) -> Stage:
    """Return the stage that stops the successor, so that the parts can return. A terminated one cannot stop, and EC2
    detaches its volumes and interfaces.
    """
    gone_already = Query(
        "DescribeInstances",
        (("instance-id", (new.instance_id,)), ("instance-state-name", ("shutting-down", "terminated"))),
    )
    stop = dataclasses.replace(
        _stop(state, new, f"stop the successor: its volumes or interfaces return to {old.instance_id}"),
        unless=(gone_already,),
    )
    waits = (Wait((new.instance_id,), "off"),)
    return Stage((stop,) if new.alive else (), waits, patience=_STILL_STARTING)


def lacking_flags(volumes: Iterable[MovedVolume], old: Instance) -> list[MovedVolume]:
    """Return the volumes that are back at *old* without the delete-on-termination that they had there."""
    flags = {device.volume_id: device.delete_on_termination for device in old.block_devices}
    return [item for item in volumes if item.delete_on_termination and flags.get(item.volume_id) is False]


def _attaching(state: State, volumes: Sequence[MovedVolume], instance: Instance, reason: str) -> Stage:
    changes = tuple(
        Change(
            "AttachVolume",
            item.volume_id,
            state.region,
            {"InstanceId": instance.instance_id, "Device": item.device_name},
            reason.format(device=item.device_name),
            {"state": "available", "attachments": []},
            {"state": "in-use", "attachments": [_plain(VolumeAttachment(instance.instance_id, item.device_name))]},
        )
        for item in volumes
    )
    waits = tuple(Wait((item.volume_id,), "attached", about=instance.instance_id) for item in volumes)
    # EC2 attaches nothing to an instance that is still stopping.
    return Stage(changes, waits, patience=_STILL_STOPPING)


def _detach(state: State, item: MovedVolume, instance_id: str, reason: str) -> Change:
    link = VolumeAttachment(instance_id, item.device_name)
    return Change(
        "DetachVolume",
        item.volume_id,
        state.region,
        {"InstanceId": instance_id},
        reason,
        {"attachments": [_plain(link)]},
        {"state": "available", "attachments": []},
        disruptive=True,
    )


def deletion_flags(state: State, volumes: Iterable[MovedVolume], instance_id: str) -> Change | None:
    """Return the change that sets delete-on-termination as the predecessor had it, or None. EC2 attaches with false."""
    devices = [item.device_name for item in volumes if item.delete_on_termination]
    if not devices:
        return None
    parameters = {
        "BlockDeviceMappings": [{"DeviceName": name, "Ebs": {"DeleteOnTermination": True}} for name in devices]
    }
    reason = "set DeleteOnTermination, as before the move"
    return Change("ModifyInstanceAttribute", instance_id, state.region, parameters, reason, {}, {})


def following(state: State, volumes: Iterable[MovedVolume], old: Instance, new: Instance) -> list[Change]:
    """Return the changes after the move: the name of a declaration and delete-on-termination follow to *new*."""
    volumes = tuple(volumes)
    changes = []
    for item in volumes:
        volume = state.volume(item.volume_id)
        if volume is not None and volume.tags.get(tag_names.SPEC) == old.instance_id:
            tags = {tag_names.SPEC: new.instance_id}
            reason = f"rename the declaration, which is named after its instance, to {new.instance_id}"
            after = {"tags": {**volume.tags, **tags}}
            parameters = {"Tags": tag_names.boto3_tags(tags)}
            before = {"tags": dict(volume.tags)}
            changes.append(Change("CreateTags", item.volume_id, state.region, parameters, reason, before, after))
    set_already = {device.volume_id for device in new.block_devices if device.delete_on_termination}
    flags = deletion_flags(state, [item for item in volumes if item.volume_id not in set_already], new.instance_id)
    changes += [flags] if flags is not None else []
    return changes
