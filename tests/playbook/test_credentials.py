# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Profiles that give no credentials: the task names the profile and the remedy, in Ansible's worker and as a module."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from playbook.support import EVERYWHERE, REGION, run_playbook
from sandbox.client import Sandbox

KEY = "111122223333"
SECRET = "secret-of-the-source-profile"
ROLE = "role_arn = arn:aws:iam::111122223333:role/storage"
EXPIRED = {
    "Version": 1,
    "AccessKeyId": KEY,
    "SecretAccessKey": SECRET,
    "SessionToken": "token-of-the-process",
    "Expiration": "2020-01-01T00:00:00Z",
}

PROFILES = {
    "denied": f"{ROLE}\nsource_profile = source",
    "expired": "credential_process = cat {folder}/expired.json",
    "unreadable": "credential_process = echo no-json",
    "absent": "credential_process = {folder}/no-such-program",
    "token": f"{ROLE}\nweb_identity_token_file = {{folder}}/no-such-token",
    "code": f"{ROLE}\nsource_profile = source\nmfa_serial = arn:aws:iam::111122223333:mfa/anna",
    "partial": f"aws_access_key_id = {KEY}",
    "chain": f"{ROLE}\nsource_profile = nobody",
    "sso": "sso_start_url = https://sso.example\nsso_region = us-east-1\nsso_account_id = 1\nsso_role_name = r",
    "empty": "output = json",
}
EXPECTED = {
    "denied": ("DescribeInstances failed: AccessDenied: ", "The profile denied needs AssumeRole", "trust policy"),
    "expired": ("DescribeInstances failed: NoCredentials: Credentials were refreshed", "profile expired", "clock"),
    "unreadable": ("JSONDecodeError", "The profile unreadable gives no credentials"),
    "absent": ("no-such-program", "The profile absent gives no credentials"),
    "token": ("no-such-token", "The profile token gives no credentials"),
    "code": ("NoCredentials: botocore asked for an MFA code", "The profile code needs the code, and a task cannot"),
    "partial": ("profile partial: Partial credentials", "The profile partial gives no credentials"),
    "chain": ("nobody", "The profile chain gives no credentials"),
    "sso": ("The profile sso gives no credentials", "aws sso login"),
    "empty": ("DescribeInstances failed: NoCredentials", "The profile empty gives no credentials"),
    "nobody": ("profile nobody: The config profile (nobody) could not be found.", "AWS_CONFIG_FILE"),
}


def tasks(names: list[str]) -> list[dict[str, Any]]:
    options = {"instance_ids": ["i-0123456789abcdef0"], "state": "stopped", "region": REGION}
    return [
        {"name": name, "ec2ops.storage.instance_power": {**options, "profile": name}, "ignore_errors": True}
        for name in names
    ]


@pytest.fixture
def profiles(tmp_path: Path) -> Path:
    """The configuration file with all profiles, which the run finds in its environment."""
    (tmp_path / "expired.json").write_text(json.dumps(EXPIRED), encoding="utf-8")
    source = f"[profile source]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n"
    rows = [f"[profile {name}]\n{text.format(folder=tmp_path)}\n" for name, text in PROFILES.items()]
    config = tmp_path / "config"
    config.write_text(source + "".join(rows), encoding="utf-8")
    return config


def test_a_profile_without_credentials_is_named_with_its_remedy(sandbox: Sandbox, profiles: Path) -> None:
    check(sandbox, profiles, [*EXPECTED])


def test_a_module_in_its_own_process_names_the_profile_too(
    sandbox: Sandbox, profiles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EVERYWHERE, "ec2ops_in_process", False)
    check(sandbox, profiles, ["expired", "token", "code", "nobody"])


def check(sandbox: Sandbox, profiles: Path, names: list[str]) -> None:
    """Run a task with each profile, and compare its message."""
    play = {"name": "Profiles", "hosts": "localhost", "gather_facts": False, "tasks": tasks(names)}
    playbook = profiles.parent / "playbook.yml"
    playbook.write_text(yaml.safe_dump([play], sort_keys=False), encoding="utf-8")
    denied = {"code": "AccessDenied", "message": "User: u is not authorized to perform: sts:AssumeRole", "status": 403}
    # amazon.aws refuses a profile together with keys.
    keys = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    sandbox.reset_log()
    with sandbox.fault("sts:AssumeRole", **denied):
        run = run_playbook(sandbox, playbook, more={**keys, "AWS_CONFIG_FILE": str(profiles)})
    assert [each.task for each in run.ours] == names, run.output
    for each in run.ours:
        assert each.outcome == "ignored", run.output
        for text in EXPECTED[each.task]:
            assert text in each.result["msg"], each.result["msg"]
        assert each.result["changed"] is False
    assert [entry["action"] for entry in sandbox.log() if not entry["action"].startswith("sts:")] == []
    assert SECRET not in run.output
