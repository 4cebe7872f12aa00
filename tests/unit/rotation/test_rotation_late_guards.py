# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`snapshot_rotate`: snapshots that become protected while a run waits are kept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from in_process import REGION, ZONE
from rotation_runs import DAY, deletes, entries, of_policy, ok, past, rotate, tags_of
from sandbox.client import Sandbox
from worlds import new_day, sandbox_gateway

ELSEWHERE, VAULT = "eu-west-1", "444455556666"
READS = (
    "DescribeSnapshots",
    "DescribeLockedSnapshots",
    "DescribeFastSnapshotRestores",
    "DescribeSnapshotTierStatus",
    "DescribeSnapshotAttribute",
    "DescribeImages",
    "DescribeVolumes",
)
Interference = Callable[[Any, str], Any]


@pytest.fixture
def sandbox(quick_sandbox: Sandbox) -> Sandbox:
    return new_day(quick_sandbox, snapshot_pending=2.0, snapshot_copying=1.0, volume_creating=300.0)


class InterferingGateway:
    """The gateway of a run during whose first wait somebody else does something."""

    def __init__(self, gateway: Any, interfere: Callable[[], Any]) -> None:
        self._gateway = gateway
        self._interfere: Callable[[], Any] | None = interfere

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def watch(self) -> Any:
        return InterferingWatch(self._gateway.watch(), self._interfere_once)

    def _interfere_once(self) -> None:
        interfere, self._interfere = self._interfere, None
        if interfere is not None:
            interfere()


class InterferingWatch:
    """A poll loop that reports the end of its last wait."""

    def __init__(self, watch: Any, tell: Callable[[], None]) -> None:
        self._watch, self._tell = watch, tell

    def __getattr__(self, name: str) -> Any:
        return getattr(self._watch, name)

    def poll(self) -> Any:
        sighting = self._watch.poll()
        if self._watch.next_poll is None:
            self._tell()
        return sighting


def tag(ec2: Any, snapshot_id: str, key: str = "hold", value: str = "yes") -> None:
    ec2.create_tags(Resources=[snapshot_id], Tags=[{"Key": key, "Value": value}])


def share(ec2: Any, snapshot_id: str, **to: Any) -> None:
    ec2.modify_snapshot_attribute(SnapshotId=snapshot_id, Attribute="createVolumePermission", OperationType="add", **to)


def register(ec2: Any, snapshot_id: str) -> None:
    ec2.register_image(
        Name="rescue",
        RootDeviceName="/dev/xvda",
        VirtualizationType="hvm",
        Architecture="x86_64",
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": snapshot_id}}],
    )


INTERFERENCES: dict[str, Interference] = {
    "protected": tag,
    "managed": lambda ec2, one: tag(ec2, one, "velero.io/backup", "b"),
    "locked": lambda ec2, one: ec2.lock_snapshot(SnapshotId=one, LockMode="governance", LockDuration=1),
    "fast_restore": lambda ec2, one: ec2.enable_fast_snapshot_restores(
        AvailabilityZones=[ZONE], SourceSnapshotIds=[one]
    ),
    "public": lambda ec2, one: share(ec2, one, GroupNames=["all"]),
    "shared": lambda ec2, one: share(ec2, one, UserIds=[VAULT]),
    "image": register,
    "creating": lambda ec2, one: ec2.create_volume(SnapshotId=one, AvailabilityZone=ZONE),
}


def options(volume: str, **more: Any) -> dict[str, Any]:
    return {
        "select": {"volume_ids": [volume]},
        "keep": {"last": 2},
        "protect": {"tags": {"hold": "yes"}},
        "guards": {"shared": "keep"},
        **more,
    }


def policies_volume(sandbox: Sandbox, days: int) -> tuple[str, list[str]]:
    (volume,) = sandbox.seed({"volume": {"name": "data"}}).values()
    old = past(sandbox, [volume], days)
    sandbox.reset_log()
    return volume, old


@pytest.mark.parametrize("guard", INTERFERENCES)
def test_snapshot_protected_during_the_wait_is_kept(sandbox: Sandbox, guard: str) -> None:
    volume, old = policies_volume(sandbox, 4)
    # Only the deletion of the newest of them depends on today's snapshot. The others do not wait.
    held, gone = old[1], {old[2], old[3]}
    given = options(volume)
    if guard == "managed":  # only AWS's own tags show that another controller manages a policy's snapshot
        start = sandbox.now().replace(hour=3, minute=0, second=0, microsecond=0) - timedelta(days=2)
        row = {"volumes": [volume], "times": [start.isoformat()], "tags": {"by": "cron"}, "name": "a"}
        adopted = {"a": sandbox.seed({"snapshots": [row]})["a"][0]}
        held, gone = adopted["a"], set(old[1:])
        given |= {"adopt": {"tags": {"by": "cron"}}}
    checked = ok(rotate(sandbox, check=True, **given))
    assert checked.result["kept_late"] == []
    assert set(checked.result["deleted"]) == {held, *gone}
    ec2 = sandbox.client("ec2", REGION)
    gateway = InterferingGateway(sandbox_gateway(sandbox, REGION), lambda: INTERFERENCES[guard](ec2, held))
    ran = ok(rotate(sandbox, gateway=gateway, alone=False, **given))
    assert set(deletes(sandbox)) == gone == set(ran.result["deleted"])
    (kept,) = ran.result["kept_late"]
    assert (kept["snapshot_ids"], kept["guard"]) == ([held], guard)
    assert (kept["region"], kept["profile"]) == (REGION, None)
    assert kept["reason"]
    (warning,) = [text for text in ran.warnings if held in text]
    assert kept["reason"] in warning
    # The plan is the approved one, and the result shows its outcome.
    assert entries(ran) == entries(checked)
    assert ran.result["plan_hash"] == checked.result["plan_hash"]
    assert ran.result["counts"]["deleted"] == len(gone)
    assert ran.result["counts"]["kept"] == checked.result["counts"]["kept"] + 1
    (decision,) = [one for one in ran.result["decisions"] if held in one["snapshot_ids"]]
    assert (decision["decision"], decision["guard"], decision["reasons"]) == ("keep", guard, [kept["reason"]])
    again = ok(rotate(sandbox, **given))
    assert (again.result["plan"], again.result["kept_late"]) == ([], [])


def test_set_with_a_part_that_becomes_protected_is_kept_whole(sandbox: Sandbox) -> None:
    names = sandbox.seed({"instance": {"name": "web", "data_volumes": 1}})
    instance, volumes = names["web"], [names["web/root"], names["web/data1"]]
    old = past(sandbox, volumes, 2, instance)
    given = options("", select={"instance_ids": [instance]}, consistency="instance", keep={"last": 1})
    ec2 = sandbox.client("ec2", REGION)
    gateway = InterferingGateway(sandbox_gateway(sandbox, REGION), lambda: tag(ec2, old[1]))
    ran = ok(rotate(sandbox, gateway=gateway, alone=False, **given))
    assert set(deletes(sandbox)) == set(old[2:])
    (kept,) = ran.result["kept_late"]
    assert set(kept["snapshot_ids"]) == set(old[:2])


def test_copy_protected_during_the_wait_is_kept(sandbox: Sandbox) -> None:
    volume, _old = policies_volume(sandbox, 2)
    place = {"region": ELSEWHERE, "keep": {"last": 2}, "wait": True}
    given = options(volume, keep={"last": 9}, copies=[place])
    first = ok(rotate(sandbox, **given)).result["copied"]
    sandbox.move_clock(DAY)
    there = sandbox.client("ec2", ELSEWHERE)
    rows = there.describe_snapshots(SnapshotIds=first)["Snapshots"]
    oldest = min(rows, key=lambda row: tags_of(row)["ec2ops:taken"])["SnapshotId"]
    gateway = InterferingGateway(sandbox_gateway(sandbox, REGION), lambda: tag(there, oldest))
    ran = ok(rotate(sandbox, gateway=gateway, alone=False, **given))
    assert deletes(sandbox) == []
    (kept,) = ran.result["kept_late"]
    assert (kept["snapshot_ids"], kept["region"], kept["guard"]) == ([oldest], ELSEWHERE, "protected")


def test_guard_in_report_mode_permits_a_late_deletion(sandbox: Sandbox) -> None:
    volume, old = policies_volume(sandbox, 4)
    given = options(volume, guards={"protected": "report"})
    ec2 = sandbox.client("ec2", REGION)
    gateway = InterferingGateway(sandbox_gateway(sandbox, REGION), lambda: tag(ec2, old[1]))
    ran = ok(rotate(sandbox, gateway=gateway, alone=False, **given))
    assert set(deletes(sandbox)) == set(old[1:])
    assert ran.result["kept_late"] == []


def test_guard_in_fail_mode_prevents_a_late_deletion_and_fails_the_next_run(sandbox: Sandbox) -> None:
    volume, old = policies_volume(sandbox, 4)
    given = options(volume, guards={"fast_restore": "fail"})
    ec2 = sandbox.client("ec2", REGION)
    gateway = InterferingGateway(sandbox_gateway(sandbox, REGION), lambda: INTERFERENCES["fast_restore"](ec2, old[1]))
    ran = ok(rotate(sandbox, gateway=gateway, alone=False, **given))
    assert [one["snapshot_ids"] for one in ran.result["kept_late"]] == [[old[1]]]
    assert "fast_restore" in rotate(sandbox, **given).failed


def test_deletion_that_depends_on_nothing_does_not_wait(sandbox: Sandbox) -> None:
    volume, old = policies_volume(sandbox, 4)
    sandbox.configure(durations={"snapshot_pending": 7200.0})
    ended = rotate(sandbox, wait_timeout=30, alone=False, **options(volume))
    assert "pending" in ended.failed
    assert set(deletes(sandbox)) == set(old[2:]) == set(ended.result["deleted"])
    (left_out,) = ended.result["not_tried"]
    assert left_out["resource"] == old[1]
    assert left_out["depends_on"] == ended.result["created"][0]
    assert f"DeleteSnapshot of {old[1]} (depends on {left_out['depends_on']})" in ended.failed


def test_guard_that_cannot_be_asked_again_keeps_all(sandbox: Sandbox) -> None:
    volume, old = policies_volume(sandbox, 4)
    gateway = InterferingGateway(sandbox_gateway(sandbox, REGION), lambda: sandbox.refuse("DescribeLockedSnapshots"))
    ended = rotate(sandbox, gateway=gateway, alone=False, **options(volume))
    sandbox.refuse()
    assert "DescribeLockedSnapshots" in ended.failed
    assert set(deletes(sandbox)) == set(old[2:])
    assert len(of_policy(sandbox)) == 3


def reads(sandbox: Sandbox) -> dict[str, int]:
    return {name: count for name, count in sandbox.counts().items() if name in READS}


def test_without_a_wait_nothing_is_asked_twice(sandbox: Sandbox) -> None:
    volume, old = policies_volume(sandbox, 6)
    given = options(volume, create="never", guards={})
    ok(rotate(sandbox, check=True, **given))
    asked = reads(sandbox)
    sandbox.reset_log()
    ran = ok(rotate(sandbox, **given))
    assert set(ran.result["deleted"]) == set(old[2:])
    assert reads(sandbox) == asked


def test_questions_after_the_wait_do_not_grow_with_the_snapshots(sandbox: Sandbox) -> None:
    counts = []
    for days in (4, 40):
        sandbox.reset()
        volume, _old = policies_volume(sandbox, days)
        given = options(volume, guards={}, max_delete_percent=100)
        ok(rotate(sandbox, **given))
        found = reads(sandbox)
        found.pop("DescribeSnapshots")  # polls are among them
        counts.append(found)
    assert counts[0] == counts[1]
    assert counts[0]["DescribeLockedSnapshots"] == 2
