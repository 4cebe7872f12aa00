# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook publish_image: template and groups get the new version, roll back, and are finished after a kill."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from playbook.interrupting import Point, await_released, begun, hold_at
from playbook.seeds import Web, at_once
from playbook.support import (
    REGION,
    Run,
    assert_done_as_planned,
    assert_told_the_same,
    changing_calls,
    own_images,
    run_playbook,
)
from policies import calls, denied
from sandbox.client import Sandbox
from tools import iam

PLAYBOOK = "ec2ops.storage.publish_image"
QUICK = {"refresh_pending": 0.1, "refresh_step": 0.1, "refresh_cancelling": 0.1, "refresh_failing": 0.1}


@dataclass(frozen=True)
class Fleet:
    """A stopped source, the launch template ``web`` of its image, and the groups ``a`` and ``b`` of the template."""

    sandbox: Sandbox
    image_id: str
    given: dict[str, Any]

    def versions(self) -> dict[str, tuple[str, list[str]]]:
        """The version of each group, and those of its instances."""
        rows = self.sandbox.client("autoscaling", REGION).describe_auto_scaling_groups()["AutoScalingGroups"]
        return {
            row["AutoScalingGroupName"]: (
                row["LaunchTemplate"]["Version"],
                [one["LaunchTemplate"]["Version"] for one in row["Instances"]],
            )
            for row in rows
        }

    def default(self) -> tuple[str, str]:
        """The default version of the template, and its image."""
        found = self.sandbox.client("ec2", REGION).describe_launch_template_versions(
            LaunchTemplateName="web", Versions=["$Default"]
        )["LaunchTemplateVersions"][0]
        return str(found["VersionNumber"]), found["LaunchTemplateData"]["ImageId"]

    def refreshes(self, name: str) -> int:
        scaling = self.sandbox.client("autoscaling", REGION)
        return len(scaling.describe_instance_refreshes(AutoScalingGroupName=name)["InstanceRefreshes"])

    def run(self, **more: Any) -> Run:
        self.sandbox.reset_log()
        check = more.pop("check", False)
        run = run_playbook(self.sandbox, PLAYBOOK, {**self.given, **more}, check=check)
        policy = iam.FOLDER / f"publish_image{'-check' if check else ''}.json"
        assert denied(json.loads(policy.read_text(encoding="utf-8")), calls(self.sandbox), {}) == set()
        return run


@pytest.fixture
def fleet(sandbox: Sandbox, web: Web) -> Iterator[Fleet]:
    durations = dict(sandbox.configure()["durations"])
    sandbox.configure(durations=QUICK)
    ec2 = sandbox.client("ec2", REGION)
    with at_once(sandbox):
        ec2.stop_instances(InstanceIds=[web.instance_id])
        ec2.get_waiter("instance_stopped").wait(InstanceIds=[web.instance_id], WaiterConfig={"Delay": 1})
    made = ec2.create_launch_template(
        LaunchTemplateName="web", LaunchTemplateData={"ImageId": web.image_id, "InstanceType": "t3.micro"}
    )
    template = made["LaunchTemplate"]["LaunchTemplateId"]
    rows = [{"name": name, "template": template, "version": own} for name, own in (("a", "$Default"), ("b", "1"))]
    sandbox.seed({"region": REGION, "auto_scaling_groups": rows})
    yield Fleet(
        sandbox,
        web.image_id,
        {
            "publish_image_source_instance_id": web.instance_id,
            "publish_image_name": "web",
            "publish_image_version": "1",
            "publish_image_launch_template": "web",
            # A survey gives such texts.
            "publish_image_groups": "a,b",
            "publish_image_preferences": "{min_healthy_percentage: 50}",
        },
    )
    sandbox.clear_faults()
    sandbox.configure(durations=durations)


def test_image_is_published_once(sandbox: Sandbox, fleet: Fleet) -> None:
    check = fleet.run(check=True)
    assert check.status == 0, check.output
    assert changing_calls(sandbox.log()) == []
    run = fleet.run()
    assert run.status == 0, run.output
    result = run.fact("publish_image_result")
    assert_told_the_same(check.fact("publish_image_result")["plan"], result["plan"], run.planned_ids)
    assert_done_as_planned(result["plan"], sandbox.log(), run.planned_ids)
    (image,) = own_images(sandbox)
    assert fleet.default() == ("2", image["ImageId"])
    assert fleet.versions() == {"a": ("$Default", ["2", "2"]), "b": ("2", ["2", "2"])}
    assert (result["image_id"], result["launch_template"]["former_version"]) == (image["ImageId"], "1")

    again = fleet.run()
    assert again.status == 0, again.output
    assert (again.changed, changing_calls(sandbox.log())) == ([], [])

    back = fleet.run(publish_image_template_version=1)
    assert back.status == 0, back.output
    assert (fleet.default()[0], fleet.versions()) == ("1", {"a": ("$Default", ["1", "1"]), "b": ("1", ["1", "1"])})


@pytest.mark.parametrize(
    "point", [Point("ModifyLaunchTemplate", "after"), Point("autoscaling:StartInstanceRefresh", "after")], ids=str
)
def test_killed_run_is_finished_by_the_next(sandbox: Sandbox, fleet: Fleet, tmp_path: Path, point: Point) -> None:
    fault = hold_at(sandbox, point)
    with begun(sandbox, PLAYBOOK, fleet.given, tmp_path / "first") as first:
        first.await_held(fault)
        first.kill_all()
        await_released(sandbox)
    sandbox.remove_fault(fault)
    run = fleet.run()
    assert run.status == 0, run.output
    assert fleet.versions() == {"a": ("$Default", ["2", "2"]), "b": ("2", ["2", "2"])}
    assert [fleet.refreshes(name) for name in ("a", "b")] == [1, 1]
    assert len(own_images(sandbox)) == 1


def test_late_refresh_takes_template_and_groups_back(sandbox: Sandbox, fleet: Fleet) -> None:
    ec2 = sandbox.client("ec2", REGION)
    image = {"ImageId": fleet.image_id, "InstanceType": "t3.micro"}
    ec2.create_launch_template_version(LaunchTemplateName="web", LaunchTemplateData=image)
    web, other = (
        ec2.describe_launch_templates(LaunchTemplateNames=["web"])["LaunchTemplates"][0]["LaunchTemplateId"],
        ec2.create_launch_template(LaunchTemplateName="other", LaunchTemplateData=image)["LaunchTemplate"][
            "LaunchTemplateId"
        ],
    )
    rows = [{"name": "c", "template": web, "version": "2"}, {"name": "strange", "template": other, "version": "1"}]
    sandbox.seed({"region": REGION, "auto_scaling_groups": rows})
    unknown = fleet.run(publish_image_groups=["a", "none", "strange"])
    assert unknown.status != 0
    assert "none does not exist in us-east-1" in unknown.output
    assert f"strange uses the launch template other, and launch_template_id is {web}" in " ".join(
        unknown.output.split()
    )
    assert fleet.default() == ("1", fleet.image_id)

    sandbox.configure(durations={"refresh_step": 3600.0})
    run = fleet.run(publish_image_wait_timeout=5, publish_image_groups="a,b,c")
    assert run.status != 0
    text = " ".join(run.output.split())
    assert "a should become refreshed but is still InProgress" in text
    assert "The launch template is back at version 1." in text
    assert '"version": "1"' in text
    assert fleet.default() == ("1", fleet.image_id)
    # Each group has its own former version again, which is not the template's default for c.
    groups = {"a": ("$Default", ["1", "1"]), "b": ("1", ["1", "1"]), "c": ("2", ["2", "2"])}
    assert fleet.versions() == {**groups, "strange": ("1", ["1", "1"])}
