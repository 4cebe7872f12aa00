# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The result of `ami_bake`: the image, its snapshots and its source.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._domain.succession import on_trial_for
from ..._kernel.display import counted
from ..._kernel.ids import is_planned
from ..._kernel.resources import view
from ..._kernel.state import State
from .distribution_rows import plain_row
from .found import BROKEN, captures, ids, images
from .lineage import recognized
from .same_source import living_or_none
from .spec import ImageSpec


def result(spec: ImageSpec, state: State) -> dict[str, Any]:
    """Return the fields about the image, its snapshots and the source.

    ``image_id``: null without an image. ``snapshots``: the snapshots of the image, or of the capture before the image
    exists. ``source_rejected``: instances that were launched to replace the source and do not stand for it.
    ``regions`` and ``launch_template`` are those of a task that does not distribute the image.
    """
    state = recognized(spec, state.here())
    image = next((item for item in images(spec, state) if item.state not in BROKEN), None)
    devices = {device.snapshot_id: device.device_name for device in image.block_devices} if image is not None else {}
    # CreateImage does not answer with its snapshots. The image shows them once it exists.
    foretold = image is None or is_planned(image.image_id)
    parts = [item for item in captures(spec, state) if foretold or not is_planned(item.snapshot_id)]
    snapshots = {snapshot.snapshot_id: view(snapshot) for snapshot in parts}
    for snapshot_id, device_name in devices.items():
        if snapshot_id is not None:
            known = state.snapshot(snapshot_id)
            snapshots[snapshot_id] = {
                **(view(known) if known else {"snapshot_id": snapshot_id}),
                "device_name": device_name,
            }
    instance = living_or_none(spec, state)
    return {
        "image": None if image is None else view(image),
        "image_id": None if image is None else image.image_id,
        "snapshots": [snapshots[key] for key in sorted(snapshots)],
        "source_instance_id": instance.instance_id if instance is not None else spec.source_instance_id,
        "source_state": instance.state if instance is not None else None,
        "source_rejected": ids(on_trial_for(state, instance.instance_id)) if instance is not None else [],
        "regions": [] if image is None else [plain_row(image, state.region)],
        "launch_template": None,
    }


def headline(spec: ImageSpec, result: Mapping[str, Any]) -> str:
    """Return the version of the image with its id and state, or the text for a missing image."""
    image = result["image"]
    if image is not None:
        return f"image {spec.label} is {image['image_id']}, {image['state']}"
    captured = f", {counted(len(result['snapshots']), 'snapshot')} captured" if result["snapshots"] else ""
    return f"no image {spec.label}{captured}"
