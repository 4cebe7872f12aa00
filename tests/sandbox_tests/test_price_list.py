# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GetProducts: the form of a product, filters, pages and refusals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from domain import refused

if TYPE_CHECKING:
    from sandbox.client import Sandbox


def wanted(**fields: str) -> list[dict[str, str]]:
    return [{"Type": "TERM_MATCH", "Field": name, "Value": value} for name, value in fields.items()]


def usages(answer: dict[str, Any]) -> list[str]:
    return [json.loads(text)["product"]["attributes"]["usagetype"] for text in answer["PriceList"]]


def test_product_has_one_price_in_usd_as_text(sandbox: Sandbox) -> None:
    filters = wanted(regionCode="eu-west-1", productFamily="Provisioned Throughput")
    answer = sandbox.client("pricing").get_products(ServiceCode="AmazonEC2", Filters=filters)
    (item,) = (json.loads(text) for text in answer["PriceList"])
    assert item["product"]["attributes"]["usagetype"] == "EU-EBS:VolumeP-Throughput.gp3"
    (term,) = item["terms"]["OnDemand"].values()
    (dimension,) = term["priceDimensions"].values()
    assert dimension["pricePerUnit"] == {"USD": "45.0560000000"}
    assert (dimension["unit"], dimension["beginRange"], dimension["endRange"]) == ("GiBps-mo", "0", "Inf")


def test_filters_all_count_and_pages_join(sandbox: Sandbox) -> None:
    client, filters = sandbox.client("pricing"), wanted(regionCode="us-east-1", productFamily="Storage Snapshot")
    given: dict[str, Any] = {"ServiceCode": "AmazonEC2", "Filters": filters}
    whole = usages(client.get_products(**given))
    assert "EBS:SnapshotUsage" in whole
    first = client.get_products(**given, MaxResults=3)
    rest = client.get_products(**given, MaxResults=3, NextToken=first["NextToken"])
    assert usages(first) + usages(rest) == whole
    assert "NextToken" not in rest
    contains = [*filters, {"Type": "CONTAINS", "Field": "usagetype", "Value": "Archive"}]
    assert len(usages(client.get_products(ServiceCode="AmazonEC2", Filters=contains))) == 2
    refused("InvalidNextTokenException", client.get_products, **given, NextToken=first["NextToken"])


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"ServiceCode": "AmazonX"}, "NotFoundException"),
        ({"ServiceCode": "AmazonEC2", "FormatVersion": "aws_v2"}, "InvalidParameterException"),
    ],
)
def test_request_that_is_not_valid_is_refused(sandbox: Sandbox, given: dict[str, Any], code: str) -> None:
    refused(code, sandbox.client("pricing").get_products, **given)


def test_only_three_regions_have_an_endpoint_and_permission_is_needed(sandbox: Sandbox) -> None:
    for region in ("us-east-1", "eu-central-1", "ap-south-1"):
        assert sandbox.client("pricing", region).get_products(ServiceCode="AmazonEC2", MaxResults=1)["PriceList"]
    refused("UnknownEndpoint", sandbox.client("pricing", "eu-west-1").get_products, ServiceCode="AmazonEC2")
    sandbox.refuse("pricing:GetProducts")
    refused("AccessDenied", sandbox.client("pricing").get_products, ServiceCode="AmazonEC2")
