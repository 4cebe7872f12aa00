# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook storage_report: one report of two regions, on the sandbox, with a place that fails."""

from __future__ import annotations

import csv
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from playbook.seeds import seed_web
from playbook.support import changing_calls, run_playbook
from sandbox.client import Sandbox

PLAYBOOK = "ec2ops.storage.storage_report"
DAY = 86_400
INVENTORY = """[places]
misspelt storage_report_region=us-east-1 storage_report_titel=x
virginia storage_report_region=us-east-1
ireland storage_report_region=eu-west-1
lost storage_report_region=us-east-1 storage_report_profile=nobody
"""
FILES = {"report.html", "report.json", "findings.csv", "report.md"}


@pytest.fixture
def world(sandbox: Sandbox) -> Sandbox:
    """A running instance in each region, and a forgotten volume in one of them, three days later."""
    seed_web(sandbox, "us-east-1")
    seed_web(sandbox, "eu-west-1", name="shop")
    sandbox.seed({"volume": {"Size": 50, "tags": {"Name": "forgotten {{ lookup('pipe', 'false') }}"}}})
    sandbox.move_clock(3 * DAY)
    sandbox.reset_log()
    return sandbox


def test_one_report_of_all_places_is_written_and_the_lost_place_fails(world: Sandbox, tmp_path: Path) -> None:
    dest = tmp_path / "report"
    given: dict[str, Any] = {
        "storage_report_hosts": "places",
        "storage_report_dest": str(dest),
        "storage_report_title": "Storage of the shop",
        "storage_report_options": "rpo_max: 24h",
        # As rotate_snapshots has them.
        "storage_report_policies": [{"policy": "web", "keep": {"daily": 7}, "max_delete": 5}],
    }
    check = run_playbook(world, PLAYBOOK, given, check=True, inventory=INVENTORY)
    assert not dest.exists()
    foreseen = check.fact("storage_report_result", "virginia")
    run = run_playbook(world, PLAYBOOK, given, inventory=INVENTORY)
    # Two hosts fail, after the report of the others is written: one has a misspelt variable, and the profile of the
    # other one does not exist.
    assert run.status == check.status == 2, run.output
    assert sorted(failure.partition(":")[0] for failure in run.failures[-2:]) == [
        "lost is not in the report",
        "misspelt is not in the report",
    ]
    assert run.changed == check.changed == []
    assert changing_calls(world.log()) == []

    assert {file.name for file in dest.iterdir()} == FILES
    assert {stat.S_IMODE(file.stat().st_mode) for file in dest.iterdir()} == {0o600}
    assert stat.S_IMODE(dest.stat().st_mode) == 0o700
    report = json.loads((dest / "report.json").read_text())
    assert [(each["host"], each["region"]) for each in report["places"]] == [
        ("misspelt", None),
        ("virginia", "us-east-1"),
        ("ireland", "eu-west-1"),
        ("lost", None),
    ]
    errors = {each["host"]: each["error"] for each in report["places"]}
    assert "Did you mean storage_report_title?" in errors["misspelt"]
    assert "nobody" in errors["lost"]
    figures = report["figures"]
    assert figures["volumes"] == {"count": 5, "gib": 2 * (8 + 20) + 50, "unencrypted": 5, "unattached": 1}
    assert figures["failed_places"] == 2
    assert figures["recovery"]["without_point"] == 5
    assert figures["findings_by_id"]["volume-unattached"] == 1
    assert [document["options"]["rpo_max"] for document in report["documents"]] == [DAY, DAY]
    assert report["documents"][1]["options"]["policies"] == [{"policy": "web", "every": DAY, "rules": True}]
    result = run.fact("storage_report_result", "ireland")
    assert result["figures"] == figures
    for key in ("volumes", "cost", "findings"):
        assert foreseen["figures"][key] == figures[key]
    rows = list(csv.DictReader((dest / "findings.csv").open(encoding="utf-8", newline="")))
    assert len(rows) == sum(figures["findings"].values()) == len([row for row in rows if row["host"] != "lost"])
    text = (dest / "report.md").read_text()
    assert "# Storage of the shop" in text and "- misspelt: storage" in text
    assert report["changes"] is None
    world.seed({"volume": {"Size": 9, "tags": {"Name": "new"}}})
    world.move_clock(2 * DAY)
    result = run_playbook(world, PLAYBOOK, given, inventory=INVENTORY).fact("storage_report_result", "lost")
    assert result["changes"]["findings"]["new"] > 0 and result["changes"]["since"] == report["generated"]
    assert result["changes"]["cost"][0]["least"] == pytest.approx(9 * 0.1, abs=0.3)
    page = (dest / "report.html").read_text()
    assert "lookup('pipe', 'false')" in page and "Storage of the shop" in page


def test_unreachable_host_that_talks_to_ec2_is_the_reason_in_the_report(sandbox: Sandbox, tmp_path: Path) -> None:
    given = {"storage_report_dest": str(tmp_path), "storage_report_delegate_to": "gone.invalid"}
    run = run_playbook(sandbox, PLAYBOOK, given)
    assert run.status == 2
    assert run.failures[-1].startswith("localhost is not in the report: gone.invalid is unreachable: ")
    (place,) = json.loads((tmp_path / "report.json").read_text())["places"]
    assert place["error"].startswith("gone.invalid is unreachable: ")


def test_findings_of_the_chosen_severity_fail_after_the_report(world: Sandbox, tmp_path: Path) -> None:
    given = {"storage_report_dest": str(tmp_path), "storage_report_fail_on": "medium"}
    run = run_playbook(world, PLAYBOOK, given)
    assert run.status == 2
    assert {file.name for file in tmp_path.iterdir()} == FILES
    counts = json.loads((tmp_path / "report.json").read_text())["figures"]["findings"]
    expected = ", ".join(f"{counts[severity]} {severity}" for severity in ("high", "medium") if counts[severity])
    assert run.failures == [
        f"storage_report_fail_on: localhost has findings ({expected}). See {tmp_path / 'report.html'}."
    ]


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({}, "storage_report_dest: is required. Set it."),
        ({"storage_report_dest": "x", "storage_report_fail_on": "severe"}, "storage_report_fail_on: Value of"),
        ({"storage_report_dest": "x", "storage_report_options": ["a"]}, "storage_report_options: \"['a']\""),
        (
            {"storage_report_dest": "x", "storage_report_policies": "[{policy: a, kep: {daily: 1}}]"},
            "storage_report_policies[0]: a policy has no option kep. Correct or remove it.",
        ),
        (
            {
                "storage_report_dest": "x",
                "storage_report_policies": [{"policy": "a", "keep": {"daily": 1}}],
                "storage_report_options": {"policies": []},
            },
            "storage_report_policies: storage_report_options.policies names policies too. Use one of them.",
        ),
        ({"storage_report_dest": "x", "storage_report_titles": "y"}, "Did you mean storage_report_title?"),
    ],
)
def test_mistake_is_refused_before_the_first_call(sandbox: Sandbox, given: dict[str, Any], refusal: str) -> None:
    sandbox.reset_log()
    run = run_playbook(sandbox, PLAYBOOK, given)
    assert run.status == 2
    assert refusal in run.failures[0]
    assert sandbox.log() == []
