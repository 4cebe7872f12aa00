# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A region in memory for `storage_info`, and the reports about it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._features.inventory import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._features.inventory.spec import InventorySpec, parse
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import capture_description, copy_description
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.places import Place
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.report import Rows
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Image,
    ImageDevice,
    Instance,
    Resource,
    Snapshot,
    Volume,
    VolumeAttachment,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import State, resource_key
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import USERS
from ansible_collections.ec2ops.storage.plugins.modules import storage_info

REGION, OTHER, ACCOUNT = "us-east-1", "eu-west-1", "123456789012"
NOW = datetime(2026, 11, 30, 16, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
POLICY = "db-daily"


def vol(number: int) -> str:
    return f"vol-{number:017x}"


def snap(number: int) -> str:
    return f"snap-{number:017x}"


def inst(number: int) -> str:
    return f"i-{number:017x}"


def ami(number: int) -> str:
    return f"ami-{number:017x}"


def volume(number: int, *, on: int | None = None, age: timedelta = 60 * DAY, **fields: Any) -> Volume:
    links = () if on is None else (VolumeAttachment(inst(on), "/dev/sdf"),)
    given = {
        "state": "in-use" if links else "available",
        "size": 100,
        "iops": 3000,
        "throughput": 125,
        "encrypted": True,
        "create_time": NOW - age,
        "attachments": links,
        **fields,
    }
    return Volume(vol(number), **given)


def snapshot(
    number: int, of: int = 1, *, age: timedelta = HOUR, policy: str = "", copied_to: str = "", **fields: Any
) -> Snapshot:
    tags = {"ec2ops:policy": policy} if policy else {}
    tags |= {"ec2ops:copied-to": copied_to} if copied_to else {}
    given = {
        "volume_id": vol(of),
        "volume_size": 100,
        "start_time": NOW - age,
        "encrypted": True,
        "owner_id": ACCOUNT,
        "storage_tier": "standard",
        "description": capture_description(policy, vol(of)) if policy else "",
        **fields,
    }
    given["tags"] = {**tags, **fields.get("tags", {})}
    return Snapshot(snap(number), **given)


def copy_of(original: Snapshot, number: int, region: str = OTHER, *, place: bool = True) -> Snapshot:
    """The copy of a policy's snapshot in another region."""
    described = copy_description(POLICY, original.volume_id, "", original.snapshot_id, REGION, original.start_time)
    return Snapshot(
        snap(number),
        volume_id="vol-ffffffff",
        volume_size=original.volume_size,
        start_time=(original.start_time or NOW) + HOUR / 2,
        encrypted=True,
        owner_id=ACCOUNT,
        description=described,
        place=Place(region) if place else Place(),
        tags={"ec2ops:policy": POLICY, "ec2ops:copy-of": f"{REGION}/{original.snapshot_id}"},
    )


def instance(number: int, *volumes: int, stopped: timedelta | None = None, **fields: Any) -> Instance:
    devices = tuple(BlockDevice("/dev/sdf", vol(one)) for one in volumes)
    facts = dict(fields.pop("facts", {}))
    if stopped is not None:
        facts["StateTransitionReason"] = f"User initiated ({NOW - stopped:%Y-%m-%d %H:%M:%S} GMT)"
    given = {
        "state": "running" if stopped is None else "stopped",
        "launch_time": NOW - 200 * DAY,
        "image_id": ami(0),
        "root_device_name": "/dev/xvda",
        "owner_id": ACCOUNT,
        **fields,
    }
    return Instance(inst(number), block_devices=devices, facts=facts, **given)


def image(number: int, *snapshots: int, age: timedelta = 200 * DAY, facts: Any = None, **fields: Any) -> Image:
    devices = tuple(ImageDevice(f"/dev/sd{chr(97 + place)}", snap(one), 100) for place, one in enumerate(snapshots))
    created = (NOW - age).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return Image(
        ami(number),
        name=f"image-{number}",
        owner_id=ACCOUNT,
        block_devices=devices,
        creation_date=created,
        facts=facts or {},
        **fields,
    )


def state_of(*resources: Resource, users: bool = True, **fields: Any) -> State:
    """The state of all these resources.

    Every query counts as answered; *users*: images without other users have none.
    """
    known = {resource_key(one): one for one in resources}
    if users:
        for one in resources:
            if isinstance(one, Image):
                fact = USERS.fact(one.image_id, ())
                known.setdefault(fact.resource_id, fact)
    return State(REGION, known, now=NOW, **fields)


def spec_of(**given: Any) -> InventorySpec:
    defaults = {name: option.get("default") for name, option in storage_info.ARGUMENT_SPEC.items()}
    return parse({**defaults, **given}, given.pop("region", REGION))


def report(*resources: Resource, state: State | None = None, **given: Any) -> dict[str, Any]:
    """The whole report, with plain lists."""
    spec = spec_of(**given)
    known = state or state_of(*resources)
    assert planner.plan(spec, known, NOW).changes == ()
    return plain(planner.result(spec, known))


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, Rows) else value


def found(document: dict[str, Any]) -> set[tuple[str, str]]:
    """The findings, as (id, resource)."""
    return {(one["id"], one["resource"]) for one in document["findings"]}


def of(finding: str, *resources: Resource, **given: Any) -> list[str]:
    """The resources with this finding."""
    return sorted(one["resource"] for one in report(*resources, **given)["findings"] if one["id"] == finding)


def backed_up(numbers: Iterable[int]) -> list[Snapshot]:
    """One fresh snapshot of the policy for each of these volumes."""
    return [snapshot(0xB000 + number, number, policy=POLICY) for number in numbers]
