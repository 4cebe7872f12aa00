# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`snapshot_rotate`: no tag lifts a lock of others, ends their sharing, or makes a run delete their shared snapshot."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import boto3_tags

from copy_runs import ELSEWHERE, VAULT, Scene
from in_process import REGION
from rotation_runs import deletes, ok, rotate
from sandbox.client import Sandbox
from worlds import new_day

AUDITOR = "999988887777"
UNLOCKED: dict[str, Any] = {"lock": {"mode": "unlocked"}, "create": "never"}


@pytest.fixture
def sandbox(quick_sandbox: Sandbox) -> Sandbox:
    return new_day(quick_sandbox, snapshot_pending=1.0, snapshot_copying=1.0)


def tag(sandbox: Sandbox, names: list[str], **tags: str) -> None:
    found = {f"ec2ops:{key.replace('_', '-')}": value for key, value in tags.items()}
    sandbox.client("ec2", REGION).create_tags(Resources=names, Tags=boto3_tags(found))


def lock(sandbox: Sandbox, names: list[str], days: int, mode: str = "governance") -> None:
    for name in names:
        sandbox.client("ec2", REGION).lock_snapshot(SnapshotId=name, LockMode=mode, LockDuration=days)


def given(scene: Scene, **more: Any) -> dict[str, Any]:
    return {**scene.options(), "copies": None, **more}


# --- locks ------------------------------------------------------------------------------------------------------------


def test_forged_lock_tag_removes_no_lock_of_others(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 2, "data")
    lock(sandbox, scene.past, 30)
    tag(sandbox, scene.past, lock="governance 30d")
    ran = ok(rotate(sandbox, **given(scene, **UNLOCKED, keep={"last": 1})))
    assert (ran.actions, sandbox.log(action="UnlockSnapshot")) == ([], [])
    (warning,) = ran.warnings
    assert all(name in warning for name in (*scene.past, "UnlockSnapshot"))


@pytest.mark.parametrize("removed", [False, True])
def test_own_lock_is_removed_with_and_without_its_tag(sandbox: Sandbox, removed: bool) -> None:
    scene = Scene(sandbox, 1, "data")
    made = ok(rotate(sandbox, **given(scene, lock={"mode": "governance", "duration": "9d"}))).result["created"]
    if removed:
        sandbox.client("ec2", REGION).delete_tags(Resources=made, Tags=[{"Key": "ec2ops:lock"}])
    ran = ok(rotate(sandbox, **given(scene, **UNLOCKED)))
    assert (ran.result["unlocked"], ran.warnings) == (made, [])


def test_own_lock_made_longer_by_others_is_kept(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 1, "data")
    made = ok(rotate(sandbox, **given(scene, lock={"mode": "governance", "duration": "9d"}))).result["created"]
    lock(sandbox, made, 400)
    ran = ok(rotate(sandbox, **given(scene, **UNLOCKED)))
    assert (ran.actions, len(ran.warnings)) == ([], 1)


def test_removed_tag_leaves_no_new_snapshot_unlocked(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 1, "data")
    wanted = {"mode": "governance", "duration": "9d"}
    made = ok(rotate(sandbox, **given(scene, lock=wanted, state="captured"))).result["created"]
    sandbox.move_clock(60)
    sandbox.client("ec2", REGION).delete_tags(Resources=made, Tags=[{"Key": "ec2ops:lock"}])
    assert ok(rotate(sandbox, **given(scene, lock=wanted))).result["locked"] == made


# --- sharing ----------------------------------------------------------------------------------------------------------


def share(sandbox: Sandbox, names: list[str], account: str) -> None:
    for name in names:
        sandbox.client("ec2", REGION).modify_snapshot_attribute(
            SnapshotId=name, Attribute="createVolumePermission", OperationType="add", UserIds=[account]
        )


@pytest.mark.parametrize("copies", [False, True])
def test_forged_record_ends_no_sharing_by_others(sandbox: Sandbox, copies: bool) -> None:
    scene = Scene(sandbox, 2, "data")
    share(sandbox, scene.past, AUDITOR)
    tag(sandbox, scene.past, shared_with=AUDITOR)
    places = [{"region": ELSEWHERE, "profile": VAULT, "keep": {"daily": 2}, "wait": True}] if copies else None
    ran = ok(rotate(sandbox, **given(scene, copies=places)))
    assert scene.shared() == {name: [AUDITOR] for name in scene.past}
    unshared = [
        entry["params"]["UserIds"]
        for entry in sandbox.log(action="ModifySnapshotAttribute")
        if entry["params"]["OperationType"] == "remove" and AUDITOR in entry["params"]["UserIds"]
    ]
    assert unshared == []
    assert any(all(part in text for part in (AUDITOR, *scene.past)) for text in ran.warnings)
    assert ok(rotate(sandbox, **given(scene, copies=places))).actions == []


def test_forged_record_deletes_no_shared_snapshot(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 3, "data")
    share(sandbox, scene.past[2:], AUDITOR)
    tag(sandbox, scene.past[2:], shared_with=AUDITOR)
    ok(rotate(sandbox, **given(scene, create="never", keep={"last": 1}, guards={"shared": "keep"})))
    assert deletes(sandbox) == scene.past[1:2]
