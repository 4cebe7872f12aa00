# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""restore_volumes, killed, signalled, or two at once: the next run makes the rest, from the same moment; a drill leaves
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from playbook.interrupting import PROC, Point, await_end, await_released, begun, hold_at, performed, until
from playbook.seeds import Web, at_once, seed_web
from playbook.support import REGION, Run, changing_calls, run_playbook
from sandbox.client import Sandbox

PLAYBOOK = "ec2ops.storage.restore_volumes"
POLICY = {"policy": "p", "keep": {"last": 9}, "consistency": "instance"}

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.usefixtures("both_ways"),
    pytest.mark.skipif(not (PROC / "self" / "stat").exists(), reason="the processes of a run are found in /proc"),
]


@dataclass(frozen=True)
class Lost:
    """A machine whose two volumes were captured together before their last writes, and a machine to restore them on."""

    sandbox: Sandbox
    source: Web
    target: Web
    snapshots: Mapping[str, str]
    volumes: frozenset[str]

    def variables(self, **given: Any) -> dict[str, Any]:
        wanted = {"source_instance_id": self.source.instance_id, **given}
        return {f"restore_volumes_{name}": value for name, value in wanted.items()}

    def new_volumes(self) -> dict[str, dict[str, Any]]:
        """Each later volume, by the snapshot that it was made from."""
        found = self.sandbox.client("ec2", REGION).describe_volumes()["Volumes"]
        new = [volume for volume in found if volume["VolumeId"] not in self.volumes]
        by_snapshot = {volume["SnapshotId"]: volume for volume in new}
        assert len(by_snapshot) == len(new), "a volume was made twice"
        return by_snapshot

    def run(self, **given: Any) -> Run:
        """A run that must succeed."""
        run = run_playbook(self.sandbox, PLAYBOOK, self.variables(**given), timeout=100)
        assert run.status == 0, run.output
        return run


@pytest.fixture
def lost(sandbox: Sandbox) -> Lost:
    now = sandbox.now()
    if (now + timedelta(minutes=20)).date() != now.date():
        sandbox.move_clock(1200)
    source = seed_web(sandbox, REGION, "source")
    for volume in (source.root_volume_id, source.data_volume_id):
        sandbox.add_mark(volume, "kept")
    policy = {**POLICY, "select": {"instance_ids": [source.instance_id]}}
    told = run_playbook(sandbox, "ec2ops.storage.rotate_snapshots", {"rotate_snapshots_policies": [policy]})
    assert told.status == 0, told.output
    ec2 = sandbox.client("ec2", REGION)
    made = ec2.describe_snapshots(Filters=[{"Name": "tag:ec2ops:policy", "Values": ["p"]}])["Snapshots"]
    for volume in (source.root_volume_id, source.data_volume_id):
        sandbox.add_mark(volume, "too late")
    target = seed_web(sandbox, REGION, "target")
    volumes = frozenset(volume["VolumeId"] for volume in ec2.describe_volumes()["Volumes"])
    sandbox.reset_log()
    return Lost(sandbox, source, target, {one["VolumeId"]: one["SnapshotId"] for one in made}, volumes)


def newer_set(lost: Lost) -> None:
    """Another set of the machine, of the next day, which an unfinished restore must not use."""
    sandbox = lost.sandbox
    with at_once(sandbox):
        sandbox.move_clock(86400)
        period = sandbox.now().date()
        sandbox.client("ec2", REGION).create_snapshots(
            InstanceSpecification={"InstanceId": lost.source.instance_id},
            Description=f"p: {lost.source.instance_id}",
            TagSpecifications=[
                {
                    "ResourceType": "snapshot",
                    "Tags": [
                        {"Key": "ec2ops:policy", "Value": "p"},
                        {"Key": "ec2ops:set", "Value": f"{lost.source.instance_id}/{period}T00:00+00:00"},
                        {"Key": "ec2ops:period", "Value": f"{period}T00:00+00:00"},
                    ],
                }
            ],
        )


def assert_restored(lost: Lost) -> None:
    """Each volume once, of the one set, attached to the target, with what it held then; one more run does nothing."""
    made = lost.new_volumes()
    assert made.keys() == set(lost.snapshots.values())
    for snapshot_id, volume in made.items():
        (attachment,) = volume["Attachments"]
        assert (attachment["InstanceId"], attachment["State"]) == (lost.target.instance_id, "attached")
        held = lost.sandbox.marks(snapshot_id)["marks"]
        marks = lost.sandbox.marks(volume["VolumeId"])["marks"]
        assert marks[: len(held)] == held
        texts = [mark["text"] for mark in marks]
        assert ("kept" in texts, "too late" in texts) == (True, False)
    lost.sandbox.reset_log()
    again = lost.run(target_instance_id=lost.target.instance_id)
    assert again.fact("restore_result")["plan"] == []
    assert changing_calls(lost.sandbox.log()) == []


POINTS = [
    Point("CreateVolume", "before", 2),
    Point("CreateVolume", "after", 1),
    Point("AttachVolume", "before", 1),
    Point("AttachVolume", "after", 2),
]


@pytest.mark.parametrize("point", POINTS, ids=str)
def test_rerun_after_a_kill_with_a_newer_set_completes_the_first(lost: Lost, tmp_path: Path, point: Point) -> None:
    sandbox = lost.sandbox
    fault = hold_at(sandbox, point)
    given = {"target_instance_id": lost.target.instance_id}
    with begun(sandbox, PLAYBOOK, lost.variables(**given), tmp_path / "first") as first:
        first.await_held(fault)
        first.kill_all()
    await_released(sandbox)
    sandbox.remove_fault(fault)
    begun_before = bool(lost.new_volumes())
    if begun_before:
        newer_set(lost)
    lost.run(**given)
    assert_restored(lost)


def test_killed_controller_and_rerun_beside_the_module_leave_one_result(lost: Lost, tmp_path: Path) -> None:
    sandbox = lost.sandbox
    fault = hold_at(sandbox, Point("AttachVolume", "before", 1))
    given = {"target_instance_id": lost.target.instance_id}
    with begun(sandbox, PLAYBOOK, lost.variables(**given), tmp_path / "first") as first:
        first.await_held(fault)
        survivors = first.kill_playbook()
        with begun(sandbox, PLAYBOOK, lost.variables(**given), tmp_path / "second") as second:
            until(lambda: second.is_over or sandbox.counts().get("AttachVolume", 0) > 1, "the second run at work")
            sandbox.release(fault)
            ended = second.ended(100)
        await_end(survivors)
    sandbox.remove_fault(fault)
    assert ended.status == 0, ended.output
    lost.run(**given)
    assert_restored(lost)


@pytest.mark.parametrize(
    ("point", "terminated"),
    [
        pytest.param(Point("CreateVolume", "after", 1), False, id="killed-after-CreateVolume"),
        pytest.param(Point("CreateVolume", "before", 2), True, id="terminated-before-CreateVolume-2"),
        pytest.param(Point("DeleteVolume", "before", 2), False, id="killed-before-DeleteVolume-2"),
    ],
)
def test_volumes_of_an_ended_drill_are_deleted_by_the_next(
    lost: Lost, tmp_path: Path, point: Point, terminated: bool
) -> None:
    sandbox = lost.sandbox
    fault = hold_at(sandbox, point)
    with begun(sandbox, PLAYBOOK, lost.variables(drill=True), tmp_path / "first") as first:
        first.await_held(fault)
        if terminated:
            assert first.terminate().status != 0
        else:
            first.kill_all()
    await_released(sandbox)
    sandbox.remove_fault(fault)
    assert lost.new_volumes(), "the drill has left nothing, and the test shows nothing"
    # By then no drill of two volumes is under way any more.
    sandbox.move_clock(2 * 2 * 1800 + 1)
    run = lost.run(drill=True)
    assert lost.new_volumes() == {}
    told = run.fact("restore_result")["volumes"]
    assert {entry["snapshot_id"] for entry in told} == set(lost.snapshots.values())
    # No other volume is gone.
    ec2 = sandbox.client("ec2", REGION)
    assert {volume["VolumeId"] for volume in ec2.describe_volumes()["Volumes"]} == lost.volumes
    kept = ec2.describe_snapshots(SnapshotIds=[*lost.snapshots.values()])["Snapshots"]
    assert {one["State"] for one in kept} == {"completed"}


def test_two_drills_at_once_do_not_touch_each_other(lost: Lost, tmp_path: Path) -> None:
    sandbox = lost.sandbox
    # On a slow machine the first run gives up the held call and makes it again, with the same token.
    fault = hold_at(sandbox, Point("CreateVolume", "after", 1))
    with begun(sandbox, PLAYBOOK, lost.variables(drill=True), tmp_path / "first") as first:
        first.await_held(fault)
        made = {volume["VolumeId"] for volume in lost.new_volumes().values()}
        plan = lost.run(drill=True).fact("restore_result")["plan"]
        sandbox.release(fault)
        ended = first.ended(100)
    assert ended.status == 0, ended.output
    assert [entry["action"] for entry in plan] == ["CreateVolume"] * 2 + ["CreateTags"] * 2 + ["DeleteVolume"] * 2
    assert made
    assert made.isdisjoint(entry["resource"] for entry in plan)
    assert performed(sandbox, "DeleteVolume") == 4
    assert lost.new_volumes() == {}
