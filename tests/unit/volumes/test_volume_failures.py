# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declarations of several instances of which one step fails: the others are applied, and the next runs do the rest."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import IS_USABLE_ZONE
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    Instance,
    Resource,
    Volume,
    VolumeAttachment,
)

from fake_ec2 import FakeEc2
from healing import Flow, assert_heals
from in_process import ZONE
from stepping import BROKEN, REFUSED
from volume_plans import assert_no_write_is_lost, declared
from volume_world import (
    DATA,
    DB,
    ENCRYPT,
    FAR,
    M5,
    ROOT_DEVICE,
    STOP,
    WEB,
    Entry,
    instance,
    root_of,
    snapshot,
    vol,
    volume,
)

HOLD = "ec2ops:restore-state"
ALL = (WEB, DB, FAR)


def world(*there: Resource) -> FakeEc2:
    """Three instances with their root volumes, and the resources in *there*. A cooldown is short."""
    ec2 = FakeEc2(M5, IS_USABLE_ZONE.fact(ZONE, True), *there)
    for name in ALL:
        if name not in ec2.resources:
            ec2.put(instance(name))
        link = VolumeAttachment(name, ROOT_DEVICE, delete_on_termination=True)
        ec2.put(volume(root_of(name), attachments=(link,)))
    ec2.write()
    ec2.go_on()
    return ec2


def shape(ec2: FakeEc2) -> list[Any]:
    """Volumes and snapshots without the ids of new ones, and the instances."""
    ours = {vol(number) for number in range(1, 10)}

    def name(volume_id: str) -> str:
        return volume_id if volume_id in ours else "new"

    volumes = [
        (
            name(one.volume_id),
            one.state,
            one.size,
            one.encrypted,
            sorted((key, value) for key, value in one.tags.items() if not key.startswith("ec2ops:repl")),
            [(link.instance_id, link.device_name, link.state) for link in one.attachments],
        )
        for one in ec2.existing("volume")
    ]
    snapshots = [(name(one.volume_id), one.state, sorted(one.tags)) for one in ec2.existing("snapshot")]
    instances = [(one.instance_id, one.state, HOLD in one.tags) for one in ec2.existing("instance")]
    return [sorted(volumes, key=str), sorted(snapshots), instances]


def flow(*there: Resource, volumes: list[Entry], **given: Any) -> Flow:
    def protected(ec2: FakeEc2) -> None:
        """No write is lost, and no instance is off without a hold."""
        assert_no_write_is_lost(ec2, [one.volume_id for one in there if isinstance(one, Volume)])
        off = [one for one in ec2.existing("instance") if one.state not in ("running", "pending")]
        stopped = {one.instance_id for one in there if isinstance(one, Instance) and one.state == "stopped"}
        assert [one for one in off if HOLD not in one.tags and one.instance_id not in stopped] == []

    wanted = declared(*volumes, **{"instance_ids": [WEB, DB], **given})
    return Flow(planner.FEATURE, wanted, lambda: world(*there), shape, protected)


def on(name: str, number: int, device: str = "/dev/sdf", **fields: Any) -> Volume:
    return volume(number, name, device, name="data", group=name, **fields)


EACH = (on(WEB, 1), on(DB, 2))
FLOWS = {
    "made and attached": flow(volumes=[DATA, {"name": "log", "size": 5}]),
    "made from one snapshot": flow(
        snapshot(1, 9, description="", tags={}),
        volumes=[{"name": "data", "snapshot_id": "snap-00000000000000001"}],
        instance_ids=[*ALL],
    ),
    "grown": flow(*EACH, volumes=[{"name": "data", "size": 20}]),
    "grown beside a pending instance": flow(
        instance(DB, "pending"), on(WEB, 1), volumes=[{"name": "data", "size": 20}]
    ),
    "moved to another device": flow(*EACH, volumes=[{**DATA, "device_name": "/dev/sdk"}], **STOP),
    "detached": flow(*EACH, volumes=[{"name": "data", "state": "detached"}], **STOP),
    "swapped": flow(*EACH, volumes=[{**DATA, **ENCRYPT}], replace="snapshot", **STOP),
    "swapped, and the old one deleted": flow(
        *EACH, volumes=[{**DATA, **ENCRYPT}], replace="snapshot", delete_replaced=True, **STOP
    ),
    "absent": flow(*EACH, volumes=[{"name": "data", "state": "absent"}], **STOP),
    "purged": flow(*EACH, volume(3, WEB, "/dev/sdg"), volumes=[DATA], purge_volumes=True, **STOP),
}


@pytest.mark.parametrize("name", FLOWS)
def test_failed_step_leaves_out_its_dependents_and_the_next_runs_heal(name: str) -> None:
    assert_heals(FLOWS[name])


@pytest.mark.parametrize("kind", [REFUSED, BROKEN])
def test_volumes_of_one_snapshot_are_made_although_one_fails(kind: str) -> None:
    case = FLOWS["made from one snapshot"]
    step = next(
        one
        for one, how in case.failures()
        if one.change and one.change.action == "CreateVolume" and DB in one.change.resource and how == kind
    )
    ec2, outcome = case.failed_run(step, kind)
    holders = {link.instance_id for one in ec2.existing("volume") if one.snapshot_id for link in one.attachments}
    assert holders == {WEB, FAR}
    assert [change.action for change in outcome.not_tried] == ["AttachVolume"]


def test_failed_swap_does_not_keep_the_snapshot_of_another_one() -> None:
    case = FLOWS["swapped"]
    step = next(
        one
        for one, how in case.failures()
        if one.change and one.change.action == "CreateSnapshot" and one.change.source == vol(1) and how == REFUSED
    )
    ec2, _outcome = case.failed_run(step, REFUSED)
    ec2.settle()
    assert ec2.existing("snapshot") == []
    swapped = [one for one in ec2.existing("volume") if one.encrypted and one.tags["ec2ops:volume"] == "data"]
    assert {link.instance_id for one in swapped for link in one.attachments} == {DB}
