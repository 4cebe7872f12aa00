# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values of the wrong shape, anywhere in a task: the message names the option and shows how it is written."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import (
    ami_bake,
    ebs_volume_spec,
    instance_relaunch,
    snapshot_rotate,
)

from module_runs import failed

ENTRY = "Write it as in volumes: [{name: data, size: 20}]."
RELAUNCH = {"instance_id": "i-0123456789abcdef0", "image_id": "ami-0123456789abcdef0"}


@pytest.mark.parametrize("value", ["t3.large", ["t3.large"], 3], ids=str)
def test_plain_overrides_are_refused_with_an_example(capsys: pytest.CaptureFixture[str], value: Any) -> None:
    text = failed(capsys, instance_relaunch, overrides=value, **RELAUNCH)
    assert text.startswith("overrides: ")
    assert "not a mapping. Write it as in overrides: {instance_type: t3.large}." in text


def test_secret_in_misplaced_overrides_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    text = failed(capsys, instance_relaunch, overrides=[{"user_data_content": "s3cret"}], **RELAUNCH)
    assert "s3cret" not in text
    assert "overrides: {instance_type: t3.large}" in text


def test_plain_health_is_refused_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    text = failed(capsys, instance_relaunch, health=900, **RELAUNCH)
    assert text == "health: the given value is not a mapping. Write it as in health: {timeout: 900}."


@pytest.mark.parametrize(
    ("value", "shown"), [({"data": {"size": 1}}, "{'data': {'size': 1}}"), (None, "null")], ids=["mapping", "null"]
)
def test_volumes_that_are_no_list_are_refused_with_an_example(
    capsys: pytest.CaptureFixture[str], value: Any, shown: str
) -> None:
    text = failed(capsys, ebs_volume_spec, instance_id="i-0123456789abcdef0", volumes=value)
    assert text == f"volumes: {shown} is not a list. {ENTRY}"


def test_plain_snapshot_of_an_entry_is_named_by_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    entries = [{"name": "a"}, {"name": "d", "snapshot": "snap-0123456789abcdef0"}]
    text = failed(capsys, ebs_volume_spec, instance_id="i-0123456789abcdef0", volumes=entries)
    assert text == (
        "volumes[1].snapshot: 'snap-0123456789abcdef0' is not a mapping. "
        "Write it as in snapshot: {tags: {backup: daily}}."
    )


@pytest.mark.parametrize("value", [{"/dev/xvda": {"volume_size": 9}}, ["/dev/xvda"]], ids=["mapping", "text"])
def test_block_devices_are_refused_with_an_example(capsys: pytest.CaptureFixture[str], value: Any) -> None:
    given = {"name": "n", "version": "1", "source_instance_id": "i-0123456789abcdef0"}
    text = failed(capsys, ami_bake, block_devices=value, **given)
    assert text.endswith("Write it as in block_devices: [{device_name: /dev/xvda, volume_size: 20}].")


@pytest.mark.parametrize("option", ["protect", "guards", "lock", "fast_restore", "adopt"])
def test_plain_option_of_a_rotation_is_refused_with_an_example(capsys: pytest.CaptureFixture[str], option: str) -> None:
    text = failed(capsys, snapshot_rotate, policy="p", **{option: ["x"]})
    assert text.startswith(f"{option}: ['x'] is not a mapping. Write it as in {option}: {{")


def test_copies_that_are_no_list_are_refused_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    text = failed(capsys, snapshot_rotate, policy="p", copies={"region": "eu-west-1"})
    assert text.startswith("copies: {'region': 'eu-west-1'} is not a list. Write it as in copies: [{region: eu-west-1,")


@pytest.mark.parametrize(
    ("module", "given", "name"),
    [
        (ami_bake, {"name": "n", "version": "1", "source_instance_id": "i-0123456789abcdef0", "tags": ["a"]}, "tags"),
        (ebs_volume_spec, {"instance_id": "i-0123456789abcdef0", "volumes": [{"tags": ["a"]}]}, "volumes[0].tags"),
        (snapshot_rotate, {"policy": "p", "select": {"tags": ["a"]}}, "select.tags"),
    ],
    ids=["image", "volume", "select"],
)
def test_plain_tags_are_refused_with_an_example(
    capsys: pytest.CaptureFixture[str], module: Any, given: dict[str, Any], name: str
) -> None:
    assert failed(capsys, module, **given).startswith(f"{name}: ['a'] is not a mapping. Write it as in ")


def test_list_as_text_is_still_accepted(capsys: pytest.CaptureFixture[str]) -> None:
    text = failed(capsys, ebs_volume_spec, instance_id="i-0123456789abcdef0", volumes="data")
    assert text == f"volumes[0]: 'data' is not a mapping. {ENTRY}"
