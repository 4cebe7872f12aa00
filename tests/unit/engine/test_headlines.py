# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The line of each task in a playbook's summary."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.summary import headlines

STOPPED = {"changed": True, "msg": "1 instance stopped"}
STARTED = {"changed": True, "msg": "1 instance started"}
KEPT = {"changed": False, "msg": "no change; 6 kept"}
SKIPPED = {"changed": False, "skipped": True}
FAILED = {"changed": True, "failed": True, "msg": "StopInstances of i-1 failed"}


@pytest.mark.parametrize(
    ("results", "lines"),
    [
        ([], []),
        ([{}, SKIPPED], []),
        ([STOPPED, KEPT, STARTED], ["1 instance stopped", "1 instance started"]),
        ([STOPPED, STOPPED], ["1 instance stopped"]),
        ([KEPT, {**KEPT, "msg": "no change; 1 running"}], ["no change; 1 running"]),
        ([KEPT, FAILED], ["no change; 6 kept"]),
        ([FAILED], []),
    ],
)
def test_tasks_that_changed_something_have_a_line(results: list[dict[str, Any]], lines: list[str]) -> None:
    assert headlines(results) == lines


def test_labelled_results_all_have_a_line() -> None:
    policies = [{"policy": "daily", **STOPPED}, {"policy": "weekly", **KEPT}, {"policy": "broken", **FAILED}]
    assert headlines(policies, label="policy") == ["daily: 1 instance stopped", "weekly: no change; 6 kept"]


def test_lines_beyond_the_limit_are_counted_in_a_last_line() -> None:
    many = [{"changed": True, "msg": f"task {number}"} for number in range(5)]
    assert headlines(many, limit=3) == ["task 0", "task 1", "and 3 more"]
