# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a region: ten thousand snapshots, a hundred thousand, and a bare script that only lists them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

from image_rotate import version
from report import Comparison, Row, say
from runs import HERE, LATENCY, Bench, Broken, Cost
from sandbox.client import Sandbox
from snapshots import PAGE, SELECTED, costs, counted, daily
from volumes import middle, shape

LISTINGS: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("ec2", "DescribeSnapshots", {"OwnerIds": ["self"], "MaxResults": PAGE}),
    ("ec2", "DescribeVolumes", {"MaxResults": 500}),
    ("ec2", "DescribeImages", {"Owners": ["self"], "MaxResults": PAGE}),
)
"""The calls of the bare script."""


@dataclass(frozen=True)
class Stock:
    """The number of resources in a region. Some of the snapshots are those of the images."""

    snapshots: int
    volumes: int
    images: int


@dataclass(frozen=True)
class Report:
    """A report, and the bare listing of the same resources. size: bytes of the module's result."""

    stock: Stock
    module: Cost
    listing: Cost
    calls: Mapping[str, int]
    pages: int
    size: int


class Inventory:
    """`storage_info` on few snapshots and on many, by the module's own process, and a bare script that lists them.

    All snapshots of a day begin in the same second, as those of a scheduled policy do. The script asks for snapshots,
    volumes and images side by side. The module also asks for instances, locks, public snapshots, and users of images.
    """

    name = "inventory"
    title = "A report of ten thousand snapshots, and of a hundred thousand"
    durations: ClassVar[dict[str, float]] = {}

    FEW, MANY = Stock(10_000, 2000, 500), Stock(100_000, 2000, 500)
    TIMES_THE_LISTING = 1.5
    MOST_MEMORY = 600.0
    TURNS = 3
    EMPTY, FEW_REGION, MANY_REGION = "eu-west-3", "eu-west-1", "us-east-1"

    def measure(self, bench: Bench) -> Comparison:
        """Few three times, many once; with the bare listing in turn."""
        say(f"inventory.yml in {self.EMPTY} ...")
        module = bench.packed(HERE / "inventory.yml", self.EMPTY, {"report": "findings"}, "storage_info")
        few = self._report(bench, module, self.FEW_REGION, self.FEW, self.TURNS)
        many = self._report(bench, module, self.MANY_REGION, self.MANY, 1)
        return Comparison(
            (*self._few_rows(few), *self._many_rows(few, many)),
            {},
            {name: {**asdict(report), "calls": dict(report.calls)} for name, report in (("few", few), ("many", many))},
            (
                f"A call takes {LATENCY * 1000:.0f} ms. All snapshots of a day begin in the same second.",
                *(
                    line
                    for report in (few, many)
                    for line in (
                        (
                            f"{report.stock.snapshots} snapshots: {costs(report.module)}; {report.size / 1e6:.1f} MB "
                            f"of result. Calls: {counted(report.calls)}."
                        ),
                        f"{report.stock.snapshots} snapshots, listed by a bare boto3 script: {costs(report.listing)}.",
                    )
                ),
            ),
            "none",
        )

    def _report(self, bench: Bench, module: Path, region: str, stock: Stock, turns: int) -> Report:
        seed_stock(bench.sandbox, region, stock)
        say(f"{module.name}, and a bare script that lists the resources, {turns} times each ...")
        modules: list[Cost] = []
        listings: list[Cost] = []
        for _turn in range(turns):
            before = bench.last_call()
            cost, output = bench.answered(module, region)
            made = shape(bench.calls_after(before))
            modules.append(cost)
            self._verify(json.loads(output[output.index("{") :]), region, stock)
            before = bench.last_call()
            listings.append(bench.process(HERE / "bare_calls.py", region, json.dumps(LISTINGS)))
            listed = shape(bench.calls_after(before))
        pages = stock.snapshots // PAGE
        if listed.get("DescribeSnapshots") != pages:
            raise Broken(f"the bare script should list the snapshots in {pages} pages, but made {listed}")
        return Report(stock, middle(modules), middle(listings), made, pages, len(output))

    def _verify(self, answer: Mapping[str, Any], region: str, stock: Stock) -> None:
        found = {name: answer["summary"][name]["count"] for name in ("snapshots", "volumes", "images")}
        if found != asdict(stock):
            raise Broken(f"the report of {region} should count {asdict(stock)}, but has {found}")

    def _few_rows(self, few: Report) -> list[Row]:
        what = f"{few.stock.snapshots} snapshots, {few.stock.volumes} volumes, {few.stock.images} images"
        most = self.TIMES_THE_LISTING * few.listing.seconds
        return [
            Row(
                f"{what}: time of the module",
                f"{few.module.seconds:.2f} s",
                "",
                f"at most {most:.2f} s ({self.TIMES_THE_LISTING:g} times the listing's {few.listing.seconds:.2f} s)",
                few.module.seconds <= most,
            ),
            Row(f"{what}: API calls", str(sum(few.calls.values())), ""),
            Row(f"{what}: memory of the module", f"{few.module.memory:.0f} MB", ""),
        ]

    def _many_rows(self, few: Report, many: Report) -> list[Row]:
        what = f"{many.stock.snapshots} snapshots"
        most = self.TIMES_THE_LISTING * many.listing.seconds
        times, growth = many.stock.snapshots / few.stock.snapshots, many.module.cpu / few.module.cpu
        asked = many.calls["DescribeSnapshots"]
        return [
            Row(
                f"{what}: time of the module",
                f"{many.module.seconds:.1f} s",
                "",
                f"at most {most:.1f} s ({self.TIMES_THE_LISTING:g} times the listing's {many.listing.seconds:.1f} s)",
                many.module.seconds <= most,
            ),
            Row(
                f"{what}: computing of the module",
                f"{many.module.cpu:.1f} s",
                "",
                f"at most {times:g} times that of {few.stock.snapshots}: {growth:.1f}",
                growth <= times,
            ),
            Row(
                f"{what}: memory of the module",
                f"{many.module.memory:.0f} MB",
                "",
                f"under {self.MOST_MEMORY:g} MB",
                many.module.memory < self.MOST_MEMORY,
                binding=True,
            ),
            Row(
                f"{what}: calls of DescribeSnapshots",
                str(asked),
                "",
                f"at most twice the {many.pages} pages",
                asked <= 2 * many.pages,
                binding=True,
            ),
        ]


def seed_stock(sandbox: Sandbox, region: str, stock: Stock) -> None:
    """Volumes with a snapshot of each day, and images with one each that nobody uses."""
    say(f"{stock.snapshots} snapshots of {stock.volumes} volumes, and {stock.images} images in {region} ...")
    names = [f"db-{number}" for number in range(stock.volumes)]
    now = sandbox.now()
    days, left = divmod(stock.snapshots - stock.images, stock.volumes)
    snapshots = [daily(now - timedelta(days=day), names) for day in range(1, days + 1)]
    snapshots += [daily(now - timedelta(days=days + 1), names[:left])] if left else []
    sandbox.seed(
        {
            "region": region,
            "volumes": [{"name": name, "tags": {**SELECTED, "Name": "db"}} for name in names],
            "images": [version(number, number * 3600.0) for number in range(stock.images)],
            "snapshots": snapshots,
        }
    )
