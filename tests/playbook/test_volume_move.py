# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role volume_move and the playbook move_volumes: every write arrives, and the same command again does nothing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from playbook.seeds import DATA_DEVICE, Web, at_once, seed_web
from playbook.support import (
    PLAYS,
    REGION,
    Run,
    assert_done_as_planned,
    assert_told_the_same,
    changing_calls,
    described_instance,
    run_playbook,
)
from sandbox.client import Sandbox

PLAY = PLAYS / "volume_move.yml"
PLAYBOOK = "ec2ops.storage.move_volumes"
SPEC, VOLUME, RESTORE_STATE = "ec2ops:spec", "ec2ops:volume", "ec2ops:restore-state"
HERE, THERE = f"{REGION}a", f"{REGION}b"


def seed_at(sandbox: Sandbox, zone: str) -> Web:
    return seed_web(sandbox, REGION, f"target-in-{zone}", Placement={"AvailabilityZone": zone})


def described_volume(sandbox: Sandbox, volume_id: str) -> dict[str, Any] | None:
    """The volume as EC2 describes it, its tags as a mapping; None when it is gone."""
    filters = [{"Name": "volume-id", "Values": [volume_id]}]
    found = sandbox.client("ec2", REGION).describe_volumes(Filters=filters)["Volumes"]
    return {**found[0], "Tags": tags_of(found[0])} if found else None


def tags_of(described: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in described.get("Tags", ())}


def tag(sandbox: Sandbox, resource_id: str, tags: Mapping[str, str]) -> None:
    sandbox.client("ec2", REGION).create_tags(
        Resources=[resource_id], Tags=[{"Key": key, "Value": value} for key, value in tags.items()]
    )


def holders(sandbox: Sandbox, volume_id: str) -> dict[str, str]:
    """The volume's attachments: the device by instance id."""
    volume = described_volume(sandbox, volume_id)
    return {} if volume is None else {link["InstanceId"]: link["Device"] for link in volume["Attachments"]}


def written(sandbox: Sandbox, volume_id: str) -> list[dict[str, Any]]:
    """The marks on a volume, also on one that is deleted."""
    return list(sandbox.marks(volume_id)["marks"])


def assert_nothing_to_do(
    sandbox: Sandbox, play: Path | str, given: Mapping[str, Any], *volume_ids: str, checked: bool = False
) -> None:
    """A run changes nothing, and names the existing volumes; so does a check run before it."""
    for check_mode in (True, False) if checked else (False,):
        sandbox.reset_log()
        again = run_playbook(sandbox, play, given, check=check_mode)
        assert again.status == 0, again.output
        assert again.changed == []
        assert changing_calls(sandbox.log()) == []
        kept = again.fact("volume_move_result")
        assert (kept["changed"], kept["plan"]) == (False, [])
        assert {volume["volume_id"] for volume in kept["volumes"]} == set(volume_ids)


def check_then_run(sandbox: Sandbox, play: Path | str, given: Mapping[str, Any]) -> Run:
    """Return the run after a check run. The run carries out the plan of the check run."""
    sandbox.reset_log()
    check = run_playbook(sandbox, play, given, check=True)
    assert check.status == 0, check.output
    assert changing_calls(sandbox.log()) == []
    foreseen = check.fact("volume_move_result")
    assert foreseen["changed"] is True

    sandbox.reset_log()
    run = run_playbook(sandbox, play, given)
    assert run.status == 0, run.output
    log, result = sandbox.log(), run.fact("volume_move_result")
    assert_told_the_same(foreseen["plan"], result["plan"], run.planned_ids)
    assert_done_as_planned(result["plan"], log, run.planned_ids)
    assert len(foreseen["volumes"]) == len(result["volumes"])
    assert "Remove " in " ".join(run.output.split())
    return run


@pytest.mark.cores
def test_volume_moves_to_an_instance_in_another_zone(sandbox: Sandbox, web: Web) -> None:
    """The data volume of one server moves to another with every write, and no instance stays stopped."""
    target = seed_at(sandbox, THERE)
    tag(sandbox, web.data_volume_id, {SPEC: web.instance_id, VOLUME: "data", "team": "shop"})
    sandbox.add_mark(web.data_volume_id, "release 41 deployed")
    given = {
        "move_volumes_volume_ids": [web.data_volume_id],
        "move_volumes_target_instance_id": target.instance_id,
        "move_volumes_in_use": "stop",
    }
    run = check_then_run(sandbox, PLAYBOOK, given)
    (moved,) = run.fact("volume_move_result")["volumes"]
    new = described_volume(sandbox, moved["volume_id"])
    assert new is not None
    assert new["AvailabilityZone"] == THERE
    assert (new["Size"], new["VolumeType"]) == (20, "gp3")
    assert set(holders(sandbox, moved["volume_id"])) == {target.instance_id}
    assert {SPEC: target.instance_id, VOLUME: "data", "team": "shop"}.items() <= new["Tags"].items()

    before = written(sandbox, web.data_volume_id)
    assert "release 41 deployed" in [mark["text"] for mark in before]
    after = written(sandbox, moved["volume_id"])
    assert after[: len(before)] == before
    assert {mark["writer"] for mark in after[len(before) :]} == {target.instance_id}

    source = described_instance(sandbox, web.instance_id)
    assert source["State"]["Name"] == "running"
    assert RESTORE_STATE not in tags_of(source)
    old = described_volume(sandbox, web.data_volume_id)
    assert old is not None
    assert (old["State"], old["Tags"]["ec2ops:replaced-by"]) == ("available", moved["volume_id"])
    assert not {SPEC, VOLUME} & set(old["Tags"])

    assert_nothing_to_do(sandbox, PLAYBOOK, given, moved["volume_id"], checked=True)


def test_volume_moves_through_a_zone_to_an_instance_there(sandbox: Sandbox, web: Web) -> None:
    """First to a zone, where the volumes wait, then to an instance; the deleted ids go on standing for them."""
    tag(sandbox, web.data_volume_id, {SPEC: web.instance_id, VOLUME: "data"})
    given = {
        "volume_move_volume_ids": [web.data_volume_id],
        "volume_move_target_zone": THERE,
        "volume_move_in_use": "detach",
        "volume_move_delete_source": True,
    }
    run = check_then_run(sandbox, PLAY, given)
    (moved,) = run.fact("volume_move_result")["volumes"]
    new = described_volume(sandbox, moved["volume_id"])
    assert new is not None
    assert (new["State"], new["AvailabilityZone"]) == ("available", THERE)
    assert (new["Tags"][SPEC], new["Tags"][VOLUME]) == (f"zone/{THERE}", "data")
    assert described_volume(sandbox, web.data_volume_id) is None
    before = written(sandbox, web.data_volume_id)
    assert before
    assert written(sandbox, moved["volume_id"]) == before
    assert described_instance(sandbox, web.instance_id)["State"]["Name"] == "running"
    assert_nothing_to_do(sandbox, PLAY, given, moved["volume_id"])

    target = seed_at(sandbox, THERE)
    onward = {
        "volume_move_volume_ids": [web.data_volume_id],
        "volume_move_target_instance_id": target.instance_id,
    }
    run = check_then_run(sandbox, PLAY, onward)
    assert [volume["volume_id"] for volume in run.fact("volume_move_result")["volumes"]] == [moved["volume_id"]]
    attached = described_volume(sandbox, moved["volume_id"])
    assert attached is not None
    assert attached["Tags"][SPEC] == target.instance_id
    assert written(sandbox, moved["volume_id"])[: len(before)] == before
    assert_nothing_to_do(sandbox, PLAY, onward, moved["volume_id"])

    # The volume is in the zone and in use, so the first command does not detach it again.
    assert_nothing_to_do(sandbox, PLAY, given)
    assert set(holders(sandbox, moved["volume_id"])) == {target.instance_id}


def test_volumes_of_several_declarations_move_within_a_zone(sandbox: Sandbox, web: Web) -> None:
    """Volumes change hands without a copy; a name that stands for a machine stays with them."""
    target, ec2 = seed_at(sandbox, HERE), sandbox.client("ec2", REGION)
    with at_once(sandbox):
        spare = ec2.create_volume(AvailabilityZone=HERE, Size=8, VolumeType="gp3")["VolumeId"]
        plain = ec2.create_volume(AvailabilityZone=HERE, Size=9, VolumeType="gp3")["VolumeId"]
    tag(sandbox, web.data_volume_id, {SPEC: "shop", VOLUME: "data"})
    tag(sandbox, spare, {SPEC: web.instance_id, VOLUME: "spare"})
    given = {
        "volume_move_volume_ids": [web.data_volume_id, spare, plain],
        "volume_move_target_instance_id": target.instance_id,
        "volume_move_in_use": "detach",
        "volume_move_names": {plain: "plain"},
    }
    run = check_then_run(sandbox, PLAY, given)
    told = f"{web.data_volume_id} leaves {web.instance_id} and stays in the declaration shop"
    assert told in " ".join(run.output.split())
    result = run.fact("volume_move_result")
    assert {volume["volume_id"] for volume in result["volumes"]} == {web.data_volume_id, spare, plain}
    assert not {"CreateSnapshot", "CreateVolume"} & {entry["action"] for entry in result["plan"]}
    identities = {}
    for volume_id in (web.data_volume_id, spare, plain):
        found = described_volume(sandbox, volume_id)
        assert found is not None
        assert [link["InstanceId"] for link in found["Attachments"]] == [target.instance_id]
        identities[volume_id] = (found["Tags"][SPEC], found["Tags"][VOLUME])
    assert identities == {
        web.data_volume_id: ("shop", "data"),
        spare: (target.instance_id, "spare"),
        plain: (target.instance_id, "plain"),
    }
    assert {mark["writer"] for mark in written(sandbox, web.data_volume_id)} == {web.instance_id, target.instance_id}
    assert_nothing_to_do(sandbox, PLAY, given, web.data_volume_id, spare, plain)


REFUSED = {
    "in use": ({}, "in_use"),
    "the root volume": ({"volume_move_volume_ids": ["root"], "volume_move_in_use": "stop"}, "root"),
    "two targets": ({"volume_move_target_zone": THERE}, "exactly one of volume_move_target_zone and"),
    "no target": ({"volume_move_target_instance_id": ""}, "exactly one of volume_move_target_zone and"),
    "what is not there": ({"volume_move_volume_ids": ["vol-0123456789abcdef0"]}, "does not exist"),
}


@pytest.mark.parametrize(("changed", "said"), REFUSED.values(), ids=REFUSED)
def test_refused_before_anything_is_changed(sandbox: Sandbox, web: Web, changed: Mapping[str, Any], said: str) -> None:
    target = seed_at(sandbox, HERE)
    given = {
        "volume_move_volume_ids": [web.data_volume_id],
        "volume_move_target_instance_id": target.instance_id,
        **changed,
    }
    given["volume_move_volume_ids"] = [
        web.root_volume_id if item == "root" else item for item in given["volume_move_volume_ids"]
    ]
    sandbox.reset_log()
    run = run_playbook(sandbox, PLAY, given)
    assert run.status != 0
    assert said in run.failures[0]
    assert changing_calls(sandbox.log()) == []
    assert holders(sandbox, web.data_volume_id) == {web.instance_id: DATA_DEVICE}
