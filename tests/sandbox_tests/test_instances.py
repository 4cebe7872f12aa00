# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances against the known facts of EC2: launched, stopped, started, terminated, and the refusals meanwhile."""

from __future__ import annotations

import base64
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from domain import LONG, make_instant, make_slow, refused

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World


def only(ec2: Any, instance_id: str) -> dict[str, Any]:
    return dict(ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0])


def state(ec2: Any, instance_id: str) -> str:
    return str(only(ec2, instance_id)["State"]["Name"])


def launch(ec2: Any, image_id: str, **params: Any) -> dict[str, Any]:
    params = {"InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, **params}
    return dict(ec2.run_instances(ImageId=image_id, **params)["Instances"][0])


# --- launching --------------------------------------------------------------------------------------------------------


def test_a_launch_makes_its_volumes_from_the_image(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed(
        {
            "image": {
                "name": "web",
                "root": {"VolumeSize": 10, "Iops": 4000, "Throughput": 500},
                "devices": [
                    {"device": "/dev/sdf", "VolumeSize": 5, "DeleteOnTermination": False},
                    {"device": "/dev/sdg", "VolumeSize": 6},
                ],
            }
        }
    )
    ec2 = sandbox.client()
    row = launch(
        ec2,
        ids["web"],
        BlockDeviceMappings=[
            {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 20}},
            {"DeviceName": "/dev/sdg", "NoDevice": ""},
            {"DeviceName": "/dev/sdh", "Ebs": {"VolumeSize": 7, "VolumeType": "gp3"}},
        ],
        TagSpecifications=[
            {"ResourceType": "instance", "Tags": [{"Key": "Name", "Value": "web"}]},
            {"ResourceType": "volume", "Tags": [{"Key": "on", "Value": "volume"}]},
        ],
    )
    assert (row["State"]["Name"], row["StateReason"]["Code"]) == ("pending", "pending")
    assert row["Tags"] == [{"Key": "Name", "Value": "web"}]
    volumes = {
        one["Attachments"][0]["Device"]: one
        for one in ec2.describe_volumes(Filters=[{"Name": "attachment.instance-id", "Values": [row["InstanceId"]]}])[
            "Volumes"
        ]
    }
    assert set(volumes) == {"/dev/xvda", "/dev/sdf", "/dev/sdh"}
    root = volumes["/dev/xvda"]
    assert (root["Size"], root["Iops"], root["Throughput"], root["SnapshotId"]) == (20, 4000, 500, ids["web/root"])
    assert root["Attachments"][0]["DeleteOnTermination"] is True
    assert volumes["/dev/sdf"]["Attachments"][0]["DeleteOnTermination"] is False
    assert all(one["Tags"] == [{"Key": "on", "Value": "volume"}] for one in volumes.values())
    world.clock.move(LONG)
    assert state(ec2, row["InstanceId"]) == "running"
    assert only(ec2, row["InstanceId"])["BlockDeviceMappings"][0]["DeviceName"] == "/dev/xvda"


def test_a_launch_keeps_its_options(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed(
        {"image": {"name": "web", "facts": {"ImdsSupport": "v2.0", "BootMode": "uefi"}, "uefi_data": "QUJD"}}
    )
    ec2 = sandbox.client()
    subnet = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": ["us-east-1b"]}])["Subnets"][0][
        "SubnetId"
    ]
    row = only(
        ec2,
        launch(
            ec2,
            ids["web"],
            SubnetId=subnet,
            UserData="#!/bin/sh",
            DisableApiStop=True,
            DisableApiTermination=True,
            InstanceInitiatedShutdownBehavior="terminate",
            EbsOptimized=True,
            Monitoring={"Enabled": True},
            CreditSpecification={"CpuCredits": "standard"},
            CpuOptions={"CoreCount": 1, "ThreadsPerCore": 1},
            MetadataOptions={"HttpPutResponseHopLimit": 5, "InstanceMetadataTags": "enabled"},
            MaintenanceOptions={"AutoRecovery": "disabled"},
            PrivateDnsNameOptions={"HostnameType": "resource-name"},
        )["InstanceId"],
    )
    assert (row["Placement"]["AvailabilityZone"], row["SubnetId"]) == ("us-east-1b", subnet)
    assert row["MetadataOptions"]["HttpTokens"] == "required"  # ImdsSupport v2.0 of the image
    assert row["MetadataOptions"]["HttpPutResponseHopLimit"] == 5
    assert row["Monitoring"] == {"State": "enabled"}
    assert row["EbsOptimized"] is True
    assert row["CpuOptions"] == {"CoreCount": 1, "ThreadsPerCore": 1}
    assert row["MaintenanceOptions"]["AutoRecovery"] == "disabled"
    assert row["PrivateDnsNameOptions"]["HostnameType"] == "resource-name"
    assert (row["BootMode"], row["CurrentInstanceBootMode"]) == ("uefi", "uefi")

    def attribute(name: str) -> Any:
        answer = ec2.describe_instance_attribute(InstanceId=row["InstanceId"], Attribute=name)
        return answer[name[0].upper() + name[1:]]["Value"]

    assert base64.b64decode(attribute("userData")) == b"#!/bin/sh"
    assert attribute("disableApiStop") is True
    assert attribute("disableApiTermination") is True
    assert attribute("instanceInitiatedShutdownBehavior") == "terminate"
    assert attribute("rootDeviceName") == "/dev/xvda"
    assert attribute("instanceType") == "t3.micro"
    (credit,) = ec2.describe_instance_credit_specifications(InstanceIds=[row["InstanceId"]])[
        "InstanceCreditSpecifications"
    ]
    assert credit["CpuCredits"] == "standard"
    assert ec2.get_instance_uefi_data(InstanceId=row["InstanceId"])["UefiData"] == "QUJD"
    text = f"The instance '{row['InstanceId']}' may not be terminated. Modify its 'disableApiTermination'"
    refused("OperationNotPermitted", ec2.terminate_instances, InstanceIds=[row["InstanceId"]], text=text)
    refused("OperationNotPermitted", ec2.stop_instances, InstanceIds=[row["InstanceId"]], text="'disableApiStop'")
    ec2.modify_instance_attribute(InstanceId=row["InstanceId"], DisableApiStop={"Value": False})
    ec2.stop_instances(InstanceIds=[row["InstanceId"]])


def test_a_launch_is_refused_before_anything_is_made(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed(
        {
            "images": [
                {"name": "web"},
                {"name": "arm", "architecture": "arm64"},
                {"name": "no-ena", "facts": {"EnaSupport": False}},
            ]
        }
    )
    ec2 = sandbox.client()
    image = ids["web"]
    for params, code, text in [
        ({"ImageId": "ami-0123456789abcdef0"}, "InvalidAMIID.NotFound", "ami-0123456789abcdef0"),
        ({"ImageId": "web"}, "InvalidAMIID.Malformed", "web"),
        ({"InstanceType": "zz.nano"}, "InvalidParameterValue", "zz.nano"),
        ({"ImageId": ids["arm"]}, "InvalidParameterValue", "architecture 'arm64' of the specified AMI"),
        ({"ImageId": ids["no-ena"]}, "InvalidParameterValue", "ENA"),
        (
            {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 7}}]},
            "InvalidBlockDeviceMapping",
            f"Volume of size 7GB is smaller than snapshot '{ids['web/root']}', expect size >= 8GB",
        ),
        (
            {"BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "NoDevice": ""}]},
            "InvalidBlockDeviceMapping",
            "/dev/xvda",
        ),
        (
            {"BlockDeviceMappings": [{"DeviceName": "foo bar", "Ebs": {"VolumeSize": 1}}]},
            "InvalidParameterValue",
            "foo bar",
        ),
        (
            {"BlockDeviceMappings": [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 4, "VolumeType": "io2"}}]},
            "InvalidParameterCombination",
            "iops",
        ),
        ({"SubnetId": "subnet-0123456789abcdef0"}, "InvalidSubnetID.NotFound", "subnet-0123456789abcdef0"),
        ({"KeyName": "nobody"}, "InvalidKeyPair.NotFound", "nobody"),
        ({"UserData": "x" * 16385}, "InvalidParameterValue", "16384"),
        ({"MetadataOptions": {"HttpPutResponseHopLimit": 65}}, "InvalidParameterValue", "1 to 64"),
        ({"Placement": {"AvailabilityZone": "us-east-1z"}}, "InvalidParameterValue", "us-east-1z"),
        ({"MinCount": 2}, "InvalidParameterValue", "minCount"),
        (
            {"InstanceType": "m5.large", "CreditSpecification": {"CpuCredits": "unlimited"}},
            "InvalidParameterCombination",
            "m5.large",
        ),
        (
            {"TagSpecifications": [{"ResourceType": "snapshot", "Tags": [{"Key": "a", "Value": "b"}]}]},
            "InvalidParameterValue",
            "snapshot",
        ),
        ({"DryRun": True}, "DryRunOperation", ""),
    ]:
        refused(
            code,
            ec2.run_instances,
            text=text,
            **{"ImageId": image, "InstanceType": "t3.micro", "MinCount": 1, "MaxCount": 1, **params},
        )
    assert ec2.describe_instances()["Reservations"] == []
    assert ec2.describe_volumes()["Volumes"] == []


def test_repeated_launch_with_its_token_gives_the_same_instance(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"image": {"name": "web"}})
    ec2 = sandbox.client()
    token = str(uuid.uuid4())
    first = launch(ec2, ids["web"], ClientToken=token)["InstanceId"]
    again = launch(ec2, ids["web"], ClientToken=token)
    assert (again["InstanceId"], again["State"]["Name"]) == (first, "running")
    refused("IdempotentParameterMismatch", launch, ec2, ids["web"], ClientToken=token, InstanceType="t3.small")
    assert only(ec2, first)["ClientToken"] == token
    found = ec2.describe_instances(Filters=[{"Name": "client-token", "Values": [token]}])["Reservations"]
    assert len(found) == 1


def test_client_token_of_terminated_instances_is_refused(world: World, sandbox: Sandbox) -> None:
    """EC2 refuses the token from the end of the last instance on, even when it no longer shows the instance."""
    make_instant(world)
    ids = sandbox.seed({"image": {"name": "web"}})
    ec2 = sandbox.client()
    given = {
        "ImageId": ids["web"],
        "InstanceType": "t3.micro",
        "MinCount": 2,
        "MaxCount": 2,
        "ClientToken": str(uuid.uuid4()),
    }
    first, second = (one["InstanceId"] for one in ec2.run_instances(**given)["Instances"])
    ec2.terminate_instances(InstanceIds=[first])
    again = {one["InstanceId"]: one["State"]["Name"] for one in ec2.run_instances(**given)["Instances"]}
    assert again == {first: "terminated", second: "running"}
    make_slow(world)
    ec2.terminate_instances(InstanceIds=[second])
    again = {one["InstanceId"]: one["State"]["Name"] for one in ec2.run_instances(**given)["Instances"]}
    assert again == {first: "terminated", second: "shutting-down"}
    world.clock.move(LONG)
    refused("IdempotentInstanceTerminated", ec2.run_instances, text="has been terminated", **given)
    refused("IdempotentParameterMismatch", ec2.run_instances, **{**given, "InstanceType": "t3.small"})
    world.clock.move(100 * LONG)
    assert ec2.describe_instances()["Reservations"] == []
    refused("IdempotentInstanceTerminated", ec2.run_instances, text="has been terminated", **given)
    another = ec2.run_instances(**{**given, "ClientToken": str(uuid.uuid4())})["Instances"]
    assert not {first, second} & {one["InstanceId"] for one in another}


def test_a_launch_that_fails_or_never_gets_healthy(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed(
        {
            "images": [
                {"name": "dead", "launch_failure": ["Client.InternalError", "Client error on launch"]},
                {"name": "ill", "unhealthy": True},
            ]
        }
    )
    ec2 = sandbox.client()
    dead = launch(ec2, ids["dead"])["InstanceId"]
    assert state(ec2, dead) == "pending"
    ill = launch(ec2, ids["ill"])["InstanceId"]
    world.clock.move(LONG)
    row = only(ec2, dead)
    assert row["State"]["Name"] == "terminated"
    assert row["StateReason"] == {
        "Code": "Client.InternalError",
        "Message": "Client.InternalError: Client error on launch",
    }

    def status() -> dict[str, str]:
        (one,) = ec2.describe_instance_status(InstanceIds=[ill])["InstanceStatuses"]
        return {"instance": one["InstanceStatus"]["Status"], "system": one["SystemStatus"]["Status"]}

    assert status() == {"instance": "initializing", "system": "initializing"}
    world.clock.move(LONG)
    assert status() == {"instance": "impaired", "system": "ok"}


def test_launch_is_unhealthy_or_fails_on_demand(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"image": {"name": "web"}})
    ec2 = sandbox.client()
    world.config.update({"options": {"unhealthy_launches": True}})
    ill = launch(ec2, ids["web"])["InstanceId"]
    (row,) = ec2.describe_instance_status(InstanceIds=[ill])["InstanceStatuses"]
    assert row["InstanceStatus"]["Status"] == "impaired"
    with sandbox.fault("RunInstances", kind="end", message="No room"):
        dead = launch(ec2, ids["web"])["InstanceId"]
    assert only(ec2, dead)["StateReason"]["Message"] == "Server.InternalError: No room"


def test_launch_uses_the_network_interface_of_the_request(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"image": {"name": "web"}})
    ec2 = sandbox.client()
    subnet = ec2.describe_subnets()["Subnets"][0]
    group = ec2.create_security_group(GroupName="web", Description="web", VpcId=subnet["VpcId"])["GroupId"]
    made = launch(
        ec2,
        ids["web"],
        NetworkInterfaces=[
            {
                "DeviceIndex": 0,
                "SubnetId": subnet["SubnetId"],
                "Groups": [group],
                "AssociatePublicIpAddress": False,
                "DeleteOnTermination": False,
            }
        ],
    )
    row = only(ec2, made["InstanceId"])
    assert "PublicIpAddress" not in row
    assert [one["GroupId"] for one in row["SecurityGroups"]] == [group]
    (interface,) = row["NetworkInterfaces"]
    assert interface["Attachment"]["DeleteOnTermination"] is False
    assert (row["SubnetId"], row["VpcId"]) == (subnet["SubnetId"], subnet["VpcId"])


def test_launch_template_gives_the_options(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"image": {"name": "web"}})
    ec2 = sandbox.client()
    ec2.create_launch_template(
        LaunchTemplateName="t",
        LaunchTemplateData={
            "ImageId": ids["web"],
            "InstanceType": "t3.small",
            "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 30}}],
        },
    )
    row = ec2.run_instances(LaunchTemplate={"LaunchTemplateName": "t"}, MinCount=1, MaxCount=1)["Instances"][0]
    assert (row["ImageId"], row["InstanceType"]) == (ids["web"], "t3.small")
    device = only(ec2, row["InstanceId"])["BlockDeviceMappings"][0]
    assert ec2.describe_volumes(VolumeIds=[device["Ebs"]["VolumeId"]])["Volumes"][0]["Size"] == 30


# --- power ------------------------------------------------------------------------------------------------------------


def test_stopped_instance_starts_again(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed({"instances": [{"name": "a"}, {"name": "b", "elastic_ip": True}]})
    both = [ids["a"], ids["b"]]
    ec2 = sandbox.client()
    before = {one: only(ec2, one) for one in both}
    changes = ec2.stop_instances(InstanceIds=both)["StoppingInstances"]
    assert {(one["PreviousState"]["Name"], one["CurrentState"]["Name"]) for one in changes} == {("running", "stopping")}
    again = ec2.stop_instances(InstanceIds=both)["StoppingInstances"]
    assert {(one["PreviousState"]["Name"], one["CurrentState"]["Name"]) for one in again} == {("stopping", "stopping")}
    message = refused("IncorrectInstanceState", ec2.start_instances, InstanceIds=[ids["a"]])
    assert message == f"The instance '{ids['a']}' is not in a state from which it can be started."
    world.clock.move(LONG)
    row = only(ec2, ids["a"])
    assert row["State"] == {"Code": 80, "Name": "stopped"}
    assert row["StateTransitionReason"].startswith("User initiated (20")
    assert row["StateReason"]["Code"] == "Client.UserInitiatedShutdown"
    assert "PublicIpAddress" not in row
    assert only(ec2, ids["b"])["PublicIpAddress"] == ids["b/elastic_ip"]
    assert row["LaunchTime"] == before[ids["a"]]["LaunchTime"]
    assert row["PrivateIpAddress"] == before[ids["a"]]["PrivateIpAddress"]
    ec2.start_instances(InstanceIds=both)
    assert state(ec2, ids["a"]) == "pending"
    refused("IncorrectInstanceState", ec2.stop_instances, InstanceIds=[ids["a"]], text="can be stopped")
    world.clock.move(LONG)
    row = only(ec2, ids["a"])
    assert row["State"]["Name"] == "running"
    assert row["LaunchTime"] > before[ids["a"]]["LaunchTime"]
    assert row["PublicIpAddress"] != before[ids["a"]]["PublicIpAddress"]
    assert only(ec2, ids["b"])["PublicIpAddress"] == ids["b/elastic_ip"]
    assert ec2.start_instances(InstanceIds=[ids["a"]])["StartingInstances"][0]["CurrentState"]["Name"] == "running"


def test_batch_with_one_refused_instance_changes_none(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"instances": [{"name": "a"}, {"name": "b", "options": {"DisableApiStop": True}}]})
    ec2 = sandbox.client()
    refused("OperationNotPermitted", ec2.stop_instances, InstanceIds=[ids["a"], ids["b"]], text=ids["b"])
    refused("InvalidInstanceID.NotFound", ec2.stop_instances, InstanceIds=[ids["a"], "i-0123456789abcdef0"])
    refused("InvalidInstanceID.Malformed", ec2.stop_instances, InstanceIds=[ids["a"], "web"])
    assert state(ec2, ids["a"]) == "running"


def test_unstoppable_instances_are_refused(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed(
        {
            "images": [{"name": "web"}, {"name": "store", "root_device_type": "instance-store"}],
            "instances": [
                {"name": "once", "spot": "one-time", "image": "web"},
                {"name": "again", "spot": "persistent", "image": "web"},
                {"name": "store", "image": "store"},
                {"name": "managed", "operator": "eks.amazonaws.com", "image": "web"},
                {"name": "gone", "image": "web"},
            ],
        }
    )
    ec2 = sandbox.client()
    ec2.terminate_instances(InstanceIds=[ids["gone"]])
    for name, code in {
        "once": "UnsupportedOperation",
        "store": "UnsupportedOperation",
        "managed": "OperationNotPermitted",
        "gone": "IncorrectInstanceState",
    }.items():
        refused(code, ec2.stop_instances, InstanceIds=[ids[name]], text=ids[name])
    refused("UnsupportedHibernationConfiguration", ec2.stop_instances, InstanceIds=[ids["again"]], Hibernate=True)
    ec2.stop_instances(InstanceIds=[ids["again"]])
    found = ec2.describe_spot_instance_requests(Filters=[{"Name": "type", "Values": ["persistent"]}])[
        "SpotInstanceRequests"
    ]
    assert [(one["InstanceId"], one["State"]) for one in found] == [(ids["again"], "disabled")]


def test_terminated_instance_deletes_its_volumes(world: World, sandbox: Sandbox) -> None:
    """DeleteOnTermination volumes go, others stay; an hour later the instance and its tags are gone."""
    make_slow(world)
    ids = sandbox.seed({"instance": {"name": "web", "data_volumes": 1}})
    ec2 = sandbox.client()
    ec2.terminate_instances(InstanceIds=[ids["web"]])
    assert state(ec2, ids["web"]) == "shutting-down"
    volumes = ec2.describe_volumes(VolumeIds=[ids["web/root"], ids["web/data1"]])["Volumes"]
    assert {one["State"] for one in volumes} == {"in-use"}
    world.clock.move(LONG)
    row = only(ec2, ids["web"])
    assert row["State"]["Name"] == "terminated"
    assert row["BlockDeviceMappings"] == [] and "PrivateIpAddress" not in row
    found = {one["VolumeId"]: one["State"] for one in ec2.describe_volumes()["Volumes"]}
    assert found == {ids["web/root"]: "deleting", ids["web/data1"]: "available"}
    again = ec2.terminate_instances(InstanceIds=[ids["web"]])["TerminatingInstances"][0]
    assert again["CurrentState"]["Name"] == "terminated"
    refused("IncorrectInstanceState", ec2.start_instances, InstanceIds=[ids["web"]])
    world.clock.move(3600)
    refused("InvalidInstanceID.NotFound", ec2.describe_instances, InstanceIds=[ids["web"]], text=ids["web"])
    assert ec2.describe_instances()["Reservations"] == []
    tags = ec2.describe_tags(Filters=[{"Name": "resource-id", "Values": [ids["web"]]}])["Tags"]
    assert tags == []


def test_delete_on_termination_can_be_changed(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"instance": {"name": "web", "data_volumes": 1}})
    ec2 = sandbox.client()
    ec2.modify_instance_attribute(
        InstanceId=ids["web"],
        BlockDeviceMappings=[
            {"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False}},
            {"DeviceName": "/dev/sdf", "Ebs": {"DeleteOnTermination": True}},
        ],
    )
    refused(
        "InvalidInstanceAttributeValue",
        ec2.modify_instance_attribute,
        InstanceId=ids["web"],
        BlockDeviceMappings=[{"DeviceName": "/dev/sdz", "Ebs": {"DeleteOnTermination": True}}],
    )
    ec2.terminate_instances(InstanceIds=[ids["web"]])
    assert {one["VolumeId"]: one["State"] for one in ec2.describe_volumes()["Volumes"]} == {
        ids["web/root"]: "available"
    }


def test_attributes_of_a_running_instance_that_cannot_change_are_refused(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"instance": {"name": "web"}})
    ec2 = sandbox.client()
    changes: list[dict[str, Any]] = [{"InstanceType": {"Value": "t3.small"}}, {"UserData": {"Value": b"new"}}]
    for change in changes:
        refused(
            "IncorrectInstanceState", ec2.modify_instance_attribute, InstanceId=ids["web"], **change, text="'stopped'"
        )
    ec2.stop_instances(InstanceIds=[ids["web"]])
    for change in changes:
        ec2.modify_instance_attribute(InstanceId=ids["web"], **change)
    assert only(ec2, ids["web"])["InstanceType"] == "t3.small"
    data = ec2.describe_instance_attribute(InstanceId=ids["web"], Attribute="userData")["UserData"]["Value"]
    assert base64.b64decode(data) == b"new"
    ec2.modify_instance_attribute(InstanceId=ids["web"], SourceDestCheck={"Value": False})
    assert only(ec2, ids["web"])["SourceDestCheck"] is False
    refused("InvalidParameterCombination", ec2.modify_instance_attribute, InstanceId=ids["web"])


# --- reading ----------------------------------------------------------------------------------------------------------


def test_describe_instances_filters_and_pages(world: World, sandbox: Sandbox) -> None:
    ids = sandbox.seed({"instances": [{"name": f"n{i}", "tags": {"odd": str(i % 2)}} for i in range(7)]})
    ec2 = sandbox.client()

    def by(name: str, *values: str) -> set[str]:
        answer = ec2.describe_instances(Filters=[{"Name": name, "Values": list(values)}])
        return {one["InstanceId"] for row in answer["Reservations"] for one in row["Instances"]}

    assert by("instance-id", ids["n1"]) == {ids["n1"]}
    assert by("tag:odd", "1") == {ids["n1"], ids["n3"], ids["n5"]}
    assert len(by("instance-state-name", "running")) == 7
    assert len(by("image-id", ids["base"])) == 7
    assert by("block-device-mapping.volume-id", ids["n2/root"]) == {ids["n2"]}
    row = only(ec2, ids["n3"])
    assert by("private-ip-address", row["PrivateIpAddress"]) == {ids["n3"]}
    assert by("ip-address", row["PublicIpAddress"]) == {ids["n3"]}
    assert len(by("subnet-id", row["SubnetId"])) == len(by("vpc-id", row["VpcId"])) == 7
    assert len(by("root-device-name", "/dev/xv*")) == 7
    pages = list(ec2.get_paginator("describe_instances").paginate(PaginationConfig={"PageSize": 5}))
    assert [sum(len(row["Instances"]) for row in page["Reservations"]) for page in pages] == [5, 2]
    refused("InvalidParameterCombination", ec2.describe_instances, InstanceIds=[ids["n1"]], MaxResults=5)
    refused("InvalidParameterValue", ec2.describe_instances, Filters=[{"Name": "colour", "Values": ["x"]}])
    missing = ["i-0123456789abcdef0", "i-0123456789abcdef1"]
    message = refused("InvalidInstanceID.NotFound", ec2.describe_instances, InstanceIds=[ids["n1"], *missing])
    assert message == f"The instance IDs '{', '.join(missing)}' do not exist"


def test_status_includes_all_instances_on_request(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"instances": [{"name": "on"}, {"name": "off", "state": "stopped"}]})
    ec2 = sandbox.client()
    assert [one["InstanceId"] for one in ec2.describe_instance_status()["InstanceStatuses"]] == [ids["on"]]
    rows = {
        one["InstanceId"]: one for one in ec2.describe_instance_status(IncludeAllInstances=True)["InstanceStatuses"]
    }
    assert rows[ids["off"]]["InstanceState"]["Name"] == "stopped"
    assert rows[ids["off"]]["InstanceStatus"]["Status"] == "not-applicable"


def test_launch_is_shown_after_the_delay(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"image": {"name": "web"}})
    world.config.update({"visibility_delay": {"instance": 100}})
    ec2 = sandbox.client()
    made = launch(ec2, ids["web"])["InstanceId"]
    refused("InvalidInstanceID.NotFound", ec2.describe_instances, InstanceIds=[made])
    assert ec2.describe_instances()["Reservations"] == []
    world.clock.move(100)
    assert state(ec2, made) == "running"


@pytest.mark.parametrize("service", ["elbv2"])
def test_load_balancer_of_moto_knows_the_instance(world: World, sandbox: Sandbox, service: str) -> None:
    make_instant(world)
    ids = sandbox.seed({"instance": {"name": "web"}})
    balancer = sandbox.client(service)
    vpc = only(sandbox.client(), ids["web"])["VpcId"]
    group = balancer.create_target_group(Name="web", Protocol="HTTP", Port=80, VpcId=vpc)["TargetGroups"][0][
        "TargetGroupArn"
    ]
    balancer.register_targets(TargetGroupArn=group, Targets=[{"Id": ids["web"]}])
    (health,) = balancer.describe_target_health(TargetGroupArn=group)["TargetHealthDescriptions"]
    assert health["Target"]["Id"] == ids["web"]


# --- beside moto, where moto is right ---------------------------------------------------------------------------------


def test_answers_have_all_fields_of_moto(world: World, sandbox: Sandbox) -> None:
    """The sandbox shows each correct field of moto's plain launch with the same value."""
    make_instant(world)
    ids = sandbox.seed({"instance": {"name": "web"}})
    shown = only(sandbox.client(), ids["web"])
    motos = world.moto.call(
        "DescribeInstances", {"InstanceIds": [ids["web"]]}, account="123456789012", region="us-east-1"
    )
    twin = motos["Reservations"][0]["Instances"][0]
    for name in (
        "PrivateIpAddress",
        "PrivateDnsName",
        "SubnetId",
        "VpcId",
        "SecurityGroups",
        "SourceDestCheck",
        "State",
        "ImageId",
        "InstanceType",
        "PublicIpAddress",
        "AmiLaunchIndex",
        "EbsOptimized",
        "Monitoring",
    ):
        assert shown[name] == twin[name], name
    # The fields that only one of the two answers has are known.
    assert set(twin) - set(shown) <= {
        "ElasticGpuAssociations",
        "ElasticInferenceAcceleratorAssociations",
        "Licenses",
        "KernelId",
        "RamdiskId",
        "StateReason",
        "KeyName",
        "IamInstanceProfile",
        "Tags",
        "Ipv6Address",
        # EC2 shows it only as an attribute of the instance.
        "SriovNetSupport",
    }
