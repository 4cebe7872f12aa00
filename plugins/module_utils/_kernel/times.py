# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Moments, spans and slots: functions to read and write times, and to cut them by the wall clock of a zone.

A zone's wall clock shows some times twice (when summer time ends) and skips others (when it begins). Each function here
that computes with a wall clock documents the instant that it then returns. It returns that instant in UTC or with a
fixed offset, never in a zone, since Python compares two times of one zone only by their wall clock.

Private to this collection.
"""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime, timedelta, timezone, tzinfo

from .errors import SpecError

_SPAN = re.compile(r"(\d+)\s*(s|min|h|d|w)")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400, "w": 604800}

_CALENDAR_PART = re.compile(r"(\d{1,18})\s*(min|h|d|w|m|y)", re.ASCII)
_CALENDAR_SPAN = re.compile(rf"(?:\s*{_CALENDAR_PART.pattern})+\s*", re.ASCII)
_MONTHS = {"m": 1, "y": 12}
EARLIEST = datetime.min.replace(tzinfo=UTC)
"""The earliest moment, for a span that reaches back further than the calendar."""
# More than any time that a datetime can express, and less than the maximum of a timedelta.
_LONGEST = 10_000 * 366 * 86400

# The format that `slot_value` writes. Python would read other texts as times too.
_SLOT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d)?[+-]\d\d:\d\d(?::\d\d)?", re.ASCII)
_INSTANT = re.compile(r"2\d{3}-[01]\d-[0-3]\dT[0-2]\d:[0-5]\d:[0-5]\d\.\d{3}Z", re.ASCII)
_DAY = 24 * 60
_WEEK = 7 * _DAY


def parse_span(value: str, option: str) -> timedelta:
    """Return a span of fixed length: ``90s``, ``30min``, ``1h``, ``2d``, ``1w``, or several in a row (``1h 30min``)."""
    parts = _SPAN.findall(value)
    if not parts or _SPAN.sub("", value).strip():
        raise SpecError(f"{option}: {value!r} is not a span of time. Use a number with s, min, h, d or w, such as 1h.")
    return timedelta(seconds=sum(int(count) * _SECONDS[unit] for count, unit in parts))


def format_moment(moment: datetime) -> str:
    """Return the moment in the form for tags: ``2026-11-23T19:00:00Z``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def age_text(seconds: int) -> str:
    """Return an age for a person, in the largest unit with a value of at least two: ``4 s``, ``90 min``, ``30 h``."""
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def parse_moment(value: str) -> datetime | None:
    """Return the moment that `format_moment` wrote, or None for any other text."""
    try:
        return datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None


def format_instant(moment: datetime) -> str:
    """Return ``2026-11-23T19:00:00.123Z``, as exact as EC2's start time of a snapshot."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_instant(value: str) -> datetime | None:
    """Return the moment that `format_instant` wrote, or None for any other text."""
    try:
        return datetime.fromisoformat(value) if _INSTANT.fullmatch(value) else None
    except ValueError:
        return None


# --- Zones ------------------------------------------------------------------------------------------------------------


def time_zone(name: str, option: str) -> tzinfo:
    """Return the zone of an IANA name (``Europe/Berlin``). ``UTC`` needs no data. All other zones need the node's
    tzdata.

    Raises SpecError for an unknown name. If the node knows no names of zones, the message is a different one.
    """
    if name == "UTC":
        return UTC
    # Few runs need a zone, and all modules import this file.
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        pass
    try:
        ZoneInfo("Etc/UTC")
    except (LookupError, ValueError, OSError):
        raise SpecError(
            f"{option}: {name!r} is unknown, since the node that runs the module has no time zone data. Install the "
            "system's or Python's package tzdata there, or use UTC."
        ) from None
    raise SpecError(f"{option}: {name!r} is not a time zone. Use UTC, or an IANA name such as Europe/Berlin.") from None


# --- Calendar spans ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CalendarSpan:
    """A span with calendar months. *text* is the user's, without blanks; *fixed* is the part in seconds."""

    text: str
    months: int
    fixed: timedelta

    def before(self, moment: datetime, zone: tzinfo) -> datetime:
        """Return the instant, in UTC, at this span before *moment*, or `EARLIEST` beyond the calendar.

        Months are counted first, on the wall clock of *zone*. If a month is too short, they end on its last day: March
        31 less one month is February 28. If the wall clock shows the result twice or never, the earlier possible
        instant counts, so that the rules keep more. Then the fixed part is subtracted, with days of 24 hours.
        """
        try:
            return self._months_before(moment, zone).astimezone(UTC) - self.fixed
        except OverflowError:
            return EARLIEST

    def _months_before(self, moment: datetime, zone: tzinfo) -> datetime:
        if not self.months:
            return moment
        local = moment.astimezone(zone)
        year, month = divmod(local.year * 12 + local.month - 1 - self.months, 12)
        if year < 1:
            return EARLIEST
        day = min(local.day, monthrange(year, month + 1)[1])
        wall = local.replace(year=year, month=month + 1, day=day)
        return min(wall.replace(fold=fold).astimezone(UTC) for fold in (0, 1))


def parse_calendar_span(value: object, option: str) -> CalendarSpan:
    """Return a span of ``min``, ``h``, ``d``, ``w`` (fixed), ``m`` (months) and ``y``, alone or in a row: ``1y2m3d3h``.

    Raises SpecError for any other value, and for a span of no length.
    """
    parts = _CALENDAR_PART.findall(value) if isinstance(value, str) and _CALENDAR_SPAN.fullmatch(value) else []
    if not isinstance(value, str) or not any(int(count) for count, _unit in parts):
        raise SpecError(
            f"{option}: {value!r} is not a span of time. Use a number from 1 with min, h, d, w, m (months) or y, such "
            "as 7d or 1y6m."
        )
    return CalendarSpan(
        text="".join(value.split()),
        months=sum(int(count) * _MONTHS[unit] for count, unit in parts if unit in _MONTHS),
        fixed=timedelta(
            seconds=min(_LONGEST, sum(int(count) * _SECONDS[unit] for count, unit in parts if unit in _SECONDS))
        ),
    )


# --- Slots ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Every:
    """The length of a slot on the wall clock. None stands for a calendar month."""

    minutes: int | None


EVERY: Mapping[str, Every] = {
    **{f"{minutes}min": Every(minutes) for minutes in (5, 10, 15, 20, 30)},
    **{f"{hours}h": Every(hours * 60) for hours in (1, 2, 3, 4, 6, 8, 12, 24)},
    "1d": Every(_DAY),
    "1w": Every(_WEEK),
    "1m": Every(None),
}
"""The lengths that divide a day, a week or the calendar without a remainder. Other lengths are refused."""


def parse_every(value: object, option: str = "every") -> Every:
    """Return one of `EVERY`. Raises SpecError with the whole list for any other value."""
    if not isinstance(value, str) or value not in EVERY:
        raise SpecError(f"{option}: {value!r} does not divide time into equal slots. Use {', '.join(EVERY)} (a month).")
    return EVERY[value]


def slot_start(every: Every, moment: datetime, zone: tzinfo) -> datetime:
    """Return the start of *moment*'s slot as an instant, with the offset that *zone* had then.

    Slots are cut on the wall clock of *zone*: from midnight, Monday, or the first of the month. When the clock is put
    forward or back, one slot is shorter or longer in real time. All others keep their place on the clock:

    - A time that the clock shows twice starts a slot only the first time. The second pass through the hour starts no
      slots. It belongs to the slot in which the first pass ended.
    - A start that the clock skips (02:00 when it goes from 02:00 to 03:00) is the instant of the change, which the
      clock shows as 03:00. Slots that lie wholly within the skipped time do not exist.

    So a start is never later than *moment*, never decreases while *moment* increases, and is the start of its own slot.
    The wall clock times of the starts in a zone also increase.
    """
    local = moment.astimezone(zone)
    if local.fold:
        change = _change(local.replace(fold=0), local, zone)
        local = (change - datetime.resolution).astimezone(zone)
    start = _cut(every, local)
    shown = start.astimezone(UTC).astimezone(zone)
    if shown.replace(tzinfo=None) != start.replace(tzinfo=None):
        # PEP 495: the second reading of a skipped time is the earlier instant, and the change lies between both.
        shown = _change(start.replace(fold=1), start, zone).astimezone(zone)
    return shown.astimezone(timezone(shown.utcoffset() or timedelta()))


def _cut(every: Every, local: datetime) -> datetime:
    """Return the wall clock time at which *local*'s slot begins, even if the clock skips it."""
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
    if every.minutes is None:
        return midnight.replace(day=1)
    if every.minutes == _WEEK:
        return midnight - timedelta(days=local.weekday())
    # Both sums are on the wall clock, like Python's arithmetic within one zone.
    return midnight + timedelta(minutes=(local.hour * 60 + local.minute) // every.minutes * every.minutes)


def _change(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """Return the first instant, in UTC, with the offset of *after*. *zone* changes its offset once in between, on a
    full second.
    """
    low, high = int(before.timestamp()), int(after.timestamp())
    offset = datetime.fromtimestamp(high, zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return datetime.fromtimestamp(high, UTC)


def slot_value(start: datetime) -> str:
    """Return a slot's value in a tag: ``2026-11-24T00:00+01:00``.

    Tag values allow all its characters. As text, the slots of one zone sort in their order.
    """
    return start.isoformat(timespec="seconds" if start.second else "minutes")


def parse_slot(value: str) -> datetime | None:
    """Return the exact instant that `slot_value` wrote, in any present zone, or None for any other text."""
    if not _SLOT.fullmatch(value):
        return None
    try:
        start = datetime.fromisoformat(value)
    except ValueError:
        return None
    # Not every zone can express a time in the calendar's first and last year. No slot begins there.
    return start if MINYEAR < start.year < MAXYEAR else None
