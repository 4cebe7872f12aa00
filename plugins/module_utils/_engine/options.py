# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Options that every module has, and groups of options with their constraints.

AnsibleAWSModule brings the connection options (region, profile, keys, endpoint_url, aws_config, …).

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .._kernel.errors import SpecError

MASK_OF_A_VALUE = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
MASK_OF_A_PART = "********"
_CONSTRAINTS = ("mutually_exclusive", "required_together", "required_one_of", "required_if")


@dataclass(frozen=True)
class Options:
    """Options and the constraints among them, under AnsibleModule's names (``mutually_exclusive``, …)."""

    options: Mapping[str, Any]
    constraints: Mapping[str, Any] = field(default_factory=dict)


COMMON = Options(
    {
        "wait": {"type": "bool", "default": True},
        "wait_timeout": {"type": "int", "default": 1800},
        "assume": {"type": "list", "elements": "raw", "default": []},
    }
)


def module_arguments(*groups: Options) -> dict[str, Any]:
    """Return AnsibleModule's arguments: all options and all constraints of the groups.

    The option of a later group has precedence.
    """
    spec: dict[str, Any] = {}
    merged: dict[str, Any] = {}
    for group in groups:
        spec.update(group.options)
        for name, rules in group.constraints.items():
            if name in _CONSTRAINTS:
                merged[name] = [*merged.get(name, ()), *rules]
            else:
                merged[name] = {**merged.get(name, {}), **rules}
    return {"argument_spec": spec, **merged}


def assumed_entries(assume: Any) -> list[Mapping[str, Any]]:
    """Return the entries of all plans in ``assume``, in order.

    It may hold plans (lists of entries), entries, or results of earlier tasks. The plan of a skipped task (null, or a
    result without a plan) counts as empty. Raises SpecError for anything else, and for a plan that Ansible has masked.
    """
    entries = list(_entries(assume))
    masked = next(_masked(entries), None)
    if masked is not None:
        raise SpecError(
            f"assume: Ansible has masked {masked!r} in a plan, since a part of the value equals a secret of that task, "
            "such as secret_key or user_data_content. Use a secret that is not a part of other values, or "
            "give credentials by a profile or in the environment."
        )
    return entries


def _masked(value: Any) -> Iterator[str]:
    """Yield the texts in *value* that Ansible has masked: ``remove_values`` of
    ``ansible.module_utils.common.parameters``.

    Ansible replaces a text that equals a secret with a word, and a secret inside a longer text with eight asterisks. It
    does not change keys.
    """
    if isinstance(value, str):
        if value == MASK_OF_A_VALUE or MASK_OF_A_PART in value:
            yield value[:100]
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _masked(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _masked(item)


def _entries(value: Any) -> Iterator[Mapping[str, Any]]:
    if value is None or value == "":
        return
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _entries(item)
    elif isinstance(value, Mapping) and "action" in value and "resource" in value:
        yield value
    elif isinstance(value, Mapping) and ("plan" in value or value.get("skipped")):
        yield from _entries(value.get("plan"))
    else:
        raise SpecError(
            f"assume: {str(value)[:100]!r} is not the plan of an earlier task. Give the plan that a task returned"
        )
