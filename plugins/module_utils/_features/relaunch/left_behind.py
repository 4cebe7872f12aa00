# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The predecessor's data volumes, addresses, load balancers and late writes, which a successor lacks.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..._domain.instance_facts import (
    carried_parameters,
    read_fact,
)
from ..._domain.load_balancers import balanced_by
from ..._kernel.errors import listed
from ..._kernel.facts import type_facts
from ..._kernel.plan import Change
from ..._kernel.proofs import is_taken_of
from ..._kernel.resources import BlockDevice, Image, Instance
from ..._kernel.state import Query, State, by_id
from .interface_moves import described_interfaces
from .launch import add_processors, public_address
from .options import RelaunchSpec


def data_volumes(old: Instance) -> list[BlockDevice]:
    """Return the block devices of the predecessor without its root, by device name."""
    devices = [device for device in old.block_devices if device.device_name != old.root_device_name]
    return sorted(devices, key=lambda device: device.device_name)


def _copied(state: State, old: Instance, image: Image) -> frozenset[str] | None:
    """Return the device names of the data volumes that the image has snapshots of, or None if the image does not show
    its devices.

    Any image that EC2 shows has at least its root. A device with the same name counts only if its snapshot was taken of
    the same volume. The image of another instance has other content there.
    """
    if not image.block_devices:
        return None
    parts = _snapshots_at(image)
    found = {name: state.snapshot(snapshot_id) for name, snapshot_id in parts.items()}
    return frozenset(
        item.device_name
        for item in data_volumes(old)
        if (part := found.get(item.device_name)) is not None and is_taken_of(part, item.volume_id)
    )


def _snapshots_at(image: Image) -> dict[str, str]:
    """Return, by device name, the snapshots of the image, without that of its root. A device without a snapshot is
    empty at first.
    """
    return {
        device.device_name: device.snapshot_id
        for device in image.block_devices
        if device.snapshot_id is not None and device.device_name != image.root_device_name
    }


def origin_queries(spec: RelaunchSpec, state: State, old: Instance) -> tuple[Query, ...]:
    """Return the volumes of the image's snapshots at the device names of the data volumes."""
    image = state.image(spec.image_id)
    if image is None:
        return ()
    parts, names = _snapshots_at(image), [item.device_name for item in data_volumes(old)]
    return by_id("DescribeSnapshots", "snapshot-id", [parts[name] for name in names if name in parts])


def _named(devices: Iterable[BlockDevice]) -> str:
    return listed(f"{device.device_name} ({device.volume_id})" for device in devices)


def _attachments(spec: RelaunchSpec, state: State, old: Instance, image: Image) -> list[tuple[str, str]]:
    """Return the predecessor's attachments that the successor lacks, each with its option."""
    found = []
    copied = _copied(state, old, image)
    volumes = [] if copied is None else [item for item in data_volumes(old) if item.device_name not in copied]
    if volumes:
        found.append(("data_volumes", f"data volumes {_named(volumes)}"))
    if len(old.interfaces) > 1:
        found.append(("network_interfaces", f"network interfaces {described_interfaces(old)}"))
    if old.elastic_ip:
        found.append(("elastic_ip", _elastic_address(old)))
    found += [("target_groups", text) for text in balanced_by(state, old)]
    return [item for item in found if item[0] not in spec.moved]


def _elastic_address(old: Instance) -> str:
    address = old.facts.get("PublicIpAddress") or read_fact(old.facts, "NetworkInterfaces.Association.PublicIp")
    return f"Elastic IP {address}"


def _foreign_content(spec: RelaunchSpec, state: State, old: Instance, image: Image) -> list[str]:
    """Return the warning about data volumes whose device names have the content of another volume in the successor."""
    copied, parts = _copied(state, old, image) or (), _snapshots_at(image)
    names = [item.device_name for item in data_volumes(old)] if "data_volumes" not in spec.moved else []
    foreign = [f"{name} ({parts[name]})" for name in names if name in parts and name not in copied]
    if not foreign:
        return []
    warning = (
        f"EC2 does not show that the snapshots of {image.image_id} at {', '.join(foreign)} were taken of the volumes "
        f"of {old.instance_id} at these devices. The successor starts with the content of these snapshots"
    )
    return [warning]


def _kept(spec: RelaunchSpec, state: State, old: Instance, image: Image, released: Iterable[str] = ()) -> list[str]:
    """Return the attachments that the successor lacks, each with the task's choice if it has one."""
    found = (item for item in _attachments(spec, state, old, image) if item[0] not in released)
    return [f"{text}{_chosen(spec, option)}" for option, text in found]


def _chosen(spec: RelaunchSpec, option: str) -> str:
    return "" if option in spec.unsaid else f" ({option}: keep)"


def unsaid_troubles(spec: RelaunchSpec, state: State, old: Instance, image: Image) -> Iterable[str]:
    """Yield the refusals of attachments that stay with the predecessor without the user's consent."""
    for option, text in _attachments(spec, state, old, image):
        if option in spec.unsaid:
            yield (
                f"{option}: {old.instance_id} has {text}, which its successor would lack. Set {option}: keep to "
                f"accept that the attachment stays with {old.instance_id} (old_instance: {spec.old_instance}), or "
                f"{option}: move"
            )


def left_behind(spec: RelaunchSpec, state: State, old: Instance) -> list[str]:
    """Return warnings about all parts of the predecessor that the successor will lack."""
    found = []
    # The image may be gone after an earlier run has launched from it.
    image = state.image(spec.image_id) or Image(spec.image_id, "")
    freed = old.elastic_ip and spec.old_instance == "terminate" and "elastic_ip" not in spec.moved
    kept = _kept(spec, state, old, image, ("elastic_ip",) if freed else ())
    if freed:
        address = _elastic_address(old)
        found.append(
            f"{address} stays allocated, but is associated with no instance once {old.instance_id} is terminated"
            f"{_chosen(spec, 'elastic_ip')}"
        )
    if kept:
        found.append(f"these stay with {old.instance_id}, and its successor lacks them: {'; '.join(kept)}")
    found += _foreign_content(spec, state, old, image)
    if old.state != "stopped":
        volumes = _captured_volumes(spec, state, old, image)
        found.append(
            f"the successor lacks the writes of {old.instance_id} to {volumes} since the capture of {spec.image_id}"
        )
    return found


def warnings_of(spec: RelaunchSpec, state: State, old: Instance, image: Image) -> tuple[str, ...]:
    """Return the warnings about the predecessor's parts that the successor lacks, or has in another form."""
    found = left_behind(spec, state, old)
    data = data_volumes(old)
    if data and "data_volumes" not in spec.moved and _copied(state, old, image) is None:
        found.append(
            f"the data volumes {_named(data)} stay with {old.instance_id}{_chosen(spec, 'data_volumes')}. "
            f"{spec.image_id} does not show its devices yet, so only the real run shows whether the successor gets "
            "copies of these volumes"
        )
    if old.state in ("stopping", "stopped") and not old.elastic_ip and public_address(old) is None:
        found.append(
            f"{old.instance_id} is {old.state}, so EC2 does not show whether it had a public address. The subnet "
            "decides whether the successor gets one"
        )
    root = state.volume(old.root_volume_id)
    device = next((item for item in image.block_devices if item.device_name == image.root_device_name), None)
    if root is not None and device is not None and device.size is not None and device.size < root.size:
        found.append(
            f"the root volume shrinks from {root.size} GiB ({old.instance_id}) to {device.size} GiB ({spec.image_id})"
        )
    if spec.overrides.instance_type not in (None, old.instance_type) and _has_cpu_options(state, old):
        found.append(
            f"the successor of {old.instance_id} does not get the CPU options of {old.instance_id}, which belong to "
            f"the type {old.instance_type}"
        )
    return tuple(found)


def weaker_than_image(launch: Change, image: Image) -> tuple[str, ...]:
    """Return the warning for a successor that accepts IMDSv1 although its image requires IMDSv2 (ImdsSupport v2.0)."""
    tokens = launch.parameters.get("MetadataOptions", {}).get("HttpTokens")
    if image.imds_support != "v2.0" or tokens != "optional":
        return ()
    warning = (
        f"{image.image_id} requires IMDSv2 (ImdsSupport v2.0), but {launch.resource} accepts IMDSv1 too (HttpTokens "
        "optional), like its predecessor. Set overrides.metadata_options.http_tokens to required"
    )
    return (warning,)


def _captured_volumes(spec: RelaunchSpec, state: State, old: Instance, image: Image) -> str:
    """Return the volumes of the predecessor that the image has copies of."""
    copied = _copied(state, old, image) if "data_volumes" not in spec.moved else frozenset[str]()
    names = [item.device_name for item in data_volumes(old) if copied is None or item.device_name in copied]
    if not names:
        return "its root volume"
    if copied is None:
        return "its volumes"
    return f"its volumes {', '.join([old.root_device_name, *names])}"


def _has_cpu_options(state: State, old: Instance) -> bool:
    parameters: dict[str, Any] = {}
    add_processors(parameters, old.facts, type_facts(state, old.instance_type))
    return bool(parameters or carried_parameters(old.facts).get("CpuOptions"))
