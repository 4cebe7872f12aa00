# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modifications that are under way or just done, and the effect of `on_cooldown` on them."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan, Wait
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Resource

from volume_plans import Case, check, declared, no, ok, plan_of
from volume_world import DETACHED, WEB, Ec2, Entry, instance, modification, steps, vol, volume


def modified(title: str, state: str, target: Entry, wanted: Entry, *steps: str, **given: Any) -> Any:
    there = [instance(), volume(1, WEB, name="data"), modification(DETACHED, state, **target)]
    return ok(title, there, [{"name": "data", **wanted}], *steps, **given)


IN_PROGRESS = [("modifying", {"size": 20}), ("optimizing", {"size": 10})]
GROW = "ModifyVolume vol-1 Size=30"


@pytest.mark.parametrize(
    "case",
    [
        *(
            modified(
                f"what is wanted is on its way, {choice}", "modifying", {"size": 20}, {"size": 20}, on_cooldown=choice
            )
            for choice in ("fail", "defer", "wait")
        ),
        *(modified(f"nothing to change, {state}", state, target, {"size": 10}) for state, target in IN_PROGRESS[1:]),
        *(
            modified(f"put off, {state}", state, target, {"size": 30}, on_cooldown="defer")
            for state, target in IN_PROGRESS
        ),
        *(
            modified(f"waited for, {state}", state, target, {"size": 30}, GROW, on_cooldown="wait")
            for state, target in IN_PROGRESS
        ),
        *(
            modified(f"after one that is {state}, {choice}", state, target, {"size": 30}, GROW, on_cooldown=choice)
            for state, target in (("completed", {"size": 10}), ("failed", {"size": 30}))
            for choice in ("fail", "defer", "wait")
        ),
        *(
            no(
                f"refused, {state}",
                [instance(), volume(1, WEB, name="data"), modification(DETACHED, state, **target)],
                [{"name": "data", "size": 30}],
                UnsafePlan,
                f"volumes[0] (data) | vol-1 | size {target['size']} -> 30 | {state} (50 % done) | cooldown: wait",
            )
            for state, target in IN_PROGRESS
        ),
        modified(
            "what is put off holds nothing else back",
            "optimizing",
            {"size": 10},
            {"size": 30, "tags": {"a": "b"}, "delete_on_termination": True},
            "CreateTags vol-1 a | ModifyInstanceAttribute i-1 /dev/sdf=True",
            on_cooldown="defer",
        ),
        ok(
            "what is being modified is attached when that has ended",
            [instance(), volume(1, name="data"), modification(DETACHED, "modifying", size=20)],
            [{"name": "data", "size": 20}],
            "AttachVolume vol-1 to i-1 /dev/sdf",
        ),
        ok(
            "what is being modified is attached when that has ended, whatever it is",
            [instance(), volume(1, name="data"), modification(DETACHED, "modifying", size=20)],
            [{"name": "data"}],
            "AttachVolume vol-1 to i-1 /dev/sdf",
        ),
    ],
)
def test_modification_follows_its_state_and_options(case: Case) -> None:
    check(case)


def growth(choice: str, *facts: Resource) -> Plan:
    there = Ec2(instance(), volume(1, WEB, name="data"), *facts)
    return plan_of(declared({"name": "data", "size": 30}, on_cooldown=choice), there)


@pytest.mark.parametrize("choice", ["fail", "defer", "wait"])
def test_refused_modification_follows_on_cooldown(choice: str) -> None:
    codes = {"IncorrectModificationState", "VolumeModificationRateExceeded"}
    plan = growth(choice)
    (change,) = plan.changes
    (stage,) = (stage for stage in plan.stages if stage.changes)
    assert change.deferrable == (codes if choice == "defer" else set())
    assert stage.patience == (codes if choice == "wait" else set())
    assert stage.waits == (Wait((vol(1),), "modified", final=True),)


def test_the_plan_says_that_ec2_decides() -> None:
    (first,) = growth("fail").changes
    (next_one,) = growth("fail", modification(DETACHED, "completed", size=10)).changes
    assert first.reason == "size 10 -> 30"
    assert "EC2 decides" in next_one.reason
    assert "24 hours" in next_one.reason


def test_a_modification_is_waited_for_before_the_next() -> None:
    plan = growth("wait", modification(DETACHED, "optimizing", size=10))
    assert [(steps(Plan((stage,))), [wait.goal for wait in stage.waits]) for stage in plan.stages] == [
        ([], ["modifiable"]),
        ([GROW], ["modified"]),
    ]
