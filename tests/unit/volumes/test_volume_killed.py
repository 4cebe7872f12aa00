# Copyright: the ec2ops.storage contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs that are killed after each of their calls: a second run leaves the world of an undisturbed one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from ansible_collections.ec2ops.storage.plugins.module_utils._kernel.resources import Fact, Resource

from in_process import OTHER_ZONE
from volume_plans import assert_no_write_is_lost, carried_out, declared, plan_of
from volume_world import (
    ABSENT,
    BOTH,
    DB,
    ENCRYPT,
    FAR,
    NOW,
    PURGE,
    QUORUM,
    STOP,
    SWAP,
    TAKEN,
    WEB,
    Ec2,
    Entry,
    instance,
    shared,
    steps,
    vol,
    volume,
)

INTERRUPTED: Mapping[str, tuple[list[Resource], list[Entry], dict[str, Any]]] = {
    "swapped": ([volume(1, WEB, "/dev/sdh", name="data")], [ENCRYPT], SWAP),
    "swapped, stopped": ([volume(1, WEB, "/dev/sdh", name="data")], [ENCRYPT], {**SWAP, **STOP}),
    "swapped, the old one deleted": (
        [volume(1, WEB, name="data")],
        [ENCRYPT],
        {**SWAP, **STOP, "delete_replaced": True},
    ),
    "swapped, the old one deleted without a snapshot": (
        [volume(1, WEB, name="data")],
        [ENCRYPT],
        {**SWAP, "delete_replaced": True, "final_snapshot": False},
    ),
    "swapped, adopted by its device": ([volume(1, WEB)], [{**ENCRYPT, "device_name": "/dev/sdf"}], {**SWAP, **STOP}),
    "swapped, named by its id": ([volume(1, WEB)], [{**ENCRYPT, "volume_id": vol(1)}], {**SWAP, **STOP}),
    "swapped, two of them": (
        [volume(1, WEB, name="data"), volume(2, WEB, "/dev/sdj", name="log")],
        [ENCRYPT, {**ENCRYPT, "name": "log"}],
        {**SWAP, **STOP},
    ),
    "swapped on two instances": (
        [instance(DB), shared(1, WEB, DB)],
        [{**QUORUM, "encrypted": True}],
        {**SWAP, **STOP, **BOTH},
    ),
    "moved to another instance": (
        [instance(DB), volume(1, DB, name="data", group="web")],
        [{"name": "data"}],
        {"spec": "web", **TAKEN, **STOP},
    ),
    "moved to another zone": (
        [instance(FAR, zone=OTHER_ZONE), volume(1, FAR, name="data", group="web", zone=OTHER_ZONE)],
        [{"name": "data"}],
        {"spec": "web", **TAKEN, **SWAP, **STOP},
    ),
    "moved to another device": ([volume(1, WEB, name="data")], [{"name": "data", "device_name": "/dev/sdh"}], STOP),
    "absent": ([volume(1, WEB, name="data")], ABSENT, STOP),
    "detached": ([volume(1, WEB, name="data")], [{"name": "data", "state": "detached"}], STOP),
    "purged": ([volume(1, WEB)], [], {**PURGE, **STOP}),
    "one goes, one comes to its place": (
        [volume(1, WEB, name="data")],
        [{"name": "data", "state": "absent"}, {"name": "log", "size": 1, "device_name": "/dev/sdf"}],
        STOP,
    ),
    "made": ([], [{"name": "data", "size": 1, "delete_on_termination": True}, {"name": "log", "size": 1}], {}),
    "changed": (
        [volume(1, WEB, name="data")],
        [{"name": "data", "size": 20, "delete_on_termination": True, "tags": {"a": "b"}}],
        {"on_cooldown": "wait"},
    ),
}


def scene(there: Iterable[Resource]) -> Ec2:
    return Ec2(instance(), *there)


def world(ec2: Ec2) -> list[str]:
    """All resources, with one word for all ids that runs have made, so that equal worlds are equal."""
    seen = []
    for item in ec2.resources.values():
        if not isinstance(item, Fact):
            plain = {
                name: value
                for name, value in vars(item).items()
                if name not in ("start_time", "create_time", "launch_time", "facts")
            }
            seen.append(
                re.sub(
                    r"(vol|snap)-0+a[0-9a-f]{3}\b",
                    r"\1-new",
                    f"{type(item).__name__} {sorted(plain.items(), key=repr)}",
                )
            )
    return sorted(seen)


@pytest.mark.parametrize("settled", [True, False], ids=["later", "at once"])
@pytest.mark.parametrize("name", INTERRUPTED)
def test_rerun_after_a_kill_at_each_call_completes_the_work(name: str, settled: bool) -> None:
    there, volumes, given = INTERRUPTED[name]
    spec = declared(*volumes, **given)
    undisturbed = scene(there)
    calls = len(carried_out(spec, undisturbed).changes)
    for killed in range(1, calls):
        ec2 = scene(there)
        ec2.carry_out(plan_of(spec, ec2), killed)
        if settled:
            ec2.settle()
        plan = plan_of(spec, ec2, now=NOW + timedelta(minutes=1))
        ec2.carry_out(plan)
        ec2.settle()
        assert world(ec2) == world(undisturbed), f"killed after {killed} calls, then {steps(plan)}"
        assert steps(plan_of(spec, ec2)) == []
        assert_no_write_is_lost(ec2, [item.volume_id for item in scene(there).volumes()])
