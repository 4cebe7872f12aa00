# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result that the module returns for its volumes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import DEFERRAL, Deferral
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prediction import overlay
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import VolumeAttachment

from in_process import ZONE
from volume_plans import declared, read
from volume_world import (
    ABSENT,
    BOTH,
    DB,
    DETACHED,
    NODES,
    NOW,
    QUORUM,
    STOPPED,
    WEB,
    Ec2,
    Entry,
    instance,
    modification,
    shared,
    snap,
    vol,
    volume,
)


def result(ec2: Ec2, *entries: Entry, check_mode: bool = False, **given: Any) -> dict[str, Any]:
    spec = declared(*entries, **given)
    state, _asked = read(spec, ec2)
    return planner.FEATURE.result(
        spec, overlay(state, planner.plan(spec, state, NOW).published()) if check_mode else state
    )


def test_result_has_a_row_for_each_instance_and_volume_in_order() -> None:
    ec2 = Ec2(instance(), instance(DB), volume(1, WEB, name="b"), volume(2, DB, "/dev/sdg", name="a", group=DB))
    rows = result(ec2, {"name": "b", "size": 10}, {"name": "a", "size": 10}, instance_ids=[DB, WEB])["volumes"]
    assert [(row["instance_id"], row["spec"], row["name"], row["volume_id"]) for row in rows] == [
        (DB, DB, "b", None),
        (DB, DB, "a", vol(2)),
        (WEB, WEB, "b", vol(1)),
        (WEB, WEB, "a", None),
    ]


def test_row_of_an_existing_volume_has_its_facts() -> None:
    links = (VolumeAttachment(WEB, "/dev/sdf", delete_on_termination=True),)
    there = volume(1, name="data", tags={"a": "b", "ec2ops:replaces": vol(9)}, attachments=links, snapshot_id=snap(1))
    (row,) = result(Ec2(instance(), there), {"name": "data"})["volumes"]
    assert row == {
        "instance_id": WEB,
        "spec": WEB,
        "name": "data",
        "volume_id": vol(1),
        "device_name": "/dev/sdf",
        "nvme_path": "/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_vol00000000000000001",
        "state": "in-use",
        "size": 10,
        "volume_type": "gp3",
        "iops": 3000,
        "throughput": 125,
        "encrypted": False,
        "kms_key_id": None,
        "availability_zone": ZONE,
        "snapshot_id": snap(1),
        "multi_attach": False,
        "delete_on_termination": True,
        "attachments": [
            {"instance_id": WEB, "device_name": "/dev/sdf", "state": "attached", "delete_on_termination": True}
        ],
        "tags": {"a": "b", "ec2ops:spec": WEB, "ec2ops:volume": "data", "ec2ops:replaces": vol(9)},
        "modification_state": None,
        "next_modification_at": None,
        "drift": {},
        "replaced": [vol(9)],
    }


def test_row_of_a_planned_volume_has_its_planned_id() -> None:
    (row,) = result(Ec2(instance()), {"name": "data", "size": 20}, check_mode=True)["volumes"]
    seen = {
        name: row[name] for name in ("volume_id", "device_name", "nvme_path", "state", "size", "delete_on_termination")
    }
    assert seen == {
        "volume_id": f"(new volume {WEB}/data)",
        "device_name": "/dev/sdf",
        "nvme_path": None,
        "state": "in-use",
        "size": 20,
        "delete_on_termination": False,
    }


def test_row_of_an_absent_entry_has_its_state() -> None:
    (row,) = result(Ec2(STOPPED, volume(1, WEB, name="data")), *ABSENT, check_mode=True)["volumes"]
    assert (row["instance_id"], row["name"], row["volume_id"], row["device_name"]) == (WEB, "data", None, None)


def test_shared_volume_has_a_row_on_each_instance() -> None:
    rows = result(Ec2(*NODES, shared(1, WEB, DB)), QUORUM, **BOTH)["volumes"]
    assert [(row["instance_id"], row["volume_id"], row["multi_attach"]) for row in rows] == [
        (WEB, vol(1), True),
        (DB, vol(1), True),
    ]


def test_change_waits_for_the_modification_in_progress() -> None:
    ec2 = Ec2(instance(), volume(1, WEB, name="data"), modification(DETACHED, "optimizing", size=10))
    for check_mode in (False, True):
        found = result(ec2, {"name": "data", "size": 30}, check_mode=check_mode, on_cooldown="defer")
        (deferred,) = found["deferred"]
        (row,) = found["volumes"]
        changes = {"size": {"wanted": 30, "actual": 10}}
        assert (deferred["volume_id"], deferred["name"], deferred["changes"]) == (vol(1), "data", changes)
        assert "optimizing" in deferred["reason"]
        assert deferred["next_modification_at"] is None
        assert (row["size"], row["modification_state"], row["drift"]) == (10, "optimizing", changes)


def test_change_refused_for_now_is_deferred() -> None:
    refusal = Deferral("VolumeModificationRateExceeded", "Wait", datetime(2026, 11, 24, 10, tzinfo=UTC))
    ec2, spec = (
        Ec2(instance(), volume(1, WEB, name="data")),
        declared({"name": "data", "size": 30}, on_cooldown="defer"),
    )
    state = read(spec, ec2)[0].with_resources([DEFERRAL.fact(vol(1), refusal)])
    found = planner.FEATURE.result(spec, state)
    (deferred,), (row,) = found["deferred"], found["volumes"]
    assert deferred["next_modification_at"] == row["next_modification_at"] == "2026-11-24T10:00:00Z"
    assert deferred["changes"] == row["drift"] == {"size": {"wanted": 30, "actual": 10}}


@pytest.mark.parametrize("state", ["modifying", "optimizing", "completed"])
def test_planned_changes_of_a_check_run_are_not_deferred(state: str) -> None:
    ec2 = Ec2(instance(), volume(1, WEB, name="data"), modification(DETACHED, state, size=10))
    found = result(ec2, {"name": "data", "size": 30}, check_mode=True, on_cooldown="wait")
    (row,) = found["volumes"]
    assert (found["deferred"], row["drift"], row["size"]) == ([], {}, 30)
