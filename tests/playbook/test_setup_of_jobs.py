# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The setup.yml of each job, run with awx.awx against a controller of the tests, and run again."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from fake_awx.controller import Controller
from playbook.support import CALLBACKS, TaskResult, recorded
from tools.environment import ROOT, TREE, WORK, environment

PATTERNS = ROOT / "extensions" / "patterns"
ROTATION = "EC2 rotate snapshots"
WORKFLOW = f"{ROTATION} with approval"
OTHERS = {
    "bake_and_relaunch": "EC2 bake and relaunch",
    "restore_drill": "EC2 restore drill",
    "restore_power": "EC2 restore power",
    "apply_volume_specs": "EC2 apply volume specs",
    "storage_report": "EC2 storage report",
}
KEY, SECRET = "AKIAPATTERNEXAMPLE", "pattern/secret+of-the-tests"


@pytest.fixture(scope="module")
def controller() -> Iterator[Controller]:
    with Controller(PATTERNS) as started:
        yield started


def set_up(
    controller: Controller, folder: Path, jobs: list[str], *arguments: str, key: str = KEY
) -> tuple[subprocess.CompletedProcess[str], list[TaskResult]]:
    """Run the setup.yml of *jobs* with one ansible-playbook. Return it, and the results of awx.awx's modules."""
    record = folder / "record.jsonl"
    record.unlink(missing_ok=True)
    given = {
        **environment(),
        **controller.environment,
        "PATTERN_AWS_ACCESS_KEY_ID": key,
        "PATTERN_AWS_SECRET_ACCESS_KEY": SECRET,
        "ANSIBLE_COLLECTIONS_PATH": f"{TREE}:{WORK / 'awx'}",
        "ANSIBLE_CALLBACK_PLUGINS": str(CALLBACKS),
        "ANSIBLE_CALLBACKS_ENABLED": "recorder",
        "ANSIBLE_NOCOLOR": "1",
        "EC2OPS_TEST_RECORD": str(record),
    }
    command = ["ansible-playbook", *(str(PATTERNS / job / "setup.yml") for job in jobs), *arguments]
    done = subprocess.run(command, env=given, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    results = [each for each in recorded(record) if each.action != "ansible.builtin.assert"]
    return done, [each for each in results if each.outcome != "skipped"]


def changed(results: list[TaskResult]) -> list[str]:
    return [each.task for each in results if each.outcome == "changed"]


def test_the_rotation_is_set_up_with_its_approval_and_a_second_run_changes_nothing(
    controller: Controller, tmp_path: Path
) -> None:
    done, results = set_up(controller, tmp_path, ["rotate_snapshots"])
    assert done.returncode == 0, done.stdout
    assert len(changed(results)) == len(results)
    assert controller.ignored == set()
    assert SECRET not in done.stdout

    template = controller.one("job_templates", ROTATION)
    assert (template["playbook"], template["job_slice_count"]) == ("rotate_snapshots/playbook.yml", 3)
    assert controller.linked("job_templates", ROTATION, "credentials") == ["EC2 storage key", "EC2 storage accounts"]
    assert controller.one("credentials", "EC2 storage key")["inputs"] == {"username": KEY, "password": SECRET}
    assert controller.one("schedules", ROTATION)["unified_job_template"] == template["id"]
    (question,) = controller.survey("workflow_job_templates", WORKFLOW)["spec"]
    assert question["variable"] == "rotate_snapshots_policies"
    approved = json.loads(controller.one("job_templates", f"{ROTATION}, approved")["extra_vars"])
    assert approved["rotate_snapshots_expected_plans"].startswith("{{ ec2ops_rotate_snapshots[inventory_hostname]")

    nodes = "workflow_job_template_nodes"
    assert controller.linked(nodes, "check", "success_nodes") == ["approval"]
    assert controller.linked(nodes, "approval", "success_nodes") == ["run"]
    approval = controller.one("workflow_approval_templates", "Approve the plans of the check")
    assert controller.one(nodes, "approval")["unified_job_template"] == approval["id"]
    assert approval["timeout"] == 86400

    controller.requests.clear()
    again, results = set_up(controller, tmp_path, ["rotate_snapshots"])
    assert again.returncode == 0, again.stdout
    assert (changed(results), controller.requests) == ([], [])
    assert "WARNING" not in again.stdout + again.stderr


def test_the_other_jobs_use_the_same_objects_and_a_second_run_changes_nothing(
    controller: Controller, tmp_path: Path
) -> None:
    """The test before has made the shared objects."""
    done, _results = set_up(controller, tmp_path, [*OTHERS], "--skip-tags", "shared")
    assert done.returncode == 0, done.stdout
    assert controller.ignored == set()
    for job, name in OTHERS.items():
        template = controller.one("job_templates", name)
        assert template["playbook"] == f"{job}/playbook.yml"
        assert controller.survey("job_templates", name) == survey(job)
    assert controller.one("schedules", OTHERS["apply_volume_specs"])["job_type"] == "check"
    drilled = controller.one("schedules", OTHERS["restore_drill"])["extra_data"]
    assert drilled == {"restore_volumes_source_volume_ids": "vol-0123456789abcdef0"}

    controller.requests.clear()
    again, results = set_up(controller, tmp_path, [*OTHERS], "--skip-tags", "shared")
    assert again.returncode == 0, again.stdout
    assert (changed(results), controller.requests) == ([], [])


def survey(job: str) -> Any:
    return yaml.safe_load((PATTERNS / job / "survey.yml").read_text(encoding="utf-8"))["pattern_survey"]


def test_a_setup_without_the_key_is_refused_before_the_first_request(controller: Controller, tmp_path: Path) -> None:
    """AWX would replace the stored key by an empty one."""
    controller.requests.clear()
    refused, results = set_up(controller, tmp_path, ["restore_power"], key="")
    assert refused.returncode == 2
    assert "Set PATTERN_AWS_ACCESS_KEY_ID" in " ".join(refused.stdout.split())
    assert (results, controller.requests) == ([], [])
