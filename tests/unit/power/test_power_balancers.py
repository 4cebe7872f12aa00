# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Stopping a member of a load balancer for a while: `instance_power` warns, and stops it."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import instance_power

from attachments import by_address, by_instance, classic, target_group, web
from in_process import Ended, Machine, machine, run
from sandbox.client import Sandbox

__all__ = ["web"]

ASKED = {"DescribeTargetGroups", "DescribeTargetHealth", "DescribeLoadBalancers"}


def stop(sandbox: Sandbox, web: Machine, **more: Any) -> Ended:
    return run(sandbox, module=instance_power, instance_ids=[web.instance_id], state="stopped", **more)


@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
@pytest.mark.parametrize(
    ("attach", "words"),
    [
        (by_instance, "target groups shop"),
        (by_address, "target groups shop"),
        (classic, "Classic Load Balancers shop"),
    ],
)
def test_load_balancer_of_a_held_instance_is_named(
    sandbox: Sandbox, web: Machine, attach: Any, words: str, check: bool
) -> None:
    attach(sandbox, web)
    ended = stop(sandbox, web, remember=True, check=check)
    assert not ended.failed
    assert any(f"{web.instance_id} is in the {words}" in warning for warning in ended.warnings), ended.warnings


def test_load_balancer_of_another_instance_is_not_named(sandbox: Sandbox, web: Machine) -> None:
    target_group(sandbox, web, "shop", "instance", machine(sandbox, "other").instance_id)
    ended = stop(sandbox, web, remember=True, check=True)
    assert not any("shop" in warning for warning in ended.warnings)


@pytest.mark.parametrize("given", [{}, {"remember": True, "for_relaunch": True}], ids=["for-good", "for-relaunch"])
def test_other_stops_ask_no_load_balancer(sandbox: Sandbox, web: Machine, given: dict[str, Any]) -> None:
    by_instance(sandbox, web)
    ended = stop(sandbox, web, check=True, **given)
    assert ASKED.isdisjoint(ended.result["api_calls"])
    assert not any("shop" in warning for warning in ended.warnings)


def test_instance_that_is_off_needs_no_query(sandbox: Sandbox, web: Machine) -> None:
    stop(sandbox, web)
    assert ASKED.isdisjoint(stop(sandbox, web, remember=True).result["api_calls"])


def test_refused_question_does_not_keep_the_instance_running(sandbox: Sandbox, web: Machine) -> None:
    sandbox.refuse("elasticloadbalancing:Describe*")
    ended = stop(sandbox, web, remember=True)
    assert "StopInstances" in ended.actions, ended
    (warning,) = (text for text in ended.warnings if "AWS does not show which load balancers" in text)
    assert "elasticloadbalancing:DescribeTargetGroups" in warning
