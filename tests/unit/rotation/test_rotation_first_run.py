# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`snapshot_rotate` on its first run: snapshots that the policy no longer retains, since its task was changed."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import snapshot_rotate

from in_process import Ended, run
from sandbox.client import Sandbox

OLD = {"ec2ops:policy": "old", "ec2ops:source": "{volume}"}


def backed_up(sandbox: Sandbox, tags: dict[str, str]) -> str:
    """A volume with four snapshots that have these tags."""
    names = sandbox.seed({"volume": {"name": "v"}, "snapshots": {"count": 4, "volumes": ["v"], "tags": tags}})
    sandbox.reset_log()
    return str(names["v"])


def rotated(sandbox: Sandbox, volume_id: str, *, check: bool = False, **given: Any) -> Ended:
    options = {"policy": "new", "select": {"volume_ids": [volume_id]}, "keep": {"last": 1}, **given}
    ended = run(sandbox, module=snapshot_rotate, check=check, alone=False, **options)
    assert ended.failed == ""
    return ended


def describes(ended: Ended) -> int:
    return int(ended.result["api_calls"].get("DescribeSnapshots", 0))


@pytest.mark.parametrize("check", [True, False])
def test_policy_that_was_renamed_is_named_on_the_first_run(sandbox: Sandbox, check: bool) -> None:
    volume_id = backed_up(sandbox, OLD)
    ended = rotated(sandbox, volume_id, check=check)
    (warning,) = ended.warnings
    assert all(part in warning for part in ("old has 4 of", volume_id, "renamed"))
    assert ended.result["deleted"] == []


def test_later_runs_ask_no_query_about_a_renamed_policy(sandbox: Sandbox) -> None:
    volume_id = backed_up(sandbox, OLD)
    assert describes(rotated(sandbox, volume_id, check=True)) == 2
    rotated(sandbox, volume_id)
    assert describes(rotated(sandbox, volume_id, check=True)) == 1
    sandbox.move_clock(86400)
    next_day = rotated(sandbox, volume_id, check=True, keep={"last": 5})
    assert next_day.warnings == []
    assert describes(next_day) == 1


def test_first_run_on_a_volume_without_snapshots_warns_of_nothing(sandbox: Sandbox) -> None:
    volume_id = str(sandbox.seed({"volume": {"name": "v"}})["v"])
    assert rotated(sandbox, volume_id).warnings == []


def test_snapshots_of_others_are_not_touched_for_being_read(sandbox: Sandbox) -> None:
    volume_id = backed_up(sandbox, OLD)
    ended = rotated(sandbox, volume_id, max_delete_percent=100)
    assert ended.actions == ["CreateSnapshot"]


def test_claims_of_an_adoption_that_was_removed_are_named(sandbox: Sandbox) -> None:
    volume_id = backed_up(sandbox, {"made": "script"})
    adopting: dict[str, Any] = {"adopt": {"tags": {"made": "script"}}, "create": "never", "keep": {"last": 4}}
    assert len(rotated(sandbox, volume_id, **adopting).actions) == 4
    ended = rotated(sandbox, volume_id, create="never")
    (warning,) = ended.warnings
    assert all(part in warning for part in ("adopt", "4 snapshots", volume_id, "ec2ops:adopted-by"))
    assert ended.result["plan"] == []
    assert rotated(sandbox, volume_id, **adopting).warnings == []
