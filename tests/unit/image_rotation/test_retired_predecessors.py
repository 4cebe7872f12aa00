# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`retire_predecessors` on the sandbox, after a real bake and a real relaunch: the terminated and the kept ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Change
from ansible_collections.ec2ops.storage.plugins.modules import ami_bake, image_rotate, instance_relaunch

from image_rotation_runs import DAY, STEPS
from in_process import REGION, Ended, Killed, KillingGateway, machine, run
from sandbox.client import Sandbox
from worlds import new_day, sandbox_gateway


@dataclass
class Move:
    """The service moved from *old* to *new*, which runs from version 1 of ``web``, eight days ago."""

    sandbox: Sandbox
    old: str
    new: str
    images: dict[str, str]

    @property
    def ec2(self) -> Any:
        return self.sandbox.client("ec2", REGION)

    def rotate(self, **given: Any) -> Ended:
        options = {"name": "web", "action": "deregister", "keep": {"last": 1}, "retire_predecessors": {"after": "7d"}}
        return run(self.sandbox, module=image_rotate, **{**options, **given})

    def state(self, instance_id: str) -> str:
        (found,) = self.ec2.describe_instances(InstanceIds=[instance_id])["Reservations"]
        return str(found["Instances"][0]["State"]["Name"])

    def bake(self, version: str, source: str = "") -> None:
        given = {"name": "web", "version": version, "source_instance_id": source or self.new, "require_stopped": False}
        ended = run(self.sandbox, module=ami_bake, follow_successor=False, **given)
        assert ended.failed == ""
        self.images[version] = str(ended.result["image_id"])
        self.sandbox.move_clock(3600)

    def relaunch(self, version: str) -> None:
        given = {"instance_id": self.new, "image_id": self.images[version], "data_volumes": "keep"}
        ended = run(self.sandbox, module=instance_relaunch, **given)
        assert ended.failed == ""
        self.old, self.new = self.new, str(ended.result["instance"]["instance_id"])

    def snapshots_of(self, volume_id: str) -> list[dict[str, Any]]:
        filters = [{"Name": "volume-id", "Values": [volume_id]}]
        found: list[dict[str, Any]] = self.ec2.describe_snapshots(OwnerIds=["self"], Filters=filters)["Snapshots"]
        return found

    def volumes(self) -> dict[str, str]:
        (found,) = self.ec2.describe_instances(InstanceIds=[self.old])["Reservations"]
        return {one["DeviceName"]: one["Ebs"]["VolumeId"] for one in found["Instances"][0]["BlockDeviceMappings"]}


@pytest.fixture
def move(quick_sandbox: Sandbox) -> Move:
    sandbox = new_day(quick_sandbox, snapshot_pending=1.0, status_ok=1.0)
    data = [{"name": "data", "delete_on_termination": True}, {"name": "archive"}]
    made = Move(sandbox, "", machine(sandbox, data=data).instance_id, {})  # type: ignore[arg-type]
    made.bake("1")
    made.relaunch("1")
    sandbox.move_clock(8 * DAY)
    sandbox.reset_log()
    return made


class MeddlingGateway:
    """The gateway of a run during which somebody else acts, right after the first final snapshot has begun."""

    def __init__(self, move: Move, act: Callable[[Move], None]) -> None:
        self._gateway, self._move, self._act = sandbox_gateway(move.sandbox, REGION), move, [act]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def perform(self, changes: Sequence[Change], generation: int = 0) -> Mapping[str, str]:
        answer: Mapping[str, str] = self._gateway.perform(changes, generation)
        if changes[0].action == "CreateSnapshot" and self._act:
            self._act.pop()(self._move)
        return answer


def reason(ended: Ended) -> str:
    (entry,) = ended.result["predecessors"]
    assert entry["decision"] == "keep"
    return str(entry["reason"])


def test_predecessor_goes_after_a_final_snapshot_of_each_doomed_volume(move: Move) -> None:
    volumes = move.volumes()
    root, data, archive = (volumes[name] for name in sorted(volumes, key=lambda name: (name != "/dev/xvda", name)))
    check, done, again, last = (move.rotate(check=check) for check in STEPS)
    assert check.result["plan"] == done.result["plan"]
    assert (again.actions, last.actions, last.failed) == ([], [], "")
    assert done.actions == ["CreateSnapshot", "CreateSnapshot", "TerminateInstances"]
    assert done.result["terminated"] == [move.old]
    assert (move.state(move.old), move.state(move.new)) == ("terminated", "running")
    finals = [one for name in (root, data) for one in move.snapshots_of(name) if "final snapshot" in one["Description"]]
    assert [(one["VolumeId"], one["State"]) for one in finals] == [(root, "completed"), (data, "completed")]
    assert [one["State"] for one in move.ec2.describe_volumes(VolumeIds=[archive])["Volumes"]] == ["available"]


def hold(move: Move) -> None:
    tag = {"Key": "ec2ops:restore-state", "Value": "running 2026-01-01T00:00:00Z 2026-01-01T00:10:00Z"}
    move.ec2.create_tags(Resources=[move.old], Tags=[tag])


def protect(move: Move) -> None:
    move.ec2.modify_instance_attribute(InstanceId=move.old, DisableApiTermination={"Value": True})


def start(move: Move) -> None:
    move.ec2.start_instances(InstanceIds=[move.old])
    move.sandbox.move_clock(60)


def stop_successor(move: Move) -> None:
    move.ec2.stop_instances(InstanceIds=[move.new])
    move.sandbox.move_clock(60)


def reject(move: Move) -> None:
    move.ec2.create_tags(Resources=[move.new], Tags=[{"Key": "ec2ops:trial", "Value": "rejected"}])


def restart(move: Move) -> None:
    start(move)
    move.ec2.stop_instances(InstanceIds=[move.old])
    move.sandbox.move_clock(60)


@pytest.mark.parametrize(
    ("use", "text"),
    [
        (hold, "it has a hold"),
        (protect, "it has termination or stop protection"),
        (start, "it is running"),
        (stop_successor, "its successor"),
        (reject, "nothing proves that"),
        (restart, "nothing proves that"),
    ],
)
def test_predecessor_is_kept(move: Move, use: Callable[[Move], None], text: str) -> None:
    use(move)
    ended = move.rotate()
    assert (ended.actions, ended.failed) == ([], "")
    assert reason(ended).startswith(text)
    assert move.state(move.old) != "terminated"


def test_predecessor_that_only_a_tag_names_is_kept(move: Move) -> None:
    stranger = machine(move.sandbox, name="stranger").instance_id
    move.ec2.stop_instances(InstanceIds=[stranger])
    move.ec2.create_tags(Resources=[move.new], Tags=[{"Key": "ec2ops:replaces", "Value": stranger}])
    move.sandbox.move_clock(9 * DAY)
    assert move.rotate().actions == []
    assert move.state(stranger) == "stopped"


def test_recent_stop_and_refused_protection_keep_it(move: Move) -> None:
    assert "it was stopped" in reason(move.rotate(retire_predecessors={"after": "9d"}))
    move.sandbox.refuse("DescribeInstanceAttribute")
    ended = move.rotate()
    assert "DescribeInstanceAttribute" in ended.failed
    assert reason(ended) == "AWS did not answer DescribeInstanceAttribute"


def test_version_goes_with_its_last_predecessor_and_its_snapshots_do_not_count(move: Move) -> None:
    move.bake("2")
    move.relaunch("2")
    move.sandbox.move_clock(8 * DAY)
    (root,) = (volume for device, volume in move.volumes().items() if device == "/dev/xvda")
    assert move.rotate(retire_predecessors=None).actions == []
    assert (
        "max_delete is 2, and 1 image would be deregistered and 2 predecessors terminated"
        in move.rotate(max_delete=2).failed
    )
    done = move.rotate()
    assert done.failed == ""
    assert done.result["deregistered"] == [move.images["1"]]
    assert len(done.result["terminated"]) == 2
    assert [one["Description"] for one in move.snapshots_of(root) if "final snapshot" in one["Description"]]
    assert move.rotate().actions == []


@pytest.mark.parametrize(("last", "captures", "deregistered"), [(3, 1, []), (1, 2, ["2"])])
def test_snapshot_of_a_kept_version_counts_and_one_of_a_leaving_version_does_not(
    move: Move, last: int, captures: int, deregistered: list[str]
) -> None:
    move.bake("2", source=move.old)
    move.bake("3")
    ended = move.rotate(keep={"last": last})
    assert ended.failed == ""
    assert ended.actions.count("CreateSnapshot") == captures
    assert ended.result["deregistered"] == [move.images[version] for version in deregistered]
    assert ended.result["terminated"] == [move.old]


def test_failed_final_snapshot_ends_nothing(move: Move) -> None:
    move.sandbox.add_fault("CreateSnapshot", occurrence=1, kind="end", message="no space")
    ended = move.rotate()
    assert "no space" in ended.failed
    assert (ended.result["terminated"], move.state(move.old)) == ([], "stopped")
    assert move.rotate().result["terminated"] == [move.old]


def test_killed_run_takes_no_second_final_snapshot(move: Move) -> None:
    before = {one: len(move.snapshots_of(one)) for one in move.volumes().values()}
    with pytest.raises(Killed):
        move.rotate(gateway=KillingGateway(sandbox_gateway(move.sandbox, REGION), 2))
    move.sandbox.move_clock(60)
    assert move.rotate().actions == ["TerminateInstances"]
    assert sorted(len(move.snapshots_of(one)) - number for one, number in before.items()) == [0, 1, 1]


def use_version(move: Move) -> None:
    move.sandbox.client("ssm", REGION).put_parameter(Name="/web", Value=move.images["1"], Type="String")


def test_guards_look_again_after_the_end_of_the_predecessors(move: Move) -> None:
    move.bake("2")
    move.relaunch("2")
    move.sandbox.move_clock(8 * DAY)
    ended = move.rotate(gateway=MeddlingGateway(move, use_version), alone=False)
    assert (ended.failed, ended.result["deregistered"], len(ended.result["terminated"])) == ("", [], 2)
    assert [text for text in ended.warnings if f"{move.images['1']} (parameter: in use by" in text]
    (entry,) = ended.result["decisions"]
    assert (entry["decision"], entry["guard"], entry["snapshot_ids"]) == ("keep", "parameter", [])
    assert (ended.result["counts"]["changed"], ended.result["counts"]["kept"]) == (0, 2)
    assert move.rotate().actions == []


@pytest.mark.parametrize(
    ("use", "text", "states"),
    [
        (start, "was started or changed during the run", ("running", "running")),
        (stop_successor, "no longer runs in its place", ("stopped", "stopped")),
    ],
)
def test_predecessor_in_use_while_the_run_waits_is_kept_with_its_version(
    move: Move, use: Callable[[Move], None], text: str, states: tuple[str, str]
) -> None:
    move.bake("2")
    move.relaunch("2")
    move.sandbox.move_clock(8 * DAY)
    ended = move.rotate(gateway=MeddlingGateway(move, use), alone=False)
    assert text in ended.failed
    assert ended.result["deregistered"] == []
    assert move.old not in ended.result["terminated"]
    assert (move.state(move.old), move.state(move.new)) == states
