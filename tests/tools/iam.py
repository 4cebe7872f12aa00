# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The IAM policies of docs/iam, from the table docs/iam/actions.yml. As a command, writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tools.environment import ROOT

FOLDER = ROOT / "docs" / "iam"
TABLE = FOLDER / "actions.yml"
LARGEST = 6144
"""Characters of a managed policy without white space (IAM, "IAM and AWS STS quotas")."""

_READ = re.compile(r"\w+:(Describe|Get|List)")
# The operations that may include CreateTags: those that take TagSpecifications (EC2, "Grant permission to tag resources
# during creation").
TAGGED_AT_CREATION = frozenset(
    f"ec2:{name}"
    for name in (
        *("CopyImage", "CopySnapshot", "CreateImage", "CreateSnapshot", "CreateSnapshots", "CreateVolume"),
        *("RegisterImage", "RunInstances"),
    )
)
# Snapshots and images have no account in their ARN (Service Authorization Reference, "Amazon EC2").
_RESOURCES = {
    "ec2:DeleteSnapshot": "arn:aws:ec2:*::snapshot/*",
    "ec2:DeleteVolume": "arn:aws:ec2:*:*:volume/*",
    "ec2:DeregisterImage": "arn:aws:ec2:*::image/*",
    "iam:PassRole": "arn:aws:iam::*:role/*",
    "ssm:PutParameter": "arn:aws:ssm:*:*:parameter/*",
}
_KEYS = "arn:aws:kms:*:*:key/*"


@dataclass(frozen=True)
class Needs:
    """The actions of one module, or of several together."""

    actions: Mapping[str, str] = field(default_factory=dict)
    """Each action and its source."""
    check: frozenset[str] = frozenset()
    only_tagged: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Actions on resources that carry one of these tags."""
    tag_keys: frozenset[str] | None = frozenset()
    """The keys of the tags that are set on existing resources. None stands for all."""

    def __or__(self, other: Needs) -> Needs:
        limited = {
            action: self.only_tagged.get(action, frozenset()) | other.only_tagged.get(action, frozenset())
            for action in {*self.only_tagged, *other.only_tagged}
            # Only where both that need the action keep to tags.
            if all(action in each.only_tagged or action not in each.actions for each in (self, other))
        }
        every = self.tag_keys is None or other.tag_keys is None
        keys = None if every else (self.tag_keys or frozenset()) | (other.tag_keys or frozenset())
        return Needs({**other.actions, **self.actions}, self.check | other.check, limited, keys)

    def without(self, actions: Collection[str]) -> Needs:
        """The needs without these actions."""
        return replace(self, actions={name: source for name, source in self.actions.items() if name not in actions})

    def in_check_mode(self) -> Needs:
        """The part that check mode needs."""
        wanted = {name: source for name, source in self.actions.items() if _READ.match(name) or name in self.check}
        if self.check:
            behind = [f"behind: {name.partition(':')[2]}" for name in self.check]
            wanted |= {name: source for name, source in self.actions.items() if source in behind}
        return Needs(wanted, self.check)


@cache
def table() -> dict[str, Any]:
    """The table, as YAML reads it."""
    return dict(yaml.safe_load(TABLE.read_text(encoding="utf-8")))


def needs(*modules: str) -> Needs:
    """The needs of these modules together. Raises KeyError for a module without an entry."""
    found = Needs()
    for module in modules:
        row = table()["modules"][module]
        tagged = {action: frozenset(keys) for action, keys in row.get("only_tagged", {}).items()}
        keys = frozenset(row["tag_keys"]) if "tag_keys" in row else None
        own = Needs(row["actions"], frozenset(row.get("check", ())), tagged, keys)
        found = found | own | needs(*row.get("includes", ()))
    return found


def policy(need: Needs) -> dict[str, Any]:
    """The policy document."""
    actions = set(need.actions)
    plain = actions - set(need.only_tagged) - {"ec2:CreateTags", "ec2:DeleteTags"} - set(_RESOURCES)
    kms = {name for name in plain if name.startswith("kms:")}
    reads = {name for name in plain - kms if _READ.match(name)}
    rows = [
        *_statement("Read", reads),
        *_statement("Change", plain - kms - reads),
        *_tags(need, actions),
        *_deletions(need, actions),
        *_others(actions, kms),
    ]
    return {"Version": "2012-10-17", "Statement": rows}


def _statement(sid: str, names: Collection[str], resource: str = "*", **condition: Any) -> list[dict[str, Any]]:
    if not names:
        return []
    row = {"Sid": sid, "Effect": "Allow", "Action": sorted(names), "Resource": resource}
    return [{**row, "Condition": condition} if condition else row]


def _tags(need: Needs, actions: set[str]) -> Iterable[dict[str, Any]]:
    creating = sorted(name.partition(":")[2] for name in actions & TAGGED_AT_CREATION)
    if creating:
        yield from _statement(
            "TagOnCreation",
            {"ec2:CreateTags"},
            "arn:aws:ec2:*:*:*/*",
            StringEquals={"ec2:CreateAction": creating},
        )
    later = actions & {"ec2:CreateTags", "ec2:DeleteTags"} if need.tag_keys != frozenset() else set()
    if need.tag_keys is None:
        yield from _statement("TagLater", later, "arn:aws:ec2:*:*:*/*")
        return
    # Without the second condition, ForAllValues is also true for a request without keys (IAM, "Multivalued keys").
    limits: dict[str, Any] = {
        "ForAllValues:StringEquals": {"aws:TagKeys": sorted(need.tag_keys)},
        "Null": {"aws:TagKeys": "false"},
    }
    yield from _statement("TagLater", later, "arn:aws:ec2:*:*:*/*", **limits)


def _deletions(need: Needs, actions: set[str]) -> Iterable[dict[str, Any]]:
    """A statement for each tag, since conditions in one statement must all hold."""
    for action in sorted(actions & set(_RESOURCES)):
        if action.startswith("ec2:"):
            name = action.partition(":")[2]
            for tag in sorted(need.only_tagged.get(action, ())):
                words = "".join(word.title() for word in re.split(r"[:-]", tag))
                condition = {"Null": {f"aws:ResourceTag/{tag}": "false"}}
                yield from _statement(f"{name}{words}", {action}, _RESOURCES[action], **condition)
            if action not in need.only_tagged:
                yield from _statement(name, {action}, _RESOURCES[action])


def _others(actions: set[str], kms: set[str]) -> Iterable[dict[str, Any]]:
    yield from _statement("WriteParameters", actions & {"ssm:PutParameter"}, _RESOURCES["ssm:PutParameter"])
    passed: Any = {"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}
    yield from _statement("PassRole", actions & {"iam:PassRole"}, _RESOURCES["iam:PassRole"], **passed)
    grants: Any = {"Bool": {"kms:GrantIsForAWSResource": "true"}}
    yield from _statement("GrantKeysToEbs", kms & {"kms:CreateGrant"}, _KEYS, **grants)
    through: Any = {"StringLike": {"kms:ViaService": "ec2.*.amazonaws.com"}}
    yield from _statement("UseKeysThroughEc2", kms - {"kms:CreateGrant", "kms:DescribeKey"}, _KEYS, **through)
    yield from _statement("ReadKeys", kms & {"kms:DescribeKey"}, _KEYS)


def files() -> dict[Path, str]:
    """The text of every policy file."""
    users = {name: [name] for name in table()["modules"]} | table()["roles"] | table()["playbooks"]
    texts = {}
    for name, modules in users.items():
        need = needs(*modules).without(table()["without"].get(name, ()))
        for suffix, part in (("", need), ("-check", need.in_check_mode())):
            texts[FOLDER / f"{name}{suffix}.json"] = json.dumps(policy(part), indent=2) + "\n"
    return texts


def main() -> None:
    """Writes the files, and removes those of modules that are gone."""
    wanted = files()
    for path in set(FOLDER.glob("*.json")) - set(wanted):
        path.unlink()
    for path, text in wanted.items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
