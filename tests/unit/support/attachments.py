# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Load balancers and addresses that an instance on the sandbox is attached to."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, instance_relaunch

from in_process import Ended, Machine, machine, run
from sandbox.client import Sandbox


@pytest.fixture
def web(sandbox: Sandbox) -> Machine:
    sandbox.configure(options={"unhealthy_launches": False})
    return machine(sandbox)


@pytest.fixture
def image_id(sandbox: Sandbox, web: Machine) -> str:
    given = {"name": "web", "version": "1", "source_instance_id": web.instance_id}
    return str(run(sandbox, module=ami_bake, require_stopped=False, **given).result["image_id"])


def relaunch(sandbox: Sandbox, web: Machine, image_id: str, **more: Any) -> Ended:
    given = {"instance_id": web.instance_id, "image_id": image_id, "health": {"timeout": 60}}
    return run(sandbox, module=instance_relaunch, **{**given, **more})


def row(web: Machine) -> dict[str, Any]:
    found = web.ec2.describe_instances(InstanceIds=[web.instance_id])["Reservations"][0]["Instances"][0]
    return dict(found)


def target_group(sandbox: Sandbox, web: Machine, name: str, kind: str, target: str, vpc: str = "") -> None:
    elbv2 = sandbox.client("elbv2", "us-east-1")
    vpc = vpc or row(web)["VpcId"]
    made = elbv2.create_target_group(Name=name, Protocol="HTTP", Port=80, VpcId=vpc, TargetType=kind)
    elbv2.register_targets(TargetGroupArn=made["TargetGroups"][0]["TargetGroupArn"], Targets=[{"Id": target}])


def by_instance(sandbox: Sandbox, web: Machine) -> None:
    target_group(sandbox, web, "shop", "instance", web.instance_id)


def by_address(sandbox: Sandbox, web: Machine) -> None:
    target_group(sandbox, web, "shop", "ip", row(web)["PrivateIpAddress"])


def classic(sandbox: Sandbox, web: Machine) -> None:
    elb = sandbox.client("elb", "us-east-1")
    listener = {"Protocol": "http", "LoadBalancerPort": 80, "InstancePort": 80}
    elb.create_load_balancer(LoadBalancerName="shop", Listeners=[listener], AvailabilityZones=["us-east-1a"])
    elb.register_instances_with_load_balancer(LoadBalancerName="shop", Instances=[{"InstanceId": web.instance_id}])
