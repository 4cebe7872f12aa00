# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Translate queries and changes into boto3's requests, and answers into resources. Pure.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from .._kernel.ids import client_token
from .._kernel.plan import Change
from .._kernel.resources import (
    Fact,
    Image,
    Resource,
    Snapshot,
)
from .._kernel.state import Query, Struct
from .._kernel.usage_facts import MOST_POINTS
from .decoding import NO_KEY, Answer, decode_image, decode_instance, decode_volume

# Refusals of STS, and this collection's codes for an unreachable endpoint. Some networks have an endpoint for EC2 only.
_NO_ACCOUNT = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "ExpiredToken",
        "ExpiredTokenException",
        "InvalidClientTokenId",
        "RegionDisabledException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
        "EndpointUnreachable",
        "ConnectionLost",
        "NoAnswer",
    }
)


# EC2's return codes for a snapshot that DeregisterImage has deleted, or that another image uses.
_DELETED = ("success", "skipped")
# A target group that is gone has no targets, and neither has an id that was never registered.
_NO_TARGET = frozenset({"TargetGroupNotFound", "InvalidTarget"})

# EC2's codes for a launch template that does not exist.
_NO_TEMPLATE = frozenset(
    {
        "InvalidLaunchTemplateId.NotFound",
        "InvalidLaunchTemplateId.Malformed",
        "InvalidLaunchTemplateName.NotFoundException",
        "InvalidLaunchTemplateName.MalformedException",
    }
)
# Auto Scaling's code for a group that does not exist.
_NO_GROUP = frozenset({"ValidationError"})

# The EBS direct APIs refuse an expired page token as they refuse any other invalid parameter.
_NO_TOKEN = frozenset({"ValidationException"})


@dataclass(frozen=True)
class Listing:
    """How to ask one read operation and decode its answer.

    ``decode``: returns the resources of one page.
    ``whole``: returns the resources of all pages, in place of ``decode``.
    ``expired``: AWS's codes for a page token that is no longer valid. ``resume``: returns the arguments with which the
    listing goes on after a page without its token, none if the page does not show it.
    ``size``: the parameter that bounds a page, and its maximum. None if the operation has no pages, or if a query with
    ids must not have a size.
    ``token``: the name of the page token in the request and in the answer.
    ``unless``: an argument with which EC2 refuses the size ("cannot be used with the parameter maxResults").
    ``unknown``: AWS's codes for a resource that does not exist or is forbidden, if the planner takes that as an answer.
    The page then has only the code, under `UNKNOWN`.
    """

    decode: Callable[[Query, Answer], Iterable[Resource]]
    size: tuple[str, int] | None = None
    token: tuple[str, str] = ("NextToken", "NextToken")
    unless: str = ""
    unknown: frozenset[str] = frozenset()
    whole: Callable[[Query, Iterable[Answer]], Iterable[Resource]] | None = None
    resume: Callable[[Answer], Mapping[str, Any]] | None = None
    expired: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Reader:
    """A function of another file, which is loaded with the first answer that needs it. Most tasks need few."""

    file: Callable[[], ModuleType]
    name: str

    def __call__(self, *arguments: Any) -> Any:
        """Return what the function returns."""
        return getattr(self.file(), self.name)(*arguments)


def _facts(name: str) -> Reader:
    def file() -> ModuleType:
        from . import fact_readers

        return fact_readers

    return Reader(file, name)


def _scaling(name: str) -> Reader:
    def file() -> ModuleType:
        from . import scaling_readers

        return scaling_readers

    return Reader(file, name)


def _usage(name: str) -> Reader:
    def file() -> ModuleType:
        from . import usage_readers

        return usage_readers

    return Reader(file, name)


def no_page(_query: Query, _page: Answer) -> Iterable[Resource]:
    """Return nothing: only all pages together are an answer."""
    return ()


LISTINGS: Mapping[str, Listing] = {
    "DescribeInstances": Listing(
        lambda _query, page: [
            decode_instance(item, group.get("OwnerId"))
            for group in page.get("Reservations") or ()
            for item in group.get("Instances") or ()
        ],
        ("MaxResults", 1000),
        unless="InstanceIds",
    ),
    "DescribeImages": Listing(
        lambda _query, page: [decode_image(item) for item in page.get("Images") or ()],
        ("MaxResults", 1000),
        unless="ImageIds",
    ),
    "DescribeSnapshots": Listing(
        _facts("snapshots"),
        ("MaxResults", 1000),
        unless="SnapshotIds",
    ),
    "DescribeLockedSnapshots": Listing(_facts("locks"), ("MaxResults", 1000), unless="SnapshotIds"),
    "DescribeFastSnapshotRestores": Listing(_facts("fast_restores"), ("MaxResults", 200)),
    "DescribeSnapshotTierStatus": Listing(_facts("tiers"), ("MaxResults", 1000)),
    "DescribeSnapshotAttribute": Listing(_facts("permissions")),
    "GetCallerIdentity": Listing(_facts("account"), unknown=_NO_ACCOUNT),
    "DescribeVolumes": Listing(
        lambda _query, page: [decode_volume(item) for item in page.get("Volumes") or ()],
        ("MaxResults", 500),
        unless="VolumeIds",
    ),
    "DescribeInstanceTypes": Listing(_facts("instance_types"), ("MaxResults", 100), unless="InstanceTypes"),
    "DescribeInstanceCreditSpecifications": Listing(
        _facts("credit_specifications"), ("MaxResults", 1000), unless="InstanceIds"
    ),
    "DescribeSpotInstanceRequests": Listing(
        _facts("spot_requests"), ("MaxResults", 1000), unless="SpotInstanceRequestIds"
    ),
    "DescribeReplaceRootVolumeTasks": Listing(_facts("root_volume_tasks"), ("MaxResults", 50)),
    "DescribeVolumesModifications": Listing(_facts("modifications"), ("MaxResults", 500), unless="VolumeIds"),
    "GetEbsEncryptionByDefault": Listing(_facts("encryption_by_default")),
    "GetEbsDefaultKmsKeyId": Listing(_facts("default_key")),
    "GetParameters": Listing(_facts("parameters")),
    "DescribeLaunchTemplateVersions": Listing(_facts("template_versions"), ("MaxResults", 200), unknown=_NO_TEMPLATE),
    "DescribeAvailabilityZones": Listing(_facts("zones")),
    "DescribeKey": Listing(_facts("key"), unknown=NO_KEY | frozenset({"AccessDenied", "AccessDeniedException"})),
    # The operation has no filter on instance ids, and takes no MaxResults with InstanceIds.
    "DescribeInstanceStatus": Listing(_facts("statuses")),
    "DescribeInstanceAttribute": Listing(_facts("attribute")),
    "GetInstanceUefiData": Listing(_facts("uefi")),
    "DescribeImageReferences": Listing(_facts("references")),
    "DescribeImageAttribute": Listing(_facts("launch_permissions")),
    "DescribeImageUsageReportEntries": Listing(_facts("usage_entries")),
    "DescribeImageUsageReports": Listing(_facts("usage_reports")),
    "DescribeLaunchConfigurations": Listing(_facts("launch_configurations"), ("MaxRecords", 100)),
    "DescribeAutoScalingInstances": Listing(_facts("group_members"), ("MaxRecords", 50)),
    "DescribeAutoScalingGroups": Listing(_scaling("scaling_groups"), ("MaxRecords", 100)),
    "DescribeInstanceRefreshes": Listing(_scaling("instance_refreshes"), ("MaxRecords", 100), unknown=_NO_GROUP),
    "DescribeTargetGroups": Listing(_facts("target_groups"), ("PageSize", 400), ("Marker", "NextMarker")),
    "DescribeTargetHealth": Listing(_facts("target_health"), unknown=_NO_TARGET),
    "DescribeInstanceHealth": Listing(
        _facts("member_health"), unknown=frozenset({"InvalidInstance", "InvalidEndPoint"})
    ),
    # DescribeAddresses has no pages.
    "DescribeAddresses": Listing(_facts("addresses")),
    "DescribeNetworkInterfaces": Listing(_facts("interfaces"), ("MaxResults", 1000), unless="NetworkInterfaceIds"),
    "GetMetricData": Listing(no_page, ("MaxDatapoints", MOST_POINTS), whole=_usage("volume_use")),
    "ListChangedBlocks": Listing(
        _usage("changed_blocks"), ("MaxResults", 10_000), resume=_usage("after_blocks"), expired=_NO_TOKEN
    ),
    "ListSnapshotBlocks": Listing(
        _usage("snapshot_blocks"), ("MaxResults", 10_000), resume=_usage("after_blocks"), expired=_NO_TOKEN
    ),
    "GetProducts": Listing(_usage("products"), ("MaxResults", 100)),
    # Only in the service elb. elbv2 has another operation of the same name.
    "DescribeLoadBalancers": Listing(_facts("classic_load_balancers"), ("PageSize", 400), ("Marker", "NextMarker")),
}


def query_request(query: Query) -> dict[str, Any]:
    """Return the boto3 request of the query's first page."""
    listing = LISTINGS[query.operation]
    request: dict[str, Any] = {name: _plain(value) for name, value in query.arguments}
    if query.filters:
        request["Filters"] = [{"Name": name, "Values": list(values)} for name, values in query.filters]
    if listing.size is not None and listing.unless not in request:
        name, most = listing.size
        request[name] = most
    return request


def _plain(value: Any) -> Any:
    """Return a query's hashable argument in boto3's shape."""
    if isinstance(value, Struct):
        return {key: _plain(item) for key, item in value}
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def next_request(query: Query, request: Mapping[str, Any], page: Answer) -> dict[str, Any] | None:
    """Return the request of the page after *page*, or None after the last one."""
    sent, received = LISTINGS[query.operation].token
    token = page.get(received)
    return {**request, sent: token} if token else None


def resumed_request(query: Query, request: Mapping[str, Any], page: Answer | None, code: str) -> dict[str, Any] | None:
    """Return the request that goes on after *page*, if AWS refused its token with *code*. Return None otherwise."""
    listing = LISTINGS[query.operation]
    if page is None or listing.resume is None or code not in listing.expired or listing.token[0] not in request:
        return None
    position = listing.resume(page)
    return {**query_request(query), **position} if position else None


def decode(query: Query, pages: Iterable[Answer]) -> tuple[Resource, ...]:
    """Return the resources of all pages.

    If the whole list is one fact, such as all target groups, the parts are joined.
    """
    listing = LISTINGS[query.operation]
    if listing.whole is not None:
        return tuple(listing.whole(query, pages))
    found: dict[str, Resource] = {}
    for page in pages:
        for resource in listing.decode(query, page):
            if query.place and isinstance(resource, (Image, Snapshot)):
                resource = dataclasses.replace(resource, place=query.place)
            known = found.get(resource.resource_id)
            if isinstance(resource, Fact) and isinstance(known, Fact) and isinstance(known.value, tuple):
                resource = dataclasses.replace(resource, value=(*known.value, *resource.value))
            found[resource.resource_id] = resource
    return tuple(found.values())


def change_request(changes: Sequence[Change], generation: int = 0) -> dict[str, Any]:
    """Return the boto3 request for *changes*. The changes have the same action and parameters, and no planned ids.

    `OPERATIONS` has the place of the ids. An operation with a ClientToken gets the token of this *generation*.
    """
    first = changes[0]
    operation = first.operation
    request: dict[str, Any] = dict(first.parameters)
    if operation.target is not None:
        ids = [change.resource for change in changes]
        request[operation.target] = ids if operation.most > 1 else ids[0]
    if operation.token:
        request["ClientToken"] = client_token(first.token, generation)
    return request


def created_ids(changes: Sequence[Change], answer: Answer) -> dict[str, str]:
    """Return EC2's id for each planned id. The mapping is empty when the changes create nothing.

    CreateSnapshots skips a volume that was detached meanwhile, so its planned id is missing. Raises KeyError if any
    other answer lacks an id.
    """
    first = changes[0]
    if not first.creates:
        return {}
    found: Any = answer
    for step in first.operation.creates:
        found = found[step]
    if isinstance(found, list):
        by_volume = {item["VolumeId"]: str(item["SnapshotId"]) for item in found}
        return {change.resource: by_volume[change.source] for change in changes if change.source in by_volume}
    return {first.resource: str(found)}


def refused_part(answer: Answer) -> tuple[str, str, str] | None:
    """Return EC2's refusal in an answer without error, as (resource, code, message), or None.

    EnableFastSnapshotRestores and DisableFastSnapshotRestores answer each snapshot and zone separately. DeregisterImage
    answers each associated snapshot. It skips those that another image uses, which is no failure.
    """
    kept = [one for one in answer.get("DeleteSnapshotResults") or () if one.get("ReturnCode") not in _DELETED]
    if kept:
        text = "EC2 has deregistered the image and kept the snapshots. Delete them with ec2:DeleteSnapshot"
        return ", ".join(str(one.get("SnapshotId")) for one in kept), str(kept[0].get("ReturnCode")), text
    for item in answer.get("Unsuccessful") or ():
        for refusal in item.get("FastSnapshotRestoreStateErrors") or ():
            error = refusal.get("Error") or {}
            zone = refusal.get("AvailabilityZone") or ""
            return f"{item.get('SnapshotId')} in {zone}", error.get("Code") or "", error.get("Message") or ""
    return None


def token_spent(change: Change, answer: Answer) -> str:
    """Return why an answer without error shows another resource than the change would make, or an empty text.

    EC2 answers a known client token with the resource that this token made earlier. By now that resource may be
    terminating, or may have lost our tags and serve another purpose.
    """
    if change.action == "RunInstances":
        instance = decode_instance((answer.get("Instances") or [{"InstanceId": ""}])[0])
        return "" if instance.alive else f"EC2 answered with {instance.instance_id}, which is {instance.state}"
    if change.action == "CreateVolume":
        volume = decode_volume(answer)
        if not volume.alive:
            return f"EC2 answered with {volume.volume_id}, which is {volume.state}"
        if not change.own_tags.items() <= volume.tags.items():
            return f"EC2 answered with {volume.volume_id}, whose tags have changed since"
    if change.action == "CreateReplaceRootVolumeTask":
        task = _facts("read_root_task")(answer.get("ReplaceRootVolumeTask") or {})
        return f"EC2 answered with {task.task_id}, which is {task.state}" if task.has_failed else ""
    return ""
