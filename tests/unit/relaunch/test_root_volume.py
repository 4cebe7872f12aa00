# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for a new root volume, by the remains of earlier runs, and the choice of a strategy."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._features.relaunch import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError, UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import client_token
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.instance_proofs import (
    is_launched_to_replace,
    launch_identity,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Image,
    ImageDevice,
    Instance,
    Resource,
    Snapshot,
    Volume,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import (
    ROOT_TASKS,
    TAKES_ROOT_VOLUME,
    RootTask,
)

from relaunch_world import (
    AMI,
    AMI2,
    BASE,
    DATA,
    FACTS,
    HELD,
    IMAGE,
    INTERFACE,
    NOW,
    OLD,
    REGION,
    ROOT,
    TAG,
    guard,
    successor,
    world,
)
from relaunch_world import spec as any_spec

ROOT_OF, LAUNCH_IMAGE = "ec2ops:root-of", "ec2ops:launch-image"
SNAP, OTHER_ROOT = IMAGE.block_devices[0].snapshot_id, "vol-9"
VERSIONED = dataclasses.replace(IMAGE, tags={"ec2ops:image": "web", "ec2ops:version": "2"})


def spec(**options: Any) -> planner.RelaunchSpec:
    return any_spec(**{"strategy": "replace_root_volume", "old_instance": None, "old_root_volume": None, **options})


def pet(root: str = ROOT, minutes: float = 1440.0, **fields: Any) -> Instance:
    """An instance with a root volume that was attached so many minutes ago, and a data volume."""
    since = NOW - timedelta(minutes=minutes)
    devices = (BlockDevice("/dev/xvda", root, True), BlockDevice("/dev/sdf", DATA, False))
    mapping = [{"DeviceName": "/dev/xvda", "Ebs": {"VolumeId": root, "AttachTime": since}}]
    facts = {**FACTS, "BlockDeviceMappings": mapping, **fields.pop("facts", {})}
    values: dict[str, Any] = {
        "image_id": BASE,
        "instance_type": "m5.large",
        "availability_zone": f"{REGION}a",
        "launch_time": NOW - timedelta(days=30),
        "root_device_name": "/dev/xvda",
        "block_devices": devices,
        "tags": {"Name": "db"},
    }
    return Instance(OLD, facts=facts, **{**values, **fields})


def task(state: str = "succeeded", image: str | None = AMI, minutes: float = 5, number: int = 1) -> RootTask:
    began = NOW - timedelta(minutes=minutes)
    over = began + timedelta(minutes=1) if state == "succeeded" else None
    return RootTask(f"replacevol-{number}", state, image, None, began, over, {"Name": "root", "ec2ops:version": "2"})


def replaced(marked: bool, *, minutes: float = 4.5, image: str = AMI) -> tuple[Resource, ...]:
    """An instance after a task that has exchanged its root volume."""
    tags = {ROOT_OF: OLD} if marked else {}
    return (
        pet(OTHER_ROOT, minutes, image_id=image),
        Volume(OTHER_ROOT, snapshot_id=SNAP, availability_zone=f"{REGION}a", tags=tags),
    )


def made(wanted: planner.RelaunchSpec, *there: Resource, tasks: tuple[RootTask, ...] = (), **more: Any) -> Plan:
    image: Image | None = more.get("image", VERSIONED)
    facts = (ROOT_TASKS.fact(OLD, tasks), TAKES_ROOT_VOLUME.fact(more.get("takes", True)))
    known = world(*there, *facts, image=image)
    kept = [item for item in known.resources.values() if item.resource_id != ROOT]
    zone = f"{REGION}a"
    root = more.get("root", Volume(ROOT, snapshot_id="snap-b", size=8, availability_zone=zone, tags={"team": "x"}))
    resources = {item.resource_id: item for item in (*kept, root)}
    return guard(planner.plan(wanted, dataclasses.replace(known, resources=resources), NOW))


def actions(plan: Plan) -> list[str]:
    return [change.action for change in plan.changes]


def test_plan_names_the_task_and_marks_the_root_once_the_instance_is_healthy() -> None:
    plan = made(spec(), pet())
    assert actions(plan) == ["CreateTags", "CreateTags", "CreateReplaceRootVolumeTask", "CreateTags"]
    old, instance, new, mark = plan.changes
    assert (old.resource, old.parameters["Tags"]) == (ROOT, [{"Key": ROOT_OF, "Value": OLD}])
    assert instance.parameters["Tags"] == [{"Key": LAUNCH_IMAGE, "Value": BASE}]
    assert new.parameters["ImageId"] == AMI
    assert new.parameters["DeleteReplacedRootVolume"] is False
    tags = {tag["Key"]: tag["Value"] for tag in mark.parameters["Tags"]}
    assert tags == {"team": "x", "ec2ops:image": "web", "ec2ops:version": "2", ROOT_OF: OLD}
    goals = [wait.goal for stage in plan.stages for wait in stage.waits]
    assert goals == ["root_replaced", "healthy"]
    assert any("lacks the writes" in text for text in plan.warnings)


def test_the_former_root_is_deleted_only_on_request_and_after_the_proof() -> None:
    assert actions(made(spec(old_root_volume="delete"), pet()))[-3:] == [
        "CreateReplaceRootVolumeTask",
        "DeleteVolume",
        "CreateTags",
    ]
    kept = Volume("vol-8", state="available", tags={ROOT_OF: OLD})
    for tasks in ((), (task(image=AMI2),)):
        plan = made(spec(old_root_volume="delete"), pet(), kept, tasks=tasks)
        assert [change.resource for change in plan.changes if change.action == "DeleteVolume"] == [ROOT]


TAKEN = Snapshot(str(SNAP), volume_id=ROOT, owner_id="1")
FORMER = Volume(
    ROOT, state="available", snapshot_id="snap-b", availability_zone=f"{REGION}a", tags={ROOT_OF: OLD, "team": "x"}
)
LOST = dataclasses.replace(FORMER, volume_id="vol-8")
REPEAT, MARK = ["CreateReplaceRootVolumeTask", "CreateTags"], ["CreateTags"]


@pytest.mark.parametrize(
    ("there", "tasks", "wanted"),
    [
        pytest.param((pet(),), (task("pending", minutes=0.1),), REPEAT, id="task under way, old root shown"),
        pytest.param(replaced(False, minutes=0.05), (task("in-progress", minutes=0.1),), REPEAT, id="task in progress"),
        pytest.param(replaced(False), (task(),), MARK, id="succeeded, not marked"),
        pytest.param(replaced(False, image=BASE), (task(),), MARK, id="succeeded, EC2 shows the image of the launch"),
        pytest.param(replaced(True), (task(),), [], id="marked"),
        pytest.param(replaced(True, image=BASE), (task(),), [], id="marked, EC2 shows the image of the launch"),
        pytest.param(replaced(False), (), [], id="launched from the image"),
    ],
)
def test_remains_of_a_run_are_finished(
    there: tuple[Resource, ...], tasks: tuple[RootTask, ...], wanted: list[str]
) -> None:
    plan = made(spec(), *there, TAKEN, tasks=tasks)
    assert actions(plan) == wanted
    tagged = [
        dataclasses.replace(item, tags={**item.tags, LAUNCH_IMAGE: BASE}) if isinstance(item, Instance) else item
        for item in there
    ]
    assert actions(made(spec(strategy="auto"), *tagged, TAKEN, tasks=tasks)) == wanted


def test_a_repeated_call_has_the_token_and_the_tags_of_the_task_under_way() -> None:
    first = next(change for change in made(spec(), pet()).changes if change.creates)
    (again, *_rest) = made(spec(), pet(), TAKEN, tasks=(task("pending", minutes=0.1),)).changes
    assert (again.token, again.rehearsed) == (first.token, False)
    tags = again.parameters["TagSpecifications"][0]["Tags"]
    assert tags == [{"Key": "Name", "Value": "root"}, {"Key": "ec2ops:version", "Value": "2"}]


@pytest.mark.parametrize(
    "tasks",
    [(task("failed"),), (task(), task(image=None, minutes=2, number=2)), (task(image=AMI2),)],
    ids=["failed", "rolled back", "another version"],
)
def test_a_new_attempt_has_a_new_token(tasks: tuple[RootTask, ...]) -> None:
    minutes = 1.5 if len(tasks) > 1 else 4.5
    shown = AMI if tasks[0].state == "succeeded" else BASE
    plan = made(spec(), pet(minutes=minutes, image_id=shown), tasks=tasks)
    change = next(change for change in plan.changes if change.creates)
    assert change.token == ("replace-root", OLD, AMI, tasks[-1].task_id)


@pytest.mark.parametrize(
    ("taken", "minutes", "deletes", "rolls_back"),
    [
        (TAKEN, 5, True, True),
        # The tag points to a volume, and no fact says that the image was captured from it.
        (dataclasses.replace(TAKEN, volume_id=DATA), 5, False, False),
        (TAKEN, 3000, False, False),
    ],
    ids=["proven", "forged", "too old"],
)
def test_former_root_of_an_interrupted_run_needs_a_proof(
    taken: Snapshot, minutes: float, deletes: bool, rolls_back: bool
) -> None:
    there = replaced(False, minutes=minutes - 0.5)
    wanted = spec(old_root_volume="delete")
    plan = made(wanted, *there, taken, tasks=(task(minutes=minutes),), root=FORMER)
    assert ("DeleteVolume" in actions(plan)) is deletes
    assert any(stage.on_failure for stage in plan.stages) is rolls_back
    assert bool(plan.warnings) is not deletes


def test_a_hold_ends_before_the_task_and_a_foreign_one_refuses_it() -> None:
    facts = {"StateTransitionReason": f"User initiated ({NOW - timedelta(minutes=9):%Y-%m-%d %H:%M:%S} GMT)"}
    held = pet(state="stopped", tags={TAG: HELD}, facts=facts)
    assert actions(made(spec(), held))[:2] == ["StartInstances", "DeleteTags"]
    with pytest.raises(UnsafePlan, match="another run is about to stop it"):
        made(spec(), pet(tags={TAG: HELD}))
    with pytest.raises(UnsafePlan, match="is stopped, and EC2 replaces the root volume of a running instance only"):
        made(spec(), pet(state="stopped"))


@pytest.mark.parametrize(
    ("there", "tasks", "message"),
    [
        (
            (pet(),),
            (task("in-progress", AMI2, 0.1),),
            "EC2 replaces the root volume of .* now .replacevol-1, from ami-",
        ),
        ((pet(),), (task("in-progress", None, 0.1),), "from a volume, in-progress"),
        (
            (pet(block_devices=()), LOST),
            (task("failed-detached"),),
            r"attach its former root .* vol-8 .available",
        ),
        ((pet(tags={"aws:autoscaling:groupName": "web"}),), (), "Auto Scaling group web"),
        ((pet(product_codes=("abc",)),), (), "product codes none, and .* has abc"),
        ((pet(usage_operation="RunInstances:0002"),), (), "usage operation RunInstances, and .* has RunInstances:0002"),
    ],
)
def test_what_ec2_would_refuse_is_refused_before_the_first_change(
    there: tuple[Resource, ...], tasks: tuple[RootTask, ...], message: str
) -> None:
    image = dataclasses.replace(VERSIONED, usage_operation="RunInstances")
    with pytest.raises(UnsafePlan, match=message):
        made(spec(), *there, tasks=tasks, image=image)


def test_lose_writes_false_is_refused() -> None:
    with pytest.raises(UnsafePlan, match="lose_writes: EC2 replaces"):
        made(spec(lose_writes=False), pet())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overrides": {"instance_type": "m5.xlarge"}}, "overrides.instance_type: "),
        ({"overrides": {"tags": {"a": "b"}}}, "overrides.tags: "),
        ({"overrides": {"user_data": "drop"}}, "overrides.user_data: "),
        ({"old_instance": "stop"}, "old_instance: stop does not fit "),
        ({"strategy": "replace_instance", "old_root_volume": "keep"}, "old_root_volume: "),
    ],
)
def test_options_of_another_strategy_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        spec(**options)


def test_values_that_change_nothing_are_accepted() -> None:
    assert spec(overrides={"user_data": "keep", "tags": None}).unfit_for_root == ()


def test_old_botocore_takes_a_snapshot_and_passes_over_earlier_ones() -> None:
    left = Snapshot("snap-7", volume_id=ROOT, description=f"root {ROOT} of {OLD} before {AMI}", tags={ROOT_OF: OLD})
    plan = made(spec(), pet(), TAKEN, left, takes=False)
    (rescue,) = (change for change in plan.changes if change.action == "CreateSnapshot")
    assert rescue.passed_over == {"snap-7"}
    gone = [change.resource for change in plan.changes if change.action == "DeleteSnapshot"]
    assert gone == [rescue.resource, "snap-7"]
    assert actions(made(spec(), *replaced(True), TAKEN, left, tasks=(task(),), takes=False)) == ["DeleteSnapshot"]
    with pytest.raises(UnsafePlan, match="bake another version"):
        made(spec(), pet(), dataclasses.replace(TAKEN, volume_id=DATA), takes=False)
    assert "CreateSnapshot" not in actions(made(spec(on_failure="keep"), pet(), takes=False))


_SECOND = {**INTERFACE, "NetworkInterfaceId": "eni-00000000000000002", "Attachment": {"DeviceIndex": 1}}
TWO = {"NetworkInterfaces": [INTERFACE, _SECOND]}
TWO_FAST = {"NetworkInterfaces": [INTERFACE, {**_SECOND, "InterfaceType": "efa"}]}
SECONDARY = {
    "NetworkInterfaces": [
        {
            **INTERFACE,
            "PrivateIpAddresses": [
                {"PrivateIpAddress": "10.0.0.7", "Primary": True},
                {"PrivateIpAddress": "10.0.0.8", "Primary": False},
            ],
        }
    ]
}


@pytest.mark.parametrize(
    ("facts", "options", "strategy", "why"),
    [
        ({}, {}, "replace_instance", "a successor can take over everything"),
        ({}, {"old_instance": "terminate"}, "replace_instance", "a successor can take over everything"),
        (TWO, {}, "replace_instance", "a successor can take over everything"),
        (TWO_FAST, {}, "replace_root_volume", "network_interfaces: eni-00000000000000002 is of type efa"),
        (SECONDARY, {}, "replace_root_volume", "secondary addresses"),
        ({"SourceDestCheck": False}, {}, "replace_instance", "a successor can take over everything"),
        ({}, {"data_volumes": None}, "replace_instance", "a successor can take over everything"),
        (
            {},
            {"data_volumes": None, "old_instance": "keep", "strategy": "auto"},
            "",
            f"data_volumes: {OLD} has data volumes /dev/sdf",
        ),
    ],
)
def test_auto_takes_the_first_strategy_without_an_obstacle(
    facts: dict[str, Any], options: dict[str, Any], strategy: str, why: str
) -> None:
    given = {"strategy": "auto", **options}
    if not strategy:
        # A predecessor that is kept keeps its data volumes, and a root volume has no predecessor.
        with pytest.raises(UnsafePlan, match=why):
            made(spec(**given), pet(facts=facts))
        return
    plan = made(spec(**given), pet(facts=facts))
    assert plan.report.result["strategy"] == strategy
    assert why in plan.report.result["strategy_reason"]
    assert ("RunInstances" in actions(plan)) is (strategy == "replace_instance")


def test_auto_refuses_with_every_obstacle() -> None:
    with pytest.raises(UnsafePlan) as caught:
        made(spec(strategy="auto", old_instance="keep", overrides={"key_name": "x"}), pet(facts=TWO, state="stopped"))
    for text in (
        "network_interfaces: i-",
        "overrides.key_name",
        "old_instance: keep does not fit",
        "is stopped, and EC2",
    ):
        assert text in str(caught.value)


def test_a_rolled_back_root_is_not_taken_for_the_image_that_ec2_shows() -> None:
    there = (pet(minutes=1.5, image_id=AMI, tags={LAUNCH_IMAGE: BASE}),)
    tasks = (task(), task(image=None, minutes=2, number=2))
    for strategy in ("auto", "replace_instance"):
        assert actions(made(spec(strategy=strategy), *there, tasks=tasks))[-3:] != []
    assert "RunInstances" in actions(made(spec(strategy="replace_instance"), *there, tasks=tasks))


def test_the_tag_of_the_launch_image_points_and_the_token_proves() -> None:
    token = client_token(launch_identity(OLD, AMI))
    new = successor(image_id=AMI2)
    facts = {**new.facts, "ClientToken": token}
    assert not is_launched_to_replace(dataclasses.replace(new, facts=facts), OLD)
    tagged = dataclasses.replace(new, facts=facts, tags={**new.tags, LAUNCH_IMAGE: AMI})
    assert is_launched_to_replace(tagged, OLD)
    assert not is_launched_to_replace(dataclasses.replace(tagged, facts={**facts, "ClientToken": "x"}), OLD)


def test_data_volumes_of_the_image_are_named_as_not_used() -> None:
    extra = ImageDevice("/dev/sdf", "snap-d", 100)
    image = dataclasses.replace(VERSIONED, block_devices=(*IMAGE.block_devices, extra))
    assert any("it makes no data volumes from" in text for text in made(spec(), pet(), image=image).warnings)
