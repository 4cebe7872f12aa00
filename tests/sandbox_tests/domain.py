# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Helpers of the storage tests: a slow world whose clock they move, and the expectation of a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from sandbox.engine import World

#: Seconds that every transition takes, so long that no test sees one end by itself.
LONG = 1000.0
TRANSITIONS = (
    "volume_creating", "volume_attaching", "volume_detaching", "volume_deleting", "volume_modifying",
    "volume_optimizing",
    "snapshot_pending", "snapshot_copying", "snapshot_archiving", "snapshot_restoring", "fast_restore_enabling",
    "fast_restore_optimizing", "fast_restore_disabling",
    "image_registering", "image_snapshots", "image_pending", "image_copying", "image_usage_report",
    "instance_pending", "instance_stopping", "instance_shutting_down", "instance_rebooting", "status_ok",
    "root_task_pending", "root_task_replacing",
)  # fmt: skip


def make_slow(world: World) -> None:
    """Let every transition last LONG, and an instance write once in that time."""
    world.config.update({"durations": {**dict.fromkeys(TRANSITIONS, LONG), "write_tick": LONG}})


def make_instant(world: World) -> None:
    """Let every transition be over at once."""
    world.config.update({"durations": {**dict.fromkeys(TRANSITIONS, 0.0), "write_tick": LONG}})


def refused(code: str, call: Any, *args: Any, text: str = "", **kwargs: Any) -> str:
    """Make a call, require that it fails with the code and the text, and return the message."""
    with pytest.raises(ClientError) as caught:
        call(*args, **kwargs)
    error = caught.value.response["Error"]
    assert error["Code"] == code, error
    assert text in error["Message"], error
    return str(error["Message"])


def only(ec2: Any, snapshot_id: str) -> dict[str, Any]:
    """One snapshot as DescribeSnapshots shows it."""
    (row,) = ec2.describe_snapshots(SnapshotIds=[snapshot_id])["Snapshots"]
    return dict(row)


def texts(marks: list[dict[str, Any]]) -> list[str]:
    """The texts of marks, in order."""
    return [one["text"] for one in marks]
