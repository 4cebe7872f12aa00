# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of `ami_bake`: its queries, its plan from every state of the world, and its refusals."""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._features.image.spec import described
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import Ambiguous, SpecError, UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import UEFI_DATA
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prediction import overlay
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Image,
    ImageDevice,
    Instance,
    Resource,
    Snapshot,
    Volume,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import Query, State
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import USERS
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import boto3_tags
from hypothesis import given
from hypothesis import strategies as st

from asking import answered, asks
from image_world import (
    AMI,
    AMI2,
    BASE,
    BASE_IMAGE,
    DATA,
    NEW,
    NOW,
    OLD,
    OTHER,
    OWNER,
    REGION,
    ROOT,
    SNAP,
    SNAP2,
    SNAP3,
    VOLUMES,
    plan,
    spec,
    tagged,
    world,
)
from proven import launched


def instance(instance_id: str = OLD, **fields: Any) -> Instance:
    facts = {
        "Architecture": "arm64",
        "VirtualizationType": "hvm",
        "BootMode": "uefi",
        "EnaSupport": True,
        "RootDeviceName": "/dev/xvda",
        **fields.pop("facts", {}),
    }
    values: dict[str, Any] = {
        "state": "stopped",
        "image_id": BASE,
        "owner_id": OWNER,
        "root_device_name": "/dev/xvda",
        "block_devices": (BlockDevice("/dev/xvda", ROOT, True), BlockDevice("/dev/sdf", DATA, False)),
        "facts": facts,
        **fields,
    }
    return launched(Instance(instance_id=instance_id, **values))


def snapshot(
    wanted: planner.ImageSpec, snapshot_id: str = SNAP, volume_id: str = ROOT, minute: int = 0, **fields: Any
) -> Snapshot:
    start = NOW + timedelta(minutes=minute)
    return Snapshot(
        snapshot_id=snapshot_id,
        volume_id=volume_id,
        start_time=start,
        **{"tags": tagged(wanted), "volume_size": 8, "description": described(wanted, wanted.source or OLD), **fields},
    )


def made(wanted: planner.ImageSpec, image_id: str = AMI, source: str | None = None, **fields: Any) -> Image:
    return Image(
        image_id=image_id, owner_id=OWNER, **{"name": wanted.image_name, "tags": tagged(wanted, source), **fields}
    )


def actions(planned: Plan) -> list[str]:
    return [change.action for change in planned.changes]


# --- from nothing ----------------------------------------------------------------------------------------------------


def test_a_stopped_instance_is_captured_then_registered() -> None:
    planned = plan(spec(tags={"team": "shop"}), instance())
    assert actions(planned) == ["CreateSnapshot", "RegisterImage"]
    capture, register = planned.changes
    assert capture.parameters["VolumeId"] == ROOT
    tags = {tag["Key"]: tag["Value"] for tag in capture.parameters["TagSpecifications"][0]["Tags"]}
    machine = tags.pop("ec2ops:machine")
    assert machine == "arch=arm64 virt=hvm boot=uefi ena=true root=/dev/xvda devices=/dev/xvda+"
    assert tags == tagged(spec(), team="shop")
    assert [wait.goal for wait in planned.stages[0].waits] == ["completed"]
    assert register.parameters == {
        "Name": "web-1",
        "Description": f"web 1 from {OLD}",
        "Architecture": "arm64",
        "VirtualizationType": "hvm",
        "BootMode": "uefi",
        "EnaSupport": True,
        "RootDeviceName": "/dev/xvda",
        "ImdsSupport": "v2.0",
        "TpmSupport": "v2.0",
        "TagSpecifications": [{"ResourceType": "image", "Tags": boto3_tags(tags)}],
        "BlockDeviceMappings": [
            {
                "DeviceName": "/dev/xvda",
                "Ebs": {
                    "SnapshotId": "(new snapshot web/1 /dev/xvda)",
                    "VolumeType": "gp3",
                    "Iops": 3000,
                    "Throughput": 125,
                    "DeleteOnTermination": True,
                },
            }
        ],
    }


def test_all_devices_are_captured_by_one_call() -> None:
    planned = plan(spec(devices="all"), instance())
    assert actions(planned) == ["CreateSnapshots", "CreateSnapshots", "RegisterImage"]
    first, second, register = planned.changes
    assert first.parameters == second.parameters, "equal parameters are what makes it one call"
    assert first.parameters["InstanceSpecification"] == {"InstanceId": OLD}
    assert [change.after["volume_id"] for change in (first, second) if change.after] == [ROOT, DATA]
    devices = {item["DeviceName"]: item["Ebs"] for item in register.parameters["BlockDeviceMappings"]}
    assert devices["/dev/sdf"] == {
        "SnapshotId": "(new snapshot web/1 /dev/sdf)",
        "VolumeType": "io2",
        "Iops": 2000,
        "DeleteOnTermination": False,
    }


def test_overrides_and_given_hardware_win() -> None:
    device = {
        "device_name": "/dev/xvda",
        "volume_size": 20,
        "volume_type": "io2",
        "iops": 1000,
        "delete_on_termination": False,
    }
    planned = plan(spec(block_devices=[device], boot_mode="uefi-preferred", tpm_support="none"), instance())
    parameters = planned.changes[-1].parameters
    assert parameters["BootMode"] == "uefi-preferred"
    assert "TpmSupport" not in parameters
    assert parameters["BlockDeviceMappings"][0]["Ebs"] == {
        "SnapshotId": "(new snapshot web/1 /dev/xvda)",
        "VolumeType": "io2",
        "VolumeSize": 20,
        "Iops": 1000,
        "DeleteOnTermination": False,
    }


def test_uefi_data_and_ephemeral_devices_are_inherited() -> None:
    source = instance(facts={"CurrentInstanceBootMode": "uefi"})
    base = dataclasses.replace(BASE_IMAGE, block_devices=(ImageDevice("/dev/sdb", virtual_name="ephemeral0"),))
    planned = plan(spec(), source, base, UEFI_DATA.fact(OLD, "QU1aTlVFRkk="))
    parameters = planned.changes[-1].parameters
    assert parameters["UefiData"] == "QU1aTlVFRkk="
    assert {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"} in parameters["BlockDeviceMappings"]


def test_a_kernel_is_left_out_for_hvm_and_kept_for_paravirtual() -> None:
    facts = {"KernelId": "aki-1", "RamdiskId": "ari-1"}
    assert "KernelId" not in plan(spec(), instance(facts=facts)).changes[-1].parameters
    kept = plan(spec(), instance(facts={**facts, "VirtualizationType": "paravirtual"})).changes[-1].parameters
    assert (kept["KernelId"], kept["RamdiskId"]) == ("aki-1", "ari-1")


def test_captured_stops_at_the_point_in_time() -> None:
    planned = plan(spec(state="captured"), instance())
    assert actions(planned) == ["CreateSnapshot"]
    assert planned.stages[-1].waits == (), "captured waits for nothing"


@pytest.mark.parametrize("devices, expected", [("root", [{"DeviceName": "/dev/sdf", "NoDevice": ""}]), ("all", None)])
@pytest.mark.parametrize(
    "fields", [{"platform_details": "Windows", "usage_operation": "RunInstances:0002"}, {"product_codes": ("abc",)}]
)
def test_source_with_other_billing_is_baked_by_create_image(
    devices: str, expected: Any, fields: dict[str, Any]
) -> None:
    planned = plan(spec(devices=devices), instance(**fields))
    assert actions(planned) == ["CreateImage"]
    parameters = planned.changes[0].parameters
    assert parameters["NoReboot"] is True
    assert parameters.get("BlockDeviceMappings") == expected
    assert [entry["ResourceType"] for entry in parameters["TagSpecifications"]] == ["image", "snapshot"]
    assert [wait.goal for wait in planned.stages[-1].waits] == ["captured", "available"]
    expectation = dict(planned.stages[-1].waits[-1].expect)
    assert expectation["platform_details"] == fields.get("platform_details", "Linux/UNIX")


def test_snapshot_source_is_registered_as_an_image() -> None:
    wanted = spec(
        source_instance_id=None,
        source_snapshot_id=SNAP,
        architecture="x86_64",
        root_device_name="/dev/sda1",
        ena_support=True,
    )
    source = Snapshot(snapshot_id=SNAP, volume_size=8, owner_id=OWNER, state="pending")
    planned = plan(wanted, source)
    assert actions(planned) == ["RegisterImage"]
    assert [wait.goal for wait in planned.stages[0].waits] == ["completed"], "a pending source is waited for"
    assert planned.changes[0].parameters["VirtualizationType"] == "hvm"
    assert plan(dataclasses.replace(wanted, state="captured"), source).is_empty


def test_planned_registration_answers_for_the_image_of_the_source() -> None:
    source = instance(facts={"CurrentInstanceBootMode": "uefi"})
    base = dataclasses.replace(BASE_IMAGE, block_devices=(ImageDevice("/dev/sdb", virtual_name="ephemeral0"),))
    uefi, captured = UEFI_DATA.fact(OLD, "QU1aTlVFRkk="), snapshot(spec())
    planned = plan(spec(), source, base, uefi, captured).changes[-1].parameters
    told = {**planned, "UefiData": "outdated"}
    again = plan(spec(registration=told), source, uefi, captured, base=False)
    assert again.changes[-1].parameters == planned
    assert again.warnings == ()
    assert (
        planned["ImdsSupport"] == "v2.0"
        and {"DeviceName": "/dev/sdb", "VirtualName": "ephemeral0"} in planned["BlockDeviceMappings"]
    )


@pytest.mark.parametrize(
    "name, is_captured, expected",
    [
        ("web-1", True, (False, False)),
        ("web-1", False, (True, False)),  # nothing is captured before another look at the name
        (None, True, (True, True)),
    ],
)
def test_planned_registration_saves_the_queries_for_names_and_the_base(
    name: str | None, is_captured: bool, expected: tuple[bool, bool]
) -> None:
    registration = {"Name": name, "Architecture": "x86_64"} if name else {}
    queries = asked(spec(registration=registration), [instance(), *([snapshot(spec())] if is_captured else [])])
    filters = [each for query in queries if query.operation == "DescribeImages" for each, _values in query.filters]
    assert ("name" in filters, "image-id" in filters) == expected


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"Name": "web-2"}, "registration.Name: is 'web-2', and the task makes the image 'web-1'"),
        ({"Architecture": "arm64"}, "registration.Name: is None"),
        ({"Name": "web-1", "Arch": "arm64"}, "registration.Arch: is unknown"),
        ({"Name": "web-1", "BlockDeviceMappings": "/dev/sdb"}, "registration.BlockDeviceMappings: is not a list"),
        ({"Name": "web-1", "BlockDeviceMappings": ["/dev/sdb"]}, "registration.BlockDeviceMappings: is not a list"),
        ({"Name": "web-1", "BootMode": {"uefi": 1}}, "registration.BootMode: "),
    ],
)
def test_registration_that_no_plan_has_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(SpecError, match=re.escape(told)):
        spec(registration=given)


# --- going on after an interruption ----------------------------------------------------------------------------------


@pytest.mark.parametrize("state, waits", [("pending", ["completed", "available"]), ("completed", ["available"])])
def test_existing_capture_is_used(state: str, waits: list[str]) -> None:
    wanted = spec()
    planned = plan(wanted, instance(state="running"), snapshot(wanted, state=state))
    assert actions(planned) == ["RegisterImage"], "a running instance is no obstacle once the point in time is fixed"
    assert planned.changes[0].parameters["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"] == SNAP
    assert [wait.goal for stage in planned.stages for wait in stage.waits] == waits


def test_a_failed_capture_is_deleted_and_taken_again() -> None:
    wanted = spec()
    planned = plan(wanted, instance(), snapshot(wanted, state="error", state_reason="KMS key is disabled"))
    assert actions(planned) == ["DeleteSnapshot", "CreateSnapshot", "RegisterImage"]
    assert "KMS key is disabled" in planned.changes[0].reason


def test_failed_capture_without_a_source_is_named_first() -> None:
    wanted = spec()
    failed = snapshot(wanted, state="error", state_reason="KMS key is disabled")
    with pytest.raises(UnsafePlan, match=f"{SNAP} failed: KMS key is disabled.*require_stopped"):
        plan(wanted, instance(state="running"), failed)


def test_a_set_with_a_failed_member_is_taken_again_whole() -> None:
    wanted = spec(devices="all")
    planned = plan(wanted, instance(), snapshot(wanted), snapshot(wanted, SNAP2, DATA, state="error"))
    assert actions(planned) == ["DeleteSnapshot"] * 2 + ["CreateSnapshots"] * 2 + ["RegisterImage"]


@pytest.mark.parametrize("first, second", [(0, 1), (1, 0), (0, 0)])
def test_earliest_capture_with_the_lowest_id_counts(first: int, second: int) -> None:
    wanted = spec()
    planned = plan(wanted, instance(), snapshot(wanted, minute=first), snapshot(wanted, SNAP2, minute=second))
    assert actions(planned) == ["DeleteSnapshot", "RegisterImage"]
    assert planned.changes[0].resource == (SNAP if second < first else SNAP2)


@pytest.mark.parametrize("method", ["auto", "image"])
@pytest.mark.parametrize("fields", [{"minute": 1}, {"minute": -1}, {"state": "error"}])
def test_capture_of_another_source_is_not_deleted(method: str, fields: dict[str, Any]) -> None:
    wanted = spec(method=method)
    text = described(wanted, OTHER)
    strange = snapshot(wanted, SNAP2, "vol-00000000000000009", tags=tagged(wanted, OTHER), description=text, **fields)
    refused = f"{SNAP2} already exists as web/1, but it was made from another source than {OLD}"
    with pytest.raises(SpecError, match=refused):
        plan(wanted, instance(), snapshot(wanted), strange)


@pytest.mark.parametrize("devices", ["root", "all"])
@pytest.mark.parametrize("minute", [-1, 0, 1])
def test_copy_of_a_capture_is_no_capture(devices: str, minute: int) -> None:
    wanted = spec(devices=devices)
    copy = snapshot(wanted, SNAP3, "vol-ffffffff", minute=minute)
    own = (snapshot(wanted), *((snapshot(wanted, SNAP2, DATA),) if devices == "all" else ()))
    assert actions(plan(wanted, instance(), *own, copy)) == ["RegisterImage"]
    assert "DeleteSnapshot" not in actions(plan(wanted, instance(), copy))
    assert "DeleteSnapshot" not in actions(plan(spec(method="image", devices=devices), instance(), copy))
    assert [item["snapshot_id"] for item in planner.result(wanted, world(copy))["snapshots"]] == []


def test_a_broken_image_is_removed_and_registered_again() -> None:
    wanted = spec()
    planned = plan(wanted, instance(), snapshot(wanted), made(wanted, state="failed"))
    assert actions(planned) == ["DeregisterImage", "RegisterImage"]


def test_a_stop_under_way_is_waited_for() -> None:
    planned = plan(spec(), instance(state="stopping"))
    assert [wait.goal for wait in planned.stages[0].waits] == ["stopped"]
    assert actions(planned) == ["CreateSnapshot", "RegisterImage"]


def test_a_capture_of_other_volumes_is_refused() -> None:
    wanted = spec()
    with pytest.raises(SpecError, match=f"{SNAP}.*|capture of web/1"):
        plan(wanted, instance(), snapshot(wanted, volume_id="vol-0000000000000000f"))


# --- what exists -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["available", "captured"])
def test_an_image_that_exists_is_no_change(state: str) -> None:
    wanted = spec(state=state)
    assert plan(wanted, instance(state="running"), made(wanted)) == Plan()


@pytest.mark.parametrize("state, goal", [("available", "available"), ("captured", "captured")])
def test_a_pending_image_is_waited_for(state: str, goal: str) -> None:
    wanted = spec(state=state)
    planned = plan(wanted, instance(), made(wanted, state="pending"))
    assert planned.is_empty
    assert [wait.goal for stage in planned.stages for wait in stage.waits] == [goal]


def test_version_of_the_same_source_is_up_to_date() -> None:
    wanted = spec()
    successor = instance(NEW, state="running", image_id=AMI, tags={"ec2ops:replaces": OLD})
    image = made(wanted)
    assert plan(wanted, successor, image).is_empty, "the old id, its instance long gone"
    assert plan(spec(source_instance_id=NEW), successor, image).is_empty, "the successor's own id"
    assert plan(spec(source_instance_id=OTHER), instance(OTHER, image_id=AMI), image).is_empty, (
        "launched from this very image"
    )
    assert plan(wanted, image).is_empty, "the recorded source, terminated since, without a successor"


@pytest.mark.parametrize(
    "options",
    [
        {"source_instance_id": OTHER},
        {"devices": "all"},
        {"block_devices": [{"device_name": "/dev/xvda", "volume_size": 9}]},
    ],
)
def test_another_source_for_a_version_that_exists_is_refused(options: dict[str, Any]) -> None:
    other = instance(OTHER, block_devices=(BlockDevice("/dev/xvda", "vol-00000000000000009", True),))
    with pytest.raises(SpecError, match=f"{AMI} already exists as web/1") as caught:
        plan(spec(**options), instance(), other, made(spec()))
    assert ("bake_and_relaunch_source" in str(caught.value)) is ("source_instance_id" in options)
    with pytest.raises(SpecError, match=f"{SNAP} already exists as web/1"):
        plan(
            spec(**options),
            instance(),
            other,
            snapshot(spec(), volume_id=ROOT, tags=tagged(spec())),
            *((snapshot(spec(), SNAP2, DATA),) if options.get("devices") else ()),
        )


def test_other_options_are_refused_even_for_an_instance_from_the_image() -> None:
    successor = instance(NEW, image_id=AMI, tags={"ec2ops:replaces": OLD})
    for options in ({"devices": "all"}, {"block_devices": [{"device_name": "/dev/xvda", "volume_size": 9}]}):
        with pytest.raises(SpecError, match=f"{AMI} already exists as web/1, but it was made with other devices"):
            plan(spec(**options), successor, made(spec()))


def test_the_order_of_block_devices_does_not_matter() -> None:
    devices = [{"device_name": "/dev/xvda", "iops": 4000}, {"device_name": "/dev/sdf", "iops": 3000}]
    assert spec(block_devices=devices).fingerprint(OLD) == spec(block_devices=devices[::-1]).fingerprint(OLD)


def test_the_successor_is_baked_for_the_next_version() -> None:
    successor = instance(NEW, image_id=AMI, tags={"ec2ops:replaces": OLD})
    planned = plan(spec(version="2"), instance(), successor, made(spec()))
    assert planned.changes[0].parameters["Description"].startswith(f"web 2 from {NEW}, machine ")
    assert planner.result(spec(version="2"), world(instance(), successor))["source_instance_id"] == NEW


@pytest.mark.parametrize("source", [OLD, NEW])
@pytest.mark.parametrize(
    ("trial", "old_state", "refused"),
    [
        ("unproven", "running", True),
        ("serving", "running", True),
        ("serving", "stopped", False),
        ("serving", "pending", True),
        (None, "running", False),
        ("unproven", "terminated", False),
    ],
)
def test_unclear_serving_instance_is_not_baked(source: str, trial: str | None, old_state: str, refused: bool) -> None:
    tags = {"ec2ops:replaces": OLD, **({} if trial is None else {"ec2ops:trial": trial})}
    successor = instance(NEW, state="running", image_id=AMI, tags=tags)
    wanted = spec(source_instance_id=source, version="2", require_stopped=False)
    if refused:
        with pytest.raises(UnsafePlan, match=f"{NEW} .*was launched to replace {OLD}.*terminate {NEW}"):
            plan(wanted, successor, instance(state=old_state))
    else:
        planned = plan(wanted, successor, instance(state=old_state), made(spec()))
        assert planned.changes[0].parameters["Description"].startswith(f"web 2 from {NEW}, ")
    # The version that the successor runs from exists, whichever instance serves.
    assert plan(spec(source_instance_id=source), successor, instance(state=old_state), made(spec())).is_empty


def test_rejected_successor_is_not_baked() -> None:
    successor = instance(NEW, state="running", image_id=AMI, tags={"ec2ops:replaces": OLD, "ec2ops:trial": "rejected"})
    planned = plan(spec(version="2", require_stopped=False), successor, instance(state="running"))
    assert planned.changes[0].parameters["Description"].startswith(f"web 2 from {OLD}, ")
    with pytest.raises(UnsafePlan, match=f"terminate {NEW}"):
        plan(spec(version="2", source_instance_id=NEW, require_stopped=False), successor, instance(state="running"))


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, text",
    [
        ({"source_instance_id": "i-123"}, "source_instance_id: 'i-123' is not an id"),
        (
            {"source_instance_id": None},
            "exactly one of source_instance_id, source_snapshot_id, source_volume_id and source_image_id",
        ),
        ({"image_name": "a*b"}, "EC2 does not take 'a\\*b' as the name of an image"),
        ({"image_name": "x"}, "3 to 128 letters"),
        ({"image_name": "{date}"}, "Use {name} and {version} only"),
        ({"version": " "}, "version: a tag keeps the value, and '' has 0 characters"),
        ({"tags": {"aws:x": "1"}}, "AWS reserves keys"),
        ({"name": "(new image x)"}, "name: .* looks like a planned id"),
        (
            {"block_devices": [{"device_name": "/dev/xvda", "iops": 0}]},
            "/dev/xvda: iops 0 is too small. Use 1 or more",
        ),
        ({"block_devices": [{"device_name": "/dev/xvda", "volume_size": -3}]}, "volume_size -3"),
        ({"tags": {"ec2ops:spec": "1"}}, "this collection reserves keys"),
        ({"method": "image", "boot_mode": "uefi"}, "cannot apply boot_mode"),
        ({"block_devices": [{"device_name": "/dev/xvda", "volume_type": "gp2", "iops": 100}]}, "gp2 takes no iops"),
        ({"block_devices": [{"device_name": "/dev/a"}, {"device_name": "/dev/a"}]}, "/dev/a is listed twice"),
        ({"source_instance_id": None, "source_snapshot_id": SNAP}, "architecture, root_device_name, ena_support"),
    ],
)
def test_bad_options_are_refused_before_any_question(options: dict[str, Any], text: str) -> None:
    with pytest.raises(SpecError, match=text):
        spec(**options)


@pytest.mark.parametrize(
    "options, source, error, text",
    [
        ({}, instance(state="running"), UnsafePlan, "require_stopped: false"),
        ({}, instance(state="terminated"), SpecError, "is terminated"),
        ({}, instance(root_device_type="instance-store"), SpecError, "instance store"),
        ({}, instance(root_device_name="/dev/sda1"), SpecError, "no volume at its root device /dev/sda1"),
        (
            {"block_devices": [{"device_name": "/dev/sdz", "iops": 1}]},
            instance(),
            SpecError,
            "the image has no device /dev/sdz",
        ),
        (
            {"block_devices": [{"device_name": "/dev/xvda", "volume_size": 7}]},
            instance(),
            SpecError,
            "7 GiB is smaller than its snapshot",
        ),
        ({"block_devices": [{"device_name": "/dev/xvda", "volume_type": "io1"}]}, None, SpecError, "io1 needs iops"),
        ({"block_devices": [{"device_name": "/dev/xvda", "iops": 9000}]}, instance(), SpecError, "9000 iops on 8 GiB"),
        (
            {"method": "auto", "boot_mode": "uefi"},
            instance(product_codes=("abc",)),
            SpecError,
            "cannot apply boot_mode",
        ),
    ],
)
def test_a_source_that_cannot_be_baked_is_refused(
    options: dict[str, Any], source: Instance | None, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        plan(spec(**options), source or instance())


def test_a_missing_source_is_named() -> None:
    with pytest.raises(SpecError, match=f"{OLD} does not exist in {REGION}"):
        plan(spec())


def test_a_running_source_is_taken_with_consent() -> None:
    planned = plan(spec(require_stopped=False), instance(state="running"))
    assert "crash-consistent" in planned.changes[0].reason


def test_metadata_options_decide_imds_of_a_gone_image() -> None:
    for tokens, expected in (("required", "v2.0"), ("optional", None)):
        planned = plan(spec(), instance(facts={"MetadataOptions": {"HttpTokens": tokens}}), base=False)
        assert planned.changes[-1].parameters.get("ImdsSupport") == expected
        (note,) = planned.warnings
        assert BASE in note
    given = plan(spec(imds_support="none"), instance(), base=False)
    assert "ImdsSupport" not in given.changes[-1].parameters
    assert given.warnings == ()


def test_foreign_image_of_the_name_is_named() -> None:
    with pytest.raises(SpecError, match=f"'web-1' is the name of {AMI}"):
        plan(spec(), instance(), Image(image_id=AMI, name="web-1", owner_id=OWNER))
    public = Image(image_id=AMI, name="web-1", owner_id="999999999999")
    assert not plan(spec(), instance(), public).is_empty, "names are unique per account"


def test_two_images_of_one_version_are_ambiguous() -> None:
    with pytest.raises(Ambiguous, match=rf"\(tags .*\): {AMI}, {AMI2}\. Deregister the wrong ones$"):
        plan(spec(), instance(), made(spec()), made(spec(), AMI2))


# --- absent ----------------------------------------------------------------------------------------------------------


def absent(**options: Any) -> planner.ImageSpec:
    return spec(state="absent", source_instance_id=None, **options)


def test_absent_removes_the_image_and_its_own_snapshots() -> None:
    image = made(spec(), block_devices=(ImageDevice("/dev/xvda", SNAP), ImageDevice("/dev/sdf", SNAP3)))
    strange = Snapshot(snapshot_id=SNAP3, volume_id=DATA)
    planned = plan(absent(), image, snapshot(spec()), snapshot(spec(), SNAP2), strange)
    assert [(change.action, change.resource) for change in planned.changes] == [
        ("DeregisterImage", AMI),
        ("DeleteSnapshot", SNAP),
        ("DeleteSnapshot", SNAP2),
    ], f"{SNAP3} was not made for this version"
    assert len(planned.stages) == 2, "EC2 refuses to delete a snapshot while its image is registered"


def test_absent_keeps_snapshots_of_another_image() -> None:
    other = Image(
        image_id=AMI2, name="copy", owner_id=OWNER, state="disabled", block_devices=(ImageDevice("/dev/xvda", SNAP),)
    )
    planned = plan(absent(), made(spec(), block_devices=(ImageDevice("/dev/xvda", SNAP),)), snapshot(spec()), other)
    assert actions(planned) == ["DeregisterImage"]
    assert SNAP in planned.warnings[0] and AMI2 in planned.warnings[0]


def test_absent_is_refused_while_the_image_is_used_unless_forced() -> None:
    users = USERS.fact(AMI, (f"arn:aws:ec2:{REGION}:{OWNER}:instance/{OTHER}",))
    with pytest.raises(UnsafePlan, match=OTHER):
        plan(absent(), made(spec()), users)
    assert actions(plan(absent(force=True), made(spec()), users)) == ["DeregisterImage"]


def test_absent_leaves_a_copy_that_the_image_does_not_use() -> None:
    copy = snapshot(spec(), SNAP3, "vol-ffffffff")
    planned = plan(absent(), made(spec(), block_devices=(ImageDevice("/dev/xvda", SNAP),)), snapshot(spec()), copy)
    assert [change.resource for change in planned.changes] == [AMI, SNAP]
    (warning,) = planned.warnings
    assert SNAP3 in warning
    # An image that was copied to the region is made of copies, and is kept too.
    copied = made(spec(), block_devices=(ImageDevice("/dev/xvda", SNAP3),))
    planned = plan(absent(), copied, copy)
    assert planned.is_empty
    assert AMI in planned.warnings[0]


def test_image_of_copied_snapshots_is_a_copy_unless_its_description_names_the_source() -> None:
    copy = snapshot(spec(), SNAP3, "vol-ffffffff", tags={})
    devices = (ImageDevice("/dev/xvda", SNAP3),)
    original = made(spec(), block_devices=(ImageDevice("/dev/xvda", SNAP),))
    assert plan(spec(), original, made(spec(), AMI2, block_devices=devices), copy).is_empty
    hardware = {"architecture": "arm64", "root_device_name": "/dev/xvda", "ena_support": True}
    own = spec(source_instance_id=None, source_snapshot_id=SNAP3, **hardware)
    registered = made(own, block_devices=devices, facts={"Description": f"web 1 from {SNAP3}"})
    assert actions(plan(absent(), registered, copy)) == ["DeregisterImage"]
    recorded = made(spec(), AMI2, facts={"SourceImageId": AMI})
    assert plan(spec(), original, recorded).is_empty


def test_two_images_ask_for_their_snapshots_before_they_are_ambiguous() -> None:
    images = [made(spec(), image_id, block_devices=(ImageDevice("/dev/xvda", SNAP),)) for image_id in (AMI, AMI2)]
    state = State(REGION)
    answers: tuple[Resource, ...] = (instance(), *images)
    state = state.with_answers(dict.fromkeys(asks(planner.FEATURE, spec(), state), answers))
    (asked_then,) = asks(planner.FEATURE, spec(), state)
    assert (asked_then.operation, asked_then.filters) == ("DescribeSnapshots", (("snapshot-id", (SNAP,)),))
    with pytest.raises(Ambiguous):
        planner.plan(spec(), state.with_answers({asked_then: ()}), NOW)


@pytest.mark.parametrize("force", [False, True])
def test_absent_is_refused_for_a_protected_image(force: bool) -> None:
    for value in ("enabled-with-cooldown", "enabled-without-cooldown"):
        with pytest.raises(UnsafePlan, match=f"{AMI} .web/1. has deregistration protection"):
            plan(absent(force=force), made(spec(), facts={"DeregistrationProtection": value}))
    for value in ("disabled", None):
        assert plan(absent(force=force), made(spec(), facts={"DeregistrationProtection": value})).changes


def test_absent_finishes_an_interrupted_removal() -> None:
    assert actions(plan(absent(), snapshot(spec()))) == ["DeleteSnapshot"]
    assert plan(absent()).is_empty


# --- questions -------------------------------------------------------------------------------------------------------


def asked(wanted: planner.ImageSpec, resources: Iterable[Resource]) -> list[Query]:
    """Every query the planner makes when the world holds *resources*, which answer the query that they belong to."""
    known = tuple(resources)
    _state, queries = answered(planner.FEATURE, wanted, lambda _query: known, State(REGION))
    return queries


def test_run_without_changes_asks_four_queries() -> None:
    """The snapshots prove which volumes the image was made from; they are asked for side by side with the image."""
    queries = asked(spec(), [instance(), made(spec())])
    expected = ["DescribeImages", "DescribeInstances", "DescribeInstances", "DescribeSnapshots"]
    assert sorted(query.operation for query in queries) == expected


def test_bake_asks_seven_queries_and_a_capture_five() -> None:
    everything = [instance(state="running"), BASE_IMAGE, *VOLUMES]
    assert len(asked(spec(), everything)) == 7
    assert len(asked(spec(state="captured"), everything)) == 4
    assert len(asked(spec(), [*everything, snapshot(spec())])) == 7, "the image may be there without its tags"
    stopped = [instance(), BASE_IMAGE, *VOLUMES]
    assert len(asked(spec(), stopped)) == 8, "a source that is off may have a successor that has lost its tag"


def test_id_of_a_known_living_instance_saves_a_query() -> None:
    literal = spec(follow_successor=False)
    assert [query.operation for query in asked(literal, [instance(), made(literal)])] == [
        "DescribeImages",
        "DescribeInstances",
        "DescribeSnapshots",
    ]
    successor = instance(NEW, tags={"ec2ops:replaces": OLD})
    assert planner.result(literal, world(instance(), successor))["source_instance_id"] == OLD


# --- properties ------------------------------------------------------------------------------------------------------


def settled(planned: Plan, state: State) -> State:
    return overlay(state, planned.published())


@given(
    devices=st.sampled_from(["root", "all"]),
    platform=st.sampled_from(["Linux/UNIX", "Windows"]),
    captures=st.lists(st.sampled_from(["completed", "pending", "error"]), max_size=3),
    broken=st.booleans(),
    state=st.sampled_from(["available", "captured"]),
    order=st.randoms(use_true_random=False),
)
def test_planning_again_after_the_plan_plans_nothing(
    devices: str, platform: str, captures: list[str], broken: bool, state: str, order: random.Random
) -> None:
    wanted = spec(devices=devices, state=state)
    ids = [SNAP, SNAP2, SNAP3]
    found: list[Resource] = [instance(platform_details=platform)]
    for number, snapshot_state in enumerate(captures):
        found.append(snapshot(wanted, ids[number], minute=number, state=snapshot_state))
        if devices == "all":
            found.append(
                snapshot(wanted, ids[number].replace("snap-0", "snap-f"), DATA, minute=number, state=snapshot_state)
            )
    if broken:
        found.append(made(wanted, state="failed"))
    straight = plan(wanted, *found)
    order.shuffle(found)
    assert plan(wanted, *found) == straight, "the order of EC2's answers decides nothing"
    after = settled(straight, world(*found))
    again = planner.plan(wanted, after, NOW)
    assert again.is_empty
    if state == "available":
        assert planner.result(wanted, after)["image"]["state"] == "available"
    kept = list(after.all(Snapshot))
    assert len(kept) == {"root": 1, "all": 2}[devices]
    # CreateImage takes snapshots of its own, so none of the earlier ones stays.
    assert platform != "Windows" or not {item.snapshot_id for item in kept} & {item.resource_id for item in found}


def test_source_volume_of_an_unknown_type_is_refused_by_name() -> None:
    """A type that EBS has got since this version. An override names one that the version knows."""
    new_type = Volume(volume_id=ROOT, size=8, volume_type="gp9", iops=3000, throughput=125)
    with pytest.raises(SpecError, match="'gp9' is not a volume type"):
        plan(spec(), instance(), new_type)
    planned = plan(spec(block_devices=[{"device_name": "/dev/xvda", "volume_type": "gp3"}]), instance(), new_type)
    assert planned.changes[-1].parameters["BlockDeviceMappings"][0]["Ebs"]["VolumeType"] == "gp3"
