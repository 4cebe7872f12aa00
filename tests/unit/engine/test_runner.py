# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A whole module with a trivial feature: an instance that has a tag, and a snapshot if it is asked for."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime
from typing import Any

import pytest
from ansible.module_utils.testing import patch_module_args
from ansible_collections.ec2ops.storage.plugins.module_utils._engine import runner
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.options import (
    Options,
    assumed_entries,
    module_arguments,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError, StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import DEFERRAL
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Feature, Plan, Stage, Wait
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import State, by_id
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import (
    MODIFICATION,
    modification_query,
)

from runner_feature import FEATURE, execute, needs, parse, plan
from sandbox.client import Sandbox
from worlds import FakeWorld, World, sandbox_instance


def test_check_and_run_twice_agree(world: World) -> None:
    instance = world.instance(tags={"Name": "web"})
    check = execute(world, check=True, diff=True, instance_id=instance.instance_id, snapshot=True)
    assert check.message is None
    assert check.result["changed"] is True
    assert check.result["instance"]["tags"] == {"Name": "web", "touched": "yes"}
    assert world.existing("snapshot") == []
    assert world.count("CreateTags") == world.count("CreateSnapshot") == 0

    run = execute(world, instance_id=instance.instance_id, snapshot=True)
    (made,) = world.existing("snapshot")
    assert run.message is None
    assert run.result["plan"] == check.result["plan"]
    assert run.result["planned_ids"] == {"(new snapshot one)": made.snapshot_id}
    assert run.result["instance"]["tags"] == {"Name": "web", "touched": "yes"}
    assert [one["snapshot_id"] for one in run.result["snapshots"]] == [made.snapshot_id]
    assert run.result["snapshots"][0]["state"] == "completed"
    assert run.result["api_calls"]["CreateTags"] == 1

    for check_mode in (True, False):
        again = execute(world, check=check_mode, instance_id=instance.instance_id, snapshot=True)
        assert (again.result["changed"], again.result["plan"], again.warnings) == (False, [], [])
        assert [one["snapshot_id"] for one in again.result["snapshots"]] == [made.snapshot_id]


def test_predicted_state_equals_the_later_state(world: World) -> None:
    instance = world.instance(tags={"Name": "web"})
    check = execute(world, check=True, instance_id=instance.instance_id, snapshot=True)
    run = execute(world, instance_id=instance.instance_id, snapshot=True)
    assert check.result["instance"] == run.result["instance"]
    predicted, came = check.result["snapshots"][0], run.result["snapshots"][0]
    assert {key: came[key] for key in ("volume_id", "state", "tags")} == {
        key: predicted[key] for key in ("volume_id", "state", "tags")
    }


def test_diff_has_a_header_and_only_changes(fake: FakeWorld) -> None:
    instance = fake.instance(tags={"Name": "web"})
    shell = execute(fake, check=True, diff=True, instance_id=instance.instance_id, snapshot=True)
    tags, snapshot = shell.result["diff"]
    assert tags == {
        "before_header": f"{instance.instance_id}, us-east-1",
        "after_header": f"CreateTags {instance.instance_id}: the tag is missing",
        "before": "",
        "after": "tags.touched: yes\n",
    }
    assert snapshot["after_header"] == "CreateSnapshot (new snapshot one) (made): there is none"
    assert "diff" not in execute(fake, check=True, instance_id=instance.instance_id).result


def test_bad_input_is_refused_before_anything_is_asked(fake: FakeWorld) -> None:
    shell = execute(fake, instance_id="i-xyz")
    assert shell.message is not None and shell.message.startswith("instance_id: 'i-xyz'")
    assert shell.result["changed"] is False
    assert shell.result["error"] == {"code": "SpecError", "message": shell.message, "operation": None}
    assert shell.result["api_calls"] == {}


@pytest.mark.parametrize("seconds", [0, -5])
def test_no_time_at_all_is_refused(fake: FakeWorld, seconds: int) -> None:
    shell = execute(fake, instance_id="i-00000000000000bad", wait_timeout=seconds)
    assert shell.message is not None and shell.message.startswith(f"wait_timeout: {seconds} is less than 1 second")
    assert shell.result["api_calls"] == {}


def test_refusal_after_reads_lists_the_calls(fake: FakeWorld) -> None:
    shell = execute(fake, instance_id="i-00000000000000bad")
    assert shell.result["api_calls"] == {"DescribeInstances": 1}
    assert shell.message == "instance_id: i-00000000000000bad does not exist"


def test_failure_midway_names_the_finished_changes(world: World) -> None:
    instance = world.instance()
    world.fault("CreateSnapshot", code="SnapshotLimitExceeded", message="at the limit", status=400)
    shell = execute(world, instance_id=instance.instance_id, snapshot=True)
    assert shell.message is not None and "SnapshotLimitExceeded: at the limit" in shell.message
    assert shell.result["error"] == {
        "code": "SnapshotLimitExceeded",
        "message": "at the limit",
        "operation": "CreateSnapshot",
    }
    assert shell.result["changed"] is True
    assert [entry["action"] for entry in shell.result["done"]] == ["CreateTags"]
    assert [entry["action"] for entry in shell.result["failed_changes"]] == ["CreateSnapshot"]
    assert shell.result["not_tried"] == []
    assert shell.result["api_calls"]["CreateSnapshot"] == 1
    assert shell.warnings == ["a warning"]


def test_a_failed_first_call_has_changed_nothing(fake: FakeWorld) -> None:
    instance = fake.instance()
    fake.fault("CreateTags", code="UnauthorizedOperation", message="no", status=403)
    shell = execute(fake, instance_id=instance.instance_id, snapshot=True)
    assert shell.result["changed"] is False
    assert [entry["action"] for entry in shell.result["not_tried"]] == ["CreateSnapshot"]


def test_wait_false_returns_the_predicted_state(fake: FakeWorld) -> None:
    shell = execute(fake, instance_id=fake.instance().instance_id, snapshot=True, wait=False)
    assert shell.message is None
    assert fake.existing("snapshot")[0].state == "pending"
    assert shell.result["snapshots"][0]["snapshot_id"] == fake.existing("snapshot")[0].snapshot_id


# A volume of the instance that must have a size, and EC2 that may answer "not now".


def resizing(volume_id: str, size: int) -> Feature:
    def modify(spec: dict[str, Any], state: State, now: datetime) -> Plan:
        state.require(*needs(spec, state), *by_id("DescribeVolumes", "volume-id", [volume_id]))
        change = Change(
            action="ModifyVolume",
            resource=volume_id,
            region=state.region,
            parameters={"Size": size},
            reason="the size is another",
            before={"size": 1},
            after={"size": size},
            identity=modification_query(volume_id),
            deferrable=frozenset({"IncorrectModificationState"}),
        )
        stage = Stage((change,), (Wait((volume_id,), "modified", expect=(("size", size),)),))
        return Plan((stage, *plan(spec, state, now).stages))

    def told(_spec: dict[str, Any], state: State) -> dict[str, Any]:
        volume = state.volume(volume_id)
        deferral, latest = DEFERRAL.of(state, volume_id), MODIFICATION.of(state, volume_id)
        return {
            "size": volume.size if volume else None,
            "deferred": deferral and dataclasses.asdict(deferral),
            "modification": latest and dataclasses.asdict(latest),
        }

    return Feature(parse, modify, told)


def test_deferred_change_is_neither_done_nor_failed(world: World) -> None:
    instance = world.instance(tags={"touched": "yes"})
    volume = instance.block_devices[0].volume_id
    with world.lasting("optimize", 3600.0):
        first = execute(world, feature=resizing(volume, 20), instance_id=instance.instance_id)
    assert (first.result["changed"], first.result["size"], first.result["deferred"]) == (True, 20, None)
    assert first.result["modification"]["state"] == "optimizing"

    check = execute(world, check=True, feature=resizing(volume, 30), instance_id=instance.instance_id)
    assert (check.result["changed"], check.result["size"]) == (True, 30)
    late = execute(world, diff=True, feature=resizing(volume, 30), instance_id=instance.instance_id)
    assert late.message is None
    assert (late.result["changed"], late.result["size"], late.result["diff"]) == (False, 20, [])
    assert late.result["plan"] == check.result["plan"]
    assert late.result["deferred"]["code"] == "IncorrectModificationState"
    assert volume in late.result["deferred"]["message"]
    assert late.result["deferred"]["not_before"] is None


def test_change_beside_a_deferred_one_counts_as_a_change(fake: FakeWorld) -> None:
    instance = fake.instance()
    volume = instance.block_devices[0].volume_id
    fake.fault("ModifyVolume", code="IncorrectModificationState", message="not now", status=400)
    shell = execute(fake, diff=True, feature=resizing(volume, 30), instance_id=instance.instance_id)
    assert (shell.result["changed"], shell.result["size"]) == (True, 8)
    assert [item["after_header"].split()[0] for item in shell.result["diff"]] == ["CreateTags"]
    assert fake.existing("instance")[0].tags["touched"] == "yes"


def test_refusal_with_a_time_reports_it(fake: FakeWorld) -> None:
    instance = fake.instance(tags={"touched": "yes"})
    volume = instance.block_devices[0].volume_id
    for size in range(20, 24):
        execute(fake, feature=resizing(volume, size), instance_id=instance.instance_id)
        fake.pass_time(60)
    shell = execute(fake, feature=resizing(volume, 24), instance_id=instance.instance_id)
    assert shell.result["error"]["code"] == "VolumeModificationRateExceeded"
    assert shell.result["error"]["not_before"].startswith("2026-11-24T12:00:0")


def test_plans_of_earlier_tasks_apply_only_in_check_mode(fake: FakeWorld) -> None:
    instance = fake.instance()
    earlier = execute(fake, check=True, instance_id=instance.instance_id).result["plan"]
    for assume in ([earlier], [None, earlier], [{"skipped": True}, {"plan": earlier, "changed": True}], earlier):
        shell = execute(fake, check=True, instance_id=instance.instance_id, assume=assume)
        assert (shell.result["changed"], shell.result["plan"]) == (False, [])
    assert execute(fake, instance_id=instance.instance_id, assume=[earlier]).result["changed"] is True


def test_a_planned_instance_of_an_earlier_task_is_accepted(fake: FakeWorld) -> None:
    entry = {
        "action": "RunInstances",
        "resource": "(new instance web)",
        "region": "us-east-1",
        "after": {"state": "running", "tags": {"Name": "web"}},
    }
    shell = execute(fake, check=True, instance_id="(new instance web)", assume=[[entry]])
    assert shell.message is None
    assert [change["resource"] for change in shell.result["plan"]] == ["(new instance web)"]
    assert fake.gateway.calls == {}


def test_assume_without_a_plan_is_refused() -> None:
    with pytest.raises(SpecError, match="assume: 'x' is not the plan"):
        assumed_entries(["x"])


def test_option_groups_bring_their_constraints() -> None:
    merged = module_arguments(
        Options({"a": {"type": "str"}}, {"mutually_exclusive": [("a", "b")]}),
        Options({"b": {"type": "str"}}, {"mutually_exclusive": [("b", "c")], "required_by": {"b": ["a"]}}),
    )
    assert merged == {
        "argument_spec": {"a": {"type": "str"}, "b": {"type": "str"}},
        "mutually_exclusive": [("a", "b"), ("b", "c")],
        "required_by": {"b": ["a"]},
    }


def test_planner_error_in_the_result_keeps_the_finished_changes(fake: FakeWorld) -> None:
    def refuse(_spec: Any, _state: State) -> dict[str, Any]:
        raise StorageError("it is not as it should be")

    shell = execute(fake, instance_id=fake.instance().instance_id, feature=dataclasses.replace(FEATURE, result=refuse))
    assert shell.message == "it is not as it should be"
    assert shell.result["changed"] is True
    assert [entry["action"] for entry in shell.result["done"]] == ["CreateTags"]


def test_the_first_read_that_fails_is_reported_with_its_code(fake: FakeWorld) -> None:
    fake.fault("DescribeInstances", code="AuthFailure", message="not these keys", status=401)
    shell = execute(fake, instance_id="i-00000000000000001")
    assert shell.result["error"] == {
        "code": "AuthFailure",
        "message": "not these keys",
        "operation": "DescribeInstances",
    }


# --- as Ansible runs it ---

SPEC = {"instance_id": {"type": "str", "required": True}, "snapshot": {"type": "bool", "default": False}}


def module(capsys: pytest.CaptureFixture[str], args: dict[str, Any]) -> dict[str, Any]:
    """Runs the module in this process with these arguments and returns its output."""
    with patch_module_args(args), pytest.raises(SystemExit):
        runner.Program(FEATURE, SPEC, required_together=[("instance_id", "snapshot")]).run()
    printed: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return printed


def connection(url: str, **more: Any) -> dict[str, Any]:
    return {"region": "us-east-1", "endpoint_url": url, "access_key": "testing", "secret_key": "testing", **more}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_PROFILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_ENDPOINT_URL",
    ):
        monkeypatch.delenv(name, raising=False)
    # Another test of this process may have imported a part of the controller, which shows warnings itself.
    monkeypatch.setattr("ansible.module_utils._internal.is_controller", False, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def test_module_runs_over_the_network(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    instance = sandbox_instance(sandbox).instance_id
    args = {**connection(sandbox.url), "instance_id": instance}
    check = module(capsys, {**args, "_ansible_check_mode": True, "_ansible_diff": True})
    assert check["changed"] is True
    assert check["diff"][0]["after"] == "tags.touched: yes\n"
    run = module(capsys, args)
    assert (run["changed"], run["plan"]) == (True, check["plan"])
    # core 2.19 makes objects of warnings.
    assert [json.dumps(warning).count("a warning") for warning in run["warnings"]] == [1]
    assert "deprecations" not in run
    again = module(capsys, args)
    assert (again["changed"], again["api_calls"]) == (False, {"DescribeInstances": 1})


def test_a_refusal_by_aws_reaches_the_user_with_code_and_action(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox.refuse("DescribeInstances")
    failed = module(capsys, {**connection(sandbox.url), "instance_id": "i-00000000000000001"})
    assert failed["failed"] is True
    assert failed["error"]["code"] == "UnauthorizedOperation"
    assert "allow ec2:DescribeInstances" in failed["msg"]
    assert "testing" not in failed["msg"]


def test_missing_region_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    failed = module(capsys, {"instance_id": "i-00000000000000001"})
    assert failed["msg"].startswith("region: no region is given. Set region")
    assert failed["api_calls"] == {}


def test_missing_credentials_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    failed = module(
        capsys, {"region": "us-east-1", "endpoint_url": "http://127.0.0.1:9", "instance_id": "i-00000000000000001"}
    )
    assert failed["error"]["code"] == "NoCredentials"
    assert "access_key" in failed["msg"]


def test_silent_endpoint_is_reported_within_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    failed = module(capsys, {**connection("http://127.0.0.1:9"), "instance_id": "i-00000000000000001"})
    assert failed["error"]["code"] == "EndpointUnreachable"
    assert "Check endpoint_url (http://127.0.0.1:9)" in failed["msg"]
    assert 1 <= failed["api_calls"]["DescribeInstances"] <= 6
