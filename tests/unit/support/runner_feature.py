# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A trivial feature, and its runs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._engine import runner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel import tags as tag_names
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import planned, require_id
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Feature, Plan, Stage, Wait
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.progress import SILENT, Progress
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Snapshot, view
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query, State, by_id

from worlds import World

DEFAULTS = {"wait": True, "wait_timeout": 60, "assume": [], "snapshot": False}


def parse(params: Mapping[str, Any], region: str) -> dict[str, Any]:
    return {**params, "instance_id": require_id("instance", params["instance_id"], "instance_id"), "region": region}


def needs(spec: dict[str, Any], state: State) -> tuple[Query, ...]:
    queries = by_id("DescribeInstances", "instance-id", [spec["instance_id"]])
    return queries if not spec["snapshot"] else (*queries, captures(spec))


def captures(spec: dict[str, Any]) -> Query:
    return Query("DescribeSnapshots", ((f"tag:{tag_names.IMAGE}", (spec["instance_id"],)),), (("OwnerIds", ("self",)),))


def plan(spec: dict[str, Any], state: State, now: datetime) -> Plan:
    state.require(*needs(spec, state))
    instance = state.instance(spec["instance_id"])
    if instance is None:
        raise SpecError(f"instance_id: {spec['instance_id']} does not exist")
    stages = []
    if instance.tags.get("touched") != "yes":
        change = Change(
            action="CreateTags",
            resource=instance.instance_id,
            region=state.region,
            parameters={"Tags": tag_names.boto3_tags({"touched": "yes"})},
            reason="the tag is missing",
            before={"tags": dict(instance.tags)},
            after={"tags": {**instance.tags, "touched": "yes"}},
        )
        stages.append(Stage((change,)))
    if spec["snapshot"] and not any(state.all(Snapshot)):
        tags = {tag_names.IMAGE: instance.instance_id}
        volume = instance.block_devices[0].volume_id if instance.block_devices else "vol-00000000"
        make = Change(
            action="CreateSnapshot",
            resource=planned("snapshot", "one"),
            region=state.region,
            parameters={"VolumeId": volume, "TagSpecifications": [tag_names.specification("snapshot", tags)]},
            reason="there is none",
            after={"volume_id": volume, "state": "completed", "tags": tags},
            identity=captures(spec),
            source=volume,
        )
        stages.append(Stage((make,), (Wait((make.resource,), "completed", final=True),)))
    return Plan(tuple(stages), warnings=("a warning",) if stages else ())


def result(spec: dict[str, Any], state: State) -> dict[str, Any]:
    instance = state.instance(spec["instance_id"])
    return {"instance": view(instance) if instance else None, "snapshots": [view(one) for one in state.all(Snapshot)]}


FEATURE = Feature(parse, plan, result)


@dataclasses.dataclass
class ShellInTest:
    params: Mapping[str, Any]
    check_mode: bool = False
    diff: bool = False
    warnings: list[str] = dataclasses.field(default_factory=list)
    result: dict[str, Any] = dataclasses.field(default_factory=dict)
    message: str | None = None
    progress: Progress = SILENT

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def exit(self, result: Mapping[str, Any]) -> None:
        self.result = json.loads(json.dumps(result))

    def fail(self, message: str, result: Mapping[str, Any]) -> None:
        self.message, self.result = message, json.loads(json.dumps(result))


def execute(
    world: World, *, check: bool = False, diff: bool = False, feature: Feature = FEATURE, **params: Any
) -> ShellInTest:
    shell = ShellInTest({**DEFAULTS, **params}, check, diff)
    runner.execute(feature, shell, world.gateway)
    return shell
