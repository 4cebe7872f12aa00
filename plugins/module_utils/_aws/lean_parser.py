# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A quick parser for the two long lists of EC2: the snapshots of DescribeSnapshots, and the volumes of DescribeVolumes.

botocore reads the model of every element again for each of 100,000 snapshots. This parser reads each model once, and
makes a function from it. botocore parses everything else, and a list with an unusual element.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

try:
    from botocore.parsers import PROTOCOL_PARSERS, EC2QueryParser, ResponseParserFactory
except ImportError:  # AnsibleAWSModule reports the missing library, with the versions that it needs
    PROTOCOL_PARSERS, EC2QueryParser, ResponseParserFactory = {}, object, object  # type: ignore[assignment, misc]

if TYPE_CHECKING:
    from datetime import datetime
    from xml.etree.ElementTree import Element

LISTS = frozenset({"SnapshotList", "VolumeList"})
"""The names of the lists in botocore's model."""

Reader = Callable[["Element"], Any]
"""Returns the value of an element."""


class Unusual(Exception):
    """This parser does not know a rule by which botocore reads this model or answer."""


def parser_factory(read_time: Callable[[Any], datetime]) -> ResponseParserFactory:
    """Return botocore's factory of parsers, with this parser for EC2. *read_time* returns the moment of a text."""

    class Factory(ResponseParserFactory):
        def create_parser(self, protocol_name: str) -> Any:
            usual: Any = PROTOCOL_PARSERS.get(protocol_name)
            return LeanParser(read_time) if usual is EC2QueryParser else super().create_parser(protocol_name)

    factory = Factory()
    factory.set_parser_defaults(timestamp_parser=read_time)
    return factory


class LeanParser(EC2QueryParser):
    """botocore's parser for EC2, with functions for the lists in `LISTS`. Several threads may use it."""

    def __init__(self, read_time: Callable[[Any], datetime]) -> None:
        super().__init__(timestamp_parser=read_time)
        self._read_time = read_time
        self._readers: dict[str, Reader | None] = {}

    def _handle_list(self, shape: Any, node: Any) -> Any:
        if shape.name in LISTS:
            read = self._reader(shape)
            if read is not None:
                try:
                    return read(node)
                except (Unusual, ValueError, TypeError):
                    # botocore reads it, or raises its own error.
                    pass
        return super()._handle_list(shape, node)  # type: ignore[misc]  # botocore's stubs have no private methods

    def _reader(self, shape: Any) -> Reader | None:
        if shape.name not in self._readers:
            try:
                self._readers[shape.name] = reader(shape, self._read_time)
            except Unusual:
                self._readers[shape.name] = None
        return self._readers[shape.name]


def reader(shape: Any, read_time: Callable[[Any], Any]) -> Reader:
    """Return the function that reads an element of this shape as botocore does. Raises Unusual."""
    kind = shape.type_name
    if kind in _TEXTS:
        return _text_reader(read_time if kind == "timestamp" else _TEXTS[kind])
    if kind == "list" and not shape.serialization.get("flattened"):
        read = reader(shape.member, read_time)
        return lambda node: [read(item) for item in node]
    if kind == "structure" and not getattr(shape, "is_tagged_union", False):
        return _structure_reader(
            {_name(*item): (item[0], reader(item[1], read_time)) for item in shape.members.items()}
        )
    raise Unusual(shape.name)


_TEXTS: Mapping[str, Callable[[str], Any]] = {
    "string": str,
    "character": str,
    "boolean": lambda text: text == "true",
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
    "timestamp": str,
}


def _text_reader(read: Callable[[str], Any]) -> Reader:
    return _text if read is str else lambda node: read(node.text or "")


def _text(node: Element) -> str:
    return node.text or ""


def _name(member: str, shape: Any) -> str:
    """Return the name of the element that holds a member of a structure."""
    rules = shape.serialization
    if not rules.keys() <= {"name"}:
        raise Unusual(member)
    return str(rules.get("name", member))


def _structure_reader(members: Mapping[str, tuple[str, Reader]]) -> Reader:
    # Each tag begins with the namespace of the answer, which is the same for all.
    by_tag: dict[str, tuple[str, Reader]] = {}
    unknown: set[str] = set()

    def read(node: Element) -> dict[str, Any]:
        found: dict[str, Any] = {}
        ignored = 0
        for child in node:
            tag = child.tag
            try:
                name, value = by_tag[tag]
            except KeyError:
                if tag not in unknown:
                    member = members.get(tag.rpartition("}")[2])
                    if member is not None:
                        by_tag[tag] = member
                        name, value = member
                        found[name] = value(child)
                        continue
                    unknown.add(tag)
                ignored += 1
            else:
                # Most members are texts, and function calls take most of the time.
                found[name] = child.text or "" if value is _text else value(child)
        if len(found) + ignored != len(node):
            raise Unusual("an element that occurs twice")
        return found

    return read
