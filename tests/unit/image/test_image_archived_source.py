# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An archived snapshot is no source of an image before it is restored."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Snapshot

from image_world import OWNER, SNAP, plan, spec


def test_archived_snapshot_is_refused_in_the_plan() -> None:
    wanted = spec(
        source_instance_id=None,
        source_snapshot_id=SNAP,
        architecture="x86_64",
        root_device_name="/dev/sda1",
        ena_support=True,
    )
    source = Snapshot(snapshot_id=SNAP, volume_size=8, owner_id=OWNER, storage_tier="archive")
    with pytest.raises(SpecError, match="First restore it to the standard tier"):
        plan(wanted, source)
