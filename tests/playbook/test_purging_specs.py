# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook apply_volume_specs with several specs for one instance: at most one of them purges."""

from __future__ import annotations

from playbook.seeds import Web, seed_web
from playbook.support import REGION, changing_calls, run_playbook
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


def test_purging_spec_leaves_another_specs_volumes_alone(sandbox: Sandbox, web: Web) -> None:
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


def test_hosts_that_purge_one_instance_with_different_specs_are_refused(sandbox: Sandbox, web: Web) -> None:
    """The others go on. A list may be text, and the same declaration for several hosts is one."""
    other, third = (seed_web(sandbox, REGION, name).instance_id for name in ("other", "third"))
    item = "{instance_ids: [%s], purge_volumes: true, volumes: []}"
    inventory = (
        f"one apply_volume_specs_instance_id={web.instance_id} apply_volume_specs_spec=A\n"
        f"two apply_volume_specs_instance_id={web.instance_id} apply_volume_specs_spec=B\n"
        f'text apply_volume_specs_specs="[{item % third}]"\n'
        f'again apply_volume_specs_specs="[{item % third}]"\n'
        f"apart apply_volume_specs_instance_id={other} apply_volume_specs_spec=A\n"
        "[all:vars]\napply_volume_specs_volumes=[]\n"
        "apply_volume_specs_in_use=detach\napply_volume_specs_purge_volumes=yes\n"
    )
    sandbox.reset_log()
    run = run_playbook(sandbox, PLAYBOOK, {"apply_volume_specs_hosts": "all"}, check=True, inventory=inventory)
    failed = {each.host: str(each.result.get("msg")) for each in run.results if each.outcome == "failed"}
    assert sorted(failed) == ["one", "two"], run.output
    for message in failed.values():
        assert f"name {web.instance_id}, on the hosts one, two." in message
    assert {each.host for each in run.ours} == {"text", "again", "apart"}
    assert changing_calls(sandbox.log()) == []
