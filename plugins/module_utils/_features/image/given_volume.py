# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An image from a volume that the task names: a snapshot of the volume, then the registration.

Private to this collection.
"""

from __future__ import annotations

import dataclasses

from ..._domain.volume_changes import capture_of
from ..._kernel.errors import SpecError, UnsafePlan
from ..._kernel.ids import planned
from ..._kernel.plan import Change, Plan, Stage, Wait
from ..._kernel.resources import Snapshot, Volume
from ..._kernel.state import Query, State, by_id
from .found import tagged
from .given_snapshot import platform_note
from .registration import Captured, registration, require_base
from .requests import own_tags, register_stage
from .spec import ImageSpec, capture_description, captures_query


def volume_queries(spec: ImageSpec) -> tuple[Query, ...]:
    """Return the query for the volume of the task."""
    return by_id("DescribeVolumes", "volume-id", [spec.source])


def plan_from_volume(spec: ImageSpec, state: State, kept: list[Snapshot], stages: list[Stage]) -> Plan:
    """Return *stages*, then the capture of the volume unless *kept* has it, and RegisterImage.

    Raises SpecError for a volume that cannot be captured, and UnsafePlan for one that a running instance may write to.
    """
    base = require_base(spec, state) if spec.state == "available" else None
    created: tuple[Change, ...] = ()
    if kept:
        (snapshot,) = kept
        pending = snapshot.state != "completed"
        root = Captured(snapshot.snapshot_id, snapshot.volume_size, snapshot.encrypted, snapshot.owner_id)
    else:
        volume = _usable_volume(spec, state)
        stages = [*stages, *_require_quiet(spec, state, volume)]
        created, pending = (_capture(spec, state, volume),), True
        root = Captured(created[0].resource, volume.size, volume.encrypted, None, volume.volume_type)
    if spec.state == "captured":
        return Plan((*stages, Stage(created)) if created else tuple(stages))
    change, platform = registration(spec, state, root, base)
    if pending:
        stages = [*stages, Stage(created, (Wait((root.snapshot_id,), "completed"),))]
    notes = () if platform else (platform_note(f"source_volume_id: {spec.source}"),)
    return Plan((*stages, register_stage(change, platform)), notes)


def _usable_volume(spec: ImageSpec, state: State) -> Volume:
    volume = state.volume(spec.source)
    if volume is None or not volume.alive:
        raise SpecError(
            f"source_volume_id: {spec.source} does not exist in {state.region}, and {spec.label} was not captured "
            "before. Check the id and the region"
        )
    if volume.state == "creating":
        raise SpecError(f"source_volume_id: {spec.source} is still being created. Run the task again later")
    return volume


def _require_quiet(spec: ImageSpec, state: State, volume: Volume) -> tuple[Stage, ...]:
    """Return the stages before the capture: the wait for a detachment or a stop in progress, or no stage."""
    links = [link for link in volume.attachments if link.state != "detached"]
    if not links or not spec.require_stopped:
        return ()
    leaving = [link.instance_id for link in links if link.leaving]
    others = [link.instance_id for link in links if not link.leaving]
    state.require(*by_id("DescribeInstances", "instance-id", others))
    stopping = []
    for instance_id in others:
        holder = state.instance(instance_id)
        if holder is not None and holder.state == "stopping":
            stopping.append(instance_id)
        elif holder is None or holder.state not in ("stopped", "terminated"):
            raise UnsafePlan(
                f"{volume.volume_id} is attached to {instance_id}, which is {holder.state if holder else 'unknown'}, "
                "so the image may miss part of its writes. Unmount and detach it, or set require_stopped: false."
            )
    waits = [Wait((volume.volume_id,), "detached", about=instance_id) for instance_id in leaving]
    waits += [Wait(tuple(stopping), "off")] if stopping else []
    return (Stage(waits=tuple(waits)),) if waits else ()


def _capture(spec: ImageSpec, state: State, volume: Volume) -> Change:
    """Return the CreateSnapshot of the volume, with the identity of the version."""
    capture = capture_of(
        volume,
        spec.label,
        state.region,
        f"capture {volume.volume_id}",
        description=capture_description(spec, spec.origin),
        tags=own_tags(spec, spec.origin),
        identity=captures_query(spec),
        older=tagged(spec, state, Snapshot),
    )
    # The run and its check name the snapshot alike, although the check may not know the id of the volume.
    return dataclasses.replace(capture, resource=planned("snapshot", spec.label))
