# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes against the known facts of EBS: limits, normalisation, states, attachments, modifications."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from domain import LONG, make_instant, make_slow, refused

from sandbox.errors import Ec2Error
from sandbox.volumes import checked_size, checked_type, performance

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World

ZONE = "us-east-1a"


@pytest.mark.parametrize(
    "volume_type, least, most",
    [
        ("gp3", 1, 65536),
        ("gp2", 1, 16384),
        ("io1", 4, 16384),
        ("io2", 4, 65536),
        ("st1", 125, 16384),
        ("sc1", 125, 16384),
        ("standard", 1, 1024),
    ],
)
def test_size_outside_the_range_of_its_type_is_refused(volume_type: str, least: int, most: int) -> None:
    checked_size(volume_type, least)
    checked_size(volume_type, most)
    for wrong in (least - 1, most + 1, -5):
        with pytest.raises(Ec2Error) as caught:
            checked_size(volume_type, wrong)
        assert caught.value.code == "InvalidParameterValue"


@pytest.mark.parametrize(
    "volume_type, size, iops, throughput, expected",
    [
        ("gp3", 1, None, None, (3000, 125)),
        ("gp3", 1, 500, None, (3000, 125)),  # "gp3 Iops=500 on 1 GiB succeeds and becomes 3000"
        ("gp3", 1, None, 0, (3000, 125)),  # "gp3 Throughput 0/1/124 succeeds and becomes 125"
        ("gp3", 1, None, 1, (3000, 125)),
        ("gp3", 1, None, 124, (3000, 125)),
        ("gp3", 1, 3000, None, (3000, 125)),  # the 3,000 baseline is exempt from the ratio
        ("gp3", 160, 80000, 2000, (80000, 2000)),
        ("gp3", 8, 4000, 1000, (4000, 1000)),  # 0.25 MiB/s per IOPS
        ("gp2", 1, None, None, (100, None)),  # max(100, 3/GiB)
        ("gp2", 100, None, None, (300, None)),
        ("io1", 4, 200, None, (200, None)),
        ("io2", 4, 4000, None, (4000, None)),
        ("io2", 256, 256000, None, (256000, None)),
        ("standard", 1, None, None, (None, None)),
        ("st1", 125, None, None, (None, None)),
    ],
)
def test_performance_is_normalised_as_ebs_does(
    volume_type: str, size: int, iops: int | None, throughput: int | None, expected: tuple[int | None, int | None]
) -> None:
    assert performance(volume_type, size, iops, throughput) == expected


@pytest.mark.parametrize(
    "volume_type, size, iops, throughput, code, text",
    [
        (
            "gp3",
            8,
            4008,
            None,
            "InvalidParameterValue",
            "Iops to volume size ratio of 501.000000 is too high; maximum is 500",
        ),
        ("gp3", 65536, 80001, None, "InvalidParameterValue", "maximum is 80000"),
        ("gp3", 65536, 80000, 2001, "InvalidParameterValue", "maximum is 2000"),
        (
            "gp3",
            8,
            3000,
            751,
            "InvalidParameterValue",
            "is too high; maximum is 0.250000 MiBps per iops",
        ),
        ("io1", 4, 201, None, "InvalidParameterValue", "maximum is 50"),
        ("io2", 4, 4001, None, "InvalidParameterValue", "maximum is 1000"),
        ("io1", 4, 99, None, "InvalidParameterValue", "minimum is 100"),
        ("io2", 4, None, None, "InvalidParameterCombination", "iops"),
        ("gp2", 4, 100, None, "InvalidParameterCombination", "iops"),
        ("gp2", 4, None, 125, "InvalidParameterCombination", "throughput"),
        ("io1", 4, 100, 125, "InvalidParameterCombination", "throughput"),
        ("st1", 125, 100, None, "InvalidParameterCombination", "iops"),
        ("standard", 1, None, 125, "InvalidParameterCombination", "throughput"),
    ],
)
def test_performance_that_a_type_does_not_take_is_refused(
    volume_type: str, size: int, iops: int | None, throughput: int | None, code: str, text: str
) -> None:
    with pytest.raises(Ec2Error) as caught:
        performance(volume_type, size, iops, throughput)
    assert caught.value.code == code
    assert text in caught.value.message


def test_unknown_volume_types_are_refused() -> None:
    """ "VolumeType=GP3 → gp3; empty type → gp2"; an unknown one is UnknownVolumeType."""
    assert (checked_type("GP3"), checked_type(""), checked_type(None)) == ("gp3", "gp2", "gp2")
    with pytest.raises(Ec2Error) as caught:
        checked_type("zz9")
    assert caught.value.code == "UnknownVolumeType"


@pytest.mark.parametrize(
    "params, code",
    [
        ({"Size": 8}, "MissingParameter"),
        ({"AvailabilityZone": ZONE, "AvailabilityZoneId": "use1-az1", "Size": 8}, "InvalidParameterCombination"),
        ({"AvailabilityZone": "us-east-1z", "Size": 8}, "InvalidZone.NotFound"),
        ({"AvailabilityZoneId": "use1-az99", "Size": 8}, "InvalidZone.NotFound"),
        ({"AvailabilityZone": ZONE}, "MissingParameter"),
        ({"AvailabilityZone": ZONE, "SnapshotId": "snap-0123456789abcdef0"}, "InvalidSnapshot.NotFound"),
        ({"AvailabilityZone": ZONE, "SnapshotId": "vol-1"}, "InvalidParameterValue"),
        ({"AvailabilityZone": ZONE, "Size": 8, "KmsKeyId": "alias/x"}, "InvalidParameterCombination"),
        (
            {"AvailabilityZone": ZONE, "Size": 8, "VolumeType": "gp3", "MultiAttachEnabled": True},
            "InvalidParameterCombination",
        ),
        ({"AvailabilityZone": ZONE, "Size": 8, "VolumeInitializationRate": 100}, "InvalidParameterCombination"),
        (
            {"AvailabilityZone": ZONE, "Size": 8, "TagSpecifications": [{"ResourceType": "snapshot", "Tags": []}]},
            "InvalidParameterValue",
        ),
    ],
)
def test_invalid_volumes_are_refused(sandbox: Sandbox, params: dict[str, Any], code: str) -> None:
    ec2 = sandbox.client()
    refused(code, ec2.create_volume, **params)
    assert ec2.describe_volumes()["Volumes"] == []


def test_create_volume_shows_little_and_describe_volumes_all(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ec2 = sandbox.client()
    made = ec2.create_volume(
        AvailabilityZoneId="use1-az6",
        Size=8,
        VolumeType="gp3",
        TagSpecifications=[{"ResourceType": "volume", "Tags": [{"Key": "a", "Value": "<&>"}]}],
    )
    assert made["State"] == "creating"
    assert not {"Attachments", "OwnerId", "VolumeArn", "Operator"} & set(made)
    assert made["CreateTime"].microsecond == 0
    (row,) = ec2.describe_volumes(VolumeIds=[made["VolumeId"]])["Volumes"]
    assert (row["State"], row["AvailabilityZone"], row["Iops"], row["Throughput"]) == ("creating", ZONE, 3000, 125)
    assert row["Tags"] == [{"Key": "a", "Value": "<&>"}]
    assert row["VolumeArn"].endswith(made["VolumeId"])
    world.clock.move(LONG)
    assert ec2.describe_volumes()["Volumes"][0]["State"] == "available"
    ec2.delete_volume(VolumeId=made["VolumeId"])
    assert ec2.describe_volumes()["Volumes"][0]["State"] == "deleting"
    world.clock.move(LONG)
    assert ec2.describe_volumes()["Volumes"] == []
    refused("InvalidVolume.NotFound", ec2.describe_volumes, VolumeIds=[made["VolumeId"]], text=made["VolumeId"])


def test_client_token_replay_follows_ec2(world: World, sandbox: Sandbox) -> None:
    """ "exact replay → same id and current state; changed parameter → IdempotentParameterMismatch; explicit default vs
    omitted counts as changed; replay after deletion → IdempotentParameterMismatch"."""
    make_instant(world)
    ec2 = sandbox.client()
    params = {"AvailabilityZone": ZONE, "Size": 8, "VolumeType": "gp3", "ClientToken": str(uuid.uuid4())}
    made = ec2.create_volume(**params)["VolumeId"]
    again = ec2.create_volume(**params)
    assert (again["VolumeId"], again["State"]) == (made, "available")
    refused("IdempotentParameterMismatch", ec2.create_volume, **{**params, "Size": 9})
    refused("IdempotentParameterMismatch", ec2.create_volume, **params, Iops=3000)
    ec2.delete_volume(VolumeId=made)
    refused("IdempotentParameterMismatch", ec2.create_volume, **params, text="already deleted")
    assert ec2.describe_volumes()["Volumes"] == []


def test_dry_run_validates_first_but_not_multi_attach(sandbox: Sandbox) -> None:
    """ "CreateVolume validates size/type/IOPS/tags before answering DryRunOperation (but not gp3+MultiAttach)"."""
    ec2 = sandbox.client()
    refused("InvalidParameterValue", ec2.create_volume, AvailabilityZone=ZONE, Size=0, VolumeType="gp3", DryRun=True)
    refused(
        "DryRunOperation",
        ec2.create_volume,
        AvailabilityZone=ZONE,
        Size=8,
        VolumeType="gp3",
        MultiAttachEnabled=True,
        DryRun=True,
    )
    assert ec2.describe_volumes()["Volumes"] == []


def test_volumes_are_encrypted_by_key_and_default(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ec2, kms = sandbox.client(), sandbox.client("kms")
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    kms.create_alias(AliasName="alias/mine", TargetKeyId=arn)
    key = ec2.create_volume(AvailabilityZone=ZONE, Size=8, Encrypted=True, KmsKeyId="alias/mine")
    assert (key["Encrypted"], key["KmsKeyId"]) == (True, arn)
    snapshot = ec2.create_snapshot(VolumeId=key["VolumeId"])["SnapshotId"]
    inherited = ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot)
    assert (inherited["Encrypted"], inherited["KmsKeyId"]) == (True, arn)
    refused(
        "InvalidParameterCombination", ec2.create_volume, AvailabilityZone=ZONE, SnapshotId=snapshot, Encrypted=False
    )
    # A key that does not exist: "the action can appear to complete, but eventually fails".
    broken = ec2.create_volume(AvailabilityZone=ZONE, Size=8, Encrypted=True, KmsKeyId="alias/nothing")["VolumeId"]
    refused("InvalidVolume.NotFound", ec2.describe_volumes, VolumeIds=[broken])
    ec2.enable_ebs_encryption_by_default()
    assert ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"] is True
    assert ec2.create_volume(AvailabilityZone=ZONE, Size=8)["Encrypted"] is True


def test_volume_from_a_snapshot_has_its_content(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed({"volume": {"name": "data", "Size": 10}})
    ec2 = sandbox.client()
    snapshot = ec2.create_snapshot(VolumeId=ids["data"])["SnapshotId"]
    refused(
        "IncorrectState",
        ec2.create_volume,
        AvailabilityZone=ZONE,
        SnapshotId=snapshot,
        text="Snapshot is in invalid state - pending",
    )
    world.clock.move(LONG)
    assert ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot, Size=9)["Size"] == 10
    assert ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot)["Size"] == 10
    rated = ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot, VolumeInitializationRate=300)
    assert rated["VolumeInitializationRate"] == 300
    refused(
        "InvalidParameterValue",
        ec2.create_volume,
        AvailabilityZone=ZONE,
        SnapshotId=snapshot,
        VolumeInitializationRate=99,
        text="The value specified for VolumeInitializationRate is not in the allowed range.",
    )


def test_volumes_are_filtered_and_paged(sandbox: Sandbox) -> None:
    ids = sandbox.seed(
        {
            "volumes": [{"name": f"v{i}", "Size": i, "tags": {"n": str(i % 2)}} for i in range(1, 13)],
            "instance": {"name": "web"},
        }
    )
    ec2 = sandbox.client()

    def found(name: str, *values: str) -> set[str]:
        answer = ec2.describe_volumes(Filters=[{"Name": name, "Values": list(values)}])
        return {one["VolumeId"] for one in answer["Volumes"]}

    assert found("size", "3", "4") == {ids["v3"], ids["v4"]}
    assert len(found("tag:n", "1")) == 6
    assert found("attachment.instance-id", ids["web"]) == {ids["web/root"]}
    assert found("attachment.device", "/dev/xv*") == {ids["web/root"]}
    assert found("status", "in-use") == {ids["web/root"]}
    assert found("create-time", "2*") >= {ids[f"v{i}"] for i in range(1, 13)}
    assert found("multi-attach-enabled", "true") == set()
    refused(
        "InvalidParameterValue", ec2.describe_volumes, Filters=[{"Name": "colour", "Values": ["red"]}], text="colour"
    )
    first = ec2.describe_volumes(MaxResults=5)
    assert len(first["Volumes"]) == 5
    assert len(list(ec2.get_paginator("describe_volumes").paginate(PaginationConfig={"PageSize": 5}))) == 3
    refused("InvalidParameterCombination", ec2.describe_volumes, VolumeIds=[ids["v1"]], MaxResults=5)
    refused("InvalidParameterValue", ec2.describe_volumes, MaxResults=1, text="Expecting a value greater than 5")


# --- attachments ------------------------------------------------------------------------------------------------------


def attachments(ec2: Any, volume_id: str) -> list[tuple[str, str, str]]:
    (row,) = ec2.describe_volumes(VolumeIds=[volume_id])["Volumes"]
    return [(one["InstanceId"], one["Device"], one["State"]) for one in row["Attachments"]]


def test_creating_volumes_are_found_by_their_snapshot(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    found = sandbox.seed({"snapshots": {"count": 2, "name": "all"}})
    ec2 = sandbox.client()
    for snapshot_id in found["all"]:
        ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=snapshot_id)
    wanted = [{"Name": "status", "Values": ["creating"]}, {"Name": "snapshot-id", "Values": found["all"][:1]}]
    (row,) = ec2.describe_volumes(Filters=wanted)["Volumes"]
    assert (row["SnapshotId"], row["State"]) == (found["all"][0], "creating")
    world.clock.move(LONG)
    assert ec2.describe_volumes(Filters=wanted)["Volumes"] == []
    assert len(ec2.describe_volumes(Filters=wanted[1:])["Volumes"]) == 1


def test_attach_and_detach_take_time(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed({"instance": {"name": "web"}, "volume": {"name": "data"}})
    ec2 = sandbox.client()
    answer = ec2.attach_volume(VolumeId=ids["data"], InstanceId=ids["web"], Device="/dev/sdf")
    assert answer["State"] == "attaching"
    assert ec2.describe_volumes(VolumeIds=[ids["data"]])["Volumes"][0]["State"] == "in-use"
    world.clock.move(LONG)
    assert attachments(ec2, ids["data"]) == [(ids["web"], "/dev/sdf", "attached")]
    (row,) = ec2.describe_volumes(VolumeIds=[ids["data"]])["Volumes"]
    assert row["Attachments"][0]["DeleteOnTermination"] is False
    refused("VolumeInUse", ec2.delete_volume, VolumeId=ids["data"])
    assert ec2.detach_volume(VolumeId=ids["data"])["State"] == "detaching"
    assert attachments(ec2, ids["data"]) == [(ids["web"], "/dev/sdf", "detaching")]
    refused("IncorrectState", ec2.detach_volume, VolumeId=ids["data"])
    world.clock.move(LONG)
    assert attachments(ec2, ids["data"]) == []
    refused("IncorrectState", ec2.detach_volume, VolumeId=ids["data"], text="'available'")


def test_invalid_attachments_are_refused(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed(
        {
            "instances": [{"name": "a", "data_volumes": 1}, {"name": "b"}],
            "volumes": [
                {"name": "free"},
                {"name": "far", "AvailabilityZone": "us-east-1b"},
            ],
        }
    )
    ec2 = sandbox.client()
    attach = ec2.attach_volume
    refused("VolumeInUse", attach, VolumeId=ids["a/data1"], InstanceId=ids["b"], Device="/dev/sdf")
    refused("InvalidVolume.ZoneMismatch", attach, VolumeId=ids["far"], InstanceId=ids["a"], Device="/dev/sdg")
    refused(
        "InvalidParameterValue",
        attach,
        VolumeId=ids["free"],
        InstanceId=ids["a"],
        Device="/dev/sdf",
        text="already in use",
    )
    refused("InvalidParameterValue", attach, VolumeId=ids["free"], InstanceId=ids["a"], Device="foo bar")
    for device in ("/dev/sdzz", "/dev/xvdea", "/dev/xvdf1", "/dev/xvdzz15", "/dev/sdf16", "/dev/hdba"):
        refused("InvalidParameterValue", attach, VolumeId=ids["free"], InstanceId=ids["a"], Device=device, text=device)
    refused(
        "InvalidParameterValue", attach, VolumeId=ids["free"], InstanceId=ids["a"], Device="/dev/sdg", EbsCardIndex=9
    )
    refused(
        "InvalidInstanceID.NotFound", attach, VolumeId=ids["free"], InstanceId="i-0123456789abcdef0", Device="/dev/sdg"
    )
    ec2.stop_instances(InstanceIds=[ids["b"]])
    refused("IncorrectState", attach, VolumeId=ids["free"], InstanceId=ids["b"], Device="/dev/sdf")
    world.clock.move(LONG)
    assert attach(VolumeId=ids["free"], InstanceId=ids["b"], Device="/dev/sdf")["State"] == "attaching"


def test_attachment_beyond_the_limit_of_the_type_is_refused(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"instance": {"name": "web"}, "volumes": [{"name": f"v{i}", "Size": 1} for i in range(40)]})
    ec2 = sandbox.client()
    limits = ec2.describe_instance_types(InstanceTypes=["t3.micro"])["InstanceTypes"][0]["EbsInfo"]
    assert limits["MaximumEbsAttachments"] == 27
    room = 27 - 1  # the root; the first interface is left out of the limit already
    devices = [f"/dev/xvd{a}{b}" for a in "bcd" for b in "abcdefghijklmnopqrstuvwxyz"]
    for number in range(room):
        ec2.attach_volume(VolumeId=ids[f"v{number}"], InstanceId=ids["web"], Device=devices[number])
    refused(
        "AttachmentLimitExceeded",
        ec2.attach_volume,
        VolumeId=ids["v39"],
        InstanceId=ids["web"],
        Device=devices[room],
    )


def test_multi_attach_volume_is_attached_to_several_instances(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed(
        {
            "instances": [{"name": f"n{i}"} for i in range(3)],
            "volume": {"name": "shared", "VolumeType": "io2", "Iops": 100, "MultiAttachEnabled": True},
        }
    )
    ec2 = sandbox.client()
    for name in ("n0", "n1"):
        ec2.attach_volume(VolumeId=ids["shared"], InstanceId=ids[name], Device="/dev/sdf")
    assert {one[0] for one in attachments(ec2, ids["shared"])} == {ids["n0"], ids["n1"]}
    refused("VolumeInUse", ec2.attach_volume, VolumeId=ids["shared"], InstanceId=ids["n1"], Device="/dev/sdg")
    refused("MissingParameter", ec2.detach_volume, VolumeId=ids["shared"])
    refused("InvalidAttachment.NotFound", ec2.detach_volume, VolumeId=ids["shared"], InstanceId=ids["n2"])
    ec2.detach_volume(VolumeId=ids["shared"], InstanceId=ids["n0"])
    assert [one[0] for one in attachments(ec2, ids["shared"])] == [ids["n1"]]


def test_a_root_volume_is_detached_only_from_a_stopped_instance(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"instance": {"name": "web"}})
    ec2 = sandbox.client()
    refused("OperationNotPermitted", ec2.detach_volume, VolumeId=ids["web/root"], text="root volume")
    ec2.stop_instances(InstanceIds=[ids["web"]])
    ec2.detach_volume(VolumeId=ids["web/root"])
    refused("InvalidParameterValue", ec2.start_instances, InstanceIds=[ids["web"]], text="root (/dev/xvda)")


# --- modifications ----------------------------------------------------------------------------------------------------


def latest(ec2: Any, volume_id: str) -> dict[str, Any]:
    (row,) = ec2.describe_volumes_modifications(VolumeIds=[volume_id])["VolumesModifications"]
    return dict(row)


def test_modification_passes_through_its_states(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed({"volume": {"name": "data", "Size": 10}})
    ec2 = sandbox.client()
    refused("InvalidVolumeModification.NotFound", ec2.describe_volumes_modifications, VolumeIds=[ids["data"]])
    answer = ec2.modify_volume(VolumeId=ids["data"], Size=20, Iops=500)["VolumeModification"]
    assert answer["ModificationState"] == "modifying"
    assert (answer["OriginalSize"], answer["TargetSize"], answer["TargetIops"]) == (10, 20, 3000)
    assert ec2.describe_volumes(VolumeIds=[ids["data"]])["Volumes"][0]["Size"] == 10
    refused(
        "IncorrectModificationState",
        ec2.modify_volume,
        VolumeId=ids["data"],
        Size=30,
        text="modification state MODIFYING",
    )
    world.clock.move(LONG)
    assert latest(ec2, ids["data"])["ModificationState"] == "optimizing"
    assert ec2.describe_volumes(VolumeIds=[ids["data"]])["Volumes"][0]["Size"] == 20
    refused(
        "IncorrectModificationState",
        ec2.modify_volume,
        VolumeId=ids["data"],
        Size=30,
        text="modification state OPTIMIZING",
    )
    world.clock.move(LONG)
    row = latest(ec2, ids["data"])
    assert (row["ModificationState"], row["Progress"]) == ("completed", 100)
    assert row["EndTime"] > row["StartTime"]


def test_fifth_modification_in_24_hours_is_refused(world: World, sandbox: Sandbox) -> None:
    """ "same-size request is accepted as a real modification and eats one of the four"; the fifth names the time."""
    make_instant(world)
    ids = sandbox.seed({"volume": {"name": "data", "Size": 10}})
    ec2 = sandbox.client()
    first = ec2.modify_volume(VolumeId=ids["data"], Size=10)["VolumeModification"]["StartTime"]
    for size in (11, 12, 13):
        ec2.modify_volume(VolumeId=ids["data"], Size=size)
        assert latest(ec2, ids["data"])["TargetSize"] == size  # only the most recent one is shown
    message = refused("VolumeModificationRateExceeded", ec2.modify_volume, VolumeId=ids["data"], Size=14)
    day_after = f"{first.day + 1:02d}T" if first.day < 28 else "T"
    assert "Wait until " in message and day_after in message
    refused("DryRunOperation", ec2.modify_volume, VolumeId=ids["data"], Size=1, DryRun=True)
    world.clock.move(24 * 3600)
    assert ec2.modify_volume(VolumeId=ids["data"], Size=14)["VolumeModification"]["TargetSize"] == 14


@pytest.mark.parametrize(
    "volume, params, code, text",
    [
        ({"Size": 10}, {"Size": 9}, "InvalidParameterValue", "New size cannot be smaller than existing size"),
        ({"Size": 10}, {}, "InvalidParameterValue", "Must specify at least one of size, type, iops, throughput"),
        ({"Size": 10}, {"VolumeType": "zz9"}, "UnknownVolumeType", ""),
        ({"Size": 10}, {"VolumeType": "gp2", "Iops": 4000}, "InvalidParameterCombination", "iops"),
        ({"Size": 10}, {"MultiAttachEnabled": True}, "InvalidParameterCombination", "MultiAttachEnabled"),
        (
            {"Size": 10, "VolumeType": "io1", "Iops": 100, "MultiAttachEnabled": True},
            {"Size": 20},
            "InvalidParameterValue",
            "io1 volumes with Multi-Attach enabled",
        ),
    ],
)
def test_invalid_modifications_are_refused(
    world: World, sandbox: Sandbox, volume: dict[str, Any], params: dict[str, Any], code: str, text: str
) -> None:
    make_instant(world)
    ids = sandbox.seed({"volume": {"name": "data", **volume}})
    ec2 = sandbox.client()
    refused(code, ec2.modify_volume, VolumeId=ids["data"], **params, text=text)
    assert ec2.describe_volumes_modifications()["VolumesModifications"] == []


@pytest.mark.parametrize(
    "volume, params, target",
    [
        ({"VolumeType": "gp2"}, {"VolumeType": "gp3"}, ("gp3", 3000, 125)),
        ({"VolumeType": "gp3", "Iops": 4000, "Throughput": 500}, {"Size": 20}, ("gp3", 4000, 500)),
        ({"VolumeType": "gp3", "Iops": 4000, "Throughput": 500}, {"VolumeType": "gp2"}, ("gp2", 100, None)),
        ({"VolumeType": "gp3"}, {"VolumeType": "io2"}, ("io2", 3000, None)),
        ({"VolumeType": "gp3", "Throughput": 500}, {"VolumeType": "gp3", "Iops": 4000}, ("gp3", 4000, 500)),
    ],
)
def test_targets_are_normalised(
    world: World, sandbox: Sandbox, volume: dict[str, Any], params: dict[str, Any], target: tuple[Any, ...]
) -> None:
    make_instant(world)
    ids = sandbox.seed({"volume": {"name": "data", "Size": 10, **volume}})
    ec2 = sandbox.client()
    ec2.modify_volume(VolumeId=ids["data"], **params)
    (row,) = ec2.describe_volumes(VolumeIds=[ids["data"]])["Volumes"]
    assert (row["VolumeType"], row.get("Iops"), row.get("Throughput")) == target


def test_a_modification_that_fails_changes_nothing(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"volume": {"name": "data", "Size": 10}})
    ec2 = sandbox.client()
    with sandbox.fault("ModifyVolume", kind="end", message="No capacity"):
        ec2.modify_volume(VolumeId=ids["data"], Size=20)
    row = latest(ec2, ids["data"])
    assert (row["ModificationState"], row["StatusMessage"]) == ("failed", "No capacity")
    assert ec2.describe_volumes(VolumeIds=[ids["data"]])["Volumes"][0]["Size"] == 10


def test_modifications_are_filtered(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"volumes": [{"name": "a", "Size": 10, "tags": {"k": "v"}}, {"name": "b", "Size": 10}]})
    ec2 = sandbox.client()
    for name, size in (("a", 20), ("b", 30)):
        ec2.modify_volume(VolumeId=ids[name], Size=size)

    def found(name: str, value: str) -> list[str]:
        answer = ec2.describe_volumes_modifications(Filters=[{"Name": name, "Values": [value]}])
        return [one["VolumeId"] for one in answer["VolumesModifications"]]

    assert found("target-size", "30") == [ids["b"]]
    assert found("volume-id", ids["a"]) == [ids["a"]]
    assert found("original-multi-attach-enabled", "true") == []
    assert len(found("modification-state", "completed")) == 2
    # "Documented filters originalMultiAttachEnabled/targetMultiAttachEnabled are invalid".
    refused(
        "InvalidParameterValue",
        ec2.describe_volumes_modifications,
        Filters=[{"Name": "originalMultiAttachEnabled", "Values": ["true"]}],
    )
