# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The removal of a version in all places that the task names: first its copies, then the original.

The original proves its copies, so it is removed last. If a copy cannot be removed, the next run still recognises it.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..._kernel.errors import UnsafePlan
from ..._kernel.plan import Change, Plan, Stage, apart
from ..._kernel.report import Course, PlanReport
from ..._kernel.resources import Image, Snapshot
from ..._kernel.state import Query, State, by_id, own_images, tag_filters, together
from .distribution_spec import CopySpec
from .found import BROKEN, ids, images, is_made_for
from .holdings import Copied, copy_queries, leftover_parts, own_parts, require_places, snapshots_of
from .removal import lock_of, plan_absent_here, require_unprotected, require_unused, shared_warnings, use_queries
from .requests import delete_snapshot
from .spec import ImageSpec


def plan_absent(spec: ImageSpec, state: State) -> Plan:
    """Return the plan that removes the version here and in the places of its copies.

    Raises Ambiguous, SpecError, and UnsafePlan when something uses the image or a copy.
    """
    plans: list[Plan] = []
    copies: list[_Removal] = []
    together(lambda: plans.append(plan_absent_here(spec, state.here())), lambda: copies.extend(_removals(spec, state)))
    stages = apart(stage for one in copies for stage in one.stages if stage.changes)
    made = _after(plans[0], tuple(change.resource for stage in stages for change in stage.changes))
    warnings = (*made.warnings, *(text for one in copies for text in one.warnings))
    rows = [_Row(state.region, None, _removed(made), made.changes), *(one.row for one in copies)]
    return dataclasses.replace(
        made, stages=(*stages, *made.stages), warnings=warnings, report=_report(rows) if copies else made.report
    )


def _after(made: Plan, first: Sequence[str]) -> Plan:
    """Return the plan whose changes come after those of the resources *first*."""
    stages = (
        dataclasses.replace(
            stage,
            changes=tuple(
                dataclasses.replace(change, after_steps=(*change.after_steps, *first)) for change in stage.changes
            ),
        )
        for stage in made.stages
    )
    return dataclasses.replace(made, stages=tuple(stages))


def _removed(made: Plan) -> str | None:
    return next((change.resource for change in made.changes if change.action == "DeregisterImage"), None)


@dataclass(frozen=True)
class _Row:
    """The row of one region. ``image_id``: the image that is removed, None if there is none."""

    region: str
    profile: str | None
    image_id: str | None
    changes: Sequence[Change]

    def view(self, course: Course | None = None) -> dict[str, Any]:
        """Return the row of a run that has made all changes, or of one that failed."""
        reasons = course.reasons if course is not None else {}
        errors = [reasons[id(change)] for change in self.changes if id(change) in reasons]
        gone = [change for change in self.changes if change.action == "DeregisterImage"]
        is_gone = course is None or all(id(change) in course.done for change in gone)
        deleted = [
            change.resource
            for change in self.changes
            if change.action == "DeleteSnapshot" and (course is None or id(change) in course.done)
        ]
        return {
            "region": self.region,
            "profile": self.profile,
            "image_id": self.image_id,
            "state": "deregistered" if gone and is_gone else None,
            "snapshot_ids": deleted,
            "shared_with": None,
            "ssm_parameter": None,
            "error": errors[0] if errors else None,
        }


def _report(rows: Sequence[_Row]) -> PlanReport:
    return PlanReport(
        result={"regions": [row.view() for row in rows]},
        partly=lambda course: {"regions": [row.view(course) for row in rows], "launch_template": None},
    )


class _Removal:
    """The removal of the copies in one place. *original*: None if it is gone."""

    def __init__(self, spec: ImageSpec, state: State, copy: CopySpec, original: Image | None) -> None:
        self._spec, self._copy, self._original = spec, copy, original
        self._there, self._state = state.at(copy.place), state
        copied = Copied(spec, state, copy, original)
        tagged = [
            item
            for item in state.all(Image)
            if item.place == copy.place and all(item.tags.get(key) == value for key, value in spec.identity.items())
        ]
        self._found = [
            item
            for item in tagged
            if copied.is_ours(item)
            and (copied.is_of_original(item) if original is not None else is_made_for(spec, state.here(), item))
        ]
        self._others = ids(item for item in tagged if item not in self._found)

    def queries(self) -> Iterator[Query]:
        """Yield the queries for the users and locks of the copies."""
        names = [name for image in self._found for name in image.snapshot_ids]
        names += [part.snapshot_id for part in self._left]
        arguments: dict[str, Any] = {"IncludeDisabled": True, "Owners": ("self",)}
        yield from by_id("DescribeImages", "block-device-mapping.snapshot-id", names, **arguments)
        yield from use_queries(self._spec, self._there, self._found, names)

    def check(self) -> None:
        """Raise UnsafePlan if something uses a copy, or protects it."""
        self._there.require(*self.queries())
        for image in self._found:
            try:
                if not self._spec.force:
                    require_unused(self._spec, self._there, image)
                require_unprotected(self._spec, image)
            except UnsafePlan as error:
                error.args = (f"In {self._copy.where}: {error}",)
                raise
        for _image, part in self._parts if not self._spec.force else ():
            if lock := lock_of(self._there, part):
                raise UnsafePlan(
                    f"state: snapshot {part.snapshot_id} in {self._copy.where} is locked ({lock.text}), and EC2 "
                    "deletes no locked snapshot. Unlock it, wait for the end of the lock, or set force: true to "
                    "deregister the copy and leave the snapshot."
                )

    @property
    def _left(self) -> list[Snapshot]:
        return leftover_parts(self._spec, self._state, self._copy.place, self._original)

    @property
    def _parts(self) -> list[tuple[str, Snapshot]]:
        """Return the snapshots to delete, each with the image that is deregistered before it."""
        of_copies = [(one.image_id, part) for one in self._found for part in own_parts(self._spec, self._state, one)]
        return [*of_copies, *(("", part) for part in self._left)]

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """Return the stages that deregister the copies, and then delete their snapshots."""
        place, label = self._copy.place, self._spec.label
        gone = [
            Change(
                "DeregisterImage",
                image.image_id,
                place,
                {},
                f"deregister the {'failed ' if image.state in BROKEN else ''}copy of {label}",
                {"name": image.name, "state": image.state},
            )
            for image in self._found
        ]
        deleted = [
            dataclasses.replace(
                delete_snapshot(part, place, f"delete the snapshot of the copy of {label}"),
                after_steps=(image_id,) if image_id else (),
            )
            for image_id, part in self._parts
            if not lock_of(self._there, part)
        ]
        return Stage(tuple(gone)), Stage(tuple(deleted))

    @property
    def row(self) -> _Row:
        """Return the row of the place."""
        found = self._found[0].image_id if self._found else None
        changes = [change for stage in self.stages for change in stage.changes]
        return _Row(self._copy.region, self._copy.profile, found, changes)

    @property
    def warnings(self) -> Iterator[str]:
        """Yield warnings about kept resources, and about accounts that lose access."""
        where = self._copy.where
        for image in self._found:
            if not self._spec.force:
                yield from shared_warnings(self._spec, self._there, image)
        for _image, part in self._parts:
            if lock := lock_of(self._there, part):
                yield f"snapshot {part.snapshot_id} in {where} is locked ({lock.text}), so the task keeps it"
        own = {part.snapshot_id for _image, part in self._parts}
        kept = [part.snapshot_id for image in self._found for part in snapshots_of(self._state, image)]
        for name in sorted({name for name in kept if name not in own}):
            yield (
                f"the task keeps snapshot {name} in {where}: another image uses it, or no fact links it to "
                f"{self._spec.label}"
            )
        for name in self._others:
            yield (
                f"{name} in {where} has the tags of {self._spec.label}. Somebody else has made it, so the task keeps "
                "it."
            )


def _removals(spec: ImageSpec, state: State) -> list[_Removal]:
    """Return the removals in the places of copies."""
    if not spec.distribution.copies:
        return []
    state.require(*copy_queries(spec, state, names=False), own_images(*tag_filters(spec.identity)))
    require_places(spec, state)
    originals = images(spec, state.here())
    original = originals[0] if originals else None
    found = [_Removal(spec, state, copy, original) for copy in spec.distribution.copies]
    together(*(one.check for one in found))
    return found
