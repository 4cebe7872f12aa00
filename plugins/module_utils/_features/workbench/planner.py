# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The workbench of one version of an image: an instance, and a volume from the root snapshot of the source image.

The snapshot of the developed volume and the registration belong to `ami_bake`, which takes ``source_volume_id``.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from ..._domain.image_versions import root_snapshot_id
from ..._domain.workbenches import link_of
from ..._kernel.errors import SpecError
from ..._kernel.plan import Feature, Plan
from ..._kernel.resources import Image, view
from ..._kernel.state import Query, State, by_id, images_by_id
from .bench import Bench, Phase, read, stranger_warnings
from .closing import plan_absent, plan_detached
from .opening import plan_open
from .spec import WorkbenchSpec, parse


def plan(spec: WorkbenchSpec, state: State, _now: datetime) -> Plan:
    """Return the plan that opens, detaches or removes the workbench. Raises SpecError, UnsafePlan."""
    state = state.here()
    launched_from = spec.launch.image_id if spec.launch is not None else ""
    state.require(
        spec.images_query(),
        spec.snapshots_query(),
        *spec.workbench_queries(),
        *images_by_id([spec.source_image_id, launched_from]),
    )
    state.require(*_origin_queries(spec, state))
    bench = read(spec, state)
    made = _REQUESTS[spec.state](spec, state, bench)
    return dataclasses.replace(made, warnings=(*made.warnings, *stranger_warnings(spec, bench)))


def _origin_queries(spec: WorkbenchSpec, state: State) -> tuple[Query, ...]:
    """Return the queries for the root snapshots of the version's images. They may have lost their tags."""
    tags = spec.version_tags.items()
    roots = (root_snapshot_id(image) for image in state.all(Image) if tags <= image.tags.items())
    unknown = [name for name in roots if name is not None and state.snapshot(name) is None]
    return by_id("DescribeSnapshots", "snapshot-id", unknown, OwnerIds=("self",))


def _plan_present(spec: WorkbenchSpec, state: State, bench: Bench) -> Plan:
    """Return the plan for a workbench that the user's tasks can use, unless the version needs none any more."""
    if bench.phase is Phase.CAPTURED:
        return Plan()
    if bench.phase is not Phase.REGISTERED:
        return plan_open(spec, state, bench)
    if bench.source_volume_id is not None or bench.image is None:
        return Plan()
    note = (
        f"{bench.image.image_id} is {spec.label} already, and no fact shows that it was developed on a workbench. The "
        "task opens none. To develop an image, use another version."
    )
    return Plan(warnings=(note,))


def _plan_detached(spec: WorkbenchSpec, state: State, bench: Bench) -> Plan:
    if bench.phase is Phase.ABSENT:
        raise SpecError(f"state: the workbench of {spec.label} has no volume. Open it with state: present first.")
    return plan_detached(spec, state, bench)


# The phase decides within each of them.
_REQUESTS: Mapping[str, Callable[[WorkbenchSpec, State, Bench], Plan]] = {
    "present": _plan_present,
    "detached": _plan_detached,
    "absent": plan_absent,
}


def result(spec: WorkbenchSpec, state: State) -> dict[str, Any]:
    """Return the phase, and the parts of the workbench. ``volume_id`` is the developed volume, also after its end."""
    state = state.here()
    bench = read(spec, state)
    volume = bench.volume
    link = link_of(volume) if volume is not None else None
    holder = state.instance(link.instance_id) if link is not None else None
    instance = holder or next(iter(bench.launched), None)
    return {
        "phase": bench.phase.value,
        "image_id": bench.image.image_id if bench.image is not None else None,
        "instance": view(instance) if instance is not None else None,
        "instance_id": instance.instance_id if instance is not None else None,
        "volume": view(volume) if volume is not None else None,
        "volume_id": bench.source_volume_id,
        "device_name": link.device_name if link is not None else None,
    }


def headline(spec: WorkbenchSpec, result: Mapping[str, Any]) -> str:
    """Return the place of the developed volume, or the image of the version."""
    volume, image = result["volume_id"], result["image_id"]
    if result["phase"] == Phase.REGISTERED.value:
        left = result["volume"] is not None or result["instance"] is not None
        return f"image {spec.label} is {image}{', and its workbench is left' if left else ''}"
    if result["phase"] == Phase.CAPTURED.value:
        return f"{spec.label} is captured from {volume}"
    if result["phase"] == Phase.OPEN.value:
        return f"{volume} of {spec.label} is at {result['device_name']} of {result['instance_id']}"
    if result["phase"] == Phase.DETACHED.value:
        return f"{volume} of {spec.label} is detached"
    return f"no workbench of {spec.label}"


FEATURE = Feature(parse=parse, plan=plan, result=result, headline=headline)
