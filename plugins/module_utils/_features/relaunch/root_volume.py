# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Let an instance run from an image by a new root volume: ``strategy: replace_root_volume``.

The instance keeps its id, addresses, interfaces and data volumes. EC2's task makes a volume from the image, exchanges
it for the root volume, and reboots the instance. EC2 carries out one task after the other.

The remains of an interrupted run, and the next run's action on them:

=============================== ================================= ==================================================
ended                           facts                             the same image again
=============================== ================================= ==================================================
before the task                 root as before                    begin the task
while the task is under way     a task with the image             repeat the call with its client token, and wait
once the task has succeeded     root from the image, no mark      wait until the instance is healthy, mark the root
once the root is marked         root from the image, marked       nothing
after a failed task             root as before, a failed task     begin another task
during the rollback             a task without the image          refused until EC2 has finished the task
after a failed exchange         no root volume                    refused, with the remedy
after a rollback                root as before                    begin another task
=============================== ================================= ==================================================

The mark is the tag `tags.ROOT_OF` on the root volume. Only the facts of `root_facts` decide whether the root volume is
that of the image. The mark only says that an earlier run has found the instance healthy.

A run that finds the task of an earlier run must prove which volume was the root before: see `_former_root`. Without
that proof, it neither rolls back nor deletes the former root volume, and a warning says so.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from ..._domain.hold import forget, hold_of, wants_start
from ..._domain.moves import half_moved, half_moved_queries, half_moved_text
from ..._domain.power_cycle import NO_CAPACITY, running_waits
from ..._domain.succession_guards import require_no_rollback, require_settled, settling_queries
from ..._kernel import tags as tag_names
from ..._kernel.errors import SpecError, UnsafePlan, listed
from ..._kernel.ids import is_planned
from ..._kernel.instance_proofs import LONGEST_TRIAL
from ..._kernel.plan import Change, Plan, Stage, Wait
from ..._kernel.proofs import is_taken_of
from ..._kernel.resources import Image, Instance, Volume
from ..._kernel.state import Query, State, by_id, tag_filters
from ..._kernel.storage_facts import RootTask, root_tasks
from .left_behind import data_volumes
from .obstacles import refuse, usable_image
from .options import RelaunchSpec
from .retirement import health_wait
from .root_changes import (
    discard_stages,
    new_root,
    preparation,
    record_stage,
    replacement_stage,
    rescue_end,
    rescue_name,
    rescue_stage,
    rescues,
    rescues_query,
    rollback,
    root_tags,
)
from .root_facts import is_current, last_replacement, root_of, root_queries, root_snapshot
from .strategies import OBSTACLES_TO_A_ROOT_VOLUME, needs_snapshot, root_volume_queries

_ROLLBACK_ON = frozenset({"failed", "timeout", "mismatch", "refused"})


def plan_root_volume(spec: RelaunchSpec, state: State, current: Instance, now: datetime) -> Plan:
    """Return the plan for the root volume of *current*. Raises SpecError, UnsafePlan."""
    if is_planned(current.instance_id):
        raise SpecError(
            f"instance_id: {spec.instance_id} stands for {current.instance_id}, which is only planned. Check mode "
            "cannot plan the root volume of that instance too"
        )
    settling = settling_queries(state, spec.instance_id) if spec.follow_successor else ()
    state.require(*settling, *root_queries(spec, current))
    _require_whole(state, current)
    tasks = root_tasks(state, current.instance_id)
    newest = tasks[-1] if tasks else None
    root = root_of(state, current)
    if newest is not None and newest.is_under_way:
        return _continued(spec, state, current, newest, tasks[-2] if len(tasks) > 1 else None)
    if root is None:
        raise UnsafePlan(_rootless(state, current, newest))
    if is_current(spec, state, current):
        return _finished(spec, state, current, root, now)
    return _replaced(spec, state, current, root, newest)


def _require_whole(state: State, current: Instance) -> None:
    """Raise UnsafePlan if an interrupted relaunch has taken the data volumes of a stopped instance away, since the
    instance would start without them.
    """
    state.require(*half_moved_queries(state, [current.instance_id]))
    new = half_moved(state, current)
    if new is not None:
        raise UnsafePlan(
            f"instance_id: {half_moved_text(current, new)}. Run the relaunch with strategy: replace_instance and "
            f"{new.image_id} again. It finishes the move, or returns the volumes"
        )


def _continued(spec: RelaunchSpec, state: State, current: Instance, task: RootTask, former: RootTask | None) -> Plan:
    """Return the plan while a task is under way: the same call, which EC2 answers with this task."""
    if task.image_id != spec.image_id or task.state == "failing":
        raise UnsafePlan(
            f"instance_id: EC2 replaces the root volume of {current.instance_id} now ({task.task_id}, from "
            f"{task.image_id or task.snapshot_id or 'a volume'}, {task.state}). Run the task again once it is over"
        )
    image = usable_image(spec, state)
    stage = replacement_stage(spec, state, current, image, task.tags, former=former, rehearsed=False)
    record = record_stage(state, current, new_root(current), {}, task.tags, image)
    root = root_of(state, current)
    if root is None or root.snapshot_id == root_snapshot(image):
        root = _former_root(state, current, image)
    proof, discard, warnings = _proof(spec, state, current, root, task, in_time=True)
    return Plan((stage, proof, *discard, *record), warnings)


def _former_root(state: State, current: Instance, image: Image) -> Volume | None:
    """Return the volume that was the root before an earlier run's task, or None if no fact proves it.

    The tag `tags.ROOT_OF` points to it. EC2 must show that the image was captured from that very volume, and that
    nothing has it now.
    """
    wanted = root_snapshot(image)
    state.require(
        Query("DescribeVolumes", tag_filters({tag_names.ROOT_OF: current.instance_id})),
        *(by_id("DescribeSnapshots", "snapshot-id", [wanted]) if wanted else ()),
    )
    part = state.snapshot(wanted)
    if part is None:
        return None
    found = [
        item
        for item in state.all(Volume)
        if item.tags.get(tag_names.ROOT_OF) == current.instance_id
        and is_taken_of(part, item.volume_id)
        and item.state == "available"
        and item.availability_zone == current.availability_zone
    ]
    return found[0] if found else None


def _proof(
    spec: RelaunchSpec, state: State, current: Instance, root: Volume | None, task: RootTask, *, in_time: bool
) -> tuple[Stage, tuple[Stage, ...], tuple[str, ...]]:
    """Return the wait for health with its rollback, the end of the former root volume, and warnings.

    *root*: the former root volume, if it is proven. *in_time*: the task is not older than `LONGEST_TRIAL`. An older
    rollback would lose later writes of the instance.
    """
    wait = (health_wait(spec, current.instance_id),)
    if root is None or not in_time:
        why = "no fact proves that volume" if root is None else "that run began more than a day ago"
        warning = (
            f"an earlier run replaced the root volume of {current.instance_id} ({task.task_id}). This run neither "
            f"rolls it back nor deletes the former root volume, since {why}"
        )
        return Stage(waits=wait), (), (warning,)
    by_snapshot = needs_snapshot(spec, state)
    back = () if by_snapshot else rollback(spec, state, current, root, former=task, by_snapshot=False)
    rollback_on = _ROLLBACK_ON if back else frozenset[str]()
    return Stage(waits=wait, on_failure=back, rollback_on=rollback_on), discard_stages(spec, state, root), ()


def _rootless(state: State, current: Instance, newest: RootTask | None) -> str:
    """Return why an instance without a root volume is refused, and the remedy."""
    query = Query("DescribeVolumes", tag_filters({tag_names.ROOT_OF: current.instance_id}))
    state.require(query)
    known = [item for item in state.all(Volume) if item.tags.get(tag_names.ROOT_OF) == current.instance_id]
    former = listed(f"{item.volume_id} ({item.state})" for item in known) if known else "none"
    why = f", since {newest.task_id} is {newest.state}" if newest is not None else ""
    return (
        f"instance_id: {current.instance_id} has no root volume attached{why}. Stop it, attach its former root volume "
        f"as {current.root_device_name}, and start it. Volumes with the tag {tag_names.ROOT_OF}={current.instance_id}: "
        f"{former}"
    )


def _finished(spec: RelaunchSpec, state: State, current: Instance, root: Volume, now: datetime) -> Plan:
    """Return the plan for a root volume that is from the image: the work that an interrupted run has left."""
    state.require(*_rescue_queries(spec, state, current))
    left = [item.snapshot_id for item in rescues(state, current, spec.image_id)] if needs_snapshot(spec, state) else []
    ends = (rescue_end(state, left, "delete: an earlier run has left it"),) if left else ()
    held = power_stages(state, current)
    if any(change.action == "StartInstances" for stage in held for change in stage.changes):
        # The hold may be that of a relaunch whose successor is unproven.
        require_settled(state, current, "image_id")
    task = last_replacement(state, current)
    if task is None or tag_names.ROOT_OF in root.tags:
        return Plan((*held, *ends))
    image = state.image(spec.image_id) or Image(spec.image_id)
    former = _former_root(state, current, image)
    in_time = task.completed is None or now - task.completed <= LONGEST_TRIAL
    proof, discard, warnings = _proof(spec, state, current, former, task, in_time=in_time)
    record = record_stage(state, current, root.volume_id, root.tags, task.tags, image)
    return Plan((*held, proof, *discard, *record, *ends), warnings)


def _rescue_queries(spec: RelaunchSpec, state: State, current: Instance) -> tuple[Query, ...]:
    """Return the query for snapshots that interrupted runs have left, if this task takes such snapshots."""
    return (rescues_query(current),) if needs_snapshot(spec, state) else ()


def power_stages(state: State, current: Instance) -> tuple[Stage, ...]:
    """Return the stages after which the instance runs: the start at the end of a hold, and the end of the hold."""
    hold = hold_of(current)
    if wants_start(current):
        start = Change(
            "StartInstances",
            current.instance_id,
            state.region,
            {},
            "restore power: EC2 replaces the root volume of a running instance",
            {"state": current.state},
            {"state": "running"},
        )
        stopped = (Stage(waits=(Wait((current.instance_id,), "stopped"),)),) if current.state == "stopping" else ()
        began = Stage((start,), running_waits([current]), patience=NO_CAPACITY)
        return (*stopped, began, Stage((forget(current, state.region, "end the hold"),)))
    if hold is not None and hold.is_spent(current):
        return (Stage((forget(current, state.region, "end the hold"),)),)
    if current.state == "pending":
        return (Stage(waits=(Wait((current.instance_id,), "running"),)),)
    return ()


def _replaced(spec: RelaunchSpec, state: State, current: Instance, root: Volume, newest: RootTask | None) -> Plan:
    """Return the plan with a new task."""
    state.require(*root_volume_queries(spec, state, current), *_rescue_queries(spec, state, current))
    require_settled(state, current, "image_id")
    require_no_rollback(state, current, spec.instance_id, "instance_id")
    image = usable_image(spec, state)
    refuse(text for kind in OBSTACLES_TO_A_ROOT_VOLUME for text in kind(spec, state, current, image))
    prepared, warnings = preparation(state, current, root)
    stages = (
        *((Stage(waits=(Wait((image.image_id,), "available"),)),) if image.state == "pending" else ()),
        *power_stages(state, current),
        *prepared,
        *_exchange(spec, state, current, root, image, newest),
    )
    return Plan(stages, (*warnings, *_warnings(spec, current, root, image)))


def _exchange(
    spec: RelaunchSpec, state: State, current: Instance, root: Volume, image: Image, newest: RootTask | None
) -> tuple[Stage, ...]:
    """Return the stages of the task, its proof, and the end of the former root volume."""
    by_snapshot, tags = needs_snapshot(spec, state), root_tags(image, root)
    rescue: tuple[Stage, ...] = ()
    unchanged: tuple[Stage, ...] = ()
    rescued: tuple[Stage, ...] = ()
    if by_snapshot:
        left = [item.snapshot_id for item in rescues(state, current, spec.image_id)]
        rescue = (rescue_stage(state, current, root, spec.image_id),)
        unchanged = (rescue_end(state, [rescue_name(root)], "delete: the root volume is unchanged"),)
        rescued = (rescue_end(state, [rescue_name(root), *left], "delete: the instance is healthy"),)
    back = rollback(spec, state, current, root, former=newest, by_snapshot=by_snapshot)
    proof = Stage(
        waits=(health_wait(spec, current.instance_id),),
        on_failure=back,
        rollback_on=_ROLLBACK_ON if back else frozenset(),
    )
    return (
        *rescue,
        replacement_stage(spec, state, current, image, tags, former=newest, on_failure=unchanged),
        proof,
        *discard_stages(spec, state, root),
        *record_stage(state, current, new_root(current), {}, tags, image),
        *rescued,
    )


def _warnings(spec: RelaunchSpec, current: Instance, root: Volume, image: Image) -> Iterable[str]:
    """Yield the warnings about lost writes, kept data volumes and the kept root volume."""
    yield (
        f"the root volume of {current.instance_id} lacks the writes to {root.volume_id} since the capture of "
        f"{image.image_id}"
    )
    names = [item.device_name for item in data_volumes(current)]
    data = [item for item in image.block_devices if item.device_name != image.root_device_name]
    copies = [item.device_name for item in data if item.snapshot_id]
    if copies:
        kept = f" {current.instance_id} keeps {', '.join(names)}" if names else ""
        yield (
            f"EC2 replaces the root volume only, so it makes no data volumes from {image.image_id} "
            f"({', '.join(copies)}).{kept}"
        )
    if spec.old_root_volume == "keep":
        yield f"the former root volume {root.volume_id} keeps its content, and EC2 bills it until you delete it"
