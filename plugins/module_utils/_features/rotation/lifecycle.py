# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The lifecycle of kept snapshots: old ones are archived, new ones locked, and the newest get fast restore.

It concerns only the policy's own snapshots in the task's region. Others made the adopted snapshots, and may rely on
their tier. A copy is there to be at hand.

Private to this collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from ..._domain.snapshot_sets import Unit
from ..._kernel.errors import listed
from ..._kernel.ids import is_planned
from ..._kernel.plan import Change, Stage
from ..._kernel.resources import Fact, Snapshot
from ..._kernel.state import Query, State
from .guards import FAST_RESTORES, LOCKS
from .lifecycle_spec import LOCK, FastRestore, Lock, Upkeep, is_own_lock, locked_for, recorded_lock
from .stock import Stock

TIERING = Query(
    "DescribeSnapshotTierStatus",
    (
        (
            "last-tiering-operation",
            tuple(
                f"{move}-{end}"
                for move in ("archival", "temporary-restore", "permanent-restore")
                for end in ("in-progress", "completed", "failed")
            ),
        ),
    ),
)
"""All that was ever moved between the tiers."""

ARCHIVE_GUARDS = ("image", "backup", "managed", "public", "shared", "copy_source", "creating", "protected")
"""The guards that keep a snapshot from the archive too, whatever their mode: from there nobody can use it, and EC2 ends
all sharing of it. EC2 refuses to archive a snapshot that an enabled image uses. A lock does not matter."""

MOST_ARCHIVING = 25
"""EBS archives so many of an account at once, unless AWS has raised it. More are left to later runs."""
_LATER = "EC2 archives only so many at once"
LARGEST_FAST_RESTORE = 16384
"""GiB; EBS user guide, "Fast snapshot restore": larger ones cannot be enabled."""

# EC2 documents no codes of these operations. These are its codes of other ones for a quota, for a state that is
# changing at this moment, and for a snapshot that an image has begun to use since we looked.
_QUOTA = "ResourceLimitExceeded"
_STATE = "IncorrectState"
_NOT_ARCHIVED_NOW = frozenset({_QUOTA, _STATE, "InvalidSnapshot.InUse"})
_NOT_ENABLED_NOW = frozenset({_QUOTA, _STATE})
_NOT_ON = frozenset({_STATE})

_ON = ("enabling", "optimizing", "enabled")
_REMOVABLE = ("governance", "compliance-cooloff")


@dataclass(frozen=True)
class UpkeepChanges:
    """The lifecycle changes in order. None is made before everything in ``coming`` is completed.

    ``release``: locks and fast restores to end, also of snapshots that this run deletes afterwards: see `released`.
    ``secure``: locks and fast restores to begin. ``archive``: snapshots to archive. ``waiting``: the snapshots that are
    old enough but not archived in this run, newest first, with the reasons.
    """

    release: tuple[Change, ...] = ()
    secure: tuple[Change, ...] = ()
    archive: tuple[Change, ...] = ()
    waiting: tuple[tuple[Unit, str], ...] = ()
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


def upkeep_queries(upkeep: Upkeep, stock: Stock) -> Iterator[Query]:
    """Yield the queries beyond those of the guards about `archive_candidates`. An unused option needs none."""
    if upkeep.fast_restore is not None and stock.own:
        yield replace(FAST_RESTORES, optional=True)
    if upkeep.lock is not None and any(not is_planned(item.snapshot_id) for item in _lockable(upkeep, stock)):
        yield replace(LOCKS, optional=True)
    if archive_candidates(upkeep, stock):
        yield from (replace(query, optional=True) for query in (TIERING, FAST_RESTORES))


def archive_candidates(upkeep: Upkeep, stock: Stock) -> list[Snapshot]:
    """Return the sets that may have to be archived, as far as snapshots alone show. The guards are
    asked about these.
    """
    if upkeep.archive_after is None:
        return []
    newest = set(_first_of_groups(unit for unit in stock.good if not _shown_archived(unit)))
    return [
        item
        for unit in _older(upkeep, stock)
        # A set may be on its way with only some of its parts, and another be the newest then.
        if unit.key not in newest or len(unit.snapshots) > 1
        for item in unit.snapshots
        if item.storage_tier != "archive"
    ]


def upkeep_changes(upkeep: Upkeep, stock: Stock, held: Callable[[Snapshot], str], state: State) -> UpkeepChanges:
    """Return the changes that make the options hold.

    *held* returns why a snapshot must not be archived, or an empty text. The facts of `upkeep_queries` must be in
    *state*. While an answer is missing, the plan omits each change that this answer could forbid.
    """
    return _Planning(upkeep, stock, held, state).changes()


def released(state: State, changes: UpkeepChanges) -> State:
    """Return *state* after `UpkeepChanges.release`.

    The guards judge by it. So this run deletes the snapshots that it releases, and the next run finds nothing to do.
    """
    facts: dict[str, Fact] = {}
    for change in changes.release:
        if change.action == "UnlockSnapshot":
            fact = Fact(f"{change.resource}/lock", {"state": "", "expires_on": None})
        else:
            ended = set(change.parameters["AvailabilityZones"])
            rest = [item for item in _fast_restores(state, change.resource) if item["zone"] not in ended]
            fact = Fact(f"{change.resource}/fastRestore", rest)
        facts[fact.fact_id] = fact
    return state.with_resources(facts.values())


LISTED: Mapping[str, str] = {
    "ModifySnapshotTier": "archived",
    "LockSnapshot": "locked",
    "UnlockSnapshot": "unlocked",
    "EnableFastSnapshotRestores": "fast_restored",
    "DisableFastSnapshotRestores": "fast_restore_ended",
}
"""By action, the list of the result that has the ids of its snapshots."""


# --- Which ------------------------------------------------------------------------------------------------------------


def _first_of_groups(units: Iterable[Unit]) -> list[str]:
    """Return the keys of the first unit of each group."""
    first: dict[str, str] = {}
    for unit in units:
        first.setdefault(unit.group, unit.key)
    return list(first.values())


def _older(upkeep: Upkeep, stock: Stock) -> list[Unit]:
    """Return the kept sets older than ``archive_after``, the newest first. The start of a slot
    counts, as in the rules.
    """
    if upkeep.archive_after is None:
        return []
    limit = upkeep.archive_after.before(stock.now, stock.zone)
    there = {unit.key for unit in stock.coming}
    return [unit for unit in stock.good if unit.key not in there and (unit.period or unit.start_time) < limit]


def _shown_archived(unit: Unit) -> bool:
    return any(item.storage_tier == "archive" for item in unit.snapshots)


def _lockable(upkeep: Upkeep, stock: Stock) -> Iterator[Snapshot]:
    """Yield the sets that ``lock`` concerns: those made to be locked and not older than their lock, or all for
    ``unlocked``.
    """
    if upkeep.locks is None:
        items = (item for unit in stock.own for item in unit.snapshots)
        yield from (item for item in items if LOCK in item.tags or recorded_lock(item))
        return
    for unit in (*stock.pending, *stock.good):
        for item in unit.snapshots:
            meant = locked_for(item)
            if meant is not None and unit.start_time + meant > stock.now:
                yield item


def _fast_restores(state: State, snapshot_id: str) -> list[Mapping[str, str]]:
    found = state.fact(f"{snapshot_id}/fastRestore")
    return [item for item in found if item["state"] in _ON] if isinstance(found, list) else []


# --- The planning -----------------------------------------------------------------------------------------------------


class _Planning:
    """One policy's upkeep at one moment."""

    def __init__(self, upkeep: Upkeep, stock: Stock, held: Callable[[Snapshot], str], state: State) -> None:
        self.upkeep, self.stock, self.held, self.state = upkeep, stock, held, state
        self.warnings = list(upkeep.warnings)

    def changes(self) -> UpkeepChanges:
        release: list[Change] = []
        secure: list[Change] = []
        if self.upkeep.lock is not None:
            (secure if self.upkeep.locks else release).extend(self._locks(self.upkeep.lock))
        if self.upkeep.fast_restore is not None and FAST_RESTORES not in self.state.unanswered:
            release += self._fast_restores_ended()
            secure += self._fast_restores_begun(self.upkeep.fast_restore)
        archive: list[Change] = []
        waiting: list[tuple[Unit, str]] = []
        if self.upkeep.archive_after is not None and not any(not query.place for query in self.state.unanswered):
            archive, waiting = self._archived()
        return UpkeepChanges(tuple(release), tuple(secure), tuple(archive), tuple(waiting), tuple(self.warnings))

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
        for item in _lockable(self.upkeep, self.stock):
            if LOCKS in self.state.unanswered and not is_planned(item.snapshot_id):
                continue
            fact = self.state.fact(f"{item.snapshot_id}/lock")
            known = fact["state"] if isinstance(fact, Mapping) else ""
            if self.upkeep.locks is None:
                if known in _REMOVABLE and is_own_lock(item, fact):
                    yield self._unlock(item.snapshot_id, known)
                elif known in _REMOVABLE:
                    foreign.append(item.snapshot_id)
                elif known == "compliance":
                    fixed.append(f"{item.snapshot_id} (until {fact['expires_on'] if fact else None})")
            elif not known:  # one that has ended is not begun again
                yield self._lock(item, lock)
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
    def _tier(self) -> Mapping[str, Mapping[str, Any]]:
        """Return DescribeSnapshotTierStatus's answer, by snapshot."""
        name = "/tier"
        return {
            fact.fact_id.removesuffix(name): fact.value
            for fact in self.state.all(Fact)
            if fact.fact_id.endswith(name) and isinstance(fact.value, Mapping)
        }

    def _usable(self, unit: Unit) -> bool:
        """Return whether all of it can be restored from at once, and goes on to be so."""
        return not _shown_archived(unit) and not any(_away(self._tier.get(name)) for name in unit.ids)

    @cached_property
    def fast(self) -> dict[str, Snapshot]:
        """Return the snapshots that are to have fast restore, by id."""
        wanted = self.upkeep.fast_restore
        if wanted is None or not wanted.zones:
            return {}
        counts: Counter[str] = Counter()
        found: dict[str, Snapshot] = {}
        for unit in self.stock.good:
            if counts[unit.group] < wanted.newest and self._usable(unit):
                counts[unit.group] += 1
                found.update((item.snapshot_id, item) for item in unit.snapshots)
        return found

    def _zones(self, snapshot_id: str) -> list[str]:
        return sorted({item["zone"] for item in _fast_restores(self.state, snapshot_id)})

    def _fast_restores_begun(self, wanted: FastRestore) -> Iterator[Change]:
        for snapshot_id, item in self.fast.items():
            if item.volume_size > LARGEST_FAST_RESTORE:
                self.warnings.append(
                    f"{snapshot_id} has {item.volume_size} GiB, but EC2 has fast restore only up to "
                    f"{LARGEST_FAST_RESTORE}"
                )
                continue
            # In other zones it has ended by then.
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
        wanted = self.upkeep.fast_restore
        zones = wanted.zones if wanted is not None else ()
        for unit in self.stock.own:
            for snapshot_id in unit.ids:
                on = self._zones(snapshot_id)
                stays = [zone for zone in on if zone in zones] if snapshot_id in self.fast else []
                ends = [zone for zone in on if zone not in stays]
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
                        {"fast_restore": stays},
                        _NOT_ON,
                        disruptive=True,
                    )

    # --- archive ---

    def _archived(self) -> tuple[list[Change], list[tuple[Unit, str]]]:
        """Return the sets to archive now, and those that wait, with the reason."""
        at_hand = [unit for unit in self.stock.good if self._usable(unit)]
        newest, groups = set(_first_of_groups(at_hand)), {unit.group for unit in at_hand}
        ready: list[tuple[Unit, list[Snapshot]]] = []
        waiting: dict[str, str] = {}
        older = _older(self.upkeep, self.stock)
        for unit in older:
            left = [item for item in unit.snapshots if not self._in_archive(item)]
            if not left:
                continue
            if unit.key in newest:
                reason = "the newest that can be restored from at once"
            elif unit.group not in groups:  # the rest of a set, of which a part is there
                reason = f"nothing else of {unit.group} can be restored from at once"
            else:
                reason = self._stays(left)
            if reason:
                waiting[unit.key] = reason
            else:
                ready.append((unit, left))
        taken = self._within_quota(ready)
        waiting.update((unit.key, _LATER) for unit, _left in ready if unit.key not in taken)
        changes = [self._archive(item) for unit, left in ready if unit.key in taken for item in left]
        return changes, [(unit, waiting[unit.key]) for unit in older if unit.key in waiting]

    def _in_archive(self, item: Snapshot) -> bool:
        """Return whether the snapshot is archived, or on its way there. A temporary restore does not change that."""
        known = self._tier.get(item.snapshot_id) or {}
        return (
            item.storage_tier == "archive"
            or known.get("tier") == "archive"
            or known.get("last") in ("archival-in-progress", "temporary-restore-completed")
        )

    def _stays(self, left: Sequence[Snapshot]) -> str:
        """Return why an old set is not archived. One of its parts is enough to keep the whole set."""
        for item in left:
            last = (self._tier.get(item.snapshot_id) or {}).get("last") or ""
            if last == "permanent-restore-completed":
                return f"{item.snapshot_id} has been restored from the archive for good"
            if last.endswith("-in-progress"):
                return f"{item.snapshot_id}: {last}"
            if self._fast_afterwards(item.snapshot_id):
                return f"{item.snapshot_id} has fast restore"
            reason = self.held(item)
            if reason:
                return f"{item.snapshot_id}: {reason}"
        return ""

    def _fast_afterwards(self, snapshot_id: str) -> bool:
        """Return whether fast restore stays on after this run. The archive would end it."""
        if self.upkeep.fast_restore is not None:
            return snapshot_id in self.fast
        return bool(self._zones(snapshot_id))

    def _within_quota(self, ready: Sequence[tuple[Unit, Sequence[Snapshot]]]) -> set[str]:
        """Return the keys of those that go now: the oldest first, and first those of which few are in the archive.

        EBS also has a quota of archived snapshots of a volume. Where that is used up EC2 refuses each time, and these
        must not keep the others waiting.
        """
        under_way = sum(1 for known in self._tier.values() if known.get("last") == "archival-in-progress")
        there = Counter(unit.group for unit in self.stock.own if any(self._in_archive(item) for item in unit.snapshots))
        places = MOST_ARCHIVING - under_way
        taken: set[str] = set()
        for unit, left in sorted(ready, key=lambda one: (there[one[0].group], one[0].start_time, one[0].key)):
            # A set goes as one. One that is larger than the quota goes when nothing else does, as far as EC2 takes it.
            if len(left) <= places or places == MOST_ARCHIVING:
                taken.add(unit.key)
                places -= len(left)
        return taken

    def _archive(self, item: Snapshot) -> Change:
        known = self._tier.get(item.snapshot_id) or {}
        span = self.upkeep.archive_after
        reason = f"archive: older than {span.text if span else ''}"
        if known.get("last") == "archival-failed":
            reason += f"; the last try has failed: {known.get('message') or 'EC2 gives no reason'}"
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


def _away(known: Mapping[str, Any] | None) -> bool:
    """Return whether a snapshot of which EC2 tells this is in the archive, on its way there or back, or back for a
    while.
    """
    if known is None:
        return False
    last = known.get("last") or ""
    return known.get("tier") == "archive" or last.endswith("-in-progress") or last == "temporary-restore-completed"
