# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of a plan and its outcome, as a user sees it."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, datetime
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._engine import rendering
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.ports import Outcome
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import (
    Incomplete,
    Several,
    SpecError,
    Unanswered,
    UnsafePlan,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError, WaitError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Plan, Stage

INSTANCE, NEW = "i-00000000000000001", "(new instance web)"
STOP = Change(
    "StopInstances",
    INSTANCE,
    "eu-central-1",
    {},
    "the capture needs it stopped",
    before={"state": "running", "public_ip_address": "203.0.113.7", "instance_type": "m5.large"},
    after={"state": "stopped", "public_ip_address": None, "instance_type": "m5.large"},
    disruptive=True,
)
TAG = Change(
    "CreateTags",
    NEW,
    "eu-central-1",
    {"Tags": [{"Key": "ec2ops:restore-state", "Value": "running 2026-11-23T12:00:00Z"}]},
    "it is remembered",
    before={"tags": {"Name": "web", "env": "test"}},
    after={"tags": {"Name": "web", "env": "prod"}},
)
LAUNCH = Change(
    "RunInstances",
    NEW,
    "eu-central-1",
    {"ImageId": "ami-00000001", "UserData": "password=hunter2", "ClientToken": "abc"},
    "another image",
    after={
        "state": "running",
        "product_codes": [],
        "block_devices": [{"device_name": "/dev/sda1", "snapshot_id": "(new snapshot a)", "iops": None}],
    },
)
REMOVE = Change("DeleteSnapshot", "snap-00000001", "eu-central-1", {}, "it failed", before={"state": "error"})
PLAN = Plan((Stage((STOP,)), Stage((LAUNCH,)), Stage((TAG, REMOVE))), ("careful",))


def test_diff_item_shows_only_changes_and_the_reason() -> None:
    stop, launch, tag, remove = rendering.diff(PLAN)
    assert stop == {
        "before_header": f"{INSTANCE}, eu-central-1",
        "after_header": f"StopInstances {INSTANCE} (disruptive): the capture needs it stopped",
        "before": "state: running\npublic_ip_address: 203.0.113.7\n",
        "after": "state: stopped\n",
    }
    assert launch["before"] == ""
    assert launch["after"] == (
        'state: running\nblock_devices[/dev/sda1]: {"device_name": "/dev/sda1", "snapshot_id": "(new snapshot a)"}\n'
    )
    assert launch["after_header"].startswith(f"RunInstances {NEW} (made): another image")
    assert (tag["before"], tag["after"]) == ("tags.env: test\n", "tags.env: prod\n")
    assert (remove["before"], remove["after"]) == ("state: error\n", "")
    assert "(gone)" in remove["after_header"]


def test_no_secret_and_no_time_of_the_run_is_shown() -> None:
    shown = json.dumps([rendering.success(PLAN, {}, {}), rendering.diff(PLAN)])
    assert "hunter2" not in shown
    assert "ClientToken" not in shown
    assert "2026-11-23" not in shown
    assert "sha256:" in shown


def test_success_is_the_plan_the_entities_and_the_calls() -> None:
    outcome = Outcome(bindings={NEW: "i-00000002"})
    result = rendering.success(PLAN, {"instances": [1]}, {"StopInstances": 1}, outcome)
    assert result["changed"] is True
    assert [entry["action"] for entry in result["plan"]] == [
        "StopInstances",
        "RunInstances",
        "CreateTags",
        "DeleteSnapshot",
    ]
    assert result["instances"] == [1]
    assert result["api_calls"] == {"StopInstances": 1}
    assert result["planned_ids"] == {NEW: "i-00000002"}
    assert rendering.success(Plan(warnings=("x",)), {}, {})["changed"] is False
    assert rendering.success(PLAN, {}, {})["planned_ids"] == {}


def test_deferred_change_is_planned_but_not_changed() -> None:
    refused = CallError("StopInstances", "NotNow", "later")
    alone, among = Outcome(deferred=[(STOP, refused)]), Outcome(deferred=[(STOP, refused), (LAUNCH, refused)])
    result = rendering.success(Plan((Stage((STOP,)),)), {}, {}, alone)
    assert result["changed"] is False
    assert [entry["action"] for entry in result["plan"]] == ["StopInstances"]
    assert rendering.success(PLAN, {}, {}, among)["changed"] is True


def test_changes_deferred_before_a_failure_are_reported_with_it() -> None:
    outcome = Outcome(failed=[TAG], deferred=[(STOP, CallError("StopInstances", "NotNow", "later"))])
    result = rendering.failure(SpecError("bad"), PLAN, outcome, {})
    assert result["changed"] is False
    assert [entry["action"] for entry in result["failed_changes"]] == ["CreateTags", "StopInstances"]


def test_failure_names_finished_changes_with_real_ids() -> None:
    outcome = Outcome(done=[LAUNCH], failed=[TAG], not_tried=[REMOVE], bindings={NEW: "i-00000002"})
    error = CallError("CreateTags", "TagLimitExceeded", "too many tags", resource="i-00000002", hint="Remove one.")
    result = rendering.failure(error, PLAN, outcome, {})
    assert result["error"] == {"code": "TagLimitExceeded", "message": "too many tags", "operation": "CreateTags"}
    assert result["changed"] is True
    assert [entry["resource"] for entry in result["done"]] == ["i-00000002"]
    assert [entry["resource"] for entry in result["failed_changes"]] == ["i-00000002"]
    assert [entry["resource"] for entry in result["not_tried"]] == ["snap-00000001"]
    # `failed` is Ansible's own word in a result, and a list there would be overwritten.
    assert "failed" not in result


def test_changed_after_a_failure_counts_unclear_calls() -> None:
    def changed(error: CallError, **outcome: Any) -> bool:
        return bool(rendering.failure(error, PLAN, Outcome(**outcome), {})["changed"])

    refused = CallError("StopInstances", "Denied", "no")
    lost = CallError("StopInstances", "ConnectionLost", "gone", unclear=True, passing=True)
    assert changed(refused, failed=[STOP]) is False
    assert changed(refused, failed=[LAUNCH], done=[STOP]) is True
    assert changed(refused, failed=[LAUNCH], rolled_back=[STOP]) is True
    assert changed(lost, failed=[STOP], errors=[lost]) is True


def test_every_error_has_a_code() -> None:
    assert rendering.described(SpecError("bad"))["code"] == "SpecError"
    for how, code in (("failed", "WaitFailed"), ("timeout", "WaitTimeout"), ("mismatch", "WaitMismatch")):
        assert rendering.described(WaitError("x", how)) == {"code": code, "message": "x", "operation": None}


def test_all_errors_are_in_the_result_beside_the_first() -> None:
    refused = CallError("CreateTags", "UnauthorizedOperation", "no")
    answers = Unanswered("nothing is known", [CallError("DescribeVolumes", "AuthFailure", "who?"), refused])
    left_out = Incomplete("parts are left out", SpecError("one"), Several([UnsafePlan("two"), answers]))
    plan = dataclasses.replace(PLAN, refused=left_out)
    result = rendering.failure(Several([WaitError("x", "timeout"), refused]), plan, Outcome(), {})
    assert [error["code"] for error in result["errors"]] == [
        "WaitTimeout",
        "UnauthorizedOperation",
        "SpecError",
        "UnsafePlan",
        "AuthFailure",
        "UnauthorizedOperation",
    ]
    assert result["error"]["code"] == "WaitTimeout"
    alone = rendering.failure(left_out, plan, Outcome(), {})
    assert [error["code"] for error in alone["errors"]] == [error["code"] for error in result["errors"][2:]]
    assert (alone["error"]["code"], alone["error"]["message"]) == ("SpecError", "one")
    assert [error["code"] for error in rendering.refusal(SpecError("bad"), PLAN, {})["errors"]] == ["SpecError"]


def test_refusal_with_a_time_says_when_to_retry() -> None:
    moment = datetime(2026, 11, 24, 10, tzinfo=UTC)
    error = CallError("ModifyVolume", "VolumeModificationRateExceeded", "no", not_before=moment)
    assert rendering.described(error) == {
        "code": "VolumeModificationRateExceeded",
        "message": "no",
        "operation": "ModifyVolume",
        "not_before": "2026-11-24T10:00:00Z",
    }


def test_a_refusal_leaves_all_untried() -> None:
    result = rendering.refusal(SpecError("bad"), PLAN, {"DescribeInstances": 1})
    assert result["changed"] is False
    assert len(result["not_tried"]) == 4
    assert (result["done"], result["failed_changes"]) == ([], [])
