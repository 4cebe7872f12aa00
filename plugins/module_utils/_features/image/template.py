# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A launch template that gets a version with the image, or an earlier version as its default again.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ..._kernel.errors import SpecError
from ..._kernel.ids import planned
from ..._kernel.plan import Change
from ..._kernel.state import Query, State
from .distribution_spec import TemplateSpec
from .spec import ImageSpec


@dataclass(frozen=True)
class Templated:
    """The changes of a launch template. ``former``: its default version before. ``version``: the one with the image,
    a planned id for a new one.
    """

    template_id: str
    name: str
    former: int
    version: int | str
    default: bool
    created: tuple[Change, ...] = ()
    made_default: tuple[Change, ...] = ()

    def row(self, *, created: bool = True, made_default: bool = True) -> dict[str, Any]:
        """Return the result of a run that has made these changes, or not."""
        version = self.version if created or not self.created else None
        is_default = self.version == self.former or (bool(self.made_default) and made_default)
        return {
            "id": self.template_id,
            "name": self.name,
            "version": None if version is None else str(version),
            "former_version": str(self.former),
            "default": is_default,
        }


def template_queries(wanted: TemplateSpec | None) -> Iterator[Query]:
    """Yield the query for all versions of the launch template."""
    if wanted is not None:
        name = "LaunchTemplateName" if wanted.by_name else "LaunchTemplateId"
        yield Query("DescribeLaunchTemplateVersions", arguments=((name, wanted.key),))


def template_changes(spec: ImageSpec, state: State, image_id: str) -> Templated | None:
    """Return what the task wants of its launch template, or None without one. Raises SpecError for an unknown one."""
    wanted = spec.distribution.template
    if wanted is None:
        return None
    versions: list[dict[str, Any]] = state.fact(f"{wanted.key}/launchTemplate") or []
    former = next((one for one in versions if one["default"]), None)
    if former is None:
        raise SpecError(f"{wanted.option}: {wanted.key} does not exist in {state.region}.")
    numbers = {one["version"]: one for one in versions}
    if wanted.version is not None:
        if wanted.version not in numbers:
            raise SpecError(f"launch_template.version: {wanted.key} has no version {wanted.version}.")
        return _with_default(state, former, wanted.version)
    found = _with_image(versions, former, image_id)
    if found is not None:
        if not wanted.default:
            return Templated(former["template"], former["name"], former["version"], found["version"], default=False)
        return _with_default(state, former, found["version"])
    return _with_new(spec, state, wanted, former, image_id)


def _with_image(versions: list[dict[str, Any]], former: Mapping[str, Any], image_id: str) -> Mapping[str, Any] | None:
    """Return the version with the image and all else as the default version has it: that one itself, or the newest."""
    wanted = {**former["data"], "ImageId": image_id}
    fitting = [one for one in versions if one["data"] == wanted]
    return max(fitting, key=lambda one: (bool(one["default"]), int(one["version"])), default=None)


def _with_new(
    spec: ImageSpec, state: State, wanted: TemplateSpec, former: Mapping[str, Any], image_id: str
) -> Templated:
    name = planned("version", f"of {former['template']} with {spec.label}")
    created = Change(
        "CreateLaunchTemplateVersion",
        name,
        state.region,
        {
            "LaunchTemplateId": former["template"],
            "SourceVersion": str(former["version"]),
            "VersionDescription": spec.label[:255],
            "LaunchTemplateData": {"ImageId": image_id},
        },
        f"add a version of {former['name']} with {spec.label}, all else as in version {former['version']}",
        after={"image_id": image_id},
        # The token finds it again. EC2 shows no tags on versions.
        identity=Query("DescribeLaunchTemplateVersions", arguments=(("LaunchTemplateId", former["template"]),)),
        token=("template-version", former["template"], str(former["version"]), image_id),
    )
    default = _default_change(state, former, name) if wanted.default else ()
    return Templated(former["template"], former["name"], former["version"], name, wanted.default, (created,), default)


def _with_default(state: State, former: Mapping[str, Any], version: int) -> Templated:
    changes = () if version == former["version"] else _default_change(state, former, version)
    return Templated(former["template"], former["name"], former["version"], version, default=True, made_default=changes)


def _default_change(state: State, former: Mapping[str, Any], version: int | str) -> tuple[Change, ...]:
    change = Change(
        "ModifyLaunchTemplate",
        former["template"],
        state.region,
        {"DefaultVersion": str(version)},
        f"make {version if isinstance(version, int) else 'it'} the default version of {former['name']}",
        {"default_version": str(former["version"])},
        {"default_version": str(version)},
    )
    return (change,)
