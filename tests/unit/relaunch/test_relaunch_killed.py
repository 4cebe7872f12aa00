# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Relaunches that move every kind of part, killed or refused at each call: the next run leaves the same world."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from in_process import RefusingGateway
from relaunch_ec2 import OLD, killed, relaunch, service, world

BEFORE = {
    "states": {"old": "running"},
    "tags": {"old": []},
    "checks": {"old": False},
    "volumes": [("old", "/dev/sdf", True, True), ("old", "/dev/xvda", False, True)],
    "loose volumes": [],
    "interfaces": [("old", 0, False, True), ("old", 1, True, True)],
    "addresses": {"1": "old", "2": "old"},
    "targets": ["old"],
    "ip targets": ["old", "second"],
    "classic": ["old"],
    "old data": (1, 2, 3),
}
MOVED = {
    "states": {"old": "stopped", "new": "running"},
    "tags": {"old": [], "new": ["ec2ops:replaces", "ec2ops:trial"]},
    "checks": {"old": False, "new": False},
    "volumes": [("new", "/dev/sdf", True, True), ("new", "/dev/xvda", False, True), ("old", "/dev/xvda", False, True)],
    "loose volumes": [],
    "interfaces": [("new", 0, False, True), ("new", 1, True, True), ("old", 0, False, True)],
    "addresses": {"1": "new", "2": "new"},
    "targets": ["new"],
    "ip targets": ["new", "second"],
    "classic": ["new"],
    "old data": (1, 2, 3),
}


def gone() -> dict[str, Any]:
    """The world of a predecessor that was terminated at the end. Its volume and its first interface ended with it."""
    return {
        **MOVED,
        "states": {"new": "running"},
        "tags": {"new": MOVED["tags"]["new"]},  # type: ignore[index]
        "checks": {"new": False},
        "volumes": [row for row in MOVED["volumes"] if row[0] == "new"],  # type: ignore[union-attr]
        "interfaces": [row for row in MOVED["interfaces"] if row[0] == "new"],  # type: ignore[union-attr]
    }


def test_every_part_moves_and_the_second_run_changes_nothing() -> None:
    ec2 = service()
    assert world(ec2) == BEFORE
    planned = relaunch(ec2, check=True)
    assert (planned.failed, world(ec2)) == ("", BEFORE)
    done = relaunch(ec2)
    assert (done.failed, done.actions) == ("", planned.actions)
    assert world(ec2) == MOVED
    for check in (True, False):
        again = relaunch(ec2, check=check)
        assert (again.failed, again.actions) == ("", [])


@pytest.mark.parametrize(
    ("given", "after"),
    [({}, lambda: MOVED), ({"old_instance": "terminate"}, gone), ({"strategy": "auto"}, lambda: MOVED)],
    ids=["stop", "terminate", "auto"],
)
def test_run_that_is_killed_after_any_call_is_finished_by_the_next(
    given: dict[str, Any], after: Callable[[], dict[str, Any]]
) -> None:
    steps = 0
    for nth in count(1):
        ec2 = service()
        if not killed(ec2, nth, **given):
            break
        steps = nth
        ec2.sleep(30)
        ended = relaunch(ec2, **given)
        assert (nth, ended.failed) == (nth, "")
        assert (nth, world(ec2)) == (nth, after())
        assert (nth, relaunch(ec2, **given).actions) == (nth, [])
    assert steps > 15


def refusals(unclear: bool) -> Iterator[tuple[int, Any, str]]:
    """A world, its calls, and the message of a run of which EC2 refuses one call before the successor serves."""
    for nth in count(1):
        ec2 = service()
        gateway = RefusingGateway(ec2, nth, unclear=unclear)
        ended = relaunch(ec2, gateway)
        served = any(
            entry["action"] == "CreateTags" and "serving" in str(entry["parameters"])
            for entry in ended.result.get("done", [])
        )
        if served or not gateway.refused:
            return
        # EC2 takes the members of a refused shared call one by one.
        if gateway.refused == 1:
            yield nth, ec2, ended.failed


def test_refusal_of_any_call_before_the_mark_returns_every_part() -> None:
    seen = 0
    for nth, ec2, failed in refusals(False):
        assert (nth, bool(failed)) == (nth, True)
        assert (nth, world(ec2)) == (nth, BEFORE)
        ec2.sleep(30)
        ended = relaunch(ec2)
        assert (nth, ended.failed, world(ec2)) == (nth, "", MOVED)
        seen = nth
    assert seen > 10


@pytest.mark.parametrize("pace", [0.0, 10.0], ids=["at once", "minutes after the launch"])
def test_rollback_that_is_killed_after_any_call_is_finished_by_the_next_runs(pace: float) -> None:
    """EC2 refuses the registration with the Classic Load Balancer, which is the last part.

    *pace*: the seconds of each call. The successor's start with the parts then comes minutes after its launch.
    """
    refused = 15
    for nth in count(refused + 1):
        ec2 = service()
        ec2._pace = pace
        if not killed(ec2, nth, RefusingGateway(ec2, refused, unclear=False)):
            break
        ec2.sleep(30)
        runs = [relaunch(ec2) for _turn in range(3)]
        assert (nth, runs[-1].failed, runs[-1].actions) == (nth, "", [])
        assert (nth, world(ec2)) == (nth, MOVED)
    assert nth > refused + 8


def test_target_of_a_dead_successor_is_deregistered_by_the_next_run() -> None:
    ec2 = service()
    given = {"data_volumes": "keep", "network_interfaces": "keep", "elastic_ip": "keep"}
    gateway = RefusingGateway(ec2, 7, unclear=False)
    assert killed(ec2, 6, gateway, **given)
    (new,) = [one.instance_id for one in ec2.existing("instance") if one.instance_id != OLD]
    assert world(ec2)["ip targets"] == ["new", "old", "second"]
    ec2._TerminateInstances([], {"InstanceIds": [new]})
    assert world(ec2)["ip targets"] == ["gone", "old", "second"]
    ended = relaunch(ec2, **given)
    assert "and never served in place of" in ended.failed
    assert ended.actions[:1] == ["DeregisterTargets"]
    assert world(ec2)["ip targets"] == ["old", "second"]
    assert not relaunch(ec2, **given).failed
    assert world(ec2)["ip targets"] == ["new"], "the second interface stays with the predecessor"
