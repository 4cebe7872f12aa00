# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks: snapshots that cannot be deleted before their time.

The rules are those of LockSnapshot's reference: a governance lock can be changed and taken off; a compliance lock only
in its cooling-off period, after that it can be extended and nothing else. The codes of the refusals are not recorded.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from .engine import Ec2Error, Request, action
from .filters import compiled
from .snapshots import locked_error, own_snapshot, page_of
from .volumes import combination_error, value_error
from .world import Lock, Shape, Snapshot

MODES = ("governance", "compliance")
MOST_DAYS = 36500
MOST_COOL_OFF_HOURS = 72


@action("LockSnapshot")
def lock_snapshot(request: Request) -> Shape:
    """Lock a pending or completed snapshot, or change its lock. The duration of a pending one counts from its
    completion.
    """
    params, now = request.params, request.now
    snapshot = own_snapshot(request, params["SnapshotId"])
    mode = _checked_mode(params)
    days, until = _checked_end(params, now)
    state = "deleted" if snapshot.delete_asked is not None else snapshot.state(now)
    if state not in ("pending", "completed"):
        raise Ec2Error("IncorrectState", f"The snapshot {snapshot.id} is '{state}' and cannot be locked.")
    old = snapshot.lock if snapshot.lock is not None and snapshot.lock.state(now) != "expired" else None
    created = old.created if old is not None else now
    started = old.started if old is not None else max(now, snapshot.completes)
    cool_off = params.get("CoolOffPeriod")
    lock = Lock(
        mode,
        created,
        started,
        until if until is not None else started + timedelta(days=days or 0),
        days,
        cool_off,
        now + timedelta(hours=cool_off) if cool_off is not None else None,
    )
    if lock.expires <= now:
        raise value_error(f"The lock of the snapshot {snapshot.id} would end in the past, at {lock.expires}.")
    if old is not None and old.state(now) == "compliance":
        _refuse_weaker(snapshot, old, lock)
    request.dry_run_gate()
    snapshot.lock = lock
    return {"SnapshotId": snapshot.id, **_lock_row(lock, now)}


def _checked_mode(params: Shape) -> str:
    mode = str(params.get("LockMode"))
    if mode not in MODES:
        raise value_error(f"Value ({mode}) for parameter lockMode is invalid. Expected: {' or '.join(MODES)}")
    hours = params.get("CoolOffPeriod")
    if hours is not None and mode == "governance":
        raise combination_error("The parameter CoolOffPeriod cannot be used with the lock mode governance")
    if hours is not None and not 1 <= hours <= MOST_COOL_OFF_HOURS:
        raise value_error(
            f"Value ({hours}) for parameter coolOffPeriod is invalid. Expected 1 to {MOST_COOL_OFF_HOURS}."
        )
    return mode


def _checked_end(params: Shape, now: datetime) -> tuple[int | None, datetime | None]:
    """(days, the given time), of which one is set."""
    days, until = params.get("LockDuration"), params.get("ExpirationDate")
    if (days is None) == (until is None):
        raise combination_error("Exactly one of LockDuration and ExpirationDate must be specified")
    if days is not None and not 1 <= days <= MOST_DAYS:
        raise value_error(f"Value ({days}) for parameter lockDuration is invalid. Expected 1 to {MOST_DAYS}.")
    # The bounds of the duration hold for the date, too.
    if until is not None and not now + timedelta(days=1) <= until <= now + timedelta(days=MOST_DAYS):
        raise value_error(
            f"Value ({until}) for parameter expirationDate is invalid. Expected a date 1 to {MOST_DAYS} days ahead."
        )
    return days, until


def _refuse_weaker(snapshot: Snapshot, old: Lock, new: Lock) -> None:
    """Raises unless the new lock is the old one, extended."""
    if new.mode != "compliance" or new.cool_off is not None or new.expires <= old.expires:
        raise Ec2Error(
            "OperationNotPermitted",
            f"The snapshot {snapshot.id} is locked in compliance mode: its lock can only be extended, to after "
            f"{old.expires}.",
        )


@action("UnlockSnapshot")
def unlock_snapshot(request: Request) -> Shape:
    """Take a lock off that is in governance mode or in its cooling-off period."""
    snapshot = own_snapshot(request, request.params["SnapshotId"])
    state = snapshot.lock.state(request.now) if snapshot.lock is not None else None
    if state in (None, "expired"):
        raise Ec2Error("IncorrectState", f"The snapshot {snapshot.id} is not locked.")
    if state == "compliance":
        raise locked_error(snapshot, "unlocked")
    request.dry_run_gate()
    snapshot.lock = None
    return {"SnapshotId": snapshot.id}


@action("DescribeLockedSnapshots")
def describe_locked_snapshots(request: Request) -> Shape:
    """The account's snapshots that are locked, or were until their locks expired."""
    now = request.now
    tests = compiled(request.params.get("Filters") or [], {"lock-state": lambda one: one.lock.state(now)}, tagged=False)
    wanted = request.params.get("SnapshotIds")
    among: Sequence[Snapshot] = (
        [own_snapshot(request, one) for one in dict.fromkeys(wanted)]
        if wanted
        else list(request.home.snapshots.values())
    )
    page, token = page_of(request, [one for one in among if one.lock is not None], tests, strict=True)
    rows = [
        {"OwnerId": one.owner, "SnapshotId": one.id, **_lock_row(one.lock, now)} for one in page if one.lock is not None
    ]
    return {"Snapshots": rows, "NextToken": token}


def _lock_row(lock: Lock, now: datetime) -> dict[str, Any]:
    row: Shape = {
        "LockState": lock.state(now),
        "LockDuration": lock.days,
        "CoolOffPeriod": lock.cool_off,
        "CoolOffPeriodExpiresOn": lock.cool_off_ends,
        "LockCreatedOn": lock.created,
    }
    # The duration of a pending snapshot has not started, so its end is not known yet.
    if lock.started <= now:
        row["LockDurationStartTime"] = lock.started
    if lock.started <= now or lock.days is None:
        row["LockExpiresOn"] = lock.expires
    return row
