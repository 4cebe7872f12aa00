# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Versions of launch templates. They are moto's; source versions, client tokens, pages and bad numbers are added here.

The EC2 API reference is the source of the rules (CreateLaunchTemplateVersion, ModifyLaunchTemplate,
DescribeLaunchTemplateVersions).
"""

from __future__ import annotations

from typing import Any

from .engine import Ec2Error, Request, action
from .pages import paged
from .tokens import with_token
from .volumes import combination_error
from .world import Shape

_EVERY_VERSION = 10_000
"""More than a launch template has. moto shows 15 versions unless told."""


def _named(request: Request) -> Shape:
    """The parameters that name the launch template. Raises Ec2Error for neither and for both."""
    named = {name: request.params[name] for name in _NAMES if request.params.get(name)}
    if len(named) == 2:
        raise combination_error("Either provide launch template ID or launch template name, but not both.")
    if not named:
        raise Ec2Error("MissingParameter", "Either a launch template ID or a launch template name must be specified.")
    return named


_NAMES = ("LaunchTemplateId", "LaunchTemplateName")


def _versions(request: Request, named: Shape) -> list[Shape]:
    """All versions, the newest first. Raises moto's code for an unknown launch template."""
    rows = request.moto("DescribeLaunchTemplateVersions", {**named, "MaxResults": _EVERY_VERSION})
    return sorted(rows["LaunchTemplateVersions"], key=lambda row: -int(row["VersionNumber"]))


def _version(rows: list[Shape], wanted: str) -> Shape:
    for row in rows:
        if (
            wanted == "$Latest"
            or (wanted == "$Default" and row["DefaultVersion"])
            or wanted == str(row["VersionNumber"])
        ):
            return row
    raise Ec2Error(
        "InvalidLaunchTemplateId.VersionNotFound",
        f"Could not find the specified version {wanted} for the launch template with ID {rows[0]['LaunchTemplateId']}.",
    )


@action("CreateLaunchTemplateVersion", gate=True)
def create_version(request: Request) -> Shape:
    """A version with the given data over those of the source version; idempotent by its client token."""
    named = _named(request)
    rows = _versions(request, named)
    source = request.params.get("SourceVersion")
    base: Shape = dict(_version(rows, source)["LaunchTemplateData"]) if source else {}
    data = request.params.get("LaunchTemplateData") or {}
    if not data and not source:
        raise Ec2Error("MissingParameter", "The request must contain the parameter LaunchTemplateData")
    request.dry_run_gate()

    def make() -> tuple[str, Shape]:
        more = {name: request.params[name] for name in ("VersionDescription",) if request.params.get(name)}
        answer = request.moto(request.action, {**named, **more, "LaunchTemplateData": {**base, **data}})
        made = answer["LaunchTemplateVersion"]
        return f"{made['LaunchTemplateId']} {made['VersionNumber']}", answer

    def again(made: str) -> Shape | None:
        number = made.partition(" ")[2]
        found = [row for row in _versions(request, named) if str(row["VersionNumber"]) == number]
        return {"LaunchTemplateVersion": found[0]} if found else None

    return with_token(request, make, again, longest=128)


@action("ModifyLaunchTemplate", gate=True)
def modify_template(request: Request) -> Shape:
    """Another default version: the number of one that exists. Aliases such as $Latest are not documented for it."""
    named = _named(request)
    _version(_versions(request, named), str(request.params.get("DefaultVersion") or ""))
    if not str(request.params["DefaultVersion"]).isdigit():
        raise Ec2Error("InvalidParameterValue", "The default version must be the number of a version.")
    request.dry_run_gate()
    return request.moto(request.action, {**named, "DefaultVersion": str(request.params["DefaultVersion"])})


@action("DescribeLaunchTemplateVersions")
def describe_versions(request: Request) -> Shape:
    """The versions of one launch template, the newest first, in pages of 1 to 200.

    Without a name: the latest, the default, or both of every launch template, as ``Versions`` says (API reference).
    """
    wanted = request.params.get("Versions")
    if not any(request.params.get(name) for name in _NAMES):
        rows = _current(request, [str(one) for one in wanted or ()])
        page, token = paged(request, rows, minimum=1, maximum=200, default=200, ids=None)
        return {"LaunchTemplateVersions": list(page), "NextToken": token}
    rows = _versions(request, _named(request))
    if wanted:
        rows = [_version(rows, str(one)) for one in wanted]
    least, most = (request.params.get(name) for name in ("MinVersion", "MaxVersion"))
    rows = [row for row in rows if _within(int(row["VersionNumber"]), least, most)]
    page, token = paged(request, rows, minimum=1, maximum=200, default=200, ids=None)
    return {"LaunchTemplateVersions": list(page), "NextToken": token}


def _current(request: Request, wanted: list[str]) -> list[Shape]:
    if not wanted or set(wanted) - {"$Latest", "$Default"}:
        raise Ec2Error(
            "InvalidParameterValue",
            "Without a launch template, the versions must be $Latest, $Default or both.",
        )
    rows: dict[tuple[str, int], Shape] = {}
    for template in request.moto("DescribeLaunchTemplates", {}).get("LaunchTemplates", []):
        known = _versions(request, {"LaunchTemplateId": template["LaunchTemplateId"]})
        for row in (_version(known, one) for one in wanted):
            rows[row["LaunchTemplateId"], int(row["VersionNumber"])] = row
    return list(rows.values())


def _within(number: int, least: Any, most: Any) -> bool:
    return (least is None or number >= int(least)) and (most is None or number <= int(most))
