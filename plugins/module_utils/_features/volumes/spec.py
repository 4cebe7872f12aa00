# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of `ebs_volume_spec`, and all refusals that need no call to EC2.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ..._domain.device_names import device_letters, is_device_name
from ..._domain.volume_types import VOLUME_TYPES, normalised, require_performance
from ..._domain.zones import is_zone
from ..._kernel.errors import SpecError, listed
from ..._kernel.ids import require_id, require_text
from ..._kernel.tags import LONGEST_VALUE, require_selector_text, require_tags

PLACE_OF_ZONE = "zone/"
"""The prefix of the declaration of a volume that was moved to a zone, before the name of the zone."""
ROOT = "root"
"""The name that stands for the volume at the root device of an instance."""
MOST_MULTI_ATTACHMENTS = 16
"""EBS: "up to 16 instances built on the Nitro System"."""
# The collection's own tags on a volume: spec, volume, replaces, replaced-by, was-at. A shared volume may have more.
_OWN_TAGS = 5
_INITIALIZATION_RATE = (100, 300)


@dataclass(frozen=True)
class VolumeSpec:
    """One entry of ``volumes``. None stands for no value. Sizes in GiB, throughput and rate in MiB/s."""

    label: str
    name: str | None
    volume_id: str | None = None
    device_name: str | None = None
    size: int | None = None
    volume_type: str | None = None
    iops: int | None = None
    throughput: int | None = None
    encrypted: bool | None = None
    kms_key_id: str | None = None
    snapshot_id: str | None = None
    snapshot_tags: Mapping[str, str] | None = None
    snapshot_before: datetime | None = None
    initialization_rate: int | None = None
    multi_attach: bool | None = None
    delete_on_termination: bool | None = None
    tags: Mapping[str, str] | None = None
    state: str = "present"


@dataclass(frozen=True)
class VolumesSpec:
    """The whole declaration: these volumes on each of ``instance_ids``, or kept unattached in ``availability_zone``.

    ``group``: the value of the tag ``ec2ops:spec``; None stands for each instance's own id. ``move``: the entries name
    volumes from other places, which may keep their declaration.
    """

    instance_ids: tuple[str, ...]
    availability_zone: str | None
    group: str | None
    volumes: tuple[VolumeSpec, ...]
    purge_volumes: bool
    purge_tags: bool
    final_snapshot: bool
    replace: bool
    delete_replaced: bool
    in_use: str
    steal: bool
    on_cooldown: str
    lose_instance_store: bool
    hold_time: timedelta
    move: bool = False

    @property
    def shared(self) -> bool:
        """All instances share every volume, as in a cluster."""
        return len(self.instance_ids) > 1 and self.group is not None


def parse(params: Mapping[str, Any], _region: str) -> VolumesSpec:
    """Return the module's options as a spec. Raises SpecError with the volume, the value, and the accepted values."""
    ids = tuple(dict.fromkeys(require_id("instance", item, "instance_ids") for item in params["instance_ids"] or ()))
    zone, group = params["availability_zone"], params["spec"]
    if bool(ids) == bool(zone):
        raise SpecError("instance_ids: set either instance_ids or availability_zone, not both")
    if zone and not is_zone(zone):
        raise SpecError(f"availability_zone: {zone!r} is not the name of a zone, such as eu-central-1a")
    if zone and params["move"] and not group:
        group = f"{PLACE_OF_ZONE}{zone}"
    if zone and not group:
        raise SpecError("spec: is missing. Set it, since only spec identifies volumes declared with availability_zone.")
    if group is not None:
        require_text(group, "spec")
    if group is not None and not 0 < len(group) <= LONGEST_VALUE:
        raise SpecError(f"spec: a tag keeps the value, and it has {len(group)} characters. Use 1 to {LONGEST_VALUE}")
    spec = VolumesSpec(
        instance_ids=ids,
        availability_zone=zone,
        group=group,
        volumes=tuple(_volume(entry, number) for number, entry in enumerate(params["volumes"])),
        purge_volumes=params["purge_volumes"],
        purge_tags=params["purge_tags"],
        final_snapshot=params["final_snapshot"],
        replace=params["replace"] == "snapshot",
        delete_replaced=params["delete_replaced"],
        in_use=params["in_use"],
        steal=params["steal"],
        on_cooldown=params["on_cooldown"],
        lose_instance_store=params["lose_instance_store"],
        hold_time=timedelta(seconds=params["wait_timeout"]),
        move=params["move"],
    )
    _require_distinct(spec.volumes)
    _require_several(spec)
    if spec.move:
        _require_moving(spec)
    if zone:
        _require_unattached(spec)
    return spec


# More than 40 lines: each option has one.
def _volume(entry: Mapping[str, Any], number: int) -> VolumeSpec:
    name, volume_id = entry["name"], entry["volume_id"]
    if name is not None:
        require_text(name, f"volumes[{number}].name")
    label = f"volumes[{number}]" + (f" ({name or volume_id})" if name or volume_id else "")
    if not name and not volume_id:
        raise SpecError(f"{label}: name: is required without volume_id. Set one of them")
    if name is not None and not 0 < len(name) <= LONGEST_VALUE:
        raise SpecError(
            f"{label}: name: a tag keeps the value, and it has {len(name)} characters. Use 1 to {LONGEST_VALUE}"
        )
    if volume_id is not None:
        require_id("volume", volume_id, f"{label}: volume_id")
    device = entry["device_name"]
    if device is not None and not is_device_name(device):
        raise SpecError(
            f"{label}: device_name: EC2 does not accept {device!r}. Use a name from /dev/sdf to /dev/sdp, or from "
            "/dev/xvdba to /dev/xvddx"
        )
    snapshot = entry["snapshot"] or {}
    volume = VolumeSpec(
        label=label,
        name=name,
        volume_id=volume_id,
        device_name=device,
        size=entry["size"],
        volume_type=entry["volume_type"],
        iops=entry["iops"],
        throughput=entry["throughput"],
        encrypted=entry["encrypted"],
        kms_key_id=(entry["kms_key_id"] or "").strip() or None,
        snapshot_id=None
        if entry["snapshot_id"] is None
        else require_id("snapshot", entry["snapshot_id"], f"{label}: snapshot_id"),
        snapshot_tags=require_selector_text(snapshot["tags"], f"{label}: snapshot.tags", numbers=True)
        if snapshot
        else None,
        snapshot_before=_moment(snapshot.get("before"), f"{label}: snapshot.before"),
        initialization_rate=entry["initialization_rate"],
        multi_attach=entry["multi_attach"],
        delete_on_termination=entry["delete_on_termination"],
        tags=None if entry["tags"] is None else require_tags(entry["tags"], f"{label}: tags", _OWN_TAGS),
        state=entry["state"],
    )
    _require_possible(volume)
    return volume


def _moment(value: str | None, option: str) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        raise SpecError(f"{option}: {value!r} is not a time. Write it as in 2026-11-23T19:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _require_possible(volume: VolumeSpec) -> None:
    """Raise SpecError for an entry that contradicts itself or EBS. Without a type, the other checks need the type of
    the existing volume.
    """
    label = volume.label
    if volume.volume_type is not None:
        require_values(label, volume.volume_type, volume.size, volume.iops, volume.throughput, boot=volume.name == ROOT)
        _require_multi_attach_type(volume, volume.volume_type)
    elif volume.size is not None and volume.size < 1:
        raise SpecError(f"{label}: size: {volume.size} GiB is too small. Use 1 or more")
    if volume.kms_key_id is not None and not volume.encrypted:
        raise SpecError(f"{label}: kms_key_id: {volume.kms_key_id} needs encrypted: true. Set both")
    if volume.snapshot_id is not None and volume.snapshot_tags is not None:
        raise SpecError(f"{label}: snapshot_id: excludes snapshot. Set one of them")
    if volume.snapshot_tags is not None and not volume.snapshot_tags:
        raise SpecError(f"{label}: snapshot.tags: is empty, so any snapshot would match. Name at least one tag")
    rate = volume.initialization_rate
    if rate is not None:
        least, most = _INITIALIZATION_RATE
        if not least <= rate <= most:
            raise SpecError(f"{label}: initialization_rate: {rate} is not from {least} to {most} MiB/s")
        if volume.snapshot_id is None and volume.snapshot_tags is None:
            raise SpecError(f"{label}: initialization_rate: needs snapshot_id or snapshot. Set one of them")
    if volume.name == ROOT:
        _require_root(volume)


def require_values(
    label: str, volume_type: str, size: int | None, iops: int | None, throughput: int | None, *, boot: bool = False
) -> None:
    """Raise SpecError unless EBS makes such a volume.

    A value that EBS silently raises (a gp3 of 500 iops) is accepted.
    """
    require_performance(label, volume_type, size, *normalised(volume_type, iops, throughput), boot=boot)


def _require_multi_attach_type(volume: VolumeSpec, volume_type: str) -> None:
    if volume.multi_attach and not VOLUME_TYPES[volume_type].multi_attach:
        raise SpecError(f"{volume.label}: multi_attach: {volume_type} volumes do not support it. Use io1 or io2")


def _require_root(volume: VolumeSpec) -> None:
    if volume.state != "present":
        raise SpecError(
            f"{volume.label}: state: {volume.state}: a root volume is never detached or deleted. Use state: present"
        )
    given = [
        name
        for name, value in (
            ("volume_id", volume.volume_id),
            ("device_name", volume.device_name),
            ("snapshot_id", volume.snapshot_id),
            ("snapshot", volume.snapshot_tags),
            ("multi_attach", volume.multi_attach),
        )
        if value
    ]
    if given:
        raise SpecError(
            f"{volume.label}: {', '.join(given)}: the name root already stands for the volume at the root device. "
            "Remove the option"
        )


def _require_distinct(volumes: Sequence[VolumeSpec]) -> None:
    """Raise SpecError for two entries with one name, device or id."""
    for option, values in (
        ("name", [(volume.name, volume) for volume in volumes]),
        ("volume_id", [(volume.volume_id, volume) for volume in volumes]),
        (
            "device_name",
            [(device_letters(volume.device_name), volume) for volume in volumes if volume.device_name is not None],
        ),
    ):
        seen: dict[str, VolumeSpec] = {}
        for value, volume in values:
            if value is None:
                continue
            if value in seen:
                raise SpecError(
                    f"{volume.label}: {option}: {getattr(volume, option)} already belongs to {seen[value].label}"
                )
            seen[value] = volume


def _labels(volumes: Iterable[VolumeSpec]) -> str:
    return listed(volume.label for volume in volumes)


def _require_several(spec: VolumesSpec) -> None:
    """Raise SpecError for a mixture of shared volumes and volumes of each instance."""
    if len(spec.instance_ids) < 2:
        return
    shared = [volume for volume in spec.volumes if volume.multi_attach]
    # An entry that only detaches or deletes a volume need not have multi_attach.
    own = [volume for volume in spec.volumes if not volume.multi_attach and volume.state == "present"]
    if spec.group is not None and own:
        raise SpecError(
            f"spec: {spec.group!r} stands for one machine, so with several instance_ids every volume must be "
            f"multi_attach, but {_labels(own)} are not. Leave spec out to give each instance volumes of its own"
        )
    if spec.group is None and shared:
        raise SpecError(
            f"{_labels(shared)}: multi_attach: with several instance_ids, spec must name the cluster that shares the "
            "volumes. Set it"
        )
    if spec.shared and len(spec.instance_ids) > MOST_MULTI_ATTACHMENTS:
        raise SpecError(
            f"instance_ids: EBS attaches a volume to {MOST_MULTI_ATTACHMENTS} instances, not {len(spec.instance_ids)}"
        )
    named = [volume for volume in spec.volumes if volume.volume_id is not None]
    if named and not spec.shared:
        raise SpecError(
            f"{_labels(named)}: volume_id: one volume cannot be attached to several instances. Name one instance, or "
            "set multi_attach: true and spec."
        )


def _require_moving(spec: VolumesSpec) -> None:
    """Raise SpecError for a move of anything except named volumes to one target."""
    if len(spec.instance_ids) > 1:
        raise SpecError("move: takes one instance. Name one in instance_ids")
    for volume in spec.volumes:
        if volume.volume_id is None or volume.state != "present":
            raise SpecError(f"{volume.label}: move: only takes entries with volume_id and state: present")


def _require_unattached(spec: VolumesSpec) -> None:
    for volume in spec.volumes:
        given = [
            name
            for name, value in (
                ("device_name", volume.device_name),
                ("delete_on_termination", volume.delete_on_termination),
            )
            if value is not None
        ]
        if given:
            raise SpecError(f"{volume.label}: {', '.join(given)}: needs instance_ids")
        if volume.name == ROOT:
            raise SpecError(f"{volume.label}: a root volume needs instance_ids")
    if spec.purge_volumes:
        raise SpecError("purge_volumes: needs instance_ids")
