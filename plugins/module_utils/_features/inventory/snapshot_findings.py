# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Findings about snapshots and images: waste, encryption, sharing and locks.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from ..._kernel import tags as tag_names
from ..._kernel.prices import Cost, total
from ..._kernel.proofs import capture_record, is_copy
from ..._kernel.resources import Image, Snapshot
from ..._kernel.storage_facts import (
    IS_PUBLIC,
    LAUNCH_CONFIGURATIONS,
    LAUNCH_PERMISSIONS,
    USERS,
    VOLUME_PERMISSIONS,
)
from ..._kernel.times import age_text, format_moment, parse_instant, parse_span
from . import remedies
from .finding import Amount, Finding
from .reading import is_answered
from .spec import seconds
from .stock import Inventory, Point, is_managed_by_aws, name_of

_LOCK_TOLERANCE = timedelta(days=1)
"""A run locks a snapshot some time after its start."""

# --- snapshots -------------------------------------------------------------------------------------------------------


def snapshot_findings(inventory: Inventory, point: Point) -> Iterator[Finding]:
    """Yield the findings about one snapshot."""
    yield from _sharing(inventory, point)
    yield from _lock(inventory, point)
    if not inventory.is_settled(point.snapshot.start_time):
        return
    yield from _waste(inventory, point)
    volume = inventory.volumes.get(point.source)
    is_gone = volume is None and is_answered(inventory.state, "volumes")
    if not point.snapshot.encrypted and (is_gone or (volume is not None and volume.encrypted)):
        reason = f"{_shown(point)} is not encrypted."
        yield _made(inventory, point, "snapshot-unencrypted", reason)


def _shown(point: Point) -> str:
    size = f"{point.snapshot.volume_size} GiB"
    return f"{point.id} ({size} of {point.source})" if point.source else f"{point.id} ({size})"


def _made(
    inventory: Inventory, point: Point, finding: str, reason: str, *, saving: Cost | None = None, task: str = ""
) -> Finding:
    return Finding(
        finding,
        "snapshot",
        point.id,
        reason,
        name=name_of(point.snapshot.tags),
        cost=inventory.snapshot_cost(point.snapshot),
        saving=saving,
        amount=Amount(point.snapshot.volume_size),
        task=task,
        tags=point.snapshot.tags,
    )


def _waste(inventory: Inventory, point: Point) -> Iterator[Finding]:
    """Yield the finding about a snapshot that nobody keeps, if all answers about its users are known."""
    if inventory.is_kept(point) or not is_answered(inventory.state, "volumes", "images", "locks"):
        return
    # Only a person can decide about the last copy of a volume's data.
    is_last = inventory.is_last(point)
    task = "" if is_last else remedies.snapshot_deletion(point.id, inventory.state.region)
    saving = None if is_last else inventory.saving_of(point.snapshot)
    age = inventory.age(point.snapshot.start_time)
    if not is_copy(point.snapshot) and point.source not in inventory.volumes:
        reason = f"The volume of {_shown(point)} is gone, and no policy keeps the snapshot."
        reason += " It is the last snapshot of this volume." if is_last else ""
        yield _made(inventory, point, "snapshot-orphaned", reason, saving=saving, task=task)
    elif age > inventory.spec.old_after and not (point.source and is_last):
        reason = f"{_shown(point)} is {age_text(seconds(age))} old, and no policy keeps it."
        yield _made(inventory, point, "snapshot-old", reason, saving=saving, task=task)


def _sharing(inventory: Inventory, point: Point) -> Iterator[Finding]:
    state = inventory.state
    if IS_PUBLIC.of(state, point.id):
        task = remedies.unpublished_snapshot(point.id, state.region, VOLUME_PERMISSIONS.of(state, point.id))
        yield _made(inventory, point, "snapshot-public", f"Anybody can restore from {_shown(point)}.", task=task)
        return
    others = strangers(inventory, VOLUME_PERMISSIONS.of(state, point.id))
    if others:
        reason = f"{_shown(point)} is shared with {', '.join(others)}."
        yield _made(inventory, point, "snapshot-shared", reason)


def strangers(inventory: Inventory, shared: tuple[str, ...] | None) -> list[str]:
    """Return the accounts that the user does not trust."""
    return sorted(set(shared or ()) - inventory.spec.trusted_accounts - {"all", ""})


def _lock(inventory: Inventory, point: Point) -> Iterator[Finding]:
    """Yield the finding about a lock that lasts longer than its policy planned, as the description records."""
    lock, record = inventory.lock_of(point), capture_record(point.snapshot)
    if lock is None or not lock.is_in_force or lock.expires_on is None or record is None or not point.policy:
        return
    planned = _planned_end(point, record.lock)
    if planned is not None and lock.expires_on <= planned + _LOCK_TOLERANCE:
        return
    told = "planned no lock" if planned is None else f"planned one until {format_moment(planned)}"
    end = format_moment(lock.expires_on)
    reason = f"The lock of {_shown(point)} ends at {end}. Policy {record.policy} {told}."
    yield _made(inventory, point, "lock-outlasts-policy", reason)


def _planned_end(point: Point, lock: str) -> datetime | None:
    """Return the end of the lock that the description records, such as ``governance 30d``."""
    span = lock.rpartition(" ")[2]
    try:
        return point.moment + parse_span(span, "lock") if span else None
    except OverflowError:
        return None  # Somebody else wrote the description.


# --- images ----------------------------------------------------------------------------------------------------------


def image_findings(inventory: Inventory, image: Image) -> Iterator[Finding]:
    """Yield the findings about one image."""
    state = inventory.state
    if image.facts.get("Public"):
        task = remedies.unpublished_image(image.image_id, state.region, LAUNCH_PERMISSIONS.of(state, image.image_id))
        reason = f"Anybody can launch instances from {_named(image)}."
        yield _of_image(inventory, image, "image-public", reason, task=task)
    others = strangers(inventory, LAUNCH_PERMISSIONS.of(state, image.image_id))
    if others:
        reason = f"{_named(image)} is shared with {', '.join(others)}."
        yield _of_image(inventory, image, "image-shared", reason)
    if is_unused(inventory, image):
        frees = _frees_its_snapshots(inventory, image)
        task = remedies.deregistration(image.image_id, state.region, delete_snapshots=frees)
        reason = (
            f"Nothing in the account uses {_named(image)}, which is {age_text(seconds(_idle(inventory, image)))} old."
        )
        if image.facts.get("LastLaunchedTime"):
            reason = f"Nothing in the account uses {_named(image)}, which was launched last at {_last(image)}."
        saving = total(map(inventory.saving_of, _own_snapshots(inventory, image))) if frees else None
        ends = image.snapshot_ids if frees else ()
        yield _of_image(inventory, image, "image-unused", reason, saving=saving, task=task, ends=ends)


def _frees_its_snapshots(inventory: Inventory, image: Image) -> bool:
    """Return whether nothing but this image needs its snapshots.

    EC2 shows the snapshots of CreateImage as snapshots of the volumes, so they may be the newest recovery points. If a
    volume is gone, its older snapshots have tasks that delete them, since this one is newer. So it stays.
    """
    if not is_answered(inventory.state, "volumes", "snapshots", "locks"):
        return False
    points = [inventory.point(one) for one in image.snapshot_ids]
    return all(
        point is not None
        and not inventory.is_held(point)
        and len(inventory.images_of.get(point.id, ())) == 1
        and not (inventory.is_last(point) and _is_needed(inventory, point.source))
        for point in points
    )


def _is_needed(inventory: Inventory, source: str) -> bool:
    """Return whether the newest snapshot of the volume must stay: the volume is there, or it has other snapshots."""
    return source in inventory.volumes or len(inventory.of_volume.get(source, ())) > 1


def _named(image: Image) -> str:
    return f"{image.image_id} ({image.name!a})" if image.name else image.image_id


def _of_image(
    inventory: Inventory,
    image: Image,
    finding: str,
    reason: str,
    *,
    saving: Cost | None = None,
    task: str = "",
    ends: tuple[str, ...] = (),
) -> Finding:
    """Return a finding about the image. *ends*: the snapshots that the task deletes."""
    gib = sum(device.size or 0 for device in image.block_devices if device.snapshot_id)
    return Finding(
        finding,
        "image",
        image.image_id,
        reason,
        name=image.name,
        also=image.snapshot_ids,
        cost=image_cost(inventory, image),
        saving=saving,
        amount=Amount(gib),
        task=task,
        tags=image.tags,
        ends=ends,
    )


def image_cost(inventory: Inventory, image: Image) -> Cost | None:
    """Return the monthly cost of the snapshots that only this image uses."""
    return total(map(inventory.snapshot_cost, _own_snapshots(inventory, image)))


def _own_snapshots(inventory: Inventory, image: Image) -> list[Snapshot]:
    own = {one for one in image.snapshot_ids if len(inventory.images_of.get(one, ())) == 1}
    found = (inventory.state.snapshot(one) for one in sorted(own))
    return [snapshot for snapshot in found if snapshot is not None]


def users_of(inventory: Inventory, image_id: str) -> tuple[str, ...] | None:
    """Return the users of the image in the account, or None if they are unknown."""
    found = USERS.of(inventory.state, image_id)
    if found is None or not is_answered(inventory.state, "image users", "launch configurations"):
        return None
    configurations = LAUNCH_CONFIGURATIONS.of(inventory.state) or ()
    launched = (item.instance_id for item in inventory.instances.values() if item.image_id == image_id)
    named = (f"launch configuration {item.name}" for item in configurations if item.image_id == image_id)
    arns = {arn.rpartition("/")[2] for arn in found}
    return (*found, *(one for one in launched if one not in arns), *named)


def is_unused(inventory: Inventory, image: Image) -> bool:
    """Return whether nothing in the account uses the image, and it was not launched for a long time.

    A public or shared image may have users elsewhere. The newest image of a line is kept for the next launch.
    """
    shared = image.facts.get("Public") or LAUNCH_PERMISSIONS.of(inventory.state, image.image_id)
    if users_of(inventory, image.image_id) != () or shared or is_managed_by_aws(image.tags):
        return False
    return _idle(inventory, image) > inventory.spec.unused_after and image.image_id not in inventory.newest_images


def _idle(inventory: Inventory, image: Image) -> timedelta:
    """Return the time since the last launch, or since the image was made."""
    moments = [parse_instant(text) for text in (_last(image), image.creation_date or "") if text]
    return min((inventory.age(moment) for moment in moments if moment is not None), default=timedelta())


def _last(image: Image) -> str:
    return str(image.facts.get("LastLaunchedTime") or "")


def version_of(tags: Mapping[str, str]) -> str | None:
    """Return the version of the image with these tags, such as ``web/3``, or None."""
    line, version = tags.get(tag_names.IMAGE), tags.get(tag_names.VERSION)
    return f"{line}/{version}" if line and version else None
