# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan for the volumes of a declaration: create, modify, move, swap, detach or delete them.

Changes without an interruption come first. If volumes must be detached from running instances, these follow: a hold,
the stop, the detach, snapshots, copies, the attachments and the start. Only then does the plan mark or delete replaced
volumes. Every failure from the first detach to the last attachment is rolled back.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ..._domain.hold import forget, has_passing_address, lost_address, wants_start
from ..._domain.power_cycle import stop_queries
from ..._domain.succession import successor_queries
from ..._kernel import tags as tag_names
from ..._kernel.display import counted
from ..._kernel.errors import Incomplete, StorageError, UnsafePlan, bounded, listed
from ..._kernel.facts import type_queries
from ..._kernel.plan import Feature, Plan, Stage
from ..._kernel.resources import Volume
from ..._kernel.state import Query, State, by_id
from .attaching import await_creation
from .claims import proof_queries
from .creation import plan_creation
from .draft import Draft
from .drift import (
    compare,
    key_arn,
    key_queries,
)
from .former_attachments import recorded_attachments
from .free_devices import Devices
from .guards import at_rest, faults, require_mendable, require_untouched, unproven_claim
from .identity import first_queries, kept_group_queries, matches
from .in_place import comes_off, plan_modification, plan_tags
from .match import Match
from .placing import plan_attachments, plan_removal
from .power import involved_instances, is_over, stopping_instances
from .result import result
from .sites import BY_OTHER_MEANS, require_in_region
from .spec import VolumesSpec, parse
from .stages import stages_of
from .swaps import discard_copy, finish_swap, plan_swap
from .targets import gone_queries, refused_instances
from .undeclared import no_longer_declared, orphans, plan_purge


def plan(spec: VolumesSpec, state: State, now: datetime) -> Plan:
    """Return the plan that establishes the declaration. Raises the errors if no change is left to plan.

    Three queries suffice for a declaration without drift. Further queries are only about changes. If an entry or an
    instance cannot be planned, the plan refuses it, names it, and covers the others.
    """
    state.require(*first_queries(spec))
    state.require(*proof_queries(spec, state), *gone_queries(spec, state))
    state.require(*kept_group_queries(spec, state))
    refusals = dict[str, StorageError](refused_instances(spec, state))
    while True:
        draft = _draft(spec, state, now, refusals)
        failed = _fill(draft)
        if not failed:
            state.require(*_questions(draft))
            failed = faults(draft)
        if not failed:
            made, failed = _staged(draft)
            if not failed:
                return _finished(draft, made)
        # Other refusals may follow from the first ones, so the draft starts again without the refused entries.
        refusals = {**refusals, **failed}


def _draft(spec: VolumesSpec, state: State, now: datetime, refusals: Mapping[str, StorageError]) -> Draft:
    """Return an empty draft without the entries, instances and purges in *refusals*."""
    found = matches(spec, state)
    unfound = {match.target.label: match.refused for match in found if match.refused is not None}
    return Draft(spec, state, now, found, Devices(spec, state, found), refusals={**unfound, **refusals})


def _fill(draft: Draft) -> dict[str, StorageError]:
    """Plan all entries, and then the volumes without an entry.

    Return why entries, and purges by instance, must be refused.
    """
    failed: dict[str, StorageError] = {}
    for match in draft.matches:
        label, lengths = match.target.label, draft.own("")
        try:
            _plan_entry(draft, match)
        except StorageError as error:
            failed[label] = error
        draft.own(label, lengths)
    if draft.spec.purge_volumes and not failed:
        failed = plan_purge(draft)
    draft.warnings += no_longer_declared(orphans(draft))
    return failed


def _questions(draft: Draft) -> Iterator[Query]:
    """Yield the queries that the draft needed so far."""
    holders = {link.instance_id for links in draft.leaving.values() for link in links}
    holders.update(
        link.instance_id for match in draft.matches for link in (match.volume.attachments if match.volume else ())
    )
    holders.update(
        former.instance_id
        for match in draft.matches
        for volume in (match.volume, *match.replaced)
        if volume is not None
        for former in recorded_attachments(volume)
    )
    unknown = sorted(item for item in holders if draft.state.instance(item) is None)
    yield from by_id("DescribeInstances", "instance-id", unknown)
    yield from draft.asked
    stopping = stopping_instances(draft)
    yield from stop_queries(stopping, lose_instance_store=draft.spec.lose_instance_store)
    joined = {str(change.parameters["InstanceId"]) for change in draft.attaches}
    types = {item.instance_type for name in joined if (item := draft.state.instance(name)) is not None}
    yield from type_queries(*sorted(types))
    yield from successor_queries(joined.intersection(item.instance_id for item in at_rest(draft, joined)))


def _plan_entry(draft: Draft, match: Match) -> None:
    label = match.target.label
    if label not in draft.refusals and (unproven := unproven_claim(draft, match)) is not None:
        draft.refusals[label] = unproven
    if label in draft.refusals:
        draft.warnings += match.doubts
        return
    for stale in match.stale:
        discard_copy(draft, match, stale)
    volume = match.volume
    state = match.target.spec.state
    draft.warnings += match.doubts
    if match.copies:
        copies = listed(item.volume_id for item in match.copies)
        verb = "carries" if len(match.copies) == 1 else "carry"
        draft.warnings.append(
            f"{match.target.label}: {copies} {verb} the tags of {match.name} too. Remove {tag_names.SPEC} and "
            f"{tag_names.VOLUME} from the copies, so that tasks find the volume by its name"
        )
    for swap in match.swaps:
        # If the last swap was overtaken, the volume that counts is not the copy of that swap.
        new = volume.volume_id if volume is not None else ""
        finish_swap(draft, match, swap.old, new, is_proven=swap.is_proven)
    if volume is None:
        if state == "present":
            plan_creation(draft, match)
    elif state == "present":
        _converge(draft, match, volume)
    else:
        plan_removal(draft, match, volume)
    if volume is not None and volume.operator is not None:
        require_untouched(draft, match, volume)


def _converge(draft: Draft, match: Match, volume: Volume) -> None:
    if volume.state == "error":
        # The volume may have held data for years, or no run may have made it: EC2 shows no difference.
        raise UnsafePlan(
            f"{match.target.label}: {volume.volume_id} is in the state error, since EBS has lost it or could not "
            "create it. To get a new one, first delete this one with state: absent and final_snapshot: false"
        )
    draft.asked += key_queries(match)
    wanted_key = match.target.spec.kms_key_id
    if wanted_key is not None and volume.encrypted and key_arn(draft.state, wanted_key) is None:
        draft.warnings.append(
            f"{match.target.label}: KMS does not show the key {wanted_key}, so it is not compared with "
            f"{volume.kms_key_id}"
        )
    drift = compare(match, draft.state)
    if drift.swap:
        require_in_region(match.target.label, volume, BY_OTHER_MEANS)
    require_mendable(draft, match, drift)
    await_creation(draft, volume)
    if drift.swap:
        plan_swap(draft, match, volume)
        return
    plan_tags(draft, match, volume)
    apart = comes_off(draft, match, volume, drift)
    moving = plan_attachments(draft, match, volume, apart=apart)
    plan_modification(draft, match, volume, drift, moving=moving, apart=apart)


def _staged(draft: Draft) -> tuple[tuple[Stage, ...], dict[str, StorageError]]:
    """Return the stages of the plan, and why entries must be refused, since their resources have no room for tags."""
    stopping = stopping_instances(draft)
    involved = involved_instances(draft, stopping)
    restored = [*stopping, *(item for item in involved if wants_start(item))]
    started = [item for item in involved if item.state in ("running", "pending") and is_over(draft, item)]
    draft.arrivals += [forget(item, draft.state.region, "end the hold") for item in started]
    draft.warnings += [lost_address(item) for item in stopping if has_passing_address(item)]
    return stages_of(draft, stopping, restored)


def _finished(draft: Draft, stages: tuple[Stage, ...]) -> Plan:
    """Return the plan. Raises the refusals if it changes nothing."""
    refused = _refused(draft)
    if refused is not None and not any(stage.changes for stage in stages):
        raise refused
    return Plan(stages, tuple(dict.fromkeys(draft.warnings)), refused=refused)


def _refused(draft: Draft) -> StorageError | None:
    """Return the error of the task after the other entries are applied, or None."""
    order = [*draft.spec.instance_ids, *(match.target.label for match in draft.matches)]
    found = [draft.refusals[name] for name in order if name in draft.refusals]
    errors = list({str(error): error for error in found}.values())
    if len(errors) < 2:
        return next(iter(errors), None)
    return Incomplete("; ".join(bounded(str(error).rstrip(".") for error in errors)), *errors)


def headline(_spec: VolumesSpec, result: Mapping[str, Any]) -> str:
    """Return the number of volumes of the declaration, and the number of deferred changes."""
    there = {entry["volume_id"] for entry in result["volumes"] if entry["volume_id"]}
    deferred = f", {counted(len(result['deferred']), 'change')} deferred" if result["deferred"] else ""
    return f"{counted(len(there), 'volume')} of the declaration{deferred}"


FEATURE = Feature(parse=parse, plan=plan, result=result, headline=headline, estimates=True)
