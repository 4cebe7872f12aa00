# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A call of a plan: EC2's ids in the parameters, the parts of a refused call, and the checks right before the call.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from .._kernel.errors import StorageError, Superseded
from .._kernel.failures import CallError
from .._kernel.ids import planned_in_filters, substitute, substitute_filters
from .._kernel.plan import Change, Precondition, Recheck
from .._kernel.report import Withdrawal
from .._kernel.state import Query
from .ports import Gateway, Outcome

_NOT_OF_A_MEMBER = frozenset({"AuthFailure", "OptInRequired", "RequestExpired", "Blocked", "PendingVerification"})
"""EC2's codes for refusals of the caller. No part of the call would succeed alone."""


def is_divisible(changes: Sequence[Change]) -> bool:
    """Return whether each resource of the call may have a call of its own.

    This is false for a CreateSnapshots, which makes one set.
    """
    return len(changes) > 1 and not changes[0].creates


def halves(changes: Sequence[Change], error: StorageError) -> tuple[Sequence[Change], ...]:
    """Return the two halves of a call that EC2 has refused, perhaps for one of its members alone.

    EC2 refuses a call for several resources as a whole. Return nothing if a repeat in parts cannot help.
    """
    if not isinstance(error, CallError) or not is_divisible(changes):
        return ()
    if error.passing or error.unclear or error.code in _NOT_OF_A_MEMBER:
        return ()
    middle = len(changes) // 2
    return changes[:middle], changes[middle:]


def is_deferred(changes: Sequence[Change], error: StorageError) -> bool:
    """Return whether a later run may make the refused changes (`Change.deferrable`)."""
    return isinstance(error, CallError) and all(error.code in change.deferrable for change in changes)


def bind(change: Change, outcome: Outcome) -> Change:
    """Return *change* with EC2's ids in place of planned ones, and with the start times of planned snapshots.

    The resource that it creates keeps its planned id.
    """
    identity, bindings = change.identity, outcome.bindings
    if not bindings:
        return change
    return dataclasses.replace(
        change,
        resource=change.resource if change.creates else outcome.bound(change.resource),
        parameters=outcome.bound(change.parameters),
        after=None if change.after is None else outcome.bound(change.after),
        identity=None if identity is None else _bound_query(identity, bindings),
        token=outcome.bound(change.token),
        unless=tuple(_bound_query(query, bindings) for query in change.unless),
        provided=None if change.provided is None else _bound_precondition(change.provided, bindings),
    )


def _bound_query(query: Query, bindings: Mapping[str, str]) -> Query:
    return dataclasses.replace(
        query, filters=substitute_filters(query.filters, bindings), arguments=substitute(query.arguments, bindings)
    )


def _bound_precondition(provided: Precondition, bindings: Mapping[str, str]) -> Precondition:
    also = tuple(_bound_query(query, bindings) for query in provided.also)
    return dataclasses.replace(provided, query=_bound_query(provided.query, bindings), also=also)


@dataclass(frozen=True)
class Checked:
    """The result of the checks before a call, by the number of the change.

    ``left_out``: changes that are superfluous. ``withdrawn``: changes that the stage's recheck withdraws, with the
    ``warning`` about them. ``errors``: the reasons why changes must not be made.
    """

    left_out: frozenset[int] = frozenset()
    withdrawn: Mapping[int, Withdrawal] = field(default_factory=dict)
    warning: str = ""
    errors: Mapping[int, StorageError] = field(default_factory=dict)


def check(gateway: Gateway, changes: Sequence[Change], recheck: Recheck | None) -> Checked:
    """Ask whether the bound *changes* are still wanted (`Change.unless`, `Recheck`) and allowed (`Change.provided`).

    The queries of *recheck* are about a whole place. Without their answers, the run must make none of the changes.
    """
    numbers = range(len(changes))
    try:
        found = recheck.withdrawn(gateway.ask(recheck.queries({one.resource for one in changes}))) if recheck else {}
    except StorageError as error:
        return Checked(errors=dict.fromkeys(numbers, error))
    verdicts = _verdicts(gateway, changes)
    left_out = frozenset(number for number in numbers if verdicts[number] is True)
    errors = {number: verdict for number in numbers if isinstance(verdict := verdicts[number], StorageError)}
    withdrawn = {
        number: found[change.resource]
        for number, change in enumerate(changes)
        if change.resource in found and number not in left_out and number not in errors
    }
    told = {changes[number].resource: why for number, why in withdrawn.items()}
    return Checked(left_out, withdrawn, recheck.warning(told) if recheck and told else "", errors)


def _verdicts(gateway: Gateway, changes: Sequence[Change]) -> list[StorageError | bool]:
    """Return, for each change, the error that forbids it, or whether it is superfluous.

    All queries are asked at once. If AWS refuses one of them, they are asked again for each change by itself.
    """
    try:
        superfluous = _superfluous(gateway, changes)
        objections = _objections(gateway, changes)
    except StorageError as error:
        if len(changes) == 1:
            return [error]
        return [_verdicts(gateway, [change])[0] for change in changes]
    return [
        Superseded(text) if (text := objections.get(number)) else number in superfluous
        for number in range(len(changes))
    ]


def _superfluous(gateway: Gateway, changes: Sequence[Change]) -> list[int]:
    """Return the numbers of the changes that have become superfluous."""
    asked = {
        number: [query for query in change.unless if not planned_in_filters(query.filters)]
        for number, change in enumerate(changes)
        if change.unless
    }
    queries = [query for several in asked.values() for query in several]
    answers = gateway.ask(queries) if queries else {}
    return [number for number, several in asked.items() if any(answers[query] for query in several)]


def _objections(gateway: Gateway, changes: Sequence[Change]) -> dict[int, str]:
    """Return, by the number of the change, why its precondition no longer holds, or an empty text if it holds."""
    wanted = {number: one.provided for number, one in enumerate(changes) if one.provided is not None}
    answers = gateway.ask([query for provided in wanted.values() for query in provided.queries]) if wanted else {}
    return {
        number: provided.objection(
            [resource for query in provided.queries for resource in answers[query]], changes[number].resource
        )
        for number, provided in wanted.items()
    }


def require_wanted(gateway: Gateway, changes: Sequence[Change]) -> None:
    """Raise StorageError if another run has changed a resource before the repeat of its call (`Change.only_while`)."""
    queries = [change.only_while for change in changes if change.only_while is not None]
    answers = gateway.ask(queries) if queries else {}
    for change in changes:
        found = answers.get(change.only_while) if change.only_while is not None else None
        if found is not None and change.resource not in {resource.resource_id for resource in found}:
            raise StorageError(
                f"{change.action} of {change.resource} is not needed any more, since another run was faster"
            )
