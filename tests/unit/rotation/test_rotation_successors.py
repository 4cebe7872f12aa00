# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`snapshot_rotate`: a policy by instance id follows the successor after a relaunch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.ids import client_token
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.instance_proofs import launch_identity
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.plan import Plan
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Instance, Resource
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.tags import specification

from proven import launched
from rotation_runs import four, of_policy
from rotation_world import (
    DAY,
    I1,
    I2,
    Account,
    afterwards,
    created,
    days,
    deleted,
    instance_id,
    machine,
    planned,
    snapshot_set,
    volume_id,
)
from sandbox.client import Sandbox
from worlds import START

I3 = instance_id(3)
REPLACES, TRIAL = "ec2ops:replaces", "ec2ops:trial"
VOLUMES: dict[str, Any] = {"select": {"instance_ids": [I1]}, "keep": {"last": 9}}
SETS: dict[str, Any] = {**VOLUMES, "consistency": "instance"}


def old(state: str = "stopped", *data: int) -> list[Resource]:
    """The predecessor, I1, with the root volume 1."""
    return machine(1, 1, *data, state=state)


def successor(
    trial: str | None = "serving", number: int = 2, root: int = 2, replaces: str = I1, **more: Any
) -> list[Resource]:
    """A successor with a root volume of its own."""
    tags = {REPLACES: replaces, **({TRIAL: trial} if trial else {})}
    return [launched(item) if isinstance(item, Instance) else item for item in machine(number, root, tags=tags, **more)]


def sources(plan: Plan) -> set[str]:
    """The volumes that the plan takes snapshots of."""
    return {(change.after or {})["volume_id"] for change in created(plan)}


def volumes_of(*numbers: int) -> set[str]:
    return {volume_id(number) for number in numbers}


@pytest.mark.parametrize("given", [VOLUMES, SETS], ids=["volumes", "sets"])
@pytest.mark.parametrize(
    ("account", "taken"),
    [
        (Account.of(old()), {1}),
        (Account.of(old(), successor()), {2}),
        (Account.of(old("terminated"), successor()), {2}),
        (Account.of(successor()), {2}),
        (Account.of(old(), successor(None)), {2}),
        (Account.of(old("running"), successor("unproven")), {1}),
        # Only the tag claims it, and the successor is the one that runs.
        (Account.of(old("stopped"), successor("rejected")), {1, 2}),
        # No other instance is left that could stand for it.
        (Account.of(successor("unproven")), {2}),
        # The predecessor is not retired (old_instance: keep), or somebody returned to it.
        (Account.of(old("running"), successor(None)), {1, 2}),
        (Account.of(old("running"), successor(state="stopped")), {1, 2}),
        (Account.of(old(), successor(state="terminated")), {1}),
        (Account.of(old(), successor(state="stopped"), successor(number=3, root=3, replaces=f"{I2},{I1}")), {3}),
    ],
    ids=[
        "not replaced",
        "retired",
        "terminated",
        "gone",
        "without a trial",
        "unproven",
        "rejected",
        "only successor",
        "kept",
        "way back",
        "successor terminated",
        "two generations",
    ],
)
def test_the_instance_in_service_is_captured(given: dict[str, Any], account: Account, taken: set[int]) -> None:
    plan = planned(account, **given)
    assert sources(plan) == volumes_of(*taken)
    assert planned(afterwards(account, plan), **given).is_empty


@pytest.mark.parametrize("given", [VOLUMES, SETS], ids=["volumes", "sets"])
def test_two_claimants_are_both_captured_with_a_warning(given: dict[str, Any]) -> None:
    plan = planned(Account.of(old(), successor(), successor(number=3, root=3)), **given)
    assert sources(plan) == volumes_of(2, 3)
    (warning,) = plan.warnings
    assert all(name in warning for name in (I1, I2, I3))


def test_unproven_claim_gives_a_warning_and_no_capture() -> None:
    forged = machine(2, 2, tags={REPLACES: I1, TRIAL: "serving"})
    plan = planned(Account.of(old("running"), forged), **VOLUMES)
    assert sources(plan) == volumes_of(1)
    assert any(f"{I2} claims {I1}" in warning for warning in plan.warnings), plan.warnings


def test_snapshots_of_the_predecessor_are_retained_without_a_warning() -> None:
    past = days(4, 1)
    plan = planned(Account.of(old(), successor(), past), **{**VOLUMES, "keep": {"last": 2}})
    assert deleted(plan) == {one.snapshot_id for one in past[2:]}
    assert plan.warnings == ()


def test_sets_of_the_predecessor_are_retained() -> None:
    sets = [snapshot_set(number * DAY, 1, 1) for number in (1, 2, 3)]
    plan = planned(Account.of(old(), successor(), *sets), **{**SETS, "keep": {"last": 2}})
    assert deleted(plan) == {one.snapshot_id for one in sets[2]}
    assert sources(plan) == volumes_of(2)


def test_data_volumes_kept_by_the_predecessor_are_named_in_a_warning() -> None:
    plan = planned(Account.of(old("stopped", 5, 6), successor()), **VOLUMES)
    assert sources(plan) == volumes_of(2)
    (warning,) = plan.warnings
    assert all(name in warning for name in (I1, I2, *volumes_of(5, 6)))


def test_data_volumes_that_are_selected_otherwise_are_captured() -> None:
    given = {**VOLUMES, "select": {"instance_ids": [I1], "volume_ids": [volume_id(5)]}}
    plan = planned(Account.of(old("stopped", 5), successor()), **given)
    assert sources(plan) == volumes_of(2, 5)
    assert plan.warnings == ()


def test_instance_without_a_successor_costs_one_more_query() -> None:
    account = Account.of(old())
    planned(account, **VOLUMES)
    asked = [query.operation for query in account.asked]
    assert (asked.count("DescribeInstances"), asked.count("DescribeVolumes")) == (2, 1)


@pytest.mark.parametrize("given", [VOLUMES, SETS], ids=["volumes", "sets"])
def test_successor_that_is_only_planned_has_no_volumes_yet(given: dict[str, Any]) -> None:
    """A check run sees the plan of a relaunch before it: the volumes of that instance have no ids."""
    coming = Instance(f"(new instance in place of {I1})", tags={REPLACES: I1, TRIAL: "serving"})
    assert sources(planned(Account.of(old(), coming), **given)) == volumes_of(1)


def test_successor_by_its_own_id_is_captured() -> None:
    given = {**VOLUMES, "select": {"instance_ids": [I2]}}
    assert sources(planned(Account.of(old(), successor()), **given)) == volumes_of(2)
    both = {**VOLUMES, "select": {"instance_ids": [I1, I2]}}
    assert sources(planned(Account.of(old(), successor()), **both)) == volumes_of(2)


# --- on the sandbox ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(speed=60.0, seed=9, start=START, durations={"snapshot_pending": 2.0}) as sandbox:
        yield sandbox


@pytest.mark.parametrize("consistency", ["volume", "instance"])
def test_policy_continues_with_the_successor(sandbox: Sandbox, consistency: str) -> None:
    sandbox.reset()
    names = sandbox.seed({"instances": [{"name": "old", "data_volumes": 1}]})
    given = {"select": {"instance_ids": [names["old"]]}, "consistency": consistency, "keep": {"last": 5}}
    ec2 = sandbox.client()
    ec2.terminate_instances(InstanceIds=[names["old"]])
    tags = {REPLACES: names["old"], TRIAL: "serving"}
    base = sandbox.seed({"instances": [{"name": "base"}]})
    image = ec2.describe_instances(InstanceIds=[base["base"]])["Reservations"][0]["Instances"][0]["ImageId"]
    successor = ec2.run_instances(
        ImageId=image,
        MinCount=1,
        MaxCount=1,
        ClientToken=client_token(launch_identity(names["old"], image)),
        TagSpecifications=[specification("instance", tags)],
    )["Instances"][0]["InstanceId"]
    sandbox.move_clock(60)
    row = ec2.describe_instances(InstanceIds=[successor])["Reservations"][0]["Instances"][0]
    four(sandbox, **given)
    root = row["BlockDeviceMappings"][0]["Ebs"]["VolumeId"]
    assert {row["VolumeId"] for row in of_policy(sandbox).values()} == {root}
