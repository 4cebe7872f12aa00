# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a relaunch that moves parts of the predecessor, and their rollback.

The order: launch and first boot; both instances stop, the volumes change hands, the successor starts; probes; Elastic
IP; load balancers; status checks of the second boot. Only then is the successor marked as serving. A failure until then
returns every part, in the order volumes, start, address, load balancers, termination: the predecessor never starts
without its volumes, and no address leaves with a terminated successor. After the mark, the predecessor is deregistered
and retires.

Each stage is planned from the places where EC2 shows the parts, so a plan after an interruption continues.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ..._domain.hold import forget, held, wants_start
from ..._domain.moves import Moves
from ..._domain.power_cycle import NO_CAPACITY, running_waits
from ..._domain.replacement import REJECTED, trial_record
from ..._kernel import tags as tag_names
from ..._kernel.ids import is_planned
from ..._kernel.instance_proofs import is_off
from ..._kernel.plan import ANY_FAILURE, Change, Stage, Wait
from ..._kernel.resources import BlockDevice, Instance
from ..._kernel.service_facts import Address
from ..._kernel.state import State
from .health import LAUNCHED, MOVED, planned_address, probe_waits
from .moved_parts import own_address
from .options import RelaunchSpec
from .retirement import health_wait, terminations
from .target_moves import deregistering, registering, withdrawing
from .volume_moves import carrying, following, halting, pending_volumes, returning

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
    """A replacement that moves parts. *new*: the successor, planned or not. *ended*: a rollback may terminate it."""

    spec: RelaunchSpec
    state: State
    old: Instance
    new: Instance
    moves: Moves
    now: datetime
    ended: bool = True

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
        """Whether a volume has not arrived, or the successor has not started with the volumes."""
        if not self.moves.volumes:
            return False
        return bool(pending_volumes(self.state, self.moves.volumes, self.new)) or is_off(self.new)

    @property
    def old_after(self) -> Instance:
        """The predecessor once all parts have moved."""
        old = self.old
        if self.moves.volumes:
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
        outage = (*self._halts(), *self._undone_by(stages, self.back()))
        return (*(_urgent(outage) if self._pending else outage), *self._undone_by(self._proven(), self.back()))

    def _undone_by(self, stages: Iterable[Stage], back: tuple[Stage, ...]) -> tuple[Stage, ...]:
        return tuple(dataclasses.replace(stage, on_failure=back, rollback_on=FAILURES) for stage in stages)

    def _halts(self) -> tuple[Stage, ...]:
        if not pending_volumes(self.state, self.moves.volumes, self.new):
            return ()
        stages = halting(self.state, self.old, self.new, self.now, self.spec.hold_time)
        # No volume has moved yet, unless an interrupted run has begun the move.
        at_old = {device.volume_id for device in self.old.block_devices}
        return self._undone_by(stages, self.back(disks=not self.moves.volume_ids <= at_old))

    def _carried(self) -> tuple[Stage, ...]:
        if not self._pending:
            return ()
        pending = pending_volumes(self.state, self.moves.volumes, self.new)
        stages = carrying(self.state, pending, self.old, self.new) if pending else ()
        public = planned_address(self.old, public=True)
        after = {"state": "running", **({"public_ip_address": public} if public == self._probed_address else {})}
        reason = "start the successor with the data volumes"
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
        parameters = {"InstanceId": self.new.instance_id, "AllowReassociation": True}
        reason = f"move {address.public_ip} from {self.old.instance_id} to {self.new.instance_id}"
        return (Stage((self._associate(parameters, reason, self.old.instance_id, self.new.instance_id),)),)

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
        return registering(self.state, self.old, self.new, self._private_address, timeout, self._clock)

    # --- back ---

    def back(self, *, disks: bool = True) -> tuple[Stage, ...]:
        """Return the rollback from any of the steps. With *disks*, a volume may have left the predecessor."""
        new, state = self.new, self.state
        reason = f"mark as rejected: {self.old.instance_id} stays in service"
        stages = [Stage((trial_record(new.instance_id, new.tags, REJECTED, state.region, reason),))]
        if new.tags.get(tag_names.TRIAL) == REJECTED or not new.alive:
            stages = []
        if disks and self.moves.volumes:
            stages += returning(state, self.moves.volumes, self.old, new)
        stages += self._revived()
        stages += withdrawing(state, self.old, new, self._private_address) if self.moves.targets and new.alive else ()
        if self.spec.on_failure == "rollback" and self.ended and new.alive:
            why = f"terminate the rejected successor of {self.old.instance_id}"
            stages += terminations(state, self.old, [dataclasses.replace(new, state="running")], why)
        off = self._revived_one()
        if off is not None:
            stages.append(Stage((dataclasses.replace(forget(off, state.region, ""), reason="end the hold"),)))
        return tuple(stages)

    def _revived_one(self) -> Instance | None:
        """Return the predecessor as the move or an earlier hold leaves it, or None if it runs all the time."""
        if self.moves.volumes and not is_off(self.old):
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
            parameters: dict[str, object] = {"InstanceId": self.old.instance_id, "AllowReassociation": True}
            stages.append(Stage((self._associate(parameters, reason, self.new.instance_id, self.old.instance_id),)))
        return stages

    # --- after the mark ---

    def finish(self, retirement: tuple[Stage, ...], *, marks: bool) -> tuple[Stage, ...]:
        """Return the stages of the *retirement* and those that finish the move. *marks*: the first one is the mark."""
        head, rest = (retirement[:1], retirement[1:]) if marks else ((), retirement)
        drains = not is_off(self.old_after) and self.old.alive
        leaving = deregistering(self.state, self.old, drains=drains) if self.moves.targets else ()
        follow = following(self.state, self.moves.volumes, self.old, self.new)
        tags = dict(self.new.tags)
        for change in (change for stage in retirement for change in stage.changes):
            if change.resource == self.new.instance_id and change.operation.retags:
                tags = dict((change.after or {})["tags"])
        return (*self._undone_by(head, self.back()), *leaving, *rest, *follow, *self._forgotten(tags))

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
