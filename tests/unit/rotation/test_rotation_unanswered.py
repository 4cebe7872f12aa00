# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`snapshot_rotate` when AWS does not answer a guard or a place of copies: it captures, deletes nothing, and fails."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import substitute

from copy_runs import ELSEWHERE, SHARED_WITH, VAULT, Scene
from in_process import Ended
from rotation_runs import DAY, deletes, entries, of_policy, ok, rotate
from sandbox.client import Sandbox
from worlds import new_day


@pytest.fixture
def sandbox(quick_sandbox: Sandbox) -> Sandbox:
    return new_day(quick_sandbox, snapshot_pending=1.0, snapshot_copying=1.0)


def both(sandbox: Sandbox, **given: Any) -> Ended:
    """Check, then run: both fail with one text and one plan. Returns the run."""
    checked, ran = rotate(sandbox, check=True, **given), rotate(sandbox, **given)
    assert checked.failed
    assert checked.failed == ran.failed
    assert entries(checked) == entries(ran)
    assert checked.result["error"] == ran.result["error"]
    assert substitute(checked.result["created"], ran.result["planned_ids"]) == ran.result["created"]
    return ran


GUARDS = {
    "DescribeImages": "image",
    "DescribeLockedSnapshots": "locked",
    "DescribeFastSnapshotRestores": "fast_restore",
    "DescribeSnapshotTierStatus": "archived",
}


@pytest.mark.parametrize("operation", GUARDS)
def test_unreadable_guard_permits_the_capture_deletes_nothing_and_fails(sandbox: Sandbox, operation: str) -> None:
    scene = Scene(sandbox, 3)
    sandbox.refuse(operation)
    given = {"select": {"tags": {"backup": "daily"}}, "keep": {"last": 2}}
    ended = both(sandbox, **given)
    assert f"{operation} failed: UnauthorizedOperation" in ended.failed
    assert f"allow ec2:{operation}" in ended.failed
    assert ended.result["error"]["operation"] == operation
    assert ended.result["error"]["code"] == "UnauthorizedOperation"
    assert len(ended.result["created"]) == 2
    assert ended.result["deleted"] == deletes(sandbox) == []
    assert {row["State"] for row in of_policy(sandbox).values()} == {"completed"}
    held = [entry for entry in ended.result["decisions"] if entry["guard"] is not None]
    assert {entry["guard"] for entry in held} == {GUARDS[operation]}
    assert {one for entry in held for one in entry["snapshot_ids"]} == {*scene.past[2:]}
    assert ended.result["counts"]["deleted"] == 0
    sandbox.refuse()
    assert set(ok(rotate(sandbox, **given)).result["deleted"]) == {*scene.past[2:]}


def test_locks_and_archive_wait_for_the_answer_and_new_snapshots_are_locked(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 3)
    sandbox.refuse("DescribeLockedSnapshots")
    lock = {"mode": "governance", "duration": "1d"}
    given = {"select": {"tags": {"backup": "daily"}}, "keep": {"last": 3}, "lock": lock, "archive_after": "1d"}
    ended = both(sandbox, **given)
    assert sorted(ended.result["locked"]) == sorted(ended.result["created"])
    assert ended.result["archived"] == ended.result["deleted"] == []
    assert scene.past[0] in of_policy(sandbox)


def test_deletions_of_an_answering_place_continue(sandbox: Sandbox) -> None:
    """The guards of the copies' region cannot be read: at home the rules are carried out."""
    scene = Scene(sandbox, 3)
    ok(rotate(sandbox, **scene.options()))
    sandbox.move_clock(DAY)
    sandbox.add_fault("DescribeLockedSnapshots", region=ELSEWHERE, code="UnauthorizedOperation", status=403)
    ended = both(sandbox, **scene.options())
    assert ELSEWHERE in ended.failed
    assert len(ended.result["copied"]) == 2
    assert set(ended.result["deleted"]) == {*scene.past[2:4]}
    assert len(scene.copies()) == 6


@pytest.mark.parametrize("fault", [{"code": "AuthFailure", "status": 401}, {"code": "OptInRequired", "status": 401}])
def test_silent_place_of_copies_prevents_no_capture(sandbox: Sandbox, fault: Mapping[str, Any]) -> None:
    scene = Scene(sandbox, 4)
    sandbox.add_fault("Describe*", region=ELSEWHERE, **fault)
    ended = both(sandbox, **scene.options())
    assert f"In {ELSEWHERE}: DescribeSnapshots failed: {fault['code']}" in ended.failed
    assert ended.result["error"]["code"] == fault["code"]
    assert len(ended.result["created"]) == 2
    assert ended.result["copied"] == ended.result["deleted"] == deletes(sandbox) == []
    held = [entry for entry in ended.result["decisions"] if entry["guard"] == "depends"]
    assert {one for entry in held for one in entry["snapshot_ids"]} == {*scene.past[4:]}
    assert {reason for entry in held for reason in entry["reasons"]} == {
        f"{ELSEWHERE} does not show whether it has a copy"
    }
    sandbox.clear_faults()
    assert len(ok(rotate(sandbox, **scene.options())).result["copied"]) == 4


def test_the_other_places_are_copied_to(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 2)
    places = [{"region": where, "keep": {"daily": 1}, "wait": True} for where in (ELSEWHERE, "eu-west-2")]
    sandbox.add_fault("Describe*", region=ELSEWHERE, code="AuthFailure", status=401)
    ended = both(sandbox, **scene.options(*places))
    assert len(ended.result["copied"]) == len(scene.copies("eu-west-2")) == 2
    sandbox.clear_faults()
    assert scene.copies() == {}
    assert [[one["region"] for one in point["copies"]] for point in ended.result["rpo"]] == [["eu-west-2"]] * 2


def test_originals_shared_with_a_silent_account_are_not_unshared(sandbox: Sandbox) -> None:
    """Its copy may be under way, and no answer shows it."""
    scene = Scene(sandbox, 1, "data")
    sandbox.configure(durations={"snapshot_copying": 3600})
    place = {"region": ELSEWHERE, "profile": VAULT, "keep": {"daily": 1}}
    ok(rotate(sandbox, **scene.options(place)))
    shared = scene.shared()
    assert list(shared.values()) == [[VAULT]]
    sandbox.add_fault("Describe*", region=ELSEWHERE, code="AuthFailure", status=401)
    ended = both(sandbox, **scene.options(place))
    assert "AuthFailure" in ended.failed
    assert scene.shared() == shared
    assert [row["tags"].get(SHARED_WITH) for row in of_policy(sandbox).values() if SHARED_WITH in row["tags"]] == [
        VAULT
    ] * len(shared)
