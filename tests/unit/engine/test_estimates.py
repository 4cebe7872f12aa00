# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The estimate of a plan's cost, against values computed by hand from the shipped prices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.estimates import VARIABLE, estimate, price_file
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prices import Prices, shipped
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Volume
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import State

REGION, OLD, NEW = "us-east-1", "vol-00000000000000001", "(new volume web/data)"
GP3 = {"size": 100, "volume_type": "gp3", "iops": 3000, "throughput": 125}
THERE = Volume(OLD, size=100, volume_type="io1", iops=1000)


def change(action: str, resource: str, before: Any, after: Any) -> Change:
    return Change(action, resource, REGION, {}, "test", before, after)


def told(*changes: Change, prices: Prices | None = None) -> Any:
    found = estimate(changes, State(REGION, {OLD: THERE}), prices or shipped(REGION))
    return None if found is None else (found["gib"], found["monthly"], found["text"])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([change("CreateVolume", NEW, None, GP3)], (100, 8.0, "+100 GiB gp3: about +8.00 USD a month")),
        (
            # 50 GiB x 0.08, and 1000 IOPS x 0.005
            [change("ModifyVolume", OLD, GP3, {**GP3, "size": 150, "iops": 4000})],
            (50, 9.0, "+50 GiB gp3: about +9.00 USD a month"),
        ),
        # 100 x 0.125 + 1000 x 0.065; the plan does not show the IOPS of a volume that it deletes.
        (
            [change("DeleteVolume", OLD, {"size": 100, "volume_type": "io1"}, None)],
            (-100, -77.5, "-100 GiB io1: about -77.50 USD a month"),
        ),
        # A swap to another type: 8.00 instead of 77.50.
        (
            [
                change("CreateVolume", NEW, None, GP3),
                change("DeleteVolume", OLD, {"size": 100, "volume_type": "io1"}, None),
            ],
            (0, -69.5, "+0 GiB: about -69.50 USD a month"),
        ),
        # A drill leaves nothing.
        (
            [change("CreateVolume", NEW, None, GP3), change("DeleteVolume", NEW, {"state": "available"}, None)],
            (0, 0.0, "+0 GiB gp3: about +0.00 USD a month"),
        ),
        ([change("AttachVolume", OLD, {}, {})], None),
        ([], None),
    ],
    ids=["create", "modify", "delete", "swap", "drill", "attach", "nothing"],
)
def test_estimate_is_the_difference_of_the_volumes(changes: list[Change], expected: Any) -> None:
    assert told(*changes) == expected


def test_region_without_a_price_has_no_estimate() -> None:
    assert told(change("CreateVolume", NEW, None, GP3), prices=shipped("ap-south-1")) is None


def test_price_file_that_cannot_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert price_file() == ""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none.json"))
    with pytest.raises(SpecError, match=r"EC2OPS_PRICES: the task cannot read .*none.json"):
        price_file()
    (tmp_path / "none.json").write_text("{}")
    assert price_file() == "{}"
