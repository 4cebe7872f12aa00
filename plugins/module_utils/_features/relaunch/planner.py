# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replace an instance by a successor from another image, and retire it once the successor is healthy.

The record of the replacement is on the successor. ``ec2ops:replaces`` names its predecessor. ``ec2ops:trial`` has the
phase:

- ``unproven``: the launch itself writes it.
- ``serving``: a run writes it once the successor is healthy, and before it changes the predecessor. The tag is kept.
- no tag: the predecessor is kept, or was stopped before, so the run retires nothing.
- ``rejected``: a run writes it before it terminates an unhealthy successor, and `power` once the predecessor is back.
  If the predecessor had a hold, its start after the launch means the same, while the hold exists.

The remains of an interrupted run, and the next run's action on them (old, new: the two instances):

=========================== ========================== =========================== ================== ================
ended                       old; record on new         the same image again        another image      restored
=========================== ========================== =========================== ================== ================
before the launch           serves or held             launch                      launch             held old starts
after the launch            serves or held; unproven   new proves itself and old   refused, also by a held old starts,
                                                       is retired, or old is back  bake               new is rejected
during the rollback         serves; rejected           new is terminated, failure  new is terminated
during the rollback         started under an older     new is terminated, failure  refused, also by a new is rejected
                            hold; unproven                                         bake
before the retirement       serves or held; serving    old is retired              refused, also by a held old stays
                                                                                   bake
after the retirement        stopped or gone; serving   nothing                     new is replaced
=========================== ========================== =========================== ================== ================

While parts are away from old, `power` refuses to start it, and the same image again finishes the move or returns the
parts (`moving_plan.continued_plan`). A successor that ends with moved parts, in any of these phases, first gives them
back (`_left_parts`). EC2 shows it for about an hour.

An unproven successor does not stand for its predecessor: `succession.living` returns the predecessor. If somebody has
started the predecessor after the launch, or put a hold on it, either instance may have new data, so the plan is
refused. If the predecessor is gone, or off without a hold, the successor that ran last stands for it, with any record.
`doubts` handles records that contradict EC2's facts.

No record retires a predecessor that may have served for more than a day after the launch: a warning names it.
``lose_writes`` applies to a later retirement as to a launch.

Two runs may each launch a successor at the same moment. Each looks for the other right before its launch and right
before it writes ``serving`` (`succession.unreplaced`, `succession.unrivalled`): the later successor is terminated.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from ..._domain.hold import hold_of, wants_start
from ..._domain.load_balancers import balancer_queries
from ..._domain.moves import recorded_moves
from ..._domain.replacement import (
    REJECTED,
    SERVING,
    Phase,
    born,
    is_on_trial,
    is_unretired,
    predecessor,
    replacement_of,
    started_since,
)
from ..._domain.succession import launch_queries, lineage_queries, living, on_trial_for, successor
from ..._domain.succession_guards import require_no_rollback, require_settled, require_unclaimed, settling_queries
from ..._kernel import tags as tag_names
from ..._kernel.errors import Ambiguous, SpecError, UnsafePlan
from ..._kernel.facts import (
    protection_queries,
    type_queries,
)
from ..._kernel.ids import is_planned
from ..._kernel.instance_proofs import is_off, may_have_run_on
from ..._kernel.plan import Feature, Plan, Stage
from ..._kernel.resources import Instance, view
from ..._kernel.state import Query, State, by_id, images_by_id, together
from .doubts import (
    can_be_ended,
    doubts_of,
    recognized,
    require_outrun_settled,
    retagging,
    spared,
    unretired,
    younger_hold,
)
from .left_behind import left_behind, origin_queries
from .losers import loser_ends, losers_over
from .moved_parts import move_queries, record_troubles
from .moving_plan import (
    ROLLBACK_ON,
    continued_plan,
    dead_successors,
    finished_plan,
    has_begun,
    has_left_parts,
    is_away,
    launch_plan,
    probing,
    return_plan,
    was_moved_back,
)
from .not_applied import not_applied
from .obstacles import refuse, usable_image, write_troubles
from .options import AUTO, REPLACE_ROOT_VOLUME, RelaunchSpec, parse
from .retirement import (
    finished,
    health_wait,
    is_retired,
    lost_addresses,
    restoration,
    retirement_stages,
    retirement_troubles,
    rollback_stages,
    terminations,
)
from .root_facts import is_current
from .root_volume import plan_root_volume
from .source_check import source_check
from .strategies import OBSTACLES_TO_A_SUCCESSOR, chosen, successor_queries, with_choice

# --- existing instances ----------------------------------------------------------------------------------------------


def _family_queries(spec: RelaunchSpec, state: State) -> tuple[Query, ...]:
    """Return the queries for the given instance, and for its successors if the task follows them."""
    if spec.follow_successor:
        return lineage_queries([spec.instance_id], state)
    return by_id("DescribeInstances", "instance-id", [spec.instance_id])


def _current(spec: RelaunchSpec, state: State) -> Instance | None:
    """Return the living instance that the given id stands for, or None.

    The id of an unproven or rejected successor stands for its predecessor.
    """
    newer = successor(state, spec.instance_id) if spec.follow_successor else None
    found = newer or state.instance(spec.instance_id)
    if found is not None and is_on_trial(state, found):
        found = state.instance(predecessor(found))
    return found if found is not None and found.alive else None


# --- the plan --------------------------------------------------------------------------------------------------------


def plan(spec: RelaunchSpec, state: State, now: datetime) -> Plan:
    """Return the plan that makes the instance run from the image. Raises SpecError, Ambiguous, UnsafePlan."""
    state.require(*_family_queries(spec, state))
    stages, warnings = retagging(spec, state)
    made = _plan(spec, recognized(spec, state), now)
    return dataclasses.replace(made, stages=(*stages, *made.stages), warnings=(*warnings, *made.warnings))


def _plan(spec: RelaunchSpec, state: State, now: datetime) -> Plan:
    current = _current(spec, state) or living(state, spec.instance_id, "instance_id", follow=spec.follow_successor)
    if spec.follow_successor:
        require_unclaimed(state, current, "instance_id")
        require_outrun_settled(spec, state, current)
    spec, choice = chosen(spec, state, current)
    if spec.strategy == REPLACE_ROOT_VOLUME:
        return with_choice(plan_root_volume(spec, state, current, now), choice)
    made, ends = together(partial(_branch, spec, state, current, now), partial(_ends, spec, state, current, now))
    made = with_choice(made, choice)
    if made.refused is not None:
        return made
    doubts = doubts_of(spec, state, current) if spec.follow_successor else ()
    warnings = (*made.warnings, *ends.warnings, *doubts)
    return dataclasses.replace(made, stages=(*ends.stages, *made.stages), warnings=warnings)


def _branch(spec: RelaunchSpec, state: State, current: Instance, now: datetime) -> Plan:
    """Return the plan for the phase of the replacement."""
    unserving = on_trial_for(state, current.instance_id)
    given_up = [new for new in unserving if _is_rejected(current, new)]
    rejected = _endable(spec, state, current, given_up, now)
    unproven = [new for new in unserving if new not in given_up]
    if unproven or any(new.image_id == spec.image_id for new in given_up):
        state.require(*_ending_queries(spec, state, current))
    for new in (*unproven, *given_up):
        state.require(*move_queries(spec, state, current, new) if recorded_moves(new) or spec.moved else ())
    away = [new for new in given_up if is_away(state, current, new)]
    away = away or ([] if unproven else _left_parts(spec, state, current))
    if away or (unproven and spec.stage == "rollback"):
        return return_plan(spec, state, current, (away or unproven)[0], now)
    if unproven:
        return _plan_unproven(spec, state, current, unproven, now)
    if any(new.image_id == spec.image_id for new in rejected):
        return _plan_rollback(spec, state, current, rejected)
    if any(new.image_id == spec.image_id for new in given_up):
        return Plan(restoration(state, current, ()))
    if is_current(spec, state, current):
        return _plan_retirement(spec, state, current, now)
    return _plan_replacement(spec, state, current, now)


def _left_parts(spec: RelaunchSpec, state: State, current: Instance) -> list[Instance]:
    """Return the successors that have ended while they had parts of *current*, which no rollback has returned."""
    found = []
    for new in dead_successors(state, current):
        state.require(*_ending_queries(spec, state, current), *move_queries(spec, state, current, new))
        found += [new] if has_left_parts(state, current, new) else []
    return found


def _ends(spec: RelaunchSpec, state: State, current: Instance, now: datetime) -> Plan:
    """Return the terminations of rejected successors, and of those that have lost a race with *current*."""
    given_up = [new for new in on_trial_for(state, current.instance_id) if _is_rejected(current, new)]
    rejected = _endable(spec, state, current, given_up, now)
    ends = terminations(state, current, rejected) if spec.on_failure == "rollback" else ()
    lost, left = losers_over(spec, state, current, now)
    kept = (spared(current, new) for new in given_up if new not in rejected)
    return Plan((*ends, *loser_ends(state, current, lost)), (*kept, *left))


def _endable(
    spec: RelaunchSpec, state: State, current: Instance, given_up: Iterable[Instance], now: datetime
) -> list[Instance]:
    """Return the rejected successors that this run may terminate. Facts must agree with their tag."""

    def was_returned(new: Instance) -> bool:
        return spec.old_instance != "keep" and was_moved_back(state, current, new, now)

    return [new for new in given_up if can_be_ended(spec, current, new, now) or was_returned(new)]


def _ending_queries(spec: RelaunchSpec, state: State, old: Instance) -> tuple[Query, ...]:
    """Return the queries for obstacles to a retirement or a rollback, and for the attachments that the predecessor
    keeps.
    """
    return (
        *images_by_id([spec.image_id]),
        *origin_queries(spec, state, old),
        *protection_queries(old.instance_id),
        *_store_queries(spec, old),
        *balancer_queries(state, old),
    )


def _store_queries(spec: RelaunchSpec, instance: Instance) -> tuple[Query, ...]:
    return () if spec.lose_instance_store or spec.old_instance == "keep" else type_queries(instance.instance_type)


def _plan_unproven(
    spec: RelaunchSpec, state: State, old: Instance, unproven: Sequence[Instance], now: datetime
) -> Plan:
    """Return the plan for an unproven successor of an interrupted run."""
    if len(unproven) > 1:
        raise Ambiguous(
            f"several instances were launched to replace {old.instance_id} and are unproven (tag {tag_names.TRIAL})",
            [new.instance_id for new in unproven],
            "Terminate all but one of them",
        )
    (new,) = unproven
    if new.image_id != spec.image_id:
        require_settled(state, old, "image_id")
    hold, birth = hold_of(old), born(new)
    held_since = is_off(old) and hold is not None and birth is not None and hold.since > birth
    halted = has_begun(old, new)
    if (not halted and (new.state not in ("pending", "running") or held_since)) or started_since(old, new):
        runs = new.state in ("pending", "running")
        start = "" if runs else "start it, "
        what = "was started or got a hold after that launch" if runs else f"is {old.state}"
        raise UnsafePlan(
            f"instance_id: {new.instance_id} was launched to replace {old.instance_id} and is unproven. It is "
            f"{new.state}, and {old.instance_id} {what}, so either may have data that the other lacks. To continue "
            f"with {old.instance_id}, terminate {new.instance_id}. To continue with {new.instance_id}, {start}stop "
            f"{old.instance_id}, and remove the tag {tag_names.TRIAL} of {new.instance_id}"
        )
    refuse(record_troubles(spec, state, old, new))
    return _proof_plan(spec, state, old, new, now)


def _proof_plan(
    spec: RelaunchSpec, state: State, old: Instance, new: Instance, now: datetime, *, ended: bool = True
) -> Plan:
    """Return the plan that proves the successor and retires the predecessor, or rolls back. *ended* is false if the
    successor may have served.
    """
    if _is_left(spec, old, new, now):
        return Plan(warnings=(unretired(spec, old, new),))
    refuse(_late_troubles(spec, state, old, recorded_moves(new).part_ids))
    if recorded_moves(new):
        return continued_plan(spec, state, old, new, now)
    ended = ended and can_be_ended(spec, old, new, now)
    # A predecessor without a hold was stopped by hand, maybe for the successor.
    serves = old.state in ("pending", "running") or wants_start(old)
    back = rollback_stages(spec, state, old, new.instance_id, new.tags, ended=ended) if serves else ()
    proof = Stage(
        waits=(health_wait(spec, new.instance_id),), on_failure=back, rollback_on=ROLLBACK_ON if back else frozenset()
    )
    retirement = retirement_stages(spec, state, old, new.instance_id, new.tags, ended=ended)
    probes = (
        *source_check(old, new, state.region, back),
        *probing(spec, old, new, back, planned=False),
    )
    warnings = (*left_behind(spec, state, old), *lost_addresses(retirement, old), *younger_hold(old, new))
    return Plan((proof, *probes, *(() if spec.stage == "launch" else retirement)), warnings)


def _plan_rollback(spec: RelaunchSpec, state: State, old: Instance, rejected: Sequence[Instance]) -> Plan:
    """Return the plan that finishes an earlier run's rollback, and then fails as that run would have.

    It launches no other successor. The image lacks the predecessor's writes since the capture, so a new launch needs
    another run.
    """
    names = " and ".join(new.instance_id for new in rejected)
    them = "it" if len(rejected) == 1 else "them"
    what = f"instance_id: {names} did not become healthy in place of {old.instance_id}"
    if spec.on_failure != "rollback":
        raise UnsafePlan(
            f"{what}. The task keeps {them} for inspection (on_failure: {spec.on_failure}). Terminate {them} afterwards"
        )
    refused = UnsafePlan(
        f"{what}. The task terminates {them}, and {old.instance_id} stays in service. Another run launches a new "
        f"successor from {spec.image_id}, which lacks the writes of {old.instance_id} since the capture. To include "
        "them, bake another version"
    )
    return Plan(restoration(state, old, rejected), refused=refused)


def _plan_retirement(spec: RelaunchSpec, state: State, current: Instance, now: datetime) -> Plan:
    """Return the plan that finishes the predecessor's retirement after an interrupted run.

    The instance itself is up to date.
    """
    if spec.stage == "rollback":
        return Plan(warnings=(f"stage: rollback changes nothing, since {current.instance_id} already serves",))
    made = _retirement_plan(spec, state, current, now)
    return dataclasses.replace(made, warnings=(*made.warnings, *not_applied(spec, current)))


def _is_left(spec: RelaunchSpec, old: Instance, new: Instance, now: datetime) -> bool:
    """Return whether the run leaves *old* as it is, since it may have served for long beside *new*."""
    return spec.old_instance != "keep" and may_have_run_on(old, new, now)


def _late_troubles(spec: RelaunchSpec, state: State, old: Instance, leaving: frozenset[str] = frozenset()) -> list[str]:
    """Return the obstacles to a retirement by a run that did not launch the successor.

    *old* may have run since the launch. *leaving*: see `retirement_troubles`. A volume that somebody has attached to
    the predecessor again, or that an earlier task has kept, moves no more.
    """
    lost = () if spec.old_instance == "keep" else write_troubles(spec, old, state.image(spec.image_id))
    return [*lost, *retirement_troubles(spec, state, old, leaving)]


def _retirement_queries(
    spec: RelaunchSpec, state: State, current: Instance, old: Instance | None, now: datetime
) -> tuple[Query, ...]:
    """Return the queries for the retirement of *old*, or none if it is retired, serves again, or stays as it is."""
    if old is None or started_since(old, current) or _is_left(spec, old, current, now):
        return ()
    replacement = replacement_of(state, current)
    proves = replacement is not None and replacement.in_doubt and replacement.word is Phase.UNPROVEN
    return () if is_retired(spec, old) and not proves else _ending_queries(spec, state, old)


def _require_predecessor(spec: RelaunchSpec, state: State, current: Instance, now: datetime) -> None:
    """Require the predecessor of *current*, and the facts for its retirement and the end of its moves."""
    old_id = predecessor(current)
    if old_id is None:
        return
    # The instance is read already if the task itself names it.
    state.require(*(by_id("DescribeInstances", "instance-id", [old_id]) if old_id != spec.instance_id else ()))
    before = state.instance(old_id)
    moved = move_queries(spec, state, before or current, current) if recorded_moves(current) else ()
    state.require(*_retirement_queries(spec, state, current, before, now), *moved)


def _retirement_plan(spec: RelaunchSpec, state: State, current: Instance, now: datetime) -> Plan:
    _require_predecessor(spec, state, current, now)
    replacement = replacement_of(state, current)
    old = None if replacement is None else replacement.predecessor
    if replacement is not None and old is not None and replacement.in_doubt and not started_since(old, current):
        # The tag says otherwise. A tag alone ends no instance, and an unproven successor may still become healthy.
        if replacement.word is Phase.REJECTED:
            return Plan()
        return _proof_plan(spec, state, old, current, now, ended=False)
    if old is None or is_retired(spec, old):
        # The predecessor is kept after all, or gone.
        open_ = is_unretired(old, current) or current.tags.get(tag_names.TRIAL) not in (None, SERVING)
        ends = (finished(current.instance_id, current.tags, state.region),) if open_ else ()
        return finished_plan(spec, state, old, current, ends, now) if recorded_moves(current) else Plan(ends)
    retirement = retirement_stages(spec, state, old, current.instance_id, current.tags)
    if not any(stage.changes for stage in retirement):
        return Plan(retirement)
    if current.state not in ("pending", "running"):
        warning = (
            f"{current.instance_id}, which replaces {old.instance_id}, is {current.state}, so the task does "
            f"not change {old.instance_id} ({old.state}). Start one of them and run the task again"
        )
        return Plan(warnings=(warning,))
    if started_since(old, current):
        warning = (
            f"{old.instance_id} ({old.state}) was started again after {current.instance_id} had replaced it, so the "
            f"task does not change it. Stop or terminate {old.instance_id} yourself once you do not need it any more"
        )
        return Plan(warnings=(warning,))
    if _is_left(spec, old, current, now):
        return Plan(warnings=(unretired(spec, old, current),))
    refuse(_late_troubles(spec, state, old))
    proof = Stage(waits=(health_wait(spec, current.instance_id),))
    if recorded_moves(current):
        made = finished_plan(spec, state, old, current, retirement, now)
        return dataclasses.replace(made, stages=(proof, *made.stages))
    return Plan((proof, *retirement), (*left_behind(spec, state, old), *lost_addresses(retirement, old)))


def _is_rejected(old: Instance, new: Instance) -> bool:
    """Return whether *new* is rejected, by its tag, or since *old* runs again from a hold that is older than the
    launch.

    A rollback removes that hold last, once *new* is terminated. The tag alone terminates no instance: see
    `can_be_ended`.
    """
    if new.tags.get(tag_names.TRIAL) == REJECTED:
        return True
    hold, birth = hold_of(old), born(new)
    return hold is not None and birth is not None and hold.since <= birth and started_since(old, new)


def _plan_replacement(spec: RelaunchSpec, state: State, current: Instance, now: datetime) -> Plan:
    if spec.stage == "rollback":
        return Plan()
    if spec.stage == "finish":
        raise SpecError(
            f"stage: {current.instance_id} has no successor from {spec.image_id} to finish. Run the task with stage: "
            "launch first"
        )
    if is_planned(current.instance_id):
        raise SpecError(
            f"instance_id: {spec.instance_id} stands for {current.instance_id}, which is only planned. Check mode "
            "cannot plan the replacement of that instance too"
        )
    if spec.follow_successor:
        # A successor that has lost its tag is found by its ClientToken.
        state.require(*launch_queries(current, [spec.image_id]))
    settling = settling_queries(state, spec.instance_id) if spec.follow_successor else ()
    state.require(*settling, *successor_queries(spec, state, current))
    require_settled(state, current, "image_id")
    require_no_rollback(state, current, spec.instance_id, "instance_id")
    image = usable_image(spec, state)
    refuse(text for kind in OBSTACLES_TO_A_SUCCESSOR for text in kind(spec, state, current, image))
    return launch_plan(spec, state, current, image, now)


# --- the result ------------------------------------------------------------------------------------------------------


def result(spec: RelaunchSpec, state: State) -> dict[str, Any]:
    """Return the instance of the given id or its successor, with its predecessor as ``replaced``."""
    # The result comes from the state as it is.
    state = dataclasses.replace(recognized(spec, state), open=False)
    current = _current(dataclasses.replace(spec, follow_successor=True), state)
    if current is None:
        # The task names a successor by its own id, and the launch of this successor was rolled back.
        failed = state.instance(spec.instance_id)
        before = None if failed is None else state.instance(predecessor(failed))
        current = before or living(state, spec.instance_id, "instance_id")
    unproven = [new for new in on_trial_for(state, current.instance_id) if not _is_rejected(current, new)]
    return {
        "instance": view(current),
        "instance_id": current.instance_id,
        "replaced": predecessor(current),
        "image_id": spec.image_id if is_current(spec, state, current) else current.image_id,
        "strategy": spec.strategy,
        "strategy_reason": "the task names it",
        "unproven": view(unproven[0]) if len(unproven) == 1 else None,
    }


def headline(spec: RelaunchSpec, result: Mapping[str, Any]) -> str:
    """Return the instance that serves, and its image. With ``auto``, also the strategy and its reason."""
    told = f"{result['instance_id']} runs from {result['image_id']}"
    if spec.strategy != AUTO:
        return told
    return f"{told}; strategy {result['strategy']}: {result['strategy_reason']}"


FEATURE = Feature(parse=parse, plan=plan, result=result, headline=headline, estimates=True)
