# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of `image_workbench` as a checked spec, and the identity of a workbench.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..._domain.workbenches import launch_identity
from ..._domain.zones import is_zone, unsupported_site
from ..._kernel import tags as tag_names
from ..._kernel.errors import SpecError
from ..._kernel.ids import planned, planned_in, require_id, require_text
from ..._kernel.state import Query, own_images, own_snapshots, tag_filters
from ..._kernel.tags import require_tags

OUR_TAGS = 3
"""The number of this collection's tags on a workbench's instance and on its volume."""


@dataclass(frozen=True)
class Launch:
    """The instance that the task launches as the workbench."""

    instance_type: str
    zone: str
    image_id: str
    subnet_id: str | None
    security_group_ids: tuple[str, ...]
    key_name: str | None
    iam_instance_profile: str | None


@dataclass(frozen=True)
class WorkbenchSpec:
    """The options of `image_workbench`, checked. ``launch``: None if the task names an instance, or only removes."""

    name: str
    version: str
    state: str
    source_image_id: str
    instance_id: str | None
    launch: Launch | None
    device_name: str | None
    tags: Mapping[str, str]
    discard: bool

    @property
    def label(self) -> str:
        """Return the name of the version in plans and messages."""
        return f"{self.name}/{self.version}"

    @property
    def version_tags(self) -> dict[str, str]:
        """Return the tags of the version, which the workbench shares with its image and snapshots."""
        return {tag_names.IMAGE: self.name, tag_names.VERSION: self.version}

    @property
    def all_tags(self) -> dict[str, str]:
        """Return the tags of the workbench's instance and of its volume."""
        return {**self.tags, **self.version_tags, tag_names.WORKBENCH: self.source_image_id}

    @property
    def launch_identity(self) -> tuple[str, ...]:
        """Return the identity from which `ids.client_token` makes the ClientToken of the instance."""
        return launch_identity(self.name, self.version)

    @property
    def planned_instance(self) -> str:
        """Return the planned id of the instance."""
        return planned("instance", f"workbench of {self.label}")

    @property
    def planned_volume(self) -> str:
        """Return the planned id of the volume."""
        return planned("volume", f"workbench of {self.label}")

    def images_query(self) -> Query:
        """Return the query for the images of the version."""
        return own_images(*tag_filters(self.version_tags))

    def snapshots_query(self) -> Query:
        """Return the query for the snapshots of the version."""
        return own_snapshots(self.version_tags)

    def workbench_queries(self) -> tuple[Query, Query]:
        """Return the queries for the instances and for the volumes of the workbench."""
        filters = tag_filters(self.version_tags)
        return Query("DescribeInstances", filters), Query("DescribeVolumes", filters)


def parse(params: Mapping[str, Any], _region: str) -> WorkbenchSpec:
    """Return the module's options as a spec. Raises SpecError for mistakes that can be found without a call to EC2."""
    name, version = (_word(params[option], option) for option in ("name", "version"))
    source = require_id("image", params["source_image_id"], "source_image_id")
    instance_id = params.get("instance_id") or None
    if instance_id is not None:
        require_id("instance", instance_id, "instance_id")
    launch = _launch(params.get("launch"), source)
    if params["state"] == "present" and (instance_id is None) == (launch is None):
        raise SpecError("instance_id: the task needs exactly one of instance_id and launch. Set one of them.")
    return WorkbenchSpec(
        name=name,
        version=version,
        state=params["state"],
        source_image_id=source,
        instance_id=instance_id,
        launch=launch,
        device_name=params.get("device_name") or None,
        tags=require_tags(params.get("tags") or {}, "tags", ours=OUR_TAGS),
        discard=params["discard"],
    )


def _word(value: Any, option: str) -> str:
    """Return a name or a version that fits into a tag. The rules are those of `ami_bake`."""
    text = require_text(value, option).strip()
    if not text or len(text) > tag_names.LONGEST_VALUE:
        raise SpecError(
            f"{option}: a tag keeps the value, and {text!r} has {len(text)} characters. Use 1 to "
            f"{tag_names.LONGEST_VALUE}"
        )
    if planned_in(text):
        raise SpecError(f"{option}: {text!r} looks like a planned id. Use another text")
    return text


def _launch(given: Mapping[str, Any] | None, source: str) -> Launch | None:
    if given is None:
        return None
    zone = given["availability_zone"]
    if not is_zone(zone):
        raise SpecError(
            f"launch.availability_zone: {zone!r} is not the name of a zone. Use a name such as eu-central-1a."
        )
    site = unsupported_site(zone)
    if site:
        raise SpecError(f"launch.availability_zone: this collection launches nothing in {site}. Name another zone.")
    return Launch(
        instance_type=given["instance_type"],
        zone=zone,
        image_id=require_id("image", given.get("image_id") or source, "launch.image_id"),
        subnet_id=given.get("subnet_id") or None,
        security_group_ids=tuple(sorted(set(given.get("security_group_ids") or ()))),
        key_name=given.get("key_name") or None,
        iam_instance_profile=given.get("iam_instance_profile") or None,
    )
