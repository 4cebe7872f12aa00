# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of tags that a module sets: a value that YAML has changed into another type is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import require_tags
from ansible_collections.ec2ops.storage.plugins.modules import (
    ami_bake,
    ebs_volume_spec,
    instance_relaunch,
    snapshot_rotate,
)

from in_process import machine, run
from sandbox.client import Sandbox

Given = Callable[[str, dict[str, Any]], dict[str, Any]]

MODULES: dict[str, tuple[Any, Given]] = {
    "ami_bake": (
        ami_bake,
        lambda instance, tags: {"name": "web", "version": "1", "source_instance_id": instance, "tags": tags},
    ),
    "ebs_volume_spec": (
        ebs_volume_spec,
        lambda instance, tags: {
            "spec": "s",
            "instance_ids": [instance],
            "volumes": [{"name": "data", "size": 8, "tags": tags}],
        },
    ),
    "instance_relaunch": (
        instance_relaunch,
        lambda instance, tags: {
            "instance_id": instance,
            "image_id": "ami-0123456789abcdef0",
            "overrides": {"tags": tags},
        },
    ),
    "snapshot_rotate": (
        snapshot_rotate,
        lambda _instance, tags: {
            "policy": "p",
            "select": {"tags": {"backup": "daily"}},
            "keep": {"last": 1},
            "tags": tags,
        },
    ),
}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (True, "true is a boolean"),
        (False, "false is a boolean"),
        (1.1, "1.1 is a number"),
        (date(2026, 11, 29), "2026-11-29 is a date"),
        (["yes"], "['yes'] is a list"),
        ({"a": "b"}, "{'a': 'b'} is a mapping"),
    ],
)
def test_value_that_is_not_text_is_refused_by_key(value: Any, told: str) -> None:
    with pytest.raises(SpecError) as refused:
        require_tags({"legal-hold": value}, "tags")
    assert str(refused.value).startswith(f"tags: 'legal-hold': {told}, not text. Quote it")


def test_key_that_is_not_text_is_refused() -> None:
    with pytest.raises(SpecError, match=r"tags: the key true is a boolean, not text\. Quote it"):
        require_tags({True: "x"}, "tags")


def test_whole_numbers_and_empty_values_are_taken() -> None:
    given: dict[Any, Any] = {"room": 12, 7: "seven", "owner": "", "empty": None}
    assert require_tags(given, "tags") == {"room": "12", "7": "seven", "owner": "", "empty": ""}


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("value", [True, 1.1], ids=str)
def test_module_refuses_before_it_changes_anything(sandbox: Sandbox, module: str, value: Any) -> None:
    web = machine(sandbox)
    code, given = MODULES[module]
    ended = run(sandbox, module=code, **given(web.instance_id, {"legal-hold": value}))
    assert f"tags: 'legal-hold': {str(value).lower()} is a" in ended.failed
    assert "Quote it" in ended.failed
    assert [entry["action"] for entry in sandbox.log()] == []
