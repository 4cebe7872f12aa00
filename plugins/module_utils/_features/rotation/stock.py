# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The snapshots that a policy keeps, as far as their lifecycle is concerned.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cached_property

from ..._domain.snapshot_sets import Unit
from ..._kernel import tags as tag_names
from .retention import in_future


@dataclass(frozen=True)
class Stock:
    """The policy's snapshot sets in its region.

    ``units``: all of them, the newest first. ``coming``: the units that this run makes or finds pending, and waits for,
    so that they count as completed. Without a wait they are ``pending``. ``leaving``: the keys of the units that no
    rule keeps, even if a guard holds them. A unit that is about to be deleted gets no lock, fast restore or archive.
    """

    policy: str
    units: Sequence[Unit]
    coming: Sequence[Unit]
    leaving: frozenset[str]
    now: datetime
    zone: tzinfo
    pending: Sequence[Unit] = ()

    @cached_property
    def own(self) -> list[Unit]:
        """Return the sets that the policy itself has made."""
        return [unit for unit in self.units if self._own(unit)]

    @cached_property
    def good(self) -> list[Unit]:
        """Return the policy's own sets that are kept and completed, or will be in this run, the newest first."""
        coming = {unit.key: unit for unit in self.coming if self._own(unit)}
        there = [unit for unit in self.own if unit.key not in coming and unit.state == "completed"]
        staying = [unit for unit in (*coming.values(), *there) if unit.key not in self.leaving and unit.group]
        return sorted(
            (unit for unit in staying if not in_future(max(unit.start_time, unit.period or unit.start_time), self.now)),
            key=lambda unit: (unit.start_time, unit.key),
            reverse=True,
        )

    def _own(self, unit: Unit) -> bool:
        return all(item.tags.get(tag_names.POLICY) == self.policy for item in unit.snapshots)
