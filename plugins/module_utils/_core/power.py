# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Instances stopped, running, or back in the state that a run has found them in.

A run that stops an instance for a while writes down on the instance, before it does, that it was running: the tag
``ec2ops:restore-state``. Whoever comes later, also after a kill, can start it again from that.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from . import tags as tag_names
from .change import Change, Feature, Plan, Query, Stage, State, Wait, by_id
from .errors import SpecError, StorageError, UnsafePlan
from .instance_facts import (
    AUTOSCALING_GROUP,
    NO_CAPACITY,
    Hold,
    attribute_query,
    forget,
    has_passing_address,
    hold_of,
    instance_store_trouble,
    lost_address,
    standing_hold,
    type_queries,
)
from .lineage import successor, successor_queries
from .names import is_planned, require_id
from .resources import Instance, view
from .tags import boto3_tags
from .timespan import parse_span

# Stop protection has no bulk read: one call for each instance. Beyond this many EC2's refusal is the check.
MOST_ATTRIBUTE_READS = 20
# DescribeAutoScalingInstances takes 50 ids.
_AUTOSCALING_IDS = 50


@dataclass(frozen=True)
class PowerSpec:
    """The options of `instance_power`, checked.

    ``instance_ids`` None: whatever in the region is held (restored only).
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

    @property
    def stop_parameters(self) -> dict[str, bool]:
        """What StopInstances is sent beside the ids: only what the user asked for."""
        said = {"Force": self.force, "Hibernate": self.hibernate, "SkipOsShutdown": self.skip_os_shutdown}
        return {name: True for name, value in said.items() if value}


def parse(params: Mapping[str, Any], _region: str) -> PowerSpec:
    """The module's options as a spec. Raises SpecError for what can be refused without looking at EC2."""
    state = params["state"]
    ids = params.get("instance_ids")
    if ids is None and state != "restored":
        raise SpecError(f"instance_ids is required with state: {state}")
    if state != "stopped":
        given = [
            name
            for name in ("remember", "force", "hibernate", "skip_os_shutdown", "lose_instance_store")
            if params[name]
        ]
        if given:
            raise SpecError(f"{', '.join(given)}: only with state: stopped")
    elif params["force_start"]:
        raise SpecError("force_start: only with state: running or state: restored")
    if params["hibernate"] and (params["force"] or params["skip_os_shutdown"]):
        raise SpecError("hibernate: the operating system has to take part, so not with force or skip_os_shutdown")
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
    )


# --- questions -------------------------------------------------------------------------------------------------------


def needs(spec: PowerSpec, state: State) -> tuple[Query, ...]:
    """The instances in one call; more only about those that will be stopped or started."""
    if spec.instance_ids is None:
        first: tuple[Query, ...] = (Query("DescribeInstances", (("tag-key", (tag_names.RESTORE_STATE,)),)),)
    else:
        first = by_id("DescribeInstances", "instance-id", spec.instance_ids)
    if not state.answered.issuperset(first):
        return first
    if spec.state == "stopped":
        return (*first, *_stop_queries(spec, state))
    if spec.state == "running":
        starting = [item.instance_id for item in _known(spec, state) if item.state in ("stopped", "stopping")]
        return (*first, *(() if spec.force_start else successor_queries(starting)))
    # What is missing may have been replaced, long ago.
    missing = [item for item in spec.instance_ids or () if state.instance(item) is None]
    starting = [] if spec.force_start else [item.instance_id for item in _known(spec, state) if _wants_start(item)]
    return (*first, *successor_queries([*missing, *starting]))


def _stop_queries(spec: PowerSpec, state: State) -> Iterable[Query]:
    if _unknown(spec, state):
        return
    stopping = [item for item in _known(spec, state) if item.state in ("running", "pending")]
    real = [item for item in stopping if not is_planned(item.instance_id)]
    members = sorted(item.instance_id for item in real if AUTOSCALING_GROUP in item.tags)
    for start in range(0, len(members), _AUTOSCALING_IDS):
        ids = tuple(members[start : start + _AUTOSCALING_IDS])
        yield Query("DescribeAutoScalingInstances", arguments=(("InstanceIds", ids),), service="autoscaling")
    requests = [item.spot_request_id for item in real if item.spot_request_id]
    yield from by_id("DescribeSpotInstanceRequests", "spot-instance-request-id", requests)
    if not spec.lose_instance_store:
        yield from type_queries(*(item.instance_type for item in stopping))
    if len(real) <= MOST_ATTRIBUTE_READS:
        for item in real:
            yield from attribute_query(item.instance_id, "disableApiStop")


# --- what is there ---------------------------------------------------------------------------------------------------


def _known(spec: PowerSpec, state: State) -> list[Instance]:
    """The instances that this is about, as far as EC2 knows them, in the order of the option; else by id."""
    if spec.instance_ids is not None:
        found = [state.instance(instance_id) for instance_id in spec.instance_ids]
        return [instance for instance in found if instance is not None]
    return sorted(state.all(Instance), key=lambda instance: instance.instance_id)


def _unknown(spec: PowerSpec, state: State) -> list[str]:
    """What is wrong with the ids themselves: one line each."""
    found = []
    for instance_id in spec.instance_ids or ():
        instance = state.instance(instance_id)
        if instance is None:
            found.append(f"{instance_id} does not exist in {state.region}")
        elif not instance.alive:
            found.append(f"{instance_id} is {instance.state}")
    return found


def _raise(kind: type[StorageError], troubles: Sequence[str], advice: str = "") -> None:
    """One error for everything that is wrong, if anything is."""
    if troubles:
        raise kind(f"instance_ids: {'; '.join(troubles)}. Nothing was changed.{' ' + advice if advice else ''}")


# --- stopped ---------------------------------------------------------------------------------------------------------


def plan(spec: PowerSpec, state: State, now: datetime) -> Plan:
    """What has to be done for the instances to be in the wanted state. Raises SpecError, Ambiguous, UnsafePlan."""
    if spec.state == "restored":
        return _plan_restored(spec, state, now)
    _raise(SpecError, _unknown(spec, state), "Check the ids and the region.")
    return _plan_stopped(spec, state, now) if spec.state == "stopped" else _plan_running(spec, state)


def _plan_stopped(spec: PowerSpec, state: State, now: datetime) -> Plan:
    instances = _known(spec, state)
    stopping = [instance for instance in instances if instance.state in ("running", "pending")]
    _raise(
        UnsafePlan,
        [f"{item.instance_id} {trouble}" for item in stopping for trouble in _stop_troubles(spec, state, item)],
    )
    stages: list[Stage] = []
    pending = tuple(instance.instance_id for instance in stopping if instance.state == "pending")
    if pending:
        # EC2 refuses to stop what it is still starting.
        stages.append(Stage(waits=(Wait(pending, "running"),)))
    if spec.remember:
        remembered = tuple(_remember(spec, item, state.region, now) for item in stopping if not _is_held(item))
        if remembered:
            stages.append(Stage(remembered))
    stops = tuple(_stop(spec, instance, state.region) for instance in stopping)
    waiting = tuple(
        instance.instance_id for instance in instances if instance.state in ("running", "pending", "stopping")
    )
    if waiting:
        remembered_ids = {item.instance_id for item in stopping} if spec.remember else set()
        plain = tuple(item for item in waiting if item not in remembered_ids)
        waits = (Wait(plain, "stopped", final=True),) if plain else ()
        stages.append(_held_stop(spec, state, stopping, stops, waits, now) if remembered_ids else Stage(stops, waits))
    warnings = tuple(lost_address(item) for item in stopping if has_passing_address(item))
    return Plan(tuple(stages), warnings)


def _held_stop(
    spec: PowerSpec,
    state: State,
    stopping: Sequence[Instance],
    stops: tuple[Change, ...],
    waits: tuple[Wait, ...],
    now: datetime,
) -> Stage:
    """The stop of instances that are remembered, which must still be remembered once they are stopped.

    A call that was held up (by throttling, by the network) may take effect after another run has brought the instance
    back and removed the record. Nobody would start it again then, so this run does, and fails.
    """
    for instance in stopping:
        value = instance.tags[tag_names.RESTORE_STATE] if _is_held(instance) else _hold(spec, instance, now).value
        record = (("tags", {tag_names.RESTORE_STATE: value}),)
        waits = (*waits, Wait((instance.instance_id,), "stopped", final=True, expect=record))
    back = tuple(_start(item, state.region, "another run has brought it back in the meantime") for item in stopping)
    running = Wait(tuple(item.instance_id for item in stopping), "running")
    return Stage(stops, waits, on_failure=(Stage(back, (running,)),), rollback_on=frozenset({"mismatch"}))


def _stop_troubles(spec: PowerSpec, state: State, instance: Instance) -> Iterable[str]:
    if instance.operator is not None:
        yield f"is managed by {instance.operator}; stop it through that service"
    member = state.fact(f"{instance.instance_id}/autoscaling")
    if member is not None and member["lifecycle"] != "Standby":
        yield (
            f"is {member['lifecycle']} in the Auto Scaling group {member['group']}, which would replace it once it "
            "is stopped; put it in "
            "Standby first"
        )
    if instance.lifecycle == "spot" and state.fact(f"{instance.spot_request_id}/spotType") != "persistent":
        yield "is a one-time spot instance; EC2 stops only those of persistent requests"
    if not spec.lose_instance_store:
        trouble = instance_store_trouble(state, instance)
        if trouble is not None:
            yield f"cannot be stopped without loss: {trouble}; accept that with lose_instance_store: true"
    if state.fact(f"{instance.instance_id}/disableApiStop"):
        yield "has stop protection (DisableApiStop)"
    if spec.hibernate and not (instance.facts.get("HibernationOptions") or {}).get("Configured"):
        yield "was not launched with hibernation configured"
    if spec.remember and tag_names.RESTORE_STATE in instance.tags and hold_of(instance) is None:
        value = instance.tags[tag_names.RESTORE_STATE]
        yield f"has a tag {tag_names.RESTORE_STATE} that this collection did not write ({value!r}); remove it"


def _is_held(instance: Instance) -> bool:
    """An earlier run remembered it and was ended before it could stop it, or a spent record of long ago is there."""
    return standing_hold(instance) is not None


def _hold(spec: PowerSpec, instance: Instance, now: datetime) -> Hold:
    return Hold(now, now + spec.hold_time, public=has_passing_address(instance))


def _remember(spec: PowerSpec, instance: Instance, region: str, now: datetime) -> Change:
    tag = {tag_names.RESTORE_STATE: _hold(spec, instance, now).value}
    return Change(
        "CreateTags",
        instance.instance_id,
        region,
        {"Tags": boto3_tags(tag)},
        "so that it is started again, also when this run is interrupted",
        {"tags": dict(instance.tags)},
        {"tags": {**instance.tags, **tag}},
    )


def _stop(spec: PowerSpec, instance: Instance, region: str) -> Change:
    before: dict[str, Any] = {"state": instance.state}
    after: dict[str, Any] = {"state": "stopped"}
    reason = f"it is {instance.state} and should be stopped"
    if has_passing_address(instance):
        before["public_ip_address"], after["public_ip_address"] = instance.public_ip_address, None
        reason += f"; its public address {instance.public_ip_address} will change"
    return Change(
        "StopInstances", instance.instance_id, region, spec.stop_parameters, reason, before, after, disruptive=True
    )


# --- running ---------------------------------------------------------------------------------------------------------


def _plan_running(spec: PowerSpec, state: State) -> Plan:
    instances = _known(spec, state)
    starting = [instance for instance in instances if instance.state in ("stopped", "stopping")]
    if not spec.force_start:
        _raise(UnsafePlan, _replaced(state, starting), "Start them beside their successors with force_start: true.")
    pending = [instance for instance in instances if instance.state == "pending"]
    reason = "it is {state} and should be running"
    return Plan(_start_stages(starting, pending, state.region, reason, final=True))


def _replaced(state: State, instances: Iterable[Instance]) -> list[str]:
    found = []
    for instance in instances:
        heir = successor(state, instance.instance_id)
        if heir is not None:
            found.append(f"{instance.instance_id} was replaced by {heir.instance_id}, which is {heir.state}")
    return found


def _start(instance: Instance, region: str, reason: str) -> Change:
    before, after = {"state": instance.state}, {"state": "running"}
    # While EC2 has no capacity, another run may replace and retire the instance, and take the record away with it.
    held = Query(
        "DescribeInstances", (("instance-id", (instance.instance_id,)), ("tag-key", (tag_names.RESTORE_STATE,)))
    )
    only_while = held if tag_names.RESTORE_STATE in instance.tags else None
    return Change("StartInstances", instance.instance_id, region, {}, reason, before, after, only_while=only_while)


def _start_stages(
    starting: Sequence[Instance], pending: Sequence[Instance], region: str, reason: str, *, final: bool
) -> tuple[Stage, ...]:
    """The end of a stop that is under way, then the start, then the wait for all.

    ``{state}`` in *reason* is the instance's.
    """
    stages: list[Stage] = []
    under_way = tuple(instance.instance_id for instance in starting if instance.state == "stopping")
    if under_way:
        stages.append(Stage(waits=(Wait(under_way, "stopped"),)))
    changes = tuple(_start(instance, region, reason.format(state=instance.state)) for instance in starting)
    waiting = tuple(instance.instance_id for instance in (*starting, *pending))
    if waiting:
        stages.append(Stage(changes, (Wait(waiting, "running", final=final),), patience=NO_CAPACITY))
    return tuple(stages)


# --- restored --------------------------------------------------------------------------------------------------------


def _wants_start(instance: Instance) -> bool:
    return instance.state in ("stopped", "stopping") and _is_held(instance)


def _plan_restored(spec: PowerSpec, state: State, now: datetime) -> Plan:
    warnings: list[str] = []
    done: list[Instance] = []
    starting: list[Instance] = []
    pending: list[Instance] = []
    _require_known(spec, state)
    for instance in _known(spec, state):
        if not instance.alive or tag_names.RESTORE_STATE not in instance.tags:
            continue
        hold = hold_of(instance)
        if hold is None:
            value = instance.tags[tag_names.RESTORE_STATE]
            warnings.append(
                f"{instance.instance_id} has a tag {tag_names.RESTORE_STATE} that this collection did not write "
                f"({value!r}); it is left as it is"
            )
        elif spec.instance_ids is None and not hold.is_over(now, spec.older_than):
            continue
        elif hold.is_spent(instance) or instance.state == "running":
            done.append(instance)
        elif instance.state == "pending":
            pending.append(instance)
        else:
            starting.append(instance)
    replaced = [] if spec.force_start else _replaced(state, starting)
    if spec.instance_ids is not None:
        _raise(UnsafePlan, replaced, "Start them beside their successors with force_start: true.")
    elif replaced:
        warnings += [f"{trouble}; it is not started" for trouble in replaced]
        starting = [instance for instance in starting if successor(state, instance.instance_id) is None]
    stages: list[Stage] = []
    if done:
        stages.append(_forget(done, state.region, "it is running, or was started since"))
    stages += _start_stages(
        starting, pending, state.region, "it was running when a run stopped it; now it is {state}", final=False
    )
    started = [*starting, *pending]
    if started:
        # Last, so that a run that is ended before leaves the record.
        stages.append(_forget(started, state.region, "it is running again"))
    return Plan(tuple(stages), tuple(warnings))


def _require_known(spec: PowerSpec, state: State) -> None:
    """An id that EC2 does not know is an error, unless a living instance has replaced it: that one serves."""
    missing = [
        item for item in spec.instance_ids or () if state.instance(item) is None and successor(state, item) is None
    ]
    _raise(
        SpecError,
        [f"{item} does not exist in {state.region}, and no instance there replaces it" for item in missing],
        "Check the ids and the region.",
    )


def _forget(instances: Iterable[Instance], region: str, reason: str) -> Stage:
    return Stage(tuple(forget(instance, region, reason) for instance in instances))


# --- the result ------------------------------------------------------------------------------------------------------


def result(spec: PowerSpec, state: State) -> dict[str, Any]:
    """``instances``: the views of those that EC2 knows, in the order of ``instance_ids``, else by id."""
    return {"instances": [view(instance) for instance in _known(spec, state)]}


FEATURE = Feature(parse=parse, needs=needs, plan=plan, result=result)
