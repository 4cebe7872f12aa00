# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`snapshot_rotate` on the sandbox: run, run again, killed and run again, refused, two at once, and for 400 days."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._domain.origins import Origin, origin_of
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Snapshot

from in_process import REGION, ZONE, Killed, KillingGateway, RefusingGateway, snapshots
from playbook.support import run_playbook
from rotation_runs import DAY, Together, deletes, four, of_policy, ok, past, rotate
from sandbox.client import Sandbox
from worlds import START, sandbox_gateway


@pytest.fixture(scope="module")
def quick_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(speed=60.0, seed=1, start=START, durations={"snapshot_pending": 2.0}) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(quick_sandbox: Sandbox) -> Sandbox:
    """Empty, early on a day of its own: a test is over long before the day is."""
    quick_sandbox.reset()
    quick_sandbox.reset_log()
    usual = {"snapshot_pending": 2.0, "snapshot_copying": 1.0, "volume_creating": 0.4, "image_registering": 0.3}
    quick_sandbox.configure(durations=usual, visibility_delay={"snapshot": 0})
    now = quick_sandbox.now()
    if now.hour >= 12:
        quick_sandbox.move_clock((timedelta(hours=25 - now.hour) - timedelta(minutes=now.minute)).total_seconds())
    return quick_sandbox


# --- what is there, and what has to be there --------------------------------------------------------------------------


@dataclass(frozen=True)
class Scene:
    """A machine with a root and two data volumes, and the policy's snapshots of the five days before."""

    sandbox: Sandbox
    instance: str
    volumes: tuple[str, str, str]


@dataclass(frozen=True)
class Scenario:
    """``options`` of the task. ``calls``: how many changing calls an undisturbed run makes. ``tags``: the volumes'."""

    name: str
    options: Callable[[Scene], dict[str, Any]]
    calls: int
    sets: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


def set_options(scene: Scene) -> dict[str, Any]:
    return {
        "select": {"instance_ids": [scene.instance]},
        "consistency": "instance",
        "exclude_boot_volume": True,
        "keep": {"last": 5},
    }


SCENARIOS = (
    Scenario(
        "volumes",
        lambda _scene: {"select": {"tags": {"backup": "daily"}}, "keep": {"last": 4}, "tags": {"team": "a"}},
        2 + 1 + 4,
    ),
    Scenario("set", set_options, 1 + 2, sets=True),
    # The snapshots must not have a tag that the volumes have, so their other tags follow.
    Scenario("tagged set", set_options, 1 + 2 + 2, sets=True, tags={"ec2ops:spec": "web"}),
)


def begin(sandbox: Sandbox, scenario: Scenario) -> Scene:
    tags = {"backup": "daily", **scenario.tags}
    data = [{"name": name, "tags": {**tags, "Name": name}} for name in ("data", "log")]
    names = sandbox.seed({"instance": {"name": "web", "data_volumes": data}})
    scene = Scene(sandbox, names["web"], (names["web/root"], names["web/data"], names["web/log"]))
    past(sandbox, scene.volumes[1:], 5, scene.instance if scenario.sets else "")
    sandbox.reset_log()
    return scene


def world(scene: Scene) -> list[str]:
    """All snapshots of the policy, sorted, without the ids and times that differ from run to run."""
    names = {one: f"volume {number}" for number, one in enumerate(scene.volumes)} | {scene.instance: "web"}
    today = scene.sandbox.now().date()

    def anonymous(text: str) -> str:
        for name, word in names.items():
            text = text.replace(name, word)
        for number in range(7):
            text = text.replace(f"{today - timedelta(days=number)}", f"day -{number}")
        return text

    lines = []
    for row in of_policy(scene.sandbox).values():
        # The records of a set are in the order of the volumes' ids, which differ.
        tags = {key: sorted(anonymous(value).split(",")) for key, value in row["tags"].items()}
        lines.append(f"{row['State']} {anonymous(row['VolumeId'])} {sorted(tags.items())}")
    return sorted(lines)


def recorded(row: Mapping[str, Any]) -> Origin:
    """The record of its volume that a snapshot carries."""
    return origin_of(Snapshot(row["SnapshotId"], volume_id=row["VolumeId"], tags=row["tags"]))


EXPECTED: dict[str, list[str]] = {}


def expected(sandbox: Sandbox, scenario: Scenario) -> list[str]:
    """The world after an undisturbed run, which is made when first asked for."""
    if scenario.name not in EXPECTED:
        scene = begin(sandbox, scenario)
        ok(rotate(sandbox, **scenario.options(scene)))
        changing = [entry for entry in sandbox.log() if not entry["action"].startswith(("Describe", "Get"))]
        assert len(changing) == scenario.calls
        EXPECTED[scenario.name] = world(scene)
        sandbox.reset()
    return EXPECTED[scenario.name]


def assert_one_of_each_slot(sandbox: Sandbox) -> None:
    slots = Counter((row["VolumeId"], row["tags"]["ec2ops:period"]) for row in of_policy(sandbox).values())
    assert set(slots.values()) == {1}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_check_and_run_agree_and_repeat_without_changes(sandbox: Sandbox, scenario: Scenario) -> None:
    undisturbed = expected(sandbox, scenario)
    scene = begin(sandbox, scenario)
    ran = four(sandbox, **scenario.options(scene))
    assert world(scene) == undisturbed
    assert_one_of_each_slot(sandbox)
    assert len(ran.result["created"]) == 2
    assert set(ran.result["created"]) == {
        name for name, row in of_policy(sandbox).items() if row["StartTime"].date() == sandbox.now().date()
    }
    assert {point["source"]: len(point["snapshot_ids"]) for point in ran.result["rpo"]} == (
        {scene.instance: 2} if scenario.sets else dict.fromkeys(scene.volumes[1:], 1)
    )
    new = [row for row in of_policy(sandbox).values() if row["SnapshotId"] in ran.result["created"]]
    assert {row["tags"]["Name"] for row in new} == {"data", "log"}
    assert {recorded(row).value for row in new} == {
        f"gp3 8 3000 125 {ZONE} {scene.instance} {device}" for device in ("/dev/sdf", "/dev/sdg")
    }


KILLS = [(scenario, nth) for scenario in SCENARIOS for nth in range(1, scenario.calls + 1)]


@pytest.mark.parametrize(("scenario", "nth"), KILLS, ids=[f"{one.name} {nth}" for one, nth in KILLS])
def test_rerun_after_a_kill_completes_the_work(sandbox: Sandbox, scenario: Scenario, nth: int) -> None:
    undisturbed = expected(sandbox, scenario)
    scene = begin(sandbox, scenario)
    given = scenario.options(scene)
    with pytest.raises(Killed):
        rotate(sandbox, gateway=KillingGateway(sandbox_gateway(sandbox, REGION), nth), **given)
    ok(rotate(sandbox, **given))
    assert world(scene) == undisturbed
    again = ok(rotate(sandbox, **given))
    assert again.result["plan"] == []


@pytest.mark.parametrize("unclear", [False, True], ids=["refused", "unclear"])
@pytest.mark.parametrize(("scenario", "nth"), KILLS, ids=[f"{one.name} {nth}" for one, nth in KILLS])
def test_rerun_after_a_refusal_completes_the_work(
    sandbox: Sandbox, scenario: Scenario, nth: int, unclear: bool
) -> None:
    undisturbed = expected(sandbox, scenario)
    scene = begin(sandbox, scenario)
    given = scenario.options(scene)
    gateway = RefusingGateway(sandbox_gateway(sandbox, REGION), nth, unclear=unclear)
    disturbed = rotate(sandbox, gateway=gateway, **given)
    if not disturbed.failed:
        # A create whose answer was lost is found again. A refused call for several snapshots is repeated in parts.
        assert unclear or gateway.refused > 1
    else:
        assert ("InternalError" if unclear else "UnauthorizedOperation") in disturbed.failed
    there = Counter(row["VolumeId"] for row in of_policy(sandbox).values() if row["State"] == "completed")
    assert min(there[volume] for volume in scene.volumes[1:]) >= given["keep"]["last"]
    ok(rotate(sandbox, **given))
    assert world(scene) == undisturbed
    assert ok(rotate(sandbox, **given)).result["plan"] == []


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_two_runs_at_once_leave_one_snapshot_for_each_slot(sandbox: Sandbox, scenario: Scenario) -> None:
    undisturbed = expected(sandbox, scenario)
    scene = begin(sandbox, scenario)
    given = scenario.options(scene)
    barrier = threading.Barrier(2)
    gateways = [Together(sandbox_gateway(sandbox, REGION), barrier) for _one in range(2)]
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda gateway: rotate(sandbox, gateway=gateway, alone=False, **given), gateways))
    assert [one.failed for one in both] == ["", ""]
    assert world(scene) == undisturbed
    assert_one_of_each_slot(sandbox)
    assert ok(rotate(sandbox, **given)).result["plan"] == []


# --- what fails -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_failed_snapshot_is_taken_again_before_dependent_deletions(sandbox: Sandbox, scenario: Scenario) -> None:
    undisturbed = expected(sandbox, scenario)
    scene = begin(sandbox, scenario)
    given = scenario.options(scene)
    with sandbox.fault("CreateSnapshot*", kind="end", message="no space"):
        failed = rotate(sandbox, **given)
    assert "no space" in failed.failed
    # The oldest of each is deleted with or without a new one. The snapshots that only the new one displaces stay.
    number = 2 if scenario.name == "volumes" else 0
    assert (len(deletes(sandbox)), len(failed.result["deleted"])) == (number, number)
    assert failed.result["not_tried"]
    ran = ok(rotate(sandbox, **given))
    assert any("no space" in entry["reason"] for entry in ran.result["plan"] if entry["action"] == "DeleteSnapshot")
    assert world(scene) == undisturbed


def test_set_beyond_the_rate_is_made_once_later(sandbox: Sandbox) -> None:
    scene = begin(sandbox, SCENARIOS[1])
    with sandbox.fault("CreateSnapshots", occurrence=1, code="SnapshotCreationPerVolumeRateExceeded", status=400):
        ok(rotate(sandbox, **SCENARIOS[1].options(scene)))
    assert sandbox.counts()["CreateSnapshots"] == 2
    assert_one_of_each_slot(sandbox)


def test_snapshot_beyond_the_rate_is_taken_later(sandbox: Sandbox) -> None:
    undisturbed = expected(sandbox, SCENARIOS[0])
    scene = begin(sandbox, SCENARIOS[0])
    with sandbox.fault("CreateSnapshot", occurrence=1, code="SnapshotCreationPerVolumeRateExceeded", status=400):
        ok(rotate(sandbox, **SCENARIOS[0].options(scene)))
    assert world(scene) == undisturbed


# --- tags, waits, captures --------------------------------------------------------------------------------------------


def test_changed_tags_are_set_on_all_snapshots_with_one_call(sandbox: Sandbox) -> None:
    (volume,) = sandbox.seed({"volume": {"name": "data"}}).values()
    made = past(sandbox, [volume], 30, team="b")
    given = {"select": None, "create": "never", "keep": {"last": 30}, "tags": {"team": "a", "env": "x"}}
    ran = four(sandbox, **given)
    assert ran.result["api_calls"]["CreateTags"] == 1
    rows = of_policy(sandbox)
    assert set(rows) == set(made)
    assert {(row["tags"]["team"], row["tags"]["env"]) for row in rows.values()} == {("a", "x")}


def test_captured_without_a_wait_is_finished_by_the_next_run(sandbox: Sandbox) -> None:
    (volume,) = sandbox.seed({"volume": {"name": "data"}}).values()
    old = past(sandbox, [volume], 4)
    sandbox.configure(durations={"snapshot_pending": 60.0})
    given = {"select": {"volume_ids": [volume]}, "keep": {"last": 2}}
    captured = ok(rotate(sandbox, state="captured", **given))
    assert captured.actions == ["CreateSnapshot"]
    (new,) = captured.result["created"]
    assert snapshots(sandbox)[new]["State"] == "pending"
    again = ok(rotate(sandbox, state="captured", **given))
    assert again.result["changed"] is False
    ran = ok(rotate(sandbox, **given))
    assert snapshots(sandbox)[new]["State"] == "completed"
    assert ran.result["created"] == []
    assert set(ran.result["deleted"]) == set(old[1:])
    assert set(of_policy(sandbox)) == {new, old[0]}


def test_snapshot_replaced_by_a_new_one_is_deleted_later_without_a_wait(sandbox: Sandbox) -> None:
    (volume,) = sandbox.seed({"volume": {"name": "data"}}).values()
    old = past(sandbox, [volume], 3)
    sandbox.configure(durations={"snapshot_pending": 600.0})
    given = {"select": {"volume_ids": [volume]}, "keep": {"last": 1}, "wait": False}
    ran = ok(rotate(sandbox, **given))
    (new,) = ran.result["created"]
    assert snapshots(sandbox)[new]["State"] == "pending"
    assert set(deletes(sandbox)) == set(old[1:])
    held = [entry for entry in ran.result["decisions"] if entry["guard"] == "depends"]
    assert [entry["snapshot_ids"] for entry in held] == [[old[0]]]
    assert new in held[0]["reasons"][0]
    # While that snapshot is missing, no snapshot that depends on it is deleted.
    assert ok(rotate(sandbox, **given)).result["plan"] == []
    sandbox.move_clock(700)
    assert ok(rotate(sandbox, **given)).result["deleted"] == [old[0]]
    assert set(of_policy(sandbox)) == {new}


def test_timed_out_wait_keeps_the_snapshots_that_depend_on_it(sandbox: Sandbox) -> None:
    names = sandbox.seed({"volumes": [{"name": name} for name in ("quick", "slow")]})
    quick, slow = names["quick"], names["slow"]
    old = {volume: past(sandbox, [volume], 3) for volume in (quick, slow)}
    given = {"select": {"volume_ids": [quick, slow]}, "keep": {"last": 2}}
    # One volume's snapshot is completed. The other one is not yet.
    ok(rotate(sandbox, select={"volume_ids": [quick]}, keep={"last": 9}))
    sandbox.configure(durations={"snapshot_pending": 7200.0})
    ended = rotate(sandbox, **given, wait_timeout=30)
    (new,) = ended.result["planned_ids"].values()
    assert new in ended.failed
    assert "pending" in ended.failed
    assert set(deletes(sandbox)) == {*old[quick][1:], old[slow][2]}
    assert set(ended.result["deleted"]) == set(deletes(sandbox))
    assert ended.result["created"] == [new]
    assert [entry["resource"] for entry in ended.result["not_tried"]] == [old[slow][1]]
    # The recovery points are those that exist, not the planned ones.
    points = {point["source"]: point["snapshot_ids"] for point in ended.result["rpo"]}
    assert points[slow] == [old[slow][0]]
    assert ended.result["plan_hash"]
    # The message names a broken limit too.
    both = rotate(sandbox, **given, wait_timeout=30, max_delete=0)
    assert all(part in both.failed for part in (new, "max_delete is 0"))
    sandbox.move_clock(7200)
    assert ok(rotate(sandbox, **given)).result["deleted"] == [old[slow][1]]


def test_last_completed_snapshot_is_kept_without_a_wait(sandbox: Sandbox) -> None:
    """A volume that was detached is in the new set again.

    Its only completed snapshot is in the set of some days ago.
    """
    names = sandbox.seed({"instance": {"name": "web", "data_volumes": [{"name": "data"}]}})
    root, data, instance = names["web/root"], names["web/data"], names["web"]
    whole = past(sandbox, [root, data], 1, instance)
    sandbox.move_clock(DAY)
    past(sandbox, [root], 1, instance)
    sandbox.configure(durations={"snapshot_pending": 600.0})
    given = {"select": {"instance_ids": [instance]}, "consistency": "instance", "keep": {"last": 1}, "wait": False}
    ran = ok(rotate(sandbox, **given))
    assert len(ran.result["created"]) == 2
    assert deletes(sandbox) == []
    assert {entry["guard"] for entry in ran.result["decisions"]} == {"last", "depends"}
    assert {point["snapshot_ids"][0] for point in ran.result["rpo"]}.isdisjoint(ran.result["created"])
    sandbox.move_clock(700)
    assert set(whole) <= set(ok(rotate(sandbox, **given)).result["deleted"])


def test_pending_snapshot_does_not_count_for_the_minimum_without_a_wait(sandbox: Sandbox) -> None:
    (volume,) = sandbox.seed({"volume": {"name": "data"}}).values()
    past(sandbox, [volume], 3)
    given = {"select": {"volume_ids": [volume]}, "keep": {"last": 2}, "min_keep": 3, "wait": False}
    ended = rotate(sandbox, **given)
    assert f"min_keep is 3, and {volume} would have 2 left" in ended.failed
    assert deletes(sandbox) == []


def test_tags_are_compared_literally(sandbox: Sandbox) -> None:
    """In EC2's filters a backslash makes the next character literal."""
    (volume,) = sandbox.seed({"volume": {"name": "data", "tags": {"owner": "a\\b"}}}).values()
    rows = [{"volume": volume, "age": DAY, "tags": {"by": by}} for by in ("CORP\\cron", "CORPcron")]
    sandbox.seed({"snapshots": rows})
    given = {"select": {"tags": {"owner": "a\\b"}}, "adopt": {"tags": {"by": "CORP\\cron"}}, "keep": {"last": 9}}
    told = ok(rotate(sandbox, **given)).result
    assert (len(told["created"]), told["counts"]["managed"]) == (1, 1)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_resource_shown_late_is_made_once(sandbox: Sandbox, scenario: Scenario) -> None:
    """The answer is lost, and for a while reads do not show the new snapshot."""
    undisturbed = expected(sandbox, scenario)
    scene = begin(sandbox, scenario)
    sandbox.configure(visibility_delay={"snapshot": 5})
    with sandbox.fault("CreateSnapshot*", occurrence=1, kind="close", when="after"):
        ok(rotate(sandbox, alone=False, **scenario.options(scene)))
    sandbox.configure(visibility_delay={"snapshot": 0})
    assert world(scene) == undisturbed
    assert_one_of_each_slot(sandbox)


def test_new_volume_is_captured_and_a_deleted_one_retained(sandbox: Sandbox) -> None:
    """Captures need existing volumes. The rules apply to all snapshots of the policy."""
    tags = {"backup": "daily"}
    names = sandbox.seed({"volumes": [{"name": "old", "tags": tags}, {"name": "new", "tags": tags}]})
    old = past(sandbox, [names["old"]], 5)
    ec2 = sandbox.client("ec2", REGION)
    ec2.delete_volume(VolumeId=names["old"])
    ec2.get_waiter("volume_deleted").wait(VolumeIds=[names["old"]], WaiterConfig={"Delay": 0.05})
    ran = four(sandbox, select={"tags": tags}, keep={"last": 2})
    assert {row["VolumeId"] for name, row in of_policy(sandbox).items() if name in ran.result["created"]} == {
        names["new"]
    }
    assert set(of_policy(sandbox)) == {*old[:2], *ran.result["created"]}
    assert {point["source"]: point["due"] for point in ran.result["rpo"]} == {names["old"]: False, names["new"]: True}


def test_instances_by_tag_each_have_their_set(sandbox: Sandbox) -> None:
    tags = {"backup": "hourly"}
    machines = [{"name": name, "data_volumes": 1, "tags": tags} for name in ("web", "db")]
    names = sandbox.seed({"instances": [*machines, {"name": "other", "data_volumes": 1}]})
    ran = four(
        sandbox,
        select={"tags": tags},
        consistency="instance",
        every="1h",
        exclude_volume_ids=[names["web/data1"]],
        keep={"last": 2},
    )
    assert sandbox.counts()["CreateSnapshots"] == 2
    sets = Counter(row["tags"]["ec2ops:set"].partition("/")[0] for row in of_policy(sandbox).values())
    assert sets == {names["web"]: 1, names["db"]: 2}
    assert "CreateTags" not in {entry["action"] for entry in ran.result["plan"]}


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        ({"max_delete": 10}, "max_delete is 10"),
        ({"max_delete_percent": 80}, "max_delete_percent is 80"),
        ({"min_keep": 3}, "min_keep is 3"),
        ({"expected_plan": "0" * 64}, "expected_plan is"),
    ],
    ids=str,
)
def test_exceeded_limit_withholds_deletions_but_no_captures(
    sandbox: Sandbox, given: dict[str, Any], limit: str
) -> None:
    (volume,) = sandbox.seed({"volume": {"name": "data"}}).values()
    old = past(sandbox, [volume], 12)
    task = {"select": {"volume_ids": [volume]}, "keep": {"last": 2}, "max_delete_percent": 100, **given}
    checked = rotate(sandbox, check=True, **task)
    ran = rotate(sandbox, **task)
    for ended in (checked, ran):
        assert limit in ended.failed
        assert ended.result["deleted"] == []
        assert ended.result["counts"]["withheld"] == 11
        assert len(ended.result["created"]) == 1
        assert ended.actions == ["CreateSnapshot"]
    assert ran.result["changed"] is True
    assert deletes(sandbox) == []
    assert set(of_policy(sandbox)) == {*old, *ran.result["created"]}


def test_approved_plan_passes_and_then_an_empty_one(sandbox: Sandbox) -> None:
    (volume,) = sandbox.seed({"volume": {"name": "data"}}).values()
    past(sandbox, [volume], 3)
    task = {"select": {"volume_ids": [volume]}, "keep": {"last": 2}}
    approved = ok(rotate(sandbox, check=True, **task)).result["plan_hash"]
    sandbox.move_clock(600)
    assert len(ok(rotate(sandbox, **task, expected_plan=approved)).result["deleted"]) == 2
    assert ok(rotate(sandbox, **task, expected_plan=approved)).result["plan"] == []


# --- guards -----------------------------------------------------------------------------------------------------------

ENFORCED = ("image", "locked", "backup")
REPORTED = ("managed", "public", "shared", "fast_restore", "archived", "copy_source", "last", "creating", "protected")
ACCOUNT = "111122223333"
DISABLED, PENDING, RESTORED, FREE = "image disabled", "image pending", "archived restored", "free"


def guarded_world(sandbox: Sandbox) -> dict[str, str]:
    """Return, by guard, the id of a snapshot that only this guard keeps. `FREE`: a snapshot that nothing keeps.

    Each was taken of another volume, which has a newer snapshot.
    """
    tags = {"ec2ops:policy": "p"}
    rows: dict[str, dict[str, Any]] = {
        "image": {},
        DISABLED: {},
        PENDING: {},
        "locked": {"lock": {"mode": "governance", "days": 90, "age": DAY}},
        "backup": {"tags": {**tags, "aws:backup:source-resource": "arn:aws:ec2:us-east-1:1:volume/vol-1"}},
        "managed": {"tags": {**tags, "aws:dlm:managed": "true"}},
        "public": {"shared_with": ["all"]},
        "shared": {"shared_with": [ACCOUNT]},
        "fast_restore": {"fast_restore": [ZONE]},
        "archived": {"archived": 10 * DAY},
        RESTORED: {"archived": 10 * DAY, "restored": 3},
        "copy_source": {},
        "creating": {},
        "protected": {"tags": {**tags, "keep": "yes"}},
        FREE: {},
    }
    pairs = []
    for name, row in rows.items():
        made = {"volume": f"volume {name}", "description": "p: {volume}", "tags": tags}
        old = {"name": name, "age": 30 * DAY, **made, **row}
        pairs += [old, {"name": f"{name} new", "age": 2 * DAY, **made}]
    # The rules look at the instance: its newest set is kept. Only the older set has the volume that is gone.
    for age, of in ((30, ["volume free", "volume last"]), (2, ["volume free"])):
        start = sandbox.now() - timedelta(days=age)
        own = {**tags, "ec2ops:set": f"i-0123456789abcdef0/{start:%Y-%m-%d}T00:00+00:00"}
        described = "p: i-0123456789abcdef0"
        row = {"name": f"set {age}", "times": [start.isoformat()], "volumes": of}
        pairs.append({**row, "description": described, "tags": own})
    volumes = [{"name": f"volume {name}"} for name in (*rows, "last")]
    found = sandbox.seed({"volumes": volumes, "snapshots": pairs})
    ids = {name: found[name] for name in rows} | {"last": found["set 30"][1]}
    ec2 = sandbox.client("ec2", REGION)
    root = found[f"{FREE} new"]
    for name in ("image", DISABLED, PENDING):
        sandbox.configure(durations={"image_registering": 10.0 * DAY if name == PENDING else 0.0})
        image = ec2.register_image(
            Name=name,
            RootDeviceName="/dev/xvda",
            VirtualizationType="hvm",
            Architecture="x86_64",
            BlockDeviceMappings=[
                {"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": root}},
                {"DeviceName": "/dev/sdf", "Ebs": {"SnapshotId": ids[name]}},
            ],
        )["ImageId"]
        if name == DISABLED:
            ec2.disable_image(ImageId=image)
    sandbox.configure(durations={"snapshot_copying": 10 * DAY, "volume_creating": 10 * DAY})
    ec2.create_volume(SnapshotId=ids["creating"], AvailabilityZone=ZONE)
    copy_tags = [
        {"Key": "ec2ops:policy", "Value": "p"},
        {"Key": "ec2ops:copy-of", "Value": f"{REGION}/{ids['copy_source']}"},
    ]
    ec2.copy_snapshot(
        SourceSnapshotId=ids["copy_source"],
        SourceRegion=REGION,
        TagSpecifications=[{"ResourceType": "snapshot", "Tags": copy_tags}],
    )
    sandbox.reset_log()
    return ids


def guarding(**modes: str) -> dict[str, Any]:
    return {
        "create": "never",
        "keep": {"last": 1},
        "protect": {"tags": {"keep": "yes"}},
        "guards": {"shared": "keep", **modes},
        "max_delete_percent": 100,
        "report": "all",
    }


def test_guards_keep_snapshots_that_ec2_would_delete(sandbox: Sandbox) -> None:
    ids = guarded_world(sandbox)
    ran = ok(rotate(sandbox, **guarding()))
    assert deletes(sandbox) == [ids[FREE]]
    by_id = {one: entry for entry in ran.result["decisions"] for one in entry["snapshot_ids"]}
    for name, one in ids.items():
        if name != FREE:
            entry, guard = by_id[one], name.partition(" ")[0]
            assert entry["decision"] == "keep"
            assert entry["guard"] == guard or entry["reasons"][0].startswith(f"{guard}: "), entry
    assert ok(rotate(sandbox, **guarding())).result["plan"] == []


@pytest.mark.parametrize("name", [*ENFORCED, *REPORTED])
def test_failing_guard_stops_all_deletions(sandbox: Sandbox, name: str) -> None:
    ids = guarded_world(sandbox)
    ended = rotate(sandbox, **guarding(**{name: "fail"}))
    assert f"{ids[name]}: {name}: " in ended.failed
    assert f"{ids[FREE]}: " not in ended.failed
    assert ended.result["deleted"] == []
    assert deletes(sandbox) == []


def test_reported_snapshot_is_deleted_with_a_warning(sandbox: Sandbox) -> None:
    """EC2 deletes it, so only the guard keeps it otherwise."""
    ids = guarded_world(sandbox)
    ran = ok(rotate(sandbox, **guarding(**dict.fromkeys(REPORTED, "report"))))
    gone = set(deletes(sandbox))
    assert gone == set(ran.result["deleted"])
    assert {name for name, one in ids.items() if one in gone} == {*REPORTED, RESTORED, FREE}
    assert not gone & set(snapshots(sandbox))
    for name in REPORTED:
        assert [text for text in ran.warnings if ids[name] in text and f"guards.{name}: report" in text] != [], name
    assert [text for text in ran.warnings if ids[FREE] in text] == []


@pytest.mark.parametrize("name", ENFORCED)
def test_undeletable_snapshots_are_kept(sandbox: Sandbox, name: str) -> None:
    """The guards without a report mode are those that EC2 enforces itself."""
    ids = guarded_world(sandbox)
    with pytest.raises(Exception, match="DeleteSnapshot"):
        sandbox.client("ec2", REGION).delete_snapshot(SnapshotId=ids[name])
    assert ids[name] in snapshots(sandbox)


# --- adoption ---------------------------------------------------------------------------------------------------------


def test_snapshots_of_cron_are_adopted(sandbox: Sandbox) -> None:
    (volume,) = sandbox.seed({"volume": {"name": "data"}}).values()
    tags = {"made-by": "cron"}
    rows = [
        {"name": "cron", "count": 4, "volumes": [volume], "tags": tags},
        {"name": "other", "count": 4, "volumes": [volume], "tags": {**tags, "ec2ops:policy": "q"}},
        {"name": "copies", "count": 4, "volumes": [volume], "tags": tags, "copied": True},
    ]
    found = sandbox.seed({"snapshots": rows})
    ran = four(sandbox, select={"volume_ids": [volume]}, keep={"last": 2}, adopt={"tags": tags}, report="all")
    assert set(ran.result["deleted"]) == set(found["cron"][:-1])
    unknown = [entry for entry in ran.result["decisions"] if entry["reasons"] == ["unknown source"]]
    assert {one for entry in unknown for one in entry["snapshot_ids"]} == set(found["copies"])
    assert set(found["other"]) <= set(snapshots(sandbox))


# --- 400 days ---------------------------------------------------------------------------------------------------------


def kept_of(days: Sequence[date], daily: int, weekly: int, monthly: int) -> set[date]:
    """The rules for one snapshot a day, in the plainest form."""
    found = set(sorted(days)[-daily:])
    for count, bucket in ((weekly, lambda day: day.isocalendar()[:2]), (monthly, lambda day: (day.year, day.month))):
        newest = {bucket(day): day for day in sorted(days)}
        found |= {newest[key] for key in sorted(newest)[-count:]}
    return found


BY_PLAYBOOK = (1, 100, 200, 300, 400)
"""The days whose run is one of ansible-playbook: it goes on with what the module has made alone, and that with its."""


def test_four_hundred_daily_runs_follow_the_rules(sandbox: Sandbox) -> None:
    (volume,) = sandbox.seed({"volume": {"name": "data"}}).values()
    sandbox.configure(durations={"snapshot_pending": 0.0})
    task = {"select": {"volume_ids": [volume]}, "keep": {"daily": 7, "weekly": 4, "monthly": 12}}
    days: list[date] = []
    written: dict[date, list[str]] = {}
    for number in range(1, 401):
        sandbox.move_clock(DAY)
        today = sandbox.now().astimezone(UTC).date()
        sandbox.add_mark(volume, f"written on {today}")
        if number in BY_PLAYBOOK:
            policies = {"rotate_snapshots_policies": [{"policy": "p", **task}]}
            played = run_playbook(sandbox, "ec2ops.storage.rotate_snapshots", policies)
            assert played.status == 0, played.output
            (told,) = played.fact("snapshot_policy_result")["policies"]
            assert len(told["created"]) == 1
        else:
            ended = ok(rotate(sandbox, alone=False, **task))
            assert (len(ended.result["created"]), ended.warnings) == (1, [])
        days.append(today)
        written[today] = ["seeded", *(f"written on {day}" for day in days)]
        if number % 50 == 0 or number in BY_PLAYBOOK:
            assert {row["StartTime"].date() for row in of_policy(sandbox).values()} == kept_of(days, 7, 4, 12)
    rows = {row["StartTime"].astimezone(UTC).date(): name for name, row in of_policy(sandbox).items()}
    assert set(rows) == kept_of(days, 7, 4, 12)
    assert len(rows) == len(of_policy(sandbox))
    for day, name in rows.items():
        assert [mark["text"] for mark in sandbox.marks(name)["marks"]] == written[day]
    again = ok(rotate(sandbox, **task))
    assert again.result["plan"] == []


def test_the_hour_that_occurs_twice_is_one_slot(sandbox: Sandbox) -> None:
    (volume,) = sandbox.seed({"volume": {"name": "data"}}).values()
    sandbox.configure(durations={"snapshot_pending": 0.0})
    task = {"select": {"volume_ids": [volume]}, "every": "1h", "keep": {"last": 9, "timezone": "Europe/Berlin"}}
    year = sandbox.now().year + 1
    october = max(datetime(year, 10, day, tzinfo=UTC) for day in range(25, 32) if date(year, 10, day).weekday() == 6)
    sandbox.move_clock((october + timedelta(minutes=5) - sandbox.now()).total_seconds() - 3600)
    made = []
    for _hour in range(5):
        sandbox.move_clock(3600 - (sandbox.now().minute * 60 + sandbox.now().second) + 300)
        made += ok(rotate(sandbox, alone=False, **task)).result["created"]
    periods = sorted(row["tags"]["ec2ops:period"][11:] for row in of_policy(sandbox).values())
    assert periods == ["02:00+02:00", "03:00+01:00", "04:00+01:00", "05:00+01:00"]
    assert len(made) == 4
