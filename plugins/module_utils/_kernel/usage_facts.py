# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Facts about the use of storage: what CloudWatch saw of a volume's performance.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from .facts import FactKind
from .state import Query, Struct

METRICS_SPAN = timedelta(days=14)
"""The time before the report whose metrics count. CloudWatch keeps minutes for 15 days."""
HOUR, MINUTE = 3600, 60
"""The periods of data points, in seconds."""
_NAMESPACE = "AWS/EBS"
_METRICS = {
    "ro": "VolumeReadOps",
    "wo": "VolumeWriteOps",
    "rb": "VolumeReadBytes",
    "wb": "VolumeWriteBytes",
}
"""The metrics of a volume, by the beginning of a query's id.

The sum of each counts the operations or bytes of a period, on instances of every kind (EBS user guide, "Amazon
CloudWatch metrics for Amazon EBS").
"""
MOST_POINTS = 100_800
"""The most data points in an answer of GetMetricData."""
_MOST_QUERIES = 500
"""The most metrics in a request of GetMetricData."""


@dataclass(frozen=True)
class VolumeUse:
    """The performance of a volume that CloudWatch saw: its peaks, each a mean of one period.

    ``iops``: operations a second. ``mibps``: MiB a second. ``points``: the number of periods with data.
    """

    iops: float
    mibps: float
    points: int


HOURLY_USE = FactKind[VolumeUse]("hourlyUse")
"""The use of a volume by the hour. A volume without data points has no such fact."""
MINUTE_USE = FactKind[VolumeUse]("minuteUse")
"""The use of a volume by the minute. A volume without data points has no such fact."""


def use_queries(volume_ids: Iterable[str], now: datetime, period: int) -> Iterator[Query]:
    """Yield the queries for the use of volumes in the last `METRICS_SPAN`, up to the full hour before *now*.

    A query has as many metrics as GetMetricData takes, and as fit into one answer.
    """
    end = now.replace(minute=0, second=0, microsecond=0)
    points = int(METRICS_SPAN.total_seconds()) // period
    at_once = max(1, min(_MOST_QUERIES, MOST_POINTS // points) // len(_METRICS))
    wanted = sorted(set(volume_ids))
    for start in range(0, len(wanted), at_once):
        asked = tuple(
            _asked(f"{kind}{number}", name, volume_id, period)
            for number, volume_id in enumerate(wanted[start : start + at_once])
            for kind, name in _METRICS.items()
        )
        yield Query(
            "GetMetricData",
            arguments=(
                ("MetricDataQueries", asked),
                ("StartTime", end - METRICS_SPAN),
                ("EndTime", end),
                ("ScanBy", "TimestampAscending"),
            ),
            service="cloudwatch",
        )


def _asked(query_id: str, name: str, volume_id: str, period: int) -> Struct:
    dimension = Struct((("Name", "VolumeId"), ("Value", volume_id)))
    metric = Struct((("Namespace", _NAMESPACE), ("MetricName", name), ("Dimensions", (dimension,))))
    return Struct((("Id", query_id), ("MetricStat", Struct((("Metric", metric), ("Period", period), ("Stat", "Sum"))))))


# --- the blocks of snapshots -----------------------------------------------------------------------------------------

STORED_BYTES = FactKind[tuple[int, ...]]("storedBytes")
"""The bytes of the blocks that a snapshot stores and the snapshot before it does not, by the pages of the answer."""


def changed_blocks_query(before: str, snapshot_id: str) -> Query:
    """Return the query for the blocks in which a snapshot differs from the one *before* it in its line."""
    return Query(
        "ListChangedBlocks",
        arguments=(("FirstSnapshotId", before), ("SecondSnapshotId", snapshot_id)),
        service="ebs",
        optional=True,
    )


def snapshot_blocks_query(snapshot_id: str) -> Query:
    """Return the query for all blocks of a snapshot."""
    return Query("ListSnapshotBlocks", arguments=(("SnapshotId", snapshot_id),), service="ebs", optional=True)
