# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Calls that have their effect once: by client tokens, and by a look before a repeat.

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
from .made import MADE_TWICE, age, asked_for, made_for, set_order, sets_of, usable
from .ports import Gateway

T = TypeVar("T")

VISIBLE = 15.0
"""Seconds within which EC2 shows what it has made, and after which an unclear create is taken not to have happened."""
ATTEMPTS = 3
"""How often what EC2 would do twice is called."""
_TOKEN_USED = frozenset({TOKEN_SPENT, "IdempotentInstanceTerminated", "IdempotentParameterMismatch"})
"""The codes of a create whose client token has made something that is gone, or something else."""
_MODIFIED = frozenset({"IncorrectModificationState", "VolumeModificationRateExceeded"})
"""The codes of a ModifyVolume that comes after another one, perhaps after the very same."""


class Once:
    """The calls of a plan, each with its effect once. *notes* gets a sentence for each resource that is adopted."""

    def __init__(self, gateway: Gateway, notes: list[str]) -> None:
        self.gateway = gateway
        self.notes = notes

    def carry_out(self, changes: Sequence[Change]) -> Mapping[str, str]:
        """Make one call for these changes, and return EC2's id for each planned one. Raises CallError."""
        operation = changes[0].operation
        if operation.token:
            return self._with_token(changes)
        if operation.safe:
            return self._repeatable(changes)
        return self._without_token(changes)

    def _repeatable(self, changes: Sequence[Change]) -> Mapping[str, str]:
        """What does no harm when it is done twice."""
        try:
            return self.gateway.perform(changes)
        except CallError as error:
            # What EC2 says of a volume that is being deleted already, but also of one that it will not delete now.
            if changes[0].action != "DeleteVolume" or error.code != "IncorrectState":
                raise
            if until_seen(self.gateway, lambda: self._going(changes)) is None:
                raise
            return {}

    def _going(self, changes: Sequence[Change]) -> Mapping[str, str] | None:
        """An empty mapping once EC2 shows that it deletes the volume, or says that it is gone; None until then.

        A volume that EC2 does not show may be gone, or too new to show: the deletion itself tells.
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
        """A create that EC2 recognises by its ClientToken. A token that stands for something gone is passed over.

        Before another generation is used, what lives under the change's identity is looked for: it may have been made
        by a run that had passed over this token already, or with other parameters.
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
                # CreateVolume's code for a token whose volume is gone too; only the text tells.
                mismatch = error.code == "IdempotentParameterMismatch" and "deleted" not in error.message
            # A mismatch means that something was made with this token, and it may not show yet. A spent token names
            # what is gone.
            found = until_seen(self.gateway, lambda: self._living(changes)) if mismatch else self._living(changes)
            # EC2 may go on showing it as it was for a moment.
            found = [resource for resource in found or () if resource.resource_id != error.spent]
            if found:
                adopted = min(found, key=age)
                self.notes.append(f"{adopted.resource_id} was made for this by an earlier run; it is used")
                return {change.resource: adopted.resource_id}
            generation += 1

    def _lost_copy(self, change: Change) -> str | None:
        """The id of the volume that an unclear CreateVolume has made of its snapshot all the same, or None.

        A way back that does not know the copy would delete the snapshot, which alone proves to a later run that the
        volume is a copy and may go.
        """
        snapshot_id = change.parameters.get("SnapshotId")
        if change.action != "CreateVolume" or snapshot_id is None or tag_names.SWAP not in change.own_tags:
            return None

        def made() -> str | None:
            found = [item for item in self._living([change]) or () if isinstance(item, Volume)]
            return next((item.volume_id for item in found if item.snapshot_id == snapshot_id), None)

        return until_seen(self.gateway, made)

    def _without_token(self, changes: Sequence[Change]) -> Mapping[str, str]:
        """What EC2 would do twice: after an unclear answer it is looked for, and called again only when it is not
        there.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return self.gateway.perform(changes)
            except CallError as error:
                if error.code == "InvalidAMIName.Duplicate":
                    return self._name_holder(changes, error)
                if not error.unclear and error.code not in _MODIFIED:
                    raise
                try:
                    found = (
                        until_seen(self.gateway, lambda: self._matched(changes))
                        if error.unclear
                        else self._matched(changes)
                    )
                except CallError as trouble:
                    # What may have been made is the news, not that it could not be looked for.
                    raise error from trouble
                if found is not None:
                    return found
                if attempt >= ATTEMPTS or not error.unclear:
                    raise

    def _name_holder(self, changes: Sequence[Change], refused: CallError) -> Mapping[str, str]:
        """The image that has the name already, when it is the one that this change would make."""
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
            hint=f"The name belongs to {names or 'an image that is not shown'}, which was not made for this.",
        )

    def _answers(self, changes: Sequence[Change]) -> list[Resource]:
        """What the changes' identity queries find, each once."""
        queries = list(dict.fromkeys(change.identity for change in changes if change.identity is not None))
        found = {resource.resource_id: resource for answer in self.gateway.ask(queries).values() for resource in answer}
        return list(found.values())

    def _look(self, changes: Sequence[Change]) -> list[Resource]:
        return made_for(changes, self._answers(changes))

    def _matched(self, changes: Sequence[Change]) -> Mapping[str, str] | None:
        """An id for every change out of what was made for them, the earliest of several; None while one is missing.

        A modification that is under way, or over, is found without an id.
        """
        if changes[0].action == "ModifyVolume":
            return {} if any(asked_for(changes[0], fact) for fact in self._answers(changes)) else None
        found = self._look(changes)
        if changes[0].action in MADE_TWICE:
            sets = sets_of(changes, [resource for resource in found if isinstance(resource, Snapshot)], set())
            whole = [entry for entry in sets if len(entry) == len(changes)]
            if not whole:
                return None
            return {planned: snapshot.resource_id for planned, snapshot in min(whole, key=set_order).items()}
        return {changes[0].resource: min(found, key=age).resource_id} if found else None

    def _living(self, changes: Sequence[Change]) -> list[Resource] | None:
        return [resource for resource in self._look(changes) if usable(resource)] or None


def until_seen(gateway: Gateway, look: Callable[[], T | None]) -> T | None:
    """Repeats *look* until it finds something, or EC2 has had the time to show what it has made."""
    end = gateway.monotonic() + VISIBLE
    delay = 0.25
    while True:
        found = look()
        left = end - gateway.monotonic()
        if found is not None or left <= 0:
            return found
        gateway.sleep(min(delay, left))
        delay = min(delay * 1.5, 2.0)
