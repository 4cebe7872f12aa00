# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of `image_rotate` on the sandbox, over versions that look as `ami_bake` makes them."""

from __future__ import annotations

from typing import Any

from ansible_collections.ec2ops.storage.plugins.modules import image_rotate

from in_process import REGION, Ended, run
from sandbox.client import Sandbox
from worlds import new_day

DAY = 86400.0
SOURCE = "i-0123456789abcdef0"
NEAR, VAULT = "eu-west-1", "444455556666"
STEPS = (True, False, True, False)
"""Check, run, check again, run again."""


def seeded(version: int, age: float, **row: Any) -> dict[str, Any]:
    """The row of a version that CreateImage made."""
    tags = {"ec2ops:image": "web", "ec2ops:version": str(version), **row.pop("tags", {})}
    return {
        "name": f"web-{version}",
        "age": age,
        "description": f"web {version} from {SOURCE}",
        "tags": tags,
        "snapshot_tags": tags,
        "snapshot_description": f"Created by CreateImage({SOURCE}) for {{image}}",
        **row,
    }


class Shelf:
    """Versions 1 to *number* of the image ``web``, one a day, the last one a day old. ``ids`` by version."""

    def __init__(self, sandbox: Sandbox, number: int = 5, **rows: Any) -> None:
        self.sandbox = new_day(sandbox)
        images = [seeded(one, (number - one + 1) * DAY, **rows.get(f"v{one}", {})) for one in range(1, number + 1)]
        names = sandbox.seed({"region": REGION, "images": images})
        self.ids = {one: str(names[f"web-{one}"]) for one in range(1, number + 1)}
        self.parts = {one: str(names[f"web-{one}/root"]) for one in range(1, number + 1)}
        self.sandbox.reset_log()

    def ec2(self, region: str = REGION, account: str | None = None) -> Any:
        return self.sandbox.client("ec2", region, account=account)

    def rotate(self, **given: Any) -> Ended:
        options = {"name": "web", "action": "deregister", "keep": {"last": 2}, **given}
        return run(self.sandbox, module=image_rotate, **options)

    def steps(self, **given: Any) -> list[Ended]:
        """Check, run, check again, run again: the plan is that of the run, and then nothing is left to do."""
        ended = [self.rotate(check=check, **given) for check in STEPS]
        assert [one.failed for one in ended] == [""] * 4
        check, done, again, last = ended
        assert check.result["plan"] == done.result["plan"]
        assert check.result["plan_hash"] == done.result["plan_hash"]
        assert (again.actions, last.actions, last.result["changed"]) == ([], [], False)
        return ended

    def images(self, region: str = REGION, account: str | None = None) -> dict[str, dict[str, Any]]:
        rows = self.ec2(region, account).describe_images(Owners=["self"], IncludeDisabled=True)["Images"]
        return {str(row["ImageId"]): row for row in rows}

    def snapshots(self, region: str = REGION, account: str | None = None) -> set[str]:
        rows = self.ec2(region, account).describe_snapshots(OwnerIds=["self"])["Snapshots"]
        return {str(row["SnapshotId"]) for row in rows}

    def versions(self, *numbers: int) -> list[str]:
        return [self.ids[number] for number in numbers]


def guard_of(ended: Ended, image_id: str) -> tuple[str, str]:
    """The guard that keeps an image, and its reason."""
    (entry,) = [one for one in ended.result["decisions"] if one["image_id"] == image_id]
    return entry["guard"], ", ".join(entry["reasons"])
