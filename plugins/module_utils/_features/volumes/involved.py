# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the instances that an earlier run of a declaration has stopped, and the facts that refute such a claim.

A volume's tag ``ec2ops:was-at`` claims its attachment before the run, and a hold claims that the instance there was
running. Both claims are only tags, and the hold may belong to another run that works on the instance right now.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..._domain.hold import Hold, hold_of, wants_start
from ..._kernel import tags as tag_names
from ..._kernel.instance_proofs import attached_since
from ..._kernel.resources import Instance, Volume
from ..._kernel.state import State
from .former_attachments import FormerAttachment, recorded_attachments


def involved(
    state: State, volumes: Iterable[Volume], parted: Collection[tuple[str, str]], declared: Collection[str]
) -> tuple[list[Instance], tuple[str, ...]]:
    """Return the instances with a hold to which one of these volumes may have been attached, and a warning for each
    other instance.

    *parted*: the pairs of a volume and an instance that this plan detaches. *declared*: the instances of the
    declaration.
    """
    found: dict[str, Instance] = {}
    refuted: dict[str, tuple[Instance, Volume]] = {}
    for volume in volumes:
        for former in recorded_attachments(volume):
            instance = state.instance(former.instance_id)
            hold = hold_of(instance) if instance is not None else None
            if instance is None or hold is None:
                continue
            # A run that was ended right after its stop leaves the volume where it was.
            there = any(link.instance_id == instance.instance_id for link in volume.attachments)
            parts = (volume.volume_id, instance.instance_id) in parted
            if parts or (there and instance.instance_id in declared) or _fits(state, volume, former, hold):
                found[instance.instance_id] = instance
            else:
                refuted[instance.instance_id] = instance, volume
    left = [pair for name, pair in refuted.items() if name not in found and wants_start(pair[0])]
    return list(found.values()), tuple(_left_alone(instance, volume) for instance, volume in left)


def _left_alone(instance: Instance, volume: Volume) -> str:
    return (
        f"{instance.instance_id} is {instance.state}, and its tag {tag_names.RESTORE_STATE} says that a run will "
        f"start it again. The tag {tag_names.WAS_AT[0]} of {volume.volume_id} says that the run detached the volume "
        f"from it, but EC2 shows that the volume was not there. So {instance.instance_id} is left to the other run. "
        "If no run works on it, start it with the playbook restore_power"
    )


def _fits(state: State, volume: Volume, former: FormerAttachment, hold: Hold) -> bool:
    """Return whether EC2's facts allow the claim that the volume had this attachment when the hold began.

    Each of these facts refutes it:

    - the volume is in another zone
    - the volume is younger than the hold
    - the volume has been attached elsewhere since before the hold
    - another volume has been attached under that device name since before the hold
    """
    instance = state.instance(former.instance_id)
    if instance is None or volume.availability_zone != instance.availability_zone:
        return False
    if volume.create_time is not None and volume.create_time > hold.since:
        return False
    holders = [state.instance(link.instance_id) for link in volume.attachments]
    times = [attached_since(holder, volume.volume_id) for holder in holders if holder is not None]
    if any(moment is not None and moment < hold.since for moment in times):
        return False
    others = [
        attached_since(instance, device.volume_id)
        for device in instance.block_devices
        if device.device_name == former.device_name and device.volume_id != volume.volume_id
    ]
    return not any(moment is not None and moment < hold.since for moment in others)
