# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of launch templates: source versions, tokens, defaults and pages (EC2 API reference)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from domain import refused

if TYPE_CHECKING:
    from sandbox.client import Sandbox

FIRST = {"ImageId": "ami-00000001", "InstanceType": "t3.micro"}


@pytest.fixture
def template(sandbox: Sandbox) -> str:
    made = sandbox.client().create_launch_template(LaunchTemplateName="web", LaunchTemplateData=FIRST)
    return str(made["LaunchTemplate"]["LaunchTemplateId"])


def versions(sandbox: Sandbox, template: str, **more: Any) -> list[dict[str, Any]]:
    pages = sandbox.client().get_paginator("describe_launch_template_versions")
    rows: list[dict[str, Any]] = []
    for page in pages.paginate(LaunchTemplateId=template, **more):
        rows += page["LaunchTemplateVersions"]
    return rows


def add(sandbox: Sandbox, template: str, **more: Any) -> dict[str, Any]:
    data = {"LaunchTemplateData": {"ImageId": "ami-00000002"}, **more}
    answer = sandbox.client().create_launch_template_version(LaunchTemplateId=template, **data)
    return dict(answer["LaunchTemplateVersion"])


def test_version_takes_over_what_its_source_has(sandbox: Sandbox, template: str) -> None:
    made = add(sandbox, template, SourceVersion="1")
    assert made["VersionNumber"] == 2
    assert made["LaunchTemplateData"] == {**FIRST, "ImageId": "ami-00000002"}
    assert add(sandbox, template)["LaunchTemplateData"] == {"ImageId": "ami-00000002"}
    assert add(sandbox, template, SourceVersion="$Default")["LaunchTemplateData"]["InstanceType"] == "t3.micro"


def test_repeated_call_with_its_token_makes_no_second_version(sandbox: Sandbox, template: str) -> None:
    twice = [add(sandbox, template, SourceVersion="1", ClientToken="t")["VersionNumber"] for _turn in range(2)]
    assert twice == [2, 2]
    refused(
        "IdempotentParameterMismatch",
        sandbox.client().create_launch_template_version,
        LaunchTemplateId=template,
        ClientToken="t",
        LaunchTemplateData={"ImageId": "ami-00000003"},
    )


def test_default_is_the_number_of_a_version(sandbox: Sandbox, template: str) -> None:
    add(sandbox, template, SourceVersion="1")
    ec2 = sandbox.client()
    assert (
        ec2.modify_launch_template(LaunchTemplateId=template, DefaultVersion="2")["LaunchTemplate"][
            "DefaultVersionNumber"
        ]
        == 2
    )
    assert [row["VersionNumber"] for row in versions(sandbox, template) if row["DefaultVersion"]] == [2]
    unknown = "InvalidLaunchTemplateId.VersionNotFound"
    refused(unknown, ec2.modify_launch_template, LaunchTemplateId=template, DefaultVersion="9")
    refused("InvalidParameterValue", ec2.modify_launch_template, LaunchTemplateId=template, DefaultVersion="$Latest")


def test_versions_come_in_pages_the_newest_first(sandbox: Sandbox, template: str) -> None:
    for _turn in range(4):
        add(sandbox, template)
    rows = versions(sandbox, template, PaginationConfig={"PageSize": 2})
    assert [row["VersionNumber"] for row in rows] == [5, 4, 3, 2, 1]
    bounded = versions(sandbox, template, MinVersion="2", MaxVersion="3")
    assert [row["VersionNumber"] for row in bounded] == [3, 2]
    assert [row["VersionNumber"] for row in versions(sandbox, template, Versions=["1"])] == [1]


def test_unknown_launch_template_has_a_code_of_its_own(sandbox: Sandbox, template: str) -> None:
    ec2 = sandbox.client()
    calls: list[tuple[Any, dict[str, Any]]] = [
        (ec2.describe_launch_template_versions, {}),
        (ec2.create_launch_template_version, {"LaunchTemplateData": FIRST}),
    ]
    for operation, more in calls:
        refused("InvalidLaunchTemplateName.NotFoundException", operation, LaunchTemplateName="none", **more)
        refused("InvalidLaunchTemplateId.NotFound", operation, LaunchTemplateId="lt-0123456789abcdef0", **more)
    both = {"LaunchTemplateName": "web", "LaunchTemplateId": template, "DefaultVersion": "1"}
    refused("InvalidParameterCombination", ec2.modify_launch_template, **both)


def test_dry_run_adds_no_version(sandbox: Sandbox, template: str) -> None:
    create = sandbox.client().create_launch_template_version
    refused("DryRunOperation", create, LaunchTemplateId=template, LaunchTemplateData=FIRST, DryRun=True)
    assert len(versions(sandbox, template)) == 1


def test_current_versions_of_all_templates_need_no_name(sandbox: Sandbox) -> None:
    ec2 = sandbox.client()
    for name in ("app", "web"):
        ec2.create_launch_template(LaunchTemplateName=name, LaunchTemplateData={"InstanceType": "t3.micro"})
        for _turn in range(2):
            ec2.create_launch_template_version(
                LaunchTemplateName=name, LaunchTemplateData={"InstanceType": "t3.small"}, SourceVersion="1"
            )
    asked = ec2.describe_launch_template_versions
    found = asked(Versions=["$Default", "$Latest"])["LaunchTemplateVersions"]
    assert sorted((one["LaunchTemplateName"], one["VersionNumber"]) for one in found) == [
        ("app", 1),
        ("app", 3),
        ("web", 1),
        ("web", 3),
    ]
    refused("InvalidParameterValue", asked)
    refused("InvalidParameterValue", asked, Versions=["2"])
