# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Snapshots in the archive are no sources of new volumes: EBS makes nothing from them before they are restored."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError

from in_process import machine, run, volumes
from sandbox.client import Sandbox
from volume_plans import carried_out, declared, plan_of
from volume_runs import four
from volume_world import NOW, Ec2, instance, short, snap, snapshot, steps

BACKUP = {"purpose": "backup"}
FROM_TAGS: dict[str, Any] = {"name": "data", "snapshot": {"tags": BACKUP}}


def backup(number: int, hours: int, tier: str = "standard") -> Any:
    start = NOW - timedelta(hours=hours)
    return snapshot(number, 9, tags=BACKUP, start_time=start, storage_tier=tier)


def test_newest_snapshot_outside_of_the_archive_is_the_source() -> None:
    ec2 = Ec2(instance(), backup(1, 3), backup(2, 2), backup(3, 1, "archive"))
    plan = carried_out(declared(FROM_TAGS), ec2)
    assert plan.changes[0].parameters["SnapshotId"] == snap(2)
    assert [short(text) for text in plan.warnings] == [
        "volumes[0] (data) of i-1: made from snap-2, since snap-3 is archived"
    ]


def test_older_archived_snapshot_gives_no_warning() -> None:
    plan = plan_of(declared(FROM_TAGS), Ec2(instance(), backup(1, 3, "archive"), backup(2, 2)))
    assert plan.warnings == ()


def test_only_archived_snapshots_are_named() -> None:
    with pytest.raises(SpecError, match="First restore one of") as refused:
        plan_of(declared(FROM_TAGS), Ec2(instance(), backup(1, 3, "archive"), backup(2, 2, "archive")))
    assert "snap-2, snap-1" in short(str(refused.value))


def test_archived_snapshot_by_its_id_is_refused() -> None:
    entry = {"name": "data", "snapshot_id": snap(1)}
    with pytest.raises(SpecError, match=r"snapshot_id: .* is archived\. Restore it first"):
        plan_of(declared(entry), Ec2(instance(), backup(1, 3, "archive")))


def test_volume_that_exists_does_not_care_about_its_snapshot() -> None:
    ec2 = Ec2(instance(), backup(1, 3))
    entry = {"name": "data", "snapshot_id": snap(1)}
    carried_out(declared(entry), ec2)
    ec2.put(backup(1, 3, "archive"))
    assert steps(plan_of(declared(entry), ec2)) == []


def test_check_of_an_archived_source_fails_as_the_run_would(sandbox: Sandbox) -> None:
    web = machine(sandbox, data=1)
    (source,) = web.attached().values()
    made = web.ec2.create_snapshot(
        VolumeId=source,
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": [{"Key": "purpose", "Value": "backup"}]}],
    )["SnapshotId"]
    sandbox.move_clock(86400)
    web.ec2.modify_snapshot_tier(SnapshotId=made, StorageTier="archive")
    sandbox.move_clock(7 * 86400)
    wanted = {"instance_ids": [web.instance_id], "volumes": [FROM_TAGS]}
    for check in (True, False):
        assert made in run(sandbox, check=check, **wanted).failed
    web.ec2.restore_snapshot_tier(SnapshotId=made, TemporaryRestoreDays=5)
    sandbox.move_clock(3 * 86400)
    four(sandbox, **wanted)
    assert made in {item.get("SnapshotId") for item in volumes(sandbox).values()}
