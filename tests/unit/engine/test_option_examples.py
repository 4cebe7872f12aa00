# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plain value where a mapping belongs: the message names the option and shows how it is written."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ebs_volume_spec, snapshot_rotate

from module_runs import failed

KEEP = "Write it as in keep: {daily: 7, weekly: 4}."


@pytest.mark.parametrize("value", [7, "seven", [7], True], ids=str)
def test_plain_keep_is_refused_with_an_example(capsys: pytest.CaptureFixture[str], value: Any) -> None:
    assert failed(capsys, snapshot_rotate, policy="p", keep=value) == f"keep: {value!r} is not a mapping. {KEEP}"


def test_plain_keep_of_a_copy_is_named_by_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    copies = [{"region": "eu-west-1", "keep": {"last": 1}}, {"region": "eu-west-2", "keep": 7}]
    assert failed(capsys, snapshot_rotate, policy="p", copies=copies) == f"copies[1].keep: 7 is not a mapping. {KEEP}"


def test_plain_protect_is_refused_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    text = failed(capsys, snapshot_rotate, policy="p", protect=["legal-hold"])
    assert text == "protect: ['legal-hold'] is not a mapping. Write it as in protect: {tag_keys: [legal-hold]}."


def test_plain_volume_is_refused_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    text = failed(capsys, ebs_volume_spec, instance_id="i-0123456789abcdef0", volumes=["data"])
    assert text == "volumes[0]: 'data' is not a mapping. Write it as in volumes: [{name: data, size: 20}]."


def test_other_mistakes_keep_ansibles_message(capsys: pytest.CaptureFixture[str]) -> None:
    text = failed(capsys, snapshot_rotate, policy="p", keep="daily=7", report="loud")
    assert "value of report must be one of" in text
    assert "keep: " not in text
