# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The summary that a playbook prints."""

from __future__ import annotations

from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._engine.summary import change_lines, headlines

NEW, MADE = "(new volume web/data)", "vol-0123456789abcdef0"


def entry(action: str, resource: str, reason: str = "create data") -> dict[str, Any]:
    return {"action": action, "resource": resource, "reason": reason}


CREATE, ATTACH = entry("CreateVolume", NEW), entry("AttachVolume", NEW, "attach data to i-1")


def test_run_has_the_ids_of_ec2_and_reasons() -> None:
    result = {"plan": [CREATE, ATTACH], "planned_ids": {NEW: MADE}}
    assert change_lines([result]) == [f"CreateVolume {MADE}: create data", f"AttachVolume {MADE}: attach data to i-1"]


def test_check_run_has_planned_ids() -> None:
    assert change_lines([{"plan": [CREATE], "planned_ids": {}}]) == [f"CreateVolume {NEW}: create data"]


def test_id_of_one_task_is_known_in_the_plan_of_the_next() -> None:
    results = [{"plan": [CREATE], "planned_ids": {NEW: MADE}}, {"plan": [ATTACH], "planned_ids": {}}]
    assert change_lines(results)[-1] == f"AttachVolume {MADE}: attach data to i-1"


def test_failed_task_lists_done_failed_and_untried_changes() -> None:
    tag = entry("CreateTags", NEW, "tag data")
    result = {
        "plan": [CREATE, ATTACH, tag],
        "planned_ids": {NEW: MADE},
        "error": {"code": "IncorrectState"},
        "done": [CREATE],
        "failed_changes": [ATTACH],
        "not_tried": [tag],
    }
    assert change_lines([result]) == [
        f"CreateVolume {MADE}: create data",
        f"failed: AttachVolume {MADE}: attach data to i-1",
        f"not tried: CreateTags {MADE}: tag data",
    ]


def test_results_without_a_plan_have_no_lines() -> None:
    assert change_lines([{}, {"skipped": True, "changed": False}, {"failed": True, "msg": "no"}]) == []


def test_summary_has_at_most_thirty_lines() -> None:
    results = [{"plan": [entry("DeleteSnapshot", f"snap-{number}") for number in range(31)]}]
    lines = change_lines(results)
    assert (len(lines), lines[-1]) == (30, "and 2 more")
    assert len(change_lines([{"plan": results[0]["plan"][:30]}])) == 30


def test_foreign_text_cannot_add_or_reverse_a_line() -> None:
    """A name in a reason comes from a tag, which anybody may have written."""
    name = "data\u202e\x1b[2K\nDeleteVolume of nothing"
    shown = "data\\u202e\\x1b[2K\\nDeleteVolume of nothing"
    result = {"plan": [entry("CreateVolume", NEW, f"create {name}")], "policy": name, "msg": "1 volume created"}
    assert change_lines([result]) == [f"CreateVolume {NEW}: create {shown}"]
    assert headlines([result], label="policy") == [f"{shown}: 1 volume created"]
