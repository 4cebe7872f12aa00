# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bakes and removals of an image of which one step fails: the next run reaches the same image, or the same absence."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.apply import apply
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Image,
    ImageDevice,
    Instance,
    Volume,
    VolumeAttachment,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import LAUNCH_CONFIGURATIONS

from fake_ec2 import FakeEc2
from fake_records import START
from healing import Flow, assert_heals, plan_of
from image_world import BASE, DATA, DEFAULTS, OLD, OWNER, ROOT
from stepping import REFUSED

REGION = "us-east-1"
Prepare = Callable[[FakeEc2], None]


def world() -> FakeEc2:
    """A stopped instance with a root volume and a data volume, and the image that it was launched from."""
    devices = {"/dev/xvda": ROOT, "/dev/sdf": DATA}
    source = Instance(
        OLD,
        "stopped",
        image_id=BASE,
        instance_type="t3.micro",
        launch_time=START - timedelta(days=1),
        owner_id=OWNER,
        root_device_name="/dev/xvda",
        platform_details="Linux/UNIX",
        usage_operation="RunInstances",
        block_devices=tuple(BlockDevice(name, one) for name, one in devices.items()),
        facts={
            "Architecture": "x86_64",
            "EnaSupport": True,
            "RootDeviceName": "/dev/xvda",
            "VirtualizationType": "hvm",
        },
    )
    volumes = [
        Volume(one, "in-use", size=8, attachments=(VolumeAttachment(OLD, name),)) for name, one in devices.items()
    ]
    base = Image(BASE, "debian", owner_id="amazon", imds_support="v2.0")
    return FakeEc2(source, *volumes, base, LAUNCH_CONFIGURATIONS.fact(()))


def shape(ec2: FakeEc2) -> list[Any]:
    images = [(one.name, one.state, len(one.snapshot_ids), sorted(one.tags)) for one in ec2.existing("image")]
    snapshots = [(one.volume_id, one.state, sorted(one.tags)) for one in ec2.existing("snapshot")]
    return [sorted(images), sorted(snapshots)]


def spec(**given: Any) -> planner.ImageSpec:
    return planner.parse({**DEFAULTS, "devices": "all", **given}, REGION)


def flow(*before: Prepare, **given: Any) -> Flow:
    def make() -> FakeEc2:
        ec2 = world()
        for prepare in before:
            prepare(ec2)
        ec2.settle()
        return ec2

    def protected(ec2: FakeEc2) -> None:
        """The source is as it was, and every image has its snapshots."""
        assert (ec2.resources[OLD].state, ec2.resources[BASE].state) == ("stopped", "available")
        images = ec2.existing("image")
        assert {name for image in images for name in image.snapshot_ids} <= ec2.resources.keys()

    return Flow(planner.FEATURE, spec(**given), make, shape, protected)


def baked(ec2: FakeEc2, **given: Any) -> None:
    plan = plan_of(planner.FEATURE, spec(**given), ec2)
    assert apply(plan, ec2, wait=True, timeout=120).error is None


def captured(ec2: FakeEc2) -> None:
    baked(ec2, state="captured")


def failed_capture(ec2: FakeEc2) -> None:
    captured(ec2)
    for one in ec2.existing("snapshot"):
        ec2.put(type(one)(**{**vars(one), "state": "error"}))


def failed_image(ec2: FakeEc2) -> None:
    baked(ec2)
    for one in ec2.existing("image"):
        if one.image_id != BASE:
            ec2.put(type(one)(**{**vars(one), "state": "failed"}))


def other_image(ec2: FakeEc2) -> None:
    """Another image uses one of the snapshots."""
    (first, *_others) = sorted(one.snapshot_id for one in ec2.existing("snapshot"))
    ec2.put(Image("ami-0000000000000000f", "other", owner_id=OWNER, block_devices=(ImageDevice("/dev/xvda", first),)))


FLOWS = {
    "available": flow(),
    "captured": flow(state="captured"),
    "rest of a capture": flow(captured),
    "after a failed capture": flow(failed_capture),
    "after a failed image": flow(failed_image),
    "by CreateImage": flow(method="image"),
    "absent": flow(baked, state="absent"),
    "absent, with a snapshot in use": flow(baked, other_image, state="absent"),
    "absent, captured only": flow(captured, state="absent"),
}


@pytest.mark.parametrize("name", FLOWS)
def test_failed_step_ends_its_dependents_and_the_next_run_heals(name: str) -> None:
    assert_heals(FLOWS[name])


def test_snapshot_that_cannot_be_deleted_keeps_no_other_one() -> None:
    case = FLOWS["absent"]
    deletions = [step for step, _kind in case.failures() if step.change and step.change.action == "DeleteSnapshot"]
    assert len(deletions) == 2
    for step in deletions:
        ec2, outcome = case.failed_run(step, REFUSED)
        assert [change.action for change in outcome.done] == ["DeregisterImage", "DeleteSnapshot"]
        assert len(ec2.existing("snapshot")) == 1


def test_no_snapshot_of_a_registered_image_is_deleted() -> None:
    case = FLOWS["absent"]
    step = next(one for one, _kind in case.failures() if one.change and one.change.action == "DeregisterImage")
    ec2, outcome = case.failed_run(step, REFUSED)
    assert [change.action for change in outcome.not_tried] == ["DeleteSnapshot"] * 2
    assert len(ec2.existing("snapshot")) == 2
