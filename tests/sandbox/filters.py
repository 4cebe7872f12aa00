# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The filters of Describe calls."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import Ec2Error
from .wire import timestamp_text

if TYPE_CHECKING:
    from .engine import Request

Row = TypeVar("Row")
Value = str | bool | int | datetime | None
Field = Callable[[Any], "Value | Iterable[Value]"]
Test = Callable[[Any], bool]

#: Values in one filter; EC2 refuses more.
MOST_VALUES = 200


@dataclass(frozen=True)
class MotoRow:
    """A resource that moto keeps, as the caller sees it."""

    shape: Mapping[str, Any]

    @property
    def tags(self) -> dict[str, str]:
        """The tags. EC2 calls those of an interface TagSet."""
        return {tag["Key"]: tag["Value"] for tag in self.shape.get("TagSet") or self.shape.get("Tags") or ()}


def of_row(*names: str) -> Field:
    """The field of a `MotoRow` that these names lead to, one inside the other."""

    def value(one: MotoRow) -> Any:
        found: Any = one.shape
        for name in names:
            found = (found or {}).get(name)
        return found

    return value


def matching(request: Request, rows: Iterable[Row], fields: Mapping[str, Field], *, tagged: bool = True) -> list[Row]:
    """The rows that the request's Filters let through, in their order.

    The values of one filter are alternatives, and all filters must match. `*` and `?` are wildcards, a backslash takes
    their meaning away; letters' case counts. fields: by filter name, what a row has there: one value, many, or None;
    booleans count as "true" and "false", datetimes as their text. `tag:KEY` and `tag-key` read row.tags and need no
    field; calls that do not have these filters are not tagged.

    A filter without values matches nothing. Raises Ec2Error InvalidParameterValue for an unknown filter or a missing
    name, and FilterLimitExceeded for more than 200 values.
    """
    tests = compiled(request.params.get("Filters") or [], fields, tagged=tagged)
    if not tests:
        return list(rows)
    if len(tests) == 1:
        only = tests[0]
        return [row for row in rows if only(row)]
    return [row for row in rows if all(test(row) for test in tests)]


def _own_tags(row: Any) -> Mapping[str, str] | None:
    tags: Mapping[str, str] | None = row.tags
    return tags


def compiled(
    filters: Sequence[Mapping[str, Any]],
    fields: Mapping[str, Field],
    *,
    tagged: bool = True,
    tags_of: Callable[[Any], Mapping[str, str] | None] = _own_tags,
) -> list[Test]:
    """One test per filter; see `matching` for the rules and errors. tags_of: the tags that the caller sees of a row."""
    tests = []
    for one in filters:
        name, values = one.get("Name", ""), one.get("Values") or ()
        if not name:
            raise Ec2Error("InvalidParameterValue", "The filter name is missing")
        if len(values) > MOST_VALUES:
            raise Ec2Error(
                "FilterLimitExceeded",
                f"The maximum number of filter values specified on a single call is {MOST_VALUES}",
            )
        holds = matcher(values)
        if name in fields:
            tests.append(_field_test(fields[name], holds))
        elif tagged and name.startswith("tag:") and len(name) > 4:
            tests.append(_tag_test(name[4:], holds, tags_of))
        elif tagged and name == "tag-key":
            tests.append(_tag_key_test(holds, tags_of))
        else:
            raise Ec2Error("InvalidParameterValue", f"The filter '{name}' is invalid")
    return tests


def _tag_test(key: str, holds: Callable[[str], bool], tags_of: Callable[[Any], Mapping[str, str] | None]) -> Test:
    def test(row: Any) -> bool:
        tags = tags_of(row)
        value = tags.get(key) if tags else None
        return value is not None and holds(value)

    return test


def _tag_key_test(holds: Callable[[str], bool], tags_of: Callable[[Any], Mapping[str, str] | None]) -> Test:
    return lambda row: any(holds(key) for key in tags_of(row) or ())


def _field_test(field: Field, holds: Callable[[str], bool]) -> Test:
    def test(row: Any) -> bool:
        value = field(row)
        if value is None:
            return False
        if isinstance(value, str):
            return holds(value)
        if isinstance(value, (bool, int, datetime)):
            return holds(_text(value))
        return any(holds(each if isinstance(each, str) else _text(each)) for each in value if each is not None)

    return test


def _text(value: bool | int | datetime) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return _moment_text(value) if isinstance(value, datetime) else str(value)


@lru_cache(maxsize=1 << 17)
def _moment_text(moment: datetime) -> str:
    """The text of a time. A filter on the times of 100,000 snapshots reads each of them for every page."""
    return timestamp_text(moment)


def matcher(values: Iterable[str]) -> Callable[[str], bool]:
    """A test of one text against filter values: exact ones by a set, those with wildcards by one expression."""
    return _matcher(tuple(values))


@lru_cache(maxsize=64)
def _matcher(values: tuple[str, ...]) -> Callable[[str], bool]:
    exact: set[str] = set()
    patterns: list[str] = []
    for value in values:
        pattern, literal, wild = _pattern(value)
        if wild:
            patterns.append(pattern)
        else:
            exact.add(literal)
    if not patterns:
        return exact.__contains__
    match = re.compile("|".join(patterns), re.DOTALL).fullmatch

    @lru_cache(maxsize=1 << 14)
    def holds(text: str) -> bool:
        """Many rows have the same text, and each page of a listing asks about them again."""
        return text in exact or match(text) is not None

    return holds


def _pattern(value: str) -> tuple[str, str, bool]:
    """(regular expression, the text when it has no wildcard, whether it has one)."""
    expression, literal, wild = "", "", False
    position = 0
    while position < len(value):
        letter = value[position]
        if letter == "\\" and position + 1 < len(value):
            position += 1
            letter = value[position]
            expression += re.escape(letter)
            literal += letter
        elif letter == "*":
            expression, wild = expression + ".*", True
        elif letter == "?":
            expression, wild = expression + ".", True
        else:
            expression += re.escape(letter)
            literal += letter
        position += 1
    return expression, literal, wild
