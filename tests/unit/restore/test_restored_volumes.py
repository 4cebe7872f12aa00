# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The volumes with the tags of a restore or a drill that count, and the notes on the others."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore.restored_volumes import (
    Claim,
    left_by_drills,
    restored,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import COPIED_VOLUME
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Snapshot, Volume

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
SOURCE, OTHER, MADE, SNAPSHOT = (
    "vol-0000000000000000a",
    "vol-0000000000000000b",
    "vol-0000000000000000c",
    "snap-0000000000000000a",
)
TAGS = {"ec2ops:spec": f"restore/{SOURCE}", "ec2ops:volume": SOURCE}


def shown(volume_id: str = SOURCE, start: datetime = NOON) -> Snapshot:
    return Snapshot(SNAPSHOT, volume_id=volume_id, volume_size=8, start_time=start)


def copy_of(source: str, *, recorded: bool = True) -> Snapshot:
    """A copy whose description names its volume, or only its tag does."""
    text = f"p: {source}, snap-0000000000000000b, from us-east-1" if recorded else "copy of the wiki"
    return dataclasses.replace(shown(COPIED_VOLUME), tags={"ec2ops:source": source}, description=text)


@pytest.mark.parametrize(
    ("volume", "snapshot", "counts", "of_a_drill", "words"),
    [
        pytest.param({}, shown(), True, True, "", id="proven"),
        pytest.param({"snapshot_id": None}, None, False, False, "not made from a snapshot", id="empty"),
        pytest.param({}, shown(OTHER), False, False, f"a snapshot of {OTHER}", id="of another volume"),
        pytest.param({}, shown(start=NOON + timedelta(hours=2)), False, False, "older", id="older than its snapshot"),
        pytest.param({}, None, True, False, SNAPSHOT, id="snapshot is gone"),
        pytest.param({}, copy_of(SOURCE), True, False, SNAPSHOT, id="from a copy"),
        pytest.param({}, copy_of(OTHER), False, False, f"copy of a snapshot of {OTHER}", id="from a copy of another"),
        pytest.param(
            {}, shown(COPIED_VOLUME), False, False, "does not name the volume", id="from a copy that says nothing"
        ),
        pytest.param(
            {}, copy_of(SOURCE, recorded=False), False, False, "does not name the volume", id="from a tagged copy"
        ),
        pytest.param({"size": 9}, shown(), True, False, "size", id="grown"),
        pytest.param({"tags": {**TAGS, "Name": "a"}}, shown(), True, False, "no drill sets", id="further tags"),
    ],
)
def test_snapshot_shows_the_restored_volume(
    volume: dict[str, Any], snapshot: Snapshot | None, counts: bool, of_a_drill: bool, words: str
) -> None:
    fields = {"size": 8, "snapshot_id": SNAPSHOT, "create_time": NOON + timedelta(hours=1), "tags": TAGS, **volume}
    claims = [Claim(Volume(MADE, **fields), SOURCE)]
    snapshots = {} if snapshot is None else {SNAPSHOT: snapshot}
    one, other = restored(claims, snapshots), left_by_drills(claims, snapshots)
    assert (bool(one.volume_ids), bool(other.volume_ids)) == (counts, of_a_drill)
    assert bool(other.notes) is not of_a_drill
    assert all(MADE in note and words in note for note in other.notes)
    assert counts or all(MADE in note and words in note for note in one.notes)


def test_volume_from_an_unproven_copy_displaces_no_other() -> None:
    made, other = Volume(MADE, snapshot_id="snap-0f0f0f0f0f0f0f0f0"), Volume(OTHER, snapshot_id=SNAPSHOT)
    told = restored([Claim(made, SOURCE), Claim(other, SOURCE)], {SNAPSHOT: copy_of(SOURCE, recorded=False)})
    assert told.volume_ids == (MADE,)


@pytest.mark.parametrize("told", [restored, left_by_drills])
def test_notes_show_no_characters_of_tags_that_move_text(told: Any) -> None:
    odd = "vol\u202e\nok: all"
    claims = [Claim(Volume(MADE, snapshot_id=SNAPSHOT, create_time=NOON), odd)]
    for known in (shown(OTHER), copy_of(odd, recorded=False)):
        assert all(text.isprintable() for text in told(claims, {SNAPSHOT: known}).notes)


def test_notes_name_ten_volumes() -> None:
    claims = [Claim(Volume(f"vol-{number:017x}"), SOURCE) for number in range(12)]
    assert len(restored(claims, {}).notes) == 11
