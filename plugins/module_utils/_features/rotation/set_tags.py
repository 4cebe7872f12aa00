# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tags of a new snapshot set, in the CreateSnapshots and after it.

CreateSnapshots gives all snapshots the same tags, and copies the tags of each volume on request. One CreateTags for
each snapshot would take several times as long as the sets themselves (5 per second, EC2's bucket). So the call carries
all tags if the result is the same.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..._domain.origins import tags_together
from ..._kernel.resources import Volume
from ..._kernel.tags import MOST_TAGS, places_taken

_LATER = 1
"""The tags that a later run may add to a snapshot: `tags.SHARED_WITH`."""


@dataclass(frozen=True)
class SetTags:
    """``shared``: the tags that the call gives to every snapshot. ``copied``: by volume, the tags that the call copies
    from it; empty when it copies none.
    """

    shared: Mapping[str, str]
    copied: Mapping[str, Mapping[str, str]]

    def of(self, volume_id: str) -> dict[str, str]:
        """Return the tags that the snapshot of a volume has after the call."""
        return {**self.copied.get(volume_id, {}), **self.shared}


def set_tags(
    volumes: Sequence[Volume], from_volumes: Mapping[str, Mapping[str, str]], own: Mapping[str, str]
) -> SetTags:
    """Return the tags of the set of *volumes*.

    *from_volumes*: by volume, the tags of the volume that its snapshot must have. *own*: the tags of the task and of
    the policy. Without a record of its volume (`origins.has_origin`), a snapshot gets the missing tags by CreateTags.
    """
    origins = tags_together(volumes)
    alone = SetTags(own, {})
    if origins is None:
        return alone
    first = from_volumes[volumes[0].volume_id]
    if all(tags == first for tags in from_volumes.values()):
        made = SetTags({**first, **own, **origins}, {})
    elif all(from_volumes[volume.volume_id] == _users(volume) for volume in volumes):
        made = SetTags({**own, **origins}, from_volumes)
    else:
        return alone
    has_room = all(places_taken(made.of(volume.volume_id)) <= MOST_TAGS - _LATER for volume in volumes)
    return made if has_room else alone


def _users(volume: Volume) -> dict[str, str]:
    """Return the tags that CopyTagsFromSource copies: all but those of AWS."""
    return {key: value for key, value in volume.tags.items() if not key.lower().startswith("aws:")}
