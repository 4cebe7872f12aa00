# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask the guards again. A run may wait for hours, and a snapshot that it is about to delete may have become protected
since the plan.

The guards only look at planned deletions, and only after a wait. Snapshots that became protected are kept.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..._domain.snapshot_sets import SnapshotSet
from ..._kernel.errors import listed
from ..._kernel.places import Place
from ..._kernel.report import Withdrawal
from ..._kernel.resources import Resource, Snapshot
from ..._kernel.state import Query, State, by_id, own_images
from ..._kernel.storage_facts import (
    ARCHIVED_QUERY,
    FAST_RESTORES_QUERY,
    LOCKS_QUERY,
    PUBLIC_QUERY,
    permissions_query,
)
from .adoption import belongs, is_unclaimed
from .guards import CREATING, Guards
from .spec import GUARDS, RotationSpec

_OF_THE_RUN = frozenset({"copy_source", "newest_copy", "last"})
"""The guards about the run's own copies and deletions."""
LATE = tuple(guard for guard in GUARDS if guard not in _OF_THE_RUN)
"""The guards whose facts somebody else may have changed."""
_LISTINGS = {
    "locked": LOCKS_QUERY,
    "public": PUBLIC_QUERY,
    "fast_restore": FAST_RESTORES_QUERY,
    "archived": ARCHIVED_QUERY,
    "creating": CREATING,
}
"""By guard, the query whose answer covers all snapshots of a place."""
_HOLDING = ("keep", "fail")
"""The modes in which a guard keeps a snapshot.

In the mode ``fail``, the guard finds the snapshot again in the next run, and that run fails.
"""


@dataclass(frozen=True)
class Deletion:
    """A set that the run is about to delete, and its parts that the guards check.

    ``place``: its place in queries, empty for the task's own region. ``where``: its place in changes.
    """

    place: Place
    where: Place
    a_set: SnapshotSet
    guarded: tuple[Snapshot, ...]


class LateGuards:
    """`plan.Recheck` for the *deletions* of one run. *now*: the moment of its plan."""

    def __init__(self, spec: RotationSpec, deletions: Sequence[Deletion], now: datetime) -> None:
        self._spec, self._deletions, self._now = spec, deletions, now

    def queries(self, resources: Collection[str]) -> tuple[Query, ...]:
        """Return the listing of each guard that may keep one of these snapshots, once for each place.

        The snapshots, and the images that use them, are queried by id.
        """
        ids: dict[Place, list[str]] = defaultdict(list)
        for one in self._deletions:
            if not set(one.a_set.ids).isdisjoint(resources):
                ids[one.place] += [item.snapshot_id for item in one.guarded]
        return tuple(query for place, some in ids.items() if some for query in self._asked(place, some))

    def _asked(self, place: Place, ids: Sequence[str]) -> Iterator[Query]:
        found = [query for guard, query in _LISTINGS.items() if self._spec.guard(guard) in _HOLDING]
        found += by_id("DescribeSnapshots", "snapshot-id", ids, OwnerIds=("self",))
        # EC2 takes 200 values in one filter.
        uses = sorted(ids)
        found += [
            own_images(("block-device-mapping.snapshot-id", tuple(uses[start : start + 200])))
            for start in range(0, len(uses), 200)
        ]
        if self._spec.guard("shared") in _HOLDING:
            found += [permissions_query(snapshot_id) for snapshot_id in ids]
        return (replace(query, place=place) for query in found)

    def withdrawn(self, answers: Mapping[Query, Iterable[Resource]]) -> dict[str, Withdrawal]:
        """Return, by snapshot, why the snapshot is kept. All parts of a set are kept together."""
        found: dict[str, Withdrawal] = {}
        for place in dict.fromkeys(one.place for one in self._deletions):
            there = {query: some for query, some in answers.items() if query.place == place}
            state = State("").with_answers(there)
            guards = Guards(self._spec, state, self._now)
            for one in self._deletions:
                why = self._reason(one, state, guards) if one.place == place else None
                if why is not None:
                    found.update(dict.fromkeys(one.a_set.ids, why))
        return found

    def _reason(self, deletion: Deletion, state: State, guards: Guards) -> Withdrawal | None:
        for item in deletion.guarded:
            there = state.snapshot(item.snapshot_id, deletion.place)
            if there is None:  # somebody else has deleted it
                continue
            if not belongs(self._spec, there) or is_unclaimed(self._spec, there):
                return Withdrawal("managed", f"it no longer belongs to the policy {self._spec.policy}")
            for mode in _HOLDING:
                for guard, reason in guards.stops(there, mode, LATE):
                    return Withdrawal(guard, reason)
        return None

    def warning(self, withdrawn: Mapping[str, Withdrawal]) -> str:
        """Return the warning about the snapshots that are kept, with ten of them by name."""
        texts = [f"{name} ({why.guard}: {why.reason})" for name, why in withdrawn.items()]
        return (
            f"kept_late: {len(texts)} of the snapshots to delete became protected while the run waited, and are kept: "
            f"{listed(texts)}."
        )

    # --- the report ---

    def adjusted(self, result: Mapping[str, Any], withdrawn: Mapping[str, Withdrawal]) -> dict[str, Any]:
        """Return the module's results with the withdrawn snapshots among those that are kept."""
        kept = [one for one in self._deletions if not withdrawn.keys().isdisjoint(one.a_set.ids)]
        number = sum(len(one.a_set.ids) for one in kept)
        found = {**result, "kept_late": [_entry(one, withdrawn) for one in kept]}
        if "counts" in result:
            counts = result["counts"]
            found["counts"] = {**counts, "deleted": counts["deleted"] - number, "kept": counts["kept"] + number}
        found["decisions"] = [_decision(one, withdrawn) for one in result["decisions"]]
        return found


def _entry(deletion: Deletion, withdrawn: Mapping[str, Withdrawal]) -> dict[str, Any]:
    region, profile = deletion.where.region, deletion.where.profile
    why = next(withdrawn[name] for name in deletion.a_set.ids if name in withdrawn)
    return {
        "snapshot_ids": list(deletion.a_set.ids),
        "region": region,
        "profile": profile,
        "guard": why.guard,
        "reason": why.reason,
    }


def _decision(entry: Mapping[str, Any], withdrawn: Mapping[str, Withdrawal]) -> Mapping[str, Any]:
    why = next((withdrawn[name] for name in entry["snapshot_ids"] if name in withdrawn), None)
    return entry if why is None else {**entry, "decision": "keep", "guard": why.guard, "reasons": [why.reason]}
