# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of `snapshot_rotate` for the lifecycle of kept snapshots: ``archive_after``, ``lock``,
``fast_restore``.

Private to this collection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ..._domain.retention import UNLIMITED, Keep
from ..._kernel import tags as tag_names
from ..._kernel.errors import SpecError
from ..._kernel.proofs import capture_record
from ..._kernel.resources import Snapshot
from ..._kernel.storage_facts import SnapshotLock
from ..._kernel.times import CalendarSpan, Every, parse_calendar_span, parse_span

LOCK = tag_names.LOCK
"""The tag with the planned lock of a snapshot: ``governance 30d``.

If that run was interrupted, a later run locks the snapshot. The description records the same, and only a lock that it
records is ever removed.
"""

UNLOCKED = "unlocked"
LOCK_MODES = ("governance", "compliance", UNLOCKED)
# LockSnapshot: LockDuration in days, CoolOffPeriod in hours.
MOST_LOCK_DAYS = 36500
MOST_COOL_OFF_HOURS = 72
ARCHIVE_BILLED = timedelta(days=90)
"""The shortest time in the archive that EBS bills."""

_MONTH = timedelta(days=365.25 / 12)
_LENGTHS: Mapping[str, timedelta] = {
    "hourly": timedelta(hours=1),
    "daily": timedelta(days=1),
    "weekly": timedelta(weeks=1),
    "monthly": _MONTH,
    "quarterly": 3 * _MONTH,
    "yearly": 12 * _MONTH,
}
_LONG = timedelta(days=999_999)
_TAG = re.compile(r"(governance|compliance) ([1-9]\d{0,4})d", re.ASCII)


@dataclass(frozen=True)
class Lock:
    """``mode``: one of `LOCK_MODES`. ``days`` counts from the lock, or for a pending snapshot from its completion.
    ``cool_off`` is in hours, or None.
    """

    mode: str
    days: int = 0
    cool_off: int | None = None

    @property
    def text(self) -> str:
        """Return the lock in the form for tags, plans and reasons: ``governance 30d``."""
        return f"{self.mode} {self.days}d"


@dataclass(frozen=True)
class FastRestore:
    """Fast restore of the ``newest`` snapshots of each volume or instance, in exactly these ``zones``, and of no others
    of the policy.
    """

    zones: tuple[str, ...]
    newest: int = 1


@dataclass(frozen=True)
class Lifecycle:
    """The lifecycle options. None stands for an option that the task does not set, so that the run changes nothing.

    ``warnings``: valid options that cost more than they seem to.
    """

    archive_after: CalendarSpan | None = None
    lock: Lock | None = None
    fast_restore: FastRestore | None = None
    warnings: tuple[str, ...] = ()

    @property
    def locks(self) -> Lock | None:
        """Return the lock that new snapshots get."""
        return self.lock if self.lock is not None and self.lock.mode != UNLOCKED else None

    @property
    def own_tags(self) -> dict[str, str]:
        """Return the lifecycle's tags on new snapshots."""
        return {LOCK: self.locks.text} if self.locks is not None else {}


def locked_for(snapshot: Snapshot) -> timedelta | None:
    """Return the planned duration of the lock after the start of the snapshot, or None without a lock.

    The description records the lock. Earlier versions recorded it in a tag.
    """
    found = _TAG.fullmatch(recorded_lock(snapshot) or snapshot.tags.get(LOCK, ""))
    return timedelta(days=int(found[2])) if found else None


def recorded_lock(snapshot: Snapshot) -> str:
    """Return the lock that the snapshot's description records, as `Lock.text`, or an empty text."""
    record = capture_record(snapshot)
    return "" if record is None else record.lock


def is_own_lock(snapshot: Snapshot, lock: SnapshotLock) -> bool:
    """Return whether the snapshot has a removable lock in force that its description records.

    Somebody else made, or extended, a lock of another mode or length. A tag proves no lock.
    """
    return recorded_lock(snapshot) == Lock(lock.mode, lock.days or 0).text


def parse_lifecycle(params: Mapping[str, Any], region: str, keep: Keep | None, every: Every) -> Lifecycle:
    """Return the checked options. Raises SpecError with the option, its value, and the accepted values.

    *keep* and *every* are those of the same task. The cost of the archive depends on them.
    """
    text = params.get("archive_after")
    after = None if text is None else parse_calendar_span(text, "archive_after")
    return Lifecycle(
        archive_after=after,
        lock=_lock(params.get("lock")),
        fast_restore=_fast_restore(params.get("fast_restore"), region),
        warnings=tuple(_archive_warnings(after, keep, every)) if after is not None and keep is not None else (),
    )


# --- lock -------------------------------------------------------------------------------------------------------------


def _lock(given: Mapping[str, Any] | None) -> Lock | None:
    if given is None:
        return None
    mode, duration, cool_off = (given.get(name) for name in ("mode", "duration", "cool_off"))
    if mode not in LOCK_MODES:
        raise SpecError(f"lock.mode: {mode!r} is unknown. Use one of {', '.join(LOCK_MODES)}")
    if mode == UNLOCKED:
        if duration is not None or cool_off is not None:
            raise SpecError("lock.mode: 'unlocked' removes locks, so duration and cool_off have no effect. Remove them")
        return Lock(mode)
    if duration is None:
        raise SpecError(f"lock.duration: is required with lock.mode: {mode}. Use {_DURATION}")
    days = _whole(duration, timedelta(days=1), MOST_LOCK_DAYS)
    if days is None:
        raise SpecError(f"lock.duration: {duration!r} is not a duration. Use {_DURATION}")
    if mode == "governance":
        if cool_off is not None:
            raise SpecError("lock.cool_off: needs lock.mode: compliance, since a governance lock can always be removed")
        return Lock(mode, days)
    return Lock(mode, days, _cool_off(given, cool_off))


def _cool_off(given: Mapping[str, Any], cool_off: object) -> int | None:
    """Return the hours of the cool-off time of a compliance lock.

    Raises SpecError if the user has not consented to it.
    """
    duration = given.get("duration")
    if not given.get("accept_compliance"):
        raise SpecError(
            "lock.accept_compliance: nobody, not even the account's root user, can remove a compliance lock during "
            f"its duration ({duration}), except in the time of cool_off. Set true to accept that"
        )
    hours = None if cool_off is None else _whole(cool_off, timedelta(hours=1), MOST_COOL_OFF_HOURS)
    if cool_off is not None and hours is None:
        raise SpecError(
            f"lock.cool_off: {cool_off!r} is not a cool-off time. Use whole hours, 1h to {MOST_COOL_OFF_HOURS}h, "
            "such as 24h"
        )
    return hours


_DURATION = f"whole days, 1d to {MOST_LOCK_DAYS}d, such as 30d or 52w"


def _whole(value: object, unit: timedelta, most: int) -> int | None:
    """Return a span as a count of *unit*, from 1 to *most*; None for anything else."""
    try:
        count, rest = divmod(parse_span(str(value), ""), unit)
    except (SpecError, OverflowError):
        return None
    return count if not rest and 1 <= count <= most else None


# --- fast restore -----------------------------------------------------------------------------------------------------


def _fast_restore(given: Mapping[str, Any] | None, region: str) -> FastRestore | None:
    if given is None:
        return None
    zones = given.get("zones")
    if zones is None:
        raise SpecError(
            "fast_restore.zones: is required. Name the zones, or set [] to end fast restore of the policy's snapshots."
        )
    for zone in zones:
        if not str(zone).startswith(region) or str(zone) == region:
            raise SpecError(f"fast_restore.zones: {zone!r} is not a zone of {region}. Use a name such as {region}a")
    newest = given.get("newest")
    count = 1 if newest is None else int(newest)
    if count < 1:
        raise SpecError(
            f"fast_restore.newest: {newest} is less than 1. To end fast restore, use an empty list of zones"
        )
    return FastRestore(tuple(sorted({str(zone) for zone in zones})), count)


# --- Archive costs ----------------------------------------------------------------------------------------------------


def _archive_warnings(after: CalendarSpan, keep: Keep, every: Every) -> Iterator[str]:
    """Yield warnings about rules that delete snapshots soon after archiving, or that keep none long enough to archive.

    Lengths are approximate: months have 30 days and some hours, and each slot counts as having its snapshot.
    """
    begins = _rough(after)
    lives = dict(_lives(keep, every))
    if not keep.oldest and all(life is not None and life <= begins for life in lives.values()):
        yield f"archive_after: {after.text}: no rule of keep keeps a snapshot longer than that. Use a shorter span"
    short = [name for name, life in lives.items() if life is not None and begins < life < begins + ARCHIVE_BILLED]
    if short:
        yield (
            f"archive_after: {after.text}: {_listed(short)} deletes snapshots less than {ARCHIVE_BILLED.days} days "
            f"after archiving. EC2 still bills all {ARCHIVE_BILLED.days} days."
        )


def _lives(keep: Keep, every: Every) -> Iterator[tuple[str, timedelta | None]]:
    """Yield, by rule, the age at which a snapshot is deleted if only this rule keeps it, or None without a limit."""
    slot = _MONTH if every.minutes is None else timedelta(minutes=every.minutes)
    for name, count in keep.counts.items():
        length = slot if name == "last" else _LENGTHS[name]
        # A count may be as large as the user likes.
        life = None if count == UNLIMITED else min(count, _LONG // length) * length
        yield f"keep.{name}: {count}", life
    for name, span in keep.spans.items():
        yield f"keep.{name}: {span.text}", _rough(span)


def _rough(span: CalendarSpan) -> timedelta:
    return min(min(span.months, _LONG // _MONTH) * _MONTH + min(span.fixed, _LONG), _LONG)


def _listed(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
