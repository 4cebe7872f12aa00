# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""rotate_snapshots, killed, signalled, or twice at once: the next run leaves what the rules say, one of each slot."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from playbook.interrupting import PROC, Begun, await_end, await_released, begun, performed, until
from playbook.support import DURATIONS, REGION, Run, changing_calls, run_playbook
from sandbox.client import Sandbox

PLAYBOOK = "ec2ops.storage.rotate_snapshots"
QUICK = {"snapshot_pending": 0.15}
"""Sandbox seconds: over at the first look of a wait."""
HOUR = 3600

pytestmark = [
    pytest.mark.timeout(240),
    pytest.mark.usefixtures("both_ways"),
    pytest.mark.skipif(not (PROC / "self" / "stat").exists(), reason="the processes of a run are found in /proc"),
]


@pytest.fixture(scope="module")
def one_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(start="2026-11-24T06:00:00+00:00", durations=DURATIONS) as started:
        yield started


# --- what there is, and what has to be there -------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """A running instance with the volumes ``data`` and ``log``, and a policy that has taken them every day before.

    ``whole``: as sets, with ``consistency: instance``. The policy keeps two days; there are three, and today is due.
    ``one_by_one``: the tags of today's sets follow in a call for each snapshot.
    """

    sandbox: Sandbox
    whole: bool
    instance_id: str
    volumes: Mapping[str, str]
    given: Mapping[str, Any]
    one_by_one: bool = False

    @property
    def create(self) -> str:
        return "CreateSnapshots" if self.whole else "CreateSnapshot"

    @property
    def creations(self) -> int:
        """The number of calls that one run makes for due captures."""
        return 1 if self.whole else len(self.volumes)

    def tags(self, name: str, days: int) -> dict[str, str]:
        """The tags of the policy's snapshot of the volume from so many days ago."""
        volume, device = self.volumes[name], {"data": "/dev/sdf", "log": "/dev/sdg"}[name]
        period = f"{(self.sandbox.now() - timedelta(days=days)).date()}T00:00+00:00"
        tags = {
            "Name": name,
            "team": "shop",
            "ec2ops:policy": "daily",
            "ec2ops:period": period,
        }
        if self.whole and not (self.one_by_one and days == 0):
            devices = {self.volumes["data"]: "/dev/sdf", self.volumes["log"]: "/dev/sdg"}
            records = [f"{each} gp3 8 3000 125 {devices[each]}" for each in sorted(devices)]
            together = {"ec2ops:set": f"{self.instance_id}/{period}", "ec2ops:parts": "2"}
            return {**tags, **together, "ec2ops:origins": ",".join(["us-east-1a", *records])}
        origin = f"gp3 8 3000 125 us-east-1a {self.instance_id} {device}"
        own = {"ec2ops:set": f"{self.instance_id}/{period}", "ec2ops:parts": "2"} if self.whole else {}
        return {**tags, **own, "ec2ops:source": volume, "ec2ops:origin": origin}

    def tagged(self) -> Scene:
        """The scene with a tag on the volumes that their snapshots must not have, so that tags follow the call."""
        tag = {"Key": "ec2ops:spec", "Value": "web"}
        self.sandbox.client("ec2", REGION).create_tags(Resources=[*self.volumes.values()], Tags=[tag])
        self.sandbox.reset_log()
        return replace(self, one_by_one=True)

    def described(self) -> list[dict[str, Any]]:
        """All snapshots there are, their tags as a mapping."""
        found = self.sandbox.client("ec2", REGION).describe_snapshots(OwnerIds=["self"])["Snapshots"]
        return [{**item, "Tags": {tag["Key"]: tag["Value"] for tag in item.get("Tags", [])}} for item in found]

    def snapshots(self) -> list[tuple[str, dict[str, str]]]:
        """State and tags of all snapshots of the policy."""
        found = [item for item in self.described() if item["Tags"].get("ec2ops:policy") == "daily"]
        return sorted(((item["State"], item["Tags"]) for item in found), key=_by_slot)

    def expected(self) -> list[tuple[str, dict[str, str]]]:
        """The snapshots that the rules keep: today's and yesterday's of each volume."""
        wanted = [self.tags(name, days) for name in self.volumes for days in (0, 1)]
        return sorted((("completed", tags) for tags in wanted), key=_by_slot)

    def others(self) -> set[str]:
        """The ids of snapshots outside the policy."""
        return {item["SnapshotId"] for item in self.described() if item["Tags"].get("ec2ops:policy") != "daily"}

    def todays(self) -> set[str]:
        """The ids of the snapshots for today's slot."""
        period = self.tags("data", 0)["ec2ops:period"]
        return {item["SnapshotId"] for item in self.described() if item["Tags"].get("ec2ops:period") == period}


def _by_slot(row: tuple[str, dict[str, str]]) -> tuple[str, str]:
    tags = row[1]
    return tags["ec2ops:period"], tags.get("ec2ops:source", "")


@pytest.fixture(params=[False, True], ids=["volume", "instance"])
def whole(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def scene(sandbox: Sandbox, tmp_path: Path, whole: bool) -> Iterator[Scene]:
    """Hours before midnight: the runs of a test are of one day."""
    now = sandbox.now()
    if now.hour >= 20:
        sandbox.move_clock((26 - now.hour) * HOUR)
    sandbox.configure(durations=QUICK)
    data = [{"name": name, "tags": {"Name": name}} for name in ("data", "log")]
    names = sandbox.seed({"instance": {"name": "web", "data_volumes": data}})
    volumes = {name: names[f"web/{name}"] for name in ("data", "log")}
    select: dict[str, Any] = {"select": {"volume_ids": [*volumes.values()]}}
    if whole:
        select = {
            "select": {"instance_ids": [names["web"]]},
            "consistency": "instance",
            "exclude_boot_volume": True,
        }
    policy = {"policy": "daily", "keep": {"last": 2}, "tags": {"team": "shop"}, **select}
    given = {
        "rotate_snapshots_policies": [policy],
        "rotate_snapshots_pre_tasks": str(traced(sandbox, tmp_path / "freeze.yml", "freeze")),
        "rotate_snapshots_post_tasks": str(traced(sandbox, tmp_path / "thaw.yml", "thaw")),
    }
    made = Scene(sandbox, whole, names["web"], volumes, given)
    today = sandbox.now().replace(hour=0, minute=0, second=0, microsecond=0)
    rows = [
        {
            "at": (today - timedelta(days=days, hours=-1)).isoformat(),
            "volume": volume,
            "description": f"daily: {made.instance_id if whole else volume}",
            "tags": made.tags(name, days),
        }
        for days in (1, 2, 3)
        for name, volume in volumes.items()
    ]
    other = {"volume": volumes["data"], "age": 90 * 24 * HOUR, "tags": {"ec2ops:policy": "monthly"}}
    sandbox.seed({"snapshots": [*rows, other]})
    for volume in volumes.values():
        sandbox.add_mark(volume, "written before the first run")
    others = made.others()
    sandbox.reset_log()
    yield made
    # The image's snapshot, and another policy's of the same volume.
    assert len(others) == 2
    assert made.others() == others
    sandbox.clear_faults()


def traced(sandbox: Sandbox, file: Path, moment: str) -> Path:
    """A tasks file that leaves its moment in the sandbox's log, among the calls of the role."""
    scope = f"AWS4-HMAC-SHA256 Credential=testing/20261124/{REGION}/ec2/aws4_request"
    query = f"Action=DescribeVolumes&Version=2016-11-15&Filter.1.Name=tag:trace&Filter.1.Value.1={moment}"
    call = f"lookup('ansible.builtin.url', '{sandbox.url}/?{query}', headers={{'Authorization': '{scope}'}})"
    task = {"name": f"A {moment}", "ansible.builtin.set_fact": {"traced": f"{{{{ {call} is truthy }}}}"}}
    file.write_text(json.dumps([task]), encoding="utf-8")
    return file


def traces(log: Sequence[Mapping[str, Any]]) -> list[str]:
    """The moments that the tasks files have left in a log, in order."""
    filters = [item for entry in log for item in entry["params"].get("Filters", [])]
    return [value for item in filters if item["Name"] == "tag:trace" for value in item["Values"]]


def run_to_end(scene: Scene) -> Run:
    """A run that must succeed."""
    run = run_playbook(scene.sandbox, PLAYBOOK, scene.given, timeout=100)
    assert run.status == 0, run.output
    return run


def policy_result(run: Run) -> dict[str, Any]:
    """The run's result for its one policy."""
    (entry,) = run.fact("snapshot_policy_result")["policies"]
    return dict(entry)


def await_settled(scene: Scene) -> None:
    """Waits until no snapshot is pending, since one that was deleted while pending exists until it is completed."""
    until(lambda: "pending" not in {state for state, _tags in scene.snapshots()}, "the end of what is pending")


def assert_settled(scene: Scene) -> None:
    """The policy has the snapshots that the rules keep, and today's hold all earlier writes."""
    await_settled(scene)
    assert scene.snapshots() == scene.expected()
    for snapshot_id in scene.todays():
        assert "written before the first run" in [mark["text"] for mark in scene.sandbox.marks(snapshot_id)["marks"]]


def assert_nothing_left_to_do(scene: Scene) -> None:
    """One more run changes nothing, runs no task around a capture, and knows the recovery points."""
    scene.sandbox.reset_log()
    run = run_to_end(scene)
    log = scene.sandbox.log()
    assert (changing_calls(log), traces(log), run.changed) == ([], [], [])
    told = policy_result(run)
    assert (told["changed"], told["created"], told["deleted"]) == (False, [], [])
    assert {point["due"] for point in told["rpo"]} == {False}
    assert {one for point in told["rpo"] for one in point["snapshot_ids"]} == scene.todays()
    assert scene.snapshots() == scene.expected()


def test_undisturbed_run_converges(scene: Scene) -> None:
    """The calls that all other tests count on."""
    run = run_to_end(scene)
    assert traces(scene.sandbox.log()) == ["freeze", "thaw"]
    assert (performed(scene.sandbox, scene.create), performed(scene.sandbox, "DeleteSnapshot")) == (scene.creations, 4)
    assert performed(scene.sandbox, "CreateTags") == 0
    assert set(policy_result(run)["created"]) == scene.todays()
    assert_settled(scene)
    assert_nothing_left_to_do(scene)


# --- ended in the middle ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class End:
    """The moment that ends a run. ``held``: the number of calls of the action that are held. ``done``: the number of
    these that have had their effect.

    ``which``: the calls that are held, as a fault names them. ``trace``: the tasks file that makes the call.
    ``frozen``: whether no task after the capture has run by then. ``again``: whether the next run has something to
    capture.
    """

    name: str
    whole: bool
    action: str
    when: str
    which: Any
    held: int
    done: int
    frozen: bool
    again: bool
    trace: str = ""

    def hold(self, sandbox: Sandbox) -> str:
        """Holds the calls of a run that is yet to begin. Returns the fault's id."""
        match = {"Filters.0.Name": "tag:trace", "Filters.0.Values.0": self.trace} if self.trace else {}
        return sandbox.add_fault(self.action, kind="pause", when=self.when, occurrence=self.which, match=match)

    def await_reached(self, run: Begun, sandbox: Sandbox, fault: str) -> None:
        """Waits until the run has reached the moment."""
        run.await_held(fault, calls=self.held)
        if not self.trace:
            until(lambda: performed(sandbox, self.action) == self.done, f"{self.done} {self.action}")


ALL = "every"
IN_PRE_TASKS = End("pre-tasks", False, "DescribeVolumes", "before", 1, 1, 0, False, True, "freeze")
BEFORE_THE_CAPTURE = End("before-CreateSnapshot", False, "CreateSnapshot", "before", ALL, 2, 0, True, True)
ONE_OF_TWO = End("between-two-CreateSnapshot", False, "CreateSnapshot", "before", 2, 1, 1, True, True)
AFTER_THE_CAPTURE = End("after-CreateSnapshot", False, "CreateSnapshot", "after", ALL, 2, 2, True, False)
IN_POST_TASKS = End("post-tasks", False, "DescribeVolumes", "before", 1, 1, 0, True, False, "thaw")
AMID_DELETIONS = End("amid-DeleteSnapshot", False, "DeleteSnapshot", "before", 3, 1, 3, False, False)
BEFORE_THE_SET = End("before-CreateSnapshots", True, "CreateSnapshots", "before", ALL, 1, 0, True, True)
AFTER_THE_SET = End("after-CreateSnapshots", True, "CreateSnapshots", "after", ALL, 1, 1, True, False)
ONE_OF_TWO_TAGGED = End("between-two-CreateTags", True, "CreateTags", "before", 2, 1, 1, True, False)
AMID_A_SET = End("amid-DeleteSnapshot", True, "DeleteSnapshot", "before", 3, 1, 3, False, False)


def endings(*ends: End) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("whole", "end"), [pytest.param(one.whole, one, id=one.name) for one in ends])


def end_at(scene: Scene, end: End, tmp_path: Path, how: Callable[[Begun], Any]) -> None:
    """A run that is ended at the moment. The held calls end with it: they have had their effect, or never will."""
    sandbox = scene.sandbox
    fault = end.hold(sandbox)
    with begun(sandbox, PLAYBOOK, scene.given, tmp_path / "first") as first:
        end.await_reached(first, sandbox, fault)
        how(first)
    await_released(sandbox)
    sandbox.remove_fault(fault)
    # Nothing runs after it, so a frozen file system must thaw by itself.
    log = sandbox.log()
    assert traces([entry for entry in log if entry["done"]]) == (
        [] if end.trace == "freeze" else ["freeze"] if end.frozen else ["freeze", "thaw"]
    )


def assert_carried_on(scene: Scene, end: End) -> None:
    """The next run does the rest and no more, with tasks around a capture if there is one."""
    made = scene.todays()
    scene.sandbox.reset_log()
    run = run_to_end(scene)
    log = scene.sandbox.log()
    assert traces(log) == (["freeze", "thaw"] if end.again else [])
    assert_settled(scene)
    # The run used the existing snapshots, and took none again.
    assert made <= scene.todays()
    told = policy_result(run)
    assert set(told["created"]) == scene.todays() - made
    gone = 0 if end.action != "DeleteSnapshot" else end.done
    assert (len(told["deleted"]), performed(scene.sandbox, "DeleteSnapshot")) == (4 - gone, 4 - gone)


@endings(
    IN_PRE_TASKS,
    ONE_OF_TWO,
    AFTER_THE_CAPTURE,
    IN_POST_TASKS,
    AFTER_THE_SET,
    ONE_OF_TWO_TAGGED,
    AMID_A_SET,
)
def test_killed_run_is_finished_by_the_next(scene: Scene, tmp_path: Path, end: End) -> None:
    """Every process of the run ends at the moment. The next run carries on, and a third one changes nothing."""
    scene = scene.tagged() if end is ONE_OF_TWO_TAGGED else scene
    end_at(scene, end, tmp_path, Begun.kill_all)
    assert_carried_on(scene, end)
    if end in (ONE_OF_TWO, AMID_A_SET):  # after the others nothing else is left
        assert_nothing_left_to_do(scene)


@endings(BEFORE_THE_CAPTURE, IN_POST_TASKS)
def test_terminated_run_is_finished_by_the_next(scene: Scene, tmp_path: Path, end: End) -> None:
    """SIGTERM, as a scheduler sends it: no ``always`` runs after it either."""

    def terminate(run: Begun) -> None:
        assert run.terminate().status != 0

    end_at(scene, end, tmp_path, terminate)
    assert_carried_on(scene, end)


@pytest.mark.parametrize("whole", [False], ids=["volume"])
def test_run_killed_while_waiting_is_finished_by_the_next(scene: Scene, tmp_path: Path) -> None:
    """The next run meets pending snapshots. It takes none, and waits for them before the deletions that need them.

    The oldest snapshots depend on none of them. The first run deletes these at once.
    """
    sandbox = scene.sandbox
    sandbox.configure(durations={"snapshot_pending": HOUR})

    def waits() -> bool:
        """Whether the run has polled twice."""
        asked = [entry["params"].get("Filters", []) for entry in sandbox.log(action="DescribeSnapshots")]
        polls = [item for filters in asked for item in filters if item["Name"] == "snapshot-id"]
        return len(polls) > 1

    with begun(sandbox, PLAYBOOK, scene.given, tmp_path / "first") as first:
        until(waits, "a wait for what was captured")
        first.kill_all()
    made = scene.todays()
    assert len(made) == 2
    assert performed(sandbox, "DeleteSnapshot") == 2

    sandbox.reset_log()
    with begun(sandbox, PLAYBOOK, scene.given, tmp_path / "second") as second:
        until(waits, "a wait for what the first run had captured")
        assert performed(sandbox, "DeleteSnapshot") == 0
        sandbox.move_clock(HOUR)
        run = second.ended()
    assert run.status == 0, run.output
    assert traces(sandbox.log()) == []
    assert scene.todays() == made
    assert policy_result(run)["created"] == []
    assert_settled(scene)
    assert_nothing_left_to_do(scene)


# --- beside another run ----------------------------------------------------------------------------------------------


@endings(BEFORE_THE_SET, AMID_DELETIONS)
def test_killed_controller_leaves_one_result(scene: Scene, tmp_path: Path, end: End) -> None:
    """Only ansible-playbook ends. The call of its module goes on when the next run has done the same already."""
    sandbox = scene.sandbox
    # The calls of the first run only.
    held = 4 if end is AMID_DELETIONS else scene.creations
    fault = sandbox.add_fault(end.action, kind="pause", when="before", occurrence={"first": held})
    with begun(sandbox, PLAYBOOK, scene.given, tmp_path / "first") as first:
        first.await_held(fault, calls=held)
        survivors = first.kill_playbook()
        run_to_end(scene)
        assert_settled(scene)
        made = scene.todays()
        assert sandbox.release(fault) == held
        await_end(survivors)
    sandbox.remove_fault(fault)
    assert_settled(scene)
    assert scene.todays() == made
    assert_nothing_left_to_do(scene)


def test_two_runs_at_once_leave_one_result(scene: Scene, tmp_path: Path) -> None:
    """Two runs make the same at the same moment: one of each is left, and both know which."""
    sandbox = scene.sandbox
    calls = 2 * scene.creations
    fault = sandbox.add_fault(scene.create, kind="pause", when="before", occurrence={"first": calls})
    with (
        begun(sandbox, PLAYBOOK, scene.given, tmp_path / "first") as first,
        begun(sandbox, PLAYBOOK, scene.given, tmp_path / "second") as second,
    ):
        first.await_held(fault, calls=calls)
        assert sandbox.release(fault) == calls
        runs = [first.ended(), second.ended()]
    for run in runs:
        assert run.status == 0, run.output
        assert set(policy_result(run)["created"]) == scene.todays()
    assert performed(sandbox, scene.create) == calls
    assert sorted(traces(sandbox.log())) == ["freeze", "freeze", "thaw", "thaw"]
    assert_settled(scene)
    assert_nothing_left_to_do(scene)


@pytest.mark.parametrize("whole", [True], ids=["instance"])
@pytest.mark.parametrize("deleted", [None, 0, 1], ids=["slow", "killed", "killed-between"])
def test_next_run_deletes_the_second_set_of_a_killed_run(scene: Scene, tmp_path: Path, deleted: int | None) -> None:
    """The later set of a slot replaces nothing. A run that ends before it deletes that set leaves it to the next slot.

    A run that ends between the two deletions leaves one snapshot. The next run deletes it, since its set is not whole.
    """
    sandbox = scene.sandbox
    before = sandbox.add_fault(scene.create, kind="pause", when="before", occurrence={"first": 2})
    after = sandbox.add_fault(scene.create, kind="pause", when="after", occurrence={"first": 2})
    with (
        begun(sandbox, PLAYBOOK, scene.given, tmp_path / "first") as first,
        begun(sandbox, PLAYBOOK, scene.given, tmp_path / "second") as second,
    ):
        first.await_held(before, calls=2)
        # One after the other: no fact tells the parts of two sets of the very same moment apart, so both would be kept
        # and deleted as one.
        sets: list[set[str]] = []
        for held in [each["id"] for each in sandbox.faults()["paused"]]:
            assert sandbox.release(held) == 1
            first.await_held(after, calls=len(sets) + 1)
            sets.append(scene.todays().difference(*sets))
            sandbox.move_clock(1)
        own = {
            sandbox.add_fault("DeleteSnapshot", kind="pause", when="before", match={"SnapshotId": snapshot}): snapshot
            for snapshot in sets[1]
        }
        assert sandbox.release(after) == 2
        until(lambda: first.is_over or second.is_over, "the end of the run that was earlier")
        early, late = (first, second) if first.is_over else (second, first)
        run = early.ended()
        assert run.status == 0, run.output
        # The later run is about to delete its own snapshots, one after the other.
        late.await_any_held(own)
        kept = [tags for _state, tags in scene.snapshots()]
        assert all(scene.tags(name, 1) in kept for name in scene.volumes)
        for _turn in range(len(own) if deleted is None else deleted):
            fault = late.await_any_held(own)
            assert sandbox.release(fault) == 1
            gone = own.pop(fault)
            until(lambda one=gone: one not in scene.todays(), f"the deletion of {gone}")
        if deleted is not None:
            late.await_any_held(own)
        if deleted is None:
            run = late.ended()
            assert run.status == 0, run.output
        else:
            late.kill_all()
    # The held call has no effect once its client is gone.
    await_released(sandbox)
    sandbox.clear_faults()
    if deleted is not None:
        left = set(own.values())
        sandbox.reset_log()
        run_to_end(scene)
        made = [entry["params"]["SnapshotId"] for entry in sandbox.log(action="DeleteSnapshot")]
        assert (changing_calls(sandbox.log()), made) == (["DeleteSnapshot"] * deleted, sorted(left) * deleted)
        assert scene.todays() == sets[0] | (set() if deleted else left)
        sandbox.move_clock(24 * HOUR)
        run_to_end(scene)
    assert_settled(scene)
    assert_nothing_left_to_do(scene)
