# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The CopyImage of each place without a copy.

Its client token is made from the source image, so a repeated call and a second run get the same copy.

Private to this collection.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..._kernel import tags as tag_names
from ..._kernel.ids import planned
from ..._kernel.plan import Change
from ..._kernel.resources import Image, Snapshot
from ..._kernel.tags import carried, with_room
from .copy_request import copied_devices, copied_snapshots, copy_request
from .holdings import Copied, Holding
from .requests import predicted
from .spec import ImageSpec, described, name_query


def copy_change(spec: ImageSpec, copied: Copied, source: Holding, account: str) -> Change:
    """Return the CopyImage to one place. *account*: the owner of the copy."""
    copy, image = copied.copy, source.image
    tags = copy_tags(spec, source, account, image.tags)
    parts = copy_tags(spec, source, account, _common_tags(source.snapshots))
    made = _copy_of(spec, copied, source, account, tags)
    snapshots = copied_snapshots(copied.state, made, parts, copy.kms_key_id, account or None)
    return Change(
        "CopyImage",
        made.image_id,
        copy.place,
        copy_request(spec, image.image_id, source.region, _description(spec, image), tags, parts, copy.kms_key_id),
        f"copy {spec.label} to {copy.where}",
        after={**predicted(made), "snapshots": snapshots},
        identity=replace(name_query(spec), place=copy.place),
        token=("image-copy", source.region, image.image_id),
        after_steps=tuple(item.image_id for item in copied.failed) + image.snapshot_ids,
    )


def copy_tags(spec: ImageSpec, source: Holding, account: str, tags: Any) -> dict[str, str]:
    """Return the tags of a copy: those of the task and of the source (*tags*), and the version's identity."""
    owner = f"{source.account}/" if source.account and account != source.account else ""
    own = {
        **spec.tags,
        **spec.identity,
        tag_names.COPY_OF: f"{owner}{source.region}/{source.image.image_id}",
    }
    fingerprint = source.image.tags.get(tag_names.FINGERPRINT)
    if fingerprint is not None:
        own[tag_names.FINGERPRINT] = fingerprint
    others, _left_out = with_room(own, carried(tags))
    return {**others, **own}


def _common_tags(snapshots: tuple[Snapshot, ...]) -> dict[str, str]:
    """Return the tags that all snapshots share: one CopyImage gives the same tags to all of its snapshots."""
    if not snapshots:
        return {}
    first, *others = snapshots
    return {key: value for key, value in first.tags.items() if all(one.tags.get(key) == value for one in others)}


def _description(spec: ImageSpec, image: Image) -> str:
    """Return the description of the original, which names the version, or that of the task."""
    shown = "" if spec.description else str(image.facts.get("Description") or "")
    return shown or described(spec, spec.source)


def _copy_of(spec: ImageSpec, copied: Copied, source: Holding, account: str, tags: dict[str, str]) -> Image:
    """Return the copy as EC2 will show it."""
    copy, image = copied.copy, source.image
    return replace(
        image,
        image_id=planned("image", f"copy of {spec.label} in {copy.place}"),
        name=spec.image_name,
        state="available",
        owner_id=account or image.owner_id,
        block_devices=copied_devices(
            image, copy.kms_key_id, lambda device: f"copy of {spec.label} {device} in {copy.place}"
        ),
        creation_date=None,
        place=copy.place,
        tags=tags,
    )
