# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Altered tags on a predecessor and its honest successor: the serving instance stays, and a bake captures it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.hold import Hold
from ansible_collections.ec2ops.storage.plugins.modules import instance_power, instance_relaunch, snapshot_rotate

from forged_pairs import DAYS, HOLD, REPLACES, TRIAL, Pair, replaced, root, tag, untag
from in_process import REGION, Killed, KillingGateway, Machine, machine, run, snapshots
from sandbox.client import Sandbox
from worlds import sandbox_gateway

WORDS = ["rejected", "unproven", "odd", ""]


@pytest.fixture(params=[False, True], ids=["stopped at the end", "held before"])
def pair(sandbox: Sandbox, request: pytest.FixtureRequest) -> Pair:
    return replaced(sandbox, held=request.param)


# --- the predecessor is off: the successor serves, whatever its tag says ----------------------------------------------


@pytest.mark.parametrize("word", WORDS)
def test_bake_captures_the_running_instance_against_its_tag(pair: Pair, word: str) -> None:
    tag(pair.new, {TRIAL: word})
    ended = pair.bake()
    assert not ended.failed
    assert ended.result["source_instance_id"] == pair.new.instance_id
    assert [item["volume_id"] for item in ended.result["snapshots"]] == [root(pair.new)]
    (warning,) = ended.warnings
    assert all(text in warning for text in (TRIAL, pair.new.instance_id, pair.old.instance_id))


@pytest.mark.parametrize("word", WORDS)
def test_bake_with_both_instances_off_captures_the_last_running(pair: Pair, word: str) -> None:
    pair.sandbox.move_clock(60)
    pair.new.ec2.stop_instances(InstanceIds=[pair.new.instance_id])
    pair.sandbox.move_clock(60)
    tag(pair.new, {TRIAL: word})
    assert pair.bake().result["source_instance_id"] == pair.new.instance_id


@pytest.mark.parametrize("word", [*WORDS, None])
def test_relaunch_continues_with_the_running_instance(pair: Pair, word: str | None) -> None:
    if word is None:
        untag(pair.new, TRIAL)
    else:
        tag(pair.new, {TRIAL: word})
    ended = pair.relaunch()
    assert not ended.failed
    assert set(ended.actions) <= {"DeleteTags"}
    assert ended.result["instance_id"] == pair.new.instance_id
    assert pair.states == ("stopped", "running")
    assert pair.relaunch().actions == []
    third = pair.relaunch(pair.bake().result["image_id"])
    assert not third.failed
    assert "TerminateInstances" not in third.actions
    assert pair.states == ("stopped", "stopped")


@pytest.mark.parametrize("consistency", ["volume", "instance"])
@pytest.mark.parametrize("word", ["rejected", "odd"])
def test_policy_backs_up_the_running_instance(pair: Pair, word: str, consistency: str) -> None:
    tag(pair.new, {TRIAL: word})
    given: dict[str, Any] = {"policy": "daily", "select": {"instance_ids": [pair.old.instance_id]}, "keep": {"last": 3}}
    ended = run(pair.sandbox, module=snapshot_rotate, consistency=consistency, **given)
    assert not ended.failed
    taken = {item["VolumeId"] for item in snapshots(pair.sandbox).values() if "daily" in item["Description"]}
    assert taken == {root(pair.new), pair.old.root_volume_id}
    assert any("both are captured" in text and pair.new.instance_id in text for text in ended.warnings)
    again = run(pair.sandbox, module=snapshot_rotate, consistency=consistency, **given)
    assert again.actions == []


@pytest.mark.parametrize("forged", [None, "i-0123456789abcdef0", "x"])
def test_successor_without_its_tag_is_not_launched_twice(pair: Pair, forged: str | None) -> None:
    pair.sandbox.move_clock(DAYS)
    untag(pair.new, REPLACES, TRIAL)
    if forged is not None:
        tag(pair.new, {REPLACES: forged})
    check = pair.relaunch(check=True)
    ended = pair.relaunch()
    assert check.actions == ended.actions == ["CreateTags"]
    assert ended.result["instance_id"] == pair.new.instance_id
    assert any(pair.new.instance_id in text and REPLACES in text for text in ended.warnings)
    assert pair.relaunch().actions == []
    assert pair.bake().result["source_instance_id"] == pair.new.instance_id


def test_bake_captures_the_successor_without_its_tag(pair: Pair) -> None:
    pair.sandbox.move_clock(DAYS)
    untag(pair.new, REPLACES, TRIAL)
    ended = pair.bake()
    assert not ended.failed
    assert ended.result["source_instance_id"] == pair.new.instance_id
    assert [item["volume_id"] for item in ended.result["snapshots"]] == [root(pair.new)]
    assert any(pair.new.instance_id in text and REPLACES in text for text in ended.warnings)
    assert pair.bake().actions == []


# --- a hold with a copied stop time: it starts the predecessor, and nothing else --------------------------------------


@pytest.mark.parametrize("days", [0, 3])
@pytest.mark.parametrize("word", ["rejected", "unproven"])
def test_copied_hold_and_an_altered_word_end_no_successor(sandbox: Sandbox, word: str, days: int) -> None:
    pair = replaced(sandbox)
    sandbox.move_clock(days * DAYS + 60)
    pair.copied_hold()
    tag(pair.new, {TRIAL: word})
    baked = pair.bake()
    if not baked.failed:
        assert any(pair.new.instance_id in text and HOLD in text for text in baked.warnings), baked.warnings
    sandbox.move_clock(2 * 3600)
    ended = pair.restore()
    assert ended.actions == ["StartInstances", "DeleteTags"]
    assert any(pair.new.instance_id in text for text in ended.warnings)
    assert pair.states == ("running", "running")
    if days:
        assert "TerminateInstances" not in pair.relaunch().actions
        assert pair.new.state == "running"


@pytest.mark.parametrize("word", ["rejected", "unproven"])
def test_copied_hold_of_before_the_launch_ends_no_successor_that_served_for_days(sandbox: Sandbox, word: str) -> None:
    pair = replaced(sandbox, held=True)
    sandbox.move_clock(3 * DAYS)
    pair.copied_hold()
    tag(pair.new, {TRIAL: word})
    first = pair.relaunch()
    assert pair.new.state == "running"
    if word == "unproven":
        # The successor is healthy, so it serves, and the hold is removed.
        assert (first.actions, pair.states) == (["CreateTags", "DeleteTags"], ("stopped", "running"))
        return
    assert (first.actions, pair.states) == (["StartInstances", "DeleteTags"], ("running", "running"))
    assert any(pair.new.instance_id in text for text in first.warnings)
    assert pair.relaunch().actions == []
    assert pair.new.tags[TRIAL] == word


def test_hold_on_a_retired_predecessor_does_not_end_a_bake(sandbox: Sandbox) -> None:
    pair = replaced(sandbox)
    pair.copied_hold()
    ended = pair.bake()
    assert not ended.failed
    assert ended.result["source_instance_id"] == pair.new.instance_id


# --- a word on a successor beside a predecessor that runs -------------------------------------------------------------


def test_rejected_word_ends_no_successor_beside_a_kept_predecessor(sandbox: Sandbox) -> None:
    pair = replaced(sandbox, old_instance="keep")
    tag(pair.new, {TRIAL: "rejected"})
    ended = pair.relaunch()
    assert not ended.failed
    assert ended.actions == []
    assert any(pair.new.instance_id in text and TRIAL in text for text in ended.warnings)
    assert pair.states == ("running", "running")


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("same", [False, True])
def test_rejected_word_ends_no_successor_that_served_for_days(sandbox: Sandbox, held: bool, same: bool) -> None:
    pair = replaced(sandbox, held=held)
    sandbox.move_clock(2 * DAYS)
    pair.old.ec2.start_instances(InstanceIds=[pair.old.instance_id])
    sandbox.move_clock(60)
    tag(pair.new, {TRIAL: "rejected"})
    ended = pair.relaunch(None if same else pair.bake().result["image_id"], lose_writes=True)
    assert not ended.failed
    assert "TerminateInstances" not in ended.actions
    assert any(pair.new.instance_id in text and "may have served" in text for text in ended.warnings)
    assert pair.new.state == "running"


@pytest.mark.parametrize("used", ["restarted", "volume", "address"])
def test_rejected_word_ends_no_successor_that_is_in_use(sandbox: Sandbox, used: str) -> None:
    pair = replaced(sandbox)
    ec2, new_id = pair.new.ec2, pair.new.instance_id
    sandbox.move_clock(3600)
    pair.old.ec2.start_instances(InstanceIds=[pair.old.instance_id])
    if used == "volume":
        zone = ec2.describe_instances(InstanceIds=[new_id])["Reservations"][0]["Instances"][0]["Placement"]
        made = ec2.create_volume(Size=1, AvailabilityZone=zone["AvailabilityZone"])["VolumeId"]
        sandbox.move_clock(60)
        ec2.attach_volume(VolumeId=made, InstanceId=new_id, Device="/dev/sdg")
    elif used == "address":
        ec2.associate_address(InstanceId=new_id, AllocationId=ec2.allocate_address(Domain="vpc")["AllocationId"])
    else:
        ec2.stop_instances(InstanceIds=[new_id])
        sandbox.move_clock(60)
        ec2.start_instances(InstanceIds=[new_id])
    sandbox.move_clock(60)
    tag(pair.new, {TRIAL: "rejected"})
    assert pair.relaunch().actions == []
    assert pair.new.state == "running"


def test_hold_on_a_running_predecessor_does_not_end_a_replacement(sandbox: Sandbox) -> None:
    old = machine(sandbox)
    sandbox.move_clock(120)
    pair = Pair(sandbox, old, old, "")
    pair.image_id = pair.bake("1").result["image_id"]
    gateway = KillingGateway(sandbox_gateway(sandbox, REGION), 1)
    with pytest.raises(Killed):
        run(
            sandbox,
            module=instance_relaunch,
            gateway=gateway,
            instance_id=old.instance_id,
            image_id=pair.image_id,
            health={"timeout": 60},
        )
    sandbox.move_clock(60)
    now = sandbox.now()
    tag(old, {HOLD: Hold(now, now + timedelta(hours=1)).value})
    ended = pair.relaunch()
    assert not ended.failed
    assert ended.actions == ["CreateTags", "DeleteTags", "StopInstances"]
    assert any(old.instance_id in text and HOLD in text for text in ended.warnings)
    assert pair.relaunch().actions == []


# --- losers of a race -------------------------------------------------------------------------------------------------


def test_earlier_successor_that_served_is_no_loser(sandbox: Sandbox) -> None:
    """Somebody returned to the predecessor, and replaced it again. The first successor has writes of its own."""
    pair = replaced(sandbox)
    sandbox.move_clock(3600)
    pair.new.ec2.stop_instances(InstanceIds=[pair.new.instance_id])
    pair.old.ec2.start_instances(InstanceIds=[pair.old.instance_id])
    sandbox.move_clock(60)
    untag(pair.new, REPLACES, TRIAL)
    second = pair.relaunch(pair.bake(version="3").result["image_id"], lose_writes=True)
    assert not second.failed
    tag(pair.new, {REPLACES: pair.old.instance_id, TRIAL: "rejected"})
    sandbox.move_clock(3600)
    ended = pair.relaunch(second.result["image_id"])
    assert ended.actions == []
    assert any(pair.new.instance_id in text for text in ended.warnings)
    assert pair.new.state == "stopped"


# --- the times of a hold ----------------------------------------------------------------------------------------------


def stopped_machine(sandbox: Sandbox) -> Machine:
    one = machine(sandbox, "db")
    sandbox.move_clock(60)
    return one


def test_hold_of_years_proves_no_stop_of_today(sandbox: Sandbox) -> None:
    db = stopped_machine(sandbox)
    begun = sandbox.now()
    sandbox.move_clock(30 * DAYS)
    db.ec2.stop_instances(InstanceIds=[db.instance_id])
    sandbox.move_clock(60)
    tag(db, {HOLD: Hold(begun, begun + timedelta(days=9000)).value})
    ended = run(sandbox, module=instance_power, state="restored", instance_ids=[db.instance_id])
    assert ended.actions == []
    assert db.state == "stopped"
    assert any(db.instance_id in text and HOLD in text for text in ended.warnings)


def test_hold_whose_end_was_altered_is_over_after_a_week(sandbox: Sandbox) -> None:
    db = stopped_machine(sandbox)
    run(sandbox, module=instance_power, instance_ids=[db.instance_id], state="stopped", remember=True)
    words = db.tags[HOLD].split(" ")
    tag(db, {HOLD: f"{words[0]} {words[1]} 9999-12-31T23:59:59Z"})
    sandbox.move_clock(8 * DAYS)
    assert run(sandbox, module=instance_power, state="restored").actions == ["StartInstances", "DeleteTags"]


def test_hold_whose_beginning_was_altered_is_named(sandbox: Sandbox) -> None:
    db = stopped_machine(sandbox)
    run(sandbox, module=instance_power, instance_ids=[db.instance_id], state="stopped", remember=True)
    tag(db, {HOLD: "running 9999-12-31T23:00:00Z 9999-12-31T23:59:59Z"})
    sandbox.move_clock(DAYS)
    ended = run(sandbox, module=instance_power, state="restored")
    assert ended.actions == []
    assert any(db.instance_id in text for text in ended.warnings)
