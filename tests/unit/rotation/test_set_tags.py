# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tags of snapshot sets: the call carries them wherever the result is the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.origins import origin_of
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Snapshot
from support.rotation_world import (
    I1,
    TODAY,
    V1,
    V2,
    Account,
    actions,
    afterwards,
    created,
    machine,
    planned,
    request_tags,
    volume,
)

WHOLE = {"select": {"instance_ids": [I1]}, "consistency": "instance", "tags": {"team": "a"}}
OWN = {"team": "a", "ec2ops:policy": "p", "ec2ops:period": TODAY, "ec2ops:set": f"{I1}/{TODAY}", "ec2ops:parts": "2"}


def account_with(one: Mapping[str, str], two: Mapping[str, str]) -> Account:
    account = Account.of(machine(1, 1, 2))
    account.put(volume(1, 1, "/dev/xvda", tags=dict(one)))
    account.put(volume(2, 1, "/dev/sdf", tags=dict(two)))
    return account


def users(tags: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in tags.items() if not key.startswith(("aws:", "ec2ops:"))}


def tags_after(plan: Plan) -> dict[str, dict[str, str]]:
    """By volume, the user's tags that its snapshot has in the end."""
    made = {
        change.resource: Snapshot(change.resource, volume_id=change.source, tags=change.after["tags"])
        for change in created(plan)
    }  # type: ignore[index]
    for change in plan.changes:
        if change.action == "CreateTags":
            more = {tag["Key"]: tag["Value"] for tag in change.parameters["Tags"]}
            made[change.resource] = dataclasses.replace(
                made[change.resource], tags={**made[change.resource].tags, **more}
            )
    for snapshot in made.values():
        assert origin_of(snapshot).instance_id == I1
        assert origin_of(snapshot).device_name == {V1: "/dev/xvda", V2: "/dev/sdf"}[snapshot.volume_id]
    return {
        snapshot.volume_id: {key: value for key, value in snapshot.tags.items() if not key.startswith("ec2ops:")}
        for snapshot in made.values()
    }


@pytest.mark.parametrize(
    ("one", "two", "copies", "follows"),
    [
        ({}, {}, False, 0),
        ({"Name": "x"}, {"Name": "x"}, False, 0),
        # The call carries the tags that the volumes share, beside any others.
        ({"Name": "x", "ec2ops:spec": "s", "aws:a": "b"}, {"Name": "x", "team": "b"}, False, 0),
        ({"Name": "x"}, {"Name": "y"}, True, 0),
        ({"Name": "x", "aws:a": "b"}, {}, True, 0),
        # EC2 would copy a tag of the collection, or another value for a tag of the task.
        ({"Name": "x", "ec2ops:spec": "s"}, {"Name": "y"}, False, 2),
        ({"Name": "x"}, {"Name": "y", "team": "b"}, False, 2),
    ],
)
def test_tags_ride_on_the_call_where_the_result_is_the_same(
    one: Mapping[str, str], two: Mapping[str, str], copies: bool, follows: int
) -> None:
    account = account_with(one, two)
    plan = planned(account, **WHOLE)
    assert actions(plan) == ["CreateSnapshots"] * 2 + ["CreateTags"] * follows
    first, _second = created(plan)
    assert first.parameters.get("CopyTagsFromSource") == ("volume" if copies else None)
    assert request_tags(first).items() >= OWN.items()
    assert tags_after(plan) == {V1: {**users(one), "team": "a"}, V2: {**users(two), "team": "a"}}
    assert planned(afterwards(account, plan), **WHOLE).is_empty


@pytest.mark.parametrize(("count", "follows"), [(41, 0), (42, 2)])
def test_tags_follow_if_the_call_cannot_carry_all_of_them(count: int, follows: int) -> None:
    """Fifty tags are EC2's maximum: eight are reserved for the collection, and one is the task's."""
    account = account_with({f"k{number}": "v" for number in range(count)}, {"Name": "y"})
    plan = planned(account, **WHOLE)
    assert actions(plan) == ["CreateSnapshots"] * 2 + ["CreateTags"] * follows
    assert {volume: len(tags) for volume, tags in tags_after(plan).items()} == {V1: 42, V2: 2}
    assert planned(afterwards(account, plan), **WHOLE).is_empty


def test_volume_tags_stay_on_the_volume_when_the_policy_does_not_copy_them() -> None:
    account = account_with({"Name": "x"}, {"Name": "y", "ec2ops:spec": "s"})
    plan = planned(account, **WHOLE, copy_volume_tags=False)
    assert actions(plan) == ["CreateSnapshots"] * 2
    assert tags_after(plan) == {V1: {"team": "a"}, V2: {"team": "a"}}
    assert planned(afterwards(account, plan), **WHOLE, copy_volume_tags=False).is_empty
