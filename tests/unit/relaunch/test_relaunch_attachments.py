# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Attachments that a successor lacks are named: load balancers of every kind, an Elastic IP, data volumes."""

from __future__ import annotations

from typing import Any

import pytest

from attachments import by_address, by_instance, classic, image_id, relaunch, row, target_group, web
from in_process import Machine, changing_calls, machine
from sandbox.client import Sandbox

__all__ = ["image_id", "web"]

KEEP = dict.fromkeys(("data_volumes", "elastic_ip", "target_groups"), "keep")


def elastic_ip(_sandbox: Sandbox, web: Machine) -> None:
    address = web.ec2.allocate_address(Domain="vpc")
    web.ec2.associate_address(AllocationId=address["AllocationId"], InstanceId=web.instance_id)


def data_volume(_sandbox: Sandbox, web: Machine) -> None:
    zone = row(web)["Placement"]["AvailabilityZone"]
    volume = web.ec2.create_volume(AvailabilityZone=zone, Size=1)["VolumeId"]
    web.ec2.get_waiter("volume_available").wait(VolumeIds=[volume], WaiterConfig={"Delay": 0.1, "MaxAttempts": 99})
    web.ec2.attach_volume(VolumeId=volume, InstanceId=web.instance_id, Device="/dev/sdf")


ATTACHED = [
    (by_instance, "target_groups", "target groups shop"),
    (by_address, "target_groups", "target groups shop"),
    (classic, "target_groups", "Classic Load Balancers shop"),
    (elastic_ip, "elastic_ip", "Elastic IP"),
    (data_volume, "data_volumes", "data volumes /dev/sdf"),
]


@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
@pytest.mark.parametrize(("attach", "option", "words"), ATTACHED, ids=[each[0].__name__ for each in ATTACHED])
def test_attachment_without_a_choice_is_refused_by_name(
    sandbox: Sandbox, web: Machine, image_id: str, attach: Any, option: str, words: str, check: bool
) -> None:
    attach(sandbox, web)
    others = {name: "keep" for name in KEEP if name != option}
    before = sandbox.log()[-1]["sequence"]
    ended = relaunch(sandbox, web, image_id, check=check, **others)
    assert f"{option}: {web.instance_id} has {words}" in ended.failed
    assert f"Set {option}: keep" in ended.failed
    assert changing_calls(sandbox, before) == []


@pytest.mark.parametrize(("attach", "option", "words"), ATTACHED, ids=[each[0].__name__ for each in ATTACHED])
def test_kept_attachment_is_named(
    sandbox: Sandbox, web: Machine, image_id: str, attach: Any, option: str, words: str
) -> None:
    attach(sandbox, web)
    ended = relaunch(sandbox, web, image_id, check=True, **{option: "keep"})
    assert not ended.failed
    assert any(words in warning and f"({option}: keep)" in warning for warning in ended.warnings)


def test_nothing_attached_needs_no_choice(sandbox: Sandbox, web: Machine, image_id: str) -> None:
    other = machine(sandbox, "other")
    target_group(sandbox, web, "instances", "instance", other.instance_id)
    target_group(sandbox, web, "addresses", "ip", row(other)["PrivateIpAddress"])
    ended = relaunch(sandbox, web, image_id)
    assert not ended.failed
    # An instance that is up to date needs no choice either, under any attachments.
    target_group(sandbox, web, "successors", "instance", ended.result["instance_id"])
    assert relaunch(sandbox, web, image_id).actions == []


def test_same_address_in_another_vpc_is_another_target(sandbox: Sandbox, web: Machine, image_id: str) -> None:
    vpc = web.ec2.create_vpc(CidrBlock="172.31.0.0/16")["Vpc"]["VpcId"]
    target_group(sandbox, web, "elsewhere", "ip", row(web)["PrivateIpAddress"], vpc)
    assert not relaunch(sandbox, web, image_id, check=True).failed


def test_many_load_balancers_are_read_in_pages(sandbox: Sandbox, web: Machine, image_id: str) -> None:
    elb = sandbox.client("elb", "us-east-1")
    listener = {"Protocol": "http", "LoadBalancerPort": 80, "InstancePort": 80}
    for number in range(401):
        elb.create_load_balancer(
            LoadBalancerName=f"shop-{number}", Listeners=[listener], AvailabilityZones=["us-east-1a"]
        )
    elb.register_instances_with_load_balancer(LoadBalancerName="shop-400", Instances=[{"InstanceId": web.instance_id}])
    assert "Classic Load Balancers shop-400" in relaunch(sandbox, web, image_id, check=True).failed
