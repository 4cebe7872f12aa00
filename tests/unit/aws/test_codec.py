# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Requests and answers in boto3's shapes, each compared with botocore's service model."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import Any

import botocore.session
import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws import codec, decoding
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import (
    CALLER_IDENTITY,
    CLASSIC_LOAD_BALANCERS,
    CPU_CREDITS,
    ENCRYPTION_BY_DEFAULT,
    ENCRYPTION_KEY,
    INSTANCE_TYPE,
    IS_PERSISTENT,
    IS_USABLE_ZONE,
    KMS_KEY,
    MEMBERSHIP,
    SHUTDOWN_BEHAVIOR,
    STATUS_CHECKS,
    STOP_PROTECTION,
    TARGET_GROUPS,
    TARGETS,
    TERMINATION_PROTECTION,
    UEFI_DATA,
    UNKNOWN_KEY,
    UNUSABLE_KEY,
    USER_DATA,
    CallerIdentity,
    ClassicLoadBalancer,
    Membership,
    StatusChecks,
    Target,
    TargetGroup,
    usable_key,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.list_prices import price_queries
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.operations import OPERATIONS
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.places import Place
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Fact,
    Image,
    ImageDevice,
    Instance,
    Snapshot,
    Volume,
    VolumeAttachment,
    from_view,
    view,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.scaling_facts import (
    INSTANCE_REFRESHES,
    SCALING_GROUP,
    GroupMember,
    InstanceRefresh,
    ScalingGroup,
    TemplateReference,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.service_facts import (
    ADDRESS,
    INTERFACE,
    TARGET_HEALTH,
    Address,
    Interface,
    TargetHealth,
    address_queries,
    member_name,
    target_name,
    target_queries,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query, by_id
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import (
    ALL_REPORTS_QUERY,
    CURRENT_VERSIONS,
    CURRENT_VERSIONS_QUERY,
    FAST_RESTORES,
    GROUP_TEMPLATES,
    GROUP_TEMPLATES_QUERY,
    IS_PUBLIC,
    IS_REPORT_PENDING,
    LAUNCH_CONFIGURATIONS,
    LAUNCH_PERMISSIONS,
    LOCK,
    MODIFICATION,
    PARAMETER,
    ROOT_TASKS,
    TAKES_ROOT_VOLUME,
    TEMPLATE_VERSIONS,
    TIERING,
    USAGE,
    USAGE_REPORTS,
    USERS,
    VOLUME_PERMISSIONS,
    FastRestoreZone,
    GroupTemplate,
    LaunchConfiguration,
    Modification,
    Performance,
    RootTask,
    SnapshotLock,
    TemplateVersion,
    Tiering,
    Usage,
    UsageReport,
    references_queries,
    root_task_queries,
    users_of_type,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import boto3_tags
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.usage_facts import (
    MINUTE,
    MINUTE_USE,
    STORED_BYTES,
    VolumeUse,
    changed_blocks_query,
    snapshot_blocks_query,
    use_queries,
)
from botocore.validate import ParamValidator

MOMENT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
INSTANCE: dict[str, Any] = {
    "InstanceId": "i-00000000000000001",
    "State": {"Code": 16, "Name": "running"},
    "ImageId": "ami-00000001",
    "InstanceType": "m5.large",
    "LaunchTime": MOMENT.astimezone(timezone(timedelta(hours=2))),
    "Placement": {"AvailabilityZone": "us-east-1a"},
    "RootDeviceName": "/dev/sda1",
    "RootDeviceType": "ebs",
    "BlockDeviceMappings": [
        {
            "DeviceName": "/dev/sda1",
            "Ebs": {"VolumeId": "vol-00000001", "DeleteOnTermination": True, "Status": "attached"},
        },
        {"DeviceName": "/dev/sdf", "Ebs": {"VolumeId": "vol-00000002", "Status": "attaching"}},
    ],
    "PublicIpAddress": "203.0.113.7",
    "PrivateIpAddress": "10.0.0.7",
    "NetworkInterfaces": [{"Association": {"IpOwnerId": "amazon", "PublicIp": "203.0.113.7"}}],
    "PlatformDetails": "Linux/UNIX",
    "UsageOperation": "RunInstances",
    "ProductCodes": [{"ProductCodeId": "abc", "ProductCodeType": "marketplace"}],
    "InstanceLifecycle": "spot",
    "SpotInstanceRequestId": "sir-1",
    "Operator": {"Managed": True, "Principal": "eks.amazonaws.com"},
    "StateReason": {"Code": "Server.InternalError", "Message": "Server.InternalError: it broke"},
    "Tags": [{"Key": "Name", "Value": "web"}],
}
IMAGE: dict[str, Any] = {
    "ImageId": "ami-00000001",
    "Name": "web-1",
    "State": "available",
    "OwnerId": "123456789012",
    "Architecture": "arm64",
    "RootDeviceName": "/dev/sda1",
    "RootDeviceType": "ebs",
    "VirtualizationType": "hvm",
    "BootMode": "uefi",
    "EnaSupport": True,
    "SriovNetSupport": "simple",
    "TpmSupport": "v2.0",
    "ImdsSupport": "v2.0",
    "PlatformDetails": "Linux/UNIX",
    "UsageOperation": "RunInstances",
    "BlockDeviceMappings": [
        {
            "DeviceName": "/dev/sda1",
            "Ebs": {
                "SnapshotId": "snap-00000001",
                "VolumeSize": 8,
                "VolumeType": "gp3",
                "Iops": 3000,
                "Throughput": 125,
                "DeleteOnTermination": True,
                "Encrypted": False,
            },
        },
        {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"},
    ],
    "StateReason": {"Code": "Client.InternalError", "Message": "the key is gone"},
    "CreationDate": "2026-11-23T12:00:00.000Z",
    "Tags": [{"Key": "ec2ops:image", "Value": "web"}],
}
SNAPSHOT: dict[str, Any] = {
    "SnapshotId": "snap-00000001",
    "State": "pending",
    "VolumeId": "vol-00000001",
    "VolumeSize": 8,
    "StartTime": MOMENT,
    "Encrypted": True,
    "KmsKeyId": "arn:aws:kms:x",
    "OwnerId": "123456789012",
    "Progress": "45%",
    "StorageTier": "standard",
    "StateMessage": "why",
    "Description": "what",
    "Tags": [{"Key": "a", "Value": ""}],
}
VOLUME: dict[str, Any] = {
    "VolumeId": "vol-00000001",
    "State": "in-use",
    "Size": 8,
    "VolumeType": "gp3",
    "Iops": 3000,
    "Throughput": 125,
    "Encrypted": False,
    "AvailabilityZone": "us-east-1a",
    "SnapshotId": "",
    "MultiAttachEnabled": False,
    "CreateTime": MOMENT,
    "Operator": {"Managed": True},
    "Attachments": [
        {
            "InstanceId": "i-00000001",
            "Device": "/dev/sda1",
            "State": "attached",
            "DeleteOnTermination": True,
            "VolumeId": "vol-00000001",
        }
    ],
}
TYPE = {"InstanceType": "m5.large", "EbsInfo": {"EbsOptimizedSupport": "default"}}
ATTRIBUTE = (("Attribute", "userData"), ("InstanceId", "i-1"))

# (query, one page of the answer, the decoded facts; None if another test has them)
CASES: list[tuple[Query, dict[str, Any], list[Any] | None]] = [
    (
        by_id("DescribeInstances", "instance-id", [INSTANCE["InstanceId"]])[0],
        {"Reservations": [{"Instances": [INSTANCE]}]},
        None,
    ),
    (Query("DescribeImages", (), (("IncludeDisabled", True), ("Owners", ("self",)))), {"Images": [IMAGE]}, None),
    (
        Query("DescribeSnapshots", (("status", ("error",)),), (("OwnerIds", ("self",)),)),
        {"Snapshots": [SNAPSHOT]},
        None,
    ),
    (by_id("DescribeVolumes", "volume-id", ["vol-00000001"])[0], {"Volumes": [VOLUME]}, None),
    (
        root_task_queries(["i-00000001", "i-00000002"])[0],
        {
            "ReplaceRootVolumeTasks": [
                {
                    "ReplaceRootVolumeTaskId": "replacevol-1",
                    "InstanceId": "i-00000001",
                    "TaskState": "failed-detached",
                    "StartTime": "2026-11-23T12:00:00Z",
                    "CompleteTime": "2026-11-23T12:01:00Z",
                    "ImageId": "ami-1",
                    "Tags": [{"Key": "a", "Value": "b"}],
                    "DeleteReplacedRootVolume": True,
                }
            ]
        },
        [
            TAKES_ROOT_VOLUME.fact(True),
            ROOT_TASKS.fact(
                "i-00000001",
                (
                    RootTask(
                        "replacevol-1",
                        "failed-detached",
                        "ami-1",
                        None,
                        datetime(2026, 11, 23, 12, 0, tzinfo=UTC),
                        datetime(2026, 11, 23, 12, 1, tzinfo=UTC),
                        {"a": "b"},
                    ),
                ),
            ),
            ROOT_TASKS.fact("i-00000002", ()),
        ],
    ),
    (
        Query("GetParameters", (), (("Names", ("/web",)),), "ssm", Place("eu-west-1")),
        {"Parameters": [{"Name": "/web", "Value": "ami-1", "DataType": "aws:ec2:image"}], "InvalidParameters": []},
        [PARAMETER.fact("eu-west-1:/web", "ami-1")],
    ),
    (
        Query("GetEbsDefaultKmsKeyId", place=Place("eu-west-1")),
        {"KmsKeyId": "alias/aws/ebs"},
        [ENCRYPTION_KEY.fact("alias/aws/ebs")],
    ),
    (Query("GetEbsDefaultKmsKeyId"), {}, []),
    (
        Query("DescribeLaunchTemplateVersions", (), (("LaunchTemplateName", "web"),)),
        {
            "LaunchTemplateVersions": [
                {
                    "LaunchTemplateId": "lt-1",
                    "LaunchTemplateName": "web",
                    "VersionNumber": 3,
                    "DefaultVersion": True,
                    "LaunchTemplateData": {"ImageId": "ami-1"},
                }
            ]
        },
        [
            TEMPLATE_VERSIONS.fact(
                "web", (TemplateVersion("lt-1", "web", 3, is_default=True, data={"ImageId": "ami-1"}),)
            )
        ],
    ),
    (
        Query("DescribeLaunchTemplateVersions", (), (("LaunchTemplateId", "lt-1"),)),
        {"LaunchTemplateVersions": []},
        [TEMPLATE_VERSIONS.fact("lt-1", ())],
    ),
    (
        Query("DescribeInstanceTypes", (("instance-type", ("m5.large",)),)),
        {"InstanceTypes": [TYPE]},
        [INSTANCE_TYPE.fact("m5.large", TYPE)],
    ),
    (
        Query("DescribeInstanceAttribute", (), ATTRIBUTE),
        {"UserData": {"Value": "aGk="}},
        [USER_DATA.fact("i-1", "aGk=")],
    ),
    (Query("DescribeInstanceAttribute", (), ATTRIBUTE), {"UserData": {}}, []),
    (
        Query("DescribeInstanceAttribute", (), (("Attribute", "disableApiStop"), ("InstanceId", "i-1"))),
        {"DisableApiStop": {"Value": False}},
        [STOP_PROTECTION.fact("i-1", False)],
    ),
    (
        Query("DescribeInstanceAttribute", (), (("Attribute", "disableApiTermination"), ("InstanceId", "i-1"))),
        {"DisableApiTermination": {"Value": True}},
        [TERMINATION_PROTECTION.fact("i-1", True)],
    ),
    (
        Query(
            "DescribeInstanceAttribute", (), (("Attribute", "instanceInitiatedShutdownBehavior"), ("InstanceId", "i-1"))
        ),
        {"InstanceInitiatedShutdownBehavior": {"Value": "stop"}},
        [SHUTDOWN_BEHAVIOR.fact("i-1", "stop")],
    ),
    (
        Query("GetInstanceUefiData", (), (("InstanceId", "i-1"),)),
        {"InstanceId": "i-1", "UefiData": "QU1aTg=="},
        [UEFI_DATA.fact("i-1", "QU1aTg==")],
    ),
    (
        Query("DescribeAutoScalingInstances", (), (("InstanceIds", ("i-1", "i-2")),), "autoscaling"),
        {"AutoScalingInstances": [{"InstanceId": "i-1", "AutoScalingGroupName": "web", "LifecycleState": "InService"}]},
        [MEMBERSHIP.fact("i-1", Membership("web", "InService"))],
    ),
    (
        Query("DescribeAutoScalingGroups", (), (("AutoScalingGroupNames", ("web",)),), "autoscaling"),
        {
            "AutoScalingGroups": [
                {
                    "AutoScalingGroupName": "web",
                    "DesiredCapacity": 1,
                    "HealthCheckType": "ELB",
                    "TargetGroupARNs": ["arn:t"],
                    "MixedInstancesPolicy": {
                        "LaunchTemplate": {
                            "LaunchTemplateSpecification": {"LaunchTemplateId": "lt-1", "LaunchTemplateName": "web"}
                        }
                    },
                    "Instances": [
                        {
                            "InstanceId": "i-1",
                            "LifecycleState": "InService",
                            "HealthStatus": "Healthy",
                            "ProtectedFromScaleIn": True,
                            "LaunchTemplate": {"LaunchTemplateId": "lt-1", "LaunchTemplateName": "web", "Version": "2"},
                        },
                        {"InstanceId": "i-2", "LifecycleState": "Pending", "HealthStatus": "Healthy"},
                    ],
                },
                {"AutoScalingGroupName": "old", "LaunchConfigurationName": "old"},
            ]
        },
        [
            SCALING_GROUP.fact(
                "web",
                ScalingGroup(
                    "web",
                    TemplateReference("lt-1", "web", "$Default"),
                    True,
                    1,
                    "ELB",
                    True,
                    (
                        GroupMember("i-1", "InService", "Healthy", TemplateReference("lt-1", "web", "2"), True),
                        GroupMember("i-2", "Pending", "Healthy"),
                    ),
                ),
            ),
            SCALING_GROUP.fact("old", ScalingGroup("old")),
        ],
    ),
    (
        Query("DescribeInstanceRefreshes", (), (("AutoScalingGroupName", "web"),), "autoscaling"),
        {
            "InstanceRefreshes": [
                {
                    "InstanceRefreshId": "r-2",
                    "Status": "InProgress",
                    "StatusReason": "Waiting",
                    "PercentageComplete": 50,
                    "StartTime": datetime(2026, 11, 24, tzinfo=UTC),
                    "DesiredConfiguration": {"LaunchTemplate": {"LaunchTemplateId": "lt-1", "Version": "2"}},
                },
                {
                    "InstanceRefreshId": "r-1",
                    "Status": "Pending",
                    "DesiredConfiguration": {"MixedInstancesPolicy": {"LaunchTemplate": {}}},
                },
            ]
        },
        [
            INSTANCE_REFRESHES.fact(
                "web",
                (
                    InstanceRefresh(
                        "r-2",
                        "InProgress",
                        50,
                        "Waiting",
                        datetime(2026, 11, 24, tzinfo=UTC),
                        None,
                        TemplateReference("lt-1", "", "2"),
                    ),
                    InstanceRefresh("r-1", "Pending", is_mixed=True),
                ),
            )
        ],
    ),
    (
        Query("DescribeImageReferences", (), (("ImageIds", ("ami-1", "ami-2")), ("IncludeAllResourceTypes", True))),
        {"ImageReferences": [{"ImageId": "ami-1", "ResourceType": "ec2:Instance", "Arn": "arn:i"}]},
        [USERS.fact("ami-1", ("arn:i",)), USERS.fact("ami-2", ())],
    ),
    (
        references_queries(["ami-2", "ami-1"], ["ec2:Instance", "ssm:Parameter"])[0],
        {"ImageReferences": [{"ImageId": "ami-1", "ResourceType": "ssm:Parameter", "Arn": "arn:p"}]},
        [
            users_of_type("ec2:Instance").fact("ami-1", ()),
            users_of_type("ssm:Parameter").fact("ami-1", ("arn:p",)),
            users_of_type("ec2:Instance").fact("ami-2", ()),
            users_of_type("ssm:Parameter").fact("ami-2", ()),
        ],
    ),
    (
        ALL_REPORTS_QUERY,
        {"ImageUsageReports": [{"ImageId": "ami-1", "ReportId": "amiur-1", "State": "pending"}]},
        [IS_REPORT_PENDING.fact("ami-1", True)],
    ),
    (
        GROUP_TEMPLATES_QUERY,
        {
            "AutoScalingGroups": [
                {"AutoScalingGroupName": "web", "LaunchTemplate": {"LaunchTemplateId": "lt-1", "Version": "7"}},
                {
                    "AutoScalingGroupName": "mixed",
                    "MixedInstancesPolicy": {
                        "LaunchTemplate": {
                            "LaunchTemplateSpecification": {"LaunchTemplateId": "lt-2"},
                            "Overrides": [
                                {"LaunchTemplateSpecification": {"LaunchTemplateId": "lt-3", "Version": "$Latest"}}
                            ],
                        }
                    },
                },
            ]
        },
        [
            GROUP_TEMPLATES.fact(
                (
                    GroupTemplate("web", "lt-1", "7"),
                    GroupTemplate("mixed", "lt-2", "$Default"),
                    GroupTemplate("mixed", "lt-3", "$Latest"),
                )
            ),
            SCALING_GROUP.fact("web", ScalingGroup("web", TemplateReference("lt-1", "", "7"))),
            SCALING_GROUP.fact(
                "mixed",
                ScalingGroup(
                    "mixed",
                    TemplateReference("lt-2", "", "$Default"),
                    True,
                    overrides=(TemplateReference("lt-3", "", "$Latest"),),
                ),
            ),
        ],
    ),
    (
        CURRENT_VERSIONS_QUERY,
        {
            "LaunchTemplateVersions": [
                {"LaunchTemplateId": "lt-1", "VersionNumber": 3, "LaunchTemplateData": {"ImageId": "ami-1"}}
            ]
        },
        [CURRENT_VERSIONS.fact((TemplateVersion("lt-1", "", 3, data={"ImageId": "ami-1"}),))],
    ),
    (
        Query("DescribeImageAttribute", (), (("Attribute", "launchPermission"), ("ImageId", "ami-1"))),
        {
            "ImageId": "ami-1",
            "LaunchPermissions": [
                {"UserId": "999999999999"},
                {"Group": "all"},
                {"OrganizationArn": "arn:o"},
                {"OrganizationalUnitArn": "arn:ou"},
            ],
        },
        [LAUNCH_PERMISSIONS.fact("ami-1", ("999999999999", "all", "arn:o", "arn:ou"))],
    ),
    (
        Query("DescribeImageUsageReports", (), (("ImageIds", ("ami-1", "ami-2")),)),
        {
            "ImageUsageReports": [
                {
                    "ImageId": "ami-1",
                    "ReportId": "amiur-1",
                    "State": "available",
                    "CreationTime": datetime(2026, 11, 23, 12, 0, tzinfo=UTC),
                    "AccountIds": ["999999999999"],
                    "ResourceTypes": [
                        {"ResourceType": "ec2:Instance"},
                        {
                            "ResourceType": "ec2:LaunchTemplate",
                            "ResourceTypeOptions": [{"OptionName": "version-depth", "OptionValues": ["100"]}],
                        },
                    ],
                },
                {"ImageId": "ami-1", "ReportId": "amiur-2", "State": "pending"},
            ]
        },
        [
            IS_REPORT_PENDING.fact("ami-1", True),
            USAGE_REPORTS.fact(
                "ami-1",
                (UsageReport("amiur-1", MOMENT, ("999999999999",), {"ec2:Instance": None, "ec2:LaunchTemplate": 100}),),
            ),
            USAGE_REPORTS.fact("ami-2", ()),
        ],
    ),
    (
        Query("DescribeImageUsageReportEntries", (), (("ImageIds", ("ami-1", "ami-2")),)),
        {
            "ImageUsageReportEntries": [
                {
                    "ImageId": "ami-1",
                    "ReportId": "amiur-1",
                    "ResourceType": "ec2:Instance",
                    "UsageCount": 3,
                    "AccountId": "999999999999",
                    "ReportCreationTime": datetime(2026, 11, 23, 12, 0, tzinfo=UTC),
                }
            ]
        },
        [
            USAGE.fact("ami-1", (Usage("amiur-1", "999999999999", "ec2:Instance", 3, MOMENT),)),
            USAGE.fact("ami-2", ()),
        ],
    ),
    (
        Query("DescribeLaunchConfigurations", (), (), "autoscaling"),
        {"LaunchConfigurations": [{"LaunchConfigurationName": "old", "ImageId": "ami-1"}]},
        [LAUNCH_CONFIGURATIONS.fact((LaunchConfiguration("old", "ami-1"),))],
    ),
    (
        Query("DescribeInstanceCreditSpecifications", (("instance-id", ("i-1",)),)),
        {"InstanceCreditSpecifications": [{"InstanceId": "i-1", "CpuCredits": "unlimited"}]},
        [CPU_CREDITS.fact("i-1", "unlimited")],
    ),
    (
        Query("DescribeSpotInstanceRequests", (("spot-instance-request-id", ("sir-1",)),)),
        {"SpotInstanceRequests": [{"SpotInstanceRequestId": "sir-1", "Type": "persistent"}]},
        [IS_PERSISTENT.fact("sir-1", True)],
    ),
    (
        Query("DescribeTargetGroups", service="elbv2"),
        {
            "TargetGroups": [
                {"TargetGroupArn": "arn:1", "TargetGroupName": "web", "TargetType": "instance", "VpcId": "vpc-1"}
            ]
        },
        [TARGET_GROUPS.fact((TargetGroup("arn:1", "web", "instance", "vpc-1"),))],
    ),
    (
        Query("DescribeLoadBalancers", service="elb"),
        {"LoadBalancerDescriptions": [{"LoadBalancerName": "web", "Instances": [{"InstanceId": "i-1"}]}]},
        [CLASSIC_LOAD_BALANCERS.fact((ClassicLoadBalancer("web", ("i-1",)),))],
    ),
    (
        Query("DescribeTargetHealth", (), (("TargetGroupArn", "arn:1"),), "elbv2"),
        {
            "TargetHealthDescriptions": [
                {
                    "Target": {"Id": "10.0.0.1", "Port": 80, "AvailabilityZone": "all"},
                    "TargetHealth": {"State": "healthy"},
                }
            ]
        },
        [TARGETS.fact("arn:1", (Target("10.0.0.1", "all", 80, "healthy"),))],
    ),
    (
        target_queries([target_name("i-1", 80, "arn:1")])[0],
        {
            "TargetHealthDescriptions": [
                {
                    "Target": {"Id": "i-1", "Port": 80},
                    "TargetHealth": {"State": "initial", "Reason": "Elb.RegistrationInProgress"},
                }
            ]
        },
        [TARGET_HEALTH.fact("i-1:80 in arn:1", TargetHealth("initial", "Elb.RegistrationInProgress"))],
    ),
    (
        target_queries([member_name("i-1", "shop")])[0],
        {"InstanceStates": [{"InstanceId": "i-1", "State": "OutOfService", "ReasonCode": "ELB"}]},
        [TARGET_HEALTH.fact("i-1 in shop", TargetHealth("OutOfService", "ELB"))],
    ),
    (
        address_queries(instances=["i-00000001"])[0],
        {
            "Addresses": [
                {"PublicIp": "203.0.113.6", "Domain": "standard"},
                {
                    "AllocationId": "eipalloc-1",
                    "PublicIp": "203.0.113.7",
                    "InstanceId": "i-00000001",
                    "NetworkInterfaceId": "eni-1",
                    "PrivateIpAddress": "10.0.0.7",
                },
            ]
        },
        [ADDRESS.fact("eipalloc-1", Address("eipalloc-1", "203.0.113.7", "i-00000001", "eni-1", "10.0.0.7"))],
    ),
    (
        Query("DescribeNetworkInterfaces", (("network-interface-id", ("eni-1", "eni-2")),)),
        {
            "NetworkInterfaces": [
                {
                    "NetworkInterfaceId": "eni-1",
                    "AvailabilityZone": "us-east-1a",
                    "InterfaceType": "interface",
                    "PrivateIpAddresses": [{"PrivateIpAddress": "10.0.0.7", "Primary": True}],
                    "Attachment": {
                        "AttachmentId": "eni-attach-1",
                        "InstanceId": "i-00000001",
                        "DeviceIndex": 1,
                        "Status": "attached",
                        "DeleteOnTermination": True,
                    },
                },
                {
                    "NetworkInterfaceId": "eni-2",
                    "RequesterManaged": True,
                    "Attachment": {"AttachmentId": "eni-attach-2", "InstanceId": "i-00000002", "Status": "detached"},
                },
            ]
        },
        [
            INTERFACE.fact(
                "eni-1",
                Interface(
                    "eni-1",
                    "us-east-1a",
                    addresses=("10.0.0.7",),
                    instance_id="i-00000001",
                    attachment_id="eni-attach-1",
                    device_index=1,
                    attachment_state="attached",
                    delete_on_termination=True,
                ),
            ),
            INTERFACE.fact("eni-2", Interface("eni-2", is_managed=True)),
        ],
    ),
    (
        Query("DescribeInstanceStatus", (), (("IncludeAllInstances", True), ("InstanceIds", ("i-1",)))),
        {
            "InstanceStatuses": [
                {"InstanceId": "i-1", "SystemStatus": {"Status": "ok"}, "InstanceStatus": {"Status": "initializing"}}
            ]
        },
        [STATUS_CHECKS.fact("i-1", StatusChecks("ok", "initializing"))],
    ),
    (
        by_id("DescribeVolumesModifications", "volume-id", ["vol-1", "vol-2"])[0],
        {
            "VolumesModifications": [
                {
                    "VolumeId": "vol-1",
                    "ModificationState": "failed",
                    "StatusMessage": "no",
                    "StartTime": MOMENT,
                    "Progress": 7,
                    "OriginalSize": 8,
                    "TargetSize": 20,
                    "TargetVolumeType": "gp3",
                    "TargetIops": 3000,
                    "TargetThroughput": 125,
                }
            ]
        },
        [
            MODIFICATION.fact(
                "vol-1",
                Modification("failed", Performance(8), Performance(20, "gp3", 3000, 125), progress=7, message="no"),
            )
        ],
    ),
    (
        Query("GetEbsEncryptionByDefault"),
        {"EbsEncryptionByDefault": True},
        [ENCRYPTION_BY_DEFAULT.fact(True)],
    ),
    (
        Query("DescribeKey", (), (("KeyId", "alias/db"),), "kms"),
        {"KeyMetadata": {"KeyId": "1234", "Arn": "arn:aws:kms:x:key/1234"}},
        [KMS_KEY.fact("alias/db", usable_key("arn:aws:kms:x:key/1234"))],
    ),
    (Query("DescribeKey", (), (("KeyId", "alias/db"),), "kms"), {}, [KMS_KEY.fact("alias/db", UNKNOWN_KEY)]),
    (
        Query("DescribeAvailabilityZones"),
        {
            "AvailabilityZones": [
                {"ZoneName": "eu-central-1a", "State": "available"},
                {"ZoneName": "eu-central-1b", "State": "unavailable"},
            ]
        },
        [IS_USABLE_ZONE.fact("eu-central-1a", True), IS_USABLE_ZONE.fact("eu-central-1b", False)],
    ),
    (
        Query("DescribeKey", (), (("KeyId", "alias/db"),), "kms"),
        {"KeyMetadata": {"Arn": "arn:aws:kms:x:key/1234", "KeyState": "PendingDeletion"}},
        [KMS_KEY.fact("alias/db", UNUSABLE_KEY)],
    ),
    (
        Query("DescribeLockedSnapshots"),
        {"Snapshots": [{"SnapshotId": "snap-1", "LockState": "governance", "LockExpiresOn": MOMENT}]},
        [LOCK.fact("snap-1", SnapshotLock("governance", MOMENT))],
    ),
    (
        Query("DescribeFastSnapshotRestores", (("state", ("enabling", "optimizing", "enabled")),)),
        {
            "FastSnapshotRestores": [
                {"SnapshotId": "snap-1", "AvailabilityZone": "us-east-1a", "State": "enabled"},
                {"SnapshotId": "snap-1", "AvailabilityZone": "us-east-1b", "State": "optimizing"},
            ]
        },
        [
            FAST_RESTORES.fact(
                "snap-1", (FastRestoreZone("us-east-1a", "enabled"), FastRestoreZone("us-east-1b", "optimizing"))
            )
        ],
    ),
    (
        Query("DescribeSnapshotTierStatus", (("snapshot-id", ("snap-1",)),)),
        {
            "SnapshotTierStatuses": [
                {
                    "SnapshotId": "snap-1",
                    "StorageTier": "archive",
                    "LastTieringOperationStatus": "archival-completed",
                    "ArchivalCompleteTime": MOMENT,
                }
            ]
        },
        [
            TIERING.fact("snap-1", Tiering("archive", "archival-completed", archived=MOMENT)),
        ],
    ),
    (
        Query(
            "DescribeSnapshotAttribute",
            arguments=(("Attribute", "createVolumePermission"), ("SnapshotId", "snap-1")),
        ),
        {"CreateVolumePermissions": [{"UserId": "111122223333"}, {"Group": "all"}]},
        [VOLUME_PERMISSIONS.fact("snap-1", ("111122223333", "all"))],
    ),
    (
        Query("DescribeSnapshots", arguments=(("OwnerIds", ("self",)), ("RestorableByUserIds", ("all",)))),
        {"Snapshots": [{"SnapshotId": "snap-1"}]},
        [IS_PUBLIC.fact("snap-1", True)],
    ),
    (
        next(use_queries(["vol-1"], MOMENT, MINUTE)),
        {
            "MetricDataResults": [
                {"Id": f"{kind}0", "StatusCode": "Complete", "Timestamps": [MOMENT], "Values": [value]}
                for kind, value in (("ro", 60.0), ("wo", 120.0), ("rb", 0.0), ("wb", 60.0 * (1 << 20)))
            ]
        },
        [MINUTE_USE.fact("vol-1", VolumeUse(3.0, 1.0, 1))],
    ),
    (
        changed_blocks_query("snap-1", "snap-2"),
        {"ChangedBlocks": [{"BlockIndex": 3, "SecondBlockToken": "a"}], "BlockSize": 524288, "VolumeSize": 1},
        [STORED_BYTES.fact("snap-2", (524288,))],
    ),
    (
        snapshot_blocks_query("snap-1"),
        {"Blocks": [{"BlockIndex": 3, "BlockToken": "a"}], "BlockSize": 524288, "VolumeSize": 1},
        [STORED_BYTES.fact("snap-1", (524288,))],
    ),
    (
        price_queries("eu-west-1")[0],
        {"FormatVersion": "aws_v1", "PriceList": ["{}"]},
        [],
    ),
    (
        Query("GetCallerIdentity", service="sts", place="eu-west-1@backup"),
        {"Account": "111122223333"},
        [CALLER_IDENTITY.fact(CallerIdentity("111122223333"))],
    ),
]


@cache
def model(service: str) -> Any:
    return botocore.session.get_session().get_service_model(service)


def unknown_members(value: Any, shape: Any, path: str = "") -> list[str]:
    """Return the parts of a sample that the service model does not have."""
    if shape.type_name == "structure" and isinstance(value, Mapping):
        missing = [f"{path}.{key}" for key in value if key not in shape.members]
        return missing + [
            found
            for key, item in value.items()
            if key in shape.members
            for found in unknown_members(item, shape.members[key], f"{path}.{key}")
        ]
    if shape.type_name == "list":
        return [found for item in value for found in unknown_members(item, shape.member, f"{path}[]")]
    return []


def ids(case: Any) -> str | None:
    return case.operation if isinstance(case, Query) else None


@pytest.mark.parametrize(("query", "page", "decoded"), CASES, ids=ids)
def test_requests_and_answers_have_the_shapes_of_the_service(
    query: Query, page: dict[str, Any], decoded: list[Any] | None
) -> None:
    operation = model(query.service).operation_model(query.operation)
    request = codec.query_request(query)
    report = ParamValidator().validate(request, operation.input_shape)
    assert not report.has_errors(), report.generate_report()
    assert unknown_members(page, operation.output_shape) == []
    size, token = codec.LISTINGS[query.operation].size, codec.LISTINGS[query.operation].token
    for name in ([size[0]] if size else []) + ([token[0]] if size else []):
        assert name in operation.input_shape.members
    if size:
        assert token[1] in operation.output_shape.members
    if decoded is not None:
        assert list(codec.decode(query, [page])) == decoded


def test_every_listing_has_a_case() -> None:
    assert {query.operation for query, _page, _decoded in CASES} == set(codec.LISTINGS)


def test_instance_is_read_with_all_fields() -> None:
    made = decoding.decode_instance(INSTANCE)
    assert made == Instance(
        instance_id="i-00000000000000001",
        state="running",
        image_id="ami-00000001",
        instance_type="m5.large",
        launch_time=MOMENT,
        availability_zone="us-east-1a",
        root_device_name="/dev/sda1",
        block_devices=(
            BlockDevice("/dev/sda1", "vol-00000001", True),
            BlockDevice("/dev/sdf", "vol-00000002", False, "attaching"),
        ),
        public_ip_address="203.0.113.7",
        private_ip_address="10.0.0.7",
        product_codes=("abc",),
        lifecycle="spot",
        spot_request_id="sir-1",
        operator="eks.amazonaws.com",
        state_reason="Server.InternalError: it broke",
        tags={"Name": "web"},
    )
    assert made.facts is INSTANCE
    assert made.launch_time is not None and made.launch_time.tzinfo is UTC


def test_elastic_ip_is_distinguished_from_a_public_address() -> None:
    def elastic(owner: str | None) -> bool:
        association = {"IpOwnerId": owner} if owner else {}
        return decoding.decode_instance({**INSTANCE, "NetworkInterfaces": [{"Association": association}]}).elastic_ip

    assert [elastic(owner) for owner in ("amazon", "123456789012", None)] == [False, True, False]


def test_instance_with_few_facts_is_read() -> None:
    made = decoding.decode_instance({"InstanceId": "i-00000001", "Operator": {"Managed": False, "Principal": "x"}})
    assert (made.operator, made.state_reason, made.block_devices, made.tags) == (None, None, (), {})


def test_image_is_read_with_all_fields() -> None:
    made = decoding.decode_image(IMAGE)
    assert made.block_devices == (
        ImageDevice("/dev/sda1", "snap-00000001", 8, "gp3", 3000, 125, True, False),
        ImageDevice("/dev/sdb", virtual_name="ephemeral0"),
    )
    assert made.snapshot_ids == ("snap-00000001",)
    assert made.state_reason == "Client.InternalError: the key is gone"
    assert (made.boot_mode, made.tpm_support, made.kernel_id, made.tags) == (
        "uefi",
        "v2.0",
        None,
        {"ec2ops:image": "web"},
    )


def test_snapshot_and_volume_are_read_with_all_fields() -> None:
    made = decoding.decode_snapshot(SNAPSHOT)
    assert (made.state, made.progress, made.state_reason, made.start_time) == ("pending", "45%", "why", MOMENT)
    assert made.tags == {"a": ""}
    volume = decoding.decode_volume(VOLUME)
    assert volume.attachments == (VolumeAttachment("i-00000001", "/dev/sda1", "attached", True),)
    assert (volume.snapshot_id, volume.create_time, volume.operator) == (None, MOMENT, "an AWS service")


def test_the_texts_of_many_snapshots_are_kept_once() -> None:
    # A hundred thousand snapshots have a few hundred of them. Each answer brings them as strings of its own.
    def copied(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: copied(item) for key, item in value.items()}
        if isinstance(value, list):
            return [copied(item) for item in value]
        return "".join(list(value)) if isinstance(value, str) else value

    given = {**SNAPSHOT, "Tags": [{"Key": "ec2ops:source", "Value": "vol-00000001"}]}
    first, second = (decoding.decode_snapshot(copied(given)) for _turn in range(2))
    assert first == second
    for name in ("state", "volume_id", "owner_id", "kms_key_id", "progress", "storage_tier", "description"):
        assert getattr(first, name) is getattr(second, name)
    assert [(id(key), id(value)) for key, value in first.tags.items()] == [
        (id(key), id(value)) for key, value in second.tags.items()
    ]


@pytest.mark.parametrize(
    "resource",
    [
        decoding.decode_instance(INSTANCE),
        decoding.decode_image(IMAGE),
        decoding.decode_snapshot(SNAPSHOT),
        decoding.decode_volume(VOLUME),
    ],
    ids=lambda resource: resource.kind,
)
def test_a_view_reads_back_as_the_same_resource(resource: Instance | Image | Snapshot | Volume) -> None:
    assert from_view(resource.kind, view(resource)) == resource


def test_pages_are_joined_even_if_they_are_one_fact() -> None:
    query = Query("DescribeTargetGroups", service="elbv2")
    pages = [{"TargetGroups": [{"TargetGroupArn": f"arn:{number}"}]} for number in (1, 2)]
    (fact,) = codec.decode(query, pages)
    assert isinstance(fact, Fact)
    assert [item.arn for item in fact.value] == ["arn:1", "arn:2"]
    first = codec.query_request(query)
    assert codec.next_request(query, first, {"NextMarker": "m"}) == {**first, "Marker": "m"}
    assert codec.next_request(query, first, {}) is None


def test_explicit_ids_exclude_a_page_size() -> None:
    assert codec.query_request(Query("DescribeImages", arguments=(("ImageIds", ("ami-1",)),))) == {
        "ImageIds": ["ami-1"]
    }


def change(action: str, resource: str, parameters: dict[str, Any] | None = None, **fields: Any) -> Change:
    return Change(action, resource, "us-east-1", parameters or {}, "a test", **fields)


@pytest.mark.parametrize("action", sorted(OPERATIONS))
def test_parameters_of_ids_and_tokens_are_those_of_the_service(action: str) -> None:
    operation = OPERATIONS[action]
    shape = model(operation.service).operation_model(action)
    members = shape.input_shape.members
    if operation.target:
        assert members[operation.target].type_name == ("list" if operation.most > 1 else "string")
    # A token of this collection stands for a purpose. A change that may be made, undone and made again has no token.
    has_purpose = bool(operation.creates) or action == "CreateImageUsageReport"
    assert operation.token == ("ClientToken" in members and has_purpose)
    found = shape.output_shape
    for step in operation.creates:
        found = found.member if isinstance(step, int) else found.members[step]
    # A plan names the interface, and the request names its attachment.
    named = action == "DetachNetworkInterface" or operation.service != "ec2"
    assert named or bool(operation.target) != bool(operation.creates)


def test_changes_of_one_kind_are_one_request() -> None:
    stop = [change("StopInstances", f"i-0000000{number}", {"Hibernate": True}) for number in (1, 2)]
    assert codec.change_request(stop) == {"InstanceIds": ["i-00000001", "i-00000002"], "Hibernate": True}
    assert codec.change_request([change("DeleteSnapshot", "snap-00000001")]) == {"SnapshotId": "snap-00000001"}
    launch = change("RunInstances", "(new instance a)", {"ImageId": "ami-1"}, token=("a",))
    assert codec.change_request([launch]).keys() == {"ImageId", "ClientToken"}
    assert dict(launch.parameters) == {"ImageId": "ami-1"}


def test_new_ids_are_read_from_the_answer() -> None:
    assert codec.created_ids([change("StopInstances", "i-00000001")], {}) == {}
    launch = [change("RunInstances", "(new instance a)", token=("a",))]
    assert codec.created_ids(launch, {"Instances": [{"InstanceId": "i-2"}]}) == {"(new instance a)": "i-2"}
    pair = [change("CreateSnapshots", f"(new snapshot {one})", source=one) for one in ("vol-1", "vol-2")]
    answer = {
        "Snapshots": [{"VolumeId": "vol-2", "SnapshotId": "snap-2"}, {"VolumeId": "vol-1", "SnapshotId": "snap-1"}]
    }
    assert codec.created_ids(pair, answer) == {"(new snapshot vol-1)": "snap-1", "(new snapshot vol-2)": "snap-2"}


@pytest.mark.parametrize(
    ("codes", "refused"),
    [
        ((), None),
        (("success", "skipped"), None),
        (("success", "missing-permissions", "client-error"), ("snap-1, snap-2", "missing-permissions")),
    ],
)
def test_snapshot_that_outlives_its_image_is_a_refusal(codes: tuple[str, ...], refused: Any) -> None:
    answer = {
        "DeleteSnapshotResults": [
            {"SnapshotId": f"snap-{number}", "ReturnCode": code} for number, code in enumerate(codes)
        ]
    }
    found = codec.refused_part(answer)
    assert (found and found[:2]) == refused


SPEC = {"ec2ops:spec": "web", "ec2ops:volume": "data"}


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        ({"State": "creating"}, ""),
        ({"State": "in-use"}, ""),
        ({"State": "in-use", "Tags": {**SPEC, "Name": "x"}}, ""),
        ({"State": "error"}, "which is error"),
        ({"State": "deleting"}, "which is deleting"),
        ({"State": "deleted"}, "which is deleted"),
        ({"State": "available", "Tags": {}}, "tags have changed"),
        ({"State": "available", "Tags": {**SPEC, "ec2ops:spec": "db"}}, "tags have changed"),
    ],
)
def test_spent_token_may_return_another_volume(answer: dict[str, Any], trouble: str) -> None:
    specification = {"ResourceType": "volume", "Tags": boto3_tags({**SPEC, "Name": "web"})}
    create = change("CreateVolume", "(new volume a)", {"TagSpecifications": [specification]}, token=("a",))
    tags = boto3_tags(answer.get("Tags", SPEC))
    found = codec.token_spent(create, {"VolumeId": "vol-1", "State": answer["State"], "Tags": tags})
    assert (trouble in found) if trouble else found == ""
