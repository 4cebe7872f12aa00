# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line, the control plane, and the client for tests in other processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from sandbox.client import HOME, Sandbox, SandboxError
from sandbox.world import Volume

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.engine import World

ACCOUNT = "123456789012"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m sandbox` that ends by itself."""
    return subprocess.run(
        [sys.executable, "-m", "sandbox", *arguments], cwd=HOME, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def served() -> Iterator[Sandbox]:
    """A sandbox in a process of its own."""
    with Sandbox.start(seed=7, durations={"snapshot_pending": 2.5}, start="2026-03-01T00:00:00+00:00") as sandbox:
        yield sandbox


# --- the command line ---


def test_help_lists_all_durations() -> None:
    shown = run("--help")
    assert shown.returncode == 0
    for option in ("--host", "--port", "--seed", "--duration", "--latency", "--speed", "--parent-pid"):
        assert option in shown.stdout
    durations = json.loads(run("--list-durations", "--duration", "snapshot_pending=9").stdout)
    assert durations["snapshot_pending"] == 9
    assert len(durations) > 10


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--host", "0.0.0.0"], "not a loopback address"),
        (["--host", "example.com"], "not a loopback address"),
        (["--duration", "snapshot_pending"], "not NAME=SECONDS"),
        (["--duration", "coffee_break=1"], "nothing is called coffee_break"),
        (["--duration", "snapshot_pending=-1"], "number of seconds"),
        (["--speed", "0"], "greater than 0"),
        (["--start", "yesterday"], "ISO 8601"),
    ],
)
def test_invalid_command_line_is_refused(arguments: list[str], text: str) -> None:
    ended = run(*arguments)
    assert ended.returncode == 2
    assert text in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_sandbox_cleanly(number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox"], cwd=HOME, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert urlsplit(first["url"]).hostname == "127.0.0.1"
    assert first["pid"] == process.pid
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


def test_sandbox_ends_after_its_lifetime() -> None:
    command = [sys.executable, "-m", "sandbox", "--lifetime", "0.1"]
    ended = subprocess.run(command, cwd=HOME, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["url"].startswith("http://127.0.0.1:")


def test_sandbox_ends_with_its_parent() -> None:
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1])\n"
        "from sandbox.client import Sandbox\n"
        "print(Sandbox.start().pid, flush=True); os._exit(0)"
    )
    # The sandbox keeps this process's stderr, so the pid is all that is read.
    parent = subprocess.run([sys.executable, "-c", code, str(HOME)], stdout=subprocess.PIPE, timeout=60, check=True)
    pid = int(parent.stdout)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not alive(pid):
            return
        time.sleep(0.05)
    os.kill(pid, signal.SIGKILL)
    pytest.fail("the sandbox outlived its parent")


def alive(pid: int) -> bool:
    """Return whether the process runs. A zombie counts as ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_sandbox_that_cannot_start_reports_it(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="did not start"):
        Sandbox.start(durations={"coffee_break": 1}, stderr=tmp_path / "log")
    assert "nothing is called coffee_break" in (tmp_path / "log").read_text(encoding="utf-8")


def test_options_reach_the_world(served: Sandbox) -> None:
    assert timedelta(0) <= served.now() - datetime(2026, 3, 1, tzinfo=UTC) < timedelta(minutes=10)
    assert served.configure()["durations"]["snapshot_pending"] == 2.5


def test_sandbox_listens_on_loopback_and_stops_on_request() -> None:
    with Sandbox.start() as sandbox:
        pid = sandbox.pid
        assert pid is not None
        assert urlsplit(sandbox.url).hostname == "127.0.0.1"
        assert alive(pid)
    assert not alive(pid)
    assert sandbox.pid is None
    with pytest.raises(SandboxError, match="does not answer"):
        sandbox.state()


def test_any_aws_client_finds_it_by_the_environment(served: Sandbox) -> None:
    code = (
        "import boto3; s = boto3.Session()\n"
        "print(s.region_name, s.client('sts').get_caller_identity()['Account'],"
        " s.client('ec2').describe_vpcs()['Vpcs'][0]['CidrBlock'])"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    environment = {**clean, **served.environment(account="111122223333", region="eu-central-1")}
    shown = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert shown.stdout.split() == ["eu-central-1", "111122223333", "172.31.0.0/16"]


# --- the control plane ---


def post(sandbox: Sandbox, route: str, body: bytes, method: str = "POST") -> tuple[int, dict[str, Any]]:
    request = urllib.request.Request(f"{sandbox.url}/_sandbox/{route}", data=body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_unknown_control_call_is_refused(sandbox: Sandbox) -> None:
    status, answer = post(sandbox, "coffee", b"{}")
    assert (status, "GET state" in answer["error"]) == (404, True)
    assert post(sandbox, "faults/add", b"[]")[0] == 400
    assert post(sandbox, "faults/add", b"{")[0] == 400
    assert post(sandbox, "clock/move", b"{}")[0] == 400
    with pytest.raises(SandboxError, match="vol-0"):
        sandbox.inspect("vol-00000000000000000")


def test_clock_moves_only_forward(sandbox: Sandbox) -> None:
    before = sandbox.now()
    after = sandbox.move_clock(3600)
    assert timedelta(hours=1) <= after - before < timedelta(hours=1, minutes=1)
    (jump,) = sandbox.clock()["jumps"]
    assert datetime.fromisoformat(jump[1]) - datetime.fromisoformat(jump[0]) == timedelta(hours=1)
    for seconds in (-1, "x", None):
        with pytest.raises(SandboxError):
            sandbox.move_clock(seconds)  # type: ignore[arg-type]
    assert sandbox.move_clock(0) >= after
    assert len(sandbox.clock()["jumps"]) == 1


def test_the_clock_runs_at_its_speed_and_never_backwards(sandbox: Sandbox) -> None:
    sandbox.set_speed(1000)
    first = sandbox.now()
    time.sleep(0.05)
    assert timedelta(seconds=50) <= sandbox.now() - first < timedelta(seconds=10_000)
    fast = sandbox.now()
    sandbox.set_speed(0.001)
    slow = sandbox.now()
    assert slow >= fast
    assert sandbox.now() - slow < timedelta(seconds=5)
    with pytest.raises(SandboxError):
        sandbox.set_speed(0)


@pytest.mark.parametrize(
    "settings",
    [
        {"colour": "red"},
        {"durations": {"coffee_break": 1}},
        {"durations": {"snapshot_pending": -1}},
        {"durations": {"snapshot_pending": "long"}},
        {"visibility_delay": {"coffee": 1}},
        {"latency": True},
        {"buckets": 1},
        {"refused": "CreateTags"},
        {"options": {"coffee": 1}},
        {"options": {"copies_per_region": "many"}},
        {"options": {"tier_status": "some"}},
        {"options": {"recycle_bin": [{"days": 0}]}},
        {"options": {"recycle_bin": [{"days": 1, "colour": "red"}]}},
    ],
)
def test_one_invalid_setting_refuses_all(sandbox: Sandbox, settings: dict[str, Any]) -> None:
    before = sandbox.configure()
    with pytest.raises(SandboxError):
        sandbox.configure(**{"options": {"copies_per_region": 1}, **settings})
    assert sandbox.configure() == before


def test_settings_are_merged_and_outlive_a_reset(sandbox: Sandbox) -> None:
    sandbox.configure(durations={"snapshot_pending": 3}, visibility_delay={"image": 4})
    sandbox.configure(durations={"image_pending": 5}, visibility_delay={"volume": 6}, options={"fast_restores": 1})
    sandbox.reset()
    now = sandbox.configure()
    assert (now["durations"]["snapshot_pending"], now["durations"]["image_pending"]) == (3, 5)
    assert now["visibility_delay"] == {"image": 4, "volume": 6}
    assert (now["options"]["fast_restores"], now["options"]["copies_per_region"]) == (1, 20)


def test_inspection_shows_all_resources(sandbox: Sandbox, world: World) -> None:
    now = world.clock.now()
    volume = Volume(id="vol-0aaaaaaaaaaaaaaaa", created=now, ready=now, zone="us-east-1a", size=8, type="gp3")
    world.region(ACCOUNT, "us-east-1").volumes[volume.id] = volume
    shown = sandbox.inspect(volume.id)
    assert (shown["kind"], shown["id"], shown["size"], shown["state"]) == ("volume", volume.id, 8, "available")
    assert datetime.fromisoformat(shown["created"]) == now.replace(microsecond=now.microsecond // 1000 * 1000)
    (region,) = sandbox.state()["regions"]
    assert (region["account"], region["region"], region["counts"]["volumes"]) == (ACCOUNT, "us-east-1", 1)


def test_client_adds_its_own_marks(sandbox: Sandbox, world: World) -> None:
    now = world.clock.now()
    volume = Volume(id="vol-0aaaaaaaaaaaaaaaa", created=now, ready=now, zone="us-east-1a", size=8, type="gp3")
    world.region(ACCOUNT, "us-east-1").volumes[volume.id] = volume
    assert sandbox.marks(volume.id) == {"marks": []}
    mark = sandbox.add_mark(volume.id, "hello")
    assert mark["text"] == "hello"
    assert sandbox.marks(volume.id) == {"marks": [mark]}
    with pytest.raises(SandboxError):
        sandbox.marks("vol-00000000000000000")


def test_seeding_refuses_unknown_keys(sandbox: Sandbox) -> None:
    made = sandbox.seed({"instance": {"name": "web", "data_volumes": 1}, "snapshots": {"count": 1200, "volumes": 3}})
    assert sandbox.counts() == {}
    assert sandbox.inspect(made["web"])["state"] == "running"
    assert sandbox.state()["regions"][0]["counts"]["volumes"] >= 2
    pages = list(
        sandbox.client()
        .get_paginator("describe_snapshots")
        .paginate(OwnerIds=["self"], PaginationConfig={"PageSize": 1000})
    )
    assert sum(len(page["Snapshots"]) for page in pages) >= 1200
    sandbox.move_clock(5)
    assert [mark["writer"] for mark in sandbox.marks(made["web/root"])["marks"]][-1] == made["web"]
    with pytest.raises(SandboxError, match="coffee"):
        sandbox.seed({"coffee": 1})
    with pytest.raises(SandboxError, match="InvalidAMIID"):
        sandbox.seed({"instance": {"name": "other", "image": "ami-00000000000000000"}})


def test_credentials_of_a_role_are_valid_for_clients_of_today_in_a_sandbox_of_last_year() -> None:
    """On AWS, the clocks of STS and of its clients agree. botocore refuses credentials that have expired."""
    with Sandbox.start(start="2025-01-01T00:00:00Z") as old:
        role = "arn:aws:iam::111122223333:role/storage"
        made = old.client("sts").assume_role(RoleArn=role, RoleSessionName="tests")["Credentials"]
        assert made["Expiration"] > datetime.now(UTC) + timedelta(minutes=50)
        old.client("ec2").create_volume(AvailabilityZone="us-east-1a", Size=1)
        (volume,) = old.client("ec2").describe_volumes()["Volumes"]
        assert volume["CreateTime"].year == 2025
