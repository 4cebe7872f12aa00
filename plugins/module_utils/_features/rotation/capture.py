# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The due captures: selected volumes and instances, their slot, and the calls.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cached_property
from typing import Any

from ..._domain.origins import has_origin, origin_now
from ..._domain.replacement import predecessor, replacement_of, started_since
from ..._domain.snapshot_sets import SnapshotSet
from ..._kernel import tags as tag_names
from ..._kernel.ids import capture_description, planned
from ..._kernel.plan import Change, tagging
from ..._kernel.proofs import is_copy, source_of
from ..._kernel.resources import Instance, Snapshot, Volume
from ..._kernel.state import State, own_snapshots
from ..._kernel.tags import carried, specification
from ..._kernel.times import slot_start, slot_value
from .set_tags import SetTags, set_tags
from .spec import OWN_TAGS, RotationSpec

TOGETHER = timedelta(minutes=5)
"""The largest time between the snapshots of two runs at the same moment, since EC2 throttles and answers late."""


@dataclass(frozen=True)
class Target:
    """A volume, or an instance with the volumes of its set."""

    group: str
    volumes: tuple[Volume, ...]
    instance: Instance | None = None


def targets_of(spec: RotationSpec, state: State) -> list[Target]:
    """Return the selected targets that can be captured, sorted by id. `left_out` names all others."""
    if not spec.selects:
        return []
    return _instances(spec, state) if spec.whole_instances else _volumes(spec, state)


def _volumes(spec: RotationSpec, state: State) -> list[Target]:
    chosen = [volume for volume in selected_volumes(spec, state) if not volume.outpost_arn]
    return [Target(item.volume_id, (item,)) for item in sorted(chosen, key=lambda item: item.volume_id)]


def selected_volumes(spec: RotationSpec, state: State) -> list[Volume]:
    """Return the volumes that the selection of volumes names and that can be captured."""
    return [
        volume
        for volume in state.all(Volume)
        if usable(volume)
        and (
            volume.volume_id in spec.volume_ids
            or any(link.instance_id in spec.instance_ids for link in volume.attachments)
            or (spec.select_tags and spec.select_tags.items() <= volume.tags.items())
        )
    ]


def _instances(spec: RotationSpec, state: State) -> list[Target]:
    targets = []
    for instance in selected_instances(spec, state):
        volumes = volumes_of_set(spec, state, instance)
        if volumes and not any(volume.outpost_arn for volume in volumes):
            targets.append(Target(instance.instance_id, volumes, instance=instance))
    return targets


def selected_instances(spec: RotationSpec, state: State) -> list[Instance]:
    """Return the living instances that the selection of instances names, sorted by id.

    If two instances have the selected tags and one is the proven successor, the stopped predecessor is left out.
    """
    tagged = [
        instance
        for instance in state.all(Instance)
        if instance.alive and spec.select_tags and spec.select_tags.items() <= instance.tags.items()
    ]
    retired = {item.instance_id for item in tagged if item.state == "stopped" and _is_replaced(state, item, tagged)}
    chosen = {item.instance_id: item for item in tagged if item.instance_id not in retired}
    named = (state.instance(instance_id) for instance_id in spec.instance_ids)
    chosen.update({item.instance_id: item for item in named if item is not None and item.alive})
    return [chosen[name] for name in sorted(chosen)]


def _is_replaced(state: State, old: Instance, tagged: Sequence[Instance]) -> bool:
    """Return whether one of these instances was launched to replace *old*, and serves in its place."""
    successors = [item for item in tagged if predecessor(item) == old.instance_id and not started_since(old, item)]
    found = (replacement_of(state, successor) for successor in successors)
    return any(item is not None and item.stands and not item.in_doubt and not item.is_undecided for item in found)


def volumes_of_set(spec: RotationSpec, state: State, instance: Instance) -> tuple[Volume, ...]:
    """Return all volumes of the instance except the excluded ones, sorted by id."""
    volumes = [
        volume
        for volume in attached_to(state, instance.instance_id)
        if volume.volume_id not in spec.exclude_volume_ids
        and not (spec.exclude_boot_volume and volume.volume_id == instance.root_volume_id)
    ]
    return tuple(sorted(volumes, key=lambda item: item.volume_id))


def attached_to(state: State, instance_id: str) -> list[Volume]:
    """Return the volumes that are attached to the instance."""
    return [
        volume for volume in state.all(Volume) if any(link.instance_id == instance_id for link in volume.attachments)
    ]


def usable(volume: Volume | None) -> bool:
    """Return whether a snapshot of the volume can be taken."""
    return volume is not None and volume.state in ("available", "in-use")


def zone_of(spec: RotationSpec) -> tzinfo:
    """Return the time zone of the slots: that of ``keep``, else UTC."""
    return spec.keep.zone if spec.keep is not None else UTC


def no_room(snapshot_id: str, keys: Sequence[str]) -> str:
    """Return the warning about tags that a snapshot cannot have."""
    return f"{snapshot_id} has {tag_names.MOST_TAGS} tags, EC2's maximum, so it does not get: {', '.join(keys)}"


class Capture:
    """The selection, its due targets in the present slot, and the calls that capture them."""

    def __init__(
        self, spec: RotationSpec, state: State, managed: Sequence[Snapshot], sets: Sequence[SnapshotSet], now: datetime
    ) -> None:
        self.spec, self.state, self.managed, self.sets, self.now = spec, state, managed, sets, now
        self.zone = zone_of(spec)
        self.slot = slot_start(spec.every, now, self.zone)
        self.targets = targets_of(spec, state)
        self.current = self._current()
        self.due = [target for target in self.targets if spec.create and target.group not in self.current]
        self.made = state.drafts.once(
            "made",
            (self.due, self.sets, [*state.all(Snapshot)], [*state.all(Volume)]),
            lambda: {target.group: self._creations(target) for target in self.due},
        )
        self.creations = [change for changes in self.made.values() for change in changes]

    def _current(self) -> dict[str, SnapshotSet]:
        """Return, by volume or instance, the policy's completed or unfinished set for the current slot.

        A set stands for its volumes too, since a snapshot of one of them looks like a part of the set.
        """
        made = [a_set for a_set in self.sets if a_set.period == self.slot and self._fills_its_slot(a_set)]
        parts = {source_of(snapshot): a_set for a_set in made for snapshot in a_set.snapshots}
        return parts | {a_set.group: a_set for a_set in made}

    def _fills_its_slot(self, a_set: SnapshotSet) -> bool:
        """Return whether the policy has taken the set, and it is good or may become so."""
        return a_set.state not in ("error", "incomplete") and self.is_own(a_set)

    @cached_property
    def second(self) -> Mapping[str, SnapshotSet]:
        """Return, by set, the earlier set of the same volume or instance and the same slot.

        Two runs at the same moment make such sets. The run with the later set deletes it, unless it was interrupted. A
        set that began even later was taken for another slot, even if its tag now claims this slot.
        """
        return self.state.drafts.once("second", (self.sets,), self._find_second)

    def _find_second(self) -> Mapping[str, SnapshotSet]:
        first: dict[tuple[str, datetime | None], SnapshotSet] = {}
        found: dict[str, SnapshotSet] = {}
        for a_set in reversed(self.sets):
            if a_set.period is not None and a_set.group and self._fills_its_slot(a_set):
                earlier = first.setdefault((a_set.group, a_set.period), a_set)
                if earlier is not a_set and a_set.start_time - earlier.start_time <= TOGETHER:
                    found[a_set.key] = earlier
        return found

    def _own_tags(self, target: Target) -> dict[str, str]:
        tags = {tag_names.POLICY: self.spec.policy, tag_names.PERIOD: slot_value(self.slot)}
        tags |= self.spec.lifecycle.own_tags
        places = tag_names.copied_to_value(copy.place for copy in self.spec.copies)
        if places and all(len(self._copied(volume)[0]) < self._room for volume in target.volumes):
            tags[tag_names.COPIED_TO] = places
        if target.instance is not None:
            tags[tag_names.SET] = f"{target.group}/{slot_value(self.slot)}"
            tags[tag_names.PARTS] = str(len(target.volumes))
        return tags

    def _volume_tags(self, volume: Volume) -> dict[str, str]:
        """Return the tags for one volume's snapshot: the volume's own, and its origin."""
        own = {tag_names.SOURCE: volume.volume_id, tag_names.ORIGIN: origin_now(volume).value}
        return {**self._taken_over(volume), **self.spec.tags, **own}

    def _taken_over(self, volume: Volume) -> dict[str, str]:
        return self._copied(volume)[0] if self.spec.copy_volume_tags else {}

    def _set_tags(self, target: Target) -> SetTags:
        taken_over = {volume.volume_id: self._taken_over(volume) for volume in target.volumes}
        return set_tags(target.volumes, taken_over, {**self.spec.tags, **self._own_tags(target)})

    def _copied(self, volume: Volume) -> tuple[dict[str, str], list[str]]:
        """Return the tags of a volume that its snapshot gets, and the keys without room.

        A volume may have as many tags as EC2 allows, and the snapshot also has the policy's tags. The volume's name
        comes first.
        """
        wanted = {key: value for key, value in carried(volume.tags).items() if key not in self.spec.tags}
        order = sorted(wanted, key=lambda key: (key != "Name", key))
        return {key: wanted[key] for key in order[: self._room]}, order[self._room :]

    @property
    def _room(self) -> int:
        """Return the number of tags that a snapshot can have beside the policy's."""
        return tag_names.MOST_TAGS - OWN_TAGS - len(self.spec.tags)

    def warnings(self) -> Iterator[str]:
        """Yield warnings about the volumes' tags that new snapshots lack."""
        for volume in {volume.volume_id: volume for target in self.due for volume in target.volumes}.values():
            left = self._copied(volume)[1] if self.spec.copy_volume_tags else []
            if left:
                yield (
                    f"{volume.volume_id}: its snapshot cannot hold all volume tags besides the policy's tags. "
                    f"Not copied: {', '.join(left)}"
                )
        for name, _change, left in self._taggings:
            if left:
                yield no_room(name, left)

    def _creations(self, target: Target) -> list[Change]:
        period = slot_value(self.slot)
        shared = self._own_tags(target)
        together = self._set_tags(target) if target.instance else None
        # One query finds all snapshots of this run. Their other tags show their targets.
        slot = {key: shared[key] for key in (tag_names.POLICY, tag_names.PERIOD)}
        changes = []
        for volume in target.volumes:
            tags = together.of(volume.volume_id) if together else {**self._volume_tags(volume), **shared}
            request = self._set_request(target, together) if together else self._request(volume, tags)
            changes.append(
                Change(
                    "CreateSnapshots" if target.instance else "CreateSnapshot",
                    self._planned(volume.volume_id, target.group),
                    self.state.region,
                    request,
                    f"capture the slot of {period}",
                    None,
                    {
                        "state": "completed" if self.spec.wait and not self.spec.captured else "pending",
                        "volume_id": volume.volume_id,
                        "volume_size": volume.size,
                        "encrypted": volume.encrypted,
                        "description": request["Description"],
                        "tags": tags,
                    },
                    identity=own_snapshots(slot),
                    source=volume.volume_id,
                    passed_over=self._passed_over,
                )
            )
        return changes

    @cached_property
    def _passed_over(self) -> frozenset[str]:
        """Return the existing snapshots that look like this run's new ones.

        The snapshots of an incomplete set look like a smaller set. Others have a wrong tag for this slot.
        """
        incomplete = {name for a_set in self.sets if a_set.state == "incomplete" for name in a_set.ids}
        period = slot_value(self.slot)
        claiming = {
            item.snapshot_id
            for item in self.state.all(Snapshot)
            if not item.place and item.tags.get(tag_names.PERIOD) == period
        }
        chosen = {name for a_set in self.current.values() for name in a_set.ids}
        return frozenset(incomplete | (claiming - chosen))

    def _planned(self, volume_id: str, group: str) -> str:
        # A volume may be attached to several instances, and be in the set of each.
        where = f" on {group}" if group != volume_id else ""
        return planned("snapshot", f"{self.spec.policy} {slot_value(self.slot)} of {volume_id}{where}")

    @property
    def names(self) -> dict[str, str]:
        """Return, by id, the planned ids of the slot's snapshots in the plan that made them."""
        return {
            item.snapshot_id: self._planned(source_of(item), a_set.group)
            for a_set in self.current.values()
            for item in a_set.snapshots
        }

    @property
    def _lock(self) -> str:
        """Return the lock of a new snapshot for its description."""
        return self.spec.lifecycle.locks.text if self.spec.lifecycle.locks is not None else ""

    def _request(self, volume: Volume, tags: Mapping[str, str]) -> dict[str, Any]:
        attached = volume.attachments[0].instance_id if volume.attachments else ""
        return {
            "VolumeId": volume.volume_id,
            "Description": capture_description(
                self.spec.policy,
                volume.volume_id,
                attached=attached,
                slot=slot_value(self.slot),
                lock=self._lock,
            ),
            "TagSpecifications": [specification("snapshot", tags)],
        }

    def _set_request(self, target: Target, tags: SetTags) -> dict[str, Any]:
        """Return one call for the instance."""
        wanted = {volume.volume_id for volume in target.volumes}
        root = target.instance.root_volume_id if target.instance else None
        attached = {volume.volume_id for volume in attached_to(self.state, target.group)}
        without = sorted(attached - wanted - {root or ""})
        return {
            "InstanceSpecification": {
                "InstanceId": target.group,
                "ExcludeBootVolume": root in attached and root not in wanted,
                **({"ExcludeDataVolumeIds": without} if without else {}),
            },
            "Description": capture_description(
                self.spec.policy,
                target.group,
                volumes=len(target.volumes),
                slot=slot_value(self.slot),
                lock=self._lock,
            ),
            **({"CopyTagsFromSource": "volume"} if tags.copied else {}),
            "TagSpecifications": [specification("snapshot", tags.shared)],
        }

    def taggings(self, gone: set[str]) -> list[Change]:
        """Return the changes that add missing tags: the task's tags, and volumes' tags on the parts of a set.

        Snapshots in *gone* get none.
        """
        return [change for name, change, _left_out in self._taggings if change is not None and name not in gone]

    @cached_property
    def _taggings(self) -> list[tuple[str, Change | None, list[str]]]:
        """Return, by snapshot, the change and the keys without room."""
        found = []
        for snapshot in self._to_tag():
            wanted = dict(self.spec.tags) if snapshot.tags.get(tag_names.POLICY) == self.spec.policy else {}
            volume = self.state.volume(snapshot.volume_id)
            unfinished = tag_names.SET in snapshot.tags and not has_origin(snapshot)
            if unfinished and volume is not None and not is_copy(snapshot):
                wanted = {**self._volume_tags(volume)}
            if not wanted:
                continue
            reason = "copy the tags of the volume" if unfinished else "tag as declared"
            change, left_out = tagging(snapshot.snapshot_id, self.state.region, snapshot.tags, wanted, reason)
            if change is not None or left_out:
                found.append((snapshot.snapshot_id, change, left_out))
        return found

    def _to_tag(self) -> Iterator[Snapshot]:
        yield from self.managed
        for change in self.creations:
            if change.action == "CreateSnapshots":
                yield Snapshot(change.resource, volume_id=change.source, tags=(change.after or {})["tags"])

    def is_own(self, a_set: SnapshotSet) -> bool:
        """Return whether this policy has taken the snapshot, and not adopted it."""
        policy = self.spec.policy
        return not [item for item in a_set.snapshots if item.tags.get(tag_names.POLICY) != policy]

    @cached_property
    def expected(self) -> list[SnapshotSet]:
        """Return the snapshot sets of this run as if they were completed."""
        found = []
        for group, changes in self.made.items():
            made = tuple(self._as_made(change) for change in changes)
            found.append(SnapshotSet(min(item.snapshot_id for item in made), group, made, self.now, self.slot))
        return found

    def _as_made(self, change: Change) -> Snapshot:
        after = change.after or {}
        volume = self.state.volume(change.source)
        return Snapshot(
            change.resource,
            volume_id=change.source,
            volume_size=after["volume_size"],
            encrypted=after["encrypted"],
            kms_key_id=volume.kms_key_id if volume is not None else None,
            description=after["description"],
            tags=after["tags"],
        )

    @cached_property
    def awaited(self) -> list[SnapshotSet]:
        """Return the pending snapshots of the present slot that an earlier or parallel run has taken."""
        found = {a_set.key: a_set for target in self.targets if (a_set := self.current.get(target.group))}
        return [a_set for a_set in found.values() if a_set.state == "pending"]
