# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lifecycle of kept snapshots: old ones are archived, new ones locked, and the newest get fast restore.

It covers only the policy's own snapshots in the task's region. Others took the adopted snapshots, and may rely on their
tier. A copy must be available at once.

Private to this collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..._domain.snapshot_sets import SnapshotSet
from ..._kernel import tags as tag_names
from ..._kernel.errors import listed
from ..._kernel.ids import is_planned
from ..._kernel.plan import Change, Stage
from ..._kernel.resources import Fact, Snapshot
from ..._kernel.state import Query, State
from ..._kernel.storage_facts import (
    FAST_RESTORES,
    FAST_RESTORES_QUERY,
    LOCK,
    LOCKS_QUERY,
    TIERING,
    TIERINGS_QUERY,
    Tiering,
    fast_restores_of,
)
from ..._kernel.times import format_moment
from .lifecycle_spec import FastRestore, Lifecycle, Lock, is_own_lock, locked_for, recorded_lock
from .stock import Stock

ARCHIVE_GUARDS = ("image", "backup", "managed", "public", "shared", "copy_source", "creating", "protected")
"""The guards that keep a snapshot from the archive too, in every mode: an archived snapshot cannot be used, and EC2
ends all sharing of it. EC2 refuses to archive a snapshot that an enabled image uses. A lock does not prevent archiving.
"""

MOST_ARCHIVING = 25
"""The number of snapshots of an account that EBS archives at once, unless AWS has raised it.

Later runs archive the others.
"""
_LATER = f"EC2 archives at most {MOST_ARCHIVING} snapshots at once"
LARGEST_FAST_RESTORE = 16384
"""GiB; EBS user guide, "Fast snapshot restore": larger ones cannot be enabled."""

# EC2 documents no error codes for these operations. The codes here are those of other operations: for a quota, for a
# state that is changing, and for a snapshot that an image has begun to use since the plan.
_QUOTA = "ResourceLimitExceeded"
_STATE = "IncorrectState"
_NOT_ARCHIVED_NOW = frozenset({_QUOTA, _STATE, "InvalidSnapshot.InUse"})
_NOT_ENABLED_NOW = frozenset({_QUOTA, _STATE})
_NOT_ON = frozenset({_STATE})


@dataclass(frozen=True)
class LifecycleChanges:
    """The lifecycle changes in order. `release` and `archive` wait until newer snapshots of the source are completed.

    ``release``: locks and fast restores to end, including those of snapshots that this run deletes afterwards: see
    `released`.
    ``secure``: locks and fast restores to begin. ``archive``: snapshots to archive. ``waiting``: the snapshots that are
    old enough but not archived in this run, newest first, with the reasons.
    """

    release: tuple[Change, ...] = ()
    secure: tuple[Change, ...] = ()
    archive: tuple[Change, ...] = ()
    waiting: tuple[tuple[SnapshotSet, str], ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[Change, ...]:
        """Return every change, in order."""
        return (*self.release, *self.secure, *self.archive)

    @property
    def before_deletions(self) -> tuple[Stage, ...]:
        """Return the changes between the wait and the deletions, so that new snapshots are safe before old ones are
        deleted.
        """
        return tuple(Stage(changes) for changes in (self.release, self.secure) if changes)

    @property
    def after_deletions(self) -> tuple[Stage, ...]:
        """Return the last changes, which do not depend on the deletions."""
        return (Stage(self.archive),) if self.archive else ()


def lifecycle_queries(lifecycle: Lifecycle, stock: Stock) -> Iterator[Query]:
    """Yield the queries beyond those of the guards about `archive_candidates`. An unused option needs none."""
    if lifecycle.fast_restore is not None and stock.own:
        yield replace(FAST_RESTORES_QUERY, optional=True)
    if lifecycle.lock is not None and any(not is_planned(item.snapshot_id) for item in _lockable(lifecycle, stock)):
        yield replace(LOCKS_QUERY, optional=True)
    if archive_candidates(lifecycle, stock):
        yield from (replace(query, optional=True) for query in (TIERINGS_QUERY, FAST_RESTORES_QUERY))


def archive_candidates(lifecycle: Lifecycle, stock: Stock) -> list[Snapshot]:
    """Return the sets that may have to be archived, as far as snapshots alone show. The guards check these."""
    if lifecycle.archive_after is None:
        return []
    newest = set(_first_of_groups(a_set for a_set in stock.good if not _shown_archived(a_set)))
    return [
        item
        for a_set in _older(lifecycle, stock)
        # Parts of the newest set may be on their way to the archive. Then another set is the newest.
        if a_set.key not in newest or len(a_set.snapshots) > 1
        for item in a_set.snapshots
        if item.storage_tier != "archive"
    ]


def lifecycle_changes(
    lifecycle: Lifecycle, stock: Stock, held: Callable[[Snapshot], str], state: State
) -> LifecycleChanges:
    """Return the changes that bring the snapshots in line with the lifecycle options.

    *held* returns why a snapshot must not be archived, or an empty text. The facts of `lifecycle_queries` must be in
    *state*. While an answer is missing, the plan omits each change that this answer could forbid.
    """
    return _Planning(lifecycle, stock, held, state).changes()


def released(state: State, changes: LifecycleChanges) -> State:
    """Return *state* after `LifecycleChanges.release`.

    The guards use this state. So this run deletes the snapshots that it releases, and the next run finds nothing to do.
    """
    unlocked: list[str] = []
    facts: list[Fact] = []
    for change in changes.release:
        if change.action == "UnlockSnapshot":
            unlocked.append(LOCK.id_of(change.resource))
        else:
            ended = set(change.parameters["AvailabilityZones"])
            rest = (item for item in fast_restores_of(state, change.resource) if item.zone not in ended)
            facts.append(FAST_RESTORES.fact(change.resource, tuple(rest)))
    return state.without(unlocked).with_resources(facts)


LISTED: Mapping[str, str] = {
    "ModifySnapshotTier": "archived",
    "LockSnapshot": "locked",
    "UnlockSnapshot": "unlocked",
    "EnableFastSnapshotRestores": "fast_restored",
    "DisableFastSnapshotRestores": "fast_restore_ended",
}
"""By action, the list of the result that has the ids of its snapshots."""


# --- Which ------------------------------------------------------------------------------------------------------------


def _first_of_groups(sets: Iterable[SnapshotSet]) -> list[str]:
    """Return the keys of the first set of each group."""
    first: dict[str, str] = {}
    for a_set in sets:
        first.setdefault(a_set.group, a_set.key)
    return list(first.values())


def _older(lifecycle: Lifecycle, stock: Stock) -> list[SnapshotSet]:
    """Return the kept sets older than ``archive_after``, the newest first. The start of a slot
    counts, as in the rules.
    """
    if lifecycle.archive_after is None:
        return []
    limit = lifecycle.archive_after.before(stock.now, stock.zone)
    there = {a_set.key for a_set in stock.coming}
    return [a_set for a_set in stock.good if a_set.key not in there and (a_set.period or a_set.start_time) < limit]


def _shown_archived(a_set: SnapshotSet) -> bool:
    return any(item.storage_tier == "archive" for item in a_set.snapshots)


def _lockable(lifecycle: Lifecycle, stock: Stock) -> Iterator[Snapshot]:
    """Yield the sets for ``lock``: those with a planned lock that are not older than the lock, or all for
    ``unlocked``.
    """
    if lifecycle.locks is None:
        items = (item for a_set in stock.own for item in a_set.snapshots)
        yield from (item for item in items if tag_names.LOCK in item.tags or recorded_lock(item))
        return
    for a_set in (*stock.pending, *stock.good):
        for item in a_set.snapshots:
            meant = locked_for(item)
            if meant is not None and a_set.start_time + meant > stock.now:
                yield item


# --- The planning -----------------------------------------------------------------------------------------------------


class _Planning:
    """The lifecycle of one policy at one moment."""

    def __init__(self, lifecycle: Lifecycle, stock: Stock, held: Callable[[Snapshot], str], state: State) -> None:
        self.lifecycle, self.stock, self.held, self.state = lifecycle, stock, held, state
        self.warnings = list(lifecycle.warnings)

    def changes(self) -> LifecycleChanges:
        release: list[Change] = []
        secure: list[Change] = []
        if self.lifecycle.lock is not None:
            (secure if self.lifecycle.locks else release).extend(self._locks(self.lifecycle.lock))
        if self.lifecycle.fast_restore is not None and FAST_RESTORES_QUERY not in self.state.unanswered:
            release += self._fast_restores_ended()
            secure += self._fast_restores_begun(self.lifecycle.fast_restore)
        archive: list[Change] = []
        waiting: list[tuple[SnapshotSet, str]] = []
        if self.lifecycle.archive_after is not None and not any(not query.place for query in self.state.unanswered):
            archive, waiting = self._archived()
        return LifecycleChanges(
            tuple(map(self._after_newer, release)),
            tuple(secure),
            tuple(map(self._after_newer, archive)),
            tuple(waiting),
            tuple(self.warnings),
        )

    def _after_newer(self, change: Change) -> Change:
        """Return the change of a snapshot that comes after the completion of the newer snapshots of its source."""
        return replace(change, after_steps=self._newer.get(change.resource, ()))

    @cached_property
    def _newer(self) -> dict[str, tuple[str, ...]]:
        coming: dict[str, tuple[str, ...]] = {}
        for a_set in self.stock.coming:
            coming[a_set.group] = (*coming.get(a_set.group, ()), *a_set.ids)
        return {item: coming[one.group] for one in self.stock.sets if one.group in coming for item in one.ids}

    def _change(
        self,
        action: str,
        snapshot_id: str,
        parameters: Mapping[str, Any],
        reason: str,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        deferrable: frozenset[str] = frozenset(),
        *,
        disruptive: bool = False,
    ) -> Change:
        return Change(
            action,
            snapshot_id,
            self.state.region,
            parameters,
            reason,
            before,
            after,
            deferrable=deferrable,
            disruptive=disruptive,
        )

    # --- locks ---

    def _locks(self, lock: Lock) -> Iterator[Change]:
        fixed, foreign = [], []
        for item in _lockable(self.lifecycle, self.stock):
            if LOCKS_QUERY in self.state.unanswered and not is_planned(item.snapshot_id):
                continue
            known = LOCK.of(self.state, item.snapshot_id)
            if self.lifecycle.locks is not None:
                if known is None:  # a lock that has expired is not begun again
                    yield self._lock(item, lock)
            elif known is None or not known.is_in_force:
                continue
            elif not known.is_removable:
                end = format_moment(known.expires_on) if known.expires_on is not None else None
                fixed.append(f"{item.snapshot_id} (until {end})")
            elif is_own_lock(item, known):
                yield self._unlock(item.snapshot_id, known.state)
            else:
                foreign.append(item.snapshot_id)
        if fixed:
            self.warnings.append(f"lock.mode: unlocked: nobody can remove the compliance locks of {listed(fixed)}")
        if foreign:
            self.warnings.append(
                f"lock.mode: unlocked: the descriptions of {listed(foreign)} do not record their locks. These locks "
                "may be somebody else's and stay. If they are yours, remove them with UnlockSnapshot."
            )

    def _lock(self, item: Snapshot, lock: Lock) -> Change:
        request: dict[str, Any] = {"LockMode": lock.mode, "LockDuration": lock.days}
        if lock.cool_off is not None:
            request["CoolOffPeriod"] = lock.cool_off
        reason = "lock as declared" if is_planned(item.snapshot_id) else "lock the unlocked snapshot"
        return self._change("LockSnapshot", item.snapshot_id, request, reason, {"lock": None}, {"lock": lock.text})

    def _unlock(self, snapshot_id: str, known: str) -> Change:
        reason = "unlock as declared"
        return self._change(
            "UnlockSnapshot", snapshot_id, {}, reason, {"lock": known}, {"lock": None}, _NOT_ON, disruptive=True
        )

    # --- fast restore ---

    @cached_property
    def _tierings(self) -> Mapping[str, Tiering]:
        """Return the snapshots of this region that somebody has moved between tiers."""
        return TIERING.all(self.state.here())

    def _usable(self, a_set: SnapshotSet) -> bool:
        """Return whether all parts are outside the archive, now and after this run."""
        return not _shown_archived(a_set) and not any(_away(self._tierings.get(name)) for name in a_set.ids)

    @cached_property
    def fast(self) -> dict[str, Snapshot]:
        """Return, by id, the snapshots that must have fast restore."""
        wanted = self.lifecycle.fast_restore
        if wanted is None or not wanted.zones:
            return {}
        counts: Counter[str] = Counter()
        found: dict[str, Snapshot] = {}
        for a_set in self.stock.good:
            if counts[a_set.group] < wanted.newest and self._usable(a_set):
                counts[a_set.group] += 1
                found.update((item.snapshot_id, item) for item in a_set.snapshots)
        return found

    def _zones(self, snapshot_id: str) -> list[str]:
        return sorted({item.zone for item in fast_restores_of(self.state, snapshot_id)})

    def _fast_restores_begun(self, wanted: FastRestore) -> Iterator[Change]:
        for snapshot_id, item in self.fast.items():
            if item.volume_size > LARGEST_FAST_RESTORE:
                self.warnings.append(
                    f"{snapshot_id} has {item.volume_size} GiB, but EC2 has fast restore only up to "
                    f"{LARGEST_FAST_RESTORE} GiB"
                )
                continue
            # In other zones, fast restore has ended by then.
            on = [zone for zone in self._zones(snapshot_id) if zone in wanted.zones]
            missing = [zone for zone in wanted.zones if zone not in on]
            if missing:
                yield self._change(
                    "EnableFastSnapshotRestores",
                    snapshot_id,
                    {"AvailabilityZones": missing},
                    f"enable fast restore of the newest {wanted.newest}"
                    if wanted.newest > 1
                    else "enable fast restore of the newest",
                    {"fast_restore": on},
                    {"fast_restore": sorted([*on, *missing])},
                    _NOT_ENABLED_NOW,
                )

    def _fast_restores_ended(self) -> Iterator[Change]:
        wanted = self.lifecycle.fast_restore
        zones = wanted.zones if wanted is not None else ()
        for a_set in self.stock.own:
            for snapshot_id in a_set.ids:
                on = self._zones(snapshot_id)
                kept = [zone for zone in on if zone in zones] if snapshot_id in self.fast else []
                ends = [zone for zone in on if zone not in kept]
                if ends:
                    reason = "end fast restore: not " + (
                        "a zone of fast_restore" if snapshot_id in self.fast else "among the newest snapshots"
                    )
                    yield self._change(
                        "DisableFastSnapshotRestores",
                        snapshot_id,
                        {"AvailabilityZones": ends},
                        reason if zones else "end fast restore as declared",
                        {"fast_restore": on},
                        {"fast_restore": kept},
                        _NOT_ON,
                        disruptive=True,
                    )

    # --- archive ---

    def _archived(self) -> tuple[list[Change], list[tuple[SnapshotSet, str]]]:
        """Return the sets to archive now, and those that wait, with the reason."""
        at_hand = [a_set for a_set in self.stock.good if self._usable(a_set)]
        newest, groups = set(_first_of_groups(at_hand)), {a_set.group for a_set in at_hand}
        ready: list[tuple[SnapshotSet, list[Snapshot]]] = []
        waiting: dict[str, str] = {}
        older = _older(self.lifecycle, self.stock)
        for a_set in older:
            left = [item for item in a_set.snapshots if not self._in_archive(item)]
            if not left:
                continue
            if a_set.key in newest:
                reason = "the newest snapshot outside the archive"
            elif a_set.group not in groups:  # the rest of a set that has a part in the archive
                reason = f"no other snapshot set of {a_set.group} is outside the archive"
            else:
                reason = self._stays(left)
            if reason:
                waiting[a_set.key] = reason
            else:
                ready.append((a_set, left))
        taken = self._within_quota(ready)
        waiting.update((a_set.key, _LATER) for a_set, _left in ready if a_set.key not in taken)
        changes = [self._archive(item) for a_set, left in ready if a_set.key in taken for item in left]
        return changes, [(a_set, waiting[a_set.key]) for a_set in older if a_set.key in waiting]

    def _in_archive(self, item: Snapshot) -> bool:
        """Return whether the snapshot is in the archive, or on its way there.

        A temporary restore does not change that.
        """
        known = self._tierings.get(item.snapshot_id)
        return item.storage_tier == "archive" or (
            known is not None and (known.is_in_archive or known.is_being_archived)
        )

    def _stays(self, left: Sequence[Snapshot]) -> str:
        """Return why an old set is not archived. One part is enough to keep the whole set in the standard tier."""
        for item in left:
            known = self._tierings.get(item.snapshot_id)
            if known is not None and known.is_back_for_good:
                return f"{item.snapshot_id} has been restored from the archive for good"
            if known is not None and known.is_moving:
                return f"{item.snapshot_id}: {known.last}"
            if self._fast_afterwards(item.snapshot_id):
                return f"{item.snapshot_id} has fast restore"
            reason = self.held(item)
            if reason:
                return f"{item.snapshot_id}: {reason}"
        return ""

    def _fast_afterwards(self, snapshot_id: str) -> bool:
        """Return whether the snapshot has fast restore after this run. The archive would end it."""
        if self.lifecycle.fast_restore is not None:
            return snapshot_id in self.fast
        return bool(self._zones(snapshot_id))

    def _within_quota(self, ready: Sequence[tuple[SnapshotSet, Sequence[Snapshot]]]) -> set[str]:
        """Return the keys of the sets to archive now: first those with few parts in the archive, then the oldest.

        EBS also has a quota of archived snapshots for each volume. If a volume has used it up, EC2 refuses each time.
        Such volumes must not delay the others.
        """
        under_way = sum(known.is_being_archived for known in self._tierings.values())
        there = Counter(
            a_set.group for a_set in self.stock.own if any(self._in_archive(item) for item in a_set.snapshots)
        )
        places = MOST_ARCHIVING - under_way
        taken: set[str] = set()
        for a_set, left in sorted(ready, key=lambda one: (there[one[0].group], one[0].start_time, one[0].key)):
            # A set is archived as one. A set above the quota is archived alone, as far as EC2 takes it.
            if len(left) <= places or places == MOST_ARCHIVING:
                taken.add(a_set.key)
                places -= len(left)
        return taken

    def _archive(self, item: Snapshot) -> Change:
        known = self._tierings.get(item.snapshot_id)
        span = self.lifecycle.archive_after
        reason = f"archive: older than {span.text if span else ''}"
        if known is not None and known.has_not_been_archived:
            reason += f"; the last attempt failed: {known.message or 'EC2 gives no reason'}"
        return self._change(
            "ModifySnapshotTier",
            item.snapshot_id,
            {"StorageTier": "archive"},
            reason,
            {"storage_tier": item.storage_tier or "standard"},
            {"storage_tier": "archive"},
            _NOT_ARCHIVED_NOW,
            disruptive=True,
        )


def _away(known: Tiering | None) -> bool:
    """Return whether a snapshot with this tier status is in the archive, on its way there or back, or restored for a
    time.
    """
    return known is not None and (known.is_in_archive or known.is_moving)
