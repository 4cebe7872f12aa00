# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Identifiers: EC2's own, and planned ids that stand for what does not exist yet.

Private to this collection.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import SpecError

KINDS = {"i": "instance", "ami": "image", "snap": "snapshot", "vol": "volume"}
_PREFIXES = {kind: prefix for prefix, kind in KINDS.items()}
# EC2 ids have 8 (until 2016) or 17 hexadecimal digits.
_ID = re.compile(r"(i|ami|snap|vol)-(?:[0-9a-f]{8}|[0-9a-f]{17})")
_PLANNED = re.compile(r"\(new (instance|image|snapshot|volume|moment) [^()]+\)")
COPIED_VOLUME = "vol-ffffffff"
"""What EC2 shows as the volume of a copied snapshot: "an arbitrary volume ID" that must not be used for anything."""
_IMAGE_NAME = re.compile(r"[A-Za-z0-9()\[\] ./\-'@_]{3,128}")


def planned(kind: str, name: str) -> str:
    """The id that a plan uses for a resource that one of its own changes creates: ``(new image web/1)``."""
    return f"(new {kind} {name.translate(str.maketrans('()', '[]'))})"


def moment_of(snapshot: str) -> str:
    """What stands for the start time of a snapshot that is only planned: ``(new moment …)`` of ``(new snapshot …)``."""
    return snapshot.replace("(new snapshot ", "(new moment ", 1)


def is_planned(resource: object) -> bool:
    """Whether an id is one that `planned` made."""
    return isinstance(resource, str) and _PLANNED.fullmatch(resource) is not None


def kind_of(resource: str) -> str | None:
    """``instance``, ``image``, ``snapshot`` or ``volume`` for an EC2 id or a planned id, else None."""
    for pattern in (_ID, _PLANNED):
        match = pattern.fullmatch(resource)
        if match:
            return KINDS.get(match.group(1), match.group(1))
    return None


def require_text(value: object, option: str) -> str:
    """*value*, when it is text.

    SpecError for a number, a boolean or a list: YAML has changed it before it came here, so 2026.10 is 2026.1.
    """
    if not isinstance(value, str):
        raise SpecError(
            f"{option}: {value!r} is not text: YAML reads 2026.10 as the number 2026.1, and yes as true. Quote it, "
            f'for example {option}: "2026.10".'
        )
    return value


def require_id(kind: str, value: str, option: str) -> str:
    """*value*, when it is a well-formed id of this kind or a planned one; SpecError names the option otherwise."""
    if kind_of(value) != kind:
        raise SpecError(
            f"{option}: {value!r} is not an id of EC2's: {_PREFIXES[kind]}- and 17 (or 8) hexadecimal digits"
        )
    return value


def require_image_name(value: str, option: str = "image_name") -> str:
    """*value*, when EC2 takes it as the name of an image (RegisterImage: 3 to 128 characters of a fixed set)."""
    if not _IMAGE_NAME.fullmatch(value):
        raise SpecError(
            f"{option}: EC2 does not take {value!r} as the name of an image: 3 to 128 characters out of letters, "
            "digits, spaces and ( ) [ ] . / - ' @ _"
        )
    return value


def substitute(value: Any, bindings: Mapping[str, str]) -> Any:
    """*value* with every planned id in it, at any depth of mappings and sequences, replaced by the id EC2 gave.

    A planned id inside a longer string (a tag's value, a description) is replaced too.
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
    """Every planned id that occurs anywhere in *value*."""
    if isinstance(value, str):
        return {match.group(0) for match in _PLANNED.finditer(value)}
    if isinstance(value, Mapping):
        return {name for pair in value.items() for part in pair for name in planned_in(part)}
    if isinstance(value, (list, tuple)):
        return {name for item in value for name in planned_in(item)}
    return set()


def description(policy: str, of: str) -> str:
    """What EC2 shows as the description of a snapshot. It takes only ASCII there, unlike in tags."""
    return f"{policy}: {of}".encode("ascii", "replace").decode()


def capture_description(policy: str, of: str, *, volumes: int = 0, attached: str = "", lock: str = "") -> str:
    """The description of a policy's snapshot of a volume, or of the parts of an instance's set of so many *volumes*.

    *attached*: the instance that has the volume, empty for none and for a set. *lock*: how a run is to lock the
    snapshot, such as ``governance 30d``; empty for not at all.
    """
    number = f", {volumes} volumes" if volumes else ""
    where = f", attached to {attached}" if attached else ""
    return description(policy, of) + number + where + (f", to be locked: {lock}" if lock else "")


def copy_description(policy: str, volume: str, instance: str, original: str, region: str, taken: str) -> str:
    """The description of a copy: of which snapshot, of which volume, and, for the part of a set, of which instance.

    *original* and *taken*, when it was taken, may be planned ids, which EC2's own replace before the call. With the
    longest name of a policy and of a region EC2's 255 characters suffice.
    """
    whole = f" on {instance}" if instance else ""
    return f"{description(policy, volume + whole)}, {original}, from {region}, taken {taken}"


_COPIED_AT = re.compile(r"(.+: vol-.+, from [a-z0-9-]+), taken (?:\(new moment [^()]+\)|[0-9TZ:.-]+)")


def without_moment(text: str) -> str:
    """A description that `copy_description` made, without its time; any other text as it is."""
    found = _COPIED_AT.fullmatch(text)
    return found[1] if found else text


GENERATIONS = 32
"""How many used-up client tokens are passed over: a volume may be deleted and made again many times a day."""


def client_token(identity: Iterable[str], generation: int = 0) -> str:
    """A token that is the same in every run that wants the same thing: 64 hexadecimal digits, EC2's maximum.

    A token is used up when what it made is gone (CreateVolume answers IdempotentParameterMismatch), hence *generation*.
    """
    return hashlib.sha256("\x1f".join([*identity, str(generation)]).encode()).hexdigest()
