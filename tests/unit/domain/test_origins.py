# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of volumes in the tags of their snapshots: written for one volume, or for all volumes of a set."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.origins import (
    Origin,
    has_origin,
    origin_now,
    origin_of,
    tags_together,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    Snapshot,
    Volume,
    VolumeAttachment,
)

INSTANCE = "i-0123456789abcdef0"
SET = {"ec2ops:set": f"{INSTANCE}/2026-11-23T00:00+00:00"}


def volume(number: int, **given: object) -> Volume:
    name = f"vol-{number:017x}"
    attached = VolumeAttachment(instance_id=INSTANCE, device_name=f"/dev/sd{chr(ord('f') + number % 20)}")
    made = Volume(
        name,
        size=100,
        volume_type="gp3",
        iops=3000,
        throughput=125,
        availability_zone="us-east-1a",
        attachments=(attached,),
    )
    return replace(made, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 5, 6, 15])
def test_set_of_volumes_is_recorded_in_as_few_tags_as_hold_it(count: int) -> None:
    volumes = [volume(number) for number in range(count)]
    tags = tags_together(volumes)
    assert tags is not None
    assert list(tags) == ["ec2ops:origins", "ec2ops:origins-2", "ec2ops:origins-3"][: -(-count // 5)]
    assert all(len(value) <= 256 for value in tags.values())
    for each in volumes:
        snapshot = Snapshot("snap-1", volume_id=each.volume_id, tags={**tags, **SET})
        assert has_origin(snapshot)
        assert origin_of(snapshot) == origin_now(each)


@pytest.mark.parametrize(
    "volumes",
    [
        [volume(number) for number in range(16)],
        [volume(1), volume(2, availability_zone="us-east-1b")],
    ],
    ids=["too many", "two zones"],
)
def test_set_that_the_tags_cannot_hold_has_none(volumes: list[Volume]) -> None:
    assert tags_together(volumes) is None


def test_missing_value_is_read_as_none() -> None:
    each = volume(1, volume_type="standard", iops=None, throughput=None)
    tags = tags_together([each])
    assert tags == {"ec2ops:origins": f"us-east-1a,{each.volume_id} standard 100 - - /dev/sdg"}
    assert origin_of(Snapshot("snap-1", volume_id=each.volume_id, tags={**tags, **SET})) == Origin(
        "standard", 100, None, None, "us-east-1a", INSTANCE, "/dev/sdg"
    )


@pytest.mark.parametrize(
    "value",
    ["", ",", "us-east-1a", "us-east-1a,vol-9 gp3 1 1 1 /dev/sdf", "us-east-1a,vol-1 gp3", "x,vol-1 a b c d e f"],
)
def test_strange_record_of_a_set_counts_as_none(value: str) -> None:
    snapshot = Snapshot("snap-1", volume_id="vol-1", tags={"ec2ops:origins": value, **SET})
    assert (has_origin(snapshot), origin_of(snapshot)) == (False, Origin())


def test_own_record_of_a_snapshot_comes_first() -> None:
    both = {"ec2ops:origins": "us-east-1a,vol-1 gp3 1 3000 125 /dev/sdf", "ec2ops:origin": "gp2 8 - - us-east-1b - -"}
    assert origin_of(Snapshot("snap-1", volume_id="vol-1", tags={**both, **SET})).volume_type == "gp2"
    bad = {**both, "ec2ops:origin": "nonsense"}
    assert origin_of(Snapshot("snap-1", volume_id="vol-1", tags={**bad, **SET})).volume_type == "gp3"
