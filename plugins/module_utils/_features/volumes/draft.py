# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An unfinished plan of `ebs_volume_spec`.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ..._kernel import tags as tag_names
from ..._kernel.errors import StorageError
from ..._kernel.plan import Change, Wait
from ..._kernel.resources import Snapshot, Volume, VolumeAttachment, view
from ..._kernel.state import Query, State
from ..._kernel.tags import boto3_tags
from .former_attachments import FormerAttachment
from .free_devices import Devices
from .match import Match
from .spec import VolumesSpec
from .targets import Target

COOLDOWN = frozenset({"IncorrectModificationState", "VolumeModificationRateExceeded"})
"""The errors of EBS for "not now": a modification is under way, or the modifications of 24 hours are used up."""


_OWNED = (
    "early_snapshots",
    "untagging",
    "cleanup",
    "in_place",
    "marks",
    "detaches",
    "modifications",
    "snapshots",
    "creates",
    "attaches",
    "arrivals",
    "replaced_marks",
    "releases",
    "deletions",
    "leftovers",
)
"""The lists of changes in a draft."""


@dataclass
class Move:
    """A volume that is detached, and attached again or replaced by its copy."""

    volume: Volume
    formers: tuple[FormerAttachment, ...]
    new: str = ""
    snapshot: str = ""

    @property
    def successor(self) -> str:
        """The id of the volume that is attached in the end."""
        return self.new or self.volume.volume_id


@dataclass
class Draft:
    """An unfinished plan of the declaration. The planner fills its lists in any order, and `stages` orders them.

    All entries ask in one round: the planner notes its queries in ``asked`` and continues without the answers. A draft
    is used only once all of them are answered.
    """

    spec: VolumesSpec
    state: State
    now: datetime
    matches: tuple[Match, ...]
    devices: Devices
    asked: list[Query] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    # The reasons why instances, entries and purges are refused. The others are carried out.
    refusals: dict[str, StorageError] = field(default_factory=dict)
    # The entry of each resource that the plan changes, by its label.
    labels: dict[str, str] = field(default_factory=dict)
    # By instance, the labels of the entries that end attachments to it. An empty label stands for a purge.
    leavers: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    # The changes before any interruption.
    settling: list[Wait] = field(default_factory=list)
    early_snapshots: list[Change] = field(default_factory=list)
    early_snapshot_waits: list[Wait] = field(default_factory=list)
    untagging: list[Change] = field(default_factory=list)
    cleanup: list[Change] = field(default_factory=list)
    in_place: list[Change] = field(default_factory=list)
    in_place_waits: list[Wait] = field(default_factory=list)
    cooling: list[str] = field(default_factory=list)
    # The interruption.
    marks: list[Change] = field(default_factory=list)
    leaving: dict[str, list[VolumeAttachment]] = field(default_factory=lambda: defaultdict(list))
    freed: set[tuple[str, str]] = field(default_factory=set)
    moves: list[Move] = field(default_factory=list)
    detaches: list[Change] = field(default_factory=list)
    detach_waits: list[Wait] = field(default_factory=list)
    modifications: list[Change] = field(default_factory=list)
    modification_waits: list[Wait] = field(default_factory=list)
    snapshots: list[Change] = field(default_factory=list)
    snapshot_waits: list[Wait] = field(default_factory=list)
    creates: list[Change] = field(default_factory=list)
    create_waits: list[Wait] = field(default_factory=list)
    attaches: list[Change] = field(default_factory=list)
    attach_waits: list[Wait] = field(default_factory=list)
    flags: dict[str, dict[str, bool]] = field(default_factory=lambda: defaultdict(dict))
    # Changes after all attachments: first tags, then the marks on replaced volumes, then the move's leftovers.
    arrivals: list[Change] = field(default_factory=list)
    replaced_marks: list[Change] = field(default_factory=list)
    releases: list[Change] = field(default_factory=list)
    deletions: list[Change] = field(default_factory=list)
    # Last: these snapshots prove that the copies were made from the deleted volumes.
    leftovers: list[Change] = field(default_factory=list)

    def own(self, label: str, lengths: Mapping[str, int] | None = None) -> dict[str, int]:
        """Note the label for all changes that have been added since *lengths*, and return the present lengths."""
        for name in _OWNED if lengths is not None else ():
            for change in getattr(self, name)[(lengths or {})[name] :]:
                self.labels.setdefault(change.resource, label)
        return {name: len(getattr(self, name)) for name in _OWNED}

    @property
    def is_settled(self) -> bool:
        """All queries so far are answered. Before that, no entry is refused."""
        return self.state.knows(*self.asked)

    @property
    def refused(self) -> tuple[Match, ...]:
        """The matches of the refused entries."""
        return tuple(match for match in self.matches if match.target.label in self.refusals)

    @property
    def purging(self) -> frozenset[str]:
        """The instances whose undeclared volumes are detached, without instances with a refused entry."""
        if not self.spec.purge_volumes:
            return frozenset()
        left = {name for match in self.refused for name in match.target.instance_ids}
        return frozenset(name for name in self.spec.instance_ids if name not in left | self.refusals.keys())

    @property
    def groups(self) -> tuple[str, ...]:
        """The values of the tag `tags.SPEC` that stand for this declaration."""
        return self.spec.instance_ids if self.spec.group is None else (self.spec.group,)

    def add_tags(
        self,
        changes: list[Change],
        resource: Volume | Snapshot,
        wanted: Mapping[str, str],
        reason: str,
        *,
        after: tuple[str, ...] = (),
    ) -> None:
        """Set tags, after the earlier changes of the resources in *after*. Tags that already exist are dropped when the
        plan is ordered.
        """
        if wanted:
            name, parameters = resource.resource_id, {"Tags": boto3_tags(wanted)}
            changes.append(Change("CreateTags", name, self.state.region, parameters, reason, after_steps=after))

    def remove_tags(
        self,
        changes: list[Change],
        resource: Volume | Snapshot,
        keys: Iterable[str],
        reason: str,
        *,
        after: tuple[str, ...] = (),
    ) -> None:
        """Remove tags, after the earlier changes of the resources in *after*. Tags that do not exist are dropped when
        the plan is ordered.
        """
        untagged = self.untagged(resource.resource_id, keys, reason)
        self.remove(changes, dataclasses.replace(untagged, after_steps=after))

    def remove(self, changes: list[Change], untagged: Change) -> None:
        """Add the removal of tags to *changes*, as part of a removal that the same resource already has.

        A stage has one change of a kind for each resource, see `plan.guard`.
        """
        for number, known in enumerate(changes):
            if (known.action, known.resource) == (untagged.action, untagged.resource):
                keys = [*known.parameters["Tags"], *untagged.parameters["Tags"]]
                tags = [item for at, item in enumerate(keys) if item not in keys[:at]]
                after = tuple(dict.fromkeys((*known.after_steps, *untagged.after_steps)))
                changes[number] = dataclasses.replace(known, parameters={"Tags": tags}, after_steps=after)
                return
        changes.append(untagged)

    def untagged(self, resource_id: str, keys: Iterable[str], reason: str) -> Change:
        """Return the change that removes tags, even from a planned resource."""
        parameters = {"Tags": [{"Key": key} for key in keys]}
        return Change("DeleteTags", resource_id, self.state.region, parameters, reason)

    def deletion_of(self, volume: Volume, reason: str) -> Change:
        """Return the deletion of a volume, without its place in the plan."""
        before = {key: view(volume)[key] for key in ("state", "size", "volume_type", "tags")}
        return Change("DeleteVolume", volume.volume_id, self.state.region, {}, reason, before, None, disruptive=True)


def plain(part: Any) -> dict[str, Any]:
    """Return an attachment or a block device in the form of a view."""
    return dataclasses.asdict(part)


def identity_tags(target: Target, name: str) -> dict[str, str]:
    """Return the tags that make a volume the one of an entry."""
    return {tag_names.SPEC: target.group, tag_names.VOLUME: name}
