# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Costs in groups: by type, by region, and by the values of the most used tags.

Private to this collection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .joining import Cost, Place

MOST_KEYS = 8
MOST_VALUES = 12
UNTAGGED = "(no tag)"
OTHERS = "(other values)"
_RESERVED = ("aws:", "ec2ops:")
"""Tags with these prefixes describe no cost centre."""


def costs(places: Sequence[Place]) -> dict[str, Any]:
    """Return the rows of the three charts. A row: ``label``, ``count``, ``gib``, ``cost`` by currency, and
    ``unpriced``, the regions in which a resource has no price.
    """
    return {
        "type": _by_type(places),
        "region": _by_region(places),
        "tags": [{"key": key, "rows": _by_tag(places, key)} for key in _tag_keys(places)],
    }


class _Group:
    """The sums of one bar."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.count = 0
        self.gib = 0
        self.cost: dict[str, list[float]] = {}
        self.unpriced: set[str] = set()

    def add(self, count: int, gib: int, place: Place, cost: Cost | None) -> None:
        self.count += count
        self.gib += gib
        if cost is not None:
            sums = self.cost.setdefault(place.currency, [0.0, 0.0])
            sums[0] += cost["least"]
            sums[1] += cost["most"]
        elif count:
            self.unpriced.add(place.region)

    def join(self, other: _Group) -> None:
        """Add the sums of another bar."""
        self.count += other.count
        self.gib += other.gib
        self.unpriced |= other.unpriced
        for currency, (least, most) in other.cost.items():
            sums = self.cost.setdefault(currency, [0.0, 0.0])
            sums[0] += least
            sums[1] += most

    def row(self) -> dict[str, Any]:
        """Return the bar. A group without a price has an empty ``cost``."""
        return {
            "label": self.label,
            "count": self.count,
            "gib": self.gib,
            "cost": [
                {"currency": currency, "least": round(least, 2), "most": round(most, 2)}
                for currency, (least, most) in sorted(self.cost.items())
            ],
            "unpriced": sorted(self.unpriced),
        }

    def rank(self) -> tuple[float, int]:
        return (-sum(most for _least, most in self.cost.values()), -self.gib)


class _Groups(dict[str, _Group]):
    def __missing__(self, label: str) -> _Group:
        self[label] = _Group(label)
        return self[label]

    def rows(self) -> list[dict[str, Any]]:
        return [group.row() for group in sorted(self.values(), key=lambda group: (*group.rank(), group.label))]


def _by_type(places: Iterable[Place]) -> list[dict[str, Any]]:
    groups = _Groups()
    for place in places:
        if place.document is None:
            continue
        summary = place.document["summary"]
        for kind, part in summary["volumes"]["by_type"].items():
            groups[str(kind)].add(part["count"], part["gib"], place, part["cost"])
        for tier, part in summary["snapshots"]["by_tier"].items():
            label = "snapshots" if tier == "standard" else f"snapshots ({tier})"
            groups[label].add(part["count"], part["gib_full"], place, part["cost"])
    return groups.rows()


def _by_region(places: Iterable[Place]) -> list[dict[str, Any]]:
    groups = _Groups()
    for place in places:
        if place.document is None:
            continue
        summary = place.document["summary"]
        count = summary["volumes"]["count"] + summary["snapshots"]["count"]
        gib = summary["volumes"]["gib"] + summary["snapshots"]["gib_full"]
        groups[place.region].add(count, gib, place, summary["cost"])
    return groups.rows()


def _resources(places: Iterable[Place]) -> Iterator[tuple[Place, Mapping[str, Any]]]:
    """Yield each volume and snapshot, with its place."""
    for place in places:
        for part in ("volumes", "snapshots"):
            for row in place.rows(part):
                yield place, row


def _tag_keys(places: Iterable[Place]) -> list[str]:
    """Return the keys that most resources have. Keys with one value for each resource, such as Name, come last."""
    used: Counter[str] = Counter()
    values: dict[str, set[str]] = {}
    for _place, row in _resources(places):
        for key, value in row["tags"].items():
            if not key.startswith(_RESERVED):
                used[key] += 1
                values.setdefault(key, set()).add(value)
    ranked = sorted(used, key=lambda key: (key == "Name" or len(values[key]) > used[key] / 2, -used[key], key))
    return ranked[:MOST_KEYS]


def _by_tag(places: Iterable[Place], key: str) -> list[dict[str, Any]]:
    groups, untagged, others = _Groups(), _Group(UNTAGGED), _Group(OTHERS)
    for place, row in _resources(places):
        group = groups[str(row["tags"][key])] if key in row["tags"] else untagged
        group.add(1, row["gib"] or 0, place, row["cost"])
    ranked = sorted(groups.values(), key=lambda group: (*group.rank(), group.label))
    for group in ranked[MOST_VALUES:]:
        others.join(group)
    rest = [group for group in (others, untagged) if group.count]
    return [group.row() for group in (*ranked[:MOST_VALUES], *rest)]
