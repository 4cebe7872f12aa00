# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which instance an id stands for: itself, or the living one that has replaced it.

A replaced instance is gone from EC2's answers an hour after its end, so the record is a tag on the successor,
``ec2ops:replaces``, with the ids of all it stands for. An operator's inventory may go on naming the first of them.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable

from . import tags as tag_names
from .change import Query, State, by_id
from .errors import Ambiguous, SpecError, UnsafePlan
from .names import is_planned
from .resources import Instance

# An instance id and the comma before it, as `tags.replaces_value` writes them.
_ONE_MORE = len(",i-0123456789abcdef0")


def lineage_queries(instance_ids: Iterable[str], state: State) -> tuple[Query, ...]:
    """The questions that `living` needs answered: the instances, and whatever carries their ids as replaced.

    A successor whose tag was full may have been replaced by one whose tag had no room for these ids any more, so it is
    asked for too, once it is known.
    """
    ids = sorted({resource for resource in instance_ids if not is_planned(resource)})
    full = [
        heir.instance_id
        for heir in (successor(state, item) for item in ids)
        if heir is not None and len(heir.tags.get(tag_names.REPLACES, "")) + _ONE_MORE > tag_names.LONGEST_VALUE
    ]
    return (*by_id("DescribeInstances", "instance-id", ids), *successor_queries(ids), *successor_queries(full))


def successor_queries(instance_ids: Iterable[str]) -> tuple[Query, ...]:
    """The question whether anything has replaced these instances."""
    ids = sorted({resource for resource in instance_ids if not is_planned(resource)})
    if not ids:
        return ()
    # The tag holds several ids, so the filter needs wildcards; 200 values is EC2's limit for one filter.
    return tuple(
        Query(
            "DescribeInstances",
            ((f"tag:{tag_names.REPLACES}", tuple(f"*{item}*" for item in ids[start : start + 200])),),
        )
        for start in range(0, len(ids), 200)
    )


def successor(state: State, instance_id: str) -> Instance | None:
    """The living instance that stands for *instance_id* after one or more replacements, None when it was not replaced.

    Raises Ambiguous when two living instances both claim to, and neither replaces the other.
    """
    heir = _claimant(state, instance_id)
    followed = {instance_id}
    while heir is not None and heir.instance_id not in followed:
        followed.add(heir.instance_id)
        newer = _claimant(state, heir.instance_id)
        if newer is None:
            break
        heir = newer
    return heir


def _claimant(state: State, instance_id: str) -> Instance | None:
    """The newest living instance that carries this id as replaced."""
    claims = [
        candidate
        for candidate in state.all(Instance)
        if candidate.alive and instance_id in tag_names.replaced_ids(candidate.tags)
    ]
    superseded = {older for candidate in claims for older in tag_names.replaced_ids(candidate.tags)}
    newest = [candidate for candidate in claims if candidate.instance_id not in superseded]
    if len(newest) > 1:
        raise Ambiguous(
            f"{instance_id} was replaced by more than one living instance (tag {tag_names.REPLACES}); terminate the "
            "one that is not wanted or remove its tag",
            sorted(candidate.instance_id for candidate in newest),
        )
    return newest[0] if newest else None


def living(state: State, instance_id: str, option: str, *, follow: bool = True) -> Instance:
    """The instance that *instance_id* stands for: its living successor, else itself. Without *follow*, itself.

    Raises SpecError, naming *option*, for an id that EC2 does not know, and for a terminated one without a successor.
    """
    heir = successor(state, instance_id) if follow else None
    if heir is not None:
        return heir
    found = state.instance(instance_id)
    if found is None:
        raise SpecError(
            f"{option}: {instance_id} does not exist in {state.region}, and no instance there replaces it; check the "
            "id and the region"
        )
    if not found.alive:
        raise SpecError(f"{option}: {instance_id} is {found.state}, and no living instance replaces it")
    return found


def require_no_way_back(state: State, heir: Instance, instance_id: str, option: str) -> None:
    """UnsafePlan when *heir* is stopped and what it has replaced runs again: somebody went back, and has newer data."""
    if heir.state not in ("stopped", "stopping"):
        return
    for older_id in (instance_id, *tag_names.replaced_ids(heir.tags)):
        older = state.instance(older_id)
        if older is not None and older.state in ("running", "pending"):
            raise UnsafePlan(
                f"{option}: {older_id} is {older.state} again, and {heir.instance_id}, which has replaced it, is "
                f"{heir.state}. To go on with {older_id}, terminate {heir.instance_id} or remove its tag "
                f"{tag_names.REPLACES}; to go on with {heir.instance_id}, start it"
            )
