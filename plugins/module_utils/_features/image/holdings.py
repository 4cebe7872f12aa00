# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image of a version in each place: the original, and the copies that are there.

EC2 records on a copy the image and the region that it was made from, and no tag changes that. So these two facts prove
a copy. The tag `tags.COPY_OF` tells the copies of this module from those that somebody else has made.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from ..._domain.accounts import Accounts
from ..._kernel import tags as tag_names
from ..._kernel.errors import SpecError
from ..._kernel.facts import key_query
from ..._kernel.ids import is_planned
from ..._kernel.places import HERE, Place
from ..._kernel.plan import Change
from ..._kernel.proofs import copied_from, is_copy
from ..._kernel.resources import Image, Snapshot
from ..._kernel.state import Query, State, own_images, own_snapshots, tag_filters
from .distribution_spec import CopySpec
from .found import BROKEN, GONE
from .requests import delete_snapshot
from .spec import ImageSpec, name_query

DEFAULT_KEY = "alias/aws/ebs"
"""The AWS managed key. EC2 shares nothing that it encrypts."""

_SEEN = timedelta(minutes=5)
"""EC2 shows a new image at the latest after this time."""


@dataclass(frozen=True)
class Holding:
    """The image of the version in one place, as it is or as the plan makes it.

    ``region``: the text of the place in changes. ``account``: the owner, empty if it is unknown. ``option``: the option
    that a refusal names. ``copy``: the entry of the place, None for the original.
    """

    image: Image
    snapshots: tuple[Snapshot, ...]
    region: str
    account: str
    copy: CopySpec | None = None

    @property
    def place(self) -> Place:
        """Return the place of queries."""
        return self.copy.place if self.copy is not None else HERE

    @property
    def is_new(self) -> bool:
        """Return whether the plan makes the image."""
        return is_planned(self.image.image_id)

    @property
    def where(self) -> str:
        """Return the place as messages show it."""
        return self.copy.where if self.copy is not None else self.region


def copy_queries(spec: ImageSpec, state: State, *, names: bool = True) -> Iterator[Query]:
    """Yield the queries for the images and snapshots of all places of copies, and for their accounts and keys.

    *names*: also ask for the images that have the version's name.
    """
    for copy in spec.distribution.copies:
        asked = [own_images(*tag_filters(spec.identity)), own_snapshots(spec.identity)]
        asked += [name_query(spec)] if names else []
        yield from (replace(query, place=copy.place) for query in asked)
        if copy.kms_key_id is not None and names:
            yield replace(key_query(copy.kms_key_id, copy.place), optional=True)
    yield from accounts_of(spec, state).questions()


def accounts_of(spec: ImageSpec, state: State) -> Accounts:
    """Return the accounts of the places of copies."""
    return Accounts(spec.distribution.copies, state, "the image and its original snapshots")


def require_places(spec: ImageSpec, state: State) -> Accounts:
    """Return the accounts. Raises SpecError for a place that is named twice, and for one whose account is unknown."""
    accounts = accounts_of(spec, state)
    for copy in spec.distribution.copies:
        if unknown := accounts.unknown(copy):
            raise SpecError(f"{copy.option}.profile: {unknown}.")
    accounts.require_distinct()
    return accounts


def snapshots_of(state: State, image: Image) -> tuple[Snapshot, ...]:
    """Return the known snapshots of an image's devices."""
    found = (state.snapshot(name, image.place) for name in image.snapshot_ids)
    return tuple(item for item in found if item is not None)


class Copied:
    """The images of one place that are copies of the original, or have its name.

    *original*: the image that the copies are made from, None if it is gone.
    """

    def __init__(self, spec: ImageSpec, state: State, copy: CopySpec, original: Image | None) -> None:
        self.spec, self.state, self.copy, self.original = spec, state, copy, original
        self._there = sorted(
            (item for item in state.all(Image) if item.place == copy.place and item.state not in GONE),
            key=lambda item: (item.creation_date or "", item.image_id),
        )

    def is_of_original(self, image: Image) -> bool:
        """Return whether EC2 shows that the image was copied from the original."""
        if self.original is None or is_planned(image.image_id):
            return is_planned(image.image_id)
        source = (image.facts.get("SourceImageId"), image.facts.get("SourceImageRegion"))
        return source == (self.original.image_id, self.state.region)

    def is_ours(self, image: Image) -> bool:
        """Return whether a run of this module has made the copy: its tag and EC2's record name the same source."""
        tagged = image.tags.get(tag_names.COPY_OF, "").rpartition("/")
        source = str(image.facts.get("SourceImageId") or "")
        same_region = image.facts.get("SourceImageRegion") == self.state.region
        return bool(source) and tagged[2] == source and same_region

    @property
    def usable(self) -> list[Image]:
        """Return the copies that have not failed: those of this module first, then the oldest."""
        found = [
            item
            for item in self._there
            if self.is_of_original(item)
            and item.state not in BROKEN
            and (self.is_ours(item) or item.name == self.spec.image_name)
        ]
        return sorted(found, key=lambda item: not self.is_ours(item))

    @property
    def failed(self) -> list[Image]:
        """Return the failed copies of this module."""
        return [
            item for item in self._there if self.is_of_original(item) and item.state in BROKEN and self.is_ours(item)
        ]

    def existing(self) -> Image | None:
        """Return the copy that counts, or None. Raises SpecError for a disabled one, and for a name that is taken."""
        found = self.usable
        if found and found[0].state == "disabled":
            raise SpecError(
                f"{self.copy.option}: the copy {found[0].image_id} in {self.copy.where} is disabled. Enable it, or "
                "use another version."
            )
        if found:
            return found[0]
        failed = {item.image_id for item in self.failed}
        for item in self._there:
            if item.name == self.spec.image_name and item.image_id not in failed:
                raise SpecError(
                    f"{self.copy.option}: {self.spec.image_name!r} is the name of {item.image_id} in "
                    f"{self.copy.where}, which is not a copy of this image. Use another image_name or version, or "
                    "deregister that image."
                )
        return None

    def removal_of_failed(self) -> tuple[list[Change], list[Change]]:
        """Return the changes that deregister failed copies, and those that delete their snapshots."""
        removed = [
            Change(
                "DeregisterImage",
                item.image_id,
                self.copy.place,
                {},
                f"deregister the {item.state} copy, and make another",
                {"state": item.state},
            )
            for item in self.failed
        ]
        reason = "delete the snapshot of the failed copy"
        deleted = [
            replace(delete_snapshot(part, self.copy.place, reason), after_steps=(item.image_id,))
            for item in self.failed
            for part in own_parts(self.spec, self.state, item)
        ]
        left = leftover_parts(self.spec, self.state, self.copy.place, self.original)
        reason = "delete the snapshot of a failed copy that is gone"
        deleted += [delete_snapshot(part, self.copy.place, reason) for part in left if self._is_settled(part)]
        return removed, deleted

    def _is_settled(self, part: Snapshot) -> bool:
        """Return whether the snapshot is older than any copy of another run that EC2 does not show yet."""
        now = self.state.now
        return part.state != "pending" and bool(now and part.start_time and part.start_time + _SEEN < now)

    def warnings(self) -> Iterator[str]:
        """Yield warnings about failed copies and copies of the same image beside the one that counts."""
        for item in self.failed:
            why = item.state_reason or "EC2 gives no reason"
            yield f"the copy {item.image_id} in {self.copy.where} has failed: {why}. The task replaces it."
        for item in self.usable[1:]:
            yield (
                f"{item.image_id} in {self.copy.where} is a second copy of {self.spec.label}. The task uses "
                f"{self.usable[0].image_id}."
            )


def own_parts(spec: ImageSpec, state: State, image: Image) -> list[Snapshot]:
    """Return the snapshots of a copy that EC2 made for it: copies with the tags of the version, which no other image
    of the place uses.
    """
    used = _used_by_others(state, image.place, image.image_id)
    return [
        part
        for part in snapshots_of(state, image)
        if is_copy(part)
        and part.snapshot_id not in used
        and all(part.tags.get(key) == value for key, value in spec.identity.items())
    ]


def leftover_parts(spec: ImageSpec, state: State, place: Place, original: Image | None) -> list[Snapshot]:
    """Return the snapshots in a place whose copy is gone: a run that was interrupted has deregistered it.

    EC2 describes them itself, with the image that they were copied from (`proofs.copied_from`).
    """
    used = _used_by_others(state, place)
    return [
        item
        for item in state.all(Snapshot)
        if item.place == place
        and item.snapshot_id not in used
        and all(item.tags.get(key) == value for key, value in spec.identity.items())
        and (source := copied_from(item)) is not None
        and item.tags.get(tag_names.COPY_OF, "").rpartition("/")[2] == source
        and (original is None or source == original.image_id)
    ]


def _used_by_others(state: State, place: Place, image_id: str = "") -> set[str]:
    others: Iterable[Image] = (item for item in state.all(Image) if item.place == place and item.image_id != image_id)
    return {name for item in others if item.state not in GONE for name in item.snapshot_ids}
