# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The workbench of a version as EC2 shows it: its phase, and the facts that prove its parts.

The tags of the version only show where to look. A launched instance has one of the workbench's client tokens. The
volume was made from the root snapshot of the source image, and it is the root of no instance. A capture has the
description of the version, and VolumeId shows the volume. Its fingerprint names the source image.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from ..._domain.image_versions import is_named_for, names_version, root_snapshot_id, source_hash
from ..._domain.workbenches import has_content, is_attached_after, is_launched, is_made_from_root, link_of
from ..._kernel import tags as tag_names
from ..._kernel.errors import listed
from ..._kernel.ids import is_planned
from ..._kernel.proofs import is_copy
from ..._kernel.resources import Image, Instance, Snapshot, Volume
from ..._kernel.state import State
from .spec import WorkbenchSpec

T = TypeVar("T", Image, Instance, Snapshot, Volume)
_BROKEN = ("failed", "error", "invalid", "deregistered")


class Phase(Enum):
    """The progress of a version. It is derived in `read`, and nowhere else."""

    ABSENT = "absent"
    """No volume, no capture, no image."""
    OPEN = "open"
    """The volume is attached to the workbench."""
    DETACHED = "detached"
    """The volume is attached to no instance, and no snapshot of it has been taken."""
    CAPTURED = "captured"
    """A snapshot of the developed volume exists."""
    REGISTERED = "registered"
    """The image exists."""


@dataclass(frozen=True)
class Bench:
    """The workbench of a version.

    ``launched``: the living instances that this workbench launched, the earliest first. ``volumes``: its volumes, the
    one that counts first. ``source_volume_id``: the developed volume, which the capture or the image shows, or else the
    volume that counts. ``strangers``: ids of resources with the tags, which no fact proves. ``captured``: the root
    snapshot of the image, or else the capture.
    """

    phase: Phase
    launched: tuple[Instance, ...]
    volumes: tuple[Volume, ...]
    image: Image | None
    source_volume_id: str | None
    strangers: tuple[str, ...]
    captured: Snapshot | None = None

    @property
    def volume(self) -> Volume | None:
        """Return the volume that counts, or None."""
        return self.volumes[0] if self.volumes else None

    def is_launched(self, instance_id: str) -> bool:
        """Return whether this workbench launched the instance."""
        return any(item.instance_id == instance_id for item in self.launched)


def read(spec: WorkbenchSpec, state: State) -> Bench:
    """Return the workbench that *state* shows."""
    launched = tuple(sorted((item for item in _tagged(spec, state, Instance) if _is_launched(spec, item)), key=_age))
    volumes = tuple(_volumes(spec, state))
    image = next((item for item in _tagged(spec, state, Image) if _is_version(spec, state, item)), None)
    capture = next((item for item in _tagged(spec, state, Snapshot) if is_capture(spec, item)), None)
    first = volumes[0] if volumes else None
    if image is not None:
        phase, source = Phase.REGISTERED, developed_volume(spec, state, image)
    elif capture is not None:
        phase, source = Phase.CAPTURED, capture.volume_id
    else:
        source = first.volume_id if first is not None else None
        phase = Phase.ABSENT if first is None else Phase.OPEN if link_of(first) is not None else Phase.DETACHED
    captured = state.snapshot(root_snapshot_id(image)) if image is not None else capture
    return Bench(phase, launched, volumes, image, source, tuple(_strangers(spec, state, launched, volumes)), captured)


def _tagged(spec: WorkbenchSpec, state: State, cls: type[T]) -> list[T]:
    wanted = spec.version_tags.items()
    found = [item for item in state.all(cls) if wanted <= item.tags.items()]
    return sorted(found, key=lambda item: item.resource_id)


def _age(resource: Instance | Volume) -> tuple[bool, str, str]:
    """Return a sort key that puts the earliest first, then the lowest id."""
    moment = resource.launch_time if isinstance(resource, Instance) else resource.create_time
    return moment is None, str(moment), resource.resource_id


def _is_launched(spec: WorkbenchSpec, instance: Instance) -> bool:
    """Return whether the instance is alive, and EC2 shows a ClientToken of this workbench for its launch."""
    return instance.alive and (is_planned(instance.instance_id) or is_launched(instance, spec.name, spec.version))


def _volumes(spec: WorkbenchSpec, state: State) -> list[Volume]:
    """Return the workbench's volumes, first the one that is attached, then the earliest."""
    found = [item for item in _tagged(spec, state, Volume) if item.alive and _is_made_here(spec, state, item)]
    return sorted(found, key=lambda item: (link_of(item) is None, _age(item)))


def _is_made_here(spec: WorkbenchSpec, state: State, volume: Volume) -> bool:
    """Return whether the volume was made from the root snapshot of the source image, for no instance's root."""
    if is_planned(volume.volume_id):
        return True
    source = state.image(spec.source_image_id)
    return source is not None and tag_names.WORKBENCH in volume.tags and is_made_from_root(volume, source)


def _is_version(spec: WorkbenchSpec, state: State, image: Image) -> bool:
    """Return whether EC2 shows that the image is the version, and that it is no copy."""
    if image.state in _BROKEN or image.is_copy:
        return False
    parts = [part for part in map(state.snapshot, image.snapshot_ids) if part is not None]
    return is_planned(image.image_id) or is_named_for(spec.name, image, parts)


def is_capture(spec: WorkbenchSpec, snapshot: Snapshot) -> bool:
    """Return whether the snapshot was taken of a volume for this version, as its description and VolumeId show."""
    if is_planned(snapshot.snapshot_id):
        return True
    if snapshot.state == "error" or is_copy(snapshot):
        return False
    return names_version(spec.name, spec.version, snapshot.description) and _is_developed(spec, snapshot)


def _is_developed(spec: WorkbenchSpec, resource: Image | Snapshot) -> bool:
    """Return whether the fingerprint says that the resource was made from a volume of the source image."""
    return resource.tags.get(tag_names.FINGERPRINT, "").startswith(f"{source_hash('volume', spec.source_image_id)}-")


def developed_volume(spec: WorkbenchSpec, state: State, image: Image) -> str | None:
    """Return the volume that the image was developed on, as its root snapshot shows. Return None for another image."""
    captured = state.snapshot(root_snapshot_id(image))
    if captured is None or is_copy(captured):
        return None
    proven = is_planned(image.image_id) or _is_developed(spec, image)
    return captured.volume_id if proven else None


def is_in_image(state: State, bench: Bench, volume_id: str) -> bool:
    """Return whether the available image of the version has a snapshot of this volume."""
    return bench.image is not None and has_content(state, bench.image, volume_id)


def is_attached_later(state: State, bench: Bench, volume_id: str) -> bool:
    """Return whether EC2 shows that the volume was attached after the image's snapshot, or after the capture."""
    return bench.captured is not None and is_attached_after(state, bench.captured, volume_id)


def _strangers(
    spec: WorkbenchSpec, state: State, launched: Iterable[Instance], volumes: Iterable[Volume]
) -> Iterator[str]:
    """Yield the living instances and volumes that have the tags of the workbench without its facts."""
    known = {item.instance_id for item in launched} | {item.volume_id for item in volumes}
    found = [item.instance_id for item in _tagged(spec, state, Instance) if item.alive]
    found += [item.volume_id for item in _tagged(spec, state, Volume) if item.alive]
    yield from (name for name in found if name not in known)


def stranger_warnings(spec: WorkbenchSpec, bench: Bench) -> tuple[str, ...]:
    """Return the warning about resources that have the tags of the workbench, and that count for nothing."""
    if not bench.strangers:
        return ()
    text = (
        f"these resources have the tags of the workbench of {spec.label}: {listed(bench.strangers)}. No fact of EC2 "
        f"shows that the workbench from {spec.source_image_id} made them. The task does not use or change them. Remove "
        "them, or their tags."
    )
    return (text,)
