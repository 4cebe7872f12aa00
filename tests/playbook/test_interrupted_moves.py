# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relaunches with moves and new root volumes, killed with all their processes: the next run leaves the same world.

`tests/unit/relaunch/test_relaunch_killed.py` kills at every call.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from playbook.interrupting import OWN_WRITE, PROC, Point, await_released, begun, hold_at
from playbook.seeds import DATA_DEVICE, ROOT_DEVICE, Web, at_once
from playbook.support import PLAYS, REGION, changing_calls, run_playbook
from sandbox.client import Sandbox, living

PLAY = PLAYS / "relaunch.yml"
QUICK = {
    "instance_stopping": 0.15,
    "instance_pending": 0.15,
    "instance_shutting_down": 0.15,
    "status_ok": 0.1,
    "volume_attaching": 0.1,
    "target_initial": 0.1,
    "target_draining": 0.1,
}
pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.skipif(not (PROC / "self" / "stat").exists(), reason="the processes of a run are found in /proc"),
]


@dataclass
class Shop:
    """An instance with a data volume, a second interface, two Elastic IPs, and targets by id and by address."""

    sandbox: Sandbox
    web: Web
    image_id: str
    extra: str
    groups: dict[str, str]

    def variables(self, **more: str) -> dict[str, Any]:
        given = {"instance_id": self.web.instance_id, "image_id": self.image_id, "health_timeout": 30, **more}
        return {f"relaunch_{name}": value for name, value in given.items()}

    def world(self) -> dict[str, Any]:
        """Where EC2 shows each part, and each volume, interface and target, with short names for the instances."""
        ec2, elb = self.sandbox.client("ec2", REGION), self.sandbox.client("elbv2", REGION)
        rows = living(ec2)
        names = {name: "old" if name == self.web.instance_id else "new" for name in rows}
        interfaces = ec2.describe_network_interfaces()["NetworkInterfaces"]
        for one in interfaces:
            link = one.get("Attachment") or {}
            word = "extra" if one["NetworkInterfaceId"] == self.extra else names.get(link.get("InstanceId", ""), "gone")
            names[one["NetworkInterfaceId"]] = names[one["PrivateIpAddress"]] = word
        names |= {self.web.data_volume_id: "data", "none": "none"}
        return {
            "states": {names[name]: row["State"]["Name"] for name, row in rows.items()},
            "tags": {
                names[name]: sorted(tag["Key"] for tag in row["Tags"] if tag["Key"].startswith("ec2ops:"))
                for name, row in rows.items()
            },
            "volumes": sorted(
                (
                    names.get(link["InstanceId"], "gone"),
                    link["Device"],
                    names.get(one["VolumeId"], "root"),
                    one["State"],
                )
                for one in ec2.describe_volumes()["Volumes"]
                for link in one["Attachments"] or [{"InstanceId": "none", "Device": ""}]
            ),
            "interfaces": sorted(
                (names[one["NetworkInterfaceId"]], names.get((one.get("Attachment") or {}).get("InstanceId", "")))
                for one in interfaces
            ),
            "addresses": sorted(
                (names.get(one.get("NetworkInterfaceId", ""), "none"), names.get(one.get("InstanceId", ""), "none"))
                for one in ec2.describe_addresses()["Addresses"]
            ),
            "targets": {
                kind: sorted(
                    names.get(one["Target"]["Id"], "gone")
                    for one in elb.describe_target_health(TargetGroupArn=arn)["TargetHealthDescriptions"]
                    if one["TargetHealth"]["State"] != "draining"
                )
                for kind, arn in self.groups.items()
            },
        }


@pytest.fixture
def shop(sandbox: Sandbox, web: Web) -> Shop:
    sandbox.configure(durations=QUICK)
    ec2, elb = sandbox.client("ec2", REGION), sandbox.client("elbv2", REGION)
    sandbox.add_mark(web.data_volume_id, OWN_WRITE)
    (row,) = ec2.describe_instances(InstanceIds=[web.instance_id])["Reservations"][0]["Instances"]
    with at_once(sandbox):
        image_id = ec2.create_image(InstanceId=web.instance_id, Name="another", NoReboot=True)["ImageId"]
        ec2.modify_instance_attribute(InstanceId=web.instance_id, SourceDestCheck={"Value": False})
    made = ec2.create_network_interface(SubnetId=row["SubnetId"])["NetworkInterface"]
    extra = made["NetworkInterfaceId"]
    first = row["NetworkInterfaces"][0]["NetworkInterfaceId"]
    ec2.attach_network_interface(NetworkInterfaceId=extra, InstanceId=web.instance_id, DeviceIndex=1)
    for interface in (first, extra):
        allocation = ec2.allocate_address(Domain="vpc")["AllocationId"]
        ec2.associate_address(AllocationId=allocation, NetworkInterfaceId=interface)
    groups = {}
    for kind, ids in (("instance", [web.instance_id]), ("ip", [row["PrivateIpAddress"], made["PrivateIpAddress"]])):
        group = elb.create_target_group(Name=kind, Protocol="HTTP", Port=80, VpcId=row["VpcId"], TargetType=kind)
        groups[kind] = group["TargetGroups"][0]["TargetGroupArn"]
        elb.register_targets(TargetGroupArn=groups[kind], Targets=[{"Id": one} for one in ids])
    sandbox.reset_log()
    return Shop(sandbox, web, image_id, extra, groups)


MOVED = {
    "states": {"old": "stopped", "new": "running"},
    "tags": {"old": [], "new": ["ec2ops:replaces", "ec2ops:trial"]},
    "volumes": [
        ("new", DATA_DEVICE, "data", "in-use"),
        ("new", ROOT_DEVICE, "root", "in-use"),
        ("old", ROOT_DEVICE, "root", "in-use"),
    ],
    "interfaces": [("extra", "new"), ("new", "new"), ("old", "old")],
    "addresses": [("extra", "new"), ("new", "new")],
    "targets": {"instance": ["new"], "ip": ["extra", "new"]},
}
REPLACED = {
    "states": {"old": "running"},
    "tags": {"old": ["ec2ops:launch-image"]},
    "volumes": [
        ("none", "", "root", "available"),
        ("old", DATA_DEVICE, "data", "in-use"),
        ("old", ROOT_DEVICE, "root", "in-use"),
    ],
    "interfaces": [("extra", "old"), ("old", "old")],
    "addresses": [("extra", "old"), ("old", "old")],
    "targets": {"instance": ["old"], "ip": ["extra", "old"]},
}


@pytest.mark.parametrize(
    ("strategy", "point", "after"),
    [
        ("auto", Point("DetachNetworkInterface", "after"), MOVED),
        ("auto", Point("AttachVolume", "after"), MOVED),
        ("auto", Point("AssociateAddress", "after"), MOVED),
        ("replace_root_volume", Point("CreateReplaceRootVolumeTask", "after"), REPLACED),
    ],
    ids=lambda value: str(value) if isinstance(value, Point) else None,
)
def test_killed_run_is_finished_by_the_next(
    shop: Shop, tmp_path: Path, strategy: str, point: Point, after: dict[str, Any]
) -> None:
    given = shop.variables(strategy=strategy)
    fault = hold_at(shop.sandbox, point)
    with begun(shop.sandbox, PLAY, given, tmp_path / "first") as first:
        first.await_held(fault)
        first.kill_all()
        await_released(shop.sandbox)
    shop.sandbox.remove_fault(fault)
    run = run_playbook(shop.sandbox, PLAY, given)
    assert run.status == 0, run.output
    assert shop.world() == after
    held = [mark["text"] for mark in shop.sandbox.marks(shop.web.data_volume_id)["marks"]]
    assert OWN_WRITE in held
    shop.sandbox.reset_log()
    again = run_playbook(shop.sandbox, PLAY, given)
    assert (again.status, again.changed, changing_calls(shop.sandbox.log())) == (0, [], []), again.output
