# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The playbook develop_image: the version has the work of the user's tasks, and is finished after a kill."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from playbook.interrupting import Point, await_released, begun, hold_at, performed
from playbook.seeds import ROOT_DEVICE, Web
from playbook.support import (
    REGION,
    Run,
    assert_done_as_planned,
    assert_told_the_same,
    changing_calls,
    run_playbook,
)
from sandbox.client import Sandbox, living

PLAYBOOK = "ec2ops.storage.develop_image"
# The tasks of a user: they write to the volume, through the sandbox's own interface.
TASKS = """
- name: Write to the volume
  ansible.builtin.uri:
    url: "{{ lookup('ansible.builtin.env', 'AWS_ENDPOINT_URL') }}/_sandbox/marks/add"
    method: POST
    body_format: json
    body:
      id: "{{ develop_image_workbench_result.volume_id }}"
      text: "developed on {{ develop_image_workbench_result.device_name }}"
  when: develop_image_workbench_result.instance.state == 'running'
"""
FAILING = """
- name: Expect a release
  ansible.builtin.assert:
    that: develop_image_workbench_result.volume_id == 'none'
    fail_msg: there is no release
"""


@dataclass(frozen=True)
class Line:
    """The image of the instance, of which a version ``web/2`` is developed."""

    sandbox: Sandbox
    web: Web
    given: dict[str, Any]

    def run(self, *, check: bool = False, **more: Any) -> Run:
        self.sandbox.reset_log()
        return run_playbook(self.sandbox, PLAYBOOK, {**self.given, **more}, check=check)

    def volumes(self) -> set[str]:
        return {row["VolumeId"] for row in self.sandbox.client("ec2", REGION).describe_volumes()["Volumes"]}

    def instances(self) -> list[str]:
        """The living instances."""
        return [*living(self.sandbox.client("ec2", REGION))]

    def assert_developed(self) -> str:
        """One image with the work of the tasks and the facts of the first one, and nothing else that is new."""
        ec2 = self.sandbox.client("ec2", REGION)
        filters = [{"Name": "tag:ec2ops:version", "Values": ["2"]}]
        (image,) = ec2.describe_images(Owners=["self"], Filters=filters)["Images"]
        (capture,) = ec2.describe_snapshots(OwnerIds=["self"], Filters=filters)["Snapshots"]
        (device,) = image["BlockDeviceMappings"]
        assert (device["DeviceName"], device["Ebs"]["SnapshotId"]) == (ROOT_DEVICE, capture["SnapshotId"])
        (first,) = ec2.describe_images(ImageIds=[self.web.image_id])["Images"]
        for fact in ("Architecture", "BootMode", "EnaSupport", "RootDeviceName", "VirtualizationType"):
            assert image[fact] == first[fact]
        texts = [mark["text"] for mark in self.sandbox.marks(image["ImageId"])["devices"][ROOT_DEVICE]]
        assert "developed on /dev/sdf" in texts
        assert self.instances() == [self.web.instance_id]
        assert self.volumes() == {self.web.root_volume_id, self.web.data_volume_id}
        return str(image["ImageId"])


@pytest.fixture
def line(sandbox: Sandbox, web: Web, tmp_path: Path) -> Line:
    tasks = tmp_path / "tasks.yml"
    tasks.write_text(TASKS, encoding="utf-8")
    sandbox.reset_log()
    return Line(
        sandbox,
        web,
        {
            "develop_image_name": "web",
            "develop_image_version": "2",
            "develop_image_source_image_id": web.image_id,
            "develop_image_tasks": str(tasks),
            # A survey gives such a text.
            "develop_image_launch": f"{{instance_type: t3.micro, availability_zone: {REGION}a}}",
        },
    )


def test_version_is_developed_once(sandbox: Sandbox, line: Line) -> None:
    check = line.run(check=True)
    assert check.status == 0, check.output
    assert changing_calls(sandbox.log()) == []
    run = line.run()
    assert run.status == 0, run.output
    result = run.fact("develop_image_result")
    assert_told_the_same(check.fact("develop_image_result")["plan"], result["plan"], run.planned_ids)
    assert_done_as_planned(result["plan"], sandbox.log(), run.planned_ids)
    assert line.assert_developed() == result["image_id"]

    for again in (line.run(check=True), line.run()):
        assert again.status == 0, again.output
        assert (again.changed, changing_calls(sandbox.log())) == ([], [])
        assert again.fact("develop_image_result") == {**result, "changed": False, "plan": []}


def test_killed_run_is_finished_by_the_next(sandbox: Sandbox, line: Line, tmp_path: Path) -> None:
    """A kill after each call of the modules is in `tests/unit/workbench`."""
    fault = hold_at(sandbox, Point("CreateSnapshot", "after"))
    with begun(sandbox, PLAYBOOK, line.given, tmp_path / "first") as first:
        first.await_held(fault)
        first.kill_all()
        await_released(sandbox)
    sandbox.remove_fault(fault)
    run = run_playbook(sandbox, PLAYBOOK, line.given)
    assert run.status == 0, run.output
    line.assert_developed()
    assert [performed(sandbox, name) for name in ("CreateVolume", "CreateSnapshot", "RegisterImage")] == [1, 1, 1]


def test_failed_tasks_leave_a_workbench_that_can_be_discarded(sandbox: Sandbox, line: Line, tmp_path: Path) -> None:
    tasks = tmp_path / "failing.yml"
    tasks.write_text(FAILING, encoding="utf-8")
    # A mistake of the last step is refused before the first.
    mistaken = line.run(develop_image_distribution={"block_devices": [{"device_name": "/dev/sdz"}]})
    assert "the image has no device /dev/sdz" in mistaken.failures[0]
    assert changing_calls(sandbox.log()) == []
    failed = line.run(develop_image_tasks=str(tasks))
    assert failed.status != 0
    assert "develop_image_tasks: there is no release. The playbook keeps the workbench i-" in " ".join(
        failed.output.split()
    )
    assert "RegisterImage" not in changing_calls(sandbox.log())
    discarded = line.run(develop_image_state="absent")
    assert discarded.status == 0, discarded.output
    assert line.instances() == [line.web.instance_id]
    assert line.volumes() == {line.web.root_volume_id, line.web.data_volume_id}
