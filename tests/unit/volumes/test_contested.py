# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Purging declarations of volumes that name one instance."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.volumes.contested import refusals

ONE, TWO = "i-0000000000000000a", "i-0000000000000000b"


def spec(instance: Any, option: str = "instance_ids", **more: Any) -> dict[str, Any]:
    return {option: instance, "volumes": [], **more}


@pytest.mark.parametrize(
    ("purging", "contested"),
    [
        pytest.param({}, {}, id="no host"),
        pytest.param({"a": []}, {}, id="nothing purges"),
        pytest.param({"a": [spec([ONE]), spec([TWO], spec="logs")]}, {}, id="one each"),
        pytest.param({"a": [spec([ONE, ONE])]}, {}, id="named twice by one"),
        pytest.param({"a": [spec([ONE])], "b": [spec([ONE])]}, {}, id="shared by hosts"),
        pytest.param({"a": [spec([ONE]), spec(ONE, spec="logs")]}, {"a": [ONE]}, id="two in a list"),
        pytest.param({"a": [spec([ONE]), spec(f"{TWO} , {ONE}", "instance_id")]}, {"a": [ONE]}, id="text with commas"),
        pytest.param({"a": [spec([ONE])], "b": [spec([ONE], spec="logs")]}, {"a": [ONE], "b": [ONE]}, id="two hosts"),
        pytest.param({"a": [spec(None, availability_zone="z"), spec(None)]}, {}, id="no instance"),
    ],
)
def test_two_different_declarations_contest_an_instance(
    purging: dict[str, list[dict[str, Any]]], contested: dict[str, list[str]]
) -> None:
    told = refusals(purging)
    assert told.keys() == contested.keys()
    for host, ids in contested.items():
        assert all(name in told[host] for name in ids)
        assert ("on the hosts a, b" in told[host]) == (len(contested) > 1)


def test_refusal_lists_at_most_ten_instances() -> None:
    ids = [f"i-{number:017x}" for number in range(401)]
    text = refusals({"a": [spec(ids), spec(ids, spec="logs")]})["a"]
    assert "and 391 more" in text
    assert len(text) < 600
