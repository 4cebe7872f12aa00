# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`ami_bake` on the sandbox: attributes of existing images, SSM parameters and launch templates."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from bake_runs import NEAR, Line, by_region, new_line
from in_process import REGION, Killed, KillingGateway
from sandbox.client import Sandbox
from worlds import sandbox_gateway

COPIES = [{"region": NEAR}]
DAY = 86400


@pytest.fixture
def line(quick_sandbox: Sandbox) -> Line:
    return new_line(quick_sandbox)


# --- attributes -------------------------------------------------------------------------------------------------------


def both(line: Line, name: str) -> list[Any]:
    return [line.image(region).get(name) for region in (REGION, NEAR)]


def test_attributes_converge_on_an_existing_image_and_its_copy(line: Line) -> None:
    line.bake(copies=COPIES)
    given = {
        "copies": COPIES,
        "description": "the web servers",
        "imds_support": "v2.0",
        "deprecate_after": "90d",
        "deregistration_protection": "enabled",
    }
    _check, done, *_again = line.steps(**given)
    assert sorted(done.actions) == sorted(
        ["ModifyImageAttribute"] * 4 + ["EnableImageDeprecation"] * 2 + ["EnableImageDeregistrationProtection"] * 2
    )
    assert both(line, "Description") == ["the web servers"] * 2
    assert both(line, "ImdsSupport") == ["v2.0"] * 2
    assert both(line, "DeregistrationProtection") == ["enabled"] * 2
    created = datetime.fromisoformat(line.image()["CreationDate"])
    for text in both(line, "DeprecationTime"):
        assert abs(datetime.fromisoformat(text) - created - timedelta(days=90)) <= timedelta(minutes=1)


def test_attributes_are_changed_and_removed(line: Line) -> None:
    line.bake(copies=COPIES, deprecate_after="90d", deregistration_protection="enabled")
    line.steps(copies=COPIES, deprecate_after="30d", deregistration_protection="with_cooldown")
    assert both(line, "DeregistrationProtection") == ["enabled-with-cooldown"] * 2
    _check, done, *_again = line.steps(copies=COPIES, deprecate_after="never", deregistration_protection="disabled")
    assert sorted(set(done.actions)) == ["DisableImageDeprecation", "DisableImageDeregistrationProtection"]
    assert both(line, "DeprecationTime") == [None] * 2
    assert all(value.startswith("disabled after") for value in both(line, "DeregistrationProtection"))


def test_attributes_stay_without_their_options(line: Line) -> None:
    line.bake(copies=COPIES, deprecate_after="90d", deregistration_protection="enabled", description="x")
    assert line.bake(copies=COPIES).actions == []


def test_image_that_is_old_enough_is_deprecated_at_once(line: Line) -> None:
    line.bake()
    line.sandbox.move_clock(40 * DAY)
    _check, done, *_again = line.steps(deprecate_after="30d")
    assert done.actions == ["EnableImageDeprecation"]
    line.sandbox.move_clock(DAY)
    assert line.bake(deprecate_after="30d").actions == []


def test_attribute_that_cannot_change_warns(line: Line) -> None:
    line.bake(imds_support="v2.0")
    ended = line.bake(imds_support="none", boot_mode="uefi")
    assert (ended.actions, ended.failed) == ([], "")
    assert "boot_mode (the image has none), imds_support (the image has 'v2.0')" in ended.warnings[0]


def test_protected_version_is_not_removed(line: Line) -> None:
    line.bake(copies=COPIES, deregistration_protection="enabled")
    assert "has deregistration protection" in line.remove(copies=COPIES).failed
    assert len(line.images(NEAR)) == 1


# --- SSM parameters ---------------------------------------------------------------------------------------------------


def publish(line: Line, **more: Any) -> dict[str, Any]:
    return {"copies": COPIES, "ssm_parameter": {"name": "/images/web", **more}}


def test_parameter_names_the_image_of_each_region(line: Line) -> None:
    _check, done, *_again = line.steps(**publish(line))
    for region in (REGION, NEAR):
        image_id = line.image(region)["ImageId"]
        assert line.parameter("/images/web", region) == image_id
        row = by_region(done)[region]["ssm_parameter"]
        assert row == {"name": "/images/web", "image_id": image_id, "former_value": None}
    _check, done, *_again = line.steps(version="2", **publish(line))
    newest = next(row["ImageId"] for row in line.images(NEAR) if row["tags"]["ec2ops:version"] == "2")
    assert line.parameter("/images/web", NEAR) == newest
    assert by_region(done)[NEAR]["ssm_parameter"]["former_value"] not in (None, newest)


def test_parameter_of_a_newer_image_stays_unless_forced(line: Line) -> None:
    line.bake()
    line.sandbox.move_clock(DAY)
    line.bake(version="2", **publish(line))
    newest = line.parameter("/images/web")
    # The copy of the old version is younger than that of the new one.
    ended = line.bake(version="1", **publish(line))
    assert (ended.failed, line.parameter("/images/web"), "PutParameter" in ended.actions) == ("", newest, False)
    assert [
        text.startswith(f"ssm_parameter: /images/web in {where} names ami-")
        for text, where in zip(ended.warnings, (REGION, NEAR), strict=True)
    ] == [True, True]
    _check, done, *_again = line.steps(version="1", **publish(line, publish="force"))
    assert done.actions == ["PutParameter"] * 2
    assert by_region(done)[REGION]["ssm_parameter"]["former_value"] == newest


def test_parameter_with_another_value_is_overwritten(line: Line) -> None:
    line.sandbox.client("ssm", REGION).put_parameter(Name="/images/web", Value="none", Type="String")
    line.steps(ssm_parameter={"name": "/images/web"})
    assert line.parameter("/images/web") == line.image()["ImageId"]


def test_parameter_that_cannot_be_written_is_named_and_repaired(line: Line) -> None:
    line.sandbox.add_fault("ssm:PutParameter", occurrence=1, region=NEAR, code="AccessDeniedException", status=400)
    ended = line.bake(**publish(line))
    rows = by_region(ended)
    assert f"In {NEAR}: PutParameter" in ended.failed
    assert "AccessDeniedException" in rows[NEAR]["error"]
    assert rows[NEAR]["ssm_parameter"]["image_id"] is None
    assert line.parameter("/images/web") == rows[REGION]["image_id"]
    assert [one.actions for one in line.steps(**publish(line))][1] == ["PutParameter"]


def test_value_that_ssm_does_not_accept_fails_the_task(line: Line) -> None:
    line.bake()
    line.sandbox.configure(durations={"parameter_validation": 3600.0})
    ended = line.bake(ssm_parameter={"name": "/images/web"})
    assert "/images/web should become ami-" in ended.failed
    assert "SSM has not accepted the image as its value" in ended.failed


def test_failed_copy_is_not_published(line: Line) -> None:
    line.sandbox.add_fault("CopyImage", occurrence=1, region=NEAR, kind="end", code="x", message="no storage")
    ended = line.bake(**publish(line))
    assert "no storage" in ended.failed
    assert (line.parameter("/images/web", NEAR), line.parameter("/images/web")) == (None, line.image()["ImageId"])
    line.steps(**publish(line))
    assert line.parameter("/images/web", NEAR) == line.image(NEAR)["ImageId"]


# --- launch templates -------------------------------------------------------------------------------------------------


def template(line: Line) -> str:
    data: Any = {"ImageId": "ami-00000001", "InstanceType": "t3.micro"}
    made = line.ec2().create_launch_template(LaunchTemplateName="web", LaunchTemplateData=data)
    return str(made["LaunchTemplate"]["LaunchTemplateId"])


def versions(line: Line) -> dict[int, dict[str, Any]]:
    rows = line.ec2().describe_launch_template_versions(LaunchTemplateName="web")["LaunchTemplateVersions"]
    return {int(row["VersionNumber"]): row for row in rows}


def default(line: Line) -> int:
    return next(number for number, row in versions(line).items() if row["DefaultVersion"])


def test_version_with_the_image_becomes_the_default(line: Line) -> None:
    template_id = template(line)
    _check, done, *_again = line.steps(launch_template={"name": "web"})
    assert done.actions[-2:] == ["CreateLaunchTemplateVersion", "ModifyLaunchTemplate"]
    assert versions(line)[2]["LaunchTemplateData"] == {
        "ImageId": line.image()["ImageId"],
        "InstanceType": "t3.micro",
    }
    assert done.result["launch_template"] == {
        "id": template_id,
        "name": "web",
        "version": "2",
        "former_version": "1",
        "default": True,
    }
    assert line.bake(launch_template={"id": template_id}).actions == []


def test_version_is_added_without_becoming_the_default(line: Line) -> None:
    template(line)
    _check, done, *_again = line.steps(launch_template={"name": "web", "default": False})
    assert (done.result["launch_template"]["default"], default(line)) == (False, 1)
    _check, done, *_again = line.steps(launch_template={"name": "web"})
    assert (done.actions, default(line)) == (["ModifyLaunchTemplate"], 2)


def test_earlier_version_becomes_the_default_again(line: Line) -> None:
    template(line)
    line.bake(launch_template={"name": "web"})
    _check, done, *_again = line.steps(launch_template={"name": "web", "version": 1})
    assert (done.actions, default(line)) == (["ModifyLaunchTemplate"], 1)
    assert done.result["launch_template"]["former_version"] == "2"
    # And again: a repeated change of the default is no replay of the first one.
    assert line.bake(launch_template={"name": "web"}).actions == ["ModifyLaunchTemplate"]
    assert default(line) == 2


def test_unknown_template_or_version_is_refused_before_the_first_effect(line: Line) -> None:
    unknown = line.bake(launch_template={"name": "none"})
    assert unknown.failed == "launch_template.name: none does not exist in us-east-1. Create it first."
    template(line)
    missing = line.bake(launch_template={"name": "web", "version": 9})
    assert missing.failed == "launch_template.version: web has no version 9. Name an existing version."
    assert line.images() == []


@pytest.mark.parametrize("nth", range(1, 8))
def test_run_after_an_interruption_publishes_once(line: Line, nth: int) -> None:
    template(line)
    given = {**publish(line), "launch_template": {"name": "web"}}
    gateway = KillingGateway(sandbox_gateway(line.sandbox, REGION), nth)
    try:
        line.bake(gateway=gateway, alone=False, **given)
    except Killed:
        line.sandbox.move_clock(5)
    assert line.bake(alone=False, **given).failed == ""
    assert line.bake(**given).actions == []
    assert (sorted(versions(line)), default(line)) == ([1, 2], 2)
    for region in (REGION, NEAR):
        assert line.parameter("/images/web", region) == line.image(region)["ImageId"]


def test_plan_of_an_earlier_task_is_assumed(line: Line) -> None:
    line.bake(copies=COPIES)
    given = {**publish(line), "description": "x", "deprecate_after": "9d", "deregistration_protection": "enabled"}
    shared = {"user_ids": ["111122223333"], "snapshots": True}
    first = line.bake(check=True, launch_permissions=shared, **given)
    second = line.bake(check=True, launch_permissions=shared, assume=[first.result["plan"]], **given)
    assert (len(first.actions) > 8, second.actions) == (True, [])


def test_attribute_that_is_refused_keeps_no_region_from_its_copy(line: Line) -> None:
    line.bake()
    line.sandbox.add_fault("ModifyImageAttribute", occurrence=1, code="UnauthorizedOperation", status=403)
    ended = line.bake(copies=COPIES, description="x")
    assert "UnauthorizedOperation" in by_region(ended)[REGION]["error"]
    assert (by_region(ended)[NEAR]["state"], by_region(ended)[NEAR]["error"]) == ("available", None)
    assert line.bake(copies=COPIES, description="x").actions == ["ModifyImageAttribute"]
