# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who answers at an address: nobody while an instance stops or boots, while a target is new, and during a root task."""

from __future__ import annotations

from typing import Any

import pytest
from domain import LONG, make_instant

from sandbox.client import Sandbox, SandboxError
from sandbox.engine import World

REGION = "us-east-1"


def ids(sandbox: Sandbox, address: str) -> list[str]:
    return [one["instance_id"] for one in sandbox.answering(address, REGION)]


def test_address_leads_to_its_instance_while_it_runs(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    names = sandbox.seed({"instances": [{"name": "web", "elastic_ip": True, "data_volumes": 1}, {"name": "other"}]})
    address, web, other = names["web/allocation"], names["web"], names["other"]
    (row,) = sandbox.answering(address, REGION)
    assert row == {"instance_id": web, "volume_ids": [names["web/root"], names["web/data1"]]}
    ec2 = sandbox.client()
    ec2.associate_address(AllocationId=address, InstanceId=other, AllowReassociation=True)
    assert (ids(sandbox, address), ids(sandbox, web)) == ([other], [web])
    world.config.update({"durations": {"instance_stopping": LONG, "instance_pending": LONG}})
    ec2.stop_instances(InstanceIds=[other])
    assert ids(sandbox, address) == []
    world.clock.move(LONG + 1)
    ec2.start_instances(InstanceIds=[other])
    assert ids(sandbox, address) == []
    world.clock.move(LONG + 1)
    assert ids(sandbox, address) == [other]
    with pytest.raises(SandboxError):
        sandbox.answering("eipalloc-00000000000000009", REGION)


def test_nobody_answers_while_a_root_volume_is_exchanged(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    names = sandbox.seed({"image": {"name": "next"}, "instance": {"name": "web"}})
    world.config.update({"durations": {"root_task_pending": LONG, "root_task_replacing": LONG}})
    sandbox.client().create_replace_root_volume_task(InstanceId=names["web"], ImageId=names["next"])
    seen = []
    for _part in range(3):
        seen.append(ids(sandbox, names["web"]))
        world.clock.move(LONG + 1)
    assert seen == [[names["web"]], [], [names["web"]]]


def test_group_leads_to_healthy_targets_only(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    names = sandbox.seed({"instances": [{"name": "web"}, {"name": "other"}]})
    world.config.update({"durations": {"target_initial": LONG, "target_draining": LONG}})
    (row,) = sandbox.client().describe_instances(InstanceIds=[names["web"]])["Reservations"][0]["Instances"]
    elb = sandbox.client("elbv2")
    made = elb.create_target_group(Name="web", Protocol="HTTP", Port=80, VpcId=row["VpcId"], TargetType="instance")
    arn = made["TargetGroups"][0]["TargetGroupArn"]
    balancer = elb.create_load_balancer(Name="web", Subnets=[row["SubnetId"]])["LoadBalancers"][0]["LoadBalancerArn"]
    action: dict[str, Any] = {"Type": "forward", "TargetGroupArn": arn}
    elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=[action])
    elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": names["web"]}, {"Id": names["other"]}])
    assert ids(sandbox, arn) == []
    world.clock.move(LONG + 1)
    assert ids(sandbox, arn) == [names["web"], names["other"]]
    elb.deregister_targets(TargetGroupArn=arn, Targets=[{"Id": names["web"]}])
    assert ids(sandbox, arn) == [names["other"]]
