# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One version of one image: how it is captured from a source, registered, found again, and removed.

Identity is (name, version), kept in tags on the image and on the snapshots of its capture. The fingerprint beside it says
what it was made from. Everything a rerun needs is read from there.

Private to this collection.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from . import tags as tag_names
from .change import Change, Feature, Plan, Query, Stage, State, Wait, by_id
from .errors import Ambiguous, SpecError, UnsafePlan
from .lineage import lineage_queries, living, successor
from .names import is_planned, planned, require_id, require_image_name
from .resources import Image, ImageDevice, Instance, Snapshot, Volume, view
from .tags import replaced_ids, require_tags, specification
from .volume_types import VOLUME_TYPES, require_performance

# States in which an image will never be usable (EC2, ImageState); a rerun removes such a one and registers again.
_BROKEN = ("failed", "error", "invalid")
_GONE = ("deregistered",)
# PlatformDetails of images that RegisterImage can make from a snapshot without changing what EC2 bills for.
_PLAIN_PLATFORM = "Linux/UNIX"

# Resource types of DescribeImageReferences that need the image in order to work. An SSM parameter only names it.
_HOLDERS = ("ec2:Instance", "ec2:LaunchTemplate")

# Option -> RegisterImage's parameter, for the facts of the hardware that are inherited unless they are given.
HARDWARE = {
    "architecture": "Architecture",
    "virtualization_type": "VirtualizationType",
    "boot_mode": "BootMode",
    "ena_support": "EnaSupport",
    "sriov_net_support": "SriovNetSupport",
    "tpm_support": "TpmSupport",
    "uefi_data": "UefiData",
    "imds_support": "ImdsSupport",
    "kernel_id": "KernelId",
    "ramdisk_id": "RamdiskId",
    "root_device_name": "RootDeviceName",
}


# The user's word for "without it", where leaving the option out means "as the source has it".
_NONE = "none"


@dataclass(frozen=True)
class DeviceOverride:
    """What the user wants different for one device of the image. None: as the source has it."""

    device_name: str
    volume_size: int | None = None
    volume_type: str | None = None
    iops: int | None = None
    throughput: int | None = None
    delete_on_termination: bool | None = None

    @property
    def said(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if value is not None}


@dataclass(frozen=True)
class ImageSpec:
    """The options of `ami_bake`, checked. ``hardware`` has only what the user gave."""

    name: str
    version: str
    image_name: str
    state: str
    source_instance_id: str | None
    source_snapshot_id: str | None
    method: str
    require_stopped: bool
    devices: str
    overrides: tuple[DeviceOverride, ...]
    hardware: Mapping[str, Any]
    description: str | None
    tags: Mapping[str, str]
    force: bool

    @property
    def identity(self) -> dict[str, str]:
        return {tag_names.IMAGE: self.name, tag_names.VERSION: self.version}

    @property
    def label(self) -> str:
        return f"{self.name}/{self.version}"

    @property
    def source(self) -> str:
        return self.source_instance_id or self.source_snapshot_id or ""

    def fingerprint(self, source: str) -> str:
        """What an image of this spec, made from *source*, has in its tag ``ec2ops:fingerprint``."""
        kind = "instance" if self.source_instance_id else "snapshot"
        overrides = sorted((override.said for override in self.overrides), key=lambda said: str(said["device_name"]))
        content = json.dumps([kind, source, self.devices, overrides], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()


# --- options ------------------------------------------------------------------------------------------------------------------


def parse(params: Mapping[str, Any], region: str) -> ImageSpec:
    """The module's options as a spec. Raises SpecError for what can be refused without looking at EC2."""
    name, version = params["name"].strip(), str(params["version"]).strip()
    for option, value in (("name", name), ("version", version)):
        if not value or len(value) > tag_names.LONGEST_VALUE:
            raise SpecError(
                f"{option}: {value!r}: 1 to {tag_names.LONGEST_VALUE} characters, since it is kept as a tag"
            )
    hardware = {key: params[key] for key in HARDWARE if params.get(key) is not None}
    spec = ImageSpec(
        name=name,
        version=version,
        image_name=_image_name(params["image_name"], name, version),
        state=params["state"],
        source_instance_id=params.get("source_instance_id"),
        source_snapshot_id=params.get("source_snapshot_id"),
        method=params["method"],
        require_stopped=params["require_stopped"],
        devices=params["devices"],
        overrides=tuple(_override(item) for item in params.get("block_devices") or ()),
        hardware=hardware,
        description=params.get("description"),
        tags=require_tags(params.get("tags") or {}, "tags", ours=3),
        force=params["force"],
    )
    if spec.state != "absent":
        _require_source(spec)
    return spec


def _image_name(template: str, name: str, version: str) -> str:
    try:
        value = template.format(name=name, version=version)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise SpecError(f"image_name: {template!r} may use {{name}} and {{version}}, nothing else ({error})") from error
    return require_image_name(value)


def _override(item: Mapping[str, Any]) -> DeviceOverride:
    values: dict[str, Any] = {key: item.get(key) for key in DeviceOverride.__dataclass_fields__}
    override = DeviceOverride(**values)
    what = f"block_devices: {override.device_name}"
    if override.volume_type is not None:
        require_performance(what, override.volume_type, override.volume_size, override.iops, override.throughput)
    return override


def _require_source(spec: ImageSpec) -> None:
    if bool(spec.source_instance_id) == bool(spec.source_snapshot_id):
        raise SpecError("give one of source_instance_id and source_snapshot_id")
    seen: set[str] = set()
    for override in spec.overrides:
        if override.device_name in seen:
            raise SpecError(f"block_devices: {override.device_name} is named twice")
        seen.add(override.device_name)
    if spec.source_instance_id:
        require_id("instance", spec.source_instance_id, "source_instance_id")
    if spec.source_snapshot_id:
        require_id("snapshot", spec.source_snapshot_id, "source_snapshot_id")
        if spec.devices == "all":
            raise SpecError("devices: all needs source_instance_id; a snapshot is one device")
        if spec.method == "image":
            raise SpecError("method: image (CreateImage) needs source_instance_id")
        # A snapshot does not say what machine it boots. RegisterImage's defaults (i386, paravirtual) fit nothing made today.
        missing = [
            option for option in ("architecture", "root_device_name", "ena_support") if option not in spec.hardware
        ]
        if missing:
            raise SpecError(f"source_snapshot_id: a snapshot does not tell these, so give them: {', '.join(missing)}")
    if spec.method == "image":
        _require_create_image(spec)


def _require_create_image(spec: ImageSpec) -> None:
    """CreateImage takes the instance as it is: "The only option that can be changed for existing mappings is DeleteOnTermination"."""
    given = sorted(spec.hardware)
    changed = sorted(
        {key for override in spec.overrides for key in override.said} - {"device_name", "delete_on_termination"}
    )
    if given or changed:
        raise SpecError(
            f"method: image (CreateImage) cannot change {', '.join([*given, *changed])}; it takes the instance as it is "
            "(of block_devices only delete_on_termination)"
        )


# --- questions ----------------------------------------------------------------------------------------------------------------


def _tag_filters(spec: ImageSpec) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return tuple((f"tag:{key}", (value,)) for key, value in spec.identity.items())


def _images_query(*filters: tuple[str, tuple[str, ...]]) -> Query:
    return Query("DescribeImages", tuple(filters), (("IncludeDisabled", True), ("Owners", ("self",))))


def _captures_query(spec: ImageSpec) -> Query:
    return Query("DescribeSnapshots", _tag_filters(spec), (("OwnerIds", ("self",)),))


def _name_query(spec: ImageSpec) -> Query:
    return _images_query(("name", (spec.image_name,)))


def needs(spec: ImageSpec, state: State) -> tuple[Query, ...]:
    """What to ask next: the image first (a no-op ends there), then the capture, then what registering needs."""
    first = _images_query(*_tag_filters(spec))
    if spec.state == "absent":
        return (first, _captures_query(spec), *_usage_queries(spec, state))
    source: tuple[Query, ...]
    if spec.source_instance_id:
        source = lineage_queries([spec.source_instance_id])
    else:
        source = by_id("DescribeSnapshots", "snapshot-id", [spec.source], OwnerIds=("self",))
    queries = (first, *source)
    if not state.answered.issuperset(queries) or _usable_image(spec, state) is not None:
        return queries
    queries = (*queries, _captures_query(spec))
    if _captures_query(spec) not in state.answered:
        return queries
    return (*queries, *_making_queries(spec, state))


def _making_queries(spec: ImageSpec, state: State) -> tuple[Query, ...]:
    queries: list[Query] = []
    instance = _living_or_none(spec, state)
    method = _method(spec, instance)
    captured = bool(_captures(spec, state))
    # The name matters when the image is made. Where a capture exists an earlier run has looked, and RegisterImage refuses a
    # name that was taken since.
    if not captured and (spec.state == "available" or method == "image"):
        queries.append(_name_query(spec))
    if instance is None:
        return tuple(queries)
    if spec.state == "available" and method == "snapshot":
        queries += by_id("DescribeVolumes", "attachment.instance-id", [instance.instance_id])
        queries += by_id("DescribeImages", "image-id", [instance.image_id], IncludeDisabled=True)
        if instance.facts.get("CurrentInstanceBootMode") == "uefi" and "uefi_data" not in spec.hardware:
            queries.append(Query("GetInstanceUefiData", arguments=(("InstanceId", instance.instance_id),)))
    return tuple(queries)


def _usage_queries(spec: ImageSpec, state: State) -> tuple[Query, ...]:
    """For the removal: who uses the image, and which other images use its snapshots."""
    queries: list[Query] = []
    snapshots = {snapshot.snapshot_id for snapshot in _tagged(spec, state, Snapshot)}
    images = [image for image in _tagged(spec, state, Image) if image.state not in _GONE]
    for image in images:
        snapshots.update(image.snapshot_ids)
        if not is_planned(image.image_id) and not spec.force:
            queries.append(_references_query(image.image_id))
    users = by_id(
        "DescribeImages", "block-device-mapping.snapshot-id", snapshots, IncludeDisabled=True, Owners=("self",)
    )
    return (*queries, *users)


def _references_query(image_id: str) -> Query:
    """Own-account users of an image. Launch templates to EC2's default depth, their ten newest versions."""
    return Query("DescribeImageReferences", arguments=(("ImageIds", (image_id,)), ("IncludeAllResourceTypes", True)))


# --- what is there ------------------------------------------------------------------------------------------------------------


def _tagged(spec: ImageSpec, state: State, cls: type[Any]) -> list[Any]:
    """The resources of one class that carry this spec's identity, by id."""
    identity = spec.identity.items()
    found = [resource for resource in state.all(cls) if all(resource.tags.get(key) == value for key, value in identity)]
    return sorted(found, key=lambda resource: str(resource.resource_id))


def _usable_image(spec: ImageSpec, state: State) -> Image | None:
    """The image that this version is, in whatever state but a broken one."""
    found = [image for image in _tagged(spec, state, Image) if image.state not in (*_BROKEN, *_GONE)]
    if len(found) > 1:
        raise Ambiguous(
            f"several images are {spec.label} (tags {tag_names.IMAGE} and {tag_names.VERSION})", _ids(found)
        )
    return found[0] if found else None


def _captures(spec: ImageSpec, state: State) -> list[Snapshot]:
    """The snapshots of an earlier capture of this version, the ones that ended in an error left out."""
    return [snapshot for snapshot in _tagged(spec, state, Snapshot) if snapshot.state != "error"]


def _ids(resources: Iterable[Any]) -> list[str]:
    return sorted(resource.resource_id for resource in resources)


def _living_or_none(spec: ImageSpec, state: State) -> Instance | None:
    if not spec.source_instance_id:
        return None
    heir = successor(state, spec.source_instance_id)
    return heir or state.instance(spec.source_instance_id)


def _same_source(spec: ImageSpec, state: State, fingerprint: str | None) -> bool:
    """Whether *fingerprint* was made from this source, or from one that this source replaces or is replaced by."""
    sources = [spec.source]
    instance = _living_or_none(spec, state)
    if instance is not None:
        sources += [instance.instance_id, *replaced_ids(instance.tags)]
    return fingerprint in {spec.fingerprint(source) for source in sources}


def _require_same_source(spec: ImageSpec, state: State, what: str, resource: Image | Snapshot) -> None:
    instance = _living_or_none(spec, state)
    if instance is not None and instance.image_id == resource.resource_id:
        return
    if not _same_source(spec, state, resource.tags.get(tag_names.FINGERPRINT)):
        raise SpecError(
            f"{what} {resource.resource_id} is {spec.label} already, and it was made from another source, other devices or other "
            f"block_devices than {spec.source} with these options; give another version, or remove it with state: absent"
        )


def _method(spec: ImageSpec, instance: Instance | None) -> str:
    """``snapshot`` or ``image``. Only CreateImage keeps the billing of what is not plain Linux (EC2, RegisterImage)."""
    if spec.method != "auto":
        return spec.method
    if instance is not None and (instance.product_codes or instance.platform_details != _PLAIN_PLATFORM):
        return "image"
    return "snapshot"


# --- the plan -----------------------------------------------------------------------------------------------------------------


def plan(spec: ImageSpec, state: State, now: datetime) -> Plan:
    """What has to be done for this version to be captured, available or absent. Raises SpecError, Ambiguous, UnsafePlan."""
    if spec.state == "absent":
        return _plan_absent(spec, state)
    image = _usable_image(spec, state)
    if image is not None:
        return _plan_existing(spec, state, image)
    broken = [image for image in _tagged(spec, state, Image) if image.state in _BROKEN]
    cleanup = tuple(
        Change(
            "DeregisterImage",
            image.image_id,
            state.region,
            {},
            f"it ended as {image.state}, another is made",
            {"state": image.state},
        )
        for image in broken
    )
    _require_free_name(spec, state, broken)
    if spec.source_snapshot_id:
        return _plan_from_snapshot(spec, state, cleanup)
    instance = living(state, spec.source, "source_instance_id")
    method = _method(spec, instance)
    if method == "image":
        _require_create_image(spec)
        return _plan_create_image(spec, state, instance, cleanup)
    return _plan_capture(spec, state, instance, cleanup)


def _plan_existing(spec: ImageSpec, state: State, image: Image) -> Plan:
    _require_same_source(spec, state, "image", image)
    if image.state == "disabled":
        raise SpecError(
            f"image {image.image_id} is {spec.label} already, but it is disabled; enable it, or give another version"
        )
    if image.state != "pending":
        return Plan()
    waits = (
        [Wait((image.image_id,), "captured")]
        if spec.state == "captured"
        else [Wait((image.image_id,), "available", final=True)]
    )
    return Plan((Stage(waits=tuple(waits)),))


def _require_free_name(spec: ImageSpec, state: State, replaced: Iterable[Image]) -> None:
    dropped = set(_ids(replaced))
    for image in state.all(Image):
        if (
            image.name == spec.image_name
            and image.image_id not in dropped
            and image.owner_id in (None, _owner(spec, state))
        ):
            raise SpecError(
                f"image_name: {spec.image_name!r} is the name of {image.image_id}, which is not {spec.label} of this collection; "
                "give another image_name or version, or deregister that image"
            )


def _owner(spec: ImageSpec, state: State) -> str | None:
    """The account of this run, as far as what it owns tells: another account's image may have the same name."""
    instance = _living_or_none(spec, state)
    source = state.snapshot(spec.source_snapshot_id)
    return instance.owner_id if instance else source.owner_id if source else None


@dataclass(frozen=True)
class _Target:
    """A device of the source that goes into the image."""

    device_name: str
    volume_id: str
    delete_on_termination: bool


def _targets(spec: ImageSpec, instance: Instance) -> list[_Target]:
    if instance.root_device_type != "ebs":
        raise SpecError(
            f"source_instance_id: the root of {instance.instance_id} is instance store; only EBS can be captured"
        )
    if instance.root_volume_id is None:
        raise SpecError(
            f"source_instance_id: {instance.instance_id} has no volume at its root device {instance.root_device_name}"
        )
    targets = [_Target(item.device_name, item.volume_id, item.delete_on_termination) for item in instance.block_devices]
    if spec.devices == "root":
        targets = [target for target in targets if target.device_name == instance.root_device_name]
    known = {target.device_name for target in targets}
    for override in spec.overrides:
        if override.device_name not in known:
            raise SpecError(
                f"block_devices: {override.device_name} is not a device of the image, which has {', '.join(sorted(known))} "
                f"(devices: {spec.devices})"
            )
    return sorted(targets, key=lambda target: (target.device_name != instance.root_device_name, target.device_name))


def _require_quiet(spec: ImageSpec, instance: Instance) -> tuple[Stage, ...]:
    """What precedes a capture: nothing, or the wait for a stop that is under way. Refuses a source that still writes."""
    if instance.state == "stopping":
        return (Stage(waits=(Wait((instance.instance_id,), "stopped"),)),)
    if instance.state != "stopped" and spec.require_stopped:
        raise UnsafePlan(
            f"{instance.instance_id} is {instance.state}: what it writes now may be half in the image. Stop it first (instance_power, or "
            "the role golden_image), or accept crash consistency with require_stopped: false"
        )
    return ()


def _own_tags(spec: ImageSpec, source: str) -> dict[str, str]:
    return {**spec.tags, **spec.identity, tag_names.FINGERPRINT: spec.fingerprint(source)}


def _described(spec: ImageSpec, source: str) -> str:
    # EC2 takes 255 characters, and of snapshots only ASCII.
    text = spec.description or f"{spec.name} {spec.version} from {source}"
    return text.encode("ascii", "replace").decode()[:255]


def _plan_capture(spec: ImageSpec, state: State, instance: Instance, cleanup: tuple[Change, ...]) -> Plan:
    """CreateSnapshot(s), then RegisterImage."""
    targets = _targets(spec, instance)
    kept, spare = _choose_captures(spec, state, targets)
    for snapshot in kept:
        _require_same_source(spec, state, "snapshot", snapshot)
    # The broken image first: EC2 keeps the snapshots of every registered one.
    deletes = tuple(_delete_snapshot(snapshot, state.region, reason) for snapshot, reason in spare)
    stages = [Stage(changes) for changes in (cleanup, deletes) if changes]
    captured: dict[str, str]
    if kept:
        captured = {snapshot.volume_id: snapshot.snapshot_id for snapshot in kept}
        created: tuple[Change, ...] = ()
    else:
        stages.extend(_require_quiet(spec, instance))
        created = _capture_changes(spec, state, instance, targets)
        captured = {change.after["volume_id"]: change.resource for change in created if change.after}
    if spec.state == "captured":
        return Plan((*stages, Stage(created)) if created else tuple(stages))
    # Checked before the first effect, so also before the capture.
    register = _register_from_instance(spec, state, instance, targets, captured)
    pending = (
        tuple(captured.values()) if created else tuple(item.snapshot_id for item in kept if item.state != "completed")
    )
    if created or pending:
        stages.append(Stage(created, waits=(Wait(pending, "completed"),)))
    stages.append(_register_stage(register, _platform(instance)))
    return Plan(tuple(stages))


def _choose_captures(
    spec: ImageSpec, state: State, targets: list[_Target]
) -> tuple[list[Snapshot], list[tuple[Snapshot, str]]]:
    """The snapshots that are this version's capture (all of them or none), and those that are to be deleted, with the reason.

    Two runs at the same moment may both have captured. The earliest start time is the one, then the lowest id, in every run.
    """
    found = _tagged(spec, state, Snapshot)
    sets: dict[Any, list[Snapshot]] = {}
    for snapshot in found:
        # CreateSnapshots gives the same StartTime to all snapshots of one request.
        sets.setdefault(snapshot.start_time if spec.devices == "all" else snapshot.snapshot_id, []).append(snapshot)
    spare: list[tuple[Snapshot, str]] = []
    good: list[list[Snapshot]] = []
    for members in sets.values():
        failed = [snapshot for snapshot in members if snapshot.state == "error"]
        if failed:
            reason = failed[0].state_reason or "no reason given"
            spare += [
                (snapshot, f"its capture failed ({failed[0].snapshot_id}: {reason}), another is taken")
                for snapshot in members
            ]
        else:
            good.append(members)
    good.sort(key=lambda members: (str(members[0].start_time or ""), min(_ids(members))))
    spare += [(snapshot, f"{_ids(good[0])[0]} was there first") for members in good[1:] for snapshot in members]
    kept = good[0] if good else []
    if kept:
        _require_complete(spec, kept, targets)
    return kept, spare


def _require_complete(spec: ImageSpec, kept: list[Snapshot], targets: list[_Target]) -> None:
    """Each device of the image has its snapshot, and each snapshot its device, as at the time of the capture."""
    volumes = {target.volume_id for target in targets}
    strangers = [item for item in kept if item.volume_id not in volumes]
    missing = volumes - {item.volume_id for item in kept}
    if strangers or missing:
        raise SpecError(
            f"the capture of {spec.label} is of the volumes {', '.join(sorted(item.volume_id for item in kept))}, and the devices to bake "
            f"are now {', '.join(f'{target.device_name} ({target.volume_id})' for target in targets)}; give another version, or delete the "
            f"snapshots {', '.join(_ids(kept))}"
        )


def _delete_snapshot(snapshot: Snapshot, region: str, reason: str) -> Change:
    before = {"state": snapshot.state, "volume_id": snapshot.volume_id}
    return Change("DeleteSnapshot", snapshot.snapshot_id, region, {}, reason, before)


def _capture_changes(spec: ImageSpec, state: State, instance: Instance, targets: list[_Target]) -> tuple[Change, ...]:
    tags = _own_tags(spec, instance.instance_id)
    common = {
        "Description": _described(spec, instance.instance_id),
        "TagSpecifications": [specification("snapshot", tags)],
    }
    action = "CreateSnapshot" if spec.devices == "root" else "CreateSnapshots"
    consistency = "" if instance.state in ("stopped", "stopping") else ", crash-consistent: the instance is running"
    return tuple(
        Change(
            action,
            planned("snapshot", f"{spec.label} {target.device_name}"),
            state.region,
            {**common, "VolumeId": target.volume_id}
            if action == "CreateSnapshot"
            else {**common, "InstanceSpecification": {"InstanceId": instance.instance_id}},
            f"the point in time of {target.device_name}{consistency}",
            after={"volume_id": target.volume_id, "tags": tags},
            identity=_captures_query(spec),
        )
        for target in targets
    )


def _register_from_instance(
    spec: ImageSpec, state: State, instance: Instance, targets: list[_Target], captured: Mapping[str, str]
) -> Change:
    hardware = _inherited(spec, state, instance)
    mappings = [_mapping(spec, state, instance, target, captured[target.volume_id]) for target in targets]
    base = state.image(instance.image_id)
    taken = {mapping["DeviceName"] for mapping in mappings}
    for device in base.block_devices if base is not None else ():
        if device.virtual_name and device.device_name not in taken:
            mappings.append({"DeviceName": device.device_name, "VirtualName": device.virtual_name})
    return _register(spec, state, instance.instance_id, hardware, mappings, instance.owner_id, _platform(instance))


def _inherited(spec: ImageSpec, state: State, instance: Instance) -> dict[str, Any]:
    """RegisterImage's parameters for the hardware: what the user gave, else the instance's, else its image's."""
    base = state.image(instance.image_id)
    if base is None and "imds_support" not in spec.hardware:
        raise SpecError(
            f"imds_support: {instance.image_id}, which {instance.instance_id} was launched from, is gone, so nothing tells whether it required "
            "IMDSv2; give imds_support: v2.0 or imds_support: none"
        )
    found: dict[str, Any] = {}
    for option, parameter in HARDWARE.items():
        value = spec.hardware.get(option)
        if value is None and option == "uefi_data":
            value = state.fact(f"{instance.instance_id}/uefiData")
        elif value is None:
            value = instance.facts.get(parameter)
        if value is None and base is not None:
            value = getattr(base, option, None)
        if value not in (None, "", _NONE):
            found[parameter] = value
    missing = [
        option
        for option in ("architecture", "virtualization_type", "root_device_name")
        if HARDWARE[option] not in found
    ]
    if missing:
        raise SpecError(f"neither {instance.instance_id} nor its image tells these, so give them: {', '.join(missing)}")
    if found["VirtualizationType"] == "hvm":
        # EC2 refuses a kernel on hvm images; instances of old images still show one.
        found.pop("KernelId", None)
        found.pop("RamdiskId", None)
    return found


def _mapping(spec: ImageSpec, state: State, instance: Instance, target: _Target, snapshot_id: str) -> dict[str, Any]:
    volume = state.volume(target.volume_id)
    if volume is None:
        raise SpecError(
            f"source_instance_id: the volume {target.volume_id} at {target.device_name} does not exist any more"
        )
    override = next(
        (item for item in spec.overrides if item.device_name == target.device_name), DeviceOverride(target.device_name)
    )
    return _ebs(
        override,
        snapshot_id,
        volume,
        target.delete_on_termination,
        boot=target.device_name == instance.root_device_name,
    )


def _ebs(
    override: DeviceOverride, snapshot_id: str, source: Volume, delete_on_termination: bool, *, boot: bool
) -> dict[str, Any]:
    """One entry of BlockDeviceMappings: the override's values, else the source's where they mean the same for the type."""
    volume_type = override.volume_type or source.volume_type
    rules = VOLUME_TYPES[volume_type]
    inherits = volume_type == source.volume_type
    iops = override.iops or (source.iops if inherits and rules.iops else None)
    throughput = override.throughput or (source.throughput if inherits and rules.throughput else None)
    if override.volume_size is not None and override.volume_size < source.size:
        raise SpecError(
            f"block_devices: {override.device_name}: {override.volume_size} GiB are less than the {source.size} GiB of its snapshot"
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


def _plan_from_snapshot(spec: ImageSpec, state: State, cleanup: tuple[Change, ...]) -> Plan:
    """RegisterImage from a snapshot that is there: its point in time is fixed already."""
    snapshot = state.snapshot(spec.source)
    if snapshot is None:
        raise SpecError(
            f"source_snapshot_id: {spec.source} does not exist in {state.region}, or belongs to another account"
        )
    if snapshot.state == "error":
        raise SpecError(
            f"source_snapshot_id: {spec.source} ended in error: {snapshot.state_reason or 'no reason given'}"
        )
    if snapshot.storage_tier == "archive":
        raise SpecError(f"source_snapshot_id: {spec.source} is archived; restore it to the standard tier first")
    if spec.state == "captured":
        return Plan()
    hardware = {HARDWARE[option]: value for option, value in spec.hardware.items() if value != _NONE}
    hardware.setdefault("VirtualizationType", "hvm")
    root = spec.hardware["root_device_name"]
    for override in spec.overrides:
        if override.device_name != root:
            raise SpecError(f"block_devices: {override.device_name} is not a device of the image, which has {root}")
    override = next(iter(spec.overrides), DeviceOverride(root))
    source = Volume(volume_id="", size=snapshot.volume_size, volume_type=override.volume_type or "gp3")
    mapping = _ebs(override, snapshot.snapshot_id, source, True, boot=True)
    register = _register(spec, state, spec.source, hardware, [mapping], snapshot.owner_id, {})
    stages = [Stage(cleanup)] if cleanup else []
    if snapshot.state != "completed":
        stages.append(Stage(waits=(Wait((snapshot.snapshot_id,), "completed"),)))
    return Plan((*stages, _register_stage(register, {})))


def _platform(instance: Instance) -> dict[str, Any]:
    """What EC2 bills for the source, and must bill for the image."""
    return {
        "platform_details": instance.platform_details,
        "usage_operation": instance.usage_operation,
        "product_codes": instance.product_codes,
    }


def _register(
    spec: ImageSpec,
    state: State,
    source: str,
    hardware: Mapping[str, Any],
    mappings: list[dict[str, Any]],
    owner_id: str | None,
    platform: Mapping[str, Any],
) -> Change:
    tags = _own_tags(spec, source)
    image = Image(
        image_id=planned("image", spec.label),
        name=spec.image_name,
        owner_id=owner_id,
        tags=tags,
        block_devices=tuple(_image_device(mapping) for mapping in mappings),
        **{
            option: hardware[parameter]
            for option, parameter in HARDWARE.items()
            if parameter in hardware and option != "uefi_data"
        },
        **platform,
    )
    parameters = {
        "Name": spec.image_name,
        "Description": _described(spec, source),
        "BlockDeviceMappings": mappings,
        "TagSpecifications": [specification("image", tags)],
        **hardware,
    }
    return Change(
        "RegisterImage",
        image.image_id,
        state.region,
        parameters,
        f"{spec.label} does not exist yet",
        after=_predicted(image),
        identity=_name_query(spec),
    )


def _predicted(image: Image) -> dict[str, Any]:
    """The view of an image that is about to be made, without what only EC2 knows."""
    return {
        key: value for key, value in view(image).items() if key not in ("image_id", "creation_date", "state_reason")
    }


def _image_device(mapping: Mapping[str, Any]) -> ImageDevice:
    ebs = mapping.get("Ebs", {})
    return ImageDevice(
        mapping["DeviceName"],
        snapshot_id=ebs.get("SnapshotId"),
        size=ebs.get("VolumeSize"),
        volume_type=ebs.get("VolumeType"),
        iops=ebs.get("Iops"),
        throughput=ebs.get("Throughput"),
        delete_on_termination=ebs.get("DeleteOnTermination"),
        virtual_name=mapping.get("VirtualName"),
    )


def _register_stage(change: Change, platform: Mapping[str, Any], *goals: Wait) -> Stage:
    """The change that makes the image, the wait for it, and its removal when EC2 would bill it as something else."""
    wait = Wait((change.resource,), "available", final=True, expect=tuple(platform.items()))
    removal = Change(
        "DeregisterImage",
        change.resource,
        change.region,
        {},
        "EC2 would bill it as something else than its source",
        {"state": "available"},
    )
    return Stage((change,), (*goals, wait), on_failure=(Stage((removal,)),), rollback_on=frozenset({"mismatch"}))


def _plan_create_image(spec: ImageSpec, state: State, instance: Instance, cleanup: tuple[Change, ...]) -> Plan:
    """CreateImage with NoReboot: EC2 takes the snapshots and registers, and keeps product codes and platform."""
    targets = _targets(spec, instance)
    wanted = {target.device_name for target in targets}
    overrides = {override.device_name: override for override in spec.overrides}
    mappings: list[dict[str, Any]] = []
    for device in sorted(instance.block_devices, key=lambda item: item.device_name):
        override = overrides.get(device.device_name)
        if device.device_name not in wanted:
            mappings.append({"DeviceName": device.device_name, "NoDevice": ""})
        elif override is not None and override.delete_on_termination is not None:
            mappings.append(
                {"DeviceName": device.device_name, "Ebs": {"DeleteOnTermination": override.delete_on_termination}}
            )
    tags = _own_tags(spec, instance.instance_id)
    image = Image(
        image_id=planned("image", spec.label),
        name=spec.image_name,
        state="pending" if spec.state == "captured" else "available",
        owner_id=instance.owner_id,
        architecture=instance.facts.get("Architecture"),
        root_device_name=instance.root_device_name,
        virtualization_type=instance.facts.get("VirtualizationType"),
        tags=tags,
        **_platform(instance),
    )
    parameters: dict[str, Any] = {
        "InstanceId": instance.instance_id,
        "Name": spec.image_name,
        "Description": _described(spec, instance.instance_id),
        "NoReboot": True,
        "TagSpecifications": [specification("image", tags), specification("snapshot", tags)],
    }
    if mappings:
        parameters["BlockDeviceMappings"] = mappings
    after = {
        key: value
        for key, value in _predicted(image).items()
        if key not in ("block_devices", "boot_mode", "ena_support")
    }
    create = Change(
        "CreateImage",
        image.image_id,
        state.region,
        parameters,
        f"{spec.label} does not exist yet; CreateImage keeps what EC2 bills for {instance.platform_details}",
        after=after,
        identity=_name_query(spec),
    )
    captured = Wait((create.resource,), "captured")
    quiet = _require_quiet(spec, instance)
    leftovers = _tagged(spec, state, Snapshot)
    for snapshot in leftovers:
        _require_same_source(spec, state, "snapshot", snapshot)
    # The broken image first: EC2 keeps the snapshots of every registered one.
    strays = tuple(
        _delete_snapshot(snapshot, state.region, f"left over from a {spec.label} that failed") for snapshot in leftovers
    )
    stages = [Stage(changes) for changes in (cleanup, strays) if changes]
    if spec.state == "captured":
        return Plan((*stages, *quiet, Stage((create,), (captured,))))
    return Plan((*stages, *quiet, _register_stage(create, _platform(instance), captured)))


def _plan_absent(spec: ImageSpec, state: State) -> Plan:
    """DeregisterImage, then DeleteSnapshot of what this collection made for it and no other image uses."""
    images = [image for image in _tagged(spec, state, Image) if image.state not in _GONE]
    if len(images) > 1:
        raise Ambiguous(f"several images are {spec.label}; deregister the one that is not wanted", _ids(images))
    stages: list[Stage] = []
    for image in images:
        known = [] if spec.force else state.fact(f"{image.image_id}/references") or []
        users = [user["arn"] for user in known if user["resource_type"] in _HOLDERS]
        if users:
            names = ", ".join(sorted(users))
            raise UnsafePlan(
                f"image {image.image_id} ({spec.label}) is in use by {names}; force: true removes it all the same"
            )
        change = Change(
            "DeregisterImage",
            image.image_id,
            state.region,
            {},
            f"{spec.label} is to be absent",
            {"name": image.name, "state": image.state},
        )
        stages.append(Stage((change,)))
    removed = set(_ids(images))
    used = {
        snapshot: image.image_id
        for image in state.all(Image)
        if image.image_id not in removed
        for snapshot in image.snapshot_ids
    }
    # Only what carries the identity was made for this version: a snapshot that the user gave as the source stays.
    snapshots = _tagged(spec, state, Snapshot)
    deletes = tuple(
        _delete_snapshot(snapshot, state.region, f"made for {spec.label}, used by no other image")
        for snapshot in snapshots
        if snapshot.snapshot_id not in used
    )
    warnings = tuple(
        f"snapshot {snapshot.snapshot_id} of {spec.label} stays: {used[snapshot.snapshot_id]} uses it"
        for snapshot in snapshots
        if snapshot.snapshot_id in used
    )
    if deletes:
        stages.append(Stage(deletes))
    return Plan(tuple(stages), warnings)


# --- the result ---------------------------------------------------------------------------------------------------------------


def result(spec: ImageSpec, state: State) -> dict[str, Any]:
    """``image`` and ``image_id`` (null while there is none), ``snapshots`` (of the image, else of the capture), and the source."""
    image = next((item for item in _tagged(spec, state, Image) if item.state not in (*_BROKEN, *_GONE)), None)
    devices = {device.snapshot_id: device.device_name for device in image.block_devices} if image is not None else {}
    snapshots = {snapshot.snapshot_id: view(snapshot) for snapshot in _captures(spec, state)}
    for snapshot_id, device_name in devices.items():
        if snapshot_id is not None:
            known = state.snapshot(snapshot_id)
            snapshots[snapshot_id] = {
                **(view(known) if known else {"snapshot_id": snapshot_id}),
                "device_name": device_name,
            }
    instance = _living_or_none(spec, state)
    return {
        "image": None if image is None else view(image),
        "image_id": None if image is None else image.image_id,
        "snapshots": [snapshots[key] for key in sorted(snapshots)],
        "source_instance_id": instance.instance_id if instance is not None else spec.source_instance_id,
        "source_state": instance.state if instance is not None else None,
    }


FEATURE = Feature(parse=parse, needs=needs, plan=plan, result=result)
