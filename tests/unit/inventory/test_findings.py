# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each finding of `storage_info` beside its near miss, in one world and one by one."""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta
from typing import Any

import pytest
import yaml
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.hold import Hold
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.workbenches import (
    launch_identity as workbench_identity,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._features.inventory.finding import IDS
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import capture_description, client_token
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.instance_proofs import launch_identity
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance, Resource, Snapshot
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import (
    IS_PUBLIC,
    LAUNCH_PERMISSIONS,
    LOCK,
    USERS,
    VOLUME_PERMISSIONS,
    SnapshotLock,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.usage_facts import (
    HOURLY_USE,
    MINUTE_USE,
    VolumeUse,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._report.joining import SAVES

from inventory_world import (
    DAY,
    HOUR,
    NOW,
    OTHER,
    POLICY,
    ami,
    backed_up,
    copy_of,
    found,
    image,
    inst,
    instance,
    of,
    report,
    snap,
    snapshot,
    vol,
    volume,
)


def held(number: int, *, since: timedelta, lasting: timedelta, stopped: timedelta) -> Instance:
    begun = NOW - since
    value = Hold(begun, begun + lasting).value
    return instance(number, stopped=stopped, tags={"ec2ops:restore-state": value})


def successor(number: int, of_number: int, trial: str, **fields: Any) -> Instance:
    """A relaunch of *of_number* launched it."""
    token = client_token(launch_identity(inst(of_number), ami(0)), 0)
    tags = {"ec2ops:replaces": inst(of_number), "ec2ops:trial": trial}
    return instance(number, tags=tags, facts={"ClientToken": token}, **{"launch_time": NOW - 3 * DAY, **fields})


def swapped(old: int, new: int, by: int, *, of_old: bool = True) -> list[Resource]:
    """Volume *new*, attached to instance *by*, made from a snapshot of *old* (or of another volume)."""
    taken = snapshot(0xA000 + new, old if of_old else 0xDEAD, age=40 * DAY, tags={"ec2ops:final": vol(old)})
    return [
        volume(old, tags={"ec2ops:replaced-by": vol(new)}),
        volume(new, on=by, age=30 * DAY, snapshot_id=taken.snapshot_id),
        taken,
        instance(by, new),
    ]


def locked(number: int, until: datetime, lock: str) -> list[Resource]:
    one = snapshot(number, 1, age=10 * DAY, policy=POLICY)
    described = capture_description(POLICY, vol(1), lock=lock)
    fact = LOCK.fact(one.snapshot_id, SnapshotLock("governance", until))
    return [dataclasses.replace(one, description=described), fact]


def drilled(number: int, of_number: int, made_of: int, **fields: Any) -> list[Resource]:
    source = snapshot(0xD000 + number, made_of, age=50 * DAY, tags={"ec2ops:final": "x"})
    tags = {"ec2ops:spec": f"restore-drill/{vol(of_number)}/0a1b2c3d", "ec2ops:volume": vol(of_number)}
    return [volume(number, tags=tags, snapshot_id=source.snapshot_id, **{"age": 2 * DAY, **fields}), source]


def benched(*, token: str = "2", root: int = 0xE001, captured: int | None = None, **fields: Any) -> list[Resource]:
    """The workbench of web/2: instance 3 with volume 4, made from snapshot *root*.

    *token*: the version in the ClientToken of the launch, empty without the instance.
    *captured*: the volume of which the image web/2 has a snapshot.
    """
    tags = {"ec2ops:image": "web", "ec2ops:version": "2"}
    own = {**tags, "ec2ops:workbench": ami(8)}
    facts = {"ClientToken": client_token(workbench_identity("web", token), 1)}
    launched = instance(3, 4, tags=own, facts=facts, **{"launch_time": NOW - 2 * DAY, **fields})
    source = image(8, 0xE001, state="available", root_device_name="/dev/sda", age=DAY)
    made = image(9, 0xE002, state="available", root_device_name="/dev/sda", age=DAY, tags=tags)
    named = dataclasses.replace(made, name="web-2")
    return [
        *([launched] if token else []),
        volume(4, on=3 if token else None, age=2 * DAY, tags=own, snapshot_id=snap(root)),
        snapshot(0xE001, 7, age=40 * DAY),
        source,
        *([] if captured is None else [snapshot(0xE002, captured), named]),
    ]


BASE = [instance(1, 1), volume(1, on=1), *backed_up([1])]
"""One volume that nobody needs to look at."""


def data(number: int, **fields: Any) -> list[Resource]:
    """A volume on the running instance 1, with a fresh snapshot of the policy."""
    return [*BASE, volume(number, on=1, **fields), *backed_up([number])]


def used(number: int, peak: float, mibps: float = 1.0, *, hours: int = 336, **fields: Any) -> list[Resource]:
    """A volume with these peaks of a minute, and half of them in the hours."""
    facts = [
        HOURLY_USE.fact(vol(number), VolumeUse(peak / 2, mibps / 2, hours)),
        MINUTE_USE.fact(vol(number), VolumeUse(peak, mibps, 60 * hours)),
    ]
    return [*data(number, **fields), *(facts if hours else [])]


CASES: list[tuple[str, str, list[Resource], list[Resource], dict[str, Any]]] = [
    # the finding, its resource, the world with it, the near miss, further options
    ("volume-unattached", vol(2), [volume(2)], [volume(2, age=HOUR)], {}),
    ("volume-unattached", vol(2), [volume(2)], [volume(2, state="creating")], {}),
    (
        "volume-of-stopped-instance",
        vol(2),
        [instance(2, 2, stopped=31 * DAY), volume(2, on=2)],
        [instance(2, 2, stopped=29 * DAY), volume(2, on=2)],
        {},
    ),
    # 170 GiB: 17.00 USD as gp2, 13.60 as gp3. 171 GiB need 250 MiB/s: 17.10 as gp2, 18.68 as gp3.
    ("volume-gp2", vol(2), data(2, volume_type="gp2", size=170, iops=510), data(2, volume_type="gp2", size=171), {}),
    ("volume-io1", vol(2), data(2, volume_type="io1", iops=4000), data(2, volume_type="io2", iops=4000), {}),
    (
        "volume-iops-within-gp3",
        vol(2),
        data(2, volume_type="io2", iops=4000),
        data(2, volume_type="io2", iops=4000, multi_attach_enabled=True),
        {},
    ),
    (
        "volume-iops-within-gp3",
        vol(2),
        data(2, volume_type="io1", iops=5000),
        data(2, volume_type="io2", size=9, iops=5000),
        {},
    ),
    (
        "volume-performance-unused",
        vol(2),
        used(2, 2500, iops=3100),  # 2,500 and the reserve are 3,000
        used(2, 2501, iops=3100),  # 2,501 and the reserve need 3,100
        {},
    ),
    # CloudWatch has no metrics of a volume for the time before it was created.
    (
        "volume-performance-unused",
        vol(2),
        used(2, 10, iops=9000, age=14 * DAY),
        used(2, 10, iops=9000, age=13 * DAY, hours=0),
        {},
    ),
    ("volume-performance-unused", vol(2), used(2, 10, iops=9000), used(2, 10, iops=9000, hours=23), {}),
    ("volume-unencrypted", vol(2), data(2, encrypted=False), data(2), {}),
    (
        "volume-without-policy",
        vol(2),
        [instance(2, 2), volume(2, on=2), snapshot(2, 2)],
        [instance(2, 2), volume(2, on=2), snapshot(2, 2, policy=POLICY)],
        {},
    ),
    (
        "volume-without-policy",
        vol(2),
        # The tag names a policy, and the description does not prove it.
        [instance(2, 2), volume(2, on=2), snapshot(2, 2, tags={"ec2ops:policy": POLICY})],
        [instance(2, 2), volume(2, on=2), snapshot(2, 2, policy=POLICY)],
        {},
    ),
    (
        "volume-without-recovery-point",
        vol(2),
        [instance(2, 2), volume(2, on=2), snapshot(2, 2, state="error"), snapshot(3, 2, storage_tier="archive")],
        [instance(2, 2), volume(2, on=2), snapshot(2, 2)],
        {},
    ),
    (
        "volume-recovery-point-late",
        vol(2),
        [instance(2, 2), volume(2, on=2), snapshot(2, 2, age=2 * DAY + HOUR)],
        [instance(2, 2), volume(2, on=2), snapshot(2, 2, age=2 * DAY)],
        {},
    ),
    (
        "volume-recovery-point-late",
        vol(2),
        [instance(2, 2), volume(2, on=2), snapshot(2, 2, age=26 * HOUR, policy=POLICY)],
        [instance(2, 2), volume(2, on=2), snapshot(2, 2, age=25 * HOUR, policy=POLICY)],
        {"policies": [{"policy": POLICY, "every": "1d"}]},
    ),
    (
        "copy-late",
        vol(1),
        [*BASE, snapshot(9, policy=POLICY, age=3 * DAY, copied_to=OTHER), copy_of(snapshot(9, age=3 * DAY), 10)],
        [*BASE, snapshot(9, policy=POLICY, age=3 * DAY, copied_to=OTHER), copy_of(snapshot(8, age=DAY), 10)],
        {"copy_regions": [OTHER]},
    ),
    (
        "copy-late",
        vol(1),
        [*BASE, snapshot(9, policy=POLICY, age=3 * DAY, copied_to=OTHER)],
        [*BASE, snapshot(9, policy=POLICY, age=HOUR, copied_to=OTHER)],
        {"copy_regions": [OTHER]},
    ),
    (
        "snapshot-orphaned",
        snap(2),
        [snapshot(2, 9, age=2 * DAY)],
        [snapshot(2, 9, age=2 * DAY, policy=POLICY)],
        {},
    ),
    (
        "snapshot-orphaned",
        snap(2),
        [snapshot(2, 9, age=2 * DAY)],
        [snapshot(2, 9, age=2 * DAY), image(2, 2, age=DAY)],
        {},
    ),
    (
        "snapshot-old",
        snap(2),
        [*BASE, snapshot(2, 1, age=91 * DAY)],
        [*BASE, snapshot(2, 1, age=90 * DAY)],
        {},
    ),
    (
        "snapshot-old",
        snap(2),
        [*BASE, snapshot(2, 1, age=91 * DAY)],
        # The only snapshot of its volume.
        [instance(2, 2), volume(2, on=2), snapshot(2, 2, age=91 * DAY)],
        {},
    ),
    (
        "snapshot-unencrypted",
        snap(2),
        [*BASE, snapshot(2, 1, age=2 * DAY, encrypted=False)],
        # The finding about the volume covers its snapshots.
        [*data(2, encrypted=False), snapshot(2, 2, age=2 * DAY, encrypted=False)],
        {},
    ),
    ("snapshot-public", snap(2), [*BASE, snapshot(2), IS_PUBLIC.fact(snap(2), True)], [*BASE, snapshot(2)], {}),
    (
        "snapshot-shared",
        snap(2),
        [*BASE, snapshot(2), VOLUME_PERMISSIONS.fact(snap(2), ("222222222222",))],
        [*BASE, snapshot(2), VOLUME_PERMISSIONS.fact(snap(2), ("333333333333",))],
        {"trusted_accounts": ["333333333333"]},
    ),
    (
        "image-unused",
        ami(2),
        [image(2, 2), snapshot(2, age=200 * DAY)],
        [
            image(2, 2),
            snapshot(2, age=200 * DAY),
            USERS.fact(ami(2), ("arn:aws:ec2:us-east-1:1:launch-template/lt-1",)),
        ],
        {},
    ),
    (
        "image-unused",
        ami(2),
        [image(2, 2, facts={"LastLaunchedTime": "2026-07-01T00:00:00.000Z"})],
        [image(2, 2, facts={"LastLaunchedTime": "2026-11-01T00:00:00.000Z"})],
        {},
    ),
    (
        "image-unused",
        ami(2),
        [
            image(2, age=300 * DAY, tags={"ec2ops:image": "web", "ec2ops:version": "1"}),
            image(3, age=100 * DAY, tags={"ec2ops:image": "web", "ec2ops:version": "2"}),
        ],
        # The newest version of its line.
        [image(2, age=300 * DAY, tags={"ec2ops:image": "web", "ec2ops:version": "1"})],
        {},
    ),
    ("image-public", ami(2), [image(2, facts={"Public": True})], [image(2, facts={"Public": False})], {}),
    (
        "image-shared",
        ami(2),
        [image(2), LAUNCH_PERMISSIONS.fact(ami(2), ("222222222222",))],
        [image(2), LAUNCH_PERMISSIONS.fact(ami(2), ())],
        {},
    ),
    (
        "leftover-hold",
        inst(2),
        [held(2, since=3 * HOUR, lasting=HOUR, stopped=3 * HOUR)],
        [held(2, since=3 * HOUR, lasting=4 * HOUR, stopped=3 * HOUR)],
        {},
    ),
    (
        "leftover-hold",
        inst(2),
        [held(2, since=3 * HOUR, lasting=HOUR, stopped=3 * HOUR)],
        # Somebody stopped it long after the hold, so the tag proves nothing.
        [held(2, since=3 * HOUR, lasting=HOUR, stopped=HOUR)],
        {},
    ),
    (
        "leftover-swap",
        vol(2),
        [volume(2, tags={"ec2ops:swap": "x", "ec2ops:spec": "web"})],
        [volume(2, age=HOUR, tags={"ec2ops:swap": "x", "ec2ops:spec": "web"})],
        {},
    ),
    (
        "leftover-replacement",
        inst(3),
        [instance(2), successor(3, 2, "unproven")],
        [instance(2), successor(3, 2, "serving")],
        {},
    ),
    (
        "leftover-rejected",
        inst(3),
        [instance(2), successor(3, 2, "rejected")],
        # The token is not that of a relaunch.
        [instance(2), dataclasses.replace(successor(3, 2, "rejected"), facts={"ClientToken": "x"})],
        {},
    ),
    ("leftover-drill", vol(2), [*BASE, *drilled(2, 1, 1)], [*BASE, *drilled(2, 1, 1, age=HOUR)], {}),
    ("leftover-drill", vol(2), [*BASE, *drilled(2, 1, 1)], [*BASE, *drilled(2, 1, 7)], {}),
    # The token is that of another version.
    ("leftover-workbench", inst(3), benched(captured=4), benched(captured=4, token="3"), {}),
    ("leftover-workbench", inst(3), benched(), benched(launch_time=NOW - HOUR), {}),
    # The volume was made from another snapshot than the root of the source image.
    ("leftover-workbench", vol(4), benched(token="", captured=4), benched(token="", captured=4, root=7), {}),
    ("leftover-replaced-volume", vol(2), swapped(2, 3, 2), swapped(2, 3, 2, of_old=False), {}),
    (
        "lock-outlasts-policy",
        snap(2),
        [*BASE, *locked(2, NOW + 60 * DAY, "governance 30d")],
        [*BASE, *locked(2, NOW + 20 * DAY, "governance 30d")],
        {},
    ),
]


@pytest.mark.parametrize(
    ("finding", "resource", "there", "near", "options"),
    CASES,
    ids=[f"{number}-{case[0]}" for number, case in enumerate(CASES)],
)
def test_finding_appears_where_it_should_and_not_in_its_near_miss(
    finding: str, resource: str, there: list[Resource], near: list[Resource], options: dict[str, Any]
) -> None:
    assert of(finding, *there, **options) == [resource]
    assert of(finding, *near, **options) == []


def test_every_finding_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(IDS)


def test_report_knows_the_findings_that_save_money() -> None:
    made = [one for case in CASES for one in report(*case[2], **case[4])["findings"]]
    assert {one["id"] for one in made if one["saving"]} <= SAVES


def test_volume_in_order_has_no_finding() -> None:
    assert found(report(*BASE)) == set()


def test_a_leftover_has_no_second_finding() -> None:
    assert found(report(*BASE, *drilled(2, 1, 1))) == {("leftover-drill", vol(2))}
    assert found(report(*BASE, volume(2, tags={"ec2ops:replaced-by": vol(1)}))) == {("volume-unattached", vol(2))}


@pytest.mark.parametrize("token", ["2", ""], ids=["instance", "volume"])
@pytest.mark.parametrize(("captured", "is_safe"), [(4, True), (5, False), (None, False)])
def test_workbench_has_a_task_only_if_the_image_has_its_changes(
    token: str, captured: int | None, is_safe: bool
) -> None:
    (one,) = (
        one for one in report(*benched(token=token, captured=captured))["findings"] if one["id"] == "leftover-workbench"
    )
    assert one["cost"]["most"] == 8.0
    if is_safe:
        assert yaml.safe_load(one["task"]) == [
            {
                "name": "Remove the workbench of web/2",
                "ec2ops.storage.image_workbench": {
                    "name": "web",
                    "version": "2",
                    "source_image_id": ami(8),
                    "state": "absent",
                    "region": "us-east-1",
                },
            }
        ]
        assert one["saving"] == one["cost"]
    else:
        assert one["task"] == ""
        assert one["saving"] is None
        assert f"No image of web/2 has the content of {vol(4)}." in one["reason"]


@pytest.mark.parametrize(("later", "is_safe"), [(-HOUR, True), (HOUR, False)])
def test_workbench_volume_that_was_attached_after_its_snapshot_has_no_task(later: timedelta, is_safe: bool) -> None:
    there = {one.resource_id: one for one in benched(captured=4)}
    taken, launched = there[snap(0xE002)], there[inst(3)]
    assert isinstance(taken, Snapshot)
    assert isinstance(launched, Instance)
    assert taken.start_time is not None
    moments = {vol(3): NOW - 2 * DAY, vol(4): taken.start_time + later}
    rows = [{"Ebs": {"VolumeId": name, "AttachTime": moment}} for name, moment in moments.items()]
    facts = {**launched.facts, "BlockDeviceMappings": rows}
    there[inst(3)] = dataclasses.replace(launched, facts=facts)
    (one,) = (one for one in report(*there.values())["findings"] if one["id"] == "leftover-workbench")
    assert bool(one["task"]) is is_safe
    assert ("Its removal loses no changes." in one["reason"]) is is_safe
    assert (f"No image of web/2 has the content of {vol(4)}." in one["reason"]) is not is_safe


def test_snapshot_whose_lock_is_in_force_is_not_waste() -> None:
    orphan: Snapshot = snapshot(2, 9, age=100 * DAY)
    lock = SnapshotLock("compliance", NOW + DAY)
    assert found(report(orphan, LOCK.fact(snap(2), lock))) == set()
    assert found(report(orphan, LOCK.fact(snap(2), dataclasses.replace(lock, state="expired")))) == {
        ("snapshot-orphaned", snap(2))
    }
