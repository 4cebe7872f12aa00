# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The exact sizes of snapshots, from the blocks in which each differs from the one before it.

A snapshot stores the blocks that the snapshot before it in its line does not store (EBS user guide, "How Amazon EBS
snapshots work"). The line is the snapshots of one volume in the standard tier. It continues the line of the snapshot
that the volume was made from, if both have the same owner and key.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..._kernel.proofs import is_copy
from ..._kernel.state import Query, State
from ..._kernel.usage_facts import STORED_BYTES, changed_blocks_query, snapshot_blocks_query

if TYPE_CHECKING:
    from ..._kernel.failures import CallError
    from .stock import Inventory, Point

OPERATIONS = ("ListChangedBlocks", "ListSnapshotBlocks")
_FORBIDDEN = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})


def read_stored(inventory: Inventory) -> None:
    """Require the blocks of the snapshots in the report. Raises NeedsAnswers.

    Each operation is first asked about one snapshot. If the user may not call it, it is asked about no other.
    """
    queries = list(_queries(inventory))
    first = [next((one for one in queries if one.operation == name), None) for name in OPERATIONS]
    inventory.state.require(*(one for one in first if one is not None))
    allowed = {name for name in OPERATIONS if not _is_forbidden(inventory.state, name)}
    inventory.state.require(*(one for one in queries if one.operation in allowed))


def _is_forbidden(state: State, operation: str) -> bool:
    refusals = (error for query, error in state.unanswered.items() if query.operation == operation)
    return any(getattr(error, "code", "") in _FORBIDDEN for error in refusals)


def _queries(inventory: Inventory) -> Iterator[Query]:
    for line in _lines(inventory):
        for older, point in zip([None, *line], line, strict=False):
            if not inventory.spec.shows("snapshots", point.snapshot.tags):
                continue
            query = _query(inventory, older, point)
            if query is not None:
                yield query


def _lines(inventory: Inventory) -> Iterator[list[Point]]:
    """Yield the snapshots of each volume, the oldest first. A copy has no line that EC2 shows."""
    for points in inventory.of_volume.values():
        line = [one for one in points if one.is_good and not is_copy(one.snapshot)]
        yield sorted(line, key=lambda one: (one.moment, one.id))


def _query(inventory: Inventory, older: Point | None, point: Point) -> Query | None:
    """Return the query for what the snapshot stores, or None if EC2 shows it already or nobody can know it."""
    before = older or _origin(inventory, point)
    if before is not None:
        return changed_blocks_query(before.id, point.id)
    if point.snapshot.written_bytes is None and _is_whole(inventory, point):
        return snapshot_blocks_query(point.id)
    return None


def _origin(inventory: Inventory, point: Point) -> Point | None:
    """Return the snapshot that the volume was made from, if the first snapshot of the volume continues its line."""
    volume = inventory.volumes.get(point.source)
    origin = None if volume is None else inventory.point(volume.snapshot_id or "")
    if origin is None or not origin.is_good or _key(origin) != _key(point):
        return None
    return origin


def _key(point: Point) -> tuple[bool, str | None]:
    return point.snapshot.encrypted, point.snapshot.kms_key_id


def _is_whole(inventory: Inventory, point: Point) -> bool:
    """Return whether the first snapshot of a volume surely stores all of its blocks.

    The volume was made empty, or from a snapshot with another key. If EC2 does not show the snapshot that the volume
    was made from, other lines may share blocks with this one.
    """
    volume = inventory.volumes.get(point.source)
    if volume is None or volume.source_volume_id:
        return False
    if not volume.snapshot_id:
        return True
    origin = inventory.point(volume.snapshot_id)
    return origin is not None and _key(origin) != _key(point)


def stored_sizes(inventory: Inventory) -> dict[str, int]:
    """Return the exact bytes that each snapshot stores, by its id. Snapshots of unknown size are left out."""
    found: dict[str, int] = {}
    for line in _lines(inventory):
        for older, point in zip([None, *line], line, strict=False):
            size = _size(inventory, older, point)
            if size is not None:
                found[point.id] = size
    return found


def _size(inventory: Inventory, older: Point | None, point: Point) -> int | None:
    query = _query(inventory, older, point)
    if query is None:
        return point.snapshot.written_bytes if _is_first_and_whole(inventory, older, point) else None
    pages = None if query in inventory.state.unanswered else STORED_BYTES.of(inventory.state, point.id)
    return None if pages is None else sum(pages)


def _is_first_and_whole(inventory: Inventory, older: Point | None, point: Point) -> bool:
    return older is None and _is_whole(inventory, point)


def notes(state: State) -> dict[str, str]:
    """Return why AWS did not list the blocks of a snapshot, by its id."""
    return {
        dict(query.arguments).get("SecondSnapshotId") or dict(query.arguments)["SnapshotId"]: _told(error)
        for query, error in state.unanswered.items()
        if query.operation in OPERATIONS
    }


def _told(error: CallError | Any) -> str:
    code = getattr(error, "code", "")
    return f"{code}: {error.message}" if code else str(error)
