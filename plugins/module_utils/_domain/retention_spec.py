# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The refusals that both rotations share, for their options ``adopt``, ``protect``, ``guards`` and ``expected_plan``.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from .._kernel.errors import SpecError
from .._kernel.tags import LONGEST_VALUE, PREFIX, require_selector_keys, require_selector_text


def parse_adopt(given: Mapping[str, Any] | None, things: str, others: str) -> dict[str, str]:
    """Return the tags of the resources to adopt, or nothing if the option is not set.

    *things*, *others*: the words for all of them, and for those that belong to somebody else. Raises SpecError if the
    option has no tags, and for a tag of this collection.
    """
    if given is None:
        return {}
    found = compared_tags(given.get("tags"), "adopt.tags")
    if not found:
        raise SpecError(f"adopt.tags: is empty, so it would match every {things} of the account. Name a tag.")
    for key in found:
        if key.startswith(PREFIX):
            raise SpecError(f"adopt.tags: {key!r} would adopt {others}. Use a tag of your own.")
    return found


def parse_protect(given: Mapping[str, Any] | None) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the tags, and the keys of tags, that protect a resource. Raises SpecError if the option has neither."""
    if given is None:
        return {}, ()
    tags = compared_tags(given.get("tags"), "protect.tags")
    keys = _compared_keys(given.get("tag_keys"), "protect.tag_keys")
    if not tags and not keys:
        raise SpecError(
            "protect: tags and tag_keys are empty, so protect has no effect. Set one of them, such as tag_keys: "
            "[legal-hold], or remove protect."
        )
    return tags, keys


def parse_guards(
    given: Mapping[str, Any] | None, known: Collection[str], modes: Collection[str], enforced: Collection[str]
) -> dict[str, str]:
    """Return the mode of each guard that the task sets. Raises SpecError for an unknown guard or mode.

    *enforced*: the guards with which EC2 itself refuses. They can only keep a resource, or fail the task.
    """
    # YAML reads off without quotes as false.
    found = {name: "off" if mode is False else str(mode) for name, mode in (given or {}).items() if mode is not None}
    for name, mode in found.items():
        if name not in known:
            raise SpecError(f"guards.{name}: is unknown. Use {', '.join(known)}.")
        allowed = ("keep", "fail") if name in enforced else modes
        if mode not in allowed:
            raise SpecError(f"guards.{name}: {mode!r} is unknown. Use one of {', '.join(allowed)}.")
    return found


def parse_expected_plan(given: str | None) -> str | None:
    """Return the hash of the approved plan, or None. Raises SpecError for an empty one, which would approve nothing."""
    if given is not None and not given.strip():
        raise SpecError("expected_plan: is empty. Give the hash of the approved plan, or remove the option.")
    return given


def compared_tags(tags: Mapping[Any, Any] | None, option: str, *, numbers: bool = False) -> dict[str, str]:
    """Return tags that select resources. Raises SpecError for a wildcard, since an EC2 filter with one would match more
    than the task names.

    *numbers*: see `tags.require_selector_text`.
    """
    found = require_selector_text(tags or {}, option, numbers=numbers)
    for key, value in found.items():
        if not key or set("*?") & set(key + value):
            raise SpecError(
                f"{option}: {key!r}: {value!r} has a wildcard, but tags are compared literally. Write the whole tag."
            )
        if len(value) > LONGEST_VALUE:
            raise SpecError(
                f"{option}: the value of {key!r} has {len(value)} characters. Use {LONGEST_VALUE} or fewer."
            )
    return found


def _compared_keys(keys: Iterable[Any] | None, option: str) -> tuple[str, ...]:
    found = require_selector_keys(keys or (), option)
    for key in found:
        if not key or set("*?") & set(key):
            raise SpecError(f"{option}: {key!r} has a wildcard, but keys are compared literally. Write the whole key.")
    return found
