# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last snapshot of a volume, before the volume is deleted."""

from __future__ import annotations

import dataclasses

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prediction import overlay

from volume_plans import Case, check, declared, ok, plan_of, read
from volume_world import (
    ABSENT,
    ANEW,
    FINAL,
    LAST,
    STOPPED,
    SWAPPING,
    TAKING_OFF,
    WEB,
    Ec2,
    instance,
    root_of,
    snapshot,
    tags_of,
    vol,
    volume,
)


@pytest.mark.parametrize(
    "case",
    [
        ok("after the detach", [STOPPED, volume(1, WEB, name="data")], ABSENT, "DetachVolume vol-1 from i-1", *LAST),
        ok("detached already", [volume(1, name="data")], ABSENT, *LAST),
        ok(
            "none wanted",
            [volume(1)],
            [{**ABSENT[0], "volume_id": vol(1)}],
            "DeleteVolume vol-1",
            final_snapshot=False,
        ),
        ok("none wanted, and only tags say what it is", [volume(1, name="data")], ABSENT, *LAST, final_snapshot=False),
        ok("gone already", [snapshot(1, 1, tags=FINAL)], ABSENT),
        *(
            ok(
                f"found by its tag, {state}",
                [STOPPED, volume(1, name="data"), snapshot(1, 1, state, tags=FINAL)],
                ABSENT,
                *ANEW,
            )
            for state in ("pending", "completed")
        ),
        ok(
            "failed",
            [STOPPED, volume(1, name="data"), snapshot(1, 1, "error", tags=FINAL)],
            ABSENT,
            "DeleteSnapshot snap-1",
            *LAST,
        ),
        ok(
            "not the last one any more: it was attached since",
            [STOPPED, volume(1, WEB, name="data"), snapshot(1, 1, tags=FINAL)],
            ABSENT,
            "DeleteTags snap-1 final | DetachVolume vol-1 from i-1",
            *LAST,
        ),
        ok(
            "another volume's",
            [STOPPED, volume(1, name="data"), snapshot(1, 2, tags={"ec2ops:final": vol(2)})],
            ABSENT,
            *LAST,
        ),
        ok(
            "of what a swap has replaced: the swap's own",
            [STOPPED, volume(1, WEB, name="data")],
            [{"name": "data", "encrypted": True}],
            "CreateTags vol-1 was-at | DetachVolume vol-1 from i-1",
            *SWAPPING,
            "DeleteTags new swap of vol-1 swap | CreateTags vol-1 replaced-by | DeleteTags new i-1/data swap",
            "DeleteVolume vol-1",
            replace="snapshot",
            delete_replaced=True,
        ),
        ok(
            "of what a swap has replaced: none wanted",
            [STOPPED, volume(1, WEB, name="data")],
            [{"name": "data", "encrypted": True}],
            "CreateTags vol-1 was-at | DetachVolume vol-1 from i-1",
            *SWAPPING,
            "CreateTags vol-1 replaced-by | DeleteVolume vol-1 | DeleteSnapshot new swap of vol-1",
            "DeleteTags new i-1/data swap",
            replace="snapshot",
            delete_replaced=True,
            final_snapshot=False,
        ),
    ],
)
def test_final_snapshot_is_taken_unless_declined(case: Case) -> None:
    check(case)


def test_a_final_snapshot_carries_the_users_tags() -> None:
    ec2 = Ec2(STOPPED, volume(1, name="data", tags={"team": "a", "aws:x": "y"}))
    plan = plan_of(declared({"name": "data", "state": "absent", "tags": {"cost": "b"}}), ec2)
    (made,) = (change for change in plan.changes if change.action == "CreateSnapshot")
    assert made.parameters["VolumeId"] == vol(1)
    assert tags_of(made.parameters) == {"team": "a", "cost": "b", **FINAL}
    assert planner.FEATURE.result(declared(*ABSENT), overlay(read(declared(*ABSENT), ec2)[0], plan.published()))[
        "final_snapshots"
    ] == [{"volume_id": vol(1), "snapshot_id": made.resource}]


@pytest.mark.parametrize("first", ["absent", "swapped"])
@pytest.mark.parametrize("by_hand", [False, True], ids=["detached by a run", "detached by hand"])
def test_snapshot_of_a_killed_run_is_outdated_by_later_writes(first: str, by_hand: bool) -> None:
    """A run is killed after the snapshot.

    Then the volume is attached, written to and detached, so the snapshot is too old.
    """
    ec2 = Ec2(STOPPED, volume(1, WEB, name="data"))
    volumes, given = TAKING_OFF[first]
    killed = plan_of(declared(*volumes, **given), ec2)
    ec2.carry_out(killed, next(n for n, change in enumerate(killed.changes, 1) if change.action == "CreateSnapshot"))
    ec2.settle()
    ec2.carry_out(plan_of(declared({"name": "data"}), ec2))
    ec2.put(instance())
    ec2.write()
    ec2.put(STOPPED)
    if by_hand:
        ec2.put(dataclasses.replace(ec2.resources[vol(1)], attachments=(), state="available"))
    else:
        ec2.carry_out(plan_of(declared(*TAKING_OFF["detached"][0]), ec2))
    written = ec2.written[vol(1)]
    ec2.carry_out(plan_of(declared(*volumes, **given), ec2))
    others = [item for item in ec2.resources if item in ec2.written and item not in (vol(1), root_of(WEB))]
    assert written in [ec2.written[item] for item in others]


@pytest.mark.parametrize("first", ["absent", "swapped"])
def test_abandoned_pending_snapshot_is_not_the_last_one(first: str) -> None:
    """EC2 shows it until it is complete. Killed once more right after the detach, a run finds no trace of it."""
    ec2 = Ec2(STOPPED, volume(1, WEB, name="data"))
    volumes, given = TAKING_OFF[first]
    spec = declared(*volumes, **given)
    for last in ("CreateSnapshot", "DetachVolume"):
        plan = plan_of(spec, ec2)
        ec2.carry_out(plan, next(n for n, change in enumerate(plan.changes, 1) if change.action == last))
        if last == "CreateSnapshot":
            (given_up,) = ec2.snapshots()
            ec2.put(volume(1, WEB, name="data", tags=ec2.resources[vol(1)].tags))
            ec2.put(instance())
            ec2.write()
            ec2.put(STOPPED)
    assert given_up.snapshot_id in ec2.resources
    ec2.finish(vol(1))
    (made,) = (change for change in plan_of(spec, ec2).changes if change.action == "CreateSnapshot")
    assert made.parameters["VolumeId"] == vol(1)
