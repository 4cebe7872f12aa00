# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A long listing of snapshots, read in parts: each snapshot once, also while snapshots come and go."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws import splitting
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Snapshot
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query, by_id
from hypothesis import given
from hypothesis import strategies as st

from sandbox.client import Sandbox
from worlds import sandbox_gateway

REGION = "us-east-1"
MOMENTS = st.datetimes(datetime(2006, 1, 1), datetime(2099, 12, 31)).map(lambda moment: f"{moment:%Y-%m-%dT%H:%M}")  # noqa: DTZ001
OWN = Query("DescribeSnapshots", (("tag:backup", ("daily",)),), (("OwnerIds", ("self",)),))


@given(st.lists(MOMENTS, min_size=1, max_size=60), st.lists(MOMENTS, max_size=60))
def test_parts_cover_each_time_once(sample: list[str], others: list[str]) -> None:
    parts = splitting.partition([""], sample)
    prefixes = [prefix for part in parts for prefix in part]
    for moment in (*sample, *others):
        assert len([prefix for prefix in prefixes if moment.startswith(prefix)]) == 1
    assert max(len(part) for part in parts) <= 150


@pytest.mark.parametrize("days", [3, 50, 4000])
def test_parts_have_about_the_same_share(days: int) -> None:
    start = datetime(2026, 11, 24, tzinfo=UTC)
    sample = [f"{start - timedelta(minutes=number * days):%Y-%m-%dT%H:%M}" for number in range(1440)]
    shares = [sum(moment.startswith(part) for moment in sample) for part in splitting.partition([""], sample)]
    assert max(shares) <= len(sample) // splitting.PARTS
    assert len(shares) <= 4 * splitting.PARTS


def test_snapshots_of_one_moment_are_not_divided() -> None:
    shares = splitting.partition(["2026-11-24T02:0"], ["2026-11-24T02:00"] * 50)
    assert shares[0] == ("2026-11-24T02:00",)
    # The other minutes are covered all the same.
    assert {prefix for part in shares[1:] for prefix in part} == {f"2026-11-24T02:0{digit}" for digit in range(1, 10)}


def test_oldest_snapshots_first_show_where_the_others_are() -> None:
    """The sandbox lists by age. The times after the first pages are divided too, with the density of these pages."""
    now = datetime.now(UTC)
    times = [now - timedelta(days=50) + timedelta(minutes=number * 10) for number in range(1000)]
    expected = [*splitting._expected(times, now, timedelta())]
    assert len(expected) == pytest.approx(6200, rel=0.01)
    assert max(expected) <= now
    after = max(times)
    assert all(after < moment for moment in expected)


def test_a_sample_up_to_now_expects_nothing() -> None:
    now = datetime.now(UTC)
    assert [*splitting._expected([now - timedelta(days=1), now], now, timedelta())] == []
    assert [*splitting._expected([now - timedelta(days=1)], now, timedelta())] == []
    assert [*splitting._expected([], now, timedelta())] == []


def test_newest_snapshots_first_go_back_further_than_what_they_cover() -> None:
    now = datetime.now(UTC)
    times = [now - timedelta(minutes=number) for number in range(1, 1001)]
    covered = times[0] - times[-1]
    oldest = [min(splitting._expected(times, now, back)) for back in (timedelta(), timedelta(days=30))]
    assert oldest == [times[-1] - splitting.EARLIER * covered, times[-1] - timedelta(days=30)]


def test_far_fewer_are_expected_than_a_short_burst_suggests() -> None:
    long_ago = datetime.now(UTC) - timedelta(days=3000)
    burst = [long_ago + timedelta(seconds=number) for number in range(100)]
    assert len([*splitting._expected(burst, datetime.now(UTC), timedelta())]) == 100 * splitting.MOST_EXPECTED


@pytest.mark.parametrize(
    ("query", "divisible"),
    [
        (OWN, True),
        (by_id("DescribeSnapshots", "snapshot-id", ["snap-1"])[0], False),
        (Query("DescribeSnapshots", (("start-time", ("2026*",)),)), False),
        (Query("DescribeSnapshots", arguments=(("SnapshotIds", ("snap-1",)),)), False),
        (Query("DescribeVolumes"), False),
    ],
)
def test_only_listings_by_other_facts_are_parted(query: Query, divisible: bool) -> None:
    assert splitting.is_divisible(query) is divisible


# --- the number of calls ---


class Listing:
    """An endpoint with snapshots of these times in this order, ten on a page. It counts the calls."""

    def __init__(self, times: Sequence[datetime]) -> None:
        self.texts = {f"snap-{number}": f"{time:%Y-%m-%dT%H:%M:%S}" for number, time in enumerate(times)}
        self.rows = [Snapshot(name, start_time=time) for name, time in zip(self.texts, times, strict=True)]
        self.calls = 0
        self._lock = threading.Lock()

    @property
    def pages(self) -> int:
        """The number of calls of a plain listing."""
        return -(-len(self.rows) // 10)

    def __call__(self, query: Query) -> Iterator[Any]:
        prefixes = tuple(
            value.rstrip("*") for name, values in query.filters if name == "start-time" for value in values
        )
        rows = [row for row in self.rows if self.texts[row.resource_id].startswith(prefixes or "")]
        for place in range(0, max(1, len(rows)), 10):
            with self._lock:
                self.calls += 1
            yield rows[place : place + 10]


def spread(number: int, days: int, every: float) -> list[datetime]:
    """*number* times on each of these days, so many seconds apart, up to yesterday. The oldest is the first."""
    start = (datetime.now(UTC) - timedelta(days=days)).replace(hour=2, minute=0, second=0, microsecond=0)
    return [start + timedelta(days=day, seconds=one * every) for day in range(days) for one in range(number)]


TIMES = {
    "all in one second": spread(1000, 1, 0),
    "the same second every day": spread(20, 50, 0),
    "many in the same second on a few days": spread(200, 5, 0),
    "half of them in one second": [*spread(500, 1, 0), *spread(500, 1, 60)],
    "one hour": spread(1000, 1, 3.6),
    "every ten minutes": spread(100, 10, 600),
    "a burst long ago": [datetime(2017, 1, 1, tzinfo=UTC)] * 200 + spread(100, 8, 600),
    "barely long": spread(140, 1, 300),
    "barely long, in one second": spread(140, 1, 0),
    "short": spread(120, 1, 300),
}


@pytest.mark.parametrize("order", ["oldest first", "newest first", "shuffled"])
@pytest.mark.parametrize("name", TIMES)
def test_calls_are_no_multiple_of_the_plain_listing(name: str, order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        splitting, "codec", SimpleNamespace(decode=lambda _query, pages: tuple(row for page in pages for row in page))
    )
    times = sorted(TIMES[name], reverse=order == "newest first")
    if order == "shuffled":
        random.Random(1).shuffle(times)
    listing = Listing(times)
    # One thread: with more, their order decides which parts may be divided again, and the number of calls varies.
    found = [one.resource_id for one in splitting.read(OWN, listing, 1)]
    assert sorted(found) == sorted(listing.texts)
    assert listing.calls <= 2 * listing.pages + splitting.PARTS
    if "all in" in name or "barely long, in" in name:
        assert listing.calls == listing.pages
    if "short" in name:
        # One call asks whether the listing reaches far.
        assert listing.calls <= listing.pages + 1


def test_parts_of_a_long_listing_are_read_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        splitting, "codec", SimpleNamespace(decode=lambda _query, pages: tuple(row for page in pages for row in page))
    )
    listing, asked = Listing(TIMES["many in the same second on a few days"]), []

    def pages_of(query: Query) -> Iterator[Any]:
        asked.append(query.filters)
        return listing(query)

    splitting.read(OWN, pages_of, 4)
    # The first pages have one time only. Twice as many pages have two, and the days become parts.
    assert len(asked) > 5


@pytest.mark.parametrize("order", ["oldest first", "newest first"])
@pytest.mark.parametrize(("days", "divided"), [(50, True), (3, False)])
def test_listing_that_reaches_far_is_parted_after_few_pages(
    days: int, order: str, monkeypatch: pytest.MonkeyPatch, *, divided: bool
) -> None:
    """Two pages a day: of fifty days, or of the three days for which the policy keeps them."""
    monkeypatch.setattr(
        splitting, "codec", SimpleNamespace(decode=lambda _query, pages: tuple(row for page in pages for row in page))
    )
    listing, whole = Listing(sorted(spread(20, days, 0), reverse=order == "newest first")), []

    def pages_of(query: Query) -> Iterator[Any]:
        for page in listing(query):
            whole.append(query == OWN)
            yield page

    assert len(splitting.read(OWN, pages_of, 4)) == 20 * days
    assert sum(whole) == (splitting.EARLY + 1 if divided else listing.pages)
    # The call that asks how far the listing reaches is the only other one.
    assert divided or listing.calls <= listing.pages + 1


@pytest.mark.parametrize("order", ["oldest first", "newest first"])
def test_listing_that_covers_days_with_each_page_costs_no_question(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten pages, of five days each: as many as a policy of 200 volumes has after fifty days."""
    monkeypatch.setattr(
        splitting, "codec", SimpleNamespace(decode=lambda _query, pages: tuple(row for page in pages for row in page))
    )
    listing = Listing(sorted(spread(2, 50, 0), reverse=order == "newest first"))
    splitting.read(OWN, listing, 4)
    assert listing.calls == listing.pages == 10


# --- on the sandbox ---


@pytest.fixture
def _long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pages make a listing long, and one page makes a part."""
    monkeypatch.setattr(splitting, "LARGE", 2)
    monkeypatch.setattr(splitting, "PAGES", 1)


def seed(sandbox: Sandbox) -> None:
    """4,500 in all: daily snapshots of 30 volumes, copies, those of volumes long gone, and many of one moment."""
    now = datetime.now(UTC)
    common: dict[str, Any] = {"tags": {"backup": "daily"}}
    sandbox.seed(
        {
            "volumes": [{"name": f"db-{number}"} for number in range(30)],
            "snapshots": [
                {**common, "count": 2700, "volumes": [f"db-{number}" for number in range(30)]},
                {**common, "count": 600, "volumes": 300, "copied": True},
                {**common, "times": [(now - timedelta(days=40)).isoformat()], "volumes": 1200},
                {"count": 20, "volumes": ["db-1"]},
            ],
        }
    )


def unsplit(sandbox: Sandbox) -> set[str]:
    pages: Iterator[Any] = (
        sandbox.client("ec2", REGION)
        .get_paginator("describe_snapshots")
        .paginate(OwnerIds=["self"], Filters=[{"Name": "tag:backup", "Values": ["daily"]}])
    )
    return {one["SnapshotId"] for page in pages for one in page["Snapshots"]}


@pytest.mark.usefixtures("_long")
def test_parted_listing_equals_the_unsplit_one(sandbox: Sandbox) -> None:
    seed(sandbox)
    answer = sandbox_gateway(sandbox, REGION).ask([OWN])[OWN]
    found = [one.resource_id for one in answer]
    assert len(found) == len(set(found)) == 4500
    assert set(found) == unsplit(sandbox)
    parted = [entry for entry in sandbox.log(action="DescribeSnapshots") if "start-time" in str(entry["params"])]
    assert len(parted) >= 5


@pytest.mark.usefixtures("_long")
def test_listing_is_right_while_snapshots_come_and_go(sandbox: Sandbox) -> None:
    seed(sandbox)
    before = unsplit(sandbox)
    ec2 = sandbox.client("ec2", REGION)
    volumes = [volume["VolumeId"] for volume in ec2.describe_volumes()["Volumes"]]
    going = sorted(before)[::100]
    tags = [{"ResourceType": "snapshot", "Tags": [{"Key": "backup", "Value": "daily"}]}]

    def churn() -> None:
        for number, snapshot_id in enumerate(going):
            ec2.delete_snapshot(SnapshotId=snapshot_id)
            if number < len(volumes):
                ec2.create_snapshot(VolumeId=volumes[number], TagSpecifications=tags)

    thread = threading.Thread(target=churn)
    thread.start()
    found = [one.resource_id for one in sandbox_gateway(sandbox, REGION).ask([OWN])[OWN]]
    thread.join()
    assert len(found) == len(set(found))
    # The answer has all snapshots that existed the whole time, and otherwise only those that came or went.
    assert before - set(going) <= set(found) <= before | unsplit(sandbox)


@pytest.mark.usefixtures("_long")
def test_endpoint_without_wildcards_gets_the_unsplit_listing(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    seed(sandbox)
    monkeypatch.setattr(splitting, "partition", lambda *_given: (("nothing",), ("begins so",)))
    found = [one.resource_id for one in sandbox_gateway(sandbox, REGION).ask([OWN])[OWN]]
    assert len(found) == 4500
    assert set(found) == unsplit(sandbox)


def test_short_listing_is_read_as_it_is(sandbox: Sandbox) -> None:
    seed(sandbox)
    assert len(sandbox_gateway(sandbox, REGION).ask([OWN])[OWN]) == 4500
    assert len(sandbox.log(action="DescribeSnapshots")) == 5
