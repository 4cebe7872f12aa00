# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of `snapshot_rotate` with copies on the sandbox, in other regions and accounts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

from in_process import REGION
from rotation_runs import of_policy, past, tags_of
from sandbox.client import Sandbox

ELSEWHERE, VAULT = "eu-west-1", "444455556666"
SHARED_WITH = "ec2ops:shared-with"


class Scene:
    """Volumes, and the policy's snapshots of the days before."""

    def __init__(self, sandbox: Sandbox, days: int = 3, *names: str) -> None:
        self.sandbox = sandbox
        several = names or ("data", "log")
        made = sandbox.seed({"volumes": [{"name": name, "tags": {"backup": "daily"}} for name in several]})
        self.volumes = [made[name] for name in several]
        self.past = past(sandbox, self.volumes, days)
        sandbox.reset_log()

    def options(self, *copies: Mapping[str, Any], **given: Any) -> dict[str, Any]:
        places = [dict(copy) for copy in copies or ({"region": ELSEWHERE, "keep": {"daily": 2}, "wait": True},)]
        return {"select": {"tags": {"backup": "daily"}}, "keep": {"daily": 3}, "copies": places, **given}

    def copies(self, region: str = ELSEWHERE, account: str | None = None) -> dict[str, dict[str, Any]]:
        """The policy's snapshots there by id, their tags as a dictionary under ``tags``."""
        ec2 = self.sandbox.client(region=region, account=account)
        rows = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
        found = {row["SnapshotId"]: {**row, "tags": tags_of(row)} for row in rows}
        return {name: row for name, row in found.items() if row["tags"].get("ec2ops:policy") == "p"}

    def slots(self, rows: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
        """(volume, how many days ago) of each, sorted."""
        today = self.sandbox.now().date()
        names = dict(zip(self.volumes, ("data", "log"), strict=False))
        return sorted((names[row["tags"]["ec2ops:source"]], str((today - taken_on(row)).days)) for row in rows.values())

    def shared(self) -> dict[str, list[str]]:
        """The accounts by shared snapshot of this region."""
        ec2 = self.sandbox.client(region=REGION)
        found = {}
        for name in of_policy(self.sandbox):
            answer = ec2.describe_snapshot_attribute(SnapshotId=name, Attribute="createVolumePermission")
            if answer["CreateVolumePermissions"]:
                found[name] = [one["UserId"] for one in answer["CreateVolumePermissions"]]
        return found

    def assert_returned(self) -> None:
        """No snapshot is shared, and no tag records a sharing."""
        assert self.shared() == {}
        assert not [name for name, row in of_policy(self.sandbox).items() if SHARED_WITH in row["tags"]]


def taken_on(row: Mapping[str, Any]) -> date:
    return datetime.fromisoformat(row["tags"]["ec2ops:period"]).date()


def vault(**more: Any) -> dict[str, Any]:
    return {"region": REGION, "profile": VAULT, "keep": {"daily": 1}, "wait": True, **more}
