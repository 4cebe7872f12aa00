# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tags: their rules, CreateTags, DeleteTags, DescribeTags, and the tags that ride on a create."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .engine import Request, action
from .errors import Ec2Error
from .filters import matching
from .pages import paged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .world import Snapshot

MOST_TAGS = 50
LONGEST_KEY = 127
LONGEST_VALUE = 256
MOST_RESOURCES = 1000

#: By the prefix of an id: the code for an unknown id, EC2's word for the resource, and its type in DescribeTags.
_KINDS = {
    "vol": ("InvalidVolume.NotFound", "volume", "volume"),
    "snap": ("InvalidSnapshot.NotFound", "snapshot", "snapshot"),
    "ami": ("InvalidAMIID.NotFound", "image id", "image"),
    "i": ("InvalidInstanceID.NotFound", "instance ID", "instance"),
}
_ID = re.compile(r"[a-z-]+-(?:[0-9a-f]{8}|[0-9a-f]{17})")


def check_tags(tags: Iterable[tuple[str, str]], *, kept: Mapping[str, str] | None = None) -> dict[str, str]:
    """Tags as a dictionary, laid over the ones a resource has already.

    Raises Ec2Error InvalidParameterValue for an empty, too long, doubled or reserved key or a too long value, and
    TagLimitExceeded for more than 50.
    """
    new: dict[str, str] = {}
    for key, value in tags:
        if not key:
            raise Ec2Error("InvalidParameterValue", "Tag key cannot be empty")
        if len(key) > LONGEST_KEY:
            raise Ec2Error("InvalidParameterValue", f"Tag key exceeds the maximum length of {LONGEST_KEY} characters")
        if len(value) > LONGEST_VALUE:
            raise Ec2Error(
                "InvalidParameterValue", f"Tag value exceeds the maximum length of {LONGEST_VALUE} characters"
            )
        if key.lower().startswith("aws:"):
            raise Ec2Error("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
        if key in new:
            raise Ec2Error("InvalidParameterValue", f"Duplicate tag key '{key}' specified.")
        new[key] = value
    merged = {**(kept or {}), **new}
    # Tags that AWS sets itself do not count.
    if sum(not key.startswith("aws:") for key in merged) > MOST_TAGS:
        raise Ec2Error("TagLimitExceeded", f"The maximum number of tags for the resource is {MOST_TAGS}")
    return merged


def tag_specifications(request: Request, *types: str) -> dict[str, dict[str, str]]:
    """The tags of a create by resource type, `{}` for each type that has none.

    types: those that the action makes. Raises Ec2Error InvalidParameterValue for another type or one that is named
    twice, and the errors of `check_tags`.
    """
    found: dict[str, dict[str, str]] = {}
    for one in request.params.get("TagSpecifications") or []:
        kind = one.get("ResourceType", "")
        if kind not in types:
            raise Ec2Error(
                "InvalidParameterValue",
                f"'{kind}' is not a valid taggable resource type for this operation."
                if kind
                else "Tag specification resource type must have a value",
            )
        if kind in found:
            raise Ec2Error("InvalidParameterValue", f"Duplicate resource type '{kind}' in tag specifications")
        pairs = [(tag.get("Key", ""), tag.get("Value", "")) for tag in one.get("Tags") or []]
        if not pairs:
            raise Ec2Error("InvalidParameterValue", "Tag specification must have at least one tag")
        found[kind] = check_tags(pairs)
    return {kind: found.get(kind, {}) for kind in types}


@dataclass
class _Foreign:
    """Another account's snapshot, with the tags that this account has given it."""

    snapshot: Snapshot
    account: str
    kind: str = "snapshot"

    @property
    def id(self) -> str:
        return self.snapshot.id

    @property
    def tags(self) -> dict[str, str]:
        return self.snapshot.foreign_tags.get(self.account, {})

    @tags.setter
    def tags(self, tags: dict[str, str]) -> None:
        self.snapshot.foreign_tags = {**self.snapshot.foreign_tags, self.account: tags}


def _foreign(request: Request) -> Iterator[_Foreign]:
    """The snapshots of other accounts that this one has tagged, also those that it can no longer use."""
    for other in request.world.regions():
        if other.name == request.region and other.account != request.account:
            for one in other.snapshots.values():
                if one.foreign_tags.get(request.account):
                    yield _Foreign(one, request.account)


def _found(request: Request, resource_id: str) -> Any:
    """The resource of this id that the request may tag, or None."""
    own = request.home.resource(resource_id)
    if own is not None or not resource_id.startswith("snap-"):
        return own
    tagged = [one for one in _foreign(request) if one.id == resource_id] if request.action == "DeleteTags" else []
    for other in request.world.regions():
        one = other.snapshots.get(resource_id) if other.name == request.region else None
        if one is not None and other.grants(one, request.account, request.now):
            return _Foreign(one, request.account)
    return tagged[0] if tagged else None


@dataclass
class _Split:
    """The ids of a call: the sandbox's own resources, and those of moto."""

    own: list[Any]
    others: list[str]


def _split(request: Request) -> _Split:
    ids = list(dict.fromkeys(request.params["Resources"]))
    if len(ids) > MOST_RESOURCES:
        raise Ec2Error("InvalidParameterValue", f"The number of resources exceeds the limit of {MOST_RESOURCES}")
    own, others = [], []
    for each in ids:
        if not _ID.fullmatch(each):
            raise Ec2Error("InvalidID", f"The ID '{each}' is not valid")
        resource = _found(request, each)
        if resource is None and each.rpartition("-")[0] in _KINDS:
            raise not_found(each)
        if resource is not None and not isinstance(resource, _Foreign) and not request.visible(resource):
            raise not_found(each)
        if resource is None:
            others.append(each)
        else:
            own.append(resource)
    return _Split(own, others)


def not_found(resource_id: str) -> Ec2Error:
    """EC2's error for an unknown id, by the id's type."""
    code, what, _rest = _KINDS.get(resource_id.rpartition("-")[0], ("InvalidID", "ID", ""))
    return Ec2Error(code, f"The {what} '{resource_id}' does not exist")


@action("CreateTags")
def create_tags(request: Request) -> dict[str, Any]:
    """Add or overwrite tags: on all resources or, when one of them refuses, on none."""
    split = _split(request)
    pairs = [(tag.get("Key", ""), tag.get("Value", "")) for tag in request.params["Tags"]]
    if not pairs:
        raise Ec2Error("MissingParameter", "The request must contain the parameter tagSet")
    merged = [(resource, check_tags(pairs, kept=resource.tags)) for resource in split.own]
    check_tags(pairs)
    request.dry_run_gate()
    if split.others:
        request.moto("CreateTags", {"Resources": split.others, "Tags": request.params["Tags"]})
    for resource, tags in merged:
        resource.tags = tags
    return {}


@action("DeleteTags")
def delete_tags(request: Request) -> dict[str, Any]:
    """Remove tags: by key, by key and value (only while it has that value), or all that the user set."""
    split = _split(request)
    wanted = request.params.get("Tags")
    for tag in wanted or []:
        if str(tag.get("Key", "")).lower().startswith("aws:"):
            raise Ec2Error("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
    request.dry_run_gate()
    if split.others:
        request.moto("DeleteTags", {"Resources": split.others, **({"Tags": wanted} if wanted else {})})
    for resource in split.own:
        tags = dict(resource.tags or {})
        if not wanted:
            tags = {key: value for key, value in tags.items() if key.startswith("aws:")}
        for tag in wanted or []:
            key, value = tag.get("Key", ""), tag.get("Value")
            if key in tags and value in (None, tags[key]):
                del tags[key]
        resource.tags = tags
    return {}


@dataclass
class _TagRow:
    """One row of DescribeTags."""

    resource_id: str
    kind: str
    key: str
    value: str
    tags: None = None


_FIELDS = {
    "key": lambda row: row.key,
    "value": lambda row: row.value,
    "resource-id": lambda row: row.resource_id,
    "resource-type": lambda row: row.kind,
}


def _tag_field(key: str) -> Any:
    return lambda row: row.value if row.key == key else None


@action("DescribeTags")
def describe_tags(request: Request) -> dict[str, Any]:
    """The tags of all resources, the sandbox's own first, then moto's."""
    rows = [
        _TagRow(resource.id, resource.kind, key, value)
        for resource in request.home.resources()
        if request.visible(resource)
        for key, value in (resource.tags or {}).items()
    ]
    rows += [
        _TagRow(resource.id, resource.kind, key, value)
        for resource in _foreign(request)
        for key, value in resource.tags.items()
    ]
    own = {row.resource_id for row in rows} | {resource.id for resource in request.home.resources()}
    rows += [
        _TagRow(tag["ResourceId"], tag["ResourceType"], tag["Key"], tag.get("Value", ""))
        for tag in request.moto("DescribeTags", {}).get("Tags", [])
        if tag["ResourceId"] not in own and tag["ResourceId"].rpartition("-")[0] not in _KINDS
    ]
    # Here `tag:KEY` means the row of that key.
    fields = dict(_FIELDS)
    for one in request.params.get("Filters") or []:
        if one.get("Name", "").startswith("tag:"):
            fields[one["Name"]] = _tag_field(one["Name"][4:])
    found = matching(request, rows, fields)
    found.sort(key=lambda row: (row.resource_id, row.key))
    page, token = paged(request, found, key=lambda row: (row.resource_id, row.key), ids=None)
    return {
        "Tags": [
            {"ResourceId": row.resource_id, "ResourceType": row.kind, "Key": row.key, "Value": row.value}
            for row in page
        ],
        "NextToken": token,
    }
