# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`snapshot_restore` killed at each of its changing calls, or with a lost answer, and run again: each volume once."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from in_process import OTHER_ZONE, REGION, ZONE, Killed, KillingGateway, RefusingGateway, machine, volumes
from restore_runs import Scene, begin, restore
from sandbox.client import Sandbox
from worlds import sandbox_gateway


def assert_restored_once(scene: Scene, target_id: str, whole: dict[str, str]) -> None:
    """Each volume of the set exists once, attached to the target."""
    found = [item for item in volumes(scene.sandbox).values() if "ec2ops:spec" in item["tags"]]
    assert sorted(item["SnapshotId"] for item in found) == sorted(whole.values())
    for item in found:
        assert [(link["InstanceId"], link["State"]) for link in item["Attachments"]] == [(target_id, "attached")]


# Three volumes: three CreateVolume, then three AttachVolume.
@pytest.mark.parametrize("nth", range(1, 7))
def test_rerun_after_a_kill_completes_the_same_set(sandbox: Sandbox, nth: int) -> None:
    scene = begin(sandbox, data=2)
    target = machine(sandbox, "target")
    whole = scene.capture_set(1)
    given = {"source_instance_id": scene.source.instance_id, "target_instance_id": target.instance_id}
    with pytest.raises(Killed):
        restore(sandbox, gateway=KillingGateway(sandbox_gateway(sandbox, REGION), nth), **given)
    sandbox.move_clock(86400)
    scene.capture_set(2)
    ended = restore(sandbox, **given)
    assert ended.failed == ""
    assert {entry["source"]: entry["snapshot_id"] for entry in ended.result["volumes"]} == whole
    assert_restored_once(scene, target.instance_id, whole)
    again = restore(sandbox, **given)
    assert (again.failed, again.actions) == ("", [])


@pytest.mark.parametrize("nth", range(1, 7))
def test_lost_answer_makes_no_volume_twice(sandbox: Sandbox, nth: int) -> None:
    scene = begin(sandbox, data=2)
    target = machine(sandbox, "target")
    whole = scene.capture_set()
    given = {"source_instance_id": scene.source.instance_id, "target_instance_id": target.instance_id}
    restore(sandbox, gateway=RefusingGateway(sandbox_gateway(sandbox, REGION), nth, unclear=True), alone=False, **given)
    ended = restore(sandbox, **given)
    assert ended.failed == ""
    assert_restored_once(scene, target.instance_id, whole)


# Two volumes: two CreateVolume, two DeleteVolume.
@pytest.mark.parametrize("nth", range(1, 5))
def test_drill_deletes_volumes_of_a_killed_drill(sandbox: Sandbox, nth: int) -> None:
    scene = begin(sandbox, data=2)
    scene.capture()
    before = set(volumes(sandbox))
    given: dict[str, Any] = {"source_volume_ids": scene.volume_ids, "drill": True, "wait_timeout": 600}
    with pytest.raises(Killed):
        restore(sandbox, gateway=KillingGateway(sandbox_gateway(sandbox, REGION), nth), **given)
    left = set(volumes(sandbox)) - before
    sandbox.move_clock(2 * 2 * 600 + 1)
    ended = restore(sandbox, **given)
    assert ended.failed == ""
    sandbox.move_clock(60)
    assert set(volumes(sandbox)) == before
    still = left & {entry["resource"] for entry in ended.result["plan"]}
    assert ended.actions.count("CreateSnapshot") == len(still)


def test_drill_with_an_id_continues_with_its_volumes(sandbox: Sandbox) -> None:
    scene = begin(sandbox)
    scene.capture()
    before = set(volumes(sandbox))
    given: dict[str, Any] = {"source_volume_ids": scene.volume_ids, "drill": True, "drill_id": "0a1b2c3d"}
    with pytest.raises(Killed):
        restore(sandbox, gateway=KillingGateway(sandbox_gateway(sandbox, REGION), 1), **given)
    (left,) = set(volumes(sandbox)) - before
    ended = restore(sandbox, **given)
    assert (ended.failed, list(ended.result["planned_ids"].values())) == ("", [left])
    assert set(volumes(sandbox)) == before


def test_run_killed_in_one_zone_is_no_restore_of_another(sandbox: Sandbox) -> None:
    scene = begin(sandbox)
    scene.capture()
    with pytest.raises(Killed):
        restore(
            sandbox,
            gateway=KillingGateway(sandbox_gateway(sandbox, REGION), 1),
            source_volume_ids=scene.volume_ids,
            zone=ZONE,
        )
    (left,) = (item for item, row in volumes(sandbox).items() if "ec2ops:spec" in row["tags"])
    ended = restore(sandbox, source_volume_ids=scene.volume_ids, zone=OTHER_ZONE)
    assert (ended.failed, ended.actions) == ("", ["CreateVolume"])
    assert any(left in text and "another zone" in text for text in ended.warnings)


class MeetingGateway:
    """The gateway of a run that waits, before its first AttachVolume, until the other run has come as far."""

    def __init__(self, gateway: Any, met: threading.Barrier) -> None:
        self._gateway = gateway
        self._met = met
        self._lock = threading.Lock()
        self._begun = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def perform(self, changes: Any, generation: int = 0) -> Any:
        with self._lock:
            first = changes[0].action == "AttachVolume" and not self._begun
            self._begun = self._begun or first
        if first:
            self._met.wait(timeout=60)
        return self._gateway.perform(changes, generation)


def test_two_runs_restoring_to_two_instances_attach_to_one_only(sandbox: Sandbox) -> None:
    scene = begin(sandbox, data=2)
    targets = [machine(sandbox, "one"), machine(sandbox, "two")]
    whole = scene.capture_set()
    met = threading.Barrier(2)
    failures: dict[str, str] = {}

    def run_to(target_id: str) -> None:
        gateway = MeetingGateway(sandbox_gateway(sandbox, REGION), met)
        given = {"source_instance_id": scene.source.instance_id, "target_instance_id": target_id}
        failures[target_id] = restore(sandbox, gateway=gateway, alone=False, **given).failed

    threads = [threading.Thread(target=run_to, args=(target.instance_id,)) for target in targets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = (target_id for target_id, failed in failures.items() if not failed)
    assert_restored_once(scene, winner, whole)
