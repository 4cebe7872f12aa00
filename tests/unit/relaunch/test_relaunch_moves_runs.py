# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relaunches on the sandbox that move data, address and load balancers: whole, killed, failed, and run again."""

from __future__ import annotations

import socket
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, instance_power, instance_relaunch

from in_process import REGION, Ended, Killed, KillingGateway, Machine, machine, run
from sandbox.client import Sandbox
from worlds import sandbox_gateway

ALL = {"data_volumes": "move", "elastic_ip": "move", "target_groups": "move"}


@dataclass
class Service:
    """A web server with a data volume, an Elastic IP, two target groups and a Classic Load Balancer."""

    sandbox: Sandbox
    web: Machine
    allocation: str
    data: str
    image_id: str
    groups: dict[str, str]

    def relaunch(self, **more: Any) -> Ended:
        given = {"instance_id": self.web.instance_id, "image_id": self.image_id, **ALL, **more}
        return run(self.sandbox, module=instance_relaunch, **{"health": {"timeout": 20}, **given})

    def kill(self, nth: int, **more: Any) -> None:
        with pytest.raises(Killed):
            self.relaunch(gateway=KillingGateway(sandbox_gateway(self.sandbox, REGION), nth), **more)

    def instances(self) -> dict[str, dict[str, Any]]:
        found = [item for group in self.web.ec2.describe_instances()["Reservations"] for item in group["Instances"]]
        return {one["InstanceId"]: one for one in found if one["State"]["Name"] not in ("shutting-down", "terminated")}

    @property
    def names(self) -> dict[str, str]:
        """Short names: old, new, and further successors by their ids."""
        found = self.instances()
        others = [name for name in found if name != self.web.instance_id]
        return {self.web.instance_id: "old", **{name: "new" for name in others}}

    def places(self) -> dict[str, Any]:
        """Where EC2 shows each part, and the state of each instance."""
        ec2, names = self.web.ec2, self.names
        (volume,) = ec2.describe_volumes(VolumeIds=[self.data])["Volumes"]
        (address,) = ec2.describe_addresses(AllocationIds=[self.allocation])["Addresses"]
        rows, targets = self.instances(), {}
        addresses = {row.get("PrivateIpAddress"): names[name] for name, row in rows.items()}
        for kind, arn in self.groups.items():
            answer = self.sandbox.client("elbv2").describe_target_health(TargetGroupArn=arn)
            targets[kind] = sorted(
                f"{names.get(one['Target']['Id']) or addresses.get(one['Target']['Id'])}:{one['Target']['Port']}"
                for one in answer["TargetHealthDescriptions"]
                if one["TargetHealth"]["State"] != "draining"
            )
        (classic,) = self.sandbox.client("elb").describe_load_balancers()["LoadBalancerDescriptions"]
        return {
            "data": [(names[one["InstanceId"]], one["Device"]) for one in volume["Attachments"]],
            "address": names.get(address.get("InstanceId", "")),
            "targets": targets,
            "classic": sorted(names.get(one["InstanceId"], "gone") for one in classic["Instances"]),
            "states": {names[name]: row["State"]["Name"] for name, row in rows.items()},
            "tags": {
                names[name]: sorted(tag["Key"] for tag in row.get("Tags", []) if tag["Key"].startswith("ec2ops:"))
                for name, row in rows.items()
            },
        }


BEFORE = {
    "data": [("old", "/dev/sdf")],
    "address": "old",
    "targets": {"instance": ["old:8080", "old:8443"], "ip": ["old:80"]},
    "classic": ["old"],
    "states": {"old": "running"},
    "tags": {"old": []},
}
MOVED = {
    "data": [("new", "/dev/sdf")],
    "address": "new",
    "targets": {"instance": ["new:8080", "new:8443"], "ip": ["new:80"]},
    "classic": ["new"],
    "states": {"old": "stopped", "new": "running"},
    "tags": {"old": [], "new": ["ec2ops:replaces", "ec2ops:trial"]},
}


@pytest.fixture
def service(sandbox: Sandbox) -> Service:
    sandbox.configure(options={"unhealthy_launches": False})
    web = machine(sandbox, data=1, elastic_ip=True)
    (row,) = [item for group in web.ec2.describe_instances()["Reservations"] for item in group["Instances"]]
    (address,) = web.ec2.describe_addresses()["Addresses"]
    data = next(one["Ebs"]["VolumeId"] for one in row["BlockDeviceMappings"] if one["DeviceName"] == "/dev/sdf")
    elb, classic = sandbox.client("elbv2"), sandbox.client("elb")
    balancer = elb.create_load_balancer(Name="web", Subnets=[row["SubnetId"]])["LoadBalancers"][0]["LoadBalancerArn"]
    groups = {}
    for kind, port in (("instance", 8080), ("ip", 80)):
        made = elb.create_target_group(Name=kind, Protocol="HTTP", Port=port, VpcId=row["VpcId"], TargetType=kind)
        groups[kind] = made["TargetGroups"][0]["TargetGroupArn"]
        action = {"Type": "forward", "TargetGroupArn": groups[kind]}
        elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=port, DefaultActions=[action])
    ports = [{"Id": web.instance_id, "Port": port} for port in (8080, 8443)]
    elb.register_targets(TargetGroupArn=groups["instance"], Targets=ports)
    elb.register_targets(TargetGroupArn=groups["ip"], Targets=[{"Id": row["PrivateIpAddress"]}])
    listener = {"Protocol": "HTTP", "LoadBalancerPort": 80, "InstancePort": 80}
    classic.create_load_balancer(LoadBalancerName="shop", Listeners=[listener], AvailabilityZones=["us-east-1a"])
    classic.register_instances_with_load_balancer(LoadBalancerName="shop", Instances=[{"InstanceId": web.instance_id}])
    baked = run(
        sandbox, module=ami_bake, name="web", version="1", source_instance_id=web.instance_id, require_stopped=False
    )
    return Service(sandbox, web, address["AllocationId"], data, baked.result["image_id"], groups)


def test_everything_moves_and_the_second_run_changes_nothing(service: Service) -> None:
    assert service.places() == BEFORE
    planned = service.relaunch(check=True)
    assert service.places() == BEFORE
    ended = service.relaunch()
    assert not ended.failed
    assert ended.actions == planned.actions
    assert service.places() == MOVED
    assert service.relaunch(check=True).actions == []
    assert service.relaunch().actions == []
