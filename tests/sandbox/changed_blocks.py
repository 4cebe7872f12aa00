# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The EBS direct APIs that list blocks: ListSnapshotBlocks and ListChangedBlocks.

moto's backend knows only snapshots of its own StartSnapshot, compares in one direction, and has no pages. Here each
mark of a volume writes a block of 512 KiB, at a place that the mark decides, and a seed writes further blocks. All
other blocks are as they were when the first volume of the line was made, and a snapshot has all of them. (EBS direct
APIs reference; EBS user guide, "Read snapshots with the EBS direct APIs".) The reference names the errors and their
reasons, and has few of their texts.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from . import content
from .engine import Call, Ec2Error, Reply, World, declare_durations, other_action

if TYPE_CHECKING:
    from datetime import datetime

    from .log import Entry
    from .world import Frozen, Region, Snapshot

BLOCK_SIZE = 512 * 1024
LEAST_RESULTS, MOST_RESULTS = 100, 10_000
_PER_GIB = (1 << 30) // BLOCK_SIZE

#: How long a page token is valid, and the tokens of blocks ("ExpiryTime").
declare_durations(block_page_token=3600.0, block_token=7 * 86400.0)


def count_of(snapshot: Snapshot) -> int:
    """The number of blocks. The sandbox's volumes are full, as FullSnapshotSizeInBytes shows them."""
    return snapshot.volume_size * _PER_GIB


def writes_of(world: World, snapshot: Snapshot) -> dict[int, str]:
    """The last write of each block that was written since its volume was made, by its place."""
    count, found = count_of(snapshot), {}
    for moment, text, first, length in sorted(_events(world, snapshot, count)):
        for place in range(first, min(first + length, count)):
            found[place] = f"{moment.isoformat()} {text}"
    return found


def _events(world: World, snapshot: Snapshot, count: int) -> Iterator[tuple[datetime, str, int, int]]:
    """The writes to the volumes of the line: (moment, text, first block, number of blocks)."""
    for mark in content.frozen_marks(world, snapshot.held):
        text = f"{mark.text} {mark.writer}"
        place = int(hashlib.sha256(f"{mark.time.isoformat()} {text}".encode()).hexdigest()[:12], 16) % count
        yield mark.time, text, place, 1
    held: Frozen | None = snapshot.held
    while held is not None and held.volume is not None:
        for moment, first, length in world.block_writes.get(held.volume.id, ()):
            if moment <= held.moment:
                yield moment, "seeded", first, length
        held = held.volume.parent


def add_write(world: World, row: dict[str, Any], volume_id: str) -> None:
    """Write ``blocks`` blocks of a volume from ``first`` on, ``ago`` seconds before now. Raises ValueError."""
    unknown = set(row) - {"volume", "ago", "first", "blocks"}
    if unknown:
        raise ValueError(f"seed: write does not know {', '.join(sorted(unknown))}")
    moment = world.clock.now() - timedelta(seconds=float(row.get("ago", 0)))
    world.block_writes.setdefault(volume_id, []).append((moment, int(row.get("first", 0)), int(row["blocks"])))


@other_action("ebs:ListSnapshotBlocks")
def list_snapshot_blocks(world: World, _call: Call, entry: Entry) -> Reply:
    """List the blocks of a snapshot."""
    snapshot = _readable(world, entry, "SnapshotId")
    writes = writes_of(world, snapshot)
    rows = [
        {"BlockIndex": place, "BlockToken": _token(snapshot, writes.get(place, str(place)))}
        for place in range(count_of(snapshot))
    ]
    return _paged(world, entry, snapshot, "Blocks", rows)


@other_action("ebs:ListChangedBlocks")
def list_changed_blocks(world: World, _call: Call, entry: Entry) -> Reply:
    """List the blocks in which a snapshot differs from an earlier one of its line, in both directions."""
    if not entry.params.get("firstSnapshotId"):
        raise _invalid("You must specify FirstSnapshotId.", "INVALID_PARAMETER_VALUE")
    second, first = _readable(world, entry, "SecondSnapshotId"), _readable(world, entry, "firstSnapshotId")
    if _line(world, first) != _line(world, second):
        raise _invalid("The snapshots are not of the same volume lineage.", "UNRELATED_SNAPSHOTS")
    old, new = writes_of(world, first), writes_of(world, second)
    before, after = count_of(first), count_of(second)
    rows: list[dict[str, Any]] = []
    for place in sorted({*old, *new, *range(min(before, after), max(before, after))}):
        if old.get(place) != new.get(place) or place >= min(before, after):
            row: dict[str, Any] = {"BlockIndex": place}
            row |= {"FirstBlockToken": _token(first, old.get(place, str(place)))} if place < before else {}
            row |= {"SecondBlockToken": _token(second, new.get(place, str(place)))} if place < after else {}
            rows.append(row)
    return _paged(world, entry, second, "ChangedBlocks", rows)


def _readable(world: World, entry: Entry, name: str) -> Snapshot:
    """The account's completed snapshot in the standard tier. Raises Ec2Error."""
    home: Region = world.region(entry.account, entry.region)
    snapshot_id, now = str(entry.params[name]), world.clock.now()
    if not snapshot_id.startswith("snap-"):
        raise _invalid(f"The snapshot ID {snapshot_id} is not valid.", "INVALID_PARAMETER_VALUE")
    shared = (
        one
        for region in world.regions()
        if region.name == entry.region
        for one in region.snapshots.values()
        if one.id == snapshot_id and {entry.account, "all"} & one.shared_with
    )
    found = home.snapshots.get(snapshot_id) or next(shared, None)
    if found is None or found.delete_asked is not None:
        raise Ec2Error("ResourceNotFoundException", f"The snapshot '{snapshot_id}' does not exist.", 404)
    if found.state(now) != "completed" or found.tier(now) == "archive":
        raise _invalid(f"The snapshot {snapshot_id} is not in a valid state.", "INVALID_SNAPSHOT_STATE")
    return found


def _line(world: World, snapshot: Snapshot) -> str:
    """The oldest volume that the snapshot's volume goes back to."""
    held = snapshot.held
    while held.volume is not None and held.volume.parent is not None:
        held = held.volume.parent
    return held.volume.id if held.volume is not None else snapshot.volume_id


def _token(snapshot: Snapshot, written: str) -> str:
    return base64.b64encode(hashlib.sha256(f"{snapshot.id} {written}".encode()).digest()).decode()


def _invalid(text: str, reason: str) -> Ec2Error:
    return Ec2Error("ValidationException", f"{text} ({reason})", 400)


def _paged(world: World, entry: Entry, snapshot: Snapshot, name: str, rows: list[dict[str, Any]]) -> Reply:
    """One page of rows. A page may be shorter than the client wants: here, a full one has a row less."""
    params, now = entry.params, world.clock.now()
    most = int(params.get("maxResults") or MOST_RESULTS)
    if not LEAST_RESULTS <= most <= MOST_RESULTS:
        raise _invalid(f"MaxResults must be between {LEAST_RESULTS} and {MOST_RESULTS}.", "INVALID_PARAMETER_VALUE")
    asked = f"{entry.action} {params.get('firstSnapshotId')} {snapshot.id}"
    first = int(params.get("startingBlockIndex") or 0)
    if params.get("pageToken"):
        first = _continued(params["pageToken"], asked, now.timestamp())
    left = [row for row in rows if row["BlockIndex"] >= first]
    shown = left[: most - 1]
    until = now.timestamp()
    answer: dict[str, Any] = {
        name: shown,
        "BlockSize": BLOCK_SIZE,
        "VolumeSize": snapshot.volume_size,
        "ExpiryTime": until + world.config.duration("block_token"),
    }
    if len(shown) < len(left):
        expiry = until + world.config.duration("block_page_token")
        text = json.dumps([hashlib.sha256(asked.encode()).hexdigest()[:16], left[len(shown)]["BlockIndex"], expiry])
        answer["NextToken"] = base64.b64encode(text.encode()).decode()
    return Reply(200, json.dumps(answer).encode(), [("Content-Type", "application/json")])


def _continued(token: str, asked: str, now: float) -> int:
    """The place at which the page of a token begins."""
    try:
        digest, place, expiry = json.loads(base64.b64decode(token, validate=True))
    except ValueError:
        digest, place, expiry = "", 0, 0.0
    if digest != hashlib.sha256(asked.encode()).hexdigest()[:16] or now > expiry:
        raise _invalid("The page token is not valid.", "INVALID_PAGE_TOKEN")
    return int(place)
