# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Instances stopped, running, or back in the state before a run.

The hold on an instance (`hold`) shows that a run has stopped it and will start it again.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from ..._domain.hold import forget, has_passing_address, hold_of, lost_address, wants_start
from ..._domain.instance_facts import relaunch_troubles, root_volume_troubles
from ..._domain.load_balancers import balanced_by, balancer_queries
from ..._domain.moves import half_moved_queries
from ..._domain.power_cycle import (
    held_stop,
    plain_stop,
    running_of,
    start_stages,
    stop_queries,
    stop_troubles,
    unanswered_about,
)
from ..._domain.replacement import REJECTED, SERVING, Replacement, predecessor, started_since, trial_record
from ..._domain.succession import claimants, on_trial_for, successor_queries, undecided
from ..._domain.succession_doubts import claim_warnings, undecided_warning
from ..._kernel import tags as tag_names
from ..._kernel.errors import Ambiguous, SpecError, Unanswered, listed
from ..._kernel.facts import CLASSIC_LOAD_BALANCERS_QUERY, TARGET_GROUPS_QUERY
from ..._kernel.ids import require_id
from ..._kernel.instance_proofs import can_be_on_trial
from ..._kernel.plan import Change, Feature, Plan, Stage, apart
from ..._kernel.resources import Instance, view
from ..._kernel.state import Query, State, by_id
from ..._kernel.times import parse_span
from .refusals import Refusal, gone_ones, half_moved_ones, refusing, replaced_ones, unknown_ones


@dataclass(frozen=True)
class PowerSpec:
    """The options of `instance_power`, checked.

    If ``instance_ids`` is None, all instances of the region with a hold are meant (only with restored).
    """

    instance_ids: tuple[str, ...] | None
    state: str
    remember: bool
    older_than: timedelta
    hold_time: timedelta
    force: bool
    hibernate: bool
    skip_os_shutdown: bool
    lose_instance_store: bool
    force_start: bool
    for_relaunch: bool
    relaunch_strategy: str = "replace_instance"

    @property
    def asks_balancers(self) -> bool:
        """Return whether a stop looks for load balancers. A relaunch looks for them itself, and a stop without a hold
        is permanent.
        """
        return self.remember and not self.for_relaunch

    @property
    def stop_parameters(self) -> dict[str, bool]:
        """The parameters of StopInstances beside the ids, with only those that the user has set."""
        said = {"Force": self.force, "Hibernate": self.hibernate, "SkipOsShutdown": self.skip_os_shutdown}
        return {name: True for name, value in said.items() if value}


def parse(params: Mapping[str, Any], _region: str) -> PowerSpec:
    """Return the module's options as a spec. Raises SpecError for mistakes that can be found without a call to EC2."""
    state = params["state"]
    ids = params.get("instance_ids")
    if ids is None and state != "restored":
        raise SpecError(f"instance_ids: is required with state: {state}. Set it")
    if state != "stopped":
        given = [
            name
            for name in ("remember", "for_relaunch", "force", "hibernate", "skip_os_shutdown", "lose_instance_store")
            if params[name]
        ]
        if given:
            raise SpecError(f"{', '.join(given)}: needs state: stopped. Use that state, or remove the option")
    elif params["force_start"]:
        raise SpecError("force_start: needs state: running or restored. Use one of them, or remove the option")
    if params["hibernate"] and (params["force"] or params["skip_os_shutdown"]):
        raise SpecError(
            "hibernate: excludes force and skip_os_shutdown, since the operating system must take part. Remove them"
        )
    return PowerSpec(
        instance_ids=None
        if ids is None
        else tuple(dict.fromkeys(require_id("instance", item, "instance_ids") for item in ids)),
        state=state,
        remember=params["remember"],
        older_than=parse_span(params["older_than"], "older_than"),
        hold_time=timedelta(seconds=params["wait_timeout"]),
        force=params["force"],
        hibernate=params["hibernate"],
        skip_os_shutdown=params["skip_os_shutdown"],
        lose_instance_store=params["lose_instance_store"],
        force_start=params["force_start"],
        for_relaunch=params["for_relaunch"],
        relaunch_strategy=params.get("relaunch_strategy") or "replace_instance",
    )


# --- existing instances ----------------------------------------------------------------------------------------------


def _instance_queries(spec: PowerSpec) -> tuple[Query, ...]:
    """Return the query for the given instances, or for all that have a hold."""
    if spec.instance_ids is None:
        return (Query("DescribeInstances", (("tag-key", (tag_names.RESTORE_STATE,)),)),)
    return by_id("DescribeInstances", "instance-id", spec.instance_ids)


def _known(spec: PowerSpec, state: State) -> list[Instance]:
    """Return the instances of the task that EC2 knows, in the order of the option, or else by id."""
    if spec.instance_ids is not None:
        found = [state.instance(instance_id) for instance_id in spec.instance_ids]
        return [instance for instance in found if instance is not None]
    return sorted(state.all(Instance), key=lambda instance: instance.instance_id)


def _gone(spec: PowerSpec, state: State) -> list[str]:
    """Return the given ids of instances that EC2 does not know, or that are terminated."""
    found = {item: state.instance(item) for item in spec.instance_ids or ()}
    return [item for item, instance in found.items() if instance is None or not instance.alive]


# --- stopped ---------------------------------------------------------------------------------------------------------


def plan(spec: PowerSpec, state: State, now: datetime) -> Plan:
    """Return the plan that brings the instances into the wanted state. Raises SpecError, Ambiguous, UnsafePlan.

    If an instance cannot be planned, the plan refuses it, names it, and covers the others.
    """
    state.require(*_instance_queries(spec))
    if spec.state == "restored":
        return _plan_restored(spec, state, now)
    gone = _gone(spec, state)
    state.require(*successor_queries(gone))
    living = [item for item in _known(spec, state) if item.instance_id not in gone]
    if spec.state == "stopped":
        made, refusals, verb = *_stopped(spec, state, living, now), "stops"
    else:
        made, refusals, verb = *_started(spec, state, living), "starts"
    return refusing(made, [*gone_ones(state, gone), *refusals], verb)


def _stopped(spec: PowerSpec, state: State, instances: Sequence[Instance], now: datetime) -> tuple[Plan, list[Refusal]]:
    stopping = running_of(instances)
    state.require(
        *stop_queries(instances, lose_instance_store=spec.lose_instance_store),
        *(query for item in stopping for query in _balancer_queries(spec, state, item)),
    )
    refusals = [refusal for item in stopping for refusal in _stop_refusals(spec, state, item)]
    refused = {one.instance_id for one in refusals}
    instances = [item for item in instances if item.instance_id not in refused]
    stopping = [item for item in stopping if item.instance_id not in refused]
    if spec.remember:
        stages = held_stop(instances, state.region, now, spec.hold_time, spec.stop_parameters, final=True)
    else:
        stages = plain_stop(instances, state.region, spec.stop_parameters, final=True)
    warnings = [lost_address(item) for item in stopping if has_passing_address(item)]
    if spec.asks_balancers:
        warnings += _balancer_warnings(state, stopping)
    if spec.remember:
        warnings += [
            f"{item.instance_id} has a tag {tag_names.RESTORE_STATE} that this collection did not write "
            f"({item.tags[tag_names.RESTORE_STATE]!r}). The hold of this run replaces it"
            for item in stopping
            if tag_names.RESTORE_STATE in item.tags and hold_of(item) is None
        ]
    return Plan(_each(stages), tuple(warnings)), refusals


def _balancer_queries(spec: PowerSpec, state: State, instance: Instance) -> Iterator[Query]:
    """Yield the queries for the load balancers of the instance. The stop does not depend on the answers."""
    if spec.asks_balancers:
        yield from (dataclasses.replace(query, optional=True) for query in balancer_queries(state, instance))


def _balancer_warnings(state: State, stopping: Iterable[Instance]) -> Iterator[str]:
    """Yield warnings about load balancers of a stopping instance, and about those that did not answer."""
    for instance in stopping:
        for balancers in balanced_by(state, instance):
            yield (
                f"{instance.instance_id} is in the {balancers}. The instance answers no request until it runs again "
                "and passes the health check"
            )
    lists = (TARGET_GROUPS_QUERY, CLASSIC_LOAD_BALANCERS_QUERY)
    asked = {"DescribeTargetHealth", *(query.operation for query in lists)}
    refusals = dict.fromkeys(str(error) for query, error in state.unanswered.items() if query.operation in asked)
    if refusals:
        yield f"AWS does not show which load balancers the instances of this task have: {listed(refusals)}"


def _stop_refusals(spec: PowerSpec, state: State, instance: Instance) -> Iterator[Refusal]:
    """Yield the obstacles to the stop of a running instance.

    If facts about the instance are missing, this is the only reported obstacle.
    """
    name = instance.instance_id
    silent = unanswered_about(state, instance)
    if silent:
        yield Refusal(name, f"{name}: {' '.join(map(str, silent))}", kind=Unanswered, causes=silent)
        return
    if spec.for_relaunch:
        is_replaced = spec.relaunch_strategy == "replace_instance"
        for trouble in relaunch_troubles(instance, state.region) if is_replaced else root_volume_troubles(instance):
            yield Refusal(name, f"{name} cannot be relaunched: {trouble}")
    troubles = stop_troubles(
        state,
        instance,
        lose_instance_store=spec.lose_instance_store,
        remember=spec.remember,
        hibernate=spec.hibernate,
    )
    yield from (Refusal(name, f"{name} {trouble}") for trouble in troubles)


# --- running ---------------------------------------------------------------------------------------------------------


def _started(spec: PowerSpec, state: State, instances: Sequence[Instance]) -> tuple[Plan, list[Refusal]]:
    starting = [instance for instance in instances if instance.state in ("stopped", "stopping")]
    # Even a forced start must not leave an instance without its data volumes.
    state.require(*successor_queries(item.instance_id for item in starting))
    state.require(*half_moved_queries(state, [item.instance_id for item in starting]))
    refusals = list(half_moved_ones(state, starting))
    if not spec.force_start:
        known = {one.instance_id for one in refusals}
        refusals += replaced_ones(state, [item for item in starting if item.instance_id not in known])
    warnings = () if spec.force_start else claim_warnings(state, [item.instance_id for item in starting])
    refused = {one.instance_id for one in refusals}
    starting = [item for item in starting if item.instance_id not in refused]
    pending = [instance for instance in instances if instance.state == "pending"]
    reason = "start the {state} instance"
    return Plan(_each(start_stages(starting, pending, state.region, reason, final=True)), warnings), refusals


def _unmarked(state: State, instances: Iterable[Instance]) -> list[Replacement]:
    """Return the replacements of instances with a hold by successors without the tag `tags.TRIAL`.

    Earlier versions wrote no such tag. But their runs also removed the hold once the successor served.
    """
    found: list[Replacement] = []
    for instance in instances:
        several = undecided(state, instance.instance_id)
        direct = [item for item in several if predecessor(item.successor) == instance.instance_id]
        unmarked = [item for item in direct if item.waits_for_start and tag_names.TRIAL not in item.successor.tags]
        found += unmarked if len(unmarked) == len(claimants(state, instance.instance_id)) else []
    return found


# --- restored --------------------------------------------------------------------------------------------------------


@dataclass
class _Held:
    """The instances with a hold, by the action of the run. ``done``: instances that run, so their hold has ended."""

    done: list[Instance] = field(default_factory=list)
    pending: list[Instance] = field(default_factory=list)
    starting: list[Instance] = field(default_factory=list)
    unproven: list[Instance] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(self, spec: PowerSpec, instance: Instance, now: datetime) -> None:
        """Put the instance into the list that its hold and EC2's facts decide."""
        hold = hold_of(instance)
        if hold is None:
            value = instance.tags[tag_names.RESTORE_STATE]
            self.warnings.append(
                f"{instance.instance_id} has a tag {tag_names.RESTORE_STATE} that this collection did not write "
                f"({value!r}). The task does not change the instance"
            )
        elif spec.instance_ids is None and not hold.is_over(now, spec.older_than):
            if hold.is_impossible(now) and not hold.is_spent(instance) and not hold.is_proven(instance):
                self.unproven.append(instance)
        elif instance.state == "pending":
            self.pending.append(instance)
        elif hold.is_spent(instance) or instance.state == "running":
            self.done.append(instance)
        else:
            (self.starting if hold.is_proven(instance) else self.unproven).append(instance)


def _plan_restored(spec: PowerSpec, state: State, now: datetime) -> Plan:
    state.require(*_restoring_queries(spec, state))
    refusals = list(unknown_ones(state, spec.instance_ids or ()))
    held = _Held()
    for instance in _known(spec, state):
        if instance.alive and tag_names.RESTORE_STATE in instance.tags:
            held.add(spec, instance, now)
    warnings = [*held.warnings, *_unproven_warning(held.unproven)]
    halves = list(half_moved_ones(state, held.starting))
    held.starting = [item for item in held.starting if item.instance_id not in {one.instance_id for one in halves}]
    if spec.instance_ids is None:
        warnings += [
            f"{one.trouble}. The task does not start {one.instance_id}. {one.advice.rstrip('.')}" for one in halves
        ]
    else:
        refusals += halves
    given_up: list[tuple[Instance, Instance]] = []
    if not spec.force_start:
        warnings += claim_warnings(state, [item.instance_id for item in held.starting])
        held.starting, notes, replaced = _unreplaced(spec, state, held.starting)
        refusals += replaced
        given_up, left = _successors_given_up(state, held, now)
        warnings += [*notes, *left]
    warnings += [
        f"{new.instance_id} was launched to replace {old.instance_id} and is unproven. {old.instance_id} is back in "
        f"service. The next relaunch of {old.instance_id} terminates {new.instance_id}"
        for old, new in given_up
    ]
    made = Plan(_each(_restoring_stages(state, held, given_up)), tuple(warnings))
    return refusing(made, refusals, "starts")


def _successors_given_up(state: State, held: _Held, now: datetime) -> tuple[list[tuple[Instance, Instance]], list[str]]:
    """Return pairs of predecessor and unproven successor, and a warning for each successor that may have served.

    The predecessor of each pair is back in service.
    """
    begun = [instance for instance in held.pending if _was_started(instance)]
    started = [item for item in (*held.starting, *held.pending) if item not in begun]
    claimed = _given_up(state, started, [*held.done, *begun])
    possible = [(old, new) for old, new in claimed if can_be_on_trial(new, old, now)]
    left = [_left(old, new) for old, new in claimed if (old, new) not in possible]
    return [(old, new) for old, new in possible if new.tags[tag_names.TRIAL] != REJECTED], left


def _restoring_stages(state: State, held: _Held, given_up: Sequence[tuple[Instance, Instance]]) -> Iterator[Stage]:
    """Yield the starts and the ends of the holds. The hold of a started instance ends last, so that an interrupted run
    leaves the record.
    """
    # A hold that shows a rejected successor is kept until the successor's own tag says so.
    telling = [instance for instance in held.done if any(old is instance for old, _new in given_up)]
    settled = [instance for instance in held.done if instance not in telling]
    started = [*held.starting, *held.pending]
    if settled:
        yield _forget(settled, state.region, "remove the outdated hold")
    reason = "start the {state} instance, which was running before"
    yield from start_stages(held.starting, held.pending, state.region, reason, final=False)
    if given_up:
        yield Stage(tuple(_rejection(state, old, new) for old, new in given_up))
    if started or telling:
        yield _forget([*started, *telling], state.region, "end the hold")


def _unreplaced(
    spec: PowerSpec, state: State, starting: list[Instance]
) -> tuple[list[Instance], list[str], list[Refusal]]:
    """Return the instances with a hold that no successor stands for, warnings, and the refusals of named instances.

    Without ids, a replaced or ambiguous instance is no error, and a warning names it.
    """
    unmarked = _unmarked(state, starting)
    open_ids = {predecessor(item.successor) for item in unmarked}
    refusals = list(replaced_ones(state, [item for item in starting if item.instance_id not in open_ids]))
    warnings = [undecided_warning(item) for item in unmarked]
    if spec.instance_ids is None:
        warnings += [_not_started(one) for one in refusals]
    replaced = {one.instance_id for one in refusals}
    left = [item for item in starting if item.instance_id not in replaced]
    return left, warnings, [] if spec.instance_ids is None else refusals


def _not_started(one: Refusal) -> str:
    """Return the warning about an instance that was replaced, maybe by several successors."""
    remedy = f". {one.advice.rstrip('.')}" if one.kind is Ambiguous else ""
    return f"{one.trouble}. The task does not start {one.instance_id}{remedy}"


def _restoring_queries(spec: PowerSpec, state: State) -> tuple[Query, ...]:
    """Return the queries for successors of the instances to start, and of ids that EC2 does not know."""
    missing = [item for item in spec.instance_ids or () if state.instance(item) is None]
    known = _known(spec, state)
    held = [item.instance_id for item in known if wants_start(item) or (_was_started(item) and not spec.force_start)]
    return (*successor_queries([*missing, *held]), *half_moved_queries(state, held))


def _unproven_warning(instances: Sequence[Instance]) -> list[str]:
    """Return the warning about stopped instances whose hold does not agree with EC2's facts."""
    if not instances:
        return []
    stops = [
        f"{item.instance_id} (EC2's reason: {item.facts.get('StateTransitionReason') or 'none'})" for item in instances
    ]
    warning = (
        f"EC2 does not show a stop within the time of the hold (tag {tag_names.RESTORE_STATE}) for {listed(stops)}. So "
        "no run of this collection has stopped these instances, and this run does not start them. Start the instances "
        "that should run, or remove their tags"
    )
    return [warning]


def _left(old: Instance, new: Instance) -> str:
    """Return the warning about a successor that may have served, against its tag, while its
    predecessor is back.
    """
    return (
        f"The tag {tag_names.TRIAL} of {new.instance_id} ({new.state}) says that it has not served in place of "
        f"{old.instance_id}, but nothing proves that. The task does not change {new.instance_id}, so both may run. "
        f"Terminate {new.instance_id} to continue with {old.instance_id}, or remove the tag and stop {old.instance_id}"
    )


def _rejection(state: State, old: Instance, new: Instance) -> Change:
    """Return the change that marks *new* as rejected, unless its own run has marked it as serving meanwhile."""
    serves = (("instance-id", (new.instance_id,)), (f"tag:{tag_names.TRIAL}", (SERVING,)))
    record = trial_record(
        new.instance_id, new.tags, REJECTED, state.region, f"mark as rejected: {old.instance_id} is back in service"
    )
    return dataclasses.replace(record, unless=(Query("DescribeInstances", serves),), after_steps=(old.instance_id,))


def _was_started(instance: Instance) -> bool:
    """Return whether the instance runs since its hold was written, so that its successor may be rejected."""
    hold = hold_of(instance)
    return instance.alive and hold is not None and hold.is_spent(instance)


def _given_up(state: State, started: Iterable[Instance], done: Iterable[Instance]) -> list[tuple[Instance, Instance]]:
    """Return the successors whose tags say that they have not proved themselves in place of the instances that are
    back: (old, new).
    """
    back = [(old, new) for old in started for new in on_trial_for(state, old.instance_id)]
    back += [(old, new) for old in done for new in on_trial_for(state, old.instance_id) if started_since(old, new)]
    return back


def _forget(instances: Iterable[Instance], region: str, reason: str) -> Stage:
    return Stage(tuple(forget(instance, region, reason) for instance in instances))


def _each(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """Return the stages with one transaction for each instance, so that none waits for another."""
    return apart(stages, "power")


# --- the result ------------------------------------------------------------------------------------------------------


def result(spec: PowerSpec, state: State) -> dict[str, Any]:
    """Return ``instances``: the views of the instances that EC2 knows, in the order of ``instance_ids``,
    or else by id.
    """
    return {"instances": [view(instance) for instance in _known(spec, state)]}


def headline(_spec: PowerSpec, result: Mapping[str, Any]) -> str:
    """Return the number of instances in each state."""
    counts = Counter(str(instance["state"]) for instance in result["instances"])
    return ", ".join(f"{number} {state}" for state, number in sorted(counts.items())) or "no instance"


FEATURE = Feature(parse=parse, plan=plan, result=result, headline=headline)
