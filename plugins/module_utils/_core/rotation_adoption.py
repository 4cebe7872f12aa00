# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which snapshots are a policy's to retain: those that it has made, and those that it adopts.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Mapping

from . import tags as tag_names
from .rotation_spec import RotationSpec


def adopts(spec: RotationSpec, tags: Mapping[str, str]) -> bool:
    """Whether a snapshot with these tags is one that no policy has made, and that ``adopt`` names."""
    return bool(spec.adopt) and tag_names.POLICY not in tags and spec.adopt.items() <= tags.items()


def belongs(spec: RotationSpec, tags: Mapping[str, str]) -> bool:
    """Whether the policy retains a snapshot with these tags."""
    return tags.get(tag_names.POLICY) == spec.policy or adopts(spec, tags)
