# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lean parser returns the same as botocore's parser, and raises the same errors.

`compared_answers` in conftest.py compares all answers of the sandbox, too.
"""

from __future__ import annotations

from functools import cache
from typing import Any
from xml.etree import ElementTree as ET  # the test writes the answers

import botocore.session
import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.gateway import read_time
from ansible_collections.ec2ops.storage.plugins.module_utils._aws.lean_parser import (
    LISTS,
    LeanParser,
    parser_factory,
    reader,
)
from botocore.parsers import EC2QueryParser, ResponseParserError, ResponseParserFactory

OPERATIONS = {"DescribeSnapshots": "snapshotSet", "DescribeVolumes": "volumeSet"}
VALUES = {"string": "a text", "boolean": "true", "integer": "7", "long": "7", "timestamp": "2026-11-24T02:00:04.000Z"}


@cache
def shape_of(operation: str) -> Any:
    return botocore.session.Session().get_service_model("ec2").operation_model(operation).output_shape


def whole(shape: Any, tag: str, times: int = 2) -> str:
    """An element with all members of a shape, and lists of so many items."""
    if shape.type_name == "structure":
        content = "".join(whole(part, part.serialization.get("name", name)) for name, part in shape.members.items())
    elif shape.type_name == "list":
        content = whole(shape.member, "item") * times
    else:
        content = VALUES[shape.type_name]
    return f"<{tag}>{content}</{tag}>"


def answer(operation: str, content: str) -> dict[str, Any]:
    name = OPERATIONS[operation]
    body = (
        f'<{operation}Response xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>r</requestId>'
        f"<{name}>{content}</{name}><nextToken>next</nextToken></{operation}Response>"
    )
    return {"body": body.encode(), "headers": {}, "status_code": 200, "context": {"operation_name": operation}}


def both(operation: str, content: str) -> tuple[Any, Any]:
    """The results of the lean parser and of botocore for an answer."""
    parsers = (parser_factory(read_time).create_parser("ec2"), EC2QueryParser(timestamp_parser=read_time))
    assert isinstance(parsers[0], LeanParser)
    lean, plain = (parser.parse(answer(operation, content), shape_of(operation)) for parser in parsers)
    return lean, plain


@pytest.mark.parametrize("operation", OPERATIONS)
def test_all_members_are_read_without_botocore(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (listed,) = (part for part in shape_of(operation).members.values() if part.name in LISTS)
    content = whole(listed, "set")
    found = reader(listed, read_time)(ET.fromstring(content))  # noqa: S314
    lean, plain = both(operation, content.removeprefix("<set>").removesuffix("</set>"))
    assert lean == plain
    assert found in plain.values()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "<item/>",
        "<item><snapshotId/><tagSet/></item>",
        "<item><snapshotId>snap-1</snapshotId><ofTheFuture><deep>1</deep></ofTheFuture></item>",
        "<item><encrypted>maybe</encrypted><startTime>1700000000</startTime></item>",
        "<item><tagSet><item><key>a</key></item><item><value>b</value></item></tagSet></item>",
        "<item><description>&lt;x&gt; \n &#228;</description></item>",
        "<item><ofTheFuture/><ofTheFuture/><snapshotId>snap-1</snapshotId></item>",
    ],
)
def test_unusual_answers_are_read_as_botocore_does(content: str) -> None:
    lean, plain = both("DescribeSnapshots", content)
    assert lean == plain


@pytest.mark.parametrize("content", ["<item><volumeSize>much</volumeSize></item>", "<item><volumeSize/></item>"])
def test_wrong_answers_raise_botocores_error(content: str) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        both("DescribeSnapshots", content)


def test_answer_that_is_no_xml_raises_botocores_error() -> None:
    parser = parser_factory(read_time).create_parser("ec2")
    broken = {**answer("DescribeVolumes", ""), "body": b"<html>"}
    with pytest.raises(ResponseParserError):
        parser.parse(broken, shape_of("DescribeVolumes"))


def test_other_protocols_keep_botocores_parsers() -> None:
    for protocol in ("query", "json", "rest-json", "rest-xml"):
        made = parser_factory(read_time).create_parser(protocol)
        assert type(made) is type(ResponseParserFactory().create_parser(protocol))
