# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Variables of roles and playbooks that are misspelt, or hold another type than they seem to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from playbook.seeds import Web, at_once
from playbook.support import PLAYS, REGION, run_playbook
from sandbox.client import Sandbox
from tools.environment import ROOT
from tools.specified import known_variables

PLAYBOOKS = sorted(path.stem for path in ROOT.glob("playbooks/*.yml"))
BAKE = "ec2ops.storage.bake_and_relaunch"


def test_every_playbook_is_specified() -> None:
    assert set(PLAYBOOKS) <= set(known_variables())
    assert len(PLAYBOOKS) >= 6


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_specification_of_a_playbook_has_the_variables_that_it_reads(name: str) -> None:
    # The role of the same name, if there is one, reads its variables itself.
    files = [*ROOT.glob("playbooks/**/*.yml"), *ROOT.glob(f"roles/{name}/**/*.yml")]
    text = "".join(path.read_text(encoding="utf-8") for path in files if not {"meta", "defaults"} & set(path.parts))
    code = re.sub(r"(^|\s)#.*", "", text)
    read = {found for found in re.findall(rf"(?<![\w.]){name}_\w+", code) if not found.endswith("_result")}
    assert read == known_variables()[name]


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_a_playbook_refuses_a_misspelt_variable(sandbox: Sandbox, name: str) -> None:
    sandbox.reset_log()
    run = run_playbook(sandbox, f"ec2ops.storage.{name}", {f"{name}_delegat_to": "localhost"})
    assert run.status != 0
    assert run.failures == [f"{name}_delegat_to: {name} has no such variable. Did you mean {name}_delegate_to?"]
    assert sandbox.log() == []


def test_a_misspelt_hold_is_refused_before_anything_is_stopped(sandbox: Sandbox, web: Web) -> None:
    given = {
        "bake_and_relaunch_instance_id": web.instance_id,
        "bake_and_relaunch_name": "web",
        "bake_and_relaunch_version": "1",
        "bake_and_relaunch_hld": True,
    }
    sandbox.reset_log()
    run = run_playbook(sandbox, BAKE, given)
    assert run.status != 0
    assert "bake_and_relaunch_hold" in run.failures[0]
    assert sandbox.log() == []


def test_a_playbook_refuses_a_misspelt_variable_of_its_role(sandbox: Sandbox, web: Web) -> None:
    given = {
        "bake_and_relaunch_instance_id": web.instance_id,
        "bake_and_relaunch_name": "web",
        "bake_and_relaunch_version": "1",
        "relaunch_overides": {"instance_type": "t3.small"},
    }
    sandbox.reset_log()
    run = run_playbook(sandbox, BAKE, given)
    assert run.status != 0
    assert "relaunch_overrides" in run.failures[0]
    assert sandbox.log() == []


@pytest.mark.parametrize(
    ("play", "wrong", "meant"),
    [
        ("golden_image", "golden_image_vesion", "golden_image_version"),
        ("relaunch", "relaunch_old_instances", "relaunch_old_instance"),
        ("volume_move", "volume_move_zone", "volume_move_target_zone"),
        ("restore", "restore_volume_ids", "restore_source_volume_ids"),
        ("snapshot_policy", "snapshot_policy_pre_task", "snapshot_policy_pre_tasks"),
    ],
)
def test_a_role_refuses_a_misspelt_variable_of_the_inventory(
    sandbox: Sandbox, play: str, wrong: str, meant: str
) -> None:
    required = {
        "golden_image_instance_id": "i-0123456789abcdef0",
        "golden_image_name": "web",
        "golden_image_version": "1",
        "relaunch_instance_id": "i-0123456789abcdef0",
        "relaunch_image_id": "ami-0123456789abcdef0",
        "volume_move_volume_ids": ["vol-0123456789abcdef0"],
        "snapshot_policy_policies": [],
        "test_role": play,
    }
    sandbox.reset_log()
    inventory = f"localhost ansible_connection=local {wrong}=x\n"
    run = run_playbook(sandbox, PLAYS / "defaults_by_module.yml", required, inventory=inventory)
    assert run.status != 0
    assert f"{wrong}: {play} has no such variable. Did you mean {meant}?" in run.failures
    assert sandbox.log() == []


def test_common_foreign_variable_gives_a_warning(sandbox: Sandbox, web: Web) -> None:
    with at_once(sandbox):
        sandbox.client("ec2", REGION).create_snapshot(VolumeId=web.data_volume_id)
    given = {
        "restore_volumes_source_volume_ids": [web.data_volume_id],
        "restore_volumes_zone": f"{REGION}a",
        "restore_database_dump": "/srv/dump",
        "restore_of_the_shop_result": {},
        "relaunch_colour": "blue",
    }
    run = run_playbook(sandbox, "ec2ops.storage.restore_volumes", given, check=True)
    assert run.status == 0, run.output
    assert "restore_database_dump: restore has no such variable" in run.output
    assert "restore_of_the_shop_result" not in run.output
    assert "relaunch_colour" not in run.output


@pytest.mark.parametrize(
    ("playbook", "variable", "value", "words"),
    [
        ("move_volumes", "move_volumes_wait_timeout", "an hour", "int"),
        ("restore_volumes", "restore_volumes_wait_timeout", "{{ 'an hour' }}", "int"),
        ("restore_volumes", "restore_volumes_drill", "perhaps", "bool"),
        ("bake_and_relaunch", "bake_and_relaunch_old_instance", "delete", "stop, terminate, keep"),
        ("apply_volume_specs", "apply_volume_specs_in_use", "force", "refuse, stop, detach"),
        ("restore_power", "restore_power_wait_timeout", [1], "int"),
    ],
)
def test_a_playbook_refuses_a_wrong_value_by_its_own_variable(
    sandbox: Sandbox, playbook: str, variable: str, value: object, words: str
) -> None:
    sandbox.reset_log()
    run = run_playbook(sandbox, f"ec2ops.storage.{playbook}", {variable: value})
    assert run.status != 0
    assert run.failures[0].startswith(f"{variable}: ")
    assert words in run.failures[0]
    assert sandbox.log() == []


@pytest.mark.parametrize("version", [2026.10, True, ["1"]], ids=str)
def test_a_playbook_refuses_a_version_that_is_not_text(sandbox: Sandbox, web: Web, version: object) -> None:
    given = {
        "bake_and_relaunch_instance_id": web.instance_id,
        "bake_and_relaunch_name": "web",
        "bake_and_relaunch_version": version,
    }
    sandbox.reset_log()
    run = run_playbook(sandbox, BAKE, given)
    assert run.status != 0
    assert run.failures[0].startswith("bake_and_relaunch_version: ")
    assert "Quote it" in run.failures[0]
    assert sandbox.log() == []


def test_a_role_refuses_a_version_that_is_not_text(sandbox: Sandbox, web: Web, tmp_path: Path) -> None:
    """YAML reads such a version in a file of variables."""
    given = {"golden_image_instance_id": web.instance_id, "golden_image_name": "web"}
    file = tmp_path / "variables.yml"
    file.write_text("golden_image_version: 2026.10\n", encoding="utf-8")
    sandbox.reset_log()
    run = run_playbook(sandbox, PLAYS / "golden_image.yml", given, "-e", f"@{file}")
    assert run.status != 0
    assert run.failures[-1].startswith("golden_image_version: 2026.1 is not text. Quote it")
    assert sandbox.log() == []


def test_two_regions_are_refused_by_name(sandbox: Sandbox) -> None:
    given = {"restore_power_aws": {"region": REGION}, "restore_power_region": "eu-west-1"}
    sandbox.reset_log()
    run = run_playbook(sandbox, "ec2ops.storage.restore_power", given)
    assert run.status != 0
    assert "restore_power_region: 'eu-west-1' differs from region in restore_power_aws" in run.failures[0]
    assert sandbox.log() == []


def test_connection_and_ids_may_be_text(sandbox: Sandbox) -> None:
    """A survey, or -e name=value, gives such text."""
    ec2 = sandbox.client("ec2", REGION)
    with at_once(sandbox):
        made = [ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1)["VolumeId"] for _each in range(2)]
    given = {
        "move_volumes_aws": f"region: {REGION}",
        "move_volumes_volume_ids": ", ".join(made),
        "move_volumes_target_zone": f"{REGION}b",
    }
    run = run_playbook(sandbox, "ec2ops.storage.move_volumes", given, check=True)
    assert run.status == 0, run.output
    planned = [entry["action"] for entry in run.fact("volume_move_result")["plan"]]
    assert planned.count("CreateVolume") == 2


@pytest.mark.parametrize(
    ("playbook", "variable", "value", "said"),
    [
        ("restore_power", "aws", "eu-central-1", "'eu-central-1' is not a mapping. Give one such as {region: "),
        ("rotate_snapshots", "policies", "daily", "'daily' is not a list of mappings. Give one such as [{policy: "),
        ("apply_volume_specs", "volumes", ["data"], "is not a list of mappings. Give one such as [{name: data, "),
        ("move_volumes", "volume_ids", {"a": 1}, "is not a list of ids. Give one such as [vol-0123456789abcdef0]"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(
    sandbox: Sandbox, playbook: str, variable: str, value: object, said: str
) -> None:
    given = {"apply_volume_specs_instance_id": "i-0123456789abcdef0"} if playbook == "apply_volume_specs" else {}
    sandbox.reset_log()
    run = run_playbook(sandbox, f"ec2ops.storage.{playbook}", {**given, f"{playbook}_{variable}": value})
    assert run.status != 0
    assert f"{playbook}_{variable}: " in run.failures[0]
    assert said in run.failures[0]
    assert sandbox.log() == []


@pytest.mark.parametrize(
    ("playbook", "given"),
    [
        ("move_volumes", ("volume_ids", "target_zone", "target_instance_id")),
        ("restore_volumes", ("source_volume_ids", "zone", "target_instance_id")),
    ],
)
def test_a_playbook_names_its_own_variables(sandbox: Sandbox, playbook: str, given: tuple[str, ...]) -> None:
    """Two places are one too many."""
    run = run_playbook(sandbox, f"ec2ops.storage.{playbook}", {f"{playbook}_{name}": "vol-01234567" for name in given})
    assert run.status != 0
    for name in given:
        assert f"{playbook}_{name}" in run.failures[0]
