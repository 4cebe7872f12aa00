# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The volume that is made from a restore point: its type, its performance and its tags.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from ..._domain.origins import Origin, origin_of
from ..._domain.volume_types import VOLUME_TYPES, require_performance
from ..._kernel.display import visible
from ..._kernel.errors import SpecError, listed
from ..._kernel.resources import Snapshot
from ..._kernel.tags import LONGEST_KEY, MOST_TAGS, carried
from .candidates import Candidate

DEFAULT_TYPE = "gp3"
"""The type of a volume whose snapshot does not record one."""

MOST_CARRIED = MOST_TAGS - 5
"""The number of tags that a restored volume gets from its source. The rest is room for five tags of the collection."""


@dataclass(frozen=True)
class RestorePoint:
    """One volume to make. ``recorded_device``: the device of its source, or None if it is unknown."""

    source: str
    snapshot: Snapshot
    moment: datetime
    volume_type: str
    iops: int | None
    throughput: int | None
    zone: str | None
    recorded_device: str | None
    tags: Mapping[str, str]


def restore_point(source: str, item: Candidate, notes: list[str]) -> RestorePoint:
    """Return the restore point of a source from its chosen snapshot.

    *notes* gets a note for each property that the new volume loses.
    """
    origin = origin_of(item.snapshot)
    volume_type, iops, throughput = _performance(source, item.snapshot, origin, notes)
    tags = carried(item.snapshot.tags)
    # The volume's name comes first if there is no room for all tags.
    order = sorted((key for key in tags if len(key) <= LONGEST_KEY), key=lambda key: (key != "Name", key))
    left = [key for key in sorted(tags) if key not in order[:MOST_CARRIED]]
    if left:
        notes.append(f"{source}: the restored volume has no room for these tags: {listed(map(visible, left))}")
    return RestorePoint(
        source=source,
        snapshot=item.snapshot,
        moment=item.moment,
        volume_type=volume_type,
        iops=iops,
        throughput=throughput,
        zone=origin.zone,
        recorded_device=origin.device_name,
        tags={key: tags[key] for key in order[:MOST_CARRIED]},
    )


def _is_possible(origin: Origin, size: int) -> bool:
    """Return whether EBS makes a volume of *size* GiB with the recorded performance."""
    rules = VOLUME_TYPES[origin.volume_type or DEFAULT_TYPE]
    iops = origin.iops if rules.iops is not None else None
    throughput = origin.throughput if rules.throughput is not None else None
    try:
        require_performance("", origin.volume_type or DEFAULT_TYPE, size or None, iops, throughput)
    except SpecError:
        return False
    return True


def _performance(
    source: str, snapshot: Snapshot, origin: Origin, notes: list[str]
) -> tuple[str, int | None, int | None]:
    """Return the recorded type, and the IOPS and throughput if volumes of this type take them."""
    rules = VOLUME_TYPES.get(origin.volume_type or "")
    if rules is None or origin.volume_type is None or not _is_possible(origin, snapshot.volume_size):
        recorded = "does not record the type of the volume"
        if origin.volume_type:
            recorded = f"records the volume type {visible(origin.volume_type)} with values that EBS does not take"
        notes.append(f"{source}: {snapshot.snapshot_id} {recorded}, so the restored volume is {DEFAULT_TYPE}")
        return DEFAULT_TYPE, None, None
    return (
        origin.volume_type,
        origin.iops if rules.iops is not None else None,
        origin.throughput if rules.throughput is not None else None,
    )
