# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The run through a plan's graph: every step begins as soon as the steps that it depends on are done.

One thread decides. Calls run in other threads, and all waits share one poll loop.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor
from concurrent.futures import wait as first_of
from typing import Any

from .._kernel.errors import StorageError
from .._kernel.failures import CallError, WaitError
from .._kernel.graph import Graph, Step, graph_of, rollback_of
from .._kernel.ids import is_planned, substitute
from .._kernel.plan import INSTANCE_ADDRESSES, Change, Recheck, Stage, instance_parts
from .._kernel.resources import Image, Instance, Resource, from_view, subject_of
from .calls import Checked, bind, check, halves, is_deferred, require_wanted
from .duplicates import Settled, settle
from .once import Once
from .ports import Gateway, Outcome
from .queues import Call, Queues
from .rollback import explained, kind_of_failure, note_rollback, possible
from .walk import Failed, Walk

_TICK = 0.05
"""Seconds between two checks for due polls while calls are under way."""
_THREADS = 32
_SETTLED_TOGETHER = 2.0
"""Seconds for which new snapshots wait for others, so that one round of queries finds the duplicates of all."""
_SLOWEST_REPEAT, _GROWTH = 15.0, 1.5
"""The longest delay, in seconds, before the repeat of a call to which EC2 answered "not now", and the growth of the
delay.
"""


class Scheduler:
    """One run through a graph.

    *wait*: also wait for goals that nothing depends on (`Wait.final`). *timeout*: seconds for all waits and repeats
    together. *bindings*: EC2's ids that are already known.
    """

    def __init__(
        self, gateway: Gateway, graph: Graph, *, wait: bool, timeout: float, bindings: Mapping[str, str] | None = None
    ) -> None:
        self.walk = Walk(graph)
        self.outcome = Outcome(bindings=dict(bindings or {}))
        self._gateway = gateway
        self._graph = graph
        self._waits_for_all = wait
        self._timeout = timeout
        self._began = gateway.monotonic()
        self._once = Once(gateway, self.outcome.notes)
        self._watch = gateway.watch()
        self._has_waited = False
        self._gone: set[str] = set()
        self._queues = Queues()
        self._unchecked: list[Step] = []
        self._repeats: list[tuple[float, Call]] = []
        self._unsettled: list[tuple[Call, Mapping[str, str]]] = []
        self._settle_at = 0.0
        self._goals: dict[int, set[int]] = {}
        """By step, the waits that have not reached their goal."""
        self._jobs: dict[Future[Any], Callable[[Any], None]] = {}
        self._pool: ThreadPoolExecutor | None = None
        self._unfinished: set[int] = set()
        """The errors whose rollback has failed, by the Python identity of the error."""

    def run(self) -> Outcome:
        """Run through the whole graph, and return the outcome. It holds the errors; none is raised."""
        try:
            while not self.walk.is_over or self._jobs:
                self._begin_steps()
                self._start_calls()
                self._await_event()
                self._roll_back()
        finally:
            if self._pool is not None:
                self._pool.shutdown(cancel_futures=True)
        self._tell_end()
        return self.outcome

    # --- steps ---

    def _begin_steps(self) -> None:
        """Begin all steps that may begin. A step without a change is done at once, or waits."""
        while steps := self.walk.take_ready():
            for step in steps:
                if step.change is None:
                    self._wait_for(step)
                elif self._needs_check(step):
                    self._unchecked.append(step)
                else:
                    self._queue(step)
        if self._unchecked:
            self._check()

    def _needs_check(self, step: Step) -> bool:
        change = step.change
        if change is None:
            return False
        return bool(change.unless or change.provided or (step.stage.recheck is not None and self._has_waited))

    def _queue(self, step: Step) -> None:
        if step.change is not None:
            self._queues.add(step, bind(step.change, self.outcome), self._gateway.monotonic())

    def _check(self) -> None:
        """Ask once, for all steps that begin now, whether their changes are still wanted and allowed."""
        groups: dict[tuple[int, str], list[Step]] = defaultdict(list)
        for step in self._unchecked:
            # If AWS does not answer the queries of one place, the changes in other places go on.
            place = step.change.region if step.change is not None and step.stage.recheck is not None else ""
            groups[id(step.stage.recheck), place].append(step)
        self._unchecked = []
        for steps in groups.values():
            changes = [bind(step.change, self.outcome) for step in steps if step.change is not None]
            recheck = steps[0].stage.recheck if self._has_waited else None

            def ask(changes: Sequence[Change] = changes, recheck: Recheck | None = recheck) -> Checked:
                return check(self._gateway, changes, recheck)

            def note(checked: Checked, steps: Sequence[Step] = steps) -> None:
                self._note_check(steps, checked)

            self._do(ask, note)

    def _note_check(self, steps: Sequence[Step], checked: Checked) -> None:
        if checked.warning:
            self.outcome.notes.append(checked.warning)
        for number, step in enumerate(steps):
            if step.change is None:
                continue
            if number in checked.errors:
                self._fail(step, checked.errors[number])
            elif number in checked.withdrawn:
                self.outcome.withdrawn.append((step.change, checked.withdrawn[number]))
                self.walk.finish(step)
            elif number in checked.left_out:
                self.walk.finish(step)
            elif self.walk.has_failed(step):
                self.walk.drop(step)
            else:
                self._queue(step)

    def _fail(self, step: Step, error: StorageError, *, is_made: bool = False) -> None:
        """Note a failure. *is_made*: the change was made, but without effect."""
        if step.change is not None and not is_made:
            self.outcome.failed.append(step.change)
        self.walk.fail(step, error)
        if step.transaction is not None:
            self._stop(step.transaction)

    def _stop(self, transaction: int) -> None:
        """Forget the waits and the queued calls of a failed transaction. Its running calls end by themselves."""
        for step in self.walk.under_way(transaction):
            if step.number in self._goals:
                self._watch.drop((step.number, at) for at in self._goals.pop(step.number))
                self.walk.finish(step)
            elif self._queues.drop(step) or self._is_to_be_repeated(step):
                self.walk.drop(step)

    def _is_to_be_repeated(self, step: Step) -> bool:
        """Cancel the repeat of the step's refused call, and return whether there was one."""
        for entry in self._repeats:
            if step in entry[1].steps:
                self._repeats.remove(entry)
                return True
        return False

    # --- calls ---

    def _start_calls(self) -> None:
        now = self._gateway.monotonic()
        for entry in [entry for entry in self._repeats if entry[0] <= now]:
            self._repeats.remove(entry)
            self._call(entry[1])
        is_alone = not self._jobs and self._watch.next_poll is None
        for call in self._queues.due(now, self._unfinished_in, is_alone=is_alone):
            self._call(call)
        is_quiet = not any(call.changes[0].operation.snapshots for call in self._queues.under_way)
        if self._unsettled and (is_quiet or now >= self._settle_at):
            self._settle()

    def _unfinished_in(self, action: str, place: str) -> int:
        """Return how many steps with this action in this place are under way."""
        calls = [*self._queues.under_way, *(call for call, _made in self._unsettled)]
        calls += [call for _at, call in self._repeats]
        steps = [step for call in calls for step in call.steps] + [self._graph.steps[number] for number in self._goals]
        return sum(
            step.change is not None and (step.change.action, step.change.region) == (action, place) for step in steps
        )

    def _call(self, call: Call) -> None:
        self._queues.begin(call)

        def carry_out() -> Mapping[str, str] | StorageError:
            try:
                if call.is_repeat:
                    require_wanted(self._gateway, call.changes)
                return self._once.carry_out(call.changes)
            except StorageError as error:
                return error

        self._do(carry_out, lambda result: self._called(call, result))

    def _called(self, call: Call, result: Mapping[str, str] | StorageError) -> None:
        self._queues.end(call)
        if isinstance(result, StorageError):
            self._refused(call, result)
            return
        self.outcome.done.extend(step.change for step in call.steps if step.change is not None)
        self.outcome.bindings.update(result)
        self._changed_since_seen(call.changes)
        if call.changes[0].operation.snapshots:
            self._settle_at = self._settle_at if self._unsettled else self._gateway.monotonic() + _SETTLED_TOGETHER
            self._unsettled.append((call, result))
            return
        for step in call.steps:
            self._wait_for(step)

    def _refused(self, call: Call, error: StorageError) -> None:
        """Treat a refused call: repeat it in parts or later, leave it to a later run, or note the failure."""
        if parts := halves(call.changes, error):
            for part in parts:
                self._call(call.part(part))
            return
        if isinstance(error, CallError) and is_deferred(call.changes, error):
            for step in call.steps:
                if step.change is not None:
                    self.outcome.deferred.append((step.change, error))
                self.walk.finish(step)
            return
        if self._is_repeated_later(call, error):
            return
        made = error.made if isinstance(error, CallError) else {}
        self.outcome.bindings.update(made)
        for step in call.steps:
            is_made = step.change is not None and step.change.resource in made
            if is_made and step.change is not None:
                self.outcome.done.append(step.change)
            self._fail(step, error, is_made=is_made)

    def _is_repeated_later(self, call: Call, error: StorageError) -> bool:
        """Return whether EC2 answered "not now" (`Stage.patience`), so that the call is repeated before the deadline.

        When EC2 names a time, the call is repeated then. A time after the deadline is an error at once.
        """
        if not isinstance(error, CallError) or error.code not in call.steps[0].stage.patience:
            return False
        left = self._began + self._timeout - self._gateway.monotonic()
        told = (error.not_before - self._gateway.now()).total_seconds() if error.not_before else 0.0
        if left <= 0 or told > left or any(self.walk.has_failed(step) for step in call.steps):
            return False
        self._has_waited = True
        at = self._gateway.monotonic() + min(max(call.delay, told), left)
        later = dataclasses.replace(call, delay=min(call.delay * _GROWTH, _SLOWEST_REPEAT), is_repeat=True)
        self._repeats.append((at, later))
        return True

    def _settle(self) -> None:
        """Choose between the run's new snapshots and others of the same identity, see `settle`."""
        by_place: dict[str, list[tuple[Call, Mapping[str, str]]]] = defaultdict(list)
        for call, made in self._unsettled:
            by_place[call.changes[0].region].append((call, made))
        self._unsettled = []
        for calls in by_place.values():

            def choose(calls: Sequence[tuple[Call, Mapping[str, str]]] = calls) -> Settled:
                return settle(self._gateway, [(call.changes, made) for call, made in calls])

            def note(settled: Settled, calls: Sequence[tuple[Call, Mapping[str, str]]] = calls) -> None:
                self.outcome.bindings.update(settled.bindings)
                self.outcome.notes.extend(settled.notes)
                for call, _made in calls:
                    for step in call.steps:
                        self._wait_for(step)

            self._do(choose, note)

    def _changed_since_seen(self, changes: Sequence[Change]) -> None:
        """Update the observed resources, since an earlier wait saw them before *changes*."""
        observed = self.outcome.observed
        for change in changes:
            resource = substitute(change.resource, self.outcome.bindings)
            known = observed.get(resource)
            if change.after is None:
                # A wait for the end of the resource may still show it for a moment.
                self._gone.add(resource)
                observed.pop(resource, None)
            elif known is not None:
                after = substitute(dict(change.after), self.outcome.bindings)
                observed[resource] = from_view(known.kind, after, known)

    # --- waits ---

    def _wait_for(self, step: Step) -> None:
        """Watch for the step's goals. If the step has no goals, or its transaction has failed, the step is over."""
        bindings = self.outcome.bindings
        waits = {at: wait for at, wait in enumerate(step.waits) if self._waits_for_all or not wait.final}
        if not waits or self.walk.has_failed(step):
            self.walk.finish(step)
            return
        self._goals[step.number] = set(waits)
        for at, wait in waits.items():
            bound = dataclasses.replace(
                wait,
                resources=tuple(substitute(resource, bindings) for resource in wait.resources),
                expect=substitute(wait.expect, bindings),
                about=substitute(wait.about, bindings),
            )
            self._watch.add((step.number, at), bound, self._began + self._timeout)

    def _poll(self) -> None:
        self._has_waited = True
        sighting = self._watch.poll()
        for error, keys in sighting.failed:
            for number in sorted({number for number, _at in keys}):
                self._miss(number, error)
        for number, at in sighting.reached:
            goals = self._goals.get(number)
            if goals is None:
                continue
            self._observe(self._graph.steps[number], sighting.resources)
            goals.discard(at)
            if not goals:
                del self._goals[number]
                self.walk.finish(self._graph.steps[number])

    def _miss(self, number: int, error: StorageError) -> None:
        """Note that a step has not reached its goal."""
        goals = self._goals.pop(number, None)
        if goals is not None:
            self._watch.drop((number, at) for at in goals)
            self._fail(self._graph.steps[number], error, is_made=True)

    def _observe(self, step: Step, seen: Mapping[str, Resource]) -> None:
        """Keep the resources of a step as EC2 shows them, with their facts."""
        bindings = self.outcome.bindings
        names = {substitute(resource, bindings) for wait in step.waits for resource in wait.resources} - self._gone
        found = {key: one for key, one in seen.items() if subject_of(one) in names}
        self.outcome.observed.update(found)
        self.outcome.seconds.update(dict.fromkeys(found, self._gateway.monotonic() - self._began))
        if step.change is not None:
            self._bind_parts(step.change, found)

    def _bind_parts(self, change: Change, seen: Mapping[str, Resource]) -> None:
        """Note EC2's ids of the snapshots of a new image and of a new root volume, and note the addresses of a new
        instance.
        """
        bindings = self.outcome.bindings
        for part in instance_parts(change.after or {}):
            holder = seen.get(change.parameters.get("InstanceId", ""))
            found = holder.block_devices if isinstance(holder, Instance) else ()
            for device in found:
                if device.device_name == part["device_name"] and is_planned(part["volume_id"]):
                    bindings.setdefault(part["volume_id"], device.volume_id)
        image = seen.get(bindings.get(change.resource, ""))
        if isinstance(image, Instance):
            _bind_addresses(bindings, change, image)
        if not isinstance(image, Image):
            return
        made = {device.device_name: device.snapshot_id for device in image.block_devices}
        for device in (change.after or {}).get("block_devices") or ():
            name, snapshot_id = device["snapshot_id"], made.get(device["device_name"])
            if is_planned(name) and snapshot_id is not None:
                bindings.setdefault(name, snapshot_id)

    # --- events ---

    def _do(self, job: Callable[[], Any], note: Callable[[Any], None]) -> None:
        """Do a job in another thread, and *note* the result in this thread. A single job runs in this thread."""
        if not self._jobs and self._watch.next_poll is None and self._queues.is_empty and not self._repeats:
            note(job())
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(max_workers=_THREADS)
        self._jobs[self._pool.submit(job)] = note

    def _await_event(self) -> None:
        """Wait for the next event: the end of a job, a poll, or the repeat of a refused call."""
        moments = [at for at, _call in self._repeats]
        moments += [at for at in (self._watch.next_poll, self._queues.next_due) if at is not None]
        left = max(0.0, min(moments) - self._gateway.monotonic()) if moments else None
        if self._jobs:
            over, _running = first_of(
                self._jobs, timeout=None if left is None else min(left, _TICK), return_when=FIRST_COMPLETED
            )
            for job in over:
                self._jobs.pop(job)(job.result())
        elif left:
            self._gateway.sleep(left)
        at = self._watch.next_poll
        if at is not None and at <= self._gateway.monotonic():
            self._poll()

    # --- the end ---

    def _roll_back(self) -> None:
        """Roll back the failed transactions without a step under way."""
        for failed in self.walk.take_quiet():
            stages = rollback_of(failed.step, failed.members)
            if stages and kind_of_failure(failed.error) in failed.step.stage.rollback_on:
                self._begin_rollback(failed, stages)

    def _begin_rollback(self, failed: Failed, stages: Sequence[Stage]) -> None:
        bindings = dict(self.outcome.bindings)
        graph = graph_of(possible(stages, bindings))

        def carry_out() -> Outcome:
            return Scheduler(self._gateway, graph, wait=True, timeout=self._timeout, bindings=bindings).run()

        def note(back: Outcome) -> None:
            if not note_rollback(self.outcome, back):
                self._unfinished.add(id(failed.error))

        self._do(carry_out, note)

    def _tell_end(self) -> None:
        """Put the outcome in the plan's order, and the errors into words."""
        outcome = self.outcome
        numbers = {id(step.change): step.number for step in self._graph.steps if step.change is not None}
        for step in self._graph.steps:
            cause, error = self.walk.causes.get(step.number), self.walk.errors.get(step.number)
            if step.change is not None and error is not None:
                outcome.reasons[id(step.change)] = str(error)
            if step.change is not None and cause is not None:
                outcome.not_tried.append(step.change)
                outcome.causes[id(step.change)] = _name_of(cause)
        for changes in (outcome.done, outcome.failed):
            changes.sort(key=lambda change: numbers[id(change)])
        errors = {id(error): error for _number, error in sorted(self.walk.errors.items())}
        outcome.errors = [
            explained(error, outcome, is_back=key not in self._unfinished) if isinstance(error, WaitError) else error
            for key, error in errors.items()
        ]


def _bind_addresses(bindings: dict[str, str], change: Change, made: Instance) -> None:
    """Note the addresses and the primary interface of a new instance for which the plan has planned ids."""
    for name in INSTANCE_ADDRESSES:
        planned_name, address = (change.after or {}).get(name), getattr(made, name)
        if is_planned(planned_name) and address is not None:
            bindings.setdefault(str(planned_name), address)


def _name_of(step: Step) -> str:
    """Return the resource of a failed step, for messages about other steps."""
    if step.change is not None:
        return step.change.resource
    return step.waits[0].resources[0] if step.waits else ""
