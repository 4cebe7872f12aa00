# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The proof that an existing image or snapshot was made from the source of this task, with the devices of this task.

Private to this collection.
"""

from __future__ import annotations

import re

from ..._domain.succession import successor
from ..._kernel import tags as tag_names
from ..._kernel.errors import SpecError
from ..._kernel.proofs import is_taken_of
from ..._kernel.resources import Image, Instance, Snapshot
from ..._kernel.state import State
from .found import (
    family,
    is_shown_of_source,
    root_snapshot,
    stranger_of,
    taken,
)
from .spec import ImageSpec


def living_or_none(spec: ImageSpec, state: State) -> Instance | None:
    """Return the source instance or its living successor, or None for a snapshot, or for an instance that EC2 does not
    show.
    """
    if not spec.source_instance_id:
        return None
    newer = successor(state, spec.source_instance_id) if spec.follow_successor else None
    return newer or state.instance(spec.source_instance_id)


_FINGERPRINT = re.compile(r"[0-9a-f]{32}-[0-9a-f]{32}")


def require_same_source(spec: ImageSpec, state: State, what: str, resource: Image | Snapshot) -> tuple[str, ...]:
    """Raise SpecError unless *resource* was made from this source, a predecessor or a successor of it, with the devices
    of this task.

    An instance that was launched from the image is the same source too. Return a warning if the fingerprint is missing
    or names another source, and EC2 shows that *resource* was made from this one.
    """
    instance = living_or_none(spec, state)
    recorded = resource.tags.get(tag_names.FINGERPRINT, "")
    known = f"{what} {resource.resource_id} already exists as {spec.label}, but it was made"
    advice = "Use another version, or remove this one with state: absent"
    launched = instance is not None and instance.image_id == resource.resource_id
    fits = (launched or is_same_source(spec, state, resource)) and has_fingerprint(resource)
    if not fits and not launched and not is_shown_of_source(spec, state, resource):
        raise SpecError(
            f"{known} from another source than {spec.source}. {advice}. To relaunch other instances from this "
            "version, name the source of the version (for a group, in bake_and_relaunch_source)"
        )
    if fits and not recorded.endswith(spec.shape_hash):
        raise SpecError(f"{known} with other devices or block_devices. {advice}")
    other = _other_given(spec, state, resource)
    if other:
        raise SpecError(f"{known} from {other}. The task names {spec.source}. {advice}")
    foreign = stranger_of(spec, state, resource) if isinstance(resource, Image) and not launched else None
    if foreign is not None:
        raise SpecError(
            f"{known} from {foreign.snapshot_id} of {foreign.volume_id}, which was not a volume of {spec.source} then. "
            f"Only tags say that it was made from {spec.source}. {advice}"
        )
    if fits:
        return ()
    warning = (
        f"{what} {resource.resource_id} is {spec.label} of {spec.source}, as EC2 shows, but its tag "
        f"{tag_names.FINGERPRINT} is missing or altered. The {what} counts as this version, and this task does not "
        f"delete it. If it was made with the devices and block_devices of this task, give it the tag "
        f"{tag_names.FINGERPRINT}={spec.fingerprint(spec.origin)}. If not, use another version."
    )
    return (warning,)


def require_captured_from_source(spec: ImageSpec, state: State) -> list[str]:
    """Apply `require_same_source` to all snapshots taken for this version, including superfluous and failed ones.

    So no run deletes another source's snapshot. Returns the warnings.
    """
    return [text for item in taken(spec, state) for text in require_same_source(spec, state, "snapshot", item)]


def _other_given(spec: ImageSpec, state: State, resource: Image | Snapshot) -> str:
    """Return the source that EC2 shows in place of the snapshot or the volume of the task, or an empty text."""
    parts = resource.snapshot_ids if isinstance(resource, Image) else ()
    if spec.source_snapshot_id and parts and spec.source not in parts:
        return ", ".join(parts)
    captured = root_snapshot(state, resource) if isinstance(resource, Image) else resource
    if spec.source_volume_id and captured is not None and not is_taken_of(captured, spec.source_volume_id):
        return f"{captured.snapshot_id} of {captured.volume_id}"
    return ""


def has_fingerprint(resource: Image | Snapshot) -> bool:
    """Return whether the tag has the form of a fingerprint."""
    return _FINGERPRINT.fullmatch(resource.tags.get(tag_names.FINGERPRINT, "")) is not None


def is_same_source(spec: ImageSpec, state: State, resource: Image | Snapshot) -> bool:
    """Return whether the resource's fingerprint names the source, a predecessor or a successor of it."""
    recorded = resource.tags.get(tag_names.FINGERPRINT, "")
    sources = dict.fromkeys((spec.origin, *family(spec, state)))
    return any(recorded.startswith(spec.source_hash(source)) for source in sources)
