# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The performance that a gp2 volume keeps when it becomes gp3, in place and by a swap."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.volume_types import kept_performance

from in_process import machine, run, volumes
from sandbox.client import Sandbox
from volume_plans import declared, plan_of
from volume_world import SWAP, WEB, Ec2, instance, volume


@pytest.mark.parametrize(
    ("size", "iops", "expected"),
    [
        (2000, 6000, (6000, 250)),
        (500, 1500, (3000, 250)),
        (400, 1200, (3000, 250)),
        (171, 513, (3000, 250)),
        (170, 510, (3000, 125)),
        (8, 100, (3000, 125)),
        (16384, 16000, (16000, 250)),
    ],
)
def test_gp3_has_the_performance_of_gp2_or_the_baseline(size: int, iops: int, expected: tuple[int, int]) -> None:
    assert kept_performance(size, iops) == expected


@pytest.mark.parametrize(
    ("size", "entry", "asked", "after"),
    [
        (2000, {}, {"VolumeType": "gp3"}, (6000, 250)),
        (400, {}, {"VolumeType": "gp3"}, (3000, 250)),
        (8, {}, {"VolumeType": "gp3"}, (3000, 125)),
        # A value for one of the two ends EBS's own rule for both, so the other is sent too.
        (2000, {"iops": 4000}, {"VolumeType": "gp3", "Iops": 4000, "Throughput": 250}, (4000, 250)),
        (2000, {"throughput": 125}, {"VolumeType": "gp3", "Iops": 6000, "Throughput": 125}, (6000, 125)),
        (
            2000,
            {"iops": 3000, "throughput": 125},
            {"VolumeType": "gp3", "Iops": 3000, "Throughput": 125},
            (3000, 125),
        ),
        # The performance is the volume's from before it grows.
        (400, {"size": 4000}, {"VolumeType": "gp3", "Size": 4000}, (3000, 250)),
    ],
)
def test_plan_predicts_the_performance_that_ebs_keeps(
    size: int, entry: dict[str, Any], asked: dict[str, Any], after: tuple[int, int]
) -> None:
    ec2 = Ec2(instance(), volume(1, WEB, name="data", volume_type="gp2", size=size))
    (change,) = plan_of(declared({"name": "data", "volume_type": "gp3", **entry}), ec2).changes
    assert dict(change.parameters) == asked
    assert change.after is not None
    assert (change.after["iops"], change.after["throughput"]) == after


def test_swap_keeps_the_performance_too() -> None:
    ec2 = Ec2(instance(), volume(1, WEB, name="data", volume_type="gp2", size=2000))
    plan = plan_of(declared({"name": "data", "volume_type": "gp3", "encrypted": True}, **SWAP), ec2)
    (made,) = [change for change in plan.changes if change.action == "CreateVolume"]
    assert (made.parameters["Iops"], made.parameters["Throughput"]) == (6000, 250)


def test_prediction_equals_the_sandbox_state(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    given = {"instance_ids": [web.instance_id]}
    run(sandbox, **given, volumes=[{"name": "data", "size": 2000, "volume_type": "gp2"}])
    wanted = {**given, "volumes": [{"name": "data", "volume_type": "gp3"}]}
    checked = run(sandbox, check=True, **wanted)
    (row,) = checked.result["volumes"]
    assert (row["iops"], row["throughput"]) == (6000, 250)
    assert run(sandbox, **wanted).failed == ""
    (made,) = [one for one in volumes(sandbox).values() if "ec2ops:volume" in one["tags"]]
    assert (made["VolumeType"], made["Iops"], made["Throughput"]) == ("gp3", 6000, 250)
    assert run(sandbox, **wanted).result["plan"] == []
