# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rollback of a failed stage, and its part in the error.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from .._kernel.errors import StorageError, Superseded
from .._kernel.failures import CallError, WaitError
from .._kernel.ids import kind_of, planned_in, substitute
from .._kernel.plan import Change, Stage
from .ports import Outcome

_NAMED = 10
"""The number of resources whose planned names a message gives."""


def roll_back(outcome: Outcome, back: Outcome, carry_out: Callable[[Stage], StorageError | None], stage: Stage) -> bool:
    """Roll *stage* back by *carry_out*, and return whether the rollback finished.

    *outcome* is that of the plan, *back* that of the rollback, which *carry_out* fills. A failed rollback becomes a
    note, since the stage's error stays the error of the task.
    """
    is_back = True
    back.bindings = outcome.bindings
    for step in stage.on_failure:
        error = carry_out(_possible(step, outcome.bindings))
        if error is not None:
            outcome.notes.append(f"The rollback failed too and is unfinished: {error}")
            is_back = False
            break
    outcome.rolled_back.extend(back.done)
    outcome.deferred.extend(back.deferred)
    outcome.notes.extend(back.notes)
    outcome.observed.update(back.observed)
    for change in back.done:
        outcome.notes.append(
            f"Rolled back: {change.action} of {substitute(change.resource, outcome.bindings)} ({change.reason})"
        )
    return is_back


def _possible(stage: Stage, bindings: Mapping[str, str]) -> Stage:
    """Return *stage* without the changes and waits of resources that were never made."""

    def exists(change: Change) -> bool:
        used = planned_in(change.parameters) | (set() if change.creates else planned_in(change.resource))
        return used <= set(bindings)

    changes = tuple(change for change in stage.changes if exists(change))
    made = set(bindings) | {change.resource for change in changes if change.creates}
    waits = tuple(
        dataclasses.replace(item, resources=present)
        for item in stage.waits
        if (present := tuple(resource for resource in item.resources if planned_in(resource) <= made))
    )
    return dataclasses.replace(stage, changes=changes, waits=waits)


def kind_of_failure(error: StorageError) -> str:
    """Return the name that `Stage.rollback_on` has for a stage's failure, or an empty text for any other error."""
    if isinstance(error, WaitError):
        return error.how
    if isinstance(error, CallError):
        return "unclear" if error.passing else "refused"
    return "superseded" if isinstance(error, Superseded) else ""


def explained(error: WaitError, outcome: Outcome, *, is_back: bool) -> WaitError:
    """Return *error* with the planned names of its resources and, after a timeout, with the next step.

    *is_back*: the rollback finished, or there is none.
    """
    planned = {made: name for name, made in outcome.ids.items()}
    texts = [str(error).rstrip(".") + "."]
    texts += [f"{made} is {planned[made]} in the plan." for made in error.resources[:_NAMED] if made in planned]
    if error.how == "timeout":
        gone = {
            substitute(change.resource, outcome.bindings) for change in outcome.rolled_back if change.operation.removes
        }
        if gone.isdisjoint(error.resources):
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
