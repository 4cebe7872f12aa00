# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Queries are the questions to AWS, and the state is all answers so far.

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
from .places import HERE, Place
from .resources import Fact, Image, Instance, Resource, Snapshot, Volume

T = TypeVar("T")
_WILD = re.compile(r"[*?\\]")


@dataclass(frozen=True)
class Query:
    """One question to AWS, asked with all its pages.

    ``filters`` are EC2's (name, values). ``arguments`` are any other parameters of the operation, with hashable values
    (tuples for lists). A query filters on ids instead of listing them, so the answer leaves out a missing resource.
    ``place``: the place of the question, `HERE` for the task's own region and account. ``optional``: the planner can do
    a part of its work without the answer, see `State.unanswered`.
    """

    operation: str
    filters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    arguments: tuple[tuple[str, Any], ...] = ()
    service: str = "ec2"
    place: Place = HERE
    optional: bool = field(default=False, compare=False)


class NeedsAnswers(Exception):
    """A planner needs the answers to *queries*. The runner asks them, and plans again from the start."""

    def __init__(self, queries: tuple[Query, ...]) -> None:
        super().__init__(f"{len(queries)} queries are not answered yet")
        self.queries = queries


def together(*parts: Callable[[], T]) -> list[T]:
    """Return the result of each of *parts*. The queries that they require are asked in one round.

    Raises NeedsAnswers with the queries of all parts. Any other error of a part is raised at once.
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
    """Return the queries for these resources. Planned ids are left out, and without other ids there is no query.

    Wildcards in ids and other filter values are plain characters. EC2 takes 200 values in one filter, so more ids need
    more queries.
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
    """Return the filter value that finds exactly *value*, with EC2's wildcards and their escape as plain characters.

    Every value of a user in a filter goes through this function.
    """
    return _WILD.sub(r"\\\g<0>", value)


def images_by_id(ids: Iterable[str]) -> tuple[Query, ...]:
    """Return the queries for these images.

    EC2 shows disabled images, and deprecated ones of other accounts, only on request.
    """
    return by_id("DescribeImages", "image-id", ids, IncludeDeprecated=True, IncludeDisabled=True)


def tag_filters(tags: Mapping[str, str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return EC2's filters for resources with exactly these tags and values."""
    return tuple((f"tag:{key}", (literal(value),)) for key, value in sorted(tags.items()))


def own_snapshots(tags: Mapping[str, str]) -> Query:
    """Return the query for the account's snapshots with all these tags. Without an owner, EC2 lists public ones too."""
    return own_snapshots_where(*tag_filters(tags))


def own_snapshots_where(*filters: tuple[str, tuple[str, ...]]) -> Query:
    """Return the query for the account's snapshots that pass the filters."""
    return Query("DescribeSnapshots", filters, (("OwnerIds", ("self",)),))


def own_images(*filters: tuple[str, tuple[str, ...]]) -> Query:
    """Return the query for the account's images that pass the filters. Disabled images keep their
    name and snapshots.
    """
    return Query("DescribeImages", filters, (("IncludeDisabled", True), ("Owners", ("self",))))


def resource_key(resource: Resource, place: Place = HERE) -> str:
    """Return the key of a resource in a state: its place and its id, or its id alone in the task's own region.

    *place*: the place of the query, for resources that do not name their own.
    """
    where = resource.place if isinstance(resource, (Image, Snapshot)) else place
    return f"{where} {resource.resource_id}" if where else resource.resource_id


class Drafts:
    """What a planner has computed in the earlier rounds of one plan.

    A planner starts anew with each round of answers. Most rounds bring facts about few resources, and the rest of a
    large listing is what it was.
    """

    def __init__(self) -> None:
        self._kept: dict[str, tuple[tuple[Any, ...], Any]] = {}

    def once(self, name: str, inputs: tuple[Any, ...], compute: Callable[[], T]) -> T:
        """Return what *compute* returns, or has returned under this name for equal *inputs*. Nobody may alter it.

        *inputs*: all that the result depends on, except the task's options. The comparison is short for the same
        objects, and equal resources are the same objects until AWS answers about them again.
        """
        kept = self._kept.get(name)
        if kept is None or kept[0] != inputs:
            kept = self._kept[name] = (inputs, compute())
        found: T = kept[1]
        return found


@dataclass(frozen=True)
class State:
    """All answers of AWS so far: the resources by place and id (`resource_key`), and the answered queries.

    ``now`` is EC2's time, once it has answered. ``unanswered``: the optional queries that AWS refused or did not
    answer, with the errors. They count as answered, with an empty answer. ``open``: the planner can ask further
    queries, see `require`. ``drafts``: shared by all rounds of one plan.
    """

    region: str
    resources: Mapping[str, Resource] = field(default_factory=dict)
    answered: frozenset[Query] = frozenset()
    now: datetime | None = None
    unanswered: Mapping[Query, StorageError] = field(default_factory=dict)
    open: bool = False
    drafts: Drafts = field(default_factory=Drafts, compare=False, repr=False)

    def require(self, *queries: Query) -> None:
        """Return when all *queries* are answered. A planner calls this where it needs the answers.

        Raises NeedsAnswers for the queries without an answer. A planner requires independent queries at once, since
        each call may cost a round of calls to AWS. A state that is not open, such as a predicted one, gets no further
        answers.
        """
        missing = tuple(query for query in dict.fromkeys(queries) if query not in self.answered)
        if missing and self.open:
            raise NeedsAnswers(missing)

    def knows(self, *queries: Query) -> bool:
        """Return whether all *queries* are answered. Return True for a state that is not open."""
        return not self.open or all(query in self.answered for query in queries)

    def was_asked(self, operation: str, filter_name: str, value: str) -> bool:
        """Return whether an answered query has this value in its filter. Return True for a state that is not open."""
        return not self.open or any(
            query.operation == operation and value in dict(query.filters).get(filter_name, ())
            for query in self.answered
        )

    def _find(self, cls: type[T], resource_id: str | None, place: Place = HERE) -> T | None:
        found = self.resources.get(f"{place} {resource_id}" if place else resource_id or "")
        return found if isinstance(found, cls) else None

    def instance(self, resource_id: str | None) -> Instance | None:
        """Return the instance of that id. Return None if it does not exist, or was not asked for."""
        return self._find(Instance, resource_id)

    def image(self, resource_id: str | None, place: Place = HERE) -> Image | None:
        """Return the image of that id in a place. Return None if it does not exist, or was not asked for."""
        return self._find(Image, resource_id, place)

    def snapshot(self, resource_id: str | None, place: Place = HERE) -> Snapshot | None:
        """Return the snapshot of that id in a place. Return None if it does not exist, or was not asked for."""
        return self._find(Snapshot, resource_id, place)

    def volume(self, resource_id: str | None) -> Volume | None:
        """Return the volume of that id. Return None if it does not exist, or was not asked for."""
        return self._find(Volume, resource_id)

    def fact(self, fact_id: str, place: Place = HERE) -> Fact | None:
        """Return the fact of that id in a place. Return None if AWS has none, or was not asked.

        Only the kinds of facts read it, see `facts.FactKind`.
        """
        return self._find(Fact, fact_id, place)

    def refusal(self, operation: str) -> StorageError | None:
        """Return why AWS did not answer an optional query of this operation, or None."""
        return next((error for query, error in self.unanswered.items() if query.operation == operation), None)

    def all(self, cls: type[T]) -> Iterator[T]:
        """Return every resource of one class, in the order of the answers."""
        return (resource for resource in self.resources.values() if isinstance(resource, cls))

    def here(self) -> State:
        """Return this state without the resources of other places."""
        own = {key: resource for key, resource in self.resources.items() if key == resource.resource_id}
        return self if len(own) == len(self.resources) else dataclasses.replace(self, resources=own)

    def at(self, place: Place) -> State:
        """Return this state as it looks from another place, whose resources and answers are then those of `HERE`.

        Its `require` names the queries of that place.
        """
        prefix = f"{place} "
        return _Elsewhere(
            region=place,
            resources={
                key.removeprefix(prefix): resource
                for key, resource in self.resources.items()
                if key == f"{prefix}{resource.resource_id}"
            },
            answered=frozenset(dataclasses.replace(one, place=HERE) for one in self.answered if one.place == place),
            now=self.now,
            unanswered={
                dataclasses.replace(one, place=HERE): error
                for one, error in self.unanswered.items()
                if one.place == place
            },
            open=self.open,
        )

    def with_answers(self, answers: Mapping[Query, Iterable[Resource]]) -> State:
        """Return this state with the answers to more queries."""
        resources = dict(self.resources)
        for query, found in answers.items():
            resources.update((resource_key(resource, query.place), resource) for resource in found)
        return dataclasses.replace(self, resources=resources, answered=self.answered | set(answers))

    def without(self, ids: Iterable[str]) -> State:
        """Return this state without these resources of the task's own region."""
        gone = set(ids)
        return dataclasses.replace(
            self, resources={key: resource for key, resource in self.resources.items() if key not in gone}
        )

    def with_resources(self, resources: Iterable[Resource]) -> State:
        """Return this state with these resources in place of their former versions."""
        return dataclasses.replace(
            self, resources={**self.resources, **{resource_key(resource): resource for resource in resources}}
        )


class _Elsewhere(State):
    """A state as it looks from another place, see `State.at`. Its ``region`` is the text of the place."""

    def require(self, *queries: Query) -> None:
        try:
            super().require(*queries)
        except NeedsAnswers as needed:
            place = Place.parse(self.region)
            raise NeedsAnswers(tuple(dataclasses.replace(query, place=place) for query in needed.queries)) from None
