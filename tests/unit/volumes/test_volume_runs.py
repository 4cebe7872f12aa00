# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`ebs_volume_spec` on the sandbox: each change as check, run, check again, run again."""

from __future__ import annotations

from typing import Any

from in_process import Machine, machine, run, snapshots, texts, volumes
from sandbox.client import Sandbox
from volume_runs import four


def test_volumes_are_made_and_attached(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    wanted = [
        {"name": "data", "size": 10, "tags": {"team": "a"}, "delete_on_termination": True},
        {"name": "logs", "size": 125, "volume_type": "st1", "device_name": "/dev/sdh"},
        {"name": "db", "size": 20, "volume_type": "io2", "iops": 2000, "encrypted": True},
    ]
    ran = four(sandbox, instance_ids=[web.instance_id], volumes=wanted)
    assert sorted(ran.actions) == ["AttachVolume"] * 3 + ["CreateVolume"] * 3 + ["ModifyInstanceAttribute"]
    assert sorted(web.attached()) == ["/dev/sdf", "/dev/sdg", "/dev/sdh"]
    data = volumes(sandbox)[web.attached()["/dev/sdf"]]
    assert data["VolumeType"] == "gp3"
    assert data["tags"] == {"team": "a", "ec2ops:spec": web.instance_id, "ec2ops:volume": "data"}
    assert data["Attachments"][0]["DeleteOnTermination"] is True


def test_a_volume_grows_and_changes_its_type_in_one_call(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    run(sandbox, instance_ids=[web.instance_id], volumes=[{"name": "data", "size": 10, "volume_type": "gp2"}])
    ran = four(sandbox, instance_ids=[web.instance_id], volumes=[{"name": "data", "size": 20, "volume_type": "gp3"}])
    assert ran.actions == ["ModifyVolume"]


def swap_options(web: Machine, **given: Any) -> dict[str, Any]:
    entry = {"name": "data", "device_name": "/dev/sdf", "encrypted": True}
    return {"instance_ids": [web.instance_id], "volumes": [entry], "replace": "snapshot", "in_use": "stop", **given}


def assert_swapped(sandbox: Sandbox, web: Machine, old: str) -> None:
    """The end of every swap: the copy serves with all writes, the replaced one is kept and marked, no more is left."""
    there = volumes(sandbox)
    new = web.attached()["/dev/sdf"]
    assert set(there) == {web.root_volume_id, old, new}
    assert there[new]["Encrypted"] is True
    assert there[new]["tags"] == {
        "ec2ops:spec": web.instance_id,
        "ec2ops:volume": "data",
        "ec2ops:replaces": old,
    }
    assert there[old]["tags"] == {"ec2ops:replaced-by": new}
    assert there[old]["State"] == "available"
    assert not [item for item in snapshots(sandbox).values() if item["VolumeId"] == old]
    assert web.state == "running"
    assert "ec2ops:restore-state" not in web.tags
    kept = texts(sandbox, old)
    assert texts(sandbox, new)[: len(kept)] == kept


def test_a_volume_is_swapped_for_an_encrypted_copy(sandbox: Sandbox) -> None:
    web = machine(sandbox, data=1)
    old = web.attached()["/dev/sdf"]
    ran = four(sandbox, **swap_options(web))
    assert ran.actions == [
        "CreateTags",
        "CreateTags",
        "CreateTags",
        "StopInstances",
        "DetachVolume",
        "CreateSnapshot",
        "CreateVolume",
        "AttachVolume",
        "StartInstances",
        "DeleteTags",
        "DeleteSnapshot",
        "CreateTags",
        "DeleteTags",
        "DeleteTags",
    ]
    assert_swapped(sandbox, web, old)


def test_failed_new_volume_is_deleted_by_its_run(sandbox: Sandbox) -> None:
    """The others of the declaration stay, and the next run makes the one that is missing."""
    web = machine(sandbox)
    wanted: dict[str, Any] = {"instance_ids": [web.instance_id], "volumes": [{"name": "data", "size": 10}]}
    with sandbox.fault("CreateVolume", occurrence=1, kind="end", message="the key is disabled"):
        failed = run(sandbox, **wanted, wait_timeout=600)
    assert "is error" in failed.failed
    assert [entry["action"] for entry in failed.result["rolled_back"]] == ["DeleteVolume"]
    ran = four(sandbox, **wanted)
    assert ran.actions == ["CreateVolume", "AttachVolume"]


def test_made_volume_is_kept_when_another_fails(sandbox: Sandbox) -> None:
    web = machine(sandbox)
    volumes_of_web = [{"name": name, "size": 10} for name in ("data", "log")]
    with sandbox.fault("CreateVolume", occurrence=2, kind="end", message="the key is disabled"):
        failed = run(sandbox, instance_ids=[web.instance_id], volumes=volumes_of_web)
    assert len(failed.result["rolled_back"]) == 1
    made = [
        item for item in volumes(sandbox).values() if "ec2ops:volume" in item["tags"] and item["State"] != "deleting"
    ]
    assert [item["State"] for item in made] == ["in-use"]


def test_unplannable_entry_and_instance_do_not_stop_the_others(sandbox: Sandbox) -> None:
    web, db = machine(sandbox, "web"), machine(sandbox, "db")
    unknown = "i-0123456789abcdef0"
    run(sandbox, instance_ids=[db.instance_id], volumes=[{"name": "data", "size": 30}])
    given = {
        "instance_ids": [web.instance_id, db.instance_id, unknown],
        "volumes": [{"name": "data", "size": 20}, {"name": "log", "size": 5}],
        "purge_volumes": True,
        "in_use": "detach",
    }
    checked, ran = run(sandbox, check=True, **given), run(sandbox, **given)
    assert checked.failed == ran.failed
    for said in (f"(data) of {db.instance_id}: size: 20 GiB is smaller", f"{unknown} does not exist"):
        assert said in ran.failed
    assert [entry["resource"] for entry in checked.result["plan"]] == [
        entry["resource"] for entry in ran.result["plan"]
    ]
    assert [error["code"] for error in ran.result["errors"]] == ["SpecError", "SpecError"]
    assert checked.result["errors"] == ran.result["errors"]
    assert sorted(entry["action"] for entry in ran.result["done"]) == ["AttachVolume"] * 3 + ["CreateVolume"] * 3
    assert (len(web.attached()), len(db.attached())) == (2, 2)
    assert ran.result["deferred"] == []
    again = run(sandbox, **given)
    assert (again.failed == ran.failed, again.result["changed"], again.result["plan"]) == (True, False, [])
