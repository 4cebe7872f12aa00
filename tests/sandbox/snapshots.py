# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EBS snapshots: made from volumes and instances, copied, listed by the hundred thousand, deleted unless something
holds them.

The other calls about snapshots are in sharing.py, tiers.py, locks.py, fast_restore.py and recycle_bin.py.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import Any

from .engine import Ec2Error, Request, action, declare_option
from .filters import Test, compiled
from .keys import DEFAULT_KEY, may_use, unusable
from .pages import paged, token_place
from .regions import region_names
from .tags import tag_specifications
from .volumes import Encryption, encryption, readable_snapshot, value_error
from .world import (
    SOURCE_NOT_FOUND,
    Frozen,
    Image,
    Instance,
    Region,
    Shape,
    Snapshot,
    Tags,
    Volume,
    is_id,
    not_an_id,
    tag_list,
)

PENDING_PER_VOLUME, PENDING_PER_HDD_VOLUME = 5, 1
COPY_VOLUME_ID = "vol-ffffffff"
LONGEST_DESCRIPTION = 255

declare_option("copies_per_region", 20)
"""Copies under way to one account and region."""


# --- making -----------------------------------------------------------------------------------------------------------


@action("CreateSnapshot")
def create_snapshot(request: Request) -> Shape:
    """A snapshot of the volume's present content. There is no client token: two identical calls make two snapshots."""
    params, home = request.params, request.home
    volume = home.volume(params["VolumeId"])
    if not request.visible(volume):
        raise Ec2Error("InvalidVolume.NotFound", f"The volume '{volume.id}' does not exist.")
    description = checked_description(params)
    tags = tag_specifications(request, "snapshot")["snapshot"]
    check_snapshot_allowed(request, volume)
    request.dry_run_gate()
    home.last_snapshot_of[volume.id] = request.now
    snapshot = take(request, volume, request.now, description, tags, request.end_state())
    # As recorded: the answer says pending, with an empty progress.
    row = snapshot_row(snapshot, request.now)
    return {**{name: row[name] for name in _INFO if name in row}, "Tags": tag_list(tags), **_BEGUN}


_INFO = ("SnapshotId", "VolumeId", "VolumeSize", "StartTime", "OwnerId", "Description", "Encrypted", "KmsKeyId")
_BEGUN: Mapping[str, str] = {"State": "pending", "Progress": ""}


def checked_description(params: Mapping[str, Any]) -> str:
    """Raises InvalidParameterValue for a description that is not ASCII or too long."""
    description = str(params.get("Description") or "")
    if not description.isascii():
        raise value_error("Character sets beyond ASCII are not supported.")
    if len(description) > LONGEST_DESCRIPTION:
        raise value_error(f"The parameter description exceeds the maximum length of {LONGEST_DESCRIPTION} characters.")
    return description


def check_snapshot_allowed(request: Request, volume: Volume) -> None:
    """Raises for a volume that cannot be snapshotted now: its state, and EC2's limits per volume."""
    now, home = request.now, request.home
    state = volume.state(now)
    if state not in ("available", "in-use"):
        raise Ec2Error("IncorrectState", f"The volume '{volume.id}' is '{state}'")
    window = request.world.config.duration("snapshot_rate_window")
    last = home.last_snapshot_of.get(volume.id)
    if window > 0 and last is not None and (now - last).total_seconds() < window:
        raise Ec2Error(
            "SnapshotCreationPerVolumeRateExceeded",
            "The maximum per volume CreateSnapshot request rate has been exceeded. "
            "Use an increasing or variable sleep interval between requests.",
        )
    most = PENDING_PER_HDD_VOLUME if volume.type in ("st1", "sc1") else PENDING_PER_VOLUME
    # A snapshot that was deleted while pending, or failed, still counts until its time is over.
    pending = sum(1 for one in volume.pending_snapshots if now < one)
    if pending >= most:
        raise Ec2Error(
            "ConcurrentSnapshotLimitExceeded",
            f"Maximum allowed in-progress snapshots for volume {volume.id} has been exceeded: {most}.",
        )


def take(
    request: Request,
    volume: Volume,
    moment: datetime,
    description: str,
    tags: Tags,
    end: Mapping[str, Any] | None = None,
) -> Snapshot:
    """A snapshot of the content of ``volume`` at ``moment``, pending from then on. ``end``: how it shall fail."""
    home = request.home
    volume.settle(moment)
    completes = home.moment("snapshot_pending", moment)
    snapshot = Snapshot(
        id=home.world.new_id("snap"),
        number=home.next_number(),
        owner=request.account,
        volume_id=volume.id,
        volume_size=volume.size,
        created=moment,
        completes=completes,
        held=Frozen(volume, moment),
        description=description,
        encrypted=volume.encrypted,
        kms_key_id=volume.kms_key_id,
        tags=dict(tags),
        failure=failure_of(end),
        product_codes=volume.product_codes,
    )
    home.snapshots[snapshot.id] = snapshot
    volume.pending_snapshots = [*(one for one in volume.pending_snapshots if one > moment), completes]
    return snapshot


def failure_of(end: Mapping[str, Any] | None) -> str:
    """The StateMessage of a failed end that a fault asked for; "" when there is none."""
    return str(end.get("message") or "The snapshot could not be completed.") if end else ""


@action("CreateSnapshots")
def create_snapshots(request: Request) -> Shape:
    """One crash-consistent snapshot per EBS volume of an instance, all of the same moment and start time."""
    params, home, now = request.params, request.home, request.now
    specification = params["InstanceSpecification"]
    if not specification.get("InstanceId"):
        raise Ec2Error("MissingParameter", "The request must contain the parameter InstanceId")
    (instance,) = home.instance_list([specification["InstanceId"]])
    if instance.state(now) not in ("running", "stopping", "stopped"):
        raise Ec2Error(
            "IncorrectInstanceState",
            f"The instance '{instance.id}' is not in a state from which it can be snapshotted.",
        )
    description = checked_description(params)
    tags = tag_specifications(request, "snapshot")["snapshot"]
    copied = params.get("CopyTagsFromSource")
    if copied not in (None, "volume"):
        raise value_error(f"Value ({copied}) for parameter copyTagsFromSource is invalid. Expected: volume")
    volumes = _chosen(request, instance, specification)
    for volume in volumes:
        check_snapshot_allowed(request, volume)
    request.dry_run_gate()
    rows = []
    end = request.end_state()
    for position, volume in enumerate(volumes):
        merged = {**(_user_tags(volume.tags) if copied else {}), **tags}
        home.last_snapshot_of[volume.id] = now
        # If a set fails, its first member fails.
        snapshot = take(request, volume, now, description, merged, end if position == 0 else None)
        row = snapshot_row(snapshot, now)
        rows.append(
            {
                **{name: row[name] for name in _INFO if name in row and name != "KmsKeyId"},
                "Tags": tag_list(merged),
                **_BEGUN,
            }
        )
    return {"Snapshots": rows}


def _user_tags(tags: Tags) -> Tags:
    return {key: value for key, value in tags.items() if not key.startswith("aws:")}


def _chosen(request: Request, instance: Instance, specification: Mapping[str, Any]) -> list[Volume]:
    excluded = specification.get("ExcludeDataVolumeIds") or []
    if len(excluded) > 40:
        raise value_error("The number of excluded data volumes exceeds the limit of 40")
    devices = request.home.devices(instance, request.now)
    data = {volume.id for volume, one in devices if one.device != instance.root_device_name}
    for volume_id in excluded:
        if not is_id("vol", volume_id):
            raise not_an_id(volume_id, "ExcludeDataVolumeIds", "vol-...")
        if volume_id not in data:
            raise value_error(f"The volume '{volume_id}' is not a data volume of the instance '{instance.id}'.")
    root = specification.get("ExcludeBootVolume") is not True
    chosen = [
        volume
        for volume, one in devices
        if (root if one.device == instance.root_device_name else volume.id not in excluded)
    ]
    if not chosen:
        raise value_error("All volumes of the instance are excluded: there is nothing to snapshot.")
    return chosen


# --- copying ----------------------------------------------------------------------------------------------------------


@action("CopySnapshot")
def copy_snapshot(request: Request) -> Shape:
    """A copy, called in the account and region where it shall be.

    If the source cannot be read, the copy's state shows it later. A key that the copy cannot have is refused at once.
    """
    params, home, now = request.params, request.home, request.now
    source_id, source_region = params.get("SourceSnapshotId") or "", params.get("SourceRegion")
    if source_region is None:
        raise Ec2Error("InternalError", "An internal error has occurred", 500)
    if source_region not in region_names():
        raise Ec2Error("InvalidRegion", f"{source_region} is not a valid region name.")
    if not is_id("snap", source_id):
        raise value_error("The specified snapshotId is invalid")
    description = checked_description(params)
    tags = tag_specifications(request, "snapshot")["snapshot"]
    checked_completion_minutes(params.get("CompletionDurationMinutes"), "completionDurationMinutes")
    request.dry_run_gate()
    destination = params.get("DestinationRegion") or request.region
    if destination != request.region:
        raise value_error(f"DestinationRegion '{destination}' does not match the current region ({request.region}).")
    source = find_source(request, source_region, source_id)
    if params.get("Encrypted") or (source is not None and source.encrypted):
        refuse_unusable_key(request, params.get("KmsKeyId"))
    most = int(request.world.config.option("copies_per_region"))
    if len(home.copying(now)) >= most:
        raise Ec2Error(
            "ResourceLimitExceeded",
            f"Too many snapshot copies in progress. The limit is {most} for this destination region.",
        )
    copy = copied_snapshot(
        request,
        source,
        description,
        tags,
        params.get("Encrypted"),
        params.get("KmsKeyId"),
        request.end_state(),
    )
    copy.source_id = source_id
    copy.completion_minutes = params.get("CompletionDurationMinutes")
    return {"SnapshotId": copy.id, "Tags": tag_list(tags) or None}


def refuse_unusable_key(request: Request, key: str | None) -> None:
    """Raises for a KMS key that a copy cannot be encrypted with: InvalidParameterValue, or AuthFailure for the key of
    another account that the caller may not use. None is the account's default key.
    """
    wanted = key or request.home.default_kms_key_id or DEFAULT_KEY
    problem = unusable(request, wanted)
    if problem == "forbidden":
        raise Ec2Error("AuthFailure", f"Not authorized to use key {wanted} ", 403)
    if problem:
        raise value_error(f"The specified keyId {wanted} is {problem}")


def checked_completion_minutes(minutes: int | None, name: str) -> None:
    """Raises InvalidParameterValue unless it is 15 to 2880 in steps of 15."""
    if minutes is not None and (not 15 <= minutes <= 2880 or minutes % 15):
        raise value_error(
            f"Value ({minutes}) for parameter {name} is invalid. Expected 15 to 2880 in 15 minute increments."
        )


def find_source(request: Request, region: str, snapshot_id: str) -> Snapshot | None:
    """The account's snapshot of another region, or one that is shared with it there; None if it cannot be read."""
    own = request.world.region(request.account, region).snapshots.get(snapshot_id)
    if own is not None:
        return own
    for other in request.world.regions():
        found = other.snapshots.get(snapshot_id) if other.name == region else None
        if found is not None and other.grants(found, request.account, request.now):
            return found
    return None


def copied_snapshot(
    request: Request,
    source: Snapshot | None,
    description: str,
    tags: Tags,
    encrypted: bool | None,
    key: str | None,
    end: Mapping[str, Any] | None,
) -> Snapshot:
    """A copy of a source in the request's region. It fails if the source cannot be read.

    It begins after the unfinished copies of the same lineage. It is incremental while the latest copy
    of the lineage exists here, and all of them have its key.
    """
    home, now = request.home, request.now
    sealed = _copy_encryption(request, source, encrypted, key)
    lineage = source.origin if source is not None else ""
    start = max([now, *(one.completes for one in home.copying(now) if lineage and one.lineage == lineage)])
    copy = Snapshot(
        id=home.world.new_id("snap"),
        number=home.next_number(),
        owner=request.account,
        volume_id=COPY_VOLUME_ID,
        volume_size=source.volume_size if source else 0,
        created=now,
        completes=home.moment("snapshot_copying", start),
        held=source.held if source else Frozen(None, now),
        description=description,
        encrypted=sealed.encrypted,
        kms_key_id=sealed.key,
        tags=dict(tags),
        failure=failure_of(end) or _unreadable(source, now) or ("" if not sealed.broken else KEY_NOT_ACCESSIBLE),
        product_codes=source.product_codes if source else (),
        copied=True,
        source_id=source.id if source else "",
        lineage=lineage,
        incremental=_leans_on_another(home, lineage, sealed.key, start),
    )
    home.add_copy(copy)
    return copy


KEY_NOT_ACCESSIBLE = "Given key ID is not accessible"


def _unreadable(source: Snapshot | None, now: datetime) -> str:
    """Why a copy of it ends in error; "" if it can be read."""
    if source is None:
        return SOURCE_NOT_FOUND
    if source.state(now) != "completed":
        return "Source snapshot is not complete"
    # The source cannot be copied. EC2's answer is not recorded, but all other faults of a source show in the copy.
    return "Source snapshot is archived" if source.tier(now) == "archive" else ""


def _copy_encryption(request: Request, source: Snapshot | None, encrypted: bool | None, key: str | None) -> Encryption:
    """How a copy is encrypted: with the given or the default key. An encrypted source has no unencrypted copy. An
    image's copy in its own region keeps the key of its snapshots.
    """
    kept = request.action != "CopySnapshot" and source is not None and request.home.snapshots.get(source.id) is source
    if source is None or not source.encrypted or kept:
        return encryption(request, encrypted, key, source)
    sealed = encryption(request, True, key, None)
    sealed.broken = sealed.broken or not may_use(request, source.kms_key_id)
    return sealed


def _leans_on_another(home: Region, lineage: str, key: str | None, start: datetime) -> bool:
    before = [one for one in home.copies.get(lineage, ()) if not one.failure and one.completes <= start]
    if not before:
        return False
    latest = max(before, key=lambda one: (one.completes, one.number))
    there = [one for one in before if one.id in home.snapshots and one.delete_asked is None]
    # Among deleted copies only the latest affects later copies.
    home.copies[lineage] = [
        one for one in home.copies[lineage] if one is latest or one.completes > start or one.id in home.snapshots
    ]
    return any(one is latest for one in there) and all(one.kms_key_id == key for one in there)


# --- reading ----------------------------------------------------------------------------------------------------------


def snapshot_row(snapshot: Snapshot, now: datetime, account: str | None = None) -> Shape:
    """A snapshot as DescribeSnapshots shows it to an account, by default to its owner."""
    state = snapshot.state(now)
    row: Shape = {
        "SnapshotId": snapshot.id,
        "VolumeId": snapshot.volume_id,
        "VolumeSize": snapshot.volume_size,
        "State": state,
        "StartTime": snapshot.created,
        "Progress": snapshot.progress(now),
        "OwnerId": snapshot.owner,
        "Description": snapshot.description,
        "Encrypted": snapshot.encrypted,
        "StorageTier": "standard",
        "TransferType": "standard",
    }
    if snapshot.tierings:
        row["StorageTier"], row["RestoreExpiryTime"] = snapshot.tier(now), snapshot.restored_until(now)
    if snapshot.encrypted:
        row["KmsKeyId"] = snapshot.kms_key_id
    tags = snapshot.tags_of(account)
    if tags:
        row["Tags"] = tag_list(tags)
    if snapshot.copied:
        row["TransferType"] = snapshot.transfer_type
        row["CompletionDurationMinutes"] = snapshot.completion_minutes
        if state == "pending":
            row["VolumeSize"], row["StateMessage"] = 0, "Metadata not updated"
    if state == "completed":
        row["CompletionTime"] = snapshot.completes
        # The size counts the blocks that were ever written. The sandbox's volumes are full.
        row["FullSnapshotSizeInBytes"] = snapshot.volume_size << 30
    if state == "error":
        row["StateMessage"] = snapshot.failure
    return row


def own_snapshot(request: Request, snapshot_id: str) -> Snapshot:
    """The account's snapshot with this id.

    Raises InvalidParameterValue, or InvalidSnapshot.NotFound, also while reads do not show the snapshot yet.
    """
    found = request.home.snapshot(snapshot_id)
    if not request.visible(found):
        raise Ec2Error("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")
    return found


def accessible(request: Request) -> Iterator[Snapshot]:
    """The snapshots of other accounts in the region that are public or shared with this one."""
    for other in request.world.regions():
        if other.name == request.region and other.account != request.account:
            for one in other.snapshots.values():
                if one.shared_with and other.grants(one, request.account, request.now):
                    yield one


def _fields(now: datetime) -> dict[str, Callable[[Snapshot], Any]]:
    return {
        "description": lambda one: one.description,
        "encrypted": lambda one: one.encrypted,
        "owner-alias": lambda one: None,
        "owner-id": lambda one: one.owner,
        "progress": lambda one: one.progress(now),
        "snapshot-id": lambda one: one.id,
        "start-time": lambda one: one.created,
        "status": lambda one: one.state(now),
        "storage-tier": lambda one: one.tier(now) if one.tierings else "standard",
        "transfer-type": lambda one: one.transfer_type,
        "volume-id": lambda one: one.volume_id,
        "volume-size": lambda one: one.volume_size,
    }


def _place(snapshot: Snapshot) -> tuple[int, str]:
    return snapshot.number, snapshot.id


@action("DescribeSnapshots")
def describe_snapshots(request: Request) -> Shape:
    """The snapshots that the account may use: its own, and shared and public ones; the oldest first.

    Tags belong to the account that set them: nobody sees or finds those of another one.
    """
    params, now, account = request.params, request.now, request.account
    owners, users = params.get("OwnerIds") or [], params.get("RestorableByUserIds") or []
    tests = compiled(params.get("Filters") or [], _fields(now), tags_of=lambda one: one.tags_of(account))
    if params.get("SnapshotIds"):
        rows = [readable_snapshot(request, one) for one in dict.fromkeys(params["SnapshotIds"])]
    else:
        rows = list(request.home.snapshots.values())
        others = list(accessible(request))
        if others:
            rows = sorted([*rows, *others], key=_place)
    if owners:
        wanted = {request.account if one == "self" else one for one in owners}
        tests.insert(0, lambda one: one.owner in wanted)
    if users:
        tests.append(_restorable_by(request, set(users)))
    page, token = page_of(request, rows, tests)
    return {"Snapshots": [snapshot_row(one, now, account) for one in page], "NextToken": token}


def _restorable_by(request: Request, users: set[str]) -> Test:
    """RestorableByUserIds: "self", an account's id, or "all".

    "self": snapshots that the caller owns or was given. An id: those that the caller gave this account. "all": public.
    """
    own, now = request.account, request.now
    everybody, myself = "all" in users, bool(users & {"self", own})
    given = users - {"self", "all", own}

    def test(one: Snapshot) -> bool:
        if myself and one.owner == own:
            return True
        shared = one.shared(now) if one.shared_with else frozenset()
        if everybody and "all" in shared:
            home = request.world.region(one.owner, request.region)
            if home.block_public_access != "block-all-sharing":
                return True
        return (myself and own in shared) or (one.owner == own and bool(given & shared))

    return test


def page_of(
    request: Request, rows: Sequence[Snapshot], tests: Sequence[Test], *, strict: bool = False
) -> tuple[Sequence[Snapshot], str | None]:
    """One page of the snapshots that pass all tests and are shown, and the token of the next one.

    It goes on behind the last row of the page before it and ends when the page is full, so that the whole costs time in
    proportion to what there is, also with filters. rows: in the order in which they were made. strict: see `paged`.
    """
    params = request.params
    size, token = params.get("MaxResults"), params.get("NextToken")
    if token:
        rows = rows[bisect_right(rows, tuple(token_place(request, token)), key=_place) :]
    if request.late or request.world.config.visibility_delay:
        tests = [*tests, request.visible]
    enough = min(size, 1000) + 1 if size is not None and size > 0 else (1001 if token else None)
    passing: Iterable[Snapshot] = rows
    for test in tests:
        passing = filter(test, passing)
    return paged(request, list(islice(passing, enough)), key=_place, strict=strict)


# --- deleting ---------------------------------------------------------------------------------------------------------


@action("DeleteSnapshot")
def delete_snapshot(request: Request) -> Shape:
    """Delete a snapshot that nothing holds; DryRun does not look. A pending snapshot disappears when it completes.

    One that is archived, restored, shared, public or enabled for fast restore can be deleted like any other.
    """
    snapshot = own_snapshot(request, request.params["SnapshotId"])
    request.dry_run_gate()
    refuse_delete(request.home, snapshot, request.now)
    request.home.delete_snapshot(snapshot, request.now)
    return {}


def refuse_delete(region: Region, snapshot: Snapshot, now: datetime) -> None:
    """Raises for a snapshot that cannot be deleted: an image uses it (by any of its devices, be the image disabled or
    pending), it is locked, or AWS Backup manages it.
    """
    refuse_in_use(region.images_using(snapshot.id), snapshot)
    if snapshot.lock is not None and snapshot.lock.state(now) != "expired":
        raise locked_error(snapshot, "deleted")
    if any(key.startswith("aws:backup:") for key in snapshot.tags):
        raise Ec2Error(
            "InvalidParameterValue",
            f"The snapshot {snapshot.id} is managed by AWS Backup and can't be deleted using EC2.",
        )


def locked_error(snapshot: Snapshot, done: str) -> Ec2Error:
    """A lock forbids the call. EC2's code for it is not recorded; this is its code for a protection."""
    return Ec2Error("OperationNotPermitted", f"The snapshot {snapshot.id} is locked and cannot be {done}.")


def refuse_in_use(images: Sequence[Image], snapshot: Snapshot) -> None:
    """Raises InvalidSnapshot.InUse if there are images that use the snapshot."""
    if images:
        raise Ec2Error(
            "InvalidSnapshot.InUse",
            f"The snapshot {snapshot.id} is currently in use by {', '.join(one.id for one in images)}",
        )
