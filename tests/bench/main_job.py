# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job: an image of a running instance, and the instance relaunched from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from playbook.seeds import Web, seed_web
from report import Comparison, Row, say, where_time_goes
from runs import HERE, LATENCY, Bench, Broken, Run

STOP, SNAPSHOT, IMAGE, START = 1.0, 1.0, 1.0, 1.0
"""Seconds."""
ONE = "one instance"


@dataclass(frozen=True)
class Side:
    """One side's two runs of the same command. off: seconds. left: what serves after both. stray: snapshots."""

    first: Run
    second: Run
    off: float
    left: str
    stray: int


class BakeAndRelaunch:
    """An image of a running instance, and the instance relaunched from it; then the same command again.

    The instance was off in the gap between two of its own writes to its root volume: it makes one every tenth of a
    second, one when it comes up, and one as the last thing before it is off.
    """

    name = "bake_and_relaunch"
    title = "An image baked from a running instance, and the instance relaunched from it"
    durations: ClassVar = {
        "instance_stopping": STOP,
        "instance_pending": START,
        "snapshot_pending": SNAPSHOT,
        "image_registering": IMAGE,
        "status_ok": 0.5,
        "write_tick": 0.1,
    }

    FASTER = 5.0
    # Five of them prevent a fault. Two look for a rival that replaces the same instance, one for Classic Load
    # Balancers, one asks with DryRun whether the launch is allowed, and one looks for a successor that has the data
    # volumes before the source starts again. Without them a service can end up with two successors, lose a serving
    # member without a word, stop for a launch that EC2 refuses, or start without its data.
    MOST_CALLS = 44
    MOST_CALLS_AGAIN = 8
    LONGEST_OFF = STOP + LATENCY + START + 4.0
    # A region for each, so that none sees the other's resources.
    OURS, PEER = "eu-west-1", "eu-central-1"

    def measure(self, bench: Bench) -> Comparison:
        """Ours, ours again, the peer's, the peer's again."""
        ours = self._side(
            bench,
            self.OURS,
            "ec2ops.storage.bake_and_relaunch",
            lambda web: {
                "bake_and_relaunch_instance_id": web.instance_id,
                "bake_and_relaunch_name": "web",
                "bake_and_relaunch_version": "1",
                "bake_and_relaunch_tags": {"Name": "web-1"},
                # The peer leaves them with the old instance too. Unset, they would be looked for before the stop.
                "bake_and_relaunch_data_volumes": "keep",
                "bake_and_relaunch_elastic_ip": "keep",
                "bake_and_relaunch_target_groups": "keep",
            },
        )
        peer = self._side(
            bench,
            self.PEER,
            HERE / "peer_bake_and_relaunch.yml",
            lambda _web: {"service": "web", "version": "1"},
        )
        return Comparison(
            tuple(self._rows(ours, peer)),
            {
                "ours": ours.first,
                "ours, again": ours.second,
                "peer": peer.first,
                "peer, again": peer.second,
            },
            {
                side: {"off_seconds": each.off, "left": each.left, "stray_snapshots": each.stray}
                for side, each in (("ours", ours), ("peer", peer))
            },
            (
                (
                    f"A call takes {LATENCY * 1000:.0f} ms; stop {STOP:g} s, snapshot {SNAPSHOT:g} s, "
                    f"image {IMAGE:g} s, start {START:g} s."
                ),
                "The peer's playbook starts the instance when the image is there, and has no `always`.",
                where_time_goes("our second run", ours.second),
            ),
        )

    def _side(
        self, bench: Bench, region: str, playbook: str | Path, variables: Callable[[Web], Mapping[str, Any]]
    ) -> Side:
        sandbox = bench.sandbox
        web = seed_web(sandbox, region)
        given = variables(web)
        say(f"{playbook} in {region} ...")
        first = bench.run(playbook, region, given)
        if first.status:
            raise Broken(f"{playbook} ended with {first.status}:\n{first.output}")
        gaps = sandbox.marks(web.instance_id)["gaps"]
        if len(gaps) != 1:
            raise Broken(f"{playbook} should have stopped and started {web.instance_id} once, but it was off {gaps}")
        say(f"{playbook} again ...")
        second = bench.run(playbook, region, given)
        ec2 = sandbox.client("ec2", region)
        return Side(first, second, gaps[0]["seconds"], serving(ec2), stray_snapshots(ec2))

    def _rows(self, ours: Side, peer: Side) -> list[Row]:
        times = peer.first.seconds / ours.first.seconds
        calls, again = ours.first.calls, ours.second.calls + ours.second.polls
        return [
            Row(
                "time",
                f"{ours.first.seconds:.1f} s",
                f"{peer.first.seconds:.1f} s",
                f"{self.FASTER:g} times as fast: {times:.1f}",
                times >= self.FASTER,
            ),
            Row(
                "API calls, without polls",
                str(calls),
                str(peer.first.calls),
                f"at most {self.MOST_CALLS}",
                calls <= self.MOST_CALLS,
                binding=True,
            ),
            Row("polls of waits", str(ours.first.polls), str(peer.first.polls)),
            Row(
                "the instance was off",
                f"{ours.off:.1f} s",
                f"{peer.off:.1f} s",
                f"at most {self.LONGEST_OFF:.2f} s (stop, one call, start, 4 s)",
                ours.off <= self.LONGEST_OFF,
            ),
            Row(
                "second run: result",
                ours.second.outcome,
                peer.second.outcome,
                "no change",
                not ours.second.status and not ours.second.changed,
                binding=True,
            ),
            Row("second run: time", f"{ours.second.seconds:.1f} s", f"{peer.second.seconds:.1f} s"),
            Row(
                "second run: API calls, with polls",
                str(again),
                str(peer.second.calls + peer.second.polls),
                f"at most {self.MOST_CALLS_AGAIN}",
                again <= self.MOST_CALLS_AGAIN,
                binding=True,
            ),
            Row("afterwards: in service", ours.left, peer.left, ONE, ours.left == ONE, binding=True),
            Row("afterwards: stray snapshots", str(ours.stray), str(peer.stray), "0", ours.stray == 0, binding=True),
        ]


def serving(ec2: Any) -> str:
    """The instances under the service's name."""
    pages = ec2.get_paginator("describe_instances").paginate(
        Filters=[{"Name": "tag:Name", "Values": ["web"]}, {"Name": "instance-state-name", "Values": ["running"]}]
    )
    running = sum(len(reservation["Instances"]) for page in pages for reservation in page["Reservations"])
    return {0: "no instance: it is stopped", 1: ONE}.get(running, f"{running} instances")


def stray_snapshots(ec2: Any) -> int:
    """The number of snapshots that no image has."""
    images = ec2.describe_images(Owners=["self"])["Images"]
    devices = [device for image in images for device in image["BlockDeviceMappings"]]
    used = {device["Ebs"]["SnapshotId"] for device in devices if "Ebs" in device}
    pages = ec2.get_paginator("describe_snapshots").paginate(OwnerIds=["self"])
    return sum(snapshot["SnapshotId"] not in used for page in pages for snapshot in page["Snapshots"])
