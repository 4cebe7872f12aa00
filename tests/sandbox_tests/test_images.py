# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AMIs against the known facts of EC2: registered, made from instances, copied, disabled, deregistered, referred to."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from domain import LONG, make_instant, make_slow, refused

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World


def only(ec2: Any, image_id: str, **more: Any) -> dict[str, Any]:
    (row,) = ec2.describe_images(ImageIds=[image_id], **more)["Images"]
    return dict(row)


def root_of(snapshot_id: str, **more: Any) -> list[dict[str, Any]]:
    return [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot_id, **more}}]


@pytest.fixture
def root(world: World, sandbox: Sandbox) -> str:
    """A completed snapshot of 8 GiB."""
    make_instant(world)
    ids = sandbox.seed({"volume": {"name": "root", "Size": 8}, "snapshots": [{"name": "snap", "volume": "root"}]})
    return str(ids["snap"])


# --- RegisterImage ----------------------------------------------------------------------------------------------------


def test_registered_image_keeps_all_given_facts(sandbox: Sandbox, root: str) -> None:
    ec2 = sandbox.client()
    image = ec2.register_image(
        Name="web/1",
        Description="a web server",
        Architecture="x86_64",
        VirtualizationType="hvm",
        RootDeviceName="/dev/xvda",
        EnaSupport=True,
        SriovNetSupport="simple",
        BootMode="uefi",
        TpmSupport="v2.0",
        ImdsSupport="v2.0",
        UefiData="QU1aTlVFRkk=",
        BlockDeviceMappings=[
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {
                    "SnapshotId": root,
                    "VolumeSize": 20,
                    "VolumeType": "gp3",
                    "Iops": 4000,
                    "Throughput": 500,
                    "DeleteOnTermination": False,
                },
            },
            {"DeviceName": "/dev/sdf", "Ebs": {"VolumeSize": 5, "VolumeType": "gp2", "Encrypted": True}},
            {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
            {"DeviceName": "/dev/sdc", "NoDevice": ""},
        ],
        TagSpecifications=[{"ResourceType": "image", "Tags": [{"Key": "a", "Value": "b"}]}],
    )["ImageId"]
    row = only(ec2, image)
    expected = {
        "Name": "web/1",
        "Description": "a web server",
        "Architecture": "x86_64",
        "VirtualizationType": "hvm",
        "RootDeviceName": "/dev/xvda",
        "RootDeviceType": "ebs",
        "EnaSupport": True,
        "SriovNetSupport": "simple",
        "BootMode": "uefi",
        "TpmSupport": "v2.0",
        "ImdsSupport": "v2.0",
        "State": "available",
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "Public": False,
        "Tags": [{"Key": "a", "Value": "b"}],
        "ImageLocation": "123456789012/web/1",
    }
    assert {name: row[name] for name in expected} == expected
    assert row["BlockDeviceMappings"] == [
        {
            "DeviceName": "/dev/xvda",
            "Ebs": {
                "SnapshotId": root,
                "VolumeSize": 20,
                "VolumeType": "gp3",
                "Iops": 4000,
                "Throughput": 500,
                "DeleteOnTermination": False,
                "Encrypted": False,
            },
        },
        {
            "DeviceName": "/dev/sdf",
            "Ebs": {"VolumeSize": 5, "VolumeType": "gp2", "DeleteOnTermination": True, "Encrypted": True},
        },
        {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
    ]
    uefi = ec2.describe_image_attribute(ImageId=image, Attribute="uefiData")
    assert uefi["UefiData"]["Value"] == "QU1aTlVFRkk="


def test_register_defaults_are_a_trap(sandbox: Sandbox, root: str) -> None:
    """Architecture i386, VirtualizationType paravirtual, gp2, DeleteOnTermination true."""
    ec2 = sandbox.client()
    row = only(
        ec2, ec2.register_image(Name="bare", RootDeviceName="/dev/xvda", BlockDeviceMappings=root_of(root))["ImageId"]
    )
    assert (row["Architecture"], row["VirtualizationType"]) == ("i386", "paravirtual")
    assert row["BlockDeviceMappings"][0]["Ebs"] == {
        "SnapshotId": root,
        "VolumeSize": 8,
        "VolumeType": "gp2",
        "DeleteOnTermination": True,
        "Encrypted": False,
    }
    assert not {"EnaSupport", "BootMode", "ImdsSupport", "TpmSupport"} & set(row)


def test_invalid_registrations_are_refused(world: World, sandbox: Sandbox, root: str) -> None:
    ec2 = sandbox.client(parameter_validation=False)
    good: dict[str, Any] = {"Name": "web", "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": root_of(root)}
    make_slow(world)
    data = ec2.create_volume(AvailabilityZone="us-east-1a", Size=1)["VolumeId"]
    world.clock.move(LONG)
    pending = ec2.create_snapshot(VolumeId=data)["SnapshotId"]
    for changes, code, text in [
        ({"Name": "ab"}, "InvalidAMIName.Malformed", "between 3 and 128 characters"),
        ({"Name": "a" * 129}, "InvalidAMIName.Malformed", ""),
        ({"Name": "web#1"}, "InvalidAMIName.Malformed", ""),
        ({"BlockDeviceMappings": []}, "InvalidBlockDeviceMapping", "No root snapshot specified in device mapping."),
        ({"RootDeviceName": "/dev/sda1"}, "InvalidBlockDeviceMapping", "No root snapshot specified in device mapping."),
        (
            {"BlockDeviceMappings": root_of("snap-0123456789abcdef0")},
            "InvalidSnapshotID.NotFound",
            "snap-0123456789abcdef0",
        ),
        ({"BlockDeviceMappings": root_of(root, Encrypted=True)}, "InvalidParameter", "Encrypted"),
        ({"BlockDeviceMappings": root_of(root, VolumeSize=7)}, "InvalidBlockDeviceMapping", "expect size >= 8GB"),
        ({"BlockDeviceMappings": root_of(pending)}, "IncorrectState", "pending"),
        ({"BlockDeviceMappings": root_of(root) * 2}, "InvalidBlockDeviceMapping", "/dev/xvda"),
        ({"BlockDeviceMappings": root_of(root, VolumeSize=125, VolumeType="st1")}, "InvalidParameterValue", "boot"),
        ({"BlockDeviceMappings": root_of(root, VolumeType="zz9")}, "UnknownVolumeType", "zz9"),
        ({"Architecture": "vax"}, "InvalidParameterValue", "vax"),
        ({"BootMode": "bios"}, "InvalidParameterValue", "bios"),
        ({"VirtualizationType": "hvm", "TpmSupport": "v2.0"}, "InvalidParameterCombination", "TpmSupport"),
        ({"Architecture": "arm64"}, "InvalidParameterCombination", "paravirtual"),
        ({"Description": "ü"}, "InvalidParameterValue", "ASCII"),
        ({"UefiData": "A" * 64001}, "InvalidParameterValue", "64000"),
        (
            {"TagSpecifications": [{"ResourceType": "snapshot", "Tags": [{"Key": "a", "Value": "b"}]}]},
            "InvalidParameterValue",
            "snapshot",
        ),
        ({"DryRun": True}, "DryRunOperation", ""),
    ]:
        refused(code, ec2.register_image, text=text, **{**good, **changes})
    assert ec2.describe_images(Owners=["self"])["Images"] == []


def test_register_refuses_the_snapshot_of_another_account(sandbox: Sandbox, root: str) -> None:
    sandbox.client().modify_snapshot_attribute(
        SnapshotId=root, CreateVolumePermission={"Add": [{"UserId": "111122223333"}]}
    )
    other = sandbox.client(account="111122223333")
    refused(
        "InvalidParameterValue",
        other.register_image,
        Name="theirs",
        RootDeviceName="/dev/xvda",
        BlockDeviceMappings=root_of(root),
        text="Snapshot does not belong to",
    )


def test_names_are_unique(sandbox: Sandbox, root: str) -> None:
    ec2 = sandbox.client()
    params: dict[str, Any] = {"Name": "web", "RootDeviceName": "/dev/xvda", "BlockDeviceMappings": root_of(root)}
    first = ec2.register_image(**params)["ImageId"]
    message = refused("InvalidAMIName.Duplicate", ec2.register_image, **params)
    assert message == f"AMI name web is already in use by AMI {first}"
    ec2.deregister_image(ImageId=first)
    assert ec2.register_image(**params)["ImageId"] != first


def test_billing_facts_are_carried_to_images(world: World, sandbox: Sandbox) -> None:
    """RegisterImage gives Linux/UNIX and the snapshot's product codes; CreateImage and CopyImage keep the source's."""
    make_instant(world)
    ids = sandbox.seed(
        {
            "image": {
                "name": "windows",
                "platform": "windows",
                "platform_details": "Windows",
                "usage_operation": "RunInstances:0002",
                "product_codes": ["abc"],
            },
            "instance": {"name": "web", "image": "windows", "state": "stopped"},
        }
    )
    ec2 = sandbox.client()
    snapshot = ec2.create_snapshot(VolumeId=ids["web/root"])["SnapshotId"]
    registered = only(
        ec2,
        ec2.register_image(Name="reg", RootDeviceName="/dev/xvda", BlockDeviceMappings=root_of(snapshot))["ImageId"],
    )
    assert (registered["PlatformDetails"], registered["UsageOperation"]) == ("Linux/UNIX", "RunInstances")
    assert "Platform" not in registered
    assert [one["ProductCodeId"] for one in registered["ProductCodes"]] == ["abc"]
    made = ec2.create_image(InstanceId=ids["web"], Name="made")["ImageId"]
    copied = ec2.copy_image(Name="copied", SourceImageId=made, SourceRegion="us-east-1")["ImageId"]
    for image in (made, copied):
        row = only(ec2, image)
        assert (row["Platform"], row["PlatformDetails"], row["UsageOperation"]) == (
            "windows",
            "Windows",
            "RunInstances:0002",
        )
        assert [one["ProductCodeId"] for one in row["ProductCodes"]] == ["abc"]


# --- CreateImage ------------------------------------------------------------------------------------------------------


def test_create_image_is_available_once_its_snapshots_are(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed({"instance": {"name": "web", "state": "stopped", "data_volumes": 1}})
    ec2 = sandbox.client()
    image = ec2.create_image(
        InstanceId=ids["web"],
        Name="web-1",
        NoReboot=True,
        TagSpecifications=[
            {"ResourceType": "image", "Tags": [{"Key": "on", "Value": "image"}]},
            {"ResourceType": "snapshot", "Tags": [{"Key": "on", "Value": "snapshot"}]},
        ],
    )["ImageId"]
    row = only(ec2, image)
    assert (row["State"], row["Tags"], row["SourceInstanceId"]) == (
        "pending",
        [{"Key": "on", "Value": "image"}],
        ids["web"],
    )
    for mapping in row["BlockDeviceMappings"]:
        assert not {"SnapshotId", "VolumeSize"} & set(mapping["Ebs"])
    world.clock.move(LONG)
    row = only(ec2, image)
    assert row["State"] == "pending"
    snapshots = [one["Ebs"]["SnapshotId"] for one in row["BlockDeviceMappings"]]
    made = ec2.describe_snapshots(SnapshotIds=snapshots)["Snapshots"]
    assert {one["VolumeId"] for one in made} == {ids["web/root"], ids["web/data1"]}
    assert all(one["Tags"] == [{"Key": "on", "Value": "snapshot"}] for one in made)
    assert all(one["Description"] == f"Created by CreateImage({ids['web']}) for {image}" for one in made)
    refused(
        "InvalidAMIID.Unavailable", ec2.run_instances, ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1
    )
    world.clock.move(LONG)
    assert only(ec2, image)["State"] == "available"
    deletes = [one["Ebs"]["DeleteOnTermination"] for one in only(ec2, image)["BlockDeviceMappings"]]
    assert deletes == [True, False]


def test_create_image_and_its_block_devices(world: World, sandbox: Sandbox) -> None:
    """A device may be larger than its volume, or of another type.

    NoDevice removes a device, and a missing one is no error.
    """
    make_instant(world)
    ids = sandbox.seed({"instance": {"name": "web", "state": "stopped", "data_volumes": 2}})
    ec2 = sandbox.client()
    image = ec2.create_image(
        InstanceId=ids["web"],
        Name="web-1",
        BlockDeviceMappings=[
            {"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": False, "VolumeSize": 99}},
            {"DeviceName": "/dev/sdf", "NoDevice": ""},
            {"DeviceName": "/dev/sdg", "Ebs": {"VolumeType": "io2", "Iops": 500}},
            {"DeviceName": "/dev/sdq", "NoDevice": ""},
            {"DeviceName": "/dev/sdz", "Ebs": {"VolumeSize": 3, "VolumeType": "gp3"}},
        ],
    )["ImageId"]
    mappings = {one["DeviceName"]: one["Ebs"] for one in only(ec2, image)["BlockDeviceMappings"]}
    assert set(mappings) == {"/dev/xvda", "/dev/sdg", "/dev/sdz"}
    xvda, sdg = mappings["/dev/xvda"], mappings["/dev/sdg"]
    assert (xvda["DeleteOnTermination"], xvda["VolumeSize"], xvda["VolumeType"]) == (False, 99, "gp3")
    assert (sdg["DeleteOnTermination"], sdg["VolumeSize"], sdg["VolumeType"], sdg["Iops"]) == (False, 8, "io2", 500)
    assert "Throughput" not in sdg
    assert "SnapshotId" not in mappings["/dev/sdz"]
    for mapping in (
        {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 7}},
        {"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True}},
        {"DeviceName": "/dev/xvda", "NoDevice": ""},
    ):
        refused(
            "InvalidBlockDeviceMapping",
            ec2.create_image,
            InstanceId=ids["web"],
            Name="nothing",
            BlockDeviceMappings=[mapping],
        )


def test_create_image_fails_with_a_changing_instance_or_a_failed_snapshot(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed({"instance": {"name": "web"}})
    ec2 = sandbox.client()
    with sandbox.fault("CreateImage", kind="end", message="Internal failure"):
        image = ec2.create_image(InstanceId=ids["web"], Name="broken", NoReboot=True)["ImageId"]
    ec2.stop_instances(InstanceIds=[ids["web"]])
    refused("IncorrectState", ec2.create_image, InstanceId=ids["web"], Name="web-1")
    world.clock.move(3 * LONG)
    row = only(ec2, image)
    assert (row["State"], row["StateReason"]["Message"]) == ("failed", "Internal failure")
    snapshot = row["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    assert ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["State"] == "error"


# --- CopyImage --------------------------------------------------------------------------------------------------------


def test_image_is_copied_to_another_region(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"image": {"name": "base", "tags": {"a": "b"}, "facts": {"ImdsSupport": "v2.0"}}})
    make_slow(world)
    west = sandbox.client(region="us-west-2")
    params: dict[str, Any] = {
        "Name": "base",
        "SourceImageId": ids["base"],
        "SourceRegion": "us-east-1",
        "Encrypted": True,
        "ClientToken": str(uuid.uuid4()),
        "TagSpecifications": [
            {"ResourceType": "snapshot", "Tags": [{"Key": "on", "Value": "snapshot"}]},
            {"ResourceType": "image", "Tags": [{"Key": "on", "Value": "image"}]},
        ],
    }
    image = west.copy_image(**params)["ImageId"]
    assert west.copy_image(**params)["ImageId"] == image
    refused("IdempotentParameterMismatch", west.copy_image, **{**params, "Description": "x"})
    row = only(west, image)
    assert (row["State"], row["SourceImageId"], row["SourceImageRegion"], row["ImdsSupport"]) == (
        "pending",
        ids["base"],
        "us-east-1",
        "v2.0",
    )
    assert row["Tags"] == [{"Key": "on", "Value": "image"}]  # the source's tags are not copied by default
    world.clock.move(LONG)
    row = only(west, image)
    assert row["State"] == "available"
    (mapping,) = row["BlockDeviceMappings"]
    assert mapping["Ebs"]["Encrypted"] is True
    (snapshot,) = west.describe_snapshots(SnapshotIds=[mapping["Ebs"]["SnapshotId"]])["Snapshots"]
    assert (snapshot["Encrypted"], snapshot["Tags"]) == (True, [{"Key": "on", "Value": "snapshot"}])
    both = west.copy_image(Name="tagged", SourceImageId=ids["base"], SourceRegion="us-east-1", CopyImageTags=True)[
        "ImageId"
    ]
    assert only(west, both)["Tags"] == [{"Key": "a", "Value": "b"}]
    refused(
        "InvalidAMIID.NotFound",
        west.copy_image,
        Name="nothing",
        SourceImageId="ami-0123456789abcdef0",
        SourceRegion="us-east-1",
    )
    west.deregister_image(ImageId=image)
    refused("IdempotentParameterMismatch", west.copy_image, **params)


# --- reading ----------------------------------------------------------------------------------------------------------


def test_describe_images_filters_and_pages(world: World, sandbox: Sandbox) -> None:
    ids = sandbox.seed({"images": [{"name": f"web-{i}", "tags": {"n": str(i)}} for i in range(7)]})
    ec2 = sandbox.client()

    def found(**params: Any) -> list[str]:
        return sorted(one["Name"] for one in ec2.describe_images(**params)["Images"])

    def by(name: str, *values: str) -> list[str]:
        return found(Filters=[{"Name": name, "Values": list(values)}])

    assert len(found(Owners=["self"])) == 7
    assert found(Owners=["amazon"]) == []
    assert by("name", "web-1", "web-2") == ["web-1", "web-2"]
    assert by("tag:n", "3") == ["web-3"]
    assert by("block-device-mapping.snapshot-id", ids["web-4/root"]) == ["web-4"]
    assert by("image-id", ids["web-5"]) == ["web-5"]
    assert len(by("state", "available")) == 7
    assert by("ena-support", "false") == []
    assert len(by("root-device-type", "ebs")) == 7
    refused("InvalidParameterValue", ec2.describe_images, Filters=[{"Name": "colour", "Values": ["x"]}])
    pages = list(ec2.get_paginator("describe_images").paginate(Owners=["self"], PaginationConfig={"PageSize": 5}))
    assert [len(page["Images"]) for page in pages] == [5, 2]
    refused("InvalidParameterCombination", ec2.describe_images, ImageIds=[ids["web-1"]], MaxResults=5)
    refused("InvalidAMIID.Malformed", ec2.describe_images, ImageIds=["web"])
    refused(
        "InvalidAMIID.NotFound", ec2.describe_images, ImageIds=["ami-0123456789abcdef0"], text="ami-0123456789abcdef0"
    )


def test_deregistered_image_is_hidden(world: World, sandbox: Sandbox) -> None:
    """ "twice → InvalidAMIID.Unavailable; DescribeImages of a deregistered id → empty list"."""
    ids = sandbox.seed({"image": {"name": "web"}})
    ec2 = sandbox.client()
    ec2.deregister_image(ImageId=ids["web"])
    assert ec2.describe_images(ImageIds=[ids["web"]])["Images"] == []
    refused("InvalidAMIID.Unavailable", ec2.deregister_image, ImageId=ids["web"])
    refused("InvalidAMIID.Unavailable", ec2.run_instances, ImageId=ids["web"], MinCount=1, MaxCount=1)
    assert ec2.describe_snapshots(SnapshotIds=[ids["web/root"]])["Snapshots"] != []


def test_image_is_deregistered_with_its_snapshots(world: World, sandbox: Sandbox, root: str) -> None:
    """ "snapshots shared by several AMIs are skipped"."""
    ids = sandbox.seed({"image": {"name": "web"}})
    ec2 = sandbox.client()
    both = [*root_of(root), {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": ids["web/root"]}}]
    image = ec2.register_image(Name="two", RootDeviceName="/dev/xvda", BlockDeviceMappings=both)["ImageId"]
    results = ec2.deregister_image(ImageId=image, DeleteAssociatedSnapshots=True)["DeleteSnapshotResults"]
    assert {one["SnapshotId"]: one["ReturnCode"] for one in results} == {root: "success", ids["web/root"]: "skipped"}
    refused("InvalidSnapshot.NotFound", ec2.describe_snapshots, SnapshotIds=[root])


def test_disabled_image_cannot_be_launched_until_enabled(world: World, sandbox: Sandbox) -> None:
    """DisableImage removes all launch permissions and hides; EnableImage does not give shares back."""
    make_instant(world)
    ids = sandbox.seed({"image": {"name": "web"}})
    ec2, other = sandbox.client(), sandbox.client(account="111122223333")
    ec2.modify_image_attribute(ImageId=ids["web"], LaunchPermission={"Add": [{"UserId": "111122223333"}]})
    assert [one["ImageId"] for one in other.describe_images()["Images"]] == [ids["web"]]
    ec2.disable_image(ImageId=ids["web"])
    assert ec2.describe_images(Owners=["self"])["Images"] == []
    (row,) = ec2.describe_images(Owners=["self"], IncludeDisabled=True)["Images"]
    assert row["State"] == "disabled"
    assert other.describe_images()["Images"] == []
    refused(
        "InvalidAMIID.Unavailable",
        ec2.run_instances,
        ImageId=ids["web"],
        InstanceType="t3.micro",
        MinCount=1,
        MaxCount=1,
    )
    ec2.enable_image(ImageId=ids["web"])
    assert only(ec2, ids["web"])["State"] == "available"
    permissions = ec2.describe_image_attribute(ImageId=ids["web"], Attribute="launchPermission")["LaunchPermissions"]
    assert permissions == []


def test_attributes_of_an_image_are_read_and_changed(world: World, sandbox: Sandbox) -> None:
    ids = sandbox.seed({"image": {"name": "web"}})
    ec2 = sandbox.client()
    ec2.modify_image_attribute(ImageId=ids["web"], Description={"Value": "new"})
    ec2.modify_image_attribute(ImageId=ids["web"], ImdsSupport={"Value": "v2.0"})
    row = only(ec2, ids["web"])
    assert (row["Description"], row["ImdsSupport"]) == ("new", "v2.0")
    refused(
        "InvalidParameterCombination",
        ec2.modify_image_attribute,
        ImageId=ids["web"],
        Description={"Value": "x"},
        LaunchPermission={"Add": [{"Group": "all"}]},
        text="Fields for multiple attribute types specified",
    )
    ec2.modify_image_attribute(ImageId=ids["web"], LaunchPermission={"Add": [{"Group": "all"}]})
    assert only(ec2, ids["web"])["Public"] is True


def test_encryption_keeps_an_image_from_being_shared(world: World, sandbox: Sandbox) -> None:
    """hashicorp/packer#7410 and opendevstack/ods-core#1062 have the texts."""
    make_instant(world)
    key = sandbox.client("kms").create_key()["KeyMetadata"]["Arn"]
    ids = sandbox.seed({"image": {"name": "web"}})
    ec2 = sandbox.client()
    made = {
        name: ec2.copy_image(Name=name, SourceImageId=ids["web"], SourceRegion="us-east-1", Encrypted=True, **more)[
            "ImageId"
        ]
        for name, more in {"managed": {}, "own": {"KmsKeyId": key}}.items()
    }
    account: Any = {"Add": [{"UserId": "111122223333"}]}
    refused(
        "InvalidParameter",
        ec2.modify_image_attribute,
        ImageId=made["managed"],
        LaunchPermission=account,
        text="Snapshots encrypted with the AWS Managed CMK can't be shared.",
    )
    ec2.modify_image_attribute(ImageId=made["own"], LaunchPermission=account)
    public: Any = {"Add": [{"Group": "all"}]}
    refused("UnsupportedOperation", ec2.modify_image_attribute, ImageId=made["own"], LaunchPermission=public)


def test_organizations_and_units_are_named_by_their_arns(sandbox: Sandbox) -> None:
    ids = sandbox.seed({"image": {"name": "web"}})
    ec2 = sandbox.client()
    arn = "arn:aws:organizations::111122223333"
    entries: Any = [
        {"OrganizationArn": f"{arn}:organization/o-abcdefghij"},
        {"OrganizationalUnitArn": f"{arn}:ou/o-abcdefghij/ou-abcd-12345678"},
    ]
    ec2.modify_image_attribute(ImageId=ids["web"], LaunchPermission={"Add": entries})
    shown = ec2.describe_image_attribute(ImageId=ids["web"], Attribute="launchPermission")["LaunchPermissions"]
    assert shown == entries
    for name in ("OrganizationArn", "OrganizationalUnitArn"):
        wrong: Any = {"Add": [{name: "o-abcdefghij"}]}
        refused("InvalidParameterValue", ec2.modify_image_attribute, ImageId=ids["web"], LaunchPermission=wrong)


def test_copy_of_a_shared_image_needs_its_snapshots(world: World, sandbox: Sandbox) -> None:
    """awslabs/amazon-eks-ami#52."""
    make_instant(world)
    ids = sandbox.seed({"image": {"name": "web"}})
    ec2, other = sandbox.client(), sandbox.client(region="eu-west-1", account="111122223333")
    ec2.modify_image_attribute(ImageId=ids["web"], LaunchPermission={"Add": [{"UserId": "111122223333"}]})
    copy = {"Name": "copy", "SourceImageId": ids["web"], "SourceRegion": "us-east-1"}
    refused("InvalidRequest", other.copy_image, **copy, text="You do not have permission to access the storage")
    for mapping in only(ec2, ids["web"])["BlockDeviceMappings"]:
        ec2.modify_snapshot_attribute(
            SnapshotId=mapping["Ebs"]["SnapshotId"],
            Attribute="createVolumePermission",
            OperationType="add",
            UserIds=["111122223333"],
        )
    assert other.copy_image(**copy)["ImageId"].startswith("ami-")


def test_deprecated_and_protected_images_follow_ec2(world: World, sandbox: Sandbox) -> None:
    ids = sandbox.seed({"image": {"name": "web"}})
    ec2 = sandbox.client()
    now = world.clock.now()
    ec2.enable_image_deprecation(ImageId=ids["web"], DeprecateAt=now + timedelta(days=1, seconds=61))
    assert only(ec2, ids["web"])["DeprecationTime"].endswith(":00.000Z")  # minute precision
    refused(
        "InvalidParameterValue", ec2.enable_image_deprecation, ImageId=ids["web"], DeprecateAt=now - timedelta(hours=1)
    )
    refused(
        "InvalidParameterValue",
        ec2.enable_image_deprecation,
        ImageId=ids["web"],
        DeprecateAt=now + timedelta(days=4000),
    )
    ec2.disable_image_deprecation(ImageId=ids["web"])
    assert "DeprecationTime" not in only(ec2, ids["web"])
    ec2.enable_image_deregistration_protection(ImageId=ids["web"], WithCooldown=True)
    refused("OperationNotPermitted", ec2.deregister_image, ImageId=ids["web"])
    ec2.disable_image_deregistration_protection(ImageId=ids["web"])
    refused("OperationNotPermitted", ec2.deregister_image, ImageId=ids["web"], text="disabled after")
    world.clock.move(86400)
    ec2.deregister_image(ImageId=ids["web"])
