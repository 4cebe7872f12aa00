# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the predecessor of a relaunch is retired, and how it comes back.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..._domain.hold import forget, has_passing_address, hold_of, lost_address, wants_start
from ..._domain.power_cycle import NO_CAPACITY, instance_store_trouble, running_waits
from ..._domain.succession import (
    REJECTED,
    SERVING,
    trial_record,
    unrivalled,
)
from ..._kernel import tags as tag_names
from ..._kernel.errors import listed
from ..._kernel.plan import Change, Stage, Wait
from ..._kernel.resources import Instance
from ..._kernel.state import State
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
    """Nothing is left to do with the old one."""
    return not old.alive or (old.state in _RETIRED[spec.old_instance] and tag_names.RESTORE_STATE not in old.tags)


def retirement_troubles(spec: RelaunchSpec, state: State, old: Instance) -> list[str]:
    """What stands against stopping or terminating the old one. All of it is known before the new one is launched."""
    if old.state in _RETIRED[spec.old_instance]:
        return []
    found = []
    if spec.old_instance == "terminate":
        doomed = [f"{item.device_name} ({item.volume_id})" for item in data_volumes(old) if item.delete_on_termination]
        if doomed:
            found.append(
                f"old_instance: terminate would delete the data volumes {listed(doomed)} of {old.instance_id}, "
                "which stay with it; set "
                "their DeleteOnTermination to false, or use old_instance: stop"
            )
        if state.fact(f"{old.instance_id}/disableApiTermination"):
            found.append(
                f"old_instance: terminate: {old.instance_id} has termination protection (DisableApiTermination)"
            )
    if spec.old_instance != "keep":
        # EC2, "Enable stop protection": it protects against termination too.
        if state.fact(f"{old.instance_id}/disableApiStop"):
            found.append(f"old_instance: {spec.old_instance}: {old.instance_id} has stop protection (DisableApiStop)")
        trouble = None
        if not spec.lose_instance_store and old.state != "stopped":
            trouble = instance_store_trouble(state, old)
        if trouble is not None:
            found.append(
                f"{old.instance_id}: {trouble}; accept that with lose_instance_store: true, or use old_instance: keep"
            )
    return found


def retirement_stages(
    spec: RelaunchSpec, state: State, old: Instance, new_id: str, new_tags: Mapping[str, str], *, ended: bool = True
) -> tuple[Stage, ...]:
    """The record that the new one serves, then the end of the old one. That the old one is kept leaves no record.

    Of two that replace the old one at the same time, the later one never serves: it is terminated, and the old one is
    left to the other. Not *ended*: the new one may have served, so it stays.
    """
    stages = _end(spec, state, old)
    if new_tags.get(tag_names.TRIAL) in (None, SERVING):
        return stages
    if not stages or spec.old_instance == "keep":
        record = finished(new_id, new_tags, state.region)
    else:
        reason = f"it is healthy, so {old.instance_id} is retired"
        record = Stage((trial_record(new_id, new_tags, SERVING, state.region, reason),))
    (change,) = record.changes
    reason = f"another instance replaces {old.instance_id}"
    new = Instance(new_id, "running", tags=dict(new_tags))
    given_up = Stage((trial_record(new_id, new_tags, REJECTED, state.region, reason),))
    record = Stage(
        (dataclasses.replace(change, provided=unrivalled(old.instance_id, known_rivals(state, old, new_id))),),
        on_failure=(given_up, *terminations(state, old, [new] if ended else [], reason)),
        rollback_on=frozenset({"superseded"}),
    )
    return (record, *stages)


def finished(new_id: str, tags: Mapping[str, str], region: str) -> Stage:
    """Return the stage that takes the phase off a successor: its replacement is finished."""
    change = Change(
        "DeleteTags",
        new_id,
        region,
        {"Tags": [{"Key": tag_names.TRIAL}]},
        "its replacement is finished",
        {"tags": dict(tags)},
        {"tags": {key: value for key, value in tags.items() if key != tag_names.TRIAL}},
    )
    return Stage((change,))


def _end(spec: RelaunchSpec, state: State, old: Instance) -> tuple[Stage, ...]:
    """The hold's record first: while it is there, `restored` would start the old one again."""
    stages: list[Stage] = []
    if tag_names.RESTORE_STATE in old.tags:
        stages.append(Stage((forget(old, state.region, "its successor serves, so it is not started again"),)))
    if old.state in _RETIRED[spec.old_instance]:
        return tuple(stages)
    goal = "stopped" if spec.old_instance == "stop" else "terminated"
    wait = Wait((old.instance_id,), goal, final=True)
    if goal == "stopped" and old.state == "stopping":
        return (*stages, Stage(waits=(wait,)))
    if old.state == "pending":
        # EC2 refuses to stop what it is still starting.
        stages.append(Stage(waits=(Wait((old.instance_id,), "running"),)))
    before: dict[str, Any] = {"state": old.state}
    after: dict[str, Any] = {"state": goal}
    if old.public_ip_address is not None and not (goal == "stopped" and old.elastic_ip):
        before["public_ip_address"], after["public_ip_address"] = old.public_ip_address, None
    action = "StopInstances" if goal == "stopped" else "TerminateInstances"
    reason = f"its successor serves (old_instance: {spec.old_instance})"
    root = next((item for item in old.block_devices if item.device_name == old.root_device_name), None)
    if goal == "terminated" and root is not None and not root.delete_on_termination:
        reason += f"; its root volume {root.volume_id} stays behind (DeleteOnTermination is false)"
    change = Change(action, old.instance_id, state.region, {}, reason, before, after, disruptive=True)
    return (*stages, Stage((change,), (wait,)))


def lost_addresses(retirement: Iterable[Stage], old: Instance) -> tuple[str, ...]:
    """The warning for a stop that takes the old one's public address away."""
    stops = any(change.action == "StopInstances" for stage in retirement for change in stage.changes)
    return (lost_address(old),) if stops and has_passing_address(old) else ()


def health_wait(spec: RelaunchSpec, instance_id: str) -> Wait:
    """Return the wait for a successor to be healthy, or to run where status checks are not asked for."""
    goal = "healthy" if spec.status_checks else "running"
    return Wait((instance_id,), goal, timeout=float(spec.health_timeout))


def rollback_stages(
    spec: RelaunchSpec, state: State, old: Instance, new_id: str, new_tags: Mapping[str, str], *, ended: bool = True
) -> tuple[Stage, ...]:
    """The old instance serves again, the successor is gone. The record on the old one goes last.

    That the successor is given up is written down before its end, which may be refused, or never come. Where the old
    one was held, its start says so, and waits for nothing. Not *ended*: the successor may have served, so it stays.
    """
    if spec.on_failure != "rollback":
        return ()
    if not ended:
        return restoration(state, old, ())
    new = Instance(new_id, "running", tags=dict(new_tags))
    back = restoration(state, old, [new])
    if wants_start(old):
        return back
    reason = f"it did not become healthy, so {old.instance_id} goes on"
    return (Stage((trial_record(new_id, new_tags, REJECTED, state.region, reason),)), *back)


def restoration(state: State, old: Instance, rejected: Sequence[Instance]) -> tuple[Stage, ...]:
    """The old one is started where a hold keeps it stopped, and the *rejected* end; the hold's record goes last."""
    stages = list(terminations(state, old, rejected))
    if wants_start(old):
        stages = stages or [Stage()]
        start = Change(
            "StartInstances",
            old.instance_id,
            state.region,
            {},
            "it goes on serving",
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
        stages.append(Stage((forget(old, state.region, "it is running again"),)))
    elif (hold := hold_of(old)) is not None and hold.is_spent(old):
        stages.append(Stage((forget(old, state.region, "it is running again"),)))
    return tuple(stages)


def terminations(state: State, old: Instance, rejected: Sequence[Instance], reason: str = "") -> tuple[Stage, ...]:
    """The end of successors that were given up, for want of health or for *reason*. What EC2 would refuse to terminate
    is let go first: they have taken over the old one's protection.
    """
    if not rejected:
        return ()
    reason = reason or f"it did not become healthy, so it does not replace {old.instance_id}"
    names = [new.instance_id for new in rejected]
    stages = unprotections(state, dict.fromkeys(names, old.instance_id))
    return (*stages, Stage(tuple(termination(new_id, state.region, reason) for new_id in names)))


def termination(instance_id: str, region: str, reason: str, current: str = "running") -> Change:
    """Return the TerminateInstances of an instance in the state *current*."""
    before, after = {"state": current}, {"state": "terminated"}
    return Change("TerminateInstances", instance_id, region, {}, reason, before, after, disruptive=True)


def unprotections(state: State, protected: Mapping[str, str]) -> tuple[Stage, ...]:
    """Let these instances be terminated. Each with the id of the one whose protection was read: it has the same."""
    stages = []
    for attribute, name in (("disableApiTermination", "DisableApiTermination"), ("disableApiStop", "DisableApiStop")):
        changes = tuple(
            _unprotect(name, instance_id, state.region)
            for instance_id, like in protected.items()
            if state.fact(f"{like}/{attribute}")
        )
        stages += [Stage(changes)] if changes else []
    return tuple(stages)


def _unprotect(attribute: str, instance_id: str, region: str) -> Change:
    reason = "protected instances cannot be terminated"
    return Change("ModifyInstanceAttribute", instance_id, region, {attribute: {"Value": False}}, reason, {}, {})
