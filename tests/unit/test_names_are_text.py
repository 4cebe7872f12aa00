# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that are identities are text: the module refuses a value that YAML has changed into another type."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, ebs_volume_spec, snapshot_rotate

from in_process import run
from sandbox.client import Sandbox

WEB = "i-00000000000000001"


@pytest.mark.parametrize("value", [2026.1, 83, False, ["db"]], ids=repr)
@pytest.mark.parametrize(
    ("module", "option", "given"),
    [
        (ami_bake, "name", {"version": "1", "state": "absent"}),
        (ami_bake, "version", {"name": "web", "state": "absent"}),
        (snapshot_rotate, "policy", {"select": {"instance_ids": [WEB]}, "state": "captured"}),
        (ebs_volume_spec, "spec", {"instance_ids": [WEB], "volumes": [{"name": "data", "size": 1}]}),
    ],
    ids=lambda item: item if isinstance(item, str) else None,
)
def test_value_other_than_text_is_refused_before_any_call(
    sandbox: Sandbox, module: Any, option: str, given: dict[str, Any], value: Any
) -> None:
    refused = run(sandbox, module=module, **{**given, option: value})
    assert refused.failed.startswith(f"{option}: {value!r} is not text")
    assert "Quote it" in refused.failed
    assert sandbox.log() == []


@pytest.mark.parametrize("value", [2026.1, 83, False, ["db"]], ids=repr)
def test_volume_name_other_than_text_is_refused(sandbox: Sandbox, value: Any) -> None:
    refused = run(sandbox, instance_ids=[WEB], volumes=[{"name": "log", "size": 1}, {"name": value, "size": 1}])
    assert refused.failed.startswith(f"volumes[1].name: {value!r} is not text")
