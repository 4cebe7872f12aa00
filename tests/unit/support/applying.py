# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes for plans to apply, and the content of a world afterwards."""

from __future__ import annotations

from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._engine.apply import apply
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.ports import Outcome
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel import tags as tag_names
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import planned
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Plan, Stage, Wait
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query

from watching import wait_on
from worlds import World

REGION = "us-east-1"
OURS = {tag_names.IMAGE: "web", tag_names.VERSION: "1", "Name": "web"}


def run(world: World, *stages: Stage, wait: bool = True, timeout: float = 120.0) -> Outcome:
    return apply(Plan(stages), world.gateway, wait=wait, timeout=timeout)


def succeed(world: World, *stages: Stage, wait: bool = True) -> Outcome:
    outcome = run(world, *stages, wait=wait)
    assert outcome.error is None
    assert (outcome.failed, outcome.not_tried) == ([], [])
    return outcome


def power(action: str, instance_id: str) -> Change:
    return Change(action, instance_id, REGION, {}, "it is asked for", before={}, after={})


def by_tags(operation: str, tags: dict[str, str]) -> Query:
    mine = {key: value for key, value in tags.items() if key.startswith(tag_names.PREFIX)}
    owner = {"DescribeSnapshots": "OwnerIds", "DescribeImages": "Owners"}.get(operation)
    arguments = ((owner, ("self",)),) if owner else ()
    return Query(operation, tuple((f"tag:{key}", (value,)) for key, value in sorted(mine.items())), arguments)


def snapshot(volume_id: str, name: str = "web/1", tags: dict[str, str] | None = None) -> Change:
    tags = OURS if tags is None else tags
    return Change(
        action="CreateSnapshot",
        resource=planned("snapshot", name),
        region=REGION,
        parameters={"VolumeId": volume_id, "TagSpecifications": [tag_names.specification("snapshot", tags)]},
        reason="the point in time",
        after={"volume_id": volume_id, "state": "completed", "tags": tags},
        identity=by_tags("DescribeSnapshots", tags),
        source=volume_id,
    )


def image(snapshot_id: str, name: str = "web-1", tags: dict[str, str] | None = None) -> Change:
    tags = OURS if tags is None else tags
    return Change(
        action="RegisterImage",
        resource=planned("image", "web/1"),
        region=REGION,
        parameters={
            "Name": name,
            "Architecture": "x86_64",
            "VirtualizationType": "hvm",
            "EnaSupport": True,
            "RootDeviceName": "/dev/sda",
            "BlockDeviceMappings": [{"DeviceName": "/dev/sda", "Ebs": {"SnapshotId": snapshot_id}}],
            "TagSpecifications": [tag_names.specification("image", tags)],
        },
        reason="this version does not exist",
        after={"name": name, "state": "available", "tags": tags},
        identity=Query("DescribeImages", (("name", (name,)),), (("IncludeDisabled", True), ("Owners", ("self",)))),
    )


def launch(image_id: str, tags: dict[str, str] | None = None, **parameters: Any) -> Change:
    tags = {tag_names.REPLACES: "i-00000000000000001"} if tags is None else tags
    return Change(
        action="RunInstances",
        resource=planned("instance", "web"),
        region=REGION,
        parameters={
            "ImageId": image_id,
            "InstanceType": "t3.micro",
            "MinCount": 1,
            "MaxCount": 1,
            "TagSpecifications": [tag_names.specification("instance", tags)],
            **parameters,
        },
        reason="the image is another",
        after={"state": "running", "image_id": image_id, "tags": tags},
        identity=by_tags("DescribeInstances", tags),
        token=("relaunch", "i-00000000000000001", image_id),
    )


def completed(world: World) -> str:
    """A completed snapshot for an image, unrelated to the others."""
    make = snapshot(world.instance().block_devices[0].volume_id, tags={"Name": "other"})
    made = world.gateway.perform([make])[make.resource]
    wait_on(world.gateway, [Wait((made,), "completed")])
    return made


def own_image(world: World) -> str:
    register = image(completed(world))
    outcome = succeed(world, Stage((register,), (Wait((register.resource,), "available"),)))
    return outcome.bindings[register.resource]


IDENTITY = {tag_names.SPEC: "web", tag_names.VOLUME: "data"}


def volume(name: str = "web/data", size: int = 1, tags: dict[str, str] | None = None, **parameters: Any) -> Change:
    tags = IDENTITY if tags is None else tags
    return Change(
        action="CreateVolume",
        resource=planned("volume", name),
        region=REGION,
        parameters={
            "AvailabilityZone": f"{REGION}a",
            "Size": size,
            "TagSpecifications": [tag_names.specification("volume", tags)],
            **parameters,
        },
        reason="web has no volume data",
        after={"state": "available", "size": size, "tags": tags},
        identity=by_tags("DescribeVolumes", tags),
        token=("web", "data"),
    )


def delete(volume_id: str) -> Stage:
    removal = Change("DeleteVolume", volume_id, REGION, {}, "it is asked for", before={})
    return Stage((removal,), (Wait((volume_id,), "deleted"),))


def made_volume(world: World, change: Change | None = None) -> str:
    change = change or volume()
    outcome = succeed(world, Stage((change,), (Wait((change.resource,), "volume_available"),)))
    return outcome.bindings[change.resource]
