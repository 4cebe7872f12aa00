# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The queries of a report, and the parts that are missing without their answers.

Private to this collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from ..._kernel import tags as tag_names
from ..._kernel.display import counted
from ..._kernel.errors import StorageError
from ..._kernel.facts import CALLER_IDENTITY, account_query
from ..._kernel.failures import CallError
from ..._kernel.list_prices import price_queries
from ..._kernel.places import Place
from ..._kernel.prices import CURRENCY
from ..._kernel.resources import Image, Instance, Snapshot
from ..._kernel.state import Query, State, literal, own_images, own_snapshots_where, together
from ..._kernel.storage_facts import (
    LAUNCH_CONFIGURATIONS_QUERY,
    LOCKS_QUERY,
    PUBLIC_QUERY,
    launch_permissions_query,
    permissions_query,
    users_queries,
)
from ..._kernel.times import EARLIEST
from .spec import InventorySpec
from .stock import Inventory
from .stored import read_stored
from .usage import read_use

_VOLUMES = Query("DescribeVolumes")
_INSTANCES = Query("DescribeInstances")
_SNAPSHOTS = own_snapshots_where()
_IMAGES = own_images()


@dataclass(frozen=True)
class Part:
    """A part of the report that one kind of query answers.

    ``permission``: the IAM action. ``missing``: the sentence that says what the report lacks without the answer.
    ``resource``: the resources of which there is a query each; their number stands in place of ``{}``.
    """

    name: str
    permission: str
    missing: str
    resource: str = ""


_PARTS = {
    "DescribeVolumes": Part(
        "volumes", "ec2:DescribeVolumes", "The report has no volumes, and no finding about a missing volume."
    ),
    "DescribeInstances": Part(
        "instances", "ec2:DescribeInstances", "The report has no instances and no findings about them."
    ),
    "DescribeSnapshots": Part(
        "snapshots", "ec2:DescribeSnapshots", "The report has no snapshots and no recovery points."
    ),
    "DescribeImages": Part(
        "images", "ec2:DescribeImages", "The report has no images, and no finding about snapshots without a policy."
    ),
    "DescribeLockedSnapshots": Part(
        "locks",
        "ec2:DescribeLockedSnapshots",
        "The report shows no locks, and no finding about snapshots without a policy.",
    ),
    "DescribeImageReferences": Part(
        "image users", "ec2:DescribeImageReferences", "The report shows no users of images and no unused images."
    ),
    "DescribeLaunchConfigurations": Part(
        "launch configurations",
        "autoscaling:DescribeLaunchConfigurations",
        "The report shows no launch configurations and no unused images.",
    ),
    "GetCallerIdentity": Part("account", "sts:GetCallerIdentity", "The report does not name the account."),
    "DescribeSnapshotAttribute": Part(
        "snapshot permissions", "ec2:DescribeSnapshotAttribute", "The report does not show who may use some snapshots."
    ),
    "GetMetricData": Part(
        "metrics",
        "cloudwatch:GetMetricData",
        "The report does not compare the performance of some volumes with its use.",
    ),
    "ListChangedBlocks": Part(
        "changed blocks", "ebs:ListChangedBlocks", "AWS did not list the changed blocks of {}.", "snapshot"
    ),
    "ListSnapshotBlocks": Part("blocks", "ebs:ListSnapshotBlocks", "AWS did not list the blocks of {}.", "snapshot"),
    "GetProducts": Part("prices", "pricing:GetProducts", "The report has no prices from AWS's Pricing API."),
    "DescribeImageAttribute": Part(
        "image permissions", "ec2:DescribeImageAttribute", "The report does not show who may use some images."
    ),
}
_PUBLIC = Part("public snapshots", "ec2:DescribeSnapshots", "The report does not show public snapshots.")


def first_queries(spec: InventorySpec) -> tuple[Query, ...]:
    """Return the queries that need no other answer. Their number does not depend on the resources."""
    several = (
        _VOLUMES,
        _INSTANCES,
        _SNAPSHOTS,
        _IMAGES,
        LOCKS_QUERY,
        PUBLIC_QUERY,
        *((LAUNCH_CONFIGURATIONS_QUERY,) if "images" in spec.subjects else ()),
        *(copies_query(region, spec) for region in spec.copy_regions),
        *(price_queries(spec.prices.region) if spec.price_api else ()),
    )
    return tuple(replace(query, optional=True) for query in several)


def copies_query(region: str, spec: InventorySpec) -> Query:
    """Return the query for the copies of this region's snapshots in another *region* of the account."""
    value = f"{literal(spec.prices.region)}/*"
    query = own_snapshots_where((f"tag:{tag_names.COPY_OF}", (value,)))
    return replace(query, place=Place(region), optional=True)


def _user_queries(spec: InventorySpec, state: State) -> Iterator[Query]:
    """Yield the queries for the users of the known images, ten in a call."""
    if "images" in spec.subjects:
        found = users_queries(item.image_id for item in state.here().all(Image))
        yield from (replace(one, optional=True) for one in found)


def _permission_queries(spec: InventorySpec, state: State) -> Iterator[Query]:
    """Yield the queries for the permissions of the known snapshots and images."""
    here = state.here()
    if spec.permissions:
        for snapshot in here.all(Snapshot):
            yield replace(permissions_query(snapshot.snapshot_id), optional=True)
        for image in here.all(Image):
            yield replace(launch_permissions_query(image.image_id), optional=True)


def read(spec: InventorySpec, state: State) -> None:
    """Require all answers. Raises NeedsAnswers, and AWS's error if it answers none of the main queries.

    The images come first, so that the calls for their users run beside the long listing of the snapshots.
    """
    if "images" in spec.subjects:
        state.require(replace(_IMAGES, optional=True))
    state.require(*first_queries(spec), *_user_queries(spec, state))
    main = (_VOLUMES, _INSTANCES, _SNAPSHOTS, _IMAGES)
    if all(query in state.unanswered for query in main):
        raise state.unanswered[_VOLUMES]
    parts = [lambda: state.require(*_permission_queries(spec, state))]
    if spec.metrics:
        parts.append(lambda: read_use(spec, state))
    if spec.changed_blocks:
        parts.append(lambda: read_stored(Inventory(spec, state, state.now or EARLIEST)))
    together(*parts)
    if account_of(state) is None:
        state.require(replace(account_query(), optional=True))


def account_of(state: State) -> str | None:
    """Return the account. Every resource names its owner, so an account with resources needs no call to STS."""
    here = state.here()
    owned: Iterator[Snapshot | Instance | Image] = chain(here.all(Snapshot), here.all(Instance), here.all(Image))
    owners = (item.owner_id for item in owned if item.owner_id)
    identity = CALLER_IDENTITY.of(state)
    return next(owners, None) or (None if identity is None else identity.account)


def is_answered(state: State, *names: str) -> bool:
    """Return whether AWS has answered all queries of these parts."""
    return not any(part_of(query).name in names for query in state.unanswered)


def part_of(query: Query) -> Part:
    """Return the part of the report that depends on the query."""
    if query.place and query.operation == "DescribeSnapshots":
        return Part(
            f"copies in {query.place}",
            "ec2:DescribeSnapshots",
            f"The report shows no copies in {query.place}.",
        )
    return _PUBLIC if query == PUBLIC_QUERY else _PARTS[query.operation]


def partial(spec: InventorySpec, state: State) -> list[dict[str, Any]]:
    """Return the missing parts, each once, with AWS's error."""
    found: dict[str, dict[str, Any]] = {}
    numbers = Counter(part_of(query).name for query in state.unanswered)
    for query, error in state.unanswered.items():
        part = part_of(query)
        code, message = _told(error)
        found.setdefault(
            part.name,
            {
                "part": part.name,
                "operation": query.operation,
                "code": code,
                "message": message,
                "permission": part.permission,
                "missing": part.missing.format(counted(numbers[part.name], part.resource)),
            },
        )
    return [*found.values(), *_without_endpoint(spec)]


def _without_endpoint(spec: InventorySpec) -> Iterator[dict[str, Any]]:
    """Yield the missing part of a region whose prices the Pricing API does not have in USD."""
    if not spec.price_api or price_queries(spec.prices.region):
        return
    part = _PARTS["GetProducts"]
    yield {
        "part": part.name,
        "operation": "GetProducts",
        "code": "NoEndpoint",
        "message": f"AWS's Pricing API has no prices in {CURRENCY} for {spec.prices.region}",
        "permission": None,
        "missing": part.missing,
    }


def _told(error: StorageError) -> tuple[str, str]:
    if isinstance(error, CallError):
        return error.code, error.message
    return type(error).__name__, str(error)


def warnings(parts: Iterable[dict[str, Any]]) -> tuple[str, ...]:
    """Return one sentence for each missing part."""
    return tuple(
        f"{part['missing']} {part['operation']} failed: {part['code']}: {part['message'].rstrip('.')}."
        + (f" Allow {part['permission']}." if part["permission"] else " Name the prices in the option prices.")
        for part in parts
    )
