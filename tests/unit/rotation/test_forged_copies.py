# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`snapshot_rotate` with copies: altered tags of originals and copies delete no copy and hide no missing one."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import copy_description
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.places import Place
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.proofs import copy_record
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Snapshot
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import boto3_tags

from copies_world import copies_in, copy_of, place, planned, world_of
from copy_runs import ELSEWHERE, Scene
from forged_tags import earlier, first, tagged
from in_process import REGION, machine
from rotation_runs import DAY as SECONDS
from rotation_runs import deletes, of_policy, ok, rotate
from rotation_world import DAY, I1, TODAY, V1, created, deleted, ids, snapshot, snapshot_set, volume
from sandbox.client import Sandbox
from worlds import new_day

HOUR = timedelta(hours=1)
LAST_TWO: dict[str, Any] = {"create": "never", "keep": {"last": 9}}


@pytest.fixture
def sandbox(quick_sandbox: Sandbox) -> Sandbox:
    return new_day(quick_sandbox, snapshot_pending=1.0, snapshot_copying=1.0)


# --- sets -------------------------------------------------------------------------------------------------------------


def test_altered_set_of_originals_deletes_no_copy(sandbox: Sandbox) -> None:
    web = machine(sandbox, data=1)
    given = {
        "select": {"instance_ids": [web.instance_id]},
        "consistency": "instance",
        "keep": {"daily": 9},
        "copies": [{"region": ELSEWHERE, "keep": {"daily": 3}, "wait": True}],
    }
    for _day in range(3):
        ok(rotate(sandbox, **given))
        sandbox.move_clock(SECONDS)
    there: Any = SimpleNamespace(sandbox=sandbox)
    originals, copies = of_policy(sandbox), Scene.copies(there)
    sets = sorted({row["tags"]["ec2ops:set"] for row in originals.values()})
    newest = sorted(name for name, row in originals.items() if row["tags"]["ec2ops:set"] == sets[-1])
    web.ec2.create_tags(Resources=newest, Tags=boto3_tags({"ec2ops:set": sets[0]}))
    given["copies"] = [{"region": ELSEWHERE, "keep": {"daily": 1}, "wait": True}]
    ran = ok(rotate(sandbox, **{**given, "create": "never"}))
    assert set(ran.actions) == {"DeleteSnapshot"}
    stays = {f"{REGION}/{name}" for name in newest}
    assert {copies[name]["tags"]["ec2ops:copy-of"] for name in copies.keys() - set(deletes(sandbox))} == stays


@pytest.mark.parametrize("value", [None, "?", "of the oldest"])
def test_set_of_originals_is_known_by_instance_and_start_time(value: str | None) -> None:
    sets = [snapshot_set(number * DAY, 1, 1, 2) for number in (1, 2, 3)]
    copies = [copy_of(one) for several in sets for one in several]
    changed = sets[2][0].tags["ec2ops:set"] if value == "of the oldest" else value
    altered = [tagged(one, set=changed) for several in sets for one in several]
    given = {"select": None, "keep": {"last": 9}, "create": "never"}
    plan = planned(world_of(*altered, *copies), copies=place(keep={"last": 2}), **given)
    assert (copies_in(plan), deleted(plan)) == ([], {one.snapshot_id for one in copies[4:]})


def test_altered_set_of_copies_whose_originals_are_gone_takes_no_set_apart() -> None:
    sets = [snapshot_set(number * DAY, 1, 1, 2) for number in (1, 2, 3)]
    copies = [[tagged(copy_of(one), set="?"), copy_of(other)] for one, other in sets]
    given = {"select": None, "keep": {"last": 9}, "create": "never"}
    plan = planned(world_of(*(one for two in copies for one in two)), copies=place(keep={"last": 2}), **given)
    assert deleted(plan) == ids(copies[2])


# --- times ------------------------------------------------------------------------------------------------------------


def test_altered_time_of_orphan_copies_deletes_none(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 3, "data")
    given = scene.options({"region": ELSEWHERE, "keep": {"daily": 3}, "wait": True}, keep={"daily": 9}, create="never")
    ok(rotate(sandbox, **given))
    for name in scene.past:
        sandbox.client("ec2", REGION).delete_snapshot(SnapshotId=name)
    newest = [name for name, row in scene.copies().items() if row["tags"]["ec2ops:copy-of"].endswith(scene.past[0])]
    elsewhere = sandbox.client("ec2", ELSEWHERE)
    elsewhere.create_tags(Resources=newest, Tags=boto3_tags({"ec2ops:taken": "2020-01-01T00:00:00.000Z"}))
    elsewhere.delete_tags(Resources=newest, Tags=[{"Key": "ec2ops:period"}])
    fewer = scene.options({"region": ELSEWHERE, "keep": {"daily": 2}}, keep={"daily": 9}, create="never")
    ok(rotate(sandbox, **fewer))
    assert sorted(row["tags"]["ec2ops:copy-of"].rpartition("/")[2] for row in scene.copies().values()) == sorted(
        scene.past[:2]
    )


@pytest.mark.parametrize("made", [earlier, first])
def test_orphan_copy_of_an_earlier_version_is_not_deleted_for_the_time_of_a_tag(made: Any) -> None:
    known, gone = [snapshot(number * DAY) for number in (1, 4, 5)], snapshot(2 * DAY)
    orphan = tagged(made(copy_of(gone)), taken="2020-01-01T00:00:00.000Z", period=None)
    world = world_of(volume(1), *known, *(copy_of(one) for one in known), orphan)
    plan = planned(world, copies=place(keep={"last": 2}), **LAST_TWO)
    assert deleted(plan) == {copy_of(known[2]).snapshot_id}
    assert any(orphan.snapshot_id in text for text in plan.warnings)


def test_orphan_copy_is_deleted_once_newer_copies_meet_all_rules() -> None:
    known, gone = [snapshot(number * DAY) for number in (1, 2)], snapshot(5 * DAY)
    world = world_of(volume(1), *known, *(copy_of(one) for one in known), earlier(copy_of(gone)))
    plan = planned(world, copies=place(keep={"last": 2, "within": "3d"}), **LAST_TWO)
    assert (deleted(plan), plan.warnings) == ({copy_of(gone).snapshot_id}, ())
    plan = planned(world, copies=place(keep={"last": 2, "within": "9d"}), **LAST_TWO)
    assert deleted(plan) == set()


@pytest.mark.parametrize("made", [earlier, first])
def test_orphan_copy_displaces_no_copy_and_hides_no_missing_one(made: Any) -> None:
    known, gone = [snapshot(number * DAY) for number in (2, 3)], snapshot(4 * DAY)
    forged = tagged(made(copy_of(gone, start_time=snapshot(HOUR).start_time)), taken=None)
    world = world_of(volume(1), *known, copy_of(known[1]), forged)
    plan = planned(world, copies=place(keep={"last": 2}), **LAST_TWO)
    assert (copies_in(plan), deleted(plan)) == ([known[0].snapshot_id], set())
    (point,) = plan.report.result["rpo"]
    assert point["copies"][0]["snapshot_ids"] == [copy_of(known[1]).snapshot_id]


@pytest.mark.parametrize("made", [None, earlier])
def test_altered_slots_of_orphan_copies_delete_none(made: Any) -> None:
    """The snapshots were taken right after midnight, so that each could be late for the day before."""
    days = [snapshot(timedelta(hours=12, seconds=-5) + number * DAY) for number in range(6)]
    copies = [copy_of(one) for one in days]
    altered = [
        tagged(one, period=copies[number + 1].tags["ec2ops:period"]) if number in (1, 3) else one
        for number, one in enumerate(copies)
    ]
    some = [made(one) if made else one for one in altered]
    plan = planned(world_of(volume(1), days[0], *some), copies=place(keep={"daily": 6}), **LAST_TWO)
    assert (copies_in(plan), deleted(plan)) == ([], set())


def test_copy_has_the_facts_of_its_original() -> None:
    """The number of volumes, the instance and the slot, which a tag alone could falsify."""
    facts = f", 2 volumes, slot {TODAY}"
    parts = [replaced(one, facts) for one in snapshot_set(HOUR, 1, 1, 2)]
    alone = replaced(snapshot(HOUR, 3), f", attached to {I1}, slot {TODAY}")
    given = {"select": None, "create": "never", "keep": {"last": 9}, "copies": place()}
    plan = planned(world_of(*parts, alone), **given)
    texts = {
        change.parameters["SourceSnapshotId"]: change.parameters["Description"]
        for change in plan.changes
        if change.action == "CopySnapshot"
    }
    assert all(texts[one.snapshot_id].endswith(facts) for one in parts)
    assert texts[alone.snapshot_id].endswith(f", attached to {I1}, slot {TODAY}")
    records = [copy_record(Snapshot("snap-1", volume_id="vol-ffffffff", description=text)) for text in texts.values()]
    assert all(record is not None and record.slot is not None for record in records)


def replaced(one: Snapshot, facts: str) -> Snapshot:
    """The snapshot with further facts in its description."""
    return dataclasses.replace(one, description=f"{one.description}{facts}")


def test_copy_of_the_first_versions_with_a_wrong_original_deletes_neither() -> None:
    known, gone = [snapshot(number * DAY) for number in (1, 4)], snapshot(2 * DAY)
    moved = tagged(first(copy_of(gone)), copy_of=f"us-east-1/{known[1].snapshot_id}")
    world = world_of(volume(1), *known, *(copy_of(one) for one in known), moved)
    plan = planned(world, copies=place(keep={"last": 2}), **LAST_TWO)
    assert (deleted(plan), created(plan)) == (set(), [])


def test_description_of_the_longest_copy_fits() -> None:
    one = snapshot(DAY, policy="p" * 128)
    world = world_of(volume(1), one)
    plan = planned(world, policy="p" * 128, create="never", copies=place(region="ap-southeast-1"))
    (copied,) = (change for change in plan.changes if change.action == "CopySnapshot")
    text = copied.parameters["Description"]
    assert V1 in text
    # A part of a set names its instance too.
    assert len(text) + len(" on i-00000000000000001") <= 255


@pytest.mark.parametrize("account", ["", "111111111111"])
def test_description_of_a_copy_has_as_many_facts_as_have_room(account: str) -> None:
    given = (V1, I1, "snap-0123456789abcdef0", "ap-southeast-1", datetime(2026, 11, 23, 19, tzinfo=UTC))
    for length in range(1, 129):
        text = copy_description("p" * length, *given, account=account, volumes=2, slot=TODAY)
        record = copy_record(Snapshot("snap-1", volume_id="vol-ffffffff", description=text))
        assert len(text) <= 255
        assert record is not None
        assert record.account == account or length > 119
        assert record.volumes is not None or record.slot is None
        assert (record.slot is not None) or length > 80 - (13 if account else 0)


# --- accounts ---------------------------------------------------------------------------------------------------------

OURS, THEIRS, VAULT = "111111111111", "333333333333", "222222222222"
TO_VAULT: dict[str, Any] = {"region": "eu-west-1", "profile": "vault", "keep": {"last": 2}, "wait": True}


def in_vault(original: Snapshot, by: str, *, named: bool = False, claimed: str = "") -> Snapshot:
    """The vault's copy that the policy of the account *by* has made; *named*: its description names that account.

    *claimed*: the account that somebody has written into its tag.
    """
    mark = f"{claimed or by}/{REGION}/{original.snapshot_id}"
    copy = copy_of(original, tags={"ec2ops:copy-of": mark}, place=Place("eu-west-1", "vault"), owner_id=VAULT)
    origin = f"{by}/{REGION}" if named else REGION
    text = copy.description.replace(f"from {claimed or by}/{REGION}", f"from {origin}")
    return dataclasses.replace(copy, description=text)


def to_vault(*resources: Any) -> Any:
    given = {"copies": [TO_VAULT], "create": "never", "keep": {"last": 2}}
    return planned(world_of(volume(1), *resources), **given)


@pytest.mark.parametrize("named", [False, True])
def test_foreign_copies_with_this_account_in_their_tag_are_kept(named: bool) -> None:
    own = [snapshot(number * DAY, owner_id=OURS) for number in (1, 2)]
    theirs = [snapshot(number * DAY, 9, owner_id=THEIRS) for number in range(1, 6)]
    copies = [in_vault(one, THEIRS, named=named, claimed=OURS) for one in theirs]
    plan = to_vault(*own, *(in_vault(one, OURS) for one in own), *copies)
    assert (deleted(plan), copies_in(plan), plan.refused) == (set(), [], None)
    assert all(any(one.snapshot_id in text for text in plan.warnings) for one in copies)
    (point,) = plan.report.result["rpo"]
    assert point["copies"][0]["snapshot_ids"] == [in_vault(own[0], OURS).snapshot_id]


@pytest.mark.parametrize("named", [False, True])
def test_copies_in_the_own_account_without_originals_follow_the_rules(named: bool) -> None:
    """EC2 shows the volume of the copies, or their descriptions name the account."""
    days = [snapshot(number * DAY, owner_id=OURS) for number in range(1, 6)]
    copies = [in_vault(one, OURS, named=named) for one in days]
    plan = to_vault(*days[:2], *copies)
    assert (deleted(plan), copies_in(plan)) == (ids(copies[2:]), [])


def test_copies_of_a_gone_volume_without_an_account_are_kept() -> None:
    own = [snapshot(DAY, owner_id=OURS)]
    gone = [snapshot(number * DAY, 9, owner_id=OURS) for number in range(1, 6)]
    unnamed, named = [in_vault(one, OURS) for one in gone], [in_vault(one, OURS, named=True) for one in gone]
    plan = to_vault(*own, in_vault(own[0], OURS), *unnamed)
    assert deleted(plan) == set()
    assert any("names no account" in text and unnamed[0].snapshot_id in text for text in plan.warnings)
    plan = to_vault(*own, in_vault(own[0], OURS), *named)
    assert deleted(plan) == ids(named[2:])


def test_vault_leaves_copies_of_another_account_alone() -> None:
    """The vault runs a policy of the same name, which copies to the same region of its own account."""
    theirs = [snapshot(number * DAY, 9, owner_id=THEIRS) for number in range(1, 6)]
    copies = [
        dataclasses.replace(
            tagged(in_vault(one, THEIRS, named=True), copy_of=f"{REGION}/{one.snapshot_id}"), place=Place(ELSEWHERE)
        )
        for one in theirs
    ]
    own = snapshot(DAY, owner_id=VAULT)
    plan = planned(
        world_of(volume(1), own, copy_of(own, owner_id=VAULT), *copies), copies=place(keep={"last": 1}), **LAST_TWO
    )
    assert deleted(plan) == set()
    assert any("names another account" in text and copies[0].snapshot_id in text for text in plan.warnings)


def test_copy_in_another_account_names_the_account_of_its_original() -> None:
    vaulted = in_vault(snapshot(3 * DAY, owner_id=OURS), OURS)
    plan = to_vault(snapshot(DAY, owner_id=OURS), vaulted)
    (text,) = (change.parameters["Description"] for change in plan.changes if change.action == "CopySnapshot")
    assert f", from {OURS}/{REGION}, taken " in text
    record = copy_record(Snapshot("snap-1", volume_id="vol-ffffffff", description=text))
    assert record is not None
    assert (record.account, record.region) == (OURS, REGION)
