# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults on demand and EC2's token buckets, as a client sees them: its answer, and whether the effect took place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError
from botocore.exceptions import ConnectionError as BotoConnectionError

from sandbox.client import Sandbox, SandboxError
from sandbox.engine import HANDLERS, Registered, Request, World
from sandbox.faults import MUTATING, READ, Buckets, Rule, rate_class

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "CreatePlacementGroup"


@pytest.fixture(autouse=True)
def effects(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names for which the handler of NAME did its work."""
    done: list[str] = []
    monkeypatch.setitem(HANDLERS, NAME, Registered(lambda request: done.append(request.params["GroupName"]), False))
    return done


def create(sandbox: Sandbox, name: str, region: str = "us-east-1", retries: int = 1) -> str:
    """Return the client's outcome: "ok", EC2's code, or "connection"."""
    try:
        sandbox.client("ec2", region, retries=retries).create_placement_group(GroupName=name)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    except (ConnectionClosedError, BotoConnectionError):
        return "connection"
    return "ok"


@pytest.mark.parametrize(
    ("rule", "answers", "done"),
    [
        ({"occurrence": 2, "code": "Busy", "status": 503}, ["ok", "Busy", "ok"], "ac"),
        ({"occurrence": {"first": 2}, "code": "Busy"}, ["Busy", "Busy", "ok"], "c"),
        ({"code": "Busy", "status": 400}, ["Busy", "Busy", "Busy"], ""),
        ({"occurrence": 1, "when": "after", "code": "Busy"}, ["Busy", "ok", "ok"], "abc"),
        ({"occurrence": 1, "kind": "close"}, ["connection", "ok", "ok"], "bc"),
        ({"occurrence": 1, "kind": "close", "when": "after"}, ["connection", "ok", "ok"], "abc"),
        ({"match": {"GroupName": "b"}, "code": "Busy"}, ["ok", "Busy", "ok"], "ac"),
        ({"region": "eu-*", "code": "Busy"}, ["ok", "ok", "ok"], "abc"),
    ],
)
def test_a_fault_meets_the_calls_it_names(
    sandbox: Sandbox, effects: list[str], rule: dict[str, Any], answers: list[str], done: str
) -> None:
    sandbox.add_fault("Create*Group", **rule)
    assert [create(sandbox, name) for name in "abc"] == answers
    assert effects == list(done)


def test_regions_and_actions_are_globs(sandbox: Sandbox, effects: list[str]) -> None:
    sandbox.add_fault("CreatePlacement*", region="eu-*", code="Busy")
    sandbox.add_fault("sts:*", code="Down", status=400)
    assert create(sandbox, "a", "eu-west-1") == "Busy"
    assert create(sandbox, "b", "us-west-1") == "ok"
    with pytest.raises(ClientError, match="Down"):
        sandbox.client("sts").get_caller_identity()
    assert [(rule["seen"], rule["hits"]) for rule in sandbox.faults()["rules"]] == [(1, 1), (1, 1)]


def test_log_distinguishes_a_lost_answer_from_a_lost_call(sandbox: Sandbox) -> None:
    sandbox.add_fault(NAME, kind="close", occurrence=1)
    sandbox.add_fault(NAME, kind="close", when="after", occurrence=2)
    sandbox.add_fault(NAME, when="after", occurrence=3)
    assert [create(sandbox, name) for name in "abc"] == ["connection", "connection", "InternalError"]
    entries = sandbox.log(action=NAME)
    assert [(entry["outcome"], entry["status"], entry["done"]) for entry in entries] == [
        ("lost", 0, False),
        ("lost", 0, True),
        ("InternalError", 500, True),
    ]


def test_retry_of_a_client_after_a_lost_answer_does_the_work_twice(sandbox: Sandbox, effects: list[str]) -> None:
    """This is why botocore never repeats a create without a client token."""
    with sandbox.fault(NAME, kind="close", when="after", occurrence=1):
        assert create(sandbox, "a", retries=3) == "ok"
    assert effects == ["a", "a"]


def test_a_removed_fault_is_gone(sandbox: Sandbox) -> None:
    with sandbox.fault(NAME, code="Busy") as fault_id:
        assert create(sandbox, "a") == "Busy"
    assert create(sandbox, "a") == "ok"
    with pytest.raises(SandboxError, match=fault_id):
        sandbox.remove_fault(fault_id)
    sandbox.add_fault(NAME, code="Busy")
    sandbox.clear_faults()
    assert create(sandbox, "a") == "ok"


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "nap"},
        {"when": "during"},
        {"occurrence": 0},
        {"occurrence": "first"},
        {"occurrence": {"last": 1}},
        {"occurrence": True},
        {"seconds": -1},
        {"colour": "red"},
    ],
)
def test_fault_without_a_meaning_is_refused(sandbox: Sandbox, fields: dict[str, Any]) -> None:
    with pytest.raises(SandboxError, match="faults/add"):
        sandbox.add_fault(NAME, **fields)
    assert sandbox.faults()["rules"] == []


def test_parameters_are_matched_by_path() -> None:
    params = {"InstanceIds": ["i-1", "i-2"], "DryRun": False, "Spec": {"Size": 8}}
    for path, value in (("InstanceIds.1", "i-2"), ("DryRun", "false"), ("Spec.Size", "8")):
        assert Rule(match={path: value}).takes("A", "r", params)
    for path, value in (("InstanceIds.2", "i-2"), ("InstanceIds.x", "i-2"), ("Spec.Size.0", "8"), ("Gone", "")):
        assert not Rule(match={path: value}).takes("A", "r", params)


def test_failed_end_reaches_the_handler_and_the_call_succeeds(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[Any] = []

    def handler(request: Request) -> None:
        ends.append(request.end_state())

    monkeypatch.setitem(HANDLERS, NAME, Registered(handler, False))
    sandbox.add_fault(NAME, kind="end", occurrence=2, message="no key")
    assert [create(sandbox, name) for name in "abc"] == ["ok", "ok", "ok"]
    assert ends == [None, {"code": "InternalError", "message": "no key"}, None]


# --- time ---


def test_delays_and_latency_are_sandbox_seconds(sandbox: Sandbox) -> None:
    create(sandbox, "warm")
    sandbox.set_speed(100)
    sandbox.add_fault(NAME, kind="delay", seconds=20, occurrence=1)
    started = time.monotonic()
    assert create(sandbox, "a") == "ok"
    assert 0.2 <= time.monotonic() - started < 5
    sandbox.clear_faults()
    sandbox.configure(latency=20)
    started = time.monotonic()
    assert create(sandbox, "b") == "ok"
    assert 0.2 <= time.monotonic() - started < 5
    assert sandbox.log(action=NAME)[-1]["duration"] >= 0.2


# --- pauses ---


@pytest.fixture
def caller(sandbox: Sandbox) -> Iterator[Callable[[str], dict[str, Any]]]:
    """Call in a thread; the result appears under "answer"."""
    threads = []

    def start(name: str) -> dict[str, Any]:
        result: dict[str, Any] = {}
        thread = threading.Thread(target=lambda: result.update(answer=create(sandbox, name)))
        result["thread"] = thread
        threads.append(thread)
        thread.start()
        return result

    yield start
    sandbox.clear_faults()
    for thread in threads:
        thread.join(10)


@pytest.mark.parametrize(("when", "meanwhile"), [("before", []), ("after", ["a"])])
def test_a_paused_call_waits_until_it_is_released(
    sandbox: Sandbox, effects: list[str], caller: Any, when: str, meanwhile: list[str]
) -> None:
    fault_id = sandbox.add_fault(NAME, kind="pause", when=when, occurrence=1)
    call = caller("a")
    paused = sandbox.wait_paused(fault_id)
    assert (paused["action"], paused["when"], paused["rule"]) == (NAME, when, fault_id)
    assert effects == meanwhile
    assert "answer" not in call
    # The pause holds no lock, so other calls go on.
    assert create(sandbox, "b") == "ok"
    assert sandbox.state()["paused"] == [paused]
    assert sandbox.release(paused["id"]) == 1
    call["thread"].join(10)
    assert call["answer"] == "ok"
    assert sorted(effects) == ["a", "b"]
    assert sandbox.faults()["paused"] == []


CALL = """
import json, sys, boto3
boto3.client("ec2").create_placement_group(GroupName=json.loads(sys.argv[1]))
"""


@pytest.mark.parametrize(("when", "done"), [("before", []), ("after", ["a"])])
def test_a_client_can_be_killed_at_an_exact_point(
    sandbox: Sandbox, effects: list[str], when: str, done: list[str]
) -> None:
    fault_id = sandbox.add_fault(NAME, kind="pause", when=when)
    client = subprocess.Popen(
        [sys.executable, "-c", CALL, json.dumps("a")], env={**os.environ, **sandbox.environment()}
    )
    try:
        sandbox.wait_paused(fault_id)
    finally:
        client.kill()
        client.wait()
    deadline = time.monotonic() + 10
    while sandbox.faults()["paused"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert sandbox.faults()["paused"] == []
    assert effects == done
    # The entry is closed by the call's thread, a moment after the pause has ended.
    while sandbox.log(action=NAME)[0]["outcome"] == "" and time.monotonic() < deadline:
        time.sleep(0.01)
    entry = sandbox.log(action=NAME)[0]
    assert (entry["outcome"], entry["done"]) == ("lost", bool(done))


def test_waiting_for_a_pause_that_does_not_come_ends(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="no call was paused"):
        sandbox.wait_paused(seconds=0.05)


# --- token buckets ---


def test_buckets_have_ec2s_published_sizes() -> None:
    """`facts/throttling-and-errors.md` of the design, and EC2's page on request throttling."""
    expected = {
        "DescribeImages": (100, 20),
        "DescribeVolumesModifications": (100, 20),
        "GetEbsEncryptionByDefault": (100, 20),
        "DescribeSnapshots": (50, 10),
        "DescribeVolumes": (50, 10),
        "DescribeInstances": (50, 10),
        "CopySnapshot": (50, 5),
        "ModifyVolume": (50, 5),
        "RegisterImage": (50, 5),
        "StopInstances": (50, 5),
        "CreateSnapshot": (100, 5),
        "DeleteSnapshot": (100, 5),
        "TerminateInstances": (100, 5),
        "CreateTags": (100, 10),
        "CopyImage": (100, 1),
        "RunInstances": (5, 2),
        "StartInstances": (5, 2),
    }
    assert {name: rate_class(name, {})[1:] for name in expected} == expected
    for narrowed in ({"MaxResults": 5}, {"NextToken": "t"}, {"Filters": [{"Name": "status"}]}):
        assert rate_class("DescribeSnapshots", narrowed)[1:] == READ
    assert rate_class("DescribeSnapshots", {"SnapshotIds": ["snap-1"]})[1:] == (50, 10)
    assert rate_class("AttachVolume", {})[1:] == MUTATING


def drawn(buckets: Buckets, world: World, action: str, now: datetime, region: str = "r", **params: Any) -> int:
    """The number of calls in a row that are let through at one moment."""
    from sandbox.errors import Ec2Error

    request = Request(action, params, "1" * 12, region, now, world)
    for count in range(10_000):
        try:
            buckets.take(request, now)
        except Ec2Error as error:
            if (error.code, error.status) != ("RequestLimitExceeded", 503):
                raise
            return count
    raise AssertionError("the bucket has no bottom")


def test_a_bucket_empties_and_fills_with_the_sandboxs_time(world: World) -> None:
    now, buckets = datetime(2026, 1, 1, tzinfo=UTC), Buckets()
    assert drawn(buckets, world, "DeleteSnapshot", now) == 100
    assert drawn(buckets, world, "DeleteSnapshot", now + timedelta(seconds=2)) == 10
    assert drawn(buckets, world, "DeleteSnapshot", now + timedelta(hours=1)) == 100
    # Per API and per region.
    assert drawn(buckets, world, "CreateSnapshot", now) == 100
    assert drawn(buckets, world, "DeleteSnapshot", now, region="s") == 100
    # Narrowed reads do not draw from the small bucket.
    assert drawn(buckets, world, "DescribeSnapshots", now) == 50
    assert drawn(buckets, world, "DescribeSnapshots", now, MaxResults=5) == 100


def test_resources_cost_tokens_too(world: World) -> None:
    now, buckets = datetime(2026, 1, 1, tzinfo=UTC), Buckets()
    assert drawn(buckets, world, "RunInstances", now, MaxCount=400) == 2
    assert drawn(buckets, world, "RunInstances", now, MaxCount=200) == 1
    many = [f"i-{number}" for number in range(100)]
    assert drawn(buckets, world, "StopInstances", now, InstanceIds=many) == 10
    assert drawn(buckets, world, "StopInstances", now + timedelta(seconds=5), InstanceIds=many) == 1


def test_buckets_are_off_until_they_are_switched_on(sandbox: Sandbox, world: World, effects: list[str]) -> None:
    ec2 = sandbox.client()
    for _turn in range(60):
        ec2.create_placement_group(GroupName="a")
    sandbox.configure(buckets=True)
    sandbox.set_speed(0.001)  # no bucket refills while the calls are made
    answers = [create_with(ec2, "b") for _turn in range(52)]
    assert answers == ["ok"] * 50 + ["RequestLimitExceeded 503"] * 2
    world.clock.move(1)
    assert [create_with(ec2, "c") for _turn in range(6)] == ["ok"] * 5 + ["RequestLimitExceeded 503"]
    assert len(effects) == 60 + 50 + 5


def create_with(ec2: Any, name: str) -> str:
    """Return the outcome as `create` does, with a given client."""
    try:
        ec2.create_placement_group(GroupName=name)
    except ClientError as error:
        return f"{error.response['Error']['Code']} {error.response['ResponseMetadata']['HTTPStatusCode']}"
    return "ok"
