# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshots by policy: what has to be made now, what may go, and why the rest stays.

What is due is made first, and waited for; only then is anything deleted. A deletion that leans on a snapshot that is
not completed in this run waits for a later one. Limits hold back deletions only.

Private to this collection.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from . import tags as tag_names
from .change import Change, Feature, Plan, Query, Stage, State, Wait, by_id, own_snapshots, tag_filters
from .errors import SpecError, StorageError, UnsafePlan
from .names import is_planned, planned
from .resources import Instance, Snapshot, Volume
from .retention import decide, in_future
from .rotation_guards import BEFORE_THE_RULES, Guards, last_of_their_volumes, others_of, queries
from .rotation_spec import MODES, OWN_TAGS, RotationSpec, parse
from .rotation_units import UNKNOWN_VOLUMES, Unit, source_of, units_of
from .tags import boto3_tags, carried, specification
from .timespan import format_moment, slot_start, slot_value

MOST_TOLD = 1000
"""Of what goes or is held back so many are told unless all are asked for: a controller keeps every result in memory."""
PERCENT_FROM = 10
"""From so many deletions up ``max_delete_percent`` counts: of a few snapshots every one is a large part."""
# EBS: one snapshot of a volume each 15 seconds or so. It is taken a moment later.
_TOO_SOON = frozenset({"SnapshotCreationPerVolumeRateExceeded"})


def needs(spec: RotationSpec, state: State) -> tuple[Query, ...]:
    """What is selected and what there is of snapshots; then the guards' facts about those that no rule keeps."""
    first = _first_queries(spec)
    if not state.answered.issuperset(first):
        return first
    found = (*first, *_second_queries(spec, state))
    if not state.answered.issuperset(found):
        return tuple(dict.fromkeys(found))  # what is due is not known before, and so neither what may go
    return tuple(dict.fromkeys((*found, *_third_queries(spec, state))))


def plan(spec: RotationSpec, state: State, now: datetime) -> Plan:
    """What is due and what may go; `Plan.refused` where a limit or a guard holds that back.

    Raises SpecError where nothing is selected.

    The moment is that of the last answer: were it later, a slot could have begun or a span ended since, and something
    would go of which the guards have not been asked.
    """
    return _Rotation(spec, state, state.now or now).plan()


def result(_spec: RotationSpec, _state: State) -> dict[str, Any]:
    """All that the module tells, the planning knows: see `Plan.told`."""
    return {}


# --- Questions --------------------------------------------------------------------------------------------------------


def _first_queries(spec: RotationSpec) -> tuple[Query, ...]:
    found = [own_snapshots({tag_names.POLICY: spec.policy})]
    if spec.adopt and not spec.captured:
        found.append(own_snapshots(spec.adopt))
    if spec.selects:
        found += by_id("DescribeVolumes", "volume-id", spec.volume_ids)
        found += by_id("DescribeInstances", "instance-id", spec.instance_ids)
        found += by_id("DescribeVolumes", "attachment.instance-id", spec.instance_ids)
        if spec.select_tags:
            operation = "DescribeInstances" if spec.whole_instances else "DescribeVolumes"
            found.append(Query(operation, tag_filters(spec.select_tags)))
    return tuple(dict.fromkeys(found))


def _second_queries(spec: RotationSpec, state: State) -> Iterator[Query]:
    """The volumes of instances that tags have found."""
    if spec.whole_instances and spec.select_tags:
        found = [item.instance_id for item in state.all(Instance) if item.instance_id not in spec.instance_ids]
        yield from by_id("DescribeVolumes", "attachment.instance-id", found)


def _third_queries(spec: RotationSpec, state: State) -> Iterator[Query]:
    """What has to be known of the snapshots that no rule keeps."""
    if state.now is None or spec.captured:
        return
    rotation = _Rotation(spec, state, state.now)
    going = [snapshot for unit in rotation.leaving for snapshot in unit.good]
    yield from queries(spec, going)
    yield from others_of(set(last_of_their_volumes(going, rotation.known).values()))


# --- What is due ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Target:
    """A volume, or an instance with the volumes of it that make a set."""

    group: str
    volumes: tuple[Volume, ...]
    instance: Instance | None = None


def _targets(spec: RotationSpec, state: State) -> list[_Target]:
    """What is selected, sorted by id. Raises SpecError for what does not exist, and for nothing at all."""
    if not spec.selects:
        return []
    found = _instances(spec, state) if spec.whole_instances else _volumes(spec, state)
    if not found and not spec.allow_empty:
        wanted = "instances" if spec.whole_instances else "volumes"
        raise SpecError(
            f"select: no {wanted} in {state.region} are what it names. allow_empty: true lets that pass, and retains "
            "what there is"
        )
    return found


def _volumes(spec: RotationSpec, state: State) -> list[_Target]:
    unknown = [item for item in spec.volume_ids if _usable(state.volume(item)) is None]
    if unknown:
        raise SpecError(f"select.volume_ids: there is no volume {', '.join(unknown)} in {state.region} to capture")
    _require_instances(spec, state)
    chosen = [
        volume
        for volume in state.all(Volume)
        if _usable(volume)
        and (
            volume.volume_id in spec.volume_ids
            or any(link.instance_id in spec.instance_ids for link in volume.attachments)
            or (spec.select_tags and spec.select_tags.items() <= volume.tags.items())
        )
    ]
    return [_Target(item.volume_id, (item,)) for item in sorted(chosen, key=lambda item: item.volume_id)]


def _instances(spec: RotationSpec, state: State) -> list[_Target]:
    _require_instances(spec, state)
    targets = []
    for instance in sorted(state.all(Instance), key=lambda item: item.instance_id):
        named = instance.instance_id in spec.instance_ids
        if not named and not (spec.select_tags and spec.select_tags.items() <= instance.tags.items()):
            continue
        if not instance.alive:
            continue
        volumes = [
            volume
            for volume in state.all(Volume)
            if any(link.instance_id == instance.instance_id for link in volume.attachments)
            and volume.volume_id not in spec.exclude_volume_ids
            and not (spec.exclude_boot_volume and volume.volume_id == instance.root_volume_id)
        ]
        if volumes:
            targets.append(
                _Target(
                    instance.instance_id, tuple(sorted(volumes, key=lambda item: item.volume_id)), instance=instance
                )
            )
        elif named:
            raise SpecError(f"select.instance_ids: {instance.instance_id} has no volume that is not excluded")
    return targets


def _require_instances(spec: RotationSpec, state: State) -> None:
    gone = [item for item in spec.instance_ids if not ((found := state.instance(item)) and found.alive)]
    if gone:
        raise SpecError(f"select.instance_ids: there is no instance {', '.join(gone)} in {state.region}")


def _usable(volume: Volume | None) -> Volume | None:
    return volume if volume is not None and volume.state in ("available", "in-use") else None


def origin_value(volume: Volume) -> str:
    """What a restore needs once the volume is gone: ``gp3 100 3000 125 us-east-1a i-0abc /dev/sdf``.

    Type, GiB, IOPS, MiB/s, zone, instance, device; ``-`` for what there is not.
    """
    link = volume.attachments[0] if volume.attachments else None
    parts = (
        volume.volume_type,
        volume.size,
        volume.iops,
        volume.throughput,
        volume.availability_zone,
        link.instance_id if link else None,
        link.device_name if link else None,
    )
    return " ".join("-" if part in (None, "") else str(part) for part in parts)


# --- The whole --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Held:
    """Why a unit that no rule keeps is not deleted: the guard's name (or ``depends``) and its reason."""

    guard: str
    reason: str


@dataclass
class _Verdict:
    """What the guards say: units that are held back by them, what is reported, what makes the task fail.

    ``warned`` by unit: one that is held back all the same is not warned about.
    """

    held: dict[str, _Held] = field(default_factory=dict)
    warned: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    failing: list[str] = field(default_factory=list)

    def say(self, mode: str, unit: Unit, snapshot_id: str, guard: str, reason: str) -> None:
        """A guard that is in this mode speaks up about a snapshot of the unit."""
        if mode == "keep":
            self.held.setdefault(unit.key, _Held(guard, reason))
        elif mode == "report":
            self.warned[unit.key].append(f"{snapshot_id} is deleted although {reason} (guards.{guard}: report)")
        else:
            self.failing.append(f"{snapshot_id}: {guard}: {reason}")


class _Rotation:
    """One policy in one region at one moment."""

    def __init__(self, spec: RotationSpec, state: State, now: datetime) -> None:
        self.spec, self.state, self.now = spec, state, now
        self.zone = spec.keep.zone if spec.keep is not None else UTC
        self.slot = slot_start(spec.every, now, self.zone)
        self.known = [item for item in state.all(Snapshot) if not item.place]
        self.managed = [item for item in self.known if self._is_managed(item)]
        self.units = units_of(self.managed, now)
        self.targets = _targets(spec, state)
        self.current = self._current()
        self.due = [target for target in self.targets if spec.create and target.group not in self.current]
        self.made = {target.group: self._creations(target) for target in self.due}
        self.creations = [change for changes in self.made.values() for change in changes]
        self.guards = Guards(spec, state, now)

    def _is_managed(self, snapshot: Snapshot) -> bool:
        if tag_names.COPY_OF in snapshot.tags:
            return False  # what another region's run has copied here, that run retains
        if snapshot.tags.get(tag_names.POLICY) == self.spec.policy:
            return True
        adopted = bool(self.spec.adopt) and self.spec.adopt.items() <= snapshot.tags.items()
        return adopted and not self.spec.captured and tag_names.POLICY not in snapshot.tags

    # --- what is due ---

    def _current(self) -> dict[str, Unit]:
        """By volume or instance, what this policy has made for the current slot: completed, or on its way there.

        A set stands for its volumes too: what is made for one of them could not be told from its part of the set.
        """
        made = [unit for unit in self.units if unit.period == self.slot and unit.state != "error" and self._own(unit)]
        parts = {source_of(snapshot): unit for unit in made for snapshot in unit.snapshots}
        return parts | {unit.group: unit for unit in made}

    def _own_tags(self, target: _Target) -> dict[str, str]:
        tags = {tag_names.POLICY: self.spec.policy, tag_names.PERIOD: slot_value(self.slot)}
        if target.instance is not None:
            tags[tag_names.SET] = f"{target.group}/{slot_value(self.slot)}"
        return tags

    def _volume_tags(self, volume: Volume) -> dict[str, str]:
        """What is of the one volume: its own tags, and where it comes from."""
        copied = self._copied(volume)[0] if self.spec.copy_volume_tags else {}
        return {**copied, **self.spec.tags, tag_names.SOURCE: volume.volume_id, tag_names.ORIGIN: origin_value(volume)}

    def _copied(self, volume: Volume) -> tuple[dict[str, str], list[str]]:
        """The tags of a volume that go along, and the keys of those for which a snapshot has no place.

        A volume may have as many as EC2 allows, and the snapshot has the policy's too. The volume's name comes first.
        """
        wanted = {key: value for key, value in carried(volume.tags).items() if key not in self.spec.tags}
        order = sorted(wanted, key=lambda key: (key != "Name", key))
        room = tag_names.MOST_TAGS - OWN_TAGS - len(self.spec.tags)
        return {key: wanted[key] for key in order[:room]}, order[room:]

    def _tag_warnings(self) -> Iterator[str]:
        """What new snapshots do not get of their volumes' tags."""
        for volume in {volume.volume_id: volume for target in self.due for volume in target.volumes}.values():
            left = self._copied(volume)[1] if self.spec.copy_volume_tags else []
            if left:
                yield (
                    f"{volume.volume_id} has more tags than its snapshot can have beside the policy's; not copied: "
                    f"{', '.join(left)}"
                )

    def _creations(self, target: _Target) -> list[Change]:
        period = slot_value(self.slot)
        shared = self._own_tags(target)
        # One question finds all that this run makes; which of it is whose, the rest of the tags tells.
        slot = {key: shared[key] for key in (tag_names.POLICY, tag_names.PERIOD)}
        changes = []
        for volume in target.volumes:
            tags = {**self._volume_tags(volume), **shared}
            # A volume may be attached to several instances, and be in the set of each.
            where = f" on {target.group}" if target.instance else ""
            changes.append(
                Change(
                    "CreateSnapshots" if target.instance else "CreateSnapshot",
                    planned("snapshot", f"{self.spec.policy} {period} of {volume.volume_id}{where}"),
                    self.state.region,
                    self._set_request(target) if target.instance else self._request(volume, tags),
                    f"none has been made since {period}",
                    None,
                    {
                        "state": "completed" if self.spec.wait and not self.spec.captured else "pending",
                        "volume_id": volume.volume_id,
                        "volume_size": volume.size,
                        "encrypted": volume.encrypted,
                        "tags": {**self.spec.tags, **shared} if target.instance else tags,
                    },
                    identity=own_snapshots(slot),
                )
            )
        return changes

    def _description(self, source: str) -> str:
        """EC2 takes only ASCII here, unlike in tags."""
        return f"{self.spec.policy}: {source}".encode("ascii", "replace").decode()

    def _request(self, volume: Volume, tags: Mapping[str, str]) -> dict[str, Any]:
        return {
            "VolumeId": volume.volume_id,
            "Description": self._description(volume.volume_id),
            "TagSpecifications": [specification("snapshot", tags)],
        }

    def _set_request(self, target: _Target) -> dict[str, Any]:
        """One call for the instance. It takes one set of tags for all: those of each volume follow."""
        wanted = {volume.volume_id for volume in target.volumes}
        root = target.instance.root_volume_id if target.instance else None
        attached = {
            volume.volume_id
            for volume in self.state.all(Volume)
            if any(link.instance_id == target.group for link in volume.attachments)
        }
        without = sorted(attached - wanted - {root or ""})
        return {
            "InstanceSpecification": {
                "InstanceId": target.group,
                "ExcludeBootVolume": root in attached and root not in wanted,
                **({"ExcludeDataVolumeIds": without} if without else {}),
            },
            "Description": self._description(target.group),
            "TagSpecifications": [specification("snapshot", {**self.spec.tags, **self._own_tags(target)})],
        }

    def _taggings(self, going: Sequence[Unit]) -> list[Change]:
        """Tags that do not hold yet: the user's, and of a set's parts their volumes'. None on what is *going*."""
        changes = []
        gone = {snapshot_id for unit in going for snapshot_id in unit.ids}
        for snapshot in self._to_tag():
            if snapshot.snapshot_id in gone:
                continue
            wanted = dict(self.spec.tags) if snapshot.tags.get(tag_names.POLICY) == self.spec.policy else {}
            volume = self.state.volume(snapshot.volume_id)
            unfinished = tag_names.SET in snapshot.tags and tag_names.ORIGIN not in snapshot.tags
            if unfinished and volume is not None and snapshot.volume_id not in UNKNOWN_VOLUMES:
                wanted = {**self._volume_tags(volume)}
            missing = {key: value for key, value in wanted.items() if snapshot.tags.get(key) != value}
            if missing:
                changes.append(
                    Change(
                        "CreateTags",
                        snapshot.snapshot_id,
                        self.state.region,
                        {"Tags": boto3_tags(missing)},
                        "of its volume" if unfinished else "as declared",
                        {"tags": dict(snapshot.tags)},
                        {"tags": {**snapshot.tags, **missing}},
                    )
                )
        return changes

    def _to_tag(self) -> Iterator[Snapshot]:
        yield from self.managed
        for change in self.creations:
            if change.action == "CreateSnapshots":
                after = change.after or {}
                yield Snapshot(change.resource, volume_id=after["volume_id"], tags=after["tags"])

    # --- what may go ---

    @cached_property
    def expected(self) -> list[Unit]:
        """What will have been made in this run, as if it were completed."""
        found = []
        for group, changes in self.made.items():
            views = [(change.resource, change.after or {}) for change in changes]
            made = tuple(Snapshot(name, volume_id=after["volume_id"], tags=after["tags"]) for name, after in views)
            found.append(Unit(min(item.snapshot_id for item in made), group, made, self.now, self.slot))
        return found

    @cached_property
    def awaited(self) -> list[Unit]:
        """What an earlier run, or one at this moment, has made for the current slot and is not completed."""
        found = {unit.key: unit for target in self.targets if (unit := self.current.get(target.group))}
        return [unit for unit in found.values() if unit.state == "pending"]

    @cached_property
    def excluded(self) -> dict[str, str]:
        """By unit, why it takes part in no rule."""
        found = ((unit.key, self._excluded(unit)) for unit in self.units)
        return {key: reason for key, reason in found if reason}

    def _excluded(self, unit: Unit) -> str:
        if unit.state != "completed":
            return unit.state
        if not unit.group:
            return "unknown source"
        if self._is_future(unit):
            return "future"
        for snapshot in unit.snapshots:
            for mode in ("keep", "fail"):
                for name, reason in self.guards.stops(snapshot, mode, BEFORE_THE_RULES):
                    return f"{name}: {reason}"
        return ""

    def _is_future(self, unit: Unit) -> bool:
        return in_future(max(unit.start_time, unit.period or unit.start_time), self.now)

    def _decided(self, extra: Sequence[Unit]) -> Mapping[str, tuple[str, ...]]:
        """By unit, the rules that keep it: as things are, and as if *extra* were completed too."""
        if self.spec.keep is None:
            return {}
        counted = [unit.candidate for unit in self.units if unit.key not in self.excluded]
        return decide([*counted, *(unit.candidate for unit in extra)], self.spec.keep, self.now)

    @cached_property
    def kept(self) -> Mapping[str, tuple[str, ...]]:
        """By unit that takes part in the rules, those that keep it once all that is due is there.

        What has been made for the current slot stays whatever the rules say: it would be due again at once.
        """
        decided = dict(self._decided([*self.expected, *self.awaited]))
        decided.update({unit.key: ("current slot",) for unit in self.current.values() if decided.get(unit.key) == ()})
        return decided

    @cached_property
    def unkept(self) -> list[Unit]:
        """The units that no rule keeps, before the guards."""
        return [unit for unit in self.units if unit.key in self.kept and not self.kept[unit.key]]

    @cached_property
    def failed(self) -> list[Unit]:
        """What this policy has made and EC2 has not finished. Of a set, some parts may be good: see `Unit.good`."""
        if self.spec.captured:
            return []
        return [unit for unit in self.units if unit.state == "error" and self._own(unit)]

    @cached_property
    def leaving(self) -> list[Unit]:
        """All that may go, before the guards."""
        return [*self.unkept, *self.failed]

    # --- the plan ---

    def plan(self) -> Plan:
        verdict = _Verdict() if self.spec.captured else self._verdict()
        going = [] if self.spec.captured else [unit for unit in self.leaving if unit.key not in verdict.held]
        leaving = {unit.key for unit in going}
        entries = {unit.key: self._entry(unit, leaving, verdict.held) for unit in (*self.expected, *self.units)}
        taggings = self._taggings(going)
        of_sets = [change for change in taggings if is_planned(change.resource)]
        stages = [
            Stage(tuple(self.creations), patience=_TOO_SOON),
            Stage(tuple(of_sets)),
        ]
        if self.spec.captured:
            return Plan(_filled(stages), warnings=tuple(self._tag_warnings()), told=self._told([], [], entries))
        awaited = [snapshot_id for unit in self.awaited for snapshot_id in unit.ids]
        made = [change.resource for change in self.creations]
        waits = (Wait((*made, *awaited), "completed", final=True),) if made or awaited else ()
        # A set is tagged at once, the rest when it is there.
        stages.append(Stage(tuple(change for change in taggings if not is_planned(change.resource)), waits))
        deletions = [self._deletion(snapshot, unit) for unit in going for snapshot in unit.snapshots]
        everything = [*self.creations, *taggings, *deletions]
        refused = self._refused(going, verdict.failing, everything)
        if refused is None:
            stages.append(Stage(tuple(deletions)))
        # Of what a limit holds back, nothing is deleted "although".
        reported = [text for unit in going for text in verdict.warned[unit.key]] if refused is None else []
        return Plan(
            _filled(stages),
            warnings=(*self._tag_warnings(), *reported),
            told=self._told(going, everything, entries, withheld=refused is not None),
            explained=self._explained(entries, verdict.held, withheld=refused is not None),
            refused=refused,
        )

    def _own(self, unit: Unit) -> bool:
        return all(item.tags.get(tag_names.POLICY) == self.spec.policy for item in unit.snapshots)

    def _deletion(self, snapshot: Snapshot, unit: Unit) -> Change:
        reason = "no rule keeps it"
        if unit.state == "error":
            why = [item.state_reason for item in unit.snapshots if item.state_reason]
            reason = f"it has failed: {why[0] if why else 'EC2 does not say why'}"
        before = {
            "state": snapshot.state,
            "volume_id": snapshot.volume_id,
            "start_time": format_moment(snapshot.start_time) if snapshot.start_time else None,
        }
        return Change(
            "DeleteSnapshot", snapshot.snapshot_id, self.state.region, {}, reason, before, None, disruptive=True
        )

    def _verdict(self) -> _Verdict:
        """What the guards say of the units that may go. A snapshot that has failed holds nothing to guard."""
        verdict = _Verdict()
        for unit in self.leaving:
            for snapshot in unit.good:
                for mode in MODES:
                    for name, reason in self.guards.stops(snapshot, mode):
                        verdict.say(mode, unit, snapshot.snapshot_id, name, reason)
        verdict.failing += self._failing_before_the_rules()
        self._last_ones(verdict)
        if not self.spec.wait:
            self._hold_dependent(verdict)
        return verdict

    def _failing_before_the_rules(self) -> list[str]:
        """What is protected or managed takes no part in the rules; it fails where they would not keep it if it did."""
        names = [name for name in BEFORE_THE_RULES if self.spec.guard(name) == "fail"]
        if not names or self.spec.keep is None:
            return []
        everyone = [unit for unit in self.units if unit.state == "completed" and unit.group]
        extra = [*self.expected, *self.awaited]
        verdicts = decide((unit.candidate for unit in (*everyone, *extra)), self.spec.keep, self.now)
        return [
            f"{snapshot.snapshot_id}: {name}: {reason}"
            for unit in everyone
            if not verdicts[unit.key]
            for snapshot in unit.snapshots
            for name, reason in self.guards.stops(snapshot, "fail", names)
        ]

    def _last_ones(self, verdict: _Verdict) -> None:
        units = {item: unit for unit in self.leaving if unit.key not in verdict.held for item in unit.ids}
        going = [item for unit in units.values() for item in unit.good]
        made = [replace(item, state="completed") for unit in (*self.expected, *self.awaited) for item in unit.snapshots]
        for snapshot_id, volume in last_of_their_volumes(going, [*self.known, *made]).items():
            reason = f"it is the last completed snapshot of {volume}"
            verdict.say(self.spec.guard("last"), units[snapshot_id], snapshot_id, "last", reason)

    def _hold_dependent(self, verdict: _Verdict) -> None:
        """Without a wait nobody sees in this run that what is due is there: what leans on it stays."""
        waiting = {unit.group: unit for unit in (*self.expected, *self.awaited)}
        as_is = self._decided([])
        leaning = [unit for unit in self.unkept if as_is.get(unit.key)]
        leaning += [unit for unit in self.failed if unit.good and unit.group in waiting]
        for unit in leaning:
            verdict.held.setdefault(unit.key, _Held("depends", f"{waiting[unit.group].key} is not completed yet"))

    # --- limits ---

    def _refused(
        self, going: Sequence[Unit], failing: Sequence[str], everything: Sequence[Change]
    ) -> StorageError | None:
        """Why nothing is deleted although something should be: guards that are told to fail, and limits."""
        number = sum(len(unit.good) for unit in going)  # what has failed is no loss
        broken = list(failing)
        if number > self.spec.max_delete:
            broken.append(f"max_delete is {self.spec.max_delete}, and {number} snapshots would be deleted")
        completed = sum(len(unit.snapshots) for unit in self.units if unit.state == "completed")
        if number >= PERCENT_FROM and number * 100 > completed * self.spec.max_delete_percent:
            broken.append(
                f"max_delete_percent is {self.spec.max_delete_percent}, and {number} of {completed} completed "
                "snapshots would be deleted"
            )
        if self.spec.min_keep > 1:
            broken += self._below_minimum(going)
        expected = self.spec.expected_plan
        if expected is not None and everything:
            this = plan_hash(everything)
            if this != expected:
                broken.append(f"expected_plan is {expected}, and this plan is {this}")
        if not broken:
            return None
        done = " What is due is made all the same." if self.creations else ""
        return UnsafePlan(f"Nothing is deleted: {'; '.join(broken)}.{done}")

    def _below_minimum(self, going: Sequence[Unit]) -> list[str]:
        there = Counter(unit.group for unit in self.units if unit.state == "completed")
        there.update(unit.group for unit in (*self.expected, *self.awaited))
        leaving = Counter(unit.group for unit in going if unit.state != "error")
        return [
            f"min_keep is {self.spec.min_keep}, and of {group} {there[group] - count} would be left"
            for group, count in sorted(leaving.items())
            if there[group] - count < self.spec.min_keep
        ]

    # --- what is told ---

    def _told(
        self,
        going: Sequence[Unit],
        everything: Sequence[Change],
        by_unit: Mapping[str, Mapping[str, Any]],
        *,
        withheld: bool = False,
    ) -> dict[str, Any]:
        entries = [by_unit[unit.key] for unit in self.units]
        shown = {
            "all": entries,
            "actions": [entry for entry in entries if entry["decision"] != "keep" or entry["guard"]][:MOST_TOLD],
            "summary": [],
        }[self.spec.report]
        counts: Counter[str] = Counter()
        for entry in entries:
            counts[entry["decision"]] += len(entry["snapshot_ids"])
        return {
            "created": [change.resource for change in self.creations],
            "deleted": [] if withheld else [snapshot_id for unit in going for snapshot_id in unit.ids],
            "decisions": [] if self.spec.captured else shown,
            "counts": {
                "managed": counts.total(),
                "kept": counts["keep"],
                "deleted": 0 if withheld else counts["delete"],
                "withheld": counts["delete"] if withheld else 0,
                "created": len(self.creations),
            },
            "rpo": self._recovery_points(),
            "plan_hash": plan_hash(everything or self.creations),
        }

    def _entry(self, unit: Unit, leaving: set[str], held: Mapping[str, _Held]) -> dict[str, Any]:
        hold = held.get(unit.key)
        reasons = list(self.kept.get(unit.key, ()))
        if hold is None and unit.key in self.excluded:
            # Some guards are asked before the rules: these are named too.
            guard, colon, reason = self.excluded[unit.key].partition(": ")
            hold = _Held(guard, reason) if colon else None
            reasons = [guard]
        if hold is not None:
            reasons = [hold.reason]
        return {
            "decision": "delete" if unit.key in leaving else "keep",
            "snapshot_ids": list(unit.ids),
            "source": unit.group or None,
            "start_time": format_moment(unit.start_time),
            "reasons": reasons,
            "guard": hold.guard if hold else None,
        }

    def _recovery_points(self) -> list[dict[str, Any]]:
        """For every volume or instance that is selected: its newest good snapshot, what is made now included."""
        made = {unit.group: unit for unit in self.expected}
        newest: dict[str, Unit] = {}
        for unit in self.units:
            archived = any(item.storage_tier == "archive" for item in unit.snapshots)
            if unit.state == "completed" and not self._is_future(unit) and not archived:
                newest.setdefault(unit.group, unit)
        groups = dict.fromkeys([*(target.group for target in self.targets), *newest])
        due = {target.group for target in self.due}
        points = []
        for group in groups:
            if not group:
                continue
            point = made.get(group) or newest.get(group)
            points.append(
                {
                    "source": group,
                    "due": group in due,
                    "snapshot_ids": list(point.ids) if point else [],
                    "recovery_point": format_moment(point.start_time) if point else None,
                    "age": max(0, int((self.now - point.start_time).total_seconds())) if point else None,
                }
            )
        return points

    def _explained(self, by_unit: Mapping[str, Mapping[str, Any]], held: Mapping[str, _Held], *, withheld: bool) -> str:
        """Every decision in a line, by what it is a backup of; only groups in which something goes, unless all are
        wanted.
        """
        if self.spec.report == "summary":
            return ""
        groups: dict[str, list[Unit]] = defaultdict(list)
        for unit in [*self.expected, *self.units]:
            groups[unit.group].append(unit)
        lines: list[str] = []
        for group, units in sorted(groups.items()):
            acted_on = any(by_unit[unit.key]["decision"] == "delete" or unit.key in held for unit in units)
            if self.spec.report != "all" and not acted_on:
                continue
            lines.append(f"{group or 'of unknown source'}:")
            for unit in units:
                entry = by_unit[unit.key]
                word = "withheld" if withheld and entry["decision"] == "delete" else entry["decision"]
                why = ", ".join(entry["reasons"]) or "no rule keeps it"
                guard = f" [{entry['guard']}]" if entry["guard"] else ""
                name = " ".join(entry["snapshot_ids"])
                lines.append(f"  {word:8} {entry['start_time']} {name}{guard}: {why}")
        more = len(lines) - MOST_TOLD
        if self.spec.report != "all" and more > 0:
            lines[MOST_TOLD:] = [f"and {more} more lines, which report: all shows"]
        return "\n".join(lines) + "\n" if lines else ""


def _filled(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    return tuple(stage for stage in stages if stage.changes or stage.waits)


def plan_hash(changes: Iterable[Change]) -> str:
    """sha256 over the plan's sorted operations, regions, resources and parameters: no time, age or reason in it."""
    entries = sorted(
        json.dumps(
            [entry["action"], entry["region"], entry.get("profile"), entry["resource"], entry["parameters"]],
            sort_keys=True,
        )
        for entry in (change.published() for change in changes)
    )
    return hashlib.sha256(json.dumps(entries).encode()).hexdigest()


FEATURE = Feature(parse=parse, needs=needs, plan=plan, result=result)
