# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of `instance_relaunch`: its queries, launches, retirements, rollbacks and refusals."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import botocore.session
import botocore.validate
import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.hold import Hold
from ansible_collections.ec2ops.storage.plugins.module_utils._features.relaunch import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import Ambiguous, SpecError, UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import (
    CPU_CREDITS,
    INSTANCE_TYPE,
    SHUTDOWN_BEHAVIOR,
    STOP_PROTECTION,
    TARGET_GROUPS,
    TARGETS,
    TERMINATION_PROTECTION,
    USER_DATA,
    Target,
    TargetGroup,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import planned
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan, Stage, guard
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prediction import overlay
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Fact,
    Image,
    ImageDevice,
    Instance,
    Resource,
    Snapshot,
    Volume,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query, State, by_id
from hypothesis import given
from hypothesis import strategies as st

from asking import answered, asks
from relaunch_world import (
    AMI,
    AMI2,
    BASE,
    DATA,
    HELD,
    IMAGE,
    INTERFACE,
    M5_FACT,
    NEW,
    NOW,
    OLD,
    OLDEST,
    OTHER,
    REGION,
    REPLACES,
    ROOT,
    TAG,
    TRIAL,
    VOLUMES,
    actions,
    instance,
    launch,
    plain,
    plan,
    spec,
    successor,
    world,
)

HELD_PUBLIC = f"{HELD} public"
SPENT_PUBLIC = Hold(NOW - timedelta(days=3), NOW - timedelta(days=3), public=True).value


# The image's copy of the data volume.
COPY = Snapshot("snap-00000000000000002", volume_id=DATA)


def goals(made: Plan) -> list[str]:
    return [wait.goal for stage in made.stages for wait in stage.waits]


def returning(made: Plan) -> list[Stage]:
    """The stages whose rollback returns to the predecessor, not those that only yield to another run's successor."""
    return [stage for stage in made.stages if stage.on_failure and stage.rollback_on != {"superseded"}]


def way_back(made: Plan) -> list[list[str]]:
    (stage,) = returning(made)
    return [
        [f"{change.action} {'new' if change.resource == OTHER else change.resource[-1]}" for change in step.changes]
        for step in stage.on_failure
    ]


# --- options ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"instance_id": "web-1"}, "instance_id: 'web-1' is not an id"),
        ({"image_id": "web-1"}, "image_id: 'web-1' is not an id"),
        ({"image_id": OLD}, "image_id: .* is not an id"),
        ({"data_volumes": "move", "old_instance": "keep"}, "old_instance: keep excludes data_volumes: move"),
        ({"health": {"status_checks": True, "timeout": 0}}, "health.timeout: 0"),
        ({"overrides": {"user_data": "replace"}}, "user_data_content"),
        ({"overrides": {"user_data_content": "x"}}, "user_data_content"),
        ({"overrides": {"security_group_ids": []}}, "at least one security group"),
        ({"overrides": {"tags": {"aws:x": "y"}}}, "overrides.tags"),
        ({"overrides": {"tags": {"ec2ops:replaces": "y"}}}, "overrides.tags"),
    ],
)
def test_options_that_cannot_be_are_refused_before_any_call(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        spec(**options)


def test_omitted_health_has_defaults() -> None:
    assert (spec().status_checks, spec().health_timeout) == (True, 600)
    given_timeout = spec(health={"status_checks": False, "timeout": 60})
    assert (given_timeout.status_checks, given_timeout.health_timeout) == (False, 60)


# --- the replacement --------------------------------------------------------------------------------------------------


def test_predecessor_is_stopped_once_its_successor_is_healthy() -> None:
    made = plan(spec(), plain())
    assert actions(made) == ["RunInstances new", "CreateTags new", "StopInstances 1"]
    assert goals(made) == ["healthy", "stopped"]
    first, record, stop = made.stages
    assert first.waits[0].timeout == 600
    assert not first.waits[0].final
    assert record.changes[0].parameters == {"Tags": [{"Key": TRIAL, "Value": "serving"}]}
    assert stop.waits[0].final
    assert stop.changes[0].disruptive


def test_the_launch_carries_the_instance_over() -> None:
    change = launch(spec(), plain())
    assert change.parameters == {
        "MinCount": 1,
        "MaxCount": 1,
        "ImageId": AMI,
        "InstanceType": "m5.large",
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "DeleteOnTermination": True,
                "SubnetId": "subnet-1",
                "Groups": ["sg-1", "sg-2"],
                "AssociatePublicIpAddress": False,
            }
        ],
        "TagSpecifications": [
            {
                "ResourceType": "instance",
                "Tags": [
                    {"Key": "Name", "Value": "web"},
                    {"Key": REPLACES, "Value": OLD},
                    {"Key": TRIAL, "Value": "unproven"},
                ],
            },
            {"ResourceType": "volume", "Tags": [{"Key": "team", "Value": "shop"}]},
        ],
    }
    assert change.token == ("relaunch", OLD, AMI)
    assert change.identity == Query(
        "DescribeInstances",
        (
            ("image-id", (AMI,)),
            ("instance-state-name", ("pending", "running")),
            (f"tag:{REPLACES}", (f"{OLD}*",)),
        ),
    )


RICH: dict[str, Any] = {
    "KeyName": "ops",
    "IamInstanceProfile": {"Arn": "arn:aws:iam::123456789012:instance-profile/web", "Id": "AIPA"},
    "Monitoring": {"State": "pending"},
    "Placement": {"Tenancy": "host", "HostId": "h-1", "Affinity": "host", "GroupName": "g", "PartitionNumber": 2},
    "EbsOptimized": True,
    "MetadataOptions": {
        "State": "applied",
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 2,
        "HttpEndpoint": "enabled",
        "HttpProtocolIpv6": "disabled",
        "InstanceMetadataTags": "enabled",
    },
    "CpuOptions": {"CoreCount": 1, "ThreadsPerCore": 1, "AmdSevSnp": "enabled"},
    "HibernationOptions": {"Configured": True},
    "EnclaveOptions": {"Enabled": False},
    "MaintenanceOptions": {"AutoRecovery": "disabled", "RebootMigration": "default"},
    "PrivateDnsNameOptions": {
        "HostnameType": "resource-name",
        "EnableResourceNameDnsARecord": True,
        "EnableResourceNameDnsAAAARecord": False,
    },
    "CapacityReservationSpecification": {"CapacityReservationPreference": "none"},
    "Licenses": [{"LicenseConfigurationArn": "arn:b"}, {"LicenseConfigurationArn": "arn:a"}],
    "NetworkPerformanceOptions": {"BandwidthWeighting": "vpc-1"},
    "PublicIpAddress": "203.0.113.7",
    "NetworkInterfaces": [
        {
            **INTERFACE,
            "Description": "front",
            "Ipv6Addresses": [{"Ipv6Address": "2001:db8::1", "IsPrimaryIpv6": True}, {"Ipv6Address": "2001:db8::2"}],
            "Attachment": {**INTERFACE["Attachment"], "EnaQueueCount": 4},
            "ConnectionTrackingConfiguration": {"TcpEstablishedTimeout": 600},
        }
    ],
}
ATTRIBUTES = (
    USER_DATA.fact(OLD, base64.b64encode(b"#!/bin/sh\necho secret\n").decode()),
    TERMINATION_PROTECTION.fact(OLD, True),
    STOP_PROTECTION.fact(OLD, False),
    SHUTDOWN_BEHAVIOR.fact(OLD, "terminate"),
)


def test_everything_that_run_instances_can_take_over_is_taken_over() -> None:
    parameters = launch(spec(), plain(facts=RICH), *ATTRIBUTES).parameters
    wanted = {
        "KeyName": "ops",
        "IamInstanceProfile": {"Arn": "arn:aws:iam::123456789012:instance-profile/web"},
        "Monitoring": {"Enabled": True},
        "Placement": RICH["Placement"],
        "EbsOptimized": True,
        "MetadataOptions": {key: value for key, value in RICH["MetadataOptions"].items() if key != "State"},
        "CpuOptions": RICH["CpuOptions"],
        "HibernationOptions": {"Configured": True},
        "MaintenanceOptions": {"AutoRecovery": "disabled"},
        "PrivateDnsNameOptions": RICH["PrivateDnsNameOptions"],
        "CapacityReservationSpecification": {"CapacityReservationPreference": "none"},
        "LicenseSpecifications": [{"LicenseConfigurationArn": "arn:a"}, {"LicenseConfigurationArn": "arn:b"}],
        "NetworkPerformanceOptions": {"BandwidthWeighting": "vpc-1"},
        "UserData": "#!/bin/sh\necho secret\n",
        "DisableApiTermination": True,
        "InstanceInitiatedShutdownBehavior": "terminate",
    }
    assert {key: value for key, value in parameters.items() if key in wanted} == wanted
    assert "EnclaveOptions" not in parameters
    assert "DisableApiStop" not in parameters
    assert parameters["NetworkInterfaces"] == [
        {
            "DeviceIndex": 0,
            "DeleteOnTermination": True,
            "SubnetId": "subnet-1",
            "Groups": ["sg-1", "sg-2"],
            "Description": "front",
            "Ipv6AddressCount": 2,
            "PrimaryIpv6": True,
            "EnaQueueCount": 4,
            "ConnectionTrackingSpecification": {"TcpEstablishedTimeout": 600},
            "AssociatePublicIpAddress": True,
        }
    ]


def test_defaults_of_attributes_are_not_sent() -> None:
    facts = (SHUTDOWN_BEHAVIOR.fact(OLD, "stop"), TERMINATION_PROTECTION.fact(OLD, False))
    assert not {"InstanceInitiatedShutdownBehavior", "DisableApiTermination"} & set(
        launch(spec(), plain(), *facts).parameters
    )


def test_boto3_takes_the_request() -> None:
    shape = botocore.session.get_session().get_service_model("ec2").operation_model("RunInstances").input_shape
    for resources in ((plain(),), (plain(facts=RICH), *ATTRIBUTES)):
        parameters = dict(launch(spec(), *resources).parameters)
        report = botocore.validate.ParamValidator().validate(parameters, shape)
        assert not report.has_errors(), report.generate_report()


def test_another_instance_type_drops_options_of_the_former_type() -> None:
    wanted = spec(overrides={"instance_type": "m7g.large"})
    other = INSTANCE_TYPE.fact("m7g.large", {"ProcessorInfo": {"SupportedArchitectures": ["arm64"]}})
    made = plan(wanted, plain(facts=RICH), *ATTRIBUTES, other)
    parameters = made.changes[0].parameters
    assert parameters["InstanceType"] == "m7g.large"
    assert not {"CpuOptions", "EbsOptimized", "NetworkPerformanceOptions"} & set(parameters)
    assert "EnaQueueCount" not in parameters["NetworkInterfaces"][0]
    assert any("CPU options" in warning for warning in made.warnings)
    same = spec(overrides={"instance_type": "m5.large"})
    assert "EbsOptimized" in launch(same, plain(facts=RICH)).parameters


def test_overrides_replace_carried_facts() -> None:
    wanted = spec(
        overrides={
            "key_name": "new",
            "iam_instance_profile": "web",
            "security_group_ids": ["sg-9"],
            "user_data": "replace",
            "user_data_content": "fresh",
            "tags": {"Name": "web-2", "release": "42"},
        }
    )
    parameters = launch(wanted, plain(facts=RICH), *ATTRIBUTES).parameters
    assert parameters["KeyName"] == "new"
    assert parameters["IamInstanceProfile"] == {"Name": "web"}
    assert parameters["NetworkInterfaces"][0]["Groups"] == ["sg-9"]
    assert parameters["UserData"] == "fresh"
    instance_tags, volume_tags = (
        {tag["Key"]: tag["Value"] for tag in part["Tags"]} for part in parameters["TagSpecifications"]
    )
    assert instance_tags == {"Name": "web-2", "release": "42", REPLACES: OLD, TRIAL: "unproven"}
    assert volume_tags == {"Name": "web-2", "release": "42", "team": "shop"}
    arn = spec(overrides={"iam_instance_profile": "arn:aws:iam::1:instance-profile/x"})
    assert launch(arn, plain()).parameters["IamInstanceProfile"] == {"Arn": "arn:aws:iam::1:instance-profile/x"}


@pytest.mark.parametrize("facts", [RICH, {}])
def test_a_key_and_a_profile_can_be_dropped(facts: dict[str, Any]) -> None:
    parameters = launch(spec(overrides={"key_name": "", "iam_instance_profile": ""}), plain(facts=facts)).parameters
    assert not {"KeyName", "IamInstanceProfile"} & set(parameters)
    kept = launch(spec(overrides={"key_name": None, "iam_instance_profile": None}), plain(facts=RICH)).parameters
    assert {"KeyName", "IamInstanceProfile"} <= set(kept)


def test_user_data_can_be_dropped() -> None:
    assert "UserData" not in launch(spec(overrides={"user_data": "drop"}), plain(), *ATTRIBUTES).parameters
    assert "UserData" not in launch(spec(), plain(), USER_DATA.fact(OLD, None)).parameters


@pytest.mark.parametrize("content", [b"#cloud-config\nx: \xc3\xa4\n", b"\x1f\x8b\x08\x00binary\xff"])
def test_user_data_arrives_byte_for_byte_and_is_shown_as_its_hash(content: bytes) -> None:
    change = launch(spec(), plain(), USER_DATA.fact(OLD, base64.b64encode(content).decode()))
    sent = change.parameters["UserData"]
    assert (sent.encode() if isinstance(sent, str) else sent) == content
    shown = change.published()["parameters"]["UserData"]
    assert shown == "sha256:" + hashlib.sha256(content).hexdigest()
    assert json.dumps(change.published())


def test_a_chain_of_replacements_keeps_all_ids() -> None:
    current = successor(replaces=f"{OLD},{OLDEST}")
    change = launch(spec(image_id=AMI2), current, image=dataclasses.replace(IMAGE, image_id=AMI2))
    tags = {tag["Key"]: tag["Value"] for tag in change.parameters["TagSpecifications"][0]["Tags"]}
    assert tags[REPLACES] == f"{NEW},{OLD},{OLDEST}"
    assert change.token == ("relaunch", NEW, AMI2)


def test_tags_of_this_collection_are_not_carried() -> None:
    old = plain(tags={"Name": "web", TAG: HELD, "ec2ops:spec": "x", "aws:cloudformation:stack-name": "x"})
    tags = launch(spec(), old).parameters["TagSpecifications"][0]["Tags"]
    assert [tag["Key"] for tag in tags] == ["Name", REPLACES, TRIAL]


def test_more_tags_than_ec2_takes_are_refused() -> None:
    old = plain(tags={f"k{number}": "v" for number in range(49)})
    with pytest.raises(SpecError, match=f"instance_id: {OLD} has 49 tags"):
        plan(spec(), old)
    assert plan(spec(), plain(tags={f"k{number}": "v" for number in range(48)}))
    root = Volume(ROOT, size=8, tags={f"k{number}": "v" for number in range(45)})
    more = spec(overrides={"tags": {f"more{number}": "v" for number in range(6)}})
    with pytest.raises(SpecError, match=f"with the 45 tags of the root volume {ROOT}, .* would have 51"):
        plan(more, plain(), root)
    assert plan(spec(overrides={"tags": {f"more{number}": "v" for number in range(5)}}), plain(), root)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"facts": {"PublicIpAddress": "203.0.113.7"}, "public_ip_address": "203.0.113.7"}, True),
        ({}, False),
        # A check run that has planned a stop and a start knows the address from before.
        ({"facts": {"PublicIpAddress": "203.0.113.7"}, "public_ip_address": None}, True),
        ({"facts": {"PublicIpAddress": "203.0.113.7"}, "elastic_ip": True}, None),
        ({"state": "stopped"}, None),
        ({"state": "stopped", "facts": {"PublicIpAddress": "203.0.113.7"}}, None),
        # A predecessor with a hold has released its address, which the hold records.
        ({"state": "stopped", "tags": {TAG: HELD_PUBLIC}}, True),
        ({"state": "stopping", "tags": {TAG: HELD_PUBLIC}}, True),
        ({"state": "stopped", "tags": {TAG: HELD}}, False),
        ({"state": "stopped", "tags": {TAG: HELD}, "facts": {"PublicIpAddress": "203.0.113.7"}}, False),
        ({"state": "stopped", "tags": {TAG: HELD_PUBLIC}, "elastic_ip": True}, None),
        ({"state": "stopped", "tags": {TAG: SPENT_PUBLIC}}, None),
        ({"state": "stopped", "tags": {TAG: "mine"}}, None),
        ({"state": "running", "tags": {TAG: HELD_PUBLIC}}, False),
        # It may get its address in a moment.
        ({"state": "pending"}, None),
        ({"state": "pending", "facts": {"PublicIpAddress": "203.0.113.7"}}, True),
    ],
)
def test_public_address_of_the_predecessor_is_requested(fields: dict[str, Any], expected: bool | None) -> None:
    (interface,) = launch(spec(), plain(**fields)).parameters["NetworkInterfaces"]
    assert interface.get("AssociatePublicIpAddress") is expected


@pytest.mark.parametrize(
    ("fields", "warned"),
    [
        ({}, False),
        ({"state": "stopped"}, True),
        ({"state": "stopping"}, True),
        ({"state": "stopped", "tags": {TAG: HELD}}, False),
        ({"state": "stopped", "tags": {TAG: HELD_PUBLIC}}, False),
        ({"state": "stopped", "tags": {TAG: SPENT_PUBLIC}}, True),
        ({"state": "stopped", "elastic_ip": True}, False),
    ],
)
def test_address_that_the_subnet_decides_is_named(fields: dict[str, Any], warned: bool) -> None:
    assert any("The subnet decides" in warning for warning in plan(spec(), plain(**fields)).warnings) is warned


@pytest.mark.parametrize(
    ("instance_type", "credit", "expected"),
    [
        ("t3.micro", "unlimited", {"CpuCredits": "unlimited"}),
        ("t3.micro", None, None),
        ("m5.large", "standard", {"CpuCredits": "standard"}),
    ],
)
def test_cpu_credits_are_carried_between_burstable_types(instance_type: str, credit: str | None, expected: Any) -> None:
    info = {"InstanceStorageSupported": False}
    old = plain(instance_type=instance_type)
    made = launch(spec(), old, INSTANCE_TYPE.fact("t3.micro", info), CPU_CREDITS.fact(OLD, credit))
    # EC2 shows credits only for burstable types, so only these are asked for.
    assert made.parameters.get("CreditSpecification") == (expected if instance_type.startswith("t") else None)


@pytest.mark.parametrize(
    ("volume", "device", "expected"),
    [
        ({"encrypted": True, "kms_key_id": "key"}, False, {"Encrypted": True, "KmsKeyId": "key"}),
        ({"encrypted": True, "kms_key_id": "key"}, True, {"Encrypted": True, "KmsKeyId": "key"}),
        ({"encrypted": True, "kms_key_id": "key"}, None, {"Encrypted": True, "KmsKeyId": "key"}),
        ({"encrypted": True}, None, {"Encrypted": True}),
        ({"encrypted": False}, False, None),
    ],
)
def test_an_encrypted_root_stays_encrypted(volume: dict[str, Any], device: bool | None, expected: Any) -> None:
    image = dataclasses.replace(IMAGE, block_devices=(dataclasses.replace(IMAGE.block_devices[0], encrypted=device),))
    parameters = launch(spec(), plain(), Volume(ROOT, size=8, **volume), image=image).parameters
    wanted = None if expected is None else [{"DeviceName": "/dev/xvda", "Ebs": expected}]
    assert parameters.get("BlockDeviceMappings") == wanted


# --- the prediction ---------------------------------------------------------------------------------------------------


def test_check_run_continues_with_the_planned_successor() -> None:
    image_id = planned("image", "web/1")
    image = dataclasses.replace(IMAGE, image_id=image_id)
    wanted = spec(image_id=image_id)
    state = world(plain(), image=image)
    made = guard(planner.plan(wanted, state, NOW), [image_id])
    after = overlay(state, made.published())
    found = planner.result(wanted, after)
    assert found["instance_id"] == f"(new instance in place of {OLD})"
    assert found["replaced"] == OLD
    assert found["image_id"] == image_id
    assert found["instance"]["state"] == "running"
    assert found["instance"]["availability_zone"] == "eu-central-1a"
    old = after.instance(OLD)
    assert old is not None
    assert old.state == "stopped"


def test_a_planned_successor_cannot_be_replaced_in_the_same_check_run() -> None:
    made = plan(spec(), plain())
    after = overlay(world(plain()), made.published())
    with pytest.raises(SpecError, match="only planned"):
        planner.plan(spec(image_id=AMI2), after, NOW)
    first = asks(planner.FEATURE, spec(), State(REGION))
    known = dataclasses.replace(after, answered=frozenset(first))
    assert asks(planner.FEATURE, spec(image_id=AMI2), known) == ()


# --- kept attachments -------------------------------------------------------------------------------------------------


def test_attachments_of_the_predecessor_are_named() -> None:
    association = {"PublicIp": "203.0.113.7", "IpOwnerId": "123456789012"}
    names = ("web", "api", "other")
    groups = tuple(TargetGroup(f"arn:{number}", name, "instance") for number, name in enumerate(names, 1))
    (warning, *_rest) = plan(
        spec(),
        instance(elastic_ip=True, facts={"NetworkInterfaces": [{**INTERFACE, "Association": association}]}),
        TARGET_GROUPS.fact(groups),
        TARGETS.fact("arn:1", (Target(OLD),)),
        TARGETS.fact("arn:2", (Target(OLD),)),
        TARGETS.fact("arn:3", (Target(NEW),)),
    ).warnings
    assert OLD in warning
    assert f"/dev/sdf ({DATA})" in warning
    assert "Elastic IP 203.0.113.7" in warning
    assert "target groups api, web" in warning
    assert "other" not in warning
    assert ROOT not in warning


def test_empty_leftovers_give_no_warning() -> None:
    warnings = plan(spec(), plain()).warnings
    assert not any("stay with" in warning for warning in warnings)
    assert any("root volume since" in warning for warning in warnings)


SDF = ImageDevice("/dev/sdf", "snap-00000000000000002", 100, "gp3", encrypted=False)


def with_devices(*more: ImageDevice) -> Image:
    return dataclasses.replace(IMAGE, block_devices=(*IMAGE.block_devices, *more))


def test_data_volume_in_the_image_is_copied_as_of_the_capture() -> None:
    (warning,) = plan(spec(), instance(), COPY, image=with_devices(SDF)).warnings
    assert f"the writes of {OLD} to its volumes /dev/xvda, /dev/sdf since the capture of {AMI}" in warning


def test_data_volumes_missing_in_the_image_are_left_behind() -> None:
    disks = (*instance().block_devices, BlockDevice("/dev/sdg", "vol-00000000000000003"))
    kept, written = plan(spec(), instance(block_devices=disks), COPY, image=with_devices(SDF)).warnings
    assert "data volumes /dev/sdg (vol-00000000000000003) (data_volumes: keep)" in kept
    assert "/dev/sdf" not in kept
    assert "its volumes /dev/xvda, /dev/sdf since" in written


@pytest.mark.parametrize(
    "image",
    [
        IMAGE,
        # The successor gets an empty volume there.
        with_devices(ImageDevice("/dev/sdf", None, 100)),
        with_devices(ImageDevice("/dev/sdf", virtual_name="ephemeral0")),
        # The successor has its root there.
        dataclasses.replace(IMAGE, root_device_name="/dev/sdf", block_devices=(SDF,)),
    ],
)
def test_data_volume_without_a_copy_in_the_image_is_left_behind(image: Image) -> None:
    kept, written, *_rest = plan(spec(), instance(), image=image).warnings
    assert f"data volumes /dev/sdf ({DATA})" in kept
    assert "its root volume since" in written


def test_planned_image_with_unknown_devices_gives_no_false_warning() -> None:
    image_id = planned("image", "web/1")
    image = dataclasses.replace(IMAGE, image_id=image_id, block_devices=())
    written, kept = planner.plan(spec(image_id=image_id), world(instance(), image=image), NOW).warnings
    assert f"/dev/sdf ({DATA}) stay with {OLD}" in kept
    assert "only the real run shows whether the successor gets copies of these volumes" in kept
    assert "does not have them" not in kept
    assert "its volumes since" in written
    (written,) = planner.plan(spec(image_id=image_id), world(plain(), image=image), NOW).warnings
    assert "its root volume since" in written


def test_stopped_predecessor_writes_nothing_after_the_capture() -> None:
    assert not any("root volume since" in warning for warning in plan(spec(), plain(state="stopped")).warnings)


def test_smaller_root_volume_is_reported() -> None:
    warnings = plan(spec(), plain(), Volume(ROOT, size=50)).warnings
    assert any("8 GiB" in warning and "50 GiB" in warning for warning in warnings)


# --- the retirement ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old_instance", "state", "tag", "expected", "waits"),
    [
        ("stop", "running", None, ["StopInstances 1"], ["stopped"]),
        ("stop", "running", HELD, ["DeleteTags 1", "StopInstances 1"], ["stopped"]),
        ("stop", "pending", None, ["StopInstances 1"], ["running", "stopped"]),
        ("stop", "stopping", None, [], ["stopped"]),
        ("stop", "stopped", None, [], []),
        ("stop", "stopped", HELD, ["DeleteTags 1"], []),
        ("terminate", "running", None, ["TerminateInstances 1"], ["terminated"]),
        ("terminate", "stopped", HELD, ["DeleteTags 1", "TerminateInstances 1"], ["terminated"]),
        ("keep", "running", None, [], []),
        ("keep", "stopped", HELD, ["DeleteTags 1"], []),
    ],
)
def test_predecessor_is_retired_as_requested(
    old_instance: str, state: str, tag: str | None, expected: list[str], waits: list[str]
) -> None:
    tags = {"Name": "web", **({} if tag is None else {TAG: tag})}
    made = plan(spec(old_instance=old_instance), plain(state=state, tags=tags))
    # The record comes before the retirement.
    record = ["CreateTags new"] if (expected or waits) and old_instance != "keep" else ["DeleteTags new"]
    assert actions(made) == ["RunInstances new", *record, *expected]
    assert goals(made) == ["healthy", *waits]
    assert not made.stages[0].waits[0].final


@pytest.mark.parametrize("successors", [(), (successor(),)])
@pytest.mark.parametrize(
    ("options", "fields", "warned"),
    [
        ({}, {}, True),
        ({}, {"elastic_ip": True}, False),
        ({}, {"public_ip_address": None}, False),
        ({"old_instance": "terminate"}, {}, False),
        ({"old_instance": "keep"}, {"tags": {TAG: HELD}}, False),
        ({}, {"state": "stopping"}, False),
    ],
)
def test_public_address_lost_by_a_retirement_is_named(
    successors: tuple[Instance, ...], options: dict[str, Any], fields: dict[str, Any], warned: bool
) -> None:
    old = plain(**{"public_ip_address": "203.0.113.7", **fields})
    warnings = plan(spec(**options), *successors, old).warnings
    assert any(f"{OLD} loses its public address 203.0.113.7" in warning for warning in warnings) is warned


@pytest.mark.parametrize("old_instance", ["stop", "terminate", "keep"])
@pytest.mark.parametrize("tag", [None, HELD])
def test_without_status_checks_running_is_healthy(old_instance: str, tag: str | None) -> None:
    tags = {} if tag is None else {TAG: tag}
    made = plan(spec(old_instance=old_instance, health={"status_checks": False, "timeout": 30}), plain(tags=tags))
    assert (goals(made)[0], made.stages[0].waits[0].timeout) == ("running", 30)


# --- the way back -----------------------------------------------------------------------------------------------------


def test_unhealthy_successor_is_terminated_and_the_predecessor_serves() -> None:
    made = plan(spec(), plain())
    assert way_back(made) == [["CreateTags new"], ["TerminateInstances new"]]
    assert made.stages[0].on_failure[0].changes[0].parameters == {"Tags": [{"Key": TRIAL, "Value": "rejected"}]}
    assert made.stages[0].rollback_on == {"failed", "timeout", "mismatch", "refused"}


def test_held_predecessor_is_started_and_its_hold_removed_last() -> None:
    made = plan(spec(), plain(state="stopped", tags={TAG: HELD}))
    assert way_back(made) == [["StartInstances 1", "TerminateInstances new"], ["DeleteTags 1"]]
    (first, _second) = made.stages[0].on_failure
    assert [(wait.goal, wait.resources) for wait in first.waits] == [("running", (OLD,))]


def test_stopping_predecessor_is_started_after_its_stop() -> None:
    made = plan(spec(), plain(state="stopping", tags={TAG: HELD}))
    assert way_back(made) == [[], ["StartInstances 1", "TerminateInstances new"], ["DeleteTags 1"]]
    assert [wait.goal for wait in made.stages[0].on_failure[0].waits] == ["stopped"]


@pytest.mark.parametrize(
    ("state", "tags"),
    [
        ("running", {TAG: HELD}),
        ("stopped", {}),
        ("stopped", {TAG: "mine"}),
    ],
)
def test_predecessor_without_a_hold_is_not_started(state: str, tags: dict[str, str]) -> None:
    assert way_back(plan(spec(), plain(state=state, tags=tags))) == [["CreateTags new"], ["TerminateInstances new"]]


def test_outdated_hold_starts_nothing_and_is_removed() -> None:
    tags = {TAG: Hold(NOW - timedelta(days=3), NOW - timedelta(days=3)).value}
    back = way_back(plan(spec(), plain(state="stopped", tags=tags)))
    assert back == [["CreateTags new"], ["TerminateInstances new"], ["DeleteTags 1"]]


def test_carried_protection_is_removed_first() -> None:
    old = plain(state="stopped", tags={TAG: HELD})
    made = plan(spec(), old, TERMINATION_PROTECTION.fact(OLD, True), STOP_PROTECTION.fact(OLD, True))
    assert way_back(made) == [
        ["StartInstances 1", "ModifyInstanceAttribute new"],
        ["ModifyInstanceAttribute new"],
        ["TerminateInstances new"],
        ["DeleteTags 1"],
    ]
    lifted = [change.parameters for step in made.stages[0].on_failure[:2] for change in step.changes[-1:]]
    assert lifted == [{"DisableApiTermination": {"Value": False}}, {"DisableApiStop": {"Value": False}}]


def test_on_failure_keep_rolls_nothing_back() -> None:
    made = plan(spec(on_failure="keep"), plain(state="stopped", tags={TAG: HELD}))
    assert returning(made) == []


# --- refusals ---------------------------------------------------------------------------------------------------------

STORE = INSTANCE_TYPE.fact("i3.large", {"InstanceStorageSupported": True})
DOOMED = (BlockDevice("/dev/xvda", ROOT, True), BlockDevice("/dev/sdf", DATA, True))
REFUSALS: list[tuple[str, dict[str, Any], tuple[Resource, ...], str]] = [
    ("group", {}, (plain(tags={"aws:autoscaling:groupName": "web"}),), "Auto Scaling group web"),
    ("managed", {}, (plain(facts={"Operator": {"Managed": True}}),), "Operator"),
    ("spot", {}, (plain(facts={"InstanceLifecycle": "spot"}),), "InstanceLifecycle"),
    ("store root", {}, (plain(facts={"RootDeviceType": "instance-store"}),), "RootDeviceType"),
    ("no interface", {}, (plain(facts={"NetworkInterfaces": []}),), "the instance has none"),
    ("doomed data", {"old_instance": "terminate"}, (instance(block_devices=DOOMED),), DATA),
    (
        "termination protection",
        {"old_instance": "terminate"},
        (plain(), TERMINATION_PROTECTION.fact(OLD, True)),
        "termination protection",
    ),
    ("stop protection", {}, (plain(), STOP_PROTECTION.fact(OLD, True)), "stop protection"),
    (
        "stop protection protects from termination",
        {"old_instance": "terminate"},
        (plain(), STOP_PROTECTION.fact(OLD, True)),
        "stop protection",
    ),
    ("instance store", {}, (plain(instance_type="i3.large"), STORE), "lose_instance_store"),
    ("instance store", {"old_instance": "terminate"}, (plain(instance_type="i3.large"), STORE), "lose_instance_store"),
    ("type gone", {"overrides": {"instance_type": "m9.tiny"}}, (plain(),), "EC2 does not offer m9.tiny"),
    (
        "type of another architecture",
        {"overrides": {"instance_type": "c5.large"}},
        (plain(), INSTANCE_TYPE.fact("c5.large", {"ProcessorInfo": {"SupportedArchitectures": ["i386", "x86_64"]}})),
        "is for arm64, but instance_type c5.large is i386 or x86_64",
    ),
]


@pytest.mark.parametrize("case", REFUSALS, ids=[case[0] for case in REFUSALS])
def test_instance_that_cannot_be_relaunched_is_refused_by_name(
    case: tuple[str, dict[str, Any], tuple[Resource, ...], str],
) -> None:
    _name, options, resources, words = case
    with pytest.raises(UnsafePlan, match="the task refuses the relaunch, and has changed nothing: ") as caught:
        plan(spec(**options), *resources)
    assert words in str(caught.value)


def test_all_reasons_are_named_at_once() -> None:
    with pytest.raises(UnsafePlan) as caught:
        plan(
            spec(old_instance="terminate"),
            instance(block_devices=DOOMED, facts={"RootDeviceType": "instance-store"}),
            TERMINATION_PROTECTION.fact(OLD, True),
        )
    for words in (DATA, "termination protection", "RootDeviceType"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("options", "resources"),
    [
        ({"old_instance": "terminate"}, (instance(),)),
        ({"old_instance": "terminate"}, (plain(),)),
        ({}, (instance(block_devices=DOOMED),)),
        ({"old_instance": "keep"}, (plain(), STOP_PROTECTION.fact(OLD, True))),
        ({}, (plain(), TERMINATION_PROTECTION.fact(OLD, True))),
        ({}, (plain(state="stopped"), STOP_PROTECTION.fact(OLD, True))),
        ({"lose_instance_store": True}, (plain(instance_type="i3.large"), STORE)),
        ({"old_instance": "keep"}, (plain(instance_type="i3.large"), STORE)),
        ({}, (plain(instance_type="i3.large", state="stopped"), STORE)),
        ({"old_instance": "terminate"}, (plain(instance_type="i3.large", state="stopped"), STORE)),
    ],
)
def test_harmless_facts_permit_a_relaunch(options: dict[str, Any], resources: tuple[Resource, ...]) -> None:
    assert actions(plan(spec(**options), *resources))[0] == "RunInstances new"


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (None, f"{AMI} does not exist in {REGION}"),
        (dataclasses.replace(IMAGE, state="disabled"), "is disabled"),
        (dataclasses.replace(IMAGE, state="failed", state_reason="no snapshot"), r"is failed \(no snapshot\)"),
        (dataclasses.replace(IMAGE, state="deregistered"), "is deregistered"),
        (dataclasses.replace(IMAGE, root_device_type="instance-store"), "the module needs an EBS root"),
    ],
)
def test_an_image_that_cannot_be_launched_is_refused(image: Image | None, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        plan(spec(), plain(), image=image)


def test_an_image_of_another_architecture_is_refused() -> None:
    with pytest.raises(UnsafePlan, match=f"{AMI} is for x86_64, but {OLD} is arm64"):
        plan(spec(), plain(), image=dataclasses.replace(IMAGE, architecture="x86_64"))


def test_a_planned_image_needs_the_plan_that_makes_it() -> None:
    with pytest.raises(SpecError, match=r"no plan in assume makes \(new image web/1\)"):
        plan(spec(image_id=planned("image", "web/1")), plain(), image=None)


def test_a_pending_image_is_waited_for() -> None:
    made = plan(spec(), plain(), image=dataclasses.replace(IMAGE, state="pending"))
    assert goals(made) == ["available", "healthy", "stopped"]


@pytest.mark.parametrize(
    ("resources", "words"), [((), "does not exist"), ((plain(state="terminated"),), "is terminated, and has no living")]
)
def test_an_instance_that_is_not_there_is_refused(resources: tuple[Resource, ...], words: str) -> None:
    with pytest.raises(SpecError, match=f"instance_id: {OLD} {words}"):
        plan(spec(), *resources)


# --- up to date -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given_id", "resources"),
    [
        (OLD, (plain(image_id=AMI),)),
        (OLD, (plain(image_id=AMI, state="stopped"),)),
        (OLD, (successor(), plain(state="stopped"))),
        (NEW, (successor(), plain(state="stopped"))),
        (OLD, (successor(), plain(state="terminated"))),
        (OLD, (successor(), plain(state="terminated", tags={TAG: HELD}))),
        (OLD, (successor(),)),
        # This task does not retire an older predecessor.
        (OLDEST, (successor(replaces=f"{OLD},{OLDEST}"), plain(instance_id=OLDEST, state="terminated"))),
    ],
)
def test_an_instance_that_runs_from_the_image_is_up_to_date(given_id: str, resources: tuple[Resource, ...]) -> None:
    assert plan(spec(instance_id=given_id), *resources, image=None) == Plan()


@pytest.mark.parametrize("there", [(), (plain(state="stopped"),)], ids=["gone", "retired"])
def test_gone_id_that_only_a_tag_leads_on_is_up_to_date_with_a_warning(there: tuple[Resource, ...]) -> None:
    made = plan(spec(instance_id=OLDEST), successor(replaces=f"{OLD},{OLDEST}"), *there, image=None)
    assert made.stages == ()
    (warning,) = made.warnings
    assert OLDEST in warning
    assert f"Name {NEW} instead" in warning


def test_an_old_id_stands_for_the_living_successor() -> None:
    wanted = spec(image_id=AMI2)
    made = plan(wanted, successor(), plain(state="stopped"), image=dataclasses.replace(IMAGE, image_id=AMI2))
    new = planned("instance", f"in place of {NEW}")
    assert [change.resource for change in made.changes] == [new, new, NEW]


@pytest.mark.parametrize(
    ("old_instance", "old", "expected"),
    [
        ("stop", plain(), ["StopInstances 1"]),
        ("stop", plain(tags={TAG: HELD}), ["DeleteTags 1", "StopInstances 1"]),
        ("stop", plain(state="stopped", tags={TAG: HELD}), ["DeleteTags 1"]),
        ("terminate", plain(), ["TerminateInstances 1"]),
        ("terminate", plain(state="stopped"), ["TerminateInstances 1"]),
        ("keep", plain(state="stopped", tags={TAG: HELD}), ["DeleteTags 1"]),
    ],
)
def test_interrupted_retirement_continues_once_the_successor_is_healthy(
    old_instance: str, old: Instance, expected: list[str]
) -> None:
    made = plan(spec(old_instance=old_instance), successor(), old)
    assert actions(made) == expected
    (proof, *_rest) = made.stages
    assert not proof.changes
    assert [(wait.goal, wait.resources, wait.final) for wait in proof.waits] == [("healthy", (NEW,), False)]


HELD_BEFORE = Hold(NOW - timedelta(days=3), NOW - timedelta(days=3)).value
HELD_SINCE = Hold(NOW - timedelta(minutes=30), NOW, public=True).value
AGAIN = NOW - timedelta(hours=1)
# The world after a kill: the old one, and the successor's age in minutes and record.
SERVES = plain()
RETIRED = plain(state="stopped")
BACK = plain(launch_time=AGAIN)
HELD_YESTERDAY = Hold(NOW - timedelta(hours=23), NOW - timedelta(hours=22, minutes=30)).value
HELD_ONE = plain(state="stopped", tags={TAG: HELD_YESTERDAY})
HELD_BACK = plain(launch_time=AGAIN, tags={TAG: HELD_YESTERDAY})
PROOF, STOP = ["CreateTags 2"], ["StopInstances 1"]
MARK, END = ["CreateTags 2"], ["TerminateInstances 2"]
START = ["StartInstances 1", "TerminateInstances 2"]
UNFINISHED, OPEN = "a replacement is unfinished", "either may have data that the other lacks"
LIFE: list[tuple[str, Instance, str | None, list[str] | str, list[list[str]], list[str] | str]] = [
    # the old one; the record; with the same image: the plan or the refusal, the way back; with another image
    ("after the launch", SERVES, "unproven", [*PROOF, *STOP], [MARK, END], UNFINISHED),
    (
        "after the launch, held",
        HELD_ONE,
        "unproven",
        [*PROOF, "DeleteTags 1"],
        [START, ["DeleteTags 1"]],
        UNFINISHED,
    ),
    ("in the way back", SERVES, "rejected", END, [], ["TerminateInstances 2", "RunInstances new"]),
    (
        "in the way back, held, at its start",
        HELD_ONE,
        "rejected",
        [*START, "DeleteTags 1"],
        [],
        ["TerminateInstances 2", "RunInstances new"],
    ),
    ("in the way back, held", HELD_BACK, "unproven", [*END, "DeleteTags 1"], [], UNFINISHED),
    ("restored", BACK, "rejected", END, [], ["TerminateInstances 2", "RunInstances new"]),
    ("before the retirement", SERVES, "serving", STOP, [], UNFINISHED),
    ("before the retirement, held", HELD_ONE, "serving", ["DeleteTags 1"], [], UNFINISHED),
    ("after the retirement", RETIRED, "serving", [], [], ["RunInstances new"]),
    ("after the retirement, terminated", plain(state="terminated"), "serving", [], [], ["RunInstances new"]),
    ("kept", RETIRED, None, [], [], ["RunInstances new"]),
    # By hand:
    ("started", BACK, "unproven", OPEN, [], UNFINISHED),
    ("held for something else", plain(state="stopped", tags={TAG: HELD_SINCE}), "unproven", OPEN, [], UNFINISHED),
    ("stopped", RETIRED, "unproven", ["DeleteTags 2"], [], ["RunInstances new"]),
    ("gone", plain(state="terminated"), "unproven", ["DeleteTags 2"], [], ["RunInstances new"]),
    (
        "gone, although it was to stay",
        plain(state="terminated"),
        "rejected",
        ["DeleteTags 2"],
        [],
        ["RunInstances new"],
    ),
    ("started after all", BACK, "serving", [], [], ["RunInstances new"]),
    ("another word", SERVES, "mine", [*PROOF, *STOP], [MARK, END], UNFINISHED),
]


@pytest.mark.parametrize("given_id", [OLD, NEW])
@pytest.mark.parametrize("row", LIFE, ids=[row[0] for row in LIFE])
def test_each_phase_of_a_successor_has_its_plan(
    given_id: str, row: tuple[str, Instance, str | None, list[str] | str, list[list[str]], list[str] | str]
) -> None:
    _name, old, trial, same, back, other = row
    new = successor(minutes=22 * 60, trial=trial)
    if isinstance(same, str):
        with pytest.raises(UnsafePlan, match=same) as caught:
            plan(spec(instance_id=given_id), new, old)
        assert OLD in str(caught.value)
        assert NEW in str(caught.value)
    else:
        made = plan(spec(instance_id=given_id), new, old)
        assert actions(made) == same
        assert (way_back(made) if returning(made) else []) == back
        # The rollback of a rejected successor fails as the run that rejected it would have.
        assert (made.refused is not None) is ("TerminateInstances 2" in same)
        if made.refused is not None:
            assert f"{NEW} did not become healthy in place of {OLD}" in str(made.refused)
    again = dataclasses.replace(IMAGE, image_id=AMI2)
    if isinstance(other, str):
        with pytest.raises(UnsafePlan, match=other) as caught:
            plan(spec(instance_id=given_id, image_id=AMI2), new, old, image=again)
        assert f"terminate {NEW}" in str(caught.value)
    else:
        made = guard(planner.plan(spec(instance_id=given_id, image_id=AMI2), world(new, old, image=again), NOW))
        wanted = [action for action in actions(made) if action in other or action.startswith("RunInstances")]
        assert [action.split()[0] for action in wanted] == [action.split()[0] for action in other]


@pytest.mark.parametrize(("trial", "expected"), [("unproven", 1), ("serving", 1), (None, 0)])
def test_kept_predecessor_leaves_no_hold(trial: str | None, expected: int) -> None:
    made = plan(spec(old_instance="keep"), successor(trial=trial), plain())
    assert actions(made) == ["DeleteTags 2"] * expected
    again = overlay(world(successor(trial=trial), plain()), made.published())
    assert planner.plan(spec(image_id=AMI2), again.with_resources([dataclasses.replace(IMAGE, image_id=AMI2)]), NOW)


def test_protected_rejected_successor_loses_its_protection_first() -> None:
    new = successor(trial="rejected")
    made = plan(spec(), new, plain(), TERMINATION_PROTECTION.fact(OLD, True))
    assert actions(made) == ["ModifyInstanceAttribute 2", "TerminateInstances 2"]


def test_rolled_back_run_returns_the_predecessor() -> None:
    for given_id in (OLD, NEW):
        wanted = spec(instance_id=given_id)
        state = world(successor(trial="rejected"), plain())
        after = overlay(state, guard(planner.plan(wanted, state, NOW)).published())
        assert planner.result(wanted, after)["instance_id"] == OLD


def test_rejected_successor_is_terminated_before_the_next_health_wait() -> None:
    made = plan(spec(), successor(trial="rejected"), successor(OLDEST, trial="unproven"), plain())
    assert actions(made) == ["TerminateInstances 2", "CreateTags 3", "StopInstances 1"]


def test_two_that_have_not_proved_themselves_are_ambiguous() -> None:
    with pytest.raises(Ambiguous, match=rf"\(tag ec2ops:trial\): {NEW}, {OLDEST}\. Terminate all but one of them$"):
        plan(spec(), successor(trial="unproven"), successor(OLDEST, trial="unproven"), plain())


@pytest.mark.parametrize("state", ["stopped", "stopping"])
def test_one_that_does_not_run_cannot_prove_itself(state: str) -> None:
    with pytest.raises(UnsafePlan, match=f"It is {state}, and {OLD} is running.*terminate {NEW}"):
        plan(spec(), successor(state=state, trial="unproven"), plain())


def test_on_failure_keep_rolls_back_nothing_of_an_earlier_run() -> None:
    made = plan(spec(on_failure="keep"), successor(trial="unproven"), plain())
    assert returning(made) == []
    with pytest.raises(UnsafePlan, match=rf"{NEW} did not become healthy in place of {OLD}\. The task keeps it for"):
        plan(spec(on_failure="keep"), successor(trial="rejected"), plain())
    again = dataclasses.replace(IMAGE, image_id=AMI2)
    made = plan(spec(on_failure="keep", image_id=AMI2), successor(trial="rejected"), plain(), image=again)
    assert "TerminateInstances" not in [change.action for change in made.changes]


@pytest.mark.parametrize("trial", ["unproven", "serving", None])
@pytest.mark.parametrize("image", [IMAGE, None])
def test_late_retirement_names_the_kept_attachments(trial: str | None, image: Image | None) -> None:
    address = {"elastic_ip": True, "facts": {"PublicIpAddress": "203.0.113.7"}}
    kept, written = plan(spec(), successor(trial=trial), instance(**address), image=image).warnings
    assert "Elastic IP 203.0.113.7 (elastic_ip: keep)" in kept
    assert f"lacks the writes of {OLD} to its" in written
    assert f"since the capture of {AMI}" in written


@pytest.mark.parametrize(
    ("old_instance", "fields"),
    [
        ("stop", {}),
        ("stop", {"state": "pending"}),
        ("stop", {"tags": {TAG: "mine"}}),
        # Somebody else holds the instance, and will start it.
        ("stop", {"state": "stopped", "tags": {TAG: HELD_SINCE}}),
        ("terminate", {}),
        ("terminate", {"state": "stopped"}),
        ("keep", {"tags": {TAG: HELD_SINCE}}),
    ],
)
def test_predecessor_started_after_its_replacement_is_left_and_named(old_instance: str, fields: dict[str, Any]) -> None:
    # A restart does not make the successor younger.
    current = successor(minutes=48 * 60, launch_time=NOW)
    old = plain(launch_time=AGAIN, **fields)
    made = plan(spec(old_instance=old_instance), current, old, STOP_PROTECTION.fact(OLD, True))
    assert made.stages == ()
    (warning,) = made.warnings
    assert f"was started again after {NEW} had replaced it" in warning
    assert warning.startswith(f"{OLD} (")
    assert f"Stop or terminate {OLD} yourself" in warning
    # No query is about it either.
    assert asked(spec(old_instance=old_instance), current, old) == ["DescribeInstances"] * 2


@pytest.mark.parametrize(
    ("minutes", "fields", "expected"),
    [
        # Started before it was replaced.
        (59, {}, ["StopInstances 1"]),
        (60, {}, ["StopInstances 1"]),
        (61, {}, []),
        # The successor has proved itself: it was started by hand, and took its spent record along.
        (61, {"tags": {TAG: HELD_BEFORE}}, []),
        (61, {"launch_time": None}, ["StopInstances 1"]),
    ],
)
def test_interrupted_retirement_is_distinguished_from_a_start_by_hand(
    minutes: int, fields: dict[str, Any], expected: list[str]
) -> None:
    assert actions(plan(spec(), successor(minutes=minutes), plain(**{"launch_time": AGAIN, **fields}))) == expected


def test_a_stop_that_is_under_way_is_waited_for() -> None:
    made = plan(spec(), successor(), plain(state="stopping"))
    assert (actions(made), goals(made)) == ([], ["stopped"])


def test_kept_predecessor_needs_no_retirement() -> None:
    assert plan(spec(old_instance="keep"), successor(), plain()) == Plan()


@pytest.mark.parametrize("trial", [None, "serving"])
@pytest.mark.parametrize("minutes", [1, 1000])
def test_successor_that_has_served_is_never_rolled_back(trial: str | None, minutes: float) -> None:
    made = plan(spec(), successor(minutes=minutes, trial=trial), plain())
    assert actions(made) == ["StopInstances 1"]
    assert all(not stage.on_failure and not stage.rollback_on for stage in made.stages)


@pytest.mark.parametrize("state", ["stopped", "stopping"])
def test_stopped_successor_retires_no_predecessor(state: str) -> None:
    made = plan(spec(), successor(state=state), plain())
    assert made.is_empty
    (warning,) = made.warnings
    assert NEW in warning
    assert OLD in warning


def test_obstacle_to_a_retirement_is_refused_there_too() -> None:
    with pytest.raises(UnsafePlan, match="termination protection"):
        plan(spec(old_instance="terminate"), successor(), plain(), TERMINATION_PROTECTION.fact(OLD, True))
    with pytest.raises(UnsafePlan, match=DATA):
        plan(spec(old_instance="terminate"), successor(), instance(block_devices=DOOMED))


# --- questions --------------------------------------------------------------------------------------------------------


def answer(query: Query, resources: Sequence[Resource]) -> list[Resource]:
    """Return EC2's answer from these resources."""
    if query.operation == "DescribeInstances":
        ((name, values),) = query.filters
        return [
            item
            for item in resources
            if isinstance(item, Instance)
            and (
                item.instance_id in values
                if name == "instance-id"
                else any(value.strip("*") in item.tags.get(REPLACES, "") for value in values)
            )
        ]
    kinds: dict[str, type[Any]] = {"DescribeImages": Image, "DescribeVolumes": Volume}
    kind = kinds.get(query.operation, Fact)
    return [item for item in resources if isinstance(item, kind)]


def asked(wanted: planner.RelaunchSpec, *resources: Resource) -> list[str]:
    _state, queries = answered(planner.FEATURE, wanted, lambda query: answer(query, resources), State(REGION), NOW)
    return sorted(query.operation for query in queries)


@pytest.mark.parametrize(
    ("given_id", "resources", "calls"),
    [
        (OLD, (plain(image_id=AMI),), 2),
        (OLD, (successor(), plain(state="stopped")), 2),
        (OLD, (successor(),), 2),
        (NEW, (successor(), plain(state="stopped")), 3),
        (OLDEST, (successor(replaces=f"{OLD},{OLDEST}"),), 3),
        (OLD, (), 2),
    ],
)
def test_run_without_changes_queries_the_lineage_alone(
    given_id: str, resources: tuple[Resource, ...], calls: int
) -> None:
    assert asked(spec(instance_id=given_id), *resources) == ["DescribeInstances"] * calls


WHOLE = [
    "DescribeImages",
    *["DescribeInstanceAttribute"] * 4,
    "DescribeInstanceTypes",
    *["DescribeInstances"] * 2,
    "DescribeLoadBalancers",
    "DescribeTargetGroups",
    "DescribeVolumes",
]


def test_replacement_reads_all_facts_in_one_round() -> None:
    assert asked(spec(), instance(), IMAGE, *VOLUMES, M5_FACT) == WHOLE


def test_a_planned_image_is_not_asked_for() -> None:
    calls = asked(spec(image_id=planned("image", "web/1")), instance(), *VOLUMES, M5_FACT)
    assert calls == [name for name in WHOLE if name != "DescribeImages"]


@pytest.mark.parametrize("user_data", ["drop", "replace"])
def test_user_data_is_read_only_to_be_kept(user_data: str) -> None:
    content = {"user_data_content": "x"} if user_data == "replace" else {}
    calls = asked(spec(overrides={"user_data": user_data, **content}), instance(), IMAGE, *VOLUMES, M5_FACT)
    assert calls.count("DescribeInstanceAttribute") == 3


@pytest.mark.parametrize(
    ("old", "new", "credit"),
    [
        ("t3.micro", None, 1),
        ("t4g.large", "t3a.small", 1),
        ("t3.micro", "m5.large", 0),
        ("t1.micro", None, 0),
        ("m5.large", "t3.micro", 0),
    ],
)
def test_credits_are_asked_for_between_burstable_types(old: str, new: str | None, credit: int) -> None:
    calls = asked(spec(overrides={"instance_type": new}), instance(instance_type=old), IMAGE)
    assert calls.count("DescribeInstanceCreditSpecifications") == credit


def test_each_target_group_of_instances_or_addresses_is_asked_for_its_targets() -> None:
    kinds = ("instance", "ip", "lambda")
    groups = tuple(TargetGroup(f"arn:{kind}:{number}", kind, kind) for kind in kinds for number in range(2))
    calls = asked(spec(), instance(), IMAGE, TARGET_GROUPS.fact(groups))
    assert calls.count("DescribeTargetHealth") == 4
    assert calls.count("DescribeLoadBalancers") == 1


def test_unfinished_retirement_queries_its_obstacles() -> None:
    calls = asked(spec(), successor(), plain())
    assert calls == [
        "DescribeImages",
        *["DescribeInstanceAttribute"] * 2,
        "DescribeInstanceTypes",
        *["DescribeInstances"] * 2,
        "DescribeLoadBalancers",
        "DescribeTargetGroups",
    ]


# --- properties -------------------------------------------------------------------------------------------------------

old_ones = st.builds(
    lambda state, tag, launched: plain(
        state=state, launch_time=launched, tags={"Name": "web", **({} if tag is None else {TAG: tag})}
    ),
    st.sampled_from(["pending", "running", "stopping", "stopped"]),
    st.sampled_from([None, HELD, HELD_PUBLIC, HELD_SINCE, "mine"]),
    st.sampled_from([NOW - timedelta(days=1), AGAIN, NOW - timedelta(minutes=1)]),
)
worlds = st.one_of(
    old_ones.map(lambda old: [old]),
    old_ones.map(lambda old: [successor(), old]),
    old_ones.map(lambda old: [successor(image_id=BASE), old]),
)
specs = st.builds(
    lambda old_instance, on_failure, checks, given_id: spec(
        old_instance=old_instance,
        on_failure=on_failure,
        instance_id=given_id,
        health={"status_checks": checks, "timeout": 60},
    ),
    st.sampled_from(["stop", "terminate", "keep"]),
    st.sampled_from(["rollback", "keep"]),
    st.booleans(),
    st.just(OLD),
)


@given(specs, worlds)
def test_nothing_is_left_to_do_after_the_plan(wanted: planner.RelaunchSpec, resources: list[Resource]) -> None:
    state = world(*resources)
    after = overlay(state, guard(planner.plan(wanted, state, NOW)).published())
    assert planner.plan(wanted, after, NOW).is_empty
    found = planner.result(wanted, after)
    assert found["image_id"] == AMI
    assert found["instance"]["image_id"] == AMI


@given(specs, worlds, st.randoms(use_true_random=False))
def test_the_order_of_the_answers_does_not_matter(
    wanted: planner.RelaunchSpec, resources: list[Resource], shuffler: random.Random
) -> None:
    state = world(*resources)
    shuffled = list(state.resources.items())
    shuffler.shuffle(shuffled)
    assert planner.plan(wanted, State(REGION, dict(shuffled)), NOW) == planner.plan(wanted, state, NOW)


@given(specs, worlds)
def test_predecessor_of_an_unproven_successor_is_not_retired(
    wanted: planner.RelaunchSpec, resources: list[Resource]
) -> None:
    proved = False
    for stage in planner.plan(wanted, world(*resources), NOW).stages:
        for change in stage.changes:
            assert proved or change.action == "RunInstances"
        proved = proved or any(wait.goal in ("healthy", "running") and not wait.final for wait in stage.waits)


def test_an_id_that_is_taken_literally_saves_a_question_and_still_returns_the_successor() -> None:
    literal = spec(follow_successor=False)
    assert asks(planner.FEATURE, literal, State(REGION)) == by_id("DescribeInstances", "instance-id", [OLD])
    made = plan(literal, plain())
    assert made == plan(spec(), plain())
    assert planner.result(literal, overlay(world(plain()), made.published()))["instance_id"] == OTHER
