# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One bad entry, instance or purge stops no other one: that one is refused by name, and the others are carried out.

`volume_plans.check` adds an unrelated entry to each refused case of the other tables. Here several instances meet.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import Incomplete, UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import INSTANCE_TYPE
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Resource

from volume_plans import declared, plan_of
from volume_world import DB, WEB, Ec2, instance, short, snap, steps, vol, volume

NEW = {"name": "new", "size": 5}
BOTH = {"instance_ids": [WEB, DB]}
MADE = ["CreateVolume new i-2/new", "AttachVolume new i-2/new to i-2 /dev/sdf"]
FULL = [volume(20 + number, WEB, f"/dev/sd{letter}") for number, letter in enumerate("ghijklmnop")]
LIMIT = INSTANCE_TYPE.fact("t", {"EbsInfo": {"MaximumEbsAttachments": 11}})


@pytest.mark.parametrize(
    ("there", "entry", "words"),
    [
        ([instance(DB)], NEW, "instance_ids: i-1 does not exist"),
        ([instance(WEB, "terminated"), instance(DB)], NEW, "instance_ids: i-1 is terminated"),
        (
            [instance(WEB), instance(DB), volume(9, WEB, "/dev/sdf", name="data", group="db")],
            {**NEW, "device_name": "/dev/sdf"},
            "vol-9 belongs to the declaration 'db'",
        ),
        (
            [
                instance(WEB, instance_type="t"),
                instance(DB),
                *FULL,
                INSTANCE_TYPE.fact("t", {"EbsInfo": {"MaximumEbsAttachments": 11}}),
            ],
            NEW,
            "volumes[0] (new) of i-1 | takes 11 volumes | have 12",
        ),
        ([instance(WEB), instance(DB), volume(9, WEB, name="new")], {**NEW, "size": 4}, "EBS cannot shrink"),
        ([instance(WEB), instance(DB), volume(9, WEB, name="new", state="error")], NEW, "vol-9 is in the state error"),
    ],
    ids=["missing", "terminated", "device taken", "too many", "smaller", "failed volume"],
)
def test_other_instances_get_their_volumes(there: Sequence[Resource], entry: dict[str, Any], words: str) -> None:
    ec2, spec = Ec2(*there), declared(entry, **BOTH)
    plan = plan_of(spec, ec2)
    message = short(str(plan.refused))
    assert [word for word in words.split(" | ") if word not in message] == [], message
    assert [step for step in steps(plan) if step in MADE] == MADE
    assert not [step for step in steps(plan) if "i-1" in step]
    ec2.carry_out(plan)
    with pytest.raises(type(plan.refused)):  # type: ignore[arg-type]
        plan_of(spec, ec2)


def test_refusals_of_several_entries_are_all_named() -> None:
    entries = [{"name": "a", "size": 4}, {"name": "b", "snapshot_id": snap(7)}, NEW]
    plan = plan_of(declared(*entries), Ec2(instance(), volume(1, WEB, name="a")))
    assert isinstance(plan.refused, Incomplete)
    message = short(str(plan.refused))
    assert "volumes[0] (a) of i-1" in message
    assert "volumes[1] (b) of i-1" in message
    assert [step for step in steps(plan) if "CreateVolume" in step] == ["CreateVolume new i-1/new"]


def test_two_entries_with_the_name_of_one_volume_are_both_refused() -> None:
    """A tag gives the volume the name that another entry has."""
    entries = [{"volume_id": vol(1)}, {"name": "data", "volume_id": vol(2)}, NEW]
    plan = plan_of(declared(*entries), Ec2(instance(), volume(1, WEB, name="data"), volume(2, WEB, "/dev/sdg")))
    assert "volumes[1] (data) of i-1 has the name data too" in short(str(plan.refused))
    assert not [step for step in steps(plan) if "vol-1" in step]
    assert "CreateVolume new i-1/new" in steps(plan)


PURGE = {**BOTH, "purge_volumes": True, "in_use": "detach"}


def test_purge_spares_an_instance_with_a_refused_entry() -> None:
    there = [
        *(instance(WEB), instance(DB), volume(1, WEB, "/dev/sdg"), volume(2, DB, "/dev/sdg")),
        volume(3, WEB, name="data", size=20),
    ]
    plan = plan_of(declared({"name": "data", "size": 10}, **PURGE), Ec2(*there))
    assert "EBS cannot shrink" in str(plan.refused)
    assert [step for step in steps(plan) if step.startswith("DetachVolume")] == ["DetachVolume vol-2 from i-2"]
    assert any("no volume of i-00000000000000001 is detached" in warning for warning in plan.warnings)


def test_purge_spares_the_volume_of_a_refused_entry_on_another_instance() -> None:
    """The volume of i-1's entry is on i-2, and its tags name the entry that is refused."""
    stranger = volume(1, DB, "/dev/sdg", name="data", group=WEB, size=20)
    there = [instance(WEB), instance(DB), stranger, volume(2, DB, "/dev/sdh", name="data", group=DB)]
    plan = plan_of(declared({"name": "data"}, NEW, **PURGE), Ec2(*there))
    assert plan.refused is not None
    assert "DetachVolume vol-1 from i-2" not in steps(plan)


def test_purge_that_would_interrupt_an_instance_stops_no_entry_and_no_other_purge() -> None:
    there = [instance(WEB), instance(DB, "stopped"), volume(1, WEB, "/dev/sdg"), volume(2, DB, "/dev/sdg")]
    spec = declared(NEW, **{**PURGE, "in_use": "refuse"})
    plan = plan_of(spec, Ec2(*there))
    assert isinstance(plan.refused, UnsafePlan)
    assert "vol-1" in short(str(plan.refused))
    found = steps(plan)
    assert "DetachVolume vol-2 from i-2" in found
    assert "DetachVolume vol-1 from i-1" not in found
    assert sum(step.startswith("CreateVolume") for step in found) == 2
