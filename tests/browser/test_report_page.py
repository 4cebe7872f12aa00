# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page of the storage report in a browser: search, sort, filter, numbers, speed, accessibility, and its looks."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._report.joining import Place, figures
from axe_playwright_python.sync_playwright import Axe

from browser.conftest import Open
from report_documents import DAY, bounds, document, exact, finding, foreseen, large, small, snapshot, volume
from tools.environment import WORK

SCREENSHOTS = WORK / "screenshots"
EVIL = "</script><img src=x onerror=alert(1)>"
SNAPSHOTS = 100_000
FIRST_PAINT, FILTER = 2_000, 200
"""Milliseconds, from the requirements on the page with 100,000 snapshots."""

TIMED = """(steps) => new Promise((done) => {
  const began = performance.now();
  const target = document.querySelector(steps.selector);
  target.value = steps.value;
  target.dispatchEvent(new Event(steps.event, { bubbles: true }));
  // The second frame begins when the first one has been painted.
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)));
})"""


def both() -> list[dict[str, Any]]:
    return [small(), small("eu-west-1", first=1000)]


def test_numbers_of_the_page_equal_those_of_the_json(open_report: Open) -> None:
    documents = both()
    expected = figures([Place(str(number), each) for number, each in enumerate(documents)])
    report = open_report(documents)
    cost, saving = expected["cost"][0], expected["saving"][0]
    assert report.figure("capacity") == f"{expected['volumes']['gib']:,} GiB"
    assert report.figure("cost") == f"{cost['least']:,.2f} to {cost['most']:,.2f} USD"
    assert report.figure("saving") == f"{saving['least']:,.2f} to {saving['most']:,.2f} USD"
    assert report.figure("at-risk") == str(expected["recovery"]["at_risk"])
    assert report.figure("findings") == str(sum(expected["findings"].values()))
    assert len(report.shown("findings")) == sum(expected["findings"].values())
    assert len(report.shown("volumes")) == expected["volumes"]["count"]
    assert f"of {expected['snapshots']['count']} snapshots" in report.page.locator("#snapshots").inner_text()


def test_search_sort_and_filter_of_the_findings(open_report: Open) -> None:
    report = open_report(both())
    page = report.page
    page.locator("#findings-table input[type=search]").fill("scratch UNATTACHED us-east")
    (row,) = report.shown("findings")
    assert "vol-00000000000000003" in row
    page.get_by_role("button", name="Show all").first.click()
    page.locator("#findings-table select").nth(0).select_option("low")
    assert len(report.shown("findings")) == 4
    page.get_by_role("button", name="Saving a month").click()
    savings = [float(number) for row in report.shown("findings") for number in re.findall(r"([\d.]+) USD", row)]
    assert savings == [5.0, 5.0, 2.0, 2.0]
    page.get_by_role("button", name="Saving a month").click()
    assert page.locator("#findings-table th[aria-sort=ascending]").inner_text().startswith("Saving a month")
    assert "2.00 USD" in report.shown("findings")[0]
    page.locator("#findings-table input[type=search]").fill("nothing like this")
    assert report.shown("findings") == ["No finding matches."]


def test_largest_saving_and_its_task_are_at_the_top_and_can_be_copied(open_report: Open) -> None:
    report = open_report([small()], permissions=["clipboard-read", "clipboard-write"])
    answer = report.page.locator(".answer.saving")
    assert "16.00 USD a month: vol-00000000000000003 (scratch)" in answer.inner_text()
    answer.get_by_role("button", name="Copy the task").click()
    answer.get_by_role("button", name="Copied").wait_for()
    copied = report.page.evaluate("navigator.clipboard.readText()")
    assert copied == small()["findings"][2]["task"]
    answer.get_by_role("button", name="Copy as a playbook").click()
    answer.get_by_role("button", name="Copied").nth(1).wait_for()
    assert "  tasks:\n    - name: Mend vol-" in report.page.evaluate("navigator.clipboard.readText()")
    assert "logs, vol-00000000000000004" in report.page.locator(".answer.risk").inner_text()
    # Nobody has to scroll for the volume most at risk, the largest saving and its task.
    for seen in (".answer.risk", ".answer.saving", ".answer.saving pre"):
        box = report.page.locator(seen).bounding_box()
        assert box is not None and box["y"] + box["height"] <= 900


def test_keyboard_reaches_the_drill_down_of_a_chart(open_report: Open) -> None:
    page = open_report([small()]).page
    page.locator("#recovery-states summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    # The table's scrolling region comes first, then the button in its first row.
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert "no recovery point" in page.locator("#volumes-table tbody").inner_text()
    assert page.locator("#volumes-table tbody tr").count() == 1
    assert page.evaluate("document.activeElement.id") == "volumes-title"


def test_timeline_and_relations_follow_a_volume(open_report: Open) -> None:
    page = open_report([small()]).page
    page.locator("#timeline input").fill("db-data")
    assert "Volumes 1 to 1 of 1" in page.locator("#timeline").inner_text()
    assert page.locator("#timeline svg g[fill] circle, #timeline svg circle").count() == 20
    assert page.locator("#timeline svg title").first.text_content().count("locked until") == 1
    page.locator("#graph input").fill("ami-00000000000000001")
    page.keyboard.press("Enter")
    listed = page.locator("#graph tbody tr").all_inner_texts()
    assert any("lt-00000000000000001" in row and "names" in row for row in listed)
    assert any("i-00000000000000001" in row and "launched from" in row for row in listed)


def test_timeline_shows_who_keeps_a_point_and_when_its_policy_deletes_it(open_report: Open) -> None:
    source = small()
    web = source["recovery"]["volumes"][0]
    foreseen(web, days=3)
    page = open_report([source]).page
    lanes = page.locator("#timeline")
    # The page names the policy whose rules it does not know, and never a deletion by it.
    assert "when db-hourly will delete its snapshots" in page.locator("#timeline-unknown").inner_text()
    lanes.locator("summary").click()
    rows = {row.split("\t")[0]: row.split("\t")[-1] for row in lanes.locator("tbody tr").all_inner_texts()}
    first = web["forecast"][2]["deletion"][:16].replace("T", " ")
    oldest = web["forecast"][-1]["deletion"][:16].replace("T", " ")
    assert (rows["web-root (vol-00000000000000001)"], rows["db-data (vol-00000000000000002)"]) == (oldest, "unknown")
    page.locator("#timeline input").fill("web-root")
    told = page.locator("#timeline svg title").all_text_contents()
    assert any(f"kept by: {web['forecast'][2]['kept_by'][0]}\ndeletion: {first}" in text for text in told)
    assert any("kept by: no rule" in text for text in told)
    assert "if the policy takes no more snapshots: not deleted" in told[0]
    page.locator("#snapshots-table input").fill("web-root")
    listed = page.locator("#snapshots-table tbody tr").all_inner_texts()
    assert f"{web['forecast'][2]['kept_by'][0]}\t{first}" in listed[2]
    page.locator("#snapshots-table input").fill("db-data")
    assert "\tunknown\t" in page.locator("#snapshots-table tbody tr").first.inner_text()


def test_changes_since_an_earlier_report_are_named(open_report: Open) -> None:
    earlier = small()
    solved = earlier["findings"].pop(2)
    earlier["findings"].append(finding("volume-io1", "info", solved["resource"], name=EVIL))
    report = open_report([small()], since=[earlier])
    section = report.page.locator("#changes")
    about = "1 new finding; 1 solved; cost a month +0.00 USD; 0 volumes with a newly late or lost recovery point."
    assert section.locator("#changes-about").inner_text().replace(", 1 solved", "; 1 solved") == about
    section.locator("summary").first.click()
    assert solved["reason"] in section.locator("tbody").first.inner_text()
    section.locator("summary").nth(1).click()
    assert EVIL in section.locator("tbody").nth(1).inner_text()
    assert open_report([small()]).page.locator("#changes").is_hidden()


def test_overview_answers_what_a_fresh_reader_asks(open_report: Open) -> None:
    names = ["db", "big", "small"]
    rows = [volume(number + 1, 100 * (number % 2 + 1), name=name) for number, name in enumerate(names)]
    page = open_report([document(rows, [], [])]).page
    risk = page.locator(".answer.risk").inner_text()
    assert "big, vol-00000000000000002" in risk
    assert "2 other attached volumes are equally at risk. This one is the largest, with 200 GiB." in risk
    assert "account and region: 123456789012 us-east-1" in page.locator("#about").inner_text()
    assert "3 without a recovery point" in page.locator(".figure").nth(3).inner_text()
    page.locator("#words summary").click()
    words = page.locator("#words").inner_text()
    assert "(option rpo_max), here 24 h." in words and "Among equals, the largest volume" in words


def test_bars_have_values_and_a_missing_price_is_said_where_it_is_missing(open_report: Open) -> None:
    free = document(
        [volume(9, 50, name="free", state="available", cost=None)],
        [],
        [finding("volume-unattached", "medium", volume(9)["id"])],
        region="xx-north-1",
    )
    free["prices"].update(source=None, date=None, sources={}, dates={})
    page = open_report([small(), free]).page
    assert "10.00" in page.locator("#cost-type svg").text_content()
    assert "no price for xx-north-1" in page.locator("#cost-region svg").text_content()
    assert "us-east-1 from the table of ec2ops.storage, read on 2026-11-30. xx-north-1 has no price" in (
        page.locator("#costs-about").inner_text()
    )
    assert "xx-north-1 has no price" in page.locator("#sources").inner_text()
    assert "Without xx-north-1, which has no price." in page.locator("#figures").inner_text()
    page.locator("#findings-table input").fill("xx-north-1 unattached")
    assert "no price for xx-north-1" in page.locator("#findings-table tbody").inner_text()
    page.locator("#volumes-table input").fill("free")
    assert "no price for xx-north-1" in page.locator("#volumes-table tbody").inner_text()


def test_savings_that_exclude_each_other_and_ranges_are_explained_beside_them(open_report: Open) -> None:
    row = volume(1, 200, name="tmp", type="gp2", state="available")
    one, other = "volume-unattached", "volume-gp2"
    outdone = {"in_sum": False, "excludes": [{"id": one, "resource": row["id"]}]}
    counted = {"in_sum": True, "excludes": [{"id": other, "resource": row["id"]}]}
    found = [
        finding(one, "medium", row["id"], saving={**bounds(16.0), "least": 6.0}, **counted),
        finding(other, "low", row["id"], saving=exact(4.0), **outdone),
    ]
    page = open_report([document([row], [], found)]).page
    top, table = page.locator("#figures").inner_text(), page.locator("#findings-table")
    assert "Of tasks that exclude each other, one counts." in top
    assert "A range: each saving says why." in top
    first, second = (each.inner_text() for each in table.locator("tbody tr").all())
    assert f"that of the finding {other} exclude each other. The sum of the savings counts this saving." in first
    assert "A range, since the first task takes a final snapshot." in first
    assert "4.00 USD\nnot in the sum of the savings" in second
    assert "not in the sum" not in first
    assert "A range" not in second
    assert f"that of the finding {other} exclude each other" in page.locator(".answer.saving").inner_text()


def test_every_source_of_prices_is_named_with_its_prices(open_report: Open) -> None:
    one = small()
    names = {"gp3.gib": "task", **{f"io2.{number}": "shipped" for number in range(4)}, "snapshot.gib": "api"}
    dates = {"task": "2026-11-01", "api": "2026-11-20", "shipped": "2026-11-30"}
    one["prices"].update(source="task", date="2026-11-01", sources=names, dates=dates)
    page = open_report([one]).page
    told = (
        "us-east-1 gp3.gib from the task, dated 2026-11-01; snapshot.gib from the AWS Pricing API, published on "
        "2026-11-20; 4 prices from the table of ec2ops.storage, read on 2026-11-30"
    )
    assert told in page.locator("#costs-about").inner_text()
    assert told in page.locator("#sources").inner_text()


def test_page_uses_no_word_that_only_the_documentation_explains(open_report: Open) -> None:
    page = open_report([small()]).page
    text = page.locator("body").inner_text().lower()
    assert not re.search(r"\bplaces?\b|\bslots?\b", text)
    page.locator("#words summary").click()
    assert "(option rpo_max), here 24 h" in page.locator("#words").inner_text()


def test_largest_savings_are_one_step_away(open_report: Open) -> None:
    report = open_report(both())
    page = report.page
    page.locator(".figure").nth(2).get_by_role("button", name="Show them").click()
    assert "16.00 USD" in report.shown("findings")[0]
    assert page.locator("#findings-table th[aria-sort=descending]").inner_text().startswith("Saving a month")
    page.get_by_role("button", name="Show all").first.click()
    assert report.shown("findings")[0].startswith("high")
    page.get_by_label("Order").select_option("saving")
    assert "16.00 USD" in report.shown("findings")[0]


def test_tags_are_shown_as_text(open_report: Open) -> None:
    row = volume(1, name=EVIL, tags={"team": EVIL}, policies=[EVIL])
    kept = snapshot(1, row["id"], 3 * DAY, policy=EVIL, tags={"team": EVIL})
    mend = finding("volume-unattached", "high", row["id"], name=EVIL, reason=EVIL, task=EVIL, saving=exact(1.0))
    report = open_report([document([row], [kept], [mend]), Place(EVIL, None, EVIL)], title=EVIL)
    assert report.page.locator("h1").inner_text() == EVIL
    assert EVIL in report.page.locator("#findings-table tbody").inner_text()
    assert report.page.locator("img").count() == 0


def test_report_of_an_empty_account_is_pleasant(open_report: Open) -> None:
    page = open_report([document([], [], [])]).page
    assert "There is no volume, snapshot or image here yet." in page.locator("#overview").inner_text()
    assert "nothing is wasted" in page.locator("#findings").inner_text()
    assert "undefined" not in page.inner_text("body") and "NaN" not in page.inner_text("body")


def test_place_without_a_price_or_a_permission_is_named(open_report: Open) -> None:
    part = {
        "part": "locks", "operation": "DescribeLockedSnapshots", "code": "UnauthorizedOperation", "message": "no",
        "permission": "ec2:DescribeLockedSnapshots", "missing": "The report does not show locks.",
    }  # fmt: skip
    bare = document([volume(1, cost=None)], [], [], region="xx-north-1", partial=[part])
    bare["prices"]["source"] = None
    report = open_report([bare, Place("lab", None, "AuthFailure: no")])
    notes = report.page.locator("#notes").inner_text()
    assert "Allow ec2:DescribeLockedSnapshots" in notes
    assert "There is no price for xx-north-1" in notes
    assert "lab was not read: AuthFailure: no" in notes
    assert report.figure("cost") == "unknown"


def test_100000_snapshots_stay_responsive(open_report: Open, capsys: pytest.CaptureFixture[str]) -> None:
    report = open_report([large(SNAPSHOTS)])
    page = report.page
    paint = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    times = {"first paint": paint}
    steps = {
        "first search of the snapshots": ("#snapshots-table input", "shop-12", "input"),
        "search of a snapshot": ("#snapshots-table input", "snap-0", "input"),
        "next search of the snapshots": ("#snapshots-table input", "shop-126", "input"),
        "filter of the snapshots": ("#snapshots-table select", "weekly", "change"),
        "search of the findings": ("#findings-table input", "snap-0f", "input"),
        "filter of the findings": ("#findings-table select", "high", "change"),
        "search of the timeline": ("#timeline input", "db-7", "input"),
    }
    for name, (selector, value, event) in steps.items():
        times[name] = page.evaluate(TIMED, {"selector": selector, "value": value, "event": event})
    with capsys.disabled():
        print("\n" + "\n".join(f"  {name}: {milliseconds:.0f} ms" for name, milliseconds in times.items()))
    assert "out of 100,000" in page.locator("#snapshots").inner_text()
    assert times.pop("first paint") < FIRST_PAINT
    assert {name: spent for name, spent in times.items() if spent >= FILTER} == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_accessible_at_three_widths_and_a_screenshot_of_each(open_report: Open, theme: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    # Playwright's way around the page's policy, for axe alone: axe is a script that the page does not know.
    earlier = small()
    earlier["findings"].pop(1)
    documents = both()
    for row in documents[0]["recovery"]["volumes"]:
        foreseen(row)
    report = open_report(documents, since=[earlier], color_scheme=theme, bypass_csp=True)
    page = report.page
    for summary in page.locator("details > summary").all():
        summary.evaluate("(each) => { each.parentElement.open = true; }")
    found = Axe().run(page).response["violations"]
    assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found] == []
    for width in (390, 800, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_function("(wide) => innerWidth === wide", arg=width)
        # Wide tables scroll inside of their frames. The page itself does not.
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=SCREENSHOTS / f"{theme}-{width}.png", full_page=True)


def test_printed_page_has_its_charts_and_no_controls(open_report: Open, tmp_path: Path) -> None:
    page = open_report([small()], color_scheme="dark").page
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden() and page.locator("#findings-table .controls").is_hidden()
    assert page.locator("#cost-type svg").is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    shutil.copy(tmp_path / "report.pdf", SCREENSHOTS / "printed.pdf") if SCREENSHOTS.is_dir() else None


def test_search_of_the_snapshots_looks_at_ids_volumes_policies_and_remarks(open_report: Open) -> None:
    source = small()
    source["snapshots"][0]["tier"] = "archive"
    page = open_report([source]).page
    box = page.locator("#snapshots-table input")
    expected = {
        "snap-00000000000000064": 1,
        "DB-data": 20,
        "web-daily vol-00000000000000001": 14,
        "archived": 1,
        "x": 0,
    }
    for words, number in expected.items():
        box.fill(words)
        status = page.locator("#snapshots-table p[role=status]").inner_text()
        assert f"of {number} snapshot" in status, words
