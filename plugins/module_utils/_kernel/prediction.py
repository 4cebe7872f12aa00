# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The prediction: the state as a plan leaves it.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from .ids import is_planned, planned_in, substitute
from .places import place_of
from .resources import Fact, Resource, from_view, new_from_view, view
from .state import State, resource_key


def overlay(state: State, entries: Iterable[Mapping[str, Any]], *, everywhere: bool = False) -> State:
    """*state* as it will be once the published plan *entries* have been carried out.

    This is both how a plan predicts its own result (*everywhere*: in all regions that it touches) and how a check run
    composes: the entries of earlier tasks' plans are laid over what EC2 answers, without those of another region. A
    real id that was not read is skipped too: its entry says only what changes, not what the rest is.
    """
    resources = dict(state.resources)
    for entry in entries:
        resource_id, after = entry["resource"], entry.get("after")
        here = entry.get("region") in (None, state.region) and not entry.get("profile")
        if not everywhere and not here:
            continue
        key = resource_id if here else f"{place_of(entry['region'], entry.get('profile'))} {resource_id}"
        known = resources.get(key)
        if after is None:
            resources.pop(key, None)
        elif known is not None:
            resources[key] = from_view(known.kind, after, known)
        elif is_planned(resource_id):
            made = new_from_view(resource_id, after)
            if made is not None:
                resources[key] = made
                # CreateImage takes snapshots by itself: its entry is the only one that tells of them.
                parts = after.get("snapshots") or ()
                taken = (new_from_view(part["snapshot_id"], part) for part in parts if made.kind == "image")
                resources.update({item.resource_id: item for item in taken if item is not None})
    return dataclasses.replace(state, resources=resources)


def bound(state: State, bindings: Mapping[str, str]) -> State:
    """*state* with EC2's ids in place of the planned ones that *bindings* knows, also inside fields and tags."""
    if not bindings:
        return state
    resources: dict[str, Resource] = {}
    for key, resource in state.resources.items():
        place, _space, _id = key.rpartition(f" {resource.resource_id}")
        if not isinstance(resource, Fact):
            fields = view(resource)
            if planned_in(fields):
                resource = from_view(resource.kind, substitute(fields, bindings), resource)
        resources[resource_key(resource, place)] = resource
    return dataclasses.replace(state, resources=resources)
