# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The instances that a policy captures for the ids that it names: after a relaunch, the successor.

`succession` finds the instance that stands for an id. A policy differs in two points. It also captures a predecessor
that runs, since that one is not retired. If two instances claim to be the successor, it captures both, since it must
not guess. The same applies if the tag of a successor and EC2's facts differ on the instance in service.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..._domain.replacement import started_since
from ..._domain.succession import disputed, doubtful, lineage_queries, on_trial_for, successor, undecided
from ..._domain.succession_doubts import (
    claim_warnings,
    dispute_warnings,
    doubt_warnings,
    older_id_warnings,
    undecided_warning,
)
from ..._kernel.errors import Ambiguous
from ..._kernel.ids import is_planned
from ..._kernel.resources import Instance
from ..._kernel.state import Query, State, by_id
from .spec import RotationSpec

_IN_SERVICE = ("pending", "running")


class Successors:
    """The successors of ``select.instance_ids``, as far as *state* shows."""

    def __init__(self, spec: RotationSpec, state: State) -> None:
        self._spec, self._state = spec, state
        self._ambiguous: dict[str, str] = {}
        self._followed: list[str] = []
        self._standing = {given: self._standing_for(given) for given in spec.instance_ids}

    def _standing_for(self, given: str) -> tuple[str, ...]:
        try:
            living = successor(self._state, given)
            successors: tuple[str, ...] = () if living is None else (living.instance_id,)
        except Ambiguous as error:
            self._ambiguous[given] = str(error)
            successors = error.candidates
        if successors:
            self._followed.append(given)
            successors += tuple(item.instance_id for item in disputed(self._state, given))
        # The volumes of a successor that an earlier task of a check run has planned have no ids yet.
        successors = tuple(successor_id for successor_id in successors if not is_planned(successor_id))
        itself = self._state.instance(given)
        serves = not successors or (itself is not None and itself.state in _IN_SERVICE)
        standing = (*successors, given) if serves else successors
        doubtful_ones = (name for name in self._in_doubt(given, standing) if not is_planned(name))
        return tuple(dict.fromkeys((*standing, *doubtful_ones)))

    def _in_doubt(self, given: str, standing: tuple[str, ...]) -> Iterator[str]:
        """Yield both instances of each doubtful replacement, and each successor beside a predecessor that came back.

        A replacement is doubtful if its tag and the facts differ, or if only the tag shows which instance serves.
        """
        open_ones = undecided(self._state, given) if given in self._followed else []
        for item in (*doubtful(self._state, given), *open_ones):
            yield from (one.instance_id for one in (item.successor, item.predecessor) if one is not None)
        for old in map(self._state.instance, standing):
            if old is not None and old.state in _IN_SERVICE:
                unserving = on_trial_for(self._state, old.instance_id)
                yield from (new.instance_id for new in unserving if started_since(old, new))

    @property
    def spec(self) -> RotationSpec:
        """Return the task's options with the ids of the captured instances."""
        ids = (name for several in self._standing.values() for name in several)
        return replace(self._spec, instance_ids=tuple(dict.fromkeys(ids)))

    def questions(self) -> Iterator[Query]:
        """Yield the queries for instances that replace the given ids, and for volumes of the known successors."""
        clear = [given for given in self._spec.instance_ids if given not in self._ambiguous]
        yield from lineage_queries(clear, self._state)
        successors = [name for name in self.spec.instance_ids if name not in self._spec.instance_ids]
        yield from by_id("DescribeVolumes", "attachment.instance-id", successors)

    @property
    def retired(self) -> list[tuple[Instance, str]]:
        """Return the given instances that still exist and are no longer captured, each with its successor."""
        found = []
        for given, standing in self._standing.items():
            itself = self._state.instance(given)
            if itself is not None and itself.alive and given not in self.spec.instance_ids:
                found.append((itself, standing[0]))
        return found

    @property
    def retired_volumes(self) -> set[str]:
        """Return the volumes that are attached to retired instances."""
        return {device.volume_id for instance, _successor in self.retired for device in instance.block_devices}

    def warnings(self, captured: set[str]) -> Iterator[str]:
        """Yield warnings about unclear successors, and about data volumes that stay with a retired instance.
        *captured*: the selected volumes.
        """
        yield from (f"select.instance_ids: {text}" for text in claim_warnings(self._state, self._spec.instance_ids))
        doubts = doubt_warnings(self._state, self._spec.instance_ids)
        held = [item for given in self._followed for item in undecided(self._state, given)]
        # Where the predecessor runs, both are captured anyway: see `old_instance: keep`.
        unclear = (item for item in held if item.waits_for_start or item.was_outrun)
        doubts += tuple(dict.fromkeys(undecided_warning(item) for item in unclear))
        yield from (f"select.instance_ids: both are captured. {text}" for text in doubts)
        yield from (f"select.instance_ids: {text}" for text in older_id_warnings(self._state, self._followed))
        disputes = dispute_warnings(self._state, self._followed)
        yield from (f"select.instance_ids: all of them are captured. {text}" for text in disputes)
        for given, text in self._ambiguous.items():
            yield f"select.instance_ids: {given}: all of them are captured. {text}"
        for instance, living in self.retired:
            left = [
                device.volume_id
                for device in instance.block_devices
                if device.volume_id not in (instance.root_volume_id, *captured)
            ]
            if left:
                yield (
                    f"select.instance_ids: {living} has replaced {instance.instance_id} and is captured in its place. "
                    f"{', '.join(left)} stayed attached to {instance.instance_id} and is not captured. Move it to "
                    f"{living}, or select it by its own id or tag."
                )
