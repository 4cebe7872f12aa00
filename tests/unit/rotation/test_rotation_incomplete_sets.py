# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A set that has fewer snapshots than it was made for: rotation and restore both call it incomplete."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore.points import Wanted, recover
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Snapshot

from in_process import Ended, Machine, machine
from rotation_runs import four, of_policy, ok, rotate
from rotation_world import DAY, I1, WHOLE, Account, created, decision, deleted, ids, planned, snapshot_set
from rotation_world import machine as instance
from sandbox.client import Sandbox
from worlds import START, sandbox_gateway

HOUR = DAY / 24


def parts(age: Any, taken: int, of: int = 2, **given: Any) -> list[Snapshot]:
    """A set that was made for *of* volumes and has the first *taken* of them."""
    return snapshot_set(age, 1, *range(1, taken + 1), tags={"ec2ops:parts": str(of)}, **given)


# --- one judgement ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("taken", [1, 2])
def test_rotation_and_restore_judge_a_set_alike(taken: int) -> None:
    newest, older = parts(HOUR, taken), parts(DAY, 2)
    plan = planned(Account.of(instance(1, 1, 2), newest, older), **WHOLE, create="never", keep={"last": 9})
    found = recover([*newest, *older], Wanted(instance_id=I1))
    restored = {point.snapshot.snapshot_id for point in found.points}
    (point,) = plan.report.result["rpo"]
    assert set(point["snapshot_ids"]) == restored == ids(newest if taken == 2 else older)


def test_incomplete_set_alone_is_no_recovery_point_for_either() -> None:
    only = parts(HOUR, 1)
    plan = planned(Account.of(instance(1, 1, 2), only), **WHOLE, create="never")
    assert [point["recovery_point"] for point in plan.report.result["rpo"]] == [None]
    with pytest.raises(SpecError, match="it lacks 1 of its 2 snapshots"):
        recover(only, Wanted(instance_id=I1))


def test_incomplete_set_does_not_fill_its_slot() -> None:
    plan = planned(Account.of(instance(1, 1), parts(HOUR, 1)), **WHOLE)
    (made,) = created(plan)
    assert made.action == "CreateSnapshots"


def test_incomplete_set_displaces_no_other_and_is_deleted_by_the_rules() -> None:
    broken = [parts(number * DAY, 1) for number in (2, 5)]
    whole = [parts(number * DAY, 2) for number in (1, 3, 4)]
    account = Account.of(instance(1, 1, 2), *broken, *whole)
    plan = planned(account, **WHOLE, create="never", keep={"last": 2}, report="all")
    assert deleted(plan) == ids(whole[2]) | ids(broken[1])
    assert decision(plan, broken[0][0])["reasons"] == ["incomplete"]
    plan = planned(account, **WHOLE, create="never", keep={"last": 9})
    assert deleted(plan) == set()


@pytest.mark.parametrize("recorded", [True, False], ids=["in the description", "in a tag"])
def test_rest_of_a_second_set_with_recorded_size_is_deleted(recorded: bool) -> None:
    """A run that has lost a race was ended after it had deleted one part of its own set."""
    first = parts(DAY, 2)
    text = {"description": f"p: {I1}, 2 volumes"} if recorded else {}
    rest = parts(DAY - HOUR / 60, 1, **text)
    plan = planned(Account.of(instance(1, 1, 2), first, rest), **WHOLE, create="never", keep={"last": 9})
    assert deleted(plan) == (ids(rest) if recorded else set())


def test_incomplete_set_that_is_pending_is_not_deleted() -> None:
    broken = parts(9 * DAY, 1, states=["pending"])
    plan = planned(Account.of(instance(1, 1, 2), broken, parts(DAY, 2)), **WHOLE, create="never")
    assert deleted(plan) == set()


def test_incomplete_set_of_the_slot_is_deleted_once_the_new_one_is_completed() -> None:
    broken, whole = parts(HOUR, 1), parts(DAY, 2)
    given = {**WHOLE, "keep": {"daily": 2}}
    account = Account.of(instance(1, 1), broken, whole)
    assert deleted(planned(account, **given)) == ids(broken)
    waiting = planned(account, **given, wait=False)
    assert deleted(waiting) == set()
    assert decision(waiting, broken[0])["guard"] == "depends"


def test_copies_of_an_incomplete_set_are_not_made() -> None:
    broken = parts(HOUR, 1)
    copies = [{"region": "eu-west-1", "keep": {"last": 1}}]
    plan = planned(Account.of(instance(1, 1, 2), broken), **WHOLE, create="never", copies=copies)
    assert created(plan) == []


# --- the run in which it happens --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(speed=60.0, seed=8, start=START, durations={"snapshot_pending": 1.0}) as sandbox:
        yield sandbox


class DetachingGateway:
    """A volume is detached after the plan was made and before EC2 takes the set."""

    def __init__(self, machine: Machine, volume_id: str) -> None:
        self._gateway, self._machine, self._volume_id = sandbox_gateway(machine.sandbox), machine, volume_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        if changes[0].action == "CreateSnapshots":
            self._machine.ec2.detach_volume(VolumeId=self._volume_id)
            while self._volume_id in self._machine.attached().values():
                time.sleep(0.01)
        return self._gateway.perform(changes, generation)


def test_run_with_a_partial_set_returns_it_and_the_next_takes_a_whole_set(sandbox: Sandbox) -> None:
    web = machine(sandbox, data=2)
    given = {"select": {"instance_ids": [web.instance_id]}, "consistency": "instance", "keep": {"daily": 3}}
    gone = max(web.attached().values())
    failed: Ended = rotate(sandbox, gateway=DetachingGateway(web, gone), **given)
    there = set(of_policy(sandbox))
    assert len(there) == 2
    assert f"CreateSnapshots of {web.instance_id} failed: IncompleteAnswer" in failed.failed
    assert gone in failed.failed
    assert set(failed.result["created"]) == there
    assert {entry["resource"] for entry in failed.result["done"]} == there
    assert [entry["after"]["volume_id"] for entry in failed.result["failed_changes"]] == [gone]
    assert failed.result["changed"] is True
    assert [point["recovery_point"] for point in failed.result["rpo"]] == [None]

    # A snapshot that completes between the check run and the run changes the plan.
    completed = web.ec2.get_waiter("snapshot_completed")
    completed.wait(SnapshotIds=sorted(there), WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
    ran = four(sandbox, **given)
    assert len(ran.result["created"]) == 2
    assert set(ran.result["deleted"]) == there
    assert set(of_policy(sandbox)) == set(ran.result["created"])
    (point,) = ok(rotate(sandbox, **given)).result["rpo"]
    assert set(point["snapshot_ids"]) == set(ran.result["created"])
