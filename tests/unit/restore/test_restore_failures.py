# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restores and drills of which one step fails: the other volumes are restored, and the next run does the rest."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore.planner import FEATURE
from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore.spec import parse
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import Ambiguous, Incomplete, SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import IS_USABLE_ZONE
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Instance,
    Resource,
    Snapshot,
    Volume,
)

from fake_ec2 import FakeEc2
from fake_records import START
from healing import Flow, assert_heals, plan_of
from stepping import BROKEN, HANGING, REFUSED

REGION, ZONE = "us-east-1", "us-east-1a"
HOUR = timedelta(hours=1)
SOURCES = tuple(f"vol-{number:017x}" for number in (1, 2, 3))
SNAPSHOTS = tuple(f"snap-{number:017x}" for number in (1, 2, 3))
SOURCE, TARGET = "i-0000000000000000a", "i-0000000000000000b"
DRILL = "0a1b2c3d"


def snapshot(number: int, **fields: Any) -> Snapshot:
    source = SOURCES[number]
    values = {"volume_id": source, "volume_size": 8, "start_time": START - HOUR, "description": f"p: {source}"}
    return Snapshot(SNAPSHOTS[number], **{**values, **fields})


def in_a_set(number: int) -> Snapshot:
    tags = {"ec2ops:set": f"{SOURCE}/2026-11-23T00:00+00:00", "ec2ops:parts": str(len(SOURCES))}
    return snapshot(number, tags=tags, description=f"p: {SOURCE}")


def made(source: str, declared: str, number: int = 0, **fields: Any) -> Volume:
    """A volume that an earlier run has made of the source."""
    tags = {"ec2ops:spec": declared, "ec2ops:volume": source}
    values = {"state": "available", "size": 8, "availability_zone": ZONE, "create_time": START - HOUR / 2, **fields}
    return Volume(f"vol-{0xB0 + number:017x}", snapshot_id=SNAPSHOTS[number], tags=tags, **values)


def world(*there: Resource, state: str = "running", whole: bool = False) -> FakeEc2:
    target = Instance(
        TARGET,
        state,
        instance_type="t3.micro",
        availability_zone=ZONE,
        root_device_name="/dev/xvda",
        block_devices=(BlockDevice("/dev/xvda", "vol-0000000a"),),
    )
    snapshots = [(in_a_set if whole else snapshot)(number) for number in range(len(SOURCES))]
    ec2 = FakeEc2(*snapshots, *there, target, IS_USABLE_ZONE.fact(ZONE, True))
    ec2.go_on()
    return ec2


def shape(ec2: FakeEc2) -> list[Any]:
    volumes = [
        (
            one.tags.get("ec2ops:spec"),
            one.tags.get("ec2ops:volume"),
            one.state,
            one.snapshot_id,
            [(link.instance_id, link.state) for link in one.attachments],
        )
        for one in ec2.existing("volume")
    ]
    kept = [(one.volume_id, one.state, sorted(one.tags)) for one in ec2.existing("snapshot")]
    return [sorted(volumes, key=str), sorted(kept, key=str)]


def flow(*there: Resource, world_of: Mapping[str, Any] | None = None, **given: Any) -> Flow:
    def protected(ec2: FakeEc2) -> None:
        """All earlier resources still exist, except the leftovers of drills."""
        found = ec2.resources
        assert set(SNAPSHOTS) <= found.keys()
        assert [one.resource_id for one in there if "drill" not in str(one) and one.resource_id not in found] == []

    options = {"source_volume_ids": list(SOURCES), "wait_timeout": 1800, **given}
    if "target_instance_id" not in given:
        options["zone"] = ZONE
    make = {"whole": "source_instance_id" in given, **(world_of or {})}
    return Flow(FEATURE, parse(options, REGION), lambda: world(*there, **make), shape, protected)


THERE = made(SOURCES[0], f"restore/{SOURCES[0]}")
MAKING = made(SOURCES[1], f"restore/{SOURCES[1]}", 1, state="creating")
LEFT = made(SOURCES[0], f"restore-drill/{SOURCES[0]}/0000000a", create_time=START - 9 * HOUR)
OLD = snapshot(0, start_time=START - 10 * HOUR)
TO_TARGET = {"target_instance_id": TARGET}
WHOLE = {"source_volume_ids": [], "source_instance_id": SOURCE}
FLOWS = {
    "to a zone": flow(),
    "to an instance": flow(**TO_TARGET),
    "to a pending instance": flow(**TO_TARGET, world_of={"state": "pending"}),
    "one is there": flow(THERE, **TO_TARGET),
    "two are there": flow(THERE, MAKING, **TO_TARGET),
    "named": flow(name="mine", **TO_TARGET),
    "whole instance": flow(**TO_TARGET, **WHOLE),
    "whole instance to a zone": flow(**WHOLE),
    "drill": flow(drill=True, drill_id=DRILL),
    "drill with a leftover": flow(LEFT, OLD, drill=True, drill_id=DRILL),
    "drill of an instance": flow(drill=True, drill_id=DRILL, **WHOLE),
}


@pytest.mark.parametrize("name", FLOWS)
def test_failed_step_leaves_out_its_dependents_and_the_next_run_heals(name: str) -> None:
    assert_heals(FLOWS[name])


def restored(ec2: FakeEc2) -> set[str]:
    """The sources of the volumes that are attached to the target, or on the way there."""
    return {
        one.tags["ec2ops:volume"]
        for one in ec2.existing("volume")
        if [link.instance_id for link in one.attachments] == [TARGET]
    }


@pytest.mark.parametrize("kind", [REFUSED, BROKEN, HANGING])
@pytest.mark.parametrize("number", range(len(SOURCES)))
def test_failed_volume_keeps_no_other_off_the_instance(number: int, kind: str) -> None:
    case = FLOWS["to an instance"]
    of_source = (
        (step, how)
        for step, how in case.failures()
        if step.change and step.change.action == "CreateVolume" and SOURCES[number] in step.change.resource
    )
    step = next(one for one, how in of_source if how == kind)
    ec2, outcome = case.failed_run(step, kind)
    assert restored(ec2) == set(SOURCES) - {SOURCES[number]}
    assert [change.action for change in outcome.not_tried] == ["AttachVolume"]
    assert len(outcome.errors) == 1
    ends = [change.action for change in outcome.rolled_back]
    assert ends == (["DeleteVolume"] if kind == BROKEN else [])


def test_volumes_of_one_instance_are_attached_after_the_first_one_alone() -> None:
    case = FLOWS["whole instance"]
    step = next(one for one, how in case.failures() if one.change and one.change.action == "AttachVolume")
    ec2, outcome = case.failed_run(step, REFUSED)
    assert restored(ec2) == set()
    assert [change.action for change in outcome.not_tried] == ["AttachVolume"] * 2


def test_drill_measures_the_volumes_that_can_be_made() -> None:
    case = FLOWS["drill"]
    step = next(one for one, how in case.failures() if one.change and one.change.action == "CreateVolume")
    ec2, outcome = case.failed_run(step, REFUSED)
    ec2.settle()
    assert ec2.existing("volume") == []
    done = [change.action for change in outcome.done]
    assert sorted(done) == ["CreateTags"] * 2 + ["CreateVolume"] * 2 + ["DeleteVolume"] * 2
    assert outcome.rolled_back == []


def test_drill_of_an_instance_ends_whole() -> None:
    case = FLOWS["drill of an instance"]
    step = next(one for one, how in case.failures() if one.change and one.change.action == "CreateVolume")
    ec2, outcome = case.failed_run(step, REFUSED)
    ec2.settle()
    assert ec2.existing("volume") == []
    made_ones = [change for change in outcome.done if change.action == "CreateVolume"]
    assert [change.action for change in outcome.rolled_back] == ["DeleteVolume"] * len(made_ones)


# --- sources that cannot be planned ----------------------------------------------------------------------------------

FORGED = dataclasses.replace(made(SOURCES[1], "mine"), snapshot_id=SNAPSHOTS[2])
"""Only its tags make it the restored volume of the named declaration."""
TWICE = (made(SOURCES[1], f"restore/{SOURCES[1]}", 1), dataclasses.replace(MAKING, volume_id="vol-000000000000000c1"))


@pytest.mark.parametrize(
    ("there", "given", "error", "words"),
    [
        ((), {"source_volume_ids": [*SOURCES, "vol-0000000000000000f"]}, SpecError, "vol-0000000000000000f has no"),
        ((FORGED,), {"name": "mine"}, SpecError, f"name: {FORGED.volume_id} has the tags"),
        (TWICE, {}, Ambiguous, "more than one volume"),
    ],
    ids=["unknown", "forged", "twice"],
)
def test_source_that_cannot_be_planned_is_refused_and_the_others_are_restored(
    there: tuple[Resource, ...], given: dict[str, Any], error: type[Exception], words: str
) -> None:
    case = flow(*there, **given)
    plan = case.plan(case.make())
    others = [*SOURCES] if "source_volume_ids" in given else [SOURCES[0], SOURCES[2]]
    assert [entry["source"] for entry in plan.report.result["volumes"] if entry["changed"]] == others
    assert isinstance(plan.refused, Incomplete)
    assert [type(cause) for cause in plan.refused.causes] == [error]
    assert words in str(plan.refused)
    assert str(plan.refused).endswith("The task restores the other volumes")


def test_named_declaration_without_a_possible_volume_is_refused_whole() -> None:
    unknown = "vol-0000000000000000f"
    case = flow(FORGED, name="mine", source_volume_ids=[SOURCES[1], unknown])
    with pytest.raises(Incomplete) as refused:
        plan_of(FEATURE, case.spec, case.make())
    assert f"name: {FORGED.volume_id}" in str(refused.value)
    assert unknown in str(refused.value)
