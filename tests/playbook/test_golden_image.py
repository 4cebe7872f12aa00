# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role golden_image through ansible-playbook."""

from __future__ import annotations

from typing import Any

import pytest

from playbook.seeds import DATA_DEVICE, ROOT_DEVICE, Web
from playbook.support import (
    PLAYS,
    REGION,
    assert_done_as_planned,
    assert_told_the_same,
    changing_calls,
    described_image,
    described_instance,
    leave_stopped,
    marks_before,
    run_playbook,
)
from sandbox.client import Sandbox

PLAY = PLAYS / "golden_image.yml"
RESTORE_STATE = "ec2ops:restore-state"


def variables(web: Web, **more: Any) -> dict[str, Any]:
    return {
        "golden_image_instance_id": web.instance_id,
        "golden_image_name": "web",
        "golden_image_version": "1",
        **more,
    }


@pytest.mark.parametrize("devices", ["root", "all"])
def test_check_and_run_twice_agree(sandbox: Sandbox, web: Web, devices: str) -> None:
    """The first check run shows the changes of the run. After the run, nothing is left to do."""
    given = variables(web, golden_image_devices=devices, golden_image_tags={"team": "shop"})
    sandbox.reset_log()
    check = run_playbook(sandbox, PLAY, given, check=True)
    assert check.status == 0, check.output
    assert changing_calls(sandbox.log()) == []
    foreseen = check.fact("golden_image_result")
    assert foreseen["image_id"] == "(new image web/1)"
    assert foreseen["off_seconds"] is None

    sandbox.reset_log()
    run = run_playbook(sandbox, PLAY, given)
    assert run.status == 0, run.output
    log = sandbox.log()
    result = run.fact("golden_image_result")
    assert_told_the_same(foreseen["plan"], result["plan"], run.planned_ids)
    assert_done_as_planned(result["plan"], log, run.planned_ids)

    image = described_image(sandbox, result["image_id"])
    assert (image["State"], image["Name"]) == ("available", "web-1")
    instance = described_instance(sandbox, web.instance_id)
    assert instance["State"]["Name"] == "running"
    assert RESTORE_STATE not in {tag["Key"] for tag in instance["Tags"]}

    # The image has every write up to the stop, of each device that it maps. The source was off no longer than the
    # result says.
    content = sandbox.marks(web.instance_id)
    (gap,) = content["gaps"]
    image_content = sandbox.marks(result["image_id"])["devices"]
    assert sorted(image_content) == sorted([ROOT_DEVICE, *([DATA_DEVICE] if devices == "all" else [])])
    for device, marks in image_content.items():
        assert marks
        assert marks == marks_before(content["devices"][device], gap["from"])
    assert gap["seconds"] <= result["off_seconds"]

    for check_mode in (True, False) if devices == "root" else (False,):
        sandbox.reset_log()
        again = run_playbook(sandbox, PLAY, given, check=check_mode)
        assert again.status == 0, again.output
        assert again.changed == []
        assert changing_calls(sandbox.log()) == []
        kept = again.fact("golden_image_result")
        assert (kept["image_id"], kept["changed"], kept["plan"]) == (result["image_id"], False, [])
        assert kept["off_seconds"] is None

    # Another image of the same version is refused, before the stop.
    sandbox.reset_log()
    other = run_playbook(sandbox, PLAY, {**given, "golden_image_devices": "root" if devices == "all" else "all"})
    assert other.status != 0
    assert "another version" in other.failures[0]
    assert changing_calls(sandbox.log()) == []


def test_stopped_source_is_not_started(sandbox: Sandbox, web: Web) -> None:
    sandbox.client("ec2", REGION).stop_instances(InstanceIds=[web.instance_id])
    run = run_playbook(sandbox, PLAY, variables(web))
    assert run.status == 0, run.output
    assert described_instance(sandbox, web.instance_id)["State"]["Name"] == "stopped"
    result = run.fact("golden_image_result")
    assert result["off_seconds"] is None
    assert [entry["action"] for entry in result["plan"]] == ["CreateSnapshot", "RegisterImage"]


def test_without_a_stop_the_source_writes_on(sandbox: Sandbox, web: Web) -> None:
    # The command line gives text.
    words = {f"golden_image_{name}": "false" for name in ("stop", "hold", "planned")}
    run = run_playbook(sandbox, PLAY, variables(web, **words))
    assert run.status == 0, run.output
    assert sandbox.marks(web.instance_id)["gaps"] == []
    assert [entry["action"] for entry in run.fact("golden_image_result")["plan"]] == ["CreateSnapshot", "RegisterImage"]


def test_a_refused_capture_reaches_the_user_and_the_source_runs_again(sandbox: Sandbox, web: Web) -> None:
    sandbox.refuse("CreateSnapshot")
    run = run_playbook(sandbox, PLAY, variables(web))
    assert run.status != 0
    assert len(run.failures) == 1
    assert "UnauthorizedOperation" in run.failures[0]
    instance = described_instance(sandbox, web.instance_id)
    assert instance["State"]["Name"] == "running"
    assert RESTORE_STATE not in {tag["Key"] for tag in instance["Tags"]}

    sandbox.refuse()
    again = run_playbook(sandbox, PLAY, variables(web))
    assert again.status == 0, again.output
    assert described_image(sandbox, again.fact("golden_image_result")["image_id"])["State"] == "available"


def test_a_source_left_stopped_is_started_though_the_image_exists(sandbox: Sandbox, web: Web) -> None:
    """A run was killed after the stop, while its module went on."""
    first = run_playbook(sandbox, PLAY, variables(web))
    assert first.status == 0, first.output
    leave_stopped(sandbox, web.instance_id)
    sandbox.reset_log()
    again = run_playbook(sandbox, PLAY, variables(web))
    assert again.status == 0, again.output
    assert described_instance(sandbox, web.instance_id)["State"]["Name"] == "running"
    result = again.fact("golden_image_result")
    assert [entry["action"] for entry in result["plan"]] == ["StartInstances", "DeleteTags"]
    assert_done_as_planned(result["plan"], sandbox.log(), again.planned_ids)


@pytest.mark.parametrize("localhost", ["", "localhost\n"], ids=["implicit", "named"])
def test_unreachable_hosts_need_no_connection(sandbox: Sandbox, web: Web, localhost: str) -> None:
    """Inventory hosts stand for instances. No connection to them is made, with any inventory entry for localhost."""
    inventory = (
        f"{localhost}[web]\nweb1 ansible_host=192.0.2.1 golden_image_instance_id={web.instance_id}\n"
        "[web:vars]\nansible_connection=ssh\nansible_python_interpreter=/nowhere/python\nansible_become=true\n"
    )
    given = {key: value for key, value in variables(web, test_hosts="web").items() if key != "golden_image_instance_id"}
    run = run_playbook(sandbox, PLAY, {**given, "golden_image_stop": False}, inventory=inventory)
    assert run.status == 0, run.output
    image_id = run.fact("golden_image_result", host="web1")["image_id"]
    assert described_image(sandbox, image_id)["State"] == "available"


def test_missing_variables_are_named(sandbox: Sandbox) -> None:
    run = run_playbook(sandbox, PLAY, {"golden_image_name": "web"})
    assert run.status != 0
    for name in ("golden_image_instance_id", "golden_image_version"):
        assert name in run.failures[0]
    assert sandbox.log() == []
