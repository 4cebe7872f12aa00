# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Small worlds of two regions in memory, for the copies of `snapshot_rotate`."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.planner import FEATURE
from ansible_collections.ec2ops.storage.plugins.module_utils._features.rotation.spec import parse
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.places import Place
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan, guard
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Resource, Snapshot
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Drafts, State, resource_key
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.times import format_instant

from asking import answered
from fake_ec2 import FakeEc2
from rotation_world import NOW, REGION, V1

ELSEWHERE = "eu-west-1"
World = dict[str, Resource]


def world_of(*resources: Resource) -> World:
    return {resource_key(one): one for one in resources}


def copy_of(original: Snapshot, state: str = "completed", **fields: Any) -> Snapshot:
    """A copy in the other region as the policy makes it."""
    start = original.start_time
    assert start is not None
    tags = {
        "ec2ops:policy": "p",
        "ec2ops:source": original.volume_id,
        **{key: original.tags[key] for key in ("ec2ops:period", "ec2ops:set", "ec2ops:parts") if key in original.tags},
        "ec2ops:taken": format_instant(start),
        "ec2ops:copy-of": f"{REGION}/{original.snapshot_id}",
        **fields.pop("tags", {}),
    }
    name = original.snapshot_id.replace("snap-0", "snap-c")
    instance = tags.get("ec2ops:set", "").partition("/")[0]
    named = f"{original.volume_id} on {instance}" if instance else original.volume_id
    region, _slash, copied = tags["ec2ops:copy-of"].rpartition("/")
    return Snapshot(
        **{
            "snapshot_id": name,
            "state": state,
            "volume_id": "vol-ffffffff",
            "start_time": start + timedelta(hours=1),
            "place": Place(ELSEWHERE),
            "description": f"{tags['ec2ops:policy']}: {named}, {copied}, from {region}, taken {tags['ec2ops:taken']}",
            "tags": tags,
            **fields,
        }
    )


def planned(world: World, **given: Any) -> Plan:
    """The plan, of all that the queries find. No guard has an objection.

    What earlier rounds have computed changes nothing in it.
    """
    options = {"policy": "p", "select": {"volume_ids": [V1]}, "keep": {"last": 1}, **given}
    spec, ec2 = parse(options, REGION), FakeEc2(*world.values())
    state, _queries = answered(FEATURE, spec, ec2.answer, State(REGION, now=NOW), NOW)
    plan = FEATURE.plan(spec, state, NOW)
    assert FEATURE.plan(spec, dataclasses.replace(state, drafts=Drafts()), NOW).published() == plan.published()
    return guard(plan)


def copies_in(plan: Plan) -> list[str]:
    """The originals, in the plan's order."""
    return [change.parameters["SourceSnapshotId"] for change in plan.changes if change.action == "CopySnapshot"]


def place(**more: Any) -> list[dict[str, Any]]:
    return [{"region": ELSEWHERE, "keep": {"last": 2}, "wait": False, **more}]
