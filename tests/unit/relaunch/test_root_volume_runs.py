# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Root volumes that are replaced on the sandbox: whole, killed after each call, failed and rolled back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws import fact_readers
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, instance_relaunch

from in_process import REGION, Ended, Killed, KillingGateway, Machine, machine, run, snapshots, texts, volumes
from sandbox.client import Sandbox
from worlds import sandbox_gateway

ROOT_OF, LAUNCH_IMAGE = "ec2ops:root-of", "ec2ops:launch-image"


@dataclass
class Pet:
    """A server with a data volume that is baked as version 1, and writes on."""

    sandbox: Sandbox
    web: Machine
    image_id: str

    def bake(self, version: str) -> str:
        given = {"name": "web", "version": version, "source_instance_id": self.web.instance_id}
        baked = run(self.sandbox, module=ami_bake, require_stopped=False, **given)
        assert not baked.failed
        return str(baked.result["image_id"])

    def relaunch(self, image_id: str | None = None, **more: Any) -> Ended:
        given = {"instance_id": self.web.instance_id, "image_id": image_id or self.image_id, **more}
        given = {"strategy": "replace_root_volume", "health": {"timeout": 40}, **given}
        return run(self.sandbox, module=instance_relaunch, **given)

    def kill(self, nth: int, **more: Any) -> None:
        with pytest.raises(Killed):
            self.relaunch(gateway=KillingGateway(sandbox_gateway(self.sandbox, REGION), nth), **more)

    @property
    def row(self) -> dict[str, Any]:
        found = self.web.ec2.describe_instances(InstanceIds=[self.web.instance_id])["Reservations"]
        return dict(found[0]["Instances"][0])

    @property
    def root(self) -> str:
        row = self.row
        (found,) = [one for one in row["BlockDeviceMappings"] if one["DeviceName"] == row["RootDeviceName"]]
        return str(found["Ebs"]["VolumeId"])

    def tags(self) -> dict[str, str]:
        return dict(volumes(self.sandbox)[self.root]["tags"])


@pytest.fixture
def pet(sandbox: Sandbox) -> Pet:
    sandbox.configure(options={"unhealthy_launches": False, "root_task_image": "updated"})
    web = machine(sandbox, data=1)
    made = Pet(sandbox, web, "")
    made.image_id = made.bake("1")
    return made


def test_new_root_volume_leaves_the_instance_as_it_is(pet: Pet) -> None:
    before, data = pet.row, pet.web.attached()
    check = pet.relaunch(check=True)
    done = pet.relaunch()
    assert not done.failed
    assert check.result["plan"] == done.result["plan"]
    assert done.actions == ["CreateTags", "CreateTags", "CreateReplaceRootVolumeTask", "CreateTags"]
    assert (done.result["instance_id"], done.result["image_id"]) == (pet.web.instance_id, pet.image_id)
    assert done.result["instance"]["block_devices"][0]["volume_id"] == pet.root != pet.web.root_volume_id
    assert {name: pet.row[name] for name in ("PrivateIpAddress", "LaunchTime")} == {
        name: before[name] for name in ("PrivateIpAddress", "LaunchTime")
    }
    assert {name: one for name, one in pet.web.attached().items() if one in data.values()} == data
    assert pet.tags()["ec2ops:version"] == "1"
    assert volumes(pet.sandbox)[pet.web.root_volume_id]["State"] == "available"
    for again in (pet.relaunch(check=True), pet.relaunch(), pet.relaunch(strategy="auto")):
        assert (again.failed, again.actions, again.result["image_id"]) == ("", [], pet.image_id)
    second = pet.bake("2")
    former = pet.root
    pet.relaunch(second)
    assert (pet.tags()["ec2ops:version"], pet.web.tags[LAUNCH_IMAGE]) == ("2", before["ImageId"])
    kept = {name for name, one in volumes(pet.sandbox).items() if one["State"] == "available"}
    assert kept == {pet.web.root_volume_id, former}


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_killed_after_each_call_the_next_run_carries_on(pet: Pet, nth: int) -> None:
    pet.sandbox.configure(options={"root_task_image": "kept"})
    pet.kill(nth)
    ended = pet.relaunch()
    assert not ended.failed
    assert ended.result["image_id"] == pet.image_id
    assert (pet.tags()["ec2ops:version"], pet.tags()[ROOT_OF]) == ("1", pet.web.instance_id)
    assert pet.relaunch().actions == []
    found = pet.web.ec2.describe_replace_root_volume_tasks()["ReplaceRootVolumeTasks"]
    assert [task["TaskState"] for task in found if task["InstanceId"] == pet.web.instance_id] == ["succeeded"]


@pytest.mark.parametrize("fate", ["keep", "delete"])
def test_unhealthy_root_volume_is_rolled_back(pet: Pet, fate: str) -> None:
    pet.sandbox.add_mark(pet.web.root_volume_id, "late")
    pet.sandbox.configure(options={"unhealthy_launches": True})
    ended = pet.relaunch(old_root_volume=fate)
    assert "healthy" in ended.failed
    assert [entry["action"] for entry in ended.result["rolled_back"]] == ["CreateReplaceRootVolumeTask"]
    assert pet.root == pet.web.root_volume_id
    assert any("late" in text for text in texts(pet.sandbox, pet.root))
    assert all(one["State"] == "in-use" for one in volumes(pet.sandbox).values())
    pet.sandbox.configure(options={"unhealthy_launches": False})
    again = pet.relaunch(old_root_volume=fate)
    assert not again.failed
    assert pet.tags()["ec2ops:version"] == "1"
    assert (pet.web.root_volume_id in volumes(pet.sandbox)) is (fate == "keep")
    assert pet.relaunch(old_root_volume=fate).actions == []


def test_interrupted_run_is_rolled_back_by_the_next_one(pet: Pet) -> None:
    pet.sandbox.configure(options={"unhealthy_launches": True})
    pet.kill(3)
    pet.sandbox.move_clock(60)
    ended = pet.relaunch()
    assert "healthy" in ended.failed
    assert [entry["action"] for entry in ended.result["rolled_back"]] == ["CreateReplaceRootVolumeTask"]
    assert pet.root == pet.web.root_volume_id


def test_old_botocore_rolls_back_from_a_snapshot(pet: Pet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fact_readers, "_FIRST_WITH_VOLUME", (99,))
    pet.sandbox.add_mark(pet.web.root_volume_id, "late")
    pet.sandbox.configure(options={"unhealthy_launches": True})
    assert "healthy" in pet.relaunch().failed
    assert (pet.root == pet.web.root_volume_id, pet.tags()[ROOT_OF]) == (False, pet.web.instance_id)
    assert any("late" in text for text in texts(pet.sandbox, pet.root))
    pet.sandbox.configure(options={"unhealthy_launches": False})
    assert "bake another version" in pet.relaunch().failed
    assert not pet.relaunch(pet.bake("2")).failed
    assert pet.tags()["ec2ops:version"] == "2"
    assert [one for one in snapshots(pet.sandbox).values() if "before" in one["Description"]] == []


def test_detached_root_is_told_with_its_remedy(pet: Pet) -> None:
    pet.sandbox.add_fault("CreateReplaceRootVolumeTask", kind="end", code="failed-detached")
    first = pet.relaunch()
    assert "failed-detached" in first.failed
    assert "has no root volume attached. Stop it, attach its former root volume" in first.failed
    again = pet.relaunch()
    assert f"{pet.web.root_volume_id} (available)" in again.failed
    assert again.actions == []
