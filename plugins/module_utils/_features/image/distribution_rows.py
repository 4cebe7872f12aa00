# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The result of a distribution: one row for each region, also after a failure.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..._kernel.plan import Change
from ..._kernel.report import Course, PlanReport
from ..._kernel.resources import Image
from .holdings import Holding
from .publication import Published
from .template import Templated


def plain_row(image: Image, region: str, profile: str | None = None) -> dict[str, Any]:
    """Return the row of an image that the task only makes."""
    return {
        "region": region,
        "profile": profile,
        "image_id": image.image_id,
        "state": image.state,
        "snapshot_ids": list(image.snapshot_ids),
        "shared_with": None,
        "ssm_parameter": None,
        "error": None,
    }


@dataclass(frozen=True)
class Row:
    """One region of the result. ``shared_with``: who may launch instances from the image in the end, None if the task
    does not read that. ``changes``: all changes of the plan in the place.
    """

    holding: Holding
    shared_with: Sequence[str] | None
    published: Published | None
    changes: tuple[Change, ...]

    @property
    def view(self) -> dict[str, Any]:
        """Return the row of a run that has made all changes."""
        place = self.holding.place
        return {
            **plain_row(self.holding.image, place.region or self.holding.region, place.profile),
            "shared_with": None if self.shared_with is None else list(self.shared_with),
            "ssm_parameter": None if self.published is None else self.published.row,
        }

    def partly(self, course: Course) -> dict[str, Any]:
        """Return the row of a run that failed, here or elsewhere."""
        errors = [course.reasons[id(change)] for change in self.changes if id(change) in course.reasons]
        if not errors:
            return self.view
        found = {**self.view, "error": errors[0]}
        image_id = self.holding.image.image_id
        making = [change for change in self.changes if change.resource == image_id and change.creates]
        if any(id(change) not in course.done for change in making):
            found |= {"image_id": None, "state": None, "snapshot_ids": []}
        elif any(id(change) in course.reasons for change in making):
            found |= {"state": None, "snapshot_ids": []}
        if self.published is not None and any(
            id(change) not in course.done or id(change) in course.reasons for change in self.published.changes
        ):
            found["ssm_parameter"] = {**self.published.row, "image_id": self.published.former}
        shares = [change for change in self.changes if change.action == "ModifyImageAttribute"]
        if any(id(change) not in course.done for change in shares):
            found["shared_with"] = None
        return found


def report_of(rows: Sequence[Row], template: Templated | None) -> PlanReport:
    """Return the report of a plan, for a run that has made all changes or only some."""

    def partly(course: Course) -> dict[str, Any]:
        found = None
        if template is not None:
            created, default = (
                all(id(change) in course.done for change in changes)
                for changes in (template.created, template.made_default)
            )
            found = template.row(created=created, made_default=default)
        return {"regions": [row.partly(course) for row in rows], "launch_template": found}

    result = {
        "regions": [row.view for row in rows],
        "launch_template": None if template is None else template.row(),
    }
    return PlanReport(result=result, partly=partly)
