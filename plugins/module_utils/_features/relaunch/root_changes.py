# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The changes that replace the root volume of an instance, and their rollback.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..._kernel import tags as tag_names
from ..._kernel.ids import planned
from ..._kernel.plan import Change, Stage, Wait, tagging
from ..._kernel.resources import Image, Instance, Snapshot, Volume, view
from ..._kernel.state import Query, State, own_snapshots
from ..._kernel.storage_facts import RootTask, root_task_queries
from ..._kernel.tags import carried, specification
from .options import RelaunchSpec
from .root_facts import root_snapshot

_TASK = "replace-root-volume-task"
"""EC2's type of a task, for its tags."""


def new_root(current: Instance) -> str:
    """Return the planned id of the new root volume."""
    return planned("volume", f"root of {current.instance_id}")


def task_name(current: Instance) -> str:
    """Return the planned id of the task that attaches the new root volume."""
    return planned("task", f"root of {current.instance_id}")


def rescue_name(root: Volume) -> str:
    """Return the planned id of the snapshot from which a rollback restores the former root volume."""
    return planned("snapshot", f"root {root.volume_id}")


def root_tags(image: Image, root: Volume) -> dict[str, str]:
    """Return the tags for the new root volume: the user's of the former one, and the version of the image.

    The task gets them too, so a later run knows them.
    """
    version = {key: image.tags[key] for key in (tag_names.IMAGE, tag_names.VERSION) if key in image.tags}
    fitting, _left_out = tag_names.with_room({tag_names.ROOT_OF: ""}, {**version, **carried(root.tags)})
    return fitting


def with_new_root(current: Instance, volume_id: str, image_id: str | None) -> dict[str, Any]:
    """Return the view of the instance after a task: the new root volume, and the image if it has one."""
    devices = [
        {**device, "volume_id": volume_id} if device["device_name"] == current.root_device_name else device
        for device in view(current)["block_devices"]
    ]
    return {
        "instance_id": current.instance_id,
        "block_devices": devices,
        **({"image_id": image_id} if image_id is not None else {}),
    }


def replacement_stage(
    spec: RelaunchSpec,
    state: State,
    current: Instance,
    image: Image,
    tags: Mapping[str, str],
    *,
    former: RootTask | None,
    on_failure: tuple[Stage, ...] = (),
    rehearsed: bool = True,
) -> Stage:
    """Return the stage with the task that attaches a root volume of the image.

    The client token stands for the instance, the image, and *former*, the newest task before. So the same run may
    repeat the call, and a run after another task begins a new one. *tags*: of the task. EC2 keeps the former root
    volume, since a rollback needs it.
    """
    asked = {"InstanceId": current.instance_id, "ImageId": image.image_id, "DeleteReplacedRootVolume": False}
    parameters: dict[str, Any] = {**asked, **({"TagSpecifications": [specification(_TASK, tags)]} if tags else {})}
    change = Change(
        "CreateReplaceRootVolumeTask",
        task_name(current),
        state.region,
        parameters,
        f"boot {current.instance_id} from {image.image_id}: replace the root volume {current.root_volume_id}",
        None,
        {"instance": with_new_root(current, new_root(current), spec.image_id)},
        disruptive=True,
        identity=root_task_queries([current.instance_id])[0],
        token=("replace-root", current.instance_id, image.image_id, former.task_id if former else ""),
        rehearsed=rehearsed and current.state == "running" and image.state == "available",
    )
    return Stage(
        (change,),
        (Wait((current.instance_id,), "root_replaced", about=change.resource),),
        on_failure=on_failure,
        rollback_on=frozenset({"failed", "refused"}) if on_failure else frozenset(),
    )


def preparation(state: State, current: Instance, root: Volume) -> tuple[tuple[Stage, ...], tuple[str, ...]]:
    """Return the stage that records the former root volume and the image of the launch, and a warning for each tag
    that does not fit.
    """
    found, warnings = [], []
    launch = current.tags.get(tag_names.LAUNCH_IMAGE, current.image_id)
    for resource, present, wanted, reason in (
        (
            root.volume_id,
            root.tags,
            {tag_names.ROOT_OF: current.instance_id},
            f"record the root volume of {current.instance_id}",
        ),
        (
            current.instance_id,
            current.tags,
            {tag_names.LAUNCH_IMAGE: launch},
            "record the launch image, since the next root volume comes from another image",
        ),
    ):
        change, left_out = tagging(resource, state.region, present, wanted, reason)
        found += [change] if change is not None else []
        warnings += [f"{resource} has no room for the tag {key}. Remove another tag" for key in left_out]
    return ((Stage(tuple(found)),) if found else ()), tuple(warnings)


def rescues_query(current: Instance) -> Query:
    """Return the query for the snapshots of former root volumes that runs have taken."""
    return own_snapshots({tag_names.ROOT_OF: current.instance_id})


def rescues(state: State, current: Instance, image_id: str) -> list[Snapshot]:
    """Return the snapshots that runs with this image have taken of root volumes of the instance. The Description of a
    snapshot is a fact: nobody can change it.
    """
    found = (item for item in state.all(Snapshot) if item.tags.get(tag_names.ROOT_OF) == current.instance_id)
    return [item for item in found if item.description == _described(item.volume_id, current, image_id)]


def _described(volume_id: str, current: Instance, image_id: str) -> str:
    return f"root {volume_id} of {current.instance_id} before {image_id}"


def rescue_stage(state: State, current: Instance, root: Volume, image_id: str) -> Stage:
    """Return the stage that takes the snapshot from which a rollback restores the former root volume.

    A snapshot of an earlier run lacks later writes, so the plan passes over it.
    """
    fitting, _left_out = tag_names.with_room({tag_names.ROOT_OF: ""}, carried(root.tags))
    tags = {**fitting, tag_names.ROOT_OF: current.instance_id}
    description = _described(root.volume_id, current, image_id)
    change = Change(
        "CreateSnapshot",
        rescue_name(root),
        state.region,
        {
            "VolumeId": root.volume_id,
            "Description": description,
            "TagSpecifications": [specification("snapshot", tags)],
        },
        "capture the root volume for a rollback",
        None,
        {"volume_id": root.volume_id, "state": "completed", "tags": tags, "description": description},
        identity=rescues_query(current),
        source=root.volume_id,
        passed_over=frozenset(item.snapshot_id for item in rescues(state, current, image_id)),
    )
    return Stage((change,), (Wait((change.resource,), "completed"),))


def rescue_end(state: State, snapshot_ids: Iterable[str], reason: str) -> Stage:
    """Return the stage that deletes such snapshots."""
    return Stage(tuple(Change("DeleteSnapshot", name, state.region, {}, reason, {}) for name in snapshot_ids))


def record_stage(
    state: State, current: Instance, volume_id: str, present: Mapping[str, str], tags: Mapping[str, str], image: Image
) -> tuple[Stage, ...]:
    """Return the stage that marks the new root volume, so that the next run finds the replacement finished."""
    wanted = {**tags, tag_names.ROOT_OF: current.instance_id}
    change, _left_out = tagging(volume_id, state.region, present, wanted, f"mark as the root from {image.image_id}")
    if change is None:
        return ()
    made = {"snapshot_id": root_snapshot(image), "state": "in-use"} if volume_id == new_root(current) else {}
    after = {**made, **(change.after or {})}
    stage = Change(change.action, volume_id, state.region, change.parameters, change.reason, change.before, after)
    return (Stage((stage,)),)


def discard_stages(spec: RelaunchSpec, state: State, root: Volume) -> tuple[Stage, ...]:
    """Return the stages that delete the former root volume, if the task asks for it."""
    if spec.old_root_volume != "delete":
        return ()
    reason = "delete the former root volume: the instance is healthy (old_root_volume: delete)"
    change = Change("DeleteVolume", root.volume_id, state.region, {}, reason, {"state": "available"}, disruptive=True)
    return (
        Stage(waits=(Wait((root.volume_id,), "detached"),)),
        Stage((change,), (Wait((root.volume_id,), "deleted", final=True),)),
    )


def rollback(
    spec: RelaunchSpec,
    state: State,
    current: Instance,
    root: Volume,
    *,
    former: RootTask | None,
    by_snapshot: bool,
) -> tuple[Stage, ...]:
    """Return the stages after which the instance boots from its former root volume, or from the snapshot of it.

    EC2 deletes the volume of the image, which this run has made.
    """
    if spec.on_failure != "rollback":
        return ()
    name = planned("task", f"root of {current.instance_id} back")
    restored = planned("volume", f"root of {current.instance_id} again") if by_snapshot else root.volume_id
    source = {"SnapshotId": rescue_name(root)} if by_snapshot else {"VolumeId": root.volume_id}
    change = Change(
        "CreateReplaceRootVolumeTask",
        name,
        state.region,
        {"InstanceId": current.instance_id, **source, "DeleteReplacedRootVolume": True},
        f"boot {current.instance_id} from its former root volume again",
        None,
        {"instance": with_new_root(current, restored, current.image_id)},
        disruptive=True,
        identity=root_task_queries([current.instance_id])[0],
        token=("replace-root-back", current.instance_id, spec.image_id, former.task_id if former else ""),
    )
    back = Stage((change,), (Wait((current.instance_id,), "root_replaced", about=name),))
    if not by_snapshot:
        return (back,)
    wanted = {**carried(root.tags), tag_names.ROOT_OF: current.instance_id}
    tagged, _left_out = tagging(restored, state.region, {}, wanted, "mark as the restored root")
    record = Stage((tagged,)) if tagged is not None else Stage()
    return (back, record, rescue_end(state, [rescue_name(root)], "delete: the root volume is restored"))
