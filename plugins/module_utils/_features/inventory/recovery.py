# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The recovery of each volume and instance: the newest recovery point, its age against the target, sets and drills.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ..._domain.forecast import Fate
from ..._kernel.report import risk_rank
from ..._kernel.resources import Instance, Volume
from ..._kernel.times import format_moment
from .fates import fate_views, fates
from .spec import seconds
from .stock import Inventory, Point, name_of

TOLERANCE = timedelta(hours=1)
"""A policy takes a snapshot a little later than at the begin of its slot, and EBS needs time to complete it."""


@dataclass(frozen=True)
class VolumeRecovery:
    """The recovery of one volume.

    ``points``: from which the volume can be restored, the newest first. ``elsewhere``: the newest copy by region.
    ``target``: the largest age of the newest point, and ``target_from`` its origin. ``fates``: those of snapshots,
    by id, where the rules of their policy are known.
    """

    volume: Volume
    instance_id: str | None
    policies: tuple[str, ...]
    points: Sequence[Point]
    elsewhere: Mapping[str, Point]
    target: timedelta | None
    target_from: str | None
    age: timedelta | None
    is_whole: bool | None
    drilled: datetime | None
    fates: Mapping[str, Fate]

    @property
    def newest(self) -> Point | None:
        """The newest recovery point at home."""
        return self.points[0] if self.points else None

    @property
    def is_late(self) -> bool | None:
        """Whether the newest point is older than the target allows, or missing. None without a target."""
        if self.target is None:
            return None
        return self.age is None or self.exceeds(self.age)

    def exceeds(self, age: timedelta) -> bool:
        """Return whether a recovery point of this age is too old for the target."""
        tolerance = TOLERANCE if self.policies and self.target_from != "rpo_max" else timedelta()
        return self.target is not None and age > self.target + tolerance

    @property
    def risk(self) -> tuple[int, float]:
        """The rank of the volume by `risk_rank`."""
        return risk_rank(
            is_attached=bool(self.volume.attachments),
            age=None if self.age is None else seconds(self.age),
            target=None if self.target is None else seconds(self.target),
            is_late=bool(self.is_late),
        )

    @property
    def is_covered(self) -> bool:
        """Whether a policy takes snapshots of the volume."""
        return bool(self.policies)

    def view(self, inventory: Inventory) -> dict[str, Any]:
        """Return the recovery as plain data."""
        newest = self.newest
        region = inventory.state.region
        return {
            "volume_id": self.volume.volume_id,
            "name": name_of(self.volume.tags),
            "instance_id": self.instance_id,
            "policies": list(self.policies),
            "newest": None if newest is None else _point_view(newest, region, inventory),
            "elsewhere": [_point_view(self.elsewhere[name], name, inventory) for name in sorted(self.elsewhere)],
            "target": None if self.target is None else seconds(self.target),
            "target_from": self.target_from,
            "late": self.is_late,
            "whole": self.is_whole,
            "drilled": None if self.drilled is None else format_moment(self.drilled),
            "points": [
                [point.id, format_moment(point.moment), point.policy or None, _until(point, inventory)]
                for point in self.points
            ],
            "forecast": list(fate_views((point.id for point in self.points), self.fates)),
        }


def _point_view(point: Point, region: str, inventory: Inventory) -> dict[str, Any]:
    return {
        "snapshot_id": point.id,
        "moment": format_moment(point.moment),
        "age": seconds(inventory.age(point.moment)),
        "region": region,
    }


def _until(point: Point, inventory: Inventory) -> str | None:
    """Return the end of the snapshot's lock. EC2 does not show when a policy will delete a snapshot."""
    lock = inventory.lock_of(point)
    return format_moment(lock.expires_on) if lock is not None and lock.is_in_force and lock.expires_on else None


def recoveries(inventory: Inventory, volumes: Iterable[Volume]) -> list[VolumeRecovery]:
    """Return the recovery of each volume."""
    known = fates(inventory)
    return [_recovery(inventory, volume, known) for volume in volumes]


def _recovery(inventory: Inventory, volume: Volume, known: Mapping[str, Fate]) -> VolumeRecovery:
    points = list(inventory.good_points(volume.volume_id))
    policies = inventory.policies_of(volume.volume_id)
    target, target_from = _target(inventory, policies)
    newest = points[0] if points else None
    a_set = inventory.set_of.get(newest.id) if newest is not None else None
    drills = [moment for point in points if (moment := inventory.drilled(point)) is not None]
    return VolumeRecovery(
        volume=volume,
        instance_id=volume.attachments[0].instance_id if volume.attachments else None,
        policies=policies,
        points=points,
        elsewhere=inventory.elsewhere.get(volume.volume_id, {}),
        target=target,
        target_from=target_from,
        age=None if newest is None else inventory.age(newest.moment),
        is_whole=None if a_set is None else a_set.state == "completed",
        drilled=max(drills, default=None),
        fates=known,
    )


def _target(inventory: Inventory, policies: Iterable[str]) -> tuple[timedelta | None, str | None]:
    """Return the shortest slot of the volume's policies, or else ``rpo_max``."""
    every = inventory.spec.every
    known = sorted((every[policy], policy) for policy in policies if policy in every)
    if known:
        return known[0][0], f"policy {known[0][1]}"
    return inventory.spec.rpo_max, None if inventory.spec.rpo_max is None else "rpo_max"


def instance_views(inventory: Inventory, found: Sequence[VolumeRecovery]) -> list[dict[str, Any]]:
    """Return the recovery of each instance that has one of the volumes, as plain data."""
    by_instance: dict[str, list[VolumeRecovery]] = defaultdict(list)
    for one in found:
        for link in one.volume.attachments:
            by_instance[link.instance_id].append(one)
    return [
        _instance_view(inventory, instance, by_instance[instance_id])
        for instance_id, instance in inventory.instances.items()
        if instance_id in by_instance
    ]


def _instance_view(inventory: Inventory, instance: Instance, parts: Sequence[VolumeRecovery]) -> dict[str, Any]:
    """Return the recovery of all volumes together: the oldest of their newest points counts."""
    moments = [one.newest.moment for one in parts if one.newest is not None]
    oldest = min(moments) if len(moments) == len(parts) else None
    verdicts = [one.is_late for one in parts]
    drills = [one.drilled for one in parts]
    return {
        "instance_id": instance.instance_id,
        "name": name_of(instance.tags),
        "state": instance.state,
        "volumes": [one.volume.volume_id for one in parts],
        "covered": [one.volume.volume_id for one in parts if one.is_covered],
        "uncovered": [one.volume.volume_id for one in parts if not one.is_covered],
        "newest": None if oldest is None else format_moment(oldest),
        "age": None if oldest is None else seconds(inventory.age(oldest)),
        "whole": _whole(inventory, parts),
        "drilled": format_moment(min(one for one in drills if one)) if all(drills) and drills else None,
        "late": any(verdicts) if any(one is not None for one in verdicts) else None,
    }


def _whole(inventory: Inventory, parts: Sequence[VolumeRecovery]) -> bool | None:
    """Return whether the newest points of all volumes are those of one whole set. None: no volume has a set."""
    sets = [inventory.set_of.get(one.newest.id) if one.newest is not None else None for one in parts]
    if not any(sets):
        return None
    first = sets[0]
    return first is not None and all(one is first for one in sets) and first.state == "completed"


def policy_views(inventory: Inventory) -> list[dict[str, Any]]:
    """Return the policies that have taken snapshots here, as plain data."""
    by_policy: dict[str, list[Point]] = defaultdict(list)
    for point in inventory.points:
        if point.policy:
            by_policy[point.policy].append(point)
    views = []
    for policy, points in sorted(by_policy.items()):
        every = inventory.spec.every.get(policy)
        views.append(
            {
                "policy": policy,
                "every": None if every is None else seconds(every),
                "snapshots": len(points),
                "volumes": len({point.source for point in points if point.source}),
                "newest": format_moment(points[0].moment),
                "oldest": format_moment(points[-1].moment),
                "gib_full": sum(point.snapshot.volume_size for point in points),
            }
        )
    return views
