# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lines about a run while it goes on: their moments, their texts and their estimates."""

from __future__ import annotations

from itertools import pairwise

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.progress import Reporter, duration
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.progress import Sight

SNAPSHOT = "snap-0123456789abcdef0"


class Screen:
    """Keeps the lines with their times. The test moves the clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lines: list[tuple[float, str]] = []
        self.reporter = Reporter(lambda text: self.lines.append((self.now - 100.0, text)), lambda: self.now)

    def wait(self, seconds: int, percent_per_second: float | None = None, state: str = "pending") -> list[float]:
        """The times of the lines of a wait with a poll each second."""
        watch = self.reporter.wait()
        for second in range(1, seconds + 1):
            self.now = 100.0 + second
            percent = None if percent_per_second is None else second * percent_per_second
            watch.saw([Sight(SNAPSHOT, state, percent)], 0)
        return [moment for moment, _text in self.lines]


@pytest.fixture
def screen() -> Screen:
    return Screen()


def test_short_wait_shows_nothing(screen: Screen) -> None:
    watch = screen.reporter.wait()
    for screen.now in (100.3, 101.5, 102.9):
        watch.saw([Sight(SNAPSHOT, "pending")], 0)
    screen.now = 103.5
    watch.saw([], 1)
    assert screen.lines == []


def test_lines_of_one_state_come_at_growing_intervals_up_to_a_minute(screen: Screen) -> None:
    moments = screen.wait(600)
    gaps = [later - earlier for earlier, later in pairwise(moments)]
    assert moments[:3] == [3.0, 8.0, 16.0]
    assert gaps == sorted(gaps)
    assert gaps[-1] == 60.0


def test_new_state_is_shown_at_once(screen: Screen) -> None:
    watch = screen.reporter.wait()
    for screen.now, state in ((103.0, "stopping"), (104.0, "stopping"), (105.0, "stopped"), (106.0, "stopped")):
        watch.saw([Sight("i-1", state)], 0)
    assert [text for _moment, text in screen.lines] == [
        "i-1 is stopping, waiting for 3 s",
        "i-1 is stopped, waiting for 5 s",
    ]


def test_growing_percentage_alone_does_not_bring_a_line(screen: Screen) -> None:
    assert screen.wait(16, percent_per_second=1.0) == [3.0, 8.0, 16.0]


def test_estimate_follows_the_percentage(screen: Screen) -> None:
    screen.wait(20, percent_per_second=2.0)
    assert screen.lines[-1] == (16.0, f"{SNAPSHOT} is pending (32 %), waiting for 16 s, about 34 s left")


def test_percentage_that_stands_still_gives_no_estimate(screen: Screen) -> None:
    screen.wait(20, percent_per_second=0.0)
    assert screen.lines[-1][1] == f"{SNAPSHOT} is pending (0 %), waiting for 16 s"


def test_several_resources_are_counted_and_the_slowest_named(screen: Screen) -> None:
    watch = screen.reporter.wait()
    for screen.now, grown in ((101.0, 0), (111.0, 10)):
        watch.saw([Sight(f"snap-{number}", "pending", 10.0 * number + grown) for number in range(5, 0, -1)], 1)
    (line,) = screen.lines
    assert line[1] == (
        "1 of 6 done, snap-1 is pending (20 %), snap-2 is pending (30 %), snap-3 is pending (40 %), and 2 more, "
        "waiting for 11 s, about 80 s left"
    )


def test_one_resource_without_an_estimate_leaves_the_end_open(screen: Screen) -> None:
    watch = screen.reporter.wait()
    for screen.now, grown in ((101.0, 0), (111.0, 10)):
        watch.saw([Sight("snap-1", "pending", 10.0 + grown), Sight("ami-1", "pending")], 0)
    assert [text for _moment, text in screen.lines] == [
        "0 of 2 done, ami-1 is pending, snap-1 is pending (20 %), waiting for 11 s"
    ]


def test_paced_calls_are_counted_with_the_time_that_is_left(screen: Screen) -> None:
    screen.reporter.planned({"DeleteSnapshot": 398})
    for number in range(1, 399):
        # The first 98 at once, then 5 a second.
        screen.now = 100.0 + max(0, number - 98) / 5
        screen.reporter.called("DeleteSnapshot", 1, None if number < 98 else 5.0)
    assert screen.lines[0] == (3.0, "113 of 398 snapshots deleted, about 57 s left")
    assert screen.lines[-1][1] != "398 of 398 snapshots deleted", "the result says that all is done"
    for moment, text in screen.lines:
        # The last call is made after 60 s.
        assert abs(moment + float(text.split("about ")[1].split()[0]) - 60) < 1, text


def test_calls_that_nobody_planned_are_not_counted(screen: Screen) -> None:
    for screen.now in (100.0, 105.0, 120.0):
        screen.reporter.called("DeleteSnapshot", 1, 5.0)
    assert screen.lines == []


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        ("ModifySnapshotAttribute", "2 of 9 snapshot attributes modified"),
        ("DeregisterImage", "2 of 9 images deregistered"),
        ("StopInstances", "2 of 9 instances stopped"),
        ("EnableFastSnapshotRestores", "2 of 9 calls of EnableFastSnapshotRestores made"),
    ],
)
def test_operation_is_told_in_words(screen: Screen, operation: str, text: str) -> None:
    screen.reporter.planned({operation: 9})
    for screen.now in (100.0, 104.0):
        screen.reporter.called(operation, 1, None)
    assert [line for _moment, line in screen.lines] == [text]


def test_pauses_for_one_reason_tell_the_refusal_and_the_next_attempt(screen: Screen) -> None:
    for screen.now, seconds in ((100.0, 1.0), (101.0, 15.0), (101.5, 2.0), (117.0, 15.0)):
        screen.reporter.pausing("StartInstances of i-1", "InsufficientInstanceCapacity", seconds)
    line = "StartInstances of i-1: InsufficientInstanceCapacity. The next attempt is in 15 s"
    assert screen.lines == [(1.0, line), (17.0, line)]


def test_pauses_for_different_reasons_have_lines_of_their_own(screen: Screen) -> None:
    for call, code in (("DeleteSnapshot of snap-1", "RequestLimitExceeded"), ("DescribeVolumes", "InternalError")):
        screen.reporter.pausing(call, code, 4.0)
    assert [text for _moment, text in screen.lines] == [
        "DeleteSnapshot of snap-1: RequestLimitExceeded. The next attempt is in 4 s",
        "DescribeVolumes: InternalError. The next attempt is in 4 s",
    ]


def test_control_characters_are_escaped(screen: Screen) -> None:
    screen.wait(4, state="pending\x1b[2J\nPLAY RECAP")
    assert screen.lines == [(3.0, f"{SNAPSHOT} is pending\\x1b[2J\\nPLAY RECAP, waiting for 3 s")]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (99.4, "99 s"), (100, "2 min"), (3540, "59 min"), (3600, "1 h"), (3900, "1 h 5 min")],
)
def test_duration_is_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
