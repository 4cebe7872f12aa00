# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The changes of a workbench, one function each.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..._domain.terminations import deletes_only_launched
from ..._domain.volume_types import performance_of
from ..._kernel.facts import ENCRYPTION_BY_DEFAULT
from ..._kernel.plan import Change
from ..._kernel.resources import Image, Instance, Snapshot, Volume, view
from ..._kernel.state import Query, State, tag_filters
from ..._kernel.tags import specification
from .spec import Launch, WorkbenchSpec

_TYPE = "gp3"
_REMEDY = "Detach these parts or set their DeleteOnTermination to false, and run the task again"
# The facts of a planned instance that only EC2 decides.
_UNKNOWN = ("instance_id", "launch_time", "block_devices", "public_ip_address", "private_ip_address", "state_reason")


def launched_instance(spec: WorkbenchSpec, launch: Launch, image: Image) -> Instance:
    """Return the instance that the task launches, as far as it is known before."""
    return Instance(
        instance_id=spec.planned_instance,
        state="running",
        image_id=launch.image_id,
        instance_type=launch.instance_type,
        availability_zone=launch.zone,
        root_device_name=image.root_device_name or "",
        platform_details=image.platform_details or "Linux/UNIX",
        tags=spec.all_tags,
        facts={"VirtualizationType": image.virtualization_type},
    )


def launching(spec: WorkbenchSpec, state: State, launch: Launch, image: Image) -> Change:
    """Return the RunInstances of the workbench. Its root volume is deleted with it, and it has no other volumes."""
    root, others = image.root_device_name or "", [item for item in image.block_devices if not item.virtual_name]
    mappings: list[dict[str, Any]] = [{"DeviceName": root, "Ebs": {"DeleteOnTermination": True}}]
    mappings += [{"DeviceName": item.device_name, "NoDevice": ""} for item in others if item.device_name != root]
    profile = launch.iam_instance_profile
    optional = {
        "SubnetId": launch.subnet_id,
        "SecurityGroupIds": list(launch.security_group_ids),
        "KeyName": launch.key_name,
        "IamInstanceProfile": {"Arn" if profile.startswith("arn:") else "Name": profile} if profile else None,
    }
    parameters = {
        "ImageId": launch.image_id,
        "InstanceType": launch.instance_type,
        "MinCount": 1,
        "MaxCount": 1,
        "Placement": {"AvailabilityZone": launch.zone},
        "BlockDeviceMappings": mappings,
        **{key: value for key, value in optional.items() if value},
        "TagSpecifications": [specification("instance", spec.all_tags)],
    }
    new = view(launched_instance(spec, launch, image))
    return Change(
        "RunInstances",
        spec.planned_instance,
        state.region,
        parameters,
        f"launch the workbench of {spec.label}",
        after={key: value for key, value in new.items() if key not in _UNKNOWN},
        identity=Query("DescribeInstances", tag_filters(spec.version_tags)),
        token=spec.launch_identity,
        rehearsed=True,
    )


def creation(spec: WorkbenchSpec, state: State, snapshot: Snapshot, zone: str) -> Change:
    """Return the CreateVolume from the root snapshot of the source image."""
    request = {
        "AvailabilityZone": zone,
        "SnapshotId": snapshot.snapshot_id,
        "VolumeType": _TYPE,
        "TagSpecifications": [specification("volume", spec.all_tags)],
    }
    after: dict[str, Any] = {
        "state": "available",
        "size": snapshot.volume_size,
        "volume_type": _TYPE,
        **performance_of(_TYPE, snapshot.volume_size, None, None),
        "encrypted": snapshot.encrypted or bool(ENCRYPTION_BY_DEFAULT.of(state)),
        "kms_key_id": snapshot.kms_key_id if snapshot.encrypted else None,
        "availability_zone": zone,
        "snapshot_id": snapshot.snapshot_id,
        "attachments": [],
        "tags": spec.all_tags,
    }
    return Change(
        "CreateVolume",
        spec.planned_volume,
        state.region,
        request,
        f"make the volume of {spec.label} from {snapshot.snapshot_id}, the root of {spec.source_image_id}",
        after=after,
        identity=Query("DescribeVolumes", tag_filters(spec.version_tags)),
        token=(*spec.launch_identity, zone, snapshot.snapshot_id),
    )


def start(instance: Instance, region: str) -> Change:
    """Return the StartInstances of a stopped workbench."""
    return Change(
        "StartInstances",
        instance.instance_id,
        region,
        {},
        "start the workbench",
        {"state": instance.state},
        {"state": "running"},
    )


def stop(instance: Instance, region: str) -> Change:
    """Return the StopInstances of the workbench, so that its system unmounts the volume."""
    return Change(
        "StopInstances",
        instance.instance_id,
        region,
        {},
        "stop the workbench, so that its system writes all data to the volume",
        {"state": instance.state},
        {"state": "stopped"},
        disruptive=True,
    )


def termination(instance: Instance, region: str, current: str, deleted: Collection[str]) -> Change:
    """Return the TerminateInstances of the workbench, whose state is *current* by then. The plan deletes the volumes
    *deleted* anyway.
    """
    before, after = {"state": current}, {"state": "terminated"}
    return Change(
        "TerminateInstances",
        instance.instance_id,
        region,
        {},
        "remove the workbench",
        before,
        after,
        disruptive=True,
        provided=deletes_only_launched(instance.instance_id, "state", _REMEDY, deleted),
    )


def deletion(volume: Volume, region: str, reason: str) -> Change:
    """Return the DeleteVolume of the workbench's volume."""
    shown = view(volume)
    before = {key: shown[key] for key in ("state", "size", "volume_type", "tags")}
    return Change("DeleteVolume", volume.volume_id, region, {}, reason, before, None, disruptive=True)
