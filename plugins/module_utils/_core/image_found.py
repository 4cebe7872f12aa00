# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images and snapshots of one version: those that carry its identity and that this collection has made.

Tags are copied along by CopyImage and CopySnapshot. What EC2 records of its origin tells a copy from the original.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from . import tags as tag_names
from .change import Query, State, by_id
from .image_spec import ImageSpec, source_hash
from .names import COPIED_VOLUME
from .resources import Image, Snapshot

T = TypeVar("T", Image, Snapshot)

# States in which an image will never be usable (EC2, ImageState); a rerun removes such a one and registers again.
BROKEN = ("failed", "error", "invalid")
GONE = ("deregistered",)


def ids(resources: Iterable[Any]) -> list[str]:
    """The ids of these resources, sorted."""
    return sorted(resource.resource_id for resource in resources)


def tagged(spec: ImageSpec, state: State, cls: type[T]) -> list[T]:
    """The resources of one class that carry this spec's identity, copies too, by id."""
    identity = spec.identity.items()
    found = [resource for resource in state.all(cls) if all(resource.tags.get(key) == value for key, value in identity)]
    return sorted(found, key=lambda resource: resource.resource_id)


def images(spec: ImageSpec, state: State) -> list[Image]:
    """The registered images of this version, broken ones too, by id."""
    return [image for image in tagged(spec, state, Image) if image.state not in GONE and not _is_copy(state, image)]


def copied_images(spec: ImageSpec, state: State) -> list[Image]:
    """The registered images that carry this version's tags because somebody has copied them along, by id."""
    return [image for image in tagged(spec, state, Image) if image.state not in GONE and _is_copy(state, image)]


def _is_copy(state: State, image: Image) -> bool:
    """Whether somebody has copied the image, by EC2's record of its source, else by its snapshots, as far as known.

    An image that was registered from a snapshot which is itself a copy has that snapshot in its fingerprint.
    """
    if image.is_copy or image.facts.get("SourceInstanceId"):
        return image.is_copy
    known = [snapshot for snapshot in map(state.snapshot, image.snapshot_ids) if snapshot is not None]
    if not known or any(snapshot.volume_id != COPIED_VOLUME for snapshot in known):
        return False
    recorded = image.tags.get(tag_names.FINGERPRINT, "")
    return not any(recorded.startswith(source_hash("snapshot", snapshot)) for snapshot in image.snapshot_ids)


def origin_queries(found: Iterable[Image]) -> tuple[Query, ...]:
    """The snapshots of these images, which tell copies where EC2 has not recorded a source image."""
    return by_id(
        "DescribeSnapshots", "snapshot-id", (item for image in found for item in image.snapshot_ids), OwnerIds=("self",)
    )


def taken(spec: ImageSpec, state: State) -> list[Snapshot]:
    """The snapshots that were taken for this version, whatever became of them, by id."""
    return [snapshot for snapshot in tagged(spec, state, Snapshot) if snapshot.volume_id != COPIED_VOLUME]


def captures(spec: ImageSpec, state: State) -> list[Snapshot]:
    """The snapshots of an earlier capture of this version, the ones that ended in an error left out."""
    return [snapshot for snapshot in taken(spec, state) if snapshot.state != "error"]
