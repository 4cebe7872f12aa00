# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A playbook ends with one summary, also when it fails: EC2's ids, reasons, and no more than a screen of them."""

from __future__ import annotations

import re
from typing import Any

import pytest

from playbook.seeds import Web, at_once
from playbook.support import REGION, Run, run_playbook
from sandbox.client import Sandbox

BAKE = "ec2ops.storage.bake_and_relaunch"


def shown(run: Run) -> dict[str, Any]:
    """The one summary of the run."""
    (summary,) = [
        each.result["msg"]
        for each in run.results
        if each.action == "ansible.builtin.debug" and isinstance(each.result.get("msg"), dict)
    ]
    return dict(summary)


def handed(run: Run, playbook: str, host: str = "localhost") -> dict[str, Any]:
    """The values that the run hands to the next jobs of a workflow."""
    (stats,) = [each.result["ansible_stats"] for each in run.results if each.action == "ansible.builtin.set_stats"]
    return dict(stats["data"][f"ec2ops_{playbook}"][host])


def bake(web: Web, **more: Any) -> dict[str, Any]:
    return {
        "bake_and_relaunch_instance_id": web.instance_id,
        "bake_and_relaunch_name": "web",
        "bake_and_relaunch_version": "1",
        "bake_and_relaunch_data_volumes": "keep",
        **more,
    }


def test_failed_relaunch_shows_its_finished_changes(sandbox: Sandbox, web: Web) -> None:
    sandbox.add_fault("RunInstances", code="InsufficientInstanceCapacity", status=500)
    run = run_playbook(sandbox, BAKE, bake(web))
    assert run.status != 0
    lines = shown(run)["changes"]
    made = [line.split()[0] for line in lines]
    for action in ("StopInstances", "StartInstances", "RegisterImage"):
        assert action in made, lines
    assert any(line.startswith("RegisterImage ami-") for line in lines), lines
    assert any(line.startswith("failed: RunInstances") for line in lines), lines
    assert handed(run, "bake_and_relaunch")["changed"] is True


def test_relaunch_summary_has_a_line_for_each_task(sandbox: Sandbox, web: Web) -> None:
    run = run_playbook(sandbox, BAKE, bake(web))
    assert run.status == 0, run.output
    summary = shown(run)["summary"]
    assert summary[0].startswith("1 instance stopped"), summary
    assert re.search(r"image web/1 is ami-[0-9a-f]+, available", "\n".join(summary)), summary
    launched = r"1 instance launched.*; i-[0-9a-f]+ runs from ami-[0-9a-f]+; strategy replace_instance"
    assert re.search(launched, summary[-1]), summary
    stats = handed(run, "bake_and_relaunch")
    assert stats["summary"] == summary
    assert stats["replaced"] == web.instance_id
    again = run_playbook(sandbox, BAKE, bake(web))
    assert again.status == 0, again.output
    (line,) = shown(again)["summary"]
    assert line.startswith("no change; i-"), line
    assert handed(again, "bake_and_relaunch")["changed"] is False


def test_rotation_without_diff_shows_its_summary(sandbox: Sandbox, web: Web) -> None:
    policies = [{"policy": "daily", "select": {"volume_ids": [web.data_volume_id]}, "keep": {"daily": 7}}]
    run = run_playbook(sandbox, "ec2ops.storage.rotate_snapshots", {"rotate_snapshots_policies": policies})
    assert run.status == 0, run.output
    (line,) = shown(run)["summary"]
    assert re.fullmatch(r"daily: 1 snapshot taken; 1 kept; newest recovery point \d+ s old", line), line
    stats = handed(run, "rotate_snapshots")
    assert stats["summary"] == [line]
    assert stats["failed"] == []
    assert re.fullmatch(r"\w+", stats["plan_hashes"]["daily"])


def test_a_failed_restore_of_power_shows_its_summary(sandbox: Sandbox) -> None:
    given = {"restore_power_instance_ids": ["i-0123456789abcdef0"]}
    run = run_playbook(sandbox, "ec2ops.storage.restore_power", given)
    assert run.status != 0
    assert shown(run) == {"summary": [], "changes": []}
    assert handed(run, "restore_power") == {"changed": False, "summary": []}


def test_declared_volumes_are_shown_before_a_failure(sandbox: Sandbox, web: Web) -> None:
    sandbox.add_fault("AttachVolume", code="InvalidParameterValue", status=400)
    given = {
        "apply_volume_specs_instance_id": web.instance_id,
        "apply_volume_specs_volumes": [{"name": "data", "size": 3}],
    }
    run = run_playbook(sandbox, "ec2ops.storage.apply_volume_specs", given)
    assert run.status != 0
    lines = shown(run)["changes"]
    assert lines[0].startswith("CreateVolume vol-"), lines
    assert lines[1].startswith("failed: AttachVolume vol-"), lines


def test_a_move_shows_ids_and_reasons(sandbox: Sandbox) -> None:
    ec2 = sandbox.client("ec2", REGION)
    with at_once(sandbox):
        volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1)["VolumeId"]
    given = {"move_volumes_volume_ids": [volume], "move_volumes_target_zone": f"{REGION}b"}
    run = run_playbook(sandbox, "ec2ops.storage.move_volumes", given)
    assert run.status == 0, run.output
    lines = shown(run)["changes"]
    assert lines
    for line in lines:
        assert "(new " not in line
        assert re.fullmatch(r"\w+ (i|vol|snap|ami)-[0-9a-f]{17}: .+", line)


@pytest.mark.parametrize("preflight", [False, True])
def test_credentials_error_is_reported_once(sandbox: Sandbox, web: Web, preflight: bool) -> None:
    sandbox.add_fault("*", code="AuthFailure", message="AWS was not able to validate the credentials", status=401)
    run = run_playbook(sandbox, BAKE, bake(web, bake_and_relaunch_preflight=preflight))
    assert run.status != 0
    assert len(run.failures) == 1, run.failures
    assert "AuthFailure" in run.failures[0]
    assert shown(run) == {"summary": [], "changes": []}
