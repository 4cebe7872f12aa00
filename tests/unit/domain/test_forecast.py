# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The forecast of deletions, against tables by hand and against a policy that runs slot by slot."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain import forecast as forecasts
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.forecast import Forecast, is_foreseeable
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.retention import decide, parse_keep
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.snapshot_sets import Candidate
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.times import parse_every
from hypothesis import given
from hypothesis import strategies as st

NOW = datetime(2026, 11, 30, 16, tzinfo=UTC)
DAY = timedelta(days=1)


def candidate(moment: datetime) -> Candidate:
    return Candidate(f"{moment:%Y-%m-%dT%H:%M}", "vol", moment, moment)


def daily(count: int) -> list[Candidate]:
    return [candidate(NOW.replace(hour=0) - number * DAY) for number in range(count)]


def forecast(keep: dict[str, Any], every: str = "1d", now: datetime = NOW) -> Forecast:
    return Forecast(parse_keep(keep), parse_every(every), now)


def days(times: Iterator[datetime | None]) -> list[str]:
    return ["never" if time is None else f"{time:%m-%d}" for time in times]


@pytest.mark.parametrize(
    ("keep", "deletions", "idle"),
    [
        # Today's snapshot is the first of three. Each day pushes out one.
        ({"daily": 3}, ["12-03", "12-02", "12-01", "12-01"], ["never", "never", "never", "12-01"]),
        ({"last": 2}, ["12-02", "12-01", "12-01", "12-01"], ["never", "never", "12-01", "12-01"]),
        # November 30 is a Monday: Tuesday's snapshot takes its place. The week before is the third one on December 7.
        ({"weekly": 2}, ["12-01", "12-07", "12-01", "12-01"], ["never", "never", "12-01", "12-01"]),
        ({"monthly": 2}, ["01-01", "12-01", "12-01", "12-01"], ["never", "12-01", "12-01", "12-01"]),
        ({"within": "2d"}, ["12-02", "12-01", "12-01", "12-01"], ["never", "never", "12-01", "12-01"]),
        # Ages count from now, so time alone deletes all but the newest.
        (
            {"within": "3d", "reference": "now"},
            ["12-03", "12-02", "12-01", "12-01"],
            ["never", "12-02", "12-01", "12-01"],
        ),
        ({"last": "unlimited"}, ["never"] * 4, ["never"] * 4),
    ],
    ids=str,
)
def test_deletion_is_the_first_run_in_which_no_rule_keeps_a_snapshot(
    keep: dict[str, Any], deletions: list[str], idle: list[str]
) -> None:
    found = forecast(keep).fates(daily(4), is_captured=True)
    ordered = sorted(found, reverse=True)
    assert days(found[key].deletion for key in ordered) == deletions
    assert days(found[key].idle_deletion for key in ordered) == idle


def test_reasons_are_those_of_the_rules_now() -> None:
    found = forecast({"daily": 1, "last": 2}).fates(daily(3), is_captured=True)
    assert [found[key].kept_by for key in sorted(found, reverse=True)] == [
        ("last 1 of 2", "daily 2026-11-30", "newest"),
        ("last 2 of 2",),
        (),
    ]


def test_source_that_is_gone_takes_no_snapshots() -> None:
    found = forecast({"last": 1}).fates(daily(2), is_captured=False)
    assert [(fate.deletion, fate.idle_deletion) for fate in found.values()] == [
        (None, None),
        (datetime(2026, 12, 1, tzinfo=UTC),) * 2,
    ]


def test_snapshot_of_the_future_has_no_fate() -> None:
    assert list(forecast({"last": 1}).fates([candidate(NOW + DAY)], is_captured=True)) == []


def test_slots_follow_the_clock_of_the_zone() -> None:
    berlin = {"daily": 1, "timezone": "Europe/Berlin"}
    # On October 25, 2026, the day in Berlin has 25 hours.
    now = datetime(2026, 10, 24, 12, tzinfo=UTC)
    coming = forecast(berlin, now=now)
    assert coming.at_or_after(now) == datetime(2026, 10, 24, 22, tzinfo=UTC)
    assert coming.at_or_after(datetime(2026, 10, 24, 22, 1, tzinfo=UTC)) == datetime(2026, 10, 25, 23, tzinfo=UTC)
    assert coming.at_or_after(now + 3000 * DAY) is None


def test_histories_beyond_the_limit_have_no_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forecasts, "MOST_HISTORIES", 1)
    coming = forecast({"last": 1})
    assert coming.fates(daily(2), is_captured=True)
    assert coming.fates(daily(3), is_captured=True) == {}
    assert coming.fates(daily(2), is_captured=True)


RULES = st.fixed_dictionaries(
    {},
    optional={
        "last": st.integers(1, 6),
        "hourly": st.integers(1, 30),
        "daily": st.integers(1, 6),
        "weekly": st.integers(1, 4),
        "monthly": st.integers(1, 3),
        "within": st.sampled_from(["5h", "3d", "2w"]),
        "daily_within": st.sampled_from(["6d", "1m"]),
        "oldest": st.booleans(),
        "reference": st.sampled_from(["latest", "now"]),
        "timezone": st.sampled_from(["UTC", "Europe/Berlin"]),
    },
).filter(lambda keep: set(keep) - {"oldest", "reference", "timezone"} and is_foreseeable(parse_keep(keep)))


@given(
    keep=RULES,
    every=st.sampled_from(["6h", "1d", "1w"]),
    hours=st.lists(st.integers(0, 900), min_size=1, max_size=9, unique=True),
    captures=st.booleans(),
)
def test_forecast_is_what_a_policy_does_that_runs_in_each_slot(
    keep: dict[str, Any], every: str, hours: list[int], captures: bool
) -> None:
    group = [candidate(NOW - timedelta(hours=age)) for age in hours]
    coming = forecast(keep, every)
    fates = coming.fates(group, is_captured=True)
    left, deleted, moment = list(group), {}, NOW
    for _slot in range(60):
        start = coming.at_or_after(moment + timedelta(seconds=1))
        assert start is not None
        moment = start.astimezone(UTC)
        left += [candidate(moment)] if captures else []
        decided = decide(left, parse_keep(keep), moment)
        deleted.update({item.key: moment for item in left if not decided[item.key]})
        left = [item for item in left if decided[item.key]]
    for item in group:
        fate = fates[item.key].deletion if captures else fates[item.key].idle_deletion
        assert deleted.get(item.key) == (fate if fate is None or fate <= moment else None), item.key
