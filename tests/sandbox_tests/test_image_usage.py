# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The users of an image, against the user guide: references of the account, usage reports about others."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from domain import make_instant, make_slow, refused

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World

OTHER = "999999999999"


def told(ec2: Any, image_id: str, *types: dict[str, Any], everything: bool = True) -> list[tuple[str, str]]:
    options = {"ResourceTypes": list(types)} if types else {}
    if everything:
        options["IncludeAllResourceTypes"] = True
    found = ec2.describe_image_references(ImageIds=[image_id], **options)["ImageReferences"]
    return [(one["ResourceType"], one["Arn"].rpartition(":")[2]) for one in found]


def option(kind: str, name: str, *values: str) -> dict[str, Any]:
    return {"ResourceType": kind, "ResourceTypeOptions": [{"OptionName": name, "OptionValues": list(values)}]}


@pytest.fixture
def ids(world: World, sandbox: Sandbox) -> dict[str, Any]:
    make_instant(world)
    made: dict[str, Any] = sandbox.seed(
        {
            "image": {"name": "web"},
            "instances": [{"name": "a", "image": "web"}, {"name": "b", "image": "web"}],
            "recipes": [{"name": "plain", "image": "web"}, {"name": "box", "image": "web", "container": True}],
        }
    )
    return made


def test_all_five_resource_types_are_reported(sandbox: Sandbox, ids: dict[str, Any]) -> None:
    ec2 = sandbox.client()
    template = ec2.create_launch_template(LaunchTemplateName="t", LaunchTemplateData={"ImageId": ids["web"]})
    sandbox.client("ssm").put_parameter(Name="/golden/web", Value=ids["web"], Type="String", DataType="aws:ec2:image")
    sandbox.client("ssm").put_parameter(Name="other", Value="ami-00000000", Type="String")
    sandbox.move_clock(2)
    assert told(ec2, ids["web"]) == [
        ("ec2:Instance", f"instance/{ids['a']}"),
        ("ec2:Instance", f"instance/{ids['b']}"),
        ("ec2:LaunchTemplate", f"launch-template/{template['LaunchTemplate']['LaunchTemplateId']}"),
        ("ssm:Parameter", "parameter/golden/web"),
        ("imagebuilder:ImageRecipe", "image-recipe/plain/1.0.0"),
        ("imagebuilder:ContainerRecipe", "container-recipe/box/1.0.0"),
    ]


def test_instances_in_all_states_count_by_default(world: World, sandbox: Sandbox, ids: dict[str, Any]) -> None:
    ec2 = sandbox.client()
    ec2.terminate_instances(InstanceIds=[ids["b"]])
    kind = "ec2:Instance"
    assert len(told(ec2, ids["web"], {"ResourceType": kind}, everything=False)) == 2, "a terminated one too"
    living = option(kind, "state-name", "pending", "running", "stopping", "stopped")
    assert told(ec2, ids["web"], living, everything=False) == [(kind, f"instance/{ids['a']}")]
    overruled = told(ec2, ids["web"], living)
    assert [one for one in overruled if one[0] == kind] == [(kind, f"instance/{ids['a']}")]
    assert len(overruled) == 3, "options of one type leave the others as they are"
    world.clock.move(3601)
    assert told(ec2, ids["web"], {"ResourceType": kind}, everything=False) == [(kind, f"instance/{ids['a']}")]


def test_ten_launch_template_versions_are_read_by_default(sandbox: Sandbox, ids: dict[str, Any]) -> None:
    ec2 = sandbox.client()
    made = ec2.create_launch_template(LaunchTemplateName="t", LaunchTemplateData={"ImageId": ids["web"]})
    template = made["LaunchTemplate"]["LaunchTemplateId"]
    for _version in range(11):
        ec2.create_launch_template_version(LaunchTemplateId=template, LaunchTemplateData={"ImageId": "ami-00000000"})
    kind = "ec2:LaunchTemplate"
    assert told(ec2, ids["web"], {"ResourceType": kind}, everything=False) == []
    assert told(ec2, ids["web"], option(kind, "version-depth", "11"), everything=False) == []
    assert told(ec2, ids["web"], option(kind, "version-depth", "10000"), everything=False) == [
        (kind, f"launch-template/{template}")
    ]
    for depth in ("0", "10001", "all"):
        refused(
            "InvalidParameterValue",
            ec2.describe_image_references,
            ImageIds=[ids["web"]],
            ResourceTypes=[option(kind, "version-depth", depth)],
        )


def test_bad_questions_are_refused(sandbox: Sandbox, ids: dict[str, Any]) -> None:
    ask = sandbox.client().describe_image_references
    refused("InvalidParameterCombination", ask, ImageIds=[ids["web"]])
    many = [f"ami-{number:08x}" for number in range(11)]
    refused("InvalidParameterValue", ask, ImageIds=many, IncludeAllResourceTypes=True)
    refused(
        "InvalidParameterValue",
        ask,
        ImageIds=[ids["web"]],
        ResourceTypes=[option("ssm:Parameter", "version-depth", "3")],
    )


def test_reads_on_behalf_of_the_caller_need_permission(sandbox: Sandbox, ids: dict[str, Any]) -> None:
    sandbox.refuse("ssm:GetParameters")
    ask = sandbox.client().describe_image_references
    refused("UnauthorizedOperation", ask, ImageIds=[ids["web"]], IncludeAllResourceTypes=True, text="ssm:GetParameters")
    ask(ImageIds=[ids["web"]], ResourceTypes=[{"ResourceType": "ec2:Instance"}])


def test_usage_report_counts_resources_of_other_accounts(world: World, sandbox: Sandbox, ids: dict[str, Any]) -> None:
    ec2 = sandbox.client()
    ec2.modify_image_attribute(ImageId=ids["web"], LaunchPermission={"Add": [{"UserId": OTHER}]})
    theirs = sandbox.seed({"account": OTHER, "instances": [{"name": name, "image": ids["web"]} for name in ("x", "y")]})
    assert theirs["x"] != ids["a"]
    make_slow(world)
    kinds = [{"ResourceType": "ec2:Instance"}, {"ResourceType": "ec2:LaunchTemplate"}]
    report = ec2.create_image_usage_report(ImageId=ids["web"], ResourceTypes=kinds)["ReportId"]
    (row,) = ec2.describe_image_usage_reports(ImageIds=[ids["web"]])["ImageUsageReports"]
    assert (row["State"], row["ExpirationTime"] - row["CreationTime"]) == ("pending", timedelta(days=30))
    assert ec2.describe_image_usage_report_entries(ImageIds=[ids["web"]])["ImageUsageReportEntries"] == []
    world.clock.move(3600)
    (entry,) = ec2.describe_image_usage_report_entries(ImageIds=[ids["web"]])["ImageUsageReportEntries"]
    assert (entry["AccountId"], entry["ResourceType"], entry["UsageCount"]) == (OTHER, "ec2:Instance", 2)
    refused(
        "InvalidParameterValue",
        ec2.create_image_usage_report,
        ImageId=ids["web"],
        ResourceTypes=[{"ResourceType": "ssm:Parameter"}],
    )
    ec2.delete_image_usage_report(ReportId=report)
    assert ec2.describe_image_usage_reports()["ImageUsageReports"] == []


def test_launch_shows_a_day_later(world: World, sandbox: Sandbox) -> None:
    made = sandbox.seed({"image": {"name": "web", "age": 400 * 86400.0, "launched": 50 * 86400.0}})
    ec2 = sandbox.client()

    def shown() -> Any:
        (row,) = ec2.describe_images(ImageIds=[made["web"]])["Images"]
        return row["LastLaunchedTime"]

    before = shown()
    ec2.run_instances(ImageId=made["web"], InstanceType="t3.micro", MinCount=1, MaxCount=1)
    assert shown() == before
    world.clock.move(86400)
    assert shown() > before
