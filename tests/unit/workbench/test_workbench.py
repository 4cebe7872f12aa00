# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The planner of `image_workbench`: the phase of a version, and the steps of each request in it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.image_versions import source_hash
from ansible_collections.ec2ops.storage.plugins.module_utils._features.workbench import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._features.workbench.spec import WorkbenchSpec, parse
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError, StorageError, UnsafePlan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import client_token
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan, guard
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.prediction import overlay
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import (
    BlockDevice,
    Image,
    ImageDevice,
    Instance,
    Resource,
    Snapshot,
    Volume,
    VolumeAttachment,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import State

NOW = datetime(2026, 11, 24, tzinfo=UTC)
REGION, ZONE = "eu-central-1", "eu-central-1a"
SOURCE, ROOT, DATA = "ami-00000000000000001", "snap-00000000000000001", "snap-00000000000000002"
OWN, USERS, OTHER = "i-00000000000000001", "i-00000000000000002", "i-00000000000000003"
VOLUME, CAPTURE, MADE = "vol-00000000000000001", "snap-00000000000000003", "ami-00000000000000002"
LAUNCH = {"instance_type": "t3.micro", "availability_zone": ZONE}
GIVEN: dict[str, Any] = {
    "name": "web",
    "version": "2",
    "state": "present",
    "source_image_id": SOURCE,
    "launch": LAUNCH,
    "discard": False,
}
TAGS = {"ec2ops:image": "web", "ec2ops:version": "2"}
IMAGE = Image(
    SOURCE,
    name="web-1",
    root_device_name="/dev/xvda",
    virtualization_type="hvm",
    platform_details="Linux/UNIX",
    block_devices=(ImageDevice("/dev/xvda", ROOT, 8), ImageDevice("/dev/sdf", DATA, 20)),
)
USUAL = (IMAGE, Snapshot(ROOT, volume_size=8), Snapshot(DATA, volume_size=20))


def spec(**more: Any) -> WorkbenchSpec:
    return parse({**GIVEN, **more}, REGION)


def own(state: str = "running", **more: Any) -> Instance:
    """The instance that the workbench launched."""
    token = client_token(spec().launch_identity, 1)
    values: dict[str, Any] = {"availability_zone": ZONE, "root_device_name": "/dev/xvda", "tags": TAGS, **more}
    return Instance(OWN, state=state, facts={"ClientToken": token}, **values)


def users(state: str = "running") -> Instance:
    return Instance(USERS, state=state, availability_zone=ZONE, root_device_name="/dev/xvda")


def volume(holder: str = "", status: str = "attached", **more: Any) -> Volume:
    """The workbench's volume, attached to *holder*."""
    links = (VolumeAttachment(holder, "/dev/sdf", status),) if holder else ()
    values: dict[str, Any] = {
        "state": "in-use" if holder else "available",
        "snapshot_id": ROOT,
        "availability_zone": ZONE,
        "size": 8,
        "attachments": links,
        "tags": {**TAGS, "ec2ops:workbench": SOURCE},
        **more,
    }
    return Volume(VOLUME, **values)


def fingerprint() -> dict[str, str]:
    return {**TAGS, "ec2ops:fingerprint": f"{source_hash('volume', SOURCE)}-shape"}


def capture(**more: Any) -> Snapshot:
    return Snapshot(CAPTURE, volume_id=VOLUME, description=f"web 2 from {SOURCE}", tags=fingerprint(), **more)


def made(state: str = "available", **more: Any) -> Image:
    devices = (ImageDevice("/dev/xvda", CAPTURE, 8),)
    return Image(
        MADE, name="web-2", state=state, root_device_name="/dev/xvda", block_devices=devices, tags=fingerprint(), **more
    )


def known(*resources: Resource, usual: tuple[Resource, ...] = USUAL) -> State:
    return State(REGION).with_resources([*usual, *resources])


def plan(there: State, /, **more: Any) -> Plan:
    return guard(planner.plan(spec(**more), there, NOW))


def actions(there: State, /, **more: Any) -> list[str]:
    return [change.action for change in plan(there, **more).changes]


def phase(state: State) -> str:
    return str(planner.result(spec(), state)["phase"])


NAMED: dict[str, Any] = {"instance_id": USERS, "launch": None}
OPENED = ("RunInstances", "CreateVolume", "AttachVolume")
CASES = [
    # resources, phase, the steps of: present, detached, absent with discard
    ((), "absent", OPENED, None, ()),
    ((own(),), "absent", OPENED[1:], None, ("TerminateInstances",)),
    ((volume(),), "detached", ("RunInstances", "AttachVolume"), (), ("DeleteVolume",)),
    (
        (own("stopped"), volume()),
        "detached",
        ("StartInstances", "AttachVolume"),
        ("TerminateInstances",),
        ("TerminateInstances", "DeleteVolume"),
    ),
    (
        (own(), volume(OWN)),
        "open",
        (),
        ("StopInstances", "DetachVolume", "TerminateInstances"),
        ("TerminateInstances", "DeleteVolume"),
    ),
    (
        (own("stopped"), volume(OWN)),
        "open",
        ("DetachVolume", "StartInstances", "AttachVolume"),
        ("DetachVolume", "TerminateInstances"),
        ("TerminateInstances", "DeleteVolume"),
    ),
    (
        (own("stopping"), volume(OWN, "detaching")),
        "open",
        ("StartInstances", "AttachVolume"),
        ("TerminateInstances",),
        ("TerminateInstances", "DeleteVolume"),
    ),
    (
        (own("pending"), volume(OWN, "attaching")),
        "open",
        (),
        ("StopInstances", "DetachVolume", "TerminateInstances"),
        None,
    ),
    ((volume(), capture()), "captured", (), (), ("DeleteVolume",)),
    ((capture(),), "captured", (), (), ()),
    ((volume(), capture(), made()), "registered", (), (), ("DeleteVolume",)),
    ((volume(), capture(), made("pending")), "registered", (), (), ("DeleteVolume",)),
    ((capture(), made()), "registered", (), (), ()),
    ((volume(), capture(state="error")), "detached", ("RunInstances", "AttachVolume"), (), ("DeleteVolume",)),
    ((volume(), capture(), made("failed")), "captured", (), (), ("DeleteVolume",)),
]


@pytest.mark.parametrize(("resources", "wanted", "present", "detached", "absent"), CASES)
def test_phase_and_request_decide_the_steps(
    resources: tuple[Resource, ...], wanted: str, present: Any, detached: Any, absent: Any
) -> None:
    state = known(*resources)
    assert phase(state) == wanted
    assert actions(state) == list(present)
    if detached is None:
        assert "has no volume" in refusal(state, state="detached")
    else:
        assert actions(state, state="detached") == list(detached)
    if absent is not None:
        assert actions(state, state="absent", discard=True) == list(absent)


@pytest.mark.parametrize("more", [{}, {"state": "detached"}, {"state": "absent", "discard": True}])
@pytest.mark.parametrize("resources", [row[0] for row in CASES])
def test_nothing_is_left_to_do_in_the_predicted_state(resources: tuple[Resource, ...], more: dict[str, Any]) -> None:
    state = known(*resources)
    try:
        foreseen = plan(state, **more)
    except StorageError:
        return
    after = overlay(state, foreseen.published(), everywhere=True)
    assert plan(after, **more).is_empty


def refusal(there: State, /, **more: Any) -> str:
    with pytest.raises((SpecError, UnsafePlan)) as refused:
        plan(there, **more)
    return str(refused.value)


def test_users_instance_only_gets_and_loses_the_volume() -> None:
    assert actions(known(users()), **NAMED) == ["CreateVolume", "AttachVolume"]
    open_ = known(users(), volume(USERS))
    assert actions(open_, **NAMED) == []
    assert actions(open_, state="detached", **NAMED) == ["DetachVolume"]
    assert actions(open_, state="absent", discard=True, **NAMED) == ["DetachVolume", "DeleteVolume"]


def test_volume_with_content_in_no_image_is_kept() -> None:
    for resources in ((volume(),), (volume(), capture()), (volume(), capture(), made("pending"))):
        message = refusal(known(*resources), state="absent")
        assert message.startswith(f"state: no available image of web/2 has the content of {VOLUME}.")
    # The image was made from another volume.
    other = replace(capture(), volume_id="vol-00000000000000009")
    assert VOLUME in refusal(known(volume(), other, made()), state="absent")
    assert actions(known(volume(), capture(), made()), state="absent") == ["DeleteVolume"]


@pytest.mark.parametrize("holder", [OWN, USERS])
@pytest.mark.parametrize("image", [(), (made(),)])
def test_volume_attached_after_its_snapshot_is_kept(holder: str, image: tuple[Resource, ...]) -> None:
    named = NAMED if holder == USERS else {}
    bearer = own() if holder == OWN else users()

    def world(attached: datetime) -> State:
        shown = [{"DeviceName": "/dev/sdf", "Ebs": {"VolumeId": VOLUME, "AttachTime": attached}}]
        instance = replace(bearer, facts={**bearer.facts, "BlockDeviceMappings": shown})
        return known(instance, volume(holder), capture(start_time=NOW), *image)

    later = world(NOW + timedelta(minutes=1))
    for request in ("detached", "absent"):
        message = refusal(later, state=request, **named)
        assert message.startswith(f"{VOLUME} of the workbench of web/2 was attached to {holder} after its snapshot")
    assert "DeleteVolume" in actions(later, state="absent", discard=True, **named)
    # The attachment of the development is older than the snapshot.
    before = world(NOW - timedelta(minutes=1))
    assert "DetachVolume" in actions(before, state="detached", **named)
    if image:
        assert "DeleteVolume" in actions(before, state="absent", **named)


@pytest.mark.parametrize("state", ["detached", "absent"])
def test_termination_looks_again_for_volumes_that_came_after_the_launch(state: str) -> None:
    (end,) = (
        one
        for one in plan(known(own(), volume(OWN)), state=state, discard=state == "absent").changes
        if one.action == "TerminateInstances"
    )
    assert end.provided is not None
    assert end.provided.query.filters == (("instance-id", (OWN,)),)

    def objection(minutes: int, volume_id: str) -> str:
        moments = {"vol-root": NOW, volume_id: NOW + timedelta(minutes=minutes)}
        rows = [{"Ebs": {"VolumeId": name, "AttachTime": moment}} for name, moment in moments.items()]
        devices = (BlockDevice("/dev/xvda", "vol-root", True), BlockDevice("/dev/sdk", volume_id, True))
        shown = replace(own("stopped"), block_devices=devices, facts={"BlockDeviceMappings": rows})
        assert end.provided is not None
        return end.provided.objection((shown,), OWN)

    assert objection(0, "vol-late") == ""
    assert f"does not terminate {OWN}, since EC2 would also delete vol-late (/dev/sdk)" in objection(5, "vol-late")
    # Only the removal of the workbench deletes its volume anyway.
    assert bool(objection(5, VOLUME)) is (state == "detached")


def test_launch_has_no_data_volumes_and_no_root_that_stays() -> None:
    (launch, creation, attachment) = plan(known()).changes
    assert launch.parameters["BlockDeviceMappings"] == [
        {"DeviceName": "/dev/xvda", "Ebs": {"DeleteOnTermination": True}},
        {"DeviceName": "/dev/sdf", "NoDevice": ""},
    ]
    assert creation.parameters["SnapshotId"] == ROOT
    assert attachment.parameters["Device"] == "/dev/sdf"
    assert launch.token == ("image-workbench", "web", "2")
    assert creation.token == ("image-workbench", "web", "2", ZONE, ROOT)


REFUSED: list[tuple[tuple[Resource, ...], dict[str, Any], str]] = [
    ((), {"instance_id": USERS}, "instance_id: the task needs exactly one of instance_id and launch"),
    ((), {"launch": None}, "instance_id: the task needs exactly one of instance_id and launch"),
    ((), {"name": 5}, "name: 5 is not text"),
    ((), {"version": "(new image web/1)"}, "version: '(new image web/1)' looks like a planned id"),
    ((), {"source_image_id": "web"}, "source_image_id: 'web' is not an id of EC2"),
    ((), {"launch": {**LAUNCH, "availability_zone": "a"}}, "launch.availability_zone: 'a' is not the name of a zone"),
    ((), {"launch": {**LAUNCH, "availability_zone": "us-west-2-lax-1a"}}, "launch.availability_zone: this collection"),
    ((), {"launch": {**LAUNCH, "image_id": OTHER}}, f"launch.image_id: '{OTHER}' is not an id of EC2"),
    ((), {"tags": {"ec2ops:x": "y"}}, "tags: this collection reserves keys that start with ec2ops:"),
    ((), {"source_image_id": MADE}, f"source_image_id: {MADE} does not exist in {REGION}"),
    ((replace(IMAGE, state="disabled"),), {}, f"source_image_id: {SOURCE} is disabled"),
    ((replace(IMAGE, platform_details="Windows"),), {}, f"source_image_id: {SOURCE} is billed as Windows"),
    (
        (replace(IMAGE, product_codes=("x",)),),
        {},
        f"source_image_id: {SOURCE} is billed as Linux/UNIX with product codes",
    ),
    ((Snapshot(ROOT, storage_tier="archive"),), {}, f"source_image_id: {ROOT}, the root of {SOURCE}, is archived"),
    ((), NAMED, f"instance_id: {USERS} does not exist in {REGION}"),
    ((users("stopped"),), NAMED, f"instance_id: {USERS} is stopped. Start it with instance_power."),
    ((users(),), {**NAMED, "device_name": "/dev/xvda"}, f"device_name: {USERS} takes no volume at /dev/xvda"),
    ((volume(availability_zone="eu-central-1b"),), {}, f"availability_zone: {VOLUME} of the workbench of web/2 is in"),
    ((users(), volume(USERS)), {}, f"{VOLUME} of the workbench of web/2 is attached to {USERS}."),
    (
        (own(), users(), volume(OWN)),
        NAMED,
        f"{VOLUME} of the workbench of web/2 is attached to {OWN}, which the workbench launched. Use launch again",
    ),
    ((users(), volume(USERS)), {"state": "detached"}, f"{VOLUME} of the workbench of web/2 is attached to {USERS}."),
    ((users(), volume(USERS)), {"state": "absent", "discard": True}, f"{VOLUME} of the workbench of web/2 is attached"),
]


@pytest.mark.parametrize(("resources", "more", "message"), REFUSED)
def test_bad_input_is_refused_by_name(resources: tuple[Resource, ...], more: dict[str, Any], message: str) -> None:
    with pytest.raises((SpecError, UnsafePlan)) as refused:
        plan(known(*resources), **more)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(("seen", "hidden"), [((), f"{ROOT}, {DATA}"), ((Snapshot(ROOT, volume_size=8),), DATA)])
def test_snapshots_of_a_vendor_are_refused_with_the_way_out(seen: tuple[Resource, ...], hidden: str) -> None:
    message = refusal(known(usual=(IMAGE, *seen)))
    assert message.startswith(f"source_image_id: this account may not use {hidden} of {SOURCE}.")
    assert "Copy the image with ami_bake" in message


FORGED = [
    replace(own(), instance_id=OTHER, facts={"ClientToken": "of-the-user"}),
    volume(snapshot_id=DATA),
    volume(OTHER, attachments=(VolumeAttachment(OTHER, "/dev/xvda"),)),
    volume(OTHER, attachments=(VolumeAttachment(OTHER, "/dev/sda1"),)),
    volume(tags=TAGS),
]


@pytest.mark.parametrize("forged", FORGED)
def test_tags_without_facts_are_named_and_count_for_nothing(forged: Resource) -> None:
    state = known(forged)
    for more in ({}, {"state": "absent", "discard": True}):
        foreseen = plan(state, **more)
        assert [change.resource for change in foreseen.changes if change.resource == forged.resource_id] == []
        assert foreseen.warnings[0].startswith("these resources have the tags of the workbench of web/2: ")
        assert forged.resource_id in foreseen.warnings[0]
    assert actions(state) == list(OPENED)


def test_captures_and_images_of_other_sources_do_not_count() -> None:
    # An instance was baked as this version, or somebody copied the tags.
    for other in (
        replace(capture(), tags={**TAGS, "ec2ops:fingerprint": f"{source_hash('instance', OWN)}-x"}),
        replace(capture(), description="by hand"),
        replace(capture(), volume_id="vol-ffffffff"),
    ):
        assert phase(known(other)) == "absent"
    by_hand = replace(made(), name="mine")
    assert phase(known(by_hand)) == "absent"


def test_version_of_another_source_is_left_with_a_warning() -> None:
    baked = replace(capture(), description=f"web 2 from {OWN}", tags=TAGS)
    image = replace(made(), tags=TAGS)
    foreseen = plan(known(baked, image))
    assert foreseen.is_empty
    assert foreseen.warnings[0].startswith(f"{MADE} is web/2 already, and no fact shows that it was developed")
    assert planner.result(spec(), known(baked, image))["volume_id"] is None


def test_result_names_the_developed_volume_in_each_phase() -> None:
    open_ = planner.result(spec(), known(own(), volume(OWN)))
    assert (open_["volume_id"], open_["instance_id"], open_["device_name"]) == (VOLUME, OWN, "/dev/sdf")
    after = planner.result(spec(), known(capture(), made()))
    assert (after["volume_id"], after["volume"], after["image_id"]) == (VOLUME, None, MADE)
    assert planner.headline(spec(), open_) == f"{VOLUME} of web/2 is at /dev/sdf of {OWN}"
    assert planner.headline(spec(), after) == f"image web/2 is {MADE}"
