# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long lists: the time of a whole listing through boto3 grows with the rows, not faster."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from sandbox import wire
from sandbox.engine import HANDLERS, Registered, Request
from sandbox.filters import matching
from sandbox.pages import paged

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.client import Sandbox

START = datetime(2026, 1, 1, tzinfo=UTC)
SMALL, LARGE = 2_000, 20_000


class Row:
    """A snapshot as a handler would keep it."""

    __slots__ = ("number", "tags")

    def __init__(self, number: int) -> None:
        self.number = number
        self.tags = {"Name": f"disk-{number % 7}", "env": "prod", "ec2ops:policy": "daily"}

    def shown(self) -> dict[str, Any]:
        """As DescribeSnapshots answers it."""
        return {
            "SnapshotId": f"snap-{self.number:017x}",
            "VolumeId": f"vol-{self.number % 100:017x}",
            "VolumeSize": 8,
            "State": "completed",
            "Progress": "100%",
            "StartTime": START + timedelta(seconds=self.number),
            "OwnerId": "123456789012",
            "Description": "nightly",
            "Encrypted": False,
            "StorageTier": "standard",
            "Tags": [{"Key": key, "Value": value} for key, value in self.tags.items()],
        }


@pytest.fixture
def fill(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let DescribeSnapshots answer from so many rows."""
    rows: list[Row] = []

    def describe(request: Request) -> dict[str, Any]:
        found = matching(request, rows, {}) if request.params.get("Filters") else rows
        page, token = paged(request, found, key=lambda row: row.number)
        return {"Snapshots": [row.shown() for row in page], "NextToken": token}

    monkeypatch.setitem(HANDLERS, "DescribeSnapshots", Registered(describe, False))

    def refill(count: int) -> None:
        rows[:] = [Row(number) for number in range(count)]

    return refill


def seconds_of(call: Callable[[], int], expected: int) -> float:
    """The shorter of two runs: what else the machine does only ever adds to it."""
    times = []
    for _ in range(2):
        started = time.perf_counter()
        assert call() == expected
        times.append(time.perf_counter() - started)
    return min(times)


@pytest.mark.parametrize("filters", [[], [{"Name": "tag:Name", "Values": ["disk-*"]}]])
def test_a_listing_through_boto3_grows_linearly(sandbox: Sandbox, fill: Any, filters: list[dict[str, Any]]) -> None:
    paginator = sandbox.client().get_paginator("describe_snapshots")

    def listed() -> int:
        pages = paginator.paginate(Filters=filters, PaginationConfig={"PageSize": 1000})
        return sum(len(page["Snapshots"]) for page in pages)

    fill(SMALL)
    small = seconds_of(listed, SMALL)
    fill(LARGE)
    large = seconds_of(listed, LARGE)
    # Ten times the rows; twice that leaves room for a busy machine, and quadratic growth would be a hundred times.
    assert large / small < 2 * LARGE / SMALL


def test_a_page_does_not_copy_what_is_not_on_it(fill: Any, world: Any) -> None:
    def page_time(count: int) -> float:
        rows = list(range(count))
        _, token = paged(Request("A", {"MaxResults": 5}, "", "", START, world), rows, key=lambda row: row)
        best = 1.0
        for _ in range(20):
            request = Request("A", {"MaxResults": 5, "NextToken": token}, "", "", START, world)
            started = time.perf_counter()
            paged(request, rows, key=lambda row: row)
            best = min(best, time.perf_counter() - started)
        return best

    assert page_time(1_000_000) < 20 * page_time(1_000)


def test_rendering_costs_little_beside_botocores_parsing() -> None:
    from botocore.parsers import EC2QueryParser

    result = {"Snapshots": [Row(number).shown() for number in range(3_000)]}
    model = wire.operation_model("DescribeSnapshots")
    assert model is not None
    body = wire.render("DescribeSnapshots", result)
    started = time.perf_counter()
    wire.render("DescribeSnapshots", result)
    rendering = time.perf_counter() - started
    started = time.perf_counter()
    EC2QueryParser().parse({"body": body, "headers": {}, "status_code": 200}, model.output_shape)
    parsing = time.perf_counter() - started
    assert rendering < parsing
