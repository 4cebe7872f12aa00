# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A task of `storage_info` deletes nothing that is in use, kept or the last copy, and its saving is what it saves."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.ec2ops.storage.plugins.module_utils._features.inventory import planner, remedies
from ansible_collections.ec2ops.storage.plugins.module_utils._features.inventory.reading import first_queries
from ansible_collections.ec2ops.storage.plugins.module_utils._features.inventory.stock import Inventory, Point
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import account_query
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import capture_description
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import BlockDevice, Resource
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import State
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import (
    IS_PUBLIC,
    LAUNCH_PERMISSIONS,
    LOCK,
    VOLUME_PERMISSIONS,
    SnapshotLock,
)
from test_findings import BASE, data, held, successor

from inventory_world import (
    DAY,
    HOUR,
    NOW,
    OTHER,
    POLICY,
    REGION,
    ami,
    copy_of,
    found,
    image,
    inst,
    instance,
    of,
    report,
    snap,
    snapshot,
    spec_of,
    state_of,
    vol,
    volume,
)

DLM = {"aws:dlm:lifecycle-policy-id": "policy-0a1b"}
BACKUP = {"aws:backup:source-resource": "arn:aws:ec2:us-east-1:123456789012:volume/vol-1"}


def the(finding: str, *there: Resource, **given: Any) -> dict[str, Any]:
    """The only finding of this id."""
    (one,) = [each for each in report(*there, **given)["findings"] if each["id"] == finding]
    return one


def options(one: dict[str, Any], number: int = 0) -> dict[str, Any]:
    """The options of a task of the finding."""
    task = yaml.safe_load(one["task"])[number]
    (module,) = task.keys() - {"name"}
    return dict(task[module])


def without(state: State, *operations: str) -> State:
    """The same region, without an answer to these operations."""
    queries = [*first_queries(spec_of()), account_query()]
    errors = {
        query: CallError(query.operation, "UnauthorizedOperation", "You are not authorized.")
        for query in queries
        if query.operation in operations
    }
    return State(state.region, state.resources, now=NOW, unanswered=errors)


def test_region_with_prices_is_not_told_to_have_none() -> None:
    one = the("volume-iops-within-gp3", instance(2, 2), volume(2, on=2, volume_type="io2", iops=40_000))
    assert one["saving"] is None
    assert "The report lacks a price in us-east-1." in one["reason"]


# --- the last copy ---------------------------------------------------------------------------------------------------


def test_last_snapshot_of_a_deleted_volume_has_no_task() -> None:
    older, newest = snapshot(2, 9, age=9 * DAY), snapshot(3, 9, age=2 * DAY)
    tasks = {one["resource"]: (one["task"], one["saving"]) for one in report(older, newest)["findings"]}
    assert tasks[snap(3)] == ("", None)
    assert snap(2) in tasks[snap(2)][0]
    assert "last snapshot of this volume" in the("snapshot-orphaned", newest)["reason"]


@pytest.mark.parametrize("fields", [{"storage_tier": "archive"}, {"state": "pending"}], ids=str)
def test_newest_data_and_the_newest_ready_point_are_both_kept(fields: dict[str, Any]) -> None:
    world = [snapshot(2, 9, age=9 * DAY), snapshot(3, 9, age=2 * DAY, **fields), snapshot(4, 9, age=20 * DAY)]
    assert {one["resource"] for one in report(*world)["findings"] if one["task"]} == {snap(4)}


def test_last_copies_of_many_snapshots_are_found_in_one_pass() -> None:
    state = state_of(*(snapshot(number, 9, age=number * DAY, storage_tier="archive") for number in range(2, 3002)))
    inventory = Inventory(spec_of(), state, NOW)
    reads = 0

    class Counting(Point):
        @property
        def is_good(self) -> bool:
            nonlocal reads
            reads += 1
            return super().is_good

    inventory.points = [Counting(one.snapshot, one.source, one.moment, one.policy) for one in inventory.points]
    assert [one.id for one in inventory.points if inventory.is_last(one)] == [snap(2)]
    assert reads == 3000


def test_failed_snapshot_is_no_last_copy() -> None:
    assert the("snapshot-orphaned", snapshot(2, 9, age=2 * DAY, state="error"))["task"]


def test_old_copy_of_an_unknown_volume_has_no_task() -> None:
    one = the("snapshot-old", snapshot(2, age=91 * DAY, volume_id="vol-ffffffff"))
    assert (one["task"], one["saving"]) == ("", None)


@pytest.mark.parametrize("tags", [DLM, BACKUP], ids=["dlm", "backup"])
def test_snapshot_and_image_of_an_aws_service_are_not_waste(tags: dict[str, str]) -> None:
    assert found(report(snapshot(2, 9, age=200 * DAY, tags=tags), image(2, tags=tags))) == set()
    world = [instance(2, 2), volume(2, on=2), snapshot(2, 2, tags=tags)]
    assert found(report(*world)) == set()
    # Anybody can write a tag without the prefix aws:.
    assert of("snapshot-orphaned", snapshot(2, 9, age=2 * DAY, tags={"dlm:managed": "true"})) == [snap(2)]


# --- images ----------------------------------------------------------------------------------------------------------

OLD_IMAGE = image(2, 2, 3)


def test_all_tasks_together_leave_a_snapshot_of_a_deleted_volume() -> None:
    older = snapshot(4, 8, age=300 * DAY)
    tasks = {one["resource"]: one for one in report(*parts(), older, OLD_IMAGE)["findings"] if one["task"]}
    assert snap(4) in tasks
    # Snapshot 2 is newer and of the same volume, so the task for the image leaves it.
    assert options(tasks[OLD_IMAGE.image_id])["delete_snapshot"] is False
    assert tasks[OLD_IMAGE.image_id]["saving"] is None


def parts(**fields: Any) -> list[Resource]:
    """The snapshots of the image. The volumes of both are gone."""
    return [snapshot(2, 8, age=200 * DAY), snapshot(3, 9, age=200 * DAY, **fields)]


LOCKED = LOCK.fact(snap(3), SnapshotLock("governance", NOW + DAY))
NEEDED: dict[str, list[Resource]] = {
    "a policy keeps a part": [*parts(policy=POLICY)],
    "a lock keeps a part": [*parts(), LOCKED],
    "an adopted part": [*parts(tags={"ec2ops:adopted-by": POLICY})],
    "another image uses a part": [*parts(), image(3, 3, age=DAY)],
    "a part is the newest recovery point": [*parts(), volume(9, on=1), instance(1, 9)],
    "a part is unknown": parts()[:1],
}


@pytest.mark.parametrize("world", NEEDED.values(), ids=NEEDED)
def test_snapshot_that_something_else_needs_survives_its_image(world: list[Resource]) -> None:
    one = the("image-unused", OLD_IMAGE, *world)
    assert (options(one)["delete_snapshot"], one["saving"]) == (False, None)


def test_snapshots_that_nothing_else_needs_are_deleted_with_their_image() -> None:
    one = the("image-unused", OLD_IMAGE, *parts())
    assert (options(one)["delete_snapshot"], one["saving"]["most"]) == (True, 10.0)
    newer = [*parts(), volume(9, on=1), instance(1, 9), snapshot(4, 9, age=HOUR)]
    assert options(the("image-unused", OLD_IMAGE, *newer))["delete_snapshot"] is True


@pytest.mark.parametrize("operation", ["DescribeVolumes", "DescribeLockedSnapshots"])
def test_image_keeps_its_snapshots_if_a_read_is_missing(operation: str) -> None:
    document = report(state=without(state_of(OLD_IMAGE, *parts()), operation))
    (one,) = [each for each in document["findings"] if each["id"] == "image-unused"]
    assert options(one)["delete_snapshot"] is False


def test_shared_image_is_not_unused() -> None:
    shared = LAUNCH_PERMISSIONS.fact(ami(2), ("222222222222",))
    assert of("image-unused", image(2), shared) == []
    assert of("image-unused", image(2), LAUNCH_PERMISSIONS.fact(ami(2), ())) == [ami(2)]


def test_making_an_image_or_a_snapshot_private_keeps_known_shares() -> None:
    arn = "arn:aws:organizations::123456789012:organization/o-1"
    facts = [
        LAUNCH_PERMISSIONS.fact(ami(2), ("all", "222222222222", arn)),
        VOLUME_PERMISSIONS.fact(snap(2), ("all", "222222222222")),
    ]
    world = [image(2, facts={"Public": True}), snapshot(2), IS_PUBLIC.fact(snap(2), True)]
    wanted = {"group_names": [], "user_ids": ["222222222222"], "org_arns": [arn]}
    assert options(the("image-public", *world, *facts))["launch_permissions"] == wanted
    assert options(the("snapshot-public", *world, *facts))["user_ids"] == ["222222222222"]
    # Without permissions: true, nobody knows the shares. The name of the task says that it ends them.
    for finding in ("image-public", "snapshot-public"):
        assert "share it with no account" in the(finding, *world)["task"]


# --- instances -------------------------------------------------------------------------------------------------------


def test_rejected_successor_is_terminated_only_while_its_predecessor_runs() -> None:
    new = successor(3, 2, "rejected")
    assert the("leftover-rejected", instance(2), new)["task"]
    # A run has stopped the predecessor, and will start it again.
    off = held(2, since=4 * DAY, lasting=5 * DAY, stopped=4 * DAY)
    one = the("leftover-rejected", off, new)
    assert (one["task"], one["saving"]) == ("", None)
    assert f"{inst(2)} does not run" in one["reason"]


def test_instance_that_a_run_was_to_start_again_is_not_terminated() -> None:
    off = held(2, since=40 * DAY, lasting=HOUR, stopped=40 * DAY)
    object.__setattr__(off, "block_devices", (BlockDevice("/dev/sdf", vol(2), delete_on_termination=True),))
    world = [off, volume(2, on=2)]
    assert "restored" in the("leftover-hold", *world)["task"]
    assert of("volume-of-stopped-instance", *world) == []
    # A tag alone proves no hold.
    forged = instance(2, 2, stopped=40 * DAY, tags={"ec2ops:restore-state": "running"})
    assert of("volume-of-stopped-instance", forged, volume(2, on=2)) == [vol(2)]


@pytest.mark.parametrize(("trial", "has_task"), [("rejected", False), ("unproven", False), ("serving", True)])
def test_predecessor_of_an_unproven_successor_is_not_terminated(trial: str, has_task: bool) -> None:
    off = instance(2, 2, stopped=40 * DAY, launch_time=NOW - 45 * DAY)
    new = successor(3, 2, trial, state="stopped", launch_time=NOW - 50 * DAY)
    one = the("volume-of-stopped-instance", off, new, volume(2, on=2))
    assert bool(one["task"]) is has_task
    assert (f"{inst(3)} was launched to replace {inst(2)}" in one["reason"]) is not has_task


def test_last_image_of_an_earlier_stop_is_not_that_of_the_next_one() -> None:
    def baked(days: int) -> Any:
        return options(the("volume-of-stopped-instance", instance(2, 2, stopped=days * DAY), volume(2, on=2)))[
            "version"
        ]

    assert baked(31) == f"{NOW - 31 * DAY:%Y-%m-%d-%H%M%S}"
    assert baked(31) != baked(32)


def test_volume_that_outlives_its_stopped_instance_saves_nothing() -> None:
    def saving(**fields: Any) -> Any:
        device = BlockDevice("/dev/sdf", vol(2), **fields)
        holder = instance(2, 2, stopped=31 * DAY)
        object.__setattr__(holder, "block_devices", (device,))
        return the("volume-of-stopped-instance", holder, volume(2, on=2))["saving"]

    assert saving(delete_on_termination=False) is None
    # 100 GiB: the volume costs 8.00 USD, and the image that the task makes of it 5.00 USD at most.
    ended = saving(delete_on_termination=True)
    assert (ended["least"], ended["most"], ended["exact"]) == (3.0, 8.0, False)


# --- savings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "least", "most"),
    [
        ({}, 3.0, 8.0),  # 100 x 0.08, less the last snapshot: 100 x 0.05 at most
        ({"volume_type": "sc1", "size": 500}, 0.0, 7.5),  # the snapshot may cost more than the volume
    ],
    ids=["gp3", "sc1"],
)
def test_saving_of_a_deletion_leaves_room_for_the_last_snapshot(fields: Any, least: float, most: float) -> None:
    saving = the("volume-unattached", volume(2, **fields))["saving"]
    assert (saving["least"], saving["most"]) == (least, most)


def test_saving_of_an_instance_and_of_its_volumes_counts_once() -> None:
    device = BlockDevice("/dev/sdf", vol(3), delete_on_termination=True)
    new = successor(3, 2, "rejected")
    object.__setattr__(new, "block_devices", (device,))
    gp2 = volume(3, on=3, volume_type="gp2", age=3 * DAY)
    document = report(instance(2), new, gp2)
    savings = {one["id"]: one["saving"]["most"] for one in document["findings"] if one["saving"]}
    assert savings == {"leftover-rejected": 10.0, "volume-gp2": 2.0}
    assert document["summary"]["saving"]["most"] == 10.0


@pytest.mark.parametrize(
    ("kind", "iops", "size", "mibps"),
    [
        ("io1", 300, 30, 125),  # 75 MiB/s, and gp3 has no less than 125
        ("io1", 4000, 100, 500),  # 256 KiB for each IOPS, 500 at most
        ("io1", 40_000, 1000, 625),  # beyond 32,000 IOPS, 16 KiB for each
        ("io2", 4000, 100, 1000),
        ("io2", 60_000, 1000, 2000),  # io2 delivers 4000, gp3 no more than 2000
    ],
)
def test_gp3_in_place_of_io_has_the_throughput_of_the_volume(kind: str, iops: int, size: int, mibps: int) -> None:
    one = the("volume-iops-within-gp3", *data(2, volume_type=kind, iops=iops, size=size))
    assert (options(one)["iops"], options(one)["throughput"]) == (max(iops, 3000), mibps)
    assert ("may deliver 4000 MiB/s" in one["reason"]) is (mibps == 2000)


def test_io1_volume_with_multi_attach_has_no_task() -> None:
    world = data(2, volume_type="io1", iops=4000, multi_attach_enabled=True)
    assert the("volume-io1", *world)["task"] == ""


def test_cost_of_a_magnetic_volume_is_not_called_exact() -> None:
    document = report(volume(1, volume_type="standard", size=20))
    assert document["summary"]["cost"]["exact"] is False
    assert document["summary"]["cost"]["basis"] == "storage, without I/O requests"
    assert "1.00 USD a month" in planner.headline(spec_of(), document)


# --- missing reads, forged texts and risk ----------------------------------------------------------------------------


def test_recovery_is_unknown_without_an_answer_about_snapshots() -> None:
    document = report(state=without(state_of(instance(1, 1), volume(1, on=1)), "DescribeSnapshots"))
    assert document["recovery"]["volumes"] == document["recovery"]["instances"] == []
    assert {key: document["summary"]["recovery"][key] for key in ("volumes", "late", "uncovered")} == {
        "volumes": 0,
        "late": 0,
        "uncovered": 0,
    }
    assert document["summary"]["volumes"]["count"] == 1


def test_encryption_of_snapshots_is_not_judged_without_their_volumes() -> None:
    world = state_of(*data(2, encrypted=False), snapshot(2, 2, age=2 * DAY, encrypted=False))
    findings = report(state=without(world, "DescribeVolumes"))["findings"]
    assert "snapshot-unencrypted" not in {one["id"] for one in findings}


def test_account_that_nobody_names_is_a_missing_part() -> None:
    document = report(state=without(state_of(), "GetCallerIdentity"))
    assert (document["account"], [one["part"] for one in document["partial"]]) == (None, ["account"])


def test_lock_beyond_all_time_in_a_description_does_not_end_the_run() -> None:
    described = capture_description(POLICY, vol(1), lock=f"governance {'9' * 12}d")
    one = snapshot(2, 1, age=10 * DAY, policy=POLICY, description=described)
    world = [*BASE, one, LOCK.fact(snap(2), SnapshotLock("governance", NOW + DAY))]
    assert "lock-outlasts-policy" in {each["id"] for each in report(*world)["findings"]}


def test_copy_is_not_late_before_the_policy_has_begun_to_copy() -> None:
    by_hand, first = snapshot(8, age=30 * DAY), snapshot(9, policy=POLICY, age=HOUR, copied_to=OTHER)
    assert of("copy-late", *BASE, by_hand, first, copy_regions=[OTHER]) == []
    before = snapshot(9, policy=POLICY, age=3 * DAY, copied_to=OTHER)
    assert of("copy-late", *BASE, by_hand, before, copy_regions=[OTHER]) == [vol(1)]
    assert of("copy-late", *BASE, by_hand, before, copy_of(first, 10), copy_regions=[OTHER]) == []


@pytest.mark.parametrize("value", ["\U0001f4be disk", "a\x7fb", "a\u2028b", "{{ x }}\n- name: y"])
def test_any_character_of_a_name_survives_yaml(value: str) -> None:
    text = remedies.tasks(("Test", "x.y.z", {"description": value}), region=REGION).replace("!unsafe ", "")
    assert yaml.safe_load(text)[0]["x.y.z"]["description"] == value


def test_volume_most_at_risk_is_the_latest_one_against_its_target() -> None:
    hourly, weekly = snapshot(2, 2, age=DAY, policy="hourly"), snapshot(3, 3, age=8 * DAY, policy="weekly")
    policies = [{"policy": "hourly", "every": "1h"}, {"policy": "weekly", "every": "1w"}]
    world = [instance(1, 2, 3), volume(2, on=1), volume(3, on=1, size=500), hourly, weekly]
    assert report(*world, policies=policies)["summary"]["at_risk"] == vol(2)
    # An attached volume without a recovery point comes first, and an unattached one last.
    assert report(*world, volume(4), volume(5, on=1), policies=policies)["summary"]["at_risk"] == vol(5)
    assert report(*world, volume(4), policies=policies)["summary"]["at_risk"] == vol(2)
    assert report(volume(4))["summary"]["at_risk"] == vol(4)


# --- the words of the tasks ------------------------------------------------------------------------------------------


def test_task_says_what_one_run_does_and_when_it_runs() -> None:
    backup = the("volume-without-recovery-point", instance(1, 1), volume(1, on=1))["task"]
    assert backup.startswith(f"- name: Back up {vol(1)} and keep 7 daily snapshots\n  # One run takes one snapshot.")
    first, second = the("volume-unattached", volume(1))["task"].split(f"- name: Delete {vol(1)}\n")
    (keep,), told = yaml.safe_load(first), second.splitlines()[0]
    # ec2_snapshot waits unless told otherwise, and fails if the snapshot is not completed in time.
    options = keep["amazon.aws.ec2_snapshot"]
    assert (options["description"], options.get("wait", True)) == (f"final snapshot of {vol(1)}", True)
    assert "ignore_errors" not in keep
    assert told == "  # Runs only if the snapshot is completed. Otherwise the play fails first."


def test_name_of_a_volume_type_has_its_article() -> None:
    assert f"Make {vol(1)} an io2 volume" in remedies.modification(vol(1), REGION, "io2", 100)
    assert f"Make {vol(1)} a gp3 volume" in remedies.modification(vol(1), REGION, "gp3", 3000, 125)
