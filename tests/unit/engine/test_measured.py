# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a run took for each resource (`PlanReport.measured`), and which resources of a failed run are ready."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._engine import rendering
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.apply import apply
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.ports import Outcome
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError, WaitError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Plan, Stage, Wait
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.report import PlanReport
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query

from worlds import World

ONE, TWO, THERE = "(new volume one)", "(new volume two)", "vol-0000000000000000c"
CREATE = tuple(
    Change("CreateVolume", name, "us-east-1", {"AvailabilityZone": "us-east-1a", "Size": 1}, "", token=(name,))
    for name in (ONE, TWO)
)
TOLD = {"volumes": [{"volume_id": name, "seconds": None} for name in (ONE, TWO, THERE)], "notes": ["a"]}
REPORT = PlanReport(TOLD, unfinished={"notes": ["a"]}, measured="volumes")
PLAN = Plan((Stage(CREATE),), report=REPORT)
IDS = {ONE: "vol-0000000000000000a", TWO: "vol-0000000000000000b"}


def rows(result: dict[str, Any]) -> list[tuple[str, float | None]]:
    return [(entry["volume_id"], entry["seconds"]) for entry in result["volumes"]]


def test_run_reports_the_seconds_of_its_changes() -> None:
    outcome = Outcome(done=[*CREATE], bindings=IDS, seconds={IDS[ONE]: 2.345, IDS[TWO]: 4.0, THERE: 9.0})
    result = rendering.success(PLAN, {}, {}, outcome)
    assert rows(result) == [(IDS[ONE], 2.3), (IDS[TWO], 4.0), (THERE, None)]
    assert rows(rendering.success(PLAN, {}, {})) == [(ONE, None), (TWO, None), (THERE, None)]


@pytest.mark.parametrize(
    ("done", "error", "ready"),
    [
        ([CREATE[0]], CallError("CreateVolume", "VolumeLimitExceeded", ""), [IDS[ONE], THERE]),
        ([*CREATE], WaitError("", "failed", [IDS[TWO]]), [IDS[ONE], THERE]),
        ([], CallError("CreateVolume", "UnauthorizedOperation", ""), [THERE]),
    ],
)
def test_failed_run_reports_finished_resources(done: list[Change], error: StorageError, ready: list[str]) -> None:
    outcome = Outcome(done=done, bindings={change.resource: IDS[change.resource] for change in done}, errors=[error])
    result = rendering.failure(error, PLAN, outcome, {})
    assert [entry["volume_id"] for entry in result["volumes"]] == ready
    assert result["notes"] == ["a"]


def test_seconds_end_with_the_last_wait_before_a_deletion(world: World) -> None:
    identity = Query("DescribeVolumes", (("tag:x", ("y",)),))
    tags = {"TagSpecifications": [{"ResourceType": "volume", "Tags": [{"Key": "x", "Value": "y"}]}]}
    zone = world.instance().availability_zone
    create = Change(
        "CreateVolume",
        ONE,
        world.gateway.region,
        {"AvailabilityZone": zone, "Size": 1, **tags},
        "",
        after={"state": "available"},
        identity=identity,
        token=("one",),
    )
    delete = Change("DeleteVolume", ONE, world.gateway.region, {}, "")
    waits = [(Wait((ONE,), goal),) for goal in ("volume_available", "deleted")]
    both = Plan((Stage((create,), waits[0]), Stage((delete,), waits[1])))
    with world.lasting("create", 2), world.lasting("delete", 30):
        outcome = apply(both, world.gateway, wait=True, timeout=300)
    assert outcome.error is None
    assert 0 < outcome.seconds[outcome.bindings[ONE]] < 25
