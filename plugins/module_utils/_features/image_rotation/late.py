# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ask the guards again. A run may wait for hours for the final snapshots of predecessors, and somebody may have used
an image since the plan.

The guards only look at planned actions, and only after a wait. Images that came into use are kept.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..._kernel.display import counted
from ..._kernel.errors import listed
from ..._kernel.places import HERE, Place
from ..._kernel.report import Withdrawal
from ..._kernel.resources import Image, Resource
from ..._kernel.state import Query, State, own_images
from .guards import Guards
from .report import KEEP, Decided

_HOLDING = ("keep", "fail")
"""The modes in which a guard keeps an image. With ``fail``, the next run finds the guard and fails."""


class LateGuards:
    """`plan.Recheck` for the actions of one run. *guards* and *decided*: by place. *state*: all answers of the plan."""

    def __init__(self, guards: Sequence[Guards], decided: Sequence[Decided], state: State) -> None:
        self._state = state
        self._going = [(one, list(own.going)) for one, own in zip(guards, decided, strict=True)]

    def queries(self, resources: Collection[str]) -> tuple[Query, ...]:
        """Return the queries for the users of these images, and for the images."""
        return tuple(
            replace(query, place=_place(guards))
            for guards, going in self._going
            if (images := [image for image in going if image.image_id in resources])
            for query in (*guards.questions_about(images), *_by_id(images))
        )

    def withdrawn(self, answers: Mapping[Query, Iterable[Resource]]) -> dict[str, Withdrawal]:
        """Return, by image, why the image is kept."""
        found: dict[str, Withdrawal] = {}
        state = self._state.with_answers(answers)
        for guards, going in self._going:
            place = _place(guards)
            if not any(query.place == place for query in answers):
                continue
            late = guards.seen_in(state.at(place) if place else state.here())
            # EC2 no longer shows an image that somebody else has deregistered.
            for image in (late.state.image(one.image_id) for one in going):
                why = _reason(late, image, guards.pinned) if image is not None else None
                if image is not None and why is not None:
                    found[image.image_id] = why
        return found

    def warning(self, withdrawn: Mapping[str, Withdrawal]) -> str:
        """Return the warning about the images that are kept, with ten of them by name."""
        texts = [f"{name} ({why.guard}: {why.reason})" for name, why in withdrawn.items()]
        return (
            f"{counted(len(texts), 'image')} came into use while the run waited, so the task keeps them: "
            f"{listed(texts)}."
        )

    def adjusted(self, result: Mapping[str, Any], withdrawn: Mapping[str, Withdrawal]) -> dict[str, Any]:
        """Return the module's results with the withdrawn images among those that are kept."""
        found = dict(result)
        if "counts" in result:
            counts, number = result["counts"], len(withdrawn)
            found["counts"] = {**counts, "changed": counts["changed"] - number, "kept": counts["kept"] + number}
        found["decisions"] = [_decision(one, withdrawn.get(one["image_id"])) for one in result["decisions"]]
        return found


def _place(guards: Guards) -> Place:
    """Return the place of the guards in queries."""
    return HERE if guards.line.is_home else guards.line.place


def _by_id(images: Sequence[Image]) -> Iterator[Query]:
    ids = sorted(image.image_id for image in images)
    return (own_images(("image-id", tuple(ids[start : start + 200]))) for start in range(0, len(ids), 200))


def _reason(guards: Guards, image: Image, known: Collection[str]) -> Withdrawal | None:
    """Return why an image is kept by the answers of this moment, or None.

    *known*: the launch templates of which the plan has seen all versions.
    """
    pins = sorted(guards.pinned.keys() - known)
    if pins:
        return Withdrawal("launch_template", f"an Auto Scaling group has pinned a version of {listed(pins)} since then")
    if image.image_id not in {one.image_id for one in guards.line.members}:
        return Withdrawal("depends", f"it no longer belongs to {guards.spec.name}")
    for mode in _HOLDING:
        for held in guards.stops(image, mode):
            return Withdrawal(held.guard, held.reason)
    launched = guards.launched(image)
    return Withdrawal("unused_for", launched) if launched else None


def _decision(entry: Mapping[str, Any], why: Withdrawal | None) -> Mapping[str, Any]:
    if why is None:
        return entry
    return {**entry, "decision": KEEP, "guard": why.guard, "reasons": [why.reason], "snapshot_ids": []}
