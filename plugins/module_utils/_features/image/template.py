# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A launch template that gets a version with the image, or an earlier version as its default again.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..._kernel.errors import SpecError
from ..._kernel.ids import planned
from ..._kernel.plan import Change
from ..._kernel.state import Query, State
from ..._kernel.storage_facts import DEFAULT_TO, TEMPLATE_VERSIONS, TemplateVersion, template_query
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
        """Return the result for the launch template. The arguments tell which of the changes the run has made."""
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
        yield template_query(wanted.key, by_name=wanted.by_name)


def template_changes(spec: ImageSpec, state: State, image_id: str) -> Templated | None:
    """Return the changes that the task wants of its launch template, or None without one.

    Raises SpecError for an unknown one.
    """
    wanted = spec.distribution.template
    if wanted is None:
        return None
    versions = TEMPLATE_VERSIONS.of(state, wanted.key) or ()
    former = next((one for one in versions if one.is_default), None)
    if former is None:
        raise SpecError(f"{wanted.option}: {wanted.key} does not exist in {state.region}. Create it first.")
    if wanted.version is not None:
        if all(one.number != wanted.version for one in versions):
            raise SpecError(
                f"launch_template.version: {wanted.key} has no version {wanted.version}. Name an existing version."
            )
        return _with_default(state, former, wanted.version)
    found = _with_image(versions, former, image_id)
    if found is not None:
        if not wanted.default:
            return Templated(former.template_id, former.template_name, former.number, found.number, default=False)
        return _with_default(state, former, found.number)
    return _with_new(spec, state, wanted, former, image_id)


def _with_image(versions: Iterable[TemplateVersion], former: TemplateVersion, image_id: str) -> TemplateVersion | None:
    """Return the default version if it has the image, or else the newest version with the image and the same other
    data.
    """
    wanted = {**former.data, "ImageId": image_id}
    fitting = [one for one in versions if one.data == wanted]
    return max(fitting, key=lambda one: (one.is_default, one.number), default=None)


def _with_new(spec: ImageSpec, state: State, wanted: TemplateSpec, former: TemplateVersion, image_id: str) -> Templated:
    template_id, number = former.template_id, former.number
    name = planned("version", f"of {template_id} with {spec.label}")
    created = Change(
        "CreateLaunchTemplateVersion",
        name,
        state.region,
        {
            "LaunchTemplateId": template_id,
            "SourceVersion": str(number),
            "VersionDescription": spec.label[:255],
            "LaunchTemplateData": {"ImageId": image_id},
        },
        f"add a version of {former.template_name} with {spec.label}, all else as in version {number}",
        after={"image_id": image_id},
        # The token finds it again. EC2 shows no tags on versions.
        identity=template_query(template_id),
        token=("template-version", template_id, str(number), image_id),
    )
    default = _default_change(state, former, name) if wanted.default else ()
    return Templated(template_id, former.template_name, number, name, wanted.default, (created,), default)


def _with_default(state: State, former: TemplateVersion, version: int) -> Templated:
    number = former.number
    changes = () if version == number else _default_change(state, former, version)
    return Templated(former.template_id, former.template_name, number, version, default=True, made_default=changes)


def _default_change(state: State, former: TemplateVersion, version: int | str) -> tuple[Change, ...]:
    change = Change(
        "ModifyLaunchTemplate",
        former.template_id,
        state.region,
        {"DefaultVersion": str(version)},
        f"make {f'version {version}' if isinstance(version, int) else 'the new version'} the default of "
        f"{former.template_name}",
        {"default_version": str(former.number)},
        {"default_version": str(version), **DEFAULT_TO.view(str(version))},
    )
    return (change,)
