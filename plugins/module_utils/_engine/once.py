# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make each call take effect once: by client tokens, and by a look before each repeat.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from .._kernel import tags as tag_names
from .._kernel.failures import TOKEN_SPENT, CallError
from .._kernel.ids import GENERATIONS
from .._kernel.plan import Change
from .._kernel.resources import Resource, Snapshot, Volume
from .._kernel.state import by_id
from .made import age, asked_for, attachment_of, made_for, set_order, sets_of, usable
from .ports import Gateway

T = TypeVar("T")

VISIBLE = 15.0
"""Seconds within which EC2 shows a new resource. After that, an unclear create counts as failed."""
ATTEMPTS = 3
"""The number of attempts at a call that EC2 would carry out twice."""
_TOKEN_USED = frozenset({TOKEN_SPENT, "IdempotentInstanceTerminated", "IdempotentParameterMismatch"})
"""The codes of a create whose client token belongs to a resource that is gone, or to a different one."""
_MODIFIED = frozenset({"IncorrectModificationState", "VolumeModificationRateExceeded"})
"""The codes of a ModifyVolume after another one, perhaps its own first attempt."""


class Once:
    """Makes the calls of a plan, each with one effect. *notes* gets a sentence for each adopted resource."""

    def __init__(self, gateway: Gateway, notes: list[str]) -> None:
        self.gateway = gateway
        self.notes = notes

    def carry_out(self, changes: Sequence[Change]) -> Mapping[str, str]:
        """Make one call for *changes*, and return EC2's id for each planned one. Raises CallError."""
        operation = changes[0].operation
        if operation.token:
            return self._with_token(changes)
        if operation.safe:
            return self._repeatable(changes)
        return self._without_token(changes)

    def _repeatable(self, changes: Sequence[Change]) -> Mapping[str, str]:
        """Make a call that may be repeated without harm."""
        try:
            return self.gateway.perform(changes)
        except CallError as error:
            if error.code not in changes[0].operation.perhaps:
                raise
            if until_seen(self.gateway, lambda: self._going(changes)) is None:
                raise
            return {}

    def _going(self, changes: Sequence[Change]) -> Mapping[str, str] | None:
        """Return an empty mapping once EC2 deletes the volume or reports it as gone, or else None.

        A volume that EC2 does not show may be gone, or too new. Another DeleteVolume shows which.
        """
        answers = self.gateway.ask(by_id("DescribeVolumes", "volume-id", [changes[0].resource])).values()
        states = [getattr(volume, "state", "") for answer in answers for volume in answer]
        if states:
            return {} if all(state in ("deleting", "deleted") for state in states) else None
        try:
            return self.gateway.perform(changes)
        except CallError as error:
            if error.code != "IncorrectState":
                raise
            return None

    def _with_token(self, changes: Sequence[Change]) -> Mapping[str, str]:
        """Create a resource by ClientToken. If the resource of a token is gone, the next generation of the token is
        used.

        Before that, look for an existing resource with the change's identity. An earlier run may have made it with a
        later token or with other parameters.
        """
        (change,) = changes
        generation = 0
        while True:
            try:
                return self.gateway.perform(changes, generation)
            except CallError as refused:
                error = refused
                lost = self._lost_copy(change) if error.unclear else None
                if lost is not None:
                    return {change.resource: lost}
                if error.code not in _TOKEN_USED or generation + 1 >= GENERATIONS:
                    raise
                # EC2 also uses this code for a token whose volume is gone. Only the text differs.
                mismatch = error.code == "IdempotentParameterMismatch" and "deleted" not in error.message
            # A mismatch means that the token has made something, which EC2 may not show yet. A spent token names the
            # resource that is gone.
            found = until_seen(self.gateway, lambda: self._living(changes)) if mismatch else self._living(changes)
            # EC2 may show the old state of that resource for a moment.
            found = [resource for resource in found or () if resource.resource_id != error.spent]
            if found:
                adopted = min(found, key=age)
                self.notes.append(f"an earlier run has made {adopted.resource_id}, and this run uses it")
                return {change.resource: adopted.resource_id}
            generation += 1

    def _lost_copy(self, change: Change) -> str | None:
        """Return the id of the volume that an unclear CreateVolume made from its snapshot, or None.

        Without this id, a rollback would delete the snapshot. But only that snapshot proves to a later run that the
        volume is a copy and may be deleted.
        """
        snapshot_id = change.parameters.get("SnapshotId")
        if snapshot_id is None or tag_names.SWAP not in change.own_tags:
            return None

        def made() -> str | None:
            found = [item for item in self._living([change]) or () if isinstance(item, Volume)]
            return next((item.volume_id for item in found if item.snapshot_id == snapshot_id), None)

        return until_seen(self.gateway, made)

    def _without_token(self, changes: Sequence[Change]) -> Mapping[str, str]:
        """Make a call that EC2 would carry out twice. After an unclear answer, look for its effect
        before the repeat.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return self.gateway.perform(changes)
            except CallError as error:
                if error.code == "InvalidAMIName.Duplicate":
                    return self._name_holder(changes, error)
                if not error.unclear and error.code not in _MODIFIED | changes[0].operation.perhaps:
                    raise
                try:
                    found = (
                        until_seen(self.gateway, lambda: self._matched(changes))
                        if error.unclear
                        else self._matched(changes)
                    )
                except CallError as trouble:
                    # The error names the resource that may exist, and not the failed search for it.
                    raise error from trouble
                if found is not None:
                    return found
                if attempt >= ATTEMPTS or not error.unclear:
                    raise

    def _name_holder(self, changes: Sequence[Change], refused: CallError) -> Mapping[str, str]:
        """Return the image that already has the name, if it was made for this change. Raises CallError otherwise."""
        (change,) = changes
        holders: list[Resource] = []

        def seen() -> Mapping[str, str] | None:
            holders[:] = self._answers(changes)
            found = self._matched(changes)
            return found if found is not None or not holders else {}

        found = until_seen(self.gateway, seen)
        if found:
            return found
        names = ", ".join(resource.resource_id for resource in holders)
        raise CallError(
            refused.operation,
            refused.code,
            refused.message,
            resource=change.resource,
            hint=f"The name belongs to {names or 'an image that EC2 does not show'}, which was not made for this task.",
        )

    def _answers(self, changes: Sequence[Change]) -> list[Resource]:
        """Return the resources that the identity queries of the changes find, each once."""
        queries = list(dict.fromkeys(change.identity for change in changes if change.identity is not None))
        found = {resource.resource_id: resource for answer in self.gateway.ask(queries).values() for resource in answer}
        return list(found.values())

    def _look(self, changes: Sequence[Change]) -> list[Resource]:
        return made_for(changes, self._answers(changes))

    def _matched(self, changes: Sequence[Change]) -> Mapping[str, str] | None:
        """Return the id of the resource for every change, the earliest of several. Return None while one is missing.

        For ModifyVolume the mapping is empty, once the modification runs or is over.
        """
        if not changes[0].creates:
            return {} if any(asked_for(changes[0], fact) for fact in self._answers(changes)) else None
        if changes[0].action == "AttachNetworkInterface":
            attached = attachment_of(changes[0], self._answers(changes))
            return {changes[0].resource: attached} if attached is not None else None
        found = self._look(changes)
        if changes[0].operation.snapshots:
            sets = sets_of(changes, [resource for resource in found if isinstance(resource, Snapshot)], set())
            whole = [entry for entry in sets if len(entry) == len(changes)]
            if not whole:
                return None
            return {planned: snapshot.resource_id for planned, snapshot in min(whole, key=set_order).items()}
        return {changes[0].resource: min(found, key=age).resource_id} if found else None

    def _living(self, changes: Sequence[Change]) -> list[Resource] | None:
        return [resource for resource in self._look(changes) if usable(resource)] or None


def until_seen(gateway: Gateway, look: Callable[[], T | None]) -> T | None:
    """Repeat *look* until it finds something, or for `VISIBLE` seconds. Return its last answer."""
    end = gateway.monotonic() + VISIBLE
    delay = 0.25
    while True:
        found = look()
        left = end - gateway.monotonic()
        if found is not None or left <= 0:
            return found
        gateway.sleep(min(delay, left))
        delay = min(delay * 1.5, 2.0)
