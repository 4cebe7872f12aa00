# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The choice of `restore` where tags of snapshots, copies and restored volumes were forged, altered or removed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore.points import (
    Recovery,
    Restored,
    Wanted,
    recover,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore.restored_volumes import Claim, restored
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Snapshot, Volume
from hypothesis import given
from hypothesis import strategies as st

from copies_world import copy_of
from examples import examples
from forged_tags import ALTERED, earlier, recorded, tagged
from rotation_world import DAY, I1, I2, NOW, V1, V2, V3, ids, snapshot, snapshot_set

HOUR = timedelta(hours=1)
GONE = "snap-0f0f0f0f0f0f0f0f0"


def origin(instance_id: str = I1) -> str:
    return f"gp3 8 3000 125 us-east-1a {instance_id} /dev/sdf"


def alone(age: timedelta, of: str, named: str = "", attached: str = "") -> Snapshot:
    """A snapshot of a volume: the tag names one instance, the description another one, or none."""
    made = tagged(snapshot(age, of), origin=origin(named) if named else None)
    return dataclasses.replace(made, description=f"{made.description}, attached to {attached}") if attached else made


def of_instance(snapshots: Sequence[Snapshot], **given: Any) -> Recovery:
    return recover(snapshots, Wanted(instance_id=I1, **given))


def chosen(found: Recovery) -> set[str]:
    return {point.snapshot.snapshot_id for point in found.points}


# --- volumes that only their tags call restored -----------------------------------------------------------------------


def test_volume_with_a_gone_snapshot_prevents_no_restore_of_an_instance() -> None:
    newest = snapshot_set(DAY, 1, 1, 2)
    found = of_instance(newest, restored=(Restored(V1, GONE, NOW),))
    assert (chosen(found), found.ignored) == (ids(newest), (V1,))
    assert V1 in found.notes[0]
    assert "ec2ops:spec" in found.notes[0]


def test_volume_with_a_gone_snapshot_takes_no_part_in_an_unfinished_restore() -> None:
    newest = snapshot_set(DAY, 1, 1, 2, 3)
    begun = (Restored(V1, newest[0].snapshot_id, NOW), Restored(V2, GONE, NOW))
    found = of_instance(newest, restored=begun)
    assert (chosen(found), found.ignored) == (ids(newest[1:]), (V2,))


def test_restored_instance_without_its_set_is_left_alone() -> None:
    newest = snapshot_set(DAY, 1, 1, 2)
    found = of_instance(newest, restored=(Restored(V1, GONE, NOW), Restored(V2, GONE, NOW)))
    assert (chosen(found), found.ignored) == (set(), ())
    assert (of_instance([], restored=(Restored(V1, GONE, NOW),)).points) == ()


def test_volume_with_a_gone_snapshot_does_not_count_beside_a_proven_one() -> None:
    tags = {"ec2ops:spec": f"restore/{V1}", "ec2ops:volume": V1}
    known = snapshot(DAY)
    made, forged = (
        Claim(Volume(f"vol-0000000000000000{last}", snapshot_id=made_from, create_time=NOW, tags=tags), V1)
        for last, made_from in (("a", known.snapshot_id), ("b", GONE))
    )
    told = restored([forged, made], {known.snapshot_id: known})
    assert told.volume_ids == (made.volume.volume_id,)
    assert any(forged.volume.volume_id in note for note in told.notes)
    assert restored([forged], {known.snapshot_id: known}).volume_ids == (forged.volume.volume_id,)


def test_volume_restored_from_a_snapshot_of_no_set_is_noted_where_there_are_sets() -> None:
    single, newest = snapshot(2 * DAY, V1), snapshot_set(DAY, 1, 1, 2)
    found = of_instance([single, *newest], restored=(Restored(V1, single.snapshot_id, NOW - HOUR),))
    assert chosen(found) == set()
    (note,) = found.notes
    assert V1 in note
    assert "ec2ops:spec" in note


# --- volumes without sets ---------------------------------------------------------------------------------------------


def test_removed_origin_takes_no_snapshot_from_a_restore_without_sets() -> None:
    old, new = alone(2 * DAY, V1, I1), alone(DAY, V1)
    assert chosen(of_instance([old, new])) == {new.snapshot_id}
    recorded = alone(HOUR, V1, attached=I1)
    found = of_instance([old, new, recorded])
    assert chosen(found) == {recorded.snapshot_id}
    assert not [note for note in found.notes if "ec2ops:origin" in note]


def test_forged_origin_adds_no_volume_of_another_instance() -> None:
    real, foreign = alone(DAY, V1, I1, I1), alone(HOUR, V2, I1, I2)
    moved = alone(HOUR, V1, I1, I2)
    assert chosen(of_instance([real, foreign, moved])) == {real.snapshot_id}


def test_origin_that_nothing_proves_is_noted() -> None:
    real, foreign = alone(DAY, V1, I1, I1), alone(HOUR, V2, I1)
    found = of_instance([real, foreign])
    assert chosen(found) == {real.snapshot_id, foreign.snapshot_id}
    (note,) = (text for text in found.notes if "ec2ops:origin" in text)
    assert V2 in note
    assert foreign.snapshot_id in note


def test_volume_without_an_instance_in_any_snapshot_is_noted() -> None:
    """A person who may tag can remove the tag from all of them, and the volume is left out."""
    real = [alone(number * DAY, V1, I1) for number in (1, 2)]
    silent = [alone(number * DAY, V2) for number in (1, 2)]
    elsewhere = alone(DAY, V3, I2)
    copies = [tagged(copy_of(one), origin=one.tags.get("ec2ops:origin")) for one in (*real, *silent, elsewhere)]
    for known in ([*real, *silent, elsewhere], copies):
        found = of_instance(known)
        assert {point.source for point in found.points} == {V1}
        (note,) = (text for text in found.notes if V2 in text)
        assert "names the instance" in note
        assert V3 not in note


def test_copys_description_names_the_instance_of_its_volume() -> None:
    copies = [copy_of(alone(DAY, of)) for of in (V1, V2)]
    named = [
        dataclasses.replace(one, description=f"{one.description}, attached to {instance}")
        for one, instance in zip(copies, (I1, I2), strict=True)
    ]
    found = of_instance([tagged(one, origin=origin(I2)) for one in named])
    assert chosen(found) == {copies[0].snapshot_id}
    assert not [note for note in found.notes if "names the instance" in note]


@pytest.mark.parametrize("fields", [{"storage_tier": "archive"}, {"state": "error"}, {"state": "pending"}])
def test_copy_without_a_record_does_not_stand_for_an_existing_original(fields: dict[str, Any]) -> None:
    good, newest = snapshot(3 * DAY), dataclasses.replace(snapshot(DAY), **fields)
    stranger = dataclasses.replace(copy_of(newest), description="the wiki", snapshot_id=GONE)
    found = recover([good, newest, stranger], Wanted(volume_ids=(V1,)))
    assert chosen(found) == {good.snapshot_id}
    with pytest.raises(SpecError):
        recover([newest, stranger], Wanted(volume_ids=(V1,)))


# --- sets and times ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("removed", [{"set": None}, {"set": None, "policy": None}, {"set": f"{I2}/x"}])
def test_altered_set_hides_no_newest_set(removed: dict[str, Any]) -> None:
    newest, older = snapshot_set(DAY, 1, 1, 2), snapshot_set(2 * DAY, 1, 1, 2)
    altered = [tagged(newest[0], **removed), newest[1]]
    assert chosen(of_instance([*altered, *older])) == ids(newest)
    copies = [copy_of(one) for one in newest]
    assert chosen(of_instance([tagged(copies[0], **removed), copies[1]])) == ids(copies)


@pytest.mark.parametrize("parts", ["9", "3", None])
def test_size_of_a_copied_set_is_that_of_its_description(parts: str | None) -> None:
    sets = [[copy_of(one) for one in snapshot_set(number * DAY, 1, 1, 2)] for number in (1, 2)]
    new = [[dataclasses.replace(one, description=f"{one.description}, 2 volumes") for one in two] for two in sets]
    altered = [tagged(one, parts=parts) for one in new[0]]
    found = of_instance([*altered, *new[1]])
    assert (chosen(found), found.notes) == (ids(new[0]), of_instance([*new[0], *new[1]]).notes)
    broken = of_instance([altered[0], *new[1]])
    assert chosen(broken) == ids(new[1])


def test_size_that_only_a_tag_claims_of_a_copied_set_is_noted() -> None:
    sets = [[copy_of(one) for one in snapshot_set(number * DAY, 1, 1, 2)] for number in (1, 2)]
    altered = [tagged(one, parts="9") for two in sets for one in two]
    found = of_instance(altered)
    assert chosen(found) == ids(sets[0])
    (note,) = (text for text in found.notes if "ec2ops:parts" in text)
    assert all(one.snapshot_id in note for one in sets[0])


def test_two_copies_of_one_original_are_one_with_any_tags() -> None:
    newest = [copy_of(one) for one in snapshot_set(DAY, 1, 1, 2)]
    second = tagged(dataclasses.replace(newest[0], snapshot_id=GONE), copy_of="us-east-1/snap-0123456789abcdef0")
    older = [copy_of(one) for one in snapshot_set(2 * DAY, 1, 1, 2)]
    found = of_instance([*newest, second, *older])
    assert {point.moment for point in found.points} == {NOW - DAY}


def test_altered_time_of_a_copy_is_not_believed_and_of_an_earlier_one_noted() -> None:
    new, old = copy_of(snapshot(DAY)), copy_of(snapshot(3 * DAY))
    altered = tagged(new, taken="2020-01-01T00:00:00.000Z")
    found = recover([altered, old], Wanted(volume_ids=(V1,)))
    assert chosen(found) == {new.snapshot_id}
    assert not [note for note in found.notes if "ec2ops:taken" in note]
    found = recover([earlier(altered), earlier(old)], Wanted(volume_ids=(V1,)))
    assert chosen(found) == {old.snapshot_id}
    (note,) = (text for text in found.notes if "ec2ops:taken" in text)
    assert new.snapshot_id in note


# --- whatever is forged -----------------------------------------------------------------------------------------------

KEPT = ("period", "source", "set", "parts", "copy_of", "taken", "policy", "lock", "shared_with", "adopted_by", "origin")
FORGED = st.lists(ALTERED, min_size=6, max_size=6)


@examples(60)
@given(FORGED, st.booleans())
def test_altered_tags_on_sets_and_their_copies_change_no_restore(
    altered: list[dict[str, str | None]], copied: bool
) -> None:
    sets = [recorded(snapshot_set(number * DAY, 1, 1, 2, 3)) for number in (1, 2)]
    honest = [copy_of(one) if copied else one for parts in sets for one in parts]
    changed = [tagged(one, **tags) for one, tags in zip(honest, altered, strict=True)]
    assert chosen(of_instance(changed)) == ids(honest[:3])
    found = recover(changed, Wanted(volume_ids=(V1, V2, V3)))
    assert chosen(found) == ids(honest[:3])


@examples(60)
@given(FORGED, st.lists(st.sampled_from([V1, V2, V3, "vol-0000000000000000e"]), max_size=3, unique=True))
def test_forged_restored_volumes_make_no_instance_incomplete(
    altered: list[dict[str, str | None]], claimed: list[str]
) -> None:
    parts = [recorded(snapshot_set(number * DAY, 1, 1, 2, 3)) for number in (1, 2)]
    known = [tagged(one, **tags) for one, tags in zip([*parts[0], *parts[1]], altered, strict=True)]
    found = of_instance(known, restored=tuple(Restored(source, GONE, NOW) for source in claimed))
    whole = {V1, V2, V3}.issubset(claimed)
    assert chosen(found) == (set() if whole else ids(parts[0]))
