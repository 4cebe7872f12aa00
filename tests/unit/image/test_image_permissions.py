# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`ami_bake` on the sandbox: launch permissions, and create-volume permissions of the snapshots."""

from __future__ import annotations

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image.planner import plan as plan_of
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import KMS_KEY, usable_key
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import BlockDevice, Instance, Volume

from bake_runs import NEAR, PARTNER, VAULT, Line, by_region, new_line
from image_world import NOW, OLD, OWNER, ROOT, spec, world
from in_process import REGION
from sandbox.client import Sandbox

OTHER = "777788889999"
ORGANIZATION = f"arn:aws:organizations::{PARTNER}:organization/o-abcdefghij"
UNIT = f"arn:aws:organizations::{PARTNER}:ou/o-abcdefghij/ou-abcd-12345678"
COPIES = [{"region": NEAR}]


@pytest.fixture
def line(quick_sandbox: Sandbox) -> Line:
    return new_line(quick_sandbox)


def test_image_and_copies_are_shared_changed_and_unshared(line: Line) -> None:
    both = {"user_ids": [PARTNER], "organization_arns": [ORGANIZATION], "organizational_unit_arns": [UNIT]}
    _check, done, *_again = line.steps(copies=COPIES, launch_permissions=both)
    images = {region: line.image(region)["ImageId"] for region in (REGION, NEAR)}
    for region, image_id in images.items():
        assert line.shared_with(image_id, region) == sorted([PARTNER, ORGANIZATION, UNIT])
        assert by_region(done)[region]["shared_with"] == [PARTNER, ORGANIZATION, UNIT]
    _check, done, *_again = line.steps(copies=COPIES, launch_permissions={"user_ids": [OTHER]})
    assert done.actions == ["ModifyImageAttribute"] * 4
    assert [line.shared_with(image_id, region) for region, image_id in images.items()] == [[OTHER]] * 2
    _check, done, *_again = line.steps(copies=COPIES, launch_permissions={})
    assert done.actions == ["ModifyImageAttribute"] * 2
    assert line.shared_with(images[REGION]) == []


def test_permissions_are_left_alone_without_the_option(line: Line) -> None:
    line.bake(launch_permissions={"user_ids": [PARTNER]})
    ended = line.bake()
    assert (ended.actions, "DescribeImageAttribute" in ended.result["api_calls"]) == ([], False)
    assert line.shared_with(line.image()["ImageId"]) == [PARTNER]


def test_purge_false_only_adds(line: Line) -> None:
    line.bake(launch_permissions={"user_ids": [PARTNER]})
    _check, done, *_again = line.steps(launch_permissions={"user_ids": [OTHER], "purge": False})
    assert done.actions == ["ModifyImageAttribute"]
    assert line.shared_with(line.image()["ImageId"]) == [PARTNER, OTHER]
    assert done.result["regions"][0]["shared_with"] == [PARTNER, OTHER]


def test_snapshots_are_shared_with_the_accounts_on_demand(line: Line) -> None:
    line.bake(copies=COPIES, launch_permissions={"user_ids": [PARTNER]})
    assert line.volumes_for(line.snapshots()[0]["SnapshotId"]) == []
    given = {"user_ids": [PARTNER], "organization_arns": [ORGANIZATION], "snapshots": True}
    _check, done, *_again = line.steps(copies=COPIES, launch_permissions=given)
    assert done.actions.count("ModifySnapshotAttribute") == 2
    for region in (REGION, NEAR):
        assert line.volumes_for(line.snapshots(region)[0]["SnapshotId"], region) == [PARTNER]
    line.steps(copies=COPIES, launch_permissions={"snapshots": True})
    assert line.volumes_for(line.snapshots(NEAR)[0]["SnapshotId"], NEAR) == []


def test_new_image_made_by_create_image_shares_its_snapshots(line: Line) -> None:
    _check, done, *_again = line.steps(
        method="image", copies=COPIES, launch_permissions={"user_ids": [PARTNER], "snapshots": True}
    )
    assert done.actions[0] == "CreateImage"
    for region in (REGION, NEAR):
        assert line.volumes_for(line.snapshots(region)[0]["SnapshotId"], region) == [PARTNER]


def test_public_image_needs_consent(line: Line) -> None:
    assert line.bake(launch_permissions={"user_ids": ["all"]}).failed.startswith("launch_permissions.user_ids: all")
    line.steps(launch_permissions={"user_ids": ["all"]}, allow_public=True)
    assert line.image()["Public"] is True
    line.steps(launch_permissions={})
    assert line.image()["Public"] is False


def test_account_that_copies_keeps_a_declared_permission(line: Line) -> None:
    copies = [{"region": REGION, "profile": VAULT}]
    line.steps(copies=copies, launch_permissions={"user_ids": [VAULT, PARTNER]})
    image_id = line.image()["ImageId"]
    assert line.shared_with(image_id) == [PARTNER, VAULT]
    assert line.volumes_for(line.snapshots()[0]["SnapshotId"]) == []
    copy = line.image(REGION, VAULT)
    assert line.shared_with(copy["ImageId"], REGION, VAULT) == [PARTNER]


def test_forged_record_ends_no_share_with_a_stranger(line: Line) -> None:
    line.bake(launch_permissions={"user_ids": [PARTNER]})
    image_id = line.image()["ImageId"]
    line.ec2().create_tags(Resources=[image_id], Tags=[{"Key": "ec2ops:shared-with", "Value": PARTNER}])
    assert line.bake(copies=[{"region": REGION, "profile": VAULT}], alone=False).failed == ""
    assert line.shared_with(image_id) == [PARTNER]


def test_copy_under_the_managed_key_is_refused_before_the_first_effect(line: Line) -> None:
    line.ec2(NEAR).enable_ebs_encryption_by_default()
    ended = line.bake(copies=COPIES, launch_permissions={"user_ids": [PARTNER]})
    assert ended.failed.startswith("launch_permissions: EC2 does not share (new image copy of web/1 in eu-west-1)")
    assert "Set copies[0].kms_key_id to a key of your own" in ended.failed
    assert (ended.result["done"], line.images()) == ([], [])


def test_existing_original_under_the_managed_key_is_refused(line: Line) -> None:
    base = line.bake(name="base").result["image_id"]
    sealed = {"source_instance_id": None, "source_image_id": base, "kms_key_id": "alias/aws/ebs"}
    refused = line.bake(launch_permissions={"user_ids": [PARTNER]}, **sealed)
    assert refused.failed.startswith("launch_permissions: EC2 does not share (new image web/1) in us-east-1")
    line.bake(**sealed)
    for more in ({"launch_permissions": {"user_ids": [PARTNER]}}, {"copies": [{"region": REGION, "profile": VAULT}]}):
        ended = line.bake(**sealed, **more)
        assert "the AWS managed key (alias/aws/ebs) encrypts snap-" in ended.failed
        assert ended.result["done"] == []


def test_existing_image_under_the_managed_key_is_refused(line: Line) -> None:
    line.ec2(NEAR).enable_ebs_encryption_by_default()
    line.bake(copies=COPIES)
    ended = line.bake(copies=COPIES, launch_permissions={"user_ids": [PARTNER]})
    assert "the AWS managed key (alias/aws/ebs) encrypts snap-" in ended.failed
    assert ended.result["done"] == []


@pytest.mark.parametrize("key", ["managed", "own"])
def test_new_image_of_an_encrypted_volume_is_shared_only_under_an_own_key(key: str) -> None:
    wanted = spec(launch_permissions={"user_ids": [PARTNER]})
    volume = Volume(volume_id=ROOT, size=8, encrypted=True, kms_key_id=f"arn:{key}")
    source = Instance(
        OLD,
        state="stopped",
        root_device_name="/dev/xvda",
        block_devices=(BlockDevice("/dev/xvda", ROOT, True),),
        owner_id=OWNER,
        facts={"Architecture": "x86_64", "VirtualizationType": "hvm", "RootDeviceName": "/dev/xvda"},
    )
    state = world(source, volume, KMS_KEY.fact("alias/aws/ebs", usable_key("arn:managed")))
    if key == "own":
        assert "ModifyImageAttribute" in [change.action for change in plan_of(wanted, state, NOW).changes]
        return
    with pytest.raises(SpecError, match=r"launch_permissions: EC2 does not share \(new image web/1\)"):
        plan_of(wanted, state, NOW)


def test_copy_under_an_own_key_is_shared(line: Line) -> None:
    line.ec2(NEAR).enable_ebs_encryption_by_default()
    key = line.sandbox.client("kms", NEAR).create_key()["KeyMetadata"]["Arn"]
    line.steps(copies=[{"region": NEAR, "kms_key_id": key}], launch_permissions={"user_ids": [PARTNER]})
    assert line.shared_with(line.image(NEAR)["ImageId"], NEAR) == [PARTNER]


def test_share_that_fails_after_the_copy_is_repaired(line: Line) -> None:
    line.sandbox.add_fault("ModifyImageAttribute", occurrence=1, region=NEAR, code="UnauthorizedOperation", status=403)
    given = {
        "copies": [{"region": NEAR}, {"region": "eu-west-2"}],
        "launch_permissions": {"user_ids": [PARTNER]},
        "ssm_parameter": {"name": "/web"},
    }
    ended = line.bake(**given)
    rows = by_region(ended)
    assert f"In {NEAR}: ModifyImageAttribute" in ended.failed
    assert "UnauthorizedOperation" in rows[NEAR]["error"]
    assert (rows[NEAR]["state"], rows[NEAR]["shared_with"]) == ("available", None)
    assert (rows[NEAR]["ssm_parameter"]["image_id"], line.parameter("/web", NEAR)) == (None, None)
    assert line.parameter("/web", "eu-west-2") == rows["eu-west-2"]["image_id"]
    _check, done, *_again = line.steps(**given)
    assert done.actions == ["ModifyImageAttribute", "PutParameter"]
    assert line.parameter("/web", NEAR) == rows[NEAR]["image_id"]
