# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes that are made: empty, or from a snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.facts import (
    ENCRYPTION_BY_DEFAULT,
    KMS_KEY,
    usable_key,
)
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Resource

from in_process import REGION, ZONE
from volume_plans import Case, check, no, ok, plan_of
from volume_world import DATA, IO2, KEY, NOW, WEB, Entry, instance, snap, snapshot, volume

MADE = ("CreateVolume new i-1/data", "AttachVolume new i-1/data to i-1 /dev/sdf")
NEWEST = {"snapshot": {"tags": {"app": "db"}}}


@pytest.mark.parametrize(
    ("entry", "there", "request_", "seen"),
    [
        ({"size": 10}, [], {"VolumeType": "gp3", "Size": 10}, {"iops": 3000, "throughput": 125}),
        (
            {"size": 10, "iops": 500, "throughput": 1},
            [],
            {"VolumeType": "gp3", "Size": 10, "Iops": 3000, "Throughput": 125},
            {"iops": 3000, "throughput": 125},
        ),
        (
            {"size": 2000, "volume_type": "gp2"},
            [],
            {"VolumeType": "gp2", "Size": 2000},
            {"iops": 6000, "throughput": None},
        ),
        (
            {"size": 10, **IO2, "multi_attach": True},
            [],
            {"VolumeType": "io2", "Size": 10, "Iops": 5000, "MultiAttachEnabled": True},
            {"multi_attach_enabled": True},
        ),
        ({"size": 10, "multi_attach": False}, [], {"VolumeType": "gp3", "Size": 10}, {"multi_attach_enabled": False}),
        (
            {"size": 125, "volume_type": "st1"},
            [],
            {"VolumeType": "st1", "Size": 125},
            {"iops": None, "throughput": None},
        ),
        ({"size": 10, "encrypted": False}, [], {"VolumeType": "gp3", "Size": 10}, {"encrypted": False}),
        (
            {"size": 10, "encrypted": True, "kms_key_id": "alias/a"},
            [KMS_KEY.fact("alias/a", usable_key(KEY))],
            {"VolumeType": "gp3", "Size": 10, "Encrypted": True, "KmsKeyId": "alias/a"},
            {"encrypted": True, "kms_key_id": KEY},
        ),
        ({"size": 10}, [ENCRYPTION_BY_DEFAULT.fact(True)], {"VolumeType": "gp3", "Size": 10}, {"encrypted": True}),
        (
            {"snapshot_id": snap(1), "initialization_rate": 200},
            [snapshot(1, 9, volume_size=20, encrypted=True)],
            {"VolumeType": "gp3", "Size": 20, "SnapshotId": snap(1), "VolumeInitializationRate": 200},
            {"encrypted": True, "snapshot_id": snap(1)},
        ),
        (
            {"snapshot_id": snap(1), "size": 30},
            [snapshot(1, 9, volume_size=20)],
            {"VolumeType": "gp3", "Size": 30, "SnapshotId": snap(1)},
            {"encrypted": False},
        ),
        (
            NEWEST,
            [
                snapshot(1, 9, tags={"app": "db"}),
                snapshot(2, 9, tags={"app": "db"}, start_time=NOW),
                snapshot(3, 9, "pending", tags={"app": "db"}, start_time=NOW + timedelta(seconds=1)),
                snapshot(4, 9, tags={"app": "web"}, start_time=NOW + timedelta(seconds=1)),
            ],
            {"VolumeType": "gp3", "Size": 10, "SnapshotId": snap(2)},
            {"snapshot_id": snap(2)},
        ),
        (
            {"snapshot": {**NEWEST["snapshot"], "before": "2026-11-23T12:00:00Z"}},
            [snapshot(1, 9, tags={"app": "db"}), snapshot(2, 9, tags={"app": "db"}, start_time=NOW)],
            {"VolumeType": "gp3", "Size": 10, "SnapshotId": snap(1)},
            {"snapshot_id": snap(1)},
        ),
    ],
)
def test_new_volume_has_the_declared_properties(
    entry: Entry, there: Sequence[Resource], request_: Mapping[str, Any], seen: Mapping[str, Any]
) -> None:
    case = Case("made", [instance(), *there], [{"name": "data", "tags": {"team": "a"}, **entry}], MADE)
    ec2 = check(case)
    change = plan_of(case.spec, case.ec2()).changes[0]
    parameters = dict(change.parameters)
    (tags,) = parameters.pop("TagSpecifications")
    assert parameters == {"AvailabilityZone": ZONE, **request_}
    expected = [("ec2ops:spec", WEB), ("ec2ops:volume", "data"), ("team", "a")]
    assert tags == {"ResourceType": "volume", "Tags": [{"Key": key, "Value": value} for key, value in expected]}
    made = ec2.resources[ec2.bindings[change.resource]]
    predicted = change.after or {}
    assert {name: predicted[name] for name in seen} == seen
    assert {name: getattr(made, name) for name in seen} == seen


@pytest.mark.parametrize(
    "case",
    [
        no(
            "no size and no snapshot",
            [],
            [{"name": "data"}],
            SpecError,
            "volumes[0] (data) | size: is required | snapshot",
        ),
        no(
            "a snapshot that does not exist",
            [],
            [{"name": "data", "snapshot_id": snap(1)}],
            SpecError,
            "volumes[0] (data) | snapshot_id | snap-1 does not exist",
        ),
        no(
            "a snapshot that is not completed",
            [instance(), snapshot(1, 9, "pending")],
            [{"name": "data", "snapshot_id": snap(1)}],
            SpecError,
            "volumes[0] (data) | snap-1 | pending",
        ),
        no(
            "no snapshot has the tags",
            [instance(), snapshot(1, 9, tags={"app": "db"}, start_time=NOW)],
            [{"name": "data", "snapshot": {**NEWEST["snapshot"], "before": "2026-11-23T12:00:00Z"}}],
            SpecError,
            "volumes[0] (data) | snapshot | app",
        ),
        no(
            "a snapshot larger than the size",
            [instance(), snapshot(1, 9, volume_size=20)],
            [{"name": "data", "snapshot_id": snap(1), "size": 19}],
            SpecError,
            "volumes[0] (data) | 19 GiB | 20 | snap-1",
        ),
        no(
            "a snapshot larger than gp3's ratio needs",
            [instance(), snapshot(1, 9, volume_size=7)],
            [{"name": "data", "snapshot_id": snap(1), "iops": 3501}],
            SpecError,
            "volumes[0] (data) | 3501 iops on 7 GiB | 500 per GiB",
        ),
        no(
            "unencrypted, from an encrypted snapshot",
            [instance(), snapshot(1, 9, encrypted=True)],
            [{"name": "data", "snapshot_id": snap(1), "encrypted": False}],
            SpecError,
            "volumes[0] (data) | encrypted: false | encrypted snapshot",
        ),
        no(
            "unencrypted, in an account that encrypts",
            [instance(), ENCRYPTION_BY_DEFAULT.fact(True)],
            [{**DATA, "encrypted": False}],
            SpecError,
            f"volumes[0] (data) | encrypted: false | encryption by default | {REGION}",
        ),
        no(
            "multi-attach of the type that a new volume has",
            [],
            [{**DATA, "multi_attach": True}],
            SpecError,
            "volumes[0] (data) | multi_attach | gp3 | io1 or io2",
        ),
        no(
            "values that gp3 does not take",
            [],
            [{**DATA, "throughput": 1000}],
            SpecError,
            "volumes[0] (data) | 1000 MiB/s | 4000 iops",
        ),
        ok("not there, and to be detached", [], [{"name": "data", "state": "detached"}]),
        ok("not there, and to be absent", [], [{"name": "data", "state": "absent"}]),
    ],
)
def test_missing_resources_are_refused(case: Case) -> None:
    check(case)


def test_sources_count_at_creation_only() -> None:
    check(Case("", [instance(), volume(1, WEB, name="data")], [{"name": "data", "snapshot_id": snap(9)}]))
