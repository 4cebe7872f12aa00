# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets appear nowhere: not in results, diffs, the output of ``-vvv``, or what ansible-runner keeps of a run."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ansible_runner
import pytest

from playbook.seeds import Web, seed_web
from playbook.support import PLAYS, REGION, playbook_environment, recorded, run_playbook
from sandbox.client import Sandbox

PLAY = PLAYS / "secrets.yml"
KEPT, REPLACED = "#!/bin/sh\necho kept-passphrase-1\n", "#!/bin/sh\necho replaced-passphrase-2\n"
UEFI = base64.b64encode(b"AMZNUEFI variables of the platform key 3").decode()
TOKEN = "FwoGZXIvYXdzsession-token-4"


@pytest.fixture
def web(sandbox: Sandbox) -> Web:
    return seed_web(sandbox, REGION, UserData=KEPT)


def variables(sandbox: Sandbox, web: Web, **more: Any) -> dict[str, Any]:
    keys = sandbox.environment()
    return {
        "test_instance_id": web.instance_id,
        "test_access_key": keys["AWS_ACCESS_KEY_ID"],
        "test_secret_key": keys["AWS_SECRET_ACCESS_KEY"] + "/of-nobody-else-5",
        "test_session_token": TOKEN,
        "test_uefi_data": UEFI,
        "test_overrides": {"user_data": "replace", "user_data_content": REPLACED},
        **more,
    }


def secrets(given: dict[str, Any]) -> Iterator[str]:
    """Each secret, as plain text and as in the request to EC2."""
    yield given["test_secret_key"]
    yield TOKEN
    yield UEFI
    yield "AMZNUEFI variables"
    yield from ("kept-passphrase-1", "replaced-passphrase-2")
    for text in (KEPT, REPLACED):
        yield base64.b64encode(text.encode()).decode()


def assert_silent(text: str, given: dict[str, Any]) -> None:
    assert [secret for secret in secrets(given) if secret in text] == []


@pytest.mark.parametrize("user_data", ["keep", "replace"])
def test_verbose_run_shows_no_secret(sandbox: Sandbox, web: Web, user_data: str) -> None:
    kept = {} if user_data == "replace" else {"test_overrides": {"user_data": user_data}}
    given = variables(sandbox, web, **kept)
    for check in (True, False):
        ended = run_playbook(sandbox, PLAY, given, "-vvv", "--diff", check=check)
        assert ended.status == 0, ended.output
        plan = [entry for result in ended.ours for entry in result.result["plan"]]
        hashed = [name for entry in plan for name in ("UefiData", "UserData") if name in entry["parameters"]]
        assert hashed == ["UefiData", "UserData"]
        assert_silent(ended.output, given)
        assert_silent(repr(ended.results), given)


def test_artifacts_of_ansible_runner_show_no_secret(sandbox: Sandbox, web: Web, tmp_path: Path) -> None:
    given = variables(sandbox, web)
    record = tmp_path / "record.jsonl"
    (tmp_path / "runner").mkdir()
    ended = ansible_runner.run(
        private_data_dir=str(tmp_path / "runner"),
        playbook=str(PLAY),
        extravars=given,
        envvars=playbook_environment(sandbox, record),
        verbosity=3,
        cmdline="--diff",
        quiet=True,
    )
    assert ended.rc == 0, ended.stdout.read()
    # The file `command` holds the environment that the caller gave.
    kept = [path for path in Path(ended.config.artifact_dir).rglob("*") if path.is_file() and path.name != "command"]
    assert any("job_events" in path.parts for path in kept)
    for path in kept:
        assert_silent(path.read_text(encoding="utf-8", errors="replace"), given)
    assert_silent(repr(recorded(record)), given)
