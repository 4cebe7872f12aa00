# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Queries, the questions to AWS, and the state, all answers so far.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from .errors import StorageError
from .ids import is_planned
from .resources import Fact, Image, Instance, Resource, Snapshot, Volume

T = TypeVar("T")
_WILD = re.compile(r"[*?\\]")


@dataclass(frozen=True)
class Query:
    """One question to AWS, asked with pagination until it is answered whole.

    ``filters`` are EC2's (name, values); ``arguments`` any other parameters of the operation, values hashable (tuples
    for lists). Resources are asked for by a filter on their id, not by an id list: what does not exist is then simply
    not in the answer. ``place``: where it is asked, see `place_of`; empty for the task's own region and account.
    ``optional``: the planner can do a part of its work without the answer, see `State.unanswered`.
    """

    operation: str
    filters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    arguments: tuple[tuple[str, Any], ...] = ()
    service: str = "ec2"
    place: str = ""
    optional: bool = field(default=False, compare=False)


class NeedsAnswers(Exception):
    """A planner cannot go on before *queries* are answered: the runner asks them, and plans again from the start."""

    def __init__(self, queries: tuple[Query, ...]) -> None:
        super().__init__(f"{len(queries)} queries are not answered yet")
        self.queries = queries


def together(*parts: Callable[[], T]) -> list[T]:
    """Return what each of *parts* returns. The queries that they require are asked in one round.

    Raises NeedsAnswers with the queries of all parts, and at once any other error of a part.
    """
    found: list[T] = []
    queries: dict[Query, None] = {}
    for part in parts:
        try:
            found.append(part())
        except NeedsAnswers as needed:
            queries.update(dict.fromkeys(needed.queries))
    if queries:
        raise NeedsAnswers(tuple(queries))
    return found


class Struct(tuple[tuple[str, Any], ...]):
    """A structure inside the arguments of a query: (key, value) pairs, hashable."""


def by_id(operation: str, filter_name: str, ids: Iterable[str], **arguments: Any) -> tuple[Query, ...]:
    """The query for these resources; none for ids that are only planned, and none at all when nothing is left to ask
    for. The ids, or whatever the filter compares, are taken to the letter.

    EC2 takes 200 values in one filter, so more ids make more queries.
    """
    wanted = sorted({resource for resource in ids if resource and not is_planned(resource)})
    return tuple(
        Query(
            operation,
            ((filter_name, tuple(literal(value) for value in wanted[start : start + 200])),),
            tuple(sorted(arguments.items())),
        )
        for start in range(0, len(wanted), 200)
    )


def literal(value: str) -> str:
    """Return the filter value that finds exactly *value*: EC2's wildcards and their escape are plain characters in it.

    Every value of a user's that stands in a filter goes through this function.
    """
    return _WILD.sub(r"\\\g<0>", value)


def images_by_id(ids: Iterable[str]) -> tuple[Query, ...]:
    """The query for these images. EC2 hides disabled ones, and deprecated ones of others, from filters unless asked."""
    return by_id("DescribeImages", "image-id", ids, IncludeDeprecated=True, IncludeDisabled=True)


def tag_filters(tags: Mapping[str, str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """EC2's filters for what has all these tags, to the letter."""
    return tuple((f"tag:{key}", (literal(value),)) for key, value in sorted(tags.items()))


def own_snapshots(tags: Mapping[str, str]) -> Query:
    """The account's snapshots that have all these tags; without the owner EC2 lists public ones too."""
    return Query("DescribeSnapshots", tag_filters(tags), (("OwnerIds", ("self",)),))


def own_images(*filters: tuple[str, tuple[str, ...]]) -> Query:
    """The account's images that pass the filters, the disabled ones too: they keep name and snapshots."""
    return Query("DescribeImages", filters, (("IncludeDisabled", True), ("Owners", ("self",))))


def resource_key(resource: Resource, place: str = "") -> str:
    """The key under which a state holds the resource: its place and its id, its id alone in the task's own region.

    *place*: that of the query that has found it, for what does not say itself where it is.
    """
    where = resource.place if isinstance(resource, Snapshot) else place
    return f"{where} {resource.resource_id}" if where else resource.resource_id


@dataclass(frozen=True)
class State:
    """What is known of EC2: the resources by place and id (`resource_key`), and which queries have been answered.

    ``now`` is EC2's time once it has answered, for those who can only ask on when they know it. ``unanswered``: the
    optional queries that AWS refused or did not answer, and why. They count as answered, with nothing. ``open``: more
    can be asked, see `require`.
    """

    region: str
    resources: Mapping[str, Resource] = field(default_factory=dict)
    answered: frozenset[Query] = frozenset()
    now: datetime | None = None
    unanswered: Mapping[Query, StorageError] = field(default_factory=dict)
    open: bool = False

    def require(self, *queries: Query) -> None:
        """Return when all *queries* are answered. A planner calls this at the point where it needs the answers.

        Raises NeedsAnswers with those that are not. What depends on no answer is required at once, since each time
        costs a round of calls. A state that is not open, such as a predicted one, has all the answers there are.
        """
        missing = tuple(query for query in dict.fromkeys(queries) if query not in self.answered)
        if missing and self.open:
            raise NeedsAnswers(missing)

    def _find(self, cls: type[T], resource_id: str | None, place: str = "") -> T | None:
        found = self.resources.get(f"{place} {resource_id}" if place else resource_id or "")
        return found if isinstance(found, cls) else None

    def instance(self, resource_id: str | None) -> Instance | None:
        """The instance of that id, None when there is none or it was not asked for."""
        return self._find(Instance, resource_id)

    def image(self, resource_id: str | None) -> Image | None:
        """The image of that id, None when there is none or it was not asked for."""
        return self._find(Image, resource_id)

    def snapshot(self, resource_id: str | None, place: str = "") -> Snapshot | None:
        """The snapshot of that id in a place, None when there is none or it was not asked for."""
        return self._find(Snapshot, resource_id, place)

    def volume(self, resource_id: str | None) -> Volume | None:
        """The volume of that id, None when there is none or it was not asked for."""
        return self._find(Volume, resource_id)

    def fact(self, fact_id: str, place: str = "") -> Any:
        """The value of a place's answer that is no resource, None when it was not asked for or AWS has none."""
        found = self._find(Fact, fact_id, place)
        return None if found is None else found.value

    def refusal(self, operation: str) -> StorageError | None:
        """Why AWS did not answer an optional query of this operation; None when it answered them all."""
        return next((error for query, error in self.unanswered.items() if query.operation == operation), None)

    def all(self, cls: type[T]) -> Iterator[T]:
        """Every resource of one class, in the order of the answers."""
        return (resource for resource in self.resources.values() if isinstance(resource, cls))

    def with_answers(self, answers: Mapping[Query, Iterable[Resource]]) -> State:
        """This state and what the queries found."""
        resources = dict(self.resources)
        for query, found in answers.items():
            resources.update((resource_key(resource, query.place), resource) for resource in found)
        return dataclasses.replace(self, resources=resources, answered=self.answered | set(answers))

    def with_resources(self, resources: Iterable[Resource]) -> State:
        """This state with these resources in place of what was known of them."""
        return dataclasses.replace(
            self, resources={**self.resources, **{resource_key(resource): resource for resource in resources}}
        )
