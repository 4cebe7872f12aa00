# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All resources of the region with the relations that EC2's facts prove. Built once, in linear time.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from ..._domain.replacement import replacement_of
from ..._domain.snapshot_sets import SnapshotSet, instance_of, snapshot_sets_of
from ..._kernel import tags as tag_names
from ..._kernel.instance_proofs import last_transition
from ..._kernel.list_prices import listed_prices
from ..._kernel.places import Place
from ..._kernel.prices import CHANGED_BLOCKS, Cost, NoPrice, Prices, combined, shipped
from ..._kernel.proofs import copy_record, has_proven_time, is_copy, is_recorded_for, record_of, time_of
from ..._kernel.resources import Image, Instance, Snapshot, Volume
from ..._kernel.state import State
from ..._kernel.storage_facts import LOCK, SnapshotLock
from ..._kernel.times import parse_moment
from .finding import Amount, Finding
from .spec import InventorySpec
from .stored import notes, stored_sizes


@dataclass(frozen=True, slots=True)
class Point:
    """A snapshot with the facts that its description and EC2 prove.

    ``source``: the volume, or empty if only a tag names it. ``moment``: when its data was taken. ``policy``: the policy
    whose run took it, or empty.
    """

    snapshot: Snapshot
    source: str
    moment: datetime
    policy: str

    @property
    def id(self) -> str:
        """The snapshot's id."""
        return self.snapshot.snapshot_id

    @property
    def is_good(self) -> bool:
        """A volume can be made from the snapshot at once."""
        return self.snapshot.state == "completed" and self.snapshot.storage_tier != "archive"


def point_of(snapshot: Snapshot, now: datetime) -> Point:
    """Return the snapshot with its proven facts. One without a start time counts as taken *now*."""
    record = record_of(snapshot)
    claimed = snapshot.tags.get(tag_names.POLICY, "")
    policy = claimed if record is not None and claimed and is_recorded_for(record, claimed) else ""
    copied = copy_record(snapshot) if is_copy(snapshot) else None
    source = (copied.volume if copied is not None else "") if is_copy(snapshot) else snapshot.volume_id
    moment = time_of(snapshot) if has_proven_time(snapshot) else snapshot.start_time
    return Point(snapshot, source, moment or now, policy)


class Inventory:
    """The region as EC2 shows it at *now*, and the costs of its resources."""

    def __init__(self, spec: InventorySpec, state: State, now: datetime) -> None:
        self.spec, self.state, self.now = spec, state, now
        here = state.here()
        self.volumes: Mapping[str, Volume] = {
            item.volume_id: item for item in here.all(Volume) if item.state not in ("deleting", "deleted")
        }
        self.instances: Mapping[str, Instance] = {item.instance_id: item for item in here.all(Instance) if item.alive}
        self.images: Mapping[str, Image] = {
            item.image_id: item for item in here.all(Image) if item.state not in ("deregistered", "failed")
        }
        self.points: Sequence[Point] = sorted(
            (point_of(item, now) for item in here.all(Snapshot)), key=lambda one: (one.moment, one.id), reverse=True
        )
        self.no_price: set[str] = set()
        self._snapshot_costs: dict[tuple[int, bool, int | None, int | None], Cost | None] = {}

    # --- relations ---------------------------------------------------------------------------------------------------

    @cached_property
    def of_volume(self) -> Mapping[str, Sequence[Point]]:
        """The points of each source volume, the newest first."""
        found: dict[str, list[Point]] = defaultdict(list)
        for point in self.points:
            if point.source:
                found[point.source].append(point)
        return found

    @cached_property
    def _last_points(self) -> frozenset[str]:
        """The newest snapshot of each volume in any tier, and the newest one to restore from at once."""
        last: set[str] = set()
        for points in self.of_volume.values():
            newest = next((one for one in points if one.snapshot.state != "error"), None)
            ready = next((one for one in points if one.is_good), None)
            last.update(one.id for one in (newest, ready) if one is not None)
        return frozenset(last)

    @cached_property
    def _by_id(self) -> Mapping[str, Point]:
        return {point.id: point for point in self.points}

    def point(self, snapshot_id: str) -> Point | None:
        """Return the snapshot, or None if EC2 does not show it in this account."""
        return self._by_id.get(snapshot_id)

    @cached_property
    def images_of(self) -> Mapping[str, Sequence[str]]:
        """The images that use each snapshot."""
        found: dict[str, list[str]] = defaultdict(list)
        for image in self.images.values():
            for snapshot_id in image.snapshot_ids:
                found[snapshot_id].append(image.image_id)
        return found

    @cached_property
    def newest_images(self) -> frozenset[str]:
        """The newest image of each line of versions, as the tags name the lines."""
        newest: dict[str, Image] = {}
        for image in self.images.values():
            line = image.tags.get(tag_names.IMAGE)
            if line and (line not in newest or (newest[line].creation_date or "") < (image.creation_date or "")):
                newest[line] = image
        return frozenset(image.image_id for image in newest.values())

    @cached_property
    def sets(self) -> Sequence[SnapshotSet]:
        """The snapshot sets of instances, the newest first."""
        found = (point.snapshot for point in self.points if not is_copy(point.snapshot))
        return snapshot_sets_of((one for one in found if instance_of(one)), self.now)

    @cached_property
    def set_of(self) -> Mapping[str, SnapshotSet]:
        """The set of each snapshot that is a part of one."""
        return {snapshot_id: one for one in self.sets for snapshot_id in one.ids}

    @cached_property
    def elsewhere(self) -> Mapping[str, Mapping[str, Point]]:
        """By volume and region, the newest good copy that its description proves."""
        found: dict[str, dict[str, Point]] = defaultdict(dict)
        for region in self.spec.copy_regions:
            place = Place(region)
            for snapshot in self.state.all(Snapshot):
                if snapshot.place != place:
                    continue
                record, point = copy_record(snapshot), point_of(snapshot, self.now)
                if record is None or record.region != self.state.region or not point.is_good:
                    continue
                known = found[record.volume].get(region)
                if known is None or known.moment < point.moment:
                    found[record.volume][region] = point
        return found

    @cached_property
    def stored(self) -> Mapping[str, int]:
        """The exact bytes that each snapshot stores, by its id. Empty unless the user wants them."""
        return stored_sizes(self) if self.spec.changed_blocks else {}

    @cached_property
    def stored_notes(self) -> Mapping[str, str]:
        """Why AWS did not list the blocks of a snapshot, by its id."""
        return notes(self.state)

    def policies_of(self, volume_id: str) -> tuple[str, ...]:
        """Return the policies that have taken snapshots of the volume, as the descriptions prove."""
        return tuple(sorted({point.policy for point in self.of_volume.get(volume_id, ()) if point.policy}))

    def good_points(self, volume_id: str) -> Iterator[Point]:
        """Yield the points from which the volume can be restored at once, the newest first."""
        return (point for point in self.of_volume.get(volume_id, ()) if point.is_good)

    def holders(self, volume: Volume) -> list[Instance]:
        """Return the instances that have the volume."""
        found = (self.instances.get(link.instance_id) for link in volume.attachments)
        return [instance for instance in found if instance is not None]

    @cached_property
    def fallbacks(self) -> Mapping[str, str]:
        """The successor of each predecessor that may have to serve again, since the successor has not proved itself."""
        found = (replacement_of(self.state, item) for item in self.instances.values())
        return {
            one.predecessor.instance_id: one.successor.instance_id
            for one in found
            if one is not None and one.predecessor is not None and not one.stands
        }

    def is_kept(self, point: Point) -> bool:
        """Return whether a policy keeps the snapshot, or an image needs it, or somebody has locked it."""
        return bool(self.images_of.get(point.id)) or self.is_held(point)

    def is_held(self, point: Point) -> bool:
        """Return whether anything but an image keeps the snapshot.

        An adopted snapshot counts as kept, although only a tag says so.
        """
        return bool(
            point.policy
            or is_managed_by_aws(point.snapshot.tags)
            or tag_names.ADOPTED_BY in point.snapshot.tags
            or tag_names.FINAL in point.snapshot.tags
            or ((lock := self.lock_of(point)) is not None and lock.is_in_force)
        )

    def is_last(self, point: Point) -> bool:
        """Return whether no newer snapshot of its volume exists: none in any tier, or none to restore from at once.

        A copy without a known volume counts as the last one.
        """
        return not point.source or point.id in self._last_points

    def lock_of(self, point: Point) -> SnapshotLock | None:
        """Return the lock of the snapshot, or None."""
        return LOCK.of(self.state, point.id)

    def drilled(self, point: Point) -> datetime | None:
        """Return when a drill restored the snapshot, as its tag records. A time before the snapshot or after now is
        ignored.
        """
        recorded = point.snapshot.tags.get(tag_names.DRILLED)
        found = parse_moment(recorded) if recorded else None
        return found if found is not None and point.moment.replace(microsecond=0) <= found <= self.now else None

    # --- times -------------------------------------------------------------------------------------------------------

    def age(self, moment: datetime | None) -> timedelta:
        """Return the time since *moment*, zero for None and for the future."""
        return max(timedelta(), self.now - moment) if moment is not None else timedelta()

    def is_settled(self, moment: datetime | None) -> bool:
        """Return whether a resource of this time is old enough for a finding. None: EC2 shows no time."""
        return moment is None or self.age(moment) >= self.spec.grace

    def stopped_for(self, instance: Instance) -> timedelta | None:
        """Return how long the instance has been stopped, as EC2 shows, or None."""
        stopped = last_transition(instance) if instance.state == "stopped" else None
        return None if stopped is None else self.age(stopped)

    # --- costs -------------------------------------------------------------------------------------------------------

    @cached_property
    def prices(self) -> Prices:
        """The prices of the region: those of the user, of the Pricing API on request, and the shipped ones."""
        given, region = self.spec.prices, self.spec.prices.region
        if not self.spec.price_api:
            return given
        listed = listed_prices(self.state, region)
        return combined(region, *([given] if given.source in ("task", "file") else []), listed, shipped(region))

    def volume_cost(self, volume: Volume) -> Cost | None:
        """Return the monthly cost of the volume, or None without a price."""
        return self.cost_as(volume.volume_type, volume.size, volume.iops, volume.throughput)

    def cost_as(self, kind: str, gib: int, iops: int | None, mibps: int | None) -> Cost | None:
        """Return the monthly cost of a volume of these properties. A missing price is noted, and the cost is None."""
        try:
            return self.prices.volume(kind, gib, iops, mibps)
        except NoPrice as error:
            self.no_price.add(error.name)
            return None

    def saving_after_snapshot(self, volume: Volume) -> Cost | None:
        """Return the saving of a task that deletes the volume after a final snapshot, or None without a price.

        The snapshot costs at most the price of its full size.
        """
        cost = self.volume_cost(volume)
        if cost is None:
            return None
        try:
            kept = self.prices.snapshot(volume.size).most
        except NoPrice as error:
            self.no_price.add(error.name)
            kept = cost.most
        return Cost(max(0.0, cost.least - kept), cost.most, "full size")

    def snapshot_cost(self, snapshot: Snapshot) -> Cost | None:
        """Return the bounds of the monthly cost of the snapshot, or None without a price."""
        written, stored = snapshot.written_bytes, self.stored.get(snapshot.snapshot_id)
        key = (snapshot.volume_size, snapshot.storage_tier == "archive", written, stored)
        if key not in self._snapshot_costs:
            self._snapshot_costs[key] = self._snapshot_cost(*key)
        return self._snapshot_costs[key]

    def _snapshot_cost(self, gib: int, archived: bool, written: int | None, stored: int | None) -> Cost | None:
        try:
            return self.prices.snapshot(gib, archived=archived, written_bytes=written, stored_bytes=stored)
        except NoPrice as error:
            self.no_price.add(error.name)
            return None

    def saving_of(self, snapshot: Snapshot) -> Cost | None:
        """Return the saving of a deletion of the snapshot, or None without a price.

        The blocks that the next snapshot still needs move to it. So the saving is at most the cost.
        """
        cost = self.snapshot_cost(snapshot)
        return Cost(0.0, cost.most, cost.basis) if cost is not None and cost.basis == CHANGED_BLOCKS else cost


def amount_of(volume: Volume) -> Amount:
    """Return the billed quantities of the volume."""
    provisioned = volume.volume_type in ("gp3", "io1", "io2")
    return Amount(
        volume.size, volume.iops if provisioned else None, volume.throughput if volume.volume_type == "gp3" else None
    )


def volume_finding(
    inventory: Inventory,
    volume: Volume,
    finding: str,
    reason: str,
    *,
    saving: Cost | None = None,
    task: str = "",
    also: Iterable[str] = (),
    changes: tuple[str, ...] | None = None,
    risk: tuple[int, float] = (0, 0.0),
) -> Finding:
    """Return a finding about the volume, with its cost, size and tags. See `Finding` for *changes* and *risk*."""
    return Finding(
        finding,
        "volume",
        volume.volume_id,
        reason,
        name=name_of(volume.tags),
        also=tuple(also),
        cost=inventory.volume_cost(volume),
        saving=saving,
        amount=amount_of(volume),
        task=task,
        tags=volume.tags,
        changes=changes,
        risk=risk,
    )


_MANAGERS = ("aws:dlm:", "aws:backup:")
"""The prefixes of the tags that Data Lifecycle Manager and AWS Backup write. Nobody else can write a tag of ``aws:``
(EC2 user guide, "Tag restrictions").
"""


def is_managed_by_aws(tags: Mapping[str, str]) -> bool:
    """Return whether Data Lifecycle Manager or AWS Backup keeps the resource with these tags."""
    return any(key.startswith(_MANAGERS) for key in tags)


def name_of(tags: Mapping[str, str]) -> str:
    """Return the name that people have given to a resource."""
    return tags.get("Name", "")


def chosen(inventory: Inventory, subject: str) -> Iterable[Volume] | Iterable[Point] | Iterable[Image]:
    """Return the resources of the subject that the report shows."""
    spec = inventory.spec
    if subject == "volumes":
        return [item for item in inventory.volumes.values() if spec.shows("volumes", item.tags)]
    if subject == "snapshots":
        return [item for item in inventory.points if spec.shows("snapshots", item.snapshot.tags)]
    return [item for item in inventory.images.values() if spec.shows("images", item.tags)]
