# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The retirement of a relaunch's predecessor, and its rollback.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ..._domain.hold import forget, has_passing_address, hold_of, lost_address, wants_start
from ..._domain.power_cycle import NO_CAPACITY, instance_store_trouble, running_waits
from ..._domain.replacement import REJECTED, SERVING, trial_record
from ..._domain.rivals import outdated_rivals, unrivalled
from ..._domain.terminations import deletes_only_its_own, deletes_only_launched
from ..._kernel import tags as tag_names
from ..._kernel.errors import listed
from ..._kernel.facts import PROTECTIONS, STOP_PROTECTION, TERMINATION_PROTECTION
from ..._kernel.plan import Change, Precondition, Stage, Wait
from ..._kernel.resources import Instance
from ..._kernel.state import State
from .health import LAUNCHED
from .interface_moves import doomed_interfaces
from .launch import known_rivals
from .left_behind import data_volumes
from .options import RelaunchSpec

# The states of a living old instance in which its retirement is done, by old_instance.
_RETIRED: Mapping[str, tuple[str, ...]] = {
    "stop": ("stopped",),
    "terminate": (),
    "keep": ("pending", "running", "stopping", "stopped"),
}


def is_retired(spec: RelaunchSpec, old: Instance) -> bool:
    """Return whether the predecessor needs no further change."""
    return not old.alive or (old.state in _RETIRED[spec.old_instance] and tag_names.RESTORE_STATE not in old.tags)


def retirement_troubles(
    spec: RelaunchSpec, state: State, old: Instance, leaving: Collection[str] = frozenset()
) -> list[str]:
    """Return the obstacles to the stop or termination of the predecessor. All are known before the launch.

    *leaving*: the ids of the data volumes and interfaces that this plan moves to the successor before it retires the
    predecessor.
    """
    if old.state in _RETIRED[spec.old_instance]:
        return []
    found = _termination_troubles(state, old, leaving) if spec.old_instance == "terminate" else []
    if spec.old_instance != "keep":
        # EC2, "Enable stop protection": it protects against termination too.
        if STOP_PROTECTION.of(state, old.instance_id):
            found.append(
                f"old_instance: {old.instance_id} has stop protection (DisableApiStop). Disable it, or use "
                "old_instance: keep"
            )
        trouble = None
        if not spec.lose_instance_store and old.state != "stopped":
            trouble = instance_store_trouble(state, old)
        if trouble is not None:
            found.append(
                f"lose_instance_store: {trouble}. Set lose_instance_store: true to accept that, or use old_instance: "
                "keep"
            )
    return found


def _termination_troubles(state: State, old: Instance, leaving: Collection[str]) -> list[str]:
    """Return the obstacles to the termination of the predecessor, beyond those to its stop."""
    found = []
    doomed = [
        f"{item.device_name} ({item.volume_id})"
        for item in data_volumes(old)
        if item.delete_on_termination and item.volume_id not in leaving
    ]
    if doomed:
        found.append(
            f"old_instance: terminate would also delete the data volumes {listed(doomed)} of {old.instance_id}. "
            "Set their DeleteOnTermination to false to keep them, or use old_instance: stop"
        )
    doomed = doomed_interfaces(old, leaving)
    if doomed:
        found.append(
            f"old_instance: terminate would also delete the network interfaces {listed(doomed)} of {old.instance_id}, "
            "with their addresses. Set their DeleteOnTermination to false to keep them, or use old_instance: stop"
        )
    if TERMINATION_PROTECTION.of(state, old.instance_id):
        found.append(
            f"old_instance: {old.instance_id} has termination protection (DisableApiTermination). "
            "Disable it, or use another old_instance"
        )
    return found


def retirement_stages(
    spec: RelaunchSpec, state: State, old: Instance, new_id: str, new_tags: Mapping[str, str], *, ended: bool = True
) -> tuple[Stage, ...]:
    """Return the stage that marks the successor as serving, then the end of the predecessor.

    If the task keeps the predecessor, there is no record. Two runs may replace it at the same time. Then the later
    successor never serves. The rollback terminates it, and leaves the predecessor to the other run. *ended* is false if
    the successor may have served, so that it is kept.
    """
    stages = _end(spec, state, old, new_id)
    if new_tags.get(tag_names.TRIAL) in (None, SERVING):
        return stages
    if not stages or spec.old_instance == "keep":
        record = finished(new_id, new_tags, state.region)
    else:
        reason = f"mark as serving before the retirement of {old.instance_id}"
        record = Stage((trial_record(new_id, new_tags, SERVING, state.region, reason),))
    (change,) = record.changes
    reason = f"mark as rejected: another instance replaces {old.instance_id}"
    new = Instance(new_id, "running", tags=dict(new_tags))
    given_up = Stage((trial_record(new_id, new_tags, REJECTED, state.region, reason),))
    shown = state.instance(new_id)
    known = known_rivals(state, old, new_id) | (frozenset() if shown is None else outdated_rivals(state, shown))
    record = Stage(
        (dataclasses.replace(change, provided=unrivalled(old.instance_id, known)),),
        on_failure=(given_up, *terminations(state, old, [new] if ended else [], reason)),
        rollback_on=frozenset({"superseded"}),
    )
    return (record, *stages)


def finished(new_id: str, tags: Mapping[str, str], region: str) -> Stage:
    """Return the stage that removes the phase from a successor whose replacement is finished."""
    change = Change(
        "DeleteTags",
        new_id,
        region,
        {"Tags": [{"Key": tag_names.TRIAL}]},
        "finish the replacement",
        {"tags": dict(tags)},
        {"tags": {key: value for key, value in tags.items() if key != tag_names.TRIAL}},
    )
    return Stage((change,))


def _end(spec: RelaunchSpec, state: State, old: Instance, new_id: str) -> tuple[Stage, ...]:
    """Return the stages of the retirement. The hold ends first, since `restored` would start the predecessor again."""
    stages: list[Stage] = []
    if tag_names.RESTORE_STATE in old.tags:
        stages.append(Stage((forget(old, state.region, "end the hold without a start: the successor serves"),)))
    if old.state in _RETIRED[spec.old_instance]:
        return tuple(stages)
    goal = "stopped" if spec.old_instance == "stop" else "terminated"
    wait = Wait((old.instance_id,), goal, final=True)
    if goal == "stopped" and old.state == "stopping":
        return (*stages, Stage(waits=(wait,)))
    if old.state == "pending":
        # EC2 refuses to stop a pending instance.
        stages.append(Stage(waits=(Wait((old.instance_id,), "running"),)))
    before: dict[str, Any] = {"state": old.state}
    after: dict[str, Any] = {"state": goal}
    if old.public_ip_address is not None and not (goal == "stopped" and old.elastic_ip):
        before["public_ip_address"], after["public_ip_address"] = old.public_ip_address, None
    action = "StopInstances" if goal == "stopped" else "TerminateInstances"
    reason = f"retire: the successor serves (old_instance: {spec.old_instance})"
    root = next((item for item in old.block_devices if item.device_name == old.root_device_name), None)
    if goal == "terminated" and root is not None and not root.delete_on_termination:
        reason += f"; keep the root volume {root.volume_id} (DeleteOnTermination is false)"
    provided = _alone(old, new_id) if goal == "terminated" else None
    change = Change(
        action, old.instance_id, state.region, {}, reason, before, after, disruptive=True, provided=provided
    )
    return (*stages, Stage((change,), (wait,)))


def _alone(old: Instance, new_id: str) -> Precondition:
    """Return the precondition that the termination deletes no other part, and that the successor runs. The wait for its
    health may be long.
    """
    remedy = (
        "The successor serves. Detach these parts or set their DeleteOnTermination to false, and run the task again. "
        "Or use old_instance: stop"
    )
    return deletes_only_its_own(old, new_id, "old_instance", remedy)


def lost_addresses(retirement: Iterable[Stage], old: Instance) -> tuple[str, ...]:
    """Return the warning for a stop that releases the predecessor's public address."""
    stops = any(change.action == "StopInstances" for stage in retirement for change in stage.changes)
    return (lost_address(old),) if stops and has_passing_address(old) else ()


def health_wait(spec: RelaunchSpec, instance_id: str) -> Wait:
    """Return the wait for a successor to be healthy, or to run if the task does not require status checks."""
    goal = "healthy" if spec.status_checks else "running"
    return Wait((instance_id,), goal, timeout=float(spec.health_timeout), clock=LAUNCHED)


def rollback_stages(
    spec: RelaunchSpec, state: State, old: Instance, new_id: str, new_tags: Mapping[str, str], *, ended: bool = True
) -> tuple[Stage, ...]:
    """Return the stages after which the predecessor serves again and the successor is gone. The hold ends last.

    The phase ``rejected`` is written before the termination, since EC2 may refuse that, or the run may be interrupted.
    A predecessor with a hold needs no such record, since its start shows the same. *ended* is false if the successor
    may have served, so that it is kept.
    """
    if spec.on_failure != "rollback":
        return ()
    if not ended:
        return restoration(state, old, ())
    new = Instance(new_id, "running", tags=dict(new_tags))
    back = restoration(state, old, [new])
    if wants_start(old):
        return back
    reason = f"mark as rejected: {old.instance_id} stays in service"
    return (Stage((trial_record(new_id, new_tags, REJECTED, state.region, reason),)), *back)


def restoration(state: State, old: Instance, rejected: Sequence[Instance]) -> tuple[Stage, ...]:
    """Return the stages that start a predecessor with a hold, and terminate the *rejected*. The hold ends last."""
    stages = list(terminations(state, old, rejected))
    if wants_start(old):
        stages = stages or [Stage()]
        start = Change(
            "StartInstances",
            old.instance_id,
            state.region,
            {},
            "restore power: the predecessor stays in service",
            {"state": old.state},
            {"state": "running"},
        )
        first = stages[0]
        # The first stage does not wait for the start unless it is the last one too.
        stages[0] = dataclasses.replace(first, changes=(start, *first.changes))
        stages[-1] = dataclasses.replace(stages[-1], waits=(*running_waits([old]), *stages[-1].waits))
        stages = [dataclasses.replace(stage, patience=NO_CAPACITY) for stage in stages]
        if old.state == "stopping":
            stages.insert(0, Stage(waits=(Wait((old.instance_id,), "stopped"),)))
        stages.append(Stage((forget(old, state.region, "end the hold"),)))
    elif (hold := hold_of(old)) is not None and hold.is_spent(old):
        stages.append(Stage((forget(old, state.region, "end the hold"),)))
    return tuple(stages)


def terminations(state: State, old: Instance, rejected: Sequence[Instance], reason: str = "") -> tuple[Stage, ...]:
    """Return the stages that terminate rejected successors, since they are unhealthy or for *reason*. The protection
    that they took over from the predecessor is removed first.
    """
    if not rejected:
        return ()
    reason = reason or f"terminate the unhealthy successor of {old.instance_id}"
    names = [new.instance_id for new in rejected]
    stages = unprotections(state, dict.fromkeys(names, old.instance_id))
    return (*stages, Stage(tuple(termination(new_id, state.region, reason) for new_id in names)))


def termination(instance_id: str, region: str, reason: str, current: str = "running") -> Change:
    """Return the TerminateInstances of a successor in the state *current*, unless it got other parts to delete."""
    before, after = {"state": current}, {"state": "terminated"}
    remedy = "Detach these parts or set their DeleteOnTermination to false, and run the task again"
    provided = deletes_only_launched(instance_id, "on_failure", remedy)
    return Change(
        "TerminateInstances", instance_id, region, {}, reason, before, after, disruptive=True, provided=provided
    )


def unprotections(state: State, protected: Mapping[str, str]) -> tuple[Stage, ...]:
    """Return the stages that remove the protection of these instances. *protected* maps each id to the instance whose
    protection was read, which is the same.
    """
    stages = []
    for parameter, kind in PROTECTIONS.items():
        changes = tuple(
            _unprotect(parameter, instance_id, state.region)
            for instance_id, like in protected.items()
            if kind.of(state, like)
        )
        stages += [Stage(changes)] if changes else []
    return tuple(stages)


def _unprotect(attribute: str, instance_id: str, region: str) -> Change:
    reason = "remove the protection before the termination"
    return Change("ModifyInstanceAttribute", instance_id, region, {attribute: {"Value": False}}, reason, {}, {})
