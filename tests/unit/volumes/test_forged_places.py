# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A forged place on a volume: no declaration starts an instance that another run holds stopped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import boto3_tags
from ansible_collections.ec2ops.storage.plugins.modules import instance_power

from in_process import OTHER_ZONE, Ended, Machine, machine, run, volumes
from sandbox.client import Sandbox

HOLD, WAS_AT = "ec2ops:restore-state", "ec2ops:was-at"


@dataclass
class Scene:
    """A web server with a declared volume, and a database that another run holds stopped."""

    sandbox: Sandbox
    web: Machine
    db: Machine

    @property
    def data(self) -> str:
        return next(name for name, item in volumes(self.sandbox).items() if item["tags"].get("role") == "data")

    def claim(self, volume_id: str, text: str) -> None:
        self.web.ec2.create_tags(Resources=[volume_id], Tags=boto3_tags({WAS_AT: text}))

    def declare(self, **given: Any) -> Ended:
        wanted = {
            "instance_ids": [self.web.instance_id],
            "volumes": [{"name": "data", "device_name": "/dev/sdf"}],
            "in_use": "stop",
        }
        return run(self.sandbox, **{**wanted, **given})


def begin(sandbox: Sandbox, **db: Any) -> Scene:
    web = machine(sandbox, "web", data=[{"device": "/dev/sdf", "tags": {"role": "data"}}])
    scene = Scene(sandbox, web, machine(sandbox, "db", data=1, **db))
    assert not scene.declare().failed
    sandbox.move_clock(120)
    run(sandbox, module=instance_power, instance_ids=[scene.db.instance_id], state="stopped", remember=True)
    return scene


def assert_left(scene: Scene, ended: Ended) -> None:
    assert not ended.failed
    assert "StartInstances" not in ended.actions
    assert scene.db.state == "stopped"
    assert HOLD in scene.db.tags


@pytest.mark.parametrize("device", ["/dev/sdf", "/dev/sdq"])
def test_volume_attached_elsewhere_starts_no_instance(sandbox: Sandbox, device: str) -> None:
    scene = begin(sandbox)
    scene.claim(scene.data, f"{scene.db.instance_id} {device}")
    ended = scene.declare()
    assert_left(scene, ended)
    (warning,) = [text for text in ended.warnings if scene.db.instance_id in text]
    assert scene.data in warning
    assert "restore_power" in warning


def test_declared_instance_with_its_own_volume_is_started(sandbox: Sandbox) -> None:
    """No fact distinguishes this from the state after a run that was killed right after its stop.

    The start loses nothing.
    """
    scene = begin(sandbox)
    run(sandbox, module=instance_power, instance_ids=[scene.web.instance_id], state="stopped", remember=True)
    scene.claim(scene.data, f"{scene.web.instance_id} /dev/sdf")
    assert scene.declare().actions == ["StartInstances", "DeleteTags", "DeleteTags"]


@pytest.mark.parametrize("purge", [False, True])
def test_stray_volume_starts_no_instance(sandbox: Sandbox, purge: bool) -> None:
    scene = begin(sandbox)
    zone = volumes(sandbox)[scene.data]["AvailabilityZone"]
    stray = scene.web.ec2.create_volume(Size=1, AvailabilityZone=zone)["VolumeId"]
    sandbox.move_clock(60)
    scene.claim(stray, f"{scene.db.instance_id} /dev/sdq")
    assert_left(scene, scene.declare(purge_volumes=purge))


@pytest.mark.parametrize("reason", ["zone", "age", "device"])
def test_detached_volume_that_was_never_there_starts_no_instance(sandbox: Sandbox, reason: str) -> None:
    scene = begin(sandbox, **({"options": {"Placement": {"AvailabilityZone": OTHER_ZONE}}} if reason == "zone" else {}))
    device = "/dev/sdq"
    if reason == "device":
        ((device, _volume),) = scene.db.attached().items()
    if reason == "age":
        zone = volumes(sandbox)[scene.data]["AvailabilityZone"]
        volume = scene.web.ec2.create_volume(Size=1, AvailabilityZone=zone)["VolumeId"]
    else:
        volume = scene.data
        scene.web.ec2.stop_instances(InstanceIds=[scene.web.instance_id])
        sandbox.move_clock(60)
        scene.web.ec2.detach_volume(VolumeId=volume)
    sandbox.move_clock(60)
    scene.claim(volume, f"{scene.db.instance_id} {device}")
    entry = {"name": "data" if volume == scene.data else "more", "volume_id": volume}
    assert_left(scene, scene.declare(volumes=[entry]))
