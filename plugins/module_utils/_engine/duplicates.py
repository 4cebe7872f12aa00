# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Choose between two resources for the same purpose, and delete the second one if this run made it.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .._kernel.failures import CallError
from .._kernel.plan import Change
from .._kernel.resources import Resource, Snapshot
from .made import FAILED, made_for, set_order, sets_of
from .once import VISIBLE, until_seen
from .ports import Gateway


@dataclass
class Settled:
    """The snapshots that the run uses, by planned id, and sentences for the user."""

    bindings: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def settle(gateway: Gateway, calls: Sequence[tuple[Sequence[Change], Mapping[str, str]]]) -> Settled:
    """Choose the snapshots to use, and delete the other ones of this run. Of two snapshots, the one with the earlier
    start counts. If both have one start, the lower id counts.

    There are two snapshots if an unclear call took effect late, or if two runs work at the same moment. Each run
    deletes its own snapshot. One round of queries covers all calls, with one query per identity.
    """
    settled = Settled()
    open_calls = dict(enumerate(calls))
    rival_wait = gateway.monotonic() + VISIBLE
    surplus: list[tuple[Change, str, list[str]]] = []

    def decided() -> bool | None:
        queries = dict.fromkeys(change.identity for changes, _made in open_calls.values() for change in changes)
        answers = gateway.ask([query for query in queries if query is not None])
        for number, (changes, made) in list(open_calls.items()):
            asked = dict.fromkeys(change.identity for change in changes)
            found = {one.resource_id: one for query in asked if query is not None for one in answers[query]}
            chosen = _chosen(changes, made, found.values(), patient=gateway.monotonic() < rival_wait)
            if chosen is None:
                continue
            del open_calls[number]
            settled.bindings.update(chosen)
            own = sorted(set(made.values()) - set(chosen.values()))
            surplus.extend((changes[0], snapshot_id, sorted(chosen.values())) for snapshot_id in own)
        return None if open_calls else True

    trouble = f"EC2 did not show it within {VISIBLE:.0f} s"
    try:
        until_seen(gateway, decided)
    except CallError as error:
        trouble = str(error)
    if open_calls:
        # The snapshot exists and is used. The next run would see a second one, and name it.
        own = sorted(snapshot_id for _changes, made in open_calls.values() for snapshot_id in made.values())
        settled.notes.append(f"{', '.join(own)}: the check for a second snapshot failed. {trouble}")
    for change, snapshot_id, kept in surplus:
        settled.notes.append(_delete_surplus(gateway, change, snapshot_id, kept))
    return settled


def _delete_surplus(gateway: Gateway, change: Change, snapshot_id: str, kept: Sequence[str]) -> str:
    """Delete this run's second snapshot, and return the sentence about it."""
    removal = Change(
        action="DeleteSnapshot",
        resource=snapshot_id,
        region=change.region,
        parameters={},
        reason=f"delete: a duplicate of {', '.join(kept)}",
    )
    note = f"Two runs at the same moment, or a lost answer, made a second snapshot. The task uses {', '.join(kept)}"
    try:
        gateway.perform([removal])
    except CallError as error:
        return f"{note}, and could not delete {snapshot_id}: {error}"
    return f"{note} and deleted {snapshot_id}"


def _chosen(
    changes: Sequence[Change], made: Mapping[str, str], answers: Iterable[Resource], *, patient: bool
) -> Mapping[str, str] | None:
    """Return the snapshots to use for *changes*: the ones that they *made*, or earlier ones of the same identity.

    Return None while EC2 does not show this run's snapshots. If *patient*, also return None while an earlier set is
    incomplete.
    """
    found, own = list(answers), set(made.values())
    if any(item.resource_id in own and getattr(item, "state", "") in FAILED for item in found):
        return made  # this run will not use it; its wait reports why it failed
    visible = [item for item in made_for(changes, found) if isinstance(item, Snapshot)]
    if not own <= {item.resource_id for item in visible}:
        return None
    sets = sets_of(changes, visible, own)
    whole = [entry for entry in sets if len(entry) == len(changes)]
    if patient and len(whole) < len(sets) and len(min(sets, key=set_order)) < len(changes):
        # The earlier set may become complete, or disappear.
        return None
    return {name: snapshot.resource_id for name, snapshot in min(whole, key=set_order).items()}
