# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several successors of one predecessor: which one serves, and the rivals that a launch looks for.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from .._kernel import tags as tag_names
from .._kernel.instance_proofs import LONGEST_RACE, can_be_on_trial, has_retired
from .._kernel.plan import Precondition
from .._kernel.resources import Instance, Resource
from .._kernel.state import Query, State
from .._kernel.times import parse_instant
from .replacement import REJECTED, SERVING, born, choice_by_facts, predecessor
from .succession import claimants, descendants


def outdated_rivals(state: State, successor: Instance) -> frozenset[str]:
    """Return the ids of the other claimants if EC2's facts show that *successor* serves, else an empty set.

    No run works on those claimants.
    """
    found = claimants(state, predecessor(successor) or "")
    chosen = choice_by_facts(state, found)
    mine = chosen is not None and chosen.instance_id == successor.instance_id
    return frozenset(item.instance_id for item in found) - {successor.instance_id} if mine else frozenset()


def losers(state: State, current: Instance) -> list[Instance]:
    """Return, by id, the living instances that were also launched to replace a predecessor of *current* and never
    served.

    Their run lost the race against the run that launched *current*, and ended before it could terminate them. A launch
    counts only if its ClientToken proves it. The same applies to *current* and its predecessors. Return none while
    *current* does not serve, since the loser may then be the only instance that runs. Only tags show that the losers
    never served, and that *current* does: see `has_lost`.
    """
    if current.state not in ("pending", "running") or current.tags.get(tag_names.TRIAL) not in (None, SERVING):
        return []
    lineage = [current.instance_id]
    one: Instance | None = current
    while one is not None and (older := predecessor(one)) is not None and older not in lineage:
        lineage.append(older)
        one = state.instance(older)
    found = [
        item
        for item in state.all(Instance)
        if item.alive
        and item.instance_id not in lineage
        and item.tags.get(tag_names.TRIAL) not in (None, SERVING)
        and predecessor(item) in lineage[1:]
    ]
    return sorted(found, key=lambda item: item.instance_id)


def has_lost(loser: Instance, current: Instance, race: timedelta) -> bool:
    """Return whether EC2's facts agree that *loser* came second in a race with *current*: launched after it, within
    *race*.

    A tag alone could make a loser of an instance that has served for long.
    """
    first, second = born(current), born(loser)
    return first is not None and second is not None and first <= second <= first + race


def is_proven_loser(state: State, loser: Instance, current: Instance, now: datetime) -> bool:
    """Return whether EC2's facts prove that *current* won a race for their predecessor, and allow that *loser* never
    served.

    The predecessor was stopped after the launch of *current* and before that of *loser*. The image of *loser* is older
    than *current*: a run that saw *current* rejected would have launched a later version.
    """
    old, first, second = state.instance(predecessor(loser)), born(current), born(loser)
    if old is None or predecessor(current) != old.instance_id or first is None or second is None:
        return False
    image = state.image(loser.image_id)
    made = None if image is None else parse_instant(image.creation_date or "")
    if made is None or made > first or not has_retired(current, old, second):
        return False
    return has_lost(loser, current, LONGEST_RACE) and can_be_on_trial(loser, old, now)


def _rivals_query(old_id: str) -> Query:
    return Query("DescribeInstances", ((f"tag:{tag_names.REPLACES}", (f"*{old_id}*",)),))


def _rivals(found: Sequence[Resource], old_id: str, known: frozenset[str]) -> list[Instance]:
    """Return the living instances that claim *old_id* and are neither rejected nor *known*, the earliest first."""
    shown = State("").with_resources(item for item in found if isinstance(item, Instance))
    # The planner knows that the instance *old_id* exists, so only proven links count.
    shown = shown.with_resources(() if shown.instance(old_id) else (Instance(old_id),))
    claims = [
        item
        for item in descendants(shown, old_id)
        if item.alive and item.instance_id not in known and item.tags.get(tag_names.TRIAL) != REJECTED
    ]
    return sorted(claims, key=_seniority)


def _seniority(successor: Instance) -> tuple[datetime, str]:
    """Return a sort key that puts the successor that came first before the others."""
    return born(successor) or successor.launch_time or datetime.max.replace(tzinfo=UTC), successor.instance_id


def _described(successor: Instance) -> str:
    return f"{successor.instance_id} ({successor.state}, from {successor.image_id})"


def unreplaced(old_id: str, image_id: str, known: frozenset[str]) -> Precondition:
    """Return the precondition that no instance except the *known* ones has replaced *old_id* since the plan.

    A launch from the same image is the same launch, since it has the same client token.
    """

    def objection(found: Sequence[Resource], _planned: str) -> str:
        rivals = [
            item for item in _rivals(found, old_id, known) if item.image_id != image_id or predecessor(item) != old_id
        ]
        if not rivals:
            return ""
        return (
            f"image_id: another run has launched {_described(rivals[0])} to replace {old_id} meanwhile, and only one "
            f"successor may serve. The task has launched nothing from {image_id}. Run it again once that "
            "replacement is finished."
        )

    return Precondition(_rivals_query(old_id), objection)


def unrivalled(old_id: str, known: frozenset[str]) -> Precondition:
    """Return the precondition that the change's resource may serve in place of *old_id*. Only the first of several
    successors may serve.

    A successor that already serves is never the second. The later successor is checked later, so that check sees the
    other successor. A successor that was rejected meanwhile, because the predecessor is back, must not serve either.
    """

    def objection(found: Sequence[Resource], own_id: str) -> str:
        own = next((item for item in found if isinstance(item, Instance) and item.instance_id == own_id), None)
        if own is not None and own.tags.get(tag_names.TRIAL) == REJECTED:
            return (
                f"instance_id: the task rejects {own_id}, since another run has started {old_id} again meanwhile. Run "
                f"the task again to replace {old_id}."
            )
        first = next(
            (
                item
                for item in _rivals(found, old_id, known | {own_id})
                if own is None
                or item.tags.get(tag_names.TRIAL) in (None, SERVING)
                or _seniority(item) < _seniority(own)
            ),
            None,
        )
        if first is None:
            return ""
        return (
            f"image_id: the task rejects {own_id}, since another run launched {_described(first)} first to replace "
            f"{old_id}. Only one successor may serve. Run the task again once that replacement is finished."
        )

    return Precondition(_rivals_query(old_id), objection)
