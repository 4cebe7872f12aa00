# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The documents of several places, joined: key figures, costs and findings of all of them.

A document is the result of `storage_info` for one region of one account, see docs/storage_info.md.

Private to this collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .._kernel.errors import SpecError
from .._kernel.report import risk_order, risk_rank

DOCUMENT = "ec2ops.storage/report/1"
"""The schema of the documents that this wing reads."""
SCHEMA = "ec2ops.storage/joined-report/1"
"""The schema of the joined report."""
SEVERITIES = ("high", "medium", "low", "info")

Document = Mapping[str, Any]
Cost = Mapping[str, Any]


@dataclass(frozen=True)
class Place:
    """One host of the play. ``document``: None if the host failed, and ``error`` has the reason then."""

    host: str
    document: Document | None = None
    error: str = ""

    @property
    def currency(self) -> str:
        """Return the currency of the document's prices."""
        return str(((self.document or {}).get("prices") or {}).get("currency") or "USD")

    @property
    def region(self) -> str:
        """Return the region of the document, or an empty text without one."""
        return str((self.document or {}).get("region") or "")

    def rows(self, part: str) -> Sequence[Any]:
        """Return the list *part* of the document. It is empty if the document has been bounded, or is missing."""
        return (self.document or {}).get(part) or ()

    @property
    def recovered(self) -> Sequence[Mapping[str, Any]]:
        """Return the rows of ``recovery.volumes``."""
        return ((self.document or {}).get("recovery") or {}).get("volumes") or ()


def checked(host: str, document: Any) -> Place:
    """Return the place of *document*. Raises SpecError unless it is a document that this version can read."""
    schema = document.get("schema") if isinstance(document, Mapping) else None
    if schema != DOCUMENT:
        raise SpecError(
            f"documents: the document of {host} has the schema {schema!r}, and this version reads {DOCUMENT}. Read the "
            "storage of that place again."
        )
    return Place(host, document)


def joined(places: Sequence[Place], changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return the joined report: the places, the key figures, the *changes*, and each document in full."""
    return {
        "schema": SCHEMA,
        "generated": generated(places),
        "places": [place_row(place) for place in places],
        "figures": figures(places),
        "changes": changes,
        "documents": [dict(place.document) for place in places if place.document is not None],
    }


def generated(places: Iterable[Place]) -> str | None:
    """Return the time of the newest document, as EC2 gave it, or None without a document."""
    return max((str(place.document["generated"]) for place in places if place.document), default=None)


def place_row(place: Place) -> dict[str, Any]:
    """Return a place with its key figures, or with the reason why there are none."""
    document = place.document
    if document is None:
        return {"host": place.host, "error": place.error, "account": None, "region": None}
    summary, prices = document["summary"], document["prices"]
    return {
        "host": place.host,
        "error": None,
        "account": document["account"],
        "region": document["region"],
        "generated": document["generated"],
        "rpo_max": document["options"]["rpo_max"],
        "currency": place.currency,
        "price_source": prices["source"],
        "price_sources": price_sources(prices),
        "price_date": prices["date"],
        "price_references": list(prices["references"]),
        "prices_missing": list(prices["missing"]),
        "partial": [dict(part) for part in document["partial"]],
        "volumes": summary["volumes"]["count"],
        "gib": summary["volumes"]["gib"],
        "snapshots": summary["snapshots"]["count"],
        "cost": summary["cost"],
        "saving": summary["saving"],
        "findings": dict(summary["findings"]),
    }


SOURCES = ("task", "file", "api", "shipped")
"""The sources of prices, in the order in which a price is looked for."""


def price_sources(prices: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each source of prices with its date, and the names of its prices."""
    names: dict[str, list[str]] = {}
    for name, source in (prices.get("sources") or {}).items():
        names.setdefault(source, []).append(name)
    dates = prices.get("dates") or {}
    known = sorted(names, key=lambda source: (SOURCES.index(source) if source in SOURCES else len(SOURCES), source))
    if not known and prices["source"]:
        known = [prices["source"]]
    return [
        {
            "source": source,
            "date": dates.get(source, prices["date"] if source == prices["source"] else None),
            "names": sorted(names.get(source, ())),
        }
        for source in known
    ]


def figures(places: Sequence[Place]) -> dict[str, Any]:
    """Return the key figures of all places. Money is a list with an entry for each currency."""
    known = [place for place in places if place.document is not None]
    summaries = [(place, (place.document or {})["summary"]) for place in known]

    def total(part: str, key: str) -> int:
        return sum(summary[part][key] or 0 for _place, summary in summaries)

    return {
        "places": len(places),
        "failed_places": len(places) - len(known),
        "volumes": {key: total("volumes", key) for key in ("count", "gib", "unencrypted", "unattached")},
        "snapshots": {key: total("snapshots", key) for key in ("count", "gib_full")},
        "images": {key: total("images", key) for key in ("count", "unused")},
        "instances": {key: total("instances", key) for key in ("count", "stopped")},
        "cost": by_currency((place.currency, summary["cost"]) for place, summary in summaries),
        "saving": by_currency((place.currency, _saving_of(place)) for place in known),
        "unpriced_regions": sorted({place.region for place, summary in summaries if _is_unpriced(summary)}),
        "findings": {severity: total("findings", severity) for severity in SEVERITIES},
        "findings_by_id": dict(sorted(sum((Counter(s["findings_by_id"]) for _p, s in summaries), Counter()).items())),
        "ignored": sum(summary["ignored"] for _place, summary in summaries),
        "recovery": _recovery(known),
        "at_risk": _at_risk(known),
        "largest_saving": _largest_saving(known),
    }


def _is_unpriced(summary: Mapping[str, Any]) -> bool:
    """Return whether there are resources, and no price for any of them. An empty region needs no price."""
    return summary["cost"] is None and bool(summary["volumes"]["count"] + summary["snapshots"]["count"])


def _saving_of(place: Place) -> Cost | None:
    """Return the saving at the place: 0 if its costs are known and no task saves anything. None is unknown."""
    summary = (place.document or {})["summary"]
    saving: Cost | None = summary["saving"]
    if saving is not None or summary["cost"] is None or place.document is None or "findings" not in place.document:
        return saving
    if any(row["id"] in SAVES and row["task"] and row["cost"] is None for row in place.rows("findings")):
        return None
    return {"least": 0.0, "most": 0.0, "exact": True, "basis": "price"}


def by_currency(costs: Iterable[tuple[str, Cost | None]]) -> list[dict[str, Any]]:
    """Return the sums of *costs*, an entry for each currency. A part without a price counts nowhere."""
    sums: dict[str, dict[str, Any]] = {}
    for currency, cost in costs:
        if cost is None:
            continue
        entry = sums.setdefault(currency, {"currency": currency, "least": 0.0, "most": 0.0, "exact": True})
        entry["least"] = round(entry["least"] + cost["least"], 4)
        entry["most"] = round(entry["most"] + cost["most"], 4)
        entry["exact"] = bool(entry["exact"] and cost["exact"])
    return [sums[currency] for currency in sorted(sums)]


def all_findings(places: Iterable[Place]) -> list[tuple[int, Mapping[str, Any]]]:
    """Return the findings of all places with the index of their place.

    They are sorted by severity. Of equal severity, those about recovery come first, the volume most at risk at the top,
    and the others by saving.
    """
    found = []
    for index, place in enumerate(places):
        ranks = {row["volume_id"]: risk(row) for row in place.recovered}
        for finding in place.rows("findings"):
            resource = finding["resource"]
            rank = ranks.get(resource, (0, 0.0)) if finding["id"] in AT_RISK else (0, 0.0)
            order = risk_order(rank, finding["amount"]["gib"], resource) if rank[0] else (0,)
            found.append(((severity_rank(finding["severity"]), order, -saved(finding), resource), index, finding))
    found.sort(key=lambda item: item[0])
    return [(index, finding) for _key, index, finding in found]


AT_RISK = frozenset({"volume-without-recovery-point", "volume-recovery-point-late"})
"""The findings that tell that a volume is at risk."""


def severity_rank(severity: str) -> int:
    """Return 0 for the highest severity, and the last rank for an unknown one."""
    return SEVERITIES.index(severity) if severity in SEVERITIES else len(SEVERITIES)


SAVES = frozenset(
    {
        "volume-unattached",
        "volume-of-stopped-instance",
        "volume-gp2",
        "volume-iops-within-gp3",
        "volume-performance-unused",
        "snapshot-orphaned",
        "snapshot-old",
        "image-unused",
        "leftover-swap",
        "leftover-replaced-volume",
        "leftover-drill",
        "leftover-workbench",
        "leftover-replacement",
        "leftover-rejected",
    }
)
"""The findings whose task removes or changes what costs money. They have a saving wherever there is a price."""


def lacks_price(place: Place, finding: Mapping[str, Any]) -> bool:
    """Return whether only a missing price is the reason why *finding* has no saving."""
    is_unpriced = place.document is not None and place.document["summary"]["cost"] is None
    return bool(is_unpriced and finding["saving"] is None and finding["task"] and finding["id"] in SAVES)


def saved(finding: Mapping[str, Any]) -> float:
    """Return the most that the task of *finding* saves a month, 0 without a price."""
    saving = finding.get("saving")
    return float(saving["most"]) if saving else 0.0


def exclusion(finding: Mapping[str, Any]) -> str:
    """Return in words which findings exclude this one, and which saving counts. Empty if none excludes it."""
    others = finding.get("excludes") or ()
    names = [
        each["id"] if each["resource"] == finding["resource"] else f"{each['id']} of {each['resource']}"
        for each in others[:MOST_EXCLUDED]
    ]
    if len(others) > len(names):
        names.append(f"{len(others) - len(names)} more")
    if not names:
        return ""
    last = names.pop()
    tasks = f"those of the findings {', '.join(names)} and {last}" if names else f"that of the finding {last}"
    told = f"This task and {tasks} exclude each other."
    if not finding["saving"]:
        return told
    counts = "this saving" if finding["in_sum"] else "the larger saving"
    return f"{told} The sum of the savings counts {counts}."


def is_outdone(finding: Mapping[str, Any]) -> bool:
    """Return whether a larger saving counts in the sum instead of this one."""
    return bool(finding["saving"] and finding.get("excludes")) and not finding["in_sum"]


MOST_EXCLUDED = 5
"""The most findings that `exclusion` names."""


def range_reason(finding: Mapping[str, Any]) -> str:
    """Return why the saving has bounds, and no exact value. Empty for an exact one."""
    saving = finding["saving"]
    if not saving or round(saving["least"], 2) == round(saving["most"], 2):
        return ""
    if saving["basis"] == "changed blocks":
        return "A range, since the next snapshot keeps the blocks that it needs."
    if finding["kind"] == "volume":
        return (
            "A range, since the first task takes a final snapshot. Its cost is known only later. It is at most "
            "the price of the full size."
        )
    return "A range, since EC2 does not show how much a snapshot stores."


def _recovery(places: Sequence[Place]) -> dict[str, Any]:
    """Return the key figures of recovery. ``without_point``: None if a document has been bounded."""
    parts = [(place.document or {})["summary"]["recovery"] for place in places]
    keys = ("volumes", "covered", "uncovered", "late", "with_copy", "drilled")
    oldest = max((part["oldest_age"] for part in parts if part["oldest_age"] is not None), default=None)
    rows = [row for place in places for row in place.recovered]
    is_whole = len(rows) == sum(part["volumes"] for part in parts)
    late = sum(part["late"] for part in parts)
    return {
        **{key: sum(part[key] or 0 for part in parts) for key in keys},
        "oldest_age": oldest,
        "at_risk": sum(row["newest"] is None or bool(row["late"]) for row in rows) if is_whole else late,
        "without_point": sum(row["newest"] is None for row in rows) if is_whole else None,
    }


def risk(row: Mapping[str, Any]) -> tuple[int, float]:
    """Return the rank of a row of ``recovery.volumes``, the larger the more at risk."""
    return risk_rank(
        is_attached=row["instance_id"] is not None,
        age=row["newest"]["age"] if row["newest"] is not None else None,
        target=row["target"],
        is_late=bool(row["late"]),
    )


def _at_risk(places: Sequence[Place]) -> dict[str, Any] | None:
    """Return the volume most at risk, or None. Among equals the largest volume counts, then the lowest id.

    ``equals``: the number of other volumes that are as much at risk. A bounded document has no rows, so its volumes do
    not take part.
    """
    best: tuple[Any, Place, Mapping[str, Any]] | None = None
    ranks: Counter[tuple[int, float]] = Counter()
    for place in places:
        sizes = {row["id"]: row["gib"] or 0 for row in place.rows("volumes")}
        for row in place.recovered:
            rank = risk(row)
            ranks[rank] += 1
            key = risk_order(rank, sizes.get(row["volume_id"], 0), row["volume_id"])
            if rank[0] and (best is None or key < best[0]):
                best = (key, place, row)
    if best is None:
        return None
    key, place, row = best
    document = place.document or {}
    return {
        "host": place.host,
        "account": document["account"],
        "region": document["region"],
        "volume_id": row["volume_id"],
        "name": row["name"],
        "gib": -key[2],
        "attached": row["instance_id"] is not None,
        "newest": dict(row["newest"]) if row["newest"] else None,
        "target": row["target"],
        "equals": ranks[risk(row)] - 1,
    }


def _largest_saving(places: Sequence[Place]) -> dict[str, Any] | None:
    best: dict[str, Any] | None = None
    for place in places:
        document = place.document or {}
        index = document["summary"]["largest_saving"]
        findings = place.rows("findings")
        if index is None or index >= len(findings):
            continue
        finding = findings[index]
        if best is None or saved(finding) > saved(best):
            best = {**finding, "host": place.host, "currency": place.currency}
    return best
