# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines on the screen while a task waits, and the cases without lines: secrets, and documents for programs."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from playbook import support
from playbook.seeds import Web
from playbook.support import DURATIONS, PLAYS, REGION, playbook_environment, run_playbook
from sandbox.client import Sandbox
from tools.environment import environment

PENDING = 5.5
"""Sandbox seconds: a wait polls after 4 s, which is late enough for a line, and ends at its next poll."""
LINE = re.compile(
    r"^  \[(\w+)\] (?:snap-[0-9a-f]{17} is pending \(\d+ %\), waiting for \d+ s(?:, about \d+ s left)?"
    r"|\d+ of \d+ snapshots deleted, about \d+ s left)$",
    re.MULTILINE,
)


@pytest.fixture(autouse=True)
def _slow_snapshots(sandbox: Sandbox) -> None:
    sandbox.configure(durations={**DURATIONS, "snapshot_pending": PENDING})


def hosts(**variables: str) -> str:
    """An inventory of local hosts, each with its variables."""
    usual = "ansible_connection=local ansible_python_interpreter='{{ ansible_playbook_python }}'"
    return "".join(f"{name} {usual} {more}\n" for name, more in variables.items())


@pytest.mark.cores
def test_waits_are_shown_where_the_user_has_not_silenced_them(sandbox: Sandbox, web: Web) -> None:
    given = {"test_volume_id": web.data_volume_id}
    sandbox.reset_log()
    inventory = hosts(plain="", silent="ec2ops_progress=false", apart="ec2ops_in_process=false")
    run = run_playbook(sandbox, PLAYS / "progress.yml", given, "-v", inventory=inventory)
    assert run.status == 0, run.output
    task, _title, secret = run.output.partition("TASK [Capture in secret]")
    assert set(LINE.findall(task)) == {"plain"}
    assert LINE.findall(secret) == []
    assert len(sandbox.log(action="CreateSnapshot")) == 6
    # Results do not have these lines.
    assert "waiting for" not in repr(run.results)


def test_secrets_are_masked(sandbox: Sandbox, web: Web) -> None:
    given = {"test_volume_id": web.data_volume_id, "test_token": "pending"}
    run = run_playbook(sandbox, PLAYS / "progress.yml", given, "--skip-tags", "secret", inventory=hosts(plain=""))
    assert run.status == 0, run.output
    assert re.search(r"^  \[plain\] snap-[0-9a-f]{17} is \*{8} \(", run.output, re.MULTILINE), run.output
    assert "pending" not in run.output


@pytest.mark.parametrize("callback", ["json_document", "minimal"])
def test_only_callbacks_for_people_get_lines(
    sandbox: Sandbox, web: Web, monkeypatch: pytest.MonkeyPatch, callback: str
) -> None:
    usual = environment()
    monkeypatch.setattr(support, "environment", lambda: {**usual, "ANSIBLE_STDOUT_CALLBACK": callback})
    given = {"test_volume_id": web.data_volume_id}
    run = run_playbook(sandbox, PLAYS / "progress.yml", given, "--skip-tags", "secret", inventory=hosts(plain=""))
    assert run.status == 0, run.output
    if callback == "json_document":
        document = json.loads(run.output)
        assert [entry["action"] for entry in document["Capture"]["plan"]] == ["CreateSnapshot"]
    assert LINE.findall(run.output) == []


def test_ad_hoc_command_gets_no_lines(sandbox: Sandbox, web: Web, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "region": REGION,
        "policy": "daily",
        "every": "1h",
        "select": {"volume_ids": [web.data_volume_id]},
        "keep": {"last": 1},
    }
    command = ["ansible", "localhost", "-m", "ec2ops.storage.snapshot_rotate", "-a", json.dumps(options)]
    ended = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=playbook_environment(sandbox, tmp_path / "record"),
    )
    assert ended.returncode == 0, ended.stdout
    assert ended.stdout.startswith("localhost | CHANGED => {"), ended.stdout
    assert LINE.findall(ended.stdout) == []


def test_paced_deletions_are_counted(sandbox: Sandbox) -> None:
    old = {"volumes": ["db"], "tags": {"created-by": "cron"}, "times": [86400 * number for number in range(1, 125)]}
    sandbox.seed({"region": REGION, "volumes": [{"name": "db"}], "snapshots": [old]})
    run = run_playbook(sandbox, PLAYS / "deletions.yml")
    assert run.status == 0, run.output
    lines = [line for line in run.output.splitlines() if LINE.match(line)]
    assert lines, run.output
    assert re.fullmatch(r"  \[localhost\] 1[012]\d of 123 snapshots deleted, about [1-5] s left", lines[0]), lines
