# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A source that is gone and has left only a failed capture or image: the refusal names them and their reasons."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake
from in_process import Ended, Machine, machine, run, snapshots

from sandbox.client import Sandbox


def bake(web: Machine, **more: Any) -> Ended:
    given = {"name": "web", "version": "1", "source_instance_id": web.instance_id, "require_stopped": False}
    return run(web.sandbox, module=ami_bake, **{**given, **more})


def vanish(web: Machine) -> None:
    """EC2 has forgotten the instance."""
    web.sandbox.move_clock(10)
    web.ec2.terminate_instances(InstanceIds=[web.instance_id])
    web.sandbox.move_clock(4000)


def captured(sandbox: Sandbox) -> list[str]:
    return [
        snapshot_id
        for snapshot_id, row in snapshots(sandbox).items()
        if any(tag["Key"] == "ec2ops:version" for tag in row.get("Tags", []))
    ]


@pytest.mark.parametrize("state", ["captured", "available"])
@pytest.mark.parametrize("devices", ["root", "all"])
def test_failed_capture_of_a_source_that_is_gone_is_named(sandbox: Sandbox, state: str, devices: str) -> None:
    web = machine(sandbox, data=1)
    sandbox.add_fault("CreateSnapshot*", kind="end", message="no space", occurrence=1)
    assert bake(web, state="captured", devices=devices).actions
    vanish(web)
    for check in (True, False):
        refused = bake(web, state=state, devices=devices, check=check)
        assert refused.actions == []
        assert f"{web.instance_id} is gone" in refused.failed
        assert "no space" in refused.failed
        assert any(snapshot_id in refused.failed for snapshot_id in captured(sandbox))
        assert "state: absent" in refused.failed


def test_failed_image_of_a_source_that_is_gone_is_named(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    sandbox.add_fault("CreateImage", kind="end", message="no space", occurrence=1)
    failed = bake(web, method="image")
    image_id = next(iter(failed.result["planned_ids"].values()))
    vanish(web)
    refused = bake(web, method="image")
    assert refused.actions == []
    assert f"{web.instance_id} is gone" in refused.failed
    assert f"{image_id} ended as failed" in refused.failed
    assert "no space" in refused.failed


def test_removal_of_a_failed_version_lets_another_source_be_baked(sandbox: Sandbox) -> None:
    """The remedy that the refusal names."""
    web = machine(sandbox)
    sandbox.add_fault("CreateSnapshot*", kind="end", message="no space", occurrence=1)
    bake(web, state="captured")
    vanish(web)
    removed = run(sandbox, module=ami_bake, name="web", version="1", state="absent")
    assert (removed.failed, removed.actions) == ("", ["DeleteSnapshot"])
    assert bake(machine(sandbox, "other")).failed == ""


def test_source_that_never_was_is_told_as_before(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    vanish(web)
    assert f"{web.instance_id} does not exist" in bake(web).failed
