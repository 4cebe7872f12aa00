# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The obstacles that the plan of a relaunch refuses or names, without further reads."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.instance_facts import zone_kind
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError, UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import INSTANCE_TYPE
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import planned
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import BlockDevice, Fact, Image, Volume
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, instance_power, instance_relaunch

from in_process import changing_calls, machine, run
from relaunch_world import (
    AMI,
    HELD,
    IMAGE,
    INTERFACE,
    M5,
    OLD,
    ROOT,
    TAG,
    actions,
    launch,
    plain,
    plan,
    spec,
    successor,
)
from sandbox.client import Sandbox


def image(**fields: Any) -> Image:
    return dataclasses.replace(IMAGE, **fields)


@pytest.mark.parametrize(
    ("made", "type_facts", "words"),
    [
        (image(boot_mode="uefi"), {"SupportedBootModes": ["legacy-bios"]}, "boots in mode uefi"),
        (image(virtualization_type="paravirtual"), {"SupportedVirtualizationTypes": ["hvm"]}, "is for paravirtual"),
        (image(tpm_support="v2.0"), {"NitroTpmSupport": "unsupported"}, "needs NitroTPM v2.0"),
        (image(ena_support=False), {"NetworkInfo": {"EnaSupport": "required"}}, "is not enabled for ENA"),
        (image(), {"NetworkInfo": {"EnaSupport": "required"}}, "is not enabled for ENA"),
    ],
)
def test_image_that_does_not_fit_the_type_is_refused(made: Image, type_facts: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsafePlan, match=words):
        plan(spec(), plain(), INSTANCE_TYPE.fact("m5.large", {**M5, **type_facts}), image=made)
    other = INSTANCE_TYPE.fact("m5.xlarge", {**M5, **type_facts})
    with pytest.raises(UnsafePlan, match=words):
        plan(spec(overrides={"instance_type": "m5.xlarge"}), plain(), other, image=made)


def test_image_that_fits_the_type_is_launched() -> None:
    facts = {
        "SupportedBootModes": ["legacy-bios", "uefi"],
        "SupportedVirtualizationTypes": ["hvm"],
        "NitroTpmSupport": "supported",
        "NetworkInfo": {"EnaSupport": "required"},
    }
    made = image(boot_mode="uefi", virtualization_type="hvm", tpm_support="v2.0", ena_support=True)
    assert plan(spec(), plain(), INSTANCE_TYPE.fact("m5.large", {**M5, **facts}), image=made).changes
    # Nothing is known of a planned image, except the facts in its plan.
    unknown = image(image_id=planned("image", "web/1"))
    wanted = spec(image_id=unknown.image_id)
    assert plan_of_planned(wanted, unknown, INSTANCE_TYPE.fact("m5.large", {**M5, **facts}))


def plan_of_planned(wanted: Any, unknown: Image, types: Fact) -> Any:
    from ansible_collections.ec2ops.storage.plugins.module_utils._features.relaunch import planner

    from relaunch_world import NOW, world

    return planner.plan(wanted, world(plain(), types, image=unknown), NOW).changes


@pytest.mark.parametrize(
    ("zone", "kind"),
    [
        ("us-west-2a", ""),
        ("us-gov-west-1a", ""),
        ("us-west-2-lax-1a", "Local Zone"),
        ("us-west-2-wl1-las-wlz-1", "Wavelength Zone"),
        ("", ""),
    ],
)
def test_zone_kind_is_read_from_its_name(zone: str, kind: str) -> None:
    assert zone_kind(zone, "us-gov-west-1" if "gov" in zone else "us-west-2") == kind


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"availability_zone": "eu-central-1-ham-1a"}, "eu-central-1-ham-1a.*Local Zone"),
        ({"availability_zone": "eu-central-1-wl1-ber-wlz-1"}, "Wavelength Zone"),
        ({"facts": {"OutpostArn": "arn:aws:outposts:::op-1"}}, "Outpost"),
    ],
)
def test_instance_outside_of_the_region_proper_is_refused_by_name(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UnsafePlan, match=words):
        plan(spec(), plain(**fields))


def test_plan_names_the_private_address_that_changes() -> None:
    assert "the private address 10.0.0.7 will change" in launch(spec(), plain(private_ip_address="10.0.0.7")).reason


def test_plan_names_a_stopped_instance_whose_successor_will_run() -> None:
    assert f"{OLD} is stopped, but its successor will run" in launch(spec(), plain(state="stopped")).reason
    assert "will run" not in launch(spec(), plain(state="stopped", tags={TAG: HELD})).reason
    assert "will run" not in launch(spec(), plain()).reason


def test_plan_names_a_kept_root_volume() -> None:
    kept = plain(block_devices=(BlockDevice("/dev/xvda", ROOT, False),))
    (end,) = (one for one in plan(spec(old_instance="terminate"), kept).changes if one.action == "TerminateInstances")
    assert f"keep the root volume {ROOT}" in end.reason
    (end,) = (
        one for one in plan(spec(old_instance="terminate"), plain()).changes if one.action == "TerminateInstances"
    )
    assert "keep the root volume" not in end.reason


def test_check_of_a_group_predicts_the_encrypted_root() -> None:
    """The planned image's devices show neither encryption nor key, but the run's plan has both."""
    root = Volume(ROOT, size=8, encrypted=True, kms_key_id="key")
    device = IMAGE.block_devices[0]
    unknown, real = (image(block_devices=(dataclasses.replace(device, encrypted=told),)) for told in (None, True))
    expected = [{"DeviceName": "/dev/xvda", "Ebs": {"Encrypted": True, "KmsKeyId": "key"}}]
    for made in (unknown, real, image(block_devices=())):
        assert launch(spec(), plain(), root, image=made).parameters["BlockDeviceMappings"] == expected


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ({"instance_type": "m5.xlarge"}, "instance_type m5.xlarge (now m5.large)"),
        ({"key_name": "deploy"}, "key_name deploy (now none)"),
        ({"iam_instance_profile": "web"}, "iam_instance_profile web (now none)"),
        ({"security_group_ids": ["sg-9"]}, "security_group_ids sg-9 (now sg-1, sg-2)"),
        ({"tags": {"team": "shop"}}, "tags team"),
    ],
)
def test_override_of_an_instance_that_is_up_to_date_is_named(overrides: dict[str, Any], words: str) -> None:
    current = successor(facts={"NetworkInterfaces": [INTERFACE]})
    (warning,) = plan(spec(overrides=overrides), current).warnings
    assert words in warning
    assert "the task does not apply these: " in warning


def test_override_that_the_instance_has_is_not_named() -> None:
    profile = {"Arn": "arn:aws:iam::123456789012:instance-profile/path/web"}
    current = successor(facts={"NetworkInterfaces": [INTERFACE], "IamInstanceProfile": profile, "KeyName": "deploy"})
    overrides = {
        "instance_type": "m5.large",
        "key_name": "deploy",
        "iam_instance_profile": "web",
        "security_group_ids": ["sg-2", "sg-1"],
        "tags": {"Name": "web"},
        "user_data": "drop",
    }
    assert plan(spec(overrides=overrides), current).warnings == ()


def test_tags_of_the_instance_itself_are_not_blamed_on_overrides() -> None:
    many = plain(tags={f"key{number}": "x" for number in range(49)})
    with pytest.raises(SpecError, match=f"instance_id: {OLD} has 49 tags.*Remove 1 from {OLD}"):
        plan(spec(), many)
    with pytest.raises(SpecError, match=r"overrides\.tags"):
        plan(spec(overrides={"tags": {"more": "x"}}), plain(tags={f"key{number}": "x" for number in range(48)}))


# --- on the sandbox --------------------------------------------------------------------------------------------------


def test_instance_that_cannot_be_relaunched_is_not_stopped_for_it(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    (interface,) = web.ec2.describe_instances()["Reservations"][0]["Instances"][0]["NetworkInterfaces"]
    more = {"NetworkInterfaceId": interface["NetworkInterfaceId"], "SecondaryPrivateIpAddressCount": 1}
    web.ec2.assign_private_ip_addresses(**more)
    given = {"instance_ids": [web.instance_id], "state": "stopped", "remember": True}
    before = sandbox.log()[-1]["sequence"]
    for check in (True, False):
        ended = run(sandbox, module=instance_power, check=check, for_relaunch=True, **given)
        assert "cannot be relaunched: NetworkInterfaces.PrivateIpAddresses" in ended.failed
    assert changing_calls(sandbox, before) == []
    assert not run(sandbox, module=instance_power, **given).failed


def test_relaunch_rolled_back_for_its_timeout_says_that_the_next_run_starts_over(sandbox: Sandbox) -> None:
    sandbox.configure(options={"unhealthy_launches": True})
    web = machine(sandbox)
    baked = run(
        sandbox, module=ami_bake, name="web", version="1", source_instance_id=web.instance_id, require_stopped=False
    )
    ended = run(
        sandbox,
        module=instance_relaunch,
        instance_id=web.instance_id,
        image_id=baked.result["image_id"],
        health={"timeout": 5},
    )
    sandbox.configure(options={"unhealthy_launches": False})
    assert "The task rolled it back, and the next run begins anew" in ended.failed
    assert "EC2 goes on with the work" not in ended.failed


def test_refused_call_keeps_the_encoded_message_in_error(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    encoded = "Encoded authorization failure message: 4JrVbGVzc2FnZQ"
    refusal = {"code": "UnauthorizedOperation", "status": 403, "message": f"You are not authorized. {encoded}"}
    sandbox.add_fault("StopInstances", **refusal)
    ended = run(sandbox, module=instance_power, instance_ids=[web.instance_id], state="stopped")
    assert encoded not in ended.failed
    assert ended.result["error"]["message"].endswith(encoded)


def test_plain_relaunch_has_its_known_actions() -> None:
    assert actions(plan(spec(image_id=AMI), plain())) == ["RunInstances new", "CreateTags new", "StopInstances 1"]
