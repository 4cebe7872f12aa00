# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of `image_rotate`, and the refusals that need no call to EC2.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ..._domain.destinations import parse_copies
from ..._domain.retention import Keep, parse_keep
from ..._domain.retention_spec import parse_adopt, parse_expected_plan, parse_guards, parse_protect
from ..._kernel.errors import SpecError
from ..._kernel.ids import planned_in, require_text
from ..._kernel.places import Destination
from ..._kernel.tags import LONGEST_VALUE
from ..._kernel.times import CalendarSpan, parse_calendar_span

REFERENCE_TYPES: Mapping[str, tuple[str, ...]] = {
    "instance": ("ec2:Instance",),
    "launch_template": ("ec2:LaunchTemplate",),
    "parameter": ("ssm:Parameter",),
    "recipe": ("imagebuilder:ImageRecipe", "imagebuilder:ContainerRecipe"),
}
"""By guard, the resources that DescribeImageReferences looks for."""
ENFORCED = ("protection", "locked")
"""The guards with which EC2 itself refuses to deregister."""
GUARDS = (
    *REFERENCE_TYPES,
    "launch_configuration",
    "account",
    "managed",
    "protected",
    "copy_source",
    *ENFORCED,
)
MODES = ("keep", "report", "fail", "off")


class Action(Enum):
    """The action on a version that nothing keeps."""

    DEPRECATE = "deprecate"
    DISABLE = "disable"
    DEREGISTER = "deregister"

    @property
    def deed(self) -> str:
        """The list of the result that names the images."""
        return {"deprecate": "deprecated", "disable": "disabled", "deregister": "deregistered"}[self.value]

    @property
    def operation(self) -> str:
        """EC2's operation."""
        return {
            "deprecate": "EnableImageDeprecation",
            "disable": "DisableImage",
            "deregister": "DeregisterImage",
        }[self.value]


@dataclass(frozen=True)
class CopySpec(Destination):
    """One place of copies, and its rules."""

    region: str
    profile: str | None
    keep: Keep


@dataclass(frozen=True)
class RotationSpec:
    """The options of the task. ``unused_for``: the span since the last launch, None if launches do not matter.

    ``every_version``: every version of a launch template keeps its image, and not only the default, the latest, and
    those that an Auto Scaling group pins. ``retire_after``: the span since the stop of a predecessor, None if no
    predecessor is terminated.
    """

    name: str
    action: Action
    keep: Keep
    copies: tuple[CopySpec, ...] = ()
    adopt: Mapping[str, str] = field(default_factory=dict)
    unused_for: CalendarSpan | None = None
    every_version: bool = True
    check_accounts: bool = False
    retire_after: CalendarSpan | None = None
    protect: Mapping[str, str] = field(default_factory=dict)
    protect_keys: tuple[str, ...] = ()
    guards: Mapping[str, str] = field(default_factory=dict)
    max_delete: int = 100
    expected_plan: str | None = None
    report: str = "actions"

    def guard(self, name: str) -> str:
        """Return the mode of a guard."""
        return self.guards.get(name, "keep")


def parse(params: Mapping[str, Any], region: str) -> RotationSpec:
    """Return the checked options. Raises SpecError with the option, its value, and the accepted values."""
    name = require_text(params["name"], "name").strip()
    if not name or len(name) > LONGEST_VALUE or planned_in(name):
        raise SpecError(f"name: {name!r} is not the name of an image. Use the name of the ami_bake task.")
    protect, protect_keys = parse_protect(params.get("protect"))
    spec = RotationSpec(
        name=name,
        action=Action(params["action"]),
        keep=parse_keep(params.get("keep") or {}, things="images"),
        copies=parse_copies(params.get("copies"), region, "has the originals", _copy),
        adopt=parse_adopt(params.get("adopt"), "image", "the versions of another image"),
        unused_for=parse_calendar_span(params["unused_for"], "unused_for") if params.get("unused_for") else None,
        every_version=params.get("launch_template_versions") != "default_and_latest",
        check_accounts=bool(params.get("check_accounts")),
        retire_after=_after(params.get("retire_predecessors")),
        protect=protect,
        protect_keys=protect_keys,
        guards=parse_guards(params.get("guards"), GUARDS, MODES, ENFORCED),
        max_delete=_count(params.get("max_delete")),
        expected_plan=parse_expected_plan(params.get("expected_plan")),
        report=str(params.get("report") or "actions"),
    )
    if spec.check_accounts and spec.guard("account") == "off":
        raise SpecError("check_accounts: needs the guard account, and guards.account is off. Remove one of them.")
    return spec


def _after(given: Mapping[str, Any] | None) -> CalendarSpan | None:
    return None if given is None else parse_calendar_span(given.get("after"), "retire_predecessors.after")


def _copy(option: str, region: str, profile: str | None, entry: Mapping[str, Any]) -> CopySpec:
    return CopySpec(region, profile, parse_keep(entry.get("keep") or {}, f"{option}.keep", "images"))


def _count(value: Any) -> int:
    found = 100 if value is None else int(value)
    if found < 0:
        raise SpecError(f"max_delete: {found} is negative. Use 0 or more.")
    return found
