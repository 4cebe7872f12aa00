# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A capture whose instance is gone: the image is registered from the snapshots and their records of the machine.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..._kernel import tags as tag_names
from ..._kernel.errors import SpecError
from ..._kernel.plan import Plan, Stage, Wait
from ..._kernel.resources import Snapshot, Volume
from ..._kernel.state import State
from .machine import Machine, devices_by_volume, read_machine
from .requests import ebs, register, register_stage
from .spec import HARDWARE, WITHOUT, DeviceOverride, ImageSpec, machine_hash, machine_hash_in

_NEEDED = ("architecture", "root_device_name", "ena_support")
# Only a machine of this platform is captured before its image exists. For all others, CreateImage makes both at once.
_PLAIN = {"platform_details": "Linux/UNIX"}


def plan_orphan(spec: ImageSpec, state: State, kept: list[Snapshot], stages: list[Stage]) -> Plan:
    """Return *stages* and then RegisterImage from the capture *kept* of an instance that is gone.

    Raises SpecError if neither the snapshots nor the options have the facts that RegisterImage needs.
    """
    named = ", ".join(snapshot.snapshot_id for snapshot in kept)
    gone = f"source_instance_id: {spec.source} is gone"
    if spec.state == "captured":
        return Plan(tuple(stages), (f"{gone}. Its capture for {spec.label} is {named}.",))
    machine, note = _machine(kept)
    hardware = _hardware(spec, machine, gone, named)
    devices = _devices(spec, machine, kept, hardware, gone)
    mappings = [_mapping(spec, snapshot, devices[snapshot.volume_id], hardware) for snapshot in kept]
    sources = {
        devices[snapshot.volume_id][0]: Volume("", size=snapshot.volume_size, encrypted=snapshot.encrypted)
        for snapshot in kept
    }
    change = register(spec, state, spec.source, hardware, mappings, kept[0].owner_id, _PLAIN, sources)
    pending = tuple(snapshot.snapshot_id for snapshot in kept if snapshot.state != "completed")
    waits = [Stage(waits=(Wait(pending, "completed"),))] if pending else []
    warning = (
        f"{gone}. The task registers {spec.label} from its capture {named}, without UEFI variables. Its volumes are "
        f"gp3 unless block_devices sets another type.{note}"
    )
    return Plan((*stages, *waits, register_stage(change, _PLAIN)), (warning,))


def _machine(kept: list[Snapshot]) -> tuple[Machine | None, str]:
    """Return the machine that the tags record, and a sentence if the record is not proven.

    The descriptions have the hash of the record. Descriptions of earlier versions lack it. Then the tag counts for one
    volume, but not for several, since a wrong tag could exchange their devices.
    """
    records = {snapshot.tags.get(tag_names.MACHINE, "") for snapshot in kept}
    hashes = {machine_hash_in(snapshot.description) for snapshot in kept}
    if hashes == {""}:
        machine = read_machine(records.pop()) if len(kept) == 1 else None
        note = f" Only the tag {tag_names.MACHINE} records its machine. Check the tag." if machine is not None else ""
        return machine, note
    proven = [record for record in records if hashes == {machine_hash(record)}]
    return (read_machine(proven[0]) if proven else None), ""


def _hardware(spec: ImageSpec, machine: Machine | None, gone: str, named: str) -> dict[str, Any]:
    """Return RegisterImage's parameters: the user's options over the records on the snapshots."""
    found = dict(machine.hardware) if machine is not None else {}
    found.update({HARDWARE[option]: value for option, value in spec.hardware.items()})
    found.setdefault("VirtualizationType", "hvm")
    missing = [option for option in _NEEDED if option not in spec.hardware] if machine is None else []
    if missing:
        raise SpecError(
            f"{gone}, and its capture {named} does not record the machine. Set {', '.join(missing)} to register "
            f"{spec.label} from it, or delete {named} and name another source."
        )
    return {parameter: value for parameter, value in found.items() if value not in (WITHOUT, "")}


def _devices(
    spec: ImageSpec, machine: Machine | None, kept: list[Snapshot], hardware: Mapping[str, Any], gone: str
) -> dict[str, tuple[str, bool]]:
    """Return, by volume id, the device name and whether the volume is deleted on termination."""
    volumes = [snapshot.volume_id for snapshot in kept]
    if machine is not None:
        devices = devices_by_volume(machine, volumes)
    else:
        devices = {volumes[0]: (str(hardware["RootDeviceName"]), True)} if len(volumes) == 1 else None
    if devices is None:
        raise SpecError(
            f"{gone}, and nothing records the devices of its {len(volumes)} captured volumes "
            f"({', '.join(sorted(volumes))}). Register the image by hand, or delete the snapshots and name another "
            "source."
        )
    known = {name for name, _delete in devices.values()}
    for override in spec.overrides:
        if override.device_name not in known and not override.omitted:
            raise SpecError(
                f"block_devices: the image has no device {override.device_name}. Use {', '.join(sorted(known))}"
            )
    return devices


def _mapping(
    spec: ImageSpec, snapshot: Snapshot, device: tuple[str, bool], hardware: Mapping[str, Any]
) -> dict[str, Any]:
    name, delete = device
    override = next((item for item in spec.overrides if item.device_name == name), DeviceOverride(name))
    source = Volume(volume_id="", size=snapshot.volume_size, volume_type=override.volume_type or "gp3")
    return ebs(override, snapshot.snapshot_id, source, delete, boot=name == hardware["RootDeviceName"])
