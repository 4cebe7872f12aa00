# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Attachments to an instance: the free device names, and the number of volumes that its type takes.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .._kernel.facts import type_facts, type_queries
from .._kernel.resources import Instance, Volume
from .._kernel.state import Query, State, by_id
from .device_names import automatic_names, device_letters, device_trouble


def attachment_queries(instance: Instance) -> tuple[Query, ...]:
    """Return the queries for the instance's attached volumes, and for the limits of its type."""
    return (
        *by_id("DescribeVolumes", "attachment.instance-id", [instance.instance_id]),
        *type_queries(instance.instance_type),
    )


def disk(device_name: str) -> str:
    """Return a name that is equal for two device names of one disk, such as /dev/sda1 and /dev/xvda."""
    return device_letters(device_name).rstrip("0123456789") or device_letters(device_name)


def taken_disks(state: State, instance: Instance) -> set[str]:
    """Return the disks (`disk`) of the instance that are in use, as its own facts and those of the volumes show."""
    names = [device.device_name for device in instance.block_devices]
    names += [instance.root_device_name] if instance.root_device_name else []
    names += [
        link.device_name
        for volume in state.all(Volume)
        for link in volume.attachments
        if link.instance_id == instance.instance_id
    ]
    return {disk(name) for name in names}


def free_device(instance: Instance, taken: Iterable[str], wanted: str | None = None) -> str | None:
    """Return a device name for a data volume: *wanted* if it is free and EC2 takes it, or else the best free name.

    Return None if no name is free. *taken*: the disks (`disk`) in use.
    """
    used = frozenset(taken)
    for name in (*([wanted] if wanted is not None else []), *automatic_names(instance)):
        if disk(name) not in used and not device_trouble(name, instance):
            return name
    return None


@dataclass(frozen=True)
class AttachmentLimit:
    """The number of volumes that the type of an instance takes, ``most``, and the attachments that count against it
    now.

    ``held``: the volumes that are attached. ``interfaces``: the network interfaces that share the limit.
    """

    most: int
    held: int
    interfaces: int

    def excess(self, more: int) -> int:
        """Return the number of volumes after *more* attachments if EC2 refuses that number, or else 0."""
        return self.held + more if self.held + self.interfaces + more > self.most else 0

    @property
    def text(self) -> str:
        """Return the limit for a message: ``27 volumes, less 2 for its further interfaces``."""
        less = f", less {self.interfaces} for its further interfaces" if self.interfaces else ""
        return f"{self.most} volumes{less}"


def attachment_limit(state: State, instance: Instance) -> AttachmentLimit | None:
    """Return the limit of the instance's type, or None if EC2 shows none.

    If volumes and network interfaces share the limit, EC2 has already subtracted the first interface and the NVMe
    disks. On Xen, interfaces do not count. (EC2 user guide, "Amazon EBS volume limits".)
    """
    facts = type_facts(state, instance.instance_type)
    limits = facts.get("EbsInfo") or {}
    most = limits.get("MaximumEbsAttachments")
    if most is None:
        return None
    links = (link for volume in state.all(Volume) for link in volume.attachments)
    held = sum(link.instance_id == instance.instance_id for link in links)
    interfaces = 0
    if limits.get("AttachmentLimitType") == "shared" and facts.get("Hypervisor") != "xen":
        interfaces = max(0, len(instance.facts.get("NetworkInterfaces") or ()) - 1)
    return AttachmentLimit(most, held, interfaces)
