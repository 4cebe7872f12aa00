# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`metrics: true`: the questions to CloudWatch, its answers, and the performance that is enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
import yaml
from ansible_collections.ec2ops.storage.plugins.module_utils._aws import codec
from ansible_collections.ec2ops.storage.plugins.module_utils._features.inventory import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Fact, Volume
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import NeedsAnswers, Query, State
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.usage_facts import (
    HOUR,
    HOURLY_USE,
    MINUTE,
    MINUTE_USE,
    VolumeUse,
    use_queries,
)

from inventory_world import DAY, NOW, instance, report, spec_of, state_of, vol, volume

MIB = 1 << 20
IDS = [vol(number) for number in range(1, 201)]


# --- the questions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("period", "volumes", "calls"), [(HOUR, 75, 1), (HOUR, 76, 2), (MINUTE, 1, 1), (MINUTE, 3, 3)])
def test_query_has_as_many_metrics_as_one_answer_has_points_for(period: int, volumes: int, calls: int) -> None:
    queries = list(use_queries(IDS[:volumes], NOW, period))
    assert len(queries) == calls
    for query in queries:
        request = codec.query_request(query)
        points = int((request["EndTime"] - request["StartTime"]).total_seconds()) // period
        assert len(request["MetricDataQueries"]) <= 500
        assert len(request["MetricDataQueries"]) * points <= 100_800
        assert len({one["Id"] for one in request["MetricDataQueries"]}) == len(request["MetricDataQueries"])


def test_query_ends_at_the_full_hour_and_begins_fourteen_days_before() -> None:
    (query,) = use_queries(IDS[:1], NOW + timedelta(minutes=59), HOUR)
    asked = dict(query.arguments)
    assert (asked["EndTime"], asked["StartTime"]) == (NOW, NOW - 14 * DAY)


def needed(state: State, **given: Any) -> list[Query]:
    try:
        planner.plan(spec_of(metrics=True, **given), state, NOW)
    except NeedsAnswers as needed:
        return [one for one in needed.queries if one.operation == "GetMetricData"]
    return []


def open_state(*resources: Any, **more: Any) -> State:
    """A state in which everything but CloudWatch has answered."""
    state = state_of(*resources, open=True, **more)
    while True:
        try:
            planner.plan(spec_of(), state, NOW)
        except NeedsAnswers as needed:
            state = state.with_answers(dict.fromkeys(needed.queries, ()))
        else:
            return state


def volumes_in(queries: Iterable[Query]) -> set[str]:
    asked = (one for query in queries for one in codec.query_request(query)["MetricDataQueries"])
    return {one["MetricStat"]["Metric"]["Dimensions"][0]["Value"] for one in asked}


def test_only_volumes_that_pay_for_performance_are_read() -> None:
    there = [
        volume(1),
        volume(2, iops=3001),
        volume(3, throughput=126),
        volume(4, volume_type="gp2"),
        volume(5, volume_type="io2", iops=100),
        volume(6, volume_type="io1", iops=200),
        volume(7, iops=9000, age=13 * DAY),
        volume(8, iops=9000, operator="EKS"),
        volume(9, iops=9000, tags={"app": "other"}),
    ]
    state = open_state(*there)
    assert volumes_in(needed(state)) == {vol(2), vol(3), vol(6), vol(9)}
    assert volumes_in(needed(state, filters={"app": None})) == {vol(9)}
    assert needed(state, subjects=["snapshots"]) == []


def test_minutes_are_read_of_volumes_whose_hours_leave_a_part_unused() -> None:
    state = open_state(volume(1, iops=9000), volume(2, iops=9000), volume(3, iops=9000))
    first = needed(state)
    hours = [HOURLY_USE.fact(vol(1), VolumeUse(8000, 1, 336)), HOURLY_USE.fact(vol(2), VolumeUse(100, 1, 336))]
    state = state.with_answers(dict.fromkeys(first, hours))
    (second,) = needed(state)
    assert volumes_in([second]) == {vol(2)}
    assert codec.query_request(second)["MetricDataQueries"][0]["MetricStat"]["Period"] == MINUTE
    assert needed(state.with_answers({second: ()})) == []


def test_refusal_of_the_first_part_ends_the_questions_and_the_report_says_so() -> None:
    state = open_state(*(volume(number, iops=9000) for number in range(1, 200)))
    (first,) = needed(state)
    refusal = CallError("GetMetricData", "AccessDenied", "You are not authorized.")
    state = State(state.region, state.resources, state.answered | {first}, NOW, {first: refusal}, open=True)
    assert needed(state) == []
    document = report(state=state, metrics=True)
    (part,) = document["partial"]
    assert (part["part"], part["permission"]) == ("metrics", "cloudwatch:GetMetricData")
    assert {one["id"] for one in document["findings"]} == {"volume-unattached"}


# --- the answers -----------------------------------------------------------------------------------------------------


def answer(volume_id: str, **series: Mapping[datetime, float] | str) -> list[dict[str, Any]]:
    """The results of one volume. A text stands for the status of a metric without values."""
    return [
        {
            "Id": f"{kind}0",
            "StatusCode": values if isinstance(values, str) else "Complete",
            "Timestamps": [] if isinstance(values, str) else list(values),
            "Values": [] if isinstance(values, str) else list(values.values()),
        }
        for kind in ("ro", "wo", "rb", "wb")
        for values in [series.get(kind, {})]
    ]


def decoded(*pages: list[dict[str, Any]], period: int = MINUTE) -> list[Fact]:
    (query,) = use_queries([vol(1)], NOW, period)
    return list(codec.decode(query, [{"MetricDataResults": page} for page in pages]))  # type: ignore[arg-type]


def test_peak_is_that_of_reads_and_writes_of_the_same_minute() -> None:
    one, two = NOW, NOW + timedelta(minutes=1)
    page = answer(vol(1), ro={one: 60_000, two: 6_000}, wo={two: 48_000}, rb={one: 60 * MIB}, wb={one: 120 * MIB})
    assert decoded(page) == [MINUTE_USE.fact(vol(1), VolumeUse(1000.0, 3.0, 2))]


def test_pages_of_one_answer_are_joined_in_any_order_of_values() -> None:
    one, two = NOW, NOW + timedelta(hours=1)
    begun = answer(vol(1), ro={two: 3600}, wo="PartialData")
    begun[0]["StatusCode"] = "PartialData"
    rest = answer(vol(1), ro={one: 7200}, wo={two: 7200, one: 0})
    assert decoded(begun, rest, period=HOUR) == [HOURLY_USE.fact(vol(1), VolumeUse(3.0, 0.0, 2))]


@pytest.mark.parametrize("status", ["PartialData", "InternalError", "Forbidden"])
def test_incomplete_metric_tells_nothing(status: str) -> None:
    assert decoded(answer(vol(1), ro={NOW: 60}, wb=status)) == []


def test_volume_without_data_points_has_no_fact() -> None:
    assert decoded(answer(vol(1))) == []


# --- the performance that is enough ----------------------------------------------------------------------------------


def finding(there: Volume, iops: float, mibps: float) -> dict[str, Any] | None:
    facts = [kind.fact(there.volume_id, VolumeUse(iops, mibps, 336)) for kind in (HOURLY_USE, MINUTE_USE)]
    found = report(instance(1, 1), there, *facts, metrics=True)["findings"]
    return next((one for one in found if one["id"] == "volume-performance-unused"), None)


@pytest.mark.parametrize(
    ("fields", "seen", "task", "saving"),
    [
        # 3,000 of 10,000 IOPS are free: 7,000 x 0.005
        ({"iops": 10_000}, (1000, 10), {"iops": 3000, "throughput": 125}, 35.0),
        # 5,000 x 1.2 = 6,000 IOPS: 4,000 x 0.005
        ({"iops": 10_000}, (5000, 10), {"iops": 6000, "throughput": 125}, 20.0),
        # 300 x 1.2 = 360 MiB/s: 640 x 0.04
        ({"iops": 4000, "throughput": 1000}, (3400, 300), {"iops": 4000, "throughput": 360}, 25.6),
        # 250 x 1.2 = 300 MiB/s need no more than 3,000 IOPS: 1,000 x 0.005 + 200 x 0.04
        ({"iops": 4000, "throughput": 500}, (100, 250), {"iops": 3000, "throughput": 300}, 13.0),
        # 800 x 1.2 = 960 MiB/s need 3,840 IOPS: 4,160 x 0.005 + 40 x 0.04
        ({"iops": 8000, "throughput": 1000}, (100, 800), {"iops": 3840, "throughput": 960}, 22.4),
        # 1,200 IOPS: 8,800 x 0.065
        ({"volume_type": "io2", "iops": 10_000}, (1000, 10), {"iops": 1200}, 572.0),
        # 500 x 1.2 = 600 MiB/s need 2,400 IOPS of 256 KiB: 7,600 x 0.065
        ({"volume_type": "io2", "iops": 10_000}, (1000, 500), {"iops": 2400}, 494.0),
        ({"volume_type": "io1", "iops": 300}, (0.1, 0), {"iops": 100}, 13.0),
    ],
    ids=str,
)
def test_less_performance_covers_the_peak_with_its_reserve(
    fields: dict[str, Any], seen: tuple[float, float], task: dict[str, int], saving: float
) -> None:
    found = finding(volume(1, on=1, **fields), *seen)
    assert found is not None
    (given,) = yaml.safe_load(found["task"])
    options = given["amazon.aws.ec2_vol"]
    assert {key: options[key] for key in ("iops", "throughput") if key in options} == task
    assert found["saving"]["most"] == saving


@pytest.mark.parametrize(
    ("fields", "seen"),
    [
        ({"iops": 3000}, (1, 1)),
        ({"iops": 4000}, (3333.4, 1)),
        ({"iops": 3000, "throughput": 150}, (1, 121)),
        # The volume has less throughput than the reserve of its peak, and keeps it.
        ({"volume_type": "io2", "iops": 1000}, (10, 249)),
        ({"volume_type": "io1", "iops": 100}, (1, 1)),
    ],
    ids=str,
)
def test_volume_that_needs_its_performance_has_no_finding(fields: dict[str, Any], seen: tuple[float, float]) -> None:
    assert finding(volume(1, on=1, **fields), *seen) is None


def test_reason_names_the_peak_and_row_shows_it() -> None:
    there = volume(1, on=1, iops=10_000)
    found = finding(there, 1000, 10)
    assert found is not None
    assert found["reason"] == (
        f"{vol(1)} (100 GiB gp3) has 10000 IOPS and 125 MiB/s. In 14 days CloudWatch saw at most 1000 IOPS and "
        "10 MiB/s in a minute. 3000 IOPS and 125 MiB/s are enough, with a reserve of 20 %."
    )
    (row,) = report(there, MINUTE_USE.fact(vol(1), VolumeUse(1000, 10, 9)))["volumes"]
    assert row["used"] == {"iops": 1000, "mibps": 10, "days": 14, "period": 60}


def test_multi_attach_io1_volume_has_no_task() -> None:
    found = finding(volume(1, on=1, volume_type="io1", iops=9000, multi_attach_enabled=True), 1, 1)
    assert found is not None
    assert found["task"] == ""
