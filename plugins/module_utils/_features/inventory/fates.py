# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The coming deletions of the recovery points, where the rules of their policy are known.

EC2 shows no rules, so they come from the option ``policies``. Nothing is assumed about a policy without rules.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from ..._domain.forecast import Fate, Forecast, is_foreseeable
from ..._domain.snapshot_sets import Slots, SnapshotSet, snapshot_sets_of
from ..._kernel.proofs import is_copy
from ..._kernel.resources import Snapshot
from ..._kernel.times import format_moment
from .reading import is_answered
from .stock import Inventory


def fates(inventory: Inventory) -> dict[str, Fate]:
    """Return the fate of each snapshot of a policy with known rules, by its id.

    A snapshot that takes part in no rule is missing: a copy, one that is not completed, and a second one of a slot.
    All are missing if EC2 does not answer about images or locks, since these might keep any of them.
    """
    if not is_answered(inventory.state, "images", "locks"):
        return {}
    found: dict[str, Fate] = {}
    taken: dict[str, list[Snapshot]] = defaultdict(list)
    for point in inventory.points:
        if point.policy and not is_copy(point.snapshot):
            taken[point.policy].append(point.snapshot)
    known = {policy: rules for policy, rules in inventory.spec.rules.items() if is_foreseeable(rules.keep)}
    for policy, rules in known.items():
        forecast = Forecast(rules.keep, rules.every, inventory.now)
        slots = Slots(rules.every, rules.keep.zone)
        for group, sets in _groups(snapshot_sets_of(taken[policy], inventory.now, slots)).items():
            is_captured = group in inventory.volumes or group in inventory.instances
            decided = forecast.fates([one.candidate for one in sets], is_captured=is_captured)
            for one in sets:
                if one.key in decided:
                    found.update(dict.fromkeys(one.ids, _guarded(inventory, forecast, one, decided[one.key])))
    return found


def _groups(sets: Sequence[SnapshotSet]) -> Mapping[str, Sequence[SnapshotSet]]:
    """Return the completed sets of each source. Of several of one slot, the first one takes part in the rules."""
    groups: dict[str, list[SnapshotSet]] = defaultdict(list)
    there: set[tuple[str, datetime]] = set()
    for one in reversed(sets):
        if one.state != "completed" or not one.group:
            continue
        if one.period is not None:
            if (one.group, one.period) in there:
                continue
            there.add((one.group, one.period))
        groups[one.group].append(one)
    return groups


def _guarded(inventory: Inventory, forecast: Forecast, a_set: SnapshotSet, fate: Fate) -> Fate:
    """Return the fate with the guards that the report knows: images and locks. They keep a set as a whole."""
    images = sorted({image for one in a_set.ids for image in inventory.images_of.get(one, ())})
    if images:
        return Fate((*fate.kept_by, *(f"image {image}" for image in images)), None, None)
    points = (inventory.point(one) for one in a_set.ids)
    locks = [lock for one in points if one is not None and (lock := inventory.lock_of(one)) is not None]
    in_force = [lock for lock in locks if lock.is_in_force]
    if not in_force:
        return fate
    fate = replace(fate, kept_by=(*fate.kept_by, "lock"))
    ends = [lock.expires_on for lock in in_force]
    if None in ends:
        return replace(fate, deletion=None, idle_deletion=None)
    free = forecast.at_or_after(max(end for end in ends if end is not None))
    return replace(fate, deletion=_later(fate.deletion, free), idle_deletion=_later(fate.idle_deletion, free))


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return None if one is None or other is None else max(one, other)


def fate_views(ids: Iterable[str], known: Mapping[str, Fate]) -> Iterator[dict[str, Any]]:
    """Yield the fates of these snapshots as plain data, without those that are unknown."""
    for snapshot_id in ids:
        fate = known.get(snapshot_id)
        if fate is not None:
            yield {
                "snapshot_id": snapshot_id,
                "kept_by": list(fate.kept_by),
                "deletion": None if fate.deletion is None else format_moment(fate.deletion),
                "idle_deletion": None if fate.idle_deletion is None else format_moment(fate.idle_deletion),
            }
