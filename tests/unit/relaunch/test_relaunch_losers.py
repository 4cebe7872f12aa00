# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A successor that lost a race, and that its own run did not terminate: a later run terminates it, or names it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change
from ansible_collections.ec2ops.storage.plugins.modules import instance_power

from in_process import REGION, Killed, run
from rival_runs import Meanwhile, Race
from sandbox.client import Sandbox
from worlds import sandbox_gateway

TIMEOUT = 60.0


class DiesAfterItsLaunch:
    """The gateway of a run that something overtakes right before its launch, and that is killed right after it."""

    def __init__(self, sandbox: Sandbox, happening: Callable[[], Any]) -> None:
        self._gateway = sandbox_gateway(sandbox, REGION)
        self._happening = happening
        self._dead = False

    def __getattr__(self, name: str) -> Any:
        if self._dead:
            raise Killed
        return getattr(self._gateway, name)

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Any:
        perform = self.__getattr__("perform")
        if changes[0].action != "RunInstances":
            return perform(changes, generation)
        self._happening()
        perform(changes, generation)
        self._dead = True
        raise Killed


@pytest.fixture
def race(sandbox: Sandbox) -> Race:
    sandbox.configure(options={"unhealthy_launches": False})
    return Race(sandbox)


def lose(race: Race) -> str:
    """The first image serves; the run of the second one was killed right after its launch. The loser's id."""
    with pytest.raises(Killed):
        race.relaunch(race.two, DiesAfterItsLaunch(race.sandbox, lambda: race.relaunch(race.one)))
    race.sandbox.move_clock(2)
    (loser,) = [name for name, (image, _state, _word) in race.living().items() if image == race.two]
    return loser


@pytest.mark.parametrize("image", ["one", "two"])
def test_loser_whose_run_was_killed_is_ended_once_no_run_can_be_at_work_on_it(race: Race, image: str) -> None:
    loser = lose(race)
    race.sandbox.move_clock(TIMEOUT + 360)
    ended = race.relaunch(getattr(race, image))
    assert not ended.failed
    assert ("TerminateInstances", loser) in [(item["action"], item["resource"]) for item in ended.result["plan"]]
    assert loser not in race.living()
    assert [item[1] for item in race.living().values()].count("running") == 1
    assert race.relaunch(getattr(race, image)).actions == []


def test_loser_of_a_moment_ago_is_named(race: Race) -> None:
    loser = lose(race)
    ended = race.relaunch(race.one)
    assert ended.actions == []
    assert any(loser in warning and f"Terminate {loser}" in warning for warning in ended.warnings)


def test_protected_loser_is_ended(race: Race) -> None:
    loser = lose(race)
    race.web.ec2.modify_instance_attribute(InstanceId=loser, DisableApiTermination={"Value": True})
    race.sandbox.move_clock(TIMEOUT + 360)
    assert race.relaunch(race.one).actions == ["ModifyInstanceAttribute", "TerminateInstances"]


def test_failed_termination_is_not_reported_as_done_and_is_repeated(race: Race) -> None:
    def other_run() -> None:
        race.relaunch(race.one)
        race.sandbox.refuse("TerminateInstances")

    lost = race.relaunch(race.two, Meanwhile(race.sandbox, other_run, action="RunInstances"))
    race.sandbox.refuse()
    assert re.search(r"the task rejects i-\w+, since another run launched", lost.failed)
    assert "is terminated" not in lost.failed
    assert any("The rollback failed too" in warning for warning in lost.warnings)
    assert race.relaunch(race.one).actions == ["TerminateInstances"]


def test_unproven_loser_is_kept(race: Race) -> None:
    """The loser's tags say that it was launched to replace the same instance. Its ClientToken does not prove that."""
    serving = race.relaunch(race.one).result["instance_id"]
    ec2 = race.web.ec2
    forged = ec2.run_instances(ImageId=race.two, InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"][0]
    words = {"ec2ops:replaces": race.web.instance_id, "ec2ops:trial": "rejected"}
    tags = [{"Key": key, "Value": value} for key, value in words.items()]
    ec2.create_tags(Resources=[forged["InstanceId"]], Tags=tags)
    race.sandbox.move_clock(TIMEOUT + 360)
    ended = race.relaunch(race.one)
    assert ended.actions == []
    assert {serving, forged["InstanceId"]} <= set(race.living())


def test_loser_is_left_while_the_successor_does_not_run(race: Race) -> None:
    loser = lose(race)
    serving = race.relaunch(race.one).result["instance_id"]
    race.web.ec2.stop_instances(InstanceIds=[serving])
    race.sandbox.move_clock(TIMEOUT + 360)
    assert race.relaunch(race.one).actions == []
    assert loser in race.living()


def test_timeout_with_a_failed_rollback_claims_no_rollback(sandbox: Sandbox) -> None:
    race = Race(sandbox, held=True)
    sandbox.configure(options={"unhealthy_launches": True})
    sandbox.add_fault("StartInstances", kind="end", code="Client.InternalError", message="Client error", occurrence=1)
    ended = race.relaunch(race.one)
    assert any("The rollback failed too" in warning for warning in ended.warnings)
    assert "The task rolled it back" not in ended.failed
    assert "The rollback is unfinished." in ended.failed
    run(sandbox, module=instance_power, instance_ids=[race.web.instance_id], state="restored", older_than="0s")
    assert race.web.state == "running"
