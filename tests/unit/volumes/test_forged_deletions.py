# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes that only tags give up for deletion: a run deletes none of them without a completed final snapshot."""

from __future__ import annotations

from typing import Any

import pytest

from forged_volumes import (
    DATA,
    attach,
    detach,
    killed_after,
    strangers_volume,
    swapped,
    tag,
    take_off,
    taken,
    untag,
    web_with_data,
)
from in_process import Machine, run, snapshots, texts, volumes
from sandbox.client import Sandbox

DAY = 86400


def is_saved(sandbox: Sandbox, volume_id: str, before: set[str]) -> bool:
    """Return whether the volume is there, or a completed snapshot of it that is not in *before*."""
    made = [
        row
        for snapshot_id, row in snapshots(sandbox).items()
        if snapshot_id not in before and row["VolumeId"] == volume_id and row["State"] == "completed"
    ]
    return volume_id in volumes(sandbox) or bool(made)


def swapped_by_an_earlier_run(sandbox: Sandbox, web: Machine, real: str, words: str, *tags: str) -> str:
    """Return the copy of a finished swap whose snapshot EC2 still shows, with *words* in its Description."""
    detach(web, real)
    kept = web.ec2.create_snapshot(
        VolumeId=real,
        Description=f"{web.instance_id} data: {words} of {real}",
        TagSpecifications=[
            {"ResourceType": "snapshot", "Tags": [{"Key": f"ec2ops:{key}", "Value": real} for key in tags]}
        ],
    )["SnapshotId"]
    web.ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[kept], WaiterConfig={"Delay": 0.05})
    copy = strangers_volume(sandbox, kept)
    attach(web, copy)
    tag(sandbox, copy, spec=web.instance_id, volume="data", replaces=real, swap=real)
    assert run(sandbox, instance_ids=[web.instance_id], volumes=[{"name": "data", "device_name": DATA}]).failed == ""
    return copy


@pytest.mark.parametrize("state", ["detached", "absent"])
@pytest.mark.parametrize(
    ("words", "tags"), [("swap snapshot", ("swap",)), ("final swap snapshot", ("swap", "final"))], ids=["swap", "final"]
)
def test_copy_that_has_served_is_not_deleted_as_a_leftover(
    sandbox: Sandbox, words: str, tags: tuple[str, ...], state: str
) -> None:
    web, real = web_with_data(sandbox)
    copy = swapped_by_an_earlier_run(sandbox, web, real, words, *tags)
    sandbox.move_clock(3 * DAY)
    sandbox.add_mark(copy, "written by the copy")
    take_off(web, copy)
    untag(sandbox, real, "replaced-by")
    tag(sandbox, real, spec=web.instance_id, volume="data")
    tag(sandbox, copy, swap=real)
    before = set(snapshots(sandbox))
    ended = run(sandbox, instance_ids=[web.instance_id], volumes=[{"name": "data", "state": state}])
    assert ended.failed == ""
    assert is_saved(sandbox, copy, before)
    assert is_saved(sandbox, real, before)


@pytest.mark.parametrize("nth", range(1, 14))
def test_copy_that_served_after_a_killed_swap_is_saved(sandbox: Sandbox, nth: int) -> None:
    web, real = web_with_data(sandbox)
    killed_after(sandbox, nth, **swapped(web, in_use="stop"))
    there = web.attached().get(DATA)
    if there in (None, real):
        return
    sandbox.add_mark(there, "written by the copy")
    sandbox.move_clock(5 * DAY)
    detach(web, there)
    before = set(snapshots(sandbox))
    ended = run(sandbox, instance_ids=[web.instance_id], volumes=[{"name": "data", "state": "detached"}])
    # After some kills the tags of both volumes are the same, and the run asks the user to choose.
    assert ended.failed == "" or there in ended.failed
    assert is_saved(sandbox, there, before)
    saved = [item for item, row in snapshots(sandbox).items() if item not in before and row["VolumeId"] == there]
    assert there in volumes(sandbox) or any("written by the copy" in text for text in texts(sandbox, saved[0]))


@pytest.mark.parametrize("forged", [False, True])
def test_replaced_volume_that_was_kept_is_not_deleted_without_a_final_snapshot(sandbox: Sandbox, forged: bool) -> None:
    web, real = web_with_data(sandbox)
    swapped_by_an_earlier_run(sandbox, web, real, "final swap snapshot", "swap", "final")
    sandbox.move_clock(3 * DAY)
    sandbox.add_mark(real, "written later")
    if forged:
        tag(sandbox, real, spec=web.instance_id, volume="data")
    before = set(snapshots(sandbox))
    ended = run(
        sandbox,
        instance_ids=[web.instance_id],
        volumes=[{"name": "data", "device_name": DATA}],
        delete_replaced=True,
        final_snapshot=False,
        replace="snapshot",
    )
    assert ended.failed == ""
    assert is_saved(sandbox, real, before)
    assert forged or real in volumes(sandbox)


@pytest.mark.parametrize("forged", [False, True])
def test_strangers_volume_at_the_device_of_an_absent_entry_is_saved(sandbox: Sandbox, forged: bool) -> None:
    web, real = web_with_data(sandbox)
    entry: dict[str, Any] = {"name": "data", "device_name": DATA, "state": "absent"}
    gone = {"instance_ids": [web.instance_id], "in_use": "detach", "final_snapshot": False, "volumes": [entry]}
    assert run(sandbox, **{**gone, "volumes": [{**entry, "volume_id": real}]}).failed == ""
    assert real not in volumes(sandbox)
    theirs = strangers_volume(sandbox)
    attach(web, theirs)
    if forged:
        tag(sandbox, theirs, spec=web.instance_id, volume="data")
    before = set(snapshots(sandbox))
    run(sandbox, **gone)
    assert is_saved(sandbox, theirs, before)
    assert forged or theirs in volumes(sandbox)


@pytest.mark.parametrize("forged", [False, True])
def test_strangers_volume_from_the_entrys_snapshot_is_saved(sandbox: Sandbox, forged: bool) -> None:
    web, real = web_with_data(sandbox)
    seed = taken(sandbox, real)
    theirs = strangers_volume(sandbox, seed)
    sandbox.add_mark(theirs, "another server's data")
    if forged:
        tag(sandbox, theirs, spec=web.instance_id, volume="seed")
    before = set(snapshots(sandbox))
    entry = {"name": "seed", "snapshot_id": seed, "state": "absent"}
    run(sandbox, instance_ids=[web.instance_id], final_snapshot=False, volumes=[entry])
    assert is_saved(sandbox, theirs, before)
    assert forged or theirs in volumes(sandbox)
