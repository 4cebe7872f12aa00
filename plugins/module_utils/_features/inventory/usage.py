# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The paid performance of volumes beside the use that CloudWatch saw.

CloudWatch limits the data points of an answer. So the hours of all volumes are read first. They leave out the volumes
that use their performance, and only the others are read by the minute.

Private to this collection.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from ..._domain.volume_types import THROUGHPUT_PER_IOPS, VOLUME_TYPES, provisioned_throughput
from ..._kernel.resources import Volume
from ..._kernel.state import State
from ..._kernel.usage_facts import HOUR, HOURLY_USE, METRICS_SPAN, MINUTE, MINUTE_USE, VolumeUse, use_queries
from .spec import InventorySpec

RESERVE_PERCENT = 20
"""The part of the peak that is added to it."""
_LEAST_HOURS = 24
"""A volume with data of fewer hours has hardly been used, and its peak shows little."""
_IOPS_STEP, _MIBPS_STEP = 100, 5
"""The steps to which the needed performance is rounded up."""


@dataclass(frozen=True)
class Enough:
    """The performance that covers the peak with its reserve. ``mibps``: None for io1 and io2, which take no value."""

    iops: int
    mibps: int | None


def read_use(spec: InventorySpec, state: State) -> None:
    """Require the use of the volumes with paid performance. Raises NeedsAnswers.

    CloudWatch is first asked for one part only. If it refuses that part, it is asked for no other.
    """
    if state.now is None:
        return
    hourly = list(use_queries((item.volume_id for item in _paid(spec, state)), state.now, HOUR))
    _require(state, hourly)
    candidates = [one.volume_id for one in _paid(spec, state) if _less(one, HOURLY_USE.of(state, one.volume_id))]
    _require(state, list(use_queries(candidates, state.now, MINUTE)))


def _require(state: State, queries: list[Any]) -> None:
    optional = [replace(query, optional=True) for query in queries]
    state.require(*optional[:1])
    if state.refusal("GetMetricData") is None:
        state.require(*optional)


def _paid(spec: InventorySpec, state: State) -> Iterator[Volume]:
    """Yield the volumes of the report that pay for performance, and are as old as the metrics."""
    if state.now is None:
        return
    for volume in state.here().all(Volume):
        if volume.operator or not volume.alive or not spec.shows("volumes", volume.tags):
            continue
        if volume.create_time is None or state.now - volume.create_time < METRICS_SPAN:
            continue
        if is_paid(volume):
            yield volume


def is_paid(volume: Volume) -> bool:
    """Return whether the volume costs less with less performance."""
    if volume.volume_type not in ("gp3", "io1", "io2"):
        return False
    rules = VOLUME_TYPES[volume.volume_type]
    has_more_iops = (volume.iops or 0) > (rules.iops or (0, 0))[0]
    return has_more_iops or (rules.throughput is not None and (volume.throughput or 0) > rules.throughput[0])


def seen(state: State, volume: Volume) -> VolumeUse | None:
    """Return the peak of the volume by the minute, or None without data points."""
    return MINUTE_USE.of(state, volume.volume_id)


def enough(state: State, volume: Volume) -> Enough | None:
    """Return less performance that covers the peak, or None if the volume needs its performance or is unknown."""
    hours = HOURLY_USE.of(state, volume.volume_id)
    return None if _less(volume, hours) is None else _less(volume, seen(state, volume), least_points=1)


def _less(volume: Volume, use: VolumeUse | None, *, least_points: int = _LEAST_HOURS) -> Enough | None:
    """Return less performance than the volume has, and no less than *use* needs. Return None if there is none."""
    if use is None or use.points < least_points or not is_paid(volume):
        return None
    iops, mibps = _with_reserve(use.iops, _IOPS_STEP), _with_reserve(use.mibps, _MIBPS_STEP)
    if volume.volume_type == "gp3":
        found = _gp3(volume, iops, mibps)
        is_less = found.iops < (volume.iops or 0) or (found.mibps or 0) < (volume.throughput or 0)
    else:
        found = _provisioned(volume, iops, mibps)
        is_less = found.iops < (volume.iops or 0)
    return found if is_less else None


def _with_reserve(peak: float, step: int) -> int:
    # The rounding removes the error of binary fractions, which would add a whole step.
    return math.ceil(round(peak * (100 + RESERVE_PERCENT) / 100 / step, 6)) * step


def _gp3(volume: Volume, iops: int, mibps: int) -> Enough:
    rules = VOLUME_TYPES["gp3"]
    least = (rules.throughput or (0, 0))[0]
    throughput = min(max(mibps, least), volume.throughput or least)
    wanted = max(iops, (rules.iops or (0, 0))[0], math.ceil(throughput / THROUGHPUT_PER_IOPS))
    return Enough(min(wanted, volume.iops or 0), throughput)


def _provisioned(volume: Volume, iops: int, mibps: int) -> Enough:
    """Return the least IOPS that also deliver *mibps*, or the volume's own if they are fewer."""
    own, kind = volume.iops or 0, volume.volume_type
    least = max(iops, (VOLUME_TYPES[kind].iops or (0, 0))[0])
    fitting = (one for one in range(least, own, _IOPS_STEP) if provisioned_throughput(kind, one) >= mibps)
    return Enough(next(fitting, own), None)


def view(state: State, volume: Volume) -> dict[str, Any] | None:
    """Return the peak of the volume as plain data, or None without data points."""
    minutes, hours = seen(state, volume), HOURLY_USE.of(state, volume.volume_id)
    use = minutes or hours
    if use is None:
        return None
    return {
        "iops": round(use.iops, 1),
        "mibps": round(use.mibps, 2),
        "days": METRICS_SPAN.days,
        "period": HOUR if minutes is None else MINUTE,
    }
