# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules of ``keep``: the snapshots that they keep, and why. They use neither a clock nor EC2.

The rules are those of restic's ``forget``. This file also defines ties, months, zones and times in the future, which
restic leaves undefined. The rules of a ``keep`` are joined by *or*, so that one more rule never deletes more.

Private to this collection.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

from .._kernel.errors import SpecError
from .._kernel.times import CalendarSpan, parse_calendar_span, time_zone
from .snapshot_sets import Candidate

UNLIMITED = -1
"""The count of a rule without a limit."""
FUTURE = "future"
NEWEST = "newest"
REFERENCES = ("latest", "now")
_SKEW = timedelta(minutes=1)
_LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
_COUNT = re.compile(r"-1|[1-9]\d{0,17}", re.ASCII)


@dataclass(frozen=True)
class _Period:
    """A calendar bucket of local time, with a sortable number and a label for people."""

    number: Callable[[datetime], int]
    label: Callable[[datetime], str]


def _iso_week(local: datetime) -> str:
    year, week, _day = local.isocalendar()
    return f"{year:04}-W{week:02}"


# Hours are those of the wall clock, so an hour that occurs twice is one bucket. Weeks are ISO weeks: day 1 of the
# calendar, 0001-01-01, was a Monday.
_PERIODS: Mapping[str, _Period] = {
    "hourly": _Period(lambda at: at.toordinal() * 24 + at.hour, lambda at: f"{at:%Y-%m-%d %H}h"),
    "daily": _Period(lambda at: at.toordinal(), lambda at: at.date().isoformat()),
    "weekly": _Period(lambda at: (at.toordinal() - 1) // 7, _iso_week),
    "monthly": _Period(lambda at: at.year * 12 + at.month, lambda at: f"{at:%Y-%m}"),
    "quarterly": _Period(lambda at: at.year * 4 + (at.month - 1) // 3, lambda at: f"{at:%Y}-Q{(at.month + 2) // 3}"),
    "yearly": _Period(lambda at: at.year, lambda at: f"{at:%Y}"),
}
COUNTS = ("last", *_PERIODS)
SPANS = ("within", *(f"{period}_within" for period in _PERIODS))
_OPTIONS = (*COUNTS, *SPANS, "timezone", "reference", "oldest")


@dataclass(frozen=True)
class Keep:
    """The rules of the task, in the order of `COUNTS` and `SPANS`. There is at least one.

    ``counts``: the number that ``last`` or a period keeps, `UNLIMITED` or at least 1. ``spans``: by ``within`` or
    ``<period>_within``. ``zone``: the time zone of the buckets and the months. ``reference``: the moment from which
    ages are measured, the ``latest`` of the group or ``now``. ``oldest``: restic's rule of the oldest.
    """

    counts: Mapping[str, int]
    spans: Mapping[str, CalendarSpan]
    zone: tzinfo
    reference: str
    oldest: bool


# --- Reading the rules ------------------------------------------------------------------------------------------------


def parse_keep(options: Mapping[str, Any], option: str = "keep", things: str = "snapshots") -> Keep:
    """Return the option ``keep`` as rules. None stands for a missing option. *things*: what they retain, for messages.

    Raises SpecError for unknown options, counts of 0, malformed spans, unknown zones and references, and if there is no
    rule. It names the option (``keep.daily``), its value and the accepted values.
    """
    given = {name: value for name, value in options.items() if value is not None}
    unknown = [str(name) for name in given if name not in _OPTIONS]
    if unknown:
        raise SpecError(f"{option}.{unknown[0]}: is unknown. Use {', '.join(_OPTIONS)}")
    reference, oldest, zone = given.get("reference", "latest"), given.get("oldest", False), given.get("timezone", "UTC")
    if reference not in REFERENCES:
        raise SpecError(f"{option}.reference: {reference!r} is unknown. Use one of {', '.join(REFERENCES)}")
    if not isinstance(oldest, bool):
        raise SpecError(f"{option}.oldest: {oldest!r} is not a boolean. Use true or false")
    if not isinstance(zone, str):
        raise SpecError(
            f"{option}.timezone: {zone!r} is not a time zone. Use UTC, or an IANA name such as Europe/Berlin."
        )
    keep = Keep(
        counts={name: _count(given[name], f"{option}.{name}", things) for name in COUNTS if name in given},
        spans={name: parse_calendar_span(given[name], f"{option}.{name}") for name in SPANS if name in given},
        zone=time_zone(zone, f"{option}.timezone"),
        reference=reference,
        oldest=oldest,
    )
    if not keep.counts and not keep.spans:
        raise SpecError(
            f"{option}: has no rule, so it would keep only the newest of all {things}. Use at least one of "
            f"{', '.join((*COUNTS, *SPANS))}"
        )
    return keep


def _count(value: object, option: str, things: str) -> int:
    """Return the count.

    YAML gives a number, and a template may give its text. True, which is a number in Python, is refused.
    """
    if value == "unlimited":
        return UNLIMITED
    if isinstance(value, (int, str)) and _COUNT.fullmatch(str(value)):
        return int(value)
    raise SpecError(
        f"{option}: {value!r} is not a number of {things}. Use a number from 1, or unlimited (-1), or remove the rule"
    )


# --- Deciding ---------------------------------------------------------------------------------------------------------


def in_future(moment: datetime, now: datetime) -> bool:
    """Return whether *moment* is more than a minute after *now*, since clocks may differ by less."""
    return moment - now > _SKEW


def decide(candidates: Iterable[Candidate], keep: Keep, now: datetime) -> Mapping[str, tuple[str, ...]]:
    """Return, for every candidate's key, all the reasons that keep it. A candidate without a reason may be deleted.

    Each group is decided separately:

    - ``last: N``: the N newest. ``<period>: N``: the newest of each of the N newest calendar buckets that have one.
    - ``within``: younger than the span, strictly, measured from the reference. ``<period>_within``: the newest of each
      bucket, if it is younger than the span. The reference is the newest of the group, or now if that is earlier.
    - ``oldest``: a rule by period that does not use up its count also keeps the oldest of the group. A rule by span
      also keeps the oldest if it is younger than the span (restic, ``ApplyPolicy``).
    - The newest is always kept, by a rule of its own.

    If only a tag gives ``moment``, the candidates that the rules keep by StartTime are also kept. So no altered tag
    lets the rules delete more than StartTime does. A candidate dated in the future is kept for that reason, and counts
    for no rule, since it would displace a real one. The answer is in order: by group, the newest first. Raises
    ValueError for two candidates with one key.
    """
    known = list(candidates)
    decided = _decide(known, keep, now)
    doubtful = {item.group for item in known if item.claimed} & {item.group for item in known if not decided[item.key]}
    if not doubtful:
        return decided
    by_start = _decide((_by_start(item) for item in known if item.group in doubtful), keep, now)
    return {key: reasons or by_start.get(key, ()) for key, reasons in decided.items()}


def _by_start(candidate: Candidate) -> Candidate:
    return replace(candidate, moment=candidate.start_time) if candidate.claimed else candidate


def _decide(candidates: Iterable[Candidate], keep: Keep, now: datetime) -> dict[str, tuple[str, ...]]:
    """Return the decisions with the candidates' own moments: see `decide`."""
    groups: defaultdict[str, list[Candidate]] = defaultdict(list)
    total = 0
    for candidate in candidates:
        groups[candidate.group].append(candidate)
        total += 1
    decisions: dict[str, tuple[str, ...]] = {}
    for name in sorted(groups):
        ordered = sorted(groups[name], key=lambda item: (item.start_time.astimezone(UTC), item.key), reverse=True)
        counted = []
        for candidate in ordered:
            if in_future(max(candidate.moment, candidate.start_time), now):
                decisions[candidate.key] = (FUTURE,)
            else:
                counted.append(candidate)
        reasons: list[list[str]] = [[] for _candidate in counted]
        if counted:
            for place, reason in _Group(counted, keep, now).kept():
                reasons[place].append(reason)
        decisions.update((item.key, tuple(why)) for item, why in zip(counted, reasons, strict=True))
    if len(decisions) != total:
        raise ValueError("Two candidates have one key")
    return decisions


def is_outlived(candidate: Candidate, group: Iterable[Candidate], keep: Keep, now: datetime) -> bool:
    """Return whether newer candidates of its *group* displace *candidate*, whatever its moment is.

    The function is for candidates whose data is older than their start by an unknown time.
    """
    start = candidate.start_time
    newer = [item for item in group if min(item.moment, item.start_time) > start]
    if not newer:
        return False
    latest = max(newer, key=lambda item: (item.start_time, item.key)).moment
    reference = min(latest, now) if keep.reference == "latest" else now
    if any(span.before(reference, keep.zone) < start for span in keep.spans.values()):
        return False
    oldest = replace(candidate, moment=_LONG_AGO, start_time=_LONG_AGO)
    return not decide([*newer, oldest], keep, now)[candidate.key]


class _Group:
    """The candidates of one group, the newest first; a *place* is an index into them."""

    def __init__(self, ordered: Sequence[Candidate], keep: Keep, now: datetime) -> None:
        self._ordered = ordered
        self._keep = keep
        # Each moment is converted into the zone only here. Buckets and labels come from the result.
        self._local = [candidate.moment.astimezone(keep.zone) for candidate in ordered]
        self._newest_of: dict[str, Mapping[int, int]] = {}
        self._reference = min(ordered[0].moment, now) if keep.reference == "latest" else now

    def kept(self) -> Iterator[tuple[int, str]]:
        """Yield places and the reasons that keep them, rule by rule."""
        for name, count in self._keep.counts.items():
            yield from self._last(count) if name == "last" else self._by_count(name, count)
        for name, span in self._keep.spans.items():
            yield from self._within(span) if name == "within" else self._by_span(name, span)
        yield 0, NEWEST

    def _last(self, count: int) -> Iterator[tuple[int, str]]:
        most, limit = (len(self._ordered), "unlimited") if count == UNLIMITED else (count, str(count))
        for place in range(min(most, len(self._ordered))):
            yield place, f"last {place + 1} of {limit}"

    def _by_count(self, period: str, count: int) -> Iterator[tuple[int, str]]:
        newest_of = self._buckets(period)
        most = len(newest_of) if count == UNLIMITED else count
        for number in sorted(newest_of, reverse=True)[:most]:
            yield newest_of[number], f"{period} {self._label(period, newest_of[number])}"
        if count == UNLIMITED or count > len(newest_of):
            yield from self._oldest(period, period)

    def _within(self, span: CalendarSpan) -> Iterator[tuple[int, str]]:
        cutoff = span.before(self._reference, self._keep.zone)
        for place, candidate in enumerate(self._ordered):
            if candidate.moment > cutoff:
                yield place, f"within {span.text}"

    def _by_span(self, name: str, span: CalendarSpan) -> Iterator[tuple[int, str]]:
        period = name.removesuffix("_within")
        cutoff = span.before(self._reference, self._keep.zone)
        for place in self._buckets(period).values():
            # Only the age of a bucket's newest counts. With slots, the newest may have an earlier moment than others of
            # the bucket. If one of those could take its place, a longer span would delete that one.
            if self._ordered[place].moment > cutoff:
                yield place, f"{name} {span.text} {self._label(period, place)}"
        if self._ordered[-1].moment > cutoff:
            yield from self._oldest(period, f"{name} {span.text}")

    def _oldest(self, period: str, rule: str) -> Iterator[tuple[int, str]]:
        """Yield the oldest, unless it is already kept as the newest of its bucket."""
        place = len(self._ordered) - 1
        if self._keep.oldest and self._buckets(period)[_PERIODS[period].number(self._local[place])] != place:
            yield place, f"oldest {rule}"

    def _buckets(self, period: str) -> Mapping[int, int]:
        """Return the place of the newest of each bucket that has one, by the bucket's number."""
        if period not in self._newest_of:
            number = _PERIODS[period].number
            newest: dict[int, int] = {}
            for place, local in enumerate(self._local):
                newest.setdefault(number(local), place)
            self._newest_of[period] = newest
        return self._newest_of[period]

    def _label(self, period: str, place: int) -> str:
        return _PERIODS[period].label(self._local[place])
