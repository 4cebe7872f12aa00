# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The facts that prove the instance and the volume of a workbench, which tags only claim.

Private to this collection.
"""

from __future__ import annotations

from .._kernel.ids import GENERATIONS, client_token
from .._kernel.instance_proofs import attached_since
from .._kernel.proofs import is_taken_of
from .._kernel.resources import Image, Instance, Snapshot, Volume, VolumeAttachment
from .._kernel.state import State
from .attachments import disk
from .image_versions import root_snapshot_id


def launch_identity(name: str, version: str) -> tuple[str, ...]:
    """Return the identity from which `ids.client_token` makes the ClientToken of the workbench's instance."""
    return ("image-workbench", name, version)


def is_launched(instance: Instance, name: str, version: str) -> bool:
    """Return whether EC2 shows a ClientToken of the version's workbench for the launch of the instance."""
    identity = launch_identity(name, version)
    return instance.facts.get("ClientToken") in {client_token(identity, number) for number in range(GENERATIONS)}


def is_made_from_root(volume: Volume, source: Image) -> bool:
    """Return whether the volume was made from the root snapshot of the source image, for no instance's root.

    Every root volume of an instance of that image is made from the same snapshot. An instance may show its root as
    /dev/sda1, and another one as /dev/xvda.
    """
    root = disk(source.root_device_name or "")
    is_root = any(disk(link.device_name) == root for link in volume.attachments)
    return not is_root and bool(volume.snapshot_id) and volume.snapshot_id == root_snapshot_id(source)


def has_content(state: State, image: Image, volume_id: str) -> bool:
    """Return whether the image is available, and its root is a snapshot of this volume as it is now.

    A volume that was attached after that snapshot may have later writes.
    """
    captured = state.snapshot(root_snapshot_id(image)) if image.state == "available" else None
    if captured is None or not is_taken_of(captured, volume_id):
        return False
    return not is_attached_after(state, captured, volume_id)


def is_attached_after(state: State, captured: Snapshot, volume_id: str) -> bool:
    """Return whether EC2 shows an attachment of the volume that began after the snapshot of it, so it may have later
    writes. EC2 shows AttachTime and StartTime in seconds.
    """
    volume = state.volume(volume_id)
    if volume is None or captured.start_time is None or not is_taken_of(captured, volume_id):
        return False
    link = link_of(volume)
    holder = state.instance(link.instance_id) if link is not None else None
    since = attached_since(holder, volume_id) if holder is not None else None
    return since is not None and since > captured.start_time


def link_of(volume: Volume) -> VolumeAttachment | None:
    """Return the attachment of the volume, also while it begins or ends, or None."""
    return next((link for link in volume.attachments if link.state != "detached"), None)
