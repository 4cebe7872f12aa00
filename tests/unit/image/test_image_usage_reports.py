# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Several usage reports of one image: the newest that has looked decides whether another account holds the image."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake

from in_process import REGION, Ended, machine, run
from sandbox.client import Sandbox

OTHER, THIRD = "999999999999", "888888888888"
INSTANCES = {"ResourceType": "ec2:Instance"}
TEMPLATES = {"ResourceType": "ec2:LaunchTemplate"}


class Shared:
    """Version 1 of the image ``web``, shared with two accounts, and the usage reports about it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.ec2 = sandbox.client("ec2", REGION)
        given = {"name": "web", "version": "1", "require_stopped": False}
        baked = run(sandbox, module=ami_bake, source_instance_id=machine(sandbox).instance_id, **given)
        self.image_id = str(baked.result["image_id"])
        permission = {"Add": [{"UserId": OTHER}, {"UserId": THIRD}]}
        self.ec2.modify_image_attribute(ImageId=self.image_id, LaunchPermission=permission)

    def report(self, *types: dict[str, Any], **more: Any) -> str:
        made = self.ec2.create_image_usage_report(ImageId=self.image_id, ResourceTypes=list(types), **more)
        self.sandbox.move_clock(600)
        return str(made["ReportId"])

    def launch(self) -> str:
        """An instance of another account, from the image."""
        client = self.sandbox.client("ec2", REGION, account=OTHER)
        (made,) = client.run_instances(ImageId=self.image_id, MinCount=1, MaxCount=1)["Instances"]
        self.sandbox.move_clock(60)
        return str(made["InstanceId"])

    def terminate(self, instance_id: str) -> None:
        self.sandbox.client("ec2", REGION, account=OTHER).terminate_instances(InstanceIds=[instance_id])
        self.sandbox.move_clock(7200)

    def remove(self) -> Ended:
        return run(self.sandbox, module=ami_bake, name="web", version="1", state="absent", check=True)


@pytest.fixture
def shared(sandbox: Sandbox) -> Shared:
    return Shared(sandbox)


def test_newer_report_without_use_releases_the_image(shared: Shared) -> None:
    used = shared.launch()
    shared.report(INSTANCES)
    assert f"account {OTHER} (ec2:Instance: 1" in shared.remove().failed
    shared.terminate(used)
    shared.report(INSTANCES)
    removed = shared.remove()
    assert (removed.failed, removed.actions) == ("", ["DeregisterImage", "DeleteSnapshot"])


@pytest.mark.parametrize(
    ("types", "more"),
    [((TEMPLATES,), {}), ((INSTANCES,), {"AccountIds": [THIRD]})],
    ids=["another type", "another account"],
)
def test_newer_report_on_something_else_releases_nothing(
    shared: Shared, types: tuple[dict[str, Any], ...], more: dict[str, Any]
) -> None:
    used = shared.launch()
    shared.report(INSTANCES)
    shared.terminate(used)
    shared.report(*types, **more)
    assert f"account {OTHER} (ec2:Instance: 1" in shared.remove().failed


def test_newer_report_that_looks_less_deep_releases_nothing(shared: Shared) -> None:
    shared.launch()
    theirs = shared.sandbox.client("ec2", REGION, account=OTHER)
    theirs.create_launch_template(LaunchTemplateName="theirs", LaunchTemplateData={"ImageId": shared.image_id})
    shared.report(TEMPLATES)
    theirs.create_launch_template_version(LaunchTemplateName="theirs", LaunchTemplateData={"ImageId": "ami-00000000"})
    shared.report({**TEMPLATES, "ResourceTypeOptions": [{"OptionName": "version-depth", "OptionValues": ["1"]}]})
    assert f"account {OTHER} (ec2:LaunchTemplate: 1" in shared.remove().failed
    shared.report(INSTANCES, TEMPLATES)
    newest = shared.remove().failed
    assert newest.count("ec2:LaunchTemplate") == 1, "each use is told once, as the newest report has it"


def test_newest_report_with_use_is_named_once(shared: Shared) -> None:
    shared.launch()
    shared.report(INSTANCES)
    shared.launch()
    shared.report(INSTANCES)
    refused = shared.remove().failed
    assert "ec2:Instance: 2" in refused and "ec2:Instance: 1" not in refused


def test_reports_that_may_not_be_listed_release_nothing(shared: Shared) -> None:
    used = shared.launch()
    shared.report(INSTANCES)
    shared.terminate(used)
    shared.report(INSTANCES)
    shared.sandbox.refuse("DescribeImageUsageReports")
    refused = shared.remove().failed
    assert f"account {OTHER}" in refused
    assert "ec2:DescribeImageUsageReports" in refused


def test_reports_are_listed_only_where_one_shows_use(shared: Shared) -> None:
    shared.report(INSTANCES)
    assert "DescribeImageUsageReports" not in shared.remove().result["api_calls"]
