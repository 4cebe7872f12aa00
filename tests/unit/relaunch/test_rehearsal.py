# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A launch that EC2 would refuse: DryRun says so before the predecessor stops."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, instance_power

from attachments import image_id, relaunch, web
from in_process import Machine, changing_calls, run
from sandbox.client import Sandbox

__all__ = ["image_id", "web"]


def rehearsals(sandbox: Sandbox, after: int) -> list[bool]:
    """For each RunInstances since *after*, whether it was a DryRun."""
    log = sandbox.log(after=after)
    return ["DryRun" in entry["params"] for entry in log if entry["action"] == "RunInstances"]


@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
@pytest.mark.parametrize("action", ["RunInstances", "CreateTags"])
def test_refused_launch_fails_before_the_predecessor_stops(
    sandbox: Sandbox, web: Machine, image_id: str, action: str, check: bool
) -> None:
    sandbox.refuse(action)
    before = sandbox.log()[-1]["sequence"]
    ended = relaunch(sandbox, web, image_id, check=check)
    assert "RunInstances of (new instance" in ended.failed
    assert "UnauthorizedOperation" in ended.failed
    assert ended.failed.endswith("The call was a DryRun, so the task has changed nothing.")
    assert changing_calls(sandbox, before) == []


@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
def test_launch_is_rehearsed_once_and_only_before_a_change(
    sandbox: Sandbox, web: Machine, image_id: str, check: bool
) -> None:
    before = sandbox.log()[-1]["sequence"]
    assert not relaunch(sandbox, web, image_id, check=check).failed
    assert rehearsals(sandbox, before) == ([True] if check else [True, False])
    if not check:
        before = sandbox.log()[-1]["sequence"]
        assert relaunch(sandbox, web, image_id).actions == []
        assert rehearsals(sandbox, before) == []


def test_refused_launch_of_a_held_predecessor_still_starts_it_again(
    sandbox: Sandbox, web: Machine, image_id: str
) -> None:
    run(sandbox, module=instance_power, instance_ids=[web.instance_id], state="stopped", remember=True)
    sandbox.refuse("RunInstances")
    before = sandbox.log()[-1]["sequence"]
    ended = relaunch(sandbox, web, image_id, lose_writes=True)
    assert "UnauthorizedOperation" in ended.failed
    assert rehearsals(sandbox, before) == [False]
    (found,) = web.ec2.describe_instances(InstanceIds=[web.instance_id])["Reservations"]
    assert found["Instances"][0]["State"]["Name"] in ("pending", "running")


def test_launch_from_an_image_that_is_only_planned_is_not_rehearsed(sandbox: Sandbox, web: Machine) -> None:
    given = {"name": "web", "version": "1", "source_instance_id": web.instance_id}
    baked = run(sandbox, module=ami_bake, require_stopped=False, check=True, **given).result
    sandbox.refuse("RunInstances")
    before = sandbox.log()[-1]["sequence"]
    ended = relaunch(sandbox, web, baked["image_id"], check=True, assume=[baked["plan"]])
    assert not ended.failed
    assert "RunInstances" in ended.actions
    assert rehearsals(sandbox, before) == []
