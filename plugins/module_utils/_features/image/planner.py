# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One version of one image: found, captured from a source, registered, and removed.

Identity is (name, version), kept in tags on the image and on the snapshots of its capture. The fingerprint beside it
names the source. A rerun needs no other record.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from ..._domain.replacement import predecessor
from ..._domain.succession import launch_queries, lineage_queries, living
from ..._domain.succession_doubts import (
    claim_warnings,
    dispute_warnings,
    doubt_warnings,
    older_id_warnings,
    undecided_warnings,
)
from ..._domain.succession_guards import require_no_rollback, require_settled, require_unclaimed, settling_queries
from ..._kernel import tags as tag_names
from ..._kernel.errors import Ambiguous, SpecError, UnsafePlan, bounded
from ..._kernel.plan import Change, Feature, Plan, Stage, Wait
from ..._kernel.resources import Image, Instance, Snapshot
from ..._kernel.state import Query, State, by_id, images_by_id, own_images, tag_filters, together
from .chosen import choose_captures, require_complete, require_devices
from .distribution import distribute, distribution_queries
from .existing import image_tag_changes, not_applied, tag_changes
from .found import (
    BROKEN,
    account_of,
    captures,
    family_queries,
    ids,
    images,
    may_be_given,
    origin_queries,
    stranger_warnings,
    taken,
    unnamed_images,
    used_by_others,
)
from .given_image import plan_from_image
from .given_snapshot import plan_from_snapshot
from .given_volume import plan_from_volume, volume_queries
from .lineage import lost_successors, recognized, versions
from .machine import required_imds
from .orphan import plan_orphan
from .outcome import headline, result
from .removal_everywhere import plan_absent
from .requests import (
    Target,
    billing,
    capture_changes,
    create_image,
    delete_snapshot,
    hardware_queries,
    register_from_instance,
    register_stage,
    require_create_image_devices,
)
from .same_source import (
    has_fingerprint,
    is_same_source,
    living_or_none,
    require_captured_from_source,
    require_same_source,
)
from .spec import WITHOUT, ImageSpec, captures_query, name_query, parse, require_create_image

# PlatformDetails of images that RegisterImage can make from a snapshot without a change of the bill.
_PLAIN_PLATFORM = "Linux/UNIX"


def _usable_image(spec: ImageSpec, state: State) -> Image | None:
    """Return the image of this version in any state except a broken one, or None."""
    found = [image for image in images(spec, state) if image.state not in BROKEN]
    if len(found) > 1:
        raise Ambiguous(
            f"several images are {spec.label} (tags {tag_names.IMAGE} and {tag_names.VERSION})",
            ids(found),
            "Deregister the wrong ones",
        )
    return found[0] if found else None


def _method(spec: ImageSpec, instance: Instance | None) -> str:
    """Return ``snapshot`` or ``image``. Only CreateImage keeps the billing of any other platform than plain Linux.

    Source: EC2 API reference, RegisterImage.
    """
    if spec.method != "auto":
        return spec.method
    if instance is not None and (instance.product_codes or instance.platform_details != _PLAIN_PLATFORM):
        return "image"
    return "snapshot"


# --- the plan --------------------------------------------------------------------------------------------------------


def plan(spec: ImageSpec, state: State, now: datetime) -> Plan:
    """Return the plan that makes this version captured, available or absent, in all places.

    Raises SpecError, Ambiguous, UnsafePlan.
    """
    if spec.state == "absent":
        return plan_absent(spec, state)
    made = together(lambda: _plan_here(spec, state.here()), lambda: state.require(*distribution_queries(spec, state)))[
        0
    ]
    return distribute(spec, state, made, now) if made is not None else Plan()


def _plan_here(spec: ImageSpec, state: State) -> Plan:
    """Return the plan for the original, in the task's own region."""
    lost = lost_successors(spec, state)
    state = recognized(spec, state)
    state.require(*_identity_queries(spec, state))
    state.require(*family_queries(spec, state))
    state.require(*_origins(spec, state, [image for image in images(spec, state) if image.state not in BROKEN]))
    made = _plan(spec, state)
    doubts = [*stranger_warnings(spec, state), *_used_warnings(spec, state)]
    doubts += [
        f"{item.instance_id} has lost its tag {tag_names.REPLACES}. Its ClientToken shows that it was launched to "
        f"replace {predecessor(item)}, so {item.instance_id} is the source. To restore the tag of "
        f"{item.instance_id}, run the relaunch of {predecessor(item)} from {item.image_id} again"
        for item in lost
    ]
    if spec.source_instance_id and spec.follow_successor:
        doubts += claim_warnings(state, [spec.source_instance_id])
        doubts += doubt_warnings(state, [spec.source_instance_id])
        doubts += dispute_warnings(state, [spec.source_instance_id])
        doubts += older_id_warnings(state, [spec.source_instance_id])
        doubts += undecided_warnings(state, [spec.source_instance_id])
    return dataclasses.replace(made, warnings=(*made.warnings, *doubts))


def _identity_queries(spec: ImageSpec, state: State) -> tuple[Query, ...]:
    """Return the queries for the image of this version and for its source."""
    first = own_images(*tag_filters(spec.identity))
    source: tuple[Query, ...]
    if spec.source_instance_id and spec.follow_successor:
        source = lineage_queries([spec.source_instance_id], state)
    elif spec.source_instance_id:
        source = by_id("DescribeInstances", "instance-id", [spec.source_instance_id])
    elif spec.source_image_id:
        source = images_by_id([spec.source_image_id])
    elif spec.source_volume_id:
        source = volume_queries(spec)
    else:
        source = by_id("DescribeSnapshots", "snapshot-id", [spec.source], OwnerIds=("self",))
    # The snapshots of an existing image show the volumes that it was made from.
    reads = spec.tags or not spec.source_snapshot_id
    return (first, *source, *((captures_query(spec),) if reads else ()))


def _origins(spec: ImageSpec, state: State, usable: list[Image]) -> tuple[Query, ...]:
    """Return the queries for the snapshots of the *usable* images.

    A single image needs no query if *state* has one of its snapshots, or if the task names a source snapshot.
    """
    if len(usable) > 1:
        return origin_queries(usable)
    if spec.source_snapshot_id:
        return ()
    return origin_queries(image for image in usable if not any(map(state.snapshot, image.snapshot_ids)))


def _used_warnings(spec: ImageSpec, state: State) -> Iterator[str]:
    """Yield a warning for each snapshot of this version that is kept for another version's image."""
    used = used_by_others(state, images(spec, state))
    for name in ids(taken(spec, state)):
        if name in used:
            yield f"the task keeps snapshot {name} of {spec.label}, since {used[name]} uses it"


def _plan(spec: ImageSpec, state: State) -> Plan:
    image = _usable_image(spec, state)
    if image is not None:
        return _plan_existing(spec, state, image)
    state.require(captures_query(spec))
    state.require(*_line_queries(spec, state))
    state.require(*_making_queries(spec, state))
    broken = [image for image in images(spec, state) if image.state in BROKEN]
    cleanup = tuple(_removal_of_broken(image, state.region) for image in broken)
    _require_free_name(spec, state, broken)
    if spec.source_snapshot_id:
        return plan_from_snapshot(spec, state, cleanup)
    if spec.source_image_id:
        return plan_from_image(spec, state, cleanup)
    if spec.source_volume_id:
        return _plan_captured(spec, state, cleanup, plan_from_volume)
    known = living_or_none(spec, state)
    if known is None or not known.alive:
        if choose_captures(spec, state)[0]:
            return _plan_captured(spec, state, cleanup, plan_orphan)
        _require_nothing_failed(spec, state, broken)
    instance = living(state, spec.source, "source_instance_id", follow=spec.follow_successor)
    if spec.follow_successor:
        require_unclaimed(state, instance, "source_instance_id")
        require_settled(state, instance, "source_instance_id")
    require_no_rollback(state, instance, spec.source, "source_instance_id")
    if spec.platform_details not in (None, instance.platform_details):
        raise SpecError(
            f"platform_details: {instance.instance_id} is billed as {instance.platform_details}, and so is its "
            "image. Use that value, or remove the option."
        )
    method = _method(spec, instance)
    if method == "image":
        require_create_image(spec)
        return _plan_create_image(spec, state, instance, cleanup)
    return _plan_capture(spec, state, instance, cleanup)


def _removal_of_broken(image: Image, region: str) -> Change:
    reason = f"deregister the {image.state} image, and make another"
    return Change("DeregisterImage", image.image_id, region, {}, reason, {"state": image.state})


def _making_queries(spec: ImageSpec, state: State) -> tuple[Query, ...]:
    """Return the queries for a new image: its name, its source, and the facts for its registration."""
    queries: list[Query] = []
    instance = living_or_none(spec, state)
    method = _method(spec, instance)
    known = captures(spec, state)
    # The name matters when the image is made. It may be that of this version's image, which has lost its tags. The
    # task that planned the registration has looked. Before a capture, this one looks again.
    if (spec.state == "available" and not (spec.registration and known)) or (method == "image" and not known):
        queries.append(name_query(spec))
        queries += origin_queries(unnamed_images(spec, state))
    if spec.state == "available":
        queries += images_by_id([spec.base_image_id or ""])
    queries += _users_queries(spec, state, method)
    if instance is None:
        return tuple(queries)
    if spec.follow_successor:
        queries += settling_queries(state, spec.source)
    if spec.state == "available" or method == "image":
        queries += by_id("DescribeVolumes", "attachment.instance-id", [instance.instance_id])
    if spec.state == "available" and method == "snapshot":
        queries += hardware_queries(spec, instance)
    return tuple(queries)


def _users_queries(spec: ImageSpec, state: State, method: str) -> tuple[Query, ...]:
    """Return the queries for the images that use the snapshots that the plan would delete."""
    if not (spec.source_instance_id or spec.source_volume_id):
        return ()
    going = taken(spec, state) if method == "image" else [item for item, _reason in choose_captures(spec, state)[1]]
    name = "block-device-mapping.snapshot-id"
    return by_id("DescribeImages", name, ids(going), IncludeDisabled=True, Owners=("self",))


def _line_queries(spec: ImageSpec, state: State) -> tuple[Query, ...]:
    """Return the queries for a retired source's successor that no tag names. It runs from a version of the image."""
    instance = living_or_none(spec, state)
    if instance is None or not spec.follow_successor or not launch_queries(instance, [instance.image_id]):
        return ()
    line = own_images(*tag_filters({tag_names.IMAGE: spec.name}))
    return (line, *launch_queries(instance, versions(spec, state))) if line in state.answered else (line,)


def _plan_existing(spec: ImageSpec, state: State, image: Image) -> Plan:
    if not is_same_source(spec, state, image):
        state.require(*_line_queries(spec, state))
    doubts = require_same_source(spec, state, "image", image)
    if image.state == "disabled":
        raise SpecError(
            f"image {image.image_id} is {spec.label} already, but it is disabled. Enable it, or use another version"
        )
    changes, warnings = image_tag_changes(spec, state, image)
    stages = (Stage(changes),) if changes else ()
    warnings = (*not_applied(spec, image), *warnings, *doubts)
    if image.state != "pending":
        return Plan(stages, warnings)
    if spec.state == "captured":
        return Plan((*stages, Stage(waits=(Wait((image.image_id,), "captured"),))), warnings)
    # An earlier run registered the image, and was interrupted before EC2 showed its billing.
    instance = living_or_none(spec, state)
    same = instance is not None and instance.image_id != image.image_id
    expect = tuple(billing(instance).items()) if instance is not None and same else ()
    wait = Wait((image.image_id,), "available", final=True, expect=expect)
    return Plan((*stages, Stage(waits=(wait,))), warnings)


def _require_free_name(spec: ImageSpec, state: State, replaced: Iterable[Image]) -> None:
    # Where the account is unknown, only the source may be another account's.
    account, passed_over = account_of(spec, state), {*ids(replaced), spec.source_image_id}
    is_unknown = account is None and bool(spec.source_image_id or spec.source_volume_id)
    for image in state.all(Image):
        is_own = image.owner_id in (None, account) or is_unknown
        if image.name == spec.image_name and image.image_id not in passed_over and is_own:
            raise SpecError(
                f"image_name: {spec.image_name!r} is the name of {image.image_id}, which this collection did not make "
                f"as {spec.label}. Use another image_name or version, or deregister that image"
            )


def _targets(spec: ImageSpec, instance: Instance) -> list[Target]:
    if instance.root_device_type != "ebs":
        raise SpecError(
            f"source_instance_id: the root of {instance.instance_id} is on instance store, and EC2 captures only EBS "
            "volumes. Name an instance with an EBS root"
        )
    if instance.root_volume_id is None:
        raise SpecError(
            f"source_instance_id: {instance.instance_id} has no volume at its root device {instance.root_device_name}. "
            "Attach it first"
        )
    targets = [Target(item.device_name, item.volume_id, item.delete_on_termination) for item in instance.block_devices]
    root = instance.root_device_name
    if spec.devices == "root":
        targets = [target for target in targets if target.device_name == root]
    elif not isinstance(spec.devices, str):
        require_devices(spec.devices, root, [target.device_name for target in targets])
        targets = [target for target in targets if target.device_name in spec.devices]
    known = {target.device_name for target in targets}
    for override in spec.overrides:
        if override.device_name not in known:
            raise SpecError(
                f"block_devices: the image has no device {override.device_name} (devices: {spec.devices}). Use "
                f"{', '.join(sorted(known))}"
            )
    without = {override.device_name for override in spec.overrides if override.omitted}
    if root in without:
        raise SpecError(f"block_devices: an image needs its root device {root}. Remove omitted.")
    targets = [target for target in targets if target.device_name not in without]
    return sorted(targets, key=lambda target: (target.device_name != root, target.device_name))


def _require_quiet(spec: ImageSpec, instance: Instance, failed: Iterable[Snapshot] = ()) -> tuple[Stage, ...]:
    """Return the stages before a capture: the wait for a stop in progress, or no stage.

    Raises UnsafePlan for a source that still writes. *failed*: snapshots of an earlier capture. The message begins with
    the reason of their failure.
    """
    if instance.state == "stopping":
        return (Stage(waits=(Wait((instance.instance_id,), "stopped"),)),)
    if instance.state != "stopped" and spec.require_stopped:
        earlier = "".join(
            f"The capture {snapshot.snapshot_id} failed: {snapshot.state_reason or 'no reason given'}. "
            for snapshot in failed
        )
        raise UnsafePlan(
            f"{earlier}{instance.instance_id} is {instance.state}, so the image may miss part of its writes. "
            "Stop the instance with the role golden_image or with instance_power, or set require_stopped: false."
        )
    return ()


def _plan_capture(spec: ImageSpec, state: State, instance: Instance, cleanup: tuple[Change, ...]) -> Plan:
    """Return the plan that captures the instance with CreateSnapshot or CreateSnapshots, then registers the image."""
    targets = _targets(spec, instance)
    doubts = require_captured_from_source(spec, state)
    kept, spare = choose_captures(spec, state)
    if kept:
        require_complete(spec, kept, targets)
    stages = _clearing(spec, state, cleanup, spare)
    captured: dict[str, str]
    warnings = (*doubts, *_imds_note(spec, state, instance))
    if kept:
        captured = {snapshot.volume_id: snapshot.snapshot_id for snapshot in kept}
        created: tuple[Change, ...] = ()
        tags, left_out = tag_changes(spec, state, kept)
        stages += [Stage(tags)] if tags else []
        warnings += left_out
    else:
        failed = (snapshot for snapshot, _reason in spare if snapshot.state == "error")
        stages.extend(_require_quiet(spec, instance, failed))
        created = capture_changes(spec, state, instance, targets)
        captured = {change.source: change.resource for change in created}
    if spec.state == "captured":
        return Plan((*stages, Stage(created)) if created else tuple(stages), tuple(doubts))
    # Checked before the first effect, so also before the capture.
    register = register_from_instance(spec, state, instance, targets, captured)
    pending = (
        tuple(captured.values()) if created else tuple(item.snapshot_id for item in kept if item.state != "completed")
    )
    if created or pending:
        stages.append(Stage(created, waits=(Wait(pending, "completed"),)))
    stages.append(register_stage(register, billing(instance)))
    return Plan(tuple(stages), warnings)


def _require_nothing_failed(spec: ImageSpec, state: State, broken: Iterable[Image]) -> None:
    """Raise SpecError, with the reasons, if a source that is gone has left only a failed image or capture."""
    reasons = [
        f"image {image.image_id} ended as {image.state}: {image.state_reason or 'no reason given'}" for image in broken
    ]
    require_captured_from_source(spec, state)
    reasons += [
        f"snapshot {snapshot.snapshot_id} failed: {snapshot.state_reason or 'no reason given'}"
        for snapshot in taken(spec, state)
        if snapshot.state == "error"
    ]
    if reasons:
        raise SpecError(
            f"source_instance_id: {spec.source} is gone, and {spec.label} was not captured before: "
            f"{'; '.join(bounded(reasons))}. Remove this version with state: absent, then bake it from another source."
        )


def _plan_captured(
    spec: ImageSpec,
    state: State,
    cleanup: tuple[Change, ...],
    rest: Callable[[ImageSpec, State, list[Snapshot], list[Stage]], Plan],
) -> Plan:
    """Return the plan of a version whose capture needs no instance, with the stages of *rest* at its end."""
    doubts = require_captured_from_source(spec, state)
    kept, spare = choose_captures(spec, state)
    stages = _clearing(spec, state, cleanup, spare)
    tags, left_out = tag_changes(spec, state, kept)
    stages += [Stage(tags)] if tags else []
    planned = rest(spec, state, kept, stages)
    return dataclasses.replace(planned, warnings=(*planned.warnings, *left_out, *doubts))


def _clearing(
    spec: ImageSpec, state: State, cleanup: tuple[Change, ...], spare: Iterable[tuple[Snapshot, str]]
) -> list[Stage]:
    """Return the stages that remove broken images and then snapshots. EC2 keeps the snapshots of every registered
    image. A snapshot without a fingerprint is kept, since it may be of other devices.
    """
    removed = {change.resource for change in cleanup}
    used = used_by_others(state, (image for image in state.all(Image) if image.image_id in removed))
    free = (
        (snapshot, reason)
        for snapshot, reason in spare
        if snapshot.snapshot_id not in used
        and not may_be_given(spec, state, snapshot)
        and has_fingerprint(snapshot)
        and is_same_source(spec, state, snapshot)
    )
    deletes = tuple(delete_snapshot(snapshot, state.region, reason) for snapshot, reason in free)
    return [Stage(changes) for changes in (cleanup, deletes) if changes]


def _imds_note(spec: ImageSpec, state: State, instance: Instance) -> tuple[str, ...]:
    """Return a note if the instance's image is gone, so that its own metadata options decide about IMDSv2."""
    if state.image(instance.image_id) is not None or "imds_support" in spec.hardware or spec.registration is not None:
        return ()
    note = (
        f"imds_support: the image {instance.image_id} of {instance.instance_id} is gone. The metadata options of the "
        f"instance give imds_support: {required_imds(instance) or WITHOUT}."
    )
    return (note,)


def _plan_create_image(spec: ImageSpec, state: State, instance: Instance, cleanup: tuple[Change, ...]) -> Plan:
    """Return the plan for CreateImage with NoReboot. EC2 takes the snapshots and keeps product codes and platform."""
    targets = _targets(spec, instance)
    require_create_image_devices(spec, state, instance, targets)
    create = create_image(spec, state, instance, targets)
    captured = Wait((create.resource,), "captured")
    doubts = tuple(require_captured_from_source(spec, state))
    leftovers = taken(spec, state)
    reason = "delete the leftover of a failed capture"
    stages = _clearing(spec, state, cleanup, ((snapshot, reason) for snapshot in leftovers))
    stages.extend(_require_quiet(spec, instance))
    if spec.state == "captured":
        return Plan((*stages, Stage((create,), (captured,))), doubts)
    return Plan((*stages, register_stage(create, billing(instance), captured)), doubts)


FEATURE = Feature(parse=parse, plan=plan, result=result, headline=headline, estimates=True)
