# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Spans with months in them, and slots on a wall clock that is put forward and back."""

from __future__ import annotations

import re
import sys
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.times import (
    EARLIEST,
    EVERY,
    Every,
    parse_calendar_span,
    parse_every,
    parse_slot,
    parse_span,
    slot_start,
    slot_value,
    time_zone,
)
from hypothesis import given, settings
from hypothesis import strategies as st

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"
# Clocks that change at midnight, just after it (back into the day before), and by half an hour.
SANTIAGO, HAVANA, ST_JOHNS = "America/Santiago", "America/Havana", "America/St_Johns"
CHANGES = {
    (BERLIN, "2026-03-29T01:00Z"): "forward from 02:00 to 03:00",
    (BERLIN, "2026-10-25T01:00Z"): "back from 03:00 to 02:00",
    (NEW_YORK, "2026-03-08T07:00Z"): "forward from 02:00 to 03:00",
    (NEW_YORK, "2026-11-01T06:00Z"): "back from 02:00 to 01:00",
    (LORD_HOWE, "2026-10-03T15:30Z"): "forward from 02:00 to 02:30",
    (LORD_HOWE, "2026-04-04T15:00Z"): "back from 02:00 to 01:30",
    (SANTIAGO, "2026-09-06T04:00Z"): "forward from 00:00 to 01:00",
    (HAVANA, "2026-11-01T05:00Z"): "back from 01:00 to 00:00",
    (ST_JOHNS, "2010-11-07T02:31Z"): "back from 00:01 to 23:01 of the day before",
    ("UTC", "2026-03-01T00:00Z"): "never",
}


def at(text: str) -> datetime:
    """The instant of an ISO text; UTC where it has no offset."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# --- Calendar spans ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "span, moment, zone, expected",
    [
        ("30min", "2026-11-23T12:00Z", "UTC", "2026-11-23T11:30Z"),
        ("1h30min", "2026-11-23T12:00Z", "UTC", "2026-11-23T10:30Z"),
        (" 2 w 1d ", "2026-11-23T12:00Z", "UTC", "2026-11-08T12:00Z"),
        ("1y2m3d3h", "2016-01-18T12:02:03Z", "UTC", "2014-11-15T09:02:03Z"),
        ("3h3d2m1y", "2016-01-18T12:02:03Z", "UTC", "2014-11-15T09:02:03Z"),
        ("1m1m", "2026-04-30T12:00Z", "UTC", "2026-02-28T12:00Z"),
        ("18m", "2026-03-31T12:00Z", "UTC", "2024-09-30T12:00Z"),
        pytest.param("1m", "2026-03-31T12:00Z", "UTC", "2026-02-28T12:00Z", id="V15: restic counts to March 3"),
        pytest.param("1m", "2024-03-31T12:00Z", "UTC", "2024-02-29T12:00Z", id="V15 in 2024: restic counts to March 2"),
        pytest.param("1y", "2024-02-29T12:00Z", "UTC", "2023-02-28T12:00Z", id="V16: restic counts to March 1"),
        pytest.param("1d", "2026-03-29T12:00Z", BERLIN, "2026-03-28T12:00Z", id="a day is 24 hours in every zone"),
        pytest.param("1m", "2026-04-15T10:00Z", BERLIN, "2026-03-15T11:00Z", id="12:00 stays 12:00 across the change"),
        pytest.param("1m", "2026-03-31T22:30Z", BERLIN, "2026-02-28T23:30Z", id="April 1 in the zone: March 1 there"),
        pytest.param("1m", "2026-04-29T00:30Z", BERLIN, "2026-03-29T00:30Z", id="a time never shown: the earlier one"),
        pytest.param("1m", "2026-11-25T01:30Z", BERLIN, "2026-10-25T00:30Z", id="a time shown twice: the first"),
    ],
)
def test_span_is_counted_back_from_a_moment(span: str, moment: str, zone: str, expected: str) -> None:
    assert parse_calendar_span(span, "within").before(at(moment), time_zone(zone, "timezone")) == at(expected)


@pytest.mark.parametrize("zone", ["UTC", NEW_YORK, "Pacific/Kiritimati"])
@pytest.mark.parametrize(
    "span", ["9999y", "2026y", "2025y11m", "999999999999999999m", "999999999999999999w", "9999y9999y", "800000d"]
)
def test_span_beyond_the_calendar_reaches_back_to_its_start(span: str, zone: str) -> None:
    cutoff = parse_calendar_span(span, "within").before(at("2026-11-23T12:00Z"), time_zone(zone, "timezone"))
    assert EARLIEST <= cutoff < at("0002-01-01")


@pytest.mark.parametrize(
    "value",
    [
        *("", " ", "7", 7, None, True, "d", "7days", "1mo", "1.5d", "-1d", "0d", "0y0m", "1d,2h", "1d x", "90s", "1D"),
        *("\N{ARABIC-INDIC DIGIT THREE}d", "9" * 19 + "d", "9" * 5000 + "d"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_invalid_span_is_refused_by_name(value: object) -> None:
    with pytest.raises(SpecError, match=r"^keep\.within: .* is not a span of time\. .* 7d or 1y6m\.$"):
        parse_calendar_span(value, "keep.within")


def test_span_is_shown_as_written() -> None:
    assert parse_calendar_span(" 1y 2m\t3d ", "within").text == "1y2m3d"


def test_spans_of_fixed_length_are_read() -> None:
    assert parse_span("1h 30min", "older_than") == timedelta(minutes=90)
    assert parse_span("90s", "older_than") == timedelta(seconds=90)
    with pytest.raises(SpecError, match="older_than: '1m'"):
        parse_span("1m", "older_than")


# --- Zones ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["", "Mars/Olympus", "Europe", "../Europe/Berlin", "/etc/localtime", "Europe/Berlin/", "tzdata.zi", "\udc80"],
)
def test_an_unknown_zone_is_refused_by_name(name: str) -> None:
    told = f"keep.timezone: {name!r} is not a time zone. Use UTC, or an IANA name such as Europe/Berlin."
    text = f"^{re.escape(told)}$"
    with pytest.raises(SpecError, match=text):
        time_zone(name, "keep.timezone")


@pytest.fixture
def no_tzdata(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A node without zone data: neither the system's nor Python's package."""
    for name in ["tzdata", *(name for name in sys.modules if name.startswith("tzdata."))]:
        monkeypatch.setitem(sys.modules, name, None)
    path = zoneinfo.TZPATH
    zoneinfo.reset_tzpath(())
    ZoneInfo.clear_cache()
    yield
    zoneinfo.reset_tzpath(path)
    ZoneInfo.clear_cache()


@pytest.mark.usefixtures("no_tzdata")
def test_node_without_zone_data_accepts_utc_alone() -> None:
    assert time_zone("UTC", "keep.timezone") is UTC
    with pytest.raises(SpecError, match=r"keep\.timezone: 'Europe/Berlin' is unknown, .* no time zone data.* tzdata"):
        time_zone("Europe/Berlin", "keep.timezone")


# --- Slots ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "every, moment, zone, expected",
    [
        ("5min", "2026-11-23T12:34:56.789Z", "UTC", "2026-11-23T12:30+00:00"),
        ("20min", "2026-11-23T12:59Z", "UTC", "2026-11-23T12:40+00:00"),
        ("1h", "2026-11-23T12:34Z", "Asia/Kolkata", "2026-11-23T18:00+05:30"),
        ("8h", "2026-11-23T23:59:59.999Z", "UTC", "2026-11-23T16:00+00:00"),
        ("24h", "2026-11-23T23:30Z", BERLIN, "2026-11-24T00:00+01:00"),
        ("1d", "2026-11-23T22:30Z", BERLIN, "2026-11-23T00:00+01:00"),
        ("1d", "2026-11-24T00:00Z", "UTC", "2026-11-24T00:00+00:00"),
        ("1w", "2026-11-29T23:59Z", "UTC", "2026-11-23T00:00+00:00"),
        ("1w", "2027-01-01T12:00Z", "UTC", "2026-12-28T00:00+00:00"),
        ("1w", "2026-11-02T12:00Z", NEW_YORK, "2026-11-02T00:00-05:00"),
        ("1w", "2026-11-01T12:00Z", NEW_YORK, "2026-10-26T00:00-04:00"),
        ("1m", "2026-11-30T23:30Z", "UTC", "2026-11-01T00:00+00:00"),
        ("1m", "2026-11-30T23:30Z", BERLIN, "2026-12-01T00:00+01:00"),
        ("1m", "2026-11-15T12:00Z", NEW_YORK, "2026-11-01T00:00-04:00"),
    ],
)
def test_moment_belongs_to_its_slot(every: str, moment: str, zone: str, expected: str) -> None:
    assert slot_value(slot_start(parse_every(every), at(moment), time_zone(zone, "timezone"))) == expected


def starts(every: str, zone: str, first: str, last: str) -> list[str]:
    """The values of the slots that begin from *first* to *last*, found by a look at every full minute."""
    moment, seen = at(first), list[str]()
    before = slot_value(slot_start(parse_every(every), moment - timedelta(minutes=1), ZoneInfo(zone)))
    while moment <= at(last):
        value = slot_value(slot_start(parse_every(every), moment, ZoneInfo(zone)))
        if value != before:
            assert at(value) == moment
            seen.append(value)
        before, moment = value, moment + timedelta(minutes=1)
    return seen


@pytest.mark.parametrize(
    "every, zone, day, expected",
    [
        ("30min", BERLIN, "2026-03-29T01:00+01:00", ["01:00+01:00", "01:30+01:00", "03:00+02:00", "03:30+02:00"]),
        ("1h", BERLIN, "2026-03-29T00:00+01:00", ["00:00+01:00", "01:00+01:00", "03:00+02:00", "04:00+02:00"]),
        ("2h", BERLIN, "2026-03-29T00:00+01:00", ["00:00+01:00", "03:00+02:00", "04:00+02:00", "06:00+02:00"]),
        ("6h", BERLIN, "2026-03-29T00:00+01:00", ["00:00+01:00", "06:00+02:00", "12:00+02:00", "18:00+02:00"]),
        ("30min", BERLIN, "2026-10-25T02:00+02:00", ["02:00+02:00", "02:30+02:00", "03:00+01:00", "03:30+01:00"]),
        ("1h", BERLIN, "2026-10-25T01:00+02:00", ["01:00+02:00", "02:00+02:00", "03:00+01:00", "04:00+01:00"]),
        ("2h", BERLIN, "2026-10-25T00:00+02:00", ["00:00+02:00", "02:00+02:00", "04:00+01:00", "06:00+01:00"]),
        ("6h", BERLIN, "2026-10-25T00:00+02:00", ["00:00+02:00", "06:00+01:00", "12:00+01:00", "18:00+01:00"]),
        ("30min", NEW_YORK, "2026-03-08T01:00-05:00", ["01:00-05:00", "01:30-05:00", "03:00-04:00", "03:30-04:00"]),
        ("1h", NEW_YORK, "2026-03-08T00:00-05:00", ["00:00-05:00", "01:00-05:00", "03:00-04:00", "04:00-04:00"]),
        ("6h", NEW_YORK, "2026-03-08T00:00-05:00", ["00:00-05:00", "06:00-04:00", "12:00-04:00", "18:00-04:00"]),
        ("30min", NEW_YORK, "2026-11-01T01:00-04:00", ["01:00-04:00", "01:30-04:00", "02:00-05:00", "02:30-05:00"]),
        ("1h", NEW_YORK, "2026-11-01T00:00-04:00", ["00:00-04:00", "01:00-04:00", "02:00-05:00", "03:00-05:00"]),
        ("6h", NEW_YORK, "2026-11-01T00:00-04:00", ["00:00-04:00", "06:00-05:00", "12:00-05:00", "18:00-05:00"]),
        ("30min", LORD_HOWE, "2026-10-04T01:00+10:30", ["01:00+10:30", "01:30+10:30", "02:30+11:00", "03:00+11:00"]),
        ("1h", LORD_HOWE, "2026-10-04T00:00+10:30", ["00:00+10:30", "01:00+10:30", "02:30+11:00", "03:00+11:00"]),
        ("20min", LORD_HOWE, "2026-10-04T01:20+10:30", ["01:20+10:30", "01:40+10:30", "02:30+11:00", "02:40+11:00"]),
        ("6h", LORD_HOWE, "2026-10-04T00:00+10:30", ["00:00+10:30", "06:00+11:00", "12:00+11:00", "18:00+11:00"]),
        ("30min", LORD_HOWE, "2026-04-05T01:00+11:00", ["01:00+11:00", "01:30+11:00", "02:00+10:30", "02:30+10:30"]),
        ("1h", LORD_HOWE, "2026-04-05T00:00+11:00", ["00:00+11:00", "01:00+11:00", "02:00+10:30", "03:00+10:30"]),
        ("20min", LORD_HOWE, "2026-04-05T01:20+11:00", ["01:20+11:00", "01:40+11:00", "02:00+10:30", "02:20+10:30"]),
        ("6h", LORD_HOWE, "2026-04-05T00:00+11:00", ["00:00+11:00", "06:00+10:30", "12:00+10:30", "18:00+10:30"]),
        ("1h", SANTIAGO, "2026-09-06T01:00-03:00", ["01:00-03:00", "02:00-03:00"]),
        ("6h", SANTIAGO, "2026-09-06T01:00-03:00", ["01:00-03:00", "06:00-03:00"]),
        ("1h", HAVANA, "2026-11-01T00:00-04:00", ["00:00-04:00", "01:00-05:00", "02:00-05:00"]),
    ],
)
def test_slots_of_a_clock_change_follow_the_wall_clock(every: str, zone: str, day: str, expected: list[str]) -> None:
    date = day.partition("T")[0]
    assert starts(every, zone, day, f"{date}T{expected[-1]}") == [f"{date}T{time}" for time in expected]


@pytest.mark.parametrize(
    "zone, days",
    [
        (BERLIN, ["2026-03-28T00:00+01:00", "2026-03-29T00:00+01:00", "2026-03-30T00:00+02:00"]),
        (BERLIN, ["2026-10-24T00:00+02:00", "2026-10-25T00:00+02:00", "2026-10-26T00:00+01:00"]),
        (NEW_YORK, ["2026-03-07T00:00-05:00", "2026-03-08T00:00-05:00", "2026-03-09T00:00-04:00"]),
        (NEW_YORK, ["2026-10-31T00:00-04:00", "2026-11-01T00:00-04:00", "2026-11-02T00:00-05:00"]),
        (LORD_HOWE, ["2026-10-03T00:00+10:30", "2026-10-04T00:00+10:30", "2026-10-05T00:00+11:00"]),
        (LORD_HOWE, ["2026-04-04T00:00+11:00", "2026-04-05T00:00+11:00", "2026-04-06T00:00+10:30"]),
        # A day without midnight begins at one o'clock. A day with two midnights begins at the first one.
        (SANTIAGO, ["2026-09-05T00:00-04:00", "2026-09-06T01:00-03:00", "2026-09-07T00:00-03:00"]),
        (HAVANA, ["2026-10-31T00:00-04:00", "2026-11-01T00:00-04:00", "2026-11-02T00:00-05:00"]),
        # At 00:01 back to 23:01: the day has begun, and that hour belongs to it.
        (ST_JOHNS, ["2010-11-06T00:00-02:30", "2010-11-07T00:00-02:30", "2010-11-08T00:00-03:30"]),
    ],
)
def test_days_begin_at_midnight_also_where_the_clock_changes(zone: str, days: list[str]) -> None:
    first, last = days[0], days[-1]
    for every in ("24h", "1d"):
        assert starts(every, zone, first, last) == days


@pytest.mark.parametrize("zone, change", CHANGES, ids=[f"{zone} {how}" for (zone, _at), how in CHANGES.items()])
@pytest.mark.parametrize("every", EVERY.values(), ids=list(EVERY))
def test_a_slot_begins_when_the_clock_first_shows_a_later_cut(every: Every, zone: str, change: str) -> None:
    """The definition, minute by minute: a slot begins when the cut of the wall clock is later than ever before."""

    def cut(wall: datetime) -> datetime:
        if every.minutes is None:
            return datetime(wall.year, wall.month, 1)  # noqa: DTZ001 (the wall clock)
        monday = datetime(2001, 1, 1)  # noqa: DTZ001
        return wall - (wall - monday) % timedelta(minutes=every.minutes)

    moment = at(change) - timedelta(hours=4)
    highest, began, known = cut(moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)), moment, False
    for _minute in range(8 * 60):
        moment += timedelta(minutes=1)
        shown = cut(moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0))
        if shown > highest:
            highest, began, known = shown, moment, True
        start = slot_start(every, moment, ZoneInfo(zone))
        assert start == began if known else start <= began


def test_slots_of_a_year_follow_the_clock() -> None:
    """2017 in Vienna has 8760 hours, and one was shown twice. sanoid makes 8760 hourly snapshots, two of them in it."""
    zone, first = ZoneInfo("Europe/Vienna"), at("2016-12-31T23:00Z")
    hours = [first + timedelta(hours=number) for number in range(8760)]
    for every, number in (("1h", 8759), ("24h", 365), ("1w", 53), ("1m", 12)):
        assert len({slot_start(EVERY[every], hour, zone) for hour in hours}) == number, every


@pytest.mark.parametrize(
    "value", ["", "7min", "25min", "60min", "5h", "36h", "48h", "2d", "2w", "1y", "1 h", "1H", 24, None]
)
def test_lengths_that_do_not_cut_time_are_refused_with_the_list(value: object) -> None:
    listed = "5min, 10min, 15min, 20min, 30min, 1h, 2h, 3h, 4h, 6h, 8h, 12h, 24h, 1d, 1w, 1m (a month)."
    text = f"every: {value!r} does not divide time into equal slots. Use {listed}"
    with pytest.raises(SpecError, match=re.escape(text)):
        parse_every(value)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "2026-11-24",
        "2026-11-24T00:00",
        "2026-11-24T00:00Z",
        "20261124T0000+0100",
        "2026-11-24 00:00+01:00",
        "2026-11-24T00:00+01:00 ",
        "2026-11-24T00:00:00.5+01:00",
        "2026-11-31T00:00+01:00",
        "2026-11-24T24:00+01:00",
        "2026-11-24T00:00+25:00",
        "0001-01-01T00:00+14:00",
        "9999-12-31T23:59-12:00",
        "\N{ARABIC-INDIC DIGIT TWO}026-11-24T00:00+01:00",
    ],
)
def test_text_that_is_no_slot_is_none(value: str) -> None:
    assert parse_slot(value) is None


@pytest.mark.parametrize("value", ["2026-11-24T00:00+01:00", "2026-11-24T00:00+00:00", "2026-11-24T00:00-03:30"])
def test_a_slot_is_read_as_it_was_written(value: str) -> None:
    slot = parse_slot(value)
    assert slot is not None and slot == at(value) and slot_value(slot) == value


NEAR_A_CHANGE = st.builds(
    lambda change, seconds: (change[0], at(change[1]) + timedelta(seconds=seconds)),
    st.sampled_from(list(CHANGES)),
    st.integers(-4 * 3600, 4 * 3600),
)
ANY_TIME = st.tuples(
    st.sampled_from(sorted({zone for zone, _change in CHANGES})),
    st.datetimes(datetime(2009, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
)


@given(st.sampled_from(list(EVERY)), st.one_of(NEAR_A_CHANGE, ANY_TIME), st.integers(0, 5 * 3600))
@settings(deadline=None)
def test_every_slot_contains_its_moment(every: str, place: tuple[str, datetime], later: int) -> None:
    zone, moment = ZoneInfo(place[0]), place[1]
    after = moment + timedelta(seconds=later)
    one, two = slot_start(EVERY[every], moment, zone), slot_start(EVERY[every], after, zone)
    # The slot contains the moment, no moment between has another start, and the start belongs to its own slot.
    assert one <= moment
    assert slot_start(EVERY[every], one + (moment - one) / 2, zone) == one
    assert slot_start(EVERY[every], one, zone) == one
    # The start does not go back, and neither does its text.
    assert one <= two
    assert (one < two) == (slot_value(one) < slot_value(two))
    # The text is read as the same instant in any zone, and fits into a tag.
    value = slot_value(one)
    read = parse_slot(value)
    assert read is not None and read == one and read.astimezone(timezone(timedelta(hours=-7))) == one
    assert slot_value(slot_start(EVERY[every], read, zone)) == value
    assert re.fullmatch(r"[\w .:/=+\-@]{1,256}", value, re.ASCII)
