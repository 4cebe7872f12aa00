# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instance refreshes: states, percentages, cancel, rollback, refusals (Auto Scaling API reference and user guide)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from domain import refused

if TYPE_CHECKING:
    from sandbox.client import Sandbox

SLOW = {"refresh_pending": 10.0, "refresh_step": 100.0, "refresh_cancelling": 10.0, "refresh_failing": 50.0}


@pytest.fixture
def template(sandbox: Sandbox) -> str:
    """A launch template with two versions; the first is the default one."""
    sandbox.configure(durations=SLOW)
    images = sandbox.seed({"images": [{"name": "good"}, {"name": "bad", "unhealthy": True}]})
    ec2 = sandbox.client()
    made = ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"ImageId": images["good"]})
    template_id = str(made["LaunchTemplate"]["LaunchTemplateId"])
    for image in ("good", "bad"):
        ec2.create_launch_template_version(
            LaunchTemplateId=template_id, SourceVersion="1", LaunchTemplateData={"ImageId": images[image]}
        )
    return template_id


def group(sandbox: Sandbox, template: str, version: str = "1", **more: Any) -> Any:
    row = {"name": "web", "template": template, "version": version, "instances": 4, **more}
    sandbox.seed({"auto_scaling_group": row})
    return sandbox.client("autoscaling")


def start(scaling: Any, template: str, version: str = "2", **preferences: Any) -> str:
    wanted = {"LaunchTemplate": {"LaunchTemplateId": template, "Version": version}}
    answer = scaling.start_instance_refresh(
        AutoScalingGroupName="web", DesiredConfiguration=wanted, Preferences={"SkipMatching": True, **preferences}
    )
    return str(answer["InstanceRefreshId"])


def newest(scaling: Any) -> dict[str, Any]:
    return dict(scaling.describe_instance_refreshes(AutoScalingGroupName="web")["InstanceRefreshes"][0])


def seen(scaling: Any) -> tuple[str, int, int]:
    row = newest(scaling)
    return row["Status"], row["PercentageComplete"], row["InstancesToUpdate"]


def described(scaling: Any) -> dict[str, Any]:
    (row,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["web"])["AutoScalingGroups"]
    return dict(row)


def versions(scaling: Any) -> list[str]:
    return [one["LaunchTemplate"]["Version"] for one in described(scaling)["Instances"]]


def test_refresh_replaces_one_member_after_the_other_and_then_sets_the_version(sandbox: Sandbox, template: str) -> None:
    scaling = group(sandbox, template)
    before = [one["InstanceId"] for one in described(scaling)["Instances"]]
    made = start(scaling, template, BakeTime=30)
    assert seen(scaling) == ("Pending", 0, 4)
    sandbox.move_clock(115)
    assert seen(scaling) == ("InProgress", 25, 3)
    assert versions(scaling) == ["2", "1", "1", "1"]
    assert described(scaling)["LaunchTemplate"]["Version"] == "1"
    sandbox.move_clock(300)
    assert seen(scaling) == ("Baking", 100, 0)
    sandbox.move_clock(30)
    row = newest(scaling)
    assert (row["Status"], row["InstanceRefreshId"], row["EndTime"] > row["StartTime"]) == ("Successful", made, True)
    assert row["DesiredConfiguration"]["LaunchTemplate"]["Version"] == "2"
    assert row["Preferences"] == {"SkipMatching": True, "BakeTime": 30}
    assert (described(scaling)["LaunchTemplate"]["Version"], versions(scaling)) == ("2", ["2"] * 4)
    assert not set(before) & {one["InstanceId"] for one in described(scaling)["Instances"]}


def test_refresh_skips_members_that_match_or_are_ignored(sandbox: Sandbox, template: str) -> None:
    members = [{"version": "2"}, {"protected": True}, {"lifecycle": "Standby"}, {}]
    scaling = group(sandbox, template, instances=members)
    start(scaling, template, ScaleInProtectedInstances="Ignore", StandbyInstances="Ignore")
    sandbox.move_clock(111)
    assert seen(scaling) == ("Successful", 100, 0)
    assert versions(scaling) == ["2", "1", "1", "2"]


def test_only_one_refresh_is_active(sandbox: Sandbox, template: str) -> None:
    scaling = group(sandbox, template)
    refused("ActiveInstanceRefreshNotFound", scaling.cancel_instance_refresh, AutoScalingGroupName="web")
    start(scaling, template)
    refused("InstanceRefreshInProgress", scaling.start_instance_refresh, AutoScalingGroupName="web")
    sandbox.move_clock(115)
    scaling.cancel_instance_refresh(AutoScalingGroupName="web")
    assert seen(scaling) == ("Cancelling", 25, 3)
    sandbox.move_clock(10)
    assert (seen(scaling), versions(scaling)) == (("Cancelled", 25, 3), ["2", "1", "1", "1"])
    start(scaling, template)
    assert seen(scaling) == ("Pending", 0, 3)


def test_rollback_returns_the_replaced_members(sandbox: Sandbox, template: str) -> None:
    scaling = group(sandbox, template)
    start(scaling, template)
    sandbox.move_clock(215)
    scaling.rollback_instance_refresh(AutoScalingGroupName="web")
    assert seen(scaling) == ("RollbackInProgress", 50, 2)
    assert newest(scaling)["RollbackDetails"]["PercentageCompleteOnRollback"] == 50
    sandbox.move_clock(100)
    assert seen(scaling) == ("RollbackInProgress", 25, 3)
    sandbox.move_clock(100)
    assert (seen(scaling)[:2], versions(scaling)) == (("RollbackSuccessful", 0), ["1"] * 4)


@pytest.mark.parametrize("version", ["$Default", "$Latest"])
def test_group_of_an_alias_cannot_be_rolled_back(sandbox: Sandbox, template: str, version: str) -> None:
    scaling = group(sandbox, template, version)
    text = "Auto rollback is not supported"
    refused("ValidationError", start, scaling, template, AutoRollback=True, text=text)
    scaling.start_instance_refresh(AutoScalingGroupName="web")
    refused("IrreversibleInstanceRefresh", scaling.rollback_instance_refresh, AutoScalingGroupName="web")


@pytest.mark.parametrize(("automatic", "end"), [(False, "Failed"), (True, "RollbackSuccessful")])
def test_unhealthy_image_fails_the_refresh(sandbox: Sandbox, template: str, automatic: bool, end: str) -> None:
    scaling = group(sandbox, template)
    start(scaling, template, "3", AutoRollback=automatic)
    sandbox.move_clock(140)
    assert seen(scaling) == ("InProgress", 0, 4)
    sandbox.move_clock(300)
    row = newest(scaling)
    assert (row["Status"], "health checks" in row["StatusReason"]) == (end, True)
    assert (described(scaling)["LaunchTemplate"]["Version"], versions(scaling)) == ("1", ["1"] * 4)


def test_alias_stands_for_the_version_at_each_replacement(sandbox: Sandbox, template: str) -> None:
    scaling = group(sandbox, template, "$Default")
    sandbox.client().modify_launch_template(LaunchTemplateId=template, DefaultVersion="2")
    scaling.start_instance_refresh(AutoScalingGroupName="web", Preferences={"SkipMatching": True})
    sandbox.move_clock(500)
    assert (seen(scaling)[0], versions(scaling)) == ("Successful", ["2"] * 4)
    assert described(scaling)["LaunchTemplate"]["Version"] == "$Default"


def test_refreshes_are_listed_in_pages_newest_first(sandbox: Sandbox, template: str) -> None:
    scaling = group(sandbox, template, instances=0)
    made = []
    for _turn in range(3):
        made.append(start(scaling, template))
        sandbox.move_clock(20)
    first = scaling.describe_instance_refreshes(AutoScalingGroupName="web", MaxRecords=2)
    last = scaling.describe_instance_refreshes(AutoScalingGroupName="web", MaxRecords=2, NextToken=first["NextToken"])
    ids = [[one["InstanceRefreshId"] for one in page["InstanceRefreshes"]] for page in (first, last)]
    assert (ids, "NextToken" in last) == ([made[:0:-1], made[:1]], False)


@pytest.mark.parametrize(
    "wrong",
    [
        {"MinHealthyPercentage": 101},
        {"MaxHealthyPercentage": 110},
        {"MinHealthyPercentage": 50, "MaxHealthyPercentage": 200},
        {"StandbyInstances": "Refresh"},
    ],
)
def test_preferences_are_checked(sandbox: Sandbox, template: str, wrong: dict[str, Any]) -> None:
    scaling = group(sandbox, template)
    refused("ValidationError", start, scaling, template, **wrong)
    refused("ValidationError", start, scaling, template, "9")
    unknown = {"AutoScalingGroupName": "none"}
    refused("ValidationError", scaling.describe_instance_refreshes, **unknown, text="not found")
    assert scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["none"])["AutoScalingGroups"] == []
