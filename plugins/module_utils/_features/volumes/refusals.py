# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The parts of a declaration that cannot be planned. The others are planned as if these parts were not declared.

Some refusals show only once all entries are planned: two volumes at one device, too many attachments, an instance that
must not stop. They end the entries that cause them.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from ..._kernel.errors import StorageError
from ..._kernel.resources import Instance
from ..._kernel.tags import NoRoom
from .draft import Draft
from .guards import limit_trouble, replaced_trouble, stop_trouble
from .match import Match
from .power import stopping_instances


@dataclass(frozen=True)
class Refusals:
    """``entries``: why they are refused, by their place among the matches. ``purges``: why the undeclared volumes of an
    instance stay, by its id.
    """

    entries: Mapping[int, StorageError] = field(default_factory=dict)
    purges: Mapping[str, StorageError] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.entries or self.purges)

    def of(self, matches: Iterable[Match]) -> tuple[Match, ...]:
        """Return the matches, with these entries refused."""
        return tuple(
            replace(match, refused=self.entries[number]) if number in self.entries else match
            for number, match in enumerate(matches)
        )


def conflicts(draft: Draft) -> Refusals:
    """Return the refusals of entries and purges that contradict each other, EC2's limits, or the user's consent."""
    entries: dict[int, StorageError] = {}
    purges: dict[str, StorageError] = {}
    for instance, error in _stops(draft):
        numbers = _leaving(draft, instance)
        entries |= dict.fromkeys(numbers, error)
        if not numbers:
            purges[instance.instance_id] = error
    for numbers, error in (*_attachments(draft), *_devices(draft)):
        entries |= dict.fromkeys(numbers, error)
    return Refusals(entries, purges)


def without_room(draft: Draft, error: NoRoom) -> Refusals:
    """Return the refusal of the entry whose volume, or the snapshot of it, would have too many tags.

    Raises the error for a volume without an entry.
    """
    changes = (change for changes in (draft.creates, draft.snapshots, draft.early_snapshots) for change in changes)
    sources = {change.source for change in changes if change.resource == error.resource}
    for number, match in enumerate(draft.matches):
        if match.refused is not None:
            continue
        ids = {volume.volume_id for volume in (match.volume, *match.replaced) if volume is not None}
        if match.target.label == draft.labels.get(error.resource) or ids & {error.resource, *sources}:
            return Refusals({number: error})
    raise error


def _numbers(draft: Draft) -> dict[str, int]:
    """Return the places of the matches by their labels."""
    return {match.target.label: number for number, match in enumerate(draft.matches)}


def _devices(draft: Draft) -> Iterator[tuple[list[int], StorageError]]:
    """Yield the attachments at a device that another volume holds."""
    numbers = _numbers(draft)
    for change in draft.attaches:
        instance_id, device = change.parameters["InstanceId"], change.parameters["Device"]
        label = draft.labels[change.resource]
        error = draft.devices.conflict(label, change.resource, instance_id, device, draft.freed)
        if error is not None:
            yield [numbers[label]], error


def _attachments(draft: Draft) -> Iterator[tuple[list[int], StorageError]]:
    """Yield the attachments that are too many for an instance, or to one that a relaunch has retired."""
    numbers = _numbers(draft)
    joining: dict[str, list[str]] = defaultdict(list)
    for change in draft.attaches:
        joining[change.parameters["InstanceId"]].append(draft.labels[change.resource])
    for instance_id, labels in joining.items():
        instance = draft.state.instance(instance_id)
        for trouble in (limit_trouble, replaced_trouble):
            error = trouble(draft, instance, labels) if instance is not None else None
            if error is not None:
                yield sorted(numbers[label] for label in labels), error


def _stops(draft: Draft) -> Iterator[tuple[Instance, StorageError]]:
    """Yield the instances that must not stop."""
    for instance in stopping_instances(draft):
        error = stop_trouble(draft, instance)
        if error is not None:
            yield instance, error


def _leaving(draft: Draft, instance: Instance) -> list[int]:
    """Return the entries whose volumes leave the instance: none where only a purge detaches volumes."""
    leaving = {volume_id for volume_id, instance_id in draft.freed if instance_id == instance.instance_id}
    return [
        number
        for number, match in enumerate(draft.matches)
        if match.refused is None
        and any(volume is not None and volume.volume_id in leaving for volume in (match.volume, *match.replaced))
    ]
