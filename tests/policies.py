# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls of a request log against an IAM policy, with the operators that docs/iam uses for them."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping
from typing import Any

from sandbox.client import Sandbox

DELETED = {"DeleteSnapshot": "SnapshotId", "DeleteVolume": "VolumeId", "DeregisterImage": "ImageId"}
"""The operations that a policy limits to tagged resources, and the parameter with the resource."""


def full(action: str) -> str:
    """Return the IAM action of an entry of the log, which names the service of all operations but EC2's."""
    return action if ":" in action else f"ec2:{action}"


def calls(sandbox: Sandbox) -> list[dict[str, Any]]:
    """Return the entries of the log that are calls."""
    return [entry for entry in sandbox.log() if entry["action"]]


def denied(
    policy: Mapping[str, Any], entries: Iterable[Mapping[str, Any]], tags: Mapping[str, Mapping[str, str]]
) -> set[str]:
    """Return the calls that the policy does not allow, with their condition keys.

    *tags* has the tags of each deleted resource, right before its deletion.
    """
    found = set()
    for entry in entries:
        action, params = full(entry["action"]), entry["params"]
        resource = params.get(DELETED.get(entry["action"], ""), "")
        facts: dict[str, Any] = {"aws:TagKeys": [tag["Key"] for tag in params.get("Tags") or ()]}
        facts |= {f"aws:ResourceTag/{tag}": value for tag, value in tags.get(resource, {}).items()}
        if not allows(policy, action, facts):
            found.add(f"{action} {resource} {facts}")
        created = {"ec2:CreateAction": entry["action"]}
        if params.get("TagSpecifications") and not allows(policy, "ec2:CreateTags", created):
            found.add(f"ec2:CreateTags at {entry['action']}")
    return found


def allows(policy: Mapping[str, Any], action: str, facts: Mapping[str, Any]) -> bool:
    """Return whether a statement allows the action. *facts* are the condition keys of the request."""
    return any(
        any(fnmatch.fnmatchcase(action, pattern) for pattern in row["Action"])
        and all(
            _holds(operator, name, wanted, facts)
            for operator, rules in row.get("Condition", {}).items()
            for name, wanted in rules.items()
        )
        for row in policy["Statement"]
    )


def _holds(operator: str, name: str, wanted: Any, facts: Mapping[str, Any]) -> bool:
    if operator == "Null":
        return (not facts.get(name)) == (wanted == "true")
    if operator == "StringEquals":
        return facts.get(name) in wanted
    if operator == "ForAllValues:StringEquals":
        return set(facts.get(name, ())) <= set(wanted)
    raise AssertionError(f"{operator}: these tests do not know this operator")
