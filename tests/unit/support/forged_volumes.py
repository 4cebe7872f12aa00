# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes and snapshots on the sandbox, and their tags to alter."""

from __future__ import annotations

from typing import Any

import pytest

from in_process import REGION, ZONE, Ended, Killed, KillingGateway, Machine, machine, run
from sandbox.client import Sandbox
from worlds import sandbox_gateway

DATA = "/dev/sdf"


def tag(sandbox: Sandbox, resource_id: str, **tags: str) -> None:
    """Write tags of the collection on a resource, as anybody who may call CreateTags can."""
    written = [{"Key": f"ec2ops:{key.replace('_', '-')}", "Value": value} for key, value in tags.items()]
    sandbox.client("ec2", REGION).create_tags(Resources=[resource_id], Tags=written)


def strangers_volume(sandbox: Sandbox, snapshot_id: str | None = None, size: int = 20) -> str:
    """A detached volume that no run made, with a write of its own."""
    ec2 = sandbox.client("ec2", REGION)
    source: dict[str, Any] = {"Size": size} if snapshot_id is None else {"SnapshotId": snapshot_id}
    made = ec2.create_volume(AvailabilityZone=ZONE, VolumeType="gp3", **source)["VolumeId"]
    ec2.get_waiter("volume_available").wait(VolumeIds=[made], WaiterConfig={"Delay": 0.05})
    sandbox.add_mark(made, "the stranger's")
    return str(made)


def taken(sandbox: Sandbox, volume_id: str) -> str:
    """A completed snapshot that no run took."""
    ec2 = sandbox.client("ec2", REGION)
    made = ec2.create_snapshot(VolumeId=volume_id, Description="nightly")["SnapshotId"]
    ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[made], WaiterConfig={"Delay": 0.05})
    return str(made)


def web_with_data(sandbox: Sandbox) -> tuple[Machine, str]:
    """A machine, and the data volume that a run has made and attached to it."""
    web = machine(sandbox)
    ended = declared(sandbox, web, size=20)
    assert ended.failed == ""
    volume_id = web.attached()[DATA]
    sandbox.add_mark(volume_id, "the real one's")
    return web, volume_id


def declared(sandbox: Sandbox, web: Machine, /, *, options: dict[str, Any] | None = None, **entry: Any) -> Ended:
    """One run of the declaration of `web`: the volume *data* at its device."""
    place = {"device_name": DATA} if entry.get("state", "present") == "present" else {}
    given = {"instance_ids": [web.instance_id], "volumes": [{"name": "data", **place, **entry}], **(options or {})}
    return run(sandbox, **given)


SWAP: dict[str, Any] = {"replace": "snapshot", "in_use": "stop"}


def detach(web: Machine, volume_id: str) -> None:
    web.ec2.stop_instances(InstanceIds=[web.instance_id])
    web.ec2.get_waiter("instance_stopped").wait(InstanceIds=[web.instance_id], WaiterConfig={"Delay": 0.05})
    web.ec2.detach_volume(VolumeId=volume_id)
    web.ec2.get_waiter("volume_available").wait(VolumeIds=[volume_id], WaiterConfig={"Delay": 0.05})


def attach(web: Machine, volume_id: str, device: str = DATA) -> None:
    web.ec2.attach_volume(VolumeId=volume_id, InstanceId=web.instance_id, Device=device)
    web.ec2.get_waiter("volume_in_use").wait(VolumeIds=[volume_id], WaiterConfig={"Delay": 0.05})


def made_from_gone_snapshot(sandbox: Sandbox) -> str:
    """A detached volume of a stranger's whose snapshot EC2 does not show any more."""
    source = taken(sandbox, strangers_volume(sandbox))
    made = strangers_volume(sandbox, source)
    sandbox.client("ec2", REGION).delete_snapshot(SnapshotId=source)
    return made


def killed_after(sandbox: Sandbox, nth: int, **given: Any) -> None:
    with pytest.raises(Killed):
        run(sandbox, gateway=KillingGateway(sandbox_gateway(sandbox, REGION), nth), **given)


def swapped(web: Machine, **given: Any) -> dict[str, Any]:
    entry = {"name": "data", "device_name": DATA, "encrypted": True}
    return {"instance_ids": [web.instance_id], "volumes": [entry], "replace": "snapshot", **given}


def take_off(web: Machine, volume_id: str) -> None:
    web.ec2.detach_volume(VolumeId=volume_id)
    web.ec2.get_waiter("volume_available").wait(VolumeIds=[volume_id], WaiterConfig={"Delay": 0.05})


def untag(sandbox: Sandbox, resource_id: str, *keys: str) -> None:
    tags = [{"Key": f"ec2ops:{key}"} for key in keys]
    sandbox.client("ec2", REGION).delete_tags(Resources=[resource_id], Tags=tags)
