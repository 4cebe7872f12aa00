# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Elastic IP addresses that change hands, and targets that need time to become healthy and to drain."""

from __future__ import annotations

from typing import Any

from domain import make_instant, refused

from sandbox.client import Sandbox
from sandbox.engine import World


def pair(world: World, sandbox: Sandbox) -> tuple[Any, dict[str, str]]:
    """Two running instances. The first has an Elastic IP."""
    make_instant(world)
    names = sandbox.seed({"instances": [{"name": "web", "elastic_ip": True}, {"name": "other"}]})
    return sandbox.client(), names


def row(ec2: Any, instance_id: str) -> dict[str, Any]:
    (group,) = ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
    return dict(group["Instances"][0])


def test_address_changes_hands_in_one_call(world: World, sandbox: Sandbox) -> None:
    ec2, names = pair(world, sandbox)
    call = {"AllocationId": names["web/allocation"], "InstanceId": names["other"]}
    refused("Resource.AlreadyAssociated", ec2.associate_address, **call)
    ec2.associate_address(**call, AllowReassociation=True)
    (address,) = ec2.describe_addresses()["Addresses"]
    assert address["InstanceId"] == names["other"]
    assert row(ec2, names["other"])["PublicIpAddress"] == address["PublicIp"]
    assert row(ec2, names["web"]).get("PublicIpAddress") != address["PublicIp"]
    # A repetition is no error, and a stopped instance keeps and takes an address.
    ec2.associate_address(**call, AllowReassociation=True)
    ec2.stop_instances(InstanceIds=[names["web"]])
    ec2.associate_address(AllocationId=names["web/allocation"], InstanceId=names["web"], AllowReassociation=True)
    assert row(ec2, names["web"])["PublicIpAddress"] == address["PublicIp"]


def test_pending_and_terminated_instances_get_no_address(world: World, sandbox: Sandbox) -> None:
    ec2, names = pair(world, sandbox)
    ec2.stop_instances(InstanceIds=[names["other"]])
    world.config.update({"durations": {"instance_pending": 1000.0}})
    ec2.start_instances(InstanceIds=[names["other"]])
    call = {"AllocationId": names["web/allocation"], "InstanceId": names["other"], "AllowReassociation": True}
    refused("InvalidInstanceID", ec2.associate_address, **call, text="pending instance")
    world.clock.move(1001)
    ec2.terminate_instances(InstanceIds=[names["other"]])
    refused("InvalidInstanceID.NotFound", ec2.associate_address, **call)


def test_target_is_initial_then_healthy_then_draining_then_gone(world: World, sandbox: Sandbox) -> None:
    ec2, names = pair(world, sandbox)
    world.config.update({"durations": {"target_initial": 1000.0, "target_draining": 1000.0}})
    elb, vpc, subnet = sandbox.client("elbv2"), row(ec2, names["web"])["VpcId"], row(ec2, names["web"])["SubnetId"]
    made = elb.create_target_group(Name="web", Protocol="HTTP", Port=80, VpcId=vpc, TargetType="instance")
    arn = made["TargetGroups"][0]["TargetGroupArn"]
    elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": names["web"], "Port": port} for port in (80, 81)])

    def health(**asked: Any) -> list[tuple[int, str, str]]:
        found = elb.describe_target_health(TargetGroupArn=arn, **asked)["TargetHealthDescriptions"]
        return [
            (one["Target"]["Port"], one["TargetHealth"]["State"], one["TargetHealth"].get("Reason", ""))
            for one in found
        ]

    assert health() == [(80, "unused", "Target.NotInUse"), (81, "unused", "Target.NotInUse")]
    balancer = elb.create_load_balancer(Name="web", Subnets=[subnet])["LoadBalancers"][0]["LoadBalancerArn"]
    action = {"Type": "forward", "TargetGroupArn": arn}
    elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=80, DefaultActions=[action])
    assert {state for _port, state, _why in health()} == {"initial"}
    world.clock.move(1001)
    assert {state for _port, state, _why in health()} == {"healthy"}
    elb.deregister_targets(TargetGroupArn=arn, Targets=[{"Id": names["web"], "Port": 81}])
    elb.deregister_targets(TargetGroupArn=arn, Targets=[{"Id": names["other"]}])
    assert health() == [(80, "healthy", ""), (81, "draining", "Target.DeregistrationInProgress")]
    world.clock.move(1001)
    gone = {"Targets": [{"Id": names["web"], "Port": 81}]}
    assert (health(), health(**gone)) == ([(80, "healthy", "")], [(81, "unused", "Target.NotRegistered")])
    ec2.stop_instances(InstanceIds=[names["other"], names["web"]])
    assert health() == [(80, "unused", "Target.InvalidState")]
    stopped = [{"Id": names["other"]}]
    refused("InvalidTarget", elb.register_targets, TargetGroupArn=arn, Targets=stopped, text="not in a running state")
