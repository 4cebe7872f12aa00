# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of playbooks that are ended in the middle, and the world that the next run must leave.

A kill has two kinds. With the first kind, every process of the run ends at the same moment, as when the machine goes
down: all are stopped, then all are killed. With the second kind, only ansible-playbook itself ends. Its children go on,
since ansible-core's workers have sessions of their own, and their calls arrive beside those of the next run.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from playbook.seeds import ROOT_DEVICE, Web
from playbook.support import REGION, Run, connected, marks_before, playbook_environment, recorded
from sandbox.client import Sandbox

PROC = Path("/proc")
WITHIN = 60.0
"""Real seconds within which whatever is waited for has to come about."""

RESTORE_STATE = "ec2ops:restore-state"
REPLACES = "ec2ops:replaces"
TRIAL = "ec2ops:trial"
FINGERPRINT = "ec2ops:fingerprint"
MACHINE = "ec2ops:machine"


def until(condition: Callable[[], Any], what: str, seconds: float = WITHIN) -> Any:
    """Asks again and again until the answer is true, and returns it. Raises AssertionError, which names ``what``."""
    end = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.02)
    return answer


# --- processes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Process:
    """A process. The moment of its start, in clock ticks, distinguishes it from a later one with the same id."""

    pid: int
    started: int

    @property
    def lives(self) -> bool:
        row = _stat(self.pid)
        return row is not None and row.started == self.started

    def send(self, number: signal.Signals) -> None:
        """Sends a signal, unless it has ended."""
        if self.lives:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


@dataclass(frozen=True)
class _Row:
    parent: int
    started: int


def _stat(pid: int) -> _Row | None:
    """A line of /proc; None for a process that has ended, even for a zombie."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The program's name, in parentheses, may hold anything. After it come state (field 3), parent, ..., start (22).
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else _Row(int(fields[1]), int(fields[19]))


def descendants(root: Process) -> list[Process]:
    """The process and all its descendants, as far as their parents live."""
    children: dict[int, list[Process]] = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit() and (row := _stat(int(folder.name))) is not None:
            children.setdefault(row.parent, []).append(Process(int(folder.name), row.started))
    found, waiting = [root], [root]
    while waiting:
        below = children.get(waiting.pop().pid, [])
        found += below
        waiting += below
    return found


def await_end(processes: Iterable[Process]) -> None:
    """Waits until all of them have ended."""
    until(lambda: not any(each.lives for each in processes), f"the end of {[each.pid for each in processes]}")


class Begun:
    """A run of ansible-playbook that goes on beside the test, in a process group of its own, as a shell begins one."""

    def __init__(self, sandbox: Sandbox, playbook: Path | str, variables: Mapping[str, Any], folder: Path) -> None:
        folder.mkdir()
        self._sandbox = sandbox
        self._record, self._output = folder / "record.jsonl", folder / "output"
        # The test's folder has the leftovers of a killed run.
        temporary = {f"ANSIBLE_{which}_TEMP": str(folder / which.lower()) for which in ("LOCAL", "REMOTE")}
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                ["ansible-playbook", str(playbook), "-e", json.dumps(connected(playbook, variables))],
                env={**playbook_environment(sandbox, self._record), **temporary},
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
        row = _stat(self._process.pid)
        if row is None:
            raise AssertionError(f"{playbook} ended as it began: {self._output.read_text(encoding='utf-8')}")
        self._playbook = Process(self._process.pid, row.started)
        self._known: set[Process] = {self._playbook}

    def await_held(self, fault: str, calls: int = 1) -> None:
        """Waits until so many calls are held by the fault. Raises AssertionError when the run ends before."""

        def held() -> bool:
            return sum(each["rule"] == fault for each in self._sandbox.faults()["paused"]) >= calls

        until(lambda: held() or self._process.poll() is not None, f"{calls} call held by {fault}")
        if not held():
            raise AssertionError(f"the run ended with {self._process.returncode}:\n{self.ended().output}")

    def await_any_held(self, faults: Collection[str]) -> str:
        """Waits until one of the faults holds a call, and returns that fault.

        Raises AssertionError when the run ends before.
        """

        def held() -> str:
            return next((each["rule"] for each in self._sandbox.faults()["paused"] if each["rule"] in faults), "")

        until(lambda: held() or self._process.poll() is not None, f"a call held by one of {sorted(faults)}")
        fault = held()
        if not fault:
            raise AssertionError(f"the run ended with {self._process.returncode}:\n{self.ended().output}")
        return fault

    @property
    def process(self) -> Process:
        """The process of ansible-playbook."""
        return self._playbook

    @property
    def is_over(self) -> bool:
        """Whether it has ended, in any way."""
        return self._process.poll() is not None

    def kill_all(self) -> None:
        """SIGKILL to every process of the run, at one moment: none of them sees another one's end."""
        frozen: set[Process] = set()
        while new := set(descendants(self._playbook)) - frozen:
            for process in new:
                process.send(signal.SIGSTOP)
            frozen |= new
        self._known |= frozen
        for process in frozen:
            process.send(signal.SIGKILL)
        self._process.wait(WITHIN)
        await_end(frozen)

    def kill_playbook(self) -> list[Process]:
        """SIGKILL to ansible-playbook alone. Returns the processes that go on."""
        survivors = descendants(self._playbook)[1:]
        self._known.update(survivors)
        self._process.kill()
        self._process.wait(WITHIN)
        survivors = [each for each in survivors if each.lives]
        if not survivors:
            raise AssertionError("nothing has survived ansible-playbook")
        return survivors

    def interrupt(self) -> Run:
        """Ctrl-C: SIGINT to the foreground process group, which is the run's."""
        return self._signalled(lambda: os.killpg(self._process.pid, signal.SIGINT))

    def terminate(self) -> Run:
        """SIGTERM to ansible-playbook."""
        return self._signalled(self._process.terminate)

    def _signalled(self, send: Callable[[], None]) -> Run:
        family = descendants(self._playbook)
        self._known.update(family)
        send()
        ended = self.ended()
        await_end(family)
        return ended

    def ended(self, seconds: float = WITHIN) -> Run:
        """Return the outcome, once the run has ended by itself or by a signal."""
        status = self._process.wait(seconds)
        return Run(status, self._output.read_text(encoding="utf-8"), recorded(self._record))

    def end(self) -> None:
        """Leaves no process of the run behind."""
        if self._process.poll() is None:
            self.kill_all()
        for process in self._known:
            process.send(signal.SIGKILL)
        await_end(self._known)


@contextlib.contextmanager
def begun(sandbox: Sandbox, playbook: Path | str, variables: Mapping[str, Any], folder: Path) -> Iterator[Begun]:
    """A run that is ended, with all that it has started, when the block is left. ``folder`` must not exist yet."""
    run = Begun(sandbox, playbook, variables, folder)
    try:
        yield run
    finally:
        run.end()


# --- where a run is interrupted --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """A moment of a run: a call that is held, before it has had its effect, or after that and before its answer.

    ``nth``: which of the calls of that name, counted from 1. ``match``: parameters that it must have.
    """

    action: str
    when: str
    nth: int = 1

    def __str__(self) -> str:
        return f"{self.when}-{self.action}" + (f"-{self.nth}" if self.nth > 1 else "")


def hold_at(sandbox: Sandbox, point: Point) -> str:
    """Holds the call at the point, of a run that is yet to begin. Returns the fault's id."""
    return sandbox.add_fault(point.action, kind="pause", when=point.when, occurrence=point.nth)


def await_released(sandbox: Sandbox) -> None:
    """Waits until no call is held any more: the effect of each one is there, or will never be."""
    until(lambda: not sandbox.faults()["paused"], "the end of the held calls")


def performed(sandbox: Sandbox, action: str) -> int:
    """How many calls of that name have had their effect."""
    return sum(1 for entry in sandbox.log(action=action) if entry["done"])


# --- the world -------------------------------------------------------------------------------------------------------


def instance_now(sandbox: Sandbox, instance_id: str) -> tuple[str, dict[str, str]]:
    """The state and the tags of an instance."""
    answer = sandbox.client("ec2", REGION).describe_instances(InstanceIds=[instance_id])
    instance = answer["Reservations"][0]["Instances"][0]
    return instance["State"]["Name"], _tags(instance)


def _tags(resource: Mapping[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in resource.get("Tags", ())}


def world_of(sandbox: Sandbox, web: Web) -> dict[str, Any]:
    """All resources of the region, without the image of the first instance and without terminated instances.

    In place of each id stands its kind with a number in the order of creation, so that two worlds can be compared.
    """
    ec2 = sandbox.client("ec2", REGION)
    images = ec2.describe_images(Owners=["self"], IncludeDisabled=True)["Images"]
    (distribution,) = (image for image in images if image["ImageId"] == web.image_id)
    images = [image for image in images if image is not distribution]
    images.sort(key=lambda image: (image["CreationDate"], image["ImageId"]))
    theirs = {device["Ebs"]["SnapshotId"] for device in distribution["BlockDeviceMappings"]}
    snapshots = ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]
    snapshots = [snapshot for snapshot in snapshots if snapshot["SnapshotId"] not in theirs]
    snapshots.sort(key=lambda snapshot: (snapshot["StartTime"], snapshot["SnapshotId"]))
    reservations = ec2.describe_instances()["Reservations"]
    instances = [instance for each in reservations for instance in each["Instances"]]
    instances = [one for one in instances if one["State"]["Name"] not in ("shutting-down", "terminated")]
    instances.sort(key=lambda instance: (instance["InstanceId"] != web.instance_id, instance["LaunchTime"]))

    names = {web.image_id: "distribution", web.root_volume_id: "old root", web.data_volume_id: "old data"}
    names |= {image["ImageId"]: f"image {number}" for number, image in enumerate(images, 1)}
    names |= {snapshot["SnapshotId"]: f"snapshot {number}" for number, snapshot in enumerate(snapshots, 1)}
    names |= {instance["InstanceId"]: f"new {number}" for number, instance in enumerate(instances)}
    names[web.instance_id] = "old"

    fingerprints: list[str] = []

    def shown(resource: Mapping[str, Any]) -> dict[str, str]:
        """The tags, ids by name. A fingerprint depends on ids, so its number among the different ones stands for it."""
        tags = _tags(resource)
        if REPLACES in tags:
            tags[REPLACES] = ",".join(names.get(part, part) for part in tags[REPLACES].split(","))
        if FINGERPRINT in tags:
            if tags[FINGERPRINT] not in fingerprints:
                fingerprints.append(tags[FINGERPRINT])
            tags[FINGERPRINT] = f"fingerprint {fingerprints.index(tags[FINGERPRINT]) + 1}"
        if MACHINE in tags:
            tags[MACHINE] = "told"
        return tags

    def devices(resource: Mapping[str, Any], key: str) -> dict[str, str]:
        mappings = {each["DeviceName"]: each["Ebs"][key] for each in resource["BlockDeviceMappings"]}
        return {device: names.get(found, "a volume") for device, found in mappings.items()}

    return {
        "instances": {
            names[one["InstanceId"]]: {
                "state": one["State"]["Name"],
                "image": names.get(one["ImageId"], one["ImageId"]),
                "devices": devices(one, "VolumeId"),
                "tags": shown(one),
            }
            for one in instances
        },
        "images": {
            names[one["ImageId"]]: {
                "name": one["Name"],
                "state": one["State"],
                "devices": devices(one, "SnapshotId"),
                "tags": shown(one),
            }
            for one in images
        },
        "snapshots": {
            names[one["SnapshotId"]]: {
                "state": one["State"],
                "volume": names.get(one["VolumeId"], one["VolumeId"]),
                "tags": shown(one),
            }
            for one in snapshots
        },
        "volumes": len(ec2.describe_volumes()["Volumes"]),
    }


_BAKED = {"ec2ops:image": "web", "ec2ops:version": "1", FINGERPRINT: "fingerprint 1"}
_CAPTURED = {**_BAKED, MACHINE: "told"}

SETTLED: dict[str, Any] = {
    "instances": {
        "old": {
            "state": "stopped",
            "image": "distribution",
            "devices": {"/dev/xvda": "old root", "/dev/sdf": "old data"},
            "tags": {"Name": "web"},
        },
        "new 1": {
            "state": "running",
            "image": "image 1",
            "devices": {"/dev/xvda": "a volume"},
            "tags": {"Name": "web", REPLACES: "old", TRIAL: "serving"},
        },
    },
    "images": {
        "image 1": {
            "name": "web-1",
            "state": "available",
            "devices": {"/dev/xvda": "snapshot 1"},
            "tags": _BAKED,
        },
    },
    "snapshots": {"snapshot 1": {"state": "completed", "volume": "old root", "tags": _CAPTURED}},
    "volumes": 3,
}
"""The world of `world_of` after a run that nothing has disturbed: the first test holds it against one."""


def assert_settled(sandbox: Sandbox, web: Web) -> None:
    """The world is that of an undisturbed run, and the writes are where they belong.

    The image holds every write of the old instance up to the stop of its capture, the last one of the stop included.
    The new instance carries them all.
    """
    ec2 = sandbox.client("ec2", REGION)
    # One of two that was deleted while it was pending is there until it is completed.
    pending = [{"Name": "status", "Values": ["pending"]}]
    until(lambda: not ec2.describe_snapshots(OwnerIds=["self"], Filters=pending)["Snapshots"], "the end of snapshots")
    assert world_of(sandbox, web) == SETTLED
    (image,) = ec2.describe_images(Owners=["self"], Filters=[{"Name": "tag-key", "Values": ["ec2ops:image"]}])["Images"]
    (device,) = image["BlockDeviceMappings"]
    captured = sandbox.inspect(device["Ebs"]["SnapshotId"])["created"]
    held = sandbox.marks(image["ImageId"])["devices"][ROOT_DEVICE]
    assert held == marks_before(sandbox.marks(web.root_volume_id)["marks"], captured)
    assert held[-1]["text"] == "stop", "the old instance was not off when it was captured"
    assert OWN_WRITE in [mark["text"] for mark in held]
    living = [{"Name": "tag-key", "Values": [REPLACES]}, {"Name": "instance-state-name", "Values": ["running"]}]
    (reservation,) = ec2.describe_instances(Filters=living)["Reservations"]
    carried = sandbox.marks(reservation["Instances"][0]["InstanceId"])["devices"][ROOT_DEVICE]
    assert carried[: len(held)] == held
    assert len(carried) > len(held), "the new instance has written nothing of its own"


OWN_WRITE = "written before the first run"
