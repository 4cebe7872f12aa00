# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An instance or an entry that cannot be planned is refused by name, and the others are planned and carried out."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.power_cycle import stop_queries
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import (
    Ambiguous,
    Incomplete,
    SpecError,
    StorageError,
    Unanswered,
    UnsafePlan,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import guard
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Resource

from in_process import OTHER_ZONE
from proven import launched
from volume_plans import assert_only_dependents_are_left_out, declared, plan_of, read
from volume_world import (
    BOTH,
    DATA,
    DB,
    FAR,
    NOW,
    PURGE,
    QUORUM,
    STOP,
    WEB,
    Ec2,
    Entry,
    instance,
    root_of,
    short,
    snap,
    steps,
    vol,
    volume,
)

TWO: Entry = {"instance_ids": [WEB, DB]}
NEW_ON_WEB = ["CreateVolume new i-1/data", "AttachVolume new i-1/data to i-1 /dev/sdf"]
GROWN = ["ModifyVolume vol-1 Size=20"]
LARGE = {"name": "data", "size": 20}
OFF = {"name": "data", "state": "detached"}


@dataclass(frozen=True)
class Case:
    """A world in which one item cannot be planned: the steps of the others, and the words of the refusal."""

    there: Sequence[Resource]
    volumes: Sequence[Entry]
    steps: Sequence[str]
    error: type[StorageError]
    words: str
    given: Entry = field(default_factory=lambda: TWO)


def heir(of: str) -> Resource:
    return launched(instance(FAR, tags={"ec2ops:replaces": of}))


def on_both(**fields: Any) -> list[Resource]:
    """Two instances with a volume each; the fields are those of the second volume."""
    return [
        instance(WEB),
        instance(DB),
        volume(1, WEB, name="data"),
        volume(2, DB, name="data", group=DB, **fields),
    ]


def full(of: str) -> list[Resource]:
    """As many volumes as the instance's type takes."""
    devices = [*(f"/dev/sd{one}" for one in "fghijklmnop"), *(f"/dev/xvdb{one}" for one in "abcdefghijklmnop")]
    return [volume(100 + number, of, device) for number, device in enumerate(devices)]


CASES = {
    "unknown instance": Case([instance(WEB)], [DATA], NEW_ON_WEB, SpecError, "i-2 does not exist"),
    "terminated instance": Case(
        [instance(WEB), instance(DB, "terminated")], [DATA], NEW_ON_WEB, SpecError, "i-2 is terminated"
    ),
    "replaced instance": Case([instance(WEB), heir(DB)], [DATA], NEW_ON_WEB, SpecError, "i-2 was replaced by i-3"),
    "replaced instance that is stopped": Case(
        [instance(WEB), instance(DB, "stopped"), heir(DB)], [DATA], NEW_ON_WEB, SpecError, "start it first"
    ),
    "contested instance": Case(
        [instance(WEB), heir(DB), launched(instance("i-00000000000000009", tags={"ec2ops:replaces": DB}))],
        [DATA],
        NEW_ON_WEB,
        Ambiguous,
        "several living successors",
    ),
    "instance on an Outpost": Case(
        [instance(WEB), instance(DB, facts={"OutpostArn": "arn:aws:outposts:::outpost/op-1"})],
        [DATA],
        NEW_ON_WEB,
        UnsafePlan,
        "i-2 is on",
    ),
    "volume that would shrink": Case(on_both(size=50), [LARGE], GROWN, SpecError, "EBS cannot shrink"),
    "volume in error": Case(on_both(state="error"), [LARGE], GROWN, UnsafePlan, "is in the state error"),
    "volume that a service manages": Case(
        on_both(operator="eks"), [LARGE], GROWN, UnsafePlan, "vol-2 is managed by eks"
    ),
    "volume at the device that would shrink": Case(
        [instance(WEB), instance(DB), volume(1, WEB), volume(2, DB, size=50)],
        [{**LARGE, "device_name": "/dev/sdf"}],
        ["CreateTags vol-1 spec,volume", *GROWN],
        SpecError,
        "EBS cannot shrink",
    ),
    "unknown volume": Case(
        [instance(WEB)],
        [{"name": "log", "volume_id": vol(77)}, DATA],
        NEW_ON_WEB,
        SpecError,
        "volume_id: vol-4d does not exist",
        {},
    ),
    "volume of somebody else": Case(
        [instance(WEB), instance(DB), volume(3, DB)],
        [{"name": "log", "volume_id": vol(3)}, DATA],
        NEW_ON_WEB,
        UnsafePlan,
        "steal: true",
        {},
    ),
    "unknown snapshot": Case(
        [instance(WEB)],
        [{"name": "log", "snapshot_id": snap(9)}, DATA],
        NEW_ON_WEB,
        SpecError,
        "snapshot_id: snap-9 does not exist",
        {},
    ),
    "instance without room": Case([instance(WEB), instance(DB), *full(DB)], [DATA], NEW_ON_WEB, UnsafePlan, "takes 28"),
    "volume without room for tags": Case(
        on_both(tags={f"k{number}": "v" for number in range(48)}),
        [{"name": "data", "tags": {"team": "a", "role": "b"}}],
        ["CreateTags vol-1 role,team"],
        SpecError,
        "vol-2",
    ),
    "running instance": Case(
        [instance(WEB, "stopped"), *on_both()[1:]],
        [OFF],
        ["DetachVolume vol-1 from i-1"],
        UnsafePlan,
        "which is running",
    ),
    "instance that may not stop": Case(
        [instance(WEB), instance(DB, operator="eks"), *on_both()[2:]],
        [OFF],
        [
            "CreateTags vol-1 was-at",
            "CreateTags i-1 restore-state",
            "StopInstances i-1",
            "DetachVolume vol-1 from i-1",
            "StartInstances i-1",
            "DeleteTags i-1 restore-state",
            "DeleteTags vol-1 was-at",
        ],
        UnsafePlan,
        "in_use: stop: i-2 is managed by eks",
        {**TWO, **STOP},
    ),
    "unknown member of a cluster": Case(
        [instance(WEB)],
        [QUORUM],
        ["CreateVolume new web/data", "AttachVolume new web/data to i-1 /dev/sdf"],
        SpecError,
        "i-2 does not exist",
        BOTH,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_item_that_cannot_be_planned_is_refused_and_the_others_are_done(name: str) -> None:
    case = CASES[name]
    ec2, spec = Ec2(*case.there), declared(*case.volumes, **case.given)
    plan = plan_of(spec, ec2)
    assert steps(plan) == list(case.steps)
    assert isinstance(plan.refused, case.error)
    assert case.words in short(str(plan.refused))
    assert_only_dependents_are_left_out(plan)
    ec2.carry_out(plan)
    # The next run has nothing to do, and fails with the same words.
    with pytest.raises(case.error) as refused:
        plan_of(spec, ec2)
    assert case.words in short(str(refused.value))


def test_several_refusals_are_told_in_their_order_with_all_errors() -> None:
    there = [instance(WEB), volume(1, WEB, name="data", size=50)]
    plan = plan_of(declared(LARGE, {"name": "log", "size": 10}, **TWO), Ec2(*there))
    assert isinstance(plan.refused, Incomplete)
    assert [type(cause) for cause in plan.refused.causes] == [SpecError, SpecError]
    text = short(str(plan.refused))
    assert text.index("i-2 does not exist") < text.index("EBS cannot shrink")
    assert text.count("i-2 does not exist") == 1
    assert steps(plan) == ["CreateVolume new i-1/log", "AttachVolume new i-1/log to i-1 /dev/sdg"]


def test_two_entries_that_name_one_volume_are_both_refused() -> None:
    entries = [{"name": "root", "size": 20}, {"name": "log", "volume_id": root_of(WEB)}, DATA]
    plan = plan_of(declared(*entries), Ec2(instance(WEB)))
    assert steps(plan) == NEW_ON_WEB
    assert str(plan.refused).count(f"names {root_of(WEB)} too") == 2


def test_refused_entry_frees_no_device_for_another_one() -> None:
    there = [instance(WEB), instance(DB), volume(1, WEB, name="data"), volume(2, DB, "/dev/sdg", name="log", group=DB)]
    moved = {"name": "data", "device_name": "/dev/sdh", "size": 5}
    with pytest.raises(Incomplete) as refused:
        plan_of(declared(moved, {"name": "log", "device_name": "/dev/sdf", "size": 10}, in_use="detach"), Ec2(*there))
    assert "EBS cannot shrink" in str(refused.value)
    assert "holds vol-1" in short(str(refused.value))


def test_instance_whose_facts_are_not_answered_keeps_its_volume() -> None:
    spec = declared(OFF, **TWO, **STOP)
    state, _queries = read(spec, Ec2(*on_both()))
    (query,) = (
        query
        for query in stop_queries([instance(WEB), instance(DB)], lose_instance_store=False)
        if query.operation == "DescribeInstanceAttribute" and DB in str(query)
    )
    error = CallError("DescribeInstanceAttribute", "UnauthorizedOperation", "no")
    plan = guard(planner.plan(spec, dataclasses.replace(state, unanswered={query: error}), NOW))
    assert {change.resource for change in plan.changes} == {vol(1), WEB}
    assert isinstance(plan.refused, Unanswered)
    assert plan.refused.causes == (error,)


# --- purge_volumes ---------------------------------------------------------------------------------------------------


def test_purge_spares_the_instance_with_a_refused_entry_alone() -> None:
    twice = [volume(3, name="data", group=DB), volume(4, name="data", group=DB)]
    there = [instance(WEB), instance(DB), volume(1, WEB, "/dev/sdg"), volume(2, DB, "/dev/sdg"), *twice]
    plan = plan_of(declared(DATA, **TWO, **PURGE), Ec2(*there))
    assert "DetachVolume vol-1 from i-1" in steps(plan)
    assert not [step for step in steps(plan) if "vol-2" in step]
    assert isinstance(plan.refused, Ambiguous)
    assert any("no volume of i-2 is detached" in short(text) for text in plan.warnings)


@pytest.mark.parametrize("refused", ["entry", "instance"])
def test_purge_does_not_detach_the_possible_volume_of_a_refused_item(refused: str) -> None:
    mine = volume(5, WEB, "/dev/sdg", name="data", group=DB)
    there = [instance(WEB), mine, *([instance(DB), volume(6, name="data", group=DB)] if refused == "entry" else [])]
    plan = plan_of(declared(DATA, **TWO, **PURGE), Ec2(*there))
    assert plan.refused is not None
    assert not [step for step in steps(plan) if "vol-5" in step]
    assert any("vol-5 is not detached, since its entry is refused" in short(text) for text in plan.warnings)


def test_purge_of_a_running_instance_is_refused_for_that_instance_alone() -> None:
    there = [instance(WEB), instance(DB, "stopped"), volume(1, WEB), volume(2, DB)]
    plan = plan_of(declared(DATA, **TWO, purge_volumes=True), Ec2(*there))
    assert "DetachVolume vol-2 from i-2" in steps(plan)
    assert "CreateVolume new i-1/data" in steps(plan)
    assert not [step for step in steps(plan) if "vol-1" in step]
    assert short(str(plan.refused)).startswith("purge_volumes: vol-1 must be detached from i-1, which is running")


def test_purge_that_would_stop_an_instance_in_vain_is_refused() -> None:
    there = [instance(WEB, operator="eks"), volume(1, WEB, "/dev/sdg")]
    plan = plan_of(declared(DATA, purge_volumes=True, **STOP), Ec2(*there))
    assert steps(plan) == NEW_ON_WEB
    assert "in_use: stop: i-1 is managed by eks" in short(str(plan.refused))


# --- holds -----------------------------------------------------------------------------------------------------------


def test_held_instance_with_a_refused_entry_is_not_started() -> None:
    """The instance would run without the volume of that entry."""
    hold = {"ec2ops:restore-state": "running 2026-11-23T11:00:00Z 2026-11-23T14:00:00Z"}
    facts = {"StateTransitionReason": "User initiated (2026-11-23 11:10:00 GMT)"}
    off = volume(1, name="data", tags={"ec2ops:was-at": f"{WEB} /dev/sdf"}, size=50)
    plan = plan_of(
        declared(LARGE, {"name": "log", "size": 10}, **STOP), Ec2(instance(WEB, "stopped", tags=hold, facts=facts), off)
    )
    assert steps(plan) == ["CreateVolume new i-1/log", "AttachVolume new i-1/log to i-1 /dev/sdg"]
    assert "EBS cannot shrink" in str(plan.refused)


def test_only_the_entry_in_another_zone_needs_a_swap() -> None:
    there = [instance(WEB), instance(FAR, zone=OTHER_ZONE), volume(2, name="data", group=FAR)]
    plan = plan_of(declared(DATA, instance_ids=[WEB, FAR]), Ec2(*there))
    assert steps(plan) == NEW_ON_WEB
    assert "replace: snapshot" in str(plan.refused)
