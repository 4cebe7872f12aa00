# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A plan that Ansible has masked on its way from one task to the next is refused as an assumption."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.common.parameters import remove_values
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.options import assumed_entries
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError

ENTRY: dict[str, Any] = {
    "action": "CreateVolume",
    "resource": "(new volume test/data)",
    "region": "us-east-1",
    "parameters": {"Size": 4096, "Encrypted": True, "Tags": [{"Key": "stage", "Value": "test"}]},
    "reason": "create data",
    "before": None,
    "after": {"id": "(new volume test/data)", "tags": {"test": "x"}},
    "disruptive": False,
}


@pytest.mark.parametrize(
    ("secret", "shown"),
    [
        ("test", "(new volume ********/data)"),
        ("us-east-1", "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"),
        ("CreateVolume", "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"),
        ("x", "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"),
        ("409", "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda plan: [plan], lambda plan: [{"plan": plan, "changed": True}]])
def test_masked_plan_is_refused_with_the_reason(secret: str, shown: str, wrap: Any) -> None:
    masked = remove_values(wrap([ENTRY]), {secret})
    with pytest.raises(SpecError, match=r"^assume: Ansible has masked ") as refusal:
        assumed_entries(masked)
    assert repr(shown) in str(refusal.value)
    assert "not a part of other values" in str(refusal.value)


@pytest.mark.parametrize("secret", ["wJalrXUtnFEMI", "True", "stage-of-something"])
def test_plan_without_the_secret_is_taken(secret: str) -> None:
    assert assumed_entries(remove_values([[ENTRY]], {secret})) == [ENTRY]


def test_masks_beside_the_plan_are_taken() -> None:
    """A registered result repeats the options of its task, secrets masked."""
    result = {"plan": [ENTRY], "invocation": {"module_args": {"secret_key": "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"}}}
    assert assumed_entries([result]) == [ENTRY]


def test_asterisks_that_are_no_mask_are_taken() -> None:
    assert assumed_entries([[{**ENTRY, "reason": "*******"}]])
