# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible has nothing to warn of in the collection's files: `run_playbook` looks at every run's output."""

from __future__ import annotations

from playbook.support import own_warnings, run_playbook
from sandbox.client import Sandbox
from tools.environment import COLLECTION

ROLE = COLLECTION / "roles" / "snapshot_policy" / "tasks" / "policy.yml"


def test_a_run_of_snapshot_policy_gives_no_warning(sandbox: Sandbox) -> None:
    sandbox.seed({"region": "us-east-1", "volume": {"name": "data", "size": 4, "tags": {"backup": "daily"}}})
    policy = {"policy": "daily", "select": {"tags": {"backup": "daily"}}, "keep": {"last": 1}}
    run = run_playbook(sandbox, "ec2ops.storage.rotate_snapshots", {"rotate_snapshots_policies": [policy]})
    assert run.status == 0, run.output
    assert "[WARNING]" not in run.output


def test_a_warning_about_an_own_file_is_found() -> None:
    warning = f"[WARNING]: While constructing a mapping from {ROLE}, line 74,\ncolumn 9, found a duplicate dict key."
    broken = f"[DEPRECATION WARNING]: Something is old.\nOrigin: {str(ROLE)[:40]}\n{str(ROLE)[40:]}:3:3"
    output = f"PLAY [x] ***\n{warning}\n\nTASK [y] ***\n{broken}\n\nok: [localhost]\n"
    assert [text[:20] for text in own_warnings(output)] == [warning[:20], broken[:20]]


def test_foreign_warning_is_not_counted() -> None:
    assert own_warnings(f"[WARNING]: No inventory.\n\nincluded: {ROLE} for localhost\n") == []
    assert own_warnings(f"[WARNING]: No inventory.\nincluded: {ROLE} for localhost\n") == []
