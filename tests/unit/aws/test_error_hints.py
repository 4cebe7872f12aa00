# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The remedy at the end of a message fits EC2's answer."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.errors import call_error
from botocore.exceptions import ClientError

KEY = "arn:aws:kms:us-east-1:123456789012:key/fe4d2634-186d-4adc-8a7f-ca163060dafc"


def said(operation: str, code: str, message: str = "…") -> str:
    """The whole message for EC2's refusal."""
    answer = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return str(call_error(ClientError(answer, operation), "ec2", operation, {}, resource="res-1"))


@pytest.mark.parametrize("state", ["invalid", "disabled"])
def test_unusable_target_key_names_the_remedy(state: str) -> None:
    text = said("CopySnapshot", "InvalidParameterValue", f"The specified keyId {KEY} is {state}")
    assert text.startswith(
        f"CopySnapshot of res-1 failed: InvalidParameterValue: The specified keyId {KEY} is {state}."
    )
    assert "enabled KMS key of the destination region" in text


@pytest.mark.parametrize(
    ("operation", "message", "remedy"),
    [
        ("CopySnapshot", f"Not authorized to use key {KEY} ", "key policy"),
        ("RunInstances", "Not authorized for images: [ami-0123456789abcdef0]", "share"),
        ("DescribeImageAttribute", "Not authorized for image:ami-0123456789abcdef0", "share"),
    ],
)
def test_refused_resource_does_not_blame_the_credentials(operation: str, message: str, remedy: str) -> None:
    text = said(operation, "AuthFailure", message)
    assert remedy in text
    assert "access_key" not in text


def test_refused_credentials_name_the_region() -> None:
    text = said("DescribeVolumes", "AuthFailure", "AWS was not able to validate the provided access credentials")
    assert "access_key" in text and "region" in text


@pytest.mark.parametrize(
    ("operation", "code", "remedy"),
    [
        ("CopySnapshot", "InvalidRegion", "region"),
        ("CopySnapshot", "ResourceLimitExceeded", "run the task again"),
        ("CreateSnapshot", "PendingSnapshotLimitExceeded", "run the task again"),
        ("CreateSnapshot", "SnapshotCreationPerVolumeRateExceeded", "15 seconds"),
        ("DeleteSnapshot", "InvalidSnapshot.InUse", "First deregister the image"),
        ("DeleteVolume", "VolumeInUse", "First detach"),
        ("RegisterImage", "InvalidAMIName.Duplicate", "another name"),
        ("ModifySnapshotAttribute", "InvalidAMIAttributeItemValue", "twelve digits"),
        ("ModifySnapshotAttribute", "OperationNotPermitted", "account"),
        ("CreateVolume", "UnknownVolumeType", "gp3"),
        ("DeleteVolume", "IncorrectState", "state"),
        ("CreateImage", "IncorrectInstanceState", "state"),
    ],
)
def test_known_code_has_a_remedy(operation: str, code: str, remedy: str) -> None:
    assert remedy in said(operation, code).partition("…")[2]


def test_unsupported_configuration_does_not_advise_to_wait() -> None:
    text = said("RunInstances", "Unsupported", "Your requested instance type (t3.micro) is not supported in …")
    assert "another instance type" in text and "zone" in text
    assert "capacity" not in text and "later" not in text


def test_missing_capacity_advises_to_wait_or_to_choose() -> None:
    text = said("RunInstances", "InsufficientInstanceCapacity")
    assert "later" in text and "another instance type" in text


@pytest.mark.parametrize("code", ["ResourceLimitExceeded", "PendingSnapshotLimitExceeded"])
def test_limit_of_concurrent_calls_advises_to_wait(code: str) -> None:
    assert "Service Quotas" not in said("CopySnapshot", code)
