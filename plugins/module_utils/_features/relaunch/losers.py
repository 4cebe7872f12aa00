# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Successors that have lost a race: those that a run may terminate, and those that a warning names.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from ..._domain.replacement import (
    REJECTED,
    born,
    predecessor,
)
from ..._domain.rivals import is_proven_loser, losers
from ..._kernel import tags as tag_names
from ..._kernel.facts import protection_queries
from ..._kernel.plan import Stage
from ..._kernel.resources import Instance
from ..._kernel.state import Query, State, by_id, images_by_id
from .options import RelaunchSpec
from .retirement import (
    termination,
    unprotections,
)

# The time that a run may take until it gives up its successor, beside the wait for the successor's health.
_LOSER_GRACE = timedelta(minutes=5)


def losers_over(
    spec: RelaunchSpec, state: State, current: Instance, now: datetime
) -> tuple[list[Instance], tuple[str, ...]]:
    """Return the losers of a race with *current* that no run can still work on, and a warning that names the others.

    A run decides about its successor after the wait for the health of the successor. So the run of a loser is over if
    the tag is ``rejected``, or if the timeout of the health has passed since its launch. If the facts of a race do not
    agree, or if the loser is older than a day, it may have served, and the warning names it.
    """
    found = losers(state, current) if spec.follow_successor else []
    state.require(*(query for item in found for query in _loser_queries(item)))
    patience = timedelta(seconds=spec.health_timeout) + _LOSER_GRACE
    over = [
        item
        for item in found
        if (birth := born(item)) is not None
        and is_proven_loser(state, item, current, now)
        and (item.tags.get(tag_names.TRIAL) == REJECTED or birth + patience < now)
    ]
    if spec.on_failure != "rollback":
        over = []
    left = [item for item in found if item not in over]
    warnings = tuple(
        f"{item.instance_id} ({item.state}, from {item.image_id}) and {current.instance_id} were both launched to "
        f"replace {predecessor(item)}, and {current.instance_id} serves. Terminate {item.instance_id} once no run "
        "works on it any more"
        for item in left
    )
    return over, warnings


def _loser_queries(loser: Instance) -> tuple[Query, ...]:
    """Return the queries for the facts that prove a loser, and for the obstacles to its termination."""
    return (
        *by_id("DescribeInstances", "instance-id", [predecessor(loser) or ""]),
        *images_by_id([loser.image_id]),
        *protection_queries(loser.instance_id),
    )


def loser_ends(state: State, current: Instance, lost: Sequence[Instance]) -> tuple[Stage, ...]:
    """Return the stages that terminate the losers of a race, after they lose the protection that they took over."""
    if not lost:
        return ()
    names = [item.instance_id for item in lost]
    reason = f"terminate: its rival {current.instance_id} serves"
    stages = unprotections(state, {name: name for name in names})
    return (*stages, Stage(tuple(termination(item.instance_id, state.region, reason, item.state) for item in lost)))
