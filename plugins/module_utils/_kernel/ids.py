# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Identifiers: EC2's own, and planned ids for resources that a plan will make.

Private to this collection.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .errors import SpecError

KINDS = {"i": "instance", "ami": "image", "snap": "snapshot", "vol": "volume"}
_PREFIXES = {kind: prefix for prefix, kind in KINDS.items()}
# EC2 ids have 8 (until 2016) or 17 hexadecimal digits.
_ID = re.compile(r"(i|ami|snap|vol)-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_PLANNED = re.compile(r"\(new (instance|image|snapshot|volume|moment) [^()]+\)")
COPIED_VOLUME = "vol-ffffffff"
"""EC2's volume id of a copied snapshot: "an arbitrary volume ID" that must not be used for anything."""
_IMAGE_NAME = re.compile(r"[A-Za-z0-9()\[\] ./\-'@_]{3,128}")


def planned(kind: str, name: str) -> str:
    """Return the planned id of a resource: ``(new image web/1)``."""
    return f"(new {kind} {name.translate(str.maketrans('()', '[]'))})"


def moment_of(snapshot: str) -> str:
    """Return the placeholder of a planned snapshot's start time: ``(new moment …)`` for ``(new snapshot …)``."""
    return snapshot.replace("(new snapshot ", "(new moment ", 1)


def is_planned(resource: object) -> bool:
    """Return whether an id is a planned id."""
    return isinstance(resource, str) and _PLANNED.fullmatch(resource) is not None


def kind_of(resource: str) -> str | None:
    """Return ``instance``, ``image``, ``snapshot`` or ``volume`` for an EC2 id or a planned id, else None."""
    for pattern in (_ID, _PLANNED):
        match = pattern.fullmatch(resource)
        if match:
            return KINDS.get(match.group(1), match.group(1))
    return None


def require_text(value: object, option: str) -> str:
    """Return *value* if it is a text. Raises SpecError otherwise.

    YAML reads 2026.10 as the number 2026.1, so a number, a boolean or a list may have changed already.
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


def substitute(value: Any, bindings: Mapping[str, str]) -> Any:
    """Return *value* with EC2's id in place of every planned id, at any depth of mappings and sequences.

    A planned id inside a longer text (a tag's value, a description) is replaced too.
    """
    if isinstance(value, str):
        if "(new " not in value:
            return value
        for name, resource in bindings.items():
            value = value.replace(name, resource)
        return value
    if isinstance(value, Mapping):
        return {substitute(key, bindings): substitute(item, bindings) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(substitute(item, bindings) for item in value)
    return value


def planned_in(value: Any) -> set[str]:
    """Return every planned id anywhere in *value*."""
    if isinstance(value, str):
        return {match.group(0) for match in _PLANNED.finditer(value)}
    if isinstance(value, Mapping):
        return {name for pair in value.items() for part in pair for name in planned_in(part)}
    if isinstance(value, (list, tuple)):
        return {name for item in value for name in planned_in(item)}
    return set()


LONGEST_DESCRIPTION = 255
"""Characters that EC2 takes in the Description of a snapshot."""
_LONGEST_POLICY = 128
# As long as what takes the place of planned ids.
_REAL_ID, _REAL_MOMENT = "snap-0123456789abcdef0", "2026-11-23T19:00:00.000Z"


def policy_in_ascii(policy: str) -> str:
    """Return the name of a policy as a Description has it. EC2 only takes ASCII there, unlike in tags.

    Two names that are not ASCII may look the same then, so a hash follows, after a character that no name has.
    """
    if policy.isascii():
        return policy
    mark = f"#{hashlib.sha256(policy.encode()).hexdigest()[:12]}"
    return policy.encode("ascii", "replace").decode()[: _LONGEST_POLICY - len(mark)] + mark


def capture_description(
    policy: str, of: str, *, volumes: int = 0, attached: str = "", slot: str = "", lock: str = ""
) -> str:
    """Return the Description of a policy's snapshot of a volume, or of the parts of an instance's set of *volumes*.

    *attached*: the instance that has the volume, empty for none and for a set. *slot*: for which the run takes it.
    *lock*: the lock that a run is to set, such as ``governance 30d``, empty for none.
    """
    facts = "".join(_facts(volumes, attached, slot))
    return f"{policy_in_ascii(policy)}: {of}{facts}" + (f", to be locked: {lock}" if lock else "")


def copy_description(
    policy: str,
    volume: str,
    instance: str,
    original: str,
    region: str,
    taken: str,
    *,
    volumes: int = 0,
    attached: str = "",
    slot: str = "",
) -> str:
    """Return the Description of a copy: its snapshot, its volume and, for a part of a set, its instance.

    *original* and *taken*, its start time, may be planned ids. EC2's values replace them before the call. What the
    original's Description says of *volumes*, *attached* and *slot* follows, in this order, as far as EC2's 255
    characters go. With the longest name of a policy and of a region, the rest fits.
    """
    named = f"{policy_in_ascii(policy)}: {volume} on {instance}" if instance else f"{policy_in_ascii(policy)}: {volume}"
    text = f"{named}, {original}, from {region}, taken {taken}"
    room = LONGEST_DESCRIPTION - len(f"{named}, {_REAL_ID}, from {region}, taken {_REAL_MOMENT}")
    for fact in _facts(volumes, attached, slot):
        room -= len(fact)
        if room < 0:
            break
        text += fact
    return text


def _facts(volumes: int, attached: str, slot: str) -> Iterator[str]:
    """What a Description says beside the names, in this order."""
    if volumes:
        yield f", {volumes} volumes"
    if attached:
        yield f", attached to {attached}"
    if slot:
        yield f", slot {slot}"


_COPIED_AT = re.compile(
    r"(.+: vol-.+, from [a-z0-9-]+), taken (?:\(new moment [^()]+\)|[0-9TZ:.-]+)"
    r"((?:, (?:[0-9]+ volumes|attached to i-[0-9a-f]+|slot [0-9T:+-]+))*)"
)


def without_moment(text: str) -> str:
    """A description that `copy_description` made, without its time; any other text as it is."""
    found = _COPIED_AT.fullmatch(text)
    return found[1] + found[2] if found else text


GENERATIONS = 32
"""The number of used-up client tokens that a run passes over. A volume may be deleted and made
again many times a day.
"""


def client_token(identity: Iterable[str], generation: int = 0) -> str:
    """Return a token that every run with the same purpose makes: 64 hexadecimal digits, EC2's maximum.

    A token is used up when its resource is gone (CreateVolume answers IdempotentParameterMismatch), hence *generation*.
    """
    return hashlib.sha256("\x1f".join([*identity, str(generation)]).encode()).hexdigest()
