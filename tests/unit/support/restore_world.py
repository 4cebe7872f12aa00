# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Targets and snapshots in memory for `snapshot_restore`, and the plans for them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore.spec import RestoreSpec, parse
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import IS_USABLE_ZONE
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan, guard
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Instance,
    Resource,
    Snapshot,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import State, resource_key

REGION, ZONE = "eu-central-1", "eu-central-1a"
NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
V1, V2 = "vol-00000000000000001", "vol-00000000000000002"
TARGET = "i-0000000000000000a"


def snapshot(number: int = 1, of: str = V1, *, age: timedelta = HOUR, **fields: Any) -> Snapshot:
    given = {"description": f"p: {of}", "volume_size": 8, "start_time": NOW - age, "volume_id": of, **fields}
    return Snapshot(f"snap-{number:017x}", **given)


def instance(instance_id: str = TARGET, *devices: BlockDevice, **fields: Any) -> Instance:
    given = {"availability_zone": ZONE, "instance_type": "t3.micro", "root_device_name": "/dev/xvda", **fields}
    return Instance(instance_id, block_devices=devices, **given)


def state_of(*resources: Resource) -> State:
    """The state of all resources; every query counts as answered."""
    known = [*resources, IS_USABLE_ZONE.fact(ZONE, True)]
    return State(REGION, {resource_key(resource): resource for resource in known}, now=NOW)


def spec_of(**given: Any) -> RestoreSpec:
    options = {"source_volume_ids": [V1], "wait_timeout": 1800, **given}
    if "source_instance_id" in given:
        options["source_volume_ids"] = []
    if not {"zone", "target_instance_id", "drill"} & given.keys():
        options["zone"] = ZONE
    return parse(options, REGION)


def planned(*resources: Resource, **given: Any) -> Plan:
    return guard(planner.plan(spec_of(**given), state_of(*resources), NOW))
