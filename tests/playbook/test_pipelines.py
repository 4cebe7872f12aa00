# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of the pipelines in extensions/pipelines, as they stand, in a folder as the examples describe it."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from playbook.seeds import Web
from playbook.support import REGION, changing_calls, playbook_environment
from sandbox.client import Sandbox
from tools.environment import ROOT

PIPELINES = ROOT / "extensions" / "pipelines"
ELSEWHERE = "eu-west-1"


def commands(value: Any) -> Iterator[str]:
    """Each command of ansible-playbook in a workflow, in order."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from commands(each)
    elif isinstance(value, str) and value.startswith("ansible-playbook"):
        yield value


def load(name: str) -> Any:
    return yaml.safe_load((PIPELINES / name).read_text(encoding="utf-8"))


CHECK, RUN, DRIFT = commands(load("github.yml"))


@pytest.fixture
def folder(tmp_path: Path, web: Web) -> Path:
    """A user's repository: the files of the examples, an inventory and the policies."""
    for path in PIPELINES.iterdir():
        shutil.copy(path, tmp_path)
    hosts = [f"{name} rotate_snapshots_region={region}" for name, region in (("shop", REGION), ("spare", ELSEWHERE))]
    (tmp_path / "inventory.ini").write_text("[accounts]\n" + "\n".join(hosts) + "\n", encoding="utf-8")
    policy = {
        "policy": "nightly",
        "select": {"tags": {"Name": "b`a|c"}},
        "allow_empty": True,
        "keep": {"last": 1},
    }
    policies = {"rotate_snapshots_hosts": "accounts", "rotate_snapshots_policies": [policy]}
    (tmp_path / "policies.yml").write_text(yaml.safe_dump(policies), encoding="utf-8")
    variables = {
        "apply_volume_specs_region": REGION,
        "apply_volume_specs_instance_id": web.instance_id,
        "apply_volume_specs_volumes": [{"name": "log", "size": 3}],
    }
    servers = {"servers": {"hosts": {"web": variables}}}
    (tmp_path / "servers.yml").write_text(yaml.safe_dump(servers), encoding="utf-8")
    return tmp_path


def run(sandbox: Sandbox, folder: Path, command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        shlex.split(command),
        cwd=folder,
        env=playbook_environment(sandbox, folder / "record.jsonl"),
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )


def test_both_services_run_the_same_commands() -> None:
    assert sorted(commands(load("gitlab-ci.yml"))) == sorted([CHECK, RUN, DRIFT])
    assert [("--check" in shlex.split(each)) for each in (CHECK, RUN, DRIFT)] == [True, False, True]


def test_the_approval_stands_between_check_and_run() -> None:
    jobs = load("github.yml")["jobs"]
    assert (jobs["run"]["needs"], jobs["run"]["environment"]) == ("check", "production")
    run_job = load("gitlab-ci.yml")["run"]
    assert (run_job["needs"], run_job["when"], run_job["environment"]) == (["check"], "manual", "production")


def test_a_plan_is_shown_and_then_carried_out(sandbox: Sandbox, web: Web, folder: Path) -> None:
    ec2 = sandbox.client("ec2", REGION)
    ec2.create_tags(Resources=[web.data_volume_id], Tags=[{"Key": "Name", "Value": "b`a|c"}])
    old = {
        "name": "old",
        "count": 3,
        "volumes": [web.data_volume_id],
        "description": f"nightly: {web.data_volume_id}",
        "tags": {"ec2ops:policy": "nightly", "ec2ops:source": web.data_volume_id},
    }
    sandbox.seed({"region": REGION, "snapshots": old})
    sandbox.reset_log()
    check = run(sandbox, folder, CHECK)
    assert check.returncode == 0, check.stdout + check.stderr
    assert changing_calls(sandbox.log()) == []
    plan = (folder / "pipeline" / "plan.md").read_text(encoding="utf-8")
    assert plan.startswith(
        "# Plan of the rotation\n\n## shop\n\n    nightly: 1 snapshot to be taken; 3 snapshots to be"
    )
    assert plan.count("    DeleteSnapshot snap-") == 3
    assert "\n## spare\n" in plan
    # A reader of Markdown takes names of other people as code, since each line has an indentation.
    assert all(line.startswith(("#", "    ")) for line in plan.splitlines() if line)
    handed = json.loads((folder / "pipeline" / "plan.json").read_text(encoding="utf-8"))
    assert set(handed["pipeline_plans"]) == {"shop", "spare"}

    done = run(sandbox, folder, RUN)
    assert done.returncode == 0, done.stdout + done.stderr
    assert changing_calls(sandbox.log()) == ["CreateSnapshot", *["DeleteSnapshot"] * 3]
    report = (folder / "pipeline" / "report.md").read_text(encoding="utf-8")
    assert report.count("    DeleteSnapshot snap-") == 3

    handed["pipeline_plans"] = {}
    (folder / "pipeline" / "plan.json").write_text(json.dumps(handed), encoding="utf-8")
    seed = {**old, "name": "older", "count": 1, "newest": 864000}
    sandbox.seed({"region": REGION, "snapshots": seed})
    refused = run(sandbox, folder, RUN)
    assert refused.returncode == 2, refused.stdout
    assert "Nothing is deleted: expected_plan is missing" in refused.stdout


def test_drift_fails_the_check(sandbox: Sandbox, folder: Path) -> None:
    sandbox.reset_log()
    check = run(sandbox, folder, DRIFT)
    assert check.returncode == 2, check.stdout
    assert "Drift: CreateVolume (new volume" in check.stdout
    assert changing_calls(sandbox.log()) == []
    repair = run(sandbox, folder, DRIFT.replace(" --check", ""))
    assert repair.returncode == 2
    again = run(sandbox, folder, DRIFT)
    assert again.returncode == 0, again.stdout
