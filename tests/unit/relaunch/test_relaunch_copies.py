# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which data volumes a successor has copies of: those that the image's snapshots were taken of, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, instance_relaunch

from in_process import REGION, Ended, Killed, KillingGateway, Machine, changing_calls, machine, run
from sandbox.client import Sandbox
from worlds import sandbox_gateway

RHEL = {"platform_details": "Red Hat Enterprise Linux", "usage_operation": "RunInstances:0010"}


@pytest.fixture(autouse=True)
def healthy(sandbox: Sandbox) -> None:
    sandbox.configure(options={"unhealthy_launches": False})


def source(sandbox: Sandbox, kind: str, name: str = "web", data: int = 1, **facts: Any) -> Machine:
    """A machine whose image ami_bake makes with RegisterImage (linux) or with CreateImage (rhel)."""
    billing = RHEL if kind == "rhel" else {}
    sandbox.seed({"image": {"name": kind, **billing, **({"facts": facts} if facts else {})}})
    return machine(sandbox, name, data=data, image=kind)


def bake(sandbox: Sandbox, of: Machine, **more: Any) -> Ended:
    given = {"name": "web", "version": "1", "source_instance_id": of.instance_id, "require_stopped": False}
    return run(sandbox, module=ami_bake, **{**given, **more})


def relaunch(sandbox: Sandbox, web: Machine, image_id: str, **more: Any) -> Ended:
    given = {"instance_id": web.instance_id, "image_id": image_id, "health": {"timeout": 60}}
    return run(sandbox, module=instance_relaunch, **{**given, **more})


def foreseen(sandbox: Sandbox, web: Machine, baked: dict[str, Any], **more: Any) -> tuple[Ended, Ended]:
    """The check runs of two relaunches: from an image that is only planned, and from the existing image."""
    planned = bake(sandbox, web, check=True, **baked).result
    before = relaunch(sandbox, web, planned["image_id"], check=True, assume=[planned["plan"]], **more)
    after = relaunch(sandbox, web, bake(sandbox, web, **baked).result["image_id"], check=True, **more)
    return before, after


@pytest.mark.parametrize("kind", ["linux", "rhel"])
def test_data_volume_is_missed_before_the_image_exists(sandbox: Sandbox, kind: str) -> None:
    web = source(sandbox, kind)
    for ended in foreseen(sandbox, web, {"devices": "root"}):
        assert f"data_volumes: {web.instance_id} has data volumes /dev/sdf" in ended.failed


@pytest.mark.parametrize("kind", ["linux", "rhel"])
def test_data_volume_in_the_image_needs_no_choice(sandbox: Sandbox, kind: str) -> None:
    web = source(sandbox, kind)
    before, after = foreseen(sandbox, web, {"devices": "all"})
    assert not before.failed
    assert before.actions == after.actions
    for ended in (before, after):
        assert any("to its volumes /dev/xvda, /dev/sdf since" in warning for warning in ended.warnings)
        assert not any("stay with" in warning for warning in ended.warnings)


@pytest.mark.parametrize("kind", ["linux", "rhel"])
def test_type_that_cannot_boot_the_image_is_refused_before_the_image_exists(sandbox: Sandbox, kind: str) -> None:
    web = source(sandbox, kind, data=0, BootMode="uefi")
    for ended in foreseen(sandbox, web, {}, overrides={"instance_type": "t2.micro"}):
        assert "boots in mode uefi, but instance type t2.micro boots only in legacy-bios" in ended.failed


DEVICES = ("device_name", "size", "volume_type", "delete_on_termination", "encrypted")
HARDWARE = ("architecture", "root_device_name", "virtualization_type", "boot_mode", "ena_support", "tpm_support")


def test_create_image_is_predicted_as_it_will_be(sandbox: Sandbox) -> None:
    web = source(sandbox, "rhel", data=2, BootMode="uefi")
    first = {"device_name": "/dev/sdf", "volume_size": 30, "volume_type": "gp2", "delete_on_termination": True}
    given = {"devices": "all", "block_devices": [first]}
    planned, made = bake(sandbox, web, check=True, **given).result["image"], bake(sandbox, web, **given).result["image"]
    assert {key: planned[key] for key in HARDWARE} == {key: made[key] for key in HARDWARE}
    shown = [
        sorted(([item[key] for key in DEVICES] for item in image["block_devices"]), key=repr)
        for image in (planned, made)
    ]
    assert shown[0] == shown[1]


def test_snapshots_of_create_image_are_predicted(sandbox: Sandbox) -> None:
    web = source(sandbox, "rhel", data=1)
    found = bake(sandbox, web, check=True, devices="all").result["snapshots"]
    assert {item["volume_id"] for item in found} == {web.root_volume_id, *web.attached().values()}


def test_snapshot_of_another_volume_is_no_copy(sandbox: Sandbox) -> None:
    web = source(sandbox, "linux")
    golden = sandbox.seed({"image": {"name": "golden", "devices": [{"device": "/dev/sdf", "VolumeSize": 1}]}})["golden"]
    before = max((entry["sequence"] for entry in sandbox.log()), default=0)
    for check in (True, False):
        ended = relaunch(sandbox, web, golden, check=check)
        assert f"data_volumes: {web.instance_id} has data volumes /dev/sdf" in ended.failed
    assert changing_calls(sandbox, before) == []


def test_snapshot_of_another_instance_is_no_copy(sandbox: Sandbox) -> None:
    baked, other = source(sandbox, "linux", "a"), source(sandbox, "linux", "b")
    image_id = bake(sandbox, baked, devices="all").result["image_id"]
    assert f"data volumes /dev/sdf ({other.attached()['/dev/sdf']})" in relaunch(sandbox, other, image_id).failed
    assert not relaunch(sandbox, baked, image_id, check=True).failed


def test_other_content_at_the_name_of_a_kept_volume_is_reported(sandbox: Sandbox) -> None:
    web = source(sandbox, "linux")
    golden = sandbox.seed({"image": {"name": "golden", "devices": [{"device": "/dev/sdf", "VolumeSize": 1}]}})["golden"]
    warnings = relaunch(sandbox, web, golden, check=True, data_volumes="keep").warnings
    assert any(
        "EC2 does not show that the snapshots" in warning and "/dev/sdf (snap-" in warning for warning in warnings
    )
    assert any(f"to its root volume since the capture of {golden}" in warning for warning in warnings)


def test_finished_by_a_later_run_names_no_choice_that_was_not_made(sandbox: Sandbox) -> None:
    web = source(sandbox, "linux")
    image_id = bake(sandbox, web).result["image_id"]
    killing = KillingGateway(sandbox_gateway(sandbox, REGION), 1)
    with pytest.raises(Killed):
        relaunch(sandbox, web, image_id, data_volumes="keep", gateway=killing)
    ended = relaunch(sandbox, web, image_id)
    (warning,) = [item for item in ended.warnings if "stay with" in item]
    assert "data volumes /dev/sdf" in warning
    assert "data_volumes: keep" not in warning


@pytest.mark.parametrize(("tags", "blamed"), [(48, "overrides.tags:"), (49, "instance_id:"), (50, "instance_id:")])
def test_too_many_tags_blame_who_has_them(sandbox: Sandbox, tags: int, blamed: str) -> None:
    web = machine(sandbox, tags={f"k{number}": "v" for number in range(tags - 1)})
    image_id = sandbox.seed({"image": {"name": "other"}})["other"]
    ended = relaunch(sandbox, web, image_id, check=True, overrides={"tags": {"new": "x"}})
    assert ended.failed.startswith(blamed)
