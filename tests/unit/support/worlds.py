# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two worlds that the engine's cases run in: EC2 in memory, and the sandbox through the real gateway."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from ansible_collections.ec2ops.storage.plugins.module_utils._aws import decoding
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.gateway import Ec2Gateway
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.ports import Gateway
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.places import Place
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import boto3_tags

from fake_ec2 import FakeEc2, Fault
from sandbox.client import Sandbox

SPEED = 20.0
START = "2026-11-24T01:00:00+00:00"
"""The sandbox time at which rotation tests begin."""
"""Sandbox seconds per real second."""


class World(Protocol):
    """The needs of a case besides the gateway: resources to start from, faults, and a look at all resources."""

    gateway: Gateway

    def instance(self, volumes: int = 1, tags: Mapping[str, str] | None = None) -> Instance: ...

    def fault(self, action: str, **rule: Any) -> None: ...

    def hide_new(self, seconds: float) -> None: ...

    def see_at_once(self) -> None:
        """Let no read be late: for cases that count the questions."""

    def pass_time(self, seconds: float) -> None: ...

    def lasting(self, what: str, seconds: float) -> AbstractContextManager[None]:
        """Inside, new changes take so long: "snapshot", "terminate", a volume's "create", "delete", "optimize"."""

    def existing(self, kind: str) -> list[Any]:
        """All resources of the kind, also those that reads do not show yet."""

    def count(self, action: str) -> int:
        """How often the action was called."""


class FakeWorld:
    def __init__(self) -> None:
        self.ec2 = FakeEc2()
        self.gateway: Gateway = self.ec2

    def instance(self, volumes: int = 1, tags: Mapping[str, str] | None = None) -> Instance:
        return self.ec2.add_instance(volumes, tags)

    def fault(self, action: str, **rule: Any) -> None:
        self.ec2.faults.append(Fault(action, **{"occurrence": 1, **rule}))

    def hide_new(self, seconds: float) -> None:
        self.ec2.visibility_delay = seconds

    def see_at_once(self) -> None:
        self.ec2.visibility_delay = 0.0

    def pass_time(self, seconds: float) -> None:
        self.ec2.sleep(seconds)

    @contextmanager
    def lasting(self, what: str, seconds: float) -> Iterator[None]:
        usual = self.ec2.durations[what]
        self.ec2.durations[what] = seconds
        try:
            yield
        finally:
            self.ec2.durations[what] = usual

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
        self.gateway: Gateway = self._connected()
        sandbox.reset_log()
        self._ec2 = sandbox.client()
        self._scenery: set[str] = set()

    def _connected(self) -> Gateway:
        """A gateway that has had an answer, as each has before it changes anything: before, it has little patience."""
        gateway = sandbox_gateway(self.sandbox)
        gateway.now()
        return gateway

    def instance(self, volumes: int = 1, tags: Mapping[str, str] | None = None) -> Instance:
        made = sandbox_instance(self.sandbox, volumes, tags)
        devices = made.block_devices
        found = self._ec2.describe_volumes(VolumeIds=[device.volume_id for device in devices])["Volumes"]
        self._scenery |= {made.image_id, *(volume["SnapshotId"] for volume in found)}
        self.sandbox.reset_log()
        return made

    def fault(self, action: str, **rule: Any) -> None:
        self.sandbox.add_fault(action, **{"occurrence": 1, **rule})

    def hide_new(self, seconds: float) -> None:
        self.sandbox.configure(visibility_delay={"snapshot": seconds, "image": seconds})

    def see_at_once(self) -> None:
        self.sandbox.configure(read_lag=0)

    def pass_time(self, seconds: float) -> None:
        self.sandbox.move_clock(seconds)
        # A gateway counts EC2's time from the first answer that it got.
        self.gateway = self._connected()

    @contextmanager
    def lasting(self, what: str, seconds: float) -> Iterator[None]:
        name = {
            "snapshot": "snapshot_pending",
            "terminate": "instance_shutting_down",
            "create": "volume_creating",
            "delete": "volume_deleting",
            "optimize": "volume_optimizing",
        }[what]
        usual = self.sandbox.configure()["durations"][name]
        self.sandbox.configure(durations={name: seconds})
        try:
            yield
        finally:
            self.sandbox.configure(durations={name: usual})

    def existing(self, kind: str) -> list[Any]:
        self.sandbox.configure(visibility_delay={"snapshot": 0, "image": 0})
        if kind == "volume":
            return [decoding.decode_volume(item) for item in self._ec2.describe_volumes()["Volumes"]]
        if kind == "snapshot":
            answer = self._ec2.describe_snapshots(OwnerIds=["self"])
            made = [decoding.decode_snapshot(item) for item in answer["Snapshots"]]
            return [one for one in made if one.snapshot_id not in self._scenery]
        if kind == "image":
            images = [decoding.decode_image(item) for item in self._ec2.describe_images(Owners=["self"])["Images"]]
            return [one for one in images if one.image_id not in self._scenery]
        answer = self._ec2.describe_instances()
        return [decoding.decode_instance(item) for group in answer["Reservations"] for item in group["Instances"]]

    def count(self, action: str) -> int:
        return self.sandbox.counts().get(action, 0)


def new_day(sandbox: Sandbox, options: Mapping[str, Any] | None = None, **durations: float) -> Sandbox:
    """Return the sandbox empty, without faults, with these durations (sandbox seconds), early on the next day."""
    sandbox.reset()
    sandbox.clear_faults()
    sandbox.refuse()
    sandbox.reset_log()
    sandbox.configure(durations=durations, **({} if options is None else {"options": dict(options)}))
    sandbox.move_clock((25 - sandbox.now().hour) * 3600)
    return sandbox


def sandbox_instance(sandbox: Sandbox, volumes: int = 1, tags: Mapping[str, str] | None = None) -> Instance:
    """A running instance of an image of its own, made with EC2's calls while nothing takes time."""
    ec2 = sandbox.client()
    usual = sandbox.configure()["durations"]
    sandbox.configure(
        durations=dict.fromkeys((name for name in usual if name not in ("instance_gone", "write_tick")), 0.0)
    )
    volume = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    devices = []
    for letter in "afghijk"[:volumes]:
        snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        devices.append({"DeviceName": f"/dev/sd{letter}", "Ebs": {"SnapshotId": snapshot, "DeleteOnTermination": True}})
    image = ec2.register_image(
        Name=f"base {volume}",
        Architecture="x86_64",
        VirtualizationType="hvm",
        EnaSupport=True,
        RootDeviceName="/dev/sda",
        BlockDeviceMappings=devices,
    )["ImageId"]
    specification = [{"ResourceType": "instance", "Tags": boto3_tags(tags)}] if tags else []
    launched = ec2.run_instances(
        ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1, TagSpecifications=specification
    )["Instances"][0]["InstanceId"]
    # A read settles the changes that are due, which are all of them without durations.
    found = ec2.describe_instances(InstanceIds=[launched])["Reservations"][0]["Instances"][0]
    sandbox.configure(durations=usual)
    made = decoding.decode_instance(found)
    if made.state != "running":
        raise RuntimeError(f"{launched} is {made.state}")
    return made


def sandbox_gateway(
    sandbox: Sandbox, region: str = "us-east-1", *, account: str | None = None, **options: Any
) -> Ec2Gateway:
    """The real gateway on the sandbox, in the sandbox's time. A profile is an account's twelve digits.

    As all the world's, its reads are late; see the sandbox's ``read_lag``.
    """
    scaled = SandboxTime(sandbox.clock()["speed"])

    def connect(service: str, place: str) -> Any:
        where, profile = Place.parse(place).region, Place.parse(place).profile
        return sandbox.client(service, where, account=profile or account, late=True)

    return Ec2Gateway(
        connect,
        region,
        monotonic=scaled.monotonic,
        sleep=scaled.sleep,
        **options,
    )
