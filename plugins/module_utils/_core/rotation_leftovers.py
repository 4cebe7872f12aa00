# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a policy retains of volumes that it no longer selects, and what the user should know about it.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .change import Query, by_id
from .rotation_capture import Capture
from .rotation_units import Unit, source_of

_NAMED = 10


class Leftovers:
    """The policy's own snapshots of volumes outside its selection.

    *retired*: the volumes of instances in whose place successors are captured. Their snapshots end by the rules.
    """

    def __init__(self, capture: Capture, retired: Iterable[str]) -> None:
        self._capture = capture
        selected = {volume.volume_id for target in capture.targets for volume in target.volumes}
        self._selected = selected.union(retired)

    def _outside(self, units: Iterable[Unit]) -> set[str]:
        """The volumes, not selected, that the policy has made these units of; none where it selects nothing."""
        if not self._capture.spec.selects:
            return set()
        own = (item for unit in units if self._capture.is_own(unit) for item in unit.good)
        return {source for item in own if (source := source_of(item))} - self._selected

    def questions(self, leaving: Iterable[Unit]) -> tuple[Query, ...]:
        """Whether the unselected volumes of what may be deleted still exist."""
        return by_id("DescribeVolumes", "volume-id", self._outside(leaving))

    def warnings(self, going: Iterable[Unit]) -> Iterator[str]:
        """The existing volumes, not selected, of which snapshots are deleted.

        Two tasks that share a policy name delete each other's snapshots, and nothing in EC2 tells the two apart.
        """
        state, policy = self._capture.state, self._capture.spec.policy
        outside = self._outside(going)
        there = [item for item in sorted(outside) if (volume := state.volume(item)) is not None and volume.alive]
        if there:
            more = f" and {len(there) - _NAMED} more" if len(there) > _NAMED else ""
            verb = "exists and is" if len(there) == 1 else "exist and are"
            yield (
                f"policy: {policy} deletes snapshots of {', '.join(there[:_NAMED])}{more}, which {verb} not selected. "
                f"Where another task uses the name {policy} with other rules, give each task a name of its own."
            )
