# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`ami_bake` with `copies` on the sandbox: one image in each place, even after failed and killed runs."""

from __future__ import annotations

from typing import Any

import pytest

from bake_runs import FAR, NEAR, VAULT, Line, by_region, new_line
from in_process import REGION, Killed, KillingGateway
from sandbox.client import Sandbox
from worlds import sandbox_gateway

TWO = [{"region": NEAR}, {"region": FAR}]
FOREIGN = [{"region": NEAR}, {"region": REGION, "profile": VAULT}]


@pytest.fixture
def line(quick_sandbox: Sandbox) -> Line:
    return new_line(quick_sandbox)


def test_copies_are_made_once_with_tags_and_recorded_source(line: Line) -> None:
    _check, done, *_again = line.steps(copies=TWO, tags={"team": "shop"})
    assert done.actions.count("CopyImage") == 2
    original = line.image()
    for region in (NEAR, FAR):
        copy = line.image(region)
        assert (copy["SourceImageId"], copy["SourceImageRegion"]) == (original["ImageId"], REGION)
        assert (copy["Name"], copy["Description"]) == (original["Name"], original["Description"])
        assert copy["tags"]["ec2ops:copy-of"] == f"{REGION}/{original['ImageId']}"
        (snapshot,) = line.snapshots(region)
        for tags in (copy["tags"], snapshot["tags"]):
            assert (tags["team"], tags["ec2ops:version"]) == ("shop", "1")
        row = by_region(done)[region]
        assert (row["image_id"], row["state"], row["error"]) == (copy["ImageId"], "available", None)
        assert row["snapshot_ids"] == [snapshot["SnapshotId"]]
    assert [row["region"] for row in done.result["regions"]] == [REGION, NEAR, FAR]


def test_copy_for_another_account_is_shared_only_while_it_is_made(line: Line) -> None:
    _check, done, *_again = line.steps(copies=FOREIGN)
    assert [one for one in done.actions if one.startswith("Modify")] == [
        *("ModifyImageAttribute", "ModifySnapshotAttribute"),
        *("ModifyImageAttribute", "ModifySnapshotAttribute"),
    ]
    original = line.image()
    (snapshot,) = line.snapshots()
    assert line.shared_with(original["ImageId"]) == line.volumes_for(snapshot["SnapshotId"]) == []
    assert "ec2ops:shared-with" not in original["tags"]
    copy = line.image(REGION, VAULT)
    assert copy["tags"]["ec2ops:copy-of"] == f"123456789012/{REGION}/{original['ImageId']}"
    assert by_region(done)[f"{REGION}/{VAULT}"]["image_id"] == copy["ImageId"]


def test_failed_copy_leaves_the_others_and_the_next_run_replaces_it(line: Line) -> None:
    line.sandbox.add_fault("CopyImage", occurrence=1, region=NEAR, kind="end", code="x", message="no storage")
    ended = line.bake(copies=TWO)
    rows = by_region(ended)
    assert "no storage" in ended.failed
    assert (rows[NEAR]["state"], rows[FAR]["state"]) == (None, "available")
    assert "no storage" in rows[NEAR]["error"]
    assert (rows[REGION]["error"], rows[FAR]["error"]) == (None, None)
    broken = line.image(NEAR)["ImageId"]
    _check, done, *_again = line.steps(copies=TWO)
    assert done.actions == ["DeregisterImage", "DeleteSnapshot", "CopyImage"]
    assert "has failed" in done.warnings[0]
    assert broken in done.warnings[0]
    assert line.image(NEAR)["State"] == "available"
    assert len(line.snapshots(NEAR)) == 1


def test_refused_copy_is_named_and_made_by_the_next_run(line: Line) -> None:
    line.sandbox.add_fault("CopyImage", occurrence=1, region=FAR, code="UnauthorizedOperation", status=403)
    ended = line.bake(copies=TWO)
    rows = by_region(ended)
    assert f"In {FAR}: CopyImage" in ended.failed
    assert (rows[FAR]["image_id"], rows[NEAR]["state"]) == (None, "available")
    assert "UnauthorizedOperation" in rows[FAR]["error"]
    assert [one.actions for one in line.steps(copies=TWO)][1] == ["CopyImage"]


def test_lost_answer_makes_no_second_copy(line: Line) -> None:
    line.sandbox.add_fault("CopyImage", occurrence=1, region=NEAR, kind="close", when="after")
    assert line.bake(copies=TWO, alone=False).failed == ""
    assert len(line.images(NEAR)) == len(line.snapshots(NEAR)) == 1


def test_copies_of_an_existing_image_are_made(line: Line) -> None:
    image_id = line.bake().result["image_id"]
    _check, done, *_again = line.steps(copies=TWO, tags={"team": "shop"})
    assert done.actions == ["CreateTags", "CreateTags", "CopyImage", "CopyImage"]
    assert done.result["image_id"] == image_id


def test_tags_of_the_task_reach_existing_copies(line: Line) -> None:
    line.bake(copies=TWO)
    _check, done, *_again = line.steps(copies=TWO, tags={"team": "shop"})
    assert done.actions == ["CreateTags"] * 6
    assert line.image(FAR)["tags"]["team"] == line.snapshots(FAR)[0]["tags"]["team"] == "shop"


def test_copy_by_hand_with_the_name_counts_and_is_not_removed(line: Line) -> None:
    image_id = line.bake().result["image_id"]
    there = line.ec2(NEAR)
    made = there.copy_image(Name="web-1", SourceImageId=image_id, SourceRegion=REGION, CopyImageTags=True)["ImageId"]
    line.sandbox.move_clock(60)
    ended = line.bake(copies=[{"region": NEAR}])
    assert (ended.actions, by_region(ended)[NEAR]["image_id"]) == ([], made)
    removed = line.remove(copies=[{"region": NEAR}])
    assert any(made in text and "keeps it" in text for text in removed.warnings)
    assert line.image(NEAR)["ImageId"] == made


def test_foreign_image_with_the_name_is_refused_before_the_first_effect(line: Line) -> None:
    other = line.bake(version="other").result["image_id"]
    line.ec2(NEAR).copy_image(Name="web-1", SourceImageId=other, SourceRegion=REGION)
    line.sandbox.move_clock(60)
    ended = line.bake(copies=TWO)
    assert ended.failed.startswith("copies[0]: 'web-1' is the name of ami-")
    assert ended.result["done"] == []
    assert [row["tags"]["ec2ops:version"] for row in line.images()] == ["other"]


def test_copy_gets_the_named_key_and_a_wrong_one_is_refused(line: Line) -> None:
    key = line.sandbox.client("kms", NEAR).create_key()["KeyMetadata"]["Arn"]
    refused = line.bake(copies=[{"region": NEAR, "kms_key_id": "alias/none"}])
    assert refused.failed.startswith("copies[0].kms_key_id: alias/none is not an enabled KMS key in eu-west-1")
    assert refused.result["done"] == []
    line.steps(copies=[{"region": NEAR, "kms_key_id": key}])
    assert [row["KmsKeyId"] for row in line.snapshots(NEAR)] == [key]
    second = line.sandbox.client("kms", NEAR).create_key()["KeyMetadata"]["Arn"]
    ended = line.bake(copies=[{"region": NEAR, "kms_key_id": second}])
    assert ended.actions == []
    assert ended.warnings == [text for text in ended.warnings if text.startswith("copies[0].kms_key_id: the copy ami-")]


def test_place_of_the_image_itself_is_refused(line: Line) -> None:
    own = line.bake(copies=[{"region": REGION, "profile": "123456789012"}])
    assert own.failed.startswith("copies[0]: us-east-1 (profile 123456789012) is the same place as that of the image")
    assert line.images() == []


def test_wait_false_still_waits_for_the_image_that_is_copied(line: Line) -> None:
    ended = line.bake(copies=TWO, wait=False)
    assert ended.failed == ""
    assert len(line.images(NEAR)) == len(line.images(FAR)) == 1
    line.steps(copies=TWO)


def _world(line: Line) -> Any:
    places = [(REGION, None), (NEAR, None), (REGION, VAULT)]
    return [
        (len(line.images(*place)), len(line.snapshots(*place)), [row["State"] for row in line.images(*place)])
        for place in places
    ]


@pytest.mark.parametrize("nth", range(1, 11))
def test_run_after_an_interruption_ends_in_the_same_world(line: Line, nth: int) -> None:
    gateway = KillingGateway(sandbox_gateway(line.sandbox, REGION), nth)
    try:
        line.bake(copies=FOREIGN, gateway=gateway, alone=False)
    except Killed:
        line.sandbox.move_clock(1)
    assert line.bake(copies=FOREIGN, alone=False).failed == ""
    assert line.bake(copies=FOREIGN).actions == []
    assert _world(line) == [(1, 1, ["available"])] * 3
    image = line.image()
    assert line.shared_with(image["ImageId"]) == []
    assert "ec2ops:shared-with" not in image["tags"]
    assert all(line.volumes_for(row["SnapshotId"]) == [] for row in line.snapshots())


# --- removal ----------------------------------------------------------------------------------------------------------


def test_version_is_removed_everywhere(line: Line) -> None:
    line.bake(copies=FOREIGN)
    check = line.remove(copies=FOREIGN, check=True)
    done = line.remove(copies=FOREIGN)
    assert check.result["plan"] == done.result["plan"]
    assert done.actions == ["DeregisterImage", "DeleteSnapshot"] * 3
    assert _world(line) == [(0, 0, [])] * 3
    assert {row["state"] for row in done.result["regions"]} == {"deregistered"}
    assert line.remove(copies=FOREIGN).actions == []


def test_copy_in_use_keeps_the_version_everywhere(line: Line) -> None:
    line.bake(copies=TWO)
    copy = line.image(FAR)["ImageId"]
    line.ec2(FAR).create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"ImageId": copy})
    ended = line.remove(copies=TWO)
    assert ended.failed.startswith(f"In {FAR}: state: image {copy} (web/1) is in use by arn:aws:ec2:{FAR}:")
    assert len(line.images()) == len(line.images(NEAR)) == len(line.images(FAR)) == 1
    assert line.remove(copies=TWO, force=True).failed == ""
    assert line.images(FAR) == line.images() == []


def test_original_stays_until_its_copies_are_gone(line: Line) -> None:
    line.bake(copies=TWO)
    line.sandbox.add_fault("DeregisterImage", occurrence=1, region=NEAR, code="UnauthorizedOperation", status=403)
    ended = line.remove(copies=TWO)
    rows = by_region(ended)
    assert "UnauthorizedOperation" in ended.failed
    assert (rows[NEAR]["state"], rows[FAR]["state"], rows[REGION]["state"]) == (None, "deregistered", None)
    assert "not tried" in rows[REGION]["error"]
    assert len(line.images()) == len(line.images(NEAR)) == 1
    assert line.remove(copies=TWO).failed == ""
    assert line.images() == line.images(NEAR) == []


@pytest.mark.parametrize("nth", range(1, 7))
def test_removal_after_an_interruption_is_whole(line: Line, nth: int) -> None:
    line.bake(copies=FOREIGN)
    gateway = KillingGateway(sandbox_gateway(line.sandbox, REGION), nth)
    try:
        line.remove(copies=FOREIGN, gateway=gateway, alone=False)
    except Killed:
        line.sandbox.move_clock(1)
    assert line.remove(copies=FOREIGN, alone=False).failed == ""
    assert _world(line) == [(0, 0, [])] * 3
