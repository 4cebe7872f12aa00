# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Refusals of roles and playbooks name the variable that the user has to set, or has misspelt."""

from __future__ import annotations

import json
from pathlib import Path

from playbook.seeds import Web, at_once
from playbook.support import REGION, Run, changing_calls, run_playbook
from sandbox.client import Sandbox

VOLUME = "vol-0123456789abcdef0"


def failures_of(run: Run, host: str) -> str:
    """Return the messages of the tasks that failed on *host*, one a line."""
    failed = [each for each in run.results if each.host == host and each.outcome == "failed"]
    return "\n".join(str(each.result.get("msg")) for each in failed)


def test_restore_volumes_names_its_own_variables(sandbox: Sandbox, web: Web) -> None:
    ec2, volume = sandbox.client("ec2", REGION), web.data_volume_id
    tags = [{"Key": "ec2ops:spec", "Value": "restore/monday"}, {"Key": "ec2ops:volume", "Value": volume}]
    with at_once(sandbox):
        snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
        ec2.create_volume(
            AvailabilityZone=f"{REGION}b",
            SnapshotId=snapshot,
            TagSpecifications=[{"ResourceType": "volume", "Tags": tags}],
        )
    placed = f"restore_volumes_zone={REGION}a restore_volumes_source_volume_ids={volume}"
    connected = f'restore_volumes_aws="{{region: {REGION}}}"'
    inventory = (
        f"astray {placed} {connected} restore_volumes_name=restore/monday\n"
        f"drilled {placed} {connected} restore_volumes_name=restore-drill/web\n"
        f"unconnected {placed} restore_volumes_aws={{}}\n"
        f"drill restore_volumes_drill=true restore_volumes_source_volume_ids={volume} restore_volumes_aws={{}}\n"
        f"yesterday {placed} {connected} restore_volumes_before=yesterday\n"
    )
    run = run_playbook(
        sandbox, "ec2ops.storage.restore_volumes", {"restore_volumes_hosts": "all"}, check=True, inventory=inventory
    )
    assert run.status != 0
    assert "Give another restore_volumes_name" in failures_of(run, "astray")
    assert "restore_volumes_name: names that begin with restore-drill/" in failures_of(run, "drilled")
    assert "restore_volumes_before: 'yesterday' is not a time" in failures_of(run, "yesterday")
    for host in ("unconnected", "drill"):
        assert failures_of(run, host).startswith("restore_volumes_region: no region is given.")


def test_move_volumes_names_its_own_variables(sandbox: Sandbox, web: Web) -> None:
    target = f"move_volumes_target_zone={REGION}b move_volumes_volume_ids={web.data_volume_id}"
    inventory = f'running {target} move_volumes_aws="{{region: {REGION}}}"\n'
    inventory += f"unconnected {target} move_volumes_aws={{}}\n"
    sandbox.reset_log()
    run = run_playbook(sandbox, "ec2ops.storage.move_volumes", {"move_volumes_hosts": "all"}, inventory=inventory)
    assert run.status != 0
    assert "move_volumes_in_use: stop" in failures_of(run, "running")
    assert " in_use:" not in failures_of(run, "running")
    assert failures_of(run, "unconnected").startswith("move_volumes_region: no region is given.")
    assert changing_calls(sandbox.log()) == []


def test_roles_refuse_misspelt_and_missing_required_variables_by_name(sandbox: Sandbox, tmp_path: Path) -> None:
    instance, image = "i-0123456789abcdef0", "ami-0123456789abcdef0"
    policies = [{"policy": "a", "kep": {"last": 1}}]
    baked = {"golden_image_instance_id": instance, "golden_image_name": "web"}
    uses = [
        ("golden_image", {**baked, "golden_image_vesion": "1"}),
        ("golden_image", baked),
        ("relaunch", {"relaunch_instance_id": instance, "relaunch_image": image}),
        ("relaunch", {"relaunch_image_id": image}),
        ("volume_move", {"volume_move_ids": [VOLUME], "volume_move_target_zone": f"{REGION}b"}),
        ("volume_move", {"volume_move_target_zone": f"{REGION}b"}),
        ("snapshot_policy", {"snapshot_policy_polices": []}),
        ("snapshot_policy", {}),
        ("snapshot_policy", {"snapshot_policy_policies": policies}),
        ("snapshot_policy", {"snapshot_policy_policies": [{"policy": "a", "keep": 7}]}),
    ]
    tasks = [
        {
            "name": f"Include {role}",
            "block": [{"name": role, "include_role": {"name": f"ec2ops.storage.{role}"}, "vars": given}],
            "rescue": [{"name": "Go on", "ansible.builtin.meta": "noop"}],
        }
        for role, given in uses
    ]
    defaults = {"group/ec2ops.storage.aws": {"region": REGION}}
    play = {"hosts": "localhost", "gather_facts": False, "module_defaults": defaults, "tasks": tasks}
    file = tmp_path / "play.yml"
    file.write_text(json.dumps([play]), encoding="utf-8")
    sandbox.reset_log()
    run = run_playbook(sandbox, file)
    assert run.failures[:9] == [
        "golden_image_vesion: golden_image has no such variable. Did you mean golden_image_version?",
        "golden_image_version: is required. Set it.",
        "relaunch_image: relaunch has no such variable. Did you mean relaunch_image_id?",
        "relaunch_instance_id: is required. Set it.",
        "volume_move_ids: volume_move has no such variable. Did you mean volume_move_volume_ids?",
        "volume_move_volume_ids: is required. Set it.",
        "snapshot_policy_polices: snapshot_policy has no such variable. Did you mean snapshot_policy_policies?",
        "snapshot_policy_policies: is required. Set it.",
        (
            "snapshot_policy_policies[0]: a policy has no option kep. Correct or remove it. "
            "snapshot_policy_policies[0]: keep is missing. Set its rules, for example {daily: 7}."
        ),
    ], run.output
    assert 'a: "Find the due snapshots" failed: keep: 7 is not a mapping.' in run.failures[-1]
    assert sandbox.log() == []
