# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""CloudWatch's metrics of volumes: the points, the limits of GetMetricData, and its pages."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from domain import make_instant, refused

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World

HOUR, DAY = 3600, 86400


@pytest.fixture
def volume(world: World, sandbox: Sandbox) -> str:
    """A volume on a running instance, two days after both were made, with two loads of a minute an hour ago."""
    make_instant(world)
    names = sandbox.seed({"instance": {"name": "web", "data_volumes": [{"name": "data"}]}})
    sandbox.move_clock(2 * DAY)
    found = str(names["web/data"])
    sandbox.seed(
        {
            "loads": [
                {"volume": found, "ago": HOUR, "seconds": 60, "read_iops": 500, "read_mibps": 2},
                {"volume": found, "ago": HOUR, "seconds": 60, "read_iops": 100},
            ]
        }
    )
    return found


def query(volume_id: str, name: str = "VolumeReadOps", number: int = 0, **stat: Any) -> dict[str, Any]:
    metric = {
        "Namespace": "AWS/EBS",
        "MetricName": name,
        "Dimensions": [{"Name": "VolumeId", "Value": volume_id}],
    }
    return {"Id": f"m{number}", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum", **stat}}


def ask(sandbox: Sandbox, *queries: dict[str, Any], hours: int = 2, **more: Any) -> dict[str, Any]:
    now = sandbox.now().replace(second=0, microsecond=0)
    given = {"StartTime": now - timedelta(hours=hours), "EndTime": now, "ScanBy": "TimestampAscending", **more}
    return dict(sandbox.client("cloudwatch").get_metric_data(MetricDataQueries=list(queries), **given))


def points(answer: dict[str, Any], number: int = 0) -> list[tuple[datetime, float]]:
    found = answer["MetricDataResults"][number]
    return list(zip(found["Timestamps"], found["Values"], strict=True))


def test_attached_volume_has_a_point_each_minute_and_the_sum_of_its_loads(sandbox: Sandbox, volume: str) -> None:
    answer = ask(sandbox, query(volume), query(volume, "VolumeReadBytes", 1), query(volume, "VolumeWriteOps", 2))
    found = points(answer)
    assert [one[0] for one in found] == sorted(one[0] for one in found)
    assert len(found) == 120
    assert sorted({value for _moment, value in found}) == [0.0, 36_000.0]
    assert max(value for _moment, value in points(answer, 1)) == 60 * 2 * 1024 * 1024
    assert {value for _moment, value in points(answer, 2)} == {0.0}


def test_period_joins_minutes_and_newest_comes_first_by_default(sandbox: Sandbox, volume: str) -> None:
    found = points(ask(sandbox, query(volume, Period=HOUR), hours=24, ScanBy="TimestampDescending"))
    assert [one[0] for one in found] == sorted((one[0] for one in found), reverse=True)
    assert all(moment.minute == 0 for moment, _value in found)
    assert sum(value for _moment, value in found) == 36_000.0
    assert max(value for _m, value in points(ask(sandbox, query(volume, Stat="Maximum", Period=HOUR)))) == 36_000.0


@pytest.mark.parametrize("changed", [{"Unit": "Bytes"}, {"Metric": {"Namespace": "Mine", "MetricName": "x"}}])
def test_other_metric_has_no_points(sandbox: Sandbox, volume: str, changed: dict[str, Any]) -> None:
    assert points(ask(sandbox, query(volume, **changed))) == []


def test_volume_without_a_running_instance_has_no_points(sandbox: Sandbox, volume: str) -> None:
    spare = str(sandbox.seed({"volume": {"name": "spare"}})["spare"])
    sandbox.move_clock(HOUR)
    assert points(ask(sandbox, query(spare))) == []
    other = sandbox.client("cloudwatch", account="111122223333")
    now = sandbox.now()
    seen = other.get_metric_data(MetricDataQueries=[query(volume)], StartTime=now - timedelta(hours=1), EndTime=now)
    assert seen["MetricDataResults"][0]["Values"] == []


def test_minutes_are_kept_for_fifteen_days(sandbox: Sandbox, volume: str) -> None:
    sandbox.move_clock(20 * DAY)
    minutes = points(ask(sandbox, query(volume), hours=24 * 20))
    assert sandbox.now() - minutes[0][0] <= timedelta(days=15, minutes=1)
    assert points(ask(sandbox, query(volume, Period=300), hours=24 * 20))[0][0] < minutes[0][0]


def test_pages_end_at_the_most_points_and_a_token_belongs_to_its_request(sandbox: Sandbox, volume: str) -> None:
    asked = [query(volume), query(volume, "VolumeWriteOps", 1)]
    fixed = {"EndTime": sandbox.now().replace(second=0, microsecond=0)}
    fixed["StartTime"] = fixed["EndTime"] - timedelta(hours=1)
    first = ask(sandbox, *asked, MaxDatapoints=80, **fixed)
    assert [len(one["Values"]) for one in first["MetricDataResults"]] == [60, 20]
    assert [one["StatusCode"] for one in first["MetricDataResults"]] == ["Complete", "PartialData"]
    second = ask(sandbox, *asked, MaxDatapoints=80, NextToken=first["NextToken"], **fixed)
    assert [len(one["Values"]) for one in second["MetricDataResults"]] == [0, 40]
    assert "NextToken" not in second
    client = sandbox.client("cloudwatch")
    for token in ("x", first["NextToken"]):
        given = {**fixed, "NextToken": token}
        refused("InvalidNextToken", client.get_metric_data, MetricDataQueries=asked[:1], **given)


@pytest.mark.parametrize(
    ("queries", "text"),
    [
        ([query("vol-1", number=number) for number in range(501)], "must not have a size greater than 500"),
        ([query("vol-1"), query("vol-2")], "are not unique"),
        ([{**query("vol-1"), "Id": "M1"}], "not matching the expected pattern"),
        ([query("vol-1", Period=90)], "a multiple of 60"),
        ([{"Id": "m1", "Expression": "m2 * 2"}], "MetricStat is required"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_request_beyond_a_limit_is_refused(
    sandbox: Sandbox, world: World, queries: list[dict[str, Any]], text: str
) -> None:
    now = world.clock.now()
    client = sandbox.client("cloudwatch")
    given = {"StartTime": now - timedelta(hours=1), "EndTime": now}
    refused("ValidationError", client.get_metric_data, MetricDataQueries=queries, text=text, **given)


def test_span_must_be_forward_and_permission_is_needed(sandbox: Sandbox, world: World) -> None:
    now, client = world.clock.now(), sandbox.client("cloudwatch")
    one = [query("vol-1")]
    refused("ValidationError", client.get_metric_data, MetricDataQueries=one, StartTime=now, EndTime=now)
    sandbox.refuse("cloudwatch:GetMetricData")
    given = {"StartTime": now - timedelta(hours=1), "EndTime": now}
    refused("AccessDenied", client.get_metric_data, MetricDataQueries=one, text="cloudwatch:GetMetricData", **given)
    assert sandbox.counts()["cloudwatch:GetMetricData"] == 2
