# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A swap, its phases, and the volume of the two that counts in each phase.

Private to this collection.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ..._kernel import tags as tag_names
from ..._kernel.errors import Ambiguous
from ..._kernel.resources import Volume
from .claims import KnownVolumes
from .targets import Target, is_at


class Phase(Enum):
    """The phase of a swap. `swap_of` derives it from the attachments and the tags of both volumes."""

    COPIED = "both are detached, and the copy has not been in its place yet"
    OVERTAKEN = "the replaced volume is attached again, and the copy has not been in its place"
    PLACED = "the copy has its place, or had it"
    MARKED = "the replaced volume is marked as replaced by the copy"
    BOTH_USED = "the replaced volume is attached again, although the copy has been in its place"
    ELSEWHERE = "the copy is attached elsewhere, and EC2 does not prove that it is a copy"


@dataclass(frozen=True)
class Swap:
    """The unfinished exchange of the volume *old* for its *copy*.

    ``is_proven``: EC2 shows that a swap made a copy of *old*.
    """

    old: Volume
    copy: Volume
    phase: Phase
    is_proven: bool

    def copy_counts(self, target: Target) -> bool:
        """Return whether the copy is the entry's volume, and not the replaced one: see `_COPY_COUNTS`.

        Raises Ambiguous where writes may be lost either way.
        """
        counts = _COPY_COUNTS[self.phase, target.spec.state == "present"]
        if counts is None:
            raise self._question(target)
        return counts

    def _question(self, target: Target) -> Ambiguous:
        old, new = self.old.volume_id, self.copy.volume_id
        mark = f"{tag_names.REPLACED_BY} with the id of the other"
        if self.phase is Phase.BOTH_USED:
            problem = f"{target.label}: {new} has replaced {old}, but {old} is attached again"
            return Ambiguous(problem, remedy=f"Detach the wrong one, and tag it {mark}")
        problem = f"{target.label}: {new} is attached elsewhere, and EC2 does not prove that it has replaced {old}"
        return Ambiguous(problem, remedy=f"Tag the wrong one {mark}")


_COPY_COUNTS = {
    # By the phase, and whether the entry wants the volume: whether the copy counts. None: the user must decide.
    (Phase.COPIED, True): True,
    (Phase.COPIED, False): False,
    # The replaced volume has newer writes.
    (Phase.OVERTAKEN, True): False,
    (Phase.OVERTAKEN, False): False,
    (Phase.PLACED, True): True,
    (Phase.PLACED, False): True,
    (Phase.MARKED, True): True,
    (Phase.MARKED, False): True,
    (Phase.BOTH_USED, True): None,
    (Phase.BOTH_USED, False): None,
    (Phase.ELSEWHERE, True): None,
    (Phase.ELSEWHERE, False): None,
}


def swap_of(target: Target, old: Volume, copy: Volume, known: KnownVolumes) -> Swap:
    """Return the swap of two volumes of one entry, if *copy* claims to replace *old*."""
    is_proven = known.has_proven_copy(old)
    return Swap(old, copy, _phase(target, old, copy, known, is_proven=is_proven), is_proven)


def _phase(target: Target, old: Volume, copy: Volume, known: KnownVolumes, *, is_proven: bool) -> Phase:
    if known.is_replaced(target, old):
        return Phase.MARKED
    # A copy loses this tag once it is in its place.
    was_placed = tag_names.SWAP not in copy.tags
    if old.attachments:
        return Phase.BOTH_USED if copy.attachments or was_placed else Phase.OVERTAKEN
    if copy.attachments and not is_at(target, copy) and not is_proven:
        return Phase.ELSEWHERE
    return Phase.PLACED if copy.attachments or was_placed else Phase.COPIED
