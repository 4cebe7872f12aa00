# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The workbenches of versions that a run has left, by the facts that prove their instance and their volume.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..._domain.image_versions import is_named_for
from ..._domain.workbenches import has_content, is_launched, is_made_from_root
from ..._kernel import tags as tag_names
from ..._kernel.display import visible
from ..._kernel.ids import kind_of
from ..._kernel.resources import Image, Instance, Volume
from . import remedies
from .finding import Finding
from .stock import Inventory, volume_finding


@dataclass(frozen=True)
class _Bench:
    """A version, and the image from which it is developed, as tags name them."""

    name: str
    version: str
    source: str

    @property
    def label(self) -> str:
        """The name of the version in messages."""
        return visible(f"{self.name}/{self.version}")

    def has_made(self, inventory: Inventory, volume: Volume) -> bool:
        """Return whether EC2 shows that the volume was made from the root of the source image."""
        source = inventory.images.get(self.source)
        return _named(volume.tags) == self and source is not None and is_made_from_root(volume, source)

    def image(self, inventory: Inventory) -> Image | None:
        """Return the image of the version, as its descriptions or its name prove, or None."""
        wanted = {tag_names.IMAGE: self.name, tag_names.VERSION: self.version}.items()
        for image in inventory.images.values():
            parts = [part for part in map(inventory.state.snapshot, image.snapshot_ids) if part is not None]
            if wanted <= image.tags.items() and not image.is_copy and is_named_for(self.name, image, parts):
                return image
        return None

    def unsaved(self, inventory: Inventory) -> list[str]:
        """Return the ids of the volumes with the tags of the workbench whose content the image does not have."""
        named = [item.volume_id for item in inventory.volumes.values() if _named(item.tags) == self]
        image = self.image(inventory) if named else None
        return [one for one in named if image is None or not has_content(inventory.state, image, one)]

    def task(self, inventory: Inventory) -> str:
        """Return the task that removes the workbench, or an empty text if it would lose the changes on a volume."""
        if kind_of(self.source) != "image" or self.unsaved(inventory):
            return ""
        return remedies.workbench_removal(self.name, self.version, self.source, inventory.state.region)

    def advice(self, inventory: Inventory) -> str:
        """Return the end of the reason: what a person has to decide, or that nothing is lost."""
        if unsaved := self.unsaved(inventory):
            return (
                f"No image of {self.label} has the content of {', '.join(unsaved)}. Run develop_image again to finish "
                "the version, or with develop_image_state: absent to discard it."
            )
        return "Its removal loses no changes."


def _named(tags: Mapping[str, str]) -> _Bench | None:
    name, version = tags.get(tag_names.IMAGE, ""), tags.get(tag_names.VERSION, "")
    return (
        _Bench(name, version, tags[tag_names.WORKBENCH]) if name and version and tag_names.WORKBENCH in tags else None
    )


def launched_bench(instance: Instance) -> _Bench | None:
    """Return the workbench that launched the instance, as its ClientToken proves, or None."""
    bench = _named(instance.tags)
    return bench if bench is not None and is_launched(instance, bench.name, bench.version) else None


def of_volume(inventory: Inventory, volume: Volume) -> Iterator[Finding]:
    """Yield the finding about a volume of a workbench that is attached to no instance."""
    bench = _named(volume.tags)
    if bench is None or not bench.has_made(inventory, volume):
        return
    task = bench.task(inventory)
    saving = inventory.volume_cost(volume) if task else None
    reason = f"A run made {volume.volume_id} for the workbench of {bench.label}. {bench.advice(inventory)}"
    yield volume_finding(inventory, volume, "leftover-workbench", reason, saving=saving, task=task)
