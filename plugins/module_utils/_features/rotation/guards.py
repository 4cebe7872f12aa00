# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The guards, which keep snapshots that no rule keeps. EC2 itself would allow most of these deletions.

Each guard is a question about one snapshot. `queries` yields the queries whose answers the guards need.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property

from ..._domain.accounts import Accounts
from ..._kernel import tags as tag_names
from ..._kernel.ids import is_planned
from ..._kernel.places import HERE, Place
from ..._kernel.proofs import copy_record, is_copy, source_of
from ..._kernel.resources import Image, Snapshot, Volume
from ..._kernel.state import Query, State, by_id, own_images
from ..._kernel.storage_facts import (
    ARCHIVED_QUERY,
    FAST_RESTORES_QUERY,
    IS_PUBLIC,
    LOCK,
    LOCKS_QUERY,
    PUBLIC_QUERY,
    TIERING,
    VOLUME_PERMISSIONS,
    fast_restores_of,
    permissions_query,
)
from .spec import MODES, RotationSpec

# Tags of services that make and delete snapshots by themselves: Data Lifecycle Manager and other services of AWS, the
# CSI driver of EBS, Kubernetes, Velero.
_CONTROLLERS = ("aws:", "ebs.csi.aws.com/", "CSIVolumeSnapshotName", "kubernetes.io/", "velero.io/")
_BACKUP = "aws:backup:"
ARCHIVE_MINIMUM = timedelta(days=90)
"""If a snapshot is deleted from the archive earlier, EBS bills the rest of the 90 days."""

IMAGES = own_images()
CREATING = Query("DescribeVolumes", (("status", ("creating",)),))

_ASKED = {
    IMAGES: "image",
    LOCKS_QUERY: "locked",
    PUBLIC_QUERY: "public",
    FAST_RESTORES_QUERY: "fast_restore",
    ARCHIVED_QUERY: "archived",
    CREATING: "creating",
}
"""The questions, each with the guard that asks it."""
BEFORE_THE_RULES = ("backup", "managed", "protected")
"""Other services use these snapshots. While the guard is on, such a snapshot displaces no other snapshot."""


def queries(spec: RotationSpec, snapshots: Iterable[Snapshot], place: Place = HERE) -> Iterator[Query]:
    """Yield the queries of the guards for these snapshots of one place. Each guard needs one listing, except `shared`,
    which needs a call for each snapshot.
    """
    wanted = list(snapshots)
    if not wanted:
        return
    yield from (replace(query, place=place, optional=True) for query in _ASKED)
    if spec.guard("shared") != "off":
        yield from (replace(permissions_query(snapshot.snapshot_id, place), optional=True) for snapshot in wanted)


def others_of(volume_ids: Iterable[str]) -> tuple[Query, ...]:
    """Return all snapshots of these volumes, from anybody."""
    found = by_id("DescribeSnapshots", "volume-id", volume_ids, OwnerIds=("self",))
    return tuple(replace(query, optional=True) for query in found)


def _guard_of(query: Query) -> str:
    """Return the guard that asks this query, or an empty text for another query."""
    if query.operation == "DescribeSnapshotAttribute":
        return "shared"
    if query.operation == "DescribeSnapshots" and "volume-id" in dict(query.filters):
        return "last"
    return _ASKED.get(replace(query, place=HERE), "")


class Guards:
    """The guards as questions about one snapshot. With an empty answer, the snapshot may be deleted.

    *coming*: copies that are completed before the deletions.
    """

    def __init__(self, spec: RotationSpec, state: State, now: datetime, coming: Iterable[Snapshot] = ()) -> None:
        self._spec, self._state, self._now, self._coming = spec, state, now, tuple(coming)
        completed = {snapshot.snapshot_id for snapshot in self._coming}
        self._images: dict[str, str] = {}
        for image in state.all(Image):
            for snapshot_id in image.snapshot_ids:
                self._images.setdefault(snapshot_id, f"{image.image_id} ({image.state})")
        self._making = {
            volume.snapshot_id: volume.volume_id for volume in state.all(Volume) if volume.state == "creating"
        }
        pending = (item for item in state.all(Snapshot) if item.state == "pending")
        self._copying = {
            original: snapshot.snapshot_id
            for snapshot in pending
            if snapshot.snapshot_id not in completed and (original := _copied_from(snapshot))
        }
        self._asks: Mapping[str, Callable[[Snapshot], str]] = {
            "image": self._image,
            "locked": self._locked,
            "backup": backup,
            "managed": managed,
            "public": self._public,
            "shared": self._shared,
            "fast_restore": self._fast_restore,
            "archived": self._archived,
            "copy_source": self._copy_source,
            "newest_copy": self._newest_copy,
            "creating": self._creating,
            "protected": lambda item: protected(spec, item),
        }
        self._unanswered = [
            (query.place, str(dict(query.arguments).get("SnapshotId", "")), name)
            for query in state.unanswered
            if (name := _guard_of(query)) and spec.guard(name) != "off"
        ]
        """The guards without an answer: the place, the snapshot if the query was about one, and the guard."""
        self._silent = {_guard_of(query): f"EC2 did not answer {query.operation}" for query in state.unanswered}

    @cached_property
    def _by_mode(self) -> Mapping[str, Sequence[str]]:
        """Return the names of the guards by their mode."""
        return {mode: [name for name in self._asks if self._spec.guard(name) == mode] for mode in MODES}

    @cached_property
    def _before(self) -> Sequence[tuple[str, Callable[[Snapshot], str]]]:
        """Return the guards of `BEFORE_THE_RULES` that keep snapshots, and then those that fail the task."""
        protects = self._spec.protect or self._spec.protect_keys
        return [
            (name, self._asks[name])
            for mode in ("keep", "fail")
            for name in BEFORE_THE_RULES
            if name in self._by_mode[mode] and (name != "protected" or protects)
        ]

    def stops(self, snapshot: Snapshot, mode: str, names: Iterable[str] | None = None) -> Iterator[tuple[str, str]]:
        """Yield (guard, reason) for the guards of this mode, all or those of *names*, that keep the snapshot.

        In any mode, a guard without an answer keeps the snapshots of the place that it was asked about.
        """
        if mode == "keep" and names is None:
            for place, about, name in self._unanswered:
                if place == snapshot.place and about in ("", snapshot.snapshot_id):
                    yield name, self._silent[name]
        for name in self._by_mode[mode]:
            if names is None or name in names:
                reason = self._asks[name](snapshot)
                if reason:
                    yield name, reason

    def stops_before_the_rules(self, snapshot: Snapshot) -> Iterator[tuple[str, str]]:
        """Yield (guard, reason) for the guards of `BEFORE_THE_RULES` that keep the snapshot or fail the task for it."""
        for name, ask in self._before:
            reason = ask(snapshot)
            if reason:
                yield name, reason

    def reason(self, snapshot: Snapshot, names: Iterable[str]) -> str:
        """Return the first reason of these guards, in any mode."""
        return next((text for name in names if (text := self._asks[name](snapshot))), "")

    def _image(self, snapshot: Snapshot) -> str:
        image = self._images.get(snapshot.snapshot_id)
        return f"{image} is made of it" if image else ""

    def _locked(self, snapshot: Snapshot) -> str:
        lock = LOCK.of(self._state, snapshot.snapshot_id, snapshot.place)
        return f"lock {lock.text}" if lock is not None and lock.is_in_force else ""

    def _public(self, snapshot: Snapshot) -> str:
        return "anybody may use it" if IS_PUBLIC.of(self._state, snapshot.snapshot_id, snapshot.place) else ""

    @cached_property
    def _copying_accounts(self) -> frozenset[str]:
        """Return the known accounts with which originals are shared for copies."""
        return Accounts(self._spec.copies, self._state).all or frozenset()

    def _shared(self, snapshot: Snapshot) -> str:
        allowed = VOLUME_PERMISSIONS.of(self._state, snapshot.snapshot_id, snapshot.place) or ()
        # The guard `public` keeps public snapshots. The run itself unshares a snapshot that it has shared for a copy.
        # Anybody may have written the tag, so the task must have copies in that account.
        ours = ("all", *(tag_names.shared_with(snapshot.tags) & self._copying_accounts))
        accounts = [item for item in allowed if item not in ours]
        return f"shared with {', '.join(accounts)}" if accounts else ""

    def _fast_restore(self, snapshot: Snapshot) -> str:
        zones = [item.zone for item in fast_restores_of(self._state, snapshot.snapshot_id, snapshot.place)]
        return f"fast restore in {', '.join(sorted(zones))}" if zones else ""

    def _archived(self, snapshot: Snapshot) -> str:
        tiering = TIERING.of(self._state, snapshot.snapshot_id, snapshot.place)
        if tiering is not None and tiering.is_moving:
            return tiering.last
        if snapshot.storage_tier != "archive" and not (tiering is not None and tiering.is_in_archive):
            return ""
        since = tiering.archived if tiering is not None else None
        if since is None:
            return "in the archive; EC2 does not show since when"
        ends = since + ARCHIVE_MINIMUM
        return f"in the archive, paid for until {ends:%Y-%m-%d}" if self._now < ends else ""

    def _copy_source(self, snapshot: Snapshot) -> str:
        copy = self._copying.get(snapshot.snapshot_id)
        return f"{copy} is being copied from it" if copy else ""

    @cached_property
    def _newest_copies(self) -> set[str]:
        """Return the newest completed copy of each volume for each key, at the places of copies."""
        newest: dict[tuple[str, str, str | None], Snapshot] = {}
        there = [item for item in self._state.all(Snapshot) if item.state == "completed"]
        for snapshot in (*there, *self._coming):
            if is_planned(snapshot.snapshot_id) or copy_record(snapshot) is not None:
                key = (snapshot.place, source_of(snapshot), snapshot.kms_key_id)
                if key not in newest or _order(snapshot) > _order(newest[key]):
                    newest[key] = snapshot
        return {snapshot.snapshot_id for snapshot in newest.values()}

    def _newest_copy(self, snapshot: Snapshot) -> str:
        """Return why the copy is needed for the next one, or an empty text.

        EBS copies only the changes since the last copy with the same key. Without such a copy it copies the whole
        snapshot.
        """
        if snapshot.snapshot_id not in self._newest_copies:
            return ""
        return f"it is the newest copy of {source_of(snapshot)} with its key there; the next one would be a full one"

    def _creating(self, snapshot: Snapshot) -> str:
        volume = self._making.get(snapshot.snapshot_id)
        return f"{volume} is being made from it" if volume else ""


def _copied_from(snapshot: Snapshot) -> str:
    """Return the original of a copy, as its description says, or else as its tag claims, or an empty text for all
    others.
    """
    record = copy_record(snapshot)
    return (record.original if record is not None else "") or snapshot.tags.get(tag_names.COPY_OF, "").rpartition("/")[
        2
    ]


def backup(snapshot: Snapshot) -> str:
    """Return the reason if the snapshot is a recovery point of AWS Backup, which alone can delete it, or
    an empty text.
    """
    found = [key for key in snapshot.tags if key.startswith(_BACKUP)]
    return "a recovery point of AWS Backup; delete it there" if found else ""


def managed(snapshot: Snapshot) -> str:
    """Return the reason if another controller made the snapshot and will delete it, or an empty text.

    A policy's snapshot has the tags of its volume, which a controller may have made. AWS's own tags are never copied.
    """
    foreign = "aws:" if tag_names.POLICY in snapshot.tags else _CONTROLLERS
    found = [key for key in snapshot.tags if key.startswith(foreign) and not key.startswith(_BACKUP)]
    return f"managed by another controller ({min(found)})" if found else ""


def protected(spec: RotationSpec, snapshot: Snapshot) -> str:
    """Return whether the snapshot has one of the tags of ``protect``, or a tag with one of its keys."""
    found = [f"{key}={value}" for key, value in spec.protect.items() if snapshot.tags.get(key) == value]
    found += [key for key in spec.protect_keys if key in snapshot.tags]
    return f"tag {found[0]}" if found else ""


def last_of_their_volumes(going: Iterable[Snapshot], known: Iterable[Snapshot]) -> dict[str, str]:
    """Return, by id of the snapshot, the volumes that would have no snapshot left after the deletion of *going*.

    Only the newest snapshot of such a volume is in the answer. Only completed snapshots outside the archive count,
    since others cannot be restored from at once. A copy counts only if more than a tag names its original.
    """
    leaving = {snapshot.snapshot_id: snapshot for snapshot in going}
    newest: dict[str, Snapshot] = {}
    for snapshot in leaving.values():
        volume = source_of(snapshot)
        if volume and snapshot.state == "completed":
            seen = newest.get(volume)
            if seen is None or _order(snapshot) > _order(seen):
                newest[volume] = snapshot
    for snapshot in known:
        # A large policy has many more snapshots than volumes. So the search ends early.
        if not newest:
            break
        if snapshot.snapshot_id not in leaving and _can_be_restored(snapshot):
            newest.pop(source_of(snapshot), None)
    return {snapshot.snapshot_id: volume for volume, snapshot in newest.items()}


def _can_be_restored(snapshot: Snapshot) -> bool:
    return (
        snapshot.state == "completed"
        and snapshot.storage_tier != "archive"
        and (not is_copy(snapshot) or is_planned(snapshot.snapshot_id) or copy_record(snapshot) is not None)
    )


def _order(snapshot: Snapshot) -> tuple[float, str]:
    return (snapshot.start_time.timestamp() if snapshot.start_time else 0.0, snapshot.snapshot_id)
