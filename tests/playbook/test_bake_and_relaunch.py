# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbooks bake_and_relaunch and restore_power, by their names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from playbook.seeds import DATA_DEVICE, ROOT_DEVICE, Web, seed_web
from playbook.support import (
    REGION,
    Run,
    assert_done_as_planned,
    assert_told_the_same,
    changing_calls,
    described_instance,
    leave_stopped,
    marks_before,
    own_images,
    own_snapshots,
    run_playbook,
)
from sandbox.client import Sandbox

PLAYBOOK = "ec2ops.storage.bake_and_relaunch"
RESTORE_POWER = "ec2ops.storage.restore_power"
RESTORE_STATE = "ec2ops:restore-state"
KEEP = {f"bake_and_relaunch_{name}": "keep" for name in ("data_volumes", "elastic_ip", "target_groups")}
# Reads of a run that finds nothing to do.
MOST_CALLS_OF_A_NO_OP = 8


def variables(web: Web, **more: Any) -> dict[str, Any]:
    return {
        "bake_and_relaunch_instance_id": web.instance_id,
        "bake_and_relaunch_name": "web",
        "bake_and_relaunch_version": "1",
        **KEEP,
        **more,
    }


def assert_nothing_to_do(
    sandbox: Sandbox, given: dict[str, Any], instance_id: str, modes: Sequence[bool] = (False,)
) -> None:
    """Runs (check runs where a mode is true) change nothing, and name the instance that is there."""
    for check_mode in modes:
        sandbox.reset_log()
        again = run_playbook(sandbox, PLAYBOOK, given, check=check_mode)
        assert again.status == 0, again.output
        assert again.changed == []
        assert changing_calls(sandbox.log()) == []
        assert len(sandbox.log()) <= MOST_CALLS_OF_A_NO_OP, sandbox.counts()
        kept = again.fact("bake_and_relaunch_result")
        assert (kept["instance_id"], kept["changed"], kept["plan"]) == (instance_id, False, [])


def check_then_run(sandbox: Sandbox, given: dict[str, Any]) -> Run:
    """A check run, and the run: the check run has shown the run's plan, and the run has carried it out."""
    sandbox.reset_log()
    check = run_playbook(sandbox, PLAYBOOK, given, check=True)
    assert check.status == 0, check.output
    assert changing_calls(sandbox.log()) == []
    foreseen = check.fact("bake_and_relaunch_result")
    assert foreseen["source_off_seconds"] is None

    sandbox.reset_log()
    run = run_playbook(sandbox, PLAYBOOK, given)
    assert run.status == 0, run.output
    log = sandbox.log()
    plan = run.fact("bake_and_relaunch_result")["plan"]
    assert_told_the_same(foreseen["plan"], plan, run.planned_ids)
    assert_done_as_planned(plan, log, run.planned_ids)
    return run


def test_words_of_the_command_line_are_truth_values_too(sandbox: Sandbox, web: Web) -> None:
    """``-e name=false`` gives text."""
    words = {f"bake_and_relaunch_{name}": "false" for name in ("hold", "stop", "preflight")}
    run = run_playbook(sandbox, PLAYBOOK, variables(web, **words), check=True)
    assert run.status == 0, run.output
    changes = [entry["action"] for entry in run.fact("bake_and_relaunch_result")["plan"]]
    assert changes == ["CreateSnapshot", "RegisterImage", "RunInstances", "CreateTags", "StopInstances"]
    words = {f"bake_and_relaunch_{name}": "yes" for name in ("hold", "stop", "preflight")}
    run = run_playbook(sandbox, PLAYBOOK, variables(web, **words), check=True)
    assert run.status == 0, run.output
    changes = [entry["action"] for entry in run.fact("bake_and_relaunch_result")["plan"]]
    assert changes[:3] == ["CreateTags", "StopInstances", "CreateSnapshot"]
    assert "StartInstances" not in changes


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("data_volumes", "take", "Value of bake_and_relaunch_data_volumes must be one of"),
        ("old_instance", "delete", "Value of bake_and_relaunch_old_instance must be one of"),
        ("strategy", "replace_volume", "Value of bake_and_relaunch_strategy must be one of"),
        ("health_timeout", "abc", "bake_and_relaunch_health_timeout"),
        ("overrides", {"instance_typ": "t3.small"}, "instance_typ"),
        ("overrides", {"user_data": "replace"}, "user_data_content needs"),
    ],
)
def test_contradicting_options_are_refused_without_a_call(
    sandbox: Sandbox, web: Web, option: str, value: Any, words: str
) -> None:
    sandbox.reset_log()
    run = run_playbook(sandbox, PLAYBOOK, variables(web, **{f"bake_and_relaunch_{option}": value}))
    assert run.status != 0
    assert words in run.output
    assert sandbox.log() == []


def test_unknown_hardware_fact_is_refused_without_a_preflight(sandbox: Sandbox, web: Web) -> None:
    sandbox.reset_log()
    run = run_playbook(sandbox, PLAYBOOK, variables(web, **KEEP, bake_and_relaunch_hardware={"force": True}))
    assert run.status != 0
    assert "golden_image_hardware" in run.output
    assert "force" in run.failures[0]
    assert changing_calls(sandbox.log()) == []


def test_facts_missing_at_the_source_can_be_given(sandbox: Sandbox, web: Web) -> None:
    """The AMI that it was launched from is gone, as old public ones are."""
    sandbox.client("ec2", REGION).deregister_image(ImageId=web.image_id)
    told = run_playbook(sandbox, PLAYBOOK, variables(web), check=True)
    assert told.status == 0, told.output
    assert "The metadata options of the instance give imds_support: none" in " ".join(told.output.split())
    check_then_run(sandbox, variables(web, bake_and_relaunch_hardware={"imds_support": "v2.0"}))
    (image,) = own_images(sandbox)
    assert image["ImdsSupport"] == "v2.0"


def test_image_is_copied_shared_and_published(sandbox: Sandbox, web: Web) -> None:
    """The options pass through the role, also as the text that a survey gives."""
    given = {
        "copies": [{"region": "eu-west-1"}],
        "launch_permissions": {"user_ids": ["111122223333"]},
        "ssm_parameter": {"name": "/images/web"},
    }
    check_then_run(sandbox, variables(web, bake_and_relaunch_distribution=json.dumps(given)))
    (image,) = own_images(sandbox)
    shared = sandbox.client("ec2", REGION).describe_image_attribute(
        ImageId=image["ImageId"], Attribute="launchPermission"
    )
    assert shared["LaunchPermissions"] == [{"UserId": "111122223333"}]
    (copy,) = sandbox.client("ec2", "eu-west-1").describe_images(Owners=["self"])["Images"]
    assert copy["SourceImageId"] == image["ImageId"]
    for region, image_id in ((REGION, image["ImageId"]), ("eu-west-1", copy["ImageId"])):
        found = sandbox.client("ssm", region).get_parameters(Names=["/images/web"])["Parameters"]
        assert [one["Value"] for one in found] == [image_id]


@pytest.mark.cores
def test_check_and_run_twice_agree(sandbox: Sandbox, web: Web) -> None:
    """The whole job, twice; then its next version, which is baked from the living instance."""
    given = variables(web)
    run = check_then_run(sandbox, given)
    result = run.fact("bake_and_relaunch_result")
    assert {"StopInstances", "CreateSnapshot", "StartInstances", "RegisterImage", "RunInstances"} <= {
        entry["action"] for entry in result["plan"]
    }
    new, old = described_instance(sandbox, result["instance_id"]), described_instance(sandbox, web.instance_id)
    assert (new["State"]["Name"], old["State"]["Name"]) == ("running", "stopped")
    assert new["ImageId"] == result["image_id"]
    assert RESTORE_STATE not in {tag["Key"] for tag in old["Tags"] + new["Tags"]}

    # The data volume stays where it was, and the run says so.
    assert web.data_volume_id in " ".join(run.output.split())
    assert {device["DeviceName"] for device in old["BlockDeviceMappings"]} == {ROOT_DEVICE, DATA_DEVICE}

    # Every write up to the stop is in the image and on the new instance.
    content = sandbox.marks(web.instance_id)
    (gap,) = content["gaps"]
    written = marks_before(content["devices"][ROOT_DEVICE], gap["from"])
    assert written
    assert sandbox.marks(result["image_id"])["devices"] == {ROOT_DEVICE: written}
    assert sandbox.marks(result["instance_id"])["devices"][ROOT_DEVICE][: len(written)] == written
    assert gap["seconds"] <= result["source_off_seconds"]

    # Both the old id and the new one stand for the living instance.
    assert_nothing_to_do(sandbox, given, result["instance_id"], modes=(True, False))
    renamed = {**given, "bake_and_relaunch_instance_id": result["instance_id"]}
    assert_nothing_to_do(sandbox, renamed, result["instance_id"])
    assert len(own_images(sandbox)) == 1
    assert len(own_snapshots(sandbox)) == 1

    following = run_playbook(sandbox, PLAYBOOK, {**given, "bake_and_relaunch_version": "2"})
    assert following.status == 0, following.output
    second = following.fact("bake_and_relaunch_result")
    assert second["replaced"] == result["instance_id"]
    carried = sandbox.marks(second["instance_id"])["devices"][ROOT_DEVICE]
    assert any(mark["writer"] == result["instance_id"] for mark in carried)
    assert described_instance(sandbox, result["instance_id"])["State"]["Name"] == "stopped"


def test_source_on_hold_loses_no_writes(sandbox: Sandbox, web: Web) -> None:
    given = variables(web, bake_and_relaunch_hold=True)
    result = check_then_run(sandbox, given).fact("bake_and_relaunch_result")
    assert "StartInstances" not in [entry["action"] for entry in result["plan"]]
    content = sandbox.marks(web.instance_id)
    assert content["gaps"] == []
    written = content["devices"][ROOT_DEVICE]
    assert written
    assert sandbox.marks(result["instance_id"])["devices"][ROOT_DEVICE][: len(written)] == written
    old = described_instance(sandbox, web.instance_id)
    assert old["State"]["Name"] == "stopped"
    assert RESTORE_STATE not in {tag["Key"] for tag in old["Tags"]}


@pytest.mark.parametrize("hold", [False, True], ids=["started", "held"])
def test_a_refused_launch_leaves_the_source_running(sandbox: Sandbox, web: Web, hold: bool) -> None:
    given = variables(web, bake_and_relaunch_hold=hold)
    sandbox.refuse("RunInstances")
    run = run_playbook(sandbox, PLAYBOOK, given)
    assert run.status != 0
    assert "UnauthorizedOperation" in run.failures[0]
    old = described_instance(sandbox, web.instance_id)
    assert old["State"]["Name"] == "running"
    assert RESTORE_STATE not in {tag["Key"] for tag in old["Tags"]}

    sandbox.refuse()
    again = run_playbook(sandbox, PLAYBOOK, given)
    # The source has written since, and with a hold no write may be lost.
    assert (again.status == 0) is not hold, again.output
    assert ("has run since" in "".join(again.failures)) is hold
    assert len(own_images(sandbox)) == len(own_snapshots(sandbox)) == 1


@pytest.mark.parametrize("hold", [False, True], ids=["started", "held"])
def test_an_image_that_cannot_be_registered_leaves_the_source_running(sandbox: Sandbox, web: Web, hold: bool) -> None:
    sandbox.refuse("RegisterImage")
    run = run_playbook(sandbox, PLAYBOOK, variables(web, bake_and_relaunch_hold=hold))
    assert run.status != 0
    assert "UnauthorizedOperation" in run.failures[0]
    old = described_instance(sandbox, web.instance_id)
    assert old["State"]["Name"] == "running"
    assert RESTORE_STATE not in {tag["Key"] for tag in old["Tags"]}


def test_preflight_refuses_an_unretirable_source_before_the_stop(sandbox: Sandbox, web: Web) -> None:
    sandbox.client("ec2", REGION).modify_instance_attribute(
        InstanceId=web.instance_id, DisableApiTermination={"Value": True}
    )
    sandbox.reset_log()
    given = variables(web, bake_and_relaunch_old_instance="terminate", bake_and_relaunch_preflight=True)
    run = run_playbook(sandbox, PLAYBOOK, given)
    assert run.status != 0
    assert "terminat" in run.failures[0]
    assert changing_calls(sandbox.log()) == []
    assert sandbox.marks(web.instance_id)["gaps"] == []


@pytest.mark.parametrize("missing", ["instance_id", "name", "version"])
def test_missing_permissions_are_named(sandbox: Sandbox, web: Web, missing: str) -> None:
    given = variables(web)
    del given[f"bake_and_relaunch_{missing}"]
    sandbox.reset_log()
    run = run_playbook(sandbox, PLAYBOOK, given)
    assert run.status != 0
    assert f"bake_and_relaunch_{missing}" in run.failures[0]
    assert sandbox.log() == []


def group(sandbox: Sandbox, members: dict[str, Web]) -> str:
    """An inventory of hosts that nothing reaches, and the connection to the sandbox in their variables."""
    connection = f'{{"region": "{REGION}", "endpoint_url": "{sandbox.url}"}}'
    return "\n".join(
        [
            "[web]",
            *(f"{name} bake_and_relaunch_instance_id={each.instance_id}" for name, each in members.items()),
            "[web:vars]",
            "ansible_host=192.0.2.1",
            f"bake_and_relaunch_aws={connection}",
        ]
    )


def test_a_group_is_relaunched_from_one_image(sandbox: Sandbox) -> None:
    members = {name: seed_web(sandbox, REGION, name) for name in ("web1", "web2")}
    inventory = group(sandbox, members)
    given = {
        "bake_and_relaunch_hosts": "web",
        "bake_and_relaunch_source": "web2",
        "bake_and_relaunch_preflight": True,
        **KEEP,
        "bake_and_relaunch_name": "web",
        "bake_and_relaunch_version": "1",
    }
    sandbox.reset_log()
    check = run_playbook(sandbox, PLAYBOOK, given, check=True, inventory=inventory)
    assert check.status == 0, check.output
    assert changing_calls(sandbox.log()) == []
    run = run_playbook(sandbox, PLAYBOOK, given, inventory=inventory)
    assert run.status == 0, run.output

    (image,) = own_images(sandbox)
    assert len(own_snapshots(sandbox)) == 1
    held = sandbox.marks(image["ImageId"])["devices"][ROOT_DEVICE]
    assert {mark["writer"] for mark in held} == {members["web2"].instance_id}
    for name, member in members.items():
        result = run.fact("bake_and_relaunch_result", host=name)
        foreseen = check.fact("bake_and_relaunch_result", host=name)
        assert_told_the_same(foreseen["plan"], result["plan"], run.planned_ids)
        new = described_instance(sandbox, result["instance_id"])
        assert (new["State"]["Name"], new["ImageId"]) == ("running", image["ImageId"])
        assert described_instance(sandbox, member.instance_id)["State"]["Name"] == "stopped"
    assert sandbox.marks(members["web1"].instance_id)["gaps"] == []

    sandbox.reset_log()
    again = run_playbook(sandbox, PLAYBOOK, given, inventory=inventory)
    assert again.status == 0, again.output
    assert changing_calls(sandbox.log()) == []


def test_canary_that_fails_saves_the_other_hosts(sandbox: Sandbox) -> None:
    members = {name: seed_web(sandbox, REGION, name) for name in ("web1", "web2", "web3")}
    inventory = group(sandbox, members)
    given = {
        "bake_and_relaunch_hosts": "web",
        "bake_and_relaunch_name": "web",
        "bake_and_relaunch_version": "1",
        "bake_and_relaunch_hold": True,
        # A survey gives such text.
        "bake_and_relaunch_serial": "[1, 100%]",
        **KEEP,
    }
    sandbox.reset_log()
    away = run_playbook(sandbox, PLAYBOOK, {**given, "bake_and_relaunch_source": "web2"}, inventory=inventory)
    assert away.status != 0
    assert "web2, is not in the first batch of bake_and_relaunch_serial" in away.output
    assert changing_calls(sandbox.log()) == []

    sandbox.refuse("RunInstances")
    run = run_playbook(sandbox, PLAYBOOK, given, inventory=inventory)
    assert run.status != 0
    # The hold of the canary has ended, and no play has begun for the others.
    for member in members.values():
        assert described_instance(sandbox, member.instance_id)["State"]["Name"] == "running"
    tags = described_instance(sandbox, members["web1"].instance_id)["Tags"]
    assert RESTORE_STATE not in [tag["Key"] for tag in tags]
    calls = changing_calls(sandbox.log())
    assert (calls.count("CreateSnapshot"), calls.count("RunInstances")) == (1, 1)


def test_batches_are_relaunched_one_after_the_other(sandbox: Sandbox) -> None:
    members = {name: seed_web(sandbox, REGION, name) for name in ("web1", "web2")}
    given = {
        "bake_and_relaunch_hosts": "web",
        "bake_and_relaunch_name": "web",
        "bake_and_relaunch_version": "1",
        "bake_and_relaunch_serial": [1, "100%"],
        "bake_and_relaunch_preflight": True,
        **KEEP,
    }
    sandbox.reset_log()
    run = run_playbook(sandbox, PLAYBOOK, given, inventory=group(sandbox, members))
    assert run.status == 0, run.output
    (image,) = own_images(sandbox)
    order = [each for each in changing_calls(sandbox.log()) if each in ("RunInstances", "StopInstances")]
    # The source stops for the capture. The canary's predecessor stops before the other's successor is launched.
    assert order[:3] == ["StopInstances", "RunInstances", "StopInstances"]
    assert order.count("RunInstances") == 2
    for name in members:
        new = described_instance(sandbox, run.fact("bake_and_relaunch_result", host=name)["instance_id"])
        assert (new["State"]["Name"], new["ImageId"]) == ("running", image["ImageId"])


def test_batch_with_one_failure_saves_the_next_batch(sandbox: Sandbox) -> None:
    members = {name: seed_web(sandbox, REGION, name) for name in ("web1", "web2", "web3")}
    given = {
        "bake_and_relaunch_hosts": "web",
        "bake_and_relaunch_name": "web",
        "bake_and_relaunch_version": "1",
        "bake_and_relaunch_serial": [2, 1],
        # As a survey gives an unanswered question.
        "bake_and_relaunch_max_fail_percentage": "",
        **KEEP,
    }
    inventory = group(sandbox, members)
    sandbox.reset_log()
    with sandbox.fault("RunInstances", occurrence=2, code="UnauthorizedOperation", status=403):
        run = run_playbook(sandbox, PLAYBOOK, given, inventory=inventory)
    assert run.status != 0
    shown = [each for each in run.results if each.task == "Show the result" and each.outcome == "ok"]
    assert sorted(each.host for each in shown) == ["web1", "web2"]
    assert len([each for each in shown if "instance_id" in each.result["msg"]]) == 1
    assert sandbox.marks(members["web3"].instance_id)["gaps"] == []
    assert described_instance(sandbox, members["web3"].instance_id)["State"]["Name"] == "running"

    # The limit counts the failures of one batch, and not those of earlier ones.
    with sandbox.fault("RunInstances", occurrence=1, code="UnauthorizedOperation", status=403):
        more = run_playbook(
            sandbox, PLAYBOOK, {**given, "bake_and_relaunch_max_fail_percentage": "50"}, inventory=inventory
        )
    assert more.status != 0
    assert more.fact("bake_and_relaunch_result", host="web3")["changed"]


def test_wrong_size_of_a_batch_is_refused_without_a_call(sandbox: Sandbox, web: Web) -> None:
    sandbox.reset_log()
    run = run_playbook(sandbox, PLAYBOOK, variables(web, bake_and_relaunch_serial="a few"))
    assert run.status != 0
    assert "bake_and_relaunch_serial: 'a few' is not the size of a batch" in " ".join(run.output.split())
    assert sandbox.log() == []


def test_a_bake_that_fails_ends_the_play_for_the_whole_group(sandbox: Sandbox) -> None:
    members = {name: seed_web(sandbox, REGION, name) for name in ("web1", "web2")}
    given = {
        "bake_and_relaunch_hosts": "web",
        "bake_and_relaunch_name": "web",
        "bake_and_relaunch_version": "1",
        **KEEP,
    }
    sandbox.refuse("CreateSnapshot")
    sandbox.reset_log()
    run = run_playbook(sandbox, PLAYBOOK, given, inventory=group(sandbox, members))
    assert run.status != 0
    assert "RunInstances" not in changing_calls(sandbox.log())
    for member in members.values():
        assert described_instance(sandbox, member.instance_id)["State"]["Name"] == "running"


@pytest.mark.cores
def test_restore_power_starts_instances_left_stopped(sandbox: Sandbox, web: Web) -> None:
    leave_stopped(sandbox, web.instance_id)
    # The hold of the run, a minute, has to be over for an hour.
    sandbox.reset_log()
    early = run_playbook(sandbox, RESTORE_POWER)
    assert early.status == 0, early.output
    assert changing_calls(sandbox.log()) == []

    sandbox.move_clock(2 * 3600)
    check = run_playbook(sandbox, RESTORE_POWER, check=True)
    assert check.status == 0, check.output
    assert changing_calls(sandbox.log()) == []
    run = run_playbook(sandbox, RESTORE_POWER)
    assert run.status == 0, run.output
    assert changing_calls(sandbox.log()) == ["StartInstances", "DeleteTags"]
    instance = described_instance(sandbox, web.instance_id)
    assert instance["State"]["Name"] == "running"

    sandbox.reset_log()
    again = run_playbook(sandbox, RESTORE_POWER)
    assert again.status == 0, again.output
    assert again.changed == []
    assert changing_calls(sandbox.log()) == []


def test_restore_power_takes_named_instances_at_once(sandbox: Sandbox, web: Web) -> None:
    leave_stopped(sandbox, web.instance_id)
    run = run_playbook(sandbox, RESTORE_POWER, {"restore_power_instance_ids": [web.instance_id]})
    assert run.status == 0, run.output
    assert described_instance(sandbox, web.instance_id)["State"]["Name"] == "running"


def test_an_attachment_without_a_choice_is_refused_before_the_source_is_stopped(sandbox: Sandbox, web: Web) -> None:
    given = {name: value for name, value in variables(web).items() if name not in KEEP}
    given["bake_and_relaunch_strategy"] = "replace_instance"
    for check in (True, False):
        sandbox.reset_log()
        run = run_playbook(sandbox, PLAYBOOK, given, check=check)
        assert run.status != 0
        assert (
            f"data_volumes: {web.instance_id} has data volumes {DATA_DEVICE} ({web.data_volume_id})" in run.failures[0]
        )
        assert "Set data_volumes: keep" in run.failures[0]
        assert changing_calls(sandbox.log()) == []
    assert sandbox.marks(web.instance_id)["gaps"] == []


def test_source_with_attachments_gets_a_new_root_volume(sandbox: Sandbox, web: Web) -> None:
    given = {name: value for name, value in variables(web).items() if name not in KEEP}
    given["bake_and_relaunch_strategy"] = "replace_root_volume"
    run = check_then_run(sandbox, given)
    result = run.fact("bake_and_relaunch_result")
    assert (result["instance_id"], result["replaced"]) == (web.instance_id, None)
    new = described_instance(sandbox, web.instance_id)
    devices = {device["DeviceName"]: device["Ebs"]["VolumeId"] for device in new["BlockDeviceMappings"]}
    assert (devices[DATA_DEVICE], devices[ROOT_DEVICE] == web.root_volume_id) == (web.data_volume_id, False)
    marks = sandbox.marks(devices[ROOT_DEVICE])["marks"]
    assert [mark["text"] for mark in marks if mark["writer"] == web.instance_id][-1] in ("tick", "start", "stop")


def test_without_attachments_nothing_has_to_be_chosen(sandbox: Sandbox, web: Web) -> None:
    """An image of all devices has the data volume too."""
    given = {name: value for name, value in variables(web).items() if name not in KEEP}
    run = check_then_run(sandbox, {**given, "bake_and_relaunch_devices": "all"})
    new = described_instance(sandbox, run.fact("bake_and_relaunch_result")["instance_id"])
    assert {device["DeviceName"] for device in new["BlockDeviceMappings"]} == {ROOT_DEVICE, DATA_DEVICE}


def test_tests_of_the_user_decide_about_a_successor_with_moved_parts(
    sandbox: Sandbox, web: Web, tmp_path: Path
) -> None:
    """The strategy auto moves the data volume. The run has captured the source itself, so it follows no successor."""
    tasks = tmp_path / "verify.yml"
    tasks.write_text(
        "- name: Expect an address\n  ansible.builtin.assert:\n"
        "    that: relaunch_unproven_result.private_ip_address is string\n"
    )
    given = {name: value for name, value in variables(web).items() if name not in KEEP}
    given |= {
        "bake_and_relaunch_health": {"status_checks": True},
        "bake_and_relaunch_verify_tasks": str(tasks),
        "bake_and_relaunch_verify_hosts": "localhost",
        "bake_and_relaunch_hold": True,
    }
    run = check_then_run(sandbox, given)
    result = run.fact("bake_and_relaunch_result")
    assert result["replaced"] == web.instance_id
    new = described_instance(sandbox, result["instance_id"])
    assert web.data_volume_id in [device["Ebs"]["VolumeId"] for device in new["BlockDeviceMappings"]]
    assert described_instance(sandbox, web.instance_id)["State"]["Name"] == "stopped"
    assert not [tag for tag in new["Tags"] if tag["Key"] in ("ec2ops:moves", RESTORE_STATE)]
    sandbox.reset_log()
    again = run_playbook(sandbox, PLAYBOOK, given)
    assert (again.status, again.changed, changing_calls(sandbox.log())) == (0, [], []), again.output
