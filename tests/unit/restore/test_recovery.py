# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The choice of the snapshots, sets and copies to restore."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.origins import origin_of
from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore.point_volume import (
    DEFAULT_TYPE,
    MOST_CARRIED,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore.points import (
    Recovery,
    Restored,
    Wanted,
    parse_time,
    recover,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Snapshot
from hypothesis import given
from hypothesis import strategies as st

from examples import examples
from recovery_world import DAY, I1, NOW, V1, V2, snapshot, whole_set


def chosen(found: Recovery) -> dict[str, str]:
    return {point.source: point.snapshot.snapshot_id for point in found.points}


def of_volume(*snapshots: Snapshot, **given: Any) -> Recovery:
    return recover(snapshots, Wanted(volume_ids=(V1,), **given))


def of_instance(*snapshots: Snapshot, **given: Any) -> Recovery:
    return recover(snapshots, Wanted(instance_id=I1, **given))


# --- volumes ----------------------------------------------------------------------------------------------------------


def test_newest_good_snapshot_before_the_time_is_restored() -> None:
    old, new = snapshot(3 * DAY), snapshot(DAY)
    pending = snapshot(timedelta(hours=1), state="pending")
    archived = snapshot(timedelta(hours=2), storage_tier="archive")
    other = snapshot(timedelta(minutes=1), V2)
    found = of_volume(old, pending, other, new, archived)
    assert chosen(found) == {V1: new.snapshot_id}
    (note,) = found.notes
    assert f"{pending.snapshot_id} is pending" in note
    assert f"{archived.snapshot_id} is archived" in note
    assert chosen(of_volume(old, new, before=NOW - 2 * DAY)) == {V1: old.snapshot_id}
    # Strictly before.
    assert chosen(of_volume(old, new, before=NOW - DAY)) == {V1: old.snapshot_id}


def test_a_copy_counts_by_its_tags() -> None:
    copy = snapshot(DAY, copy="snap-1")
    (point,) = of_volume(copy).points
    assert (point.source, point.moment, point.snapshot) == (V1, NOW - DAY, copy)
    # The time counts however late EC2 has begun to copy.
    late = dataclasses.replace(snapshot(3 * DAY, copy="snap-0"), start_time=NOW)
    assert chosen(of_volume(late, copy, before=NOW - DAY)) == {V1: late.snapshot_id}
    with pytest.raises(SpecError, match=rf"taken at 2026-11-21T12:00:00Z: {late.snapshot_id}"):
        of_volume(late, copy, before=NOW - 3 * DAY)
    # A copy without a time counts with its own start time.
    unknown = snapshot(2 * DAY, copy="snap-2", tags={"ec2ops:taken": None})
    begun = NOW - 2 * DAY + timedelta(hours=1)
    assert chosen(of_volume(unknown, before=begun + timedelta(seconds=1))) == {V1: unknown.snapshot_id}
    with pytest.raises(SpecError, match=unknown.snapshot_id):
        of_volume(unknown, before=begun)
    # Without tags, no fact shows the source of a copy.
    with pytest.raises(SpecError, match="and no other snapshot"):
        of_volume(snapshot(DAY, copy="snap-1", tags={"ec2ops:source": None}))


@pytest.mark.parametrize(
    ("snapshots", "given", "parts"),
    [
        ([], {"region": "eu-west-1"}, [V1, "in eu-west-1", "and no other snapshot", "ec2ops:source"]),
        ([snapshot(state="pending")], {}, ["is pending", "Wait for the pending snapshots"]),
        ([snapshot(storage_tier="archive")], {}, ["is archived", "restore the archived ones"]),
        ([snapshot(DAY)], {"before": NOW - 2 * DAY}, ["before 2026-11-22T12:00:00Z", "at 2026-11-23T12:00:00Z"]),
    ],
    ids=["nothing", "pending", "archived", "too new"],
)
def test_missing_restore_source_lists_the_existing_ones(
    snapshots: list[Snapshot], given: Mapping[str, Any], parts: list[str]
) -> None:
    with pytest.raises(SpecError) as refused:
        of_volume(*snapshots, **given)
    assert all(part in str(refused.value) for part in parts)


def test_volumes_without_a_source_are_named_beside_those_with_one() -> None:
    third = "vol-00000000000000003"
    good = snapshot(DAY, V2)
    found = recover([good], Wanted(volume_ids=(V1, V2, third)))
    assert (chosen(found), set(found.failures)) == ({V2: good.snapshot_id}, {V1, third})
    assert all(text.startswith(source) for source, text in found.failures.items())
    with pytest.raises(SpecError) as refused:
        recover([], Wanted(volume_ids=(V1, third)))
    assert V1 in str(refused.value)
    assert third in str(refused.value)


def test_restored_volume_is_not_chosen_again() -> None:
    used, newer = snapshot(3 * DAY), snapshot(DAY)
    there = (Restored(V1, used.snapshot_id, NOW - 2 * DAY),)
    found = of_volume(used, newer, restored=there)
    assert found.points == ()
    assert dict(found.moments) == {used.snapshot_id: NOW - 3 * DAY}
    # This also holds when its snapshot is gone.
    assert of_volume(newer, restored=there).points == ()


# --- what the volume becomes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("origin", "wanted"),
    [
        ("gp3 8 4000 200 us-east-1a - -", ("gp3", 4000, 200)),
        ("gp2 8 100 - us-east-1a - -", ("gp2", None, None)),
        ("io2 8 5000 - us-east-1a - -", ("io2", 5000, None)),
        ("st1 500 - 20 us-east-1a - -", ("st1", None, None)),
        ("io2 8 - - us-east-1a - -", (DEFAULT_TYPE, None, None)),
        ("xy9 8 4000 200 us-east-1a - -", (DEFAULT_TYPE, None, None)),
        ("gp3 8", (DEFAULT_TYPE, None, None)),
        (None, (DEFAULT_TYPE, None, None)),
    ],
)
def test_type_and_performance_are_as_recorded(origin: str | None, wanted: tuple[Any, ...]) -> None:
    found = of_volume(snapshot(tags={"ec2ops:origin": origin}, volume_size=500))
    (point,) = found.points
    assert (point.volume_type, point.iops, point.throughput) == wanted
    recorded = origin_of(point.snapshot).volume_type
    assert (wanted[0] == recorded) == (not found.notes)
    assert all("the restored volume is gp3" in note for note in found.notes)


def test_user_tags_are_copied_as_far_as_room_allows() -> None:
    tags = {f"tag {number:02}": "" for number in range(45)} | {"Name": "db", "aws:x": ""}
    found = of_volume(snapshot(tags=tags))
    (point,) = found.points
    assert (len(point.tags), point.tags["Name"]) == (MOST_CARRIED, "db")
    assert not [key for key in point.tags if key.startswith(("aws:", "ec2ops:"))]
    assert "tag 44" in found.notes[0]


# --- instances --------------------------------------------------------------------------------------------------------


def test_newest_whole_set_is_restored() -> None:
    old, new = whole_set(3 * DAY, V1, V2), whole_set(2 * DAY, V1, V2)
    failed = whole_set(DAY, V1, V2, states=["completed", "error"])
    found = of_instance(*old, *failed, *new)
    assert chosen(found) == {V1: new[0].snapshot_id, V2: new[1].snapshot_id}
    assert f"{failed[1].snapshot_id} is error" in found.notes[0]
    assert chosen(of_instance(*old, *new, before=NOW - 2 * DAY)) == {
        V1: old[0].snapshot_id,
        V2: old[1].snapshot_id,
    }


def test_set_without_a_part_is_not_whole() -> None:
    old, new = whole_set(3 * DAY, V1, V2), whole_set(2 * DAY, V1, V2)
    found = of_instance(*old, new[0])
    assert chosen(found) == {V1: old[0].snapshot_id, V2: old[1].snapshot_id}
    assert "it lacks 1 of its 2 snapshots" in found.notes[0]
    # This also holds without another point, or with only newer ones.
    for others in ([], whole_set(DAY, V1, V2)):
        with pytest.raises(SpecError, match=r"no whole set.*it lacks 1 of its 2 snapshots"):
            of_instance(new[1], *others, before=NOW - DAY)
    # Since then the instance has been without the volume.
    assert chosen(of_instance(*old, new[0], *whole_set(DAY, V1))) != chosen(found)


def test_copies_of_a_set_are_a_set_with_any_start_times() -> None:
    originals = whole_set(DAY, V1, V2)
    parts = [
        dataclasses.replace(snapshot(DAY, of, copy=one.snapshot_id, tags=one.tags), start_time=NOW - number * DAY / 9)
        for number, (of, one) in enumerate(zip((V1, V2), originals, strict=True))
    ]
    found = of_instance(*parts)
    assert chosen(found) == {V1: parts[0].snapshot_id, V2: parts[1].snapshot_id}
    assert len({point.moment for point in found.points}) == 1


def test_instance_without_sets_is_restored_from_each_volumes_newest() -> None:
    with pytest.raises(SpecError, match=r"no whole set.*from its own newest snapshot"):
        of_instance(*whole_set(DAY, V1, V2, states=["completed", "pending"]))
    with pytest.raises(SpecError, match="no completed snapshot of its volumes"):
        of_instance(snapshot(tags={"ec2ops:origin": None}))
    one, two = snapshot(DAY, V1), snapshot(2 * DAY, V2)
    found = of_instance(one, two, snapshot(3 * DAY, V2))
    assert chosen(found) == {V1: one.snapshot_id, V2: two.snapshot_id}
    assert "taken one by one" in found.notes[0]


def test_unfinished_restore_is_completed_from_its_own_moment() -> None:
    old, new = whole_set(3 * DAY, V1, V2), whole_set(DAY, V1, V2)
    there = (Restored(V1, old[0].snapshot_id, NOW - 2 * DAY),)
    assert chosen(of_instance(*old, *new, restored=there)) == {V2: old[1].snapshot_id}
    both = (*there, Restored(V2, old[1].snapshot_id, NOW - 2 * DAY))
    assert of_instance(*old, *new, restored=both).points == ()
    with pytest.raises(SpecError, match="cannot be completed"):
        of_instance(old[0], Snapshot(**{**vars(old[1]), "state": "error"}), *new, restored=there)
    with pytest.raises(SpecError, match=r"cannot be completed: it lacks 1 of its 2 snapshots"):
        of_instance(old[0], *new, restored=there)
    assert of_instance(old[0], *new, restored=both).points == ()
    # The first volume's snapshot is gone: the volume is not part of a restore, and it delays none.
    found = of_instance(*new, restored=there)
    assert chosen(found) == {V1: new[0].snapshot_id, V2: new[1].snapshot_id}
    assert (found.ignored, V1 in found.notes[0]) == ((V1,), True)
    found = of_instance(*new, restored=both)
    assert (found.points, found.ignored, "are gone" in found.notes[0]) == ((), (), True)


# --- always -----------------------------------------------------------------------------------------------------------


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Snapshot], datetime | None]:
    """Sets, single snapshots and copies of both, in all states, and a time to be before."""
    found: list[Snapshot] = []
    for number in range(draw(st.integers(0, 4))):
        age = timedelta(hours=draw(st.integers(1, 200)), minutes=number)
        volumes = draw(st.sampled_from([(V1, V2), (V1,), (V1, V2)]))
        states = [draw(st.sampled_from(["completed", "completed", "completed", "pending", "error"])) for _v in volumes]
        original = whole_set(age, *volumes, states=states) if draw(st.booleans()) else [snapshot(age, volumes[0])]
        if draw(st.booleans()):
            found += original
        if draw(st.booleans()):
            found += [snapshot(age, one.tags["ec2ops:source"], copy=one.snapshot_id, tags=one.tags) for one in original]
    hours = draw(st.none() | st.integers(0, 200))
    return found, None if hours is None else NOW - timedelta(hours=hours)


def attempt(snapshots: Sequence[Snapshot], wanted: Wanted) -> Recovery | str:
    """The recovery, or the reason for none."""
    try:
        return recover(snapshots, wanted)
    except SpecError as error:
        return str(error)


@examples(150)
@given(worlds(), st.integers(0, 1000))
def test_restore_takes_nothing_newer_and_only_whole_sets(
    world: tuple[list[Snapshot], datetime | None], seed: int
) -> None:
    snapshots, before = world
    shuffled = list(snapshots)
    random.Random(seed).shuffle(shuffled)
    for wanted in (Wanted(volume_ids=(V1,), before=before), Wanted(instance_id=I1, before=before)):
        found, again = attempt(snapshots, wanted), attempt(shuffled, wanted)
        if isinstance(found, str) or isinstance(again, str):
            assert found == again
            continue
        assert chosen(again) == chosen(found)
        for point in found.points:
            assert point.snapshot.state == "completed"
            assert before is None or point.moment < before
        sets = {point.snapshot.tags.get("ec2ops:set") for point in found.points}
        if wanted.instance_id and sets != {None}:
            assert len(sets) == 1
            assert {point.snapshot.tags["ec2ops:parts"] for point in found.points} == {str(len(found.points))}
            assert len({point.moment for point in found.points}) == 1


# --- times ----------------------------------------------------------------------------------------------------


def test_invalid_time_is_refused() -> None:
    with pytest.raises(SpecError, match="before: 'monday' is not a time"):
        parse_time("monday", "before")


def test_a_time_without_a_zone_is_utc() -> None:
    assert parse_time("2026-11-24T12:00:00", "x") == NOW == parse_time("2026-11-24T13:00:00+01:00", "x")
