# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The changes of a volume in place: its tags, size, type and performance.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..._kernel import tags as tag_names
from ..._kernel.errors import UnsafePlan, listed
from ..._kernel.plan import Change, Wait
from ..._kernel.resources import Volume
from ..._kernel.state import State
from ..._kernel.storage_facts import MODIFICATION, Modification, modification_query
from ..._kernel.tags import carried
from .draft import COOLDOWN, Draft, identity_tags
from .drift import (
    Drift,
    coming,
    modify_request,
    shown,
)
from .match import Match, strangers


def comes_off(draft: Draft, match: Match, volume: Volume, drift: Drift) -> bool:
    """Return whether the volume is detached everywhere for its modification.

    EBS user guide, "Multi-Attach": EBS enables it for io2 only while the volume is not attached. Raises UnsafePlan if
    the modification may be deferred, since the volume would then be detached in vain.
    """
    enabled, _was = drift.modify.get("multi_attach_enabled", (False, False))
    if not enabled or not volume.attachments:
        return False
    if draft.spec.on_cooldown == "defer":
        raise UnsafePlan(
            f"{match.target.label}: multi_attach: only a detached volume gets it, so {volume.volume_id} cannot "
            "defer it. Use on_cooldown: wait or fail"
        )
    return True


def plan_tags(draft: Draft, match: Match, volume: Volume) -> None:
    """Set the user's tags, and the tags of the identity if they did not identify the volume."""
    target = match.target
    wanted = dict(target.spec.tags or {})
    identity = {} if match.is_root and target.spec.name == "root" else identity_tags(target, match.name)
    late = match.how == "volume_id" and bool(volume.attachments or target.instances)
    if not late:
        wanted.update(identity)
    draft.add_tags(draft.in_place, volume, wanted, "tag as declared")
    draft.warnings += leaving_warnings(match, volume, draft.state)
    if late:
        # Even without these tags, a run finds the volume by its id. The volume keeps its former tags until it is in its
        # place.
        draft.add_tags(draft.arrivals, volume, identity, "tag as the volume of this entry")
    if draft.spec.purge_tags and target.spec.tags is not None:
        surplus = sorted(key for key in carried(volume.tags) if key not in wanted)
        draft.remove_tags(draft.untagging, volume, surplus, "purge_tags")


def plan_modification(
    draft: Draft, match: Match, volume: Volume, drift: Drift, *, moving: bool, apart: bool = False
) -> None:
    """Plan ModifyVolume for the whole drift: before the interruption or, if *apart*, while the volume is detached.

    *moving*: the plan attaches the volume. Raises UnsafePlan if the task may neither wait for EBS nor defer the
    modification.
    """
    latest = MODIFICATION.of(draft.state, volume.volume_id)
    if drift.modify:
        draft.asked.append(modification_query(volume.volume_id))
    request = modify_request(match, drift)
    several = moving and (volume.attachments or len(match.target.instances) > 1)
    if "MultiAttachEnabled" in request and several and draft.spec.on_cooldown == "defer":
        raise UnsafePlan(
            f"{match.target.label}: {volume.volume_id} needs multi_attach before a second attachment, so it "
            "cannot defer it. Use on_cooldown: wait"
        )
    if not request:
        if latest is not None and latest.is_to_take_effect:
            # An earlier run has requested this modification.
            draft.in_place_waits.append(Wait((volume.volume_id,), "modified", final=not moving))
        return
    reason = shown(drift.modify)
    if latest is not None and latest.is_under_way:
        if draft.spec.on_cooldown == "defer":
            return
        _await_cooldown(draft, match, volume, latest, reason)
    if latest is not None:
        reason += "; EC2 decides whether the volume's modifications of the last 24 hours allow it"
    changes, waits = (
        (draft.modifications, draft.modification_waits) if apart else (draft.in_place, draft.in_place_waits)
    )
    changes.append(_modify(draft, volume, drift, request, reason))
    waits.append(Wait((volume.volume_id,), "modified", final=not moving))


def _await_cooldown(draft: Draft, match: Match, volume: Volume, latest: Modification, reason: str) -> None:
    """Wait for the end of a modification. Raises UnsafePlan if the task says ``on_cooldown: fail``."""
    if draft.spec.on_cooldown == "fail":
        raise UnsafePlan(
            f"{match.target.label}: {volume.volume_id} cannot be changed now ({reason}). A modification is "
            f"{latest.state} ({latest.progress or 0} % done). Set on_cooldown: wait, or "
            "on_cooldown: defer to change it later"
        )
    draft.cooling.append(volume.volume_id)


def _modify(draft: Draft, volume: Volume, drift: Drift, request: dict[str, Any], reason: str) -> Change:
    actual = coming(draft.state, volume)
    return Change(
        "ModifyVolume",
        volume.volume_id,
        draft.state.region,
        request,
        reason,
        dict(actual),
        {**actual, **{name: wanted for name, (wanted, _actual) in drift.modify.items()}},
        identity=modification_query(volume.volume_id),
        deferrable=COOLDOWN if draft.spec.on_cooldown == "defer" else frozenset(),
    )


def leaving_warnings(match: Match, volume: Volume, state: State) -> Iterator[str]:
    """Yield a warning about other tasks that declare the volume at its old place, since they would undo the move."""
    target = match.target
    left, name = volume.tags.get(tag_names.SPEC), volume.tags.get(tag_names.VOLUME)
    if left is None:
        return
    if left != target.group:
        yield (
            f"{volume.volume_id} moves from the declaration {left} to {target.group}. Remove {name} from {left}, or "
            "its next run makes a new volume"
        )
    elif match.how == "volume_id":
        away = [link.instance_id for link in strangers(match, state)]
        if volume.availability_zone != target.zone:
            away = away or [volume.availability_zone]
        if away:
            yield (
                f"{volume.volume_id} leaves {listed(away)} and stays in the declaration {left}. Remove {name} from "
                f"the tasks that declare {left} there. Otherwise their next run fails, or takes it back with steal: "
                "true"
            )
