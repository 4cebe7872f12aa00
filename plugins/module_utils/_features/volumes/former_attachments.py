# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The attachments of a volume, present and former, and the tag that records them.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from ..._kernel import tags as tag_names
from ..._kernel.resources import Volume
from ..._kernel.state import Query, State
from .targets import Target


@dataclass(frozen=True)
class FormerAttachment:
    """An attachment that a run ends temporarily. The tag ``ec2ops:was-at`` records it while the volume is detached."""

    instance_id: str
    device_name: str
    delete_on_termination: bool = False


def attachment_tags(formers: Iterable[FormerAttachment], present: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that record *formers*: ``ec2ops:was-at`` and, when it is full, its continuations.

    A value is ``i-… /dev/sdf``, then ``delete`` if the volume is deleted with the instance. Commas separate
    attachments. Tags of *present* that are no longer necessary become empty.
    """
    values = [""]
    for former in formers:
        text = f"{former.instance_id} {former.device_name}{' delete' if former.delete_on_termination else ''}"
        longer = f"{values[-1]},{text}" if values[-1] else text
        if len(longer) > tag_names.LONGEST_VALUE:
            values.append(text)
        else:
            values[-1] = longer
    tags = dict(zip_longest(tag_names.WAS_AT, values, fillvalue=""))
    return {key: value for key, value in tags.items() if value or key in present}


def recorded_attachments(volume: Volume) -> tuple[FormerAttachment, ...]:
    """Return the attachments in ``ec2ops:was-at``, or none for a value that this collection did not write."""
    found = []
    for part in (part for key in tag_names.WAS_AT for part in volume.tags.get(key, "").split(",")):
        words = part.split(" ")
        if len(words) in (2, 3) and words[2:] in ([], ["delete"]):
            found.append(FormerAttachment(words[0], words[1], len(words) == 3))
    return tuple(found)


def declared_attachments(target: Target, volume: Volume) -> tuple[FormerAttachment, ...]:
    """Return the recorded attachments on instances where the entry wants the volume.

    EC2 does not show a volume's former attachments, so the tag is only a claim. The tag alone never attaches the
    volume to another instance, and never sets delete-on-termination.
    """
    return tuple(
        FormerAttachment(former.instance_id, former.device_name)
        for former in recorded_attachments(volume)
        if former.instance_id in target.instance_ids
    )


def present_attachments(state: State, volume: Volume) -> tuple[FormerAttachment, ...]:
    """Return the present attachments in the form of the tag's records."""
    return tuple(
        FormerAttachment(link.instance_id, link.device_name, deleted_with(state, volume, link.instance_id))
        for link in volume.attachments
    )


WAS_AT_QUERY = Query("DescribeVolumes", (("tag-key", (tag_names.WAS_AT[0],)),))
"""The query for all volumes that a run has temporarily detached. There are few of them."""


def deleted_with(state: State, volume: Volume | None, instance_id: str | None) -> bool:
    """Return delete-on-termination of this attachment.

    A plan predicts it on the instance, so the instance's value comes first.
    """
    instance = state.instance(instance_id)
    for link in volume.attachments if volume is not None else ():
        if volume is None or link.instance_id != instance_id:
            continue
        for device in instance.block_devices if instance is not None else ():
            if (device.volume_id, device.device_name) == (volume.volume_id, link.device_name):
                return device.delete_on_termination
        return link.delete_on_termination
    return False
