# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The machine that a capture was taken of, in a tag on its snapshots.

A snapshot does not show the architecture, the boot mode or the device names of its instance, and EC2 forgets a
terminated instance after an hour. With this record the capture can still be registered. The descriptions of the
snapshots have the hash of the record: see `spec.capture_description`. Snapshots of earlier versions of the collection
lack the hash, or both.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..._kernel.resources import Instance
from ..._kernel.tags import LONGEST_VALUE

# The short name of each RegisterImage parameter in the record.
_KEYS = {
    "Architecture": "arch",
    "VirtualizationType": "virt",
    "BootMode": "boot",
    "EnaSupport": "ena",
    "TpmSupport": "tpm",
    "ImdsSupport": "imds",
    "RootDeviceName": "root",
}
_YES = "true"


@dataclass(frozen=True)
class Machine:
    """``hardware``: RegisterImage's parameters. ``devices``: (name, delete on termination) by the id of the volume."""

    hardware: Mapping[str, Any]
    devices: tuple[tuple[str, bool], ...]


def required_imds(instance: Instance) -> str | None:
    """Return ``v2.0`` when the instance's own metadata options require IMDSv2, else None."""
    options = instance.facts.get("MetadataOptions") or {}
    return "v2.0" if options.get("HttpTokens") == "required" else None


def machine_record(instance: Instance, devices: Mapping[str, tuple[str, bool]]) -> str:
    """Return the tag's value for a capture of these volumes: (device name, delete on termination) by volume id.

    Return an empty text if the 256 characters of a tag are not enough, and for a paravirtual machine, which needs a
    kernel too.
    """
    facts = {**instance.facts, "ImdsSupport": required_imds(instance), "RootDeviceName": instance.root_device_name}
    values = {key: facts.get(parameter) for parameter, key in _KEYS.items()}
    if values["virt"] != "hvm" or not values["arch"]:
        return ""
    words = [f"{key}={_YES if value is True else value}" for key, value in values.items() if value]
    listed = ",".join(f"{name}{'+' if delete else '-'}" for _volume, (name, delete) in sorted(devices.items()))
    record = " ".join([*words, f"devices={listed}"])
    return record if len(record) <= LONGEST_VALUE else ""


def read_machine(record: str) -> Machine | None:
    """Return the machine in a tag, or None without a record or for the format of a later version."""
    values = dict(word.partition("=")[::2] for word in record.split(" ") if word)
    devices = values.get("devices", "")
    if not devices or any(part[-1:] not in ("+", "-") for part in devices.split(",")):
        return None
    hardware: dict[str, Any] = {
        parameter: value for parameter, key in _KEYS.items() if (value := values.get(key)) is not None
    }
    if "EnaSupport" in hardware:
        hardware["EnaSupport"] = hardware["EnaSupport"] == _YES
    return Machine(hardware, tuple((part[:-1], part.endswith("+")) for part in devices.split(",")))


def devices_by_volume(machine: Machine, volume_ids: Sequence[str]) -> dict[str, tuple[str, bool]] | None:
    """Return the devices of these volumes, or None if their number differs from that of the captured volumes."""
    if len(volume_ids) != len(machine.devices):
        return None
    return dict(zip(sorted(volume_ids), machine.devices, strict=True))
