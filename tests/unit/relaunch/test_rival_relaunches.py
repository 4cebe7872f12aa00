# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two versions of one source in flight: one successor serves, and the run of the other one says so."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.rivals import unreplaced, unrivalled
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.succession import successor
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import State
from ansible_collections.ec2ops.storage.plugins.modules import instance_power

from in_process import Ended, Killed, run
from proven import launched
from rival_runs import REPLACES, TRIAL, Meanwhile, Race
from sandbox.client import Sandbox

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
OLD, NEW, OTHER = "i-00000000000000001", "i-00000000000000002", "i-00000000000000003"


@pytest.fixture(params=[False, True], ids=["serving", "held"])
def race(sandbox: Sandbox, request: pytest.FixtureRequest) -> Race:
    sandbox.configure(options={"unhealthy_launches": False})
    return Race(sandbox, held=request.param)


def test_replaced_since_the_plan_launches_nothing(race: Race) -> None:
    meanwhile = Meanwhile(race.sandbox, lambda: race.relaunch(race.two), look=1)
    lost = race.relaunch(race.one, meanwhile)
    assert "The task has launched nothing" in lost.failed
    assert lost.result["error"]["code"] == "Superseded"
    assert lost.result["rolled_back"] == []
    race.assert_serves(race.two)


@pytest.mark.parametrize("old_instance", ["stop", "terminate", "keep"])
def test_later_launch_is_terminated_and_reported(sandbox: Sandbox, old_instance: str) -> None:
    """The other run does all of its work after this run has looked for it and before this run launches."""
    race = Race(sandbox)
    first: list[Ended] = []
    more = {"old_instance": old_instance}
    meanwhile = Meanwhile(sandbox, lambda: first.append(race.relaunch(race.two, **more)), action="RunInstances")
    lost = race.relaunch(race.one, meanwhile, **more)
    assert not first[0].failed
    assert re.search(r"the task rejects i-\w+, since another run launched", lost.failed)
    assert first[0].result["instance_id"] in lost.failed
    assert [entry["action"] for entry in lost.result["rolled_back"]] == ["CreateTags", "TerminateInstances"]
    new = [(image, state) for name, (image, state, _trial) in race.living().items() if name != race.web.instance_id]
    assert new == [(race.two, "running")]
    if old_instance == "stop":
        race.assert_serves(race.two)


def test_later_launch_yields_to_an_unproven_one(race: Race) -> None:
    def launched_and_killed() -> None:
        class Dying(Meanwhile):
            def _happen(self) -> None:
                raise Killed

        with pytest.raises(Killed):
            race.relaunch(race.two, Dying(race.sandbox, lambda: None, look=2))
        race.sandbox.move_clock(2)

    lost = race.relaunch(race.one, Meanwhile(race.sandbox, launched_and_killed, action="RunInstances"))
    assert "the task rejects " in lost.failed
    assert not race.relaunch(race.two).failed
    race.assert_serves(race.two)


def test_run_beside_an_unproven_successor_launches_nothing(race: Race) -> None:
    lost: list[Ended] = []
    meanwhile = Meanwhile(race.sandbox, lambda: lost.append(race.relaunch(race.two)), look=2)
    assert not race.relaunch(race.one, meanwhile).failed
    assert "is unproven" in lost[0].failed
    race.assert_serves(race.one)


def test_protected_successor_that_came_second_is_terminated(sandbox: Sandbox) -> None:
    race = Race(sandbox)
    protected = {"DisableApiTermination": {"Value": True}}
    race.web.ec2.modify_instance_attribute(InstanceId=race.web.instance_id, **protected)
    meanwhile = Meanwhile(sandbox, lambda: race.relaunch(race.two), action="RunInstances")
    assert "the task rejects " in race.relaunch(race.one, meanwhile).failed
    race.assert_serves(race.two)


def test_successor_rejected_while_unproven_is_terminated(sandbox: Sandbox) -> None:
    """The predecessor was on hold, and restore_power has started it while the successor became healthy."""
    race = Race(sandbox, held=True)

    def restored() -> None:
        ended = run(sandbox, module=instance_power, instance_ids=[race.web.instance_id], state="restored", alone=False)
        assert not ended.failed

    ended = race.relaunch(race.one, Meanwhile(sandbox, restored, look=2))
    assert "has started" in ended.failed
    assert {name: state for name, (_image, state, _trial) in race.living().items()} == {race.web.instance_id: "running"}


# --- the order of two ------------------------------------------------------------------------------------------------


def successor_named(
    name: str, seconds: float, trial: str | None = "unproven", image: str = "ami-2", **fields: Any
) -> Instance:
    born = NOW + timedelta(seconds=seconds)
    facts = {"BlockDeviceMappings": [{"Ebs": {"AttachTime": born}}]}
    tags = {REPLACES: OLD, **({} if trial is None else {TRIAL: trial})}
    return launched(Instance(name, "running", image_id=image, facts=facts, tags=tags, **fields))


@pytest.mark.parametrize(
    ("rival", "yields"),
    [
        (successor_named(OTHER, -1), True),
        (successor_named(OTHER, 1), False),
        (successor_named(OTHER, 0), False),
        (successor_named("i-00000000000000000", 0), True),
        (successor_named(OTHER, 1, "serving"), True),
        (successor_named(OTHER, 1, None), True),
        (successor_named(OTHER, -1, "rejected"), False),
    ],
)
def test_first_launch_serves_and_both_runs_agree(rival: Instance, yields: bool) -> None:
    own = successor_named(NEW, 0)
    mine = unrivalled(OLD, frozenset()).objection([own, rival], NEW)
    assert bool(mine) is yields
    if rival.tags.get(TRIAL) == "unproven":
        theirs = unrivalled(OLD, frozenset()).objection([own, rival], rival.instance_id)
        assert bool(theirs) is not yields
    assert unrivalled(OLD, frozenset({rival.instance_id})).objection([own, rival], NEW) == ""


def test_same_launch_by_another_run_is_no_rival() -> None:
    launch = unreplaced(OLD, "ami-1", frozenset())
    assert launch.objection([successor_named(NEW, 0, image="ami-1")], "(new instance)") == ""
    assert "ami-2" in launch.objection([successor_named(NEW, 0)], "(new instance)")
    assert launch.objection([successor_named(NEW, 0, "rejected")], "(new instance)") == ""


def test_successor_of_a_gone_predecessor_yields_to_the_serving_one() -> None:
    serving, stray = successor_named(NEW, 0, "serving"), successor_named(OTHER, 1, "unproven")
    state = State("r", {item.instance_id: item for item in (serving, stray)})
    assert successor(state, OLD) is serving
