# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The wire layer against botocore itself: each reads the requests and answers that the other writes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest
from botocore.model import ListShape, OperationModel, Shape, StructureShape
from botocore.parsers import EC2QueryParser
from botocore.serialize import EC2Serializer

from sandbox import wire
from sandbox.errors import Ec2Error

if TYPE_CHECKING:
    from collections.abc import Iterator

MOMENT = datetime(2026, 11, 23, 4, 5, 6, 789000, tzinfo=UTC)
SCALARS: dict[str, Any] = {
    "integer": 7,
    "long": 2**40,
    "float": 1.5,
    "double": 2.25,
    "boolean": False,
    "timestamp": MOMENT,
    "blob": b"\x00bytes",
}
TEXT = "a <b> & 'c' \"d\" ü \\ /+% ="


def sample(shape: Shape, depth: int = 0) -> Any:
    """A value with every member of the shape, down to a depth (shapes can contain themselves)."""
    if isinstance(shape, StructureShape):
        if depth > 11:
            return {name: sample(shape.members[name], depth + 1) for name in shape.required_members}
        return {name: sample(member, depth + 1) for name, member in shape.members.items()}
    if isinstance(shape, ListShape):
        return [sample(shape.member, depth + 1)] * 2 if depth < 10 else []
    return SCALARS.get(shape.type_name, TEXT)


def operations() -> Iterator[OperationModel]:
    model = wire.service_model()
    return (model.operation_model(name) for name in model.operation_names)


def without_empty_lists(value: Any) -> Any:
    """Return the value without empty lists, since a query cannot carry one."""
    if isinstance(value, dict):
        return {name: without_empty_lists(item) for name, item in value.items() if item != []}
    if isinstance(value, list):
        return [without_empty_lists(item) for item in value]
    return value


def body_of(action: str, params: dict[str, Any]) -> str:
    model = wire.operation_model(action)
    assert model is not None
    return urlencode(EC2Serializer().serialize_to_request(params, model)["body"])


def test_every_input_of_the_model_is_read_back() -> None:
    checked = 0
    for model in operations():
        if model.input_shape is None:
            continue
        params = without_empty_lists(sample(model.input_shape))
        body = urlencode(EC2Serializer().serialize_to_request(params, model)["body"])
        assert wire.parse(body) == (model.name, params), model.name
        checked += 1
    assert checked > 800


def test_every_output_of_the_model_is_read_by_botocore() -> None:
    parser = EC2QueryParser()
    checked = 0
    for model in operations():
        if model.output_shape is None:
            continue
        result = sample(model.output_shape)
        answer = {"body": wire.render(model.name, result, "id-1"), "headers": {}, "status_code": 200}
        parsed = parser.parse(answer, model.output_shape)
        assert parsed.pop("ResponseMetadata")["RequestId"] == "id-1"
        assert parsed == result, model.name
        checked += 1
    assert checked > 600


def test_lists_structures_and_scalars_have_boto3s_shape() -> None:
    params = {
        "AvailabilityZone": "us-east-1a",
        "Size": 8,
        "Encrypted": True,
        "DryRun": False,
        "TagSpecifications": [
            {"ResourceType": "volume", "Tags": [{"Key": "Name", "Value": ""}, {"Key": "k", "Value": "v"}]}
        ],
    }
    assert wire.parse(body_of("CreateVolume", params).encode()) == ("CreateVolume", params)


def test_a_request_in_the_query_string_is_read_too() -> None:
    action, params = wire.parse("", "Action=DescribeVolumes&Version=2016-11-15&VolumeId.1=vol-1&MaxResults=5")
    assert (action, params) == ("DescribeVolumes", {"VolumeIds": ["vol-1"], "MaxResults": 5})


def test_items_of_a_list_stand_in_the_order_of_their_numbers() -> None:
    body = "Action=DescribeVolumes&VolumeId.10=j&VolumeId.2=b&VolumeId.1=a"
    assert wire.parse(body)[1] == {"VolumeIds": ["a", "b", "j"]}


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ("Version=2016-11-15", "MissingAction", "action"),
        ("Action=MakeCoffee", "InvalidAction", "The action MakeCoffee is not valid for this web service."),
        ("Action=DescribeVolumes&Colour=red", "UnknownParameter", "The parameter Colour is not recognized"),
        (
            "Action=CreateVolume&TagSpecification.1.Colour=red",
            "UnknownParameter",
            "The parameter TagSpecification.1.Colour is not recognized",
        ),
        ("Action=CreateVolume&Size.1=3", "UnknownParameter", "Size.1"),
        ("Action=CreateVolume&Size=3&Size.1=3", "UnknownParameter", "Size"),
        ("Action=DescribeVolumes&VolumeId.x=vol-1", "UnknownParameter", "VolumeId.x"),
        ("Action=DeleteSnapshot", "MissingParameter", "The request must contain the parameter SnapshotId"),
        (
            "Action=CreateSnapshots&InstanceSpecification.ExcludeBootVolume=true",
            "MissingParameter",
            "InstanceSpecification.InstanceId",
        ),
        ("Action=CreateVolume&Size=big", "InvalidParameterValue", "Value (big) for parameter Size is invalid"),
        ("Action=CreateVolume&Size=", "InvalidParameterValue", "Size"),
        ("Action=CreateVolume&Encrypted=maybe", "InvalidParameterValue", "Encrypted"),
        (
            "Action=EnableImageDeprecation&ImageId=ami-1&DeprecateAt=soon",
            "InvalidParameterValue",
            "Value (soon) for parameter DeprecateAt",
        ),
        (
            "Action=ImportKeyPair&KeyName=k&PublicKeyMaterial=***",
            "InvalidParameterValue",
            "PublicKeyMaterial",
        ),
    ],
)
def test_invalid_request_is_refused_as_by_ec2(body: str, code: str, text: str) -> None:
    with pytest.raises(Ec2Error) as refused:
        wire.parse(body)
    assert refused.value.code == code
    assert text in refused.value.message
    assert refused.value.status == 400


def test_a_describe_without_rows_has_an_empty_set() -> None:
    model = wire.operation_model("DescribeSnapshots")
    assert model is not None
    body = wire.render("DescribeSnapshots", {"NextToken": None})
    assert (
        EC2QueryParser().parse({"body": body, "headers": {}, "status_code": 200}, model.output_shape)["Snapshots"] == []
    )
    assert b"nextToken" not in body


def test_an_action_without_output_answers_true() -> None:
    assert b"<return>true</return>" in wire.render("CreateTags", {})


def test_the_errors_of_a_handler_name_the_place() -> None:
    with pytest.raises(KeyError, match="Snapshot has no member Colour"):
        wire.render("DescribeSnapshots", {"Snapshots": [{"Colour": "red"}]})
    with pytest.raises(TypeError, match=r"Snapshots.*VolumeSize.*integer is needed, not '8'"):
        wire.render("DescribeSnapshots", {"Snapshots": [{"VolumeSize": "8"}]})
    with pytest.raises(TypeError, match=r"Encrypted.*boolean"):
        wire.render("DescribeSnapshots", {"Snapshots": [{"Encrypted": "false"}]})
    with pytest.raises(ValueError, match="naive"):
        wire.render("DescribeSnapshots", {"Snapshots": [{"StartTime": MOMENT.replace(tzinfo=None)}]})


def test_text_that_xml_cannot_carry_does_not_spoil_the_page() -> None:
    model = wire.operation_model("DescribeSnapshots")
    assert model is not None
    rows = [{"Description": "a\x00b\rc\nd", "Tags": [{"Key": "k\x01", "Value": "<&>\r"}]}]
    body = wire.render("DescribeSnapshots", {"Snapshots": rows})
    parsed = EC2QueryParser().parse({"body": body, "headers": {}, "status_code": 200}, model.output_shape)
    assert parsed["Snapshots"] == [{"Description": "a?b\rc\nd", "Tags": [{"Key": "k?", "Value": "<&>\r"}]}]


def test_an_error_is_read_by_botocore() -> None:
    body = wire.render_error("InvalidSnapshot.InUse", "The snapshot <snap-1> & more", "id-2")
    parsed = EC2QueryParser().parse({"body": body, "headers": {}, "status_code": 400}, None)
    assert parsed["Error"] == {"Code": "InvalidSnapshot.InUse", "Message": "The snapshot <snap-1> & more"}
    assert parsed["ResponseMetadata"]["RequestId"] == "id-2"
