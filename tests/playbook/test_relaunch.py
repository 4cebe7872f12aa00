# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role relaunch through ansible-playbook."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from playbook.seeds import ROOT_DEVICE, Web, at_once, seed_web
from playbook.support import (
    PLAYS,
    REGION,
    assert_done_as_planned,
    assert_told_the_same,
    changing_calls,
    described_instance,
    run_playbook,
)
from sandbox.client import Sandbox

PLAY = PLAYS / "relaunch.yml"


@pytest.fixture
def image_id(sandbox: Sandbox, web: Web) -> str:
    """Another image, of the present content of the root volume."""
    ec2 = sandbox.client("ec2", REGION)
    with at_once(sandbox):
        image = ec2.create_image(InstanceId=web.instance_id, Name="another", NoReboot=True)["ImageId"]
    return str(image)


def variables(web: Web, image_id: str, **more: Any) -> dict[str, Any]:
    kept = {f"relaunch_{name}": "keep" for name in ("data_volumes", "elastic_ip", "target_groups")}
    return {"relaunch_instance_id": web.instance_id, "relaunch_image_id": image_id, **kept, **more}


@pytest.mark.parametrize(("retire", "state"), [("stop", "stopped"), ("terminate", "terminated"), ("keep", "running")])
def test_check_and_run_twice_agree(sandbox: Sandbox, web: Web, image_id: str, retire: str, state: str) -> None:
    """The first check run shows the changes of the run. After the run, nothing is left to do."""
    given = variables(web, image_id, relaunch_old_instance=retire)
    sandbox.reset_log()
    check = run_playbook(sandbox, PLAY, given, check=True)
    assert check.status == 0, check.output
    assert changing_calls(sandbox.log()) == []
    foreseen = check.fact("relaunch_result")
    assert foreseen["changed"] is True

    sandbox.reset_log()
    run = run_playbook(sandbox, PLAY, given)
    assert run.status == 0, run.output
    log = sandbox.log()
    result = run.fact("relaunch_result")
    assert_told_the_same(foreseen["plan"], result["plan"], run.planned_ids)
    assert_done_as_planned(result["plan"], log, run.planned_ids)

    new = described_instance(sandbox, result["instance_id"])
    assert (new["State"]["Name"], new["ImageId"]) == ("running", image_id)
    assert described_instance(sandbox, web.instance_id)["State"]["Name"] == state
    held = sandbox.marks(image_id)["devices"][ROOT_DEVICE]
    assert held
    assert sandbox.marks(result["instance_id"])["devices"][ROOT_DEVICE][: len(held)] == held

    # Both the old id and the new one stand for the living instance.
    for instance_id, check_mode in ((web.instance_id, True), (web.instance_id, False), (result["instance_id"], False)):
        sandbox.reset_log()
        again = run_playbook(sandbox, PLAY, {**given, "relaunch_instance_id": instance_id}, check=check_mode)
        assert again.status == 0, again.output
        assert again.changed == []
        assert changing_calls(sandbox.log()) == []
        kept = again.fact("relaunch_result")
        assert (kept["instance_id"], kept["changed"], kept["plan"]) == (result["instance_id"], False, [])


CLEAR = "#!/bin/sh\n/opt/enroll --password=%s\n"


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "replaced"])
def test_user_data_reaches_the_successor_and_no_output(sandbox: Sandbox, kept: bool) -> None:
    old, new = CLEAR % "correct-horse", CLEAR % ("correct-horse" if kept else "battery-staple")
    web = seed_web(sandbox, REGION, UserData=old)
    overrides = {} if kept else {"user_data": "replace", "user_data_content": new}
    ec2 = sandbox.client("ec2", REGION)
    with at_once(sandbox):
        image_id = ec2.create_image(InstanceId=web.instance_id, Name="another", NoReboot=True)["ImageId"]
    given = variables(web, image_id, relaunch_overrides=overrides)

    check = run_playbook(sandbox, PLAY, given, "-vvv", check=True)
    assert check.status == 0, check.output
    sandbox.reset_log()
    run = run_playbook(sandbox, PLAY, given, "-vvv", "--diff")
    assert run.status == 0, run.output
    log, result = sandbox.log(), run.fact("relaunch_result")
    assert_told_the_same(check.fact("relaunch_result")["plan"], result["plan"], run.planned_ids)
    assert_done_as_planned(result["plan"], log, run.planned_ids)
    attribute = ec2.describe_instance_attribute(InstanceId=result["instance_id"], Attribute="userData")
    assert base64.b64decode(attribute["UserData"]["Value"]).decode() == new

    hashed = hashlib.sha256(new.encode()).hexdigest()
    for output in (check.output, run.output):
        assert f"sha256:{hashed}" in output
        for content in (old, new):
            encoded = base64.b64encode(content.encode()).decode()
            # Neither the whole text, with line ends in any notation, nor the part that matters.
            for hidden in (encoded, encoded[:32], *content.splitlines()[1:], content.split("=")[1].strip()):
                assert hidden not in output


FAILING = """
- name: Expect a successor that is not there
  ansible.builtin.assert:
    that: relaunch_unproven_result.private_ip_address == 'nowhere'
    fail_msg: no page at the successor
"""
PASSING = """
- name: Expect the address of the successor
  ansible.builtin.assert:
    that: relaunch_unproven_result.private_ip_address is match('[0-9]+[.]')
"""


def test_tasks_of_the_user_decide_whether_the_predecessor_retires(
    sandbox: Sandbox, web: Web, image_id: str, tmp_path: Path
) -> None:
    tasks = tmp_path / "verify.yml"
    given = variables(
        web, image_id, relaunch_data_volumes="move", relaunch_elastic_ip="move", relaunch_verify_tasks=str(tasks)
    )
    tasks.write_text(FAILING)
    run = run_playbook(sandbox, PLAY, given)
    assert run.status != 0
    assert "did not pass: no page at the successor" in run.output
    old = described_instance(sandbox, web.instance_id)
    assert old["State"]["Name"] == "running"
    assert len(old["BlockDeviceMappings"]) > 1

    tasks.write_text(PASSING)
    run = run_playbook(sandbox, PLAY, given)
    assert run.status == 0, run.output
    new = described_instance(sandbox, run.fact("relaunch_result")["instance_id"])
    assert len(new["BlockDeviceMappings"]) == len(old["BlockDeviceMappings"])
    assert described_instance(sandbox, web.instance_id)["State"]["Name"] == "stopped"
    again = run_playbook(sandbox, PLAY, given)
    assert (again.status, again.changed) == (0, []), again.output


def test_unreachable_host_of_the_tests_returns_everything(
    sandbox: Sandbox, web: Web, image_id: str, tmp_path: Path
) -> None:
    """A host that Ansible does not reach would end the play of its host, without a rescue."""
    tasks = tmp_path / "verify.yml"
    tasks.write_text("- name: Ask the unreachable host\n  ansible.builtin.ping:\n  delegate_to: gone.invalid\n")
    given = variables(
        web,
        image_id,
        relaunch_data_volumes="move",
        relaunch_elastic_ip="move",
        relaunch_verify_tasks=str(tasks),
        relaunch_verify_hosts=["gone.invalid"],
        relaunch_health_timeout=10,
    )
    run = run_playbook(sandbox, PLAY, given)
    assert run.status != 0
    assert "did not pass: gone.invalid: " in run.output
    assert f"{web.instance_id} stays in service, and everything that had moved is back" in run.output
    old = described_instance(sandbox, web.instance_id)
    assert old["State"]["Name"] == "running"
    assert web.data_volume_id in [device["Ebs"]["VolumeId"] for device in old["BlockDeviceMappings"]]
    assert not [tag for tag in old["Tags"] if tag["Key"] == "ec2ops:restore-state"]


def test_unreachable_host_in_the_midst_of_the_tests_returns_everything_if_they_ask_for_it(
    sandbox: Sandbox, web: Web, image_id: str, tmp_path: Path
) -> None:
    """The example of docs/relaunch.md: the tasks keep a trace of the test that did not run."""
    tasks = tmp_path / "verify.yml"
    tasks.write_text(
        "- name: Ask the unreachable host\n"
        "  ansible.builtin.ping:\n"
        "  delegate_to: gone.invalid\n"
        "  ignore_unreachable: true\n"
        "  register: page\n"
        "- name: Expect an answer\n"
        "  ansible.builtin.assert:\n"
        "    that: page.unreachable is not defined\n"
        "    fail_msg: the monitoring host is unreachable\n"
    )
    given = variables(web, image_id, relaunch_data_volumes="move", relaunch_verify_tasks=str(tasks))
    run = run_playbook(sandbox, PLAY, given)
    assert run.status != 0
    assert "did not pass: the monitoring host is unreachable" in run.output
    old = described_instance(sandbox, web.instance_id)
    assert old["State"]["Name"] == "running"
    assert web.data_volume_id in [device["Ebs"]["VolumeId"] for device in old["BlockDeviceMappings"]]


def test_check_run_of_tested_relaunch_chooses_no_new_root_volume(
    sandbox: Sandbox, web: Web, image_id: str, tmp_path: Path
) -> None:
    """A new root volume has no successor that the tests could ask."""
    tasks = tmp_path / "verify.yml"
    tasks.write_text(PASSING)
    kept = variables(web, image_id, relaunch_verify_tasks=str(tasks), relaunch_strategy="auto")
    ec2 = sandbox.client("ec2", REGION)
    ec2.modify_instance_attribute(InstanceId=web.instance_id, DisableApiStop={"Value": True})
    for check in (True, False):
        sandbox.reset_log()
        run = run_playbook(sandbox, PLAY, kept, check=check)
        assert run.status != 0
        assert "verify: replace_root_volume has no successor" in run.output
        assert changing_calls(sandbox.log()) == []
