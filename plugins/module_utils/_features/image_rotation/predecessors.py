# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Predecessors that a relaunch from a version of the image has stopped, and that a rotation may terminate.

Facts of EC2 decide: the ClientToken of the successor's launch, the time of the stop, and the snapshots of the volumes.
Each volume that EC2 would delete with the instance needs a snapshot that began after the stop and that is kept.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Any

from ..._domain.replacement import Phase, Replacement, predecessor
from ..._domain.succession import successor_queries
from ..._domain.volume_changes import capture_of
from ..._kernel import tags as tag_names
from ..._kernel.errors import StorageError, listed
from ..._kernel.facts import STOP_PROTECTION, TERMINATION_PROTECTION, protection_queries
from ..._kernel.ids import is_planned
from ..._kernel.instance_proofs import attached_since, last_transition
from ..._kernel.plan import Change, Precondition, Stage, Wait
from ..._kernel.proofs import FINAL_WORD, Purpose, capture_note, is_taken_of, purpose_of
from ..._kernel.resources import Instance, Resource, Snapshot, Volume
from ..._kernel.state import Query, by_id, own_snapshots
from ..._kernel.tags import carried, with_room
from ..._kernel.times import format_moment
from .versions import Line

_SHUTDOWN = timedelta(minutes=10)
"""The time after the begin of a stop in which the instance may still write. EC2 shows only the begin."""


@dataclass(frozen=True)
class Retirement:
    """A predecessor, its successor, and the reason why it is kept, empty if it is terminated.

    ``serving``: the id of the instance that runs in its place: the successor, or the last of the successor's own
    successors.
    """

    old: Instance
    new: Instance
    kept: str = ""
    serving: str = ""


class Predecessors:
    """The predecessors of the instances that run from versions of the image."""

    def __init__(self, line: Line) -> None:
        self._line, self._state, self._now = line, line.state, line.now
        self._span = line.spec.retire_after

    # --- the queries, in three rounds ---

    def owner_questions(self) -> Iterator[Query]:
        """Yield the queries for the instances that were launched from versions of the image."""
        if self._span is not None:
            yield from _optional(by_id("DescribeInstances", "image-id", (one.image_id for one in self._line.made)))

    def first_questions(self) -> Iterator[Query]:
        """Yield the queries for the predecessors, and for other successors of these."""
        if self._span is not None:
            yield from _optional(by_id("DescribeInstances", "instance-id", self._names))
            yield from _optional(successor_queries(self._names))

    def questions(self) -> Iterator[Query]:
        """Yield the queries about the predecessors that may be terminated."""
        for one in self._judged:
            if not one.kept:
                yield from _optional(_questions_about(one.old))

    @property
    def refusals(self) -> list[StorageError]:
        """Return AWS's refusals of these queries."""
        asked = {*self.owner_questions(), *self.first_questions(), *self.questions()}
        return [error for query, error in self._state.unanswered.items() if query in asked]

    # --- the decisions ---

    @cached_property
    def _links(self) -> dict[str, list[Instance]]:
        """Return, by predecessor, its living successors as their ClientTokens prove them."""
        found: dict[str, list[Instance]] = {}
        for new in self._state.all(Instance):
            name = predecessor(new) if new.alive else None
            if name is not None:
                found.setdefault(name, []).append(new)
        return found

    @property
    def _names(self) -> list[str]:
        """Return the predecessors of instances from versions of the image."""
        made = {image.image_id for image in self._line.made}
        return sorted(name for name, several in self._links.items() if any(new.image_id in made for new in several))

    @cached_property
    def _judged(self) -> list[Retirement]:
        """Return the stopped predecessors, judged without the third round of answers."""
        asked = (*self.owner_questions(), *self.first_questions())
        if any(query in self._state.unanswered for query in asked):
            return []
        found = []
        for name in self._names:
            old = self._state.instance(name)
            if old is not None and old.alive and self._span is not None:
                news = self._links[name]
                serving = self._serving(news[0], {old.instance_id})
                found.append(Retirement(old, news[0], self._objection(old, news), serving))
        return found

    def _objection(self, old: Instance, news: Sequence[Instance]) -> str:
        """Return why the predecessor is kept, as far as the facts of the instances show."""
        replacement = Replacement(old, news[0])
        if len(news) > 1:
            return f"{listed(new.instance_id for new in news)} were launched to replace it"
        if old.state != "stopped":
            return f"it is {old.state}"
        if tag_names.RESTORE_STATE in old.tags:
            return "it has a hold"
        if replacement.phase is not Phase.RETIRED or replacement.in_doubt or replacement.is_undecided:
            return f"nothing proves that {news[0].instance_id} serves in its place"
        if not self._serving(news[0], {old.instance_id}):
            return f"its successor {news[0].instance_id} is {news[0].state}"
        if len(old.interfaces) > 1:
            return "it has several network interfaces, whose addresses would end with it"
        if old.has_elastic_ip or old.operator or old.spot_request_id or "aws:autoscaling:groupName" in old.tags:
            return "it has an Elastic IP, or belongs to an Auto Scaling group, a Spot request or an AWS service"
        return self._stopped_too_late(old)

    def _stopped_too_late(self, old: Instance) -> str:
        stopped = last_transition(old)
        if stopped is None:
            return "EC2 shows no time of its stop"
        if self._span is None or stopped > self._span.before(self._now, self._line.keep.zone):
            return f"it was stopped {format_moment(stopped)}"
        return ""

    def _serving(self, new: Instance, seen: Collection[str]) -> str:
        """Return the id of the successor, or of the last of its own successors. Return an empty text if that one does
        not run.
        """
        if new.state == "running":
            return new.instance_id
        later = [one for one in self._links.get(new.instance_id, ()) if one.instance_id not in seen]
        return self._serving(later[0], {*seen, new.instance_id}) if len(later) == 1 else ""

    @cached_property
    def decided(self) -> list[Retirement]:
        """Return the decision about each predecessor, with all answers."""
        return [one if one.kept else replace(one, kept=self._late_objection(one.old)) for one in self._judged]

    def _late_objection(self, old: Instance) -> str:
        silent = [query.operation for query in _questions_about(old) if query in self._state.unanswered]
        if silent:
            return f"AWS did not answer {silent[0]}"
        if any(kind.of(self._state, old.instance_id) for kind in (TERMINATION_PROTECTION, STOP_PROTECTION)):
            return "it has termination or stop protection"
        for device in old.block_devices:
            volume = self._state.volume(device.volume_id)
            if volume is None or not volume.alive or volume.multi_attach_enabled or volume.outpost_arn:
                return f"{device.volume_id} is gone, shared with other instances, or on an Outpost"
        return ""

    @property
    def going(self) -> list[Instance]:
        """Return the predecessors to terminate."""
        return [one.old for one in self.decided if not one.kept]

    # --- the changes ---

    def stages(self, deleted: Collection[str]) -> tuple[Stage, ...]:
        """Return the stages that take the final snapshots, and then terminate. *deleted*: the snapshots that the same
        run deletes, which do not count.
        """
        captures: list[Change] = []
        ends: list[Change] = []
        awaited: list[str] = []
        for old in self.going:
            names = []
            for volume in self._doomed(old):
                held = self._final(old, volume, deleted)
                capture = self._capture(old, volume) if held is None else None
                captures += [capture] if capture is not None else []
                if held is None or held.state == "pending":
                    names.append(capture.resource if capture is not None else str(held and held.snapshot_id))
            awaited += names
            ends.append(self._termination(old, names, deleted))
        waits = (Wait(tuple(awaited), "completed"),) if awaited else ()
        gone = tuple(change.resource for change in ends)
        return Stage(tuple(captures), waits), Stage(tuple(ends), (Wait(gone, "terminated"),) if gone else ())

    def _doomed(self, old: Instance) -> list[Volume]:
        """Return the volumes that EC2 deletes with the instance."""
        return [volume for volume in map(self._state.volume, old.doomed_volume_ids) if volume is not None]

    def _final(self, old: Instance, volume: Volume, deleted: Collection[str]) -> Snapshot | None:
        found = finals(self._state.all(Snapshot), old, volume.volume_id, deleted)
        return min(found, key=lambda item: (item.state, item.start_time, item.snapshot_id), default=None)

    def _capture(self, old: Instance, volume: Volume) -> Change:
        own = {tag_names.FINAL: volume.volume_id}
        others, _left_out = with_room(own, carried(volume.tags))
        return capture_of(
            volume,
            FINAL_WORD,
            self._state.region,
            f"capture {volume.volume_id} before the termination of {old.instance_id}",
            description=f"{old.instance_id}: {capture_note(Purpose.FINAL, volume.volume_id)}",
            tags={**others, **own},
            identity=own_snapshots(own),
            older=[item for item in self._state.all(Snapshot) if is_taken_of(item, volume.volume_id)],
        )

    def _termination(self, old: Instance, snapshots: Sequence[str], deleted: Collection[str]) -> Change:
        one = next(one for one in self.decided if one.old is old)
        reason = f"retire: {one.new.instance_id} has replaced it"
        stay = [device.volume_id for device in old.block_devices if not device.delete_on_termination]
        if stay:
            reason += f"; keep {listed(stay)} (DeleteOnTermination is false)"
        (query,) = by_id("DescribeInstances", "instance-id", [old.instance_id, one.serving])
        doomed = [volume.volume_id for volume in self._doomed(old)]
        captured = by_id("DescribeSnapshots", "volume-id", doomed, OwnerIds=("self",))
        return Change(
            "TerminateInstances",
            old.instance_id,
            self._state.region,
            {},
            reason,
            {"state": old.state},
            {"state": "terminated"},
            disruptive=True,
            after_steps=tuple(snapshots),
            provided=Precondition(query, _still_replaced(old, one.serving, doomed, deleted), also=captured),
        )

    def result(self) -> list[dict[str, Any]]:
        """Return the decisions as the module returns them."""
        return [
            {
                "decision": "keep" if one.kept else "terminate",
                "instance_id": one.old.instance_id,
                "successor": one.new.instance_id,
                "reason": one.kept or None,
            }
            for one in self.decided
        ]


def _optional(queries: Iterable[Query]) -> Iterator[Query]:
    return (replace(query, optional=True) for query in queries)


def _questions_about(old: Instance) -> Iterator[Query]:
    """Yield the queries for the protection of an instance, and for its volumes with their snapshots."""
    yield from protection_queries(old.instance_id)
    volumes = [device.volume_id for device in old.block_devices]
    yield from by_id("DescribeVolumes", "volume-id", volumes)
    yield from by_id("DescribeSnapshots", "volume-id", volumes, OwnerIds=("self",))


def finals(snapshots: Iterable[Snapshot], old: Instance, volume_id: str, deleted: Collection[str]) -> list[Snapshot]:
    """Return the snapshots of the volume from the time since the stop of *old*, in which nothing could write to it.

    A run takes a final snapshot only once EC2 shows the instance as stopped. *deleted*: see `Predecessors.stages`.
    """
    stopped, attached = last_transition(old), attached_since(old, volume_id)
    if stopped is None or attached is None:
        return []
    ends = {True: max(stopped, attached), False: max(stopped + _SHUTDOWN, attached)}
    return [
        item
        for item in snapshots
        if is_taken_of(item, volume_id)
        and not is_planned(item.snapshot_id)
        and item.snapshot_id not in deleted
        and item.state in ("completed", "pending")
        and item.start_time is not None
        and item.start_time >= ends[purpose_of(item, volume_id) is Purpose.FINAL]
    ]


def _still_replaced(
    old: Instance, serving: str, doomed: Sequence[str], deleted: Collection[str]
) -> Callable[[Sequence[Resource], str], str]:
    """Return the objection to the termination of an instance that has changed since the plan, whose successor no longer
    runs, or whose volumes (*doomed*) have no completed final snapshot any more.
    """
    stopped, volumes = last_transition(old), {device.volume_id for device in old.block_devices}

    def objection(answer: Sequence[Resource], instance_id: str) -> str:
        found = {one.instance_id: one for one in answer if isinstance(one, Instance)}
        now, new = found.get(instance_id), found.get(serving)
        if now is None or not now.alive:
            return ""
        same = now.state == "stopped" and last_transition(now) == stopped and tag_names.RESTORE_STATE not in now.tags
        devices = {device.volume_id for device in now.block_devices}
        if not same or now.has_elastic_ip or devices != volumes or len(now.interfaces) > 1:
            return f"the task does not terminate {instance_id}, which was started or changed during the run"
        if new is None or new.state != "running":
            return f"the task does not terminate {instance_id}, since {serving} no longer runs in its place"
        shown = [one for one in answer if isinstance(one, Snapshot) and one.state == "completed"]
        # Somebody may have set DeleteOnTermination of another volume since the plan.
        ends = {*doomed, *now.doomed_volume_ids}
        bare = [volume_id for volume_id in sorted(ends) if not finals(shown, old, volume_id, deleted)]
        if bare:
            return (
                f"the task does not terminate {instance_id}, since EC2 shows no completed final snapshot of "
                f"{listed(bare)}"
            )
        return ""

    return objection
