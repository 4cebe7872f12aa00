# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The resources of one account and region: volumes, snapshots, images and instances.

Plain containers. Every state is *derived* from moments that were fixed when the resource was made or changed, never set
by a timer: ``snapshot.state(now)`` is "pending" before ``completes`` and the wanted end afterwards. So moving the clock
is enough to see any state, and nothing runs in the background.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from .engine import declare_durations, declare_option
from .errors import Ec2Error

if TYPE_CHECKING:
    from .engine import World
    from .interfaces import InterfaceLink
    from .root_tasks import RootTask

Shape = dict[str, Any]
"""A value in the shape in which boto3 takes or gives it."""

Tags = dict[str, str]

DURATIONS: dict[str, float] = {
    "volume_creating": 0.4,
    "volume_attaching": 0.3,
    "volume_detaching": 0.3,
    "volume_busy": 3600.0,
    "volume_deleting": 0.2,
    "volume_modifying": 0.5,
    "volume_optimizing": 1.0,
    "snapshot_pending": 1.0,
    "snapshot_copying": 1.0,
    "snapshot_rate_window": 0.0,
    "snapshot_archiving": 1.0,
    "snapshot_restoring": 1.0,
    "fast_restore_enabling": 0.3,
    "fast_restore_optimizing": 1.0,
    "fast_restore_disabling": 0.3,
    "fast_restore_gone": 3600.0,
    "image_registering": 0.3,
    "image_snapshots": 0.3,
    "image_pending": 0.5,
    "image_copying": 1.0,
    "image_usage_report": 0.5,
    "launch_shown": 86400.0,
    "instance_pending": 1.0,
    "instance_stopping": 1.0,
    "instance_shutting_down": 1.0,
    "instance_rebooting": 1.0,
    "instance_end_shown": 0.0,
    "instance_gone": 3600.0,
    "status_ok": 1.0,
    "write_tick": 1.0,
}
"""Seconds of sandbox time, by name; a test may change each one. ``snapshot_rate_window`` is the least time between two
CreateSnapshot calls for one volume (0: no limit, EC2 documents 15); ``write_tick`` the time between two writes of a
running instance; ``instance_end_shown`` how long DescribeInstances goes on telling the state of before
TerminateInstances (EC2: up to a second); ``instance_gone`` how long a terminated instance is still shown (EC2: about an
hour), and ``fast_restore_gone`` how long a fast restore that is disabled; ``volume_busy`` how long a disk stays mounted
of which a fault of kind ``end`` on DetachVolume says that it is; ``launch_shown`` the time until LastLaunchedTime tells
a launch (user guide: 24 hours)."""

declare_durations(**DURATIONS)

SOURCE_NOT_FOUND = "Source snapshot is not found"
"""The StateMessage of a copy whose source cannot be read."""

LIFECYCLE_TRANSITION = "Client.UserInitiated - Lifecycle state transition"
"""The StateTransitionReason of fast snapshot restore in all states that nobody asked for by name."""

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
    """One write: its time, its text ("tick", or a test's own), and its writer (an instance id, or "")."""

    time: datetime
    text: str
    writer: str = ""


@dataclass(slots=True)
class Frozen:
    """The content of a snapshot: the marks of ``volume`` at ``moment``. None as volume is a snapshot of nothing (bulk
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
    mounted_until: datetime | None = None
    """The end of a detachment that was asked for while the file system was mounted."""

    def state(self, now: datetime) -> str:
        """EC2's VolumeAttachmentState; "detached" once it is over."""
        if self.detach_asked is not None and self.detached is not None and now >= self.detach_asked:
            if self.mounted_until is not None and now < self.mounted_until:
                return "busy"
            return "detaching" if now < self.detached else "detached"
        return "attaching" if now < self.attached else "attached"

    def device_state(self, now: datetime) -> str:
        """As block device mappings of instances show it: they know no "busy"."""
        state = self.state(now)
        return "detaching" if state == "busy" else state

    def shown(self, now: datetime) -> bool:
        """Whether EC2 lists it now."""
        return self.asked <= now and (self.detached is None or now < self.detached)

    def end(self, asked: datetime, done: datetime) -> None:
        """Detach the volume: requested at one moment, done at another."""
        self.detach_asked, self.detached, self.mounted_until = asked, done, None

    def end_mounted(self, asked: datetime, unmounted: datetime, done: datetime) -> None:
        """Detach a mounted disk: it is busy until it is unmounted, and is off some time after that."""
        self.end(asked, done)
        self.mounted_until = unmounted


@dataclass(slots=True)
class Modification:
    """One ModifyVolume: the requested values, and the end of each of its states."""

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
    """An EBS volume.

    ``attachments`` are all that the volume ever had: also the record of its writers and their times.
    """

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
    vanishes: bool = False
    """EBS cannot use its key: once it would be ready, there is no such volume."""
    outpost_arn: str = ""
    operator: str = ""
    product_codes: tuple[str, ...] = ()
    attachments: list[Attachment] = field(default_factory=list)
    modifications: list[Modification] = field(default_factory=list)
    parent: Frozen | None = None
    added: list[Mark] = field(default_factory=list)
    pending_snapshots: list[datetime] = field(default_factory=list)
    fast_restored: bool = False
    auto_enable_io: bool = False
    delete_asked: datetime | None = None
    deleted: datetime | None = None

    def state(self, now: datetime) -> str:
        """creating, available, in-use, deleting or error; "deleted" once nothing is shown any more."""
        if self.deleted is not None and self.delete_asked is not None and now >= self.delete_asked:
            return "deleting" if now < self.deleted else "deleted"
        if now < self.ready:
            return "creating"
        if self.vanishes:
            return "deleted"
        if self.failed:
            return "error"
        return "in-use" if any(one.shown(now) for one in self.attachments) else "available"

    def settle(self, now: datetime) -> None:
        """Take over the values of finished modifications."""
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
        if self.vanishes and now >= self.ready:
            return False
        return self.deleted is None or now < self.deleted


@dataclass(frozen=True, slots=True)
class Tiering:
    """A move between the storage tiers: "archival", "temporary-restore" (until ``expires``) or "permanent-restore"."""

    kind: str
    started: datetime
    done: datetime
    expires: datetime | None = None
    failure: str = ""

    def status(self, now: datetime) -> str:
        """EC2's TieringOperationStatus: archival-in-progress, temporary-restore-completed, ..."""
        if now < self.done:
            return f"{self.kind}-in-progress"
        return f"{self.kind}-failed" if self.failure else f"{self.kind}-completed"

    def succeeded(self, now: datetime) -> bool:
        """Whether it is over and successful."""
        return now >= self.done and not self.failure

    def progress(self, now: datetime) -> int:
        """Percent."""
        if now >= self.done:
            return 0 if self.failure else 100
        whole = (self.done - self.started).total_seconds() or 1.0
        return min(99, int(100 * (now - self.started).total_seconds() / whole))


@dataclass(frozen=True, slots=True)
class Lock:
    """A lock on a snapshot. The ``days`` count from ``started``, which for a pending snapshot is its completion."""

    mode: str
    created: datetime
    started: datetime
    expires: datetime
    days: int | None = None
    cool_off: int | None = None
    cool_off_ends: datetime | None = None

    def state(self, now: datetime) -> str:
        """EC2's LockState: governance, compliance-cooloff, compliance or expired."""
        if now >= self.expires:
            return "expired"
        if self.mode == "compliance" and self.cool_off_ends is not None and now < self.cool_off_ends:
            return "compliance-cooloff"
        return self.mode


@dataclass(slots=True)
class Snapshot:
    """A snapshot: the content of a volume at the moment of its start.

    Of a copy: ``source_id`` is its source, ``lineage`` the volume of the first snapshot in the chain of copies,
    ``incremental`` whether it has only the changes since an earlier copy (EC2 tells this only in an event; inspect
    shows it). ``shared_until`` is set once an archival is under way, which ends all sharing when it is completed.
    ``foreign_tags`` are the tags that other accounts have given it, by account: each sees its own only.
    """

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
    shared_with: frozenset[str] = frozenset()
    shared_until: datetime | None = None
    copied: bool = False
    completion_minutes: int | None = None
    source_id: str = ""
    lineage: str = ""
    incremental: bool | None = None
    tierings: tuple[Tiering, ...] = ()
    lock: Lock | None = None
    delete_asked: datetime | None = None
    foreign_tags: dict[str, Tags] = field(default_factory=dict)

    def tags_of(self, account: str | None) -> Tags:
        """The tags that an account sees: its own. None is the owner."""
        return self.tags if account is None or account == self.owner else self.foreign_tags.get(account, {})

    @property
    def transfer_type(self) -> str:
        """EC2's TransferType; every snapshot has one."""
        return "time-based" if self.completion_minutes else "standard"

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

    def settled(self, now: datetime) -> Tiering | None:
        """The move that decides where it is now: the latest one that succeeded."""
        return next((one for one in reversed(self.tierings) if one.succeeded(now)), None)

    def tier(self, now: datetime) -> str:
        """EC2's StorageTier: "archive" means that it must be restored before it can be used."""
        last = self.settled(now) if self.tierings else None
        if last is None or last.kind == "permanent-restore":
            return "standard"
        return "standard" if last.expires is not None and now < last.expires else "archive"

    def restored_until(self, now: datetime) -> datetime | None:
        """When a temporary restore ends that lasts now."""
        last = self.settled(now) if self.tierings else None
        return last.expires if last is not None and last.expires is not None and now < last.expires else None

    def shared(self, now: datetime) -> frozenset[str]:
        """The accounts, and "all", with whom it is shared."""
        if self.shared_until is not None and now >= self.shared_until:
            return frozenset()
        return self.shared_with

    @property
    def origin(self) -> str:
        """The volume in which its lineage began."""
        return self.lineage or self.volume_id


@dataclass(slots=True)
class FastRestore:
    """Fast snapshot restore of one snapshot in one zone, for the account (``owner``) that enabled it."""

    tags: ClassVar[None] = None

    snapshot_id: str
    zone: str
    zone_id: str
    owner: str
    enabling: datetime
    optimizing: datetime
    enabled: datetime
    reason: str = "Client.UserInitiated"
    disabling: datetime | None = None
    disabled: datetime | None = None

    def state(self, now: datetime) -> str:
        """enabling, optimizing, enabled, disabling or disabled."""
        if self.disabling is not None and now >= self.disabling:
            return "disabled" if self.disabled is not None and now >= self.disabled else "disabling"
        if now < self.optimizing:
            return "enabling"
        return "optimizing" if now < self.enabled else "enabled"

    def end(self, asked: datetime, done: datetime, reason: str) -> None:
        """Disable it at a moment, perhaps in the future. An earlier end stays."""
        if self.disabling is None or asked < self.disabling:
            self.disabling, self.disabled, self.reason = asked, done, reason


@dataclass(slots=True)
class Binned:
    """A deleted snapshot or deregistered image in the Recycle Bin, until ``exits``."""

    resource: Snapshot | Image
    entered: datetime
    exits: datetime


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
    launches: list[datetime] = field(default_factory=list)
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

    def last_launched(self, now: datetime, late: timedelta) -> datetime | None:
        """The last launch that EC2 shows by now: one shows *late* afterwards (user guide: 24 hours)."""
        return max((moment for moment in self.launches if moment + late <= now), default=None)

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


@dataclass
class UsageReport:
    """The uses of an image by other accounts when the report was made: (account, type of resource, how many).

    ``types`` and ``accounts``: the scope of the request. No accounts stand for all.
    """

    id: str
    image_id: str
    created: datetime
    ready: datetime
    expires: datetime
    entries: tuple[tuple[str, str, int], ...] = ()
    tags: Tags = field(default_factory=dict)
    types: tuple[Shape, ...] = ()
    accounts: tuple[str, ...] = ()

    def state(self, now: datetime) -> str:
        """pending or available."""
        return "pending" if now < self.ready else "available"


@dataclass(slots=True)
class Power:
    """One change of an instance's power: the wanted state, the times of its request and its end, the state between."""

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
    replaced_images: list[tuple[datetime, str]] = field(default_factory=list)
    """The images of later root volumes, each with the moment from which EC2 shows it."""

    def image_at(self, now: datetime) -> str:
        """ImageId: that of the launch, or of the latest root volume."""
        return next((image for moment, image in reversed(self.replaced_images) if moment <= now), self.image_id)

    def latest(self, now: datetime) -> Power:
        """The change of power that counts at ``now``: a read of the past does not know later requests."""
        return next((one for one in reversed(self.power) if one.asked <= now), self.power[0])

    def state(self, now: datetime) -> str:
        """pending, running, stopping, stopped, shutting-down or terminated."""
        last = self.latest(now)
        return last.meanwhile if now < last.done else last.state

    @property
    def launched(self) -> datetime:
        """LaunchTime: it moves at each start, also at one that EC2 takes back."""
        for power in reversed(self.power):
            if power.meanwhile == "pending":
                return power.asked
        return self.created

    def exists(self, now: datetime) -> bool:
        """Whether a read finds it: a terminated instance is gone some time after its end."""
        return self.gone is None or now < self.gone

    def running(self) -> Iterator[tuple[datetime, datetime | None]]:
        """The spans in which it ran, reboots left out; the last one is open (None) while it runs.

        It still runs while it is ``stopping``, and still writes. So a snapshot taken before ``stopped``
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


_RULE = {"days", "resource_type", "account", "region", "tags", "exclude_tags"}


def _check_rules(rules: list[Any]) -> None:
    for rule in rules:
        unknown = set(rule) - _RULE
        if unknown:
            raise ValueError(f"a retention rule does not know {', '.join(sorted(unknown))}; it knows {sorted(_RULE)}")
        if not 1 <= float(rule.get("days") or 0) <= 365:
            raise ValueError(f"a retention rule is for 1 to 365 days, not {rule.get('days')}")
        if rule.get("resource_type", "snapshot") not in ("snapshot", "image"):
            raise ValueError(f"a retention rule is for a snapshot or an image, not {rule['resource_type']}")


declare_option("recycle_bin", [], _check_rules)
"""The retention rules of the Recycle Bin, see recycle_bin.py."""


def _retains(rule: Mapping[str, Any], region: Region, kind: str, tags: Tags) -> bool:
    """Whether a retention rule (see recycle_bin.py) is about a resource: a rule with ``tags`` asks for one of them."""
    if rule.get("resource_type", "snapshot") != kind or rule.get("account", region.account) != region.account:
        return False
    if not fnmatch.fnmatchcase(region.name, rule.get("region", "*")):
        return False
    wanted, excluded = rule.get("tags") or {}, rule.get("exclude_tags") or {}
    if any(tags.get(key) == value for key, value in excluded.items()):
        return False
    return not wanted or any(tags.get(key) == value for key, value in wanted.items())


class Region:
    """One account in one region. Resources stand in the order in which they were made."""

    def __init__(self, world: World, account: str, name: str) -> None:
        self.world = world
        self.account = account
        self.name = name
        self.volumes: dict[str, Volume] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._doomed: dict[str, Snapshot] = {}
        self.images: dict[str, Image] = {}
        self.recipes: list[tuple[str, str, str]] = []
        """Image Builder's, seeded: type of resource, id of the parent image, ARN."""
        self.usage_reports: dict[str, UsageReport] = {}
        self.instances: dict[str, Instance] = {}
        self.root_tasks: dict[str, RootTask] = {}
        self.interface_links: dict[str, InterfaceLink] = {}
        """By interface."""
        self.root_health: dict[str, bool] = {}
        """By former root volume: whether what boots from it fails its status checks."""
        self.encryption_by_default = False
        self.default_kms_key_id: str | None = None
        self.last_snapshot_of: dict[str, datetime] = {}
        """By volume id: when its latest CreateSnapshot was accepted, for the rate per volume."""
        self.copies: dict[str, list[Snapshot]] = {}
        """By the volume in which the lineage began: the copies that were made here, also those that are gone."""
        self._copying: list[Snapshot] = []
        self.fast_restores: dict[tuple[str, str], FastRestore] = {}
        """By snapshot id and zone: what this account has enabled."""
        self.block_public_access = "unblocked"
        self.bin: dict[str, Binned] = {}
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

    # --- snapshots ---

    @property
    def snapshots(self) -> dict[str, Snapshot]:
        """The account's existing snapshots: one that was deleted while pending disappears when it completes."""
        if self._doomed:
            now = self.world.clock.now()
            for one in [one for one in self._doomed.values() if now >= one.completes]:
                self._remove(one, one.completes)
        return self._snapshots

    def delete_snapshot(self, snapshot: Snapshot, now: datetime) -> None:
        """Delete a snapshot: at once, or when it completes if it is pending."""
        if now < snapshot.completes:
            snapshot.delete_asked = now
            self._doomed[snapshot.id] = snapshot
        else:
            self._remove(snapshot, now)

    def _remove(self, snapshot: Snapshot, moment: datetime) -> None:
        del self._snapshots[snapshot.id]
        self._doomed.pop(snapshot.id, None)
        snapshot.delete_asked = moment
        for other in self.world.regions():
            for copy in other.copying(moment):
                if copy.source_id == snapshot.id and not copy.failure:
                    copy.failure = SOURCE_NOT_FOUND
                    for image in other.images_using(copy.id):
                        image.failure = image.failure or SOURCE_NOT_FOUND
        for other in self.world.regions():
            if other.name == self.name:
                other.end_fast_restores(snapshot.id, moment)
        self.throw_away(snapshot, snapshot.tags, moment)

    def copying(self, now: datetime) -> list[Snapshot]:
        """The copies that are under way to this account and region."""
        self._copying = [one for one in self._copying if now < one.completes]
        return self._copying

    def add_copy(self, copy: Snapshot) -> None:
        """Enter a new copy: among the snapshots, and in the record of its lineage."""
        self._snapshots[copy.id] = copy
        self._copying.append(copy)
        if copy.lineage:
            self.copies.setdefault(copy.lineage, []).append(copy)

    def grants(self, snapshot: Snapshot, account: str, now: datetime) -> bool:
        """Whether another account may use a snapshot of this one: shared with it or, unless blocked, public."""
        shared = snapshot.shared(now) if snapshot.shared_with else frozenset()
        return account in shared or ("all" in shared and self.block_public_access != "block-all-sharing")

    # --- fast restore ---

    def end_fast_restores(self, snapshot_id: str, moment: datetime) -> None:
        """Disable fast restore of a snapshot, as EC2 does when the snapshot can no longer be used."""
        for one in self.fast_restores.values():
            if one.snapshot_id == snapshot_id:
                one.end(moment, self.moment("fast_restore_disabling", moment), LIFECYCLE_TRANSITION)

    def end_unshared_fast_restores(self, moment: datetime) -> None:
        """Disable the fast restores of other accounts on snapshots that they may no longer use."""
        for other in self.world.regions():
            if other.name == self.name and other.account != self.account:
                for snapshot_id in {one.snapshot_id for one in other.fast_restores.values()}:
                    snapshot = self._snapshots.get(snapshot_id)
                    if snapshot is not None and not self.grants(snapshot, other.account, moment):
                        other.end_fast_restores(snapshot_id, moment)

    def settle_fast_restores(self, now: datetime) -> None:
        """Disable fast restore of archived snapshots, also by the end of a temporary restore; forget old ends."""
        if not self.fast_restores:
            return
        for other in self.world.regions():
            present = other.snapshots if other.name == self.name else {}  # those deleted while pending are gone now
            for snapshot_id in {one.snapshot_id for one in self.fast_restores.values()}:
                snapshot = present.get(snapshot_id)
                last = snapshot.settled(now) if snapshot is not None and snapshot.tier(now) == "archive" else None
                if last is not None:
                    self.end_fast_restores(snapshot_id, last.expires or last.done)
        self.fast_restores = {
            key: one
            for key, one in self.fast_restores.items()
            if one.disabled is None or now < self.moment("fast_restore_gone", one.disabled)
        }

    # --- the Recycle Bin ---

    def throw_away(self, resource: Snapshot | Image, tags: Tags, moment: datetime) -> None:
        """Keep a deleted resource in the Recycle Bin, for the longest time of a matching retention rule."""
        days = [
            float(rule["days"])
            for rule in self.world.config.option("recycle_bin")
            if _retains(rule, self, resource.kind, tags)
        ]
        if days:
            self.bin[resource.id] = Binned(resource, moment, moment + timedelta(days=max(days)))

    def binned(self, now: datetime) -> dict[str, Binned]:
        """The resources in the Recycle Bin now."""
        _present = self.snapshots  # a resource that was deleted while pending enters when it completes
        self.bin = {key: one for key, one in self.bin.items() if now < one.exits}
        return self.bin

    def take_back(self, snapshot: Snapshot) -> None:
        """Put a snapshot back in its place among the others."""
        self._snapshots[snapshot.id] = snapshot
        snapshot.delete_asked = None
        self._snapshots = dict(sorted(self._snapshots.items(), key=lambda item: item[1].number))

    def resource(self, resource_id: str) -> Volume | Snapshot | Image | Instance | None:
        """The resource that has the tags of this id, or None without one (any more)."""
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
        """The volume with this id. Raises InvalidParameterValue for a malformed id, and InvalidVolume.NotFound."""
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
        """The attachments of the instance now: the root first, then by device name."""
        found = []
        for volume_id in dict.fromkeys(instance.volumes):
            volume = self.volumes[volume_id]
            found += [(volume, one) for one in volume.held(now) if one.instance_id == instance.id]
        return sorted(found, key=lambda pair: (pair[1].device != instance.root_device_name, pair[1].device))

    def images_using(self, snapshot_id: str) -> list[Image]:
        """The registered images, disabled and pending ones too, one of whose devices is this snapshot."""
        return [one for one in self.images.values() if not one.deregistered and snapshot_id in set(one.snapshot_ids())]
