# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resources that seed makes, and its result."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING, Any

import pytest
from domain import refused

from sandbox.client import SandboxError
from sandbox.seeding import seed

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World


def only(ec2: Any, instance_id: str) -> dict[str, Any]:
    return dict(ec2.describe_instances(InstanceIds=[instance_id])["Reservations"][0]["Instances"][0])


def test_the_shortest_specification_makes_a_whole_running_instance(sandbox: Sandbox) -> None:
    ids = sandbox.seed({"instance": {"name": "web", "data_volumes": 1}})
    assert {"web", "web/root", "web/data1", "base", "base/root"} <= set(ids)
    ec2 = sandbox.client()
    row = only(ec2, ids["web"])
    assert row["State"]["Name"] == "running"
    assert row["Tags"] == [{"Key": "Name", "Value": "web"}]
    assert {
        one["DeviceName"]: (one["Ebs"]["VolumeId"], one["Ebs"]["Status"]) for one in row["BlockDeviceMappings"]
    } == {
        "/dev/xvda": (ids["web/root"], "attached"),
        "/dev/sdf": (ids["web/data1"], "attached"),
    }
    assert row["VpcId"] and row["SubnetId"] and row["SecurityGroups"] and row["PublicIpAddress"]
    assert row["PrivateIpAddress"].startswith("172.31.")
    status = ec2.describe_instance_status(InstanceIds=[ids["web"]])["InstanceStatuses"][0]
    assert (status["InstanceStatus"]["Status"], status["SystemStatus"]["Status"]) == ("ok", "ok")
    assert sandbox.counts().get("RunInstances", 0) == 0


def test_instance_is_seeded_with_all_its_options(sandbox: Sandbox) -> None:
    ids = sandbox.seed(
        {
            "image": {"name": "golden", "unhealthy": True, "facts": {"BootMode": "uefi", "TpmSupport": "v2.0"}},
            "instances": [
                {
                    "name": "all",
                    "image": "golden",
                    "state": "stopped",
                    "tags": {"team": "ops"},
                    "elastic_ip": True,
                    "instance_profile": "web-role",
                    "key_name": "ops",
                    "user_data": "#!/bin/sh",
                    "operator": "eks.amazonaws.com",
                    "launched": 3600,
                    "data_volumes": [
                        {"name": "db", "device": "/dev/sdk", "Size": 20, "VolumeType": "io2", "Iops": 200}
                    ],
                    "options": {"DisableApiTermination": True},
                },
                {"name": "once", "spot": "one-time", "image": "golden"},
                {"name": "member", "auto_scaling": {"group": "web", "lifecycle_state": "Standby"}, "image": "golden"},
            ],
        }
    )
    ec2 = sandbox.client()
    row = only(ec2, ids["all"])
    assert row["State"]["Name"] == "stopped"
    assert row["PublicIpAddress"] == ids["all/elastic_ip"]
    assert row["IamInstanceProfile"]["Arn"].endswith("web-role")
    assert row["KeyName"] == "ops"
    assert row["Operator"] == {"Managed": True, "Principal": "eks.amazonaws.com"}
    assert {one["Key"]: one["Value"] for one in row["Tags"]} == {"Name": "all", "team": "ops"}
    assert row["BootMode"] == "uefi" and row["TpmSupport"] == "v2.0"
    (data,) = ec2.describe_volumes(VolumeIds=[ids["all/db"]])["Volumes"]
    assert (data["Size"], data["VolumeType"], data["Iops"], data["State"]) == (20, "io2", 200, "in-use")
    attribute = ec2.describe_instance_attribute(InstanceId=ids["all"], Attribute="userData")
    assert base64.b64decode(attribute["UserData"]["Value"]) == b"#!/bin/sh"
    assert only(ec2, ids["once"])["InstanceLifecycle"] == "spot"
    (spot,) = ec2.describe_spot_instance_requests()["SpotInstanceRequests"]
    assert (spot["InstanceId"], spot["Type"]) == (ids["once"], "one-time")
    (status,) = ec2.describe_instance_status(InstanceIds=[ids["once"]])["InstanceStatuses"]
    assert status["InstanceStatus"]["Status"] == "impaired"
    members = sandbox.client("autoscaling").describe_auto_scaling_instances(InstanceIds=[ids["member"]])
    assert [(one["AutoScalingGroupName"], one["LifecycleState"]) for one in members["AutoScalingInstances"]] == [
        ("web", "Standby")
    ]
    assert {"Key": "aws:autoscaling:groupName", "Value": "web"} in only(ec2, ids["member"])["Tags"]


def test_images_are_seeded_with_several_devices_and_billing_facts(sandbox: Sandbox) -> None:
    ids = sandbox.seed(
        {
            "images": [
                {
                    "name": "windows",
                    "platform": "windows",
                    "platform_details": "Windows",
                    "usage_operation": "RunInstances:0002",
                    "product_codes": ["abc123"],
                    "architecture": "x86_64",
                    "root": {"VolumeSize": 30},
                    "devices": [{"device": "xvdf", "VolumeSize": 5, "DeleteOnTermination": False}],
                }
            ]
        }
    )
    (image,) = sandbox.client().describe_images(ImageIds=[ids["windows"]])["Images"]
    assert (image["Platform"], image["PlatformDetails"], image["UsageOperation"]) == (
        "windows",
        "Windows",
        "RunInstances:0002",
    )
    assert [one["ProductCodeId"] for one in image["ProductCodes"]] == ["abc123"]
    assert [(one["DeviceName"], one["Ebs"]["VolumeSize"]) for one in image["BlockDeviceMappings"]] == [
        ("/dev/xvda", 30),
        ("xvdf", 5),
    ]


def test_bulk_snapshots_are_quick_and_even(world: World, sandbox: Sandbox) -> None:
    before = time.process_time()
    found = seed(world, {"snapshots": {"count": 20000, "volumes": 200, "tags": {"policy": "p"}, "every": 3600}})
    assert time.process_time() - before < 4
    assert (found["snapshots"], len(found["snapshot_volumes"])) == (20000, 200)
    rows = sandbox.client().describe_snapshots(
        OwnerIds=["self"], Filters=[{"Name": "volume-id", "Values": [found["snapshot_volumes"][7]]}]
    )["Snapshots"]
    assert len(rows) == 100
    assert {(rows[i + 1]["StartTime"] - rows[i]["StartTime"]).total_seconds() for i in range(99)} == {3600}
    assert {one["State"] for one in rows} == {"completed"}


def test_single_snapshots_have_the_marks_of_their_volume(sandbox: Sandbox) -> None:
    ids = sandbox.seed(
        {
            "volume": {"name": "data"},
            "snapshots": [
                {"name": "now", "volume": "data", "tags": {"a": "b"}},
                {"name": "old", "volume": "data", "age": 60},
            ],
        }
    )
    assert [one["text"] for one in sandbox.marks(ids["now"])["marks"]] == ["seeded"]
    assert sandbox.marks(ids["old"])["marks"] == []


def test_hundred_thousand_snapshots_are_seeded_in_seconds(world: World, sandbox: Sandbox) -> None:
    tags = {f"tag-{number}": "{volume} {number}" for number in range(5)}
    before = time.process_time()
    found = seed(world, {"snapshots": {"count": 100_000, "volumes": 1000, "tags": {**tags, "aws:dlm:managed": "true"}}})
    assert time.process_time() - before < 10
    assert found["snapshots"] == 100_000
    page = sandbox.client().describe_snapshots(OwnerIds=["self"], MaxResults=1000)
    assert len(page["Snapshots"]) == 1000
    row = page["Snapshots"][7]
    assert {one["Key"]: one["Value"] for one in row["Tags"]}["tag-3"] == f"{row['VolumeId']} 7"


def test_snapshots_are_seeded_in_any_state(world: World, sandbox: Sandbox) -> None:
    """Any tags (even of AWS), time, state, tier, lock and sharing; also of volumes that are gone."""
    world.config.update({"durations": {"snapshot_pending": 1000, "snapshot_copying": 1000}})
    day = 86400
    found = sandbox.seed(
        {
            "volume": {"name": "data", "Encrypted": True},
            "snapshots": [
                {
                    "name": "dated",
                    "volume": "data",
                    "at": "2026-03-01T00:00:00+01:00",
                    "tags": {"aws:dlm:managed": "1"},
                },
                {"name": "pending", "volume": "data", "state": "pending"},
                {"name": "failed", "volume": "data", "state": "error", "message": "no space"},
                {"name": "gone", "volume": "vol-0123456789abcdef0", "size": 5, "age": day},
                {"name": "archived", "volume": "data", "age": 30 * day, "archived": 10 * day},
                {"name": "restored", "volume": "data", "age": 30 * day, "archived": 10 * day, "restored": 3},
                {"name": "locked", "volume": "data", "lock": {"mode": "compliance", "days": 30, "age": day}},
                {"name": "copy", "volume": "data", "copied": True, "source": "dated", "shared_with": ["111122223333"]},
                {"name": "fast", "volume": "data", "fast_restore": ["us-east-1a"]},
            ],
        }
    )
    ec2, now = sandbox.client(), sandbox.now()
    rows = {one["SnapshotId"]: one for one in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]}
    shown = {name: rows[found[name]] for name in found if found[name] in rows}
    assert shown["dated"]["StartTime"].isoformat() == "2026-02-28T23:00:00+00:00"
    assert shown["dated"]["Tags"] == [{"Key": "aws:dlm:managed", "Value": "1"}]
    assert shown["dated"]["KmsKeyId"].startswith("arn:aws:kms:")
    assert (shown["failed"]["State"], shown["failed"]["StateMessage"]) == ("error", "no space")
    assert (shown["gone"]["VolumeId"], shown["gone"]["VolumeSize"]) == ("vol-0123456789abcdef0", 5)
    assert [one["Tags"] for one in rows.values() if "Tags" in one] == [shown["dated"]["Tags"]]
    tiers = {one["SnapshotId"]: one for one in ec2.describe_snapshot_tier_status()["SnapshotTierStatuses"]}
    assert round((now - tiers[found["archived"]]["ArchivalCompleteTime"]).total_seconds() / day) == 10
    assert (shown["archived"]["StorageTier"], shown["restored"]["StorageTier"]) == ("archive", "standard")
    assert round((shown["restored"]["RestoreExpiryTime"] - now).total_seconds() / day) == 3
    (lock,) = ec2.describe_locked_snapshots()["Snapshots"]
    assert (lock["SnapshotId"], lock["LockState"], lock["LockDuration"]) == (found["locked"], "compliance", 30)
    assert round((lock["LockExpiresOn"] - now).total_seconds() / day) == 29
    assert (shown["copy"]["VolumeId"], shown["copy"]["TransferType"]) == ("vol-ffffffff", "standard")
    assert sandbox.inspect(found["copy"])["source_id"] == found["dated"]
    other = sandbox.client(account="111122223333")
    assert [one["SnapshotId"] for one in other.describe_snapshots()["Snapshots"]] == [found["copy"]]
    (fast,) = ec2.describe_fast_snapshot_restores()["FastSnapshotRestores"]
    assert (fast["SnapshotId"], fast["State"]) == (found["fast"], "enabled")
    assert shown["pending"]["State"] == "pending"
    world.clock.move(1000)
    (row,) = ec2.describe_snapshots(SnapshotIds=[found["pending"]])["Snapshots"]
    assert row["State"] == "completed"


def test_bulk_snapshots_are_seeded_at_given_times(sandbox: Sandbox) -> None:
    found = sandbox.seed(
        {
            "volumes": [{"name": "a"}, {"name": "b"}],
            "snapshots": [
                {"times": ["2026-01-02", "2026-01-01T12:00:00Z"], "volumes": ["a", "b"], "name": "dated"},
                {
                    "count": 3,
                    "newest": "2026-02-03T00:00:00Z",
                    "every": 3600,
                    "name": "hourly",
                    "tags": {"at": "{start}"},
                },
            ],
        }
    )
    ec2 = sandbox.client()
    rows = ec2.describe_snapshots(SnapshotIds=found["dated"])["Snapshots"]
    assert [(f"{one['StartTime']:%d %H}", one["VolumeId"]) for one in rows] == [
        ("01 12", found["a"]),
        ("01 12", found["b"]),
        ("02 00", found["a"]),
        ("02 00", found["b"]),
    ]
    rows = ec2.describe_snapshots(SnapshotIds=found["hourly"])["Snapshots"]
    assert [one["Tags"][0]["Value"][:13] for one in rows] == ["2026-02-02T22", "2026-02-02T23", "2026-02-03T00"]
    assert found["snapshots"] == 7


def test_pending_snapshots_count_against_their_volume(world: World, sandbox: Sandbox) -> None:
    world.config.update({"durations": {"snapshot_pending": 1000}})
    found = sandbox.seed(
        {"volume": {"name": "data"}, "snapshots": [{"count": 5, "volumes": ["data"], "state": "pending"}]}
    )
    ec2 = sandbox.client()
    refused("ConcurrentSnapshotLimitExceeded", ec2.create_snapshot, VolumeId=found["data"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"nothing": 1},
        {"instance": {"colour": "red"}},
        {"instance": {"state": "pending"}},
        {"image": {"size": 1}},
        {"snapshots": {"count": 1, "colour": "red"}},
        {"snapshots": {"count": 1, "state": "half"}},
        {"snapshots": [{"name": "a", "volume": "vol-0123456789abcdef0"}]},
    ],
)
def test_unknown_seed_key_is_refused(sandbox: Sandbox, wrong: dict[str, Any]) -> None:
    with pytest.raises(SandboxError, match="seed"):
        sandbox.seed(wrong)


def test_chosen_ids_are_those_of_the_resources(sandbox: Sandbox) -> None:
    image, instance, volume = "ami-0123456789abcdef0", "i-0123456789abcdef0", "vol-0123456789abcdef0"
    names = sandbox.seed(
        {
            "image": {"id": image, "name": "web"},
            "instances": [{"id": instance, "name": "web"}, {"name": "other"}],
            "volume": {"id": volume, "name": "data", "Size": 1},
        }
    )
    assert (names["web"], names["data"]) == (instance, volume)
    assert names["other"] not in (instance, None)
    ec2 = sandbox.client()
    assert ec2.describe_images(ImageIds=[image])["Images"][0]["Name"] == "web"
    assert ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    assert ec2.describe_volumes(VolumeIds=[volume])["Volumes"][0]["Size"] == 1


def test_malformed_chosen_id_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="vol-1 is no id"):
        sandbox.seed({"volume": {"id": "vol-1", "Size": 1}})
