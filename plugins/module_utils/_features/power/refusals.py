# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The instances that cannot be planned. The task refuses and names each of them, and stops or starts the others.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..._domain.moves import half_moved, half_moved_text
from ..._domain.succession import claimants, successor
from ..._kernel.errors import Ambiguous, Incomplete, SpecError, StorageError, Unanswered, UnsafePlan, bounded, listed
from ..._kernel.plan import Plan
from ..._kernel.resources import Instance
from ..._kernel.state import State

CHECK = "Check the ids and the region."
BESIDE = "To start a replaced instance beside its successor, set force_start: true."


@dataclass(frozen=True)
class Refusal:
    """Why one instance is left out.

    ``trouble``: a clause with the id. ``advice``: a sentence, the same for all instances with this reason. ``kind``:
    the class of the error. ``causes``: AWS's own errors.
    """

    instance_id: str
    trouble: str
    advice: str = ""
    kind: type[StorageError] = UnsafePlan
    causes: tuple[StorageError, ...] = ()

    @property
    def error(self) -> StorageError:
        """The error about this instance alone."""
        return self.as_error(_text([self], ""))

    def as_error(self, text: str) -> StorageError:
        """Return an error of the same kind with this text."""
        return Unanswered(text, self.causes) if self.causes else self.kind(text)


def _text(refusals: Sequence[Refusal], end: str) -> str:
    """Return the reasons, each with its instances, and then the sentence *end* and the advice."""
    reasons = dict.fromkeys((one.kind, one.advice) for one in refusals)
    texts = []
    for reason in reasons:
        troubles = [one.trouble.rstrip(".") for one in refusals if (one.kind, one.advice) == reason]
        texts.append(f"instance_ids: {'; '.join(bounded(troubles))}.")
    advice = dict.fromkeys(advice for _kind, advice in reasons)
    return " ".join(part for part in (*texts, end, *advice) if part)


def _error(refusals: Sequence[Refusal], end: str) -> StorageError:
    """Return one error for all *refusals*, of their common kind if there is one.

    *end*: a sentence about the other instances.
    """
    text = _text(refusals, end)
    if len({one.kind for one in refusals}) > 1:
        return Incomplete(text, *(one.error for one in refusals))
    causes = tuple(dict.fromkeys(cause for one in refusals for cause in one.causes))
    return replace(refusals[0], causes=causes).as_error(text)


def refusing(plan: Plan, refusals: Sequence[Refusal], verb: str) -> Plan:
    """Return *plan*, with the *refusals* that fail the task in the end. Raises them if the plan changes nothing.

    *verb*: the action of the task on the other instances.
    """
    if not refusals:
        return plan
    if plan.is_empty:
        raise _error(refusals, "The task has changed nothing.")
    text = _text(refusals, f"The task {verb} the other instances.")
    return replace(plan, refused=Incomplete(text, *(one.error for one in refusals)))


# --- reasons ---------------------------------------------------------------------------------------------------------


def gone_ones(state: State, ids: Iterable[str]) -> Iterator[Refusal]:
    """Yield the refusals of instances that are gone.

    If a successor has replaced an instance, the refusal names the successor.
    """
    for instance_id in ids:
        instance, several = state.instance(instance_id), claimants(state, instance_id)
        text = (
            f"{instance_id} does not exist in {state.region}"
            if instance is None
            else f"{instance_id} is {instance.state}"
        )
        if several:
            successors = listed(f"{newer.instance_id} ({newer.state})" for newer in several)
            text += f", and {successors} {'has' if len(several) == 1 else 'have'} replaced it"
        advice = f"Name the successor of a replaced instance. {CHECK}" if several else CHECK
        yield Refusal(instance_id, text, advice, SpecError)


def unknown_ones(state: State, ids: Iterable[str]) -> Iterator[Refusal]:
    """Yield the refusals of ids that EC2 does not know and that no living instance has replaced."""
    for item in ids:
        if state.instance(item) is None and not claimants(state, item):
            text = f"{item} does not exist in {state.region}, and has no successor there"
            yield Refusal(item, text, CHECK, SpecError)


FINISH_THE_MOVE = "Run the relaunch again. It finishes the move, or returns the volumes."


def half_moved_ones(state: State, instances: Iterable[Instance]) -> Iterator[Refusal]:
    """Yield the refusals of stopped instances whose data volumes have left them for an unproven successor."""
    for item in instances:
        new = half_moved(state, item)
        if new is not None:
            yield Refusal(item.instance_id, half_moved_text(item, new), FINISH_THE_MOVE)


def replaced_ones(state: State, instances: Iterable[Instance]) -> Iterator[Refusal]:
    """Yield the refusals of instances with one successor, or with several claimants."""
    for item in instances:
        name = item.instance_id
        try:
            newer = successor(state, name)
        except Ambiguous as error:
            yield Refusal(name, error.problem, f"{error.remedy}.", kind=Ambiguous)
            continue
        if newer is not None:
            yield Refusal(name, f"{name} was replaced by {newer.instance_id}, which is {newer.state}", BESIDE)
