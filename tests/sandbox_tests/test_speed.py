# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Long lists: the time of a whole listing through boto3 grows with the rows, not faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sandbox import wire
from sandbox.client import Sandbox
from sandbox.engine import Request, World
from sandbox.pages import paged
from sandbox.snapshots import snapshot_row
from sandbox.world import Frozen, Snapshot

ACCOUNT = "123456789012"
START = datetime(2026, 1, 1, tzinfo=UTC)
SMALL, LARGE = 2_000, 20_000


def snapshots(count: int, world: World) -> dict[str, Snapshot]:
    """So many snapshots with three tags each."""
    made = {}
    for number in range(count):
        moment = START + timedelta(seconds=number)
        snapshot = Snapshot(
            id=world.new_id("snap"),
            number=number,
            owner=ACCOUNT,
            volume_id=f"vol-{number % 100:017x}",
            volume_size=8,
            created=moment,
            completes=moment,
            held=Frozen(None, moment),
            description="nightly",
            tags={"Name": f"disk-{number % 7}", "env": "prod", "ec2ops:policy": "daily"},
        )
        made[snapshot.id] = snapshot
    return made


def seconds_of(call: Callable[[], int], expected: int) -> float:
    """Processor seconds of client and server together: the shorter of two runs, or one long one."""
    times: list[float] = []
    while len(times) < 2 and sum(times) < 1:
        started = time.process_time()
        assert call() == expected
        times.append(time.process_time() - started)
    return min(times)


@pytest.mark.parametrize("filters", [[], [{"Name": "tag:Name", "Values": ["disk-*"]}]])
def test_a_listing_through_boto3_grows_linearly(sandbox: Sandbox, world: World, filters: list[dict[str, Any]]) -> None:
    paginator = sandbox.client().get_paginator("describe_snapshots")

    def listed() -> int:
        pages = paginator.paginate(OwnerIds=["self"], Filters=filters, PaginationConfig={"PageSize": 1000})
        return sum(len(page["Snapshots"]) for page in pages)

    home = world.region(ACCOUNT, "us-east-1")
    home.snapshots.update(snapshots(SMALL, world))
    small = seconds_of(listed, SMALL)
    home.snapshots.clear()
    home.snapshots.update(snapshots(LARGE, world))
    large = seconds_of(listed, LARGE)
    # Ten times the rows; twice that leaves room for a busy machine, and quadratic growth would be a hundred times.
    assert large / small < 2 * LARGE / SMALL


def test_page_copies_only_its_rows(world: World) -> None:
    def page_time(count: int) -> float:
        rows = list(range(count))
        _first, token = paged(Request("A", {"MaxResults": 5}, "", "", START, world), rows, key=lambda row: row)
        best = 1.0
        for _turn in range(20):
            request = Request("A", {"MaxResults": 5, "NextToken": token}, "", "", START, world)
            started = time.process_time()
            paged(request, rows, key=lambda row: row)
            best = min(best, time.process_time() - started)
        return best

    assert page_time(1_000_000) < 20 * page_time(1_000)


def test_rendering_costs_little_beside_botocores_parsing(world: World) -> None:
    from botocore.parsers import EC2QueryParser

    result = {"Snapshots": [snapshot_row(one, START) for one in snapshots(3_000, world).values()]}
    model = wire.operation_model("DescribeSnapshots")
    assert model is not None
    body = wire.render("DescribeSnapshots", result)
    started = time.process_time()
    wire.render("DescribeSnapshots", result)
    rendering = time.process_time() - started
    started = time.process_time()
    EC2QueryParser().parse({"body": body, "headers": {}, "status_code": 200}, model.output_shape)
    parsing = time.process_time() - started
    assert rendering < parsing
