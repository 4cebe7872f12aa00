# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The poll loop that all waits of a run share.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .._kernel.errors import StorageError
from .._kernel.facts import STATUS_CHECKS, FactKind, status_queries
from .._kernel.failures import CallError, WaitError
from .._kernel.places import HERE, Place
from .._kernel.plan import Wait
from .._kernel.progress import SILENT, Progress, Sight
from .._kernel.resources import Fact, Image, Instance, Resource, Snapshot, view
from .._kernel.scaling_facts import (
    INSTANCE_REFRESHES,
    SCALING_GROUP,
    InstanceRefresh,
    group_queries,
    refresh_queries,
)
from .._kernel.service_facts import (
    INTERFACE,
    PROBE,
    TARGET_HEALTH,
    interface_queries,
    probe_query,
    target_queries,
)
from .._kernel.state import Query, by_id, images_by_id
from .._kernel.storage_facts import (
    MODIFICATION,
    PARAMETER,
    ROOT_TASKS,
    Modification,
    modification_queries,
    parameter_queries,
    root_task_queries,
)
from .._kernel.wait_goals import GOALS, Verdict, wish

Ask = Callable[[Iterable[Query], float], Mapping[Query, tuple[Resource, ...]]]
"""A function that asks queries. It makes no further attempt after a given moment."""

WaitKey: TypeAlias = tuple[int, int]
"""The numbers of a step and of one of its waits."""

FIRST_POLL = 0.3
"""Seconds until the first poll. EC2 shows no new state before that."""
GROWTH = 1.15
SLOWEST_POLL = 5.0
URGENT_PART, FASTEST_URGENT_POLL, SLOWEST_URGENT_POLL = 0.05, 0.2, 0.6
"""The pause between two polls of an urgent wait: this part of the time that the wait has taken, within these limits in
seconds. A short wait notices its end at once, and a long wait spares EC2's rates.
"""
LOST = 120.0
"""Seconds without any answer after which a wait fails. A temporary error would be over by then."""
GONE = 15.0
"""A resource that EC2 has shown counts as gone once EC2 has left it out for this number of seconds. All of EC2's
servers agree by then.
"""
STUCK = 15.0
"""Seconds after which a wait fails if the resource cannot reach the goal from its state. EC2 no longer shows a state
from before the call by then.
"""
UNSEEN = 60.0
"""A new resource that EC2 has never shown counts as gone after this number of seconds."""
_NAMED = 10
"""The number of resources that a message names."""


_QUERIES: Mapping[str, Callable[[Iterable[str], Place], tuple[Query, ...]]] = {
    PARAMETER.name: parameter_queries,
    INSTANCE_REFRESHES.name: lambda names, _place: refresh_queries(names),
    SCALING_GROUP.name: lambda names, _place: group_queries(names),
    TARGET_HEALTH.name: lambda names, _place: target_queries(names),
    INTERFACE.name: lambda names, _place: interface_queries(interfaces=names),
}
"""The queries for the facts that AWS shows in place of a resource, by their kind."""


def resource_queries(kind: str, ids: Iterable[str], place: Place = HERE) -> tuple[Query, ...]:
    """Return the queries for the state of these resources. An answer leaves out a resource that does not exist."""
    asked = _QUERIES[kind](ids, place) if kind in _QUERIES else _ec2_queries(kind, ids)
    return tuple(dataclasses.replace(query, place=place) for query in asked)


def _ec2_queries(kind: str, ids: Iterable[str]) -> tuple[Query, ...]:
    if kind == Instance.kind:
        return by_id("DescribeInstances", "instance-id", ids)
    if kind == Image.kind:
        return images_by_id(ids)
    if kind == Snapshot.kind:
        return by_id("DescribeSnapshots", "snapshot-id", ids)
    return by_id("DescribeVolumes", "volume-id", ids)


@dataclass(frozen=True)
class _Item:
    """One resource of one wait.

    ``key``: the watcher's name for the wait. ``began``, ``next``: the moments of its begin and of its next poll.
    """

    key: WaitKey
    wait: Wait
    resource: str
    deadline: float
    limit: float | None
    began: float
    next: float
    delay: float
    seen: str = "not asked yet"
    visible: bool = False
    missed: float | None = None
    """The time of the first answer that left the resource out."""
    stuck: float | None = None
    """The time of the first answer with a state from which the goal is out of reach."""
    state: str = "not shown yet"
    percent: float | None = None

    @property
    def fact(self) -> FactKind[Any] | None:
        """Return the kind of fact that the goal needs beside the resource, or None."""
        return GOALS[self.wait.goal].fact

    @property
    def wish(self) -> str:
        """Return the beginning of a message."""
        return f"{self.resource} should become {wish(self.wait.goal, self.wait.about)}"

    def value(self, known: Mapping[str, Resource]) -> Any:
        """Return the value of `fact`, or None."""
        return None if self.fact is None else self.fact.read(known.get(self.fact.id_of(self.resource)), self.resource)

    def found(self, known: Mapping[str, Resource]) -> Resource | None:
        """Return the resource, or the fact that AWS shows in its place. None if an answer leaves it out."""
        kind = GOALS[self.wait.goal].shown_as
        return known.get(self.resource if kind is None else kind.id_of(self.resource))

    def verdict(self, known: Mapping[str, Resource]) -> Verdict:
        return GOALS[self.wait.goal].verdict(self.found(known), self.value(known), self.wait.about)

    def shown(self, verdict: Verdict, resource: Resource, known: Mapping[str, Resource], stuck: float | None) -> _Item:
        """Return the item after an answer that shows its resource."""
        return dataclasses.replace(
            self,
            seen=verdict.seen + _progress(resource),
            visible=True,
            missed=None,
            stuck=stuck,
            state=verdict.seen,
            percent=_percent(resource, self.value(known)),
        )


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _is(found: Any, wanted: Any) -> bool:
    """Return whether *found* is as wanted. A mapping, such as tags, may have more entries than wanted."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(found.get(key) == value for key, value in wanted.items())
    return bool(_plain(found) == _plain(wanted))


def _mismatches(item: _Item, resource: Resource | None) -> list[str]:
    """Return a text for each field that differs from `Wait.expect`."""
    if not item.wait.expect or resource is None:
        return []
    fields = view(resource)
    wrong: list[str] = []
    for name, wanted in item.wait.expect:
        found = fields.get(name)
        if _is(found, wanted):
            continue
        if isinstance(wanted, Mapping) and isinstance(found, Mapping):
            wrong += [
                f"{item.resource}: {key} in {name} is {found.get(key)!r}, expected {value!r}. Another run or a person "
                "has changed it"
                for key, value in wanted.items()
                if found.get(key) != value
            ]
        else:
            wrong.append(f"{item.resource}: {name} is {found!r}, expected {wanted!r}")
    return wrong


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _NAMED
    return "; ".join(texts[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _progress(resource: Resource | None) -> str:
    refresh = _refresh_in(resource.value) if isinstance(resource, Fact) else None
    if refresh is not None:
        return refresh.progress
    return f", {resource.progress} done" if isinstance(resource, Snapshot) and resource.progress else ""


def _refresh_in(value: Any) -> InstanceRefresh | None:
    """Return the newest refresh if the value of a fact is a group's refreshes, else None."""
    newest = value[0] if isinstance(value, tuple) and value else None
    return newest if isinstance(newest, InstanceRefresh) else None


def _percent(resource: Resource, value: Any) -> float | None:
    """Return the percentage of the work that is done, for a volume's modification, a snapshot, or a group's refresh."""
    if isinstance(value, Modification):
        return None if value.progress is None else float(value.progress)
    refresh = _refresh_in(value)
    if refresh is not None:
        return float(refresh.percent)
    found = resource.progress if isinstance(resource, Snapshot) else None
    try:
        return float(str(found).rstrip("%"))
    except ValueError:
        return None


_Failures = list[tuple[StorageError, tuple[WaitKey, ...]]]
"""The errors, each with the keys of the waits that it ends."""


@dataclass(frozen=True)
class Sighting:
    """The result of one poll.

    ``reached``: the keys of the waits whose resources have all reached their goals. ``failed``: the errors, each with
    the keys of the waits that it ends. ``resources``: the polled resources and their facts, by id.
    """

    reached: tuple[WaitKey, ...] = ()
    failed: tuple[tuple[StorageError, tuple[WaitKey, ...]], ...] = ()
    resources: Mapping[str, Resource] = field(default_factory=dict)


class Watch:
    """The waits of a run, polled together. A wait may join at any time.

    The first poll of a wait comes after `FIRST_POLL` seconds, and the next ones at growing intervals. A poll asks for
    all resources whose next poll is due by then or soon after.
    """

    def __init__(self, ask: Ask, monotonic: Callable[[], float], progress: Progress = SILENT) -> None:
        self._ask = ask
        self._monotonic = monotonic
        self._progress = progress
        self._shown = SILENT.wait()
        self._done = 0
        """The number of goals that were reached since the watch last had no wait."""
        self._items: list[_Item] = []
        self._heard = monotonic()
        self._trouble: CallError | None = None
        self._clocks: dict[str, float] = {}
        """The times at which shared timeouts began."""

    def add(self, key: WaitKey, wait: Wait, deadline: float) -> None:
        """Watch for the goal of *wait*. *deadline* (`monotonic`) ends a wait without a timeout of its own."""
        now = self._monotonic()
        if not self._items:
            self._heard, self._trouble = now, None
            self._shown, self._done = self._progress.wait(), 0
        began = self._clocks.setdefault(wait.clock, now) if wait.clock else now
        end, limit = (deadline, None) if wait.timeout is None else (began + wait.timeout, wait.timeout)
        for resource in wait.resources:
            first = max(now, min(now + FIRST_POLL, end))
            self._items.append(_Item(key, wait, resource, end, limit, now, first, FIRST_POLL * GROWTH))

    def drop(self, keys: Iterable[WaitKey]) -> None:
        """Stop watching these waits."""
        gone = set(keys)
        self._items = [item for item in self._items if item.key not in gone]

    @property
    def next_poll(self) -> float | None:
        """The moment (`monotonic`) of the next poll, or None without a wait."""
        return min((item.next for item in self._items), default=None)

    def poll(self) -> Sighting:
        """Ask for the resources that are due, and return the waits that have ended.

        A query with a temporary error is asked again, until AWS has not answered for `LOST` seconds.
        """
        now = self._monotonic()
        due = [item for item in self._items if item.next <= now + FIRST_POLL]
        others = [item for item in self._items if item.next > now + FIRST_POLL]
        self._trouble = None
        left, failures, known = self._seen(due, now)
        now = self._monotonic()
        late = [item for item in left if now >= item.deadline]
        failures += _timeouts(late, self._trouble)
        ended = {key for _error, some in failures for key in some}
        left = [
            dataclasses.replace(item, next=_next(item, now), delay=min(item.delay * GROWTH, SLOWEST_POLL))
            for item in left
        ]
        self._items = [item for item in (*others, *left) if item.key not in ended]
        self._done += len(due) - len(left)
        self._shown.saw([Sight(item.resource, item.state, item.percent) for item in self._items], self._done)
        waiting = {item.key for item in self._items}
        reached = tuple(key for key in dict.fromkeys(item.key for item in due) if key not in waiting | ended)
        return Sighting(reached, tuple(failures), known)

    def _seen(self, due: list[_Item], now: float) -> tuple[list[_Item], _Failures, dict[str, Resource]]:
        """Return the items that still wait, the failures, and the polled resources with their facts.

        A refused query ends the waits that need it. So after a refusal the queries are asked one by one.
        """
        try:
            known = _poll(self._ask, due, now)
        except CallError as error:
            groups = _by_query(due)
            if len(groups) > 1 and not error.passing:
                parts = [self._seen(group, now) for group in groups]
                known = {name: one for _left, _failures, found in parts for name, one in found.items()}
                return [item for part in parts for item in part[0]], [one for part in parts for one in part[1]], known
            # Some of EC2's servers may not know a new id yet.
            lost = self._monotonic() - self._heard > LOST
            if lost or (not error.passing and not error.code.endswith(".NotFound")):
                return [], [(error, tuple(dict.fromkeys(item.key for item in due)))], {}
            self._trouble = error
            return due, [], {}
        self._heard = self._monotonic()
        return (*_judge(due, known, self._heard), known)


def _by_query(items: Iterable[_Item]) -> list[list[_Item]]:
    """Return the items in groups, with one query for each group."""
    groups: dict[tuple[str, Place], list[_Item]] = defaultdict(list)
    for item in items:
        groups[GOALS[item.wait.goal].kind, item.wait.place].append(item)
    return list(groups.values())


def _next(item: _Item, now: float) -> float:
    """Return the moment of the item's next poll: after its delay, or at its deadline."""
    delay = item.delay
    if item.wait.urgent:
        delay = max(FASTEST_URGENT_POLL, min(URGENT_PART * (now - item.began), SLOWEST_URGENT_POLL))
    return max(now, min(now + delay, item.deadline))


def _poll(ask: Ask, pending: Sequence[_Item], now: float) -> dict[str, Resource]:
    """Return the resources that *pending* waits for, with the facts that its goals need."""
    until = max(now, min(item.deadline for item in pending))
    known: dict[str, Resource] = {}

    def learn(queries: Iterable[Query]) -> None:
        asked = tuple(queries)
        for found in ask(asked, until).values() if asked else ():
            known.update((resource.resource_id, resource) for resource in found)

    # Modifications first: a volume that is read after its modification took effect shows the new values.
    learn(modification_queries(item.resource for item in pending if item.fact is MODIFICATION))
    # Tasks first as well: an instance that is read after its task has succeeded shows the new root volume.
    learn(root_task_queries(item.resource for item in pending if item.fact is ROOT_TASKS))
    learn(probe_query(item.resource, item.wait.about) for item in pending if item.fact is PROBE)
    by_kind: dict[tuple[str, Place], list[str]] = {}
    for item in (item for item in pending if item.fact is not PROBE):
        by_kind.setdefault((GOALS[item.wait.goal].kind, item.wait.place), []).append(item.resource)
    learn(query for (kind, place), ids in by_kind.items() for query in resource_queries(kind, ids, place))
    # Only a running instance needs its status checks.
    running = {one.resource_id for one in known.values() if isinstance(one, Instance) and one.state == "running"}
    learn(status_queries(item.resource for item in pending if item.fact is STATUS_CHECKS and item.resource in running))
    return known


def _judge(pending: Sequence[_Item], known: Mapping[str, Resource], now: float) -> tuple[list[_Item], _Failures]:
    """Return the items that still wait, and the failures.

    A failure is a failed resource, or one that is gone before its goal.
    """
    left: list[_Item] = []
    failed: list[tuple[_Item, str]] = []
    wrong: list[tuple[_Item, str]] = []
    for item in pending:
        verdict = item.verdict(known)
        resource = item.found(known)
        if verdict.failed:
            failed.append((item, f"{item.wish} but is {verdict.seen}"))
        elif verdict.done:
            wrong.extend((item, text) for text in _mismatches(item, resource))
        elif resource is None:
            missed = now if item.missed is None else item.missed
            if now - missed >= (GONE if item.visible else UNSEEN):
                failed.append((item, f"{item.wish} but {_vanished(item)}"))
            else:
                left.append(dataclasses.replace(item, seen=verdict.seen, state=verdict.seen, missed=missed))
        else:
            stuck = (now if item.stuck is None else item.stuck) if verdict.stuck else None
            if stuck is not None and now - stuck >= STUCK:
                failed.append((item, f"{item.wish} but is {verdict.seen}"))
            else:
                left.append(item.shown(verdict, resource, known, stuck))
    found: _Failures = [
        (
            WaitError(_listed([text for _item, text in some]), how, [item.resource for item, _text in some]),
            tuple(dict.fromkeys(item.key for item, _text in some)),
        )
        for how, some in (("failed", failed), ("mismatch", wrong))
        if some
    ]
    return left, found


def _vanished(item: _Item) -> str:
    how = "is gone" if item.visible else "EC2 does not show it"
    why = GOALS[item.wait.goal].gone
    return f"{how} ({why})" if why else how


def _timeouts(late: Sequence[_Item], trouble: CallError | None) -> _Failures:
    """Return one error for the late items of each time limit."""
    by_limit: dict[float | None, list[_Item]] = defaultdict(list)
    for item in late:
        by_limit[item.limit].append(item)
    return [(_timeout(items, trouble), tuple(dict.fromkeys(item.key for item in items))) for items in by_limit.values()]


def _timeout(late: Sequence[_Item], trouble: CallError | None) -> WaitError:
    texts = [f"{item.wish} but is still {item.seen}" for item in late]
    asked = f" AWS did not answer the last query: {trouble}" if trouble is not None else ""
    over = " (wait_timeout is over)" if late[0].limit is None else f" after {late[0].limit:g} s"
    return WaitError(
        f"Timeout{over}: {_listed(texts)}.{asked}",
        "timeout",
        [item.resource for item in late],
    )
