# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Forged tags on instances: nobody gains the collection's credentials by tagging."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.hold import Hold
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import boto3_tags
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, instance_power, instance_relaunch

from in_process import Ended, Machine, machine, run
from sandbox.client import Sandbox

HOLD, TRIAL, REPLACES = "ec2ops:restore-state", "ec2ops:trial", "ec2ops:replaces"


def tag(one: Machine, **tags: str) -> None:
    named = {f"ec2ops:{key.replace('_', '-')}": value for key, value in tags.items()}
    one.ec2.create_tags(Resources=[one.instance_id], Tags=boto3_tags(named))


def row(one: Machine) -> dict[str, Any]:
    found: dict[str, Any] = one.ec2.describe_instances(InstanceIds=[one.instance_id])["Reservations"][0]["Instances"][0]
    return found


@dataclass
class Scene:
    """A web server, and somebody else's instance that runs from the same image."""

    sandbox: Sandbox
    web: Machine
    stranger: Machine

    def relaunch(self, image_id: str, **more: Any) -> Ended:
        given = {"instance_id": self.web.instance_id, "image_id": image_id, **more}
        return run(self.sandbox, module=instance_relaunch, **{"health": {"timeout": 60}, **given})

    def bake(self, **more: Any) -> Ended:
        given = {"name": "web", "version": "2", "source_instance_id": self.web.instance_id, **more}
        return run(self.sandbox, module=ami_bake, **{"require_stopped": False, **given})


@pytest.fixture
def scene(sandbox: Sandbox) -> Scene:
    web, first = machine(sandbox), machine(sandbox, "other")
    # Launched from the image of the web server, which is no relaunch of it.
    image = row(web)["ImageId"]
    launched = web.ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    sandbox.move_clock(120)
    web.ec2.terminate_instances(InstanceIds=[first.instance_id])
    stranger = Machine(sandbox, launched, "")
    stranger.root_volume_id = row(stranger)["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    return Scene(sandbox, web, stranger)


@pytest.mark.parametrize("trial", ["rejected", "unproven", "serving", "odd", ""])
def test_stranger_that_claims_to_be_a_successor_is_left_alone(scene: Scene, trial: str) -> None:
    protected = {"Value": True}
    scene.stranger.ec2.modify_instance_attribute(InstanceId=scene.stranger.instance_id, DisableApiTermination=protected)
    tag(scene.stranger, replaces=scene.web.instance_id, trial=trial)
    for follows in (True, False):
        ended = scene.relaunch(row(scene.web)["ImageId"], old_instance="terminate", follow_successor=follows)
        assert not ended.failed
        assert ended.actions == []
        assert ended.result["instance_id"] == scene.web.instance_id
    assert (scene.web.state, scene.stranger.state) == ("running", "running")


def test_warning_names_the_stranger_and_the_tag(scene: Scene) -> None:
    tag(scene.stranger, replaces=scene.web.instance_id)
    for ended in (scene.relaunch(row(scene.web)["ImageId"]), scene.bake()):
        (warning,) = (text for text in ended.warnings if scene.stranger.instance_id in text)
        assert REPLACES in warning
        assert scene.web.instance_id in warning
        assert "Remove the tag" in warning


@pytest.mark.parametrize("trial", [None, "serving", "unproven"])
def test_bake_captures_the_instance_that_was_named(scene: Scene, trial: str | None) -> None:
    tag(scene.stranger, replaces=scene.web.instance_id, **({} if trial is None else {"trial": trial}))
    ended = scene.bake()
    assert not ended.failed
    assert ended.result["source_instance_id"] == scene.web.instance_id
    assert [item["volume_id"] for item in ended.result["snapshots"]] == [scene.web.root_volume_id]


def test_replacement_continues_beside_a_stranger(scene: Scene) -> None:
    image = scene.bake().result["image_id"]
    tag(scene.stranger, replaces=scene.web.instance_id, trial="unproven")
    ended = scene.relaunch(image)
    assert not ended.failed
    assert ended.actions == ["RunInstances", "CreateTags", "StopInstances"]
    assert scene.stranger.state == "running"
    successor = ended.result["instance_id"]

    # Its own successor takes over no unproven claim, and stands for the web server.
    tag(scene.web, replaces=scene.stranger.instance_id)
    assert scene.relaunch(image).result["instance_id"] == successor


def test_claim_on_an_older_id_is_not_followed_while_that_instance_is_shown(scene: Scene) -> None:
    ended = scene.relaunch(scene.bake().result["image_id"])
    successor = Machine(scene.sandbox, ended.result["instance_id"], "")
    other = machine(scene.sandbox, "db")
    tag(successor, replaces=f"{scene.web.instance_id},{other.instance_id}")
    baked = run(
        scene.sandbox,
        module=ami_bake,
        name="db",
        version="1",
        source_instance_id=other.instance_id,
        require_stopped=False,
    )
    assert baked.result["source_instance_id"] == other.instance_id


def test_serving_successor_that_is_marked_rejected_is_not_terminated(scene: Scene) -> None:
    """The predecessor is off, so only the successor serves, with any tag."""
    image = scene.bake().result["image_id"]
    successor = Machine(scene.sandbox, scene.relaunch(image).result["instance_id"], "")
    tag(successor, trial="rejected")
    ended = scene.relaunch(image)
    assert not ended.failed
    assert ended.actions == []
    assert any(successor.instance_id in text and TRIAL in text for text in ended.warnings)
    assert successor.state == "running"


# --- holds -----------------------------------------------------------------------------------------------------------


def restore(sandbox: Sandbox, **more: Any) -> Ended:
    return run(sandbox, module=instance_power, state="restored", **more)


def before(sandbox: Sandbox) -> str:
    now = sandbox.now()
    return Hold(now - timedelta(days=9), now - timedelta(days=8)).value


def after(sandbox: Sandbox) -> str:
    now = sandbox.now()
    return Hold(now - timedelta(hours=3), now - timedelta(hours=2)).value


def absurd(_sandbox: Sandbox) -> str:
    return "running 2026-19-39T99:00:00Z 2999-01-01T00:00:00Z"


def backwards(sandbox: Sandbox) -> str:
    now = sandbox.now()
    return Hold(now - timedelta(hours=2), now - timedelta(days=9)).value


@pytest.mark.parametrize("value", [before, after, absurd, backwards])
@pytest.mark.parametrize("named", [False, True])
def test_instance_stopped_by_hand_is_not_started(
    sandbox: Sandbox, value: Callable[[Sandbox], str], named: bool
) -> None:
    db = machine(sandbox, "db")
    sandbox.move_clock(60)
    db.ec2.stop_instances(InstanceIds=[db.instance_id])
    sandbox.move_clock(86400)
    tag(db, restore_state=value(sandbox))
    ended = restore(sandbox, **({"instance_ids": [db.instance_id]} if named else {}))
    assert not ended.failed
    assert db.state == "stopped"
    if value is before:
        # The instance has run since then, so the hold is over.
        assert ended.actions == ["DeleteTags"]
        return
    assert ended.actions == []
    assert any(db.instance_id in text and HOLD in text for text in ended.warnings)


def test_hold_of_a_killed_run_is_renewed_before_the_stop(sandbox: Sandbox) -> None:
    """The stop must lie within the hold, or the next run could not know that it belongs to the hold."""
    web = machine(sandbox)
    sandbox.move_clock(60)
    now = sandbox.now()
    tag(web, restore_state=Hold(now, now + timedelta(hours=1)).value)
    sandbox.move_clock(3 * 3600)
    run(sandbox, module=instance_power, instance_ids=[web.instance_id], state="stopped", remember=True)
    assert web.state == "stopped"
    sandbox.move_clock(5 * 3600)
    assert restore(sandbox).actions == ["StartInstances", "DeleteTags"]
    assert web.state == "running"


def test_hold_with_a_copied_stop_time_is_honoured(sandbox: Sandbox) -> None:
    """No fact distinguishes such a hold from a run's own, so anybody who may write tags can have that instance started."""
    db = machine(sandbox, "db")
    sandbox.move_clock(60)
    stopped = sandbox.now()
    db.ec2.stop_instances(InstanceIds=[db.instance_id])
    sandbox.move_clock(86400)
    tag(db, restore_state=Hold(stopped - timedelta(minutes=1), stopped + timedelta(minutes=1)).value)
    assert restore(sandbox).actions == ["StartInstances", "DeleteTags"]
