# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""GetProducts of the AWS Price List API, with the products of EBS in the form of AWS's list.

The form is that of the offer files: each item of PriceList is a JSON text with a product, its attributes and its
terms. A price is a text in USD. The prices of us-east-1 are AWS's published ones. Those of all other regions are 1.1
times as high, which is nobody's price list. Products that a careless client would take for the wanted ones stand
beside them: a local zone's, Outposts', I/O requests, fast restore, and copies by time. (AWS Price List API reference,
"GetProducts"; billing user guide, "Reading the service price list file".)
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .engine import Call, Ec2Error, Reply, World, other_action

if TYPE_CHECKING:
    from .log import Entry

#: The regions with an endpoint ("AWS Price List API endpoints").
ENDPOINTS = ("us-east-1", "eu-central-1", "ap-south-1")
MOST_RESULTS = 100
_OTHER_REGIONS = 1.1
_PREFIXES = {"us-east-1": "", "eu-west-1": "EU-", "eu-central-1": "EUC1-", "ap-south-1": "APS3-", "us-west-2": "USW2-"}

#: Family, usage type, unit, price in us-east-1, further attributes.
_PRODUCTS: tuple[tuple[str, str, str, float, dict[str, str]], ...] = (
    ("Storage", "EBS:VolumeUsage.gp2", "GB-Mo", 0.10, {"volumeApiName": "gp2"}),
    ("Storage", "EBS:VolumeUsage.gp3", "GB-Mo", 0.08, {"volumeApiName": "gp3"}),
    ("Storage", "EBS:VolumeUsage.piops", "GB-Mo", 0.125, {"volumeApiName": "io1"}),
    ("Storage", "EBS:VolumeUsage.io2", "GB-month", 0.125, {"volumeApiName": "io2"}),
    ("Storage", "EBS:VolumeUsage.st1", "GB-Mo", 0.045, {"volumeApiName": "st1"}),
    ("Storage", "EBS:VolumeUsage.sc1", "GB-Mo", 0.015, {"volumeApiName": "sc1"}),
    ("Storage", "EBS:VolumeUsage", "GB-Mo", 0.05, {"volumeApiName": "standard"}),
    ("Storage", "EBS:VolumeUsage-Outposts.gp2", "GB-Mo", 0.3, {"locationType": "AWS Outposts"}),
    ("System Operation", "EBS:VolumeP-IOPS.gp3", "IOPS-Mo", 0.005, {"volumeApiName": "gp3"}),
    ("System Operation", "EBS:VolumeP-IOPS.piops", "IOPS-Mo", 0.065, {"volumeApiName": "io1"}),
    ("System Operation", "EBS:VolumeP-IOPS.io2", "IOPS-Mo", 0.065, {"volumeApiName": "io2"}),
    ("System Operation", "EBS:VolumeP-IOPS.io2.tier2", "IOPS-Mo", 0.0455, {"volumeApiName": "io2"}),
    ("System Operation", "EBS:VolumeP-IOPS.io2.tier3", "IOPS-Mo", 0.03185, {"volumeApiName": "io2"}),
    ("System Operation", "EBS:VolumeIOUsage", "IOs", 5e-8, {"volumeApiName": "standard"}),
    ("System Operation", "EBS:TimeBasedSnapshotCopy.tier1", "GB", 0.02, {}),
    ("Provisioned Throughput", "EBS:VolumeP-Throughput.gp3", "GiBps-mo", 40.96, {"volumeApiName": "gp3"}),
    ("Storage Snapshot", "EBS:SnapshotUsage", "GB-Mo", 0.05, {}),
    ("Storage Snapshot", "EBS:SnapshotUsageUnderBilling", "GB-Mo", 0.0, {}),
    ("Storage Snapshot", "EBS:SnapshotArchiveStorage", "GB-Mo", 0.0125, {}),
    ("Storage Snapshot", "EBS:SnapshotArchiveRetrieval", "GB", 0.03, {}),
    ("Fast Snapshot Restore", "EBS:FastSnapshotRestore", "hour", 0.75, {}),
)

_MATCHES: Mapping[str, Callable[[str, str], bool]] = {
    "TERM_MATCH": lambda have, want: have.lower() == want.lower(),
    "EQUALS": lambda have, want: have.lower() == want.lower(),
    "CONTAINS": lambda have, want: want.lower() in have.lower(),
    "ANY_OF": lambda have, want: have.lower() in want.lower().split(","),
    "NONE_OF": lambda have, want: have.lower() not in want.lower().split(","),
}


@other_action("pricing:GetProducts")
def get_products(world: World, _call: Call, entry: Entry) -> Reply:
    """List the products of EC2 that pass all filters."""
    params = entry.params
    if entry.region not in ENDPOINTS:
        # There is no such endpoint. A client would find no address of this name.
        raise Ec2Error("UnknownEndpoint", f"The Pricing API has no endpoint in {entry.region}.", 404)
    if params.get("ServiceCode") != "AmazonEC2":
        raise Ec2Error("NotFoundException", f"Service code {params.get('ServiceCode')} is not in this sandbox.", 400)
    if params.get("FormatVersion", "aws_v1") != "aws_v1":
        raise _invalid("Format version is not valid.")
    most = params.get("MaxResults", MOST_RESULTS)
    if not isinstance(most, int) or not 1 <= most <= MOST_RESULTS:
        raise _invalid(f"MaxResults must be between 1 and {MOST_RESULTS}.")
    found = [one for one in _all(world) if _passes(one, params.get("Filters") or [])]
    first = _first(params)
    answer: dict[str, Any] = {
        "FormatVersion": "aws_v1",
        "PriceList": [json.dumps(one) for one in found[first : first + most]],
    }
    if first + most < len(found):
        answer["NextToken"] = base64.b64encode(f"{_digest(params)}:{first + most}".encode()).decode()
    return Reply(200, json.dumps(answer).encode(), [("Content-Type", "application/x-amz-json-1.1")])


def _all(world: World) -> list[dict[str, Any]]:
    made = [
        product(family, usage, unit, usd * (1.0 if region == "us-east-1" else _OTHER_REGIONS), region, more)
        for region in _PREFIXES
        for family, usage, unit, usd, more in _PRODUCTS
    ]
    lax = {"locationType": "AWS Local Zone", "location": "US West (Los Angeles)"}
    made.append(product("Storage", "LAX1-EBS:VolumeUsage.gp3", "GB-Mo", 0.096, "us-west-2-lax-1", lax))
    return [*made, *world.products]


def product(
    family: str, usage: str, unit: str, usd: float, region: str, more: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """One product with its on-demand term, as the list has it."""
    usage = usage if "-EBS:" in usage else f"{_PREFIXES.get(region, '')}{usage}"
    sku = hashlib.sha256(f"{family} {usage} {region} {usd}".encode()).hexdigest()[:16].upper()
    term, rate = f"{sku}.JRTCKXETXF", f"{sku}.JRTCKXETXF.6YS6EN2CT7"
    attributes = {
        "regionCode": region,
        "servicecode": "AmazonEC2",
        "servicename": "Amazon Elastic Compute Cloud",
        "location": region,
        "locationType": "AWS Region",
        "operation": "",
        "usagetype": usage,
        **(more or {}),
    }
    dimension = {
        "unit": unit,
        "beginRange": "0",
        "endRange": "Inf",
        "description": f"${usd} per {unit}",
        "appliesTo": [],
        "rateCode": rate,
        "pricePerUnit": {"USD": f"{usd:.10f}"},
    }
    return {
        "product": {"productFamily": family, "attributes": attributes, "sku": sku},
        "serviceCode": "AmazonEC2",
        "terms": {
            "OnDemand": {
                term: {
                    "priceDimensions": {rate: dimension},
                    "sku": sku,
                    "effectiveDate": "2026-11-01T00:00:00Z",
                    "offerTermCode": "JRTCKXETXF",
                    "termAttributes": {},
                }
            }
        },
        "version": "20261120000000",
        "publicationDate": "2026-11-20T00:00:00Z",
    }


def _passes(item: Mapping[str, Any], filters: list[Mapping[str, Any]]) -> bool:
    known = {**item["product"]["attributes"], "productFamily": item["product"]["productFamily"]}
    for one in filters:
        matches = _MATCHES.get(one.get("Type", ""))
        if matches is None or not one.get("Field") or not one.get("Value"):
            raise _invalid("Input Parameters are invalid.")
        if not matches(str(known.get(one["Field"], "")), str(one["Value"])):
            return False
    return True


def _invalid(text: str) -> Ec2Error:
    return Ec2Error("InvalidParameterException", text, 400)


def _digest(params: Mapping[str, Any]) -> str:
    same = {key: value for key, value in params.items() if key != "NextToken"}
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]


def _first(params: Mapping[str, Any]) -> int:
    """The place of the first product of a page. A token belongs to one request."""
    token = params.get("NextToken")
    if token is None:
        return 0
    try:
        digest, _colon, first = base64.b64decode(token, validate=True).decode().partition(":")
    except ValueError:
        digest, first = "", "0"
    if digest != _digest(params):
        raise Ec2Error("InvalidNextTokenException", "The next token is invalid.", 400)
    return int(first)
