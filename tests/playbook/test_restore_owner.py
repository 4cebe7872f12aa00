# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role restore takes no snapshot of another account, not even a public one."""

from __future__ import annotations

from playbook.support import REGION
from playbook.test_restore import RESULT, restore
from sandbox.client import Sandbox

STRANGER = "999988887777"


def test_newer_public_snapshot_of_another_account_is_not_restored(sandbox: Sandbox) -> None:
    volume = sandbox.seed({"region": REGION, "volume": {"name": "data"}})["data"]
    own = {"name": "own", "volume": volume, "age": 3600, "description": "p: {volume}"}
    ours = sandbox.seed({"region": REGION, "snapshots": own})["own"]
    public = {"name": "theirs", "volumes": [volume], "times": [60], "shared_with": ["all"]}
    sandbox.seed({"region": REGION, "account": STRANGER, "snapshots": public})
    run = restore(sandbox, check=True, source_volume_ids=[volume], zone=f"{REGION}a")
    assert run.status == 0, run.output
    assert [one["snapshot_id"] for one in run.fact(RESULT)["volumes"]] == [ours]
