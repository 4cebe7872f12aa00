# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan the instance refresh of Auto Scaling groups.

| the newest refresh | the instances | action |
|---|---|---|
| goes to the wanted version | any | wait for it |
| returns the group to its own version, and that one is wanted | any | wait for it |
| goes to another version, or is cancelled now | any | refuse the group |
| has ended, or there is none | all run the wanted version, and the group names it | nothing; wait if one is unhealthy |
| has ended, or there is none | otherwise | start a refresh |

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..._kernel.display import counted
from ..._kernel.errors import Incomplete, SpecError, StorageError, UnsafePlan, bounded
from ..._kernel.plan import Change, Feature, Plan, Precondition, Stage, Wait, apart
from ..._kernel.resources import Resource
from ..._kernel.scaling_facts import (
    INSTANCE_REFRESHES,
    REFRESHED_TO,
    SCALING_GROUP,
    InstanceRefresh,
    ScalingGroup,
    group_queries,
    newest_refresh,
    refresh_queries,
)
from ..._kernel.state import State
from ..._kernel.storage_facts import TEMPLATE_VERSIONS, template_query
from ..._kernel.times import format_moment
from ..._kernel.wait_goals import GOALS
from .spec import KEEP, ROLLBACK, RefreshSpec, parse
from .target import Known, Target, counted_members, means, numbers, runs, target_of, versions_in_use

ROLL_BACK_ON = frozenset({"timeout"})
"""EC2 Auto Scaling itself ends a refresh that fails. Only a refresh that takes too long is still under way."""


def plan(spec: RefreshSpec, state: State, _now: datetime) -> Plan:
    """Return the plan for all groups. A group that cannot be refreshed is refused, and the others go on."""
    # The refreshes come first: one that ends between both answers has then changed the group already.
    state.require(*refresh_queries(spec.groups))
    state.require(*group_queries(spec.groups))
    found = [SCALING_GROUP.of(state, name) for name in spec.groups]
    named = [one for group in found if group is not None for one in (group.template, *group.overrides)]
    templates = {one.template_id for one in named if one is not None}
    state.require(*(template_query(template_id) for template_id in sorted(templates)))
    stages: list[Stage] = []
    warnings: list[str] = []
    refused: list[StorageError] = []
    for name, group in zip(spec.groups, found, strict=True):
        if group is None:
            refused.append(SpecError(f"{name} does not exist in {state.region}. Check the name and the region"))
            continue
        try:
            stages += _stages(spec, state, group)
            warnings += _warnings(group)
        except (SpecError, UnsafePlan) as error:
            refused.append(error)
    return _refusing(Plan(tuple(stages), tuple(warnings) if stages else ()), refused)


def _refusing(planned: Plan, errors: Sequence[StorageError]) -> Plan:
    """Return the plan with the refused groups, which fail the task in the end. Raises them if there is no other."""
    if not errors:
        return planned
    texts = "; ".join(bounded(str(one).rstrip(".") for one in errors))
    if not planned.stages:
        if len(errors) == 1:
            raise type(errors[0])(f"groups: {texts}. The task has changed nothing.")
        raise Incomplete(f"groups: {texts}. The task has changed nothing.", *errors)
    return Plan(
        planned.stages,
        planned.warnings,
        refused=Incomplete(f"groups: {texts}. The task refreshes the other groups.", *errors),
    )


def _warnings(group: ScalingGroup) -> list[str]:
    if not group.is_balanced or "ELB" in group.health_check.split(","):
        return []
    text = (
        f"{group.name} has a load balancer, but its health check type is EC2. The refresh does not see whether the "
        "load balancer's checks pass. Add ELB to the health checks of the group"
    )
    return [text]


def _stages(spec: RefreshSpec, state: State, group: ScalingGroup) -> tuple[Stage, ...]:
    target = target_of(spec, group, state)
    refreshes = INSTANCE_REFRESHES.of(state, group.name) or ()
    active = next((one for one in refreshes if one.is_active), None)
    if REFRESHED_TO.of(state, group.name) == target.number:
        return ()
    if active is not None and active.is_going_back and not target.desired:
        over = Wait((group.name,), "refresh_over", final=True)
        return apart([Stage(waits=(over,)), _serving(spec, group, target)])
    if active is not None:
        _require_same(active, group, target, _known_now(state, target))
        following = refreshes[refreshes.index(active) + 1 :]
        former = newest_refresh(following)
        return _waiting(spec, state, group, target, former, ())
    current = all(runs(one, target) for one in counted_members(spec, group))
    if current and not target.desired:
        # An earlier run may have ended before the group was healthy.
        serves = GOALS["group_in_service"].verdict(None, group, target.number).done
        return () if serves else apart([_serving(spec, group, target)])
    return _waiting(spec, state, group, target, newest_refresh(refreshes), (_start(spec, state, group, target),))


def _known_now(state: State, target: Target) -> Mapping[str, Known]:
    """Return the versions of the group's launch template as EC2 shows them. A refresh that is under way uses these
    versions.
    """
    return numbers(TEMPLATE_VERSIONS.of(state, target.template.template_id) or ())


def _require_same(active: InstanceRefresh, group: ScalingGroup, target: Target, known: Mapping[str, Known]) -> None:
    """Raise UnsafePlan unless the active refresh goes to the wanted version."""
    meant = means(active, group, known)
    if active.is_under_way and meant == target.number:
        return
    goal = f"version {meant}" if meant else "another configuration"
    seen = f"{active.state}{active.progress}"
    raise UnsafePlan(
        f"the refresh {active.refresh_id} of {group.name} goes to {goal} ({seen}), and the task wants {target.text}. "
        "Wait for the end of that refresh, or cancel it, and run the task again"
    )


def _start(spec: RefreshSpec, state: State, group: ScalingGroup, target: Target) -> Change:
    parameters: dict[str, Any] = {"Preferences": spec.request(reversible=target.reversible)}
    if target.desired:
        template = {"LaunchTemplateId": target.template.template_id, "Version": target.desired}
        parameters["DesiredConfiguration"] = {"LaunchTemplate": template}
    members = counted_members(spec, group)
    others = sum(not runs(one, target) for one in members)
    return Change(
        "StartInstanceRefresh",
        group.name,
        state.region,
        parameters,
        f"replace {others} of {counted(len(members), 'instance')} with {target.text}",
        before={"version": target.template.version, "instances": versions_in_use(group)},
        after={"version": target.desired or target.template.version, **REFRESHED_TO.view(target.number)},
        disruptive=others > 0,
    )


@dataclass(frozen=True)
class _Ours:
    """The condition for the end of a refresh: the active one still goes to the wanted version, or there is none.

    A refresh that is already ending continues to its end. To cancel a rollback would leave the group half-way.
    """

    group: ScalingGroup
    target: Target
    known: Mapping[str, Known]

    def objection(self, answer: Sequence[Resource], _resource: str) -> str:
        """Return why the refresh must go on, or an empty text."""
        for item in answer:
            for refresh in INSTANCE_REFRESHES.read(item, self.group.name) or ():
                if refresh.is_active and means(refresh, self.group, self.known) != self.target.number:
                    return f"the refresh {refresh.refresh_id} of {self.group.name} goes to another version"
                if refresh.is_active and not refresh.is_under_way:
                    return f"the refresh {refresh.refresh_id} of {self.group.name} is already {refresh.state}"
        return ""


def _waiting(
    spec: RefreshSpec,
    state: State,
    group: ScalingGroup,
    target: Target,
    former: InstanceRefresh | None,
    changes: tuple[Change, ...],
) -> tuple[Stage, ...]:
    """Return the stages that end with a successful refresh, and with a group that serves.

    *former*: the newest refresh before the one that is awaited.
    """
    about = former.refresh_id if former is not None else ""
    refreshed = Wait((group.name,), "refreshed", final=True, about=about)
    back = (
        ()
        if spec.on_failure == KEEP
        else (_ending(spec, state, group, target, _Ours(group, target, _known_now(state, target))),)
    )
    stage = Stage(changes, (refreshed,), back, ROLL_BACK_ON if back else frozenset())
    return apart([stage, _serving(spec, group, target)], "refresh")


def _serving(spec: RefreshSpec, group: ScalingGroup, target: Target) -> Stage:
    """Return the health gate."""
    wait = Wait((group.name,), "group_in_service", final=True, about=target.number, timeout=spec.health_timeout)
    return Stage(waits=(wait,))


def _ending(spec: RefreshSpec, state: State, group: ScalingGroup, target: Target, ours: _Ours) -> Stage:
    """Return the end of a refresh that takes too long: its rollback where EC2 Auto Scaling has one."""
    back = target.reversible and spec.on_failure == ROLLBACK
    reason = "return the group to its earlier version" if back else "stop the refresh, and keep its new instances"
    change = Change(
        "RollbackInstanceRefresh" if back else "CancelInstanceRefresh",
        group.name,
        state.region,
        {},
        reason,
        before={"status": "InProgress"},
        after={"status": "RollbackInProgress" if back else "Cancelling"},
        provided=Precondition(refresh_queries([group.name])[0], ours.objection),
    )
    return Stage((change,), (Wait((group.name,), "refresh_over"),))


# --- the result ------------------------------------------------------------------------------------------------------


def result(spec: RefreshSpec, state: State) -> dict[str, Any]:
    """Return a row for each group that exists."""
    return {
        "groups": [_row(spec, state, name, group) for name in spec.groups if (group := SCALING_GROUP.of(state, name))],
    }


def _target_number(spec: RefreshSpec, state: State, group: ScalingGroup) -> str | None:
    """Return the number of the version that the group should run, or None for a refused group."""
    try:
        return target_of(spec, group, state).number
    except (SpecError, UnsafePlan):
        return None


def _row(spec: RefreshSpec, state: State, name: str, group: ScalingGroup) -> dict[str, Any]:
    newest = newest_refresh(INSTANCE_REFRESHES.of(state, name) or ())
    template = group.template
    return {
        "name": name,
        "launch_template_id": template.template_id if template is not None else None,
        "version": template.version if template is not None else None,
        "target": _target_number(spec, state, group),
        "instances": versions_in_use(group),
        "refresh": None if newest is None else _refresh_row(newest),
    }


def _refresh_row(refresh: InstanceRefresh) -> dict[str, Any]:
    return {
        "refresh_id": refresh.refresh_id,
        "status": refresh.status,
        "percentage": refresh.percent,
        "reason": refresh.reason,
        "started": format_moment(refresh.started) if refresh.started else None,
        "ended": format_moment(refresh.ended) if refresh.ended else None,
    }


def headline(_spec: RefreshSpec, found: Mapping[str, Any]) -> str:
    """Return the versions that the groups run."""
    return "; ".join(bounded(f"{row['name']} runs {_in_words(row['instances'])}" for row in found["groups"]))


def _in_words(instances: Mapping[str, int]) -> str:
    if not instances:
        return "no instance"
    return " and ".join(
        f"{counted(number, 'instance')} of {'another launch' if version == 'other' else f'version {version}'}"
        for version, number in instances.items()
    )


FEATURE = Feature(parse, plan, result, headline)
