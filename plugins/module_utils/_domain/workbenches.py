# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The facts that prove the instance and the volume of a workbench, which tags only claim.

Private to this collection.
"""

from __future__ import annotations

from .._kernel.ids import GENERATIONS, client_token
from .._kernel.proofs import is_taken_of
from .._kernel.resources import Image, Instance, Volume
from .._kernel.state import State
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

    Every root volume of an instance of that image is made from the same snapshot.
    """
    is_root = any(link.device_name == source.root_device_name for link in volume.attachments)
    return not is_root and bool(volume.snapshot_id) and volume.snapshot_id == root_snapshot_id(source)


def has_content(state: State, image: Image, volume_id: str) -> bool:
    """Return whether the image is available, and its root is a snapshot of this volume."""
    captured = state.snapshot(root_snapshot_id(image)) if image.state == "available" else None
    return captured is not None and is_taken_of(captured, volume_id)
