# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registration of an image from the snapshot of one volume. A base image may give the facts that a snapshot lacks.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..._domain.image_versions import billing_obstacle
from ..._kernel.errors import SpecError
from ..._kernel.plan import Change
from ..._kernel.resources import Image, ImageDevice, Volume
from ..._kernel.state import State
from .requests import ebs, register
from .spec import HARDWARE, WITHOUT, DeviceOverride, ImageSpec

# RegisterImage makes images of this platform only (EC2 API reference, RegisterImage).
_PLAIN = "Linux/UNIX"


@dataclass(frozen=True)
class Captured:
    """The root of the new image: its snapshot, the size and encryption of that snapshot, and the account."""

    snapshot_id: str
    size: int
    encrypted: bool
    owner_id: str | None
    volume_type: str | None = None


def require_base(spec: ImageSpec, state: State) -> Image | None:
    """Return the base image of the task, or None without one.

    Raises SpecError if it does not exist, or if RegisterImage cannot keep its billing.
    """
    if spec.base_image_id is None:
        return None
    base = state.image(spec.base_image_id)
    if base is None:
        raise SpecError(
            f"base_image_id: {spec.base_image_id} does not exist in {state.region}, or is not shared with this "
            "account. Check the id and the region."
        )
    obstacle = billing_obstacle(base)
    if obstacle:
        raise SpecError(f"base_image_id: {obstacle}")
    return base


def registration(spec: ImageSpec, state: State, root: Captured, base: Image | None) -> tuple[Change, dict[str, Any]]:
    """Return the RegisterImage of the task, and the platform that EC2 must then show. *base*: as `require_base`."""
    hardware = _hardware(spec, base)
    root_name = str(hardware["RootDeviceName"])
    devices = {item.device_name: item for item in (base.block_devices if base is not None else ())}
    _require_overrides(spec, {root_name, *devices}, root_name)
    overrides = {item.device_name: item for item in spec.overrides}
    override = overrides.get(root_name, DeviceOverride(root_name))
    mapping, source = _root(override, root, devices.pop(root_name, None))
    mappings, sources = [mapping], {root_name: source}
    for name, device in sorted(devices.items()):
        asked = overrides.get(name, DeviceOverride(name))
        if asked.omitted:
            continue
        mapping, source = _carried(asked, device)
        mappings.append(mapping)
        sources[name] = source
    platform = {"platform_details": spec.platform_details} if spec.platform_details else {}
    if base is not None:
        platform.setdefault("platform_details", _PLAIN)
    change = register(spec, state, spec.origin, hardware, mappings, root.owner_id, platform, sources)
    return change, platform


def _hardware(spec: ImageSpec, base: Image | None) -> dict[str, Any]:
    """Return RegisterImage's parameters for the hardware: the options of the task, or else the facts of the base."""
    found: dict[str, Any] = {}
    for option, parameter in HARDWARE.items():
        value = spec.hardware.get(option)
        value = getattr(base, option, None) if value is None else value
        if value not in (None, "", WITHOUT):
            found[parameter] = value
    found.setdefault("VirtualizationType", "hvm")
    missing = [option for option in ("architecture", "root_device_name") if HARDWARE[option] not in found]
    if missing:
        raise SpecError(f"base_image_id: {spec.base_image_id} has no {', '.join(missing)}. Set these options.")
    if found["VirtualizationType"] == "hvm" and base is not None:
        # EC2 refuses a kernel on hvm images; old images still show one.
        found.pop("KernelId", None)
        found.pop("RamdiskId", None)
    return found


def _require_overrides(spec: ImageSpec, known: set[str], root: str) -> None:
    for override in spec.overrides:
        if override.device_name not in known:
            raise SpecError(
                f"block_devices: the image has no device {override.device_name}. Use {', '.join(sorted(known))}"
            )
        if override.omitted and override.device_name == root:
            raise SpecError(f"block_devices: an image needs its root device {root}. Remove omitted.")


def _root(override: DeviceOverride, root: Captured, device: ImageDevice | None) -> tuple[dict[str, Any], Volume]:
    """Return the root's block device mapping, and the volume that it stands for. *device*: the root of the base."""
    source = Volume(
        volume_id="",
        size=root.size,
        volume_type=override.volume_type or root.volume_type or "gp3",
        encrypted=root.encrypted,
    )
    if device is None:
        return ebs(override, root.snapshot_id, source, True, boot=True), source
    source = _like(device, source)
    if override.volume_size is None and (device.size or 0) > root.size:
        override = replace(override, volume_size=device.size)
    return ebs(override, root.snapshot_id, source, device.delete_on_termination is not False, boot=True), source


def _carried(override: DeviceOverride, device: ImageDevice) -> tuple[dict[str, Any], Volume]:
    """Return the mapping of a further device of the base image, and the volume that it stands for."""
    source = _like(device, Volume("", size=device.size or 0, encrypted=bool(device.encrypted)))
    if device.virtual_name:
        return {"DeviceName": device.device_name, "VirtualName": device.virtual_name}, source
    override = replace(override, volume_size=override.volume_size or device.size)
    mapping = ebs(override, device.snapshot_id or "", source, bool(device.delete_on_termination), boot=False)
    if device.snapshot_id is None:
        mapping["Ebs"] |= {"Encrypted": bool(device.encrypted)}
        del mapping["Ebs"]["SnapshotId"]
    return mapping, source


def _like(device: ImageDevice, volume: Volume) -> Volume:
    """Return *volume* with the type and the performance of an image's device."""
    asked: Mapping[str, Any] = {"iops": device.iops, "throughput": device.throughput}
    return replace(volume, volume_type=device.volume_type or volume.volume_type, **asked)
