# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tags: the names of the collection's own tags, and EC2's rules for tags.

Private to this collection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from .errors import SpecError

PREFIX = "ec2ops:"

IMAGE = PREFIX + "image"
VERSION = PREFIX + "version"
FINGERPRINT = PREFIX + "fingerprint"
MACHINE = PREFIX + "machine"
RESTORE_STATE = PREFIX + "restore-state"
REPLACES = PREFIX + "replaces"
TRIAL = PREFIX + "trial"
# Three tags, since one value holds seven volumes, and an instance has up to 27.
MOVES = (PREFIX + "moves", PREFIX + "moves-2", PREFIX + "moves-3")
SPEC = PREFIX + "spec"
VOLUME = PREFIX + "volume"
REPLACED_BY = PREFIX + "replaced-by"
SWAP = PREFIX + "swap"
FINAL = PREFIX + "final"
# Three tags, since one value holds six places and a shared volume has up to sixteen. Only as many as needed are set.
WAS_AT = (PREFIX + "was-at", PREFIX + "was-at-2", PREFIX + "was-at-3")
POLICY = PREFIX + "policy"
PERIOD = PREFIX + "period"
SOURCE = PREFIX + "source"
COPY_OF = PREFIX + "copy-of"
TAKEN = PREFIX + "taken"
SET = PREFIX + "set"
PARTS = PREFIX + "parts"
ORIGIN = PREFIX + "origin"
# Three tags for the volumes of a set, since one value holds the records of five.
ORIGINS = (PREFIX + "origins", PREFIX + "origins-2", PREFIX + "origins-3")
SHARED_WITH = PREFIX + "shared-with"
LOCK = PREFIX + "lock"
ADOPTED_BY = PREFIX + "adopted-by"
COPIED_TO = PREFIX + "copied-to"
DRILLED = PREFIX + "drilled"
ROOT_OF = PREFIX + "root-of"
LAUNCH_IMAGE = PREFIX + "launch-image"
WORKBENCH = PREFIX + "workbench"

AUTOSCALING_GROUP = "aws:autoscaling:groupName"
"""AWS's tag with the Auto Scaling group of an instance."""

RESTORES = ("restore/", "restore-drill/")
"""Beginnings of the values of `SPEC` that the role restore writes if its user names no declaration."""

# EC2, "Tag restrictions": 50 tags on a resource, a value of 256 characters; keys that start with aws: belong to AWS. A
# key has 128 characters in the user guide and 127 in the API reference for CreateTags. The smaller number is safe.
MOST_TAGS = 50
LONGEST_KEY = 127
LONGEST_VALUE = 256


def require_tags(tags: Mapping[str, Any], option: str, ours: int = 0) -> dict[str, str]:
    """Return the user's *tags* as texts, if EC2 takes them together with *ours*, the number of the collection's own
    tags.

    A whole number becomes its digits, and null the empty text. Raises SpecError for any other value that is not text,
    since YAML has changed it. Also raises SpecError for an empty or too long key, a too long value, too many tags, and
    keys under ``aws:`` or ``ec2ops:``.
    """
    given = {key: "" if value is None else value for key, value in tags.items()}
    checked = require_selector_text(given, option, numbers=True)
    for key, value in checked.items():
        if not key or len(key) > LONGEST_KEY:
            raise SpecError(f"{option}: {key!r} is not a tag key that EC2 takes. Use 1 to {LONGEST_KEY} characters.")
        if len(value) > LONGEST_VALUE:
            raise SpecError(
                f"{option}: the value of {key!r} has {len(value)} characters. Use {LONGEST_VALUE} or fewer."
            )
        if key.lower().startswith("aws:"):
            raise SpecError(f"{option}: AWS reserves keys that start with aws:, such as {key!r}. Use another")
        if key.startswith(PREFIX):
            raise SpecError(
                f"{option}: this collection reserves keys that start with {PREFIX}, such as {key!r}. Use another"
            )
    if len(checked) + ours > MOST_TAGS:
        raise SpecError(
            f"{option}: {len(checked)} tags and {ours} of this collection are more than EC2's {MOST_TAGS}. Remove some"
        )
    return checked


def require_selector_text(tags: Mapping[Any, Any], option: str, *, numbers: bool) -> dict[str, str]:
    """Return the user's *tags* for a selection, as text. A value that YAML has changed would select other resources, or
    none.

    With *numbers*, a whole number is accepted and becomes text. Raises SpecError, which names the key, for any other
    value that is not text. The function cannot recognize a date that Ansible has turned into text.
    """
    checked = {}
    for key, value in tags.items():
        name = _text(key, f"{option}: the key", numbers=numbers)
        checked[name] = _text(value, f"{option}: {key!r}:", numbers=numbers)
    return checked


def require_selector_keys(keys: Iterable[Any], option: str) -> tuple[str, ...]:
    """Return the tag keys for a selection, each once. Raises SpecError for a key that is not text."""
    return tuple(dict.fromkeys(_text(key, f"{option}:", numbers=False) for key in keys))


def _text(value: Any, what: str, *, numbers: bool) -> str:
    if isinstance(value, str) or (numbers and isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise SpecError(
        f"{what} {_as_yaml(value)}, not text. Quote it as the tag has it: without quotes YAML turns yes into true, "
        "0123 into 83 and 12:30 into 750."
    )


def _as_yaml(value: Any) -> str:
    """Return the value and its type, as YAML has read it."""
    if value is None:
        return "null is an empty value"
    if isinstance(value, bool):
        return f"{str(value).lower()} is a boolean"
    kinds = (((int, float), "number"), (date, "date"), ((list, tuple), "list"), (Mapping, "mapping"))
    return f"{value} is a {next((name for kind, name in kinds if isinstance(value, kind)), type(value).__name__)}"


def carried(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that a successor takes over: all except AWS's and the collection's own."""
    return {
        key: value for key, value in tags.items() if not key.lower().startswith("aws:") and not key.startswith(PREFIX)
    }


def places_taken(tags: Mapping[str, str]) -> int:
    """Return the number of these tags that count towards `MOST_TAGS`.

    AWS's own do not count (EC2, "Tag restrictions").
    """
    return sum(not key.lower().startswith("aws:") for key in tags)


def require_room(tags: Mapping[str, str], resource: str, reason: str) -> None:
    """Raise SpecError if these are more tags than EC2 takes on a resource."""
    many = places_taken(tags)
    if many > MOST_TAGS:
        raise SpecError(
            f"{resource} would have {many} tags ({reason}), and EC2 takes {MOST_TAGS}. "
            f"Remove {many - MOST_TAGS} of them first."
        )


def boto3_tags(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return ``[{"Key": …, "Value": …}]``, sorted by key, so that equal tags make equal requests."""
    return [{"Key": key, "Value": tags[key]} for key in sorted(tags)]


def with_room(present: Mapping[str, str], wanted: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the *wanted* tags that fit beside the tags *present* on a resource, and the keys of the others.

    A new value for a present key needs no room.
    """
    room = MOST_TAGS - places_taken(present)
    new = [key for key in wanted if key not in present]
    left_out = new[max(0, room) :]
    return {key: value for key, value in wanted.items() if key not in left_out}, left_out


def specification(resource_type: str, tags: Mapping[str, str]) -> dict[str, object]:
    """Return one entry of TagSpecifications."""
    return {"ResourceType": resource_type, "Tags": boto3_tags(tags)}


def replaces_value(predecessor: str, inherited: Iterable[str] = ()) -> str:
    """Return the value of ``ec2ops:replaces``: the ids of a successor's predecessors, newest first, in 256 characters.

    After a dozen replacements, not all ids fit into these characters. The value keeps the direct predecessor, and the
    very first one, since an inventory may still name it. The ids between them are dropped, the oldest first. The tags
    of their own successors lead to them.
    """
    ids = list(dict.fromkeys((predecessor, *inherited)))
    while len(ids) > 2 and len(",".join(ids)) > LONGEST_VALUE:
        del ids[-2]
    return ",".join(ids)


_ACCOUNT = re.compile(r"[0-9]{12}")


def shared_with(tags: Mapping[str, str]) -> frozenset[str]:
    """Return the accounts with which a run has shared the snapshot with these tags for a copy.

    Other words are ignored.
    """
    return frozenset(word for word in tags.get(SHARED_WITH, "").split() if _ACCOUNT.fullmatch(word))


def copied_to_value(places: Iterable[str]) -> str:
    """Return the value of `COPIED_TO` for these places in the form of `places.Place`, as far as they fit."""
    value = ""
    for place in sorted(places):
        longer = f"{value},{place}" if value else place
        if "," not in place and len(longer) <= LONGEST_VALUE:
            value = longer
    return value


def copied_to(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return the places of the policy's copies when it took the snapshot with these tags."""
    return tuple(part for part in tags.get(COPIED_TO, "").split(",") if part)


def replaced_ids(tags: Mapping[str, str]) -> tuple[str, ...]:
    """Return the ids of the predecessors of the instance with these tags, newest first."""
    return tuple(part for part in tags.get(REPLACES, "").split(",") if part)
