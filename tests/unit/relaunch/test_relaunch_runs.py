# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relaunches that are killed, refused or slow, and the runs after them: one instance serves, and EC2 shows which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, instance_power, instance_relaunch

from in_process import REGION, Ended, Killed, KillingGateway, Machine, machine, run
from sandbox.client import Sandbox
from worlds import sandbox_gateway

HOLD, TRIAL, REPLACES = "ec2ops:restore-state", "ec2ops:trial", "ec2ops:replaces"
HOURS = 3 * 3600.0


@dataclass
class Service:
    """A web server, baked as version 1, held stopped for its relaunch or not."""

    sandbox: Sandbox
    web: Machine
    image_id: str
    held: bool

    def relaunch(self, image_id: str | None = None, **more: Any) -> Ended:
        given = {"instance_id": self.web.instance_id, "image_id": image_id or self.image_id, **more}
        return run(self.sandbox, module=instance_relaunch, **{"health": {"timeout": 5}, **given})

    def bake(self, version: str = "2", **more: Any) -> Ended:
        given = {"name": "web", "version": version, "source_instance_id": self.web.instance_id, **more}
        return run(self.sandbox, module=ami_bake, **{"require_stopped": False, **given})

    def restore(self) -> Ended:
        """Run restore_power as its schedule does."""
        return run(self.sandbox, module=instance_power, state="restored")

    def kill(self, nth: int, **more: Any) -> None:
        """A relaunch whose process is gone after its *nth* changing call."""
        with pytest.raises(Killed):
            self.relaunch(gateway=KillingGateway(sandbox_gateway(self.sandbox, REGION), nth), **more)

    def instances(self) -> dict[str, tuple[str, dict[str, str]]]:
        """State and tags of all instances that are not terminated, by id."""
        found = self.web.ec2.describe_instances()["Reservations"]
        return {
            item["InstanceId"]: (item["State"]["Name"], {tag["Key"]: tag["Value"] for tag in item.get("Tags", [])})
            for group in found
            for item in group["Instances"]
            if item["State"]["Name"] not in ("shutting-down", "terminated")
        }

    @property
    def old(self) -> tuple[str, bool]:
        """The state of the predecessor, and whether it has a hold."""
        state, tags = self.instances()[self.web.instance_id]
        return state, HOLD in tags

    @property
    def new(self) -> dict[str, str | None]:
        """The records of all instances that were launched in its place, by id."""
        found = self.instances()
        return {name: tags.get(TRIAL) for name, (_state, tags) in found.items() if REPLACES in tags}


@pytest.fixture(params=[False, True], ids=["serving", "held"])
def service(sandbox: Sandbox, request: pytest.FixtureRequest) -> Service:
    sandbox.configure(options={"unhealthy_launches": False})
    web = machine(sandbox)
    if request.param:
        run(sandbox, module=instance_power, instance_ids=[web.instance_id], state="stopped", remember=True)
    baked = run(
        sandbox,
        module=ami_bake,
        name="web",
        version="1",
        source_instance_id=web.instance_id,
        require_stopped=request.param,
    )
    return Service(sandbox, web, baked.result["image_id"], request.param)


def unhealthy(service: Service, yes: bool = True) -> None:
    service.sandbox.configure(options={"unhealthy_launches": yes})


class _DyingGateway:
    """The gateway of a process that is killed right before it would call *action*."""

    def __init__(self, gateway: Any, action: str) -> None:
        self._gateway = gateway
        self._action = action

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Any:
        if changes[0].action == self._action:
            raise Killed
        return self._gateway.perform(changes, generation)


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_killed_after_each_call_the_next_run_carries_on(service: Service, nth: int) -> None:
    service.kill(nth)
    # The run carries on within a day of the launch.
    service.sandbox.move_clock(HOURS)
    ended = service.relaunch()
    assert not ended.failed
    assert service.old == ("stopped", False)
    assert list(service.new.values()) == ["serving"]
    assert service.relaunch().actions == []


def test_successor_unhealthy_for_hours_is_rolled_back(service: Service) -> None:
    unhealthy(service)
    service.kill(1)
    service.sandbox.move_clock(HOURS)
    assert "healthy" in service.relaunch().failed
    assert service.old == ("running", False)
    assert service.new == {}


def test_restored_starts_the_predecessor_of_an_unproven_successor(service: Service) -> None:
    service.kill(1)
    service.sandbox.move_clock(HOURS)
    ended = service.restore()
    assert service.old == ("running", False)
    if not service.held:
        assert ended.actions == []
        return
    assert ended.actions == ["StartInstances", "CreateTags", "DeleteTags"]
    assert list(service.new.values()) == ["rejected"]
    service.sandbox.move_clock(HOURS)
    check = service.relaunch(check=True)
    ended = service.relaunch()
    assert check.actions == ended.actions == ["TerminateInstances"]
    assert f"{service.web.instance_id} stays in service" in ended.failed
    assert check.failed == ended.failed
    assert service.old == ("running", False)
    assert service.new == {}


@pytest.mark.parametrize("how", ["refused", "killed"])
@pytest.mark.parametrize("restored", [False, True])
def test_interrupted_rollback_is_finished(service: Service, how: str, restored: bool) -> None:
    unhealthy(service)
    if how == "killed":
        with pytest.raises(Killed):
            service.relaunch(gateway=_DyingGateway(sandbox_gateway(service.sandbox, REGION), "TerminateInstances"))
    else:
        service.sandbox.refuse("TerminateInstances")
        assert "TerminateInstances" not in service.relaunch().failed
        service.sandbox.refuse()
    assert service.old[0] in ("pending", "running")
    assert len(service.new) == 1
    # The successor gets healthy after all, hours later.
    unhealthy(service, False)
    service.sandbox.move_clock(HOURS)
    if restored:
        service.restore()
    ended = service.relaunch()
    assert ended.actions[0] == "TerminateInstances"
    assert "did not become healthy" in ended.failed
    assert service.old == ("running", False)
    assert service.new == {}
    # The next run is another attempt, and names the instance that it leaves.
    ended = service.relaunch()
    assert not ended.failed
    assert any("lacks the writes of" in warning for warning in ended.warnings)


@pytest.mark.parametrize("healthy", [True, False])
def test_next_version_with_an_unclear_serving_instance_is_refused(service: Service, healthy: bool) -> None:
    unhealthy(service, not healthy)
    service.kill(1)
    refused = service.bake()
    (new,) = service.new
    for words in ("a replacement is unfinished", service.web.instance_id, new, "is unproven"):
        assert words in refused.failed
    assert service.relaunch(image_id=service.bake("3", follow_successor=False).result["image_id"]).failed
    assert list(service.new.values()) == ["unproven"]
    first = service.relaunch()
    assert bool(first.failed) is not healthy
    source = service.bake().result["source_instance_id"]
    assert source == (new if healthy else service.web.instance_id)


def test_next_version_replaces_a_rejected_one(service: Service) -> None:
    if service.held:
        service.kill(1)
        service.sandbox.move_clock(HOURS)
        service.restore()
    else:
        unhealthy(service)
        service.sandbox.refuse("TerminateInstances")
        service.relaunch()
        service.sandbox.refuse()
        unhealthy(service, False)
    (rejected,) = service.new
    baked = service.bake()
    assert baked.result["source_instance_id"] == service.web.instance_id
    ended = service.relaunch(baked.result["image_id"])
    assert not ended.failed
    assert ended.actions[:2] == ["TerminateInstances", "RunInstances"]
    assert service.old == ("stopped", False)
    assert list(service.new.values()) == ["serving"]
    assert rejected not in service.new


def test_serving_successor_without_a_retirement_is_no_source(service: Service) -> None:
    service.kill(2)
    assert list(service.new.values()) == ["serving"]
    assert "the predecessor is not retired" in service.bake().failed
    assert not service.relaunch().failed
    assert service.bake().result["source_instance_id"] == next(iter(service.new))
