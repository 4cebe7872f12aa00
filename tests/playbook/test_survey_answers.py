# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of a survey are text, and unanswered questions are empty: neither changes the plan of a playbook."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from playbook.seeds import Web, at_once
from playbook.support import REGION, Run, assert_told_the_same, run_playbook
from sandbox.client import Sandbox
from tools.specified import known_variables

Answers = Mapping[str, Any]


def as_text(value: Any) -> str:
    """The answer that stands for a value: YAML of a mapping or list, ``true``, ``600``."""
    if isinstance(value, (Mapping, list)):
        return yaml.safe_dump(value)
    return value if isinstance(value, str) else json.dumps(value)


def run_all(sandbox: Sandbox, tmp_path: Path, name: str, required: Answers, optional: Answers) -> Run:
    """Checks the playbook for three hosts: one with structures, one with text, and one without optional answers."""
    left = known_variables()[name] - {f"{name}_{each}" for each in (*required, *optional, "hosts")}
    given = {f"{name}_{each}": value for each, value in {**required, **optional}.items()}
    blank = {f"{name}_{each}": as_text(value) for each, value in required.items()}
    hosts = {
        "structures": given,
        "text": {variable: as_text(value) for variable, value in given.items()} | dict.fromkeys(left, ""),
        "blank": {**dict.fromkeys((*given, *left), ""), **blank},
    }
    inventory = tmp_path / "hosts.yml"
    inventory.write_text(json.dumps({"all": {"hosts": hosts}}), encoding="utf-8")
    variables = {f"{name}_hosts": "all", f"{name}_region": REGION}
    run = run_playbook(sandbox, f"ec2ops.storage.{name}", variables, "-i", str(inventory), check=True)
    assert run.status == 0, run.output
    return run


def plans(run: Run, fact: str) -> dict[str, str]:
    """The plan of each host, as text to compare."""
    return {host: json.dumps(run.fact(fact, host)["plan"]) for host in ("structures", "text", "blank")}


def test_volumes_are_declared_by_text(sandbox: Sandbox, web: Web, tmp_path: Path) -> None:
    required = {
        "instance_id": web.instance_id,
        "volumes": [{"name": "log", "size": 3, "tags": {"team": "shop"}}],
        "spec": "web",
    }
    optional = {
        "aws": {"validate_certs": False},
        "delegate_to": "localhost",
        "purge_volumes": False,
        "purge_tags": False,
        "final_snapshot": True,
        "replace": "never",
        "delete_replaced": False,
        "in_use": "refuse",
        "lose_instance_store": False,
        "steal": False,
        "on_cooldown": "defer",
        "wait_timeout": 600,
    }
    found = plans(run_all(sandbox, tmp_path, "apply_volume_specs", required, optional), "apply_volume_specs_result")
    assert "CreateVolume" in found["structures"]
    assert found["text"] == found["structures"] == found["blank"]


def test_declarations_are_text(sandbox: Sandbox, web: Web, tmp_path: Path) -> None:
    specs = [{"instance_ids": [web.instance_id], "spec": "web", "volumes": [{"name": "log", "size": 3}]}]
    found = plans(run_all(sandbox, tmp_path, "apply_volume_specs", {"specs": specs}, {}), "apply_volume_specs_result")
    assert "CreateVolume" in found["structures"]
    assert found["text"] == found["structures"] == found["blank"]


def test_policies_are_text(sandbox: Sandbox, web: Web, tmp_path: Path) -> None:
    policies = [{"policy": "daily", "select": {"volume_ids": [web.data_volume_id]}, "keep": {"daily": 7}}]
    optional = {"delegate_to": "localhost", "aws": {"validate_certs": False}, "expected_plans": {"daily": "0123"}}
    run = run_all(sandbox, tmp_path, "rotate_snapshots", {"policies": policies}, optional)
    found = plans(run, "snapshot_policy_result")
    assert "CreateSnapshot" in found["structures"]
    assert found["text"] == found["structures"] == found["blank"]


def test_a_restore_is_described_by_text(sandbox: Sandbox, web: Web, tmp_path: Path) -> None:
    with at_once(sandbox):
        sandbox.client("ec2", REGION).create_snapshot(VolumeId=web.data_volume_id)
    required = {"source_volume_ids": [web.data_volume_id], "zone": f"{REGION}a", "name": "again"}
    optional = {"drill": False, "delegate_to": "localhost", "aws": {"validate_certs": False}, "wait_timeout": 600}
    found = plans(run_all(sandbox, tmp_path, "restore_volumes", required, optional), "restore_result")
    assert "CreateVolume" in found["structures"]
    assert found["text"] == found["structures"] == found["blank"]


def test_a_move_is_described_by_text(sandbox: Sandbox, tmp_path: Path) -> None:
    with at_once(sandbox):
        volume = sandbox.client("ec2", REGION).create_volume(AvailabilityZone=f"{REGION}a", Size=1)["VolumeId"]
    required = {"volume_ids": [volume], "target_zone": f"{REGION}b", "names": {volume: "data"}}
    optional = {
        "in_use": "refuse",
        "delete_source": False,
        "delegate_to": "localhost",
        "aws": {"validate_certs": False},
        "wait_timeout": 600,
    }
    found = plans(run_all(sandbox, tmp_path, "move_volumes", required, optional), "volume_move_result")
    assert "CreateVolume" in found["structures"]
    assert found["text"] == found["structures"] == found["blank"]


def test_power_is_restored_by_text(sandbox: Sandbox, web: Web, tmp_path: Path) -> None:
    required = {"instance_ids": [web.instance_id]}
    optional = {"older_than": "1h", "delegate_to": "localhost", "aws": {"validate_certs": False}, "wait_timeout": 600}
    run = run_all(sandbox, tmp_path, "restore_power", required, optional)
    results = {each.host: each.result["plan"] for each in run.ours}
    assert results == {"structures": [], "text": [], "blank": []}


@pytest.mark.parametrize("answered", ["text", "blank"])
def test_a_bake_is_described_by_text(sandbox: Sandbox, web: Web, answered: str) -> None:
    name = "bake_and_relaunch"
    required = {"region": REGION, "instance_id": web.instance_id, "name": "web", "version": "1", "data_volumes": "keep"}
    optional = {
        "aws": {"validate_certs": False},
        "image_name": "{name}-{version}",
        "devices": "root",
        "stop": True,
        "hold": False,
        "preflight": True,
        "strategy": "replace_instance",
        "old_instance": "stop",
        "lose_instance_store": False,
        "health_timeout": 600,
        "wait_timeout": 1800,
        "delegate_to": "localhost",
    }
    if answered == "text":
        optional |= {"tags": {"team": "shop"}, "devices": ["/dev/xvda"], "overrides": {"instance_type": "t3.small"}}
        optional |= {"block_devices": [{"device_name": "/dev/xvda", "volume_size": 10}]}
        optional |= {"hardware": {"imds_support": "v2.0"}, "distribution": {"deprecate_after": "30d"}}
    given = {f"{name}_{each}": value for each, value in {**required, **optional}.items()}
    left = known_variables()[name] - set(given)
    answers = {variable: as_text(value) for variable, value in given.items()}
    if answered == "blank":
        answers = {
            variable: value if variable[len(name) + 1 :] in required else "" for variable, value in answers.items()
        }
    told = []
    for variables in (given, {**dict.fromkeys(left, ""), **answers}):
        run = run_playbook(sandbox, f"ec2ops.storage.{name}", variables, check=True)
        assert run.status == 0, run.output
        told.append(run.fact(f"{name}_result")["plan"])
    assert "RegisterImage" in [entry["action"] for entry in told[0]]
    assert_told_the_same(told[0], told[1], {})
