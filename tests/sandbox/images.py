# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""AMIs: registered from snapshots, made from instances, copied, shared, disabled, deregistered.

An image keeps every fact that it was given. The sandbox derives the other facts as EC2 does. RegisterImage always gives
Linux/UNIX and RunInstances, and carries product codes only if the root snapshot has them. CreateImage and CopyImage
keep the source's.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, timedelta
from typing import Any

from .engine import Ec2Error, Request, action
from .filters import matching
from .keys import DEFAULT_KEY, key_arn
from .pages import paged
from .snapshots import (
    check_snapshot_allowed,
    checked_completion_minutes,
    copied_snapshot,
    failure_of,
    refuse_delete,
    take,
)
from .tags import tag_specifications
from .tokens import with_token
from .volumes import (
    VOLUME_TYPES,
    checked_initialization_rate,
    checked_size,
    checked_type,
    combination_error,
    performance,
    readable_snapshot,
    refuse_unusable,
    value_error,
)
from .world import Image, Instance, Region, Shape, Snapshot, is_id, stamp, tag_list

_NAME = re.compile(r"[A-Za-z0-9()\[\] ./\-'@_]{3,128}")
ARCHITECTURES = ("i386", "x86_64", "arm64", "x86_64_mac", "arm64_mac")
BOOT_MODES = ("legacy-bios", "uefi", "uefi-preferred")
LONGEST_UEFI_DATA = 64000


def mapping_error(text: str) -> Ec2Error:
    """InvalidBlockDeviceMapping."""
    return Ec2Error("InvalidBlockDeviceMapping", text)


# --- names and mappings -----------------------------------------------------------------------------------------------


def checked_name(request: Request, name: str) -> str:
    """Raises InvalidAMIName.Malformed, or InvalidAMIName.Duplicate while another image of the account has the name."""
    if not _NAME.fullmatch(name):
        raise Ec2Error(
            "InvalidAMIName.Malformed",
            "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, "
            "'(', ')', '.', '-', '/' and '_'",
        )
    for image in request.home.images.values():
        if image.name == name and not image.deregistered:
            raise Ec2Error("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {image.id}")
    return name


def checked_text(params: Mapping[str, Any]) -> str:
    """The image's description. Raises InvalidParameterValue when it is too long or not ASCII."""
    text = str(params.get("Description") or "")
    if len(text) > 255:
        raise value_error("The parameter description exceeds the maximum length of 255 characters.")
    if not text.isascii():
        raise value_error("Character sets beyond ASCII are not supported.")
    return text


def _one_of(params: Mapping[str, Any], name: str, allowed: Iterable[str]) -> None:
    value = params.get(name)
    if value is not None and value not in allowed:
        wire_name = name[0].lower() + name[1:]
        raise value_error(f"Value ({value}) for parameter {wire_name} is invalid.")


def registered_mapping(request: Request, mapping: Mapping[str, Any]) -> Shape:
    """A block device mapping of RegisterImage with its defaults. Raises Ec2Error for a mapping that EC2 refuses."""
    device = mapping.get("DeviceName")
    if not device:
        raise Ec2Error("MissingParameter", "The request must contain the parameter DeviceName")
    if mapping.get("VirtualName"):
        return {"DeviceName": device, "VirtualName": mapping["VirtualName"]}
    ebs = dict(mapping.get("Ebs") or {})
    if ebs.get("KmsKeyId"):
        raise Ec2Error("InvalidParameter", "The parameter KmsKeyId is not recognized")
    snapshot: Snapshot | None = None
    if ebs.get("SnapshotId"):
        if "Encrypted" in ebs:
            raise Ec2Error(
                "InvalidParameter",
                "The parameter Encrypted is invalid. You cannot specify the encrypted flag if specifying a snapshot id "
                "in a block device mapping.",
            )
        snapshot = registrable_snapshot(request, ebs["SnapshotId"])
    size = ebs.get("VolumeSize", snapshot.volume_size if snapshot else None)
    if size is None:
        raise mapping_error(f"The device '{device}' has neither a snapshot nor a volume size.")
    if snapshot is not None and size < snapshot.volume_size:
        raise smaller_than_snapshot(size, snapshot)
    volume_type = checked_type(ebs.get("VolumeType"))
    checked_size(volume_type, size)
    checked_initialization_rate(ebs.get("VolumeInitializationRate"), snapshot is not None)
    iops, throughput = performance(volume_type, size, ebs.get("Iops"), ebs.get("Throughput"))
    row: Shape = {"DeleteOnTermination": ebs.get("DeleteOnTermination", True)}
    if snapshot is not None:
        row["SnapshotId"] = snapshot.id
    row |= {"VolumeSize": size, "VolumeType": volume_type}
    row["Encrypted"] = snapshot.encrypted if snapshot is not None else bool(ebs.get("Encrypted", False))
    if volume_type in ("gp3", "io1", "io2"):
        row["Iops"] = iops
    if volume_type == "gp3":
        row["Throughput"] = throughput
    return {"DeviceName": device, "Ebs": row}


def registrable_snapshot(request: Request, snapshot_id: str) -> Snapshot:
    """A completed snapshot of the account, with the codes that RegisterImage has of its own.

    Raises InvalidSnapshotID.NotFound (other operations say InvalidSnapshot.NotFound), InvalidParameterValue for another
    account's, and IncorrectState for one that is not completed, or archived.
    """
    try:
        found = readable_snapshot(request, snapshot_id)
    except Ec2Error as error:
        if error.code == "InvalidSnapshot.NotFound":
            raise Ec2Error("InvalidSnapshotID.NotFound", error.message) from None
        raise
    if found.owner != request.account:
        raise value_error(f"Snapshot does not belong to account {request.account}: {snapshot_id}")
    refuse_unusable(found, request.now)
    return found


def smaller_than_snapshot(size: int, snapshot: Snapshot) -> Ec2Error:
    """EC2's answer to a device smaller than its snapshot."""
    return mapping_error(
        f"Volume of size {size}GB is smaller than snapshot '{snapshot.id}', expect size >= {snapshot.volume_size}GB"
    )


def _unique_devices(mappings: Iterable[Mapping[str, Any]]) -> None:
    seen = set()
    for mapping in mappings:
        device = mapping.get("DeviceName")
        if device in seen:
            raise mapping_error(f"The device '{device}' is used in more than one block-device mapping")
        seen.add(device)


# --- making -----------------------------------------------------------------------------------------------------------


@action("RegisterImage")
def register_image(request: Request) -> Shape:
    """An image of snapshots. Without these parameters, Architecture is i386 and VirtualizationType is paravirtual."""
    params, home, now = request.params, request.home, request.now
    name = checked_name(request, params.get("Name") or "")
    description = checked_text(params)
    _one_of(params, "Architecture", ARCHITECTURES)
    _one_of(params, "VirtualizationType", ("hvm", "paravirtual"))
    _one_of(params, "BootMode", BOOT_MODES)
    _one_of(params, "TpmSupport", ("v2.0",))
    _one_of(params, "ImdsSupport", ("v2.0",))
    _one_of(params, "SriovNetSupport", ("simple",))
    if len(params.get("UefiData") or "") > LONGEST_UEFI_DATA:
        raise value_error(f"The parameter uefiData exceeds the maximum length of {LONGEST_UEFI_DATA} characters.")
    architecture = params.get("Architecture") or "i386"
    virtualization = params.get("VirtualizationType") or "paravirtual"
    _check_hardware(params, architecture, virtualization)
    tags = tag_specifications(request, "image")["image"]
    given = [one for one in params.get("BlockDeviceMappings") or [] if one.get("NoDevice") is None]
    _unique_devices(given)
    mappings = [registered_mapping(request, one) for one in given]
    root_name = params.get("RootDeviceName") or ""
    codes: tuple[str, ...] = ()
    if not params.get("ImageLocation"):
        if not root_name:
            raise Ec2Error("MissingParameter", "The request must contain the parameter rootDeviceName")
        root = next((one for one in mappings if one["DeviceName"] == root_name), None)
        if root is None or "SnapshotId" not in root.get("Ebs", {}):
            raise mapping_error("No root snapshot specified in device mapping.")
        if not VOLUME_TYPES[root["Ebs"]["VolumeType"]].boot:
            raise value_error(f"Volume type {root['Ebs']['VolumeType']} is not supported for boot volumes.")
        codes = home.snapshots[root["Ebs"]["SnapshotId"]].product_codes
    request.dry_run_gate()
    facts = {name: params[name] for name in _KEPT if params.get(name) is not None}
    if facts.get("EnaSupport"):
        facts["SriovNetSupport"] = "simple"
    end = request.end_state()
    image = Image(
        id=home.world.new_id("ami"),
        name=name,
        owner=request.account,
        created=now,
        ready=home.moment("image_registering", now),
        mappings=mappings,
        root_device_name=root_name,
        root_device_type="instance-store" if params.get("ImageLocation") else "ebs",
        architecture=architecture,
        virtualization=virtualization,
        description=description,
        location=params.get("ImageLocation") or f"{request.account}/{name}",
        product_codes=codes,
        facts=facts,
        uefi_data=params.get("UefiData") or "",
        tags=tags,
        failure=failure_of(end),
    )
    home.images[image.id] = image
    return {"ImageId": image.id}


_KEPT = ("EnaSupport", "SriovNetSupport", "BootMode", "TpmSupport", "ImdsSupport", "KernelId", "RamdiskId")


def _check_hardware(params: Mapping[str, Any], architecture: str, virtualization: str) -> None:
    """Combinations that cannot boot."""
    boot_mode = params.get("BootMode")
    if architecture.startswith("arm64") and boot_mode == "legacy-bios":
        raise combination_error("The boot mode legacy-bios is not supported for the architecture arm64.")
    if params.get("TpmSupport") and boot_mode not in ("uefi", "uefi-preferred"):
        raise combination_error("TpmSupport requires the boot mode uefi or uefi-preferred.")
    if virtualization == "paravirtual" and (boot_mode not in (None, "legacy-bios") or architecture.startswith("arm64")):
        raise combination_error("Virtualization type 'paravirtual' supports only the boot mode legacy-bios on x86.")
    if virtualization == "hvm" and (params.get("KernelId") or params.get("RamdiskId")):
        raise combination_error("Kernel and ramdisk cannot be specified for the virtualization type hvm.")


@action("CreateImage")
def create_image(request: Request) -> Shape:
    """An image of an instance: one snapshot per volume, all at one moment; it reboots unless NoReboot.

    Its mappings name the snapshots only after a while, and it is available when all of them are completed.
    """
    params, home, now = request.params, request.home, request.now
    (instance,) = home.instance_list([params["InstanceId"]])
    name = checked_name(request, params.get("Name") or "")
    description = checked_text(params)
    state = instance.state(now)
    if state not in ("running", "stopped"):
        raise Ec2Error("IncorrectState", f"Instance '{instance.id}' is not 'running' or 'stopped'; it is '{state}'.")
    _one_of(params, "BootModeOverride", ("uefi",))
    if params.get("SnapshotLocation") not in (None, "regional"):
        raise value_error("SnapshotLocation is only supported for instances in Local Zones and on Outposts.")
    tags = tag_specifications(request, "image", "snapshot")
    given = params.get("BlockDeviceMappings") or []
    _unique_devices(given)
    source = _known_anywhere(request, instance.image_at(request.now))
    plans = _image_devices(request, instance, given)
    for volume, _mapping in plans:
        if volume is not None:
            check_snapshot_allowed(request, volume)
    request.dry_run_gate()
    if state == "running" and not params.get("NoReboot"):
        # The instance is off from now on, is captured while it is off, and then writes again.
        instance.pauses.append((now, home.moment("instance_rebooting", now)))
    end = request.end_state()
    mappings, ready = [], home.moment("image_snapshots", now)
    failures = []
    for position, (volume, mapping) in enumerate(plans):
        if volume is not None:
            snapshot = take(
                request,
                volume,
                now,
                f"Created by CreateImage({instance.id}) for __ami__",
                tags["snapshot"],
                end if position == 0 else None,
            )
            mapping["Ebs"]["SnapshotId"] = snapshot.id
            ready = max(ready, snapshot.completes)
            failures += [snapshot.failure] if snapshot.failure else []
        mappings.append(mapping)
    image = Image(
        id=home.world.new_id("ami"),
        name=name,
        owner=request.account,
        created=now,
        ready=home.moment("image_pending", ready),
        mappings=mappings,
        root_device_name=instance.root_device_name,
        architecture=instance.facts["Architecture"],
        virtualization=instance.facts["VirtualizationType"],
        description=description,
        location=f"{request.account}/{name}",
        platform=instance.platform,
        platform_details=instance.facts["PlatformDetails"],
        usage_operation=instance.facts["UsageOperation"],
        product_codes=instance.product_codes,
        facts=_facts_of(instance, source),
        uefi_data=instance.attributes.get("UefiData", ""),
        tags=tags["image"],
        failure=failures[0] if failures else "",
        snapshots_made=home.moment("image_snapshots", now),
        source_instance_id=instance.id,
        source_image_id=instance.image_at(request.now),
        source_image_region=request.region,
    )
    if params.get("BootModeOverride"):
        image.facts["BootMode"] = params["BootModeOverride"]
    for snapshot_id in image.snapshot_ids():
        if (made := home.snapshots[snapshot_id]).description.endswith("__ami__"):
            made.description = made.description.replace("__ami__", image.id)
    home.images[image.id] = image
    return {"ImageId": image.id}


def _known_anywhere(request: Request, image_id: str) -> Image | None:
    """An image of the region with any owner, even one that is gone."""
    homes = [one for one in request.world.regions() if one.name == request.region]
    return next((one.images[image_id] for one in homes if image_id in one.images), None)


def _facts_of(instance: Instance, source: Image | None) -> Shape:
    """The hardware facts that CreateImage carries from the instance and its image."""
    facts = {
        name: instance.facts[name]
        for name in ("EnaSupport", "BootMode", "TpmSupport", "KernelId", "RamdiskId")
        if instance.facts.get(name)
    }
    if instance.attributes.get("SriovNetSupport"):
        facts["SriovNetSupport"] = instance.attributes["SriovNetSupport"]
    if source is not None and source.facts.get("ImdsSupport"):
        facts["ImdsSupport"] = source.facts["ImdsSupport"]
    return facts


def _image_devices(request: Request, instance: Instance, given: Iterable[Mapping[str, Any]]) -> list[tuple[Any, Shape]]:
    """(volume to snapshot or None, mapping) per device of the image that CreateImage makes."""
    home, now = request.home, request.now
    changes = {one.get("DeviceName"): one for one in given}
    plans: list[tuple[Any, Shape]] = []
    for volume, attachment in home.devices(instance, now):
        change = changes.pop(attachment.device, None)
        if change is not None and change.get("NoDevice") is not None:
            if attachment.device == instance.root_device_name:
                raise mapping_error("The root device cannot be left out of the image.")
            continue
        volume.settle(now)
        ebs: Shape = {
            "DeleteOnTermination": attachment.delete_on_termination,
            "VolumeSize": volume.size,
            "VolumeType": volume.type,
            "Encrypted": volume.encrypted,
        }
        if volume.type in ("gp3", "io1", "io2"):
            ebs["Iops"] = volume.iops
        if volume.type == "gp3":
            ebs["Throughput"] = volume.throughput
        if change is not None:
            ebs = _changed_device(attachment.device, ebs, dict(change.get("Ebs") or {}))
        plans.append((volume, {"DeviceName": attachment.device, "Ebs": ebs}))
    for change in changes.values():
        if change.get("NoDevice") is not None:
            continue
        plans.append((None, registered_mapping(request, change)))
    if not any(mapping["DeviceName"] == instance.root_device_name for _volume, mapping in plans):
        raise Ec2Error(
            "IncorrectState",
            f"Instance '{instance.id}' does not have a volume attached at root ({instance.root_device_name}).",
        )
    return plans


def _changed_device(device: str, ebs: Shape, asked: Shape) -> Shape:
    """A device of the instance as CreateImage registers it: larger or of another type, but of the same snapshot.

    The API reference allows only DeleteOnTermination to differ; EC2 takes sizes and types all the same.
    """
    fixed: list[str] = [name for name in ("SnapshotId", "KmsKeyId") if name in asked]
    if asked.get("Encrypted", ebs["Encrypted"]) != ebs["Encrypted"]:
        fixed.append("Encrypted")
    if fixed:
        raise mapping_error(f"{', '.join(fixed)} of the existing device '{device}' cannot be changed.")
    size: int = asked.get("VolumeSize") or ebs["VolumeSize"]
    volume_type = checked_type(asked.get("VolumeType") or ebs["VolumeType"])
    if size < ebs["VolumeSize"]:
        raise mapping_error(
            f"Volume of size {size}GB is smaller than the volume at '{device}', expect size >= {ebs['VolumeSize']}GB"
        )
    checked_size(volume_type, size)
    kept = ebs if volume_type == ebs["VolumeType"] else {}
    iops, throughput = performance(
        volume_type, size, asked.get("Iops", kept.get("Iops")), asked.get("Throughput", kept.get("Throughput"))
    )
    row: Shape = {
        "DeleteOnTermination": asked.get("DeleteOnTermination", ebs["DeleteOnTermination"]),
        "VolumeSize": size,
        "VolumeType": volume_type,
        "Encrypted": ebs["Encrypted"],
    }
    if volume_type in ("gp3", "io1", "io2"):
        row["Iops"] = iops
    if volume_type == "gp3":
        row["Throughput"] = throughput
    return row


@action("CopyImage", gate=True)
def copy_image(request: Request) -> Shape:
    """A copy with snapshots of its own, called in the region where it shall be; idempotent by its client token."""

    def make() -> tuple[str, Shape]:
        image = _copy(request)
        return image.id, {"ImageId": image.id}

    def again(image_id: str) -> Shape | None:
        return None if request.home.images[image_id].deregistered else {"ImageId": image_id}

    if request.params.get("DryRun"):
        make()
    return with_token(request, make, again, longest=128)


def _copy(request: Request) -> Image:
    params, home, now = request.params, request.home, request.now
    source_region = request.world.region(request.account, params["SourceRegion"])
    source = _source_image(request, source_region, params["SourceImageId"])
    _require_storage(request, source)
    name = checked_name(request, params.get("Name") or "")
    description = checked_text(params)
    tags = tag_specifications(request, "image", "snapshot")
    if params.get("KmsKeyId") and not params.get("Encrypted"):
        raise combination_error("The parameter KmsKeyId requires the parameter Encrypted to be set.")
    checked_completion_minutes(
        params.get("SnapshotCopyCompletionDurationMinutes"), "snapshotCopyCompletionDurationMinutes"
    )
    if params.get("Encrypted") is False and any(one.get("Ebs", {}).get("Encrypted") for one in source.mappings):
        raise combination_error("An image with encrypted snapshots cannot be copied unencrypted.")
    request.dry_run_gate()
    ready = home.moment("image_copying", now)
    mappings: list[Shape] = []
    failures: list[str] = []
    image_id = home.world.new_id("ami")
    end = request.end_state()
    for mapping in copy.deepcopy(source.mappings):
        ebs = mapping.get("Ebs")
        if ebs and ebs.get("SnapshotId"):
            original = source_region.snapshots.get(ebs["SnapshotId"]) or _anywhere(request, ebs["SnapshotId"])
            made = copied_snapshot(
                request,
                original,
                f"Copied for DestinationAmi {image_id} from SourceAmi {source.id} "
                f"for SourceSnapshot {ebs['SnapshotId']}.",
                tags["snapshot"],
                params.get("Encrypted"),
                params.get("KmsKeyId"),
                end if not failures else None,
            )
            ebs["SnapshotId"], ebs["Encrypted"] = made.id, made.encrypted
            ready = max(ready, made.completes)
            failures += [made.failure] if made.failure else []
        mappings.append(mapping)
    copied = {key: value for key, value in source.tags.items() if not key.startswith("aws:")}
    image = Image(
        id=image_id,
        name=name,
        owner=request.account,
        created=now,
        ready=ready,
        mappings=mappings,
        root_device_name=source.root_device_name,
        architecture=source.architecture,
        virtualization=source.virtualization,
        root_device_type=source.root_device_type,
        description=description or f"[Copied {source.id} from {params['SourceRegion']}] {source.description}".strip(),
        location=f"{request.account}/{name}",
        platform=source.platform,
        platform_details=source.platform_details,
        usage_operation=source.usage_operation,
        product_codes=source.product_codes,
        facts=dict(source.facts),
        uefi_data=source.uefi_data,
        tags={**(copied if params.get("CopyImageTags") else {}), **tags["image"]},
        failure=failures[0] if failures else "",
        source_image_id=source.id,
        source_image_region=params["SourceRegion"],
    )
    home.images[image.id] = image
    return image


def _anywhere(request: Request, snapshot_id: str) -> Snapshot | None:
    for region in request.world.regions():
        if snapshot_id in region.snapshots:
            return region.snapshots[snapshot_id]
    return None


def _source_image(request: Request, region: Region, image_id: str) -> Image:
    if is_id("ami", image_id) and image_id not in region.images:
        for other in request.world.regions():
            shared = other.images.get(image_id) if other.name == region.name else None
            if shared is not None and _launchable_by(shared, request.account):
                return shared
    source = region.image(image_id)
    if source.state(request.now) != "available":
        raise Ec2Error(
            "InvalidAMIID.Unavailable", f"The image ID '{image_id}' is in the state {source.state(request.now)}"
        )
    return source


def _require_storage(request: Request, source: Image) -> None:
    """Raises InvalidRequest for another account's image whose snapshots are not shared (awslabs/amazon-eks-ami#52)."""
    if source.owner == request.account:
        return
    for snapshot_id in source.snapshot_ids():
        snapshot = _anywhere(request, snapshot_id)
        shared = snapshot.shared(request.now) if snapshot is not None else frozenset()
        if not {request.account, "all"} & shared:
            raise Ec2Error("InvalidRequest", "You do not have permission to access the storage of this ami")


def _launchable_by(image: Image, account: str) -> bool:
    return (
        not image.deregistered
        and not image.disabled
        and (
            image.owner == account
            or any(one.get("UserId") == account or one.get("Group") == "all" for one in image.launch_permissions)
        )
    )


# --- reading ----------------------------------------------------------------------------------------------------------


def image_row(image: Image, account: str, now: Any, launch_shown: timedelta) -> Shape:
    """An image as DescribeImages shows it; a launch after *launch_shown*."""
    state = image.state(now)
    row: Shape = {
        "ImageId": image.id,
        "Name": image.name,
        "Description": image.description,
        "State": state,
        "OwnerId": image.owner,
        "CreationDate": stamp(image.created),
        "ImageLocation": image.location,
        "Public": image.public,
        "Architecture": image.architecture,
        "ImageType": "machine",
        "Platform": image.platform or None,
        "PlatformDetails": image.platform_details,
        "UsageOperation": image.usage_operation,
        "Hypervisor": "xen",
        "VirtualizationType": image.virtualization,
        "RootDeviceType": image.root_device_type,
        "RootDeviceName": image.root_device_name or None,
        "BlockDeviceMappings": shown_mappings(image, now),
        "SourceInstanceId": image.source_instance_id or None,
        "SourceImageId": image.source_image_id or None,
        "SourceImageRegion": image.source_image_region or None,
        # Tags are the owner's: nobody else sees them.
        "Tags": tag_list(image.tags) if image.owner == account else None,
        **image.facts,
    }
    if image.product_codes:
        row["ProductCodes"] = product_codes(image.product_codes)
    if image.failure and state == "failed":
        row["StateReason"] = {"Code": "Client.InvalidSnapshot.NotFound", "Message": image.failure}
    if image.deprecated:
        row["DeprecationTime"] = stamp(image.deprecated)
    if image.owner == account:
        row["DeregistrationProtection"] = image.protection
        launched = image.last_launched(now, launch_shown)
        if launched:
            row["LastLaunchedTime"] = stamp(launched)
    return row


def _launch_shown(request: Request) -> timedelta:
    return timedelta(seconds=request.world.config.duration("launch_shown"))


def shown_mappings(image: Image, now: Any) -> list[Shape]:
    """The block device mappings; those of CreateImage have neither snapshots nor sizes before these have been made."""
    if image.snapshots_made is None or now >= image.snapshots_made:
        return image.mappings
    hidden = copy.deepcopy(image.mappings)
    for mapping in hidden:
        mapping.get("Ebs", {}).pop("SnapshotId", None)
        mapping.get("Ebs", {}).pop("VolumeSize", None)
    return hidden


def product_codes(codes: Iterable[str]) -> list[Shape]:
    """Product codes as an answer shows them."""
    return [{"ProductCodeId": one, "ProductCodeType": "marketplace"} for one in codes]


def _candidates(request: Request) -> list[Image]:
    """The registered images of the region that the account may see: its own, and shared ones."""
    found = [one for one in request.home.images.values() if not one.deregistered]
    for other in request.world.regions():
        if other.name == request.region and other.account != request.account:
            found += [one for one in other.images.values() if _launchable_by(one, request.account)]
    return [one for one in found if request.visible(one)]


@action("DescribeImages")
def describe_images(request: Request) -> Shape:
    """The images that the account may use.

    Disabled ones only with IncludeDisabled (or by id), deprecated ones of others only with IncludeDeprecated. A
    deregistered id is left out, an id that never was is InvalidAMIID.NotFound.
    """
    params, now, account = request.params, request.now, request.account
    rows = _candidates(request)
    wanted = params.get("ImageIds")
    if wanted:
        rows = _by_id(request, rows, wanted)
    elif not params.get("IncludeDisabled"):
        rows = [one for one in rows if not one.disabled]
    if not params.get("IncludeDeprecated") and not wanted:
        rows = [one for one in rows if one.owner == account or not one.deprecated or one.deprecated > now]
    owners = params.get("Owners")
    if owners:
        allowed = {account if one == "self" else one for one in owners}
        rows = [one for one in rows if one.owner in allowed]
    users = params.get("ExecutableUsers")
    if users:
        rows = [one for one in rows if _executable(one, {account if user == "self" else user for user in users})]
    found = matching(request, _own_if_by_tag(request, rows), _image_fields(now))
    found.sort(key=_place)
    page, token = paged(request, found, key=_place)
    late = _launch_shown(request)
    return {"Images": [image_row(one, account, now, late) for one in page], "NextToken": token}


def _own_if_by_tag(request: Request, rows: list[Image]) -> list[Image]:
    """The images whose tags the caller may ask for, where a filter is about tags."""
    names = [str(one.get("Name") or "") for one in request.params.get("Filters") or []]
    if any(name == "tag-key" or name.startswith("tag:") for name in names):
        return [one for one in rows if one.owner == request.account]
    return rows


def _place(image: Image) -> tuple[str, str]:
    return stamp(image.created), image.id


def _executable(image: Image, users: set[str]) -> bool:
    return any((one.get("UserId") or one.get("Group")) in users for one in image.launch_permissions)


def _by_id(request: Request, rows: list[Image], wanted: list[str]) -> list[Image]:
    known = {one.id: one for one in rows}
    lost = []
    for image_id in wanted:
        if not is_id("ami", image_id):
            raise Ec2Error("InvalidAMIID.Malformed", f'Invalid id: "{image_id}" (expecting "ami-...")')
        if image_id not in known and not _is_hidden(request, image_id):
            lost.append(image_id)
    if lost:
        raise Ec2Error(
            "InvalidAMIID.NotFound",
            f"The image id '[{', '.join(lost)}]' does not exist"
            if len(lost) == 1
            else f"The image ids '[{', '.join(lost)}]' do not exist",
        )
    return [known[one] for one in dict.fromkeys(wanted) if one in known]


def _is_hidden(request: Request, image_id: str) -> bool:
    """Whether the image exists and the caller does not see it: it is deregistered, or another account's and not shared.

    DescribeImages leaves such an id out; InvalidAMIID.NotFound is for an id that no image ever had.
    """
    registered = _known_anywhere(request, image_id)
    if registered is None:
        return False
    return registered.owner != request.account or bool(registered.deregistered)


def _ebs(image: Image, name: str) -> list[Any]:
    return [one["Ebs"][name] for one in image.mappings if "Ebs" in one and name in one["Ebs"]]


def _image_fields(now: Any) -> dict[str, Any]:
    return {
        "architecture": lambda one: one.architecture,
        "block-device-mapping.delete-on-termination": lambda one: _ebs(one, "DeleteOnTermination"),
        "block-device-mapping.device-name": lambda one: [each["DeviceName"] for each in one.mappings],
        "block-device-mapping.encrypted": lambda one: _ebs(one, "Encrypted"),
        "block-device-mapping.snapshot-id": lambda one: [
            each["Ebs"]["SnapshotId"] for each in shown_mappings(one, now) if each.get("Ebs", {}).get("SnapshotId")
        ],
        "block-device-mapping.volume-size": lambda one: [
            each["Ebs"]["VolumeSize"] for each in shown_mappings(one, now) if "VolumeSize" in each.get("Ebs", {})
        ],
        "block-device-mapping.volume-type": lambda one: _ebs(one, "VolumeType"),
        "boot-mode": lambda one: one.facts.get("BootMode"),
        "creation-date": lambda one: one.created,
        "description": lambda one: one.description,
        "ena-support": lambda one: bool(one.facts.get("EnaSupport")),
        "hypervisor": lambda one: "xen",
        "image-id": lambda one: one.id,
        "image-type": lambda one: "machine",
        "is-public": lambda one: one.public,
        "kernel-id": lambda one: one.facts.get("KernelId"),
        "manifest-location": lambda one: one.location,
        "name": lambda one: one.name,
        "owner-alias": lambda one: None,
        "owner-id": lambda one: one.owner,
        "platform": lambda one: one.platform or None,
        "platform-details": lambda one: one.platform_details,
        "product-code": lambda one: list(one.product_codes),
        "product-code.type": lambda one: "marketplace" if one.product_codes else None,
        "public-ssm-parameter-name": lambda one: None,
        "ramdisk-id": lambda one: one.facts.get("RamdiskId"),
        "root-device-name": lambda one: one.root_device_name,
        "root-device-type": lambda one: one.root_device_type,
        "source-image-id": lambda one: one.source_image_id or None,
        "source-image-region": lambda one: one.source_image_region or None,
        "source-instance-id": lambda one: one.source_instance_id or None,
        "sriov-net-support": lambda one: one.facts.get("SriovNetSupport"),
        "state": lambda one: one.state(now),
        "state-reason-code": lambda one: "Client.InvalidSnapshot.NotFound" if one.state(now) == "failed" else None,
        "state-reason-message": lambda one: one.failure or None,
        "usage-operation": lambda one: one.usage_operation,
        "virtualization-type": lambda one: one.virtualization,
    }


# --- attributes -------------------------------------------------------------------------------------------------------


@action("DescribeImageAttribute")
def describe_image_attribute(request: Request) -> Shape:
    """One attribute of an image."""
    image = _own(request)
    name = request.params["Attribute"]
    row: Shape = {"ImageId": image.id}
    if name == "launchPermission":
        row["LaunchPermissions"] = image.launch_permissions
    elif name == "description":
        row["Description"] = {"Value": image.description or None}
    elif name == "blockDeviceMapping":
        raise Ec2Error("AuthFailure", "Unauthorized attempt to access restricted resource")
    elif name == "productCodes":
        row["ProductCodes"] = product_codes(image.product_codes)
    elif name == "uefiData":
        row["UefiData"] = {"Value": image.uefi_data or None}
    elif name == "lastLaunchedTime":
        launched = image.last_launched(request.now, _launch_shown(request))
        row["LastLaunchedTime"] = {"Value": stamp(launched) if launched else None}
    elif name == "deregistrationProtection":
        row["DeregistrationProtection"] = {"Value": image.protection}
    elif name in _ATTRIBUTE_FACTS:
        row[_ATTRIBUTE_FACTS[name]] = {"Value": image.facts.get(_ATTRIBUTE_FACTS[name])}
    else:
        raise value_error(f"Value ({name}) for parameter attribute is invalid.")
    return row


_ATTRIBUTE_FACTS = {
    "bootMode": "BootMode",
    "imdsSupport": "ImdsSupport",
    "kernel": "KernelId",
    "ramdisk": "RamdiskId",
    "sriovNetSupport": "SriovNetSupport",
    "tpmSupport": "TpmSupport",
}


def _own(request: Request) -> Image:
    """The caller's image. Raises AuthFailure for another account's, also for a shared one."""
    image_id = request.params["ImageId"]
    if image_id not in request.home.images and _known_anywhere(request, image_id) is not None:
        raise Ec2Error("AuthFailure", f"Not authorized for image:{image_id}")
    image = request.home.image(image_id)
    if not request.visible(image):
        raise Ec2Error("InvalidAMIID.NotFound", f"The image id '[{image.id}]' does not exist")
    return image


@action("ModifyImageAttribute")
def modify_image_attribute(request: Request) -> Shape:
    """Change one attribute: launch permissions (add and remove), description, or ImdsSupport v2.0 (for good)."""
    params = request.params
    image = _own(request)
    permission = dict(params.get("LaunchPermission") or {})
    if params.get("OperationType"):
        entries = [{"UserId": one} for one in params.get("UserIds") or []]
        entries += [{"Group": one} for one in params.get("UserGroups") or []]
        entries += [{"OrganizationArn": one} for one in params.get("OrganizationArns") or []]
        entries += [{"OrganizationalUnitArn": one} for one in params.get("OrganizationalUnitArns") or []]
        permission = {params["OperationType"].capitalize(): entries}
    description = params.get("Description")
    imds = params.get("ImdsSupport")
    value = params.get("Value")
    if params.get("Attribute") == "description" and value is not None:
        description = {"Value": value}
    if params.get("Attribute") == "imdsSupport" and value is not None:
        imds = {"Value": value}
    fields = {"launchPermission": permission, "description": description, "imdsSupport": imds}
    if sum(bool(one) for one in fields.values()) > 1:
        named = ", ".join(name for name, one in fields.items() if one)
        raise combination_error(f"Fields for multiple attribute types specified: {named}")
    if not (permission or description or imds):
        raise combination_error("No attributes specified.")
    if description and not description.get("Value"):
        raise Ec2Error("MissingParameter", "The request must contain the parameter description")
    if imds and imds.get("Value") != "v2.0":
        raise Ec2Error("MissingParameter", "The request must contain the parameter imdsSupport with value v2.0")
    for one in [*(permission.get("Add") or []), *(permission.get("Remove") or [])]:
        _check_permission(one)
    if permission and image.disabled:
        raise Ec2Error("IncorrectState", f"The image '{image.id}' is disabled and cannot be shared.")
    if permission.get("Add"):
        _refuse_encrypted(request, image, permission["Add"])
    request.dry_run_gate()
    if permission:
        kept = [one for one in image.launch_permissions if one not in (permission.get("Remove") or [])]
        image.launch_permissions = kept + [one for one in permission.get("Add") or [] if one not in kept]
    elif description:
        image.description = description.get("Value") or ""
    else:
        image.facts["ImdsSupport"] = "v2.0"
    return {}


def _refuse_encrypted(request: Request, image: Image, added: Iterable[Mapping[str, Any]]) -> None:
    """Raise Ec2Error for an image that EC2 does not share, or make public, because it is encrypted.

    The texts are those of reports: hashicorp/packer#7410 and opendevstack/ods-core#1062.
    """
    snapshots = [request.home.snapshots[one] for one in image.snapshot_ids() if one in request.home.snapshots]
    if any(one.encrypted and one.kms_key_id == key_arn(request, DEFAULT_KEY) for one in snapshots):
        raise Ec2Error(
            "InvalidParameter",
            "Snapshots encrypted with the AWS Managed CMK can't be shared. Specify another snapshot.",
        )
    if any(one.get("Group") == "all" for one in added) and any(one.encrypted for one in snapshots):
        raise Ec2Error(
            "UnsupportedOperation", "Encrypted snapshots can't be shared publicly. Specify another snapshot."
        )


_ACCOUNT = re.compile(r"[0-9]{12}")
_ORGANIZATION = re.compile(r"arn:[a-z-]+:organizations::[0-9]{12}:organization/o-[a-z0-9]{10,32}")
_UNIT = re.compile(r"arn:[a-z-]+:organizations::[0-9]{12}:ou/o-[a-z0-9]{10,32}/ou-[0-9a-z]{4,32}-[a-z0-9]{8,32}")


def _check_permission(permission: Mapping[str, Any]) -> None:
    """Raise Ec2Error for a value that is no account, group, organization or organizational unit.

    The code for a malformed ARN is not recorded; it is EC2's for other malformed values.
    """
    user, group = permission.get("UserId"), permission.get("Group")
    for name, form in (("OrganizationArn", _ORGANIZATION), ("OrganizationalUnitArn", _UNIT)):
        if permission.get(name) is not None and not form.fullmatch(permission[name]):
            raise value_error(f"Value ({permission[name]}) for parameter {name} is invalid.")
    if user is not None and not _ACCOUNT.fullmatch(user):
        raise Ec2Error("InvalidAMIAttributeItemValue", f'Invalid attribute item value "{user} " for userId item type.')
    if group is not None and group != "all":
        raise Ec2Error(
            "InvalidAMIAttributeItemValue", f'Invalid attribute item value "{group}" for UserGroup item type.'
        )


@action("ResetImageAttribute")
def reset_image_attribute(request: Request) -> Shape:
    """Take all launch permissions back. Raises InvalidRequest for every other attribute."""
    image = _own(request)
    if request.params.get("Attribute") != "launchPermission":
        raise Ec2Error("InvalidRequest", "The request received was invalid.")
    request.dry_run_gate()
    image.launch_permissions = []
    return {}


@action("DisableImage", "EnableImage")
def disable_image(request: Request) -> Shape:
    """Disabling removes all launch permissions; enabling does not give them back."""
    image = _own(request)
    state = image.state(request.now)
    if state not in ("available", "disabled"):
        raise Ec2Error("IncorrectState", f"The image '{image.id}' is in the state {state}")
    if request.action == "EnableImage":
        _refuse_archived(request, image)
    request.dry_run_gate()
    image.disabled = request.action == "DisableImage"
    if image.disabled:
        image.launch_permissions = []
    return {"Return": True}


def _refuse_archived(request: Request, image: Image) -> None:
    """Raises IncorrectState for an image with an archived snapshot: all must be restored first, and permanently."""
    for snapshot_id in image.snapshot_ids():
        snapshot = request.home.snapshots.get(snapshot_id)
        last = snapshot.settled(request.now) if snapshot is not None else None
        if last is not None and last.kind != "permanent-restore":
            raise Ec2Error("IncorrectState", f"The snapshot {snapshot_id} of the image '{image.id}' is archived")


@action("EnableImageDeprecation", "DisableImageDeprecation")
def deprecate_image(request: Request) -> Shape:
    """Set or remove the time of deprecation: to the minute, not past, at most ten years ahead (public: two)."""
    image = _own(request)
    moment = request.params["DeprecateAt"] if request.action == "EnableImageDeprecation" else None
    if moment is not None:
        moment = moment.astimezone(UTC).replace(second=0, microsecond=0)
        if moment < request.now.replace(second=0, microsecond=0):
            raise value_error("The deprecation time cannot be in the past.")
        years = 2 if image.public else 10
        if moment > request.now + timedelta(days=366 * years):
            raise value_error(f"The deprecation time cannot be more than {years} years in the future.")
    request.dry_run_gate()
    image.deprecated = moment
    return {"Return": True}


@action("EnableImageDeregistrationProtection", "DisableImageDeregistrationProtection")
def protect_image(request: Request) -> Shape:
    """Protect an image from deregistration; with a cooldown, protection lasts 24 hours after it was switched off."""
    image = _own(request)
    request.dry_run_gate()
    if request.action.startswith("Enable"):
        image.protection = "enabled-with-cooldown" if request.params.get("WithCooldown") else "enabled"
        image.protection_ends = None
    elif image.protection == "enabled-with-cooldown":
        image.protection_ends = request.now + timedelta(hours=24)
        image.protection = f"disabled after {stamp(image.protection_ends)}"
    elif image.protection == "enabled":
        image.protection = "disabled"
    return {"Return": image.protection}


@action("DeregisterImage")
def deregister_image(request: Request) -> Shape:
    """Deregister an image. With DeleteAssociatedSnapshots, also delete its snapshots that no other image uses."""
    image, home = _own(request), request.home
    ends = image.protection_ends
    if image.protection.startswith("enabled") or (ends is not None and request.now < ends):
        raise Ec2Error(
            "OperationNotPermitted", f"The image '{image.id}' is protected from deregistration: {image.protection}"
        )
    if any(key.startswith("aws:backup:") for key in image.tags):
        raise value_error(f"The image {image.id} is managed by AWS Backup and can't be deregistered using EC2.")
    request.dry_run_gate()
    image.deregistered = request.now
    home.throw_away(image, image.tags, request.now)
    results = []
    if request.params.get("DeleteAssociatedSnapshots"):
        for snapshot_id in dict.fromkeys(image.snapshot_ids()):
            if home.images_using(snapshot_id):
                results.append({"SnapshotId": snapshot_id, "ReturnCode": "skipped"})
            elif snapshot_id not in home.snapshots:
                results.append({"SnapshotId": snapshot_id, "ReturnCode": "client-error"})
            elif request.world.config.is_refused("ec2", "DeleteSnapshot"):
                results.append({"SnapshotId": snapshot_id, "ReturnCode": "missing-permissions"})
            else:
                try:
                    refuse_delete(home, home.snapshots[snapshot_id], request.now)
                except Ec2Error:
                    results.append({"SnapshotId": snapshot_id, "ReturnCode": "client-error"})
                    continue
                home.delete_snapshot(home.snapshots[snapshot_id], request.now)
                results.append({"SnapshotId": snapshot_id, "ReturnCode": "success"})
    return {"Return": True, "DeleteSnapshotResults": results}


def launchable_image(request: Request, image_id: str) -> Image:
    """An image that RunInstances takes.

    Raises AuthFailure for an image of another account that is not shared, and InvalidAMIID.Malformed, .NotFound or
    .Unavailable.
    """
    known = {one.id: one for one in _candidates(request)}
    image = known.get(image_id)
    if image is None:
        if image_id not in request.home.images and _known_anywhere(request, image_id) is not None:
            raise Ec2Error("AuthFailure", f"Not authorized for images: [{image_id}]")
        registered = request.home.image(image_id)  # says why
        raise Ec2Error("InvalidAMIID.NotFound", f"The image id '[{registered.id}]' does not exist")
    state = image.state(request.now)
    if state != "available":
        raise Ec2Error("InvalidAMIID.Unavailable", f"The image ID '{image_id}' is in the state {state}")
    return image
