# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parts of a CopyImage: its request, and the devices and snapshots of the copy as EC2 will show them.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ..._kernel.facts import key_of
from ..._kernel.ids import COPIED_VOLUME, planned
from ..._kernel.resources import Image, ImageDevice, Snapshot, view
from ..._kernel.state import State
from ..._kernel.tags import specification
from .spec import ImageSpec


def copy_request(
    spec: ImageSpec,
    source_id: str,
    region: str,
    description: str,
    tags: Mapping[str, str],
    parts: Mapping[str, str],
    key: str | None,
) -> dict[str, Any]:
    """Return the parameters of a CopyImage from *region*. *parts*: the tags of the snapshots. *key*: the KMS key that
    the task sets for them.
    """
    encryption = {} if key is None else {"Encrypted": True, "KmsKeyId": key}
    return {
        "Name": spec.image_name,
        "SourceImageId": source_id,
        "SourceRegion": region,
        "Description": description,
        "TagSpecifications": [specification("image", tags), specification("snapshot", parts)],
        **encryption,
    }


def copied_devices(source: Image, key: str | None, named: Callable[[str], str]) -> tuple[ImageDevice, ...]:
    """Return the devices of the copy. EC2 makes a snapshot for each device that has one. *named*: its name in planned
    ids, from the name of the device.
    """
    return tuple(
        replace(
            device,
            snapshot_id=planned("snapshot", named(device.device_name)),
            encrypted=key is not None or device.encrypted,
        )
        if device.snapshot_id
        else device
        for device in source.block_devices
    )


def copied_snapshots(
    state: State, made: Image, parts: Mapping[str, str], key: str | None, owner: str | None
) -> list[dict[str, Any]]:
    """Return the views of the snapshots that EC2 makes for a copy. `prediction.overlay` reads them back."""
    arn = None if key is None else key_of(state, key, made.place).arn or key
    snapshots = (
        Snapshot(
            snapshot_id=device.snapshot_id,
            volume_id=COPIED_VOLUME,
            volume_size=device.size or 0,
            encrypted=bool(device.encrypted),
            kms_key_id=arn,
            owner_id=owner,
            place=made.place,
            tags=parts,
        )
        for device in made.block_devices
        if device.snapshot_id
    )
    return [{name: value for name, value in view(one).items() if value not in (None, "")} for one in snapshots]
