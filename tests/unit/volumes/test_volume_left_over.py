# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes that no entry of their declaration names any more, and volumes of other declarations, which still do."""

from __future__ import annotations

from typing import Any

from in_process import ZONE, machine, run, volumes
from sandbox.client import Sandbox


def test_volume_that_is_stolen_is_still_declared(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    run(sandbox, instance_id=web.instance_id, spec="B", volumes=[{"name": "b", "size": 1}])
    ended = run(
        sandbox, instance_id=web.instance_id, spec="A", volumes=[], purge_volumes=True, in_use="detach", steal=True
    )
    assert ended.actions == ["DetachVolume"]
    assert not any("no longer declared" in text for text in ended.warnings)


def test_own_volume_that_is_purged_is_named(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    given: dict[str, Any] = {"instance_id": web.instance_id, "purge_volumes": True, "in_use": "detach"}
    run(sandbox, volumes=[{"name": "a", "size": 1}], **given)
    (warning,) = run(sandbox, volumes=[], **given).warnings
    assert "was declared as a and is no longer declared" in warning
    assert run(sandbox, volumes=[], **given).warnings == []


def test_empty_list_names_remaining_volumes_on_the_instance(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    run(sandbox, instance_id=web.instance_id, volumes=[{"name": "a", "size": 1}])
    (volume_id,) = web.attached().values()
    ended = run(sandbox, instance_id=web.instance_id, volumes=[])
    (warning,) = ended.warnings
    assert f"{volume_id} was declared as a and is no longer declared" in warning
    assert ended.result["plan"] == []


def test_empty_list_names_remaining_volumes_in_the_zone(sandbox: Sandbox) -> None:
    place = {"availability_zone": ZONE, "spec": "spares"}
    run(sandbox, volumes=[{"name": "a", "size": 1}], **place)
    (volume_id,) = volumes(sandbox)
    (warning,) = run(sandbox, volumes=[], **place).warnings
    assert f"{volume_id} was declared as a and is no longer declared" in warning


def test_one_copy_is_named_in_the_singular(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    run(sandbox, instance_id=web.instance_id, volumes=[{"name": "a", "size": 1}])
    (volume_id,) = web.attached().values()
    tags = [{"Key": "ec2ops:spec", "Value": web.instance_id}, {"Key": "ec2ops:volume", "Value": "a"}]
    copy = web.ec2.create_volume(
        AvailabilityZone=ZONE, Size=1, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}]
    )["VolumeId"]
    sandbox.move_clock(60)
    ended = run(sandbox, instance_id=web.instance_id, volumes=[{"name": "a", "size": 1, "volume_id": volume_id}])
    assert any(f"{copy} carries the tags of a too" in text for text in ended.warnings)


def test_blank_key_is_no_key(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    ended = run(sandbox, instance_id=web.instance_id, volumes=[{"name": "a", "size": 1, "kms_key_id": " "}])
    assert ended.failed == ""
    (found,) = web.attached().values()
    assert volumes(sandbox)[found]["Encrypted"] is False
