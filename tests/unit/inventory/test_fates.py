# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The coming deletions in the report of `storage_info`: only where the rules are known, and with locks and images."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.inventory.reading import first_queries
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import capture_description
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Resource
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import State
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import LOCK, SnapshotLock

from inventory_world import (
    DAY,
    HOUR,
    NOW,
    POLICY,
    image,
    inst,
    instance,
    report,
    snap,
    snapshot,
    spec_of,
    state_of,
    volume,
)

RULES = {"policy": POLICY, "every": "1d", "keep": {"daily": 2}}
TOMORROW, THEN = "2026-12-01T00:00:00Z", "2026-12-02T00:00:00Z"


def world(*more: Resource) -> list[Resource]:
    """A volume with three daily snapshots of the policy, and one of another policy."""
    kept = [snapshot(number, age=15 * HOUR + (number - 1) * DAY, policy=POLICY) for number in (1, 2, 3)]
    return [instance(1, 1), volume(1, on=1), *kept, snapshot(9, age=HOUR, policy="other"), *more]


def forecast(document: dict[str, Any]) -> dict[str, tuple[list[str], str | None, str | None]]:
    return {
        row["snapshot_id"]: (row["kept_by"], row["deletion"], row["idle_deletion"])
        for one in document["recovery"]["volumes"]
        for row in one["forecast"]
    }


def test_points_of_a_policy_with_known_rules_have_their_deletion() -> None:
    document = report(*world(), policies=[RULES])
    assert forecast(document) == {
        snap(1): (["daily 2026-11-30", "newest"], THEN, None),
        snap(2): (["daily 2026-11-29"], TOMORROW, None),
        snap(3): ([], TOMORROW, TOMORROW),
    }
    assert document["options"]["policies"] == [{"policy": POLICY, "every": 86400, "rules": True}]


@pytest.mark.parametrize(
    "policies",
    [[], [{"policy": POLICY, "every": "1d"}], [{**RULES, "keep": {"within": "2d", "oldest": True}}]],
    ids=str,
)
def test_without_foreseeable_rules_the_deletion_is_unknown(policies: list[dict[str, Any]]) -> None:
    assert forecast(report(*world(), policies=policies)) == {}


def test_image_and_lock_keep_a_snapshot_longer() -> None:
    things = world(image(1, 3))
    locked = LOCK.fact(snap(2), SnapshotLock("governance", expires_on=NOW + 3 * DAY))
    found = forecast(report(state=state_of(*things, locked), policies=[RULES]))
    assert found[snap(3)] == (["image ami-00000000000000001"], None, None)
    assert found[snap(2)] == (["daily 2026-11-29", "lock"], "2026-12-04T00:00:00Z", None)


@pytest.mark.parametrize("operation", ["DescribeImages", "DescribeLockedSnapshots"])
def test_without_an_answer_about_images_or_locks_the_deletion_is_unknown(operation: str) -> None:
    state = state_of(*world())
    refused = {
        query: CallError(operation, "UnauthorizedOperation", "You are not authorized.")
        for query in first_queries(spec_of())
        if query.operation == operation
    }
    document = report(state=State(state.region, state.resources, now=NOW, unanswered=refused), policies=[RULES])
    assert forecast(document) == {}
    assert len(document["recovery"]["volumes"][0]["points"]) == 4


def test_set_is_kept_and_deleted_as_one() -> None:
    parts = []
    for number, day in enumerate((0, 0, 1, 1)):
        described = capture_description(POLICY, inst(1), volumes=2)
        parts.append(
            snapshot(
                number + 1,
                number % 2 + 1,
                age=15 * HOUR + day * DAY,
                policy=POLICY,
                description=described,
                tags={"ec2ops:set": f"{inst(1)}/x"},
            )
        )
    rules = {**RULES, "keep": {"last": 1}}
    found = forecast(report(instance(1, 1, 2), volume(1, on=1), volume(2, on=1), *parts, policies=[rules]))
    assert {key: value[1] for key, value in found.items()} == {
        snap(1): TOMORROW,
        snap(2): TOMORROW,
        snap(3): TOMORROW,
        snap(4): TOMORROW,
    }
    assert found[snap(3)][0] == [] and found[snap(1)][0] == ["last 1 of 1", "newest"]


def test_malformed_rules_are_refused_by_name() -> None:
    with pytest.raises(SpecError, match=r"policies\[0\]\.keep\.dayly: is unknown"):
        spec_of(policies=[{**RULES, "keep": {"dayly": 2}}])
