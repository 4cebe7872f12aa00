# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Estimate the monthly cost that a plan's volumes and snapshots add, without a call.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, TypeAlias

from .._kernel.places import HERE, Place
from .._kernel.plan import Change
from .._kernel.prices import CURRENCY, Cost, NoPrice, Prices
from .._kernel.resources import Image, ImageDevice, Snapshot, Volume
from .._kernel.state import State

PriceBook = Callable[[str], Prices]
"""Return the prices of a region."""
Thing = Mapping[str, Any]
"""The fields of a volume or of a snapshot, as its view has them. A snapshot has ``volume_size``."""
_Effect: TypeAlias = "tuple[str, Thing | None]"
"""A resource and what the plan makes of it, None if the plan deletes it."""


class _Unknown(Exception):
    """The size of a resource is unknown, so there is no estimate."""


def estimate(changes: Iterable[Change], state: State, book: PriceBook) -> dict[str, Any] | None:
    """Return the bounds of the monthly difference that the plan makes, also as a text.

    A snapshot stores at most its full size, and its deletion frees at most that. Return None without a price, without
    a size, and without a change that makes, changes or deletes a volume or a snapshot.

    *state*: EC2's answers before the plan, which show the cost of the resources that the plan deletes.
    """
    ledger = _Ledger(state)
    try:
        for change in changes:
            ledger.enter(change)
        return ledger.result(book) if ledger.before else None
    except (_Unknown, NoPrice):
        return None


class _Ledger:
    """The volumes and snapshots of a plan, as they are before it and after it, by their place and id."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._images: dict[str, list[Mapping[str, Any]]] = {}
        self._kinds: set[str] = set()
        self._gone: set[str] = set()
        self.before: dict[tuple[Place, str], Thing | None] = {}
        self.after: dict[tuple[Place, str], Thing | None] = {}

    def enter(self, change: Change) -> None:
        """Note the effects of a change. Raises _Unknown."""
        effects = _EFFECTS.get(change.action)
        if change.after is not None and "block_devices" in change.after and change.action != "RunInstances":
            self._images[change.resource] = list(change.after["block_devices"])
        if effects is None:
            return
        place = Place.parse(change.region)
        for resource, after in effects(self, change):
            key = place, resource
            if key not in self.before:
                own = {**(self.known(change, resource) or {}), **(change.before or {})}
                self.before[key] = own if resource == change.resource and own else self.known(change, resource)
            self.after[key] = after
            self._kinds |= {
                str(one["volume_type"]) for one in (self.before[key], after) if one and one.get("volume_type")
            }

    def known(self, change: Change, resource: str) -> Thing | None:
        """Return the volume or snapshot as the plan has left it, or as EC2 shows it. None for a new one."""
        key = Place.parse(change.region), resource
        if key in self.after:
            return self.after[key]
        here = change.region == self._state.region
        shown = self._state.volume(resource) if here else None
        found = shown or self._state.snapshot(resource, HERE if here else key[0])
        return None if found is None else _fields(found)

    def volume(self, change: Change, volume_id: str) -> Thing:
        """Return a volume with its size. Raises _Unknown."""
        found = self.known(change, volume_id)
        if found is None or not found.get("size"):
            raise _Unknown
        return found

    def devices(self, image_id: str) -> list[Mapping[str, Any]]:
        """Return the devices of an image, which the plan may make. Raises _Unknown."""
        if image_id in self._images:
            return self._images[image_id]
        image = self._state.image(image_id)
        if image is None:
            raise _Unknown
        return [_device(one) for one in image.block_devices]

    def parts(self, change: Change) -> list[str]:
        """Return the snapshots that EC2 deletes with an image: those of no image that stays. Raises _Unknown."""
        image = self._state.image(change.resource, _place(change, self._state))
        if image is None:
            raise _Unknown
        self._gone.add(image.image_id)
        return [name for name in dict.fromkeys(image.snapshot_ids) if not self._users[name] - self._gone]

    @cached_property
    def _users(self) -> Mapping[str, set[str]]:
        """The images that use each snapshot."""
        found: dict[str, set[str]] = defaultdict(set)
        for image in self._state.all(Image):
            if image.state not in ("deregistered", "failed"):
                for name in image.snapshot_ids:
                    found[name].add(image.image_id)
        return found

    def instance_volumes(self, instance_id: str) -> Iterator[str]:
        """Yield the volumes that EC2 deletes with an instance. Raises _Unknown."""
        instance = self._state.instance(instance_id)
        if instance is None:
            raise _Unknown
        yield from instance.doomed_volume_ids

    def root_of(self, instance_id: str) -> str:
        """Return the root volume of an instance. Raises _Unknown."""
        instance = self._state.instance(instance_id)
        root = None if instance is None else instance.root_volume_id
        if not root:
            raise _Unknown
        return root

    def result(self, book: PriceBook) -> dict[str, Any]:
        """Return the estimate. Raises NoPrice and _Unknown."""
        least = most = 0.0
        sizes = {"volume": 0, "snapshot": 0}
        for key, old in self.before.items():
            new = self.after[key]
            if new == old:
                continue
            prices = book(key[0].region)
            was, will = _cost(old, prices), _cost(new, prices)
            least, most = least + will.least - was.most, most + will.most - was.least
            for sign, one in ((-1, old), (1, new)):
                if one:
                    sizes["snapshot" if _is_snapshot(one) else "volume"] += sign * _size(one)
        first = book(next(iter(self.before))[0].region)
        text = _text(sizes, self._kinds, least, most)
        return {
            "monthly": round(most, 2),
            "least": round(least, 2),
            "most": round(most, 2),
            "exact": least == most,
            "currency": CURRENCY,
            "gib": sizes["volume"],
            "snapshot_gib": sizes["snapshot"],
            "source": first.source,
            "date": first.date,
            "text": text,
        }


def _place(change: Change, state: State) -> Place:
    return HERE if change.region == state.region else Place.parse(change.region)


def _fields(found: Volume | Snapshot) -> Thing:
    """Return the fields that decide on the cost. A plan may delete very many snapshots, so these are no whole views."""
    if isinstance(found, Snapshot):
        return {
            "volume_size": found.volume_size,
            "storage_tier": found.storage_tier,
            "written_bytes": found.written_bytes,
        }
    return {name: getattr(found, name) for name in ("size", "volume_type", "iops", "throughput")}


def _device(device: ImageDevice) -> Mapping[str, Any]:
    return {
        name: getattr(device, name)
        for name in ("device_name", "snapshot_id", "size", "volume_type", "iops", "throughput", "virtual_name")
    }


def _is_snapshot(thing: Thing) -> bool:
    return "volume_size" in thing


def _size(thing: Thing) -> int:
    return int(thing.get("volume_size" if _is_snapshot(thing) else "size") or 0)


def _cost(thing: Thing | None, prices: Prices) -> Cost:
    """Return the bounds of the monthly cost. Raises NoPrice, also if the performance of a volume is unknown."""
    if not thing or not _size(thing):
        return Cost(0.0, 0.0)
    if _is_snapshot(thing):
        is_archived = thing.get("storage_tier") == "archive"
        return prices.snapshot(_size(thing), archived=is_archived, written_bytes=thing.get("written_bytes"))
    kind = str(thing.get("volume_type") or "gp3")
    if kind in ("io1", "io2") and thing.get("iops") is None:
        raise NoPrice(f"{kind}.iops")
    return prices.volume(kind, _size(thing), thing.get("iops"), thing.get("throughput"))


def _text(sizes: Mapping[str, int], kinds: set[str], least: float, most: float) -> str:
    parts = []
    if sizes["volume"] or not sizes["snapshot"]:
        parts.append(f"{sizes['volume']:+d} GiB{f' {min(kinds)}' if len(kinds) == 1 else ''}")
    if sizes["snapshot"]:
        parts.append(f"{sizes['snapshot']:+d} GiB of snapshots at most")
    amount = f"about {most:+.2f}" if round(least, 2) == round(most, 2) else f"{least:+.2f} to {most:+.2f}"
    return f"{', '.join(parts)}: {amount} {CURRENCY} a month"


# --- the effects of each operation -----------------------------------------------------------------------------------


def _own(_ledger: _Ledger, change: Change) -> Iterator[_Effect]:
    if change.after is not None and not (change.after.get("size") and change.after.get("volume_type")):
        raise _Unknown
    yield change.resource, change.after


def _new_snapshot(ledger: _Ledger, change: Change) -> Iterator[_Effect]:
    after = dict(change.after or {})
    if after.get("volume_size") is None:
        after["volume_size"] = ledger.volume(change, change.source)["size"]
    yield change.resource, {"volume_size": after["volume_size"]}


def _gone_snapshot(ledger: _Ledger, change: Change) -> Iterator[_Effect]:
    if ledger.known(change, change.resource) is None:
        raise _Unknown
    yield change.resource, None


def _moved_tier(ledger: _Ledger, change: Change) -> Iterator[_Effect]:
    known = ledger.known(change, change.resource)
    if known is None:
        raise _Unknown
    yield change.resource, {**known, "storage_tier": (change.after or {}).get("storage_tier", "archive")}


def _parts_of_image(_ledger: _Ledger, change: Change) -> Iterator[_Effect]:
    for part in (change.after or {}).get("snapshots") or ():
        if not part.get("volume_size"):
            raise _Unknown
        yield str(part["snapshot_id"]), {"volume_size": part["volume_size"]}


def _deregistered(ledger: _Ledger, change: Change) -> Iterator[_Effect]:
    if change.parameters.get("DeleteAssociatedSnapshots"):
        yield from ((name, None) for name in ledger.parts(change))


def _launched(ledger: _Ledger, change: Change) -> Iterator[_Effect]:
    """Yield the volumes of a new instance: the devices of its image, with the values of the request."""
    asked = {one["DeviceName"]: one for one in change.parameters.get("BlockDeviceMappings") or ()}
    for device in ledger.devices(str(change.parameters["ImageId"])):
        mapping = asked.pop(device["device_name"], {})
        if "NoDevice" in mapping or device.get("virtual_name"):
            continue
        yield f"{change.resource} {device['device_name']}", _new_volume(device, mapping.get("Ebs") or {})
    for name, mapping in asked.items():
        if "Ebs" in mapping:
            yield f"{change.resource} {name}", _new_volume({}, mapping["Ebs"])


def _new_volume(device: Mapping[str, Any], ebs: Mapping[str, Any]) -> Thing:
    size = ebs.get("VolumeSize") or device.get("size")
    if not size:
        raise _Unknown
    return {
        "size": size,
        "volume_type": ebs.get("VolumeType") or device.get("volume_type") or "gp2",
        "iops": ebs.get("Iops") or device.get("iops"),
        "throughput": ebs.get("Throughput") or device.get("throughput"),
    }


def _terminated(ledger: _Ledger, change: Change) -> Iterator[_Effect]:
    for volume_id in ledger.instance_volumes(change.resource):
        ledger.volume(change, volume_id)
        yield volume_id, None


def _new_root(ledger: _Ledger, change: Change) -> Iterator[_Effect]:
    """Yield the new root volume, which EC2 makes like the former one, and the former one if EC2 deletes it."""
    former = ledger.root_of(str(change.parameters["InstanceId"]))
    if "VolumeId" not in change.parameters:
        found = ledger.volume(change, former)
        wanted = ("size", "volume_type", "iops", "throughput")
        yield f"{change.resource} root", {name: found.get(name) for name in wanted}
    if change.parameters.get("DeleteReplacedRootVolume"):
        yield former, None


_EFFECTS: Mapping[str, Callable[[_Ledger, Change], Iterator[_Effect]]] = {
    "CreateVolume": _own,
    "ModifyVolume": _own,
    "DeleteVolume": _own,
    "CreateSnapshot": _new_snapshot,
    "CreateSnapshots": _new_snapshot,
    "CopySnapshot": _new_snapshot,
    "DeleteSnapshot": _gone_snapshot,
    "ModifySnapshotTier": _moved_tier,
    "CreateImage": _parts_of_image,
    "CopyImage": _parts_of_image,
    "DeregisterImage": _deregistered,
    "RunInstances": _launched,
    "TerminateInstances": _terminated,
    "CreateReplaceRootVolumeTask": _new_root,
}
"""The effects of the operations that make, change or delete volumes and snapshots."""
