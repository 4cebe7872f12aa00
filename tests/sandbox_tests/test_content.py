# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which writes arrive: marks through snapshots, images and launches, and the gaps of an instance that was off."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from domain import LONG, make_instant, make_slow, texts

from sandbox.content import TICK, marks_of, ticks

if TYPE_CHECKING:
    from sandbox.client import Sandbox
    from sandbox.engine import World

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def seconds_of(start: float, end: float | None, until: float, jumps: list[tuple[float, float]]) -> list[float]:
    found = ticks(
        at(start),
        None if end is None else at(end),
        at(until),
        timedelta(seconds=1),
        [(at(before), at(after)) for before, after in jumps],
        "i-1",
    )
    return [(one.time - NOON).total_seconds() for one in found]


@pytest.mark.parametrize(
    "start, end, until, jumps, expected",
    [
        (0, None, 3, [], [0, 1, 2, 3]),
        (0, None, 2.5, [], [0, 1, 2]),
        (0.5, 3, 10, [], [0.5, 1.5, 2.5, 3]),
        (0, 3, 10, [], [0, 1, 2, 3]),
        (0, 3, 2, [], [0, 1, 2]),
        (5, None, 3, [], []),
        (0, None, 1003, [(2, 1002)], [0, 1, 2, 1002, 1003]),
        (0, None, 999, [(2, 1002)], [0, 1, 2]),
        (0, 500, 2000, [(2, 1002)], [0, 1, 2, 500]),
        (500, None, 1003, [(2, 1002)], [500, 1002, 1003]),
        (0, None, 302, [(1, 101), (101, 201), (201, 301)], [0, 1, 101, 201, 301, 302]),
    ],
)
def test_span_has_its_ticks(
    start: float, end: float | None, until: float, jumps: list[tuple[float, float]], expected: list[float]
) -> None:
    """One mark at the start, one per tick, one at the end; a jump of the clock is one mark."""
    assert seconds_of(start, end, until, jumps) == expected


def test_a_stopped_instance_writes_no_more_and_a_started_one_again(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed({"instance": {"name": "web", "data_volumes": 1}})
    ec2 = sandbox.client()
    ec2.stop_instances(InstanceIds=[ids["web"]])
    world.clock.move(LONG)
    for volume in ("web/root", "web/data1"):
        # The instance writes while it is stopping, and a last time when it is stopped.
        assert texts(sandbox.marks(ids[volume])["marks"])[-1] == "stop"
    before = sandbox.marks(ids["web/root"])["marks"]
    world.clock.move(LONG)
    assert sandbox.marks(ids["web/root"])["marks"] == before
    ec2.start_instances(InstanceIds=[ids["web"]])
    world.clock.move(LONG)
    content = sandbox.marks(ids["web"])
    assert texts(content["devices"]["/dev/xvda"])[-2:] == ["start", "tick"]
    # Off: while nothing was asked, and while it was pending.
    assert content["off_seconds"] == pytest.approx(2 * LONG, abs=10)
    assert [gap["seconds"] for gap in content["gaps"]] == [content["off_seconds"]]


def test_a_snapshot_taken_while_stopping_loses_writes(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed({"instance": {"name": "web"}})
    ec2 = sandbox.client()
    ec2.stop_instances(InstanceIds=[ids["web"]])
    early = ec2.create_snapshot(VolumeId=ids["web/root"])["SnapshotId"]
    world.clock.move(LONG)
    late = ec2.create_snapshot(VolumeId=ids["web/root"])["SnapshotId"]
    volume = sandbox.marks(ids["web/root"])["marks"]
    lost = sandbox.marks(early)["marks"]
    assert sandbox.marks(late)["marks"] == volume
    assert lost == volume[: len(lost)]
    assert texts(volume[len(lost) :]) == ["stop"]


def test_marks_are_carried_from_volume_to_snapshot_image_and_launch(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"instance": {"name": "web", "state": "stopped", "data_volumes": 1}})
    ec2 = sandbox.client()
    sandbox.add_mark(ids["web/root"], "before")
    sandbox.add_mark(ids["web/data1"], "data")
    image = ec2.create_image(InstanceId=ids["web"], Name="web-1")["ImageId"]
    sandbox.add_mark(ids["web/root"], "after")
    held = sandbox.marks(image)["devices"]
    assert set(held) == {"/dev/xvda", "/dev/sdf"}
    assert texts(held["/dev/xvda"])[-1] == "before"
    assert texts(held["/dev/sdf"])[-1] == "data"
    launched = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=1, MaxCount=1)["Instances"][0]
    content = sandbox.marks(launched["InstanceId"])["devices"]["/dev/xvda"]
    assert [one["text"] for one in content if not one["writer"]] == texts(held["/dev/xvda"])
    assert [one["text"] for one in content if one["writer"] == launched["InstanceId"]] == ["start"]


def test_copy_and_its_volume_have_the_marks_of_the_source(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"volume": {"name": "data"}})
    sandbox.add_mark(ids["data"], "one")
    source = sandbox.client().create_snapshot(VolumeId=ids["data"])["SnapshotId"]
    sandbox.add_mark(ids["data"], "two")
    west = sandbox.client(region="us-west-2")
    copy = west.copy_snapshot(SourceRegion="us-east-1", SourceSnapshotId=source)["SnapshotId"]
    volume = west.create_volume(AvailabilityZone="us-west-2a", SnapshotId=copy)["VolumeId"]
    sandbox.client().delete_snapshot(SnapshotId=source)
    sandbox.client().delete_volume(VolumeId=ids["data"])
    assert texts(sandbox.marks(copy)["marks"]) == texts(sandbox.marks(volume)["marks"]) == ["seeded", "one"]


def test_create_image_that_reboots_leaves_a_gap(world: World, sandbox: Sandbox) -> None:
    make_slow(world)
    ids = sandbox.seed({"instance": {"name": "web"}})
    ec2 = sandbox.client()
    ec2.create_image(InstanceId=ids["web"], Name="rebooting")
    assert ec2.describe_instances()["Reservations"][0]["Instances"][0]["State"]["Name"] == "running"
    world.clock.move(LONG * 2)
    ec2.create_image(InstanceId=ids["web"], Name="running-on", NoReboot=True)
    world.clock.move(LONG * 2)
    assert sandbox.marks(ids["web"])["off_seconds"] == pytest.approx(LONG)


def test_a_jump_of_days_is_one_mark_and_a_detached_volume_is_not_written(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"instance": {"name": "web", "data_volumes": 1}})
    before = len(sandbox.marks(ids["web/root"])["marks"])
    world.clock.move(30 * 86400)
    marks = sandbox.marks(ids["web/root"])["marks"]
    assert texts(marks[before:]) == [TICK]
    sandbox.client().detach_volume(VolumeId=ids["web/data1"])
    frozen = sandbox.marks(ids["web/data1"])["marks"]
    assert texts(frozen)[-1] == "stop"
    world.clock.move(86400)
    assert sandbox.marks(ids["web/data1"])["marks"] == frozen


def test_terminated_instance_still_shows_its_writes(world: World, sandbox: Sandbox) -> None:
    make_instant(world)
    ids = sandbox.seed({"instance": {"name": "web"}})
    sandbox.client().terminate_instances(InstanceIds=[ids["web"]])
    assert texts(sandbox.marks(ids["web"])["devices"]["/dev/xvda"])[-1] == "stop"


@pytest.mark.parametrize("wrong", ["vol-0123456789abcdef0", "nonsense"])
def test_unknown_ids_are_named(world: World, wrong: str) -> None:
    with pytest.raises(KeyError, match=wrong):
        marks_of(world, wrong)


def test_marks_are_added_only_to_living_volumes(world: World, sandbox: Sandbox) -> None:
    from sandbox.content import add_mark

    make_instant(world)
    ids: dict[str, Any] = sandbox.seed({"volume": {"name": "data"}, "image": {}})
    sandbox.client().delete_volume(VolumeId=ids["data"])
    for wrong in (ids["data"], ids["base"]):
        with pytest.raises(ValueError, match=wrong):
            add_mark(world, wrong, "x")
