# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The changes since an earlier report: findings, costs, recovery points, and places that cannot be compared."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._report import changes as module
from ansible_collections.ec2ops.storage.plugins.module_utils._report.changes import changes, read_earlier
from ansible_collections.ec2ops.storage.plugins.module_utils._report.joining import Place, joined
from ansible_collections.ec2ops.storage.plugins.module_utils._report.texts import markdown
from ansible_collections.ec2ops.storage.plugins.plugin_utils.report_files import changes_since

from report_documents import ACCOUNT, DAY, bounds, document, exact, finding, moment, small, snapshot, volume


def between(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    """The changes between two reports of one document, the earlier one as it lies in its file."""
    earlier = json.loads(json.dumps(joined([Place("a", before)])))
    return changes(read_earlier(earlier), [Place("b", after)])


def test_new_and_solved_findings_are_told_apart_by_place_id_and_resource() -> None:
    old, new = small(), small()
    gone = old["findings"][2]
    new["findings"] = [each for each in new["findings"] if each is not new["findings"][2]]
    new["findings"] += [finding("volume-gp2", "low", gone["resource"]), finding("snapshot-public", "high", "snap-1")]
    found = between(old, new)
    assert found["findings"] == {"new": 2, "solved": 1}
    assert [(each["severity"], each["id"]) for each in found["new"]] == [
        ("high", "snapshot-public"),
        ("low", "volume-gp2"),
    ]
    assert [(each["id"], each["resource"]) for each in found["solved"]] == [(gone["id"], gone["resource"])]
    assert (found["since"], found["compared"], found["not_compared"]) == (old["generated"], 1, [])


@pytest.mark.parametrize("option", ["permissions", "metrics", "changed_blocks", "price_api"])
def test_option_that_reads_more_in_one_report_only_solves_nothing(option: str) -> None:
    old, new = small(), small()
    old["options"][option] = True
    new["findings"] = new["findings"][1:]
    found = between(old, new)
    assert (found["compared"], found["findings"]) == (0, {"new": 0, "solved": 0})
    assert found["not_compared"] == [{"account": ACCOUNT, "region": old["region"]}]
    # Earlier reports without the option have not read it.
    old["options"][option] = False
    assert between(old, new)["findings"] == {"new": 0, "solved": 1}


def test_same_report_has_no_changes() -> None:
    found = between(small(), small())
    assert (found["findings"], found["worse_volumes"]) == ({"new": 0, "solved": 0}, 0)
    assert found["cost"] == [{"currency": "USD", "least": 0.0, "most": 0.0}]


def test_cost_is_the_difference_of_the_bounds() -> None:
    old = document([volume(1, 100)], [snapshot(1, volume(1)["id"], DAY, 100)], [])
    new = document([volume(1, 100), volume(2, 50)], [], [])
    # The volume costs 4.00 more. The snapshot had cost 0 to 5.00.
    assert between(old, new)["cost"] == [{"currency": "USD", "least": 4.0, "most": -1.0}]
    assert "cost a month -1.00 to +4.00 USD" in markdown([Place("a", new)], "x", between(old, new))


def test_place_without_a_price_in_one_report_does_not_change_the_cost() -> None:
    assert between(document([volume(1, cost=None)], [], []), document([volume(1)], [], []))["cost"] == []


@pytest.mark.parametrize(
    ("before", "after", "is_worse"),
    [
        ([3600], [DAY + 3600], True),  # within its target, and now late
        ([3600], [], True),
        ([3600], [7200], True),  # the newest snapshot is gone
        ([2 * DAY], [2 * DAY], False),  # late in both
        ([], [], False),
        ([2 * DAY], [3600], False),
    ],
    ids=str,
)
def test_recovery_point_is_worse_if_it_is_late_or_gone_and_was_not(
    before: list[int], after: list[int], is_worse: bool
) -> None:
    row = volume(1)
    old, new = (
        document([row], [snapshot(number + 1, row["id"], age) for number, age in enumerate(ages)], [])
        for ages in (before, after)
    )
    found = between(old, new)
    assert found["worse_volumes"] == len(found["worse"]) == int(is_worse)
    if is_worse:
        assert found["worse"][0]["volume_id"] == row["id"]
        assert found["worse"][0]["before"] == moment(before[0])
        assert found["worse"][0]["now"] == (moment(after[0]) if after else None)


def test_late_volume_that_was_attached_since_then_is_not_newly_late() -> None:
    free, used = volume(1, state="available"), volume(1)
    old, new = (document([row], [snapshot(1, row["id"], 2 * DAY)], []) for row in (free, used))
    found = between(old, new)
    assert found["worse_volumes"] == 0
    assert "0 volumes with a newly late or lost recovery point" in markdown([Place("a", new)], "x", found)


def no_locks(made: dict[str, Any]) -> None:
    made["partial"] = [{"part": "locks"}]


def other_filters(made: dict[str, Any]) -> None:
    made["options"]["filters"] = {"team": "db"}


def other_region(made: dict[str, Any]) -> None:
    made["region"] = "eu-west-1"


@pytest.mark.parametrize("alter", [no_locks, other_filters, other_region])
def test_place_that_was_read_in_another_way_solves_no_finding(alter: Callable[[dict[str, Any]], None]) -> None:
    new = small()
    new["findings"] = []
    alter(new)
    found = between(small(), new)
    assert (found["compared"], found["findings"]) == (0, {"new": 0, "solved": 0})
    assert {"account": ACCOUNT, "region": "us-east-1"} in found["not_compared"]


def test_place_that_has_failed_today_solves_no_finding() -> None:
    found = changes([Place("", small())], [Place("a", None, "AuthFailure")])
    assert (found["findings"]["solved"], found["not_compared"]) == (0, [{"account": ACCOUNT, "region": "us-east-1"}])


def test_lists_are_bounded_and_the_gravest_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    new = document([], [], [finding("snapshot-old", "low", f"snap-{number}") for number in range(9)])
    new["findings"].append(finding("snapshot-public", "high", "snap-x"))
    found = between(document([], [], []), new)
    assert (found["findings"]["new"], len(found["new"]), found["new"][0]["id"]) == (10, 3, "snapshot-public")
    text = markdown([Place("a", new)], "x", found)
    assert "- new: 7 more" in text and "10 new findings, 0 solved" in text


def test_text_of_other_people_stays_text_in_the_markdown() -> None:
    row = volume(1, name="a|b <img>")
    old = document([row], [snapshot(1, row["id"], 3600)], [])
    text = markdown([Place("a", document([row], [], []))], "x", between(old, document([row], [], [])))
    assert "a\\|b \\<img\\>): the newest recovery point is missing" in text


def test_earlier_report_is_the_one_in_the_folder_unless_it_is_named(tmp_path: Path) -> None:
    now = [Place("a", small())]
    assert changes_since(None, tmp_path, now) is None
    (tmp_path / "report.json").write_text(json.dumps(joined(now)))
    assert (changes_since(None, tmp_path, now) or {})["findings"] == {"new": 0, "solved": 0}
    assert changes_since(str(tmp_path / "report.json"), tmp_path / "none", now) is not None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"schema": "x"}', '{"schema": "ec2ops.storage/joined-report/1", "documents": [{}]}']
)
def test_unreadable_earlier_report_is_refused_only_if_it_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    now = [Place("a", document([], [], [finding("snapshot-old", "low", "snap-1", saving=exact(1), cost=bounds(2))]))]
    assert changes_since(None, tmp_path, now) is None
    with pytest.raises(SpecError, match=r"since: .* is not an earlier report\.json"):
        changes_since(str(tmp_path / "report.json"), tmp_path, now)
