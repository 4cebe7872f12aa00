# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A module in Ansible's worker process: when it runs there, and that its results are those of a process of its own."""

from __future__ import annotations

import difflib
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from playbook import support
from playbook.seeds import Web, seed_web
from playbook.support import PLAYS, REGION, Run, run_playbook
from sandbox.client import Sandbox
from tools.environment import ROOT, environment

HOSTS = "".join(
    f"{name} ansible_connection=local ansible_python_interpreter='{{{{ ansible_playbook_python }}}}'\n"
    for name in ("one", "two")
)
_ID = re.compile(r"\b(i|vol|snap|ami|eni|subnet|vpc)-[0-9a-f]{17}\b|vol[0-9a-f]{17}\b")
_CHANGING = re.compile(
    r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[^\"' ]*|\b[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b(\d+\.){3}\d+\b"
)
"""Times, the ids of requests, and addresses."""


def told(text: str) -> str:
    """*text* with the ids of EC2 numbered in the order of their first mention, and without times and addresses."""
    names: dict[str, str] = {}
    return _CHANGING.sub("(changes)", _ID.sub(lambda found: names.setdefault(found[0], f"(id {len(names)})"), text))


def results(run: Run) -> list[str]:
    """Each result of a run, in the order of the tasks and hosts.

    ansible-core repeats the import warnings of amazon.aws for each attempt of a task, since the tracebacks, which are
    not in the results, name different temporary files. Here each warning counts once.
    """
    rows = []
    for each in run.results:
        warned = {"deprecations": once(each.result["deprecations"])} if "deprecations" in each.result else {}
        rows.append([each.host, each.task, each.outcome, each.action, {**each.result, **warned}])
    return told("\n".join(json.dumps(row, sort_keys=True, indent=1) for row in rows)).splitlines()


def once(items: list[Any]) -> list[Any]:
    """The different ones of the items, in order."""
    return [item for number, item in enumerate(items) if item not in items[:number]]


def difference(here: list[str], apart: list[str]) -> str:
    """The lines that differ, empty without any."""
    return "\n".join(difflib.unified_diff(apart, here, "its own process", "worker", lineterm="", n=0))


def run_in(process: str, sandbox: Sandbox, *arguments: str) -> Run:
    """The play of many tasks in one *process* or the other, on a fresh sandbox."""
    sandbox.reset()
    web = seed_web(sandbox, REGION)
    keys = sandbox.environment()
    given: Mapping[str, Any] = {
        "test_instance_id": web.instance_id,
        "test_access_key": keys["AWS_ACCESS_KEY_ID"],
        "test_secret_key": keys["AWS_SECRET_ACCESS_KEY"],
        "ec2ops_in_process": process == "worker",
    }
    return run_playbook(sandbox, PLAYS / "same_both_ways.yml", given, *arguments, inventory=HOSTS)


@pytest.fixture
def vault(tmp_path: Path) -> list[str]:
    """The arguments that give the play the variable test_vaulted, from a vault."""
    password, variables = tmp_path / "password", tmp_path / "vaulted.yml"
    password.write_text("open sesame", encoding="utf-8")
    command = ["ansible-vault", "encrypt_string", "--vault-password-file", str(password), "--name", "test_vaulted"]
    text = subprocess.run([*command, "a vaulted value"], check=True, capture_output=True, text=True).stdout
    variables.write_text(text, encoding="utf-8")
    return ["-e", f"@{variables}", "--vault-password-file", str(password)]


@pytest.mark.cores
@pytest.mark.timeout(240)
def test_results_and_screen_are_the_same_both_ways(sandbox: Sandbox, vault: list[str]) -> None:
    # Tasks of the second host would run beside those of the first, in an order that changes.
    arguments = [*vault, "--forks", "1", "-v"]
    here, apart = run_in("worker", sandbox, *arguments), run_in("its own", sandbox, *arguments)
    assert here.status == apart.status == 2, here.output
    assert len({each.task for each in here.results}) > 20
    assert difference(results(here), results(apart)) == ""
    assert difference(told(here.output).splitlines(), told(apart.output).splitlines()) == ""


@pytest.mark.cores
def test_chosen_tags_run_the_chosen_tasks(sandbox: Sandbox, vault: list[str]) -> None:
    run = run_in("worker", sandbox, *vault, "--tags", "chosen")
    assert run.status == 0, run.output
    assert {each.task for each in run.results} == {"Nothing to change"}


@pytest.mark.cores
def test_only_a_plain_local_task_runs_in_the_worker(sandbox: Sandbox, web: Web, tmp_path: Path) -> None:
    python, sudo = tmp_path / "python", tmp_path / "sudo"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    sudo.write_text('#!/bin/sh\nwhile [ "$1" != /bin/sh ]; do shift; done\nexec "$@"\n', encoding="utf-8")
    for program in (python, sudo):
        program.chmod(0o755)
    run = run_playbook(sandbox, PLAYS / "who_runs.yml", {"test_folder": str(tmp_path)}, "-vvv")
    assert run.status == 0, run.output
    parts = re.findall(r"^TASK \[(Here|Apart): (.*?)\](.*?)(?=^TASK|^PLAY)", run.output, re.MULTILINE | re.DOTALL)
    assert len(parts) == len(run.results)
    # The local connection says EXEC when it starts a process.
    ran = {name: (place, "Apart" if " EXEC " in text else "Here") for place, name, text in parts}
    assert {name: place for name, place in ran.items() if place[0] != place[1]} == {}


def test_parent_gets_no_connection_thread_or_credentials() -> None:
    """With a missing profile and missing files, any code that asks for credentials would fail."""
    nowhere = {"AWS_PROFILE": "nobody", "AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere"}
    program = ROOT / "tests" / "bench" / "parent_cost.py"
    answer = subprocess.run(
        [sys.executable, str(program)], check=True, capture_output=True, text=True, env={**environment(), **nowhere}
    ).stdout
    cost = json.loads(answer)
    assert (cost["threads"], cost["sockets"]) == (0, 0)


@pytest.mark.parametrize(
    ("task", "loaded"), [({"ec2ops.storage.instance_power": {"state": "restored"}}, True), ({"ping": {}}, False)]
)
def test_only_a_play_of_the_collection_loads_botocore(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: dict[str, Any], loaded: bool
) -> None:
    usual = support.playbook_environment
    also = {"ANSIBLE_CALLBACKS_ENABLED": "recorder,loaded"}
    monkeypatch.setattr(support, "playbook_environment", lambda *given: {**usual(*given), **also})
    defaults = {"group/ec2ops.storage.aws": {"region": REGION}}
    play = {"hosts": "localhost", "gather_facts": False, "module_defaults": defaults, "tasks": [task]}
    (tmp_path / "play.yml").write_text(json.dumps([play]), encoding="utf-8")
    run = run_playbook(sandbox, tmp_path / "play.yml")
    assert run.status == 0, run.output
    assert f"botocore: {loaded}" in run.output
