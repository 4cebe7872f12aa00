# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The removal of an image on the sandbox: users of the image, obstacles to the deletion of a snapshot, and copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake

from in_process import REGION, Ended, machine, run
from sandbox.client import Sandbox

OTHER = "999999999999"


class Line:
    """The version 1 of the image ``web``, baked, and nothing that uses it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.web = machine(sandbox)
        self.ec2 = sandbox.client("ec2", REGION)
        self.image_id = str(self.bake().result["image_id"])
        self.snapshot_id = str(self.image()["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"])

    def bake(self, **more: Any) -> Ended:
        given = {"name": "web", "version": "1", "source_instance_id": self.web.instance_id, "require_stopped": False}
        return run(self.sandbox, module=ami_bake, **{**given, **more})

    def remove(self, **more: Any) -> Ended:
        return run(self.sandbox, module=ami_bake, name="web", version="1", state="absent", **more)

    def image(self) -> dict[str, Any]:
        (row,) = self.ec2.describe_images(ImageIds=[self.image_id])["Images"]
        return dict(row)

    def registered(self) -> list[str]:
        """The resources with the tags of the version."""
        filters = [{"Name": "tag:ec2ops:version", "Values": ["1"]}]
        return [row["ImageId"] for row in self.ec2.describe_images(Owners=["self"], Filters=filters)["Images"]]

    def copy(self) -> str:
        """A copy in the region with the tags of the image, as a user makes one."""
        made = self.ec2.copy_image(
            Name="web-copy", SourceImageId=self.image_id, SourceRegion=REGION, CopyImageTags=True
        )["ImageId"]
        self.ec2.get_waiter("image_available").wait(ImageIds=[made], WaiterConfig={"Delay": 0.1, "MaxAttempts": 200})
        return str(made)


@pytest.fixture
def line(sandbox: Sandbox) -> Line:
    return Line(sandbox)


def old_template_version(line: Line) -> str:
    made = line.ec2.create_launch_template(LaunchTemplateName="t", LaunchTemplateData={"ImageId": line.image_id})
    template = str(made["LaunchTemplate"]["LaunchTemplateId"])
    for _version in range(11):
        line.ec2.create_launch_template_version(
            LaunchTemplateId=template, LaunchTemplateData={"ImageId": "ami-00000000"}
        )
    return template


def launch_configuration(line: Line) -> str:
    line.sandbox.client("autoscaling", REGION).create_launch_configuration(
        LaunchConfigurationName="legacy", ImageId=line.image_id, InstanceType="t3.micro"
    )
    return "launch configuration legacy"


def ssm_parameter(line: Line) -> str:
    line.sandbox.client("ssm", REGION).put_parameter(Name="/golden/web", Value=line.image_id, Type="String")
    return "parameter/golden/web"


def recipe(line: Line) -> str:
    line.sandbox.seed({"recipe": {"name": "web", "image": line.image_id}})
    return "image-recipe/web"


def container_recipe(line: Line) -> str:
    line.sandbox.seed({"recipe": {"name": "box", "image": line.image_id, "container": True}})
    return "container-recipe/box"


def share(line: Line) -> None:
    line.ec2.modify_image_attribute(ImageId=line.image_id, LaunchPermission={"Add": [{"UserId": OTHER}]})


def reported_account(line: Line) -> str:
    share(line)
    line.sandbox.seed({"account": OTHER, "instance": {"name": "theirs", "image": line.image_id}})
    line.ec2.create_image_usage_report(ImageId=line.image_id, ResourceTypes=[{"ResourceType": "ec2:Instance"}])
    line.sandbox.move_clock(60)
    return f"account {OTHER}"


@pytest.mark.parametrize(
    "use",
    [old_template_version, launch_configuration, ssm_parameter, recipe, container_recipe, reported_account],
    ids=lambda use: str(use.__name__),
)
def test_use_of_the_image_refuses_its_removal(line: Line, use: Callable[[Line], str]) -> None:
    user = use(line)
    for check in (True, False):
        refused = line.remove(check=check)
        assert user in refused.failed
        assert "force: true" in refused.failed
    assert line.registered() == [line.image_id]
    forced = line.remove(force=True)
    assert (forced.failed, forced.actions) == ("", ["DeregisterImage", "DeleteSnapshot"])


def test_shared_image_without_a_report_of_use_gives_a_warning(line: Line) -> None:
    share(line)
    removed = line.remove()
    assert (removed.failed, removed.actions) == ("", ["DeregisterImage", "DeleteSnapshot"])
    (warning,) = removed.warnings
    assert OTHER in warning and "CreateImageUsageReport" in warning


def test_use_by_an_account_without_access_does_not_hold_the_image(line: Line) -> None:
    reported_account(line)
    line.ec2.modify_image_attribute(ImageId=line.image_id, LaunchPermission={"Remove": [{"UserId": OTHER}]})
    assert line.remove().failed == ""


def test_a_terminated_instance_holds_nothing(line: Line) -> None:
    (made,) = line.ec2.run_instances(ImageId=line.image_id, MinCount=1, MaxCount=1)["Instances"]
    assert made["InstanceId"] in line.remove().failed
    line.ec2.terminate_instances(InstanceIds=[made["InstanceId"]])
    line.sandbox.move_clock(60)
    assert line.remove().failed == ""


@pytest.mark.parametrize(
    ("denied", "named"),
    [
        ("DescribeImageReferences", "ec2:DescribeImageReferences"),
        ("ssm:GetParameters", "ssm:GetParameters"),
        ("autoscaling:DescribeLaunchConfigurations", "autoscaling:DescribeLaunchConfigurations"),
        ("DescribeImageAttribute", "ec2:DescribeImageAttribute"),
        ("DescribeLockedSnapshots", "ec2:DescribeLockedSnapshots"),
    ],
)
def test_a_missing_read_permission_refuses_and_is_named(line: Line, denied: str, named: str) -> None:
    line.sandbox.refuse(denied)
    refused = line.remove()
    assert named in refused.failed
    assert "force: true" in refused.failed
    assert line.registered() == [line.image_id]
    assert line.remove(force=True).failed == ""
    assert line.registered() == []


def test_usage_reports_that_may_not_be_read_refuse_only_for_a_shared_image(line: Line) -> None:
    line.sandbox.refuse("DescribeImageUsageReportEntries")
    share(line)
    assert "ec2:DescribeImageUsageReportEntries" in line.remove().failed
    line.ec2.reset_image_attribute(ImageId=line.image_id, Attribute="launchPermission")
    assert line.remove().failed == ""


# --- locks ------------------------------------------------------------------------------------------------------------


def test_a_locked_snapshot_refuses_the_removal_of_its_image(line: Line) -> None:
    line.ec2.lock_snapshot(SnapshotId=line.snapshot_id, LockMode="governance", LockDuration=3)
    refused = line.remove()
    assert line.snapshot_id in refused.failed
    assert "governance until" in refused.failed
    assert line.registered() == [line.image_id]
    forced = line.remove(force=True)
    assert (forced.failed, forced.actions) == ("", ["DeregisterImage"])
    assert any(line.snapshot_id in warning for warning in forced.warnings)
    again = line.remove(force=True)
    assert (again.failed, again.actions) == ("", []), "the second run is a no-op"
    line.ec2.unlock_snapshot(SnapshotId=line.snapshot_id)
    assert line.remove().actions == ["DeleteSnapshot"]


def test_a_lock_that_has_expired_keeps_nothing(line: Line) -> None:
    line.ec2.lock_snapshot(SnapshotId=line.snapshot_id, LockMode="governance", LockDuration=1)
    line.sandbox.move_clock(2 * 86400)
    assert line.remove().actions == ["DeregisterImage", "DeleteSnapshot"]


# --- copies -----------------------------------------------------------------------------------------------------------


def test_a_copied_image_is_not_the_version(line: Line) -> None:
    copied = line.copy()
    again = line.bake()
    assert (again.failed, again.actions, again.result["image_id"]) == ("", [], line.image_id)
    removed = line.remove()
    assert removed.failed == ""
    assert [(entry["action"], entry["resource"]) for entry in removed.result["plan"]] == [
        ("DeregisterImage", line.image_id),
        ("DeleteSnapshot", line.snapshot_id),
    ]
    assert any(copied in warning for warning in removed.warnings)


def test_a_copied_image_outlives_its_original(line: Line) -> None:
    copied = line.copy()
    line.ec2.deregister_image(ImageId=line.image_id)
    line.ec2.delete_snapshot(SnapshotId=line.snapshot_id)
    removed = line.remove()
    assert (removed.failed, removed.actions, removed.result["image_id"]) == ("", [], None)
    assert line.registered() == [copied]


def test_an_image_of_create_image_is_no_copy(line: Line) -> None:
    """EC2 records a source image for it too: the one that the instance was launched from."""
    first = line.bake(version="2", method="image")
    assert first.actions == ["CreateImage"]
    again = line.bake(version="2", method="image")
    assert (again.actions, again.result["image_id"]) == ([], first.result["image_id"])


def test_a_removal_of_nothing_asks_two_questions(line: Line) -> None:
    line.remove()
    line.sandbox.reset_log()
    assert line.remove().actions == []
    assert sorted(line.sandbox.counts()) == ["DescribeImages", "DescribeSnapshots"]


def test_undeletable_snapshot_keeps_no_other_and_the_next_run_deletes_it(sandbox: Sandbox) -> None:
    web = machine(sandbox, data=2)
    given = {"name": "web", "version": "1", "module": ami_bake}
    baked = run(sandbox, source_instance_id=web.instance_id, require_stopped=False, devices="all", **given)
    assert baked.failed == ""
    sandbox.reset_log()
    with sandbox.fault("DeleteSnapshot", occurrence=1, kind="error", code="UnauthorizedOperation", status=403):
        ended = run(sandbox, state="absent", **given)
    assert "UnauthorizedOperation" in ended.failed
    done = [entry["action"] for entry in ended.result["done"]]
    assert done == ["DeregisterImage", "DeleteSnapshot", "DeleteSnapshot"]
    assert [entry["action"] for entry in ended.result["failed_changes"]] == ["DeleteSnapshot"]
    again = run(sandbox, state="absent", **given)
    assert (again.failed, again.actions) == ("", ["DeleteSnapshot"])
