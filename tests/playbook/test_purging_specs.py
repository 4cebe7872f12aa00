# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook apply_volume_specs with several specs for one instance: at most one of them purges."""

from __future__ import annotations

from playbook.seeds import Web
from playbook.support import changing_calls, run_playbook
from playbook.test_apply_volume_specs import PLAYBOOK, RESULT
from sandbox.client import Sandbox


def test_two_purging_specs_for_one_instance_are_refused_by_its_id(sandbox: Sandbox, web: Web) -> None:
    other = "i-0123456789abcdef0"
    specs = [
        {"instance_ids": [web.instance_id, web.instance_id], "volumes": []},
        {"instance_id": f"{other}, {web.instance_id}", "spec": "logging", "volumes": [], "purge_volumes": "yes"},
        {"instance_ids": other, "volumes": [], "purge_volumes": False},
    ]
    sandbox.reset_log()
    given = {"apply_volume_specs_specs": specs, "apply_volume_specs_purge_volumes": True}
    run = run_playbook(sandbox, PLAYBOOK, given)
    assert run.status != 0
    assert f"name {web.instance_id}." in run.failures[0]
    assert sandbox.log() == []


def test_purging_spec_leaves_another_ones_volumes_alone(sandbox: Sandbox, web: Web) -> None:
    specs = [
        {"instance_id": web.instance_id, "spec": "logging", "volumes": [{"name": "logs", "size": 5}]},
        {
            "instance_id": web.instance_id,
            "volumes": [{"name": "data", "volume_id": web.data_volume_id}],
            "purge_volumes": True,
            "in_use": "detach",
        },
    ]
    given = {"apply_volume_specs_specs": specs}
    run = run_playbook(sandbox, PLAYBOOK, given)
    assert run.status == 0, run.output
    assert "DetachVolume" not in [entry["action"] for entry in run.fact(RESULT)["plan"]]
    sandbox.reset_log()
    again = run_playbook(sandbox, PLAYBOOK, given)
    assert (again.status, changing_calls(sandbox.log())) == (0, [])
