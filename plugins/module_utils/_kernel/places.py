# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Places: one region of the task's own account, or of another profile's account.

Private to this collection.
"""

from __future__ import annotations

from typing import Self


class Place(str):
    """One region of one account. Its text is a key in queries, states and tags: ``eu-west-1``, ``eu-west-1@backup``.

    Without a profile it is a region of the task's own account. The empty place `HERE` is the task's own region.
    """

    __slots__ = ()

    def __new__(cls, region: str = "", profile: str | None = None) -> Self:
        """Return the place of a region and, for another account, of the profile that reaches it."""
        return super().__new__(cls, f"{region}@{profile}" if profile else region)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the place that has this text."""
        region, _at, profile = text.partition("@")
        return cls(region, profile)

    @property
    def region(self) -> str:
        """The region, empty for `HERE`."""
        return self.partition("@")[0]

    @property
    def profile(self) -> str | None:
        """The profile of another account, or None for the task's own."""
        return self.partition("@")[2] or None

    @property
    def text(self) -> str:
        """The place as a person reads it: ``eu-west-1``, ``eu-west-1 (profile backup)``."""
        return f"{self.region} (profile {self.profile})" if self.profile else self.region


HERE = Place()
"""The task's own region and account."""


class Destination:
    """Base of the specs that name a place by a region and a profile."""

    region: str
    profile: str | None

    @property
    def place(self) -> Place:
        """Return the place that queries and changes carry."""
        return Place(self.region, self.profile)

    @property
    def where(self) -> str:
        """Return the place as messages show it."""
        return self.place.text


def parameter_id(place: Place, name: str) -> str:
    """Return the id of an SSM parameter in states and plans: its name, with its place where that is not `HERE`."""
    return f"{place}:{name}" if place else name


def parameter_name(place: Place, parameter: str) -> str:
    """Return the name of the SSM parameter with this id in a place."""
    return parameter.removeprefix(f"{place}:") if place else parameter
