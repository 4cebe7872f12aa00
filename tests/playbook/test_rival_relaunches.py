# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""bake_and_relaunch, twice at once, with two versions of one source: one successor serves."""

from __future__ import annotations

from pathlib import Path

import pytest

from playbook.interrupting import PROC, RESTORE_STATE, TRIAL, begun, instance_now
from playbook.seeds import Web
from playbook.support import REGION
from sandbox.client import Sandbox

PLAYBOOK = "ec2ops.storage.bake_and_relaunch"

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(not (PROC / "self" / "stat").exists(), reason="the processes of a run are found in /proc"),
]


@pytest.mark.parametrize("hold", [False, True], ids=["started", "held"])
def test_two_versions_at_once_leave_one_serving_instance(
    sandbox: Sandbox, web: Web, tmp_path: Path, hold: bool
) -> None:
    """Both runs are about to launch at the same moment."""
    given = {
        "bake_and_relaunch_instance_id": web.instance_id,
        "bake_and_relaunch_name": "web",
        "bake_and_relaunch_hold": hold,
        **dict.fromkeys(
            (f"bake_and_relaunch_{name}" for name in ("data_volumes", "elastic_ip", "target_groups")), "keep"
        ),
    }
    fault = sandbox.add_fault("RunInstances", kind="pause", when="before", occurrence={"first": 2})
    waiting = {"bake_and_relaunch_aws": {"region": REGION, "aws_config": {"read_timeout": 150}}}
    with begun(sandbox, PLAYBOOK, {**given, **waiting, "bake_and_relaunch_version": "1"}, tmp_path / "one") as one:
        one.await_held(fault)
        with begun(sandbox, PLAYBOOK, {**given, **waiting, "bake_and_relaunch_version": "2"}, tmp_path / "two") as two:
            two.await_held(fault, calls=2)
            assert sandbox.release(fault) == 2
            ends = [one.ended(), two.ended()]
    sandbox.remove_fault(fault)
    assert sorted(bool(end.status) for end in ends) == [False, True], [end.output for end in ends]
    (lost,) = [end for end in ends if end.status]
    (won,) = [end for end in ends if not end.status]
    assert "only one successor may serve" in lost.failures[0].lower()

    serving = won.fact("bake_and_relaunch_result")["instance_id"]
    rows = [
        row for each in sandbox.client("ec2", REGION).describe_instances()["Reservations"] for row in each["Instances"]
    ]
    living = {row["InstanceId"] for row in rows if row["State"]["Name"] not in ("shutting-down", "terminated")}
    assert living == {web.instance_id, serving}
    state, tags = instance_now(sandbox, serving)
    assert (state, tags[TRIAL]) == ("running", "serving")
    state, tags = instance_now(sandbox, web.instance_id)
    assert (state, RESTORE_STATE in tags) == ("stopped", False)
