# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Close a workbench: detach the volume with all its writes, and remove what the workbench has made.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..._domain.volume_changes import detachment
from ..._domain.workbenches import link_of
from ..._kernel.errors import UnsafePlan
from ..._kernel.plan import Change, Plan, Stage, Wait
from ..._kernel.resources import Volume
from ..._kernel.state import State
from .bench import Bench, Phase, is_attached_later, is_in_image
from .changes import deletion, stop, termination
from .opening import require_own
from .spec import WorkbenchSpec


def plan_detached(spec: WorkbenchSpec, state: State, bench: Bench) -> Plan:
    """Return the plan that detaches the volumes, and terminates the instances that the workbench launched.

    A launched instance is stopped first, so its system unmounts the volume. Raises UnsafePlan for a volume that is
    attached elsewhere, or that may have writes after its snapshot.
    """
    _require_own(spec, state, bench)
    _require_captured(spec, state, bench)
    holders = {link.instance_id for volume in bench.volumes if (link := link_of(volume)) is not None}
    holding = [item for item in bench.launched if item.instance_id in holders]
    begun = [Wait((item.instance_id,), "running") for item in holding if item.state == "pending"]
    begun += [Wait((item.instance_id,), "stopped") for item in holding if item.state == "stopping"]
    stops = [stop(item, state.region) for item in holding if item.state in ("pending", "running")]
    stopped = tuple(change.resource for change in stops)
    stages = [
        Stage(waits=(*begun, *_attaching(bench))),
        Stage(tuple(stops), (Wait(stopped, "stopped"),) if stops else ()),
        _detachments(state, bench, set()),
        _terminations(state, bench, holders, final=True),
    ]
    return Plan(tuple(stage for stage in stages if stage.changes or stage.waits))


def plan_absent(spec: WorkbenchSpec, state: State, bench: Bench) -> Plan:
    """Return the plan that removes the instances and the volumes of the workbench.

    Raises UnsafePlan for a volume whose content is in no image, unless the task discards it.
    """
    _require_own(spec, state, bench)
    if not spec.discard:
        _require_captured(spec, state, bench)
    lost = [volume.volume_id for volume in bench.volumes if not is_in_image(state, bench, volume.volume_id)]
    if lost and not spec.discard:
        raise UnsafePlan(
            f"state: no available image of {spec.label} has the content of {', '.join(lost)}. Detach it, and make the "
            f"image with ami_bake (source_volume_id), or set discard: true to delete it."
        )
    own = {item.instance_id for item in bench.launched}
    stages = [
        Stage(waits=tuple(_attaching(bench))),
        _terminations(state, bench, set(), final=not bench.volumes, deletes=True),
        _detachments(state, bench, own),
        _deletions(spec, state, bench),
    ]
    left = bench.phase is Phase.CAPTURED and bool(lost)
    note = f"the task keeps the snapshot of {spec.label}. Remove it with ami_bake (state: absent)."
    return Plan(tuple(stage for stage in stages if stage.changes or stage.waits), (note,) if left else ())


def _require_own(spec: WorkbenchSpec, state: State, bench: Bench) -> None:
    for volume in bench.volumes:
        link = link_of(volume)
        if link is not None:
            require_own(spec, state, bench, volume, link, spec.instance_id)


def _require_captured(spec: WorkbenchSpec, state: State, bench: Bench) -> None:
    """Raise UnsafePlan if a volume was attached after its snapshot. A detachment would remove the only trace of it."""
    for volume in bench.volumes:
        link = link_of(volume)
        if link is not None and bench.captured is not None and is_attached_later(state, bench, volume.volume_id):
            raise UnsafePlan(
                f"{volume.volume_id} of the workbench of {spec.label} was attached to {link.instance_id} after its "
                f"snapshot {bench.captured.snapshot_id}, so the version has none of its later changes. Make another "
                "version from the volume with ami_bake (source_volume_id), or discard it with state: absent and "
                "discard: true."
            )


def _attaching(bench: Bench) -> Iterator[Wait]:
    """Yield the waits for attachments that an interrupted run has begun. EC2 detaches none before its end."""
    for volume in bench.volumes:
        link = link_of(volume)
        if link is not None and link.state == "attaching":
            yield Wait((volume.volume_id,), "attached", about=link.instance_id)


def _detachments(state: State, bench: Bench, gone: set[str]) -> Stage:
    """Return the stage that detaches the volumes. Those of instances in *gone* only wait, since EC2 detaches them."""
    changes, waits = [], []
    for volume in bench.volumes:
        link = link_of(volume)
        if link is None:
            continue
        waits.append(Wait((volume.volume_id,), "detached", about=link.instance_id))
        holder = state.instance(link.instance_id)
        is_dead = holder is None or not holder.alive
        if not link.leaving and link.instance_id not in gone and not is_dead:
            running = not bench.is_launched(link.instance_id)
            reason = f"detach from {link.instance_id}"
            changes.append(detachment(volume.volume_id, link, state.region, reason, disruptive=running))
    return Stage(tuple(changes), tuple(waits))


def _terminations(state: State, bench: Bench, stopped: set[str], *, final: bool, deletes: bool = False) -> Stage:
    """Return the stage that removes the launched instances. Those in *stopped* are off by then. *deletes*: the plan
    deletes the volumes of the workbench too.
    """
    deleted = [volume.volume_id for volume in bench.volumes] if deletes else []
    changes: list[Change] = [
        termination(item, state.region, "stopped" if item.instance_id in stopped else item.state, deleted)
        for item in bench.launched
    ]
    gone = tuple(change.resource for change in changes)
    return Stage(tuple(changes), (Wait(gone, "terminated", final=final),) if gone else ())


def _deletions(spec: WorkbenchSpec, state: State, bench: Bench) -> Stage:
    changes = [deletion(volume, state.region, _reason(spec, state, bench, volume)) for volume in bench.volumes]
    deleted = tuple(change.resource for change in changes)
    return Stage(tuple(changes), (Wait(deleted, "deleted", final=True),) if deleted else ())


def _reason(spec: WorkbenchSpec, state: State, bench: Bench, volume: Volume) -> str:
    if bench.image is not None and is_in_image(state, bench, volume.volume_id):
        return f"delete the volume of the workbench: {bench.image.image_id} has its content"
    return f"discard the volume of the workbench of {spec.label}"
