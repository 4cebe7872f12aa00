# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two successors of one instance, of which one was given up: altered tags neither end the other one, nor hide it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.instance_proofs import has_retired, launched_last
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance
from ansible_collections.ec2ops.storage.plugins.modules import instance_power, snapshot_rotate

from forged_pairs import TRIAL, Pair, launched_only, root, tag, untag, write
from in_process import Machine, machine, run, snapshots
from proven import stopped_at
from sandbox.client import Sandbox


@dataclass
class Three:
    """The predecessor, the successor that was given up and runs, and the later one that serves."""

    pair: Pair
    given_up: Machine
    serves: Machine
    later_image: str

    @property
    def states(self) -> tuple[str, str]:
        return self.given_up.state, self.serves.state


@pytest.fixture(params=["stop", "terminate"])
def three(sandbox: Sandbox, request: pytest.FixtureRequest) -> Three:
    pair = launched_only(sandbox, request.param)
    tag(pair.new, {TRIAL: "rejected"})
    later = str(pair.bake("2").result["image_id"])
    ended = pair.relaunch(later, on_failure="keep", lose_writes=True)
    assert not ended.failed
    sandbox.move_clock(60)
    return Three(pair, pair.new, Machine(sandbox, ended.result["instance_id"], ""), later)


SWAPPED = [(None, "rejected"), ("serving", "unproven"), (None, "serving"), ("serving", "serving"), (None, None)]


@pytest.mark.parametrize(("given_up", "serves"), SWAPPED)
def test_bake_captures_the_successor_that_was_launched_last(
    three: Three, given_up: str | None, serves: str | None
) -> None:
    write(three.given_up, given_up)
    write(three.serves, serves)
    ended = three.pair.bake("3")
    assert not ended.failed
    assert ended.result["source_instance_id"] == three.serves.instance_id
    assert any(three.given_up.instance_id in text and "launched last" in text for text in ended.warnings)


@pytest.mark.parametrize(("given_up", "serves"), SWAPPED)
@pytest.mark.parametrize("image", ["earlier", "later"])
def test_relaunch_ends_no_successor_that_may_serve(
    three: Three, image: str, given_up: str | None, serves: str | None
) -> None:
    write(three.given_up, given_up)
    write(three.serves, serves)
    if image == "later":
        ended = three.pair.relaunch(three.later_image)
        assert not ended.failed
        assert "TerminateInstances" not in ended.actions
        assert ended.result["instance_id"] == three.serves.instance_id
        assert three.states == ("running", "running")
        return
    planned = three.pair.relaunch(check=True).result["plan"]
    ends = {item["resource"] for item in planned if item["action"] == "TerminateInstances"}
    # The task asks for the earlier version in place of the one that serves.
    assert ends <= {three.serves.instance_id}
    assert [item["action"] for item in planned][:1] in ([], ["RunInstances"])


@pytest.mark.parametrize(("given_up", "serves"), SWAPPED)
def test_policy_under_any_tags_backs_up_both_instances(three: Three, given_up: str | None, serves: str | None) -> None:
    write(three.given_up, given_up)
    write(three.serves, serves)
    select = {"instance_ids": [three.pair.old.instance_id]}
    ended = run(three.pair.sandbox, module=snapshot_rotate, policy="daily", select=select, keep={"last": 3})
    assert not ended.failed
    taken = {item["VolumeId"] for item in snapshots(three.pair.sandbox).values() if "daily" in item["Description"]}
    assert {root(three.given_up), root(three.serves)} <= taken
    assert any(three.given_up.instance_id in text and three.serves.instance_id in text for text in ended.warnings)


def test_honest_tags_lead_to_the_same_one_without_a_dispute(three: Three) -> None:
    ended = three.pair.bake("3")
    assert ended.result["source_instance_id"] == three.serves.instance_id
    assert not any("several living successors" in text for text in ended.warnings)


def test_successor_launched_from_a_later_image_is_no_loser(sandbox: Sandbox) -> None:
    """The first one was given up, the predecessor was stopped for the next version, and that one serves."""
    pair = launched_only(sandbox, "stop")
    tag(pair.new, {TRIAL: "rejected"})
    pair.old.ec2.stop_instances(InstanceIds=[pair.old.instance_id])
    sandbox.move_clock(30)
    # `succession` calls the given-up one retired then, so the honest run names the predecessor itself.
    later = pair.bake("2", follow_successor=False).result["image_id"]
    untag(pair.new, "ec2ops:replaces")
    ended = pair.relaunch(later, follow_successor=False)
    assert not ended.failed
    serves = Machine(sandbox, ended.result["instance_id"], "")
    untag(pair.new, TRIAL)
    tag(pair.new, {"ec2ops:replaces": pair.old.instance_id})
    tag(serves, {TRIAL: "rejected"})
    sandbox.move_clock(600)
    for image_id in (pair.image_id, later):
        plan = pair.relaunch(image_id, check=True).result["plan"]
        assert not [item for item in plan if item["action"] == "TerminateInstances"]


@pytest.mark.parametrize("word", [None, "serving"])
def test_successors_of_one_moment_refuse_their_own_start_alone(sandbox: Sandbox, word: str | None) -> None:
    """No fact shows which instance serves: `restored` names both, and starts all other instances."""
    pair = launched_only(sandbox, "stop")
    tag(pair.new, {TRIAL: "rejected"})
    ended = pair.relaunch(pair.bake("2").result["image_id"], on_failure="keep")
    pair.copied_hold()
    write(pair.new, word)
    other = machine(sandbox, "db")
    run(sandbox, module=instance_power, instance_ids=[other.instance_id], state="stopped", remember=True)
    sandbox.move_clock(2 * 3600)
    restored = pair.restore()
    assert not restored.failed
    assert other.state == "running"
    assert pair.old.state == "stopped"
    names = (pair.old.instance_id, pair.new.instance_id, ended.result["instance_id"])
    assert any(all(name in text for name in names) for text in restored.warnings), restored.warnings


@pytest.mark.parametrize("held", [False, True], ids=["ran", "held"])
def test_successor_in_place_of_a_stopped_predecessor_yields_to_no_tag(sandbox: Sandbox, held: bool) -> None:
    """The launch came after the stop of the predecessor, so only a tag says that the successor has not served."""
    pair = launched_only(sandbox, "stop")
    tag(pair.new, {TRIAL: "rejected"})
    if held:
        run(sandbox, module=instance_power, instance_ids=[pair.old.instance_id], state="stopped", remember=True)
    later = pair.bake("2").result["image_id"]
    ended = pair.relaunch(later, on_failure="keep")
    assert not ended.failed
    serves = Machine(sandbox, ended.result["instance_id"], "")
    tag(pair.new, {TRIAL: "serving"})
    tag(serves, {TRIAL: "unproven"})
    sandbox.move_clock(600)
    again = pair.relaunch(later)
    assert not again.failed
    assert "TerminateInstances" not in again.actions
    assert (pair.new.state, serves.state) == ("running", "running")


# --- the facts --------------------------------------------------------------------------------------------------------

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def successor(number: int, minutes: float | None, started: float | None = None, image: str = "ami-1") -> Instance:
    moment = None if minutes is None else NOON + minutes * MINUTE
    devices = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeId": f"vol-{number}", "AttachTime": moment}}]
    launch = moment if started is None else NOON + started * MINUTE
    return Instance(
        f"i-0000000000000000{number}", image_id=image, launch_time=launch, facts={"BlockDeviceMappings": devices}
    )


@pytest.mark.parametrize(
    ("successors", "image_minutes", "last"),
    [
        pytest.param([successor(1, 0)], None, None, id="one"),
        pytest.param([successor(1, 0), successor(2, 6)], None, 2, id="later than a race"),
        pytest.param([successor(2, 6), successor(1, 0)], None, 2, id="order does not matter"),
        pytest.param([successor(1, 0), successor(2, 5)], None, None, id="may have raced"),
        pytest.param([successor(1, 0), successor(2, 3, image="ami-2")], 1, 2, id="image is later than the first"),
        pytest.param([successor(1, 0), successor(2, 3, image="ami-2")], -1, None, id="image is earlier than the first"),
        pytest.param(
            [successor(1, 0), successor(2, 60), successor(3, 62)], None, None, id="the last two may have raced"
        ),
        pytest.param([successor(1, 0, started=90), successor(2, 60)], None, None, id="the first was started since"),
        pytest.param([successor(1, None), successor(2, 60)], None, None, id="a launch at an unknown time"),
    ],
)
def test_last_launch_shows_who_serves(
    successors: list[Instance], image_minutes: float | None, last: int | None
) -> None:
    made = {} if image_minutes is None else {"ami-2": NOON + image_minutes * MINUTE}
    found = launched_last(successors, made)
    assert (None if found is None else int(found.instance_id[-1])) == last


@pytest.mark.parametrize(
    ("state", "stopped", "retired"),
    [
        ("stopped", 0, True),
        ("stopped", 5, True),
        ("stopped", 11, False),
        ("stopped", -1, False),
        ("stopped", None, False),
        ("running", 5, False),
        ("terminated", 5, False),
    ],
)
def test_stop_after_the_launch_shows_who_retired_the_predecessor(
    state: str, stopped: float | None, retired: bool
) -> None:
    facts: Any = {} if stopped is None else stopped_at(NOON + stopped * MINUTE)
    old = Instance("i-00000000000000009", state, facts=dict(facts))
    assert has_retired(successor(1, 0), old, NOON + 10 * MINUTE) is retired
