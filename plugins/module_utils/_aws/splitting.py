# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read a long listing of snapshots side by side, in parts by their start times.

EC2 gives the pages of one listing one after the other, about a second each. A filter on ``start-time`` takes wildcards,
and a start time never changes. So wildcards that together match each time once divide the listing. This holds while
snapshots come and go, and after the end of their volumes.

Private to this collection.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain, islice, pairwise
from operator import itemgetter
from typing import Any

from .._kernel.resources import Resource, Snapshot
from .._kernel.state import Query
from . import codec

LARGE = 12
"""A listing is long if it does not end within this number of pages. A shorter one is read as it is."""
EARLY = 2
"""After this number of pages, a listing is long if its times suggest more than `SURELY_LONG` pages and `_reaches_far`
agrees.
"""
SURELY_LONG = 3 * LARGE
FAR = 8
"""The distance of the times that `_reaches_far` asks for, as a multiple of the time that the first pages cover."""
PARTS = 24
"""The most parts that a long listing is divided into, about."""
FEW_PARTS = 16
"""The number of parts of a long listing of unknown length."""
PAGES = 3
"""The number of pages that a part should have. Each part has a last page that is not full."""
MOST_EXPECTED = 40
"""The most snapshots that are expected after those of a sample, as a multiple of the sample."""
EARLIER = 3
"""A listing that begins with the newest snapshots is expected to go back by this multiple of the time that a sample
covers.
"""
BACK = timedelta(days=60)
"""One that reaches far is expected to go back at least so long."""
MOST_REPEATED = 1 / 3
"""The most pages that parts may read in vain, as a share of all their pages."""
_NEARLY = 0.9
_SAMPLE = 500
"""The most start times that the parts are computed from."""
_DIGITS = "0123456789"
_PRECISION = len("2026-11-24T02:00")
"""A part is not smaller than a minute."""
_MOST_VALUES = 150
"""EC2 takes 200 values in a filter."""

Pages = Iterator[Mapping[str, Any]]


@dataclass(frozen=True)
class _Read:
    """The resources that a thread has read of a listing. ``parts``: the parts in which a long listing is read again."""

    found: tuple[Resource, ...]
    parts: tuple[tuple[str, ...], ...] = ()


class _Budget:
    """The pages that the parts have read, and how many of them in vain. Several threads use it.

    A part that turns out to be long is divided again, and its pages so far are read again. Without a limit, the calls
    would be a multiple of those of the plain listing if the sample says little about the times of the rest.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._read, self._repeated = 0, 0

    def count(self) -> None:
        """Count a page of a part."""
        with self._lock:
            self._read += 1

    def may_repeat(self, pages: int) -> bool:
        """Return whether a part may be divided after so many pages, and count them."""
        with self._lock:
            if self._repeated + pages > MOST_REPEATED * self._read:
                return False
            self._repeated += pages
            return True


def is_divisible(query: Query) -> bool:
    """Return whether the listing can be parted by start times. A listing of given ids is short."""
    names = {name for name, _values in query.filters}
    arguments = {name for name, _value in query.arguments}
    return (
        query.operation == "DescribeSnapshots"
        and not names & {"start-time", "snapshot-id"}
        and "SnapshotIds" not in arguments
    )


def read(query: Query, pages_of: Callable[[Query], Pages], threads: int) -> tuple[Resource, ...]:
    """Return the answer to *query*, read in parts if it is divisible and long. *threads*: the most parts at once."""
    pages = pages_of(query)
    if not is_divisible(query):
        return codec.decode(query, pages)
    whole = _begin(query, pages, ("",), lambda found: _reaches_far(query, pages_of, found))
    if not whole.parts:
        return whole.found
    found = _side_by_side(query, pages_of, whole.parts, threads)
    ids = {resource.resource_id for resource in found}
    if all(resource.resource_id in ids for resource in whole.found):
        return found
    # A snapshot was deleted meanwhile, or the endpoint has no wildcards. So the run reads the first listing to its end.
    return (*whole.found, *codec.decode(query, pages))


def _reaches_far(query: Query, pages_of: Callable[[Query], Pages], found: Sequence[Resource]) -> bool:
    """Return whether a page of snapshots is far away from the first ones. This costs one call.

    Few pages may cover two days of a policy's year, or all the hours for which it keeps snapshots.
    """
    times = _times(found)
    first, last = min(times), max(times)
    step = timedelta(days=-1 if _is_descending(times) else 1)
    begin = first - FAR * (last - first) if step < timedelta() else last + FAR * (last - first)
    days = tuple(f"{begin + number * step:%Y-%m-%d}*" for number in range(_MOST_VALUES))
    asked = replace(query, filters=(*query.filters, ("start-time", days)))
    return any(codec.decode(query, [page]) for page in islice(pages_of(asked), 1))


def _times(found: Iterable[Resource]) -> list[datetime]:
    return [one.start_time for one in found if isinstance(one, Snapshot) and one.start_time is not None]


def _begin(
    query: Query,
    pages: Pages,
    prefixes: tuple[str, ...],
    reaches_far: Callable[[Sequence[Resource]], bool],
    budget: _Budget | None = None,
) -> _Read:
    """Read a listing of the start times with these *prefixes*: to its end, unless it is long and can be parted.

    If the first pages are no reason to part it, the question comes up again after twice as many pages. *reaches_far*
    has the last word about a listing that seems long after few pages. *budget* decides whether a part of a listing may
    be parted again.
    """
    found: list[Resource] = []
    read = 0

    def take(some: Iterable[Mapping[str, Any]]) -> None:
        nonlocal read
        for page in some:
            read += 1
            if budget is not None:
                budget.count()
            found.extend(codec.decode(query, [page]))

    checked, early = EARLY, True
    take(islice(pages, checked))
    while (following := next(pages, None)) is not None:
        take([following])
        early = early and read <= LARGE
        parts = _parts(found, prefixes, read, early=early)
        if parts and early and not reaches_far(found):
            early, checked = False, LARGE
        elif parts and (budget is None or budget.may_repeat(read)):
            return _Read(tuple(found), parts)
        else:
            checked = min(2 * checked, LARGE) if early else 2 * read - 1
        take(islice(pages, checked - read))
    return _Read(tuple(found))


def _parts(
    found: Sequence[Resource], prefixes: tuple[str, ...], read: int, *, early: bool
) -> tuple[tuple[str, ...], ...]:
    """Return the parts of a listing that begins with *found* in *read* pages.

    Return nothing if one part has most times, or if it is *early* and the listing does not seem to be long.
    """
    times = _times(found)
    sample = times[:: len(times) // _SAMPLE + 1]
    moments = [_moment(time) for time in sample]
    times_beyond = _expected(sample, datetime.now(UTC), BACK if early else timedelta())
    expected = [moment for moment in map(_moment, times_beyond) if moment.startswith(prefixes)]
    # Without an expectation the length is unknown.
    pages = read * (len(moments) + len(expected)) // max(1, len(moments))
    if early and pages <= SURELY_LONG:
        return ()
    number = min(PARTS, max(2, pages // PAGES)) if expected else FEW_PARTS
    moments += expected
    parts = partition(prefixes, moments, number)
    shares = [sum(moment.startswith(part) for moment in moments) for part in parts]
    if len(parts) < 2 or 2 * max(shares) > len(moments):
        return ()
    # Nobody knows how long a part is in which the expectation ends. So these parts come first.
    known = [
        share > 0 and not (expected and expected[-1].startswith(part))
        for share, part in zip(shares, parts, strict=True)
    ]
    return tuple(part for _known, part in sorted(zip(known, parts, strict=True), key=itemgetter(0)))


def _expected(times: Sequence[datetime], now: datetime, back: timedelta) -> Iterator[datetime]:
    """Yield start times beyond those of a sample, as dense as the sample.

    An endpoint that lists the oldest snapshots first shows nothing of the others in its first pages, up to *now*. One
    that lists the newest first shows nothing of the older ones, which go back at least by *back*. A wrong expectation
    only costs time.
    """
    first, last = min(times, default=None), max(times, default=None)
    if first is None or last is None or first == last:
        return
    span = last - first
    if _is_descending(times):
        yield from _evenly(first, -max(EARLIER * span, back), span, len(times))
    else:
        yield from _evenly(last, now - last, span, len(times))


def _evenly(start: datetime, reach: timedelta, span: timedelta, known: int) -> Iterator[datetime]:
    """Yield times from *start* on as dense as *known* ones in *span*, but at most `MOST_EXPECTED` times as many."""
    number = min(int(abs(reach) / span * known), MOST_EXPECTED * known)
    for position in range(1, number + 1):
        yield start + reach * (position / number)


def _moment(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M}"


def _is_descending(times: Sequence[datetime]) -> bool:
    """Return whether nearly every time is before the one in front of it. Equal times do not count."""
    steps = [earlier > later for earlier, later in pairwise(times) if earlier != later]
    return sum(steps) > _NEARLY * len(steps)


def _side_by_side(
    query: Query, pages_of: Callable[[Query], Pages], parts: Sequence[tuple[str, ...]], threads: int
) -> tuple[Resource, ...]:
    """Return the resources of all parts. A part that is long itself is parted again."""
    budget = _Budget()

    def part(prefixes: tuple[str, ...]) -> _Read:
        values = tuple(f"{prefix}*" for prefix in prefixes)
        asked = replace(query, filters=(*query.filters, ("start-time", values)))
        return _begin(asked, pages_of(asked), prefixes, lambda _found: True, budget)

    done: list[tuple[Resource, ...]] = []
    with ThreadPoolExecutor(max_workers=threads) as pool:
        waiting = {pool.submit(part, prefixes) for prefixes in parts}
        while waiting:
            ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ended:
                outcome = future.result()
                waiting |= {pool.submit(part, prefixes) for prefixes in outcome.parts}
                done += [] if outcome.parts else [outcome.found]
    return tuple(chain.from_iterable(done))


def partition(prefixes: Iterable[str], moments: Sequence[str], number: int = PARTS) -> tuple[tuple[str, ...], ...]:
    """Return groups of prefixes that together match the start times of *prefixes*, each time once.

    *moments* is a sample of the times. About *number* groups have about the same share of it, and the last groups have
    none.
    """
    most = max(1, -(-len(moments) // number))
    shares: list[tuple[int, str]] = []
    for prefix in prefixes:
        shares += _leaves(prefix, [moment for moment in moments if moment.startswith(prefix)], most)
    groups: list[list[str]] = [[]]
    size = 0
    for share, prefix in sorted(shares, reverse=True):
        if groups[-1] and (size + share > most or len(groups[-1]) >= _MOST_VALUES or (not share and size)):
            groups.append([])
            size = 0
        groups[-1].append(prefix)
        size += share
    return tuple(tuple(group) for group in groups if group)


def _leaves(prefix: str, moments: Sequence[str], most: int) -> Iterator[tuple[int, str]]:
    """Yield prefixes below *prefix* with their shares of the sample, which are at most *most* where possible."""
    if len(moments) <= most or len(prefix) >= _PRECISION:
        yield len(moments), prefix
        return
    following = Counter(moment[len(prefix)] for moment in moments)
    # Between the digits there is only one possible character.
    for character in following if following.keys() - set(_DIGITS) else _DIGITS:
        longer = prefix + character
        yield from _leaves(longer, [moment for moment in moments if moment.startswith(longer)], most)
