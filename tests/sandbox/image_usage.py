# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The users of an image: references within the account, and usage reports about other accounts.

The user guide ("Identify your resources referencing specified AMIs", "View your AMI usage") is the source of the rules.
Instances are the sandbox's, launch templates and SSM parameters moto's. moto has no Image Builder, so its recipes are
seeded (`seeding.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from .engine import Ec2Error, Request, action
from .filters import matching
from .pages import paged
from .parameters import settle as settle_parameters
from .tags import tag_specifications
from .volumes import combination_error, value_error
from .world import Shape, UsageReport, is_id, tag_list

INSTANCE_STATES = ("pending", "running", "shutting-down", "terminated", "stopping", "stopped")
DEEPEST = 10000
"""The most launch template versions that a check may look at."""
REPORT_DEPTH = 20
"""How many launch template versions a usage report looks at unless told."""
REPORT_LIFETIME = timedelta(days=30)

# The permissions that the caller needs beside DescribeImageReferences itself.
REFERENCE_TYPES: Mapping[str, tuple[str, ...]] = {
    "ec2:Instance": ("ec2:DescribeInstances",),
    "ec2:LaunchTemplate": ("ec2:DescribeLaunchTemplates", "ec2:DescribeLaunchTemplateVersions"),
    "ssm:Parameter": ("ssm:DescribeParameters", "ssm:GetParameters"),
    "imagebuilder:ImageRecipe": ("imagebuilder:ListImageRecipes",),
    "imagebuilder:ContainerRecipe": ("imagebuilder:ListContainerRecipes", "imagebuilder:GetContainerRecipe"),
}
REPORT_TYPES = tuple(one for one in REFERENCE_TYPES if one != "ssm:Parameter")


@action("DescribeImageReferences")
def describe_image_references(request: Request) -> Shape:
    """The resources of the account that name the images. Options of a resource type overrule the defaults."""
    params = request.params
    image_ids = params["ImageIds"]
    if not 1 <= len(image_ids) <= 10:
        raise value_error("The number of image ids must be between 1 and 10")
    for image_id in image_ids:
        _require_image_id(image_id)
    types = {one.get("ResourceType"): one for one in params.get("ResourceTypes") or []}
    if not types and not params.get("IncludeAllResourceTypes"):
        raise combination_error("Either IncludeAllResourceTypes or ResourceTypes must be specified")
    for one in types:
        if one not in REFERENCE_TYPES:
            raise value_error(f"Value ({one}) for parameter resourceType is invalid.")
    wanted = [one for one in REFERENCE_TYPES if one in types or params.get("IncludeAllResourceTypes")]
    _authorize(request, wanted)
    rows = [
        {"ImageId": image_id, "ResourceType": kind, "Arn": arn}
        for kind in wanted
        for image_id, arn in _users(request, request.account, kind, types.get(kind) or {})
        if image_id in image_ids
    ]
    page, token = paged(request, rows, minimum=1, ids=None)
    return {"ImageReferences": list(page), "NextToken": token}


def _require_image_id(image_id: str) -> None:
    if not is_id("ami", image_id):
        raise Ec2Error("InvalidAMIID.Malformed", f'Invalid id: "{image_id}" (expecting "ami-...")')


def _authorize(request: Request, kinds: list[str]) -> None:
    """UnauthorizedOperation when the caller may not read the resources that EC2 reads on its behalf."""
    for kind in kinds:
        for needed in REFERENCE_TYPES[kind]:
            if request.world.config.is_refused(*needed.split(":", 1)):
                raise Ec2Error(
                    "UnauthorizedOperation",
                    "You are not authorized to perform this operation. The caller is not authorized to perform: "
                    f"{needed} because no identity-based policy allows the {needed} action",
                    403,
                )


def _users(request: Request, account: str, kind: str, asked: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(image id, ARN) of every user of one type in an account."""
    options = {
        one.get("OptionName"): list(one.get("OptionValues") or []) for one in asked.get("ResourceTypeOptions") or []
    }
    known = {"ec2:Instance": {"state-name"}, "ec2:LaunchTemplate": {"version-depth"}}.get(kind, set())
    for name in options:
        if name not in known:
            raise value_error(f"Value ({name}) for parameter optionName is invalid.")
    if kind == "ec2:Instance":
        yield from _instances(request, account, options.get("state-name") or list(INSTANCE_STATES))
    elif kind == "ec2:LaunchTemplate":
        yield from _templates(request, account, _depth(options.get("version-depth"), 10))
    elif kind == "ssm:Parameter":
        yield from _parameters(request, account)
    else:
        recipes = request.world.region(account, request.region).recipes
        yield from ((image_id, arn) for recipe_kind, image_id, arn in recipes if recipe_kind == kind)


def _instances(request: Request, account: str, states: list[str]) -> Iterator[tuple[str, str]]:
    for state in states:
        if state not in INSTANCE_STATES:
            raise value_error(f"Value ({state}) for parameter optionValue is invalid.")
    home = request.world.region(account, request.region)
    gone = timedelta(seconds=request.world.config.duration("instance_gone"))
    for instance in home.instances.values():
        state = instance.state(request.now)
        if state in states and not (state == "terminated" and _ended(instance, request) + gone <= request.now):
            yield instance.image_at(request.now), f"arn:aws:ec2:{request.region}:{account}:instance/{instance.id}"


def _ended(instance: Any, request: Request) -> Any:
    return max((one.done for one in instance.power if one.done <= request.now), default=request.now)


def _depth(given: list[str] | None, default: int) -> int:
    if not given:
        return default
    if not given[0].isdigit() or not 1 <= int(given[0]) <= DEEPEST:
        raise value_error(f"Value ({given[0]}) for parameter version-depth is invalid. Expected: 1 to {DEEPEST}")
    return int(given[0])


def _templates(request: Request, account: str, depth: int) -> Iterator[tuple[str, str]]:
    """The images of the newest versions of each launch template."""

    def ask(name: str, **params: Any) -> Shape:
        return request.world.moto.call(name, params, account=account, region=request.region)

    for template in ask("DescribeLaunchTemplates").get("LaunchTemplates", []):
        template_id = template["LaunchTemplateId"]
        answer = ask("DescribeLaunchTemplateVersions", LaunchTemplateId=template_id)
        newest = sorted(answer["LaunchTemplateVersions"], key=lambda one: int(one["VersionNumber"]))[-depth:]
        for image_id in dict.fromkeys(one.get("LaunchTemplateData", {}).get("ImageId") for one in newest):
            if image_id:
                yield image_id, f"arn:aws:ec2:{request.region}:{account}:launch-template/{template_id}"


def _parameters(request: Request, account: str) -> Iterator[tuple[str, str]]:
    """The SSM parameters whose current value is an image's id."""
    from moto.ssm.models import ssm_backends  # heavy, and only references need it

    settle_parameters(request.world)
    for name, versions in dict.items(ssm_backends[account][request.region]._parameters):
        if versions:
            path = f"parameter/{name.removeprefix('/')}"
            yield versions[-1].value, f"arn:aws:ssm:{request.region}:{account}:{path}"


# --- usage reports ----------------------------------------------------------------------------------------------------


@action("CreateImageUsageReport")
def create_image_usage_report(request: Request) -> Shape:
    """Count the resources of other accounts that use the image.

    The report is available a little later and is kept for 30 days.
    """
    params, home, now = request.params, request.home, request.now
    image = home.image(params["ImageId"])
    types = {one.get("ResourceType"): one for one in params.get("ResourceTypes") or []}
    for one in types:
        if one not in REPORT_TYPES:
            raise value_error(f"Value ({one}) for parameter resourceType is invalid.")
    tags = tag_specifications(request, "image-usage-report")["image-usage-report"]
    request.dry_run_gate()
    accounts = params.get("AccountIds")
    entries = []
    for other in request.world.regions():
        if other.name != request.region or other.account == request.account:
            continue
        if accounts and other.account not in accounts:
            continue
        for kind, given in types.items():
            depth = {"OptionName": "version-depth", "OptionValues": [str(REPORT_DEPTH)]}
            unless_told = [depth] if kind == "ec2:LaunchTemplate" else []
            asked = {"ResourceTypeOptions": given.get("ResourceTypeOptions") or unless_told}
            count = sum(image_id == image.id for image_id, _arn in _users(request, other.account, kind, asked))
            if count:
                entries.append((other.account, kind, count))
    report = UsageReport(
        id=home.world.new_id("amiur"),
        image_id=image.id,
        created=now,
        ready=home.moment("image_usage_report", now),
        expires=now + REPORT_LIFETIME,
        entries=tuple(entries),
        tags=tags,
        types=tuple(types.values()),
        accounts=tuple(accounts or ()),
    )
    home.usage_reports[report.id] = report
    return {"ReportId": report.id}


def _reports(request: Request) -> list[UsageReport]:
    """The reports that the request names by ids of reports or images, or all of them, without expired ones."""
    found = [one for one in request.home.usage_reports.values() if request.now < one.expires]
    wanted, images = request.params.get("ReportIds"), request.params.get("ImageIds")
    for report_id in wanted or []:
        if report_id not in {one.id for one in found}:
            raise Ec2Error("InvalidImageUsageReportId.NotFound", f"The report '{report_id}' does not exist")
    for image_id in images or []:
        _require_image_id(image_id)
    return [one for one in found if (not wanted or one.id in wanted) and (not images or one.image_id in images)]


@action("DescribeImageUsageReports")
def describe_image_usage_reports(request: Request) -> Shape:
    """The account's usage reports."""
    now = request.now
    fields = {"creation-time": lambda one: one.created, "state": lambda one: one.state(now)}
    rows = matching(request, _reports(request), fields)
    page, token = paged(request, rows, minimum=1, ids=None)
    return {
        "ImageUsageReports": [
            {
                "ReportId": one.id,
                "ImageId": one.image_id,
                "ResourceTypes": list(one.types),
                "AccountIds": list(one.accounts),
                "State": one.state(now),
                "CreationTime": one.created,
                "ExpirationTime": one.expires,
                "Tags": tag_list(one.tags),
            }
            for one in page
        ],
        "NextToken": token,
    }


@action("DescribeImageUsageReportEntries")
def describe_image_usage_report_entries(request: Request) -> Shape:
    """The rows of the available reports, one per account and type."""
    rows = [
        {
            "ReportId": report.id,
            "ImageId": report.image_id,
            "ReportCreationTime": report.created,
            "AccountId": account,
            "ResourceType": kind,
            "UsageCount": count,
        }
        for report in _reports(request)
        if report.state(request.now) == "available"
        for account, kind, count in report.entries
    ]
    fields = {
        "account-id": lambda one: one["AccountId"],
        "creation-time": lambda one: one["ReportCreationTime"],
        "resource-type": lambda one: one["ResourceType"],
    }
    rows = matching(request, rows, fields, tagged=False)
    page, token = paged(request, rows, minimum=1, ids=None)
    return {"ImageUsageReportEntries": list(page), "NextToken": token}


@action("DeleteImageUsageReport")
def delete_image_usage_report(request: Request) -> Shape:
    """Throw a report away."""
    report_id = request.params["ReportId"]
    if report_id not in request.home.usage_reports:
        raise Ec2Error("InvalidImageUsageReportId.NotFound", f"The report '{report_id}' does not exist")
    request.dry_run_gate()
    del request.home.usage_reports[report_id]
    return {"Return": True}
