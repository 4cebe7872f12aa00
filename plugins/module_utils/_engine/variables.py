# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables of roles and playbooks: their owners, misspelt names, and values that are given as text.

Private to this collection.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .._kernel.errors import SpecError

SHARED = frozenset({"restore", "relaunch"})
"""Owners with everyday words as names. Variables of other projects begin with these words too."""

EXEMPT = ("_result", "_plan")
"""Endings of the facts that roles and playbooks set, and of names under which users register results."""

NEAR = 2
"""The largest number of edits by which a misspelt name differs from the right one."""


@dataclass(frozen=True)
class Verdict:
    """A sentence for each wrong name. Names in ``refused`` end the run, and names in ``doubtful`` cause a warning."""

    refused: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()


def judge(names: Iterable[str], checked: Collection[str], known: Mapping[str, Collection[str]]) -> Verdict:
    """Return the wrong ones among *names*, the variables of a host, for the roles and playbooks in *checked*.

    *known* has the variables of every role and playbook of the collection, by the name of the role or playbook. A
    variable belongs to the owner with the longest name that it begins with. Variables of other owners than *checked*
    are ignored.
    """
    refused, doubtful = [], []
    candidates = sorted({name for owner in checked for name in known[owner]})
    for name in sorted(set(names)):
        owner = owner_of(name, known)
        if owner not in checked or name in known[owner] or name.endswith(EXEMPT):
            continue
        near = nearest(name, candidates)
        if near is not None:
            refused.append(f"{name}: {owner} has no such variable. Did you mean {near}?")
        elif owner in SHARED:
            doubtful.append(f"{name}: {owner} has no such variable, and ignores it.")
        else:
            refused.append(f"{name}: {owner} has no such variable. Remove it, or give it a name of your own.")
    return Verdict(tuple(refused), tuple(doubtful))


def owner_of(name: str, owners: Iterable[str]) -> str:
    """Return the longest of *owners* whose name and an underscore begin *name*, or "" if there is none."""
    return max((owner for owner in owners if name.startswith(f"{owner}_")), key=len, default="")


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that *name* is a misspelling of, or None.

    A misspelling differs by up to `NEAR` edits, or has one word more or less. The name with the fewest edits counts,
    then the alphabetical order.
    """
    ranked = [(_distance(name, other), other) for other in candidates]
    near = [(edits, other) for edits, other in ranked if edits <= NEAR or _differs_by_a_word(name, other)]
    return min(near)[1] if near else None


def _differs_by_a_word(one: str, other: str) -> bool:
    """Return whether one name has exactly one word, between underscores, that the other lacks."""
    longer, shorter = sorted((one.split("_"), other.split("_")), key=len, reverse=True)
    return shorter in _without_a_word(longer)


def _without_a_word(words: list[str]) -> Iterator[list[str]]:
    return (words[:index] + words[index + 1 :] for index in range(len(words)))


def _distance(one: str, other: str) -> int:
    """Return the Levenshtein distance, or `NEAR` + 1 if the lengths alone differ by more than `NEAR`."""
    if abs(len(one) - len(other)) > NEAR:
        return NEAR + 1
    before = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        current = [row]
        for column, against in enumerate(other, 1):
            current.append(min(before[column] + 1, current[-1] + 1, before[column - 1] + (letter != against)))
        before = current
    return before[-1]


def from_text(value: Any, option: str, kind: str, example: str, parse: Callable[[str], Any]) -> Any:
    """Return *value*, or the value that its text stands for: a ``mapping``, a list of ``mappings``, or a list of
    ``ids``.

    A survey and ``-e name=value`` give text. Null and an empty text stand for an empty mapping or list. Ids may also be
    in one text, with commas or spaces between them. *parse* reads YAML, and raises ValueError for any other text.
    Raises SpecError, which names *option* and *example*, for a value of another type, and for text that a space cut.
    """
    empty: Any = {} if kind == "mapping" else []
    if value is None or value == "":
        return empty
    if isinstance(value, str):
        if kind == "ids" and not value.lstrip().startswith(("[", "-")):
            if value.endswith(","):
                raise SpecError(_cut(option, value))
            return re.split(r"[\s,]+", value.strip(" \t\n,"))
        try:
            found = parse(value)
        except ValueError:
            if _is_cut(value):
                raise SpecError(_cut(option, value)) from None
            found = value
    else:
        found = value
    if not _KINDS[kind](found):
        raise SpecError(
            f"{option}: {str(found)[:100]!r} is not {_NAMED[kind]}. Give one{example and ' such as '}{example}."
        )
    return found


def batches(value: Any, option: str, parse: Callable[[str], Any]) -> list[int | str]:
    """Return the sizes of the batches in which a play takes its hosts, as the keyword ``serial`` takes them.

    A size is a number of hosts, or a percentage of them such as ``25%``. *value* is one size, a list of sizes, or the
    text of either. Without a value, one batch has all hosts. Raises SpecError, which names *option*, for any other
    value.
    """
    found = ["100%"] if value is None or value in ("", []) else value
    if isinstance(found, str):
        try:
            found = parse(found)
        except ValueError:
            raise SpecError(_cut(option, found) if _is_cut(found) else _no_batches(option, found)) from None
    sizes = list(found) if isinstance(found, (list, tuple)) else [found]
    wrong = [size for size in sizes if isinstance(size, bool) or not _SIZE.fullmatch(str(size))]
    if wrong or not sizes:
        raise SpecError(_no_batches(option, wrong[0] if wrong else value))
    return [size if isinstance(size, int) else str(size) for size in sizes]


_SIZE = re.compile(r"[1-9]\d{0,5}|[1-9]\d?%|100%")


def _no_batches(option: str, value: Any) -> str:
    return (
        f"{option}: {str(value)[:100]!r} is not the size of a batch. Give a number of hosts or a percentage, or a list "
        "of them such as [1, 100%]."
    )


def joined_connection(options: Mapping[str, Any], playbook: str, named: Mapping[str, Any]) -> dict[str, Any]:
    """Return the connection *options* of *playbook*, together with those that have a variable of their own.

    *named*: the values by option, from variables such as ``rotate_snapshots_region``. Null and an empty text count as
    no value. With a profile, empty keys keep the keys of the environment away, since amazon.aws refuses a profile
    beside them. Raises SpecError if both ways give different values.
    """
    joined = dict(options)
    for name, value in named.items():
        if value is None or value == "":
            continue
        if joined.get(name, value) != value:
            raise SpecError(f"{playbook}_{name}: {value!r} differs from {name} in {playbook}_aws. Set one of them.")
        joined[name] = value
    if joined.get("profile"):
        joined = {**dict.fromkeys(_KEYS, ""), **joined}
    return joined


def _cut(option: str, text: str) -> str:
    return f"{option}: {text[:100]!r} is cut at a space. Quote the value, or give it as JSON."


def _is_cut(text: str) -> bool:
    """Return whether *text* opens a list or mapping without closing it. Ansible splits ``-e name=value`` at spaces."""
    bare = text.strip()
    return bare.startswith(("[", "{")) and not bare.endswith(("]", "}"))


def _is_list(value: Any, item: type) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(each, item) for each in value)


_KEYS = ("access_key", "secret_key", "session_token")

_KINDS: Mapping[str, Callable[[Any], bool]] = {
    "mapping": lambda value: isinstance(value, Mapping),
    "mappings": lambda value: _is_list(value, Mapping),
    "ids": lambda value: _is_list(value, str),
}
_NAMED = {"mapping": "a mapping", "mappings": "a list of mappings", "ids": "a list of ids"}
