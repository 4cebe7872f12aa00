# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ids of instances that a relaunch has replaced: the refusal names the successor."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import (
    ami_bake,
    ebs_volume_spec,
    instance_power,
    instance_relaunch,
)

from in_process import REGION, Ended, Machine, changing_calls, machine, run
from sandbox.client import Sandbox

DATA = {"name": "data", "size": 1}


def relaunched(sandbox: Sandbox) -> tuple[Machine, str]:
    """An instance that is stopped since a relaunch, and the id of its successor."""
    old = machine(sandbox)
    run(sandbox, instance_id=old.instance_id, volumes=[{"name": "logs", "size": 1}])
    baked = run(
        sandbox,
        module=ami_bake,
        name="web",
        version="1",
        source_instance_id=old.instance_id,
        require_stopped=False,
    )
    ended = run(
        sandbox,
        module=instance_relaunch,
        instance_id=old.instance_id,
        image_id=baked.result["image_id"],
        data_volumes="keep",
    )
    assert ended.failed == ""
    sandbox.reset_log()
    return old, str(ended.result["instance_id"])


def terminate(sandbox: Sandbox, *ids: str) -> None:
    sandbox.client("ec2", REGION).terminate_instances(InstanceIds=list(ids))
    sandbox.move_clock(60)
    sandbox.reset_log()


def declared(sandbox: Sandbox, instance_id: str, *entries: dict[str, Any], check: bool = False, **given: Any) -> Ended:
    return run(sandbox, module=ebs_volume_spec, check=check, instance_id=instance_id, volumes=list(entries), **given)


@pytest.mark.parametrize("check", [True, False])
def test_volume_for_a_retired_predecessor_is_refused(sandbox: Sandbox, check: bool) -> None:
    old, successor = relaunched(sandbox)
    ended = declared(sandbox, old.instance_id, DATA, check=check)
    assert f"{old.instance_id} was replaced by {successor}, which is running" in ended.failed
    assert changing_calls(sandbox, 0) == []
    assert list(old.attached()) == ["/dev/sdf"]


def test_declaration_of_a_retired_predecessor_that_holds_is_left_alone(sandbox: Sandbox) -> None:
    old, _successor = relaunched(sandbox)
    ended = declared(sandbox, old.instance_id, {"name": "logs", "size": 1})
    assert ended.failed == ""
    assert ended.result["changed"] is False
    assert sum(ended.result["api_calls"].values()) == 3


def test_predecessor_that_runs_again_gets_its_volumes(sandbox: Sandbox) -> None:
    old, _successor = relaunched(sandbox)
    ended = run(sandbox, module=instance_power, instance_ids=[old.instance_id], state="running", force_start=True)
    assert ended.failed == ""
    assert declared(sandbox, old.instance_id, {"name": "logs", "size": 1}, DATA).failed == ""


@pytest.mark.parametrize("forgotten", [False, True])
def test_volume_for_a_terminated_predecessor_names_the_successor(sandbox: Sandbox, forgotten: bool) -> None:
    old, successor = relaunched(sandbox)
    terminate(sandbox, old.instance_id)
    if forgotten:
        sandbox.move_clock(7200)
    ended = declared(sandbox, old.instance_id, DATA)
    assert f"{old.instance_id} was replaced by {successor}, which is running" in ended.failed
    assert f"spec: {old.instance_id}" in ended.failed


def test_remedy_moves_the_declaration_to_the_successor(sandbox: Sandbox) -> None:
    old, successor = relaunched(sandbox)
    (logs,) = old.attached().values()
    terminate(sandbox, old.instance_id)
    ended = declared(sandbox, successor, {"name": "logs", "size": 1}, spec=old.instance_id)
    assert ended.failed == ""
    assert [(entry["action"], entry["resource"]) for entry in ended.result["plan"]] == [("AttachVolume", logs)]


def test_id_that_nothing_replaces_does_not_exist(sandbox: Sandbox) -> None:
    ended = declared(sandbox, "i-00000000000000005", DATA)
    assert "i-00000000000000005 does not exist in us-east-1" in ended.failed


def test_stopped_instance_without_a_successor_gets_its_volumes(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    run(sandbox, module=instance_power, instance_ids=[web.instance_id], state="stopped")
    assert declared(sandbox, web.instance_id, DATA).failed == ""


# --- instance_power ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["running", "stopped"])
@pytest.mark.parametrize("forgotten", [False, True])
def test_power_of_a_terminated_predecessor_names_the_successor(sandbox: Sandbox, state: str, forgotten: bool) -> None:
    old, successor = relaunched(sandbox)
    terminate(sandbox, old.instance_id)
    if forgotten:
        sandbox.move_clock(7200)
    ended = run(sandbox, module=instance_power, instance_ids=[old.instance_id], state=state)
    assert f"{successor} (running) has replaced it" in ended.failed
    assert "Name the successor" in ended.failed


@pytest.mark.parametrize("state", ["running", "stopped"])
def test_ten_unknown_ids_are_named_and_the_others_are_counted(sandbox: Sandbox, state: str) -> None:
    ids = [f"i-000000000000000{number:02x}" for number in range(40)]
    ended = run(sandbox, module=instance_power, instance_ids=ids, state=state)
    assert "… and 30 more" in ended.failed
    assert len(ended.failed) < 700
    assert ended.failed.endswith("The task has changed nothing. Check the ids and the region.")


def test_ten_terminated_ids_are_named_and_the_others_are_counted(sandbox: Sandbox) -> None:
    names = sandbox.seed({"instances": [{"name": f"q{number}"} for number in range(30)]})
    ids = [names[f"q{number}"] for number in range(30)]
    terminate(sandbox, *ids)
    ended = run(sandbox, module=instance_power, instance_ids=ids, state="running")
    assert ended.failed.count("is terminated") == 10
    assert "… and 20 more" in ended.failed


# --- instance_relaunch ------------------------------------------------------------------------------------------------


def test_relaunch_names_ten_data_volumes(sandbox: Sandbox) -> None:
    web = machine(sandbox, data=11)
    baked = run(
        sandbox, module=ami_bake, name="w", version="1", source_instance_id=web.instance_id, require_stopped=False
    )
    ended = run(sandbox, module=instance_relaunch, instance_id=web.instance_id, image_id=baked.result["image_id"])
    assert "/dev/sdo (vol-" in ended.failed
    assert "… and 1 more, which its successor would lack" in ended.failed
