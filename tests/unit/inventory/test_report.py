# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of `storage_info` as a whole: costs by hand, recovery, rules, parts that are missing, and bounds."""

from __future__ import annotations

import base64
import gzip
import json
import stat
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.ec2ops.storage.plugins.module_utils._engine import result_file
from ansible_collections.ec2ops.storage.plugins.module_utils._features.inventory import planner
from ansible_collections.ec2ops.storage.plugins.module_utils._features.inventory.reading import first_queries
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.errors import SpecError, StorageError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.failures import CallError
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Resource
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.state import State
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.storage_facts import LOCKS_QUERY, USERS
from test_findings import CASES

from inventory_world import (
    DAY,
    HOUR,
    NOW,
    OTHER,
    POLICY,
    REGION,
    ami,
    backed_up,
    copy_of,
    found,
    image,
    inst,
    instance,
    plain,
    report,
    snap,
    snapshot,
    spec_of,
    state_of,
    vol,
    volume,
)

EXACT = {"exact": True, "basis": "price"}


def cost(document: dict[str, Any], number: int) -> dict[str, Any]:
    return next(one["cost"] for one in document["volumes"] if one["id"] == vol(number))


@pytest.mark.parametrize(
    ("fields", "monthly"),
    [
        ({}, 8.0),  # 100 x 0.08; 3000 IOPS and 125 MiB/s are free
        ({"iops": 4000, "throughput": 225}, 17.0),  # 8 + 1000 x 0.005 + 100 x 0.04
        ({"volume_type": "gp2"}, 10.0),
        ({"volume_type": "io1", "iops": 300, "size": 30}, 23.25),  # 30 x 0.125 + 300 x 0.065
        ({"volume_type": "io2", "iops": 32000, "size": 100}, 2092.5),  # 12.50 + 32000 x 0.065
        ({"volume_type": "st1", "size": 500}, 22.5),
        ({"volume_type": "sc1", "size": 500}, 7.5),
    ],
    ids=str,
)
def test_cost_of_a_volume_is_that_of_the_price_list(fields: dict[str, Any], monthly: float) -> None:
    assert cost(report(volume(1, **fields)), 1) == {"least": monthly, "most": monthly, **EXACT}


def test_io2_beyond_the_shipped_prices_has_no_cost_and_the_report_names_the_price() -> None:
    document = report(volume(1, volume_type="io2", iops=32001))
    assert cost(document, 1) is None
    assert document["prices"]["missing"] == ["io2.iops.above_32000"]
    given = {"io2.gib": 0.125, "io2.iops": 0.065, "io2.iops.above_32000": 0.05}
    assert cost(report(volume(1, volume_type="io2", iops=32001), prices={REGION: given}), 1)["most"] == 2092.55


def test_snapshot_has_the_bounds_of_its_full_size() -> None:
    document = report(snapshot(1), snapshot(2, storage_tier="archive"))
    views = {one["id"]: one["cost"] for one in document["snapshots"]}
    assert views[snap(1)] == {"least": 0.0, "most": 5.0, "exact": False, "basis": "full size"}
    assert views[snap(2)] == {"least": 0.0, "most": 1.25, "exact": False, "basis": "archive"}


def test_written_blocks_bound_the_cost_of_a_snapshot() -> None:
    gib = 1 << 30
    document = report(
        snapshot(1, written_bytes=40 * gib),
        snapshot(2, storage_tier="archive", written_bytes=40 * gib),
        # EC2 counts blocks, of which the last one may be beyond the end of the volume.
        snapshot(3, written_bytes=100 * gib + 1),
    )
    views = {one["id"]: one["cost"] for one in document["snapshots"]}
    assert views[snap(1)] == {"least": 0.0, "most": 2.0, "exact": False, "basis": "written blocks"}
    assert views[snap(2)] == {"least": 0.5, "most": 0.5, "exact": True, "basis": "archive"}
    assert views[snap(3)]["most"] == 5.0
    assert {one["id"]: one["written_gib"] for one in document["snapshots"]}[snap(1)] == 40.0


def test_each_tier_of_io2_has_its_own_price() -> None:
    prices = {REGION: {"io2.gib": 0, "io2.iops": 1, "io2.iops.above_32000": 0.1, "io2.iops.above_64000": 0.01}}
    for iops, monthly in ((32_000, 32_000), (32_001, 32_000.1), (64_000, 35_200), (64_100, 35_201)):
        made = report(volume(1, volume_type="io2", iops=iops), prices=prices)
        assert cost(made, 1)["most"] == monthly


def test_region_without_a_price_has_amounts_and_no_costs() -> None:
    state = State("ap-south-1", state_of(volume(1, volume_type="gp2")).resources, now=NOW)
    spec = spec_of(region="ap-south-1")
    document = plain(planner.result(spec, state))
    assert document["prices"]["source"] is None
    assert document["prices"]["missing"] == ["gp2.gib", "gp3.gib"]
    assert document["summary"]["cost"] is None
    (gp2,) = [one for one in document["findings"] if one["id"] == "volume-gp2"]
    assert (gp2["saving"], gp2["amount"]["gib"]) == (None, 100)
    assert "no price for ap-south-1" in gp2["reason"]


def test_saving_of_a_resource_counts_once() -> None:
    # Deleting the volume saves 13.60 USD more than the change of its type.
    document = report(volume(1, volume_type="gp2", size=170))
    savings = {one["id"]: one["saving"]["most"] for one in document["findings"] if one["saving"]}
    assert savings == {"volume-unattached": 17.0, "volume-gp2": 3.4}
    assert document["summary"]["saving"]["most"] == 17.0
    assert document["findings"][document["summary"]["largest_saving"]]["id"] == "volume-unattached"


def test_prices_of_the_task_precede_those_of_the_file() -> None:
    text = json.dumps({"date": "2026-01-01", REGION: {"gp3.gib": 2}, "eu-west-1": {"gp3.gib": 3}})
    assert cost(report(volume(1), prices_text=text), 1)["most"] == 200.0
    document = report(volume(1), prices_text=text, prices={REGION: {"gp3.gib": 1}, "references": "mine"})
    assert (cost(document, 1)["most"], document["prices"]["source"]) == (100.0, "task")
    # A table without the region leaves the others.
    assert cost(report(volume(1), prices_text=text, prices={"eu-west-1": {"gp3.gib": 1}}), 1)["most"] == 200.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"prices": {REGION: {"gp4.gib": 1}}}, "prices.us-east-1: 'gp4.gib' is not the name of a price"),
        ({"prices": {REGION: {"gp3.gib": "1"}}}, "prices.us-east-1.gp3.gib: '1' is not a price"),
        ({"prices": {REGION: {"gp3.gib": float("nan")}}}, "prices.us-east-1.gp3.gib: nan is not a price"),
        ({"prices": {REGION: {"gp3.gib": float("inf")}}}, "prices.us-east-1.gp3.gib: inf is not a price"),
        ({"prices_text": "{"}, "EC2OPS_PRICES: the file is not JSON"),
        ({"rpo_max": "1x"}, "rpo_max: '1x' is not a span"),
        ({"ignore": [{"reason": " ", "resource": "x"}]}, "ignore[0].reason: no reason is given"),
        ({"ignore": [{"reason": "x"}]}, "ignore[0]: the rule ignores everything"),
        (
            {"ignore": [{"reason": "x", "finding": "volume-old"}]},
            "ignore[0].finding: no finding has the id 'volume-old'",
        ),
        ({"policies": [{"policy": "p", "every": "5h"}]}, "policies[0].every: '5h' does not divide"),
        ({"copy_regions": ["Ireland"]}, "copy_regions: 'Ireland' is not the name of a region"),
        ({"trusted_accounts": ["12"]}, "trusted_accounts: '12' is not an account id"),
        ({"filters": {"a": True}}, "filters: 'a': true is a boolean"),
    ],
    ids=str,
)
def test_bad_option_is_refused_by_name(given: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as refused:
        spec_of(**given)
    assert message in str(refused.value)


# --- recovery --------------------------------------------------------------------------------------------------------


def test_recovery_of_a_volume_has_the_newest_good_point_here_and_elsewhere() -> None:
    old, young = snapshot(2, age=5 * HOUR, policy=POLICY, copied_to=OTHER), snapshot(3, age=HOUR, state="pending")
    drilled = snapshot(4, age=9 * HOUR, tags={"ec2ops:drilled": f"{NOW - HOUR:%Y-%m-%dT%H:%M:%SZ}"})
    document = report(
        instance(1, 1), volume(1, on=1), old, young, drilled, copy_of(old, 5), copy_regions=[OTHER], rpo_max="4h"
    )
    (one,) = document["recovery"]["volumes"]
    assert one["newest"] == {"snapshot_id": snap(2), "moment": "2026-11-30T11:00:00Z", "age": 18000, "region": REGION}
    assert one["elsewhere"] == [
        {"snapshot_id": snap(5), "moment": "2026-11-30T11:00:00Z", "age": 18000, "region": OTHER}
    ]
    assert (one["target"], one["target_from"], one["late"]) == (14400, "rpo_max", True)
    assert one["drilled"] == "2026-11-30T15:00:00Z"
    assert [point[0] for point in one["points"]] == [snap(2), snap(4)]
    assert document["summary"]["at_risk"] == vol(1)


@pytest.mark.parametrize("value", ["2026-12-24T00:00:00Z", "2026-11-01T00:00:00Z", "yesterday"])
def test_impossible_time_of_a_drill_is_ignored(value: str) -> None:
    (row,) = report(snapshot(1, age=DAY, tags={"ec2ops:drilled": value}))["snapshots"]
    assert row["drilled"] is None


def test_instance_is_as_old_as_the_oldest_of_its_volumes() -> None:
    document = report(
        instance(1, 1, 2), volume(1, on=1), volume(2, on=1), snapshot(1, 1, age=HOUR), snapshot(2, 2, age=3 * HOUR)
    )
    (one,) = document["recovery"]["instances"]
    assert (one["instance_id"], one["age"], one["whole"], one["late"]) == (inst(1), 10800, None, False)


@pytest.mark.parametrize(("parts", "whole"), [((1, 2), True), ((1,), False)])
def test_set_is_whole_with_a_part_of_every_volume(parts: tuple[int, ...], whole: bool) -> None:
    described = f"{POLICY}: {inst(1)}, 2 volumes"
    tags = {"ec2ops:set": f"{inst(1)}/x"}
    members = [snapshot(one, one, policy=POLICY, tags=tags, description=described) for one in parts]
    document = report(instance(1, 1, 2), volume(1, on=1), volume(2, on=1), snapshot(9, 2, age=9 * HOUR), *members)
    assert document["recovery"]["instances"][0]["whole"] is whole
    assert document["recovery"]["volumes"][0]["whole"] is whole


# --- rules, filters and missing parts --------------------------------------------------------------------------------


def test_ignored_finding_is_listed_with_its_reason() -> None:
    there = [volume(1, tags={"purpose": "scratch"}), volume(2)]
    document = report(*there, ignore=[{"reason": "scratch", "finding": "volume-*", "tags": {"purpose": None}}])
    assert found(document) == {("volume-unattached", vol(2))}
    assert [(one["resource"], one["ignore_reason"]) for one in document["ignored"]] == [(vol(1), "scratch")]
    assert document["summary"]["ignored"] == 1


def test_filter_keeps_the_untagged_snapshots_of_a_tagged_volume() -> None:
    there = [instance(1, 1, 2), volume(1, on=1, tags={"app": "shop"}), volume(2, on=1), *backed_up([1, 2])]
    document = report(*there, filters={"app": "shop"})
    assert [one["id"] for one in document["volumes"]] == [vol(1)]
    assert document["snapshots"] == []
    assert document["recovery"]["volumes"][0]["newest"] is not None


def refused(state: State, *operations: str, **given: Any) -> State:
    queries = [one for one in (*first_queries(spec_of(**given)), LOCKS_QUERY) if one.operation in operations]
    errors = {one: CallError(one.operation, "UnauthorizedOperation", "You are not authorized.") for one in queries}
    return State(state.region, state.resources, now=NOW, unanswered=errors)


def test_missing_permission_removes_one_part_and_the_report_names_it() -> None:
    there = state_of(volume(1, volume_type="gp2"), snapshot(1, 9, age=2 * DAY))
    assert ("snapshot-orphaned", snap(1)) in found(report(state=there))
    document = report(state=refused(there, "DescribeImages"))
    # An image may need the snapshot. The volumes do not depend on images.
    assert found(document) == {("volume-unattached", vol(1)), ("volume-gp2", vol(1))}
    (part,) = document["partial"]
    assert (part["part"], part["permission"], part["code"]) == ("images", "ec2:DescribeImages", "UnauthorizedOperation")
    (warning,) = planner.plan(spec_of(), refused(there, "DescribeImages"), NOW).warnings
    assert warning.endswith(
        "DescribeImages failed: UnauthorizedOperation: You are not authorized. Allow ec2:DescribeImages."
    )


def test_volumes_without_an_answer_about_snapshots_are_not_called_unprotected() -> None:
    there = state_of(instance(1, 1), volume(1, on=1))
    assert found(report(state=there)) == {("volume-without-recovery-point", vol(1))}
    document = report(state=refused(there, "DescribeSnapshots"))
    assert (found(document), document["summary"]["at_risk"]) == (set(), None)


def test_region_that_answers_nothing_fails_the_task() -> None:
    operations = ("DescribeVolumes", "DescribeInstances", "DescribeSnapshots", "DescribeImages")
    with pytest.raises(StorageError, match="DescribeVolumes failed: UnauthorizedOperation"):
        planner.plan(spec_of(), refused(state_of(), *operations), NOW)


def test_report_of_an_empty_account_is_complete_and_pleasant() -> None:
    document = report()
    assert document["findings"] == document["partial"] == []
    assert document["summary"]["cost"] is None
    text = planner.headline(spec_of(), document)
    assert text == "0 volumes, 0 snapshots, 0 images; no findings"


# --- the parts that reach the controller -----------------------------------------------------------------------------


def test_task_returns_as_much_as_it_is_asked_for() -> None:
    there = state_of(*(volume(number) for number in range(1, 1203)))
    summary, findings, everything = (
        planner.bounded(spec_of(report=extent), planner.result(spec_of(), there))
        for extent in ("summary", "findings", "all")
    )
    assert "findings" not in summary
    assert (len(findings["findings"]), findings["findings_left_out"]) == (1000, 202)
    assert "volumes" not in findings
    assert (len(everything["findings"]), len(everything["volumes"])) == (1202, 1202)
    assert summary["summary"] == everything["summary"]


def test_summary_has_the_policies_with_the_most_snapshots() -> None:
    few = [snapshot(number, number, policy=f"p{number:03}") for number in range(1, 121)]
    state = state_of(*few, snapshot(200, 120, policy="p120"))
    whole = planner.result(spec_of(), state)
    kept = planner.bounded(spec_of(report="summary"), whole)["summary"]["snapshots"]["by_policy"]
    assert (len(kept), kept["p120"]) == (100, 2)
    assert len(planner.bounded(spec_of(report="all"), whole)["summary"]["snapshots"]["by_policy"]) == 120


def test_file_has_the_whole_report_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    document = planner.result(spec_of(), state_of(volume(1, tags={"Name": "Größe"}), *backed_up([1])))
    path = tmp_path / "report.json"
    path.write_text("old")
    path.chmod(0o644)
    result_file.write(str(path), result_file.texts_of(document))
    assert json.loads(path.read_text(encoding="utf-8")) == plain(document)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    packed = gzip.decompress(base64.b64decode(result_file.packed(document)))
    assert json.loads(packed) == plain(document)


def test_file_that_cannot_be_written_is_refused_before_the_first_call(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"result_file: the task cannot write into the folder"):
        result_file.require_place(str(tmp_path / "none" / "report.json"))
    with pytest.raises(SpecError, match="is a folder"):
        result_file.require_place(str(tmp_path))


# --- the tasks that mend ---------------------------------------------------------------------------------------------


def options_of(module: str) -> dict[str, Any]:
    """The options that the module documents itself, and the region."""
    collection, _dot, name = module.rpartition(".")
    documented = import_module(f"ansible_collections.{collection}.plugins.modules.{name}").DOCUMENTATION
    return {**yaml.safe_load(documented)["options"], "region": {}}


def test_every_task_is_yaml_with_options_that_its_module_has() -> None:
    tasks: list[dict[str, Any]] = []
    for case in CASES:
        worlds: list[Resource] = case[2]
        for finding in report(*worlds, **case[4])["findings"]:
            tasks += yaml.safe_load(finding["task"] or "[]")
    assert len(tasks) > 20
    for task in tasks:
        (module,) = task.keys() - {"name"}
        given = task[module]
        assert given["region"] == REGION
        assert given.keys() <= options_of(module).keys(), task


@pytest.mark.parametrize("name", ["{{ lookup('pipe', 'id') }}", 'a"b', "yes", "0123", "a: b # c"])
def test_name_from_a_tag_stays_a_text_in_the_task(name: str) -> None:
    policy = snapshot(1, 1, age=9 * DAY, policy=name)
    (finding,) = report(instance(1, 1), volume(1, on=1), policy)["findings"]
    text = finding["task"]

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))
    (task,) = yaml.load(text, Loader)  # noqa: S506  # a safe loader with one more tag
    assert task["amazon.aws.ec2_snapshot"]["description"] == f"beside policy {name}"
    assert ("!unsafe" in text) is ("{{" in name)


# --- images ----------------------------------------------------------------------------------------------------------


def test_users_of_an_image_are_rows_and_relations() -> None:
    arns = ("arn:aws:ec2:us-east-1:1:launch-template/lt-1", "arn:aws:ec2:us-east-1:1:instance/i-1")
    document = report(
        image(1, 1), snapshot(1), USERS.fact(ami(1), (*arns, "arn:aws:ssm:us-east-1:1:parameter/web/ami"))
    )
    assert [(one["id"], one["kind"]) for one in document["holders"]] == [
        ("/web/ami", "parameter"),
        ("lt-1", "launch template"),
    ]
    assert ["lt-1", "names", ami(1)] in document["relations"]
    assert [ami(1), "made of", snap(1)] in document["relations"]
