# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of `image_rotate`, and the refusals that need no call to EC2.

Private to this collection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ..._domain.retention import Keep, parse_keep
from ..._kernel.errors import SpecError
from ..._kernel.ids import planned_in, require_text
from ..._kernel.places import Destination
from ..._kernel.tags import LONGEST_VALUE, PREFIX, require_selector_keys, require_selector_text
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
_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-[0-9]+")


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
    adopt, protect = params.get("adopt"), params.get("protect")
    spec = RotationSpec(
        name=name,
        action=Action(params["action"]),
        keep=parse_keep(params.get("keep") or {}, things="images"),
        copies=_copies(params.get("copies"), region),
        adopt=_tags((adopt or {}).get("tags"), "adopt.tags"),
        unused_for=parse_calendar_span(params["unused_for"], "unused_for") if params.get("unused_for") else None,
        every_version=params.get("launch_template_versions") != "default_and_latest",
        check_accounts=bool(params.get("check_accounts")),
        retire_after=_after(params.get("retire_predecessors")),
        protect=_tags((protect or {}).get("tags"), "protect.tags"),
        protect_keys=_keys((protect or {}).get("tag_keys"), "protect.tag_keys"),
        guards=_guards(params.get("guards") or {}),
        max_delete=_count(params.get("max_delete")),
        expected_plan=params.get("expected_plan"),
        report=str(params.get("report") or "actions"),
    )
    _require_sense(spec, adopts=adopt is not None, protects=protect is not None)
    return spec


def _require_sense(spec: RotationSpec, *, adopts: bool, protects: bool) -> None:
    if spec.expected_plan is not None and not spec.expected_plan.strip():
        raise SpecError("expected_plan: is empty. Give the hash of the approved plan, or remove the option.")
    if adopts and not spec.adopt:
        raise SpecError("adopt.tags: is empty, so it would match every image of the account. Name a tag.")
    if protects and not spec.protect and not spec.protect_keys:
        raise SpecError(
            "protect: tags and tag_keys are empty, so protect has no effect. Set one of them, such as tag_keys: "
            "[legal-hold], or remove protect."
        )
    if spec.check_accounts and spec.guard("account") == "off":
        raise SpecError("check_accounts: needs the guard account, and guards.account is off. Remove one of them.")


def _after(given: Mapping[str, Any] | None) -> CalendarSpan | None:
    return None if given is None else parse_calendar_span(given.get("after"), "retire_predecessors.after")


def _tags(tags: Mapping[Any, Any] | None, option: str) -> dict[str, str]:
    """Return tags for a comparison. Raises SpecError for wildcards, which are plain characters in a comparison."""
    found = require_selector_text(tags or {}, option, numbers=False)
    for key, value in found.items():
        if not key or set("*?") & set(key + value):
            raise SpecError(
                f"{option}: {key!r}: {value!r} has a wildcard, but tags are compared literally. Write the whole tag."
            )
        if key.startswith(PREFIX) and option == "adopt.tags":
            raise SpecError(f"adopt.tags: {key!r} would adopt the versions of another image. Use a tag of your own.")
    return found


def _keys(keys: Iterable[Any] | None, option: str) -> tuple[str, ...]:
    found = require_selector_keys(keys or (), option)
    for key in found:
        if not key or set("*?") & set(key):
            raise SpecError(f"{option}: {key!r} has a wildcard, but keys are compared literally. Write the whole key.")
    return found


def _guards(given: Mapping[str, Any]) -> dict[str, str]:
    modes = {name: _mode(mode) for name, mode in given.items() if mode is not None}
    for name, mode in modes.items():
        if name not in GUARDS:
            raise SpecError(f"guards.{name}: is unknown. Use {', '.join(GUARDS)}.")
        allowed = ("keep", "fail") if name in ENFORCED else MODES
        if mode not in allowed:
            raise SpecError(f"guards.{name}: {mode!r} is unknown. Use one of {', '.join(allowed)}.")
    return modes


def _mode(value: Any) -> str:
    """Return the mode as text. YAML reads ``off`` without quotes as false."""
    return "off" if value is False else str(value)


def _copies(given: Iterable[Mapping[str, Any]] | None, region: str) -> tuple[CopySpec, ...]:
    copies: list[CopySpec] = []
    for number, entry in enumerate(given or ()):
        option = f"copies[{number}]"
        where, profile = str(entry["region"]), entry.get("profile") or None
        if not _REGION.fullmatch(where):
            raise SpecError(f"{option}.region: {where!r} is not an AWS region. Use one such as eu-west-1.")
        if profile is not None and "@" in profile:
            raise SpecError(f"{option}.profile: {profile!r} has an @. Use a name without @.")
        if where == region and profile is None:
            raise SpecError(f"{option}.region: {where} has the originals. Use another region, or a profile.")
        copy = CopySpec(where, profile, parse_keep(entry.get("keep") or {}, f"{option}.keep", "images"))
        if any(one.place == copy.place for one in copies):
            raise SpecError(f"{option}: {copy.where} is listed twice. Remove one entry.")
        copies.append(copy)
    return tuple(copies)


def _count(value: Any) -> int:
    found = 100 if value is None else int(value)
    if found < 0:
        raise SpecError(f"max_delete: {found} is negative. Use 0 or more.")
    return found
