# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Policies that the role snapshot_policy refuses before it takes the first snapshot."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.policies import (
    approved_policies,
    policy_rules,
    refused_policies,
)

DAILY = {"policy": "daily", "keep": {"daily": 7}}


@pytest.mark.parametrize(
    ("policies", "refused"),
    [
        ([], []),
        ([DAILY, {**DAILY, "policy": 7, "wait": False, "wait_timeout": 60, "create": "never"}], []),
        ([{**DAILY, "kep": 1}], ["all[0]: a policy has no option kep. Correct or remove it."]),
        ([{**DAILY, "state": "captured"}], ["all[0]: a policy has no option state. Correct or remove it."]),
        ([DAILY, {"keep": {"last": 1}}], ["all[1]: policy is missing. Give the policy a name."]),
        ([{"policy": "a"}], ["all[0]: keep is missing. Set its rules, for example {daily: 7}."]),
        ([{"policy": "a", "keep": None}], ["all[0]: keep is missing. Set its rules, for example {daily: 7}."]),
        ([DAILY, DAILY], ["all: 2 policies have the name daily. Give each a name of its own."]),
    ],
)
def test_each_mistake_has_a_sentence(policies: list[dict[str, Any]], refused: list[str]) -> None:
    assert refused_policies(policies, "all") == refused


@pytest.mark.parametrize(
    ("plans", "expected"),
    [
        ({"daily": "a1b2"}, ["a1b2", "missing"]),
        ({"daily": None, "7": "c3d4"}, ["missing", "c3d4"]),
        ({}, ["missing", "missing"]),
    ],
)
def test_policy_without_an_approved_plan_is_not_approved(plans: dict[str, Any], expected: list[str]) -> None:
    policies = [DAILY, {**DAILY, "policy": 7, "expected_plan": "e5f6"}]
    assert [policy["expected_plan"] for policy in approved_policies(policies, plans)] == expected


def test_rules_of_a_policy_are_its_slots_and_keep() -> None:
    given = [{**DAILY, "max_delete": 3, "every": None}, {**DAILY, "policy": "hourly", "every": "1h"}]
    assert policy_rules(given) == [{**DAILY, "every": "24h"}, {**DAILY, "policy": "hourly", "every": "1h"}]
