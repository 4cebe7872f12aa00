# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The repair of an existing version: set its tags, and name the options that only apply to a new image.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from ..._kernel.errors import listed
from ..._kernel.plan import Change, tagging
from ..._kernel.resources import Image, Snapshot
from ..._kernel.state import State
from .found import captures
from .spec import HARDWARE, WITHOUT, ImageSpec


def tag_changes(
    spec: ImageSpec, state: State, resources: Iterable[Image | Snapshot]
) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """Return the CreateTags that give these resources the tags of the task, and warnings about tags without room.

    The task keeps tags that it does not name, since they may be the user's.
    """
    changes: list[Change] = []
    warnings: list[str] = []
    for item in resources:
        change, left_out = tagging(
            item.resource_id, state.region, item.tags, spec.tags, f"tag {spec.label} as declared"
        )
        changes += [change] if change is not None else []
        if left_out:
            warnings.append(f"tags: {item.resource_id} has no room for {', '.join(left_out)}. Remove other tags first.")
    return tuple(changes), tuple(warnings)


def image_tag_changes(spec: ImageSpec, state: State, image: Image) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    """Return `tag_changes` for an image and for the snapshots that were taken for it. A source snapshot keeps its own
    tags.

    If an image lacks the tags of its version, it gets them back, with a warning.
    """
    changes, warnings = _identity_changes(spec, state, image)
    if not spec.tags:
        return changes, warnings
    named = set(image.snapshot_ids)
    snapshots = [item for item in captures(spec, state) if not named or item.snapshot_id in named]
    more, left_out = tag_changes(spec, state, (image, *snapshots))
    return (*changes, *more), (*warnings, *left_out)


def _identity_changes(spec: ImageSpec, state: State, image: Image) -> tuple[tuple[Change, ...], tuple[str, ...]]:
    reason = f"restore the tags of {spec.label}"
    change, left_out = tagging(image.image_id, state.region, image.tags, spec.identity, reason)
    lost = [key for key, value in spec.identity.items() if image.tags.get(key) != value]
    if not lost:
        return (), ()
    warning = (
        f"image {image.image_id} is {spec.label}, as its name and description show, but its tags {listed(lost)} are "
        "missing or altered."
    )
    action = (
        f"The image has no room for {listed(left_out)}. Remove other tags first."
        if left_out
        else "The task restores them."
    )
    return (change,) if change is not None else (), (f"{warning} {action}",)


def not_applied(spec: ImageSpec, image: Image) -> tuple[str, ...]:
    """Return the warning that names the options that differ from the image, or nothing."""
    differences = [f"{option} (the image has {_word(have)})" for option, have in _differences(spec, image)]
    if not differences:
        return ()
    note = (
        f"image {image.image_id} is {spec.label} already, so the task does not apply these options to it: "
        f"{', '.join(differences)}. Use another version to apply them."
    )
    return (note,)


def _differences(spec: ImageSpec, image: Image) -> Iterator[tuple[str, Any]]:
    if image.name != spec.image_name:
        yield "image_name", image.name
    for option in HARDWARE:
        given = spec.hardware.get(option)
        # EC2 shows no UEFI data of an image, and enables the Intel interface beside ENA. It can turn IMDSv2 on later.
        if given is None or option == "uefi_data" or (option == "sriov_net_support" and image.ena_support):
            continue
        if option == "imds_support" and given != WITHOUT:
            continue
        wanted = None if given == WITHOUT else given
        have = getattr(image, option)
        if (have or None) != (wanted or None):
            yield option, have
    if spec.platform_details is not None and image.platform_details != spec.platform_details:
        yield "platform_details", image.platform_details


def _word(value: Any) -> str:
    return "none" if value in (None, "", False) else "true" if value is True else repr(value)
