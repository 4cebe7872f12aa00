# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a relaunch that moves parts of the predecessor, and their rollback.

The order: launch and first boot; the successor stops, the predecessor stops, volumes and interfaces change hands, the
successor starts; probes; Elastic IP; load balancers; status checks of the second boot. Only then is the successor
marked as serving. A failure until then returns every part, in the order volumes and interfaces, start, address, load
balancers, termination: the predecessor never starts without them, and no address leaves with a terminated successor.
After the mark, the predecessor is deregistered and retires.

Each stage is planned from the places where EC2 shows the parts, so a plan after an interruption continues.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import zip_longest

from ..._domain.hold import forget, held, wants_start
from ..._domain.moves import Moves, arrived
from ..._domain.power_cycle import NO_CAPACITY, running_waits
from ..._domain.replacement import REJECTED, trial_record
from ..._kernel import tags as tag_names
from ..._kernel.ids import is_planned
from ..._kernel.instance_proofs import is_off
from ..._kernel.plan import ANY_FAILURE, Change, Stage, Wait
from ..._kernel.resources import BlockDevice, Instance
from ..._kernel.service_facts import Address
from ..._kernel.state import State
from .health import LAUNCHED, MOVED, planned_address, planned_interface, probe_waits
from .interface_moves import (
    carrying_interfaces,
    flags_back,
    following_interfaces,
    pending_interfaces,
    returning_interfaces,
    without_interfaces,
)
from .moved_parts import own_address
from .options import RelaunchSpec
from .retirement import health_wait, terminations
from .target_moves import deregistering, registering, withdrawing, withdrawing_dead
from .volume_moves import (
    carrying,
    deletion_flags,
    following,
    halting,
    halting_successor,
    lacking_flags,
    leaving,
    pending_volumes,
    returning,
)

_STILL_STOPPING = frozenset({"IncorrectInstanceState"})
FAILURES = ANY_FAILURE | {"superseded"}


def _urgent(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    """Return the stages with urgent waits: the predecessor is off, and the successor does not serve yet."""
    return tuple(
        dataclasses.replace(stage, waits=tuple(dataclasses.replace(wait, urgent=True) for wait in stage.waits))
        for stage in stages
    )


@dataclass(frozen=True)
class Moving:
    """A replacement that moves parts. *new*: the successor, planned or not. *ended*: a rollback may terminate it.

    *only_back*: the plan is a rollback, without steps forward.
    """

    spec: RelaunchSpec
    state: State
    old: Instance
    new: Instance
    moves: Moves
    now: datetime
    ended: bool = True
    only_back: bool = False

    # --- places ---

    @property
    def _private_address(self) -> str:
        planned = planned_address(self.old)
        return planned if is_planned(self.new.instance_id) else self.new.private_ip_address or planned

    @property
    def _probed_address(self) -> str:
        if not self.spec.health.public:
            return self._private_address
        if self._address is not None:
            return self._address.public_ip
        return self.new.public_ip_address or planned_address(self.old, public=True)

    @property
    def _address(self) -> Address | None:
        return own_address(self.state, self.moves, self.old, self.new)

    @property
    def _clock(self) -> str:
        return MOVED if self._pending else LAUNCHED

    @property
    def _pending(self) -> bool:
        """Whether a volume or an interface has not arrived, or the successor has not started with them."""
        return self.moves.attached and (self._underway or is_off(self.new))

    @property
    def _underway(self) -> bool:
        volumes = pending_volumes(self.state, self.moves.volumes, self.new)
        return bool(volumes or pending_interfaces(self.state, self.moves.interfaces, self.new))

    @property
    def _balanced(self) -> tuple[Instance, Instance]:
        """Both instances without the interfaces that move, since a target at their addresses follows by itself."""
        return without_interfaces(self.old, self.moves), without_interfaces(self.new, self.moves)

    @property
    def old_after(self) -> Instance:
        """The predecessor once all parts have moved."""
        old = self.old
        if self.moves.attached:
            gone = self.moves.volume_ids
            devices: tuple[BlockDevice, ...] = tuple(one for one in old.block_devices if one.volume_id not in gone)
            stopped = held(old, self.now, self.spec.hold_time) if not wants_start(old) else old
            passing = None if not old.elastic_ip else old.public_ip_address
            old = dataclasses.replace(stopped, state="stopped", block_devices=devices, public_ip_address=passing)
        if self.moves.allocation_id:
            old = dataclasses.replace(old, elastic_ip=False, public_ip_address=None)
        return old

    # --- forward ---

    def forward(self) -> tuple[Stage, ...]:
        """Return the stages from the first boot of the successor to its service, each with its rollback."""
        probes = probe_waits(self.spec.health, self._probed_address, self._clock)
        check = (Stage(waits=probes),) if probes else ()
        late = self.spec.health.public and self._address is not None
        stages = (
            *self._carried(),
            *(() if late else check),
            *self._associated(),
            *(check if late else ()),
            *self._registered(),
        )
        before, halts = self._halts()
        outage = (*halts, *undone_by(stages, self.back()))
        return (*before, *(_urgent(outage) if self._pending else outage), *undone_by(self._proven(), self.back()))

    def _halts(self) -> tuple[tuple[Stage, ...], tuple[Stage, ...]]:
        """Return the stages before the outage that stop the successor, and those that stop the predecessor.

        The successor stops first. So only the predecessor's own stop is part of the outage, and a successor that does
        not stop causes none.
        """
        if not self._underway:
            return (), ()
        # No part has moved yet, unless an interrupted run has begun the move.
        at_old = {device.volume_id for device in self.old.block_devices}
        at_old |= {str(one.get("NetworkInterfaceId")) for one in self.old.interfaces}
        back = self.back(disks=not self.moves.part_ids <= at_old)
        before = undone_by(halting_successor(self.state, self.new), back)
        halts = undone_by(halting(self.state, self.old, self.new, self.now, self.spec.hold_time), back)
        return (_urgent(before) if is_off(self.old) else before), halts

    def _carried(self) -> tuple[Stage, ...]:
        if not self._pending:
            return ()
        volumes = pending_volumes(self.state, self.moves.volumes, self.new)
        interfaces = pending_interfaces(self.state, self.moves.interfaces, self.new)
        stages = side_by_side(
            carrying(self.state, volumes, self.old, self.new) if volumes else (),
            carrying_interfaces(self.state, interfaces, self.old, self.new) if interfaces else (),
        )
        public = planned_address(self.old, public=True)
        after = {"state": "running", **({"public_ip_address": public} if public == self._probed_address else {})}
        reason = f"start the successor with the {_named(self.moves)}"
        start = Change(
            "StartInstances", self.new.instance_id, self.state.region, {}, reason, {"state": "stopped"}, after
        )
        wait = Wait((self.new.instance_id,), "running", timeout=float(self.spec.health_timeout), clock=MOVED)
        stopping = (Stage(waits=(Wait((self.new.instance_id,), "stopped"),)),) if self.new.state == "stopping" else ()
        return (*(stages or stopping), Stage((start,), (wait,)))

    def _proven(self) -> tuple[Stage, ...]:
        """Return the wait for the status checks after the start with the volumes.

        The checks take a minute or two, and the predecessor is off. So the service does not wait for them.
        """
        if not self._pending or not self.spec.status_checks:
            return ()
        return (Stage(waits=(dataclasses.replace(health_wait(self.spec, self.new.instance_id), clock=MOVED),)),)

    def _associated(self) -> tuple[Stage, ...]:
        address = self._address
        if address is None or address.instance_id == self.new.instance_id:
            return ()
        parameters = self._holder(self.new, several=bool(self.moves.interfaces))
        reason = f"move {address.public_ip} from {self.old.instance_id} to {self.new.instance_id}"
        return (Stage((self._associate(parameters, reason, self.old.instance_id, self.new.instance_id),)),)

    def _holder(self, instance: Instance, *, several: bool) -> dict[str, object]:
        """Return the owner in an AssociateAddress. EC2 takes no instance with several interfaces."""
        if not several:
            return {"InstanceId": instance.instance_id, "AllowReassociation": True}
        interface = instance.primary_interface_id or planned_interface(self.old)
        return {"NetworkInterfaceId": interface, "AllowReassociation": True}

    def _associate(self, parameters: dict[str, object], reason: str, before: str, after: str) -> Change:
        return Change(
            "AssociateAddress",
            self.moves.allocation_id,
            self.state.region,
            parameters,
            reason,
            {"instance_id": before},
            {"instance_id": after},
        )

    def _registered(self) -> tuple[Stage, ...]:
        if not self.moves.targets:
            return ()
        timeout = float(self.spec.health_timeout)
        old, new = self._balanced
        return registering(self.state, old, new, self._private_address, timeout, self._clock)

    # --- back ---

    def back(self, *, disks: bool = True) -> tuple[Stage, ...]:
        """Return the rollback from any of the steps. With *disks*, a volume or an interface may have left the
        predecessor.
        """
        new, state = self.new, self.state
        reason = f"mark as rejected: {self.old.instance_id} stays in service"
        stages = [Stage((trial_record(new.instance_id, new.tags, REJECTED, state.region, reason),))]
        if new.tags.get(tag_names.TRIAL) == REJECTED or not new.alive:
            stages = []
        stages += self._returned() if disks else self._flagged()
        stages += self._revived()
        if self.moves.targets and new.alive:
            old, successor = self._balanced
            stages += withdrawing(state, old, successor, self._private_address)
        elif self.moves.targets:
            stages += withdrawing_dead(state, new)
        if self.spec.on_failure == "rollback" and self.ended and new.alive:
            why = f"terminate the rejected successor of {self.old.instance_id}"
            stages += terminations(state, self.old, [dataclasses.replace(new, state="running")], why)
        off = self._revived_one()
        if off is not None:
            stages.append(Stage((dataclasses.replace(forget(off, state.region, ""), reason="end the hold"),)))
        return tuple(stages)

    def _returned(self) -> tuple[Stage, ...]:
        """Return the stages after which the volumes and interfaces are at the predecessor as before."""
        if not self.moves.attached:
            return ()
        volumes, interfaces = self.moves.volumes, self.moves.interfaces
        return (
            leaving(self.state, self.old, self.new),
            *side_by_side(
                returning(self.state, volumes, self.old, self.new) if volumes else (),
                returning_interfaces(self.state, interfaces, self.old, self.new, attaches=not self.only_back)
                if interfaces
                else (),
            ),
        )

    def _flagged(self) -> tuple[Stage, ...]:
        """Return the stage that restores delete-on-termination after an interrupted rollback, or none."""
        found = flags_back(self.state, self.moves.interfaces, self.old)
        lacking = lacking_flags(self.moves.volumes, self.old)
        flags = deletion_flags(self.state, lacking, self.old.instance_id)
        found += [flags] if flags is not None else []
        return (Stage(tuple(found)),) if found else ()

    def _revived_one(self) -> Instance | None:
        """Return the predecessor as the move or an earlier hold leaves it, or None if it runs all the time."""
        if self.moves.attached and not is_off(self.old):
            return held(self.old, self.now, self.spec.hold_time)
        return self.old if wants_start(self.old) else None

    def _revived(self) -> list[Stage]:
        """Return the stages that start the predecessor and return its address, even if neither is necessary.

        EC2's last answer may be out of date, and the address must not be lost with a terminated successor. A pending
        instance takes no address.
        """
        stages = []
        off = self._revived_one()
        if off is not None:
            reason = "restore power: the predecessor stays in service"
            before, after = {"state": "stopped"}, {"state": "running"}
            start = Change("StartInstances", off.instance_id, self.state.region, {}, reason, before, after)
            stages.append(Stage((start,), running_waits([off]), patience=NO_CAPACITY | _STILL_STOPPING))
        if self._address is not None:
            reason = f"return {self._address.public_ip} to {self.old.instance_id}"
            parameters = self._holder(self.old, several=len(self.old.interfaces) > 1 or bool(self.moves.interfaces))
            stages.append(Stage((self._associate(parameters, reason, self.new.instance_id, self.old.instance_id),)))
        return stages

    # --- after the mark ---

    def finish(self, retirement: tuple[Stage, ...], *, marks: bool) -> tuple[Stage, ...]:
        """Return the stages of the *retirement* and those that finish the move. *marks*: the first one is the mark."""
        head, rest = (retirement[:1], retirement[1:]) if marks else ((), retirement)
        drains = not is_off(self.old_after) and self.old.alive
        unbound = deregistering(self.state, self._balanced[0], drains=drains) if self.moves.targets else ()
        moves = self.moves if marks else arrived(self.state, self.moves, self.new)
        changes = following(self.state, moves.volumes, self.old, self.new)
        changes += following_interfaces(self.state, moves.interfaces, self.new)
        follow = (Stage(tuple(changes)),) if changes else ()
        tags = dict(self.new.tags)
        for change in (change for stage in retirement for change in stage.changes):
            if change.resource == self.new.instance_id and change.operation.retags:
                tags = dict((change.after or {})["tags"])
        return (*undone_by(head, self.back()), *unbound, *rest, *follow, *self._forgotten(tags))

    def _forgotten(self, present: dict[str, str]) -> tuple[Stage, ...]:
        """Return the last stage: it removes the record of the moves from the tags *present*."""
        keys = [key for key in tag_names.MOVES if key in present]
        if not keys:
            return ()
        tags = {key: value for key, value in present.items() if key not in keys}
        change = Change(
            "DeleteTags",
            self.new.instance_id,
            self.state.region,
            {"Tags": [{"Key": key} for key in keys]},
            "remove the record of the moves: all parts have moved",
            {"tags": present},
            {"tags": tags},
        )
        return (Stage((change,)),)


def _named(moves: Moves) -> str:
    kinds = (("data volumes", moves.volumes), ("network interfaces", moves.interfaces))
    return " and ".join(name for name, parts in kinds if parts)


def undone_by(stages: Iterable[Stage], back: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Return the stages with this rollback after every failure."""
    return tuple(dataclasses.replace(stage, on_failure=back, rollback_on=FAILURES) for stage in stages)


def side_by_side(first: Sequence[Stage], second: Sequence[Stage]) -> tuple[Stage, ...]:
    """Return stages that each have the steps of both sequences. The longer sequence goes on alone."""
    return tuple(
        dataclasses.replace(
            one, changes=one.changes + two.changes, waits=one.waits + two.waits, patience=one.patience | two.patience
        )
        for one, two in zip_longest(first, second, fillvalue=Stage())
    )
