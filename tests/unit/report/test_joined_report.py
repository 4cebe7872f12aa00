# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The joined report: key figures, costs, the rows of the page, CSV, Markdown, and text that other people wrote."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.inventory.finding import IDS
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._report import page, page_data
from ansible_collections.ec2ops.storage.plugins.module_utils._report.changes import changes
from ansible_collections.ec2ops.storage.plugins.module_utils._report.costs import OTHERS, UNTAGGED, costs
from ansible_collections.ec2ops.storage.plugins.module_utils._report.joining import (
    SAVES,
    Place,
    all_findings,
    checked,
    exclusion,
    figures,
    joined,
    price_sources,
    range_reason,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._report.texts import COLUMNS, findings_csv, markdown

from inventory_world import instance, report
from inventory_world import snapshot as inventory_snapshot
from inventory_world import volume as inventory_volume
from report_documents import DAY, bounds, document, exact, finding, foreseen, large, small, snapshot, volume

ASSETS = Path(__file__).resolve().parents[3] / "plugins" / "plugin_utils" / "report_page"
FILES = {name: (ASSETS / name).read_text(encoding="utf-8") for name in page.FILES}
EVIL = "</script><script>alert(1)</script>\u2028<!--"


def embedded_data(text: str) -> Any:
    """The data of a page, read as a browser finds them: up to the first end of a script element."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_figures_of_two_places_are_sums() -> None:
    found = figures([Place("a", small()), Place("b", small("eu-west-1", first=1000))])
    assert found["volumes"] == {"count": 8, "gib": 1640, "unencrypted": 2, "unattached": 2}
    assert found["snapshots"]["count"] == 78
    assert found["findings"] == {"high": 4, "medium": 2, "low": 4, "info": 2}
    # 20 + 500 + 200 GiB gp3 at 0.08, 10 for gp2; snapshots 14 x 20 + 20 x 500 + 5 x 100 GiB at 0.05 at most.
    assert found["cost"] == [{"currency": "USD", "least": 135.2, "most": 135.2 + 2 * 539.0, "exact": False}]
    assert found["saving"] == [{"currency": "USD", "least": 36.0, "most": 46.0, "exact": False}]
    recovery = {"volumes": 8, "covered": 4, "uncovered": 4, "late": 6, "with_copy": 0, "drilled": 0}
    assert found["recovery"] == {**recovery, "oldest_age": 5 * DAY, "at_risk": 6, "without_point": 2}


def test_currencies_are_not_added_up() -> None:
    euros = small("eu-west-1")
    euros["prices"]["currency"] = "EUR"
    found = figures([Place("a", small()), Place("b", euros)])
    assert [(each["currency"], each["least"]) for each in found["cost"]] == [("EUR", 67.6), ("USD", 67.6)]


def test_place_without_waste_saves_nothing_and_an_empty_one_needs_no_price() -> None:
    tidy, empty = document([volume(1)], [], []), document([], [], [], region="eu-west-1")
    found = figures([Place("a", tidy), Place("b", empty)])
    assert found["saving"] == [{"currency": "USD", "least": 0.0, "most": 0.0, "exact": True}]
    assert found["unpriced_regions"] == []
    assert "| savings found a month | 0.00 USD |" in markdown([Place("a", tidy)], "x")


def test_savings_name_the_regions_that_they_leave_out() -> None:
    free = [
        Place(region, document([volume(1, cost=None)], [], [], region=region)) for region in ("xx-north-1", "xx-west-1")
    ]
    tidy = Place("a", document([volume(1)], [], []))
    one, two = markdown([tidy, free[0]], "x"), markdown([tidy, *free], "x")
    assert "| savings found a month | 0.00 USD, without xx-north-1, which has no price |" in one
    assert "| savings found a month | 0.00 USD, without xx-north-1 and xx-west-1, which have no price |" in two
    assert "| savings found a month | unknown |" in markdown(free, "x")


def test_saving_of_which_the_price_is_missing_stays_unknown() -> None:
    lost = finding("volume-iops-within-gp3", "medium", volume(2)["id"], cost=None, saving=None, task="- name: x")
    assert figures([Place("a", document([volume(1), volume(2, cost=None)], [], [lost]))])["saving"] == []


def test_region_without_a_price_is_named_and_adds_nothing() -> None:
    row = volume(1, 50, cost=None)
    free = document([row], [], [], region="xx-north-1")
    found = figures([Place("a", small()), Place("b", free)])
    assert found["unpriced_regions"] == ["xx-north-1"]
    assert found["cost"][0]["least"] == 67.6
    assert found["volumes"]["gib"] == 870


def test_volume_without_recovery_point_is_more_at_risk_than_the_latest_one() -> None:
    late = document([volume(1)], [snapshot(1, volume(1)["id"], 90 * DAY)], [])
    bare = document([volume(2)], [], [])
    found = figures([Place("late", late), Place("bare", bare)])
    assert (found["at_risk"]["host"], found["at_risk"]["newest"]) == ("bare", None)
    alone = figures([Place("late", late)])["at_risk"]
    assert (alone["newest"]["age"], alone["equals"], alone["gib"], alone["attached"]) == (90 * DAY, 0, 100, True)


def test_equally_risky_volumes_are_counted_and_the_largest_is_the_answer() -> None:
    rows = [volume(1, 10), volume(2, 30), volume(3, 30), volume(4, 99, state="available")]
    found = figures([Place("a", document(rows, [], []))])["at_risk"]
    assert (found["volume_id"], found["gib"], found["equals"]) == (rows[1]["id"], 30, 2)
    assert "no recovery point; the largest of 3 such volumes" in markdown([Place("a", document(rows, [], []))], "x")


@pytest.mark.parametrize(
    ("kind", "task", "said"),
    [
        ("volume-unattached", "- name: x", 1),
        ("volume-performance-unused", "- name: x", 1),
        ("volume-unattached", "", 0),
        ("volume-unencrypted", "- name: x", 0),
    ],
)
def test_saving_that_lacks_a_price_says_so_and_others_stay_empty(kind: str, task: str, said: int) -> None:
    free = document([volume(1, cost=None)], [], [finding(kind, "low", volume(1)["id"], task=task)], region="xx-north-1")
    places = [Place("a", free)]
    assert page_data.page_data(places)["findings"]["rows"][0][11] == said
    assert markdown(places, "x").count("| no price for xx-north-1 |") == said


def test_findings_that_save_are_known() -> None:
    assert set(IDS) >= SAVES


def test_bar_without_a_price_names_the_region() -> None:
    free = document([volume(1, 50, cost=None)], [], [], region="xx-north-1")
    found = costs([Place("a", small()), Place("b", free)])
    assert [row["unpriced"] for row in found["region"]] == [[], ["xx-north-1"]]
    gp3 = next(row for row in found["type"] if row["label"] == "gp3")
    assert (gp3["unpriced"], gp3["cost"][0]["most"]) == (["xx-north-1"], 57.6)


def test_age_against_target_decides_between_late_volumes() -> None:
    daily = document([volume(1)], [snapshot(1, volume(1)["id"], 3 * DAY)], [], target=DAY)
    hourly = document([volume(2)], [snapshot(2, volume(2)["id"], DAY)], [], target=3600)
    assert figures([Place("daily", daily), Place("hourly", hourly)])["at_risk"]["host"] == "hourly"


def test_largest_saving_of_all_places_has_its_task() -> None:
    row = volume(7)
    rich = document([row], [], [finding("volume-unattached", "medium", row["id"], saving=exact(99.0))])
    found = figures([Place("a", small()), Place("b", rich)])["largest_saving"]
    assert (found["host"], found["resource"], found["saving"]["most"]) == ("b", row["id"], 99.0)
    assert found["task"].startswith("- name: Mend")


def test_place_without_a_document_is_listed_with_its_error() -> None:
    report = joined([Place("a", small()), Place("b", None, "AuthFailure: no")])
    assert report["figures"]["failed_places"] == 1
    assert [place["error"] for place in report["places"]] == [None, "AuthFailure: no"]
    assert len(report["documents"]) == 1


def test_report_of_no_document_at_all_is_a_report() -> None:
    places = [Place("b", None, "AuthFailure: no")]
    assert joined(places)["generated"] is None
    assert "AuthFailure" in markdown(places, "x")
    assert embedded_data(page.html(places, FILES, "x"))["figures"]["volumes"]["count"] == 0


@pytest.mark.parametrize("given", [{}, {"schema": "ec2ops.storage/report/2"}, None, "text"])
def test_document_of_another_schema_is_refused(given: Any) -> None:
    with pytest.raises(SpecError, match="the document of web has the schema"):
        checked("web", given)


def test_findings_are_sorted_by_severity_then_saving() -> None:
    found = all_findings([Place("a", small()), Place("b", small("eu-west-1", first=1000))])
    assert [each["severity"] for _place, each in found] == [*["high"] * 4, *["medium"] * 2, *["low"] * 4, *["info"] * 2]
    assert [each["id"] for _place, each in found[6:10]] == ["snapshot-old"] * 2 + ["volume-gp2"] * 2


def test_costs_by_type_region_and_tag_add_up_to_the_total() -> None:
    places = [Place("a", small()), Place("b", small("eu-west-1", first=1000))]
    total = figures(places)["cost"][0]
    found = costs(places)
    team = next(tag for tag in found["tags"] if tag["key"] == "team")
    for rows in (found["type"], found["region"], team["rows"]):
        assert round(sum(row["cost"][0]["most"] for row in rows if row["cost"]), 2) == total["most"]
    assert {row["label"] for row in team["rows"]} == {"db", "shop", UNTAGGED}
    # A tag with a value of its own for each resource comes last, and tags of AWS and of this collection not at all.
    assert [tag["key"] for tag in found["tags"]] == ["team", "Name"]


def test_rare_tag_values_are_joined() -> None:
    rows = [volume(number, 10, tags={"cost": f"v{number % 20}"}) for number in range(1, 41)]
    (tag,) = costs([Place("a", document(rows, [], []))])["tags"]
    assert tag["rows"][-1]["label"] == OTHERS
    assert sum(row["count"] for row in tag["rows"]) == 40


def test_page_has_every_snapshot_with_its_times_and_policy() -> None:
    source = small()
    data = page_data.page_data([Place("a", source)])
    columns = data["snapshots"]
    assert sorted(f"snap-{each}" for each in columns["ids"].split()) == sorted(
        each["id"] for each in source["snapshots"]
    )
    assert sum(columns["counts"]) == 39 and columns["left_out"] == 0
    hourly = columns["policies"].index("db-hourly")
    first = columns["policy"].index(hourly)
    assert columns["until"][first : first + 20] == [5 * 24 * 60] * 20
    assert columns["moments"][first + 1 : first + 20] == [6 * 60] * 19
    assert (sorted(columns["gib"]), columns["resized"]) == ([20, 100, 500], [])
    assert (columns["fate"], columns["stored"]) == ([], [])


def test_forecasts_are_shared_by_the_snapshots_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    source = small()
    foreseen(source["recovery"]["volumes"][0], days=14)
    columns = page_data.page_data([Place("a", source)])["snapshots"]
    own = columns["policies"].index("web-daily")
    fates = [
        columns["fates"][fate] for fate, name in zip(columns["fate"], columns["policy"], strict=True) if name == own
    ]
    assert [(minutes, idle) for _kept_by, minutes, idle in fates] == [(14 * 24 * 60, 0)] * 14
    assert fates[0][0] == "daily 2026-11-30"
    assert {fate for fate, name in zip(columns["fate"], columns["policy"], strict=True) if name != own} == {0}
    monkeypatch.setattr(page_data, "MOST_FATES", 3)
    columns = page_data.page_data([Place("a", source)])["snapshots"]
    assert (len(columns["fates"]), columns["fate"].count(1), columns["fate"].count(2)) == (3, 13, 1)


def test_volume_most_at_risk_is_the_first_row() -> None:
    rows = page_data.page_data([Place("a", small())])["volumes"]["rows"]
    assert [row[1] for row in rows] == ["logs", "db-data", "scratch", "web-root"]


def test_rows_beyond_the_limits_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_data, "MOST_SNAPSHOTS", 25)
    monkeypatch.setattr(page_data, "MOST_FINDING_BYTES", 600)
    data = page_data.page_data([Place("a", small())])
    # The groups have 14, 20 and 5 snapshots. At most 10 of each are 25 together.
    assert sorted(data["snapshots"]["counts"]) == [5, 10, 10]
    assert data["snapshots"]["left_out"] == 14
    assert 0 < len(data["findings"]["rows"]) < 6
    assert len(data["findings"]["rows"]) + data["findings"]["left_out"] == 6
    assert {row[0] for row in data["findings"]["rows"]} == {"high"}


def test_page_has_no_more_snapshots_than_its_limit_with_a_volume_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_data, "MOST_SNAPSHOTS", 25)
    rows = [snapshot(number, f"vol-{number:017x}", DAY) for number in range(1, 41)]
    columns = page_data.page_data([Place("a", document([], rows, []))])["snapshots"]
    assert (len(columns["ids"].split()), sum(columns["counts"]), columns["left_out"]) == (25, 25, 15)
    assert len(columns["counts"]) == len(columns["volumes"]) == len(columns["places"]) == 25


def test_page_of_100000_snapshots_is_smaller_than_5_mb() -> None:
    text = page.html([Place("a", large(100_000))], FILES, "Storage")
    assert len(text.encode()) < 5_000_000
    data = embedded_data(text)
    assert data["snapshots"]["left_out"] == 0
    assert len(data["findings"]["rows"]) + data["findings"]["left_out"] == 20_000


def test_text_of_other_people_cannot_leave_its_place() -> None:
    row = volume(1, name=EVIL, tags={EVIL: EVIL, "team": EVIL}, policies=[EVIL])
    kept = snapshot(1, row["id"], DAY, policy=EVIL, tags={"team": EVIL})
    made = document([row], [kept], [finding("volume-unattached", "high", row["id"], name=EVIL, reason=EVIL, task=EVIL)])
    text = page.html([Place(EVIL, made), Place("b", None, EVIL)], FILES, EVIL)
    scripts = text.count("<script")
    assert scripts == page.html([Place("a", small())], FILES, "x").count("<script")
    assert text.count("<!--") == page.html([Place("a", small())], FILES, "x").count("<!--")
    # The data are whole, and the task is as the module wrote it.
    data = embedded_data(text)
    assert data["findings"]["rows"][0][9] == EVIL
    assert data["costs"]["tags"][0]["rows"][0]["label"] == EVIL


def test_page_names_every_script_in_its_policy_and_no_address() -> None:
    text = page.html([Place("a", small())], FILES, "x")
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    assert policy.count("sha256-") == len(page.SCRIPTS)
    assert policy.startswith("default-src 'none'")
    frame = FILES["page.html"] + FILES["page.css"]
    assert "http" not in re.sub("http-equiv", "", frame)
    assert not any("</script" in FILES[name] or "\r" in FILES[name] for name in page.SCRIPTS)


def test_csv_has_a_row_for_each_finding_and_no_formula() -> None:
    row = volume(1)
    made = document(
        [row], [], [finding("volume-unattached", "high", row["id"], name="=HYPERLINK(1)", saving=bounds(5.0))]
    )
    (read,) = csv.DictReader(io.StringIO(findings_csv([Place("-web", made)])))
    assert list(read) == list(COLUMNS)
    assert (read["name"], read["host"]) == ("'=HYPERLINK(1)", "'-web")
    assert (read["saving_least"], read["saving_most"], read["currency"]) == ("0.0", "5.0", "USD")
    assert read["task"].lstrip("\n") == made["findings"][0]["task"]


def test_markdown_escapes_what_would_be_markup() -> None:
    row = volume(1)
    made = document([row], [], [finding("volume-unattached", "high", row["id"], reason="a|b <img src=x>\n# @team")])
    text = markdown([Place("a", made)], "My *report*")
    assert text.startswith("# My \\*report\\*\n")
    assert "a\\|b \\<img src=x\\>\\\\n\\# \\@team" in text


def test_markdown_of_an_empty_account_says_that_nothing_is_found() -> None:
    text = markdown([Place("a", document([], [], []))], "x")
    assert "No finding." in text
    assert "| cost a month | unknown |" in text


@pytest.mark.parametrize("value", ["=1+1", " =1+1", "\n=1+1", "\t-1", "\uff1d1+1", "- name: A1", "+1", "@SUM(1)"])
def test_no_cell_of_the_csv_begins_a_formula(value: str) -> None:
    made = document([volume(1)], [], [finding("volume-unattached", "high", volume(1)["id"], name=value)])
    (read,) = csv.DictReader(io.StringIO(findings_csv([Place("a", made)]), newline=""))
    assert read["name"] == f"'{value}"


def test_module_and_page_call_the_same_volume_most_at_risk() -> None:
    world = [
        instance(1, 1, 2, 3),
        *(inventory_volume(number, on=1, size=100 * number) for number in (1, 2, 3)),
        inventory_volume(4, size=900),
        inventory_snapshot(1, 1, age=30 * timedelta(hours=1), policy="hourly"),
        inventory_snapshot(2, 2, age=timedelta(days=20), policy="weekly"),
        inventory_snapshot(3, 3, age=timedelta(hours=1)),
    ]
    policies = [{"policy": "hourly", "every": "1h"}, {"policy": "weekly", "every": "1w"}]
    for count in range(1, len(world) + 1):
        made = report(*world[:count], policies=policies)
        page_says = figures([Place("a", made)])["at_risk"]
        assert (page_says or {}).get("volume_id") == made["summary"]["at_risk"]
    assert made["summary"]["at_risk"] == inventory_volume(1).volume_id


def test_volume_most_at_risk_is_the_first_of_its_severity_in_every_list() -> None:
    world = [
        instance(1, 1, 2, 3, 4),
        *(inventory_volume(number, on=1, size=100 * number) for number in (1, 2, 3, 4)),
        inventory_snapshot(1, 1, age=timedelta(days=20)),
        inventory_snapshot(2, 2, age=timedelta(days=30)),
    ]
    made = report(*world, inventory_volume(9, size=900))
    # Without a point before late, the larger and the more overdue first. A volume that is not attached has no finding.
    ranked = [inventory_volume(number).volume_id for number in (4, 3, 2, 1)]
    assert [each["resource"] for each in made["findings"] if each["severity"] == "high"] == ranked
    assert made["summary"]["at_risk"] == ranked[0]
    other = document([], [], [finding("snapshot-public", "high", "snap-1", saving=exact(5.0))], region="eu-west-1")
    places = [Place("a", other), Place("b", made)]
    high = [each["resource"] for _place, each in all_findings(places) if each["severity"] == "high"]
    assert high == [*ranked, "snap-1"]
    data = page_data.page_data(places)
    assert [row[3] for row in data["findings"]["rows"] if row[0] == "high"] == high
    assert [row[0] for row in data["volumes"]["rows"]][:4] == ranked
    assert (data["figures"]["at_risk"] or {})["volume_id"] == high[0]


DOCUMENTATION = Path(__file__).resolve().parents[3] / "docs" / "storage_report.md"


def documented(heading: str) -> dict[str, str]:
    """The rows of the first table after a text of the documentation, by each name in their first cell."""
    table = (
        DOCUMENTATION.read_text(encoding="utf-8").partition(heading)[2].partition("|---|---|\n")[2].partition("\n\n")[0]
    )
    rows = [line.strip("|").split("|", 1) for line in table.splitlines()]
    return {name: text for cell, text in rows for name in re.findall(r"`(\w+)`", cell)}


# --- savings and prices in words -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("others", "in_sum", "told"),
    [
        ([], True, ""),
        (
            [("volume-gp2", "vol-1")],
            True,
            (
                "This task and that of the finding volume-gp2 exclude each other. The sum of the savings counts this "
                "saving."
            ),
        ),
        (
            [("leftover-rejected", "i-1"), ("volume-gp2", "vol-1")],
            False,
            (
                "This task and those of the findings leftover-rejected of i-1 and volume-gp2 exclude each other."
                " The sum of the savings counts the larger saving."
            ),
        ),
        (
            [("volume-gp2", f"vol-{number}") for number in range(2, 9)],
            True,
            (
                "This task and those of the findings volume-gp2 of vol-2, volume-gp2 of vol-3, volume-gp2 of vol-4, "
                "volume-gp2 of vol-5, volume-gp2 of vol-6 and 2 more exclude each other. The sum of the savings counts "
                "this saving."
            ),
        ),
    ],
    ids=["none", "one", "two", "many"],
)
def test_findings_that_exclude_each_other_are_named(others: list[tuple[str, str]], in_sum: bool, told: str) -> None:
    excludes = [{"id": other, "resource": resource} for other, resource in others]
    one = finding("volume-unattached", "medium", "vol-1", saving=exact(8.0), excludes=excludes, in_sum=in_sum)
    assert exclusion(one) == told
    made = markdown([Place("a", document([volume(1)], [], [one]))], "x")
    assert ("8.00 USD, not in the sum of the savings |" in made) is (not in_sum)
    (row,) = csv.DictReader(io.StringIO(findings_csv([Place("a", document([volume(1)], [], [one]))])))
    assert row["in_sum"] == ("yes" if in_sum else "no")
    assert row["excludes"] == "; ".join(f"{other} of {resource}" for other, resource in others)


def test_finding_without_a_saving_is_no_part_of_the_sum() -> None:
    one = finding("volume-unencrypted", "medium", "vol-1", excludes=[{"id": "volume-gp2", "resource": "vol-1"}])
    place = Place("a", document([volume(1)], [], [one]))
    assert exclusion(one) == "This task and that of the finding volume-gp2 exclude each other."
    assert "not in the sum" not in markdown([place], "x")
    assert page_data.page_data([place])["findings"]["rows"][0][14] == 0


def test_document_of_an_earlier_version_has_no_exclusions() -> None:
    one = finding("volume-unattached", "medium", "vol-1", saving=exact(8.0))
    del one["in_sum"], one["excludes"]
    made = document([volume(1)], [], [{**one, "in_sum": True}])
    made["findings"] = [one]
    place = Place("a", made)
    assert exclusion(one) == ""
    assert "8.00 USD |" in markdown([place], "x")
    assert page_data.page_data([place])["findings"]["rows"][0][12:] == ["", "", 0]
    assert next(csv.DictReader(io.StringIO(findings_csv([place]))))["in_sum"] == "yes"


@pytest.mark.parametrize(
    ("kind", "saving", "told"),
    [
        ("volume", exact(8.0), ""),
        (
            "volume",
            {**bounds(8.0), "least": 3.0},
            (
                "A range, since the first task takes a final snapshot. Its cost is known only later. It is at most the "
                "price of the full size."
            ),
        ),
        ("snapshot", bounds(5.0), "A range, since EC2 does not show how much a snapshot stores."),
        ("image", bounds(5.0), "A range, since EC2 does not show how much a snapshot stores."),
        (
            "snapshot",
            {**bounds(5.0), "basis": "changed blocks"},
            "A range, since the next snapshot keeps the blocks that it needs.",
        ),
        ("volume", {**exact(1.0), "exact": False}, ""),  # a magnetic volume
        ("volume", None, ""),
    ],
)
def test_range_of_a_saving_has_a_reason(kind: str, saving: Any, told: str) -> None:
    assert range_reason(finding("volume-unattached", "medium", "vol-1", kind=kind, saving=saving)) == told


def test_each_source_of_prices_has_its_names_and_its_date() -> None:
    prices = {
        "source": "task",
        "date": "2026-11-01",
        "sources": {"snapshot.gib": "shipped", "gp3.gib": "task", "gp2.gib": "shipped"},
        "dates": {"task": "2026-11-01", "shipped": "2026-11-30"},
    }
    assert price_sources(prices) == [
        {"source": "task", "date": "2026-11-01", "names": ["gp3.gib"]},
        {"source": "shipped", "date": "2026-11-30", "names": ["gp2.gib", "snapshot.gib"]},
    ]
    # Documents of earlier versions have one date, and those without a price have no source.
    del prices["dates"]
    assert [each["date"] for each in price_sources(prices)] == ["2026-11-01", None]
    assert price_sources({"source": None, "date": None, "sources": {}}) == []


def test_documentation_has_every_key_of_the_json_and_every_column_of_the_csv() -> None:
    made = joined([Place("a", small()), Place("b", None, "no")], changes([Place("", small())], [Place("a", small())]))
    made = json.loads(json.dumps(made))
    top, figure = documented("`report.json` has"), documented("`figures` has")
    assert set(top) == set(made)
    assert set(figure) == set(made["figures"])
    for name in ("places", "changes"):
        keys = made[name][0] if name == "places" else made[name]
        assert set(keys) - set(re.findall(r"`(\w+)`", top[name])) == set(), name
    for name in ("at_risk", "recovery"):
        assert set(made["figures"][name]) - set(re.findall(r"`(\w+)`", figure[name])) == set(), name
    columns = DOCUMENTATION.read_text(encoding="utf-8").partition("the names of the columns (RFC 4180): ")[2]
    assert tuple(re.findall(r"`(\w+)`", columns.partition(".")[0])) == COLUMNS
