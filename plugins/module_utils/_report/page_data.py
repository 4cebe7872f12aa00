# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The data of the page, in rows that are short enough for 100,000 snapshots.

The page shows every volume. It has the snapshots in columns, grouped by volume, so that a snapshot takes about 30
bytes. Beyond the limits, the page has the newest snapshots of each volume and the gravest findings, and says how many
it leaves out.

Private to this collection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from .._kernel.display import visible
from .._kernel.report import risk_order
from .costs import costs
from .joining import (
    Place,
    all_findings,
    exclusion,
    figures,
    generated,
    is_outdone,
    lacks_price,
    place_row,
    range_reason,
    risk,
)

MOST_SNAPSHOTS = 100_000
MOST_FINDING_BYTES = 700_000
MOST_VOLUMES = 4_000
MOST_RELATIONS = 6_000
MOST_FATES = 4_000
"""The different forecasts of deletions. Snapshots with further ones refer to the JSON file."""

GOOD, ARCHIVED, UNENCRYPTED, DRILLED, COPY, SHARED = 1, 2, 4, 8, 16, 32
"""The bits of a snapshot's ``flags``."""


class _Names:
    """Texts that many rows share. A row has the index of its text."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._index: dict[str, int] = {}

    def of(self, text: str) -> int:
        if text not in self._index:
            self._index[text] = len(self.texts)
            self.texts.append(text)
        return self._index[text]


def page_data(places: Sequence[Place], changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return all data of the page, as the page's script reads it."""
    volumes = _volumes(places)
    return {
        "generated": generated(places),
        "places": [place_row(place) for place in places],
        "figures": figures(places),
        "changes": _changes(changes),
        "costs": costs(places),
        "findings": _findings(places),
        "volumes": volumes,
        "snapshots": _snapshots(places, {row[0]: index for index, row in enumerate(volumes["rows"])}),
        "images": _images(places),
        "relations": _relations(places),
    }


def _findings(places: Sequence[Place]) -> dict[str, Any]:
    """Return the gravest findings, up to `MOST_FINDING_BYTES`, and the number of the others."""
    found = all_findings(places)
    rows: list[list[Any]] = []
    size = 0
    for place, finding in found:
        row = [
            finding["severity"],
            finding["id"],
            finding["kind"],
            finding["resource"],
            visible(finding["name"] or ""),
            place,
            visible(finding["reason"]),
            _money(finding["saving"]),
            _money(finding["cost"]),
            finding["task"],
            list(finding["also"])[:20],
            int(lacks_price(places[place], finding)),
            exclusion(finding),
            range_reason(finding),
            int(is_outdone(finding)),
        ]
        size += 120 + sum(len(row[column]) for column in (4, 6, 9, 12, 13))
        if size > MOST_FINDING_BYTES:
            break
        rows.append(row)
    return {"rows": rows, "left_out": len(found) - len(rows)}


def _changes(changes: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the changes with texts that the page can show."""
    if changes is None:
        return None
    rows = {
        key: [
            {**row, **{text: visible(row[text] or "") for text in ("name", "reason") if text in row}}
            for row in changes[key]
        ]
        for key in ("new", "solved", "worse")
    }
    return {**changes, **rows}


def _money(cost: Mapping[str, Any] | None) -> list[float] | None:
    """Return the bounds of a cost, in units of its currency a month."""
    return [round(cost["least"], 2), round(cost["most"], 2)] if cost else None


def _volumes(places: Sequence[Place]) -> dict[str, Any]:
    """Return a row for each volume with facts about it and its recovery, the one most at risk first."""
    ranked: list[tuple[Any, list[Any]]] = []
    for index, place in enumerate(places):
        if place.document is None:
            continue
        recovery = {row["volume_id"]: row for row in place.recovered}
        rows = {row["id"]: row for row in place.rows("volumes")}
        for volume_id in [*rows, *(each for each in recovery if each not in rows)]:
            shown = _volume(index, volume_id, rows.get(volume_id), recovery.get(volume_id))
            rank = risk(recovery[volume_id]) if volume_id in recovery else (-1, 0.0)
            ranked.append((risk_order(rank, shown[4] or 0, volume_id), shown))
    ranked.sort(key=lambda item: item[0])
    kept = [row for _rank, row in ranked[:MOST_VOLUMES]]
    return {"rows": kept, "left_out": len(ranked) - len(kept)}


def _volume(place: int, volume_id: str, row: Mapping[str, Any] | None, recovery: Mapping[str, Any] | None) -> list[Any]:
    fact, point = row or {}, recovery or {}
    newest = point.get("newest")
    holders = [each["instance_name"] or each["instance_id"] for each in fact.get("attached_to") or ()]
    return [
        volume_id,
        visible(fact.get("name") or point.get("name") or ""),
        place,
        fact.get("type") or "",
        fact.get("gib"),
        fact.get("iops"),
        fact.get("mibps"),
        fact.get("state") or "",
        None if fact.get("encrypted") is None else int(fact["encrypted"]),
        visible(", ".join(holders)),
        _money(fact.get("cost")),
        visible(", ".join(point.get("policies") or fact.get("policies") or ())),
        _minute(newest["moment"]) if newest else None,
        newest["age"] if newest else None,
        point.get("target"),
        point.get("late"),
        sorted({each["region"] for each in point.get("elsewhere") or ()}),
        _minute(point.get("drilled")),
        int(bool(point)),
    ]


def _minute(moment: str | None) -> int | None:
    """Return the minutes since 1970, or None for no time."""
    return int(datetime.fromisoformat(moment).timestamp()) // 60 if moment else None


def _snapshots(places: Sequence[Place], volumes: Mapping[str, int]) -> dict[str, Any]:
    """Return the snapshots in columns. ``counts``: the length of each group; ``volumes``: the volume of each group.

    ``ids`` has no prefix. ``moments``: for the first of a group, the minutes since 1970. For each other one, the
    minutes before the one above it.
    ``until``: minutes after the moment, or 0. ``gib``: the size of the first of each group, and ``resized`` has the row
    and the size where it changes. ``fate``: an index into ``fates``, see `_Fates`. A column without any
    value is empty.
    """
    groups = _grouped(places)
    total = sum(len(group) for group in groups.values())
    most = _most_of_each([len(group) for group in groups.values()], MOST_SNAPSHOTS)
    columns = _Columns()
    counts: list[int] = []
    sources: list[int | str] = []
    where: list[int] = []
    for (place, source), group in sorted(groups.items(), key=lambda item: volumes.get(item[0][1], len(volumes))):
        # If there are more groups than rows, the last ones are left out.
        room = min(most, MOST_SNAPSHOTS - sum(counts))
        kept = sorted(group, key=lambda row: (-row.moment, row.snapshot_id))[:room]
        if not kept:
            break
        columns.add(kept)
        counts.append(len(kept))
        sources.append(volumes.get(source, source))
        where.append(place)
    return {
        **columns.view(),
        "counts": counts,
        "volumes": sources,
        "places": where,
        "left_out": total - sum(counts),
    }


@dataclass(frozen=True)
class _Snapshot:
    """A snapshot for the page. ``moment``, ``until``: minutes since 1970."""

    snapshot_id: str
    moment: int
    policy: str
    until: int | None
    gib: int
    flags: int
    stored: float | None
    fate: Mapping[str, Any] | None


class _Fates:
    """The forecasts of deletions that snapshots share, as [kept by, minutes of the deletion after the snapshot, the
    same if the policy takes no further snapshot]. 0 stands for no deletion.

    The first two entries stand for an unknown deletion, and for one that the page leaves out.
    """

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, int]] = [("", 0, 0), ("", 0, 0)]
        self._index: dict[tuple[str, int, int], int] = {}

    def of(self, row: _Snapshot) -> int:
        if row.fate is None:
            return 0
        deletion, idle = (_after(row.fate[key], row.moment) for key in ("deletion", "idle_deletion"))
        fate = (", ".join(row.fate["kept_by"]), deletion, idle)
        if fate not in self._index:
            if len(self.rows) >= MOST_FATES:
                return 1
            self._index[fate] = len(self.rows)
            self.rows.append(fate)
        return self._index[fate]


def _after(moment: str | None, start: int) -> int:
    """Return the minutes from *start* to a moment, at least 1, or 0 for none."""
    minute = _minute(moment)
    return 0 if minute is None else max(minute - start, 1)


class _Columns:
    """The columns of the snapshots."""

    def __init__(self) -> None:
        self._names = _Names()
        self._fates = _Fates()
        self._ids: list[str] = []
        self._sizes: list[int] = []
        self._resized: list[tuple[int, int]] = []
        self._columns: dict[str, list[Any]] = {
            name: [] for name in ("moments", "until", "policy", "flags", "stored", "fate")
        }

    def add(self, group: Iterable[_Snapshot]) -> None:
        """Add the snapshots of one volume, the newest first."""
        before: _Snapshot | None = None
        for row in group:
            if before is None:
                self._sizes.append(row.gib)
            elif row.gib != before.gib:
                self._resized.append((len(self._ids), row.gib))
            values = {
                "moments": row.moment if before is None else before.moment - row.moment,
                "until": max(row.until - row.moment, 0) if row.until else 0,
                "policy": self._names.of(row.policy),
                "flags": row.flags,
                "stored": row.stored,
                "fate": self._fates.of(row),
            }
            self._ids.append(row.snapshot_id.removeprefix("snap-"))
            for name, value in values.items():
                self._columns[name].append(value)
            before = row

    def view(self) -> dict[str, Any]:
        """Return the columns. Those that may be empty have no value at all then."""
        unknown = {"until": 0, "stored": None, "fate": 0}
        columns = {
            name: column if name not in unknown or any(value != unknown[name] for value in column) else []
            for name, column in self._columns.items()
        }
        return {
            "ids": " ".join(self._ids),
            "policies": [visible(text) for text in self._names.texts],
            "fates": [(visible(kept_by), *times) for kept_by, *times in self._fates.rows],
            "gib": self._sizes,
            "resized": self._resized,
            **columns,
        }


def _most_of_each(lengths: Sequence[int], limit: int) -> int:
    """Return the most rows that each group may have, so that all groups together have at most *limit* rows."""
    most = max(lengths, default=0)
    if sum(lengths) <= limit:
        return most
    low, high = 1, most
    while low < high:
        middle = (low + high + 1) // 2
        if sum(min(length, middle) for length in lengths) <= limit:
            low = middle
        else:
            high = middle - 1
    return low


def _grouped(places: Sequence[Place]) -> dict[tuple[int, str], list[_Snapshot]]:
    """Return the snapshots by place and volume. A recovery point without a row counts too."""
    groups: dict[tuple[int, str], list[_Snapshot]] = {}
    for index, place in enumerate(places):
        if place.document is None:
            continue
        points = {point[0]: (row["volume_id"], point) for row in place.recovered for point in row["points"]}
        fates = {fate["snapshot_id"]: fate for row in place.recovered for fate in row.get("forecast") or ()}
        for row in place.rows("snapshots"):
            source, point = points.pop(row["id"], (None, None))
            source = source or row["source"] or row["volume_id"] or ""
            groups.setdefault((index, source), []).append(_snapshot(row, point, fates.get(row["id"])))
        for source, point in points.values():
            fate = fates.get(point[0])
            shown = _Snapshot(point[0], _minute(point[1]) or 0, point[2] or "", _minute(point[3]), 0, GOOD, None, fate)
            groups.setdefault((index, source), []).append(shown)
    return groups


def _snapshot(row: Mapping[str, Any], point: Sequence[Any] | None, fate: Mapping[str, Any] | None) -> _Snapshot:
    """Return a snapshot with a row. *point*: its recovery point, if it is one. *fate*: the forecast of its deletion."""
    flags = sum(
        bit
        for bit, holds in (
            (GOOD, point is not None),
            (ARCHIVED, row["tier"] == "archive"),
            (UNENCRYPTED, row["encrypted"] is False),
            (DRILLED, row["drilled"]),
            (COPY, row["copy_of"]),
            (SHARED, row["shared_with"]),
        )
        if holds
    )
    moment, policy, until = point[1:4] if point else (row["started"], None, None)
    return _Snapshot(
        row["id"],
        _minute(moment) or 0,
        policy or row["policy"] or "",
        _minute(until or row["locked_until"]),
        row["gib"] or 0,
        flags,
        row["stored_gib"],
        fate,
    )


def _images(places: Sequence[Place]) -> list[list[Any]]:
    return [
        [
            image["id"],
            visible(image["name"] or ""),
            index,
            image["gib"],
            image["age"],
            None if image["users"] is None else len(image["users"]),
            image["state"],
        ]
        for index, place in enumerate(places)
        for image in place.rows("images")
    ][:MOST_RELATIONS]


def _relations(places: Iterable[Place]) -> dict[str, Any]:
    """Return the relations as triples of indices into ``names`` and ``kinds``.

    The page itself knows the volume of each snapshot, so relations of this kind are left out.
    """
    names, kinds = _Names(), _Names()
    labels: dict[str, str] = {}
    found: list[list[int]] = []
    left_out = 0
    for place in places:
        for part in ("instances", "volumes", "images", "holders"):
            labels.update({row["id"]: visible(row["name"]) for row in place.rows(part) if row["name"]})
        for one, kind, other in place.rows("relations"):
            if kind == "of":
                continue
            if len(found) < MOST_RELATIONS:
                found.append([names.of(one), kinds.of(kind), names.of(other)])
            else:
                left_out += 1
    shown = {each: labels[each] for each in names.texts if labels.get(each, each) != each}
    return {"names": names.texts, "kinds": kinds.texts, "rows": found, "labels": shown, "left_out": left_out}
