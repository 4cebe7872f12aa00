# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The changes since an earlier report: findings, costs, and recovery points that got worse.

Only places that both reports have read in the same way are compared. Otherwise the findings of a place that has failed
today would count as solved.

Private to this collection.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .._kernel.errors import SpecError
from .joining import DOCUMENT, SCHEMA, Document, Place, by_currency, severity_rank

MOST = 50
"""The findings and volumes of each list. The counts have all."""

_READ_MORE = ("permissions", "metrics", "changed_blocks", "price_api")
"""The options that read more. Without one of them, its findings would count as solved, or the costs as changed."""

_Key = tuple[str, str, str]
"""The account and the region of a place, and the options and missing parts that decide about its findings."""


def read_earlier(report: Any) -> list[Place]:
    """Return the places of an earlier joined report. Raises SpecError if this version cannot read it."""
    schema = report.get("schema") if isinstance(report, Mapping) else None
    if schema != SCHEMA:
        raise SpecError(f"it has the schema {schema!r}, and not {SCHEMA}")
    documents = report.get("documents")
    if not isinstance(documents, list) or any(not _is_document(each) for each in documents):
        raise SpecError(f"a document in it does not have the schema {DOCUMENT}")
    return [Place("", document) for document in documents]


def _is_document(document: Any) -> bool:
    return isinstance(document, Mapping) and document.get("schema") == DOCUMENT


def changes(earlier: Sequence[Place], places: Sequence[Place]) -> dict[str, Any]:
    """Return the changes between two reports, with at most `MOST` entries in each list.

    ``cost``: the difference of the bounds, by currency. ``worse``: volumes that are late and were not, and volumes
    whose newest recovery point is gone, so that they have an older one or none.
    """
    before, now = _by_place(earlier), _by_place(places)
    both = [key for key in now if key in before]
    old, new = ({finding: row for key in both for finding, row in _findings(at[key])} for at in (before, now))
    worse = [row for key in both for row in _worse(before[key], now[key])]
    added = [row for finding, row in new.items() if finding not in old]
    solved = [row for finding, row in old.items() if finding not in new]
    return {
        "since": max((str(document["generated"]) for document in before.values()), default=None),
        "compared": len(both),
        "not_compared": _named(set(before) ^ set(now))[:MOST],
        "findings": {"new": len(added), "solved": len(solved)},
        "new": _gravest(added),
        "solved": _gravest(solved),
        "cost": _difference([(before[key], now[key]) for key in both]),
        "worse_volumes": len(worse),
        "worse": sorted(worse, key=lambda row: (row["now"] is not None, row["volume_id"]))[:MOST],
    }


def _by_place(places: Iterable[Place]) -> dict[_Key, Document]:
    """Return the documents by account and region. Of several for one place, such as with filters, none is compared."""
    found: dict[_Key, Document] = {}
    several: set[_Key] = set()
    for place in places:
        if place.document is not None:
            key = (str(place.document["account"] or ""), place.region, _view(place.document))
            several |= {key} & found.keys()
            found[key] = place.document
    return {key: document for key, document in found.items() if key not in several}


def _view(document: Document) -> str:
    options = document["options"]
    parts = sorted(part["part"] for part in document["partial"])
    read = [bool(options.get(name)) for name in _READ_MORE]
    return json.dumps([sorted(options["subjects"]), options["filters"], read, parts], sort_keys=True)


def _named(keys: Iterable[_Key]) -> list[dict[str, str]]:
    names = sorted({key[:2] for key in keys})
    return [{"account": account, "region": region} for account, region in names]


def _findings(document: Document) -> Iterable[tuple[tuple[Any, ...], Mapping[str, Any]]]:
    """Yield the findings with their identity."""
    for row in document.get("findings") or ():
        yield (document["account"], document["region"], row["id"], row["resource"]), row


_SHOWN = ("id", "severity", "resource", "name", "region", "account", "reason")


def _gravest(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    ranked = sorted(rows, key=lambda row: (severity_rank(row["severity"]), row["id"], row["resource"]))
    return [{key: row[key] for key in _SHOWN} for row in ranked[:MOST]]


def _difference(pairs: Sequence[tuple[Document, Document]]) -> list[dict[str, Any]]:
    """Return the difference of the monthly costs by currency. A place without a price in one report does not count."""
    priced = [(old, new) for old, new in pairs if old["summary"]["cost"] and new["summary"]["cost"]]
    before, now = (
        {
            row["currency"]: row
            for row in by_currency((Place("", pair[side]).currency, pair[side]["summary"]["cost"]) for pair in priced)
        }
        for side in (0, 1)
    )
    return [
        {
            "currency": currency,
            "least": _minus(now, before, currency, "least"),
            "most": _minus(now, before, currency, "most"),
        }
        for currency in sorted({*before, *now})
    ]


def _minus(now: Mapping[str, Any], before: Mapping[str, Any], currency: str, bound: str) -> float:
    one, other = (float(sums[currency][bound]) if currency in sums else 0.0 for sums in (now, before))
    return round(one - other, 2)


def _worse(before: Document, now: Document) -> Iterable[dict[str, Any]]:
    """Yield the volumes of one place whose recovery point got worse."""
    earlier = {row["volume_id"]: row for row in Place("", before).recovered}
    for row in Place("", now).recovered:
        old = earlier.get(row["volume_id"])
        if old is None or old["newest"] is None:
            continue
        is_older = row["newest"] is None or row["newest"]["moment"] < old["newest"]["moment"]
        if is_older or (row["late"] and not old["late"]):
            yield {
                "volume_id": row["volume_id"],
                "name": row["name"],
                **{key: now[key] for key in ("region", "account")},
                "before": old["newest"]["moment"],
                "now": row["newest"]["moment"] if row["newest"] else None,
                "late": bool(row["late"]),
            }
