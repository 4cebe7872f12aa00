# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive: snapshots moved to the cheaper tier, and restored from it for good or for some days.

The rules are those of EC2's user guide ("Archive Amazon EBS snapshots"). Only the account's own completed snapshots can
be archived, and none that an enabled image uses. The move cannot be cancelled. The snapshot can be used until the move
is completed, and again after a restore. Sharing and fast restore end with the move. The codes of the refusals are not
recorded: they are EC2's for a wrong state and for a limit.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from .engine import Ec2Error, Request, action, declare_option
from .filters import compiled
from .snapshots import own_snapshot, page_of, refuse_in_use
from .volumes import combination_error, value_error
from .world import Shape, Snapshot, Tiering, tag_list

MOST_RESTORE_DAYS = 180

# Per volume, and of operations under way per account.
declare_option("archived_per_volume", 25)
declare_option("archiving_per_account", 25)
declare_option("restoring_per_account", 5)


def _check_tier_status(value: str) -> None:
    if value not in ("all", "moved"):
        raise ValueError(f"tier_status is all or moved, not {value}")


declare_option("tier_status", "all", _check_tier_status)
"""The snapshots that have rows in DescribeSnapshotTierStatus."""


@action("ModifySnapshotTier")
def modify_snapshot_tier(request: Request) -> Shape:
    """Begin to archive a snapshot."""
    home, now = request.home, request.now
    snapshot = own_snapshot(request, request.params["SnapshotId"])
    tier = request.params.get("StorageTier")
    if tier != "archive":
        raise value_error(f"Value ({tier}) for parameter storageTier is invalid. Expected: archive")
    _refuse_archival(request, snapshot)
    request.dry_run_gate()
    end = request.end_state()
    move = Tiering("archival", now, home.moment("snapshot_archiving", now), failure=_failure(end))
    snapshot.tierings = (*snapshot.tierings, move)
    if not move.failure:
        snapshot.shared_until = move.done
    return {"SnapshotId": snapshot.id, "TieringStartTime": now}


def _failure(end: dict[str, str] | None) -> str:
    return (end.get("message") or "Internal failure") if end else ""


def _refuse_archival(request: Request, snapshot: Snapshot) -> None:
    home, now = request.home, request.now
    state = snapshot.state(now)
    if state != "completed":
        raise Ec2Error("IncorrectState", f"The snapshot {snapshot.id} is in the state '{state}', not 'completed'.")
    _refuse_under_way(snapshot, now)
    if snapshot.tier(now) == "archive" or snapshot.restored_until(now) is not None:
        raise Ec2Error("IncorrectState", f"The snapshot {snapshot.id} is already in the archive tier.")
    refuse_in_use([one for one in home.images_using(snapshot.id) if not one.disabled], snapshot)
    archived = sum(
        1 for one in home.snapshots.values() if one.tierings and one.origin == snapshot.origin and _in_archive(one, now)
    )
    if archived >= _limit(request, "archived_per_volume"):
        raise Ec2Error(
            "ResourceLimitExceeded",
            f"The volume {snapshot.origin} has {archived} archived snapshots, as many as it may have.",
        )
    _refuse_too_many(request, "archiving_per_account", ("archival",))


def _in_archive(snapshot: Snapshot, now: datetime) -> bool:
    """Whether the snapshot counts against the quota of the archive: there, restored for some days, or on its way."""
    if now < snapshot.tierings[-1].done:
        return True
    return snapshot.tier(now) == "archive" or snapshot.restored_until(now) is not None


def _refuse_under_way(snapshot: Snapshot, now: datetime) -> None:
    last = snapshot.tierings[-1] if snapshot.tierings else None
    if last is not None and now < last.done:
        raise Ec2Error("IncorrectState", f"The snapshot {snapshot.id} is being moved: {last.status(now)}.")


def _limit(request: Request, name: str) -> int:
    return int(request.world.config.option(name))


def _refuse_too_many(request: Request, limit: str, kinds: tuple[str, ...]) -> None:
    """Raises ResourceLimitExceeded when the account has as many moves of these kinds under way as it may have."""
    now, most = request.now, _limit(request, limit)
    under_way = sum(
        1
        for region in request.world.regions()
        if region.account == request.account
        for one in region.snapshots.values()
        if one.tierings and one.tierings[-1].kind in kinds and now < one.tierings[-1].done
    )
    if under_way >= most:
        what = "archives" if kinds == ("archival",) else "restores"
        raise Ec2Error("ResourceLimitExceeded", f"Too many snapshot {what} in progress. The limit is {most}.")


@action("RestoreSnapshotTier")
def restore_snapshot_tier(request: Request) -> Shape:
    """Begin to restore an archived snapshot, for good or for some days (1 by default).

    For a snapshot that is restored for some days, change these, counted from now, or make the restore permanent.
    """
    params, home, now = request.params, request.home, request.now
    snapshot = own_snapshot(request, params["SnapshotId"])
    days, permanent = params.get("TemporaryRestoreDays"), bool(params.get("PermanentRestore"))
    if permanent and days is not None:
        raise combination_error("TemporaryRestoreDays and PermanentRestore cannot be used together")
    days = 1 if days is None else int(days)
    if not permanent and not 1 <= days <= MOST_RESTORE_DAYS:
        raise value_error(
            f"Value ({days}) for parameter temporaryRestoreDays is invalid. Expected 1 to {MOST_RESTORE_DAYS}."
        )
    _refuse_under_way(snapshot, now)
    restored = snapshot.restored_until(now) is not None
    if not restored and snapshot.tier(now) != "archive":
        raise Ec2Error("IncorrectState", f"The snapshot {snapshot.id} is not in the archive tier.")
    if not restored:
        _refuse_too_many(request, "restoring_per_account", ("temporary-restore", "permanent-restore"))
    request.dry_run_gate()
    done = now if restored else home.moment("snapshot_restoring", now)
    failure = _failure(request.end_state())
    move = (
        Tiering("permanent-restore", now, done, failure=failure)
        if permanent
        else Tiering("temporary-restore", now, done, done + timedelta(days=days), failure)
    )
    snapshot.tierings = (*snapshot.tierings, move)
    if restored and not failure and snapshot.shared_until is not None:
        snapshot.shared_until = move.expires
    return {
        "SnapshotId": snapshot.id,
        "RestoreStartTime": now,
        "RestoreDuration": None if permanent else days,
        "IsPermanentRestore": permanent,
    }


@action("DescribeSnapshotTierStatus")
def describe_snapshot_tier_status(request: Request) -> Shape:
    """The tiers of the account's snapshots, and the last move of each.

    It is unknown whether EC2 lists snapshots that were never moved. The sandbox lists them, unless the option
    ``tier_status`` is "moved". Code that depends on neither works in both cases.
    """
    now = request.now
    fields: dict[str, Callable[[Snapshot], Any]] = {
        "snapshot-id": lambda one: one.id,
        "volume-id": lambda one: one.volume_id,
        "last-tiering-operation": lambda one: one.tierings[-1].status(now) if one.tierings else None,
    }
    tests = compiled(request.params.get("Filters") or [], fields, tagged=False)
    rows = list(request.home.snapshots.values())
    if request.world.config.option("tier_status") == "moved":
        rows = [one for one in rows if one.tierings]
    page, token = page_of(request, rows, tests)
    return {"SnapshotTierStatuses": [_status_row(one, now) for one in page], "NextToken": token}


def _status_row(snapshot: Snapshot, now: datetime) -> Shape:
    row: Shape = {
        "SnapshotId": snapshot.id,
        "VolumeId": snapshot.volume_id,
        "Status": snapshot.state(now),
        "OwnerId": snapshot.owner,
        "Tags": tag_list(snapshot.tags),
        "StorageTier": snapshot.tier(now),
    }
    if not snapshot.tierings:
        return row
    last = snapshot.tierings[-1]
    archived = [one.done for one in snapshot.tierings if one.kind == "archival" and one.succeeded(now)]
    row |= {
        "LastTieringStartTime": last.started,
        "LastTieringProgress": last.progress(now),
        "LastTieringOperationStatus": last.status(now),
        "LastTieringOperationStatusDetail": last.failure if last.failure and now >= last.done else None,
        "ArchivalCompleteTime": archived[-1] if archived else None,
        "RestoreExpiryTime": snapshot.restored_until(now),
    }
    return row
