# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A volume that `snapshot_rotate` cannot capture, such as a deleted one, delays no other work: the end names it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.decoding import decode_volume
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance

from rotation_world import (
    I1,
    I2,
    REGION,
    V1,
    V2,
    V3,
    WHOLE,
    Account,
    created,
    days,
    deleted,
    ids,
    machine,
    planned,
    volume,
    volume_id,
)

OUTPOST = "arn:aws:outposts:us-east-1:123456789012:outpost/op-0123456789abcdef0"


def taken(plan: Plan) -> list[str]:
    return sorted((change.after or {})["volume_id"] for change in created(plan))


# --- ids that are gone ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["deleting", "creating", "error", ""])
def test_missing_volume_is_named_and_the_others_are_captured_and_retained(state: str) -> None:
    there = [volume(2)] if not state else [volume(2), volume(1, state=state)]
    old, others = days(3, of=1), days(3, of=2)
    plan = planned(Account.of(there, old, others), select={"volume_ids": [V1, V2]}, keep={"last": 2})
    assert taken(plan) == [V2]
    assert deleted(plan) == ids(old[2:]) | ids(others[1:])
    assert plan.refused is not None
    assert str(plan.refused).startswith(f"select.volume_ids: {REGION} has no volume ")
    assert V1 in str(plan.refused)
    assert V2 not in str(plan.refused)
    assert "select.allow_missing: true" in str(plan.refused)
    assert [text for text in plan.warnings if V1 in text] == []


@pytest.mark.parametrize("state", ["terminated", "shutting-down", ""])
@pytest.mark.parametrize("consistency", ["volume", "instance"])
def test_missing_instance_is_named_and_the_rest_is_taken(state: str, consistency: str) -> None:
    gone = [] if not state else [Instance(I1, state=state)]
    given = {"select": {"instance_ids": [I1, I2]}, "consistency": consistency}
    plan = planned(Account.of(gone, machine(2, 3, 4)), **given)
    assert taken(plan) == [V3, volume_id(4)]
    assert str(plan.refused).startswith(f"select.instance_ids: {REGION} has no instance {I1}")


@pytest.mark.parametrize("given", [{"state": "captured"}, {"create": "never"}], ids=str)
def test_missing_ids_are_named_by_a_capture_and_by_a_run_that_only_retains(given: dict[str, Any]) -> None:
    plan = planned(Account.of(volume(2)), select={"volume_ids": [V1, V2]}, **given)
    assert taken(plan) == ([V2] if "state" in given else [])
    assert V1 in str(plan.refused)


def test_allow_missing_makes_missing_ids_a_warning() -> None:
    select = {"volume_ids": [V1, V2], "instance_ids": [I1], "allow_missing": True}
    plan = planned(Account.of(volume(2)), select=select)
    assert plan.refused is None
    assert taken(plan) == [V2]
    assert [text.partition(": ")[0] for text in plan.warnings] == ["select.volume_ids", "select.instance_ids"]
    assert all("allow_missing" not in text for text in plan.warnings)


def test_missing_ids_do_not_stop_the_retention() -> None:
    old = days(3)
    plan = planned(Account.of(old), keep={"last": 2})
    assert deleted(plan) == ids(old[2:])
    assert V1 in str(plan.refused)
    plan = planned(Account.of(old), select={"volume_ids": [V1], "allow_missing": True}, keep={"last": 2})
    assert (deleted(plan), plan.refused) == (ids(old[2:]), None)


def test_many_missing_ids_are_not_all_listed() -> None:
    many = [volume_id(number) for number in range(1, 402)]
    plan = planned(Account.of(volume(1)), select={"volume_ids": many})
    assert "… and 390 more" in str(plan.refused)
    assert len(str(plan.refused)) < 600


def test_limit_and_missing_ids_are_both_reported() -> None:
    plan = planned(Account.of(volume(2), days(3, of=2)), select={"volume_ids": [V1, V2]}, max_delete=0)
    assert "max_delete" in str(plan.refused)
    assert V1 in str(plan.refused)


def test_instance_without_a_volume_to_take_does_not_stop_the_others() -> None:
    given = {**WHOLE, "select": {"instance_ids": [I1, I2]}, "exclude_boot_volume": True}
    plan = planned(Account.of(machine(1, 1), machine(2, 3, 4)), **given)
    assert taken(plan) == [volume_id(4)]
    assert str(plan.refused).startswith(f"select.instance_ids: {I1} has only excluded volumes")


def test_instance_without_any_volume_is_an_empty_selection() -> None:
    with pytest.raises(SpecError, match=r"select: no volume in us-east-1 matches\. Set allow_empty: true"):
        planned(Account.of(Instance(I1)), select={"instance_ids": [I1]})
    assert planned(Account.of(Instance(I1)), select={"instance_ids": [I1]}, allow_empty=True).refused is None


# --- exclude_volume_ids -----------------------------------------------------------------------------------------------


def test_excluded_volume_that_no_selected_instance_has_is_a_warning() -> None:
    plan = planned(Account.of(machine(1, 1, 2)), **WHOLE, exclude_volume_ids=[V2, V3])
    assert taken(plan) == [V1]
    assert [text for text in plan.warnings if text.startswith("exclude_volume_ids: ")] == [
        f"exclude_volume_ids: no selected instance has {V3}, so nothing is excluded by it."
    ]
    assert plan.refused is None


# --- Outposts ---------------------------------------------------------------------------------------------------------


def test_volume_on_an_outpost_is_left_out_by_name() -> None:
    there = [volume(1, outpost_arn=OUTPOST), volume(2)]
    old = days(2)
    plan = planned(Account.of(there, old), select={"volume_ids": [V1, V2]})
    assert taken(plan) == [V2]
    assert deleted(plan) == ids(old[1:])
    assert str(plan.refused).startswith(f"{V1} is on an Outpost")


def test_volume_on_an_outpost_selected_by_tag_is_left_out() -> None:
    there = [volume(1, outpost_arn=OUTPOST, tags={"a": "b"}), volume(2, tags={"a": "b"})]
    plan = planned(Account.of(there), select={"tags": {"a": "b"}})
    assert taken(plan) == [V2]
    assert V1 in str(plan.refused)


def test_instance_on_an_outpost_is_left_out_whole() -> None:
    there = [volume(1, 1, "/dev/xvda", outpost_arn=OUTPOST), volume(2, 1, outpost_arn=OUTPOST)]
    away = [machine(1, 1, 2)[0], *there]
    plan = planned(Account.of(away, machine(2, 3)), select={"instance_ids": [I1, I2]}, consistency="instance")
    assert taken(plan) == [V3]
    assert str(plan.refused).startswith(f"{V1}, {V2} are on an Outpost")


def test_volume_in_a_local_zone_is_taken() -> None:
    plan = planned(Account.of(volume(1, availability_zone="us-east-1-bos-1a")))
    assert (taken(plan), plan.refused) == ([V1], None)


def test_outpost_of_a_volume_is_read() -> None:
    assert decode_volume({"VolumeId": V1, "OutpostArn": OUTPOST}).outpost_arn == OUTPOST
    assert decode_volume({"VolumeId": V1}).outpost_arn is None
