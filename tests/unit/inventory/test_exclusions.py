# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Savings that exclude each other: the sum counts the larger one, and each finding names the others."""

from __future__ import annotations

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
