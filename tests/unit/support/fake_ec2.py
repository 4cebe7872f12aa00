# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An EC2 in memory behind the gateway's port, with a clock that only sleeping moves.

It has the behaviour of EC2 that the engine and the planners rely on: asynchronous states, client tokens, unique image
names, devices and attachments, modifications and their daily budget, the content of volumes, delayed visibility, lost
answers. The cases of the engine that run on it run on the sandbox too, so it cannot drift from EC2.
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._aws.codec import change_request
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.waiting import Watch
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import substitute
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Fact,
    Instance,
    Resource,
    Snapshot,
    Volume,
    VolumeAttachment,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import MODIFICATION

from fake_calls import FIRST_ID
from fake_network import Network
from fake_records import START, becomes, modified
from fake_root_tasks import RootTasks


@dataclass
class Fault:
    """One fault, before or after the effect: ``error``, ``close`` (no answer) or ``end`` (new resources fail later)."""

    action: str
    occurrence: int | str | dict[str, int] = 1
    kind: str = "error"
    when: str = "before"
    code: str = "InternalError"
    message: str = "An internal error has occurred"
    status: int = 500
    seen: int = 0

    def hits(self, action: str) -> bool:
        if not fnmatch.fnmatchcase(action, self.action):
            return False
        self.seen += 1
        if isinstance(self.occurrence, dict):
            return self.seen <= self.occurrence["first"]
        return self.occurrence in ("every", self.seen)


class FakeEc2(Network, RootTasks):
    """`ports.Gateway` in memory. One region, one account."""

    def __init__(
        self,
        *there: Resource,
        region: str = "us-east-1",
        durations: Mapping[str, float] | None = None,
        pace: float = 0.0,
    ) -> None:
        super().__init__(*there, region=region, durations=durations, pace=pace)
        self._calls: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self.silent: list[Callable[[Query], object]] = []
        """Queries that nobody may ask."""
        self.log: list[tuple[str, dict[str, Any]]] = []

    # --- the port ---

    @property
    def region(self) -> str:
        return self._region

    @property
    def calls(self) -> Mapping[str, int]:
        return dict(self._calls)

    def ask(
        self, queries: Iterable[Query], failures: dict[Query, StorageError] | None = None
    ) -> Mapping[Query, tuple[Resource, ...]]:
        answers: dict[Query, tuple[Resource, ...]] = {}
        for query in dict.fromkeys(queries):
            try:
                answers[query] = self._answer(query)
            except CallError as error:
                if failures is None or not query.optional:
                    raise
                failures[query], answers[query] = error, ()
        return answers

    def rehearse(self, change: Change) -> None:
        with self._lock:
            self._calls[change.action] += 1

    def watch(self) -> Watch:
        return Watch(lambda queries, _until: self.ask(queries), self.monotonic)

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        first = changes[0]
        end = self.monotonic() + 30
        while True:
            try:
                return self._perform(changes, generation)
            except CallError as error:
                # As in the gateway: throttling is waited out, and safe calls are repeated.
                if not error.passing or (error.unclear and not first.operation.safe) or self.monotonic() > end:
                    if len(changes) == 1 and error.code in first.operation.already:
                        return {}
                    raise
                self.sleep(0.2)

    # --- plans without the engine ---

    def carry_out(self, plan: Plan, calls: int = 10**6) -> None:
        """Make the first so many changes of the plan, one after the other, each with the waits before it.

        A call that EC2 refuses is a failed test, and so is a wait that would not end.
        """
        for stage in plan.stages:
            for change in stage.changes:
                if not calls:
                    return
                calls -= 1
                resource = change.resource if change.creates else substitute(change.resource, self.bindings)
                if change.action == "StartInstances" and "IncorrectInstanceState" in stage.patience:
                    self.finish(resource)
                parameters = substitute(change.parameters, self.bindings)
                call = dataclasses.replace(change, resource=resource, parameters=parameters)
                try:
                    # A token of its own: the call of a run that knows of no earlier one.
                    self._perform([call], generation=FIRST_ID + self._writes)
                except CallError as error:
                    raise AssertionError(f"EC2 refuses {change.action} of {change.resource}: {error}") from error
            if calls:
                for wait in stage.waits:
                    self.reach(wait)

    # --- reading ---

    def _answer(self, query: Query) -> tuple[Resource, ...]:
        with self._lock:
            self._calls[query.operation] += 1
            self._fault(query.operation, "before")
            if any(is_silent(query) for is_silent in self.silent):
                raise CallError(query.operation, "UnauthorizedOperation", f"You are not authorized in {query.place}")
            return self.answer(query)

    # --- changing ---

    def _perform(self, changes: Sequence[Change], generation: int) -> dict[str, str]:
        first = changes[0]
        request = change_request(changes, generation)
        with self._lock:
            self._calls[first.action] += 1
            self.log.append((first.action, request))
            self.write()
            self._settle()
            end = self._fault(first.action, "before")
            made: dict[str, str] = getattr(self, f"_{first.action}")(changes, request) or {}
            self.bindings.update(made)
            if end is not None:
                for resource_id in made.values() or [MODIFICATION.id_of(request["VolumeId"])]:
                    self._fail(resource_id, end)
            self._fault(first.action, "after")
            return made

    def _fault(self, action: str, when: str) -> Fault | None:
        for fault in self.faults:
            if fault.when == when and fault.hits(action):
                if fault.kind == "end":
                    return fault
                if fault.kind == "close":
                    raise CallError(action, "ConnectionLost", "Connection was closed", unclear=True, passing=True)
                throttled = fault.code == "RequestLimitExceeded"
                unclear = fault.status >= 500 and not throttled
                raise CallError(action, fault.code, fault.message, unclear=unclear, passing=unclear or throttled)
        return None

    def _fail(self, resource_id: str, fault: Fault) -> None:
        if self._fail_task(resource_id, fault.code):
            return
        record = self._records[resource_id]
        when = record.ends[0][0] if record.ends else self._time
        if isinstance(record.resource, Fact):
            end = modified(state="failed", message=fault.message)
            self._records[record.resource.subject].ends.clear()
        elif isinstance(record.resource, Volume):
            end = becomes(state="error")
        else:
            state = "error" if isinstance(record.resource, Snapshot) else "failed"
            end = becomes(state=state, state_reason=fault.message)
        record.ends = [(when, end)]

    # --- what a test sets up ---

    def add_instance(self, volumes: int = 1, tags: Mapping[str, str] | None = None) -> Instance:
        """A running instance with that many volumes."""
        instance_id, zone = self._new_id("i"), f"{self._region}a"
        devices = []
        for number in range(volumes):
            link = VolumeAttachment(instance_id, f"/dev/sd{'afghijk'[number]}", delete_on_termination=True)
            volume = Volume(self._new_id("vol"), size=8, availability_zone=zone, attachments=(link,))
            self._add(volume, delay=0)
            devices.append(BlockDevice(link.device_name, volume.volume_id, True))
        instance = Instance(
            instance_id,
            image_id="ami-0000000000000beef",
            instance_type="t3.micro",
            launch_time=START - timedelta(days=1),
            availability_zone=zone,
            root_device_name="/dev/sda",
            block_devices=tuple(devices),
            tags=dict(tags or {}),
        )
        self._add(instance, delay=0)
        return instance
