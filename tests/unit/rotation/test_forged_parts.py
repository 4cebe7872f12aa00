# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The size of a snapshot set: the description records it, and the tag `ec2ops:parts` cannot change it."""

from __future__ import annotations

import pytest

from forged_tags import recorded, tagged
from rotation_world import DAY, TODAY, V1, V2, V3, WHOLE, Account, created, deleted, ids, machine, planned, snapshot_set


@pytest.mark.parametrize("parts", [None, "1", "2", "9", "?"])
def test_altered_parts_make_no_incomplete_set_whole(parts: str | None) -> None:
    broken, *whole = (recorded(snapshot_set(number * DAY, 1, 1, 2, 3)) for number in (1, 2, 3))
    left = [tagged(one, parts=parts) for one in broken[:2]]
    plan = planned(Account.of(machine(1, 1, 2, 3), *whole, left), **WHOLE, create="never", keep={"last": 2})
    assert not deleted(plan) & (ids(whole[0]) | ids(whole[1]))


@pytest.mark.parametrize("parts", [None, "1", "9", "?"])
def test_altered_parts_make_no_whole_set_incomplete(parts: str | None) -> None:
    old, new = (recorded(snapshot_set(number * DAY, 1, 1, 2, 3)) for number in (2, 1))
    changed = [tagged(one, parts=parts) for one in new]
    plan = planned(Account.of(machine(1, 1, 2, 3), old, changed), **WHOLE, create="never", keep={"last": 1})
    assert deleted(plan) == ids(old)


def test_description_of_a_new_set_has_the_number_of_its_volumes() -> None:
    plan = planned(Account.of(machine(1, 1, 2, 3)), **WHOLE, keep={"last": 1})
    (text,) = {change.parameters["Description"] for change in created(plan)}
    assert text == f"p: i-00000000000000001, 3 volumes, slot {TODAY}"
    assert {(change.after or {})["volume_id"] for change in created(plan)} == {V1, V2, V3}
