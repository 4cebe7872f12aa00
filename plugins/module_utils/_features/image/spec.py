# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of `ami_bake` as a checked spec, and the identity of an image: tags, fingerprint, name.

Private to this collection.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..._domain import image_versions
from ..._domain.image_versions import LONGEST_DESCRIPTION, MACHINE, digest, is_unmistakable, mark_of, source_hash
from ..._domain.volume_types import require_performance
from ..._kernel import tags as tag_names
from ..._kernel.errors import SpecError
from ..._kernel.ids import planned_in, require_id, require_image_name, require_text
from ..._kernel.state import Query, own_images, own_snapshots
from ..._kernel.tags import require_tags
from .distribution_spec import Distribution, parse_distribution

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


_PLANNED = frozenset({"Name", "Description", "BlockDeviceMappings", "TagSpecifications", *HARDWARE.values()})
"""The parameters of RegisterImage in a plan."""

# The user's value for "without it": if the option is left out, the image has the source's value.
WITHOUT = "none"


@dataclass(frozen=True)
class DeviceOverride:
    """The user's values for one device of the image. None stands for the source's value. ``omitted``: the image is
    without the device.
    """

    device_name: str
    volume_size: int | None = None
    volume_type: str | None = None
    iops: int | None = None
    throughput: int | None = None
    delete_on_termination: bool | None = None
    omitted: bool | None = None

    @property
    def said(self) -> dict[str, Any]:
        """Return the options that the task sets."""
        return {key: value for key, value in self.__dict__.items() if value is not None}


@dataclass(frozen=True)
class ImageSpec:
    """The options of `ami_bake`, checked. ``hardware`` has only the options that the task sets.

    ``registration``: the parameters of RegisterImage that an earlier task has planned for this image, or None.

    ``devices``: ``root``, ``all``, or the names of devices. ``image_name``: with ``state`` absent, a name that EC2
    would refuse is accepted, since no image gets it.
    """

    name: str
    version: str
    image_name: str
    state: str
    source_instance_id: str | None
    source_snapshot_id: str | None
    follow_successor: bool
    method: str
    require_stopped: bool
    devices: str | tuple[str, ...]
    overrides: tuple[DeviceOverride, ...]
    hardware: Mapping[str, Any]
    description: str | None
    platform_details: str | None
    tags: Mapping[str, str]
    force: bool
    distribution: Distribution
    source_image_id: str | None = None
    kms_key_id: str | None = None
    source_volume_id: str | None = None
    base_image_id: str | None = None
    registration: Mapping[str, Any] | None = None

    @property
    def identity(self) -> dict[str, str]:
        """Return the tags that say which version an image or snapshot is."""
        return {tag_names.IMAGE: self.name, tag_names.VERSION: self.version}

    @property
    def label(self) -> str:
        """Return the name of the version in plans and messages."""
        return f"{self.name}/{self.version}"

    @property
    def source(self) -> str:
        """Return the id of the source instance, snapshot, image or volume, or an empty text."""
        return next((found for found in self._sources.values() if found), "")

    @property
    def origin(self) -> str:
        """Return the id that the fingerprint and the default description name.

        This is the source. For a volume it is the base image, which a check knows before the volume exists. VolumeId of
        the snapshot proves the volume.
        """
        return (self.base_image_id if self.source_volume_id else None) or self.source

    @property
    def _sources(self) -> dict[str, str | None]:
        """Return the ids of the possible sources, by the kind that a fingerprint hashes."""
        return {
            "instance": self.source_instance_id,
            "image": self.source_image_id,
            "volume": self.source_volume_id,
            "snapshot": self.source_snapshot_id,
        }

    @property
    def is_given(self) -> bool:
        """Return whether the source is a snapshot or a volume, which does not show its machine."""
        return bool(self.source_snapshot_id or self.source_volume_id)

    @property
    def number_of_sources(self) -> int:
        """Return the number of sources that the task names."""
        return sum(map(bool, self._sources.values()))

    def source_hash(self, source: str) -> str:
        """Return the hash of *source* and of the task's kind of source, the first half of a fingerprint."""
        kind = next((name for name, found in self._sources.items() if found), "snapshot")
        return source_hash(kind, source)

    @property
    def shape_hash(self) -> str:
        """Return the second half of a fingerprint: devices and block_devices."""
        return digest(
            [
                self.devices if isinstance(self.devices, str) else list(self.devices),
                *sorted((item.said for item in self.overrides), key=lambda said: str(said["device_name"])),
            ]
        )

    def fingerprint(self, source: str) -> str:
        """Return the value of the tag ``ec2ops:fingerprint`` for an image of this spec that is made from *source*."""
        return f"{self.source_hash(source)}-{self.shape_hash}"


def parse(params: Mapping[str, Any], region: str) -> ImageSpec:
    """Return the module's options as a spec. Raises SpecError for mistakes that can be found without a call to EC2."""
    name, version = (require_text(params[option], option).strip() for option in ("name", "version"))
    for option, value in (("name", name), ("version", version)):
        if not value or len(value) > tag_names.LONGEST_VALUE:
            raise SpecError(
                f"{option}: a tag keeps the value, and {value!r} has {len(value)} characters. Use 1 to "
                f"{tag_names.LONGEST_VALUE}"
            )
        if planned_in(value):
            raise SpecError(f"{option}: {value!r} looks like a planned id. Use another text")
    hardware = {key: params[key] for key in HARDWARE if params.get(key) is not None}
    image_name = _image_name(params["image_name"], name, version, made=params["state"] != "absent")
    spec = ImageSpec(
        name=name,
        version=version,
        image_name=image_name,
        state=params["state"],
        source_instance_id=params.get("source_instance_id"),
        source_snapshot_id=params.get("source_snapshot_id"),
        follow_successor=params["follow_successor"],
        method=params["method"],
        require_stopped=params["require_stopped"],
        devices=_devices(params["devices"]),
        overrides=tuple(_override(item) for item in params.get("block_devices") or ()),
        hardware=hardware,
        description=params.get("description"),
        platform_details=params.get("platform_details"),
        tags=require_tags(params.get("tags") or {}, "tags", ours=4),
        force=params["force"],
        distribution=parse_distribution(params, region),
        source_image_id=params.get("source_image_id"),
        kms_key_id=(params.get("kms_key_id") or "").strip() or None,
        source_volume_id=params.get("source_volume_id"),
        base_image_id=params.get("base_image_id"),
        registration=_registration(params, image_name),
    )
    if spec.state != "absent":
        _require_source(spec)
    return spec


def _registration(params: Mapping[str, Any], image_name: str) -> Mapping[str, Any] | None:
    """Return the planned parameters of RegisterImage, or None without the option.

    Raises SpecError for parameters that no plan for this image has.
    """
    planned: Mapping[str, Any] = params.get("registration") or {}
    if not planned:
        return None
    unknown = sorted(set(map(str, planned)) - _PLANNED)
    if unknown:
        raise SpecError(f"registration.{unknown[0]}: is unknown. Use {', '.join(sorted(_PLANNED))}")
    if planned.get("Name") != image_name:
        raise SpecError(
            f"registration.Name: is {planned.get('Name')!r}, and the task makes the image {image_name!r}. Pass the "
            "parameters of RegisterImage from a plan for this image, or leave the option out"
        )
    mappings = planned.get("BlockDeviceMappings", [])
    if not isinstance(mappings, list) or not all(isinstance(item, Mapping) for item in mappings):
        raise SpecError("registration.BlockDeviceMappings: is not a list of mappings. Pass that of the plan")
    for name in HARDWARE.values():
        if not isinstance(planned.get(name, ""), (str, bool)):
            raise SpecError(f"registration.{name}: {planned[name]!r} is neither text nor a boolean")
    return planned


def _image_name(template: str, name: str, version: str, *, made: bool) -> str:
    try:
        value = template.format(name=name, version=version)
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise SpecError(
            f"image_name: {template!r} is not a usable pattern ({error}). Use {{name}} and {{version}} only"
        ) from error
    return require_image_name(value) if made else value


def _devices(value: Any) -> str | tuple[str, ...]:
    if value in ("root", "all"):
        return str(value)
    if isinstance(value, list) and value and all(isinstance(name, str) and name for name in value):
        return tuple(sorted(set(value)))
    raise SpecError(f"devices: {value!r} is neither root nor all nor a list of device names such as [/dev/xvda].")


def _override(item: Mapping[str, Any]) -> DeviceOverride:
    values: dict[str, Any] = {key: item.get(key) for key in DeviceOverride.__dataclass_fields__}
    values["omitted"] = item.get("omitted") or None
    override = DeviceOverride(**values)
    what = f"block_devices: {override.device_name}"
    if override.omitted and len(override.said) > 2:
        others = sorted(set(override.said) - {"device_name", "omitted"})
        raise SpecError(f"{what}: omitted removes the device, so it excludes {', '.join(others)}. Remove one of them.")
    for option in ("volume_size", "iops", "throughput"):
        value = values[option]
        if value is not None and value < 1:
            raise SpecError(f"{what}: {option} {value} is too small. Use 1 or more")
    if override.volume_type is not None:
        require_performance(what, override.volume_type, override.volume_size, override.iops, override.throughput)
    return override


def _require_source(spec: ImageSpec) -> None:
    if spec.number_of_sources != 1:
        raise SpecError(
            "source_instance_id: the task needs exactly one of source_instance_id, source_snapshot_id, "
            "source_volume_id and source_image_id. Set one of them"
        )
    if spec.base_image_id and not spec.is_given:
        raise SpecError(
            "base_image_id: an instance or an image has the facts itself. Use it with source_volume_id or "
            "source_snapshot_id."
        )
    if spec.source_image_id:
        _require_copy(spec, spec.source_image_id)
    elif spec.kms_key_id:
        raise SpecError(
            "kms_key_id: only a copy of an image gets another key. Set source_image_id, or remove kms_key_id."
        )
    twice = [name for name, number in Counter(item.device_name for item in spec.overrides).items() if number > 1]
    if twice:
        raise SpecError(f"block_devices: {twice[0]} is listed twice. Remove one entry")
    if spec.source_instance_id:
        require_id("instance", spec.source_instance_id, "source_instance_id")
    if spec.is_given:
        _require_given(spec)
    if spec.method == "image":
        require_create_image(spec)


def _require_given(spec: ImageSpec) -> None:
    """Raise SpecError for options that do not fit a snapshot or a volume, and for facts that neither shows."""
    kind = "volume" if spec.source_volume_id else "snapshot"
    require_id(kind, spec.source, f"source_{kind}_id")
    if spec.base_image_id:
        require_id("image", spec.base_image_id, "base_image_id")
    if spec.devices != "root":
        raise SpecError(f"devices: {spec.devices} needs source_instance_id, since a {kind} is one device. Use root")
    if spec.method == "image":
        raise SpecError(
            "method: image (CreateImage) needs source_instance_id. Use method: snapshot, or name an instance"
        )
    # No current instance type fits RegisterImage's defaults (i386, paravirtual).
    missing = [option for option in ("architecture", "root_device_name", "ena_support") if option not in spec.hardware]
    if missing and not spec.base_image_id:
        raise SpecError(
            f"source_{kind}_id: a {kind} has no value for {', '.join(missing)}. Set these options, or base_image_id"
        )


def _require_copy(spec: ImageSpec, source: str) -> None:
    """Raise SpecError for options that CopyImage cannot carry out: it takes devices and hardware as they are."""
    require_id("image", source, "source_image_id")
    asked = {option for option in spec.hardware if (option, spec.hardware[option]) != ("imds_support", "v2.0")}
    asked |= {"devices"} if spec.devices != "root" else set()
    asked |= {"block_devices"} if spec.overrides else set()
    asked |= {"method"} if spec.method == "image" else set()
    asked |= {"platform_details"} if spec.platform_details else set()
    if asked:
        raise SpecError(
            f"source_image_id: CopyImage takes devices and hardware of the image as they are, so it cannot apply "
            f"{', '.join(sorted(asked))}. Remove these options."
        )


def require_create_image(spec: ImageSpec) -> None:
    """Raise SpecError for options that CreateImage cannot carry out: it takes the hardware of the instance as it is.

    CreateImage accepts other sizes and types of devices, although EC2's API reference says that only
    DeleteOnTermination can differ.
    """
    if spec.hardware:
        raise SpecError(
            f"method: CreateImage (method: image) takes the hardware of the instance as it is, so it cannot apply "
            f"{', '.join(sorted(spec.hardware))}. Remove these options."
        )


def default_description(spec: ImageSpec, source: str) -> str:
    """Return the description of the image and its snapshots when the task gives none. *source*: their source's id."""
    text = _as_description(f"{spec.name} {spec.version} from {source}")
    return text if is_unmistakable(spec.name, spec.version) else _marked(spec, text)


def described(spec: ImageSpec, source: str) -> str:
    """Return the description of the image that is made from *source*."""
    return _as_description(spec.description) if spec.description else default_description(spec, source)


def capture_description(spec: ImageSpec, source: str, machine: str = "") -> str:
    """Return the description of the snapshots that a capture of *source* takes: it names this version and no other.

    *machine*: the record of the machine, which a tag holds. If there is room, the description has its hash.
    """
    proof = f", machine {machine_hash(machine)}" if machine else ""
    if spec.description or not is_unmistakable(spec.name, spec.version):
        return _marked(spec, described(spec, source).removesuffix(mark_of(spec.name, spec.version)), proof)
    text = default_description(spec, source)
    return text + proof if len(text + proof) <= LONGEST_DESCRIPTION else text


def machine_hash(record: str) -> str:
    """Return the 16 hex digits in a capture's Description that prove its machine record."""
    return hashlib.sha256(record.encode()).hexdigest()[:16]


def machine_hash_in(text: str) -> str:
    """Return the machine hash in *text*, or an empty text."""
    found = MACHINE.search(text)
    return found[1] if found else ""


def names_source(spec: ImageSpec, text: str, source: str) -> bool:
    """Return whether a description is the default one of this version from *source*."""
    return MACHINE.sub("", text) == default_description(spec, source)


def names_version(spec: ImageSpec, text: str) -> bool:
    """Return whether only this version can have such a description, with any source."""
    return image_versions.names_version(spec.name, spec.version, text)


def names_another_version(spec: ImageSpec, text: str) -> bool:
    """Return whether the collection writes such a description for another version than this one.

    A description of a task may have the same form. The present description of the task does not count.
    """
    if names_version(spec, text) or (spec.description and text == _as_description(spec.description)):
        return False
    if image_versions.ANY_MARK.search(text):
        return True
    plain = MACHINE.sub("", text)
    return image_versions.PLAIN.fullmatch(plain) is not None and not plain.startswith(
        _as_description(f"{spec.name} {spec.version} from ")
    )


def _marked(spec: ImageSpec, text: str, proof: str = "") -> str:
    end = proof + mark_of(spec.name, spec.version)
    return text[: LONGEST_DESCRIPTION - len(end)] + end


def _as_description(text: str) -> str:
    # EC2 takes only ASCII in the descriptions of snapshots.
    return text.encode("ascii", "replace").decode()[:LONGEST_DESCRIPTION]


def captures_query(spec: ImageSpec) -> Query:
    """Return the query for the snapshots of this version."""
    return own_snapshots(spec.identity)


def name_query(spec: ImageSpec) -> Query:
    """Return the query for the image's name, which is unique in an account and region."""
    return own_images(("name", (spec.image_name,)))
