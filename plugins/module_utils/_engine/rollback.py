# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rollback of a failed transaction, and its part in the error.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from .._kernel.errors import StorageError, Superseded
from .._kernel.failures import CallError, WaitError
from .._kernel.ids import kind_of, planned_in, substitute
from .._kernel.plan import Change, Stage, parts_of
from .ports import Outcome

_NAMED = 10
"""The number of resources whose planned names a message gives."""


def note_rollback(outcome: Outcome, back: Outcome) -> bool:
    """Add the outcome of a rollback to that of the plan, and return whether the rollback finished.

    A failed rollback becomes a note, since the task reports the error of the plan.
    """
    outcome.notes.extend(f"The rollback failed too and is unfinished: {error}" for error in back.errors)
    outcome.rolled_back.extend(back.done)
    outcome.deferred.extend(back.deferred)
    outcome.notes.extend(back.notes)
    outcome.observed.update(back.observed)
    for change in back.done:
        outcome.notes.append(
            f"Rolled back: {change.action} of {substitute(change.resource, outcome.bindings)} ({change.reason})"
        )
    return not back.errors


def possible(stages: Iterable[Stage], bindings: Mapping[str, str]) -> list[Stage]:
    """Return *stages* without the changes and waits of resources that the run never made."""
    made = set(bindings)
    found = []
    for stage in stages:
        changes = tuple(change for change in stage.changes if _used_by(change) <= made)
        made |= {name for change in changes if change.creates for name in (change.resource, *parts_of(change))}
        waits = tuple(
            dataclasses.replace(item, resources=present)
            for item in stage.waits
            if (present := tuple(resource for resource in item.resources if planned_in(resource) <= made))
        )
        found.append(dataclasses.replace(stage, changes=changes, waits=waits))
    return found


def _used_by(change: Change) -> set[str]:
    """Return the planned ids of the resources that must exist before the change."""
    return planned_in(change.parameters) | (set() if change.creates else planned_in(change.resource))


def kind_of_failure(error: StorageError) -> str:
    """Return the name of the failure in `Stage.rollback_on`, or an empty text for any other error."""
    if isinstance(error, WaitError):
        return error.how
    if isinstance(error, CallError):
        return "unclear" if error.passing else "refused"
    return "superseded" if isinstance(error, Superseded) else ""


def explained(error: WaitError, outcome: Outcome, *, is_back: bool) -> WaitError:
    """Return *error* with the planned names of its resources and, after a timeout, with the next step.

    *is_back*: the rollback finished, or there is none.
    """
    planned = {made: name for name, made in outcome.bindings.items()}
    texts = [str(error).rstrip(".") + "."]
    texts += [f"{made} is {planned[made]} in the plan." for made in error.resources[:_NAMED] if made in planned]
    if error.how == "timeout":
        gone = {
            substitute(change.resource, outcome.bindings) for change in outcome.rolled_back if change.operation.removes
        }
        halted = {change.resource for change in outcome.rolled_back if change.operation.halts}
        if not halted.isdisjoint(error.resources):
            texts.append("The task has ended the work, and the next run begins anew. Set a longer wait_timeout.")
        elif gone.isdisjoint(error.resources):
            texts.append("EC2 goes on with the work. Run the task again to continue.")
        elif not is_back:
            texts.append("The rollback is unfinished. Run the task again to finish it.")
        elif any(_ends_instance(change) for change in outcome.rolled_back):
            # A wait for an instance may have its own timeout.
            texts.append("The task rolled it back, and the next run begins anew. Set a longer timeout.")
        else:
            texts.append("The task rolled it back, and the next run begins anew. Set a longer wait_timeout.")
            if any(kind_of(made) == "snapshot" for made in gone):
                texts.append("Take a snapshot of the volume shortly before the run, so that EC2 has less to copy.")
    return WaitError(" ".join(texts), error.how, error.resources)


def _ends_instance(change: Change) -> bool:
    return change.operation.removes and kind_of(change.resource) == "instance"
