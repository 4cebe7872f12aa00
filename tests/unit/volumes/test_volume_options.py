# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options without a value, and advice that names the useful option."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError

from in_process import machine, run
from sandbox.client import Sandbox
from volume_plans import declared, plan_of
from volume_world import Ec2, instance


@pytest.mark.parametrize("encrypted", [None, True])
def test_empty_key_is_no_key(encrypted: bool | None) -> None:
    entry = {"name": "data", "size": 1, "encrypted": encrypted, "kms_key_id": ""}
    (volume,) = declared(entry).volumes
    assert volume.kms_key_id is None
    create, _attach = plan_of(declared(entry), Ec2(instance())).changes
    assert "KmsKeyId" not in create.parameters


def test_empty_key_does_not_reach_kms(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    entry = {"name": "data", "size": 1, "encrypted": True, "kms_key_id": ""}
    assert run(sandbox, instance_ids=[web.instance_id], volumes=[entry]).failed == ""


@pytest.mark.parametrize("iops", [-1, 0, 1, 99])
def test_gp3_iops_that_ebs_refuses_are_refused(iops: int) -> None:
    with pytest.raises(SpecError, match=f"iops, not {iops}"):
        declared({"name": "data", "size": 1, "volume_type": "gp3", "iops": iops})


def test_spent_budget_names_on_cooldown(sandbox: Sandbox) -> None:
    sandbox.configure(durations={"volume_modifying": 0, "volume_optimizing": 0})
    web = machine(sandbox, data=1)
    volume_id = web.attached()["/dev/sdf"]
    for size in (21, 22, 23, 24):
        sandbox.client().modify_volume(VolumeId=volume_id, Size=size)
    entry = {"name": "data", "volume_id": volume_id, "size": 30}
    ended = run(sandbox, instance_ids=[web.instance_id], volumes=[entry])
    assert "VolumeModificationRateExceeded" in ended.failed
    assert "on_cooldown: defer" in ended.failed
