# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state and the answers of `fake_ec2`: resources that change with time, and answers to queries."""

from __future__ import annotations

import dataclasses
import functools
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import (
    ATTRIBUTES,
    CLASSIC_LOAD_BALANCERS,
    CPU_CREDITS,
    ENCRYPTION_BY_DEFAULT,
    INSTANCE_TYPE,
    IS_PERSISTENT,
    IS_USABLE_ZONE,
    KMS_KEY,
    MEMBERSHIP,
    STATUS_CHECKS,
    TARGET_GROUPS,
    FactKind,
    StatusChecks,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import substitute
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Wait
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Fact,
    Image,
    Instance,
    Resource,
    Snapshot,
    Volume,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query, State, resource_key
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import (
    FAST_RESTORES,
    IS_PUBLIC,
    LAUNCH_CONFIGURATIONS,
    LAUNCH_PERMISSIONS,
    LOCK,
    MODIFICATION,
    TIERING,
    USERS,
    VOLUME_PERMISSIONS,
)

from sandbox.filters import matcher

START = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
KINDS: Mapping[str, type[Any]] = {
    "DescribeImages": Image,
    "DescribeInstances": Instance,
    "DescribeSnapshots": Snapshot,
    "DescribeVolumes": Volume,
}
LISTED_FACTS: Mapping[str, FactKind[Any]] = {
    "DescribeFastSnapshotRestores": FAST_RESTORES,
    "DescribeLockedSnapshots": LOCK,
    "DescribeSnapshotTierStatus": TIERING,
    "DescribeSnapshots": IS_PUBLIC,
}
"""Facts that EC2 lists for all snapshots."""
DURATIONS: Mapping[str, float] = {
    **dict.fromkeys(("stop", "start", "terminate", "image", "optimize"), 1.0),
    **dict.fromkeys(("create", "attach", "detach", "delete", "modify"), 0.4),
    "snapshot": 2.0,
    "status": 2.0,
}
FOR_EVER: Mapping[str, float] = {**dict.fromkeys(DURATIONS, math.inf), "delete": 0.0}
"""For a world in which all that is under way ends when a plan waits for it, see `Records.reach`."""

End = Callable[[Any], Any]
"""The later form of a resource: another one, or nothing."""


def becomes(**fields: Any) -> End:
    return lambda resource: dataclasses.replace(resource, **fields)


def modified(**fields: Any) -> End:
    """The fact about a modification in a later state."""
    return lambda fact: dataclasses.replace(fact, value=dataclasses.replace(fact.value, **fields))


@dataclass
class Record:
    """A resource, the moment from which reads show it, and its coming states.

    ``deleted``: EC2 has accepted its deletion, and shows it for a while.
    """

    resource: Any
    visible: float = 0.0
    deleted: bool = False
    ends: list[tuple[float, End]] = field(default_factory=list)


class Records:
    """The resources of one account, EC2's clock, and the answers.

    A change that is under way ends when the clock says so, or at once with `reach`, `finish` and `settle`.
    """

    def __init__(self, *there: Resource, durations: Mapping[str, float] | None = None) -> None:
        self._lock = threading.RLock()
        self._time = 0.0
        self._records: dict[str, Record] = {}
        self.durations = dict(DURATIONS if durations is None else durations)
        self.bindings: dict[str, str] = {}
        self.asked: list[Query] = []
        for resource in there:
            self.put(resource)

    def __repr__(self) -> str:
        return "\n".join(map(str, self.resources.values()))

    # --- what a test sets up and looks at ---

    def put(self, resource: Resource) -> None:
        """Put this resource, as it is, in place of the one with its id."""
        self._records[resource_key(resource)] = Record(resource)

    @property
    def resources(self) -> Mapping[str, Any]:
        """All resources by id, even those that reads do not show yet. To change it, `put` a resource."""
        with self._lock:
            self._settle()
            return MappingProxyType({name: record.resource for name, record in self._records.items()})

    def record(self, resource_id: str) -> Record | None:
        """The resource with its coming states, for a test that lets it fail."""
        return self._records.get(resource_id)

    def volumes(self) -> list[Volume]:
        return [item for item in self.resources.values() if isinstance(item, Volume)]

    def snapshots(self) -> list[Snapshot]:
        return [item for item in self.resources.values() if isinstance(item, Snapshot)]

    def existing(self, kind: str) -> list[Any]:
        """All resources of one kind that are not deleted, also those that reads do not show yet."""
        with self._lock:
            self._settle()
            kept = [record.resource for record in self._records.values() if not record.deleted]
        return [resource for resource in kept if resource.kind == kind]

    def state(self) -> State:
        """The state of all resources, for the readers of facts."""
        return State("", self.resources)

    # --- answers ---

    def answer(self, query: Query) -> tuple[Resource, ...]:
        """Return what EC2 shows, without the faults of a call. A query that EC2 does not have is a failed test."""
        with self._lock:
            self._settle()
            self.asked.append(query)
            arguments, kind = dict(query.arguments), KINDS.get(query.operation)
            if kind is None or "RestorableByUserIds" in arguments:
                return self._facts(query)
            if kind is Image and arguments.get("IncludeDisabled") is not True:
                raise AssertionError(f"EC2 leaves disabled images out: {query}")
            return tuple(
                self._seen(record.resource)
                for record in self._records.values()
                if isinstance(record.resource, kind)
                and record.visible <= self._time
                and getattr(record.resource, "place", "") == query.place
                and all(_matches(record.resource, name, values) for name, values in query.filters)
            )

    def _seen(self, resource: Any) -> Any:
        """An instance names its attached volumes once it is no longer pending, unless a test has set others."""
        if not isinstance(resource, Instance) or resource.state == "pending" or resource.block_devices:
            return resource
        devices = tuple(
            BlockDevice(link.device_name, item.volume_id, link.delete_on_termination, link.state)
            for item in self.volumes()
            for link in item.attachments
            if link.instance_id == resource.instance_id
        )
        return dataclasses.replace(resource, block_devices=devices)

    def _facts(self, query: Query) -> tuple[Fact, ...]:
        if query.operation == "DescribeInstanceStatus":
            return tuple(self._status(str(one)) for one in dict(query.arguments)["InstanceIds"])
        facts = [record.resource for record in self._records.values() if isinstance(record.resource, Fact)]
        kind = LISTED_FACTS.get(query.operation)
        if kind is not None:
            return tuple(fact for fact in facts if fact.name == kind.name)
        wanted = set(_fact_ids(query))
        return tuple(fact for fact in facts if fact.resource_id in wanted)

    def _status(self, instance_id: str) -> Fact:
        record = self._records[instance_id]
        since = self.now() - (record.resource.launch_time or START)
        passed = record.resource.state == "running" and since.total_seconds() >= self.durations["status"]
        return STATUS_CHECKS.fact(instance_id, StatusChecks(*["ok" if passed else "initializing"] * 2))

    # --- time ---

    def monotonic(self) -> float:
        return self._time

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self._time += seconds

    def now(self) -> datetime:
        return START + timedelta(seconds=self._time)

    def _settle(self) -> None:
        """End the changes that are due."""
        for name, record in list(self._records.items()):
            while record.ends and record.ends[0][0] <= self._time:
                _when, end = record.ends.pop(0)
                record.resource = end(record.resource)
            if record.resource is None:
                del self._records[name]

    def finish(self, resource_id: str) -> None:
        """End the changes that are under way for the resource, even those that a test has put.

        A modification is still optimizing.
        """
        record = self._records.get(resource_id)
        if record is None:
            return
        if isinstance(record.resource, Volume):
            self._end_modifying(record)
        ends, record.ends = record.ends, []
        for _when, end in ends:
            record.resource = end(record.resource)
            if record.resource is None:
                del self._records[resource_id]
                return
        record.resource = self._ended(record.resource)

    def _end_modifying(self, record: Record) -> None:
        latest = self._records.get(MODIFICATION.id_of(record.resource.volume_id))
        if latest is not None and latest.resource.value.is_to_take_effect and record.resource.alive:
            record.resource = dataclasses.replace(record.resource, **dataclasses.asdict(latest.resource.value.target))
            latest.resource = modified(state="optimizing")(latest.resource)
            latest.ends = latest.ends[1:]

    def _ended(self, resource: Any) -> Any:
        if isinstance(resource, Volume) and resource.alive:
            # EC2 ends the attachments of instances that are gone.
            links = tuple(
                dataclasses.replace(link, state="attached")
                for link in resource.attachments
                if link.state != "detaching" and self._is_alive(link.instance_id)
            )
            return dataclasses.replace(resource, attachments=links, state="in-use" if links else "available")
        if isinstance(resource, (Snapshot, Instance)):
            pending = "completed" if isinstance(resource, Snapshot) else "running"
            states = {"stopping": "stopped", "pending": pending}
            return dataclasses.replace(resource, state=states.get(resource.state, resource.state))
        return resource

    def _is_alive(self, instance_id: str) -> bool:
        record = self._records.get(instance_id)
        return record is None or record.resource.alive

    def reach(self, wait: Wait) -> None:
        """End only the awaited changes. A wait that would not end is a failed test."""
        for name in wait.resources:
            resource_id = substitute(name, self.bindings)
            self.finish(resource_id)
            found = self.resources.get(resource_id)
            reached = found is None if wait.goal == "deleted" else found is not None and _reached(found, wait)
            if not reached:
                raise AssertionError(f"would wait for ever: {wait}, {found}")
            if wait.goal == "modifiable":
                self._end_modification(resource_id)

    def _end_modification(self, volume_id: str) -> None:
        latest = self._records.get(MODIFICATION.id_of(volume_id))
        if latest is not None:
            latest.resource = modified(state="completed")(latest.resource)
            latest.ends = []

    def go_on(self) -> None:
        """Let the changes that a test has put under way end after a second."""
        for record in self._records.values():
            if not record.ends and self._ended(record.resource) != record.resource:
                record.ends = [(self._time + 1.0, self._ended)]

    def settle(self) -> None:
        """End all changes that are under way."""
        for name, resource in self.resources.items():
            self.finish(name)
            if isinstance(resource, Volume):
                self._end_modification(name)


def _reached(found: Any, wait: Wait) -> bool:
    links = found.attachments if isinstance(found, Volume) else ()
    if wait.goal in ("attached", "detached"):
        there = any(link.instance_id == wait.about or not wait.about for link in links)
        return there is (wait.goal == "attached")
    goals = {"volume_available": "available", "stopped": "stopped", "running": "running", "completed": "completed"}
    return wait.goal not in goals or found.state == goals[wait.goal]


def _fact_ids(query: Query) -> list[str]:
    asked = dict(query.arguments)
    named = [value for _name, values in query.filters for value in values]
    known: Mapping[str, Callable[[], list[str]]] = {
        "DescribeAutoScalingInstances": lambda: [MEMBERSHIP.id_of(item) for item in asked["InstanceIds"]],
        "DescribeAvailabilityZones": lambda: [IS_USABLE_ZONE.id_of(item) for item in named],
        "DescribeImageAttribute": lambda: [LAUNCH_PERMISSIONS.id_of(asked["ImageId"])],
        "DescribeImageReferences": lambda: [USERS.id_of(item) for item in asked["ImageIds"]],
        "DescribeInstanceAttribute": lambda: [ATTRIBUTES[asked["Attribute"]].id_of(asked["InstanceId"])],
        "DescribeInstanceCreditSpecifications": lambda: [CPU_CREDITS.id_of(item) for item in named],
        "DescribeInstanceTypes": lambda: [INSTANCE_TYPE.id_of(item) for item in named],
        "DescribeKey": lambda: [KMS_KEY.id_of(asked["KeyId"])],
        "DescribeLaunchConfigurations": lambda: [LAUNCH_CONFIGURATIONS.name],
        "DescribeLoadBalancers": lambda: [CLASSIC_LOAD_BALANCERS.name],
        "DescribeSnapshotAttribute": lambda: [VOLUME_PERMISSIONS.id_of(asked["SnapshotId"])],
        "DescribeSpotInstanceRequests": lambda: [IS_PERSISTENT.id_of(item) for item in named],
        "DescribeTargetGroups": lambda: [TARGET_GROUPS.name],
        "DescribeVolumesModifications": lambda: [MODIFICATION.id_of(item) for item in named],
        "GetCallerIdentity": list,
        "GetEbsEncryptionByDefault": lambda: [ENCRYPTION_BY_DEFAULT.name],
    }
    return known[query.operation]()


@functools.lru_cache(maxsize=4096)
def _compiled(values: tuple[str, ...]) -> Callable[[str], bool]:
    return matcher(values)


def _matches(resource: Any, name: str, values: Sequence[str]) -> bool:
    found: Iterable[str]
    if name.startswith("tag:"):
        found = [value for key, value in resource.tags.items() if key == name[4:]]
    elif name == "tag-key":
        found = list(resource.tags)
    elif name == "attachment.instance-id":
        found = [link.instance_id for link in resource.attachments]
    elif name == "attachment.status":
        found = [link.state for link in resource.attachments]
    elif name in ("instance-state-name", "status", "state"):
        found = [resource.state]
    elif name in ("instance-id", "volume-id", "snapshot-id", "image-id"):
        found = [getattr(resource, name.replace("-", "_"))]
    elif name in ("description", "name"):
        found = [getattr(resource, name)]
    elif name == "block-device-mapping.snapshot-id":
        found = resource.snapshot_ids
    elif name == "client-token":
        found = [str(resource.facts.get("ClientToken", ""))]
    else:
        raise AssertionError(f"a filter that is not known here: {name}")
    return any(map(_compiled(tuple(values)), found))
