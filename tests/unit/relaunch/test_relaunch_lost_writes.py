# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A relaunch that must lose no writes: the old instance has not run since the image was captured, or it is refused."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, instance_power, instance_relaunch

from in_process import Ended, Machine, changing_calls, machine, run
from sandbox.client import Sandbox


@pytest.fixture
def web(sandbox: Sandbox) -> Machine:
    sandbox.configure(options={"unhealthy_launches": False})
    return machine(sandbox)


def power(sandbox: Sandbox, web: Machine, state: str, **more: Any) -> Ended:
    return run(sandbox, module=instance_power, instance_ids=[web.instance_id], state=state, **more)


def bake(sandbox: Sandbox, web: Machine, **more: Any) -> Ended:
    given = {"name": "web", "version": "1", "source_instance_id": web.instance_id, "require_stopped": False}
    return run(sandbox, module=ami_bake, **{**given, **more})


def relaunch(sandbox: Sandbox, web: Machine, image_id: str, **more: Any) -> Ended:
    given = {"instance_id": web.instance_id, "image_id": image_id, "health": {"timeout": 60}, "lose_writes": False}
    return run(sandbox, module=instance_relaunch, **{**given, **more})


def test_held_since_the_capture_is_relaunched(sandbox: Sandbox, web: Machine) -> None:
    power(sandbox, web, "stopped", remember=True)
    image_id = bake(sandbox, web).result["image_id"]
    assert not relaunch(sandbox, web, image_id).failed


@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
def test_run_since_the_capture_is_refused(sandbox: Sandbox, web: Machine, check: bool) -> None:
    image_id = bake(sandbox, web).result["image_id"]
    before = sandbox.log()[-1]["sequence"]
    ended = relaunch(sandbox, web, image_id, check=check)
    assert f"lose_writes: {web.instance_id} has run since {image_id} was captured" in ended.failed
    assert f"Stop {web.instance_id} and bake another version" in ended.failed
    assert changing_calls(sandbox, before) == []


def test_stopped_again_after_the_capture_is_refused(sandbox: Sandbox, web: Machine) -> None:
    power(sandbox, web, "stopped", remember=True)
    image_id = bake(sandbox, web).result["image_id"]
    sandbox.move_clock(5)
    power(sandbox, web, "restored")
    power(sandbox, web, "stopped")
    assert "lose_writes:" in relaunch(sandbox, web, image_id).failed


def test_image_that_is_only_planned_is_not_older(sandbox: Sandbox, web: Machine) -> None:
    planned = bake(sandbox, web, check=True).result
    assert not relaunch(sandbox, web, planned["image_id"], check=True, assume=[planned["plan"]]).failed


def test_launch_without_capacity_names_the_lost_writes(sandbox: Sandbox, web: Machine) -> None:
    power(sandbox, web, "stopped", remember=True)
    image_id = bake(sandbox, web).result["image_id"]
    message = "We currently do not have sufficient t3.micro capacity."
    sandbox.add_fault("RunInstances", code="InsufficientInstanceCapacity", message=message, status=500)
    ended = relaunch(sandbox, web, image_id)
    assert "The image lacks the predecessor's writes since the capture" in ended.failed
    assert web.state == "running"
    sandbox.clear_faults()
    assert "lose_writes:" in relaunch(sandbox, web, image_id).failed
    assert web.state == "running"
