# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The permission in the hint of a refused call."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.errors import call_error
from botocore.exceptions import ClientError

TAGGED = {"TagSpecifications": [{"ResourceType": "snapshot", "Tags": []}]}


def hint(operation: str, message: str, request: dict[str, Any], service: str = "ec2", code: str = "") -> str:
    error = ClientError({"Error": {"Code": code or "UnauthorizedOperation", "Message": message}}, operation)
    return str(call_error(error, service, operation, request)).rpartition(" of these credentials, allow ")[2]


def said(action: str) -> str:
    return (
        "You are not authorized to perform this operation. User: arn:aws:iam::123456789012:user/x is not authorized "
        f"to perform: {action} on resource: * because no identity-based policy allows the {action} action"
    )


@pytest.mark.parametrize(
    ("operation", "named", "request_", "expected"),
    [
        ("DescribeImageReferences", "ssm:GetParameters", {}, "ssm:GetParameters."),
        ("RunInstances", "iam:PassRole", {}, "iam:PassRole."),
        ("CreateSnapshot", "ec2:CreateTags", TAGGED, "ec2:CreateTags."),
        (
            "CreateSnapshot",
            "ec2:CreateSnapshot",
            TAGGED,
            "ec2:CreateSnapshot, and ec2:CreateTags for the tags of the new resource.",
        ),
        (
            "GetInstanceUefiData",
            "ec2:GetInstanceUefiData",
            {},
            "ec2:GetInstanceUefiData, or give the UEFI variable store in uefi_data.",
        ),
    ],
)
def test_action_that_aws_names_is_in_the_hint(
    operation: str, named: str, request_: dict[str, Any], expected: str
) -> None:
    assert hint(operation, said(named), request_) == expected


@pytest.mark.parametrize(
    ("service", "operation", "expected"),
    [
        ("ec2", "DescribeImages", "ec2:DescribeImages."),
        ("elbv2", "DescribeTargetHealth", "elasticloadbalancing:DescribeTargetHealth."),
    ],
)
def test_operation_is_in_the_hint_where_aws_names_none(service: str, operation: str, expected: str) -> None:
    assert hint(operation, "You are not authorized to perform this operation.", {}, service) == expected
