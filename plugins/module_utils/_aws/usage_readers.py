# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the answers about the use of storage, and about its prices, as facts. The table in `codec` names the functions.

Private to this collection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from .._kernel.list_prices import LIST_PRICES, ListPrice, read_product
from .._kernel.resources import Fact
from .._kernel.state import Query
from .._kernel.usage_facts import HOURLY_USE, MINUTE, MINUTE_USE, STORED_BYTES, VolumeUse
from .decoding import Answer

_MIB = 1 << 20


def volume_use(query: Query, pages: Iterable[Answer]) -> Iterator[Fact]:
    """Yield the peaks of each volume with data points, from all pages.

    A volume is left out if CloudWatch has not answered one of its metrics as a whole.
    """
    asked = {item["Id"]: item["MetricStat"] for item in map(dict, dict(query.arguments)["MetricDataQueries"])}
    sums: Mapping[tuple[str, str], dict[datetime, float]] = defaultdict(lambda: defaultdict(float))
    status: dict[str, str] = {}
    for page in pages:
        for item in page.get("MetricDataResults") or ():
            volume_id, unit = _volume(asked[item["Id"]]), item["Id"][1]
            status[item["Id"]] = item.get("StatusCode") or ""
            series = sums[volume_id, unit]
            for moment, value in zip(item.get("Timestamps") or (), item.get("Values") or (), strict=False):
                series[moment] += value
    broken = {_volume(asked[name]) for name in asked if status.get(name) != "Complete"}
    for volume_id in dict.fromkeys(map(_volume, asked.values())):
        operations, written = sums[volume_id, "o"], sums[volume_id, "b"]
        if operations and volume_id not in broken:
            period = min(_period(item) for item in asked.values())
            use = VolumeUse(
                max(operations.values()) / period, max(written.values(), default=0.0) / period / _MIB, len(operations)
            )
            yield (MINUTE_USE if period == MINUTE else HOURLY_USE).fact(volume_id, use)


def _volume(metric: Any) -> str:
    dimension = dict(dict(dict(metric)["Metric"])["Dimensions"][0])
    return str(dimension["Value"])


def _period(metric: Any) -> int:
    return int(dict(metric)["Period"])


def changed_blocks(query: Query, page: Answer) -> Iterator[Fact]:
    """Yield the bytes that the second snapshot stores. A block that only the first snapshot has needs no place."""
    found = page.get("ChangedBlocks") or ()
    count = sum("SecondBlockToken" in block for block in found)
    yield STORED_BYTES.fact(dict(query.arguments)["SecondSnapshotId"], (count * _block_size(page, count),))


def snapshot_blocks(query: Query, page: Answer) -> Iterator[Fact]:
    """Yield the bytes of all blocks of the snapshot."""
    count = len(page.get("Blocks") or ())
    yield STORED_BYTES.fact(dict(query.arguments)["SnapshotId"], (count * _block_size(page, count),))


def _block_size(page: Answer, count: int) -> int:
    """Return the size of a block, which an empty page may lack. Raises KeyError if a page with blocks lacks it."""
    return int(page["BlockSize"]) if count else 0


def after_blocks(page: Answer) -> Mapping[str, Any]:
    """Return the arguments of a listing that begins after the last block of the page, none for an empty page."""
    found = page.get("ChangedBlocks") or page.get("Blocks") or ()
    return {"StartingBlockIndex": found[-1]["BlockIndex"] + 1} if found else {}


def products(_query: Query, page: Answer) -> Iterator[Fact]:
    """Yield the prices of the products of a page, by their names."""
    found: dict[str, list[ListPrice]] = defaultdict(list)
    for text in page.get("PriceList") or ():
        product = read_product(text)
        if product is not None:
            found[product[0]].append(product[1])
    for name, prices in found.items():
        yield LIST_PRICES.fact(name, tuple(prices))
