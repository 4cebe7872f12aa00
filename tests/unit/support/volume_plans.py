# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declarations for `ebs_volume_spec`, and their plans: made, compared with cases, and carried out.

Every plan of a case is predicted as in a check run, and carried out by `Ec2`, which is as strict as EC2. In both
worlds, nothing may be left to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes.spec import VolumesSpec
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import substitute
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Plan, guard
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prediction import overlay
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance, Resource
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query, State
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import MODIFICATION

from asking import answered
from in_process import REGION, options
from stepping import assert_only_dependents_are_left_out
from volume_world import NOW, UNPREDICTED, WEB, Ec2, Entry, instance, listed, of_no_use, short, steps, tags_of


def declared(*volumes: Entry, **given: Any) -> VolumesSpec:
    spec: VolumesSpec = planner.FEATURE.parse(
        options(**{"instance_ids": [WEB], "volumes": list(volumes), **given}), REGION
    )
    return spec


def read(spec: VolumesSpec, ec2: Ec2, entries: Iterable[Mapping[str, Any]] = ()) -> tuple[State, list[Query]]:
    """A run's queries and answers, in rounds, with earlier plans applied to the answers."""
    return answered(planner.FEATURE, spec, ec2.answer, State(REGION), entries=entries)


def plan_of(spec: VolumesSpec, ec2: Ec2, entries: Sequence[Mapping[str, Any]] = (), now: datetime = NOW) -> Plan:
    state, _asked = read(spec, ec2, entries)
    return guard(planner.plan(spec, state, now), [entry["resource"] for entry in entries])


@dataclass(frozen=True)
class Case:
    """The world, the declaration, and the outcome: the plan's steps, or the words of the refusal.

    ``whole``: the refusal concerns the instance or the zone, so no other entry can be planned either.
    """

    title: str
    there: Sequence[Resource]
    volumes: Sequence[Entry]
    steps: Sequence[str] = ()
    refused: type[StorageError] | None = None
    words: Sequence[str] = ()
    given: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False

    def ec2(self) -> Ec2:
        there = list(self.there)
        if not any(isinstance(item, Instance) for item in there):
            there.append(instance())
        return Ec2(*there)

    @property
    def spec(self) -> VolumesSpec:
        return declared(*self.volumes, **self.given)


def ok(title: str, there: Sequence[Resource], volumes: Sequence[Entry], *steps: str, **given: Any) -> Any:
    return pytest.param(Case(title, there, volumes, listed(*steps), given=given), id=title)


def no(
    title: str,
    there: Sequence[Resource],
    volumes: Sequence[Entry],
    refused: type[StorageError],
    words: str,
    *,
    whole: bool = False,
    **given: Any,
) -> Any:
    return pytest.param(Case(title, there, volumes, (), refused, listed(words), given, whole), id=title)


def told(spec: VolumesSpec, state: State, bindings: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The module's ``volumes``, value by value, without those that a plan does not predict, such as the default key."""
    rows = substitute(planner.FEATURE.result(spec, state)["volumes"], bindings or {})
    keyed = {entry.name for entry in spec.volumes if entry.kms_key_id is not None}
    return {
        f"{row['name']} of {row['instance_id']}: {name}": value
        for row in rows
        for name, value in row.items()
        if name not in UNPREDICTED and (name != "kms_key_id" or row["name"] in keyed)
    }


def under_way(ec2: Ec2) -> bool:
    """Something ends without a change, so its end is in no prediction."""
    if any(item.state in ("creating", "pending", "stopping") for item in (*ec2.volumes(), *ec2.snapshots())):
        return True
    links = {link.state for item in ec2.volumes() for link in item.attachments}
    latest = MODIFICATION.all(ec2.state()).values()
    return links > {"attached"} or any(one.is_to_take_effect for one in latest)


def assert_last_snapshots(spec: VolumesSpec, plan: Plan, ec2: Ec2) -> None:
    """A deleted volume leaves a last snapshot that was completed before, unless the volume was only an unused copy."""
    for change in plan.changes if spec.final_snapshot else ():
        if change.action == "DeleteVolume" and not of_no_use(ec2.resources[change.resource]):
            assert has_last_snapshot(change, plan, ec2)


def has_last_snapshot(deletion: Change, plan: Plan, ec2: Ec2) -> bool:
    """Whether a completed snapshot carries the volume's id for good when the volume is deleted."""
    tagged = {item.snapshot_id: dict(item.tags) for item in ec2.snapshots()}
    completed = {item.snapshot_id for item in ec2.snapshots() if item.state == "completed"}
    for stage in plan.stages:
        for change in stage.changes:
            if change is deletion:
                return any(
                    tags.get("ec2ops:final") == deletion.resource and item in completed for item, tags in tagged.items()
                )
            if change.action == "CreateSnapshot":
                tagged[change.resource] = tags_of(change.parameters)
            elif change.resource in tagged:
                tagged[change.resource] = dict((change.after or {}).get("tags", {}))
        completed |= {resource for wait in stage.waits if wait.goal == "completed" for resource in wait.resources}
    return False


def carried_out(spec: VolumesSpec, ec2: Ec2) -> Plan:
    """A plan that leaves nothing to do: predicted, in a check run after it, and after a run, which is as predicted."""
    state, _asked = read(spec, ec2)
    plan = guard(planner.plan(spec, state, NOW))
    predicted = overlay(state, plan.published())
    assert steps(planner.plan(spec, predicted, NOW)) == []
    assert steps(plan_of(spec, ec2, plan.published())) == []
    assert_last_snapshots(spec, plan, ec2)
    all_predicted = not under_way(ec2)
    ec2.carry_out(plan)
    after, _asked = read(spec, ec2)
    assert steps(planner.plan(spec, after, NOW)) == []
    if all_predicted:
        expected = told(spec, predicted, ec2.bindings)
        assert {name: value for name, value in told(spec, after).items() if value != expected[name]} == {}
    return plan


def check(case: Case) -> Ec2:
    """The plan, or the refusal, is the case's."""
    ec2, spec = case.ec2(), case.spec
    if case.refused is not None:
        with pytest.raises(case.refused) as refused:
            plan_of(spec, ec2)
        message = short(str(refused.value))
        assert [word for word in case.words if word not in message] == [], message
        if not case.whole:
            assert_another_entry_is_planned(case)
    else:
        plan = plan_of(spec, ec2)
        assert steps(plan) == list(case.steps)
        assert_only_dependents_are_left_out(plan)
        carried_out(spec, ec2)
    return ec2


ANOTHER = {"name": "unrelated", "size": 5}


def assert_another_entry_is_planned(case: Case) -> None:
    """An entry that is refused stops no other one: a further new volume is planned, and the task fails afterwards."""
    shared = any(entry.get("multi_attach") for entry in case.volumes) and len(case.spec.instance_ids) > 1
    another = {**ANOTHER, **({"multi_attach": True, "volume_type": "io2", "iops": 100} if shared else {})}
    plan = plan_of(declared(*case.volumes, another, **case.given), case.ec2())
    assert plan.refused is not None
    message = short(str(plan.refused))
    assert [word for word in case.words if word not in message] == [], message
    assert {change.parameters.get("Size") for change in plan.changes if change.action == "CreateVolume"} == {5}


def planned(spec: VolumesSpec, ec2: Ec2) -> tuple[State, Plan] | None:
    """The plan, which the guard lets pass, or none where the declaration or one of its entries is refused."""
    try:
        state, _asked = read(spec, ec2)
        plan = guard(planner.plan(spec, state, NOW))
    except StorageError:
        return None
    return None if plan.refused is not None else (state, plan)


def assert_no_write_is_lost(ec2: Ec2, volume_ids: Iterable[str]) -> None:
    """A volume's writes are on the volume, on its replacement, or on its last snapshot."""
    for volume_id in volume_ids:
        held = ec2.written.get(volume_id, ())
        successors = [item for item in ec2.volumes() if volume_id in item.tags.get("ec2ops:replaces", "").split(",")]
        finals = [item for item in ec2.snapshots() if item.tags.get("ec2ops:final") == volume_id]
        kept = [item.resource_id for item in (*successors, *finals) if not of_no_use(item)]
        assert [one for one in kept if ec2.written.get(one, ())[: len(held)] != held] == []
        assert kept or volume_id in ec2.resources or not held
