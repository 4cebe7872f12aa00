# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts that get DeleteOnTermination while a relaunch waits, right before EC2 would delete them with an instance."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import CLASSIC_LOAD_BALANCERS
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Volume, VolumeAttachment
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.service_facts import INTERFACE, Interface

from fake_ec2 import FakeEc2
from relaunch_ec2 import DATA, OLD, ROOT, ZONE, relaunch, service
from relaunch_world import plain, plan, spec

LATE, LATE_INTERFACE = "vol-00000000000000009", "eni-00000000000000009"
KEEP = dict.fromkeys(("data_volumes", "network_interfaces", "elastic_ip", "target_groups"), "keep")


class Meddling:
    """The gateway of a run beside which somebody changes EC2, right before the first call that *when* selects."""

    def __init__(self, ec2: FakeEc2, when: Callable[[Change], bool], deed: Callable[[FakeEc2, Change], None]) -> None:
        self._ec2, self._when, self._deed = ec2, when, deed
        self.done = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ec2, name)

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        chosen = [change for change in changes if self._when(change)]
        if chosen and not self.done:
            self.done = True
            self._deed(self._ec2, chosen[0])
        return self._ec2.perform(changes, generation)


def marks(change: Change) -> bool:
    """Whether the call marks the successor as serving, after the wait for its health."""
    return change.action == "CreateTags" and "serving" in str(change.parameters)


def attach(instance_id: str, *, doomed: bool = True) -> Callable[[FakeEc2, Change], None]:
    def deed(ec2: FakeEc2, _change: Change) -> None:
        link = VolumeAttachment(instance_id, "/dev/sdk", delete_on_termination=doomed)
        ec2.put(Volume(LATE, "in-use", size=9, availability_zone=ZONE, attachments=(link,)))

    return deed


def add_interface(ec2: FakeEc2, _change: Change) -> None:
    found = Interface(LATE_INTERFACE, ZONE, "interface", False, ("10.0.0.9",), OLD, "eni-attach-9", 2, "attached", True)
    ec2.put(INTERFACE.fact(LATE_INTERFACE, found))


def flag(volume_id: str, *, doomed: bool) -> Callable[[FakeEc2, Change | None], None]:
    def deed(ec2: FakeEc2, _change: Change | None) -> None:
        volume = ec2.resources[volume_id]
        links = tuple(dataclasses.replace(link, delete_on_termination=doomed) for link in volume.attachments)
        ec2.put(dataclasses.replace(volume, attachments=links))

    return deed


def alive(ec2: FakeEc2, instance_id: str) -> bool:
    return bool(ec2.resources[instance_id].alive)


@pytest.mark.parametrize(
    ("deed", "named"),
    [
        (attach(OLD), f"{LATE} (/dev/sdk)"),
        (add_interface, f"network interface {LATE_INTERFACE}"),
    ],
    ids=["volume", "interface"],
)
def test_part_attached_during_the_wait_is_not_deleted_with_the_predecessor(deed: Any, named: str) -> None:
    ec2 = service()
    ended = relaunch(ec2, Meddling(ec2, marks, deed), old_instance="terminate")
    assert f"old_instance: the task does not terminate {OLD}, since EC2 would also delete {named}." in ended.failed
    assert f"{OLD} stays stopped. The successor serves. Detach these parts or set" in ended.failed
    assert alive(ec2, OLD)
    (new,) = (one for one in ec2.existing("instance") if one.alive and one.instance_id != OLD)
    assert new.state == "running"
    assert new.tags["ec2ops:trial"] == "serving"
    assert [link.instance_id for link in ec2.resources[DATA].attachments] == [new.instance_id]
    # The next run refuses too, and old_instance: stop finishes.
    assert "would also delete" in relaunch(ec2, old_instance="terminate").failed
    assert relaunch(ec2).failed == ""
    assert relaunch(ec2).actions == []
    assert alive(ec2, OLD)


def kept_service() -> FakeEc2:
    """The service without its second interface, with a root volume and a data volume that EC2 keeps."""
    ec2 = service()
    for name in (ROOT, DATA):
        flag(name, doomed=False)(ec2, None)
    ec2.put(CLASSIC_LOAD_BALANCERS.fact(()))
    shown = next(one for one in ec2.interfaces() if one.device_index == 1)
    ec2.put(INTERFACE.fact(shown.interface_id, dataclasses.replace(shown, delete_on_termination=False)))
    return ec2


@pytest.mark.parametrize("name", [ROOT, DATA], ids=["root", "data"])
def test_flag_switched_on_during_the_wait_keeps_the_volume(name: str) -> None:
    ec2 = kept_service()
    gateway = Meddling(ec2, marks, flag(name, doomed=True))
    ended = relaunch(ec2, gateway, **KEEP, old_instance="terminate")
    assert gateway.done
    assert f"does not terminate {OLD}, since EC2 would also delete {name} " in ended.failed
    assert alive(ec2, OLD)
    assert name in ec2.resources


def test_volume_that_ec2_keeps_hinders_no_termination() -> None:
    ec2 = service()
    ended = relaunch(ec2, Meddling(ec2, marks, attach(OLD, doomed=False)), old_instance="terminate")
    assert ended.failed == ""
    assert not alive(ec2, OLD)
    assert ec2.resources[LATE].state == "available"


def test_predecessor_outlives_a_successor_that_ends_before_the_retirement() -> None:
    ec2 = service()

    def deregisters(change: Change) -> bool:
        return change.action == "DeregisterTargets" or change.action.startswith("DeregisterInstances")

    stopped: list[str] = []

    def deed(ec2: FakeEc2, _change: Change) -> None:
        (new,) = (one for one in ec2.existing("instance") if one.alive and one.instance_id != OLD)
        stopped.append(new.instance_id)
        ec2.put(dataclasses.replace(new, state="stopped"))

    ended = relaunch(ec2, Meddling(ec2, deregisters, deed), old_instance="terminate")
    assert f"does not terminate {OLD}, since {stopped[0]} is stopped. {OLD} stays stopped." in ended.failed
    assert alive(ec2, OLD)


def test_stop_needs_no_look() -> None:
    ec2 = service()
    assert relaunch(ec2, Meddling(ec2, marks, attach(OLD))).failed == ""
    assert LATE in ec2.resources
    stops = [one for one in plan(spec(), plain()).changes if one.action == "StopInstances"]
    assert [one.provided for one in stops] == [None]


class Inspected(Meddling):
    """Somebody attaches a volume to the successor a while after its launch, and then its start fails."""

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        if any(change.action == "RunInstances" for change in changes):
            made = self._ec2.perform(changes, generation)
            self._ec2.sleep(120)
            (instance_id,) = made.values()
            self._deed(self._ec2, dataclasses.replace(changes[0], resource=instance_id))
            self.done = True
            return made
        return self._ec2.perform(changes, generation)


@pytest.mark.parametrize("doomed", [True, False])
def test_volume_attached_to_a_rejected_successor_is_not_deleted_with_it(doomed: bool) -> None:
    ec2 = service()

    def deed(ec2: FakeEc2, launch: Change) -> None:
        attach(launch.resource, doomed=doomed)(ec2, launch)
        ec2._attach_times[LATE, launch.resource] = ec2.now()

    ec2.durations["status"] = 10**6
    ended = relaunch(ec2, Inspected(ec2, lambda _change: False, deed), **KEEP)
    (new,) = (one for one in ec2.existing("instance") if one.instance_id != OLD)
    assert ended.failed
    assert LATE in ec2.resources
    assert new.alive is doomed
    assert (f"does not terminate {new.instance_id}, since EC2 would also delete {LATE}" in str(ended)) is doomed
    assert ec2.resources[OLD].state == "running"
