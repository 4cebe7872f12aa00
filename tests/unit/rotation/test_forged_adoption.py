# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`snapshot_rotate` with `adopt`: a snapshot whose description names another policy needs more than a removed tag."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError

from forged_tags import tagged
from in_process import REGION
from rotation_runs import deletes, ok, past, rotate
from rotation_world import (
    DAY,
    V1,
    WHOLE,
    Account,
    created,
    days,
    deleted,
    ids,
    machine,
    planned,
    snapshot,
    snapshot_set,
    volume,
)
from sandbox.client import Sandbox
from worlds import new_day

ADOPT: dict[str, Any] = {"select": None, "create": "never", "keep": {"last": 1}, "adopt": {"tags": {"team": "a"}}}


@pytest.fixture
def sandbox(quick_sandbox: Sandbox) -> Sandbox:
    return new_day(quick_sandbox, snapshot_pending=1.0)


def test_removed_policy_hands_no_snapshot_to_another_policy(sandbox: Sandbox) -> None:
    data = sandbox.seed({"volumes": [{"name": "data"}]})["data"]
    of_p = past(sandbox, [data], 4, team="a")
    sandbox.client("ec2", REGION).delete_tags(Resources=of_p, Tags=[{"Key": "ec2ops:policy"}])
    ran = ok(rotate(sandbox, **{**ADOPT, "policy": "weekly"}))
    assert (ran.actions, deletes(sandbox)) == ([], [])
    (warning,) = ran.warnings
    assert all(part in warning for part in ("adopt.policies", "policy p", *of_p))

    named = {**ADOPT, "adopt": {"tags": {"team": "a"}, "policies": ["p"]}, "max_delete_percent": 100}
    ran = ok(rotate(sandbox, policy="weekly", **named))
    assert ran.warnings == []
    assert sorted(deletes(sandbox)) == sorted(of_p[1:])


def test_policy_adopts_its_own_snapshots_without_the_tag() -> None:
    own = [tagged(one, policy=None) for one in days(3, tags={"team": "a"})]
    plan = planned(Account.of(volume(1), own), **ADOPT)
    assert (deleted(plan), plan.warnings) == (ids(own[1:]), ())


def test_set_of_another_policy_is_adopted_by_name_alone() -> None:
    made = [snapshot_set(number * DAY, 1, 1, 2, tags={"team": "a"}) for number in (1, 2)]
    sets = [[tagged(one, policy=None) for one in several] for several in made]
    given = {**WHOLE, **ADOPT, "policy": "weekly"}
    world = Account.of(machine(1, 1, 2), *sets)
    assert deleted(planned(world, **given)) == set()
    given["adopt"] = {"tags": {"team": "a"}, "policies": ["p"]}
    assert deleted(planned(world, **given)) == ids(sets[1])


def test_description_of_another_tool_names_no_policy() -> None:
    """This includes a description with a colon: only a policy names the snapshot's volume and nothing after it."""
    texts = ["nightly", "backup: 2026-11-24", "from: vol-0000000000000000f", ""]
    foreign = [
        snapshot((2 + number) * DAY, policy=None, description=text, tags={"team": "a", "ec2ops:adopted-by": "p"})
        for number, text in enumerate(texts)
    ]
    plan = planned(Account.of(volume(1), foreign), **ADOPT)
    assert (deleted(plan), plan.warnings) == (ids(foreign[1:]), ())


def test_removed_claim_leaves_a_snapshot_to_an_adopting_policy_only() -> None:
    """Both policies have been told to retain these snapshots: see "Claims without proof" in docs/trust.md."""
    claimed = [snapshot(number * DAY, policy=None, tags={"team": "a"}) for number in range(1, 4)]
    account = Account.of(volume(1), claimed)
    assert deleted(planned(account, **ADOPT)) == ids(claimed[1:])
    assert deleted(planned(account, **{**ADOPT, "adopt": {"tags": {"team": "b"}}})) == set()


@pytest.mark.parametrize("name", ["毎日", "毎週"])
def test_policies_with_equal_ascii_names_are_distinguished(name: str) -> None:
    made = created(planned(Account.of(volume(1)), policy="毎週"))
    text = made[0].parameters["Description"]
    assert text.isascii()
    weekly = [snapshot(number * DAY, policy="毎週", description=text) for number in range(1, 4)]
    retagged = [tagged(one, policy=name) for one in weekly]
    plan = planned(Account.of(volume(1), retagged), policy=name, create="never", keep={"last": 1})
    assert deleted(plan) == (ids(weekly[1:]) if name == "毎週" else set())


def test_description_in_which_a_name_is_unreadable_proves_no_policy() -> None:
    """Earlier versions wrote such a description. A user who knows its policy can name the policy."""
    old = [snapshot(number * DAY, policy="毎週", description=f"??: {V1}") for number in range(1, 4)]
    plan = planned(Account.of(volume(1), old), policy="毎週", create="never", keep={"last": 1})
    assert deleted(plan) == set()
    assert all(one.snapshot_id in plan.warnings[0] for one in old)
    handed = [tagged(one, policy=None, adopted_by="毎週") for one in old]
    named = [dataclasses.replace(one, tags={**one.tags, "team": "a"}) for one in handed]
    given = {**ADOPT, "adopt": {"tags": {"team": "a"}, "policies": ["??"]}, "policy": "毎週"}
    assert deleted(planned(Account.of(volume(1), named), **given)) == ids(old[1:])


def test_empty_name_of_a_policy_is_refused() -> None:
    with pytest.raises(SpecError, match=r"adopt\.policies: has an empty name"):
        planned(Account.of(volume(1)), **{**ADOPT, "adopt": {"tags": {"team": "a"}, "policies": [""]}})
