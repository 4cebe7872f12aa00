# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers about instances that EC2 gives early, late, or only for the requested attribute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from domain import LONG, make_instant, make_slow, refused

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World


def row(ec2: Any, instance_id: str) -> dict[str, Any]:
    return dict(ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0])


def test_launch_answers_without_devices_and_with_pending_metadata_options(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ec2, image = sandbox.client(), sandbox.seed({"image": {"name": "web"}})["web"]
    (answer,) = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"]
    assert answer.get("BlockDeviceMappings", []) == []
    assert answer["MetadataOptions"]["State"] == "pending"
    shown = row(ec2, answer["InstanceId"])
    assert len(shown["BlockDeviceMappings"]) == 1
    assert shown["MetadataOptions"]["State"] == "applied"


def test_terminated_instance_may_be_shown_as_running_for_a_moment(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ec2, web = sandbox.client(), sandbox.seed({"instance": {"name": "web"}})["web"]
    world.config.update({"durations": {"instance_end_shown": 1.0}})
    (change,) = ec2.terminate_instances(InstanceIds=[web])["TerminatingInstances"]
    assert change["CurrentState"]["Name"] == "shutting-down"
    running = [{"Name": "instance-state-name", "Values": ["running"]}]
    assert row(ec2, web)["State"]["Name"] == "running"
    assert ec2.describe_instances(Filters=running)["Reservations"]
    world.clock.move(2)
    assert row(ec2, web)["State"]["Name"] == "shutting-down"
    assert not ec2.describe_instances(Filters=running)["Reservations"]


def test_stopped_instance_is_terminated_at_once(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ec2, web = sandbox.client(), sandbox.seed({"instance": {"name": "web"}})["web"]
    ec2.stop_instances(InstanceIds=[web])
    world.clock.move(LONG)
    (change,) = ec2.terminate_instances(InstanceIds=[web])["TerminatingInstances"]
    assert (change["PreviousState"]["Name"], change["CurrentState"]["Name"]) == ("stopped", "terminated")
    assert row(ec2, web)["State"]["Name"] == "terminated"


def test_stop_protection_protects_from_termination_too(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ec2, web = sandbox.client(), sandbox.seed({"instance": {"name": "web"}})["web"]
    ec2.modify_instance_attribute(InstanceId=web, DisableApiStop={"Value": True})
    refused("OperationNotPermitted", ec2.terminate_instances, InstanceIds=[web], text="'disableApiStop'")
    ec2.modify_instance_attribute(InstanceId=web, DisableApiStop={"Value": False})
    ec2.terminate_instances(InstanceIds=[web])


def test_instance_of_a_launch_template_carries_its_tags(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ec2, image = sandbox.client(), sandbox.seed({"image": {"name": "web"}})["web"]
    data = {"ImageId": image, "InstanceType": "t3.micro"}
    template = ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)["LaunchTemplate"]
    launch = {"LaunchTemplate": {"LaunchTemplateName": "web"}, "MinCount": 1, "MaxCount": 1}
    (answer,) = ec2.run_instances(**launch)["Instances"]
    tags = {tag["Key"]: tag["Value"] for tag in answer["Tags"]}
    assert tags == {
        "aws:ec2launchtemplate:id": template["LaunchTemplateId"],
        "aws:ec2launchtemplate:version": "1",
    }


@pytest.mark.parametrize("attribute", ["userData", "disableApiStop", "productCodes", "groupSet", "kernel"])
def test_only_the_requested_attribute_is_answered(sandbox: Sandbox, attribute: str) -> None:
    ec2, web = sandbox.client(), sandbox.seed({"instance": {"name": "web"}})["web"]
    answer = ec2.describe_instance_attribute(InstanceId=web, Attribute=attribute)
    key = {"kernel": "KernelId", "groupSet": "Groups"}.get(attribute, attribute[0].upper() + attribute[1:])
    assert set(answer) - {"ResponseMetadata"} <= {"InstanceId", key}
