# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option ``copies``: the other places of snapshots or images, each named by a region and a profile.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from .._kernel.errors import SpecError
from .._kernel.places import Destination
from .zones import is_region

_Copy = TypeVar("_Copy", bound=Destination)


def parse_copies(
    given: Iterable[Mapping[str, Any]] | None,
    region: str,
    originals: str,
    parse: Callable[[str, str, str | None, Mapping[str, Any]], _Copy],
) -> tuple[_Copy, ...]:
    """Return the places of the entries in *given*. *parse* makes one of the entry's name in messages, its region, its
    profile and the entry.

    *originals*: the clause about the task's own *region*, such as ``has the originals``. Raises SpecError for an entry
    that names no region, the place of the originals, or the place of another entry.
    """
    copies: list[_Copy] = []
    for number, entry in enumerate(given or ()):
        option = f"copies[{number}]"
        where, profile = str(entry["region"]), entry.get("profile") or None
        if not is_region(where):
            raise SpecError(f"{option}.region: {where!r} is not an AWS region. Use one such as eu-west-1.")
        if profile is not None and "@" in profile:
            raise SpecError(f"{option}.profile: {profile!r} has an @. Use a name without @.")
        if where == region and profile is None:
            raise SpecError(f"{option}.region: {where} {originals}. Use another region, or a profile.")
        copy = parse(option, where, profile, entry)
        if any(one.place == copy.place for one in copies):
            raise SpecError(f"{option}: {copy.where} is listed twice. Remove one entry.")
        copies.append(copy)
    return tuple(copies)
