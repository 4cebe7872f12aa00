# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What exists in one account and region: volumes, snapshots, images and instances.

Plain containers. Every state is *derived* from moments that were fixed when the resource was made or changed, never set
by a timer: ``snapshot.state(now)`` is "pending" before ``completes`` and the wanted end afterwards. So moving the clock
is enough to see any state, and nothing runs in the background.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from .engine import declare_durations
from .errors import Ec2Error

if TYPE_CHECKING:
    from .engine import World

Shape = dict[str, Any]
"""A value in the shape in which boto3 takes or gives it."""

Tags = dict[str, str]

DURATIONS: dict[str, float] = {
    "volume_creating": 0.4,
    "volume_attaching": 0.3,
    "volume_detaching": 0.3,
    "volume_deleting": 0.2,
    "volume_modifying": 0.5,
    "volume_optimizing": 1.0,
    "snapshot_pending": 1.0,
    "snapshot_copying": 1.0,
    "snapshot_rate_window": 0.0,
    "image_registering": 0.3,
    "image_snapshots": 0.3,
    "image_pending": 0.5,
    "image_copying": 1.0,
    "instance_pending": 1.0,
    "instance_stopping": 1.0,
    "instance_shutting_down": 1.0,
    "instance_rebooting": 1.0,
    "instance_gone": 3600.0,
    "status_ok": 1.0,
    "write_tick": 1.0,
}
"""Seconds of sandbox time, by name; a test may change each one. ``snapshot_rate_window`` is the least time between two
CreateSnapshot calls for one volume (0: no limit, EC2 documents 15); ``write_tick`` the time between two writes of a
running instance; ``instance_gone`` how long a terminated instance is still shown (EC2: about an hour)."""

declare_durations(**DURATIONS)

MODIFICATION_WINDOW = timedelta(hours=24)
"""A volume may be modified four times within a rolling window of this length."""

_HEX_ID = re.compile(r"(?:[0-9a-f]{8}|[0-9a-f]{17})")


def is_id(prefix: str, text: str) -> bool:
    """Whether ``text`` has the form of an id with this prefix ("vol"): 8 or 17 hexadecimal digits after the dash."""
    head, _dash, tail = text.partition("-")
    return head == prefix and _HEX_ID.fullmatch(tail) is not None


def not_an_id(text: str, parameter: str, expected: str) -> Ec2Error:
    """EC2's answer to an id of another form."""
    return Ec2Error(
        "InvalidParameterValue", f"Value ({text}) for parameter {parameter} is invalid. Expected: '{expected}'."
    )


def tag_list(tags: Tags) -> list[Shape]:
    """Tags as an answer shows them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def stamp(moment: datetime) -> str:
    """A moment as filters compare it: 2026-11-23T19:20:00.000Z."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03d}Z"


@dataclass(slots=True)
class Mark:
    """One write: when it was made, what was written ("tick", or a test's own text), by whom (an instance id, or "")."""

    time: datetime
    text: str
    writer: str = ""


@dataclass(slots=True)
class Frozen:
    """What a snapshot holds: all that ``volume`` held at ``moment``. None as volume is a snapshot of nothing (bulk
    ones).
    """

    volume: Volume | None
    moment: datetime


@dataclass(slots=True)
class Attachment:
    """A volume on an instance, from the call that attached it to the end of its detachment (None: still attached)."""

    instance_id: str
    device: str
    asked: datetime
    attached: datetime
    delete_on_termination: bool
    card: int = 0
    detach_asked: datetime | None = None
    detached: datetime | None = None

    def state(self, now: datetime) -> str:
        """EC2's VolumeAttachmentState; "detached" once it is over."""
        if self.detach_asked is not None and self.detached is not None and now >= self.detach_asked:
            return "detaching" if now < self.detached else "detached"
        return "attaching" if now < self.attached else "attached"

    def shown(self, now: datetime) -> bool:
        """Whether EC2 lists it now."""
        return self.asked <= now and (self.detached is None or now < self.detached)

    def end(self, asked: datetime, done: datetime) -> None:
        """Detach: asked for at one moment, done at another."""
        self.detach_asked, self.detached = asked, done


@dataclass(slots=True)
class Modification:
    """One ModifyVolume: what was asked of a volume, and when each of its states ends."""

    started: datetime
    modified: datetime
    completed: datetime
    original: Shape
    target: Shape
    failure: str = ""
    applied: bool = False

    def state(self, now: datetime) -> str:
        """modifying, optimizing, completed or failed."""
        if now < self.modified:
            return "modifying"
        if self.failure:
            return "failed"
        return "optimizing" if now < self.completed else "completed"


@dataclass(slots=True)
class Volume:
    """An EBS volume. ``attachments`` are all it ever had: also the record of who could write to it, and when."""

    kind: ClassVar[str] = "volume"

    id: str
    created: datetime
    ready: datetime
    zone: str
    size: int
    type: str
    iops: int | None = None
    throughput: int | None = None
    encrypted: bool = False
    kms_key_id: str | None = None
    snapshot_id: str = ""
    multi_attach: bool = False
    initialization_rate: int | None = None
    tags: Tags = field(default_factory=dict)
    failed: bool = False
    operator: str = ""
    product_codes: tuple[str, ...] = ()
    attachments: list[Attachment] = field(default_factory=list)
    modifications: list[Modification] = field(default_factory=list)
    parent: Frozen | None = None
    added: list[Mark] = field(default_factory=list)
    pending_snapshots: list[datetime] = field(default_factory=list)
    delete_asked: datetime | None = None
    deleted: datetime | None = None

    def state(self, now: datetime) -> str:
        """creating, available, in-use, deleting or error; "deleted" once nothing is shown any more."""
        if self.deleted is not None and self.delete_asked is not None and now >= self.delete_asked:
            return "deleting" if now < self.deleted else "deleted"
        if now < self.ready:
            return "creating"
        if self.failed:
            return "error"
        return "in-use" if any(one.shown(now) for one in self.attachments) else "available"

    def settle(self, now: datetime) -> None:
        """Take on what finished modifications made of it."""
        for one in self.modifications:
            if not one.applied and not one.failure and now >= one.modified:
                one.applied = True
                self.size, self.type = one.target["Size"], one.target["VolumeType"]
                self.iops, self.throughput = one.target["Iops"], one.target["Throughput"]
                self.multi_attach = one.target["MultiAttachEnabled"]

    def held(self, now: datetime) -> Iterator[Attachment]:
        """The attachments that EC2 shows now."""
        return (one for one in self.attachments if one.shown(now))

    def exists(self, now: datetime) -> bool:
        """Whether a read finds it."""
        return self.deleted is None or now < self.deleted


@dataclass(slots=True)
class Snapshot:
    """A snapshot: the content of a volume at the moment of its start."""

    kind: ClassVar[str] = "snapshot"

    id: str
    number: int
    owner: str
    volume_id: str
    volume_size: int
    created: datetime
    completes: datetime
    held: Frozen
    description: str = ""
    encrypted: bool = False
    kms_key_id: str | None = None
    tags: Tags = field(default_factory=dict)
    failure: str = ""
    product_codes: tuple[str, ...] = ()
    shared_with: set[str] = field(default_factory=set)
    copied: bool = False
    completion_minutes: int | None = None
    storage_tier: str = "standard"

    def state(self, now: datetime) -> str:
        """pending, completed or error."""
        if now < self.completes:
            return "pending"
        return "error" if self.failure else "completed"

    def progress(self, now: datetime) -> str:
        """A percentage, as DescribeSnapshots shows it."""
        if now >= self.completes:
            return "0%" if self.failure else "100%"
        whole = (self.completes - self.created).total_seconds() or 1.0
        return f"{min(99, int(100 * (now - self.created).total_seconds() / whole))}%"


@dataclass(slots=True)
class Image:
    """An AMI, with the block device mappings it was given. ``mappings`` are boto3-shaped BlockDeviceMapping rows."""

    kind: ClassVar[str] = "image"

    id: str
    name: str
    owner: str
    created: datetime
    ready: datetime
    mappings: list[Shape]
    root_device_name: str
    architecture: str = "i386"
    virtualization: str = "paravirtual"
    root_device_type: str = "ebs"
    description: str = ""
    location: str = ""
    platform: str = ""
    platform_details: str = "Linux/UNIX"
    usage_operation: str = "RunInstances"
    product_codes: tuple[str, ...] = ()
    facts: Shape = field(default_factory=dict)
    uefi_data: str = ""
    tags: Tags = field(default_factory=dict)
    failure: str = ""
    snapshots_made: datetime | None = None
    source_instance_id: str = ""
    source_image_id: str = ""
    source_image_region: str = ""
    launch_permissions: list[Shape] = field(default_factory=list)
    deprecated: datetime | None = None
    protection: str = "disabled"
    protection_ends: datetime | None = None
    disabled: bool = False
    deregistered: datetime | None = None
    last_launched: datetime | None = None
    unhealthy: bool = False
    launch_failure: tuple[str, str] | None = None

    def state(self, now: datetime) -> str:
        """pending, available, failed, disabled or deregistered."""
        if self.deregistered is not None:
            return "deregistered"
        if now < self.ready:
            return "pending"
        if self.failure:
            return "failed"
        return "disabled" if self.disabled else "available"

    @property
    def public(self) -> bool:
        """Whether everybody may launch it."""
        return any(one.get("Group") == "all" for one in self.launch_permissions)

    def snapshot_ids(self) -> Iterator[str]:
        """The snapshots that its mappings name, data devices too."""
        for mapping in self.mappings:
            snapshot_id = mapping.get("Ebs", {}).get("SnapshotId")
            if snapshot_id:
                yield snapshot_id


@dataclass(slots=True)
class Power:
    """One change of an instance's power: what it shall become, since when, when it is that, what it is called
    meanwhile.
    """

    state: str
    asked: datetime
    done: datetime
    meanwhile: str
    reason: Shape | None = None
    transition_reason: str = ""


@dataclass(slots=True)
class Instance:
    """An instance. The network belongs to moto's instance of the same id; everything else is kept here.

    ``facts`` are rows of the answer of DescribeInstances that are shown as they are (MetadataOptions, CpuOptions, ...),
    ``attributes`` what only DescribeInstanceAttribute shows.
    """

    kind: ClassVar[str] = "instance"

    id: str
    created: datetime
    reservation_id: str
    owner: str
    image_id: str
    type: str
    zone: str
    root_device_name: str
    launch_index: int = 0
    platform: str = ""
    product_codes: tuple[str, ...] = ()
    facts: Shape = field(default_factory=dict)
    attributes: Shape = field(default_factory=dict)
    tags: Tags = field(default_factory=dict)
    power: list[Power] = field(default_factory=list)
    pauses: list[tuple[datetime, datetime]] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    user_data: str = ""
    operator: str = ""
    unhealthy: bool = False
    spot: Shape = field(default_factory=dict)
    checked: datetime | None = None
    gone: datetime | None = None

    def state(self, now: datetime) -> str:
        """pending, running, stopping, stopped, shutting-down or terminated."""
        last = self.power[-1]
        return last.meanwhile if now < last.done else last.state

    @property
    def launched(self) -> datetime:
        """LaunchTime: it moves at each start."""
        for power in reversed(self.power):
            if power.state == "running":
                return power.asked
        return self.created

    def exists(self, now: datetime) -> bool:
        """Whether a read finds it: a terminated instance is gone some time after its end."""
        return self.gone is None or now < self.gone

    def running(self) -> Iterator[tuple[datetime, datetime | None]]:
        """The spans in which it ran, reboots left out; the last one is open (None) while it runs.

        It still runs while it is ``stopping``: what it writes then is written. So a snapshot taken before ``stopped``
        can lose writes, as on EC2.
        """
        for index, power in enumerate(self.power):
            if power.state != "running":
                continue
            after = self.power[index + 1] if index + 1 < len(self.power) else None
            start, end = power.done, after.done if after else None
            if after is not None and after.asked < power.done:
                continue  # ended while it was still pending: it never wrote
            for pause_start, pause_end in self.pauses:
                if pause_start >= start and (end is None or pause_start < end):
                    yield start, pause_start
                    start = pause_end if end is None else min(pause_end, end)
            if end is None or start < end:
                yield start, end


class Region:
    """One account in one region. Resources stand in the order in which they were made."""

    def __init__(self, world: World, account: str, name: str) -> None:
        self.world = world
        self.account = account
        self.name = name
        self.volumes: dict[str, Volume] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self.images: dict[str, Image] = {}
        self.instances: dict[str, Instance] = {}
        self.encryption_by_default = False
        self.default_kms_key_id: str | None = None
        self.last_snapshot_of: dict[str, datetime] = {}
        """By volume id: when its latest CreateSnapshot was accepted, for the rate per volume."""
        self.zones: dict[str, str] = {}
        """Zone id by zone name, once somebody asked."""
        self._number = 0

    def next_number(self) -> int:
        """A number that only grows: the order of snapshots."""
        self._number += 1
        return self._number

    def moment(self, name: str, start: datetime) -> datetime:
        """``start`` plus the configured duration of that name."""
        return start + timedelta(seconds=self.world.config.duration(name))

    def resource(self, resource_id: str) -> Volume | Snapshot | Image | Instance | None:
        """What carries the tags of this id, or None if nothing of ours has it (any more)."""
        now = self.world.clock.now()
        if (volume := self.volumes.get(resource_id)) is not None:
            return volume if volume.exists(now) else None
        if (snapshot := self.snapshots.get(resource_id)) is not None:
            return snapshot
        if (image := self.images.get(resource_id)) is not None:
            return None if image.deregistered else image
        if (instance := self.instances.get(resource_id)) is not None:
            return instance if instance.exists(now) else None
        return None

    def resources(self) -> Iterator[Volume | Snapshot | Image | Instance]:
        """All that exists now and can carry tags."""
        now = self.world.clock.now()
        yield from (one for one in self.volumes.values() if one.exists(now))
        yield from self.snapshots.values()
        yield from (one for one in self.images.values() if not one.deregistered)
        yield from (one for one in self.instances.values() if one.exists(now))

    def volume(self, volume_id: str) -> Volume:
        """The volume with this id. Raises InvalidParameterValue for what is no id, InvalidVolume.NotFound."""
        if not is_id("vol", volume_id):
            raise not_an_id(volume_id, "volumeId", "vol-...")
        found = self.volumes.get(volume_id)
        if found is None or not found.exists(self.world.clock.now()):
            raise Ec2Error("InvalidVolume.NotFound", f"The volume '{volume_id}' does not exist.")
        found.settle(self.world.clock.now())
        return found

    def snapshot(self, snapshot_id: str) -> Snapshot:
        """The account's snapshot with this id. Raises InvalidParameterValue or InvalidSnapshot.NotFound."""
        if not is_id("snap", snapshot_id):
            raise not_an_id(snapshot_id, "snapshotId", "snap-...")
        found = self.snapshots.get(snapshot_id)
        if found is None:
            raise Ec2Error("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")
        return found

    def image(self, image_id: str) -> Image:
        """The account's registered image. Raises InvalidAMIID.Malformed, .NotFound or, deregistered, .Unavailable."""
        if not is_id("ami", image_id):
            raise Ec2Error("InvalidAMIID.Malformed", f'Invalid id: "{image_id}" (expecting "ami-...")')
        found = self.images.get(image_id)
        if found is None:
            raise Ec2Error("InvalidAMIID.NotFound", f"The image id '[{image_id}]' does not exist")
        if found.deregistered:
            raise Ec2Error("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is no longer available")
        return found

    def instance_list(self, instance_ids: list[str]) -> list[Instance]:
        """The instances with these ids, in their order. Raises InvalidInstanceID.Malformed or .NotFound, naming all."""
        for instance_id in instance_ids:
            if not is_id("i", instance_id):
                raise Ec2Error("InvalidInstanceID.Malformed", f'Invalid id: "{instance_id}" (expecting "i-...")')
        now = self.world.clock.now()
        found = {one: self.instances.get(one) for one in dict.fromkeys(instance_ids)}
        lost = [one for one, instance in found.items() if instance is None or not instance.exists(now)]
        if len(lost) == 1:
            raise Ec2Error("InvalidInstanceID.NotFound", f"The instance ID '{lost[0]}' does not exist")
        if lost:
            raise Ec2Error("InvalidInstanceID.NotFound", f"The instance IDs '{', '.join(lost)}' do not exist")
        return [instance for instance in found.values() if instance is not None]

    def devices(self, instance: Instance, now: datetime) -> list[tuple[Volume, Attachment]]:
        """What is attached to the instance now: the root first, then by device name."""
        found = []
        for volume_id in dict.fromkeys(instance.volumes):
            volume = self.volumes[volume_id]
            found += [(volume, one) for one in volume.held(now) if one.instance_id == instance.id]
        return sorted(found, key=lambda pair: (pair[1].device != instance.root_device_name, pair[1].device))

    def images_using(self, snapshot_id: str) -> list[Image]:
        """The registered images, disabled and pending ones too, one of whose devices is this snapshot."""
        return [one for one in self.images.values() if not one.deregistered and snapshot_id in set(one.snapshot_ids())]
