# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tasks that exclude each other: the sum counts the larger saving, and each finding names the others."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.inventory.exclusions import excluding
from ansible_collections.ec2ops.storage.plugins.module_utils._features.inventory.finding import Finding
from ansible_collections.ec2ops.storage.plugins.module_utils._features.inventory.summary import savings
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prices import Cost
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import BlockDevice, Resource
from test_findings import successor

from inventory_world import DAY, inst, instance, report, vol, volume

UNATTACHED, GP2, REJECTED = "volume-unattached", "volume-gp2", "leftover-rejected"


def saving(finding: str, resource: str, most: float | None, *ends: str) -> Finding:
    return Finding(finding, "any", resource, "", saving=None if most is None else Cost(most, most), ends=ends)


@pytest.mark.parametrize(
    ("findings", "counted", "total"),
    [
        ([saving(UNATTACHED, "a", 8), saving(GP2, "a", 2)], [0], 8),
        ([saving(GP2, "a", 2), saving(UNATTACHED, "a", 8)], [1], 8),
        ([saving(UNATTACHED, "a", 8), saving(GP2, "b", 2)], [0, 1], 10),
        # Equal savings: the first finding counts.
        ([saving(UNATTACHED, "a", 2), saving(GP2, "a", 2)], [0], 2),
        # A finding without a price excludes nothing.
        ([saving(UNATTACHED, "a", None), saving(GP2, "a", 2)], [1], 2),
        ([saving(UNATTACHED, "a", None)], [], None),
        # The end of an instance deletes two volumes. A third one outlives it.
        (
            [saving(REJECTED, "i", 10, "a", "b"), saving(GP2, "a", 2), saving(GP2, "b", 2), saving(GP2, "c", 2)],
            [0, 3],
            12,
        ),
        # Of three in a row, the two ends do not exclude each other.
        ([saving(REJECTED, "i", 3, "a"), saving(REJECTED, "j", 5, "a", "b"), saving(GP2, "b", 4)], [1], 5),
        ([saving(REJECTED, "i", 5, "a"), saving(REJECTED, "j", 4, "a", "b"), saving(GP2, "b", 3)], [0, 2], 8),
    ],
)
def test_larger_saving_counts_and_the_others_do_not(
    findings: list[Finding], counted: list[int], total: float | None
) -> None:
    made = excluding(findings)
    views = [one.view("us-east-1", None) for one in made]
    assert [number for number, view in enumerate(views) if view["in_sum"]] == counted
    found = savings(made)
    assert (None if found is None else found.most) == total
    # The relation is mutual, and no finding excludes itself.
    pairs = {
        ((view["id"], view["resource"]), (other["id"], other["resource"]))
        for view in views
        for other in view["excludes"]
    }
    assert {(other, one) for one, other in pairs} == pairs
    assert all(one != other for one, other in pairs)


def tasked(finding: str, resource: str, task: str, most: float | None = None, **more: Any) -> Finding:
    return dataclasses.replace(saving(finding, resource, most), task=task, **more)


IO1, ENCRYPT, STOPPED, LATE = "volume-io1", "volume-unencrypted", "volume-of-stopped-instance", "volume-without-policy"


@pytest.mark.parametrize(
    ("findings", "pairs", "counted", "total"),
    [
        # The deletion, the change to io2 and the change to gp3 of one volume. The change to io2 saves nothing.
        (
            [tasked(UNATTACHED, "a", "delete a", 8), tasked(IO1, "a", "io2 a"), tasked(GP2, "a", "gp3 a", 2)],
            {(0, 1), (0, 2), (1, 2)},
            [0],
            8,
        ),
        # The finding with a saving counts, whichever comes first.
        ([tasked(ENCRYPT, "a", "encrypt a"), tasked(GP2, "a", "gp3 a", 2)], {(0, 1)}, [1], 2),
        # Without a price, the tasks exclude each other all the same.
        ([tasked(UNATTACHED, "a", "delete a"), tasked(GP2, "a", "gp3 a")], {(0, 1)}, [], None),
        # A finding without a task excludes nothing.
        ([tasked(ENCRYPT, "a", ""), tasked(GP2, "a", "gp3 a", 2)], set(), [1], 2),
        # A snapshot does not change the volume.
        ([tasked(LATE, "a", "back up a", changes=()), tasked(GP2, "a", "gp3 a", 2)], set(), [1], 2),
        # One task terminates an instance with two volumes, so both savings count. It deletes the volume of the change.
        (
            [
                tasked(STOPPED, "a", "end i", 8, changes=("i", "a", "b")),
                tasked(STOPPED, "b", "end i", 4, changes=("i", "a", "b")),
                tasked(GP2, "b", "gp3 b", 1),
            ],
            {(0, 2), (1, 2)},
            [0, 1],
            12,
        ),
    ],
)
def test_tasks_that_change_or_delete_the_same_resource_exclude_each_other(
    findings: list[Finding], pairs: set[tuple[int, int]], counted: list[int], total: float | None
) -> None:
    made = excluding(findings)
    names = [(one.id, one.resource) for one in findings]
    found = {(number, names.index(other)) for number, one in enumerate(made) for other in one.excludes}
    assert found == pairs | {(other, one) for one, other in pairs}
    assert [number for number, one in enumerate(made) if one.view("", None)["in_sum"]] == counted
    assert [number for number, one in enumerate(made) if one.is_outdone] == [
        number for number, one in enumerate(findings) if one.saving and number not in counted
    ]
    money = savings(made)
    assert (None if money is None else money.most) == total


def rivals(*there: Resource, **given: Any) -> dict[tuple[str, str], set[tuple[str, str]]]:
    """The ids and resources that exclude each finding with a task."""
    return {
        (one["id"], one["resource"]): {(other["id"], other["resource"]) for other in one["excludes"]}
        for one in report(*there, **given)["findings"]
        if one["task"]
    }


def test_every_task_for_one_io1_volume_excludes_the_others() -> None:
    there = volume(1, volume_type="io1", iops=1000, throughput=None)
    ids = {(each, vol(1)) for each in (UNATTACHED, IO1, "volume-iops-within-gp3")}
    assert rivals(there) == {one: ids - {one} for one in ids}
    # 100 GiB x 0.125 + 1000 IOPS x 0.065. The change to gp3 would save less.
    assert report(there)["summary"]["saving"]["most"] == 77.5


def test_encryption_excludes_the_change_to_gp3_of_a_volume_and_its_backup_does_not() -> None:
    there = [instance(1, 1), volume(1, on=1, volume_type="gp2", encrypted=False)]
    made = rivals(*there)
    assert made[GP2, vol(1)] == {(ENCRYPT, vol(1))}
    assert made[ENCRYPT, vol(1)] == {(GP2, vol(1))}
    assert made["volume-without-recovery-point", vol(1)] == set()
    # 100 GiB x (0.10 - 0.08)
    assert report(*there)["summary"]["saving"]["most"] == 2.0


def test_end_of_a_stopped_instance_excludes_the_changes_to_all_volumes_that_it_deletes() -> None:
    there = [
        instance(1, 1, 2, stopped=90 * DAY),
        *(volume(number, on=1, volume_type="gp2", age=99 * DAY) for number in (1, 2)),
    ]
    devices = tuple(
        BlockDevice(f"/dev/sd{letter}", vol(number), delete_on_termination=True)
        for number, letter in ((1, "f"), (2, "g"))
    )
    object.__setattr__(there[0], "block_devices", devices)
    made = rivals(*there)
    both = {(STOPPED, vol(1)), (STOPPED, vol(2))}
    for number in (1, 2):
        assert made[GP2, vol(number)] == both
        assert made[STOPPED, vol(number)] == {(GP2, vol(1)), (GP2, vol(2))}
    # Two volumes of 100 GiB x 0.10
    assert report(*there)["summary"]["saving"]["most"] == 20.0


def excluded(*there: Resource, **given: Any) -> dict[tuple[str, str], tuple[bool, list[str]]]:
    """Whether each saving counts, and the ids of the findings that exclude it."""
    return {
        (one["id"], one["resource"]): (one["in_sum"], [other["id"] for other in one["excludes"]])
        for one in report(*there, **given)["findings"]
        if one["saving"]
    }


def test_deletion_of_a_volume_excludes_its_change_to_gp3() -> None:
    made = excluded(volume(1, volume_type="gp2"), volume(2, volume_type="gp2"))
    for number in (1, 2):
        assert made[UNATTACHED, vol(number)] == (True, [GP2])
        assert made[GP2, vol(number)] == (False, [UNATTACHED])


def test_ignored_finding_excludes_nothing() -> None:
    rule = {"reason": "kept on purpose", "finding": UNATTACHED}
    assert excluded(volume(1, volume_type="gp2"), ignore=[rule]) == {(GP2, vol(1)): (True, [])}


def test_volume_that_outlives_a_rejected_instance_counts_beside_it() -> None:
    new = successor(3, 2, REJECTED.removeprefix("leftover-"))
    devices = (
        BlockDevice("/dev/xvda", vol(3), delete_on_termination=True),
        BlockDevice("/dev/sdf", vol(4), delete_on_termination=False),
    )
    object.__setattr__(new, "block_devices", devices)
    volumes = [volume(number, on=3, volume_type="gp2", age=3 * DAY) for number in (3, 4)]
    document = report(instance(2), new, *volumes)
    assert document["summary"]["saving"]["most"] == 12.0
    made = excluded(instance(2), new, *volumes)
    assert made[REJECTED, inst(3)] == (True, [GP2])
    assert made[GP2, vol(3)] == (False, [REJECTED])
    assert made[GP2, vol(4)] == (True, [])
