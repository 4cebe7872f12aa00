# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages of a restore stay short."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore.points import Wanted, recover
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError

from recovery_world import DAY, I1, V1, V2, snapshot, whole_set

MANY = [f"vol-{number:017x}" for number in range(401)]


def test_ten_volumes_without_a_source_are_named() -> None:
    with pytest.raises(SpecError) as refused:
        recover([], Wanted(volume_ids=tuple(MANY)))
    message = str(refused.value)
    assert MANY[9] in message
    assert MANY[10] not in message
    assert message.endswith("… and 391 more")


def test_sets_that_are_passed_over_are_counted() -> None:
    states = ("completed", "error")
    broken = [part for day in range(1, 31) for part in whole_set(day * DAY, V1, V2, states=states)]
    with pytest.raises(SpecError, match="… and 20 more"):
        recover(broken, Wanted(instance_id=I1))


def test_archived_snapshot_is_passed_over_for_an_older_one() -> None:
    archived, older = snapshot(DAY, storage_tier="archive"), snapshot(2 * DAY)
    found = recover([archived, older], Wanted(volume_ids=(V1,)))
    assert [point.snapshot for point in found.points] == [older]
    assert f"{archived.snapshot_id} is archived" in found.notes[0]
