# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the resources that were made for changes, and choose between several.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from .._kernel.ids import GENERATIONS, client_token
from .._kernel.plan import Change
from .._kernel.proofs import is_copy
from .._kernel.resources import Image, Instance, Resource, Snapshot, Volume
from .._kernel.service_facts import INTERFACE
from .._kernel.storage_facts import MODIFICATION

FAILED = frozenset({"error", "failed", "invalid", "deregistered"})
_FAR_FUTURE = datetime.max.replace(tzinfo=UTC)


def made_for(changes: Sequence[Change], answers: Iterable[Resource]) -> list[Resource]:
    """Return the resources in *answers* that were made for *changes*. They carry `Change.own_tags` of the changes, and
    have not failed.

    Tags can be forged, so a fact of EC2 must agree: a snapshot keeps its description, an instance its client token. A
    resource that the plan has passed over does not count.
    """
    own = changes[0].own_tags
    passed_over = frozenset[str]().union(*(change.passed_over for change in changes))
    return [
        resource
        for resource in answers
        if own
        and resource.resource_id not in passed_over
        and all(getattr(resource, "tags", {}).get(key) == value for key, value in own.items())
        and getattr(resource, "state", "") not in FAILED
        and _has_facts_of(changes, resource)
    ]


def _has_facts_of(changes: Sequence[Change], resource: Resource) -> bool:
    """Return whether EC2's facts about a resource match the changes. Anybody can set tags."""
    first = changes[0]
    if isinstance(resource, Instance):
        return resource.facts.get("ClientToken") in _tokens_of(first)
    if isinstance(resource, Volume):
        asked = first.parameters
        zone = asked.get("AvailabilityZone")
        return (resource.snapshot_id or None) == asked.get("SnapshotId") and zone in (None, resource.availability_zone)
    if isinstance(resource, Image) and first.action == "CopyImage":
        return bool(resource.facts.get("SourceImageId") == first.parameters["SourceImageId"])
    if not isinstance(resource, Snapshot):
        return True
    description = first.parameters.get("Description")
    if description is not None and resource.description != description:
        return False
    volume_id = first.parameters.get("VolumeId")
    if volume_id is not None:
        return bool(resource.volume_id == volume_id)
    return not first.operation.copies or is_copy(resource)


def _tokens_of(change: Change) -> frozenset[str]:
    """Return the client tokens of the change.

    EC2 always shows an instance's token, which cannot be forged like a tag.
    """
    return frozenset(client_token(change.token, number) for number in range(GENERATIONS) if change.token)


def usable(resource: Resource) -> bool:
    """Return whether the resource still exists, as far as EC2 shows."""
    return not isinstance(resource, (Instance, Volume)) or resource.alive


_TARGET = {
    "Size": "size",
    "VolumeType": "volume_type",
    "Iops": "iops",
    "Throughput": "throughput",
    "MultiAttachEnabled": "multi_attach_enabled",
}


def asked_for(change: Change, fact: Resource) -> bool:
    """Return whether the volume's latest modification is, or includes, the one that this ModifyVolume asks for."""
    latest = MODIFICATION.read(fact, change.resource)
    return (
        latest is not None
        and latest.state != "failed"
        and all(getattr(latest.target, _TARGET[name]) == wanted for name, wanted in change.parameters.items())
    )


def attachment_of(change: Change, answers: Iterable[Resource]) -> str | None:
    """Return the id of the attachment that this AttachNetworkInterface asks for, or None if EC2 does not show it."""
    asked = change.parameters
    for fact in answers:
        found = INTERFACE.read(fact, asked["NetworkInterfaceId"])
        if found is None or found.attachment_state == "detaching":
            continue
        if (found.instance_id, found.device_index) == (asked["InstanceId"], asked["DeviceIndex"]):
            return found.attachment_id
    return None


def age(resource: Resource) -> tuple[Any, ...]:
    """Return a sort key that puts the earliest first, then the lowest id."""
    if isinstance(resource, Snapshot):
        return (resource.start_time or _FAR_FUTURE, resource.resource_id)
    if isinstance(resource, Instance):
        return (resource.launch_time or _FAR_FUTURE, resource.resource_id)
    if isinstance(resource, Volume):
        return (resource.create_time or _FAR_FUTURE, resource.resource_id)
    return (resource.creation_date or "" if isinstance(resource, Image) else "", resource.resource_id)


def set_order(found: Mapping[str, Snapshot]) -> tuple[Any, ...]:
    """Return a sort key that puts the earliest set first."""
    return min(age(snapshot) for snapshot in found.values())


def sets_of(changes: Sequence[Change], visible: Sequence[Snapshot], own: set[str]) -> list[dict[str, Snapshot]]:
    """Return the snapshot sets, each from one call. A set has its snapshots by planned id.

    All snapshots of one CreateSnapshots have the same start time. *own* is a known set.
    """
    if not changes[0].operation.joint:
        # A copy of a capture has the same tags, but another volume.
        volume = changes[0].source or None
        return [{changes[0].resource: snapshot} for snapshot in visible if volume in (None, snapshot.volume_id)]
    planned = {change.source: change.resource for change in changes}
    ours = {planned[item.volume_id]: item for item in visible if item.snapshot_id in own and item.volume_id in planned}
    sets = [ours] if ours else []
    others = sorted((item for item in visible if item.snapshot_id not in own and item.volume_id in planned), key=age)
    for _moment, together in groupby(others, key=lambda item: item.start_time):
        rest = list(together)
        while rest:
            one: dict[str, Snapshot] = {}
            left: list[Snapshot] = []
            for item in rest:
                if planned[item.volume_id] in one:
                    left.append(item)
                else:
                    one[planned[item.volume_id]] = item
            sets.append(one)
            rest = left
    return sets
