# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The order of a plan of `ebs_volume_spec`: before, during and after the interruption.

Volumes and instances without a common change do not wait for each other. The interruption of an instance is a
transaction: from the first detach to the last attachment every failure is rolled back.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from ..._domain.power_cycle import held_stop, restore_stages
from ..._domain.volume_changes import deletion_of_unmade
from ..._kernel.errors import SpecError, StorageError
from ..._kernel.plan import ANY_FAILURE, Change, Stage, Wait, apart
from ..._kernel.resources import Fact, Instance
from ..._kernel.tags import require_room
from .attaching import attached_again, attachments_forgotten, flag_changes
from .draft import COOLDOWN, Draft
from .swaps import swaps_undone


def stages_of(
    draft: Draft, stopping: Sequence[Instance], restored: Sequence[Instance]
) -> tuple[tuple[Stage, ...], dict[str, StorageError]]:
    """Return the stages of the plan, and by entry why the entry must be refused: a resource would have too many tags.

    *stopping*: running instances that the plan stops. *restored*: instances that it starts afterwards.
    """
    stages = [Stage(waits=_merged(draft.settling), apart=True), Stage(waits=_cooling_waits(draft), apart=True)]
    patience = COOLDOWN if draft.spec.on_cooldown == "wait" else frozenset[str]()
    stages.append(Stage(tuple(draft.untagging), apart=True))
    stages.append(Stage(tuple(draft.early_snapshots), _merged(draft.early_snapshot_waits), apart=True))
    stages.append(
        Stage(
            (*draft.cleanup, *draft.in_place),
            _merged(draft.in_place_waits),
            on_failure=deletion_of_unmade(draft.in_place),
            rollback_on=frozenset({"failed"}),
            patience=patience,
            apart=True,
            transaction="creation",
        )
    )
    stages += _interruption(draft, stopping, restored)
    deleted = tuple(change.resource for change in draft.deletions)
    waits = (Wait(deleted, "deleted", final=True),) if deleted else ()
    ending = [Stage(tuple(changes)) for changes in (draft.arrivals, draft.replaced_marks, draft.releases)]
    # In this order for each swap: a volume and its copy must never look alike, and a snapshot proves the copy until the
    # end.
    stages += apart(
        [*ending, Stage(tuple(draft.deletions), waits), *(Stage((change,)) for change in draft.leftovers)], "ending"
    )
    return _predicted(stages, draft)


def _cooling_waits(draft: Draft) -> tuple[Wait, ...]:
    return (Wait(tuple(draft.cooling), "modifiable"),) if draft.cooling else ()


def _interruption(draft: Draft, stopping: Sequence[Instance], restored: Sequence[Instance]) -> list[Stage]:
    """Return the stages from the first detach to the last start."""
    moment, region, hold_time = draft.now, draft.state.region, draft.spec.hold_time
    stops = held_stop(stopping, region, moment, hold_time)
    restore = restore_stages(restored, region, moment, hold_time)
    back = _rollback(draft, restore)
    stages = [Stage(tuple(draft.marks))]
    stages += [_with_rollback(stage, back) for stage in stops]
    stages.append(_with_rollback(Stage(tuple(draft.detaches), _merged(draft.detach_waits)), back))
    if not draft.moves:
        # Nothing comes back, so the instance need not wait for snapshots.
        stages += restore
        back = ()
    stages += [
        _with_rollback(Stage(tuple(changes), _merged(waits)), back)
        for changes, waits in (
            (draft.modifications, draft.modification_waits),
            (draft.snapshots, draft.snapshot_waits),
            (draft.creates, draft.create_waits),
        )
    ]
    moving = {move.successor for move in draft.moves}
    first = [change for change in draft.attaches if change.resource in moving]
    waits = [wait for wait in draft.attach_waits if moving.intersection(wait.resources)]
    stages.append(_with_rollback(Stage(tuple(first), _merged(waits)), back))
    # From here on no volume is detached: the rollback only starts the instances.
    back = restore if draft.moves else ()
    stages += [_with_rollback(stage, back) for stage in _attachments(draft, moving)]
    stages.append(_with_rollback(Stage(tuple(flag_changes(draft))), back))
    if draft.moves:
        stages += restore
    tied = _interrupted(draft, stopping, restored)
    return [dataclasses.replace(stage, apart=True, transaction="interruption", tied=tied) for stage in stages]


def _interrupted(draft: Draft, stopping: Iterable[Instance], restored: Iterable[Instance]) -> frozenset[str]:
    """Return the instances that stop, start or lose a volume, and the volumes that move."""
    instances = {instance.instance_id for instance in (*stopping, *restored)}
    return frozenset(instances | draft.leaving.keys() | {move.volume.volume_id for move in draft.moves})


def _attachments(draft: Draft, moving: set[str]) -> Iterator[Stage]:
    """Yield the attachments of the volumes that are not moved, in parallel.

    With a named spec, the first attachment comes alone. So when two hosts declare the spec at the same moment, they
    compete for that one volume, and the slower host gets no volume.
    """
    attaches = [change for change in draft.attaches if change.resource not in moving]
    waits = [wait for wait in draft.attach_waits if not moving.intersection(wait.resources)]
    named = draft.spec.group is not None or draft.spec.move
    if named and len(draft.spec.instance_ids) == 1 and len(attaches) > 1:
        first = attaches.pop(0)
        attaches = [dataclasses.replace(change, after_steps=(first.resource,)) for change in attaches]
        yield Stage((first,), _merged(wait for wait in waits if first.resource in wait.resources))
        waits = [wait for wait in waits if first.resource not in wait.resources]
    yield Stage(tuple(attaches), _merged(waits))


def _rollback(draft: Draft, restore: tuple[Stage, ...]) -> tuple[Stage, ...]:
    """Return the rollback, after which every volume is attached as before, the instances run, and no part of a swap is
    left.

    The rollback does not detach a volume from its new instance: that instance may have written to it. The next run
    finishes that move.
    """
    stages = (*attached_again(draft), *restore, attachments_forgotten(draft), *swaps_undone(draft))
    return tuple(stage for stage in stages if stage.changes or stage.waits)


# --- small parts -----------------------------------------------------------------------------------------------------


def _merged(waits: Iterable[Wait]) -> tuple[Wait, ...]:
    """Return one wait for all resources with the same goal. A resource with several waits is only in one, which is
    final only if all of them are.
    """
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


def _with_rollback(stage: Stage, back: tuple[Stage, ...]) -> Stage:
    return dataclasses.replace(stage, on_failure=back, rollback_on=ANY_FAILURE) if back else stage


def _predicted(stages: Iterable[Stage], draft: Draft) -> tuple[tuple[Stage, ...], dict[str, StorageError]]:
    """Return the stages, without the changes that have no effect. Every change of tags has the tags before and after
    it.

    The errors, by entry, are about resources with more tags than EC2 takes.
    """
    tags = _Tags(draft)
    kept: list[Stage] = []
    for stage in stages:
        changes = tuple(found for change in stage.changes if (found := tags.after(change)) is not None)
        if changes or stage.waits:
            kept.append(dataclasses.replace(stage, changes=changes))
    return tuple(kept), tags.failed


class _Tags:
    """The tags of each resource after the changes so far. ``failed``: by entry, the error about a lack of room."""

    def __init__(self, draft: Draft) -> None:
        self._labels = draft.labels
        self._tags = {
            resource_id: dict(resource.tags)
            for resource_id, resource in draft.state.resources.items()
            if not isinstance(resource, Fact)
        }
        self.failed: dict[str, StorageError] = {}

    def after(self, change: Change) -> Change | None:
        """Return the change with the tags before and after it, or None for a change of tags without an effect."""
        if change.creates:
            self._set(change, dict((change.after or {}).get("tags") or {}))
        if not change.operation.retags:
            return change
        before = self._tags.get(change.resource, {})
        asked = change.parameters["Tags"]
        if change.action == "CreateTags":
            asked = [item for item in asked if before.get(item["Key"]) != item["Value"]]
            after = {**before, **{item["Key"]: item["Value"] for item in asked}}
        else:
            asked = [item for item in asked if item["Key"] in before]
            gone = {item["Key"] for item in asked}
            after = {key: value for key, value in before.items() if key not in gone}
        if not asked:
            return None
        self._set(change, after)
        return dataclasses.replace(change, parameters={"Tags": asked}, before={"tags": before}, after={"tags": after})

    def _set(self, change: Change, tags: dict[str, str]) -> None:
        self._tags[change.resource] = tags
        if change.action == "DeleteTags":
            return
        try:
            require_room(tags, change.resource, change.reason)
        except SpecError as error:
            if change.resource not in self._labels:
                raise
            self.failed.setdefault(self._labels[change.resource], error)
