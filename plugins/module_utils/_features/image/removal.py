# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The removal of one version of an image: the uses that forbid it, and the snapshots that it deletes.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..._domain.image_usage import is_superseded
from ..._kernel.errors import Ambiguous, Unanswered, UnsafePlan, listed
from ..._kernel.ids import is_planned
from ..._kernel.plan import Change, Plan, Stage, apart
from ..._kernel.proofs import is_copy
from ..._kernel.resources import Image, Snapshot
from ..._kernel.state import Query, State, by_id, own_images, tag_filters
from ..._kernel.storage_facts import (
    LAUNCH_CONFIGURATIONS,
    LAUNCH_CONFIGURATIONS_QUERY,
    LAUNCH_PERMISSIONS,
    LOCK,
    USAGE,
    USERS,
    SnapshotLock,
    Usage,
    launch_permissions_query,
    lock_queries,
    usage_query,
    usage_reports_query,
    users_query,
)
from ..._kernel.times import format_moment
from .found import (
    copied_images,
    ids,
    images,
    may_be_given,
    origin_queries,
    stranger_warnings,
    tagged,
    taken,
    used_by_others,
)
from .requests import delete_snapshot
from .spec import ImageSpec, captures_query

_UNLISTED = "A newer usage report may show no use by another account, but AWS does not list the usage reports"

# --- questions -------------------------------------------------------------------------------------------------------


def _removal_queries(spec: ImageSpec, state: State) -> tuple[Query, ...]:
    """Return the queries for users, locks and other images of the images and snapshots that are known so far."""
    found = [image for image in images(spec, state) if not is_planned(image.image_id)]
    own = [item for item in ids(tagged(spec, state, Snapshot)) if not is_planned(item)]
    snapshots = {*own, *(snapshot for image in found for snapshot in image.snapshot_ids)}
    users = by_id(
        "DescribeImages", "block-device-mapping.snapshot-id", snapshots, IncludeDisabled=True, Owners=("self",)
    )
    return (*origin_queries(found), *users, *use_queries(spec, state, found, own))


def use_queries(spec: ImageSpec, state: State, found: Sequence[Image], snapshots: Sequence[str]) -> Iterator[Query]:
    """Yield the queries for the users of images, unless the task forces their removal, and for locks of snapshots."""
    asked: list[Query] = []
    if found and not spec.force:
        asked += [query for image in found for query in _holder_queries(image, state)]
        asked.append(LAUNCH_CONFIGURATIONS_QUERY)
    asked += lock_queries(snapshots)
    yield from (dataclasses.replace(query, optional=True) for query in asked)


def _holder_queries(image: Image, state: State) -> Iterator[Query]:
    """Yield the queries for the users of an image: in the account and, for a shared image, in others."""
    yield users_query(image.image_id)
    yield launch_permissions_query(image.image_id)
    if LAUNCH_PERMISSIONS.of(state, image.image_id):
        yield usage_query(image.image_id)
    if any(_counts(state, image, entry) for entry in USAGE.of(state, image.image_id) or ()):
        yield usage_reports_query(image.image_id)


# --- the plan --------------------------------------------------------------------------------------------------------


def plan_absent_here(spec: ImageSpec, state: State) -> Plan:
    """Return the plan that deregisters the image, then deletes its own snapshots that no other image uses.

    Raises Ambiguous for several images of one version, and UnsafePlan if the image or a snapshot is in use.
    """
    identity = own_images(*tag_filters(spec.identity))
    state.require(identity, captures_query(spec), *_removal_queries(spec, state))
    found = images(spec, state)
    if len(found) > 1:
        raise Ambiguous(f"several images are {spec.label}", ids(found), "Deregister the wrong ones")
    warnings: list[str] = []
    for image in found:
        if not spec.force:
            require_unused(spec, state, image)
            warnings += shared_warnings(spec, state, image)
        require_unprotected(spec, image)
    deletes, kept = _snapshots(spec, state, found)
    deregistered = tuple(_deregister(spec, state, image) for image in found)
    # EC2 deletes no snapshot of a registered image. The snapshots do not depend on each other.
    deletes = tuple(dataclasses.replace(one, after_steps=tuple(ids(found))) for one in deletes)
    stages = apart(Stage(changes) for changes in (deregistered, deletes) if changes)
    return Plan(stages, (*warnings, *kept))


def _deregister(spec: ImageSpec, state: State, image: Image) -> Change:
    before = {"name": image.name, "state": image.state}
    return Change("DeregisterImage", image.image_id, state.region, {}, f"deregister {spec.label}", before)


def require_unprotected(spec: ImageSpec, image: Image) -> None:
    """Raise UnsafePlan for an image with deregistration protection."""
    if str(image.facts.get("DeregistrationProtection") or "").startswith("enabled"):
        raise UnsafePlan(
            f"image {image.image_id} ({spec.label}) has deregistration protection. Disable the protection first. "
            "EC2 may keep the protection for another 24 hours"
        )


def require_unused(spec: ImageSpec, state: State, image: Image) -> None:
    """Raise UnsafePlan, which names the uses, if the image is in use. Raises Unanswered if AWS refuses to answer."""
    subject = f"state: image {image.image_id} ({spec.label})"
    users = sorted(
        {*(USERS.of(state, image.image_id) or ()), *_launch_configurations(state, image), *_accounts(state, image)}
    )
    if users:
        unlisted = state.refusal("DescribeImageUsageReports")
        raise UnsafePlan(
            f"{subject} is in use by {listed(users)}. Remove these uses first, or set force: true to deregister the "
            "image all the same." + (f" {_UNLISTED}: {unlisted}" if unlisted else "")
        )
    asked = ["DescribeImageReferences", "DescribeLaunchConfigurations", "DescribeImageAttribute"]
    asked += ["DescribeImageUsageReportEntries"] if LAUNCH_PERMISSIONS.of(state, image.image_id) else []
    refused = [error for error in map(state.refusal, asked) if error is not None]
    if refused:
        raise Unanswered(
            f"{subject}: EC2 does not show all of its uses. {' '.join(map(str, refused))} Or set force: true to "
            "deregister it without these checks.",
            refused,
        )


def _launch_configurations(state: State, image: Image) -> Iterator[str]:
    for item in LAUNCH_CONFIGURATIONS.of(state) or ():
        if item.image_id == image.image_id:
            yield f"launch configuration {item.name}"


def _accounts(state: State, image: Image) -> Iterator[str]:
    """Yield the other accounts that have access to the image, and that use it as the newest usage report shows."""
    for entry in USAGE.of(state, image.image_id) or ():
        if _counts(state, image, entry) and not is_superseded(state, image.image_id, entry):
            reported = format_moment(entry.reported) if entry.reported is not None else None
            yield f"account {entry.account} ({entry.resource_type}: {entry.count}, as of {reported})"


def _counts(state: State, image: Image, entry: Usage) -> bool:
    """Return whether an entry of a usage report shows use by another account that has access to the image."""
    shared = LAUNCH_PERMISSIONS.of(state, image.image_id) or ()
    widely = any(not name.isdigit() for name in shared)
    return bool(entry.count) and entry.account != image.owner_id and (widely or entry.account in shared)


def shared_warnings(spec: ImageSpec, state: State, image: Image) -> Iterator[str]:
    """Yield the warning that other accounts have access, if no report shows that they use the image."""
    shared = sorted(LAUNCH_PERMISSIONS.of(state, image.image_id) or ())
    if shared:
        named = listed(shared)
        yield (
            f"image {image.image_id} ({spec.label}) is shared with {named}. No usage report shows that an account "
            "with access uses the image (CreateImageUsageReport makes such a report). All other accounts lose access "
            "to the image."
        )


def _snapshots(spec: ImageSpec, state: State, found: list[Image]) -> tuple[tuple[Change, ...], list[str]]:
    """Return the deletions, and warnings about the kept snapshots. Raises for locks as `_lock_warnings` does."""
    used = used_by_others(state, found)
    # Only snapshots that were taken for this version are deleted. The user's source snapshot and copies are kept.
    given = [item for item in taken(spec, state) if may_be_given(spec, state, item)]
    own = [item for item in taken(spec, state) if item not in given]
    free = [item for item in own if item.snapshot_id not in used]
    locks = {item.snapshot_id: lock for item in free if (lock := lock_of(state, item)) is not None}
    warnings = [*_kept_used(spec, own, used), *_kept_given(spec, given)]
    warnings += _lock_warnings(spec, state, free, locks)
    # EC2 copies the snapshots of a version that is made from an image.
    copies = [item for item in tagged(spec, state, Snapshot) if is_copy(item) and item not in own]
    warnings += _left_alone(spec, state, copies)
    warnings += stranger_warnings(spec, state)
    reason = f"delete the snapshot of {spec.label}, which no other image uses"
    going = (item for item in free if item.snapshot_id not in locks)
    return tuple(delete_snapshot(item, state.region, reason) for item in going), warnings


def _lock_warnings(
    spec: ImageSpec, state: State, free: Sequence[Snapshot], locks: Mapping[str, SnapshotLock]
) -> Iterator[str]:
    """Yield the warnings about locked snapshots of a forced removal.

    Without force, raises UnsafePlan for a locked snapshot, and Unanswered if EC2 does not show the locks.
    """
    for snapshot_id, lock in locks.items():
        text = f"snapshot {snapshot_id} of {spec.label} is locked ({lock.text})"
        if not spec.force:
            raise UnsafePlan(
                f"state: {text}, and EC2 deletes no locked snapshot. Unlock it, wait for the end of the lock, or set "
                "force: true to deregister the image and leave the snapshot."
            )
        yield f"{text}, so the task keeps it"
    denied = state.refusal("DescribeLockedSnapshots")
    if free and denied is not None and not spec.force:
        raise Unanswered(
            f"state: EC2 does not show whether the snapshots of {spec.label} are locked, and a locked one would "
            f"outlive its image. {denied} Or set force: true to skip this check.",
            [denied],
        )


def _kept_used(spec: ImageSpec, own: Iterable[Snapshot], used: Mapping[str, str]) -> Iterator[str]:
    for item in own:
        if item.snapshot_id in used:
            yield f"the task keeps snapshot {item.snapshot_id} of {spec.label}, since {used[item.snapshot_id]} uses it"


def _kept_given(spec: ImageSpec, given: Iterable[Snapshot]) -> Iterator[str]:
    for item in given:
        yield (
            f"the task keeps snapshot {item.snapshot_id}. Only its tags, and the description of the image on it, say "
            f"that it was taken for {spec.label}. Delete it yourself if you do not need it"
        )


def lock_of(state: State, snapshot: Snapshot) -> SnapshotLock | None:
    """Return the lock of a snapshot that is in force, or None."""
    lock = LOCK.of(state, snapshot.snapshot_id)
    return lock if lock is not None and lock.is_in_force else None


def _left_alone(spec: ImageSpec, state: State, snapshots: list[Snapshot]) -> Iterator[str]:
    copies = [*ids(copied_images(spec, state)), *ids(snapshots)]
    if len(copies) == 1:
        yield f"{copies[0]} is a copy with the tags of {spec.label}. Somebody else has made it, so the task keeps it."
    elif copies:
        yield (
            f"{', '.join(copies)} are copies with the tags of {spec.label}. Somebody else has made them, so the task "
            "keeps them."
        )
