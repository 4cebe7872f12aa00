# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The removal of one version of an image: the uses that forbid it, and the snapshots that it deletes.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ..._kernel.errors import Ambiguous, Unanswered, UnsafePlan, listed
from ..._kernel.ids import is_planned
from ..._kernel.plan import Change, Plan, Stage
from ..._kernel.proofs import is_copy
from ..._kernel.resources import Image, Snapshot
from ..._kernel.state import Query, State, Struct, by_id, own_images, tag_filters
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

# DescribeImageReferences looks at ten versions of a launch template unless told, and at 10,000 at most. Instances count
# in all states unless told, also for the hour in which a terminated one is still listed.
_DEEPEST = "10000"
_LIVING = ("pending", "running", "stopping", "stopped")
_LOCKED = ("governance", "compliance", "compliance-cooloff")
# A usage report looks at so many versions of a launch template unless told.
_REPORT_DEPTH = 20
LAUNCH_CONFIGURATIONS = Query("DescribeLaunchConfigurations", service="autoscaling", optional=True)

# --- questions -------------------------------------------------------------------------------------------------------


def _removal_queries(spec: ImageSpec, state: State) -> tuple[Query, ...]:
    """Return the queries for users, locks and other images of the images and snapshots that are known so far."""
    found = [image for image in images(spec, state) if not is_planned(image.image_id)]
    queries: list[Query] = []
    if not spec.force:
        for image in found:
            queries += holder_queries(image, state)
        queries += [LAUNCH_CONFIGURATIONS] if found else []
    own = [item for item in ids(tagged(spec, state, Snapshot)) if not is_planned(item)]
    snapshots = {*own, *(snapshot for image in found for snapshot in image.snapshot_ids)}
    users = by_id(
        "DescribeImages", "block-device-mapping.snapshot-id", snapshots, IncludeDisabled=True, Owners=("self",)
    )
    return (*queries, *origin_queries(found), *users, *lock_queries(own))


def holder_queries(image: Image, state: State) -> Iterator[Query]:
    """Yield the queries for the users of an image: in the account and, for a shared image, in others."""
    yield _references_query(image.image_id)
    permissions = (("Attribute", "launchPermission"), ("ImageId", image.image_id))
    yield Query("DescribeImageAttribute", arguments=permissions, optional=True)
    if state.fact(f"{image.image_id}/shared"):
        yield Query("DescribeImageUsageReportEntries", arguments=(("ImageIds", (image.image_id,)),), optional=True)
    if any(_counts(state, image, entry) for entry in state.fact(f"{image.image_id}/usage") or ()):
        # A report that finds no use has no entries: only the list of reports shows it.
        yield Query("DescribeImageUsageReports", arguments=(("ImageIds", (image.image_id,)),), optional=True)


def _references_query(image_id: str) -> Query:
    def with_option(kind: str, name: str, *values: str) -> Struct:
        option = Struct((("OptionName", name), ("OptionValues", values)))
        return Struct((("ResourceType", kind), ("ResourceTypeOptions", (option,))))

    types = (
        with_option("ec2:Instance", "state-name", *_LIVING),
        with_option("ec2:LaunchTemplate", "version-depth", _DEEPEST),
    )
    arguments = (("ImageIds", (image_id,)), ("IncludeAllResourceTypes", True), ("ResourceTypes", types))
    return Query("DescribeImageReferences", arguments=arguments, optional=True)


def lock_queries(snapshots: list[str]) -> tuple[Query, ...]:
    """Return the query for the locks of snapshots."""
    if not snapshots:
        return ()
    return (Query("DescribeLockedSnapshots", arguments=(("SnapshotIds", tuple(snapshots)),), optional=True),)


# --- the plan --------------------------------------------------------------------------------------------------------


def plan_absent_here(spec: ImageSpec, state: State) -> Plan:
    """Return the plan that deregisters the image, then deletes its own snapshots that no other image uses.

    Raises Ambiguous for several images of one version, and UnsafePlan when something uses the image or a snapshot.
    """
    identity = own_images(*tag_filters(spec.identity))
    state.require(identity, captures_query(spec), *_removal_queries(spec, state))
    found = images(spec, state)
    if len(found) > 1:
        raise Ambiguous(f"several images are {spec.label}. Deregister the wrong ones", ids(found))
    warnings: list[str] = []
    for image in found:
        if not spec.force:
            require_unused(spec, state, image)
            warnings += shared_warnings(spec, state, image)
        require_unprotected(spec, image)
    deletes, kept = _snapshots(spec, state, found)
    stages = [Stage((_deregister(spec, state, image),)) for image in found]
    return Plan(tuple(stages + ([Stage(deletes)] if deletes else [])), (*warnings, *kept))


def _deregister(spec: ImageSpec, state: State, image: Image) -> Change:
    before = {"name": image.name, "state": image.state}
    return Change("DeregisterImage", image.image_id, state.region, {}, f"deregister {spec.label}", before)


def require_unprotected(spec: ImageSpec, image: Image) -> None:
    """Raise UnsafePlan for an image with deregistration protection."""
    if str(image.facts.get("DeregistrationProtection") or "").startswith("enabled"):
        raise UnsafePlan(
            f"image {image.image_id} ({spec.label}) has deregistration protection. First disable it (it may last for "
            "another 24 hours then)"
        )


def require_unused(spec: ImageSpec, state: State, image: Image) -> None:
    """Raise UnsafePlan, which names the uses, when something uses the image. Raises Unanswered when AWS refuses to
    answer.
    """
    subject = f"state: image {image.image_id} ({spec.label})"
    users = sorted({*_references(state, image), *_launch_configurations(state, image), *_accounts(state, image)})
    if users:
        unlisted = state.refusal("DescribeImageUsageReports")
        raise UnsafePlan(
            f"{subject} is in use by {listed(users)}. Remove these uses first, or set force: true to deregister the "
            "image all the same."
            + (f" A newer report may show no use, but AWS does not list the reports: {unlisted}" if unlisted else "")
        )
    asked = ["DescribeImageReferences", "DescribeLaunchConfigurations", "DescribeImageAttribute"]
    asked += ["DescribeImageUsageReportEntries"] if state.fact(f"{image.image_id}/shared") else []
    refused = [error for error in map(state.refusal, asked) if error is not None]
    if refused:
        raise Unanswered(
            f"{subject}: EC2 does not show all of its uses. {' '.join(map(str, refused))} Or set force: true to "
            "deregister it without these checks.",
            refused,
        )


def _references(state: State, image: Image) -> Iterator[str]:
    for user in state.fact(f"{image.image_id}/references") or ():
        yield user["arn"]


def _launch_configurations(state: State, image: Image) -> Iterator[str]:
    for item in state.fact("launchConfigurations") or ():
        if item["image_id"] == image.image_id:
            yield f"launch configuration {item['name']}"


def _accounts(state: State, image: Image) -> Iterator[str]:
    """Yield the other accounts with which the image is shared and whose newest usage report shows that they use it."""
    for entry in state.fact(f"{image.image_id}/usage") or ():
        if _counts(state, image, entry) and not _superseded(state, image, entry):
            yield f"account {entry['account']} ({entry['resource_type']}: {entry['count']}, as of {entry['reported']})"


def _counts(state: State, image: Image, entry: Mapping[str, Any]) -> bool:
    """Return whether an entry of a usage report shows use by another account that has access to the image."""
    shared: list[str] = state.fact(f"{image.image_id}/shared") or []
    widely = any(not name.isdigit() for name in shared)
    return bool(entry["count"]) and entry["account"] != image.owner_id and (widely or entry["account"] in shared)


def _superseded(state: State, image: Image, entry: Mapping[str, Any]) -> bool:
    """Return whether a newer report has looked at the same account and type of resource, at least as deep."""
    reports: list[dict[str, Any]] = state.fact(f"{image.image_id}/usageReports") or []
    kind = entry["resource_type"]
    own = next((report for report in reports if report["report"] == entry["report"]), None)
    if own is None or not entry["reported"]:
        return False
    depth = own["depths"].get(kind) or _REPORT_DEPTH
    return any(
        report["reported"] > entry["reported"]
        and kind in report["depths"]
        and (report["depths"][kind] or _REPORT_DEPTH) >= depth
        and (not report["accounts"] or entry["account"] in report["accounts"])
        for report in reports
    )


def shared_warnings(spec: ImageSpec, state: State, image: Image) -> Iterator[str]:
    """Yield the warning that others have access, where no report shows that they use it."""
    shared = sorted(state.fact(f"{image.image_id}/shared") or ())
    if shared:
        named = listed(shared)
        yield (
            f"image {image.image_id} ({spec.label}) is shared with {named}. No usage report shows its use there "
            "(CreateImageUsageReport makes one). They lose access to it."
        )


def _snapshots(spec: ImageSpec, state: State, found: list[Image]) -> tuple[tuple[Change, ...], list[str]]:
    """Return the deletions, and warnings about the kept snapshots. Raises UnsafePlan for a locked snapshot, unless
    forced.
    """
    used = used_by_others(state, found)
    # Only snapshots that were taken for this version are deleted. The user's source snapshot and copies are kept.
    given = [item for item in taken(spec, state) if may_be_given(spec, state, item)]
    own = [item for item in taken(spec, state) if item not in given]
    copies = [item for item in tagged(spec, state, Snapshot) if is_copy(item) and item not in own]
    free = [item for item in own if item.snapshot_id not in used]
    locked = [item for item in free if lock_of(state, item)]
    warnings = [
        f"snapshot {item.snapshot_id} of {spec.label} is kept: {used[item.snapshot_id]} uses it"
        for item in own
        if item.snapshot_id in used
    ]
    warnings += [
        f"snapshot {item.snapshot_id} is kept. Only its tags, and a description that it shares with the image, say "
        f"that it was taken for {spec.label}. Delete it yourself if you do not need it"
        for item in given
    ]
    for item in locked:
        text = f"snapshot {item.snapshot_id} of {spec.label} is locked ({lock_of(state, item)})"
        if not spec.force:
            raise UnsafePlan(
                f"state: {text}, and EC2 deletes no locked snapshot. Unlock it, wait for the end of the lock, or set "
                "force: true to deregister the image and leave the snapshot."
            )
        warnings.append(f"{text}, so it is kept")
    denied = state.refusal("DescribeLockedSnapshots")
    if free and denied is not None and not spec.force:
        raise Unanswered(
            f"state: EC2 does not show whether the snapshots of {spec.label} are locked, and a locked one would "
            f"outlive its image. {denied} Or set force: true to skip this check.",
            [denied],
        )
    warnings += _left_alone(spec, state, copies)
    warnings += stranger_warnings(spec, state)
    reason = f"delete the snapshot of {spec.label}, which no other image uses"
    return tuple(delete_snapshot(item, state.region, reason) for item in free if item not in locked), warnings


def lock_of(state: State, snapshot: Snapshot) -> str:
    """Return the mode of a lock that is in force, and its end; empty without one."""
    lock: dict[str, Any] = state.fact(f"{snapshot.snapshot_id}/lock") or {}
    if lock.get("state") not in _LOCKED:
        return ""
    return str(lock["state"]) + (f" until {lock['expires_on']}" if lock.get("expires_on") else "")


def _left_alone(spec: ImageSpec, state: State, snapshots: list[Snapshot]) -> Iterator[str]:
    copies = [*ids(copied_images(spec, state)), *ids(snapshots)]
    if len(copies) == 1:
        yield f"{copies[0]} is a copy with the tags of {spec.label}. Somebody else has made it, so it is kept."
    elif copies:
        yield (
            f"{', '.join(copies)} are copies with the tags of {spec.label}. Somebody else has made them, so they are "
            "kept."
        )
