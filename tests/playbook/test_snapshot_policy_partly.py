# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role snapshot_policy when an id is gone, or a guard cannot be read: the rest is captured, then the role fails."""

from __future__ import annotations

from playbook.seeds import Web
from playbook.support import assert_done_as_planned, run_playbook
from playbook.test_snapshot_policy import ELSEWHERE, PLAYBOOK, RESULT, by_policy, seed_snapshots, snapshots_of
from sandbox.client import Sandbox

GONE, GONE_INSTANCE = "vol-00000000000000001", "i-00000000000000001"


def test_gone_id_does_not_stop_the_captures_and_the_retention_of_the_others(sandbox: Sandbox, web: Web) -> None:
    old = seed_snapshots(sandbox, web.data_volume_id, "daily")
    both = {"volume_ids": [GONE, web.data_volume_id], "instance_ids": [GONE_INSTANCE]}
    policies = [
        {"policy": "daily", "select": both, "keep": {"last": 2}},
        {"policy": "lenient", "select": {**both, "allow_missing": True}, "keep": {"last": 2}},
    ]
    sandbox.reset_log()
    run = run_playbook(sandbox, PLAYBOOK, {"rotate_snapshots_policies": policies})
    assert run.status != 0
    result = run.fact(RESULT)
    assert_done_as_planned(result["plan"], sandbox.log(), run.planned_ids)
    told = by_policy(result)
    assert [entry["failed"] for entry in told.values()] == [True, False]
    assert GONE in told["daily"]["msg"]
    assert GONE_INSTANCE in told["daily"]["msg"]
    assert told["daily"]["msg"].count(GONE) == 1
    assert set(told["daily"]["deleted"]) == set(old[:4])
    assert [len(entry["created"]) for entry in told.values()] == [1, 1]
    assert {item["State"] for item in snapshots_of(sandbox, "daily")} == {"completed"}
    assert [point["due"] for point in told["daily"]["rpo"]] == [True]


def test_unreadable_guard_is_reported_after_the_capture(sandbox: Sandbox, web: Web) -> None:
    old = seed_snapshots(sandbox, web.data_volume_id, "daily")
    policy = {"policy": "daily", "select": {"volume_ids": [web.data_volume_id]}, "keep": {"last": 2}}
    sandbox.refuse("DescribeLockedSnapshots")
    run = run_playbook(sandbox, PLAYBOOK, {"rotate_snapshots_policies": [policy]})
    assert run.status != 0
    told = by_policy(run.fact(RESULT))["daily"]
    assert "allow ec2:DescribeLockedSnapshots" in told["msg"]
    assert (len(told["created"]), told["deleted"]) == (1, [])
    assert [item["SnapshotId"] for item in snapshots_of(sandbox, "daily")] == [*old, *told["created"]]
    assert {item["State"] for item in snapshots_of(sandbox, "daily")} == {"completed"}


def test_refused_capture_and_unanswered_place_have_different_messages(sandbox: Sandbox, web: Web) -> None:
    """After a refused capture nothing is retained. A silent place of copies does not stop the retention."""
    refused = seed_snapshots(sandbox, web.data_volume_id, "refused")
    policies = [
        {"policy": "refused", "select": {"volume_ids": [web.data_volume_id]}, "keep": {"last": 1}},
        {
            "policy": "outage",
            "select": {"instance_ids": [web.instance_id]},
            "consistency": "instance",
            "keep": {"last": 1},
            "copies": [{"region": ELSEWHERE, "keep": {"last": 1}}],
        },
    ]
    sandbox.refuse("CreateSnapshot")
    sandbox.add_fault("Describe*", region=ELSEWHERE, code="AuthFailure", status=401)
    run = run_playbook(sandbox, PLAYBOOK, {"rotate_snapshots_policies": policies})
    assert run.status != 0
    told = by_policy(run.fact(RESULT))
    assert [(entry["failed"], entry["changed"]) for entry in told.values()] == [(True, False), (True, True)]
    assert "UnauthorizedOperation" in told["refused"]["msg"]
    assert "AuthFailure" in told["outage"]["msg"]
    assert (told["refused"]["created"], told["refused"]["deleted"]) == ([], [])
    assert [item["SnapshotId"] for item in snapshots_of(sandbox, "refused")] == refused
    assert {item["State"] for item in snapshots_of(sandbox, "outage")} == {"completed"}
