# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CloudWatch's metrics of volumes, and GetMetricData.

A volume has a data point in each minute in which a running instance has it ("Amazon EBS sends data points to CloudWatch
for all volumes attached to Nitro-based instances, also without activity"). The points are zero, but for the loads that
a seed names. CloudWatch API reference, "GetMetricData", "MetricStat" and "MetricDataResult"; CloudWatch user guide,
"Metrics retention". What the reference does not say, such as how pages divide the series, is chosen so that a client
must read all pages: series after series, each as far as the points last.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from . import content
from .engine import Call, Ec2Error, Reply, World, other_action

if TYPE_CHECKING:
    from .log import Entry
    from .world import Region, Volume

NAMESPACE = "AWS/EBS"
MOST_QUERIES, MOST_POINTS = 500, 100_800
_ID = re.compile(r"[a-z][a-zA-Z0-9_]*")
_SHORT_PERIODS = (1, 5, 10, 20, 30)
_MIB = 1 << 20

#: The rate of a load that each metric counts, and the factor of its unit.
METRICS = {
    "VolumeReadOps": ("read_iops", 1),
    "VolumeWriteOps": ("write_iops", 1),
    "VolumeReadBytes": ("read_mibps", _MIB),
    "VolumeWriteBytes": ("write_mibps", _MIB),
}

#: For how many days CloudWatch keeps points of less than a period: (days, period in seconds).
_RETENTION = ((15, 300), (63, 3600), (455, 1 << 31))


@dataclass(frozen=True)
class Load:
    """The activity of a volume in a span: operations and MiB a second."""

    start: datetime
    end: datetime
    read_iops: float = 0.0
    write_iops: float = 0.0
    read_mibps: float = 0.0
    write_mibps: float = 0.0


LOAD_KEYS = frozenset({"volume", "ago", "seconds", "read_iops", "write_iops", "read_mibps", "write_mibps"})


def add_load(world: World, row: Mapping[str, Any], volume_id: str) -> None:
    """Add a load of a seed, which began ``ago`` seconds before now, at a full minute, and lasts ``seconds``.

    Raises ValueError for an unknown key.
    """
    unknown = set(row) - LOAD_KEYS
    if unknown:
        raise ValueError(f"seed: load does not know {', '.join(sorted(unknown))}; it knows {', '.join(LOAD_KEYS)}")
    began = world.clock.now() - timedelta(seconds=float(row.get("ago", 0)))
    start = began.replace(second=0, microsecond=0)
    rates = {name: float(row[name]) for name in LOAD_KEYS - {"volume", "ago", "seconds"} if name in row}
    load = Load(start, start + timedelta(seconds=float(row.get("seconds", 60))), **rates)
    world.loads.setdefault(volume_id, []).append(load)


@other_action("cloudwatch:GetMetricData")
def get_metric_data(world: World, _call: Call, entry: Entry) -> Reply:
    """Answer queries for the metrics of volumes. Metric math and Metrics Insights are not here.

    Clients of the older protocols, with forms or CBOR, are not understood.
    """
    params = entry.params
    queries = _queries(params)
    start, end = _span(params)
    limit = _limit(params)
    offset = _offset(params)
    left, skipped, results, total = limit, offset, [], 0
    home = world.region(entry.account, entry.region)
    is_descending = params.get("ScanBy", "TimestampDescending") == "TimestampDescending"
    for query in queries:
        if query.get("ReturnData") is False:
            continue
        points = list(_points(home, query["MetricStat"], start, end))
        total += len(points)
        if is_descending:
            points.reverse()
        shown = points[min(skipped, len(points)) :][:left]
        rest = len(points) - min(skipped, len(points)) - len(shown)
        skipped, left = max(0, skipped - len(points)), left - len(shown)
        results.append(
            {
                "Id": query["Id"],
                "Label": query.get("Label") or query["MetricStat"]["Metric"].get("MetricName", ""),
                "Timestamps": [moment for moment, _value in shown],
                "Values": [value for _moment, value in shown],
                "StatusCode": "PartialData" if rest else "Complete",
            }
        )
    answer: dict[str, Any] = {"MetricDataResults": results, "Messages": []}
    if offset + limit < total:
        answer["NextToken"] = _token(params, offset + limit)
    body = json.dumps(answer, default=lambda moment: moment.timestamp()).encode()
    return Reply(200, body, [("Content-Type", "application/x-amz-json-1.0")])


def _refused(text: str, code: str = "ValidationError") -> Ec2Error:
    return Ec2Error(code, text, 400)


def _queries(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    queries = params.get("MetricDataQueries")
    if not queries:
        raise _refused("The parameter MetricDataQueries is required.", "MissingParameter")
    if len(queries) > MOST_QUERIES:
        raise _refused(f"The collection MetricDataQueries must not have a size greater than {MOST_QUERIES}.")
    if len({one.get("Id") for one in queries}) < len(queries):
        raise _refused("The values for parameter id in MetricDataQueries are not unique.")
    for number, query in enumerate(queries, 1):
        place = f"MetricDataQueries.member.{number}"
        if not _ID.fullmatch(str(query.get("Id") or "")):
            raise _refused(f"The value {query.get('Id')} for {place}.Id is not matching the expected pattern.")
        if "MetricStat" not in query:
            raise _refused(f"The parameter {place}.MetricStat is required.")
        period = query["MetricStat"].get("Period", 0)
        if period not in _SHORT_PERIODS and (period < 60 or period % 60):
            raise _refused(f"The parameter {place}.MetricStat.Period must be 1, 5, 10, 20, 30 or a multiple of 60.")
        if query["MetricStat"].get("Stat") not in ("Sum", "Average", "Minimum", "Maximum", "SampleCount"):
            raise _refused(f"The parameter {place}.MetricStat.Stat is not a statistic of this sandbox.")
    return list(queries)


def _span(params: Mapping[str, Any]) -> tuple[datetime, datetime]:
    start, end = (_moment(params.get(name)) for name in ("StartTime", "EndTime"))
    if start >= end:
        raise _refused("The parameter StartTime must be less than the parameter EndTime.")
    return start, end


def _moment(seconds: Any) -> datetime:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise _refused(f"{seconds!r} is no timestamp.", "SerializationException")
    return datetime.fromtimestamp(seconds, UTC)


def _limit(params: Mapping[str, Any]) -> int:
    limit = int(params.get("MaxDatapoints") or MOST_POINTS)
    if not 1 <= limit <= MOST_POINTS:
        raise _refused(f"The parameter MaxDatapoints must be between 1 and {MOST_POINTS}.")
    return limit


def _digest(params: Mapping[str, Any]) -> str:
    same = {key: value for key, value in params.items() if key != "NextToken"}
    return hashlib.sha256(json.dumps(same, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _token(params: Mapping[str, Any], offset: int) -> str:
    return base64.b64encode(f"{_digest(params)} {offset}".encode()).decode()


def _offset(params: Mapping[str, Any]) -> int:
    """How many points earlier pages had. A token belongs to one request."""
    token = params.get("NextToken")
    if token is None:
        return 0
    try:
        digest, offset = base64.b64decode(token, validate=True).decode().split()
    except ValueError:
        digest, offset = "", "0"
    if digest != _digest(params):
        raise Ec2Error("InvalidNextToken", "The next token specified is invalid.", 400)
    return int(offset)


# --- the points ------------------------------------------------------------------------------------------------------


def _points(home: Region, asked: Mapping[str, Any], start: datetime, end: datetime) -> Iterator[tuple[datetime, float]]:
    """The points of one metric, oldest first. A point bears the beginning of its period."""
    metric, period, now = asked["Metric"], asked["Period"], home.world.clock.now()
    volume = _volume(home, metric)
    unit = "Count" if "Ops" in metric.get("MetricName", "") else "Bytes"
    if volume is None or asked.get("Unit") not in (None, unit):
        return
    kept = max([start, *(now - timedelta(days=days) for days, least in _RETENTION if period < least)])
    found: dict[int, list[float]] = {}
    for minute, value in _minutes(home, volume, metric["MetricName"], _floor(kept, 60), min(end, now)):
        bucket = minute // period * period
        if start.timestamp() <= bucket < end.timestamp():
            found.setdefault(bucket, []).append(value)
    for bucket, values in found.items():
        yield datetime.fromtimestamp(bucket, UTC), _statistic(asked["Stat"], values)


def _statistic(name: str, values: list[float]) -> float:
    if name == "SampleCount":
        return float(len(values))
    if name == "Average":
        return sum(values) / len(values)
    if name == "Sum":
        return sum(values)
    return min(values) if name == "Minimum" else max(values)


def _volume(home: Region, metric: Mapping[str, Any]) -> Volume | None:
    """The volume of a metric. Others have no data, and neither has a metric with other dimensions."""
    dimensions = metric.get("Dimensions") or []
    is_ours = metric.get("Namespace") == NAMESPACE and metric.get("MetricName") in METRICS
    if not is_ours or len(dimensions) != 1 or dimensions[0].get("Name") != "VolumeId":
        return None
    return home.volumes.get(dimensions[0].get("Value", ""))


def _floor(moment: datetime, step: int) -> int:
    return int(moment.timestamp()) // step * step


def _minutes(home: Region, volume: Volume, name: str, start: int, end: datetime) -> Iterator[tuple[int, float]]:
    """Each minute with a data point, and the sum in it."""
    rate, factor = METRICS[name]
    until = end.timestamp()
    values: dict[int, float] = {}
    for begin, stop, _writer in content.spans(home, volume):
        last = min(until, until if stop is None else stop.timestamp())
        values |= dict.fromkeys(range(max(start, _floor(begin, 60)), math.ceil(last), 60), 0.0)
    for load in home.world.loads.get(volume.id, ()):
        for minute in range(_floor(load.start, 60), math.ceil(load.end.timestamp()), 60):
            if minute in values:
                values[minute] += getattr(load, rate) * factor * 60
    yield from sorted(values.items())
