# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The targets of the entries of a declaration: attached to instances, or in a zone.

Private to this collection.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..._domain.succession import successor, successor_queries
from ..._kernel.errors import Ambiguous, SpecError, StorageError
from ..._kernel.resources import Instance, Volume
from ..._kernel.state import Query, State
from .spec import VolumeSpec, VolumesSpec


@dataclass(frozen=True)
class Target:
    """The target of an entry's volume: attached to each of ``instances``, or unattached in ``zone``."""

    spec: VolumeSpec
    group: str
    instances: tuple[Instance, ...]
    zone: str

    @property
    def instance_ids(self) -> frozenset[str]:
        """The ids of ``instances``."""
        return frozenset(instance.instance_id for instance in self.instances)

    @property
    def label(self) -> str:
        """The entry and the instance, for messages: ``volumes[0] (data) of i-…``."""
        if len(self.instances) == 1:
            return f"{self.spec.label} of {self.instances[0].instance_id}"
        return f"{self.spec.label} of {self.group}"


def targets(spec: VolumesSpec, state: State) -> tuple[Target, ...]:
    """Return the entries on their instances, in the order of ``instance_ids`` and ``volumes``.

    Instances without a place for a volume are left out, see `refused_instances`. Raises SpecError for a shared volume
    across zones.
    """
    if spec.availability_zone is not None:
        return tuple(Target(volume, spec.group or "", (), spec.availability_zone) for volume in spec.volumes)
    found = (state.instance(instance_id) for instance_id in spec.instance_ids)
    instances = [instance for instance in found if instance is not None and instance.alive]
    if spec.shared and not instances:
        return ()
    if spec.shared:
        zones = sorted({instance.availability_zone for instance in instances})
        if len(zones) > 1:
            raise SpecError(
                "instance_ids: a multi_attach volume is attached within one zone, but these instances are in "
                f"{', '.join(zones)}"
            )
        return tuple(Target(volume, spec.group or "", tuple(instances), zones[0]) for volume in spec.volumes)
    return tuple(
        Target(volume, spec.group or instance.instance_id, (instance,), instance.availability_zone)
        for instance in instances
        for volume in spec.volumes
    )


def refused_instances(spec: VolumesSpec, state: State) -> dict[str, StorageError]:
    """Return, by id, why instances of the task are refused, since they do not exist, are terminating, or
    were replaced.
    """
    found = {item: _trouble(state, item) for item in spec.instance_ids}
    return {instance_id: error for instance_id, error in found.items() if error is not None}


def _trouble(state: State, instance_id: str) -> StorageError | None:
    found = state.instance(instance_id)
    if found is not None and found.alive:
        return None
    try:
        newer = successor(state, instance_id)
    except Ambiguous as error:
        return error
    if newer is not None:
        return SpecError(f"instance_ids: {replaced_by(instance_id, newer)}")
    if found is None:
        return SpecError(f"instance_ids: {instance_id} does not exist in {state.region}. Check the id and the region")
    return SpecError(f"instance_ids: {instance_id} is {found.state}. Name a running or stopped instance")


def replaced_by(instance_id: str, newer: Instance) -> str:
    """Return the sentence that *newer* has replaced the instance, with the remedy.

    The id does not stand for the successor, since it has none of these volumes, and the task would make empty ones.
    """
    return (
        f"{instance_id} was replaced by {newer.instance_id}, which is {newer.state}. Name {newer.instance_id} in "
        f"instance_ids. To move the volumes of the declaration there, detach them from {instance_id}, and set spec: "
        f"{instance_id} unless the task already has a spec"
    )


def gone_queries(spec: VolumesSpec, state: State) -> tuple[Query, ...]:
    """Return the query for the successors of instances that no longer exist, if any."""
    found = {item: state.instance(item) for item in spec.instance_ids}
    return successor_queries(item for item, instance in found.items() if instance is None or not instance.alive)


def is_at(target: Target, volume: Volume) -> bool:
    """Return whether the volume is attached to an instance of the target, and is not detaching."""
    wanted = {instance.instance_id for instance in target.instances}
    return any(link.instance_id in wanted and not link.leaving for link in volume.attachments)


def boots(instance: Instance, volume: Volume) -> bool:
    """Return whether the instance boots from the volume. A pending instance may not list its volumes yet."""
    return instance.root_volume_id == volume.volume_id or any(
        (link.instance_id, link.device_name) == (instance.instance_id, instance.root_device_name)
        for link in volume.attachments
    )


def is_root_of(target: Target, volume: Volume) -> bool:
    """Return whether an instance of the target boots from the volume."""
    return any(boots(instance, volume) for instance in target.instances)
