# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`price_api: true`: the products of AWS's list, ambiguous prices, and the order of the sources."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws import codec
from ansible_collections.ec2ops.storage.plugins.module_utils._features.inventory import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._features.inventory.reading import first_queries
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.list_prices import (
    ListPrice,
    endpoint_of,
    price_queries,
    read_product,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.places import Place
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query, State

from inventory_world import NOW, REGION, plain, snapshot, spec_of, state_of, volume

STORAGE = ("Storage", "EBS:VolumeUsage.gp3", "GB-Mo")


def product(
    family: str, usage: str, unit: str, usd: str = "0.0800000000", *, region: str = "AWS Region", **dimension: Any
) -> str:
    one = {"unit": unit, "beginRange": "0", "endRange": "Inf", "pricePerUnit": {"USD": usd}, **dimension}
    return json.dumps(
        {
            "product": {"productFamily": family, "attributes": {"usagetype": usage, "locationType": region}},
            "terms": {"OnDemand": {"A.B": {"priceDimensions": {"A.B.C": one}}}},
            "publicationDate": "2026-11-20T00:00:00Z",
        }
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (product(*STORAGE), ("gp3.gib", 0.08)),
        (product("Storage", "EUC1-EBS:VolumeUsage.piops", "GB-Mo"), ("io1.gib", 0.08)),
        (product("Storage", "EBS:VolumeUsage.io2", "GB-month"), ("io2.gib", 0.08)),
        (product("Storage", "EBS:VolumeUsage", "GB-Mo", "0.05"), ("standard.gib", 0.05)),
        (product("System Operation", "APN1-EBS:VolumeP-IOPS.io2.tier2", "IOPS-Mo"), ("io2.iops.above_32000", 0.08)),
        # 40.96 USD for a GiB/s of 1,024 MiB/s
        (product("Provisioned Throughput", "EBS:VolumeP-Throughput.gp3", "GiBps-mo", "40.96"), ("gp3.mibps", 0.04)),
        (product("Provisioned Throughput", "EBS:VolumeP-Throughput.gp3", "MiBps-Mo", "0.04"), ("gp3.mibps", 0.04)),
        (product("Storage Snapshot", "EU-EBS:SnapshotArchiveStorage", "GB-Mo", "0.0125"), ("archive.gib", 0.0125)),
        # An unknown price: another currency or unit, a price by quantity, none, or nothing.
        (product(*STORAGE, pricePerUnit={"CNY": "0.5"}), ("gp3.gib", None)),
        (product("Storage", "EBS:VolumeUsage.gp3", "TB-Mo"), ("gp3.gib", None)),
        (product(*STORAGE, endRange="1000"), ("gp3.gib", None)),
        (product(*STORAGE, usd="0.0000000000"), ("gp3.gib", None)),
        (product(*STORAGE, usd="free"), ("gp3.gib", None)),
        (product(*STORAGE, usd="NaN"), ("gp3.gib", None)),
        # Other products.
        (product("Storage", "EBS:SnapshotUsage", "GB-Mo"), None),
        (product("Storage", "EBS:VolumeUsage.gp4", "GB-Mo"), None),
        (product("System Operation", "EBS:VolumeIOUsage", "IOs"), None),
        (product("Storage", "LAX1-EBS:VolumeUsage.gp3", "GB-Mo", region="AWS Local Zone"), None),
        ("{}", None),
        ("no JSON", None),
        ("[]", None),
    ],
)
def test_product_of_the_list_has_a_name_and_its_only_price(text: str, found: tuple[str, float | None] | None) -> None:
    read = read_product(text)
    assert (read and (read[0], read[1].price)) == found
    assert read is None or read[1] == ListPrice(read[1].price, "2026-11-20T00:00:00Z")


@pytest.mark.parametrize(
    ("region", "endpoint"),
    [
        ("us-west-2", "us-east-1"),
        ("sa-east-1", "us-east-1"),
        ("ca-central-1", "us-east-1"),
        ("eu-north-1", "eu-central-1"),
        ("il-central-1", "eu-central-1"),
        ("ap-southeast-2", "ap-south-1"),
        ("cn-north-1", None),
        ("us-gov-west-1", None),
        ("eusc-de-east-1", None),
    ],
)
def test_endpoint_is_in_the_partition_of_the_region(region: str, endpoint: str | None) -> None:
    assert endpoint_of(region) == (None if endpoint is None else Place(endpoint))


def answered(*products: str, region: str = REGION, **given: Any) -> dict[str, Any]:
    """The report with this answer to the first query, and no product in the others."""
    queries = price_queries(region)
    pages: dict[Query, list[dict[str, Any]]] = {query: [{"PriceList": []}] for query in queries}
    if queries:
        pages[queries[0]] = [{"PriceList": list(products)}]
    there = state_of(volume(1), snapshot(1))
    state = State(region, there.resources, now=NOW).with_answers(
        {query: codec.decode(query, page) for query, page in pages.items()}
    )
    return plain(planner.result(spec_of(region=region, **{"price_api": True, **given}), state))


def monthly(document: dict[str, Any]) -> tuple[float | None, str | None]:
    cost = document["volumes"][0]["cost"]
    return (None if cost is None else cost["most"]), document["prices"]["sources"].get("gp3.gib")


def test_price_of_the_api_precedes_the_shipped_one_and_follows_those_of_the_task() -> None:
    listed = product(*STORAGE, usd="0.5")
    assert monthly(answered(listed)) == (50.0, "api")
    assert monthly(answered(listed, price_api=False)) == (8.0, "shipped")
    assert monthly(answered(listed, prices={REGION: {"gp3.gib": 1}})) == (100.0, "task")
    assert monthly(answered(listed, prices_text=json.dumps({REGION: {"gp3.gib": 2}}))) == (200.0, "file")
    # A gap of the task's prices is filled, and so is a gap of the list.
    assert monthly(answered(listed, prices={REGION: {"gp2.gib": 1}})) == (50.0, "api")
    assert monthly(answered()) == (8.0, "shipped")


def test_result_names_the_first_source_its_date_and_all_references() -> None:
    prices = answered(product(*STORAGE, usd="0.5"))["prices"]
    assert (prices["source"], prices["date"]) == ("api", "2026-11-20T00:00:00Z")
    assert prices["references"][0] == "AWS Price List API, GetProducts of AmazonEC2"
    assert len(prices["references"]) == 3
    assert (prices["sources"]["gp3.gib"], prices["sources"]["snapshot.gib"]) == ("api", "shipped")


@pytest.mark.parametrize(
    "second", [product(*STORAGE, usd="0.6"), product(*STORAGE, usd="0.5"), product(*STORAGE, usd="x")]
)
def test_price_of_two_products_is_not_used(second: str) -> None:
    assert monthly(answered(product(*STORAGE, usd="0.5"), second)) == (8.0, "shipped")
    assert monthly(answered(product(*STORAGE, usd="0.5"), second, region="eu-west-1")) == (None, None)


def test_products_of_two_pages_are_ambiguous_too() -> None:
    query = price_queries(REGION)[0]
    pages = [{"PriceList": [product(*STORAGE, usd=usd)]} for usd in ("0.5", "0.6")]
    (fact,) = codec.decode(query, pages)
    assert [one.price for one in fact.value] == [0.5, 0.6]  # type: ignore[union-attr]


def test_api_is_asked_on_request_only_and_not_without_an_endpoint() -> None:
    def asked(region: str, **given: Any) -> set[str]:
        queries = first_queries(spec_of(region=region, **given))
        return {str(one.place) for one in queries if one.operation == "GetProducts"}

    assert asked(REGION) == set()
    assert asked("eu-west-1", price_api=True) == {"eu-central-1"}
    assert asked("cn-north-1", price_api=True) == set()


def test_region_without_an_endpoint_says_so() -> None:
    document = answered(region="cn-north-1")
    assert monthly(document) == (None, None)
    (part,) = document["partial"]
    assert (part["part"], part["code"]) == ("prices", "NoEndpoint")
    spec = spec_of(region="cn-north-1", price_api=True)
    (warning,) = planner.plan(spec, State("cn-north-1", now=NOW), NOW).warnings
    assert warning == (
        "The report has no prices from AWS's Pricing API. GetProducts failed: NoEndpoint: AWS's Pricing API has no "
        "prices in USD for cn-north-1. Name the prices in the option prices."
    )
