# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two worlds that the engine's cases run in: EC2 in memory, and the sandbox through the real gateway."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws import codec
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.gateway import Ec2Gateway
from ansible_collections.ec2ops.storage.plugins.module_utils._core.resources import Instance
from ansible_collections.ec2ops.storage.plugins.module_utils._ports import Gateway
from fake_ec2 import FakeEc2, Fault
from sandbox.client import Sandbox

SPEED = 20.0
"""Sandbox seconds per real second."""
DURATIONS = {"stop": 1.0, "start": 1.0, "terminate": 1.0, "snapshot": 2.0, "image": 1.0, "status": 2.0}


class World(Protocol):
    """What a case needs besides the gateway: things to start from, faults, and a look at all that there is."""

    gateway: Gateway

    def instance(self, volumes: int = 1, tags: Mapping[str, str] | None = None) -> Instance: ...

    def fault(self, action: str, **rule: Any) -> None: ...

    def hide_new(self, seconds: float) -> None: ...

    def pass_time(self, seconds: float) -> None: ...

    def existing(self, kind: str) -> list[Any]:
        """All resources of the kind, also those that reads do not show yet."""

    def count(self, action: str) -> int:
        """How often the action was called."""


class FakeWorld:
    def __init__(self) -> None:
        self.ec2 = FakeEc2()
        self.ec2.durations.update(DURATIONS)
        self.gateway: Gateway = self.ec2

    def instance(self, volumes: int = 1, tags: Mapping[str, str] | None = None) -> Instance:
        return self.ec2.add_instance(volumes, tags)

    def fault(self, action: str, **rule: Any) -> None:
        self.ec2.faults.append(Fault(action, **{"occurrence": 1, **rule}))

    def hide_new(self, seconds: float) -> None:
        self.ec2.visibility_delay = seconds

    def pass_time(self, seconds: float) -> None:
        self.ec2.sleep(seconds)

    def existing(self, kind: str) -> list[Any]:
        return self.ec2.existing(kind)

    def count(self, action: str) -> int:
        return self.ec2.calls.get(action, 0)


@dataclass
class SandboxTime:
    """Seconds of the sandbox's clock."""

    speed: float

    def monotonic(self) -> float:
        return time.monotonic() * self.speed

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds / self.speed)


class SandboxWorld:
    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.gateway: Gateway = sandbox_gateway(sandbox)
        self._ec2 = sandbox.client()

    def instance(self, volumes: int = 1, tags: Mapping[str, str] | None = None) -> Instance:
        names = [f"/dev/sd{letter}" for letter in "afghijk"[:volumes]]
        spec = {"tags": dict(tags or {}), "volumes": [{"device_name": name, "size": 8} for name in names]}
        made = self.sandbox.seed({"instances": [spec]})["instances"][0]
        instance_id = made if isinstance(made, str) else made["instance_id"]
        answer = self._ec2.describe_instances(InstanceIds=[instance_id])
        return codec.decode_instance(answer["Reservations"][0]["Instances"][0])

    def fault(self, action: str, **rule: Any) -> None:
        self.sandbox.add_fault(action, **{"occurrence": 1, **rule})

    def hide_new(self, seconds: float) -> None:
        self.sandbox.configure(visibility_delay={"snapshot": seconds, "image": seconds})

    def pass_time(self, seconds: float) -> None:
        self.sandbox.move_clock(seconds)

    def existing(self, kind: str) -> list[Any]:
        self.sandbox.configure(visibility_delay={"snapshot": 0, "image": 0})
        if kind == "snapshot":
            answer = self._ec2.describe_snapshots(OwnerIds=["self"])
            return [codec.decode_snapshot(item) for item in answer["Snapshots"]]
        if kind == "image":
            return [codec.decode_image(item) for item in self._ec2.describe_images(Owners=["self"])["Images"]]
        answer = self._ec2.describe_instances()
        return [codec.decode_instance(item) for group in answer["Reservations"] for item in group["Instances"]]

    def count(self, action: str) -> int:
        return self.sandbox.counts().get(action, 0)


def sandbox_gateway(sandbox: Sandbox, region: str = "us-east-1", **options: Any) -> Ec2Gateway:
    """The real gateway on the sandbox, in the sandbox's time."""
    scaled = SandboxTime(sandbox.clock()["speed"])
    return Ec2Gateway(
        lambda service, where: sandbox.client(service, where),
        region,
        monotonic=scaled.monotonic,
        sleep=scaled.sleep,
        **options,
    )


@pytest.fixture(scope="session")
def shared_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(speed=SPEED, seed=1) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(shared_sandbox: Sandbox) -> Sandbox:
    """The sandbox, empty, without faults, with the log reset."""
    shared_sandbox.clear_faults()
    shared_sandbox.reset()
    shared_sandbox.refuse()
    shared_sandbox.configure(visibility_delay={"snapshot": 0, "image": 0}, buckets=False, latency=0)
    shared_sandbox.reset_log()
    return shared_sandbox


@pytest.fixture(params=["fake", "sandbox"])
def world(request: pytest.FixtureRequest) -> World:
    """Either world; a case that takes this runs in both."""
    return FakeWorld() if request.param == "fake" else SandboxWorld(request.getfixturevalue("sandbox"))


@pytest.fixture
def fake() -> FakeWorld:
    """The world in memory alone, for what is about the engine and not about EC2."""
    return FakeWorld()


__all__ = ["FakeWorld", "SandboxWorld", "World", "sandbox_gateway"]
