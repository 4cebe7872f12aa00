# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Identifiers: EC2's own, and planned ids for resources that a plan will make.

Private to this collection.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self, TypeAlias

from . import tags as tag_names
from .errors import SpecError
from .times import format_instant

KINDS = {"i": "instance", "ami": "image", "snap": "snapshot", "vol": "volume"}
_PREFIXES = {kind: prefix for prefix, kind in KINDS.items()}
# EC2 ids have 8 (until 2016) or 17 hexadecimal digits.
_ID = re.compile(r"(i|ami|snap|vol)-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_PLANNED = re.compile(r"\(new (instance|image|snapshot|volume|version|task|address|interface|attachment) [^()]+\)")
_BEGINNING = "(new "
COPIED_VOLUME = "vol-ffffffff"
"""EC2's volume id of a copied snapshot: "an arbitrary volume ID" that must not be used for anything."""
_IMAGE_NAME = re.compile(r"[A-Za-z0-9()\[\] ./\-'@_]{3,128}")


def planned(kind: str, name: str) -> str:
    """Return the planned id of a resource: ``(new image web/1)``."""
    return f"(new {kind} {name.translate(str.maketrans('()', '[]'))})"


def is_planned(resource: object) -> bool:
    """Return whether an id is a planned id."""
    return isinstance(resource, str) and _PLANNED.fullmatch(resource) is not None


def kind_of(resource: str) -> str | None:
    """Return ``instance``, ``image``, ``snapshot`` or ``volume`` for an EC2 id or a planned id, else None.

    A planned id may also stand for the ``version`` of a launch template, for a ``task`` that replaces a root volume,
    for the ``address`` or the primary ``interface`` of an instance, or for the ``attachment`` of an interface.
    """
    for pattern in (_ID, _PLANNED):
        match = pattern.fullmatch(resource)
        if match:
            return KINDS.get(match.group(1), match.group(1))
    return None


def require_text(value: object, option: str) -> str:
    """Return *value* if it is a text. Raises SpecError otherwise.

    YAML reads 2026.10 as the number 2026.1, so a number, a boolean or a list may already differ from the user's text.
    """
    if not isinstance(value, str):
        raise SpecError(
            f"{option}: {value!r} is not text. YAML reads 2026.10 as the number 2026.1, and yes as true. Quote it, "
            f'for example {option}: "2026.10".'
        )
    return value


def require_id(kind: str, value: str, option: str) -> str:
    """Return *value* if it is a well-formed or planned id of this kind. Raises SpecError, which names the option,
    otherwise.
    """
    if kind_of(value) != kind:
        raise SpecError(
            f"{option}: {value!r} is not an id of EC2. Write {_PREFIXES[kind]}- and 17 (or 8) hexadecimal digits."
        )
    return value


def require_image_name(value: str, option: str = "image_name") -> str:
    """Return *value* if EC2 takes it as an image's name. Raises SpecError otherwise.

    RegisterImage takes 3 to 128 characters of a fixed set.
    """
    if not _IMAGE_NAME.fullmatch(value):
        raise SpecError(
            f"{option}: EC2 does not take {value!r} as the name of an image. Use 3 to 128 letters, digits, spaces "
            "and ( ) [ ] . / - ' @ _"
        )
    return value


# --- planned ids in plans and results ---------------------------------------------------------------------------------

# Other people write tags, and their text may look like a planned id, even like an id of the same plan. So planned
# ids are replaced only where a plan writes them. All other text stays as it is.
_TAGS_WITH_IDS = frozenset({tag_names.COPY_OF, tag_names.REPLACED_BY, tag_names.SPEC, *tag_names.MOVES})
_NAMES_OF_IDS = ("Id", "Ids", "_id", "_ids", "resource", "Version", "version", "_ip_address")
_SENTENCES = frozenset({"reason", "reasons", "notes"})
IMAGE_DATA_TYPE = "aws:ec2:image"
"""The data type of an SSM parameter whose value is the id of an image."""
_TAKEN = r", taken (?:\(new moment [^()]+\)|[0-9TZ:.-]+)"
_MORE_FACTS = r"(?:, (?:[0-9]+ volumes|attached to i-[0-9a-f]+|slot [0-9T:+-]+))*"
_ORIGIN = r", from (?:[0-9]{12}/)?[a-z0-9-]+"
_END_OF_COPY = re.compile(
    r", (?:\(new snapshot [^()]+\)|snap-[0-9a-f]+)" + f"{_ORIGIN}(?:{_TAKEN})?{_MORE_FACTS}" + r"\Z"
)
"""The end of a `copy_description`, with its time or `without_moment`. The source before it may come from a tag."""

Filters: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
"""A query's filters: names and values."""
Starts: TypeAlias = Callable[[str], datetime | None]
"""Returns EC2's start time of a planned snapshot, or None while it is unknown."""


class StartText(str):
    """A text with the start time of a snapshot that the plan makes: a tag of its copy, or the copy's Description.

    EC2 decides the time. Until a wait has seen it, the text has ``(new moment …)`` in its place, as in published plans.
    """

    snapshot: str
    _around: tuple[str, str]

    @classmethod
    def about(cls, snapshot: str, before: str = "", after: str = "") -> Self:
        """Return the text with the start time of the planned *snapshot* between *before* and *after*."""
        moment = snapshot.replace("(new snapshot ", "(new moment ", 1)
        made = cls(f"{before}{moment}{after}")
        made.snapshot, made._around = snapshot, (before, after)
        return made

    def at(self, moment: datetime) -> str:
        """Return the text with EC2's start time."""
        return format_instant(moment).join(self._around)


@dataclass(frozen=True)
class _Reader:
    """Reads a value.

    ``ids`` returns the replacement for a text with planned ids, and ``start`` the one for a StartText.
    """

    ids: Callable[[str], str]
    start: Callable[[StartText], str] = str


def substitute(value: Any, bindings: Mapping[str, str], starts: Starts = lambda _snapshot: None) -> Any:
    """Return *value* with EC2's id in place of every planned id, at any depth of mappings and sequences.

    A bare text is an id or a sentence. The function keeps a text that only looks like a planned id, such as a user's
    tag. A `StartText` gets the time that *starts* knows.
    """
    return _read(value, _replacing(bindings, starts))


def planned_in(value: Any) -> set[str]:
    """Return every planned id that a plan has written in *value*, see `substitute`."""
    found: set[str] = set()
    _read(value, _noting(found))
    return found


def substitute_filters(filters: Filters, bindings: Mapping[str, str]) -> Filters:
    """Return a query's filters with EC2's id in place of every planned id."""
    return _read_filters(filters, _replacing(bindings))


def planned_in_filters(filters: Filters) -> set[str]:
    """Return every planned id that a plan has written in a query's filters."""
    found: set[str] = set()
    _read_filters(filters, _noting(found))
    return found


def _replacing(bindings: Mapping[str, str], starts: Starts = lambda _snapshot: None) -> _Reader:
    def start(text: StartText) -> str:
        moment = starts(text.snapshot)
        return text if moment is None else text.at(moment)

    return _Reader(lambda text: _PLANNED.sub(lambda match: bindings.get(match[0], match[0]), text), start)


def _noting(found: set[str]) -> _Reader:
    def note(text: str) -> str:
        found.update(match[0] for match in _PLANNED.finditer(text))
        return text

    return _Reader(note)


def _read(value: Any, reader: _Reader, name: str = "") -> Any:
    """Return *value* with each planned id replaced by *reader*. *name* is its key in the mapping."""
    if isinstance(value, str):
        return _read_text(value, reader, name) if _BEGINNING in value else value
    if isinstance(value, Mapping):
        if name == "tags":
            return {key: _read_tag(key, text, reader) for key, text in value.items()}
        if value.get("DataType") == IMAGE_DATA_TYPE:
            return {key: _read(item, reader, "Id" if key == "Value" else key) for key, item in value.items()}
        if "Key" in value:
            return {
                key: _read_tag(value["Key"], item, reader) if key == "Value" else item for key, item in value.items()
            }
        return {key: _read(item, reader, key) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        # A list without sentences holds ids.
        inner = name if name in _SENTENCES else "Ids"
        return type(value)(_read(item, reader, inner) for item in value)
    return value


def _read_text(text: str, reader: _Reader, name: str) -> str:
    if not name or name in _SENTENCES:
        return reader.ids(text)
    if name in ("Description", "description"):
        text = reader.start(text) if isinstance(text, StartText) else text
        return _END_OF_COPY.sub(lambda end: reader.ids(end[0]), text)
    return reader.ids(text) if is_planned(text) and name.endswith(_NAMES_OF_IDS) else text


def _read_tag(key: str, text: str, reader: _Reader) -> str:
    if isinstance(text, StartText):
        return reader.start(text)
    return reader.ids(text) if key in _TAGS_WITH_IDS else text


def _read_filters(filters: Filters, reader: _Reader) -> Filters:
    return tuple(
        (name, tuple(_read_tag(name.removeprefix("tag:"), value, reader) for value in values))
        if name.startswith("tag:")
        else (name, _read(values, reader))
        for name, values in filters
    )


LONGEST_DESCRIPTION = 255
"""Characters that EC2 takes in the Description of a snapshot."""
_LONGEST_POLICY = 128
# Planned ids are replaced by values of the same length as these.
_REAL_ID, _REAL_MOMENT = "snap-0123456789abcdef0", "2026-11-23T19:00:00.000Z"


def policy_in_ascii(policy: str) -> str:
    """Return the name of a policy as a Description has it. EC2 only takes ASCII there, unlike in tags.

    Two names that are not ASCII may then look the same. So a hash follows, after a character that no name has.
    """
    if policy.isascii():
        return policy
    mark = f"#{hashlib.sha256(policy.encode()).hexdigest()[:12]}"
    return policy.encode("ascii", "replace").decode()[: _LONGEST_POLICY - len(mark)] + mark


def capture_description(
    policy: str, of: str, *, volumes: int = 0, attached: str = "", slot: str = "", lock: str = ""
) -> str:
    """Return the Description of a policy's snapshot of a volume, or of the parts of an instance's set of *volumes*.

    *attached*: the instance that has the volume, or empty for none and for a set. *slot*: the slot of the snapshot.
    *lock*: the planned lock, such as ``governance 30d``, or empty.
    """
    facts = "".join(_facts(volumes, attached, slot))
    return f"{policy_in_ascii(policy)}: {of}{facts}" + (f", to be locked: {lock}" if lock else "")


def copy_description(
    policy: str,
    volume: str,
    instance: str,
    original: str,
    region: str,
    taken: datetime | None,
    *,
    account: str = "",
    volumes: int = 0,
    attached: str = "",
    slot: str = "",
) -> str:
    """Return the Description of a copy, with the original, the volume and, for a part of a set, the instance.

    *taken*: the start time of the *original*. It is None if the plan makes the original, since EC2 decides then, see
    `StartText`.
    *account*: the account of the original, for a copy in another account. The account gets room first. The original's
    *volumes*, *attached* and *slot* follow in this order, as far as EC2's 255 characters allow. All other facts fit,
    even with the longest names of a policy and a region.
    """
    named = f"{policy_in_ascii(policy)}: {volume} on {instance}" if instance else f"{policy_in_ascii(policy)}: {volume}"
    room = LONGEST_DESCRIPTION - len(f"{named}, {_REAL_ID}, from {region}, taken {_REAL_MOMENT}")
    origin = f"{account}/{region}" if account and len(account) < room else region
    room -= len(origin) - len(region)
    facts = ""
    for fact in _facts(volumes, attached, slot):
        room -= len(fact)
        if room < 0:
            break
        facts += fact
    return start_text(original, taken, f"{named}, {original}, from {origin}, taken ", facts)


def start_text(snapshot: str, started: datetime | None, before: str = "", after: str = "") -> str:
    """Return a text with the start time of a snapshot between *before* and *after*.

    The time is None if the plan makes the snapshot.
    """
    if started is None:
        return StartText.about(snapshot, before, after)
    return f"{before}{format_instant(started)}{after}"


def _facts(volumes: int, attached: str, slot: str) -> Iterator[str]:
    """Yield the facts of a Description that follow the names, in this order."""
    if volumes:
        yield f", {volumes} volumes"
    if attached:
        yield f", attached to {attached}"
    if slot:
        yield f", slot {slot}"


_COPIED_AT = re.compile(f"(.+: vol-.+{_ORIGIN}){_TAKEN}({_MORE_FACTS})")


def without_moment(text: str) -> str:
    """Return a text of `copy_description` without its time, and any other text as it is."""
    found = _COPIED_AT.fullmatch(text)
    return found[1] + found[2] if found else text


GENERATIONS = 32
"""The largest number of used-up client tokens that a run skips. A volume may be deleted and made again many times a
day.
"""


def client_token(identity: Iterable[str], generation: int = 0) -> str:
    """Return a token that every run with the same purpose makes: 64 hexadecimal digits, EC2's maximum.

    If the resource of a token is gone, the token is used up (CreateVolume answers IdempotentParameterMismatch). The
    next *generation* gives another token.
    """
    return hashlib.sha256("\x1f".join([*identity, str(generation)]).encode()).hexdigest()
