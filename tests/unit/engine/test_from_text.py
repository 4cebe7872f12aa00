# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of variables that a survey or a command line gives as text."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ansible_collections.ec2ops.storage.plugins.module_utils._engine import variables
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError

ONE, OTHER = "vol-0123456789abcdef0", "vol-0123456789abcdef1"
RIGHT = {"x_aws": "{region: eu-central-1}", "x_volumes": "[{name: data, size: 20}]"}
RIGHT |= {"x_volume_ids": "[vol-0123456789abcdef0]"}


def parsed(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(text) from error


def from_text(value: Any, option: str, kind: str) -> Any:
    return variables.from_text(value, option, kind, RIGHT.get(option, ""), parsed)


VOLUMES = "Give one such as [{name: data, size: 20}]."


@pytest.mark.parametrize(
    ("kind", "value", "found"),
    [
        ("mapping", {"region": "eu-central-1"}, {"region": "eu-central-1"}),
        ("mapping", "region: eu-central-1", {"region": "eu-central-1"}),
        ("mapping", '{"region": "eu-central-1"}', {"region": "eu-central-1"}),
        ("mapping", "", {}),
        ("mapping", None, {}),
        ("mappings", [{"name": "data"}], [{"name": "data"}]),
        ("mappings", "- name: data\n  size: 3\n", [{"name": "data", "size": 3}]),
        ("mappings", '[{"name": "data"}]', [{"name": "data"}]),
        ("mappings", "", []),
        ("ids", [ONE, OTHER], [ONE, OTHER]),
        ("ids", ONE, [ONE]),
        ("ids", f"{ONE},{OTHER}", [ONE, OTHER]),
        ("ids", f" {ONE}, {OTHER} ", [ONE, OTHER]),
        ("ids", f"{ONE}\n{OTHER}\n", [ONE, OTHER]),
        ("ids", f'["{ONE}", "{OTHER}"]', [ONE, OTHER]),
        ("ids", f"[{ONE}]", [ONE]),
        ("ids", f"- {ONE}\n- {OTHER}", [ONE, OTHER]),
        ("ids", "", []),
    ],
)
def test_text_is_read_as_yaml(kind: str, value: Any, found: Any) -> None:
    assert from_text(value, "x_option", kind) == found


@pytest.mark.parametrize(
    ("kind", "value", "problem"),
    [
        ("mapping", "eu-central-1", "x_aws: 'eu-central-1' is not a mapping. Give one such as {region: eu-central-1}."),
        ("mapping", ["region"], "x_aws: \"['region']\" is not a mapping. Give one such as {region: eu-central-1}."),
        ("mapping", "{region}}", "x_aws: '{region}}' is not a mapping. Give one such as {region: eu-central-1}."),
        ("mappings", ["data"], f"x_volumes: \"['data']\" is not a list of mappings. {VOLUMES}"),
        ("mappings", {"a": 1}, f"x_volumes: \"{{'a': 1}}\" is not a list of mappings. {VOLUMES}"),
        ("ids", [1], "x_volume_ids: '[1]' is not a list of ids. Give one such as [vol-0123456789abcdef0]."),
        ("ids", 7, "x: '7' is not a list of ids. Give one."),
    ],
)
def test_another_type_is_refused_by_name_with_an_example(kind: str, value: Any, problem: str) -> None:
    with pytest.raises(SpecError) as refusal:
        from_text(value, problem.split(":", maxsplit=1)[0], kind)
    assert str(refusal.value) == problem


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("mappings", "[{policy:"),
        ("mapping", "{region:"),
        ("ids", f"[{ONE},"),
        ("ids", f"{ONE},"),
        ("mappings", '[{"name":'),
    ],
)
def test_text_cut_at_a_space_is_refused_with_the_reason(kind: str, value: str) -> None:
    with pytest.raises(SpecError) as refusal:
        from_text(value, "x_list", kind)
    assert str(refusal.value) == f"x_list: {value!r} is cut at a space. Quote the value, or give it as JSON."


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (None, ["100%"]),
        ("", ["100%"]),
        ([], ["100%"]),
        (1, [1]),
        ("1", [1]),
        ("25%", ["25%"]),
        ([1, "50%", "100%"], [1, "50%", "100%"]),
        ("[1, 100%]", [1, "100%"]),
        (["2"], ["2"]),
    ],
)
def test_batches_are_read_from_numbers_lists_and_text(value: Any, found: list[int | str]) -> None:
    assert variables.batches(value, "x_serial", parsed) == found


@pytest.mark.parametrize("value", [0, -1, "0%", "101%", "a few", True, 1.5, [1, None], {"first": 1}, "[1, 100%]]"])
def test_value_that_is_no_size_of_a_batch_is_refused(value: Any) -> None:
    with pytest.raises(SpecError, match=r"^x_serial: .* is not the size of a batch\. Give a number of hosts"):
        variables.batches(value, "x_serial", parsed)


def test_batches_that_a_space_cut_are_refused() -> None:
    with pytest.raises(SpecError, match="x_serial: '\\[1,' is cut at a space"):
        variables.batches("[1,", "x_serial", parsed)
