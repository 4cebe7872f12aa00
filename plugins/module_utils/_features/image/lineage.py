# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Successors of the source that no tag names, and the versions of the image that they may run from.

Private to this collection.
"""

from __future__ import annotations

from ..._domain.succession import untagged
from ..._kernel import tags as tag_names
from ..._kernel.resources import Image, Instance
from ..._kernel.state import State
from .spec import ImageSpec


def versions(spec: ImageSpec, state: State) -> list[str]:
    """Return the ids of the known images that carry the name of the image, the newest first."""
    found = [image for image in state.all(Image) if image.tags.get(tag_names.IMAGE) == spec.name]
    ordered = sorted(found, key=lambda image: (image.creation_date or "", image.image_id), reverse=True)
    return [image.image_id for image in ordered]


def lost_successors(spec: ImageSpec, state: State) -> list[Instance]:
    """Return the successors of known instances that have lost their tag `tags.REPLACES`, with the correct tag."""
    pairs = untagged(state, versions(spec, state)) if spec.source_instance_id and spec.follow_successor else []
    return [tagged for _item, tagged in pairs]


def recognized(spec: ImageSpec, state: State) -> State:
    """Return the state in which each such successor has its tag, since its ClientToken proves the launch."""
    return state.with_resources(lost_successors(spec, state))
