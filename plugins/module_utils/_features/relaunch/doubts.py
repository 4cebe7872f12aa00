# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Contradictions between a replacement's tags and EC2's facts: instances that a run keeps, and successors that it
recognises.

Private to this collection.
"""

from __future__ import annotations

from datetime import datetime

from ..._domain.hold import hold_of
from ..._domain.replacement import born, predecessor, replacement_of
from ..._domain.succession import untagged
from ..._domain.succession_doubts import (
    claim_warnings,
    dispute_warnings,
    doubt_warnings,
    older_id_warnings,
    undecided_warning,
    undecided_warnings,
)
from ..._kernel import tags as tag_names
from ..._kernel.errors import UnsafePlan
from ..._kernel.instance_proofs import can_be_on_trial, is_off
from ..._kernel.plan import Change, Stage
from ..._kernel.resources import Instance
from ..._kernel.state import State
from .options import RelaunchSpec


def can_be_ended(spec: RelaunchSpec, old: Instance, new: Instance, now: datetime) -> bool:
    """Return whether a run that did not launch *new* may terminate it, since its tag says that it was rejected.

    If the task keeps the predecessor beside its successor, both serve, and no fact shows a rejected one.
    """
    return spec.old_instance != "keep" and can_be_on_trial(new, old, now)


def spared(old: Instance, new: Instance) -> str:
    """Return the warning about a successor with the tag ``rejected`` that may have served."""
    return (
        f"The tag {tag_names.TRIAL} of {new.instance_id} ({new.state}, from {new.image_id}) says that it was rejected "
        f"in favour of {old.instance_id} ({old.state}). Nothing proves that, and {new.instance_id} may have served, so "
        f"the task does not terminate it. Terminate {new.instance_id} to continue with {old.instance_id}, or remove "
        f"the tag to continue with {new.instance_id}"
    )


def doubts_of(spec: RelaunchSpec, state: State, current: Instance) -> tuple[str, ...]:
    """Return the warnings about unproven claims, and about tags that the facts overrule."""
    ids = [spec.instance_id, current.instance_id]
    replacement = replacement_of(state, current)
    overruled = replacement is not None and replacement.stands and replacement.in_doubt
    # A task with the same image finishes the replacement.
    is_replaced_again = current.image_id != spec.image_id
    return (
        *claim_warnings(state, ids),
        *(doubt_warnings(state, [current.instance_id]) if overruled else ()),
        *dispute_warnings(state, [spec.instance_id]),
        *older_id_warnings(state, [spec.instance_id]),
        *(undecided_warnings(state, [spec.instance_id]) if is_replaced_again else ()),
    )


def require_outrun_settled(spec: RelaunchSpec, state: State, current: Instance) -> None:
    """Raise UnsafePlan for a new image if the predecessor of *current* ran on for more than a day after the launch.

    Only a tag shows which of the two serves, so the task replaces neither. A task with the same image changes neither.
    """
    replacement = replacement_of(state, current)
    if replacement is None or current.image_id == spec.image_id or spec.old_instance == "keep":
        return
    if not (replacement.stands and replacement.was_outrun):
        return
    if replacement.is_undecided:
        raise UnsafePlan(f"instance_id: {undecided_warning(replacement)}. The task has changed nothing.")
    for text in doubt_warnings(state, [current.instance_id]):
        raise UnsafePlan(f"instance_id: {text}. The task has changed nothing.")


def unretired(spec: RelaunchSpec, old: Instance, new: Instance) -> str:
    """Return the warning about a predecessor that may have run on for more than a day, so that no tag retires it."""
    goal = "stop" if spec.old_instance == "stop" else "terminate"
    return (
        f"{old.instance_id} ({old.state}) ran for more than a day after the launch of {new.instance_id} ({new.state}, "
        f"from {new.image_id}), which was launched to replace it. Only the tag {tag_names.TRIAL} of {new.instance_id} "
        f"shows which of them serves, so the task does not change {old.instance_id}. To continue with "
        f"{new.instance_id}, {goal} {old.instance_id} yourself. To continue with {old.instance_id}, terminate "
        f"{new.instance_id}"
    )


def younger_hold(old: Instance, new: Instance) -> tuple[str, ...]:
    """Return the warning about a hold that a running predecessor got after the launch, without a stop since then."""
    hold, birth = hold_of(old), born(new)
    if hold is None or birth is None or is_off(old) or hold.since <= birth:
        return ()
    warning = (
        f"{old.instance_id} is {old.state}, and its tag {tag_names.RESTORE_STATE} says that another run is about to "
        f"stop it and start it again. {new.instance_id} replaces {old.instance_id} all the same. The other run may "
        "fail because of that. If it fails, repeat it"
    )
    return (warning,)


def recognized(spec: RelaunchSpec, state: State) -> State:
    """Return the state in which each successor that lost its tag `tags.REPLACES` has it, since its ClientToken proves
    the launch.
    """
    return state.with_resources(new for _old, new in _untagged(spec, state))


def _untagged(spec: RelaunchSpec, state: State) -> list[tuple[Instance, Instance]]:
    """Return the successors without their tag that this task would launch again."""
    return untagged(state, (spec.image_id,)) if spec.follow_successor else []


def retagging(spec: RelaunchSpec, state: State) -> tuple[tuple[Stage, ...], tuple[str, ...]]:
    """Return the stage that gives such successors their tag back, and a warning for each."""
    pairs = _untagged(spec, state)
    changes = tuple(_retag(item, tagged, state.region) for item, tagged in pairs)
    warnings = tuple(
        f"{tagged.instance_id} had lost its tag {tag_names.REPLACES}, by which tasks find the successor of "
        f"{predecessor(tagged)}. The task restores the tag. Find out who removed it"
        for _item, tagged in pairs
    )
    return (Stage(changes),) if changes else (), warnings


def _retag(item: Instance, tagged: Instance, region: str) -> Change:
    tags = {tag_names.REPLACES: tagged.tags[tag_names.REPLACES]}
    reason = f"restore the tag: the ClientToken shows that this is the successor of {predecessor(tagged)}"
    before, after = {"tags": dict(item.tags)}, {"tags": dict(tagged.tags)}
    return Change("CreateTags", item.instance_id, region, {"Tags": tag_names.boto3_tags(tags)}, reason, before, after)
