# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Copies of `snapshot_rotate` on the sandbox: in other regions and accounts, killed, refused, failed, two at once."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query

from copy_runs import ELSEWHERE, SHARED_WITH, VAULT, Scene, taken_on, vault
from in_process import REGION, Ended, Killed, KillingGateway, RefusingGateway
from rotation_runs import DAY, Together, deletes, four, of_policy, ok, rotate
from sandbox.client import Sandbox
from worlds import new_day, sandbox_gateway


@pytest.fixture
def sandbox(quick_sandbox: Sandbox) -> Sandbox:
    return new_day(quick_sandbox, {"copies_per_region": 20}, snapshot_pending=1.0, snapshot_copying=1.0)


def asked(sandbox: Sandbox) -> list[str]:
    """The originals of all requested copies, in order, whether or not EC2 made them."""
    return [entry["params"]["SourceSnapshotId"] for entry in sandbox.log(action="CopySnapshot")]


# --- another region ---------------------------------------------------------------------------------------------------


def test_check_and_run_agree_and_repeat_without_changes(sandbox: Sandbox) -> None:
    scene = Scene(sandbox)
    ran = four(sandbox, **scene.options(tags={"team": "a"}))
    copies = scene.copies()
    assert set(ran.result["copied"]) == set(copies)
    assert scene.slots(copies) == [("data", "0"), ("data", "1"), ("log", "0"), ("log", "1")]
    originals = of_policy(sandbox)
    for row in copies.values():
        region, _slash, original = row["tags"]["ec2ops:copy-of"].partition("/")
        assert (region, row["State"], row["tags"]["team"]) == (REGION, "completed", "a")
        for key in ("ec2ops:source", "ec2ops:origin", "backup"):
            assert row["tags"].get(key) == originals[original]["tags"].get(key)
    # The oldest of each volume first, and each builds on the one before.
    order = asked(sandbox)
    starts = [(originals[name]["VolumeId"], originals[name]["StartTime"]) for name in order]
    for volume in scene.volumes:
        times = [start for source, start in starts if source == volume]
        assert times == sorted(times)
    assert Counter(sandbox.inspect(name)["incremental"] for name in copies) == {False: 2, True: 2}
    points = {point["source"]: point["copies"] for point in ran.result["rpo"]}
    assert {one["region"] for several in points.values() for one in several} == {ELSEWHERE}
    assert {name for several in points.values() for one in several for name in one["snapshot_ids"]} == {
        name for name, row in copies.items() if taken_on(row) == sandbox.now().date()
    }


def test_copies_that_later_runs_pick_up_follow_the_rules(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 3, "data")
    sandbox.configure(durations={"snapshot_copying": 600.0})
    given = scene.options({"region": ELSEWHERE, "keep": {"daily": 2}}, keep={"daily": 1})
    for _day_number in range(4):
        ran = ok(rotate(sandbox, **given))
        # Every original stays until its copy is completed.
        originals = set(of_policy(sandbox))
        for row in scene.copies().values():
            assert row["State"] == "completed" or row["tags"]["ec2ops:copy-of"].rpartition("/")[2] in originals
        held = [one for one in ran.result["decisions"] if one["guard"] == "depends"]
        assert held
        sandbox.move_clock(1800)
        ok(rotate(sandbox, **given))
        sandbox.move_clock(1800)
        settled = ok(rotate(sandbox, **given))
        assert settled.result["plan"] == []
        assert scene.slots(scene.copies()) == [("data", "0"), ("data", "1")]
        assert scene.slots(of_policy(sandbox)) == [("data", "0")]
        sandbox.move_clock(DAY - 3600)
    assert len(asked(sandbox)) == len(set(asked(sandbox)))


def test_copies_beyond_ec2s_limit_are_left_to_later_runs(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 22)
    keep = {"region": ELSEWHERE, "keep": {"daily": 23}}
    given = scene.options({**keep, "wait": True}, create="never", keep={"daily": 30})
    sandbox.configure(durations={"snapshot_copying": 0.2})
    ran = ok(rotate(sandbox, **given))
    assert len(ran.result["copied"]) == 44 == len(scene.copies())
    assert {entry["outcome"] for entry in sandbox.log(action="CopySnapshot")} == {"ok"}
    assert ok(rotate(sandbox, **given)).result["plan"] == []


def test_a_lower_quota_is_learnt_from_ec2_and_later_runs_catch_up(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 2)
    sandbox.configure(durations={"snapshot_copying": 600.0}, options={"copies_per_region": 3})
    given = scene.options({"region": ELSEWHERE, "keep": {"daily": 9}}, keep={"daily": 1})
    first = ok(rotate(sandbox, alone=False, **given))
    assert len(first.result["copied"]) == 3 == len(scene.copies())
    assert set(first.result["copied"]) == set(scene.copies())
    assert deletes(sandbox) == []
    for _run in range(3):
        sandbox.move_clock(1200)
        last = ok(rotate(sandbox, alone=False, **given))
    assert last.result["plan"] == []
    assert len(scene.copies()) == 6
    assert scene.slots(of_policy(sandbox)) == [("data", "0"), ("log", "0")]
    with_wait = scene.options({"region": "eu-west-2", "keep": {"daily": 9}, "wait": True})
    sandbox.configure(durations={"snapshot_copying": 1.0}, options={"copies_per_region": 1})
    assert len(ok(rotate(sandbox, **with_wait)).result["copied"]) == 2


def test_failed_copy_is_named_deleted_and_repeated(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 2, "data")
    given = scene.options({"region": ELSEWHERE, "keep": {"daily": 1}}, keep={"daily": 1})
    with sandbox.fault("CopySnapshot", kind="end", occurrence=1, message="Given key ID is not accessible"):
        ok(rotate(sandbox, **given))
    sandbox.move_clock(60)
    (failed,) = scene.copies()
    assert scene.copies()[failed]["State"] == "error"
    checked = ok(rotate(sandbox, check=True, **given))
    ran = ok(rotate(sandbox, **given))
    for run in (checked, ran):
        (warning,) = run.warnings
        assert failed in warning
        assert "Given key ID is not accessible" in warning
        assert "CopySnapshot" in run.actions
        assert failed in run.result["deleted"]
    sandbox.move_clock(60)
    ok(rotate(sandbox, **given))
    (copy,) = scene.copies().values()
    assert (copy["State"], copy["SnapshotId"] != failed) == ("completed", True)
    assert ok(rotate(sandbox, **given)).result["plan"] == []
    # A copy that the run waits for fails the run. Retention here does not depend on it.
    sandbox.move_clock(DAY)
    waiting = scene.options({"region": ELSEWHERE, "keep": {"daily": 1}, "wait": True}, keep={"daily": 1})
    with sandbox.fault("CopySnapshot", kind="end", occurrence=1, message="Internal failure"):
        stopped = rotate(sandbox, **waiting)
    assert "Internal failure" in stopped.failed
    assert scene.slots(of_policy(sandbox)) == [("data", "0")]
    ok(rotate(sandbox, **waiting))
    assert scene.slots(scene.copies()) == scene.slots(of_policy(sandbox)) == [("data", "0")]


def test_sets_are_copied_and_kept_as_a_whole(sandbox: Sandbox) -> None:
    names = sandbox.seed({"instance": {"name": "web", "data_volumes": [{"name": "data"}, {"name": "log"}]}})
    given = {
        "select": {"instance_ids": [names["web"]]},
        "consistency": "instance",
        "keep": {"daily": 1},
        "copies": [{"region": ELSEWHERE, "keep": {"daily": 1}}],
    }
    scene = Scene(sandbox, 0, "other")
    sandbox.configure(durations={"snapshot_copying": 600.0}, options={"copies_per_region": 2})
    ok(rotate(sandbox, alone=False, **given))
    assert len(scene.copies()) == 2
    sandbox.move_clock(1200)
    sandbox.configure(options={"copies_per_region": 20})
    # A part of the set exists: the rest follows, and the set counts once all parts are completed.
    rest = ok(rotate(sandbox, **given))
    assert len(rest.result["copied"]) == 1
    (point,) = rest.result["rpo"]
    assert point["copies"][0]["snapshot_ids"] == []
    sandbox.move_clock(1200)
    done = ok(rotate(sandbox, **given))
    (point,) = done.result["rpo"]
    assert (done.result["plan"], set(point["copies"][0]["snapshot_ids"])) == ([], set(scene.copies()))
    assert len({row["tags"]["ec2ops:set"] for row in scene.copies().values()}) == 1
    sandbox.move_clock(DAY)
    for _run in range(3):
        ok(rotate(sandbox, **given))
        sandbox.move_clock(1200)
    assert {taken_on(row) for row in scene.copies().values()} == {sandbox.now().date()}
    assert len(scene.copies()) == 3


def test_copy_of_an_earlier_run_completed_in_this_run_delays_no_deletion(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 0, "data")
    given = scene.options({"region": ELSEWHERE, "keep": {"last": 1}, "wait": True}, keep={"last": 1})
    sandbox.configure(durations={"snapshot_copying": DAY + 300.0})
    assert "pending" in rotate(sandbox, **given, wait_timeout=60).failed
    sandbox.configure(durations={"snapshot_copying": 1.0})
    sandbox.move_clock(DAY)
    assert [row["State"] for row in scene.copies().values()] == ["pending"]
    ran = ok(rotate(sandbox, **given))
    assert len(ran.result["deleted"]) == 2
    assert ok(rotate(sandbox, **given)).result["plan"] == []


def test_a_name_that_is_not_ascii_is_copied_too(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 0, "data")
    ran = ok(rotate(sandbox, **scene.options(), policy="täglich"))
    assert len(ran.result["copied"]) == 1


# --- what holds back --------------------------------------------------------------------------------------------------


def test_newest_copy_with_a_key_is_kept_although_ec2_would_delete_it(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 0, "data")
    keep = {"region": ELSEWHERE, "keep": {"last": 1}, "wait": True}
    (old,) = ok(rotate(sandbox, **scene.options(keep))).result["copied"]
    sandbox.move_clock(DAY)
    key = sandbox.client("kms", ELSEWHERE).create_key()["KeyMetadata"]["Arn"]
    changed = scene.options({**keep, "kms_key_id": key})
    ran = ok(rotate(sandbox, **changed))
    (held,) = [one for one in ran.result["decisions"] if one["guard"] == "newest_copy"]
    assert (held["snapshot_ids"], held["region"]) == ([old], ELSEWHERE)
    assert {row.get("KmsKeyId") for row in scene.copies().values()} == {None, key}
    assert deletes(sandbox) == []
    reported = ok(rotate(sandbox, **changed, guards={"newest_copy": "report"}))
    assert reported.result["deleted"] == [old]
    assert old in reported.warnings[0]
    assert set(scene.copies()) == set(ran.result["copied"])


@pytest.mark.parametrize("by_alias", [False, True], ids=["arn", "alias"])
def test_copy_with_its_own_key_leaves_no_work_to_the_next_run(sandbox: Sandbox, by_alias: bool) -> None:
    scene, kms = Scene(sandbox, 0, "data"), sandbox.client("kms", ELSEWHERE)
    key = kms.create_key()["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/backup", TargetKeyId=key)
    place = {
        "region": ELSEWHERE,
        "keep": {"last": 1},
        "wait": True,
        "kms_key_id": "alias/backup" if by_alias else key,
    }
    for _day_number in range(2):
        ran = four(sandbox, **scene.options(place))
        (copy,) = scene.copies().values()
        assert ([copy["SnapshotId"]], copy["KmsKeyId"]) == (ran.result["copied"], key)
        sandbox.move_clock(DAY)


@pytest.mark.parametrize("wait", [False, True])
def test_missing_key_stops_only_its_copies_and_the_deletions_of_their_originals(sandbox: Sandbox, wait: bool) -> None:
    scene = Scene(sandbox, 4, "data")
    kms = sandbox.client("kms", ELSEWHERE)
    place = {"region": ELSEWHERE, "keep": {"daily": 1}, "wait": wait, "kms_key_id": "alias/backup"}
    given = scene.options(place, keep={"daily": 2})
    checked, ran = rotate(sandbox, check=True, **given), rotate(sandbox, **given)
    assert checked.failed == ran.failed or checked.result["msg"] == ran.failed
    for said in ("eu-west-1", "alias/backup", "not an enabled KMS key", "Originals are kept"):
        assert said in ran.failed
    assert [error["code"] for error in ran.result["errors"]] == ["UnsafePlan"]
    # The rules here keep two, and the place wants the newest one.
    deleted = scene.past[1:]
    assert (scene.copies(), sorted(deletes(sandbox)), len(of_policy(sandbox))) == (
        {},
        sorted(deleted),
        5 - len(deleted),
    )
    kms.create_alias(AliasName="alias/backup", TargetKeyId=kms.create_key()["KeyMetadata"]["KeyId"])
    ok(rotate(sandbox, **given))
    assert len(scene.copies()) == 1
    # No copy is missing, so no query is asked.
    kms.delete_alias(AliasName="alias/backup")
    sandbox.move_clock(600)
    ok(rotate(sandbox, **given))
    assert ok(rotate(sandbox, **given)).result["plan"] == []


def test_limits_count_over_all_regions(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 3, "data")
    wide = {"region": ELSEWHERE, "keep": {"daily": 9}, "wait": True}
    ok(rotate(sandbox, **scene.options(wide, keep={"daily": 9})))
    sandbox.reset_log()
    narrow = scene.options({**wide, "keep": {"daily": 2}}, keep={"daily": 2}, max_delete=3)
    stopped = rotate(sandbox, **narrow)
    assert "max_delete is 3, and 4 snapshots would be deleted" in stopped.failed
    assert deletes(sandbox) == []
    ran = four(sandbox, **{**narrow, "max_delete": 4})
    assert len(ran.result["deleted"]) == 4
    assert {entry["region"] for entry in ran.result["plan"]} == {REGION, ELSEWHERE}


# --- another account --------------------------------------------------------------------------------------------------


def test_an_original_is_shared_for_the_time_of_its_copy(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 1, "data")
    ran = four(sandbox, **scene.options(vault()))
    (copy,) = scene.copies(REGION, VAULT).values()
    assert ([copy["SnapshotId"]], copy["OwnerId"]) == (ran.result["copied"], VAULT)
    scene.assert_returned()
    sandbox.move_clock(DAY)
    sandbox.configure(durations={"snapshot_copying": 600.0})
    later = scene.options(vault(wait=False))
    (new,) = ok(rotate(sandbox, **later)).result["created"]
    assert scene.shared() == {new: [VAULT]}
    assert of_policy(sandbox)[new]["tags"][SHARED_WITH] == VAULT
    sandbox.move_clock(1200)
    ok(rotate(sandbox, **later))
    scene.assert_returned()
    assert ok(rotate(sandbox, **later)).result["plan"] == []


def test_two_accounts_that_copy_to_one_leave_each_other_alone(sandbox: Sandbox) -> None:
    """The policies have one name and one region, and different rules and tags."""
    mine = Scene(sandbox, 3, "data")
    theirs = "222222222222"
    (other,) = sandbox.seed({"account": theirs, "volume": {"name": "other"}}).values()

    def of_other(**given: Any) -> Ended:
        connected = sandbox_gateway(sandbox, REGION, account=theirs)
        return ok(rotate(sandbox, gateway=connected, **{**mine.options(vault()), **given}))

    given = mine.options(vault(keep={"daily": 1}), tags={"account": "A"})
    wide = {"select": {"volume_ids": [other]}, "copies": [vault(keep={"daily": 30})], "tags": {"account": "B"}}
    for _day in range(2):
        of_other(**wide)
        ok(rotate(sandbox, **given))
        assert of_other(**wide).result["plan"] == []
        assert ok(rotate(sandbox, **given)).result["plan"] == []
        sandbox.move_clock(DAY)
    rows = mine.copies(REGION, VAULT).values()
    assert sorted(row["tags"]["account"] for row in rows) == ["A", "B", "B"]
    origins = {row["tags"]["ec2ops:copy-of"].rpartition("/")[0] for row in rows}
    assert origins == {f"123456789012/{REGION}", f"{theirs}/{REGION}"}


def test_guard_shared_ignores_shares_for_copies(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 0, "data")
    given = {"keep": {"last": 1}, "guards": {"shared": "fail"}}
    sandbox.configure(durations={"snapshot_copying": DAY + 300.0})
    (old,) = ok(rotate(sandbox, **scene.options(vault(wait=False), **given))).result["created"]
    assert scene.shared() == {old: [VAULT]}
    sandbox.configure(durations={"snapshot_copying": 1.0})
    sandbox.move_clock(DAY + 600)
    ran = ok(rotate(sandbox, **scene.options(vault(), **given)))
    assert old in ran.result["deleted"]
    assert ok(rotate(sandbox, **scene.options(vault(), **given))).result["plan"] == []
    scene.assert_returned()


def test_shares_by_others_are_kept(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 1, "data")
    (old,) = scene.past
    sandbox.client(region=REGION).modify_snapshot_attribute(
        SnapshotId=old, Attribute="createVolumePermission", OperationType="add", UserIds=[VAULT]
    )
    ran = ok(rotate(sandbox, **scene.options(vault(), create="never")))
    assert ran.actions == ["CopySnapshot"]
    assert scene.shared() == {old: [VAULT]}


def test_snapshot_of_the_default_key_is_not_shared_and_all_else_is_done(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 1, "data")
    sealed = sandbox.client(region=REGION).create_volume(AvailabilityZone=f"{REGION}a", Size=1, Encrypted=True)
    scene.volumes = [sealed["VolumeId"]]
    given = scene.options(vault(), {"region": ELSEWHERE, "keep": {"daily": 1}, "wait": True}, keep={"daily": 1})
    ran = rotate(sandbox, **{**given, "select": {"volume_ids": scene.volumes}})
    assert "alias/aws/ebs" in ran.failed
    assert "Encrypt its volume with a key of your own" in ran.failed
    assert (len(ran.result["done"]) > 1, deletes(sandbox)) == (True, [])
    assert ("data", "0") in scene.slots({name: row for name, row in scene.copies().items() if row["Encrypted"]})
    assert not [row for row in scene.copies(REGION, VAULT).values() if row["Encrypted"]]
    scene.assert_returned()


# --- interrupted ------------------------------------------------------------------------------------------------------


def everywhere(scene: Scene) -> dict[str, Any]:
    return scene.options({"region": ELSEWHERE, "keep": {"daily": 1}, "wait": True}, vault(), keep={"daily": 1})


def world(scene: Scene) -> tuple[Any, ...]:
    return tuple(
        (scene.slots(rows), {row["State"] for row in rows.values()})
        for rows in (of_policy(scene.sandbox), scene.copies(), scene.copies(REGION, VAULT))
    )


WANTED = tuple(([("data", "0")], {"completed"}) for _place in range(3))
CALLS = 1 + 1 + 1 + 2 + 1 + 1 + 1  # create, record, share, copy, no longer share, no record, delete


def test_undisturbed_run_converges(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 1, "data")
    four(sandbox, **everywhere(scene))
    assert world(scene) == WANTED
    calls = [one for one in sandbox.log() if not one["action"].startswith(("Describe", "sts:", "kms:"))]
    assert len(calls) == CALLS


@pytest.mark.parametrize("nth", range(1, CALLS + 1))
def test_rerun_after_a_kill_completes_the_work(sandbox: Sandbox, nth: int) -> None:
    scene = Scene(sandbox, 1, "data")
    with pytest.raises(Killed):
        rotate(sandbox, gateway=KillingGateway(sandbox_gateway(sandbox, REGION), nth), **everywhere(scene))
    ok(rotate(sandbox, **everywhere(scene)))
    assert world(scene) == WANTED
    scene.assert_returned()
    assert ok(rotate(sandbox, **everywhere(scene))).result["plan"] == []
    assert len(set(asked(sandbox))) == 1


@pytest.mark.parametrize("unclear", [False, True], ids=["refused", "unclear"])
@pytest.mark.parametrize("nth", range(1, CALLS + 1))
def test_rerun_after_a_refusal_completes_the_work(sandbox: Sandbox, nth: int, unclear: bool) -> None:
    scene = Scene(sandbox, 1, "data")
    gateway = RefusingGateway(sandbox_gateway(sandbox, REGION), nth, unclear=unclear)
    disturbed = rotate(sandbox, gateway=gateway, **everywhere(scene))
    assert unclear or "UnauthorizedOperation" in disturbed.failed
    if disturbed.failed and nth == 1:
        assert set(scene.past) <= set(of_policy(sandbox))
    ok(rotate(sandbox, **everywhere(scene)))
    assert world(scene) == WANTED
    scene.assert_returned()
    assert ok(rotate(sandbox, **everywhere(scene))).result["plan"] == []


class CompletingGateway:
    """The gateway of a run whose copies under way are completed as soon as it has asked for them."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._gateway, self._sandbox = sandbox_gateway(sandbox, REGION), sandbox

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def ask(self, queries: Iterable[Query], *more: Any) -> Any:
        asked = tuple(queries)
        answers = self._gateway.ask(asked, *more)
        if any(("status", ("pending",)) in query.filters for query in asked):
            self._sandbox.move_clock(7200)
        return answers


def test_copy_that_ends_during_the_rollback_keeps_the_record_of_its_sharing(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 1, "data")
    sandbox.configure(durations={"snapshot_copying": 3600.0})
    with sandbox.fault("CopySnapshot", region=ELSEWHERE, code="UnauthorizedOperation", status=403):
        disturbed = rotate(sandbox, gateway=CompletingGateway(sandbox), **everywhere(scene))
    assert "UnauthorizedOperation" in disturbed.failed
    recorded = {name for name, row in of_policy(sandbox).items() if SHARED_WITH in row["tags"]}
    assert recorded == set(scene.shared()) != set()
    sandbox.configure(durations={"snapshot_copying": 1.0})
    ok(rotate(sandbox, **everywhere(scene)))
    scene.assert_returned()


def test_two_runs_at_once_make_one_copy_of_each(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 2)
    barrier = threading.Barrier(2)
    given = scene.options(create="never")
    gateways = [Together(sandbox_gateway(sandbox, REGION), barrier) for _one in range(2)]
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(lambda one: rotate(sandbox, gateway=one, alone=False, **given), gateways))
    assert [one.failed for one in ended] == ["", ""]
    sandbox.move_clock(60)
    copies = [row["tags"]["ec2ops:copy-of"] for row in scene.copies().values()]
    assert Counter(copies) == dict.fromkeys((f"{REGION}/{name}" for name in scene.past), 1)
    assert ok(rotate(sandbox, **given)).result["plan"] == []


def test_source_of_a_copy_made_by_hand_is_kept(sandbox: Sandbox) -> None:
    """EC2 would delete it, and the copy might fail."""
    scene = Scene(sandbox, 2, "data")
    sandbox.configure(durations={"snapshot_copying": timedelta(hours=1).total_seconds()})
    given = scene.options({"region": ELSEWHERE, "keep": {"last": 1}}, create="never", keep={"last": 1})
    oldest = scene.past[-1]
    sandbox.client(region=ELSEWHERE).copy_snapshot(
        SourceRegion=REGION,
        SourceSnapshotId=oldest,
        TagSpecifications=[
            {
                "ResourceType": "snapshot",
                "Tags": [
                    {"Key": "ec2ops:policy", "Value": "p"},
                    {"Key": "ec2ops:copy-of", "Value": f"{REGION}/{oldest}"},
                    {"Key": "ec2ops:source", "Value": scene.volumes[0]},
                ],
            }
        ],
    )
    ran = ok(rotate(sandbox, **given))
    (held,) = [one for one in ran.result["decisions"] if one["snapshot_ids"] == [oldest]]
    assert held["guard"] == "copy_source"
    assert deletes(sandbox) == []
