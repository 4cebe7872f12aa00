# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A match: an entry, the volume that it stands for, and the swaps that led to it.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..._kernel import tags as tag_names
from ..._kernel.errors import StorageError, UnsafePlan, listed
from ..._kernel.resources import Volume, VolumeAttachment
from ..._kernel.state import State
from .spec import ROOT
from .swap_phases import Swap
from .targets import Target, is_at


@dataclass(frozen=True)
class Match:
    """The volumes that a target may stand for.

    ``name``: the value of ``ec2ops:volume``. ``volume``: the volume that counts, or None. ``how``: ``tags``,
    ``volume_id``, ``device`` or ``root``. ``swaps``: the unfinished swaps that led to ``volume``, the latest first.
    ``stale``: copies of an unfinished swap that no entry needs any more. ``copies``: other volumes with the entry's
    tags, if ``volume_id`` or the place decides for one. ``doubts``: tags that no fact supports, as warnings.
    ``unproven``: the entry names another volume, and only tags say that ``volume`` has replaced it, so that only its
    tags change. ``refused``: the error if tags do not decide on the entry's volume. The other entries are carried out.
    """

    target: Target
    name: str
    volume: Volume | None = None
    how: str = "tags"
    swaps: tuple[Swap, ...] = ()
    stale: tuple[Volume, ...] = ()
    copies: tuple[Volume, ...] = ()
    doubts: tuple[str, ...] = ()
    unproven: bool = False
    refused: StorageError | None = None

    @property
    def here(self) -> bool:
        """The volume is attached to an instance of the target."""
        return self.volume is not None and is_at(self.target, self.volume)

    @property
    def replaced(self) -> tuple[Volume, ...]:
        """The volumes that ``volume`` replaces in unfinished swaps, the latest first."""
        return tuple(swap.old for swap in self.swaps)

    @property
    def old(self) -> Volume | None:
        """The volume that ``volume`` replaces in the latest unfinished swap."""
        return self.swaps[0].old if self.swaps else None

    @property
    def is_told_by_tags(self) -> bool:
        """Only tags name the volume of the entry, or say that there is none."""
        return self.unproven or self.how == "tags"

    @property
    def is_root(self) -> bool:
        """The volume is one that an instance boots from."""
        return self.volume is not None and self.how == "root"


def strangers(match: Match, state: State) -> Iterator[VolumeAttachment]:
    """Yield the volume's attachments to living instances that the target does not name.

    Those instances share a Multi-Attach volume of the same declaration, so they keep it unless it must be absent. With
    ``state: detached``, it is detached only from the named instances, as a node leaves a cluster.
    """
    volume = match.volume
    if volume is None or match.is_root:
        return
    state_wanted = match.target.spec.state
    member = match.how == "tags" or (
        # An entry with an id moves the whole volume to another instance.
        state_wanted == "detached" and volume.tags.get(tag_names.SPEC) == match.target.group
    )
    if volume.multi_attach_enabled and match.target.instances and member and state_wanted != "absent":
        return
    wanted = {instance.instance_id for instance in match.target.instances}
    for link in volume.attachments:
        holder = state.instance(link.instance_id)
        if link.instance_id not in wanted and (holder is None or holder.alive):
            yield link


def require_ours(match: Match, state: State) -> None:
    """Raise UnsafePlan if the volume belongs to another declaration, another entry, or another instance."""
    volume, target = match.volume, match.target
    if volume is None or target.spec.name == ROOT:
        return
    spec, name = volume.tags.get(tag_names.SPEC), volume.tags.get(tag_names.VOLUME)
    if spec == target.group and match.how == "device" and name != match.name:
        raise UnsafePlan(
            f"{target.label}: {volume.volume_id} at {target.spec.device_name} is the volume {name!r} of the same "
            f"declaration. Call the entry {name!r}, add volume_id: {volume.volume_id} to rename the volume, or "
            "choose another device_name"
        )
    if spec is not None and spec != target.group:
        raise UnsafePlan(
            f"{target.label}: {volume.volume_id} belongs to the declaration {spec!r} as its volume {name!r}. Set "
            "steal: true to take it from there"
        )
    held = sorted(
        f"{link.instance_id} as {link.device_name}"
        for link in strangers(match, state)
        # The run asks who holds the volume only once the volume is known.
        if state.instance(link.instance_id) is not None
        or state.was_asked("DescribeInstances", "instance-id", link.instance_id)
    )
    if held:
        here = "is attached here" if target.spec.state == "present" else f"is {target.spec.state}"
        raise UnsafePlan(
            f"{target.label}: {volume.volume_id} is attached to {listed(held)}. If it was moved there, remove its "
            f"entry here. If not, steal: true detaches it there, and it {here}"
        )
