# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The estimate of a plan's cost, against values computed by hand from the shipped prices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.estimates import estimate
from ansible_collections.ec2ops.storage.plugins.module_utils._engine.price_file import VARIABLE, price_file
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prices import Prices, shipped
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Image,
    ImageDevice,
    Instance,
    Snapshot,
    Volume,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import State

REGION, OLD, NEW = "us-east-1", "vol-00000000000000001", "(new volume web/data)"
GP3 = {"size": 100, "volume_type": "gp3", "iops": 3000, "throughput": 125}
THERE = Volume(OLD, size=100, volume_type="io1", iops=1000)


GIB = 1 << 30
SNAP, OTHER_SNAP, IMAGE, WEB = "snap-1", "snap-2", "ami-1", "i-1"
STATE = State(
    REGION,
    {
        one.resource_id: one
        for one in (
            THERE,
            Volume("vol-root", size=20, volume_type="gp2"),
            Snapshot(SNAP, volume_id=OLD, volume_size=100, written_bytes=40 * GIB),
            Snapshot(OTHER_SNAP, volume_id=OLD, volume_size=50),
            Image(
                IMAGE,
                block_devices=(ImageDevice("/dev/xvda", SNAP, 20, "gp3"), ImageDevice("/dev/sdb", OTHER_SNAP, 50)),
            ),
            Image("ami-2", block_devices=(ImageDevice("/dev/xvda", OTHER_SNAP, 50),)),
            Instance(
                WEB,
                root_device_name="/dev/xvda",
                block_devices=(
                    BlockDevice("/dev/xvda", "vol-root", delete_on_termination=True),
                    BlockDevice("/dev/sdb", OLD),
                ),
            ),
        )
    },
)


def change(action: str, resource: str, before: Any, after: Any, /, region: str = REGION, **parameters: Any) -> Change:
    return Change(action, resource, region, parameters, "test", before, after, source=OLD)


def told(*changes: Change, prices: Prices | None = None) -> Any:
    found = estimate(changes, STATE, lambda region: prices or shipped(region))
    return None if found is None else (found["gib"], found["monthly"], found["text"])


def bounds(*changes: Change) -> Any:
    found = estimate(changes, STATE, shipped)
    return None if found is None else (found["snapshot_gib"], found["least"], found["most"], found["exact"])


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


NEW_SNAP = "(new snapshot final of vol-1)"
DEVICES = [{"device_name": "/dev/xvda", "snapshot_id": NEW_SNAP, "size": 30, "volume_type": "io2", "iops": 200}]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # A snapshot of 100 GiB stores nothing to 100 GiB, at 0.05.
        ([change("CreateSnapshot", NEW_SNAP, None, {"volume_size": 100})], (100, 0.0, 5.0, False)),
        # Its plan does not say how large the volume is.
        ([change("CreateSnapshots", NEW_SNAP, None, {"volume_id": OLD})], (100, 0.0, 5.0, False)),
        # EC2 shows that 40 GiB are written: at most 2.00 are saved.
        ([change("DeleteSnapshot", SNAP, {"state": "completed"}, None)], (-100, -2.0, 0.0, False)),
        # A last snapshot, and then the deletion of the volume: 0 to 5.00, and less 77.50.
        (
            [change("CreateSnapshot", NEW_SNAP, None, {"volume_size": 100}), change("DeleteVolume", OLD, {}, None)],
            (100, -77.5, -72.5, False),
        ),
        # A snapshot on the way of a swap is gone at the end.
        (
            [
                change("CreateSnapshot", NEW_SNAP, None, {"volume_size": 100}),
                change("CreateVolume", NEW, None, GP3),
                change("DeleteSnapshot", NEW_SNAP, {}, None),
            ],
            (0, 8.0, 8.0, True),
        ),
        # 40 written GiB in the archive cost 0.0125 each. In the standard tier they cost 0 to 2.00.
        ([change("ModifySnapshotTier", SNAP, {}, {"storage_tier": "archive"})], (0, -1.5, 0.5, False)),
        (
            [
                change(
                    "CreateImage", "(new image a)", None, {"snapshots": [{"snapshot_id": NEW_SNAP, "volume_size": 20}]}
                )
            ],
            (20, 0.0, 1.0, False),
        ),
        # The other image keeps the second snapshot.
        ([change("DeregisterImage", IMAGE, {}, None, DeleteAssociatedSnapshots=True)], (-100, -2.0, 0.0, False)),
        ([change("DeregisterImage", IMAGE, {}, None)], None),
        # Unless the plan deregisters the other image too: 50 x 0.05 more.
        (
            [
                change("DeregisterImage", IMAGE, {}, None, DeleteAssociatedSnapshots=True),
                change("DeregisterImage", "ami-2", {}, None, DeleteAssociatedSnapshots=True),
            ],
            (-150, -4.5, 0.0, False),
        ),
        # A launch: 20 GiB gp3 as in the image, and 50 GiB of gp2, the default of EC2.
        ([change("RunInstances", "(new i)", None, {}, ImageId=IMAGE)], (0, 6.6, 6.6, True)),
        (
            [
                change(
                    "RunInstances",
                    "(new i)",
                    None,
                    {},
                    ImageId=IMAGE,
                    BlockDeviceMappings=[
                        {"DeviceName": "/dev/xvda", "Ebs": {"VolumeSize": 100}},
                        {"DeviceName": "/dev/sdb", "NoDevice": ""},
                    ],
                )
            ],
            (0, 8.0, 8.0, True),
        ),
        # An image that the plan makes: 30 x 0.125 + 200 x 0.065.
        (
            [
                change("RegisterImage", "(new image b)", None, {"block_devices": DEVICES}),
                change("RunInstances", "(new i)", None, {}, ImageId="(new image b)"),
            ],
            (0, 16.75, 16.75, True),
        ),
        # The root volume ends with the instance, the other one stays.
        ([change("TerminateInstances", WEB, {}, {"state": "terminated"})], (0, -2.0, -2.0, True)),
        # A new root volume like the former one, which stays or goes.
        ([change("CreateReplaceRootVolumeTask", "(t)", None, {}, InstanceId=WEB, ImageId=IMAGE)], (0, 2.0, 2.0, True)),
        (
            [change("CreateReplaceRootVolumeTask", "(t)", None, {}, InstanceId=WEB, DeleteReplacedRootVolume=True)],
            (0, 0.0, 0.0, True),
        ),
        # Unknown sizes.
        ([change("DeleteSnapshot", "snap-unknown", {}, None)], None),
        ([change("RunInstances", "(new i)", None, {}, ImageId="ami-unknown")], None),
        ([change("TerminateInstances", "i-unknown", {}, {})], None),
        # A copy in a region without a price.
        ([change("CopySnapshot", "(copy)", None, {"volume_size": 100}, "eu-west-1")], None),
    ],
)
def test_snapshots_images_and_launches_count_within_their_bounds(changes: list[Change], expected: Any) -> None:
    assert bounds(*changes) == expected


@pytest.mark.parametrize(
    "unknown",
    [
        change("CreateVolume", NEW, None, {**GP3, "size": None}),
        change("CreateVolume", NEW, None, {**GP3, "volume_type": None}),
        change("CreateImage", IMAGE, None, {"snapshots": [{"snapshot_id": NEW_SNAP, "volume_size": 0}]}),
        change("CopyImage", IMAGE, None, {"snapshots": [{"snapshot_id": NEW_SNAP}]}),
    ],
    ids=["size", "type", "image", "copy"],
)
def test_unknown_size_or_type_has_no_estimate(unknown: Change) -> None:
    assert told(change("CreateVolume", "(new volume)", None, GP3), unknown) is None


def test_text_names_snapshots_and_both_bounds() -> None:
    taken = change("CreateSnapshot", NEW_SNAP, None, {"volume_size": 100})
    assert told(taken)[2] == "+100 GiB of snapshots at most: +0.00 to +5.00 USD a month"
    gone = change("DeleteVolume", OLD, {}, None)
    assert told(taken, gone)[2] == "-100 GiB io1, +100 GiB of snapshots at most: -77.50 to -72.50 USD a month"


def test_region_of_a_copy_has_its_own_prices() -> None:
    copy = change("CopySnapshot", "(copy)", None, {"volume_size": 100}, "eu-west-1")
    prices = {"eu-west-1": Prices("eu-west-1", {"snapshot.gib": 0.1}, "file"), REGION: shipped(REGION)}
    taken = change("CreateSnapshot", NEW_SNAP, None, {"volume_size": 100})
    found = estimate([taken, copy], STATE, prices.__getitem__)
    assert found is not None
    # 100 x 0.05 and 100 x 0.1
    assert (found["most"], found["snapshot_gib"], found["source"]) == (15.0, 200, "shipped")


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
