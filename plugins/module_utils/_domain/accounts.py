# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The accounts of the places of copies. A place is a region of an account, under any name of the profile.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Protocol

from .._kernel.errors import SpecError
from .._kernel.facts import CALLER_IDENTITY, account_query
from .._kernel.places import HERE, Place
from .._kernel.resources import Image, Instance, Snapshot
from .._kernel.state import Query, State


class CopyPlace(Protocol):
    """An entry of the option ``copies``: the place of copies."""

    @property
    def region(self) -> str:
        """The region."""

    @property
    def profile(self) -> str | None:
        """The profile of another account, None for the task's own."""

    @property
    def place(self) -> Place:
        """The place that queries and changes carry."""

    @property
    def where(self) -> str:
        """The place as messages show it."""


class Accounts:
    """The account of each profile, from the owner of resources in EC2's answers or from the answer of STS.

    *things*: the originals, for messages.
    """

    def __init__(self, copies: Sequence[CopyPlace], state: State, things: str = "the snapshots") -> None:
        self._copies, self._state, self._things = copies, state, things

    @cached_property
    def _places(self) -> dict[str | None, Place]:
        """Return, by profile, the place whose STS shows the account, or None for the task's own account.

        Return an empty mapping if no copy needs it.
        """
        found: dict[str | None, Place] = {}
        for copy in self._copies:
            if copy.profile:
                found.setdefault(copy.profile, copy.place)
        return {**found, None: HERE} if found else {}

    @cached_property
    def _owners(self) -> dict[str | None, str]:
        """Return, by profile, the owner of any resource in the answers from there."""
        found: dict[str | None, str] = {}
        items: list[Snapshot | Image] = [*self._state.all(Snapshot), *self._own_images()]
        for item in items:
            if item.owner_id:
                found.setdefault(item.place.profile, item.owner_id)
        for instance in self._state.all(Instance):
            if instance.owner_id:
                found.setdefault(None, instance.owner_id)
        return found

    def _own_images(self) -> Iterator[Image]:
        """Yield the images of other places. Only queries for the account's own images are asked there."""
        return (image for image in self._state.all(Image) if image.place)

    def of(self, profile: str | None) -> str:
        """Return the account of a profile, None for the task's own, or an empty text if it is unknown."""
        places = [copy.place for copy in self._copies if copy.profile == profile] if profile else [HERE]
        answers = (CALLER_IDENTITY.of(self._state, place) for place in places)
        named = (answer.account for answer in answers if answer is not None and answer.account is not None)
        return self._owners.get(profile) or next(named, "")

    @property
    def all(self) -> frozenset[str] | None:
        """Return the accounts that get copies through a profile, or None if one of them is unknown."""
        found = frozenset(self.of(profile) for profile in self._places if profile)
        return None if "" in found else found

    def questions(self) -> Iterator[Query]:
        """Yield one query to STS for each profile whose account no answer shows."""
        unknown = (place for profile, place in self._places.items() if profile not in self._owners)
        yield from (replace(account_query(place), optional=True) for place in unknown)

    def unknown(self, copy: CopyPlace) -> str:
        """Return why no copy can be made in a place whose account is unknown, or else an empty text."""
        if not copy.profile:
            return ""
        for profile in (copy.profile, None):
            if not self.of(profile):
                answer = CALLER_IDENTITY.of(self._state, self._places[profile])
                code = (answer.refusal if answer is not None else None) or "no answer"
                whose = f"the profile {profile}" if profile else "the task"
                return (
                    f"GetCallerIdentity for the copies to {copy.where}, with the credentials of {whose}, failed: "
                    f"{code}. Allow sts:GetCallerIdentity"
                )
        return ""

    def require_distinct(self) -> None:
        """Raise SpecError for a place of copies that equals another one, or the place of the originals themselves.

        If an account is unknown, or if no entry has a profile, names are compared.
        """
        if not self._places:
            return
        seen = {(self._state.region, self.of(None) or None): f"that of {self._things}"}
        for number, copy in enumerate(self._copies):
            account = self.of(copy.profile) or copy.profile
            key = (copy.region, account)
            if key in seen:
                raise SpecError(
                    f"copies[{number}]: {copy.where} is the same place as {seen[key]}, in {copy.region} of the "
                    f"account {account}. Name another region, or a profile of another account."
                )
            seen[key] = f"copies[{number}] ({copy.where})"
