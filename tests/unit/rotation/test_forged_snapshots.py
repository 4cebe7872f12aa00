# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`snapshot_rotate` and `restore` where somebody has forged, altered or removed the tags of snapshots and copies."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.restore.points import Recovery, Wanted, recover
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Snapshot

from copy_runs import ELSEWHERE, VAULT, Scene
from in_process import REGION
from rotation_runs import DAY, deletes, of_policy, ok, rotate
from sandbox.client import Sandbox
from worlds import new_day, sandbox_gateway

ABSURD = ("", "?", "2026-19-39T99:99+00:00", "9999-12-31T23:59+00:00", "9" * 250, "i-1/", "²", "\u202e1", "a/b/c", "-")
"""Values that no run writes."""


@pytest.fixture
def sandbox(quick_sandbox: Sandbox) -> Sandbox:
    return new_day(quick_sandbox, snapshot_pending=1.0, snapshot_copying=1.0)


def today(sandbox: Sandbox) -> str:
    return f"{sandbox.now():%Y-%m-%d}T00:00+00:00"


def junk(sandbox: Sandbox, tags: Mapping[str, str], count: int = 1, **row: Any) -> list[str]:
    """New snapshots of a volume that nobody backs up, with these tags."""
    names = sandbox.seed({"volumes": [{"name": "junk"}]})
    rows = [
        {"name": f"junk {number}", "volume": names["junk"], "age": 3 + number, "tags": dict(tags), **row}
        for number in range(count)
    ]
    made = sandbox.seed({"snapshots": rows})
    return [made[f"junk {number}"] for number in range(count)]


# --- a policy's own snapshots -----------------------------------------------------------------------------------------


def test_tagged_snapshots_of_a_junk_volume_displace_no_backup(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 3, "data")
    forged = junk(
        sandbox,
        {"ec2ops:policy": "p", "ec2ops:source": scene.volumes[0], "ec2ops:period": today(sandbox)},
        count=3,
    )
    ran = ok(rotate(sandbox, select={"tags": {"backup": "daily"}}, keep={"last": 3}))
    assert len(ran.result["created"]) == 1
    assert deletes(sandbox) == [scene.past[-1]]
    (point,) = [point for point in ran.result["rpo"] if point["source"] == scene.volumes[0]]
    assert point["snapshot_ids"] == ran.result["created"]
    assert not set(forged) & set(deletes(sandbox))
    (warning,) = [text for text in ran.warnings if "ec2ops:policy" in text]
    assert all(name in warning for name in forged)


def test_foreign_snapshot_with_the_policys_tag_is_not_deleted(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 1, "data")
    foreign = sandbox.seed(
        {
            "snapshots": [
                {"name": "f", "volume": scene.volumes[0], "age": 90 * DAY, "description": "before the upgrade",
                 "tags": {"ec2ops:policy": "p"}},
            ]
        }
    )["f"]  # fmt: skip
    ran = ok(rotate(sandbox, select={"tags": {"backup": "daily"}}, keep={"last": 1}))
    assert deletes(sandbox) == scene.past
    assert any(foreign in text for text in ran.warnings)


@pytest.mark.parametrize("days", [-400, -1, 1, 400], ids=str)
def test_period_of_another_slot_moves_no_snapshot(sandbox: Sandbox, days: int) -> None:
    scene = Scene(sandbox, 3, "data")
    ec2 = sandbox.client("ec2", REGION)
    for number, name in enumerate(scene.past, 1):
        period = sandbox.now().replace(hour=0, minute=0) + (days - number) * timedelta(days=1)
        ec2.create_tags(Resources=[name], Tags=[{"Key": "ec2ops:period", "Value": f"{period:%Y-%m-%d}T00:00+00:00"}])
    given = {"select": {"tags": {"backup": "daily"}}, "keep": {"daily": 4}}
    ran = ok(rotate(sandbox, **given))
    assert (len(ran.result["created"]), deletes(sandbox)) == (1, [])


def test_old_snapshot_with_todays_period_does_not_fill_the_slot(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 2, "data")
    sandbox.client("ec2", REGION).create_tags(
        Resources=[scene.past[0]], Tags=[{"Key": "ec2ops:period", "Value": today(sandbox)}]
    )
    ran = ok(rotate(sandbox, select={"tags": {"backup": "daily"}}, keep={"daily": 9}))
    assert len(ran.result["created"]) == 1


KEYS = ("period", "source", "set", "parts", "origin", "lock", "shared-with", "adopted-by", "copy-of", "taken")


@pytest.mark.parametrize("value", ABSURD, ids=range(len(ABSURD)))
def test_absurd_values_on_honest_snapshots_end_no_run_and_lose_nothing(sandbox: Sandbox, value: str) -> None:
    scene = Scene(sandbox, 3, "data")
    sandbox.client("ec2", REGION).create_tags(
        Resources=scene.past, Tags=[{"Key": f"ec2ops:{key}", "Value": value} for key in KEYS]
    )
    lock = {"mode": "governance", "duration": "1d"}
    ran = ok(rotate(sandbox, alone=False, **scene.options(keep={"daily": 4}, lock=lock)))
    assert deletes(sandbox) == []
    assert len(ran.result["created"]) == 1


# --- copies -----------------------------------------------------------------------------------------------------------


def forged_copies(scene: Scene, **tags: str) -> list[str]:
    """In the other region, copies of other snapshots that claim to be copies of the policy's."""
    rows = [
        {
            "name": f"forged {number}",
            "copied": True,
            "volumes": list(scene.volumes),
            "times": [2],
            "tags": {
                "ec2ops:policy": "p",
                "ec2ops:source": scene.volumes[0],
                "ec2ops:copy-of": f"{REGION}/{name}",
                "ec2ops:period": f"{scene.sandbox.now() - number * timedelta(days=1):%Y-%m-%d}T00:00+00:00",
                **tags,
            },
        }
        for number, name in enumerate(scene.past, 1)
    ]
    made = scene.sandbox.seed({"region": ELSEWHERE, "snapshots": rows})
    return [one for number, _name in enumerate(scene.past, 1) for one in made[f"forged {number}"]]


def test_forged_copies_do_not_stand_for_the_real_ones(sandbox: Sandbox) -> None:
    scene = Scene(sandbox, 2, "data")
    forged = forged_copies(scene)
    ran = ok(rotate(sandbox, **scene.options()))
    made = set(scene.copies()) - set(forged)
    assert scene.slots({name: scene.copies()[name] for name in made}) == [("data", "0"), ("data", "1")]
    (point,) = ran.result["rpo"]
    assert set(point["copies"][0]["snapshot_ids"]) <= made
    assert not set(forged) & set(deletes(sandbox))
    assert any(all(name in text for name in forged) for text in ran.warnings)


@pytest.mark.parametrize("value", ["2026-19-39T99:99:99.000Z", "2999-01-01T00:00:00.000Z", *ABSURD], ids=str)
@pytest.mark.parametrize("key", ["taken", "period", "set", "parts"])
def test_absurd_value_on_a_copy_ends_no_run(sandbox: Sandbox, key: str, value: str) -> None:
    scene = Scene(sandbox, 1, "data")
    given = scene.options()
    ok(rotate(sandbox, **given))
    copies = sorted(scene.copies())
    sandbox.client("ec2", ELSEWHERE).create_tags(Resources=copies, Tags=[{"Key": f"ec2ops:{key}", "Value": value}])
    sandbox.reset_log()
    sandbox.move_clock(DAY)
    ran = ok(rotate(sandbox, **given))
    assert len(ran.result["created"]) == 1
    # The originals exist and show their times, so only yesterday's and today's stay.
    originals = sorted(of_policy(sandbox).values(), key=lambda item: item["StartTime"], reverse=True)
    claims = {item["tags"]["ec2ops:copy-of"].rpartition("/")[2] for item in scene.copies().values()}
    assert claims == {item["SnapshotId"] for item in originals[:2]}


# --- lending ----------------------------------------------------------------------------------------------------------


class Refused:
    """A gateway whose CopySnapshot EC2 refuses."""

    def __init__(self, gateway: Any) -> None:
        self._gateway = gateway

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def perform(self, changes: Any, generation: int = 0) -> Mapping[str, str]:
        if changes[0].action == "CopySnapshot":
            raise CallError("CopySnapshot", "UnauthorizedOperation", "No.", resource=changes[0].resource)
        answer: Mapping[str, str] = self._gateway.perform(changes, generation)
        return answer


@pytest.mark.parametrize("wait", [True, False])
def test_refused_copy_leaves_no_original_shared(sandbox: Sandbox, wait: bool) -> None:
    scene = Scene(sandbox, 2, "data")
    given = scene.options({"region": ELSEWHERE, "profile": VAULT, "keep": {"daily": 2}, "wait": wait})
    gateway = Refused(sandbox_gateway(sandbox, REGION))
    ended = rotate(sandbox, gateway=gateway, alone=False, **given)
    assert "CopySnapshot" in ended.failed
    assert sandbox.log(action="ModifySnapshotAttribute")
    scene.assert_returned()


@pytest.mark.parametrize("value", ["everybody", "12345678901", "²" * 12, "all 1234567890123"])
def test_only_twelve_digits_are_an_account(sandbox: Sandbox, value: str) -> None:
    scene = Scene(sandbox, 1, "data")
    sandbox.client("ec2", REGION).create_tags(
        Resources=scene.past, Tags=[{"Key": "ec2ops:shared-with", "Value": value}]
    )
    ran = ok(rotate(sandbox, **scene.options({"region": ELSEWHERE, "profile": VAULT, "keep": {"daily": 2}})))
    assert [entry["action"] for entry in ran.result["plan"]].count("CopySnapshot") == 2
    assert not [entry for entry in sandbox.log(action="ModifySnapshotAttribute") if entry["outcome"] != "ok"]


# --- restore ----------------------------------------------------------------------------------------------------------

V1, V2 = "vol-00000000000000001", "vol-00000000000000002"


def row(name: str, volume: str = V1, hour: int = 1, **more: Any) -> Snapshot:
    """A completed snapshot of the day."""
    given = {
        "volume_id": volume,
        "volume_size": 8,
        "start_time": datetime(2026, 11, 24, hour, tzinfo=UTC),
        "description": f"p: {volume}",
        **more,
    }
    return Snapshot(f"snap-{name * 17}"[:22], **given)


def recovered(*snapshots: Snapshot) -> Recovery:
    return recover(snapshots, Wanted(volume_ids=(V1,)))


def chosen(found: Recovery) -> list[str]:
    return [point.snapshot.snapshot_id for point in found.points]


def claims(original: str = "snap-00000000000000009") -> dict[str, str]:
    return {
        "ec2ops:source": V1,
        "ec2ops:copy-of": f"us-east-1/{original}",
        "ec2ops:taken": "2999-01-01T00:00:00.000Z",
        "ec2ops:policy": "p",
    }


def test_restore_takes_no_snapshot_of_another_volume() -> None:
    good = row("a")
    forged = row("b", V2, hour=9, tags=claims())
    found = recovered(good, forged)
    assert chosen(found) == [good.snapshot_id]


def test_restore_takes_no_forged_copy_before_a_backup() -> None:
    good = row("a")
    forged = row("b", "vol-ffffffff", hour=9, tags=claims(), description="")
    found = recovered(good, forged)
    assert chosen(found) == [good.snapshot_id]
    assert forged.snapshot_id in found.notes[0]


def test_restore_from_an_unproven_copy_alone_warns_and_names_it() -> None:
    forged = row("b", "vol-ffffffff", hour=9, tags=claims(), description="")
    found = recovered(forged)
    (point,) = found.points
    assert (point.snapshot, point.moment) == (forged, forged.start_time)
    assert any(forged.snapshot_id in note for note in found.notes)


@pytest.mark.parametrize("value", ABSURD, ids=range(len(ABSURD)))
def test_absurd_values_end_no_restore(value: str) -> None:
    tags = {f"ec2ops:{key}": value for key in KEYS}
    good, copy = row("a", tags=tags), row("b", "vol-ffffffff", tags=tags)
    found = recovered(good, copy)
    assert chosen(found) == [good.snapshot_id]


@pytest.mark.parametrize(
    "origin",
    [
        "gp3 8 " + "9" * 200 + " 125 us-east-1a i-1 /dev/sdf",
        "io2 8 99999 - us-east-1a i-1 /dev/sdf",
        "gp3 8 3000 9999 us-east-1a i-1 /dev/sdf",
        "st1 8 - - us-east-1a i-1 /dev/sdf",
        "gp3 8 3000 125 us-east-1a i-1 /dev/null;reboot",
        "gp9 8 3000 125 us-east-1a i-1 /dev/sdf",
    ],
)
def test_origin_that_ec2_would_refuse_counts_as_none(origin: str) -> None:
    found = recovered(row("a", tags={"ec2ops:origin": origin}))
    (point,) = found.points
    assert point.volume_type in ("gp3", "io2")
    assert (point.iops or 3000) <= 16000
    assert point.recorded_device in (None, "/dev/sdf")
    assert bool(found.notes) == ("/dev/sdf" in origin)
