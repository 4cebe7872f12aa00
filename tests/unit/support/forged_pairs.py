# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A predecessor and its successor on the sandbox, and their tags to alter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import boto3_tags
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, instance_power, instance_relaunch

from in_process import REGION, Ended, Killed, KillingGateway, Machine, machine, run
from sandbox.client import Sandbox
from worlds import sandbox_gateway

HOLD, TRIAL, REPLACES = "ec2ops:restore-state", "ec2ops:trial", "ec2ops:replaces"
DAYS = 86400.0


def untag(one: Machine, *keys: str) -> None:
    one.ec2.delete_tags(Resources=[one.instance_id], Tags=[{"Key": key} for key in keys])


def tag(one: Machine, tags: dict[str, str]) -> None:
    one.ec2.create_tags(Resources=[one.instance_id], Tags=boto3_tags(tags))


def root(one: Machine) -> str:
    row = one.ec2.describe_instances(InstanceIds=[one.instance_id])["Reservations"][0]["Instances"][0]
    return str(row["BlockDeviceMappings"][0]["Ebs"]["VolumeId"])


@dataclass
class Pair:
    """A web server that was replaced, and its successor."""

    sandbox: Sandbox
    old: Machine
    new: Machine
    image_id: str
    old_instance: str = "stop"

    def relaunch(self, image_id: str | None = None, **more: Any) -> Ended:
        given = {"instance_id": self.old.instance_id, "image_id": image_id or self.image_id, **more}
        given = {"health": {"timeout": 60}, "old_instance": self.old_instance, **given}
        return run(self.sandbox, module=instance_relaunch, **given)

    def bake(self, version: str = "2", **more: Any) -> Ended:
        given = {"name": "web", "version": version, "source_instance_id": self.old.instance_id, **more}
        return run(self.sandbox, module=ami_bake, **{"require_stopped": False, **given})

    def restore(self, **more: Any) -> Ended:
        return run(self.sandbox, module=instance_power, state="restored", **more)

    @property
    def states(self) -> tuple[str, str]:
        return self.old.state, self.new.state

    def copied_hold(self) -> None:
        """A hold with the time of the predecessor's last stop, as anybody who may describe instances can write it."""
        row = self.old.ec2.describe_instances(InstanceIds=[self.old.instance_id])["Reservations"][0]["Instances"][0]
        text = row["StateTransitionReason"].partition("(")[2].removesuffix(" GMT)").replace(" ", "T") + "Z"
        tag(self.old, {HOLD: f"running {text} {text}"})


def replaced(sandbox: Sandbox, *, held: bool = False, old_instance: str = "stop") -> Pair:
    old = machine(sandbox)
    sandbox.move_clock(120)
    if held:
        run(sandbox, module=instance_power, instance_ids=[old.instance_id], state="stopped", remember=True)
    first = Pair(sandbox, old, old, "", old_instance)
    first.image_id = first.bake("1").result["image_id"]
    ended = first.relaunch()
    assert not ended.failed
    return Pair(sandbox, old, Machine(sandbox, ended.result["instance_id"], ""), first.image_id, old_instance)


def write(one: Machine, word: str | None) -> None:
    """Let the tag of the phase have this value; None removes it."""
    untag(one, TRIAL) if word is None else tag(one, {TRIAL: word})


def launched_only(sandbox: Sandbox, old_instance: str = "terminate", held: bool = False, **more: Any) -> Pair:
    """A relaunch that was killed right after its launch. *held*: a hold has stopped the predecessor before."""
    old = machine(sandbox)
    sandbox.move_clock(120)
    if held:
        run(sandbox, module=instance_power, instance_ids=[old.instance_id], state="stopped", remember=True)
    pair = Pair(sandbox, old, old, "", old_instance)
    pair.image_id = str(pair.bake("1").result["image_id"])
    with pytest.raises(Killed):
        pair_relaunch(pair, KillingGateway(sandbox_gateway(sandbox, REGION), 1), **more)
    rows = [item for group in old.ec2.describe_instances()["Reservations"] for item in group["Instances"]]
    (new_id,) = (row["InstanceId"] for row in rows if row["InstanceId"] != old.instance_id)
    pair.new = Machine(sandbox, new_id, "")
    sandbox.move_clock(60)
    return pair


def pair_relaunch(pair: Pair, gateway: Any, **more: Any) -> Ended:
    given = {"instance_id": pair.old.instance_id, "image_id": pair.image_id, "health": {"timeout": 60}}
    return run(pair.sandbox, module=instance_relaunch, gateway=gateway, old_instance=pair.old_instance, **given, **more)


def names_both(pair: Pair, texts: list[str]) -> bool:
    return any(pair.old.instance_id in text and pair.new.instance_id in text for text in texts)
