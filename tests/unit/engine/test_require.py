# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A planner requires answers where it needs them, and the runner asks round by round."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Feature, Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Drafts, NeedsAnswers, State, by_id

from runner_feature import execute
from worlds import World

ONE = by_id("DescribeInstances", "instance-id", ["i-0123456789abcdef0"])[0]
OTHER = by_id("DescribeVolumes", "volume-id", ["vol-0123456789abcdef0"])[0]


def test_unanswered_queries_are_named_once() -> None:
    state = State("eu-central-1", open=True).with_answers({ONE: ()})
    with pytest.raises(NeedsAnswers) as needed:
        state.require(ONE, OTHER, OTHER)
    assert needed.value.queries == (OTHER,)
    state.with_answers({OTHER: ()}).require(ONE, OTHER)


def test_state_that_is_not_open_has_all_answers() -> None:
    State("eu-central-1").require(ONE, OTHER)


def test_draft_is_computed_again_for_other_inputs_only() -> None:
    drafts, computed = Drafts(), []

    def compute() -> int:
        computed.append(1)
        return len(computed)

    assert [drafts.once("sum", ([1, 2], None), compute) for _round in range(2)] == [1, 1]
    assert drafts.once("sum", ([1, 3], None), compute) == 2
    assert drafts.once("other", ([1, 3], None), compute) == 3


def test_runner_plans_again_with_each_round_of_answers(world: World) -> None:
    instance = world.instance()
    rounds: list[datetime] = []

    def plan(_spec: Any, state: State, now: datetime) -> Plan:
        rounds.append(now)
        state.require(*by_id("DescribeInstances", "instance-id", [instance.instance_id]))
        found = state.instance(instance.instance_id)
        assert found is not None
        state.require(*by_id("DescribeVolumes", "volume-id", [device.volume_id for device in found.block_devices]))
        return Plan()

    feature = Feature(lambda params, _region: params, plan, lambda _spec, _state: {})
    shell = execute(world, feature=feature, instance_id=instance.instance_id)
    assert shell.result["changed"] is False
    assert [now.year > 2000 for now in rounds] == [False, True, True]
