# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The version that a group should run, the instances that do, and the meaning of a refresh that is under way.

Private to this collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from ..._kernel.errors import SpecError, UnsafePlan
from ..._kernel.ids import is_planned
from ..._kernel.scaling_facts import (
    ALIASES,
    DEFAULT_VERSION,
    LATEST_VERSION,
    GroupMember,
    InstanceRefresh,
    ScalingGroup,
    TemplateReference,
)
from ..._kernel.state import State
from ..._kernel.storage_facts import DEFAULT_TO, TEMPLATE_VERSIONS, TemplateVersion
from .spec import RefreshSpec

_FROM_PARAMETER = "resolve:ssm:"


@dataclass(frozen=True)
class Target:
    """The version that a group should run.

    ``number``: its number, or a planned id. ``desired``: the version of the refresh's desired configuration, which
    becomes the group's own after the refresh. Empty if the group names the version itself. ``reversible``: EC2 Auto
    Scaling can roll the refresh back. ``overrides``: the other launch templates of the group, each by its id with the
    number of its version.
    """

    template: TemplateReference
    number: str
    desired: str = ""
    reversible: bool = False
    overrides: frozenset[tuple[str, str]] = frozenset()

    @property
    def text(self) -> str:
        """The version for messages."""
        name = self.template.name or self.template.template_id
        return f"{self.number} of {name}" if self.number.startswith("(") else f"version {self.number} of {name}"


def template_of(group: ScalingGroup) -> TemplateReference:
    """Return the launch template of a group. Raises UnsafePlan for a group without one."""
    if group.template is None:
        raise UnsafePlan(
            f"{group.name} uses a launch configuration, which has no versions. Give the group a launch template."
        )
    return group.template


def target_of(spec: RefreshSpec, group: ScalingGroup, state: State) -> Target:
    """Return the version that *group* should run. Raises SpecError and UnsafePlan with the group's name."""
    template = template_of(group)
    if spec.template_id is not None and spec.template_id != template.template_id:
        raise UnsafePlan(
            f"{group.name} uses the launch template {template.name or template.template_id}, and launch_template_id is "
            f"{spec.template_id}. Remove the group from the list, or give it that launch template."
        )
    known = known_versions(state, template.template_id)
    found = _target(spec, group, template, known)
    overrides = frozenset(
        (one.template_id, version.version)
        for one in group.overrides
        if (version := known_versions(state, one.template_id).get(one.version)) is not None
    )
    return replace(found, overrides=overrides)


def _target(spec: RefreshSpec, group: ScalingGroup, template: TemplateReference, known: Mapping[str, Known]) -> Target:
    own = known.get(template.version)
    if own is None:
        raise SpecError(
            f"{group.name} names version {template.version} of {template.name}, which does not exist. Name an existing "
            "version in the group."
        )
    wished = spec.version_of(group.name)
    if wished is None:
        return Target(template, own.version)
    if is_planned(wished):
        # The new version becomes the default one, and is the latest one in any case.
        if template.is_alias:
            return Target(template, wished)
        found, image = wished, ""
    else:
        wanted = known.get(wished)
        if wanted is None:
            raise SpecError(
                f"{group.name} cannot run version {wished} of {template.name}, which does not exist. Name an existing "
                "version."
            )
        found, image = wanted.version, own.image
        if wished == template.version or (not _is_alias(wished) and found == own.version):
            return Target(template, found)
    if group.is_mixed:
        raise UnsafePlan(
            f"{group.name} has a mixed instances policy with version {template.version} of {template.name}, and the "
            "module does not change such a policy. Set the version in the policy, and remove the option version"
        )
    fixed = not _is_alias(wished) and not template.is_alias and not image.startswith(_FROM_PARAMETER)
    return Target(template, found, wished, fixed)


def _is_alias(version: str) -> bool:
    return version in ALIASES


@dataclass(frozen=True)
class Known:
    """A version of a launch template: its number, and its image."""

    version: str
    image: str


def known_versions(state: State, template_id: str) -> Mapping[str, Known]:
    """Return the versions of a launch template, with the default one that an earlier task of a check run predicts."""
    known = numbers(TEMPLATE_VERSIONS.of(state, template_id) or ())
    predicted = DEFAULT_TO.of(state, template_id)
    if predicted is None:
        return known
    return {**known, DEFAULT_VERSION: known.get(predicted, Known(predicted, ""))}


def numbers(versions: Iterable[TemplateVersion]) -> dict[str, Known]:
    """Return the versions of a launch template by their numbers and by both aliases."""
    ordered = sorted(versions, key=lambda one: one.number)
    found = {str(one.number): Known(str(one.number), str(one.data.get("ImageId") or "")) for one in ordered}
    if ordered:
        found[LATEST_VERSION] = found[str(ordered[-1].number)]
    for one in ordered:
        if one.is_default:
            found[DEFAULT_VERSION] = found[str(one.number)]
    return found


# --- the instances ---------------------------------------------------------------------------------------------------


def counted_members(spec: RefreshSpec, group: ScalingGroup) -> list[GroupMember]:
    """Return the instances that a refresh replaces if they have another version."""
    return [
        one
        for one in group.members
        if not one.is_leaving
        and not (one.is_protected and spec.ignores_protected)
        and not (one.is_standby and spec.ignores_standby)
    ]


def runs(member: GroupMember, target: Target) -> bool:
    """Return whether an instance was launched from the version, or from an override of the mixed instances policy."""
    template = member.template
    if template is None:
        return False
    launched = (template.template_id, template.version)
    return launched == (target.template.template_id, target.number) or launched in target.overrides


def versions_in_use(group: ScalingGroup) -> dict[str, int]:
    """Return the number of instances by the version that they were launched from, ``other`` for another launch."""
    own = group.template.template_id if group.template is not None else ""
    return dict(
        sorted(
            Counter(
                one.template.version if one.template is not None and one.template.template_id == own else "other"
                for one in group.members
                if not one.is_leaving
            ).items()
        )
    )


# --- a refresh -------------------------------------------------------------------------------------------------------


def means(refresh: InstanceRefresh, group: ScalingGroup, versions: Mapping[str, Known]) -> str:
    """Return the number of the version to which a refresh goes, or an empty text for another configuration."""
    template = template_of(group)
    wanted = refresh.desired or template
    same = wanted.template_id == template.template_id or (not wanted.template_id and wanted.name == template.name)
    if refresh.is_mixed or not same:
        return ""
    found = versions.get(wanted.version)
    return "" if found is None else found.version
