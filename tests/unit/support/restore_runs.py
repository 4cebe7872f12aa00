# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of `snapshot_restore` on the sandbox."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.ec2ops.storage.plugins.modules import snapshot_restore

from in_process import ZONE, Ended, Machine, machine, run, snapshots, volumes
from sandbox.client import Sandbox


@dataclass(frozen=True)
class Scene:
    """A machine with volumes, and their snapshots."""

    sandbox: Sandbox
    source: Machine
    volume_ids: list[str]

    @property
    def ec2(self) -> Any:
        return self.source.ec2

    def capture(self) -> dict[str, str]:
        """One completed snapshot of each volume, one by one: by volume, its id."""
        made = {item: str(self.ec2.create_snapshot(VolumeId=item)["SnapshotId"]) for item in self.volume_ids}
        self.complete()
        return made

    def capture_set(self, day: int = 1) -> dict[str, str]:
        """A set of the machine, as snapshot_rotate takes it: by volume, the id of its snapshot."""
        instance_id = self.source.instance_id
        tags = {"policy": "p", "set": f"{instance_id}/2026-11-{day:02}T00:00+00:00", "parts": str(self.parts)}
        answer = self.ec2.create_snapshots(
            InstanceSpecification={"InstanceId": instance_id},
            Description=f"p: {instance_id}",
            TagSpecifications=[
                {
                    "ResourceType": "snapshot",
                    "Tags": [{"Key": f"ec2ops:{key}", "Value": value} for key, value in tags.items()],
                }
            ],
        )
        self.complete()
        return {item["VolumeId"]: item["SnapshotId"] for item in answer["Snapshots"]}

    @property
    def parts(self) -> int:
        return len(self.volume_ids) + 1

    def complete(self) -> None:
        self.sandbox.move_clock(60)

    def restored(self) -> dict[str, dict[str, Any]]:
        """By source, the volumes that carry the tags of a restore or a drill."""
        found = volumes(self.sandbox).values()
        return {
            item["tags"]["ec2ops:volume"].rpartition("/")[2]: item for item in found if "ec2ops:spec" in item["tags"]
        }


def begin(sandbox: Sandbox, data: int = 1) -> Scene:
    """A machine with so many data volumes."""
    source = machine(sandbox, "source", data=data)
    return Scene(sandbox, source, sorted(source.attached().values()))


def restore(sandbox: Sandbox, **given: Any) -> Ended:
    return run(sandbox, module=snapshot_restore, **given)


def left_volume(scene: Scene, snapshot: str, drill: str = "00000001") -> str:
    source = snapshots(scene.sandbox)[snapshot]["VolumeId"]
    tags = {"ec2ops:spec": f"restore-drill/{source}/{drill}", "ec2ops:volume": source}
    return str(
        scene.ec2.create_volume(
            AvailabilityZone=ZONE,
            SnapshotId=snapshot,
            TagSpecifications=[
                {"ResourceType": "volume", "Tags": [{"Key": key, "Value": tags[key]} for key in sorted(tags)]}
            ],
        )["VolumeId"]
    )
