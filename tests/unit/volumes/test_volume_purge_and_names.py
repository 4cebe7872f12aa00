# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes that another declaration names, that have a copy with the same tags, or that no entry names any more."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import (
    Ambiguous,
    StorageError,
    UnsafePlan,
    listed,
)

from volume_plans import carried_out, declared, plan_of
from volume_world import DB, WEB, Ec2, instance, short, snapshot, steps, vol, volume

PURGE: dict[str, Any] = {"purge_volumes": True, "in_use": "detach"}
DATA = {"name": "data", "size": 10}


def warnings(ec2: Ec2, *entries: dict[str, Any], **given: Any) -> list[str]:
    return [short(text) for text in plan_of(declared(*entries, **given), ec2).warnings]


def refused(kind: type[StorageError], ec2: Ec2, *entries: dict[str, Any], **given: Any) -> str:
    with pytest.raises(kind) as caught:
        plan_of(declared(*entries, **given), ec2)
    return short(str(caught.value))


# --- purge_volumes ----------------------------------------------------------------------------------------------------


def shared_machine() -> Ec2:
    return Ec2(instance(), volume(1, WEB, name="data"), volume(2, WEB, "/dev/sdg", name="logs", group="logging"))


def test_volume_of_another_spec_is_spared() -> None:
    ec2 = shared_machine()
    assert steps(carried_out(declared(DATA, **PURGE), ec2)) == []
    (warning,) = warnings(ec2, DATA, **PURGE)
    assert "vol-2 is not detached" in warning
    assert "'logging'" in warning
    assert "steal: true" in warning


def test_two_purging_specs_leave_each_other_alone() -> None:
    ec2 = shared_machine()
    assert steps(carried_out(declared({"name": "logs", "size": 10}, spec="logging", **PURGE), ec2)) == []
    assert steps(carried_out(declared(DATA, **PURGE), ec2)) == []


def test_steal_detaches_volumes_of_another_spec() -> None:
    plan = carried_out(declared(DATA, steal=True, **PURGE), shared_machine())
    assert steps(plan) == ["DetachVolume vol-2 from i-1"]


def test_purge_detaches_undeclared_volumes() -> None:
    ec2 = Ec2(instance(), volume(1, WEB, name="data"), volume(2, WEB, "/dev/sdg"))
    assert steps(carried_out(declared(DATA, **PURGE), ec2)) == ["DetachVolume vol-2 from i-1"]


def test_record_of_another_specs_interrupted_move_is_spared() -> None:
    off = volume(2, name="logs", group="logging", tags={"ec2ops:was-at": f"{WEB} /dev/sdg"})
    ec2 = Ec2(instance(), volume(1, WEB, name="data"), off)
    assert steps(carried_out(declared(DATA, **PURGE), ec2)) == []


@pytest.mark.parametrize(
    ("left", "lost"), [({"ec2ops:spec": WEB}, "ec2ops:volume"), ({"ec2ops:volume": "data"}, "ec2ops:spec")]
)
def test_volume_with_half_of_its_identity_is_not_detached(left: dict[str, str], lost: str) -> None:
    ec2 = Ec2(instance(), volume(1, WEB, tags=left))
    made = carried_out(declared(DATA, **PURGE), ec2)
    assert not any(change.action == "DetachVolume" for change in made.changes)
    assert any("vol-1 is not detached: it has the tag" in short(text) and lost in text for text in made.warnings)


def test_new_volume_beside_a_purged_one_without_tags_is_a_warning() -> None:
    ec2 = Ec2(instance(), volume(1, WEB, "/dev/sdg"))
    plan = carried_out(declared(DATA, **PURGE), ec2)
    (warning,) = [short(text) for text in plan.warnings]
    assert "volumes[0] (data)" in warning
    assert "purge_volumes detaches vol-1" in warning
    assert "name it in volume_id" in warning
    assert "DeleteVolume" not in [change.action for change in plan.changes]


# --- an entry that is renamed -----------------------------------------------------------------------------------------


def test_renamed_entry_names_the_volume_that_it_leaves_behind() -> None:
    ec2 = Ec2(instance(), volume(1, WEB, name="data"))
    (warning,) = warnings(ec2, {"name": "db", "size": 10})
    assert "vol-1 was declared as data and is no longer declared" in warning
    assert "volume_id: vol-1" in warning


def test_purged_volume_is_named_once() -> None:
    ec2 = Ec2(instance(), volume(1, WEB, name="data"))
    (warning,) = warnings(ec2, {"name": "db", "size": 10}, **PURGE)
    assert "vol-1 was declared as data" in warning
    carried_out(declared({"name": "db", "size": 10}, **PURGE), ec2)
    assert warnings(ec2, {"name": "db", "size": 10}, **PURGE) == []


@pytest.mark.parametrize(
    ("there", "entry"),
    [
        ([volume(1, WEB, name="data")], {"name": "db", "volume_id": vol(1)}),
        ([volume(1, WEB, name="data"), volume(2, WEB, "/dev/sdg", name="db")], {"name": "db"}),
        ([volume(1, WEB, name="data", state="deleting")], {"name": "db", "size": 10}),
        ([volume(1, DB, name="data", group=DB)], {"name": "db", "size": 10}),
        ([volume(1, WEB, name="data"), snapshot(7, 1)], {"name": "beside", "snapshot_id": snapshot(7, 1).snapshot_id}),
    ],
    ids=["renamed by its id", "nothing is made", "on its way out", "another machine's", "restored beside it"],
)
def test_carried_attachments_are_not_named(there: list[Any], entry: dict[str, Any]) -> None:
    assert warnings(Ec2(instance(), instance(DB), *there), entry) == []


# --- advice -----------------------------------------------------------------------------------------------------------


def test_entrys_own_declaration_is_no_reason_to_steal() -> None:
    ec2 = Ec2(instance(), volume(1, WEB, name="data"))
    text = refused(UnsafePlan, ec2, {"name": "db", "device_name": "/dev/sdf"})
    assert "steal" not in text
    assert "'data'" in text
    assert "volume_id: vol-1" in text
    renamed = declared({"name": "db", "device_name": "/dev/sdf", "volume_id": vol(1)})
    assert steps(carried_out(renamed, ec2)) == ["CreateTags vol-1 volume"]


def test_volume_of_another_spec_can_be_stolen() -> None:
    ec2 = Ec2(instance(), volume(1, WEB, name="data", group="other"))
    assert "steal: true" in refused(UnsafePlan, ec2, {"name": "data", "device_name": "/dev/sdf"})


def test_copy_is_not_ambiguous_where_the_id_names_one() -> None:
    ec2 = Ec2(instance(), volume(1, WEB, name="data"), volume(2, name="data"))
    entry = {**DATA, "volume_id": vol(1)}
    assert steps(carried_out(declared(entry), ec2)) == []
    (warning,) = warnings(ec2, entry)
    assert "vol-2" in warning
    # Without the id, the volume at its place counts, unless it is to be deleted.
    assert steps(carried_out(declared(DATA), ec2)) == []
    assert "name the right one in volume_id" in refused(Ambiguous, ec2, {**DATA, "state": "absent"})


def test_copy_can_be_the_named_volume() -> None:
    ec2 = Ec2(instance(), volume(1, name="data"), volume(2, WEB, name="data"))
    assert steps(carried_out(declared({**DATA, "volume_id": vol(2)}), ec2)) == []


def test_second_volume_of_a_name_is_ambiguous() -> None:
    ec2 = Ec2(instance(), volume(1, WEB, name="data"), volume(2))
    assert "another name" in refused(Ambiguous, ec2, {**DATA, "volume_id": vol(2)})


# --- long lists -------------------------------------------------------------------------------------------------------


def test_ten_volumes_are_named_and_the_others_are_counted() -> None:
    ids = [f"vol-{number}" for number in range(401)]
    assert listed(ids[:10]) == ", ".join(ids[:10])
    assert listed(ids) == ", ".join(ids[:10]) + ", … and 391 more"
    error = Ambiguous("several", ids, "Remove the wrong ones")
    assert str(error).endswith("vol-9, … and 391 more. Remove the wrong ones")
    assert error.candidates == tuple(ids)
