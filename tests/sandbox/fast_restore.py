# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Fast snapshot restore: snapshots prepared in zones, so that volumes made from them there are complete at once."""

from __future__ import annotations

from typing import Any

from .engine import Ec2Error, Request, action, declare_option
from .filters import matching
from .pages import paged
from .volumes import combination_error, readable_snapshot, value_error, zone_names
from .world import LIFECYCLE_TRANSITION, FastRestore, Shape, Snapshot, is_id, not_an_id

MOST_SNAPSHOTS = 10
LARGEST_GIB = 16384

declare_option("fast_restores", 50)
"""Pairs of snapshot and zone per account and region."""


@action("EnableFastSnapshotRestores")
def enable_fast_snapshot_restores(request: Request) -> Shape:
    """Enable snapshots, own and shared ones, in zones.

    A pair that EC2 refuses is in Unsuccessful, and the others are enabled.

    A pair that is enabled or enabling is answered as it is. A failed end disables it again.
    """
    snapshot_ids, zones = _asked(request)
    request.dry_run_gate()
    home, now = request.home, request.now
    home.settle_fast_restores(now)
    failed = request.end_state() is not None
    successful: list[Shape] = []
    refused: dict[str, list[Shape]] = {}
    for snapshot_id in snapshot_ids:
        for zone, zone_id in zones.items():
            key = (snapshot_id, zone)
            present = home.fast_restores.get(key)
            try:
                if present is None or present.state(now) in ("disabling", "disabled"):
                    _refuse_fast_restore(request, snapshot_id, present)
                    optimizing = home.moment("fast_restore_enabling", now)
                    enabled = home.moment("fast_restore_optimizing", optimizing)
                    present = FastRestore(snapshot_id, zone, zone_id, request.account, now, optimizing, enabled)
                    if failed:
                        done = home.moment("fast_restore_disabling", optimizing)
                        present.end(optimizing, done, LIFECYCLE_TRANSITION)
                    home.fast_restores[key] = present
            except Ec2Error as error:
                refused.setdefault(snapshot_id, []).append(_error_row(zone, zone_id, error))
            else:
                successful.append(_row(request, present))
    return _answer(successful, refused)


def _refuse_fast_restore(request: Request, snapshot_id: str, present: FastRestore | None) -> None:
    """Raise the error that the answer shows for a pair.

    The codes are not recorded: EC2's for unknown ids, states and limits.
    """
    home, now = request.home, request.now
    snapshot = readable_snapshot(request, snapshot_id)
    _refuse_state(snapshot, request)
    if present is not None and present.state(now) == "disabling":
        raise Ec2Error("IncorrectState", f"Fast snapshot restore of {snapshot_id} is being disabled.")
    held = sum(1 for one in home.fast_restores.values() if one.state(now) != "disabled")
    most = int(request.world.config.option("fast_restores"))
    if held >= most:
        raise Ec2Error("ResourceLimitExceeded", f"The limit of {most} fast snapshot restores has been reached.")


def _refuse_state(snapshot: Snapshot, request: Request) -> None:
    now = request.now
    state = snapshot.state(now)
    if state != "completed":
        raise Ec2Error("IncorrectState", f"Snapshot is in invalid state - {state}")
    last = snapshot.tierings[-1] if snapshot.tierings else None
    if snapshot.tier(now) == "archive" or (last is not None and last.kind == "archival" and now < last.done):
        raise Ec2Error("IncorrectState", "Snapshot is in invalid state - archived")
    if snapshot.volume_size > LARGEST_GIB:
        raise value_error(f"The snapshot {snapshot.id} is larger than {LARGEST_GIB} GiB.")


@action("DisableFastSnapshotRestores")
def disable_fast_snapshot_restores(request: Request) -> Shape:
    """Disable snapshots in zones. A pair that is not enabled is in Unsuccessful."""
    snapshot_ids, zones = _asked(request)
    request.dry_run_gate()
    home, now = request.home, request.now
    home.settle_fast_restores(now)
    successful: list[Shape] = []
    refused: dict[str, list[Shape]] = {}
    for snapshot_id in snapshot_ids:
        for zone, zone_id in zones.items():
            present = home.fast_restores.get((snapshot_id, zone))
            if present is None or present.state(now) in ("disabling", "disabled"):
                text = f"Fast snapshot restore is not enabled for the snapshot {snapshot_id} in {zone}."
                error = Ec2Error("IncorrectState", text)
                refused.setdefault(snapshot_id, []).append(_error_row(zone, zone_id, error))
                continue
            present.disabling = None  # the end that this call asks for replaces an earlier one
            present.end(now, home.moment("fast_restore_disabling", now), "Client.UserInitiated")
            successful.append(_row(request, present))
    return _answer(successful, refused)


def _asked(request: Request) -> tuple[list[str], dict[str, str]]:
    """The snapshot ids, and zone ids by the names of the zones.

    Raises Ec2Error for parameters that make the whole call invalid.
    """
    params = request.params
    snapshot_ids = list(dict.fromkeys(params["SourceSnapshotIds"]))
    if len(snapshot_ids) > MOST_SNAPSHOTS:
        raise Ec2Error(
            "InvalidRequest",
            f"Number of values of parameter SourceSnapshotIds must be less than or equal to {MOST_SNAPSHOTS}.",
        )
    for snapshot_id in snapshot_ids:
        if not is_id("snap", snapshot_id):
            raise not_an_id(snapshot_id, "sourceSnapshotIds", "snap-...")
    names, ids = params.get("AvailabilityZones") or [], params.get("AvailabilityZoneIds") or []
    if bool(names) == bool(ids):
        raise combination_error("Exactly one of AvailabilityZones and AvailabilityZoneIds must be specified")
    known = zone_names(request)
    wanted = {name: known[name] for name in names if name in known}
    wanted |= {name: zone_id for name, zone_id in known.items() if zone_id in ids}
    lost = [one for one in [*names, *ids] if one not in known and one not in known.values()]
    if lost:
        raise value_error(f"Invalid availability zone: [{', '.join(lost)}]")
    return snapshot_ids, wanted


def _answer(successful: list[Shape], refused: dict[str, list[Shape]]) -> Shape:
    return {
        "Successful": successful,
        "Unsuccessful": [
            {"SnapshotId": snapshot_id, "FastSnapshotRestoreStateErrors": errors}
            for snapshot_id, errors in refused.items()
        ],
    }


def _error_row(zone: str, zone_id: str, error: Ec2Error) -> Shape:
    return {
        "AvailabilityZone": zone,
        "AvailabilityZoneId": zone_id,
        "Error": {"Code": error.code, "Message": error.message},
    }


def _row(request: Request, one: FastRestore) -> dict[str, Any]:
    now = request.now
    state = one.state(now)
    asked = state == "enabling" or (state == "disabling" and one.reason == "Client.UserInitiated")
    moments = {
        "EnablingTime": one.enabling,
        "OptimizingTime": one.optimizing,
        "EnabledTime": one.enabled,
        "DisablingTime": one.disabling,
        "DisabledTime": one.disabled,
    }
    ended = one.disabling
    return {
        "SnapshotId": one.snapshot_id,
        "AvailabilityZone": one.zone,
        "AvailabilityZoneId": one.zone_id,
        "State": state,
        "StateTransitionReason": "Client.UserInitiated" if asked else LIFECYCLE_TRANSITION,
        "OwnerId": one.owner,
        **{
            name: moment
            for name, moment in moments.items()
            if moment is not None
            and moment <= now
            and (name not in ("OptimizingTime", "EnabledTime") or ended is None or moment <= ended)
        },
    }


@action("DescribeFastSnapshotRestores")
def describe_fast_snapshot_restores(request: Request) -> Shape:
    """The account's enabled fast restores. EC2 shows disabled ones for a while."""
    home, now = request.home, request.now
    home.settle_fast_restores(now)
    found = matching(
        request,
        home.fast_restores.values(),
        {
            "availability-zone": lambda one: one.zone,
            "availability-zone-id": lambda one: one.zone_id,
            "owner-id": lambda one: one.owner,
            "snapshot-id": lambda one: one.snapshot_id,
            "state": lambda one: one.state(now),
        },
        tagged=False,
    )
    found.sort(key=_place)
    page, token = paged(request, found, minimum=1, maximum=200, key=_place, ids=None, strict=True)
    return {"FastSnapshotRestores": [_row(request, one) for one in page], "NextToken": token}


def _place(one: FastRestore) -> tuple[str, str]:
    return one.snapshot_id, one.zone
