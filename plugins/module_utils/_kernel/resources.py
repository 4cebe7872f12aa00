# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""EC2's resources as the planners see them: frozen, typed, and the same in EC2's answers and a plan's predictions.

Every class has a *view*, a flat dictionary that fits into JSON. Modules return views, and a plan's ``before`` and
``after`` hold them. `from_view` reads them back when a check run adds the plans of earlier tasks to EC2's answers.

Private to this collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, TypeAlias

from .ids import kind_of
from .places import HERE, Place
from .times import format_moment, parse_moment


@dataclass(frozen=True)
class BlockDevice:
    """One volume of an instance, as DescribeInstances shows it."""

    device_name: str
    volume_id: str
    delete_on_termination: bool = False
    status: str = "attached"


_FAILED_STARTS = frozenset({"Client.InternalError", "Client.InvalidSnapshot.NotFound", "Client.VolumeLimitExceeded"})
"""EC2's StateReason codes of a failed start, beside ``Server.…``. A requested stop has other codes."""


@dataclass(frozen=True)
class Instance:
    """An instance. ``facts`` is EC2's whole answer (boto3's Instance), for a relaunch; the view leaves it out."""

    kind: ClassVar[str] = "instance"
    instance_id: str
    state: str = "running"
    image_id: str = ""
    instance_type: str = ""
    launch_time: datetime | None = None
    availability_zone: str = ""
    root_device_name: str = ""
    root_device_type: str = "ebs"
    block_devices: tuple[BlockDevice, ...] = ()
    public_ip_address: str | None = None
    elastic_ip: bool = False
    private_ip_address: str | None = None
    platform_details: str = "Linux/UNIX"
    usage_operation: str = "RunInstances"
    product_codes: tuple[str, ...] = ()
    lifecycle: str | None = None
    spot_request_id: str | None = None
    operator: str | None = None
    state_reason: str | None = None
    owner_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def resource_id(self) -> str:
        """The id in a state."""
        return self.instance_id

    @property
    def alive(self) -> bool:
        """The instance is not terminating. EC2 shows a terminated instance for about an hour."""
        return self.state not in ("shutting-down", "terminated")

    @property
    def start_failed(self) -> bool:
        """EC2 accepted the last start or launch, but the instance did not run. ``state_reason`` has the reason.

        LaunchTime has changed nevertheless. (EC2 user guide, "Instance launch issues", and StateReason.)
        """
        code = (self.state_reason or "").partition(":")[0]
        return self.state not in ("pending", "running") and (code in _FAILED_STARTS or code.startswith("Server."))

    @property
    def interfaces(self) -> tuple[Mapping[str, Any], ...]:
        """The network interfaces in EC2's form, in the order of their network cards and device indexes."""
        found = self.facts.get("NetworkInterfaces") or ()
        return tuple(sorted(found, key=place_of))

    @property
    def primary_interface_id(self) -> str | None:
        """The interface at device index 0, or None if EC2 shows none."""
        first = next(iter(self.interfaces), {})
        return first.get("NetworkInterfaceId") if place_of(first) == (0, 0) else None

    @property
    def has_elastic_ip(self) -> bool:
        """One of the interfaces has an Elastic IP. ``elastic_ip`` is about the primary one only."""
        owners = [(one.get("Association") or {}).get("IpOwnerId") for one in self.interfaces]
        return self.elastic_ip or any(owner not in (None, "amazon") for owner in owners)

    @property
    def root_volume_id(self) -> str | None:
        """The volume at the root device's name, or None."""
        return next(
            (device.volume_id for device in self.block_devices if device.device_name == self.root_device_name), None
        )

    @property
    def doomed_volume_ids(self) -> tuple[str, ...]:
        """The volumes that EC2 deletes with the instance, in the order of its devices."""
        return tuple(device.volume_id for device in self.block_devices if device.delete_on_termination)


def place_of(interface: Mapping[str, Any]) -> tuple[int, int]:
    """Return the network card and the device index of an interface in EC2's form."""
    link = interface.get("Attachment") or {}
    return link.get("NetworkCardIndex") or 0, link.get("DeviceIndex") or 0


@dataclass(frozen=True)
class ImageDevice:
    """One entry of an image's block device mapping. A ``virtual_name`` means an instance store volume."""

    device_name: str
    snapshot_id: str | None = None
    size: int | None = None
    volume_type: str | None = None
    iops: int | None = None
    throughput: int | None = None
    delete_on_termination: bool | None = None
    encrypted: bool | None = None
    virtual_name: str | None = None


@dataclass(frozen=True)
class Image:
    """An AMI. ``facts`` is EC2's whole answer (boto3's Image); the view leaves it out. ``place``: see `state.Query`."""

    kind: ClassVar[str] = "image"
    image_id: str
    name: str = ""
    state: str = "available"
    owner_id: str | None = None
    architecture: str | None = None
    root_device_name: str | None = None
    root_device_type: str = "ebs"
    virtualization_type: str | None = None
    boot_mode: str | None = None
    ena_support: bool | None = None
    sriov_net_support: str | None = None
    tpm_support: str | None = None
    imds_support: str | None = None
    kernel_id: str | None = None
    ramdisk_id: str | None = None
    platform_details: str | None = None
    usage_operation: str | None = None
    product_codes: tuple[str, ...] = ()
    block_devices: tuple[ImageDevice, ...] = ()
    state_reason: str | None = None
    creation_date: str | None = None
    place: Place = HERE
    tags: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def resource_id(self) -> str:
        """The id in a state."""
        return self.image_id

    @property
    def snapshot_ids(self) -> tuple[str, ...]:
        """The snapshots of its devices."""
        return tuple(device.snapshot_id for device in self.block_devices if device.snapshot_id)

    @property
    def is_copy(self) -> bool:
        """CopyImage made the image. CreateImage also records a source image, but with a source instance."""
        return bool(self.facts.get("SourceImageId")) and not self.facts.get("SourceInstanceId")


@dataclass(frozen=True)
class Snapshot:
    """A snapshot. The ``volume_id`` of a copy is arbitrary. ``place``: see `state.Query`.

    ``written_bytes``: the size of all blocks that were written to the volume, also of those that older snapshots store.
    None if EC2 does not show it. It has no part in the `view`, since no plan depends on it.
    """

    kind: ClassVar[str] = "snapshot"
    snapshot_id: str
    state: str = "completed"
    volume_id: str = ""
    volume_size: int = 0
    start_time: datetime | None = None
    encrypted: bool = False
    kms_key_id: str | None = None
    owner_id: str | None = None
    progress: str | None = None
    storage_tier: str | None = None
    state_reason: str | None = None
    description: str = ""
    place: Place = HERE
    tags: Mapping[str, str] = field(default_factory=dict)
    written_bytes: int | None = field(default=None, compare=False, repr=False)

    @property
    def resource_id(self) -> str:
        """The id in a state."""
        return self.snapshot_id


@dataclass(frozen=True)
class VolumeAttachment:
    """An attachment of a volume, as DescribeVolumes shows it."""

    instance_id: str
    device_name: str
    state: str = "attached"
    delete_on_termination: bool = False

    @property
    def leaving(self) -> bool:
        """DetachVolume was called. ``busy`` ends when the file system is unmounted, or the instance stops."""
        return self.state in ("detaching", "busy")


@dataclass(frozen=True)
class Volume:
    """An EBS volume. ``operator``: the AWS service that manages the volume and alone may change it.

    ``outpost_arn``: the Outpost of the volume. ``source_volume_id``: the volume that CopyVolumes has copied. It has no
    part in the `view`, since no plan depends on it.
    """

    kind: ClassVar[str] = "volume"
    volume_id: str
    state: str = "in-use"
    size: int = 0
    volume_type: str = "gp3"
    iops: int | None = None
    throughput: int | None = None
    encrypted: bool = False
    kms_key_id: str | None = None
    availability_zone: str = ""
    snapshot_id: str | None = None
    multi_attach_enabled: bool = False
    attachments: tuple[VolumeAttachment, ...] = ()
    create_time: datetime | None = None
    operator: str | None = None
    outpost_arn: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    source_volume_id: str | None = field(default=None, compare=False, repr=False)

    @property
    def resource_id(self) -> str:
        """The id in a state."""
        return self.volume_id

    @property
    def alive(self) -> bool:
        """The volume is usable, or soon will be. EC2 is not deleting it, and did not fail to create it."""
        return self.state not in ("deleting", "deleted", "error")


@dataclass(frozen=True)
class Fact:
    """An answer that is no resource: an attribute of an instance, the members of a group, the users of an image.

    ``name`` and the type of ``value`` are those of a kind in `facts` or `storage_facts`, which makes and reads the
    fact. ``subject``: the subject of the fact, or empty for a place as a whole. A tuple has the values of several
    entries or pages of an answer about the subject.
    """

    kind: ClassVar[str] = "fact"
    name: str
    subject: str = ""
    value: Any = None

    @property
    def resource_id(self) -> str:
        """The id in a state, such as ``i-0abc/userData``."""
        return f"{self.subject}/{self.name}" if self.subject else self.name


Resource: TypeAlias = "Instance | Image | Snapshot | Volume | Fact"


def subject_of(resource: Resource) -> str:
    """Return the id of a resource, or the subject of a fact."""
    return resource.subject if isinstance(resource, Fact) else resource.resource_id


_CLASSES: Mapping[str, type[Any]] = {cls.kind: cls for cls in (Instance, Image, Snapshot, Volume)}
_NESTED: Mapping[tuple[str, str], type[Any]] = {
    ("instance", "block_devices"): BlockDevice,
    ("image", "block_devices"): ImageDevice,
    ("volume", "attachments"): VolumeAttachment,
}


def view(resource: Resource) -> dict[str, Any]:
    """Return the resource as plain data: lists and dictionaries, moments as ``2026-11-23T19:00:00Z``, no ``facts``.

    The view of an image has its place only for a copy in another place.
    """
    plain: dict[str, Any] = {}
    for item in dataclasses.fields(resource):
        if item.name in ("facts", "written_bytes", "source_volume_id") or (
            item.name == "place" and isinstance(resource, Image) and not resource.place
        ):
            continue
        value = getattr(resource, item.name)
        if isinstance(value, datetime):
            value = format_moment(value)
        elif isinstance(value, tuple):
            value = [dataclasses.asdict(part) if dataclasses.is_dataclass(part) else part for part in value]  # type: ignore[arg-type]
        elif isinstance(value, Mapping):
            value = dict(value)
        elif isinstance(value, Place):
            value = str(value)
        plain[item.name] = value
    return plain


def from_view(kind: str, fields: Mapping[str, Any], base: Resource | None = None) -> Resource:
    """Return the resource whose view has *fields*. Other fields come from *base*, or are the class's defaults.

    Unknown names are ignored, so that a plan of a later version still works. ``attributes`` of an image are entries of
    its ``facts``, in EC2's own form.
    """
    cls = _CLASSES[kind]
    known = {item.name: item for item in dataclasses.fields(cls)}
    values: dict[str, Any] = {}
    if kind == Image.kind and fields.get("attributes"):
        values["facts"] = {**getattr(base, "facts", {}), **fields["attributes"]}
    for name, value in fields.items():
        if name not in known or name == "facts":
            continue
        nested = _NESTED.get((kind, name))
        if nested is not None:
            value = tuple(nested(**part) for part in value)
        elif isinstance(value, list):
            value = tuple(value)
        elif name.endswith("_time") and isinstance(value, str):
            value = parse_moment(value)
        elif name == "place":
            value = Place.parse(value)
        values[name] = value
    made: Resource = cls(**values) if base is None else dataclasses.replace(base, **values)
    return made


def facts_in(resource_id: str, fields: Mapping[str, Any]) -> Iterator[Fact]:
    """Yield the facts about a resource in its view: ``facts`` has the values by the names of their kinds."""
    for name, value in (fields.get("facts") or {}).items():
        yield Fact(name, resource_id, tuple(value) if isinstance(value, list) else value)


def new_from_view(resource_id: str, fields: Mapping[str, Any]) -> Resource | None:
    """Return a planned resource from its ``after``. Return None for kinds that planners do not use."""
    kind = kind_of(resource_id)
    if kind is None or kind not in _CLASSES:
        return None
    return from_view(kind, {**fields, f"{kind}_id": resource_id})
