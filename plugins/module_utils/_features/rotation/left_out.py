# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Selected items that a policy cannot capture: missing ids, instances without a volume, Outposts.

One bad item does not stop the others. The run takes all other snapshots, and applies retention to all. Then the task
fails with these names.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..._kernel.errors import Incomplete, SpecError, StorageError, listed
from ..._kernel.resources import Volume
from ..._kernel.state import State
from .capture import attached_to, selected_instances, selected_volumes, usable, volumes_of_set
from .spec import RotationSpec


class LeftOut:
    """The items that one policy leaves out, as warnings and as the error of the task.

    *captures*: whether any selected item can be captured. Raises SpecError if the selection matches no item, and the
    user has not accepted that.
    """

    def __init__(self, spec: RotationSpec, state: State, *, captures: bool) -> None:
        self.spec, self.state = spec, state
        if captures or not spec.selects or spec.allow_empty:
            return
        if next((text for found in (self._missing(), self._not_taken()) for text in found), None) is None:
            wanted = "instance" if spec.whole_instances else "volume"
            raise SpecError(
                f"select: no {wanted} in {state.region} matches. Set allow_empty: true to accept that, and to retain "
                "the existing snapshots."
            )

    def warnings(self) -> Iterator[str]:
        """Yield warnings about missing items that the user accepts, and about exclusions without effect."""
        if self.spec.allow_missing:
            yield from (f"{text}." for text in self._missing())
        if self.spec.exclude_volume_ids:
            present = {
                volume.volume_id
                for instance in selected_instances(self.spec, self.state)
                for volume in attached_to(self.state, instance.instance_id)
            }
            unknown = [item for item in self.spec.exclude_volume_ids if item not in present]
            if unknown:
                yield (
                    f"exclude_volume_ids: no selected instance has {listed(unknown)}, so nothing is excluded by "
                    f"{'it' if len(unknown) == 1 else 'them'}."
                )

    def error(self) -> StorageError | None:
        """Return the error of the task for the items that it leaves out, or None."""
        remedy = "Remove these ids from the list, or set select.allow_missing: true."
        texts = [] if self.spec.allow_missing else [f"{text}. {remedy}" for text in self._missing()]
        texts += self._not_taken()
        if not texts:
            return None
        message = " ".join(texts)
        return Incomplete(message, SpecError(message))

    def _missing(self) -> Iterator[str]:
        volumes = [_named(item, self.state.volume(item)) for item in self.spec.volume_ids if not self._volume(item)]
        instances = [item for item in self.spec.instance_ids if not self._instance(item)]
        for option, kind, ids in (("volume_ids", "volume", volumes), ("instance_ids", "instance", instances)):
            if ids:
                yield f"select.{option}: {self.state.region} has no {kind} {listed(ids)} to capture"

    def _volume(self, volume_id: str) -> bool:
        return usable(self.state.volume(volume_id))

    def _instance(self, instance_id: str) -> bool:
        """Return whether there is an instance to capture for this id."""
        found = self.state.instance(instance_id)
        return found is not None and found.alive

    def _not_taken(self) -> Iterator[str]:
        """Yield a sentence about each group of existing items that are not captured."""
        yield from self._without_volumes()
        yield from self._on_outposts()

    def _without_volumes(self) -> Iterator[str]:
        """Yield the sentence about instances, named by id, with only excluded volumes."""
        if not self.spec.whole_instances:
            return
        empty = [
            instance.instance_id
            for instance in selected_instances(self.spec, self.state)
            if instance.instance_id in self.spec.instance_ids and not volumes_of_set(self.spec, self.state, instance)
        ]
        if empty:
            verb = "has" if len(empty) == 1 else "have"
            yield f"select.instance_ids: {listed(empty)} {verb} only excluded volumes. Exclude fewer volumes."

    def _on_outposts(self) -> Iterator[str]:
        """Yield the sentence about volumes on an Outpost. EC2 would put their snapshots into the region."""
        found = sorted(volume.volume_id for volume in self._selected() if volume.outpost_arn)
        if found:
            verb = "is" if len(found) == 1 else "are"
            yield f"{listed(found)} {verb} on an Outpost, which is not supported. Select volumes of the region only."

    def _selected(self) -> Sequence[Volume]:
        if not self.spec.whole_instances:
            return selected_volumes(self.spec, self.state)
        instances = selected_instances(self.spec, self.state)
        return [volume for one in instances for volume in volumes_of_set(self.spec, self.state, one)]


def _named(volume_id: str, volume: Volume | None) -> str:
    return volume_id if volume is None else f"{volume_id} ({volume.state})"
