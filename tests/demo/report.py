# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A storage report on the sandbox: two regions with a history of backups, some waste, and a volume at risk.

Run by ``make demo-report``. It writes the report to ``.work/demo-report`` and names it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import webbrowser
from pathlib import Path
from typing import Any

from sandbox.client import Sandbox
from tools.environment import WORK

DAY = 86_400
RUNS = 6
"""Daily runs of the policies before the report."""
HOME, AWAY = "us-east-1", "eu-central-1"
DEST = WORK / "demo-report"


def main() -> int:
    """Make the world and its history, then the report of both regions."""
    with tempfile.TemporaryDirectory(prefix="ec2ops-demo-") as folder, Sandbox.start(seed=7) as sandbox:
        print(f"Two regions with instances, and {RUNS} days of backups by rotate_snapshots …", flush=True)
        volumes = seed(sandbox)
        for _day in range(RUNS):
            play(sandbox, Path(folder), "rotate_snapshots", policies(volumes), quiet=True)
            sandbox.move_clock(DAY)
        # A report for the changes since then. Afterwards, the policies rest for the weekend.
        shutil.rmtree(DEST, ignore_errors=True)
        play(sandbox, Path(folder), "storage_report", report(sandbox, volumes), quiet=True)
        sandbox.seed(
            {"region": HOME, "volume": {"Size": 200, "VolumeType": "io1", "Iops": 1000, "tags": {"Name": "tmp-copy"}}}
        )
        sandbox.move_clock(2 * DAY)
        print("The report:\n", flush=True)
        play(sandbox, Path(folder), "storage_report", report(sandbox, volumes))
    page = DEST / "report.html"
    print(f"\nOpen {page}")
    if sys.stdout.isatty() and os.environ.get("DISPLAY"):
        webbrowser.open(page.as_uri())
    return 0


def seed(sandbox: Sandbox) -> dict[str, Any]:
    """The world. Returns ids by name."""
    shop, search = {"team": "shop"}, {"team": "search"}
    names = sandbox.seed(
        {
            "region": HOME,
            "instances": [
                {"name": "web", "tags": shop, "volume_tags": {"Name": "web-root", **shop}},
                {
                    "name": "db",
                    "tags": shop,
                    "volume_tags": {"Name": "db-root", **shop},
                    "data_volumes": [
                        {"name": "data", "Size": 400, "VolumeType": "gp2", "tags": {"Name": "db-data", **shop}},
                        {"name": "logs", "Size": 80, "tags": {"Name": "db-logs", **shop}},
                    ],
                },
                {
                    "name": "search",
                    "tags": search,
                    "volume_tags": {"Name": "search-root", **search},
                    "data_volumes": [{"name": "index", "Size": 250, "tags": {"Name": "search-index", **search}}],
                },
            ],
            "volumes": [
                {"name": "old-index", "Size": 500, "tags": {"Name": "search-index-2024", **search}},
                {"name": "scratch", "Size": 100, "VolumeType": "gp2", "tags": {"Name": "scratch"}},
            ],
            "snapshots": [
                {"count": 10, "volumes": 2, "size": 120, "every": 30 * DAY, "newest": 40 * DAY, "tags": shop},
            ],
        }
    )
    away = sandbox.seed(
        {
            "region": AWAY,
            "instances": [{"name": "shop-eu", "tags": shop, "volume_tags": {"Name": "shop-eu-root", **shop}}],
            "volumes": [{"name": "import", "Size": 60, "tags": {"Name": "import-2025"}}],
        }
    )
    return {**names, **away}


def policies(volumes: dict[str, Any]) -> dict[str, Any]:
    """The variables of rotate_snapshots: a daily policy with locks, and one of the web server."""
    return {
        "rotate_snapshots_region": HOME,
        "rotate_snapshots_policies": [
            {
                "policy": "db-daily",
                "select": {"volume_ids": [volumes["db/data"], volumes["db/root"]]},
                "keep": {"daily": 14},
                "lock": {"mode": "governance", "duration": "14d"},
            },
            {"policy": "web-daily", "select": {"volume_ids": [volumes["web/root"]]}, "keep": {"daily": 7}},
        ],
    }


def report(sandbox: Sandbox, volumes: dict[str, Any]) -> dict[str, Any]:
    """The variables of storage_report. It shows the coming deletions of the same policies."""
    return {
        "storage_report_hosts": "places",
        "storage_report_dest": str(DEST),
        "storage_report_title": "Storage of the shop",
        "storage_report_aws": {"endpoint_url": sandbox.url},
        "storage_report_options": {"rpo_max": "24h"},
        "storage_report_policies": policies(volumes)["rotate_snapshots_policies"],
    }


def play(sandbox: Sandbox, folder: Path, playbook: str, variables: dict[str, Any], *, quiet: bool = False) -> None:
    """Run a playbook of the collection, and show its output unless it is to be quiet. Exits if it fails."""
    hosts = folder / "places.ini"
    hosts.write_text(
        "localhost ansible_connection=local\n[places]\n"
        f"virginia storage_report_region={HOME}\nfrankfurt storage_report_region={AWAY}\n",
        encoding="utf-8",
    )
    given = folder / f"{playbook}.json"
    given.write_text(json.dumps(variables), encoding="utf-8")
    command = ["ansible-playbook", f"ec2ops.storage.{playbook}", "-i", str(hosts), "-e", f"@{given}"]
    environment = {
        **os.environ,
        **{name: value for name, value in sandbox.environment().items() if not name.endswith("REGION")},
        "ANSIBLE_DISPLAY_OK_HOSTS": "false" if quiet else "true",
        "ANSIBLE_DISPLAY_SKIPPED_HOSTS": "false",
    }
    done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=quiet, text=True)
    if done.returncode:
        sys.exit(f"{playbook} has ended with {done.returncode}.\n{done.stdout or ''}")


if __name__ == "__main__":
    sys.exit(main())
