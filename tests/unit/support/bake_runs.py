# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of `ami_bake` with copies on the sandbox, in several regions and accounts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.ec2ops.storage.plugins.modules import ami_bake

from in_process import REGION, Ended, machine, run
from sandbox.client import Sandbox
from worlds import new_day

NEAR, FAR, VAULT, PARTNER = "eu-west-1", "eu-west-2", "444455556666", "111122223333"
STEPS = (True, False, True, False)
"""Check, run, check again, run again."""


class Line:
    """The image line ``web`` of a running instance."""

    def __init__(self, sandbox: Sandbox, **row: Any) -> None:
        self.sandbox = sandbox
        self.web = machine(sandbox, **row)

    def ec2(self, region: str = REGION, account: str | None = None) -> Any:
        return self.sandbox.client("ec2", region, account=account)

    def bake(self, **given: Any) -> Ended:
        options = {"source_instance_id": self.web.instance_id, "require_stopped": False, **given}
        return run(self.sandbox, module=ami_bake, **{"name": "web", "version": "1", **options})

    def remove(self, **given: Any) -> Ended:
        return run(self.sandbox, module=ami_bake, **{"name": "web", "version": "1", "state": "absent", **given})

    def steps(self, **given: Any) -> list[Ended]:
        """Check, run, check again, run again: the plan is that of the run, and then nothing is left to do."""
        ended = [self.bake(check=check, **given) for check in STEPS]
        assert [one.failed for one in ended] == [""] * 4
        check, done, again, last = ended
        assert check.result["plan"] == done.result["plan"]
        assert (again.actions, last.actions, last.result["changed"]) == ([], [], False)
        return ended

    def images(self, region: str = REGION, account: str | None = None) -> list[dict[str, Any]]:
        """The account's registered images of the line, with their tags as a dictionary."""
        filters = [{"Name": "tag:ec2ops:image", "Values": ["web"]}]
        rows = self.ec2(region, account).describe_images(Owners=["self"], Filters=filters)["Images"]
        return [{**row, "tags": tags_of(row)} for row in rows]

    def image(self, region: str = REGION, account: str | None = None) -> dict[str, Any]:
        (row,) = self.images(region, account)
        return row

    def snapshots(self, region: str = REGION, account: str | None = None) -> list[dict[str, Any]]:
        filters = [{"Name": "tag:ec2ops:image", "Values": ["web"]}]
        rows = self.ec2(region, account).describe_snapshots(OwnerIds=["self"], Filters=filters)["Snapshots"]
        return [{**row, "tags": tags_of(row)} for row in rows]

    def shared_with(self, image_id: str, region: str = REGION, account: str | None = None) -> list[str]:
        answer = self.ec2(region, account).describe_image_attribute(ImageId=image_id, Attribute="launchPermission")
        return sorted(str(next(iter(one.values()))) for one in answer["LaunchPermissions"])

    def volumes_for(self, snapshot_id: str, region: str = REGION, account: str | None = None) -> list[str]:
        """The accounts that may create volumes from a snapshot."""
        answer = self.ec2(region, account).describe_snapshot_attribute(
            SnapshotId=snapshot_id, Attribute="createVolumePermission"
        )
        return sorted(str(next(iter(one.values()))) for one in answer["CreateVolumePermissions"])

    def parameter(self, name: str, region: str = REGION, account: str | None = None) -> str | None:
        ssm = self.sandbox.client("ssm", region, account=account)
        found = ssm.get_parameters(Names=[name])["Parameters"]
        return str(found[0]["Value"]) if found else None


def new_line(sandbox: Sandbox) -> Line:
    """The line on an empty sandbox, in which every change takes a second."""
    seconds = dict.fromkeys(("snapshot_pending", "snapshot_copying", "image_copying", "parameter_validation"), 1.0)
    return Line(new_day(sandbox, **seconds))


def tags_of(row: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in row.get("Tags", [])}


def by_region(ended: Ended) -> dict[str, dict[str, Any]]:
    """The rows of the result, by region, those of another account by region and account."""
    rows = ended.result["regions"]
    return {f"{row['region']}{'/' + row['profile'] if row['profile'] else ''}": row for row in rows}
