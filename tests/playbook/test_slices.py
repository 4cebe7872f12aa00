# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""An inventory of accounts and regions, split as AWX splits it, in three ansible-runner workers at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from playbook.seeds import at_once
from playbook.slices import ACCOUNTS, Place, Slice, slice_of, sliced
from sandbox.client import Sandbox

PLAYBOOK = "rotate_snapshots"
PLACES = [
    Place(profile, region) for profile in ("shop", "bank") for region in ("eu-central-1", "eu-west-1", "us-east-1")
]
VOLUMES, SLICES = 2, 3
VARIABLES: dict[str, Any] = {
    "rotate_snapshots_hosts": "all",
    "rotate_snapshots_policies": "[{policy: nightly, select: {tags: {backup: nightly}}, keep: {daily: 7}}]",
}


def seed(sandbox: Sandbox) -> None:
    tags = [{"ResourceType": "volume", "Tags": [{"Key": "backup", "Value": "nightly"}]}]
    with at_once(sandbox):
        for place in PLACES:
            ec2 = sandbox.client("ec2", place.region, account=ACCOUNTS[place.profile])
            for _each in range(VOLUMES):
                ec2.create_volume(AvailabilityZone=f"{place.region}a", Size=1, TagSpecifications=tags)


def sources(sandbox: Sandbox) -> dict[str, list[str]]:
    """The volumes of the snapshots at each place, one entry for each snapshot."""
    return {
        place.host: sorted(
            each["VolumeId"]
            for each in sandbox.client("ec2", place.region, account=ACCOUNTS[place.profile]).describe_snapshots(
                OwnerIds=["self"]
            )["Snapshots"]
        )
        for place in PLACES
    }


def jobs(sandbox: Sandbox, folder: Path) -> list[Slice]:
    return [
        slice_of(sandbox, folder / f"slice{number}", PLAYBOOK, sliced(PLACES, number, SLICES), VARIABLES)
        for number in range(1, SLICES + 1)
    ]


def calls(log: Sequence[Any], action: str) -> int:
    return len([entry for entry in log if entry["action"] == action and entry["outcome"] == "ok"])


def test_slices_add_up_and_the_next_run_heals_a_slice_that_died(sandbox: Sandbox, tmp_path: Path) -> None:
    """Two hosts of each account meet in the account's buckets. One slice ends after its first capture."""
    seed(sandbox)
    sandbox.configure(buckets=True)
    first = jobs(sandbox, tmp_path / "first")
    doomed = sliced(PLACES, 2, SLICES)
    sandbox.reset_log()
    for each in first:
        each.start()
    deadline = time.monotonic() + 60
    regions = {(ACCOUNTS[place.profile], place.region) for place in doomed}
    while not any(
        entry["action"] == "CreateSnapshot" and (entry["account"], entry["region"]) in regions
        for entry in sandbox.log()
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    first[1].kill()
    assert not (first[1].folder / "artifacts" / "job" / "status").exists()
    assert [first[0].ended(), first[2].ended()] == ["successful", "successful"]
    handed = {**first[0].artifact()["ec2ops_rotate_snapshots"], **first[2].artifact()["ec2ops_rotate_snapshots"]}
    assert sorted(handed) == sorted(place.host for place in PLACES if place not in doomed)
    assert all(entry["changed"] and not entry["failed"] for entry in handed.values())

    second = jobs(sandbox, tmp_path / "second")
    for each in second:
        each.start()
    assert [each.ended() for each in second] == ["successful"] * SLICES
    found = sources(sandbox)
    assert {host: len(volumes) for host, volumes in found.items()} == {place.host: VOLUMES for place in PLACES}
    assert all(len(set(volumes)) == VOLUMES for volumes in found.values())
    assert calls(sandbox.log(), "CreateSnapshot") == VOLUMES * len(PLACES)
    assert calls(sandbox.log(), "DeleteSnapshot") == 0
