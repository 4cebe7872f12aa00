# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attachment limit of an instance: the attachments that EC2 counts, and those that it does not."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import INSTANCE_TYPE

from in_process import machine, run
from sandbox.client import Sandbox
from volume_plans import declared, plan_of
from volume_world import Ec2, instance


def ec2_with(limit_type: str, most: int, interfaces: int, hypervisor: str | None) -> Ec2:
    """A running instance with its root volume alone."""
    facts: dict[str, Any] = {
        "Hypervisor": hypervisor,
        "EbsInfo": {"MaximumEbsAttachments": most, "AttachmentLimitType": limit_type},
    }
    return Ec2(
        INSTANCE_TYPE.fact("t", facts), instance(instance_type="t", facts={"NetworkInterfaces": [{}] * interfaces})
    )


@pytest.mark.parametrize(
    ("limit_type", "most", "interfaces", "hypervisor", "room"),
    [
        ("shared", 27, 1, "nitro", 26),  # t3.micro: 27 volumes, the root among them, beside one interface
        ("shared", 27, 3, "nitro", 24),
        ("shared", 26, 1, "nitro", 25),  # m5d.large: its NVMe disk is left out of the limit already
        ("shared", 40, 3, "xen", 39),  # t2.micro: on Xen, interfaces do not count
        ("shared", 31, 2, None, 29),  # a bare metal instance counts as Nitro
        ("dedicated", 32, 3, "nitro", 31),
    ],
)
def test_limit_leaves_out_the_first_interface(
    limit_type: str, most: int, interfaces: int, hypervisor: str | None, room: int
) -> None:
    wanted = [{"name": f"v{number}", "size": 1} for number in range(room + 1)]
    plan = plan_of(declared(*wanted[:room]), ec2_with(limit_type, most, interfaces, hypervisor))
    assert sum(change.action == "AttachVolume" for change in plan.changes) == room
    further = interfaces - 1 if limit_type == "shared" and hypervisor != "xen" else 0
    with pytest.raises(UnsafePlan, match=f"takes {most} volumes.* have {most - further + 1}") as refused:
        plan_of(declared(*wanted), ec2_with(limit_type, most, interfaces, hypervisor))
    assert (f"less {further} for its further interfaces" in str(refused.value)) is bool(further)


def test_instance_at_the_limit_takes_no_volume_more(sandbox: Sandbox) -> None:
    web = machine(sandbox, instance_type="t3.micro", data=10)
    wanted = [{"name": f"v{number}", "size": 1} for number in range(16)]  # with the root, 27
    assert run(sandbox, instance_ids=[web.instance_id], volumes=wanted).failed == ""
    more = [*wanted, {"name": "more", "size": 1}]
    assert "takes 27 volumes" in run(sandbox, instance_ids=[web.instance_id], volumes=more).failed
