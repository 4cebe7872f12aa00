# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image that an instance runs from, once a task may have replaced its root volume.

The facts that only EC2 writes are the SnapshotId of the root volume, and the tasks of the instance with their states,
images and times. EC2 does not document whether ImageId of the instance follows a new root volume.

Private to this collection.
"""

from __future__ import annotations

from ..._kernel import tags as tag_names
from ..._kernel.instance_proofs import attached_since
from ..._kernel.resources import Image, Instance, Volume
from ..._kernel.state import Query, State, by_id, images_by_id
from ..._kernel.storage_facts import RootTask, root_task_queries, root_tasks
from .options import REPLACE_INSTANCE, RelaunchSpec


def root_queries(spec: RelaunchSpec, current: Instance) -> tuple[Query, ...]:
    """Return the queries for the root volume of an instance, its tasks, and the image of the task."""
    return (
        *images_by_id([spec.image_id]),
        *by_id("DescribeVolumes", "attachment.instance-id", [current.instance_id]),
        *root_task_queries([current.instance_id]),
    )


def root_snapshot(image: Image | None) -> str | None:
    """Return the snapshot of the image's root, or None if the image does not show it."""
    devices = () if image is None else image.block_devices
    return next((item.snapshot_id for item in devices if image and item.device_name == image.root_device_name), None)


def last_replacement(state: State, current: Instance) -> RootTask | None:
    """Return the task that attached the instance's root volume, or None if no task did."""
    done = [task for task in root_tasks(state, current.instance_id) if task.state == "succeeded"]
    since = attached_since(current, current.root_volume_id or "")
    last = done[-1] if done else None
    if last is None or since is None or last.started is None:
        return last
    # Somebody may have exchanged the root volume of the stopped instance before or after the task.
    began, ended = last.started.replace(microsecond=0), last.completed
    return last if began <= since and (ended is None or since <= ended) else None


def is_current(spec: RelaunchSpec, state: State, current: Instance) -> bool:
    """Return whether the instance runs from the image of the task.

    For an instance whose root volume nobody replaced, ImageId shows it. The tag `tags.LAUNCH_IMAGE` only says that the
    other facts must be asked for.
    """
    if spec.strategy == REPLACE_INSTANCE and tag_names.LAUNCH_IMAGE not in current.tags:
        return current.image_id == spec.image_id
    state.require(*root_queries(spec, current))
    wanted, root = root_snapshot(state.image(spec.image_id)), root_of(state, current)
    if wanted is not None and root is not None and root.snapshot_id == wanted:
        return True
    last = last_replacement(state, current)
    if last is not None:
        return wanted is None and last.image_id == spec.image_id
    exchanged = any(task.state == "succeeded" for task in root_tasks(state, current.instance_id))
    return current.image_id == spec.image_id and not exchanged


def root_of(state: State, current: Instance) -> Volume | None:
    """Return the root volume of the instance, or None if EC2 shows none."""
    return state.volume(current.root_volume_id)
