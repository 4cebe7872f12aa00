# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Connection options come from one place, the module_defaults of the play, and no role erases them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from playbook.seeds import Web, at_once
from playbook.support import PLAYS, REGION, playbook_environment, run_playbook
from sandbox.client import Sandbox
from tools.environment import ROOT

CONNECTION = (
    "access_key|aws_ca_bundle|aws_config|debug_botocore_endpoint_logs|endpoint_url|profile|region|secret_key"
    "|session_token|validate_certs"
)
FILES = [*ROOT.glob("roles/*/tasks/*.yml"), *ROOT.glob("playbooks/**/*.yml")]


def test_the_tests_give_no_region_in_the_environment(sandbox: Sandbox, tmp_path: Path) -> None:
    given = playbook_environment(sandbox, tmp_path / "record")
    assert {name for name in given if name.startswith("AWS_")} == {
        "AWS_ENDPOINT_URL",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_EC2_METADATA_DISABLED",
        "AWS_CONFIG_FILE",
        "AWS_SHARED_CREDENTIALS_FILE",
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_task_passes_a_connection_option(path: Path) -> None:
    """An argument with the value `omit` erases the default of the play."""
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if re.match(rf" +({CONNECTION}):", line)] == []


def test_defaults_of_single_modules_reach_the_bake(sandbox: Sandbox, web: Web) -> None:
    given = {
        "test_role": "golden_image",
        "golden_image_instance_id": web.instance_id,
        "golden_image_name": "web",
        "golden_image_version": "1",
        "golden_image_hardware": {"imds_support": "v2.0"},
    }
    run = run_playbook(sandbox, PLAYS / "defaults_by_module.yml", given, check=True)
    assert run.status == 0, run.output
    planned = {entry["action"]: entry["parameters"] for entry in run.fact("golden_image_result")["plan"]}
    assert planned["RegisterImage"]["ImdsSupport"] == "v2.0"


def test_defaults_of_single_modules_reach_the_restore(sandbox: Sandbox, web: Web) -> None:
    with at_once(sandbox):
        sandbox.client("ec2", REGION).create_snapshot(VolumeId=web.data_volume_id)
    given = {
        "test_role": "restore",
        "restore_source_volume_ids": [web.data_volume_id],
        "restore_zone": f"{REGION}a",
    }
    run = run_playbook(sandbox, PLAYS / "defaults_by_module.yml", given, check=True)
    assert run.status == 0, run.output
    assert [entry["action"] for entry in run.fact("restore_result")["plan"]] == ["CreateVolume"]
