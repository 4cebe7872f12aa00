# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`storage_info` as a user runs it: in both processes, in check mode and not, with its file."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.usage_facts import (
    STORED_BYTES,
    snapshot_blocks_query,
)
from ansible_collections.ec2ops.storage.plugins.modules import storage_info

from in_process import run as run_module
from module.test_matrix import NOT_THE_MODULES, contained, documented
from playbook.seeds import seed_web
from playbook.support import REGION, changing_calls, run_playbook
from sandbox.client import Sandbox
from worlds import sandbox_gateway

ROWS = {"instances", "volumes", "snapshots", "images", "holders", "relations", "recovery"}
HOUR, DAY = 3600.0, 86400.0


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox.start() as server:
        yield server


@pytest.fixture
def world(sandbox: Sandbox) -> Sandbox:
    """A running instance, a forgotten volume, three snapshots of volumes that are gone, and an old image."""
    sandbox.reset()
    sandbox.clear_faults()
    seed_web(sandbox, REGION)
    sandbox.seed({"volume": {"name": "spare", "size": 50}})
    sandbox.seed({"snapshots": {"count": 3, "size": 8, "every": DAY, "newest": 2 * DAY, "volumes": 3}})
    sandbox.move_clock(3 * DAY)
    sandbox.reset_log()
    return sandbox


def play(folder: Path) -> Path:
    """A check and a run in the controller's process, a run in its own, and one that returns the document."""
    tasks = []
    for name, more in (
        ("check", {"check_mode": True}),
        ("run", {}),
        ("own process", {"vars": {"ec2ops_in_process": False}}),
        ("packed", {}),
    ):
        file = "-" if name == "packed" else f"{name}.json"
        tasks.append({"name": name, "ec2ops.storage.storage_info": {"result_file": file, "region": REGION}, **more})
    path = folder / "playbook.yml"
    path.write_text(yaml.safe_dump([{"name": "See", "hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    return path


def test_report_is_the_same_in_both_processes_and_reads_only(world: Sandbox, tmp_path: Path) -> None:
    run = run_playbook(world, play(tmp_path))
    check, done, _own, packed = (each.result for each in run.ours)
    assert [each.outcome for each in run.ours] == ["ok"] * 4, run.output
    assert changing_calls(world.log()) == []
    counts = {name.rpartition(":")[2]: number for name, number in world.counts().items()}
    assert counts == {name: 4 * number for name, number in done["api_calls"].items()}
    assert not (tmp_path / "check.json").exists()
    file, other = tmp_path / "run.json", tmp_path / "own process.json"
    assert [stat.S_IMODE(one.stat().st_mode) for one in (file, other)] == [0o600, 0o600]
    document, second = json.loads(file.read_text()), json.loads(other.read_text())
    assert at_no_time(document) == at_no_time(second)
    assert at_no_time(check) == at_no_time({key: done[key] for key in check})
    for key in documented("storage_info") & document.keys() - ROWS:
        assert document[key] == done[key], key
    found = {(one["id"], one["resource"][:4]) for one in document["findings"]}
    assert {("volume-unattached", "vol-"), ("snapshot-orphaned", "snap")} <= found
    assert set(done) - NOT_THE_MODULES <= documented("storage_info")
    assert set(packed) - set(done) == {"document"}
    assert set(done["summary"]) == contained("storage_info", "summary")
    assert set(done["findings"][0]) == contained("storage_info", "findings")


def at_no_time(document: Any) -> str:
    """The document without the values that change with time."""
    text = json.dumps({key: value for key, value in document.items() if key not in ("generated", "invocation")})
    read = json.loads(text, object_hook=lambda one: {key: value for key, value in one.items() if "age" not in key})
    return json.dumps(read, sort_keys=True)


def test_all_rows_are_documented_and_a_missing_permission_is_named(world: Sandbox) -> None:
    ended = run_module(world, module=storage_info, report="all")
    assert ended.failed == ""
    assert documented("storage_info") >= set(ended.result) - NOT_THE_MODULES
    assert ended.result.keys() >= ROWS
    world.refuse("DescribeImageReferences", "DescribeLockedSnapshots")
    try:
        partly = run_module(world, module=storage_info)
    finally:
        world.refuse()
    assert {one["part"] for one in partly.result["partial"]} <= {"locks", "image users"}
    assert any("Allow ec2:DescribeLockedSnapshots." in text for text in partly.warnings)
    assert "snapshot-orphaned" not in partly.result["summary"]["findings_by_id"]


def test_unused_performance_is_found_by_the_metrics_and_lacks_without_the_permission(sandbox: Sandbox) -> None:
    sandbox.reset()
    names = sandbox.seed(
        {
            "instance": {
                "name": "web",
                "data_volumes": [
                    {"name": "idle", "Size": 100, "Iops": 10_000},
                    {"name": "busy", "Size": 100, "Iops": 10_000},
                ],
            }
        }
    )
    idle, busy = names["web/idle"], names["web/busy"]
    sandbox.move_clock(20 * DAY)
    loads = ((idle, 1000), (busy, 9000))
    sandbox.seed(
        {"loads": [{"volume": one, "ago": DAY, "seconds": 2 * HOUR, "write_iops": iops} for one, iops in loads]}
    )
    ended = run_module(sandbox, module=storage_info, metrics=True)
    found = [one for one in ended.result["findings"] if one["id"] == "volume-performance-unused"]
    # 3,000 of 10,000 IOPS are free: 7,000 x 0.005
    assert [(one["resource"], one["saving"]["most"]) for one in found] == [(idle, 35.0)]
    # One call for the hours of both volumes, and one for the minutes of the idle one.
    assert ended.result["api_calls"]["GetMetricData"] == 2
    sandbox.refuse("cloudwatch:GetMetricData")
    try:
        partly = run_module(sandbox, module=storage_info, metrics=True)
    finally:
        sandbox.refuse()
    assert [one["part"] for one in partly.result["partial"]] == ["metrics"]
    assert any("Allow cloudwatch:GetMetricData." in text for text in partly.warnings)
    assert partly.result["api_calls"]["GetMetricData"] == 1


def test_changed_blocks_give_the_exact_cost_of_each_snapshot_and_a_refusal_says_so(sandbox: Sandbox) -> None:
    sandbox.reset()
    data = sandbox.seed({"volume": {"name": "data", "Size": 10}})["data"]
    taken = []
    # 1,024 and 2,048 blocks of 512 KiB are 0.5 and 1 GiB. The third snapshot stores what its volume wrote again.
    for blocks in (0, 1024, 2048):
        if blocks:
            sandbox.seed({"write": {"volume": data, "first": 100, "blocks": blocks}})
        sandbox.move_clock(HOUR)
        taken.append(sandbox.client().create_snapshot(VolumeId=data)["SnapshotId"])
    sandbox.move_clock(2 * DAY)
    ended = run_module(sandbox, module=storage_info, changed_blocks=True, report="all")
    assert ended.failed == ""
    rows = {one["id"]: one for one in ended.result["snapshots"]}
    assert [rows[one]["stored_gib"] for one in taken] == [10.0, 0.5, 1.0]
    # At 0.05 USD: 10 GiB, 0.5 GiB and 1 GiB.
    assert [rows[one]["cost"]["most"] for one in taken] == [0.5, 0.03, 0.05]
    assert {rows[one]["cost"]["basis"] for one in taken} == {"changed blocks"}
    assert ended.result["api_calls"]["ListChangedBlocks"] == 2
    sandbox.refuse("ebs:ListChangedBlocks")
    try:
        partly = run_module(sandbox, module=storage_info, changed_blocks=True)
    finally:
        sandbox.refuse()
    assert [one["part"] for one in partly.result["partial"]] == ["changed blocks"]
    assert partly.result["summary"]["snapshots"]["exact_sizes"] == 1
    assert any("Allow ebs:ListChangedBlocks." in text for text in partly.warnings)


def test_listing_of_blocks_goes_on_when_its_page_tokens_expire(sandbox: Sandbox) -> None:
    sandbox.reset()
    data = sandbox.seed({"volume": {"name": "data", "Size": 10}})["data"]
    taken = sandbox.client().create_snapshot(VolumeId=data)["SnapshotId"]
    sandbox.move_clock(DAY)
    sandbox.configure(durations={"block_page_token": 0.0})
    query = snapshot_blocks_query(taken)
    ((fact,),) = sandbox_gateway(sandbox).ask([query]).values()
    assert sum(STORED_BYTES.read(fact, taken) or ()) == 10 << 30
    # Two full pages and the rest. Each of two tokens has expired.
    assert sandbox.counts()["ebs:ListSnapshotBlocks"] == 5


def test_prices_of_the_api_precede_the_shipped_ones_and_an_ambiguous_one_is_not_used(sandbox: Sandbox) -> None:
    sandbox.reset()
    sandbox.seed({"region": "eu-west-1", "volume": {"name": "data", "Size": 100, "AvailabilityZone": "eu-west-1a"}})
    ended = run_module(sandbox, module=storage_info, price_api=True, gateway=sandbox_gateway(sandbox, "eu-west-1"))
    # 100 GiB x 0.08 x 1.1, the sandbox's price of every region but us-east-1.
    assert ended.result["summary"]["cost"]["most"] == 8.8
    assert set(ended.result["prices"]["sources"].values()) == {"api"}
    assert len(ended.result["prices"]["sources"]) == 15
    assert {one["region"] for one in sandbox.log(action="pricing:GetProducts")} == {"eu-central-1"}
    twin = {"family": "Storage", "usage": "EBS:VolumeUsage.gp3", "unit": "GB-Mo", "usd": 0.09, "region": "eu-west-1"}
    sandbox.seed({"product": twin})
    twice = run_module(sandbox, module=storage_info, price_api=True, gateway=sandbox_gateway(sandbox, "eu-west-1"))
    assert twice.result["summary"]["cost"] is None
    assert twice.result["prices"]["missing"] == ["gp3.gib"]
    sandbox.refuse("pricing:GetProducts")
    try:
        partly = run_module(sandbox, module=storage_info, price_api=True, gateway=sandbox_gateway(sandbox, "eu-west-1"))
    finally:
        sandbox.refuse()
    assert [one["part"] for one in partly.result["partial"]] == ["prices"]
