# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Jobs of AWX, as ansible-runner runs them: the approval of a plan, and the size and content of events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ansible_runner

from playbook.seeds import Web
from playbook.slices import artifact_of
from playbook.support import REGION, changing_calls, playbook_environment
from sandbox.client import Sandbox
from tools.environment import ROOT

ROTATE = "ec2ops.storage.rotate_snapshots"
POLICY, SOURCE = "ec2ops:policy", "ec2ops:source"
EVENTS_LIMIT = 1_000_000
"""Bytes of all events of a job."""


def seed_snapshots(sandbox: Sandbox, volume_id: str, count: int) -> None:
    """Completed snapshots of the policy nightly, one for each of the last days."""
    snapshots = {
        "name": "old",
        "count": count,
        "volumes": [volume_id],
        "description": f"nightly: {volume_id}",
        "tags": {POLICY: "nightly", SOURCE: volume_id},
    }
    sandbox.seed({"region": REGION, "snapshots": snapshots})


def job(sandbox: Sandbox, folder: Path, variables: dict[str, Any], *, check: bool = False) -> ansible_runner.Runner:
    """A job that has ended, with the difference shown, as the job templates in extensions/patterns run it."""
    folder.mkdir()
    return ansible_runner.run(
        private_data_dir=str(folder),
        playbook=ROTATE,
        extravars=variables,
        envvars=playbook_environment(sandbox, folder / "record.jsonl"),
        cmdline="--check --diff" if check else "--diff",
        quiet=True,
    )


def events(ended: ansible_runner.Runner) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each event of a job, as text and as data."""
    for path in sorted(Path(ended.config.artifact_dir, "job_events").glob("*.json")):
        text = path.read_text(encoding="utf-8")
        yield text, json.loads(text)


def approval() -> dict[str, str]:
    """The variables with which the approved job of the workflow reads the artifact of the check."""
    text = (ROOT / "extensions/patterns/rotate_snapshots/setup.yml").read_text(encoding="utf-8")
    lines = text.splitlines()
    (number,) = [number for number, line in enumerate(lines) if "rotate_snapshots_expected_plans:" in line]
    assert lines[number].endswith(": !unsafe >-")
    return {"rotate_snapshots_expected_plans": lines[number + 1].strip()}


def test_the_approved_job_deletes_what_the_check_has_planned(sandbox: Sandbox, web: Web, tmp_path: Path) -> None:
    seed_snapshots(sandbox, web.data_volume_id, 6)
    given = {
        "rotate_snapshots_region": REGION,
        "rotate_snapshots_policies": [
            {"policy": "nightly", "select": {"volume_ids": [web.data_volume_id]}, "keep": {"last": 3}}
        ],
    }
    sandbox.reset_log()
    check = job(sandbox, tmp_path / "check", given, check=True)
    assert check.rc == 0, check.stdout.read()
    assert changing_calls(sandbox.log()) == []
    artifact = artifact_of(data for _text, data in events(check))
    handed = artifact["ec2ops_rotate_snapshots"]["localhost"]
    assert set(handed["plan_hashes"]) == {"nightly"}
    assert handed["summary"][0].startswith("nightly: 1 snapshot to be taken; 4 snapshots to be deleted"), handed[
        "summary"
    ]

    # Somebody approved another plan.
    other = {"ec2ops_rotate_snapshots": {"localhost": {**handed, "plan_hashes": {"nightly": "0" * 64}}}}
    refused = job(sandbox, tmp_path / "refused", {**given, **approval(), **other})
    assert refused.rc == 2
    assert "Nothing is deleted: expected_plan is 000" in refused.stdout.read()
    assert changing_calls(sandbox.log()) == ["CreateSnapshot"]

    sandbox.reset_log()
    again = job(sandbox, tmp_path / "again", given, check=True)
    approved = job(
        sandbox, tmp_path / "run", {**given, **approval(), **artifact_of(data for _text, data in events(again))}
    )
    assert approved.rc == 0, approved.stdout.read()
    assert changing_calls(sandbox.log()) == ["DeleteSnapshot"] * 4


def test_an_approval_that_is_undefined_ends_the_job_before_the_first_call(
    sandbox: Sandbox, web: Web, tmp_path: Path
) -> None:
    given = {
        "rotate_snapshots_region": REGION,
        "rotate_snapshots_policies": [
            {"policy": "nightly", "select": {"volume_ids": [web.data_volume_id]}, "keep": {"last": 3}}
        ],
        "rotate_snapshots_expected_plans": "{{ artifact_of_nobody.plan_hashes }}",
    }
    sandbox.reset_log()
    ended = job(sandbox, tmp_path / "job", given)
    assert ended.rc == 2, ended.stdout.read()
    assert sandbox.log() == []


def test_events_of_ten_thousand_decisions_are_small_and_hold_no_secret(
    sandbox: Sandbox, web: Web, tmp_path: Path
) -> None:
    """The plan has as many deletions as max_delete allows by default."""
    deletions = 100
    seed_snapshots(sandbox, web.data_volume_id, 10_000)
    keys = sandbox.environment()
    secret, token = keys["AWS_SECRET_ACCESS_KEY"] + "/of-the-job-7", "FwoGZXIvYXdzsession-token-8"
    given = {
        "rotate_snapshots_aws": {
            "region": REGION,
            "access_key": keys["AWS_ACCESS_KEY_ID"],
            "secret_key": secret,
            "session_token": token,
        },
        "rotate_snapshots_policies": [
            {
                "policy": "nightly",
                "select": {"volume_ids": [web.data_volume_id]},
                "keep": {"last": 10_001 - deletions},
            }
        ],
    }
    ended = job(sandbox, tmp_path / "job", given)
    assert ended.rc == 0, ended.stdout.read()
    told = list(events(ended))
    (applied,) = [
        data["event_data"]["res"]
        for _text, data in told
        if data["event"] == "runner_on_ok"
        and data["event_data"]["task"] == "Wait for the snapshots and apply retention"
    ]
    assert len(applied["deleted"]) == deletions
    assert applied["counts"]["managed"] >= 10_000
    assert sum(len(text.encode()) for text, _data in told) < EVENTS_LIMIT
    assert [text for text, _data in told if secret in text or token in text] == []
