# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The prices of EBS in AWS's price list: the queries for them, and the products that have them.

Private to this collection.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .facts import FactKind
from .places import Place
from .prices import CURRENCY, Prices
from .state import Query, State, Struct

SOURCE = "api"
"""The name of this source in `Prices.sources`."""
_REFERENCE = "AWS Price List API, GetProducts of AmazonEC2"
_STORAGE, _IOPS, _THROUGHPUT, _SNAPSHOT = (
    "Storage",
    "System Operation",
    "Provisioned Throughput",
    "Storage Snapshot",
)
_FAMILIES = (_STORAGE, _IOPS, _THROUGHPUT, _SNAPSHOT)

_PRODUCTS: Mapping[tuple[str, str], str] = {
    (_STORAGE, "EBS:VolumeUsage.gp2"): "gp2.gib",
    (_STORAGE, "EBS:VolumeUsage.gp3"): "gp3.gib",
    (_STORAGE, "EBS:VolumeUsage.piops"): "io1.gib",
    (_STORAGE, "EBS:VolumeUsage.io2"): "io2.gib",
    (_STORAGE, "EBS:VolumeUsage.st1"): "st1.gib",
    (_STORAGE, "EBS:VolumeUsage.sc1"): "sc1.gib",
    (_STORAGE, "EBS:VolumeUsage"): "standard.gib",
    (_IOPS, "EBS:VolumeP-IOPS.gp3"): "gp3.iops",
    (_IOPS, "EBS:VolumeP-IOPS.piops"): "io1.iops",
    (_IOPS, "EBS:VolumeP-IOPS.io2"): "io2.iops",
    (_IOPS, "EBS:VolumeP-IOPS.io2.tier2"): "io2.iops.above_32000",
    (_IOPS, "EBS:VolumeP-IOPS.io2.tier3"): "io2.iops.above_64000",
    (_THROUGHPUT, "EBS:VolumeP-Throughput.gp3"): "gp3.mibps",
    (_SNAPSHOT, "EBS:SnapshotUsage"): "snapshot.gib",
    (_SNAPSHOT, "EBS:SnapshotArchiveStorage"): "archive.gib",
}
"""The name of a price by the family and the usage type of its product, as AWS's bills show them."""
_PREFIX = re.compile(r"[A-Z0-9]+-(?=EBS:)")
"""The beginning of a usage type that names the region. us-east-1 has none."""
_UNITS: Mapping[str, Mapping[str, float]] = {
    "gib": {"gb-mo": 1.0, "gb-month": 1.0},
    "iops": {"iops-mo": 1.0},
    "mibps": {"mibps-mo": 1.0, "gibps-mo": 1 / 1024},
}
"""The units of the list in lower case, by the kind of price, with the number by which a price is multiplied.

A GB of EBS has 2^30 bytes.
"""


@dataclass(frozen=True)
class ListPrice:
    """The price of one product, in USD a month. None: the product has no single price in USD. ``date``: of the list."""

    price: float | None
    date: str = ""


LIST_PRICES = FactKind[tuple[ListPrice, ...]]("listPrices")
"""The prices of all products with this name of a price. The subject is the name."""


def endpoint_of(region: str) -> Place | None:
    """Return the place of the Pricing API for a region, or None if its partition has no API with prices in USD.

    AWS Price List API reference, "Endpoints": three regions of the partition ``aws``. China's endpoint has prices in
    CNY.
    """
    beginning = region.partition("-")[0]
    if beginning == "cn" or region.startswith(("us-gov-", "us-iso", "eu-iso", "eusc-")):
        return None
    if beginning in ("eu", "me", "af", "il"):
        return Place("eu-central-1")
    return Place("ap-south-1" if beginning == "ap" else "us-east-1")


def price_queries(region: str) -> tuple[Query, ...]:
    """Return the queries for the prices of a region: one for each family of products. None if there is no endpoint."""
    place = endpoint_of(region)
    if place is None:
        return ()
    return tuple(
        Query(
            "GetProducts",
            arguments=(
                ("ServiceCode", "AmazonEC2"),
                ("FormatVersion", "aws_v1"),
                ("Filters", (_equal("regionCode", region), _equal("productFamily", family))),
            ),
            service="pricing",
            place=place,
            optional=True,
        )
        for family in _FAMILIES
    )


def _equal(field: str, value: str) -> Struct:
    return Struct((("Type", "TERM_MATCH"), ("Field", field), ("Value", value)))


def read_product(text: Any) -> tuple[str, ListPrice] | None:
    """Return the name and the price of a product of the list, or None for a product of another kind.

    *text*: the JSON of one product.
    """
    try:
        item = json.loads(text)
        product = item.get("product") or {}
    except (TypeError, ValueError, AttributeError):
        return None
    attributes = product.get("attributes") or {}
    usage = _PREFIX.sub("", attributes.get("usagetype") or "", count=1)
    name = _PRODUCTS.get((product.get("productFamily") or "", usage))
    if name is None or attributes.get("locationType", "AWS Region") != "AWS Region":
        return None
    return name, ListPrice(_price(item, name.split(".")[1]), str(item.get("publicationDate") or ""))


def _price(item: Mapping[str, Any], kind: str) -> float | None:
    """Return the only price of the product for any quantity, in USD a month for one unit. Return None otherwise."""
    dimensions = list(_dimensions(item))
    if len(dimensions) != 1:
        return None
    (one,) = dimensions
    factor = _UNITS[kind].get(str(one.get("unit") or "").lower())
    if factor is None or (one.get("beginRange") or "0") != "0" or (one.get("endRange") or "Inf") != "Inf":
        return None
    try:
        price = float((one.get("pricePerUnit") or {})[CURRENCY])
    except (KeyError, ValueError):
        return None
    # NaN fails the comparison.
    return price * factor if 0 < price < float("inf") else None


def _dimensions(item: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    terms = ((item.get("terms") or {}).get("OnDemand") or {}).values()
    for term in terms:
        yield from (term.get("priceDimensions") or {}).values()


def listed_prices(state: State, region: str) -> Prices:
    """Return the prices that the Pricing API shows. A price with several products is ambiguous, and left out."""
    place = endpoint_of(region)
    if place is None:
        return Prices(region)
    values: dict[str, float] = {}
    dates: set[str] = set()
    for name in dict.fromkeys(_PRODUCTS.values()):
        found = LIST_PRICES.of(state, name, place) or ()
        if len(found) == 1 and found[0].price is not None:
            values[name] = found[0].price
            dates.add(found[0].date)
    return Prices(region, values, SOURCE, max(dates) or None, (_REFERENCE,)) if values else Prices(region)
