# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`image_rotate` on the sandbox: each action, each guard with its queries, refusals, and copies in other places."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from image_rotation_runs import DAY, NEAR, VAULT, Shelf, guard_of, seeded
from in_process import REGION, Killed, KillingGateway
from sandbox.client import Sandbox
from worlds import sandbox_gateway

# --- the actions ------------------------------------------------------------------------------------------------------


def test_deregistered_versions_are_gone_with_their_snapshots(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox)
    _check, done, *_again = shelf.steps()
    assert done.result["deregistered"] == shelf.versions(1, 2, 3)
    assert set(shelf.images()) == set(shelf.versions(4, 5))
    assert shelf.snapshots() == {shelf.parts[4], shelf.parts[5]}
    assert done.result["counts"] == {"managed": 5, "kept": 2, "done": 0, "changed": 3, "withheld": 0}


def test_disabled_versions_are_not_disabled_again_and_displace_nothing(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox)
    shelf.ec2().disable_image(ImageId=shelf.ids[5])
    _check, done, *_again = shelf.steps(action="disable")
    assert done.result["disabled"] == shelf.versions(1, 2)
    states = {number: shelf.images()[one]["State"] for number, one in shelf.ids.items()}
    assert states == {1: "disabled", 2: "disabled", 3: "available", 4: "available", 5: "disabled"}
    assert shelf.rotate().result["deregistered"] == shelf.versions(1, 2)


def test_deprecated_versions_are_not_deprecated_again(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox, v1={"deprecated": 60.0})
    _check, done, _again, last = shelf.steps(action="deprecate")
    assert done.result["deprecated"] == shelf.versions(2, 3)
    assert last.result["counts"]["done"] == 3
    before = {one: row.get("DeprecationTime") for one, row in shelf.images().items()}
    shelf.sandbox.move_clock(7 * DAY)
    assert shelf.rotate(action="deprecate").actions == []
    assert {one: row.get("DeprecationTime") for one, row in shelf.images().items()} == before


def test_planned_deprecation_far_ahead_is_brought_forward(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox, number=3)
    shelf.ec2().enable_image_deprecation(
        ImageId=shelf.ids[1], DeprecateAt=shelf.sandbox.now().replace(year=shelf.sandbox.now().year + 1)
    )
    assert shelf.steps(action="deprecate")[1].result["deprecated"] == shelf.versions(1)


# --- the guards -------------------------------------------------------------------------------------------------------


def instance(shelf: Shelf) -> None:
    shelf.sandbox.seed({"region": REGION, "instance": {"image": shelf.ids[1], "state": "stopped"}})


def launch_template(shelf: Shelf) -> None:
    ec2 = shelf.ec2()
    ec2.create_launch_template(LaunchTemplateName="web", LaunchTemplateData={"ImageId": shelf.ids[1]})
    for _turn in range(2):
        ec2.create_launch_template_version(LaunchTemplateName="web", LaunchTemplateData={"ImageId": shelf.ids[4]})
    ec2.modify_launch_template(LaunchTemplateName="web", DefaultVersion="2")


def pinned(shelf: Shelf) -> None:
    launch_template(shelf)
    group = {"LaunchTemplate": {"LaunchTemplateName": "web", "Version": "1"}}
    sizes = {"MinSize": 0, "MaxSize": 0, "AvailabilityZones": [f"{REGION}a"]}
    shelf.sandbox.client("autoscaling", REGION).create_auto_scaling_group(AutoScalingGroupName="web", **group, **sizes)


def launch_configuration(shelf: Shelf) -> None:
    shelf.sandbox.client("autoscaling", REGION).create_launch_configuration(
        LaunchConfigurationName="old", ImageId=shelf.ids[1], InstanceType="t3.micro"
    )


def parameter(shelf: Shelf) -> None:
    shelf.sandbox.client("ssm", REGION).put_parameter(Name="/web", Value=shelf.ids[1], Type="String")


def recipe(shelf: Shelf) -> None:
    shelf.sandbox.seed({"region": REGION, "recipe": {"name": "web", "image": shelf.ids[1], "container": True}})


def account(shelf: Shelf) -> None:
    ec2 = shelf.ec2()
    ec2.modify_image_attribute(ImageId=shelf.ids[1], LaunchPermission={"Add": [{"UserId": VAULT}]})
    shelf.sandbox.seed({"account": VAULT, "region": REGION, "instance": {"image": shelf.ids[1]}})
    ec2.create_image_usage_report(ImageId=shelf.ids[1], ResourceTypes=[{"ResourceType": "ec2:Instance"}])
    shelf.sandbox.move_clock(60)


def protection(shelf: Shelf) -> None:
    ec2 = shelf.ec2()
    ec2.enable_image_deregistration_protection(ImageId=shelf.ids[1], WithCooldown=True)
    ec2.disable_image_deregistration_protection(ImageId=shelf.ids[1])


def locked(shelf: Shelf) -> None:
    shelf.ec2().lock_snapshot(SnapshotId=shelf.parts[1], LockMode="governance", LockDuration=30)


GUARDS: tuple[tuple[str, Callable[[Shelf], None], str, dict[str, Any]], ...] = (
    ("instance", instance, ":instance/i-", {}),
    ("launch_template", launch_template, ":launch-template/lt-", {}),
    ("launch_template", pinned, "pins version 1", {"launch_template_versions": "default_and_latest"}),
    ("launch_configuration", launch_configuration, "launch configuration old", {}),
    ("parameter", parameter, ":parameter/web", {}),
    ("recipe", recipe, ":container-recipe/web", {}),
    ("account", account, f"account {VAULT} (ec2:Instance: 1", {}),
    ("protection", protection, "disabled after", {}),
    ("locked", locked, "is locked (governance", {}),
)


@pytest.mark.parametrize(
    ("guard", "use", "reason", "options"), GUARDS, ids=[f"{one[0]}-{one[1].__name__}" for one in GUARDS]
)
def test_used_version_is_kept_and_the_others_go(
    quick_sandbox: Sandbox, guard: str, use: Callable[[Shelf], None], reason: str, options: dict[str, Any]
) -> None:
    shelf = Shelf(quick_sandbox, number=4)
    use(shelf)
    ended = shelf.rotate(**options)
    assert ended.failed == ""
    assert ended.result["deregistered"] == shelf.versions(2)
    found = guard_of(ended, shelf.ids[1])
    assert found[0] == guard
    assert reason in found[1]
    assert shelf.ids[1] in shelf.images()
    assert shelf.rotate(check=True, **options).actions == []


def test_old_version_of_a_launch_template_does_not_count_if_not_asked(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox, number=5)
    launch_template(shelf)
    ended = shelf.rotate(launch_template_versions="default_and_latest", keep={"last": 1})
    assert ended.result["deregistered"] == shelf.versions(1, 2, 3)
    assert "default version 2" in guard_of(ended, shelf.ids[4])[1]


def test_protection_ends_a_day_after_it_is_switched_off(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox, number=3)
    protection(shelf)
    assert shelf.rotate().actions == []
    shelf.sandbox.move_clock(25 * 3600)
    assert shelf.rotate().result["deregistered"] == shelf.versions(1)


def test_unused_for_keeps_launched_and_unknown_versions(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox, v1={"launched": 40 * DAY}, v2={"launched": 30.5 * DAY})
    ended = shelf.rotate(unused_for="30d")
    assert ended.result["deregistered"] == shelf.versions(1)
    assert guard_of(ended, shelf.ids[2])[0] == guard_of(ended, shelf.ids[3])[0] == "unused_for"


def test_shared_version_waits_for_a_usage_report(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox, number=4)
    shelf.ec2().modify_image_attribute(ImageId=shelf.ids[1], LaunchPermission={"Add": [{"UserId": VAULT}]})
    shelf.sandbox.configure(durations={"image_usage_report": 3600})
    first = shelf.rotate(check_accounts=True)
    assert first.actions == ["CreateImageUsageReport", "DeregisterImage"]
    assert first.result["deregistered"] == shelf.versions(2)
    second = shelf.rotate(check_accounts=True)
    assert (second.actions, guard_of(second, shelf.ids[1])[0]) == ([], "account")
    shelf.sandbox.move_clock(4000)
    assert shelf.rotate(check_accounts=True).result["deregistered"] == shelf.versions(1)


def test_refused_guard_keeps_its_versions_and_is_named(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox)
    shelf.sandbox.refuse("imagebuilder:ListImageRecipes")
    instance(shelf)
    ended = shelf.rotate()
    assert ended.actions == []
    assert "imagebuilder:ListImageRecipes" in ended.failed
    assert ended.failed.count("DescribeImageReferences failed") == 1
    assert guard_of(ended, shelf.ids[1])[0] == "instance"
    assert guard_of(ended, shelf.ids[2]) == ("recipe", "AWS did not answer DescribeImageReferences")
    without = shelf.rotate(guards={"recipe": "off"})
    assert (without.failed, without.result["deregistered"]) == ("", shelf.versions(2, 3))


def test_failing_guard_withholds_all_and_reporting_guard_warns(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox)
    parameter(shelf)
    ended = shelf.rotate(guards={"parameter": "fail"})
    assert (ended.actions, ended.result["counts"]["withheld"]) == ([], 2)
    assert f"No image is deregistered: {shelf.ids[1]} (parameter: in use by" in ended.failed
    ended = shelf.rotate(guards={"parameter": "report"})
    assert ended.result["deregistered"] == shelf.versions(1, 2, 3)
    assert [text for text in ended.warnings if "although the guard parameter objects: " in text]


# --- limits, failures, interruptions ----------------------------------------------------------------------------------


def test_limits_withhold_every_action(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox)
    ended = shelf.rotate(max_delete=2)
    assert "max_delete is 2, and 3 images would be deregistered" in ended.failed
    assert (ended.actions, ended.result["deregistered"], len(shelf.images())) == ([], [], 5)
    approved = shelf.rotate(check=True).result["plan_hash"]
    assert "expected_plan is" in shelf.rotate(expected_plan=approved, keep={"last": 1}).failed
    assert shelf.rotate(expected_plan=approved).result["deregistered"] == shelf.versions(1, 2, 3)


def test_snapshot_that_ec2_keeps_is_a_failure_that_names_it(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox)
    shelf.sandbox.refuse("DeleteSnapshot")
    ended = shelf.rotate()
    assert "missing-permissions" in ended.failed
    assert shelf.parts[1] in ended.failed
    assert ended.result["deregistered"] == []
    shelf.sandbox.refuse()
    assert (
        f"remain in us-east-1: {', '.join(sorted(shelf.parts[one] for one in (1, 2, 3)))}."
        in shelf.rotate().warnings[0]
    )


def test_refused_deregistration_stops_no_other(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox)
    shelf.sandbox.add_fault(
        "DeregisterImage", code="Refused", status=400, match={"ImageId": shelf.ids[2]}, occurrence=1
    )
    ended = shelf.rotate()
    assert (ended.result["deregistered"], shelf.ids[2] in ended.failed) == (shelf.versions(1, 3), True)
    assert shelf.rotate().result["deregistered"] == shelf.versions(2)


def test_lost_answer_and_killed_runs_end_in_the_same_world(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox)
    shelf.sandbox.add_fault("DeregisterImage", occurrence=1, kind="close", when="after")
    with pytest.raises(Killed):
        shelf.rotate(gateway=KillingGateway(sandbox_gateway(shelf.sandbox, REGION), 2))
    assert shelf.rotate().failed == ""
    assert set(shelf.images()) == set(shelf.versions(4, 5))
    assert shelf.snapshots() == {shelf.parts[4], shelf.parts[5]}


# --- which images and snapshots are the versions' ---------------------------------------------------------------------


def test_forged_tag_removes_no_image(quick_sandbox: Sandbox) -> None:
    forged = {"description": "", "name": "precious"}
    shelf = Shelf(quick_sandbox, v2={"description": "other 7 from i-0123456789abcdef0"})
    shelf.sandbox.seed({"region": REGION, "images": [seeded(0, 9 * DAY, **forged)]})
    ended = shelf.rotate()
    assert ended.result["deregistered"] == shelf.versions(1, 3)
    assert [text for text in ended.warnings if "on 2 images" in text and shelf.ids[2] in text]


def test_snapshot_that_was_not_made_for_the_image_stays(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox, v1={"snapshot_description": "the backup of the database"})
    ended = shelf.rotate()
    assert ended.result["deregistered"] == shelf.versions(1, 2, 3)
    assert shelf.parts[1] in shelf.snapshots()
    assert [text for text in ended.warnings if shelf.parts[1] in text]
    assert shelf.parts[2] not in shelf.snapshots()


def test_snapshot_of_another_image_stays(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox, number=3)
    mapping = {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": shelf.parts[1]}}
    other = shelf.ec2().register_image(
        Name="other", RootDeviceName="/dev/xvda", BlockDeviceMappings=[mapping], VirtualizationType="hvm"
    )["ImageId"]
    ended = shelf.rotate()
    assert ended.failed == ""
    assert (ended.result["deregistered"], shelf.parts[1] in shelf.snapshots()) == (shelf.versions(1), True)
    assert f"The task keeps {shelf.parts[1]} of {shelf.ids[1]}, since {other} uses it." in ended.warnings


def test_snapshot_of_two_leaving_versions_goes_with_the_last_one(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox, number=2)
    tags = [{"Key": "ec2ops:image", "Value": "web"}, {"Key": "ec2ops:version", "Value": "9"}]
    shelf.ec2().register_image(
        Name="web-9",
        RootDeviceName="/dev/xvda",
        BlockDeviceMappings=[{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": shelf.parts[1]}}],
        VirtualizationType="hvm",
        TagSpecifications=[{"ResourceType": "image", "Tags": tags}],
    )
    shelf.sandbox.move_clock(3600)
    newest = str(shelf.sandbox.seed({"region": REGION, "images": [seeded(10, 60.0)]})["web-10/root"])
    _check, done, *_again = shelf.steps(keep={"last": 1})
    assert len(done.result["deregistered"]) == 3
    assert done.warnings == []
    assert shelf.snapshots() == {newest}


def test_adopted_images_are_claimed_first_and_retained_then(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox, number=2)
    rows = [
        {"name": f"old-{number}", "age": (9 - number) * DAY, "tags": {"by": "packer", **claim}}
        for number, claim in enumerate(({}, {}, {"ec2ops:adopted-by": "api"}))
    ]
    made = shelf.sandbox.seed({"region": REGION, "images": rows})
    _check, done, *_again = shelf.steps(adopt={"tags": {"by": "packer"}}, keep={"last": 3})
    assert done.actions == ["CreateTags", "CreateTags", "DeregisterImage"]
    assert done.result["deregistered"] == [made["old-0"]]
    assert [text for text in done.warnings if "another name has claimed 1" in text]
    assert shelf.images()[made["old-1"]]["Tags"] == [
        {"Key": "by", "Value": "packer"},
        {"Key": "ec2ops:adopted-by", "Value": "web"},
    ]
    assert made["old-2"] in shelf.images()


# --- copies -----------------------------------------------------------------------------------------------------------


def copied(shelf: Shelf, number: int, region: str = NEAR, account: str | None = None, **more: Any) -> str:
    owner = "123456789012/" if account else ""
    tags = {
        "ec2ops:image": "web",
        "ec2ops:version": str(number),
        "ec2ops:copy-of": f"{owner}{REGION}/{shelf.ids[number]}",
        **more.pop("tags", {}),
    }
    if account:
        shelf.ec2().modify_image_attribute(ImageId=shelf.ids[number], LaunchPermission={"Add": [{"UserId": account}]})
        shelf.ec2().modify_snapshot_attribute(
            SnapshotId=shelf.parts[number],
            Attribute="createVolumePermission",
            OperationType="add",
            UserIds=[account],
        )
    given = [{"Key": key, "Value": value} for key, value in tags.items()]
    request = {
        "Name": f"web-{number}",
        "SourceImageId": shelf.ids[number],
        "SourceRegion": REGION,
        "Description": f"web {number} from i-0123456789abcdef0",
        "TagSpecifications": [{"ResourceType": kind, "Tags": given} for kind in ("image", "snapshot")],
        **more,
    }
    made = str(shelf.ec2(region, account).copy_image(**request)["ImageId"])
    shelf.sandbox.move_clock(3600)
    return made


def test_each_place_of_copies_has_its_own_rules(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox, number=4)
    near = [copied(shelf, number) for number in (1, 2, 3)]
    vault = [copied(shelf, number, REGION, VAULT) for number in (1, 2)]
    places = [
        {"region": NEAR, "keep": {"last": 2}},
        {"region": REGION, "profile": VAULT, "keep": {"last": 1}},
    ]
    _check, done, *_again = shelf.steps(copies=places, keep={"last": 1})
    assert done.result["deregistered"] == [*shelf.versions(1, 2, 3), near[0], vault[0]]
    assert set(shelf.images(NEAR)) == set(near[1:])
    assert set(shelf.images(REGION, VAULT)) == set(vault[1:])
    assert len(shelf.snapshots(NEAR)) == 2
    assert len(shelf.snapshots(REGION, VAULT)) == 1


def test_copy_that_only_a_tag_names_stays_in_the_other_account(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox, number=3)
    lure = {"tags": {"ec2ops:copy-of": f"123456789012/{REGION}/ami-0123456789abcdef0"}}
    forged = copied(shelf, 1, REGION, VAULT, **lure)
    own = shelf.sandbox.seed({"account": VAULT, "region": REGION, "images": [seeded(9, 90 * DAY)]})["web-9"]
    real = [copied(shelf, number, REGION, VAULT) for number in (2, 3)]
    places = [{"region": REGION, "profile": VAULT, "keep": {"last": 1}}]
    ended = shelf.rotate(copies=places, keep={"last": 9})
    assert ended.result["deregistered"] == real[:1]
    assert {forged, own, real[1]} == set(shelf.images(REGION, VAULT))


def test_silent_place_keeps_its_copies_and_stops_no_other(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox, number=3)
    near = copied(shelf, 1)
    quick_sandbox.add_fault("DescribeImages", region=NEAR, code="UnauthorizedOperation", status=403, occurrence="every")
    ended = shelf.rotate(
        copies=[{"region": NEAR, "keep": {"last": 1}}], action="disable", guards={"copy_source": "off"}
    )
    quick_sandbox.clear_faults()
    assert "DescribeImages" in ended.failed
    assert (ended.result["disabled"], near in shelf.images(NEAR)) == (shelf.versions(1), True)


def test_source_of_an_unfinished_copy_is_kept(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox, number=3)
    shelf.sandbox.configure(durations={"image_copying": 7200.0})
    copied(shelf, 1)
    ended = shelf.rotate(copies=[{"region": NEAR, "keep": {"last": 1}}])
    assert guard_of(ended, shelf.ids[1]) == ("copy_source", f"its copy in {NEAR} is not finished")


# --- speed ------------------------------------------------------------------------------------------------------------


def test_five_hundred_versions_are_read_by_pages(quick_sandbox: Sandbox) -> None:
    shelf = Shelf(quick_sandbox, number=500)
    ended = shelf.rotate(check=True, max_delete=500)
    assert len(ended.result["deregistered"]) == 498
    calls = ended.result["api_calls"]
    assert calls["DescribeImageReferences"] == 50
    assert sum(calls.values()) - 50 <= 10, calls
