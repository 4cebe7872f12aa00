# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The changes that make an image: the requests for a capture, a registration, a CreateImage.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..._domain.volume_types import VOLUME_TYPES, require_performance
from ..._kernel import tags as tag_names
from ..._kernel.errors import SpecError
from ..._kernel.facts import UEFI_DATA, uefi_query
from ..._kernel.ids import planned
from ..._kernel.plan import Change, Stage, Wait
from ..._kernel.resources import Image, ImageDevice, Instance, Snapshot, Volume, view
from ..._kernel.state import Query, State, images_by_id
from ..._kernel.tags import specification
from .found import tagged
from .machine import machine_record, required_imds
from .spec import (
    HARDWARE,
    WITHOUT,
    DeviceOverride,
    ImageSpec,
    capture_description,
    captures_query,
    described,
    name_query,
)

# The fields of an override that do not describe the new volume.
_NOT_OF_THE_VOLUME = frozenset({"device_name", "delete_on_termination", "omitted"})


@dataclass(frozen=True)
class Target:
    """A device of the source that the image also has."""

    device_name: str
    volume_id: str
    delete_on_termination: bool


def own_tags(spec: ImageSpec, source: str) -> dict[str, str]:
    """Return the tags of the image and its snapshots: the user's, the identity, the fingerprint."""
    return {**spec.tags, **spec.identity, tag_names.FINGERPRINT: spec.fingerprint(source)}


def delete_snapshot(snapshot: Snapshot, region: str, reason: str) -> Change:
    """Return the change that deletes a snapshot which this collection has made."""
    before = {"state": snapshot.state, "volume_id": snapshot.volume_id}
    return Change("DeleteSnapshot", snapshot.snapshot_id, region, {}, reason, before)


def capture_changes(spec: ImageSpec, state: State, instance: Instance, targets: list[Target]) -> tuple[Change, ...]:
    """Return the CreateSnapshot of the root, or the CreateSnapshots of all devices: one change per device."""
    record = machine_record(
        instance, {target.volume_id: (target.device_name, target.delete_on_termination) for target in targets}
    )
    tags = {**own_tags(spec, instance.instance_id), **({tag_names.MACHINE: record} if record else {})}
    common = {
        "Description": capture_description(spec, instance.instance_id, record),
        "TagSpecifications": [specification("snapshot", tags)],
    }
    action = "CreateSnapshot" if spec.devices == "root" else "CreateSnapshots"
    captured = {target.volume_id for target in targets}
    others = sorted({device.volume_id for device in instance.block_devices} - captured)
    scope = {"InstanceId": instance.instance_id, **({"ExcludeDataVolumeIds": others} if others else {})}
    consistency = "" if instance.state in ("stopped", "stopping") else ", crash-consistent: the instance is running"
    return tuple(
        Change(
            action,
            planned("snapshot", f"{spec.label} {target.device_name}"),
            state.region,
            {**common, "VolumeId": target.volume_id}
            if action == "CreateSnapshot"
            else {**common, "InstanceSpecification": scope},
            f"capture {target.device_name}{consistency}",
            after={"volume_id": target.volume_id, "description": common["Description"], "tags": tags},
            identity=captures_query(spec),
            source=target.volume_id,
            passed_over=frozenset(item.snapshot_id for item in tagged(spec, state, Snapshot)),
        )
        for target in targets
    )


def register_from_instance(
    spec: ImageSpec, state: State, instance: Instance, targets: list[Target], captured: Mapping[str, str]
) -> Change:
    """Return RegisterImage from the captured snapshots (by volume id), with the instance's hardware.

    Raises SpecError for a fact that EC2 does not show.
    """
    hardware = _inherited(spec, state, instance)
    mappings = [_mapping(spec, state, instance, target, captured[target.volume_id]) for target in targets]
    taken = {mapping["DeviceName"] for mapping in mappings}
    mappings += [item for item in _virtual_devices(spec, state, instance) if item["DeviceName"] not in taken]
    volumes = {target.device_name: state.volume(target.volume_id) for target in targets}
    sources = {name: volume for name, volume in volumes.items() if volume is not None}
    return register(
        spec, state, instance.instance_id, hardware, mappings, instance.owner_id, billing(instance), sources
    )


def _virtual_devices(spec: ImageSpec, state: State, instance: Instance) -> list[dict[str, Any]]:
    """Return the mappings of instance store volumes, which only the instance's image shows."""
    if spec.registration is not None:
        return [dict(item) for item in spec.registration.get("BlockDeviceMappings") or () if item.get("VirtualName")]
    base = state.image(instance.image_id)
    return [
        {"DeviceName": device.device_name, "VirtualName": device.virtual_name}
        for device in (base.block_devices if base is not None else ())
        if device.virtual_name
    ]


def hardware_queries(spec: ImageSpec, instance: Instance) -> tuple[Query, ...]:
    """Return the queries for the hardware that an image takes over: that of the instance's image, and its UEFI data.

    The registration that an earlier task has planned has the hardware of the instance's image.
    """
    base = images_by_id([instance.image_id]) if spec.registration is None else ()
    boots_uefi = instance.facts.get("CurrentInstanceBootMode") == "uefi"
    return (*base, uefi_query(instance.instance_id)) if boots_uefi and "uefi_data" not in spec.hardware else base


def _inherited(spec: ImageSpec, state: State, instance: Instance) -> dict[str, Any]:
    """Return RegisterImage's parameters for the hardware, from the task's options, or else from the instance or its
    image.
    """
    base = state.image(instance.image_id)
    found: dict[str, Any] = {}
    for option, parameter in HARDWARE.items():
        value = spec.hardware.get(option)
        if value is None and option == "uefi_data":
            value = UEFI_DATA.of(state, instance.instance_id)
        elif value is None:
            value = instance.facts.get(parameter)
        if value is None and spec.registration is not None and option != "uefi_data":
            value = spec.registration.get(parameter)
        elif value is None and base is not None:
            value = getattr(base, option, None)
        if value is None and base is None and spec.registration is None and option == "imds_support":
            value = required_imds(instance)
        if value not in (None, "", WITHOUT):
            found[parameter] = value
    missing = [
        option
        for option in ("architecture", "virtualization_type", "root_device_name")
        if HARDWARE[option] not in found
    ]
    if missing:
        raise SpecError(
            f"neither {instance.instance_id} nor its image has a value for {', '.join(missing)}. Set these options"
        )
    if found["VirtualizationType"] == "hvm":
        # EC2 refuses a kernel on hvm images; instances of old images still show one.
        found.pop("KernelId", None)
        found.pop("RamdiskId", None)
    return found


def _mapping(spec: ImageSpec, state: State, instance: Instance, target: Target, snapshot_id: str) -> dict[str, Any]:
    volume = state.volume(target.volume_id)
    if volume is None:
        raise SpecError(
            f"source_instance_id: the volume {target.volume_id} at {target.device_name} does not exist any more. Run "
            "the task again"
        )
    override = next(
        (item for item in spec.overrides if item.device_name == target.device_name), DeviceOverride(target.device_name)
    )
    return ebs(
        override,
        snapshot_id,
        volume,
        target.delete_on_termination,
        boot=target.device_name == instance.root_device_name,
    )


def ebs(
    override: DeviceOverride, snapshot_id: str, source: Volume, delete_on_termination: bool, *, boot: bool
) -> dict[str, Any]:
    """Return one entry of BlockDeviceMappings, with the override's values, or else the source's if the
    type takes them.
    """
    volume_type = override.volume_type or source.volume_type
    rules = VOLUME_TYPES.get(volume_type)
    inherits = volume_type == source.volume_type
    iops = override.iops or (source.iops if inherits and rules is not None and rules.iops else None)
    takes_throughput = inherits and rules is not None and rules.throughput
    throughput = override.throughput or (source.throughput if takes_throughput else None)
    if override.volume_size is not None and override.volume_size < source.size:
        raise SpecError(
            f"block_devices: {override.device_name}: {override.volume_size} GiB is smaller than its snapshot. Use "
            f"{source.size} or more"
        )
    require_performance(
        f"block_devices: {override.device_name}",
        volume_type,
        override.volume_size or source.size,
        iops,
        throughput,
        boot=boot,
    )
    wanted = {
        "SnapshotId": snapshot_id,
        "VolumeType": volume_type,
        "VolumeSize": override.volume_size,
        "Iops": iops,
        "Throughput": throughput,
        "DeleteOnTermination": delete_on_termination
        if override.delete_on_termination is None
        else override.delete_on_termination,
    }
    return {
        "DeviceName": override.device_name,
        "Ebs": {key: value for key, value in wanted.items() if value is not None},
    }


def reshaped(spec: ImageSpec) -> set[str]:
    """Return the devices of the image that *spec* gives another size, type or performance than their volumes have."""
    return {override.device_name for override in spec.overrides if not override.said.keys() <= _NOT_OF_THE_VOLUME}


def require_create_image_devices(spec: ImageSpec, state: State, instance: Instance, targets: Iterable[Target]) -> None:
    """Raise SpecError for devices of a CreateImage that EC2 would refuse. The rules are those for RegisterImage."""
    changed = reshaped(spec)
    for target in targets:
        if target.device_name in changed:
            _mapping(spec, state, instance, target, "")


def billing(instance: Instance) -> dict[str, Any]:
    """Return EC2's billing of the source, which the image must have too."""
    return {
        "platform_details": instance.platform_details,
        "usage_operation": instance.usage_operation,
        "product_codes": instance.product_codes,
    }


def register(
    spec: ImageSpec,
    state: State,
    source: str,
    hardware: Mapping[str, Any],
    mappings: list[dict[str, Any]],
    owner_id: str | None,
    platform: Mapping[str, Any],
    sources: Mapping[str, Volume],
) -> Change:
    """Return RegisterImage with these parameters for hardware and devices. *sources*: the captured volumes, by device
    name.
    """
    tags = own_tags(spec, source)
    image = Image(
        image_id=planned("image", spec.label),
        name=spec.image_name,
        owner_id=owner_id,
        tags=tags,
        block_devices=tuple(_image_device(mapping, sources.get(mapping["DeviceName"])) for mapping in mappings),
        **_shown_hardware(hardware),
        **platform,
    )
    parameters = {
        "Name": spec.image_name,
        "Description": described(spec, source),
        "BlockDeviceMappings": mappings,
        "TagSpecifications": [specification("image", tags)],
        **hardware,
    }
    return Change(
        "RegisterImage",
        image.image_id,
        state.region,
        parameters,
        f"register {spec.label}",
        after=predicted(image),
        identity=name_query(spec),
    )


def _shown_hardware(hardware: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an image with this hardware. EC2 enables the Intel interface together with ENA."""
    shown = {**hardware, **({"SriovNetSupport": "simple"} if hardware.get("EnaSupport") else {})}
    return {
        option: shown[parameter]
        for option, parameter in HARDWARE.items()
        if parameter in shown and option != "uefi_data"
    }


def predicted(image: Image) -> dict[str, Any]:
    """Return the view of a planned image, without the facts that only EC2 knows."""
    return {
        key: value for key, value in view(image).items() if key not in ("image_id", "creation_date", "state_reason")
    }


def _image_device(mapping: Mapping[str, Any], source: Volume | None) -> ImageDevice:
    """Return the device as EC2 will show it.

    The snapshot gives the encryption, and the size unless the request gives one.
    """
    ebs = mapping.get("Ebs", {})
    return ImageDevice(
        mapping["DeviceName"],
        snapshot_id=ebs.get("SnapshotId"),
        size=ebs.get("VolumeSize") or (source.size if source is not None else None),
        volume_type=ebs.get("VolumeType"),
        iops=ebs.get("Iops"),
        throughput=ebs.get("Throughput"),
        delete_on_termination=ebs.get("DeleteOnTermination"),
        encrypted=source.encrypted if source is not None else None,
        virtual_name=mapping.get("VirtualName"),
    )


def register_stage(change: Change, platform: Mapping[str, Any], *goals: Wait) -> Stage:
    """Return the stage that makes the image and waits for it, and removes it if EC2 bills another platform."""
    wait = Wait((change.resource,), "available", final=True, expect=tuple(platform.items()))
    removal = Change(
        "DeregisterImage",
        change.resource,
        change.region,
        {},
        "deregister: EC2 bills another platform than the source's",
        {"state": "available"},
    )
    return Stage((change,), (*goals, wait), on_failure=(Stage((removal,)),), rollback_on=frozenset({"mismatch"}))


def _said(override: DeviceOverride) -> dict[str, Any]:
    """Return the user's values for one device of CreateImage. The volume gives each value that is left out."""
    names = {
        "volume_size": "VolumeSize",
        "volume_type": "VolumeType",
        "iops": "Iops",
        "throughput": "Throughput",
        "delete_on_termination": "DeleteOnTermination",
    }
    return {names[option]: value for option, value in override.said.items() if option in names}


def create_image(spec: ImageSpec, state: State, instance: Instance, targets: list[Target]) -> Change:
    """Return the CreateImage change, with which EC2 itself takes the snapshots and registers the image.

    The request leaves out devices that are no target.
    """
    wanted = {target.device_name for target in targets}
    overrides = {override.device_name: override for override in spec.overrides}
    mappings: list[dict[str, Any]] = []
    for device in sorted(instance.block_devices, key=lambda item: item.device_name):
        override = overrides.get(device.device_name)
        if device.device_name not in wanted:
            mappings.append({"DeviceName": device.device_name, "NoDevice": ""})
        elif override is not None and len(override.said) > 1:
            mappings.append({"DeviceName": device.device_name, "Ebs": _said(override)})
    tags = own_tags(spec, instance.instance_id)
    image = _created(spec, state, instance, targets)
    parameters: dict[str, Any] = {
        "InstanceId": instance.instance_id,
        "Name": spec.image_name,
        "Description": described(spec, instance.instance_id),
        "NoReboot": True,
        "TagSpecifications": [specification("image", tags), specification("snapshot", tags)],
    }
    if mappings:
        parameters["BlockDeviceMappings"] = mappings
    return Change(
        "CreateImage",
        image.image_id,
        state.region,
        parameters,
        f"create {spec.label}; CreateImage keeps the billed platform {instance.platform_details}",
        after={**predicted(image), "snapshots": [_taken(spec, state, instance, target) for target in targets]},
        identity=name_query(spec),
    )


def _created(spec: ImageSpec, state: State, instance: Instance, targets: list[Target]) -> Image:
    """Return the image that CreateImage will make, with the hardware of the instance, and devices from its volumes and
    the user's values.

    (EC2 API reference, CreateImage and Instance.)
    """
    facts = instance.facts
    return Image(
        image_id=planned("image", spec.label),
        name=spec.image_name,
        state="pending" if spec.state == "captured" else "available",
        owner_id=instance.owner_id,
        architecture=facts.get("Architecture"),
        root_device_name=instance.root_device_name,
        virtualization_type=facts.get("VirtualizationType"),
        boot_mode=facts.get("BootMode"),
        ena_support=facts.get("EnaSupport"),
        sriov_net_support=facts.get("SriovNetSupport"),
        tpm_support=facts.get("TpmSupport"),
        block_devices=tuple(_created_device(spec, state, target) for target in targets),
        tags=own_tags(spec, instance.instance_id),
        **billing(instance),
    )


def _taken_id(spec: ImageSpec, target: Target) -> str:
    return planned("snapshot", f"{spec.label} {target.device_name}")


def _created_device(spec: ImageSpec, state: State, target: Target) -> ImageDevice:
    """Return one device of the image, with the user's values, or else the volume's if the type is the same."""
    volume = state.volume(target.volume_id)
    override = next((item for item in spec.overrides if item.device_name == target.device_name), None)
    said = {} if override is None else override.said
    inherits = volume is not None and said.get("volume_type") in (None, volume.volume_type)
    like = volume if inherits else None
    return ImageDevice(
        target.device_name,
        snapshot_id=_taken_id(spec, target),
        size=said.get("volume_size") or (volume.size if volume else None),
        volume_type=said.get("volume_type") or (volume.volume_type if volume else None),
        iops=said.get("iops") or (like.iops if like else None),
        throughput=said.get("throughput") or (like.throughput if like else None),
        delete_on_termination=said.get("delete_on_termination", target.delete_on_termination),
        encrypted=volume.encrypted if volume else None,
    )


def _taken(spec: ImageSpec, state: State, instance: Instance, target: Target) -> dict[str, Any]:
    """Return the view of a snapshot that CreateImage takes by itself. `prediction.overlay` reads it back."""
    volume = state.volume(target.volume_id)
    snapshot = Snapshot(
        snapshot_id=_taken_id(spec, target),
        volume_id=target.volume_id,
        volume_size=volume.size if volume else 0,
        encrypted=volume.encrypted if volume else False,
        kms_key_id=volume.kms_key_id if volume else None,
        owner_id=instance.owner_id,
        tags=own_tags(spec, instance.instance_id),
    )
    return {key: value for key, value in view(snapshot).items() if value not in (None, "")}
