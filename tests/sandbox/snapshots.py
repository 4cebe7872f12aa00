# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EBS snapshots: made from volumes and instances, copied, shared, listed by the hundred thousand, deleted unless in
use.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from .engine import Ec2Error, Request, action
from .filters import compiled
from .pages import paged, token_place
from .tags import tag_specifications
from .volumes import combination_error, encryption, key_arn, readable_snapshot, value_error
from .world import Frozen, Instance, Region, Shape, Snapshot, Tags, Volume, is_id, not_an_id, tag_list

PENDING_PER_VOLUME, PENDING_PER_HDD_VOLUME = 5, 1
COPIES_PER_REGION = 20
COPY_VOLUME_ID = "vol-ffffffff"
LONGEST_DESCRIPTION = 255


# --- making -----------------------------------------------------------------------------------------------------------


@action("CreateSnapshot")
def create_snapshot(request: Request) -> Shape:
    """A snapshot of what the volume holds now. There is no client token: two identical calls make two."""
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
    return {**{name: row[name] for name in _INFO if name in row}, "State": "pending", "Progress": ""}


_INFO = ("SnapshotId", "VolumeId", "VolumeSize", "StartTime", "OwnerId", "Description", "Encrypted", "KmsKeyId", "Tags")


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
    """A snapshot of what ``volume`` holds at ``moment``, pending from then on. ``end``: how it shall fail."""
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
        # A set fails by one of its members: the first.
        snapshot = take(request, volume, now, description, merged, end if position == 0 else None)
        row = snapshot_row(snapshot, now)
        rows.append(
            {
                **{name: row[name] for name in _INFO if name in row and name != "KmsKeyId"},
                "State": "pending",
                "Progress": "",
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
    """A copy, called in the region where it shall be. Whether the source exists shows later, in the copy's state."""
    params, home, now = request.params, request.home, request.now
    source_id, source_region = params.get("SourceSnapshotId") or "", params.get("SourceRegion")
    if not source_region:
        raise Ec2Error("InternalError", "An internal error has occurred", 500)
    if not is_id("snap", source_id):
        raise not_an_id(source_id, "snapshotId", "snap-...")
    description = checked_description(params)
    tags = tag_specifications(request, "snapshot")["snapshot"]
    if params.get("Encrypted") is False:
        raise value_error("Value (false) for parameter encrypted is invalid. Expected: true")
    checked_completion_minutes(params.get("CompletionDurationMinutes"), "completionDurationMinutes")
    request.dry_run_gate()
    running = sum(1 for one in home.snapshots.values() if one.copied and now < one.completes)
    if running >= COPIES_PER_REGION:
        raise Ec2Error(
            "ResourceLimitExceeded",
            f"Too many snapshot copies in progress. The limit is {COPIES_PER_REGION} for this destination region.",
        )
    copy = copied_snapshot(
        request,
        find_source(request, source_region, source_id),
        description,
        tags,
        params.get("Encrypted"),
        params.get("KmsKeyId"),
        request.end_state(),
    )
    copy.completion_minutes = params.get("CompletionDurationMinutes")
    return {"SnapshotId": copy.id, "Tags": tag_list(tags)}


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
        if found is not None and found.shared_with & {request.account, "all"}:
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
    """A copy of a source in the request's region; of a source that is missing or not completed, one that fails."""
    home, now = request.home, request.now
    if source is not None and source.encrypted and key is None:
        # Across regions the source's key is of no use: the region's default stands in for it.
        key = source.kms_key_id if home.snapshots.get(source.id) is source else None
        encrypted = True
    sealed = encryption(request, encrypted, key, source)
    failure = failure_of(end)
    if source is None:
        failure = "Source snapshot is not found"
    elif source.state(now) != "completed":
        failure = "Source snapshot is not complete"
    elif sealed.broken:
        failure = "Given key ID is not accessible"
    copy = Snapshot(
        id=home.world.new_id("snap"),
        number=home.next_number(),
        owner=request.account,
        volume_id=COPY_VOLUME_ID,
        volume_size=source.volume_size if source else 0,
        created=now,
        completes=home.moment("snapshot_copying", now),
        held=source.held if source else Frozen(None, now),
        description=description,
        encrypted=sealed.encrypted,
        kms_key_id=sealed.key,
        tags=dict(tags),
        failure=failure,
        product_codes=source.product_codes if source else (),
        copied=True,
    )
    home.snapshots[copy.id] = copy
    return copy


# --- reading ----------------------------------------------------------------------------------------------------------


def snapshot_row(snapshot: Snapshot, now: datetime) -> Shape:
    """A snapshot as DescribeSnapshots shows it."""
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
        "StorageTier": snapshot.storage_tier,
    }
    if snapshot.encrypted:
        row["KmsKeyId"] = snapshot.kms_key_id
    if snapshot.tags:
        row["Tags"] = tag_list(snapshot.tags)
    if snapshot.copied:
        row["TransferType"] = "time-based" if snapshot.completion_minutes else "standard"
        row["CompletionDurationMinutes"] = snapshot.completion_minutes
        if state == "pending":
            row["VolumeSize"], row["StateMessage"] = 0, "Metadata not updated"
    if state == "completed":
        row["CompletionTime"] = snapshot.completes
        row["FullSnapshotSizeInBytes"] = snapshot.volume_size << 20
    if state == "error":
        row["StateMessage"] = snapshot.failure
    return row


def accessible(request: Request) -> Iterator[Snapshot]:
    """The snapshots of other accounts in the region that are public or shared with this one."""
    for other in request.world.regions():
        if other.name == request.region and other.account != request.account:
            yield from (one for one in other.snapshots.values() if one.shared_with & {request.account, "all"})


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
        "storage-tier": lambda one: one.storage_tier,
        "transfer-type": lambda one: ("time-based" if one.completion_minutes else "standard") if one.copied else None,
        "volume-id": lambda one: one.volume_id,
        "volume-size": lambda one: one.volume_size,
    }


def _place(snapshot: Snapshot) -> tuple[int, str]:
    return snapshot.number, snapshot.id


@action("DescribeSnapshots")
def describe_snapshots(request: Request) -> Shape:
    """The snapshots that the account may use: its own, and shared and public ones; the oldest first.

    A page is found by going on behind the last row of the page before it, so that the whole costs time in proportion to
    what there is, also with filters.
    """
    params, now = request.params, request.now
    owners, users = params.get("OwnerIds") or [], params.get("RestorableByUserIds") or []
    tests = compiled(params.get("Filters") or [], _fields(now))
    rows: Iterable[Snapshot]
    if params.get("SnapshotIds"):
        rows = [readable_snapshot(request, one) for one in dict.fromkeys(params["SnapshotIds"])]
    else:
        rows = _behind(request, list(request.home.snapshots.values()))
    if owners:
        wanted = {request.account if one == "self" else one for one in owners}
        tests.insert(0, lambda one: one.owner in wanted)
    if users:
        allowed = {request.account if one == "self" else one for one in users}
        tests.append(lambda one: one.owner in allowed or bool(one.shared_with & (allowed | {"all"})))
    if request.world.config.visibility_delay:
        tests.append(request.visible)
    size = params.get("MaxResults")
    enough = min(size, 1000) + 1 if size is not None and size > 0 else (1001 if params.get("NextToken") else None)
    found = []
    for one in rows:
        if all(test(one) for test in tests):
            found.append(one)
            if len(found) == enough:
                break
    page, token = paged(request, found, key=_place)
    return {"Snapshots": [snapshot_row(one, now) for one in page], "NextToken": token}


def _behind(request: Request, rows: list[Snapshot]) -> Sequence[Snapshot]:
    """The rows behind the place that the request's token names, with those of other accounts among them."""
    others = list(accessible(request))
    if others:
        rows = sorted([*rows, *others], key=_place)
    token = request.params.get("NextToken")
    if not token:
        return rows
    return rows[bisect_right(rows, tuple(token_place(request, token)), key=_place) :]


# --- deleting and sharing ---------------------------------------------------------------------------------------------


@action("DeleteSnapshot")
def delete_snapshot(request: Request) -> Shape:
    """Delete a snapshot that no image uses, by any of its devices, be it disabled or pending. DryRun does not look."""
    home = request.home
    snapshot = home.snapshot(request.params["SnapshotId"])
    if not request.visible(snapshot):
        raise Ec2Error("InvalidSnapshot.NotFound", f"The snapshot '{snapshot.id}' does not exist.")
    request.dry_run_gate()
    refuse_in_use(home, snapshot)
    if any(key.startswith("aws:backup:") for key in snapshot.tags):
        raise Ec2Error(
            "InvalidParameterValue",
            f"The snapshot {snapshot.id} is managed by AWS Backup and can't be deleted using EC2.",
        )
    del home.snapshots[snapshot.id]
    return {}


def refuse_in_use(region: Region, snapshot: Snapshot) -> None:
    """Raises InvalidSnapshot.InUse while an image uses the snapshot."""
    images = region.images_using(snapshot.id)
    if images:
        raise Ec2Error(
            "InvalidSnapshot.InUse",
            f"The snapshot {snapshot.id} is currently in use by {', '.join(one.id for one in images)}",
        )


@action("ModifySnapshotAttribute")
def modify_snapshot_attribute(request: Request) -> Shape:
    """Share a snapshot with accounts or everybody, or no longer: add or remove, not both in one call."""
    params = request.params
    snapshot = request.home.snapshot(params["SnapshotId"])
    permission = params.get("CreateVolumePermission") or {}
    changes = {"add": permission.get("Add") or [], "remove": permission.get("Remove") or []}
    operation = params.get("OperationType")
    if operation:
        changes[operation] = [{"UserId": one} for one in params.get("UserIds") or []] + [
            {"Group": one} for one in params.get("GroupNames") or []
        ]
    if bool(changes["add"]) == bool(changes["remove"]):
        raise combination_error("Exactly one of add and remove must be given for createVolumePermission.")
    added = {one.get("UserId") or one.get("Group") for one in changes["add"]}
    if len(added) + len(changes["remove"]) > 500:
        raise value_error("The number of modifications exceeds the limit of 500")
    if added and snapshot.encrypted:
        if "all" in added:
            raise value_error(f"Encrypted snapshots cannot be made public: {snapshot.id}")
        if snapshot.kms_key_id == key_arn(request, "alias/aws/ebs"):
            raise value_error("Snapshots encrypted with the AWS Managed CMK can't be shared")
    request.dry_run_gate()
    snapshot.shared_with |= {str(one) for one in added}
    snapshot.shared_with -= {str(one.get("UserId") or one.get("Group")) for one in changes["remove"]}
    return {}


@action("DescribeSnapshotAttribute")
def describe_snapshot_attribute(request: Request) -> Shape:
    """With whom a snapshot is shared, or its product codes."""
    params = request.params
    snapshot = request.home.snapshot(params["SnapshotId"])
    if params["Attribute"] == "productCodes":
        codes = [{"ProductCodeId": one, "ProductCodeType": "marketplace"} for one in snapshot.product_codes]
        return {"SnapshotId": snapshot.id, "ProductCodes": codes}
    if params["Attribute"] != "createVolumePermission":
        raise value_error(f"Value ({params['Attribute']}) for parameter attribute is invalid.")
    shared = [{"Group": "all"} if one == "all" else {"UserId": one} for one in sorted(snapshot.shared_with)]
    return {"SnapshotId": snapshot.id, "CreateVolumePermissions": shared}


@action("ResetSnapshotAttribute")
def reset_snapshot_attribute(request: Request) -> Shape:
    """Share a snapshot with nobody."""
    snapshot = request.home.snapshot(request.params["SnapshotId"])
    request.dry_run_gate()
    snapshot.shared_with = set()
    return {}
