# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archive, locks and fast restore of `snapshot_rotate` on the sandbox: run, run again, killed, refused, undone."""

from __future__ import annotations

from typing import Any

import pytest

from in_process import REGION, Ended, Killed, KillingGateway, RefusingGateway
from rotation_runs import DAY, four, of_policy, ok, past, rotate
from sandbox.client import Sandbox
from worlds import new_day, sandbox_gateway

A, B = "us-east-1a", "us-east-1b"


@pytest.fixture
def sandbox(quick_sandbox: Sandbox) -> Sandbox:
    return new_day(
        quick_sandbox,
        {"fast_restores": 50, "archiving_per_account": 25},
        snapshot_pending=2.0,
        snapshot_archiving=3600.0,
        fast_restore_enabling=60.0,
    )


def taken_in_part(sandbox: Sandbox, **given: Any) -> Ended:
    """A run whose plan EC2 accepts only in part, so that its calls cannot be compared with the plan."""
    return rotate(sandbox, alone=False, **given)


class Scene:
    """Two volumes, and the policy's snapshots of the days before."""

    def __init__(self, sandbox: Sandbox, days: int = 4) -> None:
        self.sandbox = sandbox
        names = sandbox.seed({"volumes": [{"name": name, "tags": {"backup": "daily"}} for name in ("data", "log")]})
        self.volumes = [names["data"], names["log"]]
        found = past(sandbox, self.volumes, days)
        #: By the number of days ago, a snapshot of each volume.
        self.past = {number + 1: found[2 * number : 2 * number + 2] for number in range(days)}
        sandbox.reset_log()

    def options(self, **given: Any) -> dict[str, Any]:
        return {"select": {"tags": {"backup": "daily"}}, "keep": {"last": 9}, **given}

    def fast(self) -> dict[str, list[str]]:
        """By snapshot, the zones in which fast restore is on, or comes on."""
        rows = self.sandbox.client().describe_fast_snapshot_restores()["FastSnapshotRestores"]
        on: dict[str, list[str]] = {}
        for row in rows:
            if row["State"] in ("enabling", "optimizing", "enabled"):
                on.setdefault(row["SnapshotId"], []).append(row["AvailabilityZone"])
        return {name: sorted(zones) for name, zones in on.items()}

    def locks(self) -> dict[str, str]:
        """Return the state of the lock of each snapshot."""
        rows = self.sandbox.client().describe_locked_snapshots()["Snapshots"]
        return {row["SnapshotId"]: row["LockState"] for row in rows}

    def moved(self) -> set[str]:
        """The snapshots that runs have asked EC2 to archive."""
        log = self.sandbox.log(action="ModifySnapshotTier")
        return {entry["params"]["SnapshotId"] for entry in log if entry["outcome"] == "ok"}


# --- archive ----------------------------------------------------------------------------------------------------------


def test_old_snapshots_are_archived_except_the_newest_and_those_of_images(sandbox: Sandbox) -> None:
    scene = Scene(sandbox)
    used = scene.past[4][0]
    image = sandbox.client().register_image(
        Name="uses it",
        RootDeviceName="/dev/sda1",
        BlockDeviceMappings=[{"DeviceName": "/dev/sda1", "Ebs": {"SnapshotId": used}}],
    )["ImageId"]
    given = scene.options(archive_after="60h")
    ran = four(sandbox, **given)
    wanted = {*scene.past[3], scene.past[4][1]}
    assert set(ran.result["archived"]) == wanted == scene.moved()
    assert ran.result["archive_waiting"] == [
        {"snapshot_ids": [used], "reason": f"{used}: {image} (available) is made of it"}
    ]
    assert ran.result["deferred"] == []
    sandbox.move_clock(7200)
    tiers = {name: row["StorageTier"] for name, row in of_policy(sandbox).items()}
    assert {name for name, tier in tiers.items() if tier == "archive"} == wanted
    assert ok(rotate(sandbox, **given)).result["plan"] == []
    # A volume that is not taken any more keeps its newest at hand, however old it is.
    sandbox.move_clock(30 * DAY)
    rest = ok(rotate(sandbox, policy="p", create="never", keep={"last": 9}, archive_after="60h"))
    newest = set(ran.result["created"])
    assert set(rest.result["archived"]) == {*scene.past[1], *scene.past[2]}
    assert not newest & scene.moved()
    points = {name for point in rest.result["rpo"] for name in point["snapshot_ids"]}
    assert points == newest


def test_snapshot_without_a_rule_is_deleted_and_not_archived(sandbox: Sandbox) -> None:
    scene = Scene(sandbox)
    ran = four(sandbox, **scene.options(archive_after="60h", keep={"last": 4}))
    assert set(ran.result["deleted"]) == set(scene.past[4])
    assert set(ran.result["archived"]) == set(scene.past[3])


def test_more_than_ec2_archives_at_once_is_left_to_later_runs(sandbox: Sandbox) -> None:
    scene = Scene(sandbox)
    sandbox.configure(options={"archiving_per_account": 3})
    given = scene.options(archive_after="60h")
    ran = ok(taken_in_part(sandbox, **given))
    assert (len(ran.result["archived"]), len(ran.result["deferred"])) == (3, 1)
    (left,) = ran.result["deferred"]
    assert left["snapshot_id"] not in ran.result["archived"]
    assert left["code"]
    sandbox.move_clock(7200)
    assert ok(rotate(sandbox, **given)).result["archived"] == [left["snapshot_id"]]
    assert scene.moved() == {*scene.past[3], *scene.past[4]}


# --- locks ------------------------------------------------------------------------------------------------------------

GOVERNANCE = {"mode": "governance", "duration": "2d"}


def test_new_snapshot_is_locked_and_kept_until_the_lock_ends(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, days=2)
    given = scene.options(lock=GOVERNANCE, keep={"last": 1})
    ran = four(sandbox, **given)
    assert set(ran.result["locked"]) == set(ran.result["created"]) == set(scene.locks())
    assert set(scene.locks().values()) == {"governance"}
    sandbox.move_clock(DAY)
    later = ok(rotate(sandbox, **given))
    assert later.result["deleted"] == []
    held = {name: one["guard"] for one in later.result["decisions"] for name in one["snapshot_ids"]}
    assert held == dict.fromkeys(ran.result["created"], "locked")
    sandbox.move_clock(2 * DAY)
    last = ok(rotate(sandbox, **given))
    assert set(ran.result["created"]) <= set(last.result["deleted"])


def test_declared_unlock_removes_only_own_locks(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, days=2)
    ran = ok(rotate(sandbox, **scene.options(lock=GOVERNANCE)))
    by_hand = scene.past[2][0]
    sandbox.client().lock_snapshot(SnapshotId=by_hand, LockMode="governance", LockDuration=9)
    # Without the option nothing is touched.
    assert ok(rotate(sandbox, **scene.options())).result["plan"] == []
    undone = four(sandbox, **scene.options(lock={"mode": "unlocked"}))
    assert set(undone.result["unlocked"]) == set(ran.result["created"])
    assert {name for name, state in scene.locks().items() if state == "governance"} == {by_hand}


def test_unlocked_snapshot_is_deleted_by_the_same_run(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, days=1)
    first = ok(rotate(sandbox, **scene.options(lock=GOVERNANCE, keep={"last": 1})))
    sandbox.move_clock(DAY)
    ran = four(sandbox, **scene.options(lock={"mode": "unlocked"}, keep={"last": 1}))
    assert set(ran.result["unlocked"]) == set(first.result["created"]) == set(ran.result["deleted"])


def test_compliance_lock_without_consent_is_refused(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, days=1)
    lock = {"mode": "compliance", "duration": "1d", "cool_off": "2h"}
    refused = rotate(sandbox, **scene.options(lock=lock))
    assert "lock.accept_compliance" in refused.failed
    assert not [entry for entry in sandbox.log() if not entry["action"].startswith("Describe")]
    given = scene.options(lock={**lock, "accept_compliance": True})
    four(sandbox, **given)
    assert set(scene.locks().values()) == {"compliance-cooloff"}
    sandbox.move_clock(3 * 3600)
    stuck = ok(rotate(sandbox, **scene.options(lock={"mode": "unlocked"})))
    assert (stuck.result["plan"], len(stuck.warnings)) == ([], 1)
    assert "nobody can remove the compliance locks" in stuck.warnings[0]


# --- fast restore -----------------------------------------------------------------------------------------------------


def test_fast_restore_follows_the_newest_and_ends_on_request(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, days=2)
    given = scene.options(fast_restore={"zones": [A, B]}, keep={"last": 1})
    ran = four(sandbox, **given)
    assert scene.fast() == {key: [A, B] for key in ran.result["created"]}
    sandbox.move_clock(DAY)
    # The former newest is deleted, with its fast restore, in the same run.
    later = four(sandbox, **given)
    assert set(later.result["fast_restore_ended"]) == set(ran.result["created"]) == set(later.result["deleted"])
    assert scene.fast() == {key: [A, B] for key in later.result["created"]}
    one = four(sandbox, **scene.options(fast_restore={"zones": [B]}, keep={"last": 1}))
    assert (one.actions, scene.fast()) == (
        ["DisableFastSnapshotRestores"] * 2,
        {key: [B] for key in later.result["created"]},
    )
    assert ok(rotate(sandbox, **scene.options(keep={"last": 1}))).result["plan"] == []
    none = four(sandbox, **scene.options(fast_restore={"zones": []}, keep={"last": 1}))
    assert (set(none.result["fast_restore_ended"]), scene.fast()) == (set(later.result["created"]), {})


def test_a_quota_of_fast_restores_is_no_failure(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, days=1)
    sandbox.configure(options={"fast_restores": 1})
    ran = ok(taken_in_part(sandbox, **scene.options(fast_restore={"zones": [A]})))
    assert (len(ran.result["fast_restored"]), len(ran.result["deferred"]), len(scene.fast())) == (1, 1, 1)


# --- interrupted ------------------------------------------------------------------------------------------------------


def all_of_it(scene: Scene) -> dict[str, Any]:
    return scene.options(lock=GOVERNANCE, archive_after="60h", fast_restore={"zones": [A]}, keep={"last": 4})


def world(scene: Scene) -> tuple[Any, ...]:
    names = {name: f"day -{number}" for number, some in scene.past.items() for name in some}
    rows = of_policy(scene.sandbox)

    def named(found: Any) -> list[str]:
        return sorted(names.get(name, "new") for name in found)

    return named(rows), named(scene.moved()), named(scene.locks()), named(scene.fast())


WANTED = (
    ["day -1"] * 2 + ["day -2"] * 2 + ["day -3"] * 2 + ["new"] * 2,
    ["day -3"] * 2,
    ["new"] * 2,
    ["new"] * 2,
)
CALLS = 2 + 2 + 1 + 2 + 2  # create, lock, fast restore, delete, archive


def test_undisturbed_run_converges(sandbox: Sandbox) -> None:
    scene = Scene(sandbox)
    four(sandbox, **all_of_it(scene))
    assert world(scene) == WANTED
    calls = [one["action"] for one in sandbox.log() if not one["action"].startswith("Describe")]
    # Two snapshots share the call for their fast restore if both are completed at the same poll.
    assert len(calls) in (CALLS, CALLS + 1), calls


@pytest.mark.parametrize("nth", range(1, CALLS + 1))
def test_rerun_after_a_kill_completes_the_work(sandbox: Sandbox, nth: int) -> None:
    scene = Scene(sandbox)
    with pytest.raises(Killed):
        rotate(sandbox, gateway=KillingGateway(sandbox_gateway(sandbox, REGION), nth), **all_of_it(scene))
    ok(rotate(sandbox, **all_of_it(scene)))
    assert world(scene) == WANTED
    assert ok(rotate(sandbox, **all_of_it(scene))).result["plan"] == []


@pytest.mark.parametrize("unclear", [False, True], ids=["refused", "unclear"])
@pytest.mark.parametrize("nth", range(1, CALLS + 1))
def test_rerun_after_a_refusal_completes_the_work(sandbox: Sandbox, nth: int, unclear: bool) -> None:
    scene = Scene(sandbox)
    gateway = RefusingGateway(sandbox_gateway(sandbox, REGION), nth, unclear=unclear)
    disturbed = rotate(sandbox, gateway=gateway, **all_of_it(scene))
    # A refused call for several snapshots is repeated in parts.
    assert unclear or gateway.refused > 1 or "UnauthorizedOperation" in disturbed.failed
    ok(rotate(sandbox, **all_of_it(scene)))
    assert world(scene) == WANTED
    assert ok(rotate(sandbox, **all_of_it(scene))).result["plan"] == []
