# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report as text: CSV of the findings, and Markdown for a chat or a pull request.

Private to this collection.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .._kernel.display import counted, visible
from .._kernel.times import age_text
from .joining import (
    SEVERITIES,
    Place,
    all_findings,
    exclusion,
    figures,
    generated,
    is_outdone,
    lacks_price,
    range_reason,
)

MOST_LINES = 20
"""The number of findings in the Markdown."""
COLUMNS = (
    "severity", "id", "kind", "resource", "name", "host", "account", "region", "reason", "currency",
    "cost_least", "cost_most", "saving_least", "saving_most", "gib", "iops", "mibps", "task",
    "in_sum", "excludes",
)  # fmt: skip


def findings_csv(places: Sequence[Place]) -> str:
    """Return the findings of all places, with a line of names, as RFC 4180 describes it."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for index, finding in all_findings(places):
        row = _csv_row(places[index], finding)
        writer.writerow([_cell(row[column], is_task=column == "task") for column in COLUMNS])
    return out.getvalue()


def _csv_row(place: Place, finding: Mapping[str, Any]) -> dict[str, Any]:
    cost, saving = finding["cost"] or {}, finding["saving"] or {}
    return {
        **{key: finding[key] for key in ("severity", "id", "kind", "resource", "name", "account", "region")},
        **{key: finding[key] for key in ("reason", "task")},
        **{key: finding["amount"][key] for key in ("gib", "iops", "mibps")},
        "host": place.host,
        "currency": place.currency if finding["cost"] or finding["saving"] else "",
        "cost_least": cost.get("least"),
        "cost_most": cost.get("most"),
        "saving_least": saving.get("least"),
        "saving_most": saving.get("most"),
        "in_sum": ("yes" if finding.get("in_sum", True) else "no") if saving else "",
        "excludes": "; ".join(f"{each['id']} of {each['resource']}" for each in finding.get("excludes") or ()),
    }


_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""The first characters of a formula, also in full width, as spreadsheets in Japanese and Chinese read them."""


def _cell(value: Any, *, is_task: bool) -> Any:
    """Return *value* as a spreadsheet shows it, never as a formula: tags are text that other people wrote (OWASP)."""
    if isinstance(value, str) and (value[:1] in ("\t", "\r", "\n") or value.lstrip()[:1] in _FORMULA):
        # A task begins with a dash. YAML allows an empty line before it.
        return f"\n{value}" if is_task and value.startswith("- name:") else f"'{value}"
    return value


def markdown(places: Sequence[Place], title: str, changes: Mapping[str, Any] | None = None) -> str:
    """Return the key figures, the *changes* and the gravest findings, in CommonMark with tables."""
    figure = figures(places)
    found = all_findings(places)
    lines = [f"# {_md(title)}", "", *_figure_lines(figure, generated(places)), ""]
    lines += [*_change_lines(changes), ""] if changes else []
    lines += ["## Findings", ""]
    lines += _finding_lines(places, found)
    failed = [place for place in places if place.document is None]
    if failed:
        lines += ["", "## Not read", ""]
        lines += [f"- {_md(place.host)}: {_md(place.error)}" for place in failed]
    missing = [(place, part) for place in places if place.document for part in place.document["partial"]]
    if missing:
        lines += ["", "## Parts that could not be read", ""]
        lines += [f"- {_md(place.host)}: {_md(part['missing'])}" for place, part in missing]
    return "\n".join(lines) + "\n"


MOST_CHANGES = 10
"""The findings and volumes in each list of changes in the Markdown."""


def _change_lines(changes: Mapping[str, Any]) -> list[str]:
    lines = [f"## Changes since {changes['since']}", "", f"{changes_text(changes)}.", ""]
    lists = (
        ("new", changes["findings"]["new"], [f"{row['severity']}: {_md(row['reason'])}" for row in changes["new"]]),
        ("solved", changes["findings"]["solved"], [f"{row['id']} of {row['resource']}" for row in changes["solved"]]),
        ("late or lost", changes["worse_volumes"], [_worse_text(row) for row in changes["worse"]]),
    )
    for word, total, texts in lists:
        shown = texts[:MOST_CHANGES]
        lines += [f"- {word}: {text}" for text in shown]
        lines += [f"- {word}: {total - len(shown)} more"] if total > len(shown) else []
    if changes["not_compared"]:
        names = ", ".join(f"{each['account']} {each['region']}".strip() for each in changes["not_compared"])
        lines.append(f"- not compared, since only one of the reports has read it in this way: {names}")
    return lines


def _worse_text(row: Mapping[str, Any]) -> str:
    named = f"{row['volume_id']} ({_md(row['name'])})" if row["name"] else row["volume_id"]
    now = f"from {row['now']}" if row["now"] else "missing"
    return f"{named}: the newest recovery point is {now}{' and late' if row['now'] and row['late'] else ''}"


def changes_text(changes: Mapping[str, Any]) -> str:
    """Return the counts of the changes, and the difference of the costs, in one line."""
    found = changes["findings"]
    parts = [f"{counted(found['new'], 'new finding')}, {found['solved']} solved"]
    parts += [f"cost a month {_change(each)} {each['currency']}" for each in changes["cost"]]
    parts.append(f"{counted(changes['worse_volumes'], 'volume')} with a newly late or lost recovery point")
    return "; ".join(parts)


def _change(cost: Mapping[str, Any]) -> str:
    least, most = sorted((cost["least"], cost["most"]))
    return f"{most:+.2f}" if least == most else f"{least:+.2f} to {most:+.2f}"


def _figure_lines(figure: Mapping[str, Any], moment: str | None) -> list[str]:
    recovery, findings = figure["recovery"], figure["findings"]
    volumes = counted(figure["volumes"]["count"], "volume")
    snapshots = counted(figure["snapshots"]["count"], "snapshot")
    lines = [
        f"As of {moment}, in {counted(figure['places'], 'place')}." if moment else "No place has answered.",
        "",
        "| figure | value |",
        "|---|---|",
        f"| capacity | {volumes}, {figure['volumes']['gib']} GiB; {snapshots} |",
        f"| cost a month | {money(figure['cost'])} |",
        f"| savings found a month | {_saving_sum(figure)} |",
        f"| volumes at risk | {_risk_text(recovery)} |",
        f"| findings | {', '.join(f'{findings[severity]} {severity}' for severity in SEVERITIES)} |",
    ]
    if figure["unpriced_regions"]:
        lines.append(f"| regions without a price | {', '.join(figure['unpriced_regions'])} |")
    if figure["at_risk"]:
        lines.append(f"| most at risk | {_at_risk(figure['at_risk'])} |")
    if figure["largest_saving"]:
        largest = figure["largest_saving"]
        lines.append(
            f"| largest saving | {_md(largest['resource'])}: {_saving(largest, largest['currency'])} a month |"
        )
    return lines


def _saving_sum(figure: Mapping[str, Any]) -> str:
    regions = figure["unpriced_regions"]
    if not figure["saving"] or not regions:
        return money(figure["saving"])
    lack = "which has no price" if len(regions) == 1 else "which have no price"
    return f"{money(figure['saving'])}, without {' and '.join(regions)}, {lack}"


def _risk_text(recovery: Mapping[str, Any]) -> str:
    without = recovery["without_point"]
    if without is None:
        return str(recovery["at_risk"])
    return f"{without} without a recovery point, {recovery['at_risk'] - without} late"


def _at_risk(row: Mapping[str, Any]) -> str:
    named = f"{row['volume_id']} ({_md(row['name'])})" if row["name"] else row["volume_id"]
    if row["newest"] is None:
        equals = f"; the largest of {row['equals'] + 1} such volumes" if row["equals"] else ""
        return f"{named} in {row['region']}: no recovery point{equals}"
    target = f", target {age_text(row['target'])}" if row["target"] else ""
    return f"{named} in {row['region']}: newest recovery point {age_text(row['newest']['age'])} old{target}"


def money(sums: Iterable[Mapping[str, Any]]) -> str:
    """Return sums by currency for a person: ``8.00 to 13.00 USD``, or ``unknown``, since a price is never guessed."""
    texts = [f"{_span(each['least'], each['most'])} {each['currency']}" for each in sums]
    return " + ".join(texts) or "unknown"


def _span(least: float, most: float) -> str:
    if round(least, 2) == round(most, 2):
        return f"{most:.2f}"
    return f"up to {most:.2f}" if round(least, 2) == 0 else f"{least:.2f} to {most:.2f}"


def _saving(finding: Mapping[str, Any], currency: str) -> str:
    saving = finding["saving"]
    return f"{_span(saving['least'], saving['most'])} {currency}" if saving else ""


def _finding_money(place: Place, finding: Mapping[str, Any]) -> str:
    if lacks_price(place, finding):
        return f"no price for {place.region}"
    return _saving(finding, place.currency) + (", not in the sum of the savings" if is_outdone(finding) else "")


def _finding_lines(places: Sequence[Place], found: Sequence[tuple[int, Mapping[str, Any]]]) -> list[str]:
    if not found:
        return ["No finding."]
    lines = ["| severity | finding | reason | saving a month |", "|---|---|---|---|"]
    for index, finding in found[:MOST_LINES]:
        reason = " ".join(filter(None, (finding["reason"], range_reason(finding), exclusion(finding))))
        lines.append(
            f"| {finding['severity']} | {finding['id']} | {_md(reason)} | {_finding_money(places[index], finding)} |"
        )
    if len(found) > MOST_LINES:
        lines += ["", f"The other files of this report have {counted(len(found) - MOST_LINES, 'more finding')}."]
    return lines


def _md(text: Any) -> str:
    """Return text that Markdown shows as it is, in one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&@])", r"\\\1", visible(str(text)))
