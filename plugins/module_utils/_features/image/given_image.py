# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image that the task names, copied in its region under a name and tags of its own, and encrypted on demand.

Private to this collection.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..._kernel.errors import SpecError
from ..._kernel.facts import key_of, key_query
from ..._kernel.ids import COPIED_VOLUME, planned
from ..._kernel.plan import Change, Plan, Stage, Wait
from ..._kernel.resources import Image, ImageDevice, Snapshot, view
from ..._kernel.state import State
from ..._kernel.tags import specification
from .requests import own_tags, predicted
from .spec import ImageSpec, described, name_query


def plan_from_image(spec: ImageSpec, state: State, cleanup: tuple[Change, ...]) -> Plan:
    """Return the plan that copies an existing image. Raises SpecError for one that EC2 does not copy."""
    source = state.image(spec.source)
    if source is None:
        raise SpecError(
            f"source_image_id: {spec.source} does not exist in {state.region}, or is not shared with this account. "
            "Check the id and the region."
        )
    if spec.kms_key_id is not None:
        state.require(replace(key_query(spec.kms_key_id), optional=True))
        if key_of(state, spec.kms_key_id).is_unusable:
            raise SpecError(
                f"kms_key_id: {spec.kms_key_id} is not an enabled KMS key in {state.region}. Give the ARN, the id or "
                "the alias (alias/…) of one."
            )
    if source.state not in ("available", "pending"):
        raise SpecError(f"source_image_id: {spec.source} is {source.state}. Use an available image.")
    if spec.state == "captured":
        return Plan()
    stages = [Stage(cleanup)] if cleanup else []
    if source.state == "pending":
        stages.append(Stage(waits=(Wait((source.image_id,), "available"),)))
    change = _copy(spec, state, source)
    return Plan((*stages, Stage((change,), (Wait((change.resource,), "available", final=True),))))


def _copy(spec: ImageSpec, state: State, source: Image) -> Change:
    tags = own_tags(spec, spec.source)
    parameters: dict[str, Any] = {
        "Name": spec.image_name,
        "SourceImageId": source.image_id,
        "SourceRegion": state.region,
        "Description": described(spec, spec.source),
        "TagSpecifications": [specification("image", tags), specification("snapshot", tags)],
    }
    if spec.kms_key_id is not None:
        parameters |= {"Encrypted": True, "KmsKeyId": spec.kms_key_id}
    made = replace(
        source,
        image_id=planned("image", spec.label),
        name=spec.image_name,
        state="available",
        owner_id=None,
        block_devices=tuple(_device(spec, device) for device in source.block_devices),
        tags=tags,
    )
    parts = [_part(spec, state, device, tags) for device in made.block_devices if device.snapshot_id]
    return Change(
        "CopyImage",
        made.image_id,
        state.region,
        parameters,
        f"copy {source.image_id} as {spec.label}",
        after={**predicted(made), "snapshots": parts},
        identity=name_query(spec),
        token=("image-version", spec.name, spec.version, state.region, source.image_id),
    )


def _device(spec: ImageSpec, device: ImageDevice) -> ImageDevice:
    """Return a device of the copy. EC2 makes a snapshot of its own for each."""
    if device.snapshot_id is None:
        return device
    name = planned("snapshot", f"{spec.label} {device.device_name}")
    return replace(device, snapshot_id=name, encrypted=spec.kms_key_id is not None or device.encrypted)


def _part(spec: ImageSpec, state: State, device: ImageDevice, tags: dict[str, str]) -> dict[str, Any]:
    """Return the view of a snapshot that EC2 makes for the copy. `prediction.overlay` reads it back."""
    snapshot = Snapshot(
        snapshot_id=str(device.snapshot_id),
        volume_id=COPIED_VOLUME,
        volume_size=device.size or 0,
        encrypted=bool(device.encrypted),
        kms_key_id=(key_of(state, spec.kms_key_id).arn or spec.kms_key_id) if spec.kms_key_id else None,
        tags=tags,
    )
    return {key: value for key, value in view(snapshot).items() if value not in (None, "")}
