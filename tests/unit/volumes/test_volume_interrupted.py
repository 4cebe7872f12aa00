# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`ebs_volume_spec` killed or refused at each of its changing calls, and run again: the world of an undisturbed run.

The marks on the volumes show that no write is lost on the way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from in_process import (
    OTHER_ZONE,
    REGION,
    ZONE,
    Killed,
    KillingGateway,
    Machine,
    RefusingGateway,
    machine,
    run,
    snapshots,
    texts,
    volumes,
)
from sandbox.client import Sandbox
from worlds import sandbox_gateway

Options = dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """The start of a scenario: two machines, one of them in the other zone on request."""

    sandbox: Sandbox
    web: Machine
    db: Machine

    @property
    def data(self) -> str:
        """The volume under test."""
        found = volumes(self.sandbox)
        return next(item["VolumeId"] for item in found.values() if item["tags"].get("role") == "data")


@dataclass(frozen=True)
class Scenario:
    """``options`` of the task. ``calls``: how many changes an undisturbed run makes.

    ``joined``: how many of them share the call of another one. ``back``: the first and the last of them whose failure
    ends where the run began.
    """

    name: str
    options: Callable[[Scene, str], Options]
    calls: int
    back: tuple[int, int] = (1, 0)
    db_zone: str = ZONE
    attached: bool = True
    joined: int = 0


def swap(scene: Scene, _data: str, **given: Any) -> Options:
    entry = {"name": "data", "device_name": "/dev/sdf", "encrypted": True}
    return {
        "instance_ids": [scene.web.instance_id],
        "volumes": [entry],
        "replace": "snapshot",
        "in_use": "stop",
        **given,
    }


def move(scene: Scene, data: str, **given: Any) -> Options:
    return {
        "instance_ids": [scene.db.instance_id],
        "volumes": [{"volume_id": data, "name": "data"}],
        "replace": "snapshot",
        "steal": True,
        "in_use": "stop",
        **given,
    }


def entry(scene: Scene, _data: str, /, **given: Any) -> Options:
    both = {"in_use": given.pop("in_use", "stop"), "purge_volumes": given.pop("purge_volumes", False)}
    volume = {"name": "data", "device_name": "/dev/sdf", **given}
    return {"instance_ids": [scene.web.instance_id], "volumes": [volume], **both}


def gone(scene: Scene, data: str, **given: Any) -> Options:
    volume = {"name": "data", "volume_id": data, **given}
    return {"instance_ids": [scene.web.instance_id], "volumes": [volume], "in_use": "stop"}


SCENARIOS = (
    Scenario("swap, stopped", swap, 14, (3, 8)),
    Scenario("swap, taken off the running system", lambda *at: swap(*at, in_use="detach"), 10, (3, 6)),
    Scenario("swap, the old one deleted", lambda *at: swap(*at, delete_replaced=True), 14, (3, 8), joined=1),
    Scenario("move within the zone", move, 9, (2, 5)),
    Scenario("move to another zone", move, 13, (2, 7), db_zone=OTHER_ZONE),
    Scenario("move of a detached volume to another zone", move, 6, (1, 3), db_zone=OTHER_ZONE, attached=False),
    Scenario("absent", lambda *at: gone(*at, state="absent"), 8, (2, 3)),
    Scenario("detached", lambda *at: gone(*at, state="detached"), 8, (2, 3)),
    Scenario(
        "purged",
        lambda scene, _data: {
            "instance_ids": [scene.web.instance_id],
            "volumes": [],
            "purge_volumes": True,
            "in_use": "stop",
        },
        7,
        (2, 3),
    ),
    Scenario(
        "made",
        lambda scene, _data: {
            "instance_ids": [scene.web.instance_id],
            "volumes": [
                {"name": "new", "size": 10, "delete_on_termination": True},
                {"name": "other", "size": 20, "volume_type": "gp2"},
            ],
        },
        5,
    ),
    Scenario(
        "changed in place",
        lambda *at: entry(*at, size=30, iops=4000, tags={"team": "a"}, delete_on_termination=True),
        3,
    ),
)
KILLS = [(scenario, nth) for scenario in SCENARIOS for nth in range(1, scenario.calls - scenario.joined + 1)]


@pytest.fixture(scope="module")
def quick_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(speed=60.0, seed=1, durations={"snapshot_pending": 2.0}) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(quick_sandbox: Sandbox) -> Sandbox:
    quick_sandbox.reset()
    quick_sandbox.configure(durations={"snapshot_pending": 2.0})
    return quick_sandbox


def begin(sandbox: Sandbox, scenario: Scenario) -> Scene:
    sandbox.configure(durations={"volume_modifying": 0.5, "volume_optimizing": 0.5})
    web = machine(sandbox, "web", data=[{"device": "/dev/sdf", "tags": {"role": "data"}}])
    db = machine(sandbox, "db", options={"Placement": {"AvailabilityZone": scenario.db_zone}})
    scene = Scene(sandbox, web, db)
    if not scenario.attached:
        web.ec2.detach_volume(VolumeId=scene.data)
        web.ec2.get_waiter("volume_available").wait(VolumeIds=[scene.data], WaiterConfig={"Delay": 0.05})
    return scene


def world(scene: Scene) -> Iterator[str]:
    """All resources, sorted, with words in place of the ids that runs have made, so that equal worlds are equal."""
    names = {scene.web.instance_id: "web", scene.db.instance_id: "db"}
    for item in volumes(scene.sandbox).values():
        links = sorted(
            (names[link["InstanceId"]], link["Device"], link["DeleteOnTermination"]) for link in item["Attachments"]
        )
        fields = {name: item.get(name) for name in ("Size", "VolumeType", "Iops", "Encrypted", "AvailabilityZone")}
        yield _named(f"volume {item['State']} {links} {fields} {sorted(item['tags'].items())}", names)
    for item in snapshots(scene.sandbox).values():
        tags = sorted((tag["Key"], tag["Value"]) for tag in item.get("Tags", []))
        yield _named(f"snapshot {item['State']} {tags}", names)
    for one, name in ((scene.web, "web"), (scene.db, "db")):
        yield _named(f"{name} {one.state} {sorted(one.tags.items())}", names)


def _named(text: str, names: dict[str, str]) -> str:
    for instance_id, name in names.items():
        text = text.replace(instance_id, name)
    return re.sub(r"(vol|snap)-[0-9a-f]{17}", r"\1-x", text)


EXPECTED: dict[str, list[str]] = {}


def expected(sandbox: Sandbox, scenario: Scenario) -> list[str]:
    """The world after an undisturbed run, which is made when first asked for."""
    if scenario.name not in EXPECTED:
        scene = begin(sandbox, scenario)
        ended = run(sandbox, **scenario.options(scene, scene.data))
        assert ended.failed == ""
        assert len(ended.actions) == scenario.calls, ended.actions
        EXPECTED[scenario.name] = sorted(world(scene))
        sandbox.reset()
    return EXPECTED[scenario.name]


def assert_nothing_lost(scene: Scene, data: str) -> None:
    """Every write to the volume is on the volume that stands for it now, and on all that was kept of it."""
    written = texts(scene.sandbox, data)
    there = volumes(scene.sandbox)
    successors = [item for item, row in there.items() if data in row["tags"].get("ec2ops:replaces", "")]
    finals = [
        item
        for item, row in snapshots(scene.sandbox).items()
        if {"Key": "ec2ops:final", "Value": data} in row.get("Tags", [])
    ]
    kept = [*([data] if data in there else []), *successors, *finals]
    assert kept
    for item in kept:
        assert texts(scene.sandbox, item)[: len(written)] == written, item


# A kill before a call equals a kill after the previous call.
@pytest.mark.parametrize(("scenario", "nth"), KILLS, ids=[f"{one.name} {nth}" for one, nth in KILLS])
def test_rerun_after_a_kill_completes_the_work(sandbox: Sandbox, scenario: Scenario, nth: int) -> None:
    undisturbed = expected(sandbox, scenario)
    scene = begin(sandbox, scenario)
    data = scene.data
    options = scenario.options(scene, data)
    gateway = KillingGateway(sandbox_gateway(sandbox, REGION), nth)
    with pytest.raises(Killed):
        run(sandbox, gateway=gateway, **options)
    ended = run(sandbox, **options)
    assert ended.failed == ""
    assert sorted(world(scene)) == undisturbed
    assert_nothing_lost(scene, data)
    again = run(sandbox, **options)
    assert (again.failed, again.result["plan"]) == ("", [])


REFUSALS = [(scenario, nth) for scenario in SCENARIOS for nth in range(scenario.back[0], scenario.back[1] + 1)]


def places(scene: Scene) -> list[str]:
    """The world without the records that a run may leave: the place of each volume."""
    identity = r"\('ec2ops:(spec|volume)', '\w+'\)(, )?"
    return sorted(re.sub(identity, "", line).replace(", ]", "]") for line in world(scene))


@pytest.mark.parametrize("unclear", [False, True], ids=["refused", "unclear"])
@pytest.mark.parametrize(("scenario", "nth"), REFUSALS, ids=[f"{one.name} {nth}" for one, nth in REFUSALS])
def test_refusal_midway_is_rolled_back(sandbox: Sandbox, scenario: Scenario, nth: int, unclear: bool) -> None:
    undisturbed = expected(sandbox, scenario)
    scene = begin(sandbox, scenario)
    data, first = scene.data, places(scene)
    options = scenario.options(scene, data)
    gateway = RefusingGateway(sandbox_gateway(sandbox, REGION), nth, unclear=unclear)
    disturbed = run(sandbox, gateway=gateway, **options)
    if not disturbed.failed:
        # A create whose answer was lost is found again, and the run goes on.
        assert unclear
    elif unclear and nth == scenario.back[1] and scenario.name.startswith(("swap", "move")):
        # The attachment was made: the rollback keeps it, and the next run finishes the swap.
        assert "InternalError" in disturbed.failed
        assert scene.web.state == scene.db.state == "running"
    else:
        assert ("InternalError" if unclear else "UnauthorizedOperation") in disturbed.failed
        # A volume whose answer was lost is unknown to the run that made it; the next one finds it, and deletes it.
        assert [line for line in places(scene) if "ec2ops:replaces" not in line] == first, disturbed.warnings
    ended = run(sandbox, **options)
    assert ended.failed == ""
    assert sorted(world(scene)) == undisturbed
    assert_nothing_lost(scene, data)


# --- an attached copy is kept ----------------------------------------------------------------------------------------


def assert_holds(sandbox: Sandbox, volume_id: str, written: list[str]) -> None:
    """Writes to a serving copy are on the volume that serves now."""
    assert [line for line in written if line not in texts(sandbox, volume_id)] == []


def two_swaps(scene: Scene) -> Options:
    volumes_of_web = [
        {"name": name, "device_name": device, "encrypted": True}
        for name, device in (("data", "/dev/sdf"), ("log", "/dev/sdg"))
    ]
    return {
        "instance_ids": [scene.web.instance_id],
        "volumes": volumes_of_web,
        "replace": "snapshot",
        "in_use": "detach",
    }


@pytest.mark.parametrize(("action", "nth"), [("AttachVolume", 1), ("AttachVolume", 2), ("ModifyInstanceAttribute", 1)])
def test_a_copy_that_serves_is_kept_when_another_fails(sandbox: Sandbox, action: str, nth: int) -> None:
    devices = [{"device": device, "tags": {"role": "data"}} for device in ("/dev/sdf", "/dev/sdg")]
    web = machine(sandbox, "web", data=[{**device, "delete_on_termination": True} for device in devices])
    scene = Scene(sandbox, web, web)
    before = web.attached()
    with sandbox.fault(action, occurrence=nth, kind="error", code="UnauthorizedOperation", status=403):
        failed = run(sandbox, **two_swaps(scene))
    assert "UnauthorizedOperation" in failed.failed
    serving = web.attached()
    assert set(serving) == set(before)
    written = {device: texts(sandbox, volume_id) for device, volume_id in serving.items()}
    ended = run(sandbox, **two_swaps(scene))
    assert ended.failed == ""
    for device, volume_id in web.attached().items():
        assert volume_id != before[device]
        assert_holds(sandbox, volume_id, written[device])
    again = run(sandbox, **two_swaps(scene))
    assert (again.failed, again.result["plan"]) == ("", [])


class LateGateway:
    """The gateway of a run that another run overtakes right before its first AttachVolume."""

    def __init__(self, gateway: Any, faster: Callable[[str], None]) -> None:
        self._gateway = gateway
        self._faster = faster

    def __getattr__(self, name: str) -> Any:
        return getattr(self._gateway, name)

    def perform(self, changes: Any, generation: int = 0) -> Any:
        if changes[0].action == "AttachVolume" and self._faster is not None:
            faster, self._faster = self._faster, None
            faster(changes[0].resource)
        return self._gateway.perform(changes, generation)


def test_overtaken_run_rolls_nothing_back(sandbox: Sandbox) -> None:
    scene = begin(sandbox, SCENARIOS[0])
    options = swap(scene, scene.data)
    new: list[str] = []

    def faster(volume_id: str) -> None:
        """Let another run of the same task work at this moment."""
        new.append(volume_id)
        scene.web.ec2.attach_volume(VolumeId=volume_id, InstanceId=scene.web.instance_id, Device="/dev/sdf")
        scene.web.ec2.start_instances(InstanceIds=[scene.web.instance_id])
        sandbox.add_mark(volume_id, "written by the service")

    # The run fails, or finds the change already made.
    run(sandbox, gateway=LateGateway(sandbox_gateway(sandbox, REGION), faster), alone=False, **options)
    ended = run(sandbox, **options)
    assert ended.failed == ""
    assert scene.web.attached() == {"/dev/sdf": new[0]}
    assert "written by the service" in " ".join(texts(sandbox, new[0]))


@pytest.mark.parametrize("nth", range(4, 9))
@pytest.mark.parametrize("changed", [{"in_use": "refuse"}, {"replace": "never"}], ids=str)
def test_instance_left_stopped_by_a_kill_is_started_by_another_declaration(
    sandbox: Sandbox, nth: int, changed: Options
) -> None:
    scene = begin(sandbox, SCENARIOS[0])
    with pytest.raises(Killed):
        run(sandbox, gateway=KillingGateway(sandbox_gateway(sandbox, REGION), nth), **swap(scene, scene.data))
    options = {**swap(scene, scene.data), **changed}
    if "replace" in changed:
        options["volumes"] = [{"name": "data", "device_name": "/dev/sdf"}]
    ended = run(sandbox, **options)
    assert ended.failed == ""
    assert scene.web.state == "running"
    assert "ec2ops:restore-state" not in scene.web.tags
    again = run(sandbox, **options)
    assert (again.failed, again.result["plan"]) == ("", [])


@pytest.mark.parametrize("first", ["left by its own way back", "killed, and attached again by hand"])
def test_pending_snapshot_of_an_earlier_run_is_not_copied(sandbox: Sandbox, first: str) -> None:
    """EC2 shows it, deleted or not, until it is complete. It lacks all later writes."""
    sandbox.configure(durations={"snapshot_pending": 120.0})
    web = machine(sandbox, "web", data=[{"device": "/dev/sdf", "tags": {"role": "data"}}])
    scene = Scene(sandbox, web, web)
    old = scene.data
    options = swap(scene, old, in_use="detach")
    if first.startswith("killed"):
        with pytest.raises(Killed):
            run(sandbox, gateway=KillingGateway(sandbox_gateway(sandbox, REGION), 4), **options)
        web.ec2.attach_volume(VolumeId=old, InstanceId=web.instance_id, Device="/dev/sdf")
        web.ec2.get_waiter("volume_in_use").wait(VolumeIds=[old], WaiterConfig={"Delay": 0.05})
    else:
        assert "begins anew. Set a longer wait_timeout" in run(sandbox, **{**options, "wait_timeout": 30}).failed
    assert web.attached() == {"/dev/sdf": old}
    assert [item["State"] for item in snapshots(sandbox).values() if item["VolumeId"] == old] == ["pending"]
    sandbox.add_mark(old, "written between the runs")
    ended = run(sandbox, **options)
    assert (ended.failed, ended.warnings) == ("", [])
    new = web.attached()["/dev/sdf"]
    assert new != old
    assert "written between the runs" in " ".join(texts(sandbox, new))
    assert_nothing_lost(scene, old)
