# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The queries of a restore, and the volumes in the answers with the tags of a restore or of a drill.

Private to this collection.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from ..._domain.succession import successor_queries
from ..._kernel import tags as tag_names
from ..._kernel.facts import ZONES_QUERY, zone_queries
from ..._kernel.resources import Instance, Snapshot, Volume
from ..._kernel.state import Query, State, by_id, literal, own_snapshots, own_snapshots_where
from .restored_volumes import Claim
from .spec import DRILL, RESTORE, RestoreSpec

_BATCH = 190
"""Values of one filter. EC2 takes 200 values in all filters of a query together, and the other filters have few values.
"""

Filters = tuple[tuple[str, tuple[str, ...]], ...]


def _batches(values: Iterable[str], most: int = _BATCH) -> Iterator[tuple[str, ...]]:
    ordered = sorted(set(values))
    return (tuple(ordered[start : start + most]) for start in range(0, len(ordered), most))


# --- snapshots -------------------------------------------------------------------------------------------------------


def snapshots_by_id(ids: Iterable[str | None]) -> tuple[Query, ...]:
    """Return the query for the account's own snapshots with these ids. None is no id."""
    return by_id("DescribeSnapshots", "snapshot-id", (item for item in ids if item), OwnerIds=("self",))


def source_queries(volume_ids: Iterable[str]) -> tuple[Query, ...]:
    """Return the queries for the snapshots of these volumes, and for copies that claim to be of them.

    EC2 shows no volume for a copy, so the queries use its tag and its description. Nobody can remove the description.
    """
    known = list(volume_ids)
    return (
        *(own_snapshots_where(("volume-id", batch)) for batch in _batches(known)),
        *(
            own_snapshots_where((f"tag:{tag_names.SOURCE}", batch), ("tag-key", (tag_names.COPY_OF,)))
            for batch in _batches(known)
        ),
        *(
            own_snapshots_where(("description", tuple(f"*: {item}*, from *" for item in batch)))
            for batch in _batches(known)
        ),
    )


def set_queries(instance_id: str, begun: Iterable[Snapshot]) -> tuple[Query, ...]:
    """Return the queries for the snapshot sets of the instance, or only for the set of a restore that was *begun*.

    The queries use descriptions, since nobody can remove these. They find the parts of a set, their copies, and
    snapshots of attached volumes.
    """
    parts = list(begun)
    marks = {mark for part in parts if (mark := part.tags.get(tag_names.SET))}
    names = [(literal(mark) for mark in marks)] if parts else [(f"{instance_id}/*",)]
    described = (f"*: {instance_id}*", f"* on {instance_id}, *", f"*, attached to {instance_id}*")
    return (
        *(own_snapshots_where((f"tag:{tag_names.SET}", batch)) for several in names for batch in _batches(several)),
        own_snapshots_where(("description", described)),
    )


def attached_query(instance_id: str) -> Query:
    """Return the query for the snapshots whose tag says that their volume was attached to the instance."""
    return own_snapshots_where((f"tag:{tag_names.ORIGIN}", (f"* {instance_id} *",)))


def unnamed_query() -> Query:
    """Return the query for the snapshots and copies of single volumes that policies took, of any instance.

    For those of earlier versions, only a tag names the instance, and somebody may have removed it.
    """
    return own_snapshots_where(("description", ("*: vol-*",)))


def sibling_queries(volume_ids: Iterable[str]) -> tuple[Query, ...]:
    """Return the queries for all snapshots of these volumes, even without tags."""
    return tuple(own_snapshots_where(("volume-id", batch)) for batch in _batches(volume_ids))


# --- volumes that were restored before -------------------------------------------------------------------------------


def restored_queries(spec: RestoreSpec) -> tuple[Query, ...]:
    """Return the queries for the volumes that earlier runs of this restore have made."""
    if spec.instance_id:
        declared = literal(spec.name) if spec.name else f"{RESTORE}*"
        return (_tagged_volumes(declared, (f"{spec.instance_id}/*",)),)
    if spec.name:
        return tuple(_tagged_volumes(literal(spec.name), batch) for batch in _batches(spec.volume_ids))
    return by_id("DescribeVolumes", f"tag:{tag_names.SPEC}", map(spec.declaration, spec.volume_ids))


def _tagged_volumes(declaration: str, entries: tuple[str, ...]) -> Query:
    filters: Filters = ((f"tag:{tag_names.SPEC}", (declaration,)), (f"tag:{tag_names.VOLUME}", entries))
    return Query("DescribeVolumes", filters)


def restored_claims(spec: RestoreSpec, state: State) -> list[Claim]:
    """Return the volumes whose tags say that this restore made them, including those that EBS has lost.

    A volume with a name such as ``restore/monday`` belongs to a user's own declaration.
    """
    return _claims(spec, state, lambda source, declared: declared == spec.declaration(source))


def _claims(spec: RestoreSpec, state: State, fits: Callable[[str, str], bool]) -> list[Claim]:
    wanted = frozenset(spec.volume_ids)
    found = []
    for volume in state.all(Volume):
        before, _slash, source = volume.tags.get(tag_names.VOLUME, "").rpartition("/")
        declared = volume.tags.get(tag_names.SPEC, "")
        of_wanted = source in wanted if wanted else True
        is_shown = volume.state not in ("deleting", "deleted")
        if is_shown and before == spec.instance_id and source and of_wanted and fits(source, declared):
            found.append(Claim(volume, source))
    return sorted(found, key=lambda claim: (claim.source, claim.volume.volume_id))


# --- volumes of interrupted drills -----------------------------------------------------------------------------------


def drill_queries(spec: RestoreSpec) -> tuple[Query, ...]:
    """Return the queries for the volumes that drills of the same sources have left."""
    if spec.instance_id:
        return (_tagged_volumes(f"{DRILL}*", (f"{spec.instance_id}/*",)),)
    return tuple(
        Query("DescribeVolumes", ((f"tag:{tag_names.SPEC}", tuple(f"{DRILL}{item}/*" for item in batch)),))
        for batch in _batches(spec.volume_ids)
    )


def drill_claims(spec: RestoreSpec, state: State, until: datetime) -> list[Claim]:
    """Return the unattached volumes whose tags say that another drill of the same sources made them, before *until*.

    Another drill may still use a younger volume.
    """

    def is_of_a_drill(source: str, declared: str) -> bool:
        form = rf"{DRILL}{re.escape(source)}/[0-9a-f]{{8}}"
        return re.fullmatch(form, declared) is not None and declared != spec.declaration(source)

    return [
        claim
        for claim in _claims(spec, state, is_of_a_drill)
        if claim.volume.state == "available"
        and claim.volume.create_time is not None
        and claim.volume.create_time < until
    ]


def final_queries(volume_ids: Iterable[str]) -> tuple[Query, ...]:
    """Return the query for the final snapshots of each of these volumes.

    Each query is also the identity of a capture.
    """
    return tuple(own_snapshots({tag_names.FINAL: item}) for item in sorted(volume_ids))


# --- the place -------------------------------------------------------------------------------------------------------


def target_queries(spec: RestoreSpec) -> tuple[Query, ...]:
    """Return the query for the instance that the volumes are attached to."""
    return by_id("DescribeInstances", "instance-id", [spec.target_id])


def usable_zone_queries(spec: RestoreSpec) -> tuple[Query, ...]:
    """Return the query that shows whether EC2 makes volumes in the zone. A drill without a zone asks for all zones."""
    if spec.zone:
        return zone_queries(spec.zone)
    return (ZONES_QUERY,) if spec.is_drill else ()


def target_successor_queries(instance_id: str, found: Instance | None) -> tuple[Query, ...]:
    """Return the query for the successor of the instance, if a relaunch may have retired it."""
    at_rest = found is None or not found.alive or found.state in ("stopping", "stopped")
    return successor_queries([instance_id]) if at_rest else ()
