# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role snapshot_policy and the playbook rotate_snapshots: the tasks around a capture, and the retention."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import substitute

from playbook.seeds import Web
from playbook.support import PLAYS, REGION, assert_done_as_planned, assert_told_the_same, changing_calls, run_playbook
from sandbox.client import Sandbox

PLAYBOOK = "ec2ops.storage.rotate_snapshots"
RESULT = "snapshot_policy_result"
POLICY, SOURCE, SET = "ec2ops:policy", "ec2ops:source", "ec2ops:set"
ELSEWHERE = "eu-west-1"
CREATES = ("CreateSnapshot", "CreateSnapshots")


@pytest.fixture(autouse=True)
def far_from_midnight(sandbox: Sandbox) -> None:
    """The runs of a test are of one day."""
    now = sandbox.now()
    if (now + timedelta(minutes=10)).date() != now.date():
        sandbox.move_clock(600)


@pytest.fixture
def around(tmp_path: Path) -> dict[str, str]:
    """Variables with tasks files that leave a trace in the sandbox's log, among the calls of the role.

    The one before the capture fails for a policy of the name ``fragile``.
    """

    def trace(moment: str) -> dict[str, Any]:
        filters = {"tag:trace": f"{moment} {{{{ snapshot_policy_item.policy }}}}"}
        return {"name": f"A trace {moment}", "amazon.aws.ec2_vol_info": {"filters": filters}}

    refusal = {
        "name": "What is fragile is left alone",
        "ansible.builtin.fail": {"msg": "it will not stand still"},
        "when": "snapshot_policy_item.policy == 'fragile'",
    }
    for name, tasks in (("before", [trace("before"), refusal]), ("after", [trace("after")])):
        (tmp_path / f"{name}.yml").write_text(json.dumps(tasks), encoding="utf-8")
    return {
        "rotate_snapshots_pre_tasks": str(tmp_path / "before.yml"),
        "rotate_snapshots_post_tasks": str(tmp_path / "after.yml"),
    }


def steps(log: Sequence[Mapping[str, Any]]) -> list[str]:
    """The traces, the creations and the deletions of a log, in order; several deletions in a row are one step."""
    found: list[str] = []
    for entry in log:
        filters = entry["params"].get("Filter") or entry["params"].get("Filters") or []
        traced = [value for item in filters if item["Name"] == "tag:trace" for value in item["Values"]]
        if traced or entry["action"] in (*CREATES, "DeleteSnapshot"):
            found += traced or [entry["action"]]
    return [step for index, step in enumerate(found) if step != "DeleteSnapshot" or found[index - 1] != step]


def snapshots_of(sandbox: Sandbox, policy: str, region: str = REGION) -> list[dict[str, Any]]:
    """The snapshots that carry the policy's tag, the oldest first, their tags as a mapping."""
    filters = [{"Name": f"tag:{POLICY}", "Values": [policy]}]
    found = sandbox.client("ec2", region).describe_snapshots(OwnerIds=["self"], Filters=filters)["Snapshots"]
    named = [{**item, "Tags": {tag["Key"]: tag["Value"] for tag in item["Tags"]}} for item in found]
    return sorted(named, key=lambda item: (item["StartTime"], item["SnapshotId"]))


def seed_snapshots(sandbox: Sandbox, volume_id: str, policy: str, count: int = 5) -> list[str]:
    """Completed snapshots of a policy, one for each of the last days, the oldest first."""
    snapshots = {
        "name": "old",
        "count": count,
        "volumes": [volume_id],
        "description": f"{policy}: {volume_id}",
        "tags": {POLICY: policy, SOURCE: volume_id},
    }
    sandbox.seed({"region": REGION, "snapshots": snapshots})
    return [item["SnapshotId"] for item in snapshots_of(sandbox, policy)]


def by_policy(result: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["policy"]: entry for entry in result["policies"]}


@pytest.mark.cores
def test_check_and_run_twice_agree(sandbox: Sandbox, web: Web, around: Mapping[str, str]) -> None:
    """Two policies: the tasks run around each capture, before any wait or deletion, and never if nothing is due."""
    old = seed_snapshots(sandbox, web.data_volume_id, "daily")
    given = {
        **around,
        "rotate_snapshots_policies": [
            {
                "policy": "daily",
                "select": {"volume_ids": [web.data_volume_id]},
                "keep": {"last": 2},
                "copies": [{"region": ELSEWHERE, "keep": {"last": 1}, "wait": True}],
                "lock": {"mode": "governance", "duration": "1d"},
                "max_delete": 4,
            },
            {
                "policy": "whole",
                "select": {"instance_ids": [web.instance_id]},
                "consistency": "instance",
                "tags": {"team": "shop"},
                "keep": {"within": "2d"},
            },
        ],
    }
    sandbox.add_mark(web.data_volume_id, "release 41 deployed")

    sandbox.reset_log()
    check = run_playbook(sandbox, PLAYBOOK, given, check=True)
    assert check.status == 0, check.output
    assert changing_calls(sandbox.log()) == []
    assert steps(sandbox.log()) == ["before daily", "after daily", "before whole", "after whole"]

    sandbox.reset_log()
    run = run_playbook(sandbox, PLAYBOOK, given)
    assert run.status == 0, run.output
    log = sandbox.log()
    sandbox.add_mark(web.data_volume_id, "release 42 deployed")
    assert steps(log) == [
        *("before daily", "CreateSnapshot", "after daily", "DeleteSnapshot"),
        *("before whole", "CreateSnapshots", "after whole"),
    ]
    foreseen, result = check.fact(RESULT), run.fact(RESULT)
    assert (foreseen["changed"], result["changed"]) == (True, True)
    assert_told_the_same(foreseen["plan"], result["plan"], run.planned_ids)
    assert_done_as_planned(result["plan"], log, run.planned_ids)
    assert foreseen["policies"][0].keys() == result["policies"][0].keys()
    for told in (foreseen, result):
        assert [(entry["changed"], entry["failed"]) for entry in told["policies"]] == [(True, False), (True, False)]
        for entry in told["policies"]:
            assert re.search(r"taken.*kept; newest recovery point \d+ s old$", entry["msg"]), entry["msg"]
    before, daily = by_policy(foreseen)["daily"], by_policy(result)["daily"]
    for name in ("deleted", "counts", "plan_hash"):
        assert before[name] == daily[name]
    assert substitute(before["decisions"], run.planned_ids) == daily["decisions"]
    assert daily["locked"] == daily["created"]
    (copy,) = snapshots_of(sandbox, "daily", ELSEWHERE)
    assert (daily["copied"], copy["State"]) == ([copy["SnapshotId"]], "completed")
    assert copy["Tags"]["ec2ops:copy-of"] == f"{REGION}/{daily['created'][0]}"
    assert [run.planned_ids[name] for name in before["created"]] == daily["created"]
    assert daily["counts"] == {"managed": 6, "kept": 2, "deleted": 4, "withheld": 0, "created": 1, "copied": 1}
    assert set(daily["deleted"]) == set(old[:4])
    assert [item["SnapshotId"] for item in snapshots_of(sandbox, "daily")] == [old[4], *daily["created"]]
    (point,) = daily["rpo"]
    assert (point["source"], point["due"], point["snapshot_ids"]) == (web.data_volume_id, True, daily["created"])

    whole = snapshots_of(sandbox, "whole")
    assert {item["VolumeId"] for item in whole} == {web.root_volume_id, web.data_volume_id}
    assert {item["SnapshotId"] for item in whole} == set(by_policy(result)["whole"]["created"])
    assert len({item["Tags"][SET] for item in whole}) == 1
    assert {item["Tags"]["team"] for item in whole} == {"shop"}
    written = [mark["text"] for mark in sandbox.marks(daily["created"][0])["marks"]]
    assert "release 41 deployed" in written
    assert "release 42 deployed" not in written

    for check_mode in (True, False):
        sandbox.reset_log()
        again = run_playbook(sandbox, PLAYBOOK, given, check=check_mode)
        assert again.status == 0, again.output
        assert again.changed == []
        assert changing_calls(sandbox.log()) == []
        assert steps(sandbox.log()) == []
        kept = again.fact(RESULT)
        assert (kept["changed"], kept["plan"]) == (False, [])
        assert [(entry["created"], entry["deleted"]) for entry in kept["policies"]] == [([], []), ([], [])]
        assert by_policy(kept)["daily"]["rpo"][0]["snapshot_ids"] == daily["created"]
        assert by_policy(kept)["daily"]["rpo"][0]["due"] is False


def test_a_policy_that_fails_fails_alone(sandbox: Sandbox, web: Web, around: Mapping[str, str]) -> None:
    """After any failure, the tasks after the capture run. The policy deletes nothing, and the others go on."""
    olds = {policy: seed_snapshots(sandbox, web.data_volume_id, policy) for policy in ("refused", "fragile")}
    whole = {"select": {"instance_ids": [web.instance_id]}, "consistency": "instance", "keep": {"last": 1}}
    volume = {"select": {"volume_ids": [web.data_volume_id]}, "keep": {"last": 1}}
    given = {
        **around,
        "rotate_snapshots_policies": [
            {**volume, "policy": "refused"},
            {**whole, "policy": "fragile"},
            {**whole, "policy": "limited", "max_delete": 0},
            {**volume, "policy": "unfit", "keep": {"dayly": 7}},
            {**whole, "policy": "endless", "copies": [{"region": ELSEWHERE, "keep": {}}]},
            {**whole, "policy": "circular", "copies": [{"region": REGION, "keep": {"last": 1}}]},
            {**whole, "policy": "mistyped", "copies": [{"region": REGION, "profile": "nobody", "keep": {"last": 1}}]},
            {**whole, "policy": "outage", "copies": [{"region": ELSEWHERE, "keep": {"last": 1}}]},
            {**whole, "policy": "sound", "exclude_boot_volume": True},
        ],
    }
    seed_snapshots(sandbox, web.data_volume_id, "limited")
    sandbox.refuse("CreateSnapshot")
    sandbox.add_fault("Describe*", region=ELSEWHERE, code="AuthFailure", status=401)
    sandbox.reset_log()
    run = run_playbook(sandbox, PLAYBOOK, given)
    assert run.status != 0
    assert steps(sandbox.log()) == [
        *("before refused", "CreateSnapshot", "after refused"),
        *("before fragile", "after fragile"),
        *("before limited", "CreateSnapshots", "after limited"),
        *("before outage", "CreateSnapshots", "after outage"),
        *("before sound", "CreateSnapshots", "after sound"),
    ]
    reasons = {
        "refused": "UnauthorizedOperation",
        "fragile": "it will not stand still",
        "limited": "max_delete",
        "unfit": "dayly",
        "endless": "copies[0].keep",
        "circular": "copies[0]",
        "mistyped": "nobody",
        "outage": "AuthFailure",
    }
    result = run.fact(RESULT)
    told = by_policy(result)
    assert [name for name, entry in told.items() if entry["failed"]] == [*reasons]
    assert [name for name, entry in told.items() if entry["changed"]] == ["limited", "outage", "sound"]
    for name, reason in reasons.items():
        assert reason in told[name]["msg"]
        assert f"{name}: {told[name]['msg']}" in run.failures[-1]
    assert "8 of 9 policies failed" in run.failures[-1]
    assert "sound:" not in run.failures[-1]
    (shown,) = [each.result["msg"] for each in run.results if each.task == "Show the result"]
    assert shown["failed"] == [*reasons]
    for name, old in olds.items():
        assert [item["SnapshotId"] for item in snapshots_of(sandbox, name)] == old
        assert (told[name]["created"], told[name]["deleted"], told[name]["counts"]) == ([], [], {"created": 0})
    assert len(told["limited"]["created"]) == 2
    assert told["limited"]["counts"]["withheld"] > 0
    assert told["limited"]["deleted"] == []
    assert [item["VolumeId"] for item in snapshots_of(sandbox, "sound")] == [web.data_volume_id]
    assert {entry["action"] for entry in result["plan"]} == {"CreateSnapshots"}


def test_each_host_retains_its_own_region(sandbox: Sandbox, tmp_path: Path) -> None:
    """The hosts need not be reachable, and each has its region. If a day begins during the run, the next run takes its
    snapshot.
    """
    regions = {"virginia": "us-east-1", "ireland": "eu-west-1"}
    volumes = {}
    for host, region in regions.items():
        volume = {"name": host, "size": 4, "tags": {"backup": "daily"}}
        volumes[host] = sandbox.seed({"region": region, "volume": volume})[host]
    inventory = "\n".join(
        (
            "[accounts]",
            *(f"""{host} rotate_snapshots_aws='{{"region": "{region}"}}'""" for host, region in regions.items()),
            "[accounts:vars]",
            "ansible_host=203.0.113.7",
            "",
        )
    )
    midnight = {
        "name": "A day begins",
        "ansible.builtin.uri": {
            "url": f"{sandbox.url}/_sandbox/clock/move",
            "method": "POST",
            "body_format": "json",
            "body": {"seconds": 86400},
            "use_proxy": False,
        },
        "delegate_to": "localhost",
    }
    after = tmp_path / "midnight.yml"
    after.write_text(json.dumps([midnight]), encoding="utf-8")
    given = {
        "rotate_snapshots_hosts": "accounts",
        "rotate_snapshots_policies": [
            {"policy": "daily", "select": {"tags": {"backup": "daily"}}, "keep": {"daily": 7}}
        ],
        "rotate_snapshots_post_tasks": str(after),
    }
    given["rotate_snapshots_pre_tasks"] = None
    began = sandbox.now()
    run = run_playbook(sandbox, PLAYBOOK, given, inventory=inventory)
    assert run.status == 0, run.output
    assert sandbox.now() - began >= timedelta(days=len(regions))
    for host, region in regions.items():
        (made,) = snapshots_of(sandbox, "daily", region)
        (entry,) = run.fact(RESULT, host)["policies"]
        assert (made["VolumeId"], entry["created"]) == (volumes[host], [made["SnapshotId"]])
        assert run.fact(RESULT, host)["changed"] is True


def test_mistake_is_refused_before_the_first_call(sandbox: Sandbox, tmp_path: Path) -> None:
    """Mistakes that would otherwise fail with a frozen file system, or after a capture that no rule retains."""
    files = {name: tmp_path / f"{name}.yml" for name in ("unreadable", "single", "words", "sound")}
    files["unreadable"].write_text("- name: x\n  ansible.builtin.debug: {msg: hi}\n  foo\n", encoding="utf-8")
    files["single"].write_text("name: x\nansible.builtin.debug:\n", encoding="utf-8")
    files["words"].write_text("- freeze\n- thaw\n", encoding="utf-8")
    # These variables are read, so only the other one is refused.
    tagged = "- debug:\n    msg: !unsafe '{{'\n  vars:\n    key: !vault |\n      $ANSIBLE_VAULT;1.1;AES256\n      61\n"
    files["sound"].write_text(tagged, encoding="utf-8")
    sound = {"policy": "daily", "select": {"volume_ids": ["vol-0123456789abcdef0"]}, "keep": {"daily": 7}}
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "nothing": ({"rotate_snapshots_policies": []}, "rotate_snapshots_policies: is required"),
        "nameless": ({"rotate_snapshots_policies": [{"keep": {"daily": 7}}]}, "policies[0]: policy is missing"),
        "keeping_nothing": ({"rotate_snapshots_policies": [{"policy": "daily"}]}, "policies[0]: keep is missing"),
        "keeping_null": (
            {"rotate_snapshots_policies": [{"policy": "daily", "keep": None}]},
            "policies[0]: keep is missing",
        ),
        "twice": ({"rotate_snapshots_policies": [sound, sound]}, "2 policies have the name daily"),
        "number": (
            {"rotate_snapshots_policies": [{**sound, "policy": name} for name in (5, "5")]},
            "2 policies have the name 5",
        ),
        "unknown": ({"rotate_snapshots_policies": [{**sound, "state": "applied"}]}, "no option state."),
        "relative": ({"rotate_snapshots_pre_tasks": "freeze.yml"}, "freeze.yml is not the absolute path"),
        **{
            name: (
                {"rotate_snapshots_pre_tasks": str(files["sound"]), "rotate_snapshots_post_tasks": str(files[name])},
                said,
            )
            for name, said in (
                ("unreadable", "simple key"),
                ("single", "single.yml is not a list"),
                ("words", "words.yml is not a list"),
            )
        },
        "missing": ({"rotate_snapshots_post_tasks": "/nowhere/thaw.yml"}, "/nowhere/thaw.yml is not"),
    }
    given = {
        "rotate_snapshots_hosts": "all",
        "given": {
            host: {"rotate_snapshots_policies": [sound], **variables} for host, (variables, _said) in wrong.items()
        },
        **{
            name: f"{{{{ given[inventory_hostname].{name} | default('') }}}}"
            for name in ("rotate_snapshots_policies", "rotate_snapshots_pre_tasks", "rotate_snapshots_post_tasks")
        },
    }
    sandbox.reset_log()
    run = run_playbook(sandbox, PLAYBOOK, given, inventory="\n".join(wrong) + "\n")
    assert run.status != 0
    failures = {each.host: json.dumps(each.result) for each in run.results if each.outcome == "failed"}
    assert failures.keys() == wrong.keys()
    for host, (_variables, said) in wrong.items():
        assert said in failures[host]
    assert [each["failed"] for each in json.loads(failures["single"])["results"]] == [False, True]
    assert sandbox.log() == []


def test_refused_use_of_a_role_leaves_no_earlier_result(sandbox: Sandbox) -> None:
    run = run_playbook(sandbox, PLAYS / "refused.yml")
    assert run.status != 0
    assert len(run.failures) == 2
    assert run.fact(RESULT) == {"changed": False, "plan": [], "policies": []}
    assert run.fact("restore_result") == {"changed": False, "plan": [], "volumes": [], "notes": []}
