# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A source that is gone and has left only a failed capture or image: the refusal names them and their reasons."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake

from in_process import Ended, Machine, machine, run, snapshots
from sandbox.client import Sandbox


def bake(web: Machine, **more: Any) -> Ended:
    given = {"name": "web", "version": "1", "source_instance_id": web.instance_id, "require_stopped": False}
    return run(web.sandbox, module=ami_bake, **{**given, **more})


def vanish(web: Machine) -> None:
    """EC2 has forgotten the instance."""
    web.sandbox.move_clock(10)
    web.ec2.terminate_instances(InstanceIds=[web.instance_id])
    web.sandbox.move_clock(4000)


def captured(sandbox: Sandbox) -> list[str]:
    return [
        snapshot_id
        for snapshot_id, row in snapshots(sandbox).items()
        if any(tag["Key"] == "ec2ops:version" for tag in row.get("Tags", []))
    ]


@pytest.mark.parametrize("state", ["captured", "available"])
@pytest.mark.parametrize("devices", ["root", "all"])
def test_failed_capture_of_a_source_that_is_gone_is_named(sandbox: Sandbox, state: str, devices: str) -> None:
    web = machine(sandbox, data=1)
    sandbox.add_fault("CreateSnapshot*", kind="end", message="no space", occurrence=1)
    assert bake(web, state="captured", devices=devices).actions
    vanish(web)
    for check in (True, False):
        refused = bake(web, state=state, devices=devices, check=check)
        assert refused.actions == []
        assert f"{web.instance_id} is gone" in refused.failed
        assert "no space" in refused.failed
        assert any(snapshot_id in refused.failed for snapshot_id in captured(sandbox))
        assert "state: absent" in refused.failed


def test_failed_image_of_a_source_that_is_gone_is_named(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    sandbox.add_fault("CreateImage", kind="end", message="no space", occurrence=1)
    failed = bake(web, method="image")
    image_id = next(iter(failed.result["planned_ids"].values()))
    vanish(web)
    refused = bake(web, method="image")
    assert refused.actions == []
    assert f"{web.instance_id} is gone" in refused.failed
    assert f"{image_id} ended as failed" in refused.failed
    assert "no space" in refused.failed


def test_removal_of_a_failed_version_lets_another_source_be_baked(sandbox: Sandbox) -> None:
    """The remedy that the refusal names."""
    web = machine(sandbox)
    sandbox.add_fault("CreateSnapshot*", kind="end", message="no space", occurrence=1)
    bake(web, state="captured")
    vanish(web)
    removed = run(sandbox, module=ami_bake, name="web", version="1", state="absent")
    assert (removed.failed, removed.actions) == ("", ["DeleteSnapshot"])
    assert bake(machine(sandbox, "other")).failed == ""


def orphan(sandbox: Sandbox, *, earlier: bool, **given: Any) -> tuple[Machine, list[str]]:
    """A capture whose instance is gone; *earlier*: as earlier versions made it, without a hash of the machine."""
    web = machine(sandbox, data=1)
    assert bake(web, state="captured", **given).failed == ""
    sandbox.move_clock(600)
    if earlier:
        # EC2 alters no description, so it is taken once more.
        names = captured(sandbox)
        row = snapshots(sandbox)[names[0]]
        text = row["Description"].partition(", machine ")[0]
        web.ec2.create_snapshots(
            InstanceSpecification={
                "InstanceId": web.instance_id,
                **({} if len(names) > 1 else {"ExcludeDataVolumeIds": [*set(web.attached().values())]}),
            },
            Description=text,
            TagSpecifications=[{"ResourceType": "snapshot", "Tags": row["Tags"]}],
        )
        for name in names:
            web.ec2.delete_snapshot(SnapshotId=name)
        sandbox.move_clock(600)
    vanish(web)
    return web, captured(sandbox)


def exchange(web: Machine, names: list[str], one: str, other: str) -> None:
    """Exchange two texts in the record of the machine."""
    for name in names:
        (record,) = (tag["Value"] for tag in snapshots(web.sandbox)[name]["Tags"] if tag["Key"] == "ec2ops:machine")
        assert one in record
        altered = record.replace(one, "\0").replace(other, one).replace("\0", other)
        web.ec2.create_tags(Resources=[name], Tags=[{"Key": "ec2ops:machine", "Value": altered}])


def devices_of(web: Machine, image_id: str) -> dict[str, str]:
    (image,) = web.ec2.describe_images(ImageIds=[image_id])["Images"]
    there = snapshots(web.sandbox)
    return {
        item["DeviceName"]: there[item["Ebs"]["SnapshotId"]]["VolumeId"]
        for item in image["BlockDeviceMappings"]
        if "Ebs" in item
    }


def test_description_gives_the_devices_of_a_capture_without_its_source(sandbox: Sandbox) -> None:
    web, names = orphan(sandbox, earlier=False, devices="all")
    exchange(web, names, "/dev/xvda+", "/dev/sdf-")
    refused = bake(web, devices="all")
    assert refused.actions == []
    assert "does not record the machine" in refused.failed
    exchange(web, names, "/dev/xvda+", "/dev/sdf-")
    ended = bake(web, devices="all")
    assert (ended.failed, ended.actions) == ("", ["RegisterImage"])
    assert devices_of(web, ended.result["image_id"])["/dev/xvda"] == web.root_volume_id
    assert not [text for text in ended.warnings if "ec2ops:machine" in text]


def test_one_altered_record_does_not_hide_the_machine(sandbox: Sandbox) -> None:
    web, names = orphan(sandbox, earlier=False, devices="all")
    exchange(web, names[:1], "/dev/xvda+", "/dev/sdf-")
    assert bake(web, devices="all").actions == ["RegisterImage"]


def test_machine_recorded_only_in_a_tag_is_noted_or_refused_for_several_volumes(sandbox: Sandbox) -> None:
    web, _names = orphan(sandbox, earlier=True)
    ended = bake(web)
    assert (ended.failed, ended.actions) == ("", ["RegisterImage"])
    assert any("ec2ops:machine" in text for text in ended.warnings)
    sandbox.reset()
    web, names = orphan(sandbox, earlier=True, devices="all")
    refused = bake(web, devices="all")
    assert refused.actions == []
    assert all(name in refused.failed for name in names)


def test_unknown_source_keeps_its_message(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    vanish(web)
    assert f"{web.instance_id} does not exist" in bake(web).failed
