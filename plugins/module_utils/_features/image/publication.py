# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The SSM parameter that names the newest available image of a line, in each place.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..._kernel import tags as tag_names
from ..._kernel.ids import IMAGE_DATA_TYPE
from ..._kernel.places import parameter_id
from ..._kernel.plan import Change, Stage, Wait
from ..._kernel.resources import Image
from ..._kernel.state import Query, State, literal, own_images, tag_filters
from ..._kernel.storage_facts import PARAMETER, parameter_queries
from .distribution_spec import Publication
from .holdings import Holding
from .spec import ImageSpec

_READ_BACK = 90.0
"""Seconds within which SSM checks the value of an image parameter. SSM answers PutParameter before that check."""


@dataclass(frozen=True)
class Published:
    """The publication in one place. ``warning``: why the parameter keeps its value."""

    wanted: Publication
    holding: Holding
    former: str | None
    changes: tuple[Change, ...] = ()
    warning: str = ""

    @property
    def row(self) -> dict[str, Any]:
        """Return the result for the place."""
        named = self.holding.image.image_id if self.changes else self.former
        return {"name": self.wanted.name, "image_id": named, "former_value": self.former}

    @property
    def stage(self) -> Stage:
        """Return the stage that writes the parameter and reads it back."""
        waits = tuple(
            Wait(
                (change.resource,),
                "published",
                timeout=_READ_BACK,
                about=self.holding.image.image_id,
                place=self.holding.place,
            )
            for change in self.changes
        )
        return Stage(self.changes, waits)


def publication_queries(spec: ImageSpec, state: State, holding: Holding) -> Iterator[Query]:
    """Yield the queries for the parameter and, once it is known, for the image that it names."""
    wanted = spec.distribution.parameter
    if wanted is None:
        return
    yield from parameter_queries([parameter_id(holding.place, wanted.name)], holding.place)
    value = _value(wanted, state, holding)
    if value is not None and value != holding.image.image_id and value.startswith("ami-"):
        named = own_images(("image-id", (literal(value),)))
        yield replace(named, place=holding.place)
        # The versions of the line tell which is newer: a copy may be younger than that of the next version.
        yield own_images(*tag_filters({tag_names.IMAGE: spec.name}))


def publish(spec: ImageSpec, state: State, holding: Holding, original: Image) -> Published | None:
    """Return the publication in a place, or None if the task publishes nothing."""
    wanted = spec.distribution.parameter
    if wanted is None:
        return None
    former, image = _value(wanted, state, holding), holding.image
    if former == image.image_id:
        return Published(wanted, holding, former)
    newer = None if wanted.force else _newer(spec, state, holding, original, former)
    if newer is not None:
        warning = (
            f"ssm_parameter: {wanted.name} in {holding.where} names {newer.image_id} ({newer.name}), which is newer "
            f"than {image.image_id}. The task does not change the parameter. Set publish: force to write it all the "
            "same."
        )
        return Published(wanted, holding, former, warning=warning)
    parameters: dict[str, Any] = {
        "Name": wanted.name,
        "Value": image.image_id,
        "Type": "String",
        "DataType": IMAGE_DATA_TYPE,
        "Overwrite": former is not None,
    }
    resource = parameter_id(holding.place, wanted.name)
    change = Change(
        "PutParameter",
        resource,
        holding.region,
        parameters,
        f"publish {spec.label}" + (f" in place of {former}" if former else ""),
        None if former is None else PARAMETER.view(former),
        PARAMETER.view(image.image_id),
        after_steps=(image.image_id, *image.snapshot_ids),
    )
    return Published(wanted, holding, former, (change,))


def _value(wanted: Publication, state: State, holding: Holding) -> str | None:
    return PARAMETER.of(state, parameter_id(holding.place, wanted.name), holding.place)


def _newer(spec: ImageSpec, state: State, holding: Holding, original: Image, former: str | None) -> Image | None:
    """Return the image that the parameter names, if it is a newer one of the same line. Nothing is newer than an image
    that the plan makes.
    """
    named = state.image(former, holding.place)
    if named is None or named.tags.get(tag_names.IMAGE) != spec.name or named.state != "available":
        return None
    mine = original.creation_date
    return named if mine and _made(state, named) > mine else None


def _made(state: State, image: Image) -> str:
    """Return when the original of an image was made, or the image itself where its original is gone."""
    original = state.image(str(image.facts.get("SourceImageId") or "")) if image.place else None
    return (original or image).creation_date or ""
