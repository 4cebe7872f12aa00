# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Predict the state after a plan.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from .ids import Starts, is_planned, planned_in, substitute
from .places import HERE, Place
from .resources import Fact, Image, Resource, Snapshot, facts_in, from_view, new_from_view, view
from .state import State, resource_key


def overlay(state: State, entries: Iterable[Mapping[str, Any]], *, everywhere: bool = False) -> State:
    """Return *state* as it will be after the published plan *entries*.

    A plan predicts its own result with *everywhere*, in all regions that it touches. In a check run, the entries of
    earlier tasks apply to the state that EC2's answers show. Entries of a place that the run has not queried are
    skipped. If the run has not read an existing resource, its entry is skipped, since the entry has only the fields
    that change. ``facts`` of an entry's ``after`` are facts about its resource, see `facts.FactKind.view`.
    """
    resources = dict(state.resources)
    asked = {query.place for query in state.answered}
    for entry in entries:
        here = entry.get("region") in (None, state.region) and not entry.get("profile")
        place = HERE if here else Place(entry["region"], entry.get("profile"))
        if everywhere or here or place in asked:
            _lay(resources, entry["resource"], entry.get("after"), place, everywhere=everywhere)
    return dataclasses.replace(state, resources=resources)


def _lay(
    resources: dict[str, Resource], resource_id: str, after: Mapping[str, Any] | None, place: Place, *, everywhere: bool
) -> None:
    """Change *resources* to what one entry predicts for its resource, its facts, and the instance that holds it."""
    key = f"{place} {resource_id}" if place else resource_id
    if after is None:
        resources.pop(key, None)
        return
    known = resources.get(key)
    holder = after.get("instance") or {}
    held = resources.get(holder.get("instance_id", ""))
    if held is not None and not isinstance(held, Fact):
        # A task that replaces a root volume changes its instance.
        resources[held.resource_id] = from_view(held.kind, holder, held)
    resources.update((resource_key(fact, place), fact) for fact in facts_in(resource_id, after))
    if known is not None and not isinstance(known, Fact):
        resources[key] = from_view(known.kind, after, known)
    elif is_planned(resource_id):
        made = new_from_view(resource_id, after)
        # Resources of other classes do not name their place, and would count as those of the task's own.
        if made is not None and (not place or everywhere or isinstance(made, (Image, Snapshot))):
            resources[key] = made
            # CreateImage and CopyImage take snapshots by themselves, so only the entries of these calls name them.
            parts = after.get("snapshots") or ()
            taken = (new_from_view(part["snapshot_id"], part) for part in parts if made.kind == "image")
            resources.update({resource_key(item): item for item in taken if item is not None})


def bound(state: State, bindings: Mapping[str, str], starts: Starts = lambda _snapshot: None) -> State:
    """Return *state* with EC2's ids in place of the planned ids in *bindings*, also inside fields and tags.

    Texts with the start time of a planned snapshot get the time that *starts* knows.
    """
    if not bindings:
        return state
    resources: dict[str, Resource] = {}
    for key, resource in state.resources.items():
        place, _space, _id = key.rpartition(f" {resource.resource_id}")
        if not isinstance(resource, Fact):
            fields = view(resource)
            if planned_in(fields):
                resource = from_view(resource.kind, substitute(fields, bindings, starts), resource)
        resources[resource_key(resource, Place.parse(place))] = resource
    return dataclasses.replace(state, resources=resources)
