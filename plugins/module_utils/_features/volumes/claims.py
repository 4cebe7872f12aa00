# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The claims of volumes' tags about each other, and the facts of EC2 that support them.

The tags ``ec2ops:replaces`` and ``ec2ops:replaced-by`` claim a swap. The snapshot of the swap proves it.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from ..._domain.device_names import device_letters
from ..._kernel import proofs
from ..._kernel import tags as tag_names
from ..._kernel.ids import kind_of
from ..._kernel.resources import Volume
from ..._kernel.state import Query, State, by_id
from .spec import VolumesSpec
from .targets import Target, is_at

_GOING = ("deleting", "deleted")


class KnownVolumes:
    """The state's volumes by tags, by device, and by the volumes that they claim to replace."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.tagged: dict[tuple[str, str], list[Volume]] = defaultdict(list)
        self.claims: dict[str, list[Volume]] = defaultdict(list)
        self._at: dict[tuple[str, str], list[Volume]] = defaultdict(list)
        for volume in state.all(Volume):
            if volume.state in _GOING:
                continue
            if tag_names.SPEC in volume.tags and tag_names.VOLUME in volume.tags:
                self.tagged[volume.tags[tag_names.SPEC], volume.tags[tag_names.VOLUME]].append(volume)
            for older in tag_names.replaced_ids(volume.tags):
                self.claims[older].append(volume)
            for link in volume.attachments:
                self._at[link.instance_id, device_letters(link.device_name)].append(volume)

    def at(self, instance_id: str, device: str) -> list[Volume]:
        """Return the volumes at the device, under either of its names."""
        return self._at.get((instance_id, device_letters(device)), [])

    def get(self, volume_id: str) -> Volume | None:
        """Return the volume with that id, unless it is being deleted."""
        found = self.state.volume(volume_id)
        return None if found is None or found.state in _GOING else found

    def is_proven(self, new: Volume, old: Volume) -> bool:
        """Return whether EC2 shows that a swap made *new* as the copy of *old*."""
        return proofs.is_replacement(new, old, self.state.snapshot(new.snapshot_id))

    def has_proven_copy(self, old: Volume) -> bool:
        """Return whether EC2 shows a copy of *old* that a swap made."""
        return any(self.is_proven(new, old) for new in self.claims[old.volume_id])

    def doubt(self, target: Target, new: Volume, old_id: str) -> str | None:
        """Return why *new* does not count as the replacement of *old_id*, as a phrase after its id, or None if it
        counts.

        EC2 must not contradict the claim. If the swap's snapshot is gone, so that there is no proof, *new* counts while
        it is attached. If both volumes are detached, *new* counts if the old one has the tag that *new* has replaced
        it.
        """
        old = self.get(old_id)
        if old is None or self.is_proven(new, old):
            return None
        direct = tag_names.replaced_ids(new.tags)[0] == old_id
        misfit = proofs.replacement_misfit(new, old, self.state.snapshot(new.snapshot_id)) if direct else None
        if misfit is not None:
            return misfit
        unproven = "is no proven copy, since EC2 shows no swap snapshot as its source"
        if is_at(target, old) and not is_at(target, new):
            return unproven
        # The user decides about two volumes in its place, and about one that is attached elsewhere.
        if new.attachments if direct else is_at(target, new):
            return None
        marked = old.tags.get(tag_names.REPLACED_BY)
        between = new if marked == new.volume_id else self.get(marked or "")
        # A copy of a copy also stands for the first volume, which the copy between them has replaced.
        follows = marked is not None if between is None else old_id in tag_names.replaced_ids(between.tags)
        if follows and not old.attachments and (not direct or between is new):
            return None
        return unproven

    def is_sure(self, new: Volume, old_id: str) -> bool:
        """Return whether EC2 shows that a swap made *new* as the copy of the volume of that id, which may be gone."""
        return self.is_proven(new, self.get(old_id) or Volume(old_id))

    def is_stray(self, volume: Volume) -> bool:
        """Return whether the volume has the tag of an unfinished swap of a volume that is gone."""
        swapped = volume.tags.get(tag_names.SWAP)
        return swapped is not None and not volume.attachments and self.get(swapped) is None

    def replacements(self, target: Target, old_id: str) -> list[Volume]:
        """Return the volumes whose claim to replace *old_id* counts."""
        return [new for new in self.claims[old_id] if self.doubt(target, new, old_id) is None]

    def is_replaced(self, target: Target, volume: Volume) -> bool:
        """Return whether the volume's tag `tags.REPLACED_BY` counts.

        The tag must have an id. If the volume is at its place, the tag counts only if its replacement is there too.
        """
        mark = volume.tags.get(tag_names.REPLACED_BY)
        if mark is None or kind_of(mark) != "volume":
            return False
        new = self.get(mark)
        if new is None:
            return not is_at(target, volume)
        return new in self.replacements(target, volume.volume_id)

    def doubts(self, target: Target, several: Iterable[Volume]) -> Iterator[str]:
        """Yield warnings for tags of these volumes that no fact supports."""
        for volume in several:
            for old_id in tag_names.replaced_ids(volume.tags):
                doubt = self.doubt(target, volume, old_id)
                if doubt is not None:
                    yield (
                        f"{target.label}: {volume.volume_id} carries {tag_names.REPLACES}={old_id} and {doubt}. It is "
                        f"left as it is. Remove its tag {tag_names.REPLACES}"
                    )
            if tag_names.REPLACED_BY in volume.tags and not self.is_replaced(target, volume):
                yield (
                    f"{target.label}: {volume.volume_id} carries {tag_names.REPLACED_BY}="
                    f"{volume.tags[tag_names.REPLACED_BY]}, and no such replacement is proven. It counts as not "
                    f"replaced. Remove its tag {tag_names.REPLACED_BY}"
                )


def proof_queries(spec: VolumesSpec, state: State) -> tuple[Query, ...]:
    """Return the queries for the snapshots that prove copies: of unfinished swaps, and of volumes that claim to be
    copies.

    A finished swap that kept the replaced volume needs no query. Its snapshot is gone, and the volume is detached and
    marked. If the swap deleted the volume, the final snapshot proves the copy of a volume that an entry names.
    """
    known = KnownVolumes(state)
    open_claims = [
        new.snapshot_id or ""
        for old_id, several in known.claims.items()
        for new in several
        if (old := known.get(old_id)) is not None and not _is_finished(old, new)
    ]
    open_claims += [
        new.snapshot_id or ""
        for entry in spec.volumes
        if entry.volume_id is not None and known.get(entry.volume_id) is None
        for new in known.claims[entry.volume_id]
    ]
    return by_id("DescribeSnapshots", "snapshot-id", open_claims)


def _is_finished(old: Volume, new: Volume) -> bool:
    """Return whether a swap's last tags are written: *old* names *new*, is detached, and has no declaration."""
    left = {tag_names.SPEC, *tag_names.WAS_AT}.intersection(old.tags)
    return old.tags.get(tag_names.REPLACED_BY) == new.volume_id and not left and not old.attachments
