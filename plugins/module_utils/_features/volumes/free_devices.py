# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device names that are free on the instances of a declaration.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from ..._domain.device_names import automatic_names, device_letters, device_trouble
from ..._kernel.errors import SpecError, UnsafePlan
from ..._kernel.resources import Instance, Volume
from ..._kernel.state import State
from .former_attachments import declared_attachments
from .match import Match
from .spec import VolumesSpec


class Devices:
    """The device names of all instances: the used, recorded and declared ones."""

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
            if match.volume is None:
                continue
            for former in declared_attachments(match.target, match.old or match.volume):
                letters = device_letters(former.device_name)
                if letters not in self._declared:
                    self._recorded[former.instance_id].setdefault(letters, match.name)

    def choose(self, match: Match, instance: Instance, remembered: str | None = None) -> str:
        """Return the device for an attachment: the declared, the former, or one that is free on all instances."""
        if match.target.spec.device_name is not None:
            return match.target.spec.device_name
        names = (*([remembered] if remembered is not None else []), *automatic_names(instance))
        # If no other name is free, the entry gets a name that only a record claims for another volume.
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
        """Return, from *claims*, the device letters of other volumes on the entry's instances."""
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
        """Raise SpecError unless EC2 takes the declared device on that instance. The root volume is not checked."""
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
                f"{label}: device_name: {device} of {instance_id} holds {there}, which this run does not detach. "
                "Choose another device, leave device_name out, or declare that volume"
            )
