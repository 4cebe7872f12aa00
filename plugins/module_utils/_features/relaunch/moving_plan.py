# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plans of a relaunch from the launch on: with and without parts that move, and for a task that does one stage.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import datetime, timedelta

from ..._domain.hold import standing_hold, wants_start
from ..._domain.moves import Moves, attached_to, has_interface, is_movable, is_without_parts, moves_tags, recorded_moves
from ..._domain.replacement import SERVING, born, predecessor
from ..._kernel import tags as tag_names
from ..._kernel.errors import UnsafePlan
from ..._kernel.instance_proofs import LONGEST_TRIAL, attached_since, is_off
from ..._kernel.plan import Plan, Stage, Wait, tagging
from ..._kernel.resources import Image, Instance
from ..._kernel.service_facts import ADDRESS, INTERFACE
from ..._kernel.state import State
from .health import LAUNCHED, planned_address, probe_waits
from .interface_moves import flags_back, lost_interfaces, without_interfaces
from .launch import launch_change
from .left_behind import left_behind, warnings_of, weaker_than_image
from .moved_parts import own_address, record_troubles, wanted_moves
from .moving import FAILURES, Moving, undone_by
from .obstacles import refuse
from .options import RelaunchSpec
from .retirement import health_wait, lost_addresses, retirement_stages, rollback_stages
from .source_check import source_check
from .target_moves import (
    forgotten_targets,
    has_registrations,
    has_taken_over,
    is_target_by_address,
    with_former_address,
)
from .user_data import repeated_scripts
from .volume_moves import lacking_flags

ROLLBACK_ON = frozenset({"failed", "timeout", "mismatch", "refused"})


def launch_plan(spec: RelaunchSpec, state: State, current: Instance, image: Image, now: datetime) -> Plan:
    """Return the plan that launches a successor, proves it, and retires the predecessor. All obstacles are known."""
    moves = wanted_moves(spec, state, current)
    launch = launch_change(spec, state, current, image, moves)
    tags = (launch.after or {})["tags"]
    noted, new = _noted(state, current, Instance(launch.resource, "running", launch_time=None, tags=tags), moves)
    moving = Moving(spec, state, current, new, moves, now)
    after = moving.old_after
    retirement = retirement_stages(spec, state, after, launch.resource, new.tags)
    back = rollback_stages(spec, state, current, launch.resource, tags)
    stages = [Stage(waits=(Wait((image.image_id,), "available"),))] if image.state == "pending" else []
    health, rollback_on = health_wait(spec, launch.resource), ROLLBACK_ON if back else frozenset[str]()
    stages.append(Stage((launch,), (health,), on_failure=back, rollback_on=rollback_on))
    stages += source_check(current, new, state.region, back)
    if moves:
        stages += [*undone_by(noted, moving.back(disks=False)), *moving.forward()]
        retirement = moving.finish(retirement, marks=True)
    else:
        stages += probing(spec, current, new, back)
    if spec.stage == "launch":
        retirement = ()
    warnings = (*warnings_of(spec, state, current, image), *weaker_than_image(launch, image))
    warnings = (*warnings, *repeated_scripts(spec, state, current))
    return Plan((*stages, *retirement), (*warnings, *lost_addresses(retirement, after)))


def probing(
    spec: RelaunchSpec, old: Instance, new: Instance, back: tuple[Stage, ...], planned: bool = True
) -> tuple[Stage, ...]:
    """Return the stage that probes a successor without moved parts. *planned*: this plan launches it."""
    if not spec.health.probes:
        return ()
    public = spec.health.public
    known = None if planned else new.public_ip_address if public else new.private_ip_address
    waits = probe_waits(spec.health, known or planned_address(old, public=public), LAUNCHED)
    return (Stage(waits=waits, on_failure=back, rollback_on=FAILURES if back else frozenset()),)


# --- after an interruption --------------------------------------------------------------------------------------------


def continued_plan(spec: RelaunchSpec, state: State, old: Instance, new: Instance, now: datetime) -> Plan:
    """Return the plan that continues with an unproven successor whose launch recorded moves, or rolls back.

    Raises UnsafePlan if the task or EC2's facts contradict the record.
    """
    refuse(record_troubles(spec, state, old, new))
    moves = recorded_moves(new)
    noted, new = _noted(state, old, new, moves)
    moving = Moving(spec, state, old, new, moves, now, ended=may_be_ended(state, old, new, now))
    # Its first boot is not proven yet, unless a run has stopped it for the volumes.
    proof = [Stage(waits=(health_wait(spec, new.instance_id),), on_failure=moving.back(), rollback_on=FAILURES)]
    check = source_check(old, new, state.region, moving.back())
    stages = [*([] if is_off(new) else proof), *check, *undone_by(noted, moving.back()), *moving.forward()]
    if spec.stage == "launch":
        return Plan(tuple(stages))
    after = moving.old_after
    retirement = retirement_stages(spec, state, after, new.instance_id, new.tags)
    stages += moving.finish(retirement, marks=True)
    return Plan(tuple(stages), (*left_behind(spec, state, old), *lost_addresses(retirement, after)))


def _noted(state: State, old: Instance, new: Instance, moves: Moves) -> tuple[tuple[Stage, ...], Instance]:
    """Return the stage that notes the private address of *new* in the record of the moves, and *new* with that record.

    A target by address needs it. If the successor ends, only the record shows which target was its own.
    """
    if not moves.targets or not is_target_by_address(state, without_interfaces(old, moves)):
        return (), new
    address = new.private_ip_address or planned_address(old)
    wanted = moves_tags(dataclasses.replace(moves, address=address))
    if not set(wanted) <= set(tag_names.MOVES):
        return (), new
    reason = "note the private address that becomes a target"
    change, _left_out = tagging(new.instance_id, state.region, new.tags, wanted, reason)
    if change is None:
        return (), new
    return (Stage((change,)),), dataclasses.replace(new, tags=(change.after or {})["tags"])


def has_begun(old: Instance, new: Instance) -> bool:
    """Return whether the hold of *old* and the state of *new* are those of a move of volumes or interfaces.

    The move stops both instances, and the hold of the predecessor is younger than the launch.
    """
    return recorded_moves(new).attached and (not is_off(old) or standing_hold(old) is not None)


def may_be_ended(state: State, old: Instance, new: Instance, now: datetime) -> bool:
    """Return whether a run that did not launch *new* may terminate it in a rollback.

    As in `instance_proofs.can_be_on_trial`, but for the marks that the move itself leaves: a start, and the volumes and
    the address of the record. The launch must be at most a day old, and the hold of a stopped predecessor must stand.
    """
    birth, record = born(new), recorded_moves(new)
    if birth is None or not old.alive or now - birth > LONGEST_TRIAL:
        return False
    if is_off(old) and standing_hold(old) is None:
        return False
    settled = birth + timedelta(minutes=1)
    foreign = [
        device.volume_id
        for device in new.block_devices
        if device.volume_id not in record.volume_ids
        and (since := attached_since(new, device.volume_id)) is not None
        and since > settled
    ]
    address = ADDRESS.of(state, record.allocation_id) if record.allocation_id else None
    own = address is not None and address.instance_id == new.instance_id
    return not foreign and (not new.elastic_ip or own)


def was_moved_back(state: State, old: Instance, new: Instance, now: datetime) -> bool:
    """Return whether a rejected *new* is as the rollback of a move leaves it, so that a run may terminate it.

    It was started again, but with the parts of *old*, and it has stopped since then.
    """
    return recorded_moves(new).attached and is_off(new) and may_be_ended(state, old, new, now)


def is_away(state: State, old: Instance, new: Instance) -> bool:
    """Return whether EC2 shows a recorded part of *old* in another place than at *old*, or *new* as a target
    of a load balancer of *old*.
    """
    record = recorded_moves(new)
    if is_without_parts(state, old, new) or _lacks_flags(state, old, record):
        return True
    if record.targets and has_taken_over(state, old, new):
        return True
    address = own_address(state, record, old, new)
    return address is not None and address.instance_id != old.instance_id


def _lacks_flags(state: State, old: Instance, record: Moves) -> bool:
    """Return whether a part is back at *old* without its delete-on-termination: the rollback was interrupted.

    A rollback sets it before the start of *old*, so at a running one somebody else has changed it.
    """
    return is_off(old) and bool(lacking_flags(record.volumes, old) or flags_back(state, record.interfaces, old))


def dead_successors(state: State, old: Instance) -> list[Instance]:
    """Return the proven successors that have ended with a record of moves. EC2 shows them for about an hour."""
    found = (item for item in state.all(Instance) if not item.alive and predecessor(item) == old.instance_id)
    return sorted((item for item in found if recorded_moves(item)), key=lambda item: item.instance_id)


def has_left_parts(state: State, old: Instance, new: Instance) -> bool:
    """Return whether *new*, which has ended, has parts of *old* that no rollback has returned.

    A rollback returns the volumes before *old* runs. So a running *old* without them has lost them in another way.
    """
    address = own_address(state, recorded_moves(new), old, new)
    if address is not None and address.instance_id != old.instance_id:
        return True
    if recorded_moves(new).targets and forgotten_targets(state, with_former_address(state, old, new)):
        return True
    return is_off(old) and is_without_parts(state, old, new)


def return_plan(spec: RelaunchSpec, state: State, old: Instance, new: Instance, now: datetime) -> Plan:
    """Return the plan that gives the predecessor its parts back, and ends the successor, after an interrupted rollback
    or for a task with ``stage: rollback``. The task fails in the end, unless it asks for the rollback.
    """
    record = recorded_moves(new)
    lost = [item for item in record.volumes if not is_movable(state.volume(item.volume_id), old, new)]
    gone = lost_interfaces(state, record, old, new)
    if lost or gone:
        names = ", ".join([*(f"{item.volume_id} ({item.device_name})" for item in lost), *gone])
        raise UnsafePlan(
            f"instance_id: {new.instance_id} has the record of {names}, which moved from {old.instance_id}. EC2 shows "
            f"them at neither instance, so the task has changed nothing. Attach them to {old.instance_id}, and run the "
            "task again"
        )
    ended, new = may_be_ended(state, old, new, now), with_former_address(state, old, new)
    moving = Moving(spec, state, old, new, record, now, ended=ended, only_back=True)
    stages = moving.back(disks=_has_left(state, record, old))
    if spec.stage == "rollback":
        return Plan(stages)
    warnings: tuple[str, ...] = () if ended or not new.alive else (_kept(new, old),)
    if record.targets and not has_registrations(state, old):
        warnings += (_unregistered(new, old),)
    return Plan(stages, warnings, refused=_returned(spec, old, new))


def _returned(spec: RelaunchSpec, old: Instance, new: Instance) -> UnsafePlan:
    """Return the error that ends the return of the parts. Without a hold, no run starts *old*."""
    ended = "served" if new.tags.get(tag_names.TRIAL) == SERVING else "never served"
    verb = "was rejected" if new.alive else f"is {new.state}, and {ended}"
    back = f"stays in service. Another run launches a new successor from {spec.image_id}"
    if is_off(old) and not wants_start(old):
        back = f"is {old.state} without a hold. Start it, and run the task again to launch a new successor"
    return UnsafePlan(
        f"instance_id: {new.instance_id} {verb} in place of {old.instance_id}, and the parts that had moved return to "
        f"{old.instance_id}, which {back}"
    )


def _has_left(state: State, record: Moves, old: Instance) -> bool:
    """Return whether a volume or an interface of the record is not at *old*."""
    shown = [INTERFACE.of(state, item.interface_id) for item in record.interfaces]
    return any(not _is_at(state, item.volume_id, old) for item in record.volumes) or any(
        not has_interface(item, old.instance_id) for item in shown
    )


def _is_at(state: State, volume_id: str, instance: Instance) -> bool:
    volume = state.volume(volume_id)
    return volume is not None and attached_to(volume, instance.instance_id)


def _unregistered(new: Instance, old: Instance) -> str:
    return (
        f"No load balancer sends requests to {old.instance_id}, since {new.instance_id} had taken its place there. "
        f"Register {old.instance_id} again before the next relaunch"
    )


def _kept(new: Instance, old: Instance) -> str:
    return (
        f"{new.instance_id} may have served beside {old.instance_id}, so the task does not terminate it. Terminate "
        f"{new.instance_id} once you do not need it any more"
    )


def finished_plan(
    spec: RelaunchSpec, state: State, old: Instance | None, new: Instance, retirement: Sequence[Stage], now: datetime
) -> Plan:
    """Return the plan that finishes the moves of a successor that serves. *old* is None if EC2 does not show it."""
    gone = old or Instance(predecessor(new) or "", "terminated")
    moving = Moving(spec, state, gone, new, recorded_moves(new), now)
    return Plan(moving.finish(tuple(retirement), marks=False))
