# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Multi-attach of an existing io2 volume: it is enabled only while the volume is detached, and it keeps the type."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError, UnsafePlan

from in_process import RefusingGateway, machine, run, volumes
from sandbox.client import Sandbox
from volume_plans import carried_out, declared, plan_of
from volume_runs import four
from volume_world import DB, IO2, NODES, WEB, Ec2, instance, short, steps, volume
from worlds import sandbox_gateway

QUORUM = {"name": "data", "multi_attach": True}
CLUSTER: dict[str, Any] = {"instance_ids": [WEB, DB], "spec": "web"}


def test_volume_is_detached_from_a_running_instance_by_consent() -> None:
    ec2 = Ec2(instance(), volume(1, WEB, name="data", **IO2))
    plan = carried_out(declared(QUORUM, in_use="detach"), ec2)
    assert steps(plan) == [
        "CreateTags vol-1 was-at",
        "DetachVolume vol-1 from i-1",
        "ModifyVolume vol-1 MultiAttachEnabled=True",
        "AttachVolume vol-1 to i-1 /dev/sdf",
        "DeleteTags vol-1 was-at",
    ]


def test_instance_is_stopped_for_the_detach_by_consent() -> None:
    ec2 = Ec2(instance(), volume(1, WEB, "/dev/sdk", name="data", **IO2))
    plan = carried_out(declared(QUORUM, in_use="stop"), ec2)
    actions = [change.action for change in plan.changes]
    order = ["StopInstances", "DetachVolume", "ModifyVolume", "AttachVolume", "StartInstances"]
    assert [action for action in actions if action in order] == order
    assert "AttachVolume vol-1 to i-1 /dev/sdk" in steps(plan)


def test_detach_without_consent_is_refused_with_its_reason() -> None:
    ec2 = Ec2(instance(), volume(1, WEB, name="data", **IO2))
    with pytest.raises(UnsafePlan, match=r"enables multi_attach only .* in_use: stop"):
        plan_of(declared(QUORUM), ec2)


def test_unattached_volume_gets_multi_attach_before_its_attachment() -> None:
    ec2 = Ec2(*NODES, volume(1, name="data", group="web", **IO2))
    assert steps(carried_out(declared(QUORUM, **CLUSTER), ec2)) == [
        "ModifyVolume vol-1 MultiAttachEnabled=True",
        "AttachVolume vol-1 to i-1 /dev/sdf",
        "AttachVolume vol-1 to i-2 /dev/sdf",
    ]


def test_detaching_for_a_change_that_may_be_deferred_is_refused() -> None:
    ec2 = Ec2(*NODES, volume(1, WEB, name="data", group="web", **IO2))
    with pytest.raises(UnsafePlan, match="on_cooldown: wait or fail"):
        plan_of(declared(QUORUM, on_cooldown="defer", **CLUSTER), ec2)


@pytest.mark.parametrize(
    "entry",
    [
        {"volume_type": "io1", "iops": 500},
        {"volume_type": "gp3"},
        {"volume_type": "gp3", "multi_attach": False},
    ],
)
def test_type_of_a_multi_attach_volume_is_refused_in_the_plan(entry: dict[str, Any]) -> None:
    ec2 = Ec2(instance(), volume(1, WEB, name="data", multi_attach_enabled=True, **IO2))
    with pytest.raises(SpecError, match=r"First set multi_attach: false in a separate run") as refused:
        plan_of(declared({"name": "data", **entry}), ec2)
    assert "volume_type" in short(str(refused.value))


def existing_io2(sandbox: Sandbox, **given: Any) -> dict[str, Any]:
    """The options of a task that turns multi-attach on for a volume that serves a running instance."""
    web = machine(sandbox)
    entry = {"name": "data", "size": 10, "volume_type": "io2", "iops": 500}
    ended = run(sandbox, instance_ids=[web.instance_id], volumes=[entry])
    assert ended.failed == ""
    sandbox.move_clock(86400)
    return {"instance_ids": [web.instance_id], "volumes": [{**entry, "multi_attach": True}], **given}


def test_existing_volume_gets_multi_attach_as_planned(sandbox: Sandbox) -> None:
    ran = four(sandbox, **existing_io2(sandbox, in_use="detach"))
    order = ["DetachVolume", "ModifyVolume", "AttachVolume"]
    assert [action for action in ran.actions if action in order] == order


def test_refused_modification_leaves_the_volume_where_it_was(sandbox: Sandbox) -> None:
    given = existing_io2(sandbox, in_use="stop")
    before = {name: item["Attachments"] for name, item in volumes(sandbox).items()}
    plan = run(sandbox, check=True, **given).actions
    gateway = RefusingGateway(sandbox_gateway(sandbox), plan.index("ModifyVolume") + 1, unclear=False)
    failed = run(sandbox, gateway=gateway, **given)
    assert "UnauthorizedOperation" in failed.failed
    after = {name: item["Attachments"] for name, item in volumes(sandbox).items()}
    assert {name: [(one["InstanceId"], one["Device"]) for one in links] for name, links in after.items()} == {
        name: [(one["InstanceId"], one["Device"]) for one in links] for name, links in before.items()
    }
    four(sandbox, **given)
