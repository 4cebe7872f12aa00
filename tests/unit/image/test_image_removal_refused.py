# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AWS refuses to show the users of an image: the message names the permission, and ``error`` has AWS's own message."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake

from in_process import Ended, machine, run
from sandbox.client import Sandbox

NOT_AUTHORIZED = "You are not authorized to perform this operation."


def encoded(text: str) -> str:
    return f"Encoded authorization failure message: {text * 200}"


@pytest.fixture
def baked(sandbox: Sandbox) -> Sandbox:
    given = {"name": "web", "version": "1", "require_stopped": False}
    run(sandbox, module=ami_bake, source_instance_id=machine(sandbox).instance_id, **given)
    return sandbox


def refuse(sandbox: Sandbox, operation: str, message: str) -> None:
    sandbox.add_fault(operation, code="UnauthorizedOperation", message=message, status=403, occurrence="every")


def remove(sandbox: Sandbox) -> Ended:
    return run(sandbox, module=ami_bake, name="web", version="1", state="absent")


@pytest.mark.parametrize("operation", ["DescribeImageReferences", "DescribeImageAttribute", "DescribeLockedSnapshots"])
def test_encoded_message_is_whole_in_the_error(baked: Sandbox, operation: str) -> None:
    refuse(baked, operation, f"{NOT_AUTHORIZED} {encoded('Ab1_')}")
    removed = remove(baked)
    assert "Encoded" not in removed.failed
    assert f"ec2:{operation}" in removed.failed
    assert removed.result["error"] == {
        "code": "UnauthorizedOperation",
        "message": f"{NOT_AUTHORIZED} {encoded('Ab1_')}",
        "operation": operation,
    }


def test_encoded_messages_of_several_refusals_are_all_in_the_error(baked: Sandbox) -> None:
    refuse(baked, "DescribeImageReferences", f"{NOT_AUTHORIZED} {encoded('Ab1_')}")
    refuse(baked, "DescribeImageAttribute", f"{NOT_AUTHORIZED} {encoded('Cd2_')}")
    error = remove(baked).result["error"]
    assert error["operation"] == "DescribeImageReferences"
    assert f"DescribeImageReferences: {NOT_AUTHORIZED} {encoded('Ab1_')}" in error["message"]
    assert f"DescribeImageAttribute: {NOT_AUTHORIZED} {encoded('Cd2_')}" in error["message"]


@pytest.mark.parametrize(
    "action",
    ["ssm:GetParameters", "ec2:DescribeLaunchTemplateVersions", "imagebuilder:ListImageRecipes"],
)
def test_hint_names_the_permission_that_aws_misses(baked: Sandbox, action: str) -> None:
    baked.refuse(action)
    failed = remove(baked).failed
    assert f", allow {action}." in failed
    assert ", allow ec2:DescribeImageReferences" not in failed
