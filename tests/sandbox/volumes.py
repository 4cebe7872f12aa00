# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""EBS volumes: their limits, their life, their attachments and their modifications."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from .engine import Ec2Error, Request, action
from .filters import matching
from .keys import key_arn, may_use
from .pages import paged
from .tags import tag_specifications
from .tokens import with_token
from .world import MODIFICATION_WINDOW, Attachment, Instance, Modification, Region, Shape, Snapshot, Volume, tag_list


@dataclass(frozen=True, slots=True)
class TypeLimits:
    """The limits of one volume type: GiB, IOPS (None: not settable), IOPS per GiB, MiB/s (None: not settable)."""

    size: tuple[int, int]
    iops: tuple[int, int] | None = None
    iops_per_gib: int = 0
    throughput: tuple[int, int] | None = None
    multi_attach: bool = False
    boot: bool = True


VOLUME_TYPES: Mapping[str, TypeLimits] = {
    "gp3": TypeLimits((1, 65536), (3000, 80000), 500, (125, 2000)),
    "gp2": TypeLimits((1, 16384)),
    "io1": TypeLimits((4, 16384), (100, 64000), 50, multi_attach=True),
    "io2": TypeLimits((4, 65536), (100, 256000), 1000, multi_attach=True),
    "st1": TypeLimits((125, 16384), boot=False),
    "sc1": TypeLimits((125, 16384), boot=False),
    "standard": TypeLimits((1, 1024)),
}
GP3_IOPS, GP3_THROUGHPUT = 3000, 125
GP3_LEAST_IOPS = 100
"""The IOPS that a request may name. EBS raises lower values to 3,000."""
GP3_THROUGHPUT_PER_IOPS = 0.25
GP2_SMALL, GP2_THROUGHPUT = 170, 250
"""A gp2 volume of more GiB than the first delivers the second, MiB/s; a smaller one about as much as gp3's least."""
MODIFICATIONS_PER_WINDOW = 4


def value_error(text: str) -> Ec2Error:
    """InvalidParameterValue."""
    return Ec2Error("InvalidParameterValue", text)


def combination_error(text: str) -> Ec2Error:
    """InvalidParameterCombination."""
    return Ec2Error("InvalidParameterCombination", text)


def checked_type(name: str | None) -> str:
    """A volume type in EC2's spelling: no type is gp2, case does not count. Raises UnknownVolumeType."""
    found = (name or "gp2").lower()
    if found not in VOLUME_TYPES:
        raise Ec2Error("UnknownVolumeType", f"Unsupported volume type '{name}' for volume creation.")
    return found


def checked_size(volume_type: str, size: int) -> None:
    """Raises InvalidParameterValue for a size (GiB) that the type does not have."""
    low, high = VOLUME_TYPES[volume_type].size
    if size < low:
        raise value_error(f"Volume of {size}GiB is too small for volume type {volume_type}; minimum is {low}GiB.")
    if size > high:
        raise value_error(f"Volume of {size}GiB is too large for volume type {volume_type}; maximum is {high}GiB.")


def performance(volume_type: str, size: int, iops: int | None, throughput: int | None) -> tuple[int | None, int | None]:
    """The IOPS and throughput (MiB/s) of a volume with the requested values.

    gp3 is normalised in silence (500 becomes 3,000, 0 MiB/s becomes 125), gp2 shows its baseline, the magnetic types
    show none. Raises InvalidParameterCombination or InvalidParameterValue for values that the type does not take.
    """
    for name, value in (("iops", iops), ("throughput", throughput)):
        if value is not None and value < 0:
            raise value_error(f"Value ({value}) for parameter {name} is invalid. Value must be a positive integer.")
    limits = VOLUME_TYPES[volume_type]
    if limits.iops is None:
        if iops is not None:
            raise combination_error(f"The parameter iops is not supported for {volume_type} volumes.")
    elif iops is None:
        if volume_type != "gp3":
            raise combination_error(f"The parameter iops must be specified for {volume_type} volumes.")
        iops = GP3_IOPS
    else:
        iops = _checked_iops(volume_type, limits, size, iops)
    if limits.throughput is None:
        if throughput is not None:
            raise combination_error(f"The throughput parameter is not supported for {volume_type} volumes.")
    else:
        throughput = _checked_throughput(throughput, iops or GP3_IOPS)
    if volume_type == "gp2":
        iops = min(16000, max(100, 3 * size))
    return iops, throughput


def _checked_iops(volume_type: str, limits: TypeLimits, size: int, iops: int) -> int:
    """Recorded of EC2 for a gp3 of 1 GiB: 0, 1, 501 and 2,999 are refused, 500 becomes 3,000, 3,000 is always taken."""
    low, high = limits.iops or (0, 0)
    if volume_type == "gp3":
        if iops == GP3_IOPS:
            return iops
        low = GP3_LEAST_IOPS
    if iops < low:
        raise value_error(f"Volume iops of {iops} is too low; minimum is {low}.")
    if iops > high:
        raise value_error(f"Volume iops of {iops} is too high; maximum is {high}.")
    if iops / size > limits.iops_per_gib:
        raise value_error(
            f"Iops to volume size ratio of {iops / size:.6f} is too high; maximum is {limits.iops_per_gib}"
        )
    return max(iops, GP3_IOPS) if volume_type == "gp3" else iops


def _checked_throughput(throughput: int | None, iops: int) -> int:
    if throughput is None or throughput < GP3_THROUGHPUT:
        return GP3_THROUGHPUT
    if throughput > 2000:
        raise value_error(f"Volume throughput of {throughput} is out of range; maximum is 2000.")
    if throughput / iops > GP3_THROUGHPUT_PER_IOPS:
        raise value_error(
            f"Throughput (MiBps) to iops ratio of {throughput / iops:.6f} is too high; "
            "maximum is 0.250000 MiBps per iops"
        )
    return throughput


def zone_names(request: Request) -> dict[str, str]:
    """Zone ids of the region by zone name."""
    region = request.home
    if not region.zones:
        answer = request.moto("DescribeAvailabilityZones", {})
        region.zones = {one["ZoneName"]: one["ZoneId"] for one in answer["AvailabilityZones"]}
    return region.zones


@dataclass(slots=True)
class Encryption:
    """How a new volume or snapshot is encrypted. ``broken``: the key cannot be used, so it fails later: a volume
    vanishes.
    """

    encrypted: bool
    key: str | None = None
    broken: bool = False


def encryption(
    request: Request, encrypted: bool | None, key: str | None, source: Snapshot | Volume | None
) -> Encryption:
    """The result of Encrypted, KmsKeyId, the source's own state and the account's default.

    A volume or copy from the account's own snapshot keeps its key. One from another account's snapshot gets the default
    key. The key of an encrypted source must be usable, too, since EBS decrypts its content.

    Raises InvalidParameterCombination for a key without encryption, and for Encrypted=false on an encrypted source.
    """
    inherited = source is not None and source.encrypted
    if key is not None and not encrypted and not inherited:
        raise combination_error("The parameter KmsKeyId requires the parameter Encrypted to be set.")
    if inherited and encrypted is False:
        raise combination_error("The parameter Encrypted cannot be false for a volume from an encrypted snapshot.")
    if not (inherited or encrypted or request.home.encryption_by_default):
        return Encryption(False)
    foreign = isinstance(source, Snapshot) and source.owner != request.account
    # Asynchronous, as recorded: the volume is made and vanishes, or the copy is, and ends in error.
    sealed_off = inherited and source is not None and not may_use(request, source.kms_key_id)
    if key is None and inherited and source is not None and not foreign:
        return Encryption(True, source.kms_key_id, broken=sealed_off)
    arn = key_arn(request, key)
    return Encryption(True, arn or key, broken=sealed_off or arn is None)


def readable_snapshot(request: Request, snapshot_id: str) -> Snapshot:
    """A snapshot of the account, or one that is shared with it.

    Raises InvalidParameterValue or InvalidSnapshot.NotFound. A snapshot that is not shown yet is not found either.
    """
    from .snapshots import accessible

    try:
        found = request.home.snapshot(snapshot_id)
    except Ec2Error:
        others = [one for one in accessible(request) if one.id == snapshot_id]
        if not others:
            raise
        found = others[0]
    if not request.visible(found):
        raise Ec2Error("InvalidSnapshot.NotFound", f"The snapshot '{snapshot_id}' does not exist.")
    return found


def completed_snapshot(request: Request, snapshot_id: str) -> Snapshot:
    """As `readable_snapshot`; raises IncorrectState unless it is completed and not archived."""
    found = readable_snapshot(request, snapshot_id)
    refuse_unusable(found, request.now)
    return found


def refuse_unusable(snapshot: Snapshot, now: datetime) -> None:
    """Raises IncorrectState for a snapshot from which nothing can be made now: it is not completed, or archived."""
    state = snapshot.state(now)
    if state == "completed" and snapshot.tierings and snapshot.tier(now) == "archive":
        # EC2's text for an archived snapshot is not recorded. This is its text for other states.
        state = "archived"
    if state != "completed":
        raise Ec2Error("IncorrectState", f"Snapshot is in invalid state - {state}")


@dataclass(slots=True)
class VolumeSpec:
    """A volume that has been checked and can be made."""

    size: int
    type: str
    iops: int | None
    throughput: int | None
    encryption: Encryption
    snapshot: Snapshot | None = None
    initialization_rate: int | None = None
    multi_attach: bool = False
    outpost_arn: str = ""


def make_volume(request: Request, spec: VolumeSpec, zone: str, tags: Mapping[str, str]) -> Volume:
    """A new volume of the account in its region, ``creating`` from now on."""
    region, now = request.home, request.now
    snapshot = spec.snapshot
    end = request.end_state() if request.action == "CreateVolume" else None
    region.settle_fast_restores(now)
    fast = region.fast_restores.get((snapshot.id, zone)) if snapshot else None
    volume = Volume(
        id=region.world.new_id("vol"),
        created=now,
        ready=region.moment("volume_creating", now),
        zone=zone,
        size=spec.size,
        type=spec.type,
        iops=spec.iops,
        throughput=spec.throughput,
        encrypted=spec.encryption.encrypted,
        kms_key_id=spec.encryption.key,
        snapshot_id=snapshot.id if snapshot else "",
        multi_attach=spec.multi_attach,
        initialization_rate=spec.initialization_rate,
        tags=dict(tags),
        failed=end is not None,
        vanishes=spec.encryption.broken,
        outpost_arn=spec.outpost_arn,
        product_codes=snapshot.product_codes if snapshot else (),
        parent=snapshot.held if snapshot else None,
        fast_restored=fast is not None and fast.state(now) == "enabled",
    )
    region.volumes[volume.id] = volume
    return volume


def checked_initialization_rate(rate: int | None, from_snapshot: bool) -> None:
    """Raises InvalidParameterValue or InvalidParameterCombination for a VolumeInitializationRate (MiB/s)."""
    if rate is None:
        return
    if not from_snapshot:
        raise combination_error("The parameter VolumeInitializationRate can only be used together with SnapshotId.")
    if not 100 <= rate <= 300:
        raise value_error("The value specified for VolumeInitializationRate is not in the allowed range.")


def _spec(request: Request) -> VolumeSpec:
    params = request.params
    size, snapshot_id = params.get("Size"), params.get("SnapshotId") or None
    if size is None and snapshot_id is None:
        raise Ec2Error("MissingParameter", "The request must contain the parameter size or snapshotId")
    volume_type = checked_type(params.get("VolumeType"))
    snapshot = completed_snapshot(request, snapshot_id) if snapshot_id else None
    # The API's text says "equal to or larger than the snapshot size". The recorded answer to a smaller size is a volume
    # of the snapshot's size, without a word.
    size = max(size or 0, snapshot.volume_size if snapshot else 0)
    checked_size(volume_type, size)
    checked_initialization_rate(params.get("VolumeInitializationRate"), snapshot is not None)
    iops, throughput = performance(volume_type, size, params.get("Iops"), params.get("Throughput"))
    sealed = encryption(request, params.get("Encrypted"), params.get("KmsKeyId"), snapshot)
    return VolumeSpec(
        size,
        volume_type,
        iops,
        throughput,
        sealed,
        snapshot,
        params.get("VolumeInitializationRate"),
        outpost_arn=params.get("OutpostArn") or "",
    )


def _zone(request: Request) -> str:
    name, zone_id = request.params.get("AvailabilityZone"), request.params.get("AvailabilityZoneId")
    if name and zone_id:
        raise combination_error("The parameters AvailabilityZone and AvailabilityZoneId cannot be used together")
    if not name and not zone_id:
        raise Ec2Error(
            "MissingParameter", "The request must contain the parameter AvailabilityZone or AvailabilityZoneId"
        )
    zones = zone_names(request)
    if name:
        if name not in zones:
            raise Ec2Error("InvalidZone.NotFound", f"The zone '{name}' does not exist.")
        return str(name)
    found = [zone for zone, known in zones.items() if known == zone_id]
    if not found:
        raise Ec2Error("InvalidZone.NotFound", f"The zone '{zone_id}' does not exist.")
    return found[0]


@action("CreateVolume", gate=True)
def create_volume(request: Request) -> Shape:
    """One volume. Sizes, types, IOPS and tags are checked before DryRun answers, MultiAttachEnabled after it."""

    def make() -> tuple[str, Shape]:
        spec = _spec(request)
        tags = tag_specifications(request, "volume")["volume"]
        zone = _zone(request)
        request.dry_run_gate()
        spec.multi_attach = bool(request.params.get("MultiAttachEnabled"))
        if spec.multi_attach and not VOLUME_TYPES[spec.type].multi_attach:
            raise combination_error(f"The parameter MultiAttachEnabled is not supported for {spec.type} volumes.")
        volume = make_volume(request, spec, zone, tags)
        return volume.id, _created_row(request, volume)

    def again(volume_id: str) -> Shape | None:
        volume = request.home.volumes[volume_id]
        return _created_row(request, volume) if volume.state(request.now) not in ("deleting", "deleted") else None

    if request.params.get("DryRun"):
        make()
    return with_token(request, make, again, same=_in_its_zone(request))


def _in_its_zone(request: Request) -> Shape:
    """The parameters as a client token compares them: a zone's name and its id are one."""
    params = dict(request.params)
    zone_id = params.pop("AvailabilityZoneId", None)
    if zone_id and not params.get("AvailabilityZone"):
        named = [name for name, known in zone_names(request).items() if known == zone_id]
        params["AvailabilityZone"] = named[0] if named else zone_id
    return params


def _created_row(request: Request, volume: Volume) -> Shape:
    """CreateVolume shows less than DescribeVolumes, and whole seconds."""
    row = volume_row(request, volume)
    for name in ("Attachments", "OwnerId", "VolumeArn", "Operator", "FastRestored"):
        row.pop(name)
    row["CreateTime"] = volume.created.replace(microsecond=0)
    return row


def volume_row(request: Request, volume: Volume) -> Shape:
    """A volume as DescribeVolumes shows it."""
    now = request.now
    volume.settle(now)
    return {
        "VolumeId": volume.id,
        "OwnerId": request.account,
        "VolumeArn": f"arn:aws:ec2:{request.region}:{request.account}:volume/{volume.id}",
        "Size": volume.size,
        "VolumeType": volume.type,
        "Iops": volume.iops,
        "Throughput": volume.throughput,
        "State": volume.state(now),
        "AvailabilityZone": volume.zone,
        "AvailabilityZoneId": zone_names(request).get(volume.zone),
        "CreateTime": volume.created,
        "Encrypted": volume.encrypted,
        "KmsKeyId": volume.kms_key_id if volume.encrypted else None,
        "SnapshotId": volume.snapshot_id,
        "MultiAttachEnabled": volume.multi_attach,
        "VolumeInitializationRate": volume.initialization_rate,
        "FastRestored": True if volume.fast_restored else None,
        "OutpostArn": volume.outpost_arn or None,
        "Operator": {"Managed": bool(volume.operator), "Principal": volume.operator or None},
        "Attachments": [attachment_row(volume, one, now) for one in volume.held(now)],
        "Tags": tag_list(volume.tags),
    }


def attachment_row(volume: Volume, attachment: Attachment, now: datetime) -> Shape:
    """An attachment as DescribeVolumes, AttachVolume and DetachVolume show it."""
    return {
        "VolumeId": volume.id,
        "InstanceId": attachment.instance_id,
        "Device": attachment.device,
        "State": attachment.state(now),
        "AttachTime": attachment.asked,
        "DeleteOnTermination": attachment.delete_on_termination,
        "EbsCardIndex": attachment.card,
    }


@action("DescribeVolumes")
def describe_volumes(request: Request) -> Shape:
    """The account's volumes, oldest first."""
    now, home = request.now, request.home
    wanted = request.params.get("VolumeIds")
    if wanted:
        rows = [home.volume(one) for one in dict.fromkeys(wanted)]
        hidden = [one.id for one in rows if not request.visible(one)]
        if hidden:
            raise Ec2Error("InvalidVolume.NotFound", f"The volume '{hidden[0]}' does not exist.")
    else:
        rows = [one for one in home.volumes.values() if one.exists(now) and request.visible(one)]
    for volume in rows:
        volume.settle(now)
    zones = zone_names(request)
    found = matching(
        request,
        rows,
        {
            "attachment.attach-time": lambda one: [each.asked for each in one.held(now)],
            "attachment.delete-on-termination": lambda one: [each.delete_on_termination for each in one.held(now)],
            "attachment.device": lambda one: [each.device for each in one.held(now)],
            "attachment.instance-id": lambda one: [each.instance_id for each in one.held(now)],
            "attachment.status": lambda one: [each.state(now) for each in one.held(now)],
            "availability-zone": lambda one: one.zone,
            "availability-zone-id": lambda one: zones.get(one.zone),
            "create-time": lambda one: one.created,
            "encrypted": lambda one: one.encrypted,
            "fast-restored": lambda one: one.fast_restored,
            "multi-attach-enabled": lambda one: one.multi_attach,
            "operator.managed": lambda one: bool(one.operator),
            "operator.principal": lambda one: one.operator or None,
            "size": lambda one: one.size,
            "snapshot-id": lambda one: one.snapshot_id or None,
            "status": lambda one: one.state(now),
            "volume-id": lambda one: one.id,
            "volume-type": lambda one: one.type,
        },
    )
    page, token = paged(request, found)
    return {"Volumes": [volume_row(request, one) for one in page], "NextToken": token}


@action("DeleteVolume")
def delete_volume(request: Request) -> Shape:
    """Delete a volume that nothing holds, also while it is ``creating``; it is ``deleting`` for a while."""
    volume, now = request.home.volume(request.params["VolumeId"]), request.now
    _refuse_managed(volume)
    state = volume.state(now)
    if state == "in-use":
        holders = ", ".join(one.instance_id for one in volume.held(now))
        raise Ec2Error("VolumeInUse", f"Volume {volume.id} is currently attached to {holders}")
    if state not in ("creating", "available", "error"):
        raise Ec2Error("IncorrectState", f"The volume '{volume.id}' is '{state}'")
    request.dry_run_gate()
    remove_volume(request.home, volume, now)
    return {}


def remove_volume(region: Region, volume: Volume, moment: datetime) -> None:
    """Delete a volume at a moment (which may be to come)."""
    volume.delete_asked = moment
    volume.deleted = region.moment("volume_deleting", moment)


def _refuse_managed(volume: Volume) -> None:
    if volume.operator:
        raise Ec2Error("UnsupportedOperationException", f"The volume '{volume.id}' is managed by {volume.operator}.")


# --- attachments ------------------------------------------------------------------------------------------------------

# The user guide's available names for each virtualization type. Those of two letters are refused after xvddx, and a
# root has a name of its own. The API's reference has them without /dev/ too.
_DEVICES: Mapping[str, re.Pattern[str]] = {
    "hvm": re.compile(r"(/dev/)?(sda1|sd[a-z]|xvd[a-z]|xvd[a-c][a-z]|xvdd[a-x])"),
    "paravirtual": re.compile(r"(/dev/)?([sh]d[a-z]([1-9]|1[0-5])?|xvd[a-z])"),
}
MOST_MULTI_ATTACHMENTS = 16


def checked_device(name: str, virtualization: str = "") -> str:
    """Raises InvalidParameterValue for a device name that EC2 does not accept for the virtualization type.

    Without a type, the name may fit any of them.
    """
    patterns = [_DEVICES[virtualization]] if virtualization in _DEVICES else list(_DEVICES.values())
    if not any(pattern.fullmatch(name) for pattern in patterns):
        raise value_error(f"Value ({name}) for parameter device is invalid. {name} is not a valid EBS device name.")
    return name


def ebs_limits(request: Request, instance_type: str) -> Shape:
    """EbsInfo of an instance type, and whether it is built on Nitro ("Nitro")."""
    answer = request.moto("DescribeInstanceTypes", {"InstanceTypes": [instance_type]})["InstanceTypes"]
    if not answer:
        return {"Nitro": True}
    return {**answer[0].get("EbsInfo", {}), "Nitro": answer[0].get("Hypervisor", "nitro") == "nitro"}


@action("AttachVolume")
def attach_volume(request: Request) -> Shape:
    """Attach a volume to a running or stopped instance of its zone."""
    home, now, params = request.home, request.now, request.params
    volume = home.volume(params["VolumeId"])
    (instance,) = home.instance_list([params["InstanceId"]])
    device = checked_device(params["Device"], str(instance.facts.get("VirtualizationType") or ""))
    _refuse_managed(volume)
    if instance.state(now) not in ("running", "stopped"):
        raise Ec2Error("IncorrectState", f"Instance '{instance.id}' is not 'running'.")
    if volume.zone != instance.zone:
        raise Ec2Error(
            "InvalidVolume.ZoneMismatch",
            f"The volume '{volume.id}' is not in the same availability zone as instance '{instance.id}'",
        )
    if volume.outpost_arn != (instance.facts.get("OutpostArn") or ""):
        raise Ec2Error(
            "InvalidVolume.ZoneMismatch",
            f"The volume '{volume.id}' is not on the same Outpost as instance '{instance.id}'",
        )
    limits = ebs_limits(request, instance.type)
    _check_free(volume, instance, limits, now)
    if any(one.device == device for _volume, one in home.devices(instance, now)):
        raise value_error(f"Invalid value '{device}' for unixDevice. Attachment point {device} is already in use")
    _check_attachment_limit(request, instance, limits)
    card = params.get("EbsCardIndex", 0)
    if card >= max(1, limits.get("MaximumEbsCards", 1)) or card < 0:
        raise value_error(f"Value ({card}) for parameter ebsCardIndex is invalid for instance type {instance.type}.")
    if volume.product_codes and instance.state(now) != "stopped":
        raise Ec2Error(
            "OperationNotPermitted", f"'{volume.id}' with Marketplace codes may only be attached to a stopped instance."
        )
    request.dry_run_gate()
    attachment = attach(home, volume, instance, device, now, delete_on_termination=False)
    attachment.card = card
    return attachment_row(volume, attachment, now)


def attach(
    region: Region, volume: Volume, instance: Instance, device: str, now: datetime, *, delete_on_termination: bool
) -> Attachment:
    """Put a volume on an instance: ``attaching`` from now on, and written to once it is attached."""
    done = region.moment("volume_attaching", max(now, volume.ready))
    attachment = Attachment(instance.id, device, now, done, delete_on_termination)
    volume.attachments.append(attachment)
    instance.volumes.append(volume.id)
    return attachment


def _check_free(volume: Volume, instance: Instance, limits: Shape, now: datetime) -> None:
    holders = [one.instance_id for one in volume.held(now)]
    state = volume.state(now)
    if state not in ("available", "in-use"):
        raise Ec2Error("IncorrectState", f"{volume.id} is not 'available'.")
    if holders and (not volume.multi_attach or instance.id in holders):
        raise Ec2Error("VolumeInUse", f"{volume.id} is already attached to an instance")
    if len(holders) >= MOST_MULTI_ATTACHMENTS:
        raise Ec2Error(
            "AttachmentLimitExceeded", f"Volume '{volume.id}' is attached to {len(holders)} instances already."
        )
    if volume.multi_attach and not limits["Nitro"]:
        raise Ec2Error(
            "UnsupportedOperation", f"The instance type {instance.type} does not support multi-attach volumes."
        )
    if volume.modifications and volume.modifications[-1].state(now) == "modifying":
        raise Ec2Error(
            "OperationNotPermitted", f"Cannot attach volume {volume.id} when it is in modification state: MODIFYING"
        )


def _interfaces(request: Request, instance: Instance) -> int:
    """How many network interfaces the instance has; moto knows them."""
    answer = request.moto("DescribeInstances", {"InstanceIds": [instance.id]})
    rows = [row for group in answer["Reservations"] for row in group["Instances"]]
    return len(rows[0].get("NetworkInterfaces") or ()) if rows else 0


def _check_attachment_limit(request: Request, instance: Instance, limits: Shape) -> None:
    most = limits.get("MaximumEbsAttachments")
    if most is None:
        return
    held = len(request.home.devices(instance, request.now))
    if limits.get("AttachmentLimitType") == "shared" and limits["Nitro"]:
        # The limit leaves out the first interface, and the NVMe disks; further interfaces count.
        held += max(0, _interfaces(request, instance) - 1)
    if held >= most:
        raise Ec2Error(
            "AttachmentLimitExceeded", f"Instance '{instance.id}' has reached its limit of {most} attachments."
        )


@action("DetachVolume")
def detach_volume(request: Request) -> Shape:
    """End an attachment; a root volume only of a stopped instance, a multi-attach volume only by its instance.

    A fault of kind ``end`` says that a file system on it is mounted: it is ``busy`` until it is unmounted
    (``volume_busy``), the instance is stopped, or the call is made again with Force.
    """
    home, now, params = request.home, request.now, request.params
    volume = home.volume(params["VolumeId"])
    _refuse_managed(volume)
    forced = bool(params.get("Force"))
    going = ("detaching",) if forced else ("detaching", "busy")
    held = [one for one in volume.held(now) if one.state(now) not in going]
    if not held:
        raise Ec2Error("IncorrectState", f"Volume '{volume.id}' is in the '{volume.state(now)}' state.")
    instance_id = params.get("InstanceId")
    if instance_id is None:
        if volume.multi_attach:
            raise Ec2Error("MissingParameter", "The request must contain the parameter instanceId")
        instance_id = held[0].instance_id
    (instance,) = home.instance_list([instance_id])
    found = [one for one in held if one.instance_id == instance_id and params.get("Device") in (None, "", one.device)]
    if not found:
        raise Ec2Error(
            "InvalidAttachment.NotFound",
            f"The volume '{volume.id}' is not attached to instance '{instance_id}'"
            + (f" as device '{params['Device']}'." if params.get("Device") else "."),
        )
    attachment = found[0]
    if attachment.device == instance.root_device_name and instance.state(now) not in ("stopped", "terminated"):
        raise Ec2Error(
            "OperationNotPermitted", f"Unable to detach root volume '{volume.id}' from instance '{instance.id}'"
        )
    request.dry_run_gate()
    done = home.moment("volume_detaching", now)
    if request.end_state() is not None and instance.state(now) == "running" and not forced:
        unmounted = home.moment("volume_busy", now)
        attachment.end_mounted(now, unmounted, home.moment("volume_detaching", unmounted))
    else:
        attachment.end(now, done)
    return attachment_row(volume, attachment, now)


def unmount_busy(region: Region, instance: Instance, moment: datetime) -> None:
    """An instance that is stopped at a moment lets go of the disks that were busy."""
    for _volume, one in region.devices(instance, moment):
        if one.detach_asked is not None and one.state(moment) == "busy":
            one.end_mounted(one.detach_asked, moment, region.moment("volume_detaching", moment))


# --- modifications ----------------------------------------------------------------------------------------------------


@action("ModifyVolume")
def modify_volume(request: Request) -> Shape:
    """Change a volume in place. DryRun answers before any of the checks, as recorded of EC2."""
    home, now, params = request.home, request.now, request.params
    volume = home.volume(params["VolumeId"])
    request.dry_run_gate()
    _refuse_managed(volume)
    if not any(name in params for name in ("Size", "VolumeType", "Iops", "Throughput", "MultiAttachEnabled")):
        raise value_error("Invalid input: Must specify at least one of size, type, iops, throughput or multi-attach.")
    if volume.state(now) not in ("available", "in-use"):
        raise Ec2Error("IncorrectState", f"The volume '{volume.id}' is '{volume.state(now)}'")
    target = _target(volume, params, now)
    _check_budget(volume, now)
    modified = home.moment("volume_modifying", now)
    end = request.end_state()
    modification = Modification(
        now,
        modified,
        home.moment("volume_optimizing", modified),
        _performance_row(volume),
        target,
        failure=(end.get("message") or "The modification failed.") if end else "",
    )
    volume.modifications.append(modification)
    return {"VolumeModification": _modification_row(volume, modification, now)}


def _performance_row(volume: Volume) -> Shape:
    return {
        "Size": volume.size,
        "VolumeType": volume.type,
        "Iops": volume.iops,
        "Throughput": volume.throughput,
        "MultiAttachEnabled": volume.multi_attach,
    }


def _target(volume: Volume, params: Mapping[str, Any], now: datetime) -> Shape:
    """The wanted state of the volume, normalised as EBS does. Raises for values that EBS refuses."""
    if volume.type == "io1" and volume.multi_attach:
        raise value_error(
            "io1 volumes with Multi-Attach enabled do not support modify-volume actions. Please review the EBS "
            "technical documentation for information on the Multi-Attach limitations and considerations."
        )
    size = params.get("Size", volume.size)
    if size < volume.size:
        raise value_error("New size cannot be smaller than existing size")
    volume_type = checked_type(params["VolumeType"]) if params.get("VolumeType") else volume.type
    same = volume_type == volume.type
    checked_size(volume_type, size)
    if volume.multi_attach and not same:
        raise Ec2Error("UnsupportedOperation", f"The type of '{volume.id}' cannot be changed: Multi-Attach is enabled.")
    limits = VOLUME_TYPES[volume_type]
    iops, throughput = params.get("Iops"), params.get("Throughput")
    if (volume.type, volume_type, iops, throughput) == ("gp2", "gp3", None, None):
        # EBS provisions the performance of the gp2 volume, or gp3's baseline if that is higher.
        iops = max(GP3_IOPS, volume.iops or 0)
        throughput = GP2_THROUGHPUT if volume.size > GP2_SMALL else GP3_THROUGHPUT
    if iops is None and limits.iops is not None:
        iops = volume.iops if same else 3000
    if throughput is None and limits.throughput is not None and same:
        throughput = volume.throughput
    iops, throughput = performance(volume_type, size, iops, throughput)
    multi_attach = params.get("MultiAttachEnabled", volume.multi_attach)
    if multi_attach and not (limits.multi_attach and (volume.multi_attach or volume_type == "io2")):
        raise combination_error(f"The parameter MultiAttachEnabled is not supported for {volume_type} volumes.")
    if multi_attach and not volume.multi_attach and any(True for _one in volume.held(now)):
        raise Ec2Error("IncorrectState", f"Multi-Attach of '{volume.id}' can be enabled only while it is not attached.")
    if volume.multi_attach and not multi_attach and len(list(volume.held(now))) > 1:
        raise Ec2Error("IncorrectState", f"Volume '{volume.id}' is attached to more than one instance.")
    if not limits.boot and any(one.device in ("/dev/sda1", "/dev/xvda") for one in volume.held(now)):
        raise value_error(f"Volume type {volume_type} is not supported for boot volumes.")
    return {
        "Size": size,
        "VolumeType": volume_type,
        "Iops": iops,
        "Throughput": throughput,
        "MultiAttachEnabled": bool(multi_attach),
    }


def _check_budget(volume: Volume, now: datetime) -> None:
    """Raises while a modification runs, and for a fifth one within 24 hours."""
    if volume.modifications:
        state = volume.modifications[-1].state(now)
        if state in ("modifying", "optimizing"):
            raise Ec2Error(
                "IncorrectModificationState",
                f"{volume.id} cannot be modified in modification state {state.upper()}",
            )
    recent = [one.started for one in volume.modifications if now - one.started < MODIFICATION_WINDOW]
    if len(recent) >= MODIFICATIONS_PER_WINDOW:
        until = recent[-MODIFICATIONS_PER_WINDOW] + MODIFICATION_WINDOW
        if until.microsecond:
            until = until.replace(microsecond=0) + timedelta(seconds=1)
        raise Ec2Error(
            "VolumeModificationRateExceeded",
            "You've reached the maximum modification rate per volume limit. "
            f"Wait until {until:%Y-%m-%dT%H:%M:%SZ} before you can issue the next modification request for this "
            "volume.",
        )


def _modification_row(volume: Volume, modification: Modification, now: datetime) -> Shape:
    state = modification.state(now)
    row: Shape = {"VolumeId": volume.id, "ModificationState": state, "StartTime": modification.started}
    for prefix, values in (("Original", modification.original), ("Target", modification.target)):
        for name, value in values.items():
            row[f"{prefix}{name}"] = value
    row["Progress"] = 100 if state == "completed" else 0
    if state == "optimizing":
        whole = (modification.completed - modification.modified).total_seconds() or 1.0
        row["Progress"] = min(99, int(100 * (now - modification.modified).total_seconds() / whole))
    if state == "completed":
        row["EndTime"] = modification.completed
    if state == "failed":
        row["EndTime"], row["StatusMessage"] = modification.modified, modification.failure
    return row


@dataclass(frozen=True, slots=True)
class _ModificationRow:
    """A row for the filters: a modification has no tags."""

    row: Shape
    tags: None = None


def _member(name: str) -> Any:
    return lambda one: one.row[name]


def _modification_fields() -> dict[str, Any]:
    fields: dict[str, Any] = {
        "volume-id": lambda one: one.row["VolumeId"],
        "modification-state": _member("ModificationState"),
    }
    for prefix in ("original", "target"):
        for name, member in (
            ("size", "Size"),
            ("volume-type", "VolumeType"),
            ("iops", "Iops"),
            ("throughput", "Throughput"),
            ("multi-attach-enabled", "MultiAttachEnabled"),
        ):
            fields[f"{prefix}-{name}"] = _member(f"{prefix.capitalize()}{member}")
    fields["start-time"] = _member("StartTime")
    return fields


@action("DescribeVolumesModifications")
def describe_volumes_modifications(request: Request) -> Shape:
    """The latest modification of each volume that ever had one. Raises NotFound for a named volume without one."""
    home, now = request.home, request.now
    wanted = request.params.get("VolumeIds")
    if wanted:
        volumes = [home.volume(one) for one in dict.fromkeys(wanted)]
        for volume in volumes:
            if not volume.modifications:
                raise Ec2Error(
                    "InvalidVolumeModification.NotFound", f"Modification for volume '{volume.id}' does not exist."
                )
    else:
        volumes = [one for one in home.volumes.values() if one.modifications and one.exists(now)]
    rows = [_ModificationRow(_modification_row(one, one.modifications[-1], now)) for one in volumes]
    page, token = paged(request, matching(request, rows, _modification_fields()), maximum=500)
    return {"VolumesModifications": [one.row for one in page], "NextToken": token}


# --- the account's settings -------------------------------------------------------------------------------------------


@action("EnableEbsEncryptionByDefault", "DisableEbsEncryptionByDefault", "GetEbsEncryptionByDefault")
def encryption_by_default(request: Request) -> Shape:
    """Whether every new volume and snapshot copy of the region is encrypted."""
    request.dry_run_gate()
    if not request.action.startswith("Get"):
        request.home.encryption_by_default = request.action.startswith("Enable")
    return {"EbsEncryptionByDefault": request.home.encryption_by_default}


@action("GetEbsDefaultKmsKeyId", "ModifyEbsDefaultKmsKeyId", "ResetEbsDefaultKmsKeyId")
def default_kms_key(request: Request) -> Shape:
    """The key that is used where a request names none."""
    request.dry_run_gate()
    if request.action.startswith("Reset"):
        request.home.default_kms_key_id = None
    elif request.action.startswith("Modify"):
        arn = key_arn(request, request.params["KmsKeyId"])
        if arn is None:
            raise value_error(f"The KMS key '{request.params['KmsKeyId']}' does not exist.")
        request.home.default_kms_key_id = arn
    return {"KmsKeyId": request.home.default_kms_key_id or "alias/aws/ebs"}
