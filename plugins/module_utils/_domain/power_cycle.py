# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The stop and the start of instances, with the obstacles, the stages and the rollback.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from .._kernel import tags as tag_names
from .._kernel.errors import StorageError
from .._kernel.facts import (
    IS_PERSISTENT,
    MEMBERSHIP,
    STOP_PROTECTION,
    attribute_query,
    membership_queries,
    spot_queries,
    type_facts,
    type_queries,
)
from .._kernel.ids import is_planned
from .._kernel.plan import Change, Stage, Wait
from .._kernel.resources import Instance
from .._kernel.state import Query, State
from .._kernel.tags import AUTOSCALING_GROUP, boto3_tags
from .hold import forget, has_passing_address, held, lasting_hold

# EC2 shows stop protection only by one call for each instance. For more instances than this, the run does not ask, and
# EC2 itself refuses the stop of a protected one.
MOST_ATTRIBUTE_READS = 20
# EC2's codes for "no capacity at the moment": a start is tried again.
NO_CAPACITY = frozenset({"InsufficientInstanceCapacity", "InsufficientHostCapacity"})
# EC2's code for a start while the instance still stops. A rollback does not wait for the stop, so it tries again.
_STILL_STOPPING = frozenset({"IncorrectInstanceState"})
# EC2, "Burstable performance instances": these types have EBS volumes only, so no query is necessary.
_EBS_ONLY = re.compile(r"t(2|3|3a|4g)\.")
_SHOULD_STOP = "stop the {state} instance"


# --- losses by a stop ------------------------------------------------------------------------------------------------


def instance_store_trouble(state: State, instance: Instance) -> str | None:
    """Return why a stop of this instance may lose data on instance store volumes, or None.

    DescribeInstances does not show instance store volumes, so the type decides.
    """
    supported = type_facts(state, instance.instance_type).get("InstanceStorageSupported")
    if supported is False or _EBS_ONLY.match(instance.instance_type):
        return None
    if supported is None:
        return (
            f"EC2 does not say whether the type {instance.instance_type} has instance store volumes, which a stop "
            "empties"
        )
    return f"the type {instance.instance_type} has instance store volumes, which a stop empties"


# --- obstacles to a stop ---------------------------------------------------------------------------------------------


def running_of(instances: Iterable[Instance]) -> list[Instance]:
    """Return the instances that a stop must still stop, without those that are already stopping."""
    return [instance for instance in instances if instance.state in ("running", "pending")]


def stop_queries(instances: Iterable[Instance], *, lose_instance_store: bool) -> Iterator[Query]:
    """Yield the queries that `stop_troubles` needs about the running ones of these instances.

    For planned instances, only their types are queried. The queries about single instances are optional, see
    `unanswered_about`.
    """
    stopping = running_of(instances)
    real = [item for item in stopping if not is_planned(item.instance_id)]
    yield from _optional(membership_queries(item.instance_id for item in real if AUTOSCALING_GROUP in item.tags))
    yield from _optional(spot_queries(item.spot_request_id for item in real if item.spot_request_id))
    if not lose_instance_store:
        yield from type_queries(*(item.instance_type for item in stopping if not _EBS_ONLY.match(item.instance_type)))
    if len(real) <= MOST_ATTRIBUTE_READS:
        for item in real:
            yield from _optional(attribute_query(STOP_PROTECTION, item.instance_id))


def _optional(queries: Iterable[Query]) -> Iterator[Query]:
    return (dataclasses.replace(query, optional=True) for query in queries)


def unanswered_about(state: State, instance: Instance) -> tuple[StorageError, ...]:
    """Return why AWS did not answer queries of `stop_queries` about this instance. Without the answers the run must not
    stop it.
    """
    subjects = {instance.instance_id, instance.spot_request_id or instance.instance_id}
    return tuple(error for query, error in state.unanswered.items() if not subjects.isdisjoint(_asked_about(query)))


def _asked_about(query: Query) -> Iterator[str]:
    for _name, value in (*query.filters, *query.arguments):
        yield from (value,) if isinstance(value, str) else value if isinstance(value, tuple) else ()


def stop_troubles(
    state: State, instance: Instance, *, lose_instance_store: bool, remember: bool = True, hibernate: bool = False
) -> Iterator[str]:
    """Yield the obstacles to a stop of this running instance, as phrases after its id.

    *remember*: the stop is a `held_stop`. *hibernate*: the instance must hibernate.
    """
    if instance.operator is not None:
        yield f"is managed by {instance.operator}. Stop it through that service"
    member = MEMBERSHIP.of(state, instance.instance_id)
    if member is not None and not member.is_standby:
        yield (
            f"is {member.lifecycle} in the Auto Scaling group {member.group}, which would replace the stopped "
            "instance. First put it in Standby"
        )
    if instance.lifecycle == "spot" and not IS_PERSISTENT.of(state, instance.spot_request_id):
        yield "is a one-time spot instance. EC2 stops only spot instances of persistent requests"
    if not lose_instance_store:
        trouble = instance_store_trouble(state, instance)
        if trouble is not None:
            yield f"cannot be stopped without loss: {trouble}. Set lose_instance_store: true to accept that"
    if STOP_PROTECTION.of(state, instance.instance_id):
        yield "has stop protection (DisableApiStop). Disable it"
    if hibernate and not (instance.facts.get("HibernationOptions") or {}).get("Configured"):
        yield "was not launched with hibernation configured"
    if remember and tag_names.RESTORE_STATE not in instance.tags:
        count = tag_names.places_taken(instance.tags)
        if count >= tag_names.MOST_TAGS:
            yield (
                f"has {count} tags, EC2's maximum, so there is no room for the hold ({tag_names.RESTORE_STATE}). "
                "Remove a tag"
            )


# --- stopped ---------------------------------------------------------------------------------------------------------


def plain_stop(
    instances: Sequence[Instance], region: str, stop_parameters: Mapping[str, bool] | None = None, *, final: bool
) -> tuple[Stage, ...]:
    """Return the stages that stop the running ones of these instances without a hold, and wait for all.

    *stop_parameters*: parameters of StopInstances beside the ids. *final*: no later stage depends on the stop.
    """
    stopping = running_of(instances)
    waiting = tuple(item.instance_id for item in instances if item.state in ("running", "pending", "stopping"))
    if not waiting:
        return ()
    stops = tuple(_stop(instance, region, stop_parameters or {}, _SHOULD_STOP) for instance in stopping)
    return (*_begun_starts(stopping), Stage(stops, (Wait(waiting, "stopped", final=final),)))


def held_stop(
    instances: Sequence[Instance],
    region: str,
    now: datetime,
    hold_time: timedelta,
    stop_parameters: Mapping[str, bool] | None = None,
    *,
    final: bool = False,
    reason: str = _SHOULD_STOP,
) -> tuple[Stage, ...]:
    """Return the stages that stop the running ones of these instances, each with a hold that must survive the stop.

    A delayed StopInstances may take effect after another run has started the instance and removed its hold. Then no run
    would start the instance again. So the rollback of the last stage starts it, and the task fails with a mismatch.
    When EC2 refuses the stop, the rollback removes this run's holds. They would undo a later stop by somebody else.

    The order: wait for starts that are under way, write the holds, stop. An instance with a lasting hold keeps it. An
    instance that is already stopping gets no hold, and the stages wait for it. *hold_time*: how long this run may take
    to start the instances again. *stop_parameters*: parameters of StopInstances beside the ids. *final*: no later stage
    depends on the stop. ``{state}`` in *reason* stands for the state of the instance.
    """
    stopping = running_of(instances)
    if not stopping:
        return plain_stop(instances, region, stop_parameters, final=final)
    stages = list(_begun_starts(stopping))
    unheld = [item for item in stopping if lasting_hold(item, now, hold_time) is None]
    records = tuple(_remember(item, region, now, hold_time) for item in unheld)
    if records:
        stages.append(Stage(records))
    under_way = tuple(item.instance_id for item in instances if item.state == "stopping")
    waits = [Wait(under_way, "stopped", final=final)] if under_way else []
    for instance in stopping:
        value = held(instance, now, hold_time).tags[tag_names.RESTORE_STATE]
        record = (("tags", {tag_names.RESTORE_STATE: value}),)
        waits.append(Wait((instance.instance_id,), "stopped", final=final, expect=record))
    stops = tuple(_stop(instance, region, stop_parameters or {}, reason) for instance in stopping)
    back = _rollback_of_stop(stopping, unheld, region, now, hold_time)
    stages.append(Stage(stops, tuple(waits), on_failure=back, rollback_on=frozenset({"mismatch", "refused"})))
    return tuple(stages)


def _rollback_of_stop(
    stopping: Sequence[Instance], unheld: Iterable[Instance], region: str, now: datetime, hold_time: timedelta
) -> tuple[Stage, ...]:
    """Return the rollback of a stop that lost its hold, or that EC2 refused.

    A late answer may still show a stopping instance as running. So the start is repeated until EC2 accepts it.
    """
    starts = tuple(_start_forgotten(item, region, held(item, now, hold_time)) for item in stopping)
    running = Wait(tuple(item.instance_id for item in stopping), "running")
    useless = tuple(_forget_running(held(item, now, hold_time), region) for item in unheld)
    return (
        *((Stage(useless),) if useless else ()),
        Stage(starts, (running,), patience=NO_CAPACITY | _STILL_STOPPING),
    )


def _forget_running(stopped: Instance, region: str) -> Change:
    gone = ("instance-state-name", ("shutting-down", "terminated", "stopping", "stopped"))
    off = Query("DescribeInstances", (("instance-id", (stopped.instance_id,)), gone))
    return dataclasses.replace(forget(stopped, region, "remove the hold: the stop failed"), unless=(off,))


def _start_forgotten(instance: Instance, region: str, stopped: Instance) -> Change:
    itself = ("instance-id", (instance.instance_id,))
    remembered = (f"tag:{tag_names.RESTORE_STATE}", (stopped.tags[tag_names.RESTORE_STATE],))
    on = ("instance-state-name", ("pending", "running"))
    start = _start(instance, region, "start the instance again: another run has ended the hold")
    unless = tuple(Query("DescribeInstances", (itself, reason)) for reason in (remembered, on))
    return dataclasses.replace(start, unless=unless)


def _begun_starts(stopping: Iterable[Instance]) -> tuple[Stage, ...]:
    """Return the stage that waits for starts that are under way, since EC2 refuses to stop a pending instance."""
    pending = tuple(instance.instance_id for instance in stopping if instance.state == "pending")
    return (Stage(waits=(Wait(pending, "running"),)),) if pending else ()


def _remember(instance: Instance, region: str, now: datetime, hold_time: timedelta) -> Change:
    tags = held(instance, now, hold_time).tags
    return Change(
        "CreateTags",
        instance.instance_id,
        region,
        {"Tags": boto3_tags({tag_names.RESTORE_STATE: tags[tag_names.RESTORE_STATE]})},
        "put a hold on the instance, for a later start",
        {"tags": dict(instance.tags)},
        {"tags": dict(tags)},
    )


def _stop(instance: Instance, region: str, parameters: Mapping[str, bool], reason: str) -> Change:
    before: dict[str, Any] = {"state": instance.state}
    after: dict[str, Any] = {"state": "stopped"}
    reason = reason.format(state=instance.state)
    if has_passing_address(instance):
        before["public_ip_address"], after["public_ip_address"] = instance.public_ip_address, None
        reason += f"; its public address {instance.public_ip_address} will change"
    return Change("StopInstances", instance.instance_id, region, parameters, reason, before, after, disruptive=True)


# --- running again ---------------------------------------------------------------------------------------------------


def _start(instance: Instance, region: str, reason: str) -> Change:
    before, after = {"state": instance.state}, {"state": "running"}
    # While EC2 has no capacity, another run may replace and retire the instance, and remove the hold.
    only_while = _still_held(instance) if tag_names.RESTORE_STATE in instance.tags else None
    return Change("StartInstances", instance.instance_id, region, {}, reason, before, after, only_while=only_while)


def _still_held(instance: Instance, *filters: tuple[str, tuple[str, ...]]) -> Query:
    record = ("tag-key", (tag_names.RESTORE_STATE,))
    return Query("DescribeInstances", (("instance-id", (instance.instance_id,)), record, *filters))


def start_stages(
    starting: Sequence[Instance], pending: Sequence[Instance], region: str, reason: str, *, final: bool
) -> tuple[Stage, ...]:
    """Return the stages that wait for running stops, start the instances, and wait for all.

    ``{state}`` in *reason* stands for the state of the instance.
    """
    stages: list[Stage] = []
    under_way = tuple(instance.instance_id for instance in starting if instance.state == "stopping")
    if under_way:
        stages.append(Stage(waits=(Wait(under_way, "stopped"),)))
    changes = tuple(_start(instance, region, reason.format(state=instance.state)) for instance in starting)
    waits = running_waits([*starting, *pending], final=final)
    if waits:
        stages.append(Stage(changes, waits, patience=NO_CAPACITY))
    return tuple(stages)


def running_waits(instances: Iterable[Instance], *, final: bool = False) -> tuple[Wait, ...]:
    """Return the waits until all of these instances run. *instances* as they are before the start.

    If EC2 reverted an earlier start, the wait knows the time of that start, since the first answers may still show it.
    """
    failed = [item for item in instances if item.start_failed and item.launch_time is not None]
    others = tuple(item.instance_id for item in instances if item not in failed)
    waits = [Wait(others, "running", final=final)] if others else []
    for item in failed:
        launched = item.launch_time.isoformat() if item.launch_time else ""
        waits.append(Wait((item.instance_id,), "running", final=final, about=launched))
    return tuple(waits)


def restore_stages(
    instances: Sequence[Instance], region: str, now: datetime, hold_time: timedelta
) -> tuple[Stage, ...]:
    """Return the stages that start instances after this run's hold, and then remove the holds.

    *instances*, *now* and *hold_time* are those of `held_stop`. Instances that an earlier run has left stopped
    (`wants_start`) may be among them. The stages can also be a rollback: after them every instance runs, even if the
    failed stage left it stopping. The hold is removed last, so an interrupted run leaves it.
    """
    stopped = [held(instance, now, hold_time) for instance in instances]
    if not stopped:
        return ()
    starts = tuple(_restart(instance, region) for instance in stopped)
    waits = running_waits(stopped)
    # Unlike the reason of `forget`, this reason leaves out the time of the hold: in the check run of this plan, it was
    # another one.
    records = tuple(dataclasses.replace(forget(instance, region, ""), reason="end the hold") for instance in stopped)
    return (Stage(starts, waits, patience=NO_CAPACITY | _STILL_STOPPING), Stage(records))


def _restart(instance: Instance, region: str) -> Change:
    # EC2 has one code for an instance that is still stopping and for one that is terminated.
    living = ("instance-state-name", ("pending", "running", "stopping", "stopped"))
    return dataclasses.replace(_start(instance, region, "restore power"), only_while=_still_held(instance, living))
