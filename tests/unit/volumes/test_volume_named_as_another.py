# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An entry whose name is the id of another volume, as the role restore declares it."""

from __future__ import annotations

from volume_plans import carried_out, declared
from volume_world import WEB, Ec2, instance, snapshot, steps, vol, volume

BESIDE = {"name": vol(1), "snapshot_id": snapshot(7, 1).snapshot_id}


def test_restored_volume_gets_another_device_than_its_source() -> None:
    ec2 = Ec2(instance(), volume(1, WEB, "/dev/sdf"), snapshot(7, 1))
    plan = carried_out(declared(BESIDE, spec=f"restore/{vol(1)}"), ec2)
    assert steps(plan) == [
        "CreateVolume new restore/vol-1/vol-1",
        "AttachVolume new restore/vol-1/vol-1 to i-1 /dev/sdg",
    ]


def test_unattached_restored_volume_gets_a_device_of_its_own() -> None:
    made = volume(2, name=vol(1), group=f"restore/{vol(1)}", snapshot_id=snapshot(7, 1).snapshot_id)
    ec2 = Ec2(instance(), volume(1, WEB, "/dev/sdf"), made)
    plan = carried_out(declared(BESIDE, spec=f"restore/{vol(1)}"), ec2)
    assert steps(plan) == ["AttachVolume vol-2 to i-1 /dev/sdg"]
