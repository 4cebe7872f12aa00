# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The present and former places of volumes, and the free device names.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import zip_longest

from ..._domain.device_names import automatic_names, device_letters, device_trouble
from ..._domain.zones import unsupported_site
from ..._kernel import tags as tag_names
from ..._kernel.errors import SpecError, UnsafePlan
from ..._kernel.resources import Instance, Volume
from ..._kernel.state import Query, State
from .match import Match
from .spec import VolumesSpec
from .targets import Target

# --- the record ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """The present or former place of a volume. The tag ``ec2ops:was-at`` keeps it while the volume is detached."""

    instance_id: str
    device_name: str
    delete_on_termination: bool = False


def places_tags(places: Iterable[Place], present: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that record *places*: ``ec2ops:was-at`` and, when it is full, its continuations.

    A value is ``i-… /dev/sdf``, then ``delete`` if the volume is deleted with the instance; commas separate places.
    Tags of *present* that are not needed any more become empty.
    """
    values = [""]
    for place in places:
        text = f"{place.instance_id} {place.device_name}{' delete' if place.delete_on_termination else ''}"
        longer = f"{values[-1]},{text}" if values[-1] else text
        if len(longer) > tag_names.LONGEST_VALUE:
            values.append(text)
        else:
            values[-1] = longer
    tags = dict(zip_longest(tag_names.WAS_AT, values, fillvalue=""))
    return {key: value for key, value in tags.items() if value or key in present}


def recorded_places(volume: Volume) -> tuple[Place, ...]:
    """Return the places in ``ec2ops:was-at``, or none for a value that this collection did not write."""
    found = []
    for part in (part for key in tag_names.WAS_AT for part in volume.tags.get(key, "").split(",")):
        words = part.split(" ")
        if len(words) in (2, 3) and words[2:] in ([], ["delete"]):
            found.append(Place(words[0], words[1], len(words) == 3))
    return tuple(found)


def declared_places(target: Target, volume: Volume) -> tuple[Place, ...]:
    """Return the recorded places to which the volume may return: those on instances where the entry wants it.

    EC2 does not show a volume's former place, so the tag is only a claim. The tag alone never attaches the volume to
    another instance, and never sets delete-on-termination.
    """
    return tuple(
        Place(place.instance_id, place.device_name)
        for place in recorded_places(volume)
        if place.instance_id in target.instance_ids
    )


def places_of(state: State, volume: Volume) -> tuple[Place, ...]:
    """Return the present places of the volume."""
    return tuple(
        Place(link.instance_id, link.device_name, deleted_with(state, volume, link.instance_id))
        for link in volume.attachments
    )


WAS_AT_QUERY = Query("DescribeVolumes", (("tag-key", (tag_names.WAS_AT[0],)),))
"""The query for all volumes that a run has detached for a while. There are few of them."""


def deleted_with(state: State, volume: Volume | None, instance_id: str | None) -> bool:
    """Return delete-on-termination of this attachment. A plan predicts it on the instance, so that comes first."""
    instance = state.instance(instance_id)
    for link in volume.attachments if volume is not None else ():
        if volume is None or link.instance_id != instance_id:
            continue
        for device in instance.block_devices if instance is not None else ():
            if (device.volume_id, device.device_name) == (volume.volume_id, link.device_name):
                return device.delete_on_termination
        return link.delete_on_termination
    return False


# --- device names ----------------------------------------------------------------------------------------------------


class Devices:
    """The device names of all instances: used, remembered and declared ones."""

    def __init__(self, spec: VolumesSpec, state: State, matches: Iterable[Match]) -> None:
        self._used: dict[str, dict[str, str]] = defaultdict(dict)
        self._reserved: dict[str, dict[str, str]] = defaultdict(dict)
        self._recorded: dict[str, dict[str, str]] = defaultdict(dict)
        for instance in state.all(Instance):
            if instance.root_device_name:
                root = instance.root_volume_id or "the root volume"
                self._used[instance.instance_id] = {device_letters(instance.root_device_name): root}
        for volume in state.all(Volume):
            for link in volume.attachments:
                self._used[link.instance_id][device_letters(link.device_name)] = volume.volume_id
        self._declared = {
            device_letters(volume.device_name) for volume in spec.volumes if volume.device_name is not None
        }
        for match in matches:
            for place in declared_places(match.target, match.old or match.volume) if match.volume is not None else ():
                letters = device_letters(place.device_name)
                if letters not in self._declared:
                    self._recorded[place.instance_id].setdefault(letters, match.name)

    def choose(self, match: Match, instance: Instance, remembered: str | None = None) -> str:
        """Return the device for an attachment: the declared, the former, or one that is free on all instances."""
        if match.target.spec.device_name is not None:
            return match.target.spec.device_name
        names = (*([remembered] if remembered is not None else []), *automatic_names(instance))
        # A name that only a record claims for another volume is taken when there is no other.
        for claims in ((self._used, self._reserved, self._recorded), (self._used, self._reserved)):
            taken = self._taken(match, claims)
            for name in names:
                letters = device_letters(name)
                if any(device_trouble(name, item) for item in match.target.instances):
                    continue
                if letters not in taken and letters not in self._declared:
                    for item in match.target.instances:
                        self._reserved[item.instance_id][letters] = match.name
                    return name
        raise SpecError(f"{match.target.label}: no device name is free on {instance.instance_id}. Set device_name")

    def _taken(self, match: Match, claims: Iterable[Mapping[str, Mapping[str, str]]]) -> set[str]:
        """Return the letters of the names that others have on the entry's instances, from *claims*."""
        own_id = match.volume.volume_id if match.volume is not None else None
        return {
            letters
            for item in match.target.instances
            for held in claims
            for letters, holder in held.get(item.instance_id, {}).items()
            # The name of an entry may be the id of another volume, so the two are never compared.
            if holder != (own_id if held is self._used else match.name)
        }

    def require_usable(self, match: Match, instance: Instance) -> None:
        """Raise SpecError unless EC2 takes the declared device on that instance. Not for the root volume."""
        declared = match.target.spec.device_name
        trouble = device_trouble(declared, instance) if declared is not None else ""
        if trouble:
            raise SpecError(f"{match.target.label}: device_name: {trouble}")

    def require_free(
        self, label: str, volume_id: str, instance_id: str, device: str, freed: set[tuple[str, str]]
    ) -> None:
        """Raise UnsafePlan unless the device is empty, or will be: *freed* has (volume id, instance id) of this run's
        detaches.
        """
        there = self._used[instance_id].get(device_letters(device))
        if there not in (None, volume_id) and (there, instance_id) not in freed:
            raise UnsafePlan(
                f"{label}: device_name: {device} of {instance_id} holds {there}, which stays there. Choose another "
                "device, leave device_name out, or declare that volume"
            )


# --- sites -----------------------------------------------------------------------------------------------------------

BY_OTHER_MEANS = "Attach and replace it by other means, then declare it by its volume_id"
"""The remedy for a volume on an Outpost, which this collection does not attach."""


def require_supported_site(target: Target) -> None:
    """Raise UnsafePlan for a new volume or attachment on an Outpost, or in a Local or Wavelength Zone.

    CreateVolume names no Outpost, so the volume would land in the region.
    """
    sites = [(instance.instance_id, unsupported_site(target.zone, instance.facts)) for instance in target.instances]
    for who, site in sites or [("availability_zone", unsupported_site(target.zone))]:
        if site:
            raise UnsafePlan(
                f"{target.label}: {who} is {'in' if 'Zone' in site else 'on'} {site}, where this collection does not "
                "create or attach volumes. Create and attach it by other means, then declare it by its volume_id"
            )


def require_in_region(label: str, volume: Volume, remedy: str) -> None:
    """Raise UnsafePlan for a volume on an Outpost if the plan has its snapshot, copy or attachment in the region.

    EC2 puts the snapshot and its copies into the region, and attaches only on the same Outpost.
    """
    if volume.outpost_arn:
        site = unsupported_site(volume.availability_zone, {"OutpostArn": volume.outpost_arn})
        raise UnsafePlan(
            f"{label}: {volume.volume_id} is on {site}, where this collection does not attach, copy or snapshot "
            f"volumes. {remedy}"
        )
