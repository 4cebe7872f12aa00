# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small worlds for `snapshot_rotate` in memory: volumes, snapshots, snapshot sets, and the plans for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.planner import FEATURE
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.spec import RotationSpec, parse
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Plan, guard
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prediction import bound, overlay
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Fact,
    Image,
    Instance,
    Resource,
    Snapshot,
    Volume,
    VolumeAttachment,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Drafts, State

from asking import answered
from fake_ec2 import FakeEc2

REGION = "us-east-1"
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TODAY = "2026-11-24T00:00+00:00"
DAY = timedelta(days=1)


def volume_id(number: int) -> str:
    return f"vol-{number:017x}"


def instance_id(number: int) -> str:
    return f"i-{number:017x}"


V1, V2, V3 = volume_id(1), volume_id(2), volume_id(3)
I1, I2 = instance_id(1), instance_id(2)


def volume(number: int = 1, instance: int | None = None, device: str = "/dev/sdf", **fields: Any) -> Volume:
    links = () if instance is None else (VolumeAttachment(instance_id(instance), device),)
    return Volume(
        volume_id(number),
        **{
            "state": "in-use" if links else "available",
            "size": 100,
            "iops": 3000,
            "throughput": 125,
            "availability_zone": "us-east-1a",
            "attachments": links,
            **fields,
        },
    )


def machine(number: int, root: int, *data: int, **fields: Any) -> list[Resource]:
    """An instance with a root volume and data volumes, as DescribeInstances and DescribeVolumes show it."""
    devices = {"/dev/xvda": root, **{f"/dev/sd{letter}": one for letter, one in zip("fghij", data, strict=False)}}
    links = tuple(BlockDevice(device, volume_id(one)) for device, one in devices.items())
    return [
        Instance(instance_id(number), root_device_name="/dev/xvda", block_devices=links, **fields),
        *(volume(one, number, device) for device, one in devices.items()),
    ]


_numbers = iter(range(1, 1_000_000))


def snapshot(
    age: timedelta | str = DAY, of: int | str = 1, *, period: str | None = "", policy: str | None = "p", **fields: Any
) -> Snapshot:
    """Return a snapshot that the policy made. Its slot is the day of its start, unless *period* names another one."""
    start = NOW - age if isinstance(age, timedelta) else datetime.fromisoformat(age).replace(tzinfo=UTC)
    tags = dict(fields.pop("tags", {}))
    if policy is not None:
        tags["ec2ops:policy"] = policy
        if period is not None:
            tags["ec2ops:period"] = period or f"{start:%Y-%m-%d}T00:00+00:00"
    fields.setdefault("snapshot_id", f"snap-{next(_numbers):017x}")
    source = of if isinstance(of, str) else volume_id(of)
    fields.setdefault("description", described(source, tags))
    return Snapshot(volume_id=source, start_time=start, tags=tags, **fields)


def described(volume: str, tags: Mapping[str, str]) -> str:
    """The description that the policy in the tags gives to a snapshot, or another tool to one without a policy."""
    if "ec2ops:policy" not in tags:
        return f"cron {tags.get('ec2ops:set', volume)}"
    return f"{tags['ec2ops:policy']}: {tags.get('ec2ops:set', volume).partition('/')[0]}"


def snapshot_set(
    age: timedelta, instance: int, *volumes: int, states: Sequence[str] = (), **given: Any
) -> list[Snapshot]:
    """The snapshots that one CreateSnapshots took, with the tags of each volume."""
    start = NOW - age
    marked = f"{instance_id(instance)}/{start:%Y-%m-%d}T00:00+00:00"
    tags = {"ec2ops:set": marked, **given.pop("tags", {})}
    return [
        snapshot(age, one, state=state, tags={**tags, "ec2ops:source": volume_id(one), "ec2ops:origin": "-"}, **given)
        for one, state in zip(volumes, states or ["completed"] * len(volumes), strict=True)
    ]


def days(count: int, of: int | str = 1, first: int = 1, **given: Any) -> list[Snapshot]:
    """One a day, the newest a day old unless said; the newest first."""
    return [snapshot(number * DAY, of, **given) for number in range(first, first + count)]


class Account(FakeEc2):
    """All resources of one region. The plans of `snapshot_rotate` know only its answers."""

    @classmethod
    def of(cls, *resources: Resource | Iterable[Resource]) -> Account:
        kinds = (Instance, Image, Snapshot, Volume, Fact)
        return cls(*(one for given in resources for one in ([given] if isinstance(given, kinds) else given)))


def parsed(**given: Any) -> RotationSpec:
    options = {"policy": "p", "select": {"volume_ids": [V1]}, "keep": {"last": 1}, **given}
    return parse(options, REGION)


def look(spec: RotationSpec, account: Account, now: datetime = NOW) -> State:
    """The runner's reads: it asks until no query is open."""
    state, _queries = answered(FEATURE, spec, account.answer, State(REGION), now)
    return state


def planned(account: Account, now: datetime = NOW, /, **given: Any) -> Plan:
    """The plan, checked as the runner does. What earlier rounds have computed changes nothing in it."""
    spec = parsed(**given)
    state = look(spec, account, now)
    plan = FEATURE.plan(spec, state, now)
    assert FEATURE.plan(spec, dataclasses.replace(state, drafts=Drafts()), now).published() == plan.published()
    return guard(plan)


def afterwards(account: Account, plan: Plan) -> Account:
    """The account after the plan, with the awaited snapshots completed."""
    state = overlay(State(REGION, account.resources), plan.published(), everywhere=True)
    names = {name: f"snap-{0xFFFF0000 + number:017x}" for number, name in enumerate(state.resources) if "(new" in name}
    state = bound(state, names)
    waited = {names.get(one, one) for stage in plan.stages for wait in stage.waits for one in wait.resources}
    resources = {
        key: dataclasses.replace(one, state="completed") if key in waited and isinstance(one, Snapshot) else one
        for key, one in state.resources.items()
    }
    return Account(*resources.values())


def actions(plan: Plan) -> list[str]:
    return [change.action for change in plan.changes]


def deleted(plan: Plan) -> set[str]:
    return {change.resource for change in plan.changes if change.action == "DeleteSnapshot"}


def created(plan: Plan) -> list[Change]:
    return [change for change in plan.changes if change.creates]


def request_tags(change: Change) -> dict[str, str]:
    (one,) = change.parameters["TagSpecifications"]
    return {tag["Key"]: tag["Value"] for tag in one["Tags"]}


def ids(snapshots: Iterable[Snapshot]) -> set[str]:
    return {one.snapshot_id for one in snapshots}


def decision(plan: Plan, one: Snapshot) -> dict[str, Any]:
    (entry,) = [entry for entry in plan.report.result["decisions"] if one.snapshot_id in entry["snapshot_ids"]]
    return dict(entry)


WHOLE = {"consistency": "instance", "select": {"instance_ids": [I1]}}
