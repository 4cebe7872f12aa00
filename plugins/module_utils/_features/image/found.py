# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images and snapshots of one version, which carry its identity and which this collection has made.

CopyImage and CopySnapshot copy tags along, and anybody who may write tags can forge them. So the identity in the tags
only shows where to look. Facts that EC2 recorded at the creation, and that no tag changes, must agree: the image's
name, the description, and the volume ids of the snapshots (`proofs`).

Private to this collection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, TypeVar

from ..._domain.image_versions import root_snapshot_id, source_hash
from ..._domain.instance_facts import read_fact
from ..._domain.replacement import born
from ..._domain.succession import ancestor_queries, ancestors, descendants
from ..._kernel import tags as tag_names
from ..._kernel.display import visible
from ..._kernel.errors import listed
from ..._kernel.ids import is_planned
from ..._kernel.proofs import copied_from, created_for, is_copy, is_image_of, is_taken_of
from ..._kernel.resources import Image, Instance, Snapshot
from ..._kernel.state import Query, State, by_id
from .spec import ImageSpec, names_another_version, names_source, names_version

T = TypeVar("T", Image, Snapshot)

_SOURCE_SNAPSHOT = re.compile(r" from (snap-[0-9a-f]{8,17})(?= \[[0-9a-f]{32}\]$|$)")

# States in which an image will never be usable (EC2, ImageState). A rerun removes such an image and registers again.
BROKEN = ("failed", "error", "invalid")
GONE = ("deregistered",)


def ids(resources: Iterable[Any]) -> list[str]:
    """Return the ids of these resources, sorted."""
    return sorted(resource.resource_id for resource in resources)


def tagged(spec: ImageSpec, state: State, cls: type[T]) -> list[T]:
    """Return the account's resources of one class that carry this spec's identity, copies too, by id."""
    identity, account = spec.identity.items(), account_of(spec, state)
    found = [
        resource
        for resource in state.all(cls)
        if all(resource.tags.get(key) == value for key, value in identity)
        and (account is None or resource.owner_id in (None, account))
    ]
    return sorted(found, key=lambda resource: resource.resource_id)


def account_of(spec: ImageSpec, state: State) -> str | None:
    """Return the account of this run, which owns the source, or None while EC2 shows no source."""
    known = (*map(state.instance, family(spec, state)), state.snapshot(spec.source_snapshot_id))
    return next((item.owner_id for item in known if item is not None and item.owner_id), None)


def images(spec: ImageSpec, state: State) -> list[Image]:
    """Return the registered images of this version, including broken ones, by id. If one of them has the version's
    name, return only that one.

    An image keeps the name and the description from its creation. An image without the name and the description of this
    version, or with the description of another version, never counts, with any tags. Two versions may have one name.
    """
    found = [image for image in _originals(spec, state) if is_made_for(spec, state, image)]
    named = [image for image in found if image.name == spec.image_name]
    return named or _stripped(spec, state) or found


def _originals(spec: ImageSpec, state: State) -> list[Image]:
    return [
        image for image in tagged(spec, state, Image) if image.state not in GONE and not _is_copy(spec, state, image)
    ]


def _stripped(spec: ImageSpec, state: State) -> list[Image]:
    """Return the image with the version's name and a description that is unique to this version, but without its tags.
    The description may be that of a snapshot. Return none for a removal, since somebody may have removed the tags to
    keep the image.
    """
    account = account_of(spec, state)
    return [
        image
        for image in unnamed_images(spec, state)
        if image.state not in GONE
        and spec.state != "absent"
        and (account is None or image.owner_id in (None, account))
        and not _is_copy(spec, state, image)
        and any(names_version(spec, text) for text in _descriptions(state, image))
        and not _is_of_another_version(spec, state, image)
    ]


def unnamed_images(spec: ImageSpec, state: State) -> list[Image]:
    """Return the images that have the version's name, but not its tags."""
    identity = spec.identity.items()
    return [image for image in state.all(Image) if image.name == spec.image_name and not identity <= image.tags.items()]


def _descriptions(state: State, image: Image) -> list[str]:
    return [description_of(image), *_texts_of_parts(state, image)]


def _texts_of_parts(state: State, image: Image) -> list[str]:
    parts = (state.snapshot(snapshot_id) for snapshot_id in image.snapshot_ids)
    return [part.description for part in parts if part is not None and not is_copy(part)]


def description_of(image: Image) -> str:
    """Return the Description, or an empty text.

    A caller sets it only at the creation of the image, and tags cannot change it.
    """
    return str(image.facts.get("Description") or "")


def is_made_for(spec: ImageSpec, state: State, image: Image) -> bool:
    """Return whether EC2 shows the version's description on the image, or its name and no description of another
    version.

    Return True for a planned image, since this plan makes it.
    """
    if is_planned(image.image_id) or names_version(spec, description_of(image)):
        return True
    return image.name == spec.image_name and not _is_of_another_version(spec, state, image)


def _is_of_another_version(spec: ImageSpec, state: State, image: Image) -> bool:
    """Return whether the image's description names another version, so that the image does not count for this one.

    The task's own description may have that form. Then the snapshots decide, since they were taken for this version,
    unless the description names one of them as the source. Such a snapshot was there before.
    """
    text = description_of(image)
    if not names_another_version(spec, text):
        return False
    of_version = any(names_version(spec, part) for part in _texts_of_parts(state, image))
    return _names_its_snapshot(image) or not of_version


def _names_its_snapshot(image: Image) -> bool:
    """Return whether the image's description says that it was made from the snapshot of one of its devices.

    When somebody copies an image, the ids of the copy's snapshots are unknown.
    """
    named = _SOURCE_SNAPSHOT.search(description_of(image))
    return named is not None and named[1] in image.snapshot_ids


def stranger_warnings(spec: ImageSpec, state: State) -> Iterator[str]:
    """Yield the warning about resources that have the identity of the version but were not made for it."""
    own = {*ids(images(spec, state)), *ids(taken(spec, state))}
    originals = [*_originals(spec, state), *_untouched(spec, state)]
    others = [
        item
        for item in _originals(spec, state)
        if item.image_id not in own and item.name == spec.image_name and _is_of_another_version(spec, state, item)
    ]
    strangers = [name for name in ids(originals) if name not in own and name not in ids(others)]
    for image in others:
        yield (
            f"{image.image_id} has the tags and the name of {spec.label}, but its description names another "
            f"version: {visible(description_of(image))}. The task does not use or change it. Correct its tags "
            f"{tag_names.IMAGE} and {tag_names.VERSION}"
        )
    if strangers:
        yield (
            f"these resources have the tags of {spec.label}: {listed(strangers)}. EC2 shows neither the name "
            f"{spec.image_name!r} nor the description of {spec.label} on them. The task does not use or change them. "
            f"Remove their tags {tag_names.IMAGE} and {tag_names.VERSION}"
        )


def _untouched(spec: ImageSpec, state: State) -> list[Snapshot]:
    """Return the tagged snapshots that are no copies and that no image of the version uses."""
    used = {snapshot for image in images(spec, state) for snapshot in image.snapshot_ids}
    return [item for item in tagged(spec, state, Snapshot) if not is_copy(item) and item.snapshot_id not in used]


def copied_images(spec: ImageSpec, state: State) -> list[Image]:
    """Return, by id, the registered images that have this version's tags from a copy."""
    return [image for image in tagged(spec, state, Image) if image.state not in GONE and _is_copy(spec, state, image)]


def _is_copy(spec: ImageSpec, state: State, image: Image) -> bool:
    """Return whether somebody has copied the image, as EC2's record of its source or else its known snapshots show.

    The snapshot of an image that was not copied may itself be a copy, if the task or the description names it.
    """
    if image.is_copy or image.facts.get("SourceInstanceId"):
        return image.is_copy and not _is_made_of(spec, image.facts.get("SourceImageId"), image)
    if is_planned(image.image_id):
        return False
    known = [snapshot for snapshot in map(state.snapshot, image.snapshot_ids) if snapshot is not None]
    if not known or not all(map(is_copy, known)) or spec.source_snapshot_id in image.snapshot_ids:
        return False
    return not _names_its_snapshot(image)


def _is_made_of(spec: ImageSpec, source: str | None, resource: Image | Snapshot) -> bool:
    """Return whether a copy of the image *source*, as EC2 shows it, belongs to the version that is made from that
    image.

    The task names this source, or the fingerprint does.
    """
    if not source:
        return False
    recorded = resource.tags.get(tag_names.FINGERPRINT, "")
    return source == spec.source_image_id or recorded.startswith(source_hash("image", source))


def origin_queries(found: Iterable[Image]) -> tuple[Query, ...]:
    """Return the queries for the snapshots of these images, which identify copies if EC2 has recorded no
    source image.
    """
    return by_id(
        "DescribeSnapshots", "snapshot-id", (item for image in found for item in image.snapshot_ids), OwnerIds=("self",)
    )


def taken(spec: ImageSpec, state: State) -> list[Snapshot]:
    """Return, by id, the snapshots that were taken for this version, in any state.

    A snapshot keeps the description from its creation, which names the version. For the snapshots of a CreateImage, EC2
    writes a description with the image, which must exist and belong to this version. Earlier versions of the collection
    gave the description of the task to the snapshots. Several versions can share it, so such a snapshot counts only
    while an image of this version with the same description uses it. A snapshot of the user may have that text too: see
    `may_be_given`.
    """
    found = images(spec, state)
    shared = {(snapshot_id, description_of(image)) for image in found for snapshot_id in image.snapshot_ids}
    return [
        item
        for item in tagged(spec, state, Snapshot)
        if _is_taken_for(spec, found, item)
        or (not is_copy(item) and bool(item.description) and (item.snapshot_id, item.description) in shared)
    ]


def _is_taken_for(spec: ImageSpec, found: Iterable[Image], snapshot: Snapshot) -> bool:
    """Return whether the snapshot's description names the version, one of its images *found*, or the image that the
    version was copied from.
    """
    if is_copy(snapshot) and not is_planned(snapshot.snapshot_id):
        return _is_made_of(spec, copied_from(snapshot), snapshot)
    return (
        is_planned(snapshot.snapshot_id)
        or names_version(spec, snapshot.description)
        or created_for(snapshot) in ids(found)
    )


def may_be_given(spec: ImageSpec, state: State, snapshot: Snapshot) -> bool:
    """Return whether *snapshot* may belong to the user, since no fact shows that this module took it.

    Such a snapshot only shares its description with the image. No run deletes it.
    """
    return not _is_taken_for(spec, images(spec, state), snapshot)


def used_by_others(state: State, removed: Iterable[Image]) -> dict[str, str]:
    """Return, by snapshot, a registered image that uses it. Images in *removed* do not count."""
    gone = set(ids(removed))
    return {
        snapshot_id: image.image_id
        for image in state.all(Image)
        if image.image_id not in gone and image.state not in GONE
        for snapshot_id in image.snapshot_ids
    }


def family(spec: ImageSpec, state: State) -> tuple[str, ...]:
    """Return the ids of the source and of its proven predecessors and successors."""
    if not spec.source_instance_id:
        return ()
    successors = descendants(state, spec.source_instance_id) if spec.follow_successor else []
    shown = [item for item in (state.instance(spec.source_instance_id), *successors) if item is not None]
    older = [name for item in shown for name in ancestors(state, item)]
    return tuple(dict.fromkeys((spec.source_instance_id, *(item.instance_id for item in shown), *older)))


def family_queries(spec: ImageSpec, state: State) -> tuple[Query, ...]:
    """Return the query for older ids that `family` needs, beside those for the source and its successors."""
    if not spec.source_instance_id:
        return ()
    successors = descendants(state, spec.source_instance_id) if spec.follow_successor else []
    return ancestor_queries(state, (spec.source_instance_id, *(item.instance_id for item in successors)))


def stranger_of(spec: ImageSpec, state: State, image: Image) -> Snapshot | None:
    """Return a snapshot of the image whose volume did not belong to the source at that time, or None.

    Also return None if EC2 no longer shows the old volumes of the source, since it is gone or has another root volume.
    """
    if spec.is_given:
        return None
    parts = [part for part in map(state.snapshot, image.snapshot_ids) if part is not None]
    members = [state.instance(name) for name in family(spec, state)]
    volumes = [device.volume_id for member in members if member is not None for device in member.block_devices]
    if not parts or any(is_taken_of(part, volume_id) for part in parts for volume_id in volumes):
        return None
    decided = [_had_its_root(member, parts[0].start_time) for member in members]
    return parts[0] if None not in decided and True in decided else None


def _had_its_root(member: Instance | None, moment: datetime | None) -> bool | None:
    """Return whether the instance existed at that time with its present root volume. None if EC2 does not show it."""
    if member is None or moment is None:
        return None
    roots = [
        device
        for device in member.facts.get("BlockDeviceMappings") or ()
        if device.get("DeviceName") == member.root_device_name
    ]
    attached = read_fact(roots[0], "Ebs.AttachTime") if roots else None
    if not isinstance(attached, datetime):
        return None
    if attached <= moment:
        return True
    # The first network interface came with the launch: a root volume that is younger has replaced another one.
    begun = [born(member), read_fact(member.facts, "NetworkInterfaces.Attachment.AttachTime")]
    return None if any(isinstance(item, datetime) and item <= moment for item in begun) else False


def is_shown_of_source(spec: ImageSpec, state: State, resource: Image | Snapshot) -> bool:
    """Return whether EC2 shows that the resource was made from the source, a predecessor or a successor of it.

    The snapshots of the resource were taken of their volumes, or its description names one of these instances.
    """
    if spec.source_snapshot_id:
        return isinstance(resource, Image) and spec.source_snapshot_id in resource.snapshot_ids
    if spec.source_image_id:
        return isinstance(resource, Image) and resource.facts.get("SourceImageId") == spec.source_image_id
    if spec.source_volume_id:
        captured = root_snapshot(state, resource) if isinstance(resource, Image) else resource
        return captured is not None and is_taken_of(captured, spec.source_volume_id)
    members = family(spec, state)
    shown = [instance for instance in map(state.instance, members) if instance is not None]
    volumes = [device.volume_id for instance in shown for device in instance.block_devices]
    if isinstance(resource, Image):
        parts = [part for part in map(state.snapshot, resource.snapshot_ids) if part is not None]
        text = str(resource.facts.get("Description") or "")
        proven = is_image_of(resource, parts, volumes)
    else:
        text, proven = resource.description, any(is_taken_of(resource, volume_id) for volume_id in volumes)
    return proven or any(names_source(spec, text, member) for member in members)


def root_snapshot(state: State, image: Image) -> Snapshot | None:
    """Return the snapshot of the image's root device. Return None if EC2 does not show it."""
    return state.snapshot(root_snapshot_id(image))


def captures(spec: ImageSpec, state: State) -> list[Snapshot]:
    """Return the snapshots of an earlier capture of this version, without those that ended in an error."""
    return [snapshot for snapshot in taken(spec, state) if snapshot.state != "error"]
