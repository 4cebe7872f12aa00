# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of `snapshot_restore`: earlier restored volumes, the restore points, the target, and the changes.

All volumes are made in parallel, and attached in parallel. The plan leaves out volumes that cannot be restored, refuses
them, and names them. The volumes do not depend on each other. A restore of an instance restores either all of its
volumes or none.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..._domain.attachments import attachment_limit, attachment_queries, disk, free_device, taken_disks
from ..._domain.origins import origin_of
from ..._domain.succession import successor
from ..._domain.zones import unsupported_site
from ..._kernel import tags as tag_names
from ..._kernel.display import counted, visible
from ..._kernel.errors import Ambiguous, Incomplete, SpecError, StorageError, UnsafePlan, bounded, listed
from ..._kernel.facts import ENCRYPTION_QUERY, IS_USABLE_ZONE
from ..._kernel.plan import Feature, Plan, Stage
from ..._kernel.report import PlanReport
from ..._kernel.resources import Instance, Snapshot, Volume
from ..._kernel.state import Query, State
from ..._kernel.times import format_moment
from .changes import attachment, creation, planned_volume
from .drills import drill_stages, leftovers, record
from .earlier import elsewhere_notes, is_elsewhere, older_notes
from .point_volume import RestorePoint
from .points import Recovery, Restored, Wanted, attached_sources, is_without_sets, recover
from .restored_volumes import Claim, restored
from .search import (
    attached_query,
    drill_queries,
    restored_claims,
    restored_queries,
    set_queries,
    sibling_queries,
    snapshots_by_id,
    source_queries,
    target_queries,
    target_successor_queries,
    unnamed_query,
    usable_zone_queries,
)
from .spec import RestoreSpec, parse
from .stages import restore_stages


@dataclass(frozen=True)
class Part:
    """A volume of the restore, as the module returns it. ``device``: None if it is not attached."""

    source: str
    snapshot_id: str | None
    moment: datetime | None
    volume_id: str
    zone: str
    device: str | None = None
    changed: bool = False

    def view(self) -> dict[str, Any]:
        """Return the part as plain data. A run adds the ``seconds``."""
        return {
            "source": self.source,
            "snapshot_id": self.snapshot_id,
            "point_in_time": None if self.moment is None else format_moment(self.moment),
            "volume_id": self.volume_id,
            "device": self.device,
            "zone": self.zone,
            "changed": self.changed,
            "seconds": None,
        }


def plan(spec: RestoreSpec, state: State, now: datetime) -> Plan:
    """Return the plan of the restore, or of the drill. Raises SpecError, Ambiguous, UnsafePlan, NeedsAnswers."""
    return _drill(spec, state, now) if spec.is_drill else _restore(spec, state, now)


# --- the restore -----------------------------------------------------------------------------------------------------


def _restore(spec: RestoreSpec, state: State, now: datetime) -> Plan:
    state.require(*restored_queries(spec), *target_queries(spec))
    target = _target(spec, state)
    before = _restored_before(spec, state, target)
    claims = before.claims
    wanted = replace(spec, volume_ids=tuple(item for item in spec.volume_ids if item not in before.failures))
    try:
        recovery = _recovery(wanted, state, claims, now)
    except SpecError as error:
        raise _joined([*before.failures.values(), error]) from error
    if spec.name and recovery.ignored:
        raise SpecError(f"name: {'. '.join(recovery.notes)}.")
    there, failures = _volumes_there([one for one in claims if one.source not in recovery.ignored], spec, target)
    detached = {source: volume for source, volume in there.items() if not _is_in_place(volume, spec, target)}
    state.require(*_place_queries(spec, target, making=bool(recovery.points), attaching=bool(detached)))
    zone = _zone(spec, state, target) if recovery.points else spec.zone
    creations = [creation(spec, point, zone, state, _ids_of(point.source, before.beside)) for point in recovery.points]
    devices = _devices(spec, state, target, recovery.points, detached)
    parts = [
        *_parts_there(there, detached, recovery, target, devices),
        *(_part_made(spec, point, zone, devices.get(point.source)) for point in recovery.points),
    ]
    attaches = [
        attachment(part.volume_id, part.source, target, part.device, state.region)
        for part in sorted(parts, key=lambda part: part.source)
        if target is not None and part.device is not None and part.changed
    ]
    stages = restore_stages(target, there, detached, creations, attaches, whole=bool(spec.instance_id))
    return _told(
        stages, parts, [*before.notes, *recovery.notes], {**before.failures, **failures, **_errors(recovery.failures)}
    )


# --- restored before -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Before:
    """The volumes of earlier runs.

    ``claims``: the volumes whose tags EC2's facts do not contradict. ``beside``: those that are in another zone or on
    another instance. ``notes`` on all volumes that do not count. ``failures``: by source, the error of a volume that
    makes a restore impossible.
    """

    claims: list[Claim]
    beside: list[Claim]
    notes: list[str]
    failures: Mapping[str, StorageError]


def _restored_before(spec: RestoreSpec, state: State, target: Instance | None) -> _Before:
    """Return the volumes of earlier runs. The same round asks for their snapshots."""
    zone = spec.zone if target is None else target.availability_zone
    found = restored_claims(spec, state)
    # Such a volume of a named declaration is refused: see `_the_one`.
    beside = [claim for claim in found if not spec.name and is_elsewhere(claim, zone, target)]
    claims = [claim for claim in found if claim not in beside]
    missing = set(spec.volume_ids).difference(claim.source for claim in claims)
    making = bool(missing) if spec.volume_ids else not claims
    attaching = any(not _is_in_place(claim.volume, spec, target) for claim in claims)
    made_from = [claim.volume.snapshot_id for claim in claims if claim.volume.snapshot_id]
    state.require(
        *(snapshots_by_id(made_from) if spec.instance_id else source_queries(spec.volume_ids)),
        *(set_queries(spec.instance_id, ()) if spec.instance_id and not claims else ()),
        *_place_queries(spec, target, making=making, attaching=attaching),
    )
    # EC2 has shown the snapshots of the sources. A volume may be from a snapshot that does not show its source.
    if any(state.snapshot(item) is None for item in made_from):
        state.require(*snapshots_by_id(made_from))
    return _counted_before(spec, state, claims, beside)


def _counted_before(spec: RestoreSpec, state: State, claims: Sequence[Claim], beside: list[Claim]) -> _Before:
    """Return the volumes of earlier runs that EC2's facts do not contradict.

    If only its tags put a volume into the named declaration, its source is refused. For an instance, this raises
    SpecError.
    """
    proven = restored(claims, {item.snapshot_id: item for item in state.all(Snapshot)})
    counted = [claim for claim in claims if claim.volume.volume_id in proven.volume_ids]
    refuted = {claim.source: proven.refuted[claim.volume.volume_id] for claim in claims if claim not in counted}
    if spec.name and spec.instance_id and refuted:
        raise SpecError(f"name: {'. '.join(proven.notes)}.")
    failures = {source: SpecError(f"name: {why}") for source, why in refuted.items()} if spec.name else {}
    counted = [claim for claim in counted if claim.source not in failures]
    notes = [note for note in proven.notes if not spec.name or note not in refuted.values()]
    return _Before(counted, beside, [*elsewhere_notes(beside), *notes], failures)


def _errors(failures: Mapping[str, str]) -> dict[str, StorageError]:
    return {source: SpecError(text) for source, text in failures.items()}


def _ids_of(source: str, claims: Iterable[Claim]) -> tuple[str, ...]:
    return tuple(claim.volume.volume_id for claim in claims if claim.source == source)


def _volumes_there(
    claims: Sequence[Claim], spec: RestoreSpec, target: Instance | None
) -> tuple[dict[str, Volume], dict[str, StorageError]]:
    """Return the restored volume of each source, and by source the error if none counts.

    For an instance, the error of one source is raised.
    """
    there: dict[str, Volume] = {}
    failures: dict[str, StorageError] = {}
    for source in sorted({claim.source for claim in claims}):
        several = [claim.volume for claim in claims if claim.source == source]
        try:
            there[source] = _the_one(source, several, spec, target)
        except StorageError as error:
            if spec.instance_id:
                raise
            failures[source] = error
    return there, failures


def _the_one(source: str, several: Sequence[Volume], spec: RestoreSpec, target: Instance | None) -> Volume:
    """Return the volume of one source that counts. Of several volumes, it is the one that is attached to the target.

    Raises Ambiguous for several volumes, and UnsafePlan for a volume that EBS has lost. Raises SpecError for a volume
    of a named declaration in another zone or on another instance.
    """
    lost = [volume.volume_id for volume in several if volume.state == "error"]
    if lost:
        raise UnsafePlan(
            f"{source}: the restored volume {listed(lost)} has the state error, so EBS has lost it or could not make "
            "it. Delete it to restore again"
        )
    here = [volume for volume in several if target is not None and _holds(target, volume)]
    chosen = here if len(here) == 1 else several
    if len(chosen) > 1:
        raise Ambiguous(
            f"{source}: more than one volume carries {tag_names.SPEC}={spec.declaration(source)} and "
            f"{tag_names.VOLUME}={spec.entry(source)}",
            [volume.volume_id for volume in chosen],
            "Remove these tags from the wrong ones",
        )
    volume = chosen[0]
    zone = spec.zone if target is None else target.availability_zone
    if is_elsewhere(Claim(volume, source), zone, target):
        raise SpecError(
            f"name: {volume.volume_id} was restored before from {source}, and is in another zone or attached to "
            "another instance. Give another name to restore again"
        )
    return volume


def _holds(instance: Instance, volume: Volume) -> bool:
    """Return whether the volume is attached to the instance, and is not detaching."""
    return any(link.instance_id == instance.instance_id and not link.leaving for link in volume.attachments)


def _is_in_place(volume: Volume, spec: RestoreSpec, target: Instance | None) -> bool:
    """Return whether the volume is in its place. Its users decide on its other properties."""
    return not spec.target_id or (target is not None and _holds(target, volume))


# --- restore points --------------------------------------------------------------------------------------------------


def _recovery(spec: RestoreSpec, state: State, claims: Sequence[Claim], now: datetime) -> Recovery:
    """Return the volumes to restore, and their snapshots. *claims*: the volumes that are restored already."""
    wanted = _wanted(spec, state, claims, now)
    recovery = recover(state.all(Snapshot), wanted)
    counted = [claim for claim in claims if claim.source not in recovery.ignored]
    older = older_notes(counted, state.all(Snapshot), wanted)
    return replace(recovery, notes=(*recovery.notes, *older))


def _wanted(spec: RestoreSpec, state: State, claims: Iterable[Claim], now: datetime) -> Wanted:
    """Return the request as soon as EC2 has shown the snapshots for it."""
    restored_before = tuple(
        Restored(claim.source, claim.volume.snapshot_id or "", claim.volume.create_time or now) for claim in claims
    )
    wanted = Wanted(spec.volume_ids, spec.instance_id, spec.before, state.region, restored_before)
    if not spec.instance_id:
        return wanted
    begun = [found for item in restored_before if (found := state.snapshot(item.snapshot_id)) is not None]
    state.require(*set_queries(spec.instance_id, begun))
    if is_without_sets(state.all(Snapshot), wanted):
        state.require(attached_query(spec.instance_id), unnamed_query())
        state.require(*sibling_queries(attached_sources(state.all(Snapshot), spec.instance_id)))
    return wanted


# --- where to --------------------------------------------------------------------------------------------------------


def _target(spec: RestoreSpec, state: State) -> Instance | None:
    """Return the target instance, or None for a zone. Raises SpecError if it cannot take volumes."""
    if not spec.target_id:
        return None
    found = state.instance(spec.target_id)
    if found is not None and found.alive:
        return found
    state.require(*target_successor_queries(spec.target_id, found))
    _require_unreplaced(spec, state)
    if found is None:
        raise SpecError(
            f"target_instance_id: {spec.target_id} does not exist in {state.region}. Check the id and the region."
        )
    raise SpecError(f"target_instance_id: {spec.target_id} is {found.state}. Name a running or stopped instance.")


def _require_unreplaced(spec: RestoreSpec, state: State) -> None:
    living = successor(state, spec.target_id)
    if living is not None:
        raise SpecError(
            f"target_instance_id: {spec.target_id} was replaced by {living.instance_id}, which is {living.state}. Name "
            f"{living.instance_id}, or start {spec.target_id} first."
        )


def _place_queries(spec: RestoreSpec, target: Instance | None, *, making: bool, attaching: bool) -> Iterator[Query]:
    """Return the queries about the zone of the volumes, or their instance."""
    if making:
        yield from (ENCRYPTION_QUERY, *usable_zone_queries(spec))
    if target is not None and (making or attaching):
        yield from attachment_queries(target)
        yield from target_successor_queries(spec.target_id, target)


def _zone(spec: RestoreSpec, state: State, target: Instance | None) -> str:
    """Return the zone to make volumes in. Raises SpecError if EC2 has no such available zone."""
    if target is not None:
        return target.availability_zone
    if not IS_USABLE_ZONE.of(state, spec.zone):
        raise SpecError(f"zone: EC2 shows no usable zone {spec.zone} in {state.region}. Name another one.")
    return spec.zone


def _devices(
    spec: RestoreSpec,
    state: State,
    target: Instance | None,
    points: Sequence[RestorePoint],
    detached: Mapping[str, Volume],
) -> dict[str, str]:
    """Return, by source, the device of each volume to attach: the recorded one if it is free, or else another free one.

    Raises SpecError or UnsafePlan if the target does not take the volumes.
    """
    recorded = {point.source: point.recorded_device for point in points}
    for source, volume in detached.items():
        made_from = state.snapshot(volume.snapshot_id)
        recorded[source] = origin_of(made_from).device_name if made_from is not None else None
    if target is None or not recorded:
        return {}
    site = unsupported_site(target.availability_zone, target.facts)
    if site:
        raise UnsafePlan(
            f"target_instance_id: {target.instance_id} is at {site}, where this collection makes and attaches no "
            "volumes. Restore to a zone of the region, and attach the volumes by other means"
        )
    _require_unreplaced(spec, state)
    limit = attachment_limit(state, target)
    if limit is not None and (number := limit.excess(len(recorded))):
        raise UnsafePlan(
            f"target_instance_id: the type {target.instance_type} of {target.instance_id} takes {limit.text}, and "
            f"{target.instance_id} would have {number}. First detach other volumes, or choose a larger type"
        )
    return _chosen_devices(target, taken_disks(state, target), recorded)


def _chosen_devices(target: Instance, taken: set[str], recorded: Mapping[str, str | None]) -> dict[str, str]:
    """Return the devices by source. Recorded names come first, so that no other volume gets one of them."""
    chosen: dict[str, str] = {}
    for source, name in sorted(recorded.items()):
        if name is not None and free_device(target, taken, name) == name:
            chosen[source] = name
            taken = {*taken, disk(name)}
    for source in sorted(recorded.keys() - chosen.keys()):
        name = free_device(target, taken)
        if name is None:
            raise SpecError(
                f"target_instance_id: {target.instance_id} has no free device name for {source}. Detach another "
                "volume first."
            )
        chosen[source] = name
        taken = {*taken, disk(name)}
    return chosen


# --- the changes -----------------------------------------------------------------------------------------------------


def _parts_there(
    there: Mapping[str, Volume],
    detached: Mapping[str, Volume],
    recovery: Recovery,
    target: Instance | None,
    devices: Mapping[str, str],
) -> Iterator[Part]:
    """Return the volumes that were restored before. Volumes that are not in their place are attached again."""
    for source, volume in there.items():
        links = [link for link in volume.attachments if target is None or link.instance_id == target.instance_id]
        device = devices[source] if source in detached else links[0].device_name if links else None
        moment = recovery.moments.get(volume.snapshot_id or "")
        yield Part(
            source,
            volume.snapshot_id,
            moment,
            volume.volume_id,
            volume.availability_zone,
            device,
            changed=source in detached,
        )


def _part_made(spec: RestoreSpec, point: RestorePoint, zone: str, device: str | None = None) -> Part:
    return Part(
        point.source,
        point.snapshot.snapshot_id,
        point.moment,
        planned_volume(spec, point.source),
        zone,
        device,
        changed=True,
    )


# --- the drill -------------------------------------------------------------------------------------------------------


def _drill(spec: RestoreSpec, state: State, now: datetime) -> Plan:
    of_sources = set_queries(spec.instance_id, ()) if spec.instance_id else source_queries(spec.volume_ids)
    state.require(*drill_queries(spec), *of_sources, ENCRYPTION_QUERY, *usable_zone_queries(spec))
    recovery = _recovery(spec, state, (), now)
    zones = {point.source: _drill_zone(spec, state, point) for point in recovery.points}
    creations = [creation(spec, point, zones[point.source], state) for point in recovery.points]
    parts = [_part_made(spec, point, zones[point.source]) for point in recovery.points]
    left = leftovers(spec, state, now, len(creations))
    made = {point.source: planned_volume(spec, point.source) for point in recovery.points}
    records = [record(point, made[point.source], state.region, now) for point in recovery.points]
    known = [change for change in records if change is not None]
    stages = drill_stages(creations, known, left.volumes, state.region, whole=bool(spec.instance_id))
    plan = _told(stages, parts, [*left.notes, *recovery.notes], _errors(recovery.failures))
    notes = [*plan.report.result["notes"], *bounded(visible(item.note) for item in left.volumes)]
    warnings = [*plan.warnings, *bounded(item.warning for item in left.volumes)]
    report = replace(plan.report, result={**plan.report.result, "notes": notes})
    return replace(plan, warnings=tuple(warnings), report=report)


def _drill_zone(spec: RestoreSpec, state: State, point: RestorePoint) -> str:
    """Return the zone that the task names, or else that of the source, or else the first one of the region."""
    if spec.zone:
        return _zone(spec, state, None)
    usable = sorted(zone for zone, is_usable in IS_USABLE_ZONE.all(state).items() if is_usable)
    if not usable:
        raise SpecError(f"zone: EC2 shows no usable Availability Zone in {state.region}. Name one.")
    return point.zone if point.zone in usable else usable[0]


# --- the result ------------------------------------------------------------------------------------------------------


def _told(
    stages: tuple[Stage, ...],
    parts: Iterable[Part],
    notes: Iterable[str],
    failures: Mapping[str, StorageError],
) -> Plan:
    """Return the plan and its result for *parts*. Raises the errors when no volume can be restored."""
    ordered = sorted(parts, key=lambda part: part.source)
    errors = [failures[source] for source in sorted(failures)]
    if errors and not ordered:
        raise _joined(errors)
    refused = Incomplete(f"{_text_of(errors)}. The task restores the other volumes", *errors) if errors else None
    # The notes are a part of the result, and playbooks show them.
    shown = list(dict.fromkeys(visible(note) for note in notes))
    return Plan(
        stages,
        tuple(shown),
        report=PlanReport(
            {"volumes": [part.view() for part in ordered], "notes": shown},
            unfinished={"notes": shown},
            measured="volumes",
        ),
        refused=refused,
    )


def _text_of(errors: Iterable[StorageError]) -> str:
    return ". ".join(bounded(str(error).rstrip(".") for error in errors))


def _joined(errors: Sequence[StorageError]) -> StorageError:
    return errors[0] if len(errors) == 1 else Incomplete(_text_of(errors), *errors)


def result(_spec: RestoreSpec, _state: State) -> dict[str, Any]:
    """Return ``volumes`` and ``notes`` from the plan, since a drill's volumes are gone when it is over."""
    return {"volumes": [], "notes": []}


def headline(spec: RestoreSpec, result: Mapping[str, Any]) -> str:
    """Return the number of volumes, their moments, and for a drill the time until they were available."""
    volumes = result["volumes"]
    moments = sorted({item["point_in_time"] for item in volumes if item["point_in_time"]})
    span = f" of {' to '.join([moments[0], moments[-1]] if len(moments) > 1 else moments)}" if moments else ""
    seconds = [item["seconds"] for item in volumes if item["seconds"] is not None]
    took = f", available after {max(seconds)} s" if spec.is_drill and seconds else ""
    return f"{counted(len(volumes), 'volume')}{span}{took}"


FEATURE = Feature(parse=parse, plan=plan, result=result, headline=headline, estimates=True)
