# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A run trusts EC2's answers to its own calls while reads do not show the change yet."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Stage

from applying import delete, launch, made_volume, own_image, power, run, succeed
from sandbox.client import Sandbox
from worlds import SandboxWorld


@pytest.fixture
def late(sandbox: Sandbox) -> SandboxWorld:
    """A world in which each case makes reads late after its preparation."""
    return SandboxWorld(sandbox)


def test_instance_that_ec2_calls_terminated_is_not_adopted(late: SandboxWorld) -> None:
    """DescribeInstances may show it as running for another second."""
    start = launch(own_image(late))
    going = succeed(late, Stage((start,))).bindings[start.resource]
    late.pass_time(60)
    late.sandbox.configure(read_lag=3600.0)
    with late.lasting("terminate", 3600.0):
        succeed(late, Stage((power("TerminateInstances", going),)))
        assert succeed(late, Stage((start,))).bindings[start.resource] != going


def test_lost_delete_is_done_although_reads_still_show_the_volume(late: SandboxWorld) -> None:
    made = made_volume(late)
    late.pass_time(60)
    late.sandbox.configure(read_lag=12.0)
    with late.lasting("delete", 20.0):
        late.fault("DeleteVolume", kind="close", when="after")
        succeed(late, delete(made))
    assert made not in {one.volume_id for one in late.existing("volume")}


def test_refused_delete_of_a_volume_that_does_not_show_yet_is_no_success(late: SandboxWorld) -> None:
    """EC2's later answers do not show it as deleted either."""
    made = made_volume(late)
    late.sandbox.configure(read_lag=3600.0)
    late.fault("DeleteVolume", occurrence="every", code="IncorrectState", status=400)
    outcome = run(late, Stage(delete(made).changes))
    assert isinstance(outcome.error, CallError)
    assert outcome.error.code == "IncorrectState"
