# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pages, filters and tags, as EC2 has them."""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.engine import Request, World
from sandbox.errors import Ec2Error
from sandbox.filters import compiled, matcher, matching
from sandbox.pages import paged
from sandbox.tags import tag_specifications
from sandbox.world import Volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from sandbox.client import Sandbox

ACCOUNT = "123456789012"
NOW = datetime(2026, 11, 23, 4, 5, 6, 789000, tzinfo=UTC)


def request(world: World, action: str = "DescribeVolumes", region: str = "us-east-1", **params: Any) -> Request:
    return Request(action, params, ACCOUNT, region, NOW, world)


def code_of(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises((Ec2Error, ClientError)) as refused:
        call()
    error = refused.value
    if isinstance(error, ClientError):
        return str(error.response["Error"]["Code"]), str(error.response["Error"]["Message"])
    assert isinstance(error, Ec2Error)
    return error.code, error.message


# --- pages ---


def walk(world: World, rows: Any, size: int, **options: Any) -> list[list[Any]]:
    """All pages."""
    pages, token = [], None
    while True:
        params = {"MaxResults": size, **({"NextToken": token} if token else {})}
        page, token = paged(request(world, **params), rows, **options)
        pages.append(list(page))
        if token is None:
            return pages


@pytest.mark.parametrize("key", [None, lambda row: row])
def test_pages_hold_every_row_once(world: World, key: Any) -> None:
    rows = list(range(23))
    assert [len(page) for page in walk(world, rows, 10, key=key)] == [10, 10, 3]
    assert [row for page in walk(world, rows, 5, key=key) for row in page] == rows
    assert walk(world, rows[:10], 10, key=key) == [rows[:10]]
    assert walk(world, [], 10, key=key) == [[]]


def test_list_without_max_results_comes_in_one_page(world: World) -> None:
    assert paged(request(world), list(range(5000))) == (list(range(5000)), None)
    page, token = paged(request(world), list(range(5000)), default=100)
    assert (len(page), token is None) == (100, False)


def test_a_generator_can_be_paged(world: World) -> None:
    page, token = paged(request(world, MaxResults=5), (row for row in range(8)))
    assert (list(page), token is None) == ([0, 1, 2, 3, 4], False)


@pytest.mark.parametrize("size", [4, 1, 0, -1])
def test_max_results_has_a_minimum(world: World, size: int) -> None:
    assert code_of(lambda: paged(request(world, MaxResults=size), [])) == (
        "InvalidParameterValue",
        f"Value ( {size} ) for parameter maxResults is invalid. Expecting a value greater than 5.",
    )
    assert paged(request(world, MaxResults=1), [1, 2], minimum=1)[0] == [1]


def test_more_than_the_maximum_counts_as_the_maximum(world: World) -> None:
    page, token = paged(request(world, MaxResults=1001), list(range(1500)))
    assert (len(page), token is None) == (1000, False)


@pytest.mark.parametrize(
    ("params", "text"),
    [
        (
            {"ImageIds": ["ami-1"], "MaxResults": 5},
            "The parameter imageIdsSet cannot be used with the parameter maxResults",
        ),
        (
            {"VolumeIds": ["vol-1"], "NextToken": "x"},
            "The parameter volumeIdsSet cannot be used with the parameter nextToken",
        ),
        (
            {"InstanceIds": ["i-1"], "MaxResults": 5},
            "The parameter instancesSet cannot be used with the parameter maxResults",
        ),
    ],
)
def test_ids_and_paging_exclude_each_other(world: World, params: dict[str, Any], text: str) -> None:
    assert code_of(lambda: paged(request(world, **params), [])) == ("InvalidParameterCombination", text)


def test_owners_are_no_ids(world: World) -> None:
    assert paged(request(world, OwnerIds=["self"], MaxResults=5, VolumeIds=[]), [1]) == ([1], None)
    assert paged(request(world, VolumeIds=["vol-1"], MaxResults=5), [1], ids=None) == ([1], None)
    assert code_of(lambda: paged(request(world, VolumeIds=["v"], MaxResults=5), [], ids="VolumeIds"))[0] == (
        "InvalidParameterCombination"
    )


def test_page_token_is_valid_only_for_its_action_and_region(world: World) -> None:
    _first, token = paged(request(world, MaxResults=5), list(range(10)))
    assert token is not None
    others: list[dict[str, Any]] = [
        {"NextToken": "garbage"},
        {"NextToken": "ü"},
        {"NextToken": token[:-4]},
        {"NextToken": token, "action": "DescribeSnapshots"},
        {"NextToken": token, "region": "eu-west-1"},
    ]
    for params in others:
        code, text = code_of(lambda params=params: paged(request(world, **params), list(range(10))))  # type: ignore[misc]
        assert code == "InvalidParameterValue"
        assert "nextToken" in text


def test_rows_changing_between_pages_neither_repeat_nor_hide_others(world: World) -> None:
    rows = list(range(0, 40, 2))
    first, token = paged(request(world, MaxResults=5), rows, key=lambda row: row)
    rows = [row for row in rows if row not in (2, 8)] + [40]  # the last row of the page, and another one, are gone
    rows.insert(0, -1)
    second, _rest = paged(request(world, MaxResults=5, NextToken=token), rows, key=lambda row: row)
    assert (list(first), list(second)) == ([0, 2, 4, 6, 8], [10, 12, 14, 16, 18])


def test_keys_may_be_tuples(world: World) -> None:
    rows = [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("b", 3), ("c", 1)]
    assert walk(world, rows, 5, key=lambda row: row) == [rows[:5], rows[5:]]


# --- filters ---


@dataclass
class Row:
    name: str
    size: int = 8
    encrypted: bool = False
    devices: tuple[str, ...] = ()
    created: datetime = NOW
    tags: dict[str, str] | None = field(default_factory=dict)


FIELDS: dict[str, Any] = {
    "name": lambda row: row.name,
    "size": lambda row: row.size,
    "encrypted": lambda row: row.encrypted,
    "device": lambda row: row.devices,
    "create-time": lambda row: row.created,
    "nothing": lambda row: None,
}
ROWS = [
    Row("a", tags={"Name": "web-1", "env": "prod"}),
    Row("b", 16, True, ("/dev/sda1", "/dev/sdf"), tags={"Name": "web-2", "env": ""}),
    Row("c*", 8, False, ("/dev/sdf",), NOW + timedelta(days=1), tags={"Environment": "prod"}),
    Row("C?\\", tags=None),
]


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({}, "a b c* C?\\"),
        ({"name": ["a"]}, "a"),
        ({"name": ["a", "b"]}, "a b"),
        ({"name": ["a", "b"], "size": ["8"]}, "a"),
        ({"name": ["c*"]}, "c*"),
        ({"name": ["c\\*"]}, "c*"),
        ({"name": ["C\\?\\\\"]}, "C?\\"),
        ({"name": ["?"]}, "a b"),
        ({"name": ["??"]}, "c*"),
        ({"name": ["*"]}, "a b c* C?\\"),
        ({"name": ["A"]}, ""),
        ({"name": ["c.", "[ab]"]}, ""),
        ({"encrypted": ["true"]}, "b"),
        ({"encrypted": ["True"]}, ""),
        ({"size": ["1*"]}, "b"),
        ({"device": ["/dev/sdf"]}, "b c*"),
        ({"device": ["/dev/sda?"]}, "b"),
        ({"nothing": ["*"]}, ""),
        ({"create-time": ["2026-11-23*"]}, "a b C?\\"),
        ({"create-time": ["2026-11-24T04:05:06.789Z"]}, "c*"),
        ({"tag:Name": ["web-*"]}, "a b"),
        ({"tag:Name": ["web-1", "web-9"]}, "a"),
        ({"tag:env": [""]}, "b"),
        ({"tag:env": ["*"]}, "a b"),
        ({"tag:name": ["*"]}, ""),
        ({"tag-key": ["env"]}, "a b"),
        ({"tag-key": ["*nv*"]}, "a b c*"),
        ({"name": []}, ""),
        ({"tag:env": []}, ""),
    ],
)
def test_filters_match_documented_rows(world: World, filters: dict[str, list[str]], found: str) -> None:
    asked = request(world, Filters=[{"Name": name, "Values": values} for name, values in filters.items()])
    assert [row.name for row in matching(asked, ROWS, FIELDS)] == found.split()


@pytest.mark.parametrize(
    ("one", "code", "text"),
    [
        ({"Name": "colour", "Values": ["red"]}, "InvalidParameterValue", "The filter 'colour' is invalid"),
        ({"Name": "tag:", "Values": ["red"]}, "InvalidParameterValue", "The filter 'tag:' is invalid"),
        ({"Values": ["red"]}, "InvalidParameterValue", "name"),
        ({"Name": "name", "Values": ["x"] * 201}, "FilterLimitExceeded", "200"),
    ],
)
def test_invalid_filter_is_refused(world: World, one: dict[str, Any], code: str, text: str) -> None:
    refused = code_of(lambda: matching(request(world, Filters=[one]), ROWS, FIELDS))
    assert refused[0] == code
    assert text in refused[1]
    assert len(matching(request(world, Filters=[{"Name": "name", "Values": ["a"] * 200}]), ROWS, FIELDS)) == 1


@settings(database=None)
@given(st.text("ab*?[].", max_size=8), st.text("ab*?\\[].", max_size=8))
def test_a_pattern_without_backslashes_matches_as_a_shell_glob(pattern: str, text: str) -> None:
    glob = pattern.replace("[", "[[]")
    assert matcher([pattern])(text) == fnmatch.fnmatchcase(text, glob)


@settings(database=None)
@given(st.text("ab*?\\[].", max_size=8))
def test_an_escaped_text_matches_itself_only(text: str) -> None:
    escaped = re.sub(r"([*?\\])", r"\\\1", text)
    holds = matcher([escaped])
    assert holds(text)
    assert not holds(text + "x")
    assert not holds("x" + text)


def test_filters_are_compiled_once_not_per_row() -> None:
    tests = compiled([{"Name": "name", "Values": ["a*"]}], FIELDS)
    assert [test(ROWS[0]) for test in tests] == [True]


# --- tags ---


@pytest.fixture
def volume(world: World) -> Volume:
    made = Volume(
        id="vol-0aaaaaaaaaaaaaaaa", created=NOW, ready=NOW, zone="us-east-1a", size=8, type="gp3", tags={"Name": "v"}
    )
    world.region(ACCOUNT, "us-east-1").volumes[made.id] = made
    return made


def tag(**tags: str) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def test_tags_are_added_overwritten_and_removed(sandbox: Sandbox, volume: Volume) -> None:
    ec2 = sandbox.client()
    ec2.create_tags(Resources=[volume.id], Tags=tag(Name="w", env="", a="1"))
    assert volume.tags == {"Name": "w", "env": "", "a": "1"}
    ec2.delete_tags(Resources=[volume.id], Tags=[{"Key": "Name", "Value": "v"}, {"Key": "env", "Value": "x"}])
    assert volume.tags == {"Name": "w", "env": "", "a": "1"}
    ec2.delete_tags(Resources=[volume.id], Tags=[{"Key": "Name"}, {"Key": "env", "Value": ""}, {"Key": "gone"}])
    assert volume.tags == {"a": "1"}
    ec2.delete_tags(Resources=[volume.id])
    assert volume.tags == {}


def test_own_and_motos_resources_are_tagged_in_one_call(sandbox: Sandbox, volume: Volume) -> None:
    ec2 = sandbox.client()
    vpc_id = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    ec2.create_tags(Resources=[volume.id, vpc_id], Tags=tag(both="yes"))
    assert volume.tags["both"] == "yes"
    found = ec2.describe_tags(Filters=[{"Name": "key", "Values": ["both"]}])["Tags"]
    assert found == [
        {"ResourceId": volume.id, "ResourceType": "volume", "Key": "both", "Value": "yes"},
        {"ResourceId": vpc_id, "ResourceType": "vpc", "Key": "both", "Value": "yes"},
    ]
    ec2.delete_tags(Resources=[vpc_id, volume.id], Tags=[{"Key": "both"}])
    assert ec2.describe_tags(Filters=[{"Name": "tag:both", "Values": ["*"]}])["Tags"] == []


def test_describe_tags_filters_and_pages(sandbox: Sandbox, volume: Volume) -> None:
    ec2 = sandbox.client()
    ec2.create_tags(Resources=[volume.id], Tags=tag(**{f"k{number:02}": str(number) for number in range(12)}))
    pages = list(ec2.get_paginator("describe_tags").paginate(PaginationConfig={"PageSize": 5}))
    assert [len(page["Tags"]) for page in pages] == [5, 5, 3]
    assert len({row["Key"] for page in pages for row in page["Tags"]}) == 13
    filters = [{"Name": "resource-type", "Values": ["volume"]}, {"Name": "value", "Values": ["1?"]}]
    assert [row["Key"] for row in ec2.describe_tags(Filters=filters)["Tags"]] == ["k10", "k11"]
    filters = [{"Name": "resource-id", "Values": [volume.id]}, {"Name": "tag:k03", "Values": ["3"]}]
    assert [row["Key"] for row in ec2.describe_tags(Filters=filters)["Tags"]] == ["k03"]
    assert code_of(lambda: ec2.describe_tags(Filters=[{"Name": "colour", "Values": ["red"]}]))[0] == (
        "InvalidParameterValue"
    )


def test_tag_on_a_missing_resource_changes_nothing(sandbox: Sandbox, volume: Volume) -> None:
    ec2 = sandbox.client()
    unknown = {
        "vol-0bbbbbbbbbbbbbbbb": "InvalidVolume.NotFound",
        "snap-0bbbbbbbbbbbbbbbb": "InvalidSnapshot.NotFound",
        "ami-0bbbbbbbbbbbbbbbb": "InvalidAMIID.NotFound",
        "i-0bbbbbbbbbbbbbbbb": "InvalidInstanceID.NotFound",
        "vpc-0bbbbbbbbbbbbbbbb": "InvalidVpcID.NotFound",
        "nonsense": "InvalidID",
    }
    for resource_id, code in unknown.items():
        refused = code_of(
            lambda resource_id=resource_id: ec2.create_tags(  # type: ignore[misc]
                Resources=[volume.id, resource_id], Tags=tag(a="b")
            )
        )
        assert refused[0] == code
        assert resource_id in refused[1]
    assert volume.tags == {"Name": "v"}


@pytest.mark.parametrize(
    ("tags", "code", "text"),
    [
        (tag(**{"aws:x": "1"}), "InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use"),
        (tag(**{"AWS:x": "1"}), "InvalidParameterValue", "reserved"),
        (tag(**{"k" * 128: "1"}), "InvalidParameterValue", "127"),
        (tag(k="v" * 257), "InvalidParameterValue", "256"),
        (tag(**{"": "v"}), "InvalidParameterValue", "empty"),
        (tag(a="1") + tag(a="2"), "InvalidParameterValue", "Duplicate tag key 'a'"),
        (tag(**{f"k{number}": "" for number in range(50)}), "TagLimitExceeded", "50"),
    ],
)
def test_tags_that_ec2_does_not_take_are_refused(
    sandbox: Sandbox, world: World, volume: Volume, tags: list[dict[str, str]], code: str, text: str
) -> None:
    refused = code_of(lambda: sandbox.client().create_tags(Resources=[volume.id], Tags=tags))
    assert refused[0] == code
    assert text in refused[1]
    assert volume.tags == {"Name": "v"}


def test_limits_are_inclusive(sandbox: Sandbox, volume: Volume) -> None:
    ec2 = sandbox.client()
    ec2.create_tags(Resources=[volume.id], Tags=tag(**{"k" * 127: "v" * 256}))
    ec2.create_tags(Resources=[volume.id], Tags=tag(**{f"k{number}": "" for number in range(48)}))
    assert len(volume.tags) == 50
    ec2.create_tags(Resources=[volume.id], Tags=tag(k1="changed"))
    assert code_of(lambda: ec2.create_tags(Resources=[volume.id], Tags=tag(more="")))[0] == "TagLimitExceeded"
    volume.tags["aws:made-by"] = "aws"
    ec2.create_tags(Resources=[volume.id], Tags=tag(k1="again"))
    ec2.delete_tags(Resources=[volume.id])
    assert volume.tags == {"aws:made-by": "aws"}


def test_at_most_a_thousand_resources_and_a_dry_run_changes_nothing(sandbox: Sandbox, volume: Volume) -> None:
    ec2 = sandbox.client()
    ids = [f"vol-{number:017x}" for number in range(1001)]
    assert "1000" in code_of(lambda: ec2.create_tags(Resources=ids, Tags=tag(a="b")))[1]
    refused = code_of(lambda: ec2.create_tags(Resources=[volume.id], Tags=tag(a="b"), DryRun=True))
    assert refused[0] == "DryRunOperation"
    assert code_of(lambda: ec2.delete_tags(Resources=[volume.id], DryRun=True))[0] == "DryRunOperation"
    assert volume.tags == {"Name": "v"}


def test_invisible_resource_cannot_be_tagged_and_is_not_listed(sandbox: Sandbox, world: World, volume: Volume) -> None:
    ec2 = sandbox.client()
    volume.created = world.clock.now()
    sandbox.configure(visibility_delay={"volume": 60})
    assert code_of(lambda: ec2.create_tags(Resources=[volume.id], Tags=tag(a="b")))[0] == "InvalidVolume.NotFound"
    assert ec2.describe_tags()["Tags"] == []
    sandbox.move_clock(61)
    ec2.create_tags(Resources=[volume.id], Tags=tag(a="b"))
    assert len(ec2.describe_tags()["Tags"]) == 2


def specifications(world: World, *given_tags: tuple[str, list[dict[str, str]]]) -> Request:
    rows = [{"ResourceType": kind, "Tags": tags} for kind, tags in given_tags]
    return request(world, "CreateVolume", TagSpecifications=rows)


def test_tags_ride_on_a_create(world: World) -> None:
    asked = specifications(world, ("image", tag(a="1")))
    assert tag_specifications(asked, "image", "snapshot") == {"image": {"a": "1"}, "snapshot": {}}
    assert tag_specifications(request(world), "volume") == {"volume": {}}


@pytest.mark.parametrize(
    ("kinds", "text"),
    [
        ([("volume", tag(a="1"))], "'volume' is not a valid taggable resource type"),
        ([("", tag(a="1"))], "must have a value"),
        ([("image", tag(a="1")), ("image", tag(b="1"))], "Duplicate resource type 'image'"),
        ([("image", [])], "at least one tag"),
        ([("image", tag(a="1") + tag(a="2"))], "Duplicate tag key"),
        ([("image", tag(**{"aws:a": "1"}))], "reserved"),
    ],
)
def test_tag_specifications_that_ec2_does_not_take_are_refused(world: World, kinds: Any, text: str) -> None:
    code, message = code_of(lambda: tag_specifications(specifications(world, *kinds), "image", "snapshot"))
    assert code == "InvalidParameterValue"
    assert text in message
