# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cause of a failed bake is reported once, and a source that an earlier run left stopped is started."""

from __future__ import annotations

from typing import Any

import pytest

from playbook.seeds import Web
from playbook.support import PLAYS, changing_calls, described_instance, leave_stopped, run_playbook
from sandbox.client import Sandbox

BAKE = "ec2ops.storage.bake_and_relaunch"
ROLE = PLAYS / "golden_image.yml"
KEPT = {f"bake_and_relaunch_{name}": "keep" for name in ("data_volumes", "elastic_ip", "target_groups")}


def bake(web: Web, **more: Any) -> dict[str, Any]:
    return {
        "bake_and_relaunch_instance_id": web.instance_id,
        "bake_and_relaunch_name": "web",
        "bake_and_relaunch_version": "1",
        **KEPT,
        **more,
    }


@pytest.mark.parametrize("preflight", [False, True])
def test_missing_permission_is_reported_once(sandbox: Sandbox, web: Web, preflight: bool) -> None:
    sandbox.add_fault("*", code="UnauthorizedOperation", message="You are not authorized.", status=403)
    run = run_playbook(sandbox, BAKE, bake(web, bake_and_relaunch_preflight=preflight))
    assert run.status != 0
    assert len(run.failures) == 1, run.failures
    assert "UnauthorizedOperation" in run.failures[0]


def test_missing_source_is_reported_once(sandbox: Sandbox) -> None:
    given = {"golden_image_instance_id": "i-0123456789abcdef0", "golden_image_name": "web", "golden_image_version": "1"}
    run = run_playbook(sandbox, ROLE, given)
    assert run.status != 0
    assert len(run.failures) == 1, run.failures
    assert "source_instance_id: i-0123456789abcdef0 does not exist" in run.failures[0]


def test_start_that_ec2_takes_back_is_tried_and_reported_once(sandbox: Sandbox, web: Web) -> None:
    fault = {"kind": "end", "code": "Client.InternalError", "message": "Client error on launch"}
    sandbox.add_fault("StartInstances", **fault, occurrence={"first": 2})
    after = max(entry["sequence"] for entry in sandbox.log())
    run = run_playbook(sandbox, BAKE, bake(web))
    assert run.status != 0
    assert len(run.failures) == 1, run.failures
    assert "EC2 could not start it" in run.failures[0]
    assert changing_calls(sandbox.log(after=after)).count("StartInstances") == 1
    sandbox.clear_faults()
    again = run_playbook(sandbox, BAKE, bake(web))
    assert again.status == 0, again.output


@pytest.mark.parametrize("playbook", [BAKE, ROLE], ids=["playbook", "role"])
def test_failed_plan_starts_instances_left_stopped(sandbox: Sandbox, web: Web, playbook: Any) -> None:
    leave_stopped(sandbox, web.instance_id)
    devices = [{"device_name": "/dev/sdz", "volume_size": 20}]
    given = bake(web, bake_and_relaunch_block_devices=devices)
    if playbook == ROLE:
        given = {
            "golden_image_instance_id": web.instance_id,
            "golden_image_name": "web",
            "golden_image_version": "1",
            "golden_image_block_devices": devices,
        }
    run = run_playbook(sandbox, playbook, given)
    assert run.status != 0
    assert len(run.failures) == 1, run.failures
    assert "block_devices: the image has no device /dev/sdz" in run.failures[0]
    assert described_instance(sandbox, web.instance_id)["State"]["Name"] == "running"


def test_failed_start_after_a_failed_plan_is_reported_too(sandbox: Sandbox, web: Web) -> None:
    leave_stopped(sandbox, web.instance_id)
    sandbox.add_fault("StartInstances", code="UnauthorizedOperation", status=403)
    sandbox.add_fault("DescribeImages", code="UnauthorizedOperation", status=403)
    run = run_playbook(sandbox, BAKE, bake(web))
    assert run.status != 0
    assert len(run.failures) == 2, run.failures
    assert "DescribeImages" in run.failures[0]
    assert "StartInstances" in run.failures[1]
