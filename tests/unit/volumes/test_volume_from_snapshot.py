# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The least size and the key of a volume from a snapshot."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError

from in_process import REGION, ZONE, machine, run, volumes
from sandbox.client import Sandbox
from volume_plans import declared, plan_of
from volume_world import KEY, Ec2, instance, snap, snapshot

OWNER, OTHER = "123456789012", "111122223333"


def view(ec2: Ec2, **declaration: Any) -> Any:
    """The planned view of the volume that is made from the snapshot."""
    entry = {"name": "data", "snapshot_id": snap(1), **declaration}
    return plan_of(declared(entry), ec2).changes[0].after


@pytest.mark.parametrize("check", [True, False], ids=["check", "run"])
def test_size_below_the_snapshot_is_refused(sandbox: Sandbox, check: bool) -> None:
    """EC2 would make a volume of the snapshot's size without a word, and each later run would want to shrink it."""
    web = machine(sandbox, data=1)
    (source,) = web.attached().values()
    made = web.ec2.create_snapshot(VolumeId=source)["SnapshotId"]
    sandbox.move_clock(86400)
    least = web.ec2.describe_snapshots(SnapshotIds=[made])["Snapshots"][0]["VolumeSize"]
    assert web.ec2.create_volume(AvailabilityZone=ZONE, SnapshotId=made, Size=least - 1)["Size"] == least
    known = set(volumes(sandbox))
    entry = {"name": "data", "snapshot_id": made, "size": least - 1}
    ended = run(sandbox, check=check, instance_ids=[web.instance_id], volumes=[entry])
    assert f"size: {least - 1} GiB is smaller than the snapshot {made} ({least} GiB)" in ended.failed
    assert set(volumes(sandbox)) == known


def test_size_below_a_snapshot_found_by_tags_is_refused() -> None:
    entry = {"name": "data", "snapshot": {"tags": {"purpose": "backup"}}, "size": 1}
    with pytest.raises(SpecError, match="size: 1 GiB is smaller than the"):
        plan_of(declared(entry), Ec2(instance(), snapshot(1, 9, tags={"purpose": "backup"})))


def test_key_of_the_accounts_own_snapshot_is_kept() -> None:
    ec2 = Ec2(instance(owner_id=OWNER), snapshot(1, 9, encrypted=True, kms_key_id=KEY, owner_id=OWNER))
    assert view(ec2)["kms_key_id"] == KEY


def test_key_of_another_accounts_snapshot_is_not_foretold() -> None:
    """EC2 takes the account's default key instead, and no query has asked for it."""
    ec2 = Ec2(instance(owner_id=OWNER), snapshot(1, 9, encrypted=True, kms_key_id=KEY, owner_id=OTHER))
    assert (view(ec2)["encrypted"], view(ec2)["kms_key_id"]) == (True, None)


@pytest.mark.parametrize(
    ("chosen", "key"),
    [({"snapshot_id": snap(1)}, None), ({"snapshot": {"tags": {"purpose": "backup"}}}, KEY)],
    ids=["by id", "by tags"],
)
def test_unattached_volume_has_a_known_key_only_from_a_snapshot_of_the_account(
    chosen: dict[str, Any], key: str | None
) -> None:
    """Without an instance, no fact shows the account. A search by tags finds no other account's snapshots."""
    source = snapshot(1, 9, encrypted=True, kms_key_id=KEY, owner_id=OWNER, tags={"purpose": "backup"})
    spec = declared({"name": "data", **chosen}, instance_ids=None, availability_zone=ZONE, spec="s")
    after = plan_of(spec, Ec2(source)).changes[0].after
    assert after is not None and after["kms_key_id"] == key


def test_key_that_the_entry_names_counts_for_another_accounts_snapshot_too() -> None:
    ec2 = Ec2(instance(owner_id=OWNER), snapshot(1, 9, encrypted=True, kms_key_id=KEY, owner_id=OTHER))
    own = f"arn:aws:kms:{REGION}:{OWNER}:key/00000009"
    assert view(ec2, encrypted=True, kms_key_id=own)["kms_key_id"] == own


def test_check_does_not_foretell_the_key_of_a_shared_snapshot(sandbox: Sandbox) -> None:
    names = sandbox.seed({"instance": {"name": "web"}, "volume": {"name": "theirs", "Size": 1}})
    ours, theirs = sandbox.client(), sandbox.client(account=OTHER)
    key = sandbox.client("kms", account=OTHER).create_key()["KeyMetadata"]["Arn"]
    foreign = theirs.create_volume(AvailabilityZone=ZONE, Size=1, Encrypted=True, KmsKeyId=key)["VolumeId"]
    sandbox.move_clock(3600)
    shared = theirs.create_snapshot(VolumeId=foreign)["SnapshotId"]
    sandbox.move_clock(86400)
    theirs.modify_snapshot_attribute(
        SnapshotId=shared, Attribute="createVolumePermission", OperationType="add", UserIds=[OWNER]
    )
    assert ours.describe_snapshots(SnapshotIds=[shared])["Snapshots"][0]["KmsKeyId"] == key
    entry = {"name": "data", "snapshot_id": shared}
    checked = run(sandbox, check=True, instance_ids=[names["web"]], volumes=[entry])
    assert checked.failed == ""
    assert checked.result["plan"][0]["after"]["kms_key_id"] is None
