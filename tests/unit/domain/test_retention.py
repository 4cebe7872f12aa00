# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules of ``keep``: worked cases of other tools' rules, as ours decide them, and invariants of all decisions.

The cases V1 to V50 are those that restic, borg, sanoid and DLM publish or whose rules give them. If ours decide
differently, the case's id shows the other tool's decision.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.retention import (
    COUNTS,
    SPANS,
    UNLIMITED,
    Keep,
    decide,
    parse_keep,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.snapshot_sets import Candidate
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.times import parse_every, slot_start
from hypothesis import given, settings
from hypothesis import strategies as st

NOW = datetime(2026, 11, 23, 19, 0, tzinfo=UTC)
NEW_YORK, BERLIN, TOKYO, LORD_HOWE = "America/New_York", "Europe/Berlin", "Asia/Tokyo", "Australia/Lord_Howe"


def at(text: str) -> datetime:
    """The instant of an ISO text; UTC where it has no offset."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def snapshots(*times: str) -> list[Candidate]:
    """One candidate for each time, which is its key too."""
    return [Candidate(time, "vol", at(time), at(time)) for time in times]


def kept(candidates: Iterable[Candidate], now: datetime | str | None = None, /, **options: Any) -> list[str]:
    """The keys that are kept, the newest first, under these options; the first second after the newest is now."""
    candidates = list(candidates)
    moment = max(item.start_time for item in candidates) + timedelta(seconds=1) if now is None else now
    decisions = decide(candidates, parse_keep(options), at(moment) if isinstance(moment, str) else moment)
    return [key for key, reasons in decisions.items() if reasons]


def daily_run(first: str, days: int, **options: Any) -> Iterable[tuple[str, list[str]]]:
    """A snapshot a day, and the rules after each: the day, and the days that are left."""
    left: list[Candidate] = []
    for number in range(days):
        now = at(first) + timedelta(days=number)
        left.append(Candidate(now.isoformat(), "vol", now, now))
        decisions = decide(left, parse_keep(options), now)
        left = [item for item in left if decisions[item.key]]
        yield f"{now:%m-%d}", sorted(f"{item.moment:%m-%d}" for item in left)


# --- restic -----------------------------------------------------------------------------------------------------------

JANUARY = [
    f"2016-01-{time}"
    for time in (
        *("18T12:02:03", "12T21:08:03", "12T21:02:03", "09T21:02:03", "08T20:02:03", "07T10:02:03", "06T08:02:03"),
        *("05T09:02:03", "04T16:23:03", "04T12:30:03", "04T12:28:03", "04T12:24:03", "04T12:23:03", "04T11:23:03"),
        *("04T10:23:03", "03T07:02:03", "01T07:08:03", "01T01:03:03", "01T01:02:03"),
    )
]
# The entries before November 13, 2015 in the list of restic's tests have been made up here, so that all that is
# published of it holds: 103 snapshots, at 10:20:30, in these months, the last of each on the 22nd, the oldest of all on
# August 8, 2014, and as many ISO weeks as V11c finds.
LONG_MONTHS = ("22", "21", "20", "18", "15", "13T10:20:30.100000", "13", "12", "10", "08")
SHORT_MONTHS = ("22", "21", "20", "11", "10", "09", "08", "06", "05", "02", "01")
T = JANUARY + [
    f"{year}-{month}-{day}" if "T" in day else f"{year}-{month}-{day}T10:20:30"
    for year in (2015, 2014)
    for month, days in (("11", LONG_MONTHS), ("10", SHORT_MONTHS), ("09", SHORT_MONTHS), ("08", LONG_MONTHS))
    for day in days
]
OLDEST = T[-1]


def of_t(*beginnings: str) -> list[str]:
    """For each beginning the newest time of T that has it."""
    return [next(time for time in T if time.startswith(beginning)) for beginning in beginnings]


MONTHS = (
    "2015-11-22",
    "2015-10-22",
    "2015-09-22",
    "2015-08-22",
    "2014-11-22",
    "2014-10-22",
    "2014-09-22",
    "2014-08-22",
)
WEEKS = (
    *("2016-01-18", "2016-01-12", "2016-01-09", "2016-01-03", "2015-11-22", "2015-11-15", "2015-11-08", "2015-10-22"),
    *("2015-10-11", "2015-10-02", "2015-09-22", "2015-09-20", "2015-09-11", "2015-09-06", "2015-08-22", "2015-08-15"),
    *("2015-08-08", "2014-11-22", "2014-11-15"),
)
RESTIC = [
    ("V1", {"last": 10}, T[:10]),
    ("V2", {"daily": 3}, of_t("2016-01-18", "2016-01-12T21:08:03", "2016-01-09")),
    (
        "V3",
        {"hourly": 20},
        of_t(
            *("2016-01-18T12", "2016-01-12T21:08:03", "2016-01-09T21", "2016-01-08T20", "2016-01-07T10"),
            *("2016-01-06T08", "2016-01-05T09", "2016-01-04T16", "2016-01-04T12:30:03", "2016-01-04T11"),
            *("2016-01-04T10", "2016-01-03T07", "2016-01-01T07", "2016-01-01T01:03:03", "2015-11-22", "2015-11-21"),
            *("2015-11-20", "2015-11-18", "2015-11-15", "2015-11-13T10:20:30.1"),
        ),
    ),
    ("V4", {"last": 5, "daily": 5}, of_t(*JANUARY[:6])),
    ("V5", {"weekly": 4}, of_t("2016-01-18", "2016-01-12T21:08:03", "2016-01-09T21:02:03", "2016-01-03T07:02:03")),
    ("V6", {"daily": 2, "weekly": 2, "monthly": 6}, of_t("2016-01-18", "2016-01-12T21:08", *MONTHS[:5])),
    ("V7", {"yearly": 10}, [*of_t("2016-01-18", "2015-11-22", "2014-11-22"), OLDEST]),
    (
        "V8",
        {"daily": 7, "weekly": 2, "monthly": 3, "yearly": 10},
        [
            *of_t("2016-01-18", "2016-01-12", "2016-01-09", "2016-01-08", "2016-01-07", "2016-01-06", "2016-01-05"),
            *of_t("2015-11-22", "2015-10-22", "2014-11-22"),
            OLDEST,
        ],
    ),
    (
        "V9",
        {"daily": 3, "weekly": 2, "monthly": "unlimited", "yearly": UNLIMITED},
        [*of_t("2016-01-18", "2016-01-12", "2016-01-09", *MONTHS), OLDEST],
    ),
    ("V10", {"within": "7d"}, of_t("2016-01-18", "2016-01-12T21:08", "2016-01-12T21:02")),
    ("V11", {"within": "13d23h"}, T[:9]),
    (
        "V11b",
        {
            "within": "1h",
            "hourly_within": "1d",
            "daily_within": "7d",
            "weekly_within": "1m",
            "monthly_within": "1y",
            "yearly_within": "9999y",
        },
        [*of_t("2016-01-18", "2016-01-12T21:08", "2016-01-09", "2016-01-03", *MONTHS[:5]), OLDEST],
    ),
    ("V11c", {"weekly_within": "1y2m3d3h"}, of_t(*WEEKS)),
]


def test_the_long_list_is_as_published() -> None:
    assert len(T) == len(set(T)) == 103
    assert sorted(T, key=at, reverse=True) == T
    assert OLDEST == "2014-08-08T10:20:30"


@pytest.mark.parametrize("options, expected", [case[1:] for case in RESTIC], ids=[case[0] for case in RESTIC])
def test_long_list_is_decided_as_by_restic(options: dict[str, Any], expected: list[str]) -> None:
    assert kept(snapshots(*T), oldest=True, **options) == expected


@pytest.mark.parametrize("number, expected", [("V7", 3), ("V8", 10), ("V9", 11), ("V11b", 9)], ids=str)
def test_long_list_without_oldest_is_decided_as_by_restic(number: str, expected: int) -> None:
    options, with_oldest = next(case[1:] for case in RESTIC if case[0] == number)
    found = kept(snapshots(*T), **options)
    assert len(found) == expected and found == with_oldest[:-1]


def test_unlimited_rule_keeps_the_oldest() -> None:
    """V9: an unlimited rule never runs out, so it always keeps the oldest too."""
    options = next(case[1] for case in RESTIC if case[0] == "V9")
    reasons = decide(snapshots(*T), parse_keep({**options, "oldest": True}), at("2016-01-18T12:02:04"))
    assert reasons[OLDEST] == ("oldest monthly", "oldest yearly")
    assert reasons[T[0]] == ("daily 2016-01-18", "weekly 2016-W03", "monthly 2016-01", "yearly 2016", "newest")


MANUAL = [
    *(f"2025-04-{day}T11:00" for day in (21, 22, 23, 24, 25)),
    *("2025-04-25T23:00", "2025-04-28T11:00", "2025-04-29T11:00", "2025-05-01T11:00", "2025-05-02T11:00"),
    "2025-05-02T23:00",
]


@pytest.mark.parametrize(
    "options, days",
    [
        ({"daily": 5}, ["05-02T23", "05-01T11", "04-29T11", "04-28T11", "04-25T23"]),
        ({"daily_within": "7d"}, ["05-02T23", "05-01T11", "04-29T11", "04-28T11"]),
        ({"daily": 5, "oldest": True}, ["05-02T23", "05-01T11", "04-29T11", "04-28T11", "04-25T23"]),
        ({"daily_within": "7d", "oldest": True}, ["05-02T23", "05-01T11", "04-29T11", "04-28T11"]),
    ],
)
def test_example_of_restics_manual_is_decided_as_by_restic(options: dict[str, Any], days: list[str]) -> None:
    assert kept(snapshots(*MANUAL), **options) == [f"2025-{day}:00" for day in days]


HOUR = ["2026-03-02T10:05", "2026-03-02T10:20", "2026-03-02T10:50"]
YEAR_END = ["2020-12-28", "2020-12-31", "2021-01-03", "2021-01-04"]
ISO_YEAR = ["2024-12-29", "2024-12-30", "2025-01-05", "2025-01-06"]
NIGHT = ["2026-06-01T02:30Z", "2026-06-01T04:30Z"]
TWICE = ["2026-11-01T05:30Z", "2026-11-01T06:30Z"]
OFFSETS = ["2026-01-01T23:30-05:00", "2026-01-02T05:00+00:00"]


def case(number: str, times: Sequence[str], options: dict[str, Any], expected: Sequence[str]) -> Any:
    return pytest.param(times, options, sorted(expected, key=at, reverse=True), id=number)


@pytest.mark.parametrize(
    "times, options, expected",
    [
        case(
            "V14: strict, borg keeps all three",
            ["2026-01-01T00:00:00", "2026-01-01T00:00:01", "2026-01-08T00:00:00"],
            {"within": "7d"},
            ["2026-01-01T00:00:01", "2026-01-08T00:00:00"],
        ),
        case("V17", HOUR, {"hourly": 24, "oldest": True}, [HOUR[2], HOUR[0]]),
        case("V17 without oldest: restic adds 10:05", HOUR, {"hourly": 24}, [HOUR[2]]),
        case("V18: no free slot", HOUR, {"hourly": 1, "oldest": True}, [HOUR[2]]),
        case("V19: one in a coarser rule", HOUR, {"hourly": 1, "daily": 7, "oldest": True}, [HOUR[2], HOUR[0]]),
        case("V20", YEAR_END, {"weekly": 2, "oldest": True}, YEAR_END[2:]),
        case("V21", YEAR_END, {"weekly": 3, "oldest": True}, [YEAR_END[0], *YEAR_END[2:]]),
        case("V21 without oldest: restic adds 2020-12-28", YEAR_END, {"weekly": 3}, YEAR_END[2:]),
        case("V22", ISO_YEAR, {"weekly": 2}, ISO_YEAR[2:]),
        case("V24 in UTC", NIGHT, {"daily": 5, "oldest": True}, NIGHT),
        case("V24 in UTC without oldest: restic adds 02:30", NIGHT, {"daily": 5}, NIGHT[1:]),
        case("V24 in New York", NIGHT, {"daily": 5, "timezone": NEW_YORK}, NIGHT),
        case("V24 in Tokyo", NIGHT, {"daily": 5, "timezone": TOKYO}, NIGHT[1:]),
        case("V24 in Tokyo with oldest", NIGHT, {"daily": 5, "timezone": TOKYO, "oldest": True}, NIGHT),
        case("V25 in New York", TWICE, {"hourly": 5, "timezone": NEW_YORK}, TWICE[1:]),
        case("V25 in UTC", TWICE, {"hourly": 5}, TWICE),
        case("V26: one day in UTC, restic keeps both as days of their own", OFFSETS, {"daily": 2}, OFFSETS[1:]),
        case("V26 with oldest", OFFSETS, {"daily": 2, "oldest": True}, OFFSETS),
    ],
)
def test_corner_cases_are_decided_as_by_restic(times: list[str], options: dict[str, Any], expected: list[str]) -> None:
    assert kept(snapshots(*times), **options) == expected


FUTURE = snapshots("2026-01-01", "2026-01-02", "2026-02-01")


@pytest.mark.parametrize(
    "options, reasons",
    [
        pytest.param(
            {"daily": 1},
            {"2026-02-01": ("future",), "2026-01-02": ("daily 2026-01-02", "newest"), "2026-01-01": ()},
            id="V12: restic keeps the future one only",
        ),
        pytest.param(
            {"within": "12h"},
            {"2026-02-01": ("future",), "2026-01-02": ("within 12h", "newest"), "2026-01-01": ()},
            id="V13",
        ),
        pytest.param(
            {"daily": 7, "oldest": True},
            {
                "2026-02-01": ("future",),
                "2026-01-02": ("daily 2026-01-02", "newest"),
                "2026-01-01": ("daily 2026-01-01",),
            },
            id="V12 with more days",
        ),
    ],
)
def test_future_snapshot_does_not_count(options: dict[str, Any], reasons: dict[str, tuple[str, ...]]) -> None:
    assert decide(FUTURE, parse_keep(options), at("2026-01-02T12:00")) == reasons


def test_a_clock_may_be_off_by_a_minute() -> None:
    """Up to a minute ahead it is a snapshot like any other, and the reference is not later than now."""
    now = at("2026-01-02T12:00:00")
    times = ["2026-01-01T12:00:30", "2026-01-02T12:01:00"]
    assert kept(snapshots(*times), now, within="1d") == times[::-1]
    assert kept(snapshots(times[0], "2026-01-01T12:00:00", times[1]), now, within="1d") == times[::-1]
    later = snapshots(times[0], "2026-01-02T12:01:00.001")
    assert decide(later, parse_keep({"last": 1}), now) == {
        later[1].key: ("future",),
        later[0].key: ("last 1 of 1", "newest"),
    }
    slot_to_come = Candidate("slot", "vol", at("2026-01-03"), at("2026-01-02"))
    assert decide([slot_to_come], parse_keep({"last": 1}), now) == {"slot": ("future",)}


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"last": 2}, ["snap-3", "snap-2"]),
        ({"daily": 3}, ["snap-3"]),
        ({"daily": 3, "oldest": True}, ["snap-3", "snap-1"]),
    ],
    ids=["V23 last", "V23 daily without oldest", "V23 daily"],
)
def test_ties_are_decided_by_the_id(options: dict[str, Any], expected: list[str]) -> None:
    same = [Candidate(f"snap-{number}", "vol", NOW, NOW) for number in (2, 1, 3)]
    assert kept(same, **options) == expected


# --- borg -------------------------------------------------------------------------------------------------------------

ARCHIVES_2015 = [
    f"{at('2015-01-01T12:00') + timedelta(days=number):%Y-%m-%dT%H:%M}" for number in range(365) if number != 352
]


@pytest.mark.parametrize("oldest", [False, True])
def test_v30_daily_keeps_one_snapshot_a_day(oldest: bool) -> None:
    """borg keeps 21: what a finer rule keeps takes no slot of a coarser one, and the oldest is kept as yearly."""
    assert "2015-12-18T12:00" in ARCHIVES_2015 and "2015-12-19T12:00" not in ARCHIVES_2015
    days = [*range(31, 19, -1), 18, 17]
    found = kept(snapshots(*ARCHIVES_2015), "2016-01-01", daily=14, monthly=6, yearly=1, oldest=oldest)
    months = ("11-30", "10-31", "09-30", "08-31", "07-31")
    assert found == [f"2015-{day}T12:00" for day in (*(f"12-{day}" for day in days), *months)]
    assert len(found) == 19


def test_v31_intervals_keep_one_snapshot_each() -> None:
    """borg counts a month as 31 days, includes the boundary (05-28, 2025-12-31), counts weeks on past what daily keeps
    (05-10, 05-03), and keeps the oldest (2025-11-15) as yearly: 17 of the 18, all but 05-27."""
    times = [
        *("2025-11-15", "2025-12-31", "2026-01-31", "2026-02-28", "2026-03-30", "2026-04-30", "2026-05-03"),
        *("2026-05-10", "2026-05-17", "2026-05-23", "2026-05-27", "2026-05-28", "2026-05-29", "2026-05-30"),
        *("2026-05-31", "2026-06-01", "2026-06-02", "2026-06-04"),
    ]
    options = {"daily_within": "1w", "weekly": 4, "monthly_within": "5m", "yearly": 2, "reference": "now"}
    found = kept(snapshots(*(f"{day}T16:00" for day in times)), "2026-06-04T16:00", **options)
    daily = ["2026-06-04", "2026-06-02", "2026-06-01", "2026-05-31", "2026-05-30", "2026-05-29"]
    weekly = ["2026-05-23", "2026-05-17"]
    monthly = ["2026-04-30", "2026-03-30", "2026-02-28", "2026-01-31"]
    assert found == [f"{day}T16:00" for day in (*daily, *weekly, *monthly, "2025-12-31")]


V32 = [
    *("2015-01-01T10:00", "2016-01-01T10:00", "2017-01-01T10:00", "2017-02-01T10:00", "2017-03-01T10:00"),
    *("2017-03-02T10:00", "2017-03-03T10:00", "2017-03-04T10:00", "2017-10-01T09:45", "2017-10-01T09:55"),
    *("2017-10-01T10:00:01", "2017-10-01T10:00:03", "2017-10-01T10:00:05"),
]


@pytest.mark.parametrize(
    "options, places",
    [
        ({"yearly": 3}, [12, 1, 0]),
        ({"monthly": 3}, [12, 7, 3]),
        ({"weekly": 2}, [12, 7]),
        ({"daily": 3}, [12, 7, 6]),
        ({"hourly": 3}, [12, 9, 7]),
        ({"daily": -1}, [12, 7, 6, 5, 4, 3, 2, 1, 0]),
    ],
    ids=lambda value: f"V32 {value}" if isinstance(value, dict) else "",
)
def test_spans_are_read_as_by_borg(options: dict[str, Any], places: list[int]) -> None:
    assert kept(snapshots(*V32), **options) == [V32[place] for place in places]


@pytest.mark.parametrize(
    "count, expected",
    [(3, ["2019-12-31", "2018-12-31", "2018-01-01"]), (2, ["2019-12-31", "2018-12-31"])],
    ids=["V33 yearly 3", "V33 yearly 2"],
)
def test_oldest_is_kept_as_by_borg(count: int, expected: list[str]) -> None:
    times = ["2018-01-01", "2018-12-30", "2018-12-31", "2019-12-31"]
    assert kept(snapshots(*times), yearly=count, oldest=True) == expected


def test_v34_quarters_are_calendar_quarters() -> None:
    """borg's 3-monthly. The 13-weekly rule of borg keeps 2020-12-06, 2021-01-03, 03-28, 07-04, 10-03 and 2022-01-02."""
    times = [
        *("2020-12-06", "2021-01-03", "2021-03-28", "2021-04-25", "2021-06-27", "2021-07-04", "2021-09-26"),
        *("2021-10-03", "2021-12-26", "2022-01-02"),
    ]
    expected = ["2022-01-02", "2021-12-26", "2021-09-26", "2021-06-27", "2021-03-28", "2020-12-06"]
    assert kept(snapshots(*times), quarterly=99) == expected
    reasons = decide(snapshots(*times), parse_keep({"quarterly": 2}), at("2022-01-02"))
    assert reasons["2021-12-26"] == ("quarterly 2021-Q4",)


@pytest.mark.parametrize("oldest", [False, True])
def test_v35_the_newest_takes_the_only_monthly_slot(oldest: bool) -> None:
    """borg keeps the very first as monthly until 2020-10-07, since what daily keeps takes no slot there."""
    left = dict(daily_run("2020-09-01T12:00", 40, daily=7, monthly=1, oldest=oldest))
    assert left["10-06"] == ["09-30", "10-01", "10-02", "10-03", "10-04", "10-05", "10-06"]
    assert left["09-07"][0] == "09-01" and left["09-08"][0] == "09-02"


def test_v36_first_is_kept_while_monthly_has_a_free_slot() -> None:
    """borg keeps 01-01 until 04-06; by restic's rule the third month takes the last slot on 03-01."""
    left = dict(daily_run("2024-01-01T12:00", 110, daily=6, monthly=3, oldest=True))
    assert left["02-29"][:2] == ["01-01", "01-31"] and left["03-01"][0] == "01-31"
    assert left["04-01"][:2] == ["02-29", "03-27"]
    assert dict(daily_run("2024-01-01T12:00", 110, daily=6, monthly=3))["02-29"][0] == "01-31"


def test_v36_first_is_kept_while_the_span_covers_it() -> None:
    """borg lets it go on 04-04, as its boundary is inclusive; 93 days after 01-01 is 04-03."""
    options = {"daily_within": "6d", "monthly_within": "93d", "reference": "now", "oldest": True}
    left = dict(daily_run("2024-01-01T12:00", 110, **options))
    assert left["04-02"][:2] == ["01-01", "01-31"] and left["04-03"][0] == "01-31"


def test_v37_future_snapshot_takes_no_day() -> None:
    times = ["2024-06-06T13:00", "2024-06-06T11:00", "2024-06-05T12:00"]
    assert kept(snapshots(*times), "2024-06-06T12:00", daily=1) == times[:2]


@pytest.mark.parametrize("oldest", [False, True])
def test_v38_last_and_monthly_share_snapshots(oldest: bool) -> None:
    """borg keeps 01-31 too, as its monthly rule starts below what `last` keeps."""
    days = [f"{at('2026-01-01') + timedelta(days=number):%Y-%m-%d}" for number in range(69)]
    assert kept(snapshots(*days), last=3, monthly=2, oldest=oldest) == [*days[:-4:-1], "2026-02-28"]


# --- sanoid and DLM ---------------------------------------------------------------------------------------------------


def test_v40_dense_snapshots_follow_the_rules() -> None:
    days = [f"{at('2026-01-01') + timedelta(days=number):%Y-%m-%d}" for number in range(69)]
    found = kept(snapshots(*days), "2026-03-11", daily=30)
    assert len(found) == 30 and found[-1] == "2026-02-09"


def test_v41_sparse_snapshots_follow_the_rules() -> None:
    """As in sanoid, a count applies to existing snapshots. Only a span deletes snapshots for their age."""
    times = ["2026-01-20", "2026-01-30", "2026-02-09", "2026-02-19", "2026-03-01"]
    assert kept(snapshots(*times), "2026-03-11", daily=3) == times[:1:-1]
    assert kept(snapshots(*times), "2026-03-11", daily_within="3d") == times[-1:]
    assert kept(snapshots(*times), "2026-03-11", daily_within="3d", reference="now") == times[-1:]


def test_v42_burst_of_snapshots_follows_the_rules() -> None:
    """sanoid keeps all ten, as none is three days old. Ours keeps the newest of the day; `within` keeps all."""
    times = [f"2026-03-10T{hour:02}:00" for hour in range(10)]
    assert kept(snapshots(*times), "2026-03-11", daily=3) == times[-1:]
    assert kept(snapshots(*times), "2026-03-11", daily=3, within="3d") == times[::-1]


def test_v50_the_newest_is_held_until_the_next() -> None:
    """Monthly snapshots under 7 days of age: as DLM, the last stays until there is another."""
    times = ["2026-01-01", "2026-02-01", "2026-03-01"]
    for reference in ("latest", "now"):
        decisions = decide(snapshots(*times), parse_keep({"within": "7d", "reference": reference}), at("2026-03-31"))
        assert [key for key, reasons in decisions.items() if reasons] == ["2026-03-01"]
        assert decisions["2026-03-01"] == (("within 7d", "newest") if reference == "latest" else ("newest",))


# --- Our own ----------------------------------------------------------------------------------------------------------


def test_every_reason_has_its_words() -> None:
    times = ["2026-10-01T10:00", "2026-11-23T15:10", "2026-11-23T15:40"]
    counts = {**dict.fromkeys(COUNTS, 7), "yearly": -1, "last": "unlimited"}
    spans = dict.fromkeys(SPANS, "24h")
    keep = parse_keep({**counts, **spans, "timezone": BERLIN, "oldest": True, "monthly": 3, "hourly_within": " 1 m1 y"})
    reasons = decide(snapshots(*times), keep, NOW)
    assert reasons[times[2]] == (
        *("last 1 of unlimited", "hourly 2026-11-23 16h", "daily 2026-11-23", "weekly 2026-W48", "monthly 2026-11"),
        *("quarterly 2026-Q4", "yearly 2026", "within 24h", "hourly_within 1m1y 2026-11-23 16h"),
        *("daily_within 24h 2026-11-23", "weekly_within 24h 2026-W48", "monthly_within 24h 2026-11"),
        *("quarterly_within 24h 2026-Q4", "yearly_within 24h 2026", "newest"),
    )
    assert reasons[times[1]] == ("last 2 of unlimited", "within 24h")
    assert reasons[times[0]] == (
        *("last 3 of unlimited", "hourly 2026-10-01 12h", "daily 2026-10-01", "weekly 2026-W40", "monthly 2026-10"),
        *("oldest quarterly", "oldest yearly", "hourly_within 1m1y 2026-10-01 12h"),
    )
    span_oldest = decide(snapshots(*times), parse_keep({"yearly_within": "1y", "oldest": True, "last": 2}), NOW)
    assert span_oldest[times[0]] == ("oldest yearly_within 1y",)
    assert span_oldest[times[1]] == ("last 2 of 2",)


def test_the_reference_may_be_now() -> None:
    """A stopped job does not delete its own history, unless the user asks for that."""
    times = ["2026-11-01", "2026-11-02", "2026-11-03"]
    assert kept(snapshots(*times), NOW, within="2d") == ["2026-11-03", "2026-11-02"]
    assert kept(snapshots(*times), NOW, within="2d", reference="now") == ["2026-11-03"]


def test_months_of_a_span_are_counted_in_the_zone() -> None:
    """Midnight of April 1 in Berlin is March 31 in UTC: a month before is March 1 there, and February 28 here."""
    times = ["2026-02-28T22:30", "2026-02-28T23:30", "2026-03-31T22:00"]
    assert kept(snapshots(*times), within="1m") == times[::-1]
    assert kept(snapshots(*times), within="1m", timezone=BERLIN) == times[:0:-1]


@pytest.mark.parametrize(
    "zone, times, expected",
    [
        (BERLIN, ["2026-10-25T00:10Z", "2026-10-25T00:50Z", "2026-10-25T01:30Z", "2026-10-25T02:10Z"], [3, 2]),
        (BERLIN, ["2026-03-29T00:10Z", "2026-03-29T00:50Z", "2026-03-29T01:10Z", "2026-03-29T01:50Z"], [3, 1]),
        (NEW_YORK, ["2026-11-01T04:59Z", "2026-11-01T05:00Z", "2026-11-01T06:59Z", "2026-11-01T07:00Z"], [3, 2, 0]),
        (NEW_YORK, ["2026-03-08T06:10Z", "2026-03-08T06:59Z", "2026-03-08T07:00Z", "2026-03-08T07:59Z"], [3, 1]),
        (LORD_HOWE, ["2026-04-04T13:59Z", "2026-04-04T14:00Z", "2026-04-04T15:29Z", "2026-04-04T15:30Z"], [3, 2, 0]),
        (LORD_HOWE, ["2026-10-03T15:00Z", "2026-10-03T15:29Z", "2026-10-03T15:30Z", "2026-10-03T15:59Z"], [3, 1]),
    ],
)
def test_hours_are_those_of_the_wall_clock(zone: str, times: list[str], expected: list[int]) -> None:
    """The hour that occurs twice is one bucket, as in V25; one that is left out has none."""
    assert kept(snapshots(*times), hourly=99, timezone=zone) == [times[place] for place in expected]


def test_the_place_of_a_snapshot_is_that_of_its_slot() -> None:
    """A snapshot's slot gives its bucket, age and reference, however late its start, and StartTime gives the order."""
    late = Candidate("late", "vol", at("2026-11-22"), at("2026-11-23T00:05"))
    adopted = Candidate("adopted", "vol", at("2026-11-22T15:00"), at("2026-11-22T15:00"))
    today = Candidate("today", "vol", at("2026-11-23"), at("2026-11-23T18:59"))
    planned = dataclasses.replace(today, key="(new snapshot vol/today)", start_time=NOW)
    for newest in (today, planned):
        reasons = decide([adopted, newest, late], parse_keep({"daily": 2, "within": "24h"}), NOW)
        assert reasons == {
            newest.key: ("daily 2026-11-23", "within 24h", "newest"),
            "late": ("daily 2026-11-22",),
            "adopted": ("within 24h",),
        }


def test_the_newest_buckets_are_those_of_the_calendar() -> None:
    """Of two hours the later one counts, however late its snapshot was taken."""
    late = Candidate("late", "vol", at("2026-11-22T00:00"), at("2026-11-22T23:59"))
    adopted = Candidate("adopted", "vol", at("2026-11-22T15:00"), at("2026-11-22T15:00"))
    older = Candidate("older", "vol", at("2026-11-22T14:00"), at("2026-11-22T14:00"))
    assert decide([late, adopted, older], parse_keep({"hourly": 1, "hourly_within": "12h"}), NOW) == {
        "late": ("hourly_within 12h 2026-11-22 00h", "newest"),
        "adopted": ("hourly 2026-11-22 15h", "hourly_within 12h 2026-11-22 15h"),
        "older": ("hourly_within 12h 2026-11-22 14h",),
    }


def test_age_of_the_newest_of_a_bucket_decides() -> None:
    """The last snapshot of a day may stand for a slot that is too old, and no other one takes its place."""
    times = ["2026-11-23T12:00", "2026-11-22T15:00"]
    late = Candidate("late", "vol", at("2026-11-22"), at("2026-11-22T23:59"))
    assert kept([*snapshots(*times), late], NOW, daily_within="24h") == times[:1]
    assert kept([*snapshots(*times), late], NOW, daily_within="37h") == [times[0], "late"]


def test_buckets_have_documented_labels() -> None:
    months = [f"2026-{month:02}-01" for month in range(1, 13)]
    decisions = decide(snapshots(*months), parse_keep({"monthly": -1, "hourly": -1, "weekly": -1}), at("2026-12-02"))
    assert [decisions[time][2] for time in months] == [f"monthly 2026-{month:02}" for month in range(1, 13)]
    assert decisions["2026-01-01"][:2] == ("hourly 2026-01-01 00h", "weekly 2026-W01")
    for first in (1, 2, 3):
        some = snapshots(*months[first - 1 :: 3])
        quarters = decide(some, parse_keep({"quarterly": 4}), at("2026-12-02"))
        assert [reasons[0] for reasons in quarters.values()] == [f"quarterly 2026-Q{number}" for number in (4, 3, 2, 1)]
    assert decide(snapshots("2027-01-01"), parse_keep({"weekly": 1}), at("2027-01-02")) == {
        "2027-01-01": ("weekly 2026-W53", "newest")
    }


def test_groups_are_decided_each_for_itself() -> None:
    old = [Candidate(f"old-{day}", "vol-old", at(f"2026-01-0{day}"), at(f"2026-01-0{day}")) for day in (1, 2, 3)]
    new = [Candidate(f"new-{day}", "vol-new", at(f"2026-11-0{day}"), at(f"2026-11-0{day}")) for day in (1, 2, 3)]
    assert kept([*old, *new], NOW, daily=2) == ["new-3", "new-2", "old-3", "old-2"]


def test_no_candidates_give_no_decisions() -> None:
    assert decide([], parse_keep({"last": 1}), NOW) == {}


def test_two_candidates_with_one_key_are_refused() -> None:
    one = Candidate("snap-1", "vol-1", NOW, NOW)
    with pytest.raises(ValueError, match="one key"):
        decide([one, dataclasses.replace(one, group="vol-2")], parse_keep({"last": 1}), NOW)


# --- Reading the rules ------------------------------------------------------------------------------------------------


def test_given_rules_are_read() -> None:
    nothing = dict.fromkeys((*COUNTS, *SPANS, "timezone", "reference", "oldest"))
    keep = parse_keep(
        {**nothing, "yearly": "12", "last": 3, "daily": "-1", "hourly": "unlimited", "weekly_within": "1m"}
    )
    assert list(keep.counts.items()) == [("last", 3), ("hourly", -1), ("daily", -1), ("yearly", 12)]
    assert {name: (span.months, span.text) for name, span in keep.spans.items()} == {"weekly_within": (1, "1m")}
    assert (keep.zone, keep.reference, keep.oldest) == (UTC, "latest", False)
    other = parse_keep({"within": "1d", "timezone": BERLIN, "reference": "now", "oldest": True})
    assert (other.zone, other.reference, other.oldest) == (ZoneInfo(BERLIN), "now", True)


COUNT = "is not a number of snapshots. Use a number from 1, or unlimited (-1), or remove the rule"
SPAN = "is not a span of time. Use a number from 1 with min, h, d, w, m (months) or y, such as 7d or 1y6m."


@pytest.mark.parametrize(
    "options, message",
    [
        *(({"daily": value}, f"keep.daily: {value!r} {COUNT}") for value in (0, "0", -2, True, False, 1.5, "x", "")),
        ({"last": "3 "}, f"keep.last: '3 ' {COUNT}"),
        ({"yearly": [1]}, f"keep.yearly: [1] {COUNT}"),
        ({"within": "0d"}, f"keep.within: '0d' {SPAN}"),
        ({"within": 7}, f"keep.within: 7 {SPAN}"),
        ({"hourly_within": "90s"}, f"keep.hourly_within: '90s' {SPAN}"),
        ({"last": 1, "reference": "newest"}, "keep.reference: 'newest' is unknown. Use one of latest, now"),
        ({"last": 1, "oldest": "yes"}, "keep.oldest: 'yes' is not a boolean. Use true or false"),
        (
            {"last": 1, "timezone": 1},
            "keep.timezone: 1 is not a time zone. Use UTC, or an IANA name such as Europe/Berlin",
        ),
        (
            {"last": 1, "timezone": "Berlin"},
            "keep.timezone: 'Berlin' is not a time zone. Use UTC, or an IANA name such as Europe/Berlin.",
        ),
        ({"last": 1, "dayly": 7}, f"keep.dayly: is unknown. Use {', '.join(COUNTS)}, within, "),
        (
            {},
            "keep: has no rule, so it would keep only the newest of all snapshots. Use at least one of last, ",
        ),
        ({"last": None, "timezone": "UTC", "oldest": True}, "keep: has no rule, "),
    ],
)
def test_invalid_rule_is_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=f"^{re.escape(message)}"):
        parse_keep(options)
    if options:
        with pytest.raises(SpecError, match=rf"^copies\[0\]\.{re.escape(message)}"):
            parse_keep(options, "copies[0].keep")


# --- What always holds ------------------------------------------------------------------------------------------------

LENGTHS = ("20min", "1h", "5h", "1d", "7d", "1m", "3m", "1y", "9999y")
ZONES = ("UTC", BERLIN, NEW_YORK, LORD_HOWE)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(COUNTS, st.sampled_from([1, 2, 3, 5, -1])),
        **dict.fromkeys(SPANS, st.sampled_from(LENGTHS)),
        "timezone": st.sampled_from(ZONES),
        "reference": st.sampled_from(["latest", "now"]),
        "oldest": st.booleans(),
    },
).filter(lambda options: any(name in options for name in (*COUNTS, *SPANS)))
# Minutes before now: days around the end of summer time in Berlin and New York, two years, and a little in the future.
MINUTES = st.one_of(st.integers(-3, 60 * 24 * 3), st.integers(20 * 1440, 32 * 1440), st.integers(0, 2 * 365 * 1440))


def candidates_of(rows: Sequence[tuple[int, int, str]], every: str | None) -> list[Candidate]:
    """Rows of the minutes before now, a number for the id, and the group. With *every*, some carry their slot."""
    found = []
    for place, (minutes, number, group) in enumerate(rows):
        started = NOW - timedelta(minutes=minutes)
        slot = slot_start(parse_every(every), started, ZoneInfo(BERLIN)) if every and number % 3 else started
        found.append(Candidate(f"snap-{number:03}-{place:03}", group, slot, started))
    return found


ROWS = st.lists(st.tuples(MINUTES, st.integers(0, 99), st.sampled_from(["vol-1", "vol-2"])), max_size=40)
CANDIDATES = st.builds(candidates_of, ROWS, st.sampled_from([None, "1h", "24h", "1w"]))


def kept_keys(candidates: Iterable[Candidate], options: Mapping[str, Any]) -> set[str]:
    return {key for key, reasons in decide(candidates, parse_keep(options), NOW).items() if reasons}


@given(CANDIDATES, OPTIONS, st.randoms(use_true_random=False))
@settings(deadline=None)
def test_each_candidate_is_kept_or_deleted_in_any_order(
    candidates: list[Candidate], options: dict[str, Any], random: Any
) -> None:
    decisions = decide(candidates, parse_keep(options), NOW)
    assert sorted(decisions) == sorted(item.key for item in candidates)
    assert all(len(reasons) == len(set(reasons)) for reasons in decisions.values())
    shuffled = random.sample(candidates, len(candidates))
    assert list(decide(shuffled, parse_keep(options), NOW).items()) == list(decisions.items())


@given(CANDIDATES, OPTIONS)
@settings(deadline=None)
def test_the_newest_of_each_group_is_kept(candidates: list[Candidate], options: dict[str, Any]) -> None:
    decisions = decide(candidates, parse_keep(options), NOW)
    for group in {item.group for item in candidates}:
        members = [item for item in candidates if item.group == group]
        newest = max(members, key=lambda item: (item.start_time, item.key))
        assert decisions[newest.key]
        real = [item for item in members if item.start_time <= NOW + timedelta(minutes=1)]
        named = [item for item in members if "newest" in decisions[item.key]]
        assert named == ([max(real, key=lambda item: (item.start_time, item.key))] if real else [])
        assert all(decisions[item.key] == ("future",) for item in members if item not in real)


@given(CANDIDATES, OPTIONS)
@settings(deadline=None)
def test_deciding_again_deletes_nothing(candidates: list[Candidate], options: dict[str, Any]) -> None:
    left = kept_keys(candidates, options)
    assert kept_keys([item for item in candidates if item.key in left], options) == left


@given(CANDIDATES, OPTIONS, OPTIONS)
@settings(deadline=None)
def test_another_rule_deletes_nothing_more(
    candidates: list[Candidate], options: dict[str, Any], more: dict[str, Any]
) -> None:
    rules = {name: value for name, value in more.items() if name in (*COUNTS, *SPANS)}
    assert kept_keys(candidates, options) <= kept_keys(candidates, {**rules, **options})
    assert kept_keys(candidates, {**options, "oldest": False}) <= kept_keys(candidates, {**options, "oldest": True})


@given(CANDIDATES, OPTIONS, st.integers(1, 9))
@settings(deadline=None)
def test_a_higher_count_or_a_longer_span_deletes_nothing_more(
    candidates: list[Candidate], options: dict[str, Any], more: int
) -> None:
    raised = {}
    for name, value in options.items():
        if name in COUNTS:
            raised[name] = value if value == -1 else -1 if more == 9 else value + more
        elif name in SPANS:
            raised[name] = LENGTHS[min(LENGTHS.index(value) + more, len(LENGTHS) - 1)]
        else:
            raised[name] = value
    assert kept_keys(candidates, options) <= kept_keys(candidates, raised)


@given(CANDIDATES, OPTIONS)
@settings(deadline=None)
def test_a_group_does_not_see_another(candidates: list[Candidate], options: dict[str, Any]) -> None:
    apart: dict[str, tuple[str, ...]] = {}
    for group in ("vol-1", "vol-2"):
        apart |= decide([item for item in candidates if item.group == group], parse_keep(options), NOW)
    assert decide(candidates, parse_keep(options), NOW) == apart


BUCKETS: Mapping[str, Callable[[datetime], object]] = {
    "hourly": lambda local: (local.date(), local.hour),
    "daily": lambda local: local.date(),
    "weekly": lambda local: local.isocalendar()[:2],
    "monthly": lambda local: (local.year, local.month),
    "quarterly": lambda local: (local.year, (local.month - 1) // 3),
    "yearly": lambda local: local.year,
}


def restics_way(candidates: Sequence[Candidate], keep: Keep) -> set[str]:
    """restic's own way to the same answer, one group without slots: one walk from the newest, counting down."""
    ordered = sorted(candidates, key=lambda item: (item.start_time, item.key), reverse=True)
    reference = ordered[0].moment if keep.reference == "latest" else NOW
    chosen = {ordered[0].key}
    for name in (*keep.counts, *keep.spans):
        slots, previous = keep.counts.get(name, UNLIMITED), None
        cutoff = keep.spans[name].before(reference, keep.zone) if name in keep.spans else None
        bucket = BUCKETS.get(name.removesuffix("_within"))
        for item in ordered:
            value = item.key if bucket is None else bucket(item.moment.astimezone(keep.zone))
            extra = keep.oldest and item is ordered[-1]
            if slots and (cutoff is None or item.moment > cutoff) and (value != previous or extra):
                chosen.add(item.key)
                slots, previous = slots - 1 if slots > 0 else slots, value
    return chosen


@given(st.lists(st.tuples(MINUTES.filter(lambda minutes: minutes >= 0), st.integers(0, 99)), min_size=1), OPTIONS)
@settings(deadline=None)
def test_decisions_equal_restics_walk(rows: list[tuple[int, int]], options: dict[str, Any]) -> None:
    candidates = candidates_of([(*row, "vol-1") for row in rows], None)
    assert kept_keys(candidates, options) == restics_way(candidates, parse_keep(options))


# --- Many -------------------------------------------------------------------------------------------------------------


class CountingZone(tzinfo):
    """An hour ahead of UTC, and how often it was asked for a time."""

    conversions = 0

    def utcoffset(self, _moment: datetime | None) -> timedelta:
        return timedelta(hours=1)

    def dst(self, _moment: datetime | None) -> timedelta:
        return timedelta()

    def fromutc(self, dt: datetime) -> datetime:
        self.conversions += 1
        return super().fromutc(dt)


def test_hundred_thousand_snapshots_are_converted_once_each() -> None:
    """2000 volumes with a snapshot an hour for 50 hours, under all the rules there are."""
    zone = CountingZone()
    options = {**dict.fromkeys(COUNTS, 3), **dict.fromkeys(SPANS, "1d"), "last": 1, "within": "1h"}
    keep = dataclasses.replace(parse_keep(options), zone=zone)
    hours = [NOW - timedelta(hours=number) for number in range(50)]
    many = [
        Candidate(f"snap-{volume:04}-{number:02}", f"vol-{volume:04}", hour, hour)
        for volume in range(2000)
        for number, hour in enumerate(hours)
    ]
    decisions = decide(many, keep, NOW)
    # Counted from 19:00 UTC, 20:00 in the zone: 24 hours, two more days.
    assert [sum(bool(reasons) for reasons in decisions.values()), len(decisions)] == [2000 * 25, 100_000]
    assert zone.conversions == 100_000
