# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One poll loop for everything that a stage waits for.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._kernel.failures import CallError, WaitError
from .._kernel.plan import Wait
from .._kernel.resources import Fact, Image, Instance, Resource, Snapshot, view
from .._kernel.state import Query, by_id, images_by_id
from .._kernel.wait_goals import GOALS, Verdict, wish

Ask = Callable[[Iterable[Query]], Mapping[Query, tuple[Resource, ...]]]

FIRST_POLL = 0.3
"""Seconds until the first poll. EC2 has nothing to tell earlier."""
GROWTH = 1.5
SLOWEST_POLL = 5.0
LOST = 120.0
"""Seconds without a single answer after which a wait is given up: by then it is no passing error."""
GONE = 15.0
"""Seconds without it in any answer, though one before had it, after which a resource is gone: by then all of EC2's
servers agree.
"""
STUCK = 15.0
"""Seconds in a state from which the goal is not reached, after which a wait has failed: by then it is no answer from
before the call.
"""
UNSEEN = 60.0
"""Seconds without it in any answer, and none before had it, after which what was made is taken to be gone."""
_NAMED = 10
"""How many resources a message names."""
_STATUS_IDS = 100
"""DescribeInstanceStatus takes that many explicit ids."""


def resource_queries(kind: str, ids: Iterable[str]) -> tuple[Query, ...]:
    """The questions for the state of these resources. What does not exist is simply not in the answer."""
    if kind == Instance.kind:
        return by_id("DescribeInstances", "instance-id", ids)
    if kind == Image.kind:
        return images_by_id(ids)
    if kind == Snapshot.kind:
        return by_id("DescribeSnapshots", "snapshot-id", ids)
    return by_id("DescribeVolumes", "volume-id", ids)


def status_queries(ids: Iterable[str]) -> tuple[Query, ...]:
    """The questions for instances' status checks. The operation has no filter on ids, and refuses one that it does not
    know.
    """
    wanted = sorted(set(ids))
    return tuple(
        Query(
            "DescribeInstanceStatus",
            arguments=(("IncludeAllInstances", True), ("InstanceIds", tuple(wanted[start : start + _STATUS_IDS]))),
        )
        for start in range(0, len(wanted), _STATUS_IDS)
    )


@dataclass(frozen=True)
class _Item:
    """One resource of one wait."""

    wait: Wait
    resource: str
    deadline: float
    limit: float | None
    seen: str = "not asked yet"
    visible: bool = False
    missed: float | None = None
    """Since when the answers have been without it."""
    stuck: float | None = None
    """Since when the goal cannot be reached from what the answers show."""

    @property
    def fact(self) -> str:
        """Which fact the goal needs beside the resource, empty for none."""
        return GOALS[self.wait.goal].fact

    @property
    def wish(self) -> str:
        """The beginning of a message."""
        return f"{self.resource} should become {wish(self.wait.goal, self.wait.about)}"

    def verdict(self, known: Mapping[str, Resource]) -> Verdict:
        fact = known.get(f"{self.resource}/{self.fact}")
        value = fact.value if isinstance(fact, Fact) else None
        return GOALS[self.wait.goal].verdict(known.get(self.resource), value, self.wait.about)


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _is(found: Any, wanted: Any) -> bool:
    """A mapping, such as tags, is to have at least what is wanted."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(found.get(key) == value for key, value in wanted.items())
    return bool(_plain(found) == _plain(wanted))


def _mismatches(item: _Item, resource: Resource | None) -> list[str]:
    """What `Wait.expect` finds wrong, as text."""
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
                f"{item.resource}: {name}: {key} is {found.get(key)!r}, expected was {value!r}: another run, or "
                "somebody, has changed it in the meantime"
                for key, value in wanted.items()
                if found.get(key) != value
            ]
        else:
            wrong.append(f"{item.resource}: {name} is {found!r}, expected was {wanted!r}")
    return wrong


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - _NAMED
    return "; ".join(texts[:_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _progress(resource: Resource | None) -> str:
    return f", {resource.progress} done" if isinstance(resource, Snapshot) and resource.progress else ""


def wait_for(
    ask: Callable[[Iterable[Query], float], Mapping[Query, tuple[Resource, ...]]],
    waits: Sequence[Wait],
    deadline: float,
    monotonic: Callable[[], float],
    sleep: Callable[[float], None],
) -> dict[str, Resource]:
    """Polls until every resource of every wait has reached its goal; returns them as last seen, with their facts.

    ``ask(queries, until)`` asks, and stops trying at *until*. *deadline* is for waits without a timeout of their own. A
    question that fails for a passing reason is asked again; an answer is never taken for granted. Raises WaitError, and
    CallError for what no waiting mends.
    """
    started = heard = monotonic()
    pending = [
        _Item(
            wait,
            resource,
            *((deadline, None) if wait.timeout is None else (started + wait.timeout, wait.timeout)),
        )
        for wait in waits
        for resource in wait.resources
    ]
    observed: dict[str, Resource] = {}
    trouble: CallError | None = None
    delay = FIRST_POLL
    while pending:
        now = monotonic()
        sleep(max(0.0, min(delay, min(item.deadline for item in pending) - now)))
        delay = min(delay * GROWTH, SLOWEST_POLL)
        try:
            known = _poll(ask, pending, monotonic())
        except CallError as error:
            # An id that was just made may not be known to every one of EC2's servers yet.
            if not error.passing and not error.code.endswith(".NotFound"):
                raise
            trouble = error
            if monotonic() - heard > LOST:
                raise
        else:
            trouble, heard = None, monotonic()
            observed.update(known)
            pending = _judge(pending, known, heard)
        late = [item for item in pending if monotonic() >= item.deadline]
        if late:
            raise _timeout(late, trouble)
    return observed


def _poll(
    ask: Callable[[Iterable[Query], float], Mapping[Query, tuple[Resource, ...]]], pending: Sequence[_Item], now: float
) -> dict[str, Resource]:
    """Everything that *pending* is about, with the facts that its goals need."""
    until = max(now, min(item.deadline for item in pending))
    known: dict[str, Resource] = {}

    def learn(queries: Iterable[Query]) -> None:
        asked = tuple(queries)
        for found in ask(asked, until).values() if asked else ():
            known.update((resource.resource_id, resource) for resource in found)

    # Modifications first: once one has taken effect, the volume that is read after it shows what it has become.
    modified = [item.resource for item in pending if item.fact == "modification"]
    learn(by_id("DescribeVolumesModifications", "volume-id", modified))
    by_kind: dict[tuple[str, str], list[str]] = {}
    for item in pending:
        by_kind.setdefault((GOALS[item.wait.goal].kind, item.wait.place), []).append(item.resource)
    learn(
        dataclasses.replace(query, place=place)
        for (kind, place), ids in by_kind.items()
        for query in resource_queries(kind, ids)
    )
    # Status checks only of what would be done but for them.
    running = {one.resource_id for one in known.values() if isinstance(one, Instance) and one.state == "running"}
    learn(status_queries(item.resource for item in pending if item.fact == "status" and item.resource in running))
    return known


def _judge(pending: Sequence[_Item], known: Mapping[str, Resource], now: float) -> list[_Item]:
    """What is left to wait for. Raises WaitError for what ended badly, or is gone before its goal was reached."""
    left: list[_Item] = []
    failed: list[tuple[str, str]] = []
    wrong: list[tuple[str, str]] = []
    for item in pending:
        verdict = item.verdict(known)
        resource = known.get(item.resource)
        if verdict.failed:
            failed.append((item.resource, f"{item.wish} but is {verdict.seen}"))
        elif verdict.done:
            wrong.extend((item.resource, text) for text in _mismatches(item, resource))
        elif resource is None:
            missed = now if item.missed is None else item.missed
            if now - missed >= (GONE if item.visible else UNSEEN):
                failed.append((item.resource, f"{item.wish} but {_vanished(item)}"))
            else:
                left.append(dataclasses.replace(item, seen=verdict.seen, missed=missed))
        else:
            stuck = (now if item.stuck is None else item.stuck) if verdict.stuck else None
            if stuck is not None and now - stuck >= STUCK:
                failed.append((item.resource, f"{item.wish} but is {verdict.seen}"))
            else:
                seen = verdict.seen + _progress(resource)
                left.append(dataclasses.replace(item, seen=seen, visible=True, missed=None, stuck=stuck))
    for how, found in (("failed", failed), ("mismatch", wrong)):
        if found:
            raise WaitError(_listed([text for _resource, text in found]), how, [resource for resource, _text in found])
    return left


def _vanished(item: _Item) -> str:
    how = "is gone" if item.visible else "EC2 does not show it"
    why = GOALS[item.wait.goal].gone
    return f"{how} ({why})" if why else how


def _timeout(late: Sequence[_Item], trouble: CallError | None) -> WaitError:
    texts = [f"{item.wish} but is still {item.seen}" for item in late]
    asked = f" The last question was not answered: {trouble}" if trouble is not None else ""
    over = " (wait_timeout is over)" if late[0].limit is None else f" after {late[0].limit:g} s"
    return WaitError(
        f"Timeout{over}: {_listed(texts)}.{asked}",
        "timeout",
        [item.resource for item in late],
    )
