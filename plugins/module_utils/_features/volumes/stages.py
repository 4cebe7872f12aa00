# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order of a plan of `ebs_volume_spec`: before, during and after the interruption.

From the first detach to the last attachment every failure is rolled back.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from ..._domain.power_cycle import held_stop, restore_stages
from ..._domain.volume_changes import deletion_of_unmade
from ..._kernel import tags as tag_names
from ..._kernel.plan import ANY_FAILURE, Change, Stage, Wait
from ..._kernel.resources import BlockDevice, Fact, Instance, Volume
from ..._kernel.state import Query, State
from ..._kernel.tags import require_room
from .draft import COOLDOWN, Draft, Move, plain


def stages_of(draft: Draft, stopping: Sequence[Instance], restored: Sequence[Instance]) -> tuple[Stage, ...]:
    """Return the stages of the plan.

    *stopping*: running instances that are stopped for it. *restored*: those that are started afterwards.
    """
    stages = [Stage(waits=_merged(draft.settling)), Stage(waits=_cooling_waits(draft))]
    patience = COOLDOWN if draft.spec.on_cooldown == "wait" else frozenset[str]()
    stages.append(Stage(tuple(draft.untagging)))
    stages.append(
        Stage(
            (*draft.cleanup, *draft.in_place),
            _merged(draft.in_place_waits),
            on_failure=deletion_of_unmade(draft.in_place),
            rollback_on=frozenset({"failed"}),
            patience=patience,
        )
    )
    stages += _interruption(draft, stopping, restored)
    stages += [Stage(tuple(changes)) for changes in (draft.arrivals, draft.replaced_marks, draft.releases)]
    deleted = tuple(change.resource for change in draft.deletions)
    stages.append(Stage(tuple(draft.deletions), (Wait(deleted, "deleted", final=True),) if deleted else ()))
    stages += [Stage((change,)) for change in draft.leftovers]
    return _predicted(stages, draft.state)


def _cooling_waits(draft: Draft) -> tuple[Wait, ...]:
    return (Wait(tuple(draft.cooling), "modifiable"),) if draft.cooling else ()


def _interruption(draft: Draft, stopping: Sequence[Instance], restored: Sequence[Instance]) -> list[Stage]:
    """Return the stages from the first detach to the last start."""
    moment, region, hold_time = draft.now, draft.state.region, draft.spec.hold_time
    stops = held_stop(stopping, region, moment, hold_time)
    restore = restore_stages(restored, region, moment, hold_time)
    back = _way_back(draft, restore)
    stages = [Stage(tuple(draft.marks))]
    stages += [_with_way_back(stage, back) for stage in stops]
    stages.append(_with_way_back(Stage(tuple(draft.detaches), _merged(draft.detach_waits)), back))
    if not draft.moves:
        # Nothing comes back, so the instance need not wait for snapshots.
        stages += restore
        back = ()
    stages += [
        _with_way_back(Stage(tuple(changes), _merged(waits)), back)
        for changes, waits in (
            (draft.modifications, draft.modification_waits),
            (draft.snapshots, draft.snapshot_waits),
            (draft.creates, draft.create_waits),
        )
    ]
    moving = {move.successor for move in draft.moves}
    first = [change for change in draft.attaches if change.resource in moving]
    waits = [wait for wait in draft.attach_waits if moving.intersection(wait.resources)]
    stages.append(_with_way_back(Stage(tuple(first), _merged(waits)), back))
    # What is in its place stays there: from here on only the instances have to come back.
    back = restore if draft.moves else ()
    stages += [_with_way_back(stage, back) for stage in _attachments(draft, moving)]
    stages.append(_with_way_back(Stage(tuple(_flag_changes(draft))), back))
    return [*stages, *restore] if draft.moves else stages


def _attachments(draft: Draft, moving: set[str]) -> Iterator[Stage]:
    """Yield the attachments of all that is not moved, side by side.

    Of a named spec the first one alone: two hosts that both take it for theirs, at the same moment, meet at that
    one volume, and the later of them gets none.
    """
    attaches = [change for change in draft.attaches if change.resource not in moving]
    waits = [wait for wait in draft.attach_waits if not moving.intersection(wait.resources)]
    named = draft.spec.group is not None or draft.spec.move
    if named and len(draft.spec.instance_ids) == 1 and len(attaches) > 1:
        first = attaches.pop(0)
        yield Stage((first,), _merged(wait for wait in waits if first.resource in wait.resources))
        waits = [wait for wait in waits if first.resource not in wait.resources]
    yield Stage(tuple(attaches), _merged(waits))


def _way_back(draft: Draft, restore: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Where a failure leads: every volume at its first place, the instances running, nothing of this left.

    What has got into its new place stays there, since it may have been written to: by this run's instance, or by
    that of another run, which was faster. The next run finishes that.
    """
    region = draft.state.region
    placed = {move.volume.volume_id: _placed(draft, move) for move in draft.moves}
    places = [(move.volume, place) for move in draft.moves for place in move.places]
    stages = [Stage(waits=tuple(Wait((volume.volume_id,), "settled") for volume, _place in places))]
    stages.append(
        Stage(
            tuple(
                Change(
                    "AttachVolume",
                    volume.volume_id,
                    region,
                    {"InstanceId": place.instance_id, "Device": place.device_name},
                    "attach again at the former place",
                    None,
                    {"state": "in-use", "attachments": [plain(link) for link in volume.attachments]},
                    unless=placed[volume.volume_id],
                )
                for volume, place in places
            ),
            tuple(Wait((volume.volume_id,), "attached", about=place.instance_id) for volume, place in places),
            # EC2 attaches nothing to an instance that is still stopping.
            patience=frozenset({"IncorrectState"}),
        )
    )
    stages += [
        Stage((dataclasses.replace(flags, unless=placed[volume.volume_id]),))
        for volume, place in places
        if place.delete_on_termination
        for flags in [_flags(place.instance_id, {place.device_name: True}, region)]
    ]
    stages += restore
    marked = [change.resource for change in draft.marks]
    marked += [move.volume.volume_id for move in draft.moves if move.places]
    stages.append(
        Stage(
            tuple(
                dataclasses.replace(
                    draft.untagged(volume_id, tag_names.WAS_AT, "forget the former place"),
                    unless=placed.get(volume_id, ()),
                )
                for volume_id in dict.fromkeys(marked)
            )
        )
    )
    # A pending snapshot shows until it is complete, deleted or not: no later run may take it for its own.
    stages.append(
        Stage(
            tuple(
                dataclasses.replace(
                    draft.untagged(move.snapshot, (tag_names.FINAL, tag_names.SWAP), "undo the swap"),
                    unless=placed[move.volume.volume_id],
                )
                for move in draft.moves
                if move.snapshot
            )
        )
    )
    # The snapshot proves the copy, so it goes after it.
    for name, action in (("new", "DeleteVolume"), ("snapshot", "DeleteSnapshot")):
        stages.append(
            Stage(
                tuple(
                    Change(action, made, region, {}, "undo the swap", unless=placed[move.volume.volume_id])
                    for move in draft.moves
                    if (made := getattr(move, name))
                )
            )
        )
    return tuple(stage for stage in stages if stage.changes or stage.waits)


def _made_multi_attach(draft: Draft) -> set[str]:
    """Volumes that get multi_attach while they are off."""
    return {change.resource for change in draft.modifications}


def _placed(draft: Draft, move: Move) -> tuple[Query, ...]:
    """Finds something once the move has come to where there is no way back without a loss."""
    old, new = (("volume-id", (volume_id,)) for volume_id in (move.volume.volume_id, move.successor))
    if move.new:
        taken = Query("DescribeVolumes", (new, ("attachment.status", ("attaching", "attached", "detaching"))))
        return (taken, Query("DescribeVolumes", (old, ("tag-key", (tag_names.REPLACED_BY,)))))
    targets = tuple(
        str(change.parameters["InstanceId"]) for change in draft.attaches if change.resource == move.successor
    )
    first = {place.instance_id for place in move.places}
    if move.volume.multi_attach_enabled or move.volume.volume_id in _made_multi_attach(draft):
        first.update(targets)  # what is shared goes back to the one without leaving the other
    # On the instance that it was on it is at home, at another device.
    away = tuple(instance_id for instance_id in targets if instance_id not in first)
    return (Query("DescribeVolumes", (new, ("attachment.instance-id", away))),) if away else ()


def _flag_changes(draft: Draft) -> Iterator[Change]:
    """Delete-on-termination, for all devices of an instance in one call."""
    for instance_id, flags in draft.flags.items():
        instance = draft.state.instance(instance_id)
        before = list(instance.block_devices) if instance is not None else []
        # One that is pending may not list its devices yet.
        listed = {device.device_name for device in before}
        before += [
            BlockDevice(link.device_name, volume.volume_id, link.delete_on_termination)
            for volume in draft.state.all(Volume)
            for link in volume.attachments
            if link.instance_id == instance_id and link.device_name not in listed
        ]
        off = {change.resource for change in draft.detaches if change.parameters["InstanceId"] == instance_id}
        after = [plain(device) for device in before if device.volume_id not in off]
        after += [
            plain(BlockDevice(change.parameters["Device"], change.resource))
            for change in draft.attaches
            if change.parameters["InstanceId"] == instance_id
        ]
        for device in after:
            device["delete_on_termination"] = flags.get(device["device_name"], device["delete_on_termination"])
        change = _flags(instance_id, flags, draft.state.region)
        yield dataclasses.replace(
            change,
            before={"block_devices": [plain(device) for device in before]},
            after={"block_devices": after},
        )


# --- small parts -----------------------------------------------------------------------------------------------------


def _flags(instance_id: str, flags: Mapping[str, bool], region: str) -> Change:
    mapping = [
        {"DeviceName": device, "Ebs": {"DeleteOnTermination": wanted}} for device, wanted in sorted(flags.items())
    ]
    return Change(
        "ModifyInstanceAttribute",
        instance_id,
        region,
        {"BlockDeviceMappings": mapping},
        "set delete_on_termination of " + ", ".join(sorted(flags)),
    )


def _merged(waits: Iterable[Wait]) -> tuple[Wait, ...]:
    """One wait for all resources with the same goal; what is waited for twice is waited for once, and not final."""
    kinds: dict[tuple[str, str], dict[str, bool]] = defaultdict(dict)
    for wait in waits:
        for resource in wait.resources:
            known = kinds[wait.goal, wait.about].get(resource, True)
            kinds[wait.goal, wait.about][resource] = known and wait.final
    return tuple(
        Wait(resources, goal, final=final, about=about)
        for (goal, about), found in kinds.items()
        for final in (False, True)
        if (resources := tuple(resource for resource, kind in found.items() if kind == final))
    )


def _with_way_back(stage: Stage, back: tuple[Stage, ...]) -> Stage:
    return dataclasses.replace(stage, on_failure=back, rollback_on=ANY_FAILURE) if back else stage


def _predicted(stages: Iterable[Stage], state: State) -> tuple[Stage, ...]:
    """Return the stages without what changes nothing; every change of tags with the tags before and after it.

    Raises SpecError for a resource that would have more tags than EC2 takes.
    """
    tags = {
        resource_id: dict(resource.tags)
        for resource_id, resource in state.resources.items()
        if not isinstance(resource, Fact)
    }
    kept: list[Stage] = []
    for stage in stages:
        changes: list[Change] = []
        for change in stage.changes:
            if change.creates:
                tags[change.resource] = dict((change.after or {}).get("tags") or {})
                require_room(tags[change.resource], change.resource, change.reason)
            if change.action not in ("CreateTags", "DeleteTags"):
                changes.append(change)
                continue
            before = tags.get(change.resource, {})
            asked = change.parameters["Tags"]
            if change.action == "CreateTags":
                asked = [item for item in asked if before.get(item["Key"]) != item["Value"]]
                after = {**before, **{item["Key"]: item["Value"] for item in asked}}
                require_room(after, change.resource, change.reason)
            else:
                asked = [item for item in asked if item["Key"] in before]
                gone = {item["Key"] for item in asked}
                after = {key: value for key, value in before.items() if key not in gone}
            if asked:
                tags[change.resource] = after
                changes.append(
                    dataclasses.replace(
                        change, parameters={"Tags": asked}, before={"tags": before}, after={"tags": after}
                    )
                )
        if changes or stage.waits:
            kept.append(dataclasses.replace(stage, changes=tuple(changes)))
    return tuple(kept)
