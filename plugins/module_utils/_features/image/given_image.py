# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image that the task names, copied in its region under a name and tags of its own, and encrypted on demand.

Private to this collection.
"""

from __future__ import annotations

from dataclasses import replace

from ..._kernel.errors import SpecError
from ..._kernel.facts import key_of, key_query
from ..._kernel.ids import planned
from ..._kernel.plan import Change, Plan, Stage, Wait
from ..._kernel.resources import Image
from ..._kernel.state import State
from .copy_request import copied_devices, copied_snapshots, copy_request
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
    made = replace(
        source,
        image_id=planned("image", spec.label),
        name=spec.image_name,
        state="available",
        owner_id=None,
        block_devices=copied_devices(source, spec.kms_key_id, lambda device: f"{spec.label} {device}"),
        tags=tags,
    )
    snapshots = copied_snapshots(state, made, tags, spec.kms_key_id, owner=None)
    return Change(
        "CopyImage",
        made.image_id,
        state.region,
        copy_request(spec, source.image_id, state.region, described(spec, spec.source), tags, tags, spec.kms_key_id),
        f"copy {source.image_id} as {spec.label}",
        after={**predicted(made), "snapshots": snapshots},
        identity=name_query(spec),
        token=("image-version", spec.name, spec.version, state.region, source.image_id),
    )
