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

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any

from .._kernel.resources import Resource, Snapshot
from .._kernel.state import Query
from . import codec

LARGE = 12
"""A listing is long if it does not end within this number of pages. A shorter one is read as it is."""
PARTS = 24
"""The approximate number of parts of a long listing."""
MOST_EXPECTED = 20
"""The most snapshots that are expected after those of a sample, as a multiple of the sample."""
_SAMPLE = 1000
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
    """Return the answer to a divisible *query*. A long one is read in parts. *threads*: the most parts at once."""
    pages = pages_of(query)
    whole = _begin(query, pages, ("",))
    if not whole.parts:
        return whole.found
    found = _side_by_side(query, pages_of, whole.parts, threads)
    ids = {resource.resource_id for resource in found}
    if all(resource.resource_id in ids for resource in whole.found):
        return found
    # A snapshot was deleted meanwhile, or the endpoint has no wildcards. So the run reads the first listing to its end.
    return (*whole.found, *codec.decode(query, pages))


def _begin(query: Query, pages: Pages, prefixes: Sequence[str]) -> _Read:
    """Read a listing of the start times with these *prefixes*: to its end, unless it is long and can be parted."""
    found = codec.decode(query, islice(pages, LARGE))
    following = next(pages, None)
    if following is None:
        return _Read(found)
    found = (*found, *codec.decode(query, [following]))
    times = [one.start_time for one in found if isinstance(one, Snapshot) and one.start_time is not None]
    sample = times[:: len(times) // _SAMPLE + 1]
    parts = partition(prefixes, [f"{time:%Y-%m-%dT%H:%M}" for time in (*sample, *_expected(sample, datetime.now(UTC)))])
    return _Read(found, parts) if len(parts) > 1 else _Read((*found, *codec.decode(query, pages)))


def _expected(times: Sequence[datetime], now: datetime) -> Iterator[datetime]:
    """Yield start times after those of a sample, up to *now*, as dense as the sample.

    An endpoint that lists the oldest snapshots first shows nothing of the others in its first pages. A wrong
    expectation only costs time, since a part that turns out to be long is divided again.
    """
    first, last = min(times, default=None), max(times, default=None)
    if first is None or last is None or first == last:
        return
    missing = now - last
    number = min(int(missing / (last - first) * len(times)), MOST_EXPECTED * len(times))
    for position in range(1, number + 1):
        yield last + missing * (position / number)


def _side_by_side(
    query: Query, pages_of: Callable[[Query], Pages], parts: Iterable[tuple[str, ...]], threads: int
) -> tuple[Resource, ...]:
    """Return the resources of all parts. A part that is long itself is parted again."""

    def part(prefixes: tuple[str, ...]) -> _Read:
        values = tuple(f"{prefix}*" for prefix in prefixes)
        asked = replace(query, filters=(*query.filters, ("start-time", values)))
        return _begin(asked, pages_of(asked), prefixes)

    done: list[tuple[Resource, ...]] = []
    with ThreadPoolExecutor(max_workers=threads) as pool:
        waiting: set[Future[_Read]] = {pool.submit(part, prefixes) for prefixes in parts}
        while waiting:
            ended, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            for future in ended:
                outcome = future.result()
                waiting |= {pool.submit(part, prefixes) for prefixes in outcome.parts}
                done += [] if outcome.parts else [outcome.found]
    return tuple(chain.from_iterable(done))


def partition(prefixes: Iterable[str], moments: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return groups of prefixes that together match the start times of *prefixes*, each time once.

    *moments* is a sample of the times. Groups have about the same share of it, and the last groups have none.
    """
    most = max(1, len(moments) // PARTS)
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
