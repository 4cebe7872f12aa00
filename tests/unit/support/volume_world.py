# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances, volumes and snapshots in memory for `ebs_volume_spec`, and a short text for each change."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.ec2ops.storage.plugins.module_utils._domain.volume_types import performance_of
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import INSTANCE_TYPE, IS_USABLE_ZONE
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change, Plan, Stage
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    Fact,
    Instance,
    Resource,
    Snapshot,
    Volume,
    VolumeAttachment,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import (
    MODIFICATION,
    Modification,
    Performance,
)

from fake_ec2 import FakeEc2
from fake_records import FOR_EVER
from in_process import OTHER_ZONE, REGION, ZONE

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
WEB, DB, FAR = (f"i-{number:017x}" for number in (1, 2, 3))
KEY, OTHER_KEY = (f"arn:aws:kms:{REGION}:123456789012:key/{number:08d}" for number in (1, 2))
ROOT_DEVICE = "/dev/xvda"
ROOTS = 0xF000
Entry = dict[str, Any]


def vol(number: int) -> str:
    return f"vol-{number:017x}"


def snap(number: int) -> str:
    return f"snap-{number:017x}"


def root_of(instance_id: str) -> str:
    return vol(ROOTS + int(instance_id.removeprefix("i-"), 16))


def tags_of(request: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for part in request.get("TagSpecifications", ()) for tag in part["Tags"]}


def instance(instance_id: str = WEB, state: str = "running", zone: str = ZONE, **fields: Any) -> Instance:
    values = {"instance_type": "m5.large", "launch_time": NOW - timedelta(days=1), **fields}
    return Instance(instance_id, state, availability_zone=zone, root_device_name=ROOT_DEVICE, **values)


def volume(
    number: int | str,
    at: str | None = None,
    device: str = "/dev/sdf",
    *,
    name: str | None = None,
    group: str = WEB,
    zone: str = ZONE,
    tags: Mapping[str, str] | None = None,
    **fields: Any,
) -> Volume:
    """A gp3 volume of 10 GiB, attached where *at* says, with the identity tags where it has a name."""
    identity = {"ec2ops:spec": group, "ec2ops:volume": name} if name is not None else {}
    links = (VolumeAttachment(at, device),) if at is not None else ()
    values: dict[str, Any] = {"size": 10, "volume_type": "gp3", "attachments": links, **fields}
    values = {**performance_of(values["volume_type"], values["size"], None, None), **values}
    state = values.pop("state", "in-use" if values["attachments"] else "available")
    volume_id = vol(number) if isinstance(number, int) else number
    return Volume(volume_id, state, availability_zone=zone, tags={**identity, **(tags or {})}, **values)


def modification(of: Volume, state: str, **target: Any) -> Fact:
    """The latest modification of a volume that shows its values from before it."""
    original = Performance(of.size, of.volume_type, of.iops, of.throughput, of.multi_attach_enabled)
    return MODIFICATION.fact(
        of.volume_id, Modification(state, original, dataclasses.replace(original, **target), progress=50)
    )


DETACHED = volume(1, name="data")


def snapshot(number: int, of: int, state: str = "completed", **fields: Any) -> Snapshot:
    """A run's snapshot of a volume. Its tag and its description name its purpose."""
    tags = fields.get("tags", {})
    word = "final" if "ec2ops:swap" not in tags else "final swap" if "ec2ops:final" in tags else "temporary swap"
    description = f"web data: {word} snapshot of {vol(of)}"
    values = {"volume_size": 10, "start_time": NOW - timedelta(hours=1), "description": description, **fields}
    return Snapshot(snap(number), state, vol(of), **values)


M5 = INSTANCE_TYPE.fact(
    "m5.large",
    {
        "Hypervisor": "nitro",
        "InstanceStorageSupported": False,
        "EbsInfo": {"MaximumEbsAttachments": 28, "AttachmentLimitType": "shared"},
    },
)


class Ec2(FakeEc2):
    """EC2 with an instance type, two zones, and the root volume of each instance.

    A call takes a minute. A change that a call begins ends when a plan waits for it, or with `settle`.
    """

    def __init__(self, *there: Resource) -> None:
        zones = (IS_USABLE_ZONE.fact(ZONE, True), IS_USABLE_ZONE.fact(OTHER_ZONE, True))
        super().__init__(M5, *zones, durations=FOR_EVER, pace=60.0)
        for resource in there:
            self.put(resource)
            if isinstance(resource, Instance) and resource.alive:
                link = VolumeAttachment(resource.instance_id, ROOT_DEVICE, delete_on_termination=True)
                zone = resource.availability_zone
                self.put(volume(root_of(resource.instance_id), zone=zone, attachments=(link,)))


def short(text: str) -> str:
    """Ids without their zeros, planned ids without their frame, own tags without their prefix."""
    text = re.sub(r"\(new (?:volume|snapshot) ([^()]+)\)", r"new \1", text)
    return re.sub(r"\b(i|vol|snap)-0+", r"\1-", text).replace("ec2ops:", "")


def line(change: Change) -> str:
    """A change in a few words: ``ModifyVolume vol-1 Size=20``."""
    asked = change.parameters
    if change.action in ("CreateTags", "DeleteTags"):
        more = ",".join(tag["Key"] for tag in asked["Tags"])
    elif change.action == "AttachVolume":
        more = f"to {asked['InstanceId']} {asked['Device']}"
    elif change.action == "DetachVolume":
        more = f"from {asked['InstanceId']}"
    elif change.action == "ModifyInstanceAttribute":
        flags = {one["DeviceName"]: one["Ebs"]["DeleteOnTermination"] for one in asked["BlockDeviceMappings"]}
        more = " ".join(f"{device}={flag}" for device, flag in flags.items())
    elif change.action == "ModifyVolume":
        more = " ".join(f"{name}={value}" for name, value in asked.items())
    else:
        more = ""
    return short(f"{change.action} {change.resource} {more}".rstrip())


def steps(plan: Plan) -> list[str]:
    return [line(change) for change in plan.changes]


def listed(*parts: str) -> list[str]:
    return [word for part in parts for word in part.split(" | ")]


# Facts that only EC2 knows, or that are read only for a reason.
UNPREDICTED = ("nvme_path", "modification_state", "next_modification_at")


def of_no_use(found: Volume | Snapshot) -> bool:
    """A copy that never was in its place, and a snapshot that has failed."""
    return "ec2ops:swap" in found.tags or (isinstance(found, Snapshot) and found.state == "error")


IO2: Entry = {"volume_type": "io2", "iops": 5000}
SWAP: Entry = {"replace": "snapshot", "in_use": "detach"}
NODES = [instance(WEB, "stopped"), instance(DB, "stopped")]


def all_stages(plan: Plan) -> list[Stage]:
    return [stage for one in plan.stages for stage in (one, *one.on_failure)]


DATA = {"name": "data", "size": 10}
TAKEN: Entry = {"steal": True, "in_use": "detach"}


def swapped(old: str = "vol-1", device: str = "/dev/sdf", new: str = "new i-1/data") -> list[str]:
    """The steps of a swap of an attached volume whose instance is not stopped for it."""
    return [
        f"CreateTags {old} was-at",
        f"DetachVolume {old} from i-1",
        f"CreateSnapshot new swap of {old}",
        f"CreateVolume {new}",
        f"AttachVolume {new} to i-1 {device}",
        f"DeleteSnapshot new swap of {old}",
        f"CreateTags {old} replaced-by",
        f"DeleteTags {old} spec,volume,was-at",
        f"DeleteTags {new} swap",
    ]


def was_at(*places: str) -> dict[str, str]:
    return {"ec2ops:was-at": ",".join(places)}


LETTERS = "fghijklmnop"
BOTH: Entry = {"instance_ids": [WEB, DB], "spec": "web"}


def shared(number: int, *at: str, device: str = "/dev/sdf", **fields: Any) -> Volume:
    links = tuple(VolumeAttachment(one, device) for one in at)
    values = {"volume_type": "io2", "iops": 100, "multi_attach_enabled": True, "attachments": links, **fields}
    return volume(number, name="data", group="web", **values)


QUORUM = {"name": "data", "size": 10, "volume_type": "io2", "iops": 100, "multi_attach": True}
STOPPED = instance(state="stopped")
PURGE: Entry = {"purge_volumes": True, "in_use": "detach"}
STOP: Entry = {"in_use": "stop"}


# Changes of one volume that detach it.
TAKING_OFF: Mapping[str, tuple[list[Entry], dict[str, Any]]] = {
    "detached": ([{"name": "data", "state": "detached"}], {}),
    "absent": ([{"name": "data", "state": "absent"}], {}),
    "purged": ([], {"purge_volumes": True}),
    "moved": ([{"name": "data", "device_name": "/dev/sdh"}], {}),
    "swapped": ([{"name": "data", "encrypted": True}], {"replace": "snapshot"}),
}
SWAPPING = (
    "CreateSnapshot new swap of vol-1",
    "CreateVolume new i-1/data",
    "AttachVolume new i-1/data to i-1 /dev/sdf",
)
ABSENT = [{"name": "data", "state": "absent"}]
FINAL = {"ec2ops:final": vol(1)}
LAST = ("CreateSnapshot new final of vol-1", "DeleteVolume vol-1")


# No fact shows whether the volume was attached since an earlier run took its snapshot.
ANEW = ("CreateSnapshot new final of vol-1", "DeleteSnapshot snap-1", "DeleteVolume vol-1")
ENCRYPT = {"name": "data", "encrypted": True}
MARK, UNTAG, TAKEN_OVER = "CreateTags vol-1 replaced-by", "DeleteTags vol-1 spec,volume,was-at", "DeleteTags vol-2 swap"
DONE_AGAIN = (MARK, UNTAG, "DeleteTags new i-1/data swap")


def remembered(found: Volume) -> set[tuple[str, str, bool]]:
    """The record of the volume's place before a run detached it."""
    values = [value for key, value in found.tags.items() if key.startswith("ec2ops:was-at")]
    said = [place.split(" ") for value in values for place in value.split(",") if " " in place]
    return {(place[0], place[1], len(place) == 3) for place in said}
