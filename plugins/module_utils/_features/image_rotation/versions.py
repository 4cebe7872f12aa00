# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The versions of an image in one place: those that `ami_bake` made, those that it copied there, and the adopted ones.

The tag ``ec2ops:image`` only shows where to look, since anybody who may write tags can forge it. A version counts if a
fact of EC2 agrees: its description or its name, the description of a snapshot, or for a copy the image that EC2 copied
it from.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

from ..._domain.image_versions import is_named_for, names_version, source_hash
from ..._domain.retention import Keep, decide
from ..._domain.snapshot_sets import Candidate
from ..._kernel import tags as tag_names
from ..._kernel.display import counted
from ..._kernel.errors import listed
from ..._kernel.ids import is_planned
from ..._kernel.places import Place
from ..._kernel.plan import Change, tagging
from ..._kernel.proofs import created_for, image_of_copy, is_copy
from ..._kernel.resources import Image, Snapshot
from ..._kernel.state import Query, State, images_by_id, own_images, own_snapshots, tag_filters
from ..._kernel.tags import with_room
from .spec import Action, RotationSpec

GONE = ("deregistered",)
_SERVICES = ("aws:backup:", "aws:dlm:", "dlm:managed")
_SHOWN = timedelta(hours=1)
_QUARTER = 15
_SOON = timedelta(minutes=2 * _QUARTER)


def line_queries(spec: RotationSpec, *, adopts: bool) -> Iterator[Query]:
    """Yield the queries for the versions of a place and their snapshots, and for adopted images."""
    tags = {tag_names.IMAGE: spec.name}
    yield own_images(*tag_filters(tags))
    yield own_snapshots(tags)
    if adopts and spec.adopt:
        yield own_images(*tag_filters(spec.adopt))


def moment_of(value: Any) -> datetime | None:
    """Return a time of EC2's answer about an image, which is a text (``2026-11-23T12:00:00.000Z``), or None."""
    try:
        found = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo is not None else None


def is_made_for(name: str, image: Image, part: Snapshot) -> bool:
    """Return whether EC2 made the snapshot for this image, or `ami_bake` took it for this version.

    EC2 writes the image into the description of a snapshot that CreateImage or CopyImage makes. A snapshot that a
    policy of `snapshot_rotate` retains belongs to that policy.
    """
    version = image.tags.get(tag_names.VERSION, "")
    if part.tags.keys() & {tag_names.POLICY, tag_names.ADOPTED_BY}:
        return False
    if image.image_id in (created_for(part), image_of_copy(part)):
        return True
    return bool(version) and not is_copy(part) and names_version(name, version, part.description)


@dataclass(frozen=True)
class Excluded:
    """Why an image takes part in no rule, with the guard that says so, if any."""

    reason: str
    guard: str | None = None


class Line:
    """The versions of an image in one place.

    *state*: as it looks from the place. *home*: the region of the originals. *originals*: the ids of the proven
    originals, None for the line of the originals themselves.
    """

    def __init__(
        self,
        spec: RotationSpec,
        keep: Keep,
        state: State,
        place: Place,
        now: datetime,
        home: str,
        originals: frozenset[str] | None = None,
    ) -> None:
        self.spec, self.keep, self.state, self.place, self.now = spec, keep, state, place, now
        self._home, self._originals = home, originals

    def seen_in(self, state: State) -> Line:
        """Return the same images with newer answers."""
        return Line(self.spec, self.keep, state, self.place, self.now, self._home, self._originals)

    @property
    def is_home(self) -> bool:
        """Return whether these are the originals."""
        return self._originals is None

    def parts_of(self, image: Image) -> list[Snapshot]:
        """Return the snapshots of the image's devices that EC2 has shown."""
        return [part for part in map(self.state.snapshot, image.snapshot_ids) if part is not None]

    # --- which images count ---

    @cached_property
    def _tagged(self) -> list[Image]:
        found = (image for image in self.state.all(Image) if image.tags.get(tag_names.IMAGE) == self.spec.name)
        return sorted((image for image in found if image.state not in GONE), key=lambda image: image.image_id)

    def _is_proven(self, image: Image) -> bool:
        if is_planned(image.image_id):
            return True
        named = is_named_for(self.spec.name, image, self.parts_of(image))
        source = str(image.facts.get("SourceImageId") or "")
        if self._originals is not None:
            return self._is_copy_from_home(image) and (named or source in self._originals)
        fingerprint = image.tags.get(tag_names.FINGERPRINT, "")
        return named and (not image.is_copy or fingerprint.startswith(source_hash("image", source)))

    def _is_copy_from_home(self, image: Image) -> bool:
        """Return whether EC2 shows that the image is a copy from the region of the originals, and the tag of the copy
        names the same source.
        """
        source, region = (image.facts.get(key) for key in ("SourceImageId", "SourceImageRegion"))
        tagged = image.tags.get(tag_names.COPY_OF, "").rpartition("/")[2]
        return bool(source) and region == self._home and tagged == source

    @cached_property
    def made(self) -> list[Image]:
        """Return the proven versions, by id."""
        return [image for image in self._tagged if self._is_proven(image)]

    def sources_in_use(self) -> Iterator[str]:
        """Yield the images of which a copy with the tag of the name is pending. EC2's record or the tag of the copy
        names the image. Both count, since a wrong tag only keeps an image.
        """
        for image in self._tagged:
            if image.state == "pending":
                yield image.tags.get(tag_names.COPY_OF, "").rpartition("/")[2]
                yield str(image.facts.get("SourceImageId") or "") if image.is_copy else ""

    @cached_property
    def _named_for_adoption(self) -> list[Image]:
        if not self.is_home or not self.spec.adopt:
            return []
        wanted = self.spec.adopt.items()
        known = sorted(self.state.all(Image), key=lambda image: image.image_id)
        return [
            image
            for image in known
            if tag_names.IMAGE not in image.tags and wanted <= image.tags.items() and image.state not in GONE
        ]

    @cached_property
    def adopted(self) -> list[Image]:
        """Return the images that ``adopt`` names, and that no other name has claimed."""
        name = self.spec.name
        return [item for item in self._named_for_adoption if item.tags.get(tag_names.ADOPTED_BY, name) == name]

    @property
    def members(self) -> list[Image]:
        """Return all images that the task retains in this place."""
        return [*self.made, *self.adopted]

    def claims(self) -> tuple[list[Change], list[str]]:
        """Return the changes that claim adopted images, and warnings about those without room for the tag."""
        changes, warnings = [], []
        for image in self.adopted:
            wanted = {tag_names.ADOPTED_BY: self.spec.name}
            reason = f"adopt for the image {self.spec.name}"
            change, left_out = tagging(image.image_id, self.state.region, image.tags, wanted, reason)
            changes += [change] if change is not None else []
            if left_out:
                warnings.append(
                    f"adopt: the task keeps {image.image_id}, which has no room for another tag. Remove one of its "
                    "tags."
                )
        return changes, warnings

    def cannot_be_claimed(self, image: Image) -> bool:
        """Return whether the image is adopted, and has no room for the tag with which this run would claim it."""
        return tag_names.IMAGE not in image.tags and not with_room(image.tags, {tag_names.ADOPTED_BY: ""})[0]

    def warnings(self) -> Iterator[str]:
        """Yield warnings about images with the tag that count for nothing, and about leftover snapshots."""
        known = {image.image_id for image in self.members}
        others = [image for image in self._tagged if image.image_id not in known]
        strange = [image for image in others if not self._is_another_regions(image)]
        if strange:
            yield (
                f"name: the tag {tag_names.IMAGE} names {self.spec.name} on {counted(len(strange), 'image')} in "
                f"{self.place.text}, and no fact of EC2 agrees: {listed(image.image_id for image in strange)}. The "
                "task keeps these images and does not count them. Correct their tags, or adopt them with adopt.tags."
            )
        others = [image for image in self._named_for_adoption if image.image_id not in known]
        if others:
            yield (
                f"adopt: another name has claimed {len(others)} of the matching images, so the task does not adopt "
                f"them: {listed(image.image_id for image in others)}. To hand them over, remove their tag "
                f"{tag_names.ADOPTED_BY}."
            )
        if any(query in self.state.unanswered for query in self.leftover_queries()):
            yield f"AWS did not answer DescribeImages in {self.place.text}, so the task names no leftover snapshots."
        elif self._leftovers:
            yield (
                f"{counted(len(self._leftovers), 'snapshot')} of deregistered images remain in {self.place.text}: "
                f"{listed(part for part, _image in self._leftovers)}. Delete them if you do not need them."
            )

    @cached_property
    def _leftovers(self) -> list[tuple[str, str]]:
        """Return the snapshots of the name that EC2 made for an image that no listing shows, each with that image.

        Younger ones are left out, since EC2 shows a new image a moment later.
        """
        if self.spec.action is not Action.DEREGISTER:
            return []
        return [
            (part.snapshot_id, image_id)
            for part in sorted(self.state.all(Snapshot), key=lambda part: part.snapshot_id)
            if part.tags.get(tag_names.IMAGE) == self.spec.name
            and (image_id := created_for(part) or image_of_copy(part))
            and self.state.image(image_id) is None
            and (part.start_time is None or part.start_time + _SHOWN < self.now)
        ]

    def leftover_queries(self) -> tuple[Query, ...]:
        """Return the queries for the images of leftover snapshots, which may have lost their tags. Only a warning needs
        the answers, so a refusal ends nothing.
        """
        found = images_by_id(image_id for _part, image_id in self._leftovers)
        return tuple(replace(query, optional=True) for query in found)

    def _is_another_regions(self, image: Image) -> bool:
        """Return whether the image is a copy that the task of another region retains."""
        return self.is_home and image.is_copy and tag_names.COPY_OF in image.tags

    # --- the rules ---

    @cached_property
    def excluded(self) -> Mapping[str, Excluded]:
        """Return, by image, why the image takes part in no rule."""
        found = {}
        for image in self.members:
            why = self._exclusion(image)
            if why is not None:
                found[image.image_id] = why
        return found

    def _exclusion(self, image: Image) -> Excluded | None:
        if image.state not in ("available", "disabled"):
            return Excluded(image.state)
        if moment_of(image.creation_date) is None:
            return Excluded("EC2 shows no creation time")
        for guard, reason in (("managed", managed(image)), ("protected", protected(self.spec, image))):
            if reason and self.spec.guard(guard) == "keep":
                return Excluded(reason, guard)
        return None

    @cached_property
    def reasons(self) -> Mapping[str, tuple[str, ...]]:
        """Return, by image that takes part in the rules, the rules that keep it.

        A disabled image cannot be launched, so it displaces no other image. The rules keep it as if all images were
        available.
        """
        counted = [image for image in self.members if image.image_id not in self.excluded]
        everything = decide(map(self._candidate, counted), self.keep, self.now)
        usable = [image for image in counted if image.state == "available"]
        return {**everything, **decide(map(self._candidate, usable), self.keep, self.now)}

    def _candidate(self, image: Image) -> Candidate:
        made = moment_of(image.creation_date)
        if made is None:
            raise ValueError(image.image_id)
        return Candidate(image.image_id, self.spec.name, made, made)

    @cached_property
    def unkept(self) -> list[Image]:
        """Return the images that no rule keeps, before the guards, the oldest first."""
        found = [image for image in self.members if self.reasons.get(image.image_id) == ()]
        return sorted(found, key=lambda image: (str(image.creation_date), image.image_id))

    def is_done(self, image: Image) -> bool:
        """Return whether the image is already in the state that the action brings about, or beyond it."""
        if self.spec.action is Action.DEREGISTER:
            return False
        if image.state == "disabled":
            return True
        until = moment_of(image.facts.get("DeprecationTime"))
        return self.spec.action is Action.DEPRECATE and until is not None and until <= soon(self.now)

    @cached_property
    def leaving(self) -> list[Image]:
        """Return the images on which the action is due, before the guards."""
        return [image for image in self.unkept if not self.is_done(image)]


def soon(now: datetime) -> datetime:
    """Return the moment at which a run deprecates an image: the second full quarter of an hour after now, by EC2's
    clock.

    EC2 takes whole minutes and none in the past, and a run with many images needs some minutes for its calls. An image
    that is deprecated by then counts as deprecated, so the next run leaves it.
    """
    return now.replace(minute=now.minute // _QUARTER * _QUARTER, second=0, microsecond=0) + _SOON


def managed(image: Image) -> str:
    """Return the reason if another service manages the image, or an empty text."""
    key = next((key for key in sorted(image.tags) if key.startswith(_SERVICES)), None)
    return f"another service manages it (tag {key})" if key else ""


def protected(spec: RotationSpec, image: Image) -> str:
    """Return the reason if the image has one of the tags of ``protect``, or a tag with one of its keys."""
    found = [f"{key}={value}" for key, value in spec.protect.items() if image.tags.get(key) == value]
    found += [key for key in spec.protect_keys if key in image.tags]
    return f"tag {found[0]}" if found else ""
