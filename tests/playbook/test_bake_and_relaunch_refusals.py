# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook bake_and_relaunch refuses before it stops the source, and loses no writes of a source on hold."""

from __future__ import annotations

from typing import Any

import pytest

from playbook.seeds import seed_web
from playbook.support import REGION, changing_calls, described_instance, run_playbook
from playbook.test_bake_and_relaunch import group
from sandbox.client import Sandbox

PLAYBOOK = "ec2ops.storage.bake_and_relaunch"
KEEP = {f"bake_and_relaunch_{name}": "keep" for name in ("data_volumes", "elastic_ip", "target_groups")}
RHEL = {"platform_details": "Red Hat Enterprise Linux", "usage_operation": "RunInstances:0010"}


def seeded(sandbox: Sandbox, billing: dict[str, Any], **row: Any) -> dict[str, Any]:
    """The playbook's variables for a new instance, with an image of this billing."""
    sandbox.seed({"image": {"name": "origin", **billing}})
    found = sandbox.seed({"instance": {"name": "web", "image": "origin", **row}})
    return {
        "bake_and_relaunch_instance_id": found["web"],
        "bake_and_relaunch_name": "web",
        "bake_and_relaunch_version": "1",
    }


@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
def test_data_volume_of_a_source_for_create_image_is_refused_before_the_stop(sandbox: Sandbox, check: bool) -> None:
    given = {**seeded(sandbox, RHEL, data_volumes=1), "bake_and_relaunch_strategy": "replace_instance"}
    sandbox.reset_log()
    run = run_playbook(sandbox, PLAYBOOK, given, check=check)
    assert run.status != 0
    assert "data_volumes:" in run.failures[0]
    assert changing_calls(sandbox.log()) == []


def test_type_that_does_not_fit_is_refused_before_the_stop(sandbox: Sandbox) -> None:
    given = {**seeded(sandbox, {}), **KEEP, "bake_and_relaunch_overrides": {"instance_type": "t4g.micro"}}
    sandbox.reset_log()
    run = run_playbook(sandbox, PLAYBOOK, given)
    assert run.status != 0
    assert "t4g.micro is arm64" in run.failures[0]
    assert changing_calls(sandbox.log()) == []


def test_type_of_another_host_of_the_group_is_refused_before_the_stop(sandbox: Sandbox) -> None:
    members = {name: seed_web(sandbox, REGION, name) for name in ("web1", "web2")}
    inventory = group(sandbox, members).replace(
        members["web2"].instance_id,
        f'{members["web2"].instance_id} bake_and_relaunch_overrides=\'{{"instance_type": "t4g.micro"}}\'',
    )
    given = {"bake_and_relaunch_hosts": "web", "bake_and_relaunch_name": "web", "bake_and_relaunch_version": "1"}
    sandbox.reset_log()
    run = run_playbook(sandbox, PLAYBOOK, {**given, **KEEP}, inventory=inventory)
    assert run.status != 0
    assert any("t4g.micro is arm64" in text for text in run.failures), run.output
    assert changing_calls(sandbox.log()) == []


def test_source_that_ran_since_the_capture_is_not_relaunched(sandbox: Sandbox) -> None:
    given = {**seeded(sandbox, {}), **KEEP, "bake_and_relaunch_hold": True}
    message = "We currently do not have sufficient t3.micro capacity in the Availability Zone you requested."
    sandbox.add_fault("RunInstances", code="InsufficientInstanceCapacity", message=message, status=500)
    assert (
        "The image lacks the predecessor's writes since the capture"
        in run_playbook(sandbox, PLAYBOOK, given).failures[0]
    )
    sandbox.clear_faults()

    sandbox.reset_log()
    again = run_playbook(sandbox, PLAYBOOK, given)
    assert "has run since" in again.failures[0]
    assert changing_calls(sandbox.log()) == []
    old = given["bake_and_relaunch_instance_id"]
    assert described_instance(sandbox, old)["State"]["Name"] == "running"

    newer = run_playbook(sandbox, PLAYBOOK, {**given, "bake_and_relaunch_version": "2"})
    assert newer.status == 0, newer.output
    written = sandbox.marks(old)["devices"]["/dev/xvda"]
    new = newer.fact("bake_and_relaunch_result")["instance_id"]
    assert sandbox.marks(new)["devices"]["/dev/xvda"][: len(written)] == written
