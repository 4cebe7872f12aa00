# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The coming deletions of a policy: the run in which the rules of ``keep`` no longer keep a snapshot.

The forecast asks `retention.decide` about the policy's coming runs, so it knows no rule itself. Rules never begin to
keep a snapshot again: a later capture takes its place, or time passes. So the run that deletes it is found by halving.
The one exception is ``oldest`` with a rule by span. `is_foreseeable` excludes it.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from .._kernel.times import Every, slot_start
from .retention import Keep, decide, in_future
from .snapshot_sets import Candidate

MOST_SLOTS = 10_000
"""The coming slots that a forecast looks at, and its end."""
LONGEST = timedelta(days=5 * 366)
"""The time that a forecast looks ahead, if that is fewer slots."""
MOST_HISTORIES = 500
"""The groups with different times that a forecast answers about, since each takes up to a tenth of a second."""
_STEP = 64
_MONTH = timedelta(days=28)
_Times = tuple[tuple[datetime, datetime, bool], ...]


def is_foreseeable(keep: Keep) -> bool:
    """Return whether the rules keep a snapshot until one moment, and never afterwards.

    With ``oldest`` and a rule by span, the deletion of an older snapshot makes the rules keep a younger one again.
    """
    return not (keep.oldest and keep.spans)


@dataclass(frozen=True, slots=True)
class Fate:
    """The forecast for one snapshot or set. A time of None: no deletion within the forecast.

    ``kept_by``: the rules that keep it now. It is empty if the next run deletes it. ``deletion``: the coming slot whose
    run deletes it, if the policy takes a snapshot in each slot. ``idle_deletion``: the same, if the policy takes none.
    """

    kept_by: tuple[str, ...]
    deletion: datetime | None
    idle_deletion: datetime | None


@dataclass
class Forecast:
    """The coming runs of one policy after *now*, one at the start of each slot. The rules are foreseeable."""

    keep: Keep
    every: Every
    now: datetime
    _slots: list[datetime] = field(default_factory=list)
    _kept: dict[int, list[Candidate]] = field(default_factory=lambda: {0: []})
    _histories: set[_Times] = field(default_factory=set)
    _known: dict[tuple[bool, _Times], list[datetime | None]] = field(default_factory=dict)

    def fates(self, group: Sequence[Candidate], *, is_captured: bool) -> Mapping[str, Fate]:
        """Return the fate of each candidate of one group by its key, without those that are dated in the future.

        After `MOST_HISTORIES` different groups, the fates of all further ones are unknown, and the answer is empty.

        is_captured: whether the policy can still take snapshots of the source. Otherwise both deletions are the same.
        """
        counted = [item for item in group if not in_future(max(item.moment, item.start_time), self.now)]
        ordered = sorted(counted, key=lambda item: (item.start_time, item.key), reverse=True)
        if _times(ordered) not in self._histories and len(self._histories) >= MOST_HISTORIES:
            return {}
        self._histories.add(_times(ordered))
        kept_by = decide(ordered, self.keep, self.now)
        idle = self._deletions(ordered, captures=False)
        coming = self._deletions(ordered, captures=True) if is_captured else idle
        return {
            item.key: Fate(kept_by[item.key], deletion, alone)
            for item, deletion, alone in zip(ordered, coming, idle, strict=True)
        }

    def at_or_after(self, moment: datetime) -> datetime | None:
        """Return the first coming slot that begins at *moment* or later, or None beyond the forecast."""
        low, high = 0, 1
        while not self._is_over(high) and self._slot(high) < moment:
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self._is_over(middle) or self._slot(middle) >= moment else (middle, high)
        return None if self._is_over(high) else self._slot(high)

    def _deletions(self, ordered: Sequence[Candidate], *, captures: bool) -> list[datetime | None]:
        """Return the deletion of each candidate. Groups with the same times have the same ones."""
        shape = (captures, _times(ordered))
        if shape not in self._known:
            found: dict[str, int] = {}
            self._find(ordered, frozenset(item.key for item in ordered), captures, found)
            self._known[shape] = [self._slot(found[item.key]) if item.key in found else None for item in ordered]
        return self._known[shape]

    def _find(self, ordered: Sequence[Candidate], alive: frozenset[str], captures: bool, found: dict[str, int]) -> None:
        """Note the number of the slot that deletes each candidate, with strides that double."""
        low, stride = 0, 1
        while alive and not self._is_over(low + 1):
            high = low + stride
            while self._is_over(high):
                high -= (high - low) // 2 or 1
            after = self._alive(ordered, high, captures)
            self._halve(ordered, (low, high), alive, after, captures, found)
            if not captures and self.keep.reference == "latest":
                # Without captures, the reference does not move.
                return
            alive, low, stride = after, high, stride * 2

    def _halve(
        self,
        ordered: Sequence[Candidate],
        between: tuple[int, int],
        before: frozenset[str],
        after: frozenset[str],
        captures: bool,
        found: dict[str, int],
    ) -> None:
        low, high = between
        if before == after:
            return
        if high - low == 1:
            found.update(dict.fromkeys(before - after, high))
            return
        middle = (low + high) // 2
        there = self._alive(ordered, middle, captures)
        self._halve(ordered, (low, middle), before, there, captures, found)
        self._halve(ordered, (middle, high), there, after, captures, found)

    def _alive(self, ordered: Sequence[Candidate], slot: int, captures: bool) -> frozenset[str]:
        """Return the keys of the candidates that the rules keep in the run of this slot."""
        group = ordered[0].group
        taken = self._captures(slot) if captures else []
        everyone = [*ordered, *(Candidate(item.key, group, item.moment, item.start_time) for item in taken)]
        decided = decide(everyone, self.keep, self._slot(slot))
        return frozenset(item.key for item in ordered if decided[item.key])

    # --- the coming slots ---

    def _captures(self, slot: int) -> list[Candidate]:
        """Return the captures of the slots 1 to *slot* that the rules keep in the run of this slot.

        All others are deleted by then, and decide about no other snapshot.
        """
        if slot not in self._kept:
            first = (slot - 1) // _STEP * _STEP
            earlier = self._captures(first)
            made = [
                Candidate(f"(slot {number})", "", self._slot(number), self._slot(number))
                for number in range(first + 1, slot + 1)
            ]
            everyone = [*earlier, *made]
            decided = decide(everyone, self.keep, self._slot(slot))
            self._kept[slot] = [item for item in everyone if decided[item.key]]
        return self._kept[slot]

    def _is_over(self, slot: int) -> bool:
        return slot > MOST_SLOTS or self._slot(slot) - self.now > LONGEST

    def _slot(self, number: int) -> datetime:
        """Return the start of a coming slot, from 1 on."""
        step = _MONTH if self.every.minutes is None else timedelta(minutes=self.every.minutes)
        while len(self._slots) < number:
            start = self._slots[-1] if self._slots else slot_start(self.every, self.now, self.keep.zone)
            moment = start.astimezone(UTC) + step
            # When the clock is put back, a slot is longer.
            while slot_start(self.every, moment, self.keep.zone) <= start:
                moment += step
            self._slots.append(slot_start(self.every, moment, self.keep.zone))
        return self._slots[number - 1]


def _times(ordered: Sequence[Candidate]) -> _Times:
    """Return all that the rules read of the candidates, except their order."""
    return tuple((item.moment, item.start_time if item.claimed else item.moment, item.claimed) for item in ordered)
