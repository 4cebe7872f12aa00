# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances, volumes and images in memory for `ami_bake`, and the plans for them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._features.image import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan, guard
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Image, Resource, Volume
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import State

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
REGION = "eu-central-1"
OLD, NEW, OTHER = "i-00000000000000001", "i-00000000000000002", "i-00000000000000003"
ROOT, DATA = "vol-00000000000000001", "vol-00000000000000002"
BASE, AMI, AMI2 = "ami-00000000000000001", "ami-00000000000000002", "ami-00000000000000003"
SNAP, SNAP2, SNAP3 = "snap-00000000000000001", "snap-00000000000000002", "snap-00000000000000003"
OWNER = "123456789012"
DEFAULTS: dict[str, Any] = {
    "name": "web",
    "version": "1",
    "image_name": "{name}-{version}",
    "state": "available",
    "method": "auto",
    "follow_successor": True,
    "require_stopped": True,
    "devices": "root",
    "force": False,
    "source_instance_id": OLD,
}


def spec(**options: Any) -> planner.ImageSpec:
    return planner.parse({**DEFAULTS, **options}, REGION)


BASE_IMAGE = Image(image_id=BASE, name="debian", owner_id="amazon", imds_support="v2.0", tpm_support="v2.0")
VOLUMES = (
    Volume(volume_id=ROOT, size=8, volume_type="gp3", iops=3000, throughput=125),
    Volume(volume_id=DATA, size=100, volume_type="io2", iops=2000),
)


def world(*resources: Resource, base: bool = True, region: str = REGION) -> State:
    known = (*VOLUMES, *((BASE_IMAGE,) if base else ()), *resources)
    return State(region, {resource.resource_id: resource for resource in known})


def plan(wanted: planner.ImageSpec, *resources: Resource, base: bool = True) -> Plan:
    return guard(planner.plan(wanted, world(*resources, base=base), NOW))


def tagged(wanted: planner.ImageSpec, source: str | None = None, **extra: str) -> dict[str, str]:
    return {**wanted.identity, "ec2ops:fingerprint": wanted.fingerprint(source or wanted.source), **extra}
